// The mempool beside one sorted by hand: a vector of what is in it, in which everything is found by
// looking at all. Caps of a few transactions, accounts with a few sequence numbers, fees that are
// close, equal, extreme or negative.
//
// A refusal that names a fee is held to its word: with that fee the model takes the transaction,
// with one stroop less it does not.
#include "flood/mempool.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using Outcome = Mempool::Outcome;
__extension__ using Wide = __int128;

constexpr size_t kOperationCountMax = 150;

struct Tx {
  TxIndex index = kNoIndex;
  int64_t fee = 0;
  uint32_t operations = 1;
  size_t lane = 0;
  size_t bytes = 0;
  uint8_t account = 0;
  int64_t sequence = 0;
  uint64_t order = 0;
  Time since{};
};

Wide Fee(const Tx& tx) { return std::max<int64_t>(tx.fee, 0); }
bool BidsMoreThan(const Tx& a, const Tx& b) {
  return Fee(a) * b.operations > Fee(b) * a.operations;
}
bool IsBetter(const Tx& a, const Tx& b) {  // R1
  if (BidsMoreThan(a, b) || BidsMoreThan(b, a)) return BidsMoreThan(a, b);
  return a.order < b.order;
}

class Model {
 public:
  struct Settings {
    std::array<size_t, 2> count_max{}, bytes_max{};
    size_t per_account_max = 0;
    bool replaces = true;
    Duration age_max{};
  };
  explicit Model(const Settings& settings) : settings_(settings) {}

  std::vector<Tx> all;  // in order of arrival

  std::vector<Tx> Lane(size_t lane) const {
    std::vector<Tx> found;
    for (const Tx& tx : all) {
      if (tx.lane == lane) found.push_back(tx);
    }
    std::sort(found.begin(), found.end(), IsBetter);
    return found;
  }
  size_t Bytes(size_t lane) const {
    size_t bytes = 0;
    for (const Tx& tx : Lane(lane)) bytes += tx.bytes;
    return bytes;
  }

  struct Answer {
    Outcome outcome = Outcome::kAdded;
    std::set<TxIndex> displaced;
    bool short_of_room = false;  // the fee was too low for the room that it needs
  };
  Answer Try(const Tx& tx) const {
    const Tx* rival = nullptr;
    size_t of_account = 0;
    for (const Tx& other : all) {
      if (other.account != tx.account) continue;
      ++of_account;
      if (settings_.replaces && other.sequence == tx.sequence) rival = &other;
    }
    Answer answer;
    if (rival == nullptr && settings_.per_account_max > 0 &&
        of_account >= settings_.per_account_max) {
      answer.outcome = Outcome::kAccountFull;
      return answer;
    }
    // R4: ten times per operation, and more than nothing.
    const bool replaces =
        rival == nullptr || (Fee(tx) * rival->operations >= 10 * Fee(*rival) * tx.operations &&
                             BidsMoreThan(tx, *rival));
    if (settings_.count_max[tx.lane] == 0 || tx.bytes > settings_.bytes_max[tx.lane]) {
      answer.outcome = Outcome::kNoRoom;
      return answer;
    }
    // R3: the worst of the lane go one by one until it fits.
    std::vector<Tx> lane = Lane(tx.lane);
    if (rival != nullptr) {
      std::erase_if(lane, [&](const Tx& other) { return other.index == rival->index; });
      answer.displaced.insert(rival->index);
    }
    const auto fits = [&] {
      size_t bytes = tx.bytes;
      for (const Tx& other : lane) bytes += other.bytes;
      return lane.size() + 1 <= settings_.count_max[tx.lane] &&
             bytes <= settings_.bytes_max[tx.lane];
    };
    while (!fits()) {
      if (!BidsMoreThan(tx, lane.back())) answer.short_of_room = true;
      answer.displaced.insert(lane.back().index);
      lane.pop_back();
    }
    if (answer.short_of_room || !replaces) answer.outcome = Outcome::kFeeTooLow;
    return answer;
  }
  Answer Add(Tx tx, Time now) {
    const Answer answer = Try(tx);
    if (answer.outcome == Outcome::kAdded) {
      std::set<size_t> evicting;
      for (const Tx& other : all) {
        const bool replaced =
            settings_.replaces && other.account == tx.account && other.sequence == tx.sequence;
        if (answer.displaced.contains(other.index) && !replaced) evicting.insert(other.lane);
      }
      for (const TxIndex index : answer.displaced) Erase(index);
      tx.order = ++last_order_;
      tx.since = now;
      all.push_back(tx);
      for (const size_t lane : evicting) full_[lane] = true;
    }
    if (answer.short_of_room) full_[tx.lane] = true;
    UpdateFull();
    return answer;
  }
  void Remove(TxIndex index) {
    Erase(index);
    UpdateFull();
  }
  std::set<TxIndex> Rebid(TxIndex index, int64_t fee, uint32_t operations, size_t lane) {
    for (Tx& tx : all) {
      if (tx.index != index) continue;
      tx.fee = fee;
      tx.operations = operations;
      tx.lane = lane;
    }
    std::set<TxIndex> displaced;
    while (Lane(lane).size() > settings_.count_max[lane] ||
           Bytes(lane) > settings_.bytes_max[lane]) {
      displaced.insert(Lane(lane).back().index);
      Erase(Lane(lane).back().index);
      full_[lane] = true;
    }
    UpdateFull();
    return displaced;
  }

