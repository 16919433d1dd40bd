#include "flood/compute.h"

#include <string>

#include "flood/base/compress.h"
#include "flood/base/crypto.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Bytes Content(size_t size) { return Bytes::Take(std::string(size, 'x')); }

TEST(RunCompute, CompressesAndInflatesWithTheHashOfWhatCameOut) {
  const Bytes content = Content(100'000);
  const Computed frame = RunCompute({7, Compute::Kind::kCompress, content, 0});
  EXPECT_EQ(frame.id, 7u);
  EXPECT_EQ(frame.outcome, Computed::Outcome::kDone);
  EXPECT_LT(frame.output.size(), 1000u);
  const Computed back = RunCompute({8, Compute::Kind::kInflate, frame.output, content.size()});
  EXPECT_EQ(back.id, 8u);
  EXPECT_EQ(back.outcome, Computed::Outcome::kDone);
  EXPECT_EQ(back.output, content);
  EXPECT_EQ(back.sha256, Sha256(content.span()));
}

TEST(RunCompute, AFrameOfAnotherLengthOrNoneIsItsSendersFault) {
  const Bytes frame = *ZstdCompress(Content(100'000).span());
  for (const uint64_t size : {99'999u, 100'001u}) {
    const Computed computed = RunCompute({1, Compute::Kind::kInflate, frame, size});
    EXPECT_EQ(computed.outcome, Computed::Outcome::kBadFrame);
    EXPECT_TRUE(computed.output.empty());
  }
  EXPECT_EQ(RunCompute({1, Compute::Kind::kInflate, Content(100), 100}).outcome,
            Computed::Outcome::kBadFrame);
}

class ComputeQueueTest : public testing::Test {
 protected:
  ComputeQueueTest() {
    limits_.compute_at_worker_max = 2;
    limits_.compute_bytes_max = 1000;
  }
  ~ComputeQueueTest() override { queue_.CheckInvariants(); }

  // What has gone to the worker since the last call.
  std::vector<uint64_t> Begun() {
    queue_.CheckInvariants();
    std::vector<uint64_t> ids;
    for (const Compute& compute : Computes(out_)) ids.push_back(compute.id);
    out_.clear();
    return ids;
  }
  bool Answer(uint64_t id, Computed::Outcome outcome = Computed::Outcome::kDone) {
    return queue_.OnComputed({.id = id, .outcome = outcome, .output = {}}, out_);
  }

  Limits limits_;
  ComputeStats stats_;
  ComputeQueue queue_{limits_, stats_};
  ActionList out_;
};

TEST_F(ComputeQueueTest, TwoAreAtTheWorkerAndInflationsGoBeforeCompressions) {
  const uint64_t a = *queue_.Compress(Content(100), out_);
  const uint64_t b = *queue_.Compress(Content(100), out_);
  const uint64_t c = *queue_.Compress(Content(100), out_);
  const uint64_t d = queue_.Inflate(Content(10), 100, out_);
  const uint64_t e = queue_.Inflate(Content(10), 100, out_);
  EXPECT_THAT(Begun(), ElementsAre(a, b));
  EXPECT_EQ(stats_.waiting, 3u);
  EXPECT_EQ(stats_.at_worker, 2u);
  EXPECT_TRUE(Answer(b));
  EXPECT_THAT(Begun(), ElementsAre(d));
  EXPECT_TRUE(Answer(a));
  EXPECT_THAT(Begun(), ElementsAre(e));
  EXPECT_TRUE(Answer(d));
  EXPECT_THAT(Begun(), ElementsAre(c));
  EXPECT_TRUE(Answer(c));
  EXPECT_TRUE(Answer(e));
  EXPECT_THAT(Begun(), IsEmpty());
  EXPECT_EQ(stats_.begun, 5u);
  EXPECT_EQ(stats_.waiting + stats_.at_worker, 0u);
}

// An inflation counts by what comes out of it, and is taken however much there is.
TEST_F(ComputeQueueTest, ACompressionIsRefusedWhereTooMuchIsAheadOfIt) {
  EXPECT_FALSE(queue_.Compress(Content(1001), out_).has_value());
  const uint64_t a = *queue_.Compress(Content(600), out_);
  EXPECT_FALSE(queue_.Compress(Content(401), out_).has_value());
  const uint64_t b = *queue_.Compress(Content(400), out_);
  EXPECT_FALSE(queue_.Compress(Content(1), out_).has_value());
  EXPECT_EQ(stats_.refused, 3u);
  const uint64_t c = queue_.Inflate(Content(10), 700, out_);
  Answer(a);
  Answer(b);
  EXPECT_THAT(Begun(), ElementsAre(a, b, c));
  EXPECT_FALSE(queue_.Compress(Content(301), out_).has_value());
  EXPECT_TRUE(queue_.Compress(Content(300), out_).has_value());
}

TEST_F(ComputeQueueTest, WhatIsCancelledIsNotBegunAndItsResultDropped) {
  const uint64_t a = queue_.Inflate(Content(10), 500, out_);
  const uint64_t b = queue_.Inflate(Content(10), 500, out_);
  const uint64_t c = queue_.Inflate(Content(10), 500, out_);
  const uint64_t d = queue_.Inflate(Content(10), 500, out_);
  queue_.Cancel(c);
  queue_.Cancel(a);
  EXPECT_EQ(stats_.waiting, 1u);
  EXPECT_FALSE(Answer(a));
  EXPECT_TRUE(Answer(b, Computed::Outcome::kNotDone));
  EXPECT_EQ(stats_.not_done, 1u);
  EXPECT_TRUE(Answer(d));
  EXPECT_THAT(Begun(), ElementsAre(a, b, d));
  EXPECT_TRUE(queue_.Compress(Content(1000), out_).has_value());  // all is accounted for
}

}  // namespace
}  // namespace overlay::flood
