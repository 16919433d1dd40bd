// server/http3/http3_server.h
//
// The HTTP/3 window as a part of the daemon: a socket and threads of its own around http3_front.h.
// Nothing of it runs on the daemon's loop, and the loop never waits for it.
//
// Threads  Start, BeginDrain and the destructor: one thread. counters(): any. A page's function
//     runs on the window's workers.
// Not here who may reach the address: listen where only those do.
#ifndef OVERLAY_SERVER_HTTP3_HTTP3_SERVER_H_
#define OVERLAY_SERVER_HTTP3_HTTP3_SERVER_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/random.h"
#include "flood/base/socket_address.h"
#include "server/http3/http3_limits.h"
#include "server/http3/web_identity.h"
#include "server/http_page.h"

namespace overlay::server {

struct Http3Options {
  SocketAddress listen;
  // None: one of its own making, for this start.
  std::optional<PemPair> pem = {};
  Http3Limits limits = {};
  // From secret bytes.
  Random random{0};
  std::vector<HttpRoute> routes = {};
};

class Http3Server {
 public:
  // ALREADY_EXISTS: the port is taken; else what socket or GnuTLS say.
  static absl::StatusOr<std::unique_ptr<Http3Server>> Start(Http3Options options);
  // Closes what is open, at once. Waits for pages that are being made.
  ~Http3Server();
  Http3Server(const Http3Server&) = delete;
  Http3Server& operator=(const Http3Server&) = delete;

  // Takes nothing new, answers what is under way for kHttp3DrainMax, then closes. Does not wait.
  void BeginDrain();

  // With the port that was bound.
  const SocketAddress& address() const;
  const Http3Counters& counters() const;

 private:
  struct Impl;
  explicit Http3Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_HTTP3_SERVER_H_
