// flood/slot_window.h
//
// Which slots are kept, and which envelopes from peers are taken: the one answer that the SCP
// flood, the caches and the memory of refusals share.
//
// Rules
//   R1  Kept are the newest `slots_kept_min` closed slots, or those closed in the last
//       `slots_kept_for` if that is more, `slots_kept_max` at most; every slot above the newest
//       closed one; and the keep_slots. Why: at 600 ms ledgers twelve slots are 7 s, less than one
//       slow ledger takes to apply.
//   R2  A lower LedgerClosed is accepted and moves nothing back: its keep_slots are added to the
//       others. Why: a core that replays must not evict what its peers still need.
//   R3  Peers' envelopes are taken up to closed + kSlotsAheadMax, but only while the core says that
//       it is tracking and a ledger has closed within `tracking_expires`; otherwise there is no
//       upper bound. Why: a core that has fallen behind must hear of the slots ahead, or it never
//       comes back.
//   R4  Before the first LedgerClosed everything is kept and taken.
//
// Cost     O(1) for the questions, O(slots closed in the last minute, 128 at most) for
//     OnLedgerClosed.
// Time     argument only. Threads: none.
#ifndef OVERLAY_FLOOD_SLOT_WINDOW_H_
#define OVERLAY_FLOOD_SLOT_WINDOW_H_

#include <deque>
#include <optional>
#include <vector>

#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/base/time.h"

namespace overlay::flood {

class SlotWindow {
 public:
  explicit SlotWindow(const Limits& limits) : limits_(limits) {}

  // True if the set of kept slots may have shrunk: callers evict.
  bool OnLedgerClosed(Time now, LedgerSeq seq, bool tracking,
                      const std::vector<LedgerSeq>& keep_slots);
  // A new core says where it stands (0: unknown); same rules, and it is not tracking until it says
  // so.
  bool OnCoreAttached(Time now, LedgerSeq newest_closed);
  // Slots closed long ago leave the last minute even if nothing closes: true as in OnLedgerClosed.
  bool OnDeadline(Time now);
  std::optional<Time> NextDeadline() const;

  // Lowest slot kept by R1 without the keep_slots; 0 before the first close.
  LedgerSeq oldest_kept() const { return oldest_kept_; }
  LedgerSeq newest_closed() const { return newest_closed_; }
  bool IsKept(LedgerSeq slot) const;
  // nullopt: no upper bound now (R3).
  std::optional<LedgerSeq> UpperBound(Time now) const;
  bool IsTakenFromPeers(Time now, LedgerSeq slot) const;
  const std::vector<LedgerSeq>& keep_slots() const { return keep_slots_; }

  void CheckInvariants() const;

 private:
  struct Closed {
    LedgerSeq seq;
    Time at;
  };
  bool Recompute(Time now);

  const Limits& limits_;
  LedgerSeq newest_closed_;    // 0: none yet
  LedgerSeq oldest_kept_;      // newest_closed_ - 127 <= it <= newest_closed_ - 11, never falls
  std::deque<Closed> closed_;  // ascending in both members, slots_kept_max at most
  std::vector<LedgerSeq> keep_slots_;  // keep_slots_count_max at most
  bool tracking_ = false;
  Time last_close_{};
  std::optional<Time> next_deadline_;  // when the oldest kept slot leaves the minute
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SLOT_WINDOW_H_
