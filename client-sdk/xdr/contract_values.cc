#include "client-sdk/xdr/contract_values.h"

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace overlay::xdr {
namespace {

constexpr uint32_t kAnyCount = UINT32_MAX;  // bounded by the bytes that are there
constexpr size_t kAnyBytes = UINT32_MAX;
constexpr size_t kSymbolBytesMax = 32;
constexpr size_t kString64 = 64;

void SkipValue(XdrReader& in, int levels_left);

void SkipValues(XdrReader& in, int levels_left) {
  const uint32_t count = in.Count(kAnyCount);
  for (uint32_t i = 0; i < count && in.ok(); ++i) SkipValue(in, levels_left);
}

void SkipOptionalMap(XdrReader& in, int levels_left) {
  if (!in.Flag()) return;
  const uint32_t count = in.Count(kAnyCount);
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    SkipValue(in, levels_left);
    SkipValue(in, levels_left);
  }
}

void SkipAddress(XdrReader& in) {
  switch (in.U32()) {
    case 0:
      return SkipAccount(in);
    case 1:  // contract
    case 4:  // liquidity pool
      in.Fixed(kHashBytes);
      return;
    case 2:  // multiplexed account
      in.U64();
      in.Fixed(kHashBytes);
      return;
    case 3:
      return SkipBalanceId(in);
  }
  in.Fail();
}

void SkipExecutable(XdrReader& in) {
  switch (in.U32()) {
    case 0:
      in.Fixed(kHashBytes);
      return;
    case 1:
      return;
  }
  in.Fail();
}

void SkipScError(XdrReader& in) {
  constexpr uint32_t kErrorTypes = 10;
  if (in.U32() >= kErrorTypes) in.Fail();
  in.U32();
}

// Bytes of the values that have a fixed size; kNotFixed for those that have not.
constexpr size_t kNotFixed = SIZE_MAX;
constexpr size_t kFixedValueBytes[] = {kNotFixed, 0, kNotFixed, 4, 4, 8, 8, 8, 8, 16, 16, 32, 32};

void SkipValue(XdrReader& in, int levels_left) {
  if (levels_left == 0) return in.Fail();
  const uint32_t type = in.U32();
  if (type < std::size(kFixedValueBytes) && kFixedValueBytes[type] != kNotFixed) {
    in.Fixed(kFixedValueBytes[type]);
    return;
  }
  switch (type) {
    case 0:  // bool
      in.Flag();
      return;
    case 2:
      return SkipScError(in);
    case 13:  // bytes
    case 14:  // string
      in.Opaque(kAnyBytes);
      return;
    case 15:  // symbol
      in.Opaque(kSymbolBytesMax);
      return;
    case 16:  // vector
      if (in.Flag()) SkipValues(in, levels_left - 1);
      return;
    case 17:  // map
      return SkipOptionalMap(in, levels_left - 1);
    case 18:
      return SkipAddress(in);
    case 19:  // contract instance
      SkipExecutable(in);
      return SkipOptionalMap(in, levels_left - 1);
    case 20:  // key of a contract instance
      return;
    case 21:  // key of a nonce
      in.I64();
      return;
  }
  in.Fail();
}

void SkipInvocationArguments(XdrReader& in) {
  SkipAddress(in);
  in.Opaque(kSymbolBytesMax);
  SkipValues(in, kNestingMax);
}

void SkipContractCreation(XdrReader& in, bool with_arguments) {
  switch (in.U32()) {
    case 0:  // from an address and a salt
      SkipAddress(in);
      in.Fixed(kHashBytes);
      break;
    case 1:
      SkipAsset(in);
      break;
    default:
      in.Fail();
  }
  SkipExecutable(in);
  if (with_arguments) SkipValues(in, kNestingMax);
}

void SkipAuthorizedInvocation(XdrReader& in, int levels_left) {
  if (levels_left == 0) return in.Fail();
  switch (in.U32()) {
    case 0:
      SkipInvocationArguments(in);
      break;
    case 1:
      SkipContractCreation(in, /*with_arguments=*/false);
      break;
    case 2:
      SkipContractCreation(in, /*with_arguments=*/true);
      break;
    default:
      in.Fail();
  }
  const uint32_t count = in.Count(kAnyCount);
  for (uint32_t i = 0; i < count && in.ok(); ++i) SkipAuthorizedInvocation(in, levels_left - 1);
}

void SkipAuthorization(XdrReader& in) {
  switch (in.U32()) {
    case 0:  // the transaction's source account
      break;
    case 1:  // an address
      SkipAddress(in);
      in.I64();  // nonce
      in.U32();  // expiration ledger
      SkipValue(in, kNestingMax);
      break;
    default:
      in.Fail();
  }
  SkipAuthorizedInvocation(in, kNestingMax);
}

void SkipLedgerKeys(XdrReader& in) {
  const uint32_t count = in.Count(kAnyCount);
  for (uint32_t i = 0; i < count && in.ok(); ++i) SkipLedgerKey(in);
}

// The arms that an asset and a trust line's asset share; false when `type` is another.
bool SkipAlphaNum(XdrReader& in, uint32_t type) {
  constexpr size_t kShortCodeBytes = 4;
  constexpr size_t kLongCodeBytes = 12;
  if (type == 0) return true;  // native
  if (type > 2) return false;
  in.Fixed(type == 1 ? kShortCodeBytes : kLongCodeBytes);
  SkipAccount(in);
  return true;
}

}  // namespace

