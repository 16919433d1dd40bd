#include "transport/connection_rule.h"

#include "gtest/gtest.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

NodeKey Key(uint8_t first) {
  NodeKey key;
  key.bytes[0] = first;
  return key;
}

// Both ends choose the same connection: the one that the smaller id dialled.
TEST(ConnectionRule, BothEndsChooseTheSame) {
  const ConnectionView mine{true, false, 1};
  const ConnectionView theirs{false, false, 2};
  EXPECT_EQ(ChooseConnection({mine, theirs}, Key(1), Key(2)), 0u);
  EXPECT_EQ(ChooseConnection({theirs, mine}, Key(1), Key(2)), 1u);
  EXPECT_EQ(ChooseConnection({mine, theirs}, Key(2), Key(1)), 1u);
  EXPECT_TRUE(WeDecide(Key(1), Key(2)));
  EXPECT_FALSE(WeDecide(Key(2), Key(1)));
}

TEST(ConnectionRule, ASuspectLosesToAnyOther) {
  EXPECT_EQ(ChooseConnection({{true, true, 9}, {false, false, 2}}, Key(1), Key(2)), 1u);
  EXPECT_EQ(ChooseConnection({{true, true, 9}, {false, true, 2}}, Key(1), Key(2)), 0u);
}

TEST(ConnectionRule, AmongEqualsTheNewest) {
  EXPECT_EQ(ChooseConnection({{true, false, 3}, {true, false, 4}}, Key(1), Key(2)), 1u);
}

TEST(InstanceHistory, ARestartIsNeverTakenForASharedKey) {
  InstanceHistory history;
  Time now{};
  for (uint64_t nonce = 1; nonce < 50; ++nonce) {
    EXPECT_EQ(history.OnOtherInstance(now, Key(1), nonce, nonce + 1),
              InstanceHistory::Verdict::kReplace);
    now += 1s;
  }
}

TEST(InstanceHistory, AlternatingIsASharedKeyForAMinute) {
  InstanceHistory history;
  const Time start{};
  using V = InstanceHistory::Verdict;
  EXPECT_EQ(history.OnOtherInstance(start, Key(1), 1, 2), V::kReplace);
  EXPECT_EQ(history.OnOtherInstance(start + 1s, Key(1), 2, 1), V::kReplace);
  EXPECT_EQ(history.OnOtherInstance(start + 2s, Key(1), 1, 2), V::kReplace);
  EXPECT_EQ(history.OnOtherInstance(start + 2s, Key(2), 1, 2), V::kReplace) << "another key";
  EXPECT_EQ(history.OnOtherInstance(start + 3s, Key(1), 2, 1), V::kKeyShared);
  EXPECT_EQ(history.OnOtherInstance(start + 63s - 1us, Key(1), 2, 1), V::kKeyShared);
  EXPECT_EQ(history.OnOtherInstance(start + 63s, Key(1), 2, 1), V::kReplace);
}

TEST(InstanceHistory, SlowAlternationIsAccepted) {
  InstanceHistory history;
  Time now{};
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(history.OnOtherInstance(now, Key(1), i % 2, (i + 1) % 2),
              InstanceHistory::Verdict::kReplace);
    now += 20s;
  }
}

TEST(InstanceHistory, HoldsABoundedNumberOfKeys) {
  InstanceHistory history;
  for (int i = 0; i < 1000; ++i) {
    NodeKey key;
    key.bytes[0] = static_cast<uint8_t>(i);
    key.bytes[1] = static_cast<uint8_t>(i >> 8);
    history.OnOtherInstance(Time{} + i * 1s, key, 1, 2);
  }
  EXPECT_EQ(history.key_count(), 256u);
}

}  // namespace
}  // namespace overlay::transport
