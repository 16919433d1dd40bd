#include "flood/scp_flood.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/scp_inbox.h"
#include "flood/scp_index.h"
#include "flood/scp_outbox.h"
#include "flood/scp_peers.h"
#include "flood/scp_state.h"
#include "flood/xdr_skim.h"

namespace overlay::flood {

class ScpFlood::Impl {
 public:
  Impl(const Limits& limits, const SlotWindow& window, Random random, ScpStats& stats)
      : limits_(limits),
        window_(window),
        stats_(stats),
        outbox_(limits, index_, peers_, stats),
        inbox_(limits, window, index_, outbox_, stats),
        state_(limits, window, peers_, outbox_, random, stats) {}

  void OnPeerConnected(Time now, PeerId id, const NodeKey& key, ActionList& out);
  void OnPeerDisconnected(PeerId id, ActionList& out);
  // `answer` is the id of the state answer that it came in, if it did.
  std::optional<EnvelopeHeard> OnEnvelope(Time now, PeerId id, const Bytes& envelope,
                                          std::optional<uint64_t> answer, ActionList& out,
                                          Offences& offences);
  std::optional<EnvelopeBroadcast> OnBroadcast(Time now, const BroadcastEnvelope& broadcast,
                                               ActionList& out);
  void OnVerdict(const EnvelopeVerdict& verdict, ActionList& out, Offences& offences);
  void OnWindowMoved(Time now, ActionList& out);
  void Attach(StatePolicy policy);
  void Detach(ActionList& out);
  void CheckInvariants() const;
  void UpdateGauges() {
    stats_.seen_hashes = index_.size();
    stats_.core_queue = inbox_.waiting_count();
  }

  const Limits& limits_;
  const SlotWindow& window_;
  ScpStats& stats_;
  ScpPeers peers_;
  ScpIndex index_;
  ScpOutbox outbox_;
  ScpInbox inbox_;
  ScpState state_;
  uint64_t session_ = 1;  // odd: no core is attached

