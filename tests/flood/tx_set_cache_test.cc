#include "flood/tx_set_cache.h"

#include <string>

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

class TxSetCacheTest : public testing::Test {
 protected:
  TxSetCacheTest() {
    limits_.set_cache_bytes_max = 1000;
    limits_.set_cache_guest_bytes_max = 400;
  }

  static SetHash Hash(int n) {
    SetHash hash;
    hash.bytes[0] = static_cast<uint8_t>(n);
    hash.bytes[31] = 1;
    return hash;
  }
  static Bytes Size(size_t bytes) { return Bytes::Take(std::vector<uint8_t>(bytes, 1)); }
  void Close(uint64_t slot) {
    now_ += 61s;  // so that the number of slots counts, not the last minute
    window_.OnLedgerClosed(now_, {slot}, true, {});
    cache_.OnWindowMoved();
    cache_.CheckInvariants();
  }
  bool Held(int n) const { return cache_.Find(Hash(n)) != nullptr; }

  Limits limits_;
  SlotWindow window_{limits_};
  TxSetCache cache_{limits_, window_};
  Time now_{1s};
};

TEST_F(TxSetCacheTest, MemberStaysWhileItsSlotIsKept) {
  cache_.InsertMember(Hash(1), Size(10), LedgerSeq{100});
  for (uint64_t slot = 100; slot <= 111; ++slot) {
    Close(slot);
    EXPECT_TRUE(Held(1)) << slot;  // twelve slots kept: 100 to 111
  }
  Close(112);
  EXPECT_FALSE(Held(1));
}

TEST_F(TxSetCacheTest, UnboundMemberOutlivesAnyNumberOfLedgersUntilBound) {
  cache_.InsertMember(Hash(1), Size(10), std::nullopt);
  Close(100);
  Close(5000);
  EXPECT_TRUE(Held(1));
  cache_.Bind(Hash(1), LedgerSeq{5001});
  cache_.Bind(Hash(1), LedgerSeq{9000});  // the first binding holds
  Close(5012);
  EXPECT_TRUE(Held(1));
  Close(5013);
  EXPECT_FALSE(Held(1));
}

TEST_F(TxSetCacheTest, GuestIsFiledUnderTheHighestSlotNamed) {
  ASSERT_TRUE(cache_.InsertGuest(Hash(1), Size(10), LedgerSeq{100}, PeerId{1}));
  cache_.OnNamed(Hash(1), LedgerSeq{105});
  cache_.OnNamed(Hash(1), LedgerSeq{90});  // a forger's
  Close(116);
  EXPECT_TRUE(Held(1));
  Close(117);
  EXPECT_FALSE(Held(1));
}

TEST_F(TxSetCacheTest, WhatEnvelopesSaidOfASlotIsForgottenWhenTheCoreBindsIt) {
  ASSERT_TRUE(cache_.InsertGuest(Hash(1), Size(10), LedgerSeq{9000}, PeerId{1}));
  EXPECT_TRUE(cache_.IsGuest(Hash(1)));
  cache_.Bind(Hash(1), LedgerSeq{100});
  EXPECT_FALSE(cache_.IsGuest(Hash(1)));
  EXPECT_EQ(cache_.guest_bytes(), 0u);
  Close(112);
  EXPECT_FALSE(Held(1));
}

TEST_F(TxSetCacheTest, GuestBudgetTakesFromThePeerThatHoldsMost) {
  ASSERT_TRUE(cache_.InsertGuest(Hash(1), Size(150), LedgerSeq{100}, PeerId{1}));
  ASSERT_TRUE(cache_.InsertGuest(Hash(2), Size(150), LedgerSeq{100}, PeerId{1}));
  ASSERT_TRUE(cache_.InsertGuest(Hash(3), Size(100), LedgerSeq{100}, PeerId{2}));
  EXPECT_EQ(cache_.guest_bytes(), 400u);  // at the limit: all are there
  EXPECT_TRUE(Held(1) && Held(2) && Held(3));
  ASSERT_TRUE(cache_.InsertGuest(Hash(4), Size(1), LedgerSeq{100}, PeerId{2}));
  EXPECT_FALSE(Held(1));  // the oldest of peer 1
  EXPECT_TRUE(Held(2) && Held(3) && Held(4));
  EXPECT_FALSE(cache_.InsertGuest(Hash(5), Size(401), LedgerSeq{100}, PeerId{3}));
  cache_.CheckInvariants();
}

