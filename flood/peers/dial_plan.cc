#include "flood/peers/dial_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/peers/backoff.h"

namespace overlay::flood {

DialPlan::DialPlan(const Limits& limits, const NodeKey& self, uint16_t default_port, Random random,
                   PeerStats& stats)
    : limits_(limits), self_(self), default_port_(default_port), random_(random), stats_(stats) {}

// ---- the configured set -----------------------------------------------------------------------

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
    std::string refusal = Refusal(peer);
    if (refusal.empty() && entries.size() >= kEntryCountMax) {
      refusal = fmt::format("\"{}\": over the limit of {} entries", peer.text, kEntryCountMax);
    }
    if (refusal.empty()) {
      const uint16_t port = peer.port.value_or(default_port_);
      entries.push_back({peer, port, SocketAddress::ParseIp(peer.host, port).ok()});
    }
    answer.refusals.push_back(std::move(refusal));
  }
  const bool sound = std::all_of(answer.refusals.begin(), answer.refusals.end(),
                                 [](const std::string& refusal) { return refusal.empty(); });
  if (!sound) {
    out.push_back(CoreOutput(std::move(answer)));
    return;
  }
  // Who was configured before and is no longer, as connected peers.
  std::vector<NodeKey> before;
  for (const auto& [address, target] : targets_) {
    if (target.connected) before.push_back(*target.connected);
  }
  entries_[static_cast<size_t>(configure.source)] = std::move(entries);
  Rebuild(now, out);
  if (configure.disconnect_removed) {
    for (const NodeKey& key : before) {
      const bool still = std::any_of(targets_.begin(), targets_.end(), [&](const auto& entry) {
        return entry.second.connected == key;
      });
      if (!still) removed_.push_back(key);
    }
  }
  out.push_back(CoreOutput(std::move(answer)));
}

void DialPlan::Connect(Time now, const OperatorConnect& connect, ActionList& out) {
  std::vector<Entry>& entries = entries_[static_cast<size_t>(PeerEntrySource::kOperator)];
  const bool there = std::any_of(entries.begin(), entries.end(), [&](const Entry& entry) {
    return entry.peer.host == connect.entry.host && entry.peer.port == connect.entry.port;
  });
  ConfigurePeers configure{.source = PeerEntrySource::kOperator, .entries = {}};
  for (const Entry& entry : entries) configure.entries.push_back(entry.peer);
  if (!there) configure.entries.push_back(connect.entry);
  ActionList actions;
  Configure(now, configure, actions);
  for (Action& action : actions) {
    // The answer concerns the one entry that was asked for.
    auto* output = std::get_if<CoreOutput>(&action);
    auto* answer = output ? std::get_if<PeersConfigured>(output) : nullptr;
    if (answer != nullptr) {
      const std::string refusal = there ? "" : answer->refusals.back();
      answer->refusals = {refusal};
    }
    out.push_back(std::move(action));
  }
}

void DialPlan::Forget(const NodeKey& key, ActionList& out) {
  std::vector<Entry>& entries = entries_[static_cast<size_t>(PeerEntrySource::kOperator)];
  std::erase_if(entries, [&](const Entry& entry) {
    if (entry.peer.pinned_key == key) return true;
    return std::any_of(targets_.begin(), targets_.end(), [&](const auto& item) {
      const Target& target = item.second;
      if (target.last_key != key) return false;
      return entry.literal
                 ? SocketAddress::ParseIp(entry.peer.host, entry.port).value() == item.first
                 : target.host == entry.peer.host;
    });
  });
  Rebuild(Time{}, out);  // removing entries begins no dial
}

void DialPlan::Rebuild(Time now, ActionList& out) {
  absl::btree_set<std::string> hosts;
  absl::btree_set<SocketAddress> wanted;
  const size_t count_before = targets_.size();
  for (const auto& entries : entries_) {
    for (const Entry& entry : entries) {
      if (entry.literal) {
        AddTarget(now, entry, SocketAddress::ParseIp(entry.peer.host, entry.port).value(), wanted);
        continue;
      }
      hosts.insert(entry.peer.host);
      for (SocketAddress address : names_[entry.peer.host].addresses) {
        address.port = entry.port;
        AddTarget(now, entry, address, wanted);
      }
    }
  }
  absl::erase_if(names_, [&](const auto& item) { return !hosts.contains(item.first); });
  bool changed = targets_.size() > count_before;
  for (auto& [address, target] : targets_) {
    const bool given = wanted.contains(address);
    changed = changed || given != target.given;
    target.given = given;
  }
  absl::erase_if(targets_, [this](const auto& item) {
    const auto& [address, target] = item;
    return !target.given && !(target.connected && EntryOfName(address, target) != nullptr);
  });
  if (changed) {
    ConfiguredAddresses configured;
    configured.addresses.assign(wanted.begin(), wanted.end());
    out.emplace_back(PeerCommand(std::move(configured)));
  }
  for (auto& [host, name] : names_) {
    if (!name.asked) Resolve(now, host, name, out);
  }
  if (next_sweep_ == kTimeNever && !targets_.empty()) next_sweep_ = now + kSweepEvery;
}

