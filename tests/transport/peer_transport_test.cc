// Two or more transports on a virtual network: Hello, envelopes, messages between peers.
#include "transport/peer_transport.h"

#include <algorithm>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/peer_net.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

Bytes Filled(size_t size, uint8_t value) {
  return Bytes::Copy(std::string(size, static_cast<char>(value)));
}

Bytes Numbered(uint64_t number, size_t size = 300) {
  std::string text = std::to_string(number) + "/";
  text.resize(std::max(size, text.size()), 'e');
  return Bytes::Copy(text);
}

// Nothing but Hello passes before both ends are peers; then an envelope arrives byte for byte, and
// its sender hears that it did.
TEST(PeerTransport, CarriesAnEnvelope) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  const Bytes envelope = Numbered(1);
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {7}, {100}, envelope});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<EnvelopeDone>(0) == 1; }, 1s));
  const auto received = net.All<EnvelopeReceived>(1);
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(received[0].envelope, envelope);
  EXPECT_EQ(received[0].peer, *net.PeerAt(1, 0));
  const EnvelopeDone done = net.All<EnvelopeDone>(0)[0];
  EXPECT_EQ(done.outcome, EnvelopeDone::Outcome::kAcknowledged);
  EXPECT_EQ(done.token, EnvelopeToken{7});
  EXPECT_EQ(net.Count<PeerConnected>(0), 1u);
  EXPECT_EQ(net.Count<PeerConnected>(1), 1u);
}

// The round trip to a peer is told once it is up, then only when it has changed noticeably, and not
// with each packet.
TEST(PeerTransport, TellsTheRoundTripWhenItHasChanged) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  const auto told = [&] {
    std::vector<std::pair<Time, Duration>> told;
    for (const auto& [at, event] : net.events(0)) {
      if (const auto* path = std::get_if<PeerPath>(&event)) told.emplace_back(at, path->rtt);
    }
    return told;
  };
  uint64_t next = 1;
  const auto talk = [&](Duration time) {
    for (const Time until = net.now() + time; net.now() < until; net.Run(20ms), ++next) {
      net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {next}, {100 + next}, Numbered(next)});
    }
  };
  talk(3s);
  ASSERT_EQ(told().size(), 1u);
  EXPECT_EQ(std::get<PeerPath>(net.events(0)[1].second).peer, *net.PeerAt(0, 1));
  EXPECT_GE(told()[0].second, 20ms);
  EXPECT_LE(told()[0].second, 25ms);
  net.set_delay(12ms);  // a fifth more
  talk(3s);
  EXPECT_EQ(told().size(), 1u);
  net.set_delay(60ms);
  talk(8s);
  const auto all = told();
  ASSERT_GE(all.size(), 2u);
  EXPECT_LE(all.size(), 5u);
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_GE(all[i].first, all[i - 1].first + kPathToldInterval);
    EXPECT_GT(4 * (all[i].second - all[i - 1].second), all[i - 1].second);
  }
  EXPECT_GE(all.back().second, 96ms);  // a quarter of 120 ms below it at most
}

TEST(PeerTransport, DoesNotTellChangesOfAShortRoundTrip) {
  PeerNet net({.delay = 100us});
  ASSERT_TRUE(net.AddPair());
  net.set_delay(400us);
  for (uint64_t i = 1; i < 150; ++i) {
    net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {i}, {100 + i}, Numbered(i)});
    net.Run(20ms);
  }
  EXPECT_EQ(net.Count<PeerPath>(0), 1u);
}