void SkipAccount(XdrReader& in) {
  if (in.U32() != 0) in.Fail();
  in.Fixed(kHashBytes);
}

void SkipAsset(XdrReader& in) {
  if (!SkipAlphaNum(in, in.U32())) in.Fail();
}

void SkipBalanceId(XdrReader& in) {
  if (in.U32() != 0) in.Fail();
  in.Fixed(kHashBytes);
}

void SkipLedgerKey(XdrReader& in) {
  switch (in.U32()) {
    case 0:
      return SkipAccount(in);
    case 1: {  // trust line
      SkipAccount(in);
      const uint32_t type = in.U32();
      if (type == 3) {
        in.Fixed(kHashBytes);  // of a liquidity pool
      } else if (!SkipAlphaNum(in, type)) {
        in.Fail();
      }
      return;
    }
    case 2:  // offer
      SkipAccount(in);
      in.I64();
      return;
    case 3:  // data
      SkipAccount(in);
      in.Opaque(kString64);
      return;
    case 4:
      return SkipBalanceId(in);
    case 5:  // liquidity pool
    case 7:  // contract code
    case 9:  // time to live
      in.Fixed(kHashBytes);
      return;
    case 6:  // contract data
      SkipAddress(in);
      SkipValue(in, kNestingMax);
      in.Flag();  // durability
      return;
    case 8:  // configuration setting
      in.U32();
      return;
  }
  in.Fail();
}

void SkipHostFunctionCall(XdrReader& in) {
  switch (in.U32()) {
    case 0:
      SkipInvocationArguments(in);
      break;
    case 1:
      SkipContractCreation(in, /*with_arguments=*/false);
      break;
    case 2:  // upload of code
      in.Opaque(kAnyBytes);
      break;
    case 3:
      SkipContractCreation(in, /*with_arguments=*/true);
      break;
    default:
      in.Fail();
  }
  const uint32_t authorizations = in.Count(kAnyCount);
  for (uint32_t i = 0; i < authorizations && in.ok(); ++i) SkipAuthorization(in);
}

int64_t ReadSorobanData(XdrReader& in) {
  if (in.Flag()) {  // ext 1: archived entries of the footprint
    const uint32_t archived = in.Count(kAnyCount);
    for (uint32_t i = 0; i < archived && in.ok(); ++i) in.U32();
  }
  SkipLedgerKeys(in);  // read only
  SkipLedgerKeys(in);  // read and write
  in.U32();            // instructions
  in.U32();            // bytes read
  in.U32();            // bytes written
  return in.I64();
}

}  // namespace overlay::xdr
