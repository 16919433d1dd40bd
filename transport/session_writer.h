// transport/session_writer.h
//
// What one connection sends: decides which stream's bytes go into the next packet (StreamSource),
// within the peer's credit, and remembers what is not acknowledged yet.
//
// Rules
//   R1  An envelope's stream is opened only when stream and connection credit cover all of it. Why:
//       an envelope that waits half sent holds memory at both ends and helps nobody.
//   R2  What a begun envelope still owes is left to it: class 1 never uses that credit.
//   R3  Bulk never uses the last 256 KiB of the peer's connection credit. Why: credit comes back
//       one round trip after it was read, and an envelope must not wait for that.
//   R4  At most 4 MiB of envelopes are written and unacknowledged; then they count as blocked. Why:
//       a peer chooses how much credit it grants; memory here must not follow.
//   R5  An envelope is done when its stream has closed without a code; with a code, or when the
//       peer stopped it, it was refused and counts as dropped. Why: a peer that refused it would
//       again.
//   R6  Frames of control and tx control are kept until acknowledged. TakeUnacknowledged() gives
//       all that a replacing connection must send again, in order. Hello, Ping, Pong and Goaway
//       belong to their connection and are not among it.
//   R7  stalled_since(): when the peer's credit first kept an envelope, or a frame or request, from
//       leaving, and since then did. Progress moves it to when the next in line began to wait;
//       taking a message back does not. The tx control stream counts only where the whole
//       connection is out of credit: a peer may pause it.
//
// Bounds   LaneLimits for what waits; R4 and the congestion window for what was written.
// Cost     O(log n) an envelope; nothing is copied: a stream's kind is a chunk of its own.
// Time     argument of BeginPass() and Queue...(): stalled_since() and latencies.
// Threads  none: owned by the loop thread.
// Not here the order of classes (send_lanes.h), the bulk window, what the bytes mean.
#ifndef OVERLAY_TRANSPORT_SESSION_WRITER_H_
#define OVERLAY_TRANSPORT_SESSION_WRITER_H_

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "flood/base/bytes.h"
#include "flood/base/peer_io.h"
#include "flood/base/time.h"
#include "flood/base/wire_codec.h"
#include "transport/quic_connection.h"
#include "transport/send_lanes.h"
#include "transport/stream_source.h"
#include "transport/transport_types.h"

namespace overlay::transport {

// R3. Four envelopes of the largest kind; at 1 Gbit/s, 2 ms of envelopes.
inline constexpr uint64_t kBulkCreditReserveBytes = 256 * kKiB;
// R4. As much as may wait.
inline constexpr size_t kUnacknowledgedBytesMax = 4 * kMiB;
// What one envelope costs beside its bytes, in R4.
inline constexpr size_t kEnvelopeRecordBytes = 128;
// Frames waiting in a long-lived stream: a peer that leaves more unread than this does not read.
inline constexpr size_t kLongStreamQueueBytesMax = 2 * kMiB;

class SessionWriter final : public StreamSource {
 public:
  struct Unacknowledged {
    struct Envelope {
      EnvelopeToken token;
      LedgerSeq slot;
      Bytes bytes;
    };
    std::vector<Envelope> envelopes;
    std::vector<Bytes> control;
    std::vector<Bytes> tx_control;
  };
  struct Done {
    EnvelopeToken token;
    EnvelopeDone::Outcome outcome;
  };

  SessionWriter(const LaneLimits& limits, TransportStats& stats, ClassCounts& sent)
      : lanes_(limits), stats_(stats), sent_(sent) {}

  // ---- class 0
  // False: refused (empty, larger than the queue, or a token in use).
  bool QueueEnvelope(Time now, EnvelopeToken token, LedgerSeq slot, Bytes envelope);
  // False: not here, or begun.
  bool CancelEnvelope(EnvelopeToken token);
  bool HasEnvelope(EnvelopeToken token) const { return envelopes_.contains(token.value); }
  // Envelopes that ended since the last call, and streams to reset (kCancelled) because what was
  // begun on them went.
  std::vector<Done> TakeDone() { return std::exchange(done_, {}); }
  std::vector<StreamId> TakeResets() { return std::exchange(resets_, {}); }

  // ---- classes 1 to 3
  // Opens the stream of control, or of tx control, for good; false without stream credit.
  bool OpenLongStream(QuicConnection& connection, StreamKind kind);
  // A frame on one of them. False: its queue is full. `resend`: R6.
  bool SendFrame(StreamKind kind, Bytes frame, bool resend);
  // A unidirectional stream of class 1, opened when there is credit. nullopt: at a bound.
  std::optional<LaneStream> AddUniStream(StreamKind kind);
  // A bidirectional one that exists. nullopt: at a bound.
  std::optional<LaneStream> AddStream(StreamId stream, SendClass send_class);
  bool Append(LaneStream lane, Bytes chunk, bool fin);
  // Discards what waits in it; the QUIC stream is the caller's business.
  void Abandon(LaneStream lane);