// Both ends learn who the other is, and the dial ends exactly once.
TEST(PeerTransport, TellsWhoConnected) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode([](TransportOptions& options) {
    options.agent = "overlayd/other";
    options.features = 5;
    options.listen_port = 4242;
  });
  const DialId dial = net.Connect(0, 1);
  ASSERT_TRUE(net.RunUntil([&] { return net.PeerAt(0, 1) && net.PeerAt(1, 0); }, 3s));
  net.Run(1s);
  const PeerInfo info = net.All<PeerConnected>(0)[0].info;
  EXPECT_EQ(info.key, net.KeyOf(1));
  EXPECT_EQ(info.agent, "overlayd/other");
  EXPECT_EQ(info.features, 5u);
  EXPECT_EQ(info.listen_port, 4242);
  EXPECT_FALSE(info.inbound);
  EXPECT_EQ(info.address, PeerNet::AddressOf(1));
  EXPECT_TRUE(net.All<PeerConnected>(1)[0].info.inbound);
  const auto ended = net.All<DialEnded>(0);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].dial, dial);
  EXPECT_EQ(ended[0].reason, CloseReason::kNone);
  EXPECT_EQ(ended[0].key, net.KeyOf(1));
}

// A thousand envelopes over a bad path: each arrives, once, and each is reported once.
TEST(PeerTransport, LosesNoEnvelopeToLoss) {
  PeerNet net({.delay = 10ms, .loss = 0.05, .seed = 3});
  net.AddNode();
  net.AddNode();
  net.set_loss(0);
  ASSERT_TRUE(net.Join(0, 1));
  net.set_loss(0.05);
  constexpr uint64_t kCount = 1000;
  for (uint64_t i = 0; i < kCount; ++i) {
    net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {i}, {100}, Numbered(i)});
    if (i % 10 == 9) net.Run(1ms);
  }
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<EnvelopeDone>(0) == kCount; }, 10s));
  std::multiset<std::string> received;
  for (const auto& event : net.All<EnvelopeReceived>(1)) received.emplace(event.envelope.view());
  EXPECT_EQ(received.size(), kCount);
  for (uint64_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(received.count(std::string(Numbered(i).view())), 1u) << i;
  }
  for (const auto& done : net.All<EnvelopeDone>(0)) {
    EXPECT_EQ(done.outcome, EnvelopeDone::Outcome::kAcknowledged);
  }
}

// A lost packet delays its own envelope, and none of the others.
TEST(PeerTransport, LostPacketDelaysOnlyItsEnvelope) {
  PeerNet net({.delay = 50ms});
  ASSERT_TRUE(net.AddPair());
  net.Run(1s);
  net.set_filter([](size_t from, size_t, size_t bytes) { return from != 0 || bytes < 1000; });
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {1}, {100}, Numbered(1, 1100)});
  net.set_filter({});
  const Time sent = net.now();
  for (uint64_t i = 2; i < 12; ++i) {
    net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {i}, {100}, Numbered(i)});
  }
  ASSERT_TRUE(net.RunUntil([&] { return net.envelopes_received(1) == 10; }, 1s));
  EXPECT_LE(net.now() - sent, 70ms);
  ASSERT_TRUE(net.RunUntil([&] { return net.envelopes_received(1) == 11; }, 1s));
  EXPECT_GE(net.now() - sent, 100ms);
}

TEST(PeerTransport, CarriesTheLargestEnvelopeAndDropsALargerOne) {
  PeerNet net({.delay = 5ms});
  net.AddNode();
  net.AddNode([](TransportOptions& options) { options.limits.envelope_bytes_max = 4000; });
  ASSERT_TRUE(net.Join(0, 1));
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {1}, {100}, Filled(4000, 1)});
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {2}, {100}, Filled(60'001, 2)});
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {3}, {100}, Filled(1, 3)});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<EnvelopeDone>(0) == 3; }, 2s));
  net.Run(1s);
  ASSERT_EQ(net.envelopes_received(1), 2u);
  EXPECT_EQ(net.All<EnvelopeReceived>(1)[0].envelope.size(), 4000u);
  EXPECT_EQ(net.All<EnvelopeReceived>(1)[1].envelope.size(), 1u);
  const auto offences = net.All<PeerOffence>(1);
  ASSERT_EQ(offences.size(), 1u);
  EXPECT_EQ(offences[0].offence, Offence::kOversizeEnvelope);
  EXPECT_TRUE(net.PeerAt(1, 0)) << "an offence, not the end";
}

