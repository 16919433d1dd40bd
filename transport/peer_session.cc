#include "transport/peer_session.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "fmt/format.h"
#include "transport/hello.h"

namespace overlay::transport {
namespace {

CloseReason ReasonOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return CloseReason::kTooLarge;
    case absl::StatusCode::kFailedPrecondition:
      return CloseReason::kProtocol;
    default:
      return CloseReason::kMalformed;
  }
}

}  // namespace

PeerSession::PeerSession(SessionEnv& env, ConnectionId connection, Origin origin, Time now)
    : env_(env),
      connection_(connection),
      origin_(origin),
      remote_(origin_.address),
      hello_deadline_(kTimeNever),
      writer_(LaneLimits::From(env.options.limits), env.stats, sent_),
      bulk_window_(now),
      sampled_at_(now),
      inbound_(InboundEnvelopes::Options::From(env.options.limits)) {}

PeerSession::~PeerSession() = default;

// ---- inputs -------------------------------------------------------------------------------------

void PeerSession::OnEvent(Time now, const QuicEvent::What& what) {
  if (phase_ == Phase::kClosed) return;
  if (const auto* done = std::get_if<HandshakeCompleted>(&what)) {
    key_ = done->peer;
    if (!origin_.dialled) Greet(now);
  } else if (std::holds_alternative<HandshakeConfirmed>(what)) {
    if (origin_.dialled) Greet(now);
  } else if (const auto* opened = std::get_if<StreamOpened>(&what)) {
    OnStreamOpened(now, opened->stream);
  } else if (const auto* data = std::get_if<StreamData>(&what)) {
    if (!HoldIfEarly(now, *data)) OnStreamData(now, data->stream, data->bytes, data->fin);
  } else if (const auto* reset = std::get_if<StreamReset>(&what)) {
    if (phase_ == Phase::kPeer) {
      OnStreamReset(now, *reset);
    } else {
      early_.push_back({reset->stream, *reset});
    }
  } else if (const auto* closed = std::get_if<StreamClosed>(&what)) {
    if (phase_ == Phase::kPeer) {
      OnStreamClosed(now, *closed);
    } else {
      early_.push_back({closed->stream, *closed});
    }
  } else if (const auto* acked = std::get_if<StreamAcked>(&what)) {
    writer_.OnAcked(acked->stream, acked->bytes);
  } else if (std::holds_alternative<StreamsCredit>(what)) {
    writer_.OnCreditPerhaps();
    if (phase_ == Phase::kPeer) PumpRequests();
  } else if (std::holds_alternative<StreamCredit>(what)) {
    writer_.OnCreditPerhaps();
  } else if (const auto* moved = std::get_if<PathChanged>(&what)) {
    OnMoved(moved->path.remote);
  }
  if (phase_ != Phase::kClosed) AfterWriter();
}

void PeerSession::Greet(Time now) {
  QuicConnection* connection = conn();
  if (phase_ != Phase::kHandshaking || connection == nullptr) return;
  phase_ = Phase::kGreeting;
  hello_deadline_ = now + env_.options.limits.hello_timeout;
  remote_ = connection->path().remote;
  key_ = connection->peer_key();
  // Where our own key answers, Hello says whether that is us: better known than a wrong key.
  if (origin_.pinned && *origin_.pinned != key_ && key_ != env_.own_key) {
    return Close(now, CloseReason::kWrongKey,
                 fmt::format("expected {}, found {}", ToStrkey(*origin_.pinned), ToStrkey(key_)));
  }
  if (auto refused = CheckWindows(connection->remote_limits(), env_.options.limits)) {
    return Close(now, *refused, "flow-control windows below the protocol's minimum");
  }
  if (!writer_.OpenLongStream(*connection, StreamKind::kControl)) {
    return Close(now, CloseReason::kSmallWindows, "no stream for control");
  }
  const TransportOptions& options = env_.options;
  SendOwnFrame(now,
               Hello{options.network, options.version_min, options.version_max, options.features,
                     options.listen_port, options.instance_nonce, options.agent},
               /*resend=*/false);
  // What the acceptor sent may have overtaken the end of the handshake.
  HandleControl(now, std::exchange(control_backlog_, {}));
}

void PeerSession::OnHello(Time now, const Hello& hello) {
  const TransportOptions& options = env_.options;
  const Hello ours{options.network,
                   options.version_min,
                   options.version_max,
                   0,
                   options.listen_port,
                   options.instance_nonce,
                   {}};
  if (auto refused = CheckHello(ours, env_.own_key, hello, key_)) {
    std::string detail;
    if (*refused == CloseReason::kWrongNetwork) {
      detail = fmt::format("ours {}, theirs {}", ours.network.ShortHex(), hello.network.ShortHex());
    } else if (*refused == CloseReason::kWrongVersion) {
      detail = fmt::format("ours {} to {}, theirs {} to {}", ours.version_min, ours.version_max,
                           hello.version_min, hello.version_max);
    }
    return Close(now, *refused, detail);
  }
  hello_ = hello;
  greeted_ = true;
  phase_ = Phase::kGreeted;
  ++env_.stats.hellos;
}

