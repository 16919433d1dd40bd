#include "flood/peers/peer_directory.h"

#include "flood/peers/backoff.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr ConfiguredAs kConfigured{Standing::kConfigured, false};
constexpr ConfiguredAs kPinned{Standing::kConfigured, true};
constexpr ConfiguredAs kPreferred{Standing::kPreferred, false};

class PeerDirectoryTest : public testing::Test {
 protected:
  PeerDirectoryTest() { Limit(2, 0); }
  ~PeerDirectoryTest() override { directory_.CheckInvariants(); }

  bool Connect(uint64_t peer, bool inbound, ConfiguredAs configured = {}) {
    out_.clear();
    PeerConnected connected{PeerId{peer}, {}};
    connected.info.key.bytes[0] = static_cast<uint8_t>(peer);
    connected.info.inbound = inbound;
    return directory_.OnPeerConnected(now_, connected, configured, out_);
  }
  void Limit(size_t inbound_max, size_t newcomers, bool closed = false) {
    directory_.SetTargets({.inbound_max = inbound_max, .newcomers = newcomers, .closed = closed});
  }
  // Who was told to go.
  std::vector<PeerId> Dropped() const {
    std::vector<PeerId> peers;
    for (const DropPeer& drop : Commands<DropPeer>(out_)) {
      EXPECT_EQ(drop.reason, CloseReason::kNotAdmitted);
      peers.push_back(drop.peer);
    }
    return peers;
  }
  bool Disconnect(uint64_t peer) {
    out_.clear();
    return directory_
        .OnPeerDisconnected(now_, {PeerId{peer}, CloseReason::kStalled, false, "", {}}, out_)
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

TEST_F(PeerDirectoryTest, AboveTheInboundLimitStrangersAreRefused) {
  EXPECT_TRUE(Connect(1, true));
  EXPECT_TRUE(Connect(2, true));
  EXPECT_FALSE(Connect(3, true));
  EXPECT_EQ(Dropped(), std::vector<PeerId>{PeerId{3}});
  EXPECT_TRUE(AllNews<PeerUp>(out_).empty());
  EXPECT_FALSE(Disconnect(3));  // it was never up
  EXPECT_TRUE(Connect(5, false));
  EXPECT_EQ(stats_.connected, 3u);
  EXPECT_EQ(stats_.inbound, 2u);
  Disconnect(1);
  EXPECT_TRUE(Connect(6, true));
}

TEST_F(PeerDirectoryTest, WhoIsDisplacedHoldsNoPlaceWhileItGoes) {
  Connect(1, true);
  directory_.OnFirstEnvelope(now_, PeerId{1});
  Connect(2, true);
  EXPECT_TRUE(Connect(3, true, kConfigured));
  EXPECT_EQ(Dropped(), std::vector<PeerId>{PeerId{2}});  // of less worth
  EXPECT_TRUE(Connect(4, true, kConfigured));
  EXPECT_EQ(Dropped(), std::vector<PeerId>{PeerId{1}});
  EXPECT_FALSE(Connect(5, true, kConfigured));
  EXPECT_TRUE(Connect(6, true, kPreferred));  // displaces a configured one
  EXPECT_EQ(Dropped().size(), 1u);
  EXPECT_TRUE(Connect(7, true, kPreferred));
  EXPECT_TRUE(Connect(8, true, kPreferred));  // above the limit
  EXPECT_TRUE(Dropped().empty());
  directory_.CheckInvariants();
  EXPECT_TRUE(Disconnect(2));
  EXPECT_EQ(AllNews<PeerDown>(out_).size(), 1u);
}

TEST_F(PeerDirectoryTest, ALowerLimitIsEnforcedAtOnce) {
  Limit(8, 0);
  for (uint64_t peer = 1; peer <= 3; ++peer) Connect(peer, true);
  Connect(4, true, kConfigured);
  Connect(5, false);
  directory_.OnFirstEnvelope(now_, PeerId{2});
  Limit(2, 0);
  const auto configured = [](const PeerInfo& info) {
    return info.key.bytes[0] == 4 ? kConfigured : ConfiguredAs{};
  };
  out_.clear();
  directory_.Reconsider(now_, configured, out_);
  EXPECT_EQ(Dropped(), (std::vector<PeerId>{PeerId{1}, PeerId{3}}));
  out_.clear();
  directory_.Reconsider(now_, configured, out_);
  EXPECT_TRUE(Dropped().empty());  // each is told once
}

TEST_F(PeerDirectoryTest, ClosingSendsAwayWhomNoEntryPins) {
  Connect(1, true, kPinned);
  Connect(2, true, kConfigured);
  Connect(3, false);
  Limit(2, 0, /*closed=*/true);
  out_.clear();
  directory_.Reconsider(
      now_, [](const PeerInfo& info) { return info.key.bytes[0] == 1 ? kPinned : kConfigured; },
      out_);
  EXPECT_EQ(Dropped(), (std::vector<PeerId>{PeerId{2}, PeerId{3}}));
  EXPECT_FALSE(Connect(4, false));
  EXPECT_TRUE(Connect(5, true, kPinned));
}

TEST_F(PeerDirectoryTest, ScoreClosesAStrangerOnceAndAConfiguredPeerNever) {
  Connect(1, true);
  Connect(2, true, kConfigured);
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

// ---- bans -------------------------------------------------------------------------------------

class PeerBansTest : public PeerDirectoryTest {
 protected:
  static NodeKey Key(uint8_t peer) {
    NodeKey key;
    key.bytes[0] = peer;
    return key;
  }
  bool Ban(uint8_t peer, Time until) {
    out_.clear();
    return directory_.Ban(now_, Key(peer), {BannedBy::kOperator, now_, until, "why"}, out_);
  }
  // Why the last drop was made.
  std::optional<CloseReason> LastDrop() const {
    const auto drops = Commands<DropPeer>(out_);
    return drops.size() == 1 ? std::optional(drops[0].reason) : std::nullopt;
  }
};

TEST_F(PeerBansTest, WhoIsBannedGoesAndDoesNotComeBackUntilItIsOver) {
  Connect(1, true, kPreferred);
  EXPECT_TRUE(Ban(1, now_ + 10s));
  EXPECT_EQ(LastDrop(), CloseReason::kBanned);
  EXPECT_EQ(Commands<DropPeer>(out_)[0].detail, "banned");  // our reason is none of its business
  const std::vector<PeerBanned> told = AllNews<PeerBanned>(out_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].key, Key(1));
  EXPECT_EQ(told[0].ban.reason, "why");
  EXPECT_TRUE(Ban(1, now_ + 10s));
  EXPECT_TRUE(Commands<DropPeer>(out_).empty());  // it was told
  EXPECT_EQ(stats_.bans, 1u);
  EXPECT_EQ(stats_.banned[static_cast<size_t>(BannedBy::kOperator)], 2u);
  Disconnect(1);
  EXPECT_FALSE(Connect(1, true, kPreferred));
  EXPECT_EQ(LastDrop(), CloseReason::kBanned);
  EXPECT_FALSE(Connect(1, false, kPreferred));
  EXPECT_EQ(directory_.next_deadline(), now_ + 10s);
  now_ += 10s;
  EXPECT_TRUE(directory_.OnDeadline(now_));
  EXPECT_FALSE(directory_.OnDeadline(now_));
  EXPECT_EQ(stats_.bans, 0u);
  EXPECT_TRUE(Connect(1, true, kPreferred));
}

TEST_F(PeerBansTest, UnbannedItMayComeAtOnce) {
  const uint64_t changes = directory_.changes();
  Ban(1, kTimeNever);
  EXPECT_GT(directory_.changes(), changes);  // the file has them
  EXPECT_FALSE(directory_.Unban(now_, Key(2)));
  EXPECT_TRUE(directory_.Unban(now_, Key(1)));
  EXPECT_EQ(stats_.bans, 0u);
  EXPECT_TRUE(Connect(1, true));
}

TEST_F(PeerBansTest, EachOffenceIsToldWithWhoseItIs) {
  Connect(1, true, kConfigured);
  Offend(1, Offence::kUnsolicited);
  const std::vector<PeerOffended> told = AllNews<PeerOffended>(out_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].key, Key(1));
  EXPECT_EQ(told[0].offence, Offence::kUnsolicited);
  Offend(2, Offence::kUnsolicited);  // of one that has gone meanwhile
  EXPECT_TRUE(out_.empty());
}

TEST_F(PeerBansTest, ABadScoreBansAStrangerForAnHour) {
  Connect(1, true);
  while (Offend(1, Offence::kWrongHash) == 0) ASSERT_LT(directory_.ScoreOf(now_, PeerId{1}), 1000);
  EXPECT_EQ(LastDrop(), CloseReason::kBadScore);
  ASSERT_EQ(AllNews<PeerBanned>(out_).size(), 1u);
  EXPECT_EQ(AllNews<PeerBanned>(out_)[0].ban.by, BannedBy::kScore);
  EXPECT_EQ(stats_.banned[static_cast<size_t>(BannedBy::kScore)], 1u);
  Disconnect(1);
  now_ += kScoreBanFor - 1us;
  EXPECT_FALSE(Connect(1, true));
  now_ += 1us;
  EXPECT_TRUE(Connect(1, true));
  Connect(2, true, kConfigured);
  for (int i = 0; i < 100; ++i) Offend(2, Offence::kWrongHash);
  EXPECT_TRUE(directory_.bans().bans().size() <= 1u);
  EXPECT_FALSE(directory_.bans().Contains(now_, Key(2)));
}

TEST_F(PeerBansTest, ListedPeersSayThatTheyAreBanned) {
  Connect(1, true);
  Connect(2, true);
  Ban(1, kTimeNever);
  std::vector<PeerView> views = directory_.Describe(now_);
  directory_.DescribeKnown(now_, views);
  ASSERT_EQ(views.size(), 2u);
  EXPECT_TRUE(views[0].banned);
  EXPECT_FALSE(views[1].banned);
}

TEST_F(PeerBansTest, OutboundAreTheOrdinaryOnesThatWeDialledAndThatStay) {
  Connect(1, true);
  Connect(2, false);
  Connect(3, false, kConfigured);
  Connect(4, false);
  Ban(4, kTimeNever);
  const Time since = now_;
  std::vector<OutboundPeer> outbound = directory_.Outbound(now_);
  ASSERT_EQ(outbound.size(), 1u);
  EXPECT_EQ(outbound[0].key, Key(2));
  now_ += 5s;
  directory_.SetCorePresent(now_, PeerId{2}, false);
  EXPECT_EQ(directory_.Outbound(now_)[0].core_absent_since, since);  // it never said otherwise
  directory_.SetCorePresent(now_, PeerId{2}, true);
  EXPECT_EQ(directory_.Outbound(now_)[0].core_absent_since, std::nullopt);
  directory_.SetCorePresent(now_, PeerId{2}, false);
  EXPECT_EQ(directory_.Outbound(now_)[0].core_absent_since, now_);
}

// ---- the book ---------------------------------------------------------------------------------

class PeerRecordTest : public PeerDirectoryTest {
 protected:
  PeerRecordTest() { Limit(64, 8); }