// Control and tx control messages arrive in order, each on its own.
TEST(PeerTransport, CarriesMessages) {
  PeerNet net({.delay = 5ms});
  ASSERT_TRUE(net.AddPair());
  const HaveSets sets{{{{SetKind::kTxSet, HashOf<SetHash>({})}, {5}}}};
  const Inv inv{{{HashOf<TxHash>({}), 100, Lane::kSoroban, 400}}};
  const FeeFilter filter{{7, 9}};
  net.Do(0, SendControl{*net.PeerAt(0, 1), CoreStatus{true}});
  net.Do(0, SendControl{*net.PeerAt(0, 1), sets});
  net.Do(0, SendTxControl{*net.PeerAt(0, 1), inv});
  net.Do(0, SendTxControl{*net.PeerAt(0, 1), filter});
  ASSERT_TRUE(net.RunUntil(
      [&] { return net.Count<ControlReceived>(1) == 2 && net.Count<TxControlReceived>(1) == 2; },
      1s));
  const auto control = net.All<ControlReceived>(1);
  EXPECT_EQ(std::get<CoreStatus>(control[0].message), CoreStatus{true});
  EXPECT_EQ(std::get<HaveSets>(control[1].message), sets);
  const auto tx = net.All<TxControlReceived>(1);
  EXPECT_EQ(std::get<Inv>(tx[0].message), inv);
  EXPECT_EQ(std::get<FeeFilter>(tx[1].message), filter);
}

// A newer envelope of its key takes the place of one that waits; one on its way cannot be taken
// back.
TEST(PeerTransport, CancelsWhatWasNotBegun) {
  PeerNet net({.delay = 5ms});
  ASSERT_TRUE(net.AddPair());
  const PeerId peer = *net.PeerAt(0, 1);
  PeerTransport& node = net.at(0);
  node.Execute(net.now(), SendEnvelope{peer, {1}, {100}, Numbered(1)});
  node.Execute(net.now(), SendEnvelope{peer, {2}, {100}, Numbered(2)});
  node.Execute(net.now(), CancelEnvelope{peer, {1}});
  net.Do(0, CancelEnvelope{peer, {99}});  // writes
  net.Do(0, CancelEnvelope{peer, {2}});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<EnvelopeDone>(0) == 2; }, 1s));
  const auto done = net.All<EnvelopeDone>(0);
  EXPECT_EQ(done[0].token, EnvelopeToken{1});
  EXPECT_EQ(done[0].outcome, EnvelopeDone::Outcome::kCancelled);
  EXPECT_EQ(done[1].token, EnvelopeToken{2});
  EXPECT_EQ(done[1].outcome, EnvelopeDone::Outcome::kAcknowledged);
  EXPECT_EQ(net.envelopes_received(1), 1u);
}

// At the bound of a peer's queue the lowest slot goes, and flood is told.
TEST(PeerTransport, DropsTheLowestSlotAtTheBound) {
  PeerNet net({.delay = 5ms});
  net.AddNode([](TransportOptions& options) { options.limits.scp_queue_bytes_max = 1000; });
  net.AddNode();
  ASSERT_TRUE(net.Join(0, 1));
  const PeerId peer = *net.PeerAt(0, 1);
  for (uint64_t i = 1; i <= 4; ++i) {
    net.at(0).Execute(net.now(), SendEnvelope{peer, {i}, {110 - i}, Numbered(i, 300)});
  }
  net.Do(0, CancelEnvelope{peer, {99}});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<EnvelopeDone>(0) == 4; }, 1s));
  const auto done = net.All<EnvelopeDone>(0);
  EXPECT_EQ(done[0].token, EnvelopeToken{4});
  EXPECT_EQ(done[0].outcome, EnvelopeDone::Outcome::kDropped);
  EXPECT_EQ(net.envelopes_received(1), 3u);
}

