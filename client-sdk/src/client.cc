#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <random>
#include <set>

#include "client-sdk/src/client_impl.h"
#include "client-sdk/src/unary_tag.h"
#include "flood/base/crypto.h"

namespace overlay {

std::string_view SubmitOutcomeName(SubmitOutcome outcome) {
  switch (outcome) {
    case SubmitOutcome::kAdded:
      return "added";
    case SubmitOutcome::kDuplicate:
      return "duplicate";
    case SubmitOutcome::kFeeTooLow:
      return "fee_too_low";
    case SubmitOutcome::kFull:
      return "full";
    case SubmitOutcome::kRejectedRecently:
      return "rejected_recently";
    case SubmitOutcome::kMalformed:
      return "malformed";
    case SubmitOutcome::kTooLarge:
      return "too_large";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const ClientOptions& options,
                                                       Handler* handler) {
  const auto wrong = [](std::string_view field, std::string_view value, std::string_view expected) {
    return absl::InvalidArgumentError(
        fmt::format("{}: \"{}\", expected {}", field, value, expected));
  };
  if (handler == nullptr) return wrong("handler", "null", "an object that outlives the client");
  if (options.target.empty()) return wrong("target", "", "unix:PATH or IP:PORT");
  if (options.tls_ca.empty() != options.tls_cert.empty() ||
      options.tls_ca.empty() != options.tls_key.empty()) {
    return wrong("tls_ca, tls_cert, tls_key", "some", "all three, or none");
  }
  if (!options.network_id.empty() && options.network_id.size() != kHashBytes) {
    return wrong("network_id", fmt::format("{} bytes", options.network_id.size()), "32 bytes");
  }
  if (options.network_passphrase.empty() && options.network_id.empty()) {
    return wrong("network_passphrase", "", "the network's passphrase");
  }
  if (options.agent.size() > 64) return wrong("agent", options.agent, "64 bytes at most");
  if (options.queue_messages_max == 0 || options.queue_bytes_max == 0) {
    return wrong("queue_messages_max, queue_bytes_max", "0", "at least 1");
  }
  if (options.reconnect_min.count() < 1 || options.reconnect_max < options.reconnect_min) {
    return wrong("reconnect_min", fmt::format("{} ms", options.reconnect_min.count()),
                 "1 ms to reconnect_max");
  }
  const std::string network_id = options.network_id.empty()
                                     ? std::string(NetworkIdOf(options.network_passphrase).view())
                                     : options.network_id;
  return std::make_unique<client::ClientImpl>(options, network_id, handler);
}

namespace client {
namespace {

std::string RandomInstance() {
  std::random_device device;
  std::string bytes(16, '\0');
  for (char& byte : bytes) byte = static_cast<char>(device());
  return bytes;
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments args;
  args.SetInt("grpc.use_local_subchannel_pool", 1);  // two channels, two connections
  args.SetInt("grpc.http2.bdp_probe", 0);
  // gRPC's own retries copy what is sent, and in 1.51 a cancelled call with a write that flow
  // control holds back may never end. What must be said again is said by core_memory.h.
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 10);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  // Not a back-off, in spite of its name: how long one attempt to connect may take, TLS included.
  // A daemon that is short of CPU needs more than a moment; one that is gone refuses at once.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  args.SetInt(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, 4 << 20);
  if (options.tls_ca.empty()) {
    return grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), args);
  }
  if (!options.tls_server_name.empty()) args.SetSslTargetNameOverride(options.tls_server_name);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = options.tls_ca;
  tls.pem_cert_chain = options.tls_cert;
  tls.pem_private_key = options.tls_key;
  return grpc::CreateCustomChannel(options.target, grpc::SslCredentials(tls), args);
}

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// Refusals that another try would only meet again.
bool IsFinal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

// Refused because the session of another core has not ended; the field that would end it is named
// first, as in every refusal.
bool IsOccupied(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) && status.message().substr(0, 9) == "takeover:";
}

// Whichever call ends first brings the news: the Attach event may be lost, or come after it.
bool IsTakenOver(const absl::Status& status) {
  return absl::IsAborted(status) &&
         std::string(status.message()).ends_with("another core took over");
}

}  // namespace

