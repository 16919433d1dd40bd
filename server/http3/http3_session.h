// server/http3/http3_session.h
//
// One client's HTTP/3: nghttp3 over one QUIC connection, without IO. Requests come out, pages go
// in, and what is to be sent is offered to the connection as its StreamSource.
//
// Rules
//   R1  GET and HEAD alone, without a body. What is wrong with a request is answered at once, and
//       no more of it is read. Why: the window is for looking.
//   R2  A page's bytes are referenced, never copied, until its stream is over. Why: ten readers of
//       a 10 MB set cost 10 MB.
//   R3  Bodies that are being sent have a budget, shared by all connections, and each connection
//       has its share of it: over it a page becomes 503. Why: a client that never reads costs a
//       bounded amount.
//   R4  A request has kHttp3RequestTimeout to become complete. An answer that stands still for
//       kHttp3StallTimeout, or takes kHttp3AnswerTimeout, ends its connection. Why: a slow reader
//       holds its own place, and not for ever.
//   R5  No dynamic QPACK table in either direction. Why: it is memory that a client fills, and our
//       answers gain nothing by it.
//
// Bounds   kHttp3StreamsMax requests, kHttp3HeaderBytesMax a header.
// Time     argument only.
// Threads  none: the window's.
#ifndef OVERLAY_SERVER_HTTP3_HTTP3_SESSION_H_
#define OVERLAY_SERVER_HTTP3_HTTP3_SESSION_H_

#include <nghttp3/nghttp3.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "flood/base/bytes.h"
#include "flood/base/time.h"
#include "server/http3/http3_limits.h"
#include "server/http_page.h"
#include "transport/quic_connection.h"
#include "transport/stream_source.h"

namespace overlay::server {

// The bytes of bodies that are being sent, each buffer counted once (R3).
class BodyBudget {
 public:
  explicit BodyBudget(SharedCount& bytes) : bytes_(bytes) {}
  // False: there is no room for it.
  bool Take(const Bytes& body);
  void Return(const Bytes& body);

 private:
  struct Held {
    size_t bytes = 0;
    size_t count = 0;
  };
  absl::flat_hash_map<const uint8_t*, Held> held_;
  SharedCount& bytes_;
};

// A page for a refusal, or for what was found to be wrong.
HttpPage PlainPage(int status, std::string_view text);

class Http3Session : public transport::StreamSource {
 public:
  struct Asked {
    transport::StreamId stream;
    HttpRequest request;
  };
  // Why a connection must end.
  struct End {
    uint64_t code;
    std::string_view reason;
    bool stalled = false;
  };

  Http3Session(BodyBudget& budget, Http3Counters& counters);
  ~Http3Session() override;

  // ---- getters
  // Requests that are not answered whole.
  size_t under_way() const { return requests_.size(); }
  bool has_output() const { return has_output_; }
  // What went wrong within a pass.
  std::optional<End> failure() const { return failed_ == 0 ? std::nullopt : EndOf(failed_); }
  // When to call OnDeadline.
  std::optional<Time> NextDeadline() const;

  // ---- inputs. nullopt: go on.
  // The handshake is over.
  std::optional<End> Start(transport::QuicConnection& quic);
  std::optional<End> OnStreamData(Time now, transport::QuicConnection& quic,
                                  const transport::StreamData& data);
  std::optional<End> OnStreamReset(transport::QuicConnection& quic, transport::StreamId stream);
  std::optional<End> OnStreamClosed(transport::QuicConnection& quic,
                                    const transport::StreamClosed& closed);
  std::optional<End> OnAcked(Time now, const transport::StreamAcked& acked);
  // The client may have given credit.
  void Unblock();
  std::optional<End> OnDeadline(Time now, transport::QuicConnection& quic);

  // ---- commands
  // Answers a request; one that is gone is let be.
  std::optional<End> Respond(Time now, transport::StreamId stream, HttpPage page);
  // No more requests are taken (GOAWAY).
  void Goaway();

  // ---- output
  // Requests for pages that have become complete.
  std::vector<Asked> TakeAsked() { return std::exchange(asked_, {}); }
  // Before a pass of writing.
  void BeginPass(Time now);
  std::optional<transport::StreamChunk> Next() override;
  void OnPacked(transport::StreamId stream, size_t bytes, bool fin) override;
  void OnRefused(transport::StreamId stream, transport::WriteRefusal why) override;

 private:
  enum class Step : uint8_t { kReading, kWaiting, kAnswering };
  struct Request {
    Step step = Step::kReading;
    Time until{};    // R4: of reading, and when an answer stalls at the earliest
    Time ends_at{};  // of an answer
    std::string method;
    std::string path;
    std::string if_none_match;
    std::string accept_encoding;
    size_t header_bytes = 0;
    Bytes body;  // of the answer
  };
  struct Callbacks;

  void OnHeader(transport::StreamId stream, int32_t token, std::string_view name,
                std::string_view value);
  void OnHeaders(transport::StreamId stream);
  void OnBody(transport::StreamId stream, size_t bytes);
  void OnEndOfRequest(transport::StreamId stream);
  void Refuse(transport::StreamId stream, Request& request, Http3Refusal why, HttpPage page);
  void Submit(transport::StreamId stream, Request& request, HttpPage page);
  void Forget(transport::StreamId stream);
  static std::optional<End> EndOf(int nghttp3_error);
  // An answer of which nothing moves, nor of others on the connection: they go one after another.
  Time StallsAt(const Request& request) const { return std::max(request.until, progress_until_); }
  std::optional<End> Settle(transport::QuicConnection& quic);

  struct Deleter {
    void operator()(nghttp3_conn* http) const { nghttp3_conn_del(http); }
  };
  BodyBudget& budget_;
  Http3Counters& counters_;
  std::unique_ptr<nghttp3_conn, Deleter> http_;
  bool started_ = false;
  int failed_ = 0;  // an error of nghttp3 inside a pass or a callback
  bool has_output_ = false;
  Time now_{};  // of the call under way
  std::map<transport::StreamId, Request> requests_;
  size_t body_bytes_ = 0;  // of `requests_`
  Time progress_until_{};  // R4
  uint64_t max_streams_ = 0;
  std::vector<Asked> asked_;
  std::map<transport::StreamId, uint64_t> acked_;
  std::set<transport::StreamId> blocked_;
  // What callbacks have found, for the connection.
  uint64_t consumed_bytes_ = 0;
  std::vector<std::pair<transport::StreamId, uint64_t>> stop_reading_;
  std::vector<std::pair<transport::StreamId, uint64_t>> reset_;
  std::optional<transport::StreamChunk> offered_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_HTTP3_SESSION_H_
