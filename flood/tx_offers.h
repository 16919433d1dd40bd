// flood/tx_offers.h
//
// What the core is handed of the transactions that peers sent, and what waits for its verdict.
//
// Rules
//   R1  A transaction is handed over when the core has given room for it, oldest first.
//   R2  What waits for room is bounded by `core_stream_message_count_max` and
//       `core_stream_bytes_max`. What does not fit is counted as lost and waits behind; it is
//       offered again when half of the queue has drained.
//   R3  A pending one without verdict `pending_reoffer_after` after it was handed over is queued
//       once more, with `redelivered`; after as long again it is let go. Without a core attached
//       this clock stands still.
//   R4  At Attach all pending ones are queued again, in order of arrival, as if never offered.
//   R5  A pending one leaves `mempool_age_max` after it arrived, whatever the core does.
//
// Bounds   R2 and the caller's cap on pending ones; records are of the TxTable.
// Cost     O(1) each; Attach O(pending).
// Time     argument only. Threads: none.
#ifndef OVERLAY_FLOOD_TX_OFFERS_H_
#define OVERLAY_FLOOD_TX_OFFERS_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/tx_table.h"

namespace overlay::flood {

class TxOffers {
 public:
  // Both must outlive this.
  TxOffers(const Limits& limits, TxTable& table) : limits_(limits), table_(table) {}

  void Attach();
  void Detach();
  bool is_attached() const { return attached_; }
  void AddRoom(uint32_t messages);

  // It has come from a peer and nobody has judged it. Offered if `deliver`.
  void AddPending(TxIndex index);
  // It is in the mempool already (a core that does not judge): offered once.
  void AddPooled(TxIndex index);
  // It leaves this: judged, or gone. No effect on one that is not here.
  void Remove(TxIndex index);

  // Hands over what there is room for.
  void Deliver(Time now, ActionList& out);
  // A pending one that R3 or R5 lets go; the caller removes it and asks again. R3's second offers
  // are queued.
  std::optional<TxIndex> NextExpired(Time now);
  std::optional<Time> NextDeadline() const;

  std::optional<TxIndex> oldest_pending() const {
    return pending_.empty() ? std::nullopt : std::optional(pending_.front());
  }
  size_t pending_count() const { return pending_.size(); }
  size_t pending_bytes() const { return pending_bytes_; }
  size_t queued_count() const { return queued_.size(); }
  // Not fitted since the last call (R2).
  uint64_t lost() const { return lost_; }
  uint64_t TakeLost() {
    const uint64_t lost = lost_;
    lost_ = 0;
    return lost;
  }
  void CheckInvariants() const;

 private:
  void Enqueue(TxIndex index);
  void Refill();
  void Unlink(TxIndex index);
  bool HasRoom(TxIndex index) const;

  const Limits& limits_;
  TxTable& table_;
  bool attached_ = false;
  uint64_t room_ = 0;
  IndexList<&TxRecord::age_link> pending_;  // by arrival; the mempool's ages use the same link
  size_t pending_bytes_ = 0;
  // A record is in at most one of these, as its `offer` says.
  IndexList<&TxRecord::offer_link> queued_;
  IndexList<&TxRecord::offer_link> behind_;   // did not fit
  IndexList<&TxRecord::offer_link> offered_;  // pending ones handed over, ascending in offered_at
  size_t queued_bytes_ = 0;
  uint64_t lost_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_OFFERS_H_
