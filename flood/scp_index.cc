#include "flood/scp_index.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::flood {

ScpEntry* ScpIndex::Find(const EnvelopeHash& hash) {
  const auto found = by_hash_.find(hash);
  return found == by_hash_.end() ? nullptr : found->second.get();
}

ScpEntry* ScpIndex::FindById(uint64_t id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

ScpEntry& ScpIndex::Add(const EnvelopeHash& hash, const ScpKey& key, const SetHash& quorum_set) {
  auto entry = std::make_unique<ScpEntry>();
  entry->hash = hash;
  entry->key = key;
  entry->quorum_set = quorum_set;
  entry->id = ++last_id_;
  ScpEntry& added = *entry;
  const bool is_new = by_hash_.emplace(hash, std::move(entry)).second;
  OVERLAY_CHECK(is_new);
  by_id_.emplace(added.id, &added);
  filed_.emplace(Filed{key.slot, added.id}, &added);
  return added;
}

void ScpIndex::Remove(ScpEntry& entry) {
  OVERLAY_CHECK(entry.keepers == 0 && !entry.is_state && entry.body.empty());
  filed_.erase(Filed{entry.key.slot, entry.id});
  by_id_.erase(entry.id);
  by_hash_.erase(EnvelopeHash(entry.hash));  // by copy: the entry goes with it
}

void ScpIndex::SetBody(ScpEntry& entry, const Bytes& body) {
  if (!entry.body.empty()) return;
  entry.body = body;
  ++quorum_sets_[entry.quorum_set];
}

void ScpIndex::DropBody(ScpEntry& entry) {
  if (entry.body.empty()) return;
  entry.body = Bytes();
  const auto count = quorum_sets_.find(entry.quorum_set);
  OVERLAY_CHECK(count != quorum_sets_.end());
  if (--count->second == 0) quorum_sets_.erase(count);
}

ScpEntry* ScpIndex::FirstFrom(LedgerSeq slot) const {
  const auto first = filed_.lower_bound(Filed{slot, 0});
  return first == filed_.end() ? nullptr : first->second;
}

uint32_t ScpIndex::MarkOf(const ScpEntry& entry, PeerOrdinal peer) {
  for (uint32_t mark : entry.marks) {
    if (mark >> kMarkBits == peer) return mark & ((1u << kMarkBits) - 1);
  }
  return 0;
}

void ScpIndex::SetMark(ScpEntry& entry, PeerOrdinal peer, uint32_t bits) {
  for (uint32_t& mark : entry.marks) {
    if (mark >> kMarkBits == peer) {
      mark |= bits;
      return;
    }
  }
  if (entry.marks.size() == entry.marks.capacity()) {
    std::erase_if(entry.marks,
                  [this](uint32_t mark) { return !live_.contains(mark >> kMarkBits); });
  }
  entry.marks.push_back(peer << kMarkBits | bits);
}

void ScpIndex::ClearMark(ScpEntry& entry, PeerOrdinal peer, uint32_t bits) {
  for (uint32_t& mark : entry.marks) {
    if (mark >> kMarkBits == peer) mark &= ~bits;
  }
}

void ScpIndex::CheckInvariants() const {
  OVERLAY_CHECK(by_hash_.size() == by_id_.size() && by_hash_.size() == filed_.size());
  absl::flat_hash_map<SetHash, uint32_t> named;
  for (const auto& [hash, entry] : by_hash_) {
    OVERLAY_CHECK(entry->hash == hash);
    OVERLAY_CHECK(entry->seen || entry->broadcast_session != 0);
    OVERLAY_CHECK(entry->keepers == 0 || entry->seen);
    OVERLAY_CHECK(!entry->is_state || entry->broadcast_session != 0);
    OVERLAY_CHECK(entry->body.empty() == (entry->keepers == 0 && !entry->is_state));
    if (!entry->body.empty()) ++named[entry->quorum_set];
  }
  OVERLAY_CHECK(named == quorum_sets_);
}

}  // namespace overlay::flood
