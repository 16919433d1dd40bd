// flood/core_io.h
//
// The border between the protocol rules and the consensus core: CoreInput is what a core (through
// the gRPC edge, or a simulated one) says, CoreOutput what it is told. proto/overlay/v1/core.proto
// documents what each means to a core; here stands what the edge and flood owe each other.
//
// Contract
//   K1  At most one core is attached. CoreAttached begins a session, CoreDetached ends it;
//       everything between belongs to it, and nothing comes outside but what is not a core's:
//       the configured peers of file and operator, the targets, the bytes of the edge's queues, and
//       an observer's TopQuery (without a fence, so answered at once). The edge checks session
//       numbers and observers.
//   K2  The edge has parsed and bounded what it hands over; flood answers what is wrong with a
//       value inside by name (CoreRefused or the result of its kind) and goes on.
//   K3  Envelopes and transactions for the core are pulled: flood hands over at most as many as it
//       was given room for (CoreRoom), and keeps the rest in its own bounded queues, where newer
//       envelopes supersede.
//   K4  Every BroadcastEnvelope with an id, RequestState, Submission, OfferChunk that ends an
//       offer, FetchSet, TxSetExternalized, TopQuery and SetPeers gets exactly one final answer
//       while the session lasts.
//   K5  PeerNews is told to the edge as it happens, core or no core, each piece once: the edge
//       keeps the list of peers, tells a core that attaches, and has observers and operators who
//       want to know without one.
// Threads: none; values belong to the loop thread.
#ifndef OVERLAY_FLOOD_CORE_IO_H_
#define OVERLAY_FLOOD_CORE_IO_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/message.h"
#include "flood/base/peer_io.h"
#include "flood/base/time.h"
#include "flood/configured_set.h"
#include "flood/peers/ban_list.h"

