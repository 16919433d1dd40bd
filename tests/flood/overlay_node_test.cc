// What the whole node adds to its components: who gets which event.
#include "flood/overlay_node.h"

#include <algorithm>
#include <string>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/peers/peer_score.h"
#include "flood/tx_advertiser.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"
#include "tests/support/xdr_builder.h"

namespace overlay::flood {
namespace {

class OverlayNodeTest : public testing::Test {
 protected:
  void Connect(uint64_t peer) {
    PeerInfo info;
    info.key.bytes.fill(static_cast<uint8_t>(peer));
    info.instance_nonce = peer;
    Event(PeerConnected{PeerId{peer}, info});
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
  void Close(uint64_t slot, bool tracking) {
    Core(LedgerClosed{.seq = LedgerSeq{slot}, .hash = {}, .tracking = tracking, .keep_slots = {}});
  }
  void Announce(uint64_t peer, const Bytes& transaction) {
    const auto hash = HashOf<TxHash>(transaction.span());
    Event(TxControlReceived{PeerId{peer}, Inv{{{hash, 100, Lane::kClassic,
                                                static_cast<uint32_t>(transaction.size())}}}});
  }

  void Offer(const Bytes& content) {
    const SetKey key{SetKind::kTxSet, HashOf<SetHash>(content.span())};
    Core(OfferChunk{key, LedgerSeq{5}, content.size(), 0, content});
  }

  XdrBuilder build_{1};
  ActionList out_;
  Time now_{std::chrono::seconds(100)};
  OverlayNode node_{Limits{}, NodeOptions{.self = NodeKey{{0xee}}}, Random(1)};
};

// RequestEnded does not say what was asked for: the number alone leads it to its asker.
TEST_F(OverlayNodeTest, TheEndOfARequestReachesWhoMadeIt) {
  Connect(1);
  Connect(2);
  Core(
      CoreAttached{.judges_transactions = true, .deliver_transactions = true, .newest_closed = {}});
  const Bytes transaction = build_.Transaction();
  Announce(1, transaction);
  const std::vector<RequestBodies> first = Commands<RequestBodies>(out_);
  ASSERT_EQ(first.size(), 1u);
  Announce(2, transaction);
  EXPECT_TRUE(Commands<RequestBodies>(out_).empty()) << "one outstanding demand per hash";

  const SetKey set{SetKind::kTxSet, build_.AnyHash<SetHash>()};
  Event(ControlReceived{PeerId{1}, HaveSets{{{set, LedgerSeq{5}}}}});
  Core(FetchSet{.key = set, .slot = LedgerSeq{5}, .peers = {}});
  const std::vector<RequestSet> fetch = Commands<RequestSet>(out_);
  ASSERT_EQ(fetch.size(), 1u);
  EXPECT_NE(fetch[0].request, first[0].request);

  Event(RequestEnded{PeerId{1}, first[0].request, false});
  const std::vector<RequestBodies> second = Commands<RequestBodies>(out_);
  ASSERT_EQ(second.size(), 1u) << "the next announcer is asked at once";
  EXPECT_EQ(second[0].peer, PeerId{2});
  EXPECT_TRUE(Commands<RequestSet>(out_).empty());
}

// Peers come, send and go while no core is there: the edge hears of them, a core hears nothing, not
// even what it said itself before; and one that attaches is told by the edge, not by the node.
TEST_F(OverlayNodeTest, NothingGoesToACoreThatIsNotThere) {
  const auto to_core = [this] {
    return std::count_if(out_.begin(), out_.end(), [](const Action& action) {
      return std::holds_alternative<CoreOutput>(action);
    });
  };
  const auto visit = [&](uint64_t peer) {
    Connect(peer);
    EXPECT_EQ(AllNews<PeerUp>(out_).size(), 1u);
    EXPECT_EQ(to_core(), 0);
    Event(EnvelopeReceived{PeerId{peer},
                           build_.Envelope(StatementKind::kPrepare, LedgerSeq{5}, peer, 1,
                                           build_.AnyHash<SetHash>(), build_.AnyHash<SetHash>())});
    EXPECT_EQ(to_core(), 0);
    Event(PeerDisconnected{PeerId{peer}, CloseReason::kGoaway, true, "", {}});
    EXPECT_EQ(AllNews<PeerDown>(out_).size(), 1u);
    EXPECT_EQ(to_core(), 0);
  };
  visit(1);
  Connect(2);
  Core(
      CoreAttached{.judges_transactions = true, .deliver_transactions = true, .newest_closed = {}});
  EXPECT_TRUE(AllNews<PeerUp>(out_).empty());
  Core(CoreRoom{CoreStream::kScp, 100});
  Event(EnvelopeReceived{PeerId{2},
                         build_.Envelope(StatementKind::kPrepare, LedgerSeq{5}, 9, 1,
                                         build_.AnyHash<SetHash>(), build_.AnyHash<SetHash>())});
  EXPECT_EQ(Outputs<DeliverEnvelope>(out_).size(), 1u);
  Core(CoreDetached{});
  EXPECT_EQ(to_core(), 0);
  visit(3);
}

// Peers ask those with a core first, and do not count one without among their targets.
TEST_F(OverlayNodeTest, EveryPeerHearsThatACoreComesAndGoes) {
  const auto told = [this] {
    std::vector<std::pair<PeerId, bool>> list;
    for (const SendControl& control : Commands<SendControl>(out_)) {
      if (const auto* status = std::get_if<CoreStatus>(&control.message)) {
        list.emplace_back(control.peer, status->present);
      }
    }
    return list;
  };
  using Told = std::vector<std::pair<PeerId, bool>>;
  Connect(1);
  EXPECT_EQ(told(), (Told{{PeerId{1}, false}}));
  Connect(2);
  Core(CoreAttached{.judges_transactions = true, .newest_closed = {}});
  EXPECT_EQ(told(), (Told{{PeerId{1}, true}, {PeerId{2}, true}}));
  Connect(3);
  EXPECT_EQ(told(), (Told{{PeerId{3}, true}}));
  Core(CoreDetached{});
  EXPECT_EQ(told(), (Told{{PeerId{1}, false}, {PeerId{2}, false}, {PeerId{3}, false}}));
}

// A checkpoint, say: named by each close, it is served long after its neighbours have gone.
TEST_F(OverlayNodeTest, TheSetOfAKeepSlotStaysServable) {
  Connect(1);
  Core(CoreAttached{.judges_transactions = true, .newest_closed = {}});
  const Bytes content = Bytes::Copy("a set");
  const SetKey key{SetKind::kTxSet, HashOf<SetHash>(content.span())};
  Offer(content);  // of slot 5
  uint64_t requests = 0;
  const auto answer = [&] {
    Event(SetRequested{PeerId{1}, RequestId{++requests}, SetRequest{key, false, 0}});
    const std::vector<AnswerSet> answers = Commands<AnswerSet>(out_);
    EXPECT_EQ(answers.size(), 1u);
    Event(AnswerDone{PeerId{1}, RequestId{requests}});
    return answers.empty() ? Bytes() : answers[0].encoded;
  };
  const auto close = [&](uint64_t slot, std::vector<LedgerSeq> keep_slots) {
    now_ += std::chrono::seconds(5);
    Core(LedgerClosed{LedgerSeq{slot}, {}, /*tracking=*/true, std::move(keep_slots)});
  };
  for (uint64_t slot = 5; slot <= 105; ++slot) close(slot, {LedgerSeq{5}});
  EXPECT_EQ(answer(), content);
  // The core replays, and names another one: the first is kept beside it.
  close(90, {LedgerSeq{64}});
  EXPECT_EQ(answer(), content);
  close(106, {LedgerSeq{64}});
  EXPECT_EQ(answer().size(), 0u) << "named no more";
}

TEST_F(OverlayNodeTest, ListsWhoIsConnectedWithScoreAndCore) {
  Connect(1);
  Connect(2);
  Event(ControlReceived{PeerId{2}, CoreStatus{true}});
  Event(PeerOffence{PeerId{1}, Offence::kUnsolicited});
  const std::vector<PeerView> views = node_.ListPeers(now_);
  ASSERT_EQ(views.size(), 2u);
  EXPECT_EQ(views[0].state, PeerView::State::kConnected);
  EXPECT_EQ(views[0].peer, PeerId{1});
  EXPECT_DOUBLE_EQ(views[0].score, OffenceWeight(Offence::kUnsolicited));
  EXPECT_FALSE(views[0].core_present);
  EXPECT_EQ(views[1].score, 0);
  EXPECT_TRUE(views[1].core_present);
  Event(ControlReceived{PeerId{2}, CoreStatus{false}});
  EXPECT_FALSE(node_.ListPeers(now_)[1].core_present);
}

// What a peer was first with, and what it served, is counted for it and for nobody else.
TEST_F(OverlayNodeTest, RemembersWhatAPeerWasGoodFor) {
  Connect(1);
  Connect(2);
  Core(
      CoreAttached{.judges_transactions = true, .deliver_transactions = true, .newest_closed = {}});
  const Bytes envelope = build_.Envelope(StatementKind::kPrepare, LedgerSeq{5}, 9, 1, SetHash{},
                                         build_.AnyHash<SetHash>());
  Event(EnvelopeReceived{PeerId{1}, envelope});
  Event(EnvelopeReceived{PeerId{2}, envelope});
  const Bytes transaction = build_.Transaction();
  Announce(2, transaction);
  const RequestId body = Commands<RequestBodies>(out_).at(0).request;
  const auto tx_hash = HashOf<TxHash>(transaction.span());
  Event(BodyReceived{PeerId{2}, body, {tx_hash, BodyOutcome::kBody, transaction}});
  Event(RequestEnded{PeerId{2}, body, true});

  const Bytes content = Bytes::Copy("a set");
  const auto fetch = [&](const SetKey& set) {
    Event(ControlReceived{PeerId{1}, HaveSets{{{set, LedgerSeq{5}}}}});
    Core(FetchSet{.key = set, .slot = LedgerSeq{5}, .peers = {}});
    return Commands<RequestSet>(out_).at(0).request;
  };
  const RequestId served = fetch({SetKind::kTxSet, HashOf<SetHash>(content.span())});
  Event(SetHeaderReceived{
      PeerId{1}, served, {true, SetEncoding::kIdentity, content.size(), content.size()}});
  Event(SetDataReceived{PeerId{1}, served, content});
  Event(RequestEnded{PeerId{1}, served, true});
  const RequestId broken = fetch({SetKind::kTxSet, build_.AnyHash<SetHash>()});
  Event(RequestEnded{PeerId{1}, broken, false});
  Event(PeerPath{PeerId{1}, std::chrono::milliseconds(20)});

  const std::vector<PeerView> views = node_.ListPeers(now_);
  ASSERT_EQ(views.size(), 2u);
  const KnownPeer& first = views[0].known.value();
  const KnownPeer& second = views[1].known.value();
  EXPECT_DOUBLE_EQ(first.first_envelopes.At(now_), 1);
  EXPECT_DOUBLE_EQ(second.first_envelopes.At(now_), 0);
  EXPECT_DOUBLE_EQ(first.first_transactions.At(now_), 0);
  EXPECT_DOUBLE_EQ(second.first_transactions.At(now_), 1);
  EXPECT_DOUBLE_EQ(first.fetches_ok.At(now_), 1);
  EXPECT_DOUBLE_EQ(first.fetches_failed.At(now_), 1);
  EXPECT_DOUBLE_EQ(second.fetches_ok.At(now_) + second.fetches_failed.At(now_), 0);
  EXPECT_NEAR(first.rtt.At(now_).value(), 0.02, 1e-9);
  Event(PeerDisconnected{PeerId{1}, CloseReason::kGoaway, true, ""});
  const std::vector<PeerView> after = node_.ListPeers(now_);
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(after[1].state, PeerView::State::kLost);
  EXPECT_EQ(after[1].last_reason, CloseReason::kGoaway);
}

TEST_F(OverlayNodeTest, AMovedPeerIsListedWhereItIs) {
  Connect(1);
  const SocketAddress place = SocketAddress::V4(0x0a000063, 40'000);
  Event(PeerMoved{PeerId{1}, place});
  Event(PeerMoved{PeerId{7}, place});  // nobody
  const std::vector<PeerView> views = node_.ListPeers(now_);
  ASSERT_EQ(views.size(), 1u);
  EXPECT_EQ(views[0].address, place);
}

// Transport lets through as many more as the directory needs to decide; and all that are
// configured.
TEST_F(OverlayNodeTest, TheInboundLimitOfTransportFollows) {
  Core(ConfigureTargets{{.inbound_max = 500, .newcomers = 8, .closed = false}});
  ASSERT_EQ(Commands<InboundLimit>(out_).size(), 1u);
  EXPECT_EQ(Commands<InboundLimit>(out_)[0].count, 564u);
  Core(ConfigureTargets{{.inbound_max = 500, .newcomers = 8, .closed = false}});
  EXPECT_TRUE(Commands<InboundLimit>(out_).empty());
  Core(ConfigurePeers{.source = PeerEntrySource::kFile,
                      .entries = {{"192.0.2.1:5", "192.0.2.1", uint16_t{5}, {}, false}}});
  ASSERT_EQ(Commands<InboundLimit>(out_).size(), 1u);
  EXPECT_EQ(Commands<InboundLimit>(out_)[0].count, 565u);
}

// Closed by the core until its next list; an entry without a key is refused by name, and then the
// list is as it was.
TEST_F(OverlayNodeTest, AClosedListIsOfKeysAndSendsAwayTheOthers) {
  NodeKey pinned;
  pinned.bytes.fill(1);
  const PeerEntry with_key{"G1@192.0.2.1:5", "192.0.2.1", uint16_t{5}, pinned, false};
  const PeerEntry without{"192.0.2.2:5", "192.0.2.2", uint16_t{5}, {}, false};
  Connect(1);
  Connect(2);
  const auto set_peers = [&](std::vector<PeerEntry> entries, std::optional<bool> closed) {
    Core(ConfigurePeers{
        .source = PeerEntrySource::kCore, .entries = std::move(entries), .closed = closed});
    return Outputs<PeersConfigured>(out_).at(0).refusals;
  };
  const std::vector<std::string> refusals = set_peers({with_key, without}, true);
  ASSERT_EQ(refusals.size(), 2u);
  EXPECT_EQ(refusals[0], "");
  EXPECT_NE(refusals[1].find("192.0.2.2:5"), std::string::npos) << refusals[1];
  EXPECT_TRUE(Commands<DropPeer>(out_).empty());
  EXPECT_EQ(set_peers({with_key}, true), std::vector<std::string>{""});
  ASSERT_EQ(Commands<DropPeer>(out_).size(), 1u);
  EXPECT_EQ(Commands<DropPeer>(out_)[0].peer, PeerId{2});
  Event(PeerDisconnected{PeerId{2}, CloseReason::kNotAdmitted, false, ""});
  Connect(3);
  EXPECT_EQ(Commands<DropPeer>(out_).size(), 1u);
  Event(PeerDisconnected{PeerId{3}, CloseReason::kNotAdmitted, false, ""});
  EXPECT_EQ(set_peers({without}, std::nullopt), std::vector<std::string>{""});  // open again
  Connect(4);
  EXPECT_TRUE(Commands<DropPeer>(out_).empty());
  Core(ConfigureTargets{{.inbound_max = 64, .newcomers = 8, .closed = true}});
  EXPECT_EQ(Commands<DropPeer>(out_).size(), 2u);  // nothing pins the first any more
}

// What an earlier process knew is listed as lost, and none the wiser for it.
TEST_F(OverlayNodeTest, RestoresWhatAnEarlierProcessKnew) {
  const WallTime wall{1'790'000'000'000'000};
  Connect(1);
  const uint64_t changes = node_.known_peers_changes();
  Event(PeerDisconnected{PeerId{1}, CloseReason::kStalled, false, ""});
  EXPECT_GT(node_.known_peers_changes(), changes);
  OverlayNode next{Limits{}, NodeOptions{.self = NodeKey{{0xee}}}, Random(1)};
  next.RestorePeers(now_, wall, ToPeerFile(node_.known_peers(), node_.bans(), now_, wall));
  next.CheckInvariants();
  EXPECT_EQ(next.stats().peers.known, 1u);
  const std::vector<PeerView> views = next.ListPeers(now_);
  ASSERT_EQ(views.size(), 1u);
  EXPECT_EQ(views[0].state, PeerView::State::kLost);
  EXPECT_EQ(views[0].known.value().connected_total, 1u);
  EXPECT_EQ(views[0].last_reason, CloseReason::kStalled);
}

TEST_F(OverlayNodeTest, AnOffenceHasItsEffectWithTheInputThatBroughtIt) {
  Connect(1);
  const int needed =
      static_cast<int>(kScoreLimit / OffenceWeight(Offence::kMalformedPayload) + 0.5);
  for (int i = 1; i <= needed; ++i) {
    Event(EnvelopeReceived{PeerId{1}, Bytes::Copy("no envelope")});
    EXPECT_EQ(Commands<DropPeer>(out_).size(), i == needed ? 1u : 0u) << i;
    EXPECT_TRUE(Offences(out_).empty()) << "scored here, not by the owner";
  }
}

// What is said to a peer, in order.
std::vector<std::string> SaidTo(const ActionList& actions) {
  std::vector<std::string> said;
  for (const Action& action : actions) {
    const auto* command = std::get_if<PeerCommand>(&action);
    if (command == nullptr) continue;
    if (const auto* control = std::get_if<SendControl>(command)) {
      if (std::holds_alternative<GetScpState>(control->message)) said.push_back("GetScpState");
      if (std::holds_alternative<HaveSets>(control->message)) said.push_back("HaveSets");
      if (std::holds_alternative<CoreStatus>(control->message)) said.push_back("CoreStatus");
    } else if (const auto* tx = std::get_if<SendTxControl>(command)) {
      if (std::holds_alternative<Inv>(tx->message)) said.push_back("Inv");
    }
  }
  return said;
}

TEST_F(OverlayNodeTest, ANewPeerHearsOfScpThenOfSetsThenOfTheCoreThenOfTransactions) {
  Core(
      CoreAttached{.judges_transactions = true, .deliver_transactions = true, .newest_closed = {}});
  Offer(Bytes::Copy("a set"));
  Core(SubmitTransactions{{{1, build_.Transaction(), {}}}});
  Connect(1);
  EXPECT_EQ(SaidTo(out_),
            (std::vector<std::string>{"GetScpState", "HaveSets", "CoreStatus", "Inv"}));
}

TEST_F(OverlayNodeTest, APeerThatTakesNoAnnouncementsIsToldWhenItDoes) {
  Connect(1);
  Connect(2);
  Core(
      CoreAttached{.judges_transactions = true, .deliver_transactions = true, .newest_closed = {}});
  Event(InvBlocked{PeerId{1}, true});
  Event(InvBlocked{PeerId{9}, true});  // has gone
  Core(SubmitTransactions{{{1, build_.Transaction(), {}}}});
  const auto told = [this] {
    std::vector<uint64_t> peers;
    for (const SendTxControl& send : Commands<SendTxControl>(out_))
      peers.push_back(send.peer.value);
    return peers;
  };
  EXPECT_EQ(told(), std::vector<uint64_t>{2});
  EXPECT_EQ(node_.stats().tx.announcements_held, 1u);
  now_ += kSweepTick;
  Event(InvBlocked{PeerId{1}, false});
  EXPECT_EQ(told(), std::vector<uint64_t>{1});
}

TEST_F(OverlayNodeTest, ACachedSetIsAnnouncedToThoseNotKnownToHaveItAndServed) {
  Connect(1);
  Connect(2);
  Core(CoreAttached{.judges_transactions = true, .newest_closed = {}});
  const Bytes content = Bytes::Copy("a set");
  const SetKey key{SetKind::kTxSet, HashOf<SetHash>(content.span())};
  Event(ControlReceived{PeerId{1}, HaveSets{{{key, LedgerSeq{5}}}}});
  Offer(content);
  const std::vector<SendControl> told = Commands<SendControl>(out_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].peer, PeerId{2});
  EXPECT_TRUE(std::holds_alternative<HaveSets>(told[0].message));
  Event(SetRequested{PeerId{2}, RequestId{1}, SetRequest{key, false, 0}});
  ASSERT_EQ(Commands<AnswerSet>(out_).size(), 1u);
  EXPECT_EQ(Commands<AnswerSet>(out_)[0].encoded, content);
}

TEST_F(OverlayNodeTest, TheGaugesOfTheWindowFollowIt) {
  Core(CoreAttached{
      .judges_transactions = true, .deliver_transactions = true, .newest_closed = LedgerSeq{50}});
  EXPECT_EQ(node_.stats().slots.newest_closed, LedgerSeq{50});
  EXPECT_EQ(node_.stats().slots.oldest_kept, LedgerSeq{50} - (Limits{}.slots_kept_min - 1));
  Close(51, /*tracking=*/true);
  EXPECT_EQ(node_.stats().slots.newest_closed, LedgerSeq{51});
  // Within the minute the lower bound stays where it is; the gauge moves all the same.
  for (uint64_t slot = 52; slot <= 70; ++slot) Close(slot, /*tracking=*/true);
  EXPECT_EQ(node_.stats().slots.newest_closed, LedgerSeq{70});
  EXPECT_EQ(node_.stats().slots.oldest_kept, LedgerSeq{50});
}

TEST_F(OverlayNodeTest, TheReturningUpperBoundTakesWhatLiesAboveIt) {
  Connect(1);
  Core(CoreAttached{
      .judges_transactions = true, .deliver_transactions = true, .newest_closed = LedgerSeq{50}});
  for (uint64_t slot = 51; slot <= 70; ++slot) Close(slot, /*tracking=*/false);
  Event(EnvelopeReceived{PeerId{1}, build_.Envelope(StatementKind::kPrepare, LedgerSeq{1000}, 1)});
  EXPECT_EQ(node_.stats().scp.seen_hashes, 1);
  Close(71, /*tracking=*/true);
  EXPECT_EQ(node_.stats().scp.seen_hashes, 0);
}

}  // namespace
}  // namespace overlay::flood
