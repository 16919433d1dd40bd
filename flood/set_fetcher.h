// flood/set_fetcher.h
//
// Gets transaction sets and quorum sets that are named but not held: whom to ask, when to ask the
// next, and whether what came is what was asked for.
//
// A *want* is one set that is missing. It is a prefetch (an envelope of a peer names it), the
// core's (the core asked, or broadcast an envelope that names it), or both.
//
// Rules
//   R1  Sources are asked in the order of set_sources.h; for the core's wants all other peers come
//       last. Within a pass no source is asked twice, R10 aside.
//   R2  As many sources are asked at once as the core wished (1 to 3, else 1). Not-found,
//       disconnect and a broken stream move to the next source at once; no first byte in time
//       (set_sources.h R4), or no further byte for 1 s, asks the next one in parallel, and the slow
//       one stays in the race, for 10 s more without a byte or until six are in it. Why: a silent
//       source must not cost more than one time-out, and may only have been slow.
//   R3  The SHA-256 of what arrives is computed as it arrives; only a complete answer with the
//       right hash ends a want, and then all other requests for it are cancelled. A wrong one that
//       came from one source is an offence of that source.
//   R4  When all sources have failed, they are all asked again, one pass after 1.5 s, backing off
//       to 15 s; a new source (a HaveTxSet, an envelope that names the set) is asked at once.
//       Why: one source that never answers, or answers not-found too early, must not end a want for
//       ever.
//   R5  A want dies with its slot; the core's is then answered `expired`. One that the core holds
//       until it cancels does not die. A want that has no slot does not die by arithmetic on slots.
//   R6  Prefetches: set_prefetch_per_peer_max by the peer that named them first,
//       set_prefetch_total_max in all; over it none is begun, and one whose last source has gone
//       goes too. Why: a peer that names sets, goes and comes back would fill all places. The
//       core's wants have set_core_fetch_max places of their own for requests, and wait for a place
//       beyond that, kCoreWantCountMax in all.
//   R7  The announced length is a limit, never an allocation; a source that sends more or announces
//       more than the limit of the kind is cut off (and it is an offence). All sets in progress
//       together hold set_fetch_bytes_in_progress_max. For a chunk beyond that what is only kept
//       (R9) goes, the largest first; then, for the core's, the prefetch that holds most; else the
//       request that brought it is broken. Why: what the core asked for displaces what we guessed.
//   R8  An answer that runs under half of the rate that its source is known to do (else: that the
//       fastest untried source is) for 500 ms is like a silent one: the next source is asked in
//       parallel. The first 500 ms begin three round trips behind the header, when a path has
//       found its speed. Where nothing is known only R2 holds.
//   R9  What a source sent before it died (disconnected, broken off, cancelled as too slow) is kept
//       with its hash so far, if it is set_resume_bytes_min or more: the longest of a want. The
//       next source that is asked continues behind it. What a living request has is not continued:
//       who is asked beside it is asked for the whole set. Why: two that fetch one range each
//       depend on each other, and a hedge is there because one may fail.
//   R10 A set from more than one source that has the wrong hash, or whose sources do not agree on
//       its length, convicts nobody: either may have lied. Nothing of the want is kept from then
//       on, it is fetched whole, from one source at a time (R2 and R8 hold), and who answered the
//       range is asked again. Not-found for a range says nothing of the set: when no other is left,
//       what is kept is dropped and those are asked for the whole at once. Why: whoever sent more
//       than there is and died would make the set unobtainable.
//
//   R11 A transaction set is asked for compressed where that gains time: from a peer whose rate is
//       known to be below set_zstd_below_bytes_per_second, or whose rate is not known and whose
//       round trip is above set_zstd_beyond_rtt; never at an offset. The frame is collected within
//       the limit of R7, inflated (in the worker, unless it is small) to exactly the length that
//       was announced, and only then judged like any whole answer; what does not inflate so is an
//       offence. While the worker has it, the want is content. One that broke off leaves nothing:
//       a frame has no bytes of the set before it is whole. Why: on a fast path the worker takes
//       longer than the bytes that are saved.
//
// Bounds   see R6, R7; sources of a want: kSourceCountMax.
// Cost     O(log wants + sources + peers) an event, plus hashing the chunk (0.75 ns a byte); a
//          chunk over the bound of R7 O(wants).
// Time     argument only. Threads: none.
// Not here the order of sources, rates and round trips (set_sources), the cache, HaveTxSet
//          bookkeeping (set_exchange), serving (set_server).
#ifndef OVERLAY_FLOOD_SET_FETCHER_H_
#define OVERLAY_FLOOD_SET_FETCHER_H_

#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/limits.h"
#include "flood/compute.h"
#include "flood/node_stats.h"
#include "flood/set_sources.h"
#include "flood/slot_window.h"

