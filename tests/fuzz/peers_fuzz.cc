// Who is a peer, beside a model of it: a world of a few nodes, each at an address of its own, in
// which peers come and go, entries, targets and bans change, and dials end in all ways. Held to
// after each step: nobody is dialled who is connected, dialled, banned or unwanted; who is banned,
// or not pinned while the list is closed, is no peer; up and down alternate; the gauges are the
// model's counts. And at the end, when all answer: every configured peer comes, and so many others
// as are wanted.
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "flood/overlay_node.h"
#include "flood/peers/outbound_plan.h"
#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr uint8_t kNodes = 9;  // 1 to 9; 10 is ourselves
constexpr uint8_t kSelf = 10;
// After which all that wait have tried again: the longest back-off of a stranger, twice.
constexpr Duration kLongEnough = 2 * kStrangerWaitMax + 1min;

NodeKey Key(uint8_t n) {
  NodeKey key;
  key.bytes[0] = n;
  return key;
}
SocketAddress AddressOf(uint8_t n) { return SocketAddress::V4(0x0a000000 + n, 1); }
uint8_t NodeAt(const SocketAddress& address) { return address.ip[15]; }

class World {
 public:
  explicit World(FuzzInput& input) : input_(input) {}

  void Run() {
    Restore();
    while (!input_.empty()) Step();
    Settle();
  }

 private:
  struct Connection {
    uint8_t node = 0;
    bool inbound = false;
    bool by_outbound_plan = false;
    bool told_to_go = false;
    bool up = false;
  };
  struct Entry {
    uint8_t node = 0;
    std::optional<uint8_t> pin;
    bool preferred = false;
  };

  // ---- steps
  void Step() {
    switch (input_.Below(12)) {
      case 0:
      case 1:
        return Pass(input_.Pick(std::array<Duration, 6>{1ms, 1s, 5s, 31s, 61s, 11min}));
      case 2:
      case 3:
        return EndDial(input_.Below(8));
      case 4:
        return ComeIn(static_cast<uint8_t>(1 + input_.Below(kNodes)), input_.Flag());
      case 5:
        return Leave(input_.Byte());
      case 6:
        return Configure();
      case 7:
        return Targets();
      case 8:
        return Ban(static_cast<uint8_t>(1 + input_.Below(kNodes)));
      case 9:
        return Unban(static_cast<uint8_t>(1 + input_.Below(kNodes)));
      case 10:
        return Offend(input_.Byte());
      case 11:
        return SayCore(input_.Byte(), input_.Flag());
    }
  }

