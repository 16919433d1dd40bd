// transport/connection_rule.h
//
// What to do when a second connection shows the key of a peer that we have: two daemons dialled
// each other at once, one of them was restarted, or two of them share a key.
//
// Rules
//   R1  The same instance (nonce): both are kept and read until the end with the smaller node id
//       has chosen. Why: if both chose, they could close one each.
//   R2  The choice, and what is written on meanwhile, is the same at both ends: a connection that
//       is not suspect before one that is; then one that the smaller node id dialled; then the
//       newest. Suspect: silent with data outstanding, or a probe unanswered for 2 s.
//   R3  The smaller id closes the others only after the chosen one has answered a probe that was
//       sent when there were two of them. Why: the one that it dialled may be dead and not know it.
//   R4  Another instance: the newer handshake wins at once. Why: the old one was restarted, and the
//       peer that we know no longer exists.
//   R5  Instances that come back after they were replaced, with more than 3 replacements in a
//       minute: the key is shared. For 60 s the one that is connected stays and others are refused.
//       Why: two daemons with one key would push each other out for ever. A daemon that crashes in
//       a loop always shows a new nonce, and is not refused.
//
// Bounds   256 keys and 8 replacements of each; the key replaced longest ago is forgotten first.
// Cost     O(connections of the peer); at the bound O(256).
// Time     argument only.
// Threads  none.
// Not here the connections themselves, closing, probes (peer_transport.h).
#ifndef OVERLAY_TRANSPORT_CONNECTION_RULE_H_
#define OVERLAY_TRANSPORT_CONNECTION_RULE_H_

#include <cstdint>
#include <deque>
#include <map>

#include "absl/types/span.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"

namespace overlay::transport {

inline constexpr Duration kProbeTimeout = std::chrono::seconds(2);

struct ConnectionView {
  bool dialled_by_us = false;
  bool suspect = false;
  uint64_t order = 0;  // of becoming a peer's connection; newer is larger
};

// The index of the connection to keep and write on (R2); `connections` is not empty.
size_t ChooseConnection(absl::Span<const ConnectionView> connections, const NodeKey& own,
                        const NodeKey& peer);
// R1: whether this end closes the others.
inline bool WeDecide(const NodeKey& own, const NodeKey& peer) { return own < peer; }

class InstanceHistory {
 public:
  enum class Verdict : uint8_t { kReplace, kKeyShared };

  // `newcomer` shows the key of a peer whose instance `current` is connected.
  Verdict OnOtherInstance(Time now, const NodeKey& key, uint64_t current, uint64_t newcomer);
  size_t key_count() const { return keys_.size(); }

 private:
  static constexpr size_t kKeyCountMax = 256;
  static constexpr size_t kReplacementCountMax = 8;
  static constexpr size_t kReplacementsPerMinuteMax = 3;
  static constexpr Duration kWindow = std::chrono::minutes(1);

  struct Replacement {
    Time at;
    uint64_t gone = 0;  // the nonce that was replaced
  };
  struct History {
    std::deque<Replacement> replacements;  // oldest first
    Time shared_until = Time::min();
    Time touched_at = Time::min();
  };
  void MakeRoom();

  std::map<NodeKey, History> keys_;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_CONNECTION_RULE_H_
