// server/operator_report.h
//
// What the operator API says, made from what node, transport and sessions count.
#ifndef OVERLAY_SERVER_OPERATOR_REPORT_H_
#define OVERLAY_SERVER_OPERATOR_REPORT_H_

#include <prometheus/metric_family.h>

#include <vector>

#include "flood/core_io.h"
#include "flood/node_stats.h"
#include "overlay/v1/operator.pb.h"
#include "server/core_sessions.h"
#include "transport/transport_types.h"

namespace overlay::server {

v1::MetricsResponse ToResponse(const std::vector<prometheus::MetricFamily>& families);
// Connected peers by key. `preferred` and `known` are the file's entries, matched by pinned key.
std::vector<v1::PeerDetail> ToDetails(const std::vector<transport::PeerStats>& peers,
                                      const std::vector<flood::PeerEntry>& preferred,
                                      const std::vector<flood::PeerEntry>& known);
// All but what only the daemon knows: identity, addresses, uptime, drain.
v1::StatusResponse ToStatusResponse(Time now, const flood::NodeStats& node,
                                    const CoreSessions& sessions);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_OPERATOR_REPORT_H_
