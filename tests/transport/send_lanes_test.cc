#include "transport/send_lanes.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "transport/bulk_window.h"

namespace overlay::transport {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Outcome = SendLanes::Outcome;
using Write = SendLanes::Write;

constexpr size_t kPacket = 1400;  // what QUIC takes of a write
constexpr size_t kNoBudget = 0;
constexpr size_t kAnyBudget = 1 << 20;

Bytes Text(std::string_view text) { return Bytes::Copy(text); }
Bytes Zeros(size_t size) { return Bytes::Take(std::string(size, '\0')); }

class SendLanesTest : public testing::Test {
 protected:
  static LaneLimits Small() {
    LaneLimits limits;
    limits.scp_bytes_max = 1'000;
    limits.scp_count_max = 5;
    limits.control_bytes_max = 300;
    limits.sets_bytes_max = 400;
    limits.bodies_bytes_max = 500;
    limits.stream_count_max = 4;
    limits.chunks_per_stream_max = 3;
    return limits;
  }

  // Queues, expecting that nothing has to go for it.
  void Envelope(uint64_t token, uint64_t slot, Bytes bytes) {
    ASSERT_EQ(lanes->QueueEnvelope({token}, {slot}, std::move(bytes), dropped), Outcome::kQueued);
    ASSERT_THAT(dropped, IsEmpty());
  }
  void Stream(uint64_t stream, SendClass send_class, Bytes bytes, bool fin) {
    if (!lanes->HasStream({stream})) {
      ASSERT_EQ(lanes->OpenStream({stream}, send_class, SIZE_MAX), Outcome::kQueued);
    }
    ASSERT_EQ(lanes->Append({stream}, std::move(bytes), fin), Outcome::kQueued);
  }
  // QUIC takes up to a packet of what is next; what it took.
  std::optional<Write> Take(SendClass last, size_t budget, size_t most = kPacket) {
    std::optional<Write> write = lanes->Next(last, budget);
    if (!write) return write;
    const bool whole = write->data.size() <= most;
    write->data = write->data.Slice(0, most);
    Write taken = *write;
    taken.fin = write->fin && whole;
    lanes->OnWritten(taken, taken.data.size(), taken.fin);
    lanes->CheckInvariants();
    return taken;
  }
  std::string TakeText(SendClass last, size_t budget = kAnyBudget) {
    const std::optional<Write> write = Take(last, budget);
    if (!write) return "nothing";
    return std::string(write->data.view()) + (write->fin ? "." : "");
  }

