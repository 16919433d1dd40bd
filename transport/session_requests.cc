// PeerSession: requests for bodies and sets, and their answers, both ways.
#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "transport/peer_session.h"

namespace overlay::transport {
namespace {

// Pieces below this are copied together: a chunk of its own costs a frame and a call.
constexpr size_t kSharedPieceBytesMin = 4 * kKiB;

// Small pieces joined into chunks, large ones shared.
class ChunkBuilder {
 public:
  void Add(absl::Span<const uint8_t> bytes) {
    joined_.insert(joined_.end(), bytes.begin(), bytes.end());
    if (joined_.size() >= 4 * kSharedPieceBytesMin) Flush();
  }
  void AddShared(const Bytes& bytes) {
    if (bytes.size() < kSharedPieceBytesMin) return Add(bytes.span());
    Flush();
    chunks_.push_back(bytes);
  }
  std::vector<Bytes> Take() {
    Flush();
    return std::move(chunks_);
  }

 private:
  void Flush() {
    if (joined_.empty()) return;
    chunks_.push_back(Bytes::Take(std::exchange(joined_, {})));
  }

  std::vector<uint8_t> joined_;
  std::vector<Bytes> chunks_;
};

std::vector<Bytes> EncodeBodies(const std::vector<BodyAnswer>& answers, bool with_bodies) {
  ChunkBuilder chunks;
  for (const BodyAnswer& answer : answers) {
    const bool has_body = answer.outcome == BodyOutcome::kBody;
    const BodyOutcome outcome = has_body && !with_bodies ? BodyOutcome::kNotFound : answer.outcome;
    const uint8_t number = static_cast<uint8_t>(outcome);
    chunks.Add(absl::MakeConstSpan(&number, 1));
    if (outcome != BodyOutcome::kBody) continue;
    chunks.Add(EncodeLength(static_cast<uint32_t>(answer.body.size())));
    chunks.AddShared(answer.body);
  }
  return chunks.Take();
}

}  // namespace

// ---- ours ---------------------------------------------------------------------------------------

void PeerSession::Request(RequestId request, std::variant<GetData, SetRequest> what) {
  if (phase_ != Phase::kPeer || waiting_.size() >= kRequestsWaitingMax) {
    ++env_.stats.requests_refused;
    return Emit(RequestEnded{{}, request, false});
  }
  waiting_.emplace_back(request, std::move(what));
  PumpRequests();
}

size_t PeerSession::OpenBodiesCount() const {
  return static_cast<size_t>(std::count_if(own_.begin(), own_.end(), [](const auto& entry) {
    return std::holds_alternative<BodiesReader>(entry.second.reader);
  }));
}

// Opens what waits, in order; a request for bodies over its bound does not hold up one for a set.
void PeerSession::PumpRequests() {
  if (phase_ != Phase::kPeer) return;
  size_t bodies_count = OpenBodiesCount();
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (own_.size() >= kRequestsOpenMax) return;
    const bool bodies = std::holds_alternative<GetData>(it->second);
    if (bodies && bodies_count >= kBodiesRequestsOpenMax) {
      ++it;
      continue;
    }
    if (!OpenRequest(it->first, it->second)) return;
    if (bodies) ++bodies_count;
    it = waiting_.erase(it);
  }
}

bool PeerSession::OpenRequest(RequestId request, const std::variant<GetData, SetRequest>& what) {
  QuicConnection* connection = conn();
  if (connection == nullptr) return false;
  const std::optional<StreamId> stream = connection->OpenBidi();
  if (!stream) return false;
  const std::optional<LaneStream> lane = writer_.AddStream(*stream, SendClass::kControl);
  const GetData* bodies = std::get_if<GetData>(&what);
  const StreamKind kind = bodies != nullptr ? StreamKind::kTxBodies : StreamKind::kSet;
  const Bytes frame =
      bodies != nullptr ? EncodeGetData(*bodies) : EncodeSetRequest(std::get<SetRequest>(what));
  std::vector<uint8_t> bytes = {static_cast<uint8_t>(kind)};
  bytes.insert(bytes.end(), frame.span().begin(), frame.span().end());
  if (!lane || !writer_.Append(*lane, Bytes::Take(std::move(bytes)), /*fin=*/true)) {
    if (lane) writer_.Abandon(*lane);
    connection->ResetSending(*stream, static_cast<uint64_t>(StreamCode::kCancelled));
    connection->StopReading(*stream, static_cast<uint64_t>(StreamCode::kCancelled));
    ++env_.stats.requests_refused;
    Emit(RequestEnded{{}, request, false});
    return true;
  }
  const Limits& limits = env_.options.limits;
  if (bodies != nullptr) {
    own_.try_emplace(
        *stream, OwnRequest{request, *stream, BodiesReader(*bodies, limits.transaction_bytes_max)});
  } else {
    const SetRequest& set = std::get<SetRequest>(what);
    const size_t bytes_max =
        set.key.kind == SetKind::kTxSet ? limits.tx_set_bytes_max : limits.quorum_set_bytes_max;
    own_.try_emplace(*stream, OwnRequest{request, *stream, SetReader(set, bytes_max)});
  }
  own_by_id_[request] = *stream;
  return true;
}

