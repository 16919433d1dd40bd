// flood/scp_flood.h
//
// SCP envelopes between the peers and the core: pushed, never asked for, except for the state of a
// late joiner. This class owns the peers' table and routes; the rules live with the parts:
//   scp_inbox.h   what came from peers and waits for the core: window, bounds per sender,
//       superseding, delivery
//   scp_outbox.h  what the core broadcast: to whom it goes, what it supersedes, what is kept as
//       state
//   scp_state.h   GetScpState in both directions
//   scp_index.h   one entry per envelope hash, filed by slot; who is known to have it
//
// Rules of the whole
//   R1  An envelope is known by the SHA-256 of its bytes; the second copy of one that is remembered
//       is a duplicate whoever sends it. Why: validators hear each envelope from most of their
//       peers.
//   R2  What cannot be skimmed, or exceeds its limit, is not remembered and costs its sender an
//       offence.
//   R3  Relay is the core's decision: nothing that came from a peer goes to another before the core
//       has broadcast it. Why: only the core can check a signature cheaply enough to be trusted
//       with fan-out.
//   R4  When slots leave the window, all that is known of their envelopes goes, and copies not yet
//       written are taken back from peers' queues. When the upper bound returns, so does what lies
//       above it.
//   R5  200,000 hashes are remembered; at the limit whoever sent most of them loses his oldest
//       slot's first (scp_index.h R4).
//
// Offences are reported through `offences`; the owner scores them. The caller passes an event of a
// peer only between its OnPeerConnected and OnPeerDisconnected, core inputs only between attach and
// detach.
//
// Bounds   Limits: scp_*, seen_hash_count_max, core_stream_*, own_newest_slots_per_peer.
// Cost     an envelope in: its hash, O(log kept) and the skim; a broadcast: O(peers).
// Time     argument only; a step backwards delays work, never breaks a rule.
// Threads  none: owned by the loop thread.
// Not here sets that envelopes name (the returned refs are for their owner), verdict logic,
// scoring.
#ifndef OVERLAY_FLOOD_SCP_FLOOD_H_
#define OVERLAY_FLOOD_SCP_FLOOD_H_

#include <memory>
#include <optional>
#include <vector>

#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/base/random.h"
#include "flood/node_stats.h"
#include "flood/slot_window.h"

namespace overlay::flood {

using Offences = std::vector<PeerOffence>;

// An envelope that a peer sent and that is not refused: the sender is a source of the sets it
// names, whether or not the envelope is new.
struct EnvelopeHeard {
  EnvelopeHash hash;
  EnvelopeRefs refs;
  bool is_new = false;
};

// An envelope that the core broadcast (also if a newer one superseded it): binds the sets it names.
struct EnvelopeBroadcast {
  EnvelopeHash hash;
  EnvelopeRefs refs;
  bool peers_sent_it = false;  // false: the core's own, or first heard of from it
};

class ScpFlood {
 public:
  // The references outlive this object. `window` is moved by the owner, before OnWindowMoved.
  ScpFlood(const Limits& limits, const SlotWindow& window, Random random, ScpStats& stats);
  ~ScpFlood();

  // ---- peers
  // Asks the peer for its state, once per connection.
  void OnPeerConnected(Time now, PeerId peer, const NodeKey& key, ActionList& out);
  void OnPeerDisconnected(Time now, PeerId peer, ActionList& out);
  std::optional<EnvelopeHeard> OnEnvelope(Time now, PeerId peer, const Bytes& envelope,
                                          ActionList& out, Offences& offences);
  void OnEnvelopeDone(Time now, const EnvelopeDone& done, ActionList& out);
  void OnPeerBlocked(PeerId peer, bool blocked);
  void OnPeerCoreStatus(PeerId peer, bool core_present);
  void OnGetScpState(Time now, PeerId peer, const GetScpState& request, ActionList& out,
                     Offences& offences);
  // Returns what OnEnvelope would for a part that is an envelope.
  std::optional<EnvelopeHeard> OnStateReceived(Time now, const StateReceived& part, ActionList& out,
                                               Offences& offences);

  // ---- core
  void OnCoreAttached(Time now, StatePolicy policy, ActionList& out);
  void OnCoreDetached(Time now, ActionList& out);
  void OnCoreRoom(Time now, uint32_t messages, ActionList& out);
  std::optional<EnvelopeBroadcast> OnBroadcast(Time now, const BroadcastEnvelope& broadcast,
                                               ActionList& out);
  void OnRequestState(Time now, const RequestState& request, ActionList& out);
  void OnStateReply(Time now, const StateReply& reply, ActionList& out);
  void OnVerdict(Time now, const EnvelopeVerdict& verdict, ActionList& out, Offences& offences);
  // After the owner's SlotWindow reported a change (LedgerClosed, attach, or its deadline).
  void OnWindowMoved(Time now, ActionList& out);

  // ---- time
  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  // Envelopes held, whoever sent them; copies on their way to peers share these.
  size_t bytes_held() const;
  // True while a kept envelope (from a peer or of the core) names this quorum set.
  bool NamesQuorumSet(const SetHash& hash) const;
  void CheckInvariants() const;  // O(state); tests and the simulator

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SCP_FLOOD_H_
