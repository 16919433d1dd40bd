// server/operator_report.h
//
// What the operator API says, made from what node, transport and sessions count.
#ifndef OVERLAY_SERVER_OPERATOR_REPORT_H_
#define OVERLAY_SERVER_OPERATOR_REPORT_H_

#include <prometheus/metric_family.h>

#include <vector>

#include "flood/node_stats.h"
#include "flood/overlay_node.h"
#include "overlay/v1/operator.pb.h"
#include "server/core_sessions.h"
#include "transport/transport_types.h"

namespace overlay::server {

v1::MetricsResponse ToResponse(const std::vector<prometheus::MetricFamily>& families);
// What the node knows of each peer, and of the connected ones what transport counts. By key, those
// without one last.
std::vector<v1::PeerDetail> ToDetails(Time now, const std::vector<flood::PeerView>& peers,
                                      const std::vector<transport::PeerStats>& connected);
std::vector<v1::BanDetail> ToDetails(Time now, const flood::BanList& bans);
std::vector<v1::NameDetail> ToDetails(Time now, const std::vector<flood::NameView>& names);
v1::TransactionTrace ToTrace(Time now, const flood::TxTrace& trace);
v1::SetTrace ToTrace(Time now, const flood::SetTrace& trace);
// All but what only the daemon knows: identity, addresses, uptime, drain.
v1::StatusResponse ToStatusResponse(Time now, const flood::NodeStats& node,
                                    const CoreSessions& sessions);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_OPERATOR_REPORT_H_