// The entry with this name and port, whether or not the name gives the address now.
const DialPlan::Entry* DialPlan::EntryOfName(const SocketAddress& address,
                                             const Target& target) const {
  for (const auto& entries : entries_) {
    for (const Entry& entry : entries) {
      if (!entry.literal && entry.peer.host == target.host && entry.port == address.port) {
        return &entry;
      }
    }
  }
  return nullptr;
}

void DialPlan::AddTarget(Time now, const Entry& entry, const SocketAddress& address,
                         absl::btree_set<SocketAddress>& wanted) {
  const bool first_mention = wanted.insert(address).second;
  auto [it, inserted] = targets_.try_emplace(address);
  Target& target = it->second;
  if (first_mention) target.preferred = false;
  target.preferred = target.preferred || entry.peer.preferred;
  if (entry.peer.pinned_key) target.pinned_key = entry.peer.pinned_key;
  if (!entry.literal) target.host = entry.peer.host;
  if (!inserted) return;
  target.next = now;  // at once, by the next deadline
  for (const auto& [key, info] : connected_) {
    if (LeadsTo(address, target, info)) MarkConnected(now, target, key);
  }
}

// ---- names ------------------------------------------------------------------------------------

void DialPlan::Resolve(Time now, const std::string& host, Name& name, ActionList& out) {
  if (stopped_) return;
  name.asked = true;
  name.last_asked = now;
  name.next = kTimeNever;
  out.push_back(ResolveHost{host});
}

void DialPlan::OnResolved(Time now, const std::string& host,
                          const absl::StatusOr<std::vector<SocketAddress>>& addresses,
                          ActionList& out) {
  auto it = names_.find(host);
  if (it == names_.end()) return;
  Name& name = it->second;
  if (!addresses.ok() || addresses->empty()) {
    const Duration wait =
        kResolveBackoffMin + BackoffWithFullJitter(kResolveBackoffMin,
                                                   kResolveBackoffMax - kResolveBackoffMin,
                                                   name.failures++, random_);
    name.next = now + wait;
    return;
  }
  name.failures = 0;
  std::vector<SocketAddress> sorted = *addresses;
  for (SocketAddress& address : sorted) address.port = 0;
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  if (sorted.size() > kAddressesPerNameMax) sorted.resize(kAddressesPerNameMax);
  name.addresses = std::move(sorted);
  Rebuild(now, out);
}

// ---- dials ------------------------------------------------------------------------------------

void DialPlan::DialNow(const SocketAddress& address, Target& target, ActionList& out) {
  target.next = kTimeNever;
  if (stopped_ || target.self || target.dialling || target.connected) return;
  if (target.pinned_key && KeyIsConnected(*target.pinned_key)) return;
  if (target.last_key && KeyIsConnected(*target.last_key)) return;
  target.dialling = DialId{next_dial_++};
  ++stats_.dials;
  ++stats_.dialling;
  out.push_back(PeerCommand(Dial{*target.dialling, address, target.pinned_key}));
}

void DialPlan::Fail(Time now, Target& target, Duration extra, ActionList& out) {
  const Duration wait =
      BackoffWithFullJitter(limits_.redial_min, limits_.redial_max, target.failures, random_);
  ++target.failures;
  target.next = now + wait + extra;
  if (target.failures < 3 || target.host.empty()) return;
  auto name = names_.find(target.host);
  if (name == names_.end() || now - name->second.last_asked < kResolveEvery) return;
  Resolve(now, target.host, name->second, out);
}

void DialPlan::OnDialEnded(Time now, const DialEnded& ended, ActionList& out) {
  --stats_.dialling;
  if (ended.reason != CloseReason::kNone) ++stats_.dials_failed;
  auto it = targets_.find(ended.address);
  if (it == targets_.end() || it->second.dialling != ended.dial) return;  // no longer configured
  Target& target = it->second;
  target.dialling.reset();
  if (ended.reason != CloseReason::kNone) target.last_reason = ended.reason;
  if (ended.key) target.last_key = ended.key;
  if (ended.reason == CloseReason::kSelf) {
    target.self = true;
    return;
  }
  const bool led_to_peer =
      ended.reason == CloseReason::kNone || ended.reason == CloseReason::kDuplicate;
  if (led_to_peer && ended.key && KeyIsConnected(*ended.key)) {
    MarkConnected(now, target, *ended.key);
    return;
  }
  Fail(now, target, ended.reason == CloseReason::kKeyShared ? kKeySharedBackoff : Duration{}, out);
}

void DialPlan::MarkConnected(Time now, Target& target, const NodeKey& key) {
  target.connected = key;
  target.last_key = key;
  target.connected_at = now;
  target.next = kTimeNever;
}

bool DialPlan::LeadsTo(const SocketAddress& address, const Target& target, const PeerInfo& info) {
  if (target.pinned_key) return target.pinned_key == info.key;
  if (target.last_key == info.key) return true;
  // An accepted peer is known by where it listens, not by the port it happened to dial from.
  const uint16_t port = info.inbound ? info.listen_port : info.address.port;
  return address.ip == info.address.ip && address.port == port && port != 0;
}

