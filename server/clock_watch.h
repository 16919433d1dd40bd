// server/clock_watch.h
//
// When to say that our wall clock is off from the peers'. Nothing of the overlay depends on it, but
// the core's close times do: a validator whose clock is off by seconds holds its ledgers up.
//
// Rules
//   R1  It begins above a second of the peers' median (transport/clock_offset.h) and is over below
//       half a second: a clock at the edge does not fill the log.
//   R2  While it lasts it is said again every ten minutes.
// Threads  the loop's.
#ifndef OVERLAY_SERVER_CLOCK_WATCH_H_
#define OVERLAY_SERVER_CLOCK_WATCH_H_

#include <cstdint>

#include "flood/base/time.h"
#include "transport/clock_offset.h"

namespace overlay::server {

inline constexpr Duration kClockOffsetWarned = std::chrono::seconds(1);       // R1
inline constexpr Duration kClockOffsetOver = std::chrono::milliseconds(500);  // R1
inline constexpr Duration kClockSaidAgain = std::chrono::minutes(10);         // R2

class ClockWatch {
 public:
  enum class Say : uint8_t { kNothing, kOff, kOver };

  Say OnClocks(Time now, const transport::PeerClocks& clocks);

 private:
  bool off_ = false;
  Time said_at_{};
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_CLOCK_WATCH_H_
