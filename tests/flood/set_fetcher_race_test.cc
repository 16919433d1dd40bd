// SetFetcher: sources that are silent, slow or die in the middle; sets of several sources.
#include "flood/set_fetcher.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/flood/set_fetcher_fixture.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class SetRaceTest : public SetFetcherTest {
 protected:
  SetRaceTest() { Connect({1, 2, 3}); }

  // Peer 1 is asked first, then the others in this order.
  void Want(std::initializer_list<uint64_t> others = {2, 3}) {
    fetcher_.Prefetch(now_, key_, LedgerSeq{5}, PeerId{1}, out_);
    for (const uint64_t peer : others) fetcher_.AddSource(now_, key_, PeerId{peer}, out_);
    EXPECT_THAT(Asked(), ElementsAre(1));
  }
  // The next bytes of the true set from a peer.
  void Send(uint64_t peer, size_t from, size_t bytes) { Data(peer, big_.Slice(from, bytes)); }
  // A set of its own of a mebibyte comes from `peer` at this rate.
  void Measure(uint64_t peer, uint64_t kib_per_second) {
    const Bytes set = Content(kMiB, static_cast<uint8_t>(peer));
    fetcher_.Prefetch(now_, KeyOf(set), LedgerSeq{5}, PeerId{peer}, out_);
    ASSERT_THAT(Asked(), ElementsAre(peer));
    Header(peer, set.size());
    const Time end = now_ + Duration(1024s) / kib_per_second;
    for (int quarter = 0; quarter < 4; ++quarter) {
      Data(peer, set.Slice(static_cast<size_t>(quarter) * kMiB / 4, kMiB / 4));
      now_ += (end - now_) / (4 - quarter);
    }
    End(peer, true);
    ASSERT_THAT(Asked(), IsEmpty());
    fetched_.clear();
  }

  const Bytes big_ = Content(kMiB, 77);
  const SetKey key_ = KeyOf(big_);
};

// ---- silent sources

TEST_F(SetRaceTest, AFarSourceHasThreeRoundTripsForItsFirstByte) {
  fetcher_.OnPeerPath(PeerId{1}, 100ms);
  Want();
  const Time asked = now_;
  EXPECT_EQ(fetcher_.NextDeadline(), asked + 300ms);
  At(asked + 300ms - 1us);
  EXPECT_THAT(Asked(), IsEmpty());
  At(asked + 300ms);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(stats_.fetch_hedged_first_byte, 1u);
}

// The first sample of a path may come behind the first request.
TEST_F(SetRaceTest, WhatIsLearntOfThePathHoldsForWhatWaits) {
  Want();
  const Time asked = now_;
  fetcher_.OnPeerPath(PeerId{2}, 300ms);  // another one's
  EXPECT_EQ(fetcher_.NextDeadline(), asked + 150ms);
  fetcher_.OnPeerPath(PeerId{1}, 80ms);
  EXPECT_EQ(fetcher_.NextDeadline(), asked + 240ms);
  Header(1, big_.size());
  const Time pace_at = now_ + 3 * 80ms + kSetPaceWindow;
  EXPECT_EQ(fetcher_.NextDeadline(), pace_at);
  fetcher_.OnPeerPath(PeerId{1}, 90ms);  // the first byte is there
  EXPECT_EQ(fetcher_.NextDeadline(), pace_at);
}

TEST_F(SetRaceTest, JoinedSourcesAreCountedByReasonAndOnlyIfOneWasAsked) {
  Want({2});
  At(now_ + 150ms);
  EXPECT_THAT(Asked(), ElementsAre(2));
  Header(2, big_.size());
  At(now_ + 1s);
  EXPECT_THAT(Asked(), IsEmpty());  // nobody is left
  fetcher_.AddSource(now_, key_, PeerId{3}, out_);
  EXPECT_THAT(Asked(), ElementsAre(3));
  Header(3, big_.size());
  Send(3, 0, 1000);
  fetcher_.AddSource(now_, key_, PeerId{99}, out_);
  At(now_ + 1s);
  EXPECT_THAT(Asked(), ElementsAre(99));
  EXPECT_EQ(stats_.fetch_hedged_first_byte, 1u);
  EXPECT_EQ(stats_.fetch_hedged_stalled, 1u);
  EXPECT_EQ(stats_.fetch_hedged_slow, 0u);
}

