#include "flood/tx_flood.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/mempool.h"
#include "flood/tx_advertiser.h"
#include "flood/tx_memory.h"
#include "flood/tx_offers.h"
#include "flood/tx_request_tracker.h"
#include "flood/tx_table.h"
#include "flood/xdr_skim.h"

namespace overlay::flood {
namespace {

// Transactions that leave by age, or are admitted because a new core does not judge, in one turn:
// 500 are some 300 us, the rest follows in the next.
constexpr size_t kTurnCountMax = 500;
constexpr Duration kFloorInterval = std::chrono::seconds(1);

bool IsLegal(const Bid& bid) { return bid.fee >= 0 && bid.operations >= 1; }

}  // namespace

class TxFlood::Impl {
 public:
  Impl(const Limits& limits, TxStats& stats)
      : limits_(limits),
        stats_(stats),
        memory_(limits),
        mempool_(limits, table_),
        offers_(limits, table_),
        tracker_(limits),
        advertiser_(limits, table_, mempool_) {}

  void OnPeerConnected(Time now, const TxFlood::Peer& connected, ActionList& out);
  void OnPeerDisconnected(Time now, PeerId id, ActionList& out);
  void OnInv(Time now, PeerId id, const Inv& inv, ActionList& out);
  void OnFeeFilter(Time now, PeerId id, const FeeFilter& filter, ActionList& out);
  void OnBodiesRequested(const BodiesRequested& requested, ActionList& out);
  void OnAnswerDone(const AnswerDone& done);
  void OnBodyReceived(Time now, const BodyReceived& received, ActionList& out);
  void OnRequestEnded(Time now, const RequestEnded& ended, ActionList& out);

  void OnCoreAttached(Time now, const CoreAttached& attached, ActionList& out);
  void OnCoreDetached(Time now, ActionList& out);
  void OnCoreRoom(Time now, uint32_t messages, ActionList& out);
  void OnSubmit(Time now, const SubmitTransactions& batch, ActionList& out);
  void OnVerdicts(Time now, const TransactionVerdicts& batch, ActionList& out);
  void OnLedgerClosed(Time now, LedgerSeq closed, ActionList& out);
  void OnTxSetExternalized(Time now, const TxSetExternalized& externalized, ActionList& out);
  void OnTopQuery(const TopQuery& query, ActionList& out);
  void OnCancelTopQuery(const CancelTopQuery& cancel);

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  size_t pending_count() const { return offers_.pending_count(); }
  size_t pooled_count() const { return mempool_.count(); }
  bool IsPooled(const TxHash& hash) const {
    const std::optional<TxIndex> index = table_.Find(hash);
    return index && table_[*index].pooled;
  }
  void CheckInvariants() const;

 private:
  struct PeerState {
    NodeKey key;
    PeerSlot slot = 0;
    bool paused = false;                             // as told to transport
    absl::flat_hash_map<RequestId, size_t> answers;  // bytes under way
    size_t answer_bytes = 0;                         // their sum
  };

  PeerState* Find(PeerId id) {
    const auto it = peers_.find(id);
    return it == peers_.end() ? nullptr : &it->second;
  }
  bool IsFetchable(const InvEntry& entry) const;
  void TakeBody(Time now, const BodyReceived& received, PeerState& peer, bool late,
                ActionList& out);
  void TakeFromPeer(Time now, TxRecord record, const PeerState& peer, bool late);
  void AdmitPending(Time now, TxIndex index);
  Mempool::AddResult AdmitToPool(Time now, TxIndex index);
  void DropDisplaced(std::vector<TxIndex>& displaced);
  void Remove(TxIndex index);
  void Refuse(TxIndex index, TxFate fate);
  SubmitResult Submit(Time now, const Submission& submission);
  SubmitResult SubmitNew(Time now, TxRecord record, SubmitResult result);
  void Judge(Time now, uint64_t number, const TxVerdict& verdict, ActionList& out);
  void JudgeHeld(Time now, TxIndex index, const TxVerdict& verdict, ActionList& out);
  void JudgeUnknown(const TxVerdict& verdict);
  bool TakeNumber(uint64_t number, const char* field, ActionList& out);
  void AnswerTopQueries(ActionList& out);
  void AnswerTop(const TopQuery& query, ActionList& out) const;

