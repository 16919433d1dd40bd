// transport/quic_connection_impl.h
//
// The inside of QuicConnection, shared by its three sources: quic_connection.cc (contract and
// states), quic_callbacks.cc (what ngtcp2 tells us), quic_write.cc (building packets). Nobody else
// includes it.
#ifndef OVERLAY_TRANSPORT_QUIC_CONNECTION_IMPL_H_
#define OVERLAY_TRANSPORT_QUIC_CONNECTION_IMPL_H_

#include <netinet/in.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "flood/base/bytes.h"
#include "transport/quic_connection.h"

namespace overlay::transport {

// A path as ngtcp2 takes it. IPv4 goes mapped, so there is one form of each address.
struct NgPath {
  explicit NgPath(const Path& path);
  NgPath(const NgPath&) = delete;
  NgPath& operator=(const NgPath&) = delete;

  sockaddr_in6 local;
  sockaddr_in6 remote;
  ngtcp2_path path;
};
sockaddr_in6 ToSockaddr(const SocketAddress& address);
Path FromNgPath(const ngtcp2_path& path);

inline ngtcp2_cid ToNgCid(const QuicCid& cid) {
  ngtcp2_cid out;
  ngtcp2_cid_init(&out, cid.bytes.data(), cid.size);
  return out;
}
inline QuicCid FromNgCid(const ngtcp2_cid& cid) {
  return QuicCid::Of(absl::MakeConstSpan(cid.data, cid.datalen));
}

// Bytes that nobody can predict who has seen earlier ones: a hash of draws from `random`, so that
// its state does not follow from the connection ids that go over the wire in clear.
void FillUnpredictable(Random& random, absl::Span<uint8_t> out);
QuicCid NewLocalCid(Random& random);
ngtcp2_callbacks QuicCallbacks();
// Whether a packet was decrypted since the last call.
bool TakeDecryptedSomething();

enum class ConnectionState : uint8_t {
  kHandshaking,
  kOpen,
  kClosePending,  // the close packet is still to be written
  kClosing,       // written; repeated when the peer goes on
  kDraining,      // the peer closed
  kDead,
};

struct QuicConnection::Impl {
  struct ConnDeleter {
    void operator()(ngtcp2_conn* conn) const { ngtcp2_conn_del(conn); }
  };
  // What is kept of a stream that we write: the chunks that may have to be sent again.
  struct Held {
    Bytes chunk;
    uint64_t end;  // offset in the stream after the last byte of the chunk that was packed
  };
  struct SendingStream {
    uint64_t packed_bytes = 0;
    absl::InlinedVector<Held, 1> held;
  };

  Impl(ConnectionId connection_id, bool dial, const QuicSettings& s, const TlsIdentity& node,
       Random r)
      : id(connection_id), dialled(dial), settings(s), identity(node), random(std::move(r)) {}

  // --- quic_connection.cc ---
  absl::Status Setup(Time now, const Path& path, const ngtcp2_cid& dcid, const ngtcp2_cid& scid,
                     const AcceptParams* accept);
  ngtcp2_tstamp Stamp(Time now);
  // What a call of ngtcp2 returned. Changes the state; appends ConnectionClosed when it ends.
  ReadOutcome OnResult(Time now, int result, QuicEvents& out);
  void EndWith(ConnectionState next, CloseInfo info, QuicEvents& out);
  void OnPeerClosed(Time now, QuicEvents& out);
  bool IsClosed() const { return state >= ConnectionState::kClosePending; }
  Duration Pto() const { return Duration(static_cast<int64_t>(ngtcp2_conn_get_pto(conn.get()))); }
  void RestoreKeepAlive();

  // --- quic_write.cc ---
  WriteResult Drain(Time now, DatagramSink& sink, StreamSource* source, const WritePass& pass,
                    QuicEvents& out);
  // Bytes written, 0 when nothing can go, or a fatal error of ngtcp2. `starved` is set when the
  // source had nothing (more).
  ngtcp2_ssize WritePacket(absl::Span<uint8_t> dest, ngtcp2_path* path, ngtcp2_tstamp ts,
                           StreamSource* source, WriteGoal goal, bool& starved);
  void WriteClosePacket(Time now, DatagramSink& sink, WriteResult& result);
  void Hold(StreamId stream, const Bytes& chunk, size_t bytes);
  void RefillSpareStreams();
  void CountInFlight();

  const ConnectionId id;
  const bool dialled;
  const QuicSettings settings;
  const TlsIdentity& identity;
  Random random;
  std::vector<uint16_t> mtu_probes;
  ngtcp2_crypto_conn_ref conn_ref{};
  std::unique_ptr<TlsSession> tls;
  std::unique_ptr<ngtcp2_conn, ConnDeleter> conn;  // after `tls`: it is destroyed first

  ConnectionState state = ConnectionState::kHandshaking;
  bool completed = false;
  bool confirmed = false;
  bool stateless_reset = false;
  bool flush_wanted = true;
  bool ping_wanted = false;
  bool pacing_due = false;       // packets were written that the pacer has not been told of
  QuicEvents* events = nullptr;  // set while ngtcp2 may call back
  uint64_t last_stamp = 0;
  Time last_received{};
  NodeKey peer_key;

  ngtcp2_ccerr close_error{};
  std::string close_reason;
  std::vector<uint8_t> close_packet;
  Path close_path;
  bool close_repeat_due = false;
  Time close_repeat_at{};
  Time ends_at{};  // of closing and draining

  absl::flat_hash_map<StreamId, SendingStream> sending;
  std::vector<StreamId> spare_uni;
  bool writing = false;  // inside a packet: only a few calls of ngtcp2 are allowed
  uint64_t uni_to_return = 0;
  uint64_t bidi_to_return = 0;
  std::vector<CidChange> cid_changes;

  uint64_t put_in_flight = 0;
  uint64_t in_flight_before = 0;
  uint64_t sent_bytes = 0;
  uint64_t sent_datagrams = 0;
  uint64_t received_bytes = 0;
  uint64_t received_datagrams = 0;
  uint64_t lost_stream_packets = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_QUIC_CONNECTION_IMPL_H_
