#include "client-sdk/demo-core/quorum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flood/base/crypto.h"
#include "fmt/format.h"
#include "tests/support/status_matchers.h"

namespace overlay::demo {
namespace {

NodeKey KeyOf(uint8_t node) {
  SecretSeed seed;
  seed.bytes[0] = node;
  return PublicKeyOf(seed);
}

const NodeKey kA = KeyOf(1), kB = KeyOf(2), kC = KeyOf(3), kD = KeyOf(4);

TEST(QuorumSetTest, SlicesOfAFlatSet) {
  const xdr::QuorumSet set{3, {kA, kB, kC, kD}, {}};
  EXPECT_FALSE(IsSlice(set, {kA, kB}));
  EXPECT_TRUE(IsSlice(set, {kA, kB, kD}));
  EXPECT_FALSE(IsBlocking(set, {kA}));
  EXPECT_TRUE(IsBlocking(set, {kA, kD}));
}

TEST(QuorumSetTest, SlicesOfANestedSet) {
  const xdr::QuorumSet set{2, {kA}, {xdr::QuorumSet{2, {kB, kC, kD}, {}}}};
  EXPECT_FALSE(IsSlice(set, {kB, kC, kD})) << "not without itself";
  EXPECT_TRUE(IsSlice(set, {kA, kC, kD}));
  EXPECT_TRUE(IsBlocking(set, {kA}));
  EXPECT_FALSE(IsBlocking(set, {kB}));
  EXPECT_TRUE(IsBlocking(set, {kB, kC}));
  EXPECT_THAT(NodesOf(set), testing::UnorderedElementsAre(kA, kB, kC, kD));
}

TEST(QuorumSetTest, TextForm) {
  const auto text = [](const NodeKey& key) { return ToStrkey(key); };
  const absl::StatusOr<xdr::QuorumSet> set =
      ParseQuorumSet(fmt::format("2,{},(1,{},{})", text(kA), text(kB), text(kC)));
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(HashOfQuorumSet(*set), HashOfQuorumSet({2, {kA}, {xdr::QuorumSet{1, {kB, kC}, {}}}}));
  for (const std::string& bad :
       {std::string(), std::string("x"), std::string("1"), fmt::format("0,{}", text(kA)),
        fmt::format("2,{}", text(kA)), fmt::format("1,{},", text(kA)),
        fmt::format("1,({}", text(kA)), fmt::format("1,(1,{}", text(kA)),
        fmt::format("1,{}x", text(kA)), fmt::format("1,{})", text(kA))}) {
    EXPECT_EQ(ParseQuorumSet(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

// Each member is judged by its own set: a node that trusts only itself and one that trusts all.
TEST(FederationTest, AQuorumHoldsASliceOfEachMember) {
  const xdr::QuorumSet own{2, {kA, kB, kC}, {}};
  const xdr::QuorumSet demanding{3, {kA, kB, kC}, {}};
  QuorumSets sets;
  sets.Add(own);
  sets.Add(demanding);
  const Federation federation(own, sets);
  const auto says = [](const NodeKey& node, const xdr::QuorumSet& set) {
    return std::pair(node,
                     xdr::ScpStatement{node, {1}, xdr::Nominate{HashOfQuorumSet(set), {"v"}, {}}});
  };
  const StatementTest any = [](const xdr::Pledges&) { return true; };
  EXPECT_TRUE(federation.HasQuorum({says(kA, own), says(kB, own)}, any));
  EXPECT_FALSE(federation.HasQuorum({says(kA, own), says(kB, demanding)}, any));
  EXPECT_TRUE(federation.HasQuorum({says(kA, own), says(kB, demanding), says(kC, own)}, any));
  EXPECT_TRUE(federation.HasBlocking({says(kA, own), says(kB, demanding)}, any));

  // Who externalized stands for itself.
  Statements externalized{says(kA, own)};
  externalized.emplace(
      kB, xdr::ScpStatement{kB, {1}, xdr::Externalize{{1, "v"}, 1, HashOfQuorumSet(demanding)}});
  EXPECT_TRUE(federation.HasQuorum(externalized, any));
}

TEST(FederationTest, NodesTakeTurnsToLead) {
  const xdr::QuorumSet own{3, {kA, kB, kC, kD}, {}};
  const xdr::QuorumSet turned{3, {kD, kC, kB, kA}, {}};
  const QuorumSets sets;
  const Federation federation(own, sets);
  const Federation other(turned, sets);
  std::map<NodeKey, int> led;
  for (uint64_t slot = 0; slot < 400; ++slot) {
    std::set<NodeKey> leaders;
    for (uint32_t round = 1; round <= 4; ++round) {
      EXPECT_EQ(federation.Leader({slot}, round), other.Leader({slot}, round));
      leaders.insert(federation.Leader({slot}, round));
    }
    EXPECT_EQ(leaders.size(), 4U);
    ++led[federation.Leader({slot}, 1)];
  }
  EXPECT_EQ(led.size(), 4U);
  for (const auto& [node, times] : led) EXPECT_EQ(times, 100);
}

TEST(QuorumSetsTest, BoundedAndByHash) {
  QuorumSets sets;
  for (uint32_t i = 0; i < kQuorumSetsMax; ++i) {
    NodeKey key;
    key.bytes[0] = static_cast<uint8_t>(i);
    key.bytes[1] = static_cast<uint8_t>(i >> 8);
    ASSERT_TRUE(sets.Add({1, {key}, {}}));
  }
  EXPECT_FALSE(sets.Add({1, {kA}, {}}));
  EXPECT_EQ(sets.Find(HashOfQuorumSet({1, {kA}, {}})), nullptr);
  EXPECT_NE(sets.Find(HashOfQuorumSet({1, {NodeKey{}}, {}})), nullptr);
}

}  // namespace
}  // namespace overlay::demo
