#include "server/config.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace overlay::server {
namespace {

using absl::StatusCode;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class ConfigTest : public testing::Test {
 protected:
  std::string File() const { return folder_.Path("overlayd.toml"); }
  void Write(const std::string& text) { std::ofstream(File()) << text; }
  // The least that is legal, with these flags and variables besides.
  absl::StatusOr<Config> Parse(std::vector<std::string> flags,
                               std::map<std::string, std::string> environment = {},
                               bool with_file = false) {
    environment.emplace("OVERLAY_NETWORK_PASSPHRASE", "test");
    environment.emplace("OVERLAY_NODE_KEY_FILE", "/key");
    return ParseConfig({std::move(flags), std::move(environment)}, with_file ? File() : "");
  }

  TempFolder folder_;
};

std::string ReadWhole(const std::string& path) {
  std::ifstream stream(path);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

TEST_F(ConfigTest, DefaultsAreLegalAndAsTheTableSays) {
  const auto config = Parse({});
  ASSERT_OK(config);
  EXPECT_EQ(config->peer_listen.port, 11625);
  EXPECT_EQ(config->api_listen, "unix:/run/overlayd/core.sock");
  EXPECT_EQ(config->api_socket_mode, 0600u);
  EXPECT_EQ(config->limits.mempool_count_max, Limits{}.mempool_count_max);
  EXPECT_EQ(config->limits.set_cache_bytes_max, Limits{}.set_cache_bytes_max);
  std::set<std::string> names, variables;
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(names.insert(setting.name).second) << setting.name;
    EXPECT_TRUE(variables.insert(setting.variable()).second) << setting.variable();
  }
}

TEST_F(ConfigTest, FlagsBeatEnvironmentBeatsFileBeatsDefault) {
  Write("[mempool]\ncount_max = 1000\n[log]\nlevel = \"debug\"\nformat = \"json\"\n");
  const auto config =
      Parse({"--mempool.count_max", "3000"},
            {{"OVERLAY_MEMPOOL_COUNT_MAX", "2000"}, {"OVERLAY_LOG_LEVEL", "error"}}, true);
  ASSERT_OK(config);
  EXPECT_EQ(config->limits.mempool_count_max, 3000u);
  EXPECT_EQ(config->log_level, "error");
  EXPECT_EQ(config->log_format, LogFormat::kJson);
}

TEST_F(ConfigTest, EveryTypeIsReadFromTheFile) {
  Write(
      "[peer]\nlisten = \"127.0.0.1:0\"\n[peers]\nknown = [\"a:1\", \"b\"]\ndefault_port = 7\n"
      "[api]\nlisten = \"127.0.0.1:0\"\ninsecure_loopback = true\nsocket_mode = \"0660\"\n"
      "[cache]\nbytes_max = \"64 MiB\"\nguest_bytes_max = 1048576\n[mempool]\nage_max = 60\n");
  const auto config = Parse({}, {}, true);
  ASSERT_OK(config);
  EXPECT_EQ(config->peer_listen, SocketAddress::Loopback(0));
  ASSERT_EQ(config->known_peers.size(), 2u);
  EXPECT_EQ(config->known_peers[0].port, 1);
  EXPECT_EQ(config->default_port, 7);
  EXPECT_TRUE(config->api_insecure_loopback);
  EXPECT_EQ(config->api_socket_mode, 0660u);
  EXPECT_EQ(config->limits.set_cache_bytes_max, 64 * kMiB);
  EXPECT_EQ(config->limits.set_cache_guest_bytes_max, kMiB);
  EXPECT_EQ(config->limits.mempool_age_max, std::chrono::seconds(60));
}

TEST_F(ConfigTest, ListsComeFromFlagsWithCommas) {
  const auto config = Parse({"--peers.known=a:1, b:2,,c"});
  ASSERT_OK(config);
  ASSERT_EQ(config->known_peers.size(), 3u);
  EXPECT_EQ(config->known_peers[1].text, "b:2");
}

TEST_F(ConfigTest, NameServersAreAddressesWithPorts) {
  for (const char* legal : {"", "192.0.2.1:53", "192.0.2.1:53,[2001:db8::1]:5353"}) {
    const auto config = Parse({"--dns.servers", legal});
    ASSERT_OK(config) << legal;
    EXPECT_EQ(config->dns_servers, legal);
  }
  for (const char* bad : {"192.0.2.1", "192.0.2.1:0", "ns.example:53", "192.0.2.1:53,", ",",
                          "192.0.2.1:53;192.0.2.2:53", "192.0.2.1:53, 192.0.2.2:53"}) {
    EXPECT_THAT(Parse({"--dns.servers", bad}),
                StatusIs(StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("dns.servers"), HasSubstr("ADDRESS:PORT"))))
        << bad;
  }
}

