#include "flood/set_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {
namespace {

SetKey TxSet(const SetHash& hash) { return {SetKind::kTxSet, hash}; }
SetKey QuorumSet(const SetHash& hash) { return {SetKind::kQuorumSet, hash}; }

}  // namespace

SetExchange::SetExchange(const Limits& limits, const SlotWindow& window, SetStats& stats,
                         ComputeStats& compute_stats)
    : limits_(limits),
      window_(window),
      stats_(stats),
      tx_sets_(limits, window),
      quorum_sets_(limits, window),
      compute_(limits, compute_stats),
      fetcher_(limits, window, stats, compute_),
      server_(limits, stats, *this, compute_),
      offers_(limits) {}

const Bytes* SetExchange::Find(const SetKey& key) const {
  return key.kind == SetKind::kTxSet ? tx_sets_.Find(key.hash) : quorum_sets_.Find(key.hash);
}

std::optional<ServableSet> SetExchange::Look(const SetKey& key) const {
  const Bytes* const bytes = Find(key);
  if (bytes == nullptr) return std::nullopt;
  if (key.kind == SetKind::kQuorumSet) return ServableSet{*bytes, {}, false};
  const Bytes* const frame = tx_sets_.FindFrame(key.hash);
  return ServableSet{*bytes, frame == nullptr ? Bytes() : *frame, tx_sets_.MayCompress(key.hash)};
}

void SetExchange::KeepFrame(const SetKey& key, Bytes frame) {
  tx_sets_.KeepFrame(key.hash, std::move(frame));
  UpdateGauges();
}

void SetExchange::OnComputed(Time now, const Computed& computed, ActionList& out) {
  if (!compute_.OnComputed(computed, out)) return;
  if (!server_.OnComputed(computed, out)) {
    std::vector<FetchedSet> fetched;
    fetcher_.OnComputed(now, computed, fetched, out);
    for (FetchedSet& set : fetched) Keep(now, std::move(set), out);
  }
  UpdateGauges();
}

// ---- peers ------------------------------------------------------------------------------------

void SetExchange::OnPeerConnected(Time now, PeerId id, const NodeKey& key, ActionList& out) {
  peers_[id].key = key;
  HaveSets have;
  const auto flush = [&] {
    if (!have.sets.empty()) out.push_back(PeerCommand(SendControl{id, std::move(have)}));
    have = HaveSets();
  };
  const auto add = [&](const SetKey& set, LedgerSeq slot) {
    have.sets.push_back({set, slot});
    if (have.sets.size() == kHaveSetsEntryCountMax) flush();
  };
  for (const auto& listed : tx_sets_.List()) add(TxSet(listed.hash), listed.slot);
  for (const auto& listed : quorum_sets_.List()) add(QuorumSet(listed.hash), listed.slot);
  flush();
  fetcher_.OnPeerConnected(now, id, out);
}

void SetExchange::OnPeerDisconnected(Time now, PeerId id, ActionList& out) {
  peers_.erase(id);
  server_.OnPeerDisconnected(id);
  fetcher_.OnPeerDisconnected(now, id, out);
  UpdateGauges();
}

void SetExchange::OnHaveSets(Time now, PeerId id, const HaveSets& have, ActionList& out) {
  auto it = peers_.find(id);
  if (it == peers_.end()) return;
  for (const SetAd& ad : have.sets) {
    if (ad.key.hash.IsZero()) continue;
    if (ad.slot.value != 0 && !window_.IsKept(ad.slot)) continue;
    Remember(it->second, ad.key, ad.slot);
    fetcher_.AddSource(now, ad.key, id, out);
  }
}

void SetExchange::Remember(Peer& peer, const SetKey& key, LedgerSeq slot) {
  if (peer.has.contains(key)) return;
  const auto first_of_slot = peer.has_by_slot.lower_bound({slot, SetKey{}});
  size_t of_slot = 0;
  for (auto it = first_of_slot; it != peer.has_by_slot.end() && it->first == slot; ++it) ++of_slot;
  if (of_slot >= limits_.have_sets_per_peer_slot_max) return;
  peer.has.emplace(key, slot);
  peer.has_by_slot.insert({slot, key});
  if (peer.has.size() <= limits_.have_sets_per_peer_max) return;
  const auto lowest = peer.has_by_slot.begin();
  peer.has.erase(lowest->second);
  peer.has_by_slot.erase(lowest);
}

