// flood/peers/dial_plan.h
//
// When to resolve and whom to dial, for the configured set: the file's, the core's and the
// operator's entries together. Each address that an entry leads to is a *target*, dialled until it
// is connected.
//
// Rules
//   R1  All entries of a source are checked first; if one is not sound it is refused by name and
//       nothing changes; else they replace that source's part. An empty list is sound. An entry of
//       the file that pins our own key is left out with a remark: one file may serve many nodes. A
//       peer that is no longer configured is not redialled; its connection is kept unless
//       disconnect_removed. Why: half a list applied is a set that nobody asked for.
//   R2  Never dialled: what is connected, being dialled, banned (by the key that an entry pins or
//       that showed there last), or ourselves (an address that answered with our own nonce is left
//       alone for kSelfFor).
//   R3  After a failure or a disconnect a target waits up to redial_min * 2^failures, redial_max at
//       most, full jitter; after a disconnect of a peer that lived longer than redial_max, or that
//       was restarted (stateless_reset, replaced, goaway), the count starts anew. A Goaway's time
//       is waited in addition.
//   R4  From the third try of a target on, and when a peer that a name led to disconnects, the name
//       is asked anew, within the bounds of name_book.h.
//   R5  Every kSweepEvery each target that is neither connected nor dialled nor waiting is dialled.
//       Why: it catches what an event missed.
//   R6  A target that its name no longer gives is not dialled, but remembered for kLeftFor with its
//       back-off and whether it is ourselves, kLeftCountMax of them; a connected one stays a
//       configured peer until it disconnects. Why: a name may give other addresses each time.
//   R7  Whenever the addresses that the entries lead to change, transport is told all of them. Why:
//       it keeps places for them.
//   R8  While a connected peer is silent the names that lead to it are asked anew, and its other
//       addresses are dialled. Why: it may have come back elsewhere, long before we time out here.
//   R9  Of a name's addresses those of the family that last worked, at first v6, are dialled at
//       once, the others kOtherFamilyAfter later; so are those of one key after a disconnect.
//   R10 kDialsPerBatch dials are begun at a time, the next kBatchPause later; kDialsOpenMax are
//       under way; preferred targets first. Why: a handshake is 0.8 ms of the loop.
//   R11 A pin that is new, other or gone holds at once: for the next dial, and for what counts as
//       connected.
//
// Bounds   kEntryCountMax entries a source; those of name_book.h; R6, R10.
// Cost     O(targets) an event; there are some hundreds. Time: argument only. Threads: none.
// Not here which strangers to dial beyond the configured ones; when names are asked (name_book.h).
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
#include "flood/peers/ban_list.h"
#include "flood/peers/name_book.h"
#include "flood/peers/peer_view.h"

namespace overlay::flood {

inline constexpr size_t kEntryCountMax = 1000;
inline constexpr Duration kSweepEvery = std::chrono::seconds(30);
inline constexpr Duration kSelfFor = std::chrono::minutes(10);
inline constexpr Duration kLeftFor = std::chrono::minutes(10);
inline constexpr size_t kLeftCountMax = 1000;
inline constexpr Duration kOtherFamilyAfter = std::chrono::milliseconds(250);
inline constexpr size_t kDialsPerBatch = 16;
inline constexpr size_t kDialsOpenMax = 128;
// Two daemons that show one key: trying at once again would only make both lose their peers. Or we
// are banned there.
inline constexpr Duration kRefusedBackoff = std::chrono::seconds(60);

// How a name leads to a target.
struct NameWay {
  NameId name;
  uint16_t port = 0;  // where the name says none
  friend auto operator<=>(const NameWay&, const NameWay&) = default;
};
// What the entries say of one address.
struct GivenAddress {
  std::optional<NodeKey> pinned_key;
  bool preferred = false;
  absl::btree_set<NameWay> ways;                    // none: literal
  PeerEntrySource source = PeerEntrySource::kFile;  // the first that gives it
};

class DialPlan {
 public:
  DialPlan(const Limits& limits, const NodeKey& self, uint16_t default_port, Random random,
           const BanList& bans, NodeStats& stats);

  // Answers with PeersConfigured.
  void Configure(Time now, const ConfigurePeers& configure, ActionList& out);
  // Answers with OperatorAnswered. An entry of the same host and port is replaced.
  void Connect(Time now, const OperatorConnect& connect, ActionList& out);
  // Takes the entry, or what leads to this key, out of the operator's part. False: nothing there.
  bool Forget(Time now, const OperatorDisconnect& disconnect, ActionList& out);

