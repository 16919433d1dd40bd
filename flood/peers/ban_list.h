// flood/peers/ban_list.h
//
// Whom this node will not have as a peer, by key, and until when.
//
// Rules
//   R1  A ban holds until its time is over. A new one of the same key replaces it, but one by score
//       never one of the operator. Why: what a person decided is not shortened by a rule.
//   R2  At most kBansMax. Beyond it a ban of the operator takes the place of that by score which
//       ends first; where there is none, and always for one by score, there is no room.
//       Why: strangers under ever new keys must not push out what the operator decided.
//
// Bounds   R2; some 200 bytes each. Cost: O(log n); O(n) at the bound and to expire.
// Time     argument only. Threads: none.
// Not here who is banned for what (peer_directory.h); the file (peer_file.h).
#ifndef OVERLAY_FLOOD_PEERS_BAN_LIST_H_
#define OVERLAY_FLOOD_PEERS_BAN_LIST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/btree_map.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"

namespace overlay::flood {

inline constexpr size_t kBansMax = 1000;
inline constexpr size_t kBanReasonMax = 100;
// By score: its cause is over soon, or it comes again.
inline constexpr Duration kScoreBanFor = std::chrono::hours(1);

enum class BannedBy : uint8_t { kOperator, kScore };
inline constexpr size_t kBannedByCount = 2;

struct Ban {
  BannedBy by = BannedBy::kOperator;
  Time since{};
  Time until = kTimeNever;  // then it no longer holds
  std::string reason;       // printable ASCII, kBanReasonMax at most
};

// Whether it may be the reason of one.
bool IsBanReason(std::string_view text);

class BanList {
 public:
  using Bans = absl::btree_map<NodeKey, Ban>;

  // False: no room (R2), or one of the operator is there (R1). In both cases nothing has changed.
  bool Add(Time now, const NodeKey& key, const Ban& ban);
  // False: it was not banned.
  bool Remove(Time now, const NodeKey& key);
  bool Contains(Time now, const NodeKey& key) const;

  // Forgets those that are over; true if there were any.
  bool Expire(Time now);
  Time next_end() const { return next_end_; }  // kTimeNever: none ends
  const Bans& bans() const { return bans_; }   // those over since the last Expire() among them
  void CheckInvariants() const;

 private:
  void Count();

  Bans bans_;
  Time next_end_ = kTimeNever;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_BAN_LIST_H_
