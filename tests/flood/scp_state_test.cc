#include "flood/scp_state.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/flood/scp_world.h"

namespace overlay::flood {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using Part = StateReceived::Part;

TEST(ScpStateTest, EachPeerIsAskedOnceOnConnection) {
  ScpWorld world;
  world.Connect(1);
  world.Connect(2);
  ASSERT_EQ(world.questions.size(), 2u);
  EXPECT_EQ(world.questions[0].first, 1u);
  EXPECT_EQ(world.questions[0].second.from.value, 0u);
  world.Pass(seconds(60));
  EXPECT_EQ(world.questions.size(), 2u);
}

TEST(ScpStateTest, AnswersWhatTheCoreBroadcastNewestSlotFirst) {
  ScpWorld world;
  for (uint64_t peer : {1, 2}) world.Connect(peer);
  world.Attach();
  world.Close(100);
  world.Broadcast(Prepare(95, 1, 1));
  world.Broadcast(Prepare(97, 1, 1));
  world.Broadcast(Prepare(97, 1, 2));
  world.From(2, Prepare(98, 9, 1));  // nobody has judged it
  world.Detach();                    // whatever the core does
  world.Question(1, 44);
  world.Question(2, 45, 97);
  ASSERT_EQ(world.answers.size(), 2u);
  EXPECT_EQ(world.answers[0].header, (StateHeader{44, false}));
  EXPECT_TRUE(world.answers[0].last);
  EXPECT_THAT(world.answers[0].envelopes, ElementsAre(Prepare(97, 1, 2), Prepare(95, 1, 1)));
  EXPECT_THAT(world.answers[1].envelopes, ElementsAre(Prepare(97, 1, 2)));
}

TEST(ScpStateTest, TenQuestionsAMinute) {
  ScpWorld world;
  world.Connect(1);
  for (int i = 0; i < 10; ++i) world.Question(1, i);
  EXPECT_THAT(world.offences, IsEmpty());
  EXPECT_FALSE(world.answers.back().header.refused);
  world.Question(1, 10);
  EXPECT_EQ(world.answers.back().header, (StateHeader{10, true}));
  ASSERT_EQ(world.offences.size(), 1u);
  EXPECT_EQ(world.offences[0].offence, Offence::kOverEager);
  world.Pass(seconds(60) - Duration(1));
  world.Question(1, 11);
  EXPECT_TRUE(world.answers.back().header.refused);
  world.Pass(Duration(1));
  world.Question(1, 12);
  EXPECT_FALSE(world.answers.back().header.refused);
  EXPECT_EQ(world.stats.state_requests_answered, 11u);
  EXPECT_EQ(world.stats.state_requests_refused, 2u);
}

class OlderStateTest : public testing::Test {
 protected:
  OlderStateTest() {
    for (uint64_t peer : {1, 2}) world_.Connect(peer);
    world_.Attach();
    world_.Close(100);
    world_.Broadcast(Prepare(95, 1, 1));
  }
  ScpWorld world_;
};

TEST_F(OlderStateTest, TheCoreIsAskedForSlotsBelow) {
  world_.Question(1, 5, 89);
  EXPECT_THAT(world_.wanted, IsEmpty());
  world_.Question(1, 6, 88);
  ASSERT_EQ(world_.wanted.size(), 1u);
  EXPECT_EQ(world_.wanted[0].peer, ScpWorld::Key(1));
  EXPECT_EQ(world_.wanted[0].from.value, 88u);
  EXPECT_FALSE(world_.answers.back().last);
  EXPECT_THAT(world_.answers.back().envelopes, ElementsAre(Prepare(95, 1, 1)));
  // One outstanding.
  world_.Question(1, 7, 99);
  EXPECT_TRUE(world_.answers.back().header.refused);
  EXPECT_EQ(world_.offences.size(), 1u);
  // Its part follows on the same stream and repeats nothing.
  world_.Reply({world_.wanted[0].id, {Prepare(88, 1, 1), Prepare(95, 1, 1)}, false});
  EXPECT_EQ(world_.answers.back().header, (StateHeader{6, false}));
  EXPECT_THAT(world_.answers.back().envelopes, ElementsAre(Prepare(88, 1, 1)));
  EXPECT_FALSE(world_.answers.back().last);
  world_.Reply({world_.wanted[0].id, {Bytes::Copy("junk"), Prepare(90, 1, 1)}, true});
  EXPECT_THAT(world_.answers.back().envelopes, ElementsAre(Prepare(90, 1, 1)));
  EXPECT_TRUE(world_.answers.back().last);
  ASSERT_EQ(world_.refusals.size(), 1u);
  EXPECT_EQ(world_.refusals[0].field, "state_reply.envelopes[0]");
  world_.Question(1, 8, 99);
  EXPECT_FALSE(world_.answers.back().header.refused);
}

TEST_F(OlderStateTest, TheCoreHasTwoSeconds) {
  world_.Question(1, 6, 88);
  world_.Pass(seconds(2) - Duration(1));
  EXPECT_EQ(world_.answers.size(), 1u);
  world_.Pass(Duration(1));
  ASSERT_EQ(world_.answers.size(), 2u);
  EXPECT_TRUE(world_.answers.back().last);
  world_.Reply({world_.wanted[0].id, {Prepare(88, 1, 1)}, true});
  EXPECT_EQ(world_.answers.size(), 2u);
  world_.Question(1, 7, 88);
  world_.Detach();
  EXPECT_TRUE(world_.answers.back().last);
  EXPECT_EQ(world_.answers.back().header.id, 7u);
}

TEST_F(OlderStateTest, TheCoresPartIsBounded) {
  world_.limits.scp_kept_per_peer_count_max = 3;
  world_.Question(1, 6, 80);
  StateReply reply{world_.wanted[0].id, {}, true};
  for (uint64_t slot = 80; slot < 85; ++slot) reply.envelopes.push_back(Prepare(slot, 1, 1));
  world_.Reply(reply);
  EXPECT_EQ(world_.answers.back().envelopes.size(), 3u);
  EXPECT_TRUE(world_.answers.back().last);
}

TEST(ScpStateTest, UnderPolicyCoreItIsAlwaysAsked) {
  ScpWorld world;
  world.Connect(1);
  world.Attach(9, StatePolicy::kCore);
  world.Question(1, 3);
  ASSERT_EQ(world.wanted.size(), 1u);
  EXPECT_EQ(world.wanted[0].from.value, 0u);
  world.Disconnect(1);  // its answer is dropped
  world.Reply({world.wanted[0].id, {Prepare(1, 1, 1)}, true});
  EXPECT_EQ(world.answers.size(), 1u);
}

class RequestTest : public testing::Test {
 protected:
  void Connect(uint64_t count) {
    for (uint64_t peer = 1; peer <= count; ++peer) {
      world_.Connect(peer);
      world_.AnswerEnds(peer, world_.questions.back().second.id);
    }
    world_.questions.clear();
    world_.Attach();
  }
  ScpWorld world_;
};

TEST_F(RequestTest, OtherPeersEachTimeThoseWithoutACoreLast) {
  Connect(5);
  world_.scp.OnPeerCoreStatus({3}, false);
  std::set<uint64_t> asked;
  for (uint64_t id : {1, 2}) {
    world_.Request({id, {9}, 2, false});
    ASSERT_EQ(world_.questions.size(), 2u);
    for (const auto& [peer, question] : ScpWorld::Taken(world_.questions)) {
      EXPECT_EQ(question.from.value, 9u);
      EXPECT_TRUE(asked.insert(peer).second);
      world_.AnswerEnds(peer, question.id, peer % 2 == 0 ? Part::kEnd : Part::kRefused);
    }
  }
  EXPECT_THAT(asked, ElementsAre(1, 2, 4, 5));
  ASSERT_EQ(world_.dones.size(), 2u);
  EXPECT_EQ(world_.dones[0].asked, 2u);
  EXPECT_EQ(world_.dones[0].answered + world_.dones[1].answered, 2u);
  EXPECT_EQ(world_.dones[0].refused + world_.dones[1].refused, 2u);
  world_.Request({3, {9}, 5, false});
  EXPECT_EQ(world_.questions.size(), 5u);
}

TEST_F(RequestTest, WhoHasACoreComesBeforeWhoWasAskedLongestAgo) {
  Connect(8);
  for (uint64_t peer = 1; peer <= 6; ++peer) world_.scp.OnPeerCoreStatus({peer}, false);
  for (uint64_t id : {1, 2}) {
    world_.Request({id, {}, 2, false});
    std::set<uint64_t> asked;
    for (const auto& [peer, question] : ScpWorld::Taken(world_.questions)) {
      asked.insert(peer);
      world_.AnswerEnds(peer, question.id);
    }
    EXPECT_THAT(asked, ElementsAre(7, 8));
  }
}

TEST_F(RequestTest, EndsAfterFiveSeconds) {
  Connect(3);
  world_.Request({1, {}, 3, false});
  world_.AnswerEnds(world_.questions[0].first, world_.questions[0].second.id);
  world_.AnswerEnds(world_.questions[1].first, world_.questions[1].second.id, Part::kBroken);
  EXPECT_EQ(world_.scp.NextDeadline(), world_.now + seconds(5));
  world_.Pass(seconds(5) - Duration(1));
  EXPECT_THAT(world_.dones, IsEmpty());
  world_.Pass(Duration(1));
  ASSERT_EQ(world_.dones.size(), 1u);
  EXPECT_EQ(world_.dones[0].asked, 3u);
  EXPECT_EQ(world_.dones[0].answered, 1u);
  EXPECT_EQ(world_.dones[0].refused, 0u);
  EXPECT_EQ(world_.scp.NextDeadline(), std::nullopt);
}

TEST_F(RequestTest, WaitsForTheQuestionThatIsOutstanding) {
  world_.Connect(1);
  world_.Attach();
  world_.Request({1, {9}, 2, false});
  ASSERT_EQ(world_.questions.size(), 1u);  // the one on connection
  world_.AnswerEnds(1, world_.questions[0].second.id);
  ASSERT_EQ(world_.questions.size(), 2u);
  EXPECT_EQ(world_.questions[1].second.from.value, 9u);
  world_.Disconnect(1);
  ASSERT_EQ(world_.dones.size(), 1u);
  EXPECT_EQ(world_.dones[0].answered, 0u);
}

TEST_F(RequestTest, WaitingForItsTurnGivesNoMoreTime) {
  world_.Connect(1);
  world_.Attach();
  world_.Pass(seconds(3));
  world_.Request({1, {9}, 1, false});
  world_.Pass(seconds(2));  // the question on connection is not answered: the next one's turn
  ASSERT_EQ(world_.questions.size(), 2u);
  world_.Pass(seconds(3) - Duration(1));
  EXPECT_THAT(world_.dones, IsEmpty());
  world_.Pass(Duration(1));
  ASSERT_EQ(world_.dones.size(), 1u);
  EXPECT_EQ(world_.dones[0].asked, 1u);
  EXPECT_EQ(world_.dones[0].answered, 0u);
}

TEST_F(RequestTest, NobodyIsAskedMoreThanTenTimesAMinute) {
  Connect(1);
  for (uint64_t id = 1; id <= 9; ++id) {
    world_.Request({id, {}, 1, false});
    world_.AnswerEnds(1, world_.questions.back().second.id);
  }
  EXPECT_EQ(world_.questions.size(), 9u);  // and the one on connection
  world_.Request({10, {}, 1, false});
  EXPECT_EQ(world_.questions.size(), 9u);
  EXPECT_EQ(world_.dones.back().id, 10u);
  EXPECT_EQ(world_.dones.back().asked, 0u);
  // A minute on the peer's clock, whatever the network did: 61 s on ours.
  world_.Pass(seconds(61) - Duration(1));
  world_.Request({11, {}, 1, false});
  EXPECT_EQ(world_.questions.size(), 9u);
  world_.Pass(Duration(1));
  world_.Request({12, {}, 1, false});
  EXPECT_EQ(world_.questions.size(), 10u);
}

TEST_F(RequestTest, FourOpenAtMostAndEachIdOnce) {
  Connect(1);
  for (uint64_t id = 1; id <= 4; ++id) world_.Request({id, {}, 1, false});
  EXPECT_THAT(world_.refusals, IsEmpty());
  world_.Request({4, {}, 1, false});
  world_.Request({5, {}, 1, false});
  ASSERT_EQ(world_.refusals.size(), 2u);
  EXPECT_EQ(world_.refusals[0].field, "request_state.id");
  EXPECT_EQ(world_.refusals[1].expected, "at most 4 open");
  world_.Pass(seconds(5));  // those that waited for their turn end too
  EXPECT_EQ(world_.dones.size(), 4u);
}

TEST_F(RequestTest, RedeliversOnceARequest) {
  Connect(2);
  const Bytes had = Prepare(1, 1, 1);
  const Bytes fresh = Prepare(1, 2, 1);
  world_.From(1, had);
  world_.Delivered();
  world_.Request({1, {}, 2, true});
  for (const auto& [peer, question] : ScpWorld::Taken(world_.questions)) {
    world_.Answer(peer, question.id, had);
    world_.Answer(peer, question.id, fresh);
    world_.AnswerEnds(peer, question.id);
  }
  ASSERT_EQ(world_.deliveries.size(), 2u);
  EXPECT_TRUE(world_.deliveries[0].redelivered);
  EXPECT_EQ(world_.deliveries[0].envelope, had);
  EXPECT_FALSE(world_.deliveries[1].redelivered);
  EXPECT_EQ(world_.dones.back().envelopes_delivered, 2u);
  world_.deliveries.clear();
  // Without redeliver nothing comes twice; with it, again in the next request.
  for (bool redeliver : {false, true}) {
    world_.Request({2, {}, 1, redeliver});
    const auto [peer, question] = world_.questions.back();
    world_.Answer(peer, question.id, had);
    world_.AnswerEnds(peer, question.id);
    EXPECT_EQ(world_.Delivered().size(), redeliver ? 1u : 0u);
  }
}

TEST_F(RequestTest, ACoreThatGoesIsNotAnswered) {
  Connect(2);
  world_.Request({1, {}, 2, true});
  const auto questions = world_.questions;
  world_.Detach();
  world_.Attach();
  for (const auto& [peer, question] : questions) world_.AnswerEnds(peer, question.id);
  world_.Pass(seconds(10));
  EXPECT_THAT(world_.dones, IsEmpty());
}

}  // namespace
}  // namespace overlay::flood
