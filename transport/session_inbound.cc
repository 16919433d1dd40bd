// PeerSession: what comes in on streams that the peer opened, but for its requests.
#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "transport/peer_session.h"

namespace overlay::transport {

void PeerSession::ReturnCredit(StreamId stream, size_t bytes) {
  QuicConnection* connection = conn();
  if (connection == nullptr || bytes == 0) return;
  connection->ExtendStream(stream, bytes);
  connection->ExtendConnection(bytes);
}

// Before the peer is one: its control stream is read up to its Hello, the rest is held.
bool PeerSession::HoldIfEarly(Time now, const StreamData& data) {
  if (phase_ == Phase::kPeer) return false;
  if (data.stream == control_in_) return false;
  const bool is_control = IsUni(data.stream) && data.offset == 0 && !data.bytes.empty() &&
                          data.bytes[0] == static_cast<uint8_t>(StreamKind::kControl);
  if (is_control) return false;
  // An entry costs something beside its bytes.
  early_bytes_ += data.bytes.size() + kEnvelopeRecordBytes;
  if (early_bytes_ > kEarlyBytesMax) {
    Close(now, CloseReason::kProtocol, "too much data before Hello");
    return true;
  }
  early_.push_back({data.stream, std::pair(Bytes::Copy(data.bytes), data.fin)});
  return true;
}

void PeerSession::OnStreamOpened(Time now, StreamId stream) {
  if (!IsUni(stream)) return;
  if (inbound_.OnOpened(stream) == InboundEnvelopes::Outcome::kOverBudget) {
    RefuseEnvelope(now, stream, StreamCode::kIncompleteTooLong, Offence::kIncompleteEnvelopes);
  }
}

void PeerSession::OnStreamData(Time now, StreamId stream, absl::Span<const uint8_t> bytes,
                               bool fin) {
  if (phase_ == Phase::kPeer) {
    inbound_.OnPeerData(now);
    for (StreamId late : inbound_.Expire()) {
      RefuseEnvelope(now, late, StreamCode::kIncompleteTooLong, Offence::kIncompleteEnvelopes);
    }
    if (phase_ != Phase::kPeer) return;
    if (own_.contains(stream)) return OnAnswerData(stream, bytes, fin);
  }
  auto it = in_streams_.find(stream);
  if (it == in_streams_.end()) {
    if (inbound_.IsRefused(stream) || bytes.empty()) {
      // Refused before its kind was known, an empty stream, or one of ours that is over.
      ReturnCredit(stream, bytes.size());
      inbound_.OnOtherKind(stream);
      return;
    }
    it = in_streams_.try_emplace(stream).first;
    BeginStream(now, stream, bytes[0], it->second);
    if (phase_ == Phase::kClosed) return;
    const InKind kind = it->second.kind;
    if (kind != InKind::kScp) {
      inbound_.OnOtherKind(stream);
      ReturnCredit(stream, 1);
    } else {
      it->second.held_credit_bytes = 1;
    }
    bytes.remove_prefix(1);
  }
  switch (it->second.kind) {
    case InKind::kScp:
      return OnEnvelopeData(now, stream, bytes, fin);
    case InKind::kControl:
      return OnControlData(now, stream, bytes, fin);
    case InKind::kTxControl:
      return OnTxControlData(now, stream, bytes, fin);
    case InKind::kState:
      return OnStateData(now, stream, bytes, fin);
    case InKind::kBodiesAsked:
    case InKind::kSetAsked:
      return OnAskedData(now, stream, bytes, fin);
    case InKind::kStopped:
      return ReturnCredit(stream, bytes.size());
  }
}

void PeerSession::BeginStream(Time now, StreamId stream, uint8_t number, InStream& state) {
  const std::optional<StreamKind> kind = StreamKindOf(number);
  if (!kind) {
    if (!IsIgnorable(number)) return Close(now, CloseReason::kMalformed, "unknown stream kind");
    state.kind = InKind::kStopped;
    return StopUnknown(stream);
  }
  const bool is_request = *kind == StreamKind::kTxBodies || *kind == StreamKind::kSet;
  if (is_request == IsUni(stream)) {
    return Close(now, CloseReason::kProtocol, "a stream of the wrong direction for its kind");
  }
  switch (*kind) {
    case StreamKind::kScp:
      state.kind = InKind::kScp;
      return;
    case StreamKind::kControl:
    case StreamKind::kTxControl: {
      const bool control = *kind == StreamKind::kControl;
      StreamId& current = control ? control_in_ : tx_control_in_;
      if (current >= 0) return Close(now, CloseReason::kProtocol, "a second long-lived stream");
      current = stream;
      state.kind = control ? InKind::kControl : InKind::kTxControl;
      state.frames = std::make_unique<FrameReader>();
      return;
    }
    case StreamKind::kState:
      state.kind = InKind::kState;
      state.state = std::make_unique<StateReader>(env_.options.limits.envelope_bytes_max,
                                                  kStateAnswerBytesMax);
      return;
    case StreamKind::kTxBodies:
    case StreamKind::kSet: {
      const bool bodies = *kind == StreamKind::kTxBodies;
      // An answer that has left whole counts no more: its asker may ask again as soon as it is
      // there, and our stream closes only when that is acknowledged.
      size_t bodies_count = asked_bodies_count_;
      size_t all_count = asked_bodies_count_ + asked_sets_count_;
      if (all_count >= kBodiesRequestsOpenMax) {
        for (const auto& [request, asked] : asked_) {
          if (!asked.lane || writer_.lanes().HasStream(*asked.lane)) continue;
          --all_count;
          if (asked.for_bodies) --bodies_count;
        }
      }
      if (all_count >= kRequestsOpenMax || (bodies && bodies_count >= kBodiesRequestsOpenMax)) {
        state.kind = InKind::kStopped;
        RefuseAsked(stream, StreamCode::kRefused);
        ++env_.stats.offences[static_cast<size_t>(Offence::kOverEager)];
        return Emit(PeerOffence{{}, Offence::kOverEager});
      }
      size_t& count = bodies ? asked_bodies_count_ : asked_sets_count_;
      ++count;
      state.kind = bodies ? InKind::kBodiesAsked : InKind::kSetAsked;
      state.frames = std::make_unique<FrameReader>();
      return;
    }
    case StreamKind::kGossip:
      state.kind = InKind::kStopped;
      return StopUnknown(stream);
  }
}

void PeerSession::StopUnknown(StreamId stream) {
  ++env_.stats.streams_unknown;
  RefuseAsked(stream, StreamCode::kUnknownKind);
}

// ---- envelopes ----------------------------------------------------------------------------------

void PeerSession::OnEnvelopeData(Time now, StreamId stream, absl::Span<const uint8_t> bytes,
                                 bool fin) {
  auto it = in_streams_.find(stream);
  it->second.held_credit_bytes += bytes.size();
  Bytes envelope;
  switch (inbound_.OnData(stream, bytes, fin, envelope)) {
    case InboundEnvelopes::Outcome::kIncomplete:
      return;
    case InboundEnvelopes::Outcome::kIgnored:
      break;
    case InboundEnvelopes::Outcome::kComplete:
      CountReceived(SendClass::kScp, envelope.size() + 1, 1);
      Emit(EnvelopeReceived{{}, std::move(envelope)});
      break;
    case InboundEnvelopes::Outcome::kEmpty:
      ++env_.stats.offences[static_cast<size_t>(Offence::kMalformedPayload)];
      Emit(PeerOffence{{}, Offence::kMalformedPayload});
      break;
    case InboundEnvelopes::Outcome::kTooLarge:
      return RefuseEnvelope(now, stream, StreamCode::kTooLarge, Offence::kOversizeEnvelope);
    case InboundEnvelopes::Outcome::kOverBudget:
      return RefuseEnvelope(now, stream, StreamCode::kIncompleteTooLong,
                            Offence::kIncompleteEnvelopes);
  }
  if (QuicConnection* connection = conn()) {
    connection->ExtendConnection(it->second.held_credit_bytes);
  }
  in_streams_.erase(it);
}

void PeerSession::RefuseEnvelope(Time now, StreamId stream, StreamCode code, Offence offence) {
  inbound_.OnRefused(stream);
  uint64_t held_bytes = 0;
  if (auto it = in_streams_.find(stream); it != in_streams_.end()) {
    held_bytes = it->second.held_credit_bytes;
    in_streams_.erase(it);
  }
  if (QuicConnection* connection = conn()) {
    connection->StopReading(stream, static_cast<uint64_t>(code));
    if (held_bytes > 0) connection->ExtendConnection(held_bytes);
  }
  ++env_.stats.offences[static_cast<size_t>(offence)];
  if (shared_ != nullptr) Emit(PeerOffence{{}, offence});
  if (inbound_.TooManyRefused()) {
    Close(now, CloseReason::kFlood, "too many streams refused and not closed");
  }
}

// ---- control ------------------------------------------------------------------------------------

void PeerSession::OnControlData(Time now, StreamId stream, absl::Span<const uint8_t> bytes,
                                bool fin) {
  if (fin) return Close(now, CloseReason::kProtocol, "the control stream ended");
  ReturnCredit(stream, bytes.size());
  CountReceived(SendClass::kControl, bytes.size(), 0);
  HandleControl(now, bytes);
}

void PeerSession::HandleControl(Time now, absl::Span<const uint8_t> bytes) {
  while (!bytes.empty() && phase_ != Phase::kClosed) {
    if (phase_ == Phase::kGreeted || phase_ == Phase::kHandshaking) {
      early_bytes_ += bytes.size();
      if (early_bytes_ > kEarlyBytesMax) {
        return Close(now, CloseReason::kProtocol, "too much data before it is a peer");
      }
      control_backlog_.insert(control_backlog_.end(), bytes.begin(), bytes.end());
      return;
    }
    const auto frame = in_streams_.at(control_in_).frames->Next(bytes);
    if (!frame.ok()) return CloseFor(now, frame.status());
    if (!frame->has_value()) return;
    auto message = DecodeControl(**frame);
    if (!message.ok()) return CloseFor(now, message.status());
    CountReceived(SendClass::kControl, 0, 1);
    if (message->has_value()) HandleControlMessage(now, std::move(**message));
  }
}

void PeerSession::HandleControlMessage(Time now, ControlMessage message) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    if (phase_ != Phase::kGreeting) return Close(now, CloseReason::kProtocol, "a second Hello");
    return OnHello(now, *hello);
  }
  if (phase_ != Phase::kPeer) return Close(now, CloseReason::kProtocol, "no Hello first");
  if (const auto* ping = std::get_if<overlay::Ping>(&message)) {
    if (ping_answered_at_ != Time::min() && now - ping_answered_at_ < kPingAnswerInterval) return;
    ping_answered_at_ = now;
    SendOwnFrame(now, Pong{ping->id, ping->sent, env_.WallAt(now)}, /*resend=*/false);
  } else if (const auto* pong = std::get_if<Pong>(&message)) {
    OnPong(now, *pong);
  } else if (const auto* goaway = std::get_if<Goaway>(&message)) {
    shared_->goaway = *goaway;
  } else {
    Emit(ControlReceived{{}, std::move(message)});
  }
}

