// Two connections over a link: the handshake, streams, credit, writing, loss and closing.
#include "transport/quic_connection.h"

#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/quic_pair.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

// A message that differs at every offset and from every other.
Bytes Message(uint64_t number, size_t bytes) {
  std::vector<uint8_t> data(bytes);
  Random(number).Fill(absl::MakeSpan(data));
  return Bytes::Take(std::move(data));
}

std::string TextOf(const Bytes& bytes) { return std::string(bytes.view()); }

TEST(QuicHandshake, BothEndsLearnTheOthersKey) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  EXPECT_EQ(pair.dialler().log(id).completed, pair.acceptor().identity().node_key());
  const ConnectionId other = pair.acceptor().newest();
  EXPECT_EQ(pair.acceptor().log(other).completed, pair.dialler().identity().node_key());
  EXPECT_EQ(pair.acceptor().endpoint().Find(other)->remote_limits().uni_streams,
            QuicSettings().uni_streams);
}

// Each message on a stream of its own, one packet in fifty lost: all arrive whole.
TEST(QuicStreams, AMessagePerStreamSurvivesLoss) {
  QuicPair pair({.link = {.delay = 10ms, .loss = 0.02}});
  const ConnectionId id = pair.Connect();
  std::map<StreamId, std::string> sent;
  for (uint64_t i = 0; i < 1'000; ++i) {
    const Bytes message = Message(i, 200 + i % 2'000);
    const std::optional<StreamId> stream = pair.dialler().SendUni(id, message);
    ASSERT_TRUE(stream);
    sent[*stream] = TextOf(message);
  }
  const auto& received = [&]() -> const auto& {
    return pair.acceptor().log(pair.acceptor().newest()).streams;
  };
  ASSERT_TRUE(pair.RunUntil(
      [&] {
        return received().size() == sent.size() &&
               std::all_of(received().begin(), received().end(),
                           [](const auto& entry) { return entry.second.fin; });
      },
      20s));
  for (const auto& [stream, bytes] : sent) EXPECT_EQ(received().at(stream).bytes, bytes);
  ASSERT_TRUE(pair.RunUntil(
      [&] { return pair.dialler().log(id).stream_closed.size() == sent.size(); }, 5s));
  for (const auto& [stream, code] : pair.dialler().log(id).stream_closed) EXPECT_FALSE(code);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->HeldStreamCountForTest(), 0u);
}

TEST(QuicStreams, BulkSurvivesLossDuplicationAndReordering) {
  QuicPair pair({.link = {.delay = 5ms, .jitter = 2ms, .loss = 0.01, .duplicate = 0.01}});
  const ConnectionId id = pair.Connect();
  const Bytes bulk = Message(7, 3'000'000);
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, bulk);
  ASSERT_TRUE(stream);
  const ConnectionId other = pair.acceptor().newest();
  const auto arrived = [&] {
    const auto& streams = pair.acceptor().log(other).streams;
    return streams.contains(*stream) && streams.at(*stream).fin;
  };
  ASSERT_TRUE(pair.RunUntil(arrived, 60s));
  EXPECT_EQ(pair.acceptor().log(other).streams.at(*stream).bytes, TextOf(bulk));
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 5s));
  EXPECT_EQ(pair.dialler().log(id).acked.at(*stream), bulk.size());
  EXPECT_GT(pair.dialler().endpoint().Find(id)->stats().lost_stream_packets, 0u);
}

TEST(QuicStreams, CorruptDatagramsAreLossAndNothingWorse) {
  QuicPair pair({.link = {.delay = 5ms}});
  const ConnectionId id = pair.Connect();
  pair.link().corrupt = 0.05;
  const Bytes bulk = Message(8, 300'000);
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, bulk);
  const ConnectionId other = pair.acceptor().newest();
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 60s));
  EXPECT_EQ(pair.acceptor().log(other).streams.at(*stream).bytes, TextOf(bulk));
  EXPECT_TRUE(pair.dialler().IsUp(id));
}

