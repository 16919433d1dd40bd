#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "flood/base/crypto.h"
#include "tests/bench/cores.h"
#include "tests/bench/modes.h"
#include "tests/bench/process_figures.h"
#include "tests/support/xdr_builder.h"

namespace overlay::bench {
namespace {

constexpr Duration kGap = std::chrono::milliseconds(2);
constexpr size_t kDeaf = 2;
// Each sample is two calls of a daemon, some 0.3 ms of its loop: often enough they would be the
// load.
constexpr Duration kSampleEvery = std::chrono::milliseconds(500);
// Until a full queue of the client is offered a transaction again.
constexpr Duration kQueuePatience = std::chrono::microseconds(200);
// For what was held back to be pulled and judged.
constexpr Duration kDrainPatience = std::chrono::seconds(30);

// What a core that reads nothing waits at.
class Gate {
 public:
  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  void Open() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = false;
    }
    opened_.notify_all();
  }
  void Pass() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return !closed_; });
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable opened_;
  bool closed_ = false;
};

class DeafRun {
 public:
  DeafRun(size_t transactions, Duration part, const Daemons& daemons)
      : part_(part), daemons_(daemons), seen_(daemons.size()) {
    XdrBuilder build(static_cast<uint64_t>(Now().time_since_epoch().count()),
                     NetworkIdOf(kPassphrase));
    transactions_ = build.Transactions(transactions);
  }

  absl::StatusOr<DeafResult> Run() {
    ScpOptions options{
        .count = 2 * static_cast<size_t>(part_ / kGap), .gap = kGap, .first_core_sends_all = true};
    options.client.judges_transactions = true;
    options.client.deliver_transactions = true;
    const size_t half = options.count / 2;
    ScpHooks hooks;
    hooks.before_envelope = [this](size_t core) {
      if (core == kDeaf) gate_.Pass();
    };
    hooks.is_absent = [this](size_t core) { return core == kDeaf && gate_.closed(); };
    hooks.on_transactions = [this](size_t core, const auto& received) { Judge(core, received); };
    hooks.after_sends = [this] { EndFlood(); };
    ScpRun run(
        options, daemons_.apis(), [this] { return daemons_.CpuTime(); }, hooks);
    run_ = &run;
    if (absl::Status status = run.Connect(); !status.ok()) return status;
    DeafResult result;
    if (absl::Status status = run.SendPart(0, half, &result.quiet); !status.ok()) return status;

    const uint64_t before = ResidentBytes(daemons_.pid(kDeaf));
    gate_.Close();
    flood_ = std::thread([this] { Flood(); });
    watch_ = std::thread([this] { Watch(); });
    const absl::Status sent = run.SendPart(half, options.count, &result.beside);
    EndFlood();
    if (!sent.ok()) return sent;
    const uint64_t wanted = submitted_ * (daemons_.size() - 1);
    progress_.Wait(kDrainPatience, [&] { return copies_ >= wanted; });
    progress_.Wait(kDrainPatience, [&] { return Waiting() == 0; });
    result.transactions = submitted_;
    result.refused = refused_;
    result.lost = wanted - std::min<uint64_t>(wanted, copies_);
    result.waiting_max = waiting_max_;
    result.waiting_end = Waiting();
    result.rss_growth_mb =
        static_cast<double>(std::max(resident_max_.load(), before) - before) / (1 << 20);
    const auto overflows = daemons_.Metric("overlay_core_overflow_total");
    if (!overflows.ok()) return overflows.status();
    result.overflows = static_cast<uint64_t>(*overflows);
    run.Finish(0, half, &result.quiet);
    run.Finish(half, options.count, &result.beside, kDeaf);
    return result;
  }

 private:
  // At a rate that takes the whole part. Judged by the client as full, it is offered again.
  void Flood() {
    Alarm alarm;
    const Time began = Now();
    const Duration each = part_ / static_cast<int64_t>(transactions_.size());
    for (size_t number = 0; number < transactions_.size() && !Interrupted();) {
      alarm.WaitUntil(began + each * static_cast<int64_t>(number));
      const auto taken = run_->client(0).Submit(transactions_[number].view());
      if (taken.ok()) {
        ++number;
        ++submitted_;
      } else if (absl::IsResourceExhausted(taken.status())) {
        alarm.WaitUntil(Now() + kQueuePatience);
      } else {
        ++refused_;
        ++number;
      }
    }
  }
  void Watch() {
    Alarm alarm;
    while (!ended_) {
      alarm.WaitUntil(Now() + kSampleEvery);
      resident_max_ = std::max<uint64_t>(resident_max_, ResidentBytes(daemons_.pid(kDeaf)));
      waiting_max_ = std::max<uint64_t>(waiting_max_, Waiting());
    }
  }
  void EndFlood() {
    if (!gate_.closed()) return;  // the part without it
    if (flood_.joinable()) flood_.join();
    ended_ = true;
    if (watch_.joinable()) watch_.join();
    gate_.Open();
  }
  uint64_t Waiting() const {
    double waiting = 0;
    for (const char* name : {"overlay_scp_core_queue_count", "overlay_mempool_pending_count"}) {
      waiting += daemons_.MetricOf(kDeaf, name).value_or(0);
    }
    return static_cast<uint64_t>(waiting);
  }
  void Judge(size_t core, const std::vector<ReceivedTransaction>& received) {
    if (core == kDeaf) gate_.Pass();
    std::vector<TxVerdict> verdicts;
    verdicts.reserve(received.size());
    for (const ReceivedTransaction& each : received) {
      verdicts.push_back({each.hash, Verdict::kValid, std::nullopt});
      copies_ += seen_[core].insert(each.hash).second;
    }
    run_->client(core).Judge(verdicts).IgnoreError();
    progress_.Changed();
  }

  const Duration part_;
  const Daemons& daemons_;
  std::vector<Bytes> transactions_;
  ScpRun* run_ = nullptr;
  Gate gate_;
  Progress progress_;
  std::vector<absl::flat_hash_set<Hash>> seen_;  // each of its client's thread alone
  std::atomic<uint64_t> copies_{0};
  std::atomic<uint64_t> submitted_{0};
  std::atomic<uint64_t> refused_{0};
  std::atomic<uint64_t> resident_max_{0};
  std::atomic<uint64_t> waiting_max_{0};
  std::atomic<bool> ended_{false};
  std::thread flood_;
  std::thread watch_;
};

}  // namespace

absl::StatusOr<DeafResult> RunDeaf(size_t transactions, Duration part, const Daemons& daemons) {
  return DeafRun(transactions, part, daemons).Run();
}

}  // namespace overlay::bench
