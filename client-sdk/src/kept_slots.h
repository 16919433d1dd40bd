// client-sdk/src/kept_slots.h
//
// Which slots the daemon keeps, as far as its core can know: what is remembered for a daemon that
// forgets, and against delivering twice, is remembered of these.
//
// Rules
//   R1  Kept are the newest `slots_kept_min` closed slots, or those closed in the last kKeptFor if
//       that is more, `slots_kept_max` at most; every slot above the newest closed one; and the
//       keep_slots. Before the first close everything is.
//   R2  A lower close moves nothing back: its keep_slots are added to the others.
//   R3  Nothing leaves but at a close. Why: the daemon hears of each close later than it is counted
//       here, and what it still keeps must not be forgotten first; kKeptFor is longer than the
//       daemon's minute for the same reason.
//
// Cost     O(keep_slots) for the question, O(1) amortised for a close.
// Time     argument only. Threads: none.
#ifndef OVERLAY_CLIENT_SDK_SRC_KEPT_SLOTS_H_
#define OVERLAY_CLIENT_SDK_SRC_KEPT_SLOTS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace overlay::client {

using SteadyTime = std::chrono::steady_clock::time_point;

// The daemon's minute, and as long as telling it of a close may take.
inline constexpr std::chrono::seconds kKeptFor(65);

// Defaults of core.proto; a daemon says its own in `attached`.
struct KeptSlotsLimits {
  uint64_t slots_kept_min = 12;
  uint64_t slots_kept_max = 128;
  size_t keep_slots_max = 4;
};

class KeptSlots {
 public:
  // Counts from the next close on.
  void SetLimits(const KeptSlotsLimits& limits) { limits_ = limits; }
  void OnClosed(SteadyTime now, uint64_t slot, const std::vector<uint64_t>& keep_slots);

  bool IsKept(uint64_t slot) const;
  uint64_t newest_closed() const { return newest_closed_; }  // 0: none yet
  // The lowest kept of those that closed lately; 0: none yet. A daemon that knows nothing and is
  // told that this one has closed, and then the newest, keeps all that is kept here but keep_slots.
  uint64_t oldest_closed() const;
  const std::vector<uint64_t>& keep_slots() const { return keep_slots_; }

 private:
  struct Closed {
    uint64_t slot;
    SteadyTime at;
  };

  KeptSlotsLimits limits_;
  uint64_t newest_closed_ = 0;
  uint64_t oldest_kept_ = 0;   // never falls
  std::deque<Closed> closed_;  // ascending in both members, slots_kept_max at most
  std::vector<uint64_t> keep_slots_;
};

}  // namespace overlay::client

#endif  // OVERLAY_CLIENT_SDK_SRC_KEPT_SLOTS_H_
