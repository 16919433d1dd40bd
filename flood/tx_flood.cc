#include "flood/tx_flood.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/tx_flood_impl.h"

namespace overlay::flood {
namespace {

// Transactions that leave by age, or are admitted because a new core does not judge, in one turn:
// 500 are some 300 us, the rest follows in the next.
constexpr size_t kTurnCountMax = 500;
constexpr Duration kFloorInterval = std::chrono::seconds(1);

}  // namespace

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
  ApplyExternalized(out);
  memory_.DropOver(kForgottenPerTurn);
  Finish(now, out);
}

std::optional<Time> TxFlood::Impl::NextDeadline() const {
  std::optional<Time> next;
  const auto consider = [&next](std::optional<Time> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  if (!judges_ && offers_.oldest_pending()) consider(Time{});
  if (!externalizing_.empty() || memory_.has_over()) consider(Time{});
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
  allowance.bytes = rest(body_bytes_max_, body_bytes());
  if (judges_) {
    allowance.count =
        std::min(allowance.count, rest(PendingCountMax(), offers_.pending_count() + in_flight));
    allowance.bytes =
        std::min(allowance.bytes,
                 rest(PendingBytesMax(), offers_.pending_bytes() + tracker_.in_flight_bytes()));
  }
  if (memory_pressed_) allowance.count = 0;
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

// ---- memory

void TxFlood::Impl::SetMemoryPressed(Time now, bool pressed, ActionList& out) {
  memory_pressed_ = pressed;
  Finish(now, out);
}

size_t TxFlood::Impl::CancelAnswer(ActionList& out) {
  auto heaviest = peers_.end();
  for (auto it = peers_.begin(); it != peers_.end(); ++it) {
    if (it->second.answer_bytes == 0) continue;
    if (heaviest == peers_.end() || it->second.answer_bytes > heaviest->second.answer_bytes)
      heaviest = it;
  }
  if (heaviest == peers_.end()) return 0;
  PeerState& peer = heaviest->second;
  const auto answer =
      std::min_element(peer.answers.begin(), peer.answers.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
  const size_t bytes = answer->second;
  out.emplace_back(PeerCommand(CancelRequest{heaviest->first, answer->first}));
  peer.answers.erase(answer);  // its end has no effect any more
  peer.answer_bytes -= bytes;
  answer_bytes_ -= bytes;
  return bytes;
}

size_t TxFlood::Impl::FreeBodies(size_t bytes, ActionList& out) {
  size_t freed = 0;
  for (size_t i = 0; i < kTurnCountMax && freed < bytes; ++i) {
    if (const size_t cancelled = CancelAnswer(out)) {
      freed += cancelled;
      ++stats_.answers_cancelled;
      continue;
    }
    const std::optional<TxIndex> oldest = offers_.oldest_pending();
    if (!oldest) break;
    freed += table_[*oldest].body.size();
    ++stats_.bodies_dropped;
    Remove(*oldest);
  }
  UpdateStats();
  return freed;
}

size_t TxFlood::Impl::FreeCheapest(size_t bytes, ActionList&) {
  size_t freed = 0;
  for (size_t i = 0; i < kTurnCountMax && freed < bytes; ++i) {
    const std::optional<TxIndex> cheapest = mempool_.Cheapest();
    if (!cheapest) break;
    freed += table_[*cheapest].body.size();
    ++stats_.evicted;
    Remove(*cheapest);
  }
  UpdateStats();
  return freed;
}

void TxFlood::Impl::UpdateStats() {
  const TxRequestTracker::Counts& counts = tracker_.counts();
  stats_.demanded = counts.demanded;
  stats_.demand_timeouts = counts.timeouts;
  stats_.demand_not_found = counts.not_found;
  stats_.demand_given_up = counts.given_up;
  stats_.announced = advertiser_.announced();
  stats_.announcements_held = advertiser_.held();
  stats_.mempool_count = mempool_.count();
  stats_.mempool_bytes = mempool_.bytes();
  stats_.pending_count = offers_.pending_count();
  stats_.tracked_announcements = tracker_.announcement_count();
}

TxTrace TxFlood::Impl::Trace(const TxHash& hash) const {
  using Place = TxTrace::Place;
  TxTrace trace;
  if (const std::optional<TxIndex> index = table_.Find(hash)) {
    const TxRecord& record = table_[*index];
    trace.place = record.pooled ? Place::kPooled : Place::kPending;
    trace.size_bytes = record.body.size();
    trace.bid = record.bid;
    trace.account = record.account;
    trace.sequence = record.sequence;
    trace.arrived = record.arrived;
    trace.offers = record.offers;
    if (record.sender) trace.from = record.sender_key;
    if (record.pooled) trace.pooled_at = record.pooled_at;
    for (const auto& [id, peer] : peers_) {
      if (table_.Knows(*index, peer.slot)) trace.known_by.push_back(peer.key);
    }
    return trace;
  }
  for (const TxRequestTracker::Announcer& announcer : tracker_.Announcers(hash)) {
    trace.announcers.push_back(
        {peers_.at(announcer.peer).key, announcer.state, announcer.asked_at});
    const bool asked = announcer.state == AskState::kAsked;
    if (trace.place != Place::kAsked) trace.place = asked ? Place::kAsked : Place::kAnnounced;
  }
  trace.fate = memory_.Find(hash);
  if (trace.fate) trace.place = Place::kRemembered;
  return trace;
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
  size_t answer_bytes = 0;
  for (const auto& [id, peer] : peers_) {
    size_t bytes = 0;
    for (const auto& [request, size] : peer.answers) bytes += size;
    OVERLAY_CHECK(bytes == peer.answer_bytes && bytes <= limits_.bodies_queue_bytes_max);
    answer_bytes += bytes;
    OVERLAY_CHECK(peer.paused == tracker_.IsPaused(id));
  }
  OVERLAY_CHECK(answer_bytes == answer_bytes_);
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
void TxFlood::OnInvBlocked(Time now, const InvBlocked& told, ActionList& out) {
  impl_->OnInvBlocked(now, told, out);
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
void TxFlood::SetMemoryPressed(Time now, bool pressed, ActionList& out) {
  impl_->SetMemoryPressed(now, pressed, out);
}
void TxFlood::SetMemoryRoom(uint64_t bytes) { impl_->SetMemoryRoom(bytes); }
size_t TxFlood::FreeBodies(size_t bytes, ActionList& out) { return impl_->FreeBodies(bytes, out); }
size_t TxFlood::FreeCheapest(size_t bytes, ActionList& out) {
  return impl_->FreeCheapest(bytes, out);
}
size_t TxFlood::body_bytes() const { return impl_->body_bytes(); }
size_t TxFlood::mempool_bytes() const { return impl_->mempool_bytes(); }
size_t TxFlood::pending_count() const { return impl_->pending_count(); }
size_t TxFlood::pooled_count() const { return impl_->pooled_count(); }
bool TxFlood::IsPooled(const TxHash& hash) const { return impl_->IsPooled(hash); }
TxTrace TxFlood::Trace(const TxHash& hash) const { return impl_->Trace(hash); }
void TxFlood::CheckInvariants() const { impl_->CheckInvariants(); }

}  // namespace overlay::flood
