#include "flood/set_sources.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

class SetSourcesTest : public testing::Test {
 protected:
  SetSourcesTest() {
    for (uint64_t peer = 1; peer <= 9; ++peer) paces_.OnConnected(PeerId{peer});
  }
  ~SetSourcesTest() override { sources_.CheckInvariants(); }

  // A mebibyte came from it at this rate.
  void Measure(uint64_t peer, uint64_t kib_per_second) {
    paces_.AddAnswer(now_, PeerId{peer}, kMiB, Duration(1024s) / kib_per_second);
  }
  void Add(std::initializer_list<uint64_t> peers, SourceKind kind) {
    for (const uint64_t peer : peers) sources_.Add(PeerId{peer}, kind);
  }
  // In which order they are asked if each fails.
  std::vector<uint64_t> Order() {
    std::vector<uint64_t> order;
    while (Source* const next = sources_.Next(now_, paces_)) {
      sources_.MarkAsked(now_, *next);
      order.push_back(next->peer.value);
      sources_.MarkFailed(next->peer, /*refused_range=*/false, AskState::kNotFound);
    }
    sources_.RetryFailed();
    sources_.CheckInvariants();
    return order;
  }

  Limits limits_;
  PeerPaces paces_{limits_};
  SetSources sources_;
  Time now_{1000s};
};

TEST_F(SetSourcesTest, KindsComeInTheirOrderAndAPeerOnce) {
  Add({8}, SourceKind::kOther);
  Add({3, 4}, SourceKind::kHolder);
  Add({5, 4}, SourceKind::kSender);
  Add({5}, SourceKind::kOther);
  sources_.AddNamed({PeerId{9}, PeerId{3}, PeerId{9}});
  EXPECT_THAT(Order(), ElementsAre(9, 3, 5, 4, 8));
}

TEST_F(SetSourcesTest, FastOnesComeFirstThenUnknownThenSlow) {
  Add({1, 2, 3, 4, 5, 6}, SourceKind::kHolder);
  Measure(2, 400);
  Measure(3, 1000);
  Measure(5, 500);  // half of the best: fast
  Measure(6, 499);
  EXPECT_THAT(Order(), ElementsAre(3, 5, 1, 4, 6, 2));
}

// What is fast is measured against all peers, not against those that happen to be in the list.
TEST_F(SetSourcesTest, ThePeersOutsideTheListSayWhatIsFast) {
  Add({1, 2}, SourceKind::kHolder);
  Measure(2, 400);
  EXPECT_THAT(Order(), ElementsAre(2, 1));
  Measure(9, 1000);
  EXPECT_THAT(Order(), ElementsAre(1, 2));
  paces_.OnDisconnected(PeerId{9});
  EXPECT_THAT(Order(), ElementsAre(2, 1));
}

TEST_F(SetSourcesTest, RatesNeverPassTheBoundsOfKindsNorTheCoresOrder) {
  Add({2, 3}, SourceKind::kHolder);
  Add({4}, SourceKind::kSender);
  sources_.AddNamed({PeerId{5}, PeerId{6}});
  for (const uint64_t fast : {3, 6}) Measure(fast, 1000);
  for (const uint64_t slow : {4, 5}) Measure(slow, 10);
  EXPECT_THAT(Order(), ElementsAre(5, 6, 4, 3, 2));
}

TEST_F(SetSourcesTest, TheNewestAnswerCountsHalf) {
  Measure(1, 1000);
  EXPECT_EQ(paces_.RateOf(now_, PeerId{1}), 1000 * kKiB);
  Measure(1, 500);
  EXPECT_EQ(paces_.RateOf(now_, PeerId{1}), 750 * kKiB);
  EXPECT_EQ(paces_.RateOf(now_, PeerId{2}), std::nullopt);
  EXPECT_EQ(paces_.BestRate(now_), 750 * kKiB);
}