// However much bulk waits for one peer, and whoever joined first: a turn begins with envelopes.
TEST(PeerTransport, WritesEnvelopesBeforeSets) {
  PeerNet net({.delay = 5ms});
  net.AddNode();
  ASSERT_TRUE(net.AddPair());
  ASSERT_TRUE(net.Join(0, 2));
  net.Do(1, RequestSet{*net.PeerAt(1, 0), {1}, {{SetKind::kTxSet, HashOf<SetHash>({})}, false, 0}});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<SetRequested>(0) == 1; }, 1s));
  const SetRequested asked = net.All<SetRequested>(0)[0];
  std::vector<size_t> written_to;
  net.set_filter([&](size_t from, size_t to, size_t) {
    if (from == 0) written_to.push_back(to);
    return true;
  });
  constexpr size_t kSetBytes = 100'000;
  const SetHeader header{true, SetEncoding::kIdentity, kSetBytes, kSetBytes};
  net.at(0).Execute(net.now(),
                    AnswerSet{asked.peer, asked.request, header, Filled(kSetBytes, 's')});
  net.Do(0, SendEnvelope{*net.PeerAt(0, 2), {1}, {100}, Numbered(1)});
  ASSERT_GE(written_to.size(), 2u);
  EXPECT_EQ(written_to.front(), 2u);
  EXPECT_EQ(written_to.back(), 1u);
}

class CountingSink final : public DatagramSink {
 public:
  absl::Span<uint8_t> Buffer() override { return absl::MakeSpan(buffer_); }
  void Commit(const Path&, size_t bytes, size_t) override { bytes_ += bytes; }
  size_t bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kSinkBufferBytesMin);
  size_t bytes_ = 0;
};

