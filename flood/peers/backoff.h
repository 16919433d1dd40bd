// flood/peers/backoff.h
//
// How long to wait before the next try: exponential, capped, with full jitter, so that a hundred
// nodes that lost the same peer do not come back in the same millisecond.
#ifndef OVERLAY_FLOOD_PEERS_BACKOFF_H_
#define OVERLAY_FLOOD_PEERS_BACKOFF_H_

#include <algorithm>
#include <cstdint>

#include "flood/base/random.h"
#include "flood/base/time.h"

namespace overlay::flood {

// Uniform in [0, min(first * 2^failures, cap)]; `failures` counts those before this wait, from 0.
inline Duration BackoffWithFullJitter(Duration first, Duration cap, uint32_t failures,
                                      Random& random) {
  Duration limit = first;
  for (uint32_t i = 0; i < failures && limit < cap; ++i) limit *= 2;
  return random.UpTo(std::min(limit, cap));
}

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_BACKOFF_H_
