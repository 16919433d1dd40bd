#include "flood/tx_flood.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "flood/tx_request_tracker.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"
#include "tests/support/corpus.h"
#include "tests/support/xdr_builder.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

TxHash HashOfTx(const Bytes& tx) { return HashOf<TxHash>(tx.span()); }

NodeKey KeyOf(uint64_t peer) {
  NodeKey key;
  key.bytes[0] = static_cast<uint8_t>(peer);
  return key;
}

// One TxFlood, spoken to by hand; what each step caused is in `out`.
class TxFloodTest : public testing::Test {
 protected:
  void Make() { flood_ = std::make_unique<TxFlood>(limits_, stats_); }
  TxFlood& flood() {
    if (!flood_) Make();
    return *flood_;
  }

  // Runs one input on an empty action list, then checks every count.
  template <class Input>
  void Do(Input input) {
    out.clear();
    input();
    flood().CheckInvariants();
  }
  void Connect(uint64_t peer, bool preferred = false) {
    Do([&] { flood().OnPeerConnected(now, {PeerId{peer}, KeyOf(peer), preferred}, out); });
  }
  void Disconnect(uint64_t peer) {
    Do([&] { flood().OnPeerDisconnected(now, PeerId{peer}, out); });
  }
  void AttachJudge() {
    Do([&] {
      flood().OnCoreAttached(now, {.judges_transactions = true, .newest_closed = {}}, out);
    });
  }
  void AttachTrusting(bool deliver) {
    Do([&] {
      flood().OnCoreAttached(now, {.deliver_transactions = deliver, .newest_closed = {}}, out);
    });
  }
  void Room(uint32_t messages) {
    Do([&] { flood().OnCoreRoom(now, messages, out); });
  }
  static InvEntry EntryOf(const Bytes& tx) {
    return {HashOfTx(tx), 100, Lane::kClassic, static_cast<uint32_t>(tx.size())};
  }
  void Announce(uint64_t peer, const std::vector<Bytes>& txs) {
    Inv inv;
    for (const Bytes& tx : txs) inv.entries.push_back(EntryOf(tx));
    Do([&] { flood().OnInv(now, PeerId{peer}, inv, out); });
  }
  // The demand for bodies that the last step made of `peer`, if any.
  std::optional<RequestBodies> DemandOf(uint64_t peer) const {
    for (const RequestBodies& demand : Commands<RequestBodies>(out)) {
      if (demand.peer.value == peer) return demand;
    }
    return std::nullopt;
  }
  void Body(uint64_t peer, RequestId request, const TxHash& hash, const Bytes& body) {
    Do([&] {
      flood().OnBodyReceived(now, {PeerId{peer}, request, {hash, BodyOutcome::kBody, body}}, out);
    });
  }
  // Announced by the peer, demanded of it, and sent.
  void Bring(uint64_t peer, const Bytes& tx) {
    Announce(peer, {tx});
    const std::optional<RequestBodies> demand = DemandOf(peer);
    ASSERT_TRUE(demand.has_value());
    Body(peer, demand->request, HashOfTx(tx), tx);
    const ActionList caused = out;
    Do([&] { flood().OnRequestEnded(now, {PeerId{peer}, demand->request, true}, out); });
    out.insert(out.begin(), caused.begin(), caused.end());
  }
  void Judge(const Bytes& tx, TxJudgement judgement, std::optional<Bid> bid = std::nullopt) {
    JudgeHash(HashOfTx(tx), judgement, bid);
  }
  void JudgeHash(const TxHash& hash, TxJudgement judgement, std::optional<Bid> bid = std::nullopt) {
    Do([&] { flood().OnVerdicts(now, {++number_, {{hash, judgement, bid}}}, out); });
  }
  SubmitResult Submit(const Bytes& tx, std::optional<Bid> bid = std::nullopt) {
    Do([&] { flood().OnSubmit(now, {{{++number_, tx, bid}}}, out); });
    const auto results = Outputs<SubmitResult>(out);
    EXPECT_EQ(results.size(), 1u);
    return results.empty() ? SubmitResult{} : results.front();
  }
  void Close(uint64_t seq) {
    Do([&] { flood().OnLedgerClosed(now, LedgerSeq{seq}, out); });
  }
  ExternalizedApplied Externalize(const std::vector<Bytes>& txs) {
    TxSetExternalized externalized;
    externalized.id = 9;
    for (const Bytes& tx : txs) externalized.transactions.push_back(HashOfTx(tx));
    Do([&] { flood().OnTxSetExternalized(now, externalized, out); });
    return Outputs<ExternalizedApplied>(out).at(0);
  }
  std::vector<TxHash> Top(uint32_t per_account = 1) {
    Do([&] {
      flood().OnTopQuery(now, {.id = 5, .count_max = 1000, .per_account_max = per_account}, out);
    });
    std::vector<TxHash> hashes;
    const TopSnapshot snapshot = Outputs<TopSnapshot>(out).at(0);
    for (const TopTransaction& tx : snapshot.transactions) {
      hashes.push_back(tx.hash);
    }
    return hashes;
  }
  std::vector<TxHash> Announced(uint64_t peer) const {
    std::vector<TxHash> hashes;
    for (const SendTxControl& sent : Commands<SendTxControl>(out)) {
      const Inv* inv = std::get_if<Inv>(&sent.message);
      if (sent.peer.value != peer || inv == nullptr) continue;
      for (const InvEntry& entry : inv->entries) hashes.push_back(entry.hash);
    }
    return hashes;
  }
  // Time passes, with every deadline on the way.
  void Pass(Duration duration) {
    const Time end = now + duration;
    ActionList all;
    while (flood().NextDeadline() && *flood().NextDeadline() <= end) {
      now = std::max(now, *flood().NextDeadline());
      Do([&] { flood().OnDeadline(now, out); });
      all.insert(all.end(), out.begin(), out.end());
    }
    now = end;
    out = all;
  }
  Bytes Payment(uint32_t fee = 1000) { return build.PaymentOf(build.AnySeed(), 1, fee); }

