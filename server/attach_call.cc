#include "server/attach_call.h"

#include <utility>

namespace overlay::server {

void AttachCall::OnStart(Time /*now*/) { call_.Read(); }

void AttachCall::OnMessage(Time now, const grpc::ByteBuffer& message) {
  asked_ = true;
  v1::AttachRequest request;
  if (!Decode(message, &request)) {
    ++sessions_.mutable_counters().refused_malformed;
    call_.Finish(
        {grpc::StatusCode::INVALID_ARGUMENT, "not an AttachRequest in protobuf's encoding"});
    return;
  }
  const grpc::Status status = sessions_.Attach(now, request, this, &session_);
  if (!status.ok()) call_.Finish(status);
}

void AttachCall::OnHalfClosed(Time /*now*/) {
  if (!asked_) call_.Finish({grpc::StatusCode::INVALID_ARGUMENT, "Attach: no AttachRequest came"});
}

void AttachCall::OnWritten(Time now) { Pump(now); }

void AttachCall::OnEnded(Time now) {
  if (last_words_) sessions_.OnLastWordsSaid();
  if (session_ == nullptr) return;
  CoreSession* const session = std::exchange(session_, nullptr);
  session->attach = nullptr;
  sessions_.End(now, session, v1::Detached::REASON_UNRESPONSIVE);
}

bool AttachCall::SendEvent(Time now, const v1::AttachEvent& event) {
  if (out_.is_full()) {
    if (session_ != nullptr && session_->observer) {
      CountLost(now, v1::TRAFFIC_CLASS_CONTROL);
      return true;
    }
    return false;
  }
  out_.Push(Encode(event));
  Pump(now);
  return true;
}

void AttachCall::CountLost(Time now, v1::TrafficClass traffic_class) {
  ++lost_[traffic_class];
  ++sessions_.mutable_counters().observer_lost;
  Pump(now);
}

void AttachCall::EndSession(Time now, v1::Detached::Reason reason, const grpc::Status& status) {
  session_ = nullptr;
  if (call_.is_over()) return;
  if (reason != v1::Detached::REASON_DRAINED && (call_.is_writing() || !out_.empty())) {
    call_.Abort(status);
    return;
  }
  TellLost();
  v1::AttachEvent event;
  event.mutable_detached()->set_reason(reason);
  out_.Push(Encode(event));
  last_words_ = status;
  sessions_.OnLastWords();
  Pump(now);
}

std::optional<Time> AttachCall::writing_since() const {
  if (!call_.is_writing()) return std::nullopt;
  return writing_since_;
}

void AttachCall::TellLost() {
  for (int i = 0; i < 5 && !out_.is_full(); ++i) {
    if (lost_[i] == 0) continue;
    v1::AttachEvent event;
    event.mutable_lost()->set_traffic_class(static_cast<v1::TrafficClass>(i));
    event.mutable_lost()->set_messages(std::exchange(lost_[i], 0));
    out_.Push(Encode(event));
  }
}

void AttachCall::Pump(Time now) {
  if (call_.is_writing() || call_.is_over()) return;
  if (!last_words_) TellLost();
  if (out_.empty()) return;
  if (last_words_ && out_.count() == 1) {
    call_.WriteAndFinish(out_.Pop(), *last_words_);
    return;
  }
  writing_since_ = now;
  call_.Write(out_.Pop());
}

}  // namespace overlay::server
