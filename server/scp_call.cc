#include "server/scp_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/attach_call.h"

namespace overlay::server {
namespace {

constexpr size_t kObserverQueueMax = 1000;

}  // namespace

grpc::ByteBuffer ScpCall::EncodeEnvelope(const flood::DeliverEnvelope& envelope) {
  v1::ScpDown down;
  v1::ScpReceived* received = down.mutable_received();
  received->set_envelope(std::string(envelope.envelope.view()));
  received->set_hash(ToBytes(envelope.hash.view()));
  received->set_peer(ToBytes(envelope.from.view()));
  received->set_slot(envelope.refs.slot.value);
  std::string* sets = received->mutable_tx_set_hashes();
  sets->reserve(envelope.refs.tx_sets.size() * kHashBytes);
  for (const SetHash& hash : envelope.refs.tx_sets) sets->append(hash.view());
  received->set_quorum_set_hash(ToBytes(envelope.refs.quorum_set.view()));
  received->set_redelivered(envelope.redelivered);
  return Encode(down);
}

void ScpCall::OnOpened(Time now) {
  if (session_->scp != nullptr) {
    call_.Finish({grpc::StatusCode::ALREADY_EXISTS, "Scp: this session has its Scp call already"});
    return;
  }
  session_->scp = this;
  for (const flood::Overflow& lost : std::exchange(session_->untold, {})) OnOutput(now, lost);
  Pump(now);
  if (!session_->observer) {
    sessions_.node().OnCoreInput(now, flood::CoreRoom{flood::CoreStream::kScp, kScpWindow});
  }
}

void ScpCall::OnClosed(Time now) {
  if (session_->scp != this) return;
  session_->scp = nullptr;
  sessions_.End(now, session_, v1::Detached::REASON_SCP_ENDED);
}

void ScpCall::OnHalfClosed(Time now) {
  if (session_ == nullptr || session_->scp != this) return;
  sessions_.End(now, session_, v1::Detached::REASON_SCP_ENDED);
}

void ScpCall::OnMessage(Time now, const grpc::ByteBuffer& message) {
  if (session_ == nullptr) return;
  SessionCounters& counters = sessions_.mutable_counters();
  ++counters.scp_messages_up;
  counters.scp_bytes_up += message.Length();
  v1::ScpUp up;
  if (!Decode(message, &up)) {
    ++counters.refused_malformed;
    FinishNotProtobuf("ScpUp");
    return;
  }
  if (session_->observer && up.message_case() != v1::ScpUp::MESSAGE_NOT_SET) {
    Refuse(now, MakeError(grpc::StatusCode::PERMISSION_DENIED, "message", "of an observer",
                          "nothing: observers read"));
  } else {
    switch (up.message_case()) {
      case v1::ScpUp::kBroadcast:
        OnBroadcast(now, up.broadcast());
        break;
      case v1::ScpUp::kRequestState:
        OnRequestState(now, up.request_state());
        break;
      case v1::ScpUp::kStateReply:
        OnStateReply(now, up.state_reply());
        break;
      case v1::ScpUp::kVerdict:
        OnVerdict(now, up.verdict());
        break;
      case v1::ScpUp::MESSAGE_NOT_SET:
        Refuse(now, MakeError(grpc::StatusCode::INVALID_ARGUMENT, "message", "not set",
                              "broadcast, request_state, state_reply or verdict"));
        break;
    }
  }
  Pump(now);
}

void ScpCall::OnBroadcast(Time now, const v1::ScpBroadcast& broadcast) {
  const std::optional<uint64_t> id =
      broadcast.has_id() ? std::optional(broadcast.id()) : std::nullopt;
  const size_t bytes_max = sessions_.options().limits.envelope_bytes_max;
  if (broadcast.envelope().empty() || broadcast.envelope().size() > bytes_max) {
    Refuse(now,
           MakeError(grpc::StatusCode::INVALID_ARGUMENT, "broadcast.envelope",
                     DescribeBytes(broadcast.envelope()), fmt::format("1 to {} bytes", bytes_max)),
           id);
    return;
  }
  sessions_.node().OnCoreInput(
      now, flood::BroadcastEnvelope{id, Bytes::Copy(std::string_view(broadcast.envelope())),
                                    broadcast.force()});
}

void ScpCall::OnRequestState(Time now, const v1::ScpRequestState& request) {
  if (session_->requests_open >= kStateRequestsOpenMax) {
    Refuse(now,
           MakeError(grpc::StatusCode::RESOURCE_EXHAUSTED, "request_state",
                     fmt::format("{} open", session_->requests_open),
                     fmt::format("at most {} open", kStateRequestsOpenMax)),
           request.id());
    return;
  }
  ++session_->requests_open;
  const uint32_t peers =
      request.max_peers() == 0 ? 2 : std::min(request.max_peers(), kStatePeersMax);
  sessions_.node().OnCoreInput(
      now, flood::RequestState{request.id(), LedgerSeq{request.from_slot()}, peers,
                               request.redeliver()});
}

void ScpCall::OnStateReply(Time now, const v1::ScpStateReply& reply) {
  const size_t bytes_max = sessions_.options().limits.envelope_bytes_max;
  flood::StateReply input;
  input.id = reply.request_id();
  input.last = reply.last();
  size_t total = 0;
  for (int i = 0; i < reply.envelopes_size(); ++i) {
    const std::string& envelope = reply.envelopes(i);
    total += envelope.size();
    if (envelope.empty() || envelope.size() > bytes_max) {
      Refuse(
          now,
          MakeError(grpc::StatusCode::INVALID_ARGUMENT, fmt::format("state_reply.envelopes[{}]", i),
                    DescribeBytes(envelope), fmt::format("1 to {} bytes", bytes_max)),
          reply.request_id());
      return;
    }
    input.envelopes.push_back(Bytes::Copy(std::string_view(envelope)));
  }
  if (total > kCoreChunkBytesMax && reply.envelopes_size() > 1) {
    Refuse(now,
           MakeError(grpc::StatusCode::INVALID_ARGUMENT, "state_reply.envelopes",
                     fmt::format("{} bytes in all", total),
                     fmt::format("at most {} bytes in all, or one envelope", kCoreChunkBytesMax)),
           reply.request_id());
    return;
  }
  sessions_.node().OnCoreInput(now, std::move(input));
}

void ScpCall::OnVerdict(Time now, const v1::ScpVerdict& verdict) {
  const std::optional<EnvelopeHash> hash = EnvelopeHash::FromBytes(verdict.hash());
  if (!hash) {
    Refuse(now, MakeError(grpc::StatusCode::INVALID_ARGUMENT, "verdict.hash",
                          DescribeBytes(verdict.hash()), "32 bytes"));
    return;
  }
  flood::EnvelopeVerdict input{*hash, flood::EnvelopeJudgement::kDiscarded};
  switch (verdict.verdict()) {
    case v1::ScpVerdict::VERDICT_INVALID:
      input.judgement = flood::EnvelopeJudgement::kInvalid;
      break;
    case v1::ScpVerdict::VERDICT_DISCARDED:
      break;
    default: {
      v1::Error error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, "verdict.verdict",
                                  fmt::format("{}", static_cast<int>(verdict.verdict())),
                                  "VERDICT_INVALID or VERDICT_DISCARDED");
      error.set_hash(verdict.hash());
      Refuse(now, std::move(error));
      return;
    }
  }
  sessions_.node().OnCoreInput(now, input);
}

