// tests/bench/scp_mode.h
//
// Mode scp: envelopes from core to core, at a steady pace, the floors between.
//
// Rules
//   R1  Each envelope has a (node, slot) of its own. Why: a newer one of the same key may supersede
//       an older, and a copy that was not sent is neither a latency nor a loss.
//   R2  The cores take turns in sending, and nobody relays: in a full mesh a relay reaches no one.
//       A copy is one envelope at one other core.
//   R3  The sets that envelopes name are offered by every core a slot ahead, and slots close as
//       they go by. Why: a daemon would fetch unknown sets, and keep slots for ever: that is
//       another load.
#ifndef OVERLAY_TESTS_BENCH_SCP_MODE_H_
#define OVERLAY_TESTS_BENCH_SCP_MODE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "tests/bench/clock.h"
#include "tests/bench/daemons.h"
#include "tests/bench/floors.h"

namespace overlay::bench {

struct ScpOptions {
  size_t count = 5'000;
  Duration gap = std::chrono::milliseconds(1);
};

struct ScpResult {
  Samples latency;
  uint64_t copies = 0;
  uint64_t lost = 0;
  uint64_t sends = 0;
  uint64_t late = 0;
  double cpu_us_per_copy = 0;
};

absl::StatusOr<ScpResult> RunScp(const ScpOptions& options, const Daemons& daemons, Floors& floors);

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_SCP_MODE_H_
