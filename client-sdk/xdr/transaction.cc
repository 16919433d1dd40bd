#include "client-sdk/xdr/transaction.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "client-sdk/xdr/xdr_writer.h"
#include "flood/base/check.h"
#include "flood/base/random.h"

namespace overlay::xdr {
namespace {

// EnvelopeType
constexpr uint32_t kTypeTxV0 = 0;
constexpr uint32_t kTypeTx = 2;
constexpr uint32_t kTypeFeeBump = 5;

constexpr uint32_t kKeyEd25519 = 0;
constexpr uint32_t kKeyMuxed = 0x100;
constexpr uint32_t kOperationPayment = 1;
constexpr uint32_t kOperationInvokeHostFunction = 24;
constexpr uint32_t kHostFunctionUploadCode = 2;
constexpr uint32_t kAssetNative = 0;

constexpr int kOperationsMax = 100;
constexpr size_t kMemoBytesMax = 28;

AccountKey AccountOf(const SecretSeed& seed) { return AccountKey{PublicKeyOf(seed).bytes}; }

void WriteAccount(XdrWriter& out, const AccountKey& account, std::optional<uint64_t> muxed_id) {
  out.U32(muxed_id ? kKeyMuxed : kKeyEd25519);
  if (muxed_id) out.U64(*muxed_id);
  out.Fixed(account.bytes);
}

void WriteTimeBounds(XdrWriter& out, const std::optional<uint64_t>& valid_until) {
  out.Bool(valid_until.has_value());  // absent, or as a flag and as PRECOND_TIME: both 0 and 1
  if (valid_until) {
    out.U64(0);
    out.U64(*valid_until);
  }
}

void WriteMemo(XdrWriter& out, const std::string& memo) {
  OVERLAY_CHECK(memo.size() <= kMemoBytesMax);
  out.U32(memo.empty() ? 0 : 1);
  if (!memo.empty()) out.Opaque(memo);
}

// From the fee on, which v0 and v1 have in common up to the end of the operations.
void WritePaymentBody(XdrWriter& out, const Payment& payment) {
  OVERLAY_CHECK(payment.operations >= 1 && payment.operations <= kOperationsMax);
  out.U32(payment.fee);
  out.I64(payment.sequence);
  WriteTimeBounds(out, payment.valid_until);
  WriteMemo(out, payment.memo);
  out.U32(static_cast<uint32_t>(payment.operations));
  for (int i = 0; i < payment.operations; ++i) {
    out.Bool(false);  // no source of its own
    out.U32(kOperationPayment);
    WriteAccount(out, payment.destination, std::nullopt);
    out.U32(kAssetNative);
    out.I64(payment.amount);
  }
  out.U32(0);  // ext
}

Bytes PaymentTransaction(const Payment& payment) {
  XdrWriter out;
  WriteAccount(out, AccountOf(payment.source), payment.muxed_id);
  WritePaymentBody(out, payment);
  return out.Finish();
}

// signatures<20> with one decorated signature over R1's hash.
void WriteSignature(XdrWriter& out, uint32_t signed_type, absl::Span<const uint8_t> transaction,
                    const SecretSeed& seed, const NetworkId& network) {
  XdrWriter payload;
  payload.Fixed(network.bytes);
  payload.U32(signed_type);
  payload.Raw(transaction);
  const NodeKey key = PublicKeyOf(seed);
  out.U32(1);
  out.Fixed(key.span().last(4));  // the hint
  out.Opaque(Sign(seed, key, Sha256(payload.span())));
}

Bytes V1Envelope(const Bytes& transaction, const SecretSeed& seed, const NetworkId& network) {
  XdrWriter out;
  out.U32(kTypeTx);
  out.Raw(transaction.span());
  WriteSignature(out, kTypeTx, transaction.span(), seed, network);
  return out.Finish();
}

void SortByHash(std::vector<Bytes>& envelopes) {
  std::vector<std::pair<TxHash, Bytes>> named;
  named.reserve(envelopes.size());
  for (Bytes& envelope : envelopes) {
    const TxHash hash = HashOf<TxHash>(envelope.span());
    named.emplace_back(hash, std::move(envelope));
  }
  std::sort(named.begin(), named.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::transform(named.begin(), named.end(), envelopes.begin(),
                 [](auto& entry) { return std::move(entry.second); });
}

void WriteBaseFee(XdrWriter& out, const std::optional<int64_t>& base_fee) {
  out.Bool(base_fee.has_value());
  if (base_fee) out.I64(*base_fee);
}

void WriteEnvelopes(XdrWriter& out, const std::vector<Bytes>& envelopes) {
  out.U32(static_cast<uint32_t>(envelopes.size()));
  for (const Bytes& envelope : envelopes) out.Raw(envelope.span());
}

}  // namespace

Bytes BuildPayment(const Payment& payment, const NetworkId& network) {
  return V1Envelope(PaymentTransaction(payment), payment.source, network);
}

Bytes BuildPaymentV0(const Payment& payment, const NetworkId& network) {
  OVERLAY_CHECK(!payment.muxed_id);
  XdrWriter out;
  out.U32(kTypeTxV0);
  out.Fixed(AccountOf(payment.source).bytes);
  WritePaymentBody(out, payment);
  WriteSignature(out, kTypeTx, PaymentTransaction(payment).span(), payment.source, network);
  return out.Finish();
}

Bytes BuildContractUpload(const ContractUpload& upload, const NetworkId& network) {
  XdrWriter out;
  WriteAccount(out, AccountOf(upload.source), std::nullopt);
  out.U32(upload.fee);
  out.I64(upload.sequence);
  out.U32(0);  // no conditions
  out.U32(0);  // no memo
  out.U32(1);  // one operation
  out.Bool(false);
  out.U32(kOperationInvokeHostFunction);
  out.U32(kHostFunctionUploadCode);
  std::vector<uint8_t> code(upload.code_bytes);
  Random(static_cast<uint64_t>(upload.sequence)).Fill(absl::MakeSpan(code));
  out.Opaque(code);
  out.U32(0);                                         // no authorisations
  out.U32(1);                                         // ext: SorobanTransactionData
  out.U32(0);                                         //   its own ext
  out.U32(0);                                         //   footprint, read only
  out.U32(0);                                         //   footprint, read and write
  out.U32(1'000'000);                                 // instructions
  out.U32(0);                                         // bytes read
  out.U32(static_cast<uint32_t>(upload.code_bytes));  // bytes written
  out.I64(upload.resource_fee);
  return V1Envelope(out.Finish(), upload.source, network);
}

Bytes BuildFeeBump(const SecretSeed& fee_source, int64_t fee, absl::Span<const uint8_t> inner,
                   const NetworkId& network) {
  XdrWriter transaction;
  WriteAccount(transaction, AccountOf(fee_source), std::nullopt);
  transaction.I64(fee);
  transaction.Raw(inner);  // its own type word first
  transaction.U32(0);      // ext
  XdrWriter out;
  out.U32(kTypeFeeBump);
  out.Raw(transaction.span());
  WriteSignature(out, kTypeFeeBump, transaction.span(), fee_source, network);
  return out.Finish();
}

Bytes BuildTxSet(TxSet set) {
  SortByHash(set.classic);
  SortByHash(set.soroban);
  size_t bytes = 128;
  for (const Bytes& envelope : set.classic) bytes += envelope.size();
  for (const Bytes& envelope : set.soroban) bytes += envelope.size();
  XdrWriter out;
  out.Reserve(bytes);
  out.U32(1);  // the generalized form
  out.Fixed(set.previous_ledger.bytes);
  out.U32(2);  // phases
  out.U32(0);  // classic: components
  out.U32(set.classic.empty() ? 0 : 1);
  if (!set.classic.empty()) {
    out.U32(0);  // TXSET_COMP_TXS_MAYBE_DISCOUNTED_FEE
    WriteBaseFee(out, set.base_fee);
    WriteEnvelopes(out, set.classic);
  }
  out.U32(1);  // Soroban: parallel
  WriteBaseFee(out, set.base_fee);
  out.U32(set.soroban.empty() ? 0 : 1);  // stages
  if (!set.soroban.empty()) {
    out.U32(1);  // clusters
    WriteEnvelopes(out, set.soroban);
  }
  return out.Finish();
}

}  // namespace overlay::xdr
