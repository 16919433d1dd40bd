#include "transport/peer_transport.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::transport {

absl::StatusOr<std::unique_ptr<PeerTransport>> PeerTransport::Create(TransportOptions options,
                                                                     Random random) {
  auto identity = TlsIdentity::Create(options.node_seed);
  if (!identity.ok()) return identity.status();
  return std::unique_ptr<PeerTransport>(
      new PeerTransport(std::move(options), std::move(*identity), random));
}

PeerTransport::PeerTransport(TransportOptions options, std::unique_ptr<TlsIdentity> identity,
                             Random random)
    : options_(std::move(options)),
      identity_(std::move(identity)),
      endpoint_(std::make_unique<QuicEndpoint>(options_.endpoint, *identity_,
                                               random.Fork("quic-endpoint"))),
      env_{.endpoint = *endpoint_,
           .quic_events = quic_events_,
           .out = out_,
           .stats = stats_,
           .options = options_,
           .own_key = identity_->node_key(),
           .next_request = kPeerRequestFirst,
           .wall = {},
           .wall_at = {}},
      inbound_max_(options_.inbound_max) {}

PeerTransport::~PeerTransport() = default;

PeerSession* PeerTransport::SessionOf(ConnectionId id) {
  auto it = sessions_.find(id);
  return it == sessions_.end() ? nullptr : it->second.get();
}

const PeerSession* PeerTransport::SessionOf(ConnectionId id) const {
  auto it = sessions_.find(id);
  return it == sessions_.end() ? nullptr : it->second.get();
}

PeerTransport::Peer* PeerTransport::PeerOf(PeerId id) {
  auto it = peers_.find(id);
  return it == peers_.end() ? nullptr : &it->second;
}

// ---- inputs -------------------------------------------------------------------------------------

void PeerTransport::OnDatagram(Time now, const Path& path, absl::Span<const uint8_t> payload) {
  endpoint_->OnDatagram(now, path, payload, quic_events_);
  HandleQuicEvents(now);
}

void PeerTransport::SetWallTime(Time now, WallTime wall) {
  env_.wall = wall;
  env_.wall_at = now;
}

void PeerTransport::OnDeadline(Time now) {
  endpoint_->OnDeadline(now, quic_events_);
  HandleQuicEvents(now);
  for (auto& [id, session] : sessions_) session->OnDeadline(now);
  for (auto& [id, peer] : peers_) {
    if (now >= peer.next_contest_at) CheckContest(now, peer);
    CheckRival(now, peer);
    CheckSilent(now, peer);
  }
  HandleQuicEvents(now);
}

// Handling an event may close connections, which appends further events.
void PeerTransport::HandleQuicEvents(Time now) {
  size_t handled = 0;
  while (handled < quic_events_.list().size()) {
    const QuicEvent event = quic_events_.list()[handled++];
    HandleQuicEvent(now, event);
  }
  quic_events_.Clear();
}

void PeerTransport::HandleQuicEvent(Time now, const QuicEvent& event) {
  if (const auto* closed = std::get_if<ConnectionClosed>(&event.what)) {
    return OnClosed(now, event.connection, closed->info);
  }
  PeerSession* session = SessionOf(event.connection);
  if (session == nullptr) {
    // An accepted connection gets its session when its key is proved, not before.
    if (!std::holds_alternative<HandshakeCompleted>(event.what)) return;
    auto made = std::make_unique<PeerSession>(env_, event.connection, PeerSession::Origin{}, now);
    session = sessions_.emplace(event.connection, std::move(made)).first->second.get();
  }
  session->OnEvent(now, event.what);
  if (std::holds_alternative<PathChanged>(event.what)) OnMoved(*session);
  if (session->phase() == PeerSession::Phase::kGreeted) Admit(now, *session);
}