void DialPlan::OnPeerConnected(Time now, const PeerInfo& info) {
  connected_.insert_or_assign(info.key, info);
  for (auto& [address, target] : targets_) {
    if (LeadsTo(address, target, info)) MarkConnected(now, target, info.key);
  }
}

void DialPlan::OnPeerDisconnected(Time now, const PeerInfo& info,
                                  const PeerDisconnected& disconnected) {
  connected_.erase(info.key);
  absl::erase_if(targets_, [&](const auto& item) {
    return item.second.connected == info.key && !item.second.given;
  });
  for (auto& [address, target] : targets_) {
    if (target.connected != info.key) continue;
    target.connected.reset();
    target.last_reason = disconnected.reason;
    if (now - target.connected_at > limits_.redial_max) target.failures = 0;
    const Duration extra = disconnected.reason == CloseReason::kKeyShared
                               ? kKeySharedBackoff
                               : disconnected.redial_after;
    const Duration wait =
        BackoffWithFullJitter(limits_.redial_min, limits_.redial_max, target.failures, random_);
    ++target.failures;
    target.next = now + wait + extra;
  }
}

const DialPlan::Target* DialPlan::Match(const PeerInfo& info) const {
  for (const auto& [address, target] : targets_) {
    if (LeadsTo(address, target, info)) return &target;
  }
  return nullptr;
}

bool DialPlan::IsConfigured(const PeerInfo& info) const { return Match(info) != nullptr; }

bool DialPlan::IsPreferred(const PeerInfo& info) const {
  const Target* target = Match(info);
  return target != nullptr && target->preferred;
}

// ---- for people -------------------------------------------------------------------------------

void DialPlan::Describe(std::vector<PeerView>& views) const {
  absl::btree_map<NodeKey, size_t> connected;
  for (size_t i = 0; i < views.size(); ++i) {
    if (views[i].key) connected.emplace(*views[i].key, i);
  }
  absl::btree_map<SocketAddress, const Entry*> entry_of;
  for (const auto& entries : entries_) {
    for (const Entry& entry : entries) {
      if (entry.literal) {
        entry_of.emplace(SocketAddress::ParseIp(entry.peer.host, entry.port).value(), &entry);
        continue;
      }
      const Name& name = names_.at(entry.peer.host);
      for (SocketAddress address : name.addresses) {
        address.port = entry.port;
        entry_of.emplace(address, &entry);
      }
      if (!name.addresses.empty()) continue;
      PeerView& view = views.emplace_back();
      view.state =
          name.next == kTimeNever ? PeerView::State::kResolving : PeerView::State::kWaiting;
      view.key = entry.peer.pinned_key;
      view.configured = entry.peer.text;
      view.preferred = entry.peer.preferred;
      if (name.next != kTimeNever) view.next_try = name.next;
      view.failures = name.failures;
      view.not_resolved = name.failures > 0;
    }
  }
  for (const auto& [address, target] : targets_) {
    const auto peer = target.connected ? connected.find(*target.connected) : connected.end();
    const bool is_connected = peer != connected.end();
    PeerView& view = is_connected ? views[peer->second] : views.emplace_back();
    const auto given = entry_of.find(address);
    const Entry* entry = given != entry_of.end() ? given->second : EntryOfName(address, target);
    if (entry != nullptr && view.configured.empty()) view.configured = entry->peer.text;
    view.preferred = view.preferred || target.preferred;
    if (target.last_reason) view.last_reason = target.last_reason;
    if (is_connected) continue;
    view.state = target.dialling ? PeerView::State::kDialling : PeerView::State::kWaiting;
    view.key = target.pinned_key ? target.pinned_key : target.last_key;
    view.address = address;
    if (target.next != kTimeNever) view.next_try = target.next;
    view.failures = target.failures;
  }
}

// ---- time -------------------------------------------------------------------------------------

std::optional<Time> DialPlan::NextDeadline() const {
  if (stopped_) return std::nullopt;
  Time next = next_sweep_;
  for (const auto& [address, target] : targets_) next = std::min(next, target.next);
  for (const auto& [host, name] : names_) next = std::min(next, name.next);
  return next == kTimeNever ? std::nullopt : std::optional<Time>(next);
}

void DialPlan::OnDeadline(Time now, ActionList& out) {
  if (stopped_) return;
  const bool sweep = next_sweep_ <= now;
  if (sweep) next_sweep_ = targets_.empty() ? kTimeNever : now + kSweepEvery;
  for (auto& [host, name] : names_) {
    if (name.next <= now) Resolve(now, host, name, out);
  }
  for (auto& [address, target] : targets_) {
    if (target.next <= now || (sweep && target.next == kTimeNever)) DialNow(address, target, out);
  }
}

void DialPlan::CheckInvariants() const {
  for (const auto& [address, target] : targets_) {
    OVERLAY_CHECK(!target.connected || connected_.contains(*target.connected));
    OVERLAY_CHECK(!target.self || !target.dialling);
    OVERLAY_CHECK(target.given || target.connected);
  }
  for (const auto& entries : entries_) OVERLAY_CHECK(entries.size() <= kEntryCountMax);
}

}  // namespace overlay::flood