 private:
  std::optional<EnvelopeHeard> Receive(Time now, ScpPeer& peer, const Bytes& envelope,
                                       std::optional<uint64_t> answer, ActionList& out,
                                       Offences& offences);
  void BoundIndex(ActionList& out);
  void DropSlot(LedgerSeq slot, ActionList& out);
};

// ---- peers

void ScpFlood::Impl::OnPeerConnected(Time now, PeerId id, const NodeKey& key, ActionList& out) {
  OVERLAY_CHECK(peers_.Find(id) == nullptr);
  ScpPeer& peer = peers_.Add(id, key);
  index_.AddPeer(peer.ordinal);
  inbox_.OnPeerConnected(key);
  state_.OnPeerConnected(now, peer, out);
}

void ScpFlood::Impl::OnPeerDisconnected(PeerId id, ActionList& out) {
  ScpPeer* peer = peers_.Find(id);
  OVERLAY_CHECK(peer != nullptr);
  state_.OnPeerDisconnected(*peer, out);
  inbox_.OnPeerDisconnected(peer->key);
  index_.RemovePeer(peer->ordinal);
  peers_.Remove(id);
}

std::optional<EnvelopeHeard> ScpFlood::Impl::OnEnvelope(Time now, PeerId id, const Bytes& envelope,
                                                        std::optional<uint64_t> answer,
                                                        ActionList& out, Offences& offences) {
  ScpPeer* peer = peers_.Find(id);
  OVERLAY_CHECK(peer != nullptr);
  stats_.last_received = now;
  std::optional<EnvelopeHeard> heard = Receive(now, *peer, envelope, answer, out, offences);
  inbox_.Deliver(now, out);
  UpdateGauges();
  return heard;
}

std::optional<EnvelopeHeard> ScpFlood::Impl::Receive(Time now, ScpPeer& peer, const Bytes& envelope,
                                                     std::optional<uint64_t> answer,
                                                     ActionList& out, Offences& offences) {
  if (envelope.size() > limits_.envelope_bytes_max) {
    ++stats_.refused_malformed;
    offences.push_back({peer.id, Offence::kOversizeEnvelope});
    return std::nullopt;
  }
  auto skim = SkimEnvelope(envelope.span());
  if (!skim.ok()) {
    ++stats_.refused_malformed;
    offences.push_back({peer.id, Offence::kMalformedPayload});
    return std::nullopt;
  }
  const EnvelopeHash hash = HashOf<EnvelopeHash>(envelope.span());
  ScpEntry* entry = index_.Find(hash);
  if (entry != nullptr) {
    const bool sent_before = ScpIndex::MarkOf(*entry, peer.ordinal) & kSentIt;
    outbox_.OnSentByPeer(*entry, peer, out);
    if (entry->refused) {
      if (!sent_before) offences.push_back({peer.id, Offence::kInvalidEnvelope});
      ++stats_.received_duplicate;
      return std::nullopt;
    }
  }
  if (!window_.IsTakenFromPeers(now, skim->refs.slot)) {
    ++stats_.refused_window;
    return std::nullopt;
  }
  if (entry == nullptr && index_.size() >= limits_.seen_hash_count_max) BoundIndex(out);
  const auto [arrival, taken] = inbox_.Take(now, peer.key, hash, envelope, *skim);
  if (arrival == ScpInbox::Arrival::kRefused) return std::nullopt;
  const bool is_new = arrival == ScpInbox::Arrival::kNew;
  if (is_new) ++stats_.received_new;
  if (arrival == ScpInbox::Arrival::kDuplicate) ++stats_.received_duplicate;
  if (taken != nullptr) {
    index_.SetMark(*taken, peer.ordinal, kSentIt);
    if (answer && state_.IsFirstInRequest(peer, *answer, hash, is_new) &&
        !inbox_.IsWaiting(*taken)) {
      inbox_.Redeliver(hash, envelope, skim->refs.slot, peer.key);
    }
  }
  return EnvelopeHeard{hash, std::move(skim->refs), is_new};
}

void ScpFlood::Impl::BoundIndex(ActionList& out) {
  ScpEntry& victim = index_.Victim();
  inbox_.DropAtLimit(victim);
  outbox_.Drop(victim, out);
  index_.Remove(victim);
}

// ---- core

void ScpFlood::Impl::Attach(StatePolicy policy) {
  inbox_.Attach(++session_);
  state_.Attach(policy);
}

void ScpFlood::Impl::Detach(ActionList& out) {
  inbox_.Detach(++session_);
  state_.Detach(out);
  UpdateGauges();
}

std::optional<EnvelopeBroadcast> ScpFlood::Impl::OnBroadcast(Time now,
                                                             const BroadcastEnvelope& broadcast,
                                                             ActionList& out) {
  const auto refuse = [&](std::string value, std::string expected) {
    CoreRefused refused;
    refused.stream = CoreRefused::Stream::kScp;
    refused.id = broadcast.id;
    refused.field = "broadcast.envelope";
    refused.value = std::move(value);
    refused.expected = std::move(expected);
    out.emplace_back(CoreOutput(std::move(refused)));
    return std::nullopt;
  };
  const Bytes& envelope = broadcast.envelope;
  if (envelope.size() > limits_.envelope_bytes_max) {
    return refuse(fmt::format("{} bytes", envelope.size()),
                  fmt::format("at most {} bytes", limits_.envelope_bytes_max));
  }
  auto skim = SkimEnvelope(envelope.span());
  if (!skim.ok()) return refuse(std::string(skim.status().message()), "an SCPEnvelope in XDR");

  ++stats_.broadcast;
  const EnvelopeHash hash = HashOf<EnvelopeHash>(envelope.span());
  ScpEntry* entry = index_.Find(hash);
  if (entry == nullptr) {
    if (index_.size() >= limits_.seen_hash_count_max) BoundIndex(out);
    const ScpKey key{skim->refs.slot, skim->refs.node, skim->phase};
    entry = &index_.Add(hash, key, skim->refs.quorum_set);
  }
  const bool peers_sent_it = entry->seen;
  inbox_.OnBroadcast(*entry);
  index_.Uncharge(*entry);
  entry->refused = false;
  const ScpOutbox::Sent sent =
      outbox_.Broadcast(*entry, envelope, skim->statement, session_, broadcast.force, out);
  if (broadcast.id) {
    BroadcastResult result;
    result.id = *broadcast.id;
    result.hash = hash;
    result.peers_sent = sent.peers;
    result.peers_queued = sent.queued;
    result.superseded = sent.superseded;
    result.peers_superseded = sent.superseded_peers;
    result.peers_known = sent.known;
    out.emplace_back(CoreOutput(result));
  }
  inbox_.Deliver(now, out);
  UpdateGauges();
  return EnvelopeBroadcast{hash, std::move(skim->refs), peers_sent_it};
}

void ScpFlood::Impl::OnVerdict(const EnvelopeVerdict& verdict, ActionList& out,
                               Offences& offences) {
  ScpEntry* entry = index_.Find(verdict.hash);
  if (entry == nullptr) return;  // its slot has gone, or it was judged before
  inbox_.Drop(*entry);
  switch (verdict.judgement) {
    case EnvelopeJudgement::kInvalid:
      if (!entry->refused) {
        for (const auto& [id, peer] : peers_.all()) {
          if (ScpIndex::MarkOf(*entry, peer.ordinal) & kSentIt) {
            offences.push_back({id, Offence::kInvalidEnvelope});
          }
        }
      }
      outbox_.Drop(*entry, out);
      entry->refused = true;
      break;
    case EnvelopeJudgement::kDiscarded:
      entry->seen = false;
      if (entry->broadcast_session == 0) index_.Remove(*entry);
      break;
  }
  UpdateGauges();
}

// ---- slots

void ScpFlood::Impl::DropSlot(LedgerSeq slot, ActionList& out) {
  inbox_.DropSlotUnderAll(slot);
  for (ScpEntry* entry = index_.FirstFrom(slot); entry != nullptr && entry->key.slot == slot;
       entry = index_.FirstFrom(slot)) {
    inbox_.DropGone(*entry);
    outbox_.Drop(*entry, out);
    index_.Remove(*entry);
  }
}

void ScpFlood::Impl::OnWindowMoved(Time now, ActionList& out) {
  for (ScpEntry* entry = index_.FirstFrom(LedgerSeq{});
       entry != nullptr && entry->key.slot < window_.oldest_kept();) {
    const LedgerSeq slot = entry->key.slot;
    if (!window_.IsKept(slot)) DropSlot(slot, out);
    entry = index_.FirstFrom(slot + 1);
  }
  const std::optional<LedgerSeq> upper = window_.UpperBound(now);
  if (upper && upper->value < UINT64_MAX) {
    for (ScpEntry* entry = index_.FirstFrom(*upper + 1); entry != nullptr;) {
      const LedgerSeq slot = entry->key.slot;
      if (!window_.IsTakenFromPeers(now, slot)) DropSlot(slot, out);
      if (slot.value == UINT64_MAX) break;
      entry = index_.FirstFrom(slot + 1);
    }
  }
  inbox_.Deliver(now, out);
  UpdateGauges();
}

void ScpFlood::Impl::CheckInvariants() const {
  index_.CheckInvariants();
  inbox_.CheckInvariants();
  outbox_.CheckInvariants();
  state_.CheckInvariants();
  OVERLAY_CHECK(index_.size() <= limits_.seen_hash_count_max);
}

// ---- the face

ScpFlood::ScpFlood(const Limits& limits, const SlotWindow& window, Random random, ScpStats& stats)
    : impl_(std::make_unique<Impl>(limits, window, random, stats)) {}
ScpFlood::~ScpFlood() = default;

void ScpFlood::OnPeerConnected(Time now, PeerId peer, const NodeKey& key, ActionList& out) {
  impl_->OnPeerConnected(now, peer, key, out);
}
void ScpFlood::OnPeerDisconnected(Time now, PeerId peer, ActionList& out) {
  impl_->OnPeerDisconnected(peer, out);
  impl_->inbox_.Deliver(now, out);
  impl_->UpdateGauges();
}
std::optional<EnvelopeHeard> ScpFlood::OnEnvelope(Time now, PeerId peer, const Bytes& envelope,
                                                  ActionList& out, Offences& offences) {
  return impl_->OnEnvelope(now, peer, envelope, std::nullopt, out, offences);
}
void ScpFlood::OnEnvelopeDone(Time now, const EnvelopeDone& done, ActionList& out) {
  ScpPeer* peer = impl_->peers_.Find(done.peer);
  OVERLAY_CHECK(peer != nullptr);
  const std::optional<LedgerSeq> dropped = impl_->outbox_.OnDone(*peer, done, out);
  if (dropped) impl_->inbox_.OnCopyDropped(now, *dropped, out);
}
void ScpFlood::OnPeerBlocked(PeerId peer, bool blocked) {
  if (ScpPeer* found = impl_->peers_.Find(peer)) found->blocked = blocked;
}
void ScpFlood::OnPeerCoreStatus(PeerId peer, bool core_present) {
  if (ScpPeer* found = impl_->peers_.Find(peer)) found->core_present = core_present;
}
void ScpFlood::OnGetScpState(Time now, PeerId peer, const GetScpState& request, ActionList& out,
                             Offences& offences) {
  ScpPeer* found = impl_->peers_.Find(peer);
  OVERLAY_CHECK(found != nullptr);
  if (!impl_->state_.OnQuestion(now, *found, request, out)) {
    offences.push_back({peer, Offence::kOverEager});
  }
}
std::optional<EnvelopeHeard> ScpFlood::OnStateReceived(Time now, const StateReceived& part,
                                                       ActionList& out, Offences& offences) {
  if (part.part == StateReceived::Part::kEnvelope) {
    return impl_->OnEnvelope(now, part.peer, part.envelope, part.id, out, offences);
  }
  ScpPeer* peer = impl_->peers_.Find(part.peer);
  OVERLAY_CHECK(peer != nullptr);
  impl_->state_.OnAnswerEnd(now, *peer, part, out);
  return std::nullopt;
}

void ScpFlood::OnCoreAttached(Time now, StatePolicy policy, ActionList& out) {
  impl_->Attach(policy);
  impl_->inbox_.Deliver(now, out);
}
void ScpFlood::OnCoreDetached(Time, ActionList& out) { impl_->Detach(out); }
void ScpFlood::OnCoreRoom(Time now, uint32_t messages, ActionList& out) {
  impl_->inbox_.AddRoom(messages);
  impl_->inbox_.Deliver(now, out);
  impl_->UpdateGauges();
}
std::optional<EnvelopeBroadcast> ScpFlood::OnBroadcast(Time now, const BroadcastEnvelope& broadcast,
                                                       ActionList& out) {
  return impl_->OnBroadcast(now, broadcast, out);
}
void ScpFlood::OnRequestState(Time now, const RequestState& request, ActionList& out) {
  impl_->state_.OnCoreRequest(now, request, out);
}
void ScpFlood::OnStateReply(Time now, const StateReply& reply, ActionList& out) {
  impl_->state_.OnCoreReply(now, reply, out);
}
void ScpFlood::OnVerdict(Time now, const EnvelopeVerdict& verdict, ActionList& out,
                         Offences& offences) {
  impl_->OnVerdict(verdict, out, offences);
  impl_->inbox_.Deliver(now, out);
}
void ScpFlood::OnWindowMoved(Time now, ActionList& out) { impl_->OnWindowMoved(now, out); }

void ScpFlood::OnDeadline(Time now, ActionList& out) {
  impl_->state_.OnDeadline(now, out);
  impl_->inbox_.OnDeadline(now, out);
}
std::optional<Time> ScpFlood::NextDeadline() const {
  const std::optional<Time> state = impl_->state_.NextDeadline();
  const std::optional<Time> inbox = impl_->inbox_.NextDeadline();
  return state && inbox ? std::min(*state, *inbox) : state ? state : inbox;
}

size_t ScpFlood::bytes_held() const {
  return impl_->index_.body_bytes() + impl_->inbox_.redelivery_bytes();
}
bool ScpFlood::NamesQuorumSet(const SetHash& hash) const {
  return impl_->index_.NamesQuorumSet(hash);
}
void ScpFlood::CheckInvariants() const { impl_->CheckInvariants(); }

}  // namespace overlay::flood
