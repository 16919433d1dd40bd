// tests/support/http3_client.h
//
// An HTTP/3 client, for tests and the benchmark: nghttp3 over one dialled QUIC connection, without
// IO, so that it runs in virtual time and on a socket alike. It takes whatever certificate it sees.
#ifndef OVERLAY_TESTS_SUPPORT_HTTP3_CLIENT_H_
#define OVERLAY_TESTS_SUPPORT_HTTP3_CLIENT_H_

#include <nghttp3/nghttp3.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/http3/web_identity.h"
#include "transport/quic_endpoint.h"

namespace overlay::server {

struct Http3Answer {
  int status = 0;
  std::map<std::string, std::string> headers;
  std::string body;
  bool is_complete = false;
  std::optional<uint64_t> reset;
};

struct Http3Question {
  std::string method = "GET";
  std::string path;
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  bool is_endless = false;  // the request is never complete
};

class Http3Client : public transport::StreamSource {
 public:
  explicit Http3Client(uint64_t seed);
  ~Http3Client() override;

  void Dial(Time now, const SocketAddress& remote);
  // nullopt: not up, or no credit for another stream.
  std::optional<transport::StreamId> Ask(const Http3Question& question);
  // False: what comes is not read any more, so that its credit is used up.
  void set_reading(bool on) { is_reading_ = on; }
  void Close(Time now);

  // Up and not closed.
  bool is_up() const { return is_up_ && !closed_; }
  const std::optional<transport::CloseInfo>& closed() const { return closed_; }
  bool was_told_goaway() const { return was_told_goaway_; }
  const Http3Answer& answer(transport::StreamId stream) { return answers_[stream]; }
  void Forget(transport::StreamId stream) { answers_.erase(stream); }
  size_t answers_complete() const { return answers_complete_; }

  void OnDatagram(Time now, const transport::Path& path, absl::Span<const uint8_t> payload);
  void OnTurn(Time now);
  void Write(Time now, transport::DatagramSink& sink);
  std::optional<Time> NextDeadline() { return endpoint_.NextDeadline(); }
  bool wants_to_write() { return has_output_ || !endpoint_.NeedFlush().empty(); }

  // StreamSource
  std::optional<transport::StreamChunk> Next() override;
  void OnPacked(transport::StreamId stream, size_t bytes, bool fin) override;
  void OnRefused(transport::StreamId stream, transport::WriteRefusal why) override;

 private:
  struct Callbacks;
  struct Deleter {
    void operator()(nghttp3_conn* http) const { nghttp3_conn_del(http); }
  };
  void Handle();
  void Start(transport::QuicConnection& quic);

  std::unique_ptr<WebIdentity> identity_;
  transport::QuicEndpoint endpoint_;
  transport::QuicEvents events_;
  transport::ConnectionId id_{};
  std::unique_ptr<nghttp3_conn, Deleter> http_;
  bool is_up_ = false;
  bool is_reading_ = true;
  bool has_output_ = false;
  bool was_told_goaway_ = false;
  std::optional<transport::CloseInfo> closed_;
  std::map<transport::StreamId, Http3Answer> answers_;
  size_t answers_complete_ = 0;
  std::map<transport::StreamId, std::string> bodies_;  // of our requests
  std::set<transport::StreamId> endless_;
  std::map<transport::StreamId, uint64_t> acked_;
  std::set<transport::StreamId> blocked_;
  uint64_t consumed_ = 0;
};

}  // namespace overlay::server

#endif  // OVERLAY_TESTS_SUPPORT_HTTP3_CLIENT_H_
