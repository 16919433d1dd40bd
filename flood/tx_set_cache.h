// flood/tx_set_cache.h
//
// Transaction sets that this node can serve, filed by the slot they belong to.
//
// A set is a *member* when the core offered it, fetched it or broadcast an envelope that names it;
// else a *guest*: known only from envelopes that nobody has judged.
//
// Rules
//   R1  A member stays while its own slot is kept (slot_window.h R1); a member without a slot is
//       never evicted by arithmetic on slots.
//       Why: a set offered before its first envelope, or for a ledger yet to come, must be there
//       when peers ask.
//   R2  Only the core binds a set to a slot, and the first binding holds. A guest is filed under
//       the highest slot that an envelope named it for.
//       Why: a forger could otherwise age a set out by naming it for an old slot.
//   R3  Guests have a budget of their own; over it the peer with most guest bytes loses its oldest.
//       Why: at a shared limit the one that holds most loses, never the newcomer.
//   R4  Over the whole budget guests go first, then members of closed slots that were not
//       externalized, then the lowest slot; the set just inserted never goes for itself.
//   R5  The zstd frame of a set is kept beside it, counts towards both budgets, and goes with it or
//       before any set goes: those of guests first. One that went is not made again.
//       Why: a frame saves bytes on the wire; a set that had to go for it would cost a fetch. To
//       make it again and again under pressure would cost more than it saves.
//   R6  Where memory is short (memory_budget.h) they go one by one in that order, down to the sets
//       of slots that are not closed; those only when asked for any.
//
// Bounds   Limits::set_cache_bytes_max, set_cache_guest_bytes_max; a set is tx_set_bytes_max at
//     most.
// Cost     O(log n) an operation, O(n) to evict over the whole budget; n is some hundreds.
// Threads  none.
#ifndef OVERLAY_FLOOD_TX_SET_CACHE_H_
#define OVERLAY_FLOOD_TX_SET_CACHE_H_

#include <optional>
#include <tuple>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/slot_window.h"
#include "flood/trace.h"

namespace overlay::flood {

class TxSetCache {
 public:
  TxSetCache(const Limits& limits, const SlotWindow& window) : limits_(limits), window_(window) {}

  // Inserting a set that is there only raises its standing. `slot` may be unknown.
  void InsertMember(const SetHash& hash, Bytes bytes, std::optional<LedgerSeq> slot);
  // False if it could not be kept within the guests' budget.
  bool InsertGuest(const SetHash& hash, Bytes bytes, LedgerSeq named_for, PeerId from);

  // The core's own word: makes a guest a member, and binds what is not bound. No effect on sets not
  // held.
  void Bind(const SetHash& hash, LedgerSeq slot);
  void MakeMember(const SetHash& hash);
  // An unjudged envelope names it.
  void OnNamed(const SetHash& hash, LedgerSeq slot);
  void MarkExternalized(const SetHash& hash);

  // nullptr if not held. Valid until the next non-const call.
  const Bytes* Find(const SetHash& hash) const;
  // The set's frame; nullptr if there is none.
  const Bytes* FindFrame(const SetHash& hash) const;
  // Held, and no frame was kept, refused or dropped.
  bool MayCompress(const SetHash& hash) const;
  // An empty frame: not worth keeping. No effect unless MayCompress().
  void KeepFrame(const SetHash& hash, Bytes frame);
  // Evicts what the window no longer keeps.
  void OnWindowMoved();

  // R6: lets one go. Its bytes; 0: there is none of that kind.
  enum class Evictable : uint8_t { kOld, kAny };
  size_t Evict(Evictable which);

  // The sets of the slots kept and those without a slot, newest slot first.
  struct Listed {
    SetHash hash;
    LedgerSeq slot;  // 0: unbound
  };
  std::vector<Listed> List() const;

  size_t count() const { return entries_.size(); }
  size_t bytes() const { return bytes_; }
  size_t guest_bytes() const { return guest_bytes_; }
  bool IsGuest(const SetHash& hash) const;
  // If it is held: its standing.
  void Trace(const SetHash& hash, SetTrace& trace) const;
  void CheckInvariants() const;

 private:
  struct Entry {
    Bytes bytes;
    Bytes frame;                    // empty: none
    bool is_tried = false;          // whether there was one
    std::optional<LedgerSeq> slot;  // of a guest: highest it was named for
    bool guest = false;
    bool externalized = false;
    PeerId from;         // of a guest
    uint64_t order = 0;  // of insertion
  };
  using Entries = absl::btree_map<SetHash, Entry>;

  static size_t Weight(const Entry& entry) { return entry.bytes.size() + entry.frame.size(); }
  void Promote(Entry& entry);
  // The guests' accounts, by what `entry` weighs. Empty ones have none.
  void AddGuest(const Entry& entry);
  void RemoveGuest(const Entry& entry);
  void DropFrame(Entry& entry);
  bool DropLeastFrame(bool of_guests_only);
  Entries::iterator Erase(Entries::iterator it);
  void ShrinkGuests(const SetHash& inserted);
  void ShrinkAll(const SetHash& inserted);
  // The first to go but `spared`; end() if there is no other.
  Entries::iterator Victim(const SetHash* spared);
  // Lower goes first.
  std::tuple<int, LedgerSeq, uint64_t> EvictionRank(const Entry& entry) const;

  const Limits& limits_;
  const SlotWindow& window_;
  Entries entries_;
  size_t bytes_ = 0;                                // sum over entries
  size_t guest_bytes_ = 0;                          // sum over guests
  absl::btree_map<PeerId, size_t> guest_bytes_of_;  // no zero values
  uint64_t next_order_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_SET_CACHE_H_
