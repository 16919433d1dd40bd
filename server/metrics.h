// server/metrics.h
//
// What the daemon tells Prometheus and the operator: one table of metrics, from which /metrics,
// Operator.Metrics and docs/metrics.md are made.
//
// Rules
//   R1  Counters only grow while the daemon lives. Labels are of a bounded set: never a key, a hash
//       or an address.
//   R2  Everything is read on the loop thread, a scrape at a time: what is counted stays plain
//       numbers.
//
// Cost     some 600 samples: 100 us of the loop and 0.3 ms of the HTTP thread a scrape.
// Threads  the loop.
#ifndef OVERLAY_SERVER_METRICS_H_
#define OVERLAY_SERVER_METRICS_H_

#include <prometheus/metric_family.h>

#include <functional>
#include <string>
#include <vector>

#include "flood/base/time.h"
#include "flood/node_stats.h"
#include "server/api_gate.h"
#include "server/core_sessions.h"
#include "server/daemon_stats.h"
#include "server/http3/http3_limits.h"
#include "transport/clock_offset.h"
#include "transport/quic_endpoint.h"
#include "transport/transport_types.h"
#include "transport/udp_socket.h"

namespace overlay::server {

// Everything that a scrape looks at, valid on the loop thread.
struct MetricSources {
  Time now{};
  Time started{};
  const flood::NodeStats* node = nullptr;
  const transport::TransportStats* transport = nullptr;
  const transport::EndpointCounters* endpoint = nullptr;
  const transport::UdpSocketCounters* socket = nullptr;
  bool gso = false;  // the socket's
  bool gro = false;
  bool ipv6 = false;
  const SessionCounters* sessions = nullptr;
  const DaemonStats* daemon = nullptr;
  transport::PeerClocks clocks;
  bool core_attached = false;
  bool ready = false;
  uint64_t observers = 0;
  uint64_t calls = 0;
  const ApiGateCounters* gate = nullptr;
  uint64_t api_connections = 0;
  const Http3Counters* http3 = nullptr;  // none: there is no window
  std::string version;
};

struct MetricDefinition {
  std::string name;
  prometheus::MetricType type;
  std::string help;
  std::string labels;      // for the page: "class, direction"
  std::string prior;       // what the prior art calls it; empty: new
  std::string worry = {};  // when to; of metric_notes.cc, so that no row is without
  std::function<void(const MetricSources&, prometheus::MetricFamily&)> read;
};

const std::vector<MetricDefinition>& MetricDefinitions();
std::vector<prometheus::MetricFamily> CollectMetrics(const MetricSources& sources);
// docs/metrics.md, whole.
std::string MetricsPage();

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_METRICS_H_
