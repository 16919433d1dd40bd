// transport/quic_connection.h
//
// One QUIC connection over ngtcp2, without IO: datagrams, time and randomness go in, datagrams and
// events come out. The endpoint (quic_endpoint.h) makes, routes and removes connections; the
// session layer opens streams, decides what is written and returns credit.
//
// Four kinds of methods: getters; inputs (On...) that append to a QuicEvents; commands; and one
// output, DrainDatagrams(). After inputs and commands, drain; after draining, ask NextDeadline().
//
// Rules
//   R1  No stream data leaves before the handshake is confirmed (dialler) or completed (acceptor).
//       Why: the acceptor may still refuse the dialler's key; what was sent would be lost
//       unnoticed.
//   R2  A chunk's bytes are referenced until acknowledged or the stream is closed. Why:
//       retransmission.
//   R3  A pass takes from the source only what goes into a packet there and then.
//       Why: what waited inside would stand in front of the next envelope.
//   R4  A batch is cut where a datagram is larger than the first, takes another path, or would make
//       it more than 64 datagrams or kBatchBytesMax; it ends after a shorter one. Why: UDP_SEGMENT.
//   R5  Credit is never returned by itself. Why: it is the brake on a peer. Stream counts leave in
//       steps of kStreamsCreditStep, or of a quarter of what is granted, because each step costs
//       a frame.
//   R6  After Close() the close packet is repeated at most once per kCloseRepeatMin, in answer to
//       datagrams, for 3 PTO; while draining nothing is sent. Why: the packet may be lost, and
//       floods must not echo.
//   R7  Time that goes backwards is taken as standing still. Why: ngtcp2 aborts the process.
//   R8  Same settings, seed and inputs: same datagram sizes and times. Only TLS adds randomness of
//       its own.
//
// States  handshaking -> open -> closing (we close) or draining (the peer closed) -> dead
//
// Bounds   streams and windows of QuicSettings; kSpareUniStreams opened ahead.
// Cost     50 kB a connection. A datagram in: 0.6 us of ours and ngtcp2's at 1,444 bytes. A pass:
//          one virtual call when the source has nothing (WriteGoal::kData), else about 0.8 us a
//          full packet and 0.4 us a small stream. A pass always finishes its packets, so each pass
//          may send one that is not full.
// Time     argument only.
// Threads  none: owned by the loop thread.
// Not here routing, accepting, retry (quic_endpoint.h); classes, frames, bulk window (session
// layer).
#ifndef OVERLAY_TRANSPORT_QUIC_CONNECTION_H_
#define OVERLAY_TRANSPORT_QUIC_CONNECTION_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "flood/base/ids.h"
#include "flood/base/random.h"
#include "flood/base/time.h"
#include "transport/datagram.h"
#include "transport/quic_events.h"
#include "transport/quic_types.h"
#include "transport/stream_source.h"
#include "transport/tls_identity.h"

namespace overlay::transport {

// A MAX_STREAMS frame for each envelope would double the number of datagrams.
inline constexpr uint64_t kStreamsCreditStep = 64;
// The close packet is repeated no oftener: a peer that floods us gets no more than 20 a second.
inline constexpr Duration kCloseRepeatMin = std::chrono::milliseconds(50);
// Unidirectional streams opened ahead, because ngtcp2 forbids opening one in the middle of a
// packet. More than a packet of small envelopes holds; 454 bytes each.
inline constexpr size_t kSpareUniStreams = 16;

enum class WriteGoal : uint8_t {
  // Only what the source has. Costs nothing when it has nothing; acknowledgements ride along.
  kData,
  // Then also acknowledgements, retransmissions, credit, probes, until nothing is left. One such
  // pass per connection ends a turn, and tells the pacer what all passes of the turn have sent.
  // (Not oftener: a call that finds nothing marks the connection as limited by the application, and
  // its congestion window stops growing.)
  kFlush,
};

struct WritePass {
  WriteGoal goal = WriteGoal::kFlush;
  // No packet is begun once this many bytes were written.
  size_t bytes_max = kBatchBytesMax;
};

enum class WriteStop : uint8_t {
  // The source has nothing more (and with kFlush, nor has the connection), or credit is used up.
  kNothingLeft,
  kBudget,       // bytes_max is used up
  kCongested,    // congestion window or pacing: NextDeadline() or an acknowledgement opens it
  kSinkBlocked,  // call again when the sink takes datagrams
};

struct WriteResult {
  size_t bytes = 0;
  size_t datagrams = 0;
  WriteStop stop = WriteStop::kNothingLeft;
};

enum class ReadOutcome : uint8_t {
  kOk,  // drain, then ask for the deadline
  // Accepted ones only, before anything was sent: answer with Retry and destroy this object.
  kSendRetry,
};

struct CidChange {
  QuicCid cid;
  bool added;  // else retired
};

class QuicConnection {
 public:
  struct DialParams {
    ConnectionId id;
    Path path;                      // local unspecified
    std::optional<NodeKey> pinned;  // the key that the peer must show
  };
  struct AcceptParams {
    ConnectionId id;
    Path path;
    uint32_t version;
    QuicCid client_scid;
    QuicCid initial_dcid;                 // of the packet that is being accepted
    std::optional<QuicCid> retried_dcid;  // the id before our Retry, out of its token
    std::vector<uint8_t> token;           // that Retry's
  };