void ScpCall::DeliverEnvelope(Time now, const grpc::ByteBuffer& message) {
  envelopes_.push_back({message, now});
  envelope_bytes_ += message.Length();
  Pump(now);
}

void ScpCall::DeliverToObserver(Time now, const grpc::ByteBuffer& message) {
  if (out_.count() >= kObserverQueueMax) {
    if (session_->attach != nullptr) session_->attach->CountLost(now, v1::TRAFFIC_CLASS_SCP);
    return;
  }
  Send(now, message);
}

// Answers first: they are few, small, and their number is bounded by what the core asked.
std::optional<grpc::ByteBuffer> ScpCall::Produce() {
  std::optional<grpc::ByteBuffer> message = SessionCall::Produce();
  if (!message && !envelopes_.empty()) {
    message = std::move(envelopes_.front().message);
    envelope_bytes_ -= message->Length();
    const CoreSessionsOptions& options = sessions_.options();
    if (options.stats != nullptr && options.read_clock) {
      options.stats->wire_to_core.Add(options.read_clock() - envelopes_.front().since);
    }
    envelopes_.pop_front();
    envelope_is_being_written_ = true;
  }
  if (message) {
    ++sessions_.mutable_counters().scp_messages_down;
    sessions_.mutable_counters().scp_bytes_down += message->Length();
  }
  return message;
}

