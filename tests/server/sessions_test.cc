// The core's API against a real server in this process, over a unix socket, with the node replaced
// by a fake: sessions, what each call hands to the node, and the code of every refusal.
#include <grpcpp/generic/generic_stub.h>

#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "overlay/v1/operator.grpc.pb.h"
#include "tests/server/sessions_fixture.h"

namespace overlay::server {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

// Attach tells the node, and the core what it needs.
TEST_F(Sessions, AttachBeginsASession) {
  v1::AttachRequest request = Request();
  request.set_judges_transactions(true);
  request.set_newest_closed_slot(77);
  Attachment a = Attach(request);
  ASSERT_NE(a.session, 0u);
  EXPECT_EQ(a.attached.daemon_instance(), std::string(16, 'd'));
  EXPECT_EQ(a.attached.limits().chunk_bytes_max(), kCoreChunkBytesMax);
  EXPECT_EQ(a.attached.limits().submissions_unanswered_max(), 10'000u);
  const auto told = Told<flood::CoreAttached>();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].judges_transactions);
  EXPECT_TRUE(told[0].deliver_transactions);
  EXPECT_EQ(told[0].newest_closed, LedgerSeq{77});
  a.context->TryCancel();
  EXPECT_EQ(a.reader->Finish().error_code(), StatusCode::CANCELLED);
  while (Told<flood::CoreDetached>().empty()) std::this_thread::yield();
}

TEST_F(Sessions, WrongAttachRequestsAreRefusedByName) {
  v1::AttachRequest request = Request("short");
  EXPECT_EQ(AttachFails(request).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(AttachFails(request).error_message(), HasSubstr("core_instance: 5 bytes"));
  request = Request();
  request.set_network_id("abc");
  EXPECT_EQ(AttachFails(request).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(AttachFails(request).error_message(), HasSubstr("network_id"));
  request.set_network_id(std::string(NetworkIdOf("other").view()));
  const grpc::Status wrong = AttachFails(request);
  EXPECT_EQ(wrong.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(wrong.error_message(), HasSubstr(NetworkIdOf("other").Hex()));
  EXPECT_THAT(wrong.error_message(), HasSubstr(NetworkIdOf("test").Hex()));
  request = Request();
  request.set_agent(std::string(129, 'a'));
  EXPECT_THAT(AttachFails(request).error_message(), HasSubstr("agent"));
  EXPECT_TRUE(Told<flood::CoreAttached>().empty());
}

TEST_F(Sessions, ASecondCoreNeedsTakeoverWhichEndsTheFirst) {
  Attachment first = Attach();
  const grpc::Status refused = AttachFails(Request("instance-2"));
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("takeover"));

  auto context = With(first.session);
  auto scp = stub_->Scp(context.get());
  v1::AttachRequest request = Request("instance-2");
  request.set_takeover(true);
  Attachment second = Attach(request);
  ASSERT_NE(second.session, 0u);
  EXPECT_NE(second.session, first.session);
  v1::ScpDown down;
  EXPECT_FALSE(scp->Read(&down));
  EXPECT_EQ(scp->Finish().error_code(), StatusCode::ABORTED);
  v1::AttachEvent event;
  while (first.reader->Read(&event))
    EXPECT_EQ(event.detached().reason(), v1::Detached::REASON_TAKEN_OVER);
  EXPECT_EQ(first.reader->Finish().error_code(), StatusCode::ABORTED);
  EXPECT_EQ(Told<flood::CoreAttached>().size(), 2u);
  EXPECT_EQ(Told<flood::CoreDetached>().size(), 1u);
}

TEST_F(Sessions, TheSameInstanceReplacesItself) {
  Attachment first = Attach();
  Attachment second = Attach();
  ASSERT_NE(second.session, 0u);
  v1::AttachEvent event;
  while (first.reader->Read(&event))
    EXPECT_EQ(event.detached().reason(), v1::Detached::REASON_REPLACED);
  EXPECT_EQ(first.reader->Finish().error_code(), StatusCode::ABORTED);
}

TEST_F(Sessions, SessionNumbersAreDemanded) {
  Attachment a = Attach();
  v1::LedgerClosedRequest request;
  request.set_slot(5);
  v1::LedgerClosedResponse response;
  grpc::ClientContext none;
  EXPECT_EQ(stub_->LedgerClosed(&none, request, &response).error_code(),
            StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext text;
  text.AddMetadata("overlay-session", "five");
  const grpc::Status status = stub_->LedgerClosed(&text, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("overlay-session: \"five\""));
  EXPECT_EQ(stub_->LedgerClosed(With(a.session + 1).get(), request, &response).error_code(),
            StatusCode::ABORTED);
  EXPECT_TRUE(stub_->LedgerClosed(With(a.session).get(), request, &response).ok());
  ASSERT_EQ(Told<flood::LedgerClosed>().size(), 1u);
}

TEST_F(Sessions, EndOfScpEndsTheSession) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  auto tx_context = With(a.session);
  auto transactions = stub_->Transactions(tx_context.get());
  scp->WritesDone();
  EXPECT_EQ(scp->Finish().error_code(), StatusCode::ABORTED);
  EXPECT_EQ(transactions->Finish().error_code(), StatusCode::ABORTED);
  v1::AttachEvent event;
  while (a.reader->Read(&event))
    EXPECT_EQ(event.detached().reason(), v1::Detached::REASON_SCP_ENDED);
  EXPECT_EQ(a.reader->Finish().error_code(), StatusCode::ABORTED);
}

TEST_F(Sessions, AStreamOfAKindIsOnePerSession) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  WaitForRoom();
  auto again_context = With(a.session);
  auto again = stub_->Scp(again_context.get());
  EXPECT_EQ(again->Finish().error_code(), StatusCode::ALREADY_EXISTS);
  context->TryCancel();
}

TEST_F(Sessions, EnvelopesGoBothWaysAndRoomFollowsTheReader) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  v1::ScpUp up;
  up.mutable_broadcast()->set_envelope("envelope");
  up.mutable_broadcast()->set_id(9);
  AnswerWith([this](Time now, const flood::CoreInput& input) {
    if (!std::holds_alternative<flood::BroadcastEnvelope>(input)) return;
    flood::BroadcastResult result;
    result.id = 9;
    result.peers_sent = 3;
    sessions_->OnCoreOutput(now, result);
  });
  ASSERT_TRUE(scp->Write(up));
  v1::ScpDown down;
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.broadcast_result().id(), 9u);
  EXPECT_EQ(down.broadcast_result().peers_sent(), 3u);
  uint64_t room = 0;
  OnLoop([&](Time) { room = node_.room; });
  EXPECT_EQ(room, 64u);

  flood::DeliverEnvelope envelope;
  envelope.envelope = Bytes::Copy(std::string_view("from a peer"));
  envelope.refs.slot = LedgerSeq{12};
  envelope.refs.tx_sets = {SetHash{{1}}, SetHash{{2}}};
  Tell(envelope);
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.received().envelope(), "from a peer");
  EXPECT_EQ(down.received().slot(), 12u);
  EXPECT_EQ(down.received().tx_set_hashes().size(), 64u);
  while (room < 65) OnLoop([&](Time) { room = node_.room; });
  context->TryCancel();
}

