#include "tests/support/virtual_link.h"

#include <algorithm>

namespace overlay {

absl::InlinedVector<Time, 2> VirtualLink::Pass(const LinkOptions& link, Time now,
                                               absl::Span<uint8_t> payload, Random& random) {
  if (payload.size() > link.mtu || random.Chance(link.loss)) return {};
  if (random.Chance(link.corrupt)) {
    payload[random.Below(payload.size())] ^= static_cast<uint8_t>(1 + random.Below(255));
  }
  Time leaves = now;
  if (link.bits_per_second > 0) {
    const auto bits = static_cast<int64_t>(8 * (payload.size() + kLinkHeaderBytes));
    const auto rate = static_cast<int64_t>(link.bits_per_second);
    free_at_ = std::max(free_at_, now);
    const auto queued = static_cast<size_t>((free_at_ - now).count() / 1'000 * rate / 8'000'000);
    if (queued > link.queue_bytes) return {};
    queue_bytes_seen_ = std::max(queue_bytes_seen_, queued);
    free_at_ += Duration(bits * 1'000'000'000 / rate);
    leaves = free_at_;
  }
  absl::InlinedVector<Time, 2> arrivals;
  const int copies = random.Chance(link.duplicate) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    const Time at = leaves + link.delay + random.UpTo(link.jitter);
    last_at_ = link.keeps_order ? std::max(last_at_, at) : at;
    arrivals.push_back(last_at_);
  }
  return arrivals;
}

}  // namespace overlay
