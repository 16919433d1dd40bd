#include "flood/set_exchange.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

Bytes Content(size_t size, uint8_t fill) { return Bytes::Take(std::vector<uint8_t>(size, fill)); }
SetHash HashOfContent(const Bytes& content) { return HashOf<SetHash>(content.span()); }
NodeKey NodeOf(uint64_t peer) {
  NodeKey key;
  key.bytes[0] = static_cast<uint8_t>(peer);
  return key;
}

class SetExchangeTest : public testing::Test {
 protected:
  ~SetExchangeTest() override { sets_.CheckInvariants(); }

  void Connect(uint64_t peer) { sets_.OnPeerConnected(now_, PeerId{peer}, NodeOf(peer), out_); }
  EnvelopeRefs Names(const Bytes& tx_set, uint64_t slot = 100) {
    EnvelopeRefs refs;
    refs.slot = LedgerSeq{slot};
    refs.tx_sets = {HashOfContent(tx_set)};
    refs.quorum_set = quorum_set_;
    return refs;
  }
  void Offer(const Bytes& content, std::optional<LedgerSeq> slot = std::nullopt,
             SetKind kind = SetKind::kTxSet) {
    sets_.OnOfferChunk(now_, {{kind, HashOfContent(content)}, slot, content.size(), 0, content},
                       out_);
  }
  template <class T>
  std::vector<T> TakeCommands() {
    sets_.CheckInvariants();
    auto found = Commands<T>(out_);
    out_.clear();
    return found;
  }
  // Lets `peer` answer its request for this set whole.
  void Serve(const RequestSet& request, const Bytes& content) {
    sets_.OnHeader(now_,
                   {request.peer,
                    request.request,
                    {true, SetEncoding::kIdentity, content.size(), content.size()}},
                   out_);
    sets_.OnData(now_, {request.peer, request.request, content}, out_);
    sets_.OnRequestEnded(now_, {request.peer, request.request, true}, out_);
  }
  RequestSet OnlyRequestFor(const Bytes& content) {
    for (const RequestSet& request : Commands<RequestSet>(out_)) {
      if (request.set.key.hash == HashOfContent(content)) return request;
    }
    ADD_FAILURE() << "not asked for";
    return {};
  }

  Limits limits_;
  SlotWindow window_{limits_};
  SetStats stats_;
  ComputeStats compute_stats_;
  SetExchange sets_{limits_, window_, stats_, compute_stats_};
  ActionList out_;
  Time now_{1000s};
  const SetHash quorum_set_{};  // zero: names none
  const Bytes content_ = Content(5000, 7);
};

TEST_F(SetExchangeTest, NamedByAPeerIsFetchedBeforeTheCoreAsksAndAnnouncedToTheOthers) {
  for (uint64_t peer : {1, 2, 3}) Connect(peer);
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, Names(content_), out_);
  const RequestSet request = OnlyRequestFor(content_);
  EXPECT_EQ(request.peer, PeerId{1});
  out_.clear();
  Serve(request, content_);
  EXPECT_THAT(Outputs<SetAvailable>(out_), IsEmpty());  // the core has not asked
  std::vector<uint64_t> told;
  for (const auto& control : Commands<SendControl>(out_)) told.push_back(control.peer.value);
  EXPECT_THAT(told, ElementsAre(2, 3));
  out_.clear();
  sets_.OnFetch(now_, {{SetKind::kTxSet, HashOfContent(content_)}, LedgerSeq{100}, {}, 1, false},
                out_);
  const auto available = Outputs<SetAvailable>(out_);
  ASSERT_EQ(available.size(), 1u);
  EXPECT_EQ(available[0].bytes, content_);
  EXPECT_THAT(TakeCommands<RequestSet>(), IsEmpty());
}

TEST_F(SetExchangeTest, AFetchBeforeTheSetComesIsAnsweredOnceWithItsSource) {
  Connect(1);
  sets_.OnFetch(now_,
                {{SetKind::kTxSet, HashOfContent(content_)}, std::nullopt, {NodeOf(1)}, 1, false},
                out_);
  sets_.OnFetch(now_, {{SetKind::kTxSet, HashOfContent(content_)}, std::nullopt, {}, 1, false},
                out_);
  ASSERT_EQ(Commands<RequestSet>(out_).size(), 1u);  // the second only widens the first
  Serve(OnlyRequestFor(content_), content_);
  const auto available = Outputs<SetAvailable>(out_);
  ASSERT_EQ(available.size(), 1u);
  EXPECT_THAT(available[0].peers, ElementsAre(NodeOf(1)));
}