  // ---- what the connection reports
  void OnAcked(StreamId stream, uint64_t bytes);
  // True: it was an envelope's or a state answer's, and the matter is closed.
  bool OnStreamClosed(Time now, StreamId stream, std::optional<uint64_t> code);
  // Something was read, or the peer granted credit: what was blocked is tried again.
  void OnCreditPerhaps();
  // Streams of ours that the peer will not read any more, since the last call.
  std::vector<StreamId> TakeGone() { return std::exchange(gone_, {}); }

  // ---- a pass: Begin, QuicEndpoint::Drain() with this source, End
  void BeginPass(Time now, QuicConnection& connection, SendClass last, uint64_t bulk_bytes);
  // Bytes of bulk that were packed.
  uint64_t EndPass();
  std::optional<StreamChunk> Next() override;
  void OnPacked(StreamId stream, size_t bytes, bool fin) override;
  void OnRefused(StreamId stream, WriteRefusal why) override;

  // ---- getters
  bool HasWaiting(SendClass send_class) const { return lanes_.HasWaiting(send_class); }
  bool HasSendable(SendClass last, uint64_t bulk_bytes) const {
    return lanes_.Next(last, bulk_bytes).has_value();
  }
  // R3 keeps bulk back, until OnCreditPerhaps().
  bool bulk_out_of_credit() const { return bulk_out_of_credit_; }
  const SendLanes& lanes() const { return lanes_; }
  uint64_t class0_unacked_bytes() const { return class0_unacked_bytes_; }
  size_t unacknowledged_count() const { return by_stream_.size(); }
  std::optional<Time> stalled_since() const;
  // Of the tx control stream: frames that wait, blocked or not.
  size_t tx_control_queued_bytes() const;
  // Nothing waits and no envelope is unacknowledged.
  bool idle() const;
  Unacknowledged TakeUnacknowledged();

  void CheckInvariants() const;

 private:
  struct Envelope {
    EnvelopeToken token;
    LedgerSeq slot;
    Bytes bytes;
    Time queued_at;
    uint64_t order = 0;
    StreamId stream = -1;  // given, though perhaps nothing was packed
    bool kind_packed = false;
    uint64_t packed_bytes = 0;  // kind included
    uint64_t acked_bytes = 0;
  };
  struct Stream {
    StreamId stream = -1;  // not opened yet
    SendClass send_class = SendClass::kControl;
  };
  struct Frame {
    Bytes bytes;
    uint64_t end_offset = 0;  // of the stream
    bool resend = false;
  };
  struct LongStream {
    std::optional<LaneStream> lane;
    StreamId stream = -1;
    uint64_t appended_bytes = 0;
    std::deque<Frame> unacked;
  };

  LongStream& LongOf(StreamKind kind);
  std::optional<StreamChunk> EnvelopeChunk(const SendLanes::Write& write);
  std::optional<StreamChunk> OtherChunk(const SendLanes::Write& write);
  bool GiveStream(Envelope& envelope);
  void OnEnvelopePacked(Envelope& envelope, size_t bytes, bool fin);
  // Forgets it, with what it counts for.
  void Finish(EnvelopeToken token, EnvelopeDone::Outcome outcome);
  void Release(Envelope& envelope);
  void ForgetStream(LaneStream lane);
  void UpdateStall();

  SendLanes lanes_;
  TransportStats& stats_;
  ClassCounts& sent_;  // of the peer

  absl::flat_hash_map<uint64_t, Envelope> envelopes_;       // by token; until done
  absl::flat_hash_map<StreamId, EnvelopeToken> by_stream_;  // those with something packed
  uint64_t next_order_ = 0;
  std::optional<StreamId> spare_stream_;  // opened for an envelope that was taken back
  uint64_t class0_unacked_bytes_ = 0;
  uint64_t class0_held_bytes_ = 0;  // R4: begun and not done, with their records
  uint64_t owed_bytes_ = 0;         // R2
  std::vector<Done> done_;
  std::vector<StreamId> resets_;

  absl::flat_hash_map<LaneStream, Stream> streams_;
  absl::flat_hash_map<StreamId, LaneStream> lane_of_;
  uint64_t next_lane_ = 1;
  std::array<LongStream, 2> long_streams_;  // control, tx control
  std::set<LaneStream> blocked_;
  std::vector<StreamId> gone_;

  // The pass
  Time now_;
  QuicConnection* connection_ = nullptr;  // only within one
  SendClass last_ = SendClass::kScp;
  uint64_t bulk_left_ = 0;
  uint64_t bulk_packed_ = 0;
  bool bulk_out_of_credit_ = false;
  std::optional<SendLanes::Write> write_;  // what Next() gave out last

  // R7
  std::optional<Time> scp_stalled_since_;
  std::optional<Time> control_stalled_since_;
  Time front_queued_at_;  // of the envelope that could not go
  bool scp_progress_ = false;
  bool control_progress_ = false;
  bool connection_credit_out_ = false;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_SESSION_WRITER_H_