  Limits limits_;
  TxStats stats_;
  std::unique_ptr<TxFlood> flood_;
  XdrBuilder build{7};
  Time now{1000s};
  ActionList out;
  uint64_t number_ = 0;
};

TEST_F(TxFloodTest, PendingUntilTheVerdictThenAnnouncedServedAndProposed) {
  AttachJudge();
  Connect(1);
  Connect(2);
  Connect(3);
  Room(10);
  const Bytes tx = Payment();
  Announce(1, {tx});
  const RequestBodies demand = *DemandOf(1);
  EXPECT_EQ(demand.data.hashes, std::vector{HashOfTx(tx)});
  EXPECT_TRUE(TxFlood::Owns(demand.request));
  EXPECT_FALSE(TxFlood::Owns(RequestId{1}));
  Announce(2, {tx});
  EXPECT_FALSE(DemandOf(2));
  Body(1, demand.request, HashOfTx(tx), tx);
  const auto delivered = Outputs<DeliverTransaction>(out);
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].transaction, tx);
  EXPECT_EQ(delivered[0].from, KeyOf(1));
  EXPECT_FALSE(delivered[0].redelivered);
  EXPECT_TRUE(Announced(3).empty());
  EXPECT_TRUE(Top().empty());
  EXPECT_EQ(stats_.pending_count, 1u);
  Do([&] { flood().OnBodiesRequested(now, {PeerId{3}, RequestId{1}, {{HashOfTx(tx)}}}, out); });
  EXPECT_EQ(Commands<AnswerBodies>(out)[0].answers[0].outcome, BodyOutcome::kNotFound);

  Judge(tx, TxJudgement::kValid);
  EXPECT_EQ(Announced(3), std::vector{HashOfTx(tx)});
  EXPECT_TRUE(Announced(1).empty()) << "who sent it";
  EXPECT_TRUE(Announced(2).empty()) << "who announced it";
  EXPECT_EQ(Top(), std::vector{HashOfTx(tx)});
  Do([&] { flood().OnBodiesRequested(now, {PeerId{3}, RequestId{2}, {{HashOfTx(tx)}}}, out); });
  EXPECT_EQ(Commands<AnswerBodies>(out)[0].answers[0].body, tx);
}

TEST_F(TxFloodTest, WithoutACoreEverThingsStayPendingAndComeAtAttach) {
  Connect(1);
  const Bytes a = Payment(), b = Payment();
  Bring(1, a);
  Bring(1, b);
  EXPECT_EQ(stats_.pending_count, 2u);
  EXPECT_TRUE(Outputs<DeliverTransaction>(out).empty());
  Pass(60s);
  EXPECT_EQ(stats_.pending_count, 2u) << "the clock of offers stands still without a core";
  AttachJudge();
  Room(1);
  ASSERT_EQ(Outputs<DeliverTransaction>(out).size(), 1u);
  EXPECT_EQ(Outputs<DeliverTransaction>(out)[0].hash, HashOfTx(a));
  Room(5);
  ASSERT_EQ(Outputs<DeliverTransaction>(out).size(), 1u);
  Do([&] { flood().OnCoreDetached(now, out); });
  AttachJudge();
  Room(5);
  ASSERT_EQ(Outputs<DeliverTransaction>(out).size(), 2u);
  EXPECT_FALSE(Outputs<DeliverTransaction>(out)[0].redelivered) << "not in this attachment";
}

TEST_F(TxFloodTest, UnjudgedIsOfferedOnceMoreThenDroppedAndRemembered) {
  AttachJudge();
  Connect(1);
  Connect(2);
  Room(100);
  const Bytes tx = Payment();
  Bring(1, tx);
  Pass(10s - 1ns);
  EXPECT_TRUE(Outputs<DeliverTransaction>(out).empty());
  Pass(1ns);
  ASSERT_EQ(Outputs<DeliverTransaction>(out).size(), 1u);
  EXPECT_TRUE(Outputs<DeliverTransaction>(out)[0].redelivered);
  Pass(10s - 1ns);
  EXPECT_EQ(stats_.pending_count, 1u);
  Pass(1ns);
  EXPECT_EQ(stats_.pending_count, 0u);
  EXPECT_EQ(stats_.expired, 1u);
  Announce(2, {tx});
  EXPECT_FALSE(DemandOf(2)) << "aged out: not demanded";
  JudgeHash(HashOfTx(tx), TxJudgement::kValid);
  Announce(2, {tx});
  EXPECT_TRUE(DemandOf(2)) << "a late valid takes that back";
}

TEST_F(TxFloodTest, PendingOnesLeaveByAgeWhateverTheCoreDoes) {
  limits_.mempool_age_max = 30s;
  Connect(1);
  Bring(1, Payment());
  Pass(30s - 1ns);
  EXPECT_EQ(stats_.pending_count, 1u);
  Pass(1ns);
  EXPECT_EQ(stats_.pending_count, 0u);
}

TEST_F(TxFloodTest, PooledOnesLeaveByAgeAndAreNotDemandedForTwelveLedgers) {
  AttachTrusting(false);
  Close(100);
  Connect(1);
  Connect(2);
  const Bytes tx = Payment();
  Bring(1, tx);
  EXPECT_EQ(stats_.mempool_count, 1u);
  Pass(300s - 1ns);
  EXPECT_EQ(stats_.mempool_count, 1u);
  Pass(1ns);
  EXPECT_EQ(stats_.mempool_count, 0u);
  Close(112);
  Announce(2, {tx});
  EXPECT_FALSE(DemandOf(2));
  Close(113);
  Announce(2, {tx});
  EXPECT_TRUE(DemandOf(2));
}

