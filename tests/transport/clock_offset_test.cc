#include "transport/clock_offset.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kYear2026Us = 1'770'000'000'000'000;

// A peer whose clock is `offset` ahead of ours, asked over ways of two delays.
class ClockOffsetTest : public testing::Test {
 protected:
  void Ask(Duration there, Duration back) {
    now_ += 1s;
    const Time sent = now_;
    const WallTime theirs{Ours(sent + there).unix_us + ToMicros(offset_)};
    const Time came = sent + there + back;
    clock_.Add(came, there + back, Ours(came), theirs);
  }
  WallTime Ours(Time at) const { return {kYear2026Us + ToMicros(at.time_since_epoch())}; }

  Time now_{1h};
  Duration offset_ = 300ms;
  ClockOffset clock_;
};

TEST_F(ClockOffsetTest, EqualWaysCostNothing) {
  EXPECT_FALSE(clock_.offset());
  Ask(20ms, 20ms);
  EXPECT_EQ(clock_.offset(), 300ms);
  offset_ = -2h;
  Ask(5ms, 5ms);
  EXPECT_EQ(clock_.offset(), -2h);
}

// R1: a queue on one way spoils the sample by half of itself; the shortest round trip has none.
TEST_F(ClockOffsetTest, TheShortestRoundTripOfEightCounts) {
  Ask(10ms, 90ms);
  EXPECT_EQ(clock_.offset(), 260ms);
  Ask(11ms, 11ms);
  EXPECT_EQ(clock_.offset(), 300ms);
  for (int i = 0; i < 7; ++i) Ask(80ms, 10ms);
  EXPECT_EQ(clock_.offset(), 300ms);
  Ask(80ms, 10ms);
  EXPECT_EQ(clock_.offset(), 335ms) << "the ninth sample displaces the first that counted";
}

// R2: at the edge of what two samples can be wrong by, and beyond it.
TEST_F(ClockOffsetTest, AClockThatIsSetIsNoticedAtOnce) {
  Ask(5ms, 5ms);
  offset_ += 25ms;  // 5 ms and 20 ms of error, and the drift of one second
  Ask(20ms, 20ms);
  EXPECT_EQ(clock_.offset(), 300ms);
  offset_ += 2ms;
  Ask(20ms, 20ms);
  EXPECT_EQ(clock_.offset(), 327ms);
  offset_ = -30s;
  Ask(500ms, 500ms);
  EXPECT_EQ(clock_.offset(), -30s);
  Ask(5ms, 5ms);
  EXPECT_EQ(clock_.offset(), -30s);
}

TEST_F(ClockOffsetTest, ClocksThatDriftAreNotSet) {
  Ask(5ms, 5ms);
  now_ += 1000s;
  offset_ += 500ms;
  Ask(20ms, 20ms);
  EXPECT_EQ(clock_.offset(), 300ms);
  offset_ += 100ms;
  Ask(20ms, 20ms);
  EXPECT_EQ(clock_.offset(), 900ms);
}

TEST_F(ClockOffsetTest, AnyWordOfAPeerIsBorne) {
  for (const int64_t theirs : {std::numeric_limits<int64_t>::min(), int64_t{0}, int64_t{-1},
                               std::numeric_limits<int64_t>::max()}) {
    clock_.Add(now_, 1ms, Ours(now_), {theirs});
    ASSERT_TRUE(clock_.offset());
    const PeerClocks clocks = SummarizeClocks({*clock_.offset(), 0s});
    EXPECT_EQ(clocks.median_offset, 0s);
    EXPECT_GT(clocks.largest_offset, std::chrono::hours(24 * 365 * 50));
  }
}

// R3.
TEST(PeerClocksTest, HalfOfThePeersMayLie) {
  EXPECT_EQ(SummarizeClocks({}).measured, 0u);
  EXPECT_EQ(SummarizeClocks({2s}).median_offset, 2s);
  EXPECT_EQ(SummarizeClocks({2s, 1ms}).median_offset, 1ms);
  EXPECT_EQ(SummarizeClocks({-2s, -1ms}).median_offset, -1ms);
  EXPECT_EQ(SummarizeClocks({5ms, -3h, 1ms}).median_offset, 1ms);
  EXPECT_EQ(SummarizeClocks({-3h, 2ms, 1ms, -4h}).median_offset, 1ms);
  EXPECT_EQ(SummarizeClocks({3h, 2s, 4h, 2s}).median_offset, 2s);
  const PeerClocks clocks = SummarizeClocks({-3h, 2ms, 1h});
  EXPECT_EQ(clocks.measured, 3u);
  EXPECT_EQ(clocks.largest_offset, 3h);
  EXPECT_EQ(clocks.median_offset, 2ms);
}

}  // namespace
}  // namespace overlay::transport
