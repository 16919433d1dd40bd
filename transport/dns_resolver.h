// transport/dns_resolver.h
//
// Names to addresses (c-ares), on the loop: no thread, no blocking call. A and AAAA records, and
// where asked the SRV records of _overlay._udp.NAME, all begun at once, with the search list of
// resolv.conf.
//
// Rules
//   R1  Every look-up ends in exactly one answer: within kAnswerWithin whatever c-ares does, at the
//       latest when the resolver is destroyed.
//   R2  An IP literal is answered at once.
//   R3  At most kLookupsMax at a time, kAddressesMax addresses an answer; more are cut off.
//       Why: an answer is a stranger's.
//   R4  Services win as soon as one of their targets has an address; then the answer has their
//       ports. Else A and AAAA count, and a failure of the services is none of the look-up; they
//       hold up what A and AAAA gave for kServicesWait at most.
//   R5  The TTL is the smallest of the records used; 0, as the hosts file's, is kNoTtl.
//   R6  When a look-up finds no server, resolv.conf is looked at, every kStatEvery at most; if it
//       has changed it is read again. Why: a machine that changes its network keeps its daemons.
//
// Time     argument; c-ares' own time-outs are shorter than R1's.
// Threads  the loop's.
// Not here retrying and caching (flood/peers/name_book.h).
#ifndef OVERLAY_TRANSPORT_DNS_RESOLVER_H_
#define OVERLAY_TRANSPORT_DNS_RESOLVER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/resolved_host.h"
#include "flood/base/time.h"
#include "transport/event_loop.h"

namespace overlay::transport {

inline constexpr size_t kLookupsMax = 256;
inline constexpr size_t kAddressesMax = 64;
inline constexpr Duration kAnswerWithin = std::chrono::seconds(10);
inline constexpr Duration kServicesWait = std::chrono::seconds(3);
inline constexpr Duration kNoTtl = std::chrono::seconds(5);
inline constexpr Duration kStatEvery = std::chrono::seconds(30);

struct DnsOptions {
  std::string servers;      // "ADDRESS:PORT,..."; empty: those of resolv.conf
  std::string resolv_conf;  // a path; empty: the system's
};

class DnsResolver {
 public:
  using Answer = std::function<void(Time now, const std::string& host, bool services,
                                    const absl::StatusOr<ResolvedHost>& resolved)>;

  // INTERNAL when c-ares cannot be set up (an unreadable resolv.conf, say).
  static absl::StatusOr<std::unique_ptr<DnsResolver>> Create(EventLoop* loop, Answer answer,
                                                             DnsOptions options);
  ~DnsResolver();
  DnsResolver(const DnsResolver&) = delete;
  DnsResolver& operator=(const DnsResolver&) = delete;

  // NOT_FOUND: no such name or address. UNAVAILABLE: no server answered. RESOURCE_EXHAUSTED: R3.
  void Resolve(Time now, const std::string& host, bool services);
  void OnDeadline(Time now);
  std::optional<Time> NextDeadline(Time now) const;

 private:
  struct Channel;
  struct Query;
  struct Part;
  struct FileStamp;

  DnsResolver(EventLoop* loop, Answer answer, DnsOptions options);
  absl::Status Open();
  FileStamp Stat() const;
  void Begin(std::unique_ptr<Part> part, const std::string& name);
  void OnAddresses(const Part& part, int status, const void* result);
  void OnServices(const Part& part, int status, const uint8_t* packet, int bytes);
  void Conclude(Query& query);
  void End(Query& query, absl::StatusOr<ResolvedHost> resolved);
  void LookAtFile();

  EventLoop* const loop_;
  const Answer answer_;
  const DnsOptions options_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<FileStamp> file_;
  Time looked_at_ = Time::min();  // R6
  bool file_changed_ = false;
  Time now_{};  // of the entry that is under way: what an answer is given
  uint64_t next_id_ = 0;
  std::map<uint64_t, std::shared_ptr<Query>> open_;  // not answered
  size_t alive_ = 0;                                 // and those that c-ares still holds
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_DNS_RESOLVER_H_
