// flood/peers/name_book.h
//
// The names behind the configured peers: when each is looked up, and what it gives.
//
// Rules
//   R1  An answer is good for its TTL, kTtlMin at least and kTtlMax at most, and up to 10 % longer;
//       then the name is asked again, whether its targets live or not. Why: a name that grows is
//       the only news of a new peer; the jitter, so that names found together part.
//   R2  A look-up that failed or gave nothing is retried without end, 2 s to 30 s, exponential and
//       jittered. What the name gave before is kept. Why: a name server that is down takes no peer
//       away.
//   R3  A name has one look-up open at most, all of them kLookupsOpenMax; kLookupsPerBatch are
//       begun at a time, the next kBatchPause later. Why: a thousand names are no lump on the loop,
//       and the resolver refuses none.
//   R4  A name gives kAddressesPerNameMax addresses at most. Why: an answer is a stranger's.
//   R5  Hurry() asks a name before its time: kResolveEvery after the last look-up at the soonest,
//       and never within the back-off. Why: a hundred targets that fail are one reason to ask.
//
// Bounds   the names of the entries (dial_plan.h); R3, R4.
// Cost     O(names) a deadline. Time: argument only. Threads: none.
// Not here what is dialled (dial_plan.h), how names are looked up (transport/dns_resolver.h).
#ifndef OVERLAY_FLOOD_PEERS_NAME_BOOK_H_
#define OVERLAY_FLOOD_PEERS_NAME_BOOK_H_

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "flood/action.h"
#include "flood/base/random.h"
#include "flood/base/resolved_host.h"
#include "flood/node_stats.h"
#include "flood/peers/peer_view.h"

namespace overlay::flood {

inline constexpr Duration kTtlMin = std::chrono::seconds(1);
inline constexpr Duration kTtlMax = std::chrono::minutes(10);
inline constexpr Duration kResolveEvery = std::chrono::seconds(5);
inline constexpr Duration kResolveBackoffMin = std::chrono::seconds(2);
inline constexpr Duration kResolveBackoffMax = std::chrono::seconds(30);
inline constexpr size_t kAddressesPerNameMax = 64;
// Below the resolver's own limit of 256.
inline constexpr size_t kLookupsOpenMax = 128;
inline constexpr size_t kLookupsPerBatch = 20;
inline constexpr Duration kBatchPause = std::chrono::milliseconds(10);

// The same host with and without a port are two: only the latter asks for services (SRV).
struct NameId {
  std::string host;
  bool services = false;
  friend auto operator<=>(const NameId&, const NameId&) = default;
};

class NameBook {
 public:
  NameBook(Random random, NameStats& stats) : random_(random), stats_(stats) {}

  // These names and no others; a new one is asked by the next OnDeadline.
  void Keep(Time now, const absl::btree_set<NameId>& names);
  void Hurry(const NameId& id);
  // True: it gives other addresses than before.
  bool OnResolved(Time now, const NameId& id, const absl::StatusOr<ResolvedHost>& resolved);
  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;
  // From now on nothing is looked up.
  void Stop() { stopped_ = true; }

  // In order, each once; empty while the name has given none, or is not kept.
  const std::vector<SocketAddress>& AddressesOf(const NameId& id) const;
  // Of those that it gives, the family that is dialled first: v6, until one over v4 worked.
  void SetWorked(const NameId& id, bool v4);
  bool IsV4First(const NameId& id) const;
  // By host.
  std::vector<NameView> Describe() const;
  void CheckInvariants() const;

 private:
  struct Name {
    bool open = false;  // a look-up is
    bool v4_first = false;
    std::optional<Time> last_asked;
    Time next{};  // kTimeNever while it is open
    uint32_t failures = 0;
    Duration ttl{};
    std::vector<SocketAddress> addresses;
    std::string error;  // of the last look-up
  };
  static NameView::State StateOf(const Name& name);
  bool is_full() const { return open_ + gone_.size() >= kLookupsOpenMax; }
  // The gauges, after a change.
  void Count();

  Random random_;
  NameStats& stats_;
  absl::btree_map<NameId, Name> names_;
  absl::btree_set<NameId> gone_;  // kept no longer, with a look-up open
  size_t open_ = 0;               // of names_
  size_t batch_begun_ = 0;
  Time batch_ends_{};
  bool stopped_ = false;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_NAME_BOOK_H_
