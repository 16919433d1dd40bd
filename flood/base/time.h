// flood/base/time.h
//
// Monotonic time as the whole project counts it: nanoseconds since an arbitrary start.
//
// LoopClock has no now(): protocol code cannot read the time at all, it is told. In the daemon the
// event loop reads CLOCK_MONOTONIC once a turn; in the simulator time is whatever the event heap
// says. Wall-clock time exists only where another machine must be compared with (Ping and Pong),
// and is then an argument too (WallTime).
#ifndef OVERLAY_FLOOD_BASE_TIME_H_
#define OVERLAY_FLOOD_BASE_TIME_H_

#include <chrono>
#include <cstdint>

namespace overlay {

struct LoopClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<LoopClock, duration>;
  static constexpr bool is_steady = true;
};

using Duration = LoopClock::duration;
using Time = LoopClock::time_point;

// Microseconds since the Unix epoch.
struct WallTime {
  int64_t unix_us = 0;
  friend bool operator==(const WallTime&, const WallTime&) = default;
};

inline constexpr Time kTimeNever = Time::max();

constexpr int64_t ToMicros(Duration d) {
  return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}
constexpr double ToSeconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_TIME_H_
