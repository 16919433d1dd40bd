// The table of settings.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "server/config.h"
#include "server/log.h"
#include "server/peer_entry.h"

namespace overlay::server {
namespace {

using Values = std::vector<std::string>;

std::optional<uint64_t> ParseNumber(std::string_view text, int base = 10) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

// "4096", "64KiB", "512 MiB", "1GiB".
std::optional<uint64_t> ParseBytes(std::string_view text) {
  uint64_t unit = 1;
  for (const auto& [suffix, bytes] :
       {std::pair<std::string_view, uint64_t>{"KiB", kKiB}, {"MiB", kMiB}, {"GiB", 1024 * kMiB}}) {
    if (text.size() > suffix.size() && text.substr(text.size() - suffix.size()) == suffix) {
      unit = bytes;
      text = text.substr(0, text.size() - suffix.size());
      while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
      break;
    }
  }
  const std::optional<uint64_t> number = ParseNumber(text);
  if (!number || *number > UINT64_MAX / unit) return std::nullopt;
  return *number * unit;
}

std::string BytesText(uint64_t bytes) {
  if (bytes % (1024 * kMiB) == 0) return fmt::format("{}GiB", bytes / (1024 * kMiB));
  if (bytes % kMiB == 0) return fmt::format("{}MiB", bytes / kMiB);
  if (bytes % kKiB == 0) return fmt::format("{}KiB", bytes / kKiB);
  return fmt::format("{}", bytes);
}

Setting Text(std::string name, std::string default_text, std::string expected,
             std::string description, std::string Config::*member, bool secret = false) {
  return {.name = std::move(name),
          .type = SettingType::kString,
          .default_text = std::move(default_text),
          .expected = std::move(expected),
          .description = std::move(description),
          .secret = secret,
          .apply = [member](Config& config, const Values& values) {
            config.*member = values[0];
            return true;
          }};
}

// "unix:PATH", or ADDRESS:PORT; empty where the listener can be switched off.
Setting Listen(std::string name, std::string default_text, std::string description,
               std::string Config::*member, bool may_be_off, bool unix_too) {
  return {.name = std::move(name),
          .type = SettingType::kListen,
          .default_text = std::move(default_text),
          .expected = std::string(unix_too ? "unix:PATH or " : "") + "ADDRESS:PORT" +
                      (may_be_off ? ", or nothing" : ""),
          .description = std::move(description),
          .apply = [member, may_be_off, unix_too](Config& config, const Values& values) {
            const std::string& value = values[0];
            const bool ok = (value.empty() && may_be_off) ||
                            (unix_too && value.rfind("unix:", 0) == 0 && value.size() > 5) ||
                            SocketAddress::Parse(value).ok();
            if (ok) config.*member = value;
            return ok;
          }};
}

Setting Flag(std::string name, std::string description, bool Config::*member) {
  return {.name = std::move(name),
          .type = SettingType::kBool,
          .default_text = Config{}.*member ? "true" : "false",
          .expected = "true or false",
          .description = std::move(description),
          .apply = [member](Config& config, const Values& values) {
            if (values[0] != "true" && values[0] != "false") return false;
            config.*member = values[0] == "true";
            return true;
          }};
}

Setting Mode(std::string name, std::string description, uint32_t Config::*member) {
  return {.name = std::move(name),
          .type = SettingType::kMode,
          .default_text = "0600",
          .expected = "an octal mode, 0600 to 0777",
          .description = std::move(description),
          .apply = [member](Config& config, const Values& values) {
            const std::optional<uint64_t> mode = ParseNumber(values[0], 8);
            if (!mode || *mode > 0777 || (*mode & 0600) != 0600) return false;
            config.*member = static_cast<uint32_t>(*mode);
            return true;
          }};
}

Setting Count(std::string name, std::string description, uint64_t low, uint64_t high,
              size_t Limits::*member) {
  return {.name = std::move(name),
          .type = SettingType::kCount,
          .default_text = fmt::format("{}", Limits{}.*member),
          .expected = fmt::format("{} to {}", low, high),
          .description = std::move(description),
          .apply = [low, high, member](Config& config, const Values& values) {
            const std::optional<uint64_t> number = ParseNumber(values[0]);
            if (!number || *number < low || *number > high) return false;
            config.limits.*member = static_cast<size_t>(*number);
            return true;
          }};
}

// From 0; of the daemon rather than of the node's limits.
Setting Number(std::string name, std::string description, uint64_t high, size_t Config::*member) {
  return {.name = std::move(name),
          .type = SettingType::kCount,
          .default_text = fmt::format("{}", Config{}.*member),
          .expected = fmt::format("0 to {}", high),
          .description = std::move(description),
          .apply = [high, member](Config& config, const Values& values) {
            const std::optional<uint64_t> number = ParseNumber(values[0]);
            if (!number || *number > high) return false;
            config.*member = static_cast<size_t>(*number);
            return true;
          }};
}

// The same, from `low`.
Setting NumberFrom(uint64_t low, Setting number) {
  number.expected = fmt::format("{}{}", low, number.expected.substr(1));
  number.apply = [low, apply = std::move(number.apply)](Config& config, const Values& values) {
    const std::optional<uint64_t> value = ParseNumber(values[0]);
    return value && *value >= low && apply(config, values);
  };
  return number;
}

template <class Set>
Setting ByteCount(std::string name, std::string description, uint64_t low, uint64_t high,
                  uint64_t by_default, Set set) {
  return {.name = std::move(name),
          .type = SettingType::kBytes,
          .default_text = BytesText(by_default),
          .expected = fmt::format("{} to {}", BytesText(low), BytesText(high)),
          .description = std::move(description),
          .apply = [low, high, set](Config& config, const Values& values) {
            const std::optional<uint64_t> number = ParseBytes(values[0]);
            if (!number || *number < low || *number > high) return false;
            set(config, static_cast<size_t>(*number));
            return true;
          }};
}

Setting LimitBytes(std::string name, std::string description, uint64_t low, uint64_t high,
                   size_t Limits::*member) {
  return ByteCount(std::move(name), std::move(description), low, high, Limits{}.*member,
                   [member](Config& config, size_t value) { config.limits.*member = value; });
}

Setting Seconds(std::string name, std::string description, uint64_t low, uint64_t high,
                Duration Limits::*member) {
  const auto by_default =
      std::chrono::duration_cast<std::chrono::seconds>(Limits{}.*member).count();
  return {.name = std::move(name),
          .type = SettingType::kSeconds,
          .default_text = fmt::format("{}", by_default),
          .expected = fmt::format("{} to {} seconds", low, high),
          .description = std::move(description),
          .apply = [low, high, member](Config& config, const Values& values) {
            const std::optional<uint64_t> number = ParseNumber(values[0]);
            if (!number || *number < low || *number > high) return false;
            config.limits.*member = std::chrono::seconds(*number);
            return true;
          }};
}

Setting Peers(std::string name, std::string description,
              std::vector<flood::PeerEntry> Config::*member, bool preferred) {
  return {
      .name = std::move(name),
      .type = SettingType::kPeers,
      .default_text = "",
      .expected = "a list of host, host:port, [v6]:port, each perhaps after G...@, 1000 at most",
      .description = std::move(description),
      .apply = [member, preferred](Config& config, const Values& values) {
        std::vector<flood::PeerEntry> entries;
        for (const std::string& value : values) {
          if (value.empty()) continue;
          absl::StatusOr<flood::PeerEntry> entry = ParsePeerEntry(value, preferred);
          if (!entry.ok() || entries.size() >= 1000) return false;
          entries.push_back(*std::move(entry));
        }
        config.*member = std::move(entries);
        return true;
      }};
}

// "192.0.2.1:53,[2001:db8::1]:53"; nothing is legal, too.
bool AreServers(std::string_view text) {
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const absl::StatusOr<SocketAddress> server = SocketAddress::Parse(text.substr(0, comma));
    if (!server.ok() || server->port == 0) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
    if (text.empty()) return false;
  }
  return true;
}

Setting Live(Setting setting) {
  setting.live = true;
  return setting;
}

std::vector<Setting> MakeSettings() {
  std::vector<Setting> s;
  s.push_back(Text("node.key_file", "", "the path of a key file made by `overlayd keygen`",
                   "The node's secret key. Needed, unless `OVERLAY_NODE_KEY` is set.",
                   &Config::key_file));
  s.push_back(Text("node.key", "", "a secret seed, S...",
                   "The node's secret key itself, instead of a file. From the environment only.",
                   &Config::key_seed,
                   /*secret=*/true));
  s.push_back({.name = "network.passphrase",
               .type = SettingType::kString,
               .default_text = "",
               .expected = "a passphrase of 1 to 1000 bytes",
               .description = "Passphrase of the network; its SHA-256 is the network id. Needed.",
               .apply = [](Config& config, const Values& values) {
                 if (values[0].empty() || values[0].size() > 1000) return false;
                 config.network_passphrase = values[0];
                 return true;
               }});
  s.push_back(
      {.name = "peer.listen",
       .type = SettingType::kAddress,
       .default_text = "[::]:11625",
       .expected = "ADDRESS:PORT, port 0 to 65535",
       .description =
           "UDP address on which peers are accepted and dialled from. Port 0: any free one.",
       .apply = [](Config& config, const Values& values) {
         const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(values[0]);
         if (address.ok()) config.peer_listen = *address;
         return address.ok();
       }});
  s.push_back(
      Live(Peers("peers.known", "Peers that are dialled and kept.", &Config::known_peers, false)));
  s.push_back(Live(Peers("peers.preferred", "The same, dialled first and never displaced.",
                         &Config::preferred_peers, true)));
  s.push_back(
      {.name = "peers.default_port",
       .type = SettingType::kCount,
       .default_text = "0",
       .expected = "0 to 65535",
       .description = "Port of peers that are named without one. 0: the port of `peer.listen`.",
       .apply = [](Config& config, const Values& values) {
         const std::optional<uint64_t> port = ParseNumber(values[0]);
         if (!port || *port > 65535) return false;
         config.default_port =
             *port == 0 ? std::nullopt : std::optional(static_cast<uint16_t>(*port));
         return true;
       }});
  s.push_back({.name = "dns.servers",
               .type = SettingType::kString,
               .default_text = "",
               .expected = "ADDRESS:PORT, or several with commas between, or nothing",
               .description = "Name servers to ask instead of those of `/etc/resolv.conf`. Its "
                              "search list counts in any case.",
               .apply = [](Config& config, const Values& values) {
                 if (!AreServers(values[0])) return false;
                 config.dns_servers = values[0];
                 return true;
               }});
  s.push_back(Text("peers.file", "",
                   "the path of a file in a folder that may be written, or nothing",
                   "Where the peers that are known are kept over a restart. Nothing: nowhere.",
                   &Config::peers_file));
  s.push_back(Live(Number("peers.outbound",
                          "Peers that are dialled beyond the configured ones, of those that are "
                          "known.",
                          1000, &Config::peers_outbound)));
  s.push_back(Live(Count("peers.inbound_max",
                         "Peers that may be connected because they dialled us. At the limit "
                         "configured ones displace others.",
                         1, 10000, &Limits::inbound_peers_max)));
  s.push_back(Live(Number("peers.newcomers",
                          "Of those places, how many are never held by others' peers that came "
                          "over 10 minutes ago.",
                          10000, &Config::peers_newcomers)));
  s.push_back(
      Live(Flag("peers.closed",
                "Admits only peers whose keys are pinned (`G...@`) by an entry of file, core "
                "or operator.",
                &Config::peers_closed)));
  s.push_back(Listen("api.listen", "unix:/run/overlayd/core.sock", "Where the core attaches.",
                     &Config::api_listen, false, true));
  s.push_back(Mode("api.socket_mode", "Mode of the core's unix socket.", &Config::api_socket_mode));
  s.push_back(Text("api.socket_group", "", "the name or number of a group, or nothing",
                   "Group of the core's unix socket.", &Config::api_socket_group));
  s.push_back(
      Text("api.token_file", "", "the path of a file with one line",
           "Token that the core must show on a loopback listener (`authorization: Bearer TOKEN`).",
           &Config::api_token_file));
  s.push_back(
      Flag("api.insecure_loopback",
           "Lets any local process attach on a loopback listener. Fit for a pod's own loopback.",
           &Config::api_insecure_loopback));
  s.push_back(Text("api.tls_cert", "",
                   "the path of a PEM file, with `api.tls_key` and `api.tls_client_ca`",
                   "Certificate that the core's listener shows, with its chain: mutual TLS, needed "
                   "where it is not loopback.",
                   &Config::api_tls_cert));
  s.push_back(Text("api.tls_key", "", "the path of a PEM file", "Private key of that certificate.",
                   &Config::api_tls_key));
  s.push_back(Text("api.tls_client_ca", "", "the path of a PEM file",
                   "Authorities of which the core's certificate must be.",
                   &Config::api_tls_client_ca));
  s.push_back(Listen("operator.listen", "",
                     "Where operators and `overlayctl` connect. Nothing: nowhere.",
                     &Config::operator_listen, true, true));
  s.push_back(Mode("operator.socket_mode", "Mode of the operators' unix socket.",
                   &Config::operator_socket_mode));
  s.push_back(Text("operator.socket_group", "", "the name or number of a group, or nothing",
                   "Group of the operators' unix socket.", &Config::operator_socket_group));
  s.push_back(Text("operator.token_file", "", "the path of a file with one line",
                   "As `api.token_file`, for operators.", &Config::operator_token_file));
  s.push_back(Flag("operator.insecure_loopback", "As `api.insecure_loopback`, for operators.",
                   &Config::operator_insecure_loopback));
  s.push_back(Text("operator.tls_cert", "",
                   "the path of a PEM file, with `operator.tls_key` and `operator.tls_client_ca`",
                   "As `api.tls_cert`, for operators.", &Config::operator_tls_cert));
  s.push_back(Text("operator.tls_key", "", "the path of a PEM file",
                   "As `api.tls_key`, for operators.", &Config::operator_tls_key));
  s.push_back(Text("operator.tls_client_ca", "", "the path of a PEM file",
                   "As `api.tls_client_ca`, for operators.", &Config::operator_tls_client_ca));
  s.push_back(Listen("metrics.listen", "",
                     "Where Prometheus scrapes `/metrics`, over HTTP. Nothing: nowhere.",
                     &Config::metrics_listen, true, false));
  s.push_back(Live(
      Flag("ready.core", "`/readyz` says no while no core is attached.", &Config::ready_core)));
  s.push_back(
      Live(Number("ready.peers_min", "`/readyz` says no while fewer peers than that are connected.",
                  10000, &Config::ready_peers_min)));
  s.push_back(Listen("http3.listen", "",
                     "UDP address of the HTTP/3 window: the pages of `metrics.listen` and "
                     "`/txsets/HASH`, to look at. Nothing: none. Beyond loopback it needs "
                     "`http3.tls_cert`.",
                     &Config::http3_listen, true, false));
  s.push_back(Text("http3.tls_cert", "",
                   "the path of a PEM file, with `http3.tls_key`, or nothing on loopback",
                   "Certificate that the window shows, with its chain. Nothing: one of its own "
                   "making, new at each start.",
                   &Config::http3_tls_cert));
  s.push_back(Text("http3.tls_key", "", "the path of a PEM file",
                   "Private key of that certificate.", &Config::http3_tls_key));
  s.push_back(NumberFrom(1, Number("http3.connections_max",
                                   "Connections to the window; a quarter of them from one address, "
                                   "8 at least.",
                                   kHttp3ConnectionsMax, &Config::http3_connections_max)));
  s.push_back(NumberFrom(
      1, Number("http3.requests_per_second_max",
                "Requests that the window answers with a page; half of them of one connection.",
                kHttp3RequestsMax, &Config::http3_requests_max)));
  s.push_back(Live({.name = "log.level",
                    .type = SettingType::kChoice,
                    .default_text = "info",
                    .expected = std::string(kLogLevelsLegal),
                    .description = "What is logged, to standard error.",
                    .apply = [](Config& config, const Values& values) {
                      if (!LogLevelFromName(values[0])) return false;
                      config.log_level = values[0];
                      return true;
                    }}));
  s.push_back({.name = "log.format",
               .type = SettingType::kChoice,
               .default_text = "text",
               .expected = "text or json",
               .description = "One line per event, for people or for machines.",
               .apply = [](Config& config, const Values& values) {
                 if (values[0] != "text" && values[0] != "json") return false;
                 config.log_format = values[0] == "json" ? LogFormat::kJson : LogFormat::kText;
                 return true;
               }});
  s.push_back(LimitBytes("memory.max",
                         "Bytes of payloads in memory, all together: SCP has 128 MiB of it to "
                         "itself; over it transactions waiting for a verdict go first, then old "
                         "sets, then the cheapest of the mempool. The process takes more.",
                         512 * kMiB, 1024 * 1024 * kMiB, &Limits::memory_bytes_max));
  s.push_back(Count("mempool.count_max", "Transactions in the mempool.", 100, 10'000'000,
                    &Limits::mempool_count_max));
  s.push_back(LimitBytes("mempool.bytes_max", "Bytes of them.", kMiB, 16 * 1024 * kMiB,
                         &Limits::mempool_bytes_max));
  s.push_back(Seconds("mempool.age_max", "Age at which a transaction is dropped.", 10, 86400,
                      &Limits::mempool_age_max));
  s.push_back(Count("mempool.per_account_max", "Transactions of one source account. 0: no limit.",
                    0, 100'000, &Limits::mempool_per_account_max));
  s.push_back(LimitBytes("cache.bytes_max", "Bytes of transaction sets kept.", 16 * kMiB,
                         64 * 1024 * kMiB, &Limits::set_cache_bytes_max));
  s.push_back(LimitBytes("cache.guest_bytes_max",
                         "Of those, for sets that the core has not asked for.", kMiB,
                         16 * 1024 * kMiB, &Limits::set_cache_guest_bytes_max));
  s.push_back(Count("cache.quorum_sets_max", "Quorum sets kept.", 10, 100'000,
                    &Limits::quorum_set_count_max));
  return s;
}

}  // namespace

std::string Setting::variable() const {
  std::string text = "OVERLAY_" + name;
  for (char& c : text)
    c = c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

const std::vector<Setting>& Settings() {
  static const std::vector<Setting> settings = MakeSettings();
  return settings;
}

std::string SettingsTable() {
  std::string table =
      "| setting (file, and flag `--SETTING VALUE`) | environment | default | legal | live | what "
      "it does |\n"
      "|---|---|---|---|---|---|\n";
  for (const Setting& setting : Settings()) {
    table += fmt::format("| {} | `{}` | {} | {} | {} | {} |\n",
                         setting.secret ? "(environment only)" : "`" + setting.name + "`",
                         setting.variable(),
                         setting.default_text.empty() ? "" : "`" + setting.default_text + "`",
                         setting.expected, setting.live ? "yes" : "", setting.description);
  }
  return table;
}

std::string SettingsHelp() {
  std::string text;
  for (const Setting& setting : Settings()) {
    const std::string names = setting.secret ? setting.variable() : setting.flag() + " VALUE";
    text += fmt::format(
        "  {}\n      {}\n      Legal: {}.{}{}\n", names, setting.description, setting.expected,
        setting.default_text.empty() ? "" : " Default: " + setting.default_text + ".",
        setting.live ? " Live: SIGHUP." : "");
  }
  return text;
}

}  // namespace overlay::server
