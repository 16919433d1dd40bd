#include "flood/tx_table.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

class TxTableTest : public testing::Test {
 protected:
  ~TxTableTest() override { table_.CheckInvariants(); }
  TxIndex Add(uint8_t number) {
    TxRecord record;
    record.hash.bytes.fill(number);
    return table_.Add(record);
  }
  TxTable table_;
};

TEST_F(TxTableTest, KnowsWhoWasNotedAndNobodyElse) {
  const TxIndex a = Add(1), b = Add(2);
  table_.SetKnows(a, 3);
  EXPECT_TRUE(table_.Knows(a, 3));
  EXPECT_FALSE(table_.Knows(a, 2));
  EXPECT_FALSE(table_.Knows(b, 3));
  EXPECT_FALSE(table_.Knows(a, 3 + 64));
}

TEST_F(TxTableTest, MorePeersThanBeforeLoseNothing) {
  const TxIndex a = Add(1), b = Add(2);
  table_.SetKnows(a, 3);
  table_.SetKnows(b, 63);
  table_.SetKnows(b, 200);
  const TxIndex c = Add(3);
  table_.SetKnows(c, 130);
  EXPECT_TRUE(table_.Knows(a, 3) && table_.Knows(b, 63) && table_.Knows(b, 200));
  EXPECT_TRUE(table_.Knows(c, 130));
  EXPECT_FALSE(table_.Knows(a, 200) || table_.Knows(b, 3) || table_.Knows(c, 3));
}

TEST_F(TxTableTest, ASlotThatIsGivenAgainKnowsNothing) {
  const TxIndex a = Add(1), b = Add(2);
  for (PeerSlot slot : {7u, 70u}) {
    table_.SetKnows(a, slot);
    table_.SetKnows(b, slot);
    table_.SetKnows(b, slot + 1);
    table_.ForgetPeer(slot);
    EXPECT_FALSE(table_.Knows(a, slot) || table_.Knows(b, slot)) << slot;
    EXPECT_TRUE(table_.Knows(b, slot + 1)) << "another's";
  }
}

TEST_F(TxTableTest, ARecordThatTakesTheIndexOfAnotherIsKnownToNobody) {
  const TxIndex a = Add(1);
  const TxRef ref = table_.Ref(a);
  table_.SetKnows(a, 5);
  table_.Remove(a);
  EXPECT_FALSE(table_.Resolve(ref));
  const TxIndex b = Add(2);
  ASSERT_EQ(b, a);
  EXPECT_FALSE(table_.Knows(b, 5));
  EXPECT_FALSE(table_.Resolve(ref));
}

}  // namespace
}  // namespace overlay::flood
