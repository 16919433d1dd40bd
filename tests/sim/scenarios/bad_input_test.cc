// What a bad peer sends to a whole node: each row of docs/protocol.md, section 12. Its counter
// rises by what is expected, it loses what the table says, and the honest peer beside it is served
// as before.
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/base/frame.h"
#include "flood/peers/peer_score.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/network.h"
#include "tests/sim/raw_host.h"

namespace overlay::sim {
namespace {

using namespace std::chrono_literals;

constexpr LedgerSeq kClosed{999};

// Node 0 is under attack by a raw peer, node 1 is honest; both have cores.
class Story {
 public:
  Story() : net({.seed = 1, .node_count = 2, .link = {.delay = 5ms}}), bad(net) {
    joined = net.RunUntil([this] { return net.AllConnected(); }, 5s);
    for (size_t node : {0, 1}) net.core(node).Close(kClosed);
    joined = joined && bad.Join(0);
    net.Run(100ms);
  }

  const flood::NodeStats& stats() const { return net.stats(0); }
  uint64_t Offences(Offence offence) const {
    return stats().peers.offences[static_cast<size_t>(offence)];
  }
  uint64_t AllOffences() const {
    uint64_t sum = 0;
    for (const uint64_t count : stats().peers.offences) sum += count;
    return sum;
  }
  void Go(Duration time = 100ms) {
    bad.Flush();
    net.Run(time);
  }
  static InvEntry EntryOf(const Bytes& tx, size_t size) {
    return {HashOf<TxHash>(tx.span()), 1000, Lane::kClassic, static_cast<uint32_t>(size)};
  }
  // Announces it with `size`, is asked for it, and answers `body`.
  void Give(const Bytes& announced, std::string_view body, size_t size) {
    bad.Announce({EntryOf(announced, size)});
    Go();
    const auto demands = bad.TakeDemands();
    ASSERT_EQ(demands.size(), 1u) << "not asked";
    bad.AnswerBody(demands[0].stream, body);
    Go();
  }
  void Give(const Bytes& tx) { Give(tx, tx.view(), tx.size()); }
  // Is asked for a set that its envelope names, and answers so.
  void GiveSet(const Bytes& set, const SetHeader& header, std::string_view bytes) {
    const auto hash = HashOf<SetHash>(set.span());
    bad.SendControl(HaveSets{{{{SetKind::kTxSet, hash}, LedgerSeq{1001}}}});
    Go();
    net.core(0).Fetch({SetKind::kTxSet, hash}, LedgerSeq{1001});
    Go(30ms);
    for (const RawHost::Fetch& fetch : bad.TakeFetches()) {
      if (fetch.request.key.hash == hash) bad.AnswerSet(fetch.stream, header, bytes);
    }
    Go();
  }
  static SetHeader Found(uint64_t bytes) {
    return {.found = true, .total_bytes = bytes, .encoded_bytes = bytes};
  }