  void Restore() {
    PeerFile file;
    file.saved_s = 1000;
    for (uint8_t n = 1; n <= kNodes; ++n) {
      if (!input_.Flag()) continue;
      PeerFile::Peer& peer = file.peers.emplace_back();
      peer.key = Key(n);
      peer.addresses.push_back({AddressOf(n), AddressSource::kFile, 900});
    }
    node_.RestorePeers(now_, {int64_t{2000} * 1'000'000}, file);
    Take("restore");
  }
  void Pass(Duration time) {
    judge_.Begin("pass {} us", ToMicros(time));
    const Time end = now_ + time;
    for (int i = 0; i < 100'000; ++i) {
      const std::optional<Time> deadline = node_.NextDeadline();
      if (!deadline || *deadline > end) break;
      now_ = std::max(now_, *deadline);
      node_.OnDeadline(now_, out_);
      Take("deadline");
    }
    now_ = end;
    node_.OnDeadline(now_, out_);
    Take("passed");
  }
  void EndDial(size_t how) {
    if (dials_.empty()) return;
    auto at = dials_.begin();
    std::advance(at, input_.Below(std::min<size_t>(dials_.size(), 256)));
    const Dial dial = at->second;
    const uint8_t node = NodeAt(dial.address);
    judge_.Begin("dial of {} ends ({})", node, how);
    if (how >= 6) return End(dial, CloseReason::kUnreachable, std::nullopt);
    Answer(dial);
  }
  // As a peer that is there would.
  void Answer(const Dial& dial) {
    const uint8_t node = NodeAt(dial.address);
    if (node == kSelf) return End(dial, CloseReason::kSelf, std::nullopt);
    if (dial.pinned_key && *dial.pinned_key != Key(node)) {
      return End(dial, CloseReason::kWrongKey, Key(node));
    }
    if (Find(node) != nullptr) return End(dial, CloseReason::kDuplicate, Key(node));
    Connect(node, /*inbound=*/false, OutboundPlan::Owns(dial.dial));
    End(dial, CloseReason::kNone, Key(node));
  }
  void ComeIn(uint8_t node, bool listens) {
    if (Find(node) != nullptr) return;
    judge_.Begin("{} dials us ({})", node, listens);
    Connect(node, /*inbound=*/true, false, listens);
  }
  void Leave(uint8_t which) {
    if (connections_.empty()) return;
    auto at = connections_.begin();
    std::advance(at, which % connections_.size());
    judge_.Begin("{} leaves", at->second.node);
    Disconnect(at->first, input_.Pick(std::array<CloseReason, 4>{
                              CloseReason::kIdleTimeout, CloseReason::kStatelessReset,
                              CloseReason::kBanned, CloseReason::kNotAdmitted}));
  }
  void Configure() {
    ConfigurePeers configure;
    configure.source =
        input_.Pick(std::array<PeerEntrySource, 2>{PeerEntrySource::kFile, PeerEntrySource::kCore});
    std::vector<Entry> entries;
    for (size_t count = input_.Below(5); count > 0; --count) {
      Entry entry{static_cast<uint8_t>(1 + input_.Below(kSelf)), std::nullopt, input_.Flag()};
      const size_t pin = input_.Below(4);
      if (pin >= 2)
        entry.pin = pin == 2 ? entry.node : static_cast<uint8_t>(1 + input_.Below(kNodes));
      if (entry.pin == kSelf) entry.pin.reset();
      if (closed_ && !entry.pin) continue;  // refused by name, which others test
      entries.push_back(entry);
      configure.entries.push_back(
          {AddressOf(entry.node).ToString(), AddressOf(entry.node).IpText(), uint16_t{1},
           entry.pin ? std::optional(Key(*entry.pin)) : std::nullopt, entry.preferred});
    }
    configure.disconnect_removed = input_.Flag();
    judge_.Begin("configure {} entries of source {}", entries.size(),
                 static_cast<size_t>(configure.source));
    entries_[static_cast<size_t>(configure.source)] = entries;
    node_.OnCoreInput(now_, configure, out_);
    Take("configured");
  }
  void Targets() {
    PeerTargets targets{input_.Below(5), 1 + input_.Below(5), input_.Below(3), false};
    // Only what is closed from the beginning has entries with keys alone.
    targets.closed = entries_[0].empty() && entries_[1].empty() && input_.Below(4) == 0;
    closed_ = targets.closed;
    judge_.Begin("targets {} {} {} {}", targets.outbound, targets.inbound_max, targets.newcomers,
                 closed_);
    outbound_ = targets.outbound;
    node_.OnCoreInput(now_, ConfigureTargets{targets}, out_);
    Take("targets");
  }
  void Ban(uint8_t node) {
    const Duration time = input_.Pick(std::array<Duration, 3>{1s, 40s, 15min});
    judge_.Begin("ban {} for {} us", node, ToMicros(time));
    banned_[node] = now_ + time;
    for (auto& [peer, connection] : connections_) {
      if (connection.node == node && !connection.told_to_go) must_go_.insert(peer);
    }
    node_.OnCoreInput(now_, OperatorBan{Key(node), time, "why"}, out_);
    Take("banned");
  }
  void Unban(uint8_t node) {
    judge_.Begin("unban {}", node);
    const bool was = IsBanned(node);
    banned_.erase(node);
    node_.OnCoreInput(now_, OperatorUnban{Key(node)}, out_);
    judge_.Equal("found", was, LastAnswer() == OperatorAnswered::Outcome::kDone);
    Take("unbanned");
  }
  // Those that nobody configured are banned by and by; the model reads so from the node.
  void Offend(uint8_t which) {
    if (connections_.empty()) return;
    auto at = connections_.begin();
    std::advance(at, which % connections_.size());
    judge_.Begin("{} offends", at->second.node);
    const bool was_banned = IsBanned(at->second.node);
    const uint64_t told = offences_told_ + (at->second.up ? 1 : 0);
    node_.OnPeerEvent(now_, PeerOffence{at->first, Offence::kWrongHash}, out_);
    const auto ban = node_.bans().bans().find(Key(at->second.node));
    if (!was_banned && ban != node_.bans().bans().end()) {
      judge_.True("only strangers", !IsPinned(at->second.node));
      banned_[at->second.node] = ban->second.until;
    }
    Take("offended");
    judge_.Equal("offences told", told, offences_told_);
  }
  void SayCore(uint8_t which, bool present) {
    if (connections_.empty()) return;
    auto at = connections_.begin();
    std::advance(at, which % connections_.size());
    judge_.Begin("{} has a core: {}", at->second.node, present);
    node_.OnPeerEvent(now_, ControlReceived{at->first, CoreStatus{present}}, out_);
    Take("core");
  }

