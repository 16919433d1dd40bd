#include "transport/quic_connection.h"

#include <gnutls/gnutls.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "fmt/format.h"
#include "transport/quic_connection_impl.h"

namespace overlay::transport {
namespace {

constexpr size_t kCloseReasonBytesMax = 256;
constexpr uint8_t kTlsAlertNone = 0;

// From large to small: Ethernet with IPv6; a tunnel with IPv4 and with IPv6; IPv6's minimum less
// headers that some provider added. What ngtcp2 probes by itself stops at 1,444.
constexpr uint16_t kMtuProbes[] = {1452, 1420, 1400, 1280};

// Streams that are returned together. Where few are granted, the peer must not run out of them
// before.
uint64_t StepOf(uint64_t granted) {
  return std::clamp<uint64_t>(granted / 4, 1, kStreamsCreditStep);
}

uint64_t Nanos(Duration d) { return static_cast<uint64_t>(d.count()); }

Duration FromNanos(uint64_t ns) {
  return Duration(static_cast<int64_t>(std::min<uint64_t>(ns, INT64_MAX)));
}

ngtcp2_transport_params LocalParams(const QuicSettings& settings) {
  ngtcp2_transport_params params;
  ngtcp2_transport_params_default(&params);
  params.initial_max_streams_uni = settings.uni_streams;
  params.initial_max_streams_bidi = settings.bidi_streams;
  params.initial_max_data = settings.connection_window_bytes;
  params.initial_max_stream_data_uni = settings.uni_stream_window_bytes;
  params.initial_max_stream_data_bidi_remote = settings.bidi_remote_window_bytes;
  params.initial_max_stream_data_bidi_local = settings.bidi_local_window_bytes;
  params.max_idle_timeout = Nanos(settings.idle_timeout);
  // A spare id for each of several NAT rebindings in a row.
  params.active_connection_id_limit = 4;
  return params;
}

CloseInfo InfoOf(CloseCause cause, uint64_t code, std::string reason, bool was_up) {
  return {.cause = cause, .code = code, .reason = std::move(reason), .was_up = was_up};
}

}  // namespace

sockaddr_in6 ToSockaddr(const SocketAddress& address) {
  sockaddr_in6 out{};
  out.sin6_family = AF_INET6;
  out.sin6_port = htons(address.port);
  std::memcpy(&out.sin6_addr, address.ip.data(), address.ip.size());
  return out;
}

NgPath::NgPath(const Path& p) : local(ToSockaddr(p.local)), remote(ToSockaddr(p.remote)) {
  path.local = {reinterpret_cast<sockaddr*>(&local), sizeof(local)};
  path.remote = {reinterpret_cast<sockaddr*>(&remote), sizeof(remote)};
  path.user_data = nullptr;
}

Path FromNgPath(const ngtcp2_path& path) {
  const auto address = [](const ngtcp2_addr& from) {
    SocketAddress to;
    if (from.addrlen != sizeof(sockaddr_in6)) return to;
    sockaddr_in6 in6;
    std::memcpy(&in6, from.addr, sizeof(in6));
    std::memcpy(to.ip.data(), &in6.sin6_addr, to.ip.size());
    to.port = ntohs(in6.sin6_port);
    return to;
  };
  return {address(path.local), address(path.remote)};
}

ngtcp2_tstamp QuicConnection::Impl::Stamp(Time now) {
  last_stamp = std::max(last_stamp, Nanos(now.time_since_epoch()));
  return last_stamp;
}

absl::Status QuicConnection::Impl::Setup(Time now, const Path& path, const ngtcp2_cid& dcid,
                                         const ngtcp2_cid& scid, const AcceptParams* accept) {
  ngtcp2_settings ng;
  ngtcp2_settings_default(&ng);
  ng.initial_ts = Stamp(now);
  ng.handshake_timeout = Nanos(settings.handshake_timeout);
  ng.max_tx_udp_payload_size = settings.datagram_bytes_max;
  ng.ack_thresh = settings.ack_threshold;
  ng.cc_algo = settings.congestion_control == CongestionControl::kBbr ? NGTCP2_CC_ALGO_BBR
                                                                      : NGTCP2_CC_ALGO_CUBIC;
  ng.rand_ctx.native_handle = &random;
  ng.no_pmtud = settings.path_mtu_discovery ? 0 : 1;
  for (const uint16_t probe : kMtuProbes) {
    if (probe <= settings.datagram_bytes_max) mtu_probes.push_back(probe);
  }
  ng.pmtud_probes = mtu_probes.data();
  ng.pmtud_probeslen = mtu_probes.size();
  if (mtu_probes.empty()) ng.no_pmtud = 1;

  ngtcp2_transport_params params = LocalParams(settings);
  const ngtcp2_callbacks callbacks = QuicCallbacks();
  const NgPath ng_path(path);
  ngtcp2_conn* made = nullptr;
  int rv;
  if (accept == nullptr) {
    rv = ngtcp2_conn_client_new(&made, &dcid, &scid, &ng_path.path, NGTCP2_PROTO_VER_V1, &callbacks,
                                &ng, &params, nullptr, this);
  } else {
    params.original_dcid_present = 1;
    params.original_dcid = ToNgCid(accept->retried_dcid.value_or(accept->initial_dcid));
    if (accept->retried_dcid) {
      params.retry_scid_present = 1;
      params.retry_scid = ToNgCid(accept->initial_dcid);
      ng.token = accept->token.data();
      ng.tokenlen = accept->token.size();
      ng.token_type = NGTCP2_TOKEN_TYPE_RETRY;
    }
    params.stateless_reset_token_present = 1;
    const auto& secret = identity.reset_secret();
    if (ngtcp2_crypto_generate_stateless_reset_token(params.stateless_reset_token, secret.data(),
                                                     secret.size(), &scid) != 0) {
      return absl::InternalError("deriving a reset token");
    }
    rv = ngtcp2_conn_server_new(&made, &dcid, &scid, &ng_path.path, accept->version, &callbacks,
                                &ng, &params, nullptr, this);
  }
  if (rv != 0) return absl::InternalError(fmt::format("ngtcp2: {}", ngtcp2_strerror(rv)));
  conn.reset(made);
  conn_ref.get_conn = [](ngtcp2_crypto_conn_ref* ref) {
    return static_cast<Impl*>(ref->user_data)->conn.get();
  };
  conn_ref.user_data = this;
  gnutls_session_set_ptr(tls->handle(), &conn_ref);
  ngtcp2_conn_set_tls_native_handle(made, tls->handle());
  cid_changes.push_back({FromNgCid(scid), true});
  // The dialler goes on using the id that it chose until it has seen ours, and delayed copies of
  // its first packet must not open another connection: the route lives as long as the connection.
  if (accept != nullptr) cid_changes.push_back({accept->initial_dcid, true});
  last_received = now;
  return absl::OkStatus();
}

void QuicConnection::Impl::RestoreKeepAlive() {
  Duration interval = settings.keep_alive;
  if (const auto* remote = ngtcp2_conn_get_remote_transport_params(conn.get())) {
    if (remote->max_idle_timeout != 0) {
      interval = std::min(interval, FromNanos(remote->max_idle_timeout) / 3);
    }
  }
  if (settings.idle_timeout.count() != 0) interval = std::min(interval, settings.idle_timeout / 3);
  ngtcp2_conn_set_keep_alive_timeout(
      conn.get(), settings.keep_alive.count() == 0 ? UINT64_MAX : Nanos(interval));
}

void QuicConnection::Impl::EndWith(ConnectionState next, CloseInfo info, QuicEvents& out) {
  if (IsClosed()) return;
  state = next;
  sending.clear();
  spare_uni.clear();
  out.Add(id, ConnectionClosed{std::move(info)});
}

void QuicConnection::Impl::OnPeerClosed(Time now, QuicEvents& out) {
  ends_at = now + 3 * Pto();
  const ngtcp2_ccerr* error = ngtcp2_conn_get_ccerr(conn.get());
  CloseCause cause = CloseCause::kPeerTransport;
  if (error->type == NGTCP2_CCERR_TYPE_APPLICATION) cause = CloseCause::kPeerApplication;
  if (stateless_reset) cause = CloseCause::kStatelessReset;
  std::string reason;
  if (error->reasonlen > 0) {
    reason.assign(reinterpret_cast<const char*>(error->reason), error->reasonlen);
  }
  EndWith(ConnectionState::kDraining,
          InfoOf(cause, stateless_reset ? 0 : error->error_code, std::move(reason), completed),
          out);
}

ReadOutcome QuicConnection::Impl::OnResult(Time now, int result, QuicEvents& out) {
  switch (result) {
    case 0:
      return ReadOutcome::kOk;
    case NGTCP2_ERR_RETRY:
      state = ConnectionState::kDead;
      return ReadOutcome::kSendRetry;
    case NGTCP2_ERR_DRAINING:
      OnPeerClosed(now, out);
      return ReadOutcome::kOk;
    case NGTCP2_ERR_CLOSING:
      return ReadOutcome::kOk;
    case NGTCP2_ERR_DROP_CONN:
      EndWith(ConnectionState::kDead, InfoOf(CloseCause::kDropped, 0, "", completed), out);
      return ReadOutcome::kOk;
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
      EndWith(ConnectionState::kDead,
              InfoOf(CloseCause::kVersionNegotiation, 0, "no common version of QUIC", completed),
              out);
      return ReadOutcome::kOk;
    case NGTCP2_ERR_IDLE_CLOSE:
      EndWith(ConnectionState::kDead, InfoOf(CloseCause::kIdleTimeout, 0, "", completed), out);
      return ReadOutcome::kOk;
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
      EndWith(ConnectionState::kDead, InfoOf(CloseCause::kHandshakeTimeout, 0, "", completed), out);
      return ReadOutcome::kOk;
    default:
      break;
  }
  // A protocol error of the peer, or of ours: the close packet tells.
  const uint8_t alert = ngtcp2_conn_get_tls_alert(conn.get());
  std::string why = tls->refusal().empty() ? ngtcp2_strerror(result) : tls->refusal();
  if (alert != kTlsAlertNone) {
    if (tls->refusal().empty()) {
      const char* name = gnutls_alert_get_name(static_cast<gnutls_alert_description_t>(alert));
      why = fmt::format("TLS: {}", name == nullptr ? "unknown alert" : name);
    }
    ngtcp2_ccerr_set_tls_alert(&close_error, alert, nullptr, 0);
  } else {
    ngtcp2_ccerr_set_liberr(&close_error, result, nullptr, 0);
  }
  EndWith(ConnectionState::kClosePending,
          InfoOf(CloseCause::kLocalTransport, close_error.error_code, std::move(why), completed),
          out);
  return ReadOutcome::kOk;
}

QuicConnection::QuicConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
QuicConnection::~QuicConnection() = default;

absl::StatusOr<std::unique_ptr<QuicConnection>> QuicConnection::Dial(Time now,
                                                                     const DialParams& params,
                                                                     const QuicSettings& settings,
                                                                     const TlsIdentity& identity,
                                                                     Random random) {
  auto impl = std::make_unique<Impl>(params.id, true, settings, identity, std::move(random));
  absl::StatusOr<std::unique_ptr<TlsSession>> tls = identity.NewClientSession(params.pinned);
  if (!tls.ok()) return tls.status();
  impl->tls = *std::move(tls);
  const ngtcp2_cid dcid = ToNgCid(NewLocalCid(impl->random));
  const ngtcp2_cid scid = ToNgCid(NewLocalCid(impl->random));
  absl::Status status = impl->Setup(now, params.path, dcid, scid, nullptr);
  if (!status.ok()) return status;
  return std::unique_ptr<QuicConnection>(new QuicConnection(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<QuicConnection>> QuicConnection::Accept(Time now,
                                                                       const AcceptParams& params,
                                                                       const QuicSettings& settings,
                                                                       const TlsIdentity& identity,
                                                                       Random random) {
  auto impl = std::make_unique<Impl>(params.id, false, settings, identity, std::move(random));
  absl::StatusOr<std::unique_ptr<TlsSession>> tls = identity.NewServerSession();
  if (!tls.ok()) return tls.status();
  impl->tls = *std::move(tls);
  const ngtcp2_cid scid = ToNgCid(NewLocalCid(impl->random));
  absl::Status status = impl->Setup(now, params.path, ToNgCid(params.client_scid), scid, &params);
  if (!status.ok()) return status;
  return std::unique_ptr<QuicConnection>(new QuicConnection(std::move(impl)));
}

ConnectionId QuicConnection::id() const { return impl_->id; }
bool QuicConnection::is_dialled() const { return impl_->dialled; }
bool QuicConnection::handshake_completed() const { return impl_->completed; }
bool QuicConnection::is_open() const {
  return impl_->confirmed && impl_->state == ConnectionState::kOpen;
}
bool QuicConnection::is_closed() const { return impl_->IsClosed(); }
bool QuicConnection::is_dead() const { return impl_->state == ConnectionState::kDead; }
bool QuicConnection::needs_flush() const {
  switch (impl_->state) {
    case ConnectionState::kHandshaking:
    case ConnectionState::kOpen:
      return impl_->flush_wanted;
    case ConnectionState::kClosePending:
      return true;
    case ConnectionState::kClosing:
      return impl_->close_repeat_due;
    case ConnectionState::kDraining:
    case ConnectionState::kDead:
      return false;
  }
  return false;
}
const NodeKey& QuicConnection::peer_key() const { return impl_->peer_key; }

RemoteLimits QuicConnection::remote_limits() const {
  RemoteLimits limits;
  const auto* params = ngtcp2_conn_get_remote_transport_params(impl_->conn.get());
  if (params == nullptr) return limits;
  limits.uni_streams = params->initial_max_streams_uni;
  limits.bidi_streams = params->initial_max_streams_bidi;
  limits.connection_window_bytes = params->initial_max_data;
  limits.uni_stream_window_bytes = params->initial_max_stream_data_uni;
  limits.bidi_opened_by_peer_window_bytes = params->initial_max_stream_data_bidi_local;
  limits.bidi_opened_by_us_window_bytes = params->initial_max_stream_data_bidi_remote;
  limits.idle_timeout = FromNanos(params->max_idle_timeout);
  return limits;
}

Path QuicConnection::path() const { return FromNgPath(*ngtcp2_conn_get_path(impl_->conn.get())); }
uint64_t QuicConnection::uni_streams_left() const {
  return ngtcp2_conn_get_streams_uni_left(impl_->conn.get()) + impl_->spare_uni.size();
}
uint64_t QuicConnection::bidi_streams_left() const {
  return ngtcp2_conn_get_streams_bidi_left(impl_->conn.get());
}
uint64_t QuicConnection::max_data_left() const {
  return ngtcp2_conn_get_max_data_left(impl_->conn.get());
}
uint64_t QuicConnection::max_stream_data_left(StreamId stream) const {
  return ngtcp2_conn_get_max_stream_data_left(impl_->conn.get(), stream);
}

ConnectionStats QuicConnection::stats() const {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(impl_->conn.get(), &info);
  ConnectionStats stats;
  stats.latest_rtt = FromNanos(info.latest_rtt);
  stats.smoothed_rtt = FromNanos(info.smoothed_rtt);
  stats.min_rtt = info.min_rtt == UINT64_MAX ? Duration(0) : FromNanos(info.min_rtt);
  stats.cwnd_bytes = info.cwnd;
  stats.ssthresh_bytes = info.ssthresh;
  stats.in_flight_bytes = info.bytes_in_flight;
  stats.put_in_flight_bytes = impl_->put_in_flight;
  stats.sent_bytes = impl_->sent_bytes;
  stats.sent_datagrams = impl_->sent_datagrams;
  stats.received_bytes = impl_->received_bytes;
  stats.received_datagrams = impl_->received_datagrams;
  stats.lost_stream_packets = impl_->lost_stream_packets;
  return stats;
}

Time QuicConnection::last_received() const { return impl_->last_received; }
Duration QuicConnection::pto() const { return impl_->Pto(); }
size_t QuicConnection::path_datagram_bytes_max() const {
  return ngtcp2_conn_get_path_max_tx_udp_payload_size(impl_->conn.get());
}
size_t QuicConnection::HeldStreamCountForTest() const { return impl_->sending.size(); }

std::optional<Time> QuicConnection::NextDeadline() const {
  switch (impl_->state) {
    case ConnectionState::kDead:
      return std::nullopt;
    case ConnectionState::kClosing:
    case ConnectionState::kDraining:
      return impl_->ends_at;
    case ConnectionState::kHandshaking:
    case ConnectionState::kOpen:
    case ConnectionState::kClosePending:
      break;
  }
  const ngtcp2_tstamp expiry = ngtcp2_conn_get_expiry(impl_->conn.get());
  if (expiry == UINT64_MAX) return std::nullopt;
  return Time(FromNanos(expiry));
}

ReadOutcome QuicConnection::OnDatagram(Time now, const Path& path,
                                       absl::Span<const uint8_t> payload, QuicEvents& out) {
  Impl& impl = *impl_;
  impl.received_bytes += payload.size();
  ++impl.received_datagrams;
  if (impl.state == ConnectionState::kClosing && now >= impl.close_repeat_at) {
    impl.close_repeat_due = true;
  }
  if (impl.IsClosed() || payload.empty()) return ReadOutcome::kOk;
  impl.flush_wanted = true;
  const NgPath ng_path(path);
  impl.events = &out;
  (void)TakeDecryptedSomething();
  const int rv = ngtcp2_conn_read_pkt(impl.conn.get(), &ng_path.path, nullptr, payload.data(),
                                      payload.size(), impl.Stamp(now));
  impl.events = nullptr;
  if (TakeDecryptedSomething()) impl.last_received = now;
  return impl.OnResult(now, rv, out);
}

void QuicConnection::OnDeadline(Time now, QuicEvents& out) {
  Impl& impl = *impl_;
  if (impl.state == ConnectionState::kClosing || impl.state == ConnectionState::kDraining) {
    if (now >= impl.ends_at) impl.state = ConnectionState::kDead;
    return;
  }
  if (impl.IsClosed()) return;
  const ngtcp2_tstamp ts = impl.Stamp(now);
  if (ngtcp2_conn_get_expiry(impl.conn.get()) > ts) return;
  impl.flush_wanted = true;
  impl.events = &out;
  const int rv = ngtcp2_conn_handle_expiry(impl.conn.get(), ts);
  impl.events = nullptr;
  impl.OnResult(now, rv, out);
}

std::optional<StreamId> QuicConnection::OpenUni() {
  Impl& impl = *impl_;
  if (!is_open()) return std::nullopt;
  if (impl.spare_uni.empty() && !impl.writing) impl.RefillSpareStreams();
  if (impl.spare_uni.empty()) return std::nullopt;
  const StreamId stream = impl.spare_uni.front();
  impl.spare_uni.erase(impl.spare_uni.begin());
  impl.flush_wanted = true;
  return stream;
}

std::optional<StreamId> QuicConnection::OpenBidi() {
  Impl& impl = *impl_;
  OVERLAY_CHECK(!impl.writing);
  if (!is_open()) return std::nullopt;
  StreamId stream;
  if (ngtcp2_conn_open_bidi_stream(impl.conn.get(), &stream, nullptr) != 0) return std::nullopt;
  impl.flush_wanted = true;
  return stream;
}

// The errors of these are about a stream that is gone or was never ours: nothing is left to do
// then.
void QuicConnection::ResetSending(StreamId stream, uint64_t code) {
  if (!is_open()) return;
  impl_->flush_wanted = true;
  (void)ngtcp2_conn_shutdown_stream_write(impl_->conn.get(), 0, stream, code);
}

void QuicConnection::StopReading(StreamId stream, uint64_t code) {
  if (!is_open()) return;
  impl_->flush_wanted = true;
  (void)ngtcp2_conn_shutdown_stream_read(impl_->conn.get(), 0, stream, code);
}

void QuicConnection::ExtendStream(StreamId stream, uint64_t bytes) {
  OVERLAY_CHECK(!impl_->writing);
  if (impl_->IsClosed()) return;
  impl_->flush_wanted = true;
  (void)ngtcp2_conn_extend_max_stream_offset(impl_->conn.get(), stream, bytes);
}

void QuicConnection::ExtendConnection(uint64_t bytes) {
  OVERLAY_CHECK(!impl_->writing);
  if (impl_->IsClosed()) return;
  impl_->flush_wanted = true;
  ngtcp2_conn_extend_max_offset(impl_->conn.get(), bytes);
}

void QuicConnection::ReturnUniStream() {
  OVERLAY_CHECK(!impl_->writing);
  if (impl_->IsClosed() || ++impl_->uni_to_return < StepOf(impl_->settings.uni_streams)) return;
  impl_->flush_wanted = true;
  ngtcp2_conn_extend_max_streams_uni(impl_->conn.get(), impl_->uni_to_return);
  impl_->uni_to_return = 0;
}

void QuicConnection::ReturnBidiStream() {
  OVERLAY_CHECK(!impl_->writing);
  if (impl_->IsClosed() || ++impl_->bidi_to_return < StepOf(impl_->settings.bidi_streams)) return;
  impl_->flush_wanted = true;
  ngtcp2_conn_extend_max_streams_bidi(impl_->conn.get(), impl_->bidi_to_return);
  impl_->bidi_to_return = 0;
}

void QuicConnection::Ping() {
  if (!impl_->completed || impl_->IsClosed()) return;
  impl_->ping_wanted = true;
  impl_->flush_wanted = true;
}

void QuicConnection::Close(Time now, uint64_t code, std::string_view reason, QuicEvents& out) {
  Impl& impl = *impl_;
  if (impl.IsClosed()) return;
  (void)impl.Stamp(now);
  impl.close_reason = std::string(reason.substr(0, kCloseReasonBytesMax));
  ngtcp2_ccerr_set_application_error(&impl.close_error, code,
                                     reinterpret_cast<const uint8_t*>(impl.close_reason.data()),
                                     impl.close_reason.size());
  impl.EndWith(ConnectionState::kClosePending,
               InfoOf(CloseCause::kLocalApplication, code, impl.close_reason, impl.completed), out);
}

void QuicConnection::Drop(CloseCause cause, QuicEvents& out) {
  impl_->EndWith(ConnectionState::kDead, InfoOf(cause, 0, "", impl_->completed), out);
  impl_->state = ConnectionState::kDead;
}

WriteResult QuicConnection::DrainDatagrams(Time now, DatagramSink& sink, StreamSource* source,
                                           const WritePass& pass, QuicEvents& out) {
  return impl_->Drain(now, sink, source, pass, out);
}

std::vector<CidChange> QuicConnection::TakeCidChanges() {
  return std::exchange(impl_->cid_changes, {});
}

}  // namespace overlay::transport
