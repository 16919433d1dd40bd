#include "client-sdk/xdr/transaction.h"

#include <algorithm>
#include <string>

#include "client-sdk/xdr/xdr_reader.h"
#include "client-sdk/xdr/xdr_writer.h"
#include "gtest/gtest.h"
#include "tests/support/xdr_builder.h"

namespace overlay::xdr {
namespace {

// Checks the last signature of an envelope: over everything between the type word and the
// signatures.
bool SignedBy(const Bytes& envelope, const NodeKey& key, uint32_t type, size_t body_at,
              const NetworkId& network) {
  constexpr size_t kSignaturesBytes = 4 + 72;
  XdrWriter payload;
  payload.Fixed(network.bytes);
  payload.U32(type);
  payload.Raw(envelope.span().subspan(body_at, envelope.size() - kSignaturesBytes - body_at));
  Signature signature;
  std::copy(envelope.span().end() - 64, envelope.span().end(), signature.begin());
  return Verify(key, Sha256(payload.span()), signature);
}

TEST(Payment, FieldsAreWhereTheNetworkReadsThem) {
  XdrBuilder build(1);
  const SecretSeed source = build.AnySeed();
  const Bytes envelope = build.PaymentOf(source, 42, 700, 3);
  XdrReader in(envelope.span());
  EXPECT_EQ(in.U32(), 2u);
  EXPECT_EQ(in.U32(), 0u);
  EXPECT_EQ(in.Hash32Of<NodeKey>(), PublicKeyOf(source));
  EXPECT_EQ(in.position(), 40u);
  EXPECT_EQ(in.U32(), 700u);
  EXPECT_EQ(in.I64(), 42);
  EXPECT_EQ(in.U32(), 0u);  // conditions
  EXPECT_EQ(in.U32(), 0u);  // memo
  EXPECT_EQ(in.position(), 60u);
  EXPECT_EQ(in.U32(), 3u);
  EXPECT_EQ(envelope.size(), 64u + 3u * 56u + 4u + 76u);
  EXPECT_TRUE(SignedBy(envelope, PublicKeyOf(source), 2, 4, build.network()));
}

TEST(Payment, OldEnvelopeIsSignedAsTheNewOne) {
  XdrBuilder build(2);
  Payment payment;
  payment.source = build.AnySeed();
  payment.valid_until = 99;
  payment.memo = "memo5";
  const Bytes v1 = BuildPayment(payment, build.network());
  const Bytes v0 = BuildPaymentV0(payment, build.network());
  // Only the type word differs and the tag of the source, which the old one does not have.
  EXPECT_EQ(v0.size() + 4, v1.size());
  EXPECT_EQ(v0.view().substr(4), v1.view().substr(8));
}

TEST(Payment, MultiplexedSourceShiftsTheRestByEight) {
  XdrBuilder build(3);
  Payment payment;
  payment.source = build.AnySeed();
  const size_t plain = BuildPayment(payment, build.network()).size();
  payment.muxed_id = 7;
  const Bytes muxed = BuildPayment(payment, build.network());
  EXPECT_EQ(muxed.size(), plain + 8);
  EXPECT_EQ(muxed.data()[6], 1);
}

TEST(FeeBump, InnerEnvelopeIsInsideAndBothAreSigned) {
  XdrBuilder build(4);
  const Bytes inner = build.PaymentOf(build.AnySeed(), 1, 100);
  const SecretSeed payer = build.AnySeed();
  const Bytes bump = BuildFeeBump(payer, 5000, inner.span(), build.network());
  EXPECT_EQ(bump.data()[3], 5);
  EXPECT_EQ(bump.view().substr(48, inner.size()), inner.view());
  EXPECT_TRUE(SignedBy(bump, PublicKeyOf(payer), 5, 4, build.network()));
}

TEST(ContractUpload, CarriesResourceFeeInFrontOfTheSignatures) {
  XdrBuilder build(5);
  ContractUpload upload;
  upload.source = build.AnySeed();
  upload.fee = 900;
  upload.resource_fee = 800;
  upload.code_bytes = 1001;
  const Bytes envelope = BuildContractUpload(upload, build.network());
  XdrReader tail(envelope.span().subspan(envelope.size() - 76 - 8));
  EXPECT_EQ(tail.I64(), 800);
  EXPECT_TRUE(SignedBy(envelope, PublicKeyOf(upload.source), 2, 4, build.network()));
}

TEST(TxSet, OrderOfInsertionDoesNotMatter) {
  XdrBuilder build(6);
  TxSet set;
  set.classic = {build.PaymentOf(build.AnySeed(), 1, 100), build.PaymentOf(build.AnySeed(), 1, 100),
                 build.PaymentOf(build.AnySeed(), 1, 100)};
  TxSet reversed = set;
  std::reverse(reversed.classic.begin(), reversed.classic.end());
  EXPECT_EQ(BuildTxSet(set), BuildTxSet(reversed));
  EXPECT_EQ(BuildTxSet({}).size(), 4u + 32u + 4u + 8u + 12u);
}

TEST(TxSet, AnyWantedSize) {
  XdrBuilder build(7);
  for (const size_t bytes : {size_t{512}, size_t{64 * 1024}, size_t{66'000}, size_t{131'072 + 436},
                             size_t{10} << 20, size_t{16} << 20}) {
    EXPECT_EQ(build.TxSetOfBytes(bytes).size(), bytes);
  }
}

TEST(XdrReader, StrictAboutPaddingFlagsAndCounts) {
  XdrWriter out;
  out.Opaque("abcde");
  Bytes good = out.Finish();
  EXPECT_EQ(XdrReader(good.span()).OpaqueString(5), "abcde");
  XdrReader above_limit(good.span());
  EXPECT_EQ(above_limit.OpaqueString(4), "");
  EXPECT_FALSE(above_limit.ok());
  std::string dirty(good.view());
  dirty.back() = 1;
  const Bytes dirty_bytes = Bytes::Copy(dirty);
  XdrReader padding(dirty_bytes.span());
  padding.Opaque(5);
  EXPECT_FALSE(padding.ok());

  const uint8_t two[] = {0, 0, 0, 2};
  XdrReader flag(two);
  flag.Flag();
  EXPECT_FALSE(flag.ok());
  XdrReader count(two);  // says two elements and has no byte for them
  EXPECT_EQ(count.Count(10), 0u);
  EXPECT_FALSE(count.AtEnd());
}

}  // namespace
}  // namespace overlay::xdr
