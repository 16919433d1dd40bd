#include "flood/peers/dial_plan.h"

#include <algorithm>
#include <map>

#include "flood/base/crypto.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

NodeKey Key(uint8_t n) {
  NodeKey key;
  key.bytes[0] = n;
  return key;
}

PeerEntry Entry(const std::string& host, std::optional<uint16_t> port = std::nullopt,
                std::optional<NodeKey> pinned = std::nullopt) {
  return {.text = host, .host = host, .port = port, .pinned_key = pinned, .preferred = false};
}

class DialPlanTest : public testing::Test {
 protected:
  ~DialPlanTest() override { plan_.CheckInvariants(); }

  // With the entry's port or without one: then services are asked for, too.
  void Resolve(const std::string& host, const std::vector<std::string>& addresses,
               bool services = false, Duration ttl = 10min) {
    plan_.OnDeadline(now_, out_);  // asks
    ResolvedHost resolved{{}, ttl};
    for (const std::string& address : addresses) {
      resolved.addresses.push_back(SocketAddress::Parse(address).value());
    }
    plan_.OnResolved(now_, {host, services}, resolved, out_);
  }
  // Names asked for by now, since the last call of this or of Dialled().
  std::vector<std::string> Asked() {
    plan_.OnDeadline(now_, out_);
    std::vector<std::string> hosts;
    for (const Action& action : out_) {
      const auto* resolve = std::get_if<ResolveHost>(&action);
      if (resolve != nullptr) hosts.push_back(resolve->host);
    }
    std::erase_if(out_, [](const Action& a) { return std::holds_alternative<ResolveHost>(a); });
    return hosts;
  }
  std::vector<std::string> Configure(std::vector<PeerEntry> entries,
                                     bool disconnect_removed = false,
                                     PeerEntrySource source = PeerEntrySource::kFile) {
    plan_.Configure(now_, {source, std::move(entries), disconnect_removed}, out_);
    const auto answers = Outputs<PeersConfigured>(out_);
    EXPECT_EQ(answers.size(), 1u);
    applied_ = !answers.empty() && answers[0].applied;
    std::erase_if(out_, [](const Action& a) { return std::holds_alternative<CoreOutput>(a); });
    return answers.empty() ? std::vector<std::string>{} : answers[0].refusals;
  }
  // Addresses dialled since the last call.
  std::vector<std::string> Dialled() {
    plan_.OnDeadline(now_, out_);
    plan_.CheckInvariants();
    std::vector<std::string> addresses;
    for (const Dial& dial : Commands<Dial>(out_)) {
      addresses.push_back(dial.address.ToString());
      last_dial_[dial.address.ToString()] = dial;
    }
    out_.clear();
    return addresses;
  }
  void End(const std::string& address, CloseReason reason,
           std::optional<NodeKey> key = std::nullopt) {
    const Dial& dial = last_dial_.at(address);
    plan_.OnDialEnded(now_, {dial.dial, dial.address, reason, key, ""});
  }
  PeerInfo Info(const std::string& address, NodeKey key, bool inbound = false,
                uint16_t listen = 0) {
    PeerInfo info;
    info.key = key;
    info.address = SocketAddress::Parse(address).value();
    info.inbound = inbound;
    info.listen_port = listen;
    return info;
  }
  void Connected(const std::string& address, NodeKey key) {
    plan_.OnPeerConnected(now_, Info(address, key));
    End(address, CloseReason::kNone, key);
  }
  // Moves to the plan's next deadline and returns what was dialled there.
  std::vector<std::string> Next() {
    const auto deadline = plan_.NextDeadline();
    EXPECT_TRUE(deadline.has_value());
    now_ = std::max(now_, deadline.value_or(now_));
    return Dialled();
  }
  // What is dialled next, whenever that is: sweeps come between.
  std::vector<std::string> NextDialled() {
    for (int deadline = 0; deadline < 100; ++deadline) {
      std::vector<std::string> dialled = Next();
      if (!dialled.empty()) return dialled;
    }
    ADD_FAILURE() << "nothing is dialled any more";
    return {};
  }

