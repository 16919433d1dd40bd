#include "tests/sim/network.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/compute.h"
#include "fmt/format.h"
#include "tests/sim/entropy.h"

namespace overlay::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr uint16_t kPort = 11625;
constexpr LedgerSeq kFirstSlot{100};
// A look-up of a name takes this long.
constexpr Duration kResolveTime = milliseconds(3);
// The worker's rate, and what the way there and back takes at least.
constexpr int64_t kComputeBytesPerSecond = 300'000'000;
constexpr Duration kComputeTimeMin = microseconds(50);
// Cores never act at the same moment: each is this much behind the one before.
constexpr Duration kCoreSkew = microseconds(700);

std::string CidOf(absl::Span<const uint8_t> payload) {
  const bool is_long = !payload.empty() && (payload[0] & 0x80) != 0;
  const size_t offset = is_long ? 6 : 1;
  const size_t size = is_long && payload.size() > 5 ? payload[5] : transport::kLocalCidBytes;
  if (payload.size() < offset + size) return {};
  return {reinterpret_cast<const char*>(payload.data()) + offset, size};
}

}  // namespace

class Network::Tap final : public server::NodeTap {
 public:
  Tap(Network& net, size_t index) : net_(net), index_(index) {}
  void OnPeerEvent(Time, const PeerEvent& event) override {
    net_.trace_.Add(event.index());
    net_.checkers_.OnPeerEvent(index_, event);
  }
  void OnAction(Time, const flood::Action& action) override {
    net_.trace_.Add(action.index());
    net_.checkers_.OnAction(index_, action);
  }

 private:
  Network& net_;
  const size_t index_;
};

class Network::Sink final : public transport::DatagramSink {
 public:
  Sink(Network& net, size_t node)
      : net_(net), node_(node), buffer_(transport::kSinkBufferBytesMin) {}

  absl::Span<uint8_t> Buffer() override {
    used_ = 0;
    return absl::MakeSpan(buffer_);
  }
  void Commit(const transport::Path& path, size_t bytes, size_t segment_bytes) override {
    const size_t end = used_ + bytes;
    OVERLAY_CHECK(end <= buffer_.size() && segment_bytes > 0);
    while (used_ < end) {
      const size_t size = std::min(segment_bytes, end - used_);
      net_.Transmit(node_, path.remote, absl::MakeConstSpan(buffer_).subspan(used_, size));
      used_ += size;
    }
  }

 private:
  Network& net_;
  const size_t node_;
  std::vector<uint8_t> buffer_;
  size_t used_ = 0;
};

Network::Network(NetworkOptions options)
    : options_(std::move(options)),
      random_(Random(options_.seed).Fork("network")),
      link_random_(random_.Fork("links")),
      build_(options_.seed),
      checkers_(options_.node_count),
      slot_(kFirstSlot) {
  SeedEntropy(options_.seed);
  for (size_t i = 0; i < options_.node_count; ++i) {
    auto node = std::make_unique<Node>();
    node->index = i;
    random_.Fork("key").Fork(i).Fill(absl::MakeSpan(node->seed.bytes));
    node->key = PublicKeyOf(node->seed);
    node_at_[FirstAddressOf(i)] = i;
    node->tap = std::make_unique<Tap>(*this, i);
    node->core = std::make_unique<FakeCore>(i, options_.limits.slots_kept_min, build_, checkers_,
                                            contents_, trace_);
    nodes_.push_back(std::move(node));
  }
  SetLinks(options_.link);
  for (size_t i = 0; i < options_.node_count; ++i) {
    if (!options_.absent.contains(i)) StartNode(i);
  }
}

Network::~Network() = default;

SocketAddress Network::AddressOf(size_t node) const {
  const auto moved = moved_.find(node);
  return moved == moved_.end() ? FirstAddressOf(node) : moved->second;
}

SocketAddress Network::FirstAddressOf(size_t node) {
  return SocketAddress::V4(0x0a000001 + static_cast<uint32_t>(node), kPort);
}

void Network::Note(std::string line) {
  story_.push_back(fmt::format("{:9.3f} s  {}", ToSeconds(elapsed()), line));
}

// ---- time

void Network::After(Duration delay, std::function<void()> what) {
  events_.emplace(std::pair(now_ + delay, next_event_++), std::move(what));
}

