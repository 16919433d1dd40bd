#include "flood/base/random.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "flood/base/check.h"

namespace overlay {
namespace {

uint64_t SplitMix(uint64_t& state) {
  state += 0x9e3779b97f4a7c15;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

Random::Random(uint64_t seed) : seed_(seed) {
  uint64_t mix = seed;
  for (uint64_t& word : state_) word = SplitMix(mix);
}

Random Random::Fork(std::string_view label) const {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: stable across platforms, unlike std::hash
  for (char c : label) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return Fork(hash);
}

Random Random::Fork(uint64_t label) const {
  uint64_t mix = seed_ ^ std::rotl(label, 32);
  const uint64_t first = SplitMix(mix);
  mix ^= label;
  return Random(first ^ SplitMix(mix));
}

uint64_t Random::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::Below(uint64_t bound) {
  OVERLAY_CHECK(bound > 0);
  const uint64_t reject_below = -bound % bound;
  uint64_t draw = Next();
  while (draw < reject_below) draw = Next();
  return draw % bound;
}

double Random::Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

void Random::Fill(absl::Span<uint8_t> out) {
  while (!out.empty()) {
    const uint64_t word = Next();
    const size_t count = std::min(out.size(), sizeof(word));
    std::memcpy(out.data(), &word, count);
    out.remove_prefix(count);
  }
}

}  // namespace overlay