  OperatorAnswered::Outcome Connect(const PeerEntry& entry) {
    plan_.Connect(now_, {entry}, out_);
    const auto answers = Outputs<OperatorAnswered>(out_);
    EXPECT_EQ(answers.size(), 1u);
    std::erase_if(out_, [](const Action& a) { return std::holds_alternative<CoreOutput>(a); });
    return answers.at(0).outcome;
  }
  void Disconnected(const std::string& address, NodeKey key,
                    CloseReason reason = CloseReason::kNone) {
    PeerDisconnected gone;
    gone.reason = reason;
    plan_.OnPeerDisconnected(now_, Info(address, key), gone);
  }

  bool applied_ = false;
  Limits limits_;
  NodeStats stats_;
  BanList bans_;
  DialPlan plan_{limits_, Key(99), 11625, Random(7), bans_, stats_};
  ActionList out_;
  std::map<std::string, Dial> last_dial_;
  Time now_{1000s};
};

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

TEST_F(DialPlanTest, WhoDialledUsIsNotDialled) {
  Configure({Entry("192.0.2.1", 7), Entry("192.0.2.2", 7), Entry("host", 7, Key(3))});
  out_.clear();
  plan_.OnPeerConnected(now_, Info("192.0.2.1:40000", Key(1), true, 7));
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.2:7"));
  EXPECT_TRUE(plan_.IsConfigured(Info("192.0.2.1:40000", Key(1), true, 7)));
  EXPECT_FALSE(plan_.IsConfigured(Info("192.0.2.1:40000", Key(5), true, 8)));
  plan_.OnPeerConnected(now_, Info("198.51.100.9:1", Key(3), true, 9));
  EXPECT_TRUE(plan_.IsConfigured(Info("198.51.100.9:1", Key(3), true, 9)));  // not resolved yet
  Resolve("host", {"192.0.2.3:0"});
  EXPECT_THAT(Dialled(), IsEmpty());  // its pinned key is connected, from another address
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

TEST_F(DialPlanTest, NamesAreResolvedToAllTheirAddressesAndAgainFromTheThirdTry) {
  Configure({Entry("service", 7)});
  EXPECT_THAT(Asked(), ElementsAre("service"));
  Resolve("service", {"192.0.2.1:0", "192.0.2.2:0"});
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:7", "192.0.2.2:7"));
  Connected("192.0.2.2:7", Key(2));
  now_ += kResolveEvery;
  End("192.0.2.1:7", CloseReason::kUnreachable);
  EXPECT_THAT(Asked(), IsEmpty());
  NextDialled();
  End("192.0.2.1:7", CloseReason::kUnreachable);
  EXPECT_THAT(Asked(), ElementsAre("service"));  // two have failed
  Resolve("service", {"192.0.2.3:0"});
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.3:7"));
}

TEST_F(DialPlanTest, ADisconnectAsksTheNameThatLedThere) {
  Configure({Entry("service", 7), Entry("other", 7), Entry("pinned", 7, Key(3))});
  Resolve("service", {"192.0.2.1:0"});
  Resolve("other", {"192.0.2.2:0"});
  Dialled();
  Connected("192.0.2.1:7", Key(1));
  Connected("192.0.2.2:7", Key(2));
  now_ += 1min;
  Disconnected("192.0.2.1:7", Key(1), CloseReason::kIdleTimeout);
  EXPECT_THAT(Asked(), ElementsAre("service"));
}

// Without a port the entry's services count, with the ports that they say.
TEST_F(DialPlanTest, ANameWithoutAPortAsksForServices) {
  Configure({Entry("service"), Entry("service", 7)});
  Resolve("service", {"192.0.2.1:9000", "192.0.2.2:0"}, /*services=*/true);
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:9000", "192.0.2.2:11625"));
  Resolve("service", {"192.0.2.1:0"});
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:7"));
}

// A name that gives other addresses each time takes nothing from the peer that it led to.
TEST_F(DialPlanTest, ConnectedStaysConfiguredWhenItsNameNoLongerGivesIt) {
  Configure({Entry("service", 7)});
  const auto resolve = [&](const std::string& address) {
    now_ += 11min;
    Resolve("service", {address});
    return Dialled();
  };
  EXPECT_THAT(resolve("192.0.2.1:0"), ElementsAre("192.0.2.1:7"));
  Connected("192.0.2.1:7", Key(1));
  EXPECT_THAT(resolve("192.0.2.2:0"), ElementsAre("192.0.2.2:7"));
  EXPECT_THAT(resolve("192.0.2.3:0"), ElementsAre("192.0.2.3:7"));
  EXPECT_EQ(plan_.target_count(), 2u);  // the second was not connected
  EXPECT_TRUE(plan_.IsConfigured(Info("192.0.2.1:7", Key(1))));
  std::vector<PeerView> views(1);
  views[0].key = Key(1);
  plan_.Describe(views);
  EXPECT_EQ(views[0].configured, "service");
  EXPECT_EQ(views.size(), 2u);
  plan_.OnPeerDisconnected(now_, Info("192.0.2.1:7", Key(1)), PeerDisconnected{});
  EXPECT_EQ(plan_.target_count(), 1u);
  EXPECT_FALSE(plan_.IsConfigured(Info("192.0.2.1:7", Key(1))));
  now_ += 1h;
  EXPECT_THAT(Dialled(), IsEmpty());
}

// What a name gives, takes away and gives again waits for what it had to wait for.
TEST_F(DialPlanTest, ATargetThatComesBackKeepsItsBackOff) {
  Configure({Entry("service", 7)});
  Resolve("service", {"192.0.2.1:0", "192.0.2.2:0"});
  Dialled();
  for (int failure = 0; failure < 8; ++failure) {
    End("192.0.2.1:7", CloseReason::kUnreachable);
    NextDialled();
  }
  End("192.0.2.1:7", CloseReason::kUnreachable);
  End("192.0.2.2:7", CloseReason::kSelf);
  now_ += 11min - kLeftFor + kResolveEvery;
  Dialled();
  const auto give = [&](const std::vector<std::string>& addresses) {
    Resolve("service", addresses, false, 1s);
    now_ += 1200ms;
    return Dialled();
  };
  give({"192.0.2.3:0"});
  EXPECT_EQ(plan_.target_count(), 1u);
  give({"192.0.2.2:0", "192.0.2.3:0"});
  std::vector<PeerView> views;
  plan_.Describe(views);
  ASSERT_EQ(views.size(), 2u);
  EXPECT_EQ(views[0].last_reason, CloseReason::kSelf);
  ASSERT_TRUE(views[0].next_try);
  EXPECT_GT(*views[0].next_try, now_ + 1min);
  give({"192.0.2.3:0"});
  now_ += kLeftFor;
  Dialled();
  Dialled();
  EXPECT_THAT(give({"192.0.2.2:0", "192.0.2.3:0"}), testing::Contains("192.0.2.2:7"));
  views.clear();
  plan_.Describe(views);
  ASSERT_EQ(views.size(), 2u);
  EXPECT_EQ(views[0].last_reason, std::nullopt);  // nothing of what it was is known any more
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
      while (!plan_.NextDeadline() || *plan_.NextDeadline() > now_) now_ += 1ms;
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

TEST_F(DialPlanTest, ATargetGoesWithItsEntryThoughItIsConnected) {
  Configure({Entry("service", 7)});
  Resolve("service", {"192.0.2.1:0"});
  Dialled();
  Connected("192.0.2.1:7", Key(1));
  Configure({Entry("service", 8)});
  EXPECT_FALSE(plan_.IsConfigured(Info("192.0.2.1:7", Key(1))));
}

TEST_F(DialPlanTest, BothFamiliesOfANameAreRaced) {
  Configure({Entry("dual", 7), Entry("four", 7)});
  Resolve("dual", {"192.0.2.1:0", "[2001:db8::1]:0"});
  Resolve("four", {"192.0.2.9:0"});
  EXPECT_THAT(Dialled(), testing::UnorderedElementsAre("192.0.2.9:7", "[2001:db8::1]:7"));
  now_ += kOtherFamilyAfter - 1ns;
  EXPECT_THAT(Dialled(), IsEmpty());
  now_ += 1ns;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:7"));
  // v4 works: the name's next address over it goes first, and so does the redial of the key.
  plan_.OnPeerConnected(now_, Info("192.0.2.1:7", Key(1)));
  End("192.0.2.1:7", CloseReason::kNone, Key(1));
  End("[2001:db8::1]:7", CloseReason::kDuplicate, Key(1));
  now_ += 11min;
  Resolve("dual", {"192.0.2.1:0", "192.0.2.2:0", "[2001:db8::1]:0", "[2001:db8::2]:0"});
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.2:7"));
  now_ += kOtherFamilyAfter;
  EXPECT_THAT(Dialled(), testing::Contains("[2001:db8::2]:7"));
  Disconnected("192.0.2.1:7", Key(1), CloseReason::kStatelessReset);
  EXPECT_THAT(NextDialled(), ElementsAre("192.0.2.1:7"));
  const Time first = now_;
  EXPECT_THAT(NextDialled(), ElementsAre("[2001:db8::1]:7"));
  EXPECT_EQ(now_ - first, kOtherFamilyAfter);
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

// The peer lives behind a name, with a pin or known by its key; it is silent, and has moved.
TEST_F(DialPlanTest, ASilentPeerIsLookedForElsewhere) {
  for (const bool pinned : {false, true}) {
    const std::string host = pinned ? "pinned" : "plain";
    const auto at = [&](int n) { return "192.0.2." + std::to_string(n + (pinned ? 10 : 0)); };
    const NodeKey key = Key(pinned ? 2 : 1);
    Configure({Entry(host, 7, pinned ? std::optional(key) : std::nullopt), Entry(at(3), 7, key)});
    Resolve(host, {at(1) + ":0"});
    EXPECT_EQ(Dialled().size(), 2u);
    Connected(at(1) + ":7", key);
    End(at(3) + ":7", CloseReason::kUnreachable);
    now_ += 1min;
    EXPECT_THAT(Dialled(), IsEmpty());
    EXPECT_THAT(Asked(), IsEmpty());

    plan_.OnPeerSilent(now_, key, true);
    EXPECT_THAT(Asked(), ElementsAre(host));
    Resolve(host, {at(1) + ":0"});  // not yet: it is asked again
    EXPECT_THAT(Dialled(), ElementsAre(at(3) + ":7"));
    End(at(3) + ":7", CloseReason::kUnreachable);
    now_ += kResolveEvery;
    EXPECT_THAT(Asked(), ElementsAre(host));
    Resolve(host, {at(2) + ":0"});
    EXPECT_THAT(Dialled(), testing::Contains(at(2) + ":7"));
    // It is heard of again where it was: nothing else is dialled.
    plan_.OnPeerSilent(now_, key, false);
    End(at(2) + ":7", CloseReason::kUnreachable);
    now_ += kSweepEvery;
    const auto dialled = Dialled();
    EXPECT_THAT(dialled, testing::Not(testing::Contains(at(3) + ":7")));
    EXPECT_EQ(dialled.size(), pinned ? 0u : 1u);  // whose key the new one shows is not known
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
  Connected("10.0.0.1:1", Key(1));  // too late: it is nobody's
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

// By its entry a peer goes, too; not if another entry leads to it.
TEST_F(DialPlanTest, AForgottenEntryTakesItsPeersAlong) {
  Configure({Entry("192.0.2.1", 1)});
  Connect(Entry("192.0.2.1", 1));
  Connect(Entry("service", 2));
  Resolve("service", {"192.0.2.2:0"});
  Dialled();
  Connected("192.0.2.1:1", Key(1));
  Connected("192.0.2.2:2", Key(2));
  EXPECT_TRUE(plan_.Forget(now_, {Entry("192.0.2.1", 1)}, out_));
  EXPECT_THAT(plan_.TakeRemoved(), IsEmpty());
  EXPECT_TRUE(plan_.Forget(now_, {Entry("service", 2)}, out_));
  EXPECT_THAT(plan_.TakeRemoved(), ElementsAre(Key(2)));
}

TEST_F(DialPlanTest, TheOperatorsPartIsBounded) {
  for (uint16_t port = 1; port <= kEntryCountMax; ++port) {
    ASSERT_EQ(Connect(Entry("192.0.2.1", port)), OperatorAnswered::Outcome::kDone);
  }
  EXPECT_EQ(Connect(Entry("192.0.2.1", kEntryCountMax + 1)), OperatorAnswered::Outcome::kFull);
  EXPECT_EQ(Connect(Entry("192.0.2.1", 1)), OperatorAnswered::Outcome::kDone);  // there already
  EXPECT_EQ(plan_.target_count(), kEntryCountMax);
}

// Transport keeps places for them, so it must know all of them, and only them, at every time.
TEST_F(DialPlanTest, TransportIsToldTheAddressesWheneverTheyChange) {
  const auto told = [this] {
    std::vector<std::vector<std::string>> lists;
    for (const ConfiguredAddresses& configured : Commands<ConfiguredAddresses>(out_)) {
      std::vector<std::string> list;
      for (const SocketAddress& address : configured.addresses) list.push_back(address.ToString());
      lists.push_back(list);
    }
    out_.clear();
    return lists;
  };
  Configure({Entry("192.0.2.1", 1), Entry("name", 5)});
  EXPECT_THAT(told(), ElementsAre(ElementsAre("192.0.2.1:1")));
  Resolve("name", {"192.0.2.7:0"});
  EXPECT_THAT(told(), ElementsAre(ElementsAre("192.0.2.1:1", "192.0.2.7:5")));
  now_ += 11min;
  Resolve("name", {"192.0.2.7:0"});
  EXPECT_THAT(told(), IsEmpty());
  Connect(Entry("192.0.2.3", 1));
  EXPECT_THAT(told(), ElementsAre(ElementsAre("192.0.2.1:1", "192.0.2.3:1", "192.0.2.7:5")));
  Dialled();
  Connected("192.0.2.3:1", Key(3));
  plan_.Forget(now_, {Key(3)}, out_);
  EXPECT_THAT(told(), ElementsAre(ElementsAre("192.0.2.1:1", "192.0.2.7:5")));
  Configure({});
  EXPECT_THAT(told(), ElementsAre(IsEmpty()));
}

// What an operator sees: every entry once, connected peers as such, the rest with what comes next.
TEST_F(DialPlanTest, DescribesEveryEntryHoweverFarItHasCome) {
  Configure({Entry("192.0.2.1", 1), Entry("192.0.2.2", 1), Entry("192.0.2.3", 1, Key(3)),
             Entry("fast", 5), Entry("lost", 5), Entry("slow", 5)});
  Resolve("fast", {"192.0.2.7:0"});
  plan_.OnResolved(now_, {"lost", false}, absl::NotFoundError("no such name"), out_);
  EXPECT_EQ(Dialled().size(), 4u);
  Connected("192.0.2.1:1", Key(1));
  End("192.0.2.2:1", CloseReason::kWrongNetwork, Key(2));
  std::vector<PeerView> views(1);
  views[0].state = PeerView::State::kConnected;
  views[0].key = Key(1);
  plan_.Describe(views);
  std::map<std::string, PeerView> by_entry;
  for (const PeerView& view : views) EXPECT_TRUE(by_entry.emplace(view.configured, view).second);
  ASSERT_EQ(by_entry.size(), 6u);
  EXPECT_EQ(by_entry["192.0.2.1"].state, PeerView::State::kConnected);
  const PeerView& refused = by_entry["192.0.2.2"];
  EXPECT_EQ(refused.state, PeerView::State::kWaiting);
  EXPECT_EQ(refused.key, Key(2));
  EXPECT_EQ(refused.failures, 1u);
  EXPECT_EQ(refused.last_reason, CloseReason::kWrongNetwork);
  ASSERT_TRUE(refused.next_try);
  EXPECT_LE(*refused.next_try, now_ + limits_.redial_min);
  EXPECT_EQ(by_entry["192.0.2.3"].state, PeerView::State::kDialling);
  EXPECT_EQ(by_entry["192.0.2.3"].key, Key(3));
  EXPECT_EQ(by_entry["fast"].state, PeerView::State::kDialling);
  EXPECT_EQ(by_entry["fast"].address->ToString(), "192.0.2.7:5");
  EXPECT_EQ(by_entry["slow"].state, PeerView::State::kResolving);
  EXPECT_FALSE(by_entry["slow"].address);
  EXPECT_EQ(by_entry["lost"].state, PeerView::State::kWaiting);
  EXPECT_TRUE(by_entry["lost"].not_resolved && by_entry["lost"].next_try);

  plan_.OnPeerDisconnected(now_, Info("192.0.2.1:1", Key(1)),
                           {PeerId{1}, CloseReason::kStalled, false, "", {}});
  views.clear();
  plan_.Describe(views);
  EXPECT_EQ(views.size(), 6u);
  for (const PeerView& view : views) {
    if (view.configured != "192.0.2.1") continue;
    EXPECT_EQ(view.last_reason, CloseReason::kStalled);
  }
}

TEST_F(DialPlanTest, StoppedPlanDialsNobody) {
  Configure({Entry("192.0.2.1", 1), Entry("name", 1)});
  plan_.Stop();
  out_.clear();
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_FALSE(plan_.NextDeadline().has_value());
}

}  // namespace
}  // namespace overlay::flood
