// client-sdk/xdr/transaction.h
//
// Builds signed transactions of the kinds that the network carries, and the sets that consensus
// votes on.
//
//   R1  A signature covers SHA-256(network id, envelope type, transaction), a v0 one re-expressed
//       as v1. The name of a transaction in the overlay is another: SHA-256 of the whole envelope.
//   R2  A set holds its transactions sorted by that name, so equal sets have equal hashes.
//
// Bounds: 1 to 100 operations, a memo of 28 bytes; the caller keeps to them (OVERLAY_CHECK: only
// our own programs build transactions). Threads: pure functions.
#ifndef OVERLAY_CLIENT_SDK_XDR_TRANSACTION_H_
#define OVERLAY_CLIENT_SDK_XDR_TRANSACTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/ids.h"

namespace overlay::xdr {

// A transaction of native payments.
struct Payment {
  SecretSeed source;
  std::optional<uint64_t> muxed_id;  // makes the source a multiplexed account
  int64_t sequence = 0;
  uint32_t fee = 100;  // the bid for the whole transaction
  int operations = 1;
  AccountKey destination;
  int64_t amount = 1;
  std::string memo;                     // text; none when empty
  std::optional<uint64_t> valid_until;  // time bounds of [0, this]; none when absent
};

// A transaction that uploads contract code: the large kind.
struct ContractUpload {
  SecretSeed source;
  int64_t sequence = 0;
  uint32_t fee = 0;  // inclusion fee and resource fee together
  int64_t resource_fee = 0;
  size_t code_bytes = 1000;
};

Bytes BuildPayment(const Payment& payment, const NetworkId& network);
// The old envelope without a tag before the source key. `payment` has no muxed id.
Bytes BuildPaymentV0(const Payment& payment, const NetworkId& network);
Bytes BuildContractUpload(const ContractUpload& upload, const NetworkId& network);
// `inner` is a v1 envelope as the functions above build it.
Bytes BuildFeeBump(const SecretSeed& fee_source, int64_t fee, absl::Span<const uint8_t> inner,
                   const NetworkId& network);

// A GeneralizedTransactionSet of two phases: classic with one component, Soroban with one stage of
// one cluster; a phase without transactions has none.
struct TxSet {
  LedgerHash previous_ledger;
  std::optional<int64_t> base_fee;
  std::vector<Bytes> classic;
  std::vector<Bytes> soroban;
};

Bytes BuildTxSet(TxSet set);

}  // namespace overlay::xdr

#endif  // OVERLAY_CLIENT_SDK_XDR_TRANSACTION_H_
