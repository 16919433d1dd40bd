// A bare QUIC echo over the daemon's own endpoint, socket and event loop: one unidirectional stream
// a message, as envelopes travel, and nothing of sessions, lanes or flooding.
#include <fmt/format.h>

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "tests/bench/clock.h"
#include "tests/bench/echo.h"
#include "transport/event_loop.h"
#include "transport/quic_endpoint.h"
#include "transport/tls_identity.h"
#include "transport/udp_socket.h"

namespace overlay::bench {
namespace {

// Bulk goes in streams of this size; larger than any echo, which tells them apart.
constexpr size_t kBulkStreamBytes = 8 << 20;
constexpr size_t kBulkStreams = kBulkBytes / kBulkStreamBytes;
// Of a turn, so that what comes in is looked at between them.
constexpr int kPassesPerTurn = 8;

// Messages in the order in which they were queued, each on a stream of its own.
class Outbox : public transport::StreamSource {
 public:
  void Add(transport::StreamId stream, Bytes data) {
    queue_.push_back({stream, std::move(data), 0});
  }
  bool empty() const { return queue_.empty(); }
  void Unblock() { blocked_ = false; }

  std::optional<transport::StreamChunk> Next() override {
    if (queue_.empty() || blocked_) return std::nullopt;
    const Message& message = queue_.front();
    return transport::StreamChunk{message.stream, message.data.Slice(message.offset), true};
  }
  void OnPacked(transport::StreamId, size_t bytes, bool fin) override {
    queue_.front().offset += bytes;
    if (fin) queue_.pop_front();
  }
  void OnRefused(transport::StreamId, transport::WriteRefusal why) override {
    if (why == transport::WriteRefusal::kGone) {
      queue_.pop_front();
    } else {
      blocked_ = true;
    }
  }

 private:
  struct Message {
    transport::StreamId stream;
    Bytes data;
    size_t offset;
  };
  std::deque<Message> queue_;
  bool blocked_ = false;
};

// One end: a socket, an endpoint, one connection that counts.
class QuicEnd {
 public:
  static absl::StatusOr<std::unique_ptr<QuicEnd>> Create(uint8_t seed_byte, bool answers) {
    auto end = std::unique_ptr<QuicEnd>(new QuicEnd(answers));
    SecretSeed seed;
    seed.bytes.fill(seed_byte);
    auto identity = transport::TlsIdentity::Create(seed);
    if (!identity.ok()) return identity.status();
    end->identity_ = *std::move(identity);
    auto socket = transport::UdpSocket::Bind(SocketAddress::Loopback(0), {});
    if (!socket.ok()) return socket.status();
    end->socket_ = *std::move(socket);
    auto loop = transport::EventLoop::Create();
    if (!loop.ok()) return loop.status();
    end->loop_ = *std::move(loop);
    transport::EndpointSettings settings;
    settings.quic.uni_stream_window_bytes = 1 << 20;  // a bulk stream has the path to itself
    settings.quic.idle_timeout = std::chrono::minutes(10);
    settings.accept = answers;
    end->endpoint_ = std::make_unique<transport::QuicEndpoint>(
        settings, *end->identity_, Random(static_cast<uint64_t>(Now().time_since_epoch().count())));
    QuicEnd* raw = end.get();
    end->loop_->SetTurnHandler([raw](Time now) { return raw->Turn(now); });
    absl::Status watched =
        end->loop_->Watch(end->socket_->fd(), {.read = true, .write = false},
                          [raw](Time now, transport::FdReady) { raw->Receive(now); });
    if (!watched.ok()) return watched;
    return end;
  }

  const SocketAddress& address() const { return socket_->local_address(); }
  transport::EventLoop& loop() { return *loop_; }
  bool is_up() const { return up_; }
  uint64_t messages_received() const { return messages_received_; }

  absl::Status Dial(const SocketAddress& remote) {
    return endpoint_->Dial(loop_->ReadClock(), remote, std::nullopt).status();
  }
  void Send(Bytes message) {
    transport::QuicConnection* connection = endpoint_->Mutable(connection_);
    if (connection == nullptr) return;
    if (const auto stream = connection->OpenUni()) outbox_.Add(*stream, std::move(message));
  }
  // Turns until `done` or until that time.
  template <class Done>
  bool RunUntil(Time until, Done done) {
    wake_at_ = until;
    loop_->RunOnce(Duration{});
    while (!done() && Now() < until && !Interrupted()) loop_->RunOnce(std::chrono::seconds(1));
    wake_at_.reset();
    return done();
  }

 private:
  explicit QuicEnd(bool answers) : answers_(answers) {}

