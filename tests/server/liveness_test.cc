// A core that is there and does not answer: its keep-alives. Between it and the daemon stands a
// relay that can stop passing bytes on, as a stopped process or a dead network would.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <chrono>
#include <list>

#include "gtest/gtest.h"
#include "tests/server/sessions_fixture.h"

namespace overlay::server {
namespace {

// A PING of HTTP/2, or its answer.
constexpr uint64_t kPingBytes = 17;

// Passes bytes between those who connect to `path` and the socket `to`, until it freezes: then it
// goes on taking them, and they go nowhere.
class Relay {
 public:
  Relay(const std::string& path, const std::string& to) : path_(path), to_(to) {
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_un address = Address(path_);
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 4), 0);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~Relay() {
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    for (const int fd : fds_) shutdown(fd, SHUT_RDWR);
    for (std::thread& pump : pumps_) pump.join();
    for (const int fd : fds_) close(fd);
    close(listener_);
    unlink(path_.c_str());
  }
  void Freeze() { frozen_ = true; }
  // That clients have sent.
  uint64_t bytes_up() const { return up_; }

 private:
  static sockaddr_un Address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return address;
  }
  void Accept() {
    while (true) {
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_un address = Address(to_);
      EXPECT_EQ(connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
      fds_.push_back(client);
      fds_.push_back(server);
      pumps_.emplace_back([=, this] { Pump(client, server, &up_); });
      pumps_.emplace_back([=, this] { Pump(server, client, &down_); });
    }
  }
  void Pump(int from, int to, std::atomic<uint64_t>* count) {
    char buffer[4096];
    while (true) {
      const ssize_t n = read(from, buffer, sizeof(buffer));
      if (n <= 0) break;
      if (frozen_) continue;
      *count += static_cast<uint64_t>(n);
      if (send(to, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) != n) break;
    }
    if (!frozen_) shutdown(to, SHUT_RDWR);
  }

  const std::string path_;
  const std::string to_;
  int listener_ = -1;
  std::atomic<bool> frozen_{false};
  std::atomic<uint64_t> up_{0};
  std::atomic<uint64_t> down_{0};
  std::thread acceptor_;
  std::vector<int> fds_;  // the acceptor's, until it has ended
  std::list<std::thread> pumps_;
};

class Liveness : public Sessions {
 protected:
  void SetUp() override {
    server_options_.keepalive_time = std::chrono::milliseconds(50);
    server_options_.keepalive_timeout = std::chrono::seconds(2);  // a busy machine's pauses
    Sessions::SetUp();
    relay_ = std::make_unique<Relay>(folder_.Path("relay"), folder_.Path("core"));
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    direct_ = std::exchange(channel_,
                            grpc::CreateCustomChannel("unix:" + folder_.Path("relay"),
                                                      grpc::InsecureChannelCredentials(), args));
    stub_ = v1::Core::NewStub(channel_);
  }
  void TearDown() override {
    relay_.reset();
    Sessions::TearDown();
  }

  std::unique_ptr<Relay> relay_;
  std::shared_ptr<grpc::Channel> direct_;
};

// The session of an idle core lives while it answers, however long it says nothing else, and ends
// when it does not, with nothing being written to it: all its calls are cancelled, and another core
// finds the place free.
TEST_F(Liveness, ACoreThatLeavesKeepAlivesUnansweredIsDetached) {
  size_t waiting = 0;  // for callers: one of each method
  OnLoop([&](Time) { waiting = server_->call_count(); });
  Attachment a = Attach();
  ASSERT_NE(a.session, 0u);
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  auto tx_context = With(a.session);
  auto transactions = stub_->Transactions(tx_context.get());
  size_t calls = 0;
  while (calls < 2) {  // Scp and Transactions
    OnLoop([&](Time) { calls = sessions_->core()->calls.size(); });
  }
  // Nothing but answers to keep-alives goes up now. More of them than the two pings without data
  // that gRPC allows a client: a server that stopped there would never find out.
  const uint64_t before = relay_->bytes_up();
  while (relay_->bytes_up() < before + 6 * kPingBytes) std::this_thread::yield();
  EXPECT_TRUE(Told<flood::CoreDetached>().empty());
  bool attached = false;
  OnLoop([&](Time) { attached = sessions_->core() != nullptr; });
  EXPECT_TRUE(attached);

  relay_->Freeze();
  while (Told<flood::CoreDetached>().empty()) std::this_thread::yield();
  OnLoop([&](Time) { attached = sessions_->core() != nullptr; });
  EXPECT_FALSE(attached);
  // The server's calls of that session have all ended; none hangs about.
  for (size_t open = waiting + 1; open > waiting;) {
    OnLoop([&](Time) { open = server_->call_count(); });
  }

  stub_ = v1::Core::NewStub(direct_);
  Attachment second = Attach(Request("instance-2"));
  EXPECT_NE(second.session, 0u);
  second.context->TryCancel();
  for (grpc::ClientContext* c : {a.context.get(), context.get(), tx_context.get()}) c->TryCancel();
}

}  // namespace
}  // namespace overlay::server
