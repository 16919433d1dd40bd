// Requests for bodies and sets between two transports, and what else goes on meanwhile.
#include <string>

#include "gtest/gtest.h"
#include "tests/support/peer_net.h"
#include "transport/peer_session.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

Bytes Blob(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  return Bytes::Take(std::move(text));
}

class SessionRequestsTest : public testing::Test {
 protected:
  explicit SessionRequestsTest(PeerNet::LinkOptions link = {.delay = 10ms}) : net_(link) {
    net_.AddNode();
    net_.AddNode();
    EXPECT_TRUE(net_.Join(0, 1));
    ours_ = *net_.PeerAt(0, 1);
  }
  void AskForSet(uint64_t request) {
    SetRequest set{{SetKind::kTxSet, HashOf<SetHash>({})}, false, 0};
    net_.Do(0, RequestSet{ours_, {request}, set});
  }
  void AskForBodies(uint64_t request, size_t count) {
    GetData data;
    for (size_t i = 0; i < count; ++i) {
      const auto byte = static_cast<uint8_t>(i);
      data.hashes.push_back(HashOf<TxHash>(absl::MakeConstSpan(&byte, 1)));
    }
    net_.Do(0, RequestBodies{ours_, {request}, data});
  }

  PeerNet net_;
  PeerId ours_;
};

TEST_F(SessionRequestsTest, FetchesBodiesInTheOrderAsked) {
  AskForBodies(1, 4);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<BodiesRequested>(1) == 1; }, 1s));
  const BodiesRequested asked = net_.All<BodiesRequested>(1)[0];
  ASSERT_EQ(asked.data.hashes.size(), 4u);
  std::vector<BodyAnswer> answers;
  for (const TxHash& hash : asked.data.hashes) answers.push_back({hash, BodyOutcome::kBody, {}});
  answers[0].body = Blob(300);
  answers[1].outcome = BodyOutcome::kNotFound;
  answers[2].body = Blob(9000);
  answers[3].outcome = BodyOutcome::kLater;
  net_.Do(1, AnswerBodies{asked.peer, asked.request, answers});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<RequestEnded>(0) == 1; }, 1s));
  EXPECT_TRUE(net_.All<RequestEnded>(0)[0].complete);
  const auto received = net_.All<BodyReceived>(0);
  ASSERT_EQ(received.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(received[i].answer.hash, answers[i].hash);
    EXPECT_EQ(received[i].answer.outcome, answers[i].outcome);
    EXPECT_EQ(received[i].answer.body, answers[i].body);
  }
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<AnswerDone>(1) == 1; }, 1s));
}

TEST_F(SessionRequestsTest, FetchesASet) {
  AskForSet(1);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<SetRequested>(1) == 1; }, 1s));
  const SetRequested asked = net_.All<SetRequested>(1)[0];
  const Bytes set = Blob(300'000);
  net_.Do(
      1,
      AnswerSet{
          asked.peer, asked.request, {true, SetEncoding::kIdentity, set.size(), set.size()}, set});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<RequestEnded>(0) == 1; }, 5s));
  EXPECT_TRUE(net_.All<RequestEnded>(0)[0].complete);
  EXPECT_EQ(net_.Count<SetHeaderReceived>(0), 1u);
  std::string got;
  for (const auto& part : net_.All<SetDataReceived>(0)) got += part.data.view();
  EXPECT_EQ(got, set.view());
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<AnswerDone>(1) == 1; }, 1s));
}

TEST_F(SessionRequestsTest, HearsThatASetIsNotFound) {
  AskForSet(1);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<SetRequested>(1) == 1; }, 1s));
  const SetRequested asked = net_.All<SetRequested>(1)[0];
  net_.Do(1, AnswerSet{asked.peer, asked.request, {}, {}});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<RequestEnded>(0) == 1; }, 1s));
  EXPECT_TRUE(net_.All<RequestEnded>(0)[0].complete);
  EXPECT_FALSE(net_.All<SetHeaderReceived>(0)[0].header.found);
}

// Either end can end it: the asker has enough, or the asked will not.
TEST_F(SessionRequestsTest, CancelsFromBothEnds) {
  AskForSet(1);
  AskForSet(2);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<SetRequested>(1) == 2; }, 1s));
  net_.Do(0, CancelRequest{ours_, {1}});
  ASSERT_EQ(net_.Count<RequestEnded>(0), 1u);
  EXPECT_FALSE(net_.All<RequestEnded>(0)[0].complete);
  const SetRequested second = net_.All<SetRequested>(1)[1];
  net_.Do(1, CancelRequest{second.peer, second.request});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<RequestEnded>(0) == 2; }, 1s));
  EXPECT_EQ(net_.All<RequestEnded>(0)[1].request, RequestId{2});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<AnswerDone>(1) == 2; }, 1s));
  net_.Run(1s);
  EXPECT_EQ(net_.Count<RequestEnded>(0), 2u);
  EXPECT_EQ(net_.Count<AnswerDone>(1), 2u);
}

