// flood/base/socket_address.h
//
// An IP address and UDP port as a plain value: flood/ and its address book can hold, compare and
// print one without a socket header. IPv4 is kept as an IPv4-mapped IPv6 address, as the dual-stack
// socket sees it.
#ifndef OVERLAY_FLOOD_BASE_SOCKET_ADDRESS_H_
#define OVERLAY_FLOOD_BASE_SOCKET_ADDRESS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace overlay {

struct SocketAddress {
  std::array<uint8_t, 16> ip{};
  uint16_t port = 0;

  // "192.0.2.1:11625", "[2001:db8::1]:11625"; a literal only, never a name. INVALID_ARGUMENT
  // otherwise.
  static absl::StatusOr<SocketAddress> Parse(std::string_view text);
  // `ip` as above without port: "192.0.2.1", "2001:db8::1", "[2001:db8::1]".
  static absl::StatusOr<SocketAddress> ParseIp(std::string_view ip, uint16_t port);
  static SocketAddress V4(uint32_t ip_host_order, uint16_t port);
  static SocketAddress Loopback(uint16_t port) { return V4(0x7f000001, port); }

  bool is_v4() const;
  bool is_loopback() const;
  bool is_unspecified() const;
  std::string IpText() const;
  std::string ToString() const;

  friend auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
  template <class H>
  friend H AbslHashValue(H h, const SocketAddress& a) {
    return H::combine(std::move(h), a.ip, a.port);
  }
};

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_SOCKET_ADDRESS_H_