void PeerSession::OnTxControlData(Time now, StreamId stream, absl::Span<const uint8_t> bytes,
                                  bool fin) {
  if (fin) return Close(now, CloseReason::kProtocol, "the tx control stream ended");
  CountReceived(SendClass::kControl, bytes.size(), 0);
  if (shared_->inv_paused) {
    tx_control_backlog_.insert(tx_control_backlog_.end(), bytes.begin(), bytes.end());
    return;
  }
  ReturnCredit(stream, bytes.size());
  HandleTxControl(now, bytes);
}

void PeerSession::HandleTxControl(Time now, absl::Span<const uint8_t> bytes) {
  while (!bytes.empty() && phase_ != Phase::kClosed) {
    const auto frame = in_streams_.at(tx_control_in_).frames->Next(bytes);
    if (!frame.ok()) return CloseFor(now, frame.status());
    if (!frame->has_value()) return;
    auto message = DecodeTxControl(**frame);
    if (!message.ok()) return CloseFor(now, message.status());
    CountReceived(SendClass::kControl, 0, 1);
    if (message->has_value()) Emit(TxControlReceived{{}, std::move(**message)});
  }
}

// ---- state answers ------------------------------------------------------------------------------

void PeerSession::OnStateData(Time now, StreamId stream, absl::Span<const uint8_t> bytes,
                              bool fin) {
  ReturnCredit(stream, bytes.size());
  CountReceived(SendClass::kControl, bytes.size(), fin ? 1 : 0);
  InStream& state = in_streams_.at(stream);
  std::optional<StateHeader> header;
  std::vector<Bytes> envelopes;
  const ReadStep step = state.state->OnData(bytes, fin, header, envelopes);
  if (step == ReadStep::kMalformed) {
    return Close(now, CloseReason::kMalformed, "a state answer");
  }
  if (header) {
    std::vector<uint64_t>& asked = shared_->state_asked;
    auto it = std::find(asked.begin(), asked.end(), header->id);
    if (it == asked.end()) {
      ++env_.stats.offences[static_cast<size_t>(Offence::kUnsolicited)];
      Emit(PeerOffence{{}, Offence::kUnsolicited});
      state.kind = InKind::kStopped;
      return RefuseAsked(stream, StreamCode::kRefused);
    }
    asked.erase(it);
    state.state_id = header->id;
    if (header->refused) {
      Emit(StateReceived{{}, header->id, StateReceived::Part::kRefused, {}});
      state.kind = InKind::kStopped;
      return;
    }
  }
  for (Bytes& envelope : envelopes) {
    Emit(StateReceived{{}, state.state_id, StateReceived::Part::kEnvelope, std::move(envelope)});
  }
  if (step == ReadStep::kMore) return;
  if (step == ReadStep::kTooLarge) RefuseAsked(stream, StreamCode::kTooLarge);
  EndState(stream,
           step == ReadStep::kDone ? StateReceived::Part::kEnd : StateReceived::Part::kBroken);
}

