// flood/scp_index.h
//
// One entry for each SCP envelope that is remembered, filed by slot, with who is known to have it.
// The parts of the SCP flood share it: the inbox and the outbox each own the members named after
// them.
//
// Rules
//   R1  An entry lives while it was seen from a peer or broadcast by a core, until its slot goes.
//   R2  Marks of peers that have gone are dropped before a list of marks grows. Why: no pass over
//       all entries when a peer leaves, and reconnecting does not grow them.
//   R3  Quorum sets are counted by the entries that have a body.
//   R4  At the bound the peer to whom most entries are charged loses the earliest of its lowest
//       slot; peers that have gone count as one. An entry is charged to who sent it first, until a
//       core broadcasts it; only where nothing is charged does the earliest of the lowest slot of
//       all go. Why: slots are hints that anybody can forge, and a forger of high ones would push
//       out what honest peers sent and what the core said.
//
// Bounds   the owner calls Victim() and forgets it at Limits::seen_hash_count_max.
// Cost     O(log n) to add and remove; O(peers) for a mark. Pointers to entries are stable.
// Threads  none.
#ifndef OVERLAY_FLOOD_SCP_INDEX_H_
#define OVERLAY_FLOOD_SCP_INDEX_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/peer_io.h"
#include "flood/xdr_skim.h"

namespace overlay::flood {

// Names a peer in marks: four bytes instead of eight, times peers, times entries. Unique per
// process for the first 2^28 connections; a later clash would need a mark to outlive as many.
using PeerOrdinal = uint32_t;

// What supersedes what is decided inside one of these.
struct ScpKey {
  LedgerSeq slot;
  NodeKey node;
  ScpPhase phase = ScpPhase::kBallot;
  friend auto operator<=>(const ScpKey&, const ScpKey&) = default;
};

enum PeerMark : uint32_t {
  kSentIt = 1,      // the peer sent it to us
  kHasIt = 2,       // the peer acknowledged our copy
  kInFlight = 4,    // handed to the peer's queue, EnvelopeDone outstanding
  kTakingBack = 8,  // with kInFlight: CancelEnvelope has been issued
};
inline constexpr uint32_t kMarkBits = 4;

struct ScpEntry {
  EnvelopeHash hash;
  ScpKey key;
  SetHash quorum_set;
  uint64_t id = 0;              // in order of creation; also the token of all its copies
  Bytes body;                   // empty unless kept by the inbox or the outbox
  std::vector<uint32_t> marks;  // ordinal << kMarkBits | PeerMark bits, one a peer

  // Inbox.
  bool seen = false;     // came from a peer and is remembered
  bool refused = false;  // the core's verdict: invalid
  uint32_t keepers = 0;  // senders under which it is kept
  uint64_t arrival = 0;  // while kept: its place in the order of delivery
  uint64_t delivered_session = 0;
  NodeKey first_sender;
  bool is_waiting_charged = false;  // counts against the core queue, under first_sender

  uint32_t account = 0;  // the index's: whom it is charged to (R4); 0: nobody

  // Outbox.
  uint64_t broadcast_session = 0;  // last session in which the core broadcast it; 0: never
  bool is_state = false;           // the newest that the core broadcast of its key
};

class ScpIndex {
 public:
  ScpEntry* Find(const EnvelopeHash& hash);
  ScpEntry* FindById(uint64_t id);
  ScpEntry& Add(const EnvelopeHash& hash, const ScpKey& key, const SetHash& quorum_set);
  void Remove(ScpEntry& entry);
  // Gives or takes the body, and counts the quorum set.
  void SetBody(ScpEntry& entry, const Bytes& body);
  void DropBody(ScpEntry& entry);

  size_t size() const { return by_hash_.size(); }
  size_t body_bytes() const { return body_bytes_; }
  // What is to go at the bound (R4); the index is not empty.
  ScpEntry& Victim() const;
  // The first entry with a slot of at least this; nullptr: none.
  ScpEntry* FirstFrom(LedgerSeq slot) const;
  bool NamesQuorumSet(const SetHash& hash) const { return quorum_sets_.contains(hash); }

  // ---- charges (R4)
  void SetConnected(const NodeKey& sender, bool connected);
  // `sender` is connected.
  void Charge(ScpEntry& entry, const NodeKey& sender);
  void Uncharge(ScpEntry& entry);

  // ---- marks
  void AddPeer(PeerOrdinal peer) { live_.insert(peer); }
  void RemovePeer(PeerOrdinal peer) { live_.erase(peer); }
  static uint32_t MarkOf(const ScpEntry& entry, PeerOrdinal peer);
  void SetMark(ScpEntry& entry, PeerOrdinal peer, uint32_t bits);
  void ClearMark(ScpEntry& entry, PeerOrdinal peer, uint32_t bits);

  void CheckInvariants() const;

 private:
  struct Filed {
    LedgerSeq slot;
    uint64_t id = 0;
    friend auto operator<=>(const Filed&, const Filed&) = default;
  };

  struct Account {
    NodeKey sender;
    bool connected = true;
    absl::btree_set<Filed> entries;
  };
  using Weights = absl::btree_set<std::pair<size_t, uint32_t>>;  // entries, account; none empty

  // After a change of the account's entries. Forgets who has gone and is charged nothing.
  void Reweigh(uint32_t id, size_t weight_before);
  Weights& WeightsOf(const Account& account) {
    return account.connected ? connected_weights_ : gone_weights_;
  }

  absl::flat_hash_map<EnvelopeHash, std::unique_ptr<ScpEntry>> by_hash_;
  absl::flat_hash_map<uint64_t, ScpEntry*> by_id_;
  absl::btree_map<Filed, ScpEntry*> filed_;
  absl::flat_hash_map<SetHash, uint32_t> quorum_sets_;  // entries with a body that name it
  absl::flat_hash_set<PeerOrdinal> live_;
  uint64_t last_id_ = 0;
  size_t body_bytes_ = 0;  // of all entries

  absl::btree_map<uint32_t, Account> accounts_;
  absl::flat_hash_map<NodeKey, uint32_t> account_of_;
  Weights connected_weights_;
  Weights gone_weights_;
  size_t gone_count_ = 0;  // entries of all accounts that have gone
  uint32_t last_account_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SCP_INDEX_H_
