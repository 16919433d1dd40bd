// server/daemon_impl.h
//
// What a daemon is made of; daemon.h is the door. Three files of functions: daemon.cc starts it and
// takes up its configuration, daemon_loop.cc is a turn of the loop, and the drain;
// daemon_operator.cc answers operators.
//
// Threads  the loop's, but for RequestStop() and what says otherwise in its own header.
#ifndef OVERLAY_SERVER_DAEMON_IMPL_H_
#define OVERLAY_SERVER_DAEMON_IMPL_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "flood/overlay_node.h"
#include "server/api_gate.h"
#include "server/clock_watch.h"
#include "server/compute_worker.h"
#include "server/core_sessions.h"
#include "server/daemon.h"
#include "server/drain.h"
#include "server/health.h"
#include "server/health_service.h"
#include "server/http3/http3_server.h"
#include "server/http_server.h"
#include "server/listeners.h"
#include "server/log.h"
#include "server/loop_desk.h"
#include "server/metrics.h"
#include "server/node_driver.h"
#include "server/operator_report.h"
#include "server/operator_service.h"
#include "server/pages.h"
#include "server/peer_saver.h"
#include "transport/dns_resolver.h"
#include "transport/event_loop.h"
#include "transport/peer_transport.h"
#include "transport/udp_socket.h"

namespace overlay::server {

class Daemon::Impl : public OperatorSource {
 public:
  Impl(const Config& config, const DaemonOptions& options);
  ~Impl() override;

  absl::Status Start();
  std::string ReadyLine() const;
  void Run();
  void RequestStop() {
    stop_wanted_.store(true);
    loop_->waker().Wake();
  }

  // ---- OperatorSource
  v1::StatusResponse Status(Time now) override;
  v1::MetricsResponse Metrics(Time now) override {
    return ToResponse(CollectMetrics(Sources(now)));
  }
  std::vector<v1::PeerDetail> ListPeers(Time now) override {
    return ToDetails(now, node_->ListPeers(now), transport_->ListPeers(now));
  }
  std::vector<v1::NameDetail> ListNames(Time now) override {
    return ToDetails(now, node_->ListNames());
  }
  std::vector<v1::BanDetail> ListBans(Time now) override { return ToDetails(now, node_->bans()); }
  grpc::Status Ban(Time now, flood::OperatorBan ban) override;
  grpc::Status Unban(Time now, const NodeKey& key) override;
  v1::TransactionTrace TraceTransaction(Time now, const TxHash& hash) override {
    return ToTrace(now, node_->TraceTransaction(hash));
  }
  v1::SetTrace TraceSet(Time now, const SetKey& key) override {
    return ToTrace(now, node_->TraceSet(key));
  }
  grpc::Status Connect(Time now, flood::PeerEntry entry) override;
  grpc::Status Disconnect(Time now, flood::OperatorDisconnect disconnect) override;
  Duration DrainNow(Time now) override {
    StartDrain(now, "operator");
    return drain_.left(now);
  }
  LogLevel SetLogLevel(std::optional<LogLevel> level) override;

 private:
  absl::Status StartSignals();
  absl::Status StartPeers(const SecretSeed& seed);
  absl::Status StartApi();
  absl::Status StartPages();
  absl::Status StartHttp3(std::vector<HttpRoute> pages);
  absl::Status StartPeerFile();
  void Reload(Time now);
  void ConfigureFromFile(Time now);
  std::optional<Time> Turn(Time now);
  bool DrainCompletions(Time now);
  void OnUdp(Time now, transport::FdReady ready);
  std::optional<Time> Write(Time now);
  void StartDrain(Time now, std::string_view why);
  std::optional<Time> AdvanceDrain(Time now);
  void EnterDrainStep(Time now, DrainStep step);
  void LogSharedKeys(Time now);
  void LogRefused(Time now);
  void LogClocks(Time now);
  MetricSources Sources(Time now);
  HealthNeeds needs() const { return {config_.ready_core, config_.ready_peers_min}; }
  HealthFacts facts();
  void UpdateHealth(Time now);
  // The node's answer, as the status of the call that asked.
  grpc::Status Ask(Time now, flood::CoreInput input, std::string_view field,
                   std::string_view not_found);
  void SayFilePeers(const flood::PeersConfigured& configured);

  Config config_;  // as started, but for what Reload() took up
  const DaemonOptions options_;
  Log log_;
  Random random_;
  NodeKey self_;
  NetworkId network_;
  std::string daemon_instance_;
  int signal_fd_ = -1;
  pid_t parent_ = 0;
  std::unique_ptr<transport::EventLoop> loop_;
  std::unique_ptr<transport::UdpSocket> socket_;
  std::unique_ptr<transport::PeerTransport> transport_;
  std::unique_ptr<flood::OverlayNode> node_;
  std::unique_ptr<NodeDriver> driver_;
  std::unique_ptr<transport::DnsResolver> dns_;
  std::unique_ptr<ComputeWorker> worker_;
  std::unique_ptr<PeerSaver> saver_;  // none: nothing is kept
  std::unique_ptr<CompletionMailbox> mailbox_;
  PreparedListeners listeners_;  // the locks live until the server has gone
  std::unique_ptr<CoreSessions> sessions_;
  HealthService health_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<ApiGate> gate_;
  std::vector<int> ports_;          // of the listeners; 0: a unix socket
  std::unique_ptr<LoopDesk> desk_;  // none: there are no pages
  LoopPulse pulse_;
  std::unique_ptr<HttpServer> http_;
  std::thread http_stopper_;
  std::string metrics_address_;
  std::unique_ptr<Http3Server> http3_;

  std::atomic<bool> stop_wanted_{false};
  Drain drain_;
  Time started_{};
  uint64_t keys_shared_ = 0;  // that were logged
  uint64_t refused_ = 0;      // that were logged, or passed over
  bool started_turning_ = false;
  bool watching_writable_ = false;
  bool more_datagrams_ = false;
  Time wall_due_{};
  ClockWatch clock_watch_;
  DaemonStats stats_;
  std::optional<flood::OperatorAnswered> operator_answer_;
  std::vector<transport::Datagram> datagrams_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_DAEMON_IMPL_H_