void PeerTransport::StartDrain(Time now, std::string_view reason, Duration redial_after) {
  if (draining_) return;
  draining_ = true;
  endpoint_->StopAccepting();
  const Goaway goaway{std::string(reason), redial_after};
  for (auto& [id, session] : sessions_) {
    if (session->phase() == PeerSession::Phase::kPeer) {
      session->SendGoaway(now, goaway);
    } else {
      session->Close(now, CloseReason::kGoaway, reason);
    }
  }
  HandleQuicEvents(now);
}

void PeerTransport::CloseAll(Time now, CloseReason reason, std::string_view detail) {
  while (!peers_.empty()) {
    Disconnect(now, peers_.begin()->first, reason, /*by_peer=*/false, detail,
               /*close_connections=*/true);
  }
  for (auto& [id, session] : sessions_) session->Close(now, reason, detail);
  endpoint_->CloseAll(now, static_cast<uint64_t>(reason), detail, quic_events_);
  HandleQuicEvents(now);
}

// ---- commands -----------------------------------------------------------------------------------

void PeerTransport::Execute(Time now, PeerCommand command) {
  std::visit([&](auto& c) { ExecuteOne(now, c); }, command);
  if (!quic_events_.empty()) HandleQuicEvents(now);
}

void PeerTransport::ExecuteOne(Time now, Dial& dial) {
  ++stats_.dials;
  if (draining_) {
    out_.push_back(DialEnded{dial.dial, dial.address, CloseReason::kGoaway, {}, "draining"});
    return;
  }
  // The pinned key is checked by the session, so that the other end is told a named code.
  auto connection = endpoint_->Dial(now, dial.address, std::nullopt);
  if (!connection.ok()) {
    ++stats_.refusals[CloseReason::kUnreachable];
    out_.push_back(DialEnded{dial.dial,
                             dial.address,
                             CloseReason::kUnreachable,
                             {},
                             std::string(connection.status().message())});
    return;
  }
  sessions_.emplace(
      *connection,
      std::make_unique<PeerSession>(
          env_, *connection,
          PeerSession::Origin{true, dial.dial, dial.address, dial.pinned_key, {}}, now));
}

void PeerTransport::ExecuteOne(Time now, DropPeer& drop) {
  if (PeerOf(drop.peer) == nullptr) return;
  Disconnect(now, drop.peer, drop.reason, /*by_peer=*/false, drop.detail,
             /*close_connections=*/true);
}

void PeerTransport::ExecuteOne(Time now, PauseInv& pause) {
  Peer* peer = PeerOf(pause.peer);
  if (peer == nullptr || peer->shared.inv_paused == pause.paused) return;
  peer->shared.inv_paused = pause.paused;
  for (ConnectionId id : peer->connections) sessions_.at(id)->OnInvPauseChanged(now);
}

void PeerTransport::ExecuteOne(Time, InboundLimit& limit) {
  inbound_max_ = limit.count;
  // As many beside them, for those that dial, are dialled, or are being told to go.
  endpoint_->RaiseConnectionsMax(2 * limit.count);
}

void PeerTransport::ExecuteOne(Time, ConfiguredAddresses& configured) {
  endpoint_->SetConfigured(configured.addresses);
}

template <class Command>
void PeerTransport::ExecuteOne(Time now, Command& command) {
  Peer* peer = PeerOf(command.peer);
  if (peer == nullptr) return;
  PeerSession& session = InUse(*peer);
  if constexpr (std::is_same_v<Command, SendEnvelope>) {
    session.SendEnvelope(now, command.token, command.slot, std::move(command.envelope));
  } else if constexpr (std::is_same_v<Command, SendControl>) {
    session.SendControl(now, command.message);
  } else if constexpr (std::is_same_v<Command, SendTxControl>) {
    session.SendTxControl(now, command.message);
  } else if constexpr (std::is_same_v<Command, SendState>) {
    session.SendState(command.header, command.envelopes);
  } else if constexpr (std::is_same_v<Command, RequestBodies>) {
    session.Request(command.request, std::move(command.data));
  } else if constexpr (std::is_same_v<Command, RequestSet>) {
    session.Request(command.request, command.set);
  } else {
    // What concerns something begun: on whichever connection it was.
    for (ConnectionId id : peer->connections) {
      PeerSession& one = *sessions_.at(id);
      bool found = false;
      if constexpr (std::is_same_v<Command, CancelEnvelope>) {
        found = one.CancelEnvelope(command.token);
      } else if constexpr (std::is_same_v<Command, AnswerBodies>) {
        found = one.AnswerBodies(command.request, command.answers);
      } else if constexpr (std::is_same_v<Command, AnswerSet>) {
        found = one.AnswerSet(command.request, command.header, command.encoded);
      } else {
        static_assert(std::is_same_v<Command, CancelRequest>);
        found = one.CancelRequest(command.request);
      }
      if (found) return;
    }
  }
}