// An overflow must not be missed: one that comes before Scp is open waits for it, as one sum.
TEST_F(Sessions, WhatIsLostBeforeScpIsOpenIsToldThen) {
  Attachment a = Attach();
  using Direction = flood::Overflow::Direction;
  Tell(flood::Overflow{Direction::kToCore, flood::CoreStream::kScp, 7, LedgerSeq{3}, LedgerSeq{5}});
  Tell(flood::Overflow{Direction::kToCore, flood::CoreStream::kTransactions, 40, {}, {}});
  Tell(flood::Overflow{Direction::kToCore, flood::CoreStream::kScp, 2, LedgerSeq{1}, LedgerSeq{4}});
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  v1::ScpDown down;
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.overflow().traffic_class(), v1::TRAFFIC_CLASS_SCP);
  EXPECT_EQ(down.overflow().count(), 9u);
  EXPECT_EQ(down.overflow().slot_first(), 1u);
  EXPECT_EQ(down.overflow().slot_last(), 5u);
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.overflow().traffic_class(), v1::TRAFFIC_CLASS_TRANSACTIONS);
  EXPECT_EQ(down.overflow().count(), 40u);
  Tell(flood::Overflow{Direction::kToCore, flood::CoreStream::kScp, 1, {}, {}});
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.overflow().count(), 1u);  // and once only
  context->TryCancel();
}

