#include "client-sdk/demo-core/ledger.h"

#include "client-sdk/xdr/xdr_writer.h"
#include "flood/base/crypto.h"

namespace overlay::demo {

std::optional<SetContents> ReadSet(absl::Span<const uint8_t> bytes) {
  const std::optional<xdr::TxSetContents> set = xdr::ReadTxSet(bytes);
  if (!set) return std::nullopt;
  SetContents contents;
  contents.previous = set->previous_ledger;
  contents.transactions.reserve(set->transactions.size());
  for (const absl::Span<const uint8_t> envelope : set->transactions) {
    const std::optional<xdr::TransactionFacts> facts = xdr::ReadTransaction(envelope);
    if (!facts) return std::nullopt;
    contents.transactions.emplace_back(HashOf<TxHash>(envelope),
                                       TxKey(facts->source, facts->sequence));
  }
  return contents;
}

// The ledger before the first one has the network's name for a hash.
Ledger::Ledger(const NetworkId& network) : hash_(LedgerHash{network.bytes}) {}

bool Ledger::IsValid(const xdr::StellarValue& value, const SetContents& contents,
                     uint64_t now_s) const {
  if (value.close_time <= close_time_ || value.close_time > now_s + kCloseTimeAheadMax) {
    return false;
  }
  const LedgerHash& previous = value.kind == xdr::StellarValue::Kind::kEmptyTxSet
                                   ? value.previous_ledger
                                   : contents.previous;
  if (hash_ && previous != *hash_) return false;
  std::set<TxKey> keys;
  for (const auto& [hash, key] : contents.transactions) {
    if (WasUsed(key) || !keys.insert(key).second) return false;
  }
  return true;
}

LedgerHash Ledger::Close(const xdr::StellarValue& value, const SetContents& contents) {
  const bool empty = value.kind == xdr::StellarValue::Kind::kEmptyTxSet;
  xdr::XdrWriter in;
  in.Fixed(hash_.value_or(empty ? value.previous_ledger : contents.previous).bytes);
  in.Fixed(value.tx_set_hash.bytes);
  in.U64(value.close_time);
  hash_ = HashOf<LedgerHash>(in.span());
  closed_ = closed_ + 1;
  close_time_ = value.close_time;
  std::vector<TxKey>& used = used_by_ledger_.emplace_back();
  for (const auto& [hash, key] : contents.transactions) {
    if (used_.insert(key).second) used.push_back(key);
  }
  if (used_by_ledger_.size() > kLedgersRemembered) {
    for (const TxKey& key : used_by_ledger_.front()) used_.erase(key);
    used_by_ledger_.pop_front();
  }
  return *hash_;
}

void Ledger::JumpTo(LedgerSeq slot) {
  closed_ = slot;
  hash_.reset();
}

}  // namespace overlay::demo