  // INTERNAL when TLS or ngtcp2 refuses to be set up. `identity` must outlive the connection.
  static absl::StatusOr<std::unique_ptr<QuicConnection>> Dial(Time now, const DialParams& params,
                                                              const QuicSettings& settings,
                                                              const TlsIdentity& identity,
                                                              Random random);
  // Feed the accepted datagram to OnDatagram() next.
  static absl::StatusOr<std::unique_ptr<QuicConnection>> Accept(Time now,
                                                                const AcceptParams& params,
                                                                const QuicSettings& settings,
                                                                const TlsIdentity& identity,
                                                                Random random);
  ~QuicConnection();
  QuicConnection(const QuicConnection&) = delete;
  QuicConnection& operator=(const QuicConnection&) = delete;

  // --- Getters ---
  ConnectionId id() const;
  bool is_dialled() const;
  bool handshake_completed() const;
  // Application data may go: confirmed (dialler) or completed (acceptor), and not closed.
  bool is_open() const;
  // Closing, draining or dead: streams and commands do nothing any more.
  bool is_closed() const;
  // May be destroyed.
  bool is_dead() const;
  // Read or changed something since the last kFlush pass that ended by itself.
  bool needs_flush() const;
  // Valid after HandshakeCompleted.
  const NodeKey& peer_key() const;
  RemoteLimits remote_limits() const;
  Path path() const;
  uint64_t uni_streams_left() const;
  uint64_t bidi_streams_left() const;
  // Connection credit left. What begun streams still owe is the caller's to subtract.
  uint64_t max_data_left() const;
  // 0 for a stream that is not open.
  uint64_t max_stream_data_left(StreamId stream) const;
  ConnectionStats stats() const;
  // When a packet of the peer last decrypted; the time of construction before that.
  Time last_received() const;
  Duration pto() const;
  size_t path_datagram_bytes_max() const;
  std::optional<Time> NextDeadline() const;

  // --- Inputs ---
  ReadOutcome OnDatagram(Time now, const Path& path, absl::Span<const uint8_t> payload,
                         QuicEvents& out);
  void OnDeadline(Time now, QuicEvents& out);

  // --- Commands. On a closed connection they do nothing. ---
  // nullopt: no stream credit (or not open): wait for StreamsCredit.
  std::optional<StreamId> OpenUni();
  std::optional<StreamId> OpenBidi();
  // RESET_STREAM: what was not acknowledged will not be sent again.
  void ResetSending(StreamId stream, uint64_t code);
  // STOP_SENDING. Bytes that arrive later are not reported, and their credit is returned by ngtcp2.
  void StopReading(StreamId stream, uint64_t code);
  // Return exactly what StreamData reported, once it is out of the way: to the stream (while it is
  // open), and to the connection (always).
  void ExtendStream(StreamId stream, uint64_t bytes);
  void ExtendConnection(uint64_t bytes);
  // One more stream of the peer is done with. Sent in steps (R5).
  void ReturnUniStream();
  void ReturnBidiStream();
  // Sends a PING in the next kFlush pass even if nothing else is to be sent.
  void Ping();
  // Ends the connection with an application code (before the handshake is over QUIC sends transport
  // code 0x0c instead). `reason` is cut to 256 bytes. Appends ConnectionClosed.
  void Close(Time now, uint64_t code, std::string_view reason, QuicEvents& out);
  // Forgets it without a packet. Appends ConnectionClosed.
  void Drop(CloseCause cause, QuicEvents& out);

  // --- Output ---
  // Builds datagrams into `sink`. `source` may be null (no stream data).
  WriteResult DrainDatagrams(Time now, DatagramSink& sink, StreamSource* source,
                             const WritePass& pass, QuicEvents& out);
  // Connection ids issued and retired since the last call, oldest first: for the endpoint's routes.
  std::vector<CidChange> TakeCidChanges();

  // Streams of which buffers are held for retransmission.
  size_t HeldStreamCountForTest() const;

  struct Impl;

 private:
  explicit QuicConnection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_QUIC_CONNECTION_H_
