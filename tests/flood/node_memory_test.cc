// What a whole node does where memory is short: who gives, who is refused, and that SCP is neither.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/overlay_node.h"
#include "flood/set_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"
#include "tests/support/plain_envelope.h"
#include "tests/support/xdr_builder.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kMax = 4 * kMiB;
constexpr uint64_t kReserve = kMiB;
constexpr uint64_t kRoom = kMax - kReserve;
// One input brings as much at most.
constexpr uint64_t kOvershoot = kMiB;

Limits MakeLimits() {
  Limits limits;
  limits.memory_bytes_max = kMax;
  limits.memory_scp_reserve_bytes = kReserve;
  limits.mempool_per_account_max = 0;
  return limits;
}

class NodeMemoryTest : public testing::Test {
 protected:
  NodeMemoryTest() {
    for (uint64_t peer : {1, 2, 3}) {
      PeerInfo info;
      info.key.bytes.fill(static_cast<uint8_t>(peer));
      info.instance_nonce = peer;
      Event(PeerConnected{PeerId{peer}, info});
    }
    Core(CoreAttached{
        .judges_transactions = true, .deliver_transactions = true, .newest_closed = LedgerSeq{10}});
    Core(LedgerClosed{.seq = LedgerSeq{11}, .hash = {}, .tracking = true, .keep_slots = {}});
  }

  void Event(const PeerEvent& event) {
    out_.clear();
    node_.OnPeerEvent(now_, event, out_);
    node_.CheckInvariants();
  }
  void Core(const CoreInput& input) {
    out_.clear();
    node_.OnCoreInput(now_, input, out_);
    node_.CheckInvariants();
  }
  // The turns that follow at once.
  void Rest() {
    while (node_.NextDeadline() && *node_.NextDeadline() <= now_) {
      node_.OnDeadline(now_, out_);
      node_.CheckInvariants();
    }
  }
  uint64_t Held(MemoryPool pool) const {
    return node_.stats().memory.bytes[static_cast<size_t>(pool)];
  }
  uint64_t Freed(MemoryPool pool) const {
    return node_.stats().memory.freed_bytes[static_cast<size_t>(pool)];
  }
  uint64_t HeldInAll() const {
    uint64_t held = 0;
    for (const uint64_t pool : node_.stats().memory.bytes) held += pool;
    return held;
  }
  uint64_t Left() const {
    return node_.stats().memory.room_bytes + Held(MemoryPool::kScp) - HeldInAll();
  }
  bool IsPressed() const { return node_.stats().memory.pressed; }

