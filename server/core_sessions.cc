#include "server/core_sessions.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "server/attach_call.h"
#include "server/scp_call.h"
#include "server/transactions_call.h"
#include "server/tx_sets_call.h"
#include "server/unary_calls.h"

namespace overlay::server {
namespace {

constexpr char kSessionKey[] = "overlay-session";
constexpr size_t kAgentBytesMax = 128;

void Merge(const flood::Overflow& more, std::vector<flood::Overflow>* untold) {
  for (flood::Overflow& sum : *untold) {
    if (sum.direction != more.direction || sum.stream != more.stream) continue;
    sum.count += more.count;
    sum.slot_first = std::min(sum.slot_first, more.slot_first);
    sum.slot_last = std::max(sum.slot_last, more.slot_last);
    return;
  }
  untold->push_back(more);
}

template <class Call>
RpcMethod Method(CoreSessions* sessions, std::string_view name,
                 Completion::Lane lane = Completion::Lane::kOther) {
  return {.path = fmt::format("/overlay.v1.Core/{}", name),
          .lane = lane,
          .on_core = true,
          .on_operator = false,
          .make = [sessions](RpcCall* call) { return std::make_unique<Call>(sessions, call); }};
}

bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::string_view EndText(v1::Detached::Reason reason) {
  switch (reason) {
    case v1::Detached::REASON_TAKEN_OVER:
      return "another core took over";
    case v1::Detached::REASON_REPLACED:
      return "the same core attached again";
    case v1::Detached::REASON_SCP_ENDED:
      return "its Scp call ended";
    case v1::Detached::REASON_UNRESPONSIVE:
      return "its Attach call ended, or a write was not taken for 15 s";
    case v1::Detached::REASON_DRAINED:
      return "the daemon is shutting down";
    default:
      return "ended";
  }
}

}  // namespace

v1::PeerConnected ToConnected(const PeerInfo& info, size_t peers_connected) {
  v1::PeerConnected connected;
  connected.set_peer(ToBytes(info.key.view()));
  connected.set_peer_strkey(ToStrkey(info.key));
  connected.set_address(info.address.ToString());
  connected.set_direction(info.inbound ? v1::DIRECTION_INBOUND : v1::DIRECTION_OUTBOUND);
  connected.set_peers_connected(static_cast<uint32_t>(peers_connected));
  return connected;
}

CoreSessions::CoreSessions(CoreSessionsOptions options, CoreInputSink* node, Random random)
    : options_(std::move(options)), node_(node) {
  // R5: 2^31 beginnings, 2^32 sessions each.
  next_session_ = ((random.Next() >> 33) << 32) + 1;
}

CoreSessions::~CoreSessions() = default;

std::vector<RpcMethod> CoreSessions::Methods() {
  std::vector<RpcMethod> methods;
  methods.push_back(
      {.path = "/overlay.v1.Core/Attach",
       .lane = Completion::Lane::kOther,
       .on_core = true,
       .on_operator = false,
       .make = [this](RpcCall* call) { return std::make_unique<AttachCall>(this, call); }});
  methods.push_back(Method<ScpCall>(this, "Scp", Completion::Lane::kScp));
  methods.push_back(Method<TransactionsCall>(this, "Transactions"));
  methods.push_back(Method<TxSetsCall>(this, "TxSets"));
  methods.push_back(Method<TopTransactionsCall>(this, "TopTransactions"));
  methods.push_back(Method<TxSetExternalizedCall>(this, "TxSetExternalized"));
  methods.push_back(Method<LedgerClosedCall>(this, "LedgerClosed"));
  methods.push_back(Method<SetPeersCall>(this, "SetPeers"));
  return methods;
}

template <class Function>
void CoreSessions::ForEachSession(Function&& function) {
  // By index and by pointer: `function` may end a session.
  std::vector<CoreSession*> sessions;
  if (core_ != nullptr) sessions.push_back(core_.get());
  for (const auto& observer : observers_) sessions.push_back(observer.get());
  for (CoreSession* session : sessions) function(session);
}

CoreSession* CoreSessions::Find(const RpcCall& call, grpc::Status* why_not) {
  const std::optional<std::string_view> text = call.Metadata(kSessionKey);
  uint64_t number = 0;
  if (text) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
    if (error != std::errc() || end != text->data() + text->size()) number = 0;
  }
  if (number == 0) {
    ++counters_.refused_malformed;
    *why_not = {
        grpc::StatusCode::INVALID_ARGUMENT,
        fmt::format(
            "metadata overlay-session: {} is not legal, expected the number that Attach gave, "
            "in decimal, once",
            text ? fmt::format("\"{}\"", text->substr(0, 32)) : "nothing")};
    return nullptr;
  }
  if (core_ != nullptr && core_->number == number) return core_.get();
  for (const auto& observer : observers_) {
    if (observer->number == number) return observer.get();
  }
  ++counters_.stale_session;
  *why_not = {grpc::StatusCode::ABORTED, fmt::format("session {} has ended: attach again", number)};
  return nullptr;
}

