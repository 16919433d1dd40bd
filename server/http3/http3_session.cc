#include "server/http3/http3_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "server/http3/request_target.h"

namespace overlay::server {

using transport::QuicConnection;
using transport::StreamId;

namespace {

// A stream of the client's that carries a request.
bool IsRequest(StreamId stream) {
  return transport::IsOpenedByDialler(stream) && !transport::IsUni(stream);
}

std::string_view TextOf(nghttp3_rcbuf* buffer) {
  const nghttp3_vec vec = nghttp3_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(vec.base), vec.len};
}

nghttp3_nv Field(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP3_NV_FLAG_NONE};
}

HttpPage RefusalPage(Http3Refusal why) {
  switch (why) {
    case Http3Refusal::kMalformed:
      return PlainPage(400, "the path is not legal\n");
    case Http3Refusal::kNotFound:
      return PlainPage(404, "there is no such page\n");
    case Http3Refusal::kMethod: {
      HttpPage page = PlainPage(405, "GET and HEAD only\n");
      page.headers.emplace_back("allow", "GET, HEAD");
      return page;
    }
    case Http3Refusal::kBody:
      return PlainPage(413, "a request has no body here\n");
    case Http3Refusal::kHeader:
      return PlainPage(431, "the header is too long\n");
    case Http3Refusal::kRate:
    case Http3Refusal::kBusy:
    case Http3Refusal::kMemory:
      break;
  }
  HttpPage page = PlainPage(503, "too much is being sent\n");
  page.headers.emplace_back("retry-after", "1");
  return page;
}

}  // namespace

HttpPage PlainPage(int status, std::string_view text) {
  return {.status = status,
          .content_type = "text/plain; charset=utf-8",
          .body = std::string(text),
          .headers = {{"cache-control", "no-store"}}};
}

// ---- BodyBudget

bool BodyBudget::Take(const Bytes& body) {
  if (body.empty()) return true;
  auto it = held_.find(body.data());
  if (it == held_.end()) {
    if (bytes_.value() + body.size() > kHttp3BodyBytesMax) return false;
    it = held_.emplace(body.data(), Held{body.size(), 0}).first;
    bytes_.Add(body.size());
  }
  ++it->second.count;
  return true;
}

void BodyBudget::Return(const Bytes& body) {
  const auto it = held_.find(body.data());
  if (body.empty() || it == held_.end() || --it->second.count > 0) return;
  bytes_.Set(bytes_.value() - it->second.bytes);
  held_.erase(it);
}

// ---- what nghttp3 tells

struct Http3Session::Callbacks {
  static Http3Session& Of(void* user) { return *static_cast<Http3Session*>(user); }

  static int BeginHeaders(nghttp3_conn*, int64_t stream, void* user, void*) {
    Http3Session& session = Of(user);
    Request& request = session.requests_[stream];
    request.until = session.now_ + kHttp3RequestTimeout;
    return 0;
  }
  static int Header(nghttp3_conn*, int64_t stream, int32_t token, nghttp3_rcbuf* name,
                    nghttp3_rcbuf* value, uint8_t, void* user, void*) {
    Of(user).OnHeader(stream, token, TextOf(name), TextOf(value));
    return 0;
  }
  static int EndHeaders(nghttp3_conn*, int64_t stream, int, void* user, void*) {
    Of(user).OnHeaders(stream);
    return 0;
  }
  static int Body(nghttp3_conn*, int64_t stream, const uint8_t*, size_t bytes, void* user, void*) {
    Of(user).OnBody(stream, bytes);
    return 0;
  }
  static int EndStream(nghttp3_conn*, int64_t stream, void* user, void*) {
    Of(user).OnEndOfRequest(stream);
    return 0;
  }
  static int DeferredConsume(nghttp3_conn*, int64_t, size_t bytes, void* user, void*) {
    Of(user).consumed_bytes_ += bytes;
    return 0;
  }
  // nghttp3 finds the message malformed, or rejects it after GOAWAY.
  static int StopSending(nghttp3_conn*, int64_t stream, uint64_t code, void* user, void*) {
    Of(user).stop_reading_.emplace_back(stream, code);
    return 0;
  }
  static int ResetStream(nghttp3_conn*, int64_t stream, uint64_t code, void* user, void*) {
    Http3Session& session = Of(user);
    session.reset_.emplace_back(stream, code);
    if (code != NGHTTP3_H3_REQUEST_REJECTED) session.counters_.Count(Http3Refusal::kMalformed);
    session.Forget(stream);
    return 0;
  }
  static nghttp3_ssize ReadBody(nghttp3_conn*, int64_t stream, nghttp3_vec* vec, size_t count,
                                uint32_t* flags, void* user, void*) {
    Http3Session& session = Of(user);
    const auto it = session.requests_.find(stream);
    if (it == session.requests_.end() || count == 0) return NGHTTP3_ERR_WOULDBLOCK;
    const Bytes& body = it->second.body;
    *vec = {const_cast<uint8_t*>(body.data()), body.size()};
    *flags |= NGHTTP3_DATA_FLAG_EOF;
    return 1;
  }
};

