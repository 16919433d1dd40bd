// Look-ups against a server of the test's own, on loopback and on the loop of the resolver.
#include "transport/dns_resolver.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

constexpr size_t kHeaderBytes = 12;
constexpr uint16_t kA = 1;
constexpr uint16_t kCname = 5;
constexpr uint16_t kAaaa = 28;
constexpr uint16_t kSrv = 33;
enum Rcode : uint8_t { kServfail = 2, kNxdomain = 3 };

std::string Number(size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string WireName(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    out += static_cast<char>(label.size());
    out += label;
    name.remove_prefix(std::min(name.size(), label.size() + 1));
  }
  return out + '\0';
}

// Answers what it was told: over UDP what fits into 512 bytes, else over TCP. A name that it does
// not know does not exist.
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
  void Add(const std::string& name, uint16_t type, std::string data, uint32_t ttl = 60) {
    names_.insert(name);
    records_[{name, type}].push_back({ttl, std::move(data)});
  }
  void AddA(const std::string& name, uint32_t address, uint32_t ttl = 60) {
    Add(name, kA, Number(address >> 16) + Number(address & 0xffff), ttl);
  }
  void AddAaaa(const std::string& name, const std::string& address, uint32_t ttl = 60) {
    const auto parsed = SocketAddress::ParseIp(address, 0);
    EXPECT_OK(parsed);
    Add(name, kAaaa, std::string(parsed->ip.begin(), parsed->ip.end()), ttl);
  }
  void AddSrv(const std::string& name, uint16_t priority, uint16_t port, const std::string& target,
              uint32_t ttl = 60) {
    Add("_overlay._udp." + name, kSrv,
        Number(priority) + Number(0) + Number(port) + WireName(target), ttl);
  }
  void Fail(const std::string& name, Rcode rcode) { rcodes_[name] = rcode; }
  void BeSilent(const std::string& name) { silent_.insert(name); }
  // Whatever follows the question is these bytes, said to be that many answers.
  void AnswerRaw(const std::string& name, uint16_t type, size_t answers, std::string bytes) {
    names_.insert(name);
    raw_[{name, type}] = {answers, std::move(bytes)};
  }
  // "A peer.example" and so on, in order.
  const std::vector<std::string>& asked() const { return log_; }

 private:
  struct Record {
    uint32_t ttl = 0;
    std::string data;
  };
  void OnUdp() {
    std::array<char, 512> buffer;
    sockaddr_in from{};
    socklen_t from_size = sizeof(from);
    const ssize_t size = recvfrom(udp_, buffer.data(), buffer.size(), 0,
                                  reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size <= 0) return;
    std::string answer = AnswerTo({buffer.data(), static_cast<size_t>(size)});
    if (answer.empty()) return;
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
  // Nothing, or the question and behind it the records.
  std::string AnswerTo(const std::string& asked) {
    const size_t name_end = asked.find('\0', kHeaderBytes);
    std::string name;
    for (size_t at = kHeaderBytes; at < name_end; at += 1 + static_cast<uint8_t>(asked[at])) {
      name += (name.empty() ? "" : ".") + asked.substr(at + 1, static_cast<uint8_t>(asked[at]));
    }
    const uint16_t type = static_cast<uint8_t>(asked[name_end + 2]);
    log_.push_back((type == kA ? "A " : type == kAaaa ? "AAAA " : "SRV ") + name);
    if (silent_.contains(name)) return {};
    std::string answer = asked.substr(0, name_end + 5);
    answer[2] = static_cast<char>(0x81);  // a response
    const auto rcode = rcodes_.find(name);
    uint8_t error = names_.contains(name) ? 0 : static_cast<uint8_t>(kNxdomain);
    if (rcode != rcodes_.end()) error = static_cast<uint8_t>(rcode->second);
    answer[3] = static_cast<char>(0x80 | error);
    std::string records;
    size_t count = 0;
    const auto raw = raw_.find({name, type});
    if (raw != raw_.end()) {
      count = raw->second.first;
      records = raw->second.second;
    } else if (error == 0) {
      for (const uint16_t kind : {kCname, type}) {
        for (const Record& record : records_[{name, kind}]) {
          // Its name is the question's; the type; IN; the TTL; the length.
          records += std::string("\xc0\x0c", 2) + Number(kind) + Number(1) +
                     Number(record.ttl >> 16) + Number(record.ttl & 0xffff) +
                     Number(record.data.size()) + record.data;
          ++count;
        }
      }
    }
    answer.replace(6, 6, Number(count) + std::string(4, '\0'));
    return answer + records;
  }

  EventLoop* const loop_;
  int udp_ = -1;
  const int tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  uint16_t port_ = 0;
  std::map<std::pair<std::string, uint16_t>, std::vector<Record>> records_;
  std::set<std::string> names_;
  std::map<std::string, Rcode> rcodes_;
  std::set<std::string> silent_;
  std::map<std::pair<std::string, uint16_t>, std::pair<size_t, std::string>> raw_;
  std::vector<std::string> log_;
  std::vector<int> connections_;
  std::map<int, std::string> asked_;
};