namespace overlay::flood {

// Bid of a transaction for inclusion: what orders the mempool. Exact: compared by cross product.
struct Bid {
  int64_t fee = 0;          // inclusion fee, stroops
  uint32_t operations = 1;  // at least 1
  Lane lane = Lane::kClassic;
  friend bool operator==(const Bid&, const Bid&) = default;
};

// ---- core -> flood ----

enum class StatePolicy : uint8_t {
  // Peers are answered from what is kept; the core is asked only for older slots.
  kCache,
  kCore,  // the core is always asked in addition
};

struct CoreAttached {
  bool judges_transactions = false;   // false: arrival is enough to be announced and proposed
  bool deliver_transactions = false;  // true: peers' transactions are delivered to the core
  StatePolicy state_policy = StatePolicy::kCache;
  LedgerSeq newest_closed;  // 0: unknown
};
struct CoreDetached {};

// Streams by which flood hands over payloads, each with room of its own.
enum class CoreStream : uint8_t { kScp, kTransactions };
// The core's stream can take this many more messages (added to what it was given before).
struct CoreRoom {
  CoreStream stream = CoreStream::kScp;
  uint32_t messages = 0;
};

struct BroadcastEnvelope {
  std::optional<uint64_t> id;  // answered with BroadcastResult if given
  Bytes envelope;
  bool force = false;  // to all peers, also those known to have it
};
struct RequestState {
  uint64_t id = 0;
  LedgerSeq from;
  uint32_t max_peers = 2;
  bool redeliver = false;  // envelopes delivered before are delivered again, once
};
// The core's answer to StateWanted, in parts.
struct StateReply {
  uint64_t id = 0;
  std::vector<Bytes> envelopes;
  bool last = false;
};
enum class EnvelopeJudgement : uint8_t { kInvalid, kDiscarded };
struct EnvelopeVerdict {
  EnvelopeHash hash;
  EnvelopeJudgement judgement = EnvelopeJudgement::kDiscarded;
};

struct Submission {
  uint64_t number = 0;
  Bytes transaction;
  std::optional<Bid> bid;  // overrides the skim
};
struct SubmitTransactions {
  std::vector<Submission> submissions;
};
enum class TxJudgement : uint8_t { kValid, kMalformed, kStale, kLater };
struct TxVerdict {
  TxHash hash;
  TxJudgement judgement = TxJudgement::kValid;
  std::optional<Bid> bid;  // with kValid: overrides the skim
};
struct TransactionVerdicts {
  uint64_t number = 0;  // of the same sequence as submissions: moves the fence
  std::vector<TxVerdict> verdicts;
};

// Offers of one core come in chunks, in order; `offset` 0 begins one (and promises the set).
struct OfferChunk {
  SetKey key;
  std::optional<LedgerSeq> slot;
  uint64_t total_bytes = 0;
  uint64_t offset = 0;
  Bytes data;
};
struct FetchSet {
  SetKey key;
  std::optional<LedgerSeq> slot;
  std::vector<NodeKey> peers;  // asked first, in this order
  uint32_t sources = 1;        // 1 to 3 in parallel
  bool until_cancelled = false;
};
struct CancelFetch {
  SetKey key;
};

struct LedgerClosed {
  LedgerSeq seq;
  std::optional<LedgerHash> hash;
  bool tracking = false;
  std::vector<LedgerSeq> keep_slots;
};
struct TxSetExternalized {
  uint64_t id = 0;
  SetHash set;  // zero allowed
  std::vector<TxHash> transactions;
};
struct TopQuery {
  uint64_t id = 0;
  uint32_t count_max = 0;
  uint64_t bytes_max = UINT64_MAX;
  uint32_t per_account_max = 1;
  std::array<std::optional<uint32_t>, kLaneCount> lane_count_max{};
  std::array<std::optional<uint64_t>, kLaneCount> lane_bytes_max{};
  uint64_t after = 0;  // fence: wait until this number has been applied
};
// The deadline of the call passed, or its caller went: forget the query (no answer).
struct CancelTopQuery {
  uint64_t id = 0;
};

// What waits at the edge for the core or observers to read, all calls together; counted against the
// memory (memory_budget.h). Of no session.
struct CoreQueues {
  uint64_t bytes = 0;
};

using CoreInput =
    std::variant<CoreAttached, CoreDetached, CoreRoom, BroadcastEnvelope, RequestState, StateReply,
                 EnvelopeVerdict, SubmitTransactions, TransactionVerdicts, OfferChunk, FetchSet,
                 CancelFetch, LedgerClosed, TxSetExternalized, TopQuery, CancelTopQuery,
                 ConfigurePeers, OperatorConnect, OperatorDisconnect, CoreQueues, ConfigureTargets,
                 OperatorBan, OperatorUnban>;

// ---- flood -> core ----

// What a skim of an envelope finds; hints until the core has judged.
struct EnvelopeRefs {
  LedgerSeq slot;
  NodeKey node;  // that signed
  SetHash quorum_set;
  std::vector<SetHash> tx_sets;  // named, without the zero hash, each once
};
struct DeliverEnvelope {
  Bytes envelope;
  EnvelopeHash hash;
  NodeKey from;  // one of the peers that sent it: the first
  EnvelopeRefs refs;
  bool redelivered = false;
};
struct BroadcastResult {
  uint64_t id = 0;
  EnvelopeHash hash;
  uint32_t peers_sent = 0;
  uint32_t peers_queued = 0;  // of those, how many must wait for credit
  bool superseded = false;  // a newer one of its node, slot and phase had been broadcast: not sent
  uint32_t peers_superseded = 0;  // not sent to for that reason
  uint32_t peers_known = 0;       // not sent to because they have it
};
struct StateDone {
  uint64_t id = 0;
  uint32_t asked = 0;
  uint32_t answered = 0;
  uint32_t refused = 0;
  uint32_t envelopes_delivered = 0;
};
struct StateWanted {
  uint64_t id = 0;  // for StateReply
  NodeKey peer;
  LedgerSeq from;
};
// Envelopes or transactions lost at a limit on the way to or from the core: ask for state of these
// slots.
struct Overflow {
  enum class Direction : uint8_t { kToCore, kFromCore };
  Direction direction = Direction::kToCore;
  CoreStream stream = CoreStream::kScp;
  uint64_t count = 0;
  LedgerSeq slot_first;
  LedgerSeq slot_last;
};

enum class SubmitOutcome : uint8_t {
  kAdded,
  kDuplicate,
  kFeeTooLow,
  kFull,
  kRejectedRecently,
  kMalformed,
  kTooLarge,
};
struct SubmitResult {
  uint64_t number = 0;
  TxHash hash;
  SubmitOutcome outcome = SubmitOutcome::kAdded;
  std::optional<uint64_t>
      fee_wanted;      // with kFeeTooLow: the lowest inclusion fee that would do now
  std::string detail;  // what was wrong, or the fee that would have been enough
};
struct DeliverTransaction {
  TxHash hash;
  Bytes transaction;
  NodeKey from;
  bool redelivered = false;  // offered before in this attachment: no verdict came
};

struct Offered {
  SetKey key;
};
struct SetAvailable {
  SetKey key;
  Bytes bytes;
  std::vector<NodeKey> peers;  // that served it; empty if it was cached
};
struct FetchProgress {
  SetKey key;
  uint64_t received_bytes = 0;
  uint64_t total_bytes = 0;
  uint32_t sources_asked = 0;
  uint32_t sources_not_found = 0;
};
enum class FetchFailure : uint8_t { kExpired, kCancelled, kTooLarge, kNoRoom };
struct FetchFailed {
  SetKey key;
  FetchFailure reason = FetchFailure::kExpired;
};
struct ExternalizedApplied {
  uint64_t id = 0;
  uint32_t removed = 0;  // transactions that the mempool held
  uint32_t unknown = 0;  // hashes that it did not
};
struct TopTransaction {
  TxHash hash;
  Bytes transaction;
  Bid bid;
};
struct TopSnapshot {
  uint64_t id = 0;
  uint64_t applied_number = 0;  // highest number applied when it was taken
  std::vector<TopTransaction> transactions;
};
// Something inside a message was illegal; the stream goes on. `stream` says on which to answer.
struct CoreRefused {
  enum class Stream : uint8_t { kScp, kTransactions, kTxSets };
  Stream stream = Stream::kScp;
  std::optional<uint64_t> id;  // of the message, where it has one
  std::optional<SetKey> key;   // of the set, where it has one
  std::string field;
  std::string value;
  std::string expected;
};
// One answer per entry of ConfigurePeers, in order: empty text means accepted.
struct PeersConfigured {
  PeerEntrySource source = PeerEntrySource::kFile;
  std::vector<std::string> refusals;
  bool applied = true;  // with refusals: the other entries are taken; else nothing has changed
};
struct OperatorAnswered {
  enum class Outcome : uint8_t { kDone, kRefused, kFull, kNotFound };
  Outcome outcome = Outcome::kDone;
  std::string detail;  // why not
};

using CoreOutput =
    std::variant<DeliverEnvelope, BroadcastResult, StateDone, StateWanted, Overflow, SubmitResult,
                 DeliverTransaction, Offered, SetAvailable, FetchProgress, FetchFailed,
                 ExternalizedApplied, TopSnapshot, CoreRefused, PeersConfigured, OperatorAnswered>;

// ---- flood -> edge (K5) ----

struct PeerUp {
  PeerId peer;
  PeerInfo info;
};
struct PeerDown {
  PeerId peer;
  PeerInfo info;
  CloseReason reason = CloseReason::kNone;
  bool by_peer = false;  // who ended it
};
// A ban was made, or one replaced. Its PeerDown, if the peer is here, follows.
struct PeerBanned {
  NodeKey key;
  Ban ban;
};
// A connected peer broke the protocol. What they add up to is the score's business.
struct PeerOffended {
  NodeKey key;
  Offence offence;
};
using PeerNews = std::variant<PeerUp, PeerDown, PeerBanned, PeerOffended>;

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_CORE_IO_H_
