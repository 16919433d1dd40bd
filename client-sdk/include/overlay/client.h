// overlay/client.h
//
// The C++ client of overlayd's core API (proto/overlay/v1/core.proto): what a consensus core needs
// to hand its envelopes, transactions and sets to the overlay beside it, and to get its peers'.
//
//   struct Core : overlay::Handler {
//     void OnEnvelope(const overlay::ReceivedEnvelope& e) override { client->Broadcast(e.envelope);
//     ... }
//   };
//   auto client = overlay::Client::Create({.target = "unix:/run/overlayd/core.sock",
//                                          .network_passphrase = "..."}, &core);
//   client->Start();                     // attaches, and attaches again whenever the daemon has
//   gone client->Broadcast(envelope);
//
// Guarantees
//   - Every call returns at once. What it gives to a queue is sent in order; a full queue is
//     RESOURCE_EXHAUSTED and nothing was taken.
//   - While no session is up, calls are kept in the same queues (UNAVAILABLE only after Stop).
//     After a restart of the daemon the client attaches again and hands back what the daemon lost:
//     peers, the last LedgerClosed (not tracking), the sets offered in the slots kept, the newest
//     envelope per key that was broadcast in them, submissions not yet answered, and those that
//     were added and are in no ledger that TxSetExternalized told of (for 12 ledgers or 300 s).
//     Envelopes that the Handler has had are not delivered again.
//   - Each Submit ends in one OnSubmitResult; each Fetch in one OnSet or OnFetchFailed.
//
// Threads  Two of the client's own: one for SCP, one for all else, so a slow OnTransactions never
//          delays an envelope. Handler methods say on which they are called; one that blocks holds
//          up its own thread only. All methods of Client may be called from any thread, Handler
//          methods included; Stop and the destructor not from a Handler method.
// Bounds   ClientOptions: messages and bytes per queue.
// Cost     Broadcast: one copy into the message and the wake-up of the SCP thread.
#ifndef OVERLAY_CLIENT_H_
#define OVERLAY_CLIENT_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace overlay {

using Hash = std::array<uint8_t, 32>;

enum class SetType : uint8_t { kTxSet = 1, kQuorumSet = 2 };
enum class TxLane : uint8_t { kClassic = 1, kSoroban = 2 };

