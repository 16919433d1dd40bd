#include "server/compute_worker.h"

#include "flood/base/check.h"
#include "flood/compute.h"

namespace overlay::server {

ComputeWorker::ComputeWorker(transport::LoopWaker* waker)
    : results_(waker, {{.capacity = kWaitingMax, .never_refuses = true}}),
      thread_([this] { Run(); }) {}

ComputeWorker::~ComputeWorker() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    waiting_.clear();
  }
  wanted_.notify_one();
  thread_.join();
}

void ComputeWorker::Begin(flood::Compute compute) {
  const uint64_t id = compute.id;
  bool taken = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.size() < kWaitingMax) {
      waiting_.push_back(std::move(compute));
      taken = true;
    }
  }
  if (taken) {
    wanted_.notify_one();
  } else {
    Answer({.id = id, .outcome = flood::Computed::Outcome::kNotDone, .output = {}});
  }
}

void ComputeWorker::Answer(flood::Computed computed) {
  OVERLAY_CHECK(results_.Post(0, std::move(computed)));  // its lane never refuses
}

void ComputeWorker::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wanted_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (stop_) return;
    const flood::Compute compute = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    Answer(flood::RunCompute(compute));
    lock.lock();
  }
}

}  // namespace overlay::server
