// tests/support/http3_socket_client.h
//
// Http3Client on a socket: turns of a loop of its own, made by whoever waits for an answer.
#ifndef OVERLAY_TESTS_SUPPORT_HTTP3_SOCKET_CLIENT_H_
#define OVERLAY_TESTS_SUPPORT_HTTP3_SOCKET_CLIENT_H_

#include <functional>
#include <memory>

#include "tests/support/http3_client.h"
#include "transport/event_loop.h"
#include "transport/udp_socket.h"

namespace overlay::server {

class Http3SocketClient {
 public:
  // Dials at once.
  Http3SocketClient(const SocketAddress& remote, uint64_t seed);
  ~Http3SocketClient();

  Http3Client& http() { return *http_; }
  Time now() { return loop_->ReadClock(); }
  // Turns until `done`; false: not within `limit`.
  bool RunUntil(const std::function<bool()>& done, Duration limit);
  // One turn, at most `patience` long.
  void RunOnce(Duration patience);
  // The whole answer; its status is 0 if there was none in a minute.
  Http3Answer Fetch(const Http3Question& question);
  // Tells the other end. (Else it holds the connection's place until it has lost patience.)
  void Close();

 private:
  std::unique_ptr<transport::EventLoop> loop_;
  std::unique_ptr<transport::UdpSocket> socket_;
  std::unique_ptr<Http3Client> http_;
  std::vector<transport::Datagram> datagrams_;
};

}  // namespace overlay::server

#endif  // OVERLAY_TESTS_SUPPORT_HTTP3_SOCKET_CLIENT_H_
