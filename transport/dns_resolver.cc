#include "transport/dns_resolver.h"

// c-ares 1.34 has successors for calls that 1.18, which Debian 12 has, does not have.
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <arpa/nameser.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "transport/dns_srv.h"

namespace overlay::transport {
namespace {

// Of one server; c-ares tries each kTries times. The dial plan repeats what fails.
constexpr int kTimeoutMs = 1000;
constexpr int kTries = 2;
constexpr Duration kLiteralTtl = std::chrono::hours(24);
constexpr Duration kTtlUnknown = Duration::max();
constexpr const char* kResolvConf = "/etc/resolv.conf";

SocketAddress ToAddress(const sockaddr* address, uint16_t port) {
  if (address->sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof(v4));
    return SocketAddress::V4(ntohl(v4.sin_addr.s_addr), port);
  }
  SocketAddress out;
  sockaddr_in6 v6;
  std::memcpy(&v6, address, sizeof(v6));
  std::memcpy(out.ip.data(), &v6.sin6_addr, out.ip.size());
  out.port = port;
  return out;
}

absl::Status ToError(int status, const std::string& host) {
  const std::string text = fmt::format("{}: {}", host, ares_strerror(status));
  switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
      return absl::NotFoundError(text);
    default:
      return absl::UnavailableError(text);
  }
}

Duration Seconds(int64_t seconds) { return std::chrono::seconds(seconds); }

}  // namespace

struct DnsResolver::Channel {
  ares_channel handle = nullptr;
  ~Channel() {
    if (handle != nullptr) ares_destroy(handle);  // calls back for what is open
  }
};

struct DnsResolver::FileStamp {
  ino_t inode = 0;
  off_t bytes = 0;
  timespec changed{};
  bool operator==(const FileStamp& other) const {
    return inode == other.inode && bytes == other.bytes && changed.tv_sec == other.changed.tv_sec &&
           changed.tv_nsec == other.changed.tv_nsec;
  }
};

struct DnsResolver::Query {
  struct Found {
    std::vector<SocketAddress> addresses;
    Duration ttl = kTtlUnknown;
  };
  DnsResolver* resolver = nullptr;
  uint64_t id = 0;
  std::string host;
  bool services = false;
  Time limit{};
  std::optional<absl::StatusOr<ResolvedHost>> plain;  // what A and AAAA gave
  bool services_open = false;
  size_t targets_open = 0;
  std::vector<Found> targets;  // of the services, in their order
  ~Query() { --resolver->alive_; }
};

// One of c-ares' look-ups of a query: c-ares owns it until it calls back.
struct DnsResolver::Part {
  std::shared_ptr<Query> query;
  std::optional<size_t> target;  // its place among the services; none: the host itself
  uint16_t port = 0;
  Duration ttl = kTtlUnknown;

  explicit Part(std::shared_ptr<Query> of) : query(std::move(of)) {}
  Part(std::shared_ptr<Query> of, size_t at, const SrvRecord& record)
      : query(std::move(of)), target(at), port(record.port), ttl(Seconds(record.ttl_seconds)) {}
};

DnsResolver::DnsResolver(EventLoop* loop, Answer answer, DnsOptions options)
    : loop_(loop), answer_(std::move(answer)), options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<DnsResolver>> DnsResolver::Create(EventLoop* loop, Answer answer,
                                                                 DnsOptions options) {
  if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
    return absl::InternalError("c-ares cannot be set up");
  }
  std::unique_ptr<DnsResolver> resolver(
      new DnsResolver(loop, std::move(answer), std::move(options)));
  if (absl::Status status = resolver->Open(); !status.ok()) return status;
  return resolver;
}

DnsResolver::~DnsResolver() {
  channel_.reset();
  while (!open_.empty()) {
    Query& query = *open_.begin()->second;
    End(query, absl::UnavailableError(fmt::format("{}: the resolver ends", query.host)));
  }
  ares_library_cleanup();
}

