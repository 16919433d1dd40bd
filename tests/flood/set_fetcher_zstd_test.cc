// R11 of set_fetcher.h: sets that come compressed.
#include <string>

#include "flood/base/compress.h"
#include "gmock/gmock.h"
#include "tests/flood/set_fetcher_fixture.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class SetFetcherZstdTest : public SetFetcherTest {
 protected:
  void Path(uint64_t peer, Duration rtt) { fetcher_.OnPeerPath(PeerId{peer}, rtt); }
  void FrameHeader(uint64_t peer, uint64_t total_bytes, uint64_t encoded_bytes) {
    const SetHeader header{true, SetEncoding::kZstd, total_bytes, encoded_bytes};
    fetcher_.OnHeader(now_, {PeerId{peer}, request_of_[peer], header}, out_);
  }
  void ServeFrame(uint64_t peer, uint64_t total_bytes, const Bytes& frame) {
    FrameHeader(peer, total_bytes, frame.size());
    Data(peer, frame);
    End(peer, true);
  }
  static Bytes FrameOf(const Bytes& content) { return *ZstdCompress(content.span()); }
  // What has gone to the worker; forgets nothing else.
  std::vector<Compute> AtWorker() { return Computes(out_); }
  void Answer(const Computed& computed) {
    if (compute_.OnComputed(computed, out_)) fetcher_.OnComputed(now_, computed, fetched_, out_);
  }
  // Lets peer 1, far away, be asked for `content`, and gives it to the worker as `frame`.
  Compute BringToWorker(const Bytes& content, const Bytes& frame) {
    Connect({1, 2});
    Path(1, 20ms);
    EXPECT_TRUE(CoreFetch(KeyOf(content), std::nullopt, {PeerId{1}, PeerId{2}}));
    EXPECT_THAT(Asked(), ElementsAre(1));
    ServeFrame(1, content.size(), frame);
    const std::vector<Compute> computes = AtWorker();
    EXPECT_THAT(computes, SizeIs(1));
    EXPECT_THAT(Asked(), IsEmpty());
    return computes.empty() ? Compute() : computes[0];
  }

  const Bytes large_ = Content(200'000, 3);
};

TEST_F(SetFetcherZstdTest, WhatIsNearIsAskedForPlain) {
  Connect({1, 2, 3});
  Path(1, 2ms);
  Path(2, 2ms + 1us);  // of 3 nothing is known
  for (const uint64_t peer : {1, 2, 3}) {
    ASSERT_TRUE(
        CoreFetch(KeyOf(Content(10, static_cast<uint8_t>(peer))), std::nullopt, {PeerId{peer}}));
    ASSERT_THAT(Asked(), ElementsAre(peer));
  }
  EXPECT_FALSE(takes_zstd_of_[1]);
  EXPECT_TRUE(takes_zstd_of_[2]);
  EXPECT_FALSE(takes_zstd_of_[3]);
}

// 200,000 bytes in 4 ms are 50 MB/s.
TEST_F(SetFetcherZstdTest, AKnownRateCountsMoreThanTheRoundTrip) {
  const auto measure = [&](uint64_t peer, Duration took) {
    ASSERT_TRUE(CoreFetch(KeyOf(large_), std::nullopt, {PeerId{peer}}));
    ASSERT_THAT(Asked(), ElementsAre(peer));
    Header(peer, large_.size());
    now_ += took;
    Data(peer, large_);
    End(peer, true);
    ASSERT_TRUE(CoreFetch(key_, std::nullopt, {PeerId{peer}}));
    ASSERT_THAT(Asked(), ElementsAre(peer));
    fetcher_.Cancel(now_, key_, out_);
    Asked();
  };
  Connect({1, 2});
  Path(1, 20ms);
  measure(1, 4ms);
  EXPECT_FALSE(takes_zstd_of_[1]);
  measure(2, 4ms + 1us);
  EXPECT_TRUE(takes_zstd_of_[2]);
}

