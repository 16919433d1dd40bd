// flood/peers/peer_directory.h
//
// The peers: those connected now, one entry per logical peer; the book of all that were (see
// peer_book.h); one place that changes the state of either; and the news that the edge hears.
//
// Rules
//   R1  PeerUp and PeerDown alternate per peer, exactly once each per connection of a
//       logical peer; one that was not admitted causes neither. Nothing of it goes to the core
//       as such, attached or absent: the edge tells it.
//   R2  inbound_peers_max ordinary inbound peers are admitted; beyond that DropPeer kNotAdmitted.
//       Configured peers (by key, or by the address that the dial plan knows) count towards no
//       limit.
//   R3  A peer that is not configured is dropped when its score reaches the limit (peer_score.h).
//   R4  A peer of the book is in one state, which Transition() alone changes: connected while a
//       logical peer shows its key; else dialling while one of its addresses is dialled; else
//       waiting if it is configured; else lost.
//   R5  An address is learnt from a dial that reached the peer, or from where an inbound peer says
//       that it listens. One that was not admitted is not remembered.
//       Why: what nobody verified, an address in the mouth of others, is not an address.
//
// Bounds   the connected peers; transport bounds those. The book: kBookPeersMax.
// Cost     O(log n); a connection and a dial O(book). Threads: none.
#ifndef OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_
#define OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_

#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"
#include "flood/peers/peer_book.h"
#include "flood/peers/peer_score.h"
#include "flood/peers/peer_view.h"

namespace overlay::flood {

// Of those that are lost, as many are listed: the last seen.
inline constexpr size_t kLostListedMax = 100;

class PeerDirectory {
 public:
  PeerDirectory(const Limits& limits, PeerStats& stats) : limits_(limits), stats_(stats) {}

  // False: not admitted, the caller must ignore the peer until its disconnect.
  bool OnPeerConnected(Time now, const PeerConnected& connected, bool configured, ActionList& out);
  // nullopt if it was unknown or not admitted.
  std::optional<PeerInfo> OnPeerDisconnected(Time now, const PeerDisconnected& disconnected,
                                             ActionList& out);
  void OnOffence(Time now, const PeerOffence& offence, ActionList& out);
  // A dial begins; it ends with `configured`: whether its address is a configured one.
  void OnDial(const Dial& dial);
  void OnDialEnded(Time now, const DialEnded& ended, bool configured);
  // It has said whether a core is attached to it.
  void SetCorePresent(PeerId peer, bool present);
  void SetAddress(PeerId peer, const SocketAddress& address);
  // The configured set has changed: asked for every peer to whom it may matter.
  template <class IsConfigured>
  void Reconsider(Time now, IsConfigured is_configured);

  // ---- what a connected peer was good for
  void OnPath(Time now, PeerId peer, Duration rtt);
  void OnFirstEnvelope(Time now, PeerId peer);
  void OnFirstTransaction(Time now, PeerId peer);
  void OnFetch(Time now, PeerId peer, bool ok);

  bool IsUp(PeerId peer) const { return peers_.contains(peer); }
  const PeerInfo* Find(PeerId peer) const;
  std::optional<PeerId> FindKey(const NodeKey& key) const;
  std::vector<PeerId> List() const;
  double ScoreOf(Time now, PeerId peer) const;
  const PeerBook& book() const { return book_; }
  // The connected ones, and what is known of them here.
  std::vector<PeerView> Describe(Time now) const;
  // Adds what the book has of those in the list, and those that are lost.
  void DescribeKnown(std::vector<PeerView>& views) const;
  void CheckInvariants() const;

 private:
  struct Peer {
    PeerInfo info;
    bool configured = false;
    PeerScore score;
    bool core_present = false;
    bool dropped = false;        // DropPeer has been said; its disconnect follows
    KnownPeer* known = nullptr;  // connected, so the book keeps it
  };
  void Transition(const NodeKey& key, KnownPeer& known);  // R4
  KnownPeer* Known(PeerId peer);
  size_t OrdinaryInbound() const;
  void UpdateGauges();

  const Limits& limits_;
  PeerStats& stats_;
  absl::btree_map<PeerId, Peer> peers_;
  PeerBook book_;
  absl::btree_map<DialId, NodeKey> dials_;  // those of which the book knows whom they lead to
};

template <class IsConfigured>
void PeerDirectory::Reconsider(Time now, IsConfigured is_configured) {
  for (auto& [id, peer] : peers_) {
    peer.configured = is_configured(peer.info);
    peer.known->configured = peer.configured;
  }
  for (const auto& [key, known] : book_.peers()) {
    if (!known.configured || known.state == PeerState::kConnected) continue;
    PeerInfo info;
    info.key = key;
    KnownPeer& changed = *book_.Find(key);
    changed.configured = is_configured(info);
    Transition(key, changed);
  }
  book_.Trim(now);
}

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_
