// Sets between whole nodes, compressed on their way.
#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/network.h"

namespace overlay::sim {
namespace {

using namespace std::chrono_literals;

constexpr LedgerSeq kSlot{100};
constexpr size_t kSetBytes = 300'000;

// Two peers ask for three sets at once: each is compressed once, and answered twice.
TEST(SetEncodingSim, EachSetIsCompressedOnceAndInflatedByWhoAsked) {
  Network net({.seed = 31, .node_count = 3, .link = {.delay = 20ms}});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 5s)) << net.Replay();
  std::vector<SetKey> keys;
  for (const char fill : {'a', 'b', 'c'}) {
    keys.push_back(
        net.core(0).Offer(SetKind::kTxSet, Bytes::Take(std::string(kSetBytes, fill)), kSlot));
  }
  ASSERT_TRUE(net.Run(200ms)) << net.Replay();
  for (const size_t asker : {1, 2}) {
    for (const SetKey& key : keys) net.core(asker).Fetch(key, kSlot);
  }
  const auto fetched = [&] {
    return net.stats(1).sets.fetched == keys.size() && net.stats(2).sets.fetched == keys.size();
  };
  ASSERT_TRUE(net.RunUntil(fetched, 2s)) << net.Replay();
  for (const size_t asker : {1, 2}) {
    for (const SetKey& key : keys) EXPECT_TRUE(net.checkers().HasSet(asker, key));
    EXPECT_EQ(net.stats(asker).sets.inflated, 3u);
    EXPECT_EQ(net.stats(asker).compute.begun, 3u);
    EXPECT_LT(net.stats(asker).sets.received_bytes, kSetBytes / 10);
  }
  const flood::NodeStats& holder = net.stats(0);
  EXPECT_EQ(holder.compute.begun, 3u);
  EXPECT_EQ(holder.sets.compressed, 3u);
  EXPECT_EQ(holder.sets.served, 6u);
  EXPECT_EQ(holder.sets.served_compressed, 6u);
  EXPECT_GT(holder.sets.served_saved_bytes, 6 * kSetBytes * 9 / 10);
}

// On a short path the worker would take longer than what it saves.
TEST(SetEncodingSim, OnAShortPathSetsGoPlain) {
  Network net({.seed = 32, .node_count = 2, .link = {.delay = 200us}});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 5s)) << net.Replay();
  const SetKey key =
      net.core(0).Offer(SetKind::kTxSet, Bytes::Take(std::string(kSetBytes, 'a')), kSlot);
  ASSERT_TRUE(net.Run(200ms)) << net.Replay();
  net.core(1).Fetch(key, kSlot);
  ASSERT_TRUE(net.RunUntil([&] { return net.stats(1).sets.fetched == 1; }, 2s)) << net.Replay();
  EXPECT_EQ(net.stats(0).compute.begun, 0u);
  EXPECT_EQ(net.stats(0).sets.served_compressed, 0u);
}

}  // namespace
}  // namespace overlay::sim
