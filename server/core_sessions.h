// server/core_sessions.h
//
// Who is attached: the one core, the observers, their calls, and where the node's answers go.
//
// Rules
//   R1  At most one core is attached. Another one is refused unless it takes over or is the same
//       instance; then every call of the old session ends at once with ABORTED, before the new
//       session begins.
//   R2  A session ends with its Attach or its Scp call, whoever ends it, and the node hears
//       CoreDetached once. Why: what gRPC had taken and not delivered is unknown, so only attaching
//       again, which replays, is exact.
//   R3  A write on Attach or Scp that nobody takes for 15 s ends the session; keep-alives do the
//       same below. Why: a core that does not read is a core that is gone, and its place may be
//       wanted.
//   R4  Observers (4 at most) read only; what one does not take in time it loses and is told, and
//       it never holds anything up.
//   R5  Session numbers are never used twice, by this daemon or (but for a chance of 2^-31) by its
//       successor. Why: a call that was opened for the daemon before must find its session ended.
//
// Bounds   per call: kStreamMessagesMax messages and kStreamBytesMax waiting. A core whose events
//          overflow is detached (it lost track of its peers); its answers stop its reading instead.
// Threads  the loop's.
// Not here what the calls mean: attach_call.h, scp_call.h, transactions_call.h, tx_sets_call.h,
// unary_calls.h.
#ifndef OVERLAY_SERVER_CORE_SESSIONS_H_
#define OVERLAY_SERVER_CORE_SESSIONS_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "flood/base/limits.h"
#include "flood/base/random.h"
#include "overlay/v1/core.pb.h"
#include "server/core_edge.h"
#include "server/daemon_stats.h"
#include "server/log.h"
#include "server/rpc_server.h"

namespace overlay::server {

class AttachCall;
class ScpCall;
class SessionCall;
class SetPeersCall;
class TopTransactionsCall;
class TransactionsCall;
class TxSetExternalizedCall;
class TxSetsCall;

inline constexpr size_t kObserverCountMax = 4;
inline constexpr Duration kUnresponsiveAfter = std::chrono::seconds(15);
inline constexpr uint32_t kApiVersion = 1;
inline constexpr uint64_t kQueuesReportBytes = 64 * kKiB;

struct CoreSessionsOptions {
  NodeKey self;
  NetworkId network;
  std::string daemon_instance;  // 16 random bytes
  std::string daemon_version;   // "overlayd 0.1.0"
  uint16_t peer_port = 0;
  Limits limits;
  uint32_t peer_version_min = 1;
  uint32_t peer_version_max = 1;
  std::function<Time()> read_clock;  // for measuring within a turn; may be empty
  DaemonStats* stats = nullptr;      // may be null
  Log* log = nullptr;                // may be null
  // What concerns no core: the answers to the file's peers, and to the operator. May be empty.
  std::function<void(const flood::PeersConfigured&)> on_file_peers;
  std::function<void(const flood::OperatorAnswered&)> on_operator;
};

// One attachment. Calls hold a pointer to it until SessionCall::OnSessionEnded.
struct CoreSession {
  uint64_t number = 0;
  std::string instance;
  std::string agent;
  bool observer = false;
  bool judges = false;
  bool delivers = false;
  bool tracking = false;  // as in its last LedgerClosed
  Time attached_at{};
  std::optional<v1::Detached::Reason> end_wanted;  // to be ended at the end of the turn

  AttachCall* attach = nullptr;
  ScpCall* scp = nullptr;
  TransactionsCall* transactions = nullptr;
  TxSetsCall* tx_sets = nullptr;
  absl::flat_hash_set<SessionCall*> calls;  // all of them, the above included

