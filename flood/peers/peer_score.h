// flood/peers/peer_score.h
//
// What a peer's small breaches add up to. Each offence has a weight; the sum halves every
// kScoreHalfLife; at kScoreLimit the peer is closed, unless it is configured.
//
// Rules
//   R1  A breach that an honest peer can commit by accident (a late answer, a burst) weighs little;
//       one that takes intent (a wrong hash for a whole set, what the core calls invalid) weighs
//       much.
//   R2  The score decays, so that a peer of months is not closed for one breach a day.
//   R3  A configured peer is flagged, never closed for its score: the operator chose it.
//
// Cost O(1). Time: argument only; a step backwards decays nothing. Threads: none.
#ifndef OVERLAY_FLOOD_PEERS_PEER_SCORE_H_
#define OVERLAY_FLOOD_PEERS_PEER_SCORE_H_

#include "flood/base/peer_io.h"
#include "flood/base/time.h"
#include "flood/peers/decayed.h"

namespace overlay::flood {

inline constexpr double kScoreLimit = 100.0;
inline constexpr Duration kScoreHalfLife = std::chrono::minutes(5);

constexpr double OffenceWeight(Offence offence) {
  switch (offence) {
    case Offence::kOversizeEnvelope:
      return 20;
    case Offence::kIncompleteEnvelopes:
      return 10;
    case Offence::kWrongHash:
      return 35;
    case Offence::kUnsolicited:
      return 5;
    case Offence::kMalformedPayload:
      return 20;
    case Offence::kOverEager:
      return 2;
    case Offence::kInvalidEnvelope:
      return 20;
    case Offence::kMalformedTransaction:
      return 10;
  }
  return 0;
}

class PeerScore {
 public:
  // True when the limit is reached.
  bool Add(Time now, Offence offence) {
    sum_.Add(now, OffenceWeight(offence));
    return sum_.At(now) >= kScoreLimit;
  }
  double At(Time now) const { return sum_.At(now); }

 private:
  Decayed sum_{kScoreHalfLife};
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_PEER_SCORE_H_