void PeerSession::OnAnswerData(StreamId stream, absl::Span<const uint8_t> bytes, bool fin) {
  ReturnCredit(stream, bytes.size());
  OwnRequest& own = own_.at(stream);
  ReadStep step = ReadStep::kMore;
  if (auto* bodies = std::get_if<BodiesReader>(&own.reader)) {
    CountReceived(SendClass::kBodies, bytes.size(), fin ? 1 : 0);
    std::vector<BodyAnswer> answers;
    partial_bodies_bytes_ -= bodies->buffered_bytes();
    step = bodies->OnData(bytes, fin, answers);
    partial_bodies_bytes_ += bodies->buffered_bytes();
    for (BodyAnswer& answer : answers) Emit(BodyReceived{{}, own.id, std::move(answer)});
    if (step == ReadStep::kMore && partial_bodies_bytes_ > kPartialBodiesBytesMax) {
      step = ReadStep::kTooLarge;
    }
  } else {
    CountReceived(SendClass::kSets, bytes.size(), fin ? 1 : 0);
    std::optional<SetHeader> header;
    Bytes data;
    step = std::get<SetReader>(own.reader).OnData(bytes, fin, header, data);
    if (header) Emit(SetHeaderReceived{{}, own.id, *header});
    if (!data.empty()) Emit(SetDataReceived{{}, own.id, std::move(data)});
  }
  switch (step) {
    case ReadStep::kMore:
      return;
    case ReadStep::kDone:
      return EndOwnRequest(stream, true, std::nullopt);
    case ReadStep::kBroken:
      return EndOwnRequest(stream, false, std::nullopt);
    case ReadStep::kTooLarge:
    case ReadStep::kMalformed:
      ++env_.stats.offences[static_cast<size_t>(Offence::kUnsolicited)];
      Emit(PeerOffence{{}, Offence::kUnsolicited});
      return EndOwnRequest(stream, false, StreamCode::kTooLarge);
  }
}

void PeerSession::EndOwnRequest(StreamId stream, bool complete, std::optional<StreamCode> stop) {
  auto it = own_.find(stream);
  const RequestId id = it->second.id;
  if (const auto* bodies = std::get_if<BodiesReader>(&it->second.reader)) {
    partial_bodies_bytes_ -= bodies->buffered_bytes();
  }
  own_.erase(it);
  own_by_id_.erase(id);
  if (stop) RefuseAsked(stream, *stop);
  Emit(RequestEnded{{}, id, complete});
  PumpRequests();
}

bool PeerSession::CancelRequest(RequestId request) {
  if (auto it = own_by_id_.find(request); it != own_by_id_.end()) {
    EndOwnRequest(it->second, false, StreamCode::kCancelled);
    return true;
  }
  auto waits = std::find_if(waiting_.begin(), waiting_.end(),
                            [&](const auto& entry) { return entry.first == request; });
  if (waits != waiting_.end()) {
    waiting_.erase(waits);
    Emit(RequestEnded{{}, request, false});
    return true;
  }
  if (auto it = asked_.find(request); it != asked_.end()) {
    RefuseAsked(it->second.stream, StreamCode::kCancelled);
    return true;
  }
  return false;
}

// ---- the peer's ---------------------------------------------------------------------------------

void PeerSession::OnAskedData(Time now, StreamId stream, absl::Span<const uint8_t> bytes,
                              bool fin) {
  ReturnCredit(stream, bytes.size());
  CountReceived(SendClass::kControl, bytes.size(), fin ? 1 : 0);
  InStream& state = in_streams_.at(stream);
  if (asked_by_stream_.contains(stream)) return;
  while (!bytes.empty()) {
    const auto frame = state.frames->Next(bytes);
    if (!frame.ok()) return CloseFor(now, frame.status());
    if (!frame->has_value()) break;
    if (state.kind == InKind::kBodiesAsked) {
      auto message = DecodeGetData(**frame);
      if (!message.ok()) return CloseFor(now, message.status());
      if (!message->has_value()) continue;
      if (state.asked) return Close(now, CloseReason::kProtocol, "a second request on a stream");
      state.asked = std::move(**message);
    } else {
      auto message = DecodeSetRequest(**frame);
      if (!message.ok()) return CloseFor(now, message.status());
      if (!message->has_value()) continue;
      if (state.asked) return Close(now, CloseReason::kProtocol, "a second request on a stream");
      state.asked = **message;
    }
  }
  if (!fin) return;
  if (!state.asked || state.frames->partial_bytes() > 0) {
    return Close(now, CloseReason::kMalformed, "a request ended early");
  }
  state.frames.reset();
  Announce(stream, *std::exchange(state.asked, std::nullopt));
}

