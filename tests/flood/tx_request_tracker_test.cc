#include "flood/tx_request_tracker.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Kind = TxRequestTracker::AnswerKind;

TxHash Hash(size_t number) {
  TxHash hash;
  hash.bytes[0] = static_cast<uint8_t>(number);
  hash.bytes[1] = static_cast<uint8_t>(number >> 8);
  return hash;
}

// Three peers that announce by hand; each step ends with a check of every count.
class TxRequestTrackerTest : public testing::Test {
 protected:
  TxRequestTracker& tracker() {
    if (!tracker_) {
      tracker_ = std::make_unique<TxRequestTracker>(limits);
      for (uint64_t peer = 1; peer <= 3; ++peer) tracker_->AddPeer(PeerId{peer}, preferred == peer);
    }
    return *tracker_;
  }
  void Announce(uint64_t peer, const std::vector<size_t>& numbers, uint32_t size_bytes = 100) {
    std::vector<InvEntry> entries;
    for (const size_t number : numbers) {
      entries.push_back({Hash(number), 100, Lane::kClassic, size_bytes});
    }
    tracker().OnAnnouncements(PeerId{peer}, entries);
    tracker().CheckInvariants();
  }
  static std::vector<size_t> UpTo(size_t count) {
    std::vector<size_t> numbers(count);
    for (size_t i = 0; i < count; ++i) numbers[i] = i + 1;
    return numbers;
  }
  std::vector<TxRequestTracker::Demand> Demands(size_t count = 20'000, size_t bytes = 100 * kMiB) {
    std::vector<TxRequestTracker::Demand> demands;
    tracker().NextDemands(now, {count, bytes}, demands);
    tracker().CheckInvariants();
    return demands;
  }
  // Demands `number` of exactly `peer` and of nobody else, and nothing besides.
  RequestId ExpectOne(uint64_t peer, size_t number) {
    const auto demands = Demands();
    EXPECT_THAT(demands, SizeIs(1));
    if (demands.size() != 1) return {};
    EXPECT_EQ(demands[0].peer.value, peer);
    EXPECT_THAT(demands[0].hashes, ElementsAre(Hash(number)));
    return demands[0].request;
  }
  Kind Answer(uint64_t peer, RequestId request, size_t number, BodyOutcome outcome) {
    const Kind kind =
        tracker().OnAnswer(now, PeerId{peer}, request, {Hash(number), outcome, {}}).kind;
    if (outcome == BodyOutcome::kBody && kind != Kind::kUnsolicited) {
      tracker().Forget(Hash(number));
    }
    tracker().CheckInvariants();
    return kind;
  }
  void End(uint64_t peer, RequestId request) {
    tracker().OnRequestEnded(PeerId{peer}, request);
    tracker().CheckInvariants();
  }
  std::vector<RequestId> Silent() {
    std::vector<TxRequestTracker::Silent> silent;
    tracker().OnDeadline(now, silent);
    tracker().CheckInvariants();
    std::vector<RequestId> requests;
    for (const auto& one : silent) requests.push_back(one.request);
    return requests;
  }
  void Take(uint64_t peer, size_t unwanted = 0) {
    tracker().TakeWaiting(PeerId{peer},
                          [&](const InvEntry& entry) { return entry.hash != Hash(unwanted); });
    tracker().CheckInvariants();
  }

  Limits limits;
  uint64_t preferred = 0;
  Time now{};

 private:
  std::unique_ptr<TxRequestTracker> tracker_;
};

// R1: three announcers, one demand; another one only when the first is answered.
TEST_F(TxRequestTrackerTest, AsksOnePeerAtATime) {
  for (const uint64_t peer : {1, 2}) Announce(peer, {7});
  ExpectOne(1, 7);
  EXPECT_THAT(Demands(), IsEmpty());
  for (const uint64_t peer : {2, 3}) Announce(peer, {7});
  EXPECT_THAT(Demands(), IsEmpty());
  EXPECT_EQ(tracker().announcement_count(), 3u);
}