TEST_F(SetSourcesTest, SmallAnswersTellNoRate) {
  paces_.AddAnswer(now_, PeerId{1}, limits_.set_rate_bytes_min - 1, 1s);
  EXPECT_EQ(paces_.RateOf(now_, PeerId{1}), std::nullopt);
  paces_.AddAnswer(now_, PeerId{1}, limits_.set_rate_bytes_min, 1s);
  EXPECT_EQ(paces_.RateOf(now_, PeerId{1}), limits_.set_rate_bytes_min);
  // No time at all is a millisecond.
  paces_.AddAnswer(now_, PeerId{2}, kMiB, 0s);
  EXPECT_EQ(paces_.RateOf(now_, PeerId{2}), kMiB * 1000);
}

TEST_F(SetSourcesTest, ARateIsForgottenAfterAMinute) {
  Measure(1, 1000);
  Measure(2, 10);
  const Time measured = now_;
  now_ = measured + kRateForgottenAfter - 1us;
  EXPECT_EQ(paces_.RateOf(now_, PeerId{1}), 1000 * kKiB);
  now_ = measured + kRateForgottenAfter;
  EXPECT_EQ(paces_.RateOf(now_, PeerId{1}), std::nullopt);
  EXPECT_EQ(paces_.BestRate(now_), std::nullopt);
  Measure(2, 500);  // the first again
  EXPECT_EQ(paces_.RateOf(now_, PeerId{2}), 500 * kKiB);
}

TEST_F(SetSourcesTest, AFirstByteIsDueWithinThreeRoundTripsWithinBounds) {
  EXPECT_EQ(paces_.FirstByteTimeoutOf(PeerId{1}), limits_.set_first_byte_timeout_min);
  paces_.SetRtt(PeerId{1}, 50ms);
  EXPECT_EQ(paces_.FirstByteTimeoutOf(PeerId{1}), 150ms);
  paces_.SetRtt(PeerId{1}, 51ms);
  EXPECT_EQ(paces_.FirstByteTimeoutOf(PeerId{1}), 153ms);
  paces_.SetRtt(PeerId{1}, 334ms);
  EXPECT_EQ(paces_.FirstByteTimeoutOf(PeerId{1}), 1s);
  paces_.SetRtt(PeerId{1}, Duration::max());
  EXPECT_EQ(paces_.FirstByteTimeoutOf(PeerId{1}), 1s);
  paces_.SetRtt(PeerId{77}, 51ms);  // not connected
  EXPECT_EQ(paces_.FirstByteTimeoutOf(PeerId{77}), limits_.set_first_byte_timeout_min);
}

TEST_F(SetSourcesTest, WhoRefusedARangeIsAskedAgainAlone) {
  Add({1, 2, 3}, SourceKind::kHolder);
  for (const uint64_t peer : {1, 2, 3}) {
    sources_.MarkAsked(now_, *sources_.Next(now_, paces_));
    sources_.MarkFailed(PeerId{peer}, /*refused_range=*/peer == 2, AskState::kNotFound);
  }
  EXPECT_FALSE(sources_.HasUntried());
  EXPECT_TRUE(sources_.HasRefusedRange());
  sources_.RetryRefusedRanges();
  EXPECT_FALSE(sources_.HasRefusedRange());
  EXPECT_THAT(Order(), ElementsAre(2));
}

TEST_F(SetSourcesTest, TheListIsBounded) {
  for (uint64_t peer = 0; peer <= kSourceCountMax; ++peer) Add({peer}, SourceKind::kHolder);
  EXPECT_EQ(sources_.size(), kSourceCountMax);
  EXPECT_FALSE(sources_.Contains(PeerId{kSourceCountMax}));
  sources_.AddNamed({PeerId{kSourceCountMax}, PeerId{7}});
  EXPECT_EQ(sources_.size(), kSourceCountMax);
  EXPECT_EQ(sources_.Next(now_, paces_)->peer, PeerId{7});
  sources_.Remove(PeerId{3});
  Add({kSourceCountMax}, SourceKind::kOther);
  EXPECT_TRUE(sources_.Contains(PeerId{kSourceCountMax}));
}

}  // namespace
}  // namespace overlay::flood