bool Network::Step(Time until) {
  Time next = events_.empty() ? kTimeNever : events_.begin()->first.first;
  for (const auto& node : nodes_) {
    if (node->driver == nullptr) continue;
    next = std::min(next, node->touched ? now_ : node->driver->NextDeadline().value_or(kTimeNever));
  }
  if (next > until) {
    now_ = until;
    return false;
  }
  now_ = std::max(now_, next);
  while (!events_.empty() && events_.begin()->first.first <= now_) {
    const auto event = events_.extract(events_.begin());
    event.mapped()();
    if (++events_done_ > options_.events_max) checkers_.Fail("livelock: too many events");
  }
  for (const auto& node : nodes_) {
    if (node->driver == nullptr) continue;
    if (node->touched || node->driver->NextDeadline().value_or(kTimeNever) <= now_) Turn(*node);
  }
  return !failed();
}

// The order of the daemon's turn: events of what came in, deadlines, what those cause, writing.
void Network::Turn(Node& node) {
  node.turns_at_moment = node.turn_at == now_ ? node.turns_at_moment + 1 : 0;
  node.turn_at = now_;
  if (node.turns_at_moment > kTurnsPerMomentMax) {
    checkers_.Fail(fmt::format("livelock: node {} does not come to rest", node.index));
    return;
  }
  node.touched = false;
  node.driver->Settle(now_);
  node.driver->OnDeadline(now_);
  node.driver->Settle(now_);
  Sink sink(*this, node.index);
  if (node.transport->WriteTurn(now_, sink)) node.touched = true;
  node.node->CheckInvariants();
  node.transport->CheckInvariants();
}

bool Network::RunUntil(const std::function<bool()>& done, Duration limit) {
  const Time until = now_ + limit;
  Time ask_at = now_;
  while (!failed()) {
    if (now_ >= ask_at) {
      if (done()) return !failed();
      ask_at = now_ + milliseconds(1);
    }
    if (!Step(until)) return !failed() && done();
  }
  return false;
}

bool Network::Run(Duration time) {
  const Time until = now_ + time;
  while (Step(until)) {
  }
  return !failed();
}

// ---- nodes

void Network::Input(size_t index, flood::CoreInput input) {
  Node& node = *nodes_[index];
  node.touched = true;
  node.driver->OnCoreInput(now_, std::move(input));
}

