#include "server/rpc_call.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpc/grpc.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <utility>
#include <vector>

#include "flood/base/check.h"
#include "server/rpc_server.h"

namespace overlay::server {

void RpcCall::Tag::OnCompleted(Time now, bool ok) {
  outstanding = false;
  RpcCall* const call = call_;
  (call->*done_)(now, ok);
  if (call->IsDead()) call->server_->Remove(call);  // deletes this tag too
}

RpcCall::RpcCall(RpcServer* server, Completion::Lane lane)
    : server_(server),
      request_(this, lane, &RpcCall::OnRequested),
      read_(this, lane, &RpcCall::OnRead),
      write_(this, lane, &RpcCall::OnWrite),
      finish_(this, lane, &RpcCall::OnFinished),
      done_(this, lane, &RpcCall::OnDone) {}

RpcCall::~RpcCall() = default;

bool RpcCall::IsDead() const {
  return !request_.outstanding && !read_.outstanding && !write_.outstanding &&
         !finish_.outstanding && !done_.outstanding;
}

void RpcCall::Read() {
  if (is_over() || read_.outstanding) return;
  read_.outstanding = true;
  incoming_.Clear();
  stream_.Read(&incoming_, AsTag(&read_));
}

void RpcCall::Write(const grpc::ByteBuffer& message) {
  if (is_over()) return;
  OVERLAY_CHECK(!write_.outstanding);
  write_.outstanding = true;
  stream_.Write(message, AsTag(&write_));
}

void RpcCall::WriteAndFinish(const grpc::ByteBuffer& message, const grpc::Status& status) {
  if (is_over()) return;
  OVERLAY_CHECK(!write_.outstanding);
  finishing_ = true;
  finish_.outstanding = true;
  stream_.WriteAndFinish(message, grpc::WriteOptions(), status, AsTag(&finish_));
}

void RpcCall::Finish(const grpc::Status& status) {
  if (is_over()) return;
  finishing_ = true;
  if (write_.outstanding) {
    finish_after_write_ = status;
    return;
  }
  finish_.outstanding = true;
  stream_.Finish(status, AsTag(&finish_));
}

void RpcCall::Abort(const grpc::Status& status) {
  if (ended_) return;
  finishing_ = true;
  finish_after_write_.reset();
  grpc_call_cancel_with_status(context_.c_call(),
                               static_cast<grpc_status_code>(status.error_code()),
                               status.error_message().c_str(), nullptr);
}

std::optional<std::string_view> RpcCall::Metadata(std::string_view key) const {
  const auto& metadata = context_.client_metadata();
  const auto [first, last] = metadata.equal_range(grpc::string_ref(key.data(), key.size()));
  if (first == last || std::next(first) != last) return std::nullopt;
  return std::string_view(first->second.data(), first->second.size());
}

std::optional<std::chrono::system_clock::time_point> RpcCall::deadline() const {
  const auto deadline = context_.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  return deadline;
}

void RpcCall::OnRequested(Time now, bool ok) {
  // Not ok: the server shuts down, nobody called, and the done tag never comes.
  if (!ok) {
    done_.outstanding = false;
    return;
  }
  matched_ = true;
  handler_ = server_->Accept(this);
  if (handler_ != nullptr) handler_->OnStart(now);
}

void RpcCall::OnRead(Time now, bool ok) {
  if (ended_ || handler_ == nullptr) return;
  if (!ok) {
    handler_->OnHalfClosed(now);
    return;
  }
  const grpc::ByteBuffer message = std::exchange(incoming_, grpc::ByteBuffer());
  handler_->OnMessage(now, message);
}

void RpcCall::OnWrite(Time now, bool ok) {
  if (finish_after_write_ && !ended_) {
    finish_.outstanding = true;
    stream_.Finish(*std::exchange(finish_after_write_, std::nullopt), AsTag(&finish_));
    return;
  }
  // Not ok: the call is over, its done tag says so.
  if (ok && !is_over() && handler_ != nullptr) handler_->OnWritten(now);
}

void RpcCall::OnFinished(Time now, bool /*ok*/) { End(now); }

void RpcCall::OnDone(Time now, bool /*ok*/) { End(now); }

void RpcCall::End(Time now) {
  if (std::exchange(ended_, true)) return;
  if (handler_ != nullptr) handler_->OnEnded(now);
}

grpc::ByteBuffer Encode(const google::protobuf::MessageLite& message) {
  grpc::Slice slice(message.ByteSizeLong());
  // The slice is ours alone until it is in the buffer.
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

bool Decode(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message) {
  // An empty message arrives as a valid buffer of length 0.
  grpc::ByteBuffer copy(bytes);  // a reference, not a copy of the contents
  grpc::ProtoBufferReader reader(&copy);
  if (!reader.status().ok()) return false;
  return message->ParseFromZeroCopyStream(&reader);
}

grpc::ByteBuffer EncodeWithPayload(const google::protobuf::MessageLite& message, int outer_field,
                                   int field_number, const Bytes& payload) {
  using google::protobuf::internal::WireFormatLite;
  std::string tail = message.SerializeAsString();
  {
    google::protobuf::io::StringOutputStream stream(&tail);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.WriteTag(WireFormatLite::MakeTag(field_number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
    out.WriteVarint32(static_cast<uint32_t>(payload.size()));
  }
  std::string head;
  {
    google::protobuf::io::StringOutputStream stream(&head);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.WriteTag(WireFormatLite::MakeTag(outer_field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
    out.WriteVarint32(static_cast<uint32_t>(tail.size() + payload.size()));
  }
  auto* owner = new Bytes(payload);  // deleted by gRPC with the slice
  grpc::Slice slices[2] = {grpc::Slice(head + tail),
                           grpc::Slice(
                               const_cast<uint8_t*>(owner->data()), owner->size(),
                               [](void* bytes) { delete static_cast<Bytes*>(bytes); }, owner)};
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace overlay::server