// Eight peers whose connections could take more get 64 KiB together, and packets'
// headers. Then whatever has come in meanwhile has its turn.
TEST(PeerTransport, ATurnWritesABoundedAmountOfBulk) {
  PeerNet net({.delay = 5ms});
  net.AddNode();
  const Bytes set = Filled(200'000, 's');
  const SetHeader header{true, SetEncoding::kIdentity, set.size(), set.size()};
  for (size_t node = 1; node <= 8; ++node) {
    net.AddNode();
    ASSERT_TRUE(net.Join(node, 0));
  }
  // The first sets find out what the paths can carry.
  for (const uint64_t round : {1, 2, 3}) {
    for (size_t node = 1; node <= 8; ++node) {
      const SetRequest request{{SetKind::kTxSet, HashOf<SetHash>({})}, false, 0};
      net.Do(node, RequestSet{*net.PeerAt(node, 0), {round}, request});
    }
    ASSERT_TRUE(net.RunUntil([&] { return net.Count<SetRequested>(0) == 8 * round; }, 1s));
    const auto asked = net.All<SetRequested>(0);
    for (size_t i = 8 * (round - 1); i < asked.size(); ++i) {
      net.at(0).Execute(net.now(), AnswerSet{asked[i].peer, asked[i].request, header, set});
    }
    if (round == 3) break;
    net.Do(0, CancelEnvelope{asked[0].peer, {99}});
    net.Run(2s);
    ASSERT_EQ(net.Count<RequestEnded>(8), round);
  }
  CountingSink sink;
  EXPECT_TRUE(net.at(0).WriteTurn(net.now(), sink));
  EXPECT_GE(sink.bytes(), kBulkTurnBytesMax * 9 / 10);
  EXPECT_LE(sink.bytes(), kBulkTurnBytesMax * 11 / 10);
}

// A peer that does not want announcements for a while is not one that does not read.
TEST(PeerTransport, APauseOfAnnouncementsIsNoStall) {
  PeerNet net({.delay = 5ms});
  ASSERT_TRUE(net.AddPair());
  net.Do(1, PauseInv{*net.PeerAt(1, 0), true});
  const Inv inv{std::vector<InvEntry>(1000, {HashOf<TxHash>({}), 1, Lane::kClassic, 100})};
  for (int i = 0; i < 20; ++i) net.Do(0, SendTxControl{*net.PeerAt(0, 1), inv});
  net.Run(30s);
  EXPECT_EQ(net.Count<PeerDisconnected>(0), 0u);
  EXPECT_EQ(net.Count<TxControlReceived>(1), 0u);
  net.Do(1, PauseInv{*net.PeerAt(1, 0), false});
  net.Run(1s);
  EXPECT_EQ(net.Count<TxControlReceived>(1), 20u);
}

// R9: told once each way, long before the stream's bound; envelopes are not concerned.
TEST(PeerTransport, SaysWhenAPeerTakesNoAnnouncements) {
  PeerNet net({.delay = 5ms});
  ASSERT_TRUE(net.AddPair());
  net.Do(1, PauseInv{*net.PeerAt(1, 0), true});
  const Inv inv{std::vector<InvEntry>(100, {HashOf<TxHash>({}), 1, Lane::kClassic, 100})};
  size_t sent = 0;
  for (; net.Count<InvBlocked>(0) == 0 && sent < 1000; ++sent) {
    net.Do(0, SendTxControl{*net.PeerAt(0, 1), inv});
    net.Run(1ms);
  }
  EXPECT_TRUE(net.All<InvBlocked>(0).at(0).blocked);
  const size_t frame_bytes = EncodeTxControl(inv).size();
  const size_t window_bytes = QuicSettings{}.uni_stream_window_bytes;
  EXPECT_NEAR(static_cast<double>(sent * frame_bytes),
              static_cast<double>(window_bytes + kInvQueueHighBytes), 2.0 * frame_bytes);
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {1}, {100}, Bytes::Copy("an envelope")});
  net.Run(20s);
  EXPECT_EQ(net.Count<EnvelopeReceived>(1), 1u);
  EXPECT_EQ(net.Count<InvBlocked>(0), 1u);
  net.set_rate(1'000'000);
  net.Do(1, PauseInv{*net.PeerAt(1, 0), false});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<InvBlocked>(0) == 2; }, 5s));
  EXPECT_FALSE(net.All<InvBlocked>(0).at(1).blocked);
  const PeerStats told = net.at(0).ListPeers(net.now()).at(0);
  EXPECT_LE(told.queued_bytes[static_cast<size_t>(SendClass::kControl)], kInvQueueLowBytes);
  net.Run(5s);
  EXPECT_EQ(net.Count<InvBlocked>(0), 2u);
  EXPECT_EQ(net.Count<TxControlReceived>(1), sent);
  EXPECT_EQ(net.Count<PeerDisconnected>(0), 0u);
}

// ---- Hello --------------------------------------------------------------------------------------

struct Refusal {
  const char* name;
  void (*change)(TransportOptions&);
  CloseReason reason;
};

class HelloRefusal : public testing::TestWithParam<Refusal> {};

// Each mismatch is refused by its own name, on both ends, and nobody becomes a peer.
TEST_P(HelloRefusal, IsNamed) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode(GetParam().change);
  net.Connect(0, 1);
  net.Run(8s);
  EXPECT_EQ(net.Count<PeerConnected>(0), 0u);
  EXPECT_EQ(net.Count<PeerConnected>(1), 0u);
  const auto ended = net.All<DialEnded>(0);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].reason, GetParam().reason) << CloseReasonName(ended[0].reason);
  EXPECT_EQ(net.at(0).stats().refusals.at(GetParam().reason), 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Each, HelloRefusal,
    testing::Values(
        Refusal{"network", [](TransportOptions& o) { o.network = NetworkIdOf("another"); },
                CloseReason::kWrongNetwork},
        Refusal{"version",
                [](TransportOptions& o) {
                  o.version_min = 2;
                  o.version_max = 3;
                },
                CloseReason::kWrongVersion},
        Refusal{
            "stream window",
            [](TransportOptions& o) { o.endpoint.quic.uni_stream_window_bytes = 64 * kKiB + 15; },
            CloseReason::kSmallWindows},
        Refusal{"connection window",
                [](TransportOptions& o) { o.endpoint.quic.connection_window_bytes = 1 * kMiB - 1; },
                CloseReason::kSmallWindows},
        Refusal{"streams", [](TransportOptions& o) { o.endpoint.quic.uni_streams = 2; },
                CloseReason::kSmallWindows},
        Refusal{"key", [](TransportOptions& o) { o.node_seed.bytes.fill(1); },
                CloseReason::kKeyShared},
        // Of several the most basic one.
        Refusal{"network before version",
                [](TransportOptions& o) {
                  o.network = NetworkIdOf("another");
                  o.version_min = o.version_max = 2;
                },
                CloseReason::kWrongNetwork},
        Refusal{"key before network",
                [](TransportOptions& o) {
                  o.node_seed.bytes.fill(1);
                  o.network = NetworkIdOf("another");
                },
                CloseReason::kKeyShared}),
    [](const auto& info) {
      std::string name = info.param.name;
      std::replace(name.begin(), name.end(), ' ', '_');
      return name;
    });

