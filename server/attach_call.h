// server/attach_call.h
//
// Attach: begins a session and carries its events. Its end is the session's.
#ifndef OVERLAY_SERVER_ATTACH_CALL_H_
#define OVERLAY_SERVER_ATTACH_CALL_H_

#include <optional>

#include "overlay/v1/core.pb.h"
#include "server/session_call.h"

namespace overlay::server {

class AttachCall : public RpcHandler {
 public:
  AttachCall(CoreSessions* sessions, RpcCall* call) : sessions_(*sessions), call_(*call) {}

  void OnStart(Time now) override;
  void OnMessage(Time now, const grpc::ByteBuffer& message) override;
  void OnHalfClosed(Time now) override;
  void OnWritten(Time now) override;
  void OnEnded(Time now) override;

  // For a core: false when it has let too many events wait. For an observer: never, it loses them.
  bool SendEvent(Time now, const v1::AttachEvent& event);
  // An observer's other streams lost messages: said with the next write.
  void CountLost(Time now, v1::TrafficClass traffic_class);
  // Says `detached` and ends the call with `status`. Where events still wait for the core it ends
  // at once and says nothing, because a core that hangs or was replaced is not waited for; but when
  // the daemon drains they go first, which has a time of its own (drain.h, kClose).
  void EndSession(Time now, v1::Detached::Reason reason, const grpc::Status& status);
  std::optional<Time> writing_since() const;
  size_t queued_bytes() const { return out_.bytes(); }

 private:
  void TellLost();
  void Pump(Time now);

  CoreSessions& sessions_;
  RpcCall& call_;
  CoreSession* session_ = nullptr;
  bool asked_ = false;
  OutQueue out_;
  Time writing_since_{};
  uint64_t lost_[5] = {};                   // index: TrafficClass
  std::optional<grpc::Status> last_words_;  // the session is over: what ends the call, out_ before
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_ATTACH_CALL_H_
