// The loop on real descriptors. Nothing here waits for a fixed time: what is awaited is awaited by
// the loop.
#include "transport/event_loop.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

class SocketPair {
 public:
  SocketPair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds_.data()), 0); }
  ~SocketPair() {
    for (const int fd : fds_) {
      if (fd >= 0) close(fd);
    }
  }
  int near() const { return fds_[0]; }
  int far() const { return fds_[1]; }
  void Write(char c) { EXPECT_EQ(write(fds_[1], &c, 1), 1); }
  char Read() {
    char c = 0;
    EXPECT_EQ(read(fds_[0], &c, 1), 1);
    return c;
  }

 private:
  std::array<int, 2> fds_{-1, -1};
};

std::unique_ptr<EventLoop> NewLoop() {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
  EXPECT_OK(loop);
  return *std::move(loop);
}

TEST(EventLoop, CallsBackWhatIsReady) {
  const auto loop = NewLoop();
  SocketPair pair;
  int calls = 0;
  ASSERT_OK(loop->Watch(pair.near(), {.read = true}, [&](Time now, FdReady ready) {
    EXPECT_EQ(now, loop->now());
    EXPECT_TRUE(ready.readable);
    EXPECT_FALSE(ready.writable);
    EXPECT_EQ(pair.Read(), 'x');
    ++calls;
  }));
  loop->RunOnce(0ms);
  EXPECT_EQ(calls, 0);
  pair.Write('x');
  loop->RunOnce(10s);
  EXPECT_EQ(calls, 1);
  ASSERT_OK(loop->SetInterest(pair.near(), {.read = true, .write = true}));
  ASSERT_OK(loop->Watch(pair.near(), {.write = true}, [&](Time, FdReady ready) {
    EXPECT_TRUE(ready.writable);
    ++calls;
  }));
  loop->RunOnce(10s);
  EXPECT_EQ(calls, 2);
  EXPECT_THAT(loop->SetInterest(pair.far(), {}), HasCode(absl::StatusCode::kNotFound));
}

TEST(EventLoop, CallsInTheOrderOfWatching) {
  const auto loop = NewLoop();
  std::array<SocketPair, 8> pairs;
  std::vector<int> order;
  for (int i = 7; i >= 0; --i) {
    ASSERT_OK(loop->Watch(pairs[i].near(), {.read = true},
                          [&order, i](Time, FdReady) { order.push_back(i); }));
  }
  for (auto& pair : pairs) pair.Write('x');
  loop->RunOnce(10s);
  EXPECT_THAT(order, testing::ElementsAre(7, 6, 5, 4, 3, 2, 1, 0));
}

// The object behind a descriptor may be gone once it is unwatched.
TEST(EventLoop, UnwatchedInTheSameTurnIsNotCalled) {
  const auto loop = NewLoop();
  SocketPair first;
  SocketPair second;
  int first_calls = 0;
  int second_calls = 0;
  ASSERT_OK(loop->Watch(first.near(), {.read = true}, [&](Time, FdReady) {
    ++first_calls;
    loop->Unwatch(second.near());
    loop->Unwatch(first.near());  // its own, too
  }));
  ASSERT_OK(loop->Watch(second.near(), {.read = true}, [&](Time, FdReady) { ++second_calls; }));
  first.Write('x');
  second.Write('x');
  loop->RunOnce(10s);
  loop->RunOnce(0ms);
  EXPECT_EQ(first_calls, 1);
  EXPECT_EQ(second_calls, 0);
}

// A descriptor that was watched anew in this turn is another one, though it has the old number.
TEST(EventLoop, WatchedAnewInTheSameTurnIsCalledInTheNext) {
  const auto loop = NewLoop();
  SocketPair first;
  SocketPair second;
  int stale = 0;
  int fresh = 0;
  ASSERT_OK(loop->Watch(first.near(), {.read = true}, [&](Time, FdReady) {
    first.Read();
    loop->Unwatch(second.near());
    ASSERT_OK(loop->Watch(second.near(), {.read = true}, [&](Time, FdReady) {
      second.Read();
      ++fresh;
    }));
  }));
  ASSERT_OK(loop->Watch(second.near(), {.read = true}, [&](Time, FdReady) { ++stale; }));
  first.Write('x');
  second.Write('x');
  loop->RunOnce(10s);
  EXPECT_EQ(fresh, 0);
  loop->RunOnce(10s);
  EXPECT_EQ(fresh, 1);
  EXPECT_EQ(stale, 0);
}

