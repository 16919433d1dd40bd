// flood/set_fetcher.h
//
// Gets transaction sets and quorum sets that are named but not held: whom to ask, when to ask the
// next, and whether what came is what was asked for.
//
// A *want* is one set that is missing. It is a prefetch (an envelope of a peer names it), the
// core's (the core asked, or broadcast an envelope that names it), or both.
//
// Rules
//   R1  Sources in order: the peers that the core named, the senders of envelopes that name the
//       set, those that said HaveTxSet; for the core's wants then all other peers. Within a pass no
//       source is asked twice. Why: the sender of a vote for a set almost always has it.
//   R2  As many sources are asked at once as the core wished (1 to 3, else 1). Not-found,
//       disconnect and a broken stream move to the next source at once; no first byte within
//       set_first_byte_timeout_min, or no further byte for 1 s, asks the next one in parallel, and
//       the slow one stays in the race, for 10 s more without a byte or until six are in it. Why: a
//       silent source must not cost more than one time-out, and may only have been slow.
//   R3  The SHA-256 of what arrives is computed as it arrives; only a complete answer with the
//       right hash ends a want, and then all other requests for it are cancelled. A wrong one is an
//       offence of its source.
//   R4  When all sources have failed, they are all asked again, one pass after 1.5 s, backing off
//       to 15 s; a new source (a HaveTxSet, an envelope that names the set) is asked at once.
//       Why: one source that never answers, or answers not-found too early, must not end a want for
//       ever.
//   R5  A want dies with its slot; the core's is then answered `expired`. One that the core holds
//       until it cancels does not die. A want that has no slot does not die by arithmetic on slots.
//   R6  Prefetches: set_prefetch_per_peer_max by the peer that named them first,
//       set_prefetch_total_max in all; over it none is begun, and one whose last source has gone
//       goes too. Why: a peer that names sets, goes and comes back would fill all places. The
//       core's wants have
//       set_core_fetch_max places of their own for requests, and wait for a place beyond that,
//       kCoreWantCountMax in all.
//   R7  The announced length is a limit, never an allocation; a source that sends more or announces
//       more than the limit of the kind is cut off (and it is an offence). All sets in progress
//       together hold set_fetch_bytes_in_progress_max; a chunk beyond that breaks the request that
//       brought it.
//
// Bounds   see R6, R7; sources of a want: kSourceCountMax.
// Cost     O(log wants) an event, plus hashing the chunk (0.75 ns a byte).
// Time     argument only. Threads: none.
// Not here the cache, HaveTxSet bookkeeping (set_exchange), serving (set_server).
#ifndef OVERLAY_FLOOD_SET_FETCHER_H_
#define OVERLAY_FLOOD_SET_FETCHER_H_

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "flood/action.h"
#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"
#include "flood/slot_window.h"

namespace overlay::flood {

inline constexpr size_t kCoreWantCountMax = 512;
inline constexpr size_t kSourceCountMax = 256;
inline constexpr uint32_t kParallelSourcesMax = 3;
inline constexpr Duration kSetProgressTimeout = std::chrono::seconds(1);

// A want that has been fulfilled.
struct FetchedSet {
  SetKey key;
  Bytes bytes;
  PeerId from;
  std::optional<LedgerSeq> slot;
  bool wanted_by_core = false;  // it is a member of the cache
  bool core_asked = false;      // the core waits for it
  PeerId named_by;              // of a prefetch: who named it first
  Duration took{};              // from the want's first request
};

class SetFetcher {
 public:
  SetFetcher(const Limits& limits, const SlotWindow& window, SetStats& stats)
      : limits_(limits), window_(window), stats_(stats) {}

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
  // `peer` said that it holds it. No effect unless it is wanted.
  void AddSource(Time now, const SetKey& key, PeerId peer, ActionList& out);

  // ---- answers; fulfilled wants are appended to `fetched`
  void OnHeader(Time now, const SetHeaderReceived& header, ActionList& out);
  void OnData(Time now, const SetDataReceived& data, ActionList& out);
  void OnRequestEnded(Time now, const RequestEnded& ended, std::vector<FetchedSet>& fetched,
                      ActionList& out);
  bool Owns(RequestId request) const { return requests_.contains(request); }

