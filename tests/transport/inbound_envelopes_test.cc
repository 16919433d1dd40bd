#include "transport/inbound_envelopes.h"

#include <string>

#include "gtest/gtest.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;
using Outcome = InboundEnvelopes::Outcome;

class InboundEnvelopesTest : public testing::Test {
 protected:
  Outcome Data(int64_t stream, size_t size, bool fin = false) {
    const std::vector<uint8_t> bytes(size, 'x');
    const Outcome outcome = envelopes_.OnData(stream, bytes, fin, envelope_);
    envelopes_.CheckInvariants();
    return outcome;
  }
  InboundEnvelopes envelopes_{InboundEnvelopes::Options{}};
  Bytes envelope_;
};

TEST_F(InboundEnvelopesTest, PutsPiecesTogether) {
  ASSERT_EQ(envelopes_.OnOpened(3), Outcome::kIncomplete);
  EXPECT_EQ(Data(3, 0), Outcome::kIncomplete);
  EXPECT_EQ(Data(3, 700), Outcome::kIncomplete);
  EXPECT_EQ(Data(3, 300, true), Outcome::kComplete);
  EXPECT_EQ(envelope_, Bytes::Copy(std::string(1000, 'x')));
  EXPECT_EQ(envelopes_.cost_bytes(), 0u);
  EXPECT_EQ(Data(3, 1), Outcome::kIgnored);
}

TEST_F(InboundEnvelopesTest, LimitsOneEnvelope) {
  envelopes_.OnOpened(3);
  EXPECT_EQ(Data(3, 64 * kKiB, true), Outcome::kComplete);
  envelopes_.OnOpened(7);
  EXPECT_EQ(Data(7, 64 * kKiB + 1, true), Outcome::kTooLarge);
  envelopes_.OnOpened(11);
  EXPECT_EQ(Data(11, 64 * kKiB), Outcome::kIncomplete);
  EXPECT_EQ(Data(11, 1), Outcome::kTooLarge);
  envelopes_.OnOpened(15);
  EXPECT_EQ(Data(15, 0, true), Outcome::kEmpty);
}

// 93 streams without a first byte fit into 1 MiB at 11 KiB each; the 94th does not.
TEST_F(InboundEnvelopesTest, CountsStreamsWithoutAFirstByte) {
  for (int64_t i = 0; i < 93; ++i) ASSERT_EQ(envelopes_.OnOpened(4 * i + 3), Outcome::kIncomplete);
  EXPECT_EQ(envelopes_.cost_bytes(), 93 * kUnknownStreamCostBytes);
  EXPECT_EQ(envelopes_.OnOpened(4000), Outcome::kOverBudget);
  envelopes_.OnOtherKind(3);
  EXPECT_EQ(envelopes_.OnOpened(4000), Outcome::kIncomplete);
}

TEST_F(InboundEnvelopesTest, CountsBytesAndARecordAfterTheFirst) {
  envelopes_.OnOpened(3);
  Data(3, 100);
  EXPECT_EQ(envelopes_.cost_bytes(), 100 + 1 * kKiB);
  for (int64_t i = 1; i <= 15; ++i) {
    envelopes_.OnOpened(4 * i + 3);
    ASSERT_EQ(Data(4 * i + 3, 64 * kKiB), Outcome::kIncomplete);
  }
  envelopes_.OnOpened(4000);
  EXPECT_EQ(Data(4000, 48 * kKiB), Outcome::kOverBudget);
  EXPECT_EQ(Data(4000, 40 * kKiB), Outcome::kIncomplete);
}

TEST_F(InboundEnvelopesTest, CompletesWithoutRoomForMore) {
  for (int64_t i = 0; i < 92; ++i) envelopes_.OnOpened(4 * i + 3);
  envelopes_.OnOpened(4000);
  EXPECT_EQ(Data(4000, 60'000, true), Outcome::kComplete);
}

// Exactly 10 s in which other data came, not a microsecond less.
TEST_F(InboundEnvelopesTest, ExpiresAfterTenSecondsOfOtherData) {
  Time now{};
  envelopes_.OnPeerData(now);
  envelopes_.OnOpened(3);
  Data(3, 10);
  for (int i = 0; i < 5; ++i) envelopes_.OnPeerData(now += 2s - (i == 0 ? 1us : 0us));
  EXPECT_TRUE(envelopes_.Expire().empty());
  envelopes_.OnPeerData(now += 1us);
  EXPECT_EQ(envelopes_.Expire(), std::vector<int64_t>{3});
}

TEST_F(InboundEnvelopesTest, ProgressStartsTheTimeAgain) {
  Time now{};
  envelopes_.OnPeerData(now);
  envelopes_.OnOpened(3);
  envelopes_.OnOpened(7);
  for (int i = 0; i < 5; ++i) envelopes_.OnPeerData(now += 1s);
  Data(3, 1);
  for (int i = 0; i < 5; ++i) envelopes_.OnPeerData(now += 1s);
  EXPECT_EQ(envelopes_.Expire(), std::vector<int64_t>{7});
}

// After a dead path everything is late; that is not the peer's doing.
TEST_F(InboundEnvelopesTest, ASilentPathIsNoOffence) {
  Time now{};
  envelopes_.OnPeerData(now);
  envelopes_.OnOpened(3);
  envelopes_.OnPeerData(now += 60s);
  envelopes_.OnPeerData(now += 60s);
  EXPECT_TRUE(envelopes_.Expire().empty());
}

TEST_F(InboundEnvelopesTest, CountsWhatWasRefusedUntilItCloses) {
  for (int64_t i = 0; i < 64; ++i) {
    envelopes_.OnOpened(i);
    envelopes_.OnRefused(i);
  }
  EXPECT_EQ(envelopes_.cost_bytes(), 0u);
  EXPECT_FALSE(envelopes_.TooManyRefused());
  EXPECT_EQ(Data(5, 10), Outcome::kIgnored);
  envelopes_.OnRefused(64);
  EXPECT_TRUE(envelopes_.TooManyRefused());
  envelopes_.OnClosed(5);
  EXPECT_FALSE(envelopes_.TooManyRefused());
}

}  // namespace
}  // namespace overlay::transport