Http3Session::Http3Session(BodyBudget& budget, Http3Counters& counters)
    : budget_(budget), counters_(counters) {
  nghttp3_callbacks callbacks{};
  callbacks.begin_headers = Callbacks::BeginHeaders;
  callbacks.recv_header = Callbacks::Header;
  callbacks.end_headers = Callbacks::EndHeaders;
  callbacks.recv_data = Callbacks::Body;
  callbacks.end_stream = Callbacks::EndStream;
  callbacks.deferred_consume = Callbacks::DeferredConsume;
  callbacks.stop_sending = Callbacks::StopSending;
  callbacks.reset_stream = Callbacks::ResetStream;
  nghttp3_settings settings;
  nghttp3_settings_default(&settings);
  settings.max_field_section_size = kHttp3HeaderBytesMax;
  settings.qpack_max_dtable_capacity = 0;
  settings.qpack_encoder_max_dtable_capacity = 0;
  settings.qpack_blocked_streams = 0;
  nghttp3_conn* made = nullptr;
  failed_ = nghttp3_conn_server_new(&made, &callbacks, &settings, nghttp3_mem_default(), this);
  http_.reset(made);
}

Http3Session::~Http3Session() {
  for (const auto& [stream, request] : requests_) budget_.Return(request.body);
}

std::optional<Http3Session::End> Http3Session::EndOf(int error) {
  return End{nghttp3_err_infer_quic_app_error_code(error), nghttp3_strerror(error)};
}

// ---- requests

void Http3Session::OnHeader(StreamId stream, int32_t token, std::string_view name,
                            std::string_view value) {
  const auto it = requests_.find(stream);
  if (it == requests_.end() || it->second.step != Step::kReading) return;
  Request& request = it->second;
  request.header_bytes += name.size() + value.size() + 32;
  if (request.header_bytes > kHttp3HeaderBytesMax) return;  // said when the header is over
  switch (token) {
    case NGHTTP3_QPACK_TOKEN__METHOD:
      request.method = value;
      return;
    case NGHTTP3_QPACK_TOKEN__PATH:
      request.path = value;
      return;
    case NGHTTP3_QPACK_TOKEN_IF_NONE_MATCH:
      request.if_none_match = value;
      return;
    case NGHTTP3_QPACK_TOKEN_ACCEPT_ENCODING:
      if (!request.accept_encoding.empty()) request.accept_encoding += ',';
      request.accept_encoding += value;
      return;
    default:
      return;
  }
}

void Http3Session::OnHeaders(StreamId stream) {
  const auto it = requests_.find(stream);
  if (it == requests_.end() || it->second.step != Step::kReading) return;
  Request& request = it->second;
  if (request.header_bytes > kHttp3HeaderBytesMax) {
    Refuse(stream, request, Http3Refusal::kHeader, RefusalPage(Http3Refusal::kHeader));
  } else if (request.method != "GET" && request.method != "HEAD") {
    Refuse(stream, request, Http3Refusal::kMethod, RefusalPage(Http3Refusal::kMethod));
  }
}

void Http3Session::OnBody(StreamId stream, size_t bytes) {
  consumed_bytes_ += bytes;
  const auto it = requests_.find(stream);
  if (it == requests_.end() || it->second.step != Step::kReading) return;
  Refuse(stream, it->second, Http3Refusal::kBody, RefusalPage(Http3Refusal::kBody));
}