// ---- slow sources

TEST_F(SetRaceTest, AnAnswerUnderHalfOfItsSourcesRateForHalfASecondIsJoined) {
  Measure(1, 400);
  Want();
  Header(1, big_.size());
  const Time header_at = now_;
  // Half of 400 KiB/s: 100 KiB in half a second are enough.
  now_ += 400ms;
  Send(1, 0, 100 * kKiB);
  At(header_at + 500ms);
  EXPECT_THAT(Asked(), IsEmpty());
  // One byte less is not.
  now_ += 400ms;
  Send(1, 100 * kKiB, 100 * kKiB - 1);
  EXPECT_EQ(fetcher_.NextDeadline(), header_at + 1s);
  At(header_at + 1s - 1us);
  EXPECT_THAT(Asked(), IsEmpty());
  At(header_at + 1s);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 0u);  // a hedge asks for the whole
  EXPECT_EQ(stats_.fetch_hedged_slow, 1u);
  EXPECT_THAT(cancelled_, IsEmpty());
  // The first complete one wins.
  const size_t had = 200 * kKiB - 1;
  Send(1, had, kMiB - had);
  End(1, true);
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(2));
  ASSERT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(fetched_[0].from, PeerId{1});
}

TEST_F(SetRaceTest, WhereItsOwnRateIsUnknownTheFastestUntriedSourceSaysWhatIsSlow) {
  Measure(3, 1000);
  Want();
  Header(1, big_.size());
  Send(1, 0, 200 * kKiB);
  At(now_ + 500ms);
  EXPECT_THAT(Asked(), ElementsAre(3));  // it is asked before the unknown one
  EXPECT_EQ(stats_.fetch_hedged_slow, 1u);
}

TEST_F(SetRaceTest, WhereNothingIsKnownOnlySilenceIsSlow) {
  Want();
  Header(1, big_.size());
  for (int i = 0; i < 20; ++i) {
    At(now_ + 990ms);
    Send(1, static_cast<size_t>(i), 1);
  }
  EXPECT_THAT(Asked(), IsEmpty());
}

// A path finds its speed in some round trips.
TEST_F(SetRaceTest, TheFirstHalfSecondBeginsThreeRoundTripsLate) {
  Measure(1, 1000);
  fetcher_.OnPeerPath(PeerId{1}, 50ms);
  Want();
  Header(1, big_.size());
  At(now_ + 650ms - 1us);
  EXPECT_THAT(Asked(), IsEmpty());
  At(now_ + 1us);
  EXPECT_THAT(Asked(), ElementsAre(2));
}

TEST_F(SetRaceTest, AnAnswerThatIsAllHereIsNotSlow) {
  Measure(1, 1000);
  Want();
  Header(1, big_.size());
  Send(1, 0, kMiB);
  EXPECT_EQ(fetcher_.NextDeadline(), now_ + kSetProgressTimeout);
  At(now_ + 999ms);
  EXPECT_THAT(Asked(), IsEmpty());
}

// Interrupted answers tell a rate too: the losers of a race.
TEST_F(SetRaceTest, LosersAreMeasured) {
  Want({2});
  At(now_ + 150ms);
  EXPECT_THAT(Asked(), ElementsAre(2));
  Header(1, big_.size());
  Send(1, 0, 100 * kKiB);
  now_ += 100ms;
  Serve(2, big_);
  Asked();
  EXPECT_EQ(stats_.duplicate_bytes, 100 * kKiB);
  // Peer 1 is known to do 1,000 KiB/s: that is what peer 3 is measured by, once it is asked.
  const Bytes other = Content(kMiB, 5);
  fetcher_.Prefetch(now_, KeyOf(other), LedgerSeq{5}, PeerId{3}, out_);
  fetcher_.AddSource(now_, KeyOf(other), PeerId{1}, out_);
  EXPECT_THAT(Asked(), ElementsAre(3));
  Header(3, other.size());
  Data(3, other.Slice(0, 250 * kKiB - 1));
  At(now_ + 500ms);
  EXPECT_THAT(Asked(), ElementsAre(1));
}