  // ---- the world
  Connection* Find(uint8_t node) {
    for (auto& [peer, connection] : connections_) {
      if (connection.node == node) return &connection;
    }
    return nullptr;
  }
  bool IsBanned(uint8_t node) const {
    const auto ban = banned_.find(node);
    return ban != banned_.end() && now_ < ban->second;
  }
  bool IsConfigured(uint8_t node) const {
    for (const auto& entries : entries_) {
      for (const Entry& entry : entries) {
        if (entry.pin.value_or(entry.node) == node) return true;
      }
    }
    return false;
  }
  bool IsPinned(uint8_t node) const {
    for (const auto& entries : entries_) {
      for (const Entry& entry : entries) {
        if (entry.pin == node) return true;
      }
    }
    return false;
  }
  void Connect(uint8_t node, bool inbound, bool by_plan, bool listens = false) {
    const PeerId peer{next_peer_++};
    connections_[peer] = {node, inbound, by_plan, false, false};
    PeerConnected connected{peer, {}};
    connected.info.key = Key(node);
    connected.info.inbound = inbound;
    connected.info.address = AddressOf(node);
    if (inbound) connected.info.address.port = 40'000;
    connected.info.listen_port = listens ? 1 : 0;
    node_.OnPeerEvent(now_, connected, out_);
    Take("connected");
    const Connection& now_here = connections_.at(peer);
    if (IsBanned(node)) judge_.True("banned goes", now_here.told_to_go && !now_here.up);
    if (closed_ && !IsPinned(node)) judge_.True("closed", now_here.told_to_go && !now_here.up);
  }
  void Disconnect(PeerId peer, CloseReason reason) {
    const bool was_up = connections_.at(peer).up;
    connections_.erase(peer);
    must_go_.erase(peer);
    downs_ = 0;
    PeerDisconnected gone{peer, reason, true, ""};
    node_.OnPeerEvent(now_, gone, out_);
    Take("disconnected");
    judge_.Equal("downs", size_t{was_up}, downs_);
  }
  void End(const Dial& dial, CloseReason reason, std::optional<NodeKey> key) {
    dials_.erase(dial.dial);
    node_.OnPeerEvent(now_, DialEnded{dial.dial, dial.address, reason, key, ""}, out_);
    Take("dial ended");
  }

