#include "server/clock_watch.h"

#include "gtest/gtest.h"

namespace overlay::server {
namespace {

using namespace std::chrono_literals;
using Say = ClockWatch::Say;

transport::PeerClocks Off(Duration median, size_t measured = 3) {
  return {.measured = measured, .median_offset = median, .largest_offset = 1h};
}

TEST(ClockWatch, SaysItAtItsBeginningItsEndAndEveryTenMinutes) {
  ClockWatch watch;
  Time now{1h};
  EXPECT_EQ(watch.OnClocks(now, Off(5s, 0)), Say::kNothing);
  EXPECT_EQ(watch.OnClocks(now, Off(1s)), Say::kNothing);
  EXPECT_EQ(watch.OnClocks(now, Off(-1s)), Say::kNothing);
  EXPECT_EQ(watch.OnClocks(now, Off(-1s - 1us)), Say::kOff);
  EXPECT_EQ(watch.OnClocks(now + 10min - 1us, Off(9s)), Say::kNothing);
  now += 10min;
  EXPECT_EQ(watch.OnClocks(now, Off(9s)), Say::kOff);
  EXPECT_EQ(watch.OnClocks(now, Off(500ms)), Say::kNothing);
  EXPECT_EQ(watch.OnClocks(now, Off(0s, 0)), Say::kNothing)
      << "no peer: nobody says that it is over";
  EXPECT_EQ(watch.OnClocks(now, Off(500ms - 1us)), Say::kOver);
  EXPECT_EQ(watch.OnClocks(now, Off(1s)), Say::kNothing);
  EXPECT_EQ(watch.OnClocks(now, Off(1s + 1us)), Say::kOff);
}

}  // namespace
}  // namespace overlay::server