// ---- sources that die

TEST_F(SetRaceTest, TheNextSourceContinuesWhereTheDeadOneEnded) {
  Want();
  Header(1, big_.size());
  Send(1, 0, 300 * kKiB);
  fetcher_.OnPeerDisconnected(now_, PeerId{1}, out_);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 300 * kKiB);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 300 * kKiB);
  Header(2, big_.size());
  Send(2, 300 * kKiB, 200 * kKiB);
  End(2, false);  // its stream breaks
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 500 * kKiB);
  Serve(3, big_);
  ASSERT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(fetched_[0].bytes, big_);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  EXPECT_EQ(stats_.fetch_resumed, 2u);
  EXPECT_EQ(stats_.duplicate_bytes, 0u);
}

TEST_F(SetRaceTest, ASourceWithoutTheRestLeavesWhatIsKept) {
  Want();
  Header(1, big_.size());
  Send(1, 0, 300 * kKiB);
  End(1, false);
  EXPECT_THAT(Asked(), ElementsAre(2));
  NotFound(2);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 300 * kKiB);
  Serve(3, big_);
  EXPECT_EQ(fetched_.size(), 1u);
}

TEST_F(SetRaceTest, WhatIsCancelledAsTooSlowIsContinuedToo) {
  Want({2});
  Header(1, big_.size());
  Send(1, 0, 300 * kKiB);
  At(now_ + 1s);  // stalled: joined
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 0u);
  for (int i = 0; i < 10; ++i) {
    Header(2, big_.size());
    At(now_ + 990ms);
  }
  At(now_ + 100ms);
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(1));
  EXPECT_EQ(fetcher_.bytes_in_progress(), 300 * kKiB);
  NotFound(2);
  fetcher_.AddSource(now_, key_, PeerId{3}, out_);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 300 * kKiB);
}

TEST_F(SetRaceTest, OnlyTheLongestIsKept) {
  Want();
  Header(1, big_.size());
  Send(1, 0, 300 * kKiB);
  At(now_ + 1s);
  EXPECT_THAT(Asked(), ElementsAre(2));
  Header(2, big_.size());
  Send(2, 0, 200 * kKiB);
  End(1, false);
  EXPECT_THAT(Asked(), IsEmpty());  // peer 2 goes on
  EXPECT_EQ(fetcher_.bytes_in_progress(), 500 * kKiB);
  End(2, false);  // the shorter one is dropped
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 300 * kKiB);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 300 * kKiB);
}

TEST_F(SetRaceTest, TooLittleIsNotKept) {
  Want();
  Header(1, big_.size());
  Send(1, 0, limits_.set_resume_bytes_min - 1);
  End(1, false);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 0u);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  Header(2, big_.size());
  Send(2, 0, limits_.set_resume_bytes_min);
  End(2, false);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], limits_.set_resume_bytes_min);
}

// There is nothing behind the end to ask for.
TEST_F(SetRaceTest, AllOfItWithoutAnEndIsNotKept) {
  Want();
  Header(1, big_.size());
  Send(1, 0, kMiB);
  End(1, false);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 0u);
}

TEST_F(SetRaceTest, WhatIsKeptGoesWithItsWant) {
  Want({});
  Header(1, big_.size());
  Send(1, 0, 300 * kKiB);
  End(1, false);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 300 * kKiB);
  EXPECT_FALSE(fetcher_.OnHeld(now_, key_, out_));
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
}

// ---- sets of several sources

