#include "flood/set_fetcher.h"

#include <algorithm>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/flood/set_fetcher_fixture.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST_F(SetFetcherTest, SenderOfTheEnvelopeIsAskedAtOnceAndTheSetIsWhole) {
  Connect({1});
  EXPECT_TRUE(fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_));
  EXPECT_THAT(Asked(), ElementsAre(1));
  Header(1, content_.size());
  Data(1, content_.Slice(0, 1234));
  Data(1, content_.Slice(1234));
  EXPECT_EQ(fetcher_.bytes_in_progress(), content_.size());
  End(1, true);
  ASSERT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(fetched_[0].bytes, content_);
  EXPECT_EQ(fetched_[0].from, PeerId{1});
  EXPECT_FALSE(fetched_[0].wanted_by_core);
  EXPECT_EQ(fetcher_.want_count(), 0u);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  EXPECT_FALSE(fetcher_.NextDeadline().has_value());
}

TEST_F(SetFetcherTest, NotFoundBrokenAndDisconnectMoveToTheNextSourceAtOnce) {
  Connect({1, 2, 3, 4});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  for (uint64_t peer : {2, 3, 4}) fetcher_.AddSource(now_, key_, PeerId{peer}, out_);
  EXPECT_THAT(Asked(), ElementsAre(1));
  NotFound(1);
  EXPECT_THAT(Asked(), ElementsAre(2));
  Header(2, content_.size());
  Data(2, content_.Slice(0, 100));
  End(2, false);
  EXPECT_THAT(Asked(), ElementsAre(3));
  fetcher_.OnPeerDisconnected(now_, PeerId{3}, out_);
  EXPECT_THAT(Asked(), ElementsAre(4));
  Serve(4, content_);
  EXPECT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(stats_.fetch_next_source, 3u);
  EXPECT_THAT(offenders_, IsEmpty());
}

TEST_F(SetFetcherTest, SilentSourceIsJoinedByTheNextExactlyAtTheTimeout) {
  Connect({1, 2});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.AddSource(now_, key_, PeerId{2}, out_);
  EXPECT_THAT(Asked(), ElementsAre(1));
  const Time timeout = now_ + limits_.set_first_byte_timeout_min;
  EXPECT_EQ(fetcher_.NextDeadline(), timeout);
  At(timeout - 1us);
  EXPECT_THAT(Asked(), IsEmpty());
  At(timeout);
  EXPECT_THAT(Asked(), ElementsAre(2));
  Serve(1, content_);  // it was only slow: it stays in the race, and wins
  ASSERT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(fetched_[0].from, PeerId{1});
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(2));
  End(2, false);
  EXPECT_EQ(fetched_.size(), 1u);
}

TEST_F(SetFetcherTest, SourceThatStopsInTheMiddleIsJoinedAfterOneSecond) {
  Connect({1, 2});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.AddSource(now_, key_, PeerId{2}, out_);
  Asked();
  Header(1, content_.size());
  At(now_ + 900ms);
  Data(1, content_.Slice(0, 10));
  const Time stopped = now_;
  At(stopped + kSetProgressTimeout - 1us);
  EXPECT_THAT(Asked(), IsEmpty());
  At(stopped + kSetProgressTimeout);
  EXPECT_THAT(Asked(), ElementsAre(2));
  At(stopped + 12s);  // the slow one's stream is wanted back
  Asked();
  EXPECT_THAT(cancelled_, testing::Contains(1));
}

TEST_F(SetFetcherTest, WrongHashConvictsItsSourceAndTheNextIsAsked) {
  Connect({1, 2});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.AddSource(now_, key_, PeerId{2}, out_);
  Asked();
  Serve(1, Content(5000, 8));
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_THAT(offenders_, ElementsAre(1));
  EXPECT_EQ(stats_.wrong_hash, 1u);
  EXPECT_TRUE(fetched_.empty());
  Serve(2, content_);
  EXPECT_EQ(fetched_.size(), 1u);
}

TEST_F(SetFetcherTest, MoreThanAnnouncedOrOverTheLimitIsCutOff) {
  Connect({1, 2, 3});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.AddSource(now_, key_, PeerId{2}, out_);
  fetcher_.AddSource(now_, key_, PeerId{3}, out_);
  Asked();
  Header(1, limits_.tx_set_bytes_max + 1);
  EXPECT_THAT(Asked(), ElementsAre(2));
  Header(2, 100);
  Data(2, content_.Slice(0, 101));
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_THAT(offenders_, ElementsAre(1, 2));
  EXPECT_THAT(cancelled_, ElementsAre(1, 2));
  Header(3, limits_.tx_set_bytes_max);
  EXPECT_THAT(Asked(), IsEmpty());
  EXPECT_EQ(offenders_.size(), 2u);

  const Bytes quorum_set = Content(10, 1);
  fetcher_.Prefetch(now_, KeyOf(quorum_set, SetKind::kQuorumSet), LedgerSeq{5}, PeerId{1}, out_);
  Asked();
  Header(1, limits_.quorum_set_bytes_max + 1);
  Asked();
  EXPECT_EQ(offenders_.size(), 3u);
}

