#include "client-sdk/demo-core/tx_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <set>

#include "client-sdk/xdr/transaction_reader.h"
#include "flood/base/crypto.h"
#include "tests/support/corpus.h"
#include "tests/support/status_matchers.h"

namespace overlay::demo {
namespace {

std::optional<xdr::TransactionFacts> Read(const std::string& envelope) {
  return xdr::ReadTransaction(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(envelope.data()), envelope.size()));
}

TxSource::Options Options(const std::string& file, uint64_t first, uint64_t stride, int64_t base) {
  TxSource::Options options;
  options.file = file;
  options.first = first;
  options.stride = stride;
  options.sequence_base = base;
  return options;
}

// All kinds of envelope are in the corpus: nothing but the number changes.
TEST(TxSourceTest, TheSequenceNumberOfEveryRealTransactionCanBeSet) {
  size_t changed = 0;
  for (const Bytes& original : CorpusTransactions()) {
    std::string envelope(original.view());
    ASSERT_TRUE(SetSequence(envelope, 0x0123456789abcdef));
    const auto before = xdr::ReadTransaction(original.span());
    const auto after = Read(envelope);
    ASSERT_TRUE(before && after);
    EXPECT_EQ(after->sequence, 0x0123456789abcdef);
    EXPECT_EQ(after->source, before->source);
    EXPECT_EQ(after->inclusion_fee, before->inclusion_fee);
    EXPECT_EQ(after->operations, before->operations);
    ASSERT_TRUE(SetSequence(envelope, before->sequence));
    EXPECT_EQ(envelope, original.view());
    ++changed;
  }
  EXPECT_EQ(changed, kCorpusTransactions);
}

TEST(TxSourceTest, WhatIsNoTransactionIsRefused) {
  for (const size_t size : {0, 3, 40, 44, 60, 200}) {
    std::string nothing(size, '\0');
    EXPECT_FALSE(SetSequence(nothing, 1)) << size;
  }
}

TEST(TxSourceTest, SourcesOfANetworkShareTheNumbers) {
  std::set<int64_t> sequences;
  std::set<std::array<uint8_t, 32>> names;
  for (uint64_t first = 0; first < 3; ++first) {
    auto source = TxSource::Open(Options("", first, 3, 1000));
    ASSERT_THAT(source, IsOk());
    for (int i = 0; i < 40; ++i) {
      const std::string envelope = source->Next();
      const auto facts = Read(envelope);
      ASSERT_TRUE(facts);
      sequences.insert(facts->sequence);
      names.insert(Sha256(
          absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(envelope.data()), envelope.size())));
    }
  }
  EXPECT_EQ(names.size(), 120U);
  EXPECT_EQ(sequences.size(), 120U);
  EXPECT_EQ(*sequences.begin(), 1000);
  EXPECT_EQ(*sequences.rbegin(), 1119);
}

class TxSourceFileTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  void Write(const std::string& data) {
    const gzFile file = gzopen(path_.c_str(), "wb");
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(gzwrite(file, data.data(), static_cast<unsigned>(data.size())),
              static_cast<int>(data.size()));
    EXPECT_EQ(gzclose(file), Z_OK);
  }
  static std::string Record(std::string_view body) {
    std::string record;
    const auto mark = static_cast<uint32_t>(0x80000000 | body.size());
    for (int shift = 24; shift >= 0; shift -= 8) record += static_cast<char>(mark >> shift);
    return record + std::string(body);
  }
  ~TxSourceFileTest() override { std::remove(path_.c_str()); }
  absl::StatusOr<TxSource> Open() { return TxSource::Open(Options(path_, 1, 2, 7)); }

  // Its own for each test and process: tests run side by side.
  const std::string path_ =
      testing::TempDir() + "/tx_source_test." + std::to_string(getpid()) + ".xdr.gz";
};

TEST_F(TxSourceFileTest, RecordsInTurnAndAgainFromTheFirst) {
  std::string data;
  for (size_t i = 0; i < 3; ++i) data += Record(CorpusTransactions()[i].view());
  Write(data);
  auto source = Open();
  ASSERT_THAT(source, IsOk());
  for (const auto& [record, sequence] :
       std::vector<std::pair<size_t, int64_t>>{{1, 8}, {0, 10}, {2, 12}, {1, 14}}) {
    std::string expected(CorpusTransactions()[record].view());
    SetSequence(expected, sequence);
    EXPECT_EQ(source->Next(), expected);
  }
}

TEST_F(TxSourceFileTest, BadFilesAreNamed) {
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr(path_)));
  const std::string good = Record(CorpusTransactions()[0].view());
  for (const std::string& bad :
       {std::string(), good.substr(0, good.size() - 4), good + "\x80", Record("1234"),
        std::string("\0\0\0\4abcd", 8), good + Record("")}) {
    Write(bad);
    EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, testing::HasSubstr(path_)));
  }
}

}  // namespace
}  // namespace overlay::demo
