#include "flood/peers/dial_plan.h"

#include "flood/base/crypto.h"
#include "tests/flood/peers/dial_plan_fixture.h"

namespace overlay::flood::dial_plan_test {
namespace {

TEST_F(DialPlanTest, WhoIsBannedIsNotDialledUntilThatIsOver) {
  bans_.Add(now_, Key(1), {BannedBy::kOperator, now_, now_ + 1h, ""});
  Configure({Entry("10.0.0.1", 1, Key(1)), Entry("10.0.0.2", 2)});
  EXPECT_THAT(Dialled(), ElementsAre("10.0.0.2:2"));
  Connected("10.0.0.2:2", Key(2));
  bans_.Add(now_, Key(2), {BannedBy::kOperator, now_, now_ + 2h, ""});
  Disconnected("10.0.0.2:2", Key(2), CloseReason::kBanned);  // the key that showed there last
  while (now_ < Time{1000s} + 1h - kSweepEvery) EXPECT_THAT(Next(), IsEmpty());
  now_ = Time{1000s} + 1h;
  bans_.Expire(now_);
  plan_.DialAgain(now_);
  EXPECT_THAT(Dialled(), ElementsAre("10.0.0.1:1"));
  End("10.0.0.1:1", CloseReason::kUnreachable);
  bans_.Remove(now_, Key(2));
  now_ += kSweepEvery;  // which finds it even when nobody says so
  EXPECT_THAT(Dialled(), testing::Contains("10.0.0.2:2"));
}

// Trying again soon would be in vain.
TEST_F(DialPlanTest, WhereWeAreBannedWeComeBackAfterAMinute) {
  Configure({Entry("10.0.0.1", 1)});
  Dialled();
  Connected("10.0.0.1:1", Key(1));
  const Time lost = now_;
  PeerDisconnected gone;
  gone.reason = CloseReason::kBanned;
  gone.by_peer = true;
  plan_.OnPeerDisconnected(now_, Info("10.0.0.1:1", Key(1)), gone);
  NextDialled();
  EXPECT_GE(now_ - lost, kSweepEvery);
}

TEST_F(DialPlanTest, SaysWhoseEntryLedToAnAddress) {
  Configure({Entry("10.0.0.1", 1)}, false, PeerEntrySource::kCore);
  Configure({Entry("10.0.0.2", 2)});
  Connect(Entry("10.0.0.1", 1));
  Connect(Entry("10.0.0.3", 3));
  const auto source = [&](const char* address) {
    return plan_.SourceOf(SocketAddress::Parse(address).value());
  };
  EXPECT_EQ(source("10.0.0.1:1"), AddressSource::kCore);  // the first of two
  EXPECT_EQ(source("10.0.0.2:2"), AddressSource::kFile);
  EXPECT_EQ(source("10.0.0.3:3"), AddressSource::kOperator);
  EXPECT_EQ(source("10.0.0.3:4"), std::nullopt);
}

TEST_F(DialPlanTest, LiteralsAreDialledAtOnceWithTheDefaultPort) {
  EXPECT_THAT(Configure({Entry("192.0.2.1"), Entry("2001:db8::1", 7)}), ElementsAre("", ""));
  EXPECT_THAT(Dialled(), testing::UnorderedElementsAre("192.0.2.1:11625", "[2001:db8::1]:7"));
  EXPECT_THAT(Dialled(), IsEmpty());  // dialling: never twice
}

TEST_F(DialPlanTest, AWrongEntryIsRefusedByNameAndNothingChanges) {
  Configure({Entry("192.0.2.9")}, false, PeerEntrySource::kCore);
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.9:11625"));
  const auto refusals =
      Configure({Entry(""), Entry("192.0.2.1"), Entry("192.0.2.2", 0), Entry("a", 1, Key(99))},
                false, PeerEntrySource::kCore);
  EXPECT_FALSE(applied_);
  EXPECT_THAT(refusals[0], HasSubstr("expected HOST"));
  EXPECT_EQ(refusals[1], "");
  EXPECT_THAT(refusals[2], HasSubstr("port 0"));
  EXPECT_THAT(refusals[3], HasSubstr("own key"));
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_EQ(plan_.target_count(), 1u);
  EXPECT_THAT(Configure({}, false, PeerEntrySource::kCore), IsEmpty());
  EXPECT_TRUE(applied_);
  EXPECT_EQ(plan_.target_count(), 0u);
}

// One file for all nodes of a network: each leaves itself out. Anything else wrong still refuses.
TEST_F(DialPlanTest, AFileMayNameOurselves) {
  const auto refusals = Configure({Entry("192.0.2.1", 1, Key(99)), Entry("192.0.2.2", 1)});
  EXPECT_TRUE(applied_);
  EXPECT_THAT(refusals[0], HasSubstr("own key"));
  EXPECT_EQ(refusals[1], "");
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.2:1"));
  Configure({Entry("192.0.2.1", 1, Key(99)), Entry("192.0.2.3", 0)});
  EXPECT_FALSE(applied_);
  EXPECT_EQ(plan_.target_count(), 1u);
}

TEST_F(DialPlanTest, FailuresBackOffWithinTheirCapsForEver) {
  Configure({Entry("192.0.2.1", 1)});
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:1"));
  Duration cap = limits_.redial_min;
  Duration longest{};
  for (int failure = 0; failure < 40; ++failure) {
    const Time failed_at = now_;
    End("192.0.2.1:1", CloseReason::kUnreachable);
    EXPECT_THAT(NextDialled(), ElementsAre("192.0.2.1:1")) << failure;
    EXPECT_LE(now_ - failed_at, cap) << failure;
    longest = std::max(longest, now_ - failed_at);
    cap = std::min(cap * 2, limits_.redial_max);
    now_ += 1ms;
  }
  EXPECT_GT(longest, limits_.redial_max / 2);  // it did grow
}

TEST_F(DialPlanTest, ConnectedIsNotDialledAndADisconnectIs) {
  Configure({Entry("192.0.2.1", 1)});
  Dialled();
  Connected("192.0.2.1:1", Key(1));
  now_ += 1h;
  EXPECT_THAT(Dialled(), IsEmpty());  // the sweep leaves it alone
  PeerDisconnected gone;
  gone.redial_after = 5s;
  plan_.OnPeerDisconnected(now_, Info("192.0.2.1:1", Key(1)), gone);
  const Time left = now_;
  EXPECT_THAT(NextDialled(), ElementsAre("192.0.2.1:1"));
  EXPECT_GE(now_ - left, 5s);  // its Goaway's time
  EXPECT_LE(now_ - left, 5s + limits_.redial_min);
}

// A peer that takes us and drops us at once is no better than one that cannot be reached.
TEST_F(DialPlanTest, ShortConnectionsBackOffAndALongOneBeginsAnew) {
  Configure({Entry("192.0.2.1", 1)});
  Dialled();
  const auto live = [&](Duration lifetime) {
    Connected("192.0.2.1:1", Key(1));
    now_ += lifetime;
    plan_.OnPeerDisconnected(now_, Info("192.0.2.1:1", Key(1)), PeerDisconnected{});
    const Time left = now_;
    NextDialled();
    return now_ - left;
  };
  Duration longest{};
  for (int i = 0; i < 40; ++i) longest = std::max(longest, live(limits_.redial_max));
  EXPECT_GT(longest, limits_.redial_max / 2);
  EXPECT_LE(longest, limits_.redial_max);
  EXPECT_LE(live(limits_.redial_max + 1ns), limits_.redial_min);
}

// The address is refused because its key is shared with a peer that is connected: it is left alone
// while that one is, and no event tells when it is wanted again.
TEST_F(DialPlanTest, TheSweepDialsWhatAnEventMissed) {
  Configure({Entry("192.0.2.1", 1)});
  Dialled();
  const PeerInfo elsewhere = Info("198.51.100.9:1", Key(3), true, 9);
  plan_.OnPeerConnected(now_, elsewhere);
  End("192.0.2.1:1", CloseReason::kKeyShared, Key(3));
  now_ += kRefusedBackoff + limits_.redial_min;
  EXPECT_THAT(Dialled(), IsEmpty());
  plan_.OnPeerDisconnected(now_, elsewhere, PeerDisconnected{});
  EXPECT_THAT(Dialled(), IsEmpty());
  now_ += kSweepEvery;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:1"));
}

TEST_F(DialPlanTest, OurselvesAreLeftAloneForAWhile) {
  Configure({Entry("192.0.2.1", 1), Entry("192.0.2.2", 1)});
  Dialled();
  End("192.0.2.1:1", CloseReason::kSelf);
  const Time known_at = now_;
  End("192.0.2.2:1", CloseReason::kHandshakeTimeout);
  now_ += kSweepEvery;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.2:1"));
  now_ = known_at + kSelfFor - 1ns;
  EXPECT_THAT(Dialled(), IsEmpty());
  now_ = known_at + kSelfFor;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:1"));  // somebody else may be there by now
}

TEST_F(DialPlanTest, SharedKeyWaitsAMinute) {
  Configure({Entry("192.0.2.1", 1)});
  Dialled();
  End("192.0.2.1:1", CloseReason::kKeyShared);
  now_ += kRefusedBackoff - 1ms;
  EXPECT_THAT(Dialled(), IsEmpty());
  now_ += limits_.redial_min + 1ms;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:1"));
}

TEST_F(DialPlanTest, WhatIsRememberedOfTargetsThatLeftIsBounded) {
  std::vector<PeerEntry> entries;
  entries.reserve(40);
  for (int i = 0; i < 40; ++i) entries.push_back(Entry("name" + std::to_string(i), 7));
  Configure(entries);
  for (uint32_t round = 0; round < 2; ++round) {
    for (uint32_t i = 0; i < 40; ++i) {
      ResolvedHost resolved{{}, 1s};
      resolved.addresses.reserve(kAddressesPerNameMax);
      for (uint32_t k = 0; k < kAddressesPerNameMax; ++k) {
        resolved.addresses.push_back(
            SocketAddress::V4(0x0a000000 + ((round * 40 + i) << 8) + k, 0));
      }
      ASSERT_TRUE(plan_.NextDeadline().has_value());
      now_ = std::max(now_, *plan_.NextDeadline());
      plan_.OnDeadline(now_, out_);
      plan_.OnResolved(now_, {"name" + std::to_string(i), false}, resolved, out_);
      plan_.CheckInvariants();  // the bound
    }
    now_ += 2s;
    plan_.OnDeadline(now_, out_);
    now_ += 1s;
    plan_.OnDeadline(now_, out_);
  }
  EXPECT_EQ(plan_.target_count(), 40 * kAddressesPerNameMax);
}

TEST_F(DialPlanTest, ARestartedPeerIsBackSoonHoweverOftenItFailed) {
  Configure({Entry("192.0.2.1", 1)});
  Dialled();
  for (int i = 0; i < 10; ++i) {
    End("192.0.2.1:1", CloseReason::kUnreachable);
    NextDialled();
  }
  for (const CloseReason reason :
       {CloseReason::kStatelessReset, CloseReason::kReplaced, CloseReason::kGoaway}) {
    for (int i = 0; i < 20; ++i) {
      Connected("192.0.2.1:1", Key(1));
      now_ += 1ms;
      Disconnected("192.0.2.1:1", Key(1), reason);
      const Time left = now_;
      EXPECT_THAT(NextDialled(), ElementsAre("192.0.2.1:1"));
      EXPECT_LE(now_ - left, limits_.redial_min);
    }
  }
}

TEST_F(DialPlanTest, DialsAreBegunInBatchesPreferredFirst) {
  std::vector<PeerEntry> entries;
  for (uint16_t port = 1; port <= 200; ++port) {
    entries.push_back(Entry("192.0.2.1", port));
    entries.back().preferred = port > 195;
  }
  Configure(entries);
  std::vector<std::string> dialled = Dialled();
  EXPECT_EQ(dialled.size(), kDialsPerBatch);
  EXPECT_EQ(dialled[0], "192.0.2.1:196");
  EXPECT_EQ(dialled[5], "192.0.2.1:1");
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_EQ(plan_.NextDeadline(), now_ + kBatchPause);
  size_t total = dialled.size();
  for (int batch = 0; batch < 100; ++batch) {
    now_ += kBatchPause;
    total += Dialled().size();
  }
  EXPECT_EQ(total, kDialsOpenMax);
  EXPECT_GT(*plan_.NextDeadline(), now_);  // the sweep's, not that of what cannot be dialled
  End("192.0.2.1:1", CloseReason::kUnreachable);
  EXPECT_EQ(Dialled().size(), 1u);
}

TEST_F(DialPlanTest, APinThatChangesHoldsAtOnce) {
  Configure({Entry("192.0.2.1", 1, Key(1)), Entry("192.0.2.2", 1, Key(7)), Entry("192.0.2.3", 1)});
  Dialled();
  Connected("192.0.2.3:1", Key(3));
  for (int i = 0; i < 8; ++i) {
    End("192.0.2.1:1", CloseReason::kWrongKey, Key(2));
    NextDialled();
  }
  End("192.0.2.1:1", CloseReason::kWrongKey, Key(2));
  // Gone, changed under a dial, and new under a connection.
  Configure({Entry("192.0.2.1", 1), Entry("192.0.2.2", 1, Key(8)), Entry("192.0.2.3", 1, Key(4))});
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:1", "192.0.2.3:1"));
  EXPECT_EQ(last_dial_.at("192.0.2.1:1").pinned_key, std::nullopt);
  EXPECT_EQ(last_dial_.at("192.0.2.3:1").pinned_key, Key(4));
  plan_.OnPeerConnected(now_, Info("192.0.2.2:1", Key(7)));
  End("192.0.2.2:1", CloseReason::kNone, Key(7));
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.2:1"));
  EXPECT_EQ(last_dial_.at("192.0.2.2:1").pinned_key, Key(8));
  EXPECT_FALSE(plan_.IsConfigured(Info("192.0.2.2:1", Key(7))));
}

TEST_F(DialPlanTest, WhoMovedAndIsSilentIsLookedForWhereItWas) {
  Configure({Entry("10.0.0.1", 1)});
  Dialled();
  Connected("10.0.0.1:1", Key(1));
  plan_.OnPeerSilent(now_, Key(1), true);
  EXPECT_THAT(Dialled(), IsEmpty());  // it is there that it is silent
  plan_.OnPeerSilent(now_, Key(1), false);
  plan_.OnPeerMoved(Key(1), SocketAddress::Parse("10.0.0.9:7").value());
  plan_.OnPeerMoved(Key(2), SocketAddress::Parse("10.0.0.9:7").value());  // nobody
  plan_.OnPeerSilent(now_, Key(1), true);
  EXPECT_THAT(Dialled(), ElementsAre("10.0.0.1:1"));
}

// A key that was mistaken for another host's: whoever has it is connected, but is not there.
TEST_F(DialPlanTest, AWrongPinThatIsTakenBackLeavesNothingBehind) {
  Configure({Entry("10.0.0.1", 1), Entry("10.0.0.2", 2, Key(1))});
  Dialled();
  Connected("10.0.0.1:1", Key(1));
  End("10.0.0.2:2", CloseReason::kWrongKey, Key(2));
  Configure({Entry("10.0.0.1", 1), Entry("10.0.0.2", 2)});
  EXPECT_THAT(Dialled(), ElementsAre("10.0.0.2:2"));
  // And who is there stays connected when only its pin goes.
  Connected("10.0.0.2:2", Key(2));
  Configure({Entry("10.0.0.1", 1), Entry("10.0.0.2", 2, Key(2))});
  Configure({Entry("10.0.0.1", 1), Entry("10.0.0.2", 2)});
  EXPECT_THAT(Dialled(), IsEmpty());
}

TEST_F(DialPlanTest, RemovedAndGivenAgainWhileItIsDialledItIsDialledOnce) {
  Configure({Entry("10.0.0.1", 1)});
  EXPECT_THAT(Dialled(), ElementsAre("10.0.0.1:1"));
  Configure({});
  EXPECT_EQ(plan_.target_count(), 0u);
  Configure({Entry("10.0.0.1", 1)});
  EXPECT_THAT(Dialled(), IsEmpty());
  Configure({});
  plan_.OnPeerConnected(now_, Info("10.0.0.1:1", Key(1)));  // too late: it is nobody's
  EXPECT_FALSE(plan_.IsConfigured(Info("10.0.0.1:1", Key(1))));
  EXPECT_EQ(plan_.target_count(), 0u);
  End("10.0.0.1:1", CloseReason::kNone, Key(1));
  Disconnected("10.0.0.1:1", Key(1));
  EXPECT_THAT(Next(), IsEmpty());  // the last sweep
  EXPECT_EQ(plan_.NextDeadline(), std::nullopt);
}

TEST_F(DialPlanTest, RemovedIsNotRedialledAndDisconnectedOnlyIfSaid) {
  Configure({Entry("192.0.2.1", 1), Entry("192.0.2.2", 1)});
  Dialled();
  Connected("192.0.2.1:1", Key(1));
  Connected("192.0.2.2:1", Key(2));
  Configure({Entry("192.0.2.2", 1)});
  EXPECT_THAT(plan_.TakeRemoved(), IsEmpty());
  Configure({}, /*disconnect_removed=*/true);
  EXPECT_THAT(plan_.TakeRemoved(), ElementsAre(Key(2)));
  now_ += 1h;
  EXPECT_THAT(Dialled(), IsEmpty());
}

TEST_F(DialPlanTest, SourcesAddUpAndTheOperatorsPeerCanBeForgotten) {
  using Outcome = OperatorAnswered::Outcome;
  Configure({Entry("192.0.2.1", 1)});
  Configure({Entry("192.0.2.2", 1)}, false, PeerEntrySource::kCore);
  EXPECT_EQ(Connect(Entry("192.0.2.3", 1)), Outcome::kDone);
  EXPECT_EQ(Connect(Entry("192.0.2.4", 1)), Outcome::kDone);
  EXPECT_EQ(Connect(Entry("192.0.2.4", 1)), Outcome::kDone);  // again
  EXPECT_EQ(Connect(Entry("192.0.2.5", 0)), Outcome::kRefused);
  EXPECT_EQ(Dialled().size(), 4u);
  Connected("192.0.2.3:1", Key(3));
  EXPECT_TRUE(plan_.Forget(now_, {Key(3)}, out_));
  EXPECT_FALSE(plan_.Forget(now_, {Key(3)}, out_));
  EXPECT_EQ(plan_.target_count(), 3u);
  Configure({}, false, PeerEntrySource::kCore);
  EXPECT_EQ(plan_.target_count(), 2u);
  // One that never connected, by what was said to connect it.
  EXPECT_FALSE(plan_.Forget(now_, {Entry("192.0.2.4", 2)}, out_));
  EXPECT_TRUE(plan_.Forget(now_, {Entry("192.0.2.4", 1)}, out_));
  EXPECT_EQ(plan_.target_count(), 1u);
}

TEST_F(DialPlanTest, TheOperatorsPartIsBounded) {
  std::vector<PeerEntry> all_but_one;
  all_but_one.reserve(kEntryCountMax);
  for (uint16_t port = 1; port < kEntryCountMax; ++port) {
    all_but_one.push_back(Entry("192.0.2.1", port));
  }
  Configure(all_but_one, false, PeerEntrySource::kOperator);
  EXPECT_EQ(Connect(Entry("192.0.2.1", kEntryCountMax)), OperatorAnswered::Outcome::kDone);
  EXPECT_EQ(Connect(Entry("192.0.2.1", kEntryCountMax + 1)), OperatorAnswered::Outcome::kFull);
  EXPECT_EQ(Connect(Entry("192.0.2.1", 1)), OperatorAnswered::Outcome::kDone);  // there already
  EXPECT_EQ(plan_.target_count(), kEntryCountMax);
}

TEST_F(DialPlanTest, StoppedPlanDialsNobody) {
  Configure({Entry("192.0.2.1", 1), Entry("name", 1)});
  plan_.Stop();
  out_.clear();
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_FALSE(plan_.NextDeadline().has_value());
}

}  // namespace
}  // namespace overlay::flood::dial_plan_test