TEST_F(TxSetCacheTest, OverTheWholeBudgetGuestsGoFirstThenClosedAndNotExternalized) {
  Close(100);
  cache_.InsertMember(Hash(1), Size(200), LedgerSeq{99});  // closed, externalized
  cache_.MarkExternalized(Hash(1));
  cache_.InsertMember(Hash(2), Size(200), LedgerSeq{100});  // closed, not externalized
  cache_.InsertMember(Hash(3), Size(200), LedgerSeq{101});
  ASSERT_TRUE(cache_.InsertGuest(Hash(4), Size(200), LedgerSeq{101}, PeerId{1}));
  cache_.InsertMember(Hash(5), Size(200), LedgerSeq{102});
  EXPECT_EQ(cache_.bytes(), 1000u);
  cache_.InsertMember(Hash(6), Size(1), std::nullopt);
  EXPECT_FALSE(Held(4));
  cache_.InsertMember(Hash(7), Size(200), LedgerSeq{102});
  EXPECT_FALSE(Held(2));
  cache_.InsertMember(Hash(8), Size(200), LedgerSeq{102});
  EXPECT_FALSE(Held(1));
  cache_.InsertMember(Hash(9), Size(200), LedgerSeq{90});
  EXPECT_FALSE(Held(3));  // lowest open slot, not the one just inserted
  EXPECT_TRUE(Held(9) && Held(6) && Held(5) && Held(7) && Held(8));
  cache_.CheckInvariants();
}

TEST_F(TxSetCacheTest, ListsNewestSlotFirst) {
  cache_.InsertMember(Hash(1), Size(1), LedgerSeq{5});
  cache_.InsertMember(Hash(2), Size(1), LedgerSeq{7});
  cache_.InsertMember(Hash(3), Size(1), std::nullopt);
  const auto list = cache_.List();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].hash, Hash(2));
  EXPECT_EQ(list[1].hash, Hash(1));
  EXPECT_EQ(list[2].hash, Hash(3));
}

// A set of no bytes is a set, and its peer has no share for it: the share that others gave the peer
// may go before it.
TEST_F(TxSetCacheTest, AnEmptyGuestOutlivesItsPeersShare) {
  EXPECT_TRUE(cache_.InsertGuest(Hash(1), Bytes(), LedgerSeq{10}, PeerId{1}));
  EXPECT_TRUE(cache_.InsertGuest(Hash(2), Size(10), LedgerSeq{10}, PeerId{1}));
  cache_.CheckInvariants();
  cache_.MakeMember(Hash(2));
  cache_.CheckInvariants();
  Close(100);
  EXPECT_FALSE(Held(1));
  EXPECT_EQ(cache_.guest_bytes(), 0u);
}

// R3: the heaviest may be who has just come; it is told that its set was not kept.
TEST_F(TxSetCacheTest, AGuestThatMakesItsPeerTheHeaviestIsNotKept) {
  EXPECT_TRUE(cache_.InsertGuest(Hash(1), Size(200), LedgerSeq{10}, PeerId{1}));
  EXPECT_FALSE(cache_.InsertGuest(Hash(2), Size(201), LedgerSeq{10}, PeerId{2}));
  EXPECT_TRUE(Held(1));
  EXPECT_FALSE(Held(2));
}

TEST_F(TxSetCacheTest, AFrameIsKeptOnceBesideItsSetAndGoesWithIt) {
  EXPECT_FALSE(cache_.MayCompress(Hash(1)));
  cache_.InsertMember(Hash(1), Size(100), LedgerSeq{100});
  EXPECT_TRUE(cache_.MayCompress(Hash(1)));
  EXPECT_EQ(cache_.FindFrame(Hash(1)), nullptr);
  cache_.KeepFrame(Hash(1), Size(40));
  cache_.KeepFrame(Hash(1), Size(50));  // the first stays
  cache_.KeepFrame(Hash(2), Size(50));  // of no set
  cache_.CheckInvariants();
  EXPECT_FALSE(cache_.MayCompress(Hash(1)));
  ASSERT_NE(cache_.FindFrame(Hash(1)), nullptr);
  EXPECT_EQ(cache_.FindFrame(Hash(1))->size(), 40u);
  EXPECT_EQ(cache_.bytes(), 140u);
  Close(112);
  EXPECT_FALSE(Held(1));
  EXPECT_EQ(cache_.FindFrame(Hash(1)), nullptr);
  EXPECT_EQ(cache_.bytes(), 0u);
  cache_.InsertMember(Hash(3), Size(100), LedgerSeq{112});
  cache_.KeepFrame(Hash(3), Bytes());  // not worth it
  EXPECT_FALSE(cache_.MayCompress(Hash(3)));
  EXPECT_EQ(cache_.FindFrame(Hash(3)), nullptr);
}