void SetExchange::OnSetRequested(Time now, const SetRequested& requested, ActionList& out) {
  server_.OnRequested(now, requested, out);
}

void SetExchange::OnAnswerDone(Time now, const AnswerDone& done, ActionList& out) {
  server_.OnAnswerDone(now, done, out);
}

void SetExchange::OnHeader(Time now, const SetHeaderReceived& header, ActionList& out) {
  fetcher_.OnHeader(now, header, out);
}

void SetExchange::OnData(Time now, const SetDataReceived& data, ActionList& out) {
  fetcher_.OnData(now, data, out);
}

void SetExchange::OnRequestEnded(Time now, const RequestEnded& ended, ActionList& out) {
  std::vector<FetchedSet> fetched;
  fetcher_.OnRequestEnded(now, ended, fetched, out);
  for (FetchedSet& set : fetched) Keep(now, std::move(set), out);
  UpdateGauges();
}

// ---- envelopes --------------------------------------------------------------------------------

void SetExchange::OnEnvelopeFromPeer(Time now, PeerId peer, const EnvelopeRefs& refs,
                                     ActionList& out) {
  for (const SetHash& hash : refs.tx_sets) NameFromPeer(now, peer, TxSet(hash), refs.slot, out);
  NameFromPeer(now, peer, QuorumSet(refs.quorum_set), refs.slot, out);
  UpdateGauges();
}

void SetExchange::NameFromPeer(Time now, PeerId peer, const SetKey& key, LedgerSeq slot,
                               ActionList& out) {
  if (key.hash.IsZero()) return;
  if (Find(key) != nullptr) {
    if (key.kind == SetKind::kTxSet) {
      tx_sets_.OnNamed(key.hash, slot);
    } else {
      quorum_sets_.OnNamed(key.hash, slot);
    }
    return;
  }
  if (offers_.IsOpen(key)) return;  // on its way from the core
  const bool is_new = !fetcher_.IsWanted(key);
  if (is_new && memory_pressed_) {
    ++stats_.without_memory;
    return;
  }
  if (!fetcher_.Prefetch(now, key, slot, peer, out) || !is_new) return;
  for (PeerId holder : HoldersOf(key)) fetcher_.AddSource(now, key, holder, out);
}

std::vector<PeerId> SetExchange::HoldersOf(const SetKey& key) const {
  std::vector<PeerId> holders;
  for (const auto& [id, peer] : peers_) {
    if (peer.has.contains(key)) holders.push_back(id);
  }
  return holders;
}

void SetExchange::OnEnvelopeFromCore(Time now, const EnvelopeRefs& refs, bool from_peer,
                                     ActionList& out) {
  for (const SetHash& hash : refs.tx_sets) {
    NameFromCore(now, TxSet(hash), refs.slot, from_peer, out);
  }
  NameFromCore(now, QuorumSet(refs.quorum_set), refs.slot, from_peer, out);
  UpdateGauges();
}

void SetExchange::NameFromCore(Time now, const SetKey& key, LedgerSeq slot, bool from_peer,
                               ActionList& out) {
  if (key.hash.IsZero()) return;
  if (key.kind == SetKind::kTxSet) tx_sets_.Bind(key.hash, slot);
  if (key.kind == SetKind::kQuorumSet) quorum_sets_.OnNamed(key.hash, slot);
  if (Find(key) != nullptr) return;
  // Of its own envelope the core holds the sets, or will say that it does not by asking.
  if (!from_peer) server_.Promise(key);
  if (from_peer || fetcher_.IsWanted(key)) {
    fetcher_.WantForCore(now, key, slot, HoldersOf(key), out);
  }
}

// ---- core -------------------------------------------------------------------------------------

