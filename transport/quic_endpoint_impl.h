// transport/quic_endpoint_impl.h
//
// The inside of QuicEndpoint, shared by quic_endpoint.cc (routing, timers, life of connections) and
// quic_accept.cc (what comes from addresses that have no connection). Nobody else includes it.
#ifndef OVERLAY_TRANSPORT_QUIC_ENDPOINT_IMPL_H_
#define OVERLAY_TRANSPORT_QUIC_ENDPOINT_IMPL_H_

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "transport/quic_connection_impl.h"
#include "transport/quic_endpoint.h"

namespace overlay::transport {

// So many events a second, with a burst; counted in fractions so that nothing is lost to rounding.
class RateLimit {
 public:
  RateLimit(uint64_t per_second, uint64_t burst) : per_second_(per_second), burst_(burst) {}

  bool Take(Time now) {
    Refill(now);
    if (nano_tokens_ < kNano) return false;
    nano_tokens_ -= kNano;
    return true;
  }
  bool Available(Time now) {
    Refill(now);
    return nano_tokens_ >= kNano;
  }
  // When the next one is allowed.
  Time NextAt(Time now) {
    Refill(now);
    if (nano_tokens_ >= kNano) return now;
    return now + Duration((kNano - nano_tokens_) / per_second_ + 1);
  }

 private:
  static constexpr int64_t kNano = 1'000'000'000;

  void Refill(Time now) {
    const int64_t full = burst_ * kNano;
    if (!started_) {
      started_ = true;
      last_ = now;
      nano_tokens_ = full;
    }
    if (now <= last_) return;
    const Duration gone = std::min<Duration>(now - last_, std::chrono::seconds(1'000));
    nano_tokens_ = std::min(full, nano_tokens_ + gone.count() * per_second_);
    last_ = now;
  }

  const int64_t per_second_;
  const int64_t burst_;
  bool started_ = false;
  Time last_{};
  int64_t nano_tokens_ = 0;
};

// An IPv4 address, or the /64 of an IPv6 one: what one host or one customer has.
std::array<uint8_t, 16> AddressGroup(const SocketAddress& address);

struct QuicEndpoint::Impl {
  struct Entry {
    std::unique_ptr<QuicConnection> connection;
    std::vector<QuicCid> cids;                               // our routes to it
    std::optional<Time> deadline;                            // as it stands in `deadlines`
    std::optional<SocketAddress> dialled;                    // as it stands in `dialled_to`
    std::optional<std::array<uint8_t, 16>> half_open_group;  // accepted, handshake not completed
    bool reserved = false;  // its handshake has one of the places for configured addresses
    bool touched = false;
    bool flush = false;  // stands in `to_flush`
  };
  // A first datagram that waits for its handshake to be begun.
  struct Waiting {
    Path path;
    std::vector<uint8_t> payload;
    std::array<uint8_t, 16> group;
    std::optional<QuicCid> retried_dcid;  // its Retry token was good
    bool reserved = false;                // waits in one of the places for configured addresses
  };
  // Handshakes in flight of one address.
  struct Held {
    size_t all = 0;
    size_t ordinary = 0;  // those that have no reserved place
  };
  struct StatelessAnswer {
    Path path;
    std::vector<uint8_t> payload;
  };

  Impl(const EndpointSettings& s, const TlsIdentity& node, Random r)
      : settings(s), identity(node), random(std::move(r)) {}

  // --- quic_endpoint.cc ---
  Entry* FindEntry(ConnectionId id);
  Entry& Insert(std::unique_ptr<QuicConnection> connection);
  void Touch(ConnectionId id, Entry& entry);
  // Brings routes, deadlines and the flush list up to date with what was touched; removes the dead.
  void Settle();
  void SettleOne(ConnectionId id, Entry& entry);
  void Remove(ConnectionId id);
  void Feed(Time now, ConnectionId id, const Path& path, absl::Span<const uint8_t> payload,
            QuicEvents& out);

  // --- quic_accept.cc ---
  void OnUnroutable(Time now, const Path& path, absl::Span<const uint8_t> payload, bool long_header,
                    QuicEvents& out);
  bool OfferAsReset(Time now, const Path& path, absl::Span<const uint8_t> payload, QuicEvents& out);
  void AnswerWithReset(Time now, const Path& path, absl::Span<const uint8_t> dcid, size_t bytes);
  void AnswerWithVersions(Time now, const Path& path, const ngtcp2_version_cid& header);
  void OnFirstPacket(Time now, const Path& path, absl::Span<const uint8_t> payload);
  // False: it was answered. Verifies the token, or demands one under load.
  bool CheckToken(Time now, const Path& path, const ngtcp2_pkt_hd& header,
                  std::optional<QuicCid>& retried_dcid);
  void AnswerWithRetry(Time now, const Path& path, const ngtcp2_pkt_hd& header);
  void Begin(Time now, const Waiting& waiting, QuicEvents& out);
  void MakeRoomForHandshake(const std::array<uint8_t, 16>& group, bool reserved, QuicEvents& out);
  void Queue(Waiting first_datagram);
  size_t HandshakesOf(const std::array<uint8_t, 16>& group) const;
  void Answer(Time now, const Path& path, std::vector<uint8_t> payload, RateLimit& limit,
              uint64_t& counter);

  const EndpointSettings settings;
  size_t connections_max = settings.connections_max;  // at least that of the settings
  const TlsIdentity& identity;
  Random random;
  EndpointCounters counters;
  bool accepting = true;
  uint64_t next_id = 1;

  // By id, so that whatever is iterated has the same order in every run.
  std::map<ConnectionId, Entry> connections;
  absl::flat_hash_map<QuicCid, ConnectionId> routes;
  std::set<std::pair<Time, ConnectionId>> deadlines;
  std::set<ConnectionId> to_flush;
  std::vector<ConnectionId> touched;
  std::set<std::pair<SocketAddress, ConnectionId>> dialled_to;
  // Accepted connections whose handshake is not completed: all, and how many of each address.
  std::set<ConnectionId> half_open;
  std::map<std::array<uint8_t, 16>, Held> half_open_per_group;
  size_t reserved_in_flight = 0;

  std::deque<Waiting> waiting;
  size_t reserved_waiting = 0;
  absl::flat_hash_set<std::array<uint8_t, 16>> configured;  // by AddressGroup
  std::deque<StatelessAnswer> answers;
  RateLimit handshake_limit{kHandshakesPerSecondMax, kHandshakeBurst};
  RateLimit reset_limit{kResetsPerSecondMax, kResetsPerSecondMax};
  RateLimit answer_limit{kStatelessAnswersPerSecondMax, kStatelessAnswersPerSecondMax};
  RateLimit configured_answer_limit{kStatelessAnswersPerSecondMax, kStatelessAnswersPerSecondMax};
  Time last_now{};
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_QUIC_ENDPOINT_IMPL_H_
