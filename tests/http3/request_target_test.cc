#include "server/http3/request_target.h"

#include <gtest/gtest.h>

namespace overlay::server {
namespace {

TEST(RequestTarget, SplitsAndDecodesOnce) {
  const auto target = ParseRequestTarget("/a/b%2Dc?x=%20&y");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/a/b-c");
  EXPECT_EQ(target->query, "x=%20&y");
  EXPECT_EQ(ParseRequestTarget("/")->path, "/");
  EXPECT_EQ(ParseRequestTarget("/txsets/")->path, "/txsets/");
  EXPECT_EQ(ParseRequestTarget("/a?")->query, "");
}

TEST(RequestTarget, RefusesWhatCanBeReadInTwoWays) {
  for (const char* text :
       {"",      "a",       "*",         "http:",  "//",     "//a",   "/a//b", "/./",   "/a/..",
        "/..",   "/a/../b", "/%2e%2e/a", "/a%2fb", "/a%2Fb", "/%25",  "/a%",   "/a%2",  "/a%zz",
        "/a%00", "/a%0a",   "/a%7f",     "/a%80",  "/a b",   "/a\tb", "/a#b",  "/\x80", "/a\x01"}) {
    EXPECT_FALSE(ParseRequestTarget(text)) << text;
  }
  EXPECT_FALSE(ParseRequestTarget(std::string_view("/a\0b", 4)));
}

TEST(RequestTarget, AtTheLimit) {
  const std::string at = "/" + std::string(kTargetBytesMax - 1, 'a');
  EXPECT_TRUE(ParseRequestTarget(at));
  EXPECT_FALSE(ParseRequestTarget(at + "a"));
}

}  // namespace
}  // namespace overlay::server
