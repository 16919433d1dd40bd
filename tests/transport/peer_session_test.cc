// A transport against a peer without manners: what it sends costs it, and nobody else.
#include "transport/peer_session.h"

#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/peer_net.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

constexpr size_t kOther = 1;  // a well-behaved second peer
constexpr size_t kRaw = 2;

class PeerSessionTest : public testing::Test {
 protected:
  PeerSessionTest() : net_({.delay = 10ms}) {
    net_.AddNode();
    net_.AddNode();
    EXPECT_TRUE(net_.Join(kOther, 0));
  }
  void JoinRaw(RawPeer::Options options = {}) {
    net_.AddRaw(options);
    ASSERT_TRUE(net_.JoinRaw(kRaw, 0));
    net_.Run(50ms);
  }
  RawPeer& raw() { return net_.raw(kRaw); }
  void Write(Duration time = 200ms) {
    net_.WriteRaw(kRaw);
    net_.Run(time);
  }
  // The raw peer is out for this reason, and the other one is still there.
  void ExpectClosed(CloseReason reason) {
    net_.Run(100ms);
    ASSERT_EQ(net_.Count<PeerDisconnected>(0), 1u);
    EXPECT_EQ(CloseReasonName(net_.All<PeerDisconnected>(0)[0].reason), CloseReasonName(reason));
    ASSERT_TRUE(raw().ended());
    EXPECT_EQ(raw().ended()->code, static_cast<uint64_t>(reason));
    EXPECT_TRUE(net_.PeerAt(0, kOther));
  }
  void ExpectOffence(Offence offence, size_t count) {
    const auto offences = net_.All<PeerOffence>(0);
    ASSERT_EQ(offences.size(), count);
    for (const auto& each : offences) EXPECT_EQ(each.offence, offence);
  }

  uint64_t ReceivedControlBytes() {
    return net_.at(0).stats().received[static_cast<size_t>(SendClass::kControl)].bytes;
  }
  size_t PongsReceived() {
    const auto said = raw().ControlReceived();
    return static_cast<size_t>(std::count_if(said.begin(), said.end(), [](const auto& message) {
      return std::holds_alternative<Pong>(message);
    }));
  }

  PeerNet net_;
};

// A peer that grants 8 streams and never reads: closed 10 to 11 s after the first envelope that
// could not be sent; the others get theirs meanwhile.
TEST_F(PeerSessionTest, ClosesAPeerThatDoesNotRead) {
  RawPeer::Options options;
  options.returns_credit = false;
  options.endpoint.quic.uni_streams = 8;
  JoinRaw(options);
  const PeerId peer = *net_.PeerAt(0, kRaw);
  const PeerId other = *net_.PeerAt(0, kOther);
  const Bytes envelope = Bytes::Copy(std::string(300, 'e'));
  std::optional<Time> blocked_at;
  for (uint64_t i = 0; i < 150 && net_.PeerAt(0, kRaw); ++i) {
    if (i == 6) blocked_at = net_.now();  // 8 less control and tx control
    net_.Do(0, SendEnvelope{peer, {i}, {100 + i}, envelope});
    net_.Do(0, SendEnvelope{other, {i}, {100 + i}, envelope});
    net_.Run(100ms);
  }
  ExpectClosed(CloseReason::kStalled);
  Time ended{};
  for (const auto& [at, event] : net_.events(0)) {
    if (std::holds_alternative<PeerDisconnected>(event)) ended = at;
  }
  EXPECT_GE(ended - *blocked_at, 10s);
  EXPECT_LE(ended - *blocked_at, 11s);
  const auto blocked = net_.All<PeerBlocked>(0);
  ASSERT_FALSE(blocked.empty());
  EXPECT_TRUE(blocked.back().blocked);
  EXPECT_GE(net_.envelopes_received(kOther), 100u);
}

// Taking back what waits does not buy time, and neither do frames that still find credit.
TEST_F(PeerSessionTest, SupersedingDoesNotPutOffTheStall) {
  RawPeer::Options options;
  options.returns_credit = false;
  options.endpoint.quic.uni_streams = 3;
  JoinRaw(options);
  const PeerId peer = *net_.PeerAt(0, kRaw);
  for (uint64_t i = 0; i < 60 && net_.PeerAt(0, kRaw); ++i) {
    if (i > 1) net_.Do(0, CancelEnvelope{peer, {i - 1}});
    net_.Do(0, SendControl{peer, CoreStatus{true}});
    net_.Do(0, SendEnvelope{peer, {i}, {100}, Bytes::Copy(std::string(300, 'e'))});
    net_.Run(250ms);
  }
  ExpectClosed(CloseReason::kStalled);
}

