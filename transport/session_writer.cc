#include "transport/session_writer.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::transport {
namespace {

// A smaller rest of a budget would make a small packet, and the next turn brings a new budget.
constexpr uint64_t kBulkRestBytesMin = 1000;

// The first byte of a stream, as a chunk that all streams of the kind share.
Bytes KindByte(StreamKind kind) {
  constexpr uint8_t kKindCount = 8;
  static const Bytes* const kinds = [] {
    auto* made = new std::array<Bytes, kKindCount>;
    for (uint8_t i = 0; i < kKindCount; ++i) (*made)[i] = Bytes::Copy(absl::MakeConstSpan(&i, 1));
    return made->data();
  }();
  return kinds[static_cast<size_t>(kind)];
}

uint64_t Less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

}  // namespace

// ---- class 0 ------------------------------------------------------------------------------------

bool SessionWriter::QueueEnvelope(Time now, EnvelopeToken token, LedgerSeq slot, Bytes envelope) {
  std::vector<EnvelopeToken> dropped;
  if (lanes_.QueueEnvelope(token, slot, envelope, dropped) != SendLanes::Outcome::kQueued) {
    return false;
  }
  Envelope& record = envelopes_[token.value];
  record.token = token;
  record.slot = slot;
  record.bytes = std::move(envelope);
  record.queued_at = now;
  record.order = next_order_++;
  for (EnvelopeToken gone : dropped) Finish(gone, EnvelopeDone::Outcome::kDropped);
  return true;
}

bool SessionWriter::CancelEnvelope(EnvelopeToken token) {
  auto it = envelopes_.find(token.value);
  if (it == envelopes_.end() || it->second.kind_packed) return false;
  if (!lanes_.CancelEnvelope(token)) return false;
  Finish(token, EnvelopeDone::Outcome::kCancelled);
  return true;
}

void SessionWriter::Finish(EnvelopeToken token, EnvelopeDone::Outcome outcome) {
  auto it = envelopes_.find(token.value);
  if (it == envelopes_.end()) return;
  lanes_.ForgetEnvelope(token);
  Release(it->second);
  envelopes_.erase(it);
  if (outcome == EnvelopeDone::Outcome::kDropped) ++stats_.envelopes_dropped;
  done_.push_back({token, outcome});
}

void SessionWriter::Release(Envelope& envelope) {
  if (envelope.stream < 0) return;
  if (!envelope.kind_packed) {
    if (spare_stream_) {
      resets_.push_back(envelope.stream);
    } else {
      spare_stream_ = envelope.stream;
    }
    return;
  }
  const uint64_t size = 1 + envelope.bytes.size();
  if (envelope.packed_bytes < size) {
    owed_bytes_ = Less(owed_bytes_, size - envelope.packed_bytes);
    resets_.push_back(envelope.stream);
  }
  class0_unacked_bytes_ -= envelope.packed_bytes - envelope.acked_bytes;
  class0_held_bytes_ -= size + kEnvelopeRecordBytes;
  by_stream_.erase(envelope.stream);
}

// ---- classes 1 to 3 -----------------------------------------------------------------------------

SessionWriter::LongStream& SessionWriter::LongOf(StreamKind kind) {
  OVERLAY_CHECK(kind == StreamKind::kControl || kind == StreamKind::kTxControl);
  return long_streams_[kind == StreamKind::kControl ? 0 : 1];
}

bool SessionWriter::OpenLongStream(QuicConnection& connection, StreamKind kind) {
  LongStream& state = LongOf(kind);
  if (state.lane) return true;
  const std::optional<StreamId> stream = connection.OpenUni();
  if (!stream) return false;
  const LaneStream lane{next_lane_++};
  if (lanes_.OpenStream(lane, SendClass::kControl, kLongStreamQueueBytesMax) !=
      SendLanes::Outcome::kQueued) {
    return false;
  }
  streams_[lane] = {*stream, SendClass::kControl};
  lane_of_[*stream] = lane;
  state.lane = lane;
  state.stream = *stream;
  lanes_.Append(lane, KindByte(kind), false);
  state.appended_bytes = 1;
  return true;
}

bool SessionWriter::SendFrame(StreamKind kind, Bytes frame, bool resend) {
  LongStream& state = LongOf(kind);
  if (!state.lane) return false;
  const size_t size = frame.size();
  if (lanes_.Append(*state.lane, frame, false) != SendLanes::Outcome::kQueued) return false;
  state.appended_bytes += size;
  state.unacked.push_back({std::move(frame), state.appended_bytes, resend});
  ++sent_[static_cast<size_t>(SendClass::kControl)].messages;
  ++stats_.sent[static_cast<size_t>(SendClass::kControl)].messages;
  return true;
}

