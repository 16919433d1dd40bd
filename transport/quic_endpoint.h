// transport/quic_endpoint.h
//
// All QUIC connections behind one UDP port, without IO: routes datagrams by connection id, accepts,
// dials, answers what belongs to no connection, and removes what is dead.
//
// A turn of the owner
//   OnDatagram() for what came in; OnDeadline(); the owner handles the events; sessions write
//   through Drain(id, ...) class by class; DrainDatagrams() for all that is left; AcceptWaiting()
//   for new handshakes; sleep until NextDeadline().
//
// Rules
//   R1  At most kHandshakesMax accepted handshakes are in flight, kHandshakesPerAddressMax of one
//       address (IPv6: one /64). Over it the oldest of the same address goes, over the total the
//       oldest of the address that holds most. Why: a flood costs the flooder, never the newcomer.
//   R2  New handshakes wait in a bounded queue, and AcceptWaiting() takes kHandshakesPerSecondMax
//       of them a second. Why: one costs up to 0.8 ms, and envelopes come first.
//   R3  Above kRetryThreshold handshakes in flight or waiting, an address must prove itself by a
//       Retry token. Why: spoofed addresses then cost a packet each and no state.
//   R4  A datagram of no connection gets a stateless reset, always smaller than itself,
//       kResetsPerSecondMax a second. Why: a peer of our former life learns at once; two resetting
//       endpoints must not ping-pong.
//   R5  A stateless reset of the peer carries a random connection id: it is offered to the
//       connections that we dialled to its address. Why: routing by id alone would drop it.
//   R6  A Retry token is good for its address and kRetryTokenLifetime.
//   R7  What could not be written because the sink was blocked is dropped only if it belongs to no
//       connection.
//   R8  Of the places in flight and in the queue kHandshakesReserved are for configured addresses:
//       strangers never hold them, configured ones are begun first, and answers to them (Retry)
//       have a rate and room of their own. Beyond them a configured address competes with the
//       strangers. R1's limit of one address and R3 hold for all. Why: while strangers flood, a
//       validator that restarts gets through to those who configured it; a spoofed address does
//       not, because it cannot show the Retry token.
//
// Bounds   connections_max of EndpointSettings; the constants below.
// Cost     a hash look-up a datagram; O(log n) a connection that was touched in a turn.
// Time     argument only.
// Threads  none: owned by the loop thread.
// Not here who is a welcome peer, redialling (session layer, flood/peers).
#ifndef OVERLAY_TRANSPORT_QUIC_ENDPOINT_H_
#define OVERLAY_TRANSPORT_QUIC_ENDPOINT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "flood/base/ids.h"
#include "flood/base/random.h"
#include "flood/base/socket_address.h"
#include "flood/base/time.h"
#include "transport/datagram.h"
#include "transport/quic_connection.h"
#include "transport/quic_events.h"
#include "transport/quic_types.h"
#include "transport/tls_identity.h"