// A few of the credit's streams at a time are enough, as long as they come back.
TEST_F(PeerSessionTest, LivesOnFewStreams) {
  RawPeer::Options options;
  options.endpoint.quic.uni_streams = 200;
  JoinRaw(options);
  const PeerId peer = *net_.PeerAt(0, kRaw);
  for (uint64_t i = 0; i < 1000; ++i) {
    net_.at(0).Execute(net_.now(),
                       SendEnvelope{peer, {i}, {100}, Bytes::Copy(std::string(300, 'e'))});
  }
  net_.Do(0, CancelEnvelope{peer, {5000}});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<EnvelopeDone>(0) == 1000; }, 10s));
  EXPECT_TRUE(net_.PeerAt(0, kRaw));
}

// Envelopes that never end: over 1 MiB of them are refused one by one, at last the peer goes.
TEST_F(PeerSessionTest, BoundsIncompleteEnvelopes) {
  JoinRaw();
  for (int i = 0; i < 20; ++i) raw().Uni("\x01" + std::string(60 * 1024, 'x'), false);
  Write(2s);
  const auto offences = net_.All<PeerOffence>(0);
  ASSERT_GE(offences.size(), 3u);
  EXPECT_EQ(offences[0].offence, Offence::kIncompleteEnvelopes);
  EXPECT_EQ(net_.envelopes_received(0), 0u);
  EXPECT_TRUE(net_.PeerAt(0, kRaw));
  // The connection's credit has come back for what was refused, so a whole one still passes.
  raw().Uni("\x01whole", true);
  Write();
  EXPECT_EQ(net_.envelopes_received(0), 1u);
}

// An envelope that makes no progress for 10 s while others do is refused.
TEST_F(PeerSessionTest, RefusesAnEnvelopeWithoutProgress) {
  JoinRaw();
  const auto stuck = raw().Uni("\x01partial", false);
  Write(0s);
  for (int i = 0; i < 9; ++i) {
    raw().Uni("\x01whole", true);
    Write(1s);
  }
  ExpectOffence(Offence::kIncompleteEnvelopes, 0);
  for (int i = 0; i < 3; ++i) {
    raw().Uni("\x01whole", true);
    Write(1s);
  }
  ExpectOffence(Offence::kIncompleteEnvelopes, 1);
  EXPECT_EQ(raw().closed().at(*stuck), static_cast<uint64_t>(StreamCode::kIncompleteTooLong));
  EXPECT_EQ(net_.envelopes_received(0), 12u);
}

TEST_F(PeerSessionTest, RefusesAnOversizeEnvelope) {
  JoinRaw();
  raw().Uni("\x01" + std::string(64 * 1024, 'x'), true);
  raw().Uni("\x01" + std::string(64 * 1024 + 1, 'x'), true);
  raw().Uni("\x01", true);
  Write(1s);
  EXPECT_EQ(net_.envelopes_received(0), 1u);
  const auto offences = net_.All<PeerOffence>(0);
  ASSERT_EQ(offences.size(), 2u);
  EXPECT_EQ(net_.at(0).stats().offences[static_cast<size_t>(Offence::kOversizeEnvelope)], 1u);
  EXPECT_EQ(net_.at(0).stats().offences[static_cast<size_t>(Offence::kMalformedPayload)], 1u);
  EXPECT_TRUE(net_.PeerAt(0, kRaw));
}

// Kinds and frames that a later version may bring are no offence.
TEST_F(PeerSessionTest, IgnoresWhatMayBeIgnored) {
  JoinRaw();
  const auto uni = raw().Uni("\x40something new", false);
  const auto bidi = raw().Bidi("\x7fsomething new", false);
  const auto gossip = raw().Uni("\x07", false);
  raw().Append(raw().control(), std::string("\x50\x00\x00\x00\x03new", 8), false);
  raw().Append(raw().control(), ControlFrame(CoreStatus{true}), false);
  Write(1s);
  EXPECT_EQ(raw().closed().at(*uni), static_cast<uint64_t>(StreamCode::kUnknownKind));
  EXPECT_EQ(raw().closed().at(*bidi), static_cast<uint64_t>(StreamCode::kUnknownKind));
  EXPECT_EQ(raw().closed().at(*gossip), static_cast<uint64_t>(StreamCode::kUnknownKind));
  EXPECT_EQ(net_.Count<ControlReceived>(0), 1u);
  ExpectOffence(Offence::kUnsolicited, 0);
  EXPECT_TRUE(net_.PeerAt(0, kRaw));
}

