// flood/tx_advertiser.h
//
// Tells each peer which valid transactions are here, once, and not what it knows or does not want.
//
// Rules
//   R1  A transaction is announced to each peer that neither announced nor sent it nor was told of
//       it. Why: an echo doubles the traffic of every link.
//   R2  At once when nothing went to the peer for `inv_batch_delay`; else it waits for that, or
//       until `inv_batch_count_max` wait. Why: one frame for one hash when quiet, for hundreds
//       under load.
//   R3  What bids less than the peer's filter of its lane is not announced and counts as not
//       announced; when the filter falls it is, at the rate of R4.
//   R4  A new peer is told of the mempool best first, at `mempool_announce_per_second`; what
//       becomes valid meanwhile goes by R2. Why: 100,000 hashes at once would stand before
//       everything else of class 1.
//   R5  A peer that takes no more (InvBlocked) is told of nothing, and what it is not told of does
//       not count as announced. Once it takes some again it is told of what it does not know, as
//       a new peer is (R4). Why: a peer that is too busy for transactions must not be cut off from
//       SCP because they pile up for it; and what was externalized meanwhile need not be told.
//
// A *sweep* (R3 to R5) walks the order of each lane from a place downwards, so it needs no list of
// what to send.
//
// Bounds   per peer a queue of two frames and a place per lane.
// Cost     O(peers) a transaction; a sweep looks at kSweepLooksMax transactions every kSweepTick at
//     most.
// Order    peers by slot, transactions by arrival or place; no hash table is iterated.
// Time     argument only. Threads: none.
// Not here our own filter (tx_flood), what peers ask for afterwards.
#ifndef OVERLAY_FLOOD_TX_ADVERTISER_H_
#define OVERLAY_FLOOD_TX_ADVERTISER_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/mempool.h"
#include "flood/tx_table.h"

namespace overlay::flood {

inline constexpr Duration kSweepTick = std::chrono::milliseconds(20);
inline constexpr size_t kSweepLooksMax = 500;

class TxAdvertiser {
 public:
  // All must outlive this.
  TxAdvertiser(const Limits& limits, TxTable& table, const Mempool& mempool)
      : limits_(limits), table_(table), mempool_(mempool) {}

  // `slot` is free; it is the peer's bit in the table.
  void AddPeer(Time now, PeerSlot slot, PeerId id);
  void RemovePeer(PeerSlot slot);
  void OnFeeFilter(Time now, PeerSlot slot, const FeeFilter& filter);
  void SetBlocked(Time now, PeerSlot slot, bool blocked);
  // It is in the mempool, or has a better bid there.
  void Announce(TxIndex index);
  // Sends what is due; at the end of every input and when NextDeadline() has come.
  void Flush(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  uint64_t announced() const { return announced_; }  // hashes x peers
  uint64_t held() const { return held_; }            // R5; hashes x peers
  void CheckInvariants() const;

 private:
  struct LaneSweep {
    bool active = false;
    std::optional<Mempool::Place> after;  // none: from the best
  };
  struct Peer {
    bool used = false;
    PeerId id;
    FeeFilter filter;
    std::vector<TxRef> queue;  // known bits are set already
    std::optional<Time> last_sent;
    bool dirty = false;    // listed in dirty_
    bool blocked = false;  // R5
    bool missed = false;   // something, while blocked
    std::array<LaneSweep, kLaneCount> sweep;
    Time sweep_at{};
  };

  bool IsSweeping(const Peer& peer) const;
  bool Passes(const Peer& peer, const Bid& bid) const;
  void Queue(PeerSlot slot, TxIndex index);
  void MarkDirty(PeerSlot slot);
  void Sweep(PeerSlot slot);
  void Pump(Time now, PeerSlot slot, ActionList& out);
  void Send(Time now, Peer& peer, ActionList& out);
  std::optional<Time> DeadlineOf(const Peer& peer) const;

  const Limits& limits_;
  TxTable& table_;
  const Mempool& mempool_;
  std::vector<Peer> peers_;      // by slot
  std::vector<PeerSlot> dirty_;  // with something new since the last Flush
  Time next_ = kTimeNever;       // no deadline of a peer is before this
  uint64_t announced_ = 0;
  uint64_t held_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_ADVERTISER_H_