TEST(QuicStreams, TheReceiverSeesAReset) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, Message(1, 100'000));
  pair.RunFor(15ms);
  pair.dialler().endpoint().Mutable(id)->ResetSending(*stream, 42);
  const ConnectionId other = pair.acceptor().newest();
  ASSERT_TRUE(pair.RunUntil(
      [&] { return pair.acceptor().log(other).stream_closed.contains(*stream); }, 2s));
  EXPECT_EQ(pair.acceptor().log(other).streams.at(*stream).reset, 42u);
  EXPECT_EQ(pair.acceptor().log(other).stream_closed.at(*stream), 42u);
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 2s));
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->HeldStreamCountForTest(), 0u);
}

// STOP_SENDING: the sender's source hears that the stream is gone, and others go on.
TEST(QuicStreams, TheSenderSeesThatNobodyReads) {
  QuicPair pair({.link = {.delay = 10ms, .bits_per_second = 10'000'000}});
  pair.acceptor().set_return_credit(false);
  const ConnectionId id = pair.Connect();
  const std::optional<StreamId> unwanted = pair.dialler().SendUni(id, Message(1, 2'000'000));
  const ConnectionId other = pair.acceptor().newest();
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.acceptor().log(other).streams.contains(*unwanted); }, 2s));
  pair.acceptor().endpoint().Mutable(other)->StopReading(*unwanted, 9);
  const auto closed = [&] { return pair.dialler().log(id).stream_closed.contains(*unwanted); };
  ASSERT_TRUE(pair.RunUntil(closed, 5s));
  EXPECT_EQ(pair.dialler().log(id).stream_closed.at(*unwanted), 9u);
  const std::optional<StreamId> wanted = pair.dialler().SendUni(id, Message(2, 500));
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*wanted); }, 5s));
  EXPECT_THAT(pair.dialler().source(id).gone(), testing::ElementsAre(*unwanted));
  EXPECT_LT(pair.acceptor().log(other).streams.at(*unwanted).bytes.size(), 2'000'000u);
}

TEST(QuicStreams, BidirectionalStreamCarriesBothWays) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  const ConnectionId other = pair.acceptor().newest();
  const std::optional<StreamId> stream = pair.dialler().endpoint().Mutable(id)->OpenBidi();
  ASSERT_TRUE(stream);
  EXPECT_FALSE(IsUni(*stream));
  EXPECT_TRUE(IsOpenedByDialler(*stream));
  pair.dialler().source(id).Add(*stream, Message(1, 300), true);
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.acceptor().log(other).streams.contains(*stream); }, 2s));
  pair.acceptor().source(other).Add(*stream, Message(2, 40'000), true);
  pair.acceptor().endpoint().Mutable(other);
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 5s));
  EXPECT_EQ(pair.dialler().log(id).streams.at(*stream).bytes, TextOf(Message(2, 40'000)));
}

// Nothing is returned by itself: a receiver that keeps its credit stops the sender at the window.
TEST(QuicCredit, TheWindowStopsASenderUntilCreditIsReturned) {
  QuicPairOptions options;
  options.acceptor.quic.connection_window_bytes = 1 << 20;
  options.acceptor.quic.uni_stream_window_bytes = 4 << 20;
  QuicPair pair(std::move(options));
  pair.acceptor().set_return_credit(false);
  const ConnectionId id = pair.Connect();
  const ConnectionId other = pair.acceptor().newest();
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->max_data_left(), 1u << 20);
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, Message(1, 3 << 20));
  pair.RunFor(10s);
  const auto got = [&] { return pair.acceptor().log(other).streams.at(*stream).bytes.size(); };
  EXPECT_EQ(got(), 1u << 20);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->max_data_left(), 0u);
  QuicConnection* connection = pair.acceptor().endpoint().Mutable(other);
  connection->ExtendConnection(1 << 20);
  pair.RunFor(10s);
  EXPECT_EQ(got(), 2u << 20);
}

