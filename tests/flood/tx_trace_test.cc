// What an operator is told of one transaction, from the first word of it to the last.
#include <chrono>

#include "gmock/gmock.h"
#include "tests/flood/tx_flood_fixture.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using Place = TxTrace::Place;

class TxTraceTest : public TxFloodTest {
 protected:
  TxTrace Trace(const Bytes& tx) { return flood().Trace(HashOfTx(tx)); }
};

TEST_F(TxTraceTest, FollowsATransactionFromItsFirstAnnouncementToTheLedger) {
  AttachJudge();
  for (uint64_t peer : {1, 2, 3}) Connect(peer);
  Room(10);
  const Bytes tx = Payment();
  EXPECT_EQ(Trace(tx).place, Place::kUnknown);
  EXPECT_THAT(Trace(tx).announcers, IsEmpty());

  const Time asked = now;
  Announce(1, {tx});
  const RequestId first = DemandOf(1)->request;
  Announce(2, {tx});
  TxTrace trace = Trace(tx);
  EXPECT_EQ(trace.place, Place::kAsked);
  ASSERT_EQ(trace.announcers.size(), 2u);
  EXPECT_EQ(trace.announcers[0].peer, KeyOf(1));
  EXPECT_EQ(trace.announcers[0].state, AskState::kAsked);
  EXPECT_EQ(trace.announcers[0].asked_at, asked);
  EXPECT_EQ(trace.announcers[1].state, AskState::kNotAsked);
  EXPECT_EQ(trace.announcers[1].asked_at, std::nullopt);

  now += 10ms;
  Do([&] {
    flood().OnBodyReceived(now, {PeerId{1}, first, {HashOfTx(tx), BodyOutcome::kNotFound, {}}},
                           out);
  });
  const RequestId second = DemandOf(2)->request;
  trace = Trace(tx);
  EXPECT_EQ(trace.announcers[0].state, AskState::kNotFound);
  EXPECT_EQ(trace.announcers[0].asked_at, asked);
  EXPECT_EQ(trace.announcers[1].state, AskState::kAsked);
  EXPECT_EQ(trace.announcers[1].asked_at, now);

  Body(2, second, HashOfTx(tx), tx);
  trace = Trace(tx);
  EXPECT_EQ(trace.place, Place::kPending);
  EXPECT_EQ(trace.size_bytes, tx.size());
  EXPECT_EQ(trace.from, KeyOf(2));
  EXPECT_EQ(trace.arrived, now);
  EXPECT_EQ(trace.offers, 1u);
  EXPECT_EQ(trace.pooled_at, std::nullopt);
  EXPECT_THAT(trace.announcers, IsEmpty());
  EXPECT_THAT(trace.known_by, UnorderedElementsAre(KeyOf(1), KeyOf(2)));

  now += 10ms;
  Judge(tx, TxJudgement::kValid, Bid{700, 7, Lane::kSoroban});
  trace = Trace(tx);
  EXPECT_EQ(trace.place, Place::kPooled);
  EXPECT_EQ(trace.pooled_at, now);
  EXPECT_EQ(trace.bid, (Bid{700, 7, Lane::kSoroban}));

  Do([&] {
    flood().OnTxSetExternalized(now, {.id = 1, .set = {}, .transactions = {HashOfTx(tx)}}, out);
  });
  trace = Trace(tx);
  EXPECT_EQ(trace.place, Place::kRemembered);
  EXPECT_EQ(trace.fate, TxFate::kExternalized);
  EXPECT_THAT(trace.known_by, IsEmpty());
}

TEST_F(TxTraceTest, SaysWhatCameOfAskingEachPeer) {
  AttachJudge();
  for (uint64_t peer : {1, 2, 3}) Connect(peer);
  const Bytes tx = Payment();
  for (uint64_t peer : {1, 2, 3}) Announce(peer, {tx});
  const auto states = [&] {
    std::vector<AskState> found;
    for (const auto& announcer : Trace(tx).announcers) found.push_back(announcer.state);
    return found;
  };
  now += limits_.demand_timeout;
  Do([&] { flood().OnDeadline(now, out); });
  EXPECT_THAT(states(), ElementsAre(AskState::kSilent, AskState::kAsked, AskState::kNotAsked));
  const RequestId second = DemandOf(2)->request;
  Do([&] { flood().OnRequestEnded(now, {PeerId{2}, second, false}, out); });
  EXPECT_THAT(states(), ElementsAre(AskState::kSilent, AskState::kBroken, AskState::kAsked));
  const RequestId third = DemandOf(3)->request;
  Connect(4);
  Announce(4, {tx});
  Body(3, third, HashOfTx(tx), Bytes::Copy(std::string_view("not it")));
  EXPECT_THAT(states(),
              ElementsAre(AskState::kSilent, AskState::kBroken, AskState::kBad, AskState::kAsked));
}

TEST_F(TxTraceTest, WhatTheCoreSubmittedIsFromNobody) {
  AttachJudge();
  const Bytes tx = Payment();
  Submit(tx);
  const TxTrace trace = Trace(tx);
  EXPECT_EQ(trace.place, Place::kPooled);
  EXPECT_EQ(trace.from, std::nullopt);
  EXPECT_EQ(trace.pooled_at, now);
}

}  // namespace
}  // namespace overlay::flood
