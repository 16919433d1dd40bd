// transport/peer_transport.h
//
// All peers behind one UDP port, without IO: datagrams, time and PeerCommands go in, datagrams and
// PeerEvents come out. The daemon and the simulator drive the same object.
//
//   transport->OnDatagram(now, path, bytes);   // for what came in
//   transport->Execute(now, command);          // for what flood asked
//   for (PeerEvent& event : transport->DrainEvents()) ...
//   bool more = transport->WriteTurn(now, sink);
//   sleep until transport->NextDeadline(), but not if `more`; then transport->OnDeadline(now)
//
// Rules
//   R1  A key is one logical peer, whatever number of connections it has: one PeerConnected, one
//       PeerDisconnected. Another instance of it is another peer: the old one is disconnected
//       first.
//   R2  What two connections of one peer mean is connection_rule.h's. Writing is on one of them;
//       all are read. When one ends, or turns suspect and another takes over, what it had not seen
//       acknowledged is sent again on the one in use.
//   R3  The end that decides closes the others when their streams are done, or 5 s later.
//   R4  A peer that is silent for 5 s with data outstanding gets a rival dial, to where it was
//       dialled or where it says that it listens; then again every 5 s. PeerSilent tells of it, and
//       of its end, so that flood looks for the peer elsewhere.
//   R5  A turn writes class 0 of all connections, then begins handshakes, then class 1, then bulk:
//       64 KiB in all, the connections in turn. Why: no envelope waits for more than that.
//   R6  A Dial ends in exactly one DialEnded.
//   R7  Above the inbound limit of peers that dialled us another is refused, as not_admitted.
//   R8  A drain refuses dials and new connections, and sends Goaway; the owner goes on with turns
//       until flushed(), then calls CloseAll().
//   R9  InvBlocked says when more than kInvQueueHighBytes of announcements wait for a peer after a
//       turn, and when no more than kInvQueueLowBytes do. Why: a peer that is too busy for
//       transactions pauses them; it must not lose its envelopes for that.
//
// Bounds   connections: EndpointSettings::connections_max; per peer 4 connections; per connection
//          what peer_session.h says.
// Memory   an idle peer costs 50 kB of QUIC and TLS, 2 kB of session and 0.5 kB here.
// Cost     a turn is O(connections) small checks (72 peers: some 2 us) beside what is written.
// Time     argument only; wall-clock time is told with SetWallTime().
// Threads  none: owned by the loop thread.
// Not here whom to dial and when, scores, bans (flood/); sockets (udp_socket.h).
#ifndef OVERLAY_TRANSPORT_PEER_TRANSPORT_H_
#define OVERLAY_TRANSPORT_PEER_TRANSPORT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "flood/base/peer_io.h"
#include "flood/base/random.h"
#include "transport/connection_rule.h"
#include "transport/peer_session.h"
#include "transport/quic_endpoint.h"
#include "transport/transport_types.h"

namespace overlay::transport {

inline constexpr size_t kConnectionsPerPeerMax = 4;
// R9. Some 5,800 announcements, more than a peer keeps before it pauses them, and half a second of
// the network's; the stream closes at eight times that (kLongStreamQueueBytesMax).
inline constexpr size_t kInvQueueHighBytes = 256 * kKiB;
inline constexpr size_t kInvQueueLowBytes = 64 * kKiB;
inline constexpr Duration kRivalDialAfter = std::chrono::seconds(5);      // R4
inline constexpr Duration kDuplicateLingerMax = std::chrono::seconds(5);  // R3
// How often a contest of two connections is looked at.
inline constexpr Duration kContestInterval = std::chrono::milliseconds(100);
// R5.
inline constexpr uint64_t kBulkTurnBytesMax = 64 * kKiB;
// Requests that peers make are numbered from here, ours (by flood) from 1: CancelRequest names
// both.
inline constexpr uint64_t kPeerRequestFirst = uint64_t{1} << 63;

class PeerTransport {
 public:
  // INTERNAL when TLS cannot be set up with the key.
  static absl::StatusOr<std::unique_ptr<PeerTransport>> Create(TransportOptions options,
                                                               Random random);
  ~PeerTransport();
  PeerTransport(const PeerTransport&) = delete;
  PeerTransport& operator=(const PeerTransport&) = delete;

  // ---- inputs
  void OnDatagram(Time now, const Path& path, absl::Span<const uint8_t> payload);
  void Execute(Time now, PeerCommand command);
  void OnDeadline(Time now);
  // For Ping and Pong. Once at the start, then whenever convenient: it is carried forward by `now`.
  void SetWallTime(Time now, WallTime wall);
  // R8. `redial_after` is told to the peers.
  void StartDrain(Time now, std::string_view reason, Duration redial_after);
  // Ends every peer and every dial, with `reason` on the wire.
  void CloseAll(Time now, CloseReason reason, std::string_view detail);

