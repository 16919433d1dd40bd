#include "client-sdk/xdr/transaction_reader.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/corpus.h"
#include "tests/support/xdr_builder.h"

namespace overlay::xdr {
namespace {

TEST(TransactionReader, TakesEveryTransactionOfTheNetwork) {
  size_t fee_bumps = 0;
  size_t soroban = 0;
  for (const Bytes& envelope : CorpusTransactions()) {
    const auto facts = ReadTransaction(envelope.span());
    ASSERT_TRUE(facts.has_value());
    EXPECT_GE(facts->operations, 1u);
    EXPECT_GE(facts->inclusion_fee, 0);
    fee_bumps += facts->is_fee_bump ? 1 : 0;
    soroban += facts->is_soroban ? 1 : 0;
  }
  EXPECT_GT(fee_bumps, kCorpusTransactions / 20);
  EXPECT_GT(soroban, kCorpusTransactions / 20);
}

TEST(TransactionReader, SetsComeApartIntoTheirTransactions) {
  std::vector<std::string_view> all;
  for (const Bytes& set : CorpusTxSets()) {
    const auto contents = ReadTxSet(set.span());
    ASSERT_TRUE(contents.has_value());
    for (const auto& part : contents->transactions) {
      all.emplace_back(reinterpret_cast<const char*>(part.data()), part.size());
    }
  }
  std::vector<std::string_view> expected;
  for (const Bytes& envelope : CorpusTransactions()) expected.push_back(envelope.view());
  std::sort(all.begin(), all.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(all.size(), kCorpusTransactions);
  EXPECT_TRUE(all == expected);
}

TEST(TransactionReader, FactsOfEachKind) {
  XdrBuilder build(1);
  const SecretSeed source = build.AnySeed();
  const AccountKey account{PublicKeyOf(source).bytes};
  const Bytes payment = build.PaymentOf(source, 42, 700, 3);
  const auto facts = ReadTransaction(payment.span());
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->source, account);
  EXPECT_EQ(facts->sequence, 42);
  EXPECT_EQ(facts->inclusion_fee, 700);
  EXPECT_EQ(facts->operations, 3u);
  EXPECT_FALSE(facts->is_fee_bump);
  EXPECT_FALSE(facts->is_soroban);

  const auto bump = ReadTransaction(build.FeeBumpOf(payment, 5000).span());
  ASSERT_TRUE(bump.has_value());
  EXPECT_EQ(bump->source, account);
  EXPECT_EQ(bump->inclusion_fee, 5000);
  EXPECT_EQ(bump->operations, 4u);
  EXPECT_TRUE(bump->is_fee_bump);

  ContractUpload upload;
  upload.source = source;
  upload.fee = 900;
  upload.resource_fee = 750;
  const auto soroban = ReadTransaction(BuildContractUpload(upload, build.network()).span());
  ASSERT_TRUE(soroban.has_value());
  EXPECT_EQ(soroban->inclusion_fee, 150);
  EXPECT_TRUE(soroban->is_soroban);
}

TEST(TransactionReader, EveryCutAndEveryExtraByteIsRefused) {
  XdrBuilder build(2);
  for (int i = 0; i < 30; ++i) {
    const Bytes envelope = build.Transaction();
    ASSERT_TRUE(ReadTransaction(envelope.span()).has_value());
    for (size_t size = 0; size < envelope.size(); ++size) {
      ASSERT_FALSE(ReadTransaction(envelope.span().first(size)).has_value());
    }
    const Bytes longer = Bytes::Copy(std::string(envelope.view()) + std::string(4, '\0'));
    EXPECT_FALSE(ReadTransaction(longer.span()).has_value());
  }
}

TEST(TransactionReader, SetsOfEachPhase) {
  XdrBuilder build(3);
  const auto none = ReadTxSet(BuildTxSet({}).span());
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->transactions.empty());
  const Bytes set = build.TxSetOf(build.Transactions(50));
  const auto contents = ReadTxSet(set.span());
  ASSERT_TRUE(contents.has_value());
  EXPECT_EQ(contents->transactions.size(), 50u);
  EXPECT_FALSE(ReadTxSet(set.span().first(set.size() - 4)).has_value());
}

}  // namespace
}  // namespace overlay::xdr
