#include "flood/scp_order.h"

#include <vector>

#include "gtest/gtest.h"
#include "tests/support/plain_envelope.h"

namespace overlay::flood {
namespace {

const PlainEnvelope kMake;

bool IsNewer(const Bytes& a, const Bytes& b) {
  return Newer(SkimEnvelope(a.span())->statement, SkimEnvelope(b.span())->statement);
}

// Each is newer than all before it, and only so.
void ExpectAscending(const std::vector<Bytes>& chain) {
  for (size_t i = 0; i < chain.size(); ++i) {
    for (size_t j = 0; j < chain.size(); ++j) {
      EXPECT_EQ(IsNewer(chain[i], chain[j]), i > j) << i << " against " << j;
    }
  }
}

void ExpectIncomparable(const Bytes& a, const Bytes& b) {
  EXPECT_FALSE(IsNewer(a, b));
  EXPECT_FALSE(IsNewer(b, a));
}

TEST(ScpOrderTest, TypesComeBeforeBallots) {
  ExpectAscending({kMake.Prepare({9, "z"}), kMake.Confirm({1, "a"}), kMake.Externalize({1, "a"})});
}

// The counter alone does not decide, nor does the value: all four parts do, in this order.
TEST(ScpOrderTest, PreparesAscend) {
  const PlainBallot low{1, "a"};
  const PlainBallot high{1, "b"};
  ExpectAscending({
      kMake.Prepare({1, "b"}),
      kMake.Prepare({1, "ba"}),
      kMake.Prepare({2, "a"}),
      kMake.Prepare({2, "a"}, {}, {}, 1),
      kMake.Prepare({2, "a"}, low),
      kMake.Prepare({2, "a"}, low, {}, 1),
      kMake.Prepare({2, "a"}, high),
      kMake.Prepare({2, "a"}, high, low),
      kMake.Prepare({2, "a"}, high, low, 2),
      kMake.Prepare({2, "a"}, high, high),
      kMake.Prepare({2, "b"}),
      kMake.Prepare({10, "a"}),
  });
  // Values are bytes, not characters with a sign.
  ExpectAscending({kMake.Prepare({1, "\x7f"}), kMake.Prepare({1, "\x80"})});
}

TEST(ScpOrderTest, ConfirmsAscend) {
  ExpectAscending({
      kMake.Confirm({1, "a"}, 5, 5),
      kMake.Confirm({1, "b"}, 1, 1),
      kMake.Confirm({1, "b"}, 1, 2),
      kMake.Confirm({1, "b"}, 2, 1),
      kMake.Confirm({2, "a"}, 1, 1),
  });
}

TEST(ScpOrderTest, NominationsAreSets) {
  ExpectAscending({
      kMake.Nominate({}, {}),
      kMake.Nominate({"b"}, {}),
      kMake.Nominate({"a", "b"}, {}),
      kMake.Nominate({"a", "b"}, {"b"}),
      kMake.Nominate({"a", "b", "c"}, {"b"}),
  });
  ExpectIncomparable(kMake.Nominate({"a"}, {}), kMake.Nominate({"b", "c"}, {}));
  ExpectIncomparable(kMake.Nominate({"a", "b"}, {}), kMake.Nominate({"a"}, {"a"}));
  // More of one list does not make up for less of the other.
  ExpectIncomparable(kMake.Nominate({"a", "b", "c"}, {}), kMake.Nominate({"a"}, {"a"}));
  ExpectIncomparable(kMake.Nominate({"a"}, {"a", "b"}), kMake.Nominate({"b"}, {"a"}));
  // SCP refuses lists that do not strictly ascend, so they supersede nothing.
  ExpectIncomparable(kMake.Nominate({"a"}, {}), kMake.Nominate({"b", "a"}, {}));
  ExpectIncomparable(kMake.Nominate({"a"}, {}), kMake.Nominate({"a", "a"}, {}));
}

TEST(ScpOrderTest, WhatDoesNotCompare) {
  ExpectIncomparable(kMake.Externalize({1, "a"}, 1), kMake.Externalize({9, "b"}, 9));
  ExpectIncomparable(kMake.Nominate({"a"}, {}), kMake.Externalize({1, "a"}));
  ExpectIncomparable(kMake.Nominate({"a"}, {}), kMake.Prepare({1, "a"}));
  for (const Bytes& same : {kMake.Prepare({1, "a"}, PlainBallot{}), kMake.Confirm({1, "a"}),
                            kMake.Nominate({"a"}, {"a"})}) {
    EXPECT_FALSE(IsNewer(same, same));
  }
}

}  // namespace
}  // namespace overlay::flood
