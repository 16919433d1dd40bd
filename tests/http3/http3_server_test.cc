#include "server/http3/http3_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "server/http3/page_workers.h"
#include "tests/support/http3_socket_client.h"

namespace overlay::server {
namespace {

using namespace std::chrono_literals;

// A page that waits until it is let go.
class Gate {
 public:
  ~Gate() { Open(); }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    ++waiting_;
    changed_.wait(lock, [this] { return is_open_; });
  }
  int waiting() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return waiting_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
  int waiting_ = 0;
};

class Http3ServerTest : public ::testing::Test {
 protected:
  void Start(std::vector<HttpRoute> routes, Http3Limits limits = {}) {
    auto server = Http3Server::Start({.listen = SocketAddress::Loopback(0),
                                      .limits = limits,
                                      .random = Random(5),
                                      .routes = std::move(routes)});
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }
  static HttpRoute Plain(std::string path) {
    return {std::move(path), [](const HttpRequest& r) { return PlainPage(200, r.path); }};
  }

  std::unique_ptr<Http3Server> server_;
};

TEST_F(Http3ServerTest, ServesItsRoutesOverASocket) {
  Start({Plain("/a"), Plain("/below/")});
  Http3SocketClient client(server_->address(), 1);
  EXPECT_EQ(client.Fetch({.path = "/a"}).body, "/a");
  EXPECT_EQ(client.Fetch({.path = "/below/x/y"}).body, "/below/x/y");
  for (const char* path : {"/", "/a/", "/ab", "/below", "/below/"}) {
    EXPECT_EQ(client.Fetch({.path = path}).status, 404) << path;
  }
  EXPECT_EQ(server_->counters().answers[0].value(), 2u);
  EXPECT_EQ(server_->counters().refusals[static_cast<size_t>(Http3Refusal::kNotFound)].value(), 5u);
}

TEST_F(Http3ServerTest, TenMegabytesArriveWhole) {
  std::string text(10 << 20, '\0');
  Random(9).Fill(absl::MakeSpan(reinterpret_cast<uint8_t*>(text.data()), text.size()));
  const Bytes set = Bytes::Copy(text);
  Start({{"/set", [&set](const HttpRequest&) {
            return HttpPage{.status = 200, .content_type = "x/y", .body = "", .payload = set};
          }}});
  Http3SocketClient client(server_->address(), 1);
  for (int i = 0; i < 3; ++i) {
    const Http3Answer answer = client.Fetch({.path = "/set"});
    ASSERT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.body == text);
    client.http().Forget(i * 4);
  }
}

TEST_F(Http3ServerTest, ASlowPageHoldsUpNoOther) {
  Gate gate;
  Start({{"/slow",
          [&gate](const HttpRequest&) {
            gate.Pass();
            return PlainPage(200, "slow");
          }},
         Plain("/fast")});
  Http3SocketClient slow(server_->address(), 1);
  Http3SocketClient fast(server_->address(), 2);
  std::optional<transport::StreamId> stream;
  ASSERT_TRUE(
      slow.RunUntil([&] { return (stream = slow.http().Ask({.path = "/slow"})).has_value(); }, 5s));
  ASSERT_TRUE(slow.RunUntil([&] { return gate.waiting() == 1; }, 5s));
  EXPECT_EQ(fast.Fetch({.path = "/fast"}).body, "/fast");
  EXPECT_FALSE(slow.http().answer(*stream).is_complete);
  gate.Open();
  ASSERT_TRUE(slow.RunUntil([&] { return slow.http().answer(*stream).is_complete; }, 5s));
}

TEST_F(Http3ServerTest, WhereTooManyPagesWaitTheNextIsRefused) {
  Gate gate;
  Start({{"/slow",
          [&gate](const HttpRequest&) {
            gate.Pass();
            return PlainPage(200, "slow");
          }}},
        {.connections_max = 256, .requests_per_second_max = 10'000});
  std::vector<std::unique_ptr<Http3SocketClient>> clients;
  // Two are being made, kPageQueueMax wait, all others are refused.
  constexpr size_t kClients = (kPageQueueMax + kPageThreads) / kHttp3StreamsMax + 1;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Http3SocketClient>(server_->address(), i + 1));
    Http3SocketClient& client = *clients.back();
    ASSERT_TRUE(client.RunUntil([&] { return client.http().is_up(); }, 5s));
    for (size_t k = 0; k < kHttp3StreamsMax; ++k) ASSERT_TRUE(client.http().Ask({.path = "/slow"}));
    client.RunOnce(0ms);
  }
  const SharedCount& busy = server_->counters().refusals[static_cast<size_t>(Http3Refusal::kBusy)];
  constexpr size_t kRefused = kClients * kHttp3StreamsMax - kPageQueueMax - kPageThreads;
  ASSERT_TRUE(clients[0]->RunUntil(
      [&] {
        for (auto& client : clients) client->RunOnce(0ms);
        return busy.value() >= kRefused;
      },
      10s));
  EXPECT_EQ(server_->counters().answers[3].value(), busy.value());
  gate.Open();
  ASSERT_TRUE(clients[0]->RunUntil(
      [&] {
        size_t complete = 0;
        for (auto& client : clients) {
          client->RunOnce(0ms);
          complete += client->http().answers_complete();
        }
        return complete == kClients * kHttp3StreamsMax;
      },
      10s));
}

TEST_F(Http3ServerTest, ADrainEndsWhatIsOpen) {
  Start({Plain("/a")});
  Http3SocketClient client(server_->address(), 1);
  EXPECT_EQ(client.Fetch({.path = "/a"}).status, 200);
  server_->BeginDrain();
  EXPECT_TRUE(client.RunUntil([&] { return client.http().closed().has_value(); }, 5s));
  EXPECT_EQ(client.http().closed()->cause, transport::CloseCause::kPeerApplication);
  EXPECT_TRUE(client.http().was_told_goaway());
  server_.reset();
}

TEST_F(Http3ServerTest, ItsEndWaitsForThePageThatIsBeingMade) {
  std::atomic<bool> made{false};
  Gate gate;
  Start({{"/slow", [&](const HttpRequest&) {
            gate.Pass();
            made.store(true);
            return PlainPage(200, "slow");
          }}});
  Http3SocketClient client(server_->address(), 1);
  std::optional<transport::StreamId> stream;
  ASSERT_TRUE(client.RunUntil(
      [&] { return (stream = client.http().Ask({.path = "/slow"})).has_value(); }, 5s));
  ASSERT_TRUE(client.RunUntil([&] { return gate.waiting() == 1; }, 5s));
  std::thread ends([this] { server_.reset(); });
  EXPECT_FALSE(made.load());
  gate.Open();
  ends.join();
  EXPECT_TRUE(made.load());
}

TEST_F(Http3ServerTest, APortThatIsTakenIsSaid) {
  Start({});
  const auto second = Http3Server::Start({.listen = server_->address()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(WebIdentity, RefusesWhatIsNoPair) {
  const auto one = MakeSelfSigned(WallTime{1'700'000'000'000'000});
  const auto two = MakeSelfSigned(WallTime{1'700'000'000'000'000});
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(one->key, two->key);
  EXPECT_TRUE(WebIdentity::Create(*one).ok());
  for (const PemPair& bad : {PemPair{one->certificates, two->key}, PemPair{"", one->key},
                             PemPair{one->certificates, "x"}}) {
    EXPECT_EQ(WebIdentity::Create(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace overlay::server
