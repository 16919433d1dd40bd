// server/http_server.h
//
// A small HTTP/1.1 server for pages that others may read. Each request has a connection of its own.
//
// Bounds   8 requests at once and 20 that wait; who has not said within 2 s what he wants is cut
//          off, so that nobody keeps the probes of a supervisor out for longer.
// Threads  CivetWeb's own (8 workers and a listener). A page's function runs on one of them.
// Not here TLS, authentication: bind it to where only those can reach it who may.
#ifndef OVERLAY_SERVER_HTTP_SERVER_H_
#define OVERLAY_SERVER_HTTP_SERVER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/socket_address.h"
#include "server/http_page.h"

namespace overlay::server {

class HttpServer {
 public:
  // FAILED_PRECONDITION, naming the address, when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const SocketAddress& address,
                                                           std::vector<HttpRoute> routes);
  // Takes some milliseconds: CivetWeb's listener sleeps up to 2 s, so it is woken by a connection
  // of our own.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // With the port that was bound.
  const SocketAddress& address() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP_SERVER_H_
