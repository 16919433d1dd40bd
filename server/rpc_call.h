// server/rpc_call.h
//
// One call of any method as an object of the loop: raw bytes in and out, so that bytes which are
// not protobuf can be told from a half-close. What the call means is its RpcHandler's.
//
// Rules
//   R1  One read and one write are outstanding at most.
//       Why: a second one aborts the process.
//   R2  Finish takes effect exactly once, and waits for a write that is outstanding; Abort does not
//       wait.
//   R3  The call and its handler die when the last tag is back, never before.
//   R4  After OnEnded the handler is told nothing more.
//
// Cost     serialising happens in Write, on the loop: messages are bounded to 128 KiB or one
//     payload.
// Threads  the loop's.
#ifndef OVERLAY_SERVER_RPC_CALL_H_
#define OVERLAY_SERVER_RPC_CALL_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "flood/base/bytes.h"
#include "server/completion_thread.h"

namespace overlay::server {

class RpcCall;

// The logic of one call. Every method is told of everything through these; none may delete the
// call.
class RpcHandler {
 public:
  virtual ~RpcHandler() = default;
  // The call is there. Nothing is read until the handler says call.Read().
  virtual void OnStart(Time now) = 0;
  virtual void OnMessage(Time now, const grpc::ByteBuffer& message) = 0;
  // The client sends nothing more (or has gone: then OnEnded follows).
  virtual void OnHalfClosed(Time now) = 0;
  // The write has been taken by gRPC; the next one may go.
  virtual void OnWritten(Time now) = 0;
  // Over: finished, cancelled or aborted. The last that the handler hears.
  virtual void OnEnded(Time now) = 0;
};

class RpcServer;

class RpcCall {
 public:
  RpcCall(RpcServer* server, Completion::Lane lane);
  ~RpcCall();

  // ---- for handlers
  void Read();
  void Write(const grpc::ByteBuffer& message);
  // A last message and the status in one.
  void WriteAndFinish(const grpc::ByteBuffer& message, const grpc::Status& status);
  void Finish(const grpc::Status& status);
  // Ends it at once, whatever is outstanding; the client sees `status`.
  void Abort(const grpc::Status& status);

  bool is_reading() const { return read_.outstanding; }
  bool is_writing() const { return write_.outstanding; }
  bool is_over() const { return finishing_ || ended_; }
  // The value of a metadata key of the client, if there is exactly one.
  std::optional<std::string_view> Metadata(std::string_view key) const;
  // When the client stops waiting; kTimeNever without a deadline. Judged on the wall clock of both.
  std::optional<std::chrono::system_clock::time_point> deadline() const;

 private:
  friend class RpcServer;
  class Tag : public Completion {
   public:
    Tag(RpcCall* call, Lane lane, void (RpcCall::*done)(Time, bool))
        : Completion(lane), call_(call), done_(done) {}
    void OnCompleted(Time now, bool ok) override;
    bool outstanding = false;

   private:
    RpcCall* const call_;
    void (RpcCall::*const done_)(Time, bool);
  };

  void OnRequested(Time now, bool ok);
  void OnRead(Time now, bool ok);
  void OnWrite(Time now, bool ok);
  void OnFinished(Time now, bool ok);
  void OnDone(Time now, bool ok);
  void End(Time now);
  bool IsDead() const;

  RpcServer* const server_;
  size_t method_ = 0;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> stream_{&context_};
  std::unique_ptr<RpcHandler> handler_;
  Tag request_, read_, write_, finish_, done_;
  grpc::ByteBuffer incoming_;
  std::optional<grpc::Status> finish_after_write_;
  bool matched_ = false;    // a client's call came: the done tag will come
  bool finishing_ = false;  // Finish, WriteAndFinish or Abort has been asked for
  bool ended_ = false;      // OnEnded has been told
};

// Message to bytes; our own messages always serialise.
grpc::ByteBuffer Encode(const google::protobuf::MessageLite& message);
// False: not a message of this type.
[[nodiscard]] bool Decode(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message);
// The message, then `payload` as its last field `field_number` (of type bytes), which is shared,
// not copied.
grpc::ByteBuffer EncodeWithPayload(const google::protobuf::MessageLite& message, int outer_field,
                                   int field_number, const Bytes& payload);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_RPC_CALL_H_