TEST_F(TxFloodTest, VerdictsOfEachKind) {
  AttachJudge();
  Close(50);
  Connect(1);
  Connect(2);
  Room(100);
  const Bytes malformed = Payment(), stale = Payment(), later = Payment(), valid = Payment();
  for (const Bytes& tx : {malformed, stale, later, valid}) Bring(1, tx);
  Judge(malformed, TxJudgement::kMalformed);
  ASSERT_EQ(Offences(out).size(), 1u);
  EXPECT_EQ(Offences(out)[0].peer, PeerId{1});
  EXPECT_EQ(Offences(out)[0].offence, Offence::kMalformedTransaction);
  Judge(stale, TxJudgement::kStale);
  EXPECT_TRUE(Offences(out).empty());
  Judge(later, TxJudgement::kLater);
  EXPECT_TRUE(Offences(out).empty());
  Judge(valid, TxJudgement::kValid);
  EXPECT_EQ(stats_.pending_count, 0u);
  EXPECT_EQ(stats_.mempool_count, 1u);
  Announce(2, {malformed, stale, later, valid});
  EXPECT_FALSE(DemandOf(2));
  EXPECT_EQ(Submit(malformed).outcome, SubmitOutcome::kRejectedRecently);
  EXPECT_EQ(Submit(stale).outcome, SubmitOutcome::kRejectedRecently);
  Close(51);
  Announce(2, {malformed, stale, later});
  ASSERT_TRUE(DemandOf(2));
  EXPECT_EQ(DemandOf(2)->data.hashes, std::vector{HashOfTx(later)});
  // A core revalidates after a close: what was valid is not any more.
  Judge(valid, TxJudgement::kStale);
  EXPECT_EQ(stats_.mempool_count, 0u);
  Judge(valid, TxJudgement::kStale);
  EXPECT_EQ(stats_.verdict_stale, 3u);
  Announce(2, {valid});
  EXPECT_FALSE(DemandOf(2));
  Close(62);
  Announce(2, {malformed, stale});
  EXPECT_FALSE(DemandOf(2));
  Close(63);
  Announce(2, {malformed, stale});
  EXPECT_EQ(DemandOf(2)->data.hashes.size(), 2u);
}

TEST_F(TxFloodTest, AVerdictForAnUnknownHashIsRemembered) {
  AttachJudge();
  Connect(1);
  const Bytes tx = Payment(), other = Payment();
  Judge(tx, TxJudgement::kMalformed);
  Judge(other, TxJudgement::kLater);
  Announce(1, {tx, other});
  EXPECT_EQ(DemandOf(1)->data.hashes, std::vector{HashOfTx(other)});
}

TEST_F(TxFloodTest, TheBidOfTheVerdictOverridesTheSkim) {
  AttachJudge();
  Connect(1);
  Room(100);
  const Bytes high = Payment(9000), low = Payment(500);
  Bring(1, high);
  Bring(1, low);
  Judge(high, TxJudgement::kValid, Bid{100, 1, Lane::kSoroban});
  Judge(low, TxJudgement::kValid);
  EXPECT_EQ(Top(), (std::vector{HashOfTx(low), HashOfTx(high)}));
  Judge(high, TxJudgement::kValid, Bid{501, 1, Lane::kClassic});
  EXPECT_EQ(Top(), (std::vector{HashOfTx(high), HashOfTx(low)}));
  Judge(high, TxJudgement::kValid, Bid{1, 0, Lane::kClassic});
  ASSERT_EQ(Outputs<CoreRefused>(out).size(), 1u);
  EXPECT_EQ(Outputs<CoreRefused>(out)[0].field, "verdict.verdicts.bid");
  Judge(high, TxJudgement::kValid, Bid{-1, 1, Lane::kClassic});
  EXPECT_EQ(Outputs<CoreRefused>(out).size(), 1u);
}

TEST_F(TxFloodTest, AtThePendingCapNoMoreIsDemandedUntilVerdictsCome) {
  limits_.mempool_count_max = 50;  // 5 pending
  AttachJudge();
  Connect(1);
  std::vector<Bytes> txs;
  for (int i = 0; i < 8; ++i) txs.push_back(Payment());
  Announce(1, txs);
  const RequestBodies demand = *DemandOf(1);
  ASSERT_EQ(demand.data.hashes.size(), 5u);
  for (int i = 0; i < 5; ++i) {
    Body(1, demand.request, demand.data.hashes[i], txs[i]);
    EXPECT_FALSE(DemandOf(1));
  }
  EXPECT_EQ(stats_.pending_count, 5u);
  Judge(txs[0], TxJudgement::kStale);
  EXPECT_EQ(DemandOf(1)->data.hashes, std::vector{HashOfTx(txs[5])});
  Judge(txs[1], TxJudgement::kValid);
  EXPECT_EQ(DemandOf(1)->data.hashes, std::vector{HashOfTx(txs[6])});
}

TEST_F(TxFloodTest, PendingBytesAreCappedToo) {
  limits_.transaction_bytes_max = 1000;
  limits_.mempool_bytes_max = 10'000;  // 1,000 pending
  AttachJudge();
  Connect(1);
  std::vector<Bytes> txs;
  for (int i = 0; i < 10; ++i) txs.push_back(Payment());
  Announce(1, txs);
  EXPECT_EQ(DemandOf(1)->data.hashes.size(), 1000 / txs[0].size());
}

TEST_F(TxFloodTest, ATrustingCoreTakesWhatArrives) {
  AttachTrusting(true);
  Connect(1);
  Connect(2);
  Room(1);
  const Bytes a = Payment(), b = Payment();
  Bring(1, a);
  EXPECT_EQ(Announced(2), std::vector{HashOfTx(a)});
  EXPECT_EQ(Outputs<DeliverTransaction>(out).size(), 1u);
  Bring(1, b);
  EXPECT_TRUE(Outputs<DeliverTransaction>(out).empty());
  EXPECT_EQ(stats_.mempool_count, 2u);
  Room(1);
  EXPECT_EQ(Outputs<DeliverTransaction>(out).size(), 1u);
  Pass(60s);
  EXPECT_TRUE(Outputs<DeliverTransaction>(out).empty()) << "offered once";
  AttachTrusting(false);
  Room(5);
  Bring(1, Payment());
  EXPECT_TRUE(Outputs<DeliverTransaction>(out).empty());
}

