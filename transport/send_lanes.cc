#include "transport/send_lanes.h"

#include <algorithm>

#include "flood/base/check.h"
#include "transport/bulk_window.h"

namespace overlay::transport {
namespace {

// R4: the others' 5 % of all is 1/19 of class 0's 95 %.
constexpr size_t kShareDivisor = 19;
constexpr size_t kOwedBytesMin = kBulkPacketBytes;
constexpr size_t kOwedBytesMax = 4 * kBulkPacketBytes;
static_assert(kOwedBytesMax >= kOwedBytesMin);

// R5 and R6: some 6 packets a turn, and three times that for sets.
constexpr int64_t kTurnBytes = 8 * kKiB;
constexpr int64_t TurnBytes(SendClass send_class) {
  return send_class == SendClass::kSets ? 3 * kTurnBytes : kTurnBytes;
}

constexpr bool IsBulk(SendClass send_class) { return send_class >= SendClass::kSets; }
constexpr SendClass OtherBulk(SendClass send_class) {
  return send_class == SendClass::kSets ? SendClass::kBodies : SendClass::kSets;
}

}  // namespace

LaneLimits LaneLimits::From(const Limits& limits) {
  LaneLimits lanes;
  lanes.scp_bytes_max = limits.scp_queue_bytes_max;
  lanes.scp_count_max = limits.scp_queue_bytes_max / 128;
  lanes.sets_bytes_max = limits.sets_served_per_peer_max * (limits.tx_set_bytes_max + kKiB);
  lanes.bodies_bytes_max = limits.bodies_queue_bytes_max;
  return lanes;
}

SendLanes::SendLanes(const LaneLimits& limits) : limits_(limits) { ResetBulkTurn(); }

// ---- class 0 ----------------------------------------------------------------------------------

SendLanes::Outcome SendLanes::QueueEnvelope(EnvelopeToken token, LedgerSeq slot, Bytes envelope,
                                            std::vector<EnvelopeToken>& dropped) {
  Lane& lane = LaneOf(SendClass::kScp);
  if (arrival_by_token_.contains(token.value)) return Outcome::kDuplicate;
  if (envelope.empty() || envelope.size() > limits_.scp_bytes_max) {
    ++lane.refused_count;
    return Outcome::kOverLimit;
  }
  const uint64_t arrival = next_arrival_++;
  lane.queued_bytes += envelope.size();
  envelopes_.emplace_hint(envelopes_.end(), arrival, Envelope{token, slot, std::move(envelope)});
  by_slot_.emplace(slot, arrival);
  arrival_by_token_.emplace(token.value, arrival);
  DropOverBound(dropped);
  return Outcome::kQueued;
}

void SendLanes::DropOverBound(std::vector<EnvelopeToken>& dropped) {
  Lane& lane = LaneOf(SendClass::kScp);
  while (lane.queued_bytes > limits_.scp_bytes_max || envelopes_.size() > limits_.scp_count_max) {
    OVERLAY_CHECK(!by_slot_.empty());
    const auto it = envelopes_.find(by_slot_.begin()->second);
    dropped.push_back(it->second.token);
    ++lane.refused_count;
    RemoveEnvelope(it);
  }
}

bool SendLanes::CancelEnvelope(EnvelopeToken token) {
  const auto arrival = arrival_by_token_.find(token.value);
  if (arrival == arrival_by_token_.end()) return false;
  const auto it = envelopes_.find(arrival->second);
  if (it->second.written_bytes > 0) return false;
  RemoveEnvelope(it);
  return true;
}

bool SendLanes::ForgetEnvelope(EnvelopeToken token) {
  const auto arrival = arrival_by_token_.find(token.value);
  if (arrival == arrival_by_token_.end()) return false;
  RemoveEnvelope(envelopes_.find(arrival->second));
  return true;
}

void SendLanes::RemoveEnvelope(EnvelopeQueue::iterator it) {
  const Envelope& envelope = it->second;
  LaneOf(SendClass::kScp).queued_bytes -= envelope.bytes.size();
  by_slot_.erase({envelope.slot, it->first});
  arrival_by_token_.erase(envelope.token.value);
  envelopes_.erase(it);
  ForgetDebtIfIdle();
}

// ---- classes 1 to 3 ---------------------------------------------------------------------------

SendLanes::Outcome SendLanes::OpenStream(LaneStream stream, SendClass send_class,
                                         size_t bytes_max) {
  OVERLAY_CHECK(send_class != SendClass::kScp);
  if (streams_.contains(stream)) return Outcome::kDuplicate;
  if (streams_.size() >= limits_.stream_count_max) {
    ++LaneOf(send_class).refused_count;
    return Outcome::kOverLimit;
  }
  Stream& state = streams_[stream];
  state.send_class = send_class;
  state.bytes_max = bytes_max;
  return Outcome::kQueued;
}

SendLanes::Outcome SendLanes::Append(LaneStream stream, Bytes chunk, bool fin) {
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return Outcome::kUnknown;
  Stream& state = it->second;
  if (state.fin) return Outcome::kAlreadyEnded;
  Lane& lane = LaneOf(state.send_class);
  if (chunk.size() > state.bytes_max - state.queued_bytes ||
      chunk.size() > BytesMax(state.send_class) - lane.queued_bytes ||
      (!chunk.empty() && state.chunks.size() >= limits_.chunks_per_stream_max)) {
    ++lane.refused_count;
    return Outcome::kOverLimit;
  }
  const bool had_something = state.HasSomething();
  state.queued_bytes += chunk.size();
  lane.queued_bytes += chunk.size();
  if (!chunk.empty()) state.chunks.push_back(std::move(chunk));
  state.fin = fin;
  UpdateReady(stream, state, had_something);
  return Outcome::kQueued;
}

void SendLanes::SetBlocked(LaneStream stream, bool blocked) {
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  it->second.blocked = blocked;
  UpdateReady(stream, it->second, it->second.HasSomething());
}

void SendLanes::CloseStream(LaneStream stream) {
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  Stream& state = it->second;
  const bool had_something = state.HasSomething();
  LaneOf(state.send_class).queued_bytes -= state.queued_bytes;
  state.queued_bytes = 0;
  state.chunks.clear();
  state.fin = false;
  UpdateReady(stream, state, had_something);
  streams_.erase(it);
}

void SendLanes::Restart() {
  streams_.clear();
  for (Lane& lane : lanes_) {
    lane.ready.clear();
    lane.waiting_count = 0;
    if (&lane != &LaneOf(SendClass::kScp)) lane.queued_bytes = 0;
  }
  if (!envelopes_.empty() && envelopes_.begin()->second.written_bytes > 0) {
    Envelope& begun = envelopes_.begin()->second;
    begun.written_bytes = 0;
    by_slot_.emplace(begun.slot, envelopes_.begin()->first);
  }
  envelopes_blocked_ = false;
  ResetBulkTurn();
  ForgetDebtIfIdle();
}

void SendLanes::UpdateReady(LaneStream stream, Stream& state, bool had_something) {
  Lane& lane = LaneOf(state.send_class);
  const bool has_something = state.HasSomething();
  lane.waiting_count += has_something ? 1 : 0;
  lane.waiting_count -= had_something ? 1 : 0;
  const bool ready = has_something && !state.blocked;
  if (ready == state.ready.has_value()) return;
  if (ready) {
    state.ready = lane.ready.insert(lane.ready.end(), stream);
  } else {
    lane.ready.erase(*state.ready);
    state.ready.reset();
    state.turn_bytes = 0;
  }
  GiveTurn(lane);
  if (!BulkContended()) ResetBulkTurn();
  ForgetDebtIfIdle();
}

void SendLanes::GiveTurn(Lane& lane) {
  while (!lane.ready.empty()) {
    Stream& front = streams_.find(lane.ready.front())->second;
    if (front.turn_bytes > 0) return;
    front.turn_bytes += kTurnBytes;
    if (front.turn_bytes <= 0) lane.ready.splice(lane.ready.end(), lane.ready, lane.ready.begin());
  }
}

bool SendLanes::BulkContended() const {
  return !LaneOf(SendClass::kSets).ready.empty() && !LaneOf(SendClass::kBodies).ready.empty();
}

void SendLanes::ResetBulkTurn() {
  bulk_turn_ = SendClass::kSets;
  LaneOf(SendClass::kSets).turn_bytes = TurnBytes(SendClass::kSets);
  LaneOf(SendClass::kBodies).turn_bytes = 0;
}

// ---- what goes next ---------------------------------------------------------------------------

bool SendLanes::OthersSendable() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& lane) { return !lane.ready.empty(); });
}