TEST_F(SetFetcherTest, AllFailedThenOnePassAfterABackoffThatGrows) {
  Connect({1, 2});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.AddSource(now_, key_, PeerId{2}, out_);
  Duration expected = limits_.set_retry_all_min;
  for (int pass = 0; pass < 6; ++pass) {
    EXPECT_THAT(Asked(), ElementsAre(1)) << pass;
    NotFound(1);
    EXPECT_THAT(Asked(), ElementsAre(2)) << pass;
    NotFound(2);
    EXPECT_THAT(Asked(), IsEmpty());
    EXPECT_EQ(fetcher_.NextDeadline(), now_ + expected) << pass;
    At(now_ + expected);
    expected = std::min(expected * 2, limits_.set_retry_all_max);
  }
  EXPECT_EQ(expected, limits_.set_retry_all_max);
}

TEST_F(SetFetcherTest, NewSourceIsAskedAtOnceThoughAllOthersFailed) {
  Connect({1, 2});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  Asked();
  NotFound(1);
  EXPECT_THAT(Asked(), IsEmpty());  // a prefetch asks nobody that has not named it
  fetcher_.AddSource(now_, key_, PeerId{2}, out_);
  EXPECT_THAT(Asked(), ElementsAre(2));
  NotFound(2);
  fetcher_.AddSource(now_, key_, PeerId{1}, out_);  // named it once more: a source again
  EXPECT_THAT(Asked(), ElementsAre(1));
}

TEST_F(SetFetcherTest, CoresFetchAsksNamedPeersFirstThenHoldersThenEverybody) {
  Connect({1, 2, 3});
  EXPECT_TRUE(CoreFetch(key_, LedgerSeq{5}, {PeerId{2}}));
  EXPECT_THAT(Asked(), ElementsAre(2));
  fetcher_.AddSource(now_, key_, PeerId{3}, out_);
  NotFound(2);
  EXPECT_THAT(Asked(), ElementsAre(3));
  NotFound(3);
  EXPECT_THAT(Asked(), ElementsAre(1));
  NotFound(1);
  EXPECT_THAT(Asked(), ElementsAre(99));
  Serve(99, content_);
  ASSERT_EQ(fetched_.size(), 1u);
  EXPECT_TRUE(fetched_[0].wanted_by_core && fetched_[0].core_asked);
}

TEST_F(SetFetcherTest, SendersOfEnvelopesComeBeforeThoseWhoSayThatTheyHoldIt) {
  Connect({1, 2, 3, 4});
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  for (uint64_t peer : {2, 3}) fetcher_.AddSource(now_, key_, PeerId{peer}, out_);
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{4}, out_);
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{3}, out_);  // is a sender now
  EXPECT_THAT(Asked(), ElementsAre(1));
  NotFound(1);
  EXPECT_THAT(Asked(), ElementsAre(4));
  NotFound(4);
  EXPECT_THAT(Asked(), ElementsAre(3));
  NotFound(3);
  EXPECT_THAT(Asked(), ElementsAre(2));
}

TEST_F(SetFetcherTest, ThreeSourcesRaceAndLosersAreCancelled) {
  Connect({1, 2, 3, 4});
  EXPECT_TRUE(CoreFetch(key_, LedgerSeq{5}, {PeerId{1}, PeerId{2}, PeerId{3}, PeerId{4}}, 7));
  EXPECT_THAT(Asked(), ElementsAre(1, 2, 3));  // three at most
  Serve(2, content_);
  Asked();
  EXPECT_THAT(cancelled_, UnorderedElementsAre(1, 3));
  EXPECT_EQ(fetched_.size(), 1u);
}

TEST_F(SetFetcherTest, WithNoPeersTheFetchWaitsForTheFirst) {
  fetcher_.OnPeerDisconnected(now_, PeerId{99}, out_);
  EXPECT_TRUE(CoreFetch(key_));
  EXPECT_THAT(Asked(), IsEmpty());
  Connect({1});
  EXPECT_THAT(Asked(), ElementsAre(1));
}

