#include "flood/quorum_set_cache.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

class QuorumSetCacheTest : public testing::Test {
 protected:
  QuorumSetCacheTest() { limits_.quorum_set_count_max = 3; }
  static SetHash Hash(int n) {
    SetHash hash;
    hash.bytes[0] = static_cast<uint8_t>(n);
    return hash;
  }
  static Bytes Content(size_t bytes) { return Bytes::Take(std::vector<uint8_t>(bytes, 1)); }
  void Close(uint64_t slot) {
    now_ += 61s;  // so that the number of slots counts, not the last minute
    window_.OnLedgerClosed(now_, {slot}, true, {});
    cache_.OnWindowMoved();
    cache_.CheckInvariants();
  }
  bool Held(int n) const { return cache_.Find(Hash(n)) != nullptr; }

  Limits limits_;
  SlotWindow window_{limits_};
  QuorumSetCache cache_{limits_, window_};
  Time now_{1s};
};

TEST_F(QuorumSetCacheTest, OfferedStaysForTheSessionFetchedForItsSlots) {
  cache_.InsertOffered(Hash(1), Content(10));
  cache_.InsertFetched(Hash(2), Content(10), LedgerSeq{100});
  Close(111);
  EXPECT_TRUE(Held(1) && Held(2));
  cache_.OnNamed(Hash(2), LedgerSeq{101});
  Close(112);
  EXPECT_TRUE(Held(2));
  Close(113);
  EXPECT_FALSE(Held(2));
  Close(900);
  EXPECT_TRUE(Held(1));
  cache_.OnCoreDetached();
  Close(911);
  EXPECT_TRUE(Held(1));  // while the slot that was newest at the detach is kept
  Close(912);
  EXPECT_FALSE(Held(1));
  EXPECT_EQ(cache_.bytes(), 0u);
}

TEST_F(QuorumSetCacheTest, OverTheLimitTheOldestFetchedGoesBeforeAnyOffered) {
  cache_.InsertOffered(Hash(1), Content(1));
  cache_.InsertFetched(Hash(2), Content(1), LedgerSeq{100});
  cache_.InsertFetched(Hash(3), Content(1), LedgerSeq{100});
  EXPECT_TRUE(Held(1) && Held(2) && Held(3));
  cache_.InsertOffered(Hash(4), Content(1));
  EXPECT_FALSE(Held(2));
  cache_.InsertOffered(Hash(5), Content(1));
  EXPECT_FALSE(Held(3));
  cache_.InsertOffered(Hash(6), Content(1));
  EXPECT_FALSE(Held(1));
  EXPECT_TRUE(Held(4) && Held(5) && Held(6));
  cache_.CheckInvariants();
}

}  // namespace
}  // namespace overlay::flood