  std::optional<SendLanes> lanes{std::in_place, LaneLimits{}};
  std::vector<EnvelopeToken> dropped;
};

// ---- R1, R2
// ---------------------------------------------------------------------------------------

TEST_F(SendLanesTest, ClassOrderAndOrderOfArrival) {
  Stream(1, SendClass::kBodies, Text("body"), true);
  Stream(2, SendClass::kSets, Text("set"), true);
  Stream(3, SendClass::kControl, Text("inv"), false);
  Envelope(1, 9, Text("first"));
  Envelope(2, 7, Text("second"));
  EXPECT_EQ(lanes->Next(SendClass::kBodies, kAnyBudget)->data.view(), "first");
  EXPECT_TRUE(lanes->Next(SendClass::kBodies, kAnyBudget)->is_first);
  EXPECT_EQ(TakeText(SendClass::kScp), "first.");
  EXPECT_EQ(TakeText(SendClass::kBodies), "second.");
  EXPECT_EQ(TakeText(SendClass::kScp), "nothing");
  EXPECT_EQ(TakeText(SendClass::kBodies), "inv");
  EXPECT_EQ(TakeText(SendClass::kControl), "nothing");
  EXPECT_EQ(TakeText(SendClass::kSets), "set.");
  EXPECT_EQ(TakeText(SendClass::kSets), "nothing");
  EXPECT_EQ(TakeText(SendClass::kBodies), "body.");
  EXPECT_EQ(TakeText(SendClass::kBodies), "nothing");
  EXPECT_TRUE(lanes->HasStream({3}));  // control goes on
  EXPECT_FALSE(lanes->HasStream({1}));
  EXPECT_EQ(lanes->written_bytes(SendClass::kScp), 11u);
  EXPECT_EQ(lanes->written_bytes(SendClass::kControl), 3u);
  EXPECT_EQ(lanes->written_bytes(SendClass::kSets), 3u);
  EXPECT_EQ(lanes->written_bytes(SendClass::kBodies), 4u);
}

TEST_F(SendLanesTest, ABegunEnvelopeIsFinishedAndNotCancelled) {
  Envelope(1, 9, Text("abcdef"));
  Envelope(2, 9, Text("other"));
  EXPECT_EQ(Take(SendClass::kScp, kNoBudget, 2)->data.view(), "ab");
  EXPECT_FALSE(lanes->CancelEnvelope({1}));
  EXPECT_TRUE(lanes->CancelEnvelope({2}));
  EXPECT_FALSE(lanes->CancelEnvelope({2}));
  const std::optional<Write> rest = lanes->Next(SendClass::kScp, kNoBudget);
  EXPECT_EQ(rest->data.view(), "cdef");
  EXPECT_FALSE(rest->is_first);
  EXPECT_TRUE(rest->fin);
  // All bytes, but not the end: the end alone comes next.
  lanes->OnWritten(*rest, 4, false);
  EXPECT_EQ(TakeText(SendClass::kScp), ".");
  EXPECT_EQ(TakeText(SendClass::kScp), "nothing");
  EXPECT_EQ(lanes->queued_count(SendClass::kScp), 0u);
}

// Its stream was reset: the owner gives it up, begun or not; the late report of its write is
// ignored.
TEST_F(SendLanesTest, AForgottenEnvelopeIsGone) {
  Envelope(1, 9, Text("abcdef"));
  const std::optional<Write> write = lanes->Next(SendClass::kScp, kNoBudget);
  lanes->OnWritten(*write, 2, false);
  EXPECT_TRUE(lanes->ForgetEnvelope({1}));
  EXPECT_FALSE(lanes->ForgetEnvelope({1}));
  lanes->OnWritten(*write, 2, false);
  EXPECT_EQ(lanes->queued_bytes(SendClass::kScp), 0u);
  EXPECT_EQ(TakeText(SendClass::kScp), "nothing");
  lanes->CheckInvariants();
}

// ---- R3
// -------------------------------------------------------------------------------------------

TEST_F(SendLanesTest, AtTheBoundTheLowestSlotsOldestGoes) {
  lanes.emplace(Small());
  Envelope(1, 8, Zeros(300));
  Envelope(2, 7, Zeros(300));
  Envelope(3, 7, Zeros(300));
  Envelope(4, 9, Zeros(100));  // 1,000: at the bound
  EXPECT_EQ(lanes->QueueEnvelope({5}, {9}, Zeros(1), dropped), Outcome::kQueued);
  EXPECT_THAT(dropped, ElementsAre(EnvelopeToken{2}));
  dropped.clear();
  EXPECT_EQ(lanes->QueueEnvelope({6}, {9}, Zeros(599), dropped), Outcome::kQueued);
  EXPECT_THAT(dropped, ElementsAre(EnvelopeToken{3}));
  dropped.clear();
  // The newcomer is of the lowest slot itself.
  EXPECT_EQ(lanes->QueueEnvelope({7}, {6}, Zeros(1), dropped), Outcome::kQueued);
  EXPECT_THAT(dropped, ElementsAre(EnvelopeToken{7}));
  EXPECT_EQ(lanes->refused_count(SendClass::kScp), 3u);
  lanes->CheckInvariants();
}

TEST_F(SendLanesTest, TheCountOfEnvelopesIsBoundedToo) {
  lanes.emplace(Small());
  for (uint64_t token = 1; token <= 5; ++token) Envelope(token, 10 - token, Zeros(1));
  EXPECT_EQ(lanes->QueueEnvelope({6}, {9}, Zeros(1), dropped), Outcome::kQueued);
  EXPECT_THAT(dropped, ElementsAre(EnvelopeToken{5}));
}

TEST_F(SendLanesTest, ABegunEnvelopeIsNotDropped) {
  lanes.emplace(Small());
  Envelope(1, 1, Zeros(500));
  Envelope(2, 5, Zeros(500));
  Take(SendClass::kScp, kNoBudget, 10);
  EXPECT_EQ(lanes->QueueEnvelope({3}, {5}, Zeros(1), dropped), Outcome::kQueued);
  EXPECT_THAT(dropped, ElementsAre(EnvelopeToken{2}));
}

TEST_F(SendLanesTest, ImpossibleEnvelopesAreRefused) {
  lanes.emplace(Small());
  EXPECT_EQ(lanes->QueueEnvelope({1}, {1}, Bytes(), dropped), Outcome::kOverLimit);
  EXPECT_EQ(lanes->QueueEnvelope({1}, {1}, Zeros(1'001), dropped), Outcome::kOverLimit);
  Envelope(1, 1, Zeros(1'000));
  EXPECT_EQ(lanes->QueueEnvelope({1}, {2}, Zeros(1), dropped), Outcome::kDuplicate);
  EXPECT_THAT(dropped, IsEmpty());
  EXPECT_EQ(lanes->refused_count(SendClass::kScp), 2u);
}

// ---- R4
// -------------------------------------------------------------------------------------------

TEST_F(SendLanesTest, OthersKeepFivePercentWhileClass0IsBusy) {
  for (uint64_t token = 0; token < 3'000; ++token) Envelope(token, 1, Zeros(1'000));
  Stream(1, SendClass::kControl, Zeros(60'000), false);
  Stream(2, SendClass::kSets, Zeros(1'000'000), true);
  size_t scp = 0, others = 0, control = 0;
  // Asked for class 0 alone: what is owed comes all the same, control first.
  while (scp < 2'000'000) {
    const Write write = *Take(SendClass::kScp, kAnyBudget);
    (write.send_class == SendClass::kScp ? scp : others) += write.data.size();
    if (write.send_class == SendClass::kControl) control += write.data.size();
    if (write.send_class == SendClass::kSets) {
      ASSERT_EQ(control, 60'000u);
    }
    // Never more than a packet behind or ahead.
    ASSERT_NEAR(static_cast<double>(others), static_cast<double>(scp) / 19, 1'480 + 1'000 / 19 + 1);
  }
  EXPECT_NEAR(static_cast<double>(others), 2'000'000.0 / 19, 1'600);
}

// The debt is served from one packet on: after 19 x 1,480 bytes, not one before.
TEST_F(SendLanesTest, AWholePacketMustBeOwed) {
  Stream(1, SendClass::kControl, Zeros(60'000), false);
  Envelope(1, 1, Zeros(19 * kBulkPacketBytes - 1));
  Envelope(2, 1, Zeros(1));
  Envelope(3, 1, Zeros(1));
  const auto take = [this] { return Take(SendClass::kScp, kAnyBudget, 1 << 20); };
  EXPECT_EQ(take()->token, EnvelopeToken{1});
  EXPECT_EQ(take()->token, EnvelopeToken{2});
  const Write other = *take();
  EXPECT_EQ(other.send_class, SendClass::kControl);
  EXPECT_EQ(other.data.size(), kBulkPacketBytes);
  EXPECT_EQ(take()->token, EnvelopeToken{3});
}

TEST_F(SendLanesTest, DebtIsFourPacketsAtMostAndWaitsForTheBudget) {
  Stream(1, SendClass::kSets, Zeros(100'000), true);
  for (uint64_t token = 0; token < 400; ++token) Envelope(token, 1, Zeros(1'000));
  // No budget: no bulk, however much is owed.
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(Take(SendClass::kScp, kNoBudget)->send_class, SendClass::kScp);
  }
  size_t burst = 0;
  while (true) {
    const Write write = *Take(SendClass::kScp, kAnyBudget, 1'480);
    if (write.send_class == SendClass::kScp) break;
    burst += write.data.size();
  }
  EXPECT_EQ(burst, 4 * kBulkPacketBytes);
}

TEST_F(SendLanesTest, DebtIsForgottenWhenClass0OrTheOthersRunOut) {
  const auto owe = [this](uint64_t token) { Envelope(token, 1, Zeros(60'000)); };
  const auto take = [this] { return Take(SendClass::kScp, kAnyBudget, 1 << 20); };
  Stream(1, SendClass::kControl, Zeros(60'000), false);
  owe(1);
  EXPECT_EQ(take()->token, EnvelopeToken{1});  // class 0 has run out
  owe(2);
  owe(3);
  EXPECT_EQ(take()->token, EnvelopeToken{2});
  lanes->SetBlocked({1}, true);  // the others have run out
  lanes->SetBlocked({1}, false);
  EXPECT_EQ(take()->token, EnvelopeToken{3});
  // Nothing was owed while nobody waited.
  lanes->SetBlocked({1}, true);
  owe(4);
  owe(5);
  EXPECT_EQ(take()->token, EnvelopeToken{4});
  lanes->SetBlocked({1}, false);
  EXPECT_EQ(take()->token, EnvelopeToken{5});
}

// ---- R5, R6
// ---------------------------------------------------------------------------------------

TEST_F(SendLanesTest, SetsAndBodiesShareThreeToOne) {
  Stream(1, SendClass::kSets, Zeros(4'000'000), true);
  Stream(2, SendClass::kBodies, Zeros(3'000'000), true);
  size_t sets = 0, bodies = 0;
  while (sets + bodies < 4'000'000) {
    const Write write = *Take(SendClass::kBodies, kAnyBudget);
    (write.send_class == SendClass::kSets ? sets : bodies) += write.data.size();
    // Exact but for one turn.
    ASSERT_LE(sets, 3 * bodies + 24 * 1'024 + kPacket);
    ASSERT_LE(3 * bodies, sets + 3 * (8 * 1'024 + kPacket));
  }
  EXPECT_NEAR(static_cast<double>(sets) / static_cast<double>(bodies), 3.0, 0.05);
}

// What a large write took beyond the share is taken off the next turns.
TEST_F(SendLanesTest, LargeWritesDoNotShiftTheShare) {
  Stream(1, SendClass::kSets, Zeros(8'000'000), true);
  Stream(2, SendClass::kBodies, Zeros(3'500'000), true);
  size_t sets = 0, bodies = 0;
  while (sets + bodies < 8'000'000) {
    const Write write = *Take(SendClass::kBodies, kAnyBudget, 1 << 20);
    (write.send_class == SendClass::kSets ? sets : bodies) += write.data.size();
  }
  EXPECT_NEAR(static_cast<double>(sets) / static_cast<double>(bodies), 3.0, 0.1);
}

TEST_F(SendLanesTest, ALoneClassTakesAll) {
  Stream(2, SendClass::kBodies, Zeros(100'000), true);
  size_t bodies = 0;
  while (Take(SendClass::kBodies, kAnyBudget)) ++bodies;
  EXPECT_EQ(bodies, 72u);
  // And has run up no debt: sets that come now begin with their own turn only.
  Stream(3, SendClass::kBodies, Zeros(100'000), true);
  Stream(4, SendClass::kSets, Zeros(100'000), true);
  size_t before_bodies = 0;
  while (true) {
    const Write write = *Take(SendClass::kBodies, kAnyBudget);
    if (write.send_class == SendClass::kBodies) break;
    before_bodies += write.data.size();
  }
  EXPECT_EQ(before_bodies, 18 * kPacket);  // the first multiple from 24 KiB on
}

TEST_F(SendLanesTest, StreamsOfAClassTakeTurnsOf8KiB) {
  for (uint64_t stream = 1; stream <= 3; ++stream) {
    Stream(stream, SendClass::kSets, Zeros(300'000), true);
  }
  std::map<uint64_t, size_t> sent;
  std::vector<uint64_t> turns;
  for (int i = 0; i < 500; ++i) {
    const Write write = *Take(SendClass::kBodies, kAnyBudget);
    if (turns.empty() || turns.back() != write.stream.value) turns.push_back(write.stream.value);
    sent[write.stream.value] += write.data.size();
    const auto [least, most] = std::minmax({sent[1], sent[2], sent[3]});
    ASSERT_LE(most - least, 8 * 1'024 + kPacket);
  }
  ASSERT_GE(turns.size(), 80u);
  ASSERT_LE(turns.size(), 90u);  // 700,000 / 8,192
  for (size_t i = 0; i < turns.size(); ++i) ASSERT_EQ(turns[i], i % 3 + 1);
}

// A small answer behind large ones waits for one turn of each.
TEST_F(SendLanesTest, ASmallAnswerPassesLargeOnes) {
  Stream(1, SendClass::kBodies, Zeros(1'000'000), true);
  Take(SendClass::kBodies, kAnyBudget);
  Stream(2, SendClass::kBodies, Text("small"), true);
  size_t before = 0;
  while (true) {
    const Write write = *Take(SendClass::kBodies, kAnyBudget);
    if (write.stream == LaneStream{2}) break;
    before += write.data.size();
  }
  EXPECT_LE(before, 8 * 1'024u);
}

// ---- R7
// -------------------------------------------------------------------------------------------

TEST_F(SendLanesTest, TheBudgetLimitsBulkAndNothingElse) {
  Stream(1, SendClass::kSets, Zeros(100'000), true);
  EXPECT_FALSE(lanes->Next(SendClass::kBodies, kNoBudget).has_value());
  EXPECT_EQ(lanes->Next(SendClass::kBodies, 1)->data.size(), 1u);
  EXPECT_EQ(lanes->Next(SendClass::kBodies, 65'535)->data.size(), 65'535u);
  EXPECT_EQ(lanes->Next(SendClass::kBodies, 100'000)->data.size(), 65'536u);
  EXPECT_FALSE(lanes->Next(SendClass::kBodies, 100'000)->fin);
  Stream(2, SendClass::kControl, Zeros(100'000), false);
  EXPECT_EQ(lanes->Next(SendClass::kBodies, kNoBudget)->data.size(), 100'000u);
}

TEST_F(SendLanesTest, TheEndGoesWithTheLastByteOrAlone) {
  Stream(1, SendClass::kSets, Text("abc"), false);
  Stream(1, SendClass::kSets, Text("de"), true);
  EXPECT_FALSE(lanes->Next(SendClass::kSets, 3)->fin);
  EXPECT_EQ(TakeText(SendClass::kSets), "abc");
  EXPECT_FALSE(lanes->Next(SendClass::kSets, 1)->fin);
  EXPECT_EQ(TakeText(SendClass::kSets), "de.");
  EXPECT_FALSE(lanes->HasStream({1}));

  Stream(2, SendClass::kSets, Text("x"), false);
  EXPECT_EQ(TakeText(SendClass::kSets), "x");
  EXPECT_EQ(lanes->queued_count(SendClass::kSets), 0u);
  Stream(2, SendClass::kSets, Bytes(), false);  // nothing
  EXPECT_EQ(TakeText(SendClass::kSets), "nothing");
  Stream(2, SendClass::kSets, Bytes(), true);
  EXPECT_EQ(lanes->queued_count(SendClass::kSets), 1u);
  EXPECT_EQ(lanes->Append({2}, Text("late"), false), Outcome::kAlreadyEnded);
  EXPECT_EQ(TakeText(SendClass::kSets), ".");
  EXPECT_EQ(lanes->Append({2}, Text("late"), false), Outcome::kUnknown);
}

// ---- R8
// -------------------------------------------------------------------------------------------

TEST_F(SendLanesTest, WhatIsBlockedIsPassedOver) {
  Envelope(1, 1, Text("envelope"));
  Stream(1, SendClass::kControl, Text("one"), false);
  Stream(2, SendClass::kControl, Text("two"), false);
  lanes->SetEnvelopesBlocked(true);
  lanes->SetBlocked({1}, true);
  lanes->SetBlocked({9}, true);  // unknown: ignored
  lanes->CheckInvariants();
  EXPECT_TRUE(lanes->HasWaiting(SendClass::kScp));
  EXPECT_EQ(lanes->queued_count(SendClass::kControl), 2u);
  EXPECT_EQ(TakeText(SendClass::kControl), "two");
  EXPECT_EQ(TakeText(SendClass::kControl), "nothing");
  lanes->SetBlocked({1}, false);
  EXPECT_EQ(TakeText(SendClass::kControl), "one");
  lanes->SetEnvelopesBlocked(false);
  EXPECT_EQ(TakeText(SendClass::kControl), "envelope.");
}

// ---- R9
// -------------------------------------------------------------------------------------------

TEST_F(SendLanesTest, EachClassHasItsBound) {
  const std::pair<SendClass, size_t> bounds[] = {
      {SendClass::kControl, 300}, {SendClass::kSets, 400}, {SendClass::kBodies, 500}};
  lanes.emplace(Small());
  uint64_t stream = 0;
  for (const auto& [send_class, bound] : bounds) {
    Stream(++stream, send_class, Zeros(bound - 1), false);
    EXPECT_EQ(lanes->Append({stream}, Zeros(2), true), Outcome::kOverLimit);
    EXPECT_EQ(lanes->refused_count(send_class), 1u);
    // Nothing of it was queued: neither bytes nor the end.
    EXPECT_EQ(lanes->queued_bytes(send_class), bound - 1);
    Stream(stream, send_class, Zeros(1), false);
    EXPECT_EQ(lanes->Append({stream}, Zeros(1), false), Outcome::kOverLimit);
    EXPECT_EQ(lanes->Append({stream}, Bytes(), true), Outcome::kQueued);
    lanes->CheckInvariants();
  }
}

TEST_F(SendLanesTest, EachStreamHasItsBound) {
  ASSERT_EQ(lanes->OpenStream({1}, SendClass::kControl, 10), Outcome::kQueued);
  EXPECT_EQ(lanes->Append({1}, Zeros(11), false), Outcome::kOverLimit);
  EXPECT_EQ(lanes->Append({1}, Zeros(10), false), Outcome::kQueued);
  EXPECT_EQ(lanes->Append({1}, Zeros(1), false), Outcome::kOverLimit);
  EXPECT_EQ(lanes->stream_queued_bytes({1}), 10u);
  Take(SendClass::kControl, kNoBudget, 1);
  EXPECT_EQ(lanes->Append({1}, Zeros(1), false), Outcome::kQueued);
}

TEST_F(SendLanesTest, StreamsAndChunksAreCounted) {
  lanes.emplace(Small());
  for (uint64_t stream = 1; stream <= 4; ++stream) {
    EXPECT_EQ(lanes->OpenStream({stream}, SendClass::kBodies, 100), Outcome::kQueued);
  }
  EXPECT_EQ(lanes->OpenStream({4}, SendClass::kBodies, 100), Outcome::kDuplicate);
  EXPECT_EQ(lanes->OpenStream({5}, SendClass::kBodies, 100), Outcome::kOverLimit);
  lanes->CloseStream({4});
  EXPECT_EQ(lanes->OpenStream({5}, SendClass::kBodies, 100), Outcome::kQueued);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(lanes->Append({5}, Zeros(1), false), Outcome::kQueued);
  EXPECT_EQ(lanes->Append({5}, Zeros(1), false), Outcome::kOverLimit);
  Take(SendClass::kBodies, kAnyBudget);
  EXPECT_EQ(lanes->Append({5}, Zeros(1), true), Outcome::kQueued);
}

TEST_F(SendLanesTest, LimitsFollowTheProtocols) {
  const LaneLimits limits = LaneLimits::From(Limits());
  EXPECT_EQ(limits.scp_bytes_max, 4 * kMiB);
  EXPECT_EQ(limits.bodies_bytes_max, 4 * kMiB);
  EXPECT_EQ(limits.sets_bytes_max, 4 * (16 * kMiB + kKiB));
}

// ---- Ends
// -----------------------------------------------------------------------------------------

TEST_F(SendLanesTest, AClosedStreamIsGoneAndItsWriteIgnored) {
  Stream(1, SendClass::kSets, Zeros(1'000), true);
  const Write write = *lanes->Next(SendClass::kSets, kAnyBudget);
  lanes->CloseStream({1});
  lanes->CloseStream({1});
  lanes->OnWritten(write, 1'000, true);
  EXPECT_EQ(lanes->queued_bytes(SendClass::kSets), 0u);
  EXPECT_EQ(lanes->written_bytes(SendClass::kSets), 0u);
  EXPECT_EQ(TakeText(SendClass::kBodies), "nothing");
  lanes->CheckInvariants();
}

TEST_F(SendLanesTest, RestartKeepsEnvelopesWhole) {
  Envelope(1, 3, Text("abcdef"));
  Envelope(2, 2, Text("second"));
  Stream(1, SendClass::kSets, Zeros(1'000), true);
  Take(SendClass::kScp, kNoBudget, 2);
  lanes->SetEnvelopesBlocked(true);
  lanes->Restart();
  lanes->CheckInvariants();
  EXPECT_EQ(lanes->stream_count(), 0u);
  EXPECT_EQ(lanes->queued_bytes(SendClass::kSets), 0u);
  EXPECT_EQ(lanes->queued_bytes(SendClass::kScp), 12u);
  EXPECT_TRUE(lanes->Next(SendClass::kScp, kNoBudget)->is_first);
  EXPECT_EQ(TakeText(SendClass::kScp), "abcdef.");
  EXPECT_TRUE(lanes->CancelEnvelope({2}));
}

}  // namespace
}  // namespace overlay::transport
