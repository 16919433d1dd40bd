// client-sdk/demo-core/core.h
//
// DemoCore: a core that agrees with others on ledgers through its daemon and nothing else.
//
//   R1  An envelope whose signature is good, of a node of the transitive quorum, in the slots kept
//       or ahead, is broadcast before it is judged, whatever this core is busy with; not our own
//       of an earlier life: it would take the place of what this one said of the same slot.
//   R2  A statement is judged when its quorum set and all its transaction sets are here, checked by
//       hash and structure; till then it waits, and what it names is fetched.
//   R3  A set that this core proposes is offered before the envelope that names it is broadcast.
//   R4  When a ledger closes, the mempool forgets its transactions before the daemon hears that the
//       slot is closed, and both before transactions for the next ledger are asked for.
//   R5  Slots are closed in order. When the next one cannot be had for kJumpAfter and others have
//       externalized a later one, what lies between is given up.
//   R6  A core that may have had an earlier life (`rejoin`) listens to its peers for kSettle before
//       it judges anything. Then it begins with what it said itself, as far as that came back, and
//       goes on from there. Slots older than the newest that it heard of are left to the others.
//
// Bounds: of each node the statements of kSlotsAhead slots wait, the newest; kWaitingMax of them
// per slot and phase.
// Threads: Run's thread owns everything; the client's threads post to it; one more thread makes the
// calls that block. Not here: balances, signatures of transactions, history (README.md).
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_CORE_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_CORE_H_

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "client-sdk/demo-core/faulty_client.h"
#include "client-sdk/demo-core/ledger.h"
#include "client-sdk/demo-core/quorum.h"
#include "client-sdk/demo-core/report.h"
#include "client-sdk/demo-core/task_queue.h"
#include "client-sdk/demo-core/tx_source.h"
#include "client-sdk/demo-core/vote.h"
#include "flood/base/crypto.h"
#include "overlay/client.h"

namespace overlay::demo {

inline constexpr uint64_t kSlotsKept = 12;
inline constexpr uint64_t kSlotsAhead = 100;
inline constexpr size_t kWaitingMax = 16;
// Before the first ledger: so long for peers to connect.
inline constexpr Duration kPeersWithin = std::chrono::seconds(3);
// Enough for the daemon to replay what it and its peers kept.
inline constexpr Duration kSettle = std::chrono::seconds(1);
// No ledger for so long: ask for state, and say the own votes again.
inline constexpr Duration kAskAfter = std::chrono::seconds(2);
inline constexpr Duration kJumpAfter = std::chrono::seconds(4);
// A set that another core offered should be here by then.
inline constexpr Duration kSetOverdue = std::chrono::seconds(3);

struct CoreOptions {
  std::string daemon;  // unix:PATH or IP:PORT
  std::string passphrase;
  SecretSeed seed;
  xdr::QuorumSet quorum_set;
  std::vector<std::string> peers;
  Duration ledger_every = std::chrono::seconds(1);
  Duration vote_timeout = std::chrono::milliseconds(500);
  double transactions_per_s = 0;
  Duration submit_for{};
  TxSource::Options transactions;
  bool rejoin = false;
  uint64_t resume_slot = 0;  // the newest ledger closed in the earlier life; 0: it knows of none
  Sabotage sabotage = Sabotage::kNone;
};

class DemoCore : public Handler {
 public:
  DemoCore(const CoreOptions& options, TxSource transactions, const Report& report);
  ~DemoCore() override;

  // Connects and works until Stop, which any thread may call. An error: the daemon refuses us.
  absl::Status Run();
  void Stop() { tasks_.Close(); }
  // Begins no slot after this one. From any thread.
  void StopAfter(uint64_t slot);

