// tests/sim/checkers.h
//
// What must hold in the whole network, checked as it happens; and what must hold once it has
// healed.
//
// At each event
//   C1  An envelope reaches a core at most once per attachment (redelivered ones aside), and never
//       one that this core has broadcast in it.
//   C2  No echo: no node sends an envelope to a peer that sent it to that node, unless a newer one
//       of its key came from that peer before this one reached the core: then it was forgotten.
//   C3  A set that a core gets has its hash, and the bytes that were offered under it.
//   C4  A transaction that a core gets is one that was submitted, byte for byte, and is delivered
//       at most once per attachment (redelivered ones aside, and those externalized, which are
//       forgotten in time).
//   C5  No 31 bytes in a row of an envelope, a transaction or a set stand in the clear in a
//       datagram.
//   C6  Each request of a core is answered at most once; no two requests of a node to its peers
//       have one number.
// After healing (Missing)
//   C7  Every envelope is at every core, unless a newer one of its key was broadcast by its author,
//       or its slot has gone at some node.
//   C8  Every set that such an envelope names is at every core.
//   C9  Every transaction submitted and not externalized is at every core, unless its node asked
//       for it in vain (no source is asked twice); every request is answered.
//
// What was inspected is counted (`counts`): a checker that saw nothing has proved nothing.
#ifndef OVERLAY_TESTS_SIM_CHECKERS_H_
#define OVERLAY_TESTS_SIM_CHECKERS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "flood/action.h"
#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/peer_io.h"
#include "flood/core_io.h"

namespace overlay::sim {

// Finds plain payload bytes in datagrams. A payload is filed by every eighth run of 8 of its bytes,
// two of which any 31 bytes in a row of it contain; both must be found.
class PlainSearch {
 public:
  void AddPayload(absl::Span<const uint8_t> payload);
  bool Finds(absl::Span<const uint8_t> datagram) const;

 private:
  static constexpr size_t kRunBytes = 8;

  absl::flat_hash_set<uint64_t> runs_;
  std::vector<bool> quick_ = std::vector<bool>(1 << 16);  // by hash: no run of this hash is filed
};

struct CheckerCounts {
  uint64_t envelopes_broadcast = 0;
  uint64_t envelopes_delivered = 0;
  uint64_t forged_delivered = 0;
  uint64_t envelope_copies = 0;  // handed to peers' queues, checked for echo
  uint64_t sets_delivered = 0;
  uint64_t transactions_delivered = 0;
  uint64_t answers = 0;
  uint64_t datagrams_searched = 0;
  uint64_t envelopes_converged = 0;  // pairs of envelope and core that C7 looked at
  uint64_t sets_converged = 0;
  uint64_t transactions_converged = 0;
  uint64_t transactions_excused = 0;
};

// What names an envelope's place: a newer one of the same author, slot and phase supersedes it.
struct EnvelopeKey {
  size_t author = 0;
  LedgerSeq slot;
  bool nomination = false;
  friend auto operator<=>(const EnvelopeKey&, const EnvelopeKey&) = default;
};

class Checkers {
 public:
  explicit Checkers(size_t node_count) : nodes_(node_count) {}

  // ---- what cores do
  void OnAttached(size_t node);
  void OnDetached(size_t node);  // or its daemon has gone
  // `author`'s next envelope of `key`; newer than all before it.
  void OnAuthored(const EnvelopeKey& key, const Bytes& envelope, const std::vector<SetKey>& names);
  // One that no core said: a forger's. Cores may be given it, and discard it.
  void OnForged(const Bytes& envelope);
  bool IsForged(const EnvelopeHash& hash) const { return forged_.contains(hash); }
  void OnBroadcast(size_t node, const EnvelopeHash& hash);
  void OnOffered(size_t node, const SetKey& key, const Bytes& bytes);
  void OnSubmitted(size_t node, const Bytes& transaction);
  void OnExternalized(const TxHash& transaction);
  // Requests that must be answered: `kind` is a letter of the caller's choice.
  void OnAsked(size_t node, char kind, uint64_t id);

  // ---- what nodes do
  void OnDelivered(size_t node, const flood::DeliverEnvelope& delivered);
  void OnDelivered(size_t node, const flood::DeliverTransaction& delivered);
  void OnAvailable(size_t node, const flood::SetAvailable& available);
  void OnAnswered(size_t node, char kind, uint64_t id);
  void OnNodeStopped(size_t node);
  void OnPeerEvent(size_t node, const PeerEvent& event);
  void OnAction(size_t node, const flood::Action& action);
  void OnDatagram(absl::Span<const uint8_t> payload);

  void Fail(std::string what);
  // From now on C9 excuses what was asked for so far: the faults may have spoilt it.
  void ExcuseDemands() {
    for (Node& node : nodes_) node.excused = node.demanded;
  }

  // What is missing of C7 to C9 at the cores of `present`, nothing if they hold. `oldest_kept`: the
  // highest of all nodes' oldest kept slots.
  std::optional<std::string> Missing(const std::vector<size_t>& present, LedgerSeq oldest_kept);
  bool HasEnvelope(size_t node, const EnvelopeHash& hash) const {
    return nodes_[node].envelopes.contains(hash);
  }
  bool HasTransaction(size_t node, const TxHash& hash) const {
    return nodes_[node].transactions.contains(hash);
  }
  bool HasSet(size_t node, const SetKey& key) const { return nodes_[node].sets.contains(key); }

  const CheckerCounts& counts() const { return counts_; }
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  struct Node {
    // Of all attachments together: what this core has.
    std::set<EnvelopeHash> envelopes;
    std::set<TxHash> transactions;
    std::set<SetKey> sets;
    // Of this attachment.
    std::set<EnvelopeHash> delivered;
    std::set<EnvelopeHash> broadcast;
    std::set<TxHash> transactions_delivered;
    std::set<std::pair<char, uint64_t>> open_requests;
    // Of this life of the node: which envelopes each peer sent.
    std::map<PeerId, std::set<EnvelopeHash>> sent_by;
    std::set<RequestId> requests;
    std::set<TxHash> demanded;
    std::set<TxHash> excused;
  };
  struct Authored {
    EnvelopeHash hash;
    std::vector<SetKey> names;
  };

  // The place of an envelope among those of its key.
  struct Known {
    EnvelopeKey key;
    uint64_t order = 0;
  };
  void OnSentByPeer(size_t node, PeerId peer, const Bytes& envelope);

  std::vector<Node> nodes_;
  std::map<EnvelopeKey, Authored> newest_;
  std::map<EnvelopeHash, Known> known_envelopes_;
  std::set<EnvelopeHash> forged_;
  std::map<SetKey, Bytes> sets_;
  std::map<TxHash, Bytes> transactions_;
  std::set<TxHash> externalized_;
  PlainSearch plain_;
  CheckerCounts counts_;
  std::vector<std::string> failures_;
};

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_CHECKERS_H_