  // What every input may have made possible.
  void Finish(Time now, ActionList& out);
  TxRequestTracker::Allowance Allowance() const;
  void Demand(Time now, ActionList& out);
  void PauseOrResume(ActionList& out);
  void TellOverflow(Time now, ActionList& out);
  void TellFloor(Time now, ActionList& out);
  FeeFilter CurrentFloor() const;
  size_t PendingCountMax() const;
  size_t PendingBytesMax() const;
  void UpdateStats();

  const Limits& limits_;
  TxStats& stats_;
  TxTable table_;
  TxMemory memory_;
  Mempool mempool_;
  TxOffers offers_;
  TxRequestTracker tracker_;
  TxAdvertiser advertiser_;

  absl::btree_map<PeerId, PeerState> peers_;
  std::vector<PeerSlot> free_slots_;  // used before and free now
  PeerSlot slot_count_ = 0;

  // Until a core has said otherwise, nothing is valid by arrival; kept while no core is attached.
  bool judges_ = true;
  bool delivers_ = false;
  uint64_t applied_number_ = 0;            // of this session
  std::vector<TopQuery> waiting_queries_;  // in order of arrival
  FeeFilter floor_told_;
  Time floor_at_{};                                // not before
  Time overflow_at_{};                             // not before
  std::vector<TxRequestTracker::Demand> demands_;  // scratch
};

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
  free_slots_.push_back(it->second.slot);
  peers_.erase(it);
  Finish(now, out);
}

bool TxFlood::Impl::IsFetchable(const InvEntry& entry) const {
  if (entry.size_bytes == 0 || entry.size_bytes > limits_.transaction_bytes_max) return false;
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
    const size_t size = index && table_[*index].pooled ? table_[*index].body.size() : 0;
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
  }
  out.emplace_back(PeerCommand(std::move(answer)));
}

