// The corpus from core to core through two daemons: every record arrives, byte for byte, and is
// counted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "client-sdk/xdr/scp_message.h"
#include "client-sdk/xdr/transaction_reader.h"
#include "flood/base/crypto.h"
#include "overlay/client.h"
#include "tests/bench/daemons.h"
#include "tests/support/corpus.h"
#include "tests/support/status_matchers.h"

namespace overlay {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;

Hash NameOf(const Bytes& bytes) { return Sha256(bytes.span()); }

// A core that keeps what it gets and finds every transaction valid.
class KeepingCore : public Handler {
 public:
  explicit KeepingCore(const std::string& target) {
    ClientOptions options;
    options.target = target;
    options.network_passphrase = bench::kPassphrase;
    options.judges_transactions = true;
    options.deliver_transactions = true;
    auto client = Client::Create(options, this);
    EXPECT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    client_->Start();
  }
  ~KeepingCore() override { client_->Stop(); }

  Client& client() { return *client_; }

  template <class Condition>
  bool WaitFor(const Condition& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, condition);
  }

  void OnPeer(const PeerChange& change) override {
    Change([&] { peers = change.peers_connected; });
  }
  void OnEnvelope(const ReceivedEnvelope& in) override {
    Change([&] {
      ++envelopes_delivered;
      envelopes.emplace(in.hash, in.envelope);
    });
  }
  void OnBroadcastResult(const BroadcastOutcome& outcome) override {
    Change([&] { outcomes.emplace(outcome.id, outcome); });
  }
  void OnTransactions(const std::vector<ReceivedTransaction>& batch) override {
    std::vector<TxVerdict> verdicts;
    for (const ReceivedTransaction& in : batch) verdicts.push_back({in.hash, Verdict::kValid, {}});
    EXPECT_THAT(client_->Judge(verdicts), IsOk());
    Change([&] {
      for (const ReceivedTransaction& in : batch) transactions.emplace(in.hash, in.transaction);
      transactions_delivered += batch.size();
    });
  }
  void OnSubmitResult(const SubmitAnswer& answer) override {
    if (answer.outcome != SubmitOutcome::kAdded) {
      ADD_FAILURE() << SubmitOutcomeName(answer.outcome) << ": " << answer.detail << ", wanted "
                    << answer.fee_wanted.value_or(0);
    }
    Change([&] { ++submitted[answer.outcome]; });
  }
  void OnOffered(SetType, const Hash& hash) override {
    Change([&] { offered.insert(hash); });
  }
  void OnSet(ReceivedSet set) override {
    Change([&] { sets.emplace(set.hash, std::move(set.bytes)); });
  }
  void OnError(const absl::Status& what) override { ADD_FAILURE() << what; }

  // Read under WaitFor, or when nothing arrives any more.
  uint32_t peers = 0;
  size_t envelopes_delivered = 0;
  std::map<Hash, std::string> envelopes;
  std::map<uint64_t, BroadcastOutcome> outcomes;
  size_t transactions_delivered = 0;
  std::map<Hash, std::string> transactions;
  std::map<SubmitOutcome, size_t> submitted;
  std::set<Hash> offered;
  std::map<Hash, std::string> sets;

 private:
  template <class Edit>
  void Change(const Edit& edit) {
    const std::lock_guard lock(mutex_);
    edit();
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<Client> client_;
};

class CorpusDaemonsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = bench::TemporaryFolder::Create();
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = *std::move(folder);
    auto daemons = bench::Daemons::Start(OVERLAYD_PATH, 2, folder_->path());
    ASSERT_TRUE(daemons.ok()) << daemons.status();
    daemons_ = *std::move(daemons);
    from_ = std::make_unique<KeepingCore>(daemons_->apis()[0]);
    to_ = std::make_unique<KeepingCore>(daemons_->apis()[1]);
    ASSERT_TRUE(from_->client().WaitAttached(kPatience));
    ASSERT_TRUE(to_->client().WaitAttached(kPatience));
    ASSERT_TRUE(from_->WaitFor([&] { return from_->peers == 1; }));
    ASSERT_TRUE(to_->WaitFor([&] { return to_->peers == 1; }));
  }

  void CloseOnBoth(uint64_t slot) {
    for (KeepingCore* core : {from_.get(), to_.get()}) {
      ASSERT_THAT(core->client().LedgerClosed(slot, std::nullopt, /*tracking=*/false), IsOk());
    }
  }

  std::unique_ptr<bench::TemporaryFolder> folder_;
  std::unique_ptr<bench::Daemons> daemons_;
  std::unique_ptr<KeepingCore> from_;
  std::unique_ptr<KeepingCore> to_;
};

