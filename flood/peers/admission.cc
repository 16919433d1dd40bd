#include "flood/peers/admission.h"

#include <tuple>

namespace overlay::flood {
namespace {

// R3: who goes for an ordinary peer.
std::optional<PeerId> ForNewcomer(const PeerTargets& targets, Time now,
                                  absl::Span<const InboundPeer> inbound) {
  size_t newcomers = 0;
  const InboundPeer* oldest_idle = nullptr;
  const InboundPeer* least = nullptr;  // of those who are no newcomers
  for (const InboundPeer& peer : inbound) {
    if (peer.standing != Standing::kOrdinary) continue;
    if (now - peer.since > kNewcomerFor) {
      if (least == nullptr || peer.worth < least->worth) least = &peer;
      continue;
    }
    ++newcomers;
    if (peer.has_delivered) continue;
    if (oldest_idle == nullptr ||
        std::tie(peer.since, peer.peer) < std::tie(oldest_idle->since, oldest_idle->peer)) {
      oldest_idle = &peer;
    }
  }
  if (newcomers < targets.newcomers && least != nullptr) return least->peer;
  if (oldest_idle != nullptr && targets.newcomers > 0) return oldest_idle->peer;
  return std::nullopt;
}

}  // namespace

std::optional<PeerId> LeastOf(absl::Span<const InboundPeer> inbound, Standing standing) {
  const InboundPeer* least = nullptr;
  for (const InboundPeer& peer : inbound) {
    if (peer.standing != standing) continue;
    if (least == nullptr || peer.worth < least->worth) least = &peer;
  }
  return least == nullptr ? std::nullopt : std::optional(least->peer);
}

Admission Admit(const PeerTargets& targets, Time now, const Applicant& applicant,
                absl::Span<const InboundPeer> inbound) {
  if (targets.closed && !applicant.pinned) return {.why_not = "closed list", .displaced = {}};
  if (!applicant.inbound || inbound.size() < targets.inbound_max) {
    return {.admitted = true, .why_not = {}, .displaced = {}};
  }
  std::optional<PeerId> displaced;
  switch (applicant.standing) {
    case Standing::kOrdinary:
      displaced = ForNewcomer(targets, now, inbound);
      break;
    case Standing::kConfigured:
      displaced = LeastOf(inbound, Standing::kOrdinary);
      break;
    case Standing::kPreferred:
      displaced = LeastOf(inbound, Standing::kOrdinary);
      if (!displaced) displaced = LeastOf(inbound, Standing::kConfigured);
      return {.admitted = true, .why_not = {}, .displaced = displaced};
  }
  if (!displaced) return {.why_not = "inbound limit", .displaced = {}};
  return {.admitted = true, .why_not = {}, .displaced = displaced};
}

}  // namespace overlay::flood
