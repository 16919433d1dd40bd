// Look-ups against a server of the test's own, on loopback and on the loop of the resolver.
#include "transport/dns_resolver.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

constexpr size_t kHeaderBytes = 12;
constexpr uint8_t kTypeA = 1;

// Says nothing, or answers each question for IPv4 addresses with as many as it was told: over UDP
// what fits into 512 bytes, else over TCP.
class NameServer {
 public:
  explicit NameServer(EventLoop* loop) : loop_(loop) {
    // The kernel chooses a port for the one, and another one if the other cannot have the same.
    sockaddr_in address{};
    bool bound = false;
    for (int tries = 0; tries < 100 && !bound; ++tries) {
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = 0;
      socklen_t size = sizeof(address);
      if (tries > 0) close(udp_);
      udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
      EXPECT_EQ(bind(udp_, reinterpret_cast<sockaddr*>(&address), size), 0);
      EXPECT_EQ(getsockname(udp_, reinterpret_cast<sockaddr*>(&address), &size), 0);
      bound = bind(tcp_, reinterpret_cast<sockaddr*>(&address), size) == 0;
    }
    EXPECT_TRUE(bound);
    EXPECT_EQ(listen(tcp_, 4), 0);
    port_ = ntohs(address.sin_port);
    EXPECT_OK(loop_->Watch(udp_, {.read = true}, [this](Time, FdReady) { OnUdp(); }));
    EXPECT_OK(loop_->Watch(tcp_, {.read = true}, [this](Time, FdReady) { OnAccept(); }));
  }
  ~NameServer() {
    for (const int fd : connections_) {
      loop_->Unwatch(fd);
      close(fd);
    }
    loop_->Unwatch(udp_);
    loop_->Unwatch(tcp_);
    close(udp_);
    close(tcp_);
  }
  std::string address() const { return fmt::format("127.0.0.1:{}", port_); }
  void AnswerWith(size_t addresses) { addresses_ = addresses; }

 private:
  void OnUdp() {
    std::array<char, 512> buffer;
    sockaddr_in from{};
    socklen_t from_size = sizeof(from);
    const ssize_t size = recvfrom(udp_, buffer.data(), buffer.size(), 0,
                                  reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size <= 0) return;
    if (!addresses_) return;
    std::string answer = AnswerTo({buffer.data(), static_cast<size_t>(size)});
    if (answer.size() > buffer.size()) {
      answer.resize(static_cast<size_t>(size));
      answer[2] |= 0x02;             // truncated
      answer[6] = answer[7] = '\0';  // no answers
    }
    sendto(udp_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), from_size);
  }
  void OnAccept() {
    const int fd = accept4(tcp_, nullptr, nullptr, SOCK_NONBLOCK);
    if (fd < 0) return;
    connections_.push_back(fd);
    EXPECT_OK(loop_->Watch(fd, {.read = true}, [this, fd](Time, FdReady) { OnTcp(fd); }));
  }
  void OnTcp(int fd) {
    std::array<char, 512> buffer;
    const ssize_t size = read(fd, buffer.data(), buffer.size());
    if (size <= 0) return loop_->Unwatch(fd);
    std::string& asked = asked_[fd];
    asked.append(buffer.data(), static_cast<size_t>(size));
    while (asked.size() >= 2) {
      const size_t bytes = static_cast<uint8_t>(asked[0]) * 256u + static_cast<uint8_t>(asked[1]);
      if (asked.size() < 2 + bytes) return;
      const std::string answer = AnswerTo(asked.substr(2, bytes));
      const std::string framed = Number(answer.size()) + answer;
      EXPECT_EQ(write(fd, framed.data(), framed.size()), static_cast<ssize_t>(framed.size()));
      asked.erase(0, 2 + bytes);
    }
  }
  static std::string Number(size_t value) {
    return {static_cast<char>(value >> 8), static_cast<char>(value)};
  }
  // The question, and behind it an address record for each address.
  std::string AnswerTo(const std::string& asked) const {
    const size_t name_end = asked.find('\0', kHeaderBytes);
    std::string answer = asked.substr(0, name_end + 5);
    const size_t count = answer[name_end + 2] == kTypeA ? *addresses_ : 0;
    answer[2] = static_cast<char>(0x81);  // a response
    answer[3] = static_cast<char>(0x80);  // without error
    answer.replace(6, 6, Number(count) + std::string(4, '\0'));
    for (size_t i = 0; i < count; ++i) {
      // Its name is the question's; A, IN; a minute; 4 bytes.
      answer += std::string("\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04", 12);
      answer += std::string("\x0a\0", 2) + Number(i);
    }
    return answer;
  }

  EventLoop* const loop_;
  int udp_ = -1;
  const int tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  uint16_t port_ = 0;
  std::optional<size_t> addresses_;
  std::vector<int> connections_;
  std::map<int, std::string> asked_;
};

