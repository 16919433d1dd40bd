// What a transport sends to a peer that grants little, or wants less.
#include "transport/session_writer.h"

#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/support/peer_net.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

constexpr size_t kRaw = 1;
constexpr size_t kEnvelopeBytes = 64 * kKiB;
constexpr uint64_t kNoToken = 0;
constexpr size_t kWindowBytes = 1 * kMiB;  // the least that a peer may grant

class SessionWriterTest : public testing::Test {
 protected:
  SessionWriterTest() : net_({.delay = 10ms}) { net_.AddNode(); }
  void JoinRaw(const RawPeer::Options& options) {
    net_.AddRaw(options);
    ASSERT_TRUE(net_.JoinRaw(kRaw, 0));
    net_.Run(100ms);
  }
  // Takes 1 MiB and never more.
  void JoinMiser() {
    RawPeer::Options options;
    options.returns_credit = false;
    options.endpoint.quic.connection_window_bytes = kWindowBytes;
    JoinRaw(options);
  }
  RawPeer& raw() { return net_.raw(kRaw); }
  PeerId peer() { return *net_.PeerAt(0, kRaw); }
  // Written in one turn.
  void SendEnvelopes(size_t count, size_t bytes) {
    for (size_t i = 0; i < count; ++i) {
      const Bytes envelope = Bytes::Copy(std::string(bytes, 'e'));
      net_.at(0).Execute(net_.now(), SendEnvelope{peer(), {++last_token_}, {100}, envelope});
    }
    net_.Do(0, CancelEnvelope{peer(), {kNoToken}});
  }
  // Envelopes that the peer got whole, or of which it got a part.
  size_t CountEnvelopes(bool whole) {
    size_t count = 0;
    for (const auto& [id, stream] : raw().streams()) {
      count += stream.bytes[0] == static_cast<char>(StreamKind::kScp) && stream.fin == whole;
    }
    return count;
  }
  size_t BytesReceived() {
    size_t bytes = 0;
    for (const auto& [id, stream] : raw().streams()) bytes += stream.bytes.size();
    return bytes;
  }

  PeerNet net_;
  uint64_t last_token_ = 0;
};

// 15 envelopes of the largest kind fit into 1 MiB. The 16th is not begun.
TEST_F(SessionWriterTest, BeginsNoEnvelopeThatCreditDoesNotCover) {
  JoinMiser();
  SendEnvelopes(20, kEnvelopeBytes);
  net_.Run(2s);
  EXPECT_EQ(CountEnvelopes(true), 15u);
  EXPECT_EQ(CountEnvelopes(false), 0u);
}

// Announcements get their share beside a long envelope, but not the credit of its rest.
TEST_F(SessionWriterTest, LeavesABegunEnvelopeItsCredit) {
  JoinMiser();
  SendEnvelopes(15, kEnvelopeBytes);
  ASSERT_TRUE(net_.RunUntil([&] { return CountEnvelopes(true) == 15; }, 2s));
  net_.Run(100ms);
  const size_t left_bytes = kWindowBytes - BytesReceived();
  ASSERT_LT(left_bytes, kEnvelopeBytes);
  const Inv inv{std::vector<InvEntry>(1000, {HashOf<TxHash>({}), 1, Lane::kClassic, 100})};
  net_.at(0).Execute(net_.now(), SendTxControl{peer(), inv});
  SendEnvelopes(1, left_bytes - 200);
  net_.Run(1s);
  EXPECT_EQ(CountEnvelopes(true), 16u);
  EXPECT_EQ(BytesReceived(), kWindowBytes) << "announcements got the rest";
}

