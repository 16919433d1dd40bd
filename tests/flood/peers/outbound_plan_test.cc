// Which peers are dialled beyond the configured set, and who of them goes.
#include "flood/peers/outbound_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

NodeKey Key(uint8_t n) {
  NodeKey key;
  key.bytes[0] = n;
  return key;
}
// A network of its own for each.
std::string AddressOf(uint8_t n) { return fmt::format("10.{}.0.1:11625", n); }

class OutboundPlanTest : public testing::Test {
 protected:
  OutboundPlanTest() { Target(2); }
  ~OutboundPlanTest() override {
    plan_.CheckInvariants();
    directory_.CheckInvariants();
  }

  void Target(size_t outbound, bool closed = false) {
    directory_.SetTargets({.outbound = outbound, .closed = closed});
    plan_.Hurry();
  }
  // Peers that were here an hour ago; of the more worth the lower their number.
  void Know(const std::vector<uint8_t>& peers, const std::vector<std::string>& addresses = {}) {
    PeerFile file;
    file.saved_s = 1000;
    for (const uint8_t n : peers) {
      PeerFile::Peer& peer = file.peers.emplace_back();
      peer.key = Key(n);
      peer.first_envelopes = 100'000 - 1000 * n;
      const auto given = addresses.empty() ? std::vector<std::string>{AddressOf(n)} : addresses;
      int64_t success = 900;
      for (const std::string& text : given) {
        const auto address = SocketAddress::Parse(text).value();
        peer.addresses.push_back({address, AddressSource::kFile, success--});
      }
    }
    directory_.Restore(now_, {int64_t{4600} * 1'000'000}, file);
    plan_.Hurry();
  }
  // Who is dialled by now, since the last call.
  std::vector<std::string> Dialled() {
    out_.clear();
    plan_.OnDeadline(now_, out_);
    std::vector<std::string> dialled;
    for (const Dial& dial : Commands<Dial>(out_)) {
      EXPECT_TRUE(OutboundPlan::Owns(dial.dial));
      directory_.OnDial(dial);
      dials_[dial.pinned_key->bytes[0]] = dial;
      dialled.push_back(dial.address.ToString());
    }
    plan_.CheckInvariants();
    return dialled;
  }
  std::vector<std::string> NextDialled() {
    for (int i = 0; i < 1000; ++i) {
      now_ = std::max(now_, plan_.NextDeadline().value_or(now_));
      if (auto dialled = Dialled(); !dialled.empty()) return dialled;
    }
    return {};
  }
  void End(uint8_t n, CloseReason reason) {
    const Dial& dial = dials_.at(n);
    std::optional<NodeKey> key;
    if (reason == CloseReason::kNone || reason == CloseReason::kDuplicate) key = Key(n);
    const DialEnded ended{dial.dial, dial.address, reason, key, ""};
    directory_.OnDialEnded(now_, ended, false, std::nullopt);
    plan_.OnDialEnded(now_, ended);
  }
  void Up(uint8_t n, bool inbound = false, ConfiguredAs configured = {}) {
    PeerConnected connected{PeerId{n}, {}};
    connected.info.key = Key(n);
    connected.info.inbound = inbound;
    connected.info.address = SocketAddress::Parse(AddressOf(n)).value();
    ActionList out;
    EXPECT_TRUE(directory_.OnPeerConnected(now_, connected, configured, out));
    directory_.SetCorePresent(now_, PeerId{n}, true);
    plan_.Hurry();
  }
  // As in the daemon: the peer is told before the dial's end.
  void Reach(uint8_t n) {
    Up(n);
    End(n, CloseReason::kNone);
  }
  void Down(uint8_t n) {
    ActionList out;
    directory_.OnPeerDisconnected(now_, {PeerId{n}, CloseReason::kNotAdmitted, false, "", {}}, out);
    plan_.OnPeerDisconnected(now_, Key(n));
  }
  void SetCore(uint8_t n, bool present) {
    directory_.SetCorePresent(now_, PeerId{n}, present);
    plan_.Hurry();
  }
  // Who was told to go in the last OnDeadline.
  std::vector<PeerId> Gone() const {
    std::vector<PeerId> gone;
    for (const DropPeer& drop : Commands<DropPeer>(out_)) gone.push_back(drop.peer);
    return gone;
  }