void SendLanes::ForgetDebtIfIdle() {
  if (envelopes_.empty() || !OthersSendable()) unpaid_bytes_ = 0;
}

std::optional<SendLanes::Write> SendLanes::Next(SendClass last, size_t bulk_budget_bytes) const {
  if (!EnvelopeSendable()) return NextOther(last, bulk_budget_bytes, SIZE_MAX);
  const size_t owed = unpaid_bytes_ / kShareDivisor;
  if (owed >= kOwedBytesMin) {
    std::optional<Write> other = NextOther(SendClass::kBodies, bulk_budget_bytes, owed);
    if (other) return other;
  }
  const Envelope& envelope = envelopes_.begin()->second;
  Write write;
  write.send_class = SendClass::kScp;
  write.token = envelope.token;
  write.data = envelope.bytes.Slice(envelope.written_bytes);
  write.fin = true;
  write.is_first = envelope.written_bytes == 0;
  return write;
}

std::optional<SendLanes::Write> SendLanes::NextOther(SendClass last, size_t bulk_budget_bytes,
                                                     size_t bytes_max) const {
  if (last >= SendClass::kControl && !LaneOf(SendClass::kControl).ready.empty()) {
    return FrontOf(SendClass::kControl, bytes_max);
  }
  if (bulk_budget_bytes == 0) return std::nullopt;
  bytes_max = std::min({bytes_max, bulk_budget_bytes, size_t{kBulkPassBytesMax}});
  for (const SendClass send_class : {bulk_turn_, OtherBulk(bulk_turn_)}) {
    if (send_class <= last && !LaneOf(send_class).ready.empty()) {
      return FrontOf(send_class, bytes_max);
    }
  }
  return std::nullopt;
}