// ---- outputs ------------------------------------------------------------------------------------

std::vector<PeerEvent> PeerTransport::DrainEvents() { return std::exchange(out_, {}); }

bool PeerTransport::WriteTurn(Time now, DatagramSink& sink) {
  for (auto& [id, session] : sessions_) session->BeginTurn(now);
  for (auto& [id, session] : sessions_) {
    if (session->wants_write(SendClass::kScp)) {
      session->Write(now, sink, SendClass::kScp, WriteGoal::kData, 0);
    }
  }
  UpdateBlocked(now);
  bool more = endpoint_->AcceptWaiting(now, quic_events_);
  for (auto& [id, session] : sessions_) {
    if (session->wants_write(SendClass::kControl)) {
      session->Write(now, sink, SendClass::kControl, WriteGoal::kData, 0);
    }
  }
  UpdateInvBlocked();
  more |= WriteBulk(now, sink);
  for (ConnectionId id : endpoint_->NeedFlush()) {
    if (PeerSession* session = SessionOf(id)) {
      session->Write(now, sink, SendClass::kControl, WriteGoal::kFlush, 0);
    }
  }
  endpoint_->DrainDatagrams(now, sink, quic_events_);
  HandleQuicEvents(now);
  return more;
}

// One pass over the connections that have bulk, beginning behind the one that was last.
bool PeerTransport::WriteBulk(Time now, DatagramSink& sink) {
  uint64_t left_bytes = kBulkTurnBytesMax;
  std::vector<PeerSession*> order;
  for (auto it = sessions_.upper_bound(bulk_after_); it != sessions_.end(); ++it) {
    if (it->second->wants_bulk()) order.push_back(it->second.get());
  }
  for (auto it = sessions_.begin(); it != sessions_.upper_bound(bulk_after_); ++it) {
    if (it->second->wants_bulk()) order.push_back(it->second.get());
  }
  bool more = false;
  for (PeerSession* session : order) {
    if (left_bytes > 0) {
      const uint64_t bytes =
          session->Write(now, sink, SendClass::kBodies, WriteGoal::kData, left_bytes);
      left_bytes -= std::min(bytes, left_bytes);
      if (bytes > 0) bulk_after_ = session->connection();
    }
    more |= session->more_bulk();
  }
  return more;
}

void PeerTransport::UpdateBlocked(Time now) {
  for (auto& [id, peer] : peers_) {
    if (peer.silent) CheckSilent(now, peer);
    const bool blocked = InUse(peer).wants_write(SendClass::kScp);
    if (blocked == peer.blocked) continue;
    peer.blocked = blocked;
    out_.push_back(PeerBlocked{id, blocked});
  }
}

void PeerTransport::UpdateInvBlocked() {
  for (auto& [id, peer] : peers_) {
    const size_t bound_bytes = peer.inv_blocked ? kInvQueueLowBytes : kInvQueueHighBytes;
    const bool blocked = InUse(peer).writer().tx_control_queued_bytes() > bound_bytes;
    if (blocked == peer.inv_blocked) continue;
    peer.inv_blocked = blocked;
    out_.push_back(InvBlocked{id, blocked});
  }
}

