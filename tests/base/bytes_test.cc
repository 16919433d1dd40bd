#include "flood/base/bytes.h"

#include "flood/base/random.h"
#include "gtest/gtest.h"

namespace overlay {
namespace {

TEST(Bytes, SliceSharesTheBufferAndKeepsItAlive) {
  Bytes tail;
  {
    const Bytes whole = Bytes::Copy(std::string_view("abcdef"));
    tail = whole.Slice(4);
    EXPECT_EQ(whole.Slice(1, 2).view(), "bc");
    EXPECT_EQ(whole.UseCountForTest(), 2);
    EXPECT_EQ(tail.data(), whole.data() + 4);
  }
  EXPECT_EQ(tail.view(), "ef");
  EXPECT_TRUE(tail.Slice(2).empty());
}

TEST(Bytes, TakesOverWithoutCopy) {
  std::vector<uint8_t> vector(1000, 7);
  const uint8_t* address = vector.data();
  EXPECT_EQ(Bytes::Take(std::move(vector)).data(), address);
}

TEST(BytesBuilder, CollectsPiecesOfAllSizes) {
  Random random(1);
  std::string expected;
  BytesBuilder builder;
  for (int i = 0; i < 200; ++i) {
    std::string piece(random.Below(3000), static_cast<char>(i));
    expected += piece;
    builder.Append(Bytes::Copy(piece).span());
    ASSERT_EQ(builder.size(), expected.size());
  }
  BytesBuilder moved = std::move(builder);
  EXPECT_EQ(moved.Finish().view(), expected);
  EXPECT_EQ(moved.size(), 0u);
  EXPECT_TRUE(moved.Finish().empty());
}

}  // namespace
}  // namespace overlay
