// The part of the plan that is about names and their addresses.
#include "flood/peers/dial_plan.h"

#include "tests/flood/peers/dial_plan_fixture.h"

namespace overlay::flood::dial_plan_test {
namespace {

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

}  // namespace
}  // namespace overlay::flood::dial_plan_test