std::optional<LaneStream> SessionWriter::AddUniStream(StreamKind kind) {
  const LaneStream lane{next_lane_++};
  if (lanes_.OpenStream(lane, SendClass::kControl, SIZE_MAX) != SendLanes::Outcome::kQueued) {
    return std::nullopt;
  }
  if (lanes_.Append(lane, KindByte(kind), false) != SendLanes::Outcome::kQueued) {
    lanes_.CloseStream(lane);
    return std::nullopt;
  }
  streams_[lane] = {-1, SendClass::kControl};
  return lane;
}

std::optional<LaneStream> SessionWriter::AddStream(StreamId stream, SendClass send_class) {
  const LaneStream lane{next_lane_++};
  if (lanes_.OpenStream(lane, send_class, SIZE_MAX) != SendLanes::Outcome::kQueued) {
    return std::nullopt;
  }
  streams_[lane] = {stream, send_class};
  lane_of_[stream] = lane;
  return lane;
}

bool SessionWriter::Append(LaneStream lane, Bytes chunk, bool fin) {
  return lanes_.Append(lane, std::move(chunk), fin) == SendLanes::Outcome::kQueued;
}

void SessionWriter::Abandon(LaneStream lane) {
  lanes_.CloseStream(lane);
  ForgetStream(lane);
}

void SessionWriter::ForgetStream(LaneStream lane) {
  auto it = streams_.find(lane);
  if (it == streams_.end()) return;
  lane_of_.erase(it->second.stream);
  streams_.erase(it);
  blocked_.erase(lane);
}

// ---- what the connection reports ----------------------------------------------------------------

void SessionWriter::OnAcked(StreamId stream, uint64_t bytes) {
  if (auto it = by_stream_.find(stream); it != by_stream_.end()) {
    Envelope& envelope = envelopes_.at(it->second.value);
    const uint64_t acked = std::clamp(bytes, envelope.acked_bytes, envelope.packed_bytes);
    class0_unacked_bytes_ -= acked - envelope.acked_bytes;
    envelope.acked_bytes = acked;
    return;
  }
  for (LongStream& state : long_streams_) {
    if (state.stream != stream) continue;
    while (!state.unacked.empty() && state.unacked.front().end_offset <= bytes) {
      state.unacked.pop_front();
    }
  }
}

bool SessionWriter::OnStreamClosed(Time now, StreamId stream, std::optional<uint64_t> code) {
  if (auto it = by_stream_.find(stream); it != by_stream_.end()) {
    const EnvelopeToken token = it->second;
    const Envelope& envelope = envelopes_.at(token.value);
    const bool whole = !code && envelope.packed_bytes == 1 + envelope.bytes.size();
    if (whole) stats_.envelope_to_ack.Add(now - envelope.queued_at);
    Finish(token, whole ? EnvelopeDone::Outcome::kAcknowledged : EnvelopeDone::Outcome::kDropped);
    return true;
  }
  if (spare_stream_ == stream) spare_stream_.reset();
  if (auto it = lane_of_.find(stream); it != lane_of_.end()) Abandon(it->second);
  return false;
}

void SessionWriter::OnCreditPerhaps() {
  lanes_.SetEnvelopesBlocked(false);
  bulk_out_of_credit_ = false;
  for (LaneStream lane : blocked_) lanes_.SetBlocked(lane, false);
}

// ---- a pass -------------------------------------------------------------------------------------

void SessionWriter::BeginPass(Time now, QuicConnection& connection, SendClass last,
                              uint64_t bulk_bytes) {
  now_ = now;
  connection_ = &connection;
  last_ = last;
  bulk_left_ = bulk_bytes;
  bulk_packed_ = 0;
}

uint64_t SessionWriter::EndPass() {
  connection_credit_out_ = connection_->max_data_left() <= owed_bytes_;
  UpdateStall();
  connection_ = nullptr;
  write_.reset();
  return bulk_packed_;
}

std::optional<StreamChunk> SessionWriter::Next() {
  while ((write_ = lanes_.Next(last_, bulk_left_))) {
    std::optional<StreamChunk> chunk =
        write_->send_class == SendClass::kScp ? EnvelopeChunk(*write_) : OtherChunk(*write_);
    if (chunk) return chunk;
  }
  return std::nullopt;
}