// A set takes all but 256 KiB of the credit, and envelopes find that.
TEST_F(SessionWriterTest, KeepsCreditForEnvelopesWhenASetTakesTheRest) {
  JoinMiser();
  const Bytes ask = EncodeSetRequest({{SetKind::kTxSet, HashOf<SetHash>({})}, false, 0});
  ASSERT_TRUE(raw().Bidi("\x05" + std::string(ask.view()), true));
  net_.WriteRaw(kRaw);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<SetRequested>(0) == 1; }, 1s));
  const SetRequested asked = net_.All<SetRequested>(0)[0];
  const Bytes set = Bytes::Copy(std::string(2 * kMiB, 's'));
  net_.Do(
      0,
      AnswerSet{
          asked.peer, asked.request, {true, SetEncoding::kIdentity, set.size(), set.size()}, set});
  net_.Run(2s);
  EXPECT_EQ(BytesReceived(), kWindowBytes - kBulkCreditReserveBytes);
  SendEnvelopes(3, kEnvelopeBytes);
  net_.Run(1s);
  EXPECT_EQ(CountEnvelopes(true), 3u);
}

// A peer that grants credit for everything and acknowledges nothing holds 4 MiB of our memory.
TEST_F(SessionWriterTest, BoundsWhatIsUnacknowledged) {
  RawPeer::Options options;
  options.endpoint.quic.connection_window_bytes = 64 * kMiB;
  JoinRaw(options);
  const auto cwnd_bytes = [&] { return net_.at(0).ListPeers(net_.now())[0].connection.cwnd_bytes; };
  for (int i = 0; i < 100 && cwnd_bytes() < 5 * kMiB; ++i) {
    SendEnvelopes(32, kEnvelopeBytes);
    net_.Run(20ms);
  }
  ASSERT_GE(cwnd_bytes(), 5 * kMiB);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.at(0).flushed(); }, 5s));
  net_.set_filter([](size_t from, size_t, size_t) { return from == 0; });
  for (int i = 0; i < 4; ++i) {
    SendEnvelopes(30, kEnvelopeBytes);
    net_.Run(30ms);
  }
  const PeerStats stats = net_.at(0).ListPeers(net_.now())[0];
  EXPECT_EQ(stats.envelopes_unacknowledged,
            kUnacknowledgedBytesMax / (1 + kEnvelopeBytes + kEnvelopeRecordBytes));
  EXPECT_TRUE(stats.blocked);
}

// All of it was written, and a part has come.
TEST_F(SessionWriterTest, AWrittenEnvelopeThatThePeerStoppedCountsAsDropped) {
  JoinRaw({});
  bool first = true;
  net_.set_filter(
      [&](size_t from, size_t, size_t) { return from != 0 || std::exchange(first, false); });
  SendEnvelopes(1, 8000);
  net_.set_filter({});
  ASSERT_TRUE(net_.RunUntil([&] { return CountEnvelopes(false) == 1; }, 1s));
  raw().Stop(raw().streams().rbegin()->first, StreamCode::kTooLarge);
  net_.WriteRaw(kRaw);
  net_.Run(1s);
  ASSERT_EQ(net_.Count<EnvelopeDone>(0), 1u);
  EXPECT_EQ(net_.All<EnvelopeDone>(0)[0].outcome, EnvelopeDone::Outcome::kDropped);
}

TEST_F(SessionWriterTest, AnEnvelopeThatThePeerStoppedCountsAsDropped) {
  JoinRaw({});
  SendEnvelopes(1, kEnvelopeBytes);
  ASSERT_TRUE(net_.RunUntil([&] { return CountEnvelopes(false) == 1; }, 1s));
  raw().Stop(raw().streams().rbegin()->first, StreamCode::kTooLarge);
  net_.WriteRaw(kRaw);
  net_.Run(1s);
  ASSERT_EQ(net_.Count<EnvelopeDone>(0), 1u);
  EXPECT_EQ(net_.All<EnvelopeDone>(0)[0].outcome, EnvelopeDone::Outcome::kDropped);
  EXPECT_EQ(net_.at(0).stats().envelopes_dropped, 1u);
  SendEnvelopes(1, 300);
  net_.Run(1s);
  ASSERT_EQ(net_.Count<EnvelopeDone>(0), 2u);
  EXPECT_EQ(net_.All<EnvelopeDone>(0)[1].outcome, EnvelopeDone::Outcome::kAcknowledged);
}

}  // namespace
}  // namespace overlay::transport