ClientImpl::ClientImpl(const ClientOptions& options, std::string network_id, Handler* handler)
    : options_(options),
      network_id_(std::move(network_id)),
      core_instance_(RandomInstance()),
      handler_(handler),
      scp_channel_(MakeChannel(options)),
      main_channel_(MakeChannel(options)),
      scp_stub_(v1::Core::NewStub(scp_channel_)),
      main_stub_(v1::Core::NewStub(main_channel_)),
      scp_(options.queue_messages_max, options.queue_bytes_max),
      transactions_(options.queue_messages_max, options.queue_bytes_max, &JoinSubmissions),
      tx_sets_(options.queue_messages_max, options.queue_bytes_max),
      backoff_(options.reconnect_min) {}

ClientImpl::~ClientImpl() { Stop(); }

// ---- threads ----------------------------------------------------------------------------------

void ClientImpl::Serve(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) static_cast<Tag*>(tag)->Run(ok);
}

void ClientImpl::Start() {
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kIdle || Stopping()) return;
    state_ = State::kWaiting;
  }
  scp_thread_ = std::thread([this] { Serve(scp_queue_); });
  main_thread_ = std::thread([this] { Serve(main_queue_); });
  alarm_.Set(&main_queue_, std::chrono::system_clock::now(), &alarm_tag_);
}

void ClientImpl::Stop() {
  if (stopping_.exchange(true)) return;
  EndSession(absl::CancelledError("stopped"));
  unary_calls_.CancelAll();
  {
    std::unique_lock lock(mutex_);
    if (state_ == State::kWaiting) alarm_.Cancel();
    changed_.wait(lock, [this] { return state_ == State::kIdle || state_ == State::kStopped; });
    state_ = State::kStopped;
  }
  scp_queue_.Shutdown();
  main_queue_.Shutdown();
  if (scp_thread_.joinable()) {
    scp_thread_.join();
    main_thread_.join();
  } else {
    Serve(scp_queue_);
    Serve(main_queue_);
  }
}

bool ClientImpl::WaitAttached(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout,
                    [this] { return state_ == State::kUp || state_ == State::kStopped; });
  return state_ == State::kUp;
}

std::unique_ptr<grpc::ClientContext> ClientImpl::Context() const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (!options_.token.empty()) {
    context->AddMetadata("authorization", "Bearer " + options_.token);
  }
  const std::lock_guard lock(mutex_);
  if (session_ != 0) context->AddMetadata("overlay-session", std::to_string(session_));
  return context;
}

// ---- the session ------------------------------------------------------------------------------

void ClientImpl::OnAlarm(bool) {
  {
    const std::lock_guard lock(mutex_);
    if (Stopping()) {
      state_ = State::kStopped;
      changed_.notify_all();
      return;
    }
  }
  // In state kEnding the alarm only brought us to this thread.
  bool ended = false;
  {
    const std::lock_guard lock(mutex_);
    ended = state_ == State::kEnding;
  }
  if (ended) {
    AfterSession();
  } else {
    BeginAttach();
  }
}

void ClientImpl::BeginAttach() {
  v1::AttachRequest request;
  request.set_core_instance(core_instance_);
  request.set_network_id(network_id_);
  request.set_api_version(1);
  const uint64_t slot = memory_.SlotToAttachWith().value_or(options_.newest_closed_slot);
  if (slot != 0) request.set_newest_closed_slot(slot);
  request.set_takeover(options_.takeover);
  request.set_observer(options_.observer);
  request.set_judges_transactions(options_.judges_transactions);
  request.set_deliver_transactions(options_.deliver_transactions);
  request.set_state_policy(options_.core_answers_state ? v1::STATE_POLICY_CORE
                                                       : v1::STATE_POLICY_CACHE);
  request.set_agent(options_.agent);
  {
    const std::lock_guard lock(mutex_);
    session_ = 0;
    ++attempt_;
  }
  std::unique_ptr<grpc::ClientContext> context = Context();
  const std::lock_guard lock(mutex_);
  if (Stopping()) {
    state_ = State::kStopped;
    changed_.notify_all();
    return;
  }
  attach_context_ = std::move(context);
  state_ = State::kAttaching;
  why_ = absl::OkStatus();
  open_calls_ = 1;
  attach_ = main_stub_->PrepareAsyncAttach(attach_context_.get(), request, &main_queue_);
  attach_->StartCall(&attach_started_tag_);
}

