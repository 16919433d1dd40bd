// flood/tx_flood_impl.h
//
// The members behind TxFlood, whose rules stand in tx_flood.h. What comes from peers is in
// tx_flood_peers.cc, what comes from the core in tx_flood_core.cc, time and the rest in
// tx_flood.cc.
//
// Threads none: owned by the loop thread.
#ifndef OVERLAY_FLOOD_TX_FLOOD_IMPL_H_
#define OVERLAY_FLOOD_TX_FLOOD_IMPL_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "flood/mempool.h"
#include "flood/tx_advertiser.h"
#include "flood/tx_flood.h"
#include "flood/tx_memory.h"
#include "flood/tx_offers.h"
#include "flood/tx_request_tracker.h"
#include "flood/tx_table.h"

namespace overlay::flood {

class TxFlood::Impl {
 public:
  Impl(const Limits& limits, TxStats& stats)
      : limits_(limits),
        stats_(stats),
        memory_(limits),
        mempool_(limits, table_),
        offers_(limits, table_),
        tracker_(limits),
        advertiser_(limits, table_, mempool_) {}

  void OnPeerConnected(Time now, const TxFlood::Peer& connected, ActionList& out);
  void OnPeerDisconnected(Time now, PeerId id, ActionList& out);
  void OnInv(Time now, PeerId id, const Inv& inv, ActionList& out);
  void OnFeeFilter(Time now, PeerId id, const FeeFilter& filter, ActionList& out);
  void OnInvBlocked(Time now, const InvBlocked& told, ActionList& out);
  void OnBodiesRequested(const BodiesRequested& requested, ActionList& out);
  void OnAnswerDone(const AnswerDone& done);
  void OnBodyReceived(Time now, const BodyReceived& received, ActionList& out);
  void OnRequestEnded(Time now, const RequestEnded& ended, ActionList& out);

  void OnCoreAttached(Time now, const CoreAttached& attached, ActionList& out);
  void OnCoreDetached(Time now, ActionList& out);
  void OnCoreRoom(Time now, uint32_t messages, ActionList& out);
  void OnSubmit(Time now, const SubmitTransactions& batch, ActionList& out);
  void OnVerdicts(Time now, const TransactionVerdicts& batch, ActionList& out);
  void OnLedgerClosed(Time now, LedgerSeq closed, ActionList& out);
  void OnTxSetExternalized(Time now, const TxSetExternalized& externalized, ActionList& out);
  void OnTopQuery(const TopQuery& query, ActionList& out);
  void OnCancelTopQuery(const CancelTopQuery& cancel);

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  void SetMemoryPressed(Time now, bool pressed, ActionList& out);
  void SetMemoryRoom(uint64_t bytes) { body_bytes_max_ = body_bytes() + bytes / 2; }
  size_t FreeBodies(size_t bytes, ActionList& out);
  size_t FreeCheapest(size_t bytes, ActionList& out);
  size_t body_bytes() const {
    return offers_.pending_bytes() + tracker_.in_flight_bytes() + answer_bytes_;
  }
  size_t mempool_bytes() const { return mempool_.bytes(); }

  size_t pending_count() const { return offers_.pending_count(); }
  size_t pooled_count() const { return mempool_.count(); }
  bool IsPooled(const TxHash& hash) const {
    const std::optional<TxIndex> index = table_.Find(hash);
    return index && table_[*index].pooled;
  }
  TxTrace Trace(const TxHash& hash) const;
  void CheckInvariants() const;

 private:
  struct PeerState {
    NodeKey key;
    PeerSlot slot = 0;
    bool paused = false;                             // as told to transport
    absl::flat_hash_map<RequestId, size_t> answers;  // bytes under way
    size_t answer_bytes = 0;                         // their sum
  };

  PeerState* Find(PeerId id) {
    const auto it = peers_.find(id);
    return it == peers_.end() ? nullptr : &it->second;
  }
  bool IsLegalSize(const InvEntry& entry) const {
    return entry.size_bytes > 0 && entry.size_bytes <= limits_.transaction_bytes_max;
  }
  bool IsFetchable(const InvEntry& entry) const;
  void TakeBody(Time now, const BodyReceived& received, PeerState& peer, bool late,
                ActionList& out);
  void TakeFromPeer(Time now, TxRecord record, const PeerState& peer, bool late);
  void AdmitPending(Time now, TxIndex index);
  Mempool::AddResult AdmitToPool(Time now, TxIndex index);
  void DropDisplaced(std::vector<TxIndex>& displaced);
  void Remove(TxIndex index);
  void Refuse(TxIndex index, TxFate fate);
  SubmitResult Submit(Time now, const Submission& submission);
  SubmitResult SubmitNew(Time now, TxRecord record, SubmitResult result);
  void Judge(Time now, uint64_t number, const TxVerdict& verdict, ActionList& out);
  void JudgeHeld(Time now, TxIndex index, const TxVerdict& verdict, ActionList& out);
  void JudgeUnknown(const TxVerdict& verdict);
  bool TakeNumber(uint64_t number, const char* field, ActionList& out);
  void ApplyExternalized(ActionList& out);
  void AnswerTopQueries(ActionList& out);
  void AnswerTop(const TopQuery& query, ActionList& out) const;

  // What every input may have made possible.
  void Finish(Time now, ActionList& out);
  TxRequestTracker::Allowance Allowance() const;
  void Demand(Time now, ActionList& out);
  void PauseOrResume(ActionList& out);
  void TellOverflow(Time now, ActionList& out);
  void TellFloor(Time now, ActionList& out);
  FeeFilter CurrentFloor() const;
  size_t PendingCountMax() const;
  size_t PendingBytesMax() const;
  void UpdateStats();
  size_t CancelAnswer(ActionList& out);

  const Limits& limits_;
  TxStats& stats_;
  TxTable table_;
  TxMemory memory_;
  Mempool mempool_;
  TxOffers offers_;
  TxRequestTracker tracker_;
  TxAdvertiser advertiser_;

  absl::btree_map<PeerId, PeerState> peers_;
  std::vector<PeerSlot> free_slots_;  // used before and free now
  PeerSlot slot_count_ = 0;
  size_t answer_bytes_ = 0;  // sum over peers_

  // Until a core has said otherwise, nothing is valid by arrival; kept while no core is attached.
  bool judges_ = true;
  bool delivers_ = false;
  bool memory_pressed_ = false;            // R13
  uint64_t body_bytes_max_ = UINT64_MAX;   // R13: with what is demanded
  uint64_t applied_number_ = 0;            // of this session
  std::vector<TopQuery> waiting_queries_;  // in order of arrival
  // What is left of TxSetExternalized inputs; the daemon bounds the hashes of one, and its calls.
  struct Externalizing {
    TxSetExternalized input;
    size_t next = 0;
    ExternalizedApplied applied;
  };
  std::deque<Externalizing> externalizing_;
  FeeFilter floor_told_;
  Time floor_at_{};                                // not before
  Time overflow_at_{};                             // not before
  std::vector<TxRequestTracker::Demand> demands_;  // scratch
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_FLOOD_IMPL_H_
