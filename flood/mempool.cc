#include "flood/mempool.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/numeric/int128.h"
#include "flood/base/check.h"

namespace overlay::flood {
namespace {

uint64_t FeeOf(const Bid& bid) { return bid.fee < 0 ? 0 : static_cast<uint64_t>(bid.fee); }

// Lowest fee for `operations` that bids at least `factor` times, or else strictly more than,
// `other`.
uint64_t FeeToMatch(const Bid& other, uint64_t factor, uint32_t operations, bool strictly) {
  const absl::uint128 product =
      absl::uint128(FeeOf(other)) * factor * std::max<uint32_t>(operations, 1);
  const uint32_t divisor = std::max<uint32_t>(other.operations, 1);
  absl::uint128 fee = product / divisor;
  if (strictly || fee * divisor < product) fee += 1;
  return fee > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(fee);
}

}  // namespace

bool BidsMore(const Bid& a, const Bid& b) {
  return absl::uint128(FeeOf(a)) * b.operations > absl::uint128(FeeOf(b)) * a.operations;
}

uint64_t FeePerOp(const Bid& bid) { return FeeOf(bid) / std::max<uint32_t>(bid.operations, 1); }

bool Mempool::Better::operator()(const Place& a, const Place& b) const {
  if (BidsMore(a.bid, b.bid)) return true;
  if (BidsMore(b.bid, a.bid)) return false;
  return a.order < b.order;
}

Mempool::Mempool(const Limits& limits, TxTable& table) : limits_(limits), table_(table) {
  static_assert(kLaneCount == std::tuple_size_v<decltype(limits.mempool_lane_share)>);
  for (size_t i = 0; i < kLaneCount; ++i) {
    const double share = limits.mempool_lane_share[i];
    lanes_[i].count_max =
        static_cast<size_t>(static_cast<double>(limits.mempool_count_max) * share);
    lanes_[i].bytes_max =
        static_cast<size_t>(static_cast<double>(limits.mempool_bytes_max) * share);
  }
}

Mempool::Place Mempool::PlaceOf(TxIndex index) const {
  return {table_[index].bid, table_[index].order, index};
}

std::optional<TxIndex> Mempool::Rival(const TxRecord& record) const {
  if (!limits_.mempool_replace_by_fee) return std::nullopt;
  const auto it = accounts_.find(record.account);
  if (it == accounts_.end()) return std::nullopt;
  const auto at =
      std::lower_bound(it->second.begin(), it->second.end(), Numbered{record.sequence, 0, 0});
  if (at == it->second.end() || at->sequence != record.sequence) return std::nullopt;
  return at->index;
}

Mempool::AddResult Mempool::Add(Time now, TxIndex index, std::vector<TxIndex>& displaced) {
  TxRecord& record = table_[index];
  OVERLAY_CHECK(!record.pooled);
  const std::optional<TxIndex> rival = Rival(record);
  uint64_t fee_wanted = 0;
  if (rival) {
    const Bid& old = table_[*rival].bid;
    fee_wanted = FeeToMatch(old, kReplaceFeeFactor, record.bid.operations, FeeOf(old) == 0);
  } else if (limits_.mempool_per_account_max > 0) {
    const auto it = accounts_.find(record.account);
    if (it != accounts_.end() && it->second.size() >= limits_.mempool_per_account_max) {
      return {Outcome::kAccountFull, 0};
    }
  }
  std::vector<TxIndex> victims;
  LaneState& lane = LaneOf(record.bid.lane);
  if (!MakeRoom(record, rival, victims)) return {Outcome::kNoRoom, 0};
  // Judged by what is here in the end, not while some have gone and this one is not here yet.
  const bool full = lane.full || !victims.empty();
  if (!victims.empty()) {
    // The last is the dearest of those that must go.
    const uint64_t for_room =
        FeeToMatch(table_[victims.back()].bid, 1, record.bid.operations, /*strictly=*/true);
    if (FeeOf(record.bid) < for_room) SetFull(lane);
    fee_wanted = std::max(fee_wanted, for_room);
  }
  if (FeeOf(record.bid) < fee_wanted) {
    return {Outcome::kFeeTooLow, std::min<uint64_t>(fee_wanted, INT64_MAX)};
  }
  if (rival) victims.push_back(*rival);
  for (TxIndex victim : victims) Remove(victim);
  displaced.insert(displaced.end(), victims.begin(), victims.end());
  record.pooled = true;
  record.order = next_order_++;
  record.pooled_at = now;
  age_.PushBack(table_, index);
  Insert(index);
  if (full) SetFull(lane);
  return {};
}

bool Mempool::MakeRoom(const TxRecord& record, std::optional<TxIndex> replaced,
                       std::vector<TxIndex>& victims) const {
  const LaneState& lane = LaneOf(record.bid.lane);
  if (record.body.size() > lane.bytes_max || lane.count_max == 0) return false;
  size_t count = lane.all.size() + 1;
  size_t bytes = lane.bytes + record.body.size();
  if (replaced && table_[*replaced].bid.lane == record.bid.lane) {
    --count;
    bytes -= table_[*replaced].body.size();
  }
  for (auto it = lane.all.rbegin(); count > lane.count_max || bytes > lane.bytes_max; ++it) {
    if (it->index == replaced) continue;
    victims.push_back(it->index);
    --count;
    bytes -= table_[it->index].body.size();
  }
  return true;
}

void Mempool::Insert(TxIndex index) {
  const TxRecord& record = table_[index];
  LaneState& lane = LaneOf(record.bid.lane);
  lane.all.insert(PlaceOf(index));
  lane.bytes += record.body.size();
  InsertNumbered(index);
}

void Mempool::Remove(TxIndex index) {
  TxRecord& record = table_[index];
  OVERLAY_CHECK(record.pooled);
  RemoveNumbered(index);
  LaneState& lane = LaneOf(record.bid.lane);
  lane.all.erase(PlaceOf(index));
  lane.bytes -= record.body.size();
  age_.Remove(table_, index);
  record.pooled = false;
  UpdateFull(lane);
}

void Mempool::InsertNumbered(TxIndex index) {
  const TxRecord& record = table_[index];
  Account& account = accounts_[record.account];
  const Numbered entry{record.sequence, record.order, index};
  const auto at = std::upper_bound(account.begin(), account.end(), entry);
  if (at == account.begin()) {
    if (!account.empty()) {
      const TxIndex head = account.front().index;
      LaneOf(table_[head].bid.lane).heads.erase(PlaceOf(head));
    }
    LaneOf(record.bid.lane).heads.insert(PlaceOf(index));
  }
  account.insert(at, entry);
}

void Mempool::RemoveNumbered(TxIndex index) {
  const TxRecord& record = table_[index];
  const auto it = accounts_.find(record.account);
  OVERLAY_CHECK(it != accounts_.end());
  Account& account = it->second;
  const auto at = std::lower_bound(account.begin(), account.end(),
                                   Numbered{record.sequence, record.order, index});
  OVERLAY_CHECK(at != account.end() && at->index == index);
  const bool was_head = at == account.begin();
  account.erase(at);
  if (was_head) {
    LaneOf(record.bid.lane).heads.erase(PlaceOf(index));
    if (!account.empty()) {
      const TxIndex head = account.front().index;
      LaneOf(table_[head].bid.lane).heads.insert(PlaceOf(head));
    }
  }
  if (account.empty()) accounts_.erase(it);
}

void Mempool::Rebid(TxIndex index, const Bid& bid, std::vector<TxIndex>& displaced) {
  TxRecord& record = table_[index];
  OVERLAY_CHECK(record.pooled);
  if (record.bid == bid) return;
  RemoveNumbered(index);
  LaneState& before = LaneOf(record.bid.lane);
  before.all.erase(PlaceOf(index));
  before.bytes -= record.body.size();
  record.bid = bid;
  Insert(index);
  UpdateFull(before);
  LaneState& lane = LaneOf(bid.lane);
  while (lane.all.size() > lane.count_max || lane.bytes > lane.bytes_max) {
    const TxIndex cheapest = lane.all.rbegin()->index;
    Remove(cheapest);
    SetFull(lane);
    displaced.push_back(cheapest);
  }
}

void Mempool::SetFull(LaneState& lane) {
  lane.full = true;
  UpdateFull(lane);
}

void Mempool::UpdateFull(LaneState& lane) {
  if (lane.all.size() < lane.count_max - lane.count_max / 10 &&
      lane.bytes < lane.bytes_max - lane.bytes_max / 10) {
    lane.full = false;
  }
}

std::optional<TxIndex> Mempool::Cheapest() const {
  const LaneState* fullest = nullptr;
  const auto share = [](const LaneState& lane) {
    return static_cast<double>(lane.bytes) /
           static_cast<double>(std::max<size_t>(lane.bytes_max, 1));
  };
  for (const LaneState& lane : lanes_) {
    if (lane.all.empty()) continue;
    if (fullest == nullptr || share(lane) > share(*fullest)) fullest = &lane;
  }
  return fullest == nullptr ? std::nullopt : std::optional(fullest->all.rbegin()->index);
}

std::optional<TxIndex> Mempool::NextExpired(Time now) const {
  const std::optional<Time> at = NextExpiry();
  return at && *at <= now ? std::optional(age_.front()) : std::nullopt;
}

std::optional<Time> Mempool::NextExpiry() const {
  if (age_.empty()) return std::nullopt;
  return table_[age_.front()].pooled_at + limits_.mempool_age_max;
}

uint64_t Mempool::FloorFeePerOp(Lane lane) const {
  const LaneState& state = LaneOf(lane);
  if (!state.full || state.all.empty()) return 0;
  const uint64_t cheapest = FeePerOp(state.all.rbegin()->bid);
  return cheapest == UINT64_MAX ? cheapest : cheapest + 1;
}

// Merges the heads of the lanes with the accounts' next ones, which wait in a heap until the one
// before them has been taken.
class Mempool::TopBuilder {
 public:
  TopBuilder(const Mempool& pool, const TopQuery& query) : pool_(pool), query_(query) {
    for (size_t i = 0; i < kLaneCount; ++i) next_head_[i] = pool.lanes_[i].heads.begin();
  }