// The smallest windows that are enough.
TEST(PeerTransport, AcceptsTheSmallestWindows) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode([](TransportOptions& o) {
    o.endpoint.quic.uni_stream_window_bytes = 64 * kKiB + 16;
    o.endpoint.quic.connection_window_bytes = 1 * kMiB;
    o.endpoint.quic.uni_streams = 3;
  });
  ASSERT_TRUE(net.Join(0, 1));
  for (uint64_t i = 0; i < 40; ++i) {
    net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {i}, {100}, Filled(64 * kKiB, 9)});
  }
  EXPECT_TRUE(net.RunUntil([&] { return net.envelopes_received(1) == 1; }, 5s));
}

TEST(PeerTransport, RefusesAnotherKeyThanPinned) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode();
  net.Connect(0, 1, net.KeyOf(0));
  net.Run(3s);
  ASSERT_EQ(net.Count<DialEnded>(0), 1u);
  EXPECT_EQ(net.All<DialEnded>(0)[0].reason, CloseReason::kWrongKey);
  EXPECT_EQ(net.All<DialEnded>(0)[0].key, net.KeyOf(1));
  EXPECT_EQ(net.Count<PeerConnected>(0), 0u);
  EXPECT_EQ(net.at(1).stats().refusals.at(CloseReason::kWrongKey), 1u) << "told by code";
}

// The acceptor says its Hello before it knows whom it refuses: the dialler sees a short-lived peer.
TEST(PeerTransport, RefusesAboveTheInboundPlaces) {
  PeerNet net({.delay = 10ms});
  net.AddNode([](TransportOptions& options) { options.inbound_max = 1; });
  net.AddNode();
  net.AddNode();
  ASSERT_TRUE(net.Join(1, 0));
  net.Connect(2, 0);
  net.Run(1s);
  EXPECT_EQ(net.at(0).peer_count(), 1u);
  EXPECT_EQ(net.at(0).stats().refusals.at(CloseReason::kNotAdmitted), 1u);
  const auto gone = net.All<PeerDisconnected>(2);
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].reason, CloseReason::kNotAdmitted);
  EXPECT_TRUE(gone[0].by_peer);
  net.Do(0, InboundLimit{2});
  ASSERT_TRUE(net.Join(2, 0));
  EXPECT_EQ(net.at(0).peer_count(), 2u);
  net.Do(0, InboundLimit{0});  // sends nobody away
  net.Run(1s);
  EXPECT_EQ(net.at(0).peer_count(), 2u);
}

TEST(PeerTransport, AHigherInboundLimitBringsPlacesForItsConnections) {
  PeerNet net({.delay = 10ms});
  net.AddNode([](TransportOptions& options) { options.endpoint.connections_max = 1; });
  net.AddNode();
  net.AddNode();
  ASSERT_TRUE(net.Join(1, 0));
  net.Connect(2, 0);
  net.Run(5s);
  EXPECT_EQ(net.at(0).peer_count(), 1u);
  net.Do(0, InboundLimit{2});
  ASSERT_TRUE(net.Join(2, 0));
  EXPECT_EQ(net.at(0).peer_count(), 2u);
}