  void OnResolved(Time now, const NameId& name, const absl::StatusOr<ResolvedHost>& resolved,
                  ActionList& out);
  void OnDialEnded(Time now, const DialEnded& ended);
  void OnPeerConnected(Time now, const PeerInfo& info);
  void OnPeerDisconnected(Time now, const PeerInfo& info, const PeerDisconnected& disconnected);
  void OnPeerSilent(Time now, const NodeKey& key, bool silent);
  // A connected peer goes on from another address: where it was is one of its other addresses (R8).
  void OnPeerMoved(const NodeKey& key, const SocketAddress& address);
  // What kept a dial back may be over: all that wait for the sweep (R5) are tried now.
  void DialAgain(Time now);
  // Peers to disconnect: the last Configure removed them and said so, or the last Forget did.
  std::vector<NodeKey> TakeRemoved() { return std::exchange(removed_, {}); }
  // From now on nothing is dialled or resolved.
  void Stop();

  // By pinned key, or by an address that led or would lead to it.
  bool IsConfigured(const PeerInfo& info) const;
  bool IsPreferred(const PeerInfo& info) const;
  // Whose entry leads, or led, to this address.
  std::optional<AddressSource> SourceOf(const SocketAddress& address) const;
  // An entry of any source names this key.
  bool IsPinned(const NodeKey& key) const;

  // Says of the connected peers in the list how they are configured, and appends every target and
  // unresolved name that leads to none of them.
  void Describe(std::vector<PeerView>& views) const;
  std::vector<NameView> ListNames() const { return names_.Describe(); }

  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;
  // Those that the entries lead to now, and those that are connected.
  size_t target_count() const;
  void CheckInvariants() const;

 private:
  struct Entry {
    PeerEntry peer;
    uint16_t port = 0;
    std::optional<SocketAddress> literal;
  };
  using Way = NameWay;
  using Given = GivenAddress;
  struct Target {
    Given given;
    std::optional<Time> left_at;  // R6: since when no entry leads to it any more
    std::optional<Time> self_until;
    std::optional<DialId> dialling;
    bool again = false;                // R11: the dial under way is of another pin
    std::optional<NodeKey> connected;  // the peer that it led to
    std::optional<NodeKey> last_key;
    uint32_t failures = 0;
    Time next = kTimeNever;
    std::optional<CloseReason> last_reason;  // of its last dial or connection
  };
  struct Connected {
    PeerInfo info;
    Time since;
    bool silent = false;
  };

  static Way WayOf(const Entry& entry);
  // No entry is left that leads there; it is kept until the dial under way ends.
  static bool IsRemoved(const Target& target) {
    return target.left_at && target.given.ways.empty();
  }
  std::string Refusal(const PeerEntry& entry) const;
  void Rebuild(Time now, ActionList& out);
  void Update(Time now, const SocketAddress& address, Given given);
  void Leave(Time now);
  Duration RaceDelay(const SocketAddress& address, const Given& given) const;
  absl::btree_set<NameId> NamesOf(const NodeKey& key) const;
  void HurryNamesOf(const NodeKey& key);
  bool MayDial(Time now, const SocketAddress& address, Target& target) const;
  void DialNow(const SocketAddress& address, Target& target, ActionList& out);
  void DialDue(Time now, ActionList& out);
  void Fail(Time now, Target& target, Duration extra);
  // Connected, and not to be looked for at this address (R8).
  bool IsThere(const NodeKey& key, const SocketAddress& address) const;
  static bool LeadsTo(const SocketAddress& address, const Target& target, const PeerInfo& info);
  const Target* Match(const PeerInfo& info) const;
  static void MarkConnected(Target& target, const NodeKey& key);

  const Limits& limits_;
  const NodeKey self_;
  const uint16_t default_port_;
  Random random_;
  const BanList& bans_;
  PeerStats& stats_;
  NameBook names_;
  std::array<std::vector<Entry>, 3> entries_;  // by PeerEntrySource
  absl::btree_map<NodeKey, bool> pins_;        // of all entries, and whether one is preferred
  absl::btree_map<SocketAddress, Target> targets_;
  absl::btree_map<NodeKey, Connected> connected_;
  std::vector<NodeKey> removed_;
  uint64_t next_dial_ = 1;
  size_t dials_open_ = 0;
  size_t batch_begun_ = 0;
  Time batch_ends_{};
  Time next_sweep_ = kTimeNever;
  bool stopped_ = false;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_DIAL_PLAN_H_