void PeerSession::EndState(StreamId stream, StateReceived::Part part) {
  InStream& state = in_streams_.at(stream);
  state.kind = InKind::kStopped;
  state.state.reset();
  if (state.state_id != 0) Emit(StateReceived{{}, state.state_id, part, {}});
}

// ---- ends ---------------------------------------------------------------------------------------

void PeerSession::OnStreamReset(Time now, const StreamReset& reset) {
  if (own_.contains(reset.stream)) return EndOwnRequest(reset.stream, false, std::nullopt);
  auto it = in_streams_.find(reset.stream);
  if (it == in_streams_.end()) return inbound_.OnOtherKind(reset.stream);
  switch (it->second.kind) {
    case InKind::kControl:
    case InKind::kTxControl:
      return Close(now, CloseReason::kProtocol, "a long-lived stream was reset");
    case InKind::kState:
      return EndState(reset.stream, StateReceived::Part::kBroken);
    case InKind::kScp:
      inbound_.OnOtherKind(reset.stream);
      if (QuicConnection* connection = conn()) {
        connection->ExtendConnection(it->second.held_credit_bytes);
      }
      in_streams_.erase(it);
      return;
    case InKind::kBodiesAsked:
    case InKind::kSetAsked:
      // A request that was given up before it was whole, or after: then its answer is not wanted.
      return RefuseAsked(reset.stream, StreamCode::kCancelled);
    case InKind::kStopped:
      return;
  }
}