grpc::Status CoreSessions::CheckAttach(const v1::AttachRequest& request) {
  const auto malformed = [this](std::string field, std::string value, std::string expected) {
    ++counters_.refused_malformed;
    return ToStatus(MakeError(grpc::StatusCode::INVALID_ARGUMENT, std::move(field),
                              std::move(value), std::move(expected)));
  };
  if (request.core_instance().size() < 8 || request.core_instance().size() > 32) {
    return malformed("core_instance", DescribeBytes(request.core_instance()),
                     "8 to 32 random bytes");
  }
  const std::optional<NetworkId> network = NetworkId::FromBytes(request.network_id());
  if (!network) return malformed("network_id", DescribeBytes(request.network_id()), "32 bytes");
  if (request.agent().size() > kAgentBytesMax || !IsPrintable(request.agent())) {
    return malformed("agent", DescribeBytes(request.agent()),
                     "at most 128 printable ASCII characters");
  }
  if (!v1::StatePolicy_IsValid(request.state_policy())) {
    return malformed("state_policy", fmt::format("{}", static_cast<int>(request.state_policy())),
                     "a StatePolicy");
  }
  if (*network != options_.network) {
    ++counters_.refused_network;
    return {grpc::StatusCode::FAILED_PRECONDITION,
            fmt::format("network_id: the core is of network {}, this daemon of network {}",
                        network->Hex(), options_.network.Hex())};
  }
  if (request.api_version() > kApiVersion) {
    // A newer core is answered with our version and decides itself: versions only add.
    return grpc::Status::OK;
  }
  return grpc::Status::OK;
}

