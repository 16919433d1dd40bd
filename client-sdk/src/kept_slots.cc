#include "client-sdk/src/kept_slots.h"

#include <algorithm>

namespace overlay::client {

void KeptSlots::OnClosed(SteadyTime now, uint64_t slot, const std::vector<uint64_t>& keep_slots) {
  if (slot >= newest_closed_) keep_slots_.clear();
  for (const uint64_t kept : keep_slots) {
    if (keep_slots_.size() >= limits_.keep_slots_max) break;
    if (std::find(keep_slots_.begin(), keep_slots_.end(), kept) == keep_slots_.end()) {
      keep_slots_.push_back(kept);
    }
  }
  if (slot > newest_closed_) {
    newest_closed_ = slot;
    closed_.push_back({slot, now});
  }
  if (closed_.empty()) return;
  // The front is the last close before the time, or the first of all: the slots after it, which may
  // have been jumped over, closed with the element behind it.
  const auto is_past = [now](const Closed& closed) { return closed.at + kKeptFor <= now; };
  while (closed_.size() > 1 && is_past(closed_[1])) closed_.pop_front();
  while (closed_.size() > limits_.slots_kept_max) closed_.pop_front();
  const uint64_t by_time = closed_.front().slot + (is_past(closed_.front()) ? 1 : 0);
  const auto newest = [this](uint64_t count) {
    return newest_closed_ >= count ? newest_closed_ + 1 - count : 0;
  };
  const uint64_t lowest =
      std::max(std::min(by_time, newest(limits_.slots_kept_min)), newest(limits_.slots_kept_max));
  oldest_kept_ = std::max(oldest_kept_, lowest);
}

bool KeptSlots::IsKept(uint64_t slot) const {
  return slot >= oldest_kept_ ||
         std::find(keep_slots_.begin(), keep_slots_.end(), slot) != keep_slots_.end();
}

uint64_t KeptSlots::oldest_closed() const {
  for (const Closed& closed : closed_) {
    if (closed.slot >= oldest_kept_) return closed.slot;
  }
  return newest_closed_;
}

}  // namespace overlay::client
