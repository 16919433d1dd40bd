// flood/peers/peer_directory.h
//
// The peers: those connected now, one entry per logical peer; the book of all that were (see
// peer_book.h); one place that changes the state of either; and the news that the edge hears.
//
// Rules
//   R1  PeerUp and PeerDown alternate per peer, exactly once each per connection of a
//       logical peer; one that was not admitted causes neither. Nothing of it goes to the core
//       as such, attached or absent: the edge tells it.
//   R2  Who is admitted, and who goes for it, is admission.h's; either is dropped as kNotAdmitted.
//       One that was told to go holds no place. When targets or the configured set change, those
//       whom they no longer admit go: of those who dialled us the ordinary ones of least worth.
//   R3  A peer that is not configured is dropped when its score reaches the limit (peer_score.h).
//   R4  A peer of the book is in one state, which Transition() alone changes: connected while a
//       logical peer shows its key; else dialling while one of its addresses is dialled; else
//       waiting if it is configured; else lost.
//   R5  An address is learnt from a dial that reached the peer, or from where an inbound peer says
//       that it listens; one where somebody else answers, or we do, is forgotten. A peer that was
//       not admitted is not remembered.
//       Why: what nobody verified, an address in the mouth of others, is not an address.
//   R6  Who is banned (ban_list.h) is dropped as kBanned, at once and whenever it comes, configured
//       or not. Who is dropped for its score (R3) is banned for kScoreBanFor.
//   R7  Each offence of a connected peer is told with its key, configured or not: of those that are
//       never banned, only an operator can ask why.
//
// Bounds   the connected peers; transport bounds those. The book: kBookPeersMax.
// Cost     O(log n); a connection and a dial O(book). Threads: none.
#ifndef OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_
#define OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_

#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"
#include "flood/peers/admission.h"
#include "flood/peers/ban_list.h"
#include "flood/peers/peer_book.h"
#include "flood/peers/peer_file.h"
#include "flood/peers/peer_score.h"
#include "flood/peers/peer_view.h"

namespace overlay::flood {

// Of those that are lost, as many are listed: the last seen.
inline constexpr size_t kLostListedMax = 100;

// What the configured set says of a peer.
struct ConfiguredAs {
  Standing standing = Standing::kOrdinary;
  bool pinned = false;
};

// An ordinary peer that we dialled, and that is to stay.
struct OutboundPeer {
  PeerId peer;
  NodeKey key;
  SocketAddress address;
  std::optional<Time> core_absent_since;
  double worth = 0;
};

class PeerDirectory {
 public:
  PeerDirectory(const Limits& limits, PeerStats& stats) : stats_(stats) {
    targets_.inbound_max = limits.inbound_peers_max;
  }

  // False: not admitted, the caller must ignore the peer until its disconnect.
  bool OnPeerConnected(Time now, const PeerConnected& connected, const ConfiguredAs& configured,
                       ActionList& out);
  // nullopt if it was unknown or not admitted.
  std::optional<PeerInfo> OnPeerDisconnected(Time now, const PeerDisconnected& disconnected,
                                             ActionList& out);
  void OnOffence(Time now, const PeerOffence& offence, ActionList& out);
  // A dial begins; it ends with `configured`: whether its address is a configured one, and by whom.
  void OnDial(const Dial& dial);
  void OnDialEnded(Time now, const DialEnded& ended, bool configured,
                   std::optional<AddressSource> source);
  // It has said whether a core is attached to it.
  void SetCorePresent(Time now, PeerId peer, bool present);
  void SetAddress(PeerId peer, const SocketAddress& address);
  // Targets or the configured set have changed: `configured`, from a PeerInfo, is asked for every
  // peer to whom it may matter.
  template <class Ask>
  void Reconsider(Time now, Ask configured, ActionList& out);
  void SetTargets(const PeerTargets& targets) { targets_ = targets; }  // Reconsider must follow
  const PeerTargets& targets() const { return targets_; }

  // ---- bans (R6)
  // False: no room.
  bool Ban(Time now, const NodeKey& key, const flood::Ban& ban, ActionList& out);
  // False: it was not banned.
  bool Unban(Time now, const NodeKey& key);
  const BanList& bans() const { return bans_; }
  // True: bans have ended.
  bool OnDeadline(Time now);
  Time next_deadline() const { return bans_.next_end(); }

  // ---- whom we dialled beyond the configured set
  std::vector<OutboundPeer> Outbound(Time now) const;
  // It goes, as kNotAdmitted.
  void Drop(PeerId peer, std::string_view why, ActionList& out);

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
  // What an earlier process knew; those that are known already are left alone.
  void Restore(Time now, WallTime wall, const PeerFile& file);
  // Grows when what is worth keeping over a restart has changed.
  uint64_t changes() const { return changes_; }
  // The connected ones, and what is known of them here.
  std::vector<PeerView> Describe(Time now) const;
  // Adds what the book and the bans have of those in the list, and those that are lost.
  void DescribeKnown(Time now, std::vector<PeerView>& views) const;
  void CheckInvariants() const;

 private:
  struct Peer {
    PeerInfo info;
    ConfiguredAs configured;
    Time since{};
    bool has_delivered = false;
    PeerScore score;
    std::optional<Time> core_absent_since;
    bool dropped = false;        // DropPeer has been said; its disconnect follows
    KnownPeer* known = nullptr;  // connected, so the book keeps it
  };
  void Transition(const NodeKey& key, KnownPeer& known);  // R4
  KnownPeer* Known(PeerId peer);
  // Those who hold a place.
  std::vector<InboundPeer> Inbound(Time now) const;
  void Enforce(Time now, ActionList& out);  // R2
  void UpdateGauges();

  PeerStats& stats_;
  absl::btree_map<PeerId, Peer> peers_;
  PeerTargets targets_;
  PeerBook book_;
  BanList bans_;
  uint64_t changes_ = 0;
  absl::btree_map<DialId, NodeKey> dials_;  // those of which the book knows whom they lead to
};

template <class Ask>
void PeerDirectory::Reconsider(Time now, Ask configured, ActionList& out) {
  for (auto& [id, peer] : peers_) {
    peer.configured = configured(peer.info);
    peer.known->configured = peer.configured.standing != Standing::kOrdinary;
  }
  for (const auto& [key, known] : book_.peers()) {
    if (!known.configured || known.state == PeerState::kConnected) continue;
    PeerInfo info;
    info.key = key;
    KnownPeer& changed = *book_.Find(key);
    changed.configured = configured(info).standing != Standing::kOrdinary;
    Transition(key, changed);
  }
  Enforce(now, out);
  book_.Trim(now);
}

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_PEER_DIRECTORY_H_