void Http3Session::OnEndOfRequest(StreamId stream) {
  const auto it = requests_.find(stream);
  if (it == requests_.end() || it->second.step != Step::kReading) return;
  Request& request = it->second;
  std::optional<RequestTarget> target = ParseRequestTarget(request.path);
  if (!target) {
    Refuse(stream, request, Http3Refusal::kMalformed, RefusalPage(Http3Refusal::kMalformed));
    return;
  }
  request.step = Step::kWaiting;
  asked_.push_back(
      {stream, HttpRequest{std::move(target->path), std::move(target->query),
                           std::move(request.if_none_match), std::move(request.accept_encoding)}});
}

// R1.
void Http3Session::Refuse(StreamId stream, Request& request, Http3Refusal why, HttpPage page) {
  counters_.Count(why);
  stop_reading_.emplace_back(stream, NGHTTP3_H3_NO_ERROR);
  Submit(stream, request, std::move(page));
}

void Http3Session::Forget(StreamId stream) {
  const auto it = requests_.find(stream);
  if (it == requests_.end()) return;
  budget_.Return(it->second.body);
  body_bytes_ -= it->second.body.size();
  requests_.erase(it);
}

// ---- answers

std::optional<Http3Session::End> Http3Session::Respond(Time now, StreamId stream, HttpPage page) {
  const auto it = requests_.find(stream);
  if (it == requests_.end() || it->second.step != Step::kWaiting) return std::nullopt;
  now_ = now;
  Submit(stream, it->second, std::move(page));
  return failed_ == 0 ? std::nullopt : EndOf(failed_);
}

void Http3Session::Submit(StreamId stream, Request& request, HttpPage page) {
  Bytes body = page.payload.empty() ? Bytes::Take(std::move(page.body)) : std::move(page.payload);
  const bool is_head = request.method == "HEAD";
  if (!is_head &&
      (body_bytes_ + body.size() > kHttp3BodyBytesPerConnectionMax || !budget_.Take(body))) {
    counters_.Count(Http3Refusal::kMemory);
    page = RefusalPage(Http3Refusal::kMemory);
    body = Bytes::Take(std::move(page.body));
    // As small as nothing, and bounded by the number of streams.
  }
  request.step = Step::kAnswering;
  request.ends_at = now_ + kHttp3AnswerTimeout;
  request.until = now_ + kHttp3StallTimeout;

  const std::string status = fmt::format("{}", page.status);
  const std::string length = fmt::format("{}", body.size());
  std::vector<nghttp3_nv> fields = {Field(":status", status)};
  if (!page.content_type.empty()) fields.push_back(Field("content-type", page.content_type));
  if (page.status != 304) fields.push_back(Field("content-length", length));
  for (const auto& [name, value] : page.headers) fields.push_back(Field(name, value));
  if (!is_head) {
    body_bytes_ += body.size();
    request.body = std::move(body);
  }
  const nghttp3_data_reader reader{Callbacks::ReadBody};
  const int rv = nghttp3_conn_submit_response(http_.get(), stream, fields.data(), fields.size(),
                                              request.body.empty() ? nullptr : &reader);
  if (rv != 0 && rv != NGHTTP3_ERR_STREAM_NOT_FOUND) failed_ = rv;
  const auto by_class = static_cast<size_t>(std::clamp(page.status / 100, 2, 5) - 2);
  counters_.answers[by_class].Add();
  has_output_ = true;
}

void Http3Session::Goaway() {
  if (!started_ || failed_ != 0) return;
  failed_ = nghttp3_conn_submit_shutdown_notice(http_.get());
  if (failed_ == 0) failed_ = nghttp3_conn_shutdown(http_.get());
  has_output_ = true;
}

// ---- inputs

std::optional<Http3Session::End> Http3Session::Start(QuicConnection& quic) {
  if (failed_ != 0) return EndOf(failed_);
  std::array<StreamId, 3> streams;
  for (StreamId& stream : streams) {
    const std::optional<StreamId> opened = quic.OpenUni();
    if (!opened) return End{NGHTTP3_H3_STREAM_CREATION_ERROR, "no credit for control streams"};
    stream = *opened;
  }
  nghttp3_conn_set_max_client_streams_bidi(http_.get(), kHttp3StreamsMax);
  failed_ = nghttp3_conn_bind_control_stream(http_.get(), streams[0]);
  if (failed_ == 0) {
    failed_ = nghttp3_conn_bind_qpack_streams(http_.get(), streams[1], streams[2]);
  }
  if (failed_ != 0) return EndOf(failed_);
  started_ = true;
  has_output_ = true;
  return std::nullopt;
}

