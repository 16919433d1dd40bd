#include "server/listeners.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <tuple>
#include <utility>

#include "server/pem_files.h"
#include "transport/tls_files.h"

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
  const std::string& tls_cert;
  const std::string& tls_key;
  const std::string& tls_client_ca;

  bool has_tls() const { return !tls_cert.empty() || !tls_key.empty() || !tls_client_ca.empty(); }
  bool is_unix() const { return listen.rfind(kUnix, 0) == 0; }
  std::string path() const { return listen.substr(kUnix.size()); }
};

std::vector<ListenerConfig> Listeners(const Config& c) {
  std::vector<ListenerConfig> list;
  list.push_back({"api", ListenerRole::kCore, c.api_listen, c.api_socket_mode, c.api_socket_group,
                  c.api_token_file, c.api_insecure_loopback, c.api_tls_cert, c.api_tls_key,
                  c.api_tls_client_ca});
  if (!c.operator_listen.empty()) {
    list.push_back({"operator", ListenerRole::kOperator, c.operator_listen, c.operator_socket_mode,
                    c.operator_socket_group, c.operator_token_file, c.operator_insecure_loopback,
                    c.operator_tls_cert, c.operator_tls_key, c.operator_tls_client_ca});
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
  const std::string& name = listener.socket_group;
  if (const struct group* const group = getgrnam(name.c_str())) return group->gr_gid;
  // A container has numbers only: its groups come from whoever runs it.
  gid_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool whole = error == std::errc() && end == name.data() + name.size();
  // chown takes the highest number for "leave it".
  if (whole && number != static_cast<gid_t>(-1)) return number;
  return Wrong(listener, "socket_group", name, "a group of this machine, or the number of one");
}

// R4.
absl::Status ReadTls(const ListenerConfig& listener, RpcListener* rpc) {
  absl::StatusOr<PemPair> pair = ReadPemPair(listener.prefix, listener.tls_cert, listener.tls_key);
  if (!pair.ok()) return pair.status();
  const std::string ca_key = listener.prefix + ".tls_client_ca";
  absl::StatusOr<std::string> ca = ReadPem(ca_key, listener.tls_client_ca);
  if (!ca.ok()) return ca.status();
  if (const absl::Status good = transport::CheckCertificateChain(*ca); !good.ok()) {
    return Wrong(listener, "tls_client_ca", listener.tls_client_ca,
                 fmt::format("certificates in PEM ({})", std::string(good.message())));
  }
  rpc->tls_cert = std::move(pair->certificates);
  rpc->tls_key = std::move(pair->key);
  rpc->tls_client_ca = *std::move(ca);
  return absl::OkStatus();
}

// What a listener needs of files, but for the lock.
absl::Status ReadFiles(const ListenerConfig& listener, RpcListener* rpc) {
  if (listener.is_unix()) {
    if (listener.socket_group.empty()) return absl::OkStatus();
    return GroupId(listener).status();
  }
  if (!listener.token_file.empty()) {
    absl::StatusOr<std::string> token = ReadToken(listener);
    if (!token.ok()) return token.status();
    rpc->token = *std::move(token);
  }
  return listener.has_tls() ? ReadTls(listener, rpc) : absl::OkStatus();
}

// R5.
absl::Status CheckHttp3(const Config& config) {
  const auto wrong = [](std::string_view key, std::string_view value, std::string_view expected) {
    return absl::InvalidArgumentError(
        fmt::format("http3.{}: \"{}\" is not legal, expected {}", key, value, expected));
  };
  for (const auto& [key, value, other] :
       {std::tuple("tls_cert", config.http3_tls_cert, config.http3_tls_key),
        std::tuple("tls_key", config.http3_tls_key, config.http3_tls_cert)}) {
    if (value.empty() && !other.empty()) {
      return wrong(key, value, "a PEM file: http3.tls_cert and http3.tls_key go together");
    }
  }
  if (config.http3_listen.empty()) return absl::OkStatus();
  const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(config.http3_listen);
  if (!address.ok()) return wrong("listen", config.http3_listen, "ADDRESS:PORT, or nothing");
  if (!address->is_loopback() && config.http3_tls_cert.empty()) {
    return wrong("listen", config.http3_listen,
                 "a loopback address, or http3.tls_cert and http3.tls_key with it");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckListeners(const Config& config) {
  if (absl::Status status = CheckHttp3(config); !status.ok()) return status;
  for (const ListenerConfig& listener : Listeners(config)) {
    for (const auto& [key, value] :
         {std::pair<std::string_view, const std::string&>{"tls_cert", listener.tls_cert},
          {"tls_key", listener.tls_key},
          {"tls_client_ca", listener.tls_client_ca}}) {
      if (listener.is_unix() && !value.empty()) {
        return Wrong(listener, key, value, "nothing where the listener is a unix socket");
      }
      if (!listener.is_unix() && listener.has_tls() && value.empty()) {
        return Wrong(listener, key, value,
                     "a PEM file: tls_cert, tls_key and tls_client_ca go together");
      }
    }
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
    if (listener.has_tls()) continue;
    if (!address->is_loopback()) {
      return Wrong(
          listener, "listen", listener.listen,
          fmt::format("unix:PATH or a loopback address, or mutual TLS with it: {0}.tls_cert, "
                      "{0}.tls_key and {0}.tls_client_ca",
                      listener.prefix));
    }
    if (listener.token_file.empty() && !listener.insecure_loopback) {
      return Wrong(listener, "listen", listener.listen,
                   fmt::format("{0}.token_file with a loopback address, or mutual TLS, or "
                               "{0}.insecure_loopback",
                               listener.prefix));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<PemPair>> ReadHttp3Files(const Config& config) {
  if (config.http3_listen.empty() || config.http3_tls_cert.empty()) return std::nullopt;
  absl::StatusOr<PemPair> pair = ReadPemPair("http3", config.http3_tls_cert, config.http3_tls_key);
  if (!pair.ok()) return pair.status();
  return *std::move(pair);
}

absl::Status CheckListenerFiles(const Config& config) {
  if (const auto http3 = ReadHttp3Files(config); !http3.ok()) return http3.status();
  for (const ListenerConfig& listener : Listeners(config)) {
    RpcListener rpc;
    if (absl::Status status = ReadFiles(listener, &rpc); !status.ok()) return status;
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
    rpc.address = listener.listen;
    rpc.is_unix = listener.is_unix();
    if (absl::Status status = ReadFiles(listener, &rpc); !status.ok()) return status;
    if (rpc.is_unix) {
      absl::StatusOr<std::unique_ptr<UnixSocketLock>> lock = UnixSocketLock::Take(listener.path());
      if (!lock.ok()) return lock.status();
      prepared.locks.push_back(*std::move(lock));
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
