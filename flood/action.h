// flood/action.h
//
// What the protocol rules want done: appended to an ActionList by every input, executed by the
// owner in order (server/node_driver in the daemon and in the simulator).
#ifndef OVERLAY_FLOOD_ACTION_H_
#define OVERLAY_FLOOD_ACTION_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "flood/base/peer_io.h"
#include "flood/core_io.h"

namespace overlay::flood {

// Resolve a name for the dial plan; answered with OverlayNode::OnResolved.
struct ResolveHost {
  std::string host;
};

// A PeerOffence (base/peer_io.h) in the list is a component's complaint about a peer: OverlayNode
// takes it out again and scores the peer, so it never reaches the owner.
using Action = std::variant<PeerCommand, CoreOutput, PeerNews, ResolveHost, PeerOffence>;
// Whose a request is shows in its number, because RequestEnded and CancelRequest do not say: those
// that we make for sets begin here, for bodies at kTxRequestIdFirst (tx_request_tracker.h), and
// those that peers make at 2^63 (transport).
inline constexpr uint64_t kSetRequestIdFirst = uint64_t{1} << 61;

using ActionList = std::vector<Action>;

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_ACTION_H_