namespace overlay::flood {

inline constexpr size_t kCoreWantCountMax = 512;
inline constexpr uint32_t kParallelSourcesMax = 3;
// Requests of one want that may be open at once, those included that were too slow (R2).
inline constexpr size_t kActivePerWantMax = 2 * kParallelSourcesMax;
inline constexpr Duration kSetProgressTimeout = std::chrono::seconds(1);
inline constexpr Duration kSetPaceWindow = std::chrono::milliseconds(500);  // R8

// A want that has been fulfilled.
struct FetchedSet {
  SetKey key;
  Bytes bytes;
  PeerId from;
  std::optional<LedgerSeq> slot;
  bool wanted_by_core = false;  // it is a member of the cache
  bool core_asked = false;      // the core waits for it
  PeerId named_by;              // of a prefetch: who named it first
};

class SetFetcher {
 public:
  SetFetcher(const Limits& limits, const SlotWindow& window, SetStats& stats, ComputeQueue& compute)
      : limits_(limits), window_(window), stats_(stats), compute_(compute), paces_(limits) {}

  // ---- what is wanted. `holders`: peers that said before that they hold it.
  // A peer's envelope names a set that is not held. False: over a budget, no want was made.
  bool Prefetch(Time now, const SetKey& key, LedgerSeq slot, PeerId named_by, ActionList& out);
  // The core broadcast an envelope that names it: the want binds to that slot.
  void WantForCore(Time now, const SetKey& key, LedgerSeq slot, const std::vector<PeerId>& holders,
                   ActionList& out);
  // The core asks. `named` come first, in order. A second call only widens. False: no place
  // (kNoRoom).
  struct CoreFetch {
    SetKey key;
    std::optional<LedgerSeq> slot;
    std::vector<PeerId> named;
    uint32_t sources = 1;
    bool until_cancelled = false;
    std::vector<PeerId> holders = {};
  };
  bool Fetch(Time now, const CoreFetch& fetch, ActionList& out);
  // The core no longer asks; the want goes unless envelopes still name it. False if it did not ask.
  bool Cancel(Time now, const SetKey& key, ActionList& out);
  // The set has come by another way (an offer). True if the core waits for it.
  bool OnHeld(Time now, const SetKey& key, ActionList& out);
  // The core went: what only it asked for is forgotten.
  void OnCoreDetached(Time now, ActionList& out);

  // ---- sources
  void OnPeerConnected(Time now, PeerId peer, ActionList& out);
  void OnPeerDisconnected(Time now, PeerId peer, ActionList& out);
  // Its round trip; what waits for a first byte of it waits as long as that says.
  void OnPeerPath(PeerId peer, Duration rtt);
  // `peer` said that it holds it. No effect unless it is wanted.
  void AddSource(Time now, const SetKey& key, PeerId peer, ActionList& out);

  // ---- answers; fulfilled wants are appended to `fetched`
  void OnHeader(Time now, const SetHeaderReceived& header, ActionList& out);
  void OnData(Time now, const SetDataReceived& data, ActionList& out);
  void OnRequestEnded(Time now, const RequestEnded& ended, std::vector<FetchedSet>& fetched,
                      ActionList& out);
  // A result that the queue has taken.
  void OnComputed(Time now, const Computed& computed, std::vector<FetchedSet>& fetched,
                  ActionList& out);
  bool Owns(RequestId request) const { return requests_.contains(request); }

  void OnWindowMoved(Time now, ActionList& out);
  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  bool IsWanted(const SetKey& key) const { return wants_.contains(key); }
  size_t want_count() const { return wants_.size(); }
  size_t bytes_in_progress() const { return bytes_in_progress_; }
  // If it is wanted: fills in what is known of the want; of its sources not the keys.
  void Trace(const SetKey& key, SetTrace& trace) const;
  void CheckInvariants() const;

 private:
  // A set from its beginning, or a part of it.
  struct Body {
    BytesBuilder bytes;
    Sha256Stream hash;
  };
  // R9. What a source that died had sent.
  struct Kept {
    Body body;
    uint64_t total_bytes = 0;  // as it announced; more than the body has
  };
  struct Want {
    std::optional<LedgerSeq> slot;
    bool prefetch = false;  // counted under named_by
    PeerId named_by;
    bool member = false;         // the core asked or broadcast a name of it
    bool named_by_core = false;  // an envelope that the core broadcast names it
    bool core_asked = false;
    bool until_cancelled = false;
    uint32_t parallel = 1;     // 1 to kParallelSourcesMax
    bool whole = false;        // R10: no ranges any more, one source at a time
    std::optional<Kept> kept;  // never if `whole`
    SetSources sources;
    std::vector<RequestId> active;
    uint32_t passes = 0;          // ended without success
    std::optional<Time> started;  // of the first request
    Time deadline = kTimeNever;   // retry of R4; mirrored in want_deadlines_
    uint64_t progress_told = 0;   // bytes, last FetchProgress
  };
  struct Request {
    SetKey key;
    PeerId peer;
    Time asked_at;
    uint64_t offset = 0;       // the bytes before it are another source's
    uint64_t total_bytes = 0;  // of the set, as announced; of a range by who sent what is before it
    std::optional<SetHeader> header;
    Time header_at;
    Body body;                // `offset` bytes or more
    bool takes_zstd = false;  // R11
    // The answer is whole, and with the worker under this number. No end is awaited any more.
    std::optional<uint64_t> inflating;
    size_t taken_bytes = 0;       // out of the body: with the worker
    bool failed = false;          // cancelled by us; only its end is awaited
    bool joined = false;          // too slow: another was asked beside it, and it is not counted
    bool refused_range = false;   // R10
    bool bad = false;             // it sent what it must not
    Time silent_at = kTimeNever;  // R2
    Time pace_at = kTimeNever;    // R8: when the window ends
    Time pace_from;               // and when it began
    uint64_t pace_bytes = 0;      // the body then
    Time deadline = kTimeNever;   // the earlier of the two; mirrored in request_deadlines_
  };
  enum class Joined : uint8_t { kNoFirstByte, kStalled, kSlow };
  using Wants = std::map<SetKey, Want>;           // references last
  using Requests = std::map<RequestId, Request>;  // likewise