void SetExchange::OnOfferChunk(Time now, const OfferChunk& chunk, ActionList& out) {
  if (chunk.key.hash.IsZero()) {
    out.push_back(CoreOutput(CoreRefused{.stream = CoreRefused::Stream::kTxSets,
                                         .id = std::nullopt,
                                         .key = chunk.key,
                                         .field = "offer.hash",
                                         .value = chunk.key.hash.Hex(),
                                         .expected = "a hash that is not all zeros"}));
    return;
  }
  if (memory_pressed_ && chunk.offset == 0 && !offers_.IsOpen(chunk.key)) {
    ++stats_.without_memory;
    out.push_back(CoreOutput(CoreRefused{.stream = CoreRefused::Stream::kTxSets,
                                         .id = std::nullopt,
                                         .key = chunk.key,
                                         .field = "offer.total_bytes",
                                         .value = fmt::format("{}", chunk.total_bytes),
                                         .expected = "nothing now: memory is short, offer again"}));
    return;
  }
  std::optional<CompletedOffer> offer = offers_.OnChunk(chunk, out);
  if (!offer) {
    if (offers_.IsOpen(chunk.key)) server_.Promise(chunk.key);
    return;
  }
  const bool held = Find(offer->key) != nullptr;
  if (offer->key.kind == SetKind::kTxSet) {
    tx_sets_.InsertMember(offer->key.hash, std::move(offer->bytes), offer->slot);
  } else {
    quorum_sets_.InsertOffered(offer->key.hash, std::move(offer->bytes));
  }
  ++stats_.offered;
  out.push_back(CoreOutput(Offered{offer->key}));
  if (!held) Enter(now, offer->key, offer->slot.value_or(LedgerSeq{}), out);
  UpdateGauges();
}

void SetExchange::Enter(Time now, const SetKey& key, LedgerSeq slot, ActionList& out) {
  const bool core_asked = fetcher_.OnHeld(now, key, out);
  server_.OnHeld(now, key, out);
  for (auto& [id, peer] : peers_) {
    if (!peer.has.contains(key))
      out.push_back(PeerCommand(SendControl{id, HaveSets{{{key, slot}}}}));
  }
  if (core_asked) out.push_back(CoreOutput(SetAvailable{key, *Find(key), {}}));
}

void SetExchange::Keep(Time now, FetchedSet fetched, ActionList& out) {
  served_by_.push_back(fetched.from);
  const SetKey key = fetched.key;
  const LedgerSeq slot = fetched.slot.value_or(LedgerSeq{});
  if (auto peer = peers_.find(fetched.from); peer != peers_.end()) {
    Remember(peer->second, key, slot);
  }
  const Bytes bytes = fetched.bytes;
  if (key.kind == SetKind::kQuorumSet) {
    quorum_sets_.InsertFetched(key.hash, bytes, fetched.slot.value_or(window_.newest_closed()));
  } else if (fetched.wanted_by_core) {
    tx_sets_.InsertMember(key.hash, bytes, fetched.slot);
  } else {
    tx_sets_.InsertGuest(key.hash, bytes, slot, fetched.named_by);
  }
  if (Find(key) != nullptr) Enter(now, key, slot, out);
  if (!fetched.core_asked) return;
  SetAvailable available{key, bytes, {}};
  if (auto peer = peers_.find(fetched.from); peer != peers_.end()) {
    available.peers.push_back(peer->second.key);
  }
  out.push_back(CoreOutput(std::move(available)));
}

void SetExchange::OnFetch(Time now, const FetchSet& fetch, ActionList& out) {
  const SetKey& key = fetch.key;
  if (key.hash.IsZero()) {
    out.push_back(CoreOutput(CoreRefused{.stream = CoreRefused::Stream::kTxSets,
                                         .id = std::nullopt,
                                         .key = key,
                                         .field = "fetch.hash",
                                         .value = key.hash.Hex(),
                                         .expected = "a hash that is not all zeros"}));
    return;
  }
  if (const Bytes* held = Find(key)) {
    tx_sets_.MakeMember(key.hash);
    if (fetch.slot) tx_sets_.Bind(key.hash, *fetch.slot);
    out.push_back(CoreOutput(SetAvailable{key, *held, {}}));
    return;
  }
  if (fetch.slot && !fetch.until_cancelled && !window_.IsKept(*fetch.slot)) {
    out.push_back(CoreOutput(FetchFailed{key, FetchFailure::kExpired}));
    return;
  }
  if (memory_pressed_ && !fetcher_.IsWanted(key)) {
    ++stats_.without_memory;
    out.push_back(CoreOutput(FetchFailed{key, FetchFailure::kNoRoom}));
    return;
  }
  SetFetcher::CoreFetch want{.key = key,
                             .slot = fetch.slot,
                             .named = {},
                             .sources = fetch.sources,
                             .until_cancelled = fetch.until_cancelled,
                             .holders = HoldersOf(key)};
  for (const NodeKey& node : fetch.peers) {
    const auto peer = std::find_if(peers_.begin(), peers_.end(),
                                   [&](const auto& entry) { return entry.second.key == node; });
    if (peer != peers_.end()) want.named.push_back(peer->first);
  }
  if (!fetcher_.Fetch(now, want, out)) {
    out.push_back(CoreOutput(FetchFailed{key, FetchFailure::kNoRoom}));
    return;
  }
  UpdateGauges();
}