class DnsResolverTest : public testing::Test {
 protected:
  struct Got {
    std::string host;
    absl::StatusOr<ResolvedHost> resolved;
  };

  DnsResolverTest()
      : folder_(testing::TempDir() + fmt::format("dns_resolver_test_{}", getpid())),
        loop_(NewLoop()),
        server_(loop_.get()) {
    std::filesystem::create_directories(folder_);
    WriteResolvConf("one.example");
    auto resolver = DnsResolver::Create(
        loop_.get(),
        [this](Time, const std::string& host, bool, const absl::StatusOr<ResolvedHost>& resolved) {
          answers_.push_back({host, resolved});
        },
        {.servers = server_.address(), .resolv_conf = folder_ + "/resolv.conf"});
    EXPECT_OK(resolver);
    resolver_ = *std::move(resolver);
  }
  ~DnsResolverTest() override { std::filesystem::remove_all(folder_); }
  static std::unique_ptr<EventLoop> NewLoop() {
    auto loop = EventLoop::Create();
    EXPECT_OK(loop);
    return *std::move(loop);
  }
  void WriteResolvConf(const std::string& search) {
    // As a new file, so that its inode says that it has changed.
    const std::string path = folder_ + "/resolv.conf";
    std::ofstream(path + ".new") << "search " << search << "\n";
    std::filesystem::rename(path + ".new", path);
  }
  void Resolve(const std::string& host, bool services = false) {
    resolver_->Resolve(loop_->now(), host, services);
  }
  void RunUntilAnswered(size_t count) {
    const Time limit = loop_->ReadClock() + 20s;
    while (answers_.size() < count && loop_->ReadClock() < limit) {
      resolver_->OnDeadline(loop_->ReadClock());
      loop_->RunOnce(10ms);
    }
    ASSERT_EQ(answers_.size(), count);
  }
  // The one answer to one question.
  absl::StatusOr<ResolvedHost> Ask(const std::string& host, bool services = false) {
    answers_.clear();
    Resolve(host, services);
    RunUntilAnswered(1);
    if (answers_.size() != 1) return absl::InternalError("no answer");
    EXPECT_EQ(answers_[0].host, host);
    return answers_[0].resolved;
  }
  static std::vector<std::string> Texts(const absl::StatusOr<ResolvedHost>& resolved) {
    EXPECT_OK(resolved);
    std::vector<std::string> texts;
    if (!resolved.ok()) return texts;
    for (const SocketAddress& address : resolved->addresses) texts.push_back(address.ToString());
    return texts;
  }
  // Runs the loop until the server was asked so often.
  void RunUntilAsked(size_t count) {
    const Time limit = loop_->ReadClock() + 20s;
    while (server_.asked().size() < count && loop_->ReadClock() < limit) loop_->RunOnce(10ms);
    ASSERT_GE(server_.asked().size(), count);
  }

