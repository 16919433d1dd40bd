#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "tests/bench/modes.h"

namespace overlay::bench {
namespace {

constexpr size_t kSetBytes = 10'000'000;
// So that the link is never without: while the end of one is on its way, the next one has begun.
constexpr int kSetsAtOnce = 2;
constexpr Duration kEnvelopeGap = std::chrono::milliseconds(5);
// The bulk window has found the path by then.
constexpr Duration kWarmUp = std::chrono::seconds(5);

// Sets from the first core to the second, without end: one that has arrived makes the next be
// offered. Called on the clients' threads.
class SetFlow {
 public:
  SetFlow() : base_(kSetBytes, '\0') {
    Random(1).Fill(absl::MakeSpan(reinterpret_cast<uint8_t*>(base_.data()), base_.size()));
  }

  void Begin(ScpRun* run) {
    {
      const std::lock_guard lock(mutex_);
      run_ = run;
    }
    for (int i = 0; i < kSetsAtOnce; ++i) OfferNext();
  }
  // A set whose hash is that of one of ours: the run offers others.
  void OnOffered(size_t core, const Hash& hash) {
    ScpRun* run = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (core != 0 || std::find(offered_.begin(), offered_.end(), hash) == offered_.end()) return;
      run = run_;
    }
    Note(run->client(1).Fetch(SetType::kTxSet, hash, {}));
  }
  void OnSet(const ReceivedSet& set) {
    {
      const std::lock_guard lock(mutex_);
      if (set.bytes.size() != kSetBytes) return;
      ++arrived_;
    }
    OfferNext();
  }
  void End() {
    const std::lock_guard lock(mutex_);
    run_ = nullptr;
  }

  // That have arrived so far.
  uint64_t arrived() const {
    const std::lock_guard lock(mutex_);
    return arrived_;
  }
  absl::Status failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  void OfferNext() {
    std::string set = base_;
    ScpRun* run = nullptr;
    Hash hash{};
    {
      const std::lock_guard lock(mutex_);
      if (run_ == nullptr) return;
      run = run_;
      const uint64_t number = ++number_;
      std::memcpy(set.data(), &number, sizeof(number));
      const auto digest = Sha256({reinterpret_cast<const uint8_t*>(set.data()), set.size()});
      std::copy(digest.begin(), digest.end(), hash.begin());
      offered_.push_back(hash);
    }
    Note(run->client(0).Offer(SetType::kTxSet, hash, std::move(set)));
  }
  void Note(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (failure_.ok() && run_ != nullptr) failure_ = status;
  }

  mutable std::mutex mutex_;
  ScpRun* run_ = nullptr;
  std::string base_;
  uint64_t number_ = 0;
  std::vector<Hash> offered_;
  uint64_t arrived_ = 0;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<IsolationResult> RunIsolation(Duration time, const std::string& from,
                                             const std::string& to,
                                             const std::function<void(const char*)>& say) {
  const auto warm_up = static_cast<size_t>(kWarmUp / kEnvelopeGap);
  const auto measured = static_cast<size_t>(time / kEnvelopeGap);
  SetFlow flow;
  ScpRun run({.count = warm_up + measured, .gap = kEnvelopeGap, .first_core_sends_all = true},
             {from, to}, [] { return Duration{}; },
             {.on_offered = [&](size_t core, const Hash& hash) { flow.OnOffered(core, hash); },
              .on_set = [&](size_t, ReceivedSet set) { flow.OnSet(set); }});
  if (absl::Status status = run.Connect(); !status.ok()) return status;
  flow.Begin(&run);
  IsolationResult result;
  ScpResult warming;
  absl::Status status = run.SendPart(0, warm_up, &warming);
  const uint64_t before = flow.arrived();
  say("measuring");
  if (status.ok()) status = run.SendPart(warm_up, warm_up + measured, &result.scp);
  say("measured");
  result.sets = flow.arrived() - before;
  flow.End();
  if (status.ok()) status = flow.failure();
  if (!status.ok()) return status;
  run.Finish(warm_up, warm_up + measured, &result.scp);
  return result;
}

}  // namespace overlay::bench
