// flood/scp_peers.h
//
// The peers as the parts of the SCP flood share them. Ordered by PeerId, so that what goes to all
// of them goes in the same order in every run. Threads: none.
#ifndef OVERLAY_FLOOD_SCP_PEERS_H_
#define OVERLAY_FLOOD_SCP_PEERS_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"
#include "flood/scp_index.h"

namespace overlay::flood {

// One question of ours to a peer.
struct ScpAsk {
  uint64_t id = 0;
  std::optional<uint64_t> core_request;  // none: the one on connection
  Time deadline;
};

// A peer's question that waits for the core's part.
struct ScpAnswer {
  uint64_t id = 0;      // the peer's
  uint64_t wanted = 0;  // of our StateWanted
  LedgerSeq from;
  Time deadline;
  size_t count = 0;
  size_t bytes = 0;
};

struct ScpPeer {
  PeerId id;
  NodeKey key;
  PeerOrdinal ordinal = 0;
  bool blocked = false;
  bool core_present = true;

  // What we asked of it (scp_state.h).
  std::optional<ScpAsk> ask;
  std::deque<uint64_t> asks_waiting;  // core requests, until `ask` is done
  std::deque<Time> asked_at;          // in the last minute
  uint64_t last_round = 0;            // of the core's requests, in which it was asked

  // What it asked of us.
  std::optional<ScpAnswer> answer;  // open while the core is asked
  std::deque<Time> requested_at;    // in the last minute

  // Scratch of one broadcast: its marks on the entry with this id.
  uint64_t marked_entry = 0;
  uint32_t marks = 0;
};

class ScpPeers {
 public:
  ScpPeer& Add(PeerId id, const NodeKey& key) {
    ScpPeer& peer = by_id_[id];
    peer.id = id;
    peer.key = key;
    peer.ordinal = ++last_ordinal_ & ((1u << (32 - kMarkBits)) - 1);
    by_ordinal_[peer.ordinal] = &peer;
    return peer;
  }
  void Remove(PeerId id) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return;
    by_ordinal_.erase(found->second.ordinal);
    by_id_.erase(found);
  }
  ScpPeer* Find(PeerId id) {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : &found->second;
  }
  ScpPeer* FindOrdinal(PeerOrdinal ordinal) {
    const auto found = by_ordinal_.find(ordinal);
    return found == by_ordinal_.end() ? nullptr : found->second;
  }
  std::map<PeerId, ScpPeer>& all() { return by_id_; }
  const std::map<PeerId, ScpPeer>& all() const { return by_id_; }

 private:
  std::map<PeerId, ScpPeer> by_id_;  // pointers into it stay valid
  absl::flat_hash_map<PeerOrdinal, ScpPeer*> by_ordinal_;
  PeerOrdinal last_ordinal_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SCP_PEERS_H_
