#include "server/http3/page_workers.h"

#include <sys/resource.h>

namespace overlay::server {
namespace {

// Of nice(1): half as much as could be, so that under a full load there is still some.
constexpr int kPriority = 10;

}  // namespace

void LowerPriority() {
  // On Linux of the calling thread alone. Where it may not be, all goes on as it was.
  (void)setpriority(PRIO_PROCESS, 0, kPriority);
}

PageWorkers::PageWorkers(std::function<void()> wake) : wake_(std::move(wake)) {
  for (size_t i = 0; i < kPageThreads; ++i) threads_.emplace_back([this] { Work(); });
}

PageWorkers::~PageWorkers() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_over_ = true;
    jobs_.clear();
  }
  wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool PageWorkers::Begin(const Http3Asked& asked, const HttpRoute& route) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (jobs_.size() >= kPageQueueMax) return false;
    jobs_.push_back({asked, &route});
  }
  wanted_.notify_one();
  return true;
}

std::vector<PageWorkers::Made> PageWorkers::Drain() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(made_, {});
}

void PageWorkers::Work() {
  LowerPriority();
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [this] { return is_over_ || !jobs_.empty(); });
    if (is_over_) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    Made made{job.asked.ticket, job.route->page(job.asked.request)};
    lock.lock();
    made_.push_back(std::move(made));
    lock.unlock();
    wake_();
    lock.lock();
  }
}

}  // namespace overlay::server
