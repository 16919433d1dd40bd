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

  std::vector<std::string> Configure(std::vector<PeerEntry> entries,
                                     bool disconnect_removed = false,
                                     PeerEntrySource source = PeerEntrySource::kFile) {
    plan_.Configure(now_, {source, std::move(entries), disconnect_removed}, out_);
    const auto answers = Outputs<PeersConfigured>(out_);
    EXPECT_EQ(answers.size(), 1u);
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
    plan_.OnDialEnded(now_, {dial.dial, dial.address, reason, key, ""}, out_);
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
      const std::vector<std::string> dialled = Next();
      if (!dialled.empty()) return dialled;
    }
    ADD_FAILURE() << "nothing is dialled any more";
    return {};
  }

  Limits limits_;
  PeerStats stats_;
  DialPlan plan_{limits_, Key(99), 11625, Random(7), stats_};
  ActionList out_;
  std::map<std::string, Dial> last_dial_;
  Time now_{1000s};
};

TEST_F(DialPlanTest, LiteralsAreDialledAtOnceWithTheDefaultPort) {
  EXPECT_THAT(Configure({Entry("192.0.2.1"), Entry("2001:db8::1", 7)}), ElementsAre("", ""));
  EXPECT_THAT(Dialled(), testing::UnorderedElementsAre("192.0.2.1:11625", "[2001:db8::1]:7"));
  EXPECT_THAT(Dialled(), IsEmpty());  // dialling: never twice
}

TEST_F(DialPlanTest, AWrongEntryIsRefusedByNameAndNothingChanges) {
  Configure({Entry("192.0.2.9")});
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.9:11625"));
  const auto refusals =
      Configure({Entry(""), Entry("192.0.2.1"), Entry("192.0.2.2", 0), Entry("a", 1, Key(99))});
  EXPECT_THAT(refusals[0], HasSubstr("expected HOST"));
  EXPECT_EQ(refusals[1], "");
  EXPECT_THAT(refusals[2], HasSubstr("port 0"));
  EXPECT_THAT(refusals[3], HasSubstr("own key"));
  EXPECT_THAT(Dialled(), IsEmpty());
  EXPECT_EQ(plan_.target_count(), 1u);
  EXPECT_THAT(Configure({}), IsEmpty());
  EXPECT_EQ(plan_.target_count(), 0u);
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
  plan_.OnResolved(now_, "host", std::vector<SocketAddress>{SocketAddress::V4(0xc0000203, 0)},
                   out_);
  EXPECT_THAT(Dialled(), IsEmpty());  // its pinned key is connected, from another address
}

// The address turns out to be another way to a peer that is connected: it is left alone, and no
// event tells when it is wanted again.
TEST_F(DialPlanTest, TheSweepDialsWhatAnEventMissed) {
  Configure({Entry("192.0.2.1", 1)});
  Dialled();
  End("192.0.2.1:1", CloseReason::kUnreachable);
  const PeerInfo elsewhere = Info("198.51.100.9:1", Key(3), true, 9);
  plan_.OnPeerConnected(now_, elsewhere);
  Configure({Entry("192.0.2.1", 1, Key(3))}, false, PeerEntrySource::kCore);
  now_ += limits_.redial_min;
  EXPECT_THAT(Dialled(), IsEmpty());
  plan_.OnPeerDisconnected(now_, elsewhere, PeerDisconnected{});
  EXPECT_THAT(Dialled(), IsEmpty());
  now_ += kSweepEvery;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:1"));
}

TEST_F(DialPlanTest, OurselvesAreRememberedAndTheSweepCatchesTheRest) {
  Configure({Entry("192.0.2.1", 1), Entry("192.0.2.2", 1)});
  Dialled();
  End("192.0.2.1:1", CloseReason::kSelf);
  End("192.0.2.2:1", CloseReason::kHandshakeTimeout);
  now_ += kSweepEvery;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.2:1"));
  now_ += 1h;
  EXPECT_THAT(Dialled(), IsEmpty());
}

TEST_F(DialPlanTest, SharedKeyWaitsAMinute) {
  Configure({Entry("192.0.2.1", 1)});
  Dialled();
  End("192.0.2.1:1", CloseReason::kKeyShared);
  now_ += kKeySharedBackoff - 1ms;
  EXPECT_THAT(Dialled(), IsEmpty());
  now_ += limits_.redial_min + 1ms;
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:1"));
}

TEST_F(DialPlanTest, NamesAreResolvedToAllTheirAddressesAndAgainAfterThreeFailures) {
  Configure({Entry("service", 7)});
  ASSERT_EQ(out_.size(), 1u);
  EXPECT_EQ(std::get<ResolveHost>(out_[0]).host, "service");
  out_.clear();
  plan_.OnResolved(now_, "service",
                   std::vector<SocketAddress>{SocketAddress::V4(0xc0000201, 0),
                                              SocketAddress::V4(0xc0000202, 0)},
                   out_);
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.1:7", "192.0.2.2:7"));
  Connected("192.0.2.2:7", Key(2));
  now_ += kResolveEvery;
  for (int i = 0; i < 3; ++i) {
    End("192.0.2.1:7", CloseReason::kUnreachable);
    EXPECT_EQ(std::any_of(out_.begin(), out_.end(),
                          [](const Action& a) { return std::holds_alternative<ResolveHost>(a); }),
              i == 2);
    NextDialled();
  }
  plan_.OnResolved(now_, "service", std::vector<SocketAddress>{SocketAddress::V4(0xc0000203, 0)},
                   out_);
  EXPECT_THAT(Dialled(), ElementsAre("192.0.2.3:7"));
}

