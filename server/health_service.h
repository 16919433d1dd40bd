// server/health_service.h
//
// grpc.health.v1.Health on our own completion queue: the one that gRPC brings starts callback
// threads, which doubles every round trip. Services "", "overlay.v1.Core" and
// "overlay.v1.Operator"; SERVING until the drain.
#ifndef OVERLAY_SERVER_HEALTH_SERVICE_H_
#define OVERLAY_SERVER_HEALTH_SERVICE_H_

#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "server/rpc_server.h"

namespace overlay::server {

class HealthWatch;

class HealthService {
 public:
  std::vector<RpcMethod> Methods();
  // From now on NOT_SERVING: watchers are told.
  void SetNotServing(Time now);
  bool is_serving() const { return serving_; }
  static bool IsKnown(std::string_view service);

 private:
  friend class HealthWatch;
  bool serving_ = true;
  absl::flat_hash_set<HealthWatch*> watches_;  // bounded by the server's calls
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HEALTH_SERVICE_H_
