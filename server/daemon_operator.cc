// What operators ask of a daemon.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flood/base/crypto.h"
#include "server/daemon_impl.h"
#include "server/session_call.h"

namespace overlay::server {

MetricSources Daemon::Impl::Sources(Time now) {
  stats_.tx_pull = driver_->tx_pull();
  stats_.log_lost = log_.lost();
  if (saver_ != nullptr) {
    stats_.state_written = saver_->report().written;
    stats_.state_failed = saver_->report().failed;
  }
  MetricSources sources;
  sources.now = now;
  sources.started = started_;
  sources.node = &driver_->node_stats();
  sources.transport = &transport_->stats();
  sources.endpoint = &transport_->endpoint_counters();
  sources.socket = &socket_->counters();
  sources.gso = socket_->gso_enabled();
  sources.gro = socket_->gro_enabled();
  sources.ipv6 = socket_->ipv6_enabled();
  sources.sessions = &sessions_->counters();
  sources.daemon = &stats_;
  sources.clocks = transport_->Clocks();
  sources.core_attached = sessions_->core() != nullptr;
  sources.ready = health_.is_ready();
  sources.observers = sessions_->observer_count();
  sources.calls = server_->call_count();
  sources.gate = &gate_->counters();
  sources.api_connections = gate_->connection_count();
  if (http3_ != nullptr) sources.http3 = &http3_->counters();
  sources.version = OVERLAY_VERSION;
  return sources;
}

v1::StatusResponse Daemon::Impl::Status(Time now) {
  v1::StatusResponse status = ToStatusResponse(now, driver_->node_stats(), *sessions_);
  status.set_node_id(ToBytes(self_.view()));
  status.set_node_strkey(ToStrkey(self_));
  status.set_network_id(ToBytes(network_.view()));
  status.set_version("overlayd " OVERLAY_VERSION);
  status.set_uptime_ms(static_cast<uint64_t>(ToMicros(now - started_) / 1000));
  status.set_peer_address(socket_->local_address().ToString());
  status.set_core_address(BoundAddress(config_.api_listen, ports_[0]));
  status.set_operator_address(
      BoundAddress(config_.operator_listen, ports_.size() > 1 ? ports_[1] : 0));
  status.set_metrics_address(metrics_address_);
  if (http3_ != nullptr) status.set_http3_address(http3_->address().ToString());
  status.set_draining(drain_.has_begun());
  status.set_ready(IsReady(needs(), facts()));
  status.set_not_ready(WhyNotReady(CheckHealth(needs(), facts())));
  return status;
}

grpc::Status Daemon::Impl::Ask(Time now, flood::CoreInput input, std::string_view field,
                               std::string_view not_found) {
  operator_answer_.reset();
  driver_->OnCoreInput(now, std::move(input));
  if (!operator_answer_) return {grpc::StatusCode::INTERNAL, "the node did not answer"};
  const auto status = [&](grpc::StatusCode code, std::string_view why) {
    return grpc::Status(code, fmt::format("{}: {}", field, why));
  };
  switch (operator_answer_->outcome) {
    case flood::OperatorAnswered::Outcome::kDone:
      return grpc::Status::OK;
    case flood::OperatorAnswered::Outcome::kRefused:
      return status(grpc::StatusCode::INVALID_ARGUMENT, operator_answer_->detail);
    case flood::OperatorAnswered::Outcome::kFull:
      return status(grpc::StatusCode::RESOURCE_EXHAUSTED, operator_answer_->detail);
    case flood::OperatorAnswered::Outcome::kNotFound:
      return status(grpc::StatusCode::NOT_FOUND, not_found);
  }
  return grpc::Status::OK;
}

grpc::Status Daemon::Impl::Connect(Time now, flood::PeerEntry entry) {
  return Ask(now, flood::OperatorConnect{std::move(entry)}, "address", "");
}

grpc::Status Daemon::Impl::Disconnect(Time now, flood::OperatorDisconnect disconnect) {
  const auto* key = std::get_if<NodeKey>(&disconnect.whom);
  const std::string not_found =
      key != nullptr
          ? fmt::format("{} is neither connected nor an entry of the operator", ToStrkey(*key))
          : fmt::format("{} is no entry of the operator",
                        std::get<flood::PeerEntry>(disconnect.whom).text);
  return Ask(now, std::move(disconnect), "peer", not_found);
}

grpc::Status Daemon::Impl::Ban(Time now, flood::OperatorBan ban) {
  if (ban.key == self_) {
    return {grpc::StatusCode::INVALID_ARGUMENT,
            fmt::format("peer: {} is this node's own key", ToStrkey(self_))};
  }
  grpc::Status status = Ask(now, std::move(ban), "peer", "");
  if (status.ok() && saver_ != nullptr) saver_->Hurry();
  return status;
}

grpc::Status Daemon::Impl::Unban(Time now, const NodeKey& key) {
  grpc::Status status =
      Ask(now, flood::OperatorUnban{key}, "peer", fmt::format("{} is not banned", ToStrkey(key)));
  if (!status.ok()) return status;
  log_.Event(LogLevel::kInfo, "peer_unbanned", {{"peer", ToStrkey(key)}});
  if (saver_ != nullptr) saver_->Hurry();
  return status;
}
LogLevel Daemon::Impl::SetLogLevel(std::optional<LogLevel> level) {
  if (level) {
    log_.SetLevel(*level);
    log_.Event(LogLevel::kInfo, "log_level", {{"level", std::string(LogLevelName(*level))}});
  }
  return log_.level();
}

}  // namespace overlay::server