TEST_F(SetRaceTest, AMixedSetWithTheWrongHashConvictsNobodyAndIsFetchedWhole) {
  CoreFetch(key_, LedgerSeq{5}, {PeerId{1}, PeerId{2}}, 3);
  EXPECT_THAT(Asked(), ElementsAre(1, 2));
  for (const uint64_t peer : {2, 1}) {
    Header(peer, big_.size());
    Data(peer, Content(peer * 100 * kKiB, 66));  // not of this set
  }
  fetcher_.OnPeerDisconnected(now_, PeerId{2}, out_);
  fetcher_.OnPeerDisconnected(now_, PeerId{1}, out_);
  EXPECT_THAT(Asked(), ElementsAre(3, 99));
  EXPECT_EQ(offset_of_[3], 200 * kKiB);
  EXPECT_EQ(offset_of_[99], 0u);
  Serve(3, big_);
  EXPECT_TRUE(fetched_.empty());
  EXPECT_EQ(stats_.wrong_mixed, 1u);
  EXPECT_EQ(stats_.wrong_hash, 0u);
  // One at a time from now on, and nothing is kept.
  EXPECT_THAT(Asked(), IsEmpty());
  NotFound(99);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 0u);
  Header(3, big_.size());
  Send(3, 0, 300 * kKiB);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 300 * kKiB);
  End(3, false);
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  EXPECT_THAT(Asked(), IsEmpty());
  At(now_ + limits_.set_retry_all_min);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 0u);
  Serve(3, big_);
  EXPECT_EQ(fetched_.size(), 1u);
  EXPECT_THAT(offenders_, IsEmpty());
}

TEST_F(SetRaceTest, AWholeSetWithTheWrongHashStillConvictsBesideAMixedOne) {
  Want({2});
  Header(1, big_.size());
  Data(1, Content(100 * kKiB, 66));
  End(1, false);
  EXPECT_THAT(Asked(), ElementsAre(2));
  Serve(2, big_);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_THAT(offenders_, IsEmpty());
  Serve(2, Content(kMiB, 67));  // the lie is its own now
  Asked();
  EXPECT_THAT(offenders_, ElementsAre(2));
}

TEST_F(SetRaceTest, SourcesThatDoNotAgreeOnTheLengthConvictNobody) {
  Want();
  Header(1, 2 * big_.size());
  Data(1, Content(100 * kKiB, 66));
  End(1, false);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 100 * kKiB);
  Header(2, big_.size());
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 0u);
  EXPECT_THAT(cancelled_, ElementsAre(2));
  EXPECT_THAT(offenders_, IsEmpty());
  EXPECT_EQ(fetcher_.bytes_in_progress(), 0u);
  Serve(2, big_);
  EXPECT_EQ(fetched_.size(), 1u);
}

// Who sent more than there is, and died, would else make every honest source say not-found.
TEST_F(SetRaceTest, NotFoundForARangeIsAskedAgainForTheWholeAtOnce) {
  Want();
  Header(1, 4 * big_.size());
  Data(1, Content(2 * kMiB, 66));
  End(1, false);
  EXPECT_THAT(Asked(), ElementsAre(2));
  NotFound(2);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 2 * kMiB);
  NotFound(3);
  EXPECT_THAT(Asked(), ElementsAre(2));
  EXPECT_EQ(offset_of_[2], 0u);
  NotFound(2);
  EXPECT_THAT(Asked(), ElementsAre(3));
  Serve(3, big_);
  EXPECT_EQ(fetched_.size(), 1u);
}

TEST_F(SetRaceTest, ARangeThatBreaksItsOwnHeaderIsAnOffence) {
  Want();
  Header(1, big_.size());
  Send(1, 0, 300 * kKiB);
  End(1, false);
  EXPECT_THAT(Asked(), ElementsAre(2));
  fetcher_.OnHeader(now_, {PeerId{2}, request_of_[2], {true, SetEncoding::kIdentity, kMiB, kMiB}},
                    out_);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_THAT(offenders_, ElementsAre(2));
  EXPECT_EQ(offset_of_[3], 300 * kKiB);
  Header(3, big_.size());
  Data(3, Content(kMiB, 1));  // more than the rest
  Asked();
  EXPECT_THAT(offenders_, ElementsAre(2, 3));
}