TEST_F(TxFloodTest, ACoreThatDoesNotJudgeInheritsThePendingAsValid) {
  Connect(1);
  const Bytes tx = Payment();
  Bring(1, tx);
  AttachTrusting(true);
  EXPECT_EQ(stats_.pending_count, 0u);
  EXPECT_EQ(Top(), std::vector{HashOfTx(tx)});
}

TEST_F(TxFloodTest, WhatTheCoresQueueCannotHoldIsCountedAndOfferedAgain) {
  limits_.core_stream_message_count_max = 4;
  AttachJudge();
  Connect(1);
  std::vector<Bytes> txs;
  uint64_t lost = 0, reports = 0;
  for (int i = 0; i < 7; ++i) {
    txs.push_back(Payment());
    Bring(1, txs.back());
    for (const Overflow& overflow : Outputs<Overflow>(out)) {
      EXPECT_EQ(overflow.stream, CoreStream::kTransactions);
      lost += overflow.count;
      ++reports;
    }
  }
  EXPECT_EQ(reports, 1u) << "once a second at most";
  Pass(1s);
  for (const Overflow& overflow : Outputs<Overflow>(out)) lost += overflow.count;
  EXPECT_EQ(lost, 3u);
  Room(100);
  const auto delivered = Outputs<DeliverTransaction>(out);
  ASSERT_EQ(delivered.size(), 7u);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(delivered[i].hash, HashOfTx(txs[i]));
}

TEST_F(TxFloodTest, SubmissionsAreAnsweredEachInOrder) {
  limits_.transaction_bytes_max = 2000;
  AttachJudge();
  Connect(1);
  const Bytes a = Payment();
  SubmitTransactions batch;
  batch.submissions = {{1, a, {}},
                       {2, a, {}},
                       {3, Bytes::Copy("junk"), {}},
                       {4, Bytes::Take(std::vector<uint8_t>(2001)), {}},
                       {5, Payment(), Bid{5, 0, Lane::kClassic}},
                       {6, Payment(), Bid{-5, 1, Lane::kClassic}},
                       {7, Bytes(), {}}};
  Do([&] { flood().OnSubmit(now, batch, out); });
  std::vector<std::pair<uint64_t, SubmitOutcome>> results;
  for (const SubmitResult& result : Outputs<SubmitResult>(out)) {
    results.push_back({result.number, result.outcome});
    EXPECT_EQ(result.detail.empty(), result.number <= 2) << result.number;
  }
  using enum SubmitOutcome;
  EXPECT_EQ(results, (std::vector<std::pair<uint64_t, SubmitOutcome>>{{1, kAdded},
                                                                      {2, kDuplicate},
                                                                      {3, kMalformed},
                                                                      {4, kTooLarge},
                                                                      {5, kMalformed},
                                                                      {6, kMalformed},
                                                                      {7, kMalformed}}));
  EXPECT_EQ(Announced(1), std::vector{HashOfTx(a)});
}

TEST_F(TxFloodTest, NumbersThatDoNotGrowAreRefusedAndHaveNoEffect) {
  AttachJudge();
  const Bytes tx = Payment();
  Do([&] { flood().OnSubmit(now, {{{5, tx, {}}, {5, Payment(), {}}, {0, Payment(), {}}}}, out); });
  EXPECT_EQ(Outputs<SubmitResult>(out).size(), 1u);
  ASSERT_EQ(Outputs<CoreRefused>(out).size(), 2u);
  EXPECT_EQ(Outputs<CoreRefused>(out)[0].id, 5u);
  EXPECT_EQ(stats_.mempool_count, 1u);
  Do([&] { flood().OnVerdicts(now, {4, {{HashOfTx(tx), TxJudgement::kStale, {}}}}, out); });
  EXPECT_EQ(Outputs<CoreRefused>(out).size(), 1u);
  EXPECT_EQ(stats_.mempool_count, 1u);
}

TEST_F(TxFloodTest, ASubmissionOfWhatIsPendingMakesItValid) {
  AttachJudge();
  Connect(1);
  Connect(2);
  const Bytes tx = Payment();
  Bring(1, tx);
  EXPECT_EQ(Submit(tx).outcome, SubmitOutcome::kDuplicate);
  EXPECT_EQ(Announced(2), std::vector{HashOfTx(tx)});
  EXPECT_EQ(Top(), std::vector{HashOfTx(tx)});
}

TEST_F(TxFloodTest, FullMempoolTellsTheCallerTheFeeAndThePeersTheFloor) {
  limits_.mempool_count_max = 20;  // 10 a lane
  AttachJudge();
  Connect(1);
  for (uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(Submit(Payment(1000 + i)).outcome, SubmitOutcome::kAdded);
  }
  EXPECT_TRUE(Commands<SendTxControl>(out).size() <= 1);
  const SubmitResult refused = Submit(Payment(1000));
  EXPECT_EQ(refused.outcome, SubmitOutcome::kFeeTooLow);
  EXPECT_EQ(refused.fee_wanted, 1001u);
  FeeFilter told;
  for (const SendTxControl& sent : Commands<SendTxControl>(out)) {
    if (const auto* filter = std::get_if<FeeFilter>(&sent.message)) told = *filter;
  }
  EXPECT_EQ(told.fee_per_op_min[0], 1001u);
  EXPECT_EQ(told.fee_per_op_min[1], 0u);
  Inv low{{{build.AnyHash<TxHash>(), 1000, Lane::kClassic, 300}}};
  Do([&] { flood().OnInv(now, PeerId{1}, low, out); });
  EXPECT_FALSE(DemandOf(1)) << "below our floor";
  EXPECT_EQ(Submit(Payment(1001)).outcome, SubmitOutcome::kAdded);
  EXPECT_EQ(stats_.mempool_count, 10u);
  EXPECT_EQ(stats_.evicted, 1u);
  Connect(2);
  EXPECT_EQ(std::get<FeeFilter>(Commands<SendTxControl>(out).at(0).message), told);
}

