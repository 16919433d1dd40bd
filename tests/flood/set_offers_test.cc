#include "flood/set_offers.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using testing::HasSubstr;

class SetOffersTest : public testing::Test {
 protected:
  SetOffersTest() { limits_.core_offers_open_max = 2; }

  static Bytes Content(size_t size, uint8_t fill) {
    return Bytes::Take(std::vector<uint8_t>(size, fill));
  }
  static SetKey Key(const Bytes& content) {
    return {SetKind::kTxSet, HashOf<SetHash>(content.span())};
  }
  std::optional<CompletedOffer> Chunk(const SetKey& key, uint64_t total, uint64_t offset,
                                      Bytes data) {
    out_.clear();
    return offers_.OnChunk({key, LedgerSeq{7}, total, offset, std::move(data)}, out_);
  }
  CoreRefused Refusal() {
    const auto refusals = Outputs<CoreRefused>(out_);
    EXPECT_EQ(refusals.size(), 1u);
    return refusals.empty() ? CoreRefused{} : refusals[0];
  }

  Limits limits_;
  SetOffers offers_{limits_};
  ActionList out_;
};

TEST_F(SetOffersTest, ChunksInOrderMakeTheSet) {
  const Bytes content = Content(300, 1);
  const SetKey key = Key(content);
  EXPECT_FALSE(Chunk(key, 300, 0, content.Slice(0, 100)));
  EXPECT_TRUE(offers_.IsOpen(key));
  EXPECT_FALSE(Chunk(key, 300, 100, content.Slice(100, 100)));
  const auto offer = Chunk(key, 300, 200, content.Slice(200));
  ASSERT_TRUE(offer);
  EXPECT_EQ(offer->bytes, content);
  EXPECT_EQ(offer->slot, LedgerSeq{7});
  EXPECT_TRUE(out_.empty());
  EXPECT_EQ(offers_.open_count(), 0u);
}

TEST_F(SetOffersTest, AGapBreaksTheOfferByNameAndItCanBeginAnew) {
  const Bytes content = Content(300, 1);
  const SetKey key = Key(content);
  Chunk(key, 300, 0, content.Slice(0, 100));
  EXPECT_FALSE(Chunk(key, 300, 150, content.Slice(150)));
  EXPECT_EQ(Refusal().field, "offer.offset");
  EXPECT_EQ(Refusal().value, "150");
  EXPECT_THAT(Refusal().expected, HasSubstr("100"));
  EXPECT_FALSE(offers_.IsOpen(key));
  EXPECT_TRUE(Chunk(key, 300, 0, content));
}

TEST_F(SetOffersTest, WrongHashIsRefusedWithTheRightOne) {
  const Bytes content = Content(50, 1);
  SetKey key = Key(content);
  key.hash.bytes[0] ^= 1;
  EXPECT_FALSE(Chunk(key, 50, 0, content));
  EXPECT_EQ(Refusal().field, "offer.hash");
  EXPECT_THAT(Refusal().expected, HasSubstr(Key(content).hash.Hex()));
  EXPECT_EQ(offers_.open_count(), 0u);
}

TEST_F(SetOffersTest, TotalIsCheckedBeforeAnythingIsKept) {
  const SetKey tx_set = Key(Content(1, 1));
  const SetKey quorum_set{SetKind::kQuorumSet, tx_set.hash};
  Chunk(tx_set, limits_.tx_set_bytes_max + 1, 0, Content(1, 1));
  EXPECT_EQ(Refusal().field, "offer.total_bytes");
  Chunk(quorum_set, limits_.quorum_set_bytes_max + 1, 0, Content(1, 1));
  EXPECT_EQ(Refusal().field, "offer.total_bytes");
  Chunk(tx_set, 0, 0, Bytes());
  EXPECT_EQ(Refusal().field, "offer.total_bytes");
  EXPECT_EQ(offers_.open_count(), 0u);
  Chunk(tx_set, limits_.tx_set_bytes_max, 0, Content(1, 1));
  EXPECT_TRUE(out_.empty());
  EXPECT_EQ(offers_.open_count(), 1u);
}

TEST_F(SetOffersTest, MoreThanAnnouncedOrNothingAtAllBreaksIt) {
  const Bytes content = Content(100, 1);
  const SetKey key = Key(content);
  Chunk(key, 99, 0, content);
  EXPECT_EQ(Refusal().field, "offer.data");
  Chunk(key, 100, 0, Bytes());
  EXPECT_EQ(Refusal().field, "offer.data");
  Chunk(key, 100, 0, content.Slice(0, 50));
  Chunk(key, 101, 50, content.Slice(50));
  EXPECT_EQ(Refusal().field, "offer.data");
  EXPECT_EQ(offers_.open_count(), 0u);
}

TEST_F(SetOffersTest, OneOverTheLimitIsRefusedAndTheOthersGoOn) {
  const Bytes a = Content(10, 1), b = Content(10, 2), c = Content(10, 3);
  Chunk(Key(a), 10, 0, a.Slice(0, 5));
  Chunk(Key(b), 10, 0, b.Slice(0, 5));
  Chunk(Key(c), 10, 0, c.Slice(0, 5));
  EXPECT_THAT(Refusal().expected, HasSubstr("at most 2"));
  EXPECT_TRUE(Chunk(Key(a), 10, 5, a.Slice(5)));
  EXPECT_FALSE(Chunk(Key(c), 10, 0, c.Slice(0, 5)));
  EXPECT_TRUE(out_.empty());
  offers_.OnCoreDetached();
  EXPECT_EQ(offers_.open_count(), 0u);
}

}  // namespace
}  // namespace overlay::flood
