// Votes of several nodes over a network in memory: delays, orders and losses are drawn from seeds,
// time is virtual.
#include "client-sdk/demo-core/vote.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "client-sdk/demo-core/quorum.h"
#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "fmt/format.h"

namespace overlay::demo {
namespace {

using namespace std::chrono_literals;

constexpr LedgerSeq kSlot{7};

NodeKey KeyOf(size_t node) {
  SecretSeed seed;
  seed.bytes[0] = static_cast<uint8_t>(node + 1);
  return PublicKeyOf(seed);
}

// A majority that tolerates a third, as a flat set or with the node itself and the others in
// brackets: the same slices for the node, another hash.
xdr::QuorumSet SetOf(size_t nodes, size_t self) {
  xdr::QuorumSet set;
  const auto threshold = static_cast<uint32_t>(nodes * 2 / 3 + 1);
  if (self % 2 == 0) {
    set.threshold = threshold;
    for (size_t i = 0; i < nodes; ++i) set.validators.push_back(KeyOf((self + i) % nodes));
    return set;
  }
  xdr::QuorumSet others;
  others.threshold = threshold - 1;
  for (size_t i = 1; i < nodes; ++i) others.validators.push_back(KeyOf((self + i) % nodes));
  set.threshold = 2;
  set.validators.push_back(KeyOf(self));
  set.inner_sets.push_back(others);
  return set;
}

// Nodes of one slot and what is on its way between them.
class Slot {
 public:
  explicit Slot(size_t nodes, uint64_t seed = 1) : random_(seed) {
    for (size_t i = 0; i < nodes; ++i) own_.push_back(SetOf(nodes, i));
    for (const xdr::QuorumSet& set : own_) sets_.Add(set);
    for (size_t i = 0; i < nodes; ++i) {
      federations_.push_back(std::make_unique<Federation>(own_[i], sets_));
      votes_.push_back(MakeVote(i));
    }
    down_.resize(nodes);
    invalid_.resize(nodes);
    said_.resize(nodes);
  }

  void Down(size_t node) { down_[node] = true; }
  void Up(size_t node) { down_[node] = false; }
  void Refuse(size_t node, const std::string& value) { invalid_[node].insert(value); }
  void set_delay_max(Duration delay) { delay_max_ = delay; }
  void set_loss(double loss) { loss_ = loss; }
  Time now() const { return now_; }
  Vote& vote(size_t node) { return *votes_[node]; }
  size_t leader(uint32_t round) const {
    for (size_t i = 0; i < votes_.size(); ++i) {
      if (KeyOf(i) == federations_[0]->Leader(kSlot, round)) return i;
    }
    return votes_.size();
  }
  std::string ValueOf(size_t node) const { return fmt::format("value of {}", node); }

  void Start(size_t node) {
    votes_[node]->Start(now_);
    After(node);
  }
  void StartAll() {
    for (size_t i = 0; i < votes_.size(); ++i) {
      if (!down_[i]) Start(i);
    }
  }
  // All that was said so far, again, to one node: as a late joiner gets it.
  void SayAgainTo(size_t node) {
    for (size_t from = 0; from < votes_.size(); ++from) {
      for (const auto& [phase, statement] : said_[from]) Send(from, node, statement);
    }
  }
  // Everyone says the newest again to everyone: what relaying and state answers make of losses.
  void SayAgain() {
    for (size_t to = 0; to < votes_.size(); ++to) SayAgainTo(to);
  }

  bool RunUntil(const std::function<bool()>& done, Duration limit) {
    const Time end = now_ + limit;
    while (!done()) {
      Time next = events_.empty() ? kTimeNever : events_.begin()->first;
      for (size_t i = 0; i < votes_.size(); ++i) {
        if (!down_[i]) next = std::min(next, votes_[i]->NextDeadline());
      }
      if (next > end) return false;
      now_ = std::max(now_, next);
      if (!events_.empty() && events_.begin()->first <= now_) {
        const auto event = std::move(events_.begin()->second);
        events_.erase(events_.begin());
        event();
        continue;
      }
      for (size_t i = 0; i < votes_.size(); ++i) {
        if (down_[i] || votes_[i]->NextDeadline() > now_) continue;
        votes_[i]->OnTime(now_);
        After(i);
      }
    }
    return true;
  }
  bool AllDecided() const {
    for (size_t i = 0; i < votes_.size(); ++i) {
      if (!down_[i] && !votes_[i]->decided()) return false;
    }
    return true;
  }
  std::set<std::string> Decisions() const {
    std::set<std::string> values;
    for (const auto& vote : votes_) {
      if (vote->decided()) values.insert(*vote->decided());
    }
    return values;
  }
  // Statements said by a node, the newest of each phase.
  size_t SaidCount(size_t node) const { return said_[node].size(); }

