// server/scp_call.h
//
// Scp: envelopes both ways.
//
// Rules
//   R1  The node is given room for kScpWindow envelopes, and for one more when one has been taken.
//       Why: what waits in the node can still be superseded by something newer; what waits here
//       cannot.
//   R2  An illegal value is answered with `error`; the stream lives.
#ifndef OVERLAY_SERVER_SCP_CALL_H_
#define OVERLAY_SERVER_SCP_CALL_H_

#include "server/session_call.h"

namespace overlay::server {

// Enough to keep the queue thread and the core busy for one wake-up of either.
inline constexpr uint32_t kScpWindow = 64;
inline constexpr uint32_t kStateRequestsOpenMax = 4;
inline constexpr uint32_t kStatePeersMax = 1000;

class ScpCall : public SessionCall {
 public:
  using SessionCall::SessionCall;

  static grpc::ByteBuffer EncodeEnvelope(const flood::DeliverEnvelope& envelope);

  void OnMessage(Time now, const grpc::ByteBuffer& message) override;
  size_t queued_bytes() const override { return out_.bytes() + envelope_bytes_; }
  void OnHalfClosed(Time now) override;

  void DeliverEnvelope(Time now, const grpc::ByteBuffer& message);
  void DeliverToObserver(Time now, const grpc::ByteBuffer& message);
  void OnOutput(Time now, const flood::BroadcastResult& result);
  void OnOutput(Time now, const flood::StateDone& done);
  void OnOutput(Time now, const flood::StateWanted& wanted);
  void OnOutput(Time now, const flood::Overflow& overflow);
  void OnRefused(Time now, const flood::CoreRefused& refused);

 protected:
  void OnOpened(Time now) override;
  void OnClosed(Time now) override;
  void OnTaken(Time now) override;
  std::optional<grpc::ByteBuffer> Produce() override;
  bool MayRead() const override { return !out_.is_half_full(); }

 private:
  void OnBroadcast(Time now, const v1::ScpBroadcast& broadcast);
  void OnRequestState(Time now, const v1::ScpRequestState& request);
  void OnStateReply(Time now, const v1::ScpStateReply& reply);
  void OnVerdict(Time now, const v1::ScpVerdict& verdict);
  void SendDown(Time now, const v1::ScpDown& down);
  void Refuse(Time now, v1::Error error, std::optional<uint64_t> id = std::nullopt);

  bool envelope_is_being_written_ = false;
  struct Waiting {
    grpc::ByteBuffer message;
    Time since;
  };
  std::deque<Waiting> envelopes_;  // kScpWindow at most: room given and not yet taken
  size_t envelope_bytes_ = 0;      // of envelopes_
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_SCP_CALL_H_