grpc::Status CoreSessions::Attach(Time now, const v1::AttachRequest& request, AttachCall* call,
                                  CoreSession** out) {
  if (draining_) return {grpc::StatusCode::UNAVAILABLE, "the daemon is draining"};
  if (grpc::Status status = CheckAttach(request); !status.ok()) return status;
  if (request.observer() && observers_.size() >= kObserverCountMax) {
    ++counters_.refused_observers;
    return {grpc::StatusCode::RESOURCE_EXHAUSTED,
            fmt::format("observer: {} observers are attached, at most {}", observers_.size(),
                        kObserverCountMax)};
  }
  if (!request.observer() && core_ != nullptr) {
    const bool same = core_->instance == request.core_instance();
    if (!same && !request.takeover()) {
      ++counters_.refused_busy;
      return {grpc::StatusCode::FAILED_PRECONDITION,
              fmt::format("takeover: another core is attached (session {}, agent \"{}\")",
                          core_->number, core_->agent)};
    }
    End(now, core_.get(), same ? v1::Detached::REASON_REPLACED : v1::Detached::REASON_TAKEN_OVER);
  }

  auto owned = std::make_unique<CoreSession>();
  CoreSession* const session = owned.get();
  session->number = next_session_++;
  session->instance = request.core_instance();
  session->agent = request.agent();
  session->observer = request.observer();
  session->judges = request.judges_transactions() && !session->observer;
  session->delivers = request.deliver_transactions() || session->judges;
  session->attached_at = now;
  session->attach = call;
  *out = session;
  if (session->observer) {
    observers_.push_back(std::move(owned));
  } else {
    core_ = std::move(owned);
    ++counters_.attached;
  }

  LogEvent(now, session->observer ? "observer_attached" : "core_attached",
           {{"session", fmt::format("{}", session->number)}, {"agent", session->agent}});

  const flood::NodeStats& stats = node_->node_stats();
  const Limits& limits = options_.limits;
  v1::AttachEvent event;
  v1::Attached* attached = event.mutable_attached();
  attached->set_session(session->number);
  attached->set_node_id(ToBytes(options_.self.view()));
  attached->set_node_strkey(ToStrkey(options_.self));
  attached->set_daemon_instance(options_.daemon_instance);
  attached->set_api_version(kApiVersion);
  attached->set_peer_version_min(options_.peer_version_min);
  attached->set_peer_version_max(options_.peer_version_max);
  attached->set_daemon_version(options_.daemon_version);
  attached->set_peer_port(options_.peer_port);
  v1::Limits* l = attached->mutable_limits();
  l->set_message_bytes_max(1 << 20);
  l->set_chunk_bytes_max(kCoreChunkBytesMax);
  l->set_envelope_bytes_max(static_cast<uint32_t>(limits.envelope_bytes_max));
  l->set_transaction_bytes_max(static_cast<uint32_t>(limits.transaction_bytes_max));
  l->set_tx_set_bytes_max(static_cast<uint32_t>(limits.tx_set_bytes_max));
  l->set_quorum_set_bytes_max(static_cast<uint32_t>(limits.quorum_set_bytes_max));
  l->set_batch_entries_max(kBatchEntriesMax);
  l->set_submissions_unanswered_max(kSubmissionsUnansweredMax);
  l->set_offers_open_max(static_cast<uint32_t>(limits.core_offers_open_max));
  l->set_keep_slots_max(static_cast<uint32_t>(limits.keep_slots_count_max));
  l->set_slots_kept_min(static_cast<uint32_t>(limits.slots_kept_min));
  l->set_slots_kept_max(static_cast<uint32_t>(limits.slots_kept_max));
  l->set_peers_max(kPeerEntriesMax);
  l->set_stream_queue_messages_max(static_cast<uint32_t>(limits.core_stream_message_count_max));
  l->set_stream_queue_bytes_max(limits.core_stream_bytes_max);
  l->set_transactions_per_account_max(static_cast<uint32_t>(limits.mempool_per_account_max));
  v1::AttachStatus* status = attached->mutable_status();
  status->set_peers_connected(static_cast<uint32_t>(peers_.size()));
  if (stats.slots.newest_closed.value != 0) {
    status->set_newest_closed_slot(stats.slots.newest_closed.value);
  }
  status->set_envelopes_kept(static_cast<uint32_t>(stats.scp.kept_envelopes));
  status->set_transactions_pending(static_cast<uint32_t>(stats.tx.pending_count));
  status->set_transactions_valid(static_cast<uint32_t>(
      stats.tx.mempool_count - std::min(stats.tx.pending_count, stats.tx.mempool_count)));
  status->set_sets_cached(static_cast<uint32_t>(stats.sets.cached_count + stats.sets.quorum_sets));
  call->SendEvent(now, event);
  size_t count = 0;
  for (const auto& [id, info] : peers_) {
    v1::AttachEvent connected;
    *connected.mutable_connected() = ToConnected(info, ++count);
    call->SendEvent(now, connected);
  }

  if (!session->observer) {
    flood::CoreAttached input;
    input.judges_transactions = session->judges;
    input.deliver_transactions = session->delivers;
    input.state_policy = request.state_policy() == v1::STATE_POLICY_CORE
                             ? flood::StatePolicy::kCore
                             : flood::StatePolicy::kCache;
    input.newest_closed = LedgerSeq{request.newest_closed_slot()};
    node_->OnCoreInput(now, input);
  }
  return grpc::Status::OK;
}

