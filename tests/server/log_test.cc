#include "server/log.h"

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

}  // namespace
}  // namespace overlay::server