struct ClientOptions {
  std::string target;  // "unix:/path" or "host:port"
  std::string token;   // of a listener that wants one
  // Mutual TLS, PEM texts; all three or none. The daemon's certificate must be of these authorities
  // and name the target's host, or `tls_server_name` where that is given.
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_server_name;
  std::string network_passphrase;  // its SHA-256 is the network id
  std::string network_id;      // instead of the passphrase, where only the id is known; 32 bytes
  std::string agent = "core";  // shown to operators; 64 bytes at most
  bool takeover = false;       // end the session of another core
  bool observer = false;       // read only
  bool judges_transactions = false;
  bool deliver_transactions = false;
  bool core_answers_state = false;     // state_policy core
  uint64_t newest_closed_slot = 0;     // 0: unknown
  size_t queue_messages_max = 10'000;  // per stream, towards the daemon
  size_t queue_bytes_max = 64 << 20;
  std::chrono::milliseconds reconnect_min{10};
  std::chrono::milliseconds reconnect_max{1000};
  // Refused because another core is attached, it tries on for so long before that is final. Why: of
  // a core that was killed and is back at once the daemon may still hold the session of before; it
  // gives one up after 15 s of silence.
  std::chrono::milliseconds occupied_patience{20'000};
};

struct PeerChange {
  bool connected = false;
  Hash peer{};
  std::string strkey;
  std::string address;
  bool inbound = false;
  std::string reason;  // why it went; empty when it came
  uint32_t peers_connected = 0;
};

struct SessionInfo {
  uint64_t session = 0;
  Hash node{};
  std::string node_strkey;
  std::string daemon_version;
  uint32_t peer_port = 0;
};

struct ReceivedEnvelope {
  std::string_view envelope;  // valid during the call
  Hash hash{};
  Hash peer{};
  uint64_t slot = 0;
  std::vector<Hash> tx_sets;
  Hash quorum_set{};
  bool redelivered = false;
};

struct BroadcastOutcome {
  uint64_t id = 0;
  Hash hash{};
  uint32_t peers_sent = 0;
  uint32_t peers_queued = 0;
  bool superseded = false;
};

struct ReceivedTransaction {
  std::string_view transaction;  // valid during the call
  Hash hash{};
  Hash peer{};
  bool redelivered = false;
};

struct TxBid {
  int64_t fee = 0;
  uint32_t operations = 1;
  TxLane lane = TxLane::kClassic;
};

enum class SubmitOutcome : uint8_t {
  kAdded = 1,
  kDuplicate,
  kFeeTooLow,
  kFull,
  kRejectedRecently,
  kMalformed,
  kTooLarge,
};
std::string_view SubmitOutcomeName(SubmitOutcome outcome);

struct SubmitAnswer {
  uint64_t number = 0;  // that Submit returned
  Hash hash{};
  SubmitOutcome outcome = SubmitOutcome::kAdded;
  std::optional<uint64_t> fee_wanted;
  std::string detail;
};

enum class Verdict : uint8_t { kValid = 1, kMalformed, kStale, kLater };
struct TxVerdict {
  Hash hash{};
  Verdict verdict = Verdict::kValid;
  std::optional<TxBid> bid;
};
enum class EnvelopeVerdict : uint8_t { kInvalid = 1, kDiscarded };

struct FetchOptions {
  std::optional<uint64_t> slot;
  std::vector<Hash> peers;  // asked first
  uint32_t sources = 1;     // 1 to 3
  bool until_cancelled = false;
};
struct ReceivedSet {
  SetType type = SetType::kTxSet;
  Hash hash{};
  std::string bytes;        // whole; its SHA-256 has been checked by the daemon
  std::vector<Hash> peers;  // that served it; none: it was cached
};
enum class FetchFailure : uint8_t { kExpired = 1, kTooLarge, kNoRoom, kCancelled, kRefused };

struct StateOutcome {
  uint64_t id = 0;
  uint32_t peers_asked = 0;
  uint32_t peers_answered = 0;
  uint32_t peers_refused = 0;
  uint32_t envelopes_delivered = 0;
};

struct OverflowNotice {
  bool to_core = false;  // else from the core to peers
  uint64_t count = 0;
  std::optional<uint64_t> slot_first;
  std::optional<uint64_t> slot_last;
};

struct TopOptions {
  std::optional<uint32_t> count_max;
  std::optional<uint64_t> bytes_max;
  uint32_t per_account = 1;
  // Everything submitted and judged before this call is in the snapshot.
  bool after_everything_sent = true;
  std::chrono::milliseconds timeout{5000};
};
struct TopTransaction {
  std::string transaction;
  Hash hash{};
  TxBid bid;
};

// What the overlay tells a core. Default: nothing is done. See the thread behind each.
class Handler {
 public:
  virtual ~Handler() = default;

  // ---- SCP thread
  virtual void OnEnvelope(const ReceivedEnvelope&) {}
  virtual void OnBroadcastResult(const BroadcastOutcome&) {}
  virtual void OnStateDone(const StateOutcome&) {}
  // A peer wants the core's own SCP state; answer with ReplyState(id, ...).
  virtual void OnStateWanted(uint64_t /*id*/, uint64_t /*from_slot*/) {}
  // To observers, on the other thread: what they did not read in time.
  virtual void OnOverflow(const OverflowNotice&) {}

