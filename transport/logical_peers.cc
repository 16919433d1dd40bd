// PeerTransport: which connections are whose, and which of them is used.
#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "transport/peer_transport.h"

namespace overlay::transport {
namespace {

bool IsWireReason(uint64_t code) {
  return code < static_cast<uint64_t>(CloseReason::kLocalFirst) &&
         (code == 0 || CloseReasonName(static_cast<CloseReason>(code)) !=
                           CloseReasonName(CloseReason::kUnknownCode));
}

struct Ending {
  CloseReason reason = CloseReason::kNone;
  bool by_peer = false;
};

Ending EndingOf(const CloseInfo& info, bool heard_of_peer) {
  const CloseReason broken =
      info.was_up ? CloseReason::kTransportError : CloseReason::kHandshakeFailed;
  switch (info.cause) {
    case CloseCause::kLocalApplication:
      return {static_cast<CloseReason>(info.code), false};
    case CloseCause::kPeerApplication:
      return {
          IsWireReason(info.code) ? static_cast<CloseReason>(info.code) : CloseReason::kUnknownCode,
          true};
    case CloseCause::kLocalTransport:
      return {broken, false};
    case CloseCause::kPeerTransport:
      return {broken, true};
    case CloseCause::kStatelessReset:
      return {CloseReason::kStatelessReset, true};
    case CloseCause::kIdleTimeout:
      return {CloseReason::kIdleTimeout, false};
    case CloseCause::kHandshakeTimeout:
      return {heard_of_peer ? CloseReason::kHandshakeTimeout : CloseReason::kUnreachable, false};
    case CloseCause::kVersionNegotiation:
    case CloseCause::kEvicted:
    case CloseCause::kDropped:
      return {CloseReason::kHandshakeFailed, false};
  }
  return {broken, false};
}

// The peer's text reaches logs: printable ASCII, and not long.
std::string CleanText(std::string_view text) {
  std::string clean(text.substr(0, 256));
  for (char& c : clean) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return clean;
}

void AddCounts(ClassCounts& to, const ClassCounts& from) {
  for (size_t i = 0; i < kSendClassCount; ++i) {
    to[i].bytes += from[i].bytes;
    to[i].messages += from[i].messages;
  }
}

}  // namespace

// ---- joining ------------------------------------------------------------------------------------

void PeerTransport::Admit(Time now, PeerSession& session) {
  if (draining_) return session.Close(now, CloseReason::kGoaway, "draining");
  const auto known = by_key_.find(session.key());
  if (known == by_key_.end()) {
    if (!session.origin().dialled && InboundCount() >= inbound_max_) {
      return session.Close(now, CloseReason::kNotAdmitted, "all inbound places are taken");
    }
    return AddPeer(now, session);
  }
  Peer& peer = peers_.at(known->second);
  const uint64_t nonce = session.hello().instance_nonce;
  if (nonce == peer.info.instance_nonce) {
    if (peer.connections.size() >= kConnectionsPerPeerMax) {
      return session.Close(now, CloseReason::kDuplicate, "too many connections of one peer");
    }
    ++stats_.second_connections;
    return Join(now, peer, session);
  }
  if (history_.OnOtherInstance(now, session.key(), peer.info.instance_nonce, nonce) ==
      InstanceHistory::Verdict::kKeyShared) {
    ++stats_.keys_shared;
    stats_.shared_key = {session.key(), false, session.remote(), peer.info.address};
    return session.Close(now, CloseReason::kKeyShared, "another daemon shows the same key");
  }
  ++stats_.instances_replaced;
  Disconnect(now, known->second, CloseReason::kReplaced, /*by_peer=*/false,
             "a newer instance has connected", /*close_connections=*/true);
  AddPeer(now, session);
}

size_t PeerTransport::InboundCount() const {
  return static_cast<size_t>(std::count_if(
      peers_.begin(), peers_.end(), [](const auto& entry) { return entry.second.info.inbound; }));
}

void PeerTransport::AddPeer(Time now, PeerSession& session) {
  const PeerId id{next_peer_++};
  Peer& peer = peers_[id];
  peer.shared.id = id;
  peer.since = now;
  const Hello& hello = session.hello();
  peer.info = {session.key(),     session.remote(), !session.origin().dialled,
               hello.listen_port, hello.features,   hello.instance_nonce,
               hello.agent};
  by_key_[session.key()] = id;
  ++stats_.peers_connected;
  out_.push_back(PeerConnected{id, peer.info});
  Join(now, peer, session);
}

void PeerTransport::OnMoved(const PeerSession& session) {
  const auto found = peer_of_.find(session.connection());
  if (found == peer_of_.end()) return;
  Peer& peer = peers_.at(found->second);
  if (peer.in_use == session.connection()) peer.info.address = session.remote();
}

void PeerTransport::Join(Time now, Peer& peer, PeerSession& session) {
  const ConnectionId id = session.connection();
  peer.connections.push_back(id);
  peer_of_[id] = peer.shared.id;
  session.set_order(next_order_++);
  if (peer.rival == id) peer.rival.reset();
  const bool first = peer.connections.size() == 1;
  if (first) peer.in_use = id;
  session.Admit(now, peer.shared);
  EndDial(session, CloseReason::kNone, {});
  if (!first) {
    peer.contest_since = now;
    CheckContest(now, peer);
  }
}

void PeerTransport::EndDial(const PeerSession& session, CloseReason reason,
                            std::string_view detail) {
  if (!session.origin().dial) return;
  const std::optional<NodeKey> key =
      session.key().IsZero() ? std::nullopt : std::optional(session.key());
  out_.push_back(DialEnded{*session.origin().dial, session.origin().address, reason, key,
                           std::string(detail)});
}

// ---- leaving ------------------------------------------------------------------------------------

void PeerTransport::OnClosed(Time now, ConnectionId id, const CloseInfo& info) {
  PeerSession* session = SessionOf(id);
  if (session == nullptr) return;
  bool heard_of_peer = !session->key().IsZero();
  if (const QuicConnection* connection = endpoint_->Find(id)) {
    const ConnectionStats stats = connection->stats();
    stats_.lost_stream_packets += stats.lost_stream_packets;
    heard_of_peer |= stats.received_datagrams > 0;
  }
  const Ending ending = EndingOf(info, heard_of_peer);
  const std::string detail = CleanText(info.reason);
  // Its hello showed our key; or somebody has met another daemon that does.
  if (ending.reason == CloseReason::kKeyShared &&
      (ending.by_peer || session->key() == node_key())) {
    ++stats_.keys_shared;
    stats_.shared_key = {node_key(), true, session->remote(), {}};
  }
  if (peer_of_.contains(id)) {
    ++stats_.closes[ending.reason];
    OnPeerConnectionClosed(now, *session, ending.reason, ending.by_peer, detail);
  } else {
    ++stats_.refusals[ending.reason];
    ++stats_.refused;
    stats_.last_refused = {ending.reason, ending.by_peer, session->key(), session->remote(),
                           detail};
    EndDial(*session, ending.reason, detail);
    if (session->origin().rival_of) {
      if (Peer* peer = PeerOf(*session->origin().rival_of)) {
        peer->rival.reset();
        peer->rival_not_before = now + kRivalDialAfter;
      }
    }
  }
  sessions_.erase(id);
}

void PeerTransport::OnPeerConnectionClosed(Time now, PeerSession& session, CloseReason reason,
                                           bool by_peer, std::string_view detail) {
  const ConnectionId id = session.connection();
  const PeerId peer_id = peer_of_.at(id);
  Peer& peer = peers_.at(peer_id);
  if (peer.connections.size() == 1) {
    session.OnConnectionClosed(/*peer_lives=*/false);
    return Disconnect(now, peer_id, reason, by_peer, detail, /*close_connections=*/false);
  }
  std::erase(peer.connections, id);
  peer_of_.erase(id);
  AddCounts(peer.sent_before, session.sent());
  AddCounts(peer.received_before, session.received());
  AddBytes(id, peer.bytes_sent_before, peer.bytes_received_before);
  session.OnConnectionClosed(/*peer_lives=*/true);
  if (peer.in_use == id) {
    peer.in_use = peer.connections.back();
    CheckContest(now, peer);
    peer.info.address = InUse(peer).remote();
    peer.info.inbound = !InUse(peer).origin().dialled;
  }
  if (peer.connections.size() == 1) peer.next_contest_at = kTimeNever;
  InUse(peer).Resend(now, session.TakeUnacknowledged());
}

void PeerTransport::Disconnect(Time now, PeerId id, CloseReason reason, bool by_peer,
                               std::string_view detail, bool close_connections) {
  auto it = peers_.find(id);
  Peer& peer = it->second;
  PeerDisconnected gone{id, reason, by_peer, std::string(detail)};
  gone.bytes_sent = peer.bytes_sent_before;
  gone.bytes_received = peer.bytes_received_before;
  if (const QuicConnection* in_use = endpoint_->Find(peer.in_use)) {
    gone.rtt = in_use->stats().smoothed_rtt;
  }
  for (ConnectionId connection : peer.connections) {
    AddBytes(connection, gone.bytes_sent, gone.bytes_received);
    peer_of_.erase(connection);
    if (!close_connections) continue;
    ++stats_.closes[reason];
    PeerSession& session = *sessions_.at(connection);
    session.Close(now, reason, detail);
    session.OnConnectionClosed(/*peer_lives=*/false);
    sessions_.erase(connection);
  }
  // Also where its close was lost, and this end timed out or was reset.
  if (peer.shared.goaway) gone.redial_after = peer.shared.goaway->redial_after;
  ++stats_.peers_disconnected;
  out_.push_back(std::move(gone));
  by_key_.erase(peer.info.key);
  peers_.erase(it);
}

void PeerTransport::AddBytes(ConnectionId id, uint64_t& sent, uint64_t& received) const {
  const QuicConnection* connection = endpoint_->Find(id);
  if (connection == nullptr) return;
  const ConnectionStats stats = connection->stats();
  sent += stats.sent_bytes;
  received += stats.received_bytes;
}

// ---- several connections ------------------------------------------------------------------------

bool PeerTransport::IsSuspect(Time now, const PeerSession& session) const {
  const auto silent = session.silent_since();
  if (silent && now >= *silent + kProbeTimeout) return true;
  const auto asked = session.unanswered_ping_at();
  return asked && now >= *asked + kProbeTimeout;
}

void PeerTransport::CheckContest(Time now, Peer& peer) {
  if (peer.connections.size() < 2) {
    peer.next_contest_at = kTimeNever;
    return;
  }
  peer.next_contest_at = now + kContestInterval;
  std::vector<ConnectionView> views;
  for (ConnectionId id : peer.connections) {
    const PeerSession& session = *sessions_.at(id);
    views.push_back({session.origin().dialled, IsSuspect(now, session), session.order()});
  }
  const NodeKey& own = identity_->node_key();
  const ConnectionId chosen = peer.connections[ChooseConnection(views, own, peer.info.key)];
  if (chosen != peer.in_use) UseConnection(now, peer, chosen);
  if (!WeDecide(own, peer.info.key)) return;
  PeerSession& keep = *sessions_.at(chosen);
  if (!keep.answered_since(peer.contest_since)) {
    if (!keep.unanswered_ping_at()) keep.Ping(now);
    return;
  }
  const bool out_of_patience = now >= peer.contest_since + kDuplicateLingerMax;
  for (ConnectionId id : peer.connections) {
    PeerSession& other = *sessions_.at(id);
    if (id == chosen) continue;
    if (other.quiet() || IsSuspect(now, other) || out_of_patience) {
      other.Close(now, CloseReason::kDuplicate, "another connection to the same peer is kept");
    }
  }
}

void PeerTransport::UseConnection(Time now, Peer& peer, ConnectionId id) {
  PeerSession& before = InUse(peer);
  peer.in_use = id;
  PeerSession& after = InUse(peer);
  peer.info.address = after.remote();
  peer.info.inbound = !after.origin().dialled;
  // What a healthy connection has begun it finishes; a suspect one may never.
  if (IsSuspect(now, before)) after.Resend(now, before.TakeUnacknowledged());
}

std::optional<Time> PeerTransport::SilentAt(const Peer& peer) const {
  const auto silent = sessions_.at(peer.in_use)->silent_since();
  return silent ? std::optional(*silent + kRivalDialAfter) : std::nullopt;
}

void PeerTransport::CheckSilent(Time now, Peer& peer) {
  const auto at = SilentAt(peer);
  const bool silent = at && now >= *at;
  if (silent == peer.silent) return;
  peer.silent = silent;
  out_.push_back(PeerSilent{peer.shared.id, silent});
}

std::optional<Time> PeerTransport::RivalAt(const Peer& peer) const {
  if (draining_ || peer.rival || peer.connections.size() > 1) return std::nullopt;
  const PeerSession& session = *sessions_.at(peer.in_use);
  if (!session.origin().dialled && session.hello().listen_port == 0) return std::nullopt;
  const auto silent = session.silent_since();
  if (!silent) return std::nullopt;
  return std::max(*silent + kRivalDialAfter, peer.rival_not_before);
}

void PeerTransport::CheckRival(Time now, Peer& peer) {
  const auto at = RivalAt(peer);
  if (!at || now < *at) return;
  const PeerSession& session = InUse(peer);
  SocketAddress address = session.origin().address;
  if (!session.origin().dialled) {
    address = session.remote();
    address.port = session.hello().listen_port;
  }
  peer.rival_not_before = now + kRivalDialAfter;
  auto connection = endpoint_->Dial(now, address, std::nullopt);
  if (!connection.ok()) return;
  ++stats_.rival_dials;
  peer.rival = *connection;
  sessions_.emplace(
      *connection,
      std::make_unique<PeerSession>(
          env_, *connection,
          PeerSession::Origin{true, std::nullopt, address, peer.info.key, peer.shared.id}, now));
}

}  // namespace overlay::transport
