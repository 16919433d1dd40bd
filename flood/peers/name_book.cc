#include "flood/peers/name_book.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/peers/backoff.h"

namespace overlay::flood {
namespace {

constexpr size_t kErrorBytesMax = 256;

}  // namespace

void NameBook::Keep(Time now, const absl::btree_set<NameId>& names) {
  for (const NameId& id : names) {
    auto [it, inserted] = names_.try_emplace(id);
    if (!inserted) continue;
    it->second.next = now;
    // A name that went and came back while its look-up was open takes that one's answer.
    if (gone_.erase(id) > 0) {
      it->second.open = true;
      it->second.last_asked = now;
      it->second.next = kTimeNever;
      ++open_;
    }
  }
  absl::erase_if(names_, [&](const auto& item) {
    if (names.contains(item.first)) return false;
    if (item.second.open) {
      gone_.insert(item.first);
      --open_;
    }
    return true;
  });
  Count();
}

void NameBook::Hurry(const NameId& id) {
  const auto it = names_.find(id);
  if (it == names_.end()) return;
  Name& name = it->second;
  if (name.open || name.failures > 0 || !name.last_asked) return;
  name.next = std::min(name.next, *name.last_asked + kResolveEvery);
}

bool NameBook::OnResolved(Time now, const NameId& id,
                          const absl::StatusOr<ResolvedHost>& resolved) {
  gone_.erase(id);
  const auto it = names_.find(id);
  if (it == names_.end() || !it->second.open) return false;
  Name& name = it->second;
  name.open = false;
  --open_;
  if (!resolved.ok() || resolved->addresses.empty()) {
    const bool none = resolved.ok() || absl::IsNotFound(resolved.status());
    ++(none ? stats_.not_found : stats_.failed);
    name.error = resolved.ok() ? "no addresses" : std::string(resolved.status().message());
    name.error.resize(std::min(name.error.size(), kErrorBytesMax));
    const Duration wait =
        kResolveBackoffMin + BackoffWithFullJitter(kResolveBackoffMin,
                                                   kResolveBackoffMax - kResolveBackoffMin,
                                                   name.failures++, random_);
    name.next = now + wait;
    Count();
    return false;
  }
  ++stats_.found;
  name.failures = 0;
  name.error.clear();
  name.ttl = std::clamp(resolved->ttl, kTtlMin, kTtlMax);
  name.next = now + name.ttl + random_.UpTo(name.ttl / 10);
  std::vector<SocketAddress> sorted = resolved->addresses;
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  if (sorted.size() > kAddressesPerNameMax) sorted.resize(kAddressesPerNameMax);
  Count();
  if (sorted == name.addresses) return false;
  name.addresses = std::move(sorted);
  return true;
}

void NameBook::OnDeadline(Time now, ActionList& out) {
  if (stopped_) return;
  if (now >= batch_ends_) batch_begun_ = 0;
  for (auto& [id, name] : names_) {
    if (name.next > now) continue;
    if (is_full() || batch_begun_ >= kLookupsPerBatch) break;
    if (batch_begun_++ == 0) batch_ends_ = now + kBatchPause;
    name.open = true;
    ++open_;
    name.last_asked = now;
    name.next = kTimeNever;
    out.push_back(ResolveHost{id.host, id.services});
  }
  Count();
}

std::optional<Time> NameBook::NextDeadline() const {
  if (stopped_ || is_full()) return std::nullopt;
  Time next = kTimeNever;
  for (const auto& [id, name] : names_) next = std::min(next, name.next);
  if (next == kTimeNever) return std::nullopt;
  return batch_begun_ >= kLookupsPerBatch ? std::max(next, batch_ends_) : next;
}

const std::vector<SocketAddress>& NameBook::AddressesOf(const NameId& id) const {
  static const std::vector<SocketAddress> kNone;
  const auto it = names_.find(id);
  return it == names_.end() ? kNone : it->second.addresses;
}

void NameBook::SetWorked(const NameId& id, bool v4) {
  const auto it = names_.find(id);
  if (it != names_.end()) it->second.v4_first = v4;
}

bool NameBook::IsV4First(const NameId& id) const {
  const auto it = names_.find(id);
  return it != names_.end() && it->second.v4_first;
}

NameView::State NameBook::StateOf(const Name& name) {
  if (name.open || !name.last_asked) return NameView::State::kAsking;
  return name.failures > 0 ? NameView::State::kFailed : NameView::State::kOk;
}

std::vector<NameView> NameBook::Describe() const {
  std::vector<NameView> views;
  for (const auto& [id, name] : names_) {
    NameView& view = views.emplace_back();
    view.host = id.host;
    view.services = id.services;
    view.state = StateOf(name);
    view.addresses = name.addresses;
    if (!name.addresses.empty()) view.ttl = name.ttl;
    view.error = name.error;
    view.failures = name.failures;
    if (name.next != kTimeNever) view.next_try = name.next;
  }
  return views;
}

void NameBook::Count() {
  stats_.by_state = {};
  for (const auto& [id, name] : names_) ++stats_.by_state[static_cast<size_t>(StateOf(name))];
}

void NameBook::CheckInvariants() const {
  size_t open = 0;
  for (const auto& [id, name] : names_) {
    OVERLAY_CHECK(name.addresses.size() <= kAddressesPerNameMax);
    OVERLAY_CHECK(name.open == (name.next == kTimeNever));
    OVERLAY_CHECK(!name.open || name.last_asked);
    OVERLAY_CHECK(!gone_.contains(id));
    open += name.open ? 1 : 0;
  }
  OVERLAY_CHECK(open == open_);
}

}  // namespace overlay::flood