std::optional<StreamChunk> SessionWriter::EnvelopeChunk(const SendLanes::Write& write) {
  auto it = envelopes_.find(write.token.value);
  OVERLAY_CHECK(it != envelopes_.end());
  Envelope& envelope = it->second;
  if (envelope.stream < 0 && !GiveStream(envelope)) {
    lanes_.SetEnvelopesBlocked(true);
    front_queued_at_ = envelope.queued_at;
    return std::nullopt;
  }
  if (!envelope.kind_packed) return StreamChunk{envelope.stream, KindByte(StreamKind::kScp), false};
  return StreamChunk{envelope.stream, write.data, write.fin};
}

bool SessionWriter::GiveStream(Envelope& envelope) {
  const uint64_t size = 1 + envelope.bytes.size();
  if (class0_held_bytes_ + size + kEnvelopeRecordBytes > kUnacknowledgedBytesMax) return false;
  if (size > connection_->max_data_left()) return false;
  if (spare_stream_) {
    envelope.stream = *std::exchange(spare_stream_, std::nullopt);
    return true;
  }
  const std::optional<StreamId> stream = connection_->OpenUni();
  if (!stream) return false;
  envelope.stream = *stream;
  return true;
}

std::optional<StreamChunk> SessionWriter::OtherChunk(const SendLanes::Write& write) {
  auto it = streams_.find(write.stream);
  OVERLAY_CHECK(it != streams_.end());
  Stream& state = it->second;
  const bool is_bulk = write.send_class >= SendClass::kSets;
  uint64_t credit = Less(connection_->max_data_left(), owed_bytes_);
  if (is_bulk) credit = Less(credit, kBulkCreditReserveBytes);
  if (credit == 0 && !write.data.empty()) {
    if (is_bulk) {
      bulk_left_ = 0;
      bulk_out_of_credit_ = true;
    } else {
      lanes_.SetBlocked(write.stream, true);
      blocked_.insert(write.stream);
    }
    return std::nullopt;
  }
  if (state.stream < 0) {
    const std::optional<StreamId> opened = connection_->OpenUni();
    if (!opened) {
      lanes_.SetBlocked(write.stream, true);
      blocked_.insert(write.stream);
      return std::nullopt;
    }
    state.stream = *opened;
    lane_of_[*opened] = write.stream;
  }
  const bool whole = write.data.size() <= credit;
  return StreamChunk{state.stream, whole ? write.data : write.data.Slice(0, credit),
                     whole && write.fin};
}

void SessionWriter::OnPacked(StreamId stream, size_t bytes, bool fin) {
  if (!write_ || (bytes == 0 && !fin)) return;
  const size_t send_class = static_cast<size_t>(write_->send_class);
  sent_[send_class].bytes += bytes;
  stats_.sent[send_class].bytes += bytes;
  if (write_->send_class == SendClass::kScp) {
    OnEnvelopePacked(envelopes_.at(write_->token.value), bytes, fin);
    return;
  }
  const LaneStream lane = write_->stream;
  lanes_.OnWritten(*write_, bytes, fin);
  if (write_->send_class == SendClass::kControl) {
    control_progress_ = true;
  } else {
    bulk_packed_ += bytes;
    bulk_left_ = Less(bulk_left_, bytes);
    if (bulk_left_ < kBulkRestBytesMin) bulk_left_ = 0;
    if (fin) {
      ++sent_[send_class].messages;
      ++stats_.sent[send_class].messages;
    }
  }
  blocked_.erase(lane);
  if (fin) ForgetStream(lane);
  (void)stream;
}

void SessionWriter::OnEnvelopePacked(Envelope& envelope, size_t bytes, bool fin) {
  const uint64_t size = 1 + envelope.bytes.size();
  scp_progress_ = true;
  class0_unacked_bytes_ += bytes;
  envelope.packed_bytes += bytes;
  if (!envelope.kind_packed) {
    envelope.kind_packed = true;
    by_stream_[envelope.stream] = envelope.token;
    class0_held_bytes_ += size + kEnvelopeRecordBytes;
    owed_bytes_ += size - bytes;
    return;
  }
  owed_bytes_ = Less(owed_bytes_, bytes);
  lanes_.OnWritten(*write_, bytes, fin);
  if (!fin) return;
  ++sent_[0].messages;
  ++stats_.sent[0].messages;
  stats_.envelope_to_wire.Add(now_ - envelope.queued_at);
}

