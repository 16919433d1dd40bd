#include "tests/sim/fault_plan.h"

#include <array>
#include <utility>

#include "fmt/format.h"
#include "tests/sim/network.h"

namespace overlay::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kNodesMin = 2;
constexpr size_t kNodesMax = 7;
// Traffic and faults are drawn once a tick.
constexpr Duration kTick = milliseconds(100);
constexpr double kFaultsPerTick = 0.08;
constexpr double kTransactionsPerTick = 0.5;

enum class Fault : uint8_t {
  kLoss,
  kSlowLink,
  kJitter,
  kPartition,
  kIsolation,
  kDeadConnection,
  kCoreDetached,
  kRestart,
};
constexpr size_t kFaultKinds = 8;

LinkOptions DrawLink(Random& random) {
  return {.delay = milliseconds(1) + random.UpTo(milliseconds(80)),
          .jitter = random.UpTo(milliseconds(3)),
          .bits_per_second = 5'000'000 + random.Below(200'000'000),
          .queue_bytes = 100'000 + random.Below(900'000),
          .loss = random.Chance(0.5) ? 0.01 * random.Unit() : 0};
}

Limits DrawLimits(Random& random) {
  Limits limits;
  if (random.Chance(0.3)) limits.slots_kept_for = seconds(5);
  if (random.Chance(0.3)) limits.slots_kept_min = 4;
  if (random.Chance(0.2)) limits.scp_kept_per_peer_count_max = 400;
  if (random.Chance(0.2)) limits.sets_served_per_peer_max = 1;
  if (random.Chance(0.2)) limits.set_prefetch_per_peer_max = 1;
  if (random.Chance(0.2)) limits.demand_requests_per_peer_max = 1;
  return limits;
}

class FaultPlan {
 public:
  explicit FaultPlan(const FaultPlanOptions& options)
      : options_(options),
        random_(Random(options.seed).Fork("fault plan")),
        base_link_(DrawLink(random_)),
        net_(Draw()) {}

  RunOutcome Run();

 private:
  NetworkOptions Draw() {
    const size_t nodes =
        options_.node_count.value_or(kNodesMin + random_.Below(kNodesMax - kNodesMin + 1));
    return {.seed = options_.seed,
            .node_count = nodes,
            .link = base_link_,
            .limits = DrawLimits(random_),
            .dial_both = random_.Chance(0.3),
            .absent = {}};
  }
  size_t AnyNode() { return random_.Below(net_.node_count()); }
  std::pair<size_t, size_t> AnyPair() {
    const size_t a = AnyNode();
    return {a, (a + 1 + random_.Below(net_.node_count() - 1)) % net_.node_count()};
  }
  void Inflict(Fault fault);
  void Tick();
  void HealAll();

  const FaultPlanOptions options_;
  Random random_;
  const LinkOptions base_link_;
  Network net_;
  size_t faults_ = 0;
  bool healed_ = false;
};

void FaultPlan::Inflict(Fault fault) {
  ++faults_;
  const auto [a, b] = AnyPair();
  const Duration lasts = milliseconds(50) + random_.UpTo(seconds(random_.Chance(0.2) ? 12 : 2));
  const auto until_then = [this, a = a, b = b, lasts](const char* what) {
    net_.Note(fmt::format("{} {}-{} for {:.3f} s", what, a, b, ToSeconds(lasts)));
  };
  const auto restore_link = [this, a = a, b = b] {
    net_.link(a, b) = base_link_;
    net_.link(b, a) = base_link_;
  };
  switch (fault) {
    case Fault::kLoss:
      until_then("loss");
      net_.link(a, b).loss = net_.link(b, a).loss = 0.05 + 0.3 * random_.Unit();
      net_.After(lasts, restore_link);
      break;
    case Fault::kSlowLink:
      until_then("slow link");
      net_.link(a, b).bits_per_second = 200'000 + random_.Below(1'000'000);
      net_.After(lasts, restore_link);
      break;
    case Fault::kJitter:
      until_then("jitter");
      net_.link(a, b).jitter = milliseconds(100);
      net_.After(lasts, restore_link);
      break;
    case Fault::kPartition: {
      std::set<size_t> side;
      for (size_t i = 0; i < net_.node_count(); ++i) {
        if (random_.Chance(0.5)) side.insert(i);
      }
      net_.Note(fmt::format("partition of {} nodes for {:.3f} s", side.size(), ToSeconds(lasts)));
      net_.Partition(side);
      net_.After(lasts, [this] { net_.Heal(); });
      break;
    }
    case Fault::kIsolation:
      net_.Note(fmt::format("node {} isolated for {:.3f} s", a, ToSeconds(lasts)));
      net_.Isolate(a);
      net_.After(lasts, [this] { net_.Heal(); });
      break;
    case Fault::kDeadConnection:
      net_.Note(fmt::format("connection {}-{} killed", a, b));
      net_.KillConnection(a, b);
      break;
    case Fault::kCoreDetached:
      if (!net_.core(a).attached()) break;
      net_.Note(fmt::format("core {} away for {:.3f} s", a, ToSeconds(lasts)));
      net_.core(a).Detach();
      net_.After(lasts, [this, a = a] { net_.core(a).Attach(); });
      break;
    case Fault::kRestart:
      if (!net_.IsRunning(a)) break;
      net_.Note(fmt::format("node {} down for {:.3f} s", a, ToSeconds(lasts)));
      net_.StopNode(a);
      net_.After(lasts, [this, a = a] {
        if (!net_.IsRunning(a)) net_.StartNode(a);
      });
      break;
  }
}

void FaultPlan::Tick() {
  if (healed_) return;
  if (random_.Chance(kTransactionsPerTick)) net_.core(AnyNode()).Submit(net_.build().Transaction());
  if (random_.Chance(kFaultsPerTick)) Inflict(static_cast<Fault>(random_.Below(kFaultKinds)));
  net_.After(kTick, [this] { Tick(); });
}

void FaultPlan::HealAll() {
  healed_ = true;
  net_.Note("healed");
  net_.checkers().ExcuseDemands();
  net_.Heal();
  net_.SetLinks(base_link_);
  for (size_t i = 0; i < net_.node_count(); ++i) {
    if (!net_.IsRunning(i)) net_.StartNode(i);
    net_.core(i).Attach();
  }
}

RunOutcome FaultPlan::Run() {
  constexpr int64_t kLedgerMsMin = 500;
  net_.StartLedgers(milliseconds(kLedgerMsMin + static_cast<int64_t>(random_.Below(1'500))));
  Tick();
  RunOutcome outcome;
  outcome.ok = net_.Run(options_.faults_for);
  if (outcome.ok) {
    HealAll();
    net_.StopLedgers();
    outcome.ok = net_.RunUntil([this] { return net_.Converged(); }, kConvergeWithin);
  }
  if (!outcome.ok) {
    outcome.replay =
        net_.Replay() + fmt::format("  again: overlay_sim --seed {}{}\n", options_.seed,
                                    options_.node_count
                                        ? fmt::format(" --nodes {}", *options_.node_count)
                                        : std::string());
  }
  outcome.trace = net_.trace();
  outcome.datagrams = net_.datagrams();
  outcome.handshakes = net_.HandshakesCompleted();
  outcome.node_count = net_.node_count();
  outcome.faults = faults_;
  outcome.counts = net_.checkers().counts();
  return outcome;
}

}  // namespace

RunOutcome RunFaultPlan(const FaultPlanOptions& options) { return FaultPlan(options).Run(); }

}  // namespace overlay::sim