SendLanes::Write SendLanes::FrontOf(SendClass send_class, size_t bytes_max) const {
  Write write;
  write.send_class = send_class;
  write.stream = LaneOf(send_class).ready.front();
  const Stream& state = streams_.find(write.stream)->second;
  if (!state.chunks.empty()) {
    write.data = state.chunks.front().Slice(state.chunk_written_bytes, bytes_max);
  }
  write.fin = state.fin && write.data.size() == state.queued_bytes;
  return write;
}

void SendLanes::OnWritten(const Write& write, size_t bytes, bool fin) {
  OVERLAY_CHECK(bytes <= write.data.size());
  OVERLAY_CHECK(!fin || (write.fin && bytes == write.data.size()));
  if (write.send_class == SendClass::kScp) {
    OnEnvelopeWritten(write, bytes, fin);
  } else {
    OnStreamWritten(write, bytes, fin);
  }
}

void SendLanes::OnEnvelopeWritten(const Write& write, size_t bytes, bool fin) {
  const auto arrival = arrival_by_token_.find(write.token.value);
  if (arrival == arrival_by_token_.end()) return;
  const auto it = envelopes_.find(arrival->second);
  OVERLAY_CHECK(it == envelopes_.begin());
  Envelope& envelope = it->second;
  OVERLAY_CHECK(bytes <= envelope.bytes.size() - envelope.written_bytes);
  Lane& lane = LaneOf(SendClass::kScp);
  if (bytes > 0 && envelope.written_bytes == 0) by_slot_.erase({envelope.slot, it->first});
  envelope.written_bytes += bytes;
  lane.written_bytes += bytes;
  if (OthersSendable()) {
    unpaid_bytes_ = std::min(unpaid_bytes_ + bytes, kOwedBytesMax * kShareDivisor);
  }
  if (fin) RemoveEnvelope(it);
}

void SendLanes::OnStreamWritten(const Write& write, size_t bytes, bool fin) {
  const auto it = streams_.find(write.stream);
  if (it == streams_.end()) return;
  Stream& state = it->second;
  const bool had_something = state.HasSomething();
  Lane& lane = LaneOf(state.send_class);
  if (bytes > 0) {
    OVERLAY_CHECK(!state.chunks.empty());
    OVERLAY_CHECK(bytes <= state.chunks.front().size() - state.chunk_written_bytes);
    state.chunk_written_bytes += bytes;
    if (state.chunk_written_bytes == state.chunks.front().size()) {
      state.chunks.pop_front();
      state.chunk_written_bytes = 0;
    }
    state.queued_bytes -= bytes;
    lane.queued_bytes -= bytes;
    lane.written_bytes += bytes;
    unpaid_bytes_ -= std::min(unpaid_bytes_, bytes * kShareDivisor);
    Charge(state, static_cast<int64_t>(bytes));
  }
  if (fin) state.fin = false;
  UpdateReady(write.stream, state, had_something);
  if (fin) streams_.erase(it);
}

void SendLanes::Charge(Stream& state, int64_t bytes) {
  Lane& lane = LaneOf(state.send_class);
  if (state.ready) {
    state.turn_bytes -= bytes;
    if (state.turn_bytes <= 0) {
      lane.ready.splice(lane.ready.end(), lane.ready, *state.ready);
      GiveTurn(lane);
    }
  }
  if (!IsBulk(state.send_class) || !BulkContended()) return;
  lane.turn_bytes -= bytes;
  while (LaneOf(bulk_turn_).turn_bytes <= 0) {
    bulk_turn_ = OtherBulk(bulk_turn_);
    LaneOf(bulk_turn_).turn_bytes += TurnBytes(bulk_turn_);
  }
}

