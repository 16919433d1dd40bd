// Real sockets of this process, and a loop that the test turns.
#include "server/api_gate.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/descriptors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace overlay::server {
namespace {

using absl::StatusCode;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kFirst = 0x7f000001;   // 127.0.0.1
constexpr uint32_t kSecond = 0x7f000002;  // another machine, as far as the gate can see

class ApiGateTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = transport::EventLoop::Create();
    ASSERT_OK(loop);
    loop_ = *std::move(loop);
    loop_->SetTurnHandler([this](Time now) { return gate_ ? gate_->OnTurn(now) : std::nullopt; });
    gate_ = std::make_unique<ApiGate>(loop_.get(), nullptr);
  }
  void TearDown() override {
    gate_.reset();
    for (const int fd : adopted_) close(fd);
    for (const int fd : clients_) close(fd);
  }

  void Open(size_t connections_max, const std::string& address = "127.0.0.1:0") {
    const absl::StatusOr<int> port = gate_->Open("api", address);
    ASSERT_OK(port);
    port_ = static_cast<uint16_t>(*port);
    ASSERT_OK(gate_->Start(connections_max, [this](size_t, int fd) { adopted_.push_back(fd); }));
  }
  // Connects; the descriptor stays the fixture's.
  int Connect(uint32_t from = kFirst) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    clients_.push_back(fd);
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(from);
    EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof(own)), 0);
    sockaddr_in to = own;
    to.sin_addr.s_addr = htonl(kFirst);
    to.sin_port = htons(port_);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    return fd;
  }
  int ConnectUnix(const std::string& path) {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    clients_.push_back(fd);
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path, path.data(), path.size());
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    return fd;
  }
  uint16_t PortOf(int client) {
    sockaddr_in own{};
    socklen_t bytes = sizeof(own);
    EXPECT_EQ(getsockname(client, reinterpret_cast<sockaddr*>(&own), &bytes), 0);
    return ntohs(own.sin_port);
  }
  // Turns until it is true.
  template <class Condition>
  bool Until(Condition condition) {
    const Time end = loop_->ReadClock() + 20s;
    bool is_so = false;
    while (!(is_so = condition()) && loop_->ReadClock() < end) loop_->RunOnce(100ms);
    return is_so;
  }
  bool Accepted(uint64_t count) {
    return Until([&] { return gate_->counters().accepted == count; });
  }
  // Of the clients, in the order of connecting, whether the gate has ended them.
  std::vector<bool> Ended() {
    std::vector<bool> ended;
    for (const int fd : clients_) {
      char byte;
      ended.push_back(recv(fd, &byte, 1, MSG_DONTWAIT) == 0);
    }
    return ended;
  }
  void Call(int client) { gate_->OnCall("ipv4:127.0.0.1:" + std::to_string(PortOf(client))); }

  TempFolder folder_;
  std::unique_ptr<transport::EventLoop> loop_;
  std::unique_ptr<ApiGate> gate_;
  uint16_t port_ = 0;
  std::vector<int> adopted_;
  std::vector<int> clients_;
};

TEST_F(ApiGateTest, AConnectionIsHandedOverAndCountedUntilItIsOver) {
  Open(10);
  const int client = Connect();
  ASSERT_TRUE(Accepted(1));
  EXPECT_EQ(gate_->connection_count(), 1u);
  ASSERT_EQ(adopted_.size(), 1u);
  ASSERT_EQ(send(client, "x", 1, 0), 1);
  char byte = 0;
  ASSERT_TRUE(Until([&] { return recv(adopted_[0], &byte, 1, 0) == 1; }));
  EXPECT_EQ(byte, 'x');
  // As gRPC ends one.
  shutdown(adopted_[0], SHUT_RDWR);
  EXPECT_TRUE(Until([&] { return gate_->connection_count() == 0; }));
  EXPECT_THAT(Ended(), ElementsAre(true));
}

// R2: the newcomer comes in; the oldest of whoever holds most goes, not the oldest of all.
TEST_F(ApiGateTest, AtTheLimitWhoHoldsMostLosesOne) {
  Open(4);
  Connect(kSecond);
  ASSERT_TRUE(Accepted(1));
  for (uint64_t i = 2; i <= 4; ++i) {
    Connect();
    ASSERT_TRUE(Accepted(i));
  }
  EXPECT_EQ(gate_->counters().displaced, 0u);
  Connect(kSecond);
  ASSERT_TRUE(Accepted(5));
  EXPECT_EQ(gate_->counters().displaced, 1u);
  EXPECT_EQ(gate_->connection_count(), 4u);
  EXPECT_THAT(Ended(), ElementsAre(false, true, false, false, false));
}

