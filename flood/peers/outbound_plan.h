// flood/peers/outbound_plan.h
//
// Which peers to dial beyond the configured set: those that the book knows, until as many as are
// wanted are here.
//
// Rules
//   R1  PeerTargets::outbound peers are wanted that we dialled and that nobody configured. One
//       without a core for kCoreAbsentMax does not count. At most twice as many are connected.
//       Why: a peer without a core has no envelopes but others'; it is kept, until better is here.
//   R2  Dialled is whom the book has as lost, for kLeaveAlone at least, and not banned, by its key;
//       at the address where a dial last succeeded, and each time that fails at the next one. On a
//       closed network nobody is.
//   R3  First those in networks (/16 of v4, /32 of v6) where no outbound peer is or is dialled,
//       then those of most worth. Why: who holds one network shall not hold all our peers.
//   R4  After a failure, and after a connection shorter than kStayed, a peer waits: back-off with
//       full jitter, kStrangerWaitMin to kStrangerWaitMax.
//   R5  At most kStrangerDialsMax dials at a time, and no more than peers are missing.
//   R6  Those that we dialled go when they are too many: at the target those that do not count,
//       above it (it was lowered) those of least worth. One that became ours in another way stays.
//
// Bounds   the book's. Cost: O(connected) every kOutboundEvery, O(book) while peers are missing.
// Time     argument only. Threads: none.
// Not here who is admitted (admission.h); the configured set (dial_plan.h).
#ifndef OVERLAY_FLOOD_PEERS_OUTBOUND_PLAN_H_
#define OVERLAY_FLOOD_PEERS_OUTBOUND_PLAN_H_

#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/random.h"
#include "flood/node_stats.h"
#include "flood/peers/peer_directory.h"

namespace overlay::flood {

inline constexpr Duration kCoreAbsentMax = std::chrono::seconds(30);
inline constexpr Duration kLeaveAlone = std::chrono::seconds(10);
inline constexpr Duration kStayed = std::chrono::seconds(60);
inline constexpr Duration kStrangerWaitMin = std::chrono::seconds(10);
inline constexpr Duration kStrangerWaitMax = std::chrono::minutes(10);
inline constexpr size_t kStrangerDialsMax = 4;
inline constexpr Duration kOutboundEvery = std::chrono::seconds(5);

class OutboundPlan {
 public:
  OutboundPlan(Random random, PeerDirectory& directory, PeerStats& stats)
      : random_(random), directory_(directory), stats_(stats) {}

  // Whether a dial is one of this plan.
  static bool Owns(DialId dial) { return dial.value >= kFirstDial; }

  // Of an own dial; after the directory has heard of it.
  void OnDialEnded(Time now, const DialEnded& ended);
  // Of any peer; after the directory has heard of it.
  void OnPeerDisconnected(Time now, const NodeKey& key);
  // What it depends on has changed: peers, cores, targets, bans, the book.
  void Hurry() { next_ = Time{}; }
  // From now on nothing is dialled.
  void Stop() { stopped_ = true; }

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;
  void CheckInvariants() const;

 private:
  static constexpr uint64_t kFirstDial = uint64_t{1} << 62;  // those of DialPlan count from 1

  struct Wait {
    uint32_t failures = 0;
    Time until{};
  };
  struct Candidate {
    NodeKey key;
    SocketAddress address;
    double worth = 0;
  };

  void LetGo(Time now, const std::vector<OutboundPeer>& peers, size_t counted, ActionList& out);
  std::vector<Candidate> Candidates(Time now, const std::vector<OutboundPeer>& peers) const;
  void Begin(const Candidate& candidate, ActionList& out);
  void Fail(Time now, const NodeKey& key);

  Random random_;
  PeerDirectory& directory_;
  PeerStats& stats_;
  absl::btree_map<DialId, Candidate> dials_;  // under way
  absl::btree_map<NodeKey, Time> ours_;       // connected by us, since
  absl::btree_map<NodeKey, Wait> waits_;
  uint64_t next_dial_ = kFirstDial;
  Time next_ = kTimeNever;
  bool stopped_ = false;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_OUTBOUND_PLAN_H_
