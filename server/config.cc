#include "server/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "server/listeners.h"

// The packaged library throws; here it is compiled in, without exceptions.
#undef TOML_HEADER_ONLY
#define TOML_HEADER_ONLY 1
#undef TOML_SHARED_LIB
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace overlay::server {
namespace {

constexpr char kPrefix[] = "OVERLAY_";
// Variables with our prefix that are not settings: the corpus of the tests.
constexpr std::string_view kOtherVariables[] = {"OVERLAY_CORPUS", "OVERLAY_CONFIG"};
constexpr size_t kFileBytesMax = 1 << 20;

absl::Status Wrong(std::string_view where, std::string_view name, std::string_view value,
                   std::string_view expected) {
  return absl::InvalidArgumentError(
      fmt::format("{}{}: {} is not legal, expected {}", where, name, value, expected));
}

const Setting* FindByName(std::string_view name) {
  for (const Setting& setting : Settings()) {
    if (setting.name == name) return &setting;
  }
  return nullptr;
}

std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    const size_t first = part.find_first_not_of(' ');
    if (first == std::string::npos) continue;
    parts.push_back(part.substr(first, part.find_last_not_of(' ') - first + 1));
  }
  return parts;
}

std::string Shown(const Setting& setting, const std::string& text) {
  return setting.secret ? "what is there (not shown)" : fmt::format("\"{}\"", text.substr(0, 128));
}

bool Apply(const Setting& setting, const std::vector<std::string>& values, Config& config) {
  if (!setting.apply(config, values)) return false;
  config.given[setting.name] = fmt::format("{}", fmt::join(values, ", "));
  return true;
}

absl::Status ApplyText(const Setting& setting, const std::string& text, std::string_view where,
                       std::string_view name, Config& config) {
  const std::vector<std::string> values =
      setting.type == SettingType::kPeers ? SplitList(text) : std::vector<std::string>{text};
  if (Apply(setting, values, config)) return absl::OkStatus();
  return Wrong(where, name, Shown(setting, text), setting.expected);
}

// ---- the file

std::string NodeText(const toml::node& node) {
  std::ostringstream out;
  node.visit([&out](const auto& value) { out << value; });
  return out.str();
}

// The value as the table's texts have it; nullopt: of the wrong type.
std::optional<std::vector<std::string>> Values(const Setting& setting, const toml::node& node) {
  switch (setting.type) {
    case SettingType::kPeers: {
      const toml::array* array = node.as_array();
      if (array == nullptr) return std::nullopt;
      std::vector<std::string> values;
      for (const toml::node& entry : *array) {
        if (!entry.is_string()) return std::nullopt;
        values.push_back(entry.as_string()->get());
      }
      return values;
    }
    case SettingType::kBool:
      if (!node.is_boolean()) return std::nullopt;
      return std::vector<std::string>{node.as_boolean()->get() ? "true" : "false"};
    case SettingType::kCount:
    case SettingType::kSeconds:
      if (!node.is_integer()) return std::nullopt;
      return std::vector<std::string>{fmt::format("{}", node.as_integer()->get())};
    case SettingType::kBytes:
      if (node.is_integer())
        return std::vector<std::string>{fmt::format("{}", node.as_integer()->get())};
      break;
    case SettingType::kString:
    case SettingType::kAddress:
    case SettingType::kListen:
    case SettingType::kMode:
    case SettingType::kChoice:
      break;
  }
  if (!node.is_string()) return std::nullopt;
  return std::vector<std::string>{node.as_string()->get()};
}

absl::Status ApplyTable(const toml::table& table, const std::string& prefix,
                        const std::string& path, Config& config) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    const std::string where = fmt::format("{}:{}: ", path, node.source().begin.line);
    const bool is_section = std::any_of(
        Settings().begin(), Settings().end(),
        [&name](const Setting& setting) { return setting.name.rfind(name + ".", 0) == 0; });
    if (is_section) {
      const toml::table* section = node.as_table();
      if (section == nullptr)
        return Wrong(where, name, NodeText(node), fmt::format("a section [{}]", name));
      if (absl::Status status = ApplyTable(*section, name + ".", path, config); !status.ok())
        return status;
      continue;
    }
    const Setting* const setting = FindByName(name);
    if (setting == nullptr) {
      return Wrong(where, name, "this key", "one of the settings that overlayd --help lists");
    }
    if (setting->secret) {
      return Wrong(where, name, "a secret in a file",
                   fmt::format("the environment variable {}", setting->variable()));
    }
    const std::optional<std::vector<std::string>> values = Values(*setting, node);
    if (!values || !Apply(*setting, *values, config))
      return Wrong(where, name, NodeText(node), setting->expected);
  }
  return absl::OkStatus();
}

