// flood/scp_inbox.h
//
// Envelopes from peers: what is kept under which sender, what a newer one supersedes, and what
// waits for the core.
//
// Rules
//   R1  An envelope is kept under every peer that sent it, by (sender, node, slot, phase); there
//       the newer one supersedes the older (scp_order.h), and of incomparable ones two stay, the
//       latest. Why: node, slot and phase of bytes that nobody checked can be forged; a forger
//       hurts only his own copies.
//   R2  Superseded under all its senders before it reached the core, a hash is forgotten: another
//       copy is new.
//   R3  Per sender 8,000 envelopes and 4 MiB. Slots up to the newest closed go first, lowest first;
//       then the highest while the window has an upper bound, else the lowest. What ranks no better
//       is refused itself.
//   R4  While the window has no upper bound, of the slots above the newest closed a sender keeps
//       its own newest 12. Those closed, while kept, and the keep_slots are not counted: a core
//       that has just come back is owed them.
//   R5  What is refused or lost at a limit is not remembered, and the core is told (Overflow), at
//       most once in Limits::overflow_report_interval.
//   R6  An envelope goes to a core at most once per attachment, in the order of arrival, when there
//       is room; never one that this core has broadcast itself, or broadcast a newer one of its
//       key.
//   R7  A core that attaches gets all that is kept, again in the order of arrival.
//   R8  Of what arrived since the attachment 10,000 envelopes and 64 MiB wait at most; over it, the
//       sender whose envelopes (those that it sent first) weigh most loses the earliest of its
//       lowest slot.
//   R9  A sender that disconnects leaves its envelopes; all that have gone together count as one
//       sender (R3), and lose those of the one gone longest first. Why: the only copies may be
//       theirs.
//   R10 On request an envelope that was delivered is delivered again, flagged, after what waits.
//
// Cost     O(log kept) per copy, and O(slots of its sender) while the window has no upper bound; at
//     limits and for verdicts O(senders). The window moving: O(what goes).
// Threads  none.
#ifndef OVERLAY_FLOOD_SCP_INBOX_H_
#define OVERLAY_FLOOD_SCP_INBOX_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"
#include "flood/scp_index.h"
#include "flood/scp_outbox.h"
#include "flood/slot_window.h"

namespace overlay::flood {

class ScpInbox {
 public:
  enum class Arrival : uint8_t { kNew, kDuplicate, kSuperseded, kRefused };

  ScpInbox(const Limits& limits, const SlotWindow& window, ScpIndex& index, const ScpOutbox& outbox,
           ScpStats& stats)
      : limits_(limits), window_(window), index_(index), outbox_(outbox), stats_(stats) {}

  void OnPeerConnected(const NodeKey& sender);
  void OnPeerDisconnected(const NodeKey& sender);

  // The slot is taken from peers. Returns the entry, which is created if the envelope is kept; null
  // unless remembered.
  std::pair<Arrival, ScpEntry*> Take(Time now, const NodeKey& sender, const EnvelopeHash& hash,
                                     const Bytes& envelope, const EnvelopeSkim& skim);

  // ---- core
  void Attach(uint64_t session);
  void Detach(uint64_t session);
  void AddRoom(uint32_t messages) { room_ += messages; }
  void Deliver(Time now, ActionList& out);
  // The core has it, so it does not wait any more.
  void OnBroadcast(ScpEntry& entry) { Uncharge(entry); }
  // A peer's full queue dropped a copy of a broadcast: told like R5.
  void OnCopyDropped(Time now, LedgerSeq slot, ActionList& out) {
    Note(lost_from_core_, slot);
    ReportLost(now, out);
  }
  bool IsWaiting(const ScpEntry& entry) const;
  size_t waiting_count() const { return waiting_count_; }
  size_t redelivery_bytes() const { return redelivery_bytes_; }
  // False: the bound was reached, and the core will be told.
  bool Redeliver(const EnvelopeHash& hash, const Bytes& envelope, LedgerSeq slot,
                 const NodeKey& from);