  uint64_t Floor(size_t lane) const {  // R7
    if (!full_[lane] || Lane(lane).empty()) return 0;
    const Tx worst = Lane(lane).back();
    return static_cast<uint64_t>(Fee(worst)) / worst.operations + 1;
  }
  std::optional<Time> NextExpiry() const {
    if (all.empty()) return std::nullopt;
    return all.front().since + settings_.age_max;
  }

  std::vector<TxIndex> Top(const TopQuery& query) const {  // R6
    std::map<uint8_t, std::vector<Tx>> accounts;
    for (const Tx& tx : all) accounts[tx.account].push_back(tx);
    for (auto& [key, txs] : accounts) {
      std::sort(txs.begin(), txs.end(), [](const Tx& a, const Tx& b) {
        return a.sequence != b.sequence ? a.sequence < b.sequence : a.order < b.order;
      });
      if (txs.size() > std::max<uint32_t>(query.per_account_max, 1)) {
        txs.resize(std::max<uint32_t>(query.per_account_max, 1));
      }
    }
    std::vector<TxIndex> taken;
    uint64_t bytes = 0;
    std::array<uint64_t, 2> lane_bytes{}, lane_count{};
    while (taken.size() < query.count_max) {
      std::vector<Tx>* best = nullptr;
      for (auto& [key, txs] : accounts) {
        if (txs.empty()) continue;
        if (best == nullptr || IsBetter(txs.front(), best->front())) best = &txs;
      }
      if (best == nullptr) break;
      const Tx tx = best->front();
      const bool fits =
          lane_count[tx.lane] < query.lane_count_max[tx.lane].value_or(UINT32_MAX) &&
          bytes + tx.bytes <= query.bytes_max &&
          lane_bytes[tx.lane] + tx.bytes <= query.lane_bytes_max[tx.lane].value_or(UINT64_MAX);
      if (!fits) {
        best->clear();  // those behind it wait for it
        continue;
      }
      taken.push_back(tx.index);
      bytes += tx.bytes;
      lane_bytes[tx.lane] += tx.bytes;
      ++lane_count[tx.lane];
      best->erase(best->begin());
    }
    return taken;
  }

 private:
  void Erase(TxIndex index) {
    std::erase_if(all, [&](const Tx& tx) { return tx.index == index; });
  }
  // Below nine tenths of both caps it is not full any more.
  void UpdateFull() {
    for (size_t lane = 0; lane < 2; ++lane) {
      if (10 * Lane(lane).size() < 9 * settings_.count_max[lane] &&
          10 * Bytes(lane) < 9 * settings_.bytes_max[lane]) {
        full_[lane] = false;
      }
    }
  }

  const Settings settings_;
  std::array<bool, 2> full_{};
  uint64_t last_order_ = 0;
};

class Fuzz {
 public:
  explicit Fuzz(FuzzInput input)
      : in_(input), limits_(ChooseLimits()), pool_(limits_, table_), model_(SettingsOf(limits_)) {}

  void Run() {
    while (!in_.empty() && judge_.index() < kOperationCountMax) {
      Step();
      CheckAll();
      if (judge_.index() % 8 == 0) pool_.CheckInvariants();
    }
    pool_.CheckInvariants();
  }

