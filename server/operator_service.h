// server/operator_service.h
//
// Service Operator: what operators and tools ask. No session; each call is answered in the turn
// that read it.
#ifndef OVERLAY_SERVER_OPERATOR_SERVICE_H_
#define OVERLAY_SERVER_OPERATOR_SERVICE_H_

#include <optional>
#include <vector>

#include "flood/core_io.h"
#include "overlay/v1/operator.pb.h"
#include "server/log.h"
#include "server/rpc_server.h"

namespace overlay::server {

// The daemon, as its operators see it.
class OperatorSource {
 public:
  virtual ~OperatorSource() = default;
  virtual v1::StatusResponse Status(Time now) = 0;
  virtual v1::MetricsResponse Metrics(Time now) = 0;
  virtual std::vector<v1::PeerDetail> ListPeers(Time now) = 0;
  virtual std::vector<v1::NameDetail> ListNames(Time now) = 0;
  virtual v1::TransactionTrace TraceTransaction(Time now, const TxHash& hash) = 0;
  virtual v1::SetTrace TraceSet(Time now, const SetKey& key) = 0;
  virtual grpc::Status Connect(Time now, flood::PeerEntry entry) = 0;
  virtual std::vector<v1::BanDetail> ListBans(Time now) = 0;
  virtual grpc::Status Ban(Time now, flood::OperatorBan ban) = 0;
  virtual grpc::Status Unban(Time now, const NodeKey& key) = 0;
  virtual grpc::Status Disconnect(Time now, flood::OperatorDisconnect disconnect) = 0;
  // Begins the drain unless it has begun; what is left of its time.
  virtual Duration DrainNow(Time now) = 0;
  // The level in force after it.
  virtual LogLevel SetLogLevel(std::optional<LogLevel> level) = 0;
};

std::vector<RpcMethod> OperatorMethods(OperatorSource* source);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_OPERATOR_SERVICE_H_
