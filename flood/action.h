// flood/action.h
//
// What the protocol rules want done: appended to an ActionList by every input, executed by the
// owner in order (server/node_driver in the daemon and in the simulator).
#ifndef OVERLAY_FLOOD_ACTION_H_
#define OVERLAY_FLOOD_ACTION_H_

#include <array>
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
  bool services = false;  // SRV records first: the entry says no port
};

// Work that is too long for the loop: done on the worker thread (server/compute_worker.h), in the
// simulator after a virtual time. Each is answered with exactly one OverlayNode::OnComputed, in
// whatever order. RunCompute (flood/compute.h) is the work itself.
struct Compute {
  enum class Kind : uint8_t { kCompress, kInflate };
  uint64_t id = 0;
  Kind kind = Kind::kCompress;
  Bytes input;
  uint64_t inflated_bytes = 0;  // kInflate: the length that it must have
};
struct Computed {
  enum class Outcome : uint8_t {
    kDone,
    kBadFrame,  // kInflate: it is no frame of that length; whoever sent it is to blame
    kNotDone,   // no memory, or no room at the worker: says nothing of the input
  };
  uint64_t id = 0;
  Outcome outcome = Outcome::kNotDone;
  Bytes output;
  std::array<uint8_t, 32> sha256{};  // kInflate: of the output
};

// A PeerOffence (base/peer_io.h) in the list is a component's complaint about a peer: OverlayNode
// takes it out again and scores the peer, so it never reaches the owner.
using Action = std::variant<PeerCommand, CoreOutput, PeerNews, ResolveHost, Compute, PeerOffence>;
// Whose a request is shows in its number, because RequestEnded and CancelRequest do not say: those
// that we make for sets begin here, for bodies at kTxRequestIdFirst (tx_request_tracker.h), and
// those that peers make at 2^63 (transport).
inline constexpr uint64_t kSetRequestIdFirst = uint64_t{1} << 61;

using ActionList = std::vector<Action>;

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_ACTION_H_
