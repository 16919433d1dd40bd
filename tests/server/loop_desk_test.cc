#include "server/loop_desk.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace overlay::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Time kNow = Time(seconds(7));

TEST(LoopDesk, AnAnswerCrossesThreadsAndWakesTheLoop) {
  std::atomic<int> wakes{0};
  LoopDesk desk([&] { wakes.fetch_add(1); });
  EXPECT_FALSE(desk.AnswerOne(kNow));
  std::thread asker([&] {
    const auto answer = desk.Ask<std::string>(
        [](Time now) { return std::to_string(ToMicros(now.time_since_epoch())); }, seconds(60));
    EXPECT_EQ(answer.value_or("none"), "7000000");
  });
  while (wakes.load() == 0) std::this_thread::yield();
  EXPECT_FALSE(desk.AnswerOne(kNow));
  asker.join();
  EXPECT_EQ(wakes.load(), 1);
}

TEST(LoopDesk, OneQuestionATurnInTheirOrder) {
  std::atomic<int> wakes{0};
  std::vector<int> asked;  // the loop's
  LoopDesk desk([&] { wakes.fetch_add(1); });
  const auto ask = [&](int number) {
    EXPECT_TRUE(desk.Ask<bool>(
        [&asked, number](Time) {
          asked.push_back(number);
          return true;
        },
        seconds(60)));
  };
  std::thread first(ask, 1);
  while (wakes.load() < 1) std::this_thread::yield();
  std::thread second(ask, 2);
  while (wakes.load() < 2) std::this_thread::yield();
  EXPECT_TRUE(desk.AnswerOne(kNow));
  EXPECT_EQ(asked, std::vector<int>({1}));
  EXPECT_FALSE(desk.AnswerOne(kNow));
  EXPECT_EQ(asked, std::vector<int>({1, 2}));
  first.join();
  second.join();
}

TEST(LoopDesk, WhoHasLostPatienceIsNotAskedFor) {
  bool ran = false;
  LoopDesk desk([] {});
  EXPECT_FALSE(desk.Ask<bool>([&](Time) { return ran = true; }, milliseconds(1)));
  EXPECT_FALSE(desk.AnswerOne(kNow));
  EXPECT_FALSE(ran);
}

// An answer that comes while patience ends belongs to nobody, and harms nothing.
TEST(LoopDesk, PatienceMayEndWhileTheLoopIsAtIt) {
  std::atomic<bool> begun{false};
  std::atomic<bool> gave_up{false};
  std::atomic<int> wakes{0};
  LoopDesk desk([&] { wakes.fetch_add(1); });
  std::thread asker([&] {
    EXPECT_FALSE(desk.Ask<std::string>(
        [&](Time) {
          begun.store(true);
          while (!gave_up.load()) std::this_thread::yield();
          return std::string(1000, 'x');
        },
        milliseconds(50)));
    gave_up.store(true);
  });
  while (!begun.load() && !gave_up.load()) desk.AnswerOne(kNow);
  asker.join();
}

TEST(LoopDesk, QuestionsAreBounded) {
  std::atomic<size_t> wakes{0};
  LoopDesk desk([&] { wakes.fetch_add(1); });
  std::vector<std::thread> askers;
  for (size_t i = 0; i < LoopDesk::kWaitingMax; ++i) {
    askers.emplace_back(
        [&] { EXPECT_TRUE(desk.Ask<bool>([](Time) { return true; }, seconds(60))); });
  }
  while (wakes.load() < LoopDesk::kWaitingMax) std::this_thread::yield();
  EXPECT_FALSE(desk.Ask<bool>([](Time) { return true; }, seconds(60)));
  while (desk.AnswerOne(kNow)) {
  }
  for (std::thread& asker : askers) asker.join();
}

TEST(LoopDesk, NobodyWaitsForALoopThatStops) {
  std::atomic<int> wakes{0};
  LoopDesk desk([&] { wakes.fetch_add(1); });
  std::thread asker([&] { EXPECT_FALSE(desk.Ask<bool>([](Time) { return true; }, seconds(60))); });
  while (wakes.load() == 0) std::this_thread::yield();
  desk.Stop();
  asker.join();
  EXPECT_FALSE(desk.Ask<bool>([](Time) { return true; }, seconds(60)));
  EXPECT_FALSE(desk.AnswerOne(kNow));
}

}  // namespace
}  // namespace overlay::server
