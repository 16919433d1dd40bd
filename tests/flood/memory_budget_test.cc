#include "flood/memory_budget.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

constexpr uint64_t kMax = 100 * kMiB;
constexpr uint64_t kReserve = 20 * kMiB;
constexpr uint64_t kRoom = kMax - kReserve;
constexpr uint64_t kLow = kRoom - kRoom / 16;

class MemoryBudgetTest : public testing::Test {
 protected:
  static Limits MakeLimits() {
    Limits limits;
    limits.memory_bytes_max = kMax;
    limits.memory_scp_reserve_bytes = kReserve;
    return limits;
  }
  void Hold(MemoryPool pool, uint64_t bytes) {
    bytes_[static_cast<size_t>(pool)] = bytes;
    budget_.Update(bytes_);
    budget_.CheckInvariants();
  }

  MemoryBytes bytes_{};
  MemoryBudget budget_{MakeLimits()};
};

// R1: at the limit all is well, one byte over it is not.
TEST_F(MemoryBudgetTest, TheOtherPoolsHaveWhatScpDoesNotNeed) {
  EXPECT_EQ(budget_.room_bytes(), kRoom);
  Hold(MemoryPool::kMempool, kRoom - 5);
  Hold(MemoryPool::kCoreStreams, 5);
  EXPECT_FALSE(budget_.is_pressed());
  EXPECT_EQ(budget_.left_bytes(), 0u);
  Hold(MemoryPool::kCoreStreams, 6);
  EXPECT_TRUE(budget_.is_pressed());
}

TEST_F(MemoryBudgetTest, WhatScpHoldsBeyondItsReserveTheOthersLose) {
  Hold(MemoryPool::kMempool, kRoom);
  Hold(MemoryPool::kScp, kReserve);
  EXPECT_FALSE(budget_.is_pressed());
  Hold(MemoryPool::kScp, kReserve + 1);
  EXPECT_EQ(budget_.room_bytes(), kRoom - 1);
  EXPECT_TRUE(budget_.is_pressed());
}

// R5: alone over everything, SCP is still nobody's to free.
TEST_F(MemoryBudgetTest, ScpAloneIsNeverPressed) {
  Hold(MemoryPool::kScp, 10 * kMax);
  EXPECT_FALSE(budget_.is_pressed());
  EXPECT_EQ(budget_.room_bytes(), 0u);
  EXPECT_EQ(budget_.Next(), std::nullopt);
}

TEST_F(MemoryBudgetTest, TheReserveIsNoMoreThanScpMayHold) {
  Limits limits = MakeLimits();
  limits.inbound_peers_max = 1;
  limits.scp_kept_per_peer_bytes_max = kKiB;
  limits.incomplete_envelope_bytes_max = kKiB;
  limits.core_stream_bytes_max = kMiB;
  EXPECT_EQ(MemoryBudget(limits).scp_reserve_bytes(), 2 * kMiB + 10 * 2 * kKiB);
  EXPECT_EQ(budget_.scp_reserve_bytes(), kReserve);
}

// R2
TEST_F(MemoryBudgetTest, PressureEndsASixteenthBelow) {
  Hold(MemoryPool::kSets, kRoom + 1);
  Hold(MemoryPool::kSets, kLow + 1);
  EXPECT_TRUE(budget_.is_pressed());
  Hold(MemoryPool::kSets, kLow);
  EXPECT_FALSE(budget_.is_pressed());
  Hold(MemoryPool::kSets, kRoom);
  EXPECT_FALSE(budget_.is_pressed());
}

// R2: of much memory a sixteenth would be a lump.
TEST_F(MemoryBudgetTest, NoMoreThan16MiBAreFreedAtATime) {
  Limits limits = MakeLimits();
  limits.memory_bytes_max = 1024 * kMiB;
  MemoryBudget budget(limits);
  MemoryBytes bytes{};
  bytes[static_cast<size_t>(MemoryPool::kSets)] = budget.room_bytes() + 1;
  budget.Update(bytes);
  EXPECT_EQ(budget.Next()->bytes, 16 * kMiB + 1);
}

// R3
TEST_F(MemoryBudgetTest, FreesInOrderAndNoMoreThanNeeded) {
  Hold(MemoryPool::kMempool, kRoom + 10);
  const uint64_t excess = kRoom + 10 - kLow;
  for (const MemoryStep step :
       {MemoryStep::kTxBodies, MemoryStep::kOldSets, MemoryStep::kMempool, MemoryStep::kAnySet}) {
    ASSERT_TRUE(budget_.Next().has_value());
    EXPECT_EQ(budget_.Next()->step, step);
    EXPECT_EQ(budget_.Next()->bytes, excess);
    budget_.OnFreed(step, 0);
  }
  EXPECT_EQ(budget_.Next(), std::nullopt);
  EXPECT_TRUE(budget_.is_pressed());
  Hold(MemoryPool::kMempool, kRoom + 10);  // the next input: there may be something again
  EXPECT_EQ(budget_.Next()->step, MemoryStep::kTxBodies);
  budget_.OnFreed(MemoryStep::kTxBodies, excess - 1);
  EXPECT_EQ(budget_.Next()->step, MemoryStep::kTxBodies);
  EXPECT_EQ(budget_.Next()->bytes, 1u);
  budget_.OnFreed(MemoryStep::kTxBodies, 1);
  EXPECT_EQ(budget_.Next(), std::nullopt);
  EXPECT_FALSE(budget_.is_pressed());
}

}  // namespace
}  // namespace overlay::flood
