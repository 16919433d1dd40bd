#include "client-sdk/xdr/scp_message.h"

#include <string>
#include <vector>

#include "client-sdk/xdr/xdr_writer.h"
#include "gtest/gtest.h"
#include "tests/support/xdr_builder.h"

namespace overlay::xdr {
namespace {

constexpr StatementKind kKinds[] = {StatementKind::kPrepare, StatementKind::kConfirm,
                                    StatementKind::kExternalize, StatementKind::kNominate};

TEST(ScpMessage, SizesAreThoseOfTheNetwork) {
  XdrBuilder build(1);
  EXPECT_EQ(build.Value(build.AnyHash<SetHash>()).size(), 152u);
  EXPECT_EQ(build.Envelope(StatementKind::kNominate, LedgerSeq{1}, 0).size(), 312u);
  EXPECT_EQ(build.Envelope(StatementKind::kPrepare, LedgerSeq{1}, 0).size(), 324u);
  EXPECT_EQ(build.Envelope(StatementKind::kConfirm, LedgerSeq{1}, 0).size(), 320u);
  EXPECT_EQ(build.Envelope(StatementKind::kExternalize, LedgerSeq{1}, 0).size(), 312u);
}

TEST(ScpMessage, PreparedBallotsTake160BytesEach) {
  XdrBuilder build(1);
  Prepare prepare;
  prepare.ballot = {.counter = 3, .value = build.Value(build.AnyHash<SetHash>())};
  prepare.prepared = prepare.ballot;
  const ScpStatement one{.node = build.Node(0), .slot = LedgerSeq{1}, .pledges = prepare};
  EXPECT_EQ(build.Sign(one, 0).size(), 324u + 160u);
  prepare.prepared_prime = prepare.ballot;
  const ScpStatement both{.node = build.Node(0), .slot = LedgerSeq{1}, .pledges = prepare};
  const Bytes envelope = build.Sign(both, 0);
  EXPECT_EQ(envelope.size(), 324u + 320u);
  const auto decoded = DecodeEnvelope(envelope.span());
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(ValuesOf(decoded->statement).size(), 3u);
  EXPECT_EQ(std::get<Prepare>(decoded->statement.pledges).prepared_prime, prepare.ballot);
}

TEST(ScpMessage, DecodesWhatItEncodes) {
  XdrBuilder build(2);
  for (const StatementKind kind : kKinds) {
    const SetHash tx_set = build.AnyHash<SetHash>();
    const SetHash quorum_set = build.AnyHash<SetHash>();
    const Bytes bytes = build.Envelope(kind, LedgerSeq{77}, 3, 5, tx_set, quorum_set);
    const auto envelope = DecodeEnvelope(bytes.span());
    ASSERT_TRUE(envelope.has_value());
    EXPECT_EQ(envelope->statement.node, build.Node(3));
    EXPECT_EQ(envelope->statement.slot, LedgerSeq{77});
    EXPECT_EQ(envelope->statement.pledges.index(), static_cast<size_t>(kind));
    EXPECT_EQ(QuorumSetHashOf(envelope->statement), quorum_set);
    const std::vector<std::string> values = ValuesOf(envelope->statement);
    ASSERT_EQ(values.size(), 1u);
    const auto value = DecodeValue(values[0]);
    ASSERT_TRUE(value.has_value());
    EXPECT_EQ(value->tx_set_hash, tx_set);
    EXPECT_TRUE(VerifyValue(*value, build.network()));
    EXPECT_EQ(EncodeValue(*value), values[0]);
  }
}

TEST(ScpMessage, SignatureCoversStatementAndNetwork) {
  XdrBuilder build(3);
  const Bytes bytes = build.Envelope(StatementKind::kConfirm, LedgerSeq{1}, 0);
  EXPECT_TRUE(VerifyEnvelope(bytes.span(), build.network()));
  EXPECT_FALSE(VerifyEnvelope(bytes.span(), NetworkIdOf("another network")));
  std::string changed(bytes.view());
  changed[43] ^= 1;  // the slot
  EXPECT_FALSE(VerifyEnvelope(Bytes::Copy(changed).span(), build.network()));
}

TEST(ScpMessage, EveryCutAndEveryExtraByteIsRefused) {
  XdrBuilder build(4);
  for (const StatementKind kind : kKinds) {
    const Bytes bytes = build.Envelope(kind, LedgerSeq{1}, 0);
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_FALSE(DecodeEnvelope(bytes.span().first(size)).has_value()) << size;
    }
    EXPECT_FALSE(DecodeEnvelope(Bytes::Copy(std::string(bytes.view()) + '\0').span()).has_value());
  }
}

TEST(StellarValue, EmptyTxSetNamesTheProposalAndNothingToFetch) {
  XdrBuilder build(5);
  const SetHash proposed = build.AnyHash<SetHash>();
  const std::string bytes =
      EmptyTxSetValue(proposed, build.AnyHash<LedgerHash>(), 9, build.NodeSeed(0), build.network());
  EXPECT_EQ(bytes.size(), 220u);
  const auto value = DecodeValue(bytes);
  ASSERT_TRUE(value.has_value());
  EXPECT_TRUE(value->tx_set_hash.IsZero());
  EXPECT_EQ(value->proposed_tx_set_hash, proposed);
  EXPECT_TRUE(VerifyValue(*value, build.network()));
}

TEST(StellarValue, ZeroHashIfAndOnlyIfEmptyTxSet) {
  XdrBuilder build(6);
  EXPECT_FALSE(DecodeValue(build.Value(SetHash{})).has_value());
  std::string empty = EmptyTxSetValue(build.AnyHash<SetHash>(), LedgerHash{}, 9, build.NodeSeed(0),
                                      build.network());
  ASSERT_TRUE(DecodeValue(empty).has_value());
  empty[0] = 1;
  EXPECT_FALSE(DecodeValue(empty).has_value());
}

TEST(StellarValue, UpgradesUpToSix) {
  StellarValue value;
  value.tx_set_hash.bytes[0] = 1;
  value.kind = StellarValue::Kind::kBasic;
  EXPECT_EQ(EncodeValue(value).size(), 48u);
  EXPECT_FALSE(VerifyValue(value, NetworkId{}));
  value.upgrades.assign(6, std::string(128, 'u'));
  ASSERT_TRUE(DecodeValue(EncodeValue(value)).has_value());
  EXPECT_EQ(DecodeValue(EncodeValue(value))->upgrades, value.upgrades);
  value.upgrades.assign(7, "u");
  EXPECT_FALSE(DecodeValue(EncodeValue(value)).has_value());
  value.upgrades.assign(1, std::string(129, 'u'));
  EXPECT_FALSE(DecodeValue(EncodeValue(value)).has_value());
}

TEST(QuorumSet, DecodesWhatItEncodes) {
  XdrBuilder build(7);
  QuorumSet set;
  set.threshold = 2;
  set.validators = {build.Node(0), build.Node(1)};
  set.inner_sets.push_back({.threshold = 1, .validators = {build.Node(2)}, .inner_sets = {}});
  const Bytes bytes = EncodeQuorumSet(set);
  const auto decoded = DecodeQuorumSet(bytes.span());
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(EncodeQuorumSet(*decoded), bytes);
  EXPECT_EQ(decoded->inner_sets.size(), 1u);
}

QuorumSet Nested(int levels, const NodeKey& node) {
  QuorumSet set{.threshold = 1, .validators = {node}, .inner_sets = {}};
  if (levels > 1) set.inner_sets.push_back(Nested(levels - 1, node));
  return set;
}

TEST(QuorumSet, BoundsOfLevelsNodesAndThreshold) {
  XdrBuilder build(8);
  EXPECT_TRUE(DecodeQuorumSet(EncodeQuorumSet(Nested(4, build.Node(0))).span()).has_value());
  EXPECT_FALSE(DecodeQuorumSet(EncodeQuorumSet(Nested(5, build.Node(0))).span()).has_value());
  QuorumSet large{.threshold = 1, .validators = {}, .inner_sets = {}};
  large.validators.assign(1000, build.Node(0));
  EXPECT_TRUE(DecodeQuorumSet(EncodeQuorumSet(large).span()).has_value());
  large.validators.push_back(build.Node(0));
  EXPECT_FALSE(DecodeQuorumSet(EncodeQuorumSet(large).span()).has_value());
  // The bound is over all levels together.
  large.validators.resize(999);
  large.inner_sets.push_back(Nested(1, build.Node(0)));
  EXPECT_TRUE(DecodeQuorumSet(EncodeQuorumSet(large).span()).has_value());
  large.inner_sets.push_back(Nested(1, build.Node(0)));
  EXPECT_FALSE(DecodeQuorumSet(EncodeQuorumSet(large).span()).has_value());
  QuorumSet impossible{.threshold = 2, .validators = {build.Node(0)}, .inner_sets = {}};
  EXPECT_FALSE(DecodeQuorumSet(EncodeQuorumSet(impossible).span()).has_value());
  impossible.threshold = 0;
  EXPECT_FALSE(DecodeQuorumSet(EncodeQuorumSet(impossible).span()).has_value());
}

TEST(XdrBuilder, SameSeedSameMessages) {
  XdrBuilder one(9);
  XdrBuilder two(9);
  EXPECT_EQ(one.Envelope(StatementKind::kConfirm, LedgerSeq{1}, 0),
            two.Envelope(StatementKind::kConfirm, LedgerSeq{1}, 0));
  EXPECT_EQ(one.Transactions(20), two.Transactions(20));
  XdrBuilder other(10);
  EXPECT_NE(other.Node(0), one.Node(0));
}

}  // namespace
}  // namespace overlay::xdr
