#include "transport/dns_srv.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::transport {
namespace {

std::string Number(size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}

// A label, and what follows.
std::string Label(const std::string& label) { return static_cast<char>(label.size()) + label; }
const std::string kRoot(1, '\0');
// The question's name, from anywhere.
const std::string kQuestion("\xc0\x0c", 2);

std::string Record(const std::string& data, uint32_t ttl = 60, uint16_t type = 33) {
  return kQuestion + Number(type) + Number(1) + Number(ttl >> 16) + Number(ttl & 0xffff) +
         Number(data.size()) + data;
}
std::string Srv(uint16_t priority, uint16_t weight, uint16_t port, const std::string& target) {
  return Number(priority) + Number(weight) + Number(port) + target;
}
std::string Packet(size_t answers, const std::string& records, uint16_t flags = 0x8180) {
  return Number(7) + Number(flags) + Number(1) + Number(answers) + Number(0) + Number(0) +
         Label("_x") + Label("example") + kRoot + Number(33) + Number(1) + records;
}
absl::StatusOr<std::vector<SrvRecord>> Parse(const std::string& packet) {
  // Of its own size, so that a sanitizer sees a byte too many.
  const std::vector<uint8_t> bytes(packet.begin(), packet.end());
  return ParseSrv(bytes);
}
std::vector<std::string> Targets(const absl::StatusOr<std::vector<SrvRecord>>& records) {
  EXPECT_OK(records);
  std::vector<std::string> targets;
  if (!records.ok()) return targets;
  for (const SrvRecord& record : *records) targets.push_back(record.target);
  return targets;
}

bool IsMalformed(const std::string& packet) {
  return absl::IsInvalidArgument(Parse(packet).status());
}

TEST(DnsSrv, ReadsWhatARecordSays) {
  const auto records =
      Parse(Packet(2, Record(std::string(4, 'x'), 5, 1) +
                          Record(Srv(1, 2, 11625, Label("Peer-1") + "\xc0\x0f"), 300)));
  ASSERT_OK(records);
  ASSERT_EQ(records->size(), 1u);
  const SrvRecord& record = records->front();
  EXPECT_EQ(record.priority, 1u);
  EXPECT_EQ(record.weight, 2u);
  EXPECT_EQ(record.port, 11625u);
  EXPECT_EQ(record.ttl_seconds, 300u);
  EXPECT_EQ(record.target, "Peer-1.example");  // its end is the question's
  EXPECT_EQ(
      Parse(Packet(1, Record(Srv(1, 2, 3, Label("a") + kRoot), 0x80000000)))->front().ttl_seconds,
      0u);
}

TEST(DnsSrv, LowestPriorityAndHeaviestFirstAndNotTooMany) {
  const auto record = [](uint16_t priority, uint16_t weight) {
    return Record(
        Srv(priority, weight, 1,
            Label("p" + std::to_string(priority) + "w" + std::to_string(weight)) + kRoot));
  };
  EXPECT_THAT(Targets(Parse(Packet(4, record(2, 9) + record(1, 1) + record(1, 5) + record(0, 0)))),
              testing::ElementsAre("p0w0", "p1w5", "p1w1", "p2w9"));
  std::string many;
  for (uint16_t i = 0; i < 40; ++i) many += record(static_cast<uint16_t>(100 - i), 0);
  const auto targets = Targets(Parse(Packet(40, many)));
  EXPECT_EQ(targets.size(), kSrvRecordsMax);
  EXPECT_EQ(targets.front(), "p61w0");
}

TEST(DnsSrv, WhatIsNoHostIsLeftOut) {
  EXPECT_THAT(Targets(Parse(Packet(4, Record(Srv(1, 1, 1, kRoot)) +
                                          Record(Srv(1, 1, 1, Label("a b") + kRoot)) +
                                          Record(Srv(1, 1, 0, Label("portless") + kRoot)) +
                                          Record(Srv(1, 1, 1, Label("fine") + kRoot))))),
              testing::ElementsAre("fine"));
  EXPECT_THAT(Targets(Parse(Packet(0, ""))), testing::IsEmpty());
}

TEST(DnsSrv, EveryCutAndEveryBadNameIsMalformed) {
  const std::string good = Packet(1, Record(Srv(1, 2, 3, Label("peer") + "\xc0\x0f")));
  EXPECT_OK(Parse(good));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_TRUE(IsMalformed(good.substr(0, size))) << size;
  }
  EXPECT_TRUE(IsMalformed(Packet(1, Record(Srv(1, 1, 1, kRoot)), 0x0180)));  // a question
  const std::string at_itself("\xc0\x2e", 2);  // where the target begins
  for (const std::string& target :
       {std::string("\xc0\xff", 2), at_itself, Label("a") + at_itself, std::string("\x80"),
        std::string(), Label("peer") + kRoot + "x", std::string("\xc0", 1)}) {
    EXPECT_TRUE(IsMalformed(Packet(1, Record(Srv(1, 1, 1, target))))) << target.size();
  }
  std::string endless;
  for (int i = 0; i < 10; ++i) endless += Label(std::string(60, 'a'));
  EXPECT_TRUE(IsMalformed(Packet(1, Record(Srv(1, 1, 1, endless + kRoot)))));
}

}  // namespace
}  // namespace overlay::transport