  static NodeKey Key(uint8_t peer) {
    NodeKey key;
    key.bytes[0] = peer;
    return key;
  }
  static SocketAddress Address(uint16_t port) { return SocketAddress::Loopback(port); }
  const KnownPeer& Known(uint8_t peer) const { return *directory_.book().Find(Key(peer)); }
  void DialEnds(uint64_t dial, uint16_t port, CloseReason reason, std::optional<NodeKey> key,
                bool configured = false,
                std::optional<AddressSource> source = AddressSource::kFile) {
    directory_.OnDialEnded(now_, {DialId{dial}, Address(port), reason, key, ""}, configured,
                           source);
    directory_.CheckInvariants();
  }
  PeerState StateOf(uint8_t peer) const { return Known(peer).state; }
  // As in the daemon: the peer is told before the dial's end.
  void Reach(uint8_t peer, uint16_t port) {
    directory_.OnDial({DialId{peer}, Address(port), std::nullopt});
    Connect(peer, /*inbound=*/false);
    DialEnds(peer, port, CloseReason::kNone, Key(peer));
  }
};

TEST_F(PeerRecordTest, StatesFollowConnectionsAndDials) {
  Reach(1, 1001);
  EXPECT_EQ(StateOf(1), PeerState::kConnected);
  Disconnect(1);
  EXPECT_EQ(StateOf(1), PeerState::kLost);
  EXPECT_EQ(Known(1).lost_reason, CloseReason::kStalled);
  directory_.OnDial({DialId{10}, Address(1001), std::nullopt});  // whose it is, the book knows
  directory_.OnDial({DialId{11}, Address(77), Key(1)});
  EXPECT_EQ(StateOf(1), PeerState::kDialling);
  DialEnds(10, 1001, CloseReason::kUnreachable, std::nullopt, /*configured=*/true);
  EXPECT_EQ(StateOf(1), PeerState::kDialling);
  DialEnds(11, 77, CloseReason::kHandshakeTimeout, std::nullopt, /*configured=*/true);
  EXPECT_EQ(StateOf(1), PeerState::kWaiting);
  EXPECT_EQ(Known(1).lost_reason, CloseReason::kHandshakeTimeout);
  directory_.Reconsider(
      now_, [](const PeerInfo&) { return ConfiguredAs{}; }, out_);
  EXPECT_EQ(StateOf(1), PeerState::kLost);
}

TEST_F(PeerRecordTest, ADialBesideAConnectionOutlivesIt) {
  Reach(1, 1001);
  directory_.OnDial({DialId{10}, Address(1001), Key(1)});
  EXPECT_EQ(StateOf(1), PeerState::kConnected);
  Disconnect(1);
  EXPECT_EQ(StateOf(1), PeerState::kDialling);
  DialEnds(10, 1001, CloseReason::kUnreachable, std::nullopt);
  EXPECT_EQ(StateOf(1), PeerState::kLost);
}

TEST_F(PeerRecordTest, AConfiguredPeerWaitsWhenItIsLost) {
  Connect(1, /*inbound=*/true, kConfigured);
  Disconnect(1);
  EXPECT_EQ(StateOf(1), PeerState::kWaiting);
  Connect(2, /*inbound=*/true);
  directory_.Reconsider(
      now_, [](const PeerInfo&) { return kConfigured; }, out_);
  Disconnect(2);
  EXPECT_EQ(StateOf(2), PeerState::kWaiting);
}

TEST_F(PeerRecordTest, AddressesAreLearntFromDialsAndListenPorts) {
  Reach(1, 1001);
  ASSERT_EQ(Known(1).addresses.size(), 1u);
  EXPECT_EQ(Known(1).addresses[0].address, Address(1001));
  EXPECT_EQ(Known(1).addresses[0].last_success, now_);
  EXPECT_EQ(Known(1).addresses[0].source, AddressSource::kFile);
  PeerConnected inbound{PeerId{2}, {}};
  inbound.info.key = Key(2);
  inbound.info.inbound = true;
  inbound.info.address = Address(40000);
  inbound.info.listen_port = 11625;
  directory_.OnPeerConnected(now_, inbound, {}, out_);
  ASSERT_EQ(Known(2).addresses.size(), 1u);
  EXPECT_EQ(Known(2).addresses[0].address, Address(11625));
  EXPECT_EQ(Known(2).addresses[0].source, AddressSource::kListens);
  EXPECT_FALSE(Known(2).addresses[0].last_success);
  // What refused us, or is not here any more, says nothing of where it is.
  DialEnds(7, 1002, CloseReason::kNotAdmitted, Key(1));
  Disconnect(1);
  DialEnds(8, 1003, CloseReason::kNone, Key(1));
  EXPECT_EQ(Known(1).addresses.size(), 1u);
}

TEST_F(PeerRecordTest, AnAddressWhereSomebodyElseAnswersIsForgotten) {
  for (uint8_t peer = 1; peer <= 4; ++peer) Reach(peer, 1000 + peer);
  DialEnds(11, 1001, CloseReason::kWrongKey, Key(9));
  EXPECT_TRUE(Known(1).addresses.empty());
  DialEnds(12, 1002, CloseReason::kSelf, std::nullopt);
  EXPECT_TRUE(Known(2).addresses.empty());
  DialEnds(13, 1003, CloseReason::kWrongKey, Key(3));  // it was right: the pin is wrong
  DialEnds(14, 1004, CloseReason::kUnreachable, std::nullopt);
  EXPECT_EQ(Known(3).addresses.size() + Known(4).addresses.size(), 2u);
}

TEST_F(PeerRecordTest, ADialThatNoEntryLedToKeepsTheSourceOfTheAddress) {
  Reach(1, 1001);
  now_ += 1s;
  DialEnds(11, 1001, CloseReason::kDuplicate, Key(1), false, std::nullopt);
  EXPECT_EQ(Known(1).addresses[0].source, AddressSource::kFile);
  EXPECT_EQ(Known(1).addresses[0].last_success, now_);
  DialEnds(12, 1002, CloseReason::kDuplicate, Key(1), false, std::nullopt);  // removed meanwhile
  EXPECT_EQ(Known(1).addresses.size(), 1u);
}

TEST_F(PeerRecordTest, WhoIsNotAdmittedIsNotRemembered) {
  Limit(1, 0);
  Connect(1, true);
  Connect(2, true);
  EXPECT_EQ(directory_.book().Find(Key(2)), nullptr);
}

TEST_F(PeerRecordTest, FiguresAreAddedUpOverConnections) {
  for (int i = 0; i < 2; ++i) {
    Connect(1, true);
    directory_.OnPath(now_, PeerId{1}, 20ms);
    directory_.OnFirstEnvelope(now_, PeerId{1});
    directory_.OnFirstTransaction(now_, PeerId{1});
    directory_.OnFetch(now_, PeerId{1}, true);
    directory_.OnFetch(now_, PeerId{1}, false);
    PeerDisconnected gone{PeerId{1}, CloseReason::kGoaway, true, ""};
    gone.bytes_sent = 100;
    gone.bytes_received = 200;
    gone.rtt = 20ms;
    directory_.OnPeerDisconnected(now_, gone, out_);
  }
  directory_.OnFirstEnvelope(now_, PeerId{1});  // it has gone
  const KnownPeer& known = Known(1);
  EXPECT_EQ(known.connected_total, 2u);
  EXPECT_DOUBLE_EQ(known.bytes_sent.At(now_), 200);
  EXPECT_DOUBLE_EQ(known.bytes_received.At(now_), 400);
  EXPECT_DOUBLE_EQ(known.first_envelopes.At(now_), 2);
  EXPECT_DOUBLE_EQ(known.first_transactions.At(now_), 2);
  EXPECT_DOUBLE_EQ(known.fetches_ok.At(now_), 2);
  EXPECT_DOUBLE_EQ(known.fetches_failed.At(now_), 2);
  EXPECT_NEAR(known.rtt.At(now_).value(), 0.02, 1e-9);
}

TEST_F(PeerRecordTest, TheLastSeenOfTheLostAreListed) {
  Limit(1000, 0);
  for (uint8_t i = 1; i <= kLostListedMax + 5; ++i) {
    now_ += 1s;
    Connect(i, true);
    Disconnect(i);
  }
  Connect(200, true);
  std::vector<PeerView> views = directory_.Describe(now_);
  directory_.DescribeKnown(now_, views);
  ASSERT_EQ(views.size(), 1 + kLostListedMax);
  EXPECT_EQ(views[0].state, PeerView::State::kConnected);
  EXPECT_EQ(views[0].known.value().connected_total, 1u);
  EXPECT_EQ(views[1].state, PeerView::State::kLost);
  EXPECT_EQ(views[1].key, Key(kLostListedMax + 5));
  EXPECT_EQ(views[1].last_reason, CloseReason::kStalled);
  EXPECT_EQ(views.back().key, Key(6));
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
