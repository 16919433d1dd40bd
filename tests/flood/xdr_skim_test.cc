#include "flood/xdr_skim.h"

#include <map>
#include <string>

#include "flood/base/crypto.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/corpus.h"
#include "tests/support/plain_envelope.h"
#include "tests/support/status_matchers.h"
#include "tests/support/xdr_builder.h"

namespace overlay::flood {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Each envelope of the public network in the corpus skims, with the mix that it is known to have.
TEST(XdrSkimTest, CorpusEnvelopes) {
  std::map<ScpStatementType, int> types;
  int with_set = 0;
  for (const Bytes& envelope : CorpusScpEnvelopes()) {
    const auto skim = SkimEnvelope(envelope.span());
    ASSERT_OK(skim);
    ++types[skim->statement.type];
    with_set += !skim->refs.tx_sets.empty();
    EXPECT_FALSE(skim->refs.quorum_set.IsZero());
    EXPECT_GT(skim->refs.slot.value, 0u);
  }
  ASSERT_EQ(CorpusScpEnvelopes().size(), 1970u);
  EXPECT_EQ(with_set, 1970);
  if (!CorpusPresent()) return;
  EXPECT_EQ(types[ScpStatementType::kPrepare], 1145);
  EXPECT_EQ(types[ScpStatementType::kConfirm], 626);
  EXPECT_EQ(types[ScpStatementType::kExternalize], 199);
}

uint32_t WordAt(std::string_view data, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(data[at + i]);
  return value;
}

size_t AfterQuorumSet(std::string_view data, size_t at) {
  at += 8 + size_t{WordAt(data, at + 4)} * 36;
  const uint32_t inner = WordAt(data, at);
  at += 4;
  for (uint32_t i = 0; i < inner; ++i) at = AfterQuorumSet(data, at);
  return at;
}

// History archive files hold SCPHistoryEntry records: u32 0, quorum sets<>, u32 slot, envelopes<>.
TEST(XdrSkimTest, CorpusTestnetFiles) {
  if (!CorpusPresent()) return;  // the generated envelopes above have the modern shape too
  int slots = 0;
  int envelopes = 0;
  for (const char* file : {"testnet-scp/scp-000004ff.xdr.gz", "testnet-scp/scp-0000053f.xdr.gz",
                           "testnet-scp/scp-0000057f.xdr.gz"}) {
    for (const Bytes& record : ReadCorpusFile(file)) {
      ++slots;
      const std::string_view data = record.view();
      size_t at = 8;
      for (uint32_t i = 0; i < WordAt(data, 4); ++i) at = AfterQuorumSet(data, at);
      const uint32_t slot = WordAt(data, at);
      const uint32_t count = WordAt(data, at + 4);
      at += 8;
      for (uint32_t i = 0; i < count; ++i) {
        // Lengths are not stored: the shortest prefix that skims is the envelope.
        size_t size = 100;
        while (at + size < data.size() && !SkimEnvelope(record.Slice(at, size).span()).ok()) {
          size += 4;
        }
        const auto skim = SkimEnvelope(record.Slice(at, size).span());
        ASSERT_OK(skim);
        EXPECT_EQ(skim->refs.slot.value, slot);
        EXPECT_EQ(skim->refs.tx_sets.size(), 1u);
        at += size;
        ++envelopes;
      }
      EXPECT_EQ(at, data.size());
    }
  }
  EXPECT_EQ(slots, 3 * 64);
  EXPECT_EQ(envelopes, 3 * 64 * 3);
}

TEST(XdrSkimTest, CorpusTransactions) {
  int fee_bumps = 0;
  int soroban = 0;
  for (const Bytes& transaction : CorpusTransactions()) {
    const auto skim = SkimTransaction(transaction.span());
    ASSERT_OK(skim);
    fee_bumps += skim->is_fee_bump;
    soroban += skim->lane == Lane::kSoroban;
    EXPECT_GT(skim->fee, 0);
    EXPECT_GE(skim->operations, skim->is_fee_bump ? 2u : 1u);
    EXPECT_GT(skim->sequence, 0);
    EXPECT_FALSE(skim->source.IsZero());
  }
  ASSERT_EQ(CorpusTransactions().size(), 5188u);
  EXPECT_NEAR(fee_bumps, 5188 * 0.11, 5188 * 0.02);
  EXPECT_GT(soroban, 0);
  EXPECT_LT(soroban, 5188);
}

// No prefix of a message, and no message with something behind it, passes for the message.
TEST(XdrSkimTest, EveryLengthIsChecked) {
  XdrBuilder build(1);
  for (StatementKind kind : {StatementKind::kPrepare, StatementKind::kConfirm,
                             StatementKind::kExternalize, StatementKind::kNominate}) {
    const Bytes envelope = build.Envelope(kind, {7}, 0);
    ASSERT_OK(SkimEnvelope(envelope.span()));
    for (size_t size = 0; size < envelope.size(); ++size) {
      EXPECT_THAT(SkimEnvelope(envelope.Slice(0, size).span()),
                  HasCode(absl::StatusCode::kInvalidArgument));
    }
    EXPECT_THAT(SkimEnvelope(Bytes::Copy(std::string(envelope.view()) + '\0').span()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bytes after the end")));
  }
  const Bytes payment = build.PaymentOf(build.AnySeed(), 5, 100, 2);
  for (size_t size = 0; size < 80; ++size) {
    EXPECT_THAT(SkimTransaction(payment.Slice(0, size).span()),
                HasCode(absl::StatusCode::kInvalidArgument));
  }
}

TEST(XdrSkimTest, EnvelopeParts) {
  const PlainEnvelope make{.slot = 77, .node = 3};
  const Bytes bytes = make.Prepare({4, "abc"}, PlainBallot{3, "p"}, PlainBallot{2, "q"}, 9);
  const auto skim = SkimEnvelope(bytes.span());
  ASSERT_OK(skim);  // no signature, and values that are no StellarValue
  EXPECT_EQ(skim->refs.slot.value, 77u);
  EXPECT_EQ(skim->refs.node, HashNumber<NodeKey>(3));
  EXPECT_EQ(skim->refs.quorum_set, HashNumber<SetHash>(0xaa));
  EXPECT_THAT(skim->refs.tx_sets, IsEmpty());
  EXPECT_EQ(skim->phase, ScpPhase::kBallot);
  EXPECT_EQ(skim->statement.ballot.counter, 4u);
  EXPECT_EQ(skim->statement.ballot.value, "abc");
  EXPECT_EQ(skim->statement.prepared->value, "p");
  EXPECT_EQ(skim->statement.prepared_prime->counter, 2u);
  EXPECT_EQ(skim->statement.high_counter, 9u);
  const Bytes empty = make.Nominate({}, {});
  const auto nominate = SkimEnvelope(empty.span());
  ASSERT_OK(nominate);
  EXPECT_EQ(nominate->phase, ScpPhase::kNomination);
}

std::string BasicValue(uint8_t set) {
  return XdrWords().Raw(HashNumber<SetHash>(set).view()).U64(5).U32(0).U32(0).text();
}

// All that a statement names, each once; never the zero hash.
TEST(XdrSkimTest, NamedSets) {
  const Bytes bytes = PlainEnvelope().Nominate({BasicValue(9), BasicValue(2), BasicValue(0)},
                                               {BasicValue(9), BasicValue(4)});
  const auto skim = SkimEnvelope(bytes.span());
  ASSERT_OK(skim);
  EXPECT_THAT(skim->refs.tx_sets,
              ElementsAre(HashNumber<SetHash>(2), HashNumber<SetHash>(4), HashNumber<SetHash>(9)));
  const Bytes three = PlainEnvelope().Prepare({2, BasicValue(1)}, PlainBallot{1, BasicValue(2)},
                                              PlainBallot{1, BasicValue(3)});
  EXPECT_EQ(SkimEnvelope(three.span())->refs.tx_sets.size(), 3u);
}

// A value signed with a key that is not Ed25519 is no StellarValue.
TEST(XdrSkimTest, NamesNoSetOfAValueWithAnotherKind) {
  const auto signed_with = [](uint32_t key_type) {
    const std::string key(32, 'k');
    const auto set = HashNumber<SetHash>(9);
    const Bytes bytes = PlainEnvelope().Nominate(
        {XdrWords().Raw(set.view()).U64(5).U32(0).U32(1).U32(key_type).Raw(key).U32(0).text()}, {});
    return SkimEnvelope(bytes.span())->refs.tx_sets;
  };
  EXPECT_THAT(signed_with(0), SizeIs(1));
  EXPECT_THAT(signed_with(1), IsEmpty());
}

// The value that stands for the empty set names the proposed one, which is inside.
TEST(XdrSkimTest, EmptyTxSetValue) {
  XdrBuilder build(2);
  const auto proposed = build.AnyHash<SetHash>();
  const Bytes bytes = build.EnvelopeWithoutTxSet(StatementKind::kExternalize, {5}, 1, proposed);
  const auto skim = SkimEnvelope(bytes.span());
  ASSERT_OK(skim);
  EXPECT_THAT(skim->refs.tx_sets, ElementsAre(proposed));
}

void ExpectMalformed(std::string text, const std::string& what) {
  const Bytes bytes = Bytes::Take(std::move(text));
  EXPECT_THAT(SkimEnvelope(bytes.span()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
}

TEST(XdrSkimTest, MalformedEnvelopes) {
  const std::string good(PlainEnvelope().Externalize({1, "v"}).view());
  std::string bad = good;
  bad[3] = 1;
  ExpectMalformed(bad, "not Ed25519");
  bad = good;
  bad[47] = 4;
  ExpectMalformed(bad, "unknown type");
  bad[46] = 1;
  bad[47] = 0;  // 256: no PREPARE, though its last byte is one's
  ExpectMalformed(bad, "unknown type");
  bad = good;
  bad[57] = 1;  // behind the one byte of the value
  ExpectMalformed(bad, "padding");
  bad = good;
  bad[52] = 0x7f;
  ExpectMalformed(bad, "too early");
  // A count of values that the bytes do not hold costs nothing.
  bad = std::string(PlainEnvelope().Nominate({"v"}, {}).view());
  bad[80] = bad[81] = '\x7f';
  ExpectMalformed(bad, "too early");
  bad = std::string(PlainEnvelope{.signature = std::string(65, 's')}.Externalize({}).view());
  ExpectMalformed(bad, "above its limit");
  const Bytes longest = PlainEnvelope{.signature = std::string(64, 's')}.Externalize({1, "v"});
  EXPECT_OK(SkimEnvelope(longest.span()));
}

TEST(XdrSkimTest, TransactionParts) {
  XdrBuilder build(3);
  const SecretSeed source = build.AnySeed();
  const AccountKey account{PublicKeyOf(source).bytes};
  const Bytes payment = build.PaymentOf(source, 41, 300, 3);
  const auto inner = SkimTransaction(payment.span());
  ASSERT_OK(inner);
  EXPECT_EQ(inner->source, account);
  EXPECT_EQ(inner->sequence, 41);
  EXPECT_EQ(inner->fee, 300);
  EXPECT_EQ(inner->operations, 3u);
  EXPECT_EQ(inner->lane, Lane::kClassic);
  EXPECT_FALSE(inner->is_fee_bump);
  const auto bump = SkimTransaction(build.FeeBumpOf(payment, 5'000'000'000).span());
  ASSERT_OK(bump);
  EXPECT_EQ(bump->source, account);
  EXPECT_EQ(bump->sequence, 41);
  EXPECT_EQ(bump->fee, 5'000'000'000);
  EXPECT_EQ(bump->operations, 4u);
  EXPECT_TRUE(bump->is_fee_bump);
  EXPECT_THAT(SkimTransaction(build.FeeBumpOf(payment, -1).span()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("negative fee")));
}

// A v1 transaction without signatures whose operations have this type and nothing else.
Bytes PlainTransaction(uint32_t operations, uint32_t type, uint32_t preconditions = 0) {
  XdrWords x;
  x.U32(2).U32(0).Raw(HashNumber<AccountKey>(1).view()).U32(100).U64(7);
  x.U32(preconditions).U32(0).U32(operations);
  for (uint32_t i = 0; i < operations; ++i) x.U32(0).U32(type);
  return x.U32(0).U32(0).bytes();
}

TEST(XdrSkimTest, LanesAndOperationCounts) {
  for (uint32_t type = 0; type < 40; ++type) {
    const auto skim = SkimTransaction(PlainTransaction(1, type).span());
    ASSERT_OK(skim);
    EXPECT_EQ(skim->lane, type >= 24 && type <= 26 ? Lane::kSoroban : Lane::kClassic) << type;
  }
  EXPECT_THAT(SkimTransaction(PlainTransaction(0, 1).span()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no operations")));
  EXPECT_OK(SkimTransaction(PlainTransaction(100, 1).span()));
  EXPECT_THAT(SkimTransaction(PlainTransaction(101, 1).span()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 100")));
  EXPECT_THAT(SkimTransaction(PlainTransaction(1, 1, 3).span()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("preconditions")));
  const Bytes ten = PlainTransaction(10, 1);  // the operations counted must have room
  EXPECT_THAT(SkimTransaction(ten.Slice(0, ten.size() - 9).span()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too early")));
}

}  // namespace
}  // namespace overlay::flood
