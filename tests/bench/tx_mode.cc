#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "flood/base/crypto.h"
#include "tests/bench/cores.h"
#include "tests/bench/modes.h"
#include "tests/support/xdr_builder.h"

namespace overlay::bench {
namespace {

constexpr size_t kQuietCount = 200;
constexpr Duration kQuietGap = std::chrono::milliseconds(25);
// Until a full queue of the client is offered a transaction again.
constexpr Duration kQueuePatience = std::chrono::microseconds(200);
constexpr Duration kCopyPatience = std::chrono::seconds(10);

using Numbers = absl::flat_hash_map<TxHash, size_t>;

// Judges each transaction valid as it comes, and notes when that was. Its times are of the client's
// thread alone until the run is over.
class TxCore : public BenchCore {
 public:
  TxCore(Progress* progress, const Numbers& numbers, std::atomic<uint64_t>& copies)
      : BenchCore(progress), numbers_(numbers), copies_(copies), arrived_(numbers.size()) {}
  void set_client(Client* client) { client_ = client; }

  void OnTransactions(const std::vector<ReceivedTransaction>& received) override {
    const Time now = Now();
    std::vector<TxVerdict> verdicts;
    verdicts.reserve(received.size());
    for (const ReceivedTransaction& each : received) {
      verdicts.push_back({each.hash, Verdict::kValid, std::nullopt});
      TxHash hash;
      std::copy(each.hash.begin(), each.hash.end(), hash.bytes.begin());
      const auto number = numbers_.find(hash);
      if (number == numbers_.end() || arrived_[number->second] != Time{}) continue;
      arrived_[number->second] = now;
      ++copies_;
    }
    if (const absl::Status judged = client_->Judge(verdicts); !judged.ok()) Fail(judged);
    progress()->Changed();
  }
  void OnSubmitResult(const SubmitAnswer& answer) override {
    if (answer.outcome != SubmitOutcome::kAdded) {
      Fail(absl::InternalError("a submission was answered " +
                               std::string(SubmitOutcomeName(answer.outcome))));
    }
  }
  const std::vector<Time>& arrived() const { return arrived_; }

 private:
  const Numbers& numbers_;
  std::atomic<uint64_t>& copies_;
  std::vector<Time> arrived_;
  Client* client_ = nullptr;
};

class TxRun {
 public:
  TxRun(size_t count, const Daemons& daemons) : daemons_(daemons), submitted_(kQuietCount + count) {
    XdrBuilder build(static_cast<uint64_t>(Now().time_since_epoch().count()),
                     NetworkIdOf(kPassphrase));
    transactions_ = build.Transactions(kQuietCount + count);
    for (const Bytes& transaction : transactions_) {
      numbers_.emplace(HashOf<TxHash>(transaction.span()), numbers_.size());
    }
  }

  absl::StatusOr<TxResult> Run() {
    std::vector<BenchCore*> cores;
    for (size_t i = 0; i < daemons_.size(); ++i) {
      cores_.push_back(std::make_unique<TxCore>(&progress_, numbers_, copies_));
      cores.push_back(cores_.back().get());
    }
    ClientOptions options;
    options.judges_transactions = true;
    options.deliver_transactions = true;
    absl::Status status = clients_.Connect(daemons_.apis(), options, cores, progress_);
    if (!status.ok()) return status;
    for (size_t i = 0; i < cores_.size(); ++i) cores_[i]->set_client(&clients_[i]);

    TxResult result;
    Pace pace(kQuietGap);
    for (size_t number = 0; number < kQuietCount && status.ok(); ++number) {
      alarm_.WaitUntil(pace.next());
      pace.Take();
      status = Submit(number);
    }
    if (status.ok()) status = WaitForCopies(kQuietCount);
    if (status.ok()) status = RunFlood(&result);
    if (!status.ok()) return status;
    clients_.Stop();
    Count(&result);
    return result;
  }

 private:
  absl::Status RunFlood(TxResult* result) {
    const auto bytes_before = daemons_.Metric("overlay_wire_bytes_total", "out");
    if (!bytes_before.ok()) return bytes_before.status();
    const Duration cpu_before = daemons_.CpuTime();
    for (size_t number = kQuietCount; number < transactions_.size(); ++number) {
      if (absl::Status status = Submit(number); !status.ok()) return status;
    }
    if (absl::Status status = WaitForCopies(transactions_.size()); !status.ok()) return status;
    const auto flooded = static_cast<double>(transactions_.size() - kQuietCount);
    const auto nodes = static_cast<double>(daemons_.size());
    result->cpu_us_per_tx_per_node =
        1e6 * ToSeconds(daemons_.CpuTime() - cpu_before) / flooded / nodes;
    const auto bytes = daemons_.Metric("overlay_wire_bytes_total", "out");
    const auto repeated = daemons_.Metric("overlay_tx_received_total", "duplicate");
    const auto received = daemons_.Metric("overlay_tx_received_total");
    for (const auto* each : {&bytes, &repeated, &received}) {
      if (!each->ok()) return each->status();
    }
    result->wire_bytes_per_tx_per_link =
        (*bytes - *bytes_before) / flooded / (nodes * (nodes - 1) / 2);
    result->duplicate_share = *repeated / std::max(*received, 1.0);
    return absl::OkStatus();
  }
  // Waits where the client's queue is full: the daemon is the slower one.
  absl::Status Submit(size_t number) {
    while (true) {
      submitted_[number] = Now();
      const auto taken = clients_[0].Submit(transactions_[number].view());
      if (taken.ok()) return clients_.Failure("");
      if (!absl::IsResourceExhausted(taken.status())) return taken.status();
      alarm_.WaitUntil(Now() + kQueuePatience);
    }
  }
  absl::Status WaitForCopies(size_t transactions) {
    const uint64_t wanted = transactions * (daemons_.size() - 1);
    progress_.Wait(kCopyPatience, [&] { return copies_ >= wanted; });
    return clients_.Failure("");
  }
  void Count(TxResult* result) const {
    result->sent = transactions_.size();
    Time last{};
    for (size_t core = 1; core < cores_.size(); ++core) {
      for (size_t number = 0; number < transactions_.size(); ++number) {
        const Time arrived = cores_[core]->arrived()[number];
        if (arrived == Time{}) ++result->lost;
        last = std::max(last, arrived);
        if (number < kQuietCount && arrived != Time{})
          result->pull.Add(arrived - submitted_[number]);
      }
    }
    const auto flooded = static_cast<double>(transactions_.size() - kQuietCount);
    result->per_second = flooded / ToSeconds(last - submitted_[kQuietCount]);
  }

  const Daemons& daemons_;
  std::vector<Bytes> transactions_;
  Numbers numbers_;
  std::vector<Time> submitted_;
  Progress progress_;
  std::atomic<uint64_t> copies_{0};
  std::vector<std::unique_ptr<TxCore>> cores_;
  Clients clients_;
  Alarm alarm_;
};

}  // namespace

absl::StatusOr<TxResult> RunTx(size_t count, const Daemons& daemons) {
  return TxRun(count, daemons).Run();
}

}  // namespace overlay::bench
