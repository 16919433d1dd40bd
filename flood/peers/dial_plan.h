// flood/peers/dial_plan.h
//
// When to resolve and whom to dial, for the configured set: the file's, the core's and the
// operator's entries together. Each address that an entry leads to is a *target*, dialled until it
// is connected.
//
// Rules
//   R1  All entries of a source are checked first; if one is not sound it is refused by name and
//       nothing changes; else they replace that source's part. An empty list is sound. A peer that
//       is no longer configured is not redialled; its connection is kept unless disconnect_removed.
//       Why: half a list applied is a set that nobody asked for.
//   R2  Never dialled: what is connected, being dialled, or ourselves (an address that answered
//       with our own nonce is remembered as long as it is configured).
//   R3  After a failure or a disconnect a target waits up to redial_min * 2^failures, redial_max at
//       most, full jitter; after a disconnect of a peer that lived longer than redial_max the count
//       starts anew. A Goaway's time is waited in addition.
//   R4  From the third failure of a target on, the name behind it is resolved anew, at most every
//       kResolveEvery. A failed resolution is retried without end, 2 s to 30 s, jittered.
//   R5  Every kSweepEvery each target that is neither connected nor dialled nor waiting is dialled.
//       Why: it catches what an event missed.
//   R6  64 addresses of a name are used; a target that its name no longer gives is forgotten, a
//       connected one when it disconnects. Why: a name may give other addresses each time, and a
//       peer that it led to stays a configured one.
//   R7  Whenever the addresses that the entries lead to change, transport is told all of them. Why:
//       it keeps places for them.
//
// Bounds   kEntryCountMax entries a source; R6.
// Cost     O(targets) an event; there are some hundreds. Time: argument only. Threads: none.
// Not here which strangers to dial beyond the configured ones.
#ifndef OVERLAY_FLOOD_PEERS_DIAL_PLAN_H_
#define OVERLAY_FLOOD_PEERS_DIAL_PLAN_H_

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/base/random.h"
#include "flood/node_stats.h"
#include "flood/peers/peer_view.h"

namespace overlay::flood {

inline constexpr size_t kEntryCountMax = 1000;
inline constexpr size_t kAddressesPerNameMax = 64;
inline constexpr Duration kResolveEvery = std::chrono::seconds(5);
inline constexpr Duration kResolveBackoffMin = std::chrono::seconds(2);
inline constexpr Duration kResolveBackoffMax = std::chrono::seconds(30);
inline constexpr Duration kSweepEvery = std::chrono::seconds(30);
// Two daemons that show one key: trying at once again would only make both lose their peers.
inline constexpr Duration kKeySharedBackoff = std::chrono::seconds(60);

class DialPlan {
 public:
  DialPlan(const Limits& limits, const NodeKey& self, uint16_t default_port, Random random,
           PeerStats& stats);

  // Answers with PeersConfigured.
  void Configure(Time now, const ConfigurePeers& configure, ActionList& out);
  void Connect(Time now, const OperatorConnect& connect, ActionList& out);
  // Removes what leads to this key from the operator's part.
  void Forget(const NodeKey& key, ActionList& out);

  void OnResolved(Time now, const std::string& host,
                  const absl::StatusOr<std::vector<SocketAddress>>& addresses, ActionList& out);
  void OnDialEnded(Time now, const DialEnded& ended, ActionList& out);
  void OnPeerConnected(Time now, const PeerInfo& info);
  void OnPeerDisconnected(Time now, const PeerInfo& info, const PeerDisconnected& disconnected);
  // Peers to disconnect because the last Configure removed them and said so.
  std::vector<NodeKey> TakeRemoved() { return std::exchange(removed_, {}); }
  // From now on nothing is dialled or resolved.
  void Stop() { stopped_ = true; }

  // By pinned key, or by an address that led or would lead to it.
  bool IsConfigured(const PeerInfo& info) const;
  bool IsPreferred(const PeerInfo& info) const;

  // Says of the connected peers in the list how they are configured, and appends every target and
  // unresolved name that leads to none of them.
  void Describe(std::vector<PeerView>& views) const;

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;
  size_t target_count() const { return targets_.size(); }
  void CheckInvariants() const;

 private:
  struct Entry {
    PeerEntry peer;
    uint16_t port = 0;
    bool literal = false;
  };
  struct Name {
    bool asked = false;
    Time last_asked{};
    Time next = kTimeNever;  // retry
    uint32_t failures = 0;
    std::vector<SocketAddress> addresses;  // port 0: each entry has its own
  };
  struct Target {
    std::optional<NodeKey> pinned_key;
    std::string host;  // empty: literal
    bool preferred = false;
    bool self = false;
    bool given = true;  // false: its name no longer gives it, and it goes with its connection
    std::optional<DialId> dialling;
    std::optional<NodeKey> connected;  // the peer that it led to
    Time connected_at{};
    std::optional<NodeKey> last_key;
    uint32_t failures = 0;
    Time next = kTimeNever;
    std::optional<CloseReason> last_reason;  // of its last dial or connection
  };

  std::string Refusal(const PeerEntry& entry) const;
  void Rebuild(Time now, ActionList& out);
  void AddTarget(Time now, const Entry& entry, const SocketAddress& address,
                 absl::btree_set<SocketAddress>& wanted);
  const Entry* EntryOfName(const SocketAddress& address, const Target& target) const;
  void Resolve(Time now, const std::string& host, Name& name, ActionList& out);
  void DialNow(const SocketAddress& address, Target& target, ActionList& out);
  void Fail(Time now, Target& target, Duration extra, ActionList& out);
  const Target* Match(const PeerInfo& info) const;
  bool KeyIsConnected(const NodeKey& key) const { return connected_.contains(key); }
  static bool LeadsTo(const SocketAddress& address, const Target& target, const PeerInfo& info);
  void MarkConnected(Time now, Target& target, const NodeKey& key);

  const Limits& limits_;
  const NodeKey self_;
  const uint16_t default_port_;
  Random random_;
  PeerStats& stats_;
  std::array<std::vector<Entry>, 3> entries_;  // by PeerEntrySource
  absl::btree_map<std::string, Name> names_;
  absl::btree_map<SocketAddress, Target> targets_;
  absl::btree_map<NodeKey, PeerInfo> connected_;
  std::vector<NodeKey> removed_;
  uint64_t next_dial_ = 1;
  Time next_sweep_ = kTimeNever;
  bool stopped_ = false;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_DIAL_PLAN_H_
