#include "server/listeners.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

namespace overlay::server {
namespace {

constexpr std::string_view kUnix = "unix:";

struct ListenerConfig {
  std::string prefix;  // "api" or "operator"
  ListenerRole role;
  const std::string& listen;
  uint32_t socket_mode;
  const std::string& socket_group;
  const std::string& token_file;
  bool insecure_loopback;

  bool is_unix() const { return listen.rfind(kUnix, 0) == 0; }
  std::string path() const { return listen.substr(kUnix.size()); }
};

std::vector<ListenerConfig> Listeners(const Config& c) {
  std::vector<ListenerConfig> list;
  list.push_back({"api", ListenerRole::kCore, c.api_listen, c.api_socket_mode, c.api_socket_group,
                  c.api_token_file, c.api_insecure_loopback});
  if (!c.operator_listen.empty()) {
    list.push_back({"operator", ListenerRole::kOperator, c.operator_listen, c.operator_socket_mode,
                    c.operator_socket_group, c.operator_token_file, c.operator_insecure_loopback});
  }
  return list;
}

absl::Status Wrong(const ListenerConfig& listener, std::string_view key, std::string_view value,
                   std::string_view expected) {
  return absl::InvalidArgumentError(fmt::format("{}.{}: \"{}\" is not legal, expected {}",
                                                listener.prefix, key, value, expected));
}

absl::StatusOr<std::string> ReadToken(const ListenerConfig& listener) {
  std::ifstream stream(listener.token_file);
  std::string token;
  if (!stream || !std::getline(stream, token)) {
    return Wrong(listener, "token_file", listener.token_file,
                 "a readable file with a token in its first line");
  }
  while (!token.empty() && (token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (token.size() < 16 || token.size() > 1024) {
    return Wrong(listener, "token_file", listener.token_file, "a token of 16 to 1024 characters");
  }
  return token;
}

absl::StatusOr<gid_t> GroupId(const ListenerConfig& listener) {
  errno = 0;
  const struct group* const group = getgrnam(listener.socket_group.c_str());
  if (group == nullptr)
    return Wrong(listener, "socket_group", listener.socket_group, "a group of this machine");
  return group->gr_gid;
}

}  // namespace

absl::Status CheckListeners(const Config& config) {
  for (const ListenerConfig& listener : Listeners(config)) {
    if (listener.is_unix()) {
      if (listener.path().size() > kUnixPathBytesMax) {
        return Wrong(listener, "listen", listener.listen,
                     fmt::format("a path of at most {} bytes (it has {})", kUnixPathBytesMax,
                                 listener.path().size()));
      }
      continue;
    }
    const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(listener.listen);
    if (!address.ok())
      return Wrong(listener, "listen", listener.listen, "unix:PATH or ADDRESS:PORT");
    if (!address->is_loopback()) {
      return Wrong(listener, "listen", listener.listen,
                   "unix:PATH or a loopback address: elsewhere mutual TLS is needed, which this "
                   "version has not");
    }
    if (listener.token_file.empty() && !listener.insecure_loopback) {
      return Wrong(listener, "listen", listener.listen,
                   fmt::format("{0}.token_file with a loopback address, or {0}.insecure_loopback",
                               listener.prefix));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<UnixSocketLock>> UnixSocketLock::Take(
    const std::string& socket_path) {
  const std::string lock_path = socket_path + ".lock";
  const int fd = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    return absl::FailedPreconditionError(fmt::format("cannot listen on unix:{}: {}: {}",
                                                     socket_path, lock_path, std::strerror(errno)));
  }
  std::unique_ptr<UnixSocketLock> lock(new UnixSocketLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t bytes = pread(fd, holder, sizeof(holder) - 1, 0);
    std::string pid(holder, bytes > 0 ? static_cast<size_t>(bytes) : 0);
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return absl::FailedPreconditionError(fmt::format("cannot listen on unix:{}: held by process {}",
                                                     socket_path, pid.empty() ? "unknown" : pid));
  }
  const std::string pid = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) != 0 ||
      pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return absl::FailedPreconditionError(fmt::format("cannot listen on unix:{}: {}: {}",
                                                     socket_path, lock_path, std::strerror(errno)));
  }
  return lock;
}

UnixSocketLock::~UnixSocketLock() { close(fd_); }

absl::StatusOr<PreparedListeners> PrepareListeners(const Config& config) {
  PreparedListeners prepared;
  for (const ListenerConfig& listener : Listeners(config)) {
    RpcListener rpc;
    rpc.role = listener.role;
    rpc.grpc_address = listener.listen;
    rpc.is_unix = listener.is_unix();
    if (rpc.is_unix) {
      if (!listener.socket_group.empty()) {
        if (absl::StatusOr<gid_t> group = GroupId(listener); !group.ok()) return group.status();
      }
      absl::StatusOr<std::unique_ptr<UnixSocketLock>> lock = UnixSocketLock::Take(listener.path());
      if (!lock.ok()) return lock.status();
      prepared.locks.push_back(*std::move(lock));
    } else if (!listener.token_file.empty()) {
      absl::StatusOr<std::string> token = ReadToken(listener);
      if (!token.ok()) return token.status();
      rpc.token = *std::move(token);
    }
    prepared.listeners.push_back(std::move(rpc));
  }
  prepared.mask_before = umask(0177);
  return prepared;
}

absl::Status FinishListeners(const Config& config, const PreparedListeners& prepared) {
  umask(prepared.mask_before);
  for (const ListenerConfig& listener : Listeners(config)) {
    if (!listener.is_unix()) continue;
    const std::string path = listener.path();
    if (!listener.socket_group.empty()) {
      const absl::StatusOr<gid_t> group = GroupId(listener);
      if (!group.ok()) return group.status();
      if (chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) {
        return Wrong(
            listener, "socket_group", listener.socket_group,
            fmt::format("a group that we may give a socket to ({})", std::strerror(errno)));
      }
    }
    if (chmod(path.c_str(), listener.socket_mode) != 0) {
      return absl::FailedPreconditionError(
          fmt::format("cannot set the mode of {}: {}", path, std::strerror(errno)));
    }
  }
  return absl::OkStatus();
}

std::string BoundAddress(const std::string& listen, int port) {
  if (listen.empty() || listen.rfind(kUnix, 0) == 0) return listen;
  return fmt::format("{}:{}", listen.substr(0, listen.rfind(':')), port);
}

}  // namespace overlay::server