void Network::StartNode(size_t index) {
  Node& node = *nodes_[index];
  OVERLAY_CHECK(node.driver == nullptr);
  ++node.life;
  const Random random = random_.Fork("life").Fork(++starts_);
  transport::TransportOptions options;
  options.network = build_.network();
  options.node_seed = node.seed;
  options.agent = "overlayd/sim";
  options.listen_port = kPort;
  options.instance_nonce = random.Fork("nonce").Next();
  options.limits = options_.limits;
  auto made = transport::PeerTransport::Create(std::move(options), random.Fork("transport"));
  OVERLAY_CHECK(made.ok());
  node.transport = *std::move(made);
  node.transport->SetWallTime(now_, {1'750'000'000'000'000 + ToMicros(elapsed())});
  node.node = std::make_unique<flood::OverlayNode>(
      options_.limits, flood::NodeOptions{.self = node.key, .default_port = kPort},
      random.Fork("node"));
  const auto resolve = [this, index, life = node.life](Time, const flood::ResolveHost& asked) {
    ++lookups_;
    After(kResolveTime, [this, index, life, asked] {
      Node& asker = *nodes_[index];
      if (asker.driver == nullptr || asker.life != life) return;
      asker.touched = true;
      asker.driver->OnResolved(now_, asked, LookUp(asked.host));
    });
  };
  node.worker_free_at = now_;
  const auto compute = [this, index, life = node.life](Time, const flood::Compute& work) {
    Node& asker = *nodes_[index];
    const flood::Computed computed = flood::RunCompute(work);
    const size_t size = std::max(work.input.size(), computed.output.size());
    const auto took = Duration(static_cast<int64_t>(size) * 1'000'000'000 / kComputeBytesPerSecond);
    asker.worker_free_at = std::max(asker.worker_free_at, now_) + std::max(took, kComputeTimeMin);
    After(asker.worker_free_at - now_, [this, index, life, computed] {
      Node& node = *nodes_[index];
      if (node.driver == nullptr || node.life != life) return;
      node.touched = true;
      node.driver->OnComputed(now_, computed);
    });
  };
  node.driver =
      std::make_unique<server::NodeDriver>(node.node.get(), node.transport.get(), resolve, compute);
  node.driver->SetSink(node.core.get());
  node.driver->SetTap(node.tap.get());
  Configure(index);
  node.core->set_daemon([this, index](flood::CoreInput input) { Input(index, std::move(input)); });
  node.core->Attach();
}

absl::StatusOr<ResolvedHost> Network::LookUp(const std::string& host) const {
  const auto set = names_.find(host);
  if (set == names_.end()) {
    const size_t number = std::stoul(host.substr(host.find('-') + 1));
    return ResolvedHost{{AddressOf(number)}, std::chrono::minutes(1)};
  }
  const Answer& answer = set->second;
  if (!answer.addresses.ok()) return answer.addresses.status();
  return ResolvedHost{*answer.addresses, answer.ttl};
}

void Network::Move(size_t node, const SocketAddress& address) {
  node_at_.erase(AddressOf(node));
  moved_[node] = address;
  node_at_[address] = node;
}

void Network::Configure(size_t index) {
  std::vector<flood::PeerEntry> entries;
  for (size_t other = 0; other < nodes_.size(); ++other) {
    if (other == index || (other < index && !options_.dial_both)) continue;
    const std::string name = fmt::format("node-{}", other);
    entries.push_back(
        {.text = name, .host = name, .port = kPort, .pinned_key = nodes_[other]->key});
  }
  Input(index, flood::ConfigurePeers{flood::PeerEntrySource::kFile, std::move(entries)});
}

void Network::AddPeer(size_t index, const SocketAddress& address) {
  flood::PeerEntry entry{.text = address.ToString(),
                         .host = address.IpText(),
                         .port = address.port,
                         .pinned_key = std::nullopt};
  Input(index, flood::OperatorConnect{std::move(entry)});
}

void Network::DropPeer(size_t index, size_t other) {
  Input(index, flood::OperatorDisconnect{KeyOf(other)});
}

void Network::StopNode(size_t index) {
  Node& node = *nodes_[index];
  if (node.driver == nullptr) return;
  handshakes_before_ += node.transport->endpoint_counters().handshakes_completed;
  node.core->set_daemon(nullptr);
  node.core->OnDaemonGone();
  node.driver.reset();
  node.node.reset();
  node.transport.reset();
  node.touched = false;
  checkers_.OnNodeStopped(index);
}

// ---- ledgers

void Network::StartLedgers(Duration interval) {
  const bool running = ledger_interval_ > Duration{};
  ledger_interval_ = interval;
  if (!running) BeginSlot();
}

void Network::BeginSlot() {
  if (ledger_interval_ <= Duration{}) return;
  const LedgerSeq slot = slot_;
  slot_ = slot_ + 1;
  core(slot.value % nodes_.size()).Propose(slot);
  const Duration step = ledger_interval_ / 5;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    FakeCore* const core = nodes_[i]->core.get();
    const Duration skew = kCoreSkew * static_cast<int64_t>(i);
    After(step + skew, [=] { core->Author(StatementKind::kPrepare, slot, 1); });
    After(2 * step + skew, [=] { core->Author(StatementKind::kPrepare, slot, 2); });
    After(3 * step + skew, [=] { core->Author(StatementKind::kConfirm, slot, 2); });
    After(4 * step + skew, [=] { core->Author(StatementKind::kExternalize, slot, 2); });
    After(ledger_interval_ - milliseconds(10) + skew, [=] { core->Close(slot); });
  }
  After(ledger_interval_, [this] { BeginSlot(); });
}

// ---- links

void Network::SetLinks(const LinkOptions& options) {
  for (size_t a = 0; a < nodes_.size(); ++a) {
    for (size_t b = 0; b < nodes_.size(); ++b) {
      if (a != b) link(a, b) = options;
    }
  }
}

void Network::Isolate(size_t node) { Partition({node}); }

void Network::Partition(const std::set<size_t>& side) {
  for (size_t a = 0; a < nodes_.size(); ++a) {
    for (size_t b = a + 1; b < nodes_.size(); ++b) {
      if (side.contains(a) != side.contains(b)) Cut(a, b);
    }
  }
}

void Network::KillConnection(size_t a, size_t b) {
  for (Link* link : {&links_[{a, b}], &links_[{b, a}]})
    link->dead.insert(link->seen.begin(), link->seen.end());
}

bool Network::IsDead(Link& link, absl::Span<const uint8_t> payload) {
  std::string cid = CidOf(payload);
  if (link.dead.contains(cid)) return true;
  link.seen.insert(std::move(cid));
  return false;
}

void Network::Transmit(size_t from, const SocketAddress& to, absl::Span<const uint8_t> payload) {
  ++datagrams_;
  trace_.Add(now_);
  trace_.Add(from);
  trace_.Add(payload.size());
  trace_.Add(payload);
  checkers_.OnDatagram(payload);
  const SocketAddress source = AddressOf(from);
  const auto host = hosts_.find(to);
  if (host != hosts_.end()) {
    After(options_.link.delay,
          [host, source, copy = std::vector<uint8_t>(payload.begin(), payload.end())] {
            host->second(source, copy);
          });
    return;
  }
  const auto found = node_at_.find(to);
  if (found == node_at_.end()) return;
  const size_t node = found->second;
  if (node == from) {
    After(options_.link.delay,
          [this, node, source, copy = std::vector<uint8_t>(payload.begin(), payload.end())] {
            Deliver(node, source, copy);
          });
    return;
  }
  if (cut_.contains(Pair(from, node))) return;
  Link& link = links_[{from, node}];
  if (IsDead(link, payload)) return;
  std::vector<uint8_t> copy(payload.begin(), payload.end());
  for (const Time at : link.path.Pass(link.options, now_, absl::MakeSpan(copy), link_random_)) {
    After(at - now_, [this, node, source, copy] { Deliver(node, source, copy); });
  }
}

void Network::SendFromHost(const SocketAddress& from, const SocketAddress& to,
                           std::vector<uint8_t> payload) {
  const size_t node = node_at_.at(to);
  After(options_.link.delay,
        [this, node, from, payload = std::move(payload)] { Deliver(node, from, payload); });
}

void Network::Deliver(size_t to, const SocketAddress& from, const std::vector<uint8_t>& payload) {
  Node& node = *nodes_[to];
  if (node.driver == nullptr) return;
  node.touched = true;
  node.transport->OnDatagram(now_, {AddressOf(to), from}, payload);
}

// ---- outcome

bool Network::AllConnected() const {
  for (const auto& node : nodes_) {
    if (node->driver == nullptr || !node->core->attached()) continue;
    const auto running = std::count_if(nodes_.begin(), nodes_.end(),
                                       [](const auto& other) { return other->driver != nullptr; });
    if (node->core->peers_up() + 1 < static_cast<size_t>(running)) return false;
  }
  return true;
}

bool Network::Converged() {
  if (!AllConnected()) return false;
  std::vector<size_t> present;
  LedgerSeq oldest_kept;
  for (const auto& node : nodes_) {
    if (node->driver == nullptr) continue;
    oldest_kept = std::max(oldest_kept, node->node->stats().slots.oldest_kept);
    if (node->core->attached()) present.push_back(node->index);
  }
  return !checkers_.Missing(present, oldest_kept).has_value();
}

uint64_t Network::HandshakesCompleted() const {
  uint64_t handshakes = handshakes_before_;
  for (const auto& node : nodes_) {
    if (node->driver != nullptr)
      handshakes += node->transport->endpoint_counters().handshakes_completed;
  }
  return handshakes;
}

std::string Network::Replay() {
  std::string text = fmt::format("\nseed {}, {} nodes, at {:.3f} s, {} datagrams\n", options_.seed,
                                 nodes_.size(), ToSeconds(elapsed()), datagrams_);
  for (const std::string& line : story_) text += "  " + line + "\n";
  std::vector<size_t> present;
  LedgerSeq oldest_kept;
  for (const auto& node : nodes_) {
    if (node->driver == nullptr) {
      text += fmt::format("  node {} is not running\n", node->index);
      continue;
    }
    oldest_kept = std::max(oldest_kept, node->node->stats().slots.oldest_kept);
    if (node->core->attached()) present.push_back(node->index);
    const flood::NodeStats& stats = node->node->stats();
    text += fmt::format(
        "  node {}: {} peers, core {}, slots {} to {}, scp new {} delivered {} refused {} + {}, "
        "state {} - {}\n",
        node->index, node->core->peers_up(), node->core->attached() ? "attached" : "absent",
        stats.slots.oldest_kept.value, stats.slots.newest_closed.value, stats.scp.received_new,
        stats.scp.delivered, stats.scp.refused_window, stats.scp.refused_limit,
        stats.scp.state_requests_answered, stats.scp.state_requests_refused);
  }
  for (const std::string& failure : checkers_.failures()) text += "  FAILED: " + failure + "\n";
  const std::optional<std::string> missing = checkers_.Missing(present, oldest_kept);
  if (missing) text += "  missing: " + *missing + "\n";
  return text;
}

}  // namespace overlay::sim
