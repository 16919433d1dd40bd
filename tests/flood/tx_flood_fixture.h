// tests/flood/tx_flood_fixture.h
//
// One TxFlood for tests: spoken to by hand, every count checked after each step.
#ifndef OVERLAY_TESTS_FLOOD_TX_FLOOD_FIXTURE_H_
#define OVERLAY_TESTS_FLOOD_TX_FLOOD_FIXTURE_H_

#include <memory>
#include <optional>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/tx_flood.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"
#include "tests/support/xdr_builder.h"

namespace overlay::flood {

inline TxHash HashOfTx(const Bytes& tx) { return HashOf<TxHash>(tx.span()); }

inline NodeKey KeyOf(uint64_t peer) {
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
  Time now{std::chrono::seconds(1000)};
  ActionList out;
  uint64_t number_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_TESTS_FLOOD_TX_FLOOD_FIXTURE_H_