 private:
  Limits ChooseLimits() {
    Limits limits;
    limits.mempool_count_max = in_.Pick(std::array<size_t, 4>{40, 8, 4, 24});
    limits.mempool_bytes_max = in_.Pick(std::array<size_t, 4>{4000, 800, 1200, 100'000});
    limits.mempool_lane_share =
        in_.Pick(std::array<std::array<double, 2>, 3>{{{0.5, 0.5}, {1.0, 0.25}, {0.75, 0.0}}});
    limits.mempool_per_account_max = in_.Pick(std::array<size_t, 4>{100, 0, 1, 2});
    limits.mempool_replace_by_fee = !in_.Flag();
    return limits;
  }
  static Model::Settings SettingsOf(const Limits& limits) {
    Model::Settings settings;
    for (size_t lane = 0; lane < 2; ++lane) {
      // The shares above are exact in binary, and give whole numbers.
      const auto part = [&](size_t whole) {
        return static_cast<size_t>(static_cast<double>(whole) * limits.mempool_lane_share[lane]);
      };
      settings.count_max[lane] = part(limits.mempool_count_max);
      settings.bytes_max[lane] = part(limits.mempool_bytes_max);
    }
    settings.per_account_max = limits.mempool_per_account_max;
    settings.replaces = limits.mempool_replace_by_fee;
    settings.age_max = limits.mempool_age_max;
    return settings;
  }

  int64_t AnyFee() {
    const size_t choice = in_.Byte();
    constexpr std::array<int64_t, 8> kSpecial = {0,    -5,        INT64_MAX, INT64_MAX / 10,
                                                 1000, INT64_MIN, 10'000,    INT64_MAX - 1};
    return choice < 224 ? static_cast<int64_t>(choice % 28) : kSpecial[choice % 8];
  }
  uint32_t AnyOperations() { return in_.Pick(std::array<uint32_t, 5>{1, 2, 3, 7, 100}); }

  static Bid BidOf(int64_t fee, uint32_t operations, size_t lane) {
    return {fee, operations, static_cast<Lane>(lane)};
  }
  std::set<TxIndex> Took(const std::vector<TxIndex>& displaced) {
    const std::set<TxIndex> unique(displaced.begin(), displaced.end());
    judge_.Equal("each displaced once", unique.size(), displaced.size());
    for (const TxIndex index : displaced) table_.Remove(index);
    return unique;
  }

  void Add() {
    Tx tx;
    tx.fee = AnyFee();
    tx.operations = AnyOperations();
    tx.lane = in_.Below(2);
    tx.bytes = in_.Pick(std::array<size_t, 5>{100, 40, 1, 333, 1000});
    tx.account = static_cast<uint8_t>(in_.Below(6));
    tx.sequence = static_cast<int64_t>(in_.Below(4));
    TxRecord record;
    ++added_;
    record.hash.bytes[0] = static_cast<uint8_t>(added_);
    record.hash.bytes[1] = static_cast<uint8_t>(added_ >> 8);
    record.body = Bytes::Take(std::string(tx.bytes, 'x'));
    record.bid = BidOf(tx.fee, tx.operations, tx.lane);
    record.account.bytes[0] = tx.account;
    record.sequence = tx.sequence;
    tx.index = table_.Add(std::move(record));
    judge_.Begin("add {}: {} stroops for {} operations, {} bytes", tx.index, tx.fee, tx.operations,
                 tx.bytes);
    std::vector<TxIndex> displaced;
    const Mempool::AddResult got = pool_.Add(now_, tx.index, displaced);
    if (got.outcome == Outcome::kFeeTooLow) CheckFeeWanted(tx, got.fee_wanted);
    const Model::Answer expected = model_.Add(tx, now_);
    judge_.Equal("outcome", static_cast<int>(expected.outcome), static_cast<int>(got.outcome));
    if (got.outcome == Outcome::kAdded) {
      judge_.Equal("displaced", expected.displaced, Took(displaced));
    } else {
      judge_.True("a refusal displaces nothing", displaced.empty());
      table_.Remove(tx.index);
    }
  }
  void CheckFeeWanted(Tx tx, uint64_t wanted) {
    if (wanted >= uint64_t{INT64_MAX}) return;  // nobody can bid so much
    tx.fee = static_cast<int64_t>(wanted);
    judge_.True("the fee wanted would do", model_.Try(tx).outcome == Outcome::kAdded);
    --tx.fee;
    judge_.True("less would not", model_.Try(tx).outcome == Outcome::kFeeTooLow);
  }

  void Remove() {
    const size_t which = in_.Byte();
    judge_.Begin("remove");
    if (model_.all.empty()) return;
    const TxIndex index = model_.all[which % model_.all.size()].index;
    pool_.Remove(index);
    model_.Remove(index);
    table_.Remove(index);
  }

  void Rebid() {
    const size_t which = in_.Byte();
    const int64_t fee = AnyFee();
    const uint32_t operations = AnyOperations();
    const size_t lane = in_.Below(2);
    if (model_.all.empty()) return;
    const TxIndex index = model_.all[which % model_.all.size()].index;
    judge_.Begin("rebid {}: {} for {}, lane {}", index, fee, operations, lane);
    std::vector<TxIndex> displaced;
    pool_.Rebid(index, BidOf(fee, operations, lane), displaced);
    judge_.Equal("displaced", model_.Rebid(index, fee, operations, lane), Took(displaced));
  }

  void Wait() {
    now_ += in_.Pick(std::array<Duration, 4>{1ms, 100s, 200s, 301s});
    judge_.Begin("now {} s", now_.time_since_epoch() / 1s);
    while (model_.NextExpiry() && *model_.NextExpiry() <= now_) {
      const std::optional<TxIndex> got = pool_.NextExpired(now_);
      judge_.Equal<int64_t>("expired", model_.all.front().index, got ? int64_t{*got} : -1);
      pool_.Remove(*got);
      model_.Remove(*got);
      table_.Remove(*got);
    }
    judge_.True("nothing else has expired", !pool_.NextExpired(now_));
  }

  void Top() {
    TopQuery query;
    query.count_max = static_cast<uint32_t>(in_.Pick(std::array<int, 4>{1000, 0, 1, 5}));
    query.bytes_max = in_.Pick(std::array<uint64_t, 4>{UINT64_MAX, 0, 300, 900});
    query.per_account_max = static_cast<uint32_t>(in_.Below(4));
    for (size_t lane = 0; lane < 2; ++lane) {
      if (in_.Below(4) == 3) query.lane_count_max[lane] = static_cast<uint32_t>(in_.Below(4));
      if (in_.Below(4) == 3) {
        query.lane_bytes_max[lane] = in_.Pick(std::array<uint64_t, 3>{0, 200, 500});
      }
    }
    judge_.Begin("top {} in {} bytes, {} of an account", query.count_max, query.bytes_max,
                 query.per_account_max);
    std::vector<TxIndex> got;
    for (const TopTransaction& top : pool_.Top(query)) {
      const std::optional<TxIndex> index = table_.Find(top.hash);
      judge_.True("it is held", index.has_value());
      judge_.True("its bid", top.bid == table_[*index].bid);
      got.push_back(*index);
    }
    judge_.Equal("top", model_.Top(query), got);
  }

  void Step() {
    switch (in_.Below(8)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return Add();
      case 4:
        return Remove();
      case 5:
        return Rebid();
      case 6:
        return Top();
      case 7:
        return Wait();
    }
  }

  void CheckAll() {
    for (size_t lane = 0; lane < 2; ++lane) {
      std::vector<TxIndex> expected, got;
      for (const Tx& tx : model_.Lane(lane)) expected.push_back(tx.index);
      for (const auto& place : pool_.order(static_cast<Lane>(lane))) got.push_back(place.index);
      judge_.Equal("order", expected, got);
      judge_.Equal("floor", model_.Floor(lane), pool_.FloorFeePerOp(static_cast<Lane>(lane)));
    }
    judge_.Equal("count", model_.all.size(), pool_.count());
    judge_.Equal("bytes", model_.Bytes(0) + model_.Bytes(1), pool_.bytes());
    judge_.True("expiry", model_.NextExpiry() == pool_.NextExpiry());
  }

  FuzzInput in_;
  const Limits limits_;
  TxTable table_;
  Mempool pool_;
  Model model_;
  Judge judge_;
  Time now_{};
  size_t added_ = 0;
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
