// flood/peers/peer_directory.h
//
// The peers that are connected now: one entry per logical peer, one place that changes it, and the
// news of them that the edge hears.
//
// Rules
//   R1  PeerUp and PeerDown alternate per peer, exactly once each per connection of a
//       logical peer; one that was not admitted causes neither. Nothing of it goes to the core
//       as such, attached or absent: the edge tells it.
//   R2  inbound_peers_max ordinary inbound peers are admitted; beyond that DropPeer kNotAdmitted.
//       Configured peers (by key, or by the address that the dial plan knows) count towards no
//       limit.
//   R3  A peer that is not configured is dropped when its score reaches the limit (peer_score.h).
//
// Bounds   the connected peers; transport bounds those. Cost: O(log n). Threads: none.
#ifndef OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_
#define OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_

#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"
#include "flood/peers/peer_score.h"
#include "flood/peers/peer_view.h"

namespace overlay::flood {

class PeerDirectory {
 public:
  PeerDirectory(const Limits& limits, PeerStats& stats) : limits_(limits), stats_(stats) {}

  // False: not admitted, the caller must ignore the peer until its disconnect.
  bool OnPeerConnected(Time now, const PeerConnected& connected, bool configured, ActionList& out);
  // nullopt if it was unknown or not admitted.
  std::optional<PeerInfo> OnPeerDisconnected(const PeerDisconnected& disconnected, ActionList& out);
  void OnOffence(Time now, const PeerOffence& offence, ActionList& out);
  // It has said whether a core is attached to it.
  void SetCorePresent(PeerId peer, bool present);
  // The configured set has changed.
  void SetConfigured(PeerId peer, bool configured);

  bool IsUp(PeerId peer) const { return peers_.contains(peer); }
  const PeerInfo* Find(PeerId peer) const;
  std::optional<PeerId> FindKey(const NodeKey& key) const;
  std::vector<PeerId> List() const;
  double ScoreOf(Time now, PeerId peer) const;
  // Of all, what is known here.
  std::vector<PeerView> Describe(Time now) const;
  void CheckInvariants() const;

 private:
  struct Peer {
    PeerInfo info;
    bool configured = false;
    PeerScore score;
    bool core_present = false;
    bool dropped = false;  // DropPeer has been said; its disconnect follows
  };
  size_t OrdinaryInbound() const;
  void UpdateGauges();

  const Limits& limits_;
  PeerStats& stats_;
  absl::btree_map<PeerId, Peer> peers_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_
