// What the bulk window learns from samples and how it moves (R1 to R10), on hand-computed figures;
// bulk_window_gate_test.cc has its bounds and the budget, bulk_window_link_test.cc what it comes to
// on a link.
#include "transport/bulk_window.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"
#include "tests/transport/bulk_window_fixture.h"

namespace overlay::transport {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

// ---- R1, R2, R3
// -----------------------------------------------------------------------------------

TEST_F(BulkWindowTest, OnlyReadsThatLowerTheFlightAreSamples) {
  Write(10'000);
  Ack(milliseconds(10), 0);
  EXPECT_EQ(window.base_rtt(), Duration(0));
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.base_rtt(), milliseconds(10));
  Ack(milliseconds(9), 0);
  EXPECT_EQ(window.base_rtt(), milliseconds(10));
  flight.in_flight_bytes += 100;
  Ack(milliseconds(9), 0);  // what was sent meanwhile is no acknowledgement
  EXPECT_EQ(window.base_rtt(), milliseconds(10));
}

TEST_F(BulkWindowTest, BaseLivesForTenBucketsOfOneSecond) {
  Write(10'000);
  now += milliseconds(999);  // the last moment of its second
  Ack(milliseconds(10), 1);
  for (int second = 1; second <= 9; ++second) {
    now += seconds(1);
    Ack(milliseconds(30), 1);
    EXPECT_EQ(window.base_rtt(), milliseconds(10)) << second;
  }
  now += milliseconds(1);
  Ack(milliseconds(30), 1);
  EXPECT_EQ(window.base_rtt(), milliseconds(30));
  Ack(milliseconds(20), 1);
  EXPECT_EQ(window.base_rtt(), milliseconds(20));
  now += seconds(100);
  Ack(milliseconds(50), 1);
  EXPECT_EQ(window.base_rtt(), milliseconds(50));
}

TEST_F(BulkWindowTest, QIsTheSmallestOfFourSamplesOverAQuarterRound) {
  Write(14'520);
  AckFour(milliseconds(10), 1);
  EXPECT_EQ(window.queueing_delay(), Duration(0));
  // Four samples, but a nanosecond early.
  now += nanoseconds(2'499'999);
  for (const int ms : {12, 15, 11, 14}) Ack(milliseconds(ms), 1);
  EXPECT_EQ(window.queueing_delay(), Duration(0));
  now += nanoseconds(1);
  Ack(milliseconds(13), 1);
  EXPECT_EQ(window.queueing_delay(), milliseconds(1));
  // Late, but only three samples.
  now += milliseconds(5);
  for (int i = 0; i < 3; ++i) Ack(milliseconds(13), 1);
  EXPECT_EQ(window.queueing_delay(), milliseconds(1));
  Ack(milliseconds(13), 1);
  EXPECT_EQ(window.queueing_delay(), milliseconds(3));
}

TEST_F(BulkWindowTest, EvaluatesAtMostEveryHalfMillisecond) {
  srtt = microseconds(400);  // a quarter would be 0.1 ms
  Write(14'520);
  now += microseconds(500);
  for (int i = 0; i < 4; ++i) Ack(microseconds(400), 1);
  now += nanoseconds(499'999);
  for (int i = 0; i < 4; ++i) Ack(microseconds(700), 1);
  EXPECT_EQ(window.queueing_delay(), Duration(0));
  now += nanoseconds(1);
  Ack(microseconds(700), 1);
  EXPECT_EQ(window.queueing_delay(), microseconds(300));
}

// ---- R4
// -------------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, TargetIsAMillisecondOrATwentiethOfBase) {
  EXPECT_EQ(window.target(), milliseconds(1));
  WriteControl(10'000);  // no bulk: no rate
  now += milliseconds(500);
  Ack(milliseconds(20), 1);
  EXPECT_EQ(window.target(), milliseconds(1));
  now += seconds(20);
  Ack(milliseconds(40), 1);
  EXPECT_EQ(window.target(), milliseconds(2));
}

// 1,480 bytes in 6 ms: half a packet's time is 3 ms.
TEST_F(BulkWindowTest, TargetIsHalfAPacketsTimeOnASlowLink) {
  srtt = milliseconds(6);
  Write(14'520);
  now += milliseconds(6) - nanoseconds(1);
  Ack(milliseconds(6), 1'479);
  EXPECT_EQ(window.target(), milliseconds(1));  // the round is not over
  now += nanoseconds(1);
  Ack(milliseconds(6), 1);
  EXPECT_EQ(window.target(), milliseconds(3));
  // Twice as fast counts at once.
  now += milliseconds(6);
  Ack(milliseconds(6), 2'960);
  EXPECT_EQ(window.target(), microseconds(1'500));
  // Slower: the round before used 0.75 W (11,560 of 14,520 + 4,440 were in flight: no), so it does
  // not count.
  now += milliseconds(6);
  Ack(milliseconds(6), 740);
  EXPECT_EQ(window.target(), microseconds(1'500));
}

// A slower round counts when it and the one before used 0.75 W, and only then.
TEST_F(BulkWindowTest, ASlowerRoundCountsWhenTheWindowWasUsed) {
  GoSteady();
  const uint64_t enough = window.window_bytes() * 3 / 4 + 1;
  const BulkWindow steady = window;
  const Time began = now;
  ASSERT_GT(steady.rate_bytes_per_second(), 200'000);
  const double expected[] = {steady.rate_bytes_per_second(), 200'000, 100'000};
  for (const int unused_round : {0, 1, 2}) {
    SCOPED_TRACE(unused_round);
    window = steady;
    now = began;
    LoseAll();
    for (const int round : {0, 1}) {
      now += milliseconds(10);
      Write((round == unused_round ? enough - 2 : enough) - flight.in_flight_bytes);
      Ack(milliseconds(10), round == 0 ? 2'000 : 1'000);
    }
    EXPECT_DOUBLE_EQ(window.rate_bytes_per_second(), expected[unused_round]);
  }
}

// ---- R5
// -------------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, JitterIsTheClippedSecondDifference) {
  GoSteady();
  Write(1'000);
  const auto sample = [this](int us) { Ack(microseconds(us), 1); };
  // A queue that grows steadily is no jitter. (Those before were 10 ms.)
  for (const int us : {10'000, 10'100, 10'200, 10'300}) sample(us);
  // The bend from flat to growing was 50 us, exactly the clip: 50/32 us, then 31/32 of it twice.
  EXPECT_EQ(window.jitter(), nanoseconds(1'466));
  const Duration largest = window.jitter_largest();
  EXPECT_EQ(largest, nanoseconds(1'562));
  // 10.2, 10.3, 12.3: |10.3 - 11.25| = 950 us, clipped to 50 us + 4 D.
  sample(12'300);
  EXPECT_EQ(window.jitter(), nanoseconds(3'166));  // 1,466.4 + (50,000 + 3 x 1,466.4)/32
}

TEST_F(BulkWindowTest, JitterIsNotLearnedInStartNorHoldNorAboveTheTarget) {
  Write(14'520);
  for (int i = 0; i < 8; ++i) Ack(milliseconds(i % 2 == 0 ? 10 : 12), 1);
  EXPECT_EQ(window.jitter(), Duration(0));
  AckFour(milliseconds(10), 10);
  AckFour(milliseconds(13), 10);
  ASSERT_EQ(window.phase(), BulkWindow::Phase::kSteady);
  ASSERT_TRUE(window.holding());
  for (int i = 0; i < 8; ++i) Ack(milliseconds(i % 2 == 0 ? 10 : 12), 1);
  EXPECT_EQ(window.jitter(), Duration(0));
  Ack(milliseconds(10), flight.in_flight_bytes);
  ASSERT_FALSE(window.holding());
  // q is still 3 ms: nothing is learned before an evaluation says otherwise.
  ASSERT_GT(window.queueing_delay(), window.target());
  Write(1'000);
  for (int i = 0; i < 3; ++i) Ack(milliseconds(i % 2 == 0 ? 10 : 12), 1);
  EXPECT_EQ(window.jitter(), Duration(0));
  now += srtt / 4;
  Ack(milliseconds(10), 1);
  ASSERT_EQ(window.queueing_delay(), Duration(0));
  Ack(milliseconds(12), 1);
  EXPECT_GT(window.jitter(), Duration(0));
}

TEST_F(BulkWindowTest, TargetFollowsTheLargestJitterUpToItsCap) {
  GoSteady();
  Write(2'500);
  // Enough alternation for the clip to double its way up: D far over 1 ms.
  for (int i = 0; i < 400; ++i) Ack(milliseconds(i % 2 == 0 ? 10 : 14), 1);
  ASSERT_GT(6 * window.jitter_largest(), milliseconds(6));
  EXPECT_EQ(window.target(), milliseconds(6));
  const Duration largest = window.jitter_largest();
  // It halves in one step of 30 s and more steps come to 1/e; D itself goes as samples come.
  for (int i = 0; i < 500; ++i) Ack(milliseconds(10), 1);
  EXPECT_LT(window.jitter(), microseconds(1));
  EXPECT_NEAR(static_cast<double>(window.jitter_largest().count()),
              static_cast<double>(largest.count()), 2);
  now += seconds(30);
  Ack(milliseconds(10), 1);
  EXPECT_NEAR(static_cast<double>(window.jitter_largest().count()),
              static_cast<double>(largest.count()) / 2, 2);
  EXPECT_EQ(window.target(), std::min<Duration>(milliseconds(6), 6 * largest / 2));
}

// ---- R6
// -------------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, StartGrowsByAckedWhileHalfIsUsed) {
  EXPECT_EQ(window.window_bytes(), 14'520u);
  Write(7'259);
  Ack(milliseconds(10), 100);
  EXPECT_EQ(window.window_bytes(), 14'520u);
  Write(101);  // 7,260 in flight
  Ack(milliseconds(10), 200);
  EXPECT_EQ(window.window_bytes(), 14'720u);
}

// Losses that a timer declares leave the flight as well: they are part of the next sample's growth.
TEST_F(BulkWindowTest, LossesByTimerCountAsDeparted) {
  Write(10'000);
  flight.in_flight_bytes -= 1'000;
  window.OnFlight(now, flight);
  EXPECT_EQ(window.base_rtt(), Duration(0));
  Ack(milliseconds(10), 500);
  EXPECT_EQ(window.window_bytes(), 16'020u);
}

TEST_F(BulkWindowTest, StartEndsAtTheFirstQOverTheTarget) {
  Write(14'520);
  AckFour(milliseconds(10), 363);
  Write(2'904);
  AckFour(milliseconds(11), 363);  // q = T
  EXPECT_EQ(window.phase(), BulkWindow::Phase::kStart);
  EXPECT_EQ(window.window_bytes(), 17'424u);
  AckFour(milliseconds(11) + nanoseconds(1), 363);
  EXPECT_EQ(window.phase(), BulkWindow::Phase::kSteady);
  // used = 14,520 (after the second evaluation), W = 18,876: 0.5 x 14,520 x 9.5/11.000001.
  EXPECT_EQ(window.window_bytes(), 6'269u);
  EXPECT_TRUE(window.holding());
  EXPECT_EQ(window.window_before_cut_bytes(), 0u);  // nothing to refill to
}

// ---- R7
// -------------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, CutsBelowAnEmptyQueueAndHoldsUntilTheFlightHasLeft) {
  GoSteady();
  Write(6'000);
  AckFour(milliseconds(11), 100);  // q = T: no cut; it grew
  EXPECT_FALSE(window.holding());
  const uint64_t grown = window.window_bytes();
  EXPECT_GT(grown, 6'322u);
  EXPECT_EQ(flight.in_flight_bytes, 5'600u);
  AckFour(milliseconds(11) + nanoseconds(1), 100);
  EXPECT_TRUE(window.holding());
  // used = 5,600: 5,600 x 9.5/11.000001.
  EXPECT_EQ(window.window_bytes(), 4'836u);
  EXPECT_EQ(window.window_before_cut_bytes(), 5'600u);
  // What was in flight is 5,200; until all of it has left nothing more is cut, nor grown.
  Write(1'000);
  AckFour(milliseconds(15), 1'299);
  EXPECT_TRUE(window.holding());
  EXPECT_EQ(window.window_bytes(), 4'836u);
  Ack(milliseconds(15), 4);
  EXPECT_FALSE(window.holding());
  // The samples from before were discarded: four new ones are needed, and say that all is well.
  Ack(milliseconds(10), 1);
  AckFour(milliseconds(10), 100);
  EXPECT_EQ(window.queueing_delay(), Duration(0));
  EXPECT_FALSE(window.holding());
}

TEST_F(BulkWindowTest, CutsByHalfAtMost) {
  GoSteady();
  Write(6'000);
  AckFour(milliseconds(29), 100);  // 9.5/29 is a third
  EXPECT_EQ(window.window_bytes(), 3'000u);
}

// ---- R8, R9
// ---------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, GrowsByTheRootWhereThreeQuartersAreUsed) {
  GoSteady();
  Write(4'741);  // 0.75 x 6,322.25 = 4,741.69
  AckFour(milliseconds(10), 1);
  EXPECT_EQ(window.window_bytes(), 6'322u);
  Write(5);  // 4,742 in flight at its most
  AckFour(milliseconds(10), 1);
  // 0.25 sqrt(6,322.25 x 1,480) = 764.7 (below W/8 = 790.3), a quarter of a round: 191.2.
  EXPECT_EQ(window.window_bytes(), 6'513u);
  // At q = T too. 0.25 sqrt(6,513.4 x 1,480) / 4 = 194.05
  Write(6'000);
  AckFour(milliseconds(11), 1);
  EXPECT_EQ(window.window_bytes(), 6'707u);
}

// A long time between two evaluations counts for one round at most.
TEST_F(BulkWindowTest, GrowsByOneRoundAtMost) {
  GoSteady();
  Write(6'000);
  now += milliseconds(500);
  AckFour(milliseconds(10), 1);
  EXPECT_EQ(window.window_bytes(), 7'086u);  // 6,322.25 + 764.7
}

TEST_F(BulkWindowTest, DoublesTheStepAfterEightQuietRounds) {
  GoSteady();
  Write(1'000'000);  // always used
  // The first evaluation begins the quiet time. Up to 8 rounds (and the ninth not yet over) the
  // step is the root's, then it doubles with each round until it is W/8.
  double expected = 6'322.25;
  for (int quarter = 0; quarter < 80; ++quarter) {
    AckFour(microseconds(10'249), 1'000);  // a hair below T/4
    const double root = std::max(std::min(0.25 * std::sqrt(expected * 1'480), expected / 8), 740.0);
    const double factor = quarter < 36 ? 1 : 1 << (quarter / 4 - 8);
    expected += std::max(root, std::min(root * factor, expected / 8)) / 4;
    ASSERT_EQ(window.window_bytes(), static_cast<uint64_t>(expected)) << quarter;
  }
  EXPECT_GT(expected, 50'000);
}

TEST_F(BulkWindowTest, AQuarterOfTheTargetIsNotQuiet) {
  GoSteady();
  Write(1'000'000);
  double expected = 6'322.25;
  AckFour(milliseconds(10), 1'000);
  expected += 0.25 * std::sqrt(expected * 1'480) / 4;
  for (int quarter = 0; quarter < 60; ++quarter) {
    AckFour(microseconds(10'250), 1'000);
    expected += std::max(std::min(0.25 * std::sqrt(expected * 1'480), expected / 8), 740.0) / 4;
  }
  EXPECT_EQ(window.window_bytes(), static_cast<uint64_t>(expected));
}

// An unused link is quiet, which says nothing about its rate.
TEST_F(BulkWindowTest, AnUnusedWindowDoesNotCountAsQuiet) {
  GoSteady();
  Write(100);
  for (int quarter = 0; quarter < 60; ++quarter) {
    Write(4);
    AckFour(milliseconds(10), 1);
  }
  ASSERT_EQ(window.window_bytes(), 6'322u);
  Write(10'000);
  AckFour(milliseconds(10), 1);
  EXPECT_EQ(window.window_bytes(), 6'513u);
}

// ---- R10
// ------------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, RefillsToNineTenthsOfWhatItWasBeforeTheCut) {
  GoSteady();
  Write(6'000);
  AckFour(milliseconds(12), 100);
  ASSERT_EQ(window.window_bytes(), 4'750u);  // 6,000 x 9.5/12
  ASSERT_EQ(window.window_before_cut_bytes(), 6'000u);
  DrainAll(milliseconds(10));
  Write(4'000);
  // Stale q = 2 ms: no refill before an evaluation. The fourth sample evaluates and grows.
  AckFour(milliseconds(10), 50);
  const uint64_t grown = window.window_bytes();
  EXPECT_EQ(grown, 4'935u);  // 4,750 + 740/4: W/8 is less than half a packet
  Write(200);
  Ack(milliseconds(10), 100);
  EXPECT_EQ(window.window_bytes(), 5'035u);
  Ack(milliseconds(10), 1'000);
  EXPECT_EQ(window.window_bytes(), 5'400u);
  Ack(milliseconds(10), 1'000);
  EXPECT_EQ(window.window_bytes(), 5'400u);
}

TEST_F(BulkWindowTest, RefillsOnlyBelowHalfTheTarget) {
  for (const int us : {499, 500}) {
    SCOPED_TRACE(us);
    window = BulkWindow(now);
    flight = {};
    GoSteady();
    Write(6'000);
    AckFour(milliseconds(12), 100);
    DrainAll(milliseconds(10));
    Write(5'000);
    AckFour(milliseconds(10) + microseconds(us), 50);
    const uint64_t before = window.window_bytes();
    Ack(milliseconds(10), 100);
    EXPECT_EQ(window.window_bytes(), before + (us < 500 ? 100 : 0));
    now += seconds(60);  // forget this base
  }
}

TEST_F(BulkWindowTest, RefillsOnlyWhereThreeQuartersAreUsed) {
  GoSteady();
  Write(6'000);
  AckFour(milliseconds(12), 100);
  DrainAll(milliseconds(10));
  Write(3'000);
  AckFour(milliseconds(10), 50);
  ASSERT_EQ(window.window_bytes(), 4'750u);
  Write(762);  // 3,562 in flight; 0.75 x 4,750 = 3,562.5
  Ack(milliseconds(10), 100);
  EXPECT_EQ(window.window_bytes(), 4'750u);
  Write(101);  // 3,563
  Ack(milliseconds(10), 100);
  EXPECT_EQ(window.window_bytes(), 4'850u);
}

// The second cut of a row is for the same queue: Wm stays, until an evaluation found q <= T.
TEST_F(BulkWindowTest, ARowOfCutsKeepsTheFirstWindow) {
  GoSteady();
  Write(6'000);
  AckFour(milliseconds(12), 100);
  ASSERT_EQ(window.window_before_cut_bytes(), 6'000u);
  DrainAll(milliseconds(12));
  Write(4'600);
  AckFour(milliseconds(12), 100);
  EXPECT_EQ(window.window_bytes(), 3'641u);  // 4,600 x 9.5/12
  EXPECT_EQ(window.window_before_cut_bytes(), 6'000u);
  DrainAll(milliseconds(12));
  Write(3'600);
  AckFour(milliseconds(10), 100);
  Write(400);
  AckFour(milliseconds(12), 100);
  EXPECT_EQ(window.window_before_cut_bytes(), 3'600u);
}

}  // namespace
}  // namespace overlay::transport