// Slot by slot, each envelope when the one before has arrived: so none supersedes another on the
// way. Of generated ones some say less than one broadcast before, and need not go out.
TEST_F(CorpusDaemonsTest, Envelopes) {
  std::multimap<uint64_t, const Bytes*> by_slot;
  std::map<Hash, const Bytes*> expected;
  for (const Bytes& envelope : CorpusScpEnvelopes()) {
    const auto decoded = xdr::DecodeEnvelope(envelope.span());
    ASSERT_TRUE(decoded);
    by_slot.emplace(decoded->statement.slot.value, &envelope);
  }
  ASSERT_EQ(by_slot.size(), kCorpusScpEnvelopes);

  uint64_t id = 0;
  uint64_t slot_under_way = 0;
  size_t superseded = 0;
  for (const auto& [slot, envelope] : by_slot) {
    if (slot != slot_under_way && slot > 1) CloseOnBoth(slot - 1);
    slot_under_way = slot;
    const Hash name = NameOf(*envelope);
    if (!expected.emplace(name, envelope).second) continue;  // a repetition in the archive
    ASSERT_THAT(from_->client().Broadcast(envelope->view(), ++id), IsOk());
    ASSERT_TRUE(from_->WaitFor([&] { return from_->outcomes.contains(id); })) << slot;
    if (from_->outcomes.at(id).superseded) {
      ++superseded;
      expected.erase(name);
      continue;
    }
    ASSERT_TRUE(to_->WaitFor([&] { return to_->envelopes.contains(name); })) << slot;
  }
  if (CorpusPresent()) {
    EXPECT_EQ(superseded, 0U);
    EXPECT_EQ(to_->envelopes_delivered, kCorpusScpEnvelopes);
  }
  EXPECT_EQ(to_->envelopes_delivered, expected.size());
  EXPECT_EQ(to_->envelopes.size(), expected.size());
  for (const auto& [name, envelope] : expected) {
    EXPECT_EQ(to_->envelopes.at(name), envelope->view()) << slot_under_way;
  }
}

// Ledger by ledger: the transactions of a set one by one, then the set, then the ledger is closed.
TEST_F(CorpusDaemonsTest, TransactionsAndSets) {
  size_t transactions = 0;
  uint64_t slot = 1;
  for (const Bytes& set : CorpusTxSets()) {
    const auto contents = xdr::ReadTxSet(set.span());
    ASSERT_TRUE(contents);
    std::vector<Hash> names;
    for (const absl::Span<const uint8_t> transaction : contents->transactions) {
      const Bytes bytes = Bytes::Copy(transaction);
      names.push_back(NameOf(bytes));
      ASSERT_TRUE(from_->client().Submit(bytes.view()).ok());
    }
    transactions += names.size();
    ASSERT_TRUE(from_->WaitFor([&] {
      return from_->submitted[SubmitOutcome::kAdded] == transactions;
    })) << from_->submitted[SubmitOutcome::kAdded]
        << " of " << transactions << " added";
    ASSERT_TRUE(to_->WaitFor([&] { return to_->transactions.size() == transactions; }))
        << to_->transactions.size() << " of " << transactions << " arrived";
    for (size_t i = 0; i < names.size(); ++i) {
      EXPECT_EQ(to_->transactions.at(names[i]), Bytes::Copy(contents->transactions[i]).view());
    }
    TopOptions all;
    all.per_account = 1000;
    const auto top = to_->client().TopTransactions(all);
    ASSERT_TRUE(top.ok()) << top.status();
    EXPECT_EQ(top->size(), names.size());

    const Hash name = NameOf(set);
    FetchOptions how;
    how.slot = slot;
    ASSERT_THAT(from_->client().Offer(SetType::kTxSet, name, std::string(set.view()), slot),
                IsOk());
    ASSERT_THAT(to_->client().Fetch(SetType::kTxSet, name, how), IsOk());
    ASSERT_TRUE(to_->WaitFor([&] { return to_->sets.contains(name); })) << slot;
    EXPECT_EQ(to_->sets.at(name), set.view());
    for (KeepingCore* core : {from_.get(), to_.get()}) {
      ASSERT_THAT(core->client().TxSetExternalized(name, names), IsOk());
    }
    CloseOnBoth(slot++);
  }
  EXPECT_EQ(transactions, kCorpusTransactions);
  EXPECT_EQ(to_->transactions_delivered, kCorpusTransactions);
  EXPECT_EQ(to_->sets.size(), kCorpusTxSets);
  EXPECT_EQ(from_->offered.size(), kCorpusTxSets);
  // All were externalized: neither mempool has one left.
  for (KeepingCore* core : {from_.get(), to_.get()}) {
    const auto top = core->client().TopTransactions({});
    ASSERT_TRUE(top.ok()) << top.status();
    EXPECT_THAT(*top, testing::IsEmpty());
  }
}

}  // namespace
}  // namespace overlay