  const std::string folder_;
  std::unique_ptr<EventLoop> loop_;
  NameServer server_;
  std::vector<Got> answers_;
  std::unique_ptr<DnsResolver> resolver_;
};

TEST_F(DnsResolverTest, FindsTheAddressesOfANameOfBothFamilies) {
  server_.AddA("peer.example", 0x0a000000);
  server_.AddA("peer.example", 0x0a000001);
  server_.AddAaaa("peer.example", "2001:db8::1");
  Resolve("peer.example");
  EXPECT_TRUE(answers_.empty());
  RunUntilAnswered(1);
  EXPECT_THAT(Texts(answers_[0].resolved),
              UnorderedElementsAre("10.0.0.0:0", "10.0.0.1:0", "[2001:db8::1]:0"));
  EXPECT_FALSE(resolver_->NextDeadline(loop_->now()));
  server_.AddAaaa("six.example", "2001:db8::6");
  EXPECT_THAT(Texts(Ask("six.example")), ElementsAre("[2001:db8::6]:0"));
  EXPECT_THAT(server_.asked(), testing::Not(testing::Contains(testing::StartsWith("SRV"))));
}

TEST_F(DnsResolverTest, WhatDoesNotExistIsNotFound) {
  EXPECT_EQ(Ask("nobody.example").status().code(), absl::StatusCode::kNotFound);
  server_.Add("empty.example", kSrv, "");
  EXPECT_EQ(Ask("empty.example").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DnsResolverTest, AServerThatFailsIsUnavailable) {
  server_.Fail("peer.example", kServfail);
  EXPECT_EQ(Ask("peer.example").status().code(), absl::StatusCode::kUnavailable);
}

// c-ares' own time-outs come first; ours is beside them.
TEST_F(DnsResolverTest, ASilentServerIsUnavailable) {
  server_.BeSilent("peer.example");
  EXPECT_EQ(Ask("peer.example").status().code(), absl::StatusCode::kUnavailable);
  answers_.clear();
  Resolve("peer.example");
  const Time begun = loop_->now();
  EXPECT_LE(*resolver_->NextDeadline(begun), begun + kAnswerWithin);
  resolver_->OnDeadline(begun + kAnswerWithin - 1ns);
  EXPECT_TRUE(answers_.empty());
  resolver_->OnDeadline(begun + kAnswerWithin);
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].resolved.status().code(), absl::StatusCode::kUnavailable);
  resolver_.reset();  // what c-ares still says is nobody's
  EXPECT_EQ(answers_.size(), 1u);
}

TEST_F(DnsResolverTest, TheTtlIsTheSmallestOfTheRecordsUsed) {
  server_.AddA("peer.example", 1, 300);
  server_.AddA("peer.example", 2, 20);
  server_.AddAaaa("peer.example", "2001:db8::1", 100);
  const auto resolved = Ask("peer.example");
  ASSERT_OK(resolved);
  EXPECT_EQ(resolved->ttl, 20s);
  server_.AddA("never.example", 1, 0);
  EXPECT_EQ(Ask("never.example")->ttl, kNoTtl);
  server_.AddSrv("served.example", 1, 9000, "never.example", 7);
  server_.AddSrv("served.example", 1, 9000, "peer.example", 600);
  EXPECT_EQ(Ask("served.example", true)->ttl, kNoTtl);
  server_.AddSrv("short.example", 1, 9000, "peer.example", 7);
  EXPECT_EQ(Ask("short.example", true)->ttl, 7s);
}