void ScpCall::OnTaken(Time now) {
  if (!std::exchange(envelope_is_being_written_, false)) return;
  Pump(now);  // the next one first, then make room
  sessions_.node().OnCoreInput(now, flood::CoreRoom{flood::CoreStream::kScp, 1});
}

void ScpCall::OnOutput(Time now, const flood::BroadcastResult& result) {
  v1::ScpDown down;
  v1::ScpBroadcastResult* out = down.mutable_broadcast_result();
  out->set_id(result.id);
  out->set_hash(ToBytes(result.hash.view()));
  out->set_peers_sent(result.peers_sent);
  out->set_peers_queued(result.peers_queued);
  out->set_superseded(result.superseded);
  out->set_peers_superseded(result.peers_superseded);
  out->set_peers_known(result.peers_known);
  SendDown(now, down);
}

void ScpCall::OnOutput(Time now, const flood::StateDone& done) {
  v1::ScpDown down;
  v1::ScpStateDone* out = down.mutable_state_done();
  out->set_id(done.id);
  out->set_peers_asked(done.asked);
  out->set_peers_answered(done.answered);
  out->set_peers_refused(done.refused);
  out->set_envelopes_delivered(done.envelopes_delivered);
  SendDown(now, down);
}

void ScpCall::OnOutput(Time now, const flood::StateWanted& wanted) {
  v1::ScpDown down;
  v1::ScpStateWanted* out = down.mutable_state_wanted();
  out->set_request_id(wanted.id);
  out->set_peer(ToBytes(wanted.peer.view()));
  out->set_from_slot(wanted.from.value);
  SendDown(now, down);
}

void ScpCall::OnOutput(Time now, const flood::Overflow& overflow) {
  v1::ScpDown down;
  v1::Overflow* out = down.mutable_overflow();
  out->set_direction(overflow.direction == flood::Overflow::Direction::kToCore
                         ? v1::Overflow::DIRECTION_TO_CORE
                         : v1::Overflow::DIRECTION_FROM_CORE);
  const bool scp = overflow.stream == flood::CoreStream::kScp;
  out->set_traffic_class(scp ? v1::TRAFFIC_CLASS_SCP : v1::TRAFFIC_CLASS_TRANSACTIONS);
  out->set_count(overflow.count);
  if (scp) {
    out->set_slot_first(overflow.slot_first.value);
    out->set_slot_last(overflow.slot_last.value);
  }
  SendDown(now, down);
}

void ScpCall::OnRefused(Time now, const flood::CoreRefused& refused) {
  v1::ScpDown down;
  *down.mutable_error() = ToError(refused);
  SendDown(now, down);
}

void ScpCall::Refuse(Time now, v1::Error error, std::optional<uint64_t> id) {
  ++sessions_.mutable_counters().errors_answered;
  if (id) error.set_id(*id);
  v1::ScpDown down;
  *down.mutable_error() = std::move(error);
  SendDown(now, down);
}

void ScpCall::SendDown(Time now, const v1::ScpDown& down) {
  if (session_ == nullptr) return;
  // Half of the queue stops the reading, so only a core that asks for much and reads nothing gets
  // here.
  if (!Send(now, Encode(down))) session_->end_wanted = v1::Detached::REASON_UNRESPONSIVE;
}

}  // namespace overlay::server
