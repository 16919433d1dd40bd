// server/http3/http3_front.h
//
// The HTTP/3 window without IO: all its connections behind one UDP port. Datagrams and pages go in,
// datagrams and requests come out.
//
// A turn of the owner
//   OnDatagram() for what came in; Respond() with the pages that are made; OnTurn(); TakeAsked();
//   Write(); sleep until NextDeadline().
//
// Rules
//   R1  At most connections_max connections, and connections_per_address_max of one address (IPv6:
//       one /64). At a limit the newcomer displaces the connection that has been without a request
//       for longest, of its own address, or of the one that holds most; where all are at work the
//       newcomer is refused. Why: who holds a place and does nothing loses it.
//   R2  Requests of one connection over its share of requests_per_second_max get 429, all together
//       over it 503, both with Retry-After. Why: the pages cost the daemon's loop something.
//   R3  Each connection writes kHttp3WritePassBytes a turn. Why: a set of 10 MB must not hold up
//       /readyz.
//   R4  What the handshakes may cost is the endpoint's to bound: how many, of one address, a
//       second, and from when on an address must prove itself by a Retry (quic_endpoint.h).
//   R5  A drain says GOAWAY, answers what is under way for kHttp3DrainMax, and closes.
//
// Bounds   connections_max x (50 kB + what http3_session.h says), kHttp3BodyBytesMax of bodies.
// Time     argument only.
// Threads  none: the window's.
// Not here the socket, the threads (http3_server.h), what the pages are.
#ifndef OVERLAY_SERVER_HTTP3_HTTP3_FRONT_H_
#define OVERLAY_SERVER_HTTP3_HTTP3_FRONT_H_

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "flood/base/random.h"
#include "flood/base/time.h"
#include "server/http3/http3_limits.h"
#include "server/http3/http3_session.h"
#include "server/http3/token_bucket.h"
#include "server/http_page.h"
#include "transport/quic_endpoint.h"
#include "transport/tls_identity.h"

namespace overlay::server {

// Names a request while it is under way.
struct Http3Ticket {
  transport::ConnectionId connection;
  transport::StreamId stream = 0;

  friend auto operator<=>(const Http3Ticket&, const Http3Ticket&) = default;
};

struct Http3Asked {
  Http3Ticket ticket;
  HttpRequest request;
};

class Http3Front {
 public:
  // `identity` and `counters` must outlive it. `random` from secret bytes.
  Http3Front(const Http3Limits& limits, const transport::TlsIdentity& identity, Random random,
             Http3Counters& counters);

  // ---- inputs
  void OnDatagram(Time now, const transport::Path& path, absl::Span<const uint8_t> payload);
  void OnTurn(Time now);
  // Each ticket once; one whose client has gone is let be.
  void Respond(Time now, const Http3Ticket& ticket, HttpPage page);
  void BeginDrain(Time now);

  // ---- output
  std::vector<Http3Asked> TakeAsked() { return std::exchange(asked_, {}); }
  // True: more could be written at once.
  bool Write(Time now, transport::DatagramSink& sink);
  std::optional<Time> NextDeadline();
  // Nothing is left to be said after a drain.
  bool is_over() const { return is_draining_ && connections_.empty(); }

  void CheckInvariants() const;

 private:
  using Group = std::array<uint8_t, 16>;
  struct Connection {
    Connection(BodyBudget& budget, Http3Counters& counters, TokenBucket bucket)
        : session(budget, counters), requests(bucket) {}
    Group group{};
    Http3Session session;
    TokenBucket requests;
    Time last_asked{};
  };

  void Handle(Time now);
  void HandleOne(Time now, const transport::QuicEvent& event);
  void Admit(Time now, transport::ConnectionId id);
  // R1. False: there is no room.
  bool MakeRoom(Time now, const Group& group);
  bool Displace(Time now, const Group& group);
  void TakeRequests(Time now, transport::ConnectionId id, Connection& connection);
  void End(Time now, transport::ConnectionId id, const std::optional<Http3Session::End>& end);
  void Remove(transport::ConnectionId id);
  void CloseDrained(Time now);
  void CopyCounters();

  const Http3Limits limits_;
  Http3Counters& counters_;
  BodyBudget budget_;
  transport::QuicEndpoint endpoint_;
  transport::QuicEvents events_;
  // Those whose handshake is over, by age.
  std::map<transport::ConnectionId, std::unique_ptr<Connection>> connections_;
  std::map<Group, size_t> per_group_;  // no zero values; sums to connections_
  std::set<transport::ConnectionId> with_output_;
  TokenBucket requests_;
  std::vector<Http3Asked> asked_;
  bool is_draining_ = false;
  Time drain_ends_{};
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_HTTP3_FRONT_H_
