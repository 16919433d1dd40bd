// flood/peers/peer_view.h
//
// What the node knows of one peer, connected or not, and of one name: for operators.
#ifndef OVERLAY_FLOOD_PEERS_PEER_VIEW_H_
#define OVERLAY_FLOOD_PEERS_PEER_VIEW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flood/base/ids.h"
#include "flood/base/peer_io.h"
#include "flood/base/socket_address.h"
#include "flood/base/time.h"
#include "flood/peers/peer_book.h"

namespace overlay::flood {

struct PeerView {
  enum class State : uint8_t { kConnected, kResolving, kDialling, kWaiting, kLost };
  State state = State::kWaiting;
  std::optional<NodeKey> key;            // pinned, or seen at the address before
  std::optional<SocketAddress> address;  // none: its name is not resolved
  std::string configured;                // the entry that led to it, as given
  bool preferred = false;

  // While connected.
  std::optional<PeerId> peer;
  double score = 0;
  bool core_present = false;

  // Of the last try, and the next.
  std::optional<Time> next_try;  // a dial, or a look-up of the name
  uint32_t failures = 0;         // in a row
  std::optional<CloseReason> last_reason;
  bool not_resolved = false;  // the last look-up of the name failed

  bool banned = false;
  // Of all its connections; none: it was never connected, or is forgotten.
  std::optional<KnownPeer> known;
};

struct NameView {
  enum class State : uint8_t { kAsking, kOk, kFailed };
  std::string host;
  bool services = false;  // its SRV records are asked for, too
  State state = State::kAsking;
  std::vector<SocketAddress> addresses;  // of the last answer; port 0: each entry has its own
  std::optional<Duration> ttl;           // as it is kept to
  std::string error;                     // of the last look-up; empty: it did not fail
  uint32_t failures = 0;                 // in a row
  std::optional<Time> next_try;          // none: it is being looked up
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_PEER_VIEW_H_
