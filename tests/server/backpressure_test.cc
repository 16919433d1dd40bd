// What a core that does not read costs: its own reading, and no memory beyond each stream's bound.
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/session_call.h"
#include "server/transactions_call.h"
#include "tests/server/sessions_fixture.h"

namespace overlay::server {
namespace {

class Backpressure : public Sessions {};

// No read ahead of what can be answered, and each is answered once.
TEST_F(Backpressure, SubmissionsWithoutAnswersStopTheReading) {
  constexpr uint64_t kBatches = 15;
  Attachment a = Attach();
  auto context = With(a.session);
  auto transactions = stub_->Transactions(context.get());
  std::thread writer([&] {
    v1::TransactionsUp up;
    for (uint64_t batch = 0; batch < kBatches; ++batch) {
      up.mutable_submit()->clear_submissions();
      for (uint64_t i = 1; i <= kBatchEntriesMax; ++i) {
        v1::Submission* submission = up.mutable_submit()->add_submissions();
        submission->set_number(batch * kBatchEntriesMax + i);
        submission->set_transaction("tx");
      }
      EXPECT_TRUE(transactions->Write(up));
    }
  });
  const auto told = [this] {
    size_t count = 0;
    for (const auto& batch : Told<flood::SubmitTransactions>()) count += batch.submissions.size();
    return count;
  };
  while (told() < kSubmissionsUnansweredMax) {
  }
  for (int i = 0; i < 100; ++i) ASSERT_EQ(told(), kSubmissionsUnansweredMax);
  const auto answer = [this](Time now, const flood::CoreInput& input) {
    const auto* batch = std::get_if<flood::SubmitTransactions>(&input);
    if (batch == nullptr) return;
    for (const flood::Submission& submission : batch->submissions) {
      flood::SubmitResult result;
      result.number = submission.number;
      sessions_->OnCoreOutput(now, result);
    }
  };
  OnLoop([&](Time now) {
    const std::vector<flood::CoreInput> waiting = node_.inputs;
    node_.answer = answer;
    for (const flood::CoreInput& input : waiting) answer(now, input);
  });
  uint64_t next = 1;
  v1::TransactionsDown down;
  while (next <= kBatches * kBatchEntriesMax && transactions->Read(&down)) {
    for (const auto& result : down.results().results()) EXPECT_EQ(result.number(), next++);
  }
  EXPECT_EQ(next, kBatches * kBatchEntriesMax + 1);
  writer.join();
  context->TryCancel();
}

TEST_F(Backpressure, TransactionsTakenMakeRoomForAsMany) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto transactions = stub_->Transactions(context.get());
  uint64_t room = 0;
  while (room == 0) OnLoop([&](Time) { room = node_.room; });
  EXPECT_EQ(room, kTransactionsWindow);
  OnLoop([this](Time now) {
    for (uint8_t i = 0; i < 100; ++i) {
      flood::DeliverTransaction delivered;
      delivered.hash.bytes[0] = i;
      delivered.transaction = Bytes::Copy("tx");
      sessions_->OnCoreOutput(now, delivered);
    }
    EXPECT_EQ(node_.room, kTransactionsWindow);
  });
  int received = 0;
  v1::TransactionsDown down;
  while (received < 100 && transactions->Read(&down)) {
    received += down.received().transactions_size();
  }
  while (room < kTransactionsWindow + 100) OnLoop([&](Time) { room = node_.room; });
  EXPECT_EQ(room, kTransactionsWindow + 100);
  context->TryCancel();
}

TEST_F(Backpressure, AnswersThatAreNotReadStopTheReadingOfBroadcasts) {
  constexpr uint64_t kBroadcasts = 12'000;
  Attachment a = Attach();
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  AnswerWith([this](Time now, const flood::CoreInput& input) {
    const auto* broadcast = std::get_if<flood::BroadcastEnvelope>(&input);
    if (broadcast == nullptr) return;
    flood::BroadcastResult result;
    result.id = *broadcast->id;
    sessions_->OnCoreOutput(now, result);
  });
  std::thread writer([&] {
    v1::ScpUp up;
    for (uint64_t id = 1; id <= kBroadcasts; ++id) {
      up.mutable_broadcast()->set_id(id);
      up.mutable_broadcast()->set_envelope("envelope");
      EXPECT_TRUE(scp->Write(up));
    }
  });
  size_t told = 0;
  const auto look = [&](Time) { told = node_.inputs.size(); };
  while (told < kStreamMessagesMax / 2) OnLoop(look);
  // Half of what may wait, and what gRPC has taken in the meantime: some windows of 64 KiB.
  for (int i = 0; i < 500; ++i) {
    OnLoop(look);
    ASSERT_LT(told, kStreamMessagesMax);
  }
  uint64_t next = 1;
  v1::ScpDown down;
  while (next <= kBroadcasts && scp->Read(&down)) EXPECT_EQ(down.broadcast_result().id(), next++);
  EXPECT_EQ(next, kBroadcasts + 1);
  writer.join();
  context->TryCancel();
}

// A core that fetches and does not read is not read on: what it asked for would wait here, whatever
// the cache has let go meanwhile.
TEST_F(Backpressure, SetsThatAreNotReadStopTheReadingOfFetches) {
  constexpr int kFetches = 20;
  constexpr size_t kSetBytes = 8 * kMiB;
  Attachment a = Attach();
  auto context = With(a.session);
  auto sets = stub_->TxSets(context.get());
  const Bytes body = Bytes::Take(std::string(kSetBytes, 's'));
  AnswerWith([&, this](Time now, const flood::CoreInput& input) {
    const auto* fetch = std::get_if<flood::FetchSet>(&input);
    if (fetch != nullptr) sessions_->OnCoreOutput(now, flood::SetAvailable{fetch->key, body, {}});
  });
  v1::TxSetsUp up;
  up.mutable_fetch()->set_kind(v1::SET_KIND_TX_SET);
  for (int i = 0; i < kFetches; ++i) {
    up.mutable_fetch()->set_hash(std::string(32, static_cast<char>('a' + i)));
    ASSERT_TRUE(sets->Write(up));
  }
  while (Told<flood::FetchSet>().size() < 4) {
  }
  for (int i = 0; i < 200; ++i) EXPECT_LE(Told<flood::FetchSet>().size(), 6u);
  OnLoop([this](Time) { EXPECT_GT(node_.queues, kStreamBytesMax / 4); });
  // Read, all of them come.
  v1::TxSetsDown down;
  size_t bytes = 0;
  while (bytes < kFetches * kSetBytes && sets->Read(&down)) bytes += down.available().data().size();
  EXPECT_EQ(bytes, kFetches * kSetBytes);
  EXPECT_EQ(Told<flood::FetchSet>().size(), static_cast<size_t>(kFetches));
  context->TryCancel();
}

TEST_F(Backpressure, SetsBeyondTheStreamsBoundAreToBeFetchedAgain) {
  constexpr int kFetches = 12;
  constexpr size_t kSetBytes = 8 * kMiB;
  Attachment a = Attach();
  auto context = With(a.session);
  auto sets = stub_->TxSets(context.get());
  v1::TxSetsUp up;
  up.mutable_fetch()->set_kind(v1::SET_KIND_TX_SET);
  for (int i = 0; i < kFetches; ++i) {
    up.mutable_fetch()->set_hash(std::string(32, static_cast<char>('a' + i)));
    ASSERT_TRUE(sets->Write(up));
  }
  std::vector<flood::FetchSet> asked;
  while (asked.size() < kFetches) asked = Told<flood::FetchSet>();
  const Bytes body = Bytes::Take(std::string(kSetBytes, 's'));
  OnLoop([&](Time now) {
    for (const flood::FetchSet& fetch : asked) {
      sessions_->OnCoreOutput(now, flood::SetAvailable{fetch.key, body, {}});
    }
  });
  OnLoop([this](Time) { EXPECT_LE(node_.queues_max, kStreamBytesMax + kMiB); });
  v1::TxSetsDown down;
  size_t bytes = 0;
  int no_room = 0;
  while (bytes / kSetBytes + static_cast<size_t>(no_room) < kFetches && sets->Read(&down)) {
    bytes += down.available().data().size();
    no_room += down.has_failed();
    if (down.has_failed()) {
      EXPECT_EQ(down.failed().reason(), v1::SetFailed::REASON_NO_ROOM);
    }
  }
  EXPECT_GE(bytes, kStreamBytesMax - kSetBytes);
  EXPECT_LE(bytes, kStreamBytesMax + kSetBytes);
  EXPECT_GE(no_room, 3);
  // Everything has been read: nothing is counted any more.
  uint64_t queues = 1;
  while (queues > 0) OnLoop([&](Time) { queues = node_.queues; });
  context->TryCancel();
}

}  // namespace
}  // namespace overlay::server