TEST_F(PeerSessionTest, ClosesOnAnUnknownKind) {
  JoinRaw();
  raw().Uni("\x08x", false);
  Write();
  ExpectClosed(CloseReason::kMalformed);
}

TEST_F(PeerSessionTest, ClosesOnAMalformedFrame) {
  JoinRaw();
  raw().Append(raw().control(), std::string("\x02\x00\x00\x00\x04\xff\xff\xff\xff", 9), false);
  Write();
  ExpectClosed(CloseReason::kMalformed);
}

TEST_F(PeerSessionTest, ClosesOnAFrameTooLarge) {
  JoinRaw();
  raw().Append(raw().control(), std::string("\x02\x00\x01\x00\x01", 5), false);
  Write();
  ExpectClosed(CloseReason::kTooLarge);
}

TEST_F(PeerSessionTest, ClosesOnAFrameOfAnotherStream) {
  JoinRaw();
  const Bytes inv = EncodeTxControl(Inv{{{HashOf<TxHash>({}), 1, Lane::kClassic, 100}}});
  raw().Append(raw().control(), inv.view(), false);
  Write();
  ExpectClosed(CloseReason::kProtocol);
}

TEST_F(PeerSessionTest, ClosesOnASecondHello) {
  JoinRaw();
  raw().Append(raw().control(), HelloFrame(), false);
  Write();
  ExpectClosed(CloseReason::kProtocol);
}

TEST_F(PeerSessionTest, ClosesOnASecondControlStream) {
  JoinRaw();
  raw().Uni("\x02", false);
  Write();
  ExpectClosed(CloseReason::kProtocol);
}

TEST_F(PeerSessionTest, ClosesWhenTheControlStreamEnds) {
  JoinRaw();
  raw().Append(raw().control(), "", true);
  Write();
  ExpectClosed(CloseReason::kProtocol);
}

TEST_F(PeerSessionTest, ClosesWhenTheTxControlStreamEnds) {
  JoinRaw();
  raw().Uni("\x03", true);
  Write();
  ExpectClosed(CloseReason::kProtocol);
}

// Announcements that a peer does not read are kept up to a bound, then it goes at once.
TEST_F(PeerSessionTest, ClosesWhenALongLivedStreamOverflows) {
  RawPeer::Options options;
  options.returns_credit = false;
  JoinRaw(options);
  const PeerId peer = *net_.PeerAt(0, kRaw);
  const Inv inv{std::vector<InvEntry>(1000, {HashOf<TxHash>({}), 1, Lane::kClassic, 100})};
  const size_t frame_bytes = EncodeTxControl(inv).size();
  for (size_t bytes = 0; bytes + frame_bytes < kLongStreamQueueBytesMax; bytes += frame_bytes) {
    net_.Do(0, SendTxControl{peer, inv});
    net_.Run(10ms);
  }
  ASSERT_TRUE(net_.PeerAt(0, kRaw));
  for (int i = 0; i < 16; ++i) net_.Do(0, SendTxControl{peer, inv});
  ExpectClosed(CloseReason::kStalled);
}

TEST_F(PeerSessionTest, DoesNotReadAStateAnswerThatNobodyAskedFor) {
  JoinRaw();
  const std::string header(EncodeStateHeader({9, false}).view());
  raw().Uni("\x06" + header + std::string("\x00\x00\x00\x02xx", 6), true);
  Write();
  ExpectOffence(Offence::kUnsolicited, 1);
  EXPECT_EQ(net_.Count<StateReceived>(0), 0u);
  net_.Do(0, SendControl{*net_.PeerAt(0, kRaw), GetScpState{9, {0}}});
  raw().Uni("\x06" + header + std::string("\x00\x00\x00\x02xx", 6), true);
  Write();
  const auto state = net_.All<StateReceived>(0);
  ASSERT_EQ(state.size(), 2u);
  EXPECT_EQ(state[0].envelope, Bytes::Copy("xx"));
  EXPECT_EQ(state[1].part, StateReceived::Part::kEnd);
  // It was asked for once.
  raw().Uni("\x06" + header + std::string("\x00\x00\x00\x02xx", 6), true);
  Write();
  ExpectOffence(Offence::kUnsolicited, 2);
  EXPECT_EQ(net_.Count<StateReceived>(0), 2u);
}

