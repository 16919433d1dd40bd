// flood/scp_outbox.h
//
// What the core broadcast: which peers get it, what it supersedes, and what is kept of it as state.
//
// Rules
//   R1  A broadcast goes to every peer that is not known to have it and has no copy on its way;
//       `force` also to those known to have it. Why: the core relays everything, and every peer
//       would hear each envelope twice.
//   R2  A peer knows an envelope when it sent it to us or acknowledged our copy. A copy on its way
//       to a peer that sends us the same is taken back.
//   R3  Of each (node, slot, phase) the newest that the core broadcast is kept as state; the older
//       one is taken back from the queues of all peers. A broadcast that is older than the state is
//       not sent. Incomparable: the last one stays, but what an earlier session broadcast does not
//       replace what this one did. Why: a slow peer's queue is bounded by validators x slots, not
//       by time; only what a core vouched for may supersede what others sent; and a core that is
//       back hears, and may relay, what it said in its earlier life.
//   R4  A copy that was taken back although its envelope is the state again is sent again.
//   R5  A copy that the peer's full queue dropped is not sent again by itself: the peer may ask for
//       state.
//   R6  State is at most Limits::core_stream_bytes_max; at the limit the lowest slot goes first.
//
// Cost     O(peers) for a broadcast. One Bytes is shared by all copies. Threads: none.
#ifndef OVERLAY_FLOOD_SCP_OUTBOX_H_
#define OVERLAY_FLOOD_SCP_OUTBOX_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"
#include "flood/scp_index.h"
#include "flood/scp_peers.h"

namespace overlay::flood {

class ScpOutbox {
 public:
  struct Sent {
    uint32_t peers = 0;
    uint32_t queued = 0;            // of those, how many are blocked
    uint32_t known = 0;             // not sent to: known to have it, or a copy is on its way
    uint32_t superseded_peers = 0;  // not sent to for this reason
    bool superseded = false;
  };

  ScpOutbox(const Limits& limits, ScpIndex& index, ScpPeers& peers, ScpStats& stats)
      : limits_(limits), index_(index), peers_(peers), stats_(stats) {}

  // `session` is of the core that broadcasts it; the entry's broadcast_session from here.
  Sent Broadcast(ScpEntry& entry, const Bytes& envelope, const ScpStatement& statement,
                 uint64_t session, bool force, ActionList& out);
  // `peer` sent it to us.
  void OnSentByPeer(ScpEntry& entry, const ScpPeer& peer, ActionList& out);
  // The slot, if the peer's full queue dropped a copy of an envelope that is still state.
  std::optional<LedgerSeq> OnDone(const ScpPeer& peer, const EnvelopeDone& done, ActionList& out);
  // Not state any more, and copies not yet written are taken back.
  void Drop(ScpEntry& entry, ActionList& out);

  // The newest that the core broadcast of this key; nullptr: none is kept.
  const ScpEntry* Current(const ScpKey& key) const;
  // From this slot on, newest slot first.
  std::vector<Bytes> StateFrom(LedgerSeq from) const;

  void CheckInvariants() const;

 private:
  static bool Needs(const ScpEntry& entry, ScpPeer& peer, bool force);
  void LoadMarks(const ScpEntry& entry);
  void Send(ScpEntry& entry, const ScpPeer& peer, ActionList& out);
  void TakeBackAll(ScpEntry& entry, ActionList& out);
  void EndState(ScpEntry& entry);
  void BoundState();

  const Limits& limits_;
  ScpIndex& index_;
  ScpPeers& peers_;
  ScpStats& stats_;
  absl::btree_map<ScpKey, ScpEntry*> state_;
  size_t state_bytes_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SCP_OUTBOX_H_
