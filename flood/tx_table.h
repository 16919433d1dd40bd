// flood/tx_table.h
//
// The transactions held, pending and pooled, each once: body, bid, place, and which peers know it.
// The mempool and the pending queue order records of this table by index; one look-up by hash
// answers an announcement.
//
// Rules
//   R1  A hash is in the table at most once.
//   R2  Knows(tx, slot) is true from the moment that the peer announced it, sent it, or was told of
//       it, until the peer goes. A slot that is given to a new peer begins with knowing nothing.
//
// Bounds   none of its own: the mempool and the pending queue bound what they put in.
// Cost     O(1); ForgetPeer O(capacity / 256 chunks), some 100 us for 100,000 transactions.
// Threads  none.
#ifndef OVERLAY_FLOOD_TX_TABLE_H_
#define OVERLAY_FLOOD_TX_TABLE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"
#include "flood/core_io.h"
#include "flood/slab.h"

namespace overlay::flood {

using TxIndex = uint32_t;
// A small number that stands for a connected peer; reused.
using PeerSlot = uint32_t;

// Survives the end of the transaction: Resolve() then gives nothing.
struct TxRef {
  TxIndex index = kNoIndex;
  uint32_t generation = 0;
};

struct TxRecord {
  TxHash hash;
  Bytes body;
  Bid bid;
  AccountKey account;  // whose sequence number it uses
  int64_t sequence = 0;
  Time arrived{};
  std::optional<PeerId> sender;  // none: the core's own
  NodeKey sender_key;

  // Of the mempool.
  bool pooled = false;
  uint64_t order = 0;  // of arrival in the mempool
  Time pooled_at{};
  IndexLink age_link;  // also of the offers' pending ones: never both

  // Of the offers to the core.
  bool pending = false;
  enum class Offer : uint8_t { kNone, kQueued, kBehind, kOffered };
  Offer offer = Offer::kNone;
  uint8_t offers = 0;  // times that it was handed over in this attachment
  Time offered_at{};
  IndexLink offer_link;
};

class TxTable {
 public:
  std::optional<TxIndex> Find(const TxHash& hash) const {
    const auto it = by_hash_.find(hash);
    return it == by_hash_.end() ? std::nullopt : std::optional(it->second);
  }
  // `record.hash` must not be held.
  TxIndex Add(TxRecord record);
  void Remove(TxIndex index);

  TxRecord& operator[](TxIndex index) { return records_[index]; }
  const TxRecord& operator[](TxIndex index) const { return records_[index]; }
  TxRef Ref(TxIndex index) const { return {index, records_.generation(index)}; }
  std::optional<TxIndex> Resolve(const TxRef& ref) const {
    const bool same =
        records_.IsUsed(ref.index) && records_.generation(ref.index) == ref.generation;
    return same ? std::optional(ref.index) : std::nullopt;
  }
  size_t size() const { return records_.size(); }
  uint32_t capacity() const { return records_.capacity(); }
  bool IsUsed(TxIndex index) const { return records_.IsUsed(index); }

  bool Knows(TxIndex index, PeerSlot slot) const {
    return slot / 64 < words_ && (known_[index * words_ + slot / 64] >> (slot % 64) & 1);
  }
  void SetKnows(TxIndex index, PeerSlot slot) {
    if (slot / 64 >= words_) Widen(slot / 64 + 1);
    known_[index * words_ + slot / 64] |= uint64_t{1} << (slot % 64);
  }
  // The slot is about to be given to another peer.
  void ForgetPeer(PeerSlot slot);

  void CheckInvariants() const;

 private:
  void Widen(size_t words);

  Slab<TxRecord> records_;
  absl::flat_hash_map<TxHash, TxIndex> by_hash_;  // one entry per used record
  size_t words_ = 1;                              // 64 peers each
  std::vector<uint64_t> known_;  // capacity() x words_; bits of unused records are 0
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_TABLE_H_