void SessionWriter::OnRefused(StreamId stream, WriteRefusal why) {
  if (!write_) return;
  const SendLanes::Write write = *write_;
  if (write.send_class == SendClass::kScp) {
    if (why == WriteRefusal::kGone) {
      Envelope& envelope = envelopes_.at(write.token.value);
      if (!envelope.kind_packed) envelope.stream = -1;  // never to be a spare
      Finish(write.token, EnvelopeDone::Outcome::kDropped);
    } else {
      // All of it was covered: only a peer that broke its own promise gets here.
      lanes_.SetEnvelopesBlocked(true);
    }
    return;
  }
  if (why == WriteRefusal::kGone) {
    gone_.push_back(stream);
    Abandon(write.stream);
  } else {
    lanes_.SetBlocked(write.stream, true);
    blocked_.insert(write.stream);
  }
}

// ---- R7 -----------------------------------------------------------------------------------------

void SessionWriter::UpdateStall() {
  if (lanes_.HasWaiting(SendClass::kScp) && lanes_.envelopes_blocked()) {
    if (!scp_stalled_since_) {
      scp_stalled_since_ = now_;
    } else if (scp_progress_) {
      scp_stalled_since_ = std::max(*scp_stalled_since_, front_queued_at_);
    }
  } else if (scp_progress_) {
    scp_stalled_since_.reset();
  }
  scp_progress_ = false;

  const LaneStream tx_control = long_streams_[1].lane.value_or(LaneStream{0});
  const bool control_blocked = std::any_of(blocked_.begin(), blocked_.end(), [&](LaneStream lane) {
    return streams_.at(lane).send_class == SendClass::kControl &&
           (lane != tx_control || connection_credit_out_);
  });
  if (!control_blocked || control_progress_) control_stalled_since_.reset();
  if (control_blocked && !control_stalled_since_) control_stalled_since_ = now_;
  control_progress_ = false;
}

std::optional<Time> SessionWriter::stalled_since() const {
  std::optional<Time> since = control_stalled_since_;
  if (scp_stalled_since_ && lanes_.HasWaiting(SendClass::kScp)) {
    since = since ? std::min(*since, *scp_stalled_since_) : scp_stalled_since_;
  }
  return since;
}

size_t SessionWriter::tx_control_queued_bytes() const {
  const std::optional<LaneStream>& lane = long_streams_[1].lane;
  return lane ? lanes_.stream_queued_bytes(*lane) : 0;
}

bool SessionWriter::idle() const {
  for (SendClass c : {SendClass::kScp, SendClass::kControl, SendClass::kSets, SendClass::kBodies}) {
    if (lanes_.HasWaiting(c)) return false;
  }
  return envelopes_.empty();
}

SessionWriter::Unacknowledged SessionWriter::TakeUnacknowledged() {
  Unacknowledged result;
  std::vector<Envelope*> ordered;
  for (auto& [token, envelope] : envelopes_) ordered.push_back(&envelope);
  std::sort(ordered.begin(), ordered.end(),
            [](const Envelope* a, const Envelope* b) { return a->order < b->order; });
  for (Envelope* envelope : ordered) {
    lanes_.ForgetEnvelope(envelope->token);
    Release(*envelope);
    result.envelopes.push_back({envelope->token, envelope->slot, std::move(envelope->bytes)});
  }
  envelopes_.clear();
  for (Frame& frame : long_streams_[0].unacked) {
    if (std::exchange(frame.resend, false)) result.control.push_back(frame.bytes);
  }
  for (Frame& frame : long_streams_[1].unacked) {
    if (std::exchange(frame.resend, false)) result.tx_control.push_back(frame.bytes);
  }
  return result;
}

void SessionWriter::CheckInvariants() const {
  lanes_.CheckInvariants();
  uint64_t unacked = 0;
  uint64_t held = 0;
  uint64_t owed = 0;
  size_t begun = 0;
  for (const auto& [token, envelope] : envelopes_) {
    OVERLAY_CHECK(envelope.acked_bytes <= envelope.packed_bytes);
    unacked += envelope.packed_bytes - envelope.acked_bytes;
    if (!envelope.kind_packed) continue;
    ++begun;
    const uint64_t size = 1 + envelope.bytes.size();
    held += size + kEnvelopeRecordBytes;
    owed += size - envelope.packed_bytes;
    OVERLAY_CHECK(by_stream_.at(envelope.stream).value == token);
  }
  OVERLAY_CHECK(begun == by_stream_.size());
  OVERLAY_CHECK(unacked == class0_unacked_bytes_);
  OVERLAY_CHECK(held == class0_held_bytes_ && held <= kUnacknowledgedBytesMax);
  OVERLAY_CHECK(owed == owed_bytes_);
  for (const auto& [stream, lane] : lane_of_) OVERLAY_CHECK(streams_.at(lane).stream == stream);
  for (LaneStream lane : blocked_) OVERLAY_CHECK(streams_.contains(lane));
}

}  // namespace overlay::transport