  Limits limits_;
  PeerStats stats_;
  PeerDirectory directory_{limits_, stats_};
  OutboundPlan plan_{Random(3), directory_, stats_};
  ActionList out_;
  std::map<uint8_t, Dial> dials_;
  Time now_{100'000s};
};

TEST_F(OutboundPlanTest, AsManyOfThoseOfMostWorthAsAreMissing) {
  Know({3, 1, 4, 2});
  EXPECT_THAT(Dialled(), ElementsAre(AddressOf(1), AddressOf(2)));
  EXPECT_EQ(stats_.dials, 2u);
  EXPECT_EQ(stats_.dialling, 2u);
  Reach(1);
  EXPECT_THAT(Dialled(), IsEmpty());
  End(2, CloseReason::kUnreachable);
  EXPECT_EQ(stats_.dialling, 0u);
  EXPECT_EQ(stats_.dials_failed, 1u);
  EXPECT_THAT(Dialled(), ElementsAre(AddressOf(3)));
  Reach(3);
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_EQ(stats_.outbound, 2u);
}

TEST_F(OutboundPlanTest, ThoseWhoDialledUsAndConfiguredOnesDoNotCount) {
  Up(1, /*inbound=*/true);
  Up(2, /*inbound=*/false, {Standing::kConfigured, false});
  Know({3, 4});
  EXPECT_THAT(Dialled(), SizeIs(2));
}

TEST_F(OutboundPlanTest, NobodyWithoutATargetOrOnAClosedNetwork) {
  Know({1});
  Target(0);
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_EQ(plan_.NextDeadline(), std::nullopt);
  Target(8, /*closed=*/true);
  EXPECT_THAT(Dialled(), IsEmpty());
  Target(8);
  EXPECT_THAT(Dialled(), SizeIs(1));
}

TEST_F(OutboundPlanTest, WhoIsBannedConnectedOrDialledIsNotDialled) {
  Know({1, 2, 3, 4});
  ActionList out;
  directory_.Ban(now_, Key(1), {BannedBy::kOperator, now_, kTimeNever, ""}, out);
  Up(2, /*inbound=*/true);
  directory_.OnDial({DialId{7}, SocketAddress::Loopback(1), Key(3)});
  EXPECT_THAT(Dialled(), ElementsAre(AddressOf(4)));
}

TEST_F(OutboundPlanTest, ThoseOfOtherNetworksComeFirst) {
  Target(3);
  Up(9);
  Know({1}, {"10.9.7.7:1"});  // where a peer is already
  Know({2}, {"10.2.0.1:1"});
  Know({3}, {"10.2.0.2:1"});
  Know({4}, {"[2001:db8:1::1]:1"});
  Know({5}, {"[2001:db8:2::1]:1"});  // the same /32
  EXPECT_THAT(Dialled(), ElementsAre("10.2.0.1:1", "[2001:db8:1::1]:1"));
  Target(6);
  EXPECT_THAT(Dialled(), ElementsAre("10.9.7.7:1", "10.2.0.2:1"));  // four at a time
}

TEST_F(OutboundPlanTest, WhoHasJustLeftIsLeftAlone) {
  Up(1);
  directory_.OnDialEnded(now_,
                         {DialId{1}, SocketAddress::Loopback(1), CloseReason::kNone, Key(1), ""},
                         false, AddressSource::kFile);
  const Time left = now_;
  Down(1);
  EXPECT_THAT(NextDialled(), ElementsAre("127.0.0.1:1"));
  EXPECT_GE(now_ - left, kLeaveAlone);
  EXPECT_LE(now_ - left, kLeaveAlone + kOutboundEvery);
}

TEST_F(OutboundPlanTest, FailuresAreWaitedOutAndTryTheNextAddress) {
  Know({1}, {"10.0.0.1:1", "10.0.0.2:2"});
  std::vector<Duration> waits;
  std::vector<std::string> tried;
  for (int i = 0; i < 60; ++i) {
    const Time before = now_;
    const std::vector<std::string> dialled = NextDialled();
    ASSERT_THAT(dialled, SizeIs(1));
    tried.push_back(dialled[0]);
    waits.push_back(now_ - before);
    End(1, CloseReason::kUnreachable);
  }
  EXPECT_EQ(tried[0], "10.0.0.1:1");  // where a dial succeeded last
  EXPECT_EQ(tried[1], "10.0.0.2:2");
  EXPECT_EQ(tried[2], "10.0.0.1:1");
  EXPECT_LE(waits[1], kStrangerWaitMin + kOutboundEvery);
  EXPECT_LE(*std::max_element(waits.begin(), waits.end()), kStrangerWaitMax + kOutboundEvery);
  EXPECT_GE(*std::max_element(waits.begin(), waits.end()), kStrangerWaitMax / 2);
}

TEST_F(OutboundPlanTest, AConnectionThatDidNotLastIsAFailureToo) {
  Know({1});
  Duration longest{};
  for (int i = 0; i < 20; ++i) {
    const Time before = now_;
    ASSERT_THAT(NextDialled(), SizeIs(1));
    longest = std::max(longest, now_ - before);
    Reach(1);
    now_ += 1s;
    Down(1);
  }
  EXPECT_GE(longest, kStrangerWaitMax / 4);
  ASSERT_THAT(NextDialled(), SizeIs(1));
  Reach(1);
  now_ += kStayed;
  Down(1);
  const Time left = now_;
  ASSERT_THAT(NextDialled(), SizeIs(1));
  EXPECT_LE(now_ - left, kStrangerWaitMin + kOutboundEvery);  // it counts anew
}

TEST_F(OutboundPlanTest, ADialThatEndsWithSomebodyElseIsAFailure) {
  Know({1, 2, 3});
  Dialled();
  End(1, CloseReason::kWrongKey);
  End(2, CloseReason::kNone);  // was not admitted: the directory does not know it
  EXPECT_THAT(Dialled(), ElementsAre(AddressOf(3)));
}

TEST_F(OutboundPlanTest, WithoutACoreForLongAPeerDoesNotCountAndGoesWhenBetterIsHere) {
  Target(1);
  Know({1, 2});
  EXPECT_THAT(Dialled(), ElementsAre(AddressOf(1)));
  Reach(1);
  SetCore(1, false);
  now_ += kCoreAbsentMax - 1us;
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_EQ(stats_.outbound, 1u);
  const Time before = now_;
  EXPECT_THAT(NextDialled(), ElementsAre(AddressOf(2)));
  EXPECT_LE(now_ - before, kOutboundEvery);
  EXPECT_EQ(stats_.outbound, 0u);
  EXPECT_THAT(Gone(), IsEmpty());  // better than nobody
  Reach(2);
  Dialled();
  EXPECT_THAT(Gone(), ElementsAre(PeerId{1}));
  Down(1);
  EXPECT_EQ(stats_.outbound, 1u);
}

TEST_F(OutboundPlanTest, AtMostTwiceTheTargetWhoeverHasACore) {
  Target(2);
  Know({1, 2, 3, 4, 5, 6, 7});
  for (int round = 0; round < 5; ++round) {
    now_ += kCoreAbsentMax + 1us;
    Dialled();
    for (const auto& [n, dial] : std::exchange(dials_, {})) {
      dials_[n] = dial;
      Reach(n);
      SetCore(n, false);
    }
    dials_.clear();
  }
  EXPECT_EQ(directory_.Outbound(now_).size(), 4u);
}

TEST_F(OutboundPlanTest, ALowerTargetSendsAwayThoseOfLeastWorthThatWeDialled) {
  Target(3);
  Up(9);  // an entry led to it that is no longer there: it stays
  Know({1, 2});
  EXPECT_THAT(Dialled(), SizeIs(2));
  Reach(1);
  Reach(2);
  Target(2);
  Dialled();
  EXPECT_THAT(Gone(), ElementsAre(PeerId{2}));
  Target(0);
  Dialled();
  EXPECT_THAT(Gone(), ElementsAre(PeerId{1}));
}

TEST_F(OutboundPlanTest, StoppedItDialsNobody) {
  Know({1});
  plan_.Stop();
  EXPECT_EQ(plan_.NextDeadline(), std::nullopt);
  EXPECT_THAT(Dialled(), IsEmpty());
}

}  // namespace
}  // namespace overlay::flood
