#include "server/compute_worker.h"

#include <memory>
#include <string>

#include "flood/base/crypto.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "transport/event_loop.h"

namespace overlay::server {
namespace {

using flood::Compute;
using flood::Computed;
using testing::ElementsAre;
using testing::SizeIs;

Bytes Content(size_t size) { return Bytes::Take(std::string(size, 'x')); }

class ComputeWorkerTest : public testing::Test {
 protected:
  ComputeWorkerTest() : loop_(*transport::EventLoop::Create()) {
    worker_ = std::make_unique<ComputeWorker>(&loop_->waker());
  }

  // Turns of the loop, which only the worker wakes, until there are `count` results.
  std::vector<Computed> Await(size_t count) {
    std::vector<Computed> results;
    loop_->SetTurnHandler([&](Time now) -> std::optional<Time> {
      const bool more = worker_->Drain([&](Computed& c) { results.push_back(std::move(c)); });
      if (results.size() >= count) loop_->Stop();
      return more ? std::optional<Time>(now) : std::nullopt;
    });
    loop_->Run();
    return results;
  }

  std::unique_ptr<transport::EventLoop> loop_;
  std::unique_ptr<ComputeWorker> worker_;
};

TEST_F(ComputeWorkerTest, ResultsComeBackToTheLoopInOrder) {
  const Bytes content = Content(1'000'000);
  worker_->Begin({1, Compute::Kind::kCompress, content, 0});
  worker_->Begin({2, Compute::Kind::kInflate, Content(10), 10});
  const std::vector<Computed> results = Await(2);
  ASSERT_THAT(results, SizeIs(2));
  EXPECT_EQ(results[0].id, 1u);
  EXPECT_EQ(results[0].outcome, Computed::Outcome::kDone);
  EXPECT_EQ(results[1].id, 2u);
  EXPECT_EQ(results[1].outcome, Computed::Outcome::kBadFrame);
  worker_->Begin({3, Compute::Kind::kInflate, results[0].output, content.size()});
  const std::vector<Computed> back = Await(1);
  ASSERT_THAT(back, SizeIs(1));
  EXPECT_EQ(back[0].output, content);
  EXPECT_EQ(back[0].sha256, Sha256(content.span()));
}

// At most one is at work, so of two more than fit some are refused; each has its answer.
TEST_F(ComputeWorkerTest, EachIsAnsweredOnceAlsoAboveTheBound) {
  const Bytes content = Content(4'000'000);
  const uint64_t count = 3 * ComputeWorker::kWaitingMax;
  for (uint64_t id = 1; id <= count; ++id) {
    worker_->Begin({id, Compute::Kind::kCompress, content, 0});
  }
  std::vector<int> answered(count + 1, 0);
  size_t done = 0;
  for (const Computed& computed : Await(count)) {
    ++answered[computed.id];
    done += computed.outcome == Computed::Outcome::kDone;
  }
  for (uint64_t id = 1; id <= count; ++id) EXPECT_EQ(answered[id], 1) << id;
  EXPECT_GE(done, ComputeWorker::kWaitingMax);
  EXPECT_LT(done, count);
}

// What waits is dropped; what is in hand ends, and nobody reads it.
TEST_F(ComputeWorkerTest, EndsWithWorkQueued) {
  const Bytes content = Content(16'000'000);
  for (uint64_t id = 1; id <= ComputeWorker::kWaitingMax; ++id) {
    worker_->Begin({id, Compute::Kind::kCompress, content, 0});
  }
  worker_.reset();
  EXPECT_LE(content.UseCountForTest(), 1);
}

}  // namespace
}  // namespace overlay::server
