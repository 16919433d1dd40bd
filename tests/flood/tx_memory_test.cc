#include "flood/tx_memory.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

TxHash Hash(uint8_t number) {
  TxHash hash;
  hash.bytes.fill(number);
  return hash;
}

class TxMemoryTest : public testing::Test {
 protected:
  ~TxMemoryTest() override { memory_.CheckInvariants(); }
  void Close(uint64_t seq) {
    memory_.OnLedgerClosed({seq});
    memory_.CheckInvariants();
  }

  Limits limits_;
  TxMemory memory_{limits_, /*count_max=*/3};
};

TEST_F(TxMemoryTest, RememberedUntilMoreThanTwelveLedgersHaveClosed) {
  Close(100);
  memory_.Remember(Hash(1), TxFate::kExternalized);
  memory_.Remember(Hash(2), TxFate::kStale);
  Close(112);
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kExternalized);
  EXPECT_EQ(memory_.Find(Hash(2)), TxFate::kStale);
  EXPECT_FALSE(memory_.has_over());
  Close(113);
  EXPECT_EQ(memory_.Find(Hash(1)), std::nullopt);
  EXPECT_EQ(memory_.Find(Hash(2)), std::nullopt);
}

TEST_F(TxMemoryTest, WhatIsOverLeavesAFewAtATime) {
  Close(100);
  for (uint8_t i = 1; i <= 3; ++i) memory_.Remember(Hash(i), TxFate::kExternalized);
  memory_.Remember(Hash(4), TxFate::kStale);
  Close(113);
  EXPECT_EQ(memory_.size(), 4u);
  EXPECT_TRUE(memory_.has_over());
  memory_.DropOver(2);
  EXPECT_EQ(memory_.size(), 2u);
  EXPECT_TRUE(memory_.has_over());
  memory_.DropOver(2);
  EXPECT_EQ(memory_.size(), 0u);
  EXPECT_FALSE(memory_.has_over());
}

TEST_F(TxMemoryTest, OneThatIsOverAndStillHereIsRememberedAnew) {
  Close(100);
  memory_.Remember(Hash(1), TxFate::kStale);
  Close(113);
  memory_.Remember(Hash(1), TxFate::kAged);
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kAged);
  memory_.DropOver(10);
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kAged);
  Close(125);
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kAged);
  Close(126);
  EXPECT_EQ(memory_.Find(Hash(1)), std::nullopt);
}

TEST_F(TxMemoryTest, LaterIsForgottenAtTheNextClose) {
  Close(100);
  memory_.Remember(Hash(1), TxFate::kLater);
  Close(100);  // no new one
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kLater);
  Close(101);
  EXPECT_EQ(memory_.Find(Hash(1)), std::nullopt);
}

TEST_F(TxMemoryTest, NoRefusalPushesOutAnExternalizedOne) {
  memory_.Remember(Hash(1), TxFate::kExternalized);
  for (uint8_t i = 2; i < 20; ++i) memory_.Remember(Hash(i), TxFate::kMalformed);
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kExternalized);
  EXPECT_EQ(memory_.size(), 4u);
  EXPECT_EQ(memory_.Find(Hash(16)), std::nullopt);  // the oldest of its kind went
  EXPECT_EQ(memory_.Find(Hash(17)), TxFate::kMalformed);
}

TEST_F(TxMemoryTest, ExternalizedOutranksEveryOtherFate) {
  memory_.Remember(Hash(1), TxFate::kStale);
  memory_.Remember(Hash(1), TxFate::kExternalized);
  memory_.Remember(Hash(1), TxFate::kMalformed);
  memory_.Remember(Hash(1), TxFate::kLater);
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kExternalized);
  memory_.Forget(Hash(1));
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kExternalized);
}

TEST_F(TxMemoryTest, WhatCameBeforeTheFirstCloseCountsFromThere) {
  memory_.Remember(Hash(1), TxFate::kAged);
  Close(5000);
  Close(5012);
  EXPECT_EQ(memory_.Find(Hash(1)), TxFate::kAged);
  Close(5013);
  EXPECT_EQ(memory_.Find(Hash(1)), std::nullopt);
}

}  // namespace
}  // namespace overlay::flood
