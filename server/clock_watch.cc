#include "server/clock_watch.h"

namespace overlay::server {

ClockWatch::Say ClockWatch::OnClocks(Time now, const transport::PeerClocks& clocks) {
  if (clocks.measured == 0) return Say::kNothing;
  const Duration off =
      clocks.median_offset < Duration::zero() ? -clocks.median_offset : clocks.median_offset;
  if (off_ && off < kClockOffsetOver) {
    off_ = false;
    return Say::kOver;
  }
  if (off_ ? now - said_at_ < kClockSaidAgain : off <= kClockOffsetWarned) return Say::kNothing;
  off_ = true;
  said_at_ = now;
  return Say::kOff;
}

}  // namespace overlay::server
