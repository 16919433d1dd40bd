#include "tests/support/http3_client.h"

#include <array>
#include <charconv>

#include "flood/base/check.h"

namespace overlay::server {

using transport::QuicConnection;
using transport::StreamId;

namespace {

// Any pair will do: a client shows none.
std::unique_ptr<WebIdentity> MakeIdentity() {
  const absl::StatusOr<PemPair> pem = MakeSelfSigned(WallTime{1'700'000'000'000'000});
  OVERLAY_CHECK(pem.ok());
  absl::StatusOr<std::unique_ptr<WebIdentity>> identity = WebIdentity::Create(*pem);
  OVERLAY_CHECK(identity.ok());
  return *std::move(identity);
}

transport::EndpointSettings ClientSettings() {
  transport::EndpointSettings settings;
  settings.accept = false;
  settings.quic.uni_streams = 16;
  settings.quic.keep_alive = Duration(0);
  return settings;
}

nghttp3_nv Field(const std::string& name, const std::string& value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP3_NV_FLAG_NONE};
}

}  // namespace

struct Http3Client::Callbacks {
  static Http3Client& Of(void* user) { return *static_cast<Http3Client*>(user); }

  static int Header(nghttp3_conn*, int64_t stream, int32_t, nghttp3_rcbuf* name,
                    nghttp3_rcbuf* value, uint8_t, void* user, void*) {
    const auto text = [](nghttp3_rcbuf* buffer) {
      const nghttp3_vec vec = nghttp3_rcbuf_get_buf(buffer);
      return std::string(reinterpret_cast<const char*>(vec.base), vec.len);
    };
    Http3Answer& answer = Of(user).answers_[stream];
    if (text(name) == ":status") {
      const std::string status = text(value);
      std::from_chars(status.data(), status.data() + status.size(), answer.status);
    } else {
      answer.headers[text(name)] = text(value);
    }
    return 0;
  }
  static int Body(nghttp3_conn*, int64_t stream, const uint8_t* data, size_t bytes, void* user,
                  void*) {
    Http3Client& client = Of(user);
    client.answers_[stream].body.append(reinterpret_cast<const char*>(data), bytes);
    client.consumed_ += bytes;
    return 0;
  }
  static int End(nghttp3_conn*, int64_t stream, void* user, void*) {
    Http3Client& client = Of(user);
    client.answers_[stream].is_complete = true;
    ++client.answers_complete_;
    return 0;
  }
  static int Consume(nghttp3_conn*, int64_t, size_t bytes, void* user, void*) {
    Of(user).consumed_ += bytes;
    return 0;
  }
  static int Goaway(nghttp3_conn*, int64_t, void* user) {
    Of(user).was_told_goaway_ = true;
    return 0;
  }
  static nghttp3_ssize ReadBody(nghttp3_conn*, int64_t stream, nghttp3_vec* vec, size_t,
                                uint32_t* flags, void* user, void*) {
    Http3Client& client = Of(user);
    if (client.endless_.contains(stream)) return NGHTTP3_ERR_WOULDBLOCK;
    std::string& body = client.bodies_.at(stream);
    *vec = {reinterpret_cast<uint8_t*>(body.data()), body.size()};
    *flags |= NGHTTP3_DATA_FLAG_EOF;
    return 1;
  }
};

Http3Client::Http3Client(uint64_t seed)
    : identity_(MakeIdentity()),
      // Never the same connection ids as a server of the same seed.
      endpoint_(ClientSettings(), *identity_, Random(seed).Fork("http3 client")) {
  nghttp3_callbacks callbacks{};
  callbacks.recv_header = Callbacks::Header;
  callbacks.recv_data = Callbacks::Body;
  callbacks.end_stream = Callbacks::End;
  callbacks.deferred_consume = Callbacks::Consume;
  callbacks.shutdown = Callbacks::Goaway;
  nghttp3_settings settings;
  nghttp3_settings_default(&settings);
  nghttp3_conn* made = nullptr;
  OVERLAY_CHECK(
      nghttp3_conn_client_new(&made, &callbacks, &settings, nghttp3_mem_default(), this) == 0);
  http_.reset(made);
}

Http3Client::~Http3Client() = default;

void Http3Client::Dial(Time now, const SocketAddress& remote) {
  const absl::StatusOr<transport::ConnectionId> id = endpoint_.Dial(now, remote, std::nullopt);
  OVERLAY_CHECK(id.ok());
  id_ = *id;
}

void Http3Client::Close(Time now) {
  if (QuicConnection* const quic = endpoint_.Mutable(id_)) {
    quic->Close(now, NGHTTP3_H3_NO_ERROR, "", events_);
  }
  Handle();
}

std::optional<StreamId> Http3Client::Ask(const Http3Question& question) {
  QuicConnection* const quic = endpoint_.Mutable(id_);
  if (quic == nullptr || !is_up()) return std::nullopt;
  const std::optional<StreamId> stream = quic->OpenBidi();
  if (!stream) return std::nullopt;
  std::vector<std::pair<std::string, std::string>> all = {{":method", question.method},
                                                          {":scheme", "https"},
                                                          {":authority", "localhost"},
                                                          {":path", question.path}};
  all.insert(all.end(), question.headers.begin(), question.headers.end());
  std::vector<nghttp3_nv> fields;
  for (const auto& [name, value] : all) fields.push_back(Field(name, value));
  bodies_[*stream] = question.body;
  if (question.is_endless) endless_.insert(*stream);
  const nghttp3_data_reader reader{Callbacks::ReadBody};
  const bool has_body = question.is_endless || !question.body.empty();
  OVERLAY_CHECK(nghttp3_conn_submit_request(http_.get(), *stream, fields.data(), fields.size(),
                                            has_body ? &reader : nullptr, nullptr) == 0);
  has_output_ = true;
  return stream;
}

void Http3Client::Start(QuicConnection& quic) {
  std::array<StreamId, 3> streams;
  for (StreamId& stream : streams) {
    const std::optional<StreamId> opened = quic.OpenUni();
    OVERLAY_CHECK(opened.has_value());
    stream = *opened;
  }
  OVERLAY_CHECK(nghttp3_conn_bind_control_stream(http_.get(), streams[0]) == 0);
  OVERLAY_CHECK(nghttp3_conn_bind_qpack_streams(http_.get(), streams[1], streams[2]) == 0);
  is_up_ = true;
  has_output_ = true;
}

void Http3Client::OnDatagram(Time now, const transport::Path& path,
                             absl::Span<const uint8_t> payload) {
  endpoint_.OnDatagram(now, path, payload, events_);
  Handle();
}

void Http3Client::OnTurn(Time now) {
  endpoint_.OnDeadline(now, events_);
  Handle();
}

void Http3Client::Handle() {
  for (size_t i = 0; i < events_.list().size(); ++i) {
    const transport::QuicEvent event = events_.list()[i];
    if (const auto* closed = std::get_if<transport::ConnectionClosed>(&event.what)) {
      closed_ = closed->info;
      continue;
    }
    QuicConnection* const quic = endpoint_.Mutable(id_);
    if (quic == nullptr || closed_) continue;
    if (std::holds_alternative<transport::HandshakeConfirmed>(event.what)) {
      Start(*quic);
    } else if (const auto* data = std::get_if<transport::StreamData>(&event.what)) {
      const nghttp3_ssize n = nghttp3_conn_read_stream(
          http_.get(), data->stream, data->bytes.data(), data->bytes.size(), data->fin ? 1 : 0);
      OVERLAY_CHECK(n >= 0);
      consumed_ += static_cast<uint64_t>(n);
      if (is_reading_) {
        quic->ExtendConnection(std::exchange(consumed_, 0));
        quic->ExtendStream(data->stream, data->bytes.size());
      }
    } else if (const auto* reset = std::get_if<transport::StreamReset>(&event.what)) {
      answers_[reset->stream].reset = reset->code;
      OVERLAY_CHECK(nghttp3_conn_shutdown_stream_read(http_.get(), reset->stream) == 0);
    } else if (const auto* acked = std::get_if<transport::StreamAcked>(&event.what)) {
      uint64_t& before = acked_[acked->stream];
      OVERLAY_CHECK(
          nghttp3_conn_add_ack_offset(http_.get(), acked->stream, acked->bytes - before) == 0);
      before = acked->bytes;
    } else if (const auto* over = std::get_if<transport::StreamClosed>(&event.what)) {
      (void)nghttp3_conn_close_stream(http_.get(), over->stream,
                                      over->code.value_or(NGHTTP3_H3_NO_ERROR));
      acked_.erase(over->stream);
      bodies_.erase(over->stream);
    }
  }
  events_.Clear();
}

void Http3Client::Write(Time now, transport::DatagramSink& sink) {
  if (is_up()) {
    for (const StreamId stream : std::exchange(blocked_, {})) {
      (void)nghttp3_conn_unblock_stream(http_.get(), stream);
    }
    endpoint_.Drain(now, id_, sink, this, transport::WritePass{}, events_);
  }
  endpoint_.DrainDatagrams(now, sink, events_);
  Handle();
}

std::optional<transport::StreamChunk> Http3Client::Next() {
  std::array<nghttp3_vec, 4> parts;
  StreamId stream = -1;
  int fin = 0;
  const nghttp3_ssize n =
      nghttp3_conn_writev_stream(http_.get(), &stream, &fin, parts.data(), parts.size());
  OVERLAY_CHECK(n >= 0);
  if (stream < 0 || (n == 0 && fin == 0)) {
    has_output_ = false;
    return std::nullopt;
  }
  if (n == 0) return transport::StreamChunk{stream, Bytes(), true};
  return transport::StreamChunk{
      stream, Bytes::Copy(absl::MakeConstSpan(parts[0].base, parts[0].len)), fin != 0 && n == 1};
}

void Http3Client::OnPacked(StreamId stream, size_t bytes, bool /*fin*/) {
  OVERLAY_CHECK(nghttp3_conn_add_write_offset(http_.get(), stream, bytes) == 0);
}

void Http3Client::OnRefused(StreamId stream, transport::WriteRefusal why) {
  if (why == transport::WriteRefusal::kNoCredit) {
    nghttp3_conn_block_stream(http_.get(), stream);
    blocked_.insert(stream);
  } else {
    nghttp3_conn_shutdown_stream_write(http_.get(), stream);
  }
}

}  // namespace overlay::server