TEST_F(SetFetcherZstdTest, QuorumSetsAndRangesAreAskedForPlain) {
  Connect({1, 2});
  for (const uint64_t peer : {1, 2}) Path(peer, 20ms);
  ASSERT_TRUE(CoreFetch(KeyOf(content_, SetKind::kQuorumSet), std::nullopt, {PeerId{1}}));
  ASSERT_THAT(Asked(), ElementsAre(1));
  EXPECT_FALSE(takes_zstd_of_[1]);
  ASSERT_TRUE(CoreFetch(KeyOf(large_), std::nullopt, {PeerId{1}, PeerId{2}}));
  ASSERT_THAT(Asked(), ElementsAre(1));
  EXPECT_TRUE(takes_zstd_of_[1]);
  Header(1, large_.size());  // it may be plain all the same
  Data(1, large_.Slice(0, 100'000));
  End(1, false);
  ASSERT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 100'000u);
  EXPECT_FALSE(takes_zstd_of_[2]);
  Serve(2, large_);
  EXPECT_THAT(fetched_, SizeIs(1));
}

TEST_F(SetFetcherZstdTest, ASmallFrameIsInflatedAtOnce) {
  const Bytes small = Content(64 * kKiB, 1);
  Connect({1});
  Path(1, 20ms);
  ASSERT_TRUE(CoreFetch(KeyOf(small)));
  ASSERT_THAT(Asked(), ElementsAre(1));
  ServeFrame(1, small.size(), FrameOf(small));
  EXPECT_THAT(AtWorker(), IsEmpty());
  ASSERT_THAT(fetched_, SizeIs(1));
  EXPECT_EQ(fetched_[0].bytes, small);
  EXPECT_EQ(stats_.inflated, 1u);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
}

TEST_F(SetFetcherZstdTest, ALargeOneIsTheWorkersAndTheWantIsContentMeanwhile) {
  const Bytes frame = FrameOf(large_);
  const Compute compute = BringToWorker(large_, frame);
  EXPECT_EQ(compute.kind, Compute::Kind::kInflate);
  EXPECT_EQ(compute.input, frame);
  EXPECT_EQ(compute.inflated_bytes, large_.size());
  EXPECT_THAT(fetched_, IsEmpty());
  EXPECT_EQ(fetcher_.bytes_in_progress(), frame.size());
  EXPECT_EQ(fetcher_.NextDeadline(), std::nullopt);
  At(now_ + 10s);
  Path(1, 30ms);
  EXPECT_THAT(Asked(), IsEmpty());
  Answer(RunCompute(compute));
  ASSERT_THAT(fetched_, SizeIs(1));
  EXPECT_EQ(fetched_[0].bytes, large_);
  EXPECT_EQ(fetched_[0].from, PeerId{1});
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  EXPECT_EQ(fetcher_.want_count(), 0u);
  EXPECT_THAT(Asked(), IsEmpty());
  EXPECT_THAT(offenders_, IsEmpty());
}

// Garbage; a byte more or less than announced; another set of the right length.
TEST_F(SetFetcherZstdTest, WhatInflatesToSomethingElseIsAnOffence) {
  const Bytes other = Content(content_.size(), 8);
  const std::vector<Bytes> frames = {Content(100, 9), FrameOf(Content(content_.size() - 1, 7)),
                                     FrameOf(Content(content_.size() + 1, 7)), FrameOf(other)};
  std::vector<uint64_t> expected;
  std::vector<PeerId> named;
  for (uint64_t peer = 1; peer <= frames.size(); ++peer) {
    Connect({peer});
    Path(peer, 20ms);
    named.push_back(PeerId{peer});
  }
  ASSERT_TRUE(CoreFetch(key_, std::nullopt, named));
  for (uint64_t peer = 1; peer <= frames.size(); ++peer) {
    ASSERT_THAT(Asked(), ElementsAre(peer));
    ServeFrame(peer, content_.size(), frames[peer - 1]);
    expected.push_back(peer);
  }
  Asked();
  EXPECT_EQ(offenders_, expected);
  EXPECT_EQ(stats_.bad_frame, 3u);
  EXPECT_EQ(stats_.wrong_hash, 1u);
  EXPECT_THAT(fetched_, IsEmpty());
}

TEST_F(SetFetcherZstdTest, AlsoWhereTheWorkerFoundOut) {
  const Compute compute = BringToWorker(large_, FrameOf(Content(200'001, 3)));
  Answer(RunCompute(compute));
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_THAT(offenders_, ElementsAre(1));
  EXPECT_EQ(stats_.bad_frame, 1u);
  Serve(2, large_);
  EXPECT_THAT(fetched_, SizeIs(1));
}

TEST_F(SetFetcherZstdTest, WhatTheWorkerCouldNotDoIsNobodysFault) {
  const Compute compute = BringToWorker(large_, FrameOf(large_));
  Answer({.id = compute.id, .outcome = Computed::Outcome::kNotDone, .output = {}});
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_THAT(offenders_, IsEmpty());
}

TEST_F(SetFetcherZstdTest, AFrameIsNoLongerThanItsSetAndOnlyWhereItWasAskedFor) {
  Connect({1, 2, 3, 4});
  for (const uint64_t peer : {1, 2, 4}) Path(peer, 20ms);
  ASSERT_TRUE(CoreFetch(KeyOf(large_), std::nullopt, {PeerId{1}, PeerId{2}, PeerId{3}, PeerId{4}}));
  ASSERT_THAT(Asked(), ElementsAre(1));
  FrameHeader(1, 100, 101);
  ASSERT_THAT(Asked(), ElementsAre(2));
  FrameHeader(2, limits_.tx_set_bytes_max + 1, 100);
  ASSERT_THAT(Asked(), ElementsAre(3));
  FrameHeader(3, large_.size(), 100);  // near: it was asked plain
  ASSERT_THAT(Asked(), ElementsAre(4));
  FrameHeader(4, large_.size(), 100);
  Data(4, Content(100, 1));
  Asked();
  EXPECT_THAT(offenders_, ElementsAre(1, 2, 3));
  Data(4, Content(1, 1));
  Asked();
  EXPECT_THAT(offenders_, ElementsAre(1, 2, 3, 4));
}

TEST_F(SetFetcherZstdTest, AFrameThatBrokeOffIsNotContinued) {
  Connect({1, 2});
  Path(1, 20ms);
  ASSERT_TRUE(CoreFetch(KeyOf(large_), std::nullopt, {PeerId{1}, PeerId{2}}));
  ASSERT_THAT(Asked(), ElementsAre(1));
  FrameHeader(1, large_.size(), 150'000);
  Data(1, Content(100'000, 1));
  End(1, false);
  ASSERT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 0u);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
}

TEST_F(SetFetcherZstdTest, WhoGoesWhileTheWorkerHasItsAnswerTakesItAlong) {
  const Compute compute = BringToWorker(large_, FrameOf(large_));
  fetcher_.OnPeerDisconnected(now_, PeerId{1}, out_);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  Answer(RunCompute(compute));
  EXPECT_THAT(fetched_, IsEmpty());
  Serve(2, large_);
  EXPECT_THAT(fetched_, SizeIs(1));
}

TEST_F(SetFetcherZstdTest, AWantThatEndsMeanwhileLeavesNothing) {
  const Compute compute = BringToWorker(large_, FrameOf(large_));
  EXPECT_TRUE(fetcher_.Cancel(now_, KeyOf(large_), out_));
  Asked();
  EXPECT_THAT(cancelled_, IsEmpty());  // its request has ended
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  EXPECT_FALSE(fetcher_.Owns(request_of_[1]));
  Answer(RunCompute(compute));
  EXPECT_THAT(fetched_, IsEmpty());
}

TEST_F(SetFetcherZstdTest, WhatStillWaitsForTheWorkerIsTakenBack) {
  limits_.compute_at_worker_max = 0;
  Connect({1});
  Path(1, 20ms);
  ASSERT_TRUE(CoreFetch(KeyOf(large_)));
  ASSERT_THAT(Asked(), ElementsAre(1));
  ServeFrame(1, large_.size(), FrameOf(large_));
  EXPECT_EQ(compute_stats_.waiting, 1u);
  EXPECT_TRUE(fetcher_.Cancel(now_, KeyOf(large_), out_));
  EXPECT_EQ(compute_stats_.waiting, 0u);
}

}  // namespace
}  // namespace overlay::flood