// Silence instead of Hello.
TEST_F(PeerSessionTest, WaitsForHelloNotForEver) {
  RawPeer::Options options;
  options.says_hello = false;
  net_.AddRaw(options);
  EXPECT_FALSE(net_.JoinRaw(kRaw, 0));
  EXPECT_FALSE(raw().ended());
  net_.Run(3s);
  ASSERT_TRUE(raw().ended());
  EXPECT_EQ(raw().ended()->code, static_cast<uint64_t>(CloseReason::kHelloTimeout));
  EXPECT_EQ(net_.at(0).stats().refusals.at(CloseReason::kHelloTimeout), 1u);
}

// What comes before Hello is held, up to a bound.
TEST_F(PeerSessionTest, HoldsWhatOvertakesHello) {
  RawPeer::Options options;
  options.says_hello = false;
  net_.AddRaw(options);
  EXPECT_FALSE(net_.JoinRaw(kRaw, 0));
  raw().Uni(
      "\x01"
      "early",
      true);
  Write(100ms);
  EXPECT_EQ(net_.envelopes_received(0), 0u);
  raw().Append(raw().control(), "\x02" + HelloFrame(), false);
  Write(100ms);
  EXPECT_EQ(net_.envelopes_received(0), 1u);
}

TEST_F(PeerSessionTest, DoesNotHoldAnythingBeforeHello) {
  RawPeer::Options options;
  options.says_hello = false;
  net_.AddRaw(options);
  EXPECT_FALSE(net_.JoinRaw(kRaw, 0));
  for (int i = 0; i < 20; ++i) raw().Uni("\x01" + std::string(60'000, 'x'), true);
  Write(1s);
  ASSERT_TRUE(raw().ended());
  EXPECT_EQ(raw().ended()->code, static_cast<uint64_t>(CloseReason::kProtocol));
}

// However fast a peer asks, it gets two answers a second.
TEST_F(PeerSessionTest, AnswersPingsTwiceASecond) {
  JoinRaw();
  const std::string ping = ControlFrame(Ping{1, {}});
  for (int i = 0; i < 5; ++i) raw().Append(raw().control(), ping, false);
  Write(300ms);
  EXPECT_EQ(PongsReceived(), 1u);
  raw().Append(raw().control(), ping, false);
  Write(300ms);
  EXPECT_EQ(PongsReceived(), 1u);
  raw().Append(raw().control(), ping, false);
  Write(300ms);
  EXPECT_EQ(PongsReceived(), 2u);
}

// A paused peer's announcements wait where they are.
TEST_F(PeerSessionTest, PausesInv) {
  JoinRaw();
  const PeerId peer = *net_.PeerAt(0, kRaw);
  const Bytes inv = EncodeTxControl(Inv{{{HashOf<TxHash>({}), 1, Lane::kClassic, 100}}});
  const auto stream = raw().Uni("\x03" + std::string(inv.view()), false);
  Write();
  EXPECT_EQ(net_.Count<TxControlReceived>(0), 1u);
  net_.Do(0, PauseInv{peer, true});
  for (int i = 0; i < 5; ++i) raw().Append(*stream, inv.view(), false);
  Write();
  EXPECT_EQ(net_.Count<TxControlReceived>(0), 1u);
  net_.Do(0, PauseInv{peer, false});
  EXPECT_EQ(net_.Count<TxControlReceived>(0), 6u);
}

// While it is paused a peer can send no more than the stream's window, and that is held.
TEST_F(PeerSessionTest, GivesAPausedPeerNoCredit) {
  JoinRaw();
  const PeerId peer = *net_.PeerAt(0, kRaw);
  const Inv inv{std::vector<InvEntry>(1000, {HashOf<TxHash>({}), 1, Lane::kClassic, 100})};
  const Bytes frame = EncodeTxControl(inv);
  net_.Do(0, PauseInv{peer, true});
  const uint64_t before = ReceivedControlBytes();
  const auto stream = raw().Uni("\x03", false);
  for (int i = 0; i < 20; ++i) raw().Append(*stream, frame.view(), false);
  Write(1s);
  EXPECT_EQ(1 + ReceivedControlBytes() - before, QuicSettings{}.uni_stream_window_bytes);
  net_.Do(0, PauseInv{peer, false});
  net_.Run(1s);
  EXPECT_EQ(net_.Count<TxControlReceived>(0), 20u);
}

// 16 bodies of 255 KiB that lack their end fit into 4 MiB. Those that would exceed it are stopped;
// the others may still come.
TEST_F(PeerSessionTest, BoundsBodiesThatAreNotWhole) {
  JoinRaw();
  constexpr size_t kBodyBytes = 255 * kKiB + 1;
  for (uint64_t i = 1; i <= 20; ++i) {
    net_.Do(0, RequestBodies{*net_.PeerAt(0, kRaw), {i}, GetData{{HashOf<TxHash>({})}}});
  }
  net_.Run(100ms);
  const auto length = EncodeLength(kBodyBytes);
  const std::string begun = "\x01" + std::string(length.begin(), length.end());
  std::vector<StreamId> asked;
  for (const auto& [id, stream] : raw().streams()) {
    if (!IsUni(id)) asked.push_back(id);
  }
  ASSERT_EQ(asked.size(), 20u);
  for (StreamId id : asked) {
    raw().Append(id, begun + std::string(kBodyBytes - 1, 'b'), false);
    Write();
  }
  ExpectOffence(Offence::kUnsolicited, 4);
  const auto ended = net_.All<RequestEnded>(0);
  ASSERT_EQ(ended.size(), 4u);
  for (const auto& each : ended) EXPECT_FALSE(each.complete);
  EXPECT_EQ(net_.Count<BodyReceived>(0), 0u);
  raw().Append(asked[0], "b", true);
  Write();
  EXPECT_EQ(net_.Count<BodyReceived>(0), 1u);
  EXPECT_TRUE(net_.All<RequestEnded>(0).back().complete);
}

// What a transport with the smallest windows takes from a peer, one after the other.
class SessionCreditTest : public testing::Test {
 protected:
  SessionCreditTest() : net_({.delay = 10ms}) {
    net_.AddNode([](TransportOptions& options) {
      options.endpoint.quic.connection_window_bytes = 1 * kMiB;
      options.endpoint.quic.uni_streams = 4;
    });
    net_.AddRaw({});
    EXPECT_TRUE(net_.JoinRaw(1, 0));
  }
  void SendEnvelope(size_t bytes) {
    ASSERT_TRUE(net_.raw(1).Uni("\x01" + std::string(bytes, 'e'), true));
    net_.WriteRaw(1);
    net_.Run(200ms);
  }
  PeerNet net_;
};

TEST_F(SessionCreditTest, ComesBackForWholeEnvelopes) {
  for (int i = 0; i < 40; ++i) SendEnvelope(64 * kKiB);
  EXPECT_EQ(net_.envelopes_received(0), 40u);
}

TEST_F(SessionCreditTest, ComesBackForRefusedEnvelopes) {
  for (int i = 0; i < 40; ++i) SendEnvelope(64 * kKiB + 1);
  EXPECT_EQ(net_.Count<PeerOffence>(0), 40u);
  SendEnvelope(64 * kKiB);
  EXPECT_EQ(net_.envelopes_received(0), 1u);
}

// Of more than 48 requests for bodies those above are refused.
TEST_F(PeerSessionTest, BoundsAPeersRequests) {
  JoinRaw();
  const Bytes ask = EncodeGetData(GetData{{HashOf<TxHash>({})}});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(raw().Bidi("\x04" + std::string(ask.view()), true));
  Write();
  EXPECT_EQ(net_.Count<BodiesRequested>(0), 48u);
  ExpectOffence(Offence::kOverEager, 2);
  for (const auto& asked : net_.All<BodiesRequested>(0)) {
    net_.Do(0,
            AnswerBodies{
                asked.peer, asked.request, {{asked.data.hashes[0], BodyOutcome::kNotFound, {}}}});
  }
  net_.Run(200ms);
  EXPECT_EQ(net_.Count<AnswerDone>(0), 48u);
  ASSERT_TRUE(raw().Bidi("\x04" + std::string(ask.view()), true));
  Write();
  EXPECT_EQ(net_.Count<BodiesRequested>(0), 49u);
}

}  // namespace
}  // namespace overlay::transport