TEST_F(TxFloodTest, FloorIsToldOnceASecondAtMost) {
  limits_.mempool_count_max = 20;
  AttachJudge();
  Connect(1);
  for (uint32_t i = 0; i < 11; ++i) Submit(Payment(1000 + i));
  uint64_t filters = 0;
  for (uint32_t i = 0; i < 20; ++i) {
    Submit(Payment(2000 + i));
    for (const SendTxControl& sent : Commands<SendTxControl>(out)) {
      filters += std::holds_alternative<FeeFilter>(sent.message);
    }
  }
  EXPECT_EQ(filters, 0u);
  Pass(1s - 1ns);
  for (const SendTxControl& sent : Commands<SendTxControl>(out)) {
    EXPECT_FALSE(std::holds_alternative<FeeFilter>(sent.message));
  }
  Pass(1ns);
  for (const SendTxControl& sent : Commands<SendTxControl>(out)) {
    filters += std::holds_alternative<FeeFilter>(sent.message);
  }
  EXPECT_EQ(filters, 1u);
}

TEST_F(TxFloodTest, WrongBodiesCostTheSenderAndTheNextIsAsked) {
  AttachJudge();
  for (uint64_t peer : {1, 2, 3, 4}) Connect(peer);
  const Bytes tx = Payment();
  for (uint64_t peer : {1, 2, 3, 4}) {
    Announce(peer, {tx});
  }
  Disconnect(1);
  const RequestBodies second = *DemandOf(2);
  Body(2, second.request, HashOfTx(tx), Payment());
  ASSERT_EQ(Offences(out).size(), 1u);
  EXPECT_EQ(Offences(out)[0].offence, Offence::kWrongHash);
  const RequestBodies third = *DemandOf(3);
  Body(3, third.request, HashOfTx(tx), Bytes::Take(std::string(tx.view()) + "xxxx"));
  ASSERT_EQ(Offences(out).size(), 1u);
  EXPECT_EQ(Offences(out)[0].offence, Offence::kUnsolicited) << "longer than announced";
  const RequestBodies fourth = *DemandOf(4);
  Body(4, fourth.request, HashOfTx(tx), tx);
  EXPECT_TRUE(Offences(out).empty());
  EXPECT_EQ(stats_.pending_count, 1u);
  Body(4, fourth.request, HashOfTx(tx), tx);
  ASSERT_EQ(Offences(out).size(), 1u) << "a duplicate answer";
  EXPECT_EQ(Offences(out)[0].offence, Offence::kUnsolicited);
  Body(4, RequestId{kTxRequestIdFirst + 999}, HashOfTx(tx), tx);
  EXPECT_EQ(Offences(out).size(), 1u);
  EXPECT_EQ(stats_.pending_count, 1u);
}

TEST_F(TxFloodTest, WhatCannotBeSkimmedIsAnOffenceAndNotDemandedAgain) {
  AttachJudge();
  Connect(1);
  Connect(2);
  const Bytes junk = Bytes::Copy("no transaction");
  Bring(1, junk);
  ASSERT_EQ(Offences(out).size(), 1u);
  EXPECT_EQ(Offences(out)[0].offence, Offence::kMalformedPayload);
  Announce(2, {junk});
  EXPECT_FALSE(DemandOf(2));
}

TEST_F(TxFloodTest, AnAnswerAfterTheTimeOutIsStillTaken) {
  AttachJudge();
  Connect(1);
  Connect(2);
  const Bytes tx = Payment();
  Announce(1, {tx});
  const RequestBodies first = *DemandOf(1);
  Announce(2, {tx});
  Pass(1s - 1ns);
  EXPECT_FALSE(DemandOf(2));
  Pass(1ns);
  const RequestBodies second = *DemandOf(2);
  ASSERT_EQ(Commands<CancelRequest>(out).size(), 1u);
  EXPECT_EQ(Commands<CancelRequest>(out)[0].request, first.request);
  Body(1, first.request, HashOfTx(tx), tx);
  EXPECT_EQ(stats_.received_new, 1u);
  EXPECT_TRUE(Offences(out).empty());
  Body(2, second.request, HashOfTx(tx), tx);
  EXPECT_EQ(stats_.received_duplicate, 1u);
  EXPECT_TRUE(Offences(out).empty());
}

TEST_F(TxFloodTest, AnswersAreCutAt64KiBAndAtTheQueue) {
  limits_.mempool_per_account_max = 0;
  limits_.bodies_queue_bytes_max = 100 * kKiB;
  AttachTrusting(false);
  Connect(1);
  GetData data;
  size_t size = 0;
  for (int i = 0; i < 400; ++i) {
    const Bytes tx = Payment();
    size = tx.size();
    EXPECT_EQ(Submit(tx).outcome, SubmitOutcome::kAdded);
    data.hashes.push_back(HashOfTx(tx));
  }
  data.hashes.push_back(build.AnyHash<TxHash>());
  const auto count = [&](BodyOutcome outcome) {
    const std::vector<AnswerBodies> answers = Commands<AnswerBodies>(out);
    return std::count_if(answers.at(0).answers.begin(), answers.at(0).answers.end(),
                         [&](const BodyAnswer& answer) { return answer.outcome == outcome; });
  };
  const auto request = [&](uint64_t id) {
    Do([&] { flood().OnBodiesRequested(now, {PeerId{1}, RequestId{id}, data}, out); });
    for (size_t i = 0; i < data.hashes.size(); ++i) {
      EXPECT_EQ(Commands<AnswerBodies>(out)[0].answers[i].hash, data.hashes[i]);
    }
  };
  const auto fit = static_cast<ptrdiff_t>(kBodiesAnswerBytesMax / size);
  ASSERT_LT(fit, 400);
  request(1);
  EXPECT_EQ(count(BodyOutcome::kBody), fit);
  EXPECT_EQ(count(BodyOutcome::kLater), 400 - fit);
  EXPECT_EQ(count(BodyOutcome::kNotFound), 1);
  request(2);
  EXPECT_EQ(count(BodyOutcome::kBody), static_cast<ptrdiff_t>(100 * kKiB / size) - fit);
  EXPECT_GT(count(BodyOutcome::kNotFound), 100);
  Do([&] { flood().OnAnswerDone(now, {PeerId{1}, RequestId{77}}, out); });
  Do([&] { flood().OnAnswerDone(now, {PeerId{1}, RequestId{1}}, out); });
  Do([&] { flood().OnAnswerDone(now, {PeerId{1}, RequestId{1}}, out); });
  Do([&] { flood().OnAnswerDone(now, {PeerId{1}, RequestId{2}}, out); });
  request(3);
  EXPECT_EQ(count(BodyOutcome::kBody), fit);
}

