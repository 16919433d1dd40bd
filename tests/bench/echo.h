// tests/bench/echo.h
//
// The floors: what the machine, its kernel and the libraries need for one round trip of kEchoBytes,
// and for bulk, without a daemon. Each has its other end in a process of its own, since waking
// another process is most of it.
//
// The other end is this program again: `overlay-bench --echo KIND FOLDER` prints one line with its
// address when it is ready.
#ifndef OVERLAY_TESTS_BENCH_ECHO_H_
#define OVERLAY_TESTS_BENCH_ECHO_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"

namespace overlay::bench {

// An SCP envelope, roughly.
inline constexpr size_t kEchoBytes = 300;
// Chunks in which the core's API moves sets.
inline constexpr size_t kBulkChunkBytes = 128 << 10;
inline constexpr size_t kBulkBytes = 64 << 20;
// Longer than any honest round trip: the other end has died.
inline constexpr Duration kEchoPatience = std::chrono::seconds(5);

class Echo {
 public:
  virtual ~Echo() = default;
  // Until `at`, whatever must be answered meanwhile is.
  virtual void WaitUntil(Time at) = 0;
  // Sends and waits for the answer.
  virtual absl::Status RoundTrip() = 0;
  // Sends kBulkBytes and waits until the other end has them all. UNIMPLEMENTED where there is no
  // such floor.
  virtual absl::Status Bulk() { return absl::UnimplementedError("no bulk"); }
};

absl::StatusOr<std::unique_ptr<Echo>> ConnectUdpEcho(const std::string& address);
absl::StatusOr<std::unique_ptr<Echo>> ConnectUnixEcho(const std::string& address);
absl::StatusOr<std::unique_ptr<Echo>> ConnectGrpcEcho(const std::string& address);
absl::StatusOr<std::unique_ptr<Echo>> ConnectQuicEcho(const std::string& address);

// The other ends: print their address and serve one client until a signal ends them; return only
// when they cannot.
int ServeUdpEcho();
int ServeUnixEcho(const std::string& folder);
int ServeGrpcEcho(const std::string& folder);
int ServeQuicEcho();

// Prints "ready ADDRESS".
void SayReady(std::string_view address);

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_ECHO_H_
