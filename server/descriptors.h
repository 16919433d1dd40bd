// server/descriptors.h
//
// File descriptors of the process: how many it may have, how many it has, and what of them the
// gRPC server's connections may take.
//
// Threads  any; start-up and the loop.
#ifndef OVERLAY_SERVER_DESCRIPTORS_H_
#define OVERLAY_SERVER_DESCRIPTORS_H_

#include <cstddef>
#include <cstdint>

namespace overlay::server {

// Below it the daemon runs, and says that it could need more: 512 for connections of cores and
// operators, 23 of the page /metrics, the rest of its own.
inline constexpr uint64_t kDescriptorsWanted = 1024;
// Of the API's connections each takes two (api_gate.h).
inline constexpr size_t kApiConnectionsMin = 4;  // a core has two, and is not alone
inline constexpr size_t kApiConnectionsMax = 128;

// Raises the soft limit to the hard one. Why: 1,024 is the usual soft limit for the sake of
// select(2), which nothing here calls. The limit that holds now.
uint64_t RaiseDescriptorLimit();
// What limits us now: somebody may have changed it since.
uint64_t DescriptorLimit();
// Open now; from /proc, some 30 us.
uint64_t OpenDescriptors();

// The connections that one of `listeners` may have, when `open` of `limit` are used at the start.
size_t ApiConnectionsFor(uint64_t limit, uint64_t open, size_t listeners);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_DESCRIPTORS_H_
