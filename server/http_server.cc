#include "server/http_server.h"

#include <civetweb.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

namespace overlay::server {
namespace {

// What a header says; empty: it is not there.
std::string HeaderOf(const mg_connection* connection, const char* name) {
  const char* const value = mg_get_header(connection, name);
  return value == nullptr ? "" : value;
}

// Of every request, before CivetWeb does anything of its own.
int OnRequest(mg_connection* connection) {
  const mg_request_info& info = *mg_get_request_info(connection);
  HttpRequest request;
  if (info.local_uri != nullptr) request.path = info.local_uri;
  if (info.query_string != nullptr) request.query = info.query_string;
  request.if_none_match = HeaderOf(connection, "If-None-Match");
  request.accept_encoding = HeaderOf(connection, "Accept-Encoding");
  const std::string_view method = info.request_method;
  const auto& routes =
      *static_cast<const std::vector<HttpRoute>*>(mg_get_user_data(mg_get_context(connection)));
  const HttpPage page = ServePage(routes, method, request);
  const std::string_view body = page.payload.empty() ? page.body : page.payload.view();
  std::string head =
      fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n", page.status,
                  StatusText(page.status), page.content_type, body.size());
  for (const auto& [name, value] : page.headers) head += fmt::format("{}: {}\r\n", name, value);
  head += "Connection: close\r\n\r\n";
  mg_write(connection, head.data(), head.size());
  if (method != "HEAD") mg_write(connection, body.data(), body.size());
  return page.status;
}

// Connects and hangs up; an error means that nothing sleeps there. By the address's own family: a
// kernel may have no IPv6, and a socket of IPv6 may listen for nothing else.
void Poke(const SocketAddress& address) {
  sockaddr_in to4{};
  to4.sin_family = AF_INET;
  to4.sin_port = htons(address.port);
  std::memcpy(&to4.sin_addr, address.ip.data() + 12, 4);
  sockaddr_in6 to6{};
  to6.sin6_family = AF_INET6;
  to6.sin6_port = htons(address.port);
  std::memcpy(&to6.sin6_addr, address.ip.data(), address.ip.size());
  if (address.is_unspecified()) {
    to4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to6.sin6_addr = in6addr_loopback;
  }
  const bool is_v4 = address.is_v4();
  const int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  const auto* const to =
      is_v4 ? reinterpret_cast<const sockaddr*>(&to4) : reinterpret_cast<const sockaddr*>(&to6);
  (void)connect(fd, to, is_v4 ? sizeof(to4) : sizeof(to6));
  close(fd);
}

}  // namespace

struct HttpServer::Impl {
  SocketAddress address;
  std::vector<HttpRoute> routes;
  mg_context* server = nullptr;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const SocketAddress& address,
                                                              std::vector<HttpRoute> routes) {
  auto impl = std::make_unique<Impl>();
  impl->address = address;
  impl->routes = std::move(routes);
  const std::string listen = impl->address.ToString();
  const char* options[] = {"listening_ports",    listen.c_str(), "num_threads", "8",
                           "request_timeout_ms", "2000",         nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = &OnRequest;
  impl->server = mg_start(&callbacks, &impl->routes, options);
  if (impl->server == nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {} for metrics.listen: in use, or not an address of this "
                    "machine",
                    listen));
  }
  mg_server_port port{};
  if (mg_get_server_ports(impl->server, 1, &port) > 0) {
    impl->address.port = static_cast<uint16_t>(port.port);
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() {
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    mg_stop(impl_->server);
    closed.store(true);
  });
  // The first connection may come before close() has begun to wait, so it is repeated until it is
  // done.
  while (!closed.load()) {
    Poke(impl_->address);
    usleep(2000);
  }
  closer.join();
}

const SocketAddress& HttpServer::address() const { return impl_->address; }

}  // namespace overlay::server
