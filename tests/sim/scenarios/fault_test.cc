// What a network survives, one fault a story; and that runs and checkers can be trusted.
#include "tests/sim/fault_plan.h"

#include <algorithm>
#include <chrono>

#include "flood/base/crypto.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/in_child.h"
#include "tests/sim/network.h"

namespace overlay::sim {
namespace {

using namespace std::chrono_literals;

class FaultSim : public testing::Test {
 protected:
  // Connected, or the test has failed.
  static void Connect(Network& net) {
    ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 5s)) << net.Replay();
    // The slots of the bursts are ahead of this one, and all within the window.
    for (size_t i = 0; i < net.node_count(); ++i) {
      net.core(i).Close(LedgerSeq{999});
    }
  }
  static std::vector<EnvelopeHash> Burst(Network& net, size_t node, uint64_t count) {
    std::vector<EnvelopeHash> burst;
    for (uint64_t i = 0; i < count; ++i) {
      burst.push_back(net.core(node).Author(StatementKind::kPrepare, LedgerSeq{1000 + i}));
    }
    return burst;
  }
  static bool Has(Network& net, size_t node, const std::vector<EnvelopeHash>& burst) {
    return std::all_of(burst.begin(), burst.end(), [&](const EnvelopeHash& hash) {
      return net.checkers().HasEnvelope(node, hash);
    });
  }
};

TEST_F(FaultSim, EnvelopesReachAllOverLossyLinks) {
  Network net({.seed = 3, .node_count = 4, .link = {.delay = 20ms, .loss = 0.1}});
  Connect(net);
  for (size_t node = 0; node < 4; ++node) Burst(net, node, 25);
  ASSERT_TRUE(net.RunUntil([&] { return net.Converged(); }, 10s)) << net.Replay();
  EXPECT_GE(net.checkers().counts().envelopes_delivered, 300);
}

// What was on its way, and what is broadcast before anybody notices, comes on the new connection.
TEST_F(FaultSim, AConnectionKilledInABurstLosesNone) {
  for (const uint64_t seed : {4, 5, 6}) {
    Network net({.seed = seed, .node_count = 2, .link = {.delay = 20ms}});
    Connect(net);
    std::vector<EnvelopeHash> burst = Burst(net, 0, 30);
    ASSERT_TRUE(net.Run(std::chrono::milliseconds(3 * seed))) << net.Replay();
    net.KillConnection(0, 1);
    for (uint64_t i = 30; i < 60; ++i) {
      burst.push_back(net.core(0).Author(StatementKind::kPrepare, LedgerSeq{1000 + i}));
    }
    EXPECT_FALSE(Has(net, 1, burst));
    EXPECT_TRUE(net.RunUntil([&] { return net.Converged(); }, 40s)) << net.Replay();
    EXPECT_TRUE(Has(net, 1, burst));
    EXPECT_EQ(net.core(1).connects().at(net.KeyOf(0)), 1) << "one logical peer all the time";
  }
}

TEST_F(FaultSim, AnIsolatedNodeCatchesUpAfterHealing) {
  Network net({.seed = 5, .node_count = 4, .link = {.delay = 20ms}});
  Connect(net);
  net.Isolate(3);
  const auto burst = Burst(net, 0, 20);
  ASSERT_TRUE(net.Run(3s)) << net.Replay();
  EXPECT_TRUE(Has(net, 1, burst));
  EXPECT_FALSE(Has(net, 3, burst));
  net.Heal();
  EXPECT_TRUE(net.RunUntil([&] { return net.Converged(); }, 40s)) << net.Replay();
  EXPECT_TRUE(Has(net, 3, burst));
}

TEST_F(FaultSim, ALateJoinerGetsTheState) {
  Network net({.seed = 6, .node_count = 4, .link = {.delay = 20ms}, .absent = {3}});
  Connect(net);
  const auto burst = Burst(net, 0, 10);
  ASSERT_TRUE(net.Run(1s)) << net.Replay();
  net.StartNode(3);
  EXPECT_TRUE(net.RunUntil([&] { return net.Converged(); }, 10s)) << net.Replay();
  EXPECT_TRUE(Has(net, 3, burst));
}

