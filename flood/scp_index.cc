#include "flood/scp_index.h"

#include <algorithm>
#include <utility>

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
  Uncharge(entry);
  filed_.erase(Filed{entry.key.slot, entry.id});
  by_id_.erase(entry.id);
  by_hash_.erase(EnvelopeHash(entry.hash));  // by copy: the entry goes with it
}

void ScpIndex::SetBody(ScpEntry& entry, const Bytes& body) {
  if (!entry.body.empty()) return;
  entry.body = body;
  body_bytes_ += body.size();
  ++quorum_sets_[entry.quorum_set];
}

void ScpIndex::DropBody(ScpEntry& entry) {
  if (entry.body.empty()) return;
  body_bytes_ -= entry.body.size();
  entry.body = Bytes();
  const auto count = quorum_sets_.find(entry.quorum_set);
  OVERLAY_CHECK(count != quorum_sets_.end());
  if (--count->second == 0) quorum_sets_.erase(count);
}

ScpEntry* ScpIndex::FirstFrom(LedgerSeq slot) const {
  const auto first = filed_.lower_bound(Filed{slot, 0});
  return first == filed_.end() ? nullptr : first->second;
}

// ---- charges

void ScpIndex::SetConnected(const NodeKey& sender, bool connected) {
  auto known = account_of_.find(sender);
  if (known == account_of_.end()) {
    if (!connected) return;
    known = account_of_.emplace(sender, ++last_account_).first;
    accounts_[known->second].sender = sender;
    return;
  }
  const uint32_t id = known->second;
  Account& account = accounts_.at(id);
  if (account.connected == connected) return;
  const size_t weight = account.entries.size();
  if (weight > 0) {
    WeightsOf(account).erase({weight, id});
    gone_count_ += connected ? -weight : weight;
  }
  account.connected = connected;
  Reweigh(id, 0);
}

void ScpIndex::Reweigh(uint32_t id, size_t weight_before) {
  const Account& account = accounts_.at(id);
  Weights& weights = WeightsOf(account);
  if (weight_before > 0) weights.erase({weight_before, id});
  if (!account.entries.empty()) {
    weights.emplace(account.entries.size(), id);
  } else if (!account.connected) {
    account_of_.erase(account.sender);
    accounts_.erase(id);
  }
}

void ScpIndex::Charge(ScpEntry& entry, const NodeKey& sender) {
  OVERLAY_CHECK(entry.account == 0);
  entry.account = account_of_.at(sender);
  Account& account = accounts_.at(entry.account);
  OVERLAY_CHECK(account.connected);
  account.entries.insert(Filed{entry.key.slot, entry.id});
  Reweigh(entry.account, account.entries.size() - 1);
}

void ScpIndex::Uncharge(ScpEntry& entry) {
  if (entry.account == 0) return;
  const uint32_t id = std::exchange(entry.account, 0);
  Account& account = accounts_.at(id);
  account.entries.erase(Filed{entry.key.slot, entry.id});
  if (!account.connected) --gone_count_;
  Reweigh(id, account.entries.size() + 1);
}

ScpEntry& ScpIndex::Victim() const {
  const size_t heaviest = connected_weights_.empty() ? 0 : connected_weights_.rbegin()->first;
  if (heaviest == 0 && gone_count_ == 0) return *filed_.begin()->second;
  const Weights& weights = gone_count_ > heaviest ? gone_weights_ : connected_weights_;
  return *filed_.at(*accounts_.at(weights.rbegin()->second).entries.begin());
}

// ---- marks

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
  size_t charged_by_entries = 0;
  size_t body_bytes = 0;
  for (const auto& [hash, entry] : by_hash_) {
    OVERLAY_CHECK(entry->hash == hash);
    OVERLAY_CHECK(entry->seen || entry->broadcast_session != 0);
    OVERLAY_CHECK(entry->keepers == 0 || entry->seen);
    OVERLAY_CHECK(!entry->is_state || entry->broadcast_session != 0);
    OVERLAY_CHECK(entry->body.empty() == (entry->keepers == 0 && !entry->is_state));
    if (!entry->body.empty()) ++named[entry->quorum_set];
    body_bytes += entry->body.size();
    OVERLAY_CHECK((entry->account != 0) == (entry->seen && entry->broadcast_session == 0));
    charged_by_entries += entry->account != 0 ? 1 : 0;
  }
  OVERLAY_CHECK(named == quorum_sets_);
  OVERLAY_CHECK(body_bytes == body_bytes_);
  size_t charged = 0;
  size_t gone = 0;
  for (const auto& [id, account] : accounts_) {
    OVERLAY_CHECK(account_of_.at(account.sender) == id);
    OVERLAY_CHECK(account.connected || !account.entries.empty());
    for (const Filed& filed : account.entries) OVERLAY_CHECK(filed_.at(filed)->account == id);
    const Weights& weights = account.connected ? connected_weights_ : gone_weights_;
    OVERLAY_CHECK(account.entries.empty() || weights.contains({account.entries.size(), id}));
    charged += account.entries.size();
    gone += account.connected ? 0 : account.entries.size();
  }
  OVERLAY_CHECK(charged == charged_by_entries && gone == gone_count_);
}

}  // namespace overlay::flood
