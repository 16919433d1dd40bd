// server/compute_worker.h
//
// The worker thread: what is too long for the loop (flood/action.h, Compute), one after the other.
//
//   ComputeWorker worker(&loop.waker());
//   worker.Begin(std::move(compute));                                   // loop thread
//   worker.Drain([&](flood::Computed& c) { driver.OnComputed(now, std::move(c)); });  // its turn
//
// Rules
//   R1  Each Begin() leads to exactly one result in a later Drain(), unless the worker goes first:
//       above kWaitingMax it is a result that says that nothing was done.
//   R2  Destruction waits for the work in hand (some 10 ms a set) and drops what waits.
//       Why: a drain has 1.7 s in all, and nobody reads the results any more.
//
// Bounds   kWaitingMax actions; the node has two out at a time. Results: as many.
// Cost     two locks and a wake-up an action.
// Threads  Begin, Drain, construction and destruction: the loop thread. Memory is shared with it
//          through Bytes, whose contents never change.
// Not here what is worth computing (flood/compute.h).
#ifndef OVERLAY_SERVER_COMPUTE_WORKER_H_
#define OVERLAY_SERVER_COMPUTE_WORKER_H_

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "flood/action.h"
#include "transport/mailbox.h"

namespace overlay::server {

class ComputeWorker {
 public:
  static constexpr size_t kWaitingMax = 16;

  // `waker` is woken for results, and outlives this.
  explicit ComputeWorker(transport::LoopWaker* waker);
  ~ComputeWorker();
  ComputeWorker(const ComputeWorker&) = delete;
  ComputeWorker& operator=(const ComputeWorker&) = delete;

  void Begin(flood::Compute compute);
  // True: some are left, have another turn.
  template <class Handler>
  bool Drain(Handler&& handle) {
    return results_.Drain(kWaitingMax, [&](size_t, flood::Computed& c) { handle(c); });
  }

 private:
  void Run();
  void Answer(flood::Computed computed);

  transport::Mailbox<flood::Computed> results_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<flood::Compute> waiting_;  // guarded by mutex_
  bool stop_ = false;                   // guarded by mutex_
  std::thread thread_;                  // last: it uses all of the above
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_COMPUTE_WORKER_H_
