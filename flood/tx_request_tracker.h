// flood/tx_request_tracker.h
//
// Chooses which peer we ask for each announced transaction, and when.
//
// Rules
//   R1  At most one unanswered demand per transaction. Why: a lost answer costs one time-out;
//       double answers cost every link.
//   R2  Announcers are asked in the order in which they announced, preferred peers before the
//       others. Why: the first to announce is the nearest.
//   R3  The next announcer is asked at once when the one asked is silent (`demand_timeout` without
//       a byte on that demand's stream), says not-found, sends something else, ends the stream, or
//       disconnects.
//   R4  Never the same peer twice. Why: a peer that announces and stalls must not win the retry.
//       When all announcers have failed, the transaction is forgotten, and an announcement of it is
//       new.
//   R5  `later` behind a body in the same answer asks again (the answer was full), any announcer in
//       order; without a body it is not-found. Why: else a peer could hold a transaction back by
//       repeating it.
//   R6  Given up `demand_give_up` after it was first asked. What waits for room has not been asked
//       and stays.
//   R7  At most `announcements_per_peer_max` announcements of a peer are held; what is left of the
//       frame that reached it waits, and so do the frames that had been read before the peer could
//       be paused (IsPaused), which it is until there is room: nothing is dropped. What waits is
//       taken when a fifth of the cap is free: not frame by frame for each place.
//   R8  In flight at most `demands_per_peer_count_max` hashes, `demands_per_peer_bytes_max`
//       announced bytes (one transaction at least) and `demand_requests_per_peer_max` requests of a
//       peer, and what the caller allows in all. A peer at its limit is passed over; if all
//       announcers are, the first with room again is asked.
//   R9  A demand names at most kGetDataHashCountMax hashes and about kBodiesAnswerBytesMax
//       announced bytes, so that one answer holds it; more is split, never lost. Answers must come
//       in its order.
//
// An announcement:  kWaiting -> kAsked -> kSpent          A transaction: ready (FIFO) <-> asked, or
//                      parked at its ^----------+ (later)               waiting announcers while
//                      all are at their limit.
//   Removed with its transaction (Forget, all spent, given up) or with its peer.
//
// Requests end with their stream. One that was silent is cancelled: its hashes are freed at once, a
// body that comes all the same is still reported (kLate).
//
// Bounds   R7, R8: announcements x peers; requests x peers; kInvWaitingMax x peers that wait.
// Cost     O(1) amortised an announcement and an answer, O(announcers of the transaction) to forget
//     it.
// Order    what found all its announcers at their limit goes first, peer by peer as they get room;
//     then what became ready, in that order. What the allowance does not reach for holds back all
//     behind it, or small transactions would starve a large one. No hash table is iterated.
// Time     argument only; a step backwards delays work, never breaks a rule.
// Threads  none.
// Not here whether a transaction is wanted (the caller filters and forgets), hashing, offences.
#ifndef OVERLAY_FLOOD_TX_REQUEST_TRACKER_H_
#define OVERLAY_FLOOD_TX_REQUEST_TRACKER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/base/message.h"
#include "flood/base/peer_io.h"
#include "flood/base/time.h"
#include "flood/trace.h"

namespace overlay::flood {

// Requests for bodies are numbered from here, those for sets from 1: the two never meet.
inline constexpr uint64_t kTxRequestIdFirst = uint64_t{1} << 62;

// Entries that a stream's window of 256 KiB can hold, of 35 bytes each at least, and a frame: all
// that one turn may read before a pause takes effect.
inline constexpr size_t kInvWaitingMax = 256 * kKiB / 35 + kInvEntryCountMax;

class TxRequestTracker {
 public:
  explicit TxRequestTracker(const Limits& limits);
  ~TxRequestTracker();

  void AddPeer(PeerId peer, bool preferred);
  // Its announcements and requests are gone; what it was asked for is ready for the next.
  void RemovePeer(PeerId peer);

  // Entries that are wanted, in the order of the frame. Those that this peer has announced already
  // and that are still tracked are skipped. R7: those over the cap wait.
  void OnAnnouncements(PeerId peer, absl::Span<const InvEntry> entries);
  // True while the peer's tx control stream must not be read (R7).
  bool IsPaused(PeerId peer) const;
  // Takes what waits into the room there is; `is_wanted` is asked again, since time has passed.
  void TakeWaiting(PeerId peer, const std::function<bool(const InvEntry&)>& is_wanted);

  struct Demand {
    PeerId peer;
    RequestId request;
    std::vector<TxHash> hashes;
  };
  // What may be in flight in all, beyond what is.
  struct Allowance {
    size_t count = 0;
    size_t bytes = 0;
  };
  // Appends the demands to send now, oldest transactions first.
  void NextDemands(Time now, Allowance allowance, std::vector<Demand>& demands);

  enum class AnswerKind : uint8_t {
    kAwaited,      // the answer to what was asked: a body is to be judged by the caller
    kLate,         // the request had been given up as silent; a body may still be useful
    kUnsolicited,  // no such request of this peer, or not the hash whose turn it is
  };
  struct Answer {
    AnswerKind kind = AnswerKind::kUnsolicited;
    uint32_t size_announced = 0;
  };
  // An answer for one hash. kAwaited with a body: the caller calls Forget() if it is good, else
  // Fail().
  Answer OnAnswer(Time now, PeerId peer, RequestId request, const BodyAnswer& answer);
  // The body that this peer sent for `hash` is no good: R3.
  void Fail(PeerId peer, const TxHash& hash);
  // The stream has ended: what was not answered has failed.
  void OnRequestEnded(PeerId peer, RequestId request);
  // It is here, or not wanted any more. Peers that announced it are appended to `announcers`.
  void Forget(const TxHash& hash, std::vector<PeerId>* announcers = nullptr);

  // Requests silent for too long are to be cancelled; appended with their peers. Transactions too
  // old go.
  struct Silent {
    PeerId peer;
    RequestId request;
  };
  void OnDeadline(Time now, std::vector<Silent>& silent);
  std::optional<Time> NextDeadline() const;

  bool IsTracked(const TxHash& hash) const;
  // In the order in which they are asked; none if it is not tracked.
  struct Announcer {
    PeerId peer;
    AskState state = AskState::kNotAsked;
    std::optional<Time> asked_at;
  };
  std::vector<Announcer> Announcers(const TxHash& hash) const;
  size_t announcement_count() const;  // held, waiting frames not counted
  size_t in_flight_count() const;
  size_t in_flight_bytes() const;
  // Since construction; the caller copies them into its statistics.
  struct Counts {
    uint64_t demanded = 0;
    uint64_t timeouts = 0;
    uint64_t not_found = 0;
    uint64_t given_up = 0;
  };
  const Counts& counts() const;
  void CheckInvariants() const;  // recomputes every count; O(state)

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_TX_REQUEST_TRACKER_H_