TEST(QuicCredit, StreamCountsComeBackInSteps) {
  QuicPairOptions options;
  options.acceptor.quic.uni_streams = 256;
  QuicPair pair(std::move(options));
  const ConnectionId id = pair.Connect();
  // Nothing is lost between what is open ahead and what is left.
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->uni_streams_left(), 256u);
  const int told = pair.dialler().log(id).streams_credit;
  for (uint64_t i = 0; i < 63; ++i) ASSERT_TRUE(pair.dialler().SendUni(id, Message(i, 50)));
  pair.RunFor(1s);
  EXPECT_EQ(pair.dialler().log(id).streams_credit, told);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->uni_streams_left(), 193u);
  ASSERT_TRUE(pair.dialler().SendUni(id, Message(64, 50)));
  pair.RunFor(1s);
  EXPECT_EQ(pair.dialler().log(id).streams_credit, told + 1);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->uni_streams_left(), 256u);
  for (uint64_t i = 0; i < 256; ++i) ASSERT_TRUE(pair.dialler().SendUni(id, Message(i, 50)));
  EXPECT_FALSE(pair.dialler().SendUni(id, Message(0, 50)));
}

// A step would be more than was granted; so it is a quarter of that.
TEST(QuicCredit, FewStreamsComeBackInSmallSteps) {
  QuicPairOptions options;
  options.acceptor.quic.uni_streams = 8;
  QuicPair pair(std::move(options));
  const ConnectionId id = pair.Connect();
  for (uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(pair.dialler().SendUni(id, Message(i, 50)));
    pair.RunFor(1s);
  }
}

TEST(QuicClose, CodeAndReasonReachTheOtherSide) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  const ConnectionId other = pair.acceptor().newest();
  pair.dialler().Close(id, 7, "wrong network");
  EXPECT_EQ(pair.dialler().log(id).closed.cause, CloseCause::kLocalApplication);
  ASSERT_TRUE(pair.RunUntil([&] { return pair.acceptor().log(other).closed_count == 1; }, 2s));
  const CloseInfo& closed = pair.acceptor().log(other).closed;
  EXPECT_EQ(closed.cause, CloseCause::kPeerApplication);
  EXPECT_EQ(closed.code, 7u);
  EXPECT_EQ(closed.reason, "wrong network");
  EXPECT_TRUE(closed.was_up);
  // Both forget it after three probe time-outs.
  pair.RunFor(10s);
  EXPECT_EQ(pair.dialler().endpoint().connection_count(), 0u);
  EXPECT_EQ(pair.acceptor().endpoint().connection_count(), 0u);
  EXPECT_EQ(pair.dialler().log(id).closed_count, 1);
}

