#include "flood/peers/ban_list.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

NodeKey Key(size_t n) {
  NodeKey key;
  key.bytes[0] = static_cast<uint8_t>(n);
  key.bytes[1] = static_cast<uint8_t>(n >> 8);
  return key;
}

class BanListTest : public testing::Test {
 protected:
  ~BanListTest() override { list_.CheckInvariants(); }

  bool Add(size_t n, BannedBy by, Time until) {
    return list_.Add(now_, Key(n), {by, now_, until, ""});
  }
  bool Has(size_t n) const { return list_.Contains(now_, Key(n)); }

  Time now_{1000s};
  BanList list_;
};

TEST_F(BanListTest, HoldsUntilItsTimeIsOver) {
  EXPECT_TRUE(Add(1, BannedBy::kOperator, now_ + 10s));
  EXPECT_TRUE(Add(2, BannedBy::kOperator, kTimeNever));
  now_ += 10s - 1us;
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(list_.Expire(now_));
  now_ += 1us;
  EXPECT_FALSE(Has(1));
  EXPECT_TRUE(list_.Expire(now_));
  EXPECT_EQ(list_.bans().size(), 1u);
  now_ += 24h * 10'000;
  EXPECT_TRUE(Has(2));
}

TEST_F(BanListTest, OneThatIsOverCannotBeRemoved) {
  Add(1, BannedBy::kOperator, now_ + 10s);
  now_ += 10s;
  EXPECT_FALSE(list_.Remove(now_, Key(1)));
  Add(1, BannedBy::kOperator, now_ + 10s);
  EXPECT_TRUE(list_.Remove(now_, Key(1)));
  EXPECT_FALSE(Has(1));
  EXPECT_FALSE(list_.Remove(now_, Key(1)));
}

TEST_F(BanListTest, ANewOneReplacesTheOldButNeverTheOperatorsByScore) {
  Add(1, BannedBy::kScore, now_ + 100s);
  EXPECT_TRUE(Add(1, BannedBy::kOperator, now_ + 10s));
  EXPECT_FALSE(Add(1, BannedBy::kScore, now_ + 100s));
  now_ += 10s;
  EXPECT_FALSE(Has(1));
  EXPECT_TRUE(Add(1, BannedBy::kScore, now_ + 100s));
}

TEST_F(BanListTest, AtTheBoundTheOperatorsTakeThePlaceOfTheOneByScoreThatEndsFirst) {
  for (size_t i = 0; i < kBansMax - 2; ++i) EXPECT_TRUE(Add(i, BannedBy::kOperator, kTimeNever));
  EXPECT_TRUE(Add(5000, BannedBy::kScore, now_ + 50s));
  EXPECT_TRUE(Add(5001, BannedBy::kScore, now_ + 40s));
  EXPECT_FALSE(Add(6000, BannedBy::kScore, now_ + 500s));
  EXPECT_TRUE(Add(6001, BannedBy::kOperator, now_ + 1s));
  EXPECT_FALSE(Has(5001));
  EXPECT_TRUE(Has(5000));
  EXPECT_TRUE(Add(6002, BannedBy::kOperator, now_ + 1s));
  EXPECT_FALSE(Has(5000));
  EXPECT_FALSE(Add(6003, BannedBy::kOperator, kTimeNever));
  EXPECT_TRUE(Add(0, BannedBy::kOperator, now_ + 1s));  // it is there already
  now_ += 1s;
  EXPECT_TRUE(Add(6003, BannedBy::kOperator, kTimeNever));  // in place of those that are over
  EXPECT_FALSE(Has(0));
}

}  // namespace
}  // namespace overlay::flood