TEST_F(SetExchangeTest, CachedBeforeAnybodyIsTold) {
  Connect(1);
  Connect(2);
  sets_.OnFetch(now_,
                {{SetKind::kTxSet, HashOfContent(content_)}, std::nullopt, {NodeOf(1)}, 1, false},
                out_);
  const RequestSet request = OnlyRequestFor(content_);
  out_.clear();
  Serve(request, content_);
  EXPECT_NE(sets_.Find({SetKind::kTxSet, HashOfContent(content_)}), nullptr);
  // A peer that asks right away is served.
  out_.clear();
  sets_.OnSetRequested(
      now_,
      {PeerId{2}, RequestId{1}, SetRequest{{SetKind::kTxSet, HashOfContent(content_)}, false, 0}},
      out_);
  const auto answers = Commands<AnswerSet>(out_);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_TRUE(answers[0].header.found);
}

TEST_F(SetExchangeTest, HaveTxSetWakesAWantAndNewPeersAreToldOfAllThatIsKept) {
  Connect(1);
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, Names(content_), out_);
  const RequestSet first = OnlyRequestFor(content_);
  sets_.OnHeader(now_, {PeerId{1}, first.request, SetHeader{}}, out_);
  out_.clear();
  sets_.OnRequestEnded(now_, {PeerId{1}, first.request, true}, out_);
  EXPECT_THAT(TakeCommands<RequestSet>(), IsEmpty());
  Connect(2);
  sets_.OnHaveSets(now_, PeerId{2}, {{{{SetKind::kTxSet, HashOfContent(content_)}, {100}}}}, out_);
  const RequestSet second = OnlyRequestFor(content_);
  EXPECT_EQ(second.peer, PeerId{2});
  Serve(second, content_);
  Offer(Content(10, 1), LedgerSeq{101});
  out_.clear();
  Connect(3);
  const auto controls = TakeCommands<SendControl>();
  ASSERT_EQ(controls.size(), 1u);
  const auto& have = std::get<HaveSets>(controls[0].message);
  ASSERT_EQ(have.sets.size(), 2u);
  EXPECT_EQ(have.sets[0].slot, LedgerSeq{101});  // newest first
  EXPECT_EQ(have.sets[1].slot, LedgerSeq{100});
}

TEST_F(SetExchangeTest, WhoSaidBeforeThatItHoldsASetIsASourceOfIt) {
  for (uint64_t peer : {1, 2}) Connect(peer);
  const SetKey key{SetKind::kTxSet, HashOfContent(content_)};
  sets_.OnHaveSets(now_, PeerId{2}, {{{key, {100}}}}, out_);
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, Names(content_), out_);
  const RequestSet first = OnlyRequestFor(content_);
  EXPECT_EQ(first.peer, PeerId{1});  // the sender comes first
  sets_.OnHeader(now_, {PeerId{1}, first.request, SetHeader{}}, out_);
  out_.clear();
  sets_.OnRequestEnded(now_, {PeerId{1}, first.request, true}, out_);
  EXPECT_EQ(OnlyRequestFor(content_).peer, PeerId{2});
}

TEST_F(SetExchangeTest, ForTheCoreWhoHoldsASetIsAskedBeforeTheOthers) {
  for (uint64_t peer : {1, 2}) Connect(peer);
  const Bytes relayed = Content(10, 2);
  for (const Bytes& content : {content_, relayed}) {
    sets_.OnHaveSets(now_, PeerId{2}, {{{{SetKind::kTxSet, HashOfContent(content)}, {100}}}}, out_);
  }
  sets_.OnFetch(now_, {{SetKind::kTxSet, HashOfContent(content_)}, LedgerSeq{100}, {}, 1, false},
                out_);
  EXPECT_EQ(OnlyRequestFor(content_).peer, PeerId{2});
  sets_.OnEnvelopeFromCore(now_, Names(relayed), /*from_peer=*/true, out_);
  EXPECT_EQ(OnlyRequestFor(relayed).peer, PeerId{2});
}

TEST_F(SetExchangeTest, OfferIsServableWhenSaidSoAndPromisedFromItsFirstChunk) {
  Connect(1);
  const SetKey key{SetKind::kTxSet, HashOfContent(content_)};
  sets_.OnOfferChunk(now_, {key, LedgerSeq{100}, content_.size(), 0, content_.Slice(0, 100)}, out_);
  sets_.OnSetRequested(now_, {PeerId{1}, RequestId{1}, SetRequest{key, false, 0}}, out_);
  EXPECT_THAT(TakeCommands<AnswerSet>(), IsEmpty());
  sets_.OnOfferChunk(now_, {key, LedgerSeq{100}, content_.size(), 100, content_.Slice(100)}, out_);
  EXPECT_EQ(Outputs<Offered>(out_).size(), 1u);
  const auto answers = TakeCommands<AnswerSet>();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].encoded, content_);
}

