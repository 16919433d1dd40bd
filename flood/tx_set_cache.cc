#include "flood/tx_set_cache.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {

void TxSetCache::InsertMember(const SetHash& hash, Bytes bytes, std::optional<LedgerSeq> slot) {
  auto [it, inserted] = entries_.try_emplace(hash);
  Entry& entry = it->second;
  if (!inserted) {
    Promote(entry);
    if (slot && !entry.slot) entry.slot = slot;
    return;
  }
  bytes_ += bytes.size();
  entry.bytes = std::move(bytes);
  entry.slot = slot;
  entry.order = next_order_++;
  ShrinkAll(hash);
}

bool TxSetCache::InsertGuest(const SetHash& hash, Bytes bytes, LedgerSeq named_for, PeerId from) {
  if (entries_.contains(hash)) {
    OnNamed(hash, named_for);
    return true;
  }
  if (bytes.size() > limits_.set_cache_guest_bytes_max) return false;
  Entry& entry = entries_[hash];
  bytes_ += bytes.size();
  entry.bytes = std::move(bytes);
  entry.slot = named_for;
  entry.guest = true;
  entry.from = from;
  AddGuest(entry);
  entry.order = next_order_++;
  ShrinkGuests(hash);
  ShrinkAll(hash);
  return entries_.contains(hash);
}

void TxSetCache::Promote(Entry& entry) {
  if (!entry.guest) return;
  entry.guest = false;
  entry.slot.reset();  // what unjudged envelopes said of the slot binds nothing (R2)
  RemoveGuest(entry);
}

void TxSetCache::AddGuest(const Entry& entry) {
  if (Weight(entry) == 0) return;
  guest_bytes_ += Weight(entry);
  guest_bytes_of_[entry.from] += Weight(entry);
}

void TxSetCache::RemoveGuest(const Entry& entry) {
  if (Weight(entry) == 0) return;
  guest_bytes_ -= Weight(entry);
  auto share = guest_bytes_of_.find(entry.from);
  share->second -= Weight(entry);
  if (share->second == 0) guest_bytes_of_.erase(share);
}

const Bytes* TxSetCache::FindFrame(const SetHash& hash) const {
  auto it = entries_.find(hash);
  return it == entries_.end() || it->second.frame.empty() ? nullptr : &it->second.frame;
}

bool TxSetCache::MayCompress(const SetHash& hash) const {
  auto it = entries_.find(hash);
  return it != entries_.end() && !it->second.is_tried;
}

void TxSetCache::KeepFrame(const SetHash& hash, Bytes frame) {
  auto it = entries_.find(hash);
  if (it == entries_.end() || it->second.is_tried) return;
  Entry& entry = it->second;
  entry.is_tried = true;
  bytes_ += frame.size();
  if (entry.guest) RemoveGuest(entry);
  entry.frame = std::move(frame);
  if (entry.guest) AddGuest(entry);
  ShrinkGuests(hash);
  ShrinkAll(hash);
}

void TxSetCache::DropFrame(Entry& entry) {
  if (entry.guest) RemoveGuest(entry);
  bytes_ -= entry.frame.size();
  entry.frame = Bytes();
  if (entry.guest) AddGuest(entry);
}

bool TxSetCache::DropLeastFrame(bool of_guests_only) {
  Entry* victim = nullptr;
  for (auto& [hash, entry] : entries_) {
    if (entry.frame.empty() || (of_guests_only && !entry.guest)) continue;
    if (victim == nullptr || EvictionRank(entry) < EvictionRank(*victim)) victim = &entry;
  }
  if (victim == nullptr) return false;
  DropFrame(*victim);
  return true;
}

void TxSetCache::Bind(const SetHash& hash, LedgerSeq slot) {
  auto it = entries_.find(hash);
  if (it == entries_.end()) return;
  Promote(it->second);
  if (!it->second.slot) it->second.slot = slot;
}

void TxSetCache::MakeMember(const SetHash& hash) {
  if (auto it = entries_.find(hash); it != entries_.end()) Promote(it->second);
}

void TxSetCache::OnNamed(const SetHash& hash, LedgerSeq slot) {
  auto it = entries_.find(hash);
  if (it == entries_.end() || !it->second.guest) return;
  it->second.slot = std::max(*it->second.slot, slot);
}

void TxSetCache::MarkExternalized(const SetHash& hash) {
  if (auto it = entries_.find(hash); it != entries_.end()) it->second.externalized = true;
}

const Bytes* TxSetCache::Find(const SetHash& hash) const {
  auto it = entries_.find(hash);
  return it == entries_.end() ? nullptr : &it->second.bytes;
}

