// server/pages.h
//
// The daemon's pages, for the metrics port and the HTTP/3 window:
//   /livez     200 while the loop has turned within 5 s
//   /readyz    200 when a core and enough peers are there, else 503 and what is missing (health.h)
//   /startupz  200 from the first turn on
//   /status    JSON, as `overlayctl status --json`
//   /peers     JSON, as `overlayctl peers --json`
//   /metrics   Prometheus' text format
//   /          for people: a page that shows the others, live (web/page.html)
//
// Rules
//   R1  A page is made at most every 250 ms, whoever asks how often: a flood of requests costs the
//       loop four questions a second and page.
//   R2  The loop gathers figures; the text is made by the thread that asks.
//   R3  A loop that does not answer within a second is a 503 that says so, never a hanging request.
//
// Threads  Routes' functions: any. `sources`' functions: the loop.
#ifndef OVERLAY_SERVER_PAGES_H_
#define OVERLAY_SERVER_PAGES_H_

#include <prometheus/metric_family.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <vector>

#include "flood/base/time.h"
#include "overlay/v1/operator.pb.h"
#include "server/health.h"
#include "server/http_page.h"
#include "server/loop_desk.h"

namespace overlay::server {

// What a turn leaves for /livez. Written by the loop.
struct LoopPulse {
  std::atomic<Time> turned{Time{}};
};

struct PageSources {
  std::function<v1::StatusResponse(Time)> status;
  std::function<std::vector<v1::PeerDetail>(Time)> peers;
  std::function<std::vector<prometheus::MetricFamily>(Time)> metrics;
  std::function<std::vector<HealthCheck>(Time)> health;
  // The monotonic clock, for any thread.
  std::function<Time()> read_clock;
};

// `desk` and `pulse` outlive the routes.
std::vector<HttpRoute> MakePages(LoopDesk* desk, const LoopPulse* pulse,
                                 const PageSources& sources);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_PAGES_H_