  Network net;
  RawHost bad;
  bool joined = false;
};

std::string Blob(size_t bytes, char fill) { return std::string(bytes, fill); }

struct Row {
  std::string name;
  std::function<void(Story&)> act;
  std::function<uint64_t(const Story&)> counter;
  uint64_t expected = 1;
  std::optional<Offence> offence = std::nullopt;  // by which the peer loses score, once
  std::optional<CloseReason> close = std::nullopt;
};

std::function<uint64_t(const Story&)> OffencesOf(Offence offence) {
  return [offence](const Story& s) { return s.Offences(offence); };
}
std::function<uint64_t(const Story&)> ClosesOf(CloseReason reason) {
  return [reason](const Story& s) {
    const auto& closes = const_cast<Story&>(s).net.transport(0).stats().closes;
    const auto found = closes.find(reason);
    return found == closes.end() ? 0 : found->second;
  };
}

// A payment whose number of operations says `count`.
std::string WithOperationCount(const Bytes& payment, uint32_t count) {
  // Envelope type, source (type, key), fee, sequence, no conditions, no memo: the count follows.
  constexpr size_t kAt = 4 + 4 + 32 + 4 + 8 + 4 + 4;
  std::string text(payment.view());
  for (size_t i = 0; i < 4; ++i) text[kAt + i] = static_cast<char>(count >> (24 - 8 * i));
  return text;
}

std::vector<Row> Rows() {
  std::vector<Row> rows;
  rows.push_back({.name = "MalformedFrame",
                  .act = [](Story& s) { s.bad.SendFrame(std::string("\x02\0\0\0\x03xyz", 8)); },
                  .counter = ClosesOf(CloseReason::kMalformed),
                  .close = CloseReason::kMalformed});
  rows.push_back({.name = "OversizedFrame",
                  .act = [](Story& s) { s.bad.SendFrame(std::string("\x02\0\x01\0\x01", 5)); },
                  .counter = ClosesOf(CloseReason::kTooLarge),
                  .close = CloseReason::kTooLarge});
  rows.push_back({.name = "MalformedEnvelope",
                  .act = [](Story& s) { s.bad.SendEnvelope(Bytes::Copy("no envelope")); },
                  .counter = [](const Story& s) { return s.stats().scp.refused_malformed; },
                  .offence = Offence::kMalformedPayload});
  rows.push_back({.name = "EnvelopeWithTrailingBytes",
                  .act =
                      [](Story& s) {
                        const Bytes envelope =
                            s.net.build().Envelope(StatementKind::kPrepare, LedgerSeq{1001}, 5);
                        s.bad.SendEnvelope(Bytes::Take(std::string(envelope.view()) + "more"));
                      },
                  .counter = [](const Story& s) { return s.stats().scp.refused_malformed; },
                  .offence = Offence::kMalformedPayload});
  rows.push_back({.name = "OversizedEnvelope",
                  .act = [](Story& s) { s.bad.SendEnvelope(Bytes::Take(Blob(70'000, 'e'))); },
                  .counter = OffencesOf(Offence::kOversizeEnvelope),
                  .offence = Offence::kOversizeEnvelope});
  rows.push_back({.name = "EnvelopeOutsideTheWindow",
                  .act =
                      [](Story& s) {
                        s.bad.SendEnvelope(s.net.build().Envelope(
                            StatementKind::kPrepare, kClosed + (kSlotsAheadMax + 1), 5));
                      },
                  .counter = [](const Story& s) { return s.stats().scp.refused_window; }});
  rows.push_back({.name = "TransactionThatBreaksInItsOperations",
                  .act =
                      [](Story& s) {
                        const Bytes payment =
                            s.net.build().PaymentOf(s.net.build().AnySeed(), 1, 100, 1);
                        s.Give(Bytes::Take(std::string(payment.view().substr(0, 60))));
                      },
                  .counter = OffencesOf(Offence::kMalformedPayload),
                  .offence = Offence::kMalformedPayload});
  rows.push_back({.name = "MoreOperationsThanAllowed",
                  .act =
                      [](Story& s) {
                        const Bytes payment =
                            s.net.build().PaymentOf(s.net.build().AnySeed(), 1, 100, 1);
                        s.Give(Bytes::Take(WithOperationCount(payment, 101)));
                      },
                  .counter = OffencesOf(Offence::kMalformedPayload),
                  .offence = Offence::kMalformedPayload});
  rows.push_back({.name = "NegativeFee",
                  .act =
                      [](Story& s) {
                        XdrBuilder& build = s.net.build();
                        s.Give(build.FeeBumpOf(build.PaymentOf(build.AnySeed(), 1, 100), -1));
                      },
                  .counter = OffencesOf(Offence::kMalformedPayload),
                  .offence = Offence::kMalformedPayload});
  rows.push_back({.name = "OversizedTransactionAnnounced",
                  .act =
                      [](Story& s) {
                        s.bad.Announce({Story::EntryOf(Bytes::Copy("x"), 256 * kKiB + 1)});
                        s.Go();
                        EXPECT_TRUE(s.bad.TakeDemands().empty());
                      },
                  .counter = [](const Story& s) { return s.stats().tx.announcements_ill_sized; }});
  rows.push_back({.name = "BodyLongerThanAnnounced",
                  .act =
                      [](Story& s) {
                        const Bytes tx = s.net.build().Transaction();
                        s.Give(tx, tx.view(), tx.size() - 1);
                      },
                  .counter = OffencesOf(Offence::kUnsolicited),
                  .offence = Offence::kUnsolicited});
  rows.push_back({.name = "BodyWithAnotherHash",
                  .act =
                      [](Story& s) {
                        const Bytes tx = s.net.build().Transaction();
                        s.Give(tx, Blob(tx.size(), 'x'), tx.size());
                      },
                  .counter = OffencesOf(Offence::kWrongHash),
                  .offence = Offence::kWrongHash});
  rows.push_back({.name = "MoreBodiesThanAskedFor",
                  .act =
                      [](Story& s) {
                        const Bytes tx = s.net.build().Transaction();
                        s.bad.Announce({Story::EntryOf(tx, tx.size())});
                        s.Go();
                        const auto demands = s.bad.TakeDemands();
                        ASSERT_EQ(demands.size(), 1u);
                        s.net.core(1).Submit(tx);  // so that it is a genuine one
                        s.bad.AnswerBody(demands[0].stream, tx.view(), /*fin=*/false);
                        s.bad.AnswerBody(demands[0].stream, "another");
                      },
                  .counter = OffencesOf(Offence::kUnsolicited),
                  .offence = Offence::kUnsolicited});
  // An honest peer was asked meanwhile, and gave it: one body is taken, and nobody is to blame.
  rows.push_back({.name = "AnswerAfterTheTimeOut",
                  .act =
                      [](Story& s) {
                        const Bytes tx = s.net.build().Transaction();
                        s.bad.Announce({Story::EntryOf(tx, tx.size())});
                        s.Go();
                        const auto demands = s.bad.TakeDemands();
                        ASSERT_EQ(demands.size(), 1u);
                        s.net.core(1).Submit(tx);
                        s.Go(1200ms);
                        ASSERT_TRUE(s.net.checkers().HasTransaction(0, HashOf<TxHash>(tx.span())));
                        s.bad.AnswerBody(demands[0].stream, tx.view());
                        s.Go();
                        EXPECT_EQ(s.stats().tx.received_new, 1u);
                      },
                  .counter = [](const Story& s) { return s.stats().tx.demand_timeouts; }});
  rows.push_back({.name = "AVerdictForAnUnknownHash",
                  .act =
                      [](Story& s) {
                        s.net.core(0).Judge(s.net.build().AnyHash<TxHash>(),
                                            flood::TxJudgement::kMalformed);
                      },
                  .counter = [](const Story& s) { return s.stats().tx.verdict_malformed; }});
  rows.push_back(
      {.name = "MoreAnnouncementsThanAreRemembered",
       .act =
           [](Story& s) {
             std::vector<InvEntry> entries;
             entries.reserve(5001);
             for (int i = 0; i < 5001; ++i) {
               entries.push_back({s.net.build().AnyHash<TxHash>(), 1000, Lane::kClassic, 1000});
             }
             s.bad.Announce(entries);
             s.Go(300ms);
             EXPECT_EQ(s.stats().tx.announcements_received, 5001u);
           },
       // The last one waits unread, and nothing is dropped.
       .counter = [](const Story& s) { return s.stats().tx.tracked_announcements; },
       .expected = 5000});
  rows.push_back({.name = "SetWithAnotherHash",
                  .act =
                      [](Story& s) {
                        const Bytes set = s.net.build().TxSetOfBytes(10'000);
                        s.GiveSet(set, Story::Found(10'000), Blob(10'000, 'x'));
                      },
                  .counter = [](const Story& s) { return s.stats().sets.wrong_hash; },
                  .offence = Offence::kWrongHash});
  rows.push_back({.name = "SetLongerThanAnnounced",
                  .act =
                      [](Story& s) {
                        const Bytes set = s.net.build().TxSetOfBytes(10'000);
                        s.GiveSet(set, Story::Found(9'000), set.view());
                      },
                  .counter = OffencesOf(Offence::kUnsolicited),
                  .offence = Offence::kUnsolicited});
  rows.push_back({.name = "OversizedSetAnnounced",
                  .act =
                      [](Story& s) {
                        const Bytes set = s.net.build().TxSetOfBytes(10'000);
                        s.GiveSet(set, Story::Found(16 * kMiB + 1), set.view());
                      },
                  .counter = OffencesOf(Offence::kUnsolicited),
                  .offence = Offence::kUnsolicited});
  rows.push_back({.name = "AStateAnswerThatNobodyAskedFor",
                  .act =
                      [](Story& s) {
                        s.bad.raw().Uni(std::string(1, static_cast<char>(StreamKind::kState)) +
                                            std::string(EncodeStateHeader({77, false}).view()),
                                        true);
                      },
                  .counter = OffencesOf(Offence::kUnsolicited),
                  .offence = Offence::kUnsolicited});
  rows.push_back({.name = "MoreStateRequestsThanAllowed",
                  .act =
                      [](Story& s) {
                        for (uint64_t id = 1; id <= 11; ++id) {
                          s.bad.SendControl(GetScpState{id, LedgerSeq{1000}});
                          s.Go(20ms);
                        }
                      },
                  .counter = [](const Story& s) { return s.stats().scp.state_requests_refused; },
                  .offence = Offence::kOverEager});
  return rows;
}

class BadInput : public testing::TestWithParam<Row> {};

TEST_P(BadInput, IsCountedAndCostsItsSenderAlone) {
  Story story;
  ASSERT_TRUE(story.joined) << story.net.Replay();
  const Row& row = GetParam();
  const uint64_t before = row.counter(story);
  const uint64_t offences = story.AllOffences();
  ASSERT_NO_FATAL_FAILURE(row.act(story));
  story.Go(200ms);
  EXPECT_EQ(row.counter(story) - before, row.expected) << story.net.Replay();
  EXPECT_EQ(story.AllOffences() - offences, row.offence.has_value() ? 1u : 0u);
  if (row.offence) {
    EXPECT_EQ(story.Offences(*row.offence), 1u);
  }
  EXPECT_EQ(story.bad.raw().ended().has_value(), row.close.has_value());
  if (row.close && story.bad.raw().ended()) {
    EXPECT_EQ(story.bad.raw().ended()->code, static_cast<uint64_t>(*row.close));
  }
  EXPECT_EQ(story.stats().peers.connected, row.close ? 1u : 2u);

  // The honest peer beside it: an envelope, a transaction and a set.
  Network& net = story.net;
  const Bytes set = net.build().TxSetOfBytes(20'000);
  const SetKey offered = net.core(1).Offer(SetKind::kTxSet, set, LedgerSeq{1002});
  net.core(1).VoteFor(LedgerSeq{1002}, offered.hash);
  const EnvelopeHash envelope = net.core(1).Author(StatementKind::kPrepare, LedgerSeq{1002});
  const TxHash transaction = net.core(1).Submit(net.build().Transaction());
  EXPECT_TRUE(net.RunUntil(
      [&] {
        return net.checkers().HasEnvelope(0, envelope) && net.checkers().HasSet(0, offered) &&
               net.checkers().HasTransaction(0, transaction);
      },
      200ms))
      << net.Replay();
}

INSTANTIATE_TEST_SUITE_P(Rows, BadInput, testing::ValuesIn(Rows()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace overlay::sim