bool TxSetCache::IsGuest(const SetHash& hash) const {
  auto it = entries_.find(hash);
  return it != entries_.end() && it->second.guest;
}

void TxSetCache::OnWindowMoved() {
  for (auto it = entries_.begin(); it != entries_.end();) {
    const Entry& entry = it->second;
    it = entry.slot && !window_.IsKept(*entry.slot) ? Erase(it) : std::next(it);
  }
}

std::vector<TxSetCache::Listed> TxSetCache::List() const {
  std::vector<Listed> list;
  list.reserve(entries_.size());
  for (const auto& [hash, entry] : entries_)
    list.push_back({hash, entry.slot.value_or(LedgerSeq{})});
  std::stable_sort(list.begin(), list.end(),
                   [](const Listed& a, const Listed& b) { return a.slot > b.slot; });
  return list;
}

TxSetCache::Entries::iterator TxSetCache::Erase(Entries::iterator it) {
  Promote(it->second);  // settles the guests' accounts
  bytes_ -= Weight(it->second);
  return entries_.erase(it);
}

void TxSetCache::ShrinkGuests(const SetHash& inserted) {
  while (guest_bytes_ > limits_.set_cache_guest_bytes_max) {
    if (DropLeastFrame(/*of_guests_only=*/true)) continue;
    const auto heaviest =
        std::max_element(guest_bytes_of_.begin(), guest_bytes_of_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    auto victim = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      const Entry& entry = it->second;
      if (!entry.guest || entry.from != heaviest->first || it->first == inserted) continue;
      if (victim == entries_.end() || entry.order < victim->second.order) victim = it;
    }
    if (victim == entries_.end()) victim = entries_.find(inserted);
    Erase(victim);
  }
}

std::tuple<int, LedgerSeq, uint64_t> TxSetCache::EvictionRank(const Entry& entry) const {
  const LedgerSeq slot = entry.slot.value_or(LedgerSeq{UINT64_MAX});
  const bool closed = slot <= window_.newest_closed();
  const int standing = entry.guest ? 0 : (closed && !entry.externalized ? 1 : 2);
  return {standing, slot, entry.order};
}

TxSetCache::Entries::iterator TxSetCache::Victim(const SetHash* spared) {
  auto victim = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (spared != nullptr && it->first == *spared) continue;
    if (victim == entries_.end() || EvictionRank(it->second) < EvictionRank(victim->second))
      victim = it;
  }
  return victim;
}

void TxSetCache::ShrinkAll(const SetHash& inserted) {
  while (bytes_ > limits_.set_cache_bytes_max) {
    if (DropLeastFrame(/*of_guests_only=*/false)) continue;
    if (entries_.size() == 1) return;
    Erase(Victim(&inserted));
  }
}

size_t TxSetCache::Evict(Evictable which) {
  const size_t before = bytes_;
  if (DropLeastFrame(/*of_guests_only=*/false)) return before - bytes_;
  while (bytes_ == before) {  // an empty one frees nothing
    const auto victim = Victim(nullptr);
    if (victim == entries_.end()) return 0;
    const Entry& entry = victim->second;
    const bool closed = entry.slot && *entry.slot <= window_.newest_closed();
    if (which == Evictable::kOld && !entry.guest && !closed) return 0;
    Erase(victim);
  }
  return before - bytes_;
}

void TxSetCache::Trace(const SetHash& hash, SetTrace& trace) const {
  const auto found = entries_.find(hash);
  if (found == entries_.end()) return;
  trace.slot = found->second.slot;
  trace.guest = found->second.guest;
  trace.externalized = found->second.externalized;
}

void TxSetCache::CheckInvariants() const {
  size_t bytes = 0;
  size_t guest_bytes = 0;
  absl::btree_map<PeerId, size_t> guest_bytes_of;
  for (const auto& [hash, entry] : entries_) {
    bytes += Weight(entry);
    OVERLAY_CHECK(entry.is_tried || entry.frame.empty());
    if (!entry.guest) continue;
    OVERLAY_CHECK(entry.slot.has_value());
    guest_bytes += Weight(entry);
    if (Weight(entry) > 0) guest_bytes_of[entry.from] += Weight(entry);
  }
  OVERLAY_CHECK(bytes == bytes_);
  OVERLAY_CHECK(guest_bytes == guest_bytes_);
  OVERLAY_CHECK(guest_bytes_of == guest_bytes_of_);
  OVERLAY_CHECK(guest_bytes_ <= limits_.set_cache_guest_bytes_max);
  OVERLAY_CHECK(bytes_ <= limits_.set_cache_bytes_max || entries_.size() == 1);
}

}  // namespace overlay::flood
