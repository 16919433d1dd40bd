#include "flood/set_server.h"

#include <map>

#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

class SetServerTest : public testing::Test {
 protected:
  SetServerTest() {
    limits_.sets_served_per_peer_max = 2;
    limits_.sets_served_queue_per_peer_max = 3;
    limits_.promised_waits_per_peer_max = 2;
    limits_.promised_wait = 2s;
  }
  ~SetServerTest() override { server_.CheckInvariants(); }

  static SetKey Key(int n) {
    SetKey key;
    key.hash.bytes[0] = static_cast<uint8_t>(n);
    return key;
  }
  void Hold(int n) { held_[Key(n)] = Bytes::Copy(std::string_view("0123456789")); }
  // The answers that the request led to, to whomever.
  std::vector<AnswerSet> Request(uint64_t peer, uint64_t request, int set, uint64_t offset = 0) {
    ActionList out;
    server_.OnRequested(
        now_, {PeerId{peer}, RequestId{request}, SetRequest{Key(set), false, offset}}, out);
    server_.CheckInvariants();
    return Commands<AnswerSet>(out);
  }
  std::vector<AnswerSet> Done(uint64_t peer, uint64_t request) {
    ActionList out;
    server_.OnAnswerDone(now_, {PeerId{peer}, RequestId{request}}, out);
    server_.CheckInvariants();
    return Commands<AnswerSet>(out);
  }
  std::vector<AnswerSet> At(Time when) {
    ActionList out;
    now_ = when;
    server_.OnDeadline(now_, out);
    server_.CheckInvariants();
    return Commands<AnswerSet>(out);
  }

  Limits limits_;
  SetStats stats_;
  std::map<SetKey, Bytes> held_;
  SetServer server_{limits_, stats_, [this](const SetKey& key) -> const Bytes* {
                      auto it = held_.find(key);
                      return it == held_.end() ? nullptr : &it->second;
                    }};
  Time now_{100s};
};

TEST_F(SetServerTest, ServesTheSharedBufferFromAnyOffset) {
  Hold(1);
  const auto whole = Request(1, 1, 1);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_TRUE(whole[0].header.found);
  EXPECT_EQ(whole[0].header.total_bytes, 10u);
  EXPECT_EQ(whole[0].encoded.data(), held_[Key(1)].data());
  const auto tail = Request(1, 2, 1, 7);
  ASSERT_EQ(tail.size(), 1u);
  EXPECT_EQ(tail[0].header.encoded_bytes, 3u);
  EXPECT_EQ(tail[0].encoded.view(), "789");
  Done(1, 1);
  EXPECT_FALSE(Request(1, 3, 1, 11)[0].header.found);
}

TEST_F(SetServerTest, PlacesThenAQueueInOrderThenNotFound) {
  Hold(1);
  EXPECT_EQ(Request(1, 1, 1).size(), 1u);
  EXPECT_EQ(Request(1, 2, 1).size(), 1u);
  for (uint64_t request = 3; request <= 5; ++request) EXPECT_TRUE(Request(1, request, 1).empty());
  const auto refused = Request(1, 6, 1);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_FALSE(refused[0].header.found);
  EXPECT_TRUE(Request(2, 7, 1)[0].header.found);  // another peer has places of its own
  const auto next = Done(1, 2);
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].request, RequestId{3});
  EXPECT_TRUE(Done(1, 4).empty());  // died in the queue: its place was none
  EXPECT_EQ(Done(1, 1)[0].request, RequestId{5});
  EXPECT_TRUE(Done(1, 99).empty());
}

TEST_F(SetServerTest, UnknownIsNotFoundAtOnce) {
  const auto answer = Request(1, 1, 9);
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_FALSE(answer[0].header.found);
  EXPECT_EQ(stats_.served_not_found, 1u);
  EXPECT_FALSE(server_.NextDeadline().has_value());
}

TEST_F(SetServerTest, PromisedSetIsWaitedForAndServedWhenItComes) {
  server_.Promise(Key(1));
  EXPECT_TRUE(Request(1, 1, 1).empty());
  EXPECT_TRUE(Request(2, 2, 1).empty());
  Hold(1);
  ActionList out;
  server_.OnHeld(now_, Key(1), out);
  const auto answers = Commands<AnswerSet>(out);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].peer, PeerId{1});
  EXPECT_TRUE(answers[0].header.found && answers[1].header.found);
  EXPECT_FALSE(server_.NextDeadline().has_value());
}

TEST_F(SetServerTest, APromiseNotKeptEndsInNotFoundAfterTheWait) {
  server_.Promise(Key(1));
  EXPECT_TRUE(Request(1, 1, 1).empty());
  EXPECT_EQ(server_.NextDeadline(), now_ + 2s);
  const Time until = now_ + 2s;
  EXPECT_TRUE(At(until - 1us).empty());
  const auto answer = At(until);
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_FALSE(answer[0].header.found);
}

TEST_F(SetServerTest, WaitsOfAPeerAreBoundedAndTakeNoPlaces) {
  Hold(7);
  server_.Promise(Key(1));
  EXPECT_TRUE(Request(1, 1, 1).empty());
  EXPECT_TRUE(Request(1, 2, 1).empty());
  const auto over = Request(1, 3, 1);
  ASSERT_EQ(over.size(), 1u);
  EXPECT_FALSE(over[0].header.found);
  EXPECT_TRUE(Request(1, 4, 7)[0].header.found);
  EXPECT_TRUE(Request(1, 5, 7)[0].header.found);
  Done(1, 1);  // the request died while waiting
  EXPECT_TRUE(Request(1, 6, 1).empty());
}

TEST_F(SetServerTest, DisconnectForgetsAll) {
  Hold(1);
  server_.Promise(Key(2));
  for (uint64_t request = 1; request <= 4; ++request) Request(1, request, 1);
  Request(1, 5, 2);
  server_.OnPeerDisconnected(PeerId{1});
  server_.CheckInvariants();
  EXPECT_FALSE(server_.NextDeadline().has_value());
  EXPECT_TRUE(Done(1, 1).empty());
}

TEST_F(SetServerTest, PromisesAreForgottenWithTheCore) {
  server_.Promise(Key(1));
  server_.ForgetPromises();
  EXPECT_FALSE(Request(1, 1, 1)[0].header.found);
}

TEST_F(SetServerTest, OldestPromiseGoesOverTheLimit) {
  const auto key = [](size_t i) {
    SetKey key;
    key.hash.bytes[1] = static_cast<uint8_t>(i);
    key.hash.bytes[2] = static_cast<uint8_t>(i >> 8);
    key.hash.bytes[31] = 1;
    return key;
  };
  for (size_t i = 0; i <= kPromiseCountMax; ++i) server_.Promise(key(i));
  server_.CheckInvariants();
  ActionList out;
  server_.OnRequested(now_, {PeerId{1}, RequestId{1}, SetRequest{key(0), false, 0}}, out);
  EXPECT_EQ(Commands<AnswerSet>(out).size(), 1u);  // forgotten: not-found
  out.clear();
  server_.OnRequested(now_, {PeerId{1}, RequestId{2}, SetRequest{key(1), false, 0}}, out);
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace overlay::flood
