#include "server/daemon.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "flood/set_server.h"
#include "proto/json/json_object.h"
#include "server/daemon_impl.h"
#include "server/descriptors.h"
#include "server/http3/tx_set_page.h"
#include "server/port_holder.h"
#include "server/session_call.h"
#include "server/state_file.h"
#include "transport/node_key_file.h"

namespace overlay::server {
namespace {

// For a look into the cache of sets.
constexpr auto kSetPatience = std::chrono::milliseconds(1000);
constexpr auto kLastSavePatience = std::chrono::milliseconds(100);

uint64_t SecretRandom() {
  uint64_t value = 0;
  // Never fails once the kernel's pool is ready, which it is before any user process here.
  OVERLAY_CHECK(getrandom(&value, sizeof(value), 0) == static_cast<ssize_t>(sizeof(value)));
  return value;
}

absl::Status CannotBind(std::string_view setting, const std::string& address,
                        const absl::Status& why) {
  const bool taken = why.code() == absl::StatusCode::kAlreadyExists;
  return absl::FailedPreconditionError(
      fmt::format("cannot bind {} {}: {}", setting, address,
                  taken ? "held by " + UdpPortHolder(SocketAddress::Parse(address)->port)
                        : std::string(why.message())));
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

// ------------------------------------------------------------------------------------------- start

Daemon::Impl::Impl(const Config& config, const DaemonOptions& options)
    : config_(config),
      options_(options),
      log_(LogLevelFromName(config.log_level).value_or(LogLevel::kInfo), config.log_format),
      random_(SecretRandom()) {}

Daemon::Impl::~Impl() {
  if (signal_fd_ >= 0) close(signal_fd_);
}

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
  if (absl::Status status = StartPages(); !status.ok()) return status;
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
    return CannotBind("peer.listen", config_.peer_listen.ToString(), socket.status());
  }
  socket_ = *std::move(socket);
  transport::TransportOptions options;
  options.network = network_;
  options.node_seed = seed;
  options.agent = "overlayd/" OVERLAY_VERSION;
  options.listen_port = socket_->local_address().port;
  options.instance_nonce = random_.Fork("nonce").Next();
  options.limits = config_.limits;
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

absl::Status Daemon::Impl::StartPages() {
  if (config_.metrics_listen.empty() && config_.http3_listen.empty()) return absl::OkStatus();
  desk_ = std::make_unique<LoopDesk>([this] { loop_->waker().Wake(); });
  const PageSources sources{.status = [this](Time now) { return Status(now); },
                            .peers = [this](Time now) { return ListPeers(now); },
                            .metrics =
                                [this](Time now) {
                                  ++stats_.scrapes;
                                  return CollectMetrics(Sources(now));
                                },
                            .health = [this](Time) { return CheckHealth(needs(), facts()); },
                            .read_clock = [] { return transport::EventLoop::ReadMonotonic(); }};
  pulse_.turned = loop_->ReadClock();
  std::vector<HttpRoute> pages = MakePages(desk_.get(), &pulse_, sources);
  if (!config_.metrics_listen.empty()) {
    absl::StatusOr<std::unique_ptr<HttpServer>> http =
        HttpServer::Start(*SocketAddress::Parse(config_.metrics_listen), pages);
    if (!http.ok()) return http.status();
    http_ = *std::move(http);
    metrics_address_ = http_->address().ToString();
  }
  return config_.http3_listen.empty() ? absl::OkStatus() : StartHttp3(std::move(pages));
}

absl::Status Daemon::Impl::StartHttp3(std::vector<HttpRoute> pages) {
  absl::StatusOr<std::optional<PemPair>> pem = ReadHttp3Files(config_);
  if (!pem.ok()) return pem.status();
  const auto look = [this](const SetHash& hash) {
    return desk_->Ask<CachedSet>(
        [this, hash](Time) {
          const auto set = node_->LookAtSet({SetKind::kTxSet, hash});
          return set ? CachedSet{set->bytes, set->frame, set->may_compress} : CachedSet{};
        },
        kSetPatience);
  };
  const auto keep_frame = [this](const SetHash& hash, const Bytes& frame) {
    (void)desk_->Ask<bool>(
        [this, hash, frame](Time now) {
          driver_->KeepSetFrame(now, {SetKind::kTxSet, hash}, frame);
          return true;
        },
        kSetPatience);
  };
  pages.push_back(TxSetRoute({.look = look, .keep_frame = keep_frame}));
  Http3Options options{.listen = *SocketAddress::Parse(config_.http3_listen),
                       .pem = *std::move(pem),
                       .limits = {.connections_max = config_.http3_connections_max,
                                  .requests_per_second_max = config_.http3_requests_max},
                       .random = random_.Fork("http3"),
                       .routes = std::move(pages)};
  absl::StatusOr<std::unique_ptr<Http3Server>> http3 = Http3Server::Start(std::move(options));
  if (!http3.ok()) return CannotBind("http3.listen", config_.http3_listen, http3.status());
  http3_ = *std::move(http3);
  return absl::OkStatus();
}

std::string Daemon::Impl::ReadyLine() const {
  JsonObject line;
  line.Text("event", "ready").Text("node", ToStrkey(self_)).Text("version", OVERLAY_VERSION);
  line.Number("pid", getpid()).Text("peer", socket_->local_address().ToString());
  line.Text("api", BoundAddress(config_.api_listen, ports_[0]));
  line.Text("operator", BoundAddress(config_.operator_listen, ports_.size() > 1 ? ports_[1] : 0));
  line.Text("metrics", metrics_address_);
  return line.Text("http3", http3_ == nullptr ? "" : http3_->address().ToString()).Done();
}

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
  http3_.reset();
  if (http_stopper_.joinable()) http_stopper_.join();
}

// ----------------------------------------------------------------------------------- configuration

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
  config_.ready_core = fresh->ready_core;
  config_.ready_peers_min = fresh->ready_peers_min;
  if (config_.log_level != fresh->log_level) {  // else what an operator has set stays
    config_.log_level = fresh->log_level;
    log_.SetLevel(*LogLevelFromName(config_.log_level));
  }
  ConfigureFromFile(now);
  log_.Event(LogLevel::kInfo, "reloaded", {{"changed", fmt::format("{}", taken)}});
}

void Daemon::Impl::SayFilePeers(const flood::PeersConfigured& configured) {
  for (const std::string& refusal : configured.refusals) {
    if (refusal.empty()) continue;
    log_.Event(LogLevel::kWarning, "peer_entry_left_out",
               {{"entry", refusal}, {"others", configured.applied ? "taken" : "not taken either"}});
  }
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