  // ---- the other thread
  virtual void OnAttached(const SessionInfo&) {}
  // The session is over; the client attaches again by itself unless `final` (refused: wrong
  // network, another core is attached for longer than occupied_patience, observer limit).
  virtual void OnDetached(const absl::Status& /*why*/, bool /*final*/) {}
  virtual void OnPeer(const PeerChange&) {}
  virtual void OnTransactions(const std::vector<ReceivedTransaction>&) {}
  virtual void OnSubmitResult(const SubmitAnswer&) {}
  virtual void OnOffered(SetType, const Hash&) {}
  // The handler's to keep. NOLINTNEXTLINE(performance-unnecessary-value-param)
  virtual void OnSet(ReceivedSet) {}
  virtual void OnFetchFailed(SetType, const Hash&, FetchFailure) {}
  // The daemon refused a value inside a message of ours: `what` names field, value and what was
  // expected.
  virtual void OnError(const absl::Status& /*what*/) {}
};

// The core's part of the configured peers; replaces what it said before. An entry is `host`,
// `host:port`, `[v6]:port`, or one of these after `G...@`, the peer's key.
struct PeerList {
  std::vector<std::string> known = {};
  std::vector<std::string> preferred = {};  // dialled first, and never displaced by others
  bool disconnect_removed = false;          // else connections to removed ones are kept
  // Whether only peers whose keys an entry names are admitted, whoever configured it; then each
  // entry must name one. Absent: as the daemon is configured.
  std::optional<bool> closed = std::nullopt;
};

class Client {
 public:
  // INVALID_ARGUMENT names the option that is wrong. `handler` outlives the client.
  static absl::StatusOr<std::unique_ptr<Client>> Create(const ClientOptions& options,
                                                        Handler* handler);
  virtual ~Client() = default;

  virtual void Start() = 0;
  // Ends the session and both threads; what was queued is lost. Idempotent.
  virtual void Stop() = 0;
  virtual bool WaitAttached(std::chrono::milliseconds timeout) = 0;

  // ---- SCP
  // `id` asks for OnBroadcastResult. `force` sends to all peers, also those that have it.
  virtual absl::Status Broadcast(std::string_view envelope,
                                 std::optional<uint64_t> id = std::nullopt, bool force = false) = 0;
  virtual absl::Status RequestState(uint64_t id, uint64_t from_slot, uint32_t max_peers = 2,
                                    bool redeliver = false) = 0;
  virtual absl::Status ReplyState(uint64_t id, const std::vector<std::string>& envelopes) = 0;
  virtual absl::Status JudgeEnvelope(const Hash& hash, EnvelopeVerdict verdict) = 0;

  // ---- transactions. Returns the number that OnSubmitResult repeats.
  virtual absl::StatusOr<uint64_t> Submit(std::string_view transaction,
                                          std::optional<TxBid> bid = std::nullopt) = 0;
  virtual absl::Status Judge(const std::vector<TxVerdict>& verdicts) = 0;
  // Blocks the caller (not a client thread) until the snapshot is there or the time is over.
  virtual absl::StatusOr<std::vector<TopTransaction>> TopTransactions(
      const TopOptions& options) = 0;

  // ---- sets
  virtual absl::Status Offer(SetType type, const Hash& hash, std::string bytes,
                             std::optional<uint64_t> slot = std::nullopt) = 0;
  virtual absl::Status Fetch(SetType type, const Hash& hash, const FetchOptions& options = {}) = 0;
  virtual absl::Status CancelFetch(SetType type, const Hash& hash) = 0;

  // ---- ledger
  virtual absl::Status LedgerClosed(uint64_t slot, const std::optional<Hash>& hash, bool tracking,
                                    const std::vector<uint64_t>& keep_slots = {}) = 0;
  // Blocks until the mempool no longer holds them.
  virtual absl::Status TxSetExternalized(const Hash& set,
                                         const std::vector<Hash>& transactions) = 0;
  // One text per refused entry; empty: all were taken.
  virtual absl::StatusOr<std::vector<std::string>> SetPeers(const PeerList& peers) = 0;
};

}  // namespace overlay

#endif  // OVERLAY_CLIENT_H_
