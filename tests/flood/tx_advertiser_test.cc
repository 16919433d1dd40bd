#include "flood/tx_advertiser.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// A mempool and peers in slots 0 to 2; slot n is peer n + 1. A transaction is named by its number.
class TxAdvertiserTest : public testing::Test {
 protected:
  TxAdvertiser& advertiser() {
    if (!advertiser_) {
      mempool_ = std::make_unique<Mempool>(limits, table);
      advertiser_ = std::make_unique<TxAdvertiser>(limits, table, *mempool_);
    }
    return *advertiser_;
  }
  // A peer that has been told of all that there is.
  void Connect(PeerSlot slot) {
    advertiser().AddPeer(now, slot, PeerId{slot + 1});
    while (advertiser().NextDeadline()) {
      Flush();
      now += kSweepTick;
    }
    now += limits.inv_batch_delay;
  }
  TxIndex Pool(uint8_t number, int64_t fee, Lane lane = Lane::kClassic) {
    advertiser();
    TxRecord record;
    record.hash.bytes[0] = number;
    record.body = Bytes::Copy(std::string_view("12345678"));
    record.bid = {fee, 1, lane};
    record.account.bytes[0] = number;
    const TxIndex index = table.Add(std::move(record));
    std::vector<TxIndex> displaced;
    EXPECT_EQ(mempool_->Add(now, index, displaced).outcome, Mempool::Outcome::kAdded);
    return index;
  }
  TxIndex PoolAndAnnounce(uint8_t number, int64_t fee = 100) {
    const TxIndex index = Pool(number, fee);
    advertiser().Announce(index);
    return index;
  }
  void Unpool(TxIndex index) { mempool_->Remove(index); }
  // What a flush says to the peer in `slot`: frames of numbers.
  using Frames = std::vector<std::vector<int>>;
  std::vector<Frames> Flush() {
    ActionList out;
    advertiser().Flush(now, out);
    advertiser().CheckInvariants();
    std::vector<Frames> said(3);
    for (const SendTxControl& send : Commands<SendTxControl>(out)) {
      std::vector<int>& frame = said[send.peer.value - 1].emplace_back();
      for (const InvEntry& entry : std::get<Inv>(send.message).entries) {
        frame.push_back(entry.hash.bytes[0]);
      }
    }
    return said;
  }
  using Numbers = std::vector<int>;

  Limits limits;
  Time now{};
  TxTable table;

 private:
  std::unique_ptr<Mempool> mempool_;
  std::unique_ptr<TxAdvertiser> advertiser_;
};

// R1: nobody hears what it knows, and nobody hears it twice.
TEST_F(TxAdvertiserTest, TellsThoseWhoDoNotKnowOnce) {
  for (const PeerSlot slot : {0u, 1u, 2u}) Connect(slot);
  const TxIndex index = Pool(7, 100);
  table.SetKnows(index, 1);
  advertiser().Announce(index);
  EXPECT_THAT(Flush(), ElementsAre(Frames{{7}}, Frames{}, Frames{{7}}));
  advertiser().Announce(index);
  now += 1s;
  EXPECT_THAT(Flush(), ElementsAre(Frames{}, Frames{}, Frames{}));
  EXPECT_EQ(advertiser().announced(), 2u);
}

// R1: the entry says what the other needs in order to choose.
TEST_F(TxAdvertiserTest, SaysHashFeeLaneAndSize) {
  Connect(0);
  TxIndex index = Pool(7, 250, Lane::kSoroban);
  advertiser().Announce(index);
  ActionList out;
  advertiser().Flush(now, out);
  const auto sent = Commands<SendTxControl>(out);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_THAT(std::get<Inv>(sent[0].message).entries,
              ElementsAre(InvEntry{table[index].hash, 250, Lane::kSoroban, 8}));
}