  // ---- to fill
  Bytes Payment() { return build_.PaymentOf(source_, ++sequence_, 10'000, 100); }
  SubmitResult Submit(const Bytes& transaction) {
    Core(SubmitTransactions{{{++number_, transaction, std::nullopt}}});
    const std::vector<SubmitResult> results = Outputs<SubmitResult>(out_);
    EXPECT_THAT(results, SizeIs(1));
    return results.at(0);
  }
  void FillMempool(uint64_t bytes) {
    while (Held(MemoryPool::kMempool) < bytes) Submit(Payment());
  }
  SetKey Offer(size_t bytes, std::optional<LedgerSeq> slot) {
    const std::string content(bytes, static_cast<char>('a' + sets_++));
    const Bytes set = Bytes::Copy(content);
    const SetKey key{SetKind::kTxSet, overlay::HashOf<SetHash>(set.span())};
    Core(OfferChunk{key, slot, set.size(), 0, set});
    return key;
  }
  bool HasSet(const SetKey& key) {
    Event(SetRequested{PeerId{3}, RequestId{++request_}, SetRequest{key, false, 0}});
    const std::vector<AnswerSet> answers = Commands<AnswerSet>(out_);
    const bool found = !answers.empty() && answers[0].header.found;
    Event(AnswerDone{PeerId{3}, RequestId{request_}});
    return found;
  }
  void Announce(uint64_t peer, const Bytes& transaction) {
    const auto hash = overlay::HashOf<TxHash>(transaction.span());
    Event(TxControlReceived{PeerId{peer}, Inv{{{hash, 100, Lane::kClassic,
                                                static_cast<uint32_t>(transaction.size())}}}});
  }
  // True if it was demanded.
  bool Bring(uint64_t peer, const Bytes& transaction) {
    Announce(peer, transaction);
    const std::vector<RequestBodies> demand = Commands<RequestBodies>(out_);
    if (demand.empty()) return false;
    Event(BodyReceived{
        PeerId{peer},
        demand[0].request,
        {overlay::HashOf<TxHash>(transaction.span()), BodyOutcome::kBody, transaction}});
    Event(RequestEnded{PeerId{peer}, demand[0].request, true});
    return true;
  }
  // What waits at the edge presses, until it is read.
  void Press() { Core(CoreQueues{kRoom + kMiB}); }

  XdrBuilder build_{1};
  SecretSeed source_ = build_.AnySeed();
  int64_t sequence_ = 0;
  uint64_t number_ = 0;
  uint64_t request_ = 0;
  int sets_ = 0;
  ActionList out_;
  Time now_{1000s};
  OverlayNode node_{MakeLimits(), NodeOptions{.self = NodeKey{{0xee}}}, Random(1)};
};

// R5 of the budget. Everything else is filled to the brim first: the mempool, sets of open slots,
// bodies without a verdict, a set in progress, answers to peers, the core's queues.
TEST_F(NodeMemoryTest, AFullWindowOfEnvelopesFindsRoomWhenAllElseIsFull) {
  for (uint64_t slot = 12; slot < 16; ++slot) Offer(128 * kKiB, LedgerSeq{slot});
  std::vector<Bytes> pending;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Bring(1, pending.emplace_back(Payment())));
  const SetKey wanted{SetKind::kTxSet, build_.AnyHash<SetHash>()};
  Core(FetchSet{.key = wanted, .slot = LedgerSeq{12}, .peers = {}});
  ASSERT_THAT(Commands<RequestSet>(out_), SizeIs(1));
  const RequestSet fetch = Commands<RequestSet>(out_)[0];
  Event(SetHeaderReceived{
      fetch.peer, fetch.request, {.found = true, .total_bytes = kMiB, .encoded_bytes = kMiB}});
  Event(SetDataReceived{fetch.peer, fetch.request, Bytes::Copy(std::string(300 * kKiB, 'x'))});
  Core(CoreQueues{256 * kKiB});
  std::vector<TxHash> served;
  for (int i = 0; i < 5; ++i) served.push_back(Submit(Payment()).hash);
  Event(BodiesRequested{PeerId{2}, RequestId{++request_}, GetData{served}});
  while (Left() > 2 * pending[0].size()) {
    ASSERT_EQ(Submit(Payment()).outcome, SubmitOutcome::kAdded);
  }
  ASSERT_EQ(node_.stats().memory.pressures, 0u);
  for (size_t pool = 1; pool < kMemoryPoolCount; ++pool) {
    EXPECT_GT(node_.stats().memory.bytes[pool], 0u) << pool;
  }

  // The whole window: 100 slots, 20 validators, both phases; 1.2 MiB, more than the reserve.
  Core(CoreRoom{CoreStream::kScp, 100'000});
  std::set<EnvelopeHash> sent, delivered;
  uint64_t bytes = 0;
  for (uint64_t slot = 12; slot <= 11 + kSlotsAheadMax; ++slot) {
    for (uint8_t node = 1; node <= 20; ++node) {
      const PlainEnvelope plain{.slot = slot, .node = node, .signature = "s"};
      for (const Bytes& envelope : {plain.Nominate({std::string(170, 'a')}, {}),
                                    plain.Prepare({1, std::string(170, 'v')})}) {
        sent.insert(overlay::HashOf<EnvelopeHash>(envelope.span()));
        bytes += envelope.size();
        out_.clear();
        node_.OnPeerEvent(now_, EnvelopeReceived{PeerId{1 + slot % 3}, envelope}, out_);
        for (const auto& one : Outputs<DeliverEnvelope>(out_)) delivered.insert(one.hash);
        ASSERT_LE(HeldInAll(), kMax + kOvershoot);
      }
    }
  }
  node_.CheckInvariants();
  EXPECT_EQ(sent.size(), 4000u);
  EXPECT_EQ(delivered, sent);
  EXPECT_GT(bytes, kReserve);
  EXPECT_EQ(Held(MemoryPool::kScp), bytes);
  EXPECT_EQ(node_.stats().scp.refused_limit, 0u);
  Rest();
  EXPECT_LE(HeldInAll(), kMax);
  EXPECT_GE(node_.stats().memory.pressures, 1u);
}

// R3 of the budget: each pool gives all that it has to give before the next is touched.
TEST_F(NodeMemoryTest, BodiesGoFirstThenOldSetsThenTheMempoolThenAnySet) {
  const SetKey closed = Offer(400 * kKiB, LedgerSeq{11});
  const SetKey open = Offer(400 * kKiB, LedgerSeq{12});
  FillMempool(600 * kKiB);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Bring(1, Payment()));
  ASSERT_FALSE(IsPressed());
  bool gave_bodies = false, gave_old = false, gave_cheap = false;
  for (uint64_t queue = 0; HasSet(open); queue += 20'000) {
    ASSERT_LT(queue, 2 * kRoom);
    Core(CoreQueues{queue});
    Rest();
    gave_bodies |= Freed(MemoryPool::kTxBodies) > 0;
    gave_old |= !HasSet(closed);
    gave_cheap |= Freed(MemoryPool::kMempool) > 0;
    EXPECT_TRUE(!gave_old || Held(MemoryPool::kTxBodies) == 0);
    EXPECT_TRUE(!gave_cheap || gave_old);
  }
  EXPECT_TRUE(gave_bodies && gave_old && gave_cheap);
  EXPECT_EQ(Held(MemoryPool::kMempool), 0u);
}

// R4 of the budget, and what each owner says.
TEST_F(NodeMemoryTest, NothingIsAdmittedWhileMemoryIsShortAndAllIsAfterwards) {
  const Bytes known = Payment();
  Submit(known);
  const Bytes brought = Payment();
  Announce(1, brought);
  const std::vector<RequestBodies> demand = Commands<RequestBodies>(out_);
  ASSERT_THAT(demand, SizeIs(1));
  const auto brought_hash = overlay::HashOf<TxHash>(brought.span());
  Press();
  ASSERT_TRUE(IsPressed());
  node_.OnDeadline(now_, out_);
  EXPECT_EQ(node_.NextDeadline().value_or(kTimeNever) > now_, true) << "nothing is left to free";

  const SubmitResult refused = Submit(Payment());
  EXPECT_EQ(refused.outcome, SubmitOutcome::kFull);
  EXPECT_EQ(refused.detail, "memory is short");
  const SetKey offered = Offer(1000, LedgerSeq{12});
  ASSERT_THAT(Outputs<CoreRefused>(out_), SizeIs(1));
  EXPECT_EQ(Outputs<CoreRefused>(out_)[0].key, offered);
  EXPECT_EQ(Outputs<CoreRefused>(out_)[0].field, "offer.total_bytes");
  const SetKey wanted{SetKind::kTxSet, build_.AnyHash<SetHash>()};
  Core(FetchSet{.key = wanted, .slot = LedgerSeq{12}, .peers = {}});
  ASSERT_THAT(Outputs<FetchFailed>(out_), SizeIs(1));
  EXPECT_EQ(Outputs<FetchFailed>(out_)[0].reason, FetchFailure::kNoRoom);
  EXPECT_THAT(Commands<RequestSet>(out_), IsEmpty());
  const Bytes envelope = build_.Envelope(StatementKind::kPrepare, LedgerSeq{12}, 1);
  Event(EnvelopeReceived{PeerId{1}, envelope});
  EXPECT_THAT(Commands<RequestSet>(out_), IsEmpty()) << "no prefetch";
  // What had been demanded comes: let go, and not remembered.
  Event(BodyReceived{PeerId{1}, demand[0].request, {brought_hash, BodyOutcome::kBody, brought}});
  Event(RequestEnded{PeerId{1}, demand[0].request, true});
  EXPECT_EQ(Held(MemoryPool::kTxBodies), 0u);
  EXPECT_EQ(node_.stats().tx.bodies_dropped, 1u);
  // Some is free again, but not enough to begin anything.
  Core(CoreQueues{kRoom - 100 * kKiB});
  ASSERT_TRUE(IsPressed());
  EXPECT_GT(Left(), 50 * kKiB);
  const Bytes news = Payment();
  EXPECT_FALSE(Bring(2, news));
  EXPECT_EQ(node_.stats().tx.submissions_without_memory, 1u);
  EXPECT_EQ(node_.stats().sets.without_memory, 4u) << "offer, fetch, the envelope's two sets";

  Core(CoreQueues{0});
  EXPECT_FALSE(IsPressed());
  const std::vector<RequestBodies> demanded = Commands<RequestBodies>(out_);
  ASSERT_THAT(demanded, SizeIs(1)) << "what was announced meanwhile";
  EXPECT_THAT(demanded[0].data.hashes, testing::ElementsAre(overlay::HashOf<TxHash>(news.span())));
  EXPECT_TRUE(Bring(2, brought)) << "announced again, it is demanded again";
  EXPECT_EQ(Submit(Payment()).outcome, SubmitOutcome::kAdded);
  Offer(1000, LedgerSeq{12});
  EXPECT_THAT(Outputs<Offered>(out_), SizeIs(1));
  Core(FetchSet{.key = wanted, .slot = LedgerSeq{12}, .peers = {}});
  EXPECT_THAT(Commands<RequestSet>(out_), SizeIs(1));
  Event(EnvelopeReceived{PeerId{2}, envelope});
  EXPECT_THAT(Commands<RequestSet>(out_), testing::Not(IsEmpty())) << "named again, fetched";
}

TEST_F(NodeMemoryTest, AnswersUnderWayAreCancelledAndDemandsAnsweredNotFound) {
  std::vector<TxHash> hashes;
  for (int i = 0; i < 8; ++i) hashes.push_back(Submit(Payment()).hash);
  Event(BodiesRequested{PeerId{1}, RequestId{1}, GetData{{hashes[0]}}});
  Event(BodiesRequested{PeerId{2}, RequestId{2}, GetData{hashes}});
  Event(BodiesRequested{PeerId{2}, RequestId{3}, GetData{{hashes[0]}}});
  const uint64_t answered = Held(MemoryPool::kTxBodies);
  // As much over as peer 2's first answer weighs: the heaviest peer's, its first.
  Core(CoreQueues{kRoom - kRoom / 16 - Held(MemoryPool::kMempool) - answered});
  ASSERT_FALSE(IsPressed());
  Core(CoreQueues{kRoom - Held(MemoryPool::kMempool)});
  const std::vector<CancelRequest> cancelled = Commands<CancelRequest>(out_);
  ASSERT_THAT(cancelled, testing::Not(IsEmpty()));
  EXPECT_EQ(cancelled[0].peer, PeerId{2});
  EXPECT_EQ(cancelled[0].request, RequestId{2});
  Press();
  Rest();
  EXPECT_EQ(Held(MemoryPool::kTxBodies), 0u);
  EXPECT_EQ(node_.stats().tx.answers_cancelled, 3u);
  // The end of one that was cancelled changes nothing.
  Event(AnswerDone{PeerId{2}, RequestId{2}});
  Event(BodiesRequested{PeerId{1}, RequestId{4}, GetData{{hashes[7]}}});
  const std::vector<AnswerBodies> answers = Commands<AnswerBodies>(out_);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].answers[0].outcome, BodyOutcome::kNotFound);
}

