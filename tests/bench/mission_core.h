// tests/bench/mission_core.h
//
// The core under the mission's load: judges, fetches, and counts that each thing comes once.
#ifndef OVERLAY_TESTS_BENCH_MISSION_CORE_H_
#define OVERLAY_TESTS_BENCH_MISSION_CORE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/cores.h"
#include "tests/bench/mission_load.h"
#include "tests/bench/modes.h"
#include "tests/bench/synthetic_peers.h"

namespace overlay::bench {

// How a mission's core attaches: before its first slot.
inline ClientOptions MissionClient() {
  ClientOptions options;
  options.judges_transactions = true;
  options.deliver_transactions = true;
  options.newest_closed_slot = kMissionFirstSlot - 1;
  return options;
}

// What its peers send to the daemon that listens at `daemon`.
inline SyntheticOptions MissionPeers(const MissionOptions& options, std::string daemon) {
  SyntheticOptions load;
  load.daemon = std::move(daemon);
  load.peers = options.peers;
  load.tps = options.tps;
  load.envelopes_per_second = options.envelopes_per_second;
  load.set_bytes = options.set_bytes;
  load.seconds = options.seconds;
  return load;
}

// Counts each thing that comes, by its number.
class Tally {
 public:
  explicit Tally(size_t count) : seen_(count) {}
  // False: a repetition, or no number of this run.
  bool Count(uint64_t number) {
    if (number >= seen_.size() || seen_[number]) {
      ++repeated_;
      return false;
    }
    seen_[number] = true;
    ++distinct_;
    return true;
  }
  uint64_t distinct() const { return distinct_; }
  uint64_t repeated() const { return repeated_; }

 private:
  std::vector<bool> seen_;
  std::atomic<uint64_t> distinct_{0};
  std::atomic<uint64_t> repeated_{0};
};

// Judges all transactions valid, fetches the set of each slot, and counts.
class MissionCore : public BenchCore {
 public:
  MissionCore(Progress* progress, const MissionOptions& options)
      : BenchCore(progress),
        envelopes_((options.seconds + 1) * options.envelopes_per_second),
        transactions_((options.seconds + 1) * options.tps),
        set_bytes_(options.set_bytes) {}
  void set_client(Client* client) { client_ = client; }

  // ---- SCP thread
  void OnEnvelope(const ReceivedEnvelope& received) override {
    const std::optional<Mark> mark = MarkOfEnvelope(received.envelope);
    if (!mark || !envelopes_.Count(mark->number)) return;
    envelope_latency_.Add(Now() - mark->intended);
    if (received.slot <= newest_slot_ || received.tx_sets.empty()) return;
    newest_slot_ = received.slot;
    {
      const std::lock_guard lock(mutex_);
      set_of_slot_[received.slot] = received.tx_sets.front();
      named_at_[received.tx_sets.front()] = mark->intended;
    }
    FetchOptions fetch;
    fetch.slot = received.slot;
    const auto asked = client_->Fetch(SetType::kTxSet, received.tx_sets.front(), fetch);
    if (!asked.ok()) Fail(asked);
  }

  // ---- the other thread
  void OnTransactions(const std::vector<ReceivedTransaction>& received) override {
    const Time now = Now();
    verdicts_.clear();
    for (const ReceivedTransaction& each : received) {
      verdicts_.push_back({each.hash, Verdict::kValid, std::nullopt});
      const std::optional<Mark> mark = MarkOfTransaction(each.transaction);
      if (!mark || !transactions_.Count(mark->number)) continue;
      transaction_latency_.Add(now - mark->intended);
    }
    if (const absl::Status judged = client_->Judge(verdicts_); !judged.ok()) Fail(judged);
    const std::lock_guard lock(mutex_);
    for (const TxVerdict& verdict : verdicts_) not_in_ledger_.push_back(verdict.hash);
  }
  void OnSet(ReceivedSet set) override {
    const Time now = Now();
    const std::lock_guard lock(mutex_);
    const auto named = named_at_.find(set.hash);
    if (named == named_at_.end() || set.bytes.size() != set_bytes_) return;
    set_latency_.Add(now - named->second);
    named_at_.erase(named);
    progress()->Changed();
  }
  void OnFetchFailed(SetType, const Hash&, FetchFailure) override {
    Fail(absl::UnavailableError("a fetch failed"));
  }

  // ---- the driving thread
  // What the ledger of this slot holds: all that was delivered since the last.
  std::pair<Hash, std::vector<Hash>> TakeLedger(uint64_t slot) {
    const std::lock_guard lock(mutex_);
    std::vector<Hash> hashes;
    hashes.swap(not_in_ledger_);
    const auto set = set_of_slot_.find(slot);
    return {set == set_of_slot_.end() ? Hash{} : set->second, std::move(hashes)};
  }
  uint64_t sets_named() {
    const std::lock_guard lock(mutex_);
    return set_of_slot_.size();
  }
  uint64_t sets_fetched() {
    const std::lock_guard lock(mutex_);
    return set_latency_.size();
  }
  const Tally& envelopes() const { return envelopes_; }
  const Tally& transactions() const { return transactions_; }
  // Once the clients have stopped.
  const Samples& envelope_latency() const { return envelope_latency_; }
  const Samples& transaction_latency() const { return transaction_latency_; }
  const Samples& set_latency() const { return set_latency_; }

 private:
  Tally envelopes_;
  Tally transactions_;
  const size_t set_bytes_;
  Client* client_ = nullptr;
  uint64_t newest_slot_ = 0;
  std::vector<TxVerdict> verdicts_;
  Samples envelope_latency_;
  Samples transaction_latency_;
  std::mutex mutex_;
  std::map<uint64_t, Hash> set_of_slot_;
  std::map<Hash, Time> named_at_;  // of sets that have not come
  std::vector<Hash> not_in_ledger_;
  Samples set_latency_;
};

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_MISSION_CORE_H_
