// server/core_edge.h
//
// What joins the gRPC edge and the node: the two interfaces through which each speaks to the other,
// so that either can be tested with a fake of the other.
#ifndef OVERLAY_SERVER_CORE_EDGE_H_
#define OVERLAY_SERVER_CORE_EDGE_H_

#include "flood/base/peer_io.h"
#include "flood/base/time.h"
#include "flood/core_io.h"
#include "flood/node_stats.h"

namespace overlay::server {

// The node, as the edge sees it. Outputs may come during the call.
class CoreInputSink {
 public:
  virtual ~CoreInputSink() = default;
  virtual void OnCoreInput(Time now, flood::CoreInput input) = 0;
  virtual const flood::NodeStats& node_stats() const = 0;
};

// The edge, as the node sees it. May call OnCoreInput from within: it is applied after what is
// under way.
class CoreSink {
 public:
  virtual ~CoreSink() = default;
  virtual void OnCoreOutput(Time now, flood::CoreOutput output) = 0;
  // Core or no core.
  virtual void OnPeerNews(Time now, const flood::PeerNews& news) = 0;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_CORE_EDGE_H_
