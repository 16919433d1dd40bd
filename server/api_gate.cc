#include "server/api_gate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "flood/base/socket_address.h"
#include "server/descriptors.h"

namespace overlay::server {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kFlags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

// True where it failed for want of something that may come back.
bool IsStarved(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

void SetOn(int fd, int level, int option, int value) {
  (void)setsockopt(fd, level, option, &value, sizeof(value));
}

// Binds and listens; the socket, or -1 with errno.
int BoundUnix(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof(to.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(to.sun_path, path.data(), path.size());
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) unlink(path.c_str());
  const int fd = socket(AF_UNIX, kFlags, 0);
  if (fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) return fd;
  const int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return -1;
}

int BoundTcp(const SocketAddress& address) {
  // The wildcard is of both families where the kernel has both.
  sockaddr_in6 to6{};
  to6.sin6_family = AF_INET6;
  to6.sin6_port = htons(address.port);
  std::memcpy(&to6.sin6_addr, address.ip.data(), 16);
  sockaddr_in to4{};
  to4.sin_family = AF_INET;
  to4.sin_port = htons(address.port);
  std::memcpy(&to4.sin_addr, address.ip.data() + 12, 4);
  bool is_v4 = address.is_v4();
  int fd = is_v4 ? socket(AF_INET, kFlags, 0) : socket(AF_INET6, kFlags, 0);
  if (fd < 0 && errno == EAFNOSUPPORT && address.is_unspecified()) {
    is_v4 = true;
    fd = socket(AF_INET, kFlags, 0);
  }
  if (fd < 0) return -1;
  SetOn(fd, SOL_SOCKET, SO_REUSEADDR, 1);  // a restart need not wait for old connections
  SetOn(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // what is accepted has it from here
  if (!is_v4) SetOn(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  const auto* const to =
      is_v4 ? reinterpret_cast<const sockaddr*>(&to4) : reinterpret_cast<const sockaddr*>(&to6);
  if (bind(fd, to, is_v4 ? sizeof(to4) : sizeof(to6)) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int PortOf(int fd) {
  sockaddr_storage at{};
  socklen_t bytes = sizeof(at);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&at), &bytes) != 0) return 0;
  if (at.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(at).sin_port);
  if (at.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(at).sin6_port);
  return 0;
}

struct OtherEnd {
  std::string holder;
  uint16_t port = 0;
};

// nullopt: it has gone already.
std::optional<OtherEnd> OtherEndOf(int fd) {
  sockaddr_storage from{};
  socklen_t bytes = sizeof(from);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&from), &bytes) != 0) return std::nullopt;
  if (from.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(from);
    const SocketAddress a = SocketAddress::V4(ntohl(in.sin_addr.s_addr), ntohs(in.sin_port));
    return OtherEnd{a.IpText(), a.port};
  }
  if (from.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(from);
    SocketAddress a;
    std::memcpy(a.ip.data(), &in6.sin6_addr, 16);
    return OtherEnd{a.IpText(), ntohs(in6.sin6_port)};
  }
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
  return OtherEnd{fmt::format("process {} of user {}", credentials.pid, credentials.uid), 0};
}

}  // namespace

ApiGate::~ApiGate() {
  Stop();
  while (!connections_.empty()) Forget(connections_.begin()->first);
}

absl::StatusOr<int> ApiGate::Open(const std::string& name, const std::string& address) {
  Listener listener{name, /*unix_path=*/"", /*fd=*/-1};
  if (address.starts_with(kUnix)) {
    const std::string path = address.substr(kUnix.size());
    listener.fd = BoundUnix(path);
    if (listener.fd >= 0) listener.unix_path = path;
  } else {
    const absl::StatusOr<SocketAddress> parsed = SocketAddress::Parse(address);
    if (!parsed.ok()) return parsed.status();
    listener.fd = BoundTcp(*parsed);
  }
  if (listener.fd < 0 || listen(listener.fd, SOMAXCONN) != 0) {
    const int error = errno;
    if (listener.fd >= 0) close(listener.fd);
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {}: {}", address, std::strerror(error)));
  }
  listeners_.push_back(std::move(listener));
  return PortOf(listeners_.back().fd);
}

