// server/peer_entry.h
//
// The text form of a configured peer: "host", "host:port", "[v6]:port", "v6", each perhaps after
// "G...@".
#ifndef OVERLAY_SERVER_PEER_ENTRY_H_
#define OVERLAY_SERVER_PEER_ENTRY_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "flood/core_io.h"

namespace overlay::server {

inline constexpr size_t kPeerEntryBytesMax = 320;

// INVALID_ARGUMENT with what is wrong and what is expected.
absl::StatusOr<flood::PeerEntry> ParsePeerEntry(std::string_view text, bool preferred);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_PEER_ENTRY_H_
