// A property of the whole node, under random interleavings of submissions, peers' bodies, verdicts,
// closes and externalizations: what was externalized is not returned by TopTransactions within 12
// ledgers.
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/overlay_node.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"
#include "tests/support/xdr_builder.h"

namespace overlay::flood {
namespace {

constexpr uint64_t kPeers = 3;
constexpr size_t kTransactions = 40;
constexpr uint64_t kLedgers = 12;

class Life {
 public:
  Life(uint64_t seed, const std::vector<Bytes>& transactions)
      : random_(seed),
        transactions_(transactions),
        node_(Limits{}, NodeOptions{.self = NodeKey{{0xee}}}, Random(seed)) {
    for (uint64_t peer = 1; peer <= kPeers; ++peer) Connect(peer);
    Attach();
  }

  void Step() {
    now_ += std::chrono::milliseconds(random_.Below(400));
    if (node_.NextDeadline() && *node_.NextDeadline() <= now_) {
      Do([&](ActionList& out) { node_.OnDeadline(now_, out); });
    }
    switch (random_.Below(10)) {
      case 0:
      case 1:
        return Core(SubmitTransactions{{{++number_, Any(), std::nullopt}}});
      case 2:
      case 3:
        return Announce();
      case 4:
        return Answer();
      case 5:
        return Judge();
      case 6:
        return Externalize();
      case 7:
        // A core may close ledgers in larger steps, or say an old one again.
        closed_ += random_.Below(3);
        return Core(LedgerClosed{
            .seq = LedgerSeq{closed_}, .hash = {}, .tracking = true, .keep_slots = {}});
      case 8:
        if (random_.Below(20) == 0) return Attach();
        if (random_.Below(10) == 0) return Reconnect();
        return Core(CoreRoom{CoreStream::kTransactions, 3});
      default:
        return Core(TopQuery{.id = ++query_, .count_max = 1000, .per_account_max = 1000});
    }
  }

  uint64_t returned() const { return returned_; }
  uint64_t forbidden_offered() const { return forbidden_offered_; }
  const std::string& broken() const { return broken_; }

 private:
  struct Demand {
    PeerId peer;
    RequestId request;
    std::vector<TxHash> hashes;
  };

  static TxHash HashOfTx(const Bytes& tx) { return overlay::HashOf<TxHash>(tx.span()); }
  const Bytes& Any() { return transactions_[random_.Below(transactions_.size())]; }
  bool IsForbidden(const TxHash& hash) const {
    const auto gone = externalized_.find(hash);
    return gone != externalized_.end() && closed_ <= gone->second + kLedgers;
  }

  template <class Input>
  void Do(Input input) {
    ActionList out;
    input(out);
    for (const RequestBodies& demand : Commands<RequestBodies>(out)) {
      demands_.push_back({demand.peer, demand.request, demand.data.hashes});
    }
    for (const DeliverTransaction& delivered : Outputs<DeliverTransaction>(out)) {
      delivered_.push_back(delivered.hash);
    }
    for (const TopSnapshot& top : Outputs<TopSnapshot>(out)) {
      returned_ += top.transactions.size();
      for (const TopTransaction& tx : top.transactions) {
        if (IsForbidden(tx.hash)) broken_ = "returned again: " + tx.hash.Hex();
      }
    }
  }
  void Core(const CoreInput& input) {
    Do([&](ActionList& out) { node_.OnCoreInput(now_, input, out); });
  }
  void Event(const PeerEvent& event) {
    Do([&](ActionList& out) { node_.OnPeerEvent(now_, event, out); });
  }

