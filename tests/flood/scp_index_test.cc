#include "flood/scp_index.h"

#include "gtest/gtest.h"
#include "tests/support/plain_envelope.h"

namespace overlay::flood {
namespace {

class ScpIndexTest : public testing::Test {
 protected:
  // Each from another node, all in one slot.
  ScpEntry& Add(uint8_t number, uint8_t quorum_set) {
    ScpEntry& entry = index_.Add(HashNumber<EnvelopeHash>(number),
                                 {{1}, HashNumber<NodeKey>(number), ScpPhase::kBallot},
                                 HashNumber<SetHash>(quorum_set));
    entry.seen = true;
    index_.SetConnected(HashNumber<NodeKey>(1), true);
    index_.Charge(entry, HashNumber<NodeKey>(1));
    return entry;
  }
  void Keep(ScpEntry& entry) {
    index_.SetBody(entry, Bytes::Copy("envelope"));
    entry.keepers = 1;
    index_.CheckInvariants();
  }
  void Drop(ScpEntry& entry) {
    entry.keepers = 0;
    index_.DropBody(entry);
    index_.CheckInvariants();
  }
  bool Names(uint8_t quorum_set) const {
    return index_.NamesQuorumSet(HashNumber<SetHash>(quorum_set));
  }

  ScpIndex index_;
};

TEST_F(ScpIndexTest, ReconnectingDoesNotGrowTheMarks) {
  ScpEntry& entry = Add(1, 5);
  index_.AddPeer(1);
  index_.SetMark(entry, 1, kHasIt);
  for (PeerOrdinal peer = 2; peer < 1000; ++peer) {
    index_.AddPeer(peer);
    index_.SetMark(entry, peer, kSentIt);
    index_.RemovePeer(peer);
  }
  EXPECT_LE(entry.marks.size(), 4u);
  EXPECT_EQ(ScpIndex::MarkOf(entry, 1), kHasIt);  // who stays keeps its mark
}

TEST_F(ScpIndexTest, AQuorumSetIsNamedWhileOneOfItsEnvelopesHasABody) {
  ScpEntry& first = Add(1, 5);
  ScpEntry& second = Add(2, 5);
  EXPECT_FALSE(Names(5));  // remembered, but not kept
  Keep(first);
  Keep(second);
  Drop(first);
  EXPECT_TRUE(Names(5));
  Drop(first);  // has none any more: nothing changes
  EXPECT_TRUE(Names(5));
  Drop(second);
  EXPECT_FALSE(Names(5));
}

}  // namespace
}  // namespace overlay::flood