TEST_F(SetExchangeTest, OwnEnvelopePromisesItsSetAndARelayedOneFetchesIt) {
  Connect(1);
  sets_.OnEnvelopeFromCore(now_, Names(content_), /*from_peer=*/false, out_);
  EXPECT_THAT(TakeCommands<RequestSet>(), IsEmpty());
  sets_.OnSetRequested(
      now_,
      {PeerId{1}, RequestId{1}, SetRequest{{SetKind::kTxSet, HashOfContent(content_)}, false, 0}},
      out_);
  EXPECT_THAT(TakeCommands<AnswerSet>(), IsEmpty());  // waits
  const Bytes other = Content(10, 2);
  sets_.OnEnvelopeFromCore(now_, Names(other), /*from_peer=*/true, out_);
  EXPECT_EQ(OnlyRequestFor(other).peer, PeerId{1});
}

TEST_F(SetExchangeTest, UnboundOfferBelongsToTheSlotOfTheCoresFirstEnvelope) {
  Offer(content_);
  const SetKey key{SetKind::kTxSet, HashOfContent(content_)};
  const auto close = [&](uint64_t slot) {
    now_ += 100s;
    window_.OnLedgerClosed(now_, {slot}, true, {});
    sets_.OnWindowMoved(now_, out_);
  };
  close(500);  // the first LedgerClosed takes nothing that was offered before
  EXPECT_NE(sets_.Find(key), nullptr);
  EnvelopeRefs forged = Names(content_, 490);
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, forged, out_);
  sets_.OnEnvelopeFromCore(now_, Names(content_, 501), false, out_);
  close(512);
  EXPECT_NE(sets_.Find(key), nullptr);
  close(513);
  EXPECT_EQ(sets_.Find(key), nullptr);
}

TEST_F(SetExchangeTest, TheZeroHashIsNeverFetchedNorAccepted) {
  Connect(1);
  EnvelopeRefs refs;
  refs.slot = LedgerSeq{100};
  refs.tx_sets = {SetHash{}};
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, refs, out_);
  sets_.OnEnvelopeFromCore(now_, refs, true, out_);
  sets_.OnHaveSets(now_, PeerId{1}, {{{SetKey{}, {100}}}}, out_);
  EXPECT_THAT(TakeCommands<RequestSet>(), IsEmpty());
  sets_.OnFetch(now_, {SetKey{}, std::nullopt, {}, 1, false}, out_);
  ASSERT_EQ(Outputs<CoreRefused>(out_).size(), 1u);
  EXPECT_EQ(Outputs<CoreRefused>(out_)[0].field, "fetch.hash");
  out_.clear();
  sets_.OnOfferChunk(now_, {SetKey{}, std::nullopt, 1, 0, Content(1, 1)}, out_);
  ASSERT_EQ(Outputs<CoreRefused>(out_).size(), 1u);
  EXPECT_EQ(Outputs<CoreRefused>(out_)[0].field, "offer.hash");
}

TEST_F(SetExchangeTest, FetchOfASlotNoLongerKeptExpiresAtOnce) {
  window_.OnLedgerClosed(now_, {1000}, true, {});
  sets_.OnFetch(now_, {{SetKind::kTxSet, HashOfContent(content_)}, LedgerSeq{10}, {}, 1, false},
                out_);
  const auto failed = Outputs<FetchFailed>(out_);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].reason, FetchFailure::kExpired);
  out_.clear();
  sets_.OnFetch(now_, {{SetKind::kTxSet, HashOfContent(content_)}, LedgerSeq{10}, {}, 1, true},
                out_);
  EXPECT_THAT(Outputs<FetchFailed>(out_), IsEmpty());
  sets_.OnCancelFetch(now_, {{SetKind::kTxSet, HashOfContent(content_)}}, out_);
  ASSERT_EQ(Outputs<FetchFailed>(out_).size(), 1u);
  EXPECT_EQ(Outputs<FetchFailed>(out_)[0].reason, FetchFailure::kCancelled);
}

