// What a node that lost its memory goes on from: its own statements.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "client-sdk/demo-core/ballots.h"
#include "client-sdk/demo-core/nomination.h"
#include "client-sdk/demo-core/quorum.h"

namespace overlay::demo {
namespace {

using testing::ElementsAre;
using xdr::Ballot;

constexpr LedgerSeq kSlot{7};

NodeKey Key(uint8_t byte) {
  NodeKey key;
  key.bytes.fill(byte);
  return key;
}

std::string TextOf(const std::optional<Ballot>& ballot) {
  return ballot ? fmt::format("{}{}", ballot->value, ballot->counter) : "-";
}
std::string TextOf(const std::optional<xdr::ScpStatement>& statement) {
  if (!statement) return "nothing";
  if (const auto* p = std::get_if<xdr::Prepare>(&statement->pledges)) {
    return fmt::format("prepare {}, prepared {} {}, c {} h {}", TextOf(p->ballot),
                       TextOf(p->prepared), TextOf(p->prepared_prime), p->c_counter, p->h_counter);
  }
  if (const auto* c = std::get_if<xdr::Confirm>(&statement->pledges)) {
    return fmt::format("confirm {}, prepared {}, c {} h {}", TextOf(c->ballot), c->prepared_counter,
                       c->commit_counter, c->h_counter);
  }
  const auto& e = std::get<xdr::Externalize>(statement->pledges);
  return fmt::format("externalize {} h {}", TextOf(e.commit), e.h_counter);
}

class RestoreTest : public ::testing::Test {
 protected:
  RestoreTest() {
    set_.threshold = 3;
    for (uint8_t i = 1; i <= 4; ++i) set_.validators.push_back(Key(i));
    sets_.Add(set_);
  }

  const NodeKey self_ = Key(1);
  xdr::QuorumSet set_;
  QuorumSets sets_;
  Federation federation_{set_, sets_};
  const SetHash hash_ = HashOfQuorumSet(set_);
  Ballots ballots_{self_, hash_, kSlot, federation_};
};

TEST_F(RestoreTest, EveryFieldOfAPrepareIsKept) {
  ballots_.SetCandidate("z");
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "prepare z1, prepared - -, c 0 h 0");
  ballots_.OnStatement(
      {self_, kSlot, xdr::Prepare{hash_, {4, "x"}, Ballot{3, "x"}, Ballot{2, "y"}, 1, 3}});
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "prepare x4, prepared x3 y2, c 1 h 3");
  ballots_.OnTimeout();
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "prepare x5, prepared x3 y2, c 1 h 3");
}

TEST_F(RestoreTest, APrepareWithoutAConfirmedBallotIsBoundToNoValue) {
  ballots_.OnStatement({self_, kSlot, xdr::Prepare{hash_, {4, "x"}, Ballot{3, "x"}, {}, 0, 0}});
  ballots_.SetCandidate("z");
  ballots_.OnTimeout();
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "prepare z5, prepared x3 -, c 0 h 0");
}

TEST_F(RestoreTest, EveryFieldOfAConfirmIsKept) {
  ballots_.SetCandidate("z");
  ballots_.OnStatement({self_, kSlot, xdr::Confirm{{5, "x"}, 4, 2, 3, hash_}});
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "confirm x5, prepared 4, c 2 h 3");
  ballots_.OnTimeout();
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "confirm x6, prepared 4, c 2 h 3");
}

TEST_F(RestoreTest, AnExternalizeIsTheDecision) {
  ballots_.OnStatement({self_, kSlot, xdr::Externalize{{2, "x"}, 3, hash_}});
  EXPECT_EQ(ballots_.decided(), "x");
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "externalize x2 h 3");
  ballots_.OnTimeout();
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "nothing");
}

TEST_F(RestoreTest, TheNewestStatementCountsWhateverComesFirst) {
  const xdr::ScpStatement older{self_, kSlot, xdr::Prepare{hash_, {1, "y"}, {}, {}, 0, 0}};
  const xdr::ScpStatement newer{self_, kSlot, xdr::Confirm{{5, "x"}, 4, 2, 3, hash_}};
  ballots_.OnStatement(newer);
  ballots_.OnStatement(older);
  EXPECT_EQ(TextOf(ballots_.TakeStatement()), "confirm x5, prepared 4, c 2 h 3");
}

TEST_F(RestoreTest, ANominationGrowsOnFromWhatItWas) {
  const ValueTest valid = [](const std::string& value) { return value != "x"; };
  Nomination nomination(self_, hash_, kSlot, federation_, valid);
  nomination.OnStatement({self_, kSlot, xdr::Nominate{hash_, {"w", "x"}, {"w"}}});
  nomination.OnStatement({self_, kSlot, xdr::Nominate{hash_, {"w"}, {}}});
  while (!nomination.WantsValue()) nomination.NextRound();
  nomination.Propose("v");
  const std::optional<xdr::ScpStatement> said = nomination.TakeStatement();
  ASSERT_TRUE(said.has_value());
  EXPECT_THAT(std::get<xdr::Nominate>(said->pledges).votes, ElementsAre("v", "w", "x"));
  EXPECT_THAT(std::get<xdr::Nominate>(said->pledges).accepted, ElementsAre("w"));
}

}  // namespace
}  // namespace overlay::demo
