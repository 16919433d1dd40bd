// Through ScpFlood, because the inbox lives by what the index and the outbox tell it.
#include "flood/scp_inbox.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/flood/scp_world.h"
#include "tests/support/corpus.h"

namespace overlay::flood {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(ScpInboxTest, OnceToTheCoreWhoeverSends) {
  ScpWorld world;
  for (uint64_t peer : {1, 2, 3}) world.Connect(peer);
  world.Attach();
  const Bytes a = Prepare(1, 1, 1);
  const Bytes b = Prepare(1, 2, 1);
  EXPECT_EQ(world.From(2, a), ScpWorld::kNew);
  EXPECT_EQ(world.From(1, a), ScpWorld::kOld);
  EXPECT_EQ(world.From(3, b), ScpWorld::kNew);
  EXPECT_EQ(world.From(2, a), ScpWorld::kOld);
  ASSERT_EQ(world.deliveries.size(), 2u);
  EXPECT_EQ(world.deliveries[0].from, ScpWorld::Key(2));
  EXPECT_EQ(world.deliveries[0].hash, ScpWorld::HashOf(a));
  EXPECT_EQ(world.deliveries[0].refs.node, HashNumber<NodeKey>(1));
  EXPECT_FALSE(world.deliveries[0].redelivered);
  EXPECT_THAT(world.Delivered(), ElementsAre(a, b));
  EXPECT_THAT(world.SentTo(), IsEmpty());  // relay is the core's decision
  EXPECT_EQ(world.stats.received_new, 2u);
  EXPECT_EQ(world.stats.received_duplicate, 2u);
}

TEST(ScpInboxTest, WhatCannotBeSkimmedIsAnOffence) {
  Limits limits;
  ScpWorld world(limits);
  world.Connect(1);
  EXPECT_EQ(world.From(1, Bytes::Copy("no envelope")), ScpWorld::kRefused);
  const size_t overhead = PlainEnvelope().Externalize({1, ""}).size();
  const std::string longest(limits.envelope_bytes_max - overhead, 'v');
  EXPECT_EQ(world.From(1, PlainEnvelope().Externalize({1, longest})), ScpWorld::kNew);
  EXPECT_THAT(world.offences, testing::SizeIs(1));
  EXPECT_EQ(world.From(1, PlainEnvelope().Externalize({1, longest + "v"})), ScpWorld::kRefused);
  ASSERT_THAT(world.offences, testing::SizeIs(2));
  EXPECT_EQ(world.offences[0].offence, Offence::kMalformedPayload);
  EXPECT_EQ(world.offences[1].offence, Offence::kOversizeEnvelope);
  EXPECT_EQ(world.stats.refused_malformed, 2u);
}

TEST(ScpInboxTest, DeliveryWaitsForRoom) {
  ScpWorld world;
  world.Connect(1);
  world.Attach(1);
  for (uint8_t node = 1; node <= 4; ++node) world.From(1, Prepare(1, node, 1));
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 1, 1)));
  EXPECT_EQ(world.stats.core_queue, 3u);
  world.Room(2);
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 2, 1), Prepare(1, 3, 1)));
  world.Room(2);
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 4, 1)));
  world.From(1, Prepare(1, 5, 1));
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 5, 1)));
}

TEST(ScpInboxTest, NewerSupersedesUnderItsSenderAndTakesItsPlace) {
  ScpWorld world;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach(0);
  world.From(1, Prepare(1, 1, 1));
  world.From(1, Prepare(1, 2, 1));
  world.From(1, Prepare(1, 1, 2));
  EXPECT_EQ(world.From(1, Prepare(1, 1, 1)), ScpWorld::kOld);  // older than what it sent
  // Forgotten, so that another's copy is new: he who sent the newer one hurts only himself.
  EXPECT_EQ(world.From(2, Prepare(1, 1, 1)), ScpWorld::kNew);
  world.Room(9);
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 1, 2), Prepare(1, 2, 1), Prepare(1, 1, 1)));
  EXPECT_EQ(world.stats.superseded_inbound, 2u);
}

