// client-sdk/demo-core/task_queue.h
//
// TaskQueue: work that threads hand to one thread, in order.
//
// A full queue makes Post wait, which holds up the client's thread that posts and so, in the end,
// the daemon's stream: nothing is lost and nothing grows. After Close, Post drops and Run ends.
// Threads: Post and Close from any, the rest from the one that works.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_TASK_QUEUE_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_TASK_QUEUE_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

#include "flood/base/time.h"

namespace overlay::demo {

// CLOCK_MONOTONIC, which all processes of a machine share.
inline Time MonotonicNow() {
  return Time(
      std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

inline uint64_t WallSeconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

class TaskQueue {
 public:
  using Task = std::function<void()>;
  // A second of everything at full load.
  static constexpr size_t kTasksMax = 20'000;

  void Post(Task task) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || tasks_.size() < kTasksMax; });
    if (closed_) return;
    tasks_.push_back(std::move(task));
    changed_.notify_all();
  }
  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  // Runs the next task, waiting for it until `deadline`. False: closed.
  bool RunOne(Time deadline) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      const auto ready = [this] { return closed_ || !tasks_.empty(); };
      if (deadline == kTimeNever) {
        changed_.wait(lock, ready);
      } else {
        changed_.wait_until(
            lock, std::chrono::steady_clock::time_point(deadline.time_since_epoch()), ready);
      }
      if (closed_) return false;
      if (tasks_.empty()) return true;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      changed_.notify_all();
    }
    task();
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool closed_ = false;
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_TASK_QUEUE_H_