  // ---- Handler: copies and posts
  void OnEnvelope(const ReceivedEnvelope& envelope) override;
  void OnAttached(const SessionInfo& session) override;
  void OnDetached(const absl::Status& why, bool final) override;
  void OnPeer(const PeerChange& change) override;
  void OnTransactions(const std::vector<ReceivedTransaction>& transactions) override;
  void OnSubmitResult(const SubmitAnswer& answer) override;
  void OnSet(ReceivedSet set) override;
  void OnFetchFailed(SetType type, const Hash& hash, FetchFailure failure) override;
  void OnError(const absl::Status& what) override;

 private:
  struct Waiting {
    xdr::ScpStatement statement;
    Time since;
    bool overdue = false;  // was reported
  };
  using WaitingKey = std::tuple<uint64_t, NodeKey, bool>;  // slot, node, is nomination
  struct KnownSet {
    uint64_t slot = 0;
    std::optional<SetContents> contents;  // nullopt: it does not decode
  };
  struct Fetching {
    uint64_t slot = 0;
    Time since;
  };
  struct Received {  // a transaction
    std::string bytes;
    Hash hash;
  };

  // ---- core.cc: the slot under way
  void Attached();
  void BeginSlot();
  void Tick();
  Time NextDeadline() const;
  void FollowVote();
  void Say(const xdr::ScpStatement& statement);
  void Externalize(const std::string& value);
  void CatchUp(Time now);
  bool IsListening() const { return vote_from_ == UINT64_MAX; }  // R6
  bool MayVote() const;

  // ---- core_envelopes.cc: what comes in
  void Envelope(const std::string& bytes, const Hash& hash, Time at, bool redelivered);
  void Wait(const xdr::ScpStatement& statement);
  void Judge(Time now);
  bool IsReady(const xdr::ScpStatement& statement);
  bool Lacks(SetType type, const SetHash& hash, uint64_t slot);
  void SetArrived(const ReceivedSet& set);
  bool IsValid(const std::string& value);
  void ReportOverdue(Time now);
  void ForgetOld();
  void Trust(const xdr::QuorumSet& set);

  // ---- core_transactions.cc
  void Submit(Time now);
  void JudgeTransactions(const std::vector<Received>& transactions);
  void Propose();
  void Proposed(uint64_t slot, const std::vector<TopTransaction>& top);
  void ForgetTransactions(const SetContents& contents);

  const CoreOptions options_;
  const NetworkId network_;
  const NodeKey self_;
  const SetHash quorum_set_hash_;
  const Report report_;
  TaskQueue tasks_;
  TaskQueue calls_;  // of the thread for calls that block
  std::unique_ptr<Client> client_;
  std::thread call_thread_;
  absl::Status refused_ = absl::OkStatus();

  // ---- agreement
  QuorumSets quorum_sets_;
  std::set<NodeKey> trusted_;  // the transitive quorum as far as it is known
  Federation federation_;
  Ledger ledger_;
  std::unique_ptr<Vote> vote_;            // of the slot after the newest closed one
  std::map<std::string, bool> validity_;  // of values of that slot
  std::map<WaitingKey, std::deque<Waiting>> waiting_;
  std::map<SetHash, KnownSet> tx_sets_;
  std::map<std::pair<SetType, SetHash>, Fetching> fetching_;
  std::map<bool, Bytes> said_;  // the newest of each phase, in the slot under way
  uint64_t heard_slot_ = 0;     // the newest
  uint64_t vote_from_ = 1;      // UINT64_MAX: it still listens
  uint64_t stop_after_ = UINT64_MAX;
  bool attached_ = false;
  Time attached_at_ = kTimeNever;
  uint32_t peers_ = 0;
  Time slot_due_ = kTimeNever;  // when nomination begins; not known until the first one may
  Time closed_at_{};
  Time asked_at_{};
  Time ticked_at_{};
  uint64_t requests_ = 0;
  bool proposing_ = false;

  // ---- transactions
  TxSource transactions_;
  double submit_due_ = 0;  // transactions that should have been submitted, less those that were
  Time submitted_at_{};
  Time submit_until_ = kTimeNever;
  std::map<TxKey, TxHash> valid_;  // judged so, and in no ledger yet
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_CORE_H_
