// tests/support/http3_world.h
//
// The HTTP/3 window and its clients over an in-memory link in virtual time, the pages made by the
// test.
//
//   Http3World world;
//   Http3Client& client = world.AddClient();
//   ASSERT_TRUE(world.RunUntil([&] { return client.is_up(); }, 1s));
#ifndef OVERLAY_TESTS_SUPPORT_HTTP3_WORLD_H_
#define OVERLAY_TESTS_SUPPORT_HTTP3_WORLD_H_

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "server/http3/http3_front.h"
#include "tests/support/http3_client.h"

namespace overlay::server {

class Http3World {
 public:
  explicit Http3World(const Http3Limits& limits = {});
  ~Http3World();

  // Dials at once. Each from an address of its own, unless `host` says which (10.0.0.`host`).
  Http3Client& AddClient(std::optional<uint8_t> host = std::nullopt);
  // A datagram of no client.
  void Inject(absl::Span<const uint8_t> payload);
  // Answers requests from now on; without it they wait in asked().
  void Serve(std::function<HttpPage(const HttpRequest&)> page) { page_ = std::move(page); }
  std::vector<Http3Asked>& asked() { return asked_; }

  bool RunUntil(const std::function<bool()>& done, Duration limit);
  void RunFor(Duration time) {
    (void)RunUntil([] { return false; }, time);
  }
  // The whole answer to one question.
  Http3Answer Fetch(Http3Client& client, const Http3Question& question);

  Time now() const { return now_; }
  Http3Front& front() { return *front_; }
  const Http3Counters& counters() const { return counters_; }
  uint64_t refused(Http3Refusal why) const {
    return counters_.refusals[static_cast<size_t>(why)].value();
  }

 private:
  class Sink;
  struct Packet {
    SocketAddress from;
    SocketAddress to;
    std::vector<uint8_t> payload;
  };
  struct Peer {
    SocketAddress address;
    std::unique_ptr<Http3Client> client;
    std::unique_ptr<Sink> sink;
  };
  void Transmit(const SocketAddress& from, const SocketAddress& to,
                absl::Span<const uint8_t> payload);
  void Turn();

  Time now_{std::chrono::seconds(1'000)};
  Http3Counters counters_;
  std::unique_ptr<WebIdentity> identity_;
  std::unique_ptr<Http3Front> front_;
  std::unique_ptr<Sink> front_sink_;
  bool front_has_more_ = false;
  std::vector<Peer> peers_;
  std::function<HttpPage(const HttpRequest&)> page_;
  std::vector<Http3Asked> asked_;
  std::multimap<Time, Packet> in_flight_;
};

}  // namespace overlay::server

#endif  // OVERLAY_TESTS_SUPPORT_HTTP3_WORLD_H_
