#include "client-sdk/xdr/transaction_reader.h"

#include <cstddef>

#include "client-sdk/xdr/contract_values.h"
#include "client-sdk/xdr/xdr_reader.h"

namespace overlay::xdr {
namespace {

constexpr uint32_t kOperationsMax = 100;
constexpr uint32_t kSignaturesMax = 20;
constexpr size_t kSignatureBytesMax = 64;
constexpr size_t kPriceBytes = 8;
constexpr uint32_t kPathAssetsMax = 5;
constexpr uint32_t kClaimantsMax = 10;
constexpr int kPredicateLevelsMax = 4;
constexpr size_t kString64 = 64;
// A set of 16 MiB holds at most 100,000 of the smallest transactions.
constexpr uint32_t kSetTransactionsMax = 100'000;

AccountKey ReadMuxedAccount(XdrReader& in) {
  const uint32_t type = in.U32();
  if (type == 0x100) {
    in.U64();
  } else if (type != 0) {
    in.Fail();
  }
  return in.Hash32Of<AccountKey>();
}

void SkipSignerKey(XdrReader& in) {
  const uint32_t type = in.U32();
  if (type > 3) in.Fail();
  in.Fixed(kHashBytes);
  if (type == 3) in.Opaque(kSignatureBytesMax);  // a signed payload
}

void SkipPath(XdrReader& in) {
  SkipAsset(in);
  in.I64();
  ReadMuxedAccount(in);
  SkipAsset(in);
  in.I64();
  const uint32_t assets = in.Count(kPathAssetsMax);
  for (uint32_t i = 0; i < assets && in.ok(); ++i) SkipAsset(in);
}

void SkipOffer(XdrReader& in, bool with_id) {
  SkipAsset(in);
  SkipAsset(in);
  in.I64();
  in.Fixed(kPriceBytes);
  if (with_id) in.I64();
}

void SkipSetOptions(XdrReader& in) {
  if (in.Flag()) SkipAccount(in);
  constexpr int kOptionalNumbers = 6;
  for (int i = 0; i < kOptionalNumbers; ++i) {
    if (in.Flag()) in.U32();
  }
  if (in.Flag()) in.Opaque(32);  // home domain
  if (in.Flag()) {
    SkipSignerKey(in);
    in.U32();
  }
}

void SkipChangeTrust(XdrReader& in) {
  XdrReader ahead = in;
  if (ahead.U32() == 3) {  // a liquidity pool's shares, named by its parameters
    in.U32();
    if (in.U32() != 0) in.Fail();
    SkipAsset(in);
    SkipAsset(in);
    in.U32();
  } else {
    SkipAsset(in);
  }
  in.I64();
}

void SkipAllowTrust(XdrReader& in) {
  SkipAccount(in);
  switch (in.U32()) {
    case 1:
      in.Fixed(4);
      break;
    case 2:
      in.Fixed(12);
      break;
    default:
      in.Fail();
  }
  in.U32();
}

void SkipPredicate(XdrReader& in, int levels_left) {
  if (levels_left == 0) return in.Fail();
  switch (in.U32()) {
    case 0:
      return;
    case 1:
    case 2: {  // and, or
      const uint32_t count = in.Count(2);
      for (uint32_t i = 0; i < count && in.ok(); ++i) SkipPredicate(in, levels_left - 1);
      return;
    }
    case 3:  // not
      if (in.Flag()) SkipPredicate(in, levels_left - 1);
      return;
    case 4:
    case 5:
      in.I64();
      return;
  }
  in.Fail();
}

void SkipCreateClaimableBalance(XdrReader& in) {
  SkipAsset(in);
  in.I64();
  const uint32_t claimants = in.Count(kClaimantsMax);
  for (uint32_t i = 0; i < claimants && in.ok(); ++i) {
    if (in.U32() != 0) in.Fail();
    SkipAccount(in);
    SkipPredicate(in, kPredicateLevelsMax);
  }
}

void SkipRevokeSponsorship(XdrReader& in) {
  if (in.Flag()) {
    SkipAccount(in);
    SkipSignerKey(in);
  } else {
    SkipLedgerKey(in);
  }
}

// One operation; says whether it belongs to contracts.
bool SkipOperation(XdrReader& in) {
  if (in.Flag()) ReadMuxedAccount(in);
  switch (in.U32()) {
    case 0:  // create account
      SkipAccount(in);
      in.I64();
      return false;
    case 1:  // payment
      ReadMuxedAccount(in);
      SkipAsset(in);
      in.I64();
      return false;
    case 2:
    case 13:
      SkipPath(in);
      return false;
    case 3:
    case 12:
      SkipOffer(in, /*with_id=*/true);
      return false;
    case 4:
      SkipOffer(in, /*with_id=*/false);
      return false;
    case 5:
      SkipSetOptions(in);
      return false;
    case 6:
      SkipChangeTrust(in);
      return false;
    case 7:
      SkipAllowTrust(in);
      return false;
    case 8:  // account merge
      ReadMuxedAccount(in);
      return false;
    case 9:   // inflation
    case 17:  // end of sponsoring
      return false;
    case 10:  // data entry
      in.Opaque(kString64);
      if (in.Flag()) in.Opaque(64);
      return false;
    case 11:  // bump sequence
      in.I64();
      return false;
    case 14:
      SkipCreateClaimableBalance(in);
      return false;
    case 15:
    case 20:
      SkipBalanceId(in);
      return false;
    case 16:  // begin of sponsoring
      SkipAccount(in);
      return false;
    case 18:
      SkipRevokeSponsorship(in);
      return false;
    case 19:  // clawback
      SkipAsset(in);
      ReadMuxedAccount(in);
      in.I64();
      return false;
    case 21:  // flags of a trust line
      SkipAccount(in);
      SkipAsset(in);
      in.U64();
      return false;
    case 22:  // deposit into a pool
      in.Fixed(kHashBytes + 16 + 2 * kPriceBytes);
      return false;
    case 23:  // withdrawal from a pool
      in.Fixed(kHashBytes + 24);
      return false;
    case 24:
      SkipHostFunctionCall(in);
      return true;
    case 25:  // extend time to live
      in.U64();
      return true;
    case 26:  // restore
      in.U32();
      return true;
  }
  in.Fail();
  return false;
}

void SkipPreconditions(XdrReader& in) {
  constexpr size_t kTimeBounds = 16;
  switch (in.U32()) {
    case 0:
      return;
    case 1:
      in.Fixed(kTimeBounds);
      return;
    case 2: {
      if (in.Flag()) in.Fixed(kTimeBounds);
      if (in.Flag()) in.U64();  // ledger bounds
      if (in.Flag()) in.I64();  // lowest sequence number
      in.U64();                 // age of the sequence number
      in.U32();                 // its gap in ledgers
      const uint32_t signers = in.Count(2);
      for (uint32_t i = 0; i < signers && in.ok(); ++i) SkipSignerKey(in);
      return;
    }
  }
  in.Fail();
}

void SkipMemo(XdrReader& in) {
  switch (in.U32()) {
    case 0:
      return;
    case 1:
      in.Opaque(28);
      return;
    case 2:
      in.U64();
      return;
    case 3:
    case 4:
      in.Fixed(kHashBytes);
      return;
  }
  in.Fail();
}

void SkipSignatures(XdrReader& in) {
  const uint32_t count = in.Count(kSignaturesMax);
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    in.Fixed(4);  // hint
    in.Opaque(kSignatureBytesMax);
  }
}

// From the memo to the end of the envelope, which v0 and v1 have in common.
// Gives the resource fee, 0 without contracts.
int64_t ReadBody(XdrReader& in, TransactionFacts& facts) {
  SkipMemo(in);
  facts.operations = in.Count(kOperationsMax);
  for (uint32_t i = 0; i < facts.operations && in.ok(); ++i) {
    if (SkipOperation(in)) facts.is_soroban = true;
  }
  const int64_t resource_fee = in.Flag() ? ReadSorobanData(in) : 0;
  if (resource_fee < 0) in.Fail();
  SkipSignatures(in);
  return resource_fee;
}

void ReadV0(XdrReader& in, TransactionFacts& facts) {
  facts.source = in.Hash32Of<AccountKey>();
  facts.inclusion_fee = in.U32();
  facts.sequence = in.I64();
  if (in.Flag()) in.Fixed(16);              // time bounds
  if (ReadBody(in, facts) != 0) in.Fail();  // older than contracts
}

void ReadV1(XdrReader& in, TransactionFacts& facts, std::optional<int64_t> outer_fee) {
  facts.source = ReadMuxedAccount(in);
  const int64_t own_fee = in.U32();
  facts.sequence = in.I64();
  SkipPreconditions(in);
  const int64_t resource_fee = ReadBody(in, facts);
  // Neither is negative, so the difference cannot overflow.
  facts.inclusion_fee = outer_fee.value_or(own_fee) - resource_fee;
}

void ReadFeeBump(XdrReader& in, TransactionFacts& facts) {
  ReadMuxedAccount(in);
  const int64_t outer_fee = in.I64();
  if (in.U32() != 2 || outer_fee < 0) in.Fail();
  ReadV1(in, facts, outer_fee);
  if (in.U32() != 0) in.Fail();
  SkipSignatures(in);
  facts.is_fee_bump = true;
  facts.operations += 1;
}

std::optional<TransactionFacts> ReadEnvelope(XdrReader& in) {
  TransactionFacts facts;
  switch (in.U32()) {
    case 0:
      ReadV0(in, facts);
      break;
    case 2:
      ReadV1(in, facts, std::nullopt);
      break;
    case 5:
      ReadFeeBump(in, facts);
      break;
    default:
      in.Fail();
  }
  if (!in.ok()) return std::nullopt;
  return facts;
}

void ReadEnvelopes(XdrReader& in, TxSetContents& contents) {
  const uint32_t count = in.Count(kSetTransactionsMax);
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const size_t begin = in.position();
    if (ReadEnvelope(in)) contents.transactions.push_back(in.Since(begin));
  }
}

