#include "flood/mempool.h"

#include <algorithm>

#include "flood/base/random.h"
#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using Outcome = Mempool::Outcome;

class MempoolTest : public testing::Test {
 protected:
  struct Spec {
    int64_t fee = 100;
    uint32_t operations = 1;
    Lane lane = Lane::kClassic;
    int account = 0;  // 0: one of its own
    int64_t sequence = 1;
    size_t bytes = 100;
  };
  MempoolTest() {
    limits_.mempool_count_max = 8;  // 4 a lane
    limits_.mempool_per_account_max = 3;
  }
  Mempool& pool() {
    if (!pool_) pool_.emplace(limits_, table_);
    return *pool_;
  }
  Outcome Add(int name, const Spec& spec) {
    TxRecord record;
    record.hash.bytes[0] = static_cast<uint8_t>(name);
    record.body = Bytes::Take(std::vector<uint8_t>(spec.bytes));
    record.bid = {spec.fee, spec.operations, spec.lane};
    record.account.bytes[0] = static_cast<uint8_t>(spec.account != 0 ? spec.account : 128 + name);
    record.sequence = spec.sequence;
    const TxIndex index = table_.Add(record);
    displaced_.clear();
    const Mempool::AddResult result = pool().Add(now_, index, displaced_);
    fee_wanted_ = result.fee_wanted;
    if (result.outcome != Outcome::kAdded) table_.Remove(index);
    gone_.clear();
    for (TxIndex gone : displaced_) {
      gone_.push_back(table_[gone].hash.bytes[0]);
      table_.Remove(gone);
    }
    pool().CheckInvariants();
    table_.CheckInvariants();
    return result.outcome;
  }
  TxIndex At(int name) {
    TxHash hash;
    hash.bytes[0] = static_cast<uint8_t>(name);
    return *table_.Find(hash);
  }
  std::vector<int> Top(TopQuery query = {.count_max = 100}) {
    std::vector<int> names;
    for (const TopTransaction& tx : pool().Top(query)) names.push_back(tx.hash.bytes[0]);
    return names;
  }

  Limits limits_;
  TxTable table_;
  std::optional<Mempool> pool_;
  Time now_{100s};
  std::vector<TxIndex> displaced_;
  std::vector<int> gone_;
  uint64_t fee_wanted_ = 0;
};

using Names = std::vector<int>;

TEST_F(MempoolTest, OrderIsExactAndTiesGoByArrival) {
  Add(1, {.fee = 100, .operations = 1});
  Add(2, {.fee = 201, .operations = 2});
  Add(3, {.fee = 302, .operations = 3, .lane = Lane::kSoroban});
  Add(4, {.fee = 1000, .operations = 10});
  EXPECT_EQ(Top(), (Names{3, 2, 1, 4}));
}

TEST_F(MempoolTest, OrderSurvivesTheLargestFees) {
  Add(1, {.fee = INT64_MAX, .operations = 2});
  Add(2, {.fee = INT64_MAX - 1, .operations = 1});
  Add(3, {.fee = INT64_MAX, .operations = 1});
  EXPECT_EQ(Top(), (Names{3, 2, 1}));
}

TEST_F(MempoolTest, AFullLaneLosesItsCheapestToABetterBidOnly) {
  for (int i = 1; i <= 4; ++i) EXPECT_EQ(Add(i, {.fee = 100 * i}), Outcome::kAdded);
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kClassic), 0u) << "nobody was turned away yet";
  EXPECT_EQ(Add(5, {.fee = 200, .operations = 2}), Outcome::kFeeTooLow);
  EXPECT_EQ(fee_wanted_, 201u);
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kClassic), 101u);
  EXPECT_EQ(Add(6, {.fee = 201, .operations = 2}), Outcome::kAdded);
  EXPECT_EQ(gone_, Names{1});
  EXPECT_EQ(Add(7, {.fee = 1, .lane = Lane::kSoroban}), Outcome::kAdded) << "a lane of its own";
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kSoroban), 0u);
  EXPECT_EQ(Top(), (Names{4, 3, 2, 6, 7}));
  pool().Remove(At(4));
  table_.Remove(At(4));
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kClassic), 0u);
}