void PeerSession::Announce(StreamId stream, std::variant<GetData, SetRequest> asked) {
  const RequestId request{env_.next_request++};
  GetData* bodies = std::get_if<GetData>(&asked);
  asked_[request] = {stream, bodies != nullptr, std::nullopt};
  asked_by_stream_[stream] = request;
  if (bodies != nullptr) {
    Emit(BodiesRequested{{}, request, std::move(*bodies)});
  } else {
    Emit(SetRequested{{}, request, std::get<SetRequest>(asked)});
  }
}

bool PeerSession::SendAnswer(PeerRequest& request, SendClass send_class,
                             std::vector<Bytes> chunks) {
  request.lane = writer_.AddStream(request.stream, send_class);
  if (!request.lane) return false;
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (!writer_.Append(*request.lane, std::move(chunks[i]), i + 1 == chunks.size())) {
      // Nothing of it was packed yet: no pass has been since.
      writer_.Abandon(*std::exchange(request.lane, std::nullopt));
      ++env_.stats.answers_refused;
      return false;
    }
  }
  return true;
}

bool PeerSession::AnswerBodies(RequestId id, const std::vector<BodyAnswer>& answers) {
  auto it = asked_.find(id);
  if (it == asked_.end() || !it->second.for_bodies) return false;
  PeerRequest& request = it->second;
  if (request.lane || phase_ != Phase::kPeer) return true;
  if (!SendAnswer(request, SendClass::kBodies, EncodeBodies(answers, /*with_bodies=*/true)) &&
      !SendAnswer(request, SendClass::kBodies, EncodeBodies(answers, /*with_bodies=*/false))) {
    RefuseAsked(request.stream, StreamCode::kRefused);
  }
  return true;
}

bool PeerSession::AnswerSet(RequestId id, const SetHeader& header, Bytes encoded) {
  auto it = asked_.find(id);
  if (it == asked_.end() || it->second.for_bodies) return false;
  PeerRequest& request = it->second;
  if (request.lane || phase_ != Phase::kPeer) return true;
  std::vector<Bytes> chunks = {EncodeSetHeader(header)};
  if (!encoded.empty()) chunks.push_back(std::move(encoded));
  if (!SendAnswer(request, SendClass::kSets, std::move(chunks))) {
    RefuseAsked(request.stream, StreamCode::kRefused);
  }
  return true;
}

// Stops a stream of the peer, or the answer to one of ours, both directions where there are two. A
// request that was handed over is done.
void PeerSession::RefuseAsked(StreamId stream, StreamCode code) {
  if (auto it = in_streams_.find(stream); it != in_streams_.end()) {
    InStream& state = it->second;
    if (state.kind == InKind::kBodiesAsked) --asked_bodies_count_;
    if (state.kind == InKind::kSetAsked) --asked_sets_count_;
    state.kind = InKind::kStopped;
    state.frames.reset();
    state.asked.reset();
  }
  if (QuicConnection* connection = conn()) {
    connection->StopReading(stream, static_cast<uint64_t>(code));
    if (!IsUni(stream)) connection->ResetSending(stream, static_cast<uint64_t>(code));
  }
  if (auto it = asked_by_stream_.find(stream); it != asked_by_stream_.end()) EndAsked(it->second);
}

void PeerSession::EndAsked(RequestId request) {
  auto it = asked_.find(request);
  if (it->second.lane) writer_.Abandon(*it->second.lane);
  asked_by_stream_.erase(it->second.stream);
  asked_.erase(it);
  Emit(AnswerDone{{}, request});
}

void PeerSession::SendState(const StateHeader& header, const std::vector<Bytes>& envelopes) {
  if (phase_ != Phase::kPeer) return;
  ChunkBuilder chunks;
  chunks.AddShared(EncodeStateHeader(header));
  for (const Bytes& envelope : envelopes) {
    chunks.Add(EncodeLength(static_cast<uint32_t>(envelope.size())));
    chunks.AddShared(envelope);
  }
  std::vector<Bytes> pieces = chunks.Take();
  const std::optional<LaneStream> lane = writer_.AddUniStream(StreamKind::kState);
  bool sent = lane.has_value();
  for (size_t i = 0; sent && i < pieces.size(); ++i) {
    sent = writer_.Append(*lane, pieces[i], i + 1 == pieces.size());
  }
  if (sent) return;
  ++env_.stats.answers_refused;
  if (lane) writer_.Abandon(*lane);
  // The asker is told rather than left to its time-out.
  if (!header.refused) SendState({header.id, /*refused=*/true}, {});
}

}  // namespace overlay::transport