// A peer that is known to have a set is not told of it: so the telling shows what is remembered.
TEST_F(SetExchangeTest, WhatAPeerSaysItHasIsBoundedPerSlotAndInAll) {
  limits_.have_sets_per_peer_slot_max = 2;
  limits_.have_sets_per_peer_max = 4;
  Connect(1);
  std::vector<Bytes> contents;
  for (uint8_t i = 0; i < 9; ++i) {
    contents.push_back(Content(10, i));
    const LedgerSeq slot{uint64_t{i} / 3u + 1u};  // three of each slot
    sets_.OnHaveSets(now_, PeerId{1}, {{{{SetKind::kTxSet, HashOfContent(contents[i])}, slot}}},
                     out_);
    sets_.CheckInvariants();
  }
  std::vector<int> told;
  for (int i = 0; i < 9; ++i) {
    out_.clear();
    Offer(contents[i]);
    if (!Commands<SendControl>(out_).empty()) told.push_back(i);
  }
  // The third of each slot was not remembered, and slot 1 gave way to slot 3.
  EXPECT_THAT(told, ElementsAre(0, 1, 2, 5, 8));
}

TEST_F(SetExchangeTest, QuorumSetIsFetchedFromTheSenderAndServed) {
  Connect(1);
  const Bytes quorum_set = Content(200, 3);
  EnvelopeRefs refs;
  refs.slot = LedgerSeq{100};
  refs.quorum_set = HashOfContent(quorum_set);
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, refs, out_);
  const RequestSet request = OnlyRequestFor(quorum_set);
  EXPECT_EQ(request.set.key.kind, SetKind::kQuorumSet);
  Serve(request, quorum_set);
  EXPECT_NE(sets_.Find({SetKind::kQuorumSet, HashOfContent(quorum_set)}), nullptr);
}

TEST_F(SetExchangeTest, AWantOutlivesThePeerThatNamedIt) {
  Connect(1);
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, Names(content_), out_);
  sets_.OnPeerDisconnected(now_, PeerId{1}, out_);
  out_.clear();
  Connect(2);
  EXPECT_THAT(TakeCommands<RequestSet>(), IsEmpty());  // nobody says that peer 2 has it
  sets_.OnEnvelopeFromPeer(now_, PeerId{2}, Names(content_), out_);
  EXPECT_EQ(OnlyRequestFor(content_).peer, PeerId{2});
}

// Both peers ask for all three before any frame is there, in turn.
TEST_F(SetExchangeTest, EachSetIsCompressedOnceForAllThatAskForIt) {
  Connect(1);
  Connect(2);
  std::vector<Bytes> contents;
  for (uint8_t fill : {1, 2, 3}) contents.push_back(Content(5000, fill));
  for (const Bytes& content : contents) Offer(content, LedgerSeq{100});
  out_.clear();
  uint64_t request = 0;
  for (const Bytes& content : contents) {
    for (uint64_t peer : {1, 2}) {
      const SetRequest asked{{SetKind::kTxSet, HashOfContent(content)}, true, 0};
      sets_.OnSetRequested(now_, {PeerId{peer}, RequestId{++request}, asked}, out_);
    }
  }
  EXPECT_THAT(Commands<AnswerSet>(out_), IsEmpty());
  // What the worker does, until there is nothing left for it.
  std::vector<Compute> computes;
  std::vector<AnswerSet> answers;
  for (ActionList actions = std::exchange(out_, {}); !actions.empty();
       actions = std::exchange(out_, {})) {
    for (const AnswerSet& answer : Commands<AnswerSet>(actions)) answers.push_back(answer);
    for (const Compute& compute : Computes(actions)) {
      computes.push_back(compute);
      sets_.OnComputed(now_, RunCompute(compute), out_);
      sets_.CheckInvariants();
    }
  }
  EXPECT_EQ(computes.size(), 3u);
  ASSERT_EQ(answers.size(), 6u);
  std::map<const uint8_t*, int> answered_from;
  for (const AnswerSet& answer : answers) {
    EXPECT_EQ(answer.header.encoding, SetEncoding::kZstd);
    EXPECT_EQ(answer.header.total_bytes, 5000u);
    EXPECT_LT(answer.encoded.size(), 100u);
    ++answered_from[answer.encoded.data()];
  }
  ASSERT_EQ(answered_from.size(), 3u);
  for (const auto& [frame, times] : answered_from) EXPECT_EQ(times, 2);
  EXPECT_EQ(stats_.compressed, 3u);
  EXPECT_EQ(stats_.served_compressed, 6u);
  EXPECT_GT(stats_.served_saved_bytes, 6 * 4900u);
  EXPECT_GT(stats_.cached_bytes, 3 * 5000u);  // the frames are kept
}

