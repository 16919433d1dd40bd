#include "transport/mailbox.h"

#include <chrono>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

std::vector<int> DrainAll(Mailbox<int>& mailbox, size_t items_max = SIZE_MAX) {
  std::vector<int> items;
  mailbox.Drain(items_max, [&](size_t, int& item) { items.push_back(item); });
  return items;
}

TEST(Mailbox, LowerLanesFirstAndInOrderWithinALane) {
  Mailbox<int> mailbox(nullptr, {{.capacity = 4}, {.capacity = 4}});
  EXPECT_TRUE(mailbox.Post(1, 10));
  EXPECT_TRUE(mailbox.Post(0, 1));
  EXPECT_TRUE(mailbox.Post(1, 11));
  EXPECT_TRUE(mailbox.Post(0, 2));
  EXPECT_THAT(DrainAll(mailbox), ElementsAre(1, 2, 10, 11));
  EXPECT_THAT(DrainAll(mailbox), ElementsAre());
}

TEST(Mailbox, AFullLaneRefusesAndOthersDoNot) {
  Mailbox<int> mailbox(nullptr, {{.capacity = 2}, {.capacity = 1}});
  EXPECT_TRUE(mailbox.Post(0, 1));
  EXPECT_TRUE(mailbox.Post(0, 2));
  EXPECT_FALSE(mailbox.Post(0, 3));
  EXPECT_TRUE(mailbox.Post(1, 4));
  EXPECT_EQ(mailbox.refused(0), 1u);
  EXPECT_EQ(mailbox.refused(1), 0u);
  EXPECT_THAT(DrainAll(mailbox), ElementsAre(1, 2, 4));
  EXPECT_TRUE(mailbox.Post(0, 5));
}

TEST(Mailbox, CompletionsAreNeverRefused) {
  Mailbox<int> mailbox(nullptr, {{.capacity = 2, .never_refuses = true}});
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(mailbox.Post(0, i));
  EXPECT_EQ(mailbox.refused(0), 0u);
  EXPECT_EQ(mailbox.above_reserve(0), 3u);
  EXPECT_THAT(DrainAll(mailbox), ElementsAre(0, 1, 2, 3, 4));
}

// A drain that stops early goes on where it stopped, but what came into a lower lane goes before.
TEST(Mailbox, ABoundedDrainLooksAtLowerLanesAgain) {
  Mailbox<int> mailbox(nullptr, {{.capacity = 8}, {.capacity = 8}});
  for (int i = 10; i < 14; ++i) EXPECT_TRUE(mailbox.Post(1, i));
  EXPECT_THAT(DrainAll(mailbox, 2), ElementsAre(10, 11));
  EXPECT_TRUE(mailbox.Post(0, 1));
  EXPECT_TRUE(mailbox.Post(1, 14));
  EXPECT_THAT(DrainAll(mailbox, 2), ElementsAre(1, 12));
  // 14 stayed behind the lock while 13 was not done: the drain says that something is left.
  bool more = mailbox.Drain(SIZE_MAX, [](size_t, int& item) { EXPECT_EQ(item, 13); });
  EXPECT_TRUE(more);
  more = mailbox.Drain(SIZE_MAX, [](size_t, int& item) { EXPECT_EQ(item, 14); });
  EXPECT_FALSE(more);
}

TEST(Mailbox, WhatIsPostedWhileDrainingWaitsForTheNextDrain) {
  Mailbox<int> mailbox(nullptr, {{.capacity = 8}});
  EXPECT_TRUE(mailbox.Post(0, 1));
  int handled = 0;
  const bool more = mailbox.Drain(SIZE_MAX, [&](size_t, int& item) {
    ++handled;
    EXPECT_TRUE(mailbox.Post(0, item + 1));
  });
  EXPECT_EQ(handled, 1);
  EXPECT_TRUE(more);
  EXPECT_THAT(DrainAll(mailbox), ElementsAre(2));
}

TEST(Mailbox, OnlyThePostIntoAnEmptyMailboxWakes) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
  ASSERT_OK(loop);
  Mailbox<int> mailbox(&(*loop)->waker(), {{.capacity = 8}});
  std::vector<int> got;
  (*loop)->SetTurnHandler([&](Time) -> std::optional<Time> {
    mailbox.Drain(SIZE_MAX, [&](size_t, int& item) { got.push_back(item); });
    return std::nullopt;
  });
  (*loop)->RunOnce(0ms);
  EXPECT_TRUE(mailbox.Post(0, 1));
  EXPECT_TRUE(mailbox.Post(0, 2));
  // Woken, not out of patience.
  const Time start = (*loop)->ReadClock();
  (*loop)->RunOnce(20s);
  EXPECT_THAT(got, ElementsAre(1, 2));
  EXPECT_TRUE(mailbox.Post(0, 3));
  (*loop)->RunOnce(20s);
  EXPECT_THAT(got, ElementsAre(1, 2, 3));
  EXPECT_LT((*loop)->ReadClock() - start, 10s);
}

// Several producers against a loop: nothing is lost, nothing is doubled, each producer's order is
// kept.
TEST(Mailbox, ManyProducers) {
  constexpr int kProducers = 4;
  constexpr int kItems = 5'000;
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
  ASSERT_OK(loop);
  Mailbox<int> mailbox(&(*loop)->waker(),
                       {{.capacity = 64}, {.capacity = 64, .never_refuses = true}});
  std::array<int, kProducers> next{};
  int total = 0;
  (*loop)->SetTurnHandler([&](Time now) -> std::optional<Time> {
    const bool more = mailbox.Drain(32, [&](size_t, int& item) {
      const int producer = item / kItems;
      EXPECT_EQ(item % kItems, next[producer]++);
      ++total;
    });
    if (total == kProducers * kItems) (*loop)->Stop();
    return more ? std::optional(now) : std::nullopt;
  });
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&mailbox, p] {
      for (int i = 0; i < kItems; ++i) {
        while (!mailbox.Post(static_cast<size_t>(p % 2), p * kItems + i)) std::this_thread::yield();
      }
    });
  }
  (*loop)->Run();
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(total, kProducers * kItems);
}

}  // namespace
}  // namespace overlay::transport
