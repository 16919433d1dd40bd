#include "flood/peers/peer_directory.h"

#include "flood/peers/backoff.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

class PeerDirectoryTest : public testing::Test {
 protected:
  PeerDirectoryTest() { limits_.inbound_peers_max = 2; }
  ~PeerDirectoryTest() override { directory_.CheckInvariants(); }

  bool Connect(uint64_t peer, bool inbound, bool configured = false) {
    out_.clear();
    PeerConnected connected{PeerId{peer}, {}};
    connected.info.key.bytes[0] = static_cast<uint8_t>(peer);
    connected.info.inbound = inbound;
    return directory_.OnPeerConnected(now_, connected, configured, out_);
  }
  bool Disconnect(uint64_t peer) {
    out_.clear();
    return directory_.OnPeerDisconnected({PeerId{peer}, CloseReason::kStalled, false, "", {}}, out_)
        .has_value();
  }
  size_t Offend(uint64_t peer, Offence offence) {
    out_.clear();
    directory_.OnOffence(now_, {PeerId{peer}, offence}, out_);
    return Commands<DropPeer>(out_).size();
  }

  Limits limits_;
  PeerStats stats_;
  PeerDirectory directory_{limits_, stats_};
  ActionList out_;
  Time now_{1000s};
};

TEST_F(PeerDirectoryTest, UpAndDownAreToldOnceEach) {
  EXPECT_TRUE(Connect(1, true));
  EXPECT_EQ(AllNews<PeerUp>(out_).size(), 1u);
  EXPECT_TRUE(Disconnect(1));
  ASSERT_EQ(AllNews<PeerDown>(out_).size(), 1u);
  EXPECT_EQ(AllNews<PeerDown>(out_)[0].reason, CloseReason::kStalled);
  EXPECT_FALSE(Disconnect(1));
  EXPECT_TRUE(out_.empty());
}

TEST_F(PeerDirectoryTest, InboundLimitBindsStrangersOnly) {
  EXPECT_TRUE(Connect(1, true));
  EXPECT_TRUE(Connect(2, true));
  EXPECT_FALSE(Connect(3, true));
  ASSERT_EQ(Commands<DropPeer>(out_).size(), 1u);
  EXPECT_EQ(Commands<DropPeer>(out_)[0].reason, CloseReason::kNotAdmitted);
  EXPECT_TRUE(AllNews<PeerUp>(out_).empty());
  EXPECT_FALSE(Disconnect(3));  // it was never up
  EXPECT_TRUE(Connect(4, true, /*configured=*/true));
  EXPECT_TRUE(Connect(5, false));
  EXPECT_EQ(stats_.connected, 4u);
  EXPECT_EQ(stats_.inbound, 3u);
  Disconnect(1);
  EXPECT_TRUE(Connect(6, true));
}

TEST_F(PeerDirectoryTest, ScoreClosesAStrangerOnceAndAConfiguredPeerNever) {
  Connect(1, true);
  Connect(2, true, /*configured=*/true);
  const auto weight = static_cast<int>(OffenceWeight(Offence::kOversizeEnvelope));
  const int needed = static_cast<int>(kScoreLimit) / weight;
  for (int i = 1; i < needed; ++i) EXPECT_EQ(Offend(1, Offence::kOversizeEnvelope), 0u) << i;
  EXPECT_EQ(Offend(1, Offence::kOversizeEnvelope), 1u);
  EXPECT_EQ(Offend(1, Offence::kOversizeEnvelope), 0u);  // its disconnect follows
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Offend(2, Offence::kOversizeEnvelope), 0u);
  EXPECT_GE(directory_.ScoreOf(now_, PeerId{2}), kScoreLimit);  // flagged
  EXPECT_EQ(stats_.offences[static_cast<size_t>(Offence::kOversizeEnvelope)], 100u + needed + 1u);
  EXPECT_EQ(Offend(77, Offence::kUnsolicited), 0u);
}

TEST_F(PeerDirectoryTest, ScoreHalvesInItsHalfLife) {
  Connect(1, true);
  Offend(1, Offence::kWrongHash);
  const double before = directory_.ScoreOf(now_, PeerId{1});
  EXPECT_DOUBLE_EQ(before, OffenceWeight(Offence::kWrongHash));
  EXPECT_NEAR(directory_.ScoreOf(now_ + kScoreHalfLife, PeerId{1}), before / 2, 1e-9);
  EXPECT_DOUBLE_EQ(directory_.ScoreOf(now_ - 1h, PeerId{1}), before);
}

TEST_F(PeerDirectoryTest, AStrangerThatIsNotAdmittedIsNoNews) {
  Connect(1, true);
  Connect(2, true);
  EXPECT_EQ(directory_.FindKey(AllNews<PeerUp>(out_).at(0).info.key), PeerId{2});
  Connect(3, true);
  EXPECT_TRUE(AllNews<PeerUp>(out_).empty());
  Disconnect(3);
  EXPECT_TRUE(AllNews<PeerDown>(out_).empty());
}

TEST(Backoff, FullJitterUnderADoublingCap) {
  Random random(3);
  for (uint32_t failures = 0; failures < 70; ++failures) {
    const Duration cap = failures < 5 ? 1s * (1 << failures) : Duration(20s);
    Duration longest{};
    for (int i = 0; i < 200; ++i) {
      const Duration wait = BackoffWithFullJitter(1s, 20s, failures, random);
      ASSERT_GE(wait, Duration{});
      ASSERT_LE(wait, cap);
      longest = std::max(longest, wait);
    }
    EXPECT_GT(longest, cap * 8 / 10) << failures;
  }
}

}  // namespace
}  // namespace overlay::flood