TEST_F(Sessions, WhatIsLostAtALimitIsToldAndCounted) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  for (uint64_t room = 0; room == 0;) OnLoop([&](Time) { room = node_.room; });  // it is open
  using Direction = flood::Overflow::Direction;
  Tell(flood::Overflow{Direction::kToCore, flood::CoreStream::kScp, 7, LedgerSeq{3}, LedgerSeq{5}});
  Tell(flood::Overflow{Direction::kFromCore, flood::CoreStream::kScp, 2, {}, {}});
  Tell(flood::Overflow{Direction::kToCore, flood::CoreStream::kTransactions, 40, {}, {}});
  v1::ScpDown down;
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.overflow().count(), 7u);
  EXPECT_EQ(down.overflow().slot_first(), 3u);
  EXPECT_EQ(down.overflow().slot_last(), 5u);
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.overflow().direction(), v1::Overflow::DIRECTION_FROM_CORE);
  ASSERT_TRUE(scp->Read(&down));
  EXPECT_EQ(down.overflow().traffic_class(), v1::TRAFFIC_CLASS_TRANSACTIONS);
  OnLoop([&](Time) {
    EXPECT_EQ(sessions_->counters().overflow_scp_to_core, 7u);
    EXPECT_EQ(sessions_->counters().overflow_scp_from_core, 2u);
    EXPECT_EQ(sessions_->counters().overflow_tx_to_core, 40u);
  });
  context->TryCancel();
}

TEST_F(Sessions, IllegalValuesAreAnsweredByNameAndTheStreamLives) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  const auto expect_error = [&](const v1::ScpUp& up, const char* field) {
    ASSERT_TRUE(scp->Write(up));
    v1::ScpDown down;
    ASSERT_TRUE(scp->Read(&down)) << field;
    EXPECT_EQ(down.error().field(), field);
    EXPECT_EQ(down.error().code(), static_cast<uint32_t>(StatusCode::INVALID_ARGUMENT));
    EXPECT_FALSE(down.error().expected().empty());
  };
  v1::ScpUp up;
  expect_error(up, "message");
  up.mutable_broadcast();
  expect_error(up, "broadcast.envelope");
  up.mutable_broadcast()->set_envelope(std::string(64 * kKiB + 1, 'x'));
  expect_error(up, "broadcast.envelope");
  up.mutable_verdict()->set_hash("short");
  expect_error(up, "verdict.hash");
  up.mutable_verdict()->set_hash(std::string(32, 'h'));
  expect_error(up, "verdict.verdict");
  up.mutable_state_reply()->add_envelopes("");
  expect_error(up, "state_reply.envelopes[0]");
  EXPECT_TRUE(Told<flood::BroadcastEnvelope>().empty());
  up.mutable_broadcast()->set_envelope(std::string(64 * kKiB, 'x'));
  ASSERT_TRUE(scp->Write(up));
  while (Told<flood::BroadcastEnvelope>().empty()) std::this_thread::yield();
  context->TryCancel();
}