  std::vector<TopTransaction> Run() {
    while (taken_.size() < query_.count_max && misfits_ < kTopMisfitsMax) {
      const std::optional<Candidate> best = PopBest();
      if (!best) break;
      if (Fits(best->place)) Take(*best);
    }
    return std::move(taken_);
  }

 private:
  struct Candidate {
    Place place;
    size_t position = 0;  // in its account
  };
  struct Worse {
    bool operator()(const Candidate& a, const Candidate& b) const {
      return Better()(b.place, a.place);
    }
  };

  bool IsLaneOpen(size_t lane) const {
    return lane_count_[lane] < query_.lane_count_max[lane].value_or(UINT32_MAX);
  }

  std::optional<Candidate> PopBest() {
    std::optional<size_t> from;
    for (size_t i = 0; i < kLaneCount; ++i) {
      if (!IsLaneOpen(i) || next_head_[i] == pool_.lanes_[i].heads.end()) continue;
      if (!from || Better()(*next_head_[i], *next_head_[*from])) from = i;
    }
    if (!waiting_.empty() && (!from || Better()(waiting_.top().place, *next_head_[*from]))) {
      const Candidate best = waiting_.top();
      waiting_.pop();
      return best;
    }
    if (!from) return std::nullopt;
    return Candidate{*next_head_[*from]++, 0};
  }

