// tests/sim/fault_plan.h
//
// A run of the simulator from one seed: a network, traffic, faults drawn from the seed one after
// another; then everything heals, and the network must converge by a deadline. Limits shrink at
// random, so that rare paths run.
//
//   RunOutcome outcome = RunFaultPlan({.seed = 7});
//
// Faults: loss, a slow link, jitter, partition, isolation, a dead connection, a core that detaches,
// a node that restarts.
#ifndef OVERLAY_TESTS_SIM_FAULT_PLAN_H_
#define OVERLAY_TESTS_SIM_FAULT_PLAN_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "flood/base/time.h"
#include "tests/sim/checkers.h"

namespace overlay::sim {

// From healing to convergence: an idle time-out (30 s), the longest redial (20 s) and what a
// transfer takes.
inline constexpr Duration kConvergeWithin = std::chrono::seconds(75);

struct FaultPlanOptions {
  uint64_t seed = 1;
  std::optional<size_t> node_count;  // else 2 to 7, drawn
  Duration faults_for = std::chrono::seconds(20);
};

struct RunOutcome {
  bool ok = false;
  std::string replay;  // what happened, if not ok
  uint64_t trace = 0;
  uint64_t datagrams = 0;
  uint64_t handshakes = 0;
  size_t node_count = 0;
  size_t faults = 0;
  CheckerCounts counts;
};

RunOutcome RunFaultPlan(const FaultPlanOptions& options);

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_FAULT_PLAN_H_