// R4 of the node: a lump is freed in turns, one at once after the other.
TEST_F(NodeMemoryTest, ALumpIsFreedInTurns) {
  for (int i = 0; i < 20; ++i) Offer(16 * kKiB, LedgerSeq{11});
  Press();
  EXPECT_EQ(Held(MemoryPool::kSets), (20 - kMemoryStepsPerTurn) * 16 * kKiB);
  EXPECT_EQ(node_.NextDeadline(), Time{});
  Rest();
  EXPECT_EQ(Held(MemoryPool::kSets), 0u);
  EXPECT_GT(node_.NextDeadline().value_or(kTimeNever), now_);
}

// Who looks at a set beside the peers shares the cache's bytes, and the frame that he makes of it
// is the cache's: peers are served it, and it counts as memory.
TEST_F(NodeMemoryTest, AReadersFrameIsKeptAndCounts) {
  const SetKey key = Offer(100 * kKiB, LedgerSeq{11});
  EXPECT_FALSE(node_.LookAtSet(SetKey{SetKind::kTxSet, SetHash{}}));
  const std::optional<ServableSet> before = node_.LookAtSet(key);
  ASSERT_TRUE(before);
  EXPECT_EQ(before->bytes.size(), 100 * kKiB);
  EXPECT_TRUE(before->frame.empty());
  EXPECT_TRUE(before->may_compress);
  const Bytes frame = Bytes::Copy(std::string(kKiB, 'f'));
  out_.clear();
  node_.KeepSetFrame(now_, key, frame, out_);
  node_.CheckInvariants();
  EXPECT_EQ(Held(MemoryPool::kSets), 101 * kKiB);
  const std::optional<ServableSet> after = node_.LookAtSet(key);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->frame.data(), frame.data());
  EXPECT_FALSE(after->may_compress);
  Event(SetRequested{PeerId{3}, RequestId{1}, SetRequest{key, true, 0}});
  const std::vector<AnswerSet> answers = Commands<AnswerSet>(out_);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].encoded.data(), frame.data());
}

// Demands leave half of what is left, or they would push out what is there.
TEST_F(NodeMemoryTest, DemandsNeverCausePressure) {
  Core(CoreQueues{kRoom - 100 * kKiB});
  Inv inv;
  for (int i = 0; i < 100; ++i) {
    inv.entries.push_back({build_.AnyHash<TxHash>(), 100, Lane::kClassic, 10 * kKiB});
  }
  Event(TxControlReceived{PeerId{1}, inv});
  size_t demanded = 0;
  for (const RequestBodies& demand : Commands<RequestBodies>(out_)) {
    demanded += demand.data.hashes.size();
  }
  EXPECT_EQ(demanded, 5u);
  Core(CoreQueues{kRoom - 100 * kKiB});
  for (int i = 0; i < 10; ++i) Core(CoreRoom{CoreStream::kScp, 1});
  EXPECT_EQ(node_.stats().memory.pressures, 0u);
}

}  // namespace
}  // namespace overlay::flood
