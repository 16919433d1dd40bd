#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "tests/bench/cores.h"
#include "tests/bench/modes.h"

namespace overlay::bench {
namespace {

constexpr Duration kFetchPatience = std::chrono::seconds(20);
constexpr uint64_t kSlot = 1'000;
// Sets between two rounds of the floors.
constexpr size_t kSetsPerFloorRound = 5;

class SetCore : public BenchCore {
 public:
  explicit SetCore(Progress* progress) : BenchCore(progress) {}
  void OnOffered(SetType, const Hash& hash) override {
    {
      const std::lock_guard lock(mutex_);
      offered_.insert(hash);
    }
    progress()->Changed();
  }
  void OnSet(ReceivedSet set) override {
    arrived_at_ = Now();
    arrived_bytes_ = set.bytes.size();
    progress()->Changed();
  }
  void OnFetchFailed(SetType, const Hash&, FetchFailure) override {
    Fail(absl::UnavailableError("a fetch failed"));
  }
  bool HasOffered(const Hash& hash) const {
    const std::lock_guard lock(mutex_);
    return offered_.contains(hash);
  }
  void Expect() { arrived_bytes_ = 0; }
  size_t arrived_bytes() const { return arrived_bytes_; }
  Time arrived_at() const { return arrived_at_; }

 private:
  mutable std::mutex mutex_;
  std::set<Hash> offered_;
  std::atomic<Time> arrived_at_{};
  std::atomic<size_t> arrived_bytes_{0};
};

class TxSetRun {
 public:
  TxSetRun(const TxSetOptions& options, const Daemons& daemons)
      : options_(options), daemons_(daemons), fetcher_(daemons.size() - 1) {}

  absl::StatusOr<TxSetResult> Run(Floors* floors, const std::string& folder) {
    std::vector<BenchCore*> cores;
    for (size_t i = 0; i < daemons_.size(); ++i) {
      cores_.push_back(std::make_unique<SetCore>(&progress_));
      cores.push_back(cores_.back().get());
    }
    absl::Status status = clients_.Connect(daemons_.apis(), {}, cores, progress_);
    if (!status.ok()) return status;
    if (options_.silent_first) {
      if (status = ConnectSilent(folder); !status.ok()) return status;
    }
    const auto whole_before = daemons_.Metric("overlay_sets_fetch_seconds_sum");
    if (!whole_before.ok()) return whole_before.status();
    whole_before_ = *whole_before;
    TxSetResult result;
    std::string set(options_.bytes, '\0');
    Random random(static_cast<uint64_t>(Now().time_since_epoch().count()));
    for (size_t number = 0; number < options_.count; ++number) {
      random.Fill(absl::MakeSpan(reinterpret_cast<uint8_t*>(set.data()), set.size()));
      if (status = FetchOne(set, &result); !status.ok()) return status;
      if (number % kSetsPerFloorRound == 0 && floors != nullptr) status = floors->RunBulk();
      if (!status.ok()) return status;
    }
    const auto whole = daemons_.Metric("overlay_sets_fetch_seconds_sum");
    if (!whole.ok()) return whole.status();
    result.daemon_ms_per_set = 1e3 * (*whole - whole_before_) / static_cast<double>(options_.count);
    result.cpu_ms_per_set = 1e3 * ToSeconds(cpu_) / static_cast<double>(options_.count);
    result.wire_bytes_per_set = wire_bytes_ / static_cast<double>(options_.count);
    return result;
  }

 private:
  absl::Status ConnectSilent(const std::string& folder) {
    SyntheticOptions options;
    options.daemon = daemons_.peer_address(fetcher_);
    options.peers = 1;
    options.silent = true;
    auto started = SyntheticPeers::Start(options, folder);
    if (!started.ok()) return started.status();
    silent_ = *std::move(started);
    Hash key{};
    const auto& bytes = silent_->keys().front().bytes;
    std::copy(bytes.begin(), bytes.end(), key.begin());
    asked_first_.push_back(key);
    return absl::OkStatus();
  }
  absl::Status FetchOne(const std::string& set, TxSetResult* result) {
    const auto digest = Sha256({reinterpret_cast<const uint8_t*>(set.data()), set.size()});
    Hash hash{};
    std::copy(digest.begin(), digest.end(), hash.begin());
    for (size_t core = 0; core < fetcher_; ++core) {
      const absl::Status offered = clients_[core].Offer(SetType::kTxSet, hash, set, kSlot);
      if (!offered.ok()) return offered;
    }
    const bool offered = progress_.Wait(kFetchPatience, [&] {
      return std::all_of(cores_.begin(), cores_.begin() + static_cast<ptrdiff_t>(fetcher_),
                         [&](const auto& core) { return core->HasOffered(hash); });
    });
    if (!offered) return clients_.Failure("a daemon did not take a set that its core offered");

    const auto bytes_before = daemons_.Metric("overlay_wire_bytes_total", "in");
    if (!bytes_before.ok()) return bytes_before.status();
    const Duration cpu_before = daemons_.CpuTime();
    SetCore& core = *cores_[fetcher_];
    core.Expect();
    FetchOptions fetch;
    fetch.slot = kSlot;
    fetch.sources = options_.sources;
    fetch.peers = asked_first_;
    const Time asked_at = Now();
    const absl::Status asked = clients_[fetcher_].Fetch(SetType::kTxSet, hash, fetch);
    if (!asked.ok()) return asked;
    const bool came =
        progress_.Wait(kFetchPatience, [&] { return core.arrived_bytes() == set.size(); });
    if (came) result->fetch.Add(core.arrived_at() - asked_at);
    result->lost += came ? 0 : 1;
    cpu_ += daemons_.CpuTime() - cpu_before;
    const auto bytes = daemons_.Metric("overlay_wire_bytes_total", "in");
    if (!bytes.ok()) return bytes.status();
    wire_bytes_ += *bytes - *bytes_before;
    return clients_.Failure("");
  }

  const TxSetOptions options_;
  const Daemons& daemons_;
  const size_t fetcher_;
  Progress progress_;
  std::vector<std::unique_ptr<SetCore>> cores_;
  Clients clients_;
  std::unique_ptr<SyntheticPeers> silent_;
  std::vector<Hash> asked_first_;
  Duration cpu_{};
  double wire_bytes_ = 0;
  double whole_before_ = 0;
};

}  // namespace

absl::StatusOr<TxSetResult> RunTxSet(const TxSetOptions& options, const Daemons& daemons,
                                     Floors* floors, const std::string& folder) {
  return TxSetRun(options, daemons).Run(floors, folder);
}

}  // namespace overlay::bench