// One line that names key, value and what is expected; with file and line for the file.
TEST_F(ConfigTest, WhatIsWrongInTheFileIsNamedWithItsLine) {
  struct Row {
    const char* text;
    const char* where;
    const char* name;
    const char* expected;
  };
  for (const Row& row : {
           Row{"[mempool]\ncuont_max = 5\n", ":2:", "mempool.cuont_max", "--help"},
           Row{"nonsense = 1\n", ":1:", "nonsense", "--help"},
           Row{"[mempool]\n\ncount_max = \"five\"\n", ":3:", "mempool.count_max",
               "100 to 10000000"},
           Row{"[mempool]\ncount_max = 99\n", ":2:", "mempool.count_max: 99", "100 to 10000000"},
           Row{"[api]\nlisten = 7\n", ":2:", "api.listen: 7", "unix:PATH"},
           Row{"[api]\ninsecure_loopback = \"yes\"\n", ":2:", "api.insecure_loopback",
               "true or false"},
           Row{"[peers]\nknown = \"a\"\n", ":2:", "peers.known", "a list"},
           Row{"[peers]\nknown = [\"a:0\"]\n", ":2:", "peers.known", "a list"},
           Row{"mempool = 5\n", ":1:", "mempool: 5", "a section [mempool]"},
           Row{"[node]\nkey = \"S\"\n", ":2:", "node.key", "OVERLAY_NODE_KEY"},
           Row{"[mempool\n", ":1:", "file", "TOML"},
       }) {
    Write(row.text);
    const auto config = Parse({}, {}, true);
    ASSERT_THAT(config, StatusIs(StatusCode::kInvalidArgument,
                                 AllOf(StartsWith(File() + row.where), HasSubstr(row.name),
                                       HasSubstr("expected"), HasSubstr(row.expected))))
        << row.text;
    EXPECT_EQ(std::string(config.status().message()).find('\n'), std::string::npos);
  }
}

TEST_F(ConfigTest, WhatIsWrongInFlagsAndEnvironmentIsNamed) {
  EXPECT_THAT(Parse({"--nonsense", "1"}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("--nonsense")));
  EXPECT_THAT(Parse({"run"}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("run")));
  EXPECT_THAT(Parse({"--log.level"}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("nothing after it")));
  EXPECT_THAT(Parse({"--log.level", "loud"}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("--log.level: \"loud\" is not legal, expected debug")));
  EXPECT_THAT(Parse({}, {{"OVERLAY_LOG_LEVEL", "loud"}}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("environment: OVERLAY_LOG_LEVEL: \"loud\"")));
  EXPECT_THAT(Parse({}, {{"OVERLAY_NONSENSE", "1"}}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("OVERLAY_NONSENSE")));
  EXPECT_THAT(
      ParseConfig({}, folder_.Path("none")),
      StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("/none"), HasSubstr("No such file"))));
}

TEST_F(ConfigTest, ASecretIsNeitherAFlagNorShown) {
  EXPECT_THAT(Parse({"--node.key", "SECRET"}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("--node.key")));
  const auto config = Parse({}, {{"OVERLAY_NODE_KEY", "SECRET"}});
  ASSERT_OK(config);
  EXPECT_EQ(config->key_seed, "SECRET");
}

