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

// The network's real transactions, submitted to one node, reach the other's core byte for byte,
// once.
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

// Whatever the order of events, what was externalized is not returned, delivered or demanded for 12
// ledgers.
TEST(TxFloodProperty, NothingExternalizedComesBackWithinTwelveLedgers) {
  uint64_t checked = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    XdrBuilder build(seed);
    Limits limits;
    limits.mempool_count_max = 40;
    TxStats stats;
    TxFlood flood(limits, stats);
    Time now{1s};
    ActionList out;
    std::vector<Bytes> txs;
    txs.reserve(30);
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
