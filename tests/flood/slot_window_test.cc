#include "flood/slot_window.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class SlotWindowTest : public testing::Test {
 protected:
  Time At(Duration after) const { return Time(std::chrono::hours(5)) + after; }
  bool Close(Duration after, uint64_t seq, bool tracking = true,
             const std::vector<LedgerSeq>& keep = {}) {
    const bool moved = window_.OnLedgerClosed(At(after), {seq}, tracking, keep);
    window_.CheckInvariants();
    return moved;
  }
  uint64_t Oldest() const { return window_.oldest_kept().value; }

  Limits limits_;
  SlotWindow window_{limits_};
};

TEST_F(SlotWindowTest, BeforeTheFirstCloseAllIsTaken) {
  EXPECT_TRUE(window_.IsKept({0}));
  EXPECT_TRUE(window_.IsTakenFromPeers(At({}), {UINT64_MAX}));
  EXPECT_EQ(window_.UpperBound(At({})), std::nullopt);
  EXPECT_EQ(window_.NextDeadline(), std::nullopt);
  EXPECT_FALSE(window_.OnDeadline(At({})));
  window_.CheckInvariants();
}

TEST_F(SlotWindowTest, TwelveSlotsAndAllAhead) {
  EXPECT_TRUE(Close({}, 100));
  EXPECT_EQ(Oldest(), 89u);
  EXPECT_FALSE(window_.IsKept({88}));
  EXPECT_TRUE(window_.IsKept({89}));
  EXPECT_TRUE(window_.IsTakenFromPeers(At({}), {200}));
  EXPECT_FALSE(window_.IsTakenFromPeers(At({}), {201}));
  EXPECT_TRUE(window_.IsKept({201}));  // what the core broadcasts ahead is kept all the same
}

TEST_F(SlotWindowTest, LowLedgersDoNotWrap) {
  EXPECT_FALSE(Close({}, 5));
  EXPECT_EQ(Oldest(), 0u);
  EXPECT_TRUE(window_.IsKept({0}));
}

// Ledgers of half a second: a minute of them is kept, to the nanosecond.
TEST_F(SlotWindowTest, AMinuteIsKept) {
  for (int i = 0; i <= 100; ++i) Close(milliseconds(500) * i, 1000 + i);
  EXPECT_EQ(Oldest(), 1000u);
  EXPECT_FALSE(window_.OnDeadline(At(seconds(60)) - Duration(1)));
  ASSERT_EQ(window_.NextDeadline(), At(seconds(60)));
  EXPECT_TRUE(window_.OnDeadline(At(seconds(60))));
  EXPECT_EQ(Oldest(), 1001u);
  EXPECT_EQ(window_.NextDeadline(), At(seconds(60) + milliseconds(500)));
  // With nothing closing, twelve are left in the end.
  EXPECT_TRUE(window_.OnDeadline(At(seconds(300))));
  EXPECT_EQ(Oldest(), 1089u);
  EXPECT_EQ(window_.NextDeadline(), std::nullopt);
  window_.CheckInvariants();
}

TEST_F(SlotWindowTest, NeverMoreThan128) {
  for (int i = 0; i < 300; ++i) {
    Close(milliseconds(100) * i, 1000 + i);
    EXPECT_GE(Oldest() + 127, 1000u + i);
  }
  EXPECT_EQ(Oldest(), 1299u - 127);
}

// Slots that were jumped over closed with the one that was named.
TEST_F(SlotWindowTest, AJumpClosesWhatItSkips) {
  Close({}, 100);
  Close(seconds(120), 150);
  EXPECT_EQ(Oldest(), 101u);
  EXPECT_TRUE(window_.OnDeadline(At(seconds(180))));
  EXPECT_EQ(Oldest(), 139u);
  Close(seconds(181), 100'000);
  EXPECT_EQ(Oldest(), 100'000u - 127);
}

TEST_F(SlotWindowTest, ALowerCloseMovesNothingBack) {
  Close({}, 100, true, {{50}});
  EXPECT_FALSE(Close(seconds(1), 90, true, {{51}, {52}, {53}, {54}}));
  EXPECT_EQ(window_.newest_closed().value, 100u);
  EXPECT_EQ(Oldest(), 89u);
  for (uint64_t slot : {50, 51, 52, 53}) EXPECT_TRUE(window_.IsKept({slot})) << slot;
  EXPECT_FALSE(window_.IsKept({54}));  // four at most
  EXPECT_TRUE(window_.IsTakenFromPeers(At({}), {50}));
  EXPECT_TRUE(Close(seconds(2), 100, true, {{54}}));  // at the newest they are replaced
  EXPECT_FALSE(window_.IsKept({50}));
  EXPECT_TRUE(window_.IsKept({54}));
}

TEST_F(SlotWindowTest, TheUpperBoundNeedsATrackingCoreThatCloses) {
  Close({}, 100);
  EXPECT_EQ(window_.UpperBound(At(seconds(30)) - Duration(1)), LedgerSeq{200});
  EXPECT_EQ(window_.UpperBound(At(seconds(30))), std::nullopt);
  EXPECT_TRUE(window_.IsTakenFromPeers(At(seconds(30)), {5000}));
  EXPECT_FALSE(window_.IsTakenFromPeers(At(seconds(30)), {88}));
  Close(seconds(31), 100);  // not a new one
  EXPECT_EQ(window_.UpperBound(At(seconds(31))), std::nullopt);
  Close(seconds(32), 101);
  EXPECT_EQ(window_.UpperBound(At(seconds(32))), LedgerSeq{201});
  Close(seconds(33), 102, /*tracking=*/false);
  EXPECT_EQ(window_.UpperBound(At(seconds(33))), std::nullopt);
  // A core that attaches is not tracking until it says so.
  Close(seconds(34), 103);
  window_.OnCoreAttached(At(seconds(34)), {50});
  EXPECT_EQ(window_.UpperBound(At(seconds(34))), std::nullopt);
  EXPECT_EQ(window_.newest_closed().value, 103u);
  EXPECT_TRUE(window_.OnCoreAttached(At(seconds(34)), {400}));
  EXPECT_EQ(window_.newest_closed().value, 400u);
}

}  // namespace
}  // namespace overlay::flood