void PeerSession::OnStreamClosed(Time now, const StreamClosed& closed) {
  const StreamId stream = closed.stream;
  writer_.OnStreamClosed(now, stream, closed.code);
  const bool opened_by_peer = IsOpenedByDialler(stream) != origin_.dialled;
  if (!opened_by_peer) {
    if (own_.contains(stream)) EndOwnRequest(stream, false, std::nullopt);
    return;
  }
  inbound_.OnClosed(stream);
  if (stream == control_in_ || stream == tx_control_in_) {
    return Close(now, CloseReason::kProtocol, "a long-lived stream was closed");
  }
  if (auto it = asked_by_stream_.find(stream); it != asked_by_stream_.end()) EndAsked(it->second);
  if (auto it = in_streams_.find(stream); it != in_streams_.end()) {
    const InStream& state = it->second;
    if (state.kind == InKind::kBodiesAsked) --asked_bodies_count_;
    if (state.kind == InKind::kSetAsked) --asked_sets_count_;
    if (state.kind == InKind::kState) EndState(stream, StateReceived::Part::kBroken);
    in_streams_.erase(stream);
  }
  if (QuicConnection* connection = conn()) {
    if (IsUni(stream)) {
      connection->ReturnUniStream();
    } else {
      connection->ReturnBidiStream();
    }
  }
}

}  // namespace overlay::transport