  bool Fits(const Place& place) {
    const size_t lane = static_cast<size_t>(place.bid.lane);
    if (!IsLaneOpen(lane)) return false;
    const size_t size = pool_.table_[place.index].body.size();
    const uint64_t lane_bytes_max = query_.lane_bytes_max[lane].value_or(UINT64_MAX);
    if (size <= query_.bytes_max - bytes_ && size <= lane_bytes_max - lane_bytes_[lane])
      return true;
    ++misfits_;
    return false;
  }

  void Take(const Candidate& candidate) {
    const TxRecord& record = pool_.table_[candidate.place.index];
    const size_t lane = static_cast<size_t>(record.bid.lane);
    taken_.push_back({record.hash, record.body, record.bid});
    bytes_ += record.body.size();
    lane_bytes_[lane] += record.body.size();
    ++lane_count_[lane];
    const size_t next = candidate.position + 1;
    if (next >= std::max<uint32_t>(query_.per_account_max, 1)) return;
    const Account& account = pool_.accounts_.find(record.account)->second;
    if (next < account.size()) waiting_.push({pool_.PlaceOf(account[next].index), next});
  }

  const Mempool& pool_;
  const TopQuery& query_;
  std::array<Order::const_iterator, kLaneCount> next_head_;
  std::priority_queue<Candidate, std::vector<Candidate>, Worse> waiting_;
  std::vector<TopTransaction> taken_;
  uint64_t bytes_ = 0;
  std::array<uint64_t, kLaneCount> lane_bytes_{};
  std::array<uint32_t, kLaneCount> lane_count_{};
  size_t misfits_ = 0;
};

std::vector<TopTransaction> Mempool::Top(const TopQuery& query) const {
  return TopBuilder(*this, query).Run();
}

void Mempool::CheckInvariants() const {
  size_t count = 0, numbered = 0, heads = 0;
  for (const LaneState& lane : lanes_) {
    size_t bytes = 0;
    for (const Place& place : lane.all) {
      const TxRecord& record = table_[place.index];
      OVERLAY_CHECK(table_.IsUsed(place.index) && record.pooled);
      OVERLAY_CHECK(place.bid == record.bid && place.order == record.order);
      OVERLAY_CHECK(&LaneOf(record.bid.lane) == &lane);
      bytes += record.body.size();
    }
    OVERLAY_CHECK(bytes == lane.bytes && bytes <= lane.bytes_max);
    OVERLAY_CHECK(lane.all.size() <= lane.count_max);
    count += lane.all.size();
    heads += lane.heads.size();
  }
  OVERLAY_CHECK(heads == accounts_.size());
  for (const auto& [key, account] : accounts_) {
    OVERLAY_CHECK(!account.empty() && std::is_sorted(account.begin(), account.end()));
    const TxIndex head = account.front().index;
    OVERLAY_CHECK(LaneOf(table_[head].bid.lane).heads.contains(PlaceOf(head)));
    if (limits_.mempool_per_account_max > 0) {
      OVERLAY_CHECK(account.size() <= limits_.mempool_per_account_max);
    }
    for (const Numbered& entry : account) OVERLAY_CHECK(table_[entry.index].account == key);
    numbered += account.size();
  }
  OVERLAY_CHECK(count == age_.size() && count == numbered);
  Time before{};
  size_t aged = 0;
  for (TxIndex i = age_.front(); i != kNoIndex; i = decltype(age_)::Next(table_, i)) {
    if (aged++ == 0) before = table_[i].pooled_at;
    OVERLAY_CHECK(table_[i].pooled);
  }
  OVERLAY_CHECK(aged == count);
}

}  // namespace overlay::flood
