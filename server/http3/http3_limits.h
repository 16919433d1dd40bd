// server/http3/http3_limits.h
//
// What the HTTP/3 window may take and give at most, and what it counts.
//
// Threads  Http3Counters: one writer, the window's thread; any thread reads.
#ifndef OVERLAY_SERVER_HTTP3_HTTP3_LIMITS_H_
#define OVERLAY_SERVER_HTTP3_HTTP3_LIMITS_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "flood/base/time.h"

namespace overlay::server {

inline constexpr size_t kHttp3ConnectionsDefault = 64;
inline constexpr size_t kHttp3ConnectionsMax = 4'096;
inline constexpr uint64_t kHttp3RequestsDefault = 1'000;
inline constexpr uint64_t kHttp3RequestsMax = 100'000;

// Requests of a connection under way at once: a page of a browser, a scrape of everything.
inline constexpr uint64_t kHttp3StreamsMax = 16;
// Names and values of a request's header together, each with 32 bytes more, as RFC 9114 counts.
inline constexpr size_t kHttp3HeaderBytesMax = 8 << 10;
// What a client may have sent that is not read yet: a header, and some.
inline constexpr uint64_t kHttp3StreamWindowBytes = 16 << 10;
inline constexpr uint64_t kHttp3ConnectionWindowBytes = 64 << 10;
// Bodies that are being sent, each counted once however many share it: so much is kept in memory
// although the cache may have let it go.
inline constexpr size_t kHttp3BodyBytesMax = 128 << 20;
// Of one connection: the largest set, and some pages.
inline constexpr size_t kHttp3BodyBytesPerConnectionMax = 24 << 20;
// One connection takes half of the rate at most.
inline constexpr uint64_t kHttp3ConnectionShare = 2;

// A connection on which nothing is asked.
inline constexpr Duration kHttp3IdleTimeout = std::chrono::seconds(30);
// A request that does not become complete.
inline constexpr Duration kHttp3RequestTimeout = std::chrono::seconds(10);
// An answer of which nothing more could be sent, and one that takes too long in all: 16 MiB at
// 1 Mbit/s.
inline constexpr Duration kHttp3StallTimeout = std::chrono::seconds(10);
inline constexpr Duration kHttp3AnswerTimeout = std::chrono::seconds(135);
// What answers that are under way have at a drain.
inline constexpr Duration kHttp3DrainMax = std::chrono::milliseconds(400);
// What one connection writes before the next has its turn.
inline constexpr size_t kHttp3WritePassBytes = 64 << 10;

struct Http3Limits {
  size_t connections_max = kHttp3ConnectionsDefault;
  uint64_t requests_per_second_max = kHttp3RequestsDefault;

  // A quarter of them, and never so few that a browser is in its own way.
  constexpr size_t connections_per_address_max() const {
    return connections_max / 4 < 8 ? (connections_max < 8 ? connections_max : 8)
                                   : connections_max / 4;
  }
};

// A number that one thread adds to and others read.
class SharedCount {
 public:
  void Add(uint64_t n = 1) { Set(value() + n); }
  void Set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Why a request was not answered with a page.
enum class Http3Refusal : uint8_t {
  kMalformed,  // 400: a path, or a header
  kNotFound,   // 404: no such page
  kMethod,     // 405
  kBody,       // 413: a request with a body
  kHeader,     // 431: a header that is too long
  kRate,       // 429: of one connection; 503: of all
  kBusy,       // 503: too many pages are being made
  kMemory,     // 503: too many bytes are being sent
};
inline constexpr size_t kHttp3RefusalCount = 8;
constexpr std::string_view Http3RefusalName(size_t refusal) {
  constexpr std::array<std::string_view, kHttp3RefusalCount> kNames = {
      "malformed", "not_found", "method", "body", "header", "rate", "busy", "memory"};
  return refusal < kNames.size() ? kNames[refusal] : "other";
}

struct Http3Counters {
  SharedCount connections;           // now
  SharedCount connections_accepted;  // handshakes completed
  SharedCount connections_refused;   // at a limit
  SharedCount connections_displaced;
  SharedCount connections_stalled;  // did not read their answers
  SharedCount connections_failed;   // broke the protocol
  SharedCount handshakes_begun;
  SharedCount handshakes_evicted;
  SharedCount retries_sent;
  SharedCount datagrams_unroutable;
  SharedCount datagrams_received;
  SharedCount sent_bytes;
  SharedCount received_bytes;
  std::array<SharedCount, 4> answers;  // 2xx, 3xx, 4xx, 5xx
  std::array<SharedCount, kHttp3RefusalCount> refusals;
  SharedCount body_bytes;  // being sent, now

  void Count(Http3Refusal why) { refusals[static_cast<size_t>(why)].Add(); }
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_HTTP3_LIMITS_H_
