#include "transport/dns_resolver.h"

#include <ares.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace overlay::transport {
namespace {

// Of one server; c-ares tries each kTries times. The dial plan repeats what fails.
constexpr int kTimeoutMs = 1000;
constexpr int kTries = 2;

SocketAddress ToAddress(const sockaddr* address) {
  SocketAddress out;
  if (address->sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof(v4));
    return SocketAddress::V4(ntohl(v4.sin_addr.s_addr), 0);
  }
  sockaddr_in6 v6;
  std::memcpy(&v6, address, sizeof(v6));
  std::memcpy(out.ip.data(), &v6.sin6_addr, out.ip.size());
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

}  // namespace

struct DnsResolver::Impl {
  ares_channel channel = nullptr;
};

// Owned by c-ares between ares_getaddrinfo and its callback.
struct DnsResolver::Query {
  DnsResolver* resolver;
  std::string host;
};

DnsResolver::DnsResolver(EventLoop* loop, Answer answer)
    : loop_(loop), answer_(std::move(answer)), impl_(std::make_unique<Impl>()) {}

absl::StatusOr<std::unique_ptr<DnsResolver>> DnsResolver::Create(EventLoop* loop, Answer answer,
                                                                 const std::string& servers) {
  if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
    return absl::InternalError("c-ares cannot be set up");
  }
  std::unique_ptr<DnsResolver> resolver(new DnsResolver(loop, std::move(answer)));
  ares_options options{};
  options.timeout = kTimeoutMs;
  options.tries = kTries;
  options.sock_state_cb_data = resolver.get();
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
      ares_process_fd(self->impl_->channel, ready.readable ? fd : ARES_SOCKET_BAD,
                      ready.writable ? fd : ARES_SOCKET_BAD);
    });
  };
  const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
  int status = ares_init_options(&resolver->impl_->channel, &options, mask);
  if (status != ARES_SUCCESS) resolver->impl_->channel = nullptr;
  if (status == ARES_SUCCESS && !servers.empty()) {
    status = ares_set_servers_ports_csv(resolver->impl_->channel, servers.c_str());
  }
  if (status != ARES_SUCCESS) {
    return absl::InternalError(fmt::format("c-ares cannot be set up: {}", ares_strerror(status)));
  }
  return resolver;
}

DnsResolver::~DnsResolver() {
  if (impl_->channel != nullptr) ares_destroy(impl_->channel);  // answers what is open
  ares_library_cleanup();
}

void DnsResolver::Done(Query* query, const Addresses& addresses) {
  const std::unique_ptr<Query> owned(query);
  --open_;
  if (!addresses.ok()) ++failures_;
  answer_(now_, owned->host, addresses);
}

void DnsResolver::Resolve(Time now, const std::string& host) {
  ++lookups_;
  now_ = now;
  if (absl::StatusOr<SocketAddress> literal = SocketAddress::ParseIp(host, 0); literal.ok()) {
    answer_(now, host, std::vector<SocketAddress>{*literal});
    return;
  }
  if (open_ >= kLookupsMax) {
    ++failures_;
    answer_(now, host,
            absl::ResourceExhaustedError(fmt::format("{}: {} look-ups are under way, at most {}",
                                                     host, open_, kLookupsMax)));
    return;
  }
  ++open_;
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = ARES_AI_NOSORT;
  const auto done = [](void* data, int status, int /*timeouts*/, ares_addrinfo* result) {
    auto* const query = static_cast<Query*>(data);
    if (status != ARES_SUCCESS) {
      query->resolver->Done(query, ToError(status, query->host));
      return;
    }
    std::vector<SocketAddress> addresses;
    for (const ares_addrinfo_node* node = result->nodes; node != nullptr; node = node->ai_next) {
      if (addresses.size() < kAddressesMax) addresses.push_back(ToAddress(node->ai_addr));
    }
    ares_freeaddrinfo(result);
    query->resolver->Done(query, std::move(addresses));
  };
  ares_getaddrinfo(impl_->channel, host.c_str(), nullptr, &hints, done, new Query{this, host});
}

void DnsResolver::OnDeadline(Time now) {
  now_ = now;
  if (open_ > 0) ares_process_fd(impl_->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

std::optional<Time> DnsResolver::NextDeadline(Time now) const {
  if (open_ == 0) return std::nullopt;
  timeval buffer{};
  const timeval* const wait = ares_timeout(impl_->channel, nullptr, &buffer);
  if (wait == nullptr) return std::nullopt;
  // One millisecond more, so that it has come when we ask.
  return now + std::chrono::seconds(wait->tv_sec) + std::chrono::microseconds(wait->tv_usec) +
         std::chrono::milliseconds(1);
}

}  // namespace overlay::transport
