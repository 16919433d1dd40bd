// transport/dns_resolver.h
//
// Names to addresses (c-ares), on the loop: no thread, no blocking call.
//
// Rules
//   R1  Every look-up ends in exactly one answer, at the latest when the resolver is destroyed.
//   R2  An IP literal is answered at once.
//   R3  At most kLookupsMax at a time, kAddressesMax addresses an answer; more are cut off.
//       Why: an answer is a stranger's.
//
// Time     deadlines come from c-ares' own time-outs, capped at NextDeadline's granularity.
// Threads  the loop's.
// Not here retrying and caching (flood/peers/dial_plan.h).
#ifndef OVERLAY_TRANSPORT_DNS_RESOLVER_H_
#define OVERLAY_TRANSPORT_DNS_RESOLVER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/socket_address.h"
#include "flood/base/time.h"
#include "transport/event_loop.h"

namespace overlay::transport {

inline constexpr size_t kLookupsMax = 256;
inline constexpr size_t kAddressesMax = 64;

class DnsResolver {
 public:
  using Addresses = absl::StatusOr<std::vector<SocketAddress>>;  // port 0
  using Answer = std::function<void(Time now, const std::string& host, const Addresses& addresses)>;

  // Asks `servers` ("ADDRESS:PORT,..."), or those of resolv.conf when it is empty. INTERNAL when
  // c-ares cannot be set up (an unreadable resolv.conf, say).
  static absl::StatusOr<std::unique_ptr<DnsResolver>> Create(EventLoop* loop, Answer answer,
                                                             const std::string& servers = {});
  ~DnsResolver();
  DnsResolver(const DnsResolver&) = delete;
  DnsResolver& operator=(const DnsResolver&) = delete;

  // NOT_FOUND: no such name or address. UNAVAILABLE: no server answered. RESOURCE_EXHAUSTED: R3.
  void Resolve(Time now, const std::string& host);
  void OnDeadline(Time now);
  std::optional<Time> NextDeadline(Time now) const;

  uint64_t lookups() const { return lookups_; }
  uint64_t failures() const { return failures_; }

 private:
  struct Impl;
  struct Query;
  explicit DnsResolver(EventLoop* loop, Answer answer);
  void Done(Query* query, const Addresses& addresses);

  EventLoop* const loop_;
  const Answer answer_;
  std::unique_ptr<Impl> impl_;
  Time now_{};  // of the entry that is under way: what an answer is given
  size_t open_ = 0;
  uint64_t lookups_ = 0;
  uint64_t failures_ = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_DNS_RESOLVER_H_