TEST_F(TxFloodTest, TopWaitsForItsFence) {
  AttachJudge();
  const Bytes tx = Payment();
  const auto ask = [&](uint64_t id, uint64_t after) {
    Do([&] { flood().OnTopQuery(now, {.id = id, .count_max = 10, .after = after}, out); });
  };
  ask(1, 3);
  EXPECT_TRUE(out.empty());
  ask(2, 2);
  ask(3, 3);
  Do([&] { flood().OnCancelTopQuery(now, {3}); });
  Do([&] { flood().OnSubmit(now, {{{2, tx, {}}}}, out); });
  ASSERT_EQ(Outputs<TopSnapshot>(out).size(), 1u);
  EXPECT_EQ(Outputs<TopSnapshot>(out)[0].id, 2u);
  EXPECT_EQ(Outputs<TopSnapshot>(out)[0].applied_number, 2u);
  Do([&] { flood().OnVerdicts(now, {3, {}}, out); });
  ASSERT_EQ(Outputs<TopSnapshot>(out).size(), 1u);
  EXPECT_EQ(Outputs<TopSnapshot>(out)[0].id, 1u);
  EXPECT_EQ(Outputs<TopSnapshot>(out)[0].transactions.at(0).transaction, tx);
  for (uint64_t i = 0; i < kTopQueriesWaitingMax; ++i) ask(100 + i, 9);
  EXPECT_TRUE(out.empty());
  ask(999, 9);
  ASSERT_EQ(Outputs<CoreRefused>(out).size(), 1u);
  EXPECT_EQ(Outputs<CoreRefused>(out)[0].id, 999u);
  AttachJudge();
  Do([&] { flood().OnVerdicts(now, {9, {}}, out); });
  EXPECT_TRUE(Outputs<TopSnapshot>(out).empty()) << "of the old session";
}

TEST_F(TxFloodTest, ExternalizedOnesAreGoneAndDoNotComeBackForTwelveLedgers) {
  AttachJudge();
  Connect(1);
  Connect(2);
  Room(100);
  const Bytes pooled = Payment(), pending = Payment(), tracked = Payment(), unknown = Payment();
  Submit(pooled);
  Bring(1, pending);
  Announce(1, {tracked});
  const RequestBodies demand = *DemandOf(1);
  const ExternalizedApplied applied = Externalize({pooled, pending, tracked, unknown});
  EXPECT_EQ(applied.id, 9u);
  EXPECT_EQ(applied.removed, 2u);
  EXPECT_EQ(applied.unknown, 2u);
  EXPECT_TRUE(Top().empty());
  Body(1, demand.request, HashOfTx(tracked), tracked);
  EXPECT_EQ(stats_.pending_count, 0u);
  Close(200);  // the first close: memory counts from it
  Close(212);
  for (const Bytes& tx : {pooled, pending, tracked, unknown}) {
    EXPECT_EQ(Submit(tx).outcome, SubmitOutcome::kRejectedRecently);
    JudgeHash(HashOfTx(tx), TxJudgement::kValid);
    EXPECT_EQ(Submit(tx).outcome, SubmitOutcome::kRejectedRecently) << "a verdict does not help";
  }
  Announce(2, {pooled, pending, tracked, unknown});
  EXPECT_FALSE(DemandOf(2));
  Close(213);
  EXPECT_EQ(Submit(pooled).outcome, SubmitOutcome::kAdded);
}

TEST_F(TxFloodTest, AtTheAnnouncementLimitTheStreamIsPausedAndNothingIsDropped) {
  limits_.announcements_per_peer_max = 10;
  limits_.demands_per_peer_count_max = 3;
  AttachTrusting(false);
  Connect(1);
  std::vector<Bytes> txs;
  for (int i = 0; i < 14; ++i) txs.push_back(Payment());
  Announce(1, txs);
  ASSERT_EQ(Commands<PauseInv>(out).size(), 1u);
  EXPECT_TRUE(Commands<PauseInv>(out)[0].paused);
  EXPECT_EQ(stats_.tracked_announcements, 10u);
  std::deque<RequestBodies> open;
  const auto collect = [&] {
    for (const RequestBodies& demand : Commands<RequestBodies>(out)) open.push_back(demand);
  };
  collect();
  std::map<TxHash, Bytes> by_hash;
  for (const Bytes& tx : txs) by_hash[HashOfTx(tx)] = tx;
  uint64_t resumed = 0;
  while (!open.empty()) {
    const RequestBodies demand = open.front();
    open.pop_front();
    EXPECT_LE(demand.data.hashes.size(), 3u);
    for (const TxHash& hash : demand.data.hashes) {
      Body(1, demand.request, hash, by_hash.at(hash));
      for (const PauseInv& pause : Commands<PauseInv>(out)) resumed += !pause.paused;
      collect();
    }
    Do([&] { flood().OnRequestEnded(now, {PeerId{1}, demand.request, true}, out); });
    collect();
  }
  EXPECT_EQ(resumed, 1u);
  EXPECT_EQ(stats_.mempool_count, 14u);
}

