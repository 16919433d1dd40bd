#include "client-sdk/src/kept_slots.h"

#include <gtest/gtest.h>

namespace overlay::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr SteadyTime kStart{};

TEST(KeptSlots, KeepsEverythingBeforeTheFirstClose) {
  const KeptSlots kept;
  EXPECT_TRUE(kept.IsKept(1));
  EXPECT_EQ(kept.newest_closed(), 0u);
  EXPECT_EQ(kept.oldest_closed(), 0u);
}

TEST(KeptSlots, KeepsTwelveOfANetworkThatIsSlow) {
  KeptSlots kept;
  for (uint64_t slot = 1; slot <= 30; ++slot) kept.OnClosed(kStart + slot * seconds(100), slot, {});
  EXPECT_FALSE(kept.IsKept(18));
  EXPECT_TRUE(kept.IsKept(19));
  EXPECT_TRUE(kept.IsKept(31));
  EXPECT_EQ(kept.oldest_closed(), 29u) << "twelve are kept whatever is said of them";
}

TEST(KeptSlots, KeepsLongerThanTheDaemonsMinuteOfOneThatIsFast) {
  KeptSlots kept;
  const auto close = [&kept](uint64_t slot) {
    kept.OnClosed(kStart + slot * milliseconds(1000), slot, {});
  };
  for (uint64_t slot = 1; slot <= 65; ++slot) close(slot);
  EXPECT_TRUE(kept.IsKept(1)) << "closed 64 s ago";
  close(66);
  EXPECT_FALSE(kept.IsKept(1)) << "closed 65 s ago";
  EXPECT_TRUE(kept.IsKept(2));
  EXPECT_EQ(kept.oldest_closed(), 2u);
}

TEST(KeptSlots, KeepsNoMoreThanTheMostOfOneThatIsVeryFast) {
  KeptSlots kept;
  for (uint64_t slot = 1; slot <= 300; ++slot) kept.OnClosed(kStart, slot, {});
  EXPECT_FALSE(kept.IsKept(172));
  EXPECT_TRUE(kept.IsKept(173));
}

TEST(KeptSlots, WhatWasJumpedOverClosedWithTheNext) {
  KeptSlots kept;
  kept.OnClosed(kStart, 100, {});
  kept.OnClosed(kStart + seconds(10), 140, {});
  EXPECT_TRUE(kept.IsKept(100));
  EXPECT_TRUE(kept.IsKept(101));
  kept.OnClosed(kStart + seconds(65), 141, {});
  EXPECT_FALSE(kept.IsKept(100));
  EXPECT_TRUE(kept.IsKept(101)) << "closed with 140, 55 s ago";
  EXPECT_EQ(kept.oldest_closed(), 140u) << "101 was never said to be closed";
}

TEST(KeptSlots, TheDaemonsOwnLimitsCount) {
  KeptSlots kept;
  kept.SetLimits({.slots_kept_min = 3, .slots_kept_max = 5, .keep_slots_max = 1});
  for (uint64_t slot = 1; slot <= 10; ++slot) kept.OnClosed(kStart, slot, {});
  EXPECT_FALSE(kept.IsKept(5));
  EXPECT_TRUE(kept.IsKept(6));
  kept.OnClosed(kStart + seconds(70), 11, {1, 2});
  EXPECT_FALSE(kept.IsKept(8));
  EXPECT_TRUE(kept.IsKept(9));
  EXPECT_TRUE(kept.IsKept(1));
  EXPECT_FALSE(kept.IsKept(2)) << "one keep_slot at most";
}

// As the daemon does it: a lower close adds its keep_slots, a higher one replaces them.
TEST(KeptSlots, ALowerCloseAddsKeepSlotsAndMovesNothingBack) {
  KeptSlots kept;
  kept.OnClosed(kStart, 200, {64});
  kept.OnClosed(kStart + seconds(100), 201, {64});
  kept.OnClosed(kStart + seconds(100), 150, {128, 64});
  EXPECT_EQ(kept.newest_closed(), 201u);
  EXPECT_TRUE(kept.IsKept(64));
  EXPECT_TRUE(kept.IsKept(128));
  EXPECT_FALSE(kept.IsKept(150));
  EXPECT_FALSE(kept.IsKept(189));
  EXPECT_TRUE(kept.IsKept(190));
  EXPECT_EQ(kept.keep_slots(), (std::vector<uint64_t>{64, 128}));
  kept.OnClosed(kStart + seconds(101), 202, {128});
  EXPECT_FALSE(kept.IsKept(64));
  EXPECT_TRUE(kept.IsKept(128));
}

}  // namespace
}  // namespace overlay::client
