#include "server/http3/http3_server.h"

#include <atomic>
#include <thread>
#include <utility>

#include "server/http3/http3_front.h"
#include "server/http3/page_workers.h"
#include "transport/event_loop.h"
#include "transport/udp_socket.h"

namespace overlay::server {
namespace {

// A window is not a link between validators: less than theirs, so that a flood of garbage is
// dropped by the kernel, and an answer waits here rather than there.
constexpr int kSocketBufferBytes = 1 << 20;
// Calls of the socket's Receive a turn.
constexpr int kReceivesPerTurn = 2;

}  // namespace

struct Http3Server::Impl {
  void OnUdp(Time now, transport::FdReady ready);
  std::optional<Time> Turn(Time now);

  std::vector<HttpRoute> routes;
  Http3Counters counters;
  std::unique_ptr<transport::EventLoop> loop;
  std::unique_ptr<transport::UdpSocket> socket;
  std::unique_ptr<WebIdentity> identity;
  std::unique_ptr<Http3Front> front;
  std::unique_ptr<PageWorkers> workers;
  std::vector<transport::Datagram> datagrams;
  std::atomic<bool> drain_wanted{false};
  bool watching_writable = false;
  std::thread thread;
};

void Http3Server::Impl::OnUdp(Time now, transport::FdReady ready) {
  if (ready.writable) socket->Flush();
  if (!ready.readable) return;
  bool more = true;
  for (int i = 0; i < kReceivesPerTurn && more; ++i) {
    datagrams.clear();
    more = socket->Receive(datagrams);
    for (const transport::Datagram& datagram : datagrams) {
      front->OnDatagram(now, datagram.path, datagram.payload);
    }
  }
}

std::optional<Time> Http3Server::Impl::Turn(Time now) {
  if (drain_wanted.load()) front->BeginDrain(now);
  for (PageWorkers::Made& made : workers->Drain()) {
    front->Respond(now, made.ticket, std::move(made.page));
  }
  front->OnTurn(now);
  for (const Http3Asked& asked : front->TakeAsked()) {
    const HttpRoute* const route = FindRoute(routes, asked.request.path);
    if (route == nullptr) {
      counters.Count(Http3Refusal::kNotFound);
      front->Respond(now, asked.ticket, NoSuchPage(routes));
    } else if (!workers->Begin(asked, *route)) {
      counters.Count(Http3Refusal::kBusy);
      HttpPage page = PlainPage(503, "too many pages are being made\n");
      page.headers.emplace_back("retry-after", "1");
      front->Respond(now, asked.ticket, std::move(page));
    }
  }
  const bool more = front->Write(now, *socket);
  socket->Flush();
  const bool blocked = socket->blocked();
  if (blocked != watching_writable) {
    watching_writable = blocked;
    (void)loop->SetInterest(socket->fd(), {.read = true, .write = blocked});
  }
  if (front->is_over()) loop->Stop();
  if (more && !blocked) return now;
  return front->NextDeadline();
}

Http3Server::Http3Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<Http3Server>> Http3Server::Start(Http3Options options) {
  auto impl = std::make_unique<Impl>();
  impl->routes = std::move(options.routes);
  if (!options.pem) {
    absl::StatusOr<PemPair> made = MakeSelfSigned(transport::EventLoop::ReadWallClock());
    if (!made.ok()) return made.status();
    options.pem = *std::move(made);
  }
  absl::StatusOr<std::unique_ptr<WebIdentity>> identity = WebIdentity::Create(*options.pem);
  if (!identity.ok()) return identity.status();
  impl->identity = *std::move(identity);
  absl::StatusOr<std::unique_ptr<transport::EventLoop>> loop = transport::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  impl->loop = *std::move(loop);
  transport::UdpSocketOptions socket_options;
  socket_options.receive_buffer_bytes = kSocketBufferBytes;
  socket_options.send_buffer_bytes = kSocketBufferBytes;
  absl::StatusOr<std::unique_ptr<transport::UdpSocket>> socket =
      transport::UdpSocket::Bind(options.listen, socket_options);
  if (!socket.ok()) return socket.status();
  impl->socket = *std::move(socket);
  impl->front =
      std::make_unique<Http3Front>(options.limits, *impl->identity, options.random, impl->counters);
  Impl* const it = impl.get();
  if (absl::Status status =
          it->loop->Watch(it->socket->fd(), {.read = true, .write = false},
                          [it](Time now, transport::FdReady ready) { it->OnUdp(now, ready); });
      !status.ok()) {
    return status;
  }
  it->loop->SetTurnHandler([it](Time now) { return it->Turn(now); });
  it->workers = std::make_unique<PageWorkers>([it] { it->loop->waker().Wake(); });
  it->thread = std::thread([it] {
    LowerPriority();
    it->loop->Run();
  });
  return std::unique_ptr<Http3Server>(new Http3Server(std::move(impl)));
}

Http3Server::~Http3Server() {
  impl_->loop->Stop();
  impl_->thread.join();
}

void Http3Server::BeginDrain() {
  impl_->drain_wanted.store(true);
  impl_->loop->waker().Wake();
}

const SocketAddress& Http3Server::address() const { return impl_->socket->local_address(); }
const Http3Counters& Http3Server::counters() const { return impl_->counters; }

}  // namespace overlay::server
