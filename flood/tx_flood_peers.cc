// What TxFlood does with what peers say.
#include <algorithm>
#include <utility>
#include <vector>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/tx_flood_impl.h"
#include "flood/xdr_skim.h"

namespace overlay::flood {

// ---- peers

void TxFlood::Impl::OnPeerConnected(Time now, const TxFlood::Peer& connected, ActionList& out) {
  const auto [it, inserted] = peers_.try_emplace(connected.id);
  OVERLAY_CHECK(inserted);
  PeerState& peer = it->second;
  peer.key = connected.key;
  if (free_slots_.empty()) {
    peer.slot = slot_count_++;
  } else {
    const auto lowest = std::min_element(free_slots_.begin(), free_slots_.end());
    peer.slot = *lowest;
    free_slots_.erase(lowest);
    table_.ForgetPeer(peer.slot);
  }
  tracker_.AddPeer(connected.id, connected.preferred);
  advertiser_.AddPeer(now, peer.slot, connected.id);
  if (floor_told_ != FeeFilter{}) {
    out.emplace_back(PeerCommand(SendTxControl{connected.id, floor_told_}));
  }
  Finish(now, out);
}

void TxFlood::Impl::OnPeerDisconnected(Time now, PeerId id, ActionList& out) {
  const auto it = peers_.find(id);
  if (it == peers_.end()) return;
  tracker_.RemovePeer(id);
  advertiser_.RemovePeer(it->second.slot);
  answer_bytes_ -= it->second.answer_bytes;
  free_slots_.push_back(it->second.slot);
  peers_.erase(it);
  Finish(now, out);
}

bool TxFlood::Impl::IsFetchable(const InvEntry& entry) const {
  if (!IsLegalSize(entry)) return false;
  if (table_.Find(entry.hash) || memory_.Find(entry.hash)) return false;
  return entry.fee_per_op >= mempool_.FloorFeePerOp(entry.lane);
}

void TxFlood::Impl::OnInv(Time now, PeerId id, const Inv& inv, ActionList& out) {
  PeerState* peer = Find(id);
  if (peer == nullptr) return;
  stats_.announcements_received += inv.entries.size();
  std::vector<InvEntry> wanted;
  for (const InvEntry& entry : inv.entries) {
    if (const std::optional<TxIndex> held = table_.Find(entry.hash)) {
      table_.SetKnows(*held, peer->slot);
    } else if (!IsLegalSize(entry)) {
      ++stats_.announcements_ill_sized;
    } else if (IsFetchable(entry)) {
      wanted.push_back(entry);
    }
  }
  if (wanted.empty()) return;
  tracker_.OnAnnouncements(id, wanted);
  Finish(now, out);
}

void TxFlood::Impl::OnFeeFilter(Time now, PeerId id, const FeeFilter& filter, ActionList& out) {
  PeerState* peer = Find(id);
  if (peer == nullptr) return;
  advertiser_.OnFeeFilter(now, peer->slot, filter);
  Finish(now, out);
}

void TxFlood::Impl::OnInvBlocked(Time now, const InvBlocked& told, ActionList& out) {
  PeerState* peer = Find(told.peer);
  if (peer == nullptr) return;
  advertiser_.SetBlocked(now, peer->slot, told.blocked);
  Finish(now, out);
}

void TxFlood::Impl::OnBodiesRequested(const BodiesRequested& requested, ActionList& out) {
  PeerState* peer = Find(requested.peer);
  if (peer == nullptr) return;
  AnswerBodies answer{requested.peer, requested.request, {}};
  answer.answers.reserve(requested.data.hashes.size());
  size_t bytes = 0;
  bool full = false;
  for (const TxHash& hash : requested.data.hashes) {
    const std::optional<TxIndex> index = table_.Find(hash);
    BodyAnswer& one = answer.answers.emplace_back(BodyAnswer{hash, BodyOutcome::kNotFound, {}});
    const bool served = index && table_[*index].pooled && !memory_pressed_;
    const size_t size = served ? table_[*index].body.size() : 0;
    if (size == 0 || peer->answer_bytes + bytes + size > limits_.bodies_queue_bytes_max) {
      ++stats_.not_found_served;
      continue;
    }
    full = full || (bytes > 0 && bytes + size > kBodiesAnswerBytesMax);
    if (full) {
      one.outcome = BodyOutcome::kLater;
      continue;
    }
    one.outcome = BodyOutcome::kBody;
    one.body = table_[*index].body;
    bytes += size;
    table_.SetKnows(*index, peer->slot);
    ++stats_.served;
  }
  if (bytes > 0) {
    peer->answers[requested.request] += bytes;
    peer->answer_bytes += bytes;
    answer_bytes_ += bytes;
  }
  out.emplace_back(PeerCommand(std::move(answer)));
}

void TxFlood::Impl::OnAnswerDone(const AnswerDone& done) {
  PeerState* peer = Find(done.peer);
  if (peer == nullptr) return;
  const auto it = peer->answers.find(done.request);
  if (it == peer->answers.end()) return;
  peer->answer_bytes -= it->second;
  answer_bytes_ -= it->second;
  peer->answers.erase(it);
}

void TxFlood::Impl::OnBodyReceived(Time now, const BodyReceived& received, ActionList& out) {
  PeerState* peer = Find(received.peer);
  if (peer == nullptr) return;
  using AnswerKind = TxRequestTracker::AnswerKind;
  const BodyAnswer& answer = received.answer;
  const TxRequestTracker::Answer kind =
      tracker_.OnAnswer(now, received.peer, received.request, answer);
  if (answer.outcome == BodyOutcome::kBody) stats_.received_bytes += answer.body.size();
  if (kind.kind == AnswerKind::kUnsolicited) {
    out.emplace_back(PeerOffence{received.peer, Offence::kUnsolicited});
  } else if (answer.outcome == BodyOutcome::kBody) {
    if (answer.body.size() > kind.size_announced) {
      out.emplace_back(PeerOffence{received.peer, Offence::kUnsolicited});
      tracker_.Fail(received.peer, answer.hash);
    } else {
      TakeBody(now, received, *peer, kind.kind == AnswerKind::kLate, out);
    }
  }
  Finish(now, out);
}

void TxFlood::Impl::TakeBody(Time now, const BodyReceived& received, PeerState& peer, bool late,
                             ActionList& out) {
  const BodyAnswer& answer = received.answer;
  if (HashOf<TxHash>(answer.body.span()) != answer.hash) {
    out.emplace_back(PeerOffence{received.peer, Offence::kWrongHash});
    tracker_.Fail(received.peer, answer.hash);
    return;
  }
  const std::optional<TxIndex> held = table_.Find(answer.hash);
  if (held || memory_.Find(answer.hash)) {
    if (held) table_.SetKnows(*held, peer.slot);
    tracker_.Forget(answer.hash);
    ++stats_.received_duplicate;
    stats_.received_duplicate_bytes += answer.body.size();
    return;
  }
  const absl::StatusOr<TransactionSkim> skim = SkimTransaction(answer.body.span());
  if (!skim.ok()) {
    out.emplace_back(PeerOffence{received.peer, Offence::kMalformedPayload});
    memory_.Remember(answer.hash, TxFate::kMalformed);
    tracker_.Forget(answer.hash);
    return;
  }
  TxRecord record;
  record.hash = answer.hash;
  record.body = answer.body;
  record.bid = {skim->fee, skim->operations, skim->lane};
  record.account = skim->source;
  record.sequence = skim->sequence;
  record.arrived = now;
  record.sender = received.peer;
  record.sender_key = peer.key;
  TakeFromPeer(now, std::move(record), peer, late);
}

void TxFlood::Impl::TakeFromPeer(Time now, TxRecord record, const PeerState& peer, bool late) {
  // A late body was no longer counted as in flight (R3).
  const bool over = offers_.pending_count() + tracker_.in_flight_count() >= PendingCountMax() ||
                    offers_.pending_bytes() + record.body.size() > PendingBytesMax();
  if (late && judges_ && over) return;
  if (memory_pressed_) {
    tracker_.Forget(record.hash);
    ++stats_.bodies_dropped;
    return;
  }
  std::vector<PeerId> announcers;
  tracker_.Forget(record.hash, &announcers);
  ++stats_.received_new;
  stats_.last_received = now;
  const TxIndex index = table_.Add(std::move(record));
  table_.SetKnows(index, peer.slot);
  for (PeerId id : announcers) table_.SetKnows(index, Find(id)->slot);
  if (judges_) {
    offers_.AddPending(index);
    return;
  }
  AdmitPending(now, index);
}

// It counts as valid from now on; one that the mempool does not take may be had again after the
// next close.
void TxFlood::Impl::AdmitPending(Time now, TxIndex index) {
  if (AdmitToPool(now, index).outcome != Mempool::Outcome::kAdded) {
    Refuse(index, TxFate::kLater);
  } else if (!judges_ && delivers_) {
    offers_.AddPooled(index);
  }
}

Mempool::AddResult TxFlood::Impl::AdmitToPool(Time now, TxIndex index) {
  std::vector<TxIndex> displaced;
  const Mempool::AddResult result = mempool_.Add(now, index, displaced);
  DropDisplaced(displaced);
  if (result.outcome == Mempool::Outcome::kAdded) advertiser_.Announce(index);
  return result;
}

void TxFlood::Impl::DropDisplaced(std::vector<TxIndex>& displaced) {
  stats_.evicted += displaced.size();
  for (TxIndex index : displaced) Remove(index);
}

void TxFlood::Impl::Remove(TxIndex index) {
  offers_.Remove(index);
  if (table_[index].pooled) mempool_.Remove(index);
  table_.Remove(index);
}

void TxFlood::Impl::Refuse(TxIndex index, TxFate fate) {
  memory_.Remember(table_[index].hash, fate);
  Remove(index);
}

void TxFlood::Impl::OnRequestEnded(Time now, const RequestEnded& ended, ActionList& out) {
  tracker_.OnRequestEnded(ended.peer, ended.request);
  Finish(now, out);
}

}  // namespace overlay::flood