std::optional<Http3Session::End> Http3Session::OnStreamData(Time now, QuicConnection& quic,
                                                            const transport::StreamData& data) {
  if (!started_) return std::nullopt;
  now_ = now;
  const nghttp3_ssize n = nghttp3_conn_read_stream(http_.get(), data.stream, data.bytes.data(),
                                                   data.bytes.size(), data.fin ? 1 : 0);
  if (n < 0) return EndOf(static_cast<int>(n));
  consumed_bytes_ += static_cast<uint64_t>(n);
  // A request has the stream's first window and no more: what does not fit into it is refused.
  const bool is_full = data.offset + data.bytes.size() >= kHttp3StreamWindowBytes;
  if (!IsRequest(data.stream)) {
    quic.ExtendStream(data.stream, data.bytes.size());
  } else if (const auto it = requests_.find(data.stream);
             is_full && it != requests_.end() && it->second.step == Step::kReading) {
    Refuse(data.stream, it->second, Http3Refusal::kHeader, RefusalPage(Http3Refusal::kHeader));
  }
  has_output_ = true;
  return Settle(quic);
}

// What the callbacks have found. Not in them: they may not call back into nghttp3.
std::optional<Http3Session::End> Http3Session::Settle(QuicConnection& quic) {
  quic.ExtendConnection(std::exchange(consumed_bytes_, 0));
  for (const auto& [stream, code] : std::exchange(stop_reading_, {})) {
    quic.StopReading(stream, code);
    if (failed_ == 0) failed_ = nghttp3_conn_shutdown_stream_read(http_.get(), stream);
  }
  for (const auto& [stream, code] : std::exchange(reset_, {})) {
    quic.ResetSending(stream, code);
    nghttp3_conn_shutdown_stream_write(http_.get(), stream);
  }
  return failed_ == 0 ? std::nullopt : EndOf(failed_);
}

std::optional<Http3Session::End> Http3Session::OnStreamReset(QuicConnection& quic,
                                                             StreamId stream) {
  if (!started_) return std::nullopt;
  if (!IsRequest(stream)) return End{NGHTTP3_H3_CLOSED_CRITICAL_STREAM, "a stream was reset"};
  // A request that was given up before it was complete; one that is complete is still answered.
  if (const auto it = requests_.find(stream);
      it != requests_.end() && it->second.step == Step::kReading) {
    reset_.emplace_back(stream, NGHTTP3_H3_REQUEST_CANCELLED);
    Forget(stream);
  }
  failed_ = nghttp3_conn_shutdown_stream_read(http_.get(), stream);
  return Settle(quic);
}

std::optional<Http3Session::End> Http3Session::OnStreamClosed(
    QuicConnection& quic, const transport::StreamClosed& closed) {
  acked_.erase(closed.stream);
  blocked_.erase(closed.stream);
  Forget(closed.stream);
  if (transport::IsOpenedByDialler(closed.stream)) {
    if (transport::IsUni(closed.stream)) {
      quic.ReturnUniStream();
    } else {
      quic.ReturnBidiStream();
    }
  }
  if (!started_) return std::nullopt;
  if (IsRequest(closed.stream)) {
    const auto number = static_cast<uint64_t>(closed.stream) / 4;
    nghttp3_conn_set_max_client_streams_bidi(http_.get(),
                                             std::max(max_streams_, number + 1 + kHttp3StreamsMax));
    max_streams_ = std::max(max_streams_, number + 1 + kHttp3StreamsMax);
  }
  const int rv = nghttp3_conn_close_stream(http_.get(), closed.stream,
                                           closed.code.value_or(NGHTTP3_H3_NO_ERROR));
  if (rv == 0 || rv == NGHTTP3_ERR_STREAM_NOT_FOUND) return std::nullopt;
  return EndOf(rv);
}

