#include "tests/support/http3_socket_client.h"

#include <algorithm>
#include <chrono>

#include "flood/base/check.h"

namespace overlay::server {
namespace {

// 10 MB under a sanitizer, on a machine that does other things too.
constexpr Duration kFetchPatience = std::chrono::seconds(60);

}  // namespace

Http3SocketClient::Http3SocketClient(const SocketAddress& remote, uint64_t seed)
    : http_(std::make_unique<Http3Client>(seed)) {
  auto loop = transport::EventLoop::Create();
  OVERLAY_CHECK(loop.ok());
  loop_ = *std::move(loop);
  auto socket = transport::UdpSocket::Bind(SocketAddress::Loopback(0), {});
  OVERLAY_CHECK(socket.ok());
  socket_ = *std::move(socket);
  const absl::Status watched = loop_->Watch(
      socket_->fd(), {.read = true, .write = false}, [this](Time now, transport::FdReady) {
        bool more = true;
        while (more) {
          datagrams_.clear();
          more = socket_->Receive(datagrams_);
          for (const transport::Datagram& datagram : datagrams_) {
            http_->OnDatagram(now, datagram.path, datagram.payload);
          }
        }
      });
  OVERLAY_CHECK(watched.ok());
  loop_->SetTurnHandler([this](Time now) {
    http_->OnTurn(now);
    http_->Write(now, *socket_);
    socket_->Flush();
    return http_->NextDeadline();
  });
  http_->Dial(loop_->ReadClock(), remote);
}

Http3SocketClient::~Http3SocketClient() = default;

void Http3SocketClient::RunOnce(Duration patience) {
  // What was asked since the last turn.
  http_->Write(loop_->ReadClock(), *socket_);
  socket_->Flush();
  loop_->RunOnce(patience);
}

bool Http3SocketClient::RunUntil(const std::function<bool()>& done, Duration limit) {
  const Time until = now() + limit;
  while (!done()) {
    if (now() >= until) return false;
    RunOnce(std::min<Duration>(until - now(), std::chrono::milliseconds(20)));
  }
  return true;
}

Http3Answer Http3SocketClient::Fetch(const Http3Question& question) {
  std::optional<transport::StreamId> stream;
  const auto is_over = [&] {
    if (http_->closed()) return true;
    if (!stream) stream = http_->Ask(question);
    return stream && (http_->answer(*stream).is_complete || http_->answer(*stream).reset);
  };
  if (!RunUntil(is_over, kFetchPatience) || !stream) return {};
  return http_->answer(*stream);
}

void Http3SocketClient::Close() {
  http_->Close(now());
  RunOnce(Duration::zero());
}

}  // namespace overlay::server
