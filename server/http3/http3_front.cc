#include "server/http3/http3_front.h"

#include <algorithm>
#include <variant>

#include "flood/base/check.h"

namespace overlay::server {

using transport::ConnectionId;
using transport::QuicConnection;
using transport::QuicEvent;

namespace {

// Half-open connections beside those that are admitted: with fewer a flood of spoofed addresses,
// none of which has to prove itself before kRetryThreshold of them, would keep out everybody.
constexpr size_t kHalfOpenRoom = 2 * transport::kRetryThreshold;

transport::EndpointSettings SettingsOf(const Http3Limits& limits) {
  transport::EndpointSettings settings;
  settings.connections_max = limits.connections_max + kHalfOpenRoom;
  transport::QuicSettings& quic = settings.quic;
  // Control and two of QPACK, and some that nobody knows (RFC 9114, 6.2.3).
  quic.uni_streams = 8;
  quic.bidi_streams = kHttp3StreamsMax;
  quic.connection_window_bytes = kHttp3ConnectionWindowBytes;
  quic.uni_stream_window_bytes = kHttp3StreamWindowBytes;
  quic.bidi_remote_window_bytes = kHttp3StreamWindowBytes;
  quic.bidi_local_window_bytes = 0;  // we open none
  quic.idle_timeout = kHttp3IdleTimeout;
  quic.keep_alive = Duration(0);
  return settings;
}

// An IPv4 address, or the /64 of an IPv6 one: what one host or one customer has.
std::array<uint8_t, 16> GroupOf(const SocketAddress& address) {
  std::array<uint8_t, 16> group = address.ip;
  if (!address.is_v4()) std::fill(group.begin() + 8, group.end(), uint8_t{0});
  return group;
}

HttpPage TooManyPage(int status) {
  HttpPage page = PlainPage(status, "too many requests\n");
  page.headers.emplace_back("retry-after", "1");
  return page;
}

}  // namespace

Http3Front::Http3Front(const Http3Limits& limits, const transport::TlsIdentity& identity,
                       Random random, Http3Counters& counters)
    : limits_(limits),
      counters_(counters),
      budget_(counters.body_bytes),
      endpoint_(SettingsOf(limits), identity, random),
      requests_(limits.requests_per_second_max, Time{}) {}

// ---- inputs

void Http3Front::OnDatagram(Time now, const transport::Path& path,
                            absl::Span<const uint8_t> payload) {
  counters_.received_bytes.Add(payload.size());
  endpoint_.OnDatagram(now, path, payload, events_);
  Handle(now);
}

void Http3Front::OnTurn(Time now) {
  endpoint_.OnDeadline(now, events_);
  Handle(now);
  while (endpoint_.AcceptWaiting(now, events_)) {
  }
  Handle(now);
  std::vector<ConnectionId> due;
  for (const auto& [id, connection] : connections_) {
    const std::optional<Time> at = connection->session.NextDeadline();
    if (at && *at <= now) due.push_back(id);
  }
  for (const ConnectionId id : due) {
    QuicConnection* const quic = endpoint_.Mutable(id);
    if (quic != nullptr) End(now, id, connections_.at(id)->session.OnDeadline(now, *quic));
  }
  if (is_draining_) CloseDrained(now);
  Handle(now);
  CopyCounters();
}

void Http3Front::Handle(Time now) {
  // By index: what is found may close connections, which is told by more events.
  size_t handled = 0;
  while (handled < events_.list().size()) {
    const QuicEvent event = events_.list()[handled++];
    HandleOne(now, event);
  }
  events_.Clear();
}

void Http3Front::HandleOne(Time now, const QuicEvent& event) {
  const ConnectionId id = event.connection;
  if (std::holds_alternative<transport::HandshakeConfirmed>(event.what)) {
    Admit(now, id);
    return;
  }
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  if (std::holds_alternative<transport::ConnectionClosed>(event.what)) {
    Remove(id);
    return;
  }
  QuicConnection* const quic = endpoint_.Mutable(id);
  if (quic == nullptr || quic->is_closed()) return;
  Connection& connection = *it->second;
  Http3Session& session = connection.session;
  std::optional<Http3Session::End> end;
  if (const auto* data = std::get_if<transport::StreamData>(&event.what)) {
    end = session.OnStreamData(now, *quic, *data);
    if (!end) TakeRequests(now, id, connection);
  } else if (const auto* reset = std::get_if<transport::StreamReset>(&event.what)) {
    end = session.OnStreamReset(*quic, reset->stream);
  } else if (const auto* acked = std::get_if<transport::StreamAcked>(&event.what)) {
    end = session.OnAcked(now, *acked);
  } else if (const auto* closed = std::get_if<transport::StreamClosed>(&event.what)) {
    end = session.OnStreamClosed(*quic, *closed);
  }
  if (session.has_output()) with_output_.insert(id);
  End(now, id, end);
}

void Http3Front::Admit(Time now, ConnectionId id) {
  QuicConnection* const quic = endpoint_.Mutable(id);
  if (quic == nullptr || quic->is_closed()) return;
  const Group group = GroupOf(quic->path().remote);
  if (is_draining_ || !MakeRoom(now, group)) {
    counters_.connections_refused.Add();
    quic->Close(now, NGHTTP3_H3_EXCESSIVE_LOAD, "too many connections", events_);
    return;
  }
  counters_.connections_accepted.Add();
  const uint64_t share =
      std::max<uint64_t>(1, limits_.requests_per_second_max / kHttp3ConnectionShare);
  auto made = std::make_unique<Connection>(budget_, counters_, TokenBucket(share, now));
  made->group = group;
  made->last_asked = now;
  Connection& connection = *made;
  connections_[id] = std::move(made);
  ++per_group_[group];
  counters_.connections.Set(connections_.size());
  const auto end = connection.session.Start(*quic);
  with_output_.insert(id);
  End(now, id, end);
}

bool Http3Front::MakeRoom(Time now, const Group& group) {
  const auto of_group = per_group_.find(group);
  if (of_group != per_group_.end() && of_group->second >= limits_.connections_per_address_max()) {
    return Displace(now, group);
  }
  if (connections_.size() < limits_.connections_max) return true;
  const auto most =
      std::max_element(per_group_.begin(), per_group_.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return Displace(now, most->first);
}

bool Http3Front::Displace(Time now, const Group& group) {
  std::optional<ConnectionId> victim;
  for (const auto& [id, connection] : connections_) {
    if (connection->group != group || connection->session.under_way() > 0) continue;
    if (!victim || connection->last_asked < connections_.at(*victim)->last_asked) victim = id;
  }
  if (!victim) return false;
  counters_.connections_displaced.Add();
  QuicConnection* const quic = endpoint_.Mutable(*victim);
  if (quic != nullptr) quic->Close(now, NGHTTP3_H3_NO_ERROR, "idle", events_);
  Remove(*victim);
  return true;
}

// R2.
void Http3Front::TakeRequests(Time now, ConnectionId id, Connection& connection) {
  for (Http3Session::Asked& asked : connection.session.TakeAsked()) {
    connection.last_asked = now;
    const Http3Ticket ticket{id, asked.stream};
    if (!connection.requests.Take(now)) {
      counters_.Count(Http3Refusal::kRate);
      Respond(now, ticket, TooManyPage(429));
    } else if (!requests_.Take(now)) {
      counters_.Count(Http3Refusal::kRate);
      Respond(now, ticket, TooManyPage(503));
    } else {
      asked_.push_back({ticket, std::move(asked.request)});
    }
  }
}

void Http3Front::Respond(Time now, const Http3Ticket& ticket, HttpPage page) {
  const auto it = connections_.find(ticket.connection);
  if (it == connections_.end()) return;
  const auto end = it->second->session.Respond(now, ticket.stream, std::move(page));
  with_output_.insert(ticket.connection);
  End(now, ticket.connection, end);
}

// ---- the end of connections

void Http3Front::End(Time now, ConnectionId id, const std::optional<Http3Session::End>& end) {
  if (!end) return;
  (end->stalled ? counters_.connections_stalled : counters_.connections_failed).Add();
  QuicConnection* const quic = endpoint_.Mutable(id);
  if (quic != nullptr) quic->Close(now, end->code, end->reason, events_);
}

void Http3Front::Remove(ConnectionId id) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  const auto group = per_group_.find(it->second->group);
  if (--group->second == 0) per_group_.erase(group);
  with_output_.erase(id);
  connections_.erase(it);
  counters_.connections.Set(connections_.size());
}

void Http3Front::BeginDrain(Time now) {
  if (is_draining_) return;
  is_draining_ = true;
  drain_ends_ = now + kHttp3DrainMax;
  endpoint_.StopAccepting();
  for (const auto& [id, connection] : connections_) {
    connection->session.Goaway();
    with_output_.insert(id);
  }
}

// R5.
void Http3Front::CloseDrained(Time now) {
  for (const auto& [id, connection] : connections_) {
    const bool is_done = connection->session.under_way() == 0 && !with_output_.contains(id);
    if (!is_done && now < drain_ends_) continue;
    QuicConnection* const quic = endpoint_.Mutable(id);
    if (quic != nullptr) quic->Close(now, NGHTTP3_H3_NO_ERROR, "shutting down", events_);
  }
}

// ---- output

bool Http3Front::Write(Time now, transport::DatagramSink& sink) {
  for (const ConnectionId id : endpoint_.NeedFlush()) {
    const auto it = connections_.find(id);
    if (it == connections_.end()) continue;
    // What was read may have brought credit; of the connection's nothing is told.
    it->second->session.Unblock();
    with_output_.insert(id);
  }
  bool more = false;
  for (const ConnectionId id :
       std::vector<ConnectionId>(with_output_.begin(), with_output_.end())) {
    const auto it = connections_.find(id);
    if (it == connections_.end()) continue;
    it->second->session.BeginPass(now);
    const transport::WritePass pass{.bytes_max = kHttp3WritePassBytes};
    const transport::WriteResult result =
        endpoint_.Drain(now, id, sink, &it->second->session, pass, events_);
    counters_.sent_bytes.Add(result.bytes);
    if (result.stop == transport::WriteStop::kSinkBlocked) break;
    if (result.stop == transport::WriteStop::kBudget) {
      more = true;
    } else {
      with_output_.erase(id);
    }
    End(now, id, it->second->session.failure());
  }
  endpoint_.DrainDatagrams(now, sink, events_);
  Handle(now);
  return more;
}

std::optional<Time> Http3Front::NextDeadline() {
  std::optional<Time> next = endpoint_.NextDeadline();
  const auto consider = [&next](std::optional<Time> at) {
    if (at) next = next ? std::min(*next, *at) : *at;
  };
  for (const auto& [id, connection] : connections_) consider(connection->session.NextDeadline());
  if (is_draining_ && !connections_.empty()) consider(drain_ends_);
  return next;
}

void Http3Front::CopyCounters() {
  const transport::EndpointCounters& of = endpoint_.counters();
  counters_.handshakes_begun.Set(of.handshakes_begun);
  counters_.handshakes_evicted.Set(of.handshakes_evicted + of.handshakes_refused_queue);
  counters_.retries_sent.Set(of.retries_sent);
  counters_.datagrams_unroutable.Set(of.datagrams_unroutable);
  counters_.datagrams_received.Set(of.datagrams_received);
}

void Http3Front::CheckInvariants() const {
  endpoint_.CheckInvariants();
  size_t grouped = 0;
  for (const auto& [group, count] : per_group_) {
    OVERLAY_CHECK(count > 0 && count <= limits_.connections_per_address_max());
    grouped += count;
  }
  OVERLAY_CHECK(grouped == connections_.size());
  OVERLAY_CHECK(connections_.size() <= limits_.connections_max);
  OVERLAY_CHECK(counters_.body_bytes.value() <= kHttp3BodyBytesMax);
}

}  // namespace overlay::server
