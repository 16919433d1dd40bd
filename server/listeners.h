// server/listeners.h
//
// Where the gRPC server may listen, and what is done on the machine before and after it does.
//
// Rules
//   R1  A unix socket (its path 107 bytes at most), or a loopback address with a token, with mutual
//       TLS, or with the word that any local process may come; any other address with mutual TLS.
//   R2  A unix socket's address is held by a lock file beside it, PATH.lock, with our process id in
//       it. Why: to bind it means to take the place of what is there, also of a living server.
//   R3  Between bind and chmod nobody else can connect: the umask is 0177 meanwhile.
//   R4  Certificate, key and authorities are read and checked before anything listens. Why: gRPC
//       would take any text and refuse every client later.
//   R5  The HTTP/3 window listens on loopback, or has a certificate of the operator's. Why: what is
//       made here for itself proves nothing to who is elsewhere.
//
// Threads  start-up, before there are any.
#ifndef OVERLAY_SERVER_LISTENERS_H_
#define OVERLAY_SERVER_LISTENERS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/pem_files.h"
#include "server/rpc_server.h"

namespace overlay::server {

inline constexpr size_t kUnixPathBytesMax = 107;

// R1 for both listeners of a config, and R5. INVALID_ARGUMENT, one line, naming setting, value and
//     what is expected.
absl::Status CheckListeners(const Config& config);
// R4, and the tokens. INVALID_ARGUMENT as above.
absl::Status CheckListenerFiles(const Config& config);
// Of the window; nullopt: it has none, or is off. INVALID_ARGUMENT as above.
absl::StatusOr<std::optional<PemPair>> ReadHttp3Files(const Config& config);

// Holds PATH.lock while it lives. The file stays: removing it would race with the next daemon.
class UnixSocketLock {
 public:
  // FAILED_PRECONDITION, naming the path and the process that holds it; else what the file system
  // says.
  static absl::StatusOr<std::unique_ptr<UnixSocketLock>> Take(const std::string& socket_path);
  ~UnixSocketLock();
  UnixSocketLock(const UnixSocketLock&) = delete;
  UnixSocketLock& operator=(const UnixSocketLock&) = delete;

 private:
  explicit UnixSocketLock(int fd) : fd_(fd) {}
  const int fd_;
};

// The listeners of a config, locked and with their tokens, certificates and keys read.
struct PreparedListeners {
  std::vector<RpcListener> listeners;  // the core's, then the operators' if there is one
  std::vector<std::unique_ptr<UnixSocketLock>> locks;
  mode_t mask_before = 0;
};
// Takes the locks, reads the tokens, sets the umask (R3). FAILED_PRECONDITION: held by another
// daemon. INVALID_ARGUMENT: a file or group that cannot be used.
absl::StatusOr<PreparedListeners> PrepareListeners(const Config& config);
// After the server has started: umask, mode and group.
absl::Status FinishListeners(const Config& config, const PreparedListeners& prepared);

// "unix:/path" or "127.0.0.1:4711", with the port that was bound.
std::string BoundAddress(const std::string& listen, int port);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_LISTENERS_H_
