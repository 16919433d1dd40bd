#include "server/daemon.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

#include "flood/overlay_node.h"
#include "server/api_gate.h"
#include "server/compute_worker.h"
#include "server/core_sessions.h"
#include "server/descriptors.h"
#include "server/drain.h"
#include "server/health_service.h"
#include "server/http_server.h"
#include "server/library_log.h"
#include "server/listeners.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/node_driver.h"
#include "server/operator_report.h"
#include "server/operator_service.h"
#include "server/peer_saver.h"
#include "server/port_holder.h"
#include "server/session_call.h"
#include "server/state_file.h"
#include "transport/dns_resolver.h"
#include "transport/event_loop.h"
#include "transport/node_key_file.h"
#include "transport/peer_transport.h"
#include "transport/udp_socket.h"

namespace overlay::server {
namespace {

// Completions other than SCP's that one turn handles before it looks at the socket again.
constexpr size_t kCompletionsPerTurn = 64;
// One may be a batch of 64 verdicts, so their number alone bounds nothing.
constexpr size_t kCompletionsPerStep = 8;
constexpr Duration kCompletionTimePerTurn = std::chrono::microseconds(150);
// Calls of the socket's Receive a turn, and when no more are made. What was read is handled in the
// same turn, which takes about as long again: with a backlog of small packets all four calls were
// turns of some milliseconds, for which what was behind them had to wait.
constexpr int kReceivesPerTurn = 4;
constexpr Duration kReceiveTimePerTurn = std::chrono::microseconds(100);
// When peers shall dial again, as the goaway says: a restart in place takes less.
constexpr Duration kRedialAfter = std::chrono::seconds(1);
constexpr auto kScrapePatience = std::chrono::milliseconds(1000);
constexpr auto kLastSavePatience = std::chrono::milliseconds(100);

uint64_t SecretRandom() {
  uint64_t value = 0;
  // Never fails once the kernel's pool is ready, which it is before any user process here.
  OVERLAY_CHECK(getrandom(&value, sizeof(value), 0) == static_cast<ssize_t>(sizeof(value)));
  return value;
}

std::optional<Time> Earlier(std::optional<Time> a, std::optional<Time> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

std::string JsonText(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

absl::StatusOr<SecretSeed> LoadKey(const Config& config) {
  if (!config.key_seed.empty()) {
    absl::StatusOr<SecretSeed> seed = SecretSeedFromStrkey(config.key_seed);
    if (!seed.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("environment: OVERLAY_NODE_KEY: what is there (not shown) is not legal, "
                      "expected a secret seed, S... ({})",
                      std::string(seed.status().message())));
    }
    return seed;
  }
  absl::StatusOr<SecretSeed> seed = transport::LoadNodeKeyFile(config.key_file);
  if (!seed.ok()) {
    return absl::InvalidArgumentError(fmt::format(
        "node.key_file: \"{}\" is not usable, expected a key file made by overlayd keygen: {}",
        config.key_file, std::string(seed.status().message())));
  }
  return seed;
}

class Daemon::Impl : public OperatorSource {
 public:
  Impl(const Config& config, const DaemonOptions& options)
      : config_(config),
        options_(options),
        log_(LogLevelFromName(config.log_level).value_or(LogLevel::kInfo), config.log_format),
        random_(SecretRandom()) {}

  ~Impl() override {
    if (signal_fd_ >= 0) close(signal_fd_);
  }

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
  absl::Status StartMetrics();
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
  MetricSources Sources(Time now);
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
  std::vector<int> ports_;  // of the listeners; 0: a unix socket
  std::unique_ptr<MetricsExchange> exchange_;
  std::unique_ptr<HttpServer> http_;
  std::thread http_stopper_;
  std::string metrics_address_;

  std::atomic<bool> stop_wanted_{false};
  Drain drain_;
  Time started_{};
  uint64_t keys_shared_ = 0;  // that were logged
  bool watching_writable_ = false;
  bool more_datagrams_ = false;
  Time wall_due_{};
  DaemonStats stats_;
  std::optional<flood::OperatorAnswered> operator_answer_;
  std::vector<transport::Datagram> datagrams_;
};

// ------------------------------------------------------------------------------------------- start

absl::Status Daemon::Impl::Start() {
  const absl::StatusOr<SecretSeed> seed = LoadKey(config_);
  if (!seed.ok()) return seed.status();
  self_ = PublicKeyOf(*seed);
  network_ = NetworkIdOf(config_.network_passphrase);
  daemon_instance_.resize(16);
  random_.Fork("instance")
      .Fill(absl::MakeSpan(reinterpret_cast<uint8_t*>(daemon_instance_.data()),
                           daemon_instance_.size()));
  absl::StatusOr<std::unique_ptr<transport::EventLoop>> loop = transport::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  if (absl::Status status = StartSignals(); !status.ok()) return status;
  if (absl::Status status = StartPeers(*seed); !status.ok()) return status;
  if (absl::Status status = StartPeerFile(); !status.ok()) return status;
  if (absl::Status status = StartMetrics(); !status.ok()) return status;
  if (absl::Status status = StartApi(); !status.ok()) return status;
  loop_->SetTurnHandler([this](Time now) { return Turn(now); });
  started_ = loop_->ReadClock();
  return absl::OkStatus();
}

absl::Status Daemon::Impl::StartSignals() {
  if (options_.exit_with_parent) {
    parent_ = getppid();
    // SIGTERM to us when the thread that made us ends; the check in Turn covers a parent that was
    // gone before.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
  }
  if (!options_.handle_signals) return absl::OkStatus();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd_ < 0) return absl::InternalError(fmt::format("signalfd: {}", std::strerror(errno)));
  return loop_->Watch(
      signal_fd_, {.read = true, .write = false}, [this](Time now, transport::FdReady /*ready*/) {
        signalfd_siginfo info;
        while (read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
          if (info.ssi_signo == SIGHUP) {
            Reload(now);
          } else {
            StartDrain(now, info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
          }
        }
      });
}

absl::Status Daemon::Impl::StartPeers(const SecretSeed& seed) {
  absl::StatusOr<std::unique_ptr<transport::UdpSocket>> socket =
      transport::UdpSocket::Bind(config_.peer_listen, {});
  if (!socket.ok()) {
    const bool taken = socket.status().code() == absl::StatusCode::kAlreadyExists;
    return absl::FailedPreconditionError(
        fmt::format("cannot bind peer.listen {}: {}", config_.peer_listen.ToString(),
                    taken ? "held by " + UdpPortHolder(config_.peer_listen.port)
                          : std::string(socket.status().message())));
  }
  socket_ = *std::move(socket);
  transport::TransportOptions options;
  options.network = network_;
  options.node_seed = seed;
  options.agent = "overlayd/" OVERLAY_VERSION;
  options.listen_port = socket_->local_address().port;
  options.instance_nonce = random_.Fork("nonce").Next();
  options.limits = config_.limits;
  // As many beside them, for those that dial, are dialled, or are being told to go.
  options.endpoint.connections_max =
      std::max(options.endpoint.connections_max, 2 * config_.limits.inbound_peers_max);
  absl::StatusOr<std::unique_ptr<transport::PeerTransport>> transport =
      transport::PeerTransport::Create(std::move(options), random_.Fork("transport"));
  if (!transport.ok()) return transport.status();
  transport_ = *std::move(transport);

  const flood::NodeOptions node_options{
      .self = self_, .default_port = config_.default_port.value_or(socket_->local_address().port)};
  node_ = std::make_unique<flood::OverlayNode>(config_.limits, node_options, random_.Fork("node"));
  worker_ = std::make_unique<ComputeWorker>(&loop_->waker());
  driver_ = std::make_unique<NodeDriver>(
      node_.get(), transport_.get(),
      [this](Time now, const flood::ResolveHost& asked) {
        dns_->Resolve(now, asked.host, asked.services);
      },
      [this](Time, flood::Compute compute) { worker_->Begin(std::move(compute)); });
  absl::StatusOr<std::unique_ptr<transport::DnsResolver>> dns = transport::DnsResolver::Create(
      loop_.get(),
      [this](Time now, const std::string& host, bool services,
             const absl::StatusOr<ResolvedHost>& resolved) {
        if (!resolved.ok()) {
          log_.EventLimited(now, LogLevel::kWarning, "dns_failed",
                            {{"host", host}, {"error", std::string(resolved.status().message())}});
        }
        if (drain_.step() != DrainStep::kOver) driver_->OnResolved(now, {host, services}, resolved);
      },
      {.servers = config_.dns_servers, .resolv_conf = ""});
  if (!dns.ok()) return dns.status();
  dns_ = *std::move(dns);
  return loop_->Watch(socket_->fd(), {.read = true, .write = false},
                      [this](Time now, transport::FdReady ready) { OnUdp(now, ready); });
}

absl::Status Daemon::Impl::StartPeerFile() {
  const std::string& path = config_.peers_file;
  if (path.empty()) return absl::OkStatus();
  const absl::StatusOr<flood::PeerFile> file = LoadPeerFile(path);
  if (file.status().code() == absl::StatusCode::kFailedPrecondition) {
    return absl::InvalidArgumentError(fmt::format(
        "peers.file: \"{}\" is not usable, expected a regular file, or none yet", path));
  }
  if (file.ok()) {
    node_->RestorePeers(loop_->ReadClock(), transport::EventLoop::ReadWallClock(), *file);
    log_.Event(LogLevel::kInfo, "peers_restored",
               {{"file", path}, {"count", fmt::format("{}", file->peers.size())}});
  } else if (!absl::IsNotFound(file.status())) {
    const absl::Status moved = MoveAside(path);
    log_.Event(LogLevel::kError, "peer_file_unusable",
               {{"file", path},
                {"error", std::string(file.status().message())},
                {"moved", moved.ok() ? path + ".corrupt" : std::string(moved.message())}});
  }
  saver_ = std::make_unique<PeerSaver>(path, node_.get(), &log_, [this] { loop_->waker().Wake(); });
  return absl::OkStatus();
}

absl::Status Daemon::Impl::StartApi() {
  CoreSessionsOptions options;
  options.self = self_;
  options.network = network_;
  options.daemon_instance = daemon_instance_;
  options.daemon_version = "overlayd " OVERLAY_VERSION;
  options.peer_port = socket_->local_address().port;
  options.limits = config_.limits;
  options.read_clock = [this] { return loop_->ReadClock(); };
  options.stats = &stats_;
  options.log = &log_;
  options.on_file_peers = [this](const flood::PeersConfigured& c) { SayFilePeers(c); };
  options.on_operator = [this](const flood::OperatorAnswered& a) { operator_answer_ = a; };
  sessions_ =
      std::make_unique<CoreSessions>(std::move(options), driver_.get(), random_.Fork("sessions"));
  driver_->SetSink(sessions_.get());
  driver_->SetClock([this] { return loop_->ReadClock(); });

  absl::StatusOr<PreparedListeners> prepared = PrepareListeners(config_);
  if (!prepared.ok()) return prepared.status();
  listeners_ = *std::move(prepared);
  mailbox_ = std::make_unique<CompletionMailbox>([this] { loop_->waker().Wake(); });
  std::vector<RpcMethod> methods = sessions_->Methods();
  for (RpcMethod& method : OperatorMethods(this)) methods.push_back(std::move(method));
  for (RpcMethod& method : health_.Methods()) methods.push_back(std::move(method));
  gate_ = std::make_unique<ApiGate>(loop_.get(), &log_);
  for (const RpcListener& listener : listeners_.listeners) {
    const absl::StatusOr<int> port =
        gate_->Open(listener.role == ListenerRole::kCore ? "api" : "operator", listener.address);
    if (!port.ok()) return port.status();
    ports_.push_back(*port);
  }
  if (absl::Status status = FinishListeners(config_, listeners_); !status.ok()) return status;
  server_ = std::make_unique<RpcServer>(
      RpcServerOptions{.listeners = listeners_.listeners,
                       .on_call = [this](const std::string& peer) { gate_->OnCall(peer); }},
      std::move(methods), mailbox_.get());
  if (absl::Status status = server_->Start(); !status.ok()) return status;
  const uint64_t limit = DescriptorLimit();
  const size_t connections = ApiConnectionsFor(limit, OpenDescriptors(), ports_.size());
  if (limit < kDescriptorsWanted) {
    log_.Event(LogLevel::kWarning, "descriptors_low",
               {{"limit", fmt::format("{}", limit)},
                {"wanted", fmt::format("{}", kDescriptorsWanted)},
                {"api_connections", fmt::format("{}", connections)},
                {"remedy", "raise the hard limit: LimitNOFILE= of systemd, ulimit -Hn"}});
  }
  return gate_->Start(connections, [this](size_t at, int fd) { server_->Adopt(at, fd); });
}

absl::Status Daemon::Impl::StartMetrics() {
  if (config_.metrics_listen.empty()) return absl::OkStatus();
  exchange_ = std::make_unique<MetricsExchange>([this] { loop_->waker().Wake(); });
  absl::StatusOr<std::unique_ptr<HttpServer>> http = HttpServer::Start(
      *SocketAddress::Parse(config_.metrics_listen),
      {{"/metrics", [this] { return MetricsHttpPage(*exchange_, kScrapePatience); }}});
  if (!http.ok()) return http.status();
  http_ = *std::move(http);
  metrics_address_ = http_->address().ToString();
  return absl::OkStatus();
}

std::string Daemon::Impl::ReadyLine() const {
  return fmt::format(
      R"({{"event":"ready","node":{},"version":{},"pid":{},"peer":{},)"
      R"("api":{},"operator":{},"metrics":{}}})",
      JsonText(ToStrkey(self_)), JsonText(OVERLAY_VERSION), getpid(),
      JsonText(socket_->local_address().ToString()),
      JsonText(BoundAddress(config_.api_listen, ports_[0])),
      JsonText(BoundAddress(config_.operator_listen, ports_.size() > 1 ? ports_[1] : 0)),
      JsonText(metrics_address_));
}

// ------------------------------------------------------------------------------------------- turns

void Daemon::Impl::Run() {
  const Time now = loop_->ReadClock();
  log_.Event(LogLevel::kInfo, "ready",
             {{"node", ToStrkey(self_)},
              {"network", network_.ShortHex()},
              {"peer", socket_->local_address().ToString()}});
  ConfigureFromFile(now);
  loop_->waker().Wake();
  loop_->Run();
  if (saver_ != nullptr) {
    saver_->Finish(loop_->ReadClock(), transport::EventLoop::ReadWallClock(), kLastSavePatience);
    saver_.reset();
  }
  // Names, metrics and files go last; the gRPC server has gone, or the process ends without it.
  log_.Event(LogLevel::kInfo, "stopped");
  if (!server_->is_drained()) std::_Exit(0);
  if (http_stopper_.joinable()) http_stopper_.join();
}

void Daemon::Impl::ConfigureFromFile(Time now) {
  driver_->OnCoreInput(now,
                       flood::ConfigureTargets{{.outbound = config_.peers_outbound,
                                                .inbound_max = config_.limits.inbound_peers_max,
                                                .newcomers = config_.peers_newcomers,
                                                .closed = config_.peers_closed}});
  flood::ConfigurePeers configure;
  configure.source = flood::PeerEntrySource::kFile;
  configure.entries = config_.preferred_peers;
  configure.entries.insert(configure.entries.end(), config_.known_peers.begin(),
                           config_.known_peers.end());
  driver_->OnCoreInput(now, std::move(configure));
}

// Some milliseconds with a file of the largest kind: the operator asked for it.
void Daemon::Impl::Reload(Time now) {
  if (!options_.reload || drain_.has_begun()) return;
  absl::StatusOr<Config> fresh = options_.reload();
  if (!fresh.ok()) {
    log_.Event(LogLevel::kError, "reload_refused",
               {{"error", std::string(fresh.status().message())}});
    return;
  }
  size_t taken = 0;
  for (const Setting& setting : Settings()) {
    if (config_.given[setting.name] == fresh->given[setting.name]) continue;
    if (setting.live) {
      config_.given[setting.name] = fresh->given[setting.name];
      ++taken;
    } else {
      log_.Event(LogLevel::kWarning, "needs_restart", {{"key", setting.name}});
    }
  }
  config_.known_peers = std::move(fresh->known_peers);
  config_.preferred_peers = std::move(fresh->preferred_peers);
  config_.limits.inbound_peers_max = fresh->limits.inbound_peers_max;
  config_.peers_outbound = fresh->peers_outbound;
  config_.peers_newcomers = fresh->peers_newcomers;
  config_.peers_closed = fresh->peers_closed;
  if (config_.log_level != fresh->log_level) {  // else what an operator has set stays
    config_.log_level = fresh->log_level;
    log_.SetLevel(*LogLevelFromName(config_.log_level));
  }
  ConfigureFromFile(now);
  log_.Event(LogLevel::kInfo, "reloaded", {{"changed", fmt::format("{}", taken)}});
}

void Daemon::Impl::OnUdp(Time now, transport::FdReady ready) {
  if (ready.writable) socket_->Flush();
  if (!ready.readable) return;
  more_datagrams_ = true;
  for (int i = 0; i < kReceivesPerTurn && more_datagrams_; ++i) {
    datagrams_.clear();
    more_datagrams_ = socket_->Receive(datagrams_);
    for (const transport::Datagram& datagram : datagrams_)
      transport_->OnDatagram(now, datagram.path, datagram.payload);
    // The rest is still readable: the next turn begins with it.
    if (more_datagrams_ && loop_->ReadClock() - now >= kReceiveTimePerTurn) break;
  }
}

std::optional<Time> Daemon::Impl::Turn(Time now) {
  ++stats_.turns;
  // Again and again, because somebody may set the clock.
  if (now >= wall_due_) {
    wall_due_ = now + std::chrono::seconds(1);
    transport_->SetWallTime(now, transport::EventLoop::ReadWallClock());
  }
  if (stop_wanted_.exchange(false)) StartDrain(now, "asked");
  if (options_.exit_with_parent && getppid() != parent_) StartDrain(now, "parent gone");
  driver_->Settle(now);
  std::optional<Time> next;
  if (DrainCompletions(now)) next = now;
  const auto computed = [&](flood::Computed& c) { driver_->OnComputed(now, std::move(c)); };
  if (worker_->Drain(computed)) next = now;
  dns_->OnDeadline(now);
  driver_->OnDeadline(now);
  sessions_->OnTurn(now);
  driver_->Settle(now);
  next = Earlier(next, Write(now));
  sessions_->OnTurn(now);
  if (exchange_ != nullptr && exchange_->IsWanted()) {
    ++stats_.scrapes;
    exchange_->Answer(CollectMetrics(Sources(now)));
  }
  if (const auto said = LibraryLog::Take()) {
    log_.EventLimited(now, LogLevel::kWarning, "library",
                      {{"said", said->text}, {"count", fmt::format("{}", said->count)}});
  }
  LogSharedKeys(now);
  if (saver_ != nullptr) {
    next = Earlier(next, saver_->OnTurn(now, &transport::EventLoop::ReadWallClock));
  }
  next = Earlier(next, AdvanceDrain(now));
  next = Earlier(next, driver_->NextDeadline());
  next = Earlier(next, sessions_->NextDeadline());
  next = Earlier(next, gate_->OnTurn(now));
  next = Earlier(next, dns_->NextDeadline(now));
  const Duration spent = loop_->ReadClock() - now;
  stats_.turn.Add(spent);
  stats_.turn_other.Add(spent - std::min(spent, driver_->TakeEnvelopeTime()));
  return next;
}

// True: there may be more.
bool Daemon::Impl::DrainCompletions(Time now) {
  const Time began = loop_->ReadClock();
  for (size_t done = 0; done < kCompletionsPerTurn; done += kCompletionsPerStep) {
    if (!mailbox_->Drain(now, kCompletionsPerStep)) return false;
    if (loop_->ReadClock() - began >= kCompletionTimePerTurn) break;
  }
  return true;
}

std::optional<Time> Daemon::Impl::Write(Time now) {
  const bool more = transport_->WriteTurn(now, *socket_);
  socket_->Flush();
  const bool blocked = socket_->blocked();
  if (blocked != watching_writable_) {
    watching_writable_ = blocked;
    (void)loop_->SetInterest(socket_->fd(), {.read = true, .write = blocked});
  }
  if (more && !blocked) return now;
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------- drain

void Daemon::Impl::StartDrain(Time now, std::string_view why) {
  if (!drain_.Begin(now)) return;
  log_.Event(LogLevel::kInfo, "draining", {{"why", std::string(why)}});
  health_.SetNotServing(now);
  sessions_->StartDrain();
  driver_->OnDrain(now);
  transport_->StartDrain(now, "shutting down", kRedialAfter);
  if (exchange_ != nullptr) {
    exchange_->Stop();
    http_stopper_ = std::thread([this] { http_.reset(); });
  }
}

std::optional<Time> Daemon::Impl::AdvanceDrain(Time now) {
  if (!drain_.has_begun()) return std::nullopt;
  const auto facts = [this] {
    return DrainFacts{.envelopes_flushed = transport_->envelopes_flushed(),
                      .answers_finished = transport_->flushed(),
                      .calls_over = server_->is_drained()};
  };
  while (const std::optional<DrainStep> step = drain_.Advance(now, facts())) {
    EnterDrainStep(now, *step);
  }
  return drain_.NextDeadline(now);
}

void Daemon::Impl::EnterDrainStep(Time now, DrainStep step) {
  switch (step) {
    case DrainStep::kTell:
      sessions_->TellDraining(now, drain_.left(now));
      return;
    case DrainStep::kClose:
      sessions_->EndAll(now);
      transport_->CloseAll(now, CloseReason::kGoaway, "shutting down");
      driver_->Settle(now);
      Write(now);
      return;
    case DrainStep::kEndCalls:
      gate_->Stop();
      server_->BeginShutdown();
      return;
    case DrainStep::kOver:
      loop_->Stop();
      return;
    case DrainStep::kRunning:
    case DrainStep::kFlush:
    case DrainStep::kAnswer:
      return;
  }
}

// ---------------------------------------------------------------------------------------- operator

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
  sources.core_attached = sessions_->core() != nullptr;
  sources.observers = sessions_->observer_count();
  sources.calls = server_->call_count();
  sources.gate = &gate_->counters();
  sources.api_connections = gate_->connection_count();
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
  status.set_draining(drain_.has_begun());
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
  return Ask(now, std::move(ban), "peer", "");
}

grpc::Status Daemon::Impl::Unban(Time now, const NodeKey& key) {
  return Ask(now, flood::OperatorUnban{key}, "peer",
             fmt::format("{} is not banned", ToStrkey(key)));
}

void Daemon::Impl::SayFilePeers(const flood::PeersConfigured& configured) {
  for (const std::string& refusal : configured.refusals) {
    if (refusal.empty()) continue;
    log_.Event(LogLevel::kWarning, "peer_entry_left_out",
               {{"entry", refusal}, {"others", configured.applied ? "taken" : "not taken either"}});
  }
}

LogLevel Daemon::Impl::SetLogLevel(std::optional<LogLevel> level) {
  if (level) {
    log_.SetLevel(*level);
    log_.Event(LogLevel::kInfo, "log_level", {{"level", std::string(LogLevelName(*level))}});
  }
  return log_.level();
}

void Daemon::Impl::LogSharedKeys(Time now) {
  const transport::TransportStats& stats = transport_->stats();
  if (stats.keys_shared == keys_shared_) return;
  keys_shared_ = stats.keys_shared;
  const transport::SharedKey& shared = stats.shared_key;
  log_.EventLimited(
      now, LogLevel::kError, "key_shared",
      {{"key", ToStrkey(shared.key)},
       {"what", shared.is_ours ? "another daemon has our key, or a peer says so"
                               : "two daemons show the key of a peer"},
       {"at", shared.address.ToString()},
       {"and_at", (shared.is_ours ? socket_->local_address() : shared.connected).ToString()},
       {"count", fmt::format("{}", stats.keys_shared)}});
}

// ------------------------------------------------------------------------------------------ Daemon

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() = default;

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const Config& config,
                                                       const DaemonOptions& options) {
  auto impl = std::make_unique<Impl>(config, options);
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

std::string Daemon::ReadyLine() const { return impl_->ReadyLine(); }
void Daemon::Run() { impl_->Run(); }
void Daemon::RequestStop() { impl_->RequestStop(); }

}  // namespace overlay::server