std::optional<Time> PeerTransport::NextDeadline() {
  Time next = endpoint_->NextDeadline().value_or(kTimeNever);
  for (const auto& [id, session] : sessions_) {
    next = std::min(next, session->NextDeadline().value_or(kTimeNever));
  }
  for (const auto& [id, peer] : peers_) {
    next = std::min({next, peer.next_contest_at, RivalAt(peer).value_or(kTimeNever)});
    if (!peer.silent) next = std::min(next, SilentAt(peer).value_or(kTimeNever));
  }
  return next == kTimeNever ? std::nullopt : std::optional(next);
}

// ---- getters ------------------------------------------------------------------------------------

bool PeerTransport::envelopes_flushed() const {
  return std::all_of(sessions_.begin(), sessions_.end(), [](const auto& entry) {
    const SessionWriter& writer = entry.second->writer();
    return writer.unacknowledged_count() == 0 && !writer.HasWaiting(SendClass::kScp) &&
           !writer.HasWaiting(SendClass::kControl);
  });
}

bool PeerTransport::flushed() const {
  return envelopes_flushed() &&
         std::none_of(sessions_.begin(), sessions_.end(), [](const auto& entry) {
           return entry.second->writer().HasWaiting(SendClass::kSets);
         });
}

std::vector<PeerStats> PeerTransport::ListPeers(Time now) const {
  std::vector<PeerStats> list;
  for (const auto& [id, peer] : peers_) {
    PeerStats stats;
    stats.peer = id;
    stats.info = peer.info;
    stats.age = now - peer.since;
    stats.connections = peer.connections.size();
    stats.sent = peer.sent_before;
    stats.received = peer.received_before;
    for (ConnectionId connection : peer.connections) {
      const PeerSession& session = *sessions_.at(connection);
      for (size_t i = 0; i < kSendClassCount; ++i) {
        stats.sent[i].bytes += session.sent()[i].bytes;
        stats.sent[i].messages += session.sent()[i].messages;
        stats.received[i].bytes += session.received()[i].bytes;
        stats.received[i].messages += session.received()[i].messages;
        stats.queued_bytes[i] += session.writer().lanes().queued_bytes(static_cast<SendClass>(i));
        stats.queued_count[i] += session.writer().lanes().queued_count(static_cast<SendClass>(i));
      }
      stats.envelopes_unacknowledged += session.writer().unacknowledged_count();
    }
    if (const QuicConnection* connection = endpoint_->Find(peer.in_use)) {
      stats.connection = connection->stats();
      stats.since_received = now - connection->last_received();
    }
    stats.blocked = peer.blocked;
    stats.clock_offset = peer.shared.clock.offset();
    list.push_back(std::move(stats));
  }
  return list;
}

PeerClocks PeerTransport::Clocks() const {
  std::vector<Duration> offsets;
  for (const auto& [id, peer] : peers_) {
    if (const auto offset = peer.shared.clock.offset()) offsets.push_back(*offset);
  }
  return SummarizeClocks(std::move(offsets));
}

void PeerTransport::CheckInvariants() const {
  endpoint_->CheckInvariants();
  size_t joined = 0;
  for (const auto& [id, peer] : peers_) {
    OVERLAY_CHECK(!peer.connections.empty());
    OVERLAY_CHECK(peer.connections.size() <= kConnectionsPerPeerMax);
    OVERLAY_CHECK(by_key_.at(peer.info.key) == id);
    bool in_use_found = false;
    for (ConnectionId connection : peer.connections) {
      OVERLAY_CHECK(peer_of_.at(connection) == id);
      OVERLAY_CHECK(sessions_.contains(connection));
      in_use_found |= connection == peer.in_use;
      ++joined;
    }
    OVERLAY_CHECK(in_use_found);
  }
  OVERLAY_CHECK(joined == peer_of_.size());
  OVERLAY_CHECK(peers_.size() == by_key_.size());
  for (const auto& [id, session] : sessions_) session->CheckInvariants();
}

}  // namespace overlay::transport