absl::Status ApiGate::Start(size_t connections_max, std::function<void(size_t, int)> adopt) {
  connections_max_ = connections_max;
  adopt_ = std::move(adopt);
  for (size_t i = 0; i < listeners_.size(); ++i) {
    absl::Status status =
        loop_->Watch(listeners_[i].fd, {.read = true, .write = false},
                     [this, i](Time now, transport::FdReady) { OnReadable(now, i); });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void ApiGate::Stop() {
  for (const Listener& listener : listeners_) {
    loop_->Unwatch(listener.fd);
    close(listener.fd);
    if (!listener.unix_path.empty()) unlink(listener.unix_path.c_str());
  }
  listeners_.clear();
  retry_at_.reset();
}

void ApiGate::OnReadable(Time now, size_t listener) {
  for (int i = 0; i < kAcceptsPerTurn && AcceptOne(now, listener); ++i) {
  }
}

bool ApiGate::AcceptOne(Time now, size_t listener) {
  const int listening = listeners_[listener].fd;
  // Asked for first: what was accepted and then cannot be held would be lost.
  const int second = fcntl(listening, F_DUPFD_CLOEXEC, 0);
  const int fd =
      second < 0 ? -1 : accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    const int error = errno;
    if (second >= 0) close(second);
    if (IsStarved(error)) Starve(now);
    // The connection's own errors: the next may be well.
    return !IsStarved(error) && error != EAGAIN && error != EWOULDBLOCK;
  }
  if (dup3(fd, second, O_CLOEXEC) < 0) {  // a race with another thread's open of that number
    close(fd);
    close(second);
    return true;
  }
  Admit(now, listener, fd, second);
  return true;
}

// R3.
void ApiGate::Starve(Time now) {
  ++counters_.starved;
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    if (const auto loser = Loser(std::nullopt, kHeldAlways)) Displace(now, *loser);
  }
  if (!std::exchange(starving_, true) && log_ != nullptr) {
    log_->EventLimited(now, LogLevel::kError, "descriptors_used_up",
                       {{"limit", fmt::format("{}", DescriptorLimit())},
                        {"api_connections", fmt::format("{}", connections_.size())},
                        {"what", "no core and no operator can connect until some are free"}});
  }
  // Not watched meanwhile: it stays readable, and the loop would turn without a rest.
  SetReading(false);
  retry_at_ = now + kRetryAfter;
}

void ApiGate::SetReading(bool reading) {
  for (const Listener& listener : listeners_) {
    (void)loop_->SetInterest(listener.fd, {.read = reading, .write = false});
  }
}

std::optional<Time> ApiGate::OnTurn(Time now) {
  if (!retry_at_ || now < *retry_at_) return retry_at_;
  retry_at_.reset();
  SetReading(true);
  for (size_t i = 0; i < listeners_.size() && !retry_at_; ++i) OnReadable(now, i);
  if (!retry_at_ && std::exchange(starving_, false) && log_ != nullptr) {
    log_->EventLimited(now, LogLevel::kInfo, "descriptors_free_again");
  }
  return retry_at_;
}

void ApiGate::Admit(Time now, size_t listener, int fd, int second) {
  const std::optional<OtherEnd> other = OtherEndOf(fd);
  if (!other) {
    close(fd);
    close(second);
    return;
  }
  const auto of_listener = [&](const auto& entry) { return entry.second.listener == listener; };
  const auto count = std::count_if(connections_.begin(), connections_.end(), of_listener);
  if (static_cast<size_t>(count) >= connections_max_) Displace(now, *Loser(listener, 0));
  const uint64_t number = next_number_++;
  // Neither read nor written here: what comes is its end.
  const absl::Status watched =
      loop_->Watch(second, {}, [this, number](Time, transport::FdReady) { Forget(number); });
  if (!watched.ok()) {
    close(fd);
    close(second);
    return;
  }
  connections_[number] = {listener, second, other->holder, other->port, /*called=*/false};
  ++counters_.accepted;
  adopt_(listener, fd);
}

std::optional<uint64_t> ApiGate::Loser(std::optional<size_t> listener, size_t held_always) const {
  for (const bool silent_only : {true, false}) {
    const auto counts = [&](const Connection& c) {
      const bool silent = c.port != 0 && !c.called;
      return (!listener || c.listener == *listener) && (silent || !silent_only);
    };
    std::map<std::pair<size_t, std::string_view>, size_t> held;
    size_t most = 0;
    for (const auto& [number, c] : connections_) {
      if (counts(c)) most = std::max(most, ++held[{c.listener, c.holder}]);
    }
    if (most <= held_always) continue;
    for (const auto& [number, c] : connections_) {
      if (counts(c) && held[{c.listener, c.holder}] == most) return number;
    }
  }
  return std::nullopt;
}

void ApiGate::Displace(Time now, uint64_t number) {
  const Connection& connection = connections_.at(number);
  ++counters_.displaced;
  if (log_ != nullptr) {
    log_->EventLimited(now, LogLevel::kWarning, "api_connection_displaced",
                       {{"listener", listeners_[connection.listener].name},
                        {"held_by", connection.holder},
                        {"connections", fmt::format("{}", connections_.size())}});
  }
  (void)shutdown(connection.fd, SHUT_RDWR);  // gRPC sees its end, and closes it
  Forget(number);
}

void ApiGate::Forget(uint64_t number) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  loop_->Unwatch(found->second.fd);
  close(found->second.fd);
  connections_.erase(found);
}

void ApiGate::OnCall(std::string_view peer) {
  const size_t colon = peer.rfind(':');
  if (colon == std::string_view::npos || !peer.starts_with("ip")) return;
  uint16_t port = 0;
  const std::string_view digits = peer.substr(colon + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (port == 0) return;
  // Another address may have the same port: then it is spared too.
  for (auto& [number, connection] : connections_) {
    if (connection.port == port) connection.called = true;
  }
}

}  // namespace overlay::server
