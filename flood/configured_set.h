// flood/configured_set.h
//
// Whom the node is to have as peers: what file, core and operator say of it. Part of the border of
// core_io.h; peers/dial_plan.h and peers/admission.h have the rules.
//
// Threads: none; values belong to the loop thread.
#ifndef OVERLAY_FLOOD_CONFIGURED_SET_H_
#define OVERLAY_FLOOD_CONFIGURED_SET_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "flood/base/ids.h"
#include "flood/base/time.h"

namespace overlay::flood {

// One peer of the configured set, parsed by the edge: "host", "host:port", "[v6]:port",
// "G...@host:port".
struct PeerEntry {
  std::string text;              // as given
  std::string host;              // name or IP literal, without brackets
  std::optional<uint16_t> port;  // none: default port
  std::optional<NodeKey> pinned_key;
  bool preferred = false;
  friend bool operator==(const PeerEntry&, const PeerEntry&) = default;
};
enum class PeerEntrySource : uint8_t { kFile, kCore, kOperator };
inline constexpr PeerEntrySource kPeerEntrySources[] = {
    PeerEntrySource::kFile, PeerEntrySource::kCore, PeerEntrySource::kOperator};
// Replaces that source's part of the configured set.
struct ConfigurePeers {
  PeerEntrySource source = PeerEntrySource::kFile;
  std::vector<PeerEntry> entries;
  bool disconnect_removed =
      false;  // else connections to removed entries are kept, and not redialled
  // Of a core: over PeerTargets::closed, until its next ConfigurePeers.
  std::optional<bool> closed = std::nullopt;
};
// Whom to admit (peers/admission.h). Replaces what was told before; of no session.
struct PeerTargets {
  size_t outbound = 8;      // peers beyond the configured set that we dialled
  size_t inbound_max = 64;  // peers that dialled us
  size_t newcomers = 8;     // of those places, never held by peers of more than 10 minutes
  bool closed = false;      // only keys that a configured entry pins
};
struct ConfigureTargets {
  PeerTargets targets;
};
// Both are answered with OperatorAnswered.
struct OperatorConnect {
  PeerEntry entry;
};
// By key: closes the peer, and removes what leads to it from the operator's part. By entry: removes
// that one, and closes the peers that no other entry leads to. They are not redialled unless
// configured elsewhere.
struct OperatorDisconnect {
  std::variant<NodeKey, PeerEntry> whom;
};

// Of no session, answered with OperatorAnswered (peers/ban_list.h).
struct OperatorBan {
  NodeKey key;
  std::optional<Duration> duration;  // none: without end
  std::string reason;                // IsBanReason
};
struct OperatorUnban {
  NodeKey key;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_CONFIGURED_SET_H_
