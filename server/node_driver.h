// server/node_driver.h
//
// Joins the protocol rules (OverlayNode) and the peers' connections (PeerTransport): executes the
// node's actions in order and feeds the connections' events back until both are quiet. No gRPC, no
// socket, no clock: the daemon and the simulator run this same object.
//
//   transport.OnDatagram(now, ...);         // for what came in
//   driver.OnCoreInput(now, input);         // for what the core said
//   driver.OnDeadline(now); driver.Settle(now);
//   more = transport.WriteTurn(now, sink);
//
// Rules
//   R1  Actions of one input are executed in order, all of them, before the next input is given to
//       the node.
//   R2  An input that comes from within an output waits until the actions under way are done.
//       Why: the node is not re-entrant.
//
// Bounds   what waits is what one input or one turn's datagrams can cause; kRoundsMax turns a cycle
//     into a bug.
// Time     argument only. Threads: none.
#ifndef OVERLAY_SERVER_NODE_DRIVER_H_
#define OVERLAY_SERVER_NODE_DRIVER_H_

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/overlay_node.h"
#include "server/core_edge.h"
#include "transport/peer_transport.h"

namespace overlay::server {

// Sees what passes between node and transport, in order, just before it is handled: the simulator's
// checkers.
class NodeTap {
 public:
  virtual ~NodeTap() = default;
  virtual void OnPeerEvent(Time now, const PeerEvent& event) = 0;
  virtual void OnAction(Time now, const flood::Action& action) = 0;
};

class NodeDriver : public CoreInputSink {
 public:
  // Begins a look-up; answered with OnResolved, later or from within.
  using Resolve = std::function<void(Time now, const flood::ResolveHost& asked)>;
  // Gives work to the worker; answered with OnComputed, later or from within.
  using Compute = std::function<void(Time now, flood::Compute compute)>;
  // Reads a clock: for measuring alone.
  using ReadClock = std::function<Time()>;
  // One turn never needs as many.
  static constexpr int kRoundsMax = 10'000;

  NodeDriver(flood::OverlayNode* node, transport::PeerTransport* transport, Resolve resolve,
             Compute compute);

  // Before the first input.
  void SetSink(CoreSink* sink) { sink_ = sink; }
  void SetTap(NodeTap* tap) { tap_ = tap; }
  // Without one nothing is measured.
  void SetClock(ReadClock clock) { clock_ = std::move(clock); }

  void OnCoreInput(Time now, flood::CoreInput input) override;
  void OnResolved(Time now, const flood::ResolveHost& asked,
                  const absl::StatusOr<ResolvedHost>& resolved);
  void OnComputed(Time now, flood::Computed computed);
  // Of a reader beside the peers: OverlayNode::KeepSetFrame.
  void KeepSetFrame(Time now, const SetKey& key, Bytes frame);
  void OnDrain(Time now);
  // Both objects', if it has come.
  void OnDeadline(Time now);
  // Hands on what the connections have to tell.
  void Settle(Time now);

  std::optional<Time> NextDeadline() const;
  const flood::NodeStats& node_stats() const override { return node_->stats(); }
  // Spent since the last call on what the SCP envelopes of peers and core caused.
  Duration TakeEnvelopeTime() { return std::exchange(envelope_time_, Duration{}); }
  // From a demand to its first body.
  const transport::LatencyCounts& tx_pull() const { return tx_pull_; }

 private:
  struct Resolved {
    flood::ResolveHost asked;
    absl::StatusOr<ResolvedHost> resolved;
  };
  struct MadeFrame {
    SetKey set;
    Bytes frame;
  };
  struct Drain {};
  using Input =
      std::variant<PeerEvent, flood::CoreInput, Resolved, flood::Computed, MadeFrame, Drain>;
  struct Demand {
    PeerId peer;
    Time at;
  };

  static bool IsOfEnvelopes(const Input& input);
  void Run(Time now);
  void Handle(Time now, const Input& input, flood::ActionList& actions);
  void Feed(Time now, const Input& input, flood::ActionList& actions);
  void Execute(Time now, flood::Action& action);
  void Observe(Time now, const PeerEvent& event);

  flood::OverlayNode* const node_;
  transport::PeerTransport* const transport_;
  const Resolve resolve_;
  const Compute compute_;
  CoreSink* sink_ = nullptr;
  NodeTap* tap_ = nullptr;
  ReadClock clock_;
  Duration envelope_time_{};
  std::deque<Input> inputs_;
  bool running_ = false;
  std::map<RequestId, Demand> demands_;  // requests for bodies under way; the node bounds them
  transport::LatencyCounts tx_pull_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_NODE_DRIVER_H_