absl::Status ApplyFile(const std::string& path, Config& config) {
  std::ifstream stream(path, std::ios::binary);
  std::string text;
  if (stream) {
    text.resize(kFileBytesMax + 1);
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(stream.gcount()));
  }
  if (!stream.is_open() || stream.bad()) {
    return Wrong("", "--config", fmt::format("\"{}\" ({})", path, std::strerror(errno)),
                 "a readable TOML file");
  }
  if (text.size() > kFileBytesMax)
    return Wrong("", "--config", fmt::format("\"{}\"", path), "at most 1 MiB");
  const toml::parse_result result = toml::parse(text, path);
  if (!result) {
    return Wrong(fmt::format("{}:{}: ", path, result.error().source().begin.line), "file",
                 fmt::format("\"{}\"", std::string(result.error().description())), "TOML");
  }
  return ApplyTable(result.table(), "", path, config);
}

// ---- environment and flags

absl::Status ApplyEnvironment(const std::map<std::string, std::string>& environment,
                              Config& config) {
  for (const auto& [name, value] : environment) {
    if (name.rfind(kPrefix, 0) != 0) continue;
    if (std::find(std::begin(kOtherVariables), std::end(kOtherVariables), name) !=
        std::end(kOtherVariables))
      continue;
    const auto found =
        std::find_if(Settings().begin(), Settings().end(),
                     [&name = name](const Setting& setting) { return setting.variable() == name; });
    if (found == Settings().end()) {
      return Wrong("environment: ", name, "this variable",
                   "one of those that overlayd --help lists");
    }
    if (absl::Status status = ApplyText(*found, value, "environment: ", name, config); !status.ok())
      return status;
  }
  return absl::OkStatus();
}

absl::Status ApplyFlags(const std::vector<std::string>& flags, Config& config) {
  for (size_t i = 0; i < flags.size(); ++i) {
    const std::string& flag = flags[i];
    const size_t equals = flag.find('=');
    const std::string name = flag.substr(0, equals);
    const Setting* const setting = name.rfind("--", 0) == 0 ? FindByName(name.substr(2)) : nullptr;
    if (setting == nullptr || setting->secret) {
      return Wrong("", name, "this argument", "one of those that overlayd --help lists");
    }
    std::string value;
    if (equals != std::string::npos) {
      value = flag.substr(equals + 1);
    } else if (i + 1 < flags.size()) {
      value = flags[++i];
    } else {
      return Wrong("", name, "nothing after it", setting->expected);
    }
    if (absl::Status status = ApplyText(*setting, value, "", name, config); !status.ok())
      return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Config> ParseConfig(const ConfigSources& sources, const std::string& file_path) {
  Config config;
  for (const Setting& setting : Settings()) {
    if (!setting.default_text.empty() && !Apply(setting, {setting.default_text}, config)) {
      return absl::InternalError(fmt::format("the default of {} is not legal", setting.name));
    }
  }
  if (!file_path.empty()) {
    if (absl::Status status = ApplyFile(file_path, config); !status.ok()) return status;
  }
  if (absl::Status status = ApplyEnvironment(sources.environment, config); !status.ok())
    return status;
  if (absl::Status status = ApplyFlags(sources.flags, config); !status.ok()) return status;
  if (config.network_passphrase.empty()) {
    return Wrong("", "network.passphrase", "nothing", "the passphrase of the network");
  }
  if (config.key_file.empty() && config.key_seed.empty()) {
    return Wrong("", "node.key_file", "nothing",
                 "the path of a key file (overlayd keygen makes one), or OVERLAY_NODE_KEY");
  }
  if (!config.operator_listen.empty() && config.operator_listen == config.api_listen &&
      (config.api_listen.rfind("unix:", 0) == 0 ||
       config.api_listen.substr(config.api_listen.rfind(':')) != ":0")) {
    return Wrong("", "operator.listen", fmt::format("\"{}\"", config.operator_listen),
                 "another address than api.listen");
  }
  if (config.limits.set_cache_guest_bytes_max > config.limits.set_cache_bytes_max) {
    return Wrong("", "cache.guest_bytes_max",
                 fmt::format("{}", config.limits.set_cache_guest_bytes_max),
                 "at most cache.bytes_max");
  }
  if (config.peers_closed) {
    for (const auto* peers : {&config.known_peers, &config.preferred_peers}) {
      for (const flood::PeerEntry& entry : *peers) {
        if (entry.pinned_key) continue;
        return Wrong("", peers == &config.known_peers ? "peers.known" : "peers.preferred",
                     fmt::format("\"{}\"", entry.text),
                     "G...@ before the address, because peers.closed is true");
      }
    }
  }
  if (absl::Status status = CheckListeners(config); !status.ok()) return status;
  return config;
}

}  // namespace overlay::server