void ClientImpl::OnAttachStarted(bool ok) {
  if (ok) {
    attach_->Read(&attach_event_, &attach_read_tag_);
  } else {
    attach_->Finish(&attach_status_, &attach_finished_tag_);
  }
}

void ClientImpl::OnAttachRead(bool ok) {
  if (!ok) {
    attach_->Finish(&attach_status_, &attach_finished_tag_);
    return;
  }
  OnAttachEvent(attach_event_);
  attach_->Read(&attach_event_, &attach_read_tag_);
}

void ClientImpl::OnAttachFinished(bool) {
  EndSession(attach_status_.ok() ? absl::UnavailableError("the daemon ended the session")
                                 : ToAbsl(attach_status_));
  {
    const std::lock_guard lock(mutex_);
    // The attach call knows best why the session ended, unless it was we that ended it.
    const bool is_own_doing = attach_status_.error_code() == grpc::StatusCode::CANCELLED;
    if (!attach_status_.ok() && !is_own_doing && !Stopping()) why_ = ToAbsl(attach_status_);
    if (!was_attached_ && IsFinal(why_)) {
      const auto now = std::chrono::steady_clock::now();
      if (IsOccupied(why_) && !occupied_since_) occupied_since_ = now;
      final_ = !IsOccupied(why_) || now - *occupied_since_ >= options_.occupied_patience;
    }
  }
  attach_.reset();
  CallEnded();
}

void ClientImpl::OnAttachEvent(const v1::AttachEvent& event) {
  switch (event.event_case()) {
    case v1::AttachEvent::kAttached:
      BeginSession(event.attached());
      return;
    case v1::AttachEvent::kConnected: {
      PeerChange change;
      change.connected = true;
      std::copy_n(event.connected().peer().begin(),
                  std::min<size_t>(32, event.connected().peer().size()), change.peer.begin());
      change.strkey = event.connected().peer_strkey();
      change.address = event.connected().address();
      change.inbound = event.connected().direction() == v1::DIRECTION_INBOUND;
      change.peers_connected = event.connected().peers_connected();
      handler_->OnPeer(change);
      return;
    }
    case v1::AttachEvent::kDisconnected: {
      PeerChange change;
      std::copy_n(event.disconnected().peer().begin(),
                  std::min<size_t>(32, event.disconnected().peer().size()), change.peer.begin());
      change.strkey = event.disconnected().peer_strkey();
      change.address = event.disconnected().address();
      change.inbound = event.disconnected().direction() == v1::DIRECTION_INBOUND;
      change.reason = event.disconnected().reason();
      change.peers_connected = event.disconnected().peers_connected();
      handler_->OnPeer(change);
      return;
    }
    case v1::AttachEvent::kDetached: {
      const std::lock_guard lock(mutex_);
      if (event.detached().reason() == v1::Detached::REASON_TAKEN_OVER) final_ = true;
      return;
    }
    case v1::AttachEvent::kLost: {
      OverflowNotice notice;
      notice.to_core = true;
      notice.count = event.lost().messages();
      handler_->OnOverflow(notice);
      return;
    }
    case v1::AttachEvent::kDraining:  // the end of the call follows
    case v1::AttachEvent::EVENT_NOT_SET:
      return;
  }
}

void ClientImpl::BeginSession(const v1::Attached& attached) {
  SessionInfo info;
  info.session = attached.session();
  std::copy_n(attached.node_id().begin(), std::min<size_t>(32, attached.node_id().size()),
              info.node.begin());
  info.node_strkey = attached.node_strkey();
  info.daemon_version = attached.daemon_version();
  info.peer_port = attached.peer_port();
  {
    const std::lock_guard lock(mutex_);
    session_ = attached.session();
    was_attached_ = true;
    occupied_since_.reset();
    backoff_ = options_.reconnect_min;
  }
  memory_.OnAttached(std::chrono::steady_clock::now(), attached);
  handler_->OnAttached(info);
  ReplayPeers();
}