  void Connect(uint64_t peer) {
    PeerInfo info;
    info.key.bytes.fill(static_cast<uint8_t>(peer));
    info.instance_nonce = ++nonce_;
    Event(PeerConnected{PeerId{peer}, info});
  }
  void Reconnect() {
    const uint64_t peer = 1 + random_.Below(kPeers);
    std::erase_if(demands_, [&](const Demand& demand) { return demand.peer == PeerId{peer}; });
    Event(PeerDisconnected{PeerId{peer}, CloseReason::kGoaway, true, "", {}});
    Connect(peer);
  }
  void Attach() {
    if (std::exchange(attached_, true)) Core(CoreDetached{});
    number_ = 0;
    delivered_.clear();
    Core(CoreAttached{.judges_transactions = random_.Below(4) > 0,
                      .deliver_transactions = true,
                      .newest_closed = LedgerSeq{closed_}});
    Core(CoreRoom{CoreStream::kTransactions, 10});
  }
  void Announce() {
    const Bytes& tx = Any();
    forbidden_offered_ += IsForbidden(HashOfTx(tx));
    Event(TxControlReceived{
        PeerId{1 + random_.Below(kPeers)},
        Inv{{{HashOfTx(tx), 1'000'000, Lane::kClassic, static_cast<uint32_t>(tx.size())},
             {HashOfTx(tx), 1'000'000, Lane::kSoroban, static_cast<uint32_t>(tx.size())}}}});
  }
  // One demand, any: early, late, or after its transaction was externalized.
  void Answer() {
    if (demands_.empty()) return;
    const size_t which = random_.Below(demands_.size());
    const Demand demand = demands_[which];
    demands_.erase(demands_.begin() + static_cast<ptrdiff_t>(which));
    for (const TxHash& hash : demand.hashes) {
      for (const Bytes& tx : transactions_) {
        if (HashOfTx(tx) != hash) continue;
        Event(BodyReceived{demand.peer, demand.request, {hash, BodyOutcome::kBody, tx}});
      }
    }
    Event(RequestEnded{demand.peer, demand.request, true});
  }
  void Judge() {
    // Of what was delivered, or of any hash: verdicts come late, twice and unasked.
    TxHash hash = HashOfTx(Any());
    if (!delivered_.empty() && random_.Below(3) > 0) {
      hash = delivered_.back();
      delivered_.pop_back();
    }
    static constexpr TxJudgement kJudgements[] = {TxJudgement::kValid,     TxJudgement::kValid,
                                                  TxJudgement::kValid,     TxJudgement::kLater,
                                                  TxJudgement::kMalformed, TxJudgement::kStale};
    Core(TransactionVerdicts{++number_, {{hash, kJudgements[random_.Below(6)], std::nullopt}}});
  }
  void Externalize() {
    TxSetExternalized externalized;
    externalized.id = ++query_;
    for (size_t i = 0; i < 3; ++i) {
      const TxHash hash = HashOfTx(Any());
      externalized.transactions.push_back(hash);
      // Said again, it is still remembered from the first time.
      if (!IsForbidden(hash)) externalized_[hash] = closed_;
    }
    Core(externalized);
  }

  Random random_;
  const std::vector<Bytes>& transactions_;
  OverlayNode node_;
  Time now_{std::chrono::seconds(1000)};
  uint64_t closed_ = 100;
  uint64_t number_ = 0;
  uint64_t query_ = 0;
  uint64_t nonce_ = 0;
  bool attached_ = false;
  std::vector<Demand> demands_;
  std::vector<TxHash> delivered_;
  std::map<TxHash, uint64_t> externalized_;  // and the newest closed then
  uint64_t returned_ = 0;
  uint64_t forbidden_offered_ = 0;
  std::string broken_;
};

TEST(NodeExternalized, IsNotReturnedAgainWithinTwelveLedgers) {
  XdrBuilder build(1);
  std::vector<Bytes> transactions;
  for (size_t i = 0; i < kTransactions; ++i) {
    transactions.push_back(build.PaymentOf(build.AnySeed(), 1, 100 + static_cast<uint32_t>(i)));
  }
  uint64_t returned = 0, forbidden_offered = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Life run(seed, transactions);
    for (int step = 0; step < 1500; ++step) {
      run.Step();
      ASSERT_EQ(run.broken(), "") << "seed " << seed << ", step " << step;
    }
    returned += run.returned();
    forbidden_offered += run.forbidden_offered();
  }
  // It was tried often enough to mean something.
  EXPECT_GT(returned, 5'000u);
  EXPECT_GT(forbidden_offered, 500u);
}

}  // namespace
}  // namespace overlay::flood