void CoreSessions::End(Time now, CoreSession* session, v1::Detached::Reason reason) {
  std::unique_ptr<CoreSession> ended;
  if (session == core_.get()) {
    ended = std::move(core_);
  } else {
    const auto found =
        std::find_if(observers_.begin(), observers_.end(),
                     [session](const auto& observer) { return observer.get() == session; });
    if (found == observers_.end()) return;
    ended = std::move(*found);
    observers_.erase(found);
  }
  ++counters_.ended_by_reason[reason];
  LogEvent(now, ended->observer ? "observer_detached" : "core_detached",
           {{"session", fmt::format("{}", ended->number)},
            {"agent", ended->agent},
            {"why", std::string(EndText(reason))}});
  const bool drained = reason == v1::Detached::REASON_DRAINED;
  const grpc::Status status(
      drained ? grpc::StatusCode::UNAVAILABLE : grpc::StatusCode::ABORTED,
      fmt::format("session {} has ended: {}", ended->number, EndText(reason)));
  for (SessionCall* call : ended->calls) call->OnSessionEnded(status);
  if (ended->attach != nullptr) ended->attach->EndSession(now, reason, status);
  if (ended->observer) return;
  node_->OnCoreInput(now, flood::CoreDetached{});
}

void CoreSessions::OnPeerNews(Time now, const flood::PeerNews& news) {
  if (const auto* up = std::get_if<flood::PeerUp>(&news)) OnPeerUp(now, *up);
  if (const auto* down = std::get_if<flood::PeerDown>(&news)) OnPeerDown(now, *down);
  if (const auto* banned = std::get_if<flood::PeerBanned>(&news)) {
    const flood::Ban& ban = banned->ban;
    LogEvent(
        now, "peer_banned",
        {{"peer", ToStrkey(banned->key)},
         {"by", ban.by == flood::BannedBy::kOperator ? "operator" : "score"},
         {"for_s",
          ban.until == kTimeNever ? "ever" : fmt::format("{:.0f}", ToSeconds(ban.until - now))},
         {"reason", ban.reason}});
  }
  if (const auto* offended = std::get_if<flood::PeerOffended>(&news)) {
    LogEvent(
        now, "peer_offence",
        {{"peer", ToStrkey(offended->key)}, {"kind", std::string(OffenceName(offended->offence))}});
  }
}

void CoreSessions::LogEvent(Time now, std::string_view event,
                            std::initializer_list<LogFact> facts) {
  if (options_.log != nullptr) options_.log->EventLimited(now, LogLevel::kInfo, event, facts);
}

void CoreSessions::OnPeerUp(Time now, const flood::PeerUp& up) {
  if (!peers_.emplace(up.peer, up.info).second) return;
  LogEvent(now, "peer_connected",
           {{"peer", ToStrkey(up.info.key)},
            {"address", up.info.address.ToString()},
            {"direction", up.info.inbound ? "inbound" : "outbound"},
            {"peers", fmt::format("{}", peers_.size())}});
  v1::AttachEvent event;
  *event.mutable_connected() = ToConnected(up.info, peers_.size());
  ToAllAttached(now, event);
}

void CoreSessions::OnPeerDown(Time now, const flood::PeerDown& down) {
  if (peers_.erase(down.peer) == 0) return;
  LogEvent(now, "peer_disconnected",
           {{"peer", ToStrkey(down.info.key)},
            {"address", down.info.address.ToString()},
            {"reason", std::string(CloseReasonName(down.reason))},
            {"by_peer", down.by_peer ? "true" : "false"},
            {"peers", fmt::format("{}", peers_.size())}});
  v1::AttachEvent event;
  v1::PeerDisconnected* gone = event.mutable_disconnected();
  gone->set_peer(ToBytes(down.info.key.view()));
  gone->set_peer_strkey(ToStrkey(down.info.key));
  gone->set_address(down.info.address.ToString());
  gone->set_direction(down.info.inbound ? v1::DIRECTION_INBOUND : v1::DIRECTION_OUTBOUND);
  gone->set_reason(std::string(CloseReasonName(down.reason)));
  gone->set_by_peer(down.by_peer);
  gone->set_peers_connected(static_cast<uint32_t>(peers_.size()));
  ToAllAttached(now, event);
}

