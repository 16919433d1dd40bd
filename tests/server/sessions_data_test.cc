// The core's API as sessions_test.cc has it: transactions, sets, and the short calls about ledgers.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/sessions_fixture.h"

namespace overlay::server {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

TEST_F(Sessions, SubmissionsAreNumberedAndAnswered) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto transactions = stub_->Transactions(context.get());
  AnswerWith([this](Time now, const flood::CoreInput& input) {
    const auto* batch = std::get_if<flood::SubmitTransactions>(&input);
    if (batch == nullptr) return;
    for (const flood::Submission& submission : batch->submissions) {
      flood::SubmitResult result;
      result.number = submission.number;
      result.outcome = flood::SubmitOutcome::kDuplicate;
      sessions_->OnCoreOutput(now, result);
    }
  });
  v1::TransactionsUp up;
  for (uint64_t number : {1, 5, 5, 4, 6}) {
    v1::Submission* submission = up.mutable_submit()->add_submissions();
    submission->set_number(number);
    submission->set_transaction("tx");
  }
  up.mutable_submit()->mutable_submissions(4)->mutable_bid()->set_lane(
      v1::LANE_CLASSIC);  // no operations
  ASSERT_TRUE(transactions->Write(up));
  v1::TransactionsDown down;
  std::vector<uint64_t> results;
  std::vector<std::pair<std::string, uint64_t>> errors;
  while (results.size() + errors.size() < 5 && transactions->Read(&down)) {
    for (const auto& result : down.results().results()) {
      EXPECT_EQ(result.outcome(), v1::SubmitResult::OUTCOME_DUPLICATE);
      results.push_back(result.number());
    }
    if (down.has_error()) errors.emplace_back(down.error().field(), down.error().id());
  }
  EXPECT_EQ(results, (std::vector<uint64_t>{1, 5}));
  EXPECT_EQ(errors, (std::vector<std::pair<std::string, uint64_t>>{
                        {"submit.submissions[2].number", 5},
                        {"submit.submissions[3].number", 4},
                        {"submit.submissions[4].bid.operations", 6}}));
  context->TryCancel();
}

TEST_F(Sessions, TopTransactionsWaitsForItsFence) {
  Attachment a = Attach();
  AnswerWith([this](Time now, const flood::CoreInput& input) {
    const auto* query = std::get_if<flood::TopQuery>(&input);
    if (query == nullptr) return;
    flood::TopSnapshot snapshot;
    snapshot.id = query->id;
    for (int i = 0; i < 3; ++i) {
      snapshot.transactions.push_back({TxHash{{static_cast<uint8_t>(i)}},
                                       Bytes::Copy(std::string(60 * kKiB, 't')),
                                       {100, 1, Lane::kClassic}});
    }
    sessions_->OnCoreOutput(now, snapshot);
  });
  v1::TopTransactionsRequest request;
  request.set_after(7);
  auto context = With(a.session);
  auto reader = stub_->TopTransactions(context.get(), request);
  auto soon = With(a.session);
  soon->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  v1::TopTransactionsPart part;
  auto late = stub_->TopTransactions(soon.get(), request);
  EXPECT_FALSE(late->Read(&part));
  EXPECT_EQ(late->Finish().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Told<flood::TopQuery>().empty());

  auto tx_context = With(a.session);
  auto transactions = stub_->Transactions(tx_context.get());
  v1::TransactionsUp up;
  up.mutable_verdict()->set_number(7);
  up.mutable_verdict()->add_verdicts()->set_hash(std::string(32, 'h'));
  up.mutable_verdict()->mutable_verdicts(0)->set_verdict(v1::TransactionVerdict::VERDICT_VALID);
  ASSERT_TRUE(transactions->Write(up));
  int parts = 0, count = 0;
  while (reader->Read(&part)) {
    ++parts;
    count += part.transactions_size();
    EXPECT_EQ(part.applied_number(), 7u);
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(parts, 2);
  EXPECT_EQ(count, 3);
  tx_context->TryCancel();
}

TEST_F(Sessions, ASetIsFetchedInChunks) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto sets = stub_->TxSets(context.get());
  std::string body;
  for (int i = 0; i < 300'000; ++i) body.push_back(static_cast<char>(i * 31));
  const SetHash hash{
      Sha256(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(body.data()), body.size()))};
  AnswerWith([&, this](Time now, const flood::CoreInput& input) {
    if (const auto* fetch = std::get_if<flood::FetchSet>(&input)) {
      sessions_->OnCoreOutput(
          now,
          flood::SetAvailable{fetch->key, Bytes::Copy(std::string_view(body)), {NodeKey{{7}}}});
    }
  });
  v1::TxSetsUp up;
  up.mutable_fetch()->set_kind(v1::SET_KIND_TX_SET);
  up.mutable_fetch()->set_hash(std::string(hash.view()));
  ASSERT_TRUE(sets->Write(up));
  std::string got;
  v1::TxSetsDown down;
  while (got.size() < body.size() && sets->Read(&down)) {
    ASSERT_TRUE(down.has_available());
    EXPECT_EQ(down.available().offset(), got.size());
    EXPECT_EQ(down.available().total_bytes(), body.size());
    EXPECT_LE(down.available().data().size(), kCoreChunkBytesMax);
    EXPECT_EQ(down.available().peers_size(), got.empty() ? 1 : 0);
    got += down.available().data();
  }
  EXPECT_EQ(got, body);
  context->TryCancel();
}