// The close packet was lost: the peer's next datagram is answered with it.
TEST(QuicClose, ALostClosePacketIsRepeated) {
  QuicPair pair({.link = {.delay = 10ms}});
  const ConnectionId id = pair.Connect();
  const ConnectionId other = pair.acceptor().newest();
  bool swallowed = false;
  const SocketAddress to = pair.acceptor().address();
  pair.set_filter([&](const SocketAddress& where, absl::Span<const uint8_t>) {
    if (where != to || swallowed) return true;
    swallowed = true;
    return false;
  });
  pair.dialler().Close(id, 7, "");
  pair.RunFor(60ms);
  ASSERT_TRUE(swallowed);
  ASSERT_TRUE(pair.acceptor().SendUni(other, Message(1, 1'000)));
  ASSERT_TRUE(pair.RunUntil([&] { return pair.acceptor().log(other).closed_count == 1; }, 100ms));
  EXPECT_EQ(pair.acceptor().log(other).closed.code, 7u);
}

// A peer that does not hear it and goes on is not answered for each of its datagrams.
TEST(QuicClose, TheClosePacketIsRepeatedAtALimitedRate) {
  QuicPair pair({.link = {.delay = 10ms}});
  const ConnectionId id = pair.Connect();
  const ConnectionId other = pair.acceptor().newest();
  const SocketAddress to = pair.acceptor().address();
  pair.set_filter(
      [&](const SocketAddress& where, absl::Span<const uint8_t>) { return where != to; });
  pair.dialler().Close(id, 7, "");
  pair.RunFor(1ms);
  const size_t before = pair.dialler().batches().size();
  const Time start = pair.now();
  // As long as the closing period lasts on this path.
  for (uint64_t i = 0; i < 30; ++i) {
    ASSERT_TRUE(pair.acceptor().SendUni(other, Message(i, 100)));
    pair.RunFor(5ms);
  }
  const size_t repeats = pair.dialler().batches().size() - before;
  EXPECT_GE(repeats, 1u);
  EXPECT_LE(repeats, static_cast<size_t>((pair.now() - start) / kCloseRepeatMin) + 1);
}

TEST(QuicClose, SilenceEndsInTheIdleTimeout) {
  QuicPairOptions options;
  options.dialler.quic.idle_timeout = 30s;
  options.acceptor.quic.idle_timeout = 8s;  // the smaller counts
  options.dialler.quic.keep_alive = Duration(0);
  options.acceptor.quic.keep_alive = Duration(0);
  QuicPair pair(std::move(options));
  const ConnectionId id = pair.Connect();
  const ConnectionId other = pair.acceptor().newest();
  pair.RunFor(7s);
  EXPECT_TRUE(pair.dialler().IsUp(id));
  pair.RunFor(2s);
  EXPECT_EQ(pair.dialler().log(id).closed.cause, CloseCause::kIdleTimeout);
  EXPECT_EQ(pair.acceptor().log(other).closed.cause, CloseCause::kIdleTimeout);
}

TEST(QuicClose, KeepAliveKeepsAConnectionOpen) {
  QuicPairOptions options;
  options.acceptor.quic.idle_timeout = 8s;  // the dialler's 10 s would be too seldom
  options.acceptor.quic.keep_alive = Duration(0);
  QuicPair pair(std::move(options));
  const ConnectionId id = pair.Connect();
  pair.RunFor(120s);
  EXPECT_TRUE(pair.dialler().IsUp(id));
}

TEST(QuicClose, ANobodyThatDoesNotAnswerIsATimeout) {
  QuicPair pair({});
  const SocketAddress nobody = SocketAddress::V4(0x0a0000ff, 1);
  const ConnectionId id = pair.dialler().DialTo(nobody, std::nullopt);
  pair.RunFor(3900ms);
  EXPECT_EQ(pair.dialler().log(id).closed_count, 0);
  pair.RunFor(200ms);
  EXPECT_EQ(pair.dialler().log(id).closed.cause, CloseCause::kHandshakeTimeout);
  EXPECT_FALSE(pair.dialler().log(id).closed.was_up);
}

// A PING on demand shows within a round trip whether the peer is still there.
TEST(QuicConnection, PingIsAnsweredThoughNothingIsToBeSent) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.RunFor(2s);
  const Time before = pair.dialler().endpoint().Find(id)->last_received();
  EXPECT_LT(before, pair.now() - 1s);
  pair.dialler().endpoint().Mutable(id)->Ping();
  pair.RunFor(100ms);
  EXPECT_GT(pair.dialler().endpoint().Find(id)->last_received(), before + 1s);
  // And once only.
  const uint64_t sent = pair.datagrams();
  pair.RunFor(1s);
  EXPECT_EQ(pair.datagrams(), sent);
}

// R1: the dialler has completed its handshake before the acceptor has judged it, and must hold its
//     tongue.
TEST(QuicConnection, NothingIsSentBeforeTheHandshakeIsConfirmed) {
  QuicPair pair({});
  const ConnectionId id = pair.dialler().Dial();
  ASSERT_TRUE(pair.RunUntil([&] { return pair.dialler().log(id).completed.has_value(); }, 2s));
  ASSERT_FALSE(pair.dialler().log(id).confirmed);
  QuicConnection* connection = pair.dialler().endpoint().Mutable(id);
  EXPECT_FALSE(connection->OpenUni());
  EXPECT_FALSE(connection->OpenBidi());
  struct Impatient : StreamSource {
    std::optional<StreamChunk> Next() override {
      asked = true;
      return std::nullopt;
    }
    void OnPacked(StreamId, size_t, bool) override {}
    void OnRefused(StreamId, WriteRefusal) override {}
    bool asked = false;
  } source;
  QuicEvents events;
  connection->DrainDatagrams(pair.now(), pair.dialler(), &source, WritePass{}, events);
  EXPECT_FALSE(source.asked);
  ASSERT_TRUE(pair.RunUntil([&] { return pair.dialler().IsUp(id); }, 2s));
  connection = pair.dialler().endpoint().Mutable(id);
  EXPECT_TRUE(connection->OpenUni());
  connection->DrainDatagrams(pair.now(), pair.dialler(), &source, WritePass{}, events);
  EXPECT_TRUE(source.asked);
  EXPECT_EQ(pair.acceptor().log(pair.acceptor().newest()).events_before_completed, 0u);
}

// ngtcp2 aborts the process on a time stamp that goes backwards: for us time then stands still.
TEST(QuicConnection, TimeThatGoesBackwardsStandsStill) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.RunFor(1s);
  QuicConnection* connection = pair.dialler().endpoint().Mutable(id);
  MessageSource source;
  source.Add(*connection->OpenUni(), Message(1, 300), true);
  QuicEvents events;
  connection->DrainDatagrams(pair.now(), pair.dialler(), &source, {.goal = WriteGoal::kData},
                             events);
  source.Add(*connection->OpenUni(), Message(2, 300), true);
  connection->DrainDatagrams(pair.now() - 500ms, pair.dialler(), &source,
                             {.goal = WriteGoal::kData}, events);
  connection->OnDeadline(pair.now() - 1s, events);
  pair.RunFor(1s);
  EXPECT_EQ(pair.dialler().log(id).stream_closed.size(), 2u);
  EXPECT_TRUE(pair.dialler().IsUp(id));
}

// Small messages share packets; packets share batches; batches obey the kernel (the sink checks).
TEST(QuicWrite, ManySmallMessagesGoInFewPackets) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.RunFor(2s);
  const uint64_t before = pair.dialler().endpoint().Find(id)->stats().sent_datagrams;
  const size_t batches_before = pair.dialler().batches().size();
  for (uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(pair.dialler().SendUni(id, Message(i, 100)));
  pair.RunFor(Duration(1));
  const uint64_t packets = pair.dialler().endpoint().Find(id)->stats().sent_datagrams - before;
  EXPECT_LE(packets, 4u);  // 13 of them fit into one
  const SentBatch& batch = pair.dialler().batches().at(batches_before);
  EXPECT_EQ((batch.bytes + batch.segment_bytes - 1) / batch.segment_bytes, packets);
}

TEST(QuicWrite, BatchesAreCutAsTheKernelWants) {
  QuicPair pair({.link = {.delay = 1ms}});
  const ConnectionId id = pair.Connect();
  const Bytes bulk = Message(1, 5'000'000);
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, bulk);
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 30s));
  size_t largest = 0;
  size_t most = 0;
  for (const SentBatch& batch : pair.dialler().batches()) {
    const size_t count = (batch.bytes + batch.segment_bytes - 1) / batch.segment_bytes;
    ASSERT_LE(count, kBatchDatagramsMax);
    ASSERT_LE(batch.bytes, kBatchBytesMax);
    largest = std::max(largest, batch.segment_bytes);
    most = std::max(most, count);
  }
  EXPECT_EQ(largest, kDatagramBytesMax);  // PMTUD found what passes
  EXPECT_EQ(most, kBatchBytesMax / kDatagramBytesMax);
}

