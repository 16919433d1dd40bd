// server/config.h
//
// What an operator can set: one table (settings()) from which flags, environment variables, the
// file's keys, --help, check-config and the README's table are all made, and the values after
// parsing.
//
// Rules
//   R1  Flags beat the environment, which beats the file, which beats the default.
//   R2  What is wrong is refused with one line: name, value, what is expected, and where it stood.
//       Nothing is ignored: an unknown key is an error, and so is an unknown OVERLAY_ variable.
//       Why: a misspelt limit that silently stays at its default is found out in the worst hour.
//   R3  A secret is never repeated in a message.
//   R4  Settings marked `live` are taken up on SIGHUP; of another that differs then, the log says
//       that it needs a restart. A configuration that is refused changes nothing.
//
// Names    setting `peer.listen`: flag --peer.listen, variable OVERLAY_PEER_LISTEN, key `listen` in
//     [peer].
#ifndef OVERLAY_SERVER_CONFIG_H_
#define OVERLAY_SERVER_CONFIG_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/limits.h"
#include "flood/base/socket_address.h"
#include "flood/core_io.h"
#include "server/health.h"
#include "server/http3/http3_limits.h"

namespace overlay::server {

enum class LogFormat : uint8_t { kText, kJson };

struct Config {
  std::string key_file;
  std::string key_seed;  // S..., from the environment; never logged
  std::string network_passphrase;
  SocketAddress peer_listen;
  std::vector<flood::PeerEntry> known_peers;
  std::vector<flood::PeerEntry> preferred_peers;
  std::string dns_servers;  // "ADDRESS:PORT,..."; empty: resolv.conf's
  size_t peers_outbound = flood::PeerTargets{}.outbound;
  size_t peers_newcomers = flood::PeerTargets{}.newcomers;
  bool peers_closed = false;
  std::string peers_file;                // empty: known peers are not kept
  std::optional<uint16_t> default_port;  // none: the port of peer.listen
  std::string api_listen;
  uint32_t api_socket_mode = 0600;
  std::string api_socket_group;
  std::string api_token_file;
  bool api_insecure_loopback = false;
  std::string api_tls_cert;  // these three together, or none
  std::string api_tls_key;
  std::string api_tls_client_ca;
  std::string operator_listen;  // empty: no operator API
  uint32_t operator_socket_mode = 0600;
  std::string operator_socket_group;
  std::string operator_token_file;
  bool operator_insecure_loopback = false;
  std::string operator_tls_cert;
  std::string operator_tls_key;
  std::string operator_tls_client_ca;
  std::string metrics_listen;  // empty: no metrics server
  bool ready_core = HealthNeeds{}.core;
  size_t ready_peers_min = HealthNeeds{}.peers_min;
  std::string http3_listen;    // empty: no HTTP/3 window
  std::string http3_tls_cert;  // these two together, or none
  std::string http3_tls_key;
  size_t http3_connections_max = kHttp3ConnectionsDefault;
  size_t http3_requests_max = kHttp3RequestsDefault;  // a second
  std::string log_level = "info";
  LogFormat log_format = LogFormat::kText;
  Limits limits;
  // Each setting's text, by name, wherever it came from: what a reload compares.
  std::map<std::string, std::string> given;
};

enum class SettingType : uint8_t {
  kString,
  kAddress,
  kListen,
  kBool,
  kCount,
  kBytes,
  kSeconds,
  kMode,
  kPeers,
  kChoice
};

struct Setting {
  std::string name;
  SettingType type;
  std::string default_text;  // as it is written in the file, without quotes
  std::string expected;      // what is legal, for people
  std::string description;
  bool secret = false;  // only from the environment
  bool live = false;    // taken up by a running daemon on SIGHUP
  // Sets the value in the config, or says what is wrong with it (`expected` is added by the
  // parser).
  std::function<bool(Config&, const std::vector<std::string>&)> apply;

  std::string flag() const { return "--" + name; }
  std::string variable() const;
};

// All of them, in the order of the README's table.
const std::vector<Setting>& Settings();
// The README's table of settings, whole.
std::string SettingsTable();
// What `overlayd --help` says of them.
std::string SettingsHelp();

struct ConfigSources {
  std::vector<std::string> flags;  // without the ones that main takes for itself
  std::map<std::string, std::string> environment;
};

// INVALID_ARGUMENT, one line, in every case of R2. `file_path` empty: no file.
absl::StatusOr<Config> ParseConfig(const ConfigSources& sources, const std::string& file_path);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_CONFIG_H_
