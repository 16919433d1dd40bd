// The corpus and its stand-in: numbers, and that both are what the network carries.
#include "tests/support/corpus.h"

#include <set>
#include <string>

#include "client-sdk/xdr/scp_message.h"
#include "gtest/gtest.h"

namespace overlay {
namespace {

TEST(Corpus, HasTheRecordsThatItSays) {
  EXPECT_EQ(CorpusScpEnvelopes().size(), kCorpusScpEnvelopes);
  EXPECT_EQ(CorpusTransactions().size(), kCorpusTransactions);
  EXPECT_EQ(CorpusTxSets().size(), kCorpusTxSets);
}

TEST(Corpus, EveryEnvelopeIsSignedAndDistinct) {
  size_t kinds[4] = {};
  std::set<std::string_view> distinct;
  for (const Bytes& bytes : CorpusScpEnvelopes()) {
    const auto envelope = xdr::DecodeEnvelope(bytes.span());
    ASSERT_TRUE(envelope.has_value());
    ++kinds[envelope->statement.pledges.index()];
    ASSERT_TRUE(xdr::VerifyEnvelope(bytes.span(), CorpusNetwork()));
    distinct.insert(bytes.view());
  }
  EXPECT_EQ(kinds[0], 1145u);
  EXPECT_EQ(kinds[1], 626u);
  EXPECT_EQ(kinds[2], 199u);
  EXPECT_EQ(kinds[3], 0u);
  EXPECT_EQ(distinct.size(), kCorpusScpEnvelopes);
}

TEST(Corpus, SetsHoldTheTransactions) {
  size_t at = 0;
  size_t found = 0;
  for (const Bytes& set : CorpusTxSets()) {
    ASSERT_EQ(set.view().substr(0, 4), std::string_view("\0\0\0\1", 4));
    // A set names its own transactions only, and the file of transactions is in set order.
    while (at < CorpusTransactions().size() &&
           set.view().find(CorpusTransactions()[at].view()) != std::string_view::npos) {
      ++at;
      ++found;
    }
  }
  EXPECT_EQ(found, kCorpusTransactions);
}

TEST(Corpus, EnvelopesEncodeToWhatTheyWereDecodedFrom) {
  size_t records = 0;
  if (CorpusPresent()) {
    for (const char* name : {"4ff", "53f", "57f"}) {
      records += ReadCorpusFile("testnet-scp/scp-00000" + std::string(name) + ".xdr.gz").size();
    }
    EXPECT_EQ(records, 3u * 64u);
  }
  for (const Bytes& bytes : CorpusScpEnvelopes()) {
    const auto envelope = xdr::DecodeEnvelope(bytes.span());
    ASSERT_TRUE(envelope.has_value());
    const Bytes again = xdr::EncodeStatement(envelope->statement);
    ASSERT_EQ(again.view(), bytes.view().substr(0, bytes.size() - 68));
  }
}

TEST(CorpusDeathTest, BrokenRecordsEndTheTest) {
  EXPECT_DEATH(SplitRecords(Bytes::Copy("\x80\0\0")), "cut off");
  EXPECT_DEATH(SplitRecords(Bytes::Copy(std::string_view("\0\0\0\1a", 5))), "top bit");
  EXPECT_DEATH(SplitRecords(Bytes::Copy(std::string_view("\x80\0\0\2a", 5))), "record is cut off");
}

}  // namespace
}  // namespace overlay
