// flood/set_exchange.h
//
// Sets, whole: what is held (caches), what is missing (fetcher), who is served (server), what the
// core offers, and which peer has said that it holds what. OverlayNode routes inputs here.
//
// Rules
//   R1  A set that an envelope names and that is not held is fetched at once, before the core asks:
//       from the envelope's sender, then whoever said HaveTxSet. The zero hash is never fetched,
//       announced or accepted. Why: the core will ask for it within a millisecond; a ledger waits
//       for the slowest fetch.
//   R2  A set is cached before the core is told of it, and before any peer is.
//   R3  A set that enters the cache is announced to all peers not known to have it; a new peer is
//       told of all that is kept, newest slot first.
//       Why: a peer whose source died finds the next one without asking around.
//   R4  Of what a peer says that it has, have_sets_per_peer_slot_max a slot and
//       have_sets_per_peer_max in all are remembered; beyond that the lowest slot goes.
//   R5  The slot of a set is what the core says: in its offer, its fetch, or the first envelope
//       that it broadcast. Envelopes that nobody judged only make guests.
//   R6  A fetch by the core ends in exactly one of SetAvailable and FetchFailed (cancelled,
//       expired, no room).
//   R7  Where memory is short (memory_budget.h) no offer and no fetch is begun: the core is told by
//       name, an envelope's set is fetched when it is named again. What the core has broadcast a
//       name of is wanted all the same.
//
// Bounds   those of the parts; R4.
// Cost     O(peers) when a set enters the cache; O(log n) else, plus hashing what arrives.
// Time     argument only. Threads: none.
#ifndef OVERLAY_FLOOD_SET_EXCHANGE_H_
#define OVERLAY_FLOOD_SET_EXCHANGE_H_

#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/compute.h"
#include "flood/node_stats.h"
#include "flood/quorum_set_cache.h"
#include "flood/set_fetcher.h"
#include "flood/set_offers.h"
#include "flood/set_server.h"
#include "flood/slot_window.h"
#include "flood/tx_set_cache.h"

namespace overlay::flood {

class SetExchange : private SetShelf {
 public:
  SetExchange(const Limits& limits, const SlotWindow& window, SetStats& stats,
              ComputeStats& compute_stats);
  SetExchange(const SetExchange&) = delete;

  // ---- peers
  void OnPeerConnected(Time now, PeerId peer, const NodeKey& key, ActionList& out);
  void OnPeerDisconnected(Time now, PeerId peer, ActionList& out);
  void OnPeerPath(PeerId peer, Duration rtt) { fetcher_.OnPeerPath(peer, rtt); }
  void OnHaveSets(Time now, PeerId peer, const HaveSets& have, ActionList& out);
  void OnSetRequested(Time now, const SetRequested& requested, ActionList& out);
  void OnAnswerDone(Time now, const AnswerDone& done, ActionList& out);
  bool Owns(RequestId request) const { return fetcher_.Owns(request); }
  void OnHeader(Time now, const SetHeaderReceived& header, ActionList& out);
  void OnData(Time now, const SetDataReceived& data, ActionList& out);
  void OnRequestEnded(Time now, const RequestEnded& ended, ActionList& out);

  // ---- envelopes. `peer` sent one that passed the window, whether or not it was new.
  void OnEnvelopeFromPeer(Time now, PeerId peer, const EnvelopeRefs& refs, ActionList& out);
  // The core broadcast one; `from_peer`: a peer had sent it (it is relayed).
  void OnEnvelopeFromCore(Time now, const EnvelopeRefs& refs, bool from_peer, ActionList& out);

  // ---- core
  void OnOfferChunk(Time now, const OfferChunk& chunk, ActionList& out);
  void OnFetch(Time now, const FetchSet& fetch, ActionList& out);
  void OnCancelFetch(Time now, const CancelFetch& cancel, ActionList& out);
  void OnCoreDetached(Time now, ActionList& out);
  void OnTxSetExternalized(const SetHash& set) { tx_sets_.MarkExternalized(set); }
  void OnWindowMoved(Time now, ActionList& out);

  void OnComputed(Time now, const Computed& computed, ActionList& out);
  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  const Bytes* Find(const SetKey& key) const;
  // SetShelf
  std::optional<ServableSet> Look(const SetKey& key) const override;
  void KeepFrame(const SetKey& key, Bytes frame) override;
  SetTrace Trace(const SetKey& key) const;  // O(peers)
  // ---- memory (R7)
  void SetMemoryPressed(bool pressed) { memory_pressed_ = pressed; }
  // Lets one cached set go. Its bytes; 0: there is none of that kind.
  size_t Free(TxSetCache::Evictable which) {
    const size_t bytes = tx_sets_.Evict(which);
    UpdateGauges();
    return bytes;
  }
  size_t cached_bytes() const { return tx_sets_.bytes() + quorum_sets_.bytes(); }
  size_t bytes_in_progress() const { return fetcher_.bytes_in_progress() + offers_.bytes(); }
  // Of whom the sets came that the inputs since the last call have completed. Take it after each.
  std::vector<PeerId> TakeServedBy() { return std::exchange(served_by_, {}); }
  void CheckInvariants() const;

 private:
  struct Peer {
    NodeKey key;
    absl::btree_map<SetKey, LedgerSeq> has;                     // have_sets_per_peer_max at most
    absl::btree_set<std::pair<LedgerSeq, SetKey>> has_by_slot;  // the same, by slot
  };

  void Remember(Peer& peer, const SetKey& key, LedgerSeq slot);
  // A set has entered the cache: serve who waits, tell the peers, tell the core if it asked.
  void Enter(Time now, const SetKey& key, LedgerSeq slot, ActionList& out);
  void Keep(Time now, FetchedSet fetched, ActionList& out);
  void NameFromPeer(Time now, PeerId peer, const SetKey& key, LedgerSeq slot, ActionList& out);
  std::vector<PeerId> HoldersOf(const SetKey& key) const;  // as they said
  void NameFromCore(Time now, const SetKey& key, LedgerSeq slot, bool from_peer, ActionList& out);
  void UpdateGauges();

  const Limits& limits_;
  const SlotWindow& window_;
  SetStats& stats_;
  TxSetCache tx_sets_;
  QuorumSetCache quorum_sets_;
  ComputeQueue compute_;
  SetFetcher fetcher_;
  SetServer server_;
  SetOffers offers_;
  absl::btree_map<PeerId, Peer> peers_;
  bool memory_pressed_ = false;  // R7
  std::vector<PeerId> served_by_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SET_EXCHANGE_H_
