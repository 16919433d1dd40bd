#include "flood/base/compress.h"

#include <zstd.h>

#include <string>

#include "flood/base/random.h"
#include "gtest/gtest.h"

namespace overlay {
namespace {

// Words that repeat, as transactions do, and some that do not.
std::string Text(size_t size, uint64_t seed = 1) {
  Random random(seed);
  std::string text;
  while (text.size() < size) {
    text += "the same words again, then a number: ";
    text += std::to_string(random.Next());
  }
  text.resize(size);
  return text;
}

absl::Span<const uint8_t> SpanOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A frame as others may make it.
std::string Frame(std::string_view text, int level, bool says_size = true, int window_log = 0) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, says_size ? 1 : 0);
  if (window_log != 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  std::string frame(ZSTD_compressBound(text.size()), '\0');
  frame.resize(ZSTD_compress2(context, frame.data(), frame.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return frame;
}

TEST(Compress, WhatIsCompressedInflatesToTheSame) {
  for (const size_t size :
       {size_t{1}, size_t{100}, 128 * kKiB - 1, 128 * kKiB, 128 * kKiB + 1, size_t{3'000'000}}) {
    const std::string text = Text(size);
    const auto frame = ZstdCompress(SpanOf(text));
    ASSERT_TRUE(frame.has_value());
    if (size > 1000) {
      EXPECT_LT(frame->size(), size * 7 / 10);
    }
    const Inflated inflated = ZstdInflate(frame->span(), size);
    EXPECT_EQ(inflated.error, InflateError::kNone) << size;
    EXPECT_EQ(inflated.bytes.view(), text);
  }
}

TEST(Compress, FramesOfOtherLevelsInflateToo) {
  const std::string text = Text(1'000'000);
  for (const int level : {-5, 1, 3, 9, 19}) {
    for (const bool says_size : {false, true}) {
      const std::string frame = Frame(text, level, says_size, level == 19 ? 23 : 0);
      EXPECT_EQ(ZstdInflate(SpanOf(frame), text.size()).bytes.view(), text) << level;
    }
  }
}

TEST(Compress, ExactlyTheAnnouncedLengthOrNothing) {
  const std::string text = Text(300'000);
  for (const bool says_size : {false, true}) {
    const std::string frame = Frame(text, 1, says_size);
    EXPECT_EQ(ZstdInflate(SpanOf(frame), text.size()).error, InflateError::kNone);
    EXPECT_EQ(ZstdInflate(SpanOf(frame), text.size() - 1).error, InflateError::kTooLong);
    EXPECT_EQ(ZstdInflate(SpanOf(frame), text.size() + 1).error, InflateError::kTooShort);
    EXPECT_EQ(ZstdInflate(SpanOf(frame), 0).error, InflateError::kTooLong);
    EXPECT_TRUE(ZstdInflate(SpanOf(frame), 1000).bytes.empty());
  }
}

TEST(Compress, AFrameThatDoesNotEndOrIsFollowedByMoreIsRefused) {
  const std::string text = Text(10'000);
  const std::string frame = Frame(text, 1);
  for (const size_t cut : {size_t{1}, size_t{4}, frame.size() / 2}) {
    EXPECT_EQ(ZstdInflate(SpanOf(frame.substr(0, frame.size() - cut)), text.size()).error,
              InflateError::kTooShort);
  }
  EXPECT_EQ(ZstdInflate(SpanOf(frame + "x"), text.size()).error, InflateError::kTrailing);
  // Two frames are not one, even where both together have the length.
  const std::string two = Frame(text.substr(0, 5000), 1) + Frame(text.substr(5000), 1);
  EXPECT_EQ(ZstdInflate(SpanOf(two), text.size()).error, InflateError::kTooShort);
  EXPECT_EQ(ZstdInflate(SpanOf(two), 5000).error, InflateError::kTrailing);
}

TEST(Compress, OnlyFramesOfTodaysFormat) {
  const std::string text = Text(100);
  const std::string skippable("\x50\x2a\x4d\x18\x04\0\0\0abcd", 12);
  EXPECT_EQ(ZstdInflate(SpanOf(skippable), 4).error, InflateError::kNotZstd);
  EXPECT_EQ(ZstdInflate(SpanOf(skippable + Frame(text, 1)), 100).error, InflateError::kNotZstd);
  const std::string old(
      "\x27\xb5\x2f\xfd"
      "abcdefgh",
      12);
  EXPECT_EQ(ZstdInflate(SpanOf(old), 8).error, InflateError::kNotZstd);
  EXPECT_EQ(ZstdInflate({}, 8).error, InflateError::kNotZstd);
  EXPECT_EQ(ZstdInflate(SpanOf("\x28\xb5\x2f"), 8).error, InflateError::kNotZstd);
  std::string spoiled = Frame(Text(10'000), 1);
  spoiled[4] = static_cast<char>(spoiled[4] | 0x08);  // the reserved bit
  EXPECT_EQ(ZstdInflate(SpanOf(spoiled), 10'000).error, InflateError::kCorrupt);
}

// A frame that says it needs all of 16 MiB of history, or 128, is refused by its header.
TEST(Compress, HistoryIsBounded) {
  const std::string text = Text(9'000'000);
  EXPECT_EQ(ZstdInflate(SpanOf(Frame(text, 1, false, 23)), text.size()).error, InflateError::kNone);
  EXPECT_EQ(ZstdInflate(SpanOf(Frame(text, 1, false, 24)), text.size()).error,
            InflateError::kCorrupt);
  const std::string huge("\x28\xb5\x2f\xfd\x00\xf0\x01\x00\x00", 9);  // a window of 1 TiB
  EXPECT_EQ(ZstdInflate(SpanOf(huge), 16 * kMiB).error, InflateError::kCorrupt);
}

// 30 MB of zeros are a frame of 1 KB: only what may be is inflated, and what announces much and
// brings little takes little.
TEST(Compress, ABombEndsAtTheLimit) {
  const std::string bomb = Frame(std::string(30'000'000, '\0'), 1, false);
  EXPECT_LT(bomb.size(), 5000u);
  EXPECT_EQ(ZstdInflate(SpanOf(bomb), 1000).error, InflateError::kTooLong);
  EXPECT_EQ(ZstdInflate(SpanOf(bomb), 16 * kMiB).error, InflateError::kTooLong);
  EXPECT_EQ(ZstdInflate(SpanOf(bomb.substr(0, 100)), size_t{1} << 60).error,
            InflateError::kTooShort);
}

}  // namespace
}  // namespace overlay