// R2: in the order of announcing, the preferred one first though it came last.
TEST_F(TxRequestTrackerTest, AsksPreferredFirstThenInOrder) {
  preferred = 3;
  for (const uint64_t peer : {2, 1, 3}) Announce(peer, {7});
  for (const uint64_t peer : {3, 2, 1}) {
    Answer(peer, ExpectOne(peer, 7), 7, BodyOutcome::kNotFound);
  }
  EXPECT_FALSE(tracker().IsTracked(Hash(7)));
}

// R3: each way to fail moves on to the next announcer at once.
TEST_F(TxRequestTrackerTest, MovesOnWhenTheStreamEnds) {
  for (const uint64_t peer : {1, 2}) Announce(peer, {7});
  End(1, ExpectOne(1, 7));
  ExpectOne(2, 7);
}

TEST_F(TxRequestTrackerTest, MovesOnWhenThePeerGoes) {
  for (const uint64_t peer : {1, 2}) Announce(peer, {7});
  ExpectOne(1, 7);
  tracker().RemovePeer(PeerId{1});
  tracker().CheckInvariants();
  ExpectOne(2, 7);
}

TEST_F(TxRequestTrackerTest, MovesOnWhenTheBodyIsNoGood) {
  for (const uint64_t peer : {1, 2}) Announce(peer, {7});
  const RequestId request = ExpectOne(1, 7);
  const BodyAnswer answer{Hash(7), BodyOutcome::kBody, {}};
  const auto got = tracker().OnAnswer(now, PeerId{1}, request, answer);
  EXPECT_EQ(got.kind, Kind::kAwaited);
  EXPECT_EQ(got.size_announced, 100u);
  tracker().Fail(PeerId{1}, Hash(7));
  ExpectOne(2, 7);
}

// R3: the time-out counts from the last byte of that request's stream, to the nanosecond.
TEST_F(TxRequestTrackerTest, MovesOnAfterSilence) {
  for (const uint64_t peer : {1, 2}) Announce(peer, {7, 8});
  const RequestId request = Demands().at(0).request;
  now += limits.demand_timeout / 2;
  Answer(1, request, 7, BodyOutcome::kBody);
  EXPECT_EQ(tracker().NextDeadline(), now + limits.demand_timeout);
  now += limits.demand_timeout - 1ns;
  EXPECT_THAT(Silent(), IsEmpty());
  now += 1ns;
  EXPECT_THAT(Silent(), ElementsAre(request));
  EXPECT_EQ(tracker().counts().timeouts, 1u);
  ExpectOne(2, 8);
  // What comes all the same is reported, and is no second answer.
  EXPECT_EQ(Answer(1, request, 8, BodyOutcome::kBody), Kind::kLate);
  EXPECT_EQ(Answer(1, request, 8, BodyOutcome::kBody), Kind::kUnsolicited);
}

// R4: who failed is not asked again, however often it announces; with nobody left all is forgotten,
// and then an announcement is new.
TEST_F(TxRequestTrackerTest, NeverAsksTheSamePeerTwice) {
  for (const uint64_t peer : {1, 2}) Announce(peer, {7});
  Answer(1, ExpectOne(1, 7), 7, BodyOutcome::kNotFound);
  Announce(1, {7});
  const RequestId second = ExpectOne(2, 7);
  Announce(1, {7});
  Answer(2, second, 7, BodyOutcome::kNotFound);
  EXPECT_FALSE(tracker().IsTracked(Hash(7)));
  EXPECT_THAT(Demands(), IsEmpty());
  Announce(1, {7});
  ExpectOne(1, 7);
}

// R5: `later` behind a body asks the same peer again, without one it is not-found.
TEST_F(TxRequestTrackerTest, LaterAsksAgainOnlyBehindABody) {
  Announce(1, {7, 8});
  const RequestId first = Demands().at(0).request;
  Answer(1, first, 7, BodyOutcome::kBody);
  Answer(1, first, 8, BodyOutcome::kLater);
  const RequestId second = ExpectOne(1, 8);
  Answer(1, second, 8, BodyOutcome::kLater);
  EXPECT_FALSE(tracker().IsTracked(Hash(8)));
  EXPECT_EQ(tracker().counts().not_found, 1u);
}