// Limits and gaps of offers are refused here; a broken one is discarded in the node; the end of the
// call gives up.
TEST_F(Sessions, OffersAndFetchesAreBoundedAndGivenUp) {
  Attachment a = Attach();
  auto context = With(a.session);
  auto sets = stub_->TxSets(context.get());
  const auto offer = [&](char name, uint64_t offset, uint64_t total, size_t bytes) {
    v1::TxSetsUp up;
    up.mutable_offer()->set_kind(v1::SET_KIND_TX_SET);
    up.mutable_offer()->set_hash(std::string(32, name));
    up.mutable_offer()->set_offset(offset);
    up.mutable_offer()->set_total_bytes(total);
    up.mutable_offer()->set_data(std::string(bytes, 'x'));
    EXPECT_TRUE(sets->Write(up));
  };
  const auto error = [&] {
    v1::TxSetsDown down;
    EXPECT_TRUE(sets->Read(&down));
    return std::pair(down.error().code(), down.error().field());
  };
  for (char name : {'a', 'b', 'c', 'd'}) offer(name, 0, 1000, 10);
  offer('e', 0, 1000, 10);
  EXPECT_EQ(error(),
            std::pair(static_cast<uint32_t>(StatusCode::RESOURCE_EXHAUSTED), std::string("offer")));
  offer('a', 11, 1000, 10);
  EXPECT_EQ(error().second, "offer.offset");
  offer('b', 10, 1001, 10);
  EXPECT_EQ(error().second, "offer.total_bytes");
  offer('c', 10, 1000, 991);
  EXPECT_EQ(error().second, "offer.data");
  offer('f', 0, 16 * kMiB + 1, 10);
  EXPECT_EQ(error().second, "offer.total_bytes");
  v1::TxSetsUp up;
  up.mutable_cancel()->set_kind(v1::SET_KIND_TX_SET);
  up.mutable_cancel()->set_hash(std::string(32, 'z'));
  ASSERT_TRUE(sets->Write(up));
  EXPECT_EQ(error().first, static_cast<uint32_t>(StatusCode::NOT_FOUND));
  up.mutable_fetch()->set_kind(v1::SET_KIND_QUORUM_SET);
  up.mutable_fetch()->set_hash(std::string(32, '\0'));
  ASSERT_TRUE(sets->Write(up));
  v1::TxSetsDown refused;
  EXPECT_TRUE(sets->Read(&refused));
  EXPECT_EQ(refused.error().field(), "fetch.hash");
  EXPECT_EQ(refused.error().set_kind(),
            v1::SET_KIND_QUORUM_SET);  // a hash names one of either kind
  EXPECT_EQ(refused.error().hash(), std::string(32, '\0'));
  up.mutable_fetch()->set_kind(v1::SET_KIND_TX_SET);
  up.mutable_fetch()->set_hash(std::string(32, 'y'));
  ASSERT_TRUE(sets->Write(up));
  while (Told<flood::FetchSet>().empty()) std::this_thread::yield();
  sets->WritesDone();
  EXPECT_TRUE(sets->Finish().ok());
  EXPECT_EQ(Told<flood::CancelFetch>().size(), 1u);
  size_t gaps = 0;
  for (const auto& chunk : Told<flood::OfferChunk>())
    gaps += chunk.offset > chunk.total_bytes ? 1 : 0;
  EXPECT_EQ(gaps, 4u);  // a, b and c broken, d given up
}