// Replaces the channel; what is open in the one before fails, and is asked again by who wants it.
absl::Status DnsResolver::Open() {
  auto stamp = std::make_unique<FileStamp>(Stat());
  ares_options options{};
  options.timeout = kTimeoutMs;
  options.tries = kTries;
  options.sock_state_cb_data = this;
  options.sock_state_cb = [](void* data, ares_socket_t fd, int readable, int writable) {
    auto* const self = static_cast<DnsResolver*>(data);
    if (readable == 0 && writable == 0) {
      self->loop_->Unwatch(fd);
      return;
    }
    const FdInterest interest{.read = readable != 0, .write = writable != 0};
    // Refused only when descriptors are used up; the time-out ends the look-up then.
    (void)self->loop_->Watch(fd, interest, [self, fd](Time now, FdReady ready) {
      self->now_ = now;
      ares_process_fd(self->channel_->handle, ready.readable ? fd : ARES_SOCKET_BAD,
                      ready.writable ? fd : ARES_SOCKET_BAD);
    });
  };
  std::string path = options_.resolv_conf.empty() ? kResolvConf : options_.resolv_conf;
  options.resolvconf_path = path.data();
  const int mask =
      ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF;
  auto channel = std::make_unique<Channel>();
  int status = ares_init_options(&channel->handle, &options, mask);
  if (status != ARES_SUCCESS) channel->handle = nullptr;
  if (status == ARES_SUCCESS && !options_.servers.empty()) {
    status = ares_set_servers_ports_csv(channel->handle, options_.servers.c_str());
  }
  if (status != ARES_SUCCESS) {
    return absl::InternalError(fmt::format("c-ares cannot be set up: {}", ares_strerror(status)));
  }
  file_ = std::move(stamp);
  channel.swap(channel_);
  return absl::OkStatus();
}

DnsResolver::FileStamp DnsResolver::Stat() const {
  struct stat found {};
  const std::string path = options_.resolv_conf.empty() ? kResolvConf : options_.resolv_conf;
  if (stat(path.c_str(), &found) != 0) return {};
  return {found.st_ino, found.st_size, found.st_mtim};
}

void DnsResolver::Resolve(Time now, const std::string& host, bool services) {
  now_ = now;
  if (absl::StatusOr<SocketAddress> literal = SocketAddress::ParseIp(host, 0); literal.ok()) {
    answer_(now, host, services, ResolvedHost{{*literal}, kLiteralTtl});
    return;
  }
  if (channel_ == nullptr) {  // asked from within the last answers
    answer_(now, host, services, absl::UnavailableError(host + ": the resolver ends"));
    return;
  }
  if (alive_ >= kLookupsMax) {
    answer_(now, host, services,
            absl::ResourceExhaustedError(fmt::format("{}: {} look-ups are under way, at most {}",
                                                     host, alive_, kLookupsMax)));
    return;
  }
  ++alive_;
  auto query = std::make_shared<Query>();
  query->resolver = this;
  query->id = next_id_++;
  query->host = host;
  query->services = services;
  query->limit = now + kAnswerWithin;
  query->services_open = services;
  open_.emplace(query->id, query);
  Begin(std::make_unique<Part>(query), host);
  if (!services) return;
  const auto done = [](void* data, int status, int /*timeouts*/, unsigned char* packet, int bytes) {
    const std::unique_ptr<Part> part(static_cast<Part*>(data));
    part->query->resolver->OnServices(*part, status, packet, bytes);
  };
  ares_search(channel_->handle, fmt::format("_overlay._udp.{}", host).c_str(), ns_c_in, ns_t_srv,
              done, new Part(query));
}

void DnsResolver::Begin(std::unique_ptr<Part> part, const std::string& name) {
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = ARES_AI_NOSORT;
  const auto done = [](void* data, int status, int /*timeouts*/, ares_addrinfo* result) {
    const std::unique_ptr<Part> part(static_cast<Part*>(data));
    part->query->resolver->OnAddresses(*part, status, result);
    ares_freeaddrinfo(result);
  };
  ares_getaddrinfo(channel_->handle, name.c_str(), nullptr, &hints, done, part.release());
}

