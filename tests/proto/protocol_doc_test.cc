// docs/protocol.md is what a second implementation is written from: its tables of numbers are those
// of the code, all of them and no others.
#include <charconv>
#include <fstream>
#include <map>
#include <regex>
#include <string>

#include "flood/base/frame.h"
#include "flood/base/peer_io.h"
#include "flood/peers/peer_score.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay {
namespace {

using Table = std::map<int, std::string>;

// The page from the heading on, up to the next heading.
std::string Section(const std::string& heading) {
  std::ifstream file("docs/protocol.md");
  std::string section;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) inside = line.ends_with(heading);
    if (inside) section += line + "\n";
  }
  return section;
}

int Number(const std::string& text) {
  const bool hex = text.starts_with("0x");
  int number = -1;
  std::from_chars(text.data() + (hex ? 2 : 0), text.data() + text.size(), number, hex ? 16 : 10);
  return number;
}

// All matches of a pattern whose groups are a number and a name, in the order said.
Table TableOf(const std::string& section, const std::string& pattern, bool name_first = false) {
  const std::regex row(pattern);
  Table table;
  for (std::sregex_iterator it(section.begin(), section.end(), row), end; it != end; ++it) {
    const int number = Number((*it)[name_first ? 2 : 1]);
    EXPECT_FALSE(table.contains(number)) << number << " is listed twice";
    table[number] = (*it)[name_first ? 1 : 2];
  }
  return table;
}

TEST(ProtocolDoc, CloseReasonsAreThoseOfTheCode) {
  Table code;
  for (int value = 0; value <= 0xffff; ++value) {
    const auto reason = static_cast<CloseReason>(value);
    const std::string name(CloseReasonName(reason));
    if (name != "unknown_code" || reason == CloseReason::kUnknownCode) code[value] = name;
  }
  const Table page = TableOf(Section("9. Close reasons"), R"(\| (0x[0-9a-f]+) \| `(\w+)` \|)");
  EXPECT_EQ(page, code);
}

TEST(ProtocolDoc, OffencesAndWeightsAreThoseOfTheCode) {
  std::map<std::string, double> code;
  for (size_t i = 0; i < kOffenceCount; ++i) {
    const auto offence = static_cast<Offence>(i);
    code[std::string(OffenceName(offence))] = flood::OffenceWeight(offence);
  }
  std::map<std::string, double> page;
  const std::string section = Section("10. Offences");
  const std::regex row(R"(\| `(\w+)` \| (\d+) \|)");
  for (std::sregex_iterator it(section.begin(), section.end(), row), end; it != end; ++it) {
    page[(*it)[1]] = Number((*it)[2]);
  }
  EXPECT_EQ(page, code);
}

TEST(ProtocolDoc, StreamKindsAndCodesAreThoseOfTheCode) {
  const Table kinds = TableOf(Section("3. Streams"), R"(\| ([a-z ]+) \| (0x\d\d) \|)", true);
  const Table expected_kinds = {{static_cast<int>(StreamKind::kScp), "scp"},
                                {static_cast<int>(StreamKind::kControl), "control"},
                                {static_cast<int>(StreamKind::kTxControl), "tx control"},
                                {static_cast<int>(StreamKind::kTxBodies), "tx bodies"},
                                {static_cast<int>(StreamKind::kSet), "set"},
                                {static_cast<int>(StreamKind::kState), "state"},
                                {static_cast<int>(StreamKind::kGossip), "gossip"}};
  EXPECT_EQ(kinds, expected_kinds);
  for (int number = 0; number < 256; ++number) {
    EXPECT_EQ(StreamKindOf(static_cast<uint8_t>(number)).has_value(), kinds.contains(number));
  }
  const Table codes = TableOf(Section("3. Streams"), R"(\| (0x\d\d) \| `(\w+)` \|)");
  const Table expected_codes = {
      {static_cast<int>(StreamCode::kNone), "none"},
      {static_cast<int>(StreamCode::kUnknownKind), "unknown_kind"},
      {static_cast<int>(StreamCode::kCancelled), "cancelled"},
      {static_cast<int>(StreamCode::kTooLarge), "too_large"},
      {static_cast<int>(StreamCode::kRefused), "refused"},
      {static_cast<int>(StreamCode::kIncompleteTooLong), "incomplete_too_long"}};
  EXPECT_EQ(codes, expected_codes);
}

TEST(ProtocolDoc, FrameTypesAreThoseOfTheCode) {
  const Table page = TableOf(Section("Frames"), R"(\| (0x\d\d) \| (\w+))");
  for (int type = 0; type < 256; ++type) {
    EXPECT_EQ(IsKnownFrame(static_cast<uint8_t>(type)), page.contains(type)) << type;
  }
  EXPECT_EQ(page.at(static_cast<int>(FrameType::kHello)), "Hello");
  EXPECT_EQ(page.at(static_cast<int>(FrameType::kInv)), "Inv");
  EXPECT_EQ(page.at(static_cast<int>(FrameType::kStateAnswer)), "StateAnswer");
}

}  // namespace
}  // namespace overlay