// UDP_SEGMENT cuts at equal distances: behind a shorter datagram nothing may follow in a batch.
TEST(QuicWrite, AShorterDatagramEndsItsBatch) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.RunFor(2s);
  QuicConnection* connection = pair.dialler().endpoint().Mutable(id);
  // Has nothing more after each message, which ends the packet, and then has another after all.
  struct Halting : StreamSource {
    std::optional<StreamChunk> Next() override {
      if (messages.empty() || std::exchange(halt, false)) return std::nullopt;
      return messages.front();
    }
    void OnPacked(StreamId, size_t, bool) override {
      messages.pop_front();
      halt = true;
    }
    void OnRefused(StreamId, WriteRefusal) override {}
    std::deque<StreamChunk> messages;
    bool halt = false;
  } source;
  for (const size_t bytes : {1'000, 500, 500, 1'000, 700, 900, 900, 100}) {
    source.messages.push_back({*connection->OpenUni(), Message(bytes, bytes), true});
  }
  const size_t before = pair.dialler().batches().size();
  QuicEvents events;
  const WriteResult result =
      connection->DrainDatagrams(pair.now(), pair.dialler(), &source, WritePass{}, events);
  EXPECT_EQ(result.datagrams, 8u);
  // 1,000 and 500; 500; 1,000 and 700; 900, 900 and 100 (with some bytes of QUIC's own each).
  std::vector<size_t> counts;
  for (size_t i = before; i < pair.dialler().batches().size(); ++i) {
    const SentBatch& batch = pair.dialler().batches()[i];
    counts.push_back((batch.bytes + batch.segment_bytes - 1) / batch.segment_bytes);
  }
  EXPECT_THAT(counts, testing::ElementsAre(2, 1, 2, 3));
  pair.RunFor(1s);
  EXPECT_EQ(pair.dialler().log(id).stream_closed.size(), 8u);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->stats().lost_stream_packets, 0u);
}