  // Loses its memory, and hears from the others what it said itself.
  void Restart(size_t node) {
    votes_[node] = MakeVote(node);
    for (const auto& [phase, statement] : said_[node]) votes_[node]->OnStatement(now_, statement);
    Start(node);
  }

 private:
  std::unique_ptr<Vote> MakeVote(size_t node) {
    return std::make_unique<Vote>(
        Vote::Options{KeyOf(node), HashOfQuorumSet(own_[node]), kSlot, 500ms}, *federations_[node],
        [this, node](const std::string& value) { return !invalid_[node].contains(value); });
  }
  void After(size_t node) {
    if (votes_[node]->WantsValue()) votes_[node]->Propose(now_, ValueOf(node));
    for (const xdr::ScpStatement& statement : votes_[node]->DrainStatements()) {
      const bool nomination = std::holds_alternative<xdr::Nominate>(statement.pledges);
      said_[node].insert_or_assign(nomination, statement);
      for (size_t to = 0; to < votes_.size(); ++to) Send(node, to, statement);
    }
  }
  void Send(size_t from, size_t to, const xdr::ScpStatement& statement) {
    if (from == to || random_.Chance(loss_)) return;
    events_.emplace(now_ + random_.UpTo(delay_max_), [this, to, statement] {
      if (down_[to]) return;
      votes_[to]->OnStatement(now_, statement);
      After(to);
    });
  }

  Random random_;
  Time now_{};
  Duration delay_max_ = 10ms;
  double loss_ = 0;
  QuorumSets sets_;
  std::vector<xdr::QuorumSet> own_;
  std::vector<std::unique_ptr<Federation>> federations_;
  std::vector<std::unique_ptr<Vote>> votes_;
  std::vector<bool> down_;
  std::vector<std::set<std::string>> invalid_;
  std::vector<std::map<bool, xdr::ScpStatement>> said_;
  std::multimap<Time, std::function<void()>> events_;
};

TEST(VoteTest, NodesAgreeOnTheLeadersValue) {
  for (const size_t nodes : {1, 2, 3, 4, 7}) {
    Slot slot(nodes);
    slot.StartAll();
    ASSERT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 5s)) << nodes;
    EXPECT_THAT(slot.Decisions(), testing::ElementsAre(slot.ValueOf(slot.leader(1)))) << nodes;
    EXPECT_LT(slot.now(), Time() + 500ms) << "without a time-out, " << nodes;
  }
}

TEST(VoteTest, OnlyTheLeaderIsAskedForAValue) {
  Slot slot(4);
  for (size_t i = 0; i < 4; ++i) {
    slot.vote(i).Start(slot.now());
    EXPECT_EQ(slot.vote(i).WantsValue(), i == slot.leader(1));
  }
}

TEST(VoteTest, OverdueWhenABlockingSetOfOthersNominates) {
  Slot slot(4);
  const size_t last = (slot.leader(1) + 1) % 4;
  for (size_t i = 0; i < 4; ++i) {
    if (i != last) slot.Down(i);
  }
  EXPECT_FALSE(slot.vote(last).IsOverdue());
  slot.Up(slot.leader(1));
  slot.Start(slot.leader(1));
  slot.RunUntil([] { return false; }, 100ms);
  EXPECT_FALSE(slot.vote(last).IsOverdue()) << "one of four blocks nothing";
  const size_t second = (slot.leader(1) + 2) % 4;
  slot.Up(second);
  slot.Start(second);
  slot.SayAgainTo(second);
  ASSERT_TRUE(slot.RunUntil([&] { return slot.vote(last).IsOverdue(); }, 100ms));
  slot.vote(last).Start(slot.now());
  EXPECT_FALSE(slot.vote(last).IsOverdue());
}

// The leader of the first round says nothing: after a time-out the next one leads.
TEST(VoteTest, AFailedLeaderIsReplaced) {
  Slot slot(4);
  const size_t dead = slot.leader(1);
  slot.Down(dead);
  uint32_t round = 2;
  while (slot.leader(round) == dead) ++round;
  slot.StartAll();
  ASSERT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 30s));
  EXPECT_THAT(slot.Decisions(), testing::ElementsAre(slot.ValueOf(slot.leader(round))));
  EXPECT_GE(slot.now(), Time() + 500ms);
}

TEST(VoteTest, TwoOfFourDecideNothing) {
  Slot slot(4);
  slot.Down(0);
  slot.Down(1);
  slot.StartAll();
  EXPECT_FALSE(slot.RunUntil([&] { return slot.AllDecided(); }, 60s));
  EXPECT_THAT(slot.Decisions(), testing::IsEmpty());
  slot.Up(0);
  slot.Start(0);
  slot.SayAgain();
  EXPECT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 60s));
  EXPECT_EQ(slot.Decisions().size(), 1U);
}