TEST_F(FaultSim, ACoreThatComesBackGetsWhatItsNodeKept) {
  Network net({.seed = 7, .node_count = 3, .link = {.delay = 20ms}});
  Connect(net);
  net.core(2).Detach();
  const auto burst = Burst(net, 0, 20);
  ASSERT_TRUE(net.Run(1s)) << net.Replay();
  EXPECT_FALSE(Has(net, 2, burst));
  net.core(2).Attach();
  EXPECT_TRUE(net.RunUntil([&] { return Has(net, 2, burst); }, 1s)) << net.Replay();
}

TEST_F(FaultSim, ATransactionIsPulledOncePerNode) {
  Network net({.seed = 8, .node_count = 5, .link = {.delay = 20ms}});
  Connect(net);
  for (int i = 0; i < 20; ++i) net.core(0).Submit(net.build().Transaction());
  ASSERT_TRUE(net.RunUntil([&] { return net.Converged(); }, 5s)) << net.Replay();
  for (size_t node = 1; node < 5; ++node) {
    EXPECT_EQ(net.stats(node).tx.received_new, 20);
    EXPECT_EQ(net.stats(node).tx.received_duplicate, 0);
  }
}

TEST_F(FaultSim, ASetIsFetchedFromAnotherNodeWhenTheFirstIsSilent) {
  Network net({.seed = 9, .node_count = 3, .link = {.delay = 20ms}});
  Connect(net);
  const SetKey set =
      net.core(0).Offer(SetKind::kTxSet, net.build().TxSetOfBytes(100'000), LedgerSeq{1050});
  net.core(1).Fetch(set, LedgerSeq{1050});
  ASSERT_TRUE(net.RunUntil([&] { return net.checkers().HasSet(1, set); }, 2s)) << net.Replay();
  ASSERT_TRUE(net.Run(200ms));
  net.Cut(0, 2);
  net.core(2).Fetch(set, LedgerSeq{1050});
  EXPECT_TRUE(net.RunUntil([&] { return net.checkers().HasSet(2, set); }, 3s)) << net.Replay();
}

// Everybody has said that they do not have it; then one does.
TEST_F(FaultSim, ASetThatAppearsAfterNotFoundIsFetched) {
  Network net({.seed = 10, .node_count = 3, .link = {.delay = 20ms}});
  Connect(net);
  const Bytes bytes = net.build().TxSetOfBytes(100'000);
  const SetKey set{SetKind::kTxSet, HashOf<SetHash>(bytes.span())};
  // An envelope names it before its core has offered it, and the core is late.
  net.core(0).VoteFor(LedgerSeq{1050}, set.hash);
  net.core(0).Author(StatementKind::kPrepare, LedgerSeq{1050});
  ASSERT_TRUE(net.Run(4s)) << net.Replay();
  EXPECT_GE(net.stats(0).sets.served_not_found, 2);
  net.core(0).Offer(SetKind::kTxSet, bytes, LedgerSeq{1050});
  EXPECT_TRUE(net.RunUntil(
      [&] { return net.checkers().HasSet(1, set) && net.checkers().HasSet(2, set); }, 300ms))
      << net.Replay();
}

// To the last byte of each datagram.
TEST_F(FaultSim, TheSameSeedGivesTheSameTrace) {
  const auto trace_of = [](uint64_t seed) {
    return InChild([seed] {
      const RunOutcome run = RunFaultPlan({.seed = seed, .node_count = 4});
      return fmt::format("{:016x} of {} datagrams{}", run.trace, run.datagrams, run.replay);
    });
  };
  const std::optional<std::string> first = trace_of(2);
  ASSERT_TRUE(first);
  EXPECT_EQ(first, trace_of(2));
  EXPECT_NE(first, trace_of(3));
}

TEST_F(FaultSim, TheSearchFindsPlainPayloads) {
  XdrBuilder build(1);
  const Bytes envelope = build.Envelope(StatementKind::kPrepare, LedgerSeq{7}, 0);
  PlainSearch search;
  search.AddPayload(envelope.span());
  std::vector<uint8_t> datagram(1200);
  Random(1).Fill(absl::MakeSpan(datagram));
  EXPECT_FALSE(search.Finds(datagram));
  // A part of the signature, at no particular place.
  std::copy_n(envelope.data() + envelope.size() - 40, 31, datagram.begin() + 501);
  EXPECT_TRUE(search.Finds(datagram));
}

}  // namespace
}  // namespace overlay::sim
