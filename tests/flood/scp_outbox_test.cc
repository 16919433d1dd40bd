#include "flood/scp_outbox.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/flood/scp_world.h"

namespace overlay::flood {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using Outcome = EnvelopeDone::Outcome;

class ScpOutboxTest : public testing::Test {
 protected:
  ScpOutboxTest() {
    for (uint64_t peer : {1, 2, 3, 4}) world_.Connect(peer);
    world_.Attach();
  }
  // The one copy to this peer that was last sent.
  SendEnvelope CopyTo(uint64_t peer) {
    for (auto copy = world_.copies.rbegin(); copy != world_.copies.rend(); ++copy) {
      if (copy->peer.value == peer) return *copy;
    }
    ADD_FAILURE() << "nothing was sent to " << peer;
    return {};
  }

  ScpWorld world_;
};

TEST_F(ScpOutboxTest, ToAllButThoseWhoSentIt) {
  const Bytes envelope = Prepare(1, 1, 1);
  world_.From(2, envelope);
  world_.From(3, envelope);
  world_.scp.OnPeerBlocked({4}, true);
  const auto broadcast = world_.Broadcast(envelope);
  EXPECT_TRUE(broadcast->peers_sent_it);
  ASSERT_EQ(world_.copies.size(), 2u);
  EXPECT_EQ(world_.copies[0].envelope.data(), world_.copies[1].envelope.data());  // shared
  EXPECT_EQ(world_.copies[0].slot.value, 1u);
  ASSERT_EQ(world_.results.size(), 1u);
  EXPECT_EQ(world_.results[0].id, 7u);
  EXPECT_EQ(world_.results[0].hash, ScpWorld::HashOf(envelope));
  EXPECT_EQ(world_.results[0].peers_sent, 2u);
  EXPECT_EQ(world_.results[0].peers_queued, 1u);
  EXPECT_EQ(world_.results[0].peers_known, 2u);
  EXPECT_THAT(world_.SentTo(), ElementsAre(1, 4));
  EXPECT_FALSE(world_.Broadcast(Prepare(1, 2, 1))->peers_sent_it);
}

TEST_F(ScpOutboxTest, AgainOnlyToThoseNotKnownToHaveIt) {
  const Bytes envelope = Prepare(1, 1, 1);
  world_.Broadcast(envelope);
  world_.Done(CopyTo(1), Outcome::kAcknowledged);
  world_.Done(CopyTo(2), Outcome::kDropped);
  world_.SentTo();
  world_.Connect(5);
  world_.Broadcast(envelope);  // 3 and 4 have copies on their way
  EXPECT_THAT(world_.SentTo(), ElementsAre(2, 5));
  world_.Broadcast(envelope);
  EXPECT_THAT(world_.SentTo(), IsEmpty());
}

TEST_F(ScpOutboxTest, ForceGoesToAllWithoutACopyOnItsWay) {
  const Bytes envelope = Prepare(1, 1, 1);
  world_.From(2, envelope);
  world_.Broadcast(envelope);
  world_.Done(CopyTo(1), Outcome::kAcknowledged);
  world_.SentTo();
  world_.Broadcast(envelope, /*force=*/true);
  EXPECT_THAT(world_.SentTo(), ElementsAre(1, 2));
}

TEST_F(ScpOutboxTest, NewerTakesBackTheOlder) {
  const Bytes old = Prepare(1, 1, 1);
  world_.Broadcast(old);
  world_.Done(CopyTo(3), Outcome::kAcknowledged);
  const SendEnvelope first = CopyTo(1);
  world_.SentTo();
  world_.Broadcast(Prepare(1, 1, 2));
  ASSERT_EQ(world_.cancels.size(), 3u);  // not of 3, which has it
  EXPECT_EQ(world_.cancels[0].token, first.token);
  EXPECT_EQ(world_.SentTo().size(), 4u);
  world_.Done(first, Outcome::kCancelled);
  EXPECT_THAT(world_.SentTo(), IsEmpty());
  // The older one again: superseded, to whom it would have gone.
  world_.results.clear();
  world_.Broadcast(old);
  EXPECT_THAT(world_.SentTo(), IsEmpty());
  EXPECT_TRUE(world_.results[0].superseded);
  EXPECT_EQ(world_.results[0].peers_sent, 0u);
  EXPECT_EQ(world_.results[0].peers_superseded, 1u);  // 2 and 4 have a copy being taken back
  EXPECT_EQ(world_.results[0].peers_known, 3u);
  // Other nodes, slots and phases are not touched.
  world_.cancels.clear();
  world_.Broadcast(Prepare(1, 2, 9));
  world_.Broadcast(Prepare(2, 1, 9));
  world_.Broadcast(PlainEnvelope{.slot = 1, .node = 1}.Nominate({"a"}, {}));
  EXPECT_THAT(world_.cancels, IsEmpty());
}

TEST_F(ScpOutboxTest, OfIncomparableTheLastStays) {
  const Bytes a = Externalize(1, 1, 1);
  const Bytes b = Externalize(1, 1, 2);
  world_.Broadcast(a);
  const SendEnvelope copy = CopyTo(1);
  world_.Broadcast(b);
  world_.Broadcast(a);  // the state again, while its copies are being taken back
  world_.SentTo();
  world_.Question(1, 1);
  EXPECT_THAT(world_.answers.back().envelopes, ElementsAre(a));
  world_.Done(copy, Outcome::kCancelled);
  EXPECT_THAT(world_.SentTo(), ElementsAre(1));
}

TEST_F(ScpOutboxTest, WhatAnEarlierLifeBroadcastDoesNotReplaceWhatThisOneDid) {
  const Bytes before = Externalize(1, 1, 1);
  const Bytes after = Externalize(1, 1, 2);
  world_.Broadcast(before);
  world_.SentTo();
  world_.Attach();
  world_.Broadcast(after);  // incomparable, and the last one
  EXPECT_EQ(world_.SentTo().size(), 4u);
  world_.results.clear();
  world_.cancels.clear();
  world_.Broadcast(before);  // heard from a peer, and relayed
  EXPECT_TRUE(world_.results[0].superseded);
  EXPECT_THAT(world_.cancels, IsEmpty());
  EXPECT_THAT(world_.SentTo(), IsEmpty());
  world_.Question(1, 1);
  EXPECT_THAT(world_.answers.back().envelopes, Contains(after));
  EXPECT_THAT(world_.answers.back().envelopes, Not(Contains(before)));
}

// Two nodes relay at once: our copy is taken back when the peer sends us the same.
TEST_F(ScpOutboxTest, NoCopyToOneWhoSendsItMeanwhile) {
  const Bytes envelope = Prepare(1, 1, 1);
  world_.Broadcast(envelope);
  const SendEnvelope copy = CopyTo(2);
  world_.SentTo();
  world_.From(2, envelope);
  ASSERT_EQ(world_.cancels.size(), 1u);
  EXPECT_EQ(world_.cancels[0].peer, PeerId{2});
  EXPECT_EQ(world_.cancels[0].token, copy.token);
  world_.Done(copy, Outcome::kCancelled);
  EXPECT_THAT(world_.SentTo(), IsEmpty());
  EXPECT_THAT(world_.Delivered(), IsEmpty());  // the core's own
}

TEST_F(ScpOutboxTest, ADroppedCopyIsReported) {
  world_.Broadcast(Prepare(7, 1, 1));
  world_.Done(CopyTo(2), Outcome::kDropped);
  ASSERT_EQ(world_.overflows.size(), 1u);
  EXPECT_EQ(world_.overflows[0].direction, Overflow::Direction::kFromCore);
  EXPECT_EQ(world_.overflows[0].slot_first.value, 7u);
  EXPECT_THAT(world_.SentTo().size(), 4u);  // not sent again
}

TEST_F(ScpOutboxTest, OldSlotsAreSentAndTakenBackWhenTheWindowMoves) {
  world_.Close(100);
  world_.Broadcast(Prepare(50, 1, 1));  // never refused for its slot
  EXPECT_EQ(world_.SentTo().size(), 4u);
  world_.Broadcast(Prepare(50, 1, 1));
  EXPECT_EQ(world_.SentTo().size(), 0u);
  world_.Close(101);
  EXPECT_EQ(world_.cancels.size(), 4u);
  EXPECT_EQ(world_.stats.seen_hashes, 0u);
  world_.Done({{1}, {1}, {50}, {}}, Outcome::kCancelled);
  EXPECT_THAT(world_.SentTo(), IsEmpty());
}

TEST_F(ScpOutboxTest, StateIsBoundedByBytes) {
  Limits limits;
  limits.core_stream_bytes_max = 2 * Prepare(1, 1, 1).size();
  ScpWorld world(limits);
  world.Connect(1);
  world.Attach();
  for (uint64_t slot : {1, 2, 3}) world.Broadcast(Prepare(slot, 1, 1));
  world.Question(1, 1);
  EXPECT_THAT(world.answers.back().envelopes, ElementsAre(Prepare(3, 1, 1), Prepare(2, 1, 1)));
}

TEST_F(ScpOutboxTest, BadBroadcastsAreRefusedByName) {
  EXPECT_EQ(world_.Broadcast(Bytes::Copy("junk")), std::nullopt);
  const std::string large(world_.limits.envelope_bytes_max, 'v');
  EXPECT_EQ(world_.Broadcast(PlainEnvelope().Externalize({1, large})), std::nullopt);
  ASSERT_EQ(world_.refusals.size(), 2u);
  EXPECT_EQ(world_.refusals[0].id, 7u);
  EXPECT_EQ(world_.refusals[0].field, "broadcast.envelope");
  EXPECT_EQ(world_.refusals[0].expected, "an SCPEnvelope in XDR");
  EXPECT_EQ(world_.refusals[1].expected, "at most 65536 bytes");
  EXPECT_THAT(world_.results, IsEmpty());
  world_.Broadcast(Prepare(1, 1, 1));  // and it goes on
  EXPECT_EQ(world_.results.size(), 1u);
}

// Marks of peers that come and go do not pile up, and nobody is taken for one that has gone.
TEST_F(ScpOutboxTest, PeersThatComeAndGo) {
  const Bytes envelope = Prepare(1, 1, 1);
  world_.Broadcast(envelope);
  world_.SentTo();
  for (uint64_t peer = 10; peer < 200; ++peer) {
    world_.Connect(peer);
    EXPECT_EQ(world_.From(peer, envelope), peer == 10 ? ScpWorld::kNew : ScpWorld::kOld);
    world_.Disconnect(peer);
  }
  world_.Connect(250);
  world_.Broadcast(envelope);
  EXPECT_THAT(world_.SentTo(), ElementsAre(250));
}

}  // namespace
}  // namespace overlay::flood
