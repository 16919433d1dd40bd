// flood/overlay_node.h
//
// One node's protocol, whole: owns the components (SCP flood, transactions, sets, peers) and routes
// inputs to them. Sans-IO: every input carries `now`, every effect is appended to `out`, and the
// owner executes `out` in order before the next input. The daemon and the simulator run this same
// object.
//
//   node.OnPeerEvent(now, event, out);      // from transport
//   node.OnCoreInput(now, input, out);      // from the core or the operator
//   node.OnDeadline(now, out);              // when NextDeadline() has come
//
// Rules are in the components' headers; the only ones here are of order:
//   R1  What one input causes is complete in its `out`; nothing is kept for a later call except
//       deadlines.
//   R2  On PeerConnected, in this order: ask for SCP state (once per connection), HaveSets for the
//       kept slots, CoreStatus, then the mempool's announcements at their rate.
//   R3  A set is cached before the core is told of it, and a newly cached set is announced to all
//       peers not known to have it.
//   R4  After each input, and again at once while that is not done, memory that is over its limit
//       is freed in the order of memory_budget.h, kMemoryStepsPerTurn steps a turn.
//       Why: a lump of everything that is over would hold up the envelopes behind it.
//
// Bounds   those of the components (base/limits.h).
// Cost     O(peers) for a broadcast; the rest as each component says. No input costs more than 200
//          us beyond hashing its own payload.
// Time     argument only; a step backwards delays work, never breaks a rule.
// Threads  none: owned by the loop thread.
#ifndef OVERLAY_FLOOD_OVERLAY_NODE_H_
#define OVERLAY_FLOOD_OVERLAY_NODE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/base/random.h"
#include "flood/base/resolved_host.h"
#include "flood/node_stats.h"
#include "flood/peers/peer_book.h"
#include "flood/peers/peer_file.h"
#include "flood/peers/peer_view.h"
#include "flood/trace.h"

namespace overlay::flood {

// A step is one set, or at most 500 transactions: some 300 us.
inline constexpr int kMemoryStepsPerTurn = 4;

struct ServableSet;  // set_server.h

struct NodeOptions {
  NodeKey self;
  uint16_t default_port = 11625;  // for configured peers without one
};

class OverlayNode {
 public:
  OverlayNode(const Limits& limits, const NodeOptions& options, Random random);
  ~OverlayNode();

  void OnPeerEvent(Time now, const PeerEvent& event, ActionList& out);
  void OnCoreInput(Time now, const CoreInput& input, ActionList& out);
  // Answer to ResolveHost; an error is retried with backoff.
  void OnResolved(Time now, const ResolveHost& asked, const absl::StatusOr<ResolvedHost>& resolved,
                  ActionList& out);
  // Answer to a Compute.
  void OnComputed(Time now, const Computed& computed, ActionList& out);
  // From the moment of this call nothing is dialled any more (drain).
  void OnDrain(Time now, ActionList& out);
  void OnDeadline(Time now, ActionList& out);

  std::optional<Time> NextDeadline() const;
  // Counters and gauges; valid until the node goes.
  const NodeStats& stats() const;
  // Every peer connected, being dialled or configured; O(peers log peers).
  std::vector<PeerView> ListPeers(Time now) const;
  // Every name of the configured peers.
  std::vector<NameView> ListNames() const;
  // ---- the peers that are remembered over a restart (peers/peer_file.h)
  // What an earlier process knew. Before the first input.
  void RestorePeers(Time now, WallTime wall, const PeerFile& file);
  const PeerBook& known_peers() const;
  const BanList& bans() const;
  uint64_t known_peers_changes() const;  // grows as either changes

  // Where it is; O(peers).
  TxTrace TraceTransaction(const TxHash& hash) const;
  SetTrace TraceSet(const SetKey& key) const;

  // ---- sets of the cache, for readers beside the peers. nullopt: not held.
  std::optional<ServableSet> LookAtSet(const SetKey& key) const;
  // The frame that such a reader made; an empty one: it is not worth it. No effect unless the set
  // may be compressed.
  void KeepSetFrame(Time now, const SetKey& key, Bytes frame, ActionList& out);
  void CheckInvariants() const;  // O(state); tests and the simulator

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_OVERLAY_NODE_H_