// R2: at once when quiet; then what comes waits for the delay and goes in one frame.
TEST_F(TxAdvertiserTest, SendsAtOnceWhenQuietThenInBatches) {
  Connect(0);
  PoolAndAnnounce(1);
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{1}));
  const Time sent = now;
  now += 1ms;
  PoolAndAnnounce(2);
  PoolAndAnnounce(3);
  EXPECT_THAT(Flush()[0], IsEmpty());
  EXPECT_EQ(advertiser().NextDeadline(), sent + limits.inv_batch_delay);
  now = sent + limits.inv_batch_delay - 1ns;
  EXPECT_THAT(Flush()[0], IsEmpty());
  now += 1ns;
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{2, 3}));
  EXPECT_EQ(advertiser().NextDeadline(), std::nullopt);
}

// R2: a full batch does not wait; the frame that is not full goes with it.
TEST_F(TxAdvertiserTest, SendsAFullBatchBeforeTheDelay) {
  limits.inv_batch_count_max = 3;
  Connect(0);
  PoolAndAnnounce(1);
  Flush();
  PoolAndAnnounce(2);
  PoolAndAnnounce(3);
  EXPECT_THAT(Flush()[0], IsEmpty());
  PoolAndAnnounce(4);
  PoolAndAnnounce(5);
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{2, 3, 4}, Numbers{5}));
}

// What left the mempool while it waited is not announced.
TEST_F(TxAdvertiserTest, SkipsWhatHasLeft) {
  Connect(0);
  PoolAndAnnounce(1);
  Flush();
  const TxIndex index = PoolAndAnnounce(2);
  PoolAndAnnounce(3);
  table[index].pooled = false;
  now += limits.inv_batch_delay;
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{3}));
}

// R3: below the filter is silence, at it is not; each lane has its own.
TEST_F(TxAdvertiserTest, KeepsToThePeersFilter) {
  for (const PeerSlot slot : {0u, 1u}) Connect(slot);
  advertiser().OnFeeFilter(now, 0, FeeFilter{{100, 0}});
  PoolAndAnnounce(1, 99);
  PoolAndAnnounce(2, 100);
  advertiser().Announce(Pool(3, 5, Lane::kSoroban));
  EXPECT_THAT(Flush(), ElementsAre(Frames{{2, 3}}, Frames{{1, 2, 3}}, Frames{}));
}

// R3: what was kept from the peer is told when its filter falls, down to the new one and once.
TEST_F(TxAdvertiserTest, TellsWhenTheFilterFalls) {
  Connect(0);
  advertiser().OnFeeFilter(now, 0, FeeFilter{{100, 0}});
  for (const auto& [number, fee] : {std::pair{1, 40}, {2, 50}, {3, 99}, {4, 100}}) {
    PoolAndAnnounce(static_cast<uint8_t>(number), fee);
  }
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{4}));
  now += 1s;
  advertiser().OnFeeFilter(now, 0, FeeFilter{{50, 0}});
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{3, 2}));
  now += 1s;
  advertiser().OnFeeFilter(now, 0, FeeFilter{{200, 0}});
  Flush();
  advertiser().OnFeeFilter(now, 0, FeeFilter{});
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{1}));
}

// R4: a new peer hears of the mempool best first over both lanes, so many a tick; what becomes
// valid meanwhile does not wait for that.
TEST_F(TxAdvertiserTest, TellsANewPeerOfTheMempoolBestFirst) {
  limits.mempool_announce_per_second = 100;  // 2 a tick
  limits.inv_batch_delay = kSweepTick;
  Pool(1, 10);
  Pool(2, 30, Lane::kSoroban);
  Pool(3, 20);
  Pool(4, 40);
  Pool(5, 25, Lane::kSoroban);
  advertiser().AddPeer(now, 0, PeerId{1});
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{4, 2}));
  const Time first = now;
  EXPECT_EQ(advertiser().NextDeadline(), first + kSweepTick);
  now += kSweepTick - 1ns;
  PoolAndAnnounce(9, 1);
  EXPECT_THAT(Flush()[0], IsEmpty());
  now += 1ns;
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{9, 5, 3}));
  now += kSweepTick;
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{1}));
  now += kSweepTick;
  Flush();
  EXPECT_EQ(advertiser().NextDeadline(), std::nullopt);
}