namespace overlay::transport {

inline constexpr size_t kHandshakesMax = 256;
inline constexpr size_t kHandshakesPerAddressMax = 16;
inline constexpr size_t kHandshakesReserved = 32;
// A quarter of what is allowed: enough for every validator of a network to come back at once.
inline constexpr size_t kRetryThreshold = 64;
inline constexpr uint64_t kHandshakesPerSecondMax = 100;
// Taken at once after a quiet time: 16 of them cost 13 ms at most, spread over turns by the owner.
inline constexpr uint64_t kHandshakeBurst = 16;
// Waiting to be begun; each is one datagram.
inline constexpr size_t kHandshakeQueueMax = 256;
inline constexpr uint64_t kResetsPerSecondMax = 100;
// Version Negotiation, Retry and refusals of tokens together.
inline constexpr uint64_t kStatelessAnswersPerSecondMax = 1'000;
inline constexpr Duration kRetryTokenLifetime = std::chrono::seconds(10);
// Answers that belong to no connection and wait for the sink.
inline constexpr size_t kStatelessQueueMax = 64;

static_assert(kRetryThreshold < kHandshakesMax);
static_assert(kHandshakesPerAddressMax < kRetryThreshold);
static_assert(kHandshakesReserved < kHandshakesMax && kHandshakesReserved < kHandshakeQueueMax);

struct EndpointSettings {
  QuicSettings quic;
  // Of both directions, half-open ones included; each costs 50 kB.
  size_t connections_max = 1'024;
  bool accept = true;
};

// Only grow.
struct EndpointCounters {
  uint64_t datagrams_received = 0;
  uint64_t datagrams_unroutable = 0;  // malformed, or of no connection and not an Initial
  uint64_t handshakes_begun = 0;      // accepted ones
  uint64_t handshakes_completed = 0;  // accepted ones
  uint64_t handshakes_evicted = 0;
  uint64_t handshakes_refused_queue = 0;  // the queue or the table of connections was full
  uint64_t retries_sent = 0;
  uint64_t tokens_refused = 0;
  uint64_t resets_sent = 0;
  uint64_t resets_received = 0;
  uint64_t version_negotiations_sent = 0;
  uint64_t stateless_suppressed = 0;  // over a rate or the queue
};

class QuicEndpoint {
 public:
  // `identity` must outlive the endpoint. `random` should be seeded from secret bytes in
  // production.
  QuicEndpoint(const EndpointSettings& settings, const TlsIdentity& identity, Random random);
  ~QuicEndpoint();
  QuicEndpoint(const QuicEndpoint&) = delete;
  QuicEndpoint& operator=(const QuicEndpoint&) = delete;

  // --- Getters ---
  // nullptr: no such connection (any more). Valid until the next call that is not a getter.
  const QuicConnection* Find(ConnectionId id) const;
  size_t connection_count() const;
  size_t handshakes_in_flight() const;
  size_t handshakes_waiting() const;
  const EndpointCounters& counters() const;
  // Connections that a DrainDatagrams() would flush, in order of their ids: give their sources a
  // kFlush pass before it, if they have one. Includes those whose pacing or loss timer has run out.
  std::vector<ConnectionId> NeedFlush() const;
  // When OnDeadline() or AcceptWaiting() has something to do. Connections that wait to be flushed
  // are left out, because they wait for the sink, not for time.
  std::optional<Time> NextDeadline();

  // --- Inputs ---
  // `path.local`: where it arrived, or unspecified when the socket does not tell.
  void OnDatagram(Time now, const Path& path, absl::Span<const uint8_t> payload, QuicEvents& out);
  void OnDeadline(Time now, QuicEvents& out);
  // Begins one waiting handshake if R2 allows. Call after class 0 was written. True: another may be
  // begun at once: look at class 0 first.
  bool AcceptWaiting(Time now, QuicEvents& out);

  // --- Commands ---
  // For the commands of a connection. Do not keep the pointer: asking for it is what tells the
  // endpoint that deadline and routes may have changed.
  QuicConnection* Mutable(ConnectionId id);
  // RESOURCE_EXHAUSTED at connections_max; INVALID_ARGUMENT for an unspecified address or port 0.
  absl::StatusOr<ConnectionId> Dial(Time now, const SocketAddress& remote,
                                    const std::optional<NodeKey>& pinned);
  // R8: replaces those told before. Ports do not count, and of IPv6 the /64 alone.
  void SetConfigured(absl::Span<const SocketAddress> addresses);
  // From now on connections_max is this, unless it is more already.
  void RaiseConnectionsMax(size_t count);
  // Refuses new connections from now on (drain).
  void StopAccepting();
  void CloseAll(Time now, uint64_t code, std::string_view reason, QuicEvents& out);

  // --- Output ---
  // One pass of one connection. Nothing for an unknown id.
  WriteResult Drain(Time now, ConnectionId id, DatagramSink& sink, StreamSource* source,
                    const WritePass& pass, QuicEvents& out);
  // Stateless answers, then a flush without source for every connection that needs one. Removes the
  // dead.
  void DrainDatagrams(Time now, DatagramSink& sink, QuicEvents& out);

  // O(state); tests and the simulator.
  void CheckInvariants() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_QUIC_ENDPOINT_H_