// ---- figures ----------------------------------------------------------------------------------

size_t SendLanes::BytesMax(SendClass send_class) const {
  switch (send_class) {
    case SendClass::kScp:
      return limits_.scp_bytes_max;
    case SendClass::kControl:
      return limits_.control_bytes_max;
    case SendClass::kSets:
      return limits_.sets_bytes_max;
    case SendClass::kBodies:
      return limits_.bodies_bytes_max;
  }
  OVERLAY_CHECK(false);
}

bool SendLanes::HasWaiting(SendClass send_class) const { return queued_count(send_class) > 0; }

size_t SendLanes::queued_bytes(SendClass send_class) const {
  return LaneOf(send_class).queued_bytes;
}

size_t SendLanes::queued_count(SendClass send_class) const {
  return send_class == SendClass::kScp ? envelopes_.size() : LaneOf(send_class).waiting_count;
}

uint64_t SendLanes::written_bytes(SendClass send_class) const {
  return LaneOf(send_class).written_bytes;
}

uint64_t SendLanes::refused_count(SendClass send_class) const {
  return LaneOf(send_class).refused_count;
}

size_t SendLanes::stream_queued_bytes(LaneStream stream) const {
  const auto it = streams_.find(stream);
  return it == streams_.end() ? 0 : it->second.queued_bytes;
}

void SendLanes::CheckInvariants() const {
  size_t scp_bytes = 0;
  size_t begun_count = 0;
  for (const auto& [arrival, envelope] : envelopes_) {
    const bool begun = envelope.written_bytes > 0;
    OVERLAY_CHECK(!begun || arrival == envelopes_.begin()->first);
    OVERLAY_CHECK(envelope.written_bytes <= envelope.bytes.size());
    OVERLAY_CHECK(by_slot_.contains({envelope.slot, arrival}) == !begun);
    const auto by_token = arrival_by_token_.find(envelope.token.value);
    OVERLAY_CHECK(by_token != arrival_by_token_.end() && by_token->second == arrival);
    begun_count += begun ? 1 : 0;
    scp_bytes += envelope.bytes.size();
  }
  OVERLAY_CHECK(by_slot_.size() + begun_count == envelopes_.size());
  OVERLAY_CHECK(arrival_by_token_.size() == envelopes_.size());
  OVERLAY_CHECK(envelopes_.size() <= limits_.scp_count_max);
  OVERLAY_CHECK(streams_.size() <= limits_.stream_count_max);

  std::array<size_t, kSendClassCount> bytes{scp_bytes};
  std::array<size_t, kSendClassCount> waiting{};
  std::array<size_t, kSendClassCount> ready{};
  for (const auto& [stream, state] : streams_) {
    const size_t index = static_cast<size_t>(state.send_class);
    size_t stream_bytes = 0;
    for (const Bytes& chunk : state.chunks) stream_bytes += chunk.size();
    OVERLAY_CHECK(stream_bytes == state.queued_bytes + state.chunk_written_bytes);
    OVERLAY_CHECK(state.queued_bytes <= state.bytes_max);
    OVERLAY_CHECK(state.ready.has_value() == (state.HasSomething() && !state.blocked));
    const bool at_turn = state.ready && **state.ready == LaneOf(state.send_class).ready.front();
    OVERLAY_CHECK(at_turn == (state.turn_bytes > 0));
    bytes[index] += state.queued_bytes;
    waiting[index] += state.HasSomething() ? 1 : 0;
    ready[index] += state.ready ? 1 : 0;
  }
  for (size_t i = 0; i < kSendClassCount; ++i) {
    const Lane& lane = lanes_[i];
    OVERLAY_CHECK(lane.queued_bytes == bytes[i]);
    OVERLAY_CHECK(lane.queued_bytes <= BytesMax(static_cast<SendClass>(i)));
    OVERLAY_CHECK(lane.waiting_count == waiting[i]);
    OVERLAY_CHECK(lane.ready.size() == ready[i]);
  }
  OVERLAY_CHECK(LaneOf(bulk_turn_).turn_bytes > 0);
  OVERLAY_CHECK(LaneOf(OtherBulk(bulk_turn_)).turn_bytes <= 0);
  OVERLAY_CHECK(unpaid_bytes_ <= kOwedBytesMax * kShareDivisor);
  OVERLAY_CHECK(unpaid_bytes_ == 0 || (!envelopes_.empty() && OthersSendable()));
}

}  // namespace overlay::transport
