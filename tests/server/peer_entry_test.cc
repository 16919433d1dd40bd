#include "server/peer_entry.h"

#include "flood/base/crypto.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::server {
namespace {

using testing::HasSubstr;

TEST(PeerEntry, EveryFormIsRead) {
  struct Row {
    const char* text;
    const char* host;
    std::optional<uint16_t> port;
  };
  for (const Row& row :
       {Row{"example.org", "example.org", {}}, Row{"example.org:1", "example.org", 1},
        Row{"192.0.2.1:65535", "192.0.2.1", 65535}, Row{"[2001:db8::1]:4711", "2001:db8::1", 4711},
        Row{"[2001:db8::1]", "2001:db8::1", {}}, Row{"2001:db8::1", "2001:db8::1", {}}}) {
    const auto entry = ParsePeerEntry(row.text, true);
    ASSERT_OK(entry) << row.text;
    EXPECT_EQ(entry->host, row.host);
    EXPECT_EQ(entry->port, row.port) << row.text;
    EXPECT_EQ(entry->text, row.text);
    EXPECT_TRUE(entry->preferred);
    EXPECT_FALSE(entry->pinned_key);
  }
}

TEST(PeerEntry, KeyBeforeTheHostIsPinned) {
  const NodeKey key = PublicKeyOf(SecretSeed{});
  const auto entry = ParsePeerEntry(ToStrkey(key) + "@[::1]:5", false);
  ASSERT_OK(entry);
  EXPECT_EQ(entry->pinned_key, key);
  EXPECT_EQ(entry->host, "::1");
  EXPECT_FALSE(entry->preferred);
}

TEST(PeerEntry, WhatIsWrongIsNamed) {
  struct Row {
    std::string text;
    const char* why;
  };
  for (const Row& row :
       {Row{"", "no host"}, Row{":5", "no host"}, Row{"host:", "a port"}, Row{"host:0", "a port"},
        Row{"host:65536", "a port"}, Row{"host:1x", "a port"}, Row{"ho st", "a character"},
        Row{"[::1", "no ]"}, Row{"[::1]x", "something other"}, Row{"[nonsense]:1", "not an IPv6"},
        Row{"a:b:c", "not an IPv6"}, Row{"GABC@host", "not a public key"},
        Row{std::string(254, 'a'), "253"}, Row{std::string(321, 'a'), "320"}}) {
    EXPECT_THAT(ParsePeerEntry(row.text, false),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(row.why)))
        << row.text;
  }
  EXPECT_OK(ParsePeerEntry(std::string(253, 'a'), false));
}

}  // namespace
}  // namespace overlay::server
