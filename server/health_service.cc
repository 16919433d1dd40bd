#include "server/health_service.h"

#include <fmt/format.h>

#include <memory>
#include <string>

#include "grpc/health/v1/health.pb.h"

namespace overlay::server {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class HealthCheck : public RpcHandler {
 public:
  HealthCheck(const HealthService* service, RpcCall* call) : service_(*service), call_(*call) {}
  void OnStart(Time /*now*/) override { call_.Read(); }
  void OnMessage(Time /*now*/, const grpc::ByteBuffer& message) override {
    HealthCheckRequest request;
    if (!Decode(message, &request)) {
      call_.Finish(
          {grpc::StatusCode::INVALID_ARGUMENT, "not a HealthCheckRequest in protobuf's encoding"});
      return;
    }
    const std::optional<bool> serving = service_.IsServing(request.service());
    if (!serving) {
      call_.Finish({grpc::StatusCode::NOT_FOUND,
                    fmt::format("service: \"{}\" is unknown", request.service().substr(0, 64))});
      return;
    }
    HealthCheckResponse response;
    response.set_status(*serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
    call_.WriteAndFinish(Encode(response), grpc::Status::OK);
  }
  void OnHalfClosed(Time /*now*/) override {
    call_.Finish({grpc::StatusCode::INVALID_ARGUMENT, "no request came"});
  }
  void OnWritten(Time /*now*/) override {}
  void OnEnded(Time /*now*/) override {}

 private:
  const HealthService& service_;
  RpcCall& call_;
};

}  // namespace

class HealthWatch : public RpcHandler {
 public:
  HealthWatch(HealthService* service, RpcCall* call) : service_(*service), call_(*call) {}
  void OnStart(Time /*now*/) override { call_.Read(); }
  void OnMessage(Time /*now*/, const grpc::ByteBuffer& message) override {
    HealthCheckRequest request;
    if (!Decode(message, &request)) {
      call_.Finish(
          {grpc::StatusCode::INVALID_ARGUMENT, "not a HealthCheckRequest in protobuf's encoding"});
      return;
    }
    asked_ = true;
    asked_for_ = request.service();
    service_.watches_.insert(this);
    Tell();
  }
  void OnHalfClosed(Time /*now*/) override {
    if (!asked_) call_.Finish({grpc::StatusCode::INVALID_ARGUMENT, "no request came"});
  }
  void OnWritten(Time /*now*/) override {
    if (std::exchange(tell_again_, false)) Tell();
  }
  void OnEnded(Time /*now*/) override { service_.watches_.erase(this); }

  void Tell() {
    if (call_.is_writing()) {
      tell_again_ = true;
      return;
    }
    const std::optional<bool> serving = service_.IsServing(asked_for_);
    const auto status = !serving   ? HealthCheckResponse::SERVICE_UNKNOWN
                        : *serving ? HealthCheckResponse::SERVING
                                   : HealthCheckResponse::NOT_SERVING;
    if (std::exchange(told_, status) == status) return;
    HealthCheckResponse response;
    response.set_status(status);
    call_.Write(Encode(response));
  }

 private:
  HealthService& service_;
  RpcCall& call_;
  bool asked_ = false;
  std::string asked_for_;
  std::optional<HealthCheckResponse::ServingStatus> told_;
  bool tell_again_ = false;
};

std::vector<RpcMethod> HealthService::Methods() {
  std::vector<RpcMethod> methods(2);
  methods[0].path = "/grpc.health.v1.Health/Check";
  methods[0].make = [this](RpcCall* call) { return std::make_unique<HealthCheck>(this, call); };
  methods[1].path = "/grpc.health.v1.Health/Watch";
  methods[1].make = [this](RpcCall* call) { return std::make_unique<HealthWatch>(this, call); };
  return methods;
}

void HealthService::SetNotServing(Time /*now*/) {
  serving_ = false;
  for (HealthWatch* watch : watches_) watch->Tell();
}

void HealthService::SetReady(Time /*now*/, bool ready) {
  ready_ = ready;
  for (HealthWatch* watch : watches_) watch->Tell();
}

std::optional<bool> HealthService::IsServing(std::string_view service) const {
  if (service.empty() || service == "overlay.v1.Core" || service == "overlay.v1.Operator") {
    return serving_;
  }
  if (service == "readyz") return ready_;
  if (service == "livez" || service == "startupz") return true;
  return std::nullopt;
}

}  // namespace overlay::server
