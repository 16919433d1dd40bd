#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "flood/mempool.h"
#include "tests/bench/cores.h"
#include "tests/bench/mission_load.h"
#include "tests/bench/modes.h"

namespace overlay::bench {
namespace {

constexpr uint32_t kTopCount = 1'000;
constexpr size_t kRounds = 200;
constexpr Duration kSubmitPatience = std::chrono::seconds(60);
// Until a full queue of the client is offered a transaction again.
constexpr Duration kQueuePatience = std::chrono::milliseconds(1);
constexpr size_t kSetBytesUnused = 1'000;

// Fees that are all over the place, so that the order is no accident of arrival.
int64_t FeeOf(Random& random) { return static_cast<int64_t>(100 + random.Below(1'000'000)); }
Lane LaneOf(size_t number) { return number % 2 == 0 ? Lane::kClassic : Lane::kSoroban; }

// The rules alone: what Top costs with that many in the pool.
absl::Status FillAndAsk(size_t count, MissionLoad& load, Samples* top) {
  Limits limits;
  limits.mempool_count_max = count;
  flood::TxTable table;
  flood::Mempool mempool(limits, table);
  Random random(count);
  std::vector<flood::TxIndex> displaced;
  for (size_t number = 0; number < count; ++number) {
    flood::TxRecord record;
    record.body = load.Transaction({number, Time{}});
    record.hash = HashOf<TxHash>(record.body.span());
    record.bid = {.fee = FeeOf(random), .operations = 1, .lane = LaneOf(number)};
    std::copy(record.hash.bytes.begin(), record.hash.bytes.end(), record.account.bytes.begin());
    record.sequence = 1;
    const flood::TxIndex index = table.Add(std::move(record));
    if (mempool.Add(Time{}, index, displaced).outcome != flood::Mempool::Outcome::kAdded)
      return absl::InternalError("the mempool did not take all");
  }
  flood::TopQuery query;
  query.count_max = kTopCount;
  for (size_t round = 0; round < kRounds; ++round) {
    const Time began = Now();
    const auto snapshot = mempool.Top(query);
    top->Add(Now() - began);
    if (snapshot.size() != std::min<size_t>(count, kTopCount))
      return absl::InternalError("a snapshot is not as large as asked for");
  }
  return absl::OkStatus();
}

class SubmittingCore : public BenchCore {
 public:
  using BenchCore::BenchCore;
  void OnSubmitResult(const SubmitAnswer& answer) override {
    if (answer.outcome != SubmitOutcome::kAdded) {
      Fail(absl::InternalError("a submission was answered " +
                               std::string(SubmitOutcomeName(answer.outcome))));
    }
    ++added_;
    progress()->Changed();
  }
  uint64_t added() const { return added_; }

 private:
  std::atomic<uint64_t> added_{0};
};

// The same through a daemon: asked for by its core, to the last of them in the core's hands.
class DaemonMempool {
 public:
  DaemonMempool(const Daemons& daemons, MissionLoad& load)
      : daemons_(daemons), load_(load), core_(&progress_) {}

  absl::Status Run(size_t count, Samples* top) {
    absl::Status status = clients_.Connect(daemons_.apis(), {}, {&core_}, progress_);
    Random random(count);
    for (size_t number = 0; number < count && status.ok(); ++number)
      status = Submit(number, FeeOf(random));
    if (!status.ok()) return status;
    const bool all = progress_.Wait(kSubmitPatience, [&] { return core_.added() >= count; });
    status = clients_.Failure(all ? "" : "not all submissions were answered");
    TopOptions options;
    options.count_max = kTopCount;
    for (size_t round = 0; round < kRounds && status.ok(); ++round) {
      const Time began = Now();
      const auto snapshot = clients_[0].TopTransactions(options);
      top->Add(Now() - began);
      if (!snapshot.ok()) return snapshot.status();
      if (snapshot->size() != std::min<size_t>(count, kTopCount))
        return absl::InternalError("the daemon's snapshot is not as large as asked for");
      status = clients_.Failure("");
    }
    return status;
  }

 private:
  absl::Status Submit(size_t number, int64_t fee) {
    const Bytes transaction = load_.Transaction({number, Now()});
    const TxBid bid{
        .fee = fee, .operations = 1, .lane = number % 2 == 0 ? TxLane::kClassic : TxLane::kSoroban};
    while (true) {
      const auto taken = clients_[0].Submit(transaction.view(), bid);
      if (taken.ok()) return clients_.Failure("");
      if (!absl::IsResourceExhausted(taken.status())) return taken.status();
      alarm_.WaitUntil(Now() + kQueuePatience);
    }
  }

  const Daemons& daemons_;
  MissionLoad& load_;
  Progress progress_;
  SubmittingCore core_;
  Clients clients_;
  Alarm alarm_;
};

}  // namespace

absl::StatusOr<MempoolResult> RunMempool(size_t count, const Daemons& daemons) {
  MissionLoad load(static_cast<uint64_t>(Now().time_since_epoch().count()), kSetBytesUnused);
  MempoolResult result;
  absl::Status status = FillAndAsk(count, load, &result.rules);
  if (status.ok()) status = FillAndAsk(std::max<size_t>(count / 10, 2), load, &result.rules_tenth);
  if (status.ok()) status = DaemonMempool(daemons, load).Run(count, &result.daemon);
  if (!status.ok()) return status;
  return result;
}

}  // namespace overlay::bench
