#include "flood/tx_table.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {

TxIndex TxTable::Add(TxRecord record) {
  const TxIndex index = records_.Allocate();
  const bool inserted = by_hash_.try_emplace(record.hash, index).second;
  OVERLAY_CHECK(inserted);
  records_[index] = std::move(record);
  if (known_.size() < size_t{capacity()} * words_) known_.resize(size_t{capacity()} * words_);
  return index;
}

void TxTable::Remove(TxIndex index) {
  by_hash_.erase(records_[index].hash);
  records_.Free(index);
  std::fill_n(known_.begin() + static_cast<ptrdiff_t>(index * words_), words_, 0);
}

void TxTable::ForgetPeer(PeerSlot slot) {
  if (slot / 64 >= words_) return;
  const uint64_t mask = ~(uint64_t{1} << (slot % 64));
  for (size_t i = slot / 64; i < known_.size(); i += words_) known_[i] &= mask;
}

void TxTable::Widen(size_t words) {
  std::vector<uint64_t> wider(size_t{capacity()} * words);
  for (size_t i = 0; i < capacity(); ++i) {
    std::copy_n(known_.begin() + static_cast<ptrdiff_t>(i * words_), words_,
                wider.begin() + static_cast<ptrdiff_t>(i * words));
  }
  known_ = std::move(wider);
  words_ = words;
}

void TxTable::CheckInvariants() const {
  OVERLAY_CHECK(by_hash_.size() == records_.size());
  OVERLAY_CHECK(known_.size() == size_t{capacity()} * words_);
  size_t used = 0;
  for (uint32_t i = 0; i < capacity(); ++i) {
    if (records_.IsUsed(i)) {
      ++used;
      const auto it = by_hash_.find(records_[i].hash);
      OVERLAY_CHECK(it != by_hash_.end() && it->second == i);
      continue;
    }
    for (size_t w = 0; w < words_; ++w) OVERLAY_CHECK(known_[i * words_ + w] == 0);
  }
  OVERLAY_CHECK(used == records_.size());
}

}  // namespace overlay::flood
