// flood/set_offers.h
//
// Puts together the sets that the core offers in chunks.
//
// Rules
//   R1  Chunks of one offer come in order and without gaps; a chunk at offset 0 begins the offer
//       anew. Anything else breaks the offer: it is discarded and the core is told field, value and
//       what was expected.
//   R2  core_offers_open_max are open at once; one more is refused by name.
//   R3  The SHA-256 of the whole must be the offered hash, else the offer is discarded and refused
//       by name.
//
// Bounds   R2; the total is checked against the limit of the kind before the first byte is kept.
// Cost     hashing and copying the chunk. Time: none. Threads: none.
#ifndef OVERLAY_FLOOD_SET_OFFERS_H_
#define OVERLAY_FLOOD_SET_OFFERS_H_

#include <optional>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/limits.h"

namespace overlay::flood {

struct CompletedOffer {
  SetKey key;
  std::optional<LedgerSeq> slot;
  Bytes bytes;
};

class SetOffers {
 public:
  explicit SetOffers(const Limits& limits) : limits_(limits) {}

  // A refusal is appended to `out` as CoreRefused.
  std::optional<CompletedOffer> OnChunk(const OfferChunk& chunk, ActionList& out);
  // The core went: what was begun is discarded.
  void OnCoreDetached() {
    open_.clear();
    bytes_ = 0;
  }

  bool IsOpen(const SetKey& key) const { return open_.contains(key); }
  size_t open_count() const { return open_.size(); }
  size_t bytes() const { return bytes_; }  // arrived of those open
  void CheckInvariants() const;

 private:
  struct Open {
    std::optional<LedgerSeq> slot;
    uint64_t total_bytes = 0;
    BytesBuilder bytes;
    Sha256Stream hash;
  };

  const Limits& limits_;
  void Close(absl::btree_map<SetKey, Open>::iterator it);

  absl::btree_map<SetKey, Open> open_;  // core_offers_open_max at most
  size_t bytes_ = 0;                    // sum over open_
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SET_OFFERS_H_