// A budget ends a pass after the packet that used it up; nothing of what is left waits inside.
TEST(QuicWrite, APassStopsAtItsBudgetAndKeepsNothing) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.RunFor(2s);
  QuicConnection* connection = pair.dialler().endpoint().Mutable(id);
  MessageSource source;
  const StreamId stream = *connection->OpenUni();
  const Bytes bulk = Message(1, 1'000'000);
  source.Add(stream, bulk, true);
  QuicEvents events;
  const uint64_t credit = connection->max_data_left();
  const WriteResult result = connection->DrainDatagrams(
      pair.now(), pair.dialler(), &source, {.goal = WriteGoal::kData, .bytes_max = 4'000}, events);
  EXPECT_EQ(result.stop, WriteStop::kBudget);
  EXPECT_GE(result.bytes, 4'000u);
  EXPECT_LT(result.bytes, 4'000u + kDatagramBytesMax);
  // What left the source is what is in packets.
  const size_t taken = bulk.size() - source.Next()->data.size();
  EXPECT_EQ(credit - connection->max_data_left(), taken);
  EXPECT_LT(taken, result.bytes);
  // An envelope that comes now goes in the very next packet.
  MessageSource envelope;
  const StreamId urgent = *connection->OpenUni();
  envelope.Add(urgent, Message(2, 300), true);
  const WriteResult next = connection->DrainDatagrams(pair.now(), pair.dialler(), &envelope,
                                                      {.goal = WriteGoal::kData}, events);
  EXPECT_EQ(next.datagrams, 1u);
  EXPECT_LT(next.bytes, 400u);
  EXPECT_TRUE(envelope.empty());
}

TEST(QuicWrite, APassWithoutDataCostsNothing) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  QuicConnection* connection = pair.dialler().endpoint().Mutable(id);
  MessageSource empty;
  QuicEvents events;
  const WriteResult result = connection->DrainDatagrams(pair.now(), pair.dialler(), &empty,
                                                        {.goal = WriteGoal::kData}, events);
  EXPECT_EQ(result.datagrams, 0u);
  EXPECT_EQ(result.stop, WriteStop::kNothingLeft);
}

// Nothing is built while the socket is blocked, because what is built counts as sent.
TEST(QuicWrite, ABlockedSinkHoldsEverythingBack) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.RunFor(2s);
  pair.dialler().set_blocked(true);
  const uint64_t sent = pair.dialler().endpoint().Find(id)->stats().sent_bytes;
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, Message(1, 10'000));
  pair.RunFor(500ms);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->stats().sent_bytes, sent);
  EXPECT_EQ(pair.dialler().source(id).queued(), 1u);
  EXPECT_THAT(pair.dialler().endpoint().NeedFlush(), testing::ElementsAre(id));
  pair.dialler().set_blocked(false);
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 2s));
}

