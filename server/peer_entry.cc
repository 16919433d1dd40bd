#include "server/peer_entry.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "flood/base/crypto.h"
#include "flood/base/socket_address.h"

namespace overlay::server {
namespace {

constexpr size_t kHostBytesMax = 253;  // of a DNS name

absl::Status Wrong(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      fmt::format("\"{}\": {}; expected host, host:port, [v6]:port, or one of these after G...@",
                  text.substr(0, 80), why));
}

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}

}  // namespace

absl::StatusOr<flood::PeerEntry> ParsePeerEntry(std::string_view text, bool preferred) {
  if (text.size() > kPeerEntryBytesMax)
    return Wrong(text, fmt::format("{} bytes, at most 320", text.size()));
  flood::PeerEntry entry;
  entry.text = std::string(text);
  entry.preferred = preferred;
  std::string_view rest = text;
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    absl::StatusOr<NodeKey> key = NodeKeyFromStrkey(rest.substr(0, at));
    if (!key.ok())
      return Wrong(
          text, fmt::format("not a public key before @ ({})", std::string(key.status().message())));
    entry.pinned_key = *key;
    rest = rest.substr(at + 1);
  }
  std::string_view port;
  bool has_port = false;
  bool is_v6 = false;
  if (!rest.empty() && rest.front() == '[') {
    const size_t close = rest.find(']');
    if (close == std::string_view::npos) return Wrong(text, "no ] after [");
    entry.host = std::string(rest.substr(1, close - 1));
    rest = rest.substr(close + 1);
    has_port = !rest.empty();
    if (has_port && rest.front() != ':') return Wrong(text, "something other than :port after ]");
    if (has_port) port = rest.substr(1);
    is_v6 = true;
  } else if (std::count(rest.begin(), rest.end(), ':') > 1) {
    entry.host = std::string(rest);
    is_v6 = true;
  } else {
    const size_t colon = rest.find(':');
    has_port = colon != std::string_view::npos;
    entry.host = std::string(rest.substr(0, colon));
    if (has_port) port = rest.substr(colon + 1);
  }
  if (is_v6 && !SocketAddress::ParseIp(entry.host, 1).ok())
    return Wrong(text, "not an IPv6 address");
  if (entry.host.empty()) return Wrong(text, "no host");
  if (entry.host.size() > kHostBytesMax) return Wrong(text, "a host of more than 253 bytes");
  if (!is_v6 && !std::all_of(entry.host.begin(), entry.host.end(), IsNameCharacter)) {
    return Wrong(text, "a character that no host name has");
  }
  if (has_port) {
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535) {
      return Wrong(text, "a port that is not 1 to 65535");
    }
    entry.port = static_cast<uint16_t>(number);
  }
  return entry;
}

}  // namespace overlay::server