TEST_F(TxFloodTest, IllSizedAnnouncementsAreNotDemanded) {
  AttachJudge();
  Connect(1);
  Inv inv{{{build.AnyHash<TxHash>(), 100, Lane::kClassic, 0},
           {build.AnyHash<TxHash>(), 100, Lane::kClassic,
            static_cast<uint32_t>(limits_.transaction_bytes_max + 1)},
           {build.AnyHash<TxHash>(), 100, Lane::kClassic,
            static_cast<uint32_t>(limits_.transaction_bytes_max)}}};
  Do([&] { flood().OnInv(now, PeerId{1}, inv, out); });
  EXPECT_EQ(DemandOf(1)->data.hashes, std::vector{inv.entries[2].hash});
  Do([&] { flood().OnInv(now, PeerId{9}, inv, out); });
  EXPECT_TRUE(out.empty()) << "no such peer";
}

// Two nodes joined by a link that carries every command as the event that it becomes.
class Pair {
 public:
  explicit Pair(const Limits& limits) : nodes_{Node(limits), Node(limits)} {
    for (int i : {0, 1}) {
      ActionList out;
      nodes_[i].flood->OnCoreAttached(now_, {.judges_transactions = true, .newest_closed = {}},
                                      out);
      nodes_[i].flood->OnPeerConnected(now_, {PeerId{1}, KeyOf(2), false}, out);
      Take(i, out);
      nodes_[i].flood->OnCoreRoom(now_, 1000, out = {});
      Take(i, out);
    }
  }

  void Submit(int node, uint64_t number, const Bytes& tx) {
    ActionList out;
    nodes_[node].flood->OnSubmit(now_, {{{number, tx, {}}}}, out);
    Take(node, out);
    while (Step()) {
    }
  }
  void Finish() {
    for (int rounds = 0; rounds < 100'000; ++rounds) {
      if (Step()) continue;
      std::optional<Time> next;
      for (Node& node : nodes_) {
        const std::optional<Time> at = node.flood->NextDeadline();
        if (at && *at < now_ + 5s && (!next || *at < *next)) next = at;
      }
      if (!next) return;
      now_ = std::max(now_, *next);
      for (int i : {0, 1}) {
        ActionList out;
        nodes_[i].flood->OnDeadline(now_, out);
        Take(i, out);
      }
    }
    FAIL() << "does not come to rest";
  }

  struct Node {
    explicit Node(const Limits& limits)
        : stats(std::make_unique<TxStats>()), flood(std::make_unique<TxFlood>(limits, *stats)) {}
    std::unique_ptr<TxStats> stats;
    std::unique_ptr<TxFlood> flood;
    std::map<TxHash, Bytes> delivered;
    uint64_t added = 0;
    uint64_t offences = 0;
    uint64_t verdicts = 1'000'000;
  };
  Node& node(int i) { return nodes_[i]; }

 private:
  struct Carried {
    int to;
    PeerCommand command;
  };
  void Take(int from, const ActionList& actions) {
    Node& node = nodes_[from];
    for (const Action& action : actions) {
      if (const auto* command = std::get_if<PeerCommand>(&action))
        link_.push_back({1 - from, *command});
      node.offences += std::holds_alternative<PeerOffence>(action);
    }
    for (const SubmitResult& result : Outputs<SubmitResult>(actions)) {
      node.added += result.outcome == SubmitOutcome::kAdded;
    }
    for (const DeliverTransaction& tx : Outputs<DeliverTransaction>(actions)) {
      EXPECT_TRUE(node.delivered.emplace(tx.hash, tx.transaction).second) << "delivered twice";
      ActionList out;
      node.flood->OnCoreRoom(now_, 1, out);
      node.flood->OnVerdicts(now_, {++node.verdicts, {{tx.hash, TxJudgement::kValid, {}}}}, out);
      Take(from, out);
    }
  }
  // Delivers one command to the other side.
  bool Step() {
    if (link_.empty()) return false;
    const Carried carried = link_.front();
    link_.pop_front();
    TxFlood& flood = *nodes_[carried.to].flood;
    TxFlood& back = *nodes_[1 - carried.to].flood;
    ActionList out, back_out;
    if (const auto* sent = std::get_if<SendTxControl>(&carried.command)) {
      if (const auto* inv = std::get_if<Inv>(&sent->message))
        flood.OnInv(now_, PeerId{1}, *inv, out);
      if (const auto* filter = std::get_if<FeeFilter>(&sent->message)) {
        flood.OnFeeFilter(now_, PeerId{1}, *filter, out);
      }
    } else if (const auto* request = std::get_if<RequestBodies>(&carried.command)) {
      flood.OnBodiesRequested(now_, {PeerId{1}, request->request, request->data}, out);
    } else if (const auto* answer = std::get_if<AnswerBodies>(&carried.command)) {
      for (const BodyAnswer& body : answer->answers) {
        flood.OnBodyReceived(now_, {PeerId{1}, answer->request, body}, out);
      }
      flood.OnRequestEnded(now_, {PeerId{1}, answer->request, true}, out);
      back.OnAnswerDone(now_, {PeerId{1}, answer->request}, back_out);
    } else if (std::holds_alternative<CancelRequest>(carried.command)) {
      ADD_FAILURE() << "a silent request on a lossless link";
    }
    Take(carried.to, out);
    Take(1 - carried.to, back_out);
    return true;
  }

  Time now_{1s};
  std::array<Node, 2> nodes_;
  std::deque<Carried> link_;
};

