// transport/inbound_envelopes.h
//
// Puts the envelopes of one connection together: each comes on a stream of its own, and a peer may
// leave as many of them unfinished as its stream credit allows. This is the budget for that.
//
// Rules
//   R1  A stream costs 11 KiB from its opening to its first byte in order, then its bytes + 1 KiB.
//       Why: QUIC allocates 8 KiB to hold one byte beyond a gap; what we count is what it costs.
//   R2  All of a connection's incomplete streams together cost at most the budget (1 MiB). The
//       stream that would exceed it is refused. Why: an honest sender opens a stream only when
//       credit covers all of it, so it has a few incomplete at a time.
//   R3  An envelope is 1 byte to the limit; a longer one is refused at its first byte too many.
//   R4  A stream without progress for 10 s during which other data of the peer advanced is refused.
//       Such time is counted from one arrival of data to the next, 2 s of a gap at most. Why: on a
//       path that was dead for a while everything is late, and that is not the peer's doing.
//   R5  A stream that was refused and has not closed is counted; over 64 of them, the connection
//       must be closed. Why: QUIC keeps its buffer until the peer answers, so refusing alone
//       bounds nothing.
//
// Bounds   the budget, 64 refused streams, and the stream credit that the owner grants.
// Cost     O(1) a call; Expire() is O(streams that it returns). An envelope that is complete at
//          once is copied once, from the packet into its buffer.
// Time     argument only; a step backwards counts as no time.
// Threads  none: owned by the loop thread.
// Not here flow-control credit, stream kinds, STOP_SENDING itself (the owner does what is said).
#ifndef OVERLAY_TRANSPORT_INBOUND_ENVELOPES_H_
#define OVERLAY_TRANSPORT_INBOUND_ENVELOPES_H_

#include <cstdint>
#include <list>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "flood/base/bytes.h"
#include "flood/base/limits.h"
#include "flood/base/time.h"

namespace overlay::transport {

// R1. 8 KiB of a reorder chunk, the stream object, and what holds them.
inline constexpr size_t kUnknownStreamCostBytes = 11 * kKiB;
inline constexpr size_t kIncompleteStreamCostBytes = 1 * kKiB;
// R5. 64 x 11 KiB: less than the budget itself.
inline constexpr size_t kRefusedOpenCountMax = 64;
// R4. Longer than the pause between two envelopes of a slow ledger, far shorter than the time-out.
inline constexpr Duration kActivityGapMax = std::chrono::seconds(2);

class InboundEnvelopes {
 public:
  struct Options {
    size_t envelope_bytes_max = 64 * kKiB;
    size_t budget_bytes = 1 * kMiB;
    Duration progress_timeout = std::chrono::seconds(10);

    static Options From(const Limits& limits) {
      return {limits.envelope_bytes_max, limits.incomplete_envelope_bytes_max,
              limits.incomplete_envelope_timeout};
    }
  };
  enum class Outcome : uint8_t {
    kIncomplete,
    kComplete,    // `envelope` is set; the stream is forgotten
    kEmpty,       // ended without a byte; the stream is forgotten
    kTooLarge,    // refuse it (R3)
    kOverBudget,  // refuse it (R2)
    kIgnored,     // of a stream that was refused before, or is not known
  };

  explicit InboundEnvelopes(const Options& options) : options_(options) {}

  // A unidirectional stream of the peer has appeared; its kind is not known yet. kIncomplete or
  // kOverBudget.
  Outcome OnOpened(int64_t stream);
  // Its first byte says that it is not an envelope.
  void OnOtherKind(int64_t stream) { Forget(stream); }
  // The next bytes, without the kind; may be empty (the kind byte came alone).
  Outcome OnData(int64_t stream, absl::Span<const uint8_t> data, bool fin, Bytes& envelope);
  // Closed or reset, complete or not.
  void OnClosed(int64_t stream);
  // The owner refused it (STOP_SENDING): its bytes are freed, and it is counted until it closes.
  void OnRefused(int64_t stream);
  bool IsRefused(int64_t stream) const { return refused_.contains(stream); }
  // R5: the connection must go.
  bool TooManyRefused() const { return refused_.size() > kRefusedOpenCountMax; }

  // Data of any stream of this peer has come. Call before OnData(), then Expire().
  void OnPeerData(Time now);
  // Streams to refuse now (R4), oldest first.
  std::vector<int64_t> Expire() const;

  size_t cost_bytes() const { return cost_bytes_; }
  size_t count() const { return streams_.size(); }
  void CheckInvariants() const;

 private:
  struct Stream {
    std::vector<uint8_t> bytes;
    bool kind_known = false;
    Duration progress_at{};  // of activity_
    std::list<int64_t>::iterator by_progress;

    size_t cost() const {
      return kind_known ? bytes.size() + kIncompleteStreamCostBytes : kUnknownStreamCostBytes;
    }
  };

  void Forget(int64_t stream);

  const Options options_;
  absl::flat_hash_map<int64_t, Stream> streams_;
  std::list<int64_t> by_progress_;  // the same, longest without progress first
  absl::flat_hash_set<int64_t> refused_;
  size_t cost_bytes_ = 0;  // sum of cost() over streams_
  Duration activity_{};    // R4: time during which data of the peer came
  Time data_at_ = Time::min();
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_INBOUND_ENVELOPES_H_