void ReadClassicPhase(XdrReader& in, TxSetContents& contents) {
  const uint32_t components = in.Count(kSetTransactionsMax);
  for (uint32_t i = 0; i < components && in.ok(); ++i) {
    if (in.U32() != 0) in.Fail();
    if (in.Flag()) in.I64();  // base fee
    ReadEnvelopes(in, contents);
  }
}

void ReadParallelPhase(XdrReader& in, TxSetContents& contents) {
  if (in.Flag()) in.I64();  // base fee
  const uint32_t stages = in.Count(kSetTransactionsMax);
  for (uint32_t i = 0; i < stages && in.ok(); ++i) {
    const uint32_t clusters = in.Count(kSetTransactionsMax);
    for (uint32_t j = 0; j < clusters && in.ok(); ++j) ReadEnvelopes(in, contents);
  }
}

}  // namespace

std::optional<TransactionFacts> ReadTransaction(absl::Span<const uint8_t> envelope) {
  XdrReader in(envelope);
  std::optional<TransactionFacts> facts = ReadEnvelope(in);
  if (!in.AtEnd()) return std::nullopt;
  return facts;
}

std::optional<TxSetContents> ReadTxSet(absl::Span<const uint8_t> set) {
  constexpr uint32_t kPhasesMax = 2;
  XdrReader in(set);
  TxSetContents contents;
  if (in.U32() != 1) in.Fail();
  contents.previous_ledger = in.Hash32Of<LedgerHash>();
  const uint32_t phases = in.Count(kPhasesMax);
  for (uint32_t i = 0; i < phases && in.ok(); ++i) {
    if (in.Flag()) {
      ReadParallelPhase(in, contents);
    } else {
      ReadClassicPhase(in, contents);
    }
  }
  if (!in.AtEnd()) return std::nullopt;
  return contents;
}

}  // namespace overlay::xdr
