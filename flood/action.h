// flood/action.h
//
// What the protocol rules want done: appended to an ActionList by every input, executed by the owner in
// order (server/node_driver in the daemon and in the simulator).
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

// A PeerOffence (base/peer_io.h) in the list is a component's complaint about a peer: OverlayNode takes it out
// again and scores the peer, so it never reaches the owner.
using Action = std::variant<PeerCommand, CoreOutput, ResolveHost, PeerOffence>;
// Requests for sets are numbered from here up, requests for bodies below: RequestEnded does not say which. Above
// 2^63 are those that peers make of us (transport numbers them), because CancelRequest names both.
inline constexpr uint64_t kSetRequestIdFirst = uint64_t{1} << 62;

using ActionList = std::vector<Action>;

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_ACTION_H_
