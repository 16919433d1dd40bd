// client-sdk/src/client_impl.h
//
// The one implementation of overlay::Client: two channels, each with a completion queue and a
// thread.
//
//   idle -> attaching -> up -> ending -> (back-off) -> attaching ...
//
// Rules
//   R1  The end of any call ends the session: all its calls are cancelled, and only when the last
//       of them has ended is the next attach begun. Why: what was under way is unknown; a new
//       session replays exactly.
//   R2  After `attached`, in this order: SetPeers, LedgerClosed (not tracking), then the streams
//       (sets, envelopes, transactions), whose queues begin with what core_memory.h kept.
//   R3  Handler methods of the second thread are called from that thread alone.
//   R4  Stop cancels every call, unary ones included, and so waits for nobody's deadline.
#ifndef OVERLAY_CLIENT_SDK_SRC_CLIENT_IMPL_H_
#define OVERLAY_CLIENT_SDK_SRC_CLIENT_IMPL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client-sdk/src/core_memory.h"
#include "client-sdk/src/open_calls.h"
#include "client-sdk/src/stream_call.h"
#include "overlay/client.h"
#include "overlay/v1/core.grpc.pb.h"

namespace overlay::client {

class ClientImpl : public Client {
 public:
  ClientImpl(const ClientOptions& options, std::string network_id, Handler* handler);
  ~ClientImpl() override;

  void Start() override;
  void Stop() override;
  bool WaitAttached(std::chrono::milliseconds timeout) override;

  absl::Status Broadcast(std::string_view envelope, std::optional<uint64_t> id,
                         bool force) override;
  absl::Status RequestState(uint64_t id, uint64_t from_slot, uint32_t max_peers,
                            bool redeliver) override;
  absl::Status ReplyState(uint64_t id, const std::vector<std::string>& envelopes) override;
  absl::Status JudgeEnvelope(const Hash& hash, EnvelopeVerdict verdict) override;
  absl::StatusOr<uint64_t> Submit(std::string_view transaction, std::optional<TxBid> bid) override;
  absl::Status Judge(const std::vector<TxVerdict>& verdicts) override;
  absl::StatusOr<std::vector<TopTransaction>> TopTransactions(const TopOptions& options) override;
  absl::Status Offer(SetType type, const Hash& hash, std::string bytes,
                     std::optional<uint64_t> slot) override;
  absl::Status Fetch(SetType type, const Hash& hash, const FetchOptions& options) override;
  absl::Status CancelFetch(SetType type, const Hash& hash) override;
  absl::Status LedgerClosed(uint64_t slot, const std::optional<Hash>& hash, bool tracking,
                            const std::vector<uint64_t>& keep_slots) override;
  absl::Status TxSetExternalized(const Hash& set, const std::vector<Hash>& transactions) override;
  absl::StatusOr<std::vector<std::string>> SetPeers(const PeerList& peers) override;

 private:
  enum class State { kIdle, kAttaching, kUp, kEnding, kWaiting, kStopped };

  static void Serve(grpc::CompletionQueue& queue);
  // Two batches of submissions become one of 1,000 at most.
  static bool JoinSubmissions(v1::TransactionsUp* batch, v1::TransactionsUp* next);
  std::unique_ptr<grpc::ClientContext> Context() const;
  bool Stopping() const { return stopping_.load(); }

  // ---- the session, on the second thread
  void BeginAttach();
  void OnAttachStarted(bool ok);
  void OnAttachRead(bool ok);
  void OnAttachFinished(bool ok);
  void OnAttachEvent(const v1::AttachEvent& event);
  void BeginSession(const v1::Attached& attached);
  void ReplayPeers();
  void ReplayClosed();
  void OpenStreams();
  void OnAlarm(bool ok);
  // From any thread: cancels all calls; CallEnded follows for each.
  void EndSession(const absl::Status& why);
  void CancelStreams();
  void CallEnded();
  void AfterSession();
  // Sends a unary call and runs `then` on the second thread; failure ends the session.
  template <class Request, class Response>
  void CallThen(std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> (
                    v1::Core::Stub::*prepare)(grpc::ClientContext*, const Request&,
                                              grpc::CompletionQueue*),
                const Request& request, std::function<void(const grpc::Status&)> then);

  // ---- messages
  void OnScp(const v1::ScpDown& down);
  void OnTransactions(const v1::TransactionsDown& down);
  void OnTxSets(const v1::TxSetsDown& down);
  void OnAvailable(const v1::SetAvailable& available);
  static std::vector<v1::TxSetsUp> OfferChunks(SetType type, const Hash& hash,
                                               std::string_view bytes,
                                               std::optional<uint64_t> slot);
  absl::StatusOr<uint64_t> ReadySession() const;

  const ClientOptions options_;
  const std::string network_id_;
  const std::string core_instance_;
  Handler* const handler_;
  std::shared_ptr<grpc::Channel> scp_channel_;
  std::shared_ptr<grpc::Channel> main_channel_;
  std::unique_ptr<v1::Core::Stub> scp_stub_;
  std::unique_ptr<v1::Core::Stub> main_stub_;
  grpc::CompletionQueue scp_queue_;
  grpc::CompletionQueue main_queue_;
  std::thread scp_thread_;
  std::thread main_thread_;

  StreamCall<v1::ScpUp, v1::ScpDown> scp_;
  StreamCall<v1::TransactionsUp, v1::TransactionsDown> transactions_;
  StreamCall<v1::TxSetsUp, v1::TxSetsDown> tx_sets_;
  OpenCalls unary_calls_;
  CoreMemory memory_;

  // ---- attach call; second thread only
  std::unique_ptr<grpc::ClientAsyncReader<v1::AttachEvent>> attach_;
  v1::AttachEvent attach_event_;
  grpc::Status attach_status_;
  MemberTag<ClientImpl, &ClientImpl::OnAttachStarted> attach_started_tag_{this};
  MemberTag<ClientImpl, &ClientImpl::OnAttachRead> attach_read_tag_{this};
  MemberTag<ClientImpl, &ClientImpl::OnAttachFinished> attach_finished_tag_{this};
  MemberTag<ClientImpl, &ClientImpl::OnAlarm> alarm_tag_{this};
  grpc::Alarm alarm_;
  // Sets whose chunks are coming, and who served them.
  std::map<std::pair<SetType, Hash>, std::string> arriving_;
  std::map<std::pair<SetType, Hash>, std::vector<Hash>> arriving_peers_;

  std::atomic<bool> stopping_{false};
  std::mutex number_mutex_;  // numbers and the order of the pushes that carry them
  uint64_t last_number_ = 0;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  State state_ = State::kIdle;
  std::unique_ptr<grpc::ClientContext> attach_context_;
  uint64_t session_ = 0;
  // Counts attaches: another daemon may number its sessions as the one before did.
  uint64_t attempt_ = 0;
  int open_calls_ = 0;
  absl::Status why_ = absl::OkStatus();  // the session ended
  bool final_ = false;
  bool was_attached_ = false;
  std::optional<SteadyTime> occupied_since_;  // refused so since then, without a session since
  std::chrono::milliseconds backoff_;
};

}  // namespace overlay::client

#endif  // OVERLAY_CLIENT_SDK_SRC_CLIENT_IMPL_H_