TEST(EventLoop, TurnComesAtTheDeadlineAndNotBefore) {
  const auto loop = NewLoop();
  std::vector<Time> turns;
  const Time start = loop->ReadClock();
  const Time deadline = start + 1500us;
  loop->SetTurnHandler([&](Time now) -> std::optional<Time> {
    turns.push_back(now);
    return now < deadline ? std::optional(deadline) : std::nullopt;
  });
  loop->RunOnce(0ms);
  ASSERT_EQ(turns.size(), 1u);
  loop->RunOnce(10s);
  ASSERT_EQ(turns.size(), 2u);
  EXPECT_GE(turns[1], deadline);
  // Below the millisecond: a timer in milliseconds would have come at 2 ms, an unset one after 10
  // s.
  EXPECT_LT(turns[1], deadline + 5s);
}

TEST(EventLoop, DeadlineInThePastMeansATurnAtOnce) {
  const auto loop = NewLoop();
  loop->SetTurnHandler([](Time now) { return std::optional(now - 1h); });
  const Time start = loop->ReadClock();
  for (int i = 0; i < 100; ++i) loop->RunOnce(10s);
  EXPECT_LT(loop->ReadClock() - start, 10s);
  EXPECT_EQ(loop->turns(), 100u);
}

// A deadline that was moved forward must not wait for the timer that stands for the later one.
TEST(EventLoop, EarlierDeadlineReplacesALaterOne) {
  const auto loop = NewLoop();
  int turn = 0;
  loop->SetTurnHandler(
      [&](Time now) -> std::optional<Time> { return ++turn == 1 ? now + 1h : now + 1ms; });
  const Time start = loop->ReadClock();
  loop->RunOnce(0ms);
  loop->RunOnce(0ms);
  loop->RunOnce(20s);
  EXPECT_LT(loop->ReadClock() - start, 10s);
}

TEST(EventLoop, TimeDoesNotGoBackwards) {
  const auto loop = NewLoop();
  Time last = loop->now();
  for (int i = 0; i < 1'000; ++i) {
    const Time now = loop->ReadClock();
    EXPECT_GE(now, last);
    EXPECT_EQ(now, loop->now());
    last = now;
  }
  EXPECT_GT(EventLoop::ReadWallClock().unix_us, 1'600'000'000'000'000);
}

TEST(EventLoop, WakeFromAnotherThreadCausesATurn) {
  const auto loop = NewLoop();
  std::atomic<int> posted{0};
  int seen = 0;
  loop->SetTurnHandler([&](Time) -> std::optional<Time> {
    seen = posted.load();
    if (seen == 1'000) loop->Stop();
    return std::nullopt;
  });
  std::thread poster([&] {
    for (int i = 0; i < 1'000; ++i) {
      posted.fetch_add(1);
      loop->waker().Wake();
    }
  });
  loop->Run();
  poster.join();
  EXPECT_EQ(seen, 1'000);
}

TEST(EventLoop, ManyWakesBeforeATurnAreOneTurn) {
  const auto loop = NewLoop();
  int turns = 0;
  loop->SetTurnHandler([&](Time) -> std::optional<Time> {
    ++turns;
    return std::nullopt;
  });
  for (int i = 0; i < 100; ++i) loop->waker().Wake();
  loop->RunOnce(10s);
  loop->RunOnce(0ms);  // nothing is left to wake for
  EXPECT_EQ(turns, 2);
  // And a later one wakes again: the turn does not come from patience running out.
  loop->waker().Wake();
  const Time start = loop->ReadClock();
  loop->RunOnce(20s);
  EXPECT_EQ(turns, 3);
  EXPECT_LT(loop->ReadClock() - start, 10s);
}

TEST(EventLoop, StopFromAnotherThread) {
  const auto loop = NewLoop();
  std::thread stopper([&] { loop->Stop(); });
  loop->Run();
  stopper.join();
  EXPECT_GE(loop->turns() + 1, 1u);
}

}  // namespace
}  // namespace overlay::transport
