#include "server/mask_seeds.h"

namespace overlay::server {
namespace {

constexpr size_t kSeedChars = 56;  // of a strkey

bool IsBase32(char c) { return (c >= 'A' && c <= 'Z') || (c >= '2' && c <= '7'); }

}  // namespace

std::string MaskSeeds(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && IsBase32(text[end])) ++end;
    if (end == i) {
      out += text[i++];
      continue;
    }
    const std::string_view word = text.substr(i, end - i);
    // A longer word may begin with one: two seeds written without a space.
    const bool is_seed = word[0] == 'S' && word.size() >= kSeedChars;
    out += is_seed ? kMaskedSeed : word;
    i = end;
  }
  return out;
}

}  // namespace overlay::server
