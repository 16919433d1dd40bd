// server/daemon_stats.h
//
// What the daemon itself measures, beside what node and transport count. Plain numbers of the loop
// thread.
#ifndef OVERLAY_SERVER_DAEMON_STATS_H_
#define OVERLAY_SERVER_DAEMON_STATS_H_

#include <cstdint>

#include "transport/transport_types.h"

namespace overlay::server {

struct DaemonStats {
  transport::LatencyCounts turn;          // work of one turn of the loop
  transport::LatencyCounts turn_other;    // of that, what no SCP envelope caused
  transport::LatencyCounts wire_to_core;  // an envelope's datagram to its write to the core
  transport::LatencyCounts set_fetch;     // a core's fetch to the complete set
  transport::LatencyCounts tx_pull;       // a demand to its body
  uint64_t turns = 0;
  uint64_t scrapes = 0;
  uint64_t state_written = 0;  // of the peer file
  uint64_t state_failed = 0;
  uint64_t log_lost = 0;  // lines
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_DAEMON_STATS_H_