// ---- the bound of all sets in progress

TEST_F(SetRaceTest, WhatIsOnlyKeptGoesBeforeARequestIsBroken) {
  limits_.set_fetch_bytes_in_progress_max = 500 * kKiB;
  Want({});
  Header(1, big_.size());
  Send(1, 0, 300 * kKiB);
  End(1, false);
  const Bytes other = Content(kMiB, 5);
  fetcher_.Prefetch(now_, KeyOf(other), LedgerSeq{5}, PeerId{2}, out_);
  Asked();
  Header(2, other.size());
  Data(2, other.Slice(0, 200 * kKiB));
  EXPECT_EQ(fetcher_.bytes_in_progress(), 500 * kKiB);
  Data(2, other.Slice(200 * kKiB, 1));
  EXPECT_EQ(fetcher_.bytes_in_progress(), 200 * kKiB + 1);
  EXPECT_THAT(cancelled_, IsEmpty());
  EXPECT_TRUE(fetcher_.IsWanted(key_));
  fetcher_.AddSource(now_, key_, PeerId{3}, out_);
  EXPECT_THAT(Asked(), ElementsAre(3));
  EXPECT_EQ(offset_of_[3], 0u);
}

TEST_F(SetRaceTest, TheCoresSetsDisplaceThePrefetchThatHoldsMost) {
  limits_.set_fetch_bytes_in_progress_max = 600 * kKiB;
  const std::vector<Bytes> sets = {Content(kMiB, 1), Content(kMiB, 2), Content(kMiB, 3)};
  const std::vector<size_t> held = {200 * kKiB, 300 * kKiB};
  for (uint64_t peer : {1, 2}) {
    fetcher_.Prefetch(now_, KeyOf(sets[peer - 1]), LedgerSeq{5}, PeerId{peer}, out_);
    Asked();
    Header(peer, kMiB);
    Data(peer, sets[peer - 1].Slice(0, held[peer - 1]));
  }
  CoreFetch(KeyOf(sets[2]), LedgerSeq{5}, {PeerId{3}});
  Asked();
  Header(3, kMiB);
  Data(3, sets[2].Slice(0, 100 * kKiB));
  EXPECT_THAT(cancelled_, IsEmpty());
  Data(3, sets[2].Slice(100 * kKiB, 1));
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(2));
  EXPECT_TRUE(fetcher_.IsWanted(KeyOf(sets[0])));
  EXPECT_FALSE(fetcher_.IsWanted(KeyOf(sets[1])));
  EXPECT_EQ(stats_.prefetch_displaced, 1u);
  // A prefetch displaces nothing: its own chunk is refused.
  Data(1, sets[0].Slice(200 * kKiB, 300 * kKiB));
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(2, 1));
  EXPECT_THAT(offenders_, IsEmpty());
  EXPECT_EQ(fetcher_.bytes_in_progress(), 100 * kKiB + 1);
}

// Two sets of the core share the bound: the one that comes over it is broken.
TEST_F(SetRaceTest, TheCoresSetsDoNotDisplaceEachOther) {
  limits_.set_fetch_bytes_in_progress_max = 600 * kKiB;
  const std::vector<Bytes> sets = {Content(kMiB, 1), Content(kMiB, 2)};
  for (uint64_t peer : {1, 2}) {
    CoreFetch(KeyOf(sets[peer - 1]), LedgerSeq{5}, {PeerId{peer}});
    Asked();
    Header(peer, kMiB);
    Data(peer, sets[peer - 1].Slice(0, 300 * kKiB));
  }
  Data(1, sets[0].Slice(300 * kKiB, 1));
  Asked();
  EXPECT_THAT(cancelled_, ElementsAre(1));
  EXPECT_EQ(fetcher_.bytes_in_progress(), 300 * kKiB);
}

}  // namespace
}  // namespace overlay::flood
