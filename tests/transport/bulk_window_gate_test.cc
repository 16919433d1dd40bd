// The bulk window's bounds and the budget that it gives (R11 to R16), on hand-computed figures.
#include "transport/bulk_window.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

#include "flood/base/random.h"
#include "gtest/gtest.h"
#include "tests/transport/bulk_window_fixture.h"

namespace overlay::transport {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr uint64_t P = kBulkPacketBytes;

// ---- R11, R12
// -------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, FloorIsASixteenthOfTheLargestRate) {
  Write(100'000);
  for (int i = 0; i < 4; ++i) AckFour(milliseconds(10), 5'000);  // 80,000 bytes in 10 ms
  EXPECT_DOUBLE_EQ(window.rate_largest_bytes_per_second(), 8e6);
  AckFour(milliseconds(510), 10);
  EXPECT_EQ(window.window_bytes(), 5'000u);  // 0.5 x 20,000 x 9.5/510 would be 186
  srtt = milliseconds(20);
  Ack(milliseconds(510), 10);
  EXPECT_EQ(window.window_bytes(), 10'000u);
  // Halves with a step of 60 s.
  now += seconds(60) - milliseconds(2) - microseconds(500);
  Ack(milliseconds(510), 10);
  EXPECT_DOUBLE_EQ(window.rate_largest_bytes_per_second(), 4e6);
  EXPECT_EQ(window.floor_bytes(), 5'000u);
}

TEST_F(BulkWindowTest, FloorIsTwoPackets) {
  GoSteady();
  for (int i = 0; i < 4; ++i) {
    Write(6'000);
    AckFour(milliseconds(200), 100);
    DrainAll(milliseconds(200));
  }
  EXPECT_EQ(window.window_bytes(), 2 * P);
}

TEST_F(BulkWindowTest, NeverOverTwiceTheCongestionWindow) {
  cwnd = 5'000;
  Write(10'000);
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.window_bytes(), 10'000u);
  cwnd = 1'000;
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.window_bytes(), 2 * P);
}

TEST_F(BulkWindowTest, FloorGivesWayToTheCongestionWindow) {
  Write(100'000);
  for (int i = 0; i < 4; ++i) AckFour(milliseconds(10), 5'000);
  AckFour(milliseconds(510), 10);
  ASSERT_EQ(window.window_bytes(), 5'000u);
  cwnd = 2'000;
  Ack(milliseconds(510), 10);
  EXPECT_EQ(window.window_bytes(), 4'000u);
}

TEST_F(BulkWindowTest, ShortPathsStopAt256KiB) {
  srtt = microseconds(100);
  Write(300'000);
  Ack(microseconds(100), 247'623);
  EXPECT_EQ(window.window_bytes(), 262'143u);
  Ack(microseconds(100), 2);
  EXPECT_EQ(window.window_bytes(), 262'144u);
}

TEST_F(BulkWindowTest, LongPathsGoBeyond256KiBAsTheirRateGrows) {
  Write(2'500'000);
  for (int i = 0; i < 4; ++i) AckFour(milliseconds(10), 25'000);  // 400,000 bytes in 10 ms
  // The cap fell at the last of these samples: 262,144 + 25,000.
  EXPECT_EQ(window.window_bytes(), 287'144u);
  Ack(milliseconds(10), 1'312'855);
  EXPECT_EQ(window.window_bytes(), 1'599'999u);
  Ack(milliseconds(10), 100);
  EXPECT_EQ(window.window_bytes(), 1'600'000u);  // 4 x 40 MB/s x 10 ms
}

TEST_F(LargeBulkWindowTest, SteadyStopsAtTwiceTheRate) {
  Write(1'000'000);
  AckFour(milliseconds(10), 12'500);
  EXPECT_EQ(window.window_bytes(), 400'000u);
}

// A queue as long as the path: the link's rate is known, and W before was for a faster one.
TEST_F(LargeBulkWindowTest, ACutByHalfRefillsToTheRateOnly) {
  const BulkWindow grown = window;
  for (const int rtt_ms : {18, 20}) {  // 9.5/18 is over a half, 9.5/20 is not
    SCOPED_TRACE(rtt_ms);
    window = grown;
    flight = {};
    Write(500'000);
    for (int quarter = 0; quarter < 8; ++quarter) AckFour(milliseconds(10), 2'500);
    ASSERT_NEAR(window.rate_bytes_per_second(), 4e6, 1);
    AckFour(milliseconds(rtt_ms), 2'500);
    if (rtt_ms == 18) {
      EXPECT_NEAR(static_cast<double>(window.window_before_cut_bytes()), 399'800, 200);
    } else {
      EXPECT_EQ(window.window_before_cut_bytes(), 44'000u);  // 4 MB/s x (10 + 1) ms
    }
  }
}

// ---- R13
// ------------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, BulkStopsAtTheWindow) {
  EXPECT_EQ(window.BulkBudget(now), 10 * P);  // 14,520 bytes, the last packet whole
  Write(14'519);
  now += milliseconds(500);
  EXPECT_EQ(window.BulkBudget(now), P);
  Write(1);
  EXPECT_EQ(window.BulkBudget(now), 0u);
  EXPECT_EQ(window.NextDeadline(), std::nullopt);
  // Class 0 in flight is not bulk.
  flight.class0_unacked_bytes = 2 * P;
  window.OnFlight(now, flight);
  EXPECT_EQ(window.bulk_in_flight_bytes(), 14'520 - 2 * P);
  EXPECT_EQ(window.BulkBudget(now), 2 * P);
}

TEST_F(BulkWindowTest, LeavesAQuarterToClass0WhileTheControllerIsInSlowStart) {
  cwnd = 16'000;
  ssthresh = 16'001;
  Write(12'001);
  now += milliseconds(500);
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.BulkBudget(now), 0u);
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.BulkBudget(now), P);
  ssthresh = 16'000;  // congestion avoidance: W alone, now 14,522
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.BulkBudget(now), 2 * P);
}

// ---- R14, R15
// -------------------------------------------------------------------------------------

TEST_F(BulkWindowTest, TokensInSteadyState) {
  GoSteady();
  now += milliseconds(100);
  EXPECT_EQ(window.BulkBudget(now), 5 * P);  // the window is the limit: 6,322
  window.OnBulkWritten(now, 10 * P);         // all tokens
  EXPECT_EQ(window.BulkBudget(now), 0u);
  // 1.25 x 6,322.25 / 10 ms: a packet takes 1,480 / 790.28 ms.
  ASSERT_TRUE(window.NextDeadline().has_value());
  EXPECT_NEAR(static_cast<double>((*window.NextDeadline() - now).count()), 1'872'750, 100);
  now = *window.NextDeadline();
  EXPECT_EQ(window.BulkBudget(now - nanoseconds(10)), 0u);
  EXPECT_EQ(window.BulkBudget(now), P);
  EXPECT_EQ(*window.NextDeadline(), now);
}

TEST_F(BulkWindowTest, TokensInStart) {
  Write(1'000);
  Ack(milliseconds(10), 1);
  now += milliseconds(100);
  window.OnBulkWritten(now, 10 * P);
  // 2 x 14,520 / 10 ms.
  EXPECT_NEAR(static_cast<double>((*window.NextDeadline() - now).count()), 509'641, 100);
}

TEST_F(BulkWindowTest, AnOverdraftIsPaidLater) {
  GoSteady();
  now += milliseconds(100);
  window.OnBulkWritten(now, 12 * P);
  // Two packets and one: 3 x 1.87275 ms.
  EXPECT_NEAR(static_cast<double>((*window.NextDeadline() - now).count()), 5'618'250, 300);
  window.OnBulkWritten(now, 1'000 * P);
  // Ten packets of debt at most.
  EXPECT_NEAR(static_cast<double>((*window.NextDeadline() - now).count()), 20'600'250, 1'000);
}

TEST_F(LargeBulkWindowTest, TwoMillisecondsOfTokensInPasses) {
  now += milliseconds(100);
  // 1.25 x 400,000 / 10 ms x 2 ms = 100,000 bytes, in passes of 10 packets (0.2 ms would be 8,000).
  uint64_t taken = 0;
  for (int pass = 0; pass < 6; ++pass) {
    ASSERT_EQ(window.BulkBudget(now), 10 * P) << pass;
    window.OnBulkWritten(now, 10 * P);
    taken += 10 * P;
  }
  EXPECT_EQ(window.BulkBudget(now), (100'000 - taken) / P * P);
  window.OnBulkWritten(now, (100'000 - taken) / P * P);
  EXPECT_EQ(window.BulkBudget(now), 0u);
  // 0.2 ms of tokens (10,000 bytes), not each packet: (10,000 - 840) / 50,000 ms.
  EXPECT_NEAR(static_cast<double>((*window.NextDeadline() - now).count()), 183'200, 100);
}

TEST_F(LargeBulkWindowTest, APassIsAFifthOfAMillisecondUpTo64KiB) {
  now += milliseconds(10);
  Write(2);
  srtt = milliseconds(2);
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.BulkBudget(now), 27 * P);  // 0.2 x 400,000 / 2 = 40,000
  srtt = milliseconds(1);
  Ack(milliseconds(10), 1);
  EXPECT_EQ(window.BulkBudget(now), 44 * P);  // 80,000 would be 54
}

// ---- R16
// ------------------------------------------------------------------------------------------

TEST_F(LargeBulkWindowTest, AfterASecondWithoutBulkAQuarterIsLeft) {
  Write(2);
  now += seconds(1) - nanoseconds(1);
  window.BulkBudget(now);
  EXPECT_EQ(window.window_bytes(), 400'000u);
  now += nanoseconds(1);
  window.BulkBudget(now);
  EXPECT_EQ(window.window_bytes(), 100'000u);
  EXPECT_EQ(window.window_before_cut_bytes(), 400'000u);
  // Once, however long it lasts; class 0's acknowledgements renew base meanwhile and grow nothing.
  for (int second = 0; second < 20; ++second) {
    now += seconds(1);
    flight = {300, 300};
    window.OnFlight(now, flight);
    flight.class0_unacked_bytes = 0;
    Ack(milliseconds(11), 300);
  }
  EXPECT_EQ(window.window_bytes(), 100'000u);
  EXPECT_EQ(window.base_rtt(), milliseconds(11));
  // The next bulk refills.
  Write(100'000);
  Ack(milliseconds(11), 10'000);
  EXPECT_EQ(window.window_bytes(), 110'000u);
}

TEST_F(LargeBulkWindowTest, AnIdleTimeNeverLeavesLessThanTheInitialWindow) {
  Write(100'000);
  AckFour(milliseconds(30), 100);  // 50,000 by half; a quarter of it would be 12,500
  ASSERT_EQ(window.window_bytes(), 50'000u);
  LoseAll();
  now += seconds(2);
  window.BulkBudget(now);
  EXPECT_EQ(window.window_bytes(), kBulkWindowBytesInitial);
}

TEST_F(BulkWindowTest, AnIdleTimeNeverWidens) {
  GoSteady();
  now += seconds(2);
  window.BulkBudget(now);
  EXPECT_EQ(window.window_bytes(), 6'322u);
  EXPECT_EQ(window.window_before_cut_bytes(), 6'322u);
}

// Bulk that nobody acknowledges is stuck, not idle; two packets of control frames are no bulk.
TEST_F(LargeBulkWindowTest, StuckIsNotIdle) {
  Write(2 * P + 1);
  now += seconds(5);
  window.BulkBudget(now);
  EXPECT_EQ(window.window_bytes(), 400'000u);
  flight.in_flight_bytes -= 1;
  window.OnFlight(now, flight);
  window.BulkBudget(now);
  EXPECT_EQ(window.window_bytes(), 100'000u);
}

// ---- Time, and anything at all
// --------------------------------------------------------------------

TEST_F(BulkWindowTest, AStepBackwardsIsNoTimePassed) {
  GoSteady();
  now += milliseconds(100);
  window.OnBulkWritten(now, 10 * P);
  const Time before = now;
  const Time deadline = *window.NextDeadline();
  now -= seconds(50);
  EXPECT_EQ(window.BulkBudget(now), 0u);
  Write(100);
  Ack(milliseconds(10), 100);
  now = before;
  EXPECT_EQ(window.BulkBudget(now), 0u);
  EXPECT_GE(*window.NextDeadline(), deadline);
  now = deadline + milliseconds(1);
  EXPECT_GE(window.BulkBudget(now), P);
}

// Whatever it is told, the window stays between its bounds and the budget within the gates.
TEST(BulkWindowRandom, KeepsItsInvariants) {
  uint64_t opened_count = 0, cut_count = 0, idle_count = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    Time now{seconds(1)};
    BulkWindow window(now);
    BulkWindow::Flight flight;
    BulkWindow::Sample sample;
    // Half of the seeds wander wildly, half stay near a path that makes sense.
    const bool wild = seed % 2 == 0;
    const Duration rtt = microseconds(1 + random.Below(100'000));
    for (int step = 0; step < 3'000; ++step) {
      now += random.UpTo(
          wild ? Duration(seconds(3)) / static_cast<int64_t>(1 + random.Below(10'000)) : rtt / 4);
      if (random.Chance(0.01)) now -= random.UpTo(seconds(5));
      if (random.Chance(0.001)) now += random.UpTo(seconds(30));
      const uint64_t before = window.window_bytes();
      switch (random.Below(3)) {
        case 0: {
          flight.in_flight_bytes -= random.Below(flight.in_flight_bytes + 1);
          flight.class0_unacked_bytes = random.Below(wild ? 1 << 20 : 5'000);
          sample.flight = flight;
          sample.latest_rtt = rtt + random.UpTo(milliseconds(random.Chance(0.3) ? 20 : 1));
          sample.smoothed_rtt = sample.latest_rtt;
          if (wild && random.Chance(0.1)) {
            sample.latest_rtt = Duration(static_cast<int64_t>(random.Next()));
            sample.smoothed_rtt = Duration(static_cast<int64_t>(random.Next()));
          }
          sample.cwnd_bytes = random.Next() >> random.Below(64);
          if (!wild) sample.cwnd_bytes = 20'000 + random.Below(2'000'000);
          sample.ssthresh_bytes = random.Chance(0.5) ? UINT64_MAX : random.Next();
          window.OnSample(now, sample);
          ASSERT_LE(window.window_bytes(), std::max<uint64_t>(2 * P, 1'000'000'000'000));
          if (sample.cwnd_bytes > 0 && sample.cwnd_bytes < UINT64_MAX / 2) {
            ASSERT_LE(window.window_bytes(), std::max(2 * P, 2 * sample.cwnd_bytes));
          }
          break;
        }
        case 1: {
          const uint64_t budget = window.BulkBudget(now);
          ASSERT_EQ(budget % P, 0u);
          ASSERT_LE(budget, kBulkPassBytesMax);
          if (window.bulk_in_flight_bytes() >= window.window_bytes() + 1) {
            ASSERT_EQ(budget, 0u);
          }
          if (budget > 0) {
            ++opened_count;
            ASSERT_LT(window.bulk_in_flight_bytes() + budget, window.window_bytes() + 1 + P);
          }
          if (budget == 0) {
            const std::optional<Time> deadline = window.NextDeadline();
            if (deadline && random.Chance(0.2)) {
              ASSERT_GT(*deadline, Time{});
              now = std::max(now, *deadline);
              ASSERT_GT(window.BulkBudget(now), 0u);
            }
            break;
          }
          const uint64_t written = random.Chance(0.9) ? budget : random.Below(1 << 20);
          flight.in_flight_bytes += written;
          window.OnFlight(now, flight);
          window.OnBulkWritten(now, written);
          break;
        }
        case 2:
          flight.in_flight_bytes =
              wild ? random.Below(1 << 24) : flight.in_flight_bytes + random.Below(2'000);
          window.OnFlight(now, flight);
          break;
      }
      window.CheckInvariants();
      ASSERT_GE(window.window_bytes(), 2 * P);
      ASSERT_GE(window.window_bytes(), window.floor_bytes());
      if (window.window_bytes() < before) ++(window.holding() ? cut_count : idle_count);
    }
  }
  // It did get somewhere.
  EXPECT_GT(opened_count, 1'000u);
  EXPECT_GT(cut_count, 100u);
  EXPECT_GT(idle_count, 10u);
}

}  // namespace
}  // namespace overlay::transport