TEST(PeerTransport, RecognisesItself) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.Connect(0, 0);
  net.Run(3s);
  ASSERT_EQ(net.Count<DialEnded>(0), 1u);
  EXPECT_EQ(net.All<DialEnded>(0)[0].reason, CloseReason::kSelf);
  EXPECT_EQ(net.Count<PeerConnected>(0), 0u);
}

TEST(PeerTransport, DialToNobodyEndsOnce) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode();
  net.Stop(1);
  net.Connect(0, 1);
  net.Run(3900ms);
  EXPECT_EQ(net.Count<DialEnded>(0), 0u);
  net.Run(10s);
  ASSERT_EQ(net.Count<DialEnded>(0), 1u);
  EXPECT_EQ(net.All<DialEnded>(0)[0].reason, CloseReason::kUnreachable);
}

// ---- drain --------------------------------------------------------------------------------------

TEST(PeerTransport, DrainsInGoodOrder) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  ASSERT_TRUE(net.AddPair());
  const PeerId peer = *net.PeerAt(0, 1);
  net.at(0).Execute(net.now(), SendEnvelope{peer, {1}, {100}, Numbered(1)});
  net.at(0).StartDrain(net.now(), "maintenance", 30s);
  EXPECT_FALSE(net.at(0).flushed());
  const DialId late = net.Connect(0, 2);
  ASSERT_EQ(net.Count<DialEnded>(0), 2u);
  EXPECT_EQ(net.All<DialEnded>(0)[1].dial, late);
  EXPECT_EQ(net.All<DialEnded>(0)[1].reason, CloseReason::kGoaway);
  net.Connect(2, 0);
  ASSERT_TRUE(net.RunUntil([&] { return net.at(0).flushed(); }, 1s));
  EXPECT_EQ(net.envelopes_received(1), 1u);
  net.at(0).CloseAll(net.now(), CloseReason::kGoaway, "maintenance");
  net.Do(0, CancelEnvelope{peer, {99}});
  net.Run(6s);
  const auto gone = net.All<PeerDisconnected>(1);
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].reason, CloseReason::kGoaway);
  EXPECT_TRUE(gone[0].by_peer);
  EXPECT_EQ(gone[0].redial_after, 30s);
  EXPECT_EQ(net.Count<PeerDisconnected>(0), 1u);
  EXPECT_EQ(net.Count<PeerConnected>(2), 0u);
  ASSERT_EQ(net.Count<DialEnded>(2), 1u);
  EXPECT_EQ(net.at(0).connection_count(), 0u);
}

TEST(PeerTransport, ADrainRefusesNewConnections) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode();
  net.at(0).StartDrain(net.now(), "maintenance", 30s);
  net.Connect(1, 0);
  net.Run(6s);
  EXPECT_EQ(net.Count<PeerConnected>(0), 0u);
  EXPECT_EQ(net.Count<PeerConnected>(1), 0u);
  ASSERT_EQ(net.Count<DialEnded>(1), 1u);
  EXPECT_NE(net.All<DialEnded>(1)[0].reason, CloseReason::kNone);
}

TEST(PeerTransport, DropPeerTellsTheOtherEndWhy) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  net.Do(0, DropPeer{*net.PeerAt(0, 1), CloseReason::kBadScore, "too many offences"});
  EXPECT_EQ(net.Count<PeerDisconnected>(0), 1u);
  net.Run(100ms);
  ASSERT_EQ(net.Count<PeerDisconnected>(1), 1u);
  EXPECT_EQ(net.All<PeerDisconnected>(1)[0].reason, CloseReason::kBadScore);
  EXPECT_EQ(net.All<PeerDisconnected>(1)[0].detail, "too many offences");
}

// ---- figures ------------------------------------------------------------------------------------

