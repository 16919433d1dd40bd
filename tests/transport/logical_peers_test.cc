// One key, one peer, whatever happens to the connections below it.
#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/peer_net.h"
#include "transport/peer_transport.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

TEST(LogicalPeers, SimultaneousDialsAreOnePeer) {
  PeerNet net({.delay = 20ms});
  net.AddNode();
  net.AddNode();
  net.Connect(0, 1);
  net.Connect(1, 0);
  net.Run(8s);
  for (size_t node : {0, 1}) {
    EXPECT_EQ(net.Count<PeerConnected>(node), 1u);
    EXPECT_EQ(net.Count<PeerDisconnected>(node), 0u);
    ASSERT_EQ(net.Count<DialEnded>(node), 1u);
    EXPECT_EQ(net.All<DialEnded>(node)[0].reason, CloseReason::kNone);
    EXPECT_EQ(net.at(node).connection_count(), 1u);
    EXPECT_EQ(net.at(node).stats().second_connections, 1u);
    EXPECT_EQ(net.at(node).stats().closes.at(CloseReason::kDuplicate), 1u);
  }
  // The smaller id kept the one that it dialled.
  const bool zero_is_smaller = net.KeyOf(0) < net.KeyOf(1);
  EXPECT_EQ(net.at(0).ListPeers(net.now())[0].info.inbound, !zero_is_smaller);
}

// A NAT that forgot gives another port, a machine that moved another address: the same connection.
TEST(LogicalPeers, APeerThatMovesStaysConnected) {
  PeerNet net({.delay = 20ms});
  ASSERT_TRUE(net.AddPair());
  const PeerId peer = *net.PeerAt(1, 0);
  const SocketAddress places[] = {SocketAddress::V4(0x0a000001, 40'000),
                                  SocketAddress::V4(0x0a000063, 11'625)};
  for (const SocketAddress& place : places) {
    net.Move(0, place);
    net.Do(0, SendControl{*net.PeerAt(0, 1), CoreStatus{true}});
    ASSERT_TRUE(
        net.RunUntil([&] { return net.at(1).ListPeers(net.now())[0].info.address == place; }, 5s));
  }
  const auto moves = net.All<PeerMoved>(1);
  ASSERT_EQ(moves.size(), 2u);
  EXPECT_EQ(moves[0].peer, peer);
  EXPECT_EQ(moves[0].address, places[0]);
  EXPECT_EQ(moves[1].address, places[1]);
  EXPECT_EQ(net.at(1).stats().ports_changed, 1u);
  EXPECT_EQ(net.at(1).stats().addresses_changed, 1u);
  net.Run(40s);  // longer than the idle time-out
  for (size_t node : {0, 1}) {
    EXPECT_EQ(net.Count<PeerConnected>(node), 1u);
    EXPECT_EQ(net.Count<PeerDisconnected>(node), 0u);
    EXPECT_EQ(net.at(node).connection_count(), 1u);
  }
}

// The end that decides may not know that the connection which it keeps is dead: so it asks first,
// and closes nothing before it is answered.
TEST(LogicalPeers, NothingIsClosedBeforeTheChosenOneHasAnswered) {
  PeerNet net({.delay = 20ms});
  net.AddNode();
  net.AddNode();
  const size_t decides = net.KeyOf(0) < net.KeyOf(1) ? 0 : 1;
  const size_t other = 1 - decides;
  ASSERT_TRUE(net.Join(decides, other));
  net.Connect(other, decides);
  ASSERT_TRUE(net.RunUntil([&] { return net.at(decides).stats().second_connections == 1; }, 1s));
  net.set_filter([&](size_t from, size_t, size_t) { return from == decides; });
  net.Run(1500ms);
  EXPECT_TRUE(net.at(decides).stats().closes.empty());
  net.set_filter({});
  net.Run(8s);
  EXPECT_EQ(net.at(decides).stats().closes.at(CloseReason::kDuplicate), 1u);
  EXPECT_EQ(net.at(decides).connection_count(), 1u);
  EXPECT_EQ(net.Count<PeerDisconnected>(decides), 0u);
}

// Envelopes sent all through a contest arrive, each at least once, and end exactly once.
TEST(LogicalPeers, NothingIsLostWhileTwoBecomeOne) {
  PeerNet net({.delay = 20ms});
  ASSERT_TRUE(net.AddPair());
  net.Connect(1, 0);
  for (uint64_t i = 0; i < 400; ++i) {
    net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {i}, {100}, Bytes::Copy(std::to_string(i))});
    net.Do(1, SendEnvelope{*net.PeerAt(1, 0), {i}, {100}, Bytes::Copy(std::to_string(i))});
    net.Run(5ms);
  }
  net.Run(10s);
  for (size_t node : {0, 1}) {
    std::set<std::string> received;
    for (const auto& event : net.All<EnvelopeReceived>(node)) {
      received.emplace(event.envelope.view());
    }
    EXPECT_EQ(received.size(), 400u);
    EXPECT_EQ(net.Count<EnvelopeDone>(node), 400u);
    EXPECT_EQ(net.Count<PeerConnected>(node), 1u);
    EXPECT_EQ(net.at(node).connection_count(), 1u);
  }
}

// The connection in use dies silently in the middle of a burst; a second one is there to take over.
TEST(LogicalPeers, AKilledConnectionLosesNoEnvelope) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  const PeerId peer = *net.PeerAt(0, 1);
  net.Run(1s);
  bool dead = true;
  net.set_filter([&](size_t, size_t, size_t) { return !dead; });
  for (uint64_t i = 0; i < 100; ++i) {
    net.Do(0, SendEnvelope{peer, {i}, {100}, Bytes::Copy(std::to_string(i))});
    net.Run(20ms);
  }
  net.Do(0, SendControl{peer, CoreStatus{true}});
  // 5 s of silence bring a rival dial; the path works again by then, for what is new.
  net.Run(2500ms);
  EXPECT_EQ(net.at(0).stats().rival_dials, 0u);
  net.Run(600ms);
  EXPECT_EQ(net.at(0).stats().rival_dials, 1u);
  dead = false;
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<EnvelopeDone>(0) == 100; }, 20s));
  net.Run(15s);
  std::set<std::string> received;
  for (const auto& event : net.All<EnvelopeReceived>(1)) received.emplace(event.envelope.view());
  EXPECT_EQ(received.size(), 100u);
  EXPECT_GE(net.Count<ControlReceived>(1), 1u);
  EXPECT_EQ(net.Count<PeerConnected>(0), 1u);
  EXPECT_EQ(net.Count<PeerDisconnected>(0), 0u);
  EXPECT_EQ(net.Count<PeerDisconnected>(1), 0u);
  EXPECT_EQ(net.Count<EnvelopeDone>(0), 100u);
  EXPECT_EQ(net.at(0).connection_count(), 1u);
}

