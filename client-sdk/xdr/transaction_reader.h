// client-sdk/xdr/transaction_reader.h
//
// Reads what others made: transactions whole, operation by operation, since only that finds where
// one ends inside a set; and GeneralizedTransactionSets, taken apart into their transactions.
//
//   R1  Strict: every operation and every contract value is decoded, and what does not decode to
//       the last byte is refused. The signatures are not checked, nor is what the operations would
//       do.
//   R2  A transaction's fee is its bid for inclusion: of a fee bump the outer one, of a contract
//       transaction without the resource fee. Operations of a fee bump count one more than the
//       inner ones.
//
// Bounds: 100 operations, 20 signatures, values nested 100 deep. Cost: one pass, no allocation but
// the list of a set's transactions. Threads: pure functions.
#ifndef OVERLAY_CLIENT_SDK_XDR_TRANSACTION_READER_H_
#define OVERLAY_CLIENT_SDK_XDR_TRANSACTION_READER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/ids.h"

namespace overlay::xdr {

struct TransactionFacts {
  AccountKey source;  // of the inner one of a fee bump: whose sequence number it uses
  int64_t sequence = 0;
  int64_t inclusion_fee = 0;
  uint32_t operations = 0;
  bool is_fee_bump = false;
  bool is_soroban = false;
};

std::optional<TransactionFacts> ReadTransaction(absl::Span<const uint8_t> envelope);

struct TxSetContents {
  LedgerHash previous_ledger;
  // In the set's order, as parts of what was read.
  std::vector<absl::Span<const uint8_t>> transactions;
};

std::optional<TxSetContents> ReadTxSet(absl::Span<const uint8_t> set);

}  // namespace overlay::xdr

#endif  // OVERLAY_CLIENT_SDK_XDR_TRANSACTION_READER_H_