// The 49th request for bodies waits; one for a set does not wait behind it.
TEST_F(SessionRequestsTest, QueuesRequestsAboveTheBound) {
  for (uint64_t i = 1; i <= 60; ++i) AskForBodies(i, 1);
  AskForSet(100);
  net_.Run(200ms);
  EXPECT_EQ(net_.Count<BodiesRequested>(1), 48u);
  EXPECT_EQ(net_.Count<SetRequested>(1), 1u);
  size_t answered = 0;
  while (answered < 60) {
    const auto asked = net_.All<BodiesRequested>(1);
    ASSERT_GT(asked.size(), answered);
    for (; answered < asked.size(); ++answered) {
      net_.Do(1, AnswerBodies{asked[answered].peer,
                              asked[answered].request,
                              {{asked[answered].data.hashes[0], BodyOutcome::kNotFound, {}}}});
    }
    net_.Run(300ms);
  }
  EXPECT_EQ(net_.Count<RequestEnded>(0), 60u);
  EXPECT_EQ(net_.Count<PeerOffence>(1), 0u) << "an honest asker is not an eager one";
}

TEST_F(SessionRequestsTest, RefusesRequestsAboveTheQueue) {
  for (uint64_t i = 1; i <= 48 + kRequestsWaitingMax; ++i) AskForBodies(i, 1);
  EXPECT_EQ(net_.Count<RequestEnded>(0), 0u);
  AskForBodies(5000, 1);
  ASSERT_EQ(net_.Count<RequestEnded>(0), 1u);
  EXPECT_EQ(net_.All<RequestEnded>(0)[0].request, RequestId{5000});
  EXPECT_FALSE(net_.All<RequestEnded>(0)[0].complete);
}

// An answer that does not fit into the bound of its class says not found, for each.
TEST(SessionBodiesBound, AnswersNotFoundAboveIt) {
  PeerNet net({.delay = 10ms});
  net.AddNode();
  net.AddNode([](TransportOptions& o) { o.limits.bodies_queue_bytes_max = 2000; });
  ASSERT_TRUE(net.Join(0, 1));
  net.Do(0, RequestBodies{*net.PeerAt(0, 1), {1}, GetData{{HashOf<TxHash>({})}}});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<BodiesRequested>(1) == 1; }, 1s));
  const auto asked = net.All<BodiesRequested>(1)[0];
  net.Do(1,
         AnswerBodies{
             asked.peer, asked.request, {{asked.data.hashes[0], BodyOutcome::kBody, Blob(3000)}}});
  ASSERT_TRUE(net.RunUntil([&] { return net.Count<BodyReceived>(0) == 1; }, 1s));
  EXPECT_EQ(net.All<BodyReceived>(0)[0].answer.outcome, BodyOutcome::kNotFound);
}

TEST_F(SessionRequestsTest, AnswersState) {
  net_.Do(0, SendControl{ours_, GetScpState{42, {7}}});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<ControlReceived>(1) == 1; }, 1s));
  std::vector<Bytes> envelopes;
  for (size_t i = 1; i <= 300; ++i) envelopes.push_back(Blob(i * 17));
  net_.Do(1, SendState{*net_.PeerAt(1, 0), {42, false}, envelopes});
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<StateReceived>(0) == 301; }, 5s));
  const auto state = net_.All<StateReceived>(0);
  for (size_t i = 0; i < 300; ++i) EXPECT_EQ(state[i].envelope, envelopes[i]);
  EXPECT_EQ(state.back().part, StateReceived::Part::kEnd);
  EXPECT_EQ(state.back().id, 42u);
}

class BusyLinkTest : public SessionRequestsTest {
 protected:
  BusyLinkTest() : SessionRequestsTest({.delay = 10ms, .bytes_per_second = 25'000'000}) {}
};

// Envelopes sent while a set of 10 MB fills a link of 200 Mbit/s wait a few milliseconds at most,
// and that while the connection is still finding its rate; without a bulk window it would be 400
// ms.
TEST_F(BusyLinkTest, EnvelopesPassASet) {
  AskForSet(1);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<SetRequested>(1) == 1; }, 1s));
  const SetRequested asked = net_.All<SetRequested>(1)[0];
  const Bytes set = Blob(10'000'000);
  net_.Do(
      1,
      AnswerSet{
          asked.peer, asked.request, {true, SetEncoding::kIdentity, set.size(), set.size()}, set});
  net_.Run(100ms);
  Duration worst{};
  for (uint64_t i = 0; i < 40; ++i) {
    const Time sent = net_.now();
    const size_t before = net_.envelopes_received(0);
    net_.Do(1, SendEnvelope{*net_.PeerAt(1, 0), {i}, {100}, Blob(300)});
    ASSERT_TRUE(net_.RunUntil([&] { return net_.envelopes_received(0) > before; }, 1s));
    worst = std::max(worst, net_.now() - sent);
  }
  EXPECT_EQ(net_.Count<RequestEnded>(0), 0u) << "the set was still on its way";
  EXPECT_LE(worst, 30ms);
  ASSERT_TRUE(net_.RunUntil([&] { return net_.Count<RequestEnded>(0) == 1; }, 5s));
  EXPECT_TRUE(net_.All<RequestEnded>(0)[0].complete);
}

}  // namespace
}  // namespace overlay::transport
