// flood/peers/decayed.h
//
// A sum that forgets: what was added counts half after each half-life. A value and a time, so that
// nothing has to tick.
//
//   Decayed offences(std::chrono::minutes(5));
//   offences.Add(now, 20);
//   double now_worth = offences.At(later);
//
// Cost O(1). Time: argument only; a step backwards decays nothing. Threads: none.
#ifndef OVERLAY_FLOOD_PEERS_DECAYED_H_
#define OVERLAY_FLOOD_PEERS_DECAYED_H_

#include <algorithm>
#include <cmath>
#include <optional>

#include "flood/base/time.h"

namespace overlay::flood {

class Decayed {
 public:
  explicit Decayed(Duration half_life) : half_life_(half_life) {}

  void Add(Time now, double amount) {
    value_ = At(now) + amount;
    as_of_ = std::max(as_of_, now);
  }
  double At(Time now) const {
    if (value_ == 0 || now <= as_of_) return value_;
    return value_ * std::exp2(-ToSeconds(now - as_of_) / ToSeconds(half_life_));
  }

 private:
  Duration half_life_;
  double value_ = 0;
  Time as_of_ = Time::min();  // also what was remembered from before the clock's start may be added
};

// The mean of samples, the older ones weighing less.
class DecayedMean {
 public:
  explicit DecayedMean(Duration half_life) : sum_(half_life), weight_(half_life) {}

  void Add(Time now, double sample) {
    sum_.Add(now, sample);
    weight_.Add(now, 1);
  }
  // nullopt: no sample yet, or all so old that nothing is left of them.
  std::optional<double> At(Time now) const {
    const double weight = weight_.At(now);
    return weight < 1e-9 ? std::nullopt : std::optional(sum_.At(now) / weight);
  }

 private:
  Decayed sum_;
  Decayed weight_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_DECAYED_H_
