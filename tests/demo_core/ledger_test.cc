#include "client-sdk/demo-core/ledger.h"

#include <gtest/gtest.h>

#include "client-sdk/xdr/transaction.h"
#include "flood/base/crypto.h"
#include "tests/support/xdr_builder.h"

namespace overlay::demo {
namespace {

const NetworkId kNetwork = NetworkIdOf("a network");
constexpr uint64_t kNow = 1'000'000;

xdr::StellarValue ValueOf(uint64_t set, uint64_t close_time) {
  xdr::StellarValue value;
  value.tx_set_hash.bytes[0] = static_cast<uint8_t>(set);
  value.close_time = close_time;
  return value;
}

TxKey KeyOf(uint8_t account, int64_t sequence) {
  AccountKey key;
  key.bytes[0] = account;
  return {key, sequence};
}

SetContents On(const Ledger& ledger, std::vector<TxKey> keys = {}) {
  SetContents contents;
  contents.previous = *ledger.hash();
  for (const TxKey& key : keys) contents.transactions.emplace_back(TxHash{}, key);
  return contents;
}

TEST(LedgerTest, EqualHistoriesHaveEqualHashes) {
  Ledger a(kNetwork);
  Ledger b(kNetwork);
  Ledger c(kNetwork);
  EXPECT_EQ(a.hash(), LedgerHash{kNetwork.bytes});
  EXPECT_EQ(a.Close(ValueOf(1, 10), On(a)), b.Close(ValueOf(1, 10), On(b)));
  EXPECT_EQ(a.closed(), LedgerSeq{1});
  c.Close(ValueOf(1, 11), On(c));
  EXPECT_NE(a.hash(), c.hash()) << "another close time";
  a.Close(ValueOf(2, 12), On(a));
  c.Close(ValueOf(2, 12), On(c));
  EXPECT_NE(a.hash(), c.hash()) << "another history";
}

TEST(LedgerTest, CloseTimesRise) {
  Ledger ledger(kNetwork);
  ledger.Close(ValueOf(1, kNow), On(ledger));
  EXPECT_FALSE(ledger.IsValid(ValueOf(2, kNow), On(ledger), kNow));
  EXPECT_TRUE(ledger.IsValid(ValueOf(2, kNow + 1), On(ledger), kNow));
  EXPECT_TRUE(ledger.IsValid(ValueOf(2, kNow + kCloseTimeAheadMax), On(ledger), kNow));
  EXPECT_FALSE(ledger.IsValid(ValueOf(2, kNow + kCloseTimeAheadMax + 1), On(ledger), kNow));
}

TEST(LedgerTest, ASetStandsOnTheLedgerBefore) {
  Ledger ledger(kNetwork);
  SetContents contents = On(ledger);
  EXPECT_TRUE(ledger.IsValid(ValueOf(1, kNow), contents, kNow));
  contents.previous.bytes[0] ^= 1;
  EXPECT_FALSE(ledger.IsValid(ValueOf(1, kNow), contents, kNow));
}

TEST(LedgerTest, ASequenceNumberIsUsedOnce) {
  Ledger ledger(kNetwork);
  const SetContents twice = On(ledger, {KeyOf(1, 5), KeyOf(1, 5)});
  EXPECT_FALSE(ledger.IsValid(ValueOf(1, kNow), twice, kNow));
  const SetContents once = On(ledger, {KeyOf(1, 5), KeyOf(2, 5), KeyOf(1, 6)});
  EXPECT_TRUE(ledger.IsValid(ValueOf(1, kNow), once, kNow));
  ledger.Close(ValueOf(1, kNow), once);
  EXPECT_TRUE(ledger.WasUsed(KeyOf(2, 5)));
  EXPECT_FALSE(ledger.WasUsed(KeyOf(2, 6)));
  EXPECT_FALSE(ledger.IsValid(ValueOf(2, kNow + 1), On(ledger, {KeyOf(1, 6)}), kNow));
}

TEST(LedgerTest, UsedPairsAreRememberedForSoManyLedgers) {
  Ledger ledger(kNetwork);
  ledger.Close(ValueOf(1, 1), On(ledger, {KeyOf(1, 1)}));
  for (size_t i = 1; i < kLedgersRemembered; ++i) {
    ledger.Close(ValueOf(1, 1 + i), On(ledger));
    ASSERT_TRUE(ledger.WasUsed(KeyOf(1, 1))) << i;
  }
  ledger.Close(ValueOf(1, 1000), On(ledger));
  EXPECT_FALSE(ledger.WasUsed(KeyOf(1, 1)));
}

// Who has missed ledgers and takes the hash from the next set has the same chain as the others.
TEST(LedgerTest, AJumpTakesTheHashFromTheSet) {
  Ledger ledger(kNetwork);
  ledger.Close(ValueOf(1, 1), On(ledger));
  ledger.Close(ValueOf(2, 2), On(ledger));
  const SetContents third = On(ledger);
  Ledger late(kNetwork);
  late.JumpTo(LedgerSeq{2});
  EXPECT_FALSE(late.hash());
  EXPECT_TRUE(late.IsValid(ValueOf(3, 3), third, kNow));
  EXPECT_EQ(late.Close(ValueOf(3, 3), third), ledger.Close(ValueOf(3, 3), third));
  EXPECT_EQ(late.closed(), LedgerSeq{3});
}

TEST(LedgerTest, SetsAreTakenApart) {
  XdrBuilder builder(1);
  const std::vector<Bytes> transactions = builder.Transactions(20);
  const Bytes set = builder.TxSetOf(transactions);
  const auto contents = ReadSet(set.span());
  ASSERT_TRUE(contents);
  std::set<TxHash> names;
  for (const auto& [hash, key] : contents->transactions) names.insert(hash);
  EXPECT_EQ(names.size(), 20U);
  for (const Bytes& transaction : transactions) {
    EXPECT_TRUE(names.contains(HashOf<TxHash>(transaction.span())));
  }
  EXPECT_FALSE(ReadSet(set.span().first(set.size() - 4)));
}

}  // namespace
}  // namespace overlay::demo
