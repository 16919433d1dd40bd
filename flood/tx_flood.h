// flood/tx_flood.h
//
// Transactions, whole: pulled from peers, judged once by the core, kept in the mempool, announced
// and served. A facade over the tracker (whom to ask), the table (what is held), the mempool (what
// it is worth), the advertiser (who is told) and the memory of what must not come back. OverlayNode
// routes inputs here.
//
// A transaction:  announced -> demanded -> [body] -> pending -> [verdict] -> pooled ->
// externalized, remembered
//                                                       |                      |
//                                                       +-- refused, aged -----+-- remembered, or
//                                                       just gone
//
// Rules
//   R1  A body counts only if its SHA-256 is the hash that was asked for, it is no longer than
//       announced, and it can be skimmed. Anything else is an offence of its sender, and the next
//       announcer is asked.
//   R2  A peer's transaction is pending until the core's verdict; only valid ones are announced,
//       served and proposed. A core that does not judge: arrival is enough. A core's own submission
//       needs no verdict. Why: a node that relays what it has not judged is an amplifier for
//       whoever forges.
//   R3  Pending transactions and demands under way together never exceed `pending_share_of_mempool`
//       of the mempool's count and bytes: at the cap no more is demanded.
//       Why: the announcements wait at no cost; bodies would fill memory at the speed of the
//       fastest peer.
//   R4  Pending ones are delivered again at Attach. One that has been offered and stays unjudged
//       for `pending_reoffer_after` is offered once more, then dropped and remembered as aged out.
//   R5  Malformed and stale ones, and what aged out, are not demanded for
//       `refusals_remembered_ledgers`; malformed ones cost their sender an offence. `later` ones
//       may be had again after the next close. A verdict may come for any hash at any time; `valid`
//       takes back what was remembered of it.
//   R6  What was externalized is gone when ExternalizedApplied is said, and is neither demanded,
//       admitted nor returned for `refusals_remembered_ledgers` closes. Why: a late copy would be
//       proposed a second time.
//   R7  Each submission is answered exactly once, in order, and never by silence.
//   R8  The core is handed at most as many transactions as it gave room for. What waits is bounded
//       (`core_stream_message_count_max`, `core_stream_bytes_max`); what does not fit is counted,
//       told as Overflow once a second at most, and offered again (R4; without a judging core when
//       the queue has drained).
//   R9  A demand of a peer is answered in its order: bodies up to kBodiesAnswerBytesMax (or one
//       transaction), then `later`; with `bodies_queue_bytes_max` unacknowledged, or what is not
//       held as valid, not-found.
//   R10 A TopQuery is answered when all numbers up to its fence have been applied, at once if they
//       have been.
//   R11 A full lane tells its peers its floor, at most once a second, and takes it back when it has
//       room again.
//   R12 Of what was externalized, kExternalizedPerTurn are taken at a time; the rest follows at
//       once (NextDeadline), other inputs in between, and ExternalizedApplied comes with the last.
//       Why: a ledger's thousands in one go are milliseconds that an envelope would wait.
//   R13 Where memory is short (memory_budget.h) nothing is demanded, bodies that come are let go
//       and may be announced again, demands of peers are answered not-found, submissions `full`. To
//       free memory, answers under way are cancelled, of the peer with most of them first, then the
//       oldest pending ones go, and only when asked for the mempool's cheapest. Demands never take
//       more than half of the memory that is left. Why: else they would themselves be what it is
//       short of, and sets would go for bodies that have not come yet.
//
// Bounds   those of the components; kTopQueriesWaitingMax fences.
// Cost     O(peers) to admit; O(log pool) to place; one table look-up for an announcement of what
//     is held.
// Time     argument only; a step backwards delays work, never breaks a rule.
// Threads  none: owned by the loop thread.
// Not here encoding, streams, and what an offence costs (peers/peer_score).
#ifndef OVERLAY_FLOOD_TX_FLOOD_H_
#define OVERLAY_FLOOD_TX_FLOOD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"
#include "flood/trace.h"

namespace overlay::flood {

// Fences that wait at a time; one more is refused by name.
inline constexpr size_t kTopQueriesWaitingMax = 256;
// R12: each costs about a microsecond.
inline constexpr size_t kExternalizedPerTurn = 64;  // 2 to 3 us each
// Of what the memory of refusals lets go of; 0.3 us each.
inline constexpr size_t kForgottenPerTurn = 256;

class TxFlood {
 public:
  // Both must outlive this.
  TxFlood(const Limits& limits, TxStats& stats);
  ~TxFlood();

  // ---- from peers. Those of a peer come between its OnPeerConnected and OnPeerDisconnected.
  struct Peer {
    PeerId id;
    NodeKey key;
    bool preferred = false;  // its announcements are asked first
  };
  void OnPeerConnected(Time now, const Peer& peer, ActionList& out);
  void OnPeerDisconnected(Time now, PeerId peer, ActionList& out);
  void OnInv(Time now, PeerId peer, const Inv& inv, ActionList& out);
  void OnFeeFilter(Time now, PeerId peer, const FeeFilter& filter, ActionList& out);
  void OnInvBlocked(Time now, const InvBlocked& told, ActionList& out);
  void OnBodiesRequested(Time now, const BodiesRequested& requested, ActionList& out);
  void OnAnswerDone(Time now, const AnswerDone& done, ActionList& out);  // no effect on a set's
  // Our requests. Owns: it was made here (RequestEnded does not say of which kind it was).
  static bool Owns(RequestId request);
  void OnBodyReceived(Time now, const BodyReceived& received, ActionList& out);
  void OnRequestEnded(Time now, const RequestEnded& ended, ActionList& out);

  // ---- from the core
  void OnCoreAttached(Time now, const CoreAttached& attached, ActionList& out);
  void OnCoreDetached(Time now, ActionList& out);
  void OnCoreRoom(Time now, uint32_t messages, ActionList& out);  // of CoreStream::kTransactions
  void OnSubmit(Time now, const SubmitTransactions& batch, ActionList& out);
  void OnVerdicts(Time now, const TransactionVerdicts& batch, ActionList& out);
  void OnLedgerClosed(Time now, LedgerSeq closed, ActionList& out);
  void OnTxSetExternalized(Time now, const TxSetExternalized& externalized, ActionList& out);
  void OnTopQuery(Time now, const TopQuery& query, ActionList& out);
  void OnCancelTopQuery(Time now, const CancelTopQuery& cancel);

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  // ---- memory (R13)
  void SetMemoryPressed(Time now, bool pressed, ActionList& out);
  // What all pools together may still grow by: demands under way take half of it at most.
  void SetMemoryRoom(uint64_t bytes);
  // Lets go of some, until `bytes` are free or the turn's share of work is done. Those freed; 0:
  // there are none.
  size_t FreeBodies(size_t bytes, ActionList& out);
  size_t FreeCheapest(size_t bytes, ActionList& out);
  // Pending ones, demands under way and answers to peers.
  size_t body_bytes() const;
  size_t mempool_bytes() const;

  // For AttachStatus and `overlayctl`.
  size_t pending_count() const;
  size_t pooled_count() const;
  bool IsPooled(const TxHash& hash) const;
  TxTrace Trace(const TxHash& hash) const;  // O(peers)
  void CheckInvariants() const;             // O(state)

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_FLOOD_H_