  // ---- what the node does
  OperatorAnswered::Outcome LastAnswer() const {
    std::optional<OperatorAnswered::Outcome> outcome;
    for (const Action& action : out_) {
      const auto* output = std::get_if<CoreOutput>(&action);
      const auto* answer = output ? std::get_if<OperatorAnswered>(output) : nullptr;
      if (answer != nullptr) outcome = answer->outcome;
    }
    judge_.True("answered", outcome.has_value());
    return *outcome;
  }
  void OnDial(const Dial& dial) {
    const uint8_t node = NodeAt(dial.address);
    for (const auto& [id, other] : dials_) {
      const bool same_plan = OutboundPlan::Owns(id) == OutboundPlan::Owns(dial.dial);
      judge_.True("dialled once", other.address != dial.address || !same_plan);
    }
    if (dial.pinned_key) {
      const uint8_t pin = dial.pinned_key->bytes[0];
      judge_.True("not banned", !IsBanned(pin));
      const Connection* connection = Find(pin);
      judge_.True("not connected", connection == nullptr || !connection->up);
    }
    if (OutboundPlan::Owns(dial.dial)) {
      judge_.True("an open network", !closed_);
      judge_.True("an outbound target", outbound_ > 0);
      judge_.Equal("its own address", int{node}, int{dial.pinned_key->bytes[0]});
    }
    dials_.emplace(dial.dial, dial);
  }
  void Take(const char* what) {
    const ActionList actions = std::exchange(out_, {});
    for (const Action& action : actions) {
      if (const auto* news = std::get_if<PeerNews>(&action)) {
        if (const auto* up = std::get_if<PeerUp>(news)) {
          Connection& connection = connections_.at(up->peer);
          judge_.True("up once", !connection.up);
          judge_.True("up, not banned", !IsBanned(connection.node));
          connection.up = true;
        } else if (std::holds_alternative<PeerDown>(*news)) {
          ++downs_;
        } else if (std::holds_alternative<PeerBanned>(*news)) {
          ++bans_told_;
        } else {
          ++offences_told_;
        }
      }
      const auto* command = std::get_if<PeerCommand>(&action);
      if (command == nullptr) continue;
      if (const auto* dial = std::get_if<Dial>(command)) OnDial(*dial);
      if (const auto* drop = std::get_if<DropPeer>(command)) {
        judge_.True("drops whom there is", connections_.contains(drop->peer));
        connections_.at(drop->peer).told_to_go = true;
        must_go_.erase(drop->peer);
      }
    }
    judge_.True(what, must_go_.empty());
    size_t up = 0;
    for (const auto& [peer, connection] : connections_) up += connection.up ? 1 : 0;
    const auto& banned = node_.stats().peers.banned;
    judge_.Equal("bans", banned[0] + banned[1], bans_told_);
    judge_.Equal("connected", uint64_t{up}, node_.stats().peers.connected);
    judge_.Equal("dialling", uint64_t{dials_.size()}, node_.stats().peers.dialling);
    // Most deadlines of the long rest change nothing.
    if (!actions.empty()) node_.CheckInvariants();
  }

  // All are there and answer at once; whom the node tells to go goes.
  void Settle() {
    judge_.Begin("all answer");
    banned_.clear();
    for (uint8_t n = 1; n <= kNodes; ++n) {
      node_.OnCoreInput(now_, OperatorUnban{Key(n)}, out_);
      Take("amnesty");
    }
    const Time end = now_ + kLongEnough;
    while (now_ < end) {
      while (!dials_.empty()) {
        const Dial dial = dials_.begin()->second;  // its end takes it out
        Answer(dial);
      }
      for (const auto& [peer, connection] : std::map(connections_)) {
        if (connection.told_to_go) {
          Disconnect(peer, CloseReason::kNotAdmitted);
        } else {
          node_.OnPeerEvent(now_, ControlReceived{peer, CoreStatus{true}}, out_);
          Take("has a core");
        }
      }
      Pass(10s);
    }
    for (const auto& entries : entries_) {
      for (const Entry& entry : entries) {
        if (entry.node == kSelf || IsAmbiguous(entry)) continue;
        judge_.True("every configured peer comes", Find(entry.node) != nullptr);
      }
    }
    size_t ours = 0;
    for (const auto& [peer, connection] : connections_) {
      ours += connection.by_outbound_plan && !IsConfigured(connection.node) ? 1 : 0;
    }
    judge_.True("no more than wanted", ours <= outbound_);
  }
  // Pinned to another key, or with entries of another opinion.
  bool IsAmbiguous(const Entry& entry) const {
    for (const auto& entries : entries_) {
      for (const Entry& other : entries) {
        if (other.node == entry.node && other.pin && other.pin != entry.node) return true;
      }
    }
    return false;
  }

  FuzzInput& input_;
  Judge judge_;
  OverlayNode node_{Limits{}, NodeOptions{.self = Key(kSelf)}, Random(1)};
  ActionList out_;
  Time now_{1000s};
  std::map<PeerId, Connection> connections_;
  std::map<DialId, Dial> dials_;
  std::map<uint8_t, Time> banned_;
  std::array<std::vector<Entry>, 2> entries_;
  std::set<PeerId> must_go_;
  size_t downs_ = 0;
  uint64_t bans_told_ = 0;
  uint64_t offences_told_ = 0;
  size_t outbound_ = PeerTargets{}.outbound;
  bool closed_ = false;
  uint64_t next_peer_ = 1;
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::FuzzInput input(data, std::min<size_t>(size, 400));
  overlay::flood::World(input).Run();
  return 0;
}
