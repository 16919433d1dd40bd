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
#include "tests/flood/tx_flood_fixture.h"
#include "tests/support/actions.h"
#include "tests/support/corpus.h"
#include "tests/support/xdr_builder.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

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
  ask(4, 3);
  EXPECT_TRUE(out.empty()) << "the very next number is still to come";
  Do([&] { flood().OnVerdicts(now, {3, {}}, out); });
  ASSERT_EQ(Outputs<TopSnapshot>(out).size(), 2u);
  EXPECT_EQ(Outputs<TopSnapshot>(out)[0].id, 1u);
  EXPECT_EQ(Outputs<TopSnapshot>(out)[1].id, 4u);
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

// A ledger's transactions go in turns; whoever comes in between waits for one of them only.
TEST_F(TxFloodTest, ManyExternalizedOnesGoInTurns) {
  AttachJudge();
  std::vector<Bytes> txs;
  for (size_t i = 0; i < 2 * kExternalizedPerTurn + 1; ++i) txs.push_back(Payment());
  for (const Bytes& tx : txs) ASSERT_EQ(Submit(tx).outcome, SubmitOutcome::kAdded);
  TxSetExternalized first;
  first.id = 3;
  for (const Bytes& tx : txs) first.transactions.push_back(HashOfTx(tx));
  TxSetExternalized second;
  second.id = 4;
  second.transactions.push_back(first.transactions.front());
  Do([&] { flood().OnTxSetExternalized(now, first, out); });
  EXPECT_TRUE(Outputs<ExternalizedApplied>(out).empty());
  EXPECT_EQ(flood().pooled_count(), kExternalizedPerTurn + 1);
  ASSERT_TRUE(flood().NextDeadline().has_value());
  EXPECT_LE(*flood().NextDeadline(), now) << "goes on at once";
  const Bytes between = Payment();
  EXPECT_EQ(Submit(between).outcome, SubmitOutcome::kAdded);
  Do([&] { flood().OnDeadline(now, out); });
  EXPECT_TRUE(Outputs<ExternalizedApplied>(out).empty());
  EXPECT_EQ(flood().pooled_count(), 2u);
  // The last one, then at once the one of the next call.
  Do([&] { flood().OnTxSetExternalized(now, second, out); });
  const auto applied = Outputs<ExternalizedApplied>(out);
  ASSERT_EQ(applied.size(), 2u);
  EXPECT_EQ(applied[0].id, 3u);
  EXPECT_EQ(applied[0].removed, txs.size());
  EXPECT_EQ(applied[1].id, 4u);
  EXPECT_EQ(applied[1].unknown, 1u);
  EXPECT_EQ(Top(), std::vector<TxHash>{HashOfTx(between)});
}

// What a ledger took is forgotten twelve ledgers later, by and by.
TEST_F(TxFloodTest, WhatIsRememberedNoMoreLeavesInTurns) {
  AttachJudge();
  Close(200);
  TxSetExternalized externalized;
  for (size_t i = 0; i < kForgottenPerTurn + 1; ++i)
    externalized.transactions.push_back(HashOfTx(Payment()));
  Do([&] { flood().OnTxSetExternalized(now, externalized, out); });
  while (flood().NextDeadline() && *flood().NextDeadline() <= now)
    Do([&] { flood().OnDeadline(now, out); });
  Close(213);
  for (int turn = 0; turn < 2; ++turn) {
    ASSERT_TRUE(flood().NextDeadline().has_value());
    EXPECT_LE(*flood().NextDeadline(), now) << "turn " << turn;
    Do([&] { flood().OnDeadline(now, out); });
  }
  const std::optional<Time> next = flood().NextDeadline();
  EXPECT_TRUE(!next || *next > now);
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

}  // namespace
}  // namespace overlay::flood