  void OnWindowMoved(Time now, ActionList& out);
  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;

  bool IsWanted(const SetKey& key) const { return wants_.contains(key); }
  size_t want_count() const { return wants_.size(); }
  size_t bytes_in_progress() const { return bytes_in_progress_; }
  void CheckInvariants() const;

 private:
  enum class SourceState : uint8_t { kUntried, kAsked, kFailed };
  enum class SourceKind : uint8_t { kNamedByCore, kSender, kHolder, kOther };  // in R1's order
  struct Source {
    PeerId peer;
    SourceKind kind = SourceKind::kOther;
    SourceState state = SourceState::kUntried;
  };
  struct Want {
    std::optional<LedgerSeq> slot;
    bool prefetch = false;  // counted under named_by
    PeerId named_by;
    bool member = false;         // the core asked or broadcast a name of it
    bool named_by_core = false;  // an envelope that the core broadcast names it
    bool core_asked = false;
    bool until_cancelled = false;
    uint32_t parallel = 1;        // 1 to kParallelSourcesMax
    std::vector<Source> sources;  // ascending in kind, each peer once
    std::vector<RequestId> active;
    uint32_t passes = 0;          // ended without success
    std::optional<Time> started;  // of the first request
    Time deadline = kTimeNever;   // retry of R4; mirrored in deadlines_
    uint64_t progress_told = 0;   // bytes, last FetchProgress
  };
  struct Request {
    SetKey key;
    PeerId peer;
    std::optional<SetHeader> header;
    BytesBuilder bytes;
    Sha256Stream hash;
    bool failed = false;  // cancelled by us; only its end is awaited
    bool overdue = false;
    Time deadline = kTimeNever;  // mirrored in deadlines_
  };
  using Wants = absl::btree_map<SetKey, Want>;

  void MakeMember(Want& want);
  // Behind those of its kind; untried again if it had failed.
  void AddSourceTo(Want& want, PeerId peer, SourceKind kind);
  void AddFirst(Want& want, const std::vector<PeerId>& named);
  // Begins requests while the want has room for them and untried sources; else arms the retry of
  // R4.
  void Pump(Time now, const SetKey& key, Want& want, ActionList& out);
  // Core wants that had no place (R6).
  void PumpWaiting(Time now, ActionList& out);
  size_t PlacesLeft() const;
  bool HasPlace(const Want& want) const;
  uint32_t CountedActive(const Want& want) const;
  void Ask(Time now, const SetKey& key, Want& want, Source& source, ActionList& out);
  static void MarkFailed(Want& want, PeerId peer);
  void Release(RequestId id, Request& request);
  void Abandon(RequestId id, ActionList& out);
  void Fail(Time now, RequestId id, Request& request, ActionList& out);
  void TellProgress(const Request& request, ActionList& out);
  // Removes the want; what it asked is abandoned.
  Wants::iterator Remove(Wants::iterator it, ActionList& out);
  void SetRequestDeadline(RequestId id, Request& request, Time deadline);
  void SetWantDeadline(const SetKey& key, Want& want, Time deadline);
  size_t BytesMax(SetKind kind) const;

  const Limits& limits_;
  const SlotWindow& window_;
  SetStats& stats_;
  Wants wants_;
  absl::btree_map<RequestId, Request> requests_;
  std::vector<PeerId> peers_;                      // connected, ascending
  absl::btree_map<PeerId, size_t> prefetches_of_;  // no zero values; sums to prefetches_
  size_t prefetches_ = 0;
  size_t core_wants_ = 0;         // wants with `member`
  size_t bytes_in_progress_ = 0;  // sum over requests
  std::set<std::pair<Time, RequestId>> request_deadlines_;
  std::set<std::pair<Time, SetKey>> want_deadlines_;
  uint64_t next_request_ = kSetRequestIdFirst;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SET_FETCHER_H_