TEST_F(ConfigTest, WhatIsNeededIsNamed) {
  EXPECT_THAT(ParseConfig({{}, {{"OVERLAY_NODE_KEY_FILE", "/key"}}}, ""),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("network.passphrase")));
  EXPECT_THAT(ParseConfig({{}, {{"OVERLAY_NETWORK_PASSPHRASE", "x"}}}, ""),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("node.key_file")));
}

// What a reload compares is there for every setting, wherever it came from; and who wins is the one
// that counts.
TEST_F(ConfigTest, TheTextsOfAllSettingsAreKept) {
  Write("[peers]\nknown = [\"a\", \"b:5\"]\ninbound_max = 7\n");
  const auto config = Parse({"--peers.inbound_max", "8"}, {{"OVERLAY_LOG_LEVEL", "error"}}, true);
  ASSERT_OK(config);
  EXPECT_EQ(config->given.at("peers.known"), "a, b:5");
  EXPECT_EQ(config->given.at("peers.inbound_max"), "8");
  EXPECT_EQ(config->given.at("log.level"), "error");
  EXPECT_EQ(config->given.at("log.format"), "text");
}

TEST_F(ConfigTest, ALiveSettingSaysSo) {
  std::vector<std::string> live;
  for (const Setting& setting : Settings()) {
    if (setting.live) live.push_back(setting.name);
  }
  EXPECT_EQ(live, (std::vector<std::string>{"peers.known", "peers.preferred", "peers.outbound",
                                            "peers.inbound_max", "peers.newcomers", "peers.closed",
                                            "ready.core", "ready.peers_min", "log.level"}));
  EXPECT_NE(SettingsHelp().find("Live: SIGHUP."), std::string::npos);
}

TEST_F(ConfigTest, AClosedListNeedsKeys) {
  const std::string pinned = "GAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHV4@192.0.2.1:5";
  EXPECT_OK(Parse({"--peers.closed", "true"}));
  EXPECT_OK(Parse({"--peers.known", "192.0.2.1:5"}));
  for (const char* name : {"--peers.known", "--peers.preferred"}) {
    EXPECT_THAT(Parse({name, "192.0.2.1:5", "--peers.closed", "true"}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("192.0.2.1:5")));
    EXPECT_OK(Parse({name, pinned, "--peers.closed", "true"}));
  }
}

// At, below and above the limits of numbers, sizes and modes.
TEST_F(ConfigTest, RangesAreClosed) {
  EXPECT_OK(Parse({"--peers.inbound_max", "1"}));
  EXPECT_OK(Parse({"--peers.inbound_max", "10000"}));
  for (const char* value : {"0", "10001", "-1", "1.5", "", "1 "}) {
    EXPECT_THAT(Parse({"--peers.inbound_max", value}), HasCode(StatusCode::kInvalidArgument))
        << value;
  }
  EXPECT_OK(Parse({"--mempool.bytes_max", "1MiB"}));
  for (const char* value :
       {"0MiB", "17GiB", "128 M", "MiB", "99999999999999999999", "18446744073709551615GiB"}) {
    EXPECT_THAT(Parse({"--mempool.bytes_max", value}), HasCode(StatusCode::kInvalidArgument))
        << value;
  }
  EXPECT_OK(Parse({"--api.socket_mode", "0777"}));
  for (const char* value : {"0577", "01777", "888", ""}) {
    EXPECT_THAT(Parse({"--api.socket_mode", value}), HasCode(StatusCode::kInvalidArgument))
        << value;
  }
}

