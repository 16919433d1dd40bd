// client-sdk/demo-core/ledger.h
//
// The chain of closed ledgers as far as a demo core has one: a hash over what was agreed on, and
// which (account, sequence number) pairs were used lately. No balances, no accounts.
//
//   R1  hash = SHA-256(previous hash, tx set hash, close time), so equal hashes mean equal
//       histories.
//   R2  Close times rise from ledger to ledger.
//   R3  A pair of account and sequence number is used once: a transaction that uses it again is
//       stale, and a set with one is not valid.
//   R4  A set names the ledger that it stands on. A core that has missed ledgers takes the hash of
//       the one before from the set that the others agreed on.
//
// Bounds: pairs of the last kLedgersRemembered ledgers. Threads: one.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_LEDGER_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_LEDGER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "client-sdk/xdr/scp_message.h"
#include "client-sdk/xdr/transaction_reader.h"
#include "flood/base/ids.h"

namespace overlay::demo {

inline constexpr size_t kLedgersRemembered = 128;
// How far a close time may be ahead of the clock.
inline constexpr uint64_t kCloseTimeAheadMax = 600;

using TxKey = std::pair<AccountKey, int64_t>;

// A transaction set, taken apart.
struct SetContents {
  LedgerHash previous;
  std::vector<std::pair<TxHash, TxKey>> transactions;
};
// Nullopt: it does not decode.
std::optional<SetContents> ReadSet(absl::Span<const uint8_t> bytes);

class Ledger {
 public:
  explicit Ledger(const NetworkId& network);

  LedgerSeq closed() const { return closed_; }
  // Unknown after a jump until the next close.
  const std::optional<LedgerHash>& hash() const { return hash_; }
  uint64_t close_time() const { return close_time_; }

  bool WasUsed(const TxKey& key) const { return used_.contains(key); }
  // Whether the next ledger may be this one. `contents`: of its set; empty for a value without one.
  bool IsValid(const xdr::StellarValue& value, const SetContents& contents, uint64_t now_s) const;
  // Closes the next ledger; gives its hash.
  LedgerHash Close(const xdr::StellarValue& value, const SetContents& contents);
  // Goes on behind `slot`, whose hash is not known (R4).
  void JumpTo(LedgerSeq slot);

 private:
  LedgerSeq closed_{0};
  std::optional<LedgerHash> hash_;
  uint64_t close_time_ = 0;
  std::set<TxKey> used_;
  std::deque<std::vector<TxKey>> used_by_ledger_;  // newest last
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_LEDGER_H_
