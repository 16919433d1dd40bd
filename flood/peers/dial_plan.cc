#include "flood/peers/dial_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/peers/backoff.h"

namespace overlay::flood {
namespace {

// The peer's old life ended on purpose, or is known to be over: it is there again, or soon.
bool IsRestart(CloseReason reason) {
  return reason == CloseReason::kStatelessReset || reason == CloseReason::kReplaced ||
         reason == CloseReason::kGoaway;
}

// Where a peer is to be found. An accepted one is known by where it listens, not by the port that
// it happened to dial from.
bool IsAt(const SocketAddress& address, const PeerInfo& info) {
  const uint16_t port = info.inbound ? info.listen_port : info.address.port;
  return address.ip == info.address.ip && address.port == port && port != 0;
}

// Trying again soon would be in vain, or do harm.
bool IsRefusal(CloseReason reason) {
  return reason == CloseReason::kKeyShared || reason == CloseReason::kBanned;
}

bool IsSame(const PeerEntry& a, const PeerEntry& b) { return a.host == b.host && a.port == b.port; }

}  // namespace

DialPlan::DialPlan(const Limits& limits, const NodeKey& self, uint16_t default_port, Random random,
                   const BanList& bans, NodeStats& stats)
    : limits_(limits),
      self_(self),
      default_port_(default_port),
      random_(random),
      bans_(bans),
      stats_(stats.peers),
      names_(random.Fork("names"), stats.names) {}

void DialPlan::Stop() {
  stopped_ = true;
  names_.Stop();
}

// ---- the configured set -----------------------------------------------------------------------

DialPlan::Way DialPlan::WayOf(const Entry& entry) {
  return {{entry.peer.host, !entry.peer.port.has_value()}, entry.port};
}

std::string DialPlan::Refusal(const PeerEntry& entry) const {
  if (entry.host.empty())
    return fmt::format("\"{}\": expected HOST, HOST:PORT or [IPV6]:PORT", entry.text);
  if (entry.port == uint16_t{0})
    return fmt::format("\"{}\": port 0, expected 1 to 65535", entry.text);
  if (entry.pinned_key == self_) {
    return fmt::format("\"{}\": {} is this node's own key", entry.text, ToStrkey(self_));
  }
  return "";
}

void DialPlan::Configure(Time now, const ConfigurePeers& configure, ActionList& out) {
  PeersConfigured answer{configure.source, {}};
  std::vector<Entry> entries;
  for (const PeerEntry& peer : configure.entries) {
    const bool is_self = configure.source == PeerEntrySource::kFile && peer.pinned_key == self_;
    std::string refusal = Refusal(peer);
    if (refusal.empty() && entries.size() >= kEntryCountMax) {
      refusal = fmt::format("\"{}\": over the limit of {} entries", peer.text, kEntryCountMax);
    }
    if (refusal.empty()) {
      const uint16_t port = peer.port.value_or(default_port_);
      const auto literal = SocketAddress::ParseIp(peer.host, port);
      entries.push_back({peer, port, literal.ok() ? std::optional(*literal) : std::nullopt});
    } else if (!is_self) {
      answer.applied = false;
    }
    answer.refusals.push_back(std::move(refusal));
  }
  if (!answer.applied) {
    out.push_back(CoreOutput(std::move(answer)));
    return;
  }
  std::vector<const PeerInfo*> before;
  for (const auto& [key, peer] : connected_) {
    if (IsConfigured(peer.info)) before.push_back(&peer.info);
  }
  entries_[static_cast<size_t>(configure.source)] = std::move(entries);
  Rebuild(now, out);
  if (configure.disconnect_removed) {
    for (const PeerInfo* info : before) {
      if (!IsConfigured(*info)) removed_.push_back(info->key);
    }
  }
  out.push_back(CoreOutput(std::move(answer)));
}

void DialPlan::Connect(Time now, const OperatorConnect& connect, ActionList& out) {
  const PeerEntry& peer = connect.entry;
  std::vector<Entry>& entries = entries_[static_cast<size_t>(PeerEntrySource::kOperator)];
  OperatorAnswered answer;
  answer.detail = Refusal(peer);
  const auto there = std::find_if(entries.begin(), entries.end(),
                                  [&](const Entry& entry) { return IsSame(entry.peer, peer); });
  if (!answer.detail.empty()) {
    answer.outcome = OperatorAnswered::Outcome::kRefused;
  } else if (there == entries.end() && entries.size() >= kEntryCountMax) {
    answer.outcome = OperatorAnswered::Outcome::kFull;
    answer.detail = fmt::format("the operator's part has {} entries, at most {}", entries.size(),
                                kEntryCountMax);
  } else {
    const uint16_t port = peer.port.value_or(default_port_);
    const auto literal = SocketAddress::ParseIp(peer.host, port);
    const Entry entry{peer, port, literal.ok() ? std::optional(*literal) : std::nullopt};
    if (there != entries.end()) {
      *there = entry;
    } else {
      entries.push_back(entry);
    }
    Rebuild(now, out);
  }
  out.push_back(CoreOutput(std::move(answer)));
}

bool DialPlan::Forget(Time now, const OperatorDisconnect& disconnect, ActionList& out) {
  std::vector<Entry>& entries = entries_[static_cast<size_t>(PeerEntrySource::kOperator)];
  const auto* key = std::get_if<NodeKey>(&disconnect.whom);
  const auto is_meant = [&](const Entry& entry) {
    if (key == nullptr) return IsSame(entry.peer, std::get<PeerEntry>(disconnect.whom));
    if (entry.peer.pinned_key == *key) return true;
    return std::any_of(targets_.begin(), targets_.end(), [&](const auto& item) {
      const auto& [address, target] = item;
      if (target.last_key != *key) return false;
      return entry.literal ? *entry.literal == address : target.given.ways.contains(WayOf(entry));
    });
  };
  std::vector<const PeerInfo*> before;
  for (const auto& [peer_key, peer] : connected_) {
    if (IsConfigured(peer.info)) before.push_back(&peer.info);
  }
  if (std::erase_if(entries, is_meant) == 0) return false;
  Rebuild(now, out);
  for (const PeerInfo* info : before) {
    if (key == nullptr && !IsConfigured(*info)) removed_.push_back(info->key);
  }
  return true;
}

void DialPlan::Rebuild(Time now, ActionList& out) {
  absl::btree_set<NameId> hosts;
  absl::btree_set<Way> ways;
  pins_.clear();
  for (const auto& entries : entries_) {
    for (const Entry& entry : entries) {
      if (entry.peer.pinned_key) pins_[*entry.peer.pinned_key] |= entry.peer.preferred;
      if (entry.literal) continue;
      ways.insert(WayOf(entry));
      hosts.insert(WayOf(entry).name);
    }
  }
  names_.Keep(now, hosts);
  absl::btree_map<SocketAddress, Given> wanted;
  for (const PeerEntrySource source : kPeerEntrySources) {
    for (const Entry& entry : entries_[static_cast<size_t>(source)]) {
      const auto give = [&, source = source](const SocketAddress& address) {
        const auto [it, is_first] = wanted.try_emplace(address);
        Given& given = it->second;
        if (is_first) given.source = source;
        given.preferred = given.preferred || entry.peer.preferred;
        if (entry.peer.pinned_key) given.pinned_key = entry.peer.pinned_key;
        if (!entry.literal) given.ways.insert(WayOf(entry));
      };
      if (entry.literal) {
        give(*entry.literal);
        continue;
      }
      for (SocketAddress address : names_.AddressesOf(WayOf(entry).name)) {
        if (address.port == 0) address.port = entry.port;
        give(address);
      }
    }
  }
  bool changed = false;
  for (auto& [address, target] : targets_) {
    if (target.left_at || wanted.contains(address)) continue;
    target.left_at = now;
    changed = true;
  }
  for (auto& [address, given] : wanted) {
    const auto it = targets_.find(address);
    changed = changed || it == targets_.end() || it->second.left_at;
    Update(now, address, std::move(given));
  }
  for (auto& [address, target] : targets_) {
    if (target.left_at)
      absl::erase_if(target.given.ways, [&](const Way& way) { return !ways.contains(way); });
  }
  Leave(now);
  if (changed) {
    ConfiguredAddresses configured;
    for (const auto& [address, given] : wanted) configured.addresses.push_back(address);
    out.emplace_back(PeerCommand(std::move(configured)));
  }
  if (next_sweep_ == kTimeNever && !targets_.empty()) next_sweep_ = now + kSweepEvery;
}

// R6: those whose entry has gone, that left too long ago, or that are too many.
void DialPlan::Leave(Time now) {
  absl::erase_if(targets_, [now](auto& item) {
    Target& target = item.second;
    if (!target.left_at) return false;
    if (IsRemoved(target)) target.connected.reset();  // no entry, no configured peer
    if (target.dialling) return false;
    if (IsRemoved(target)) return true;
    return !target.connected && now - *target.left_at >= kLeftFor;
  });
  std::vector<std::pair<Time, SocketAddress>> left;
  for (const auto& [address, target] : targets_) {
    if (target.left_at && !target.connected && !target.dialling) {
      left.emplace_back(*target.left_at, address);
    }
  }
  if (left.size() <= kLeftCountMax) return;
  std::sort(left.begin(), left.end());
  left.resize(left.size() - kLeftCountMax);
  for (const auto& [at, address] : left) targets_.erase(address);
}

void DialPlan::Update(Time now, const SocketAddress& address, Given given) {
  auto [it, inserted] = targets_.try_emplace(address);
  Target& target = it->second;
  const bool returns = !inserted && target.left_at;
  target.left_at.reset();
  const bool other_pin = !inserted && target.given.pinned_key != given.pinned_key;
  target.given = std::move(given);
  const std::optional<NodeKey>& pin = target.given.pinned_key;
  if (other_pin) {
    target.failures = 0;
    target.again = target.dialling.has_value();
    if (!pin || target.connected != pin) {
      // Whom the old pin meant may be elsewhere; what is at the address counts below.
      target.connected.reset();
      target.last_key.reset();
    }
    if (!target.connected) target.next = now;
  }
  if (inserted || (returns && target.next == kTimeNever && !target.connected)) {
    target.next = now + RaceDelay(address, target.given);
  }
  for (const auto& [key, peer] : connected_) {
    if (LeadsTo(address, target, peer.info) && IsThere(key, address)) MarkConnected(target, key);
  }
}

// R9. Nothing for a literal, or where the name gives one family alone.
Duration DialPlan::RaceDelay(const SocketAddress& address, const Given& given) const {
  if (given.ways.empty()) return Duration{};
  const NameId& name = given.ways.begin()->name;
  const bool v4_first = names_.IsV4First(name);
  if (address.is_v4() == v4_first) return Duration{};
  const std::vector<SocketAddress>& all = names_.AddressesOf(name);
  const bool raced = std::any_of(all.begin(), all.end(), [v4_first](const SocketAddress& other) {
    return other.is_v4() == v4_first;
  });
  return raced ? kOtherFamilyAfter : Duration{};
}

// ---- names ------------------------------------------------------------------------------------

void DialPlan::OnResolved(Time now, const NameId& name,
                          const absl::StatusOr<ResolvedHost>& resolved, ActionList& out) {
  if (names_.OnResolved(now, name, resolved)) Rebuild(now, out);
  for (const auto& [key, peer] : connected_) {
    if (peer.silent && NamesOf(key).contains(name)) names_.Hurry(name);
  }
}

absl::btree_set<NameId> DialPlan::NamesOf(const NodeKey& key) const {
  absl::btree_set<NameId> names;
  for (const auto& [address, target] : targets_) {
    const Given& given = target.given;
    const bool leads = given.pinned_key ? given.pinned_key == key : target.last_key == key;
    if (!leads) continue;
    for (const Way& way : given.ways) names.insert(way.name);
  }
  for (const auto& entries : entries_) {
    for (const Entry& entry : entries) {
      if (entry.peer.pinned_key == key && !entry.literal) names.insert(WayOf(entry).name);
    }
  }
  return names;
}

void DialPlan::HurryNamesOf(const NodeKey& key) {
  for (const NameId& name : NamesOf(key)) names_.Hurry(name);
}

// ---- dials ------------------------------------------------------------------------------------

bool DialPlan::IsThere(const NodeKey& key, const SocketAddress& address) const {
  const auto it = connected_.find(key);
  if (it == connected_.end()) return false;
  return !it->second.silent || IsAt(address, it->second.info);
}

bool DialPlan::MayDial(Time now, const SocketAddress& address, Target& target) const {
  if (target.left_at || target.dialling || target.connected) return false;
  if (target.self_until && now < *target.self_until) return false;
  const std::optional<NodeKey>& key =
      target.given.pinned_key ? target.given.pinned_key : target.last_key;
  return !key || (!IsThere(*key, address) && !bans_.Contains(now, *key));
}

void DialPlan::DialNow(const SocketAddress& address, Target& target, ActionList& out) {
  target.next = kTimeNever;
  target.self_until.reset();
  target.dialling = DialId{next_dial_++};
  ++dials_open_;
  ++stats_.dials;
  ++stats_.dialling;
  out.push_back(PeerCommand(Dial{*target.dialling, address, target.given.pinned_key}));
}

void DialPlan::DialDue(Time now, ActionList& out) {
  if (now >= batch_ends_) batch_begun_ = 0;
  std::vector<std::tuple<bool, Time, SocketAddress>> due;
  for (auto& [address, target] : targets_) {
    if (target.next > now || target.left_at) continue;
    if (MayDial(now, address, target)) {
      due.emplace_back(!target.given.preferred, target.next, address);
    } else {
      target.next = kTimeNever;
    }
  }
  std::sort(due.begin(), due.end());
  for (const auto& [ordinary, at, address] : due) {
    if (dials_open_ >= kDialsOpenMax || batch_begun_ >= kDialsPerBatch) return;
    Target& target = targets_.at(address);
    if (batch_begun_++ == 0) batch_ends_ = now + kBatchPause;
    DialNow(address, target, out);
  }
}

void DialPlan::Fail(Time now, Target& target, Duration extra) {
  const Duration wait =
      BackoffWithFullJitter(limits_.redial_min, limits_.redial_max, target.failures, random_);
  ++target.failures;
  target.next = now + wait + extra;
  if (target.failures < 2) return;
  for (const Way& way : target.given.ways) names_.Hurry(way.name);
}

void DialPlan::OnDialEnded(Time now, const DialEnded& ended) {
  --stats_.dialling;
  --dials_open_;
  if (ended.reason != CloseReason::kNone) ++stats_.dials_failed;
  const auto it = targets_.find(ended.address);
  if (it == targets_.end() || it->second.dialling != ended.dial) return;
  Target& target = it->second;
  target.dialling.reset();
  if (IsRemoved(target)) {
    targets_.erase(it);
    return;
  }
  const bool again = std::exchange(target.again, false);
  if (ended.reason != CloseReason::kNone) target.last_reason = ended.reason;
  if (ended.key) target.last_key = ended.key;
  if (ended.reason == CloseReason::kSelf) {
    target.self_until = now + kSelfFor;
    target.next = *target.self_until;
    return;
  }
  const bool led_to_peer =
      ended.reason == CloseReason::kNone || ended.reason == CloseReason::kDuplicate;
  const bool as_pinned = !target.given.pinned_key || target.given.pinned_key == ended.key;
  if (led_to_peer && ended.key && as_pinned && connected_.contains(*ended.key)) {
    MarkConnected(target, *ended.key);
    const bool in_use = connected_.at(*ended.key).info.address == ended.address;
    for (const Way& way : target.given.ways) {
      if (in_use) names_.SetWorked(way.name, ended.address.is_v4());
    }
    return;
  }
  if (again) {
    target.next = now;
    return;
  }
  Fail(now, target, IsRefusal(ended.reason) ? kRefusedBackoff : Duration{});
}

void DialPlan::MarkConnected(Target& target, const NodeKey& key) {
  target.connected = key;
  target.last_key = key;
  target.next = kTimeNever;
}

bool DialPlan::LeadsTo(const SocketAddress& address, const Target& target, const PeerInfo& info) {
  if (IsRemoved(target)) return false;
  if (target.given.pinned_key) return target.given.pinned_key == info.key;
  return target.last_key == info.key || IsAt(address, info);
}

void DialPlan::OnPeerConnected(Time now, const PeerInfo& info) {
  connected_.insert_or_assign(info.key, Connected{info, now});
  for (auto& [address, target] : targets_) {
    if (LeadsTo(address, target, info)) MarkConnected(target, info.key);
  }
}

void DialPlan::OnPeerDisconnected(Time now, const PeerInfo& info,
                                  const PeerDisconnected& disconnected) {
  const auto it = connected_.find(info.key);
  if (it == connected_.end()) return;
  const bool anew = IsRestart(disconnected.reason) || now - it->second.since > limits_.redial_max;
  connected_.erase(it);
  HurryNamesOf(info.key);
  const bool by_us = disconnected.reason == CloseReason::kBanned && !disconnected.by_peer;
  const bool refused = IsRefusal(disconnected.reason) && !by_us;
  const Duration extra = refused ? kRefusedBackoff : disconnected.redial_after;
  // One wait for all its addresses, so that those of one family come first (R9).
  uint32_t failures = 0;
  bool raced = false;
  for (const auto& [address, target] : targets_) {
    if (target.connected != info.key) continue;
    failures = std::max(failures, anew ? 0 : target.failures);
    raced = raced || (!target.left_at && address.is_v4() == info.address.is_v4());
  }
  const Duration wait =
      BackoffWithFullJitter(limits_.redial_min, limits_.redial_max, failures, random_);
  for (auto& [address, target] : targets_) {
    if (target.connected != info.key) continue;
    target.connected.reset();
    target.last_reason = disconnected.reason;
    target.failures = IsRestart(disconnected.reason) ? 0 : failures + 1;
    const bool later = raced && address.is_v4() != info.address.is_v4();
    target.next = now + wait + extra + (later ? kOtherFamilyAfter : Duration{});
    if (target.left_at) target.left_at = now;
  }
  Leave(now);
}

void DialPlan::OnPeerSilent(Time now, const NodeKey& key, bool silent) {
  const auto it = connected_.find(key);
  if (it == connected_.end() || it->second.silent == silent) return;
  it->second.silent = silent;
  if (silent) HurryNamesOf(key);
  for (auto& [address, target] : targets_) {
    if (!silent) {
      if (LeadsTo(address, target, it->second.info)) MarkConnected(target, key);
    } else if (target.connected == key && !IsThere(key, address)) {
      target.connected.reset();
      target.next = now;
    }
  }
}

void DialPlan::OnPeerMoved(const NodeKey& key, const SocketAddress& address) {
  const auto it = connected_.find(key);
  if (it != connected_.end()) it->second.info.address = address;
}

const DialPlan::Target* DialPlan::Match(const PeerInfo& info) const {
  for (const auto& [address, target] : targets_) {
    if (target.left_at && target.connected != info.key) continue;
    if (LeadsTo(address, target, info)) return &target;
  }
  return nullptr;
}

bool DialPlan::IsConfigured(const PeerInfo& info) const {
  return pins_.contains(info.key) || Match(info) != nullptr;
}

std::optional<AddressSource> DialPlan::SourceOf(const SocketAddress& address) const {
  const auto it = targets_.find(address);
  if (it == targets_.end()) return std::nullopt;
  switch (it->second.given.source) {
    case PeerEntrySource::kFile:
      return AddressSource::kFile;
    case PeerEntrySource::kCore:
      return AddressSource::kCore;
    case PeerEntrySource::kOperator:
      return AddressSource::kOperator;
  }
  return std::nullopt;
}

bool DialPlan::IsPinned(const NodeKey& key) const { return pins_.contains(key); }

bool DialPlan::IsPreferred(const PeerInfo& info) const {
  const auto pin = pins_.find(info.key);
  if (pin != pins_.end() && pin->second) return true;
  const Target* target = Match(info);
  return target != nullptr && target->given.preferred;
}

// ---- time -------------------------------------------------------------------------------------

std::optional<Time> DialPlan::NextDeadline() const {
  if (stopped_) return std::nullopt;
  Time next = kTimeNever;
  if (dials_open_ < kDialsOpenMax) {
    for (const auto& [address, target] : targets_) {
      if (!target.left_at) next = std::min(next, target.next);
    }
    if (batch_begun_ >= kDialsPerBatch) next = std::max(next, batch_ends_);
  }
  next = std::min({next, next_sweep_, names_.NextDeadline().value_or(kTimeNever)});
  return next == kTimeNever ? std::nullopt : std::optional<Time>(next);
}

void DialPlan::OnDeadline(Time now, ActionList& out) {
  if (stopped_) return;
  names_.OnDeadline(now, out);
  if (next_sweep_ <= now) {
    Leave(now);
    next_sweep_ = targets_.empty() ? kTimeNever : now + kSweepEvery;
    DialAgain(now);
  }
  DialDue(now, out);
}

void DialPlan::DialAgain(Time now) {
  for (auto& [address, target] : targets_) {
    if (target.next == kTimeNever && !target.left_at) target.next = now;
  }
}

size_t DialPlan::target_count() const {
  return static_cast<size_t>(std::count_if(targets_.begin(), targets_.end(), [](const auto& item) {
    return !item.second.left_at || item.second.connected;
  }));
}

void DialPlan::CheckInvariants() const {
  size_t left = 0;
  size_t dialling = 0;
  for (const auto& [address, target] : targets_) {
    OVERLAY_CHECK(!target.connected || connected_.contains(*target.connected));
    OVERLAY_CHECK(!target.self_until || !target.dialling);
    OVERLAY_CHECK(!target.left_at || !target.given.ways.empty() || target.dialling);
    left += target.left_at && !target.connected && !target.dialling ? 1 : 0;
    dialling += target.dialling ? 1 : 0;
  }
  OVERLAY_CHECK(left <= kLeftCountMax);
  OVERLAY_CHECK(dialling <= dials_open_);
  for (const auto& entries : entries_) OVERLAY_CHECK(entries.size() <= kEntryCountMax);
  names_.CheckInvariants();
}

}  // namespace overlay::flood
