// server/health_service.h
//
// grpc.health.v1.Health on our own completion queue: the one that gRPC brings starts callback
// threads, which doubles every round trip.
//
// Services
//   "", "overlay.v1.Core", "overlay.v1.Operator"  SERVING until the drain: the API may be called
//   "livez"    SERVING: who answers lives
//   "startupz" SERVING: nothing is answered before the start is done
//   "readyz"   as the page /readyz (health.h)
#ifndef OVERLAY_SERVER_HEALTH_SERVICE_H_
#define OVERLAY_SERVER_HEALTH_SERVICE_H_

#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "server/rpc_server.h"

namespace overlay::server {

class HealthWatch;

class HealthService {
 public:
  std::vector<RpcMethod> Methods();
  // Watchers are told of changes. After SetNotServing() nothing but "livez" and "startupz" serves
  // again.
  void SetNotServing(Time now);
  void SetReady(Time now, bool ready);
  bool is_ready() const { return ready_; }
  // nullopt: there is no such service.
  std::optional<bool> IsServing(std::string_view service) const;

 private:
  friend class HealthWatch;
  bool serving_ = true;
  bool ready_ = false;
  absl::flat_hash_set<HealthWatch*> watches_;  // bounded by the server's calls
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HEALTH_SERVICE_H_
