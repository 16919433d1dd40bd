#include "transport/clock_offset.h"

#include <algorithm>
#include <cstdlib>

namespace overlay::transport {
namespace {

// A peer's word, in a range in which no difference overflows.
constexpr int64_t kWallMaxUs = int64_t{1} << 52;

Duration Absolute(Duration d) { return d < Duration::zero() ? -d : d; }

}  // namespace

void ClockOffset::Add(Time now, Duration round_trip, WallTime ours, WallTime theirs) {
  const int64_t ours_us = std::clamp(ours.unix_us, -kWallMaxUs, kWallMaxUs);
  const int64_t theirs_us = std::clamp(theirs.unix_us, -kWallMaxUs, kWallMaxUs);
  const int64_t middle_us = ours_us - ToMicros(round_trip) / 2;
  const Sample sample{now, round_trip, theirs_us - middle_us};
  if (count_ > 0) {
    const Sample& best = Best();
    const Duration error = (best.round_trip + round_trip) / 2;
    const Duration drift = (now - best.at) / kClockDriftPartsMax;
    const int64_t apart_us = std::abs(sample.offset_us - best.offset_us);
    if (apart_us > ToMicros(error + drift)) count_ = next_ = 0;  // R2
  }
  samples_[next_] = sample;
  next_ = (next_ + 1) % samples_.size();
  count_ = std::min(count_ + 1, samples_.size());
}

std::optional<Duration> ClockOffset::offset() const {
  if (count_ == 0) return std::nullopt;
  return std::chrono::microseconds(Best().offset_us);
}

const ClockOffset::Sample& ClockOffset::Best() const {
  return *std::min_element(
      samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(count_),
      [](const Sample& a, const Sample& b) { return a.round_trip < b.round_trip; });  // R1
}

PeerClocks SummarizeClocks(std::vector<Duration> offsets) {
  PeerClocks clocks;
  clocks.measured = offsets.size();
  if (offsets.empty()) return clocks;
  std::sort(offsets.begin(), offsets.end());
  clocks.largest_offset = std::max(Absolute(offsets.front()), Absolute(offsets.back()));
  const Duration low = offsets[(offsets.size() - 1) / 2];
  const Duration high = offsets[offsets.size() / 2];
  clocks.median_offset = Absolute(low) <= Absolute(high) ? low : high;  // R3
  return clocks;
}

}  // namespace overlay::transport
