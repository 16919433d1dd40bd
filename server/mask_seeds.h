// server/mask_seeds.h
//
// Takes secret seeds out of texts that are about to be shown: somebody puts a seed where a path, a
// key or a command belongs, and the message that says so must not carry it into a log.
//
// Threads  any.
#ifndef OVERLAY_SERVER_MASK_SEEDS_H_
#define OVERLAY_SERVER_MASK_SEEDS_H_

#include <string>
#include <string_view>

namespace overlay::server {

inline constexpr std::string_view kMaskedSeed = "S...(not shown)";

// Each word of the form of a seed (S and 55 characters of base32), mistyped ones too, is replaced.
std::string MaskSeeds(std::string_view text);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_MASK_SEEDS_H_
