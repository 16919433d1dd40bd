// client-sdk/xdr/contract_values.h
//
// Walks over the parts of XDR that smart contracts brought: values, addresses, ledger keys,
// footprints and authorisations. They are nested and of any length, and all that is wanted of them
// is where they end.
//
// Each function moves the reader behind one such thing, or makes it fail. Nesting is bounded at
// kNestingMax, so the stack is too. Threads: pure functions.
#ifndef OVERLAY_CLIENT_SDK_XDR_CONTRACT_VALUES_H_
#define OVERLAY_CLIENT_SDK_XDR_CONTRACT_VALUES_H_

#include "client-sdk/xdr/xdr_reader.h"

namespace overlay::xdr {

// Core's own decoder stops below 500; real calls stay below 20.
inline constexpr int kNestingMax = 100;

// Parts shared with classic operations.
void SkipAccount(XdrReader& in);
void SkipAsset(XdrReader& in);
void SkipBalanceId(XdrReader& in);
void SkipLedgerKey(XdrReader& in);

// The body of an INVOKE_HOST_FUNCTION operation.
void SkipHostFunctionCall(XdrReader& in);
// SorobanTransactionData; gives the resource fee.
int64_t ReadSorobanData(XdrReader& in);

}  // namespace overlay::xdr

#endif  // OVERLAY_CLIENT_SDK_XDR_CONTRACT_VALUES_H_
