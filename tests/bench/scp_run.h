// tests/bench/scp_run.h
//
// Cores that send each other envelopes at a steady pace through running daemons, and what came of
// it.
//
//   ScpRun run({.count = 5'000}, daemons.apis(), [&] { return daemons.CpuTime(); });
//   run.Connect(); run.SendPart(0, 5'000, &result); run.Finish(0, &result);
//
// Rules
//   R1  Each envelope has a (node, slot) of its own. Why: a newer one of the same key may supersede
//       an older, and a copy that was not sent is neither a latency nor a loss.
//   R2  The cores take turns in sending, or one sends all; nobody relays: in a full mesh a relay
//       reaches no one. A copy is one envelope at one other core.
//   R3  The sets that envelopes name are offered by every core a slot ahead, and slots close as
//       they go by. Why: a daemon would fetch unknown sets, and keep slots for ever: that is
//       another load.
//
// Threads  one drives it; Hooks are called on the clients' other threads (client.h).
#ifndef OVERLAY_TESTS_BENCH_SCP_RUN_H_
#define OVERLAY_TESTS_BENCH_SCP_RUN_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "flood/base/time.h"
#include "overlay/client.h"
#include "tests/bench/clock.h"

namespace overlay::bench {

struct ScpOptions {
  size_t count = 5'000;
  Duration gap = std::chrono::milliseconds(1);
  bool first_core_sends_all = false;
  ClientOptions client = {};  // of each core, but for target and network
};

struct ScpResult {
  Samples latency;
  uint64_t copies = 0;
  uint64_t lost = 0;
  uint64_t sends = 0;
  uint64_t late = 0;
  double cpu_us_per_copy = 0;
};

// What a mode adds to a run; `core` is its number. Any may be empty.
struct ScpHooks {
  std::function<void(size_t core, const Hash& hash)> on_offered = nullptr;
  std::function<void(size_t core, ReceivedSet set)> on_set = nullptr;
  std::function<void(size_t core, const std::vector<ReceivedTransaction>&)> on_transactions =
      nullptr;
  // Before anything is made of an envelope; may block.
  std::function<void(size_t core)> before_envelope = nullptr;
  // A core that is absent says nothing: it closes no slot and offers nothing meanwhile.
  std::function<bool(size_t core)> is_absent = nullptr;
  // When all envelopes of a part are sent, before copies are waited for.
  std::function<void()> after_sends = nullptr;
};

class ScpRun {
 public:
  // `apis`: where each core attaches. `cpu`: what the daemons have used so far.
  ScpRun(const ScpOptions& options, std::vector<std::string> apis, std::function<Duration()> cpu,
         ScpHooks hooks = {});
  ~ScpRun();

  // Attaches all cores and waits until their daemons have each other as peers.
  absl::Status Connect();
  // Envelopes [begin, end) at the pace. Waits for the copies; counts what it cost.
  absl::Status SendPart(size_t begin, size_t end, ScpResult* result);
  // Latencies and losses of envelopes [begin, end) that were sent. The clients are stopped first.
  // Of core `untimed` only losses.
  void Finish(size_t begin, size_t end, ScpResult* result, std::optional<size_t> untimed = {});

  Client& client(size_t core);
  // The slot of an envelope.
  static uint64_t SlotOf(size_t number);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_SCP_RUN_H_