TEST_F(ConfigTest, ListenersOffLoopbackAreRefused) {
  EXPECT_THAT(Parse({"--api.listen", "0.0.0.0:1"}),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("api.listen"), HasSubstr("mutual TLS"))));
  EXPECT_THAT(Parse({"--operator.listen", "192.0.2.1:1"}),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("operator.listen"), HasSubstr("mutual TLS"))));
  const std::vector<std::string> tls = {"--operator.listen",        "192.0.2.1:1",
                                        "--operator.tls_cert",      "/cert",
                                        "--operator.tls_client_ca", "/ca"};
  EXPECT_THAT(Parse(tls), StatusIs(StatusCode::kInvalidArgument,
                                   AllOf(HasSubstr("operator.tls_key"), HasSubstr("together"))));
  std::vector<std::string> whole = tls;
  whole.insert(whole.end(), {"--operator.tls_key", "/key"});
  EXPECT_OK(Parse(whole));
  EXPECT_OK(Parse({"--api.listen", "127.0.0.1:0", "--api.tls_cert", "/cert", "--api.tls_key",
                   "/key", "--api.tls_client_ca", "/ca"}));
  EXPECT_THAT(Parse({"--api.listen", "unix:/core", "--api.tls_key", "/key"}),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("api.tls_key: \"/key\""), HasSubstr("unix socket"))));
  EXPECT_THAT(Parse({"--api.listen", "127.0.0.1:0"}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("api.token_file")));
  EXPECT_OK(Parse({"--api.listen", "127.0.0.1:0", "--api.insecure_loopback", "true"}));
  EXPECT_OK(Parse({"--api.listen", "[::1]:0", "--api.token_file", "/token"}));
  EXPECT_OK(Parse({"--api.listen", "unix:" + std::string(107, 'a')}));
  EXPECT_THAT(Parse({"--api.listen", "unix:" + std::string(108, 'a')}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("107")));
  EXPECT_THAT(Parse({"--operator.listen", "unix:/run/overlayd/core.sock"}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("another address")));
}

TEST_F(ConfigTest, TheWindowIsOnLoopbackOrHasACertificate) {
  EXPECT_EQ(Parse({})->http3_listen, "");
  const auto config = Parse({"--http3.listen", "[::1]:0", "--http3.connections_max", "4096",
                             "--http3.requests_per_second_max", "1"});
  ASSERT_OK(config);
  EXPECT_EQ(config->http3_connections_max, 4096u);
  EXPECT_EQ(config->http3_requests_max, 1u);
  for (const char* address : {"0.0.0.0:1", "[::]:1", "192.0.2.1:1"}) {
    EXPECT_THAT(Parse({"--http3.listen", address}),
                StatusIs(StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("http3.listen"), HasSubstr("loopback"))));
    EXPECT_OK(
        Parse({"--http3.listen", address, "--http3.tls_cert", "/c", "--http3.tls_key", "/k"}));
  }
  for (const char* half : {"--http3.tls_cert", "--http3.tls_key"}) {
    EXPECT_THAT(Parse({half, "/x"}),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("http3.tls_cert and http3.tls_key go together")));
  }
  for (const char* name : {"--http3.connections_max", "--http3.requests_per_second_max"}) {
    for (const char* value : {"0", "100001", "-1", "x", ""}) {
      EXPECT_THAT(Parse({name, value}), HasCode(StatusCode::kInvalidArgument)) << name << value;
    }
  }
}

// The README's table and the example are made from the same table as the parser.
// OVERLAY_WRITE_DOCS=1 in the environment writes the table anew.
TEST_F(ConfigTest, ReadmeHasTheTable) {
  constexpr char kHeading[] = "## Settings\n\n";
  std::string readme = ReadWhole("README.md");
  const size_t begin = readme.find(kHeading);
  ASSERT_NE(begin, std::string::npos);
  const size_t table = readme.find("| setting", begin);
  size_t end = readme.find("\n\n", table);
  if (end == std::string::npos) end = readme.size() - 1;
  if (std::getenv("OVERLAY_WRITE_DOCS") != nullptr) {
    readme.replace(table, end + 1 - table, SettingsTable());
    std::ofstream("README.md") << readme;
    return;
  }
  EXPECT_EQ(readme.substr(table, end + 1 - table), SettingsTable());
}

TEST_F(ConfigTest, HelpNamesEverySetting) {
  const std::string help = SettingsHelp();
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(help, HasSubstr(setting.secret ? setting.variable() : setting.flag()));
  }
}

TEST_F(ConfigTest, TheExampleIsLegal) {
  const auto config = ParseConfig({}, "docs/overlayd.example.toml");
  ASSERT_OK(config);
  EXPECT_FALSE(config->operator_listen.empty());
}

}  // namespace
}  // namespace overlay::server