TEST_F(SetFetcherTest, WantsDieWithTheirSlotUnlessHeldOrUnbound) {
  Connect({1});
  const SetKey expiring = KeyOf(Content(10, 1)), held = KeyOf(Content(10, 2)),
               unbound = KeyOf(Content(10, 3)), prefetch = KeyOf(Content(10, 4));
  window_.OnLedgerClosed(now_, {100}, true, {});
  EXPECT_TRUE(CoreFetch(expiring, LedgerSeq{100}));
  EXPECT_TRUE(CoreFetch(held, LedgerSeq{100}, {}, 1, true));
  EXPECT_TRUE(CoreFetch(unbound));
  EXPECT_TRUE(fetcher_.Prefetch(now_, prefetch, LedgerSeq{100}, PeerId{1}, out_));
  now_ += 100s;
  window_.OnLedgerClosed(now_, {111}, true, {});
  fetcher_.OnWindowMoved(now_, out_);
  EXPECT_EQ(fetcher_.want_count(), 4u);
  window_.OnLedgerClosed(now_ + 100s, {112}, true, {});
  fetcher_.OnWindowMoved(now_, out_);
  Asked();
  EXPECT_THAT(failures_, ElementsAre(FetchFailure::kExpired));
  EXPECT_TRUE(fetcher_.IsWanted(held) && fetcher_.IsWanted(unbound));
  EXPECT_FALSE(fetcher_.IsWanted(expiring) || fetcher_.IsWanted(prefetch));
}

TEST_F(SetFetcherTest, CancelForgetsWhatOnlyTheCoreAskedFor) {
  Connect({1});
  const SetKey other = KeyOf(Content(10, 2));
  CoreFetch(key_, LedgerSeq{5});
  fetcher_.Prefetch(now_, other, LedgerSeq{5}, PeerId{1}, out_);
  CoreFetch(other, LedgerSeq{5});
  EXPECT_TRUE(fetcher_.Cancel(now_, key_, out_));
  EXPECT_FALSE(fetcher_.IsWanted(key_));
  EXPECT_FALSE(fetcher_.Cancel(now_, key_, out_));
  EXPECT_TRUE(fetcher_.Cancel(now_, other, out_));
  EXPECT_TRUE(fetcher_.IsWanted(other));  // an envelope named it
  CoreFetch(key_, LedgerSeq{5});
  fetcher_.OnCoreDetached(now_, out_);
  EXPECT_FALSE(fetcher_.IsWanted(key_));
  EXPECT_TRUE(fetcher_.IsWanted(other));
}

TEST_F(SetFetcherTest, PrefetchBudgetsByPeerAndInAll) {
  limits_.set_prefetch_per_peer_max = 2;
  limits_.set_prefetch_total_max = 3;
  Connect({1, 2});
  std::vector<SetKey> keys;
  for (uint8_t i = 0; i < 5; ++i) keys.push_back(KeyOf(Content(10, i)));
  EXPECT_TRUE(fetcher_.Prefetch(now_, keys[0], LedgerSeq{5}, PeerId{1}, out_));
  EXPECT_TRUE(fetcher_.Prefetch(now_, keys[1], LedgerSeq{5}, PeerId{1}, out_));
  EXPECT_FALSE(fetcher_.Prefetch(now_, keys[2], LedgerSeq{5}, PeerId{1}, out_));
  EXPECT_TRUE(fetcher_.Prefetch(now_, keys[2], LedgerSeq{5}, PeerId{2}, out_));
  EXPECT_FALSE(fetcher_.Prefetch(now_, keys[3], LedgerSeq{5}, PeerId{2}, out_));
  EXPECT_TRUE(CoreFetch(keys[3]));  // the core's own has its own places
  fetcher_.CheckInvariants();
  EXPECT_FALSE(fetcher_.OnHeld(now_, keys[0], out_));
  EXPECT_TRUE(fetcher_.Prefetch(now_, keys[4], LedgerSeq{5}, PeerId{1}, out_));
}