TEST(ScpInboxTest, SupersededUnderOneIsStillKeptUnderAnother) {
  ScpWorld world;
  for (uint64_t peer : {1, 2, 3}) world.Connect(peer);
  world.Attach(0);
  const Bytes honest = Prepare(1, 1, 1);
  const Bytes forged = Externalize(1, 1);
  world.From(1, honest);
  world.From(2, honest);
  world.From(1, forged);
  EXPECT_EQ(world.From(3, honest), ScpWorld::kOld);
  world.Room(9);
  EXPECT_THAT(world.Delivered(), ElementsAre(honest, forged));
}

// Delivered and then superseded it stays remembered: at most once per attachment.
TEST(ScpInboxTest, DeliveredStaysRemembered) {
  ScpWorld world;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach();
  world.From(1, Prepare(1, 1, 1));
  world.From(1, Prepare(1, 1, 2));
  EXPECT_EQ(world.Delivered().size(), 2u);
  EXPECT_EQ(world.From(2, Prepare(1, 1, 1)), ScpWorld::kOld);
  EXPECT_EQ(world.From(1, Prepare(1, 1, 1)), ScpWorld::kOld);
  EXPECT_THAT(world.Delivered(), IsEmpty());
}

TEST(ScpInboxTest, TwoIncomparableStay) {
  ScpWorld world;
  world.Connect(1);
  world.Attach(0);
  for (uint32_t counter : {1, 2, 3}) world.From(1, Externalize(1, 1, counter));
  world.Room(9);
  EXPECT_THAT(world.Delivered(),
              testing::UnorderedElementsAre(Externalize(1, 1, 2), Externalize(1, 1, 3)));
  EXPECT_EQ(world.stats.kept_envelopes, 2u);
}

TEST(ScpInboxTest, PhasesAndNodesAndSlotsAreApart) {
  ScpWorld world;
  world.Connect(1);
  world.Attach(0);
  world.From(1, PlainEnvelope{.slot = 1, .node = 1}.Nominate({"a"}, {}));
  world.From(1, Externalize(1, 1));
  world.From(1, Externalize(2, 1));
  world.From(1, Externalize(1, 2));
  world.Room(9);
  EXPECT_EQ(world.Delivered().size(), 4u);
}