TEST(PeerTransport, CountsAndMeasures) {
  PeerNet net({.delay = 10ms});
  ASSERT_TRUE(net.AddPair());
  net.Do(0, SendEnvelope{*net.PeerAt(0, 1), {1}, {100}, Numbered(1, 300)});
  net.Run(40s);
  const auto list = net.at(0).ListPeers(net.now());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].sent[0].messages, 1u);
  EXPECT_EQ(list[0].sent[0].bytes, 301u);
  EXPECT_GE(list[0].connection.smoothed_rtt, 20ms);
  EXPECT_GE(list[0].age, 39s);
  EXPECT_EQ(net.at(1).stats().received[0].messages, 1u);
  EXPECT_EQ(net.at(1).stats().received[0].bytes, 301u);
  EXPECT_EQ(net.at(0).stats().envelope_to_ack.count, 1u);
}

void PingsAsADaemon(TransportOptions& options) { options.first_ping_after = 1s; }

// Peers' clocks are known a few seconds after they are up, and that one was set at the next Ping.
TEST(PeerTransport, ClocksOfPeersAreMeasured) {
  PeerNet net({.delay = 10ms});
  net.AddNode(PingsAsADaemon);
  net.AddNode(PingsAsADaemon);
  ASSERT_TRUE(net.Join(0, 1));
  constexpr int64_t kUs = 1'770'000'000'000'000;
  EXPECT_EQ(net.at(0).Clocks().measured, 0u);
  net.at(0).SetWallTime(net.now(), {kUs});
  net.at(1).SetWallTime(net.now(), {kUs + 2'500'000});
  net.Run(1500ms);
  ASSERT_EQ(net.at(0).Clocks().measured, 1u);
  EXPECT_LE(net.at(0).Clocks().largest_offset, 2511ms);
  EXPECT_GE(net.at(0).Clocks().median_offset, 2489ms);
  EXPECT_LE(net.at(1).Clocks().median_offset, -2489ms);
  ASSERT_TRUE(net.at(0).ListPeers(net.now())[0].clock_offset);
  EXPECT_EQ(*net.at(0).ListPeers(net.now())[0].clock_offset, net.at(0).Clocks().median_offset);
  net.Run(30s);
  net.at(1).SetWallTime(net.now(), {kUs + ToMicros(31500ms) - 60'000'000});
  net.Run(31s);
  EXPECT_LE(net.at(0).Clocks().median_offset, -59s);
  EXPECT_GE(net.at(1).Clocks().median_offset, 59s);
}

// A peer that has nothing to say costs a few datagrams a minute.
TEST(PeerTransport, IdlePeersAreQuiet) {
  PeerNet net({.delay = 10ms});
  net.AddNode(PingsAsADaemon);
  net.AddNode(PingsAsADaemon);
  ASSERT_TRUE(net.Join(0, 1));
  net.Run(5s);
  const uint64_t before = net.datagrams_delivered();
  net.Run(60s);
  EXPECT_TRUE(net.PeerAt(0, 1));
  EXPECT_LE(net.datagrams_delivered() - before, 60u);
}

// Handshakes that wait are begun at 100 a second; those of configured addresses first.
TEST(PeerTransport, AConfiguredAddressIsNotKeptWaitingByStrangers) {
  constexpr size_t kStrangers = 5;
  for (const bool configured : {false, true}) {
    PeerNet net({.delay = 5ms});
    const size_t acceptor = net.AddNode();
    const size_t dialler = net.AddNode();
    if (configured) net.Do(acceptor, ConfiguredAddresses{{PeerNet::AddressOf(dialler)}});
    for (size_t i = 0; i < kStrangers; ++i) {
      const size_t stranger = net.AddNode();
      for (int dial = 0; dial < 12; ++dial) net.Connect(stranger, acceptor);
    }
    net.Connect(dialler, acceptor);
    EXPECT_EQ(net.RunUntil([&] { return net.PeerAt(acceptor, dialler).has_value(); }, 200ms),
              configured);
    net.at(acceptor).CheckInvariants();
  }
}

}  // namespace
}  // namespace overlay::transport
