// Through ScpFlood: who loses what when the memory of hashes is full.
#include "flood/scp_index.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/flood/scp_world.h"

namespace overlay::flood {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr uint64_t kClosed = 10;

class ScpIndexBoundTest : public testing::Test {
 protected:
  static Limits Few() {
    Limits limits;
    limits.seen_hash_count_max = 100;
    return limits;
  }
  // Twenty of a peer: five slots, four validators.
  std::vector<Bytes> HonestFrom(uint64_t peer) {
    std::vector<Bytes> envelopes;
    for (uint64_t slot = kClosed + 1; slot <= kClosed + 5; ++slot) {
      for (uint8_t node = 1; node <= 4; ++node) {
        envelopes.push_back(Prepare(slot, node, 1));
        EXPECT_EQ(world_.From(peer, envelopes.back()), ScpWorld::kNew);
      }
    }
    return envelopes;
  }
  void ExpectRemembered(const std::vector<Bytes>& envelopes, uint64_t other_peer) {
    world_.Delivered();
    for (const Bytes& envelope : envelopes) {
      EXPECT_EQ(world_.From(other_peer, envelope), ScpWorld::kOld);
    }
    EXPECT_THAT(world_.Delivered(), IsEmpty());
  }

  ScpWorld world_{Few()};
};

// Each envelope of the forger goes to the core and is then superseded, or displaced by one of a
// higher slot: its hash is remembered all the same. What honest peers sent stays remembered, so it
// reaches the core once; and what the core broadcast is still there for a late joiner.
TEST_F(ScpIndexBoundTest, AForgerOfHighSlotsPushesOutOnlyHisOwn) {
  for (uint64_t peer : {1, 2, 66}) world_.Connect(peer);
  world_.Attach();
  world_.Close(kClosed, /*tracking=*/false);
  const std::vector<Bytes> honest = HonestFrom(1);
  for (size_t i = 0; i < honest.size(); i += 2) world_.Broadcast(honest[i]);
  EXPECT_THAT(world_.Delivered(), SizeIs(honest.size()));

  for (uint32_t i = 1; i <= 500; ++i) world_.From(66, Prepare(1'000'000'000 + i, 9, 1));
  EXPECT_EQ(world_.stats.seen_hashes, 100u);
  ExpectRemembered(honest, 2);

  world_.Close(kClosed, /*tracking=*/true);  // the window has an upper bound now
  for (uint32_t i = 1; i <= 500; ++i) world_.From(66, Prepare(kClosed + kSlotsAheadMax, 9, i));
  EXPECT_EQ(world_.stats.seen_hashes, 100u);
  ExpectRemembered(honest, 2);

  world_.Connect(3);
  world_.Question(3, 5);
  ASSERT_THAT(world_.answers, SizeIs(1));
  EXPECT_THAT(world_.answers[0].envelopes, SizeIs(honest.size() / 2));
}

// A forger that comes under a new key each time weighs as much as one that stays.
TEST_F(ScpIndexBoundTest, ThoseWhoHaveGoneCountAsOne) {
  for (uint64_t peer : {1, 2}) world_.Connect(peer);
  world_.Attach();
  world_.Close(kClosed, /*tracking=*/false);
  const std::vector<Bytes> honest = HonestFrom(1);
  for (uint64_t forger = 50; forger < 90; ++forger) {
    world_.Connect(forger);
    for (uint32_t i = 1; i <= 5; ++i) {
      world_.From(forger, Prepare(1'000'000'000 + 100 * forger + i, 9, 1));
    }
    world_.Disconnect(forger);
  }
  EXPECT_EQ(world_.stats.seen_hashes, 100u);
  ExpectRemembered(honest, 2);
  // One of them comes back: what it left is its own again.
  world_.Connect(89);
  EXPECT_EQ(world_.From(89, Prepare(1'000'000'000 + 100 * 89 + 5, 9, 1)), ScpWorld::kOld);
}

// The heaviest loses even if he was there first, and the newcomer is taken.
TEST_F(ScpIndexBoundTest, TheNewcomerIsTakenAtTheHeaviestsCost) {
  for (uint64_t peer : {1, 2}) world_.Connect(peer);
  world_.Attach();
  std::vector<Bytes> of_heaviest;
  for (uint32_t i = 1; i <= 100; ++i) {
    of_heaviest.push_back(Prepare(50 + i % 2, 9, i));
    world_.From(1, of_heaviest.back());
  }
  const std::vector<Bytes> honest = HonestFrom(2);
  ExpectRemembered(honest, 1);
  EXPECT_EQ(world_.stats.seen_hashes, 100u);
  // The earliest of his lowest slot, which is 50: the second that he sent.
  EXPECT_EQ(world_.From(2, of_heaviest[0]), ScpWorld::kOld);
  EXPECT_EQ(world_.From(2, of_heaviest[1]), ScpWorld::kNew);
}

// The core alone: nobody is charged, the lowest slot goes.
TEST_F(ScpIndexBoundTest, WhatTheCoreSaysGoesByItsSlot) {
  world_.Connect(1);
  world_.Attach();
  for (uint32_t i = 1; i <= 102; ++i) world_.Broadcast(Prepare(200 - i, 9, 1));
  EXPECT_EQ(world_.stats.seen_hashes, 100u);
  world_.Question(1, 5);
  ASSERT_THAT(world_.answers, SizeIs(1));
  EXPECT_THAT(world_.answers[0].envelopes,
              AllOf(SizeIs(100), Contains(Prepare(199, 9, 1)), Contains(Prepare(98, 9, 1)),
                    Not(Contains(Prepare(100, 9, 1)))));
}

}  // namespace
}  // namespace overlay::flood
