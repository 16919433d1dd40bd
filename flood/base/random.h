// flood/base/random.h
//
// A seeded generator (xoshiro256**, Blackman and Vigna) whose stream is the same on every platform
// and in every library version, so that a simulation can be replayed from its seed. Not for keys or
// nonces that must be secret unless it was itself seeded with secret bytes (the daemon does, from
// getrandom).
//
// Fork(label) gives a component a stream of its own: a draw added in one does not shift another's.
#ifndef OVERLAY_FLOOD_BASE_RANDOM_H_
#define OVERLAY_FLOOD_BASE_RANDOM_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/types/span.h"
#include "flood/base/time.h"

namespace overlay {

class Random {
 public:
  explicit Random(uint64_t seed);

  // A generator of its own, determined by this one's seed and the label alone, not by draws made so
  // far.
  Random Fork(std::string_view label) const;
  Random Fork(uint64_t label) const;

  uint64_t Next();
  // Uniform in [0, bound), without modulo bias; `bound` at least 1.
  uint64_t Below(uint64_t bound);
  // Uniform in [0, 1).
  double Unit();
  bool Chance(double probability) { return Unit() < probability; }
  // Uniform in [0, limit] (full jitter).
  Duration UpTo(Duration limit) {
    return Duration(static_cast<int64_t>(Below(static_cast<uint64_t>(limit.count()) + 1)));
  }
  void Fill(absl::Span<uint8_t> out);

  // Fisher-Yates; any random-access container.
  template <class Container>
  void Shuffle(Container& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }

 private:
  uint64_t seed_;
  std::array<uint64_t, 4> state_;
};

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_RANDOM_H_