// R6: counted from the first demand; what was never asked stays as long as its announcers.
TEST_F(TxRequestTrackerTest, GivesUpSomeTimeAfterTheFirstDemand) {
  limits.demand_timeout = 20s;
  for (const uint64_t peer : {1, 2, 3}) Announce(peer, {7});
  now += 1h;
  EXPECT_THAT(Silent(), IsEmpty());
  ExpectOne(1, 7);
  const Time asked = now;
  now += 20s;
  EXPECT_THAT(Silent(), SizeIs(1));
  ExpectOne(2, 7);
  EXPECT_EQ(tracker().NextDeadline(), asked + limits.demand_give_up);
  now = asked + limits.demand_give_up - 1ns;
  Silent();
  EXPECT_TRUE(tracker().IsTracked(Hash(7)));
  now += 1ns;
  Silent();
  EXPECT_FALSE(tracker().IsTracked(Hash(7)));
  EXPECT_EQ(tracker().counts().given_up, 1u);
}

// R7: the frame that reaches the cap is kept whole, the peer paused, other peers not; what waits is
// taken when a fifth is free, and asked about again.
TEST_F(TxRequestTrackerTest, PausesAPeerAtItsCapAndLosesNothing) {
  limits.announcements_per_peer_max = 10;
  Announce(1, UpTo(9));
  EXPECT_FALSE(tracker().IsPaused(PeerId{1}));
  Announce(1, {10, 11, 12});
  EXPECT_TRUE(tracker().IsPaused(PeerId{1}));
  EXPECT_FALSE(tracker().IsPaused(PeerId{2}));
  EXPECT_EQ(tracker().announcement_count(), 10u);
  tracker().Forget(Hash(1));
  Take(1);
  EXPECT_FALSE(tracker().IsTracked(Hash(11)));
  tracker().Forget(Hash(2));
  Take(1, /*unwanted=*/11);
  EXPECT_FALSE(tracker().IsTracked(Hash(11)));
  EXPECT_TRUE(tracker().IsTracked(Hash(12)));
  EXPECT_FALSE(tracker().IsPaused(PeerId{1}));
}

// R7: a turn reads as much as a stream's window holds before the pause takes effect.
TEST_F(TxRequestTrackerTest, FramesThatWereReadBeforeThePauseWaitToo) {
  limits.announcements_per_peer_max = 10;
  Announce(1, UpTo(10));
  EXPECT_TRUE(tracker().IsPaused(PeerId{1}));
  const size_t last = 10 + kInvWaitingMax;
  for (size_t number = 11; number <= last; ++number) Announce(1, {number});
  for (size_t number = 1; number <= last; ++number) {
    ASSERT_TRUE(tracker().IsTracked(Hash(number))) << number;
    tracker().Forget(Hash(number));
    Take(1);
  }
  EXPECT_FALSE(tracker().IsPaused(PeerId{1}));
  EXPECT_EQ(tracker().announcement_count(), 0u);
}

// R8: count, bytes and requests of a peer at the limit; the next announcer is asked then, and with
// none the first that has room again.
TEST_F(TxRequestTrackerTest, PassesOverAPeerAtItsLimitOfHashes) {
  limits.demands_per_peer_count_max = 2;
  Announce(1, {1, 2, 3});
  Announce(2, {3});
  auto demands = Demands();
  ASSERT_THAT(demands, SizeIs(2));
  EXPECT_THAT(demands[0].hashes, ElementsAre(Hash(1), Hash(2)));
  EXPECT_EQ(demands[1].peer.value, 2u);
  Announce(1, {4});
  EXPECT_THAT(Demands(), IsEmpty());
  Answer(1, demands[0].request, 1, BodyOutcome::kBody);
  ExpectOne(1, 4);
}

TEST_F(TxRequestTrackerTest, PassesOverAPeerAtItsLimitOfBytes) {
  limits.demands_per_peer_bytes_max = 1000;
  Announce(1, {1}, 5000);  // one transaction at least
  Announce(1, {2}, 1);
  const RequestId large = ExpectOne(1, 1);
  Answer(1, large, 1, BodyOutcome::kBody);
  ExpectOne(1, 2);
  Announce(1, {3}, 999);
  Announce(1, {4}, 1);
  ExpectOne(1, 3);
  EXPECT_EQ(tracker().in_flight_bytes(), 1000u);
}