// What is not protobuf ends the call with INVALID_ARGUMENT, what is larger than 1 MiB with
// RESOURCE_EXHAUSTED.
TEST_F(Sessions, BytesThatAreNoMessageEndTheCall) {
  Attachment a = Attach();
  grpc::GenericStub generic(channel_);
  const auto send = [&](const std::string& bytes) {
    auto context = With(a.session);
    grpc::CompletionQueue queue;
    auto call = generic.PrepareCall(context.get(), "/overlay.v1.Core/Transactions", &queue);
    void* tag = nullptr;
    bool ok = false;
    call->StartCall(reinterpret_cast<void*>(1));
    queue.Next(&tag, &ok);
    grpc::Slice slice(bytes);
    call->Write(grpc::ByteBuffer(&slice, 1), reinterpret_cast<void*>(2));
    queue.Next(&tag, &ok);
    grpc::Status status;
    call->Finish(&status, reinterpret_cast<void*>(3));
    queue.Next(&tag, &ok);
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    return status;
  };
  EXPECT_EQ(send("\xff\xff\xff").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(send(std::string((1 << 20) + 1, 'x')).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  // The session lives on.
  v1::LedgerClosedRequest request;
  request.set_slot(1);
  v1::LedgerClosedResponse response;
  EXPECT_TRUE(stub_->LedgerClosed(With(a.session).get(), request, &response).ok());
}

// The edges of a ban's fields; what is wrong is named, and reaches nobody.
TEST_F(Sessions, ABanIsCheckedBeforeItIsMade) {
  const auto address = "127.0.0.1:" + std::to_string(ports_[1]);
  auto operators =
      v1::Operator::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  const auto call = [&](auto method, const auto& request, auto* response) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer a-token-of-the-operators");
    return (operators.get()->*method)(&context, request, response);
  };
  NodeKey key;
  key.bytes[0] = 7;
  const auto ban = [&](const std::string& peer, std::optional<uint64_t> seconds,
                       const std::string& reason) {
    v1::BanRequest request;
    request.set_peer(peer);
    if (seconds) request.set_duration_s(*seconds);
    request.set_reason(reason);
    v1::BanResponse response;
    return call(&v1::Operator::Stub::Ban, request, &response);
  };
  const uint64_t longest = uint64_t{3650} * 86400;
  EXPECT_TRUE(ban(ToStrkey(key), std::nullopt, "").ok());
  EXPECT_TRUE(ban(ToStrkey(key), 1, std::string(flood::kBanReasonMax, '~')).ok());
  EXPECT_TRUE(ban(ToStrkey(key), longest, "why not").ok());
  const struct {
    grpc::Status status;
    std::string names;
  } refused[] = {
      {ban("GABC", 1, ""), "peer: \"GABC\""},
      {ban(ToStrkey(key), 0, ""), "duration_s: 0, expected 1 to 315360000"},
      {ban(ToStrkey(key), longest + 1, ""), "duration_s: 315360001"},
      {ban(ToStrkey(key), 1, std::string(flood::kBanReasonMax + 1, 'x')), "reason: 101 bytes"},
      {ban(ToStrkey(key), 1, "a\nline"), "reason: 6 bytes"},
  };
  for (const auto& each : refused) {
    EXPECT_EQ(each.status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(each.status.error_message().find(each.names), std::string::npos)
        << each.status.error_message();
  }
  OnLoop([&](Time) {
    ASSERT_EQ(operator_.bans.size(), 3u);
    EXPECT_EQ(operator_.bans[0].key, key);
    EXPECT_EQ(operator_.bans[0].duration, std::nullopt);
    EXPECT_EQ(operator_.bans[1].duration, std::chrono::seconds(1));
    EXPECT_EQ(operator_.bans[2].reason, "why not");
  });
  v1::UnbanRequest unban;
  v1::UnbanResponse unbanned;
  unban.set_peer("nobody");
  EXPECT_EQ(call(&v1::Operator::Stub::Unban, unban, &unbanned).error_code(),
            StatusCode::INVALID_ARGUMENT);
  unban.set_peer(ToStrkey(key));
  EXPECT_EQ(call(&v1::Operator::Stub::Unban, unban, &unbanned).error_code(), StatusCode::NOT_FOUND);
}

// A method through the wrong listener, a missing and a wrong token.
TEST_F(Sessions, ListenersKeepToTheirMethodsAndTokens) {
  auto operators = v1::Operator::NewStub(channel_);
  v1::StatusResponse status;
  grpc::ClientContext wrong;
  EXPECT_EQ(operators->Status(&wrong, {}, &status).error_code(), StatusCode::PERMISSION_DENIED);

  const auto address = "127.0.0.1:" + std::to_string(ports_[1]);
  auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  operators = v1::Operator::NewStub(channel);
  grpc::ClientContext without;
  EXPECT_EQ(operators->Status(&without, {}, &status).error_code(), StatusCode::UNAUTHENTICATED);
  grpc::ClientContext bad;
  bad.AddMetadata("authorization", "Bearer a-token-of-the-operatorz");
  EXPECT_EQ(operators->Status(&bad, {}, &status).error_code(), StatusCode::UNAUTHENTICATED);
  grpc::ClientContext good;
  good.AddMetadata("authorization", "Bearer a-token-of-the-operators");
  EXPECT_TRUE(operators->Status(&good, {}, &status).ok());
  grpc::ClientContext core;
  core.AddMetadata("authorization", "Bearer a-token-of-the-operators");
  auto reader = v1::Core::NewStub(channel)->Attach(&core, Request());
  v1::AttachEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::PERMISSION_DENIED);
}

TEST_F(Sessions, HealthIsServedOnOurOwnQueue) {
  auto health = grpc::health::v1::Health::NewStub(channel_);
  grpc::health::v1::HealthCheckRequest request;
  grpc::health::v1::HealthCheckResponse response;
  for (const char* service : {"", "overlay.v1.Core", "overlay.v1.Operator"}) {
    grpc::ClientContext context;
    request.set_service(service);
    ASSERT_TRUE(health->Check(&context, request, &response).ok());
    EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  }
  grpc::ClientContext unknown;
  request.set_service("nobody");
  EXPECT_EQ(health->Check(&unknown, request, &response).error_code(), StatusCode::NOT_FOUND);
  grpc::ClientContext watch_context;
  request.set_service("");
  auto watch = health->Watch(&watch_context, request);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  OnLoop([this](Time now) { health_.SetNotServing(now); });
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  watch_context.TryCancel();
}

TEST_F(Sessions, DrainTellsTheCoreAndRefusesAnother) {
  Attachment a = Attach();
  OnLoop([this](Time now) {
    sessions_->StartDrain();
    sessions_->TellDraining(now, std::chrono::milliseconds(1234));
  });
  v1::AttachEvent event;
  ASSERT_TRUE(a.reader->Read(&event));
  EXPECT_EQ(event.draining().within_ms(), 1234u);
  EXPECT_EQ(AttachFails(Request("instance-2")).error_code(), StatusCode::UNAVAILABLE);
  OnLoop([this](Time now) { sessions_->EndAll(now); });
  ASSERT_TRUE(a.reader->Read(&event));
  EXPECT_EQ(event.detached().reason(), v1::Detached::REASON_DRAINED);
  EXPECT_EQ(a.reader->Finish().error_code(), StatusCode::UNAVAILABLE);
}

// Though events wait before it, for a core that reads only now.
TEST_F(Sessions, TheLastWordIsSaidAfterWhatWaits) {
  Attachment a = Attach();
  constexpr int kMoreThanGrpcTakes = 8'000;
  OnLoop([this](Time now) {
    for (int i = 0; i < kMoreThanGrpcTakes; ++i) sessions_->TellDraining(now, kUnresponsiveAfter);
    sessions_->EndAll(now);
    EXPECT_FALSE(sessions_->last_words_said());
  });
  v1::AttachEvent event;
  for (int i = 0; i < kMoreThanGrpcTakes; ++i) {
    ASSERT_TRUE(a.reader->Read(&event));
    EXPECT_TRUE(event.has_draining());
  }
  ASSERT_TRUE(a.reader->Read(&event));
  EXPECT_EQ(event.detached().reason(), v1::Detached::REASON_DRAINED);
  EXPECT_EQ(a.reader->Finish().error_code(), StatusCode::UNAVAILABLE);
  bool said = false;
  while (!said) OnLoop([&](Time) { said = sessions_->last_words_said(); });
}

// What a daemon that drains has not read it does not answer, so that the core says it to the next
// one; what it has taken it answers.
TEST_F(Sessions, DrainReadsNoSubmissionsAndAnswersThoseItHas) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto stream = stub_->Transactions(context.get());
  const auto submit = [&](uint64_t number) {
    v1::TransactionsUp up;
    v1::Submission* submission = up.mutable_submit()->add_submissions();
    submission->set_number(number);
    submission->set_transaction("tx");
    EXPECT_TRUE(stream->Write(up));
  };
  submit(1);
  while (Told<flood::SubmitTransactions>().empty()) {
  }
  OnLoop([this](Time) { sessions_->StartDrain(); });
  submit(2);
  submit(3);
  flood::SubmitResult result;
  result.number = 1;
  Tell(result);
  v1::TransactionsDown down;
  ASSERT_TRUE(stream->Read(&down));
  EXPECT_EQ(down.results().results(0).number(), 1u);
  // On the same connection, so what was written before it is there when it is answered.
  EXPECT_EQ(AttachFails(Request("instance-2")).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(Told<flood::SubmitTransactions>().size(), 1u);
  OnLoop([this](Time now) { sessions_->EndAll(now); });
  EXPECT_FALSE(stream->Read(&down));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::UNAVAILABLE);
}

// A core that does not read for 15 s is detached, not a moment earlier.
TEST_F(Sessions, AWriteNotTakenForFifteenSecondsEndsTheSession) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto scp = stub_->Scp(context.get());
  WaitForRoom();
  // More than gRPC buffers for a reader that does not read.
  flood::DeliverEnvelope envelope;
  envelope.envelope = Bytes::Copy(std::string(64 * kKiB, 'e'));
  for (int i = 0; i < 64; ++i) Tell(envelope);
  OnLoop([this](Time) { skew_ = kUnresponsiveAfter - std::chrono::milliseconds(1); });
  OnLoop([](Time) {});
  EXPECT_TRUE(Told<flood::CoreDetached>().empty());
  OnLoop([this](Time) { skew_ = kUnresponsiveAfter; });
  OnLoop([](Time) {});
  ASSERT_EQ(Told<flood::CoreDetached>().size(), 1u);
  v1::ScpDown down;
  while (scp->Read(&down)) {
  }
  EXPECT_EQ(scp->Finish().error_code(), StatusCode::ABORTED);
}

}  // namespace
}  // namespace overlay::server
