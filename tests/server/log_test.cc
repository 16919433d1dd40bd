#include "server/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"

namespace overlay::server {
namespace {

TEST(Log, TextQuotesWhatNeedsIt) {
  EXPECT_EQ(Log::Render(LogFormat::kText, "peer_up",
                        {{"key", "GABC"}, {"agent", "a b\"\n"}, {"none", ""}}, 0),
            "peer_up key=GABC agent=\"a b\\\"\\u000a\" none=\"\"");
}

TEST(Log, JsonIsEscapedAndSaysWhatWasLeftOut) {
  EXPECT_EQ(Log::Render(LogFormat::kJson, "dns_failed", {{"host", "a\\\x01"}}, 7),
            "\"event\":\"dns_failed\",\"host\":\"a\\\\\\u0001\",\"left_out\":\"7\"");
}

// R3: the loop must not wait for whoever reads the log.
TEST(Log, AFullPipeCostsTheLineAndNoTime) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const std::string much(4096, 'x');
  size_t filled = 0;
  for (ssize_t n = 0; (n = write(ends[1], much.data(), much.size())) > 0;) {
    filled += static_cast<size_t>(n);
  }
  ASSERT_EQ(fcntl(ends[1], F_SETFL, 0), 0);  // as a daemon gets it
  const int before = dup(STDERR_FILENO);
  ASSERT_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
  Log log(LogLevel::kInfo, LogFormat::kText);
  log.Event(LogLevel::kInfo, "first");
  const uint64_t lost_while_full = log.lost();
  std::string read_back(filled, '\0');
  const ssize_t drained = read(ends[0], read_back.data(), read_back.size());
  log.Event(LogLevel::kInfo, "second");
  log.Event(LogLevel::kDebug, "of_a_lesser_level");
  ASSERT_EQ(dup2(before, STDERR_FILENO), STDERR_FILENO);
  const ssize_t got = read(ends[0], read_back.data(), read_back.size());
  for (const int fd : {ends[0], ends[1], before}) close(fd);
  EXPECT_EQ(lost_while_full, 1u);
  EXPECT_EQ(static_cast<size_t>(drained), filled);
  EXPECT_EQ(log.lost(), 1u);
  ASSERT_GT(got, 0);
  EXPECT_NE(read_back.substr(0, static_cast<size_t>(got)).find("info second"), std::string::npos);
}

}  // namespace
}  // namespace overlay::server
