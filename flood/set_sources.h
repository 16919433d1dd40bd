// flood/set_sources.h
//
// Whom to ask for a set, and in which order. PeerPaces is what was measured of each connected peer;
// SetSources is the list of one missing set.
//
// Rules
//   R1  In this order: the peers that the core named, as it named them; the senders of envelopes
//       that name the set; those that said HaveTxSet; all others. A peer is in a list once, under
//       the first of its kinds. Why: the sender of a vote for a set almost always has it.
//   R2  Within a kind (the core's own order aside): those that are known to be fast, the fastest
//       first; those of whom nothing is known, in order of arrival; those that are known to be
//       slow, the fastest first. Fast is half of the best rate known of any peer, or more.
//       Why: behind all known ones a newcomer would never be measured, and before the fast ones
//       it would make each fetch a try. A vote's only sender is asked whatever is known of him.
//   R3  A rate is measured on answers of set_rate_bytes_min or more, whether or not they came to
//       their end: from the header to the end. The newest counts half; what is a minute old is
//       forgotten. Why: small answers measure the round trip; one that was slow once and is asked
//       last since would be slow for ever.
//   R4  A first byte is due within three round trips of the peer, set_first_byte_timeout_min at
//       least, a second at most. Why: a peer makes its own round trips long by answering late.
//
// Bounds   kSourceCountMax sources a list; one entry per connected peer.
// Cost     O(sources + peers) to choose one.
// Time     argument only. Threads: none.
// Not here who is asked when (set_fetcher).
#ifndef OVERLAY_FLOOD_SET_SOURCES_H_
#define OVERLAY_FLOOD_SET_SOURCES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "flood/base/ids.h"
#include "flood/base/limits.h"
#include "flood/base/time.h"
#include "flood/trace.h"

namespace overlay::flood {

inline constexpr size_t kSourceCountMax = 256;
inline constexpr Duration kRateForgottenAfter = std::chrono::seconds(60);
inline constexpr Duration kFirstByteTimeoutMax = std::chrono::seconds(1);

class PeerPaces {
 public:
  explicit PeerPaces(const Limits& limits) : limits_(limits) {}

  void OnConnected(PeerId peer) { peers_[peer]; }
  void OnDisconnected(PeerId peer) { peers_.erase(peer); }
  void SetRtt(PeerId peer, Duration rtt);
  // `peer` sent `bytes` of a set in `took`.
  void AddAnswer(Time now, PeerId peer, uint64_t bytes, Duration took);

  Duration RttOf(PeerId peer) const;  // 0: not known
  Duration FirstByteTimeoutOf(PeerId peer) const;
  // Bytes a second.
  std::optional<uint64_t> RateOf(Time now, PeerId peer) const;
  std::optional<uint64_t> BestRate(Time now) const;
  std::vector<PeerId> Connected() const;  // ascending
  size_t connected_count() const { return peers_.size(); }

 private:
  struct Pace {
    Duration rtt{};
    uint64_t rate = 0;  // 0: never measured
    Time measured_at;
  };
  static std::optional<uint64_t> Rate(Time now, const Pace& pace);

  const Limits& limits_;
  absl::btree_map<PeerId, Pace> peers_;  // the connected ones
};

enum class SourceKind : uint8_t { kNamedByCore, kSender, kHolder, kOther };  // in R1's order
enum class SourceState : uint8_t { kUntried, kAsked, kFailed };
struct Source {
  PeerId peer;
  SourceKind kind = SourceKind::kOther;
  SourceState state = SourceState::kUntried;
  bool refused_range = false;           // only of a failed one: it may hold the set all the same
  AskState came = AskState::kNotAsked;  // for operators; and when it was asked
  Time asked_at{};
};

class SetSources {
 public:
  // Behind those of its kind; untried again if it had failed.
  void Add(PeerId peer, SourceKind kind);
  void AddNamed(const std::vector<PeerId>& named);
  void Remove(PeerId peer);

  // R1, R2. nullptr: all have been tried. Valid until the list changes.
  Source* Next(Time now, const PeerPaces& paces);
  // The most that one of those that were not tried is known to do.
  std::optional<uint64_t> FastestUntried(Time now, const PeerPaces& paces) const;
  void MarkAsked(Time now, Source& source);
  // If it was asked.
  void MarkFailed(PeerId peer, bool refused_range, AskState came);
  void RetryFailed();
  void RetryRefusedRanges();

  bool Contains(PeerId peer) const;
  bool HasUntried() const;
  bool HasRefusedRange() const;
  bool empty() const { return list_.empty(); }
  size_t size() const { return list_.size(); }
  const std::vector<Source>& list() const { return list_; }
  void CheckInvariants() const;

 private:
  std::vector<Source> list_;  // ascending in kind, each peer once
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SET_SOURCES_H_
