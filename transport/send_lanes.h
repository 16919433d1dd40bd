// transport/send_lanes.h
//
// What waits to be sent to one peer, in the order in which it may go.
//
// Class 0 are envelopes, each a stream of its own. Classes 1 to 3 are streams: control (Hello, INV,
// requests, state answers), answers with sets, answers with bodies. A stream is opened here, gets
// chunks and at last its end; the owner asks Next(), offers the bytes to QUIC and says with
// OnWritten() what QUIC took.
//
//   auto write = lanes.Next(SendClass::kBodies, bulk_budget);   // offer write->data and write->fin
//   lanes.OnWritten(*write, packed_bytes, fin_packed);          // QUIC took that much
//   lanes.SetBlocked(write->stream, true);                      // or it had no credit
//
// Rules
//   R1  Class 0, then 1, then 2 and 3. Envelopes leave in the order in which they came.
//       Why: SCP first; within it no order is promised, and this one keeps waiting times equal.
//   R2  An envelope that was begun is finished before another begins, and is neither cancelled nor
//       dropped. Why: a stream without its end is a loss to the peer, and costs both sides memory.
//   R3  At the bound of class 0 the lowest slot's oldest envelope goes, the newcomer included, and
//       is named to the caller. Why: consensus has most likely left that slot; silence would lose a
//       vote.
//   R4  While class 0 has something to send, classes 1 to 3 together get 5 % of the bytes: each
//       byte of an envelope owes them 1/19, 4 packets at most, served from one packet on even if
//       only class 0 was asked for. Forgotten when class 0 or the others run out. Why: a flood of
//       envelopes must not hold up the control frames that end it; the cap keeps old debt from
//       becoming a burst before an envelope.
//   R5  Sets and bodies share 3 : 1 by bytes while both wait (deficit round robin, 24 and 8 KiB a
//       turn; what a write takes beyond its share is taken off the next). Why: a set holds up a
//       ledger.
//   R6  Streams of a class take turns of 8 KiB, in the same manner. Why: one large answer must not
//       hold up small ones; runs of several packets reassemble cheaper than alternating ones.
//   R7  Of classes 2 and 3 at most the budget and 64 KiB are offered, without a budget nothing; the
//       end goes with the last byte, alone if there is none. Chunks of a stream leave in order.
//       Why: the budget is what keeps bulk out of an envelope's way.
//   R8  A blocked stream is passed over, and so is class 0 while that is blocked. Why: one stream
//       without credit must not stop the rest.
//   R9  Each class and each stream has a bound; what is over it is refused by name and nothing of
//       it queued. Why: a peer that does not read must cost a known amount of memory.
//
// Bounds   LaneLimits. What was written is no longer counted: QUIC keeps it until acknowledged.
// Cost     O(log n) for envelopes, O(1) for streams; no bytes are copied.
// Time     none.
// Threads  none: owned by the loop thread.
// Not here credit, the bulk window (bulk_window.h), retransmission, how many sets a peer is served
//          at a time (flood decides), stream kinds and framing (peer_session.h), what is superseded
//          (flood cancels).
#ifndef OVERLAY_TRANSPORT_SEND_LANES_H_
#define OVERLAY_TRANSPORT_SEND_LANES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/base/peer_io.h"

namespace overlay::transport {

enum class SendClass : uint8_t { kScp = 0, kControl = 1, kSets = 2, kBodies = 3 };
inline constexpr size_t kSendClassCount = 4;

// Names a stream of classes 1 to 3 to its owner; chosen by it, unique among those open.
struct LaneStream {
  uint64_t value = 0;
  friend auto operator<=>(const LaneStream&, const LaneStream&) = default;
  template <class H>
  friend H AbslHashValue(H h, LaneStream stream) {
    return H::combine(std::move(h), stream.value);
  }
};

struct LaneLimits {
  // Bytes and entries. The count of envelopes bounds what tiny ones cost beside their bytes: 128
  // bytes each, less than an SCP envelope has.
  size_t scp_bytes_max = 4 * kMiB;
  size_t scp_count_max = 4 * kMiB / 128;
  // State answers are the large part: what is kept of envelopes (shared buffers), and frames beside
  // it.
  size_t control_bytes_max = 8 * kMiB;
  // The sets that a peer is served at a time, whole: shared buffers, compressed or not, and their
  // headers.
  size_t sets_bytes_max = 4 * (16 * kMiB + kKiB);
  size_t bodies_bytes_max = 4 * kMiB;
  // 64 requests each way, state answers and the long-lived streams.
  size_t stream_count_max = 256;
  // Of one stream: a set has one, bodies some; a control stream that is not read collects frames.
  size_t chunks_per_stream_max = 8192;

  static LaneLimits From(const Limits& limits);
};

class SendLanes {
 public:
  enum class Outcome : uint8_t {
    kQueued,
    kOverLimit,     // R9, nothing was queued
    kUnknown,       // no such stream is open
    kAlreadyEnded,  // the stream's end was queued before
    kDuplicate,     // token or stream in use
  };

  // What to write next. Stands until something else than Next() and getters is called.
  struct Write {
    SendClass send_class = SendClass::kScp;
    EnvelopeToken token;    // class 0
    LaneStream stream;      // classes 1 to 3
    Bytes data;             // a slice of what was queued; may be empty only with `fin`
    bool fin = false;       // the stream ends after `data`; always true of an envelope
    bool is_first = false;  // class 0: nothing of it was written yet, its stream is to be opened
  };

  explicit SendLanes(const LaneLimits& limits);

