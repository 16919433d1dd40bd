#include "server/completion_thread.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace overlay::server {
namespace {

class Tag : public Completion {
 public:
  Tag(Lane lane, std::string name, std::vector<std::string>* log)
      : Completion(lane), name_(std::move(name)), log_(log) {}
  void OnCompleted(Time /*now*/, bool ok) override {
    log_->push_back(name_ + (ok ? "" : "!"));
    if (then) then();
  }
  std::function<void()> then;

 private:
  const std::string name_;
  std::vector<std::string>* const log_;
};

constexpr auto kScp = Completion::Lane::kScp;
constexpr auto kOther = Completion::Lane::kOther;

// SCP goes first, each lane in the order in which it came, and `ok` stays with its tag.
TEST(CompletionMailbox, ScpFirstThenInOrder) {
  std::vector<std::string> log;
  CompletionMailbox mailbox([] {});
  Tag a(kOther, "a", &log), b(kScp, "b", &log), c(kOther, "c", &log), d(kScp, "d", &log);
  mailbox.Post(&a, true);
  mailbox.Post(&b, false);
  mailbox.Post(&c, false);
  mailbox.Post(&d, true);
  EXPECT_FALSE(mailbox.Drain(Time{}, 10));
  EXPECT_EQ(log, (std::vector<std::string>{"b!", "d", "a", "c!"}));
}

// An SCP completion that comes while others are handled overtakes those that still wait.
TEST(CompletionMailbox, ScpOvertakesWhileDraining) {
  std::vector<std::string> log;
  CompletionMailbox mailbox([] {});
  Tag a(kOther, "a", &log), b(kOther, "b", &log), scp(kScp, "scp", &log);
  a.then = [&] { mailbox.Post(&scp, true); };
  mailbox.Post(&a, true);
  mailbox.Post(&b, true);
  EXPECT_FALSE(mailbox.Drain(Time{}, 10));
  EXPECT_EQ(log, (std::vector<std::string>{"a", "scp", "b"}));
}

// The bound of a turn counts others only, and what is left is said.
TEST(CompletionMailbox, BoundOfATurnLeavesTheRest) {
  std::vector<std::string> log;
  CompletionMailbox mailbox([] {});
  Tag a(kOther, "a", &log), b(kOther, "b", &log), c(kScp, "c", &log);
  mailbox.Post(&a, true);
  mailbox.Post(&b, true);
  mailbox.Post(&c, true);
  EXPECT_TRUE(mailbox.Drain(Time{}, 1));
  EXPECT_EQ(log, (std::vector<std::string>{"c", "a"}));
  EXPECT_FALSE(mailbox.Drain(Time{}, 1));
  EXPECT_EQ(log.back(), "b");
}

// Many posts before a drain cost one wake-up; the first after it wakes again.
TEST(CompletionMailbox, WakesOncePerDrain) {
  int wakes = 0;
  std::vector<std::string> log;
  CompletionMailbox mailbox([&] { ++wakes; });
  Tag a(kOther, "a", &log), b(kScp, "b", &log), c(kOther, "c", &log);
  mailbox.Post(&a, true);
  mailbox.Post(&b, true);
  EXPECT_EQ(wakes, 1);
  mailbox.Drain(Time{}, 10);
  mailbox.Post(&c, true);
  EXPECT_EQ(wakes, 2);
  mailbox.Drain(Time{}, 10);
}

// Under ThreadSanitizer: threads post tags over and over, the loop gets each exactly as often as it
// was posted.
TEST(CompletionMailbox, ThreadsPostWhileTheLoopDrains) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  struct Counting : Completion {
    explicit Counting(Lane lane) : Completion(lane) {}
    void OnCompleted(Time /*now*/, bool /*ok*/) override {
      ++handled;
      free.store(true, std::memory_order_release);
    }
    int handled = 0;               // the loop's
    std::atomic<bool> free{true};  // may be posted again
  };
  std::atomic<int> wakes{0};
  CompletionMailbox mailbox([&] { wakes.fetch_add(1); });
  std::vector<std::unique_ptr<Counting>> tags;
  std::vector<std::thread> threads;
  std::atomic<int> running{kThreads};
  for (int i = 0; i < kThreads; ++i)
    tags.push_back(std::make_unique<Counting>(i % 2 == 0 ? kScp : kOther));
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) {
        while (!tags[i]->free.exchange(false, std::memory_order_acquire)) std::this_thread::yield();
        mailbox.Post(tags[i].get(), true);
      }
      running.fetch_sub(1);
    });
  }
  while (running.load() > 0) mailbox.Drain(Time{}, 3);
  for (std::thread& thread : threads) thread.join();
  while (mailbox.Drain(Time{}, 3)) {
  }
  for (const auto& tag : tags) EXPECT_EQ(tag->handled, kRounds);
  EXPECT_GT(wakes.load(), 0);
}

}  // namespace
}  // namespace overlay::server