std::optional<Http3Session::End> Http3Session::OnAcked(Time now,
                                                       const transport::StreamAcked& acked) {
  if (!started_) return std::nullopt;
  uint64_t& before = acked_[acked.stream];
  const uint64_t fresh = acked.bytes - std::min(before, acked.bytes);
  before = std::max(before, acked.bytes);
  if (fresh > 0) progress_until_ = now + kHttp3StallTimeout;
  const int rv = nghttp3_conn_add_ack_offset(http_.get(), acked.stream, fresh);
  return rv == 0 ? std::nullopt : EndOf(rv);
}

void Http3Session::Unblock() {
  for (const StreamId stream : std::exchange(blocked_, {})) {
    has_output_ = true;
    if (const int rv = nghttp3_conn_unblock_stream(http_.get(), stream); rv != 0) failed_ = rv;
  }
}

// ---- time

std::optional<Time> Http3Session::NextDeadline() const {
  std::optional<Time> next;
  for (const auto& [stream, request] : requests_) {
    if (request.step == Step::kWaiting) continue;
    const Time at = request.step == Step::kReading ? request.until
                                                   : std::min(request.ends_at, StallsAt(request));
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

std::optional<Http3Session::End> Http3Session::OnDeadline(Time now, QuicConnection& quic) {
  std::vector<StreamId> late;
  for (const auto& [stream, request] : requests_) {
    if (request.step == Step::kReading) {
      if (now >= request.until) late.push_back(stream);
    } else if (request.step == Step::kAnswering &&
               (now >= request.ends_at || now >= StallsAt(request))) {
      return End{NGHTTP3_H3_EXCESSIVE_LOAD, "an answer was not read", true};
    }
  }
  for (const StreamId stream : late) {
    stop_reading_.emplace_back(stream, NGHTTP3_H3_REQUEST_INCOMPLETE);
    reset_.emplace_back(stream, NGHTTP3_H3_REQUEST_INCOMPLETE);
    Forget(stream);
  }
  return Settle(quic);
}

// ---- output

void Http3Session::BeginPass(Time now) {
  now_ = now;
  offered_.reset();
}

std::optional<transport::StreamChunk> Http3Session::Next() {
  if (offered_) return offered_;
  if (!started_ || failed_ != 0) return std::nullopt;
  std::array<nghttp3_vec, 4> parts;
  StreamId stream = -1;
  int fin = 0;
  const nghttp3_ssize n =
      nghttp3_conn_writev_stream(http_.get(), &stream, &fin, parts.data(), parts.size());
  if (n < 0) {
    failed_ = static_cast<int>(n);
    return std::nullopt;
  }
  if (stream < 0 || (n == 0 && fin == 0)) {
    has_output_ = false;
    return std::nullopt;
  }
  if (n == 0) {
    offered_ = transport::StreamChunk{stream, Bytes(), true};
    return offered_;
  }
  const nghttp3_vec& part = parts[0];
  const auto request = requests_.find(stream);
  Bytes data;
  if (request != requests_.end() && !request->second.body.empty() &&
      part.base >= request->second.body.data() &&
      part.base + part.len <= request->second.body.data() + request->second.body.size()) {
    data = request->second.body.Slice(static_cast<size_t>(part.base - request->second.body.data()),
                                      part.len);
  } else {
    data = Bytes::Copy(absl::MakeConstSpan(part.base, part.len));
  }
  offered_ = transport::StreamChunk{stream, std::move(data), fin != 0 && n == 1};
  return offered_;
}

void Http3Session::OnPacked(StreamId stream, size_t bytes, bool /*fin*/) {
  offered_.reset();
  if (bytes > 0) progress_until_ = now_ + kHttp3StallTimeout;
  if (const int rv = nghttp3_conn_add_write_offset(http_.get(), stream, bytes); rv != 0) {
    failed_ = rv;
  }
}

void Http3Session::OnRefused(StreamId stream, transport::WriteRefusal why) {
  offered_.reset();
  if (why == transport::WriteRefusal::kNoCredit) {
    nghttp3_conn_block_stream(http_.get(), stream);
    blocked_.insert(stream);
    return;
  }
  nghttp3_conn_shutdown_stream_write(http_.get(), stream);
  Forget(stream);
}

}  // namespace overlay::server
