// Datagrams that belong to no connection: new handshakes, version negotiation, Retry, stateless
// resets.
#include <ngtcp2/ngtcp2_crypto.h>

#include "transport/quic_endpoint_impl.h"

namespace overlay::transport {
namespace {

// RFC 9000, 10.3: short enough that a reset cannot be told from a small packet, long enough to hold
// its token.
constexpr size_t kResetBytesMax = 43;
constexpr size_t kResetBytesMin = NGTCP2_MIN_STATELESS_RESET_RANDLEN + 16;
// Connections dialled to one address that are asked whether a packet is their reset.
constexpr size_t kResetCandidatesMax = 4;

constexpr uint64_t kInvalidToken = 0x0b;

size_t Nonnegative(ngtcp2_ssize n) { return n < 0 ? 0 : static_cast<size_t>(n); }

}  // namespace

std::array<uint8_t, 16> AddressGroup(const SocketAddress& address) {
  std::array<uint8_t, 16> group = address.ip;
  if (!address.is_v4()) std::fill(group.begin() + 8, group.end(), uint8_t{0});
  return group;
}

void QuicEndpoint::Impl::Answer(Time now, const Path& path, std::vector<uint8_t> payload,
                                RateLimit& limit, uint64_t& counter) {
  if (payload.empty()) return;
  const bool is_configured = configured.contains(AddressGroup(path.remote));
  const size_t room = kStatelessQueueMax + (is_configured ? kHandshakesReserved : 0);
  RateLimit& its_limit = is_configured ? configured_answer_limit : limit;
  if (answers.size() >= room || !its_limit.Take(now)) {
    ++counters.stateless_suppressed;
    return;
  }
  ++counter;
  answers.push_back({path, std::move(payload)});
}

void QuicEndpoint::Impl::OnUnroutable(Time now, const Path& path, absl::Span<const uint8_t> payload,
                                      bool long_header, QuicEvents& out) {
  if (long_header) {
    OnFirstPacket(now, path, payload);
    return;
  }
  if (OfferAsReset(now, path, payload, out)) return;
  ++counters.datagrams_unroutable;
  AnswerWithReset(now, path, payload.subspan(1, kLocalCidBytes), payload.size());
}

bool QuicEndpoint::Impl::OfferAsReset(Time now, const Path& path, absl::Span<const uint8_t> payload,
                                      QuicEvents& out) {
  if (payload.size() < kResetBytesMin) return false;
  std::vector<ConnectionId> candidates;
  for (auto it = dialled_to.lower_bound({path.remote, ConnectionId{}});
       it != dialled_to.end() && it->first == path.remote &&
       candidates.size() < kResetCandidatesMax;
       ++it) {
    candidates.push_back(it->second);
  }
  for (const ConnectionId id : candidates) {
    const QuicConnection& connection = *connections.at(id).connection;
    if (connection.is_closed()) continue;
    Feed(now, id, path, payload, out);
    if (connection.is_closed()) return true;
  }
  return false;
}

void QuicEndpoint::Impl::AnswerWithReset(Time now, const Path& path, absl::Span<const uint8_t> dcid,
                                         size_t bytes) {
  // R4: smaller than what it answers, or two endpoints could answer each other for ever.
  const size_t size = std::min(kResetBytesMax, bytes - 1);
  if (size < kResetBytesMin) return;
  const ngtcp2_cid cid = ToNgCid(QuicCid::Of(dcid));
  std::array<uint8_t, NGTCP2_STATELESS_RESET_TOKENLEN> token;
  const auto& secret = identity.reset_secret();
  if (ngtcp2_crypto_generate_stateless_reset_token(token.data(), secret.data(), secret.size(),
                                                   &cid) != 0) {
    return;
  }
  std::vector<uint8_t> filler(size - token.size());
  FillUnpredictable(random, absl::MakeSpan(filler));
  std::vector<uint8_t> packet(size);
  packet.resize(Nonnegative(ngtcp2_pkt_write_stateless_reset(
      packet.data(), packet.size(), token.data(), filler.data(), filler.size())));
  Answer(now, path, std::move(packet), reset_limit, counters.resets_sent);
}

void QuicEndpoint::Impl::AnswerWithVersions(Time now, const Path& path,
                                            const ngtcp2_version_cid& header) {
  ++counters.datagrams_unroutable;
  if (!accepting) return;
  const uint32_t versions[] = {NGTCP2_PROTO_VER_V1};
  std::vector<uint8_t> packet(512 + 2 * 255);
  packet.resize(Nonnegative(ngtcp2_pkt_write_version_negotiation(
      packet.data(), packet.size(), static_cast<uint8_t>(random.Below(256)), header.scid,
      header.scidlen, header.dcid, header.dcidlen, versions, std::size(versions))));
  Answer(now, path, std::move(packet), answer_limit, counters.version_negotiations_sent);
}

void QuicEndpoint::Impl::AnswerWithRetry(Time now, const Path& path, const ngtcp2_pkt_hd& header) {
  const ngtcp2_cid scid = ToNgCid(NewLocalCid(random));
  const sockaddr_in6 remote = ToSockaddr(path.remote);
  const auto& secret = identity.retry_secret();
  std::array<uint8_t, NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2> token;
  const ngtcp2_ssize token_bytes = ngtcp2_crypto_generate_retry_token2(
      token.data(), secret.data(), secret.size(), header.version,
      reinterpret_cast<const ngtcp2_sockaddr*>(&remote), sizeof(remote), &scid, &header.dcid,
      static_cast<ngtcp2_tstamp>(now.time_since_epoch().count()));
  if (token_bytes < 0) return;
  std::vector<uint8_t> packet(kDatagramBytesMax);
  packet.resize(Nonnegative(
      ngtcp2_crypto_write_retry(packet.data(), packet.size(), header.version, &header.scid, &scid,
                                &header.dcid, token.data(), static_cast<size_t>(token_bytes))));
  Answer(now, path, std::move(packet), answer_limit, counters.retries_sent);
}

bool QuicEndpoint::Impl::CheckToken(Time now, const Path& path, const ngtcp2_pkt_hd& header,
                                    std::optional<QuicCid>& retried_dcid) {
  const bool is_retry_token =
      header.tokenlen > 0 && header.token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2;
  if (!is_retry_token) {
    if (half_open.size() + waiting.size() < kRetryThreshold) return true;
    AnswerWithRetry(now, path, header);
    return false;
  }
  const sockaddr_in6 remote = ToSockaddr(path.remote);
  const auto& secret = identity.retry_secret();
  ngtcp2_cid original;
  const int rv = ngtcp2_crypto_verify_retry_token2(
      &original, header.token, header.tokenlen, secret.data(), secret.size(), header.version,
      reinterpret_cast<const ngtcp2_sockaddr*>(&remote), sizeof(remote), &header.dcid,
      static_cast<ngtcp2_duration>(kRetryTokenLifetime.count()),
      static_cast<ngtcp2_tstamp>(now.time_since_epoch().count()));
  if (rv == 0) {
    retried_dcid = FromNgCid(original);
    return true;
  }
  ++counters.tokens_refused;
  std::vector<uint8_t> packet(kDatagramBytesMax);
  packet.resize(Nonnegative(
      ngtcp2_crypto_write_connection_close(packet.data(), packet.size(), header.version,
                                           &header.scid, &header.dcid, kInvalidToken, nullptr, 0)));
  uint64_t not_counted = 0;
  Answer(now, path, std::move(packet), answer_limit, not_counted);
  return false;
}

size_t QuicEndpoint::Impl::HandshakesOf(const std::array<uint8_t, 16>& group) const {
  auto it = half_open_per_group.find(group);
  return it == half_open_per_group.end() ? 0 : it->second.all;
}

void QuicEndpoint::Impl::OnFirstPacket(Time now, const Path& path,
                                       absl::Span<const uint8_t> payload) {
  ngtcp2_pkt_hd header;
  if (!accepting || ngtcp2_accept(&header, payload.data(), payload.size()) != 0) {
    ++counters.datagrams_unroutable;
    return;
  }
  std::optional<QuicCid> retried_dcid;
  if (!CheckToken(now, path, header, retried_dcid)) return;
  Queue({path, {payload.begin(), payload.end()}, AddressGroup(path.remote), retried_dcid});
}

// The same rules as for handshakes in flight: over the limit of its address the oldest of it goes,
// over the total the oldest that has no reserved place.
void QuicEndpoint::Impl::Queue(Waiting first_datagram) {
  const auto same_group = [&](const Waiting& w) { return w.group == first_datagram.group; };
  const auto is_ordinary = [](const Waiting& w) { return !w.reserved; };
  const auto refuse = [this](std::deque<Waiting>::iterator loser) {
    if (loser->reserved) --reserved_waiting;
    waiting.erase(loser);
    ++counters.handshakes_refused_queue;
  };
  const auto of_group = std::count_if(waiting.begin(), waiting.end(), same_group);
  if (static_cast<size_t>(of_group) >= kHandshakesPerAddressMax) {
    refuse(std::find_if(waiting.begin(), waiting.end(), same_group));
  }
  first_datagram.reserved =
      configured.contains(first_datagram.group) && reserved_waiting < kHandshakesReserved;
  if (first_datagram.reserved) {
    ++reserved_waiting;
  } else if (waiting.size() - reserved_waiting >= kHandshakeQueueMax - kHandshakesReserved) {
    refuse(std::find_if(waiting.begin(), waiting.end(), is_ordinary));
  }
  waiting.push_back(std::move(first_datagram));
}

void QuicEndpoint::Impl::MakeRoomForHandshake(const std::array<uint8_t, 16>& group, bool reserved,
                                              QuicEvents& out) {
  const bool group_full = HandshakesOf(group) >= kHandshakesPerAddressMax;
  const size_t ordinary = half_open.size() - reserved_in_flight;
  const bool total_full = !reserved && ordinary >= kHandshakesMax - kHandshakesReserved;
  if (!group_full && !total_full) return;
  std::array<uint8_t, 16> loser = group;
  if (!group_full) {
    loser = std::max_element(
                half_open_per_group.begin(), half_open_per_group.end(),
                [](const auto& a, const auto& b) { return a.second.ordinary < b.second.ordinary; })
                ->first;
  }
  // Ids grow, so the first of the group is the oldest.
  for (const ConnectionId id : half_open) {
    Entry& entry = connections.at(id);
    if (entry.half_open_group != loser || (!group_full && entry.reserved)) continue;
    ++counters.handshakes_evicted;
    Touch(id, entry);
    entry.connection->Drop(CloseCause::kEvicted, out);
    break;
  }
  Settle();
}

void QuicEndpoint::Impl::Begin(Time now, const Waiting& first_datagram, QuicEvents& out) {
  const Path& path = first_datagram.path;
  const absl::Span<const uint8_t> payload = first_datagram.payload;
  ngtcp2_pkt_hd header;
  if (ngtcp2_accept(&header, payload.data(), payload.size()) != 0) return;
  const QuicCid dcid = FromNgCid(header.dcid);
  // The second copy, or the second part, of a handshake that has begun since it came.
  if (auto route = routes.find(dcid); route != routes.end()) {
    Feed(now, route->second, path, payload, out);
    return;
  }
  const bool reserved =
      configured.contains(first_datagram.group) && reserved_in_flight < kHandshakesReserved;
  MakeRoomForHandshake(first_datagram.group, reserved, out);
  if (connections.size() >= connections_max) {
    ++counters.handshakes_refused_queue;
    return;
  }
  QuicConnection::AcceptParams params;
  params.id = ConnectionId{next_id++};
  params.path = path;
  params.version = header.version;
  params.client_scid = FromNgCid(header.scid);
  params.initial_dcid = dcid;
  params.retried_dcid = first_datagram.retried_dcid;
  params.token.assign(header.token, header.token + header.tokenlen);
  absl::StatusOr<std::unique_ptr<QuicConnection>> connection =
      QuicConnection::Accept(now, params, settings.quic, identity, random.Fork(params.id.value));
  if (!connection.ok()) {
    ++counters.handshakes_refused_queue;
    return;
  }
  ++counters.handshakes_begun;
  Entry& entry = Insert(*std::move(connection));
  entry.half_open_group = first_datagram.group;
  entry.reserved = reserved;
  half_open.insert(params.id);
  Held& held = half_open_per_group[first_datagram.group];
  ++held.all;
  ++(reserved ? reserved_in_flight : held.ordinary);
  Settle();
  Feed(now, params.id, path, payload, out);
  Settle();
}

void QuicEndpoint::SetConfigured(absl::Span<const SocketAddress> addresses) {
  impl_->configured.clear();
  for (const SocketAddress& address : addresses) impl_->configured.insert(AddressGroup(address));
}

bool QuicEndpoint::AcceptWaiting(Time now, QuicEvents& out) {
  Impl& impl = *impl_;
  impl.last_now = std::max(impl.last_now, now);
  // One a call: the owner looks at class 0 between two of them.
  if (!impl.waiting.empty() && impl.handshake_limit.Take(now)) {
    auto next = std::find_if(impl.waiting.begin(), impl.waiting.end(),
                             [](const Impl::Waiting& w) { return w.reserved; });
    if (next == impl.waiting.end()) next = impl.waiting.begin();
    const Impl::Waiting first = std::move(*next);
    impl.waiting.erase(next);
    if (first.reserved) --impl.reserved_waiting;
    impl.Begin(now, first, out);
  }
  return !impl.waiting.empty() && impl.handshake_limit.Available(now);
}

}  // namespace overlay::transport
