#include "flood/tx_memory.h"

#include "flood/base/check.h"

namespace overlay::flood {

std::optional<TxFate> TxMemory::Find(const TxHash& hash) const {
  for (const Generation* generation : {&externalized_, &refused_}) {
    const auto it = generation->fates.find(hash);
    if (it != generation->fates.end() && !IsOver(it->second.ledger)) return it->second.fate;
  }
  if (later_.contains(hash)) return TxFate::kLater;
  return std::nullopt;
}

void TxMemory::Remember(const TxHash& hash, TxFate fate) {
  switch (fate) {
    case TxFate::kExternalized:
      Forget(hash);
      Add(externalized_, hash, fate);
      return;
    case TxFate::kMalformed:
    case TxFate::kStale:
    case TxFate::kAged:
      Add(refused_, hash, fate);
      return;
    case TxFate::kLater:
      if (later_.size() < kTxLaterCountMax) later_.insert(hash);
      return;
  }
}

void TxMemory::Forget(const TxHash& hash) {
  refused_.fates.erase(hash);
  later_.erase(hash);
}

void TxMemory::OnLedgerClosed(LedgerSeq closed) {
  if (closed <= newest_closed_) return;
  if (newest_closed_.value == 0) {
    for (Generation* generation : {&externalized_, &refused_}) {
      for (Item& item : generation->items) item.ledger = closed;
      for (auto& [hash, known] : generation->fates) known.ledger = closed;
    }
  }
  newest_closed_ = closed;
  later_.clear();
}

bool TxMemory::IsOver(LedgerSeq ledger) const { return ledger + ledgers_ < newest_closed_; }

bool TxMemory::HasOver(const Generation& generation) const {
  return !generation.items.empty() && IsOver(generation.items.front().ledger);
}

bool TxMemory::has_over() const { return HasOver(externalized_) || HasOver(refused_); }

void TxMemory::DropOver(size_t count) {
  for (Generation* generation : {&externalized_, &refused_}) {
    for (; count > 0 && HasOver(*generation); --count) PopFront(*generation);
  }
}

void TxMemory::Add(Generation& generation, const TxHash& hash, TxFate fate) {
  // The first time counts: else a peer could keep a refusal alive for ever.
  const Known known{fate, newest_closed_, next_number_};
  const auto [it, inserted] = generation.fates.try_emplace(hash, known);
  if (!inserted && !IsOver(it->second.ledger)) {
    it->second.fate = fate;
    return;
  }
  it->second = known;
  generation.items.push_back({hash, newest_closed_, next_number_});
  ++next_number_;
  while (generation.items.size() > count_max_) PopFront(generation);
}

void TxMemory::PopFront(Generation& generation) {
  const Item& item = generation.items.front();
  const auto it = generation.fates.find(item.hash);
  if (it != generation.fates.end() && it->second.number == item.number) generation.fates.erase(it);
  generation.items.pop_front();
}

void TxMemory::CheckInvariants() const {
  for (const Generation* generation : {&externalized_, &refused_}) {
    OVERLAY_CHECK(generation->items.size() <= count_max_);
    size_t alive = 0;
    const Item* before = nullptr;
    for (const Item& item : generation->items) {
      OVERLAY_CHECK(before == nullptr ||
                    (before->ledger <= item.ledger && before->number < item.number));
      const auto it = generation->fates.find(item.hash);
      const bool ends = it != generation->fates.end() && it->second.number == item.number;
      OVERLAY_CHECK(!ends || it->second.ledger == item.ledger);
      alive += ends;
      before = &item;
    }
    OVERLAY_CHECK(alive == generation->fates.size());
  }
  OVERLAY_CHECK(later_.size() <= kTxLaterCountMax);
}

}  // namespace overlay::flood
