#include "transport/answer_reader.h"

#include <string>

#include "flood/base/crypto.h"
#include "gtest/gtest.h"

namespace overlay::transport {
namespace {

absl::Span<const uint8_t> Raw(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

std::string Body(const std::string& body) {
  const auto length = EncodeLength(static_cast<uint32_t>(body.size()));
  return "\x01" + std::string(length.begin(), length.end()) + body;
}

GetData Hashes(size_t count) {
  GetData data;
  data.hashes.resize(count);
  return data;
}

TEST(BodiesReader, NeedsAnAnswerForEachHash) {
  std::vector<BodyAnswer> answers;
  EXPECT_EQ(BodiesReader(Hashes(2), 100).OnData(Raw("\x02\x03"), true, answers), ReadStep::kDone);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(BodiesReader(Hashes(3), 100).OnData(Raw("\x02\x03"), true, answers), ReadStep::kBroken);
  EXPECT_EQ(BodiesReader(Hashes(1), 100).OnData(Raw("\x02\x03"), true, answers),
            ReadStep::kMalformed);
}

TEST(BodiesReader, TakesBodiesCutAnywhere) {
  const std::string text = Body("hello") + "\x02" + Body("x");
  BodiesReader reader(Hashes(3), 100);
  std::vector<BodyAnswer> answers;
  for (size_t i = 0; i < text.size(); ++i) {
    EXPECT_EQ(reader.OnData(Raw(text.substr(i, 1)), false, answers), ReadStep::kMore);
  }
  EXPECT_EQ(reader.OnData({}, true, answers), ReadStep::kDone);
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0].body, Bytes::Copy("hello"));
  EXPECT_EQ(answers[1].outcome, BodyOutcome::kNotFound);
  EXPECT_EQ(answers[2].body, Bytes::Copy("x"));
  EXPECT_EQ(reader.buffered_bytes(), 0u);
}

// Neither a part of a body nor, later, the end of the answer is waited for.
TEST(BodiesReader, HandsOnABodyWhenItIsWhole) {
  const std::string text = Body("hello");
  BodiesReader reader(Hashes(2), 100);
  std::vector<BodyAnswer> answers;
  EXPECT_EQ(reader.OnData(Raw(text.substr(0, text.size() - 1)), false, answers), ReadStep::kMore);
  EXPECT_TRUE(answers.empty());
  EXPECT_EQ(reader.OnData(Raw(text.substr(text.size() - 1)), false, answers), ReadStep::kMore);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].body, Bytes::Copy("hello"));
}

TEST(BodiesReader, LimitsOneBodyAndAllTogether) {
  std::vector<BodyAnswer> answers;
  EXPECT_EQ(BodiesReader(Hashes(1), 100).OnData(Raw(Body(std::string(100, 'b'))), true, answers),
            ReadStep::kDone);
  EXPECT_EQ(BodiesReader(Hashes(1), 100).OnData(Raw(Body(std::string(101, 'b'))), true, answers),
            ReadStep::kTooLarge);
  const std::string half = Body(std::string(32 * kKiB, 'b'));
  EXPECT_EQ(BodiesReader(Hashes(2), 64 * kKiB).OnData(Raw(half + half), true, answers),
            ReadStep::kDone);
  EXPECT_EQ(BodiesReader(Hashes(3), 64 * kKiB).OnData(Raw(half + half + Body("b")), true, answers),
            ReadStep::kTooLarge);
  // One transaction may be larger than what several may be together.
  EXPECT_EQ(BodiesReader(Hashes(1), 256 * kKiB)
                .OnData(Raw(Body(std::string(200 * kKiB, 'b'))), true, answers),
            ReadStep::kDone);
}

class SetReaderTest : public testing::Test {
 protected:
  ReadStep Read(const SetHeader& header, size_t bytes, bool fin) {
    SetReader reader({{SetKind::kTxSet, {}}, false, 0}, 1000);
    const std::string text = std::string(EncodeSetHeader(header).view()) + std::string(bytes, 's');
    return reader.OnData(Raw(text), fin, header_, data_);
  }
  std::optional<SetHeader> header_;
  Bytes data_;
};

TEST_F(SetReaderTest, EndsWhereItSaid) {
  const SetHeader header{true, SetEncoding::kIdentity, 10, 10};
  EXPECT_EQ(Read(header, 10, true), ReadStep::kDone);
  EXPECT_EQ(header_, header);
  EXPECT_EQ(data_.size(), 10u);
  EXPECT_EQ(Read(header, 9, true), ReadStep::kBroken);
  EXPECT_EQ(Read(header, 9, false), ReadStep::kMore);
  EXPECT_EQ(Read(header, 11, true), ReadStep::kMalformed);
}

TEST_F(SetReaderTest, HandsOnBytesAsTheyCome) {
  const SetHeader header{true, SetEncoding::kIdentity, 10, 10};
  EXPECT_EQ(Read(header, 4, false), ReadStep::kMore);
  EXPECT_EQ(data_, Bytes::Copy("ssss"));
}

TEST_F(SetReaderTest, LimitsTheSet) {
  EXPECT_EQ(Read({true, SetEncoding::kIdentity, 1000, 1000}, 0, false), ReadStep::kMore);
  EXPECT_EQ(Read({true, SetEncoding::kIdentity, 1001, 1001}, 0, false), ReadStep::kTooLarge);
}

TEST(StateReader, GivesWholeEnvelopes) {
  const std::string length("\x00\x00\x00\x03", 4);
  const std::string text =
      std::string(EncodeStateHeader({5, false}).view()) + length + "one" + length + "two";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    StateReader reader(3, 1000);
    std::optional<StateHeader> header;
    std::vector<Bytes> envelopes;
    EXPECT_EQ(reader.OnData(Raw(text.substr(0, cut)), false, header, envelopes), ReadStep::kMore);
    EXPECT_EQ(reader.OnData(Raw(text.substr(cut)), true, header, envelopes), ReadStep::kDone);
    ASSERT_EQ(envelopes.size(), 2u);
    EXPECT_EQ(envelopes[1], Bytes::Copy("two"));
  }
}

TEST(StateReader, KeepsItsLimits) {
  const std::string head(EncodeStateHeader({5, false}).view());
  std::optional<StateHeader> header;
  std::vector<Bytes> envelopes;
  const std::string four(
      "\x00\x00\x00\x04"
      "four",
      8);
  EXPECT_EQ(StateReader(3, 1000).OnData(Raw(head + four), true, header, envelopes),
            ReadStep::kTooLarge);
  EXPECT_EQ(StateReader(4, head.size() + 7).OnData(Raw(head + four), true, header, envelopes),
            ReadStep::kTooLarge);
  EXPECT_EQ(StateReader(4, head.size() + 8).OnData(Raw(head + four), true, header, envelopes),
            ReadStep::kDone);
  EXPECT_EQ(StateReader(4, 1000).OnData(Raw(head + four.substr(0, 6)), true, header, envelopes),
            ReadStep::kBroken);
  const std::string refused(EncodeStateHeader({5, true}).view());
  EXPECT_EQ(StateReader(4, 1000).OnData(Raw(refused + four), true, header, envelopes),
            ReadStep::kMalformed);
}

}  // namespace
}  // namespace overlay::transport