void PeerSession::Admit(Time now, PeerShared& shared) {
  OVERLAY_CHECK(phase_ == Phase::kGreeted);
  phase_ = Phase::kPeer;
  shared_ = &shared;
  hello_deadline_ = kTimeNever;
  if (env_.options.ping_interval > Duration::zero()) {
    ping_pause_ = std::min(env_.options.first_ping_after, env_.options.ping_interval);
    next_ping_at_ = now + ping_pause_;
  }
  QuicConnection* connection = conn();
  if (connection == nullptr || !writer_.OpenLongStream(*connection, StreamKind::kTxControl)) {
    return Close(now, CloseReason::kSmallWindows, "no stream for tx control");
  }
  TellPath(now, connection->stats().smoothed_rtt);
  HandleControl(now, std::exchange(control_backlog_, {}));
  early_bytes_ = 0;
  for (Early& early : std::exchange(early_, {})) {
    if (phase_ != Phase::kPeer) return;
    if (const auto* data = std::get_if<std::pair<Bytes, bool>>(&early.what)) {
      OnStreamData(now, early.stream, data->first.span(), data->second);
    } else if (const auto* reset = std::get_if<StreamReset>(&early.what)) {
      OnStreamReset(now, *reset);
    } else {
      OnStreamClosed(now, std::get<StreamClosed>(early.what));
    }
  }
  if (phase_ == Phase::kPeer) AfterWriter();
}

void PeerSession::OnDeadline(Time now) {
  if (phase_ == Phase::kClosed) return;
  if (now >= hello_deadline_) return Close(now, CloseReason::kHelloTimeout, "no Hello in time");
  if (phase_ != Phase::kPeer) return;
  const auto stalled = writer_.stalled_since();
  if (stalled && now >= *stalled + env_.options.limits.stalled_timeout) {
    return Close(now, CloseReason::kStalled, "gave no credit for what waits");
  }
  if (now >= next_ping_at_) {
    ping_pause_ = std::min(2 * ping_pause_, env_.options.ping_interval);
    next_ping_at_ = now + ping_pause_;
    if (!ping_sent_at_) Ping(now);
  }
}

std::optional<Time> PeerSession::NextDeadline() const {
  if (phase_ == Phase::kClosed) return std::nullopt;
  Time next = std::min(hello_deadline_, next_ping_at_);
  if (const auto stalled = writer_.stalled_since()) {
    next = std::min(next, *stalled + env_.options.limits.stalled_timeout);
  }
  if (writer_.HasWaiting(SendClass::kSets) || writer_.HasWaiting(SendClass::kBodies)) {
    // What is open already is a matter of the next turn, of credit or of the congestion window.
    const auto opens = bulk_window_.NextDeadline();
    if (opens && *opens > turn_at_) next = std::min(next, *opens);
  }
  return next == kTimeNever ? std::nullopt : std::optional(next);
}

void PeerSession::OnConnectionClosed(bool peer_lives) {
  phase_ = Phase::kClosed;
  if (shared_ == nullptr) return;
  AfterWriter();
  if (!peer_lives) return;
  for (auto& [stream, in] : in_streams_) {
    if (in.kind == InKind::kState && in.state_id != 0) {
      Emit(StateReceived{{}, in.state_id, StateReceived::Part::kBroken, {}});
    }
  }
  in_streams_.clear();
  for (const auto& [request, stream] : own_by_id_) Emit(RequestEnded{{}, request, false});
  for (const auto& [request, what] : waiting_) Emit(RequestEnded{{}, request, false});
  for (const auto& [request, asked] : asked_) Emit(AnswerDone{{}, request});
  own_.clear();
  own_by_id_.clear();
  waiting_.clear();
  asked_.clear();
  asked_by_stream_.clear();
  partial_bodies_bytes_ = 0;
}

// ---- commands -----------------------------------------------------------------------------------

void PeerSession::SendEnvelope(Time now, EnvelopeToken token, LedgerSeq slot, Bytes envelope) {
  if (!writer_.QueueEnvelope(now, token, slot, std::move(envelope))) {
    if (!writer_.HasEnvelope(token)) {
      ++env_.stats.envelopes_dropped;
      Emit(EnvelopeDone{{}, token, EnvelopeDone::Outcome::kDropped});
    }
    return;
  }
  AfterWriter();
}

bool PeerSession::CancelEnvelope(EnvelopeToken token) {
  if (!writer_.HasEnvelope(token)) return false;
  if (writer_.CancelEnvelope(token)) AfterWriter();
  return true;
}

