// transport/transport_types.h
//
// What the owner of a PeerTransport tells it at the start, and what it can read back.
#ifndef OVERLAY_TRANSPORT_TRANSPORT_TYPES_H_
#define OVERLAY_TRANSPORT_TRANSPORT_TYPES_H_

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/base/peer_io.h"
#include "flood/base/wire_codec.h"
#include "transport/quic_endpoint.h"
#include "transport/quic_types.h"
#include "transport/send_lanes.h"

namespace overlay::transport {

struct TransportOptions {
  NetworkId network;
  SecretSeed node_seed;
  uint32_t version_min = kProtocolVersion;
  uint32_t version_max = kProtocolVersion;
  uint64_t features = 0;
  std::string agent;
  uint16_t listen_port = 0;     // told to peers; 0: does not accept
  uint64_t instance_nonce = 0;  // random, new at each start
  Limits limits;
  EndpointSettings endpoint;
  // Peers that dialled us, above which another is refused as not_admitted, until an InboundLimit
  // says otherwise. flood decides within it whom to keep; this one is the last line.
  size_t inbound_max = 128;
  // Ping frames to each peer, the first few sooner: their clocks. 0: only probes.
  Duration ping_interval = std::chrono::seconds(30);
  Duration first_ping_after = std::chrono::seconds(1);  // above zero
};

// How often something took how long: bucket i counts what took [2^(i-1), 2^i) microseconds.
struct LatencyCounts {
  std::array<uint64_t, 28> buckets{};
  uint64_t count = 0;
  uint64_t sum_us = 0;

  void Add(Duration d) {
    const uint64_t us = d.count() <= 0 ? 0 : static_cast<uint64_t>(ToMicros(d));
    const size_t bucket = static_cast<size_t>(std::bit_width(us));
    ++buckets[bucket < buckets.size() ? bucket : buckets.size() - 1];
    ++count;
    sum_us += us;
  }
};

struct ClassCount {
  uint64_t bytes = 0;     // of streams: kinds, frames and payloads, without QUIC's own
  uint64_t messages = 0;  // envelopes; frames; requests and answers
};
using ClassCounts = std::array<ClassCount, kSendClassCount>;

// Two living daemons that show one key, for people.
struct SharedKey {
  NodeKey key;            // zero: not seen yet
  bool is_ours = false;   // the other daemon has our key
  SocketAddress address;  // of the other one; of who told us, where a peer has noticed it
  // Of the one that is connected; unspecified where it is ours.
  SocketAddress connected;
};

// A connection that never became a peer's, for people.
struct RefusedConnection {
  CloseReason reason = CloseReason::kNone;
  bool by_peer = false;  // it refused us
  NodeKey key;           // zero: it showed none
  SocketAddress address;
  std::string detail;  // printable
};

// Counters only grow; all peers together. For metrics.
struct TransportStats {
  ClassCounts sent;
  ClassCounts received;
  std::map<CloseReason, uint64_t> closes;    // of connections that were peers', by either end
  std::map<CloseReason, uint64_t> refusals;  // of connections that never became a peer's
  uint64_t refused = 0;                      // all of them
  RefusedConnection last_refused;            // whichever end refused
  std::array<uint64_t, kOffenceCount> offences{};
  uint64_t peers_connected = 0;
  uint64_t peers_disconnected = 0;
  uint64_t dials = 0;
  uint64_t rival_dials = 0;
  uint64_t hellos = 0;              // that were accepted
  uint64_t second_connections = 0;  // that joined a peer which was there
  uint64_t instances_replaced = 0;
  uint64_t keys_shared = 0;          // times that it was noticed
  SharedKey shared_key;              // the last one
  uint64_t ports_changed = 0;        // of a peer: a NAT that forgot
  uint64_t addresses_changed = 0;    // of a peer that moved
  uint64_t envelopes_dropped = 0;    // at the bound of a peer's queue, or refused by the peer
  uint64_t envelopes_resent = 0;     // on another connection
  uint64_t requests_refused = 0;     // of ours, at the bound of the queue
  uint64_t answers_refused = 0;      // to a peer, at the bound of its lanes
  uint64_t streams_unknown = 0;      // of an ignorable kind
  uint64_t lost_stream_packets = 0;  // of connections that have ended
  LatencyCounts envelope_to_wire;    // SendEnvelope to its last byte in a packet
  LatencyCounts envelope_to_ack;     // and to its acknowledgement
};

// One logical peer, for people: see ListPeers.
struct PeerStats {
  PeerId peer;
  PeerInfo info;
  Duration age{};             // since it became a peer
  Duration since_received{};  // any packet
  size_t connections = 1;
  ConnectionStats connection;  // of the one in use
  ClassCounts sent;
  ClassCounts received;
  std::array<size_t, kSendClassCount> queued_bytes{};
  std::array<size_t, kSendClassCount> queued_count{};
  size_t envelopes_unacknowledged = 0;
  bool blocked = false;
  std::optional<Duration> clock_offset;  // theirs minus ours; nullopt: not measured yet
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_TRANSPORT_TYPES_H_