// A rival dial has 4 s for its handshake; 5 s after it was given up comes the next one.
TEST(LogicalPeers, ADeadPathIsDialledAgainAndAgain) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  net.Run(1s);
  net.set_filter([](size_t, size_t, size_t) { return false; });
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {1}, {100}, Bytes::Copy("vote")});
  for (const uint64_t dials : {1, 2, 3}) {
    net.Run(dials == 1 ? 5100ms : 9s);
    EXPECT_EQ(net.at(0).stats().rival_dials, dials);
  }
}

// It is told once that the peer is silent, and once that it is not any more.
TEST(LogicalPeers, SilenceAndItsEndAreTold) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  net.Run(1s);
  bool dead = true;
  net.set_filter([&](size_t, size_t, size_t) { return !dead; });
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {1}, {100}, Bytes::Copy("vote")});
  net.Run(kRivalDialAfter - 10ms);
  EXPECT_EQ(net.Count<PeerSilent>(0), 0u);
  net.Run(20ms);
  ASSERT_EQ(net.Count<PeerSilent>(0), 1u);
  EXPECT_TRUE(net.All<PeerSilent>(0)[0].silent);
  net.Run(3s);
  EXPECT_EQ(net.Count<PeerSilent>(0), 1u);
  dead = false;
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<PeerSilent>(0) == 2; }, 10s));
  EXPECT_FALSE(net.All<PeerSilent>(0)[1].silent);
  EXPECT_EQ(net.Count<PeerSilent>(1), 0u);  // it had nothing outstanding
  EXPECT_EQ(net.Count<PeerDisconnected>(0), 0u);
}

