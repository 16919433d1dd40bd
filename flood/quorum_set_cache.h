// flood/quorum_set_cache.h
//
// Quorum sets by hash.
//
// Rules
//   R1  One that the core offered stays as long as the core's session.
//       Why: a validator's own quorum set is asked for at any time, by peers that join late.
//   R2  One that was fetched stays while a slot is kept for which an envelope named it.
//   R3  Over the limit the oldest fetched one goes, then the oldest offered one.
//
// Bounds   Limits::quorum_set_count_max, each quorum_set_bytes_max at most.
// Cost     O(log n); O(n) to evict. Threads: none.
#ifndef OVERLAY_FLOOD_QUORUM_SET_CACHE_H_
#define OVERLAY_FLOOD_QUORUM_SET_CACHE_H_

#include <vector>

#include "absl/container/btree_map.h"
#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/slot_window.h"

namespace overlay::flood {

class QuorumSetCache {
 public:
  QuorumSetCache(const Limits& limits, const SlotWindow& window)
      : limits_(limits), window_(window) {}

  void InsertOffered(const SetHash& hash, Bytes bytes);
  void InsertFetched(const SetHash& hash, Bytes bytes, LedgerSeq named_for);
  // An envelope names it for this slot.
  void OnNamed(const SetHash& hash, LedgerSeq slot);
  const Bytes* Find(const SetHash& hash) const;
  void OnWindowMoved();
  // What was offered is from now on treated as fetched.
  void OnCoreDetached();

  struct Listed {
    SetHash hash;
    LedgerSeq slot;  // highest it was named for; 0: none
  };
  std::vector<Listed> List() const;

  size_t count() const { return entries_.size(); }
  size_t bytes() const { return bytes_; }
  void CheckInvariants() const;

 private:
  struct Entry {
    Bytes bytes;
    LedgerSeq named_for;
    bool offered = false;
    uint64_t order = 0;
  };
  Entry& Insert(const SetHash& hash, Bytes bytes);
  void Shrink();

  const Limits& limits_;
  const SlotWindow& window_;
  absl::btree_map<SetHash, Entry> entries_;
  size_t bytes_ = 0;  // sum over entries
  uint64_t next_order_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_QUORUM_SET_CACHE_H_