TEST_F(MempoolTest, BytesAreCappedByLane) {
  limits_.mempool_bytes_max = 2000;  // 1,000 a lane
  EXPECT_EQ(Add(1, {.fee = 1, .bytes = 600}), Outcome::kAdded);
  EXPECT_EQ(Add(2, {.fee = 2, .bytes = 400}), Outcome::kAdded);
  EXPECT_EQ(Add(3, {.fee = 2, .bytes = 700}), Outcome::kFeeTooLow) << "2 would have to go too";
  EXPECT_EQ(Add(4, {.fee = 3, .bytes = 601}), Outcome::kAdded);
  EXPECT_EQ(gone_, (Names{1, 2}));
  EXPECT_EQ(Add(5, {.fee = 9, .bytes = 1001}), Outcome::kNoRoom);
  EXPECT_EQ(Add(6, {.fee = 9, .bytes = 1000}), Outcome::kAdded);
}

// The fee told would do: it beats all that must go for it, not only the first of them; for a
// replacement too.
TEST_F(MempoolTest, TheFeeWantedMakesAllTheRoomThatIsNeeded) {
  limits_.mempool_bytes_max = 800;  // 400 a lane
  for (int i = 1; i <= 4; ++i) Add(i, {.fee = 100 * i, .account = i});
  EXPECT_EQ(Add(5, {.fee = 1, .bytes = 300}), Outcome::kFeeTooLow);
  EXPECT_EQ(fee_wanted_, 301u);
  EXPECT_EQ(Add(6, {.fee = 300, .bytes = 300}), Outcome::kFeeTooLow);
  EXPECT_EQ(Add(7, {.fee = 1, .operations = 2, .account = 1, .bytes = 350}), Outcome::kFeeTooLow);
  EXPECT_EQ(fee_wanted_, 2000u);  // ten times 100 for each of the two, more than 400 for each
  EXPECT_EQ(Add(8, {.fee = 301, .bytes = 300}), Outcome::kAdded);
  EXPECT_EQ(gone_, (Names{1, 2, 3}));
}

// No fee is ten times the largest: nothing replaces it.
TEST_F(MempoolTest, TheLargestFeeIsNotReplaced) {
  Add(1, {.fee = INT64_MAX, .account = 1});
  EXPECT_EQ(Add(2, {.fee = INT64_MAX, .account = 1}), Outcome::kFeeTooLow);
  EXPECT_EQ(fee_wanted_, uint64_t{INT64_MAX});
}

// A lane is full until it is below 90 % when an input is done; what one input removes and adds does
// not count in between.
TEST_F(MempoolTest, AFullLaneStaysFullWhileOneTakesTheOthersPlace) {
  for (int i = 1; i <= 4; ++i) Add(i, {.fee = 100 * i, .account = i});
  EXPECT_EQ(Add(5, {.fee = 150}), Outcome::kAdded);
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kClassic), 151u) << "it evicted";
  EXPECT_EQ(Add(6, {.fee = 2000, .account = 2}), Outcome::kAdded);
  EXPECT_EQ(gone_, Names{2});
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kClassic), 151u) << "it replaced";
  std::vector<TxIndex> displaced;
  pool().Rebid(At(5), {160, 1, Lane::kClassic}, displaced);
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kClassic), 161u) << "it bids anew";
  pool().Rebid(At(5), {160, 1, Lane::kSoroban}, displaced);
  EXPECT_EQ(pool().FloorFeePerOp(Lane::kClassic), 0u) << "there is room again";
}

TEST_F(MempoolTest, AnAccountHasItsLimit) {
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(Add(i, {.account = 7, .sequence = i}), Outcome::kAdded);
  EXPECT_EQ(Add(4, {.fee = 9999, .account = 7, .sequence = 4}), Outcome::kAccountFull);
  EXPECT_EQ(Add(5, {.fee = 1000, .account = 7, .sequence = 2}), Outcome::kAdded) << "replaces";
  EXPECT_EQ(gone_, Names{2});
}