  uint64_t last_number = 0;       // of submissions and verdict batches
  uint64_t submissions_open = 0;  // sent to the node, not answered
  uint64_t tx_room_given = 0;     // transactions that the node may still deliver
  uint64_t requests_open = 0;     // request_state not done
  // Losses to be told when Scp is open, because they must not be missed: one of each direction and
  // class.
  std::vector<flood::Overflow> untold;
  std::map<uint64_t, TopTransactionsCall*> tops;  // those that wait for their fence have no entry
  std::vector<TopTransactionsCall*> fenced_tops;
  std::map<uint64_t, TxSetExternalizedCall*> externalized;
  std::vector<SetPeersCall*>
      set_peers;  // in the order of the node's answers; null: its caller has gone
};

// Why calls were refused and sessions ended; for metrics.
struct SessionCounters {
  uint64_t attached = 0;
  uint64_t refused_busy = 0;
  uint64_t refused_network = 0;
  uint64_t refused_malformed = 0;
  uint64_t refused_observers = 0;
  uint64_t stale_session = 0;
  std::array<uint64_t, 6> ended_by_reason{};  // index: v1::Detached::Reason
  uint64_t errors_answered = 0;
  uint64_t observer_lost = 0;
  // Messages that were lost at a limit on the way to or from a core, as it was told.
  uint64_t overflow_scp_to_core = 0;
  uint64_t overflow_scp_from_core = 0;
  uint64_t overflow_tx_to_core = 0;
  uint64_t scp_messages_up = 0, scp_bytes_up = 0;
  uint64_t scp_messages_down = 0, scp_bytes_down = 0;
  uint64_t tx_messages_up = 0, tx_bytes_up = 0;
  uint64_t tx_messages_down = 0, tx_bytes_down = 0;
  uint64_t set_messages_up = 0, set_bytes_up = 0;
  uint64_t set_messages_down = 0, set_bytes_down = 0;
};

class CoreSessions : public CoreSink {
 public:
  CoreSessions(CoreSessionsOptions options, CoreInputSink* node, Random random);
  ~CoreSessions() override;

  // The methods of service Core, for RpcServer.
  std::vector<RpcMethod> Methods();

  // ---- CoreSink
  void OnCoreOutput(Time now, flood::CoreOutput output) override;
  void OnPeerNews(Time now, const flood::PeerNews& news) override;

  // At the end of each turn: writes what was batched, ends what is to end.
  void OnTurn(Time now);
  std::optional<Time> NextDeadline() const;
  // Refuses new ones, and reads no more submissions.
  void StartDrain() { draining_ = true; }
  // Tells the core and the observers.
  void TellDraining(Time now, Duration within);
  // Ends all sessions with UNAVAILABLE.
  void EndAll(Time now);
  // Whether gRPC has taken all that those whose sessions ended were told.
  bool last_words_said() const { return last_words_ == 0; }
  bool draining() const { return draining_; }

  const CoreSession* core() const { return core_.get(); }
  size_t observer_count() const { return observers_.size(); }
  // Logical peers, whether a core is attached or not.
  const std::map<PeerId, PeerInfo>& peers() const { return peers_; }
  uint64_t scp_queue_messages() const;
  const SessionCounters& counters() const { return counters_; }

  // ---- for the calls
  const CoreSessionsOptions& options() const { return options_; }
  SessionCounters& mutable_counters() { return counters_; }
  CoreInputSink& node() { return *node_; }
  // By the call's metadata; else why not.
  CoreSession* Find(const RpcCall& call, grpc::Status* why_not);
  // OK: `session` is attached and `call` its Attach.
  grpc::Status Attach(Time now, const v1::AttachRequest& request, AttachCall* call,
                      CoreSession** session);
  void End(Time now, CoreSession* session, v1::Detached::Reason reason);
  uint64_t NextId() { return ++last_id_; }
  // An Attach call has been given its last words; it is over.
  void OnLastWords() { ++last_words_; }
  void OnLastWordsSaid() { --last_words_; }
  // The turn's end is to look at this session's batches.
  void MarkDirty() { dirty_ = true; }

 private:
  struct Route;

  void LogEvent(Time now, std::string_view event, std::initializer_list<LogFact> facts);
  void OnPeerUp(Time now, const flood::PeerUp& up);
  void OnPeerDown(Time now, const flood::PeerDown& down);
  void ToAllAttached(Time now, const v1::AttachEvent& event);
  grpc::Status CheckAttach(const v1::AttachRequest& request);
  void CheckStuck(Time now, CoreSession* session);
  // Tells the node what waits for the clients to read.
  void ReportQueues(Time now);
  template <class Function>
  void ForEachSession(Function&& function);

  const CoreSessionsOptions options_;
  CoreInputSink* const node_;
  uint64_t next_session_;
  uint64_t last_id_ = 0;
  size_t last_words_ = 0;  // Attach calls that have them still to say
  std::unique_ptr<CoreSession> core_;
  std::vector<std::unique_ptr<CoreSession>> observers_;
  std::map<PeerId, PeerInfo> peers_;
  SessionCounters counters_;
  uint64_t queues_told_ = 0;
  bool dirty_ = false;
  bool draining_ = false;
};

v1::PeerConnected ToConnected(const PeerInfo& info, size_t peers_connected);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_CORE_SESSIONS_H_
