// flood/memory_budget.h
//
// Whether all that is held in memory together is within its limit and, if it is not, what is to go.
// The pools count their own bytes; this says what follows from them.
//
// Rules
//   R1  The pools other than SCP's may together hold memory_bytes_max less what SCP holds, and
//       less its reserve where SCP holds less than that. Why: an envelope must find its memory
//       free; it cannot wait until others have given theirs back.
//   R2  Above that there is pressure, until they hold a sixteenth (16 MiB at most) less than that.
//       Why: a pool that is refused and admitted byte by byte would be asked to free at each
//       input; and offers of the core are refused meanwhile, so it must be over in a few turns.
//   R3  Under pressure what goes are bodies of transactions, then old sets (guests and those of
//       closed slots), then the mempool's cheapest, then any set; the next only when nothing of
//       the one before can go, and never more than needed.
//       Why: a body is pulled again from whoever announced it, a set of a closed slot is wanted by
//       late peers only, a transaction has paid for its place; what a ledger is being agreed on
//       with goes last.
//   R4  While there is pressure nothing is admitted to the pools other than SCP's: their owners
//       refuse by name.
//   R5  SCP is never asked to free anything and never refused: only its own bounds count. Its
//       reserve is memory_scp_reserve_bytes, or what those bounds add up to if that is less.
//
// A pool counts payloads, each once for who holds it: what two pools share counts in both. What
// containers add (some 300 bytes an envelope or transaction) is not in it.
//
// Bounds   over R1 by what one input brings (1 MiB), and for SCP beyond its reserve.
// Cost     O(pools), six additions, an input without pressure.
// Time     none. Threads: none.
// Not here who frees, and how (overlay_node.cc).
#ifndef OVERLAY_FLOOD_MEMORY_BUDGET_H_
#define OVERLAY_FLOOD_MEMORY_BUDGET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "flood/base/limits.h"

namespace overlay::flood {

enum class MemoryPool : uint8_t {
  kScp,             // envelopes kept, as state and on their way
  kTxBodies,        // without a verdict, demanded, and in answers to peers
  kSets,            // cached
  kSetsInProgress,  // fetched and offered
  kMempool,
  kCoreStreams,  // what waits for the core to read
};
inline constexpr size_t kMemoryPoolCount = 6;
std::string_view MemoryPoolName(MemoryPool pool);

using MemoryBytes = std::array<uint64_t, kMemoryPoolCount>;

// What can be freed, in R3's order.
enum class MemoryStep : uint8_t { kTxBodies, kOldSets, kMempool, kAnySet };
inline constexpr size_t kMemoryStepCount = 4;
MemoryPool PoolOf(MemoryStep step);

class MemoryBudget {
 public:
  explicit MemoryBudget(const Limits& limits);

  // What the pools hold now. Every step may be asked for again.
  void Update(const MemoryBytes& bytes);

  bool is_pressed() const { return pressed_; }
  struct Relief {
    MemoryStep step = MemoryStep::kTxBodies;
    uint64_t bytes = 0;  // that must go in all
  };
  // What is to go next; nullopt: no pressure, or nothing that can go is left.
  std::optional<Relief> Next() const;
  // So much has gone by `step`; 0: nothing of it can.
  void OnFreed(MemoryStep step, uint64_t bytes);

  uint64_t scp_reserve_bytes() const { return scp_reserve_bytes_; }
  // Of all pools but SCP's.
  uint64_t held_bytes() const { return held_; }
  uint64_t room_bytes() const { return room_; }  // R1
  uint64_t left_bytes() const { return held_ < room_ ? room_ - held_ : 0; }
  void CheckInvariants() const;

 private:
  void Judge();
  uint64_t LowWater() const;  // R2

  const uint64_t bytes_max_;
  const uint64_t scp_reserve_bytes_;
  uint64_t held_ = 0;
  uint64_t room_ = 0;
  bool pressed_ = false;
  size_t step_ = 0;  // those below it have nothing left
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_MEMORY_BUDGET_H_