TEST_F(MempoolTest, WithoutLimitAnAccountMayFillItsLane) {
  limits_.mempool_per_account_max = 0;
  for (int i = 1; i <= 4; ++i) EXPECT_EQ(Add(i, {.account = 7, .sequence = i}), Outcome::kAdded);
}

TEST_F(MempoolTest, ReplacingTakesTenTimesTheBidPerOperation) {
  Add(1, {.fee = 200, .operations = 2, .account = 7});
  EXPECT_EQ(Add(2, {.fee = 2999, .operations = 3, .account = 7}), Outcome::kFeeTooLow);
  EXPECT_EQ(fee_wanted_, 3000u);
  EXPECT_EQ(Add(3, {.fee = 3000, .operations = 3, .account = 7}), Outcome::kAdded);
  EXPECT_EQ(gone_, Names{1});
  EXPECT_EQ(Add(4, {.fee = 0, .account = 8}), Outcome::kAdded);
  EXPECT_EQ(Add(5, {.fee = 0, .account = 8}), Outcome::kFeeTooLow) << "ten times nothing";
  EXPECT_EQ(Add(6, {.fee = 1, .account = 8}), Outcome::kAdded);
}

TEST_F(MempoolTest, ReplacingCanBeSwitchedOff) {
  limits_.mempool_replace_by_fee = false;
  Add(1, {.fee = 100, .account = 7});
  EXPECT_EQ(Add(2, {.fee = 5000, .account = 7}), Outcome::kAdded);
  EXPECT_TRUE(gone_.empty());
  EXPECT_EQ(pool().count(), 2u);
}

TEST_F(MempoolTest, AFullLaneTakesAReplacementWithoutEvictingAnother) {
  for (int i = 1; i <= 4; ++i) Add(i, {.fee = 100, .account = i});
  EXPECT_EQ(Add(5, {.fee = 1000, .account = 3}), Outcome::kAdded);
  EXPECT_EQ(gone_, Names{3});
}

TEST_F(MempoolTest, LeavesByAgeOldestFirst) {
  Add(1, {});
  now_ += 10s;
  Add(2, {});
  EXPECT_EQ(pool().NextExpiry(), Time{400s});
  EXPECT_FALSE(pool().NextExpired(Time{400s - 1ns}));
  EXPECT_EQ(pool().NextExpired(Time{400s}), At(1));
  pool().Remove(At(1));
  EXPECT_FALSE(pool().NextExpired(Time{400s}));
  EXPECT_EQ(pool().NextExpiry(), Time{410s});
}

TEST_F(MempoolTest, TopKeepsAnAccountInSequenceOrder) {
  Add(1, {.fee = 100, .account = 7, .sequence = 1});
  Add(2, {.fee = 900, .account = 7, .sequence = 2});
  Add(3, {.fee = 500, .account = 8, .sequence = 1});
  Add(4, {.fee = 50, .lane = Lane::kSoroban, .account = 7, .sequence = 3});
  EXPECT_EQ(Top({.count_max = 9}), (Names{3, 1}));
  EXPECT_EQ(Top({.count_max = 9, .per_account_max = 0}), (Names{3, 1}));
  EXPECT_EQ(Top({.count_max = 9, .per_account_max = 2}), (Names{3, 1, 2}));
  EXPECT_EQ(Top({.count_max = 9, .per_account_max = 3}), (Names{3, 1, 2, 4}));
  EXPECT_EQ(Top({.count_max = 2, .per_account_max = 3}), (Names{3, 1}));
  EXPECT_EQ(Top({.count_max = 0}), Names{});
}

TEST_F(MempoolTest, TopHonoursBytesAndLanes) {
  Add(1, {.fee = 400, .bytes = 300});
  Add(2, {.fee = 300, .bytes = 200});
  Add(3, {.fee = 350, .lane = Lane::kSoroban, .bytes = 100});
  Add(4, {.fee = 250, .lane = Lane::kSoroban, .bytes = 100});
  EXPECT_EQ(Top({.count_max = 9, .bytes_max = 399}), (Names{
                                                         1,
                                                     }));
  EXPECT_EQ(Top({.count_max = 9, .bytes_max = 400}), (Names{1, 3}));
  EXPECT_EQ(Top({.count_max = 9, .bytes_max = 299}), (Names{3, 4}));
  EXPECT_EQ(Top({.count_max = 9, .lane_count_max = {1, std::nullopt}}), (Names{1, 3, 4}));
  EXPECT_EQ(Top({.count_max = 9, .lane_count_max = {std::nullopt, 0}}), (Names{1, 2}));
  EXPECT_EQ(Top({.count_max = 9, .lane_bytes_max = {299, 100}}), (Names{3, 2}));
}