TEST_F(Sessions, UnaryCallsNameWhatIsIllegal) {
  Attachment a = Attach();
  v1::LedgerClosedRequest closed;
  v1::LedgerClosedResponse response;
  EXPECT_THAT(stub_->LedgerClosed(With(a.session).get(), closed, &response).error_message(),
              HasSubstr("slot: 0"));
  closed.set_slot(9);
  for (int i = 0; i < 5; ++i) closed.add_keep_slots(i);
  EXPECT_THAT(stub_->LedgerClosed(With(a.session).get(), closed, &response).error_message(),
              HasSubstr("keep_slots"));
  closed.clear_keep_slots();
  closed.set_hash("x");
  EXPECT_THAT(stub_->LedgerClosed(With(a.session).get(), closed, &response).error_message(),
              HasSubstr("hash"));

  AnswerWith([this](Time now, const flood::CoreInput& input) {
    if (const auto* peers = std::get_if<flood::ConfigurePeers>(&input)) {
      flood::PeersConfigured configured;
      configured.source = flood::PeerEntrySource::kCore;
      configured.refusals.resize(peers->entries.size());
      sessions_->OnCoreOutput(now, configured);
    }
  });
  v1::SetPeersRequest peers;
  peers.add_known("good.example:1");
  peers.add_preferred("bad:0");
  v1::SetPeersResponse answer;
  ASSERT_TRUE(stub_->SetPeers(With(a.session).get(), peers, &answer).ok());
  EXPECT_FALSE(answer.applied());
  EXPECT_TRUE(answer.known(0).accepted());
  EXPECT_FALSE(answer.preferred(0).accepted());
  EXPECT_TRUE(Told<flood::ConfigurePeers>().empty());
  peers.set_preferred(0, "fine:1");
  peers.set_closed(true);
  ASSERT_TRUE(stub_->SetPeers(With(a.session).get(), peers, &answer).ok());
  EXPECT_TRUE(answer.applied());
  EXPECT_EQ(Told<flood::ConfigurePeers>().at(0).entries.size(), 2u);
  EXPECT_EQ(Told<flood::ConfigurePeers>().at(0).closed, true);

  v1::TxSetExternalizedResponse externalized;
  auto context = With(a.session);
  auto writer = stub_->TxSetExternalized(context.get(), &externalized);
  v1::TxSetExternalizedPart part;
  part.set_set_hash(std::string(32, 's'));
  part.set_tx_hashes("not a multiple");
  writer->Write(part);
  writer->WritesDone();
  EXPECT_THAT(writer->Finish().error_message(), HasSubstr("tx_hashes"));
}

TEST_F(Sessions, ExternalizedReturnsWhenTheNodeHasApplied) {
  Attachment a = Attach();
  AnswerWith([this](Time now, const flood::CoreInput& input) {
    if (const auto* externalized = std::get_if<flood::TxSetExternalized>(&input)) {
      flood::ExternalizedApplied applied;
      applied.id = externalized->id;
      applied.removed = static_cast<uint32_t>(externalized->transactions.size());
      sessions_->OnCoreOutput(now, applied);
    }
  });
  v1::TxSetExternalizedResponse response;
  auto context = With(a.session);
  auto writer = stub_->TxSetExternalized(context.get(), &response);
  v1::TxSetExternalizedPart part;
  part.set_set_hash(std::string(32, 's'));
  part.set_tx_hashes(std::string(64, 't'));
  writer->Write(part);
  writer->Write(part);
  writer->WritesDone();
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(response.removed(), 4u);
}

}  // namespace
}  // namespace overlay::server
