// How a network comes together.
#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/entropy.h"
#include "tests/sim/network.h"

namespace overlay::sim {
namespace {

using namespace std::chrono_literals;

TEST(MeshSim, FullMeshFormsWithOneHandshakeALink) {
  Network net({.seed = 1, .node_count = 7, .link = {.delay = 40ms}});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 5s)) << net.Replay();
  ASSERT_TRUE(net.Run(5s)) << net.Replay();
  EXPECT_EQ(net.HandshakesCompleted(), 7 * 6 / 2);
  EXPECT_GT(EntropyCalls(), 0);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(net.core(i).connects().size(), 6);
}

TEST(MeshSim, LedgersCloseOnEveryNode) {
  Network net({.seed = 2, .node_count = 4, .link = {.delay = 30ms, .jitter = 2ms, .loss = 0.01}});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 5s)) << net.Replay();
  net.StartLedgers(1s);
  for (int i = 0; i < 40; ++i) {
    net.core(static_cast<size_t>(i % 4)).Submit(net.build().Transaction());
    ASSERT_TRUE(net.Run(100ms)) << net.Replay();
  }
  ASSERT_TRUE(net.Run(6s)) << net.Replay();
  net.StopLedgers();
  ASSERT_TRUE(net.RunUntil([&] { return net.Converged(); }, 5s)) << net.Replay();
  const CheckerCounts& counts = net.checkers().counts();
  EXPECT_GT(counts.envelopes_converged, 100);
  EXPECT_GT(counts.sets_delivered, 20);
  EXPECT_GT(counts.transactions_delivered, 40);
  EXPECT_GT(counts.envelope_copies, 100);
  EXPECT_GT(counts.datagrams_searched, 1000);
}

}  // namespace
}  // namespace overlay::sim