// The network's real transactions, submitted to one node, reach the other's core byte for byte, once.
TEST(TxFloodPair, CarriesTheCorpus) {
  Limits limits;
  limits.mempool_per_account_max = 0;  // real accounts send many
  limits.mempool_replace_by_fee = false;
  Pair pair(limits);
  const std::vector<Bytes>& corpus = CorpusTransactions();
  ASSERT_EQ(corpus.size(), kCorpusTransactions);
  std::set<TxHash> distinct;
  uint64_t number = 0;
  for (const Bytes& tx : corpus) {
    distinct.insert(HashOfTx(tx));
    pair.Submit(0, ++number, tx);
  }
  pair.Finish();
  EXPECT_EQ(pair.node(0).added, distinct.size());
  ASSERT_EQ(pair.node(1).delivered.size(), distinct.size());
  for (const Bytes& tx : corpus) EXPECT_EQ(pair.node(1).delivered.at(HashOfTx(tx)), tx);
  EXPECT_TRUE(pair.node(0).delivered.empty()) << "an echo";
  EXPECT_EQ(pair.node(1).stats->mempool_count, distinct.size());
  EXPECT_EQ(pair.node(1).stats->received_duplicate, 0u);
  EXPECT_EQ(pair.node(0).offences + pair.node(1).offences, 0u);
  EXPECT_EQ(pair.node(1).stats->announced, 0u);
  for (int i : {0, 1}) pair.node(i).flood->CheckInvariants();
}

// Whatever the order of events, what was externalized is not returned, delivered or demanded for 12 ledgers.
TEST(TxFloodProperty, NothingExternalizedComesBackWithinTwelveLedgers) {
  uint64_t checked = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    XdrBuilder build(seed);
    Limits limits;
    limits.mempool_count_max = 40;
    TxStats stats;
    TxFlood flood(limits, stats);
    Time now{1s};
    ActionList out;
    std::vector<Bytes> txs;
    for (int i = 0; i < 30; ++i) {
      txs.push_back(build.PaymentOf(build.NodeSeed(static_cast<size_t>(i) / 3), i,
                                    static_cast<uint32_t>(100 + random.Below(2000))));
    }
    std::map<TxHash, uint64_t> closes_since;
    std::deque<std::pair<uint64_t, RequestBodies>> open;
    uint64_t closed = 100, number = 0;
    flood.OnLedgerClosed(now, {closed}, out);
    std::set<uint64_t> peers;
    for (int step = 0; step < 600; ++step) {
      out.clear();
      now += std::chrono::milliseconds(random.Below(300));
      const Bytes& tx = txs[random.Below(txs.size())];
      const TxHash hash = HashOfTx(tx);
      const uint64_t peer = 1 + random.Below(3);
      switch (random.Below(10)) {
        case 0:
          flood.OnSubmit(now, {{{++number, tx, {}}}}, out);
          break;
        case 1:
        case 2:
          if (peers.insert(peer).second)
            flood.OnPeerConnected(now, {PeerId{peer}, KeyOf(peer), false}, out);
          flood.OnInv(now, PeerId{peer},
                      {{{hash, 100000, Lane::kClassic, static_cast<uint32_t>(tx.size())}}}, out);
          break;
        case 3:
        case 4:
          if (open.empty()) break;
          for (const TxHash& asked : open.front().second.data.hashes) {
            const auto it = std::find_if(txs.begin(), txs.end(),
                                         [&](const Bytes& one) { return HashOfTx(one) == asked; });
            flood.OnBodyReceived(now,
                                 {PeerId{open.front().first},
                                  open.front().second.request,
                                  {asked, BodyOutcome::kBody, *it}},
                                 out);
          }
          flood.OnRequestEnded(now, {PeerId{open.front().first}, open.front().second.request, true},
                               out);
          open.pop_front();
          break;
        case 5:
          flood.OnVerdicts(now, {++number, {{hash, static_cast<TxJudgement>(random.Below(4)), {}}}},
                           out);
          break;
        case 6: {
          TxSetExternalized set;
          for (uint64_t i = random.Below(4); i > 0; --i) {
            set.transactions.push_back(HashOfTx(txs[random.Below(txs.size())]));
            closes_since.try_emplace(set.transactions.back(), 0);
          }
          flood.OnTxSetExternalized(now, set, out);
          break;
        }
        case 7:
          flood.OnLedgerClosed(now, {++closed}, out);
          for (auto it = closes_since.begin(); it != closes_since.end();) {
            it = ++it->second > 12 ? closes_since.erase(it) : std::next(it);
          }
          break;
        case 8:
          if (random.Chance(0.3)) {
            flood.OnCoreAttached(now,
                                 {.judges_transactions = random.Chance(0.7),
                                  .deliver_transactions = true,
                                  .newest_closed = LedgerSeq{closed}},
                                 out);
            number = 0;
            flood.OnCoreRoom(now, 1000, out);
          } else if (peers.erase(peer) > 0) {
            flood.OnPeerDisconnected(now, PeerId{peer}, out);
          }
          break;
        case 9:
          flood.OnDeadline(now, out);
          break;
      }
      flood.CheckInvariants();
      flood.OnTopQuery(now, {.id = 1, .count_max = 1000, .per_account_max = 100}, out);
      for (const RequestBodies& demand : Commands<RequestBodies>(out)) {
        open.push_back({demand.peer.value, demand});
        for (const TxHash& asked : demand.data.hashes)
          ASSERT_FALSE(closes_since.contains(asked)) << seed;
      }
      for (const DeliverTransaction& delivered : Outputs<DeliverTransaction>(out)) {
        ASSERT_FALSE(closes_since.contains(delivered.hash)) << seed;
      }
      const TopSnapshot snapshot = Outputs<TopSnapshot>(out).at(0);
      for (const TopTransaction& top : snapshot.transactions) {
        ASSERT_FALSE(closes_since.contains(top.hash)) << seed;
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 10'000u);
}

}  // namespace
}  // namespace overlay::flood
