// flood/mempool.h
//
// Valid transactions in the order in which they deserve a place: which to propose, which to let go.
//
// Rules
//   R1  Order is fee per operation, exact (cross products in 128 bits); equal bids in order of
//       arrival. Why: rounded quotients would let a bid of 100.9 lose to one of 100.
//   R2  Each lane has its own caps (count and bytes: its share of the mempool's), its own eviction
//       and floor. Why: a surge in one lane must never empty another.
//   R3  Full: a newcomer displaces the cheapest of its lane, and only those that bid strictly less;
//       else it is refused and told the fee that would do: that beats all that must go for it.
//   R4  At most `mempool_per_account_max` of one source account (0: no limit). One with the account
//       and sequence number of another replaces it if it bids 10 times as much per operation, else
//       is refused; a fee bump and its inner transaction are such a pair. Can be switched off: then
//       both stay. Why: replacing floods the network again; ten times makes that dear.
//   R5  What has been here for `mempool_age_max` leaves.
//   R6  Top: best bid first, an account's in sequence order and at most `per_account_max` of them,
//       so one that bids well behind a cheap one of its account waits for that. One that does not
//       fit the bytes left is passed over, with those of its account behind it.
//   R7  A lane is full for its peers (FloorFeePerOp) from the moment that it refuses or evicts
//       until it is below 90 % of its caps again. Why: a floor that flaps costs every peer a
//       message.
//   R8  Where memory is short (memory_budget.h) the cheapest of the lane that fills most of its
//       bytes goes.
//
// Bounds   R2; records are of the TxTable, removed by the caller.
// Cost     O(log n) to add (and for each that must go), remove, re-bid; Top O(returned x log n),
//     whatever the pool holds.
// Time     argument only. Threads: none.
// Not here pending transactions, the memory of what left, who is told.
#ifndef OVERLAY_FLOOD_MEMPOOL_H_
#define OVERLAY_FLOOD_MEMPOOL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "flood/base/limits.h"
#include "flood/core_io.h"
#include "flood/tx_table.h"

namespace overlay::flood {

inline constexpr uint64_t kReplaceFeeFactor = 10;
// Top gives up after so many that did not fit the bytes left: more would cost what it does not
// return.
inline constexpr size_t kTopMisfitsMax = 64;

// True if `a` bids strictly more per operation than `b`.
bool BidsMore(const Bid& a, const Bid& b);
// Rounded down; a negative fee counts as 0.
uint64_t FeePerOp(const Bid& bid);

class Mempool {
 public:
  enum class Outcome : uint8_t { kAdded, kFeeTooLow, kAccountFull, kNoRoom };
  struct AddResult {
    Outcome outcome = Outcome::kAdded;
    uint64_t fee_wanted = 0;  // with kFeeTooLow: the lowest fee that would do
  };
  // A place in the order of a lane.
  struct Place {
    Bid bid;
    uint64_t order = 0;
    TxIndex index = kNoIndex;
  };
  struct Better {
    bool operator()(const Place& a, const Place& b) const;
  };
  using Order = absl::btree_set<Place, Better>;

  // Both must outlive this.
  Mempool(const Limits& limits, TxTable& table);

  // Puts a record of the table here. What it displaced is appended to `displaced`: no longer here,
  // still in the table.
  AddResult Add(Time now, TxIndex index, std::vector<TxIndex>& displaced);
  void Remove(TxIndex index);
  // Another bid for one that is here; it is never refused, a lane over its caps evicts.
  void Rebid(TxIndex index, const Bid& bid, std::vector<TxIndex>& displaced);
  // R8: the one to go, still here; nullopt: there is none.
  std::optional<TxIndex> Cheapest() const;
  // The oldest that R5 lets go, if its time has come.
  std::optional<TxIndex> NextExpired(Time now) const;
  std::optional<Time> NextExpiry() const;

  std::vector<TopTransaction> Top(const TopQuery& query) const;
  // R7: 0 while the lane has room, else the cheapest's fee per operation, rounded down, plus one:
  // what bids less would be refused, but for a fraction of a stroop.
  uint64_t FloorFeePerOp(Lane lane) const;
  // Best first; for walks that begin after a place (upper_bound).
  const Order& order(Lane lane) const { return LaneOf(lane).all; }

  size_t count() const { return age_.size(); }
  size_t bytes() const { return lanes_[0].bytes + lanes_[1].bytes; }
  void CheckInvariants() const;

 private:
  struct LaneState {
    Order all;
    Order heads;  // of them, the first of each account: what Top begins with
    size_t bytes = 0;
    size_t count_max = 0;
    size_t bytes_max = 0;
    bool full = false;  // R7
  };
  struct Numbered {
    int64_t sequence = 0;
    uint64_t order = 0;
    TxIndex index = kNoIndex;
    friend auto operator<=>(const Numbered&, const Numbered&) = default;
  };
  using Account = absl::InlinedVector<Numbered, 1>;  // ascending, never empty
  class TopBuilder;

  LaneState& LaneOf(Lane lane) { return lanes_[static_cast<size_t>(lane)]; }
  const LaneState& LaneOf(Lane lane) const { return lanes_[static_cast<size_t>(lane)]; }
  Place PlaceOf(TxIndex index) const;
  // The one that R4 lets `record` replace or be refused for.
  std::optional<TxIndex> Rival(const TxRecord& record) const;
  // Appends what must go to make room, cheapest first; false if nothing would do.
  bool MakeRoom(const TxRecord& record, std::optional<TxIndex> replaced,
                std::vector<TxIndex>& victims) const;
  void Insert(TxIndex index);
  void InsertNumbered(TxIndex index);
  void RemoveNumbered(TxIndex index);
  // It has refused or evicted; a lane that is below 90 % all the same is not full.
  void SetFull(LaneState& lane);
  void UpdateFull(LaneState& lane);

  const Limits& limits_;
  TxTable& table_;
  std::array<LaneState, kLaneCount> lanes_;
  absl::flat_hash_map<AccountKey, Account> accounts_;
  IndexList<&TxRecord::age_link> age_;  // ascending in pooled_at
  uint64_t next_order_ = 1;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_MEMPOOL_H_
