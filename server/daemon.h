// server/daemon.h
//
// The composition root: builds everything from a Config, runs the loop, drains.
//
// A turn, in this order
//   datagrams; completions of the core's calls (SCP first); what the node makes of both; class 0 to
//   the wire, then the rest (PeerTransport's order); batches to the core; metrics; timers.
//
// Drain (SIGTERM, SIGINT, Operator.Drain): the steps of drain.h. The metrics server stops on a
// thread of its own from the start, because it may take 2 s.
#ifndef OVERLAY_SERVER_DAEMON_H_
#define OVERLAY_SERVER_DAEMON_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/crypto.h"
#include "server/config.h"

namespace overlay::server {

struct DaemonOptions {
  // Ends the drain when the parent process has gone.
  bool exit_with_parent = false;
  // Blocked in all threads, read from a descriptor: SIGTERM, SIGINT and SIGHUP.
  bool handle_signals = true;
  // Reads the configuration again, on SIGHUP. None: nothing is read.
  std::function<absl::StatusOr<Config>()> reload = {};
};

class Daemon {
 public:
  // INVALID_ARGUMENT: the config cannot be used (exit 2). Everything else: the machine will not
  // have it (exit 1). One line, naming the address and who holds it.
  static absl::StatusOr<std::unique_ptr<Daemon>> Create(const Config& config,
                                                        const DaemonOptions& options);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // One line of JSON with the addresses that were bound.
  std::string ReadyLine() const;
  // Until drained.
  void Run();
  // Begins the drain. Any thread.
  void RequestStop();

 private:
  class Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The node's key from file or environment. Messages never repeat it.
absl::StatusOr<SecretSeed> LoadKey(const Config& config);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_DAEMON_H_