  void Receive(Time now) {
    socket_->Flush();
    bool more = true;
    for (int i = 0; i < kPassesPerTurn && more; ++i) {
      datagrams_.clear();
      more = socket_->Receive(datagrams_);
      for (const transport::Datagram& datagram : datagrams_) {
        // The loopback address is the only one: what was dialled and what was accepted both take a
        // path without a local address.
        endpoint_->OnDatagram(now, datagram.path, datagram.payload, events_);
      }
      Handle();
    }
  }
  std::optional<Time> Turn(Time now) {
    endpoint_->OnDeadline(now, events_);
    while (endpoint_->AcceptWaiting(now, events_)) {
    }
    Handle();
    bool more = false;
    const transport::QuicConnection* connection = endpoint_->Find(connection_);
    if (connection != nullptr && connection->is_open()) {
      outbox_.Unblock();
      for (int i = 0; i < kPassesPerTurn && !outbox_.empty(); ++i) {
        const transport::WriteResult result = endpoint_->Drain(
            now, connection_, *socket_, &outbox_, {.goal = transport::WriteGoal::kData}, events_);
        more = result.stop == transport::WriteStop::kBudget;
        if (!more) break;
        socket_->Flush();
      }
    }
    endpoint_->DrainDatagrams(now, *socket_, events_);
    socket_->Flush();
    Handle();
    SetInterest();
    std::optional<Time> next = endpoint_->NextDeadline();
    if (more && !socket_->blocked()) next = now;
    if (wake_at_ && (!next || *wake_at_ < *next)) next = wake_at_;
    return next;
  }
  void SetInterest() {
    if (socket_->blocked() == watches_writable_) return;
    watches_writable_ = socket_->blocked();
    OVERLAY_CHECK(
        loop_->SetInterest(socket_->fd(), {.read = true, .write = watches_writable_}).ok());
  }
  void Handle() {
    // Answers may be sent from within: they only go into the outbox.
    for (const transport::QuicEvent& event : events_.list()) {
      if (std::holds_alternative<transport::HandshakeCompleted>(event.what)) {
        connection_ = event.connection;
        up_ = up_ || answers_;
      } else if (std::holds_alternative<transport::HandshakeConfirmed>(event.what)) {
        up_ = true;
      } else if (std::holds_alternative<transport::ConnectionClosed>(event.what)) {
        up_ = false;
      } else if (const auto* data = std::get_if<transport::StreamData>(&event.what)) {
        OnData(*data);
      }
    }
    events_.Clear();
  }
  void OnData(const transport::StreamData& data) {
    transport::QuicConnection* connection = endpoint_->Mutable(connection_);
    if (connection == nullptr) return;
    connection->ExtendConnection(data.bytes.size());
    connection->ExtendStream(data.stream, data.bytes.size());
    if (!data.fin) return;
    connection->ReturnUniStream();
    ++messages_received_;
    if (answers_) Send(answer_);
  }

  const bool answers_;
  std::unique_ptr<transport::TlsIdentity> identity_;
  std::unique_ptr<transport::UdpSocket> socket_;
  std::unique_ptr<transport::EventLoop> loop_;
  std::unique_ptr<transport::QuicEndpoint> endpoint_;
  std::vector<transport::Datagram> datagrams_;
  transport::QuicEvents events_;
  transport::ConnectionId connection_;
  Outbox outbox_;
  const Bytes answer_ = Bytes::Take(std::string(kEchoBytes, 'a'));
  std::optional<Time> wake_at_;
  uint64_t messages_received_ = 0;
  bool up_ = false;
  bool watches_writable_ = false;
};

class QuicEcho : public Echo {
 public:
  explicit QuicEcho(std::unique_ptr<QuicEnd> end) : end_(std::move(end)) {}
  void WaitUntil(Time at) override {
    if (at > Now()) end_->RunUntil(at, [] { return false; });
  }
  absl::Status RoundTrip() override {
    end_->Send(ping_);
    return Await(1);
  }
  absl::Status Bulk() override {
    for (size_t i = 0; i < kBulkStreams; ++i) end_->Send(bulk_);
    return Await(kBulkStreams);
  }

 private:
  absl::Status Await(uint64_t answers) {
    answered_ += answers;
    const auto done = [this] { return end_->messages_received() >= answered_; };
    if (end_->RunUntil(Now() + kEchoPatience, done)) return absl::OkStatus();
    return absl::UnavailableError("QUIC echo: no answer from the other end");
  }

  std::unique_ptr<QuicEnd> end_;
  const Bytes ping_ = Bytes::Take(std::string(kEchoBytes, 'e'));
  const Bytes bulk_ = Bytes::Take(std::string(kBulkStreamBytes, 'b'));
  uint64_t answered_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Echo>> ConnectQuicEcho(const std::string& address) {
  const absl::StatusOr<SocketAddress> remote = SocketAddress::Parse(address);
  if (!remote.ok()) return remote.status();
  absl::StatusOr<std::unique_ptr<QuicEnd>> end = QuicEnd::Create(2, /*answers=*/false);
  if (!end.ok()) return end.status();
  if (absl::Status dialled = (*end)->Dial(*remote); !dialled.ok()) return dialled;
  QuicEnd& raw = **end;
  if (!raw.RunUntil(Now() + kEchoPatience, [&raw] { return raw.is_up(); })) {
    return absl::UnavailableError("QUIC echo: no handshake");
  }
  return std::make_unique<QuicEcho>(*std::move(end));
}

int ServeQuicEcho() {
  absl::StatusOr<std::unique_ptr<QuicEnd>> end = QuicEnd::Create(1, /*answers=*/true);
  if (!end.ok()) return 1;
  SayReady((*end)->address().ToString());
  (*end)->loop().Run();
  return 0;
}

}  // namespace overlay::bench