// Nobody is left to ask, and its place is another's.
TEST_F(SetFetcherTest, APrefetchGoesWithItsLastSource) {
  limits_.set_prefetch_total_max = 2;
  Connect({1, 2, 3});
  const SetKey other = KeyOf(Content(10, 1)), third = KeyOf(Content(10, 2));
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.Prefetch(now_, other, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.Prefetch(now_, other, LedgerSeq{5}, PeerId{2}, out_);
  EXPECT_FALSE(fetcher_.Prefetch(now_, third, LedgerSeq{5}, PeerId{3}, out_));
  fetcher_.OnPeerDisconnected(now_, PeerId{1}, out_);
  EXPECT_FALSE(fetcher_.IsWanted(key_));
  EXPECT_TRUE(fetcher_.IsWanted(other));
  EXPECT_TRUE(fetcher_.Prefetch(now_, third, LedgerSeq{5}, PeerId{3}, out_));
  // The core's does not go: another peer may come that has it.
  EXPECT_TRUE(CoreFetch(key_, std::nullopt, {PeerId{2}}));
  for (const uint64_t peer : {2, 3, 99}) fetcher_.OnPeerDisconnected(now_, PeerId{peer}, out_);
  EXPECT_TRUE(fetcher_.IsWanted(key_));
  EXPECT_FALSE(fetcher_.IsWanted(other) || fetcher_.IsWanted(third));
}

TEST_F(SetFetcherTest, CoresFetchesBeyondTheirPlacesWaitForOne) {
  limits_.set_core_fetch_max = 2;
  Connect({1});
  std::map<SetKey, Bytes> contents;
  for (uint8_t i = 0; i < 3; ++i) {
    contents[KeyOf(Content(10, i))] = Content(10, i);
    EXPECT_TRUE(CoreFetch(KeyOf(Content(10, i)), std::nullopt, {PeerId{1}}));
  }
  const auto requests = Commands<RequestSet>(out_);
  ASSERT_EQ(requests.size(), 2u);
  out_.clear();
  request_of_[1] = requests[0].request;
  Serve(1, contents.at(requests[0].set.key));
  EXPECT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(Commands<RequestSet>(out_).size(), 1u);
}

TEST_F(SetFetcherTest, BytesInProgressAreBoundedAcrossAllSets) {
  limits_.set_fetch_bytes_in_progress_max = 6000;
  Connect({1, 2});
  const Bytes other = Content(5000, 9);
  fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
  fetcher_.Prefetch(now_, KeyOf(other), LedgerSeq{5}, PeerId{2}, out_);
  Asked();
  Header(1, 5000);
  Data(1, content_.Slice(0, 4000));
  Header(2, 5000);
  Data(2, other.Slice(0, 2000));
  EXPECT_EQ(fetcher_.bytes_in_progress(), 6000u);
  Data(2, other.Slice(2000, 1));
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(2));
  EXPECT_THAT(offenders_, IsEmpty());  // no fault of its own
  EXPECT_EQ(fetcher_.bytes_in_progress(), 4000u);
}

TEST_F(SetFetcherTest, ProgressIsToldAMebibyteAtATime) {
  Connect({1});
  const Bytes big = Content(3 * kMiB, 3);
  CoreFetch(KeyOf(big), std::nullopt, {PeerId{1}});
  Asked();
  Header(1, big.size());
  for (size_t at = 0; at < big.size(); at += 64 * kKiB) Data(1, big.Slice(at, 64 * kKiB));
  const auto progress = Outputs<FetchProgress>(out_);
  ASSERT_EQ(progress.size(), 3u);
  EXPECT_EQ(progress[0].received_bytes, kMiB);
  EXPECT_EQ(progress[2].total_bytes, 3 * kMiB);
}

TEST_F(SetFetcherTest, OfferedByTheCoreEndsTheWant) {
  Connect({1});
  CoreFetch(key_, std::nullopt, {PeerId{1}});
  Asked();
  EXPECT_TRUE(fetcher_.OnHeld(now_, key_, out_));
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(1));
  EXPECT_FALSE(fetcher_.OnHeld(now_, key_, out_));
}

// A want of the core whose sources are all slow asks a peer that connects at once, not in the next
// pass.
TEST_F(SetFetcherTest, APeerThatConnectsIsAskedWhenTheOthersAreSlow) {
  Connect({1});
  CoreFetch(key_, std::nullopt, {PeerId{99}, PeerId{1}});
  EXPECT_THAT(Asked(), ElementsAre(99));
  At(now_ + limits_.set_first_byte_timeout_min);
  EXPECT_THAT(Asked(), ElementsAre(1));
  At(now_ + limits_.set_first_byte_timeout_min);
  EXPECT_THAT(Asked(), IsEmpty());
  Connect({2});
  EXPECT_THAT(Asked(), ElementsAre(2));
}

// A source that comes while the want has no place is asked when there is one again.
TEST_F(SetFetcherTest, ASourceThatCameWhileThereWasNoPlaceIsAskedWhenThereIs) {
  limits_.set_core_fetch_max = 1;
  CoreFetch(key_);
  EXPECT_THAT(Asked(), ElementsAre(99));
  NotFound(99);
  EXPECT_THAT(Asked(), IsEmpty());  // waits for its next pass, and its place is free
  const SetKey other = KeyOf(Content(10, 3));
  CoreFetch(other);
  EXPECT_THAT(Asked(), ElementsAre(99));
  fetcher_.AddSource(now_, key_, PeerId{99}, out_);
  EXPECT_THAT(Asked(), IsEmpty());
  fetcher_.Cancel(now_, other, out_);
  EXPECT_THAT(Asked(), ElementsAre(99));
}

}  // namespace
}  // namespace overlay::flood
