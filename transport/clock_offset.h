// transport/clock_offset.h
//
// How far a peer's wall clock is off from ours, from its answers to Ping; and what all peers
// together say of ours. A Pong carries the peer's wall clock when it answered: on a path with equal
// ways that was the middle of the round trip by ours.
//
// Rules
//   R1  Of the last 8 samples that of the smallest round trip counts. Why: what makes a round trip
//       longer is a queue on one of the ways, and half of it is all that a sample can be wrong by.
//   R2  A sample that cannot be true together with the one that counts forgets all before it:
//       somebody has set a clock. 500 ppm of the time between are allowed for, as clocks drift.
//   R3  What all peers say is their median; of an even number, that of the two middle ones which is
//       nearer to zero. Why: a lie costs nobody; it takes more than half of the peers to move it.
//
// Bounds   8 samples a peer; a peer's word is taken as within 142 years of 1970.
// Cost     Add: O(8). PeerClocks: O(peers), once a second and a scrape.
// Time     argument only.
// Threads  none: owned by the loop thread.
// Not here what to do about it: nothing of the protocol depends on wall clocks.
#ifndef OVERLAY_TRANSPORT_CLOCK_OFFSET_H_
#define OVERLAY_TRANSPORT_CLOCK_OFFSET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "flood/base/time.h"

namespace overlay::transport {

inline constexpr size_t kClockSamplesMax = 8;         // R1: of four minutes, once pings are slow
inline constexpr int64_t kClockDriftPartsMax = 2000;  // R2: one in so many

class ClockOffset {
 public:
  // A Pong came at `now`, `round_trip` after its Ping: our wall clock says `ours` now, the peer's
  // said `theirs` when it answered.
  void Add(Time now, Duration round_trip, WallTime ours, WallTime theirs);

  // The peer's clock minus ours; nullopt: it has answered no Ping yet.
  std::optional<Duration> offset() const;

 private:
  struct Sample {
    Time at{};
    Duration round_trip{};
    int64_t offset_us = 0;
  };

  const Sample& Best() const;

  std::array<Sample, kClockSamplesMax> samples_{};
  size_t count_ = 0;  // that are held
  size_t next_ = 0;   // the place that is written next
};

// What the peers' clocks say of ours.
struct PeerClocks {
  size_t measured = 0;        // peers; with none the rest says nothing
  Duration median_offset{};   // R3; theirs minus ours: above zero our clock is behind
  Duration largest_offset{};  // of one peer: the one farthest from zero, as an absolute value
};

PeerClocks SummarizeClocks(std::vector<Duration> offsets);

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_CLOCK_OFFSET_H_
