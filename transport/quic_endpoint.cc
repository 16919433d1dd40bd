#include "transport/quic_endpoint.h"

#include "flood/base/check.h"
#include "fmt/format.h"
#include "transport/quic_endpoint_impl.h"

namespace overlay::transport {
namespace {

// A timer of ngtcp2 that stays in the past although it was handled is asked again after this time,
// so that no mistake of ours or of its makes the loop spin.
constexpr Duration kStuckTimerRetry = std::chrono::milliseconds(1);

}  // namespace

QuicEndpoint::Impl::Entry* QuicEndpoint::Impl::FindEntry(ConnectionId id) {
  auto it = connections.find(id);
  return it == connections.end() ? nullptr : &it->second;
}

QuicEndpoint::Impl::Entry& QuicEndpoint::Impl::Insert(std::unique_ptr<QuicConnection> connection) {
  const ConnectionId id = connection->id();
  Entry& entry = connections[id];
  entry.connection = std::move(connection);
  Touch(id, entry);
  return entry;
}

void QuicEndpoint::Impl::Touch(ConnectionId id, Entry& entry) {
  if (entry.touched) return;
  entry.touched = true;
  touched.push_back(id);
}

void QuicEndpoint::Impl::Settle() {
  // By index: removing does not add to the list, but nothing should depend on that.
  for (size_t i = 0; i < touched.size(); ++i) {
    const ConnectionId id = touched[i];
    Entry* entry = FindEntry(id);
    if (entry == nullptr) continue;
    entry->touched = false;
    SettleOne(id, *entry);
    if (entry->connection->is_dead()) Remove(id);
  }
  touched.clear();
}

void QuicEndpoint::Impl::SettleOne(ConnectionId id, Entry& entry) {
  QuicConnection& connection = *entry.connection;
  for (const CidChange& change : connection.TakeCidChanges()) {
    if (change.added) {
      // Another connection's id is never taken over: the client chose its first one freely.
      if (routes.try_emplace(change.cid, id).second) entry.cids.push_back(change.cid);
    } else if (auto it = routes.find(change.cid); it != routes.end() && it->second == id) {
      routes.erase(it);
      std::erase(entry.cids, change.cid);
    }
  }
  if (entry.half_open_group && (connection.handshake_completed() || connection.is_closed())) {
    if (connection.handshake_completed()) ++counters.handshakes_completed;
    half_open.erase(id);
    auto group = half_open_per_group.find(*entry.half_open_group);
    if (entry.reserved) {
      --reserved_in_flight;
    } else {
      --group->second.ordinary;
    }
    if (--group->second.all == 0) half_open_per_group.erase(group);
    entry.half_open_group.reset();
    entry.reserved = false;
  }
  const bool flush = connection.needs_flush();
  if (flush != entry.flush) {
    entry.flush = flush;
    if (flush) {
      to_flush.insert(id);
    } else {
      to_flush.erase(id);
    }
  }
  const std::optional<Time> deadline = connection.NextDeadline();
  if (deadline != entry.deadline) {
    if (entry.deadline) deadlines.erase({*entry.deadline, id});
    if (deadline) deadlines.insert({*deadline, id});
    entry.deadline = deadline;
  }
}

void QuicEndpoint::Impl::Remove(ConnectionId id) {
  auto it = connections.find(id);
  Entry& entry = it->second;
  for (const QuicCid& cid : entry.cids) routes.erase(cid);
  if (entry.deadline) deadlines.erase({*entry.deadline, id});
  if (entry.dialled) dialled_to.erase({*entry.dialled, id});
  to_flush.erase(id);
  connections.erase(it);
}

void QuicEndpoint::Impl::Feed(Time now, ConnectionId id, const Path& path,
                              absl::Span<const uint8_t> payload, QuicEvents& out) {
  Entry* entry = FindEntry(id);
  if (entry == nullptr) return;
  Touch(id, *entry);
  // A dialled connection knows one constant local address, the wildcard, and drops what names
  // another.
  const Path seen = entry->dialled ? Path{SocketAddress{}, path.remote} : path;
  const bool was_closed = entry->connection->is_closed();
  const ReadOutcome outcome = entry->connection->OnDatagram(now, seen, payload, out);
  if (outcome == ReadOutcome::kSendRetry) {
    // ngtcp2 asks for it without load too, when a ClientHello comes in parts.
    ngtcp2_pkt_hd header;
    if (ngtcp2_accept(&header, payload.data(), payload.size()) == 0) {
      AnswerWithRetry(now, path, header);
    }
    return;
  }
  if (!was_closed && entry->connection->is_closed() && !out.empty()) {
    const auto* closed = std::get_if<ConnectionClosed>(&out.list().back().what);
    if (closed != nullptr && closed->info.cause == CloseCause::kStatelessReset) {
      ++counters.resets_received;
    }
  }
}

QuicEndpoint::QuicEndpoint(const EndpointSettings& settings, const TlsIdentity& identity,
                           Random random)
    : impl_(std::make_unique<Impl>(settings, identity, std::move(random))) {
  impl_->accepting = settings.accept;
}
QuicEndpoint::~QuicEndpoint() = default;

const QuicConnection* QuicEndpoint::Find(ConnectionId id) const {
  Impl::Entry* entry = impl_->FindEntry(id);
  return entry == nullptr ? nullptr : entry->connection.get();
}
size_t QuicEndpoint::connection_count() const { return impl_->connections.size(); }
size_t QuicEndpoint::handshakes_in_flight() const { return impl_->half_open.size(); }
size_t QuicEndpoint::handshakes_waiting() const { return impl_->waiting.size(); }
const EndpointCounters& QuicEndpoint::counters() const { return impl_->counters; }

std::vector<ConnectionId> QuicEndpoint::NeedFlush() const {
  impl_->Settle();
  return {impl_->to_flush.begin(), impl_->to_flush.end()};
}

std::optional<Time> QuicEndpoint::NextDeadline() {
  impl_->Settle();
  std::optional<Time> next;
  for (const auto& [deadline, id] : impl_->deadlines) {
    if (impl_->to_flush.contains(id)) continue;
    next = deadline <= impl_->last_now ? impl_->last_now + kStuckTimerRetry : deadline;
    break;
  }
  if (!impl_->waiting.empty()) {
    const Time at = impl_->handshake_limit.NextAt(impl_->last_now);
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

void QuicEndpoint::OnDatagram(Time now, const Path& path, absl::Span<const uint8_t> payload,
                              QuicEvents& out) {
  Impl& impl = *impl_;
  impl.last_now = std::max(impl.last_now, now);
  ++impl.counters.datagrams_received;
  impl.Settle();
  if (payload.empty()) {  // legal UDP; ngtcp2 would abort
    ++impl.counters.datagrams_unroutable;
    return;
  }
  ngtcp2_version_cid header;
  const int rv =
      ngtcp2_pkt_decode_version_cid(&header, payload.data(), payload.size(), kLocalCidBytes);
  if (rv == NGTCP2_ERR_VERSION_NEGOTIATION) {
    impl.AnswerWithVersions(now, path, header);
    return;
  }
  if (rv != 0) {
    ++impl.counters.datagrams_unroutable;
    return;
  }
  if (header.dcidlen <= NGTCP2_MAX_CIDLEN) {
    auto route = impl.routes.find(QuicCid::Of(absl::MakeConstSpan(header.dcid, header.dcidlen)));
    if (route != impl.routes.end()) {
      impl.Feed(now, route->second, path, payload, out);
      return;
    }
  }
  impl.OnUnroutable(now, path, payload, (payload[0] & 0x80) != 0, out);
}

void QuicEndpoint::OnDeadline(Time now, QuicEvents& out) {
  Impl& impl = *impl_;
  impl.last_now = std::max(impl.last_now, now);
  impl.Settle();
  std::vector<ConnectionId> due;
  for (const auto& [deadline, id] : impl.deadlines) {
    if (deadline > now) break;
    due.push_back(id);
  }
  for (const ConnectionId id : due) {
    Impl::Entry* entry = impl.FindEntry(id);
    impl.Touch(id, *entry);
    entry->connection->OnDeadline(now, out);
  }
  impl.Settle();
}

QuicConnection* QuicEndpoint::Mutable(ConnectionId id) {
  Impl::Entry* entry = impl_->FindEntry(id);
  if (entry == nullptr) return nullptr;
  impl_->Touch(id, *entry);
  return entry->connection.get();
}

absl::StatusOr<ConnectionId> QuicEndpoint::Dial(Time now, const SocketAddress& remote,
                                                const std::optional<NodeKey>& pinned) {
  Impl& impl = *impl_;
  impl.last_now = std::max(impl.last_now, now);
  if (remote.is_unspecified() || remote.port == 0) {
    return absl::InvalidArgumentError(fmt::format("cannot dial {}", remote.ToString()));
  }
  impl.Settle();
  if (impl.connections.size() >= impl.connections_max) {
    return absl::ResourceExhaustedError(
        fmt::format("{} connections are open", impl.connections_max));
  }
  const ConnectionId id{impl.next_id++};
  const QuicConnection::DialParams params{
      .id = id, .path = {SocketAddress{}, remote}, .pinned = pinned};
  absl::StatusOr<std::unique_ptr<QuicConnection>> connection = QuicConnection::Dial(
      now, params, impl.settings.quic, impl.identity, impl.random.Fork(id.value));
  if (!connection.ok()) return connection.status();
  Impl::Entry& entry = impl.Insert(*std::move(connection));
  entry.dialled = remote;
  impl.dialled_to.insert({remote, id});
  return id;
}

void QuicEndpoint::StopAccepting() {
  impl_->accepting = false;
  impl_->waiting.clear();
}

void QuicEndpoint::CloseAll(Time now, uint64_t code, std::string_view reason, QuicEvents& out) {
  for (auto& [id, entry] : impl_->connections) {
    impl_->Touch(id, entry);
    entry.connection->Close(now, code, reason, out);
  }
}

WriteResult QuicEndpoint::Drain(Time now, ConnectionId id, DatagramSink& sink, StreamSource* source,
                                const WritePass& pass, QuicEvents& out) {
  Impl::Entry* entry = impl_->FindEntry(id);
  if (entry == nullptr) return {};
  impl_->Touch(id, *entry);
  return entry->connection->DrainDatagrams(now, sink, source, pass, out);
}

void QuicEndpoint::DrainDatagrams(Time now, DatagramSink& sink, QuicEvents& out) {
  Impl& impl = *impl_;
  impl.last_now = std::max(impl.last_now, now);
  while (!impl.answers.empty()) {
    const absl::Span<uint8_t> room = sink.Buffer();
    if (room.empty()) break;
    const Impl::StatelessAnswer& answer = impl.answers.front();
    std::copy(answer.payload.begin(), answer.payload.end(), room.begin());
    sink.Commit(answer.path, answer.payload.size(), answer.payload.size());
    impl.answers.pop_front();
  }
  // R7: they wait for no one; their senders will ask again.
  impl.answers.clear();
  impl.Settle();
  const std::vector<ConnectionId> ids(impl.to_flush.begin(), impl.to_flush.end());
  for (const ConnectionId id : ids) {
    const WriteResult result = Drain(now, id, sink, nullptr, WritePass{}, out);
    if (result.stop == WriteStop::kSinkBlocked) break;
  }
  impl.Settle();
}

void QuicEndpoint::RaiseConnectionsMax(size_t count) {
  impl_->connections_max = std::max(impl_->connections_max, count);
}

void QuicEndpoint::CheckInvariants() const {
  impl_->Settle();
  const Impl& impl = *impl_;
  size_t routes = 0;
  size_t half_open = 0;
  size_t flush = 0;
  size_t deadlines = 0;
  for (const auto& [id, entry] : impl.connections) {
    OVERLAY_CHECK(entry.connection->id() == id);
    OVERLAY_CHECK(!entry.connection->is_dead());
    for (const QuicCid& cid : entry.cids) OVERLAY_CHECK(impl.routes.at(cid) == id);
    routes += entry.cids.size();
    half_open += entry.half_open_group ? 1 : 0;
    flush += entry.flush ? 1 : 0;
    deadlines += entry.deadline ? 1 : 0;
    if (entry.half_open_group) OVERLAY_CHECK(impl.half_open.contains(id));
    if (entry.deadline) OVERLAY_CHECK(impl.deadlines.contains({*entry.deadline, id}));
  }
  OVERLAY_CHECK(routes == impl.routes.size());
  OVERLAY_CHECK(half_open == impl.half_open.size());
  OVERLAY_CHECK(flush == impl.to_flush.size());
  OVERLAY_CHECK(deadlines == impl.deadlines.size());
  size_t grouped = 0;
  size_t ordinary = 0;
  for (const auto& [group, held] : impl.half_open_per_group) {
    OVERLAY_CHECK(held.all > 0 && held.all <= kHandshakesPerAddressMax);
    grouped += held.all;
    ordinary += held.ordinary;
  }
  OVERLAY_CHECK(grouped == half_open);
  OVERLAY_CHECK(ordinary + impl.reserved_in_flight == half_open);
  OVERLAY_CHECK(impl.reserved_in_flight <= kHandshakesReserved);
  OVERLAY_CHECK(ordinary <= kHandshakesMax - kHandshakesReserved);
  OVERLAY_CHECK(impl.reserved_waiting <= kHandshakesReserved);
  OVERLAY_CHECK(impl.waiting.size() - impl.reserved_waiting <=
                kHandshakeQueueMax - kHandshakesReserved);
  OVERLAY_CHECK(impl.answers.size() <= kStatelessQueueMax);
  OVERLAY_CHECK(impl.connections.size() <= impl.connections_max);
}

}  // namespace overlay::transport
