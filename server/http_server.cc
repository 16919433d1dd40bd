#include "server/http_server.h"

#include <CivetServer.h>
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

class RouteHandler : public CivetHandler {
 public:
  explicit RouteHandler(std::function<HttpPage()> page) : page_(std::move(page)) {}
  bool handleGet(CivetServer* /*server*/, struct mg_connection* connection) override {
    const HttpPage page = page_();
    const std::string head = fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.status, page.status == 200 ? "OK" : "Service Unavailable", page.content_type,
        page.body.size());
    mg_write(connection, head.data(), head.size());
    mg_write(connection, page.body.data(), page.body.size());
    return true;
  }

 private:
  const std::function<HttpPage()> page_;
};

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
  std::vector<std::unique_ptr<RouteHandler>> handlers;
  std::unique_ptr<CivetServer> server;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const SocketAddress& address,
                                                              std::vector<HttpRoute> routes) {
  auto impl = std::make_unique<Impl>();
  impl->address = address;
  const std::vector<std::string> options = {"listening_ports",
                                            address.ToString(),
                                            "num_threads",
                                            "2",
                                            "request_timeout_ms",
                                            "5000",
                                            "enable_directory_listing",
                                            "no"};
  try {
    impl->server = std::make_unique<CivetServer>(options);
  } catch (const CivetException&) {
    impl->server = nullptr;
  }
  if (impl->server == nullptr || impl->server->getContext() == nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {} for metrics: in use, or not an address of this machine",
                    address.ToString()));
  }
  const std::vector<struct mg_server_port> ports = impl->server->getListeningPortsFull();
  if (!ports.empty()) impl->address.port = static_cast<uint16_t>(ports[0].port);
  for (HttpRoute& route : routes) {
    impl->handlers.push_back(std::make_unique<RouteHandler>(std::move(route.page)));
    impl->server->addHandler(route.path, *impl->handlers.back());
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() {
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    impl_->server->close();
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
