// flood/peers/admission.h
//
// Who may be a peer, and who has to go for it. Pure: the directory asks, and does what it says.
//
// Rules
//   R1  A closed network admits only keys that a configured entry pins, whoever dialled.
//   R2  inbound_max counts all peers that dialled us, configured ones too. Beyond it a configured
//       one displaces the ordinary one of least worth; a preferred one, where there is none, the
//       configured one of least worth; and where there is none either, it comes in above the limit.
//       Never the reverse.
//       Why: a limit that the operator's own peers do not count towards is not a limit; and those
//       he prefers are why he runs the node.
//   R3  `newcomers` of the places are never held by ordinary peers that have been here for more
//       than kNewcomerFor. At the limit an ordinary peer takes the place of the one of least worth
//       among those who hold such a place; else of the oldest newcomer that was never first with
//       anything; else it is refused.
//       Why: peers that came first and stay would lock out everybody else for ever; and one that
//       floods us with connections displaces its own.
//
// Bounds   none of its own. Cost: O(inbound peers). Time: argument only. Threads: none.
// Not here bans, scores.
#ifndef OVERLAY_FLOOD_PEERS_ADMISSION_H_
#define OVERLAY_FLOOD_PEERS_ADMISSION_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/types/span.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"
#include "flood/core_io.h"

namespace overlay::flood {

inline constexpr Duration kNewcomerFor = std::chrono::minutes(10);

enum class Standing : uint8_t { kOrdinary, kConfigured, kPreferred };

// One that dialled us and is here.
struct InboundPeer {
  PeerId peer;
  Standing standing = Standing::kOrdinary;
  Time since{};
  bool has_delivered = false;  // it was first with an envelope or a transaction
  double worth = 0;
};

struct Applicant {
  Standing standing = Standing::kOrdinary;
  bool inbound = false;
  bool pinned = false;  // a configured entry pins its key
};

struct Admission {
  bool admitted = false;
  std::string_view why_not;         // if not
  std::optional<PeerId> displaced;  // who goes for it
};

Admission Admit(const PeerTargets& targets, Time now, const Applicant& applicant,
                absl::Span<const InboundPeer> inbound);

// The peer of least worth and of this standing.
std::optional<PeerId> LeastOf(absl::Span<const InboundPeer> inbound, Standing standing);

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_ADMISSION_H_