TEST_F(TxSetCacheTest, FramesGoBeforeSetsAndAreNotMadeAgain) {
  ASSERT_TRUE(cache_.InsertGuest(Hash(1), Size(100), LedgerSeq{101}, PeerId{1}));
  cache_.InsertMember(Hash(2), Size(400), LedgerSeq{101});
  cache_.InsertMember(Hash(3), Size(200), LedgerSeq{102});
  cache_.KeepFrame(Hash(1), Size(100));
  cache_.KeepFrame(Hash(2), Size(100));
  cache_.KeepFrame(Hash(3), Size(100));
  EXPECT_EQ(cache_.bytes(), 1000u);
  const auto frames = [&] {
    std::string held;
    for (int n : {1, 2, 3}) held += cache_.FindFrame(Hash(n)) != nullptr ? '+' : '-';
    return held;
  };
  EXPECT_EQ(frames(), "+++");
  cache_.InsertMember(Hash(4), Size(1), LedgerSeq{102});
  EXPECT_EQ(frames(), "-++");  // the guest's
  cache_.InsertMember(Hash(5), Size(100), LedgerSeq{102});
  EXPECT_EQ(frames(), "--+");  // the lowest slot's
  EXPECT_FALSE(cache_.MayCompress(Hash(1)));
  cache_.InsertMember(Hash(6), Size(199), LedgerSeq{102});
  EXPECT_EQ(frames(), "---");
  EXPECT_TRUE(Held(1) && Held(2) && Held(3) && Held(4) && Held(5) && Held(6));
  EXPECT_EQ(cache_.bytes(), 1000u);
  cache_.InsertMember(Hash(7), Size(1), LedgerSeq{102});
  EXPECT_FALSE(Held(1));
  cache_.KeepFrame(Hash(7), Size(1000));  // more than there is room for: no set goes for it
  EXPECT_EQ(cache_.FindFrame(Hash(7)), nullptr);
  EXPECT_EQ(cache_.bytes(), 901u);
  cache_.CheckInvariants();
}

TEST_F(TxSetCacheTest, AGuestsFrameCountsForItsPeerAndTheGuestsBudget) {
  ASSERT_TRUE(cache_.InsertGuest(Hash(1), Size(150), LedgerSeq{100}, PeerId{1}));
  ASSERT_TRUE(cache_.InsertGuest(Hash(2), Size(150), LedgerSeq{100}, PeerId{2}));
  cache_.KeepFrame(Hash(1), Size(100));
  EXPECT_EQ(cache_.guest_bytes(), 400u);
  cache_.CheckInvariants();
  cache_.InsertMember(Hash(3), Size(100), LedgerSeq{100});
  cache_.KeepFrame(Hash(3), Size(50));  // no guest's
  ASSERT_TRUE(cache_.InsertGuest(Hash(4), Size(50), LedgerSeq{100}, PeerId{2}));
  EXPECT_EQ(cache_.FindFrame(Hash(1)), nullptr);
  EXPECT_NE(cache_.FindFrame(Hash(3)), nullptr);
  EXPECT_EQ(cache_.guest_bytes(), 350u);
  EXPECT_TRUE(Held(1) && Held(2) && Held(4));
  cache_.KeepFrame(Hash(4), Size(50));
  cache_.MakeMember(Hash(4));
  EXPECT_EQ(cache_.guest_bytes(), 300u);
  EXPECT_EQ(cache_.bytes(), 550u);
  cache_.CheckInvariants();
}

// R6
TEST_F(TxSetCacheTest, WhereMemoryIsShortGuestsGoThenClosedOnesAndOpenOnesOnlyWhenAnyMay) {
  Close(100);
  cache_.InsertMember(Hash(1), Size(10), LedgerSeq{101});
  cache_.InsertMember(Hash(2), Size(20), LedgerSeq{100});
  cache_.InsertMember(Hash(3), Size(30), LedgerSeq{99});
  cache_.MarkExternalized(Hash(3));
  cache_.InsertGuest(Hash(4), Size(40), LedgerSeq{101}, PeerId{1});
  cache_.InsertMember(Hash(5), Size(0), LedgerSeq{98});
  cache_.InsertMember(Hash(6), Size(60), std::nullopt);
  using Evictable = TxSetCache::Evictable;
  for (const size_t bytes : {40, 20, 30, 0}) {
    EXPECT_EQ(cache_.Evict(Evictable::kOld), bytes);
    cache_.CheckInvariants();
  }
  EXPECT_TRUE(Held(1) && Held(6));
  for (const size_t bytes : {10, 60, 0}) EXPECT_EQ(cache_.Evict(Evictable::kAny), bytes);
  EXPECT_EQ(cache_.count(), 0u);
}

}  // namespace
}  // namespace overlay::flood
