// tests/bench/synthetic_peers.h
//
// A process that plays many peers of one daemon: each with a key, a UDP socket and a PeerTransport
// of its own, all on one loop. They dial the daemon, send it a load at a steady pace, and serve
// what it asks them for.
//
//   overlay-bench --synthetic-peers DAEMON PEERS TPS ENVELOPES_PER_S SET_BYTES SECONDS SILENT
//
// Its output, line by line: "keys" and the peers' keys in hex; "started" and the time of the first
// tick, in nanoseconds of the clock that all processes share; "sent" and the figures of SentLoad.
// With SECONDS 0 it only serves and says no more than its keys and "started".
//
// Rules
//   R1  The schedule has ticks of kTick; what is due at a tick is sent at it or as soon after as
//       the process gets to it, never left out. A tick that is handled kTickLate after its time
//       counts as late.
//   R2  A peer announces what is new every kAnnounceTicks, peers at different ticks: as on a
//       network, the same hash comes from all of them within some milliseconds.
//   R3  With SILENT 1 a set that is asked for is never answered, nor refused: such a peer answers
//       probes and acknowledges, and that is all.
//
// Bounds   transactions stay servable for kServedFor.
#ifndef OVERLAY_TESTS_BENCH_SYNTHETIC_PEERS_H_
#define OVERLAY_TESTS_BENCH_SYNTHETIC_PEERS_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"
#include "tests/bench/child_process.h"

namespace overlay::bench {

inline constexpr Duration kTick = std::chrono::milliseconds(1);
inline constexpr Duration kTickLate = std::chrono::milliseconds(5);
inline constexpr uint64_t kAnnounceTicks = 10;
inline constexpr Duration kServedFor = std::chrono::seconds(30);

struct SyntheticOptions {
  std::string daemon;  // where it listens for peers
  uint64_t peers = 30;
  uint64_t tps = 0;
  uint64_t envelopes_per_second = 0;
  uint64_t set_bytes = 3'000'000;
  uint64_t seconds = 0;
  bool silent = false;
};

struct SentLoad {
  uint64_t transactions = 0;
  uint64_t envelopes = 0;
  uint64_t ticks = 0;
  uint64_t ticks_late = 0;
  uint64_t worst_lag_us = 0;
  uint64_t bodies_served = 0;
  uint64_t bodies_unknown = 0;
  uint64_t sets_served = 0;
  uint64_t envelopes_dropped = 0;  // at the bound of a peer's queue, or with its connection
  uint64_t disconnects = 0;
  uint64_t goaways = 0;  // of those, after the daemon said that it goes
  uint64_t cpu_us = 0;
};

class SyntheticPeers {
 public:
  // Starts the process and waits until the daemon has all its peers.
  static absl::StatusOr<std::unique_ptr<SyntheticPeers>> Start(const SyntheticOptions& options,
                                                               const std::string& folder);
  const std::vector<NodeKey>& keys() const { return keys_; }
  Time started() const { return started_; }
  // When the seconds are over.
  absl::StatusOr<SentLoad> WaitForEnd(Duration patience);

 private:
  std::unique_ptr<ChildProcess> process_;
  std::vector<NodeKey> keys_;
  Time started_;
};

// The process; `words` as above. An exit code.
int ServeSyntheticPeers(const std::vector<std::string>& words);

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_SYNTHETIC_PEERS_H_
