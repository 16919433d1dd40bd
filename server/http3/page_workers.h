// server/http3/page_workers.h
//
// Makes pages beside the window's thread: a page may wait for the daemon's loop, and the window may
// not.
//
// Rules
//   R1  A job is refused where kPageQueueMax wait. Why: what waits here is bounded; that one client
//       does not take all of it, the bounds on its connections and streams see to.
//   R2  The first job in is the first out. A result is handed over once, on the thread that asks.
//   R3  They run at a lower priority than the daemon's loop. Why: where processors are few, a page
//       must not take one from an envelope.
//
// Bounds   R1; kPageThreads threads.
// Threads  Begin, Drain: the window's. A page's function runs on a thread of this.
#ifndef OVERLAY_SERVER_HTTP3_PAGE_WORKERS_H_
#define OVERLAY_SERVER_HTTP3_PAGE_WORKERS_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "server/http3/http3_front.h"
#include "server/http_page.h"

namespace overlay::server {

// Two, so that a set that is being compressed does not hold up a probe.
inline constexpr size_t kPageThreads = 2;
// All that one address may ask at once, with the default limits.
inline constexpr size_t kPageQueueMax = 256;
static_assert(kPageQueueMax >= Http3Limits{}.connections_per_address_max() * kHttp3StreamsMax);

// R3, for the calling thread.
void LowerPriority();

class PageWorkers {
 public:
  struct Made {
    Http3Ticket ticket;
    HttpPage page;
  };

  // `wake` is called from a thread of this when there is something to drain.
  explicit PageWorkers(std::function<void()> wake);
  // Waits for the pages that are being made; those that were not begun are dropped.
  ~PageWorkers();
  PageWorkers(const PageWorkers&) = delete;
  PageWorkers& operator=(const PageWorkers&) = delete;

  // False: there is no room. `route` must outlive this.
  bool Begin(const Http3Asked& asked, const HttpRoute& route);
  std::vector<Made> Drain();

 private:
  struct Job {
    Http3Asked asked;
    const HttpRoute* route;
  };
  void Work();

  const std::function<void()> wake_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<Job> jobs_;    // guarded by mutex_, as what follows
  std::vector<Made> made_;  // what was begun bounds it
  bool is_over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_PAGE_WORKERS_H_