template <class Request, class Response>
void ClientImpl::CallThen(std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> (
                              v1::Core::Stub::*prepare)(grpc::ClientContext*, const Request&,
                                                        grpc::CompletionQueue*),
                          const Request& request, std::function<void(const grpc::Status&)> then) {
  std::unique_ptr<grpc::ClientContext> context = Context();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  uint64_t attempt = 0;
  {
    const std::lock_guard lock(mutex_);
    attempt = attempt_;
  }
  auto guarded = [this, attempt, then = std::move(then)](const grpc::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (attempt != attempt_) return;  // the answer to an earlier session
    }
    then(status);
  };
  auto* tag = new UnaryTag<Response>(unary_calls_, std::move(context),
                                     std::move(guarded));  // deletes itself in Run
  tag->Begin(((*main_stub_).*prepare)(tag->context(), request, &main_queue_));
}

void ClientImpl::ReplayPeers() {
  const auto peers = memory_.Peers();
  if (!peers || options_.observer) {
    ReplayClosed();
    return;
  }
  CallThen(&v1::Core::Stub::PrepareAsyncSetPeers, *peers, [this](const grpc::Status& status) {
    if (!status.ok()) return EndSession(ToAbsl(status));
    ReplayClosed();
  });
}

void ClientImpl::ReplayClosed() {
  auto closed = memory_.Closed();
  if (!closed || options_.observer) {
    OpenStreams();
    return;
  }
  closed->set_tracking(false);  // until the core says again that it is
  CallThen(&v1::Core::Stub::PrepareAsyncLedgerClosed, *closed, [this](const grpc::Status& status) {
    if (!status.ok()) return EndSession(ToAbsl(status));
    OpenStreams();
  });
}

void ClientImpl::OpenStreams() {
  if (!options_.observer) {
    // The old session took the answers to these with it.
    for (const auto& [type, hash] : memory_.TakeCancelled()) {
      handler_->OnFetchFailed(type, hash, FetchFailure::kCancelled);
    }
    tx_sets_.Refill([this](std::deque<v1::TxSetsUp>& queue) {
      // Offers and fetches are all remembered: what was queued of them is said anew, whole.
      queue.clear();
      for (const CoreMemory::Offer& offer : memory_.Offers()) {
        for (v1::TxSetsUp& chunk : OfferChunks(offer.type, offer.hash, *offer.bytes, offer.slot)) {
          queue.push_back(std::move(chunk));
        }
      }
      for (const v1::SetFetch& fetch : memory_.Fetches())
        *queue.emplace_back().mutable_fetch() = fetch;
    });
    scp_.Refill([this](std::deque<v1::ScpUp>& queue) {
      // Replies were to requests of the session that ended. What is queued follows what was said
      // before, and an envelope that is still queued is not said twice.
      std::erase_if(queue, [](const v1::ScpUp& up) { return up.has_state_reply(); });
      std::set<std::string_view> queued;
      for (const v1::ScpUp& up : queue) {
        if (up.has_broadcast()) queued.insert(up.broadcast().envelope());
      }
      std::deque<v1::ScpUp> said;
      for (std::string& envelope : memory_.Envelopes()) {
        if (queued.count(envelope) > 0) continue;
        said.emplace_back().mutable_broadcast()->set_envelope(std::move(envelope));
      }
      std::move(queue.begin(), queue.end(), std::back_inserter(said));
      queue = std::move(said);
    });
    const std::lock_guard numbers(number_mutex_);
    transactions_.Refill([this](std::deque<v1::TransactionsUp>& queue) {
      std::erase_if(queue, [](const v1::TransactionsUp& up) { return up.has_submit(); });
      std::vector<v1::TransactionsUp> submits;
      for (v1::Submission& submission : memory_.SubmissionsToSay()) {
        *submits.emplace_back().mutable_submit()->add_submissions() = std::move(submission);
      }
      const auto number = [](const v1::TransactionsUp& up) {
        return up.has_submit() ? up.submit().submissions(0).number() : up.verdict().number();
      };
      std::deque<v1::TransactionsUp> merged;
      std::merge(submits.begin(), submits.end(), queue.begin(), queue.end(),
                 std::back_inserter(merged),
                 [&](const v1::TransactionsUp& a, const v1::TransactionsUp& b) {
                   return number(a) < number(b);
                 });
      queue = std::move(merged);
    });
  }
  std::unique_ptr<grpc::ClientContext> contexts[] = {Context(), Context(), Context()};
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kAttaching) return;  // it ended meanwhile
    state_ = State::kUp;
    open_calls_ += options_.observer ? 1 : 3;
    changed_.notify_all();
  }
  const auto on_end = [this](const grpc::Status& status) {
    EndSession(status.ok() ? absl::UnavailableError("the daemon ended a stream") : ToAbsl(status));
    CallEnded();
  };
  if (!options_.observer) {
    tx_sets_.Start(
        std::move(contexts[0]),
        [this](grpc::ClientContext* c) { return main_stub_->PrepareAsyncTxSets(c, &main_queue_); },
        [this](const v1::TxSetsDown& down) { OnTxSets(down); }, on_end);
  }
  scp_.Start(
      std::move(contexts[2]),
      [this](grpc::ClientContext* c) { return scp_stub_->PrepareAsyncScp(c, &scp_queue_); },
      [this](const v1::ScpDown& down) { OnScp(down); }, on_end);
  if (!options_.observer) {
    // Last: what is submitted may wait for a daemon that has everything else back.
    transactions_.Start(
        std::move(contexts[1]),
        [this](grpc::ClientContext* c) {
          return main_stub_->PrepareAsyncTransactions(c, &main_queue_);
        },
        [this](const v1::TransactionsDown& down) { OnTransactions(down); }, on_end);
  }
  // Who ended the session while they were being started found nothing to cancel.
  bool ended = false;
  {
    const std::lock_guard lock(mutex_);
    ended = state_ != State::kUp;
  }
  if (ended) CancelStreams();
}

