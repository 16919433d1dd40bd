// server/api_gate.h
//
// The listening sockets of the gRPC server: connections are accepted here, on the loop, and handed
// to gRPC as descriptors.
//
// Rules
//   R1  gRPC never calls accept. Why: its 1.51 gives a listening socket up for ever when accept
//       fails, with EMFILE above all, and nobody could attach until the daemon is restarted.
//   R2  A listener has `connections_max`. Beyond it the newcomer comes in and another one goes: one
//       that made no call yet, where that can be told (not on a unix socket), else any; of those
//       the oldest of whoever holds most (a process on a unix socket, elsewhere an address).
//       Why: who holds many connections must not keep the core out. Processes of another PID
//       namespace (another container) have no number here: there their users tell them apart.
//   R3  Without a free descriptor nothing is accepted, and what waits to be is not lost: some of
//       whoever holds most go, if that is more than kHeldAlways of a listener, and the next try is
//       kRetryAfter later. It is said when it begins and when it is over.
//   R4  A connection is held here too, by a second descriptor, until it is over. Why: only so can
//       one be ended without the risk that another has got its number meanwhile.
//
// Bounds   connections_max a listener; kAcceptsPerTurn a turn and listener.
// Cost     O(connections) where one must go; some 100 us a connection, most of it gRPC's.
// Threads  the loop's.
// Not here what is said on a connection (rpc_server.h), who may reach a socket (listeners.h).
#ifndef OVERLAY_SERVER_API_GATE_H_
#define OVERLAY_SERVER_API_GATE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "server/log.h"
#include "transport/event_loop.h"

namespace overlay::server {

struct ApiGateCounters {
  uint64_t accepted = 0;
  uint64_t displaced = 0;  // R2, R3
  uint64_t starved = 0;    // tries to accept without a descriptor, or without memory
};

class ApiGate {
 public:
  static constexpr int kAcceptsPerTurn = 4;
  static constexpr size_t kHeldAlways = 4;
  static constexpr Duration kRetryAfter = std::chrono::milliseconds(20);

  // `log` may be null.
  ApiGate(transport::EventLoop* loop, Log* log) : loop_(loop), log_(log) {}
  ~ApiGate();
  ApiGate(const ApiGate&) = delete;
  ApiGate& operator=(const ApiGate&) = delete;

  // Binds "unix:/path", replacing a socket that is there (whoever calls holds its lock), or
  // "127.0.0.1:0", and listens; `name` is the log's. Gives the port, 0 for a unix socket.
  // FAILED_PRECONDITION, naming the address.
  absl::StatusOr<int> Open(const std::string& name, const std::string& address);
  // `adopt` gets the number of the listener, in the order of Open(), and a descriptor that it owns.
  absl::Status Start(size_t connections_max, std::function<void(size_t, int)> adopt);
  // No new connections; unix sockets are removed. Those that are there stay.
  void Stop();

  // Tries again what could not be accepted; when to be called next.
  std::optional<Time> OnTurn(Time now);
  // A call came from `peer`, as gRPC names it: "ipv4:127.0.0.1:40000".
  void OnCall(std::string_view peer);

  const ApiGateCounters& counters() const { return counters_; }
  size_t connection_count() const { return connections_.size(); }

 private:
  struct Listener {
    std::string name;
    std::string unix_path;  // empty: TCP
    int fd = -1;
  };
  struct Connection {
    size_t listener = 0;
    int fd = -1;
    std::string holder;  // "process 4711 of user 0", "10.0.0.1"
    uint16_t port = 0;   // of the other end; 0: unix
    bool called = false;
  };

  void OnReadable(Time now, size_t listener);
  // False: there is none, or none can be taken now.
  bool AcceptOne(Time now, size_t listener);
  void Starve(Time now);
  void SetReading(bool reading);
  void Admit(Time now, size_t listener, int fd, int second);
  // R2, R3: of one listener, or of all; whose holder has more than `held_always`.
  std::optional<uint64_t> Loser(std::optional<size_t> listener, size_t held_always) const;
  void Displace(Time now, uint64_t number);
  void Forget(uint64_t number);

  transport::EventLoop* const loop_;
  Log* const log_;
  size_t connections_max_ = 0;
  std::function<void(size_t, int)> adopt_;
  std::vector<Listener> listeners_;
  std::map<uint64_t, Connection> connections_;  // by the order in which they came
  uint64_t next_number_ = 1;
  std::optional<Time> retry_at_;
  bool starving_ = false;  // said
  ApiGateCounters counters_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_API_GATE_H_
