// SCP beside sets that keep a link full (bulk_net.h). The two ways to fail: envelopes that wait
// behind bulk, and bulk that gives up the link for them.
#include <algorithm>
#include <chrono>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/bulk_net.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;
using testing::Le;

struct Expected {
  BulkNet::Link link;
  Duration wait_p99_max;
  double use_min;
};

class BulkSim : public testing::TestWithParam<Expected> {};

TEST_P(BulkSim, EnvelopesPassWhileTheLinkIsFull) {
  const Expected& expected = GetParam();
  BulkNet net(expected.link);
  ASSERT_TRUE(net.AddFlow(0, 1));
  net.Run(5s);
  net.Measure();
  net.Run(20s);
  EXPECT_GE(net.envelopes(), 3'990);
  EXPECT_LE(net.WaitP99(), expected.wait_p99_max);
  EXPECT_GE(net.Use(), expected.use_min);
  RecordProperty("wait_p99_us", static_cast<int>(ToMicros(net.WaitP99())));
  RecordProperty("use_percent", static_cast<int>(100 * net.Use()));
  RecordProperty("queue_bytes_seen", static_cast<int>(net.QueueBytesSeen(1)));
}

std::string NameOf(const testing::TestParamInfo<Expected>& info) {
  const BulkNet::Link& link = info.param.link;
  std::string name = std::to_string(link.megabits_per_second) + "MbitAt" +
                     std::to_string(ToMicros(link.round_trip)) + "us";
  if (link.jitter > Duration()) name += "Jitter";
  if (link.loss > 0) name += "Loss";
  return name;
}

INSTANTIATE_TEST_SUITE_P(Links, BulkSim,
                         testing::Values(Expected{{200, 200us}, 3ms, 0.90},
                                         Expected{{200, 10ms}, 3ms, 0.90},
                                         Expected{{20, 200us}, 6ms, 0.80},
                                         Expected{{20, 10ms}, 6ms, 0.80},
                                         // A queue of four times what the path holds.
                                         Expected{{200, 100ms, 10'000'000}, 9ms, 0.90},
                                         Expected{{200, 10ms, 1'000'000, 1ms}, 4ms, 0.65}),
                         NameOf);

// Every hundredth packet lost: envelopes share packets with what is sent again, and each arrives
// whole.
TEST(BulkSimTest, LossesOnAShortPathCostAlmostNothing) {
  BulkNet net({.round_trip = 200us, .loss = 0.01});
  ASSERT_TRUE(net.AddFlow(0, 1));
  net.Run(5s);
  net.Measure();
  net.Run(20s);
  EXPECT_LE(net.WaitP99(), 2ms);
  EXPECT_GE(net.Use(), 0.90);
  EXPECT_LE(net.envelopes_missing(), 2);  // on their way
}

TEST(BulkSimTest, TheFirstSetOnALongPathIsFast) {
  BulkNet net({.round_trip = 100ms, .queue_bytes = 10'000'000});
  ASSERT_TRUE(net.AddFlow(0, 1, {.one_at_a_time = true}));
  net.Run(3s);
  ASSERT_FALSE(net.set_times(0).empty());
  EXPECT_LE(net.set_times(0).front(), 1700ms);
}

// What the window was is a hint, not a right: a set after a pause neither crawls nor floods.
TEST(BulkSimTest, SetsWithPausesBetweenThemAreFastAndHarmless) {
  BulkNet net({.round_trip = 50ms});
  ASSERT_TRUE(net.AddFlow(0, 1, {.one_at_a_time = true, .idle_between_sets = 5s}));
  net.Run(5s);
  net.Measure();
  net.Run(25s);
  ASSERT_GE(net.set_times(0).size(), 4);
  EXPECT_THAT(net.set_times(0), testing::Each(Le(800ms)));
  EXPECT_LE(net.WaitP99(), 3ms);
}

// The queue does not creep up over minutes: what is taken for the path's own delay stays that.
TEST(BulkSimTest, TwoMinutesOfOneSenderDoNotCreep) {
  BulkNet net({});
  ASSERT_TRUE(net.AddFlow(0, 1));
  net.Run(100s);
  net.Measure();
  net.Run(20s);
  EXPECT_LE(net.WaitP99(), 2ms);
  EXPECT_GE(net.Use(), 0.90);
}

// Who comes later finds a queue and takes part of it for the path: the shares become equal even so.
TEST(BulkSimTest, EightSendersShareEqually) {
  BulkNet net({});
  for (size_t sender = 1; sender <= 8; ++sender) {
    ASSERT_TRUE(net.AddFlow(sender, 0));
    net.Run(2s);
  }
  net.Run(84s);
  net.Measure();
  net.Run(20s);
  EXPECT_LE(net.WaitP99(), 7ms);
  EXPECT_GE(net.JainIndex(), 0.9);
  EXPECT_GE(net.Use(), 0.85);
}

TEST(BulkSimTest, ALinkThatBecameFasterIsFound) {
  BulkNet net({.megabits_per_second = 50, .round_trip = 50ms});
  ASSERT_TRUE(net.AddFlow(0, 1));
  net.Run(10s);
  net.SetRate(200);
  net.Run(1s);
  net.Measure();
  net.Run(1s);
  EXPECT_GE(net.Use() * 200, 170);
  net.Run(8s);
  net.SetRate(50);
  net.Run(2s);
  net.Measure();
  net.Run(8s);
  EXPECT_LE(net.WaitP99(), 50ms / 8);
  EXPECT_GE(net.Use(), 0.85);
}

TEST(BulkSimTest, ALinkThatBecameSlowerIsQuietWithinASecond) {
  BulkNet net({});
  ASSERT_TRUE(net.AddFlow(0, 1));
  net.Run(10s);
  net.SetRate(20);
  net.Run(1s);
  net.Measure();
  net.Run(4s);
  EXPECT_LE(net.WaitMax(), 12500us);
  EXPECT_GE(net.Use(), 0.80);
}

// Delay cannot be kept low where others fill the queue. The window then does not starve, and does
// not grow without end to have its part.
TEST(BulkSimTest, BesideAFlowThatFillsTheQueueSomethingIsLeft) {
  BulkNet net({});
  ASSERT_TRUE(net.AddFlow(0, 1));
  net.Run(5s);
  ASSERT_TRUE(net.AddForeign(2, 1));
  net.Run(5s);
  net.Measure();
  net.Run(20s);
  EXPECT_GE(net.QueueBytesSeen(1), 900'000);  // it does fill it
  EXPECT_GE(net.Use(), 0.02);
  EXPECT_LE(net.Use(), 0.5);
}

TEST(BulkSimTest, BulkBothWaysLeavesEachSideHalfTheLink) {
  BulkNet net({});
  ASSERT_TRUE(net.AddFlow(0, 1));
  ASSERT_TRUE(net.AddFlow(1, 0));
  net.Run(5s);
  net.Measure();
  net.Run(20s);
  EXPECT_GE(net.Use(0), 0.5);
  EXPECT_GE(net.Use(1), 0.5);
  EXPECT_LE(net.WaitP99(), 5ms);
}

}  // namespace
}  // namespace overlay::transport