void CoreSessions::ToAllAttached(Time now, const v1::AttachEvent& event) {
  ForEachSession([&](CoreSession* session) {
    if (session->attach != nullptr && !session->attach->SendEvent(now, event)) {
      session->end_wanted = v1::Detached::REASON_UNRESPONSIVE;
    }
  });
}

// Where each answer of the node goes.
struct CoreSessions::Route {
  CoreSessions& self;
  Time now;
  CoreSession* core;

  void operator()(flood::DeliverEnvelope& envelope) {
    const grpc::ByteBuffer message = ScpCall::EncodeEnvelope(envelope);
    if (core != nullptr && core->scp != nullptr) core->scp->DeliverEnvelope(now, message);
    for (const auto& observer : self.observers_) {
      if (observer->scp != nullptr) observer->scp->DeliverToObserver(now, message);
    }
  }
  void operator()(flood::BroadcastResult& result) { ToScp(result); }
  void operator()(flood::StateDone& done) {
    if (core != nullptr && core->requests_open > 0) --core->requests_open;
    ToScp(done);
  }
  void operator()(flood::StateWanted& wanted) { ToScp(wanted); }
  void operator()(flood::Overflow& overflow) {
    SessionCounters& counters = self.counters_;
    const bool to_core = overflow.direction == flood::Overflow::Direction::kToCore;
    if (overflow.stream == flood::CoreStream::kTransactions) {
      counters.overflow_tx_to_core += overflow.count;
    } else {
      (to_core ? counters.overflow_scp_to_core : counters.overflow_scp_from_core) += overflow.count;
    }
    if (core != nullptr && core->scp == nullptr) {
      Merge(overflow, &core->untold);
    } else {
      ToScp(overflow);
    }
  }
  void operator()(flood::SubmitResult& result) {
    if (core == nullptr) return;
    if (core->submissions_open > 0) --core->submissions_open;
    if (core->transactions != nullptr) core->transactions->OnResult(std::move(result));
  }
  void operator()(flood::DeliverTransaction& delivered) {
    if (core != nullptr && core->tx_room_given > 0) --core->tx_room_given;
    for (const auto& observer : self.observers_) {
      if (observer->transactions != nullptr)
        observer->transactions->DeliverToObserver(now, delivered);
    }
    if (core != nullptr && core->transactions != nullptr)
      core->transactions->Deliver(std::move(delivered));
  }
  void operator()(flood::Offered& offered) { ToSets(offered); }
  void operator()(flood::SetAvailable& available) { ToSets(available); }
  void operator()(flood::FetchProgress& progress) { ToSets(progress); }
  void operator()(flood::FetchFailed& failed) { ToSets(failed); }
  void operator()(flood::ExternalizedApplied& applied) {
    if (core == nullptr) return;
    const auto node = core->externalized.extract(applied.id);
    if (!node.empty()) node.mapped()->OnApplied(applied);
  }
  void operator()(flood::TopSnapshot& snapshot) {
    self.ForEachSession([&](CoreSession* session) {
      const auto node = session->tops.extract(snapshot.id);
      if (!node.empty()) node.mapped()->OnSnapshot(now, std::move(snapshot));
    });
  }
  void operator()(flood::CoreRefused& refused) {
    if (core == nullptr) return;
    ++self.counters_.errors_answered;
    switch (refused.stream) {
      case flood::CoreRefused::Stream::kScp:
        if (core->scp != nullptr) core->scp->OnRefused(now, refused);
        break;
      case flood::CoreRefused::Stream::kTransactions:
        if (core->transactions != nullptr) core->transactions->OnRefused(now, refused);
        break;
      case flood::CoreRefused::Stream::kTxSets:
        if (core->tx_sets != nullptr) core->tx_sets->OnRefused(now, refused);
        break;
    }
  }
  void operator()(flood::OperatorAnswered& answered) {
    if (self.options_.on_operator) self.options_.on_operator(answered);
  }
  void operator()(flood::PeersConfigured& configured) {
    const bool is_file = configured.source == flood::PeerEntrySource::kFile;
    if (is_file && self.options_.on_file_peers) self.options_.on_file_peers(configured);
    if (core == nullptr || configured.source != flood::PeerEntrySource::kCore ||
        core->set_peers.empty())
      return;
    SetPeersCall* const call = core->set_peers.front();
    core->set_peers.erase(core->set_peers.begin());
    if (call != nullptr) call->OnConfigured(configured);
  }

