// tests/sim/network.h
//
// 2 to 7 whole nodes (OverlayNode, PeerTransport with its real QUIC endpoint, NodeDriver: what the
// daemon runs) with a fake core each, over virtual UDP links, in virtual time, from one seed. No
// socket, thread or clock.
//
//   Network net({.seed = 7, .node_count = 4, .link = {.delay = 40ms, .loss = 0.01}});
//   ASSERT_TRUE(net.RunUntil(AllConnected(net), 10s)) << net.Replay();
//
// Rules
//   R1  The same options give the same trace(): times and bytes of datagrams, inputs and outputs of
//       cores. The bytes only in processes that begin alike (in_child.h).
//   R2  Each turn of a node is the daemon's: datagrams, deadlines, events, one WriteTurn.
//       Invariants are checked after it.
//   R3  More than events_max events, or kTurnsPerMomentMax turns of a node at one moment, is a
//       livelock: a failure.
//   R4  A failure of a checker ends the run: RunUntil() is false, and Replay() says what and how to
//       see it again.
//   R5  Node i dials those with a higher number, unless dial_both: then a link has two dials that
//       meet.
#ifndef OVERLAY_TESTS_SIM_NETWORK_H_
#define OVERLAY_TESTS_SIM_NETWORK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "flood/overlay_node.h"
#include "server/node_driver.h"
#include "tests/sim/checkers.h"
#include "tests/sim/fake_core.h"
#include "tests/sim/trace.h"
#include "tests/support/virtual_link.h"
#include "tests/support/xdr_builder.h"
#include "transport/peer_transport.h"

namespace overlay::sim {

struct NetworkOptions {
  uint64_t seed = 1;
  size_t node_count = 4;
  LinkOptions link = {};
  Limits limits = {};
  bool dial_both = false;
  uint64_t events_max = 20'000'000;
  // Nodes that Start() leaves out, for StartNode() later.
  std::set<size_t> absent = {};
};

class Network {
 public:
  static constexpr int kTurnsPerMomentMax = 10'000;

  explicit Network(NetworkOptions options);
  ~Network();

  // ---- time
  Time now() const { return now_; }
  Duration elapsed() const { return now_ - kStart; }
  // Steps until `done` or the deadline; false also when a checker has failed. `done` is asked once
  // a millisecond.
  bool RunUntil(const std::function<bool()>& done, Duration limit);
  // False when a checker has failed.
  bool Run(Duration time);
  void After(Duration delay, std::function<void()> what);

  // ---- nodes and cores
  size_t node_count() const { return nodes_.size(); }
  FakeCore& core(size_t node) { return *nodes_[node]->core; }
  bool IsRunning(size_t node) const { return nodes_[node]->driver != nullptr; }
  const flood::NodeStats& stats(size_t node) const { return nodes_[node]->node->stats(); }
  transport::PeerTransport& transport(size_t node) { return *nodes_[node]->transport; }
  NodeKey KeyOf(size_t node) const { return nodes_[node]->key; }
  static SocketAddress FirstAddressOf(size_t node);
  SocketAddress AddressOf(size_t node) const;
  // Loses all that it knew, without a word; its core notices.
  void StopNode(size_t node);
  // With the same key and another nonce; its core attaches.
  void StartNode(size_t node);
  void AddPeer(size_t node, const SocketAddress& address);  // configures one more, by the operator
  // What a look-up gives from now on. Without an entry here "node-3" is node 3's address, for a
  // minute.
  struct Answer {
    absl::StatusOr<std::vector<SocketAddress>> addresses;
    Duration ttl = std::chrono::minutes(1);
  };
  void SetName(const std::string& host, Answer answer) { names_[host] = std::move(answer); }
  uint64_t lookups() const { return lookups_; }
  // Replaces what the node's file configures: names or literals, with or without a pin.
  void SetPeers(size_t node, std::vector<flood::PeerEntry> entries) {
    Input(node, flood::ConfigurePeers{flood::PeerEntrySource::kFile, std::move(entries)});
  }
  // Where the node is from its next start on; nothing reaches its old address any more.
  void Move(size_t node, const SocketAddress& address);
  // `node` closes its connection to `other`, by its operator.
  void DropPeer(size_t node, size_t other);