// Quorum sets are small and asked for plain: their shelf knows no frames.
TEST_F(SetExchangeTest, QuorumSetsAreNotCompressed) {
  Connect(1);
  Offer(content_, std::nullopt, SetKind::kQuorumSet);
  out_.clear();
  const SetRequest asked{{SetKind::kQuorumSet, HashOfContent(content_)}, true, 0};
  sets_.OnSetRequested(now_, {PeerId{1}, RequestId{1}, asked}, out_);
  EXPECT_THAT(Computes(out_), IsEmpty());
  ASSERT_EQ(Commands<AnswerSet>(out_).size(), 1u);
  EXPECT_EQ(Commands<AnswerSet>(out_)[0].header.encoding, SetEncoding::kIdentity);
}

// What an operator is told of a set, from the first word of it on.
TEST_F(SetExchangeTest, ATraceSaysWhereASetIsAndWhatCameOfAsking) {
  const SetKey key{SetKind::kTxSet, HashOfContent(content_)};
  for (uint64_t peer : {1, 2, 3}) Connect(peer);
  EXPECT_EQ(sets_.Trace(key).place, SetTrace::Place::kUnknown);
  sets_.OnEnvelopeFromPeer(now_, PeerId{1}, Names(content_), out_);
  const RequestSet first = OnlyRequestFor(content_);
  sets_.OnHaveSets(now_, PeerId{2}, {{{key, LedgerSeq{100}}}}, out_);
  SetTrace trace = sets_.Trace(key);
  EXPECT_EQ(trace.place, SetTrace::Place::kWanted);
  EXPECT_TRUE(trace.named_by_peers);
  EXPECT_FALSE(trace.wanted_by_core);
  EXPECT_EQ(trace.slot, LedgerSeq{100});
  ASSERT_EQ(trace.sources.size(), 2u);
  EXPECT_EQ(trace.sources[0].key, NodeOf(1));
  EXPECT_EQ(trace.sources[0].state, AskState::kAsked);
  EXPECT_EQ(trace.sources[0].asked_at, now_);
  EXPECT_EQ(trace.sources[1].key, NodeOf(2));
  EXPECT_EQ(trace.sources[1].state, AskState::kNotAsked);
  EXPECT_EQ(trace.sources[1].asked_at, std::nullopt);
  EXPECT_THAT(trace.held_by, ElementsAre(NodeOf(2)));

  out_.clear();
  sets_.OnHeader(now_, {first.peer, first.request, {}}, out_);
  sets_.OnRequestEnded(now_, {first.peer, first.request, true}, out_);
  EXPECT_EQ(sets_.Trace(key).sources[0].state, AskState::kNotFound);
  const RequestSet second = OnlyRequestFor(content_);
  sets_.OnHeader(now_,
                 {second.peer,
                  second.request,
                  {true, SetEncoding::kIdentity, content_.size(), content_.size()}},
                 out_);
  sets_.OnData(now_, {second.peer, second.request, content_.Slice(0, 1000)}, out_);
  trace = sets_.Trace(key);
  EXPECT_EQ(trace.received_bytes, 1000u);
  EXPECT_EQ(trace.total_bytes, content_.size());
  sets_.OnRequestEnded(now_, {second.peer, second.request, false}, out_);
  trace = sets_.Trace(key);
  EXPECT_EQ(trace.sources[1].state, AskState::kBroken);
  EXPECT_EQ(trace.passes, 0u);
  EXPECT_EQ(trace.next_pass, now_ + limits_.set_retry_all_min);

  Offer(content_, LedgerSeq{100});
  sets_.OnTxSetExternalized(key.hash);
  trace = sets_.Trace(key);
  EXPECT_EQ(trace.place, SetTrace::Place::kCached);
  EXPECT_EQ(trace.size_bytes, content_.size());
  EXPECT_FALSE(trace.guest);
  EXPECT_TRUE(trace.externalized);
  EXPECT_THAT(trace.sources, IsEmpty());
}

TEST_F(SetExchangeTest, ATraceKnowsASourceThatLiedAndOneThatSaidNothing) {
  const SetKey key{SetKind::kTxSet, HashOfContent(content_)};
  for (uint64_t peer : {1, 2}) Connect(peer);
  for (uint64_t peer : {1, 2}) {
    sets_.OnEnvelopeFromPeer(now_, PeerId{peer}, Names(content_), out_);
  }
  Serve(OnlyRequestFor(content_), Content(5000, 8));
  EXPECT_EQ(sets_.Trace(key).sources[0].state, AskState::kBad);
  // It stays in the race for a while, in case that it was only slow.
  for (int i = 0; i < 50 && sets_.Trace(key).sources[1].state == AskState::kAsked; ++i) {
    now_ = *sets_.NextDeadline();
    sets_.OnDeadline(now_, out_);
  }
  EXPECT_EQ(sets_.Trace(key).sources[1].state, AskState::kSilent);
}

}  // namespace
}  // namespace overlay::flood