// A name that gives other addresses each time takes nothing from the peer that it led to.
TEST_F(DialPlanTest, ConnectedStaysConfiguredWhenItsNameNoLongerGivesIt) {
  Configure({Entry("service", 7)});
  const auto resolve = [&](uint32_t last_byte) {
    plan_.OnResolved(now_, "service",
                     std::vector<SocketAddress>{SocketAddress::V4(0xc0000200 + last_byte, 0)},
                     out_);
    return Dialled();
  };
  EXPECT_THAT(resolve(1), ElementsAre("192.0.2.1:7"));
  Connected("192.0.2.1:7", Key(1));
  EXPECT_THAT(resolve(2), ElementsAre("192.0.2.2:7"));
  EXPECT_THAT(resolve(3), ElementsAre("192.0.2.3:7"));
  EXPECT_EQ(plan_.target_count(), 2u);  // the second was not connected: it is forgotten
  EXPECT_TRUE(plan_.IsConfigured(Info("192.0.2.1:7", Key(1))));
  std::vector<PeerView> views(1);
  views[0].key = Key(1);
  plan_.Describe(views);
  EXPECT_EQ(views[0].configured, "service");
  plan_.OnPeerDisconnected(now_, Info("192.0.2.1:7", Key(1)), PeerDisconnected{});
  EXPECT_EQ(plan_.target_count(), 1u);
  EXPECT_FALSE(plan_.IsConfigured(Info("192.0.2.1:7", Key(1))));
  now_ += 1h;
  EXPECT_THAT(Dialled(), IsEmpty());
}

TEST_F(DialPlanTest, ATargetGoesWithItsEntryThoughItIsConnected) {
  Configure({Entry("service", 7)});
  plan_.OnResolved(now_, "service", std::vector<SocketAddress>{SocketAddress::V4(0xc0000201, 0)},
                   out_);
  Dialled();
  Connected("192.0.2.1:7", Key(1));
  Configure({Entry("service", 8)});
  EXPECT_FALSE(plan_.IsConfigured(Info("192.0.2.1:7", Key(1))));
}

TEST_F(DialPlanTest, FailedResolutionIsRetriedWithoutEnd) {
  Configure({Entry("nowhere", 7)});
  out_.clear();
  for (int i = 0; i < 10; ++i) {
    plan_.OnResolved(now_, "nowhere", absl::NotFoundError("NXDOMAIN"), out_);
    const Time failed_at = now_;
    now_ = plan_.NextDeadline().value();
    EXPECT_GE(now_ - failed_at, kResolveBackoffMin);
    EXPECT_LE(now_ - failed_at, kResolveBackoffMax);
    plan_.OnDeadline(now_, out_);
    ASSERT_EQ(out_.size(), 1u) << i;
    out_.clear();
  }
}

TEST_F(DialPlanTest, AddressesOfANameAreBounded) {
  Configure({Entry("huge", 7)});
  out_.clear();
  std::vector<SocketAddress> addresses;
  for (uint32_t i = 0; i < 100; ++i) addresses.push_back(SocketAddress::V4(0x0a000000 + i, 0));
  plan_.OnResolved(now_, "huge", addresses, out_);
  EXPECT_EQ(Dialled().size(), kAddressesPerNameMax);
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
  Configure({Entry("192.0.2.1", 1)});
  Configure({Entry("192.0.2.2", 1)}, false, PeerEntrySource::kCore);
  plan_.Connect(now_, {Entry("192.0.2.3", 1)}, out_);
  plan_.Connect(now_, {Entry("192.0.2.4", 1)}, out_);
  EXPECT_EQ(Dialled().size(), 4u);
  Connected("192.0.2.3:1", Key(3));
  plan_.Forget(Key(3), out_);
  EXPECT_EQ(plan_.target_count(), 3u);
  Configure({}, false, PeerEntrySource::kCore);
  EXPECT_EQ(plan_.target_count(), 2u);
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
  plan_.OnResolved(now_, "name", {{SocketAddress::Parse("192.0.2.7:0").value()}}, out_);
  EXPECT_THAT(told(), ElementsAre(ElementsAre("192.0.2.1:1", "192.0.2.7:5")));
  plan_.OnResolved(now_, "name", {{SocketAddress::Parse("192.0.2.7:0").value()}}, out_);
  EXPECT_THAT(told(), IsEmpty());
  plan_.Connect(now_, {Entry("192.0.2.3", 1)}, out_);
  EXPECT_THAT(told(), ElementsAre(ElementsAre("192.0.2.1:1", "192.0.2.3:1", "192.0.2.7:5")));
  Dialled();
  Connected("192.0.2.3:1", Key(3));
  plan_.Forget(Key(3), out_);
  EXPECT_THAT(told(), ElementsAre(ElementsAre("192.0.2.1:1", "192.0.2.7:5")));
  Configure({});
  EXPECT_THAT(told(), ElementsAre(IsEmpty()));
}

// What an operator sees: every entry once, connected peers as such, the rest with what comes next.
TEST_F(DialPlanTest, DescribesEveryEntryHoweverFarItHasCome) {
  Configure({Entry("192.0.2.1", 1), Entry("192.0.2.2", 1), Entry("192.0.2.3", 1, Key(3)),
             Entry("fast", 5), Entry("lost", 5), Entry("slow", 5)});
  plan_.OnResolved(now_, "fast", {{SocketAddress::Parse("192.0.2.7:0").value()}}, out_);
  plan_.OnResolved(now_, "lost", absl::NotFoundError("no such name"), out_);
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