bool PeerSession::SendOwnFrame(Time now, const ControlMessage& message, bool resend) {
  if (writer_.SendFrame(StreamKind::kControl, EncodeControl(message), resend)) return true;
  Close(now, CloseReason::kStalled, "the control stream's queue is full");
  return false;
}

void PeerSession::SendGoaway(Time now, const Goaway& goaway) {
  if (phase_ == Phase::kPeer) SendOwnFrame(now, goaway, /*resend=*/false);
}

void PeerSession::SendControl(Time now, const ControlMessage& message) {
  if (phase_ != Phase::kPeer) return;
  if (const auto* ask = std::get_if<GetScpState>(&message)) {
    std::vector<uint64_t>& asked = shared_->state_asked;
    if (asked.size() >= kStateAsksRememberedMax) asked.erase(asked.begin());
    asked.push_back(ask->id);
  }
  SendOwnFrame(now, message, /*resend=*/true);
}

void PeerSession::SendTxControl(Time now, const TxControlMessage& message) {
  if (phase_ != Phase::kPeer) return;
  if (!writer_.SendFrame(StreamKind::kTxControl, EncodeTxControl(message), /*resend=*/true)) {
    Close(now, CloseReason::kStalled, "the tx control stream's queue is full");
  }
}

void PeerSession::Resend(Time now, SessionWriter::Unacknowledged unacknowledged) {
  if (phase_ != Phase::kPeer) return;
  for (auto& envelope : unacknowledged.envelopes) {
    ++env_.stats.envelopes_resent;
    SendEnvelope(now, envelope.token, envelope.slot, std::move(envelope.bytes));
  }
  bool sent = true;
  for (Bytes& frame : unacknowledged.control) {
    sent = sent && writer_.SendFrame(StreamKind::kControl, std::move(frame), true);
  }
  for (Bytes& frame : unacknowledged.tx_control) {
    sent = sent && writer_.SendFrame(StreamKind::kTxControl, std::move(frame), true);
  }
  if (!sent) Close(now, CloseReason::kStalled, "a long-lived stream's queue is full");
}

void PeerSession::Ping(Time now) {
  pending_ping_ = next_ping_++;
  ping_sent_at_ = now;
  SendOwnFrame(now, overlay::Ping{pending_ping_, env_.WallAt(now)}, /*resend=*/false);
}

void PeerSession::OnPong(Time now, const Pong& pong) {
  if (!ping_sent_at_ || pong.id != pending_ping_) return;
  pong_for_sent_at_ = ping_sent_at_;
  shared_->clock.Add(now, now - *ping_sent_at_, env_.WallAt(now), pong.sent);
  ping_sent_at_.reset();
}

void PeerSession::OnInvPauseChanged(Time now) {
  if (phase_ != Phase::kPeer || shared_->inv_paused) return;
  const std::vector<uint8_t> bytes = std::exchange(tx_control_backlog_, {});
  if (bytes.empty()) return;
  ReturnCredit(tx_control_in_, bytes.size());
  HandleTxControl(now, bytes);
}

void PeerSession::Close(Time now, CloseReason reason, std::string_view detail) {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  if (QuicConnection* connection = conn()) {
    connection->Close(now, static_cast<uint64_t>(reason), detail, env_.quic_events);
  }
}

void PeerSession::CloseFor(Time now, const absl::Status& status) {
  Close(now, ReasonOf(status), std::string(status.message()));
}

// ---- writing ------------------------------------------------------------------------------------

void PeerSession::BeginTurn(Time now) {
  turn_at_ = now;
  bulk_left_ = 0;
  held_up_ = false;
  const QuicConnection* connection = env_.endpoint.Find(connection_);
  if (connection == nullptr || phase_ == Phase::kClosed) return;
  if (connection->last_received() != sampled_at_) {
    sampled_at_ = connection->last_received();
    writer_.OnCreditPerhaps();
    const ConnectionStats stats = connection->stats();
    NoteFlight(now, stats);
    TellPath(now, stats.smoothed_rtt);
    if (stats.smoothed_rtt > Duration::zero()) {
      bulk_window_.OnSample(now, {stats.latest_rtt,
                                  stats.smoothed_rtt,
                                  stats.cwnd_bytes,
                                  stats.ssthresh_bytes,
                                  {stats.in_flight_bytes, writer_.class0_unacked_bytes()}});
    }
  }
  if (wants_bulk()) bulk_left_ = std::min(bulk_window_.BulkBudget(now), kBulkPassBytesMax);
}

