// Peers that are found by name, and found again where their names lead then.
#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/network.h"

namespace overlay::sim {
namespace {

using namespace std::chrono_literals;

flood::PeerEntry Entry(const std::string& host, std::optional<NodeKey> pin = std::nullopt) {
  return {.text = host, .host = host, .port = 11625, .pinned_key = pin};
}

TEST(NamesSim, ANameThatAppearsLaterIsFound) {
  Network net({.seed = 31, .node_count = 2, .link = {.delay = 20ms}});
  net.SetName("node-1", {absl::NotFoundError("node-1: no such name")});
  ASSERT_TRUE(net.Run(30s)) << net.Replay();
  net.SetName("node-1", {absl::UnavailableError("node-1: SERVFAIL")});
  ASSERT_TRUE(net.Run(30s)) << net.Replay();
  EXPECT_EQ(net.core(0).peers_up(), 0u);
  EXPECT_GE(net.lookups(), 4u);
  EXPECT_LE(net.lookups(), 30u);  // 2 s apart at least
  net.SetName("node-1", {{{net.AddressOf(1)}}});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 31s)) << net.Replay();
}

TEST(NamesSim, ChangedAnswersAreDialledAndTheLiveKept) {
  Network net({.seed = 32, .node_count = 3, .link = {.delay = 20ms}});
  net.SetPeers(0, {Entry("service")});
  net.SetPeers(1, {});
  net.SetName("service", {{{net.AddressOf(1)}}, 5s});
  ASSERT_TRUE(net.RunUntil([&] { return net.core(0).peers_up() == 1; }, 2s)) << net.Replay();
  net.SetName("service", {{{net.AddressOf(2)}}, 5s});
  ASSERT_TRUE(net.RunUntil([&] { return net.core(0).peers_up() == 2; }, 6s)) << net.Replay();
  ASSERT_TRUE(net.Run(2min)) << net.Replay();
  EXPECT_EQ(net.core(0).peers_up(), 2u);
  EXPECT_EQ(net.HandshakesCompleted(), 2u);
  EXPECT_GT(net.lookups(), 20u);  // by its TTL, though all is well
}

// An address that our own name gives is ours: it is found out once, not again and again.
TEST(NamesSim, ANameThatGivesOurselvesIsDialledOnce) {
  Network net({.seed = 33, .node_count = 2, .link = {.delay = 20ms}});
  const std::vector<SocketAddress> both = {net.AddressOf(0), net.AddressOf(1)};
  // With a pin of the other one, too, which our own key is not.
  for (const bool pinned : {false, true}) {
    net.SetPeers(0, {Entry("service", pinned ? std::optional(net.KeyOf(1)) : std::nullopt)});
    net.SetName("service", {{both}, 10s});
    ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 3s)) << net.Replay();
    ASSERT_TRUE(net.Run(2min)) << net.Replay();
    EXPECT_EQ(net.core(0).peers_up(), 1u);
    EXPECT_LE(net.stats(0).peers.dials, 3u);
  }
}

// Where a node comes back: in place with its key, or elsewhere, which only its name knows.
class MovedNodeSim : public testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(MovedNodeSim, IsBackSoon) {
  const auto [pinned, traffic] = GetParam();
  Network net({.seed = 34, .node_count = 2, .link = {.delay = 20ms}});
  net.SetPeers(0, {Entry("service", pinned ? std::optional(net.KeyOf(1)) : std::nullopt)});
  net.SetName("service", {{{net.AddressOf(1)}}, 1h});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 2s)) << net.Replay();
  if (traffic) net.StartLedgers(1s);
  ASSERT_TRUE(net.Run(40s)) << net.Replay();
  net.StopNode(1);
  net.Move(1, SocketAddress::V4(0x0a000099, 11625));
  net.StartNode(1);
  net.SetName("service", {{{net.AddressOf(1)}}, 1h});
  ASSERT_TRUE(
      net.RunUntil([&] { return net.core(1).peers_up() == 1 && net.core(0).peers_up() == 1; },
                   traffic ? 8s : 35s))
      << net.Replay();
  ASSERT_TRUE(net.Run(40s)) << net.Replay();
  EXPECT_EQ(net.core(0).peers_up(), 1u);
}

INSTANTIATE_TEST_SUITE_P(PinnedOrNot, MovedNodeSim,
                         testing::Combine(testing::Bool(), testing::Bool()));

TEST(NamesSim, ANodeThatRestartsInPlaceIsBackWithinTwoSeconds) {
  Network net({.seed = 35, .node_count = 2, .link = {.delay = 20ms}});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 2s)) << net.Replay();
  net.StartLedgers(1s);
  for (int restart = 0; restart < 5; ++restart) {
    ASSERT_TRUE(net.Run(3s)) << net.Replay();
    net.StopNode(1);
    ASSERT_TRUE(net.Run(1s)) << net.Replay();
    net.StartNode(1);
    ASSERT_TRUE(net.RunUntil(
        [&] { return net.core(1).peers_up() == 1 && net.core(0).peers_up() == 1; }, 2s))
        << net.Replay();
  }
}

}  // namespace
}  // namespace overlay::sim
