// transport/dns_srv.h
//
// Reads the SRV records of a DNS response: which hosts and ports offer a service, and for how long
// that is so (c-ares' own parser says nothing of the time).
//
// Rules
//   R1  A packet that is no response, or ends within a record, or whose names do not end, is
//       INVALID_ARGUMENT; not a byte outside it is read. Why: it is a stranger's.
//   R2  kSrvRecordsMax records are given, those of the lowest priority first, the heavier first
//       among equals.
//   R3  A target that is the root (the service is not offered) or no host's name is left out.
//
// Bounds   packets of 64 KiB; R2.
// Cost     O(bytes), a name 255 bytes at most. Time, threads: none.
// Not here asking (dns_resolver.h), choosing by weight: all targets are dialled.
#ifndef OVERLAY_TRANSPORT_DNS_SRV_H_
#define OVERLAY_TRANSPORT_DNS_SRV_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace overlay::transport {

inline constexpr size_t kSrvRecordsMax = 16;

struct SrvRecord {
  uint16_t priority = 0;
  uint16_t weight = 0;
  uint16_t port = 0;
  std::string target;        // without the dot at its end
  uint32_t ttl_seconds = 0;  // never more than 2^31 - 1
};

absl::StatusOr<std::vector<SrvRecord>> ParseSrv(absl::Span<const uint8_t> packet);

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_DNS_SRV_H_