void TxFlood::Impl::OnAnswerDone(const AnswerDone& done) {
  PeerState* peer = Find(done.peer);
  if (peer == nullptr) return;
  const auto it = peer->answers.find(done.request);
  if (it == peer->answers.end()) return;
  peer->answer_bytes -= it->second;
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

// ---- core

void TxFlood::Impl::OnCoreAttached(Time now, const CoreAttached& attached, ActionList& out) {
  judges_ = attached.judges_transactions;
  delivers_ = attached.judges_transactions || attached.deliver_transactions;
  applied_number_ = 0;
  waiting_queries_.clear();
  memory_.OnLedgerClosed(attached.newest_closed);
  offers_.Detach();
  if (delivers_) offers_.Attach();
  Finish(now, out);
}

void TxFlood::Impl::OnCoreDetached(Time now, ActionList& out) {
  offers_.Detach();
  waiting_queries_.clear();
  applied_number_ = 0;
  Finish(now, out);
}

void TxFlood::Impl::OnCoreRoom(Time now, uint32_t messages, ActionList& out) {
  offers_.AddRoom(messages);
  Finish(now, out);
}

bool TxFlood::Impl::TakeNumber(uint64_t number, const char* field, ActionList& out) {
  if (number > applied_number_) {
    applied_number_ = number;
    return true;
  }
  out.emplace_back(CoreOutput(CoreRefused{CoreRefused::Stream::kTransactions, number, std::nullopt,
                                          field, fmt::format("{}", number),
                                          fmt::format("more than {}", applied_number_)}));
  return false;
}

void TxFlood::Impl::OnSubmit(Time now, const SubmitTransactions& batch, ActionList& out) {
  for (const Submission& submission : batch.submissions) {
    ++stats_.submitted;
    if (!TakeNumber(submission.number, "submissions.number", out)) continue;
    out.emplace_back(CoreOutput(Submit(now, submission)));
  }
  AnswerTopQueries(out);
  Finish(now, out);
}

SubmitResult TxFlood::Impl::Submit(Time now, const Submission& submission) {
  SubmitResult result;
  result.number = submission.number;
  if (submission.transaction.size() > limits_.transaction_bytes_max) {
    result.outcome = SubmitOutcome::kTooLarge;
    result.detail = fmt::format("{} bytes, {} at most", submission.transaction.size(),
                                limits_.transaction_bytes_max);
    return result;
  }
  result.hash = HashOf<TxHash>(submission.transaction.span());
  if (submission.bid && !IsLegal(*submission.bid)) {
    result.outcome = SubmitOutcome::kMalformed;
    result.detail =
        fmt::format("bid of {} for {} operations: a fee of 0 or more, at least 1 operation",
                    submission.bid->fee, submission.bid->operations);
    return result;
  }
  const std::optional<TxFate> fate = memory_.Find(result.hash);
  if (fate == TxFate::kExternalized || fate == TxFate::kMalformed || fate == TxFate::kStale) {
    result.outcome = SubmitOutcome::kRejectedRecently;
    result.detail = fate == TxFate::kExternalized ? "externalized"
                    : fate == TxFate::kMalformed  ? "malformed"
                                                  : "stale";
    return result;
  }
  const absl::StatusOr<TransactionSkim> skim = SkimTransaction(submission.transaction.span());
  if (!skim.ok()) {
    result.outcome = SubmitOutcome::kMalformed;
    result.detail = std::string(skim.status().message());
    return result;
  }
  TxRecord record;
  record.hash = result.hash;
  record.body = submission.transaction;
  record.bid = submission.bid.value_or(Bid{skim->fee, skim->operations, skim->lane});
  record.account = skim->source;
  record.sequence = skim->sequence;
  record.arrived = now;
  return SubmitNew(now, std::move(record), std::move(result));
}

SubmitResult TxFlood::Impl::SubmitNew(Time now, TxRecord record, SubmitResult result) {
  std::optional<TxIndex> index = table_.Find(record.hash);
  const bool was_pending = index && table_[*index].pending;
  if (index && !was_pending) {
    result.outcome = SubmitOutcome::kDuplicate;
    return result;
  }
  if (was_pending) {
    offers_.Remove(*index);
    table_[*index].bid = record.bid;
  } else {
    std::vector<PeerId> announcers;
    tracker_.Forget(record.hash, &announcers);
    memory_.Forget(record.hash);
    index = table_.Add(std::move(record));
    for (PeerId id : announcers) table_.SetKnows(*index, Find(id)->slot);
  }
  const Mempool::AddResult added = AdmitToPool(now, *index);
  switch (added.outcome) {
    case Mempool::Outcome::kAdded:
      result.outcome = was_pending ? SubmitOutcome::kDuplicate : SubmitOutcome::kAdded;
      return result;
    case Mempool::Outcome::kFeeTooLow:
      result.outcome = SubmitOutcome::kFeeTooLow;
      result.fee_wanted = added.fee_wanted;
      result.detail = fmt::format("a fee of {} would do now", added.fee_wanted);
      break;
    case Mempool::Outcome::kAccountFull:
      result.outcome = SubmitOutcome::kFull;
      result.detail = fmt::format("its account has {} already", limits_.mempool_per_account_max);
      break;
    case Mempool::Outcome::kNoRoom:
      result.outcome = SubmitOutcome::kFull;
      result.detail = "larger than its lane of the mempool";
      break;
  }
  Remove(*index);
  return result;
}

void TxFlood::Impl::OnVerdicts(Time now, const TransactionVerdicts& batch, ActionList& out) {
  if (TakeNumber(batch.number, "verdict.number", out)) {
    for (const TxVerdict& verdict : batch.verdicts) Judge(now, batch.number, verdict, out);
    AnswerTopQueries(out);
  }
  Finish(now, out);
}

void TxFlood::Impl::Judge(Time now, uint64_t number, const TxVerdict& verdict, ActionList& out) {
  if (verdict.bid && !IsLegal(*verdict.bid)) {
    out.emplace_back(CoreOutput(CoreRefused{
        CoreRefused::Stream::kTransactions, number, std::nullopt, "verdict.verdicts.bid",
        fmt::format("{} for {} operations", verdict.bid->fee, verdict.bid->operations),
        "a fee of 0 or more, at least 1 operation"}));
    return;
  }
  switch (verdict.judgement) {
    case TxJudgement::kValid:
      ++stats_.verdict_valid;
      break;
    case TxJudgement::kMalformed:
      ++stats_.verdict_malformed;
      break;
    case TxJudgement::kStale:
      ++stats_.verdict_stale;
      break;
    case TxJudgement::kLater:
      ++stats_.verdict_later;
      break;
  }
  if (const std::optional<TxIndex> index = table_.Find(verdict.hash)) {
    JudgeHeld(now, *index, verdict, out);
  } else {
    JudgeUnknown(verdict);
  }
}

void TxFlood::Impl::JudgeHeld(Time now, TxIndex index, const TxVerdict& verdict, ActionList& out) {
  TxRecord& record = table_[index];
  switch (verdict.judgement) {
    case TxJudgement::kValid:
      if (record.pending) {
        offers_.Remove(index);
        if (verdict.bid) record.bid = *verdict.bid;
        AdmitPending(now, index);
      } else if (verdict.bid) {
        const TxRef ref = table_.Ref(index);
        std::vector<TxIndex> displaced;
        mempool_.Rebid(index, *verdict.bid, displaced);
        DropDisplaced(displaced);
        if (table_.Resolve(ref)) advertiser_.Announce(index);
      }
      return;
    case TxJudgement::kMalformed:
      if (record.sender && peers_.contains(*record.sender)) {
        out.emplace_back(PeerOffence{*record.sender, Offence::kMalformedTransaction});
      }
      Refuse(index, TxFate::kMalformed);
      return;
    case TxJudgement::kStale:
      Refuse(index, TxFate::kStale);
      return;
    case TxJudgement::kLater:
      Refuse(index, TxFate::kLater);
      return;
  }
}

void TxFlood::Impl::JudgeUnknown(const TxVerdict& verdict) {
  switch (verdict.judgement) {
    case TxJudgement::kValid:
      memory_.Forget(verdict.hash);
      return;
    case TxJudgement::kMalformed:
    case TxJudgement::kStale: {
      const bool malformed = verdict.judgement == TxJudgement::kMalformed;
      memory_.Remember(verdict.hash, malformed ? TxFate::kMalformed : TxFate::kStale);
      tracker_.Forget(verdict.hash);
      return;
    }
    case TxJudgement::kLater:
      return;
  }
}

void TxFlood::Impl::OnLedgerClosed(Time now, LedgerSeq closed, ActionList& out) {
  memory_.OnLedgerClosed(closed);
  Finish(now, out);
}

void TxFlood::Impl::OnTxSetExternalized(Time now, const TxSetExternalized& externalized,
                                        ActionList& out) {
  ExternalizedApplied applied;
  applied.id = externalized.id;
  for (const TxHash& hash : externalized.transactions) {
    memory_.Remember(hash, TxFate::kExternalized);
    tracker_.Forget(hash);
    if (const std::optional<TxIndex> index = table_.Find(hash)) {
      ++applied.removed;
      Remove(*index);
    } else {
      ++applied.unknown;
    }
  }
  stats_.externalized += applied.removed;
  out.emplace_back(CoreOutput(applied));
  Finish(now, out);
}

void TxFlood::Impl::OnTopQuery(const TopQuery& query, ActionList& out) {
  if (query.after <= applied_number_) {
    AnswerTop(query, out);
  } else if (waiting_queries_.size() < kTopQueriesWaitingMax) {
    waiting_queries_.push_back(query);
  } else {
    out.emplace_back(
        CoreOutput(CoreRefused{CoreRefused::Stream::kTransactions, query.id, std::nullopt, "after",
                               fmt::format("{}", query.after),
                               fmt::format("at most {} calls that wait", kTopQueriesWaitingMax)}));
  }
}

void TxFlood::Impl::OnCancelTopQuery(const CancelTopQuery& cancel) {
  std::erase_if(waiting_queries_, [&](const TopQuery& query) { return query.id == cancel.id; });
}

void TxFlood::Impl::AnswerTopQueries(ActionList& out) {
  std::erase_if(waiting_queries_, [&](const TopQuery& query) {
    if (query.after > applied_number_) return false;
    AnswerTop(query, out);
    return true;
  });
}

void TxFlood::Impl::AnswerTop(const TopQuery& query, ActionList& out) const {
  out.emplace_back(CoreOutput(TopSnapshot{query.id, applied_number_, mempool_.Top(query)}));
}

// ---- time

void TxFlood::Impl::OnDeadline(Time now, ActionList& out) {
  std::vector<TxRequestTracker::Silent> silent;
  tracker_.OnDeadline(now, silent);
  for (const TxRequestTracker::Silent& one : silent) {
    out.emplace_back(PeerCommand(CancelRequest{one.peer, one.request}));
  }
  for (size_t i = 0; i < kTurnCountMax; ++i) {
    std::optional<TxIndex> index = mempool_.NextExpired(now);
    if (!index) index = offers_.NextExpired(now);
    if (!index) break;
    ++stats_.expired;
    Refuse(*index, TxFate::kAged);
  }
  Finish(now, out);
}

std::optional<Time> TxFlood::Impl::NextDeadline() const {
  std::optional<Time> next;
  const auto consider = [&next](std::optional<Time> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  if (!judges_ && offers_.oldest_pending()) consider(Time{});
  consider(tracker_.NextDeadline());
  consider(mempool_.NextExpiry());
  consider(offers_.NextDeadline());
  consider(advertiser_.NextDeadline());
  if (offers_.lost() > 0) consider(overflow_at_);
  if (CurrentFloor() != floor_told_) consider(floor_at_);
  return next;
}

void TxFlood::Impl::Finish(Time now, ActionList& out) {
  for (size_t i = 0; i < kTurnCountMax && !judges_ && offers_.oldest_pending(); ++i) {
    const TxIndex index = *offers_.oldest_pending();
    offers_.Remove(index);
    AdmitPending(now, index);
  }
  PauseOrResume(out);
  Demand(now, out);
  offers_.Deliver(now, out);
  TellOverflow(now, out);
  TellFloor(now, out);
  advertiser_.Flush(now, out);
  UpdateStats();
}

size_t TxFlood::Impl::PendingCountMax() const {
  return std::max<size_t>(1, static_cast<size_t>(limits_.pending_share_of_mempool *
                                                 static_cast<double>(limits_.mempool_count_max)));
}

// At least one transaction of any size, or a small mempool would never demand one.
size_t TxFlood::Impl::PendingBytesMax() const {
  return std::max(limits_.transaction_bytes_max,
                  static_cast<size_t>(limits_.pending_share_of_mempool *
                                      static_cast<double>(limits_.mempool_bytes_max)));
}

TxRequestTracker::Allowance TxFlood::Impl::Allowance() const {
  const auto rest = [](size_t max, size_t used) { return used < max ? max - used : 0; };
  const size_t in_flight = tracker_.in_flight_count();
  TxRequestTracker::Allowance allowance;
  allowance.count = rest(limits_.demands_total_max, in_flight);
  allowance.bytes = SIZE_MAX;
  if (judges_) {
    allowance.count =
        std::min(allowance.count, rest(PendingCountMax(), offers_.pending_count() + in_flight));
    allowance.bytes = rest(PendingBytesMax(), offers_.pending_bytes() + tracker_.in_flight_bytes());
  }
  return allowance;
}

void TxFlood::Impl::Demand(Time now, ActionList& out) {
  demands_.clear();
  tracker_.NextDemands(now, Allowance(), demands_);
  for (TxRequestTracker::Demand& demand : demands_) {
    out.emplace_back(
        PeerCommand(RequestBodies{demand.peer, demand.request, GetData{std::move(demand.hashes)}}));
  }
}

void TxFlood::Impl::PauseOrResume(ActionList& out) {
  for (auto& [id, peer] : peers_) {
    if (peer.paused) {
      tracker_.TakeWaiting(id, [this](const InvEntry& entry) { return IsFetchable(entry); });
    }
    const bool paused = tracker_.IsPaused(id);
    if (paused == peer.paused) continue;
    peer.paused = paused;
    out.emplace_back(PeerCommand(PauseInv{id, paused}));
  }
}

void TxFlood::Impl::TellOverflow(Time now, ActionList& out) {
  if (offers_.lost() == 0 || now < overflow_at_) return;
  overflow_at_ = now + limits_.overflow_report_interval;
  Overflow overflow;
  overflow.direction = Overflow::Direction::kToCore;
  overflow.stream = CoreStream::kTransactions;
  overflow.count = offers_.TakeLost();
  out.emplace_back(CoreOutput(overflow));
}

FeeFilter TxFlood::Impl::CurrentFloor() const {
  FeeFilter floor;
  for (size_t i = 0; i < kLaneCount; ++i) {
    floor.fee_per_op_min[i] = mempool_.FloorFeePerOp(static_cast<Lane>(i));
  }
  return floor;
}

void TxFlood::Impl::TellFloor(Time now, ActionList& out) {
  const FeeFilter floor = CurrentFloor();
  if (floor == floor_told_ || now < floor_at_) return;
  floor_told_ = floor;
  floor_at_ = now + kFloorInterval;
  for (const auto& [id, peer] : peers_) out.emplace_back(PeerCommand(SendTxControl{id, floor}));
}

void TxFlood::Impl::UpdateStats() {
  const TxRequestTracker::Counts& counts = tracker_.counts();
  stats_.demanded = counts.demanded;
  stats_.demand_timeouts = counts.timeouts;
  stats_.demand_not_found = counts.not_found;
  stats_.demand_given_up = counts.given_up;
  stats_.announced = advertiser_.announced();
  stats_.mempool_count = mempool_.count();
  stats_.mempool_bytes = mempool_.bytes();
  stats_.pending_count = offers_.pending_count();
  stats_.tracked_announcements = tracker_.announcement_count();
}

void TxFlood::Impl::CheckInvariants() const {
  table_.CheckInvariants();
  memory_.CheckInvariants();
  mempool_.CheckInvariants();
  offers_.CheckInvariants();
  tracker_.CheckInvariants();
  advertiser_.CheckInvariants();
  OVERLAY_CHECK(table_.size() == mempool_.count() + offers_.pending_count());
  OVERLAY_CHECK(peers_.size() + free_slots_.size() == slot_count_);
  OVERLAY_CHECK(waiting_queries_.size() <= kTopQueriesWaitingMax);
  OVERLAY_CHECK(tracker_.in_flight_count() <= limits_.demands_total_max);
  for (TxIndex i = 0; i < table_.capacity(); ++i) {
    if (!table_.IsUsed(i)) continue;
    OVERLAY_CHECK(!tracker_.IsTracked(table_[i].hash));
    OVERLAY_CHECK(memory_.Find(table_[i].hash) != TxFate::kExternalized);
  }
  for (const auto& [id, peer] : peers_) {
    size_t bytes = 0;
    for (const auto& [request, size] : peer.answers) bytes += size;
    OVERLAY_CHECK(bytes == peer.answer_bytes && bytes <= limits_.bodies_queue_bytes_max);
    OVERLAY_CHECK(peer.paused == tracker_.IsPaused(id));
  }
}

// ---- facade

TxFlood::TxFlood(const Limits& limits, TxStats& stats)
    : impl_(std::make_unique<Impl>(limits, stats)) {}
TxFlood::~TxFlood() = default;

void TxFlood::OnPeerConnected(Time now, const Peer& peer, ActionList& out) {
  impl_->OnPeerConnected(now, peer, out);
}
void TxFlood::OnPeerDisconnected(Time now, PeerId peer, ActionList& out) {
  impl_->OnPeerDisconnected(now, peer, out);
}
void TxFlood::OnInv(Time now, PeerId peer, const Inv& inv, ActionList& out) {
  impl_->OnInv(now, peer, inv, out);
}
void TxFlood::OnFeeFilter(Time now, PeerId peer, const FeeFilter& filter, ActionList& out) {
  impl_->OnFeeFilter(now, peer, filter, out);
}
void TxFlood::OnBodiesRequested(Time, const BodiesRequested& requested, ActionList& out) {
  impl_->OnBodiesRequested(requested, out);
}
void TxFlood::OnAnswerDone(Time, const AnswerDone& done, ActionList&) { impl_->OnAnswerDone(done); }
bool TxFlood::Owns(RequestId request) { return request.value >= kTxRequestIdFirst; }
void TxFlood::OnBodyReceived(Time now, const BodyReceived& received, ActionList& out) {
  impl_->OnBodyReceived(now, received, out);
}
void TxFlood::OnRequestEnded(Time now, const RequestEnded& ended, ActionList& out) {
  impl_->OnRequestEnded(now, ended, out);
}
void TxFlood::OnCoreAttached(Time now, const CoreAttached& attached, ActionList& out) {
  impl_->OnCoreAttached(now, attached, out);
}
void TxFlood::OnCoreDetached(Time now, ActionList& out) { impl_->OnCoreDetached(now, out); }
void TxFlood::OnCoreRoom(Time now, uint32_t messages, ActionList& out) {
  impl_->OnCoreRoom(now, messages, out);
}
void TxFlood::OnSubmit(Time now, const SubmitTransactions& batch, ActionList& out) {
  impl_->OnSubmit(now, batch, out);
}
void TxFlood::OnVerdicts(Time now, const TransactionVerdicts& batch, ActionList& out) {
  impl_->OnVerdicts(now, batch, out);
}
void TxFlood::OnLedgerClosed(Time now, LedgerSeq closed, ActionList& out) {
  impl_->OnLedgerClosed(now, closed, out);
}
void TxFlood::OnTxSetExternalized(Time now, const TxSetExternalized& externalized,
                                  ActionList& out) {
  impl_->OnTxSetExternalized(now, externalized, out);
}
void TxFlood::OnTopQuery(Time, const TopQuery& query, ActionList& out) {
  impl_->OnTopQuery(query, out);
}
void TxFlood::OnCancelTopQuery(Time, const CancelTopQuery& cancel) {
  impl_->OnCancelTopQuery(cancel);
}
void TxFlood::OnDeadline(Time now, ActionList& out) { impl_->OnDeadline(now, out); }
std::optional<Time> TxFlood::NextDeadline() const { return impl_->NextDeadline(); }
size_t TxFlood::pending_count() const { return impl_->pending_count(); }
size_t TxFlood::pooled_count() const { return impl_->pooled_count(); }
bool TxFlood::IsPooled(const TxHash& hash) const { return impl_->IsPooled(hash); }
void TxFlood::CheckInvariants() const { impl_->CheckInvariants(); }

}  // namespace overlay::flood