  // Class 0. What had to go (R3), the new one perhaps, is appended to `dropped`; then the outcome
  // is kQueued all the same: every token given ends in a write, a cancel or `dropped`. An empty
  // envelope, or one over the whole bound, is kOverLimit.
  Outcome QueueEnvelope(EnvelopeToken token, LedgerSeq slot, Bytes envelope,
                        std::vector<EnvelopeToken>& dropped);
  // False if it is not waiting, or was begun (R2).
  bool CancelEnvelope(EnvelopeToken token);
  // Its stream is gone: discards it, begun or not. False if it is not waiting.
  bool ForgetEnvelope(EnvelopeToken token);
  // Class 0 waits for stream or connection credit.
  void SetEnvelopesBlocked(bool blocked) { envelopes_blocked_ = blocked; }

  // Classes 1 to 3. `bytes_max` bounds what may wait in this stream.
  Outcome OpenStream(LaneStream stream, SendClass send_class, size_t bytes_max);
  // `fin` ends the stream after `chunk`, which may be empty. An empty chunk without end is ignored.
  Outcome Append(LaneStream stream, Bytes chunk, bool fin);
  void SetBlocked(LaneStream stream, bool blocked);
  // Reset by either side: what waits in it is discarded. Streams whose end was written close
  // themselves.
  void CloseStream(LaneStream stream);
  // The connection was replaced: streams are gone; a begun envelope is sent again from its first
  // byte.
  void Restart();

  // The next write of a class up to `last` (R4 may reach beyond). Asking twice gives the same
  // answer. `bulk_budget_bytes` limits classes 2 and 3.
  std::optional<Write> Next(SendClass last, size_t bulk_budget_bytes) const;
  // QUIC took the first `bytes` of write.data, and with `fin` the end after all of them. A write
  // whose stream or envelope has gone since is ignored.
  void OnWritten(const Write& write, size_t bytes, bool fin);

  bool HasStream(LaneStream stream) const { return streams_.contains(stream); }
  bool envelopes_blocked() const { return envelopes_blocked_; }
  // Something waits, blocked or not.
  bool HasWaiting(SendClass send_class) const;
  // What waits; an envelope counts whole until its end is written.
  size_t queued_bytes(SendClass send_class) const;
  // Envelopes or streams that have something to send.
  size_t queued_count(SendClass send_class) const;
  uint64_t written_bytes(SendClass send_class) const;
  // Refused, or dropped from class 0, at a bound.
  uint64_t refused_count(SendClass send_class) const;
  size_t stream_count() const { return streams_.size(); }
  size_t stream_queued_bytes(LaneStream stream) const;

  void CheckInvariants() const;

 private:
  struct Envelope {
    EnvelopeToken token;
    LedgerSeq slot;
    Bytes bytes;
    size_t written_bytes = 0;  // > 0 only for the first in the queue
  };
  using EnvelopeQueue = std::map<uint64_t, Envelope>;  // by order of arrival

  struct Stream {
    SendClass send_class = SendClass::kControl;
    size_t bytes_max = 0;
    std::deque<Bytes> chunks;
    size_t chunk_written_bytes = 0;  // of chunks.front(), less than its size
    size_t queued_bytes = 0;         // what is left of all chunks
    bool fin = false;
    bool blocked = false;
    // R6: what it may still write in its turn. > 0 at the front of Lane::ready, else <= 0.
    int64_t turn_bytes = 0;
    std::optional<std::list<LaneStream>::iterator> ready;  // in Lane::ready

    bool HasSomething() const { return fin || !chunks.empty(); }
  };
  struct Lane {
    std::list<LaneStream> ready;  // has something and is not blocked; the front is at turn
    int64_t turn_bytes = 0;       // R5, of classes 2 and 3: > 0 for the class at turn, else <= 0
    size_t waiting_count = 0;     // streams that have something, blocked ones too
    size_t queued_bytes = 0;
    uint64_t written_bytes = 0;
    uint64_t refused_count = 0;
  };

  size_t BytesMax(SendClass send_class) const;
  Lane& LaneOf(SendClass send_class) { return lanes_[static_cast<size_t>(send_class)]; }
  const Lane& LaneOf(SendClass send_class) const { return lanes_[static_cast<size_t>(send_class)]; }

  bool EnvelopeSendable() const { return !envelopes_blocked_ && !envelopes_.empty(); }
  bool OthersSendable() const;
  bool BulkContended() const;
  std::optional<Write> NextOther(SendClass last, size_t bulk_budget_bytes, size_t bytes_max) const;
  Write FrontOf(SendClass send_class, size_t bytes_max) const;

  void RemoveEnvelope(EnvelopeQueue::iterator it);
  void DropOverBound(std::vector<EnvelopeToken>& dropped);
  void OnEnvelopeWritten(const Write& write, size_t bytes, bool fin);
  void OnStreamWritten(const Write& write, size_t bytes, bool fin);
  void Charge(Stream& state, int64_t bytes);
  // Brings Lane::ready, the counts and the turns in line after a stream changed.
  void UpdateReady(LaneStream stream, Stream& state, bool had_something);
  void GiveTurn(Lane& lane);
  void ResetBulkTurn();
  void ForgetDebtIfIdle();

  const LaneLimits limits_;

  EnvelopeQueue envelopes_;
  // The same, lowest slot first, without the one that was begun.
  std::set<std::pair<LedgerSeq, uint64_t>> by_slot_;
  absl::flat_hash_map<uint64_t, uint64_t> arrival_by_token_;
  uint64_t next_arrival_ = 0;
  bool envelopes_blocked_ = false;

  absl::flat_hash_map<LaneStream, Stream> streams_;
  std::array<Lane, kSendClassCount> lanes_;  // of class 0 only the counters
  SendClass bulk_turn_ = SendClass::kSets;
  // R4: envelope bytes that were not yet made good; 0 unless class 0 and others wait.
  size_t unpaid_bytes_ = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_SEND_LANES_H_