class DnsResolverTest : public testing::Test {
 protected:
  struct Got {
    std::string host;
    DnsResolver::Addresses addresses;
  };

  DnsResolverTest() : loop_(NewLoop()), server_(loop_.get()) {
    auto resolver = DnsResolver::Create(
        loop_.get(),
        [this](Time, const std::string& host, const DnsResolver::Addresses& addresses) {
          answers_.push_back({host, addresses});
        },
        server_.address());
    EXPECT_OK(resolver);
    resolver_ = *std::move(resolver);
  }
  static std::unique_ptr<EventLoop> NewLoop() {
    auto loop = EventLoop::Create();
    EXPECT_OK(loop);
    return *std::move(loop);
  }
  void Resolve(const std::string& host) { resolver_->Resolve(loop_->now(), host); }
  void RunUntilAnswered(size_t count) {
    const Time limit = loop_->ReadClock() + 20s;
    while (answers_.size() < count && loop_->ReadClock() < limit) loop_->RunOnce(100ms);
    ASSERT_EQ(answers_.size(), count);
  }

  std::unique_ptr<EventLoop> loop_;
  NameServer server_;
  std::vector<Got> answers_;
  std::unique_ptr<DnsResolver> resolver_;
};

TEST_F(DnsResolverTest, FindsTheAddressesOfAName) {
  server_.AnswerWith(2);
  Resolve("peer.example");
  EXPECT_TRUE(answers_.empty());
  RunUntilAnswered(1);
  EXPECT_EQ(answers_[0].host, "peer.example");
  ASSERT_OK(answers_[0].addresses);
  EXPECT_THAT(*answers_[0].addresses,
              testing::UnorderedElementsAre(SocketAddress::V4(0x0a000000, 0),
                                            SocketAddress::V4(0x0a000001, 0)));
  EXPECT_FALSE(resolver_->NextDeadline(loop_->now()));
}

TEST_F(DnsResolverTest, ANameWithoutAddressesIsNotFound) {
  server_.AnswerWith(0);
  Resolve("peer.example");
  RunUntilAnswered(1);
  EXPECT_EQ(answers_[0].addresses.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(resolver_->failures(), 1u);
}

// The server says nothing; the resolver goes first.
TEST_F(DnsResolverTest, AnswersWhatIsOpenWhenItIsDestroyed) {
  Resolve("one.example");
  Resolve("two.example");
  EXPECT_TRUE(answers_.empty());
  resolver_.reset();
  ASSERT_EQ(answers_.size(), 2u);
  for (const Got& got : answers_) {
    EXPECT_EQ(got.addresses.status().code(), absl::StatusCode::kUnavailable);
  }
}

// Nothing is asked of a server that says nothing, and look-ups under way do not matter.
TEST_F(DnsResolverTest, AnIpLiteralIsAnsweredAtOnce) {
  for (size_t i = 0; i < kLookupsMax; ++i) Resolve(fmt::format("peer{}.example", i));
  ASSERT_TRUE(answers_.empty());
  Resolve("192.0.2.7");
  Resolve("2001:db8::7");
  ASSERT_EQ(answers_.size(), 2u);
  for (const Got& got : answers_) {
    ASSERT_OK(got.addresses);
    EXPECT_THAT(*got.addresses, testing::ElementsAre(*SocketAddress::ParseIp(got.host, 0)));
  }
}

TEST_F(DnsResolverTest, BoundsLookups) {
  for (size_t i = 0; i < kLookupsMax; ++i) Resolve(fmt::format("peer{}.example", i));
  EXPECT_TRUE(answers_.empty());
  Resolve("more.example");
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].host, "more.example");
  EXPECT_EQ(answers_[0].addresses.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(DnsResolverTest, BoundsTheAddressesOfAName) {
  server_.AnswerWith(kAddressesMax + 6);
  Resolve("peer.example");
  RunUntilAnswered(1);
  ASSERT_OK(answers_[0].addresses);
  EXPECT_EQ(answers_[0].addresses->size(), kAddressesMax);
}

}  // namespace
}  // namespace overlay::transport