TEST_F(MempoolTest, RebiddingMovesAndEvictsWhereItGoes) {
  for (int i = 1; i <= 4; ++i) Add(i, {.fee = 100 * i});
  Add(5, {.fee = 250, .lane = Lane::kSoroban});
  std::vector<TxIndex> displaced;
  pool().Rebid(At(1), {1000, 1, Lane::kClassic}, displaced);
  EXPECT_TRUE(displaced.empty());
  EXPECT_EQ(Top(), (Names{1, 4, 3, 5, 2}));
  const TxIndex cheapest = At(2);
  pool().Rebid(At(5), {250, 1, Lane::kClassic}, displaced);
  EXPECT_EQ(displaced, std::vector{cheapest});
  table_.Remove(cheapest);
  pool().CheckInvariants();
  EXPECT_EQ(Top(), (Names{1, 4, 3, 5}));
}

// R8: not the cheapest of all, the cheapest of the lane that is fuller.
TEST_F(MempoolTest, WhereMemoryIsShortTheFullerLaneGivesItsCheapest) {
  TxTable table;
  Mempool pool(limits_, table);
  EXPECT_EQ(pool.Cheapest(), std::nullopt);
  std::vector<TxIndex> added;
  const auto add = [&](int64_t fee, Lane lane, size_t bytes) {
    TxRecord record;
    record.hash.bytes[0] = record.account.bytes[0] = static_cast<uint8_t>(added.size() + 1);
    record.body = Bytes::Copy(std::string(bytes, 'x'));
    record.bid = {fee, 1, lane};
    added.push_back(table.Add(record));
    std::vector<TxIndex> displaced;
    ASSERT_EQ(pool.Add(now_, added.back(), displaced).outcome, Outcome::kAdded);
  };
  add(100, Lane::kClassic, 10);
  add(500, Lane::kSoroban, 8);
  add(900, Lane::kSoroban, 8);
  EXPECT_EQ(pool.Cheapest(), added[1]);
  pool.Remove(added[1]);
  EXPECT_EQ(pool.Cheapest(), added[0]);
  pool.Remove(added[0]);
  EXPECT_EQ(pool.Cheapest(), added[2]);
}

// Against a sorted list: the same ones stay, in the same order.
TEST_F(MempoolTest, RandomFillingKeepsTheBest) {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    TxTable table;
    Mempool pool(limits_, table);
    std::vector<std::pair<Bid, int>> model;
    for (int i = 0; i < 40; ++i) {
      TxRecord record;
      random.Fill(absl::MakeSpan(record.hash.bytes));
      random.Fill(absl::MakeSpan(record.account.bytes));
      record.body = Bytes::Copy("x");
      record.bid = {static_cast<int64_t>(random.Below(50)),
                    static_cast<uint32_t>(1 + random.Below(4)), Lane::kClassic};
      model.push_back({record.bid, i});
      const TxIndex index = table.Add(record);
      std::vector<TxIndex> displaced;
      if (pool.Add(now_, index, displaced).outcome != Outcome::kAdded) displaced.push_back(index);
      for (TxIndex gone : displaced) table.Remove(gone);
      pool.CheckInvariants();
    }
    std::stable_sort(model.begin(), model.end(), [](const auto& a, const auto& b) {
      return a.first.fee * b.first.operations > b.first.fee * a.first.operations;
    });
    const std::vector<TopTransaction> top = pool.Top({.count_max = 100});
    ASSERT_EQ(top.size(), 4u);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(top[i].bid, model[i].first);
  }
}

}  // namespace
}  // namespace overlay::flood
