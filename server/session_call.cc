#include "server/session_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace overlay::server {

void OutQueue::Push(grpc::ByteBuffer message) {
  bytes_ += message.Length();
  messages_.push_back(std::move(message));
}

grpc::ByteBuffer OutQueue::Pop() {
  grpc::ByteBuffer message = std::move(messages_.front());
  messages_.pop_front();
  bytes_ -= message.Length();
  return message;
}

void OutQueue::Clear() {
  messages_.clear();
  bytes_ = 0;
}

void SessionCall::OnStart(Time now) {
  grpc::Status why_not;
  session_ = sessions_.Find(call_, &why_not);
  if (session_ == nullptr) {
    call_.Finish(why_not);
    return;
  }
  session_->calls.insert(this);
  OnOpened(now);
}

void SessionCall::OnWritten(Time now) {
  if (session_ == nullptr) return;
  OnTaken(now);
  Pump(now);
}

void SessionCall::OnEnded(Time now) {
  if (session_ == nullptr) return;
  session_->calls.erase(this);
  OnClosed(now);
  session_ = nullptr;
}

void SessionCall::OnSessionEnded(const grpc::Status& status) {
  session_ = nullptr;
  out_.Clear();
  call_.Abort(status);
}

std::optional<Time> SessionCall::writing_since() const {
  if (!call_.is_writing()) return std::nullopt;
  return writing_since_;
}

void SessionCall::Pump(Time now) {
  if (session_ == nullptr || call_.is_over()) return;
  if (!call_.is_writing()) {
    if (std::optional<grpc::ByteBuffer> message = Produce()) {
      writing_since_ = now;
      call_.Write(*message);
    }
  }
  if (!call_.is_reading() && MayRead()) call_.Read();
}

std::optional<grpc::ByteBuffer> SessionCall::Produce() {
  if (out_.empty()) return std::nullopt;
  return out_.Pop();
}

bool SessionCall::Send(Time now, grpc::ByteBuffer message) {
  if (out_.is_full()) return false;
  out_.Push(std::move(message));
  Pump(now);
  return true;
}

void SessionCall::FinishNotProtobuf(std::string_view type) {
  call_.Finish(
      {grpc::StatusCode::INVALID_ARGUMENT, fmt::format("not an {} in protobuf's encoding", type)});
}

std::string DescribeBytes(std::string_view bytes) {
  const std::string_view head = bytes.substr(0, std::min<size_t>(bytes.size(), 8));
  const std::string hex =
      HexEncode(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(head.data()), head.size()));
  return fmt::format("{} bytes{}{}", bytes.size(), hex.empty() ? "" : " ", hex);
}

v1::Error MakeError(grpc::StatusCode code, std::string field, std::string value,
                    std::string expected) {
  v1::Error error;
  error.set_code(static_cast<uint32_t>(code));
  error.set_field(std::move(field));
  if (value.size() > 128) value.resize(128);
  error.set_value(std::move(value));
  error.set_expected(std::move(expected));
  return error;
}

v1::SetKind ToSetKind(SetKind kind) {
  return kind == SetKind::kTxSet ? v1::SET_KIND_TX_SET : v1::SET_KIND_QUORUM_SET;
}

v1::Error ToError(const flood::CoreRefused& refused) {
  v1::Error error =
      MakeError(grpc::StatusCode::INVALID_ARGUMENT, refused.field, refused.value, refused.expected);
  if (refused.id) error.set_id(*refused.id);
  if (refused.key) {
    error.set_set_kind(ToSetKind(refused.key->kind));
    error.set_hash(ToBytes(refused.key->hash.view()));
  }
  return error;
}

grpc::Status ToStatus(const v1::Error& error) {
  return {static_cast<grpc::StatusCode>(error.code()),
          fmt::format("{}: {} is not legal, expected {}", error.field(), error.value(),
                      error.expected())};
}

}  // namespace overlay::server
