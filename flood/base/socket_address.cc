#include "flood/base/socket_address.h"

#include <arpa/inet.h>  // inet_pton and inet_ntop: text conversion only, no socket
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "absl/status/status.h"

namespace overlay {
namespace {

constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

absl::StatusOr<SocketAddress> SocketAddress::ParseIp(std::string_view ip, uint16_t port) {
  if (ip.size() >= 2 && ip.front() == '[' && ip.back() == ']') ip = ip.substr(1, ip.size() - 2);
  const std::string text(ip);
  SocketAddress address;
  address.port = port;
  if (inet_pton(AF_INET6, text.c_str(), address.ip.data()) == 1) return address;
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.ip.begin());
  if (inet_pton(AF_INET, text.c_str(), address.ip.data() + kMappedPrefix.size()) == 1)
    return address;
  return absl::InvalidArgumentError(fmt::format("\"{}\" is not an IP address", text));
}

absl::StatusOr<SocketAddress> SocketAddress::Parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos ||
      text.substr(0, colon).find(':') != std::string_view::npos) {
    if (text.empty() || text.front() != '[' || text.find("]:") == std::string_view::npos) {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\" is not an address: expected IP:PORT or [IPV6]:PORT", text));
    }
  }
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" has no port from 0 to 65535 after its last colon", text));
  }
  return ParseIp(text.substr(0, colon), port);
}

SocketAddress SocketAddress::V4(uint32_t ip_host_order, uint16_t port) {
  SocketAddress address;
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.ip.begin());
  for (int i = 0; i < 4; ++i)
    address.ip[12 + i] = static_cast<uint8_t>(ip_host_order >> (24 - 8 * i));
  address.port = port;
  return address;
}

bool SocketAddress::is_v4() const {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), ip.begin());
}

bool SocketAddress::is_loopback() const {
  if (is_v4()) return ip[12] == 127;
  std::array<uint8_t, 16> loopback{};
  loopback[15] = 1;
  return ip == loopback;
}

bool SocketAddress::is_unspecified() const {
  return std::all_of(ip.begin() + (is_v4() ? 12 : 0), ip.end(), [](uint8_t b) { return b == 0; });
}

std::string SocketAddress::IpText() const {
  char text[INET6_ADDRSTRLEN];
  if (is_v4()) {
    inet_ntop(AF_INET, ip.data() + 12, text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, ip.data(), text, sizeof(text));
  }
  return text;
}

std::string SocketAddress::ToString() const {
  return is_v4() ? fmt::format("{}:{}", IpText(), port) : fmt::format("[{}]:{}", IpText(), port);
}

}  // namespace overlay
