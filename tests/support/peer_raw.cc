#include "tests/support/peer_raw.h"

#include <utility>

#include "flood/base/check.h"
#include "flood/base/crypto.h"

namespace overlay::transport {
namespace {

std::unique_ptr<TlsIdentity> IdentityOf(uint8_t seed) {
  SecretSeed secret;
  secret.bytes.fill(seed);
  auto identity = TlsIdentity::Create(secret);
  OVERLAY_CHECK(identity.ok());
  return std::move(*identity);
}

}  // namespace

std::string ControlFrame(const ControlMessage& message) {
  return std::string(EncodeControl(message).view());
}

std::string HelloFrame(const std::string& network) {
  return ControlFrame(Hello{NetworkIdOf(network), 1, 1, 0, 0, 77, "raw"});
}

RawPeer::RawPeer(const Options& options)
    : options_(options),
      identity_(IdentityOf(options.seed)),
      endpoint_(options.endpoint, *identity_, Random(options.random_seed)) {}

void RawPeer::Dial(Time now, const SocketAddress& remote) {
  auto id = endpoint_.Dial(now, remote, std::nullopt);
  OVERLAY_CHECK(id.ok());
  connection_ = *id;
}

void RawPeer::OnDatagram(Time now, const Path& path, absl::Span<const uint8_t> payload) {
  endpoint_.OnDatagram(now, path, payload, events_);
  source_.Unblock();
  Handle(now);
}

void RawPeer::OnDeadline(Time now) {
  endpoint_.OnDeadline(now, events_);
  Handle(now);
}

void RawPeer::WriteTurn(Time now, DatagramSink& sink) {
  endpoint_.AcceptWaiting(now, events_);
  endpoint_.Drain(now, connection_, sink, &source_, {.goal = WriteGoal::kFlush}, events_);
  endpoint_.DrainDatagrams(now, sink, events_);
  Handle(now);
}

void RawPeer::Greet() {
  QuicConnection* connection = endpoint_.Mutable(connection_);
  const std::optional<StreamId> stream = connection->OpenUni();
  OVERLAY_CHECK(stream.has_value());
  control_ = *stream;
  if (options_.says_hello) Append(control_, "\x02" + HelloFrame(options_.network), false);
}

void RawPeer::Handle(Time) {
  for (const QuicEvent& event : events_.list()) {
    if (std::holds_alternative<HandshakeCompleted>(event.what)) connection_ = event.connection;
    if (std::holds_alternative<HandshakeConfirmed>(event.what)) Greet();
    if (const auto* data = std::get_if<StreamData>(&event.what)) {
      greeted_ = true;
      Stream& stream = streams_[data->stream];
      stream.bytes.append(reinterpret_cast<const char*>(data->bytes.data()), data->bytes.size());
      stream.fin |= data->fin;
      if (QuicConnection* connection = endpoint_.Mutable(event.connection);
          connection != nullptr && options_.returns_credit) {
        connection->ExtendStream(data->stream, data->bytes.size());
        connection->ExtendConnection(data->bytes.size());
      }
    }
    if (const auto* closed = std::get_if<StreamClosed>(&event.what)) {
      closed_[closed->stream] = closed->code;
      QuicConnection* connection = endpoint_.Mutable(event.connection);
      if (connection != nullptr && options_.returns_credit &&
          IsOpenedByDialler(closed->stream) != connection->is_dialled()) {
        IsUni(closed->stream) ? connection->ReturnUniStream() : connection->ReturnBidiStream();
      }
    }
    if (const auto* ended = std::get_if<ConnectionClosed>(&event.what)) ended_ = ended->info;
  }
  events_.Clear();
}

std::optional<StreamId> RawPeer::Uni(std::string_view bytes, bool fin) {
  const auto stream = endpoint_.Mutable(connection_)->OpenUni();
  if (stream) Append(*stream, bytes, fin);
  return stream;
}

std::optional<StreamId> RawPeer::Bidi(std::string_view bytes, bool fin) {
  const auto stream = endpoint_.Mutable(connection_)->OpenBidi();
  if (stream) Append(*stream, bytes, fin);
  return stream;
}

void RawPeer::Stop(StreamId stream, StreamCode code) {
  endpoint_.Mutable(connection_)->StopReading(stream, static_cast<uint64_t>(code));
}

void RawPeer::Close(Time now, CloseReason reason) {
  endpoint_.Mutable(connection_)->Close(now, static_cast<uint64_t>(reason), "", events_);
}

std::vector<ControlMessage> RawPeer::ControlReceived() const {
  std::vector<ControlMessage> messages;
  for (const auto& [id, stream] : streams_) {
    if (stream.bytes[0] != static_cast<char>(StreamKind::kControl)) continue;
    const Bytes bytes = Bytes::Copy(stream.bytes.substr(1));
    absl::Span<const uint8_t> rest = bytes.span();
    FrameReader reader;
    while (true) {
      const auto frame = reader.Next(rest);
      OVERLAY_CHECK(frame.ok());
      if (!frame->has_value()) break;
      auto message = DecodeControl(**frame);
      OVERLAY_CHECK(message.ok() && message->has_value());
      messages.push_back(std::move(**message));
    }
  }
  return messages;
}

void RawPeer::Append(StreamId stream, std::string_view bytes, bool fin) {
  source_.Add(stream, Bytes::Copy(bytes), fin);
}

}  // namespace overlay::transport
