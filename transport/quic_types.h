// transport/quic_types.h
//
// Names, settings and figures that the QUIC connection, the endpoint and the layer above share.
#ifndef OVERLAY_TRANSPORT_QUIC_TYPES_H_
#define OVERLAY_TRANSPORT_QUIC_TYPES_H_

#include <algorithm>
#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/types/span.h"
#include "flood/base/time.h"
#include "transport/datagram.h"

namespace overlay::transport {

// One connection of this process, from its dial or first packet to its removal. Never used twice.
struct ConnectionId {
  uint64_t value = 0;

  friend auto operator<=>(const ConnectionId&, const ConnectionId&) = default;
  template <class H>
  friend H AbslHashValue(H h, ConnectionId id) {
    return H::combine(std::move(h), id.value);
  }
};

// As QUIC numbers them: bit 0 is set when the acceptor opened it, bit 1 when it is unidirectional.
using StreamId = int64_t;
constexpr bool IsUni(StreamId stream) { return (stream & 2) != 0; }
constexpr bool IsOpenedByDialler(StreamId stream) { return (stream & 1) == 0; }

// A connection id of the wire, at most 20 bytes.
struct QuicCid {
  uint8_t size = 0;
  std::array<uint8_t, 20> bytes{};

  static QuicCid Of(absl::Span<const uint8_t> raw) {
    QuicCid cid;
    cid.size = static_cast<uint8_t>(std::min(raw.size(), cid.bytes.size()));
    std::copy_n(raw.begin(), cid.size, cid.bytes.begin());
    return cid;
  }
  absl::Span<const uint8_t> span() const { return {bytes.data(), size}; }
  friend auto operator<=>(const QuicCid&, const QuicCid&) = default;
  template <class H>
  friend H AbslHashValue(H h, const QuicCid& cid) {
    return H::combine_contiguous(std::move(h), cid.bytes.data(), cid.size);
  }
};

// Every connection id that we issue has this length: short headers carry none. 16 bytes cannot be
// guessed.
inline constexpr size_t kLocalCidBytes = 16;

enum class CongestionControl : uint8_t { kCubic, kBbr };

struct QuicSettings {
  // Envelopes take one stream each, so thousands: with 100 the rate falls to a third.
  uint64_t uni_streams = 4096;
  // Requests for sets and bodies that a peer may have open.
  uint64_t bidi_streams = 64;
  // Covers 1 Gbit/s at 60 ms. It bounds what a peer can make us hold out of order; never less than
  // 1 MiB, which peers demand.
  uint64_t connection_window_bytes = 8 << 20;
  // An envelope (64 KiB) must fit with its frame; 256 KiB lets a control stream run at full speed.
  uint64_t uni_stream_window_bytes = 256 << 10;
  // Requests that peers open: hash lists, small.
  uint64_t bidi_remote_window_bytes = 256 << 10;
  // Answers to our requests: one set should be able to use the path alone.
  uint64_t bidi_local_window_bytes = 8 << 20;
  Duration idle_timeout = std::chrono::seconds(30);
  // Shortened to a third of the idle time-out where the peer's is shorter. 0: none.
  Duration keep_alive = std::chrono::seconds(10);
  Duration handshake_timeout = std::chrono::seconds(4);
  // Acknowledge every second packet at once: with 10, eight senders share a link 0.46 instead of
  // 0.99.
  uint64_t ack_threshold = 2;
  CongestionControl congestion_control = CongestionControl::kCubic;
  bool path_mtu_discovery = true;
  // What is sent at most once path MTU discovery has found that it passes; 1,200 until then.
  size_t datagram_bytes_max = kDatagramBytesMax;
};

// What the peer allowed us in its transport parameters. Valid once the handshake is completed.
struct RemoteLimits {
  uint64_t uni_streams = 0;
  uint64_t bidi_streams = 0;
  uint64_t connection_window_bytes = 0;
  uint64_t uni_stream_window_bytes = 0;
  // For streams that the peer opened, and for those that we open.
  uint64_t bidi_opened_by_peer_window_bytes = 0;
  uint64_t bidi_opened_by_us_window_bytes = 0;
  Duration idle_timeout{};  // 0: none
};

// Counters only grow. Bytes are of UDP payloads.
struct ConnectionStats {
  Duration latest_rtt{};  // contains the peer's acknowledgement delay; 0 before the first sample
  Duration smoothed_rtt{};
  Duration min_rtt{};
  uint64_t cwnd_bytes = 0;
  uint64_t ssthresh_bytes = 0;
  uint64_t in_flight_bytes = 0;
  // All bytes ever put in flight: less in_flight_bytes, it is what has departed (acknowledged or
  // lost).
  uint64_t put_in_flight_bytes = 0;
  uint64_t sent_bytes = 0;
  uint64_t sent_datagrams = 0;
  uint64_t received_bytes = 0;
  uint64_t received_datagrams = 0;
  // Packets with stream data that were declared lost, added up as each stream closes; one that
  // carried several streams counts for each.
  uint64_t lost_stream_packets = 0;
};

enum class CloseCause : uint8_t {
  kLocalApplication,    // Close() was called
  kLocalTransport,      // we found a protocol error; the code says which
  kPeerApplication,     // the peer's code and reason
  kPeerTransport,       // the peer found a protocol error, a TLS alert (0x100 + alert) among them
  kStatelessReset,      // the peer has forgotten the connection: it was restarted
  kIdleTimeout,         // silence
  kHandshakeTimeout,    // no answer, or none in time
  kVersionNegotiation,  // the acceptor speaks no version of QUIC that we do
  kEvicted,             // a half-open one gave its place to a newer
  kDropped,             // a handshake that may not be answered
};

struct CloseInfo {
  CloseCause cause = CloseCause::kDropped;
  uint64_t code = 0;
  // The peer's text (at most 1,024 bytes, unchecked: escape it before it reaches a log), or what we
  // found.
  std::string reason;
  // False when the connection ended before its handshake was completed.
  bool was_up = false;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_QUIC_TYPES_H_