  template <class Value>
  void ToScp(const Value& value) {
    if (core != nullptr && core->scp != nullptr) core->scp->OnOutput(now, value);
  }
  template <class Value>
  void ToSets(Value& value) {
    if (core != nullptr && core->tx_sets != nullptr) core->tx_sets->OnOutput(now, value);
  }
};

void CoreSessions::OnCoreOutput(Time now, flood::CoreOutput output) {
  std::visit(Route{*this, now, core_.get()}, output);
}

void CoreSessions::CheckStuck(Time now, CoreSession* session) {
  std::optional<Time> since =
      session->attach == nullptr ? std::nullopt : session->attach->writing_since();
  if (session->scp != nullptr) {
    const std::optional<Time> scp = session->scp->writing_since();
    if (scp && (!since || *scp < *since)) since = scp;
  }
  if (since && now - *since >= kUnresponsiveAfter)
    session->end_wanted = v1::Detached::REASON_UNRESPONSIVE;
}

void CoreSessions::OnTurn(Time now) {
  if (dirty_) {
    dirty_ = false;
    ForEachSession([now](CoreSession* session) {
      if (session->transactions != nullptr) session->transactions->OnTurn(now);
    });
  }
  ForEachSession([&](CoreSession* session) {
    CheckStuck(now, session);
    if (session->end_wanted) End(now, session, *session->end_wanted);
  });
  ReportQueues(now);
}

void CoreSessions::ReportQueues(Time now) {
  uint64_t bytes = 0;
  ForEachSession([&](CoreSession* session) {
    if (session->attach != nullptr) bytes += session->attach->queued_bytes();
    for (const SessionCall* call : session->calls) bytes += call->queued_bytes();
  });
  const uint64_t change = bytes > queues_told_ ? bytes - queues_told_ : queues_told_ - bytes;
  // Not each message: the memory is counted in megabytes.
  if (change < kQueuesReportBytes && (bytes > 0 || change == 0)) return;
  queues_told_ = bytes;
  node_->OnCoreInput(now, flood::CoreQueues{bytes});
}

std::optional<Time> CoreSessions::NextDeadline() const {
  std::optional<Time> next;
  const auto consider = [&next](std::optional<Time> since) {
    if (since && (!next || *since + kUnresponsiveAfter < *next)) next = *since + kUnresponsiveAfter;
  };
  const auto look = [&](const CoreSession& session) {
    if (session.attach != nullptr) consider(session.attach->writing_since());
    if (session.scp != nullptr) consider(session.scp->writing_since());
    if (session.end_wanted) next = Time::min();
  };
  if (core_ != nullptr) look(*core_);
  for (const auto& observer : observers_) look(*observer);
  if (dirty_) next = Time::min();
  return next;
}

uint64_t CoreSessions::scp_queue_messages() const {
  const uint64_t waiting = node_->node_stats().scp.core_queue;
  return waiting + (core_ != nullptr && core_->scp != nullptr ? core_->scp->queue_count() : 0);
}

void CoreSessions::TellDraining(Time now, Duration within) {
  v1::AttachEvent event;
  event.mutable_draining()->set_within_ms(static_cast<uint32_t>(ToMicros(within) / 1000));
  ForEachSession([&](CoreSession* session) {
    if (session->attach != nullptr) session->attach->SendEvent(now, event);
  });
}

void CoreSessions::EndAll(Time now) {
  ForEachSession([&](CoreSession* session) { End(now, session, v1::Detached::REASON_DRAINED); });
}

}  // namespace overlay::server