uint64_t PeerSession::Write(Time now, DatagramSink& sink, SendClass last, WriteGoal goal,
                            uint64_t bulk_bytes_max) {
  QuicConnection* connection = conn();
  if (connection == nullptr || phase_ == Phase::kClosed) return 0;
  writer_.BeginPass(now, *connection, last, std::min(bulk_left_, bulk_bytes_max));
  const WriteResult result =
      env_.endpoint.Drain(now, connection_, sink, &writer_, {.goal = goal}, env_.quic_events);
  const uint64_t bulk_bytes = writer_.EndPass();
  if (bulk_bytes > 0) {
    bulk_left_ -= std::min(bulk_bytes, bulk_left_);
    bulk_window_.OnBulkWritten(now, bulk_bytes);
  }
  if (result.datagrams > 0) {
    if (const QuicConnection* still = env_.endpoint.Find(connection_)) {
      const ConnectionStats stats = still->stats();
      NoteFlight(now, stats);
      bulk_window_.OnFlight(now, {stats.in_flight_bytes, writer_.class0_unacked_bytes()});
    }
  }
  if (result.stop == WriteStop::kCongested || result.stop == WriteStop::kSinkBlocked) {
    held_up_ = true;
  }
  AfterWriter();
  return bulk_bytes;
}

bool PeerSession::more_bulk() const {
  if (held_up_ || !wants_bulk() || !writer_.HasSendable(SendClass::kBodies, 1)) return false;
  const auto opens = bulk_window_.NextDeadline();
  return bulk_left_ > 0 || (opens && *opens <= turn_at_);
}

void PeerSession::NoteFlight(Time now, const ConnectionStats& stats) {
  if (stats.in_flight_bytes == 0) {
    outstanding_since_.reset();
  } else if (!outstanding_since_) {
    outstanding_since_ = now;
  }
}

void PeerSession::OnMoved(const SocketAddress& remote) {
  const SocketAddress before = std::exchange(remote_, remote);
  if (phase_ != Phase::kPeer || before == remote) return;
  const bool only_port = before.ip == remote.ip;
  ++(only_port ? env_.stats.ports_changed : env_.stats.addresses_changed);
  Emit(PeerMoved{{}, remote});
}

void PeerSession::TellPath(Time now, Duration rtt) {
  if (phase_ != Phase::kPeer || rtt <= Duration::zero()) return;
  if (shared_->rtt_told) {
    const Duration told = *shared_->rtt_told;
    const Duration change = rtt > told ? rtt - told : told - rtt;
    if (change <= kPathChangeMin || 4 * change <= told) return;
    if (now < shared_->rtt_told_at + kPathToldInterval) return;
  }
  shared_->rtt_told = rtt;
  shared_->rtt_told_at = now;
  Emit(PeerPath{{}, rtt});
}

void PeerSession::AfterWriter() {
  if (shared_ != nullptr) {
    for (const SessionWriter::Done& done : writer_.TakeDone()) {
      Emit(EnvelopeDone{{}, done.token, done.outcome});
    }
  }
  for (StreamId stream : writer_.TakeResets()) {
    if (QuicConnection* connection = conn()) {
      connection->ResetSending(stream, static_cast<uint64_t>(StreamCode::kCancelled));
    }
  }
  for (StreamId stream : writer_.TakeGone()) {
    if (IsUni(stream)) {
      // A state answer that the peer does not want is its own affair; its ends of control are not.
      continue;
    }
    if (auto it = asked_by_stream_.find(stream); it != asked_by_stream_.end()) EndAsked(it->second);
  }
}

std::optional<Time> PeerSession::silent_since() const {
  const QuicConnection* connection = env_.endpoint.Find(connection_);
  if (connection == nullptr || !outstanding_since_) return std::nullopt;
  return std::max(*outstanding_since_, connection->last_received());
}

bool PeerSession::quiet() const {
  return writer_.idle() && own_.empty() && waiting_.empty() && asked_.empty() &&
         inbound_.count() == 0;
}

void PeerSession::CountReceived(SendClass send_class, size_t bytes, uint64_t messages) {
  ClassCount& peer = received_[static_cast<size_t>(send_class)];
  ClassCount& all = env_.stats.received[static_cast<size_t>(send_class)];
  peer.bytes += bytes;
  peer.messages += messages;
  all.bytes += bytes;
  all.messages += messages;
}

void PeerSession::CheckInvariants() const {
  writer_.CheckInvariants();
  inbound_.CheckInvariants();
  OVERLAY_CHECK(own_.size() == own_by_id_.size());
  OVERLAY_CHECK(own_.size() <= kRequestsOpenMax);
  OVERLAY_CHECK(waiting_.size() <= kRequestsWaitingMax);
  OVERLAY_CHECK(asked_.size() == asked_by_stream_.size());
  OVERLAY_CHECK(early_bytes_ <= kEarlyBytesMax);
  for (const auto& [request, stream] : own_by_id_) OVERLAY_CHECK(own_.at(stream).id == request);
}

}  // namespace overlay::transport
