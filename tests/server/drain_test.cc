#include "server/drain.h"

#include <gtest/gtest.h>

#include <vector>

namespace overlay::server {
namespace {

using std::chrono::milliseconds;

constexpr Time kStart = Time(std::chrono::seconds(100));
constexpr Duration kMoment = std::chrono::microseconds(1);
constexpr DrainFacts kNothing{};
constexpr DrainFacts kEverything{.envelopes_flushed = true,
                                 .answers_finished = true,
                                 .last_words_said = true,
                                 .calls_over = true};
// All but what one step waits for.
constexpr DrainFacts Without(bool DrainFacts::*fact) {
  DrainFacts facts = kEverything;
  facts.*fact = false;
  return facts;
}

// Goes to `step` by waiting each step's time out; when it began.
Time WaitFor(Drain& drain, DrainStep step, const DrainFacts& facts = kNothing) {
  Time now = kStart;
  drain.Begin(now);
  while (drain.step() != step) {
    now = std::max(now, *drain.NextDeadline(now));
    while (drain.Advance(now, facts)) {
      if (drain.step() == step) return now;
    }
  }
  return now;
}

// Nothing happens a moment before `after` and `next` begins then, whatever else is true.
void ExpectCap(DrainStep step, Duration after, DrainStep next, const DrainFacts& facts = kNothing) {
  Drain drain;
  const Time began = WaitFor(drain, step);
  EXPECT_EQ(drain.Advance(began + after - kMoment, facts), std::nullopt);
  EXPECT_EQ(*drain.NextDeadline(began + after - kMoment), began + after);
  EXPECT_EQ(drain.Advance(began + after, facts), next);
}

TEST(Drain, DoesNothingUntilItBegins) {
  Drain drain;
  EXPECT_FALSE(drain.has_begun());
  EXPECT_EQ(drain.Advance(kStart, kEverything), std::nullopt);
  EXPECT_EQ(drain.NextDeadline(kStart), std::nullopt);
  EXPECT_EQ(drain.left(kStart), kDrainMax);
}

TEST(Drain, BeginsOnce) {
  Drain drain;
  EXPECT_TRUE(drain.Begin(kStart));
  EXPECT_FALSE(drain.Begin(kStart + milliseconds(100)));
  EXPECT_EQ(drain.left(kStart + milliseconds(100)), kDrainMax - milliseconds(100));
  EXPECT_EQ(drain.left(kStart + std::chrono::seconds(9)), Duration::zero());
}

TEST(Drain, AStepThatIsDoneGivesWayAtOnce) {
  Drain drain;
  drain.Begin(kStart);
  EXPECT_EQ(drain.Advance(kStart, kNothing), std::nullopt);
  EXPECT_EQ(drain.Advance(kStart, {.envelopes_flushed = true}), DrainStep::kAnswer);
  EXPECT_EQ(drain.Advance(kStart + kReadAtLeast, kNothing), std::nullopt);
  EXPECT_EQ(drain.Advance(kStart + kReadAtLeast, {.answers_finished = true}), DrainStep::kTell);
  const Time closed = kStart + kReadAtLeast + kTellFor;
  EXPECT_EQ(drain.Advance(closed, kNothing), DrainStep::kClose);
  EXPECT_EQ(drain.Advance(closed + kLastWordsFor, kNothing), std::nullopt);
  EXPECT_EQ(drain.Advance(closed + kLastWordsFor, {.last_words_said = true}), DrainStep::kEndCalls);
  EXPECT_EQ(drain.Advance(closed + kLastWordsFor, {.calls_over = true}), DrainStep::kOver);
  EXPECT_EQ(drain.Advance(closed + std::chrono::hours(1), kEverything), std::nullopt);
  EXPECT_EQ(drain.NextDeadline(closed), std::nullopt);
}

TEST(Drain, FlushesForItsTimeAndNoLonger) {
  ExpectCap(DrainStep::kFlush, kFlushMax, DrainStep::kAnswer,
            Without(&DrainFacts::envelopes_flushed));
}
TEST(Drain, AnswersForItsTimeAndNoLonger) {
  ExpectCap(DrainStep::kAnswer, kAnswerMax, DrainStep::kTell,
            Without(&DrainFacts::answers_finished));
}
TEST(Drain, TellsForItsTimeWhateverElseIsDone) {
  ExpectCap(DrainStep::kTell, kTellFor, DrainStep::kClose, kEverything);
}
TEST(Drain, LastWordsAreSaidForTheirTimeAndNoLonger) {
  ExpectCap(DrainStep::kClose, kLastWordsMax, DrainStep::kEndCalls,
            Without(&DrainFacts::last_words_said));
}
// R3: gRPC has taken them at once, the core has not read them.
TEST(Drain, LastWordsHaveAWhileThoughTheyAreSaid) {
  Drain drain;
  const Time began = WaitFor(drain, DrainStep::kClose);
  EXPECT_EQ(drain.Advance(began + kLastWordsFor - kMoment, kEverything), std::nullopt);
  EXPECT_EQ(drain.Advance(began + kLastWordsFor, kEverything), DrainStep::kEndCalls);
}
TEST(Drain, CallsEndWithinTheirTime) {
  ExpectCap(DrainStep::kEndCalls, kEndCallsMax, DrainStep::kOver, Without(&DrainFacts::calls_over));
}

// R2: with everything done at once peers are still read.
TEST(Drain, ReadsForAWhileBeforeItCloses) {
  Drain drain;
  drain.Begin(kStart);
  EXPECT_EQ(drain.Advance(kStart, kEverything), DrainStep::kAnswer);
  EXPECT_EQ(drain.Advance(kStart + kReadAtLeast - kMoment, kEverything), std::nullopt);
  EXPECT_EQ(drain.Advance(kStart + kReadAtLeast, kEverything), DrainStep::kTell);
}

// R1: an early end of one step makes no later one longer.
TEST(Drain, NoStepUsesAnEarlierOnesTime) {
  Drain drain;
  drain.Begin(kStart);
  EXPECT_EQ(drain.Advance(kStart + kMoment, {.envelopes_flushed = true}), DrainStep::kAnswer);
  EXPECT_EQ(drain.Advance(kStart + kMoment + kAnswerMax - kMoment, kNothing), std::nullopt);
  EXPECT_EQ(drain.Advance(kStart + kMoment + kAnswerMax, kNothing), DrainStep::kTell);
}

TEST(Drain, TakesNoMoreThanItSaysHoweverSlowAllIs) {
  Drain drain;
  const Time over = WaitFor(drain, DrainStep::kOver);
  EXPECT_EQ(over - kStart, kFlushMax + kAnswerMax + kTellFor + kLastWordsMax + kEndCallsMax);
  EXPECT_LE(over - kStart, kDrainMax);
}

}  // namespace
}  // namespace overlay::server
