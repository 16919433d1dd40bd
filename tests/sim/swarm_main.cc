// overlay_sim: runs the network simulator from seeds, and says how to see a failure again.
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "flood/base/check.h"
#include "fmt/format.h"
#include "tests/sim/fault_plan.h"
#include "tests/sim/in_child.h"

namespace {

constexpr char kGood = '+';
constexpr char kBad = '-';

constexpr std::string_view kHelp =
    R"(usage: overlay_sim [--seed N] [--seeds COUNT] [--nodes N] [--seconds S]

Simulates networks of real nodes and real QUIC connections in virtual time, with faults drawn from
a seed: loss, partitions, dead connections, cores that go, nodes that restart. Checks safety at each
step; then heals everything and demands convergence.

  --seed N      the first seed (default: drawn)
  --seeds COUNT how many seeds, from the first one on (default 1)
  --nodes N     2 to 7 (default: drawn from the seed)
  --seconds S   virtual seconds with faults (default 20)

Prints a line a seed with the hash of all that happened, which is the same for the same seed. Exit 1
on a failure, with the command that shows it again; 2 for wrong arguments.
)";

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Arguments {
  std::optional<uint64_t> seed;
  uint64_t seeds = 1;
  overlay::sim::FaultPlanOptions plan;
};

// The argument that is wrong, or null.
const char* Parse(int argc, char** argv, Arguments& out) {
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::optional<uint64_t> value = i + 1 < argc ? ParseNumber(argv[i + 1]) : std::nullopt;
    if (!value) return argv[i];
    if (name == "--seed") {
      out.seed = *value;
    } else if (name == "--seeds" && *value >= 1) {
      out.seeds = *value;
    } else if (name == "--nodes" && *value >= 2 && *value <= 7) {
      out.plan.node_count = *value;
    } else if (name == "--seconds" && *value >= 1 && *value <= 3600) {
      out.plan.faults_for = std::chrono::seconds(*value);
    } else {
      return argv[i];
    }
  }
  return nullptr;
}

// How it went, then what is to be printed of it.
std::string Describe(uint64_t seed, const overlay::sim::RunOutcome& run) {
  const overlay::sim::CheckerCounts& counts = run.counts;
  std::string text = fmt::format(
      "seed {} {} trace {:016x}: {} nodes, {} faults, {} handshakes, {} datagrams, "
      "{} envelopes ({} delivered), {} sets, {} transactions\n",
      seed, run.ok ? "ok" : "FAILED", run.trace, run.node_count, run.faults, run.handshakes,
      run.datagrams, counts.envelopes_broadcast, counts.envelopes_delivered, counts.sets_delivered,
      counts.transactions_delivered);
  // A checker that inspected nothing has proved nothing.
  const bool inspected = counts.envelopes_converged > 0 && counts.sets_converged > 0 &&
                         counts.datagrams_searched > 0 && run.handshakes > 0;
  if (!run.ok) text += run.replay;
  if (run.ok && !inspected) text += fmt::format("seed {}: a checker inspected nothing\n", seed);
  return (run.ok && inspected ? kGood : kBad) + text;
}

// False if it failed.
bool RunSeed(const overlay::sim::FaultPlanOptions& plan) {
  const std::optional<std::string> said =
      overlay::sim::InChild([&] { return Describe(plan.seed, overlay::sim::RunFaultPlan(plan)); });
  if (said) {
    fmt::print("{}", said->substr(1));
  } else {
    fmt::print("seed {} FAILED: it died\n  again: overlay_sim --seed {}\n", plan.seed, plan.seed);
  }
  std::fflush(stdout);
  return said && said->front() == kGood;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && (std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0)) {
    fmt::print("{}", kHelp);
    return 0;
  }
  Arguments arguments;
  if (const char* wrong = Parse(argc, argv, arguments)) {
    fmt::print(stderr,
               "overlay_sim: '{}' is not understood, or its value is missing or out of range\n{}",
               wrong, kHelp);
    return 2;
  }
  overlay::BugsAreFatal(true);
  const uint64_t first = arguments.seed ? *arguments.seed : std::random_device{}();
  int failures = 0;
  for (uint64_t i = 0; i < arguments.seeds; ++i) {
    arguments.plan.seed = first + i;
    failures += !RunSeed(arguments.plan);
  }
  if (arguments.seeds > 1) fmt::print("{} of {} seeds failed\n", failures, arguments.seeds);
  return failures == 0 ? 0 : 1;
}
