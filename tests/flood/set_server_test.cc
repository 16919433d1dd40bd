#include "flood/set_server.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;
using testing::SizeIs;
constexpr auto kDone = Computed::Outcome::kDone;
constexpr auto kNotDone = Computed::Outcome::kNotDone;

class Shelf : public SetShelf {
 public:
  std::optional<ServableSet> Look(const SetKey& key) const override {
    auto it = held.find(key);
    if (it == held.end()) return std::nullopt;
    return it->second;
  }
  void KeepFrame(const SetKey& key, Bytes frame) override {
    auto it = held.find(key);
    if (it == held.end()) return;
    it->second.frame = std::move(frame);
    it->second.may_compress = false;
  }
  std::map<SetKey, ServableSet> held;
};

class SetServerTest : public testing::Test {
 protected:
  SetServerTest() {
    limits_.sets_served_per_peer_max = 2;
    limits_.sets_served_queue_per_peer_max = 3;
    limits_.promised_waits_per_peer_max = 2;
    limits_.promised_wait = 2s;
    limits_.set_compress_bytes_min = 1000;
    limits_.compute_bytes_max = 10'000;
  }
  ~SetServerTest() override { server_.CheckInvariants(); }

  static SetKey Key(int n) {
    SetKey key;
    key.hash.bytes[0] = static_cast<uint8_t>(n);
    return key;
  }
  void Hold(int n) { Hold(n, Bytes::Copy(std::string_view("0123456789"))); }
  void Hold(int n, Bytes bytes) { shelf_.held[Key(n)] = {std::move(bytes), {}, true}; }
  // One that a tenth of it stands for, and its frame.
  Bytes Large(int n, size_t size = 1000) {
    Hold(n, Bytes::Take(std::string(size, 'x')));
    return Bytes::Take(std::string(size / 10, static_cast<char>('a' + n)));
  }
  // The answers that the request led to, to whomever.
  std::vector<AnswerSet> Request(uint64_t peer, uint64_t request, int set, uint64_t offset = 0) {
    return Ask(peer, request, SetRequest{Key(set), false, offset});
  }
  std::vector<AnswerSet> RequestFrame(uint64_t peer, uint64_t request, int set) {
    return Ask(peer, request, SetRequest{Key(set), true, 0});
  }
  std::vector<AnswerSet> Ask(uint64_t peer, uint64_t request, const SetRequest& set) {
    ActionList out;
    server_.OnRequested(now_, {PeerId{peer}, RequestId{request}, set}, out);
    return Take(out);
  }
  // What the worker is asked for goes to computes_.
  std::vector<AnswerSet> Take(const ActionList& out) {
    server_.CheckInvariants();
    for (const Compute& compute : Computes(out)) computes_.push_back(compute);
    return Commands<AnswerSet>(out);
  }
  std::vector<AnswerSet> Computed(size_t which, Bytes frame,
                                  flood::Computed::Outcome outcome = kDone) {
    const flood::Computed computed{
        .id = computes_.at(which).id, .outcome = outcome, .output = std::move(frame)};
    ActionList out;
    EXPECT_TRUE(compute_.OnComputed(computed, out));
    EXPECT_TRUE(server_.OnComputed(computed, out));
    return Take(out);
  }
  std::vector<AnswerSet> Done(uint64_t peer, uint64_t request) {
    ActionList out;
    server_.OnAnswerDone(now_, {PeerId{peer}, RequestId{request}}, out);
    return Take(out);
  }
  std::vector<AnswerSet> At(Time when) {
    ActionList out;
    now_ = when;
    server_.OnDeadline(now_, out);
    return Take(out);
  }

  Limits limits_;
  SetStats stats_;
  ComputeStats compute_stats_;
  Shelf shelf_;
  ComputeQueue compute_{limits_, compute_stats_};
  SetServer server_{limits_, stats_, shelf_, compute_};
  std::vector<Compute> computes_;
  Time now_{100s};
};