void ClientImpl::CancelStreams() {
  scp_.Cancel();
  transactions_.Cancel();
  tx_sets_.Cancel();
}

void ClientImpl::EndSession(const absl::Status& why) {
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kAttaching && state_ != State::kUp) return;
    state_ = State::kEnding;
    why_ = why;
    if (IsTakenOver(why)) final_ = true;
    if (attach_context_ != nullptr) attach_context_->TryCancel();
  }
  CancelStreams();
}

void ClientImpl::CallEnded() {
  const std::lock_guard lock(mutex_);
  if (--open_calls_ > 0) return;
  // The rest belongs to the second thread, which this may not be.
  alarm_.Set(&main_queue_, std::chrono::system_clock::now(), &alarm_tag_);
}

void ClientImpl::AfterSession() {
  arriving_.clear();
  arriving_peers_.clear();
  absl::Status why;
  bool final = false;
  bool tell = false;
  {
    const std::lock_guard lock(mutex_);
    attach_context_.reset();
    why = why_;
    final = final_;
    tell = was_attached_ || final_;
    was_attached_ = false;
  }
  if (tell) handler_->OnDetached(why, final);
  const std::lock_guard lock(mutex_);
  if (final || Stopping()) {
    state_ = State::kStopped;
  } else {
    state_ = State::kWaiting;
    alarm_.Set(&main_queue_, std::chrono::system_clock::now() + backoff_, &alarm_tag_);
    backoff_ = std::min(backoff_ * 2, options_.reconnect_max);
  }
  changed_.notify_all();
}

absl::Status ClientImpl::LedgerClosed(uint64_t slot, const std::optional<Hash>& hash, bool tracking,
                                      const std::vector<uint64_t>& keep_slots) {
  if (slot == 0) return absl::InvalidArgumentError("slot: 0, expected 1 or more");
  v1::LedgerClosedRequest request;
  request.set_slot(slot);
  if (hash) request.set_hash(hash->data(), hash->size());
  request.set_tracking(tracking);
  for (uint64_t kept : keep_slots) request.add_keep_slots(kept);
  memory_.OnLedgerClosed(std::chrono::steady_clock::now(), request);
  if (!ReadySession().ok()) return absl::OkStatus();  // said at the next attach
  CallThen(&v1::Core::Stub::PrepareAsyncLedgerClosed, request, [this](const grpc::Status& status) {
    if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT) {
      handler_->OnError(ToAbsl(status));
    } else if (!status.ok()) {
      EndSession(ToAbsl(status));
    }
  });
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ClientImpl::ReadySession() const {
  const std::lock_guard lock(mutex_);
  if (state_ != State::kUp) return absl::UnavailableError("not attached to the daemon");
  return session_;
}

}  // namespace client
}  // namespace overlay