TEST_F(DnsResolverTest, ServicesWinWithTheirPortsInTheirOrder) {
  server_.AddA("svc.example", 0x0a000001);
  server_.AddSrv("svc.example", 20, 9002, "b.example");
  server_.AddSrv("svc.example", 10, 9001, "a.example");
  server_.AddSrv("svc.example", 5, 9000, "gone.example");
  server_.AddA("a.example", 0x0a00000a);
  server_.AddAaaa("b.example", "2001:db8::b");
  EXPECT_THAT(Texts(Ask("svc.example", true)), ElementsAre("10.0.0.10:9001", "[2001:db8::b]:9002"));
  // All were begun at once.
  EXPECT_THAT(server_.asked(), testing::IsSupersetOf({"A svc.example", "AAAA svc.example",
                                                      "SRV _overlay._udp.svc.example"}));
  EXPECT_THAT(Texts(Ask("svc.example")), ElementsAre("10.0.0.1:0"));
}

TEST_F(DnsResolverTest, WithoutServicesOrTargetsTheAddressesCount) {
  for (const char* host : {"none.example", "failing.example", "root.example", "lost.example"}) {
    server_.AddA(host, 0x0a000001);
  }
  server_.Fail("_overlay._udp.failing.example", kServfail);
  server_.AddSrv("root.example", 1, 9000, "");  // "not offered here"
  server_.AddSrv("lost.example", 1, 9000, "nobody.example");
  for (const char* host : {"none.example", "failing.example", "root.example", "lost.example"}) {
    EXPECT_THAT(Texts(Ask(host, true)), ElementsAre("10.0.0.1:0")) << host;
  }
  EXPECT_EQ(Ask("nobody.example", true).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DnsResolverTest, SilentServicesHoldTheAddressesUpForAWhileOnly) {
  server_.AddA("peer.example", 0x0a000001);
  server_.BeSilent("_overlay._udp.peer.example");
  Resolve("peer.example", true);
  const Time begun = loop_->ReadClock();
  RunUntilAsked(3);
  for (int i = 0; i < 20; ++i) loop_->RunOnce(1ms);
  EXPECT_TRUE(answers_.empty());
  resolver_->OnDeadline(begun + kAnswerWithin - 1s);
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_THAT(Texts(answers_[0].resolved), ElementsAre("10.0.0.1:0"));
}

TEST_F(DnsResolverTest, TheSearchListCounts) {
  server_.AddA("peer.one.example", 0x0a000001);
  EXPECT_THAT(Texts(Ask("peer")), ElementsAre("10.0.0.1:0"));
  server_.AddSrv("svc.one.example", 1, 9000, "peer.one.example");
  EXPECT_THAT(Texts(Ask("svc", true)), ElementsAre("10.0.0.1:9000"));
  // A target is a whole name.
  server_.AddSrv("other.one.example", 1, 9000, "peer");
  EXPECT_EQ(Ask("other", true).status().code(), absl::StatusCode::kNotFound);
}

// resolv.conf is looked at when a look-up finds no server, but not each time.
TEST_F(DnsResolverTest, AChangedResolvConfIsReadAgain) {
  server_.AddA("peer.two.example", 0x0a000002);
  server_.AddA("peer.three.example", 0x0a000003);
  server_.Fail("broken.example", kServfail);
  EXPECT_EQ(Ask("peer").status().code(), absl::StatusCode::kNotFound);
  WriteResolvConf("two.example");
  EXPECT_EQ(Ask("peer").status().code(), absl::StatusCode::kNotFound);  // servers do answer
  EXPECT_EQ(Ask("broken.example").status().code(), absl::StatusCode::kUnavailable);
  resolver_->OnDeadline(*resolver_->NextDeadline(loop_->now()));
  EXPECT_THAT(Texts(Ask("peer")), ElementsAre("10.0.0.2:0"));
  WriteResolvConf("three.example");
  EXPECT_EQ(Ask("broken.example").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(resolver_->NextDeadline(loop_->now()));
  EXPECT_THAT(Texts(Ask("peer")), ElementsAre("10.0.0.2:0"));
}

// Whatever a server sends, the look-up ends, and the next one is not hurt.
TEST_F(DnsResolverTest, MalformedAnswersEndTheLookUp) {
  const std::string head =
      std::string("\xc0\x0c", 2) + Number(kSrv) + Number(1) + Number(0) + Number(60);
  const std::vector<std::pair<size_t, std::string>> bad = {
      {1, ""},                                                       // it says one, and has none
      {1, head},                                                     // no length
      {1, head + Number(60000) + "short"},                           // behind the end
      {1, head + Number(8) + std::string(6, '\1') + "\xc0\xff"},     // a pointer forwards
      {65535, head + Number(7) + std::string(6, '\1') + '\0'},       // fewer than it says
      {1, head + Number(9) + std::string(6, '\1') + "\x3f" + "ab"},  // a label behind the end
  };
  server_.AddA("fine.example", 0x0a000001);
  for (size_t i = 0; i < bad.size(); ++i) {
    const std::string host = fmt::format("bad{}.example", i);
    server_.AddA(host, 0x0a000001);
    server_.AnswerRaw("_overlay._udp." + host, kSrv, bad[i].first, bad[i].second);
    EXPECT_THAT(Texts(Ask(host, true)), ElementsAre("10.0.0.1:0")) << i;
    const std::string plain = fmt::format("plain{}.example", i);
    server_.AnswerRaw(plain, kA, bad[i].first, bad[i].second);
    EXPECT_FALSE(Ask(plain).ok()) << i;
    EXPECT_THAT(Texts(Ask("fine.example")), ElementsAre("10.0.0.1:0"));
  }
}

// The server says nothing; the resolver goes first.
TEST_F(DnsResolverTest, AnswersWhatIsOpenWhenItIsDestroyed) {
  for (const char* host : {"one.example", "two.example", "_overlay._udp.two.example"}) {
    server_.BeSilent(host);
  }
  Resolve("one.example");
  Resolve("two.example", true);
  EXPECT_TRUE(answers_.empty());
  resolver_.reset();
  ASSERT_EQ(answers_.size(), 2u);
  for (const Got& got : answers_) {
    EXPECT_EQ(got.resolved.status().code(), absl::StatusCode::kUnavailable);
  }
}

// Look-ups under way do not matter.
TEST_F(DnsResolverTest, AnIpLiteralIsAnsweredAtOnce) {
  for (size_t i = 0; i < kLookupsMax; ++i) Resolve(fmt::format("peer{}.example", i));
  ASSERT_TRUE(answers_.empty());
  Resolve("192.0.2.7", true);
  Resolve("2001:db8::7");
  ASSERT_EQ(answers_.size(), 2u);
  for (const Got& got : answers_) {
    ASSERT_OK(got.resolved);
    EXPECT_THAT(got.resolved->addresses, ElementsAre(*SocketAddress::ParseIp(got.host, 0)));
  }
}

TEST_F(DnsResolverTest, BoundsLookups) {
  for (size_t i = 0; i < kLookupsMax; ++i) Resolve(fmt::format("peer{}.example", i));
  EXPECT_TRUE(answers_.empty());
  Resolve("more.example");
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].host, "more.example");
  EXPECT_EQ(answers_[0].resolved.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(DnsResolverTest, BoundsTheAddressesOfAName) {
  for (uint32_t i = 0; i < kAddressesMax + 6; ++i) {
    server_.AddA("peer.example", 0x0a000000 + i);
    server_.AddA("other.example", 0x0b000000 + i);
  }
  server_.AddSrv("svc.example", 1, 9000, "peer.example");
  server_.AddSrv("svc.example", 2, 9000, "other.example");
  for (const bool services : {false, true}) {
    const auto resolved = Ask(services ? "svc.example" : "peer.example", services);
    ASSERT_OK(resolved);
    EXPECT_EQ(resolved->addresses.size(), kAddressesMax);
  }
}

}  // namespace
}  // namespace overlay::transport
