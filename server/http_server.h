// server/http_server.h
//
// A small HTTP server for pages that others may read: /metrics now.
//
// Threads  CivetWeb's own (2 workers and a listener). A page's function runs on one of them.
// Not here TLS, authentication: bind it to where only those can reach it who may.
#ifndef OVERLAY_SERVER_HTTP_SERVER_H_
#define OVERLAY_SERVER_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/socket_address.h"

namespace overlay::server {

struct HttpPage {
  int status = 200;
  std::string content_type;
  std::string body;
};
struct HttpRoute {
  std::string path;  // "/metrics"
  std::function<HttpPage()> page;
};

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