// Its close is lost: what its Goaway said counts all the same.
TEST(LogicalPeers, AGoawaysTimeCountsWithoutItsClose) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  net.Run(1s);
  net.at(1).StartDrain(net.now(), "maintenance", 7s);
  net.Do(1, SendControl{*net.PeerAt(1, 0), CoreStatus{true}});  // writes
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<ControlReceived>(0) == 1; }, 1s));
  net.set_filter([](size_t, size_t, size_t) { return false; });
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<PeerDisconnected>(0) == 1; }, 60s));
  const PeerDisconnected gone = net.All<PeerDisconnected>(0)[0];
  EXPECT_EQ(gone.reason, CloseReason::kIdleTimeout);
  EXPECT_FALSE(gone.by_peer);
  EXPECT_EQ(gone.redial_after, 7s);
}

// What is found at our own address is ourselves, whatever key was expected there.
TEST(LogicalPeers, OurOwnAddressIsSelfWhateverIsPinned) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode();
  net.Connect(0, 0, net.KeyOf(1));
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<DialEnded>(0) == 1; }, 5s));
  EXPECT_EQ(net.All<DialEnded>(0)[0].reason, CloseReason::kSelf);
}

// Two connections that a peer without manners dialled: the second one is the one in use.
class TwoConnectionsTest : public testing::Test {
 protected:
  static constexpr size_t kFirst = 1;
  static constexpr size_t kSecond = 2;

  TwoConnectionsTest() : net_({.delay = 10ms}) {
    net_.AddNode();
    for (const size_t raw : {kFirst, kSecond}) {
      RawPeer::Options options;
      options.random_seed = raw;
      net_.AddRaw(options);
      EXPECT_TRUE(net_.JoinRaw(raw, 0));
      net_.Run(50ms);
    }
    EXPECT_EQ(net_.at(0).stats().second_connections, 1u);
    peer_ = *net_.PeerAt(0, kFirst);
  }
  // What is sent to the second connection is lost from now on.
  void CutSecond() {
    net_.set_filter([](size_t, size_t to, size_t) { return to != kSecond; });
  }
  bool FirstGot(std::string_view envelope) {
    const std::string wanted = "\x01" + std::string(envelope);
    const auto& streams = net_.raw(kFirst).streams();
    return std::any_of(streams.begin(), streams.end(),
                       [&](const auto& entry) { return entry.second.bytes == wanted; });
  }
  template <class Message>
  size_t CountAtFirst() {
    const auto said = net_.raw(kFirst).ControlReceived();
    return static_cast<size_t>(std::count_if(said.begin(), said.end(), [](const auto& message) {
      return std::holds_alternative<Message>(message);
    }));
  }

  PeerNet net_;
  PeerId peer_;
};

TEST_F(TwoConnectionsTest, WhatAnEndedOneLeavesIsSentOnTheOther) {
  CutSecond();
  net_.Do(0, SendEnvelope{peer_, {1}, {100}, Bytes::Copy("vote")});
  net_.Run(100ms);
  EXPECT_FALSE(FirstGot("vote"));
  net_.raw(kSecond).Close(net_.now(), CloseReason::kGoaway);
  net_.WriteRaw(kSecond);
  net_.Run(100ms);
  EXPECT_TRUE(FirstGot("vote"));
  EXPECT_EQ(net_.Count<EnvelopeDone>(0), 1u);
  EXPECT_EQ(net_.Count<PeerDisconnected>(0), 0u);
}

// Silence with data outstanding is enough: the dead connection need not have ended.
TEST_F(TwoConnectionsTest, WhatASuspectOneLeavesIsSentOnTheOther) {
  CutSecond();
  net_.Do(0, SendEnvelope{peer_, {1}, {100}, Bytes::Copy("vote")});
  net_.Run(1900ms);
  EXPECT_FALSE(FirstGot("vote"));
  net_.Run(300ms);
  EXPECT_TRUE(FirstGot("vote"));
  EXPECT_EQ(net_.at(0).connection_count(), 2u);
}