void DnsResolver::OnAddresses(const Part& part, int status, const void* result) {
  Query& query = *part.query;
  Query::Found found;
  found.ttl = part.ttl;
  if (status == ARES_SUCCESS) {
    const auto* const info = static_cast<const ares_addrinfo*>(result);
    for (const ares_addrinfo_cname* name = info->cnames; name != nullptr; name = name->next) {
      found.ttl = std::min(found.ttl, Seconds(name->ttl));
    }
    for (const ares_addrinfo_node* node = info->nodes; node != nullptr; node = node->ai_next) {
      if (found.addresses.size() == kAddressesMax) break;
      found.ttl = std::min(found.ttl, Seconds(node->ai_ttl));
      found.addresses.push_back(ToAddress(node->ai_addr, part.port));
    }
  }
  if (part.target) {
    --query.targets_open;
    query.targets[*part.target] = std::move(found);
  } else if (status != ARES_SUCCESS) {
    query.plain = ToError(status, query.host);
  } else {
    const Duration ttl = found.ttl > Duration{} ? found.ttl : kNoTtl;
    query.plain = ResolvedHost{std::move(found.addresses), ttl};
    if (query.services) query.limit = std::min(query.limit, now_ + kServicesWait);
  }
  Conclude(query);
}

void DnsResolver::OnServices(const Part& part, int status, const uint8_t* packet, int bytes) {
  Query& query = *part.query;
  query.services_open = false;
  absl::StatusOr<std::vector<SrvRecord>> records = std::vector<SrvRecord>();
  // Not one that has been answered, nor in a channel that ends.
  if (status == ARES_SUCCESS && open_.contains(query.id)) {
    records = ParseSrv(absl::MakeConstSpan(packet, static_cast<size_t>(bytes)));
  }
  if (records.ok()) {
    query.targets.resize(records->size());
    query.targets_open = records->size();
    for (size_t i = 0; i < query.targets.size(); ++i) {
      const SrvRecord& record = (*records)[i];
      // The dot keeps the search list away: a target is a whole name.
      Begin(std::make_unique<Part>(part.query, i, record), record.target + ".");
    }
  }
  Conclude(query);
}

void DnsResolver::Conclude(Query& query) {
  const bool in_time = now_ < query.limit;
  if (in_time && (query.services_open || query.targets_open > 0)) return;
  ResolvedHost served{{}, kTtlUnknown};
  for (const Query::Found& target : query.targets) {
    if (target.addresses.empty()) continue;
    served.ttl = std::min(served.ttl, target.ttl);
    for (const SocketAddress& address : target.addresses) {
      if (served.addresses.size() < kAddressesMax) served.addresses.push_back(address);
    }
  }
  if (!served.addresses.empty()) {
    if (served.ttl <= Duration{}) served.ttl = kNoTtl;
    End(query, std::move(served));
  } else if (query.plain) {
    End(query, *query.plain);
  } else if (!in_time) {
    End(query, absl::UnavailableError(fmt::format("{}: no answer in time", query.host)));
  }
}

void DnsResolver::End(Query& query, absl::StatusOr<ResolvedHost> resolved) {
  const auto node = open_.extract(query.id);
  if (node.empty()) return;
  if (absl::IsUnavailable(resolved.status())) LookAtFile();
  answer_(now_, query.host, query.services, resolved);
}

void DnsResolver::LookAtFile() {
  if (looked_at_ != Time::min() && now_ - looked_at_ < kStatEvery) return;
  looked_at_ = now_;
  // Not here: c-ares may be calling us.
  file_changed_ = !(Stat() == *file_);
}

void DnsResolver::OnDeadline(Time now) {
  now_ = now;
  if (std::exchange(file_changed_, false)) {
    // Half written, perhaps: the one before does until the next look.
    (void)Open();
  }
  if (alive_ > 0) ares_process_fd(channel_->handle, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  std::vector<std::shared_ptr<Query>> late;
  for (const auto& [id, query] : open_) {
    if (query->limit <= now) late.push_back(query);
  }
  for (const auto& query : late) Conclude(*query);
}

std::optional<Time> DnsResolver::NextDeadline(Time now) const {
  if (file_changed_) return now;
  Time next = kTimeNever;
  for (const auto& [id, query] : open_) next = std::min(next, query->limit);
  timeval buffer{};
  const timeval* const wait = ares_timeout(channel_->handle, nullptr, &buffer);
  if (alive_ > 0 && wait != nullptr) {
    // One millisecond more, so that it has come when we ask.
    next =
        std::min(next, now + std::chrono::seconds(wait->tv_sec) +
                           std::chrono::microseconds(wait->tv_usec) + std::chrono::milliseconds(1));
  }
  return next == kTimeNever ? std::nullopt : std::optional(next);
}

}  // namespace overlay::transport