TEST(ScpInboxTest, TheWindowRefusesAndRemembersNothing) {
  ScpWorld world;
  world.Connect(1);
  world.Attach();
  world.Close(100);
  EXPECT_EQ(world.From(1, Prepare(88, 1, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.From(1, Prepare(89, 1, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.From(1, Prepare(200, 1, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.From(1, Prepare(201, 1, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.stats.refused_window, 2u);
  world.Close(101);
  EXPECT_EQ(world.From(1, Prepare(201, 1, 1)), ScpWorld::kNew);
  EXPECT_THAT(world.offences, IsEmpty());
}

TEST(ScpInboxTest, SlotsThatLeaveTakeAllWithThem) {
  ScpWorld world;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach();
  world.Close(100);
  for (uint64_t peer : {1, 2}) {
    for (uint64_t slot = 89; slot <= 102; ++slot) world.From(peer, Prepare(slot, 1, 1));
  }
  EXPECT_EQ(world.stats.seen_hashes, 14u);
  world.Pass(seconds(60));
  world.Close(103, true, {{90}});
  EXPECT_EQ(world.stats.seen_hashes, 12u);  // 90 and 92 to 102
  EXPECT_EQ(world.stats.kept_envelopes, 12u);
  EXPECT_EQ(world.From(1, Prepare(91, 1, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.From(1, Prepare(90, 1, 1)), ScpWorld::kOld);
}

TEST(ScpInboxTest, WithoutAnUpperBoundEachSenderKeepsItsNewestTwelve) {
  ScpWorld world;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach(0);
  world.Close(100, /*tracking=*/false, {{64}});
  EXPECT_EQ(world.From(1, Prepare(64, 1, 1)), ScpWorld::kNew);
  for (uint64_t slot = 1000; slot < 1012; ++slot) {
    EXPECT_EQ(world.From(1, Prepare(slot, 1, 1)), ScpWorld::kNew);
  }
  EXPECT_EQ(world.From(1, Prepare(999, 1, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.From(2, Prepare(999, 1, 1)), ScpWorld::kNew);  // its own newest
  EXPECT_EQ(world.From(1, Prepare(2000, 1, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.stats.kept_envelopes, 14u);                     // 64, 1001 to 1011, 2000; and 999
  EXPECT_EQ(world.From(2, Prepare(1000, 1, 1)), ScpWorld::kNew);  // lost before it was delivered
  // When the core follows again, what lies above its bound goes.
  world.Close(1000);
  EXPECT_EQ(world.From(2, Prepare(2000, 1, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.stats.kept_envelopes,
            13u);  // 64, 999 to 1011 but not 2000: 64 is no keep slot now
}

// A core that comes back is not tracking at first: what its node kept of closed slots is still its
// due, however many they are.
TEST(ScpInboxTest, WithoutAnUpperBoundClosedSlotsStay) {
  ScpWorld world;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  for (uint64_t slot = 101; slot <= 130; ++slot) world.Close(slot);
  for (uint64_t slot = 101; slot <= 130; ++slot) world.From(1, Prepare(slot, 1, 1));
  world.Attach();
  world.Close(130, /*tracking=*/false);
  EXPECT_EQ(world.Delivered().size(), 30u);
  for (uint64_t slot = 131; slot <= 142; ++slot) world.From(1, Prepare(slot, 1, 1));
  EXPECT_EQ(world.From(1, Prepare(110, 2, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.From(1, Prepare(143, 1, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.stats.kept_envelopes, 30u + 12 + 1);
  EXPECT_EQ(world.stats.refused_limit, 0u);
}

Limits SmallSenders() {
  Limits limits;
  limits.scp_kept_per_peer_count_max = 4;
  return limits;
}

TEST(ScpInboxTest, AtTheSendersBoundClosedSlotsGoFirst) {
  ScpWorld world(SmallSenders());
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach();
  world.Close(100);
  for (uint64_t slot : {99, 100, 101, 105}) world.From(1, Prepare(slot, 1, 1));
  EXPECT_EQ(world.From(1, Prepare(98, 2, 1)), ScpWorld::kRefused);  // ranks no better
  EXPECT_EQ(world.From(1, Prepare(99, 2, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.From(1, Prepare(102, 2, 1)), ScpWorld::kNew);      // for 99
  EXPECT_EQ(world.From(1, Prepare(103, 2, 1)), ScpWorld::kNew);      // for 100
  EXPECT_EQ(world.From(1, Prepare(106, 2, 1)), ScpWorld::kRefused);  // no closed ones: the highest
  EXPECT_EQ(world.From(1, Prepare(104, 2, 1)), ScpWorld::kNew);      // for 105
  EXPECT_EQ(world.stats.kept_envelopes, 4u);
  EXPECT_EQ(world.From(2, Prepare(98, 2, 1)), ScpWorld::kNew);  // others are not touched
  // A newer one of the same key needs no room.
  EXPECT_EQ(world.From(1, Prepare(104, 2, 2)), ScpWorld::kNew);
}

TEST(ScpInboxTest, AtTheSendersBoundTheLowestGoesWithoutAnUpperBound) {
  ScpWorld world(SmallSenders());
  world.Connect(1);
  world.Attach();
  world.Close(100, /*tracking=*/false);
  for (uint64_t slot : {101, 102, 103, 104}) world.From(1, Prepare(slot, 1, 1));
  EXPECT_EQ(world.From(1, Prepare(101, 2, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.From(1, Prepare(105, 2, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.From(1, Prepare(101, 2, 1)), ScpWorld::kRefused);
}

TEST(ScpInboxTest, TheSendersBytesAreBounded) {
  Limits limits;
  const Bytes one = Prepare(1, 1, 1);
  limits.scp_kept_per_peer_bytes_max = 3 * one.size();
  ScpWorld world(limits);
  world.Connect(1);
  world.Attach();
  for (uint8_t node : {1, 2, 3}) EXPECT_EQ(world.From(1, Prepare(1, node, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.From(1, Prepare(1, 4, 1)), ScpWorld::kRefused);
  EXPECT_EQ(world.From(1, Prepare(2, 4, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.stats.kept_bytes, 3 * one.size());
}

// Refused at a limit is not seen, and the core is told, once a second.
TEST(ScpInboxTest, LossesAreReported) {
  ScpWorld world(SmallSenders());
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach();
  world.Close(100);
  for (uint8_t node = 1; node <= 4; ++node) world.From(1, Prepare(101, node, 1));
  EXPECT_EQ(world.From(1, Prepare(101, 5, 1)), ScpWorld::kRefused);
  ASSERT_EQ(world.overflows.size(), 1u);
  EXPECT_EQ(world.overflows[0].count, 1u);
  EXPECT_EQ(world.overflows[0].direction, Overflow::Direction::kToCore);
  world.From(1, Prepare(101, 6, 1));
  world.From(1, Prepare(110, 7, 1));
  EXPECT_EQ(world.overflows.size(), 1u);
  EXPECT_EQ(world.scp.NextDeadline(), world.now + seconds(1));
  world.Pass(seconds(1) - Duration(1));
  EXPECT_EQ(world.overflows.size(), 1u);
  world.Pass(Duration(1));
  ASSERT_EQ(world.overflows.size(), 2u);
  EXPECT_EQ(world.overflows[1].count, 2u);
  EXPECT_EQ(world.overflows[1].slot_first.value, 101u);
  EXPECT_EQ(world.overflows[1].slot_last.value, 110u);
  EXPECT_EQ(world.From(2, Prepare(101, 5, 1)), ScpWorld::kNew);
}

TEST(ScpInboxTest, TheCoreQueueTakesFromTheHeaviestSender) {
  Limits limits;
  limits.core_stream_message_count_max = 4;
  ScpWorld world(limits);
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach(0);
  for (uint64_t slot : {3, 1, 2}) world.From(1, Prepare(slot, 1, 1));
  world.From(2, Prepare(1, 2, 1));
  EXPECT_THAT(world.overflows, IsEmpty());
  EXPECT_EQ(world.From(2, Prepare(1, 3, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.overflows.size(), 1u);
  world.Room(9);
  EXPECT_THAT(world.Delivered(),
              ElementsAre(Prepare(3, 1, 1), Prepare(2, 1, 1), Prepare(1, 2, 1), Prepare(1, 3, 1)));
  EXPECT_EQ(world.From(2, Prepare(1, 1, 1)), ScpWorld::kNew);  // it was not remembered
}

TEST(ScpInboxTest, TheCoreQueuesBytesAreBounded) {
  Limits limits;
  limits.core_stream_bytes_max = 2 * Prepare(1, 1, 1).size();
  ScpWorld world(limits);
  world.Connect(1);
  world.Attach(0);
  for (uint64_t slot : {1, 2, 3}) world.From(1, Prepare(slot, 1, 1));
  world.Room(9);
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(2, 1, 1), Prepare(3, 1, 1)));
}

TEST(ScpInboxTest, ACoreThatComesBackGetsAllThatIsKept) {
  ScpWorld world;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach();
  world.From(1, Prepare(1, 1, 1));
  world.From(1, Prepare(1, 1, 2));
  world.From(2, Prepare(1, 2, 1));
  world.Detach();
  world.From(1, Prepare(1, 3, 1));
  world.Disconnect(1);  // what it sent stays
  world.Delivered();
  world.Attach(2);
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 1, 2), Prepare(1, 2, 1)));
  // What this core broadcasts meanwhile it does not get.
  world.Broadcast(Prepare(1, 3, 1));
  world.Room(9);
  EXPECT_THAT(world.Delivered(), IsEmpty());
  EXPECT_EQ(world.From(2, Prepare(1, 3, 1)), ScpWorld::kOld);
  EXPECT_THAT(world.Delivered(), IsEmpty());
  // The next one gets it: a peer has sent it.
  world.Detach();
  world.Attach();
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 1, 2), Prepare(1, 2, 1), Prepare(1, 3, 1)));
}

TEST(ScpInboxTest, WhatTheCoreSupersededItselfIsNotDelivered) {
  ScpWorld world;
  world.Connect(1);
  world.Attach(0);
  world.From(1, Prepare(1, 1, 1));
  world.From(1, Prepare(1, 2, 1));
  world.Broadcast(Prepare(1, 1, 5));
  world.Room(9);
  EXPECT_THAT(world.Delivered(), ElementsAre(Prepare(1, 2, 1)));
}

// All that have gone count as one sender; the one gone longest loses first.
TEST(ScpInboxTest, DepartedSendersShareOneBound) {
  ScpWorld world(SmallSenders());
  for (uint64_t peer : {1, 2, 3}) world.Connect(peer);
  for (uint64_t slot : {1, 2, 3}) world.From(1, Prepare(slot, 1, 1));
  for (uint64_t slot : {1, 2, 3}) world.From(2, Prepare(slot, 2, 1));
  world.Disconnect(1);
  EXPECT_EQ(world.stats.kept_envelopes, 6u);
  world.Disconnect(2);
  world.Attach();
  EXPECT_THAT(world.Delivered(),
              ElementsAre(Prepare(3, 1, 1), Prepare(1, 2, 1), Prepare(2, 2, 1), Prepare(3, 2, 1)));
  ASSERT_EQ(world.overflows.size(), 1u);
  EXPECT_EQ(world.overflows[0].count, 2u);
  world.Connect(2);  // back: its own bound again
  world.From(2, Prepare(4, 2, 1));
  EXPECT_EQ(world.stats.kept_envelopes, 5u);
}

// Only some of what is over the shared bound goes for each input; the next one sheds on. It may be
// a copy of the very envelope that goes then, which is new again.
TEST(ScpInboxTest, ACopyOfWhatTheDepartedLoseNextIsNew) {
  Limits limits;
  limits.scp_kept_per_peer_count_max = 100;
  ScpWorld world(limits);
  for (uint64_t peer : {1, 2, 3}) world.Connect(peer);
  world.Close(1);
  for (uint64_t peer : {1, 2}) {
    for (uint64_t slot = 2; slot <= 101; ++slot) {
      world.From(peer, Prepare(slot, static_cast<uint8_t>(peer), 1));
    }
  }
  world.Disconnect(1);
  world.Disconnect(2);
  uint64_t lowest = 2;
  const uint64_t gone = 200 - world.stats.kept_envelopes;
  ASSERT_GT(gone, 0u);
  ASSERT_LT(gone, 100u);
  lowest += gone;
  EXPECT_EQ(world.From(3, Prepare(lowest, 1, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.stats.kept_envelopes, 101u);
  EXPECT_EQ(world.From(3, Prepare(lowest, 1, 1)), ScpWorld::kOld);
}

TEST(ScpInboxTest, Verdicts) {
  ScpWorld world;
  for (uint64_t peer : {1, 2, 3, 4}) world.Connect(peer);
  world.Attach();
  const Bytes bad = Prepare(1, 1, 1);
  world.From(1, bad);
  world.From(2, bad);
  world.Verdict(bad, EnvelopeJudgement::kInvalid);
  ASSERT_EQ(world.offences.size(), 2u);
  EXPECT_EQ(world.offences[0].peer, PeerId{1});
  EXPECT_EQ(world.offences[1].peer, PeerId{2});
  EXPECT_EQ(world.offences[1].offence, Offence::kInvalidEnvelope);
  EXPECT_EQ(world.From(3, bad), ScpWorld::kRefused);
  EXPECT_EQ(world.From(3, bad), ScpWorld::kRefused);
  EXPECT_EQ(world.offences.size(), 3u);  // each sender once
  world.Verdict(bad, EnvelopeJudgement::kInvalid);
  EXPECT_EQ(world.offences.size(), 3u);

  const Bytes early = Prepare(1, 2, 1);
  world.From(1, early);
  world.Verdict(early, EnvelopeJudgement::kDiscarded);
  EXPECT_EQ(world.offences.size(), 3u);
  world.Delivered();
  EXPECT_EQ(world.From(1, early), ScpWorld::kNew);
  EXPECT_THAT(world.Delivered(), ElementsAre(early));
  world.Detach();
  world.Attach();  // the refused one does not come back
  EXPECT_THAT(world.Delivered(), ElementsAre(early));
}

TEST(ScpInboxTest, RememberedHashesAreBounded) {
  Limits limits;
  limits.seen_hash_count_max = 3;
  ScpWorld world(limits);
  world.Connect(1);
  world.Attach();
  for (uint64_t slot : {2, 1, 3}) world.From(1, Prepare(slot, 1, 1));
  EXPECT_EQ(world.From(1, Prepare(2, 2, 1)), ScpWorld::kNew);
  EXPECT_EQ(world.stats.seen_hashes, 3u);
  EXPECT_EQ(world.From(1, Prepare(2, 1, 1)), ScpWorld::kOld);
  EXPECT_EQ(world.From(1, Prepare(1, 1, 1)), ScpWorld::kNew);  // the oldest slot's was forgotten
  EXPECT_THAT(world.overflows, IsEmpty());                     // it had been delivered
}

TEST(ScpInboxTest, QuorumSetsOfWhatIsKept) {
  ScpWorld world;
  world.Connect(1);
  world.Attach();
  const PlainEnvelope make{.slot = 1, .node = 1, .quorum_set = 5};
  world.From(1, make.Prepare({1, "v"}));
  EXPECT_TRUE(world.scp.NamesQuorumSet(HashNumber<SetHash>(5)));
  EXPECT_FALSE(world.scp.NamesQuorumSet(HashNumber<SetHash>(6)));
  world.From(1, Prepare(1, 1, 2));  // names another
  EXPECT_FALSE(world.scp.NamesQuorumSet(HashNumber<SetHash>(5)));
}

// The real thing, with ledgers closing: what peers send first reaches the core once, byte for byte.
TEST(ScpInboxTest, CorpusGoesThrough) {
  ScpWorld world;
  world.checks_every_step = false;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach();
  const auto slot_of = [](const Bytes& envelope) {
    return SkimEnvelope(envelope.span())->refs.slot.value;
  };
  std::vector<Bytes> envelopes = CorpusScpEnvelopes();
  std::stable_sort(envelopes.begin(), envelopes.end(),
                   [&](const Bytes& a, const Bytes& b) { return slot_of(a) < slot_of(b); });
  size_t delivered = 0;
  size_t superseded = 0;
  uint64_t closed = 0;
  for (const Bytes& envelope : envelopes) {
    if (slot_of(envelope) != closed) {
      world.Close(closed = slot_of(envelope));
      world.scp.CheckInvariants();
    }
    const bool is_new = world.From(1, envelope) == ScpWorld::kNew;
    EXPECT_EQ(world.From(2, envelope), ScpWorld::kOld);
    superseded += !is_new;
    delivered += world.Delivered() == std::vector<Bytes>{envelope};
    world.Broadcast(envelope);
    EXPECT_EQ(world.SentTo().size(), 0u);
  }
  EXPECT_EQ(delivered + superseded, 1970u);
  if (CorpusPresent()) {
    EXPECT_EQ(delivered, 1970u);
  }
}

}  // namespace
}  // namespace overlay::flood