// R4 with R3: a filter that comes before the walk is done bounds it.
TEST_F(TxAdvertiserTest, AFilterEndsTheWalk) {
  limits.mempool_announce_per_second = 50;  // 1 a tick
  Pool(1, 30);
  Pool(2, 20);
  Pool(3, 10);
  advertiser().AddPeer(now, 0, PeerId{1});
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{1}));
  advertiser().OnFeeFilter(now, 0, FeeFilter{{20, 0}});
  std::vector<std::vector<int>> rest;
  while (advertiser().NextDeadline()) {
    now = std::max(now, *advertiser().NextDeadline());
    const Frames said = Flush()[0];
    rest.insert(rest.end(), said.begin(), said.end());
  }
  EXPECT_THAT(rest, ElementsAre(Numbers{2}));
}

// A slot that is used again begins with nothing of the peer before: neither queue nor filter.
// R5: nothing meanwhile, then what is still here, once; others are not concerned.
TEST_F(TxAdvertiserTest, APeerThatTakesNoMoreIsToldLater) {
  for (const PeerSlot slot : {0u, 1u}) Connect(slot);
  PoolAndAnnounce(1);
  Flush();
  PoolAndAnnounce(2);  // waits for the batch
  advertiser().SetBlocked(now, 0, true);
  const TxIndex gone = PoolAndAnnounce(3);
  PoolAndAnnounce(4, 100);
  PoolAndAnnounce(5, 200);
  now += limits.inv_batch_delay;
  EXPECT_THAT(Flush(), ElementsAre(Frames{}, Frames{{2, 3, 4, 5}}, Frames{}));
  EXPECT_EQ(advertiser().held(), 3u);
  EXPECT_FALSE(advertiser().NextDeadline());
  Unpool(gone);
  now += kSweepTick;
  advertiser().SetBlocked(now, 0, false);
  EXPECT_THAT(Flush(), ElementsAre(Frames{{2, 5, 4}}, Frames{}, Frames{}));
  EXPECT_EQ(advertiser().announced(), 9u);
  // Nothing was missed: nothing is looked for.
  PoolAndAnnounce(6);
  now += limits.inv_batch_delay;
  Flush();
  now += kSweepTick;
  Flush();
  advertiser().SetBlocked(now, 0, true);
  advertiser().SetBlocked(now, 0, false);
  EXPECT_THAT(Flush(), ElementsAre(Frames{}, Frames{}, Frames{}));
  EXPECT_FALSE(advertiser().NextDeadline());
}

// R5: a walk through the mempool stops, too, and goes on.
TEST_F(TxAdvertiserTest, AWalkWaitsForAPeerThatTakesNoMore) {
  PoolAndAnnounce(1);
  advertiser().AddPeer(now, 0, PeerId{1});
  advertiser().SetBlocked(now, 0, true);
  EXPECT_THAT(Flush()[0], IsEmpty());
  EXPECT_FALSE(advertiser().NextDeadline());
  advertiser().SetBlocked(now, 0, false);
  EXPECT_THAT(Flush()[0], ElementsAre(Numbers{1}));
}

TEST_F(TxAdvertiserTest, ASlotIsCleanForTheNextPeer) {
  Connect(0);
  PoolAndAnnounce(1);
  Flush();
  PoolAndAnnounce(2);
  advertiser().OnFeeFilter(now, 0, FeeFilter{{1000, 1000}});
  advertiser().SetBlocked(now, 0, true);
  advertiser().RemovePeer(0);
  advertiser().CheckInvariants();
  table.ForgetPeer(0);
  advertiser().AddPeer(now, 0, PeerId{2});
  EXPECT_THAT(Flush(), ElementsAre(Frames{}, Frames{{1, 2}}, Frames{}));
}

}  // namespace
}  // namespace overlay::flood