  // ---- outputs
  std::vector<PeerEvent> DrainEvents();
  // R5. True: more could be written at once; look at what came in, then call again.
  bool WriteTurn(Time now, DatagramSink& sink);
  std::optional<Time> NextDeadline();

  // ---- getters
  const NodeKey& node_key() const { return identity_->node_key(); }
  const TransportStats& stats() const { return stats_; }
  const EndpointCounters& endpoint_counters() const { return endpoint_->counters(); }
  size_t peer_count() const { return peers_.size(); }
  size_t connection_count() const { return endpoint_->connection_count(); }
  std::vector<PeerStats> ListPeers(Time now) const;
  PeerClocks Clocks() const;
  // Nothing of class 0 or 1 waits, and every envelope is acknowledged.
  bool envelopes_flushed() const;
  // The same, and no set waits.
  bool flushed() const;
  // O(state); tests and the simulator.
  void CheckInvariants() const;

 private:
  struct Peer {
    PeerShared shared;
    PeerInfo info;
    Time since;
    std::vector<ConnectionId> connections;  // in the order in which they joined
    ConnectionId in_use;
    bool blocked = false;
    bool inv_blocked = false;
    bool silent = false;  // as told
    Time contest_since;   // R3: when the last connection joined
    Time next_contest_at = kTimeNever;
    std::optional<ConnectionId> rival;
    Time rival_not_before = Time::min();
    ClassCounts sent_before{};  // on connections that have ended
    ClassCounts received_before{};
    uint64_t bytes_sent_before = 0;
    uint64_t bytes_received_before = 0;
  };

  PeerTransport(TransportOptions options, std::unique_ptr<TlsIdentity> identity, Random random);

  PeerSession* SessionOf(ConnectionId id);
  const PeerSession* SessionOf(ConnectionId id) const;
  Peer* PeerOf(PeerId id);
  PeerSession& InUse(Peer& peer) { return *sessions_.at(peer.in_use); }

  // peer_transport.cc
  void HandleQuicEvents(Time now);
  void HandleQuicEvent(Time now, const QuicEvent& event);
  void ExecuteOne(Time now, Dial& dial);
  void ExecuteOne(Time now, DropPeer& drop);
  void ExecuteOne(Time now, PauseInv& pause);
  void ExecuteOne(Time now, ConfiguredAddresses& configured);
  void ExecuteOne(Time now, InboundLimit& limit);
  template <class Command>
  void ExecuteOne(Time now, Command& command);
  bool WriteBulk(Time now, DatagramSink& sink);
  void UpdateBlocked(Time now);
  void UpdateInvBlocked();

  // logical_peers.cc
  void Admit(Time now, PeerSession& session);
  void AddPeer(Time now, PeerSession& session);
  void OnMoved(const PeerSession& session);
  void Join(Time now, Peer& peer, PeerSession& session);
  void EndDial(const PeerSession& session, CloseReason reason, std::string_view detail);
  void OnClosed(Time now, ConnectionId id, const CloseInfo& info);
  void OnPeerConnectionClosed(Time now, PeerSession& session, CloseReason reason, bool by_peer,
                              std::string_view detail);
  void Disconnect(Time now, PeerId id, CloseReason reason, bool by_peer, std::string_view detail,
                  bool close_connections);
  void AddBytes(ConnectionId id, uint64_t& sent, uint64_t& received) const;
  void CheckContest(Time now, Peer& peer);
  bool IsSuspect(Time now, const PeerSession& session) const;
  void UseConnection(Time now, Peer& peer, ConnectionId id);
  void CheckRival(Time now, Peer& peer);
  std::optional<Time> RivalAt(const Peer& peer) const;
  std::optional<Time> SilentAt(const Peer& peer) const;
  void CheckSilent(Time now, Peer& peer);
  size_t InboundCount() const;

  const TransportOptions options_;
  const std::unique_ptr<TlsIdentity> identity_;
  std::unique_ptr<QuicEndpoint> endpoint_;
  QuicEvents quic_events_;
  std::vector<PeerEvent> out_;
  TransportStats stats_;
  SessionEnv env_;
  std::map<ConnectionId, std::unique_ptr<PeerSession>> sessions_;
  std::map<PeerId, Peer> peers_;
  absl::flat_hash_map<NodeKey, PeerId> by_key_;
  absl::flat_hash_map<ConnectionId, PeerId> peer_of_;  // of sessions that are peers'
  InstanceHistory history_;
  uint64_t next_peer_ = 1;
  uint64_t next_order_ = 1;
  ConnectionId bulk_after_;  // the connection whose bulk was written last
  size_t inbound_max_;       // R7
  bool draining_ = false;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_PEER_TRANSPORT_H_
