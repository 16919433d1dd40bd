#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "tests/bench/cores.h"
#include "tests/bench/mission_core.h"
#include "tests/bench/mission_load.h"
#include "tests/bench/modes.h"
#include "tests/bench/process_figures.h"

namespace overlay::bench {
namespace {

// Until the last copies are there, behind the end of the load.
constexpr Duration kCopyPatience = std::chrono::seconds(5);
constexpr double kLateShareMax = 0.01;
constexpr size_t kMemorySamples = 6;

// The size that a share of the turns between two readings did not exceed, within its bucket by
// proportion.
double QuantileMicros(const std::map<double, double>& before, const std::map<double, double>& after,
                      double share) {
  const double total = after.empty() ? 0 : after.rbegin()->second - before.rbegin()->second;
  double lower = 0;
  double below = 0;
  for (const auto& [bound, at_most] : after) {
    const double here = at_most - before.at(bound);
    if (here >= share * total) {
      const double part = here > below ? (share * total - below) / (here - below) : 0;
      return 1e6 * (lower + part * (bound - lower));
    }
    lower = bound;
    below = here;
  }
  return 1e6 * lower;
}

class MissionRun {
 public:
  MissionRun(const MissionOptions& options, const Daemons& daemons, const std::string& folder)
      : options_(options), daemons_(daemons), folder_(folder), core_(&progress_, options) {}

  absl::StatusOr<MissionResult> Run() {
    absl::Status status = clients_.Connect(daemons_.apis(), MissionClient(), {&core_}, progress_);
    if (!status.ok()) return status;
    core_.set_client(&clients_[0]);
    status = clients_[0].LedgerClosed(kMissionFirstSlot - 1, std::nullopt, /*tracking=*/true);
    if (!status.ok()) return status;
    auto peers = SyntheticPeers::Start(MissionPeers(options_, daemons_.peer_address(0)), folder_);
    if (!peers.ok()) return peers.status();
    MissionResult result;
    if (status = CloseLedgers((*peers)->started(), &result); !status.ok()) return status;
    auto sent = (*peers)->WaitForEnd(kCopyPatience);
    if (!sent.ok()) return sent.status();
    result.sent = *sent;
    progress_.Wait(kCopyPatience, [&] {
      return core_.transactions().distinct() >= sent->transactions &&
             core_.envelopes().distinct() >= sent->envelopes &&
             core_.sets_fetched() >= core_.sets_named();
    });
    if (status = clients_.Failure(""); !status.ok()) return status;
    clients_.Stop();
    Fill(&result);
    return result;
  }

 private:
  // Through the whole load: ledgers close, and memory is looked at.
  absl::Status CloseLedgers(Time started, MissionResult* result) {
    const auto turns_before = daemons_.Histogram("overlay_loop_turn_seconds");
    if (!turns_before.ok()) return turns_before.status();
    const auto other_turns_before = daemons_.Histogram("overlay_loop_turn_other_seconds");
    if (!other_turns_before.ok()) return other_turns_before.status();
    alarm_.WaitUntil(started);
    const Duration cpu_before = daemons_.CpuTime();
    const Duration own_before = CpuTimeOfThreads(getpid());
    const Duration time = std::chrono::seconds(options_.seconds);
    const Time end = started + time;
    for (uint64_t slot = kMissionFirstSlot; !Interrupted(); ++slot) {
      const Time closes =
          started + kLedgerTime * static_cast<int64_t>(slot - kMissionFirstSlot + 1);
      if (closes > end) break;
      alarm_.WaitUntil(closes);
      if (absl::Status status = CloseLedger(slot); !status.ok()) return status;
      const auto sample = static_cast<size_t>((closes - started) * kMemorySamples / time);
      while (result->rss_mb.size() < sample)
        result->rss_mb.push_back(static_cast<double>(ResidentBytes(daemons_.pid(0))) / (1 << 20));
    }
    alarm_.WaitUntil(end);
    result->daemon_cores = ToSeconds(daemons_.CpuTime() - cpu_before) / ToSeconds(time);
    result->core_cores = ToSeconds(CpuTimeOfThreads(getpid()) - own_before) / ToSeconds(time);
    while (result->rss_mb.size() < kMemorySamples)
      result->rss_mb.push_back(static_cast<double>(ResidentBytes(daemons_.pid(0))) / (1 << 20));
    const auto turns_after = daemons_.Histogram("overlay_loop_turn_seconds");
    if (!turns_after.ok()) return turns_after.status();
    const auto other_turns_after = daemons_.Histogram("overlay_loop_turn_other_seconds");
    if (!other_turns_after.ok()) return other_turns_after.status();
    result->turn_other_p99_us = QuantileMicros(*other_turns_before, *other_turns_after, 0.99);
    result->turn_other_p999_us = QuantileMicros(*other_turns_before, *other_turns_after, 0.999);
    result->turn_p99_us = QuantileMicros(*turns_before, *turns_after, 0.99);
    result->turn_p999_us = QuantileMicros(*turns_before, *turns_after, 0.999);
    result->turns_per_second =
        (turns_after->rbegin()->second - turns_before->rbegin()->second) / ToSeconds(time);
    return clients_.Failure("");
  }
  absl::Status CloseLedger(uint64_t slot) {
    auto [set, transactions] = core_.TakeLedger(slot);
    absl::Status status = clients_[0].LedgerClosed(slot, std::nullopt, /*tracking=*/true);
    if (!status.ok()) return status;
    const Time began = Now();
    status = clients_[0].TxSetExternalized(set, transactions);
    externalized_.Add(Now() - began);
    return status.ok() ? clients_.Failure("") : status;
  }
  void Fill(MissionResult* result) {
    result->transactions = core_.transaction_latency();
    result->transactions_lost = result->sent.transactions - core_.transactions().distinct();
    result->transactions_repeated = core_.transactions().repeated();
    result->envelopes = core_.envelope_latency();
    result->envelopes_lost = result->sent.envelopes - core_.envelopes().distinct();
    result->envelopes_repeated = core_.envelopes().repeated();
    result->sets = core_.set_latency();
    result->sets_named = core_.sets_named();
    result->externalized = externalized_;
    result->peers_cores =
        static_cast<double>(result->sent.cpu_us) / 1e6 / static_cast<double>(options_.seconds);
    const SentLoad& sent = result->sent;
    if (static_cast<double>(sent.ticks_late) > kLateShareMax * static_cast<double>(sent.ticks)) {
      result->invalid = fmt::format(
          "the peers were behind their schedule at {} of {} ticks, by up to {} ms: this machine "
          "cannot make that load beside the daemon; try a smaller --tps",
          sent.ticks_late, sent.ticks, sent.worst_lag_us / 1000);
    } else if (sent.disconnects + sent.envelopes_dropped + sent.bodies_unknown > 0) {
      result->invalid = fmt::format(
          "{} peers were disconnected, {} envelopes did not leave, {} bodies were asked for that "
          "nobody has",
          sent.disconnects, sent.envelopes_dropped, sent.bodies_unknown);
    }
  }

  const MissionOptions options_;
  const Daemons& daemons_;
  const std::string folder_;
  Progress progress_;
  MissionCore core_;
  Clients clients_;
  Alarm alarm_;
  Samples externalized_;
};

}  // namespace

absl::StatusOr<MissionResult> RunMission(const MissionOptions& options, const Daemons& daemons,
                                         const std::string& folder) {
  return MissionRun(options, daemons, folder).Run();
}

}  // namespace overlay::bench