// The first connection has an envelope that never ends. The second one is kept, so 5 s are enough.
TEST_F(TwoConnectionsTest, TheOtherOneIsClosedThoughItIsNeverDone) {
  ASSERT_TRUE(WeDecide(net_.KeyOf(0), net_.KeyOf(kFirst)));
  net_.raw(kFirst).Uni("\x01partial", false);
  net_.WriteRaw(kFirst);
  for (const ControlMessage& message : net_.raw(kSecond).ControlReceived()) {
    if (const auto* ping = std::get_if<Ping>(&message)) {
      net_.raw(kSecond).Append(net_.raw(kSecond).control(), ControlFrame(Pong{ping->id, {}, {}}),
                               false);
    }
  }
  net_.WriteRaw(kSecond);
  net_.Run(4500ms);
  EXPECT_FALSE(net_.raw(kFirst).ended());
  net_.Run(600ms);
  ASSERT_TRUE(net_.raw(kFirst).ended());
  EXPECT_EQ(net_.raw(kFirst).ended()->code, static_cast<uint64_t>(CloseReason::kDuplicate));
  EXPECT_FALSE(net_.raw(kSecond).ended());
}

// Frames go over to the other connection, but for those that concern theirs alone.
TEST_F(TwoConnectionsTest, FramesOfAConnectionStayWithIt) {
  CutSecond();
  net_.raw(kSecond).Append(net_.raw(kSecond).control(), ControlFrame(Ping{1, {}}), false);
  net_.WriteRaw(kSecond);
  net_.Do(0, SendControl{peer_, CoreStatus{true}});
  net_.Run(100ms);
  net_.raw(kSecond).Close(net_.now(), CloseReason::kGoaway);
  net_.WriteRaw(kSecond);
  net_.Run(100ms);
  EXPECT_EQ(CountAtFirst<CoreStatus>(), 1u);
  EXPECT_EQ(CountAtFirst<Pong>(), 0u);
  EXPECT_EQ(CountAtFirst<Hello>(), 1u);
}

TEST(LogicalPeers, ANewInstanceReplacesTheOldOneAtOnce) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode();
  ASSERT_TRUE(net.Join(1, 0));
  net.Restart(1);
  net.Connect(1, 0);
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<PeerConnected>(0) == 2; }, 1s));
  ASSERT_EQ(net.Count<PeerDisconnected>(0), 1u);
  const auto gone = net.All<PeerDisconnected>(0)[0];
  EXPECT_EQ(gone.reason, CloseReason::kReplaced);
  EXPECT_EQ(gone.peer, net.All<PeerConnected>(0)[0].peer);
  EXPECT_GT(gone.bytes_sent, 1000u);  // at least a handshake
  EXPECT_GT(gone.bytes_received, 1000u);
  EXPECT_GE(gone.rtt, 20ms);
  EXPECT_LT(gone.rtt, 100ms);
  EXPECT_NE(net.All<PeerConnected>(0)[1].peer, gone.peer);
  net.Run(1s);
  EXPECT_EQ(net.at(0).peer_count(), 1u);
}

// Two daemons with one key push each other out three times; then the one that is in stays.
TEST(LogicalPeers, ASharedKeyIsNamed) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode();
  net.AddNode([](TransportOptions& options) { options.node_seed.bytes.fill(2); });
  ASSERT_EQ(net.KeyOf(1), net.KeyOf(2));
  for (int i = 0; i < 4; ++i) {
    net.Connect(i % 2 == 0 ? 1 : 2, 0);
    net.Run(1s);
  }
  EXPECT_EQ(net.at(0).stats().instances_replaced, 3u);
  net.Connect(1, 0);
  net.Run(1s);
  EXPECT_EQ(net.at(0).stats().instances_replaced, 3u);
  EXPECT_EQ(net.at(0).stats().keys_shared, 1u);
  const SharedKey& seen = net.at(0).stats().shared_key;
  EXPECT_EQ(seen.key, net.KeyOf(1));
  EXPECT_FALSE(seen.is_ours);
  EXPECT_EQ(seen.address, net.AddressOf(1));
  EXPECT_EQ(seen.connected, net.AddressOf(2));
  // Who was refused learns that it is its own key.
  EXPECT_EQ(net.at(1).stats().keys_shared, 1u);
  EXPECT_TRUE(net.at(1).stats().shared_key.is_ours);
  EXPECT_EQ(net.at(1).stats().shared_key.key, net.KeyOf(1));
  EXPECT_EQ(net.at(2).stats().keys_shared, 0u);
  EXPECT_EQ(net.Count<PeerConnected>(0), 4u);
  EXPECT_EQ(net.Count<PeerDisconnected>(0), 3u);
  EXPECT_EQ(net.All<PeerDisconnected>(1).back().reason, CloseReason::kKeyShared);
}

}  // namespace
}  // namespace overlay::transport