  void MakeMember(Want& want);
  // Removes the want; what it asked is abandoned.
  Wants::iterator Remove(Time now, Wants::iterator it, ActionList& out);

  // Begins requests while the want has room for them and untried sources; else arms the retry of
  // R4.
  void Pump(Time now, const SetKey& key, Want& want, ActionList& out);
  // Core wants that had no place (R6).
  void PumpWaiting(Time now, ActionList& out);
  size_t PlacesLeft() const;
  bool HasPlace(const Want& want) const;
  uint32_t CountedActive(const Want& want) const;
  Source* NextSource(Time now, Want& want, bool is_last_hope);
  bool HasRoomToAsk(Time now, Want& want, ActionList& out);
  void Ask(Time now, const SetKey& key, Want& want, Source& source, ActionList& out);

  static AskState OutcomeOf(const Request& request);
  // Ends a request's part in its want; its source has failed. `keep`: R9.
  void Release(Time now, RequestId id, Request& request, bool keep);
  // Release() for one that goes on: only its RequestEnded is awaited.
  void Abandon(Time now, RequestId id, bool keep, ActionList& out);
  // Abandon(), and what follows from it.
  void Fail(Time now, RequestId id, bool keep, ActionList& out);
  void Join(Time now, RequestId id, Request& request, Joined why, ActionList& out);
  void Keep(Want& want, Request& request);
  void DropKept(Want& want);
  void FetchWhole(Want& want);                                            // R10
  bool MakeRoom(Time now, size_t bytes, bool for_core, ActionList& out);  // R7
  size_t BytesHeld(const Want& want) const;
  bool IsSlow(Time now, const Request& request) const;
  void OnRequestDeadline(Time now, RequestId id, ActionList& out);
  FetchedSet Fulfil(Time now, Wants::iterator want, RequestId by, Bytes bytes, ActionList& out);
  static bool IsComplete(const Request& request);
  static size_t BytesOf(const Request& request) {
    return request.body.bytes.size() + request.taken_bytes;
  }
  bool GainsByZstd(Time now, const Request& request) const;
  // A whole answer: what it is, is known at once or comes from the worker.
  void Judge(Time now, RequestId id, std::vector<FetchedSet>& fetched, ActionList& out);
  void Inflate(Time now, RequestId id, std::vector<FetchedSet>& fetched, ActionList& out);
  void OnInflated(Time now, RequestId id, const Computed& computed,
                  std::vector<FetchedSet>& fetched, ActionList& out);
  static uint64_t ReceivedOf(const Request& request);
  void TellProgress(const Request& request, ActionList& out);

  void SetRequestDeadlines(RequestId id, Request& request, Time silent_at, Time pace_at);
  void SetWantDeadline(const SetKey& key, Want& want, Time deadline);
  size_t BytesMax(SetKind kind) const;
  void CheckRequest(RequestId id, const Request& request) const;
  void CheckWant(const SetKey& key, const Want& want) const;

  const Limits& limits_;
  const SlotWindow& window_;
  SetStats& stats_;
  ComputeQueue& compute_;
  PeerPaces paces_;
  Wants wants_;
  Requests requests_;
  absl::btree_map<uint64_t, RequestId> inflating_;  // by the number of their Compute
  absl::btree_map<PeerId, size_t> prefetches_of_;   // no zero values; sums to prefetches_
  size_t prefetches_ = 0;
  size_t core_wants_ = 0;         // wants with `member`
  size_t bytes_in_progress_ = 0;  // of requests, and kept
  std::set<std::pair<Time, RequestId>> request_deadlines_;
  std::set<std::pair<Time, SetKey>> want_deadlines_;
  uint64_t next_request_ = kSetRequestIdFirst;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SET_FETCHER_H_
