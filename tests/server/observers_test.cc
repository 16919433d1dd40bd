// What observers get and what they are refused, over real gRPC.
#include "flood/overlay_node.h"
#include "gtest/gtest.h"
#include "tests/server/sessions_fixture.h"
#include "tests/support/xdr_builder.h"

namespace overlay::server {
namespace {

using grpc::StatusCode;

class Observers : public Sessions {};

TEST_F(Observers, ReadOnlyAndAreFour) {
  v1::AttachRequest request = Request();
  request.set_observer(true);
  std::vector<Attachment> observers;
  observers.reserve(4);
  for (int i = 0; i < 4; ++i) observers.push_back(Attach(request));
  EXPECT_NE(observers[3].session, 0u);
  EXPECT_EQ(AttachFails(request).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Told<flood::CoreAttached>().empty());
  v1::LedgerClosedRequest closed;
  closed.set_slot(1);
  v1::LedgerClosedResponse response;
  EXPECT_EQ(stub_->LedgerClosed(With(observers[0].session).get(), closed, &response).error_code(),
            StatusCode::PERMISSION_DENIED);
  auto context = With(observers[0].session);
  auto scp = stub_->Scp(context.get());
  v1::ScpUp up;
  up.mutable_broadcast()->set_envelope("e");
  ASSERT_TRUE(scp->Write(up));
  v1::ScpDown down;
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.error().code(), static_cast<uint32_t>(StatusCode::PERMISSION_DENIED));
  flood::DeliverEnvelope envelope;
  envelope.envelope = Bytes::Copy(std::string_view("seen"));
  Tell(envelope);
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.received().envelope(), "seen");
  // Its peers are told to it, too.
  OnLoop([&](Time now) { sessions_->OnPeerNews(now, flood::PeerUp{PeerId{1}, {}}); });
  v1::AttachEvent event;
  ASSERT_TRUE(observers[1].reader->Read(&event));
  EXPECT_EQ(event.connected().peers_connected(), 1u);
  for (Attachment& observer : observers) observer.context->TryCancel();
}

// One that reads nothing loses, hears how much, and costs the core not a message.
TEST_F(Observers, WhatAnObserverDoesNotReadItLosesAndTheCoreDoesNot) {
  v1::AttachRequest request = Request("instance-2");
  request.set_observer(true);
  Attachment observer = Attach(request);
  auto observer_context = With(observer.session);
  auto unread = stub_->Scp(observer_context.get());
  Attachment core = Attach();
  auto context = With(core.session);
  auto scp = stub_->Scp(context.get());
  WaitForRoom();
  // Until the observer's queue is over its bound, and gRPC's buffers before it.
  flood::DeliverEnvelope envelope;
  envelope.envelope = Bytes::Copy(std::string(kKiB, 'e'));
  uint64_t lost = 0;
  v1::ScpDown down;
  for (int sent = 0; lost < 100; ++sent) {
    ASSERT_LT(sent, 20'000) << "the observer loses nothing";
    OnLoop([&](Time now) {
      sessions_->OnCoreOutput(now, envelope);
      lost = sessions_->counters().observer_lost;
    });
    ASSERT_TRUE(scp->Read(&down));
    ASSERT_TRUE(down.has_received());
  }
  // Attach is read, and says what Scp was not read in time for.
  uint64_t told = 0;
  v1::AttachEvent event;
  while (told < 100 && observer.reader->Read(&event)) {
    ASSERT_TRUE(event.has_lost());
    EXPECT_EQ(event.lost().traffic_class(), v1::TRAFFIC_CLASS_SCP);
    told += event.lost().messages();
  }
  EXPECT_GE(told, 100u);
  ASSERT_TRUE(unread->Read(&down));
  EXPECT_TRUE(down.has_received());
  observer.context->TryCancel();
}

// What the mempool holds outlives the core; an observer may look at it with none attached. The node
// is a real one here.
TEST_F(Observers, TopTransactionsOfAnObserverNeedsNoCore) {
  flood::OverlayNode real{Limits{}, flood::NodeOptions{.self = NodeKey{{0xee}}}, Random(1)};
  AnswerWith([&](Time now, const flood::CoreInput& input) {
    flood::ActionList actions;
    real.OnCoreInput(now, input, actions);
    for (flood::Action& action : actions) {
      if (auto* output = std::get_if<flood::CoreOutput>(&action)) {
        sessions_->OnCoreOutput(now, std::move(*output));
      }
    }
  });
  v1::AttachRequest request = Request("instance-2");
  request.set_observer(true);
  Attachment observer = Attach(request);
  v1::TopTransactionsPart part;
  auto before_context = With(observer.session);
  auto before = stub_->TopTransactions(before_context.get(), v1::TopTransactionsRequest());
  ASSERT_TRUE(before->Read(&part));
  EXPECT_EQ(part.transactions_size(), 0);
  EXPECT_FALSE(before->Read(&part));
  EXPECT_TRUE(before->Finish().ok());

  Attachment core = Attach();
  auto tx_context = With(core.session);
  auto transactions = stub_->Transactions(tx_context.get());
  const Bytes transaction = XdrBuilder(1).Transaction();
  v1::TransactionsUp up;
  v1::Submission* submission = up.mutable_submit()->add_submissions();
  submission->set_number(1);
  submission->set_transaction(std::string(transaction.view()));
  ASSERT_TRUE(transactions->Write(up));
  v1::TransactionsDown down;
  ASSERT_TRUE(transactions->Read(&down));
  ASSERT_EQ(down.results().results(0).outcome(), v1::SubmitResult::OUTCOME_ADDED);
  core.context->TryCancel();
  while (Told<flood::CoreDetached>().empty()) std::this_thread::yield();

  auto context = With(observer.session);
  auto reader = stub_->TopTransactions(context.get(), v1::TopTransactionsRequest());
  ASSERT_TRUE(reader->Read(&part)) << reader->Finish().error_message();
  ASSERT_EQ(part.transactions_size(), 1);
  EXPECT_EQ(part.transactions(0).transaction(), transaction.view());
  EXPECT_FALSE(reader->Read(&part));
  EXPECT_TRUE(reader->Finish().ok());

  v1::TopTransactionsRequest fenced;
  fenced.set_after(1);
  auto fenced_context = With(observer.session);
  auto refused = stub_->TopTransactions(fenced_context.get(), fenced);
  EXPECT_FALSE(refused->Read(&part));
  EXPECT_EQ(refused->Finish().error_code(), StatusCode::PERMISSION_DENIED);
  observer.context->TryCancel();
}

}  // namespace
}  // namespace overlay::server