void SetExchange::OnCancelFetch(Time now, const CancelFetch& cancel, ActionList& out) {
  if (fetcher_.Cancel(now, cancel.key, out)) {
    out.push_back(CoreOutput(FetchFailed{cancel.key, FetchFailure::kCancelled}));
  }
  UpdateGauges();
}

void SetExchange::OnCoreDetached(Time now, ActionList& out) {
  offers_.OnCoreDetached();
  server_.ForgetPromises();
  quorum_sets_.OnCoreDetached();
  fetcher_.OnCoreDetached(now, out);
}

void SetExchange::OnWindowMoved(Time now, ActionList& out) {
  tx_sets_.OnWindowMoved();
  quorum_sets_.OnWindowMoved();
  fetcher_.OnWindowMoved(now, out);
  for (auto& [id, peer] : peers_) {
    for (auto it = peer.has_by_slot.begin(); it != peer.has_by_slot.end();) {
      const auto& [slot, key] = *it;
      if (slot.value == 0 || window_.IsKept(slot)) {
        ++it;
        continue;
      }
      peer.has.erase(key);
      it = peer.has_by_slot.erase(it);
    }
  }
  UpdateGauges();
}

// ---- time -------------------------------------------------------------------------------------

void SetExchange::OnDeadline(Time now, ActionList& out) {
  fetcher_.OnDeadline(now, out);
  server_.OnDeadline(now, out);
}

std::optional<Time> SetExchange::NextDeadline() const {
  const Time next = std::min(fetcher_.NextDeadline().value_or(kTimeNever),
                             server_.NextDeadline().value_or(kTimeNever));
  return next == kTimeNever ? std::nullopt : std::optional<Time>(next);
}

void SetExchange::UpdateGauges() {
  stats_.cached_count = tx_sets_.count();
  stats_.cached_bytes = tx_sets_.bytes();
  stats_.quorum_sets = quorum_sets_.count();
  stats_.fetching = fetcher_.want_count();
}

SetTrace SetExchange::Trace(const SetKey& key) const {
  SetTrace trace;
  fetcher_.Trace(key, trace);
  for (SetTrace::Source& source : trace.sources) {
    const auto peer = peers_.find(source.peer);
    if (peer != peers_.end()) source.key = peer->second.key;
  }
  if (offers_.IsOpen(key)) trace.place = SetTrace::Place::kOffered;
  if (const Bytes* held = Find(key)) {
    trace.place = SetTrace::Place::kCached;
    trace.size_bytes = held->size();
    if (key.kind == SetKind::kTxSet) tx_sets_.Trace(key.hash, trace);
  }
  for (const auto& [id, peer] : peers_) {
    if (peer.has.contains(key)) trace.held_by.push_back(peer.key);
  }
  return trace;
}

void SetExchange::CheckInvariants() const {
  tx_sets_.CheckInvariants();
  quorum_sets_.CheckInvariants();
  compute_.CheckInvariants();
  fetcher_.CheckInvariants();
  server_.CheckInvariants();
  offers_.CheckInvariants();
  for (const auto& [id, peer] : peers_) {
    OVERLAY_CHECK(peer.has.size() <= limits_.have_sets_per_peer_max);
    OVERLAY_CHECK(peer.has.size() == peer.has_by_slot.size());
  }
}

}  // namespace overlay::flood
