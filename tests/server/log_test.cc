#include "server/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "flood/base/crypto.h"
#include "gtest/gtest.h"
#include "tests/support/captured_stderr.h"

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

uint64_t LeftOut(const std::string& line) {
  constexpr std::string_view kName = "left_out=";
  const size_t at = line.find(kName);
  uint64_t count = 0;
  if (at != std::string::npos) {
    std::from_chars(line.data() + at + kName.size(), line.data() + line.size(), count);
  }
  return count;
}

// R1: what a peer does ten thousand times is a few lines, which tell of all.
TEST(Log, AStormIsAFewLinesThatTellOfAll) {
  constexpr int kEvents = 10'000;
  CapturedStderr captured;
  Log log(LogLevel::kInfo, LogFormat::kText);
  Time now{std::chrono::hours(1)};
  for (int i = 0; i < kEvents; ++i) {
    now += std::chrono::milliseconds(1);  // ten seconds in all
    log.EventLimited(now, LogLevel::kInfo, "offence", {{"number", fmt::format("{}", i)}});
  }
  log.TellLeftOut(now);
  const size_t in_the_storm = captured.Lines().size();
  EXPECT_GE(in_the_storm, Log::kBurst);
  EXPECT_LE(in_the_storm, Log::kBurst + 10);
  log.TellLeftOut(now + std::chrono::seconds(2));
  log.TellLeftOut(now + std::chrono::seconds(60));
  const std::vector<std::string> lines = captured.Lines();
  ASSERT_EQ(lines.size(), in_the_storm + 1);
  uint64_t told = 0;
  for (const std::string& line : lines) told += LeftOut(line) + (line.find("number=") != line.npos);
  EXPECT_EQ(told, static_cast<uint64_t>(kEvents));
  EXPECT_EQ(log.lost(), 0u);
}

// R2: machines can read every line, and each byte of others' texts is in it, up to the cut.
TEST(Log, EveryTextMakesALegalLine) {
  SecretSeed seed;
  seed.bytes.fill(9);
  std::string bytes;
  for (int c = 0; c < 256; ++c) bytes += static_cast<char>(c);
  const std::string forged = "x\n{\"event\":\"forged\"}\r\n";
  const std::string all[] = {bytes,
                             forged,
                             std::string(100'000, '\xff'),
                             "\xf0\x9f\x98",
                             "\xe2\x80\xa8",
                             ToStrkey(seed),
                             "",
                             "a=b \"c\" \\",
                             std::string(100'000, 'y')};
  CapturedStderr captured;
  Log log(LogLevel::kDebug, LogFormat::kJson);
  for (const std::string& text : all) {
    // As many facts as any event has.
    log.Event(LogLevel::kInfo, "heard",
              {{"a", text}, {"b", text}, {"c", text}, {"d", text}, {"e", text}});
  }
  EXPECT_EQ(log.lost(), 0u);
  const std::vector<std::string> lines = captured.Lines();
  ASSERT_EQ(lines.size(), std::size(all));
  for (const std::string& line : lines) {
    EXPECT_LT(line.size(), 4096u);
    google::protobuf::Struct object;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(line, &object).ok()) << line;
    EXPECT_EQ(object.fields().at("event").string_value(), "heard");
    EXPECT_EQ(object.fields_size(), 8);
    EXPECT_EQ(line.find(ToStrkey(seed)), std::string::npos);
  }
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
