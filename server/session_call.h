// server/session_call.h
//
// What every call of service Core but Attach has in common: it belongs to a session, and its
// messages down wait in a bounded queue while one write is outstanding.
//
// Bounds   kStreamMessagesMax and kStreamBytesMax waiting; at half of it the call is not read on,
//          because its answers are what fills it.
#ifndef OVERLAY_SERVER_SESSION_CALL_H_
#define OVERLAY_SERVER_SESSION_CALL_H_

#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "flood/base/ids.h"
#include "flood/core_io.h"
#include "overlay/v1/core.pb.h"
#include "server/core_sessions.h"
#include "server/rpc_call.h"

namespace overlay::server {

inline constexpr size_t kStreamMessagesMax = 10'000;
inline constexpr size_t kStreamBytesMax = 64 * kMiB;

// Messages on their way to the client, encoded.
class OutQueue {
 public:
  bool empty() const { return messages_.empty(); }
  size_t count() const { return messages_.size(); }
  size_t bytes() const { return bytes_; }
  bool is_full() const { return count() >= kStreamMessagesMax || bytes_ >= kStreamBytesMax; }
  bool is_half_full() const {
    return count() >= kStreamMessagesMax / 2 || bytes_ >= kStreamBytesMax / 2;
  }
  void Push(grpc::ByteBuffer message);
  grpc::ByteBuffer Pop();
  void Clear();

 private:
  std::deque<grpc::ByteBuffer> messages_;
  size_t bytes_ = 0;
};

class SessionCall : public RpcHandler {
 public:
  SessionCall(CoreSessions* sessions, RpcCall* call) : sessions_(*sessions), call_(*call) {}

  void OnStart(Time now) final;
  void OnWritten(Time now) final;
  void OnEnded(Time now) final;

  // The session has ended: this call ends with `status` at once.
  void OnSessionEnded(const grpc::Status& status);
  // Since when a write has been outstanding.
  std::optional<Time> writing_since() const;
  size_t queue_count() const { return out_.count(); }
  // Of what waits here for the client.
  virtual size_t queued_bytes() const { return out_.bytes(); }
  // Writes the next message if none is outstanding, and reads on if there is room.
  void Pump(Time now);

 protected:
  // The call belongs to session_ now.
  virtual void OnOpened(Time now) = 0;
  // The call is over while the session lives.
  virtual void OnClosed(Time /*now*/) {}
  // The next message, if there is one; the queue's by default.
  virtual std::optional<grpc::ByteBuffer> Produce();
  // A message of ours has been taken.
  virtual void OnTaken(Time /*now*/) {}
  // Whether more may be read now.
  virtual bool MayRead() const { return false; }

  bool Send(Time now, grpc::ByteBuffer message);
  void FinishNotProtobuf(std::string_view type);

  CoreSessions& sessions_;
  RpcCall& call_;
  CoreSession* session_ = nullptr;  // null before OnOpened and after the session's end
  OutQueue out_;

 private:
  Time writing_since_{};
};

// ---- errors by name

std::string DescribeBytes(std::string_view bytes);
v1::Error MakeError(grpc::StatusCode code, std::string field, std::string value,
                    std::string expected);
v1::SetKind ToSetKind(SetKind kind);
v1::Error ToError(const flood::CoreRefused& refused);
// The same as a status, for calls without a stream to answer on.
grpc::Status ToStatus(const v1::Error& error);

inline std::string ToBytes(std::string_view view) { return std::string(view); }

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_SESSION_CALL_H_
