// The bytes around messages: frames cut anywhere, lengths at their bounds, kinds and types.
#include "flood/base/frame.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay {
namespace {

using ::testing::HasSubstr;

std::vector<uint8_t> RawFrame(uint8_t type, size_t body_bytes, uint8_t fill) {
  std::vector<uint8_t> raw = {type};
  for (const uint8_t byte : EncodeLength(static_cast<uint32_t>(body_bytes))) raw.push_back(byte);
  raw.insert(raw.end(), body_bytes, fill);
  return raw;
}

// Feeds `raw` in pieces of `piece` bytes; returns "type:size:first byte" of each frame.
std::vector<std::string> ReadInPieces(const std::vector<uint8_t>& raw, size_t piece,
                                      FrameReader& reader) {
  std::vector<std::string> seen;
  for (size_t at = 0; at < raw.size(); at += piece) {
    absl::Span<const uint8_t> data = absl::MakeConstSpan(raw).subspan(at, piece);
    while (true) {
      absl::StatusOr<std::optional<Frame>> frame = reader.Next(data);
      EXPECT_OK(frame);
      if (!frame.ok() || !*frame) break;
      const Frame& got = **frame;
      seen.push_back(std::to_string(got.type) + ":" + std::to_string(got.body.size()) + ":" +
                     (got.body.empty() ? "-" : std::to_string(got.body[0])));
    }
    EXPECT_TRUE(data.empty()) << "without a frame, all bytes are taken";
  }
  return seen;
}

TEST(FrameReader, FindsTheSameFramesHoweverTheStreamIsCut) {
  std::vector<uint8_t> raw;
  for (const auto& [type, size] : {std::pair{1, 0}, {2, 1}, {0x40, 300}, {7, 65536}, {3, 5}}) {
    const auto frame = RawFrame(static_cast<uint8_t>(type), static_cast<size_t>(size), 9);
    raw.insert(raw.end(), frame.begin(), frame.end());
  }
  const std::vector<std::string> expected = {"1:0:-", "2:1:9", "64:300:9", "7:65536:9", "3:5:9"};
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{4}, size_t{5}, size_t{6}, size_t{7},
                             size_t{1200}, size_t{65541}, raw.size()}) {
    FrameReader reader;
    EXPECT_EQ(ReadInPieces(raw, piece, reader), expected) << "pieces of " << piece;
    EXPECT_EQ(reader.partial_bytes(), 0u);
  }
}

// Bytes behind a frame belong to the caller: on a set's answer they are the set.
TEST(FrameReader, LeavesWhatFollowsAFrame) {
  std::vector<uint8_t> raw = RawFrame(0x21, 3, 1);
  raw.push_back(77);
  FrameReader reader;
  absl::Span<const uint8_t> data = absl::MakeConstSpan(raw).first(4);
  ASSERT_OK(reader.Next(data));
  data = absl::MakeConstSpan(raw).subspan(4);
  const auto frame = reader.Next(data);
  ASSERT_OK(frame);
  ASSERT_TRUE(frame->has_value());
  EXPECT_EQ((*frame)->body.size(), 3u);
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0], 77);
}

TEST(FrameReader, RefusesABodyAboveTheLimitBeforeItComes) {
  for (const size_t piece : {size_t{1}, size_t{5}, size_t{9}}) {
    const std::vector<uint8_t> raw = {0x10, 0, 1, 0, 1, 0, 0, 0, 0};  // 65,537
    FrameReader reader;
    absl::StatusOr<std::optional<Frame>> last;
    for (size_t at = 0; at < kFrameHeaderBytes; at += piece) {
      absl::Span<const uint8_t> data = absl::MakeConstSpan(raw).subspan(at, piece);
      last = reader.Next(data);
    }
    EXPECT_THAT(last, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("65537 bytes")));
  }
}

TEST(FrameReader, TellsAFrameBegunAndNotComplete) {
  const std::vector<uint8_t> raw = RawFrame(1, 10, 0);
  FrameReader reader;
  absl::Span<const uint8_t> data = absl::MakeConstSpan(raw).first(9);
  ASSERT_OK(reader.Next(data));
  EXPECT_EQ(reader.partial_bytes(), 9u);
}

TEST(Frame, LengthAtBelowAndAboveItsBounds) {
  const auto decoded = [](uint32_t bytes, size_t bytes_max) {
    return DecodeLength(EncodeLength(bytes), bytes_max);
  };
  EXPECT_EQ(*decoded(1, 262144), 1u);
  EXPECT_EQ(*decoded(262144, 262144), 262144u);
  EXPECT_EQ(*decoded(0x01020304, UINT32_MAX), 0x01020304u);
  EXPECT_EQ(EncodeLength(0x01020304), (std::array<uint8_t, 4>{1, 2, 3, 4}));
  EXPECT_THAT(decoded(0, 262144), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(decoded(262145, 262144), HasCode(absl::StatusCode::kResourceExhausted));
}

TEST(Frame, KindsTypesAndIgnorableNumbers) {
  EXPECT_EQ(StreamKindOf(0), std::nullopt);
  EXPECT_EQ(StreamKindOf(1), StreamKind::kScp);
  EXPECT_EQ(StreamKindOf(7), StreamKind::kGossip);
  EXPECT_EQ(StreamKindOf(8), std::nullopt);
  EXPECT_FALSE(IsIgnorable(0x3f));
  EXPECT_TRUE(IsIgnorable(0x40));
  EXPECT_TRUE(IsIgnorable(0x7f));
  EXPECT_FALSE(IsIgnorable(0x80));
  int known = 0;
  for (int type = 0; type < 256; ++type) {
    known += IsKnownFrame(static_cast<uint8_t>(type));
    EXPECT_FALSE(IsKnownFrame(static_cast<uint8_t>(type)) &&
                 IsIgnorable(static_cast<uint8_t>(type)));
  }
  EXPECT_EQ(known, 13);
}

}  // namespace
}  // namespace overlay