TEST_F(SetServerTest, ServesTheSharedBufferFromAnyOffset) {
  Hold(1);
  const auto whole = Request(1, 1, 1);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_TRUE(whole[0].header.found);
  EXPECT_EQ(whole[0].header.total_bytes, 10u);
  EXPECT_EQ(whole[0].encoded.data(), shelf_.held[Key(1)].bytes.data());
  const auto tail = Request(1, 2, 1, 7);
  ASSERT_EQ(tail.size(), 1u);
  EXPECT_EQ(tail[0].header.encoded_bytes, 3u);
  EXPECT_EQ(tail[0].encoded.view(), "789");
  Done(1, 1);
  EXPECT_FALSE(Request(1, 3, 1, 11)[0].header.found);
  EXPECT_FALSE(Request(1, 3, 1, 10)[0].header.found);  // there is nothing to answer with
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

TEST_F(SetServerTest, AFrameIsMadeOnceForAllThatAskMeanwhileAndThenThere) {
  const Bytes frame = Large(1);
  EXPECT_THAT(RequestFrame(1, 1, 1), IsEmpty());
  EXPECT_THAT(RequestFrame(2, 2, 1), IsEmpty());
  ASSERT_THAT(computes_, SizeIs(1));
  EXPECT_EQ(computes_[0].kind, Compute::Kind::kCompress);
  EXPECT_EQ(computes_[0].input.data(), shelf_.held[Key(1)].bytes.data());
  // Who does not take it, or not from the beginning, need not wait.
  EXPECT_EQ(Request(3, 3, 1)[0].header.encoding, SetEncoding::kIdentity);
  const auto tail = Ask(3, 4, SetRequest{Key(1), true, 400});
  EXPECT_EQ(tail[0].header.encoding, SetEncoding::kIdentity);
  EXPECT_EQ(tail[0].encoded.size(), 600u);
  const auto answers = Computed(0, frame);
  ASSERT_THAT(answers, SizeIs(2));
  for (const AnswerSet& answer : answers) {
    EXPECT_EQ(answer.header.encoding, SetEncoding::kZstd);
    EXPECT_EQ(answer.header.total_bytes, 1000u);
    EXPECT_EQ(answer.header.encoded_bytes, 100u);
    EXPECT_EQ(answer.encoded.data(), frame.data());
  }
  const auto later = RequestFrame(4, 5, 1);
  EXPECT_EQ(later[0].encoded.data(), frame.data());
  EXPECT_THAT(computes_, SizeIs(1));
  EXPECT_EQ(Request(4, 6, 1)[0].header.encoding, SetEncoding::kIdentity);
  EXPECT_EQ(Ask(5, 7, SetRequest{Key(1), true, 1})[0].header.encoding, SetEncoding::kIdentity);
  EXPECT_EQ(stats_.served, 7u);
  EXPECT_EQ(stats_.served_compressed, 3u);
  EXPECT_EQ(stats_.served_saved_bytes, 2700u);
}

TEST_F(SetServerTest, SmallSetsAndThoseTriedAreServedAsTheyAre) {
  Large(1, 999);
  EXPECT_EQ(RequestFrame(1, 1, 1)[0].header.encoding, SetEncoding::kIdentity);
  Large(2, 1000);
  shelf_.held[Key(2)].may_compress = false;
  EXPECT_EQ(RequestFrame(1, 2, 2)[0].header.encoding, SetEncoding::kIdentity);
  EXPECT_THAT(computes_, IsEmpty());
}

TEST_F(SetServerTest, AFrameThatSavesLessThanATenthIsNeitherSentNorKept) {
  Large(1);
  Large(2);
  RequestFrame(1, 1, 1);
  RequestFrame(1, 2, 2);
  const auto plain = Computed(0, Bytes::Take(std::string(901, 'f')));
  ASSERT_THAT(plain, SizeIs(1));
  EXPECT_EQ(plain[0].header.encoding, SetEncoding::kIdentity);
  EXPECT_EQ(plain[0].encoded.data(), shelf_.held[Key(1)].bytes.data());
  EXPECT_TRUE(shelf_.held[Key(1)].frame.empty());
  EXPECT_FALSE(shelf_.held[Key(1)].may_compress);  // not tried again
  const auto frame = Computed(1, Bytes::Take(std::string(900, 'f')));
  ASSERT_THAT(frame, SizeIs(1));
  EXPECT_EQ(frame[0].header.encoding, SetEncoding::kZstd);
  EXPECT_EQ(stats_.compressed, 1u);
}

TEST_F(SetServerTest, WhereTheWorkerHasNoTimeOrFailsTheSetIsSentAsItIs) {
  Large(1, 9000);
  Large(2, 1001);
  RequestFrame(1, 1, 1);
  EXPECT_EQ(RequestFrame(1, 2, 2)[0].header.encoding, SetEncoding::kIdentity);
  EXPECT_EQ(compute_stats_.refused, 1u);
  const auto plain = Computed(0, Bytes(), kNotDone);
  ASSERT_THAT(plain, SizeIs(1));
  EXPECT_EQ(plain[0].encoded.size(), 9000u);
  EXPECT_TRUE(shelf_.held[Key(1)].may_compress);  // another time
  Done(1, 1);
  EXPECT_THAT(RequestFrame(1, 3, 1), IsEmpty());
}

TEST_F(SetServerTest, WhoWaitsForAFrameHoldsAPlace) {
  const Bytes frame = Large(1);
  Hold(2);
  RequestFrame(1, 1, 1);
  RequestFrame(1, 2, 1);
  EXPECT_THAT(Request(1, 3, 2), IsEmpty());
  EXPECT_THAT(RequestFrame(1, 4, 1), IsEmpty());
  EXPECT_THAT(Computed(0, frame), SizeIs(2));
  EXPECT_EQ(Done(1, 1)[0].request, RequestId{3});
  EXPECT_EQ(Done(1, 2)[0].encoded.data(), frame.data());
}

TEST_F(SetServerTest, WhoGoesWhileWaitingForAFrameIsForgotten) {
  const Bytes frame = Large(1);
  RequestFrame(1, 1, 1);
  RequestFrame(1, 2, 1);
  RequestFrame(2, 3, 1);
  RequestFrame(3, 4, 1);
  EXPECT_THAT(Done(1, 1), IsEmpty());  // cancelled: its place is free
  EXPECT_THAT(RequestFrame(1, 5, 1), IsEmpty());
  server_.OnPeerDisconnected(PeerId{2});
  server_.CheckInvariants();
  const auto answers = Computed(0, frame);
  ASSERT_THAT(answers, SizeIs(3));
  EXPECT_EQ(answers[0].request, RequestId{2});
  EXPECT_EQ(answers[1].request, RequestId{4});
  EXPECT_EQ(answers[2].request, RequestId{5});
}

// The cache has lost the set, and got it again, while the worker was busy.
TEST_F(SetServerTest, AFrameIsSentAlsoWhenTheSetHasGoneMeanwhile) {
  const Bytes frame = Large(1);
  RequestFrame(1, 1, 1);
  shelf_.held.clear();
  EXPECT_FALSE(Request(2, 2, 1)[0].header.found);
  const auto answers = Computed(0, frame);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].header.encoding, SetEncoding::kZstd);
  Large(2);
  RequestFrame(1, 3, 2);
  shelf_.held.clear();
  EXPECT_EQ(Computed(1, Bytes(), kNotDone)[0].encoded.size(), 1000u);
}

}  // namespace
}  // namespace overlay::flood
