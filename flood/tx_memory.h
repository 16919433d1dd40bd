// flood/tx_memory.h
//
// Remembers transactions that must not come back: externalized, refused, aged out.
//
// Rules
//   R1  A hash is remembered from Remember() until more than `refusals_remembered_ledgers` ledgers
//       have closed after the newest one closed then. Why more than: the set of a ledger may be
//       told before its close.
//   R2  `later` is forgotten at the next close.
//   R3  Externalized ones have room of their own, so that nothing a peer sends can push one out; it
//       also outranks every other fate.
//   R4  Before the first close nothing ages; what was remembered then counts from that close.
//   R5  What is over is not found any more at once, and leaves memory a few at a time. Why: the
//       thousands of one ledger would be a lump of milliseconds.
//
// Bounds   kTxMemoryCountMax externalized, as many refused or aged, kTxLaterCountMax `later`;
//     oldest first.
// Cost     O(1); the first close costs what was remembered before it.
// Threads  none.
#ifndef OVERLAY_FLOOD_TX_MEMORY_H_
#define OVERLAY_FLOOD_TX_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "flood/base/ids.h"
#include "flood/base/limits.h"

namespace overlay::flood {

// Why a transaction is not wanted.
enum class TxFate : uint8_t { kExternalized, kMalformed, kStale, kAged, kLater };

// 12 ledgers of 10,000 transactions are 120,000.
inline constexpr size_t kTxMemoryCountMax = 200'000;
inline constexpr size_t kTxLaterCountMax = 20'000;

class TxMemory {
 public:
  explicit TxMemory(const Limits& limits, size_t count_max = kTxMemoryCountMax)
      : ledgers_(limits.refusals_remembered_ledgers), count_max_(count_max) {}

  std::optional<TxFate> Find(const TxHash& hash) const;
  void Remember(const TxHash& hash, TxFate fate);
  // Takes back all but externalized.
  void Forget(const TxHash& hash);
  void OnLedgerClosed(LedgerSeq closed);
  // Lets go of at most `count` that are over.
  void DropOver(size_t count);
  bool has_over() const;

  size_t size() const { return externalized_.fates.size() + refused_.fates.size() + later_.size(); }
  void CheckInvariants() const;

 private:
  struct Item {
    TxHash hash;
    LedgerSeq ledger;  // newest closed when it was remembered
    uint64_t number = 0;
  };
  struct Known {
    TxFate fate = TxFate::kAged;
    LedgerSeq ledger;     // as its item's
    uint64_t number = 0;  // of the item that ends it; others of the same hash are stale
  };
  struct Generation {
    absl::flat_hash_map<TxHash, Known> fates;
    std::deque<Item>
        items;  // ascending in ledger and number; a forgotten hash leaves its item behind
  };
  void Add(Generation& generation, const TxHash& hash, TxFate fate);
  void PopFront(Generation& generation);
  // Of one remembered when `ledger` was the newest closed: whether its time has passed.
  bool IsOver(LedgerSeq ledger) const;
  bool HasOver(const Generation& generation) const;

  const uint64_t ledgers_;
  const size_t count_max_;
  LedgerSeq newest_closed_;
  uint64_t next_number_ = 1;
  Generation externalized_;
  Generation refused_;
  absl::flat_hash_set<TxHash> later_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_MEMORY_H_