TEST(QuicWrite, StatsTellWhatIsInFlight) {
  QuicPair pair({.link = {.delay = 20ms}});
  const ConnectionId id = pair.Connect();
  pair.RunFor(2s);
  const QuicConnection* connection = pair.dialler().endpoint().Find(id);
  const ConnectionStats before = connection->stats();
  EXPECT_EQ(before.in_flight_bytes, 0u);
  ASSERT_TRUE(pair.dialler().SendUni(id, Message(1, 5'000)));
  pair.RunFor(1ms);
  const ConnectionStats during = connection->stats();
  EXPECT_GT(during.in_flight_bytes, 5'000u);
  EXPECT_EQ(during.put_in_flight_bytes - before.put_in_flight_bytes, during.in_flight_bytes);
  pair.RunFor(200ms);
  const ConnectionStats after = connection->stats();
  EXPECT_EQ(after.in_flight_bytes, 0u);
  EXPECT_EQ(after.put_in_flight_bytes, during.put_in_flight_bytes);
  EXPECT_GE(after.latest_rtt, 40ms);
  EXPECT_GE(after.smoothed_rtt, 40ms);
  EXPECT_GT(after.cwnd_bytes, 0u);
}

// A tunnel passes less than Ethernet: the largest size that passes is found, and no larger is used.
TEST(QuicWrite, PathMtuIsFound) {
  QuicPair pair({.link = {.delay = 1ms, .mtu = 1'410}});
  const ConnectionId id = pair.Connect();
  pair.RunFor(20s);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->path_datagram_bytes_max(), 1'400u);
  const size_t before = pair.dialler().batches().size();
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, Message(1, 200'000));
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 5s));
  for (size_t i = before; i < pair.dialler().batches().size(); ++i) {
    EXPECT_LE(pair.dialler().batches()[i].segment_bytes, 1'400u);
  }
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->stats().lost_stream_packets, 0u);
}

// The same seed gives the same sizes at the same times, losses included; another seed does not.
TEST(QuicPair, IsDeterministic) {
  const auto run = [](uint64_t seed) {
    QuicPair pair({.seed = seed, .link = {.delay = 5ms, .jitter = 3ms, .loss = 0.03}});
    const ConnectionId id = pair.Connect();
    for (uint64_t i = 0; i < 200; ++i) {
      EXPECT_TRUE(pair.dialler().SendUni(id, Message(i, 100 + 37 * i)));
    }
    pair.RunFor(10s);
    EXPECT_EQ(pair.dialler().log(id).stream_closed.size(), 200u);
    return std::pair(pair.trace(), pair.datagrams());
  };
  EXPECT_EQ(run(5), run(5));
  EXPECT_NE(run(5).first, run(6).first);
}

}  // namespace
}  // namespace overlay::transport
