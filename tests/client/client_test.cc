// What the C++ client says to a daemon that the test plays, once or again, and what it tells its
// core.
#include "overlay/client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/client/client_fixture.h"

namespace overlay::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(ClientTest, NamesTheOptionThatIsWrong) {
  const auto refusal = [this](const std::function<void(ClientOptions&)>& change) {
    ClientOptions options = Options();
    change(options);
    const auto made = Client::Create(options, &core_);
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(made.status().message());
  };
  EXPECT_THAT(refusal([](auto& o) { o.target = ""; }), testing::StartsWith("target"));
  EXPECT_THAT(refusal([](auto& o) { o.network_passphrase = ""; }),
              testing::StartsWith("network_passphrase"));
  EXPECT_THAT(refusal([](auto& o) { o.network_id = "short"; }), testing::StartsWith("network_id"));
  EXPECT_THAT(refusal([](auto& o) { o.agent = std::string(65, 'a'); }),
              testing::StartsWith("agent"));
  EXPECT_THAT(refusal([](auto& o) { o.queue_bytes_max = 0; }), testing::StartsWith("queue"));
  EXPECT_THAT(refusal([](auto& o) { o.reconnect_min = std::chrono::milliseconds(0); }),
              testing::StartsWith("reconnect_min"));
  EXPECT_EQ(Client::Create(Options(), nullptr).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ClientTest, AQueueTakesWhatItMayAndRefusesTheRest) {
  ClientOptions options = Options();
  options.queue_messages_max = 3;
  MakeClient(options);  // without a daemon everything stays queued
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(client_->Broadcast(Envelope(1, 'a', kPrepare, "x")).ok());
    EXPECT_TRUE(client_->Submit("tx").ok());
  }
  EXPECT_EQ(client_->Broadcast("x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(client_->Submit("tx").status().code(), absl::StatusCode::kResourceExhausted);
  // A set's chunks are taken all or none.
  EXPECT_TRUE(client_->Fetch(SetType::kTxSet, HashOfByte(9)).ok());
  EXPECT_TRUE(client_->Offer(SetType::kTxSet, HashOfByte(1), std::string(200'000, 's')).ok());
  EXPECT_EQ(client_->Offer(SetType::kTxSet, HashOfByte(2), std::string(1, 's')).code(),
            absl::StatusCode::kResourceExhausted);

  // What was refused was not taken: it never comes.
  StartDaemon();
  client_->Start();
  EXPECT_TRUE(client_->WaitAttached(kPatience));
  EXPECT_THAT(Only(daemon_->WaitForCount("submit", 3), "submit"),
              ElementsAre("submit 1 tx", "submit 2 tx", "submit 3 tx"));
  EXPECT_TRUE(client_->Submit("last").ok());
  EXPECT_TRUE(daemon_->WaitFor("submit 4 last"));
  EXPECT_TRUE(client_->CancelFetch(SetType::kTxSet, HashOfByte(9)).ok());
  EXPECT_THAT(Only(daemon_->WaitForCount("cancel", 1), "offer 02"), IsEmpty());
}

// What waits goes in few messages, in order, none of them beyond the limits of one.
TEST_F(ClientTest, SubmissionsThatWaitGoTogether) {
  MakeClient(Options());
  for (int i = 0; i < 1'500; ++i) ASSERT_TRUE(client_->Submit("small").ok());
  ASSERT_TRUE(client_->Judge({{HashOfByte(1), Verdict::kValid, std::nullopt}}).ok());
  const std::string large(50'000, 'l');
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(client_->Submit(large).ok());
  StartDaemon();
  client_->Start();
  const std::vector<std::string> lines = daemon_->WaitForCount("submit", 1'503);
  EXPECT_THAT(Only(lines, "batch"), ElementsAre("batch of 1000", "batch of 500", "batch of 2"));
  const std::vector<std::string> submitted = Only(lines, "submit");
  for (int i = 0; i < 1'500; ++i) EXPECT_EQ(submitted[i], fmt::format("submit {} small", i + 1));
  EXPECT_EQ(submitted[1'500], "submit 1502 " + large) << "the verdict has a number of its own";
}

TEST_F(ClientTest, AQueueIsBoundedInBytesToo) {
  ClientOptions options = Options();
  options.queue_bytes_max = 1'000;
  MakeClient(options);
  EXPECT_TRUE(client_->Broadcast(std::string(900, 'x')).ok());
  EXPECT_EQ(client_->Broadcast(std::string(200, 'x')).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(client_->Broadcast(std::string(50, 'x')).ok());
}

TEST_F(ClientTest, AfterARestartOfTheDaemonItHandsBackWhatWasLost) {
  Attach();
  ASSERT_TRUE(client_
                  ->SetPeers({.known = {"one", "two"},
                              .preferred = {"three"},
                              .disconnect_removed = true,
                              .closed = true})
                  .ok());
  ASSERT_TRUE(client_->LedgerClosed(7, std::nullopt, /*tracking=*/true).ok());
  ASSERT_TRUE(client_->Offer(SetType::kTxSet, HashOfByte(1), "set", 8).ok());
  ASSERT_TRUE(client_->Broadcast(Envelope(9, 'a', kPrepare, "nine")).ok());
  ASSERT_TRUE(client_->Broadcast(Envelope(8, 'a', kPrepare, "old")).ok());
  ASSERT_TRUE(client_->Broadcast(Envelope(8, 'a', kPrepare, "new")).ok());
  ASSERT_TRUE(client_->Broadcast(Envelope(8, 'a', kNominate, "vote")).ok());
  ASSERT_TRUE(client_->Fetch(SetType::kTxSet, HashOfByte(5)).ok());
  ASSERT_TRUE(client_->Submit("tx").ok());
  ASSERT_THAT(Only(daemon_->WaitForCount("broadcast", 4), "broadcast"), SizeIs(4));
  ASSERT_THAT(Only(daemon_->WaitForCount("submit", 1), "submit"), SizeIs(1));
  ASSERT_THAT(Only(daemon_->WaitForCount("fetch", 1), "fetch"), SizeIs(1));

  RestartDaemon();
  daemon_->WaitForCount("submit", 1);
  daemon_->WaitForCount("fetch", 1);
  const std::vector<std::string> lines = daemon_->WaitForCount("broadcast", 3);
  ASSERT_GE(lines.size(), 3u);
  EXPECT_EQ(lines[0], "attach");
  EXPECT_EQ(lines[1], "set_peers onetwo+three disconnect_removed closed");
  EXPECT_EQ(lines[2], "ledger_closed 7 tracking=0");
  EXPECT_EQ(daemon_->last_attach().newest_closed_slot(), 7u);
  EXPECT_THAT(Only(lines, "broadcast"),
              ElementsAre("broadcast new", "broadcast vote", "broadcast nine"));
  EXPECT_THAT(Only(lines, "offer"), ElementsAre("offer 01 0/3"));
  EXPECT_THAT(Only(lines, "fetch"), ElementsAre("fetch 05"));
  EXPECT_THAT(Only(lines, "submit"), ElementsAre("submit 1 tx"));
}

TEST_F(ClientTest, WhatIsQueuedWhileNoDaemonRunsIsSentOnce) {
  MakeClient(Options());
  client_->Start();
  ASSERT_TRUE(client_->Broadcast(Envelope(1, 'a', kPrepare, "first")).ok());
  ASSERT_TRUE(client_->Broadcast(Envelope(1, 'b', kPrepare, "second")).ok());
  ASSERT_TRUE(client_->Submit("tx").ok());
  ASSERT_TRUE(client_->Offer(SetType::kQuorumSet, HashOfByte(3), "set").ok());
  StartDaemon();
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  ASSERT_TRUE(client_->Broadcast(Envelope(1, 'c', kPrepare, "third")).ok());
  daemon_->WaitForCount("submit", 1);
  daemon_->WaitForCount("offer", 1);
  const std::vector<std::string> lines = daemon_->WaitForCount("broadcast third", 1);
  EXPECT_THAT(Only(lines, "broadcast"),
              ElementsAre("broadcast first", "broadcast second", "broadcast third"));
  EXPECT_THAT(Only(lines, "submit"), SizeIs(1));
  EXPECT_THAT(Only(lines, "offer"), SizeIs(1));
}

TEST_F(ClientTest, SlotsThatAreNoLongerKeptAreNotHandedBack) {
  Attach();
  ASSERT_TRUE(client_->Broadcast(Envelope(5, 'a', kPrepare, "gone")).ok());
  ASSERT_TRUE(client_->Broadcast(Envelope(8, 'a', kPrepare, "kept")).ok());
  ASSERT_TRUE(client_->Offer(SetType::kTxSet, HashOfByte(1), "gone", 7).ok());
  ASSERT_TRUE(client_->Offer(SetType::kTxSet, HashOfByte(2), "kept", 8).ok());
  daemon_->WaitForCount("offer", 2);
  ASSERT_TRUE(daemon_->WaitFor("broadcast kept"));  // what is only queued is said in any case
  ASSERT_TRUE(client_->LedgerClosed(19, std::nullopt, true).ok());  // 8 is the lowest kept
  ASSERT_TRUE(daemon_->WaitFor("ledger_closed 19 tracking=1"));
  RestartDaemon();
  daemon_->WaitForCount("offer", 1);
  ASSERT_TRUE(client_->Broadcast(Envelope(21, 'a', kPrepare, "end")).ok());
  const std::vector<std::string> lines = daemon_->WaitForCount("broadcast end", 1);
  EXPECT_THAT(Only(lines, "broadcast"), ElementsAre("broadcast kept", "broadcast end"));
  EXPECT_THAT(Only(lines, "offer"), ElementsAre("offer 02 0/4"));
}

// Of fast ledgers the daemon keeps more slots than twelve, and so does the client: a slot is named
// in Attach below which it keeps nothing, and the newest one after it.
TEST_F(ClientTest, TheSlotsOfTheLastMinuteAreHandedBackAndNotDeliveredTwice) {
  Attach();
  for (uint64_t slot = 100; slot <= 130; ++slot) {
    ASSERT_TRUE(client_->Broadcast(Envelope(slot, 'a', kPrepare, fmt::format("of {}", slot))).ok());
    ASSERT_TRUE(client_->LedgerClosed(slot, std::nullopt, true).ok());
  }
  daemon_->Send(Received(1, 100));
  ASSERT_TRUE(core_.WaitFor("envelope 1"));
  daemon_->WaitForCount("broadcast", 31);
  ASSERT_TRUE(daemon_->WaitFor("ledger_closed 130 tracking=1"));
  RestartDaemon();
  EXPECT_EQ(daemon_->last_attach().newest_closed_slot(), 100u);
  daemon_->Send(Received(1, 100));
  daemon_->Send(Received(2, 100));
  ASSERT_TRUE(core_.WaitFor("envelope 2"));
  EXPECT_THAT(core_.Lines("envelope"), ElementsAre("envelope 1", "envelope 2"));
  EXPECT_THAT(Only(daemon_->WaitForCount("broadcast", 31), "broadcast"), SizeIs(31));
  EXPECT_THAT(Only(daemon_->Lines(), "ledger"), ElementsAre("ledger_closed 130 tracking=0"));
}

TEST_F(ClientTest, WhatIsKeptIsWhatTheDaemonSays) {
  StartDaemon();
  v1::Limits limits;
  limits.set_slots_kept_min(2);
  limits.set_slots_kept_max(3);
  daemon_->SetLimits(limits);
  MakeClient(Options());
  client_->Start();
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  for (uint64_t slot = 1; slot <= 6; ++slot) {
    ASSERT_TRUE(client_->Broadcast(Envelope(slot, 'a', kPrepare, fmt::format("of {}", slot))).ok());
  }
  ASSERT_TRUE(daemon_->WaitFor("broadcast of 6"));
  for (uint64_t slot = 1; slot <= 6; ++slot) {
    ASSERT_TRUE(client_->LedgerClosed(slot, std::nullopt, true, {slot == 6 ? 2u : 1u}).ok());
  }
  ASSERT_TRUE(client_->LedgerClosed(5, std::nullopt, true, {3}).ok());
  RestartDaemon();
  ASSERT_TRUE(client_->Broadcast(Envelope(7, 'a', kPrepare, "end")).ok());
  const std::vector<std::string> lines = daemon_->WaitForCount("broadcast end", 1);
  EXPECT_THAT(Only(lines, "ledger"), ElementsAre("ledger_closed 6 tracking=0 keep=2 keep=3"));
  // 1 had gone when 6 named 2; 2 and 3 went with it, or were named too late: 4 is the lowest.
  EXPECT_THAT(Only(lines, "broadcast"),
              ElementsAre("broadcast of 4", "broadcast of 5", "broadcast of 6", "broadcast end"));
}

TEST_F(ClientTest, NoEnvelopeIsDeliveredTwiceEvenByAnotherDaemon) {
  Attach();
  daemon_->Send(Received(1, 10));
  daemon_->Send(Received(1, 10));
  daemon_->Send(Received(2, 10));
  ASSERT_TRUE(core_.WaitFor("envelope 2"));
  RestartDaemon();
  daemon_->Send(Received(1, 10));
  daemon_->Send(Received(2, 10, /*redelivered=*/true));  // asked for
  daemon_->Send(Received(3, 10));
  ASSERT_TRUE(core_.WaitFor("envelope 3"));
  EXPECT_THAT(core_.Lines("envelope"),
              ElementsAre("envelope 1", "envelope 2", "envelope 2 again", "envelope 3"));
}

TEST_F(ClientTest, AnEnvelopeThatTheCoreDiscardedMayComeAgain) {
  Attach();
  daemon_->Send(Received(1, 10));
  daemon_->Send(Received(2, 11));
  ASSERT_TRUE(core_.WaitFor("envelope 2"));
  ASSERT_TRUE(client_->JudgeEnvelope(HashOfByte(1), EnvelopeVerdict::kInvalid).ok());
  ASSERT_TRUE(client_->JudgeEnvelope(HashOfByte(2), EnvelopeVerdict::kDiscarded).ok());
  daemon_->Send(Received(1, 10));
  daemon_->Send(Received(2, 11));
  ASSERT_TRUE(core_.WaitFor("envelope 2", 2));
  EXPECT_THAT(core_.Lines("envelope 1"), SizeIs(1));
}

TEST_F(ClientTest, ASubmissionIsAnsweredOnceOverARestart) {
  Attach();
  ASSERT_TRUE(client_->Submit("a").ok());
  ASSERT_TRUE(client_->Submit("b").ok());
  ASSERT_TRUE(daemon_->WaitFor("submit 2 b"));
  v1::TransactionsDown first;
  first.mutable_results()->add_results()->set_number(1);
  first.mutable_results()->mutable_results(0)->set_outcome(v1::SubmitResult::OUTCOME_DUPLICATE);
  daemon_->Send(first);
  ASSERT_TRUE(core_.WaitFor("result 1 duplicate"));

  daemon_->Stop();
  daemon_->Start();
  daemon_->AnswerSubmissions(true);
  // The one that was answered is not submitted again, the other one is, with its number.
  ASSERT_TRUE(core_.WaitFor("attached", 2));
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  ASSERT_TRUE(client_->Judge({{HashOfByte(1), Verdict::kValid, std::nullopt}}).ok());
  const std::vector<std::string> lines = daemon_->WaitForCount("judge 3", 1);
  EXPECT_THAT(Only(lines, "submit"), ElementsAre("submit 2 b"));
  daemon_->Send(first);  // nobody waits for it any more
  v1::TransactionsDown second = first;
  second.mutable_results()->mutable_results(0)->set_number(2);
  daemon_->Send(second);
  v1::TransactionsDown end;
  end.mutable_received()->add_transactions();
  daemon_->Send(end);
  ASSERT_TRUE(core_.WaitFor("transactions 1"));
  EXPECT_THAT(core_.Lines("result 1"), SizeIs(1));
  EXPECT_THAT(core_.Lines("result 2"), SizeIs(1));
}

// What a killed daemon had taken and not handed on is nowhere else.
TEST_F(ClientTest, WhatWasAddedIsSubmittedToAnotherDaemonUntilALedgerHasIt) {
  Attach();
  daemon_->AnswerSubmissions(true);
  ASSERT_TRUE(client_->Submit("in a ledger").ok());
  ASSERT_TRUE(client_->Submit("in none").ok());
  ASSERT_TRUE(core_.WaitFor("result 2 added"));
  daemon_->WaitForCount("submit", 2);
  // Told while no daemon is there, as when the ledger closes meanwhile.
  daemon_->Stop();
  while (!absl::IsUnavailable(client_->TxSetExternalized(HashOfByte(7), {HashOfByte(1)}))) {
  }
  daemon_->Start();
  daemon_->AnswerSubmissions(true);
  ASSERT_TRUE(core_.WaitFor("attached", 2));
  EXPECT_THAT(Only(daemon_->WaitForCount("submit", 1), "submit"), ElementsAre("submit 2 in none"));
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  ASSERT_TRUE(client_->Submit("new").ok());
  ASSERT_TRUE(core_.WaitFor("result 3 added"));
  EXPECT_THAT(core_.Lines("result"),
              ElementsAre("result 1 added", "result 2 added", "result 3 added"));

  // The same daemon again has what it took.
  daemon_->WaitForCount("submit 3", 1);
  daemon_->ClearLines();
  daemon_->EndSession();
  ASSERT_TRUE(core_.WaitFor("attached", 3));
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  ASSERT_TRUE(client_->Submit("end").ok());
  EXPECT_THAT(Only(daemon_->WaitForCount("submit 4 end", 1), "submit"),
              ElementsAre("submit 4 end"));
}

TEST_F(ClientTest, ARefusedSubmissionIsAnsweredByItsRefusal) {
  Attach();
  ASSERT_TRUE(client_->Submit("a").ok());
  v1::TransactionsDown down;
  down.mutable_error()->set_code(3);
  down.mutable_error()->set_field("submit.submissions[0].transaction");
  down.mutable_error()->set_id(1);
  daemon_->Send(down);
  ASSERT_TRUE(core_.WaitFor("result 1 malformed"));
  down.mutable_error()->set_id(77);  // of none of ours
  daemon_->Send(down);
  ASSERT_TRUE(core_.WaitFor("error submit.submissions[0].transaction: , expected "));
  EXPECT_THAT(core_.Lines("result"), SizeIs(1));
}

TEST_F(ClientTest, LongSetsTravelInChunksBothWays) {
  Attach();
  ASSERT_TRUE(client_->Offer(SetType::kTxSet, HashOfByte(0xab), std::string(300'000, 's'), 5).ok());
  EXPECT_THAT(Only(daemon_->WaitForCount("offer", 3), "offer"),
              ElementsAre("offer ab 0/300000", "offer ab 131072/300000", "offer ab 262144/300000"));
  v1::TxSetsDown offered;
  offered.mutable_offered()->set_kind(v1::SET_KIND_TX_SET);
  offered.mutable_offered()->set_hash(BytesOf(HashOfByte(0xab)));
  daemon_->Send(offered);
  EXPECT_TRUE(core_.WaitFor("offered 171"));

  ASSERT_TRUE(client_->Fetch(SetType::kTxSet, HashOfByte(1)).ok());
  ASSERT_TRUE(client_->Fetch(SetType::kTxSet, HashOfByte(2)).ok());
  const auto chunk = [this](uint8_t hash, uint64_t offset, size_t bytes, uint64_t total,
                            int peers) {
    v1::TxSetsDown down;
    v1::SetAvailable* available = down.mutable_available();
    available->set_kind(v1::SET_KIND_TX_SET);
    available->set_hash(BytesOf(HashOfByte(hash)));
    available->set_offset(offset);
    available->set_total_bytes(total);
    available->set_data(std::string(bytes, 'd'));
    for (int i = 0; i < peers; ++i) available->add_peers(std::string(32, 'p'));
    daemon_->Send(down);
  };
  chunk(1, 0, 100, 250, 2);
  chunk(2, 0, 70, 140, 0);
  chunk(1, 100, 100, 250, 0);
  chunk(2, 70, 70, 140, 0);
  chunk(1, 200, 50, 250, 0);
  chunk(1, 0, 1, 1, 0);  // nobody waits for it any more
  chunk(3, 0, 1, 1, 0);  // nobody ever did
  v1::TxSetsDown end;
  end.mutable_error()->set_code(3);
  end.mutable_error()->set_field("end");
  daemon_->Send(end);
  ASSERT_TRUE(core_.WaitFor("error end: , expected "));
  EXPECT_THAT(core_.Lines("set"),
              ElementsAre("set 2 of 140 bytes from 0", "set 1 of 250 bytes from 2"));
}

TEST_F(ClientTest, AFetchEndsOnceHoweverItEnds) {
  Attach();
  for (uint8_t hash = 1; hash <= 3; ++hash) {
    ASSERT_TRUE(client_->Fetch(SetType::kQuorumSet, HashOfByte(hash)).ok());
  }
  v1::TxSetsDown failed;
  failed.mutable_failed()->set_kind(v1::SET_KIND_QUORUM_SET);
  failed.mutable_failed()->set_hash(BytesOf(HashOfByte(1)));
  failed.mutable_failed()->set_reason(v1::SetFailed::REASON_TOO_LARGE);
  daemon_->Send(failed);
  daemon_->Send(failed);
  v1::TxSetsDown refused;
  refused.mutable_error()->set_field("fetch.slot");
  refused.mutable_error()->set_set_kind(v1::SET_KIND_QUORUM_SET);
  refused.mutable_error()->set_hash(BytesOf(HashOfByte(2)));
  daemon_->Send(refused);
  ASSERT_TRUE(core_.WaitFor("fetch 2 failed 5"));
  // A cancellation whose answer the restart took away.
  ASSERT_TRUE(client_->CancelFetch(SetType::kQuorumSet, HashOfByte(3)).ok());
  ASSERT_TRUE(daemon_->WaitFor("cancel 03"));
  RestartDaemon();
  ASSERT_TRUE(core_.WaitFor("fetch 3 failed 4"));
  ASSERT_TRUE(client_->Fetch(SetType::kQuorumSet, HashOfByte(4)).ok());
  EXPECT_THAT(Only(daemon_->WaitForCount("fetch 04", 1), "fetch"), ElementsAre("fetch 04"));
  EXPECT_THAT(core_.Lines("fetch"),
              ElementsAre("fetch 1 failed 2", "fetch 2 failed 5", "fetch 3 failed 4"));
}

// An envelope waits behind nothing of another class, not even in the connection's own buffers.
TEST_F(ClientTest, ScpHasAChannelOfItsOwn) {
  daemon_ = std::make_unique<FakeDaemon>("127.0.0.1:0");
  ClientOptions options = Options();
  options.target = daemon_->target();
  MakeClient(options);
  client_->Start();
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  ASSERT_TRUE(client_->SetPeers({.known = {"a"}}).ok());
  ASSERT_TRUE(client_->LedgerClosed(7, std::nullopt, false).ok());
  ASSERT_TRUE(client_->TopTransactions({}).ok());
  ASSERT_TRUE(client_->TxSetExternalized(HashOfByte(1), {}).ok());
  const std::string main = daemon_->CallerOf("Attach");
  for (const char* method : {"Transactions", "TxSets", "SetPeers", "LedgerClosed",
                             "TopTransactions", "TxSetExternalized"}) {
    EXPECT_EQ(daemon_->CallerOf(method), main) << method;
  }
  EXPECT_NE(daemon_->CallerOf("Scp"), main);
}

TEST_F(ClientTest, ASlowReaderOfTransactionsDelaysNoEnvelope) {
  Attach();
  core_.on_transactions = [this] { EXPECT_TRUE(core_.WaitFor("envelope 7")); };
  v1::TransactionsDown down;
  down.mutable_received()->add_transactions();
  daemon_->Send(down);
  ASSERT_TRUE(core_.WaitFor("transactions 1"));
  daemon_->Send(Received(7, 1));  // comes although the other thread waits for it
  EXPECT_TRUE(core_.WaitFor("envelope 7"));
}

TEST_F(ClientTest, CallsThatBlockCollectAndSplit) {
  Attach();
  ASSERT_TRUE(client_->Submit("tx").ok());
  const auto top = client_->TopTransactions({});
  ASSERT_TRUE(top.ok()) << top.status();
  ASSERT_THAT(*top, SizeIs(2));
  EXPECT_EQ((*top)[0].transaction, "first");
  EXPECT_EQ((*top)[1].transaction, "second");
  EXPECT_TRUE(daemon_->WaitFor("top after=1"));
  const std::vector<Hash> hashes(4'097, HashOfByte(1));
  ASSERT_TRUE(client_->TxSetExternalized(HashOfByte(2), hashes).ok());
  EXPECT_TRUE(daemon_->WaitFor("externalized 4097 in 2"));
  ASSERT_TRUE(client_->TxSetExternalized(HashOfByte(2), {}).ok());
  EXPECT_TRUE(daemon_->WaitFor("externalized 0 in 1"));
}

TEST_F(ClientTest, AnObserverOnlyReads) {
  StartDaemon();
  ClientOptions options = Options();
  options.observer = true;
  options.network_passphrase = "";
  options.network_id = std::string(32, 'i');
  MakeClient(options);
  client_->Start();
  ASSERT_TRUE(client_->WaitAttached(kPatience));
  EXPECT_TRUE(daemon_->last_attach().observer());
  EXPECT_EQ(daemon_->last_attach().network_id(), options.network_id);
  daemon_->Send(Received(1, 1));
  v1::AttachEvent lost;
  lost.mutable_lost()->set_messages(12);
  daemon_->Send(lost);
  EXPECT_TRUE(core_.WaitFor("envelope 1"));
  EXPECT_TRUE(core_.WaitFor("overflow 12"));
}

}  // namespace
}  // namespace overlay::client