TEST_F(TxRequestTrackerTest, PassesOverAPeerAtItsLimitOfRequests) {
  limits.demand_requests_per_peer_max = 1;
  Announce(1, {1});
  const RequestId first = ExpectOne(1, 1);
  Announce(1, {2});
  Answer(1, first, 1, BodyOutcome::kBody);
  EXPECT_THAT(Demands(), IsEmpty());  // its stream is still open
  End(1, first);
  ExpectOne(1, 2);
}

// R8: what the caller allows in all is kept to, and holds back what is behind, or a large one would
// starve; also when the large one waited for its announcer before.
TEST_F(TxRequestTrackerTest, KeepsToTheAllowance) {
  Announce(1, {1, 2});
  EXPECT_THAT(Demands(0), IsEmpty());
  EXPECT_THAT(Demands(20'000, 99), IsEmpty());
  const auto demands = Demands(1);
  ASSERT_THAT(demands, SizeIs(1));
  EXPECT_THAT(demands[0].hashes, ElementsAre(Hash(1)));
}

TEST_F(TxRequestTrackerTest, ASmallOneDoesNotOvertakeWhatTheAllowanceHoldsBack) {
  limits.demands_per_peer_count_max = 1;
  Announce(1, {1});
  const RequestId first = ExpectOne(1, 1);
  Announce(1, {2}, 50'000);
  EXPECT_THAT(Demands(), IsEmpty());  // 2 waits for room at its announcer
  Answer(1, first, 1, BodyOutcome::kBody);
  Announce(2, {3}, 10);
  EXPECT_THAT(Demands(20'000, 1000), IsEmpty());
  EXPECT_THAT(Demands(), SizeIs(2));
}

// R9: a demand names at most 1,000 hashes and 64 KiB; one larger transaction goes alone.
TEST_F(TxRequestTrackerTest, SplitsDemandsByCountAndBytes) {
  Announce(1, UpTo(1001), 10);
  Announce(2, {2001, 2002}, kBodiesAnswerBytesMax / 2);
  Announce(2, {2003}, 1);
  Announce(2, {2004}, 2 * kBodiesAnswerBytesMax);
  const auto demands = Demands();
  ASSERT_THAT(demands, SizeIs(5));
  EXPECT_THAT(demands[0].hashes, SizeIs(1000));
  EXPECT_THAT(demands[1].hashes, ElementsAre(Hash(1001)));
  EXPECT_THAT(demands[2].hashes, ElementsAre(Hash(2001), Hash(2002)));
  EXPECT_THAT(demands[3].hashes, ElementsAre(Hash(2003)));
  EXPECT_THAT(demands[4].hashes, ElementsAre(Hash(2004)));
}

// R9: an answer out of order, of another peer or to no request is unsolicited and changes nothing.
TEST_F(TxRequestTrackerTest, AnswersMustComeInOrderFromThePeerAsked) {
  Announce(1, {7, 8});
  const RequestId request = Demands().at(0).request;
  EXPECT_EQ(Answer(1, request, 8, BodyOutcome::kBody), Kind::kUnsolicited);
  EXPECT_EQ(Answer(1, RequestId{request.value + 1}, 7, BodyOutcome::kNotFound), Kind::kUnsolicited);
  EXPECT_EQ(Answer(2, request, 7, BodyOutcome::kNotFound), Kind::kUnsolicited);
  EXPECT_EQ(Answer(1, request, 7, BodyOutcome::kBody), Kind::kAwaited);
  EXPECT_EQ(tracker().in_flight_count(), 1u);
}

TEST_F(TxRequestTrackerTest, ForgettingNamesTheAnnouncers) {
  preferred = 2;
  for (const uint64_t peer : {1, 2}) Announce(peer, {7});
  std::vector<PeerId> announcers;
  tracker().Forget(Hash(7), &announcers);
  EXPECT_THAT(announcers, ElementsAre(PeerId{2}, PeerId{1}));
  EXPECT_EQ(tracker().announcement_count(), 0u);
}

}  // namespace
}  // namespace overlay::flood
