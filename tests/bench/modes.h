// tests/bench/modes.h
//
// What overlay-bench measures with daemons: each mode is one function that runs to its end.
#ifndef OVERLAY_TESTS_BENCH_MODES_H_
#define OVERLAY_TESTS_BENCH_MODES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "tests/bench/daemons.h"
#include "tests/bench/floors.h"
#include "tests/bench/scp_run.h"
#include "tests/bench/synthetic_peers.h"

namespace overlay::bench {

// Envelopes from core to core through a mesh, the floors between its parts.
absl::StatusOr<ScpResult> RunScp(const ScpOptions& options, const Daemons& daemons, Floors& floors);

// The same beside requests to the first daemon's HTTP/3 window, in alternation with none.
struct WindowResult {
  ScpResult without;
  ScpResult with;
  double ratio = 0;  // of the medians of two parts, one after the other: the median of all pairs
  Samples pages;     // asked for, to complete
  uint64_t asked = 0;
  uint64_t refused = 0;  // 429, or given up
};
absl::StatusOr<WindowResult> RunWindow(const ScpOptions& options, uint64_t per_second,
                                       const Daemons& daemons);

// An envelope each 5 ms from the first core to the second beside sets of 10 MB the same way, two at
// a time, each with a hash of its own: SCP's latency on a link that is full.
struct IsolationResult {
  ScpResult scp;
  uint64_t sets = 0;  // that have come whole
};
// `say`: called with "measuring" after the warm-up, "measured" at the end.
absl::StatusOr<IsolationResult> RunIsolation(Duration time, const std::string& from,
                                             const std::string& to,
                                             const std::function<void(const char*)>& say);

// Two daemons, and at the first a peer that completes the handshake, grants 8 streams and never
// reads: what the other one and the memory feel of it. Envelopes each millisecond; the peer is
// there in the second of three equal parts. With 30 s a part the first one fills what a daemon
// keeps of slots (128 of 0.2 s), so that the growth in the second is the peer's.
struct StallResult {
  ScpResult without;  // first and last part
  ScpResult with;
  double rss_growth_mb = 0;  // of the first daemon, the largest while the peer is there
  // From the first envelope that the peer left no stream for to the close; nullopt: not closed as
  // stalled.
  std::optional<double> closed_after_seconds;
};
absl::StatusOr<StallResult> RunStall(Duration part, const Daemons& daemons);

// Three daemons. In the second of two parts the last core stops reading, and the first submits
// transactions at a steady rate all along: what the envelopes from the first core to the other feel
// of it, and the last one's daemon. At its end the core reads on.
struct DeafResult {
  ScpResult quiet;
  ScpResult beside;  // latencies of the core that reads; losses of both
  uint64_t transactions = 0;
  uint64_t refused = 0;      // submissions
  uint64_t lost = 0;         // that a core was not given in the end
  uint64_t overflows = 0;    // messages that daemons told their cores to be lost
  uint64_t waiting_max = 0;  // envelopes and transactions that the daemon held for the core
  uint64_t waiting_end = 0;
  double rss_growth_mb = 0;  // of the last daemon, the largest in the part
};
absl::StatusOr<DeafResult> RunDeaf(size_t transactions, Duration part, const Daemons& daemons);

// Transactions from the first core to all others, each unique, which judge them valid: first one by
// one, so that nothing waits for anything else, then all at once.
struct TxResult {
  uint64_t sent = 0;  // in both parts
  uint64_t lost = 0;  // copies that a core did not get
  Samples pull;       // of the first part: submitted to delivered
  double per_second = 0;
  double cpu_us_per_tx_per_node = 0;
  double wire_bytes_per_tx_per_link = 0;  // UDP datagrams, both ways
  double duplicate_share = 0;             // bodies received again, of all received
};
absl::StatusOr<TxResult> RunTx(size_t count, const Daemons& daemons);

// Sets of one size, each new, from those that have it to one core that fetches it, one at a time.
struct TxSetOptions {
  size_t bytes = 10'000'000;
  size_t count = 20;
  uint32_t sources = 1;  // 1 to 3: cores that offer it, and sources asked
  // The first source that is asked answers probes and acknowledges, and never writes.
  bool silent_first = false;
};
struct TxSetResult {
  Samples fetch;  // asked for, to delivered whole
  uint64_t lost = 0;
  double daemon_ms_per_set = 0;  // of that, until the fetching daemon had it whole; the mean
  double cpu_ms_per_set = 0;
  double wire_bytes_per_set = 0;  // what the fetching daemon read
};
absl::StatusOr<TxSetResult> RunTxSet(const TxSetOptions& options, const Daemons& daemons,
                                     Floors* floors, const std::string& folder);

// TopTransactions of 1,000 from a mempool that is full, half of it in each lane.
struct MempoolResult {
  Samples rules;        // flood's Mempool alone
  Samples rules_tenth;  // the same with a tenth in the pool: the cost is of what is returned
  Samples daemon;       // through a daemon, as its core sees it
};
absl::StatusOr<MempoolResult> RunMempool(size_t count, const Daemons& daemons);

// One daemon with its core under the load that the design is made for, all of it from synthetic
// peers: each transaction announced by all, each envelope sent by half of them, a set a ledger, a
// ledger each 0.6 s. Nothing is left out when the machine is too slow: then the run is invalid.
struct MissionOptions {
  uint64_t peers = 30;
  uint64_t tps = 10'000;
  uint64_t envelopes_per_second = 1'700;
  uint64_t set_bytes = 3'000'000;
  uint64_t seconds = 60;
};
struct MissionResult {
  std::string invalid;  // why; empty: valid
  SentLoad sent;
  double daemon_cores = 0;
  double core_cores = 0;   // of this process
  double peers_cores = 0;  // of the synthetic peers
  double turns_per_second = 0;
  double turn_p99_us = 0;  // whole turns of the loop, class 0 included
  double turn_p999_us = 0;
  double turn_other_p99_us = 0;  // without what envelopes (class 0) caused
  double turn_other_p999_us = 0;
  std::vector<double> rss_mb;  // of the daemon, at each sixth of the time
  // Meant to be announced or sent, to at the core.
  Samples transactions;
  uint64_t transactions_lost = 0;
  uint64_t transactions_repeated = 0;
  Samples envelopes;
  uint64_t envelopes_lost = 0;
  uint64_t envelopes_repeated = 0;
  // The first envelope that names it meant to be sent, to the whole set at the core.
  Samples sets;
  uint64_t sets_named = 0;
  Samples externalized;  // duration of TxSetExternalized
};
absl::StatusOr<MissionResult> RunMission(const MissionOptions& options, const Daemons& daemons,
                                         const std::string& folder);

// SIGTERM to the daemon in the middle of that load: how it goes, as it and its peers see it.
struct DrainResult {
  int exit_code = -1;
  double exit_ms = 0;      // from the signal
  uint64_t delivered = 0;  // transactions to the core until then
  SentLoad sent;
};
absl::StatusOr<DrainResult> RunDrain(const MissionOptions& options, const Daemons& daemons,
                                     const std::string& folder);
// What an operator reads, and one line of JSON.
std::string MissionText(const MissionOptions& options, const MissionResult& result);
std::string MissionJson(const MissionOptions& options, const MissionResult& result);

// A daemon with nothing to do, for a while.
struct IdleFigures {
  double anonymous_mb = 0;
  double voluntary_switches_per_second = 0;
  double cpu_ms_per_minute = 0;
};
struct IdleResult {
  IdleFigures alone;
  IdleFigures with_four_peers;
  // A gRPC server and a metrics server of the same kind, without anything else.
  IdleFigures bare;
};
absl::StatusOr<IdleResult> RunIdle(Duration time, const std::string& overlayd,
                                   const std::string& folder);
// The bare server of RunIdle, until a signal ends it; returns only when it cannot.
int ServeBare(const std::string& folder);

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_MODES_H_