  // Every `interval` a slot: one core proposes a set, all vote in four steps, and close it. Until
  // StopLedgers().
  void StartLedgers(Duration interval);
  void StopLedgers() { ledger_interval_ = {}; }
  LedgerSeq slot() const { return slot_; }

  // ---- links
  LinkOptions& link(size_t from, size_t to) { return links_[{from, to}].options; }
  void SetLinks(const LinkOptions& options);  // all of them
  void Cut(size_t a, size_t b) { cut_.insert(Pair(a, b)); }
  void Isolate(size_t node);
  // Only nodes of the same side hear each other.
  void Partition(const std::set<size_t>& side);
  void Heal() { cut_.clear(); }
  // The connection that the two have is dead from now on; a new one between them would work.
  void KillConnection(size_t a, size_t b);
  // A host that is no node of ours, at `address`.
  using Host = std::function<void(const SocketAddress& from, absl::Span<const uint8_t>)>;
  void AddHost(const SocketAddress& address, Host host) { hosts_[address] = std::move(host); }
  void SendFromHost(const SocketAddress& from, const SocketAddress& to,
                    std::vector<uint8_t> payload);

  // ---- outcome
  Checkers& checkers() { return checkers_; }
  XdrBuilder& build() { return build_; }
  bool AllConnected() const;  // each running node with a core has every other as a peer
  // Connected, and the checkers miss nothing.
  bool Converged();
  uint64_t HandshakesCompleted() const;
  uint64_t trace() const { return trace_.value(); }
  uint64_t datagrams() const { return datagrams_; }
  bool failed() const { return !checkers_.failures().empty(); }
  // What went wrong, and the command that shows it again.
  std::string Replay();
  // A line of the story, for Replay().
  void Note(std::string line);

 private:
  static constexpr Time kStart{std::chrono::seconds(1'000)};

  struct Link {
    LinkOptions options;
    VirtualLink path;
    std::set<std::string> seen;  // connection ids
    std::set<std::string> dead;  // those that KillConnection() ended
  };
  class Sink;
  class Tap;
  struct Node {
    size_t index = 0;
    SecretSeed seed;
    NodeKey key;
    std::unique_ptr<FakeCore> core;
    std::unique_ptr<Tap> tap;
    std::unique_ptr<transport::PeerTransport> transport;
    std::unique_ptr<flood::OverlayNode> node;
    std::unique_ptr<server::NodeDriver> driver;  // null: not running
    uint64_t life = 0;
    bool touched = false;
    Time worker_free_at{};  // one after the other
    Time turn_at;
    int turns_at_moment = 0;
  };

  static std::pair<size_t, size_t> Pair(size_t a, size_t b) { return std::minmax(a, b); }
  void Configure(size_t node);
  absl::StatusOr<ResolvedHost> LookUp(const std::string& host) const;
  void Input(size_t node, flood::CoreInput input);
  void Transmit(size_t from, const SocketAddress& to, absl::Span<const uint8_t> payload);
  void Deliver(size_t to, const SocketAddress& from, const std::vector<uint8_t>& payload);
  bool IsDead(Link& link, absl::Span<const uint8_t> payload);
  void Turn(Node& node);
  bool Step(Time until);
  void BeginSlot();

  const NetworkOptions options_;
  Random random_;
  Random link_random_;
  XdrBuilder build_;
  Checkers checkers_;
  SetContents contents_;
  Trace trace_;
  Time now_ = kStart;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::map<std::pair<Time, uint64_t>, std::function<void()>>
      events_;  // the heap; equal times in order of insertion
  uint64_t next_event_ = 0;
  uint64_t events_done_ = 0;
  std::map<std::pair<size_t, size_t>, Link> links_;
  std::set<std::pair<size_t, size_t>> cut_;
  std::map<SocketAddress, size_t> node_at_;
  std::map<SocketAddress, Host> hosts_;
  std::map<size_t, SocketAddress> moved_;
  std::map<std::string, Answer> names_;
  uint64_t lookups_ = 0;
  Duration ledger_interval_{};
  LedgerSeq slot_;
  uint64_t starts_ = 0;
  uint64_t handshakes_before_ = 0;  // of nodes that have stopped
  uint64_t datagrams_ = 0;
  std::vector<std::string> story_;
};

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_NETWORK_H_