// Nodes start so far apart that several lead and several values are nominated.
TEST(VoteTest, SplitProposalsEndInOneValue) {
  size_t several = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Slot slot(4, seed);
    slot.set_delay_max(900ms);
    slot.StartAll();
    ASSERT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 120s)) << seed;
    EXPECT_EQ(slot.Decisions().size(), 1U) << seed;
    for (size_t i = 0; i < 4; ++i) several += slot.vote(i).round() > 1 ? 1 : 0;
  }
  EXPECT_GT(several, 0U) << "no run had a second leader";
}

TEST(VoteTest, AnInvalidProposalIsPassedOver) {
  Slot slot(4);
  const size_t liar = slot.leader(1);
  for (size_t i = 0; i < 4; ++i) {
    if (i != liar) slot.Refuse(i, slot.ValueOf(liar));
  }
  slot.StartAll();
  ASSERT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 60s));
  EXPECT_EQ(slot.Decisions().size(), 1U);
  EXPECT_FALSE(slot.Decisions().contains(slot.ValueOf(liar)));
}

// Who joins when all is over decides from the EXTERNALIZE of the others alone.
TEST(VoteTest, ALateJoinerLearnsTheDecision) {
  for (size_t late = 0; late < 4; ++late) {
    Slot slot(4);
    slot.Down(late);
    slot.StartAll();
    ASSERT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 30s));
    slot.Up(late);
    EXPECT_FALSE(slot.AllDecided());
    slot.SayAgainTo(late);
    ASSERT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 1s)) << late;
    EXPECT_EQ(slot.Decisions().size(), 1U);
    EXPECT_EQ(slot.SaidCount(late), 1U) << "an EXTERNALIZE, no nomination";
  }
}

// Safety whatever is lost and delayed; and once all is said again, a decision.
TEST(VoteTest, NeverTwoDecisionsWhateverIsLost) {
  size_t decided_under_loss = 0;
  for (uint64_t seed = 1; seed <= 75; ++seed) {
    Random random(seed);
    const size_t nodes = 3 + random.Below(5);
    Slot slot(nodes, seed);
    slot.set_delay_max(std::chrono::milliseconds(1 + random.Below(1500)));
    slot.set_loss(0.4 * random.Unit());
    slot.StartAll();
    decided_under_loss += slot.RunUntil([&] { return slot.AllDecided(); }, 5s) ? 1 : 0;
    ASSERT_LE(slot.Decisions().size(), 1U) << seed;

    slot.set_loss(0);
    slot.set_delay_max(20ms);
    for (int tries = 0; tries < 50 && !slot.AllDecided(); ++tries) {
      slot.SayAgain();
      slot.RunUntil([&] { return slot.AllDecided(); }, 2s);
      ASSERT_LE(slot.Decisions().size(), 1U) << seed;
    }
    ASSERT_TRUE(slot.AllDecided()) << seed;
  }
  EXPECT_GT(decided_under_loss, 5U);
  EXPECT_LT(decided_under_loss, 75U) << "the losses hindered nobody";
}

// Whenever nodes lose their memory, more of them than the others can do without.
TEST(VoteTest, RestartedNodesGoOnFromWhatTheySaid) {
  std::array<size_t, 3> before{};  // runs by what the first of them had said: nothing, so much, all
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Random random(seed);
    Slot slot(4, seed);
    slot.set_delay_max(std::chrono::milliseconds(1 + random.Below(700)));
    slot.StartAll();
    slot.RunUntil([] { return false; }, std::chrono::milliseconds(random.Below(1500)));
    const size_t first = random.Below(4);
    before[slot.vote(first).decided() ? 2 : std::min<size_t>(slot.SaidCount(first), 1)]++;
    const std::optional<std::string> decided = slot.vote(first).decided();
    for (size_t i = 0; i < 3; ++i) slot.Restart((first + i) % 4);
    EXPECT_EQ(slot.vote(first).decided(), decided) << seed;

    slot.set_delay_max(20ms);
    for (int tries = 0; tries < 20 && !slot.AllDecided(); ++tries) {
      slot.SayAgain();
      slot.RunUntil([&] { return slot.AllDecided(); }, 2s);
    }
    ASSERT_TRUE(slot.AllDecided()) << seed;
    ASSERT_EQ(slot.Decisions().size(), 1U) << seed;
  }
  for (const size_t runs : before) EXPECT_GT(runs, 3U);
}

TEST(VoteTest, TheSameStatementTwiceSaysNothingNew) {
  Slot slot(4);
  slot.StartAll();
  ASSERT_TRUE(slot.RunUntil([&] { return slot.AllDecided(); }, 5s));
  slot.SayAgain();
  slot.RunUntil([] { return false; }, 1s);
  for (size_t i = 0; i < 4; ++i) EXPECT_THAT(slot.vote(i).DrainStatements(), testing::IsEmpty());
}

}  // namespace
}  // namespace overlay::demo