// R2: who has made a call stays before who has not, however many they hold.
TEST_F(ApiGateTest, WhoSaysNothingGoesFirst) {
  Open(3);
  const int core = Connect();
  ASSERT_TRUE(Accepted(1));
  const int second = Connect();
  ASSERT_TRUE(Accepted(2));
  Call(core);
  Call(second);
  gate_->OnCall("unix:");
  gate_->OnCall("ipv4:127.0.0.1:what");
  Connect(kSecond);
  ASSERT_TRUE(Accepted(3));
  Connect();
  ASSERT_TRUE(Accepted(4));
  EXPECT_THAT(Ended(), ElementsAre(false, false, true, false));
}

// This process opens none more while one of these lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit none{1, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

// R3: what waits comes in when there are descriptors again, and of those who hold few nobody goes.
TEST_F(ApiGateTest, WithoutDescriptorsWhatWaitsIsNotLost) {
  Open(100);
  for (uint64_t i = 1; i <= ApiGate::kHeldAlways; ++i) {
    Connect();
    ASSERT_TRUE(Accepted(i));
  }
  Connect();
  {
    const NoDescriptors none;
    EXPECT_TRUE(Until([&] { return gate_->counters().starved >= 3; }));
    const auto turns = loop_->turns();
    const Time from = loop_->ReadClock();
    while (loop_->ReadClock() < from + 5 * ApiGate::kRetryAfter) loop_->RunOnce(1s);
    EXPECT_LE(loop_->turns() - turns, 20u);  // it does not turn without a rest
  }
  EXPECT_EQ(gate_->counters().displaced, 0u);
  EXPECT_TRUE(Accepted(ApiGate::kHeldAlways + 1));
}

TEST_F(ApiGateTest, WithoutDescriptorsWhoHoldsManyLosesSome) {
  Open(100);
  for (uint64_t i = 1; i <= 2 * ApiGate::kHeldAlways; ++i) {
    Connect();
    ASSERT_TRUE(Accepted(i));
  }
  Connect();
  {
    const NoDescriptors none;
    EXPECT_TRUE(Until([&] { return gate_->counters().starved >= 3; }));
  }
  EXPECT_EQ(gate_->counters().displaced, ApiGate::kHeldAlways);  // and no further
  EXPECT_TRUE(Accepted(2 * ApiGate::kHeldAlways + 1));
}

TEST_F(ApiGateTest, AUnixSocketTakesThePlaceOfADeadOneAndGoesWithIt) {
  const std::string path = folder_.Path("core");
  {
    ApiGate dead(loop_.get(), nullptr);
    ASSERT_OK(dead.Open("api", "unix:" + path));
    ASSERT_EQ(link(path.c_str(), folder_.Path("file").c_str()), 0);  // survives it
  }
  struct stat info {};
  EXPECT_NE(stat(path.c_str(), &info), 0);
  ASSERT_EQ(rename(folder_.Path("file").c_str(), path.c_str()), 0);
  Open(1, "unix:" + path);
  ConnectUnix(path);
  ASSERT_TRUE(Accepted(1));
  ConnectUnix(path);  // of the same process
  ASSERT_TRUE(Accepted(2));
  EXPECT_THAT(Ended(), ElementsAre(true, false));
  gate_->Stop();
  EXPECT_NE(stat(path.c_str(), &info), 0);
  EXPECT_THAT(Ended(), ElementsAre(true, false));  // those that are there stay
}

TEST_F(ApiGateTest, WhatCannotBeBoundIsNamed) {
  const std::string path = folder_.Path("file");
  std::ofstream(path) << "not a socket";
  EXPECT_THAT(gate_->Open("api", "unix:" + path),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr(path)));
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  Open(1);
  EXPECT_THAT(gate_->Open("api", "127.0.0.1:" + std::to_string(port_)),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("Address already in use")));
}

TEST(Descriptors, ConnectionsFollowTheLimit) {
  EXPECT_EQ(ApiConnectionsFor(1 << 20, 20, 2), kApiConnectionsMax);
  EXPECT_EQ(ApiConnectionsFor(kDescriptorsWanted, 20, 2), kApiConnectionsMax);
  EXPECT_EQ(ApiConnectionsFor(20 + 48 + 4 * 50, 20, 2), 50u);
  EXPECT_EQ(ApiConnectionsFor(20 + 48 + 4 * 50 - 1, 20, 2), 49u);
  EXPECT_EQ(ApiConnectionsFor(20 + 48 + 4 * 50, 20, 1), 100u);
  EXPECT_EQ(ApiConnectionsFor(20, 40, 2), kApiConnectionsMin);
}

TEST(Descriptors, OpenOnesAreCounted) {
  const uint64_t before = OpenDescriptors();
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(OpenDescriptors(), before + 1);
  close(fd);
}

TEST(Descriptors, TheSoftLimitBecomesTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{before.rlim_max / 2, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), before.rlim_max);
  EXPECT_EQ(DescriptorLimit(), before.rlim_max);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace overlay::server
