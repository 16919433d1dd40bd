#include "client-sdk/src/submissions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace overlay::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr SteadyTime kStart{};

Hash HashOfNumber(uint64_t number) {
  Hash hash{};
  for (int i = 0; i < 8; ++i) hash[i] = static_cast<uint8_t>(number >> (8 * i));
  return hash;
}

class SubmissionsTest : public ::testing::Test {
 protected:
  SubmissionsTest() { memory_.OnAttached(kStart, "first"); }

  void Submit(uint64_t number, size_t bytes = 10) {
    v1::Submission submission;
    submission.set_number(number);
    submission.set_transaction(std::string(bytes, 't'));
    memory_.OnSubmitted(submission);
  }
  bool Answer(uint64_t number, SubmitOutcome outcome = SubmitOutcome::kAdded,
              SteadyTime now = kStart) {
    return memory_.OnAnswered(now, number, outcome, HashOfNumber(number));
  }
  void SubmitAndAdd(uint64_t number, size_t bytes = 10, SteadyTime now = kStart) {
    Submit(number, bytes);
    EXPECT_TRUE(Answer(number, SubmitOutcome::kAdded, now));
  }
  std::vector<uint64_t> ToSay() const {
    std::vector<uint64_t> numbers;
    for (const v1::Submission& submission : memory_.ToSay()) numbers.push_back(submission.number());
    return numbers;
  }

  Submissions memory_;
};

TEST_F(SubmissionsTest, WhatHasNoAnswerIsSaidUntilItHas) {
  Submit(1);
  Submit(2);
  EXPECT_THAT(ToSay(), ElementsAre(1, 2));
  EXPECT_TRUE(Answer(1, SubmitOutcome::kFull));
  EXPECT_THAT(ToSay(), ElementsAre(2));
  EXPECT_FALSE(Answer(1)) << "answered before";
  EXPECT_FALSE(Answer(3)) << "of none of ours";
  memory_.Forget(2);
  EXPECT_THAT(ToSay(), IsEmpty());
}

TEST_F(SubmissionsTest, WhatWasAddedIsSaidOnlyToAnotherDaemon) {
  SubmitAndAdd(1);
  Submit(2);
  EXPECT_TRUE(Answer(2, SubmitOutcome::kFeeTooLow));
  Submit(3);
  memory_.OnAttached(kStart, "first");
  EXPECT_THAT(ToSay(), ElementsAre(3));
  memory_.OnAttached(kStart, "second");
  EXPECT_THAT(ToSay(), ElementsAre(1, 3));
}

TEST_F(SubmissionsTest, AnAnswerOutOfOrderKeepsTheOrderOfTheNumbers) {
  for (uint64_t number = 1; number <= 5; ++number) Submit(number);
  EXPECT_TRUE(Answer(4));
  EXPECT_TRUE(Answer(1));
  memory_.OnAttached(kStart, "second");
  EXPECT_THAT(ToSay(), ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(SubmissionsTest, TheSecondAnswerIsNobodys) {
  SubmitAndAdd(1);
  SubmitAndAdd(2);
  memory_.OnAttached(kStart, "second");
  EXPECT_FALSE(Answer(1, SubmitOutcome::kDuplicate));
  EXPECT_THAT(ToSay(), ElementsAre(2));
  memory_.OnAttached(kStart, "second");
  EXPECT_THAT(ToSay(), ElementsAre(2)) << "its answer was lost with the session";
  EXPECT_FALSE(Answer(2));
  memory_.OnAttached(kStart, "third");
  EXPECT_THAT(ToSay(), ElementsAre(1, 2));
}

TEST_F(SubmissionsTest, WhatTheNewDaemonDoesNotTakeIsKeptNoMore) {
  SubmitAndAdd(1);
  memory_.OnAttached(kStart, "second");
  EXPECT_FALSE(Answer(1, SubmitOutcome::kRejectedRecently));
  memory_.OnAttached(kStart, "third");
  EXPECT_THAT(ToSay(), IsEmpty());
}

TEST_F(SubmissionsTest, WhatIsInALedgerIsNotSaidAgain) {
  SubmitAndAdd(1);
  SubmitAndAdd(2);
  memory_.OnExternalized({HashOfNumber(1), HashOfNumber(9)});
  memory_.OnAttached(kStart, "second");
  EXPECT_THAT(ToSay(), ElementsAre(2));
}

TEST_F(SubmissionsTest, TwelveLedgersAreEnough) {
  SubmitAndAdd(1);
  for (int i = 0; i < 11; ++i) memory_.OnLedgerClosed(kStart);
  EXPECT_EQ(memory_.added_count(), 1u);
  SubmitAndAdd(2);
  memory_.OnLedgerClosed(kStart);
  EXPECT_EQ(memory_.added_count(), 1u);
  memory_.OnAttached(kStart, "second");
  EXPECT_THAT(ToSay(), ElementsAre(2));
}

TEST_F(SubmissionsTest, FiveMinutesAreEnough) {
  SubmitAndAdd(1);
  SubmitAndAdd(2, 10, kStart + milliseconds(1));
  memory_.OnAttached(kStart + seconds(300) - milliseconds(1), "second");
  EXPECT_THAT(ToSay(), ElementsAre(1, 2));
  memory_.OnAttached(kStart + seconds(300), "third");
  EXPECT_THAT(ToSay(), ElementsAre(2));
}

TEST_F(SubmissionsTest, TheOldestGoAboveTheCount) {
  for (uint64_t number = 1; number <= kAddedMax + 1; ++number) SubmitAndAdd(number);
  EXPECT_EQ(memory_.added_count(), kAddedMax);
  memory_.OnAttached(kStart, "second");
  const std::vector<uint64_t> numbers = ToSay();
  ASSERT_EQ(numbers.size(), kAddedMax);
  EXPECT_EQ(numbers.front(), 2u);
}

TEST_F(SubmissionsTest, TheOldestGoAboveTheBytes) {
  constexpr size_t kBytes = 1 << 20;
  const uint64_t most = kAddedBytesMax / kBytes;
  for (uint64_t number = 1; number <= most; ++number) SubmitAndAdd(number, kBytes);
  EXPECT_EQ(memory_.added_count(), most);
  SubmitAndAdd(most + 1, 1);
  EXPECT_EQ(memory_.added_count(), most);
  memory_.OnExternalized({HashOfNumber(2)});
  SubmitAndAdd(most + 2, kBytes - 1);  // fits in what the externalized one left
  EXPECT_EQ(memory_.added_count(), most);
  memory_.OnAttached(kStart, "second");
  EXPECT_EQ(ToSay().front(), 3u);
}

}  // namespace
}  // namespace overlay::client
