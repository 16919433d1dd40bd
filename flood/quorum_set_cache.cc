#include "flood/quorum_set_cache.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {

QuorumSetCache::Entry& QuorumSetCache::Insert(const SetHash& hash, Bytes bytes) {
  auto [it, inserted] = entries_.try_emplace(hash);
  if (inserted) {
    bytes_ += bytes.size();
    it->second.bytes = std::move(bytes);
    it->second.order = next_order_++;
  }
  return it->second;
}

void QuorumSetCache::InsertOffered(const SetHash& hash, Bytes bytes) {
  Insert(hash, std::move(bytes)).offered = true;
  Shrink();
}

void QuorumSetCache::InsertFetched(const SetHash& hash, Bytes bytes, LedgerSeq named_for) {
  Entry& entry = Insert(hash, std::move(bytes));
  entry.named_for = std::max(entry.named_for, named_for);
  Shrink();
}

void QuorumSetCache::OnNamed(const SetHash& hash, LedgerSeq slot) {
  auto it = entries_.find(hash);
  if (it != entries_.end()) it->second.named_for = std::max(it->second.named_for, slot);
}

const Bytes* QuorumSetCache::Find(const SetHash& hash) const {
  auto it = entries_.find(hash);
  return it == entries_.end() ? nullptr : &it->second.bytes;
}

void QuorumSetCache::OnWindowMoved() {
  for (auto it = entries_.begin(); it != entries_.end();) {
    const Entry& entry = it->second;
    if (entry.offered || window_.IsKept(entry.named_for)) {
      ++it;
    } else {
      bytes_ -= entry.bytes.size();
      it = entries_.erase(it);
    }
  }
}

void QuorumSetCache::OnCoreDetached() {
  for (auto& [hash, entry] : entries_) {
    if (!entry.offered) continue;
    entry.offered = false;
    // Peers may still ask for it while the core is away: it lives as the newest slot does.
    entry.named_for = std::max(entry.named_for, window_.newest_closed());
  }
}

std::vector<QuorumSetCache::Listed> QuorumSetCache::List() const {
  std::vector<Listed> list;
  list.reserve(entries_.size());
  for (const auto& [hash, entry] : entries_) list.push_back({hash, entry.named_for});
  return list;
}

void QuorumSetCache::Shrink() {
  while (entries_.size() > limits_.quorum_set_count_max) {
    const auto victim =
        std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
          return std::pair(a.second.offered, a.second.order) <
                 std::pair(b.second.offered, b.second.order);
        });
    bytes_ -= victim->second.bytes.size();
    entries_.erase(victim);
  }
}

void QuorumSetCache::CheckInvariants() const {
  size_t bytes = 0;
  for (const auto& [hash, entry] : entries_) bytes += entry.bytes.size();
  OVERLAY_CHECK(bytes == bytes_);
  OVERLAY_CHECK(entries_.size() <= limits_.quorum_set_count_max);
}

}  // namespace overlay::flood