  // ---- removal; the entry stays in the index
  void Drop(ScpEntry& entry);             // under all senders
  void DropAtLimit(ScpEntry& entry);      // likewise, and reported if it was waiting
  void DropSlotUnderAll(LedgerSeq slot);  // before DropGone of each entry of the slot
  void DropGone(ScpEntry& entry);

  void OnDeadline(Time now, ActionList& out) { ReportLost(now, out); }
  std::optional<Time> NextDeadline() const;
  void CheckInvariants() const;

 private:
  // Envelopes of one sender, node, slot and phase: one, or two that do not compare; earliest first.
  using Held = absl::InlinedVector<ScpEntry*, 2>;
  struct Slot {
    absl::btree_map<std::pair<NodeKey, ScpPhase>, Held> held;
    size_t count = 0;
    size_t bytes = 0;
  };
  struct Sender {
    uint32_t connections = 0;
    uint64_t departure = 0;                  // key in departed_ while connections is 0
    absl::btree_map<LedgerSeq, Slot> slots;  // none empty
    size_t count = 0;
    size_t bytes = 0;
  };
  // What waits for the core of what one peer sent first, by slot and arrival.
  struct Queue {
    absl::btree_map<std::pair<LedgerSeq, uint64_t>, ScpEntry*> waiting;
    size_t bytes = 0;
  };
  struct Redelivery {
    EnvelopeHash hash;
    Bytes envelope;
    NodeKey from;
  };

  bool IsOwnNewest(Time now, const Sender& sender, LedgerSeq slot) const;
  void KeepOwnNewest(Time now, Sender& sender);
  bool IsAhead(LedgerSeq slot) const;
  bool MakeRoom(Time now, Sender& sender, LedgerSeq slot, size_t count_freed, size_t bytes_freed,
                size_t bytes_needed);
  // The slot to lose next for the sake of one envelope of `slot`; nullopt: none ranks worse.
  std::optional<LedgerSeq> Victim(Time now, const Sender& sender, LedgerSeq slot) const;
  void DropFirstOf(Sender& sender, LedgerSeq slot);
  void DropSlot(Sender& sender, LedgerSeq slot);
  enum class Cause : uint8_t { kSuperseded, kLimit, kGone };
  // Takes it from one sender's list. Returns its place in the order if nobody keeps it now and it
  // was waiting.
  std::optional<uint64_t> Unkeep(Sender& sender, ScpEntry& entry, Cause cause);
  std::optional<uint64_t> Release(ScpEntry& entry, Cause cause);
  void Charge(ScpEntry& entry);
  void Uncharge(ScpEntry& entry);
  // True if `newcomer` had to go.
  bool ShedQueue(const ScpEntry* newcomer);
  void ShedDeparted();
  void NoteLost(LedgerSeq slot) { Note(lost_to_core_, slot); }
  void Note(std::optional<Overflow>& lost, LedgerSeq slot);
  void ReportLost(Time now, ActionList& out);
  void CountDeparted(const Sender& sender, bool add);

  const Limits& limits_;
  const SlotWindow& window_;
  ScpIndex& index_;
  const ScpOutbox& outbox_;
  ScpStats& stats_;

  std::map<NodeKey, Sender> senders_;
  absl::btree_map<uint64_t, NodeKey> departed_;  // by departure
  size_t departed_count_ = 0;
  size_t departed_bytes_ = 0;
  uint64_t last_departure_ = 0;

  absl::btree_map<uint64_t, ScpEntry*> by_arrival_;  // all that is kept
  uint64_t last_arrival_ = 0;
  uint64_t cursor_ = 0;  // what waits is not below it

  bool attached_ = false;
  uint64_t session_ = 1;
  uint64_t room_ = 0;
  absl::btree_map<NodeKey, Queue> queues_;  // none empty
  size_t waiting_count_ = 0;
  size_t waiting_bytes_ = 0;
  std::deque<Redelivery> redeliveries_;
  size_t redelivery_bytes_ = 0;

  std::optional<Overflow> lost_to_core_;
  std::optional<Overflow> lost_from_core_;
  Time report_at_ = Time::min();  // not before
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SCP_INBOX_H_
