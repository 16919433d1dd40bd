// Sets of 10 MB between whole nodes, where a source fails.
#include <chrono>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/network.h"

namespace overlay::sim {
namespace {

using namespace std::chrono_literals;

constexpr size_t kFirst = 0;   // is asked first
constexpr size_t kSecond = 1;  // has the set too
constexpr size_t kAsker = 2;
constexpr size_t kSetBytes = 10'000'000;
constexpr LedgerSeq kSlot{100};

class SetFetchSim : public testing::Test {
 protected:
  SetFetchSim() {
    links().bits_per_second = 200'000'000;
    // Plain answers: only those can be continued.
    options_.limits.set_zstd_below_bytes_per_second = 0;
    options_.limits.set_zstd_beyond_rtt = 1h;
  }

  LinkOptions& links() { return options_.link; }
  void Start() {
    net_.emplace(options_);
    ASSERT_TRUE(net_->RunUntil([&] { return net_->AllConnected(); }, 5s)) << net_->Replay();
    set_ = net_->build().TxSetOfBytes(kSetBytes);
    key_ = {SetKind::kTxSet, HashOf<SetHash>(set_.span())};
  }
  bool IsFetched() { return net_->checkers().HasSet(kAsker, key_); }
  // How long the asker's core waits for the set, with these peers named in this order.
  Duration Fetch() {
    const Time begun = net_->now();
    net_->core(kAsker).Fetch(key_, kSlot, {net_->KeyOf(kFirst), net_->KeyOf(kSecond)});
    EXPECT_TRUE(net_->RunUntil([&] { return IsFetched(); }, 10s)) << net_->Replay();
    return net_->now() - begun;
  }
  uint64_t SetBytesSent(size_t node) {
    using transport::SendClass;
    return net_->transport(node).stats().sent[static_cast<size_t>(SendClass::kSets)].bytes;
  }
  const flood::SetStats& stats() { return net_->stats(kAsker).sets; }

  NetworkOptions options_{.seed = 5, .node_count = 3, .link = {.delay = 1ms}};
  std::optional<Network> net_;
  Bytes set_;
  SetKey key_;
};

// What the first source had sent is not sent again.
TEST_F(SetFetchSim, ASetWhoseFirstSourceIsCutOffGoesOnFromTheSecond) {
  ASSERT_NO_FATAL_FAILURE(Start());
  for (const size_t node : {kFirst, kSecond}) {
    net_->core(node).Offer(SetKind::kTxSet, set_, kSlot);
  }
  net_->Run(100ms);
  net_->core(kAsker).Fetch(key_, kSlot, {net_->KeyOf(kFirst), net_->KeyOf(kSecond)});
  ASSERT_TRUE(net_->RunUntil([&] { return stats().received_bytes >= kSetBytes / 2; }, 2s))
      << net_->Replay();
  EXPECT_EQ(SetBytesSent(kSecond), 0u);
  net_->DropPeer(kFirst, kAsker);
  ASSERT_TRUE(net_->RunUntil([&] { return IsFetched(); }, 2s)) << net_->Replay();
  EXPECT_EQ(stats().fetch_resumed, 1u);
  // The rest, less what was on its way when the first was cut off, more the header's frame.
  EXPECT_LE(SetBytesSent(kSecond), kSetBytes / 2 + 1000);
  EXPECT_GE(SetBytesSent(kSecond), kSetBytes / 4);
  EXPECT_EQ(stats().received_bytes, kSetBytes);
  EXPECT_EQ(stats().duplicate_bytes, 0u);
}

// It promised the set, so it does not say not-found either; all else of it works.
TEST_F(SetFetchSim, ASilentFirstSourceCostsLessThan200Milliseconds) {
  ASSERT_NO_FATAL_FAILURE(Start());
  net_->core(kSecond).Offer(SetKind::kTxSet, set_, kSlot);
  net_->core(kFirst).OfferFirstChunk(set_, kSlot);
  net_->Run(100ms);
  const Duration with_silence = Fetch();
  EXPECT_EQ(stats().fetch_hedged_first_byte, 1u);
  EXPECT_EQ(SetBytesSent(kFirst), 0u);
  EXPECT_TRUE(net_->AllConnected());

  ASSERT_NO_FATAL_FAILURE(Start());
  for (const size_t node : {kFirst, kSecond}) {
    net_->core(node).Offer(SetKind::kTxSet, set_, kSlot);
  }
  net_->Run(100ms);
  const Duration without = Fetch();
  EXPECT_EQ(stats().fetch_next_source, 0u);
  EXPECT_LT(with_silence, without + 200ms);
}

// A source that is far away is not taken for a silent one.
TEST_F(SetFetchSim, AFarSourceIsGivenItsTime) {
  links().delay = 90ms;
  ASSERT_NO_FATAL_FAILURE(Start());
  for (const size_t node : {kFirst, kSecond}) {
    net_->core(node).Offer(SetKind::kTxSet, set_, kSlot);
  }
  net_->Run(2s);
  Fetch();
  EXPECT_EQ(stats().fetch_next_source, 0u);
  EXPECT_EQ(stats().received_bytes, kSetBytes);
}

}  // namespace
}  // namespace overlay::sim
