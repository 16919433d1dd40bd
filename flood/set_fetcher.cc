#include "flood/set_fetcher.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

// A request that R2 no longer counts is cancelled after this long without a byte: its stream is
// wanted back.
constexpr Duration kOverdueTimeout = 10s;
// Requests of one want that may be open at once, the overdue ones included.
constexpr size_t kActivePerWantMax = 2 * kParallelSourcesMax;
// The core hears of progress this often at most.
constexpr uint64_t kProgressStepBytes = 1 * kMiB;

}  // namespace

size_t SetFetcher::BytesMax(SetKind kind) const {
  return kind == SetKind::kTxSet ? limits_.tx_set_bytes_max : limits_.quorum_set_bytes_max;
}

// ---- wants ------------------------------------------------------------------------------------

bool SetFetcher::Prefetch(Time now, const SetKey& key, LedgerSeq slot, PeerId named_by,
                          ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end()) {
    auto share = prefetches_of_.find(named_by);
    if (prefetches_ >= limits_.set_prefetch_total_max) return false;
    if (share != prefetches_of_.end() && share->second >= limits_.set_prefetch_per_peer_max) {
      return false;
    }
    Want& want = wants_[key];
    want.prefetch = true;
    want.named_by = named_by;
    want.slot = slot;
    ++prefetches_of_[named_by];
    ++prefetches_;
    it = wants_.find(key);
  } else if (!it->second.member && it->second.slot) {
    it->second.slot = std::max(*it->second.slot, slot);
  }
  AddSourceTo(it->second, named_by, SourceKind::kSender);
  Pump(now, key, it->second, out);
  return true;
}

void SetFetcher::WantForCore(Time now, const SetKey& key, LedgerSeq slot,
                             const std::vector<PeerId>& holders, ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end()) {
    if (core_wants_ >= kCoreWantCountMax) return;
    it = wants_.try_emplace(key).first;
  }
  Want& want = it->second;
  if (!want.member) {
    MakeMember(want);
    want.slot = slot;  // the core's word binds; what unjudged envelopes said does not
  } else if (!want.slot) {
    want.slot = slot;
  }
  want.named_by_core = true;
  for (PeerId peer : holders) AddSourceTo(want, peer, SourceKind::kHolder);
  Pump(now, key, want, out);
}

bool SetFetcher::Fetch(Time now, const CoreFetch& fetch, ActionList& out) {
  auto it = wants_.find(fetch.key);
  if (it == wants_.end()) {
    if (core_wants_ >= kCoreWantCountMax) return false;
    it = wants_.try_emplace(fetch.key).first;
  }
  Want& want = it->second;
  if (!want.member) {
    MakeMember(want);
    want.slot = fetch.slot;
  } else if (!want.slot) {
    want.slot = fetch.slot;
  }
  want.core_asked = true;
  want.until_cancelled = want.until_cancelled || fetch.until_cancelled;
  want.parallel = std::clamp(std::max(want.parallel, fetch.sources), 1u, kParallelSourcesMax);
  AddFirst(want, fetch.named);
  for (PeerId peer : fetch.holders) AddSourceTo(want, peer, SourceKind::kHolder);
  Pump(now, fetch.key, want, out);
  return true;
}

bool SetFetcher::Cancel(Time now, const SetKey& key, ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end() || !it->second.core_asked) return false;
  it->second.core_asked = false;
  it->second.until_cancelled = false;
  // What an envelope names is wanted all the same; what only the core asked for is not.
  if (!it->second.prefetch && !it->second.named_by_core) Remove(it, out);
  PumpWaiting(now, out);
  return true;
}

bool SetFetcher::OnHeld(Time now, const SetKey& key, ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end()) return false;
  const bool core_asked = it->second.core_asked;
  Remove(it, out);
  PumpWaiting(now, out);
  return core_asked;
}

void SetFetcher::OnCoreDetached(Time now, ActionList& out) {
  for (auto it = wants_.begin(); it != wants_.end();) {
    Want& want = it->second;
    const bool only_asked = want.core_asked && !want.prefetch && !want.named_by_core;
    want.core_asked = false;
    want.until_cancelled = false;
    it = only_asked ? Remove(it, out) : std::next(it);
  }
  PumpWaiting(now, out);
}

void SetFetcher::OnWindowMoved(Time now, ActionList& out) {
  for (auto it = wants_.begin(); it != wants_.end();) {
    const Want& want = it->second;
    if (!want.slot || want.until_cancelled || window_.IsKept(*want.slot)) {
      ++it;
      continue;
    }
    if (want.core_asked) out.push_back(CoreOutput(FetchFailed{it->first, FetchFailure::kExpired}));
    ++stats_.fetch_failed;
    it = Remove(it, out);
  }
  PumpWaiting(now, out);
}

void SetFetcher::MakeMember(Want& want) {
  want.member = true;
  ++core_wants_;
}

SetFetcher::Wants::iterator SetFetcher::Remove(Wants::iterator it, ActionList& out) {
  Want& want = it->second;
  for (RequestId id : want.active) Abandon(id, out);
  if (want.member) --core_wants_;
  if (want.prefetch) {
    --prefetches_;
    auto share = prefetches_of_.find(want.named_by);
    if (--share->second == 0) prefetches_of_.erase(share);
  }
  if (want.deadline != kTimeNever) want_deadlines_.erase({want.deadline, it->first});
  return wants_.erase(it);
}

// ---- sources ----------------------------------------------------------------------------------

void SetFetcher::AddSourceTo(Want& want, PeerId peer, SourceKind kind) {
  Source added{peer, kind};
  const auto found = std::find_if(want.sources.begin(), want.sources.end(),
                                  [&](const Source& source) { return source.peer == peer; });
  if (found != want.sources.end()) {
    if (found->state == SourceState::kFailed) found->state = SourceState::kUntried;
    if (found->kind <= kind) return;
    added.state = found->state;
    want.sources.erase(found);
  }
  if (want.sources.size() >= kSourceCountMax) return;
  const auto behind = std::find_if(want.sources.begin(), want.sources.end(),
                                   [&](const Source& source) { return source.kind > kind; });
  want.sources.insert(behind, added);
}

void SetFetcher::AddFirst(Want& want, const std::vector<PeerId>& named) {
  size_t at = 0;
  for (PeerId peer : named) {
    const auto found = std::find_if(want.sources.begin(), want.sources.end(),
                                    [&](const Source& source) { return source.peer == peer; });
    if (found != want.sources.end()) {
      if (found->state == SourceState::kFailed) found->state = SourceState::kUntried;
      const size_t from = static_cast<size_t>(found - want.sources.begin());
      if (from < at) continue;  // named twice
      found->kind = SourceKind::kNamedByCore;
      std::rotate(want.sources.begin() + at, found, found + 1);
    } else if (want.sources.size() < kSourceCountMax) {
      want.sources.insert(want.sources.begin() + at, Source{peer, SourceKind::kNamedByCore});
    } else {
      continue;
    }
    ++at;
  }
}

void SetFetcher::OnPeerConnected(Time now, PeerId peer, ActionList& out) {
  peers_.insert(std::lower_bound(peers_.begin(), peers_.end(), peer), peer);
  for (auto& [key, want] : wants_) {
    // One that only waits for slow sources is glad of another.
    if (!want.member || CountedActive(want) > 0) continue;
    AddSourceTo(want, peer, SourceKind::kOther);
    Pump(now, key, want, out);
  }
}

void SetFetcher::OnPeerDisconnected(Time now, PeerId peer, ActionList& out) {
  peers_.erase(std::remove(peers_.begin(), peers_.end(), peer), peers_.end());
  for (auto it = requests_.begin(); it != requests_.end();) {
    if (it->second.peer != peer) {
      ++it;
      continue;
    }
    Release(it->first, it->second);
    it = requests_.erase(it);
  }
  for (auto it = wants_.begin(); it != wants_.end();) {
    Want& want = it->second;
    std::erase_if(want.sources, [&](const Source& source) { return source.peer == peer; });
    if (!want.member && want.sources.empty()) {
      it = Remove(it, out);
      continue;
    }
    Pump(now, it->first, want, out);
    ++it;
  }
}

void SetFetcher::AddSource(Time now, const SetKey& key, PeerId peer, ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end()) return;
  AddSourceTo(it->second, peer, SourceKind::kHolder);
  Pump(now, key, it->second, out);
}

// ---- requests ---------------------------------------------------------------------------------

size_t SetFetcher::PlacesLeft() const {
  size_t taken = 0;
  for (const auto& [key, want] : wants_) taken += want.member && !want.active.empty();
  return taken < limits_.set_core_fetch_max ? limits_.set_core_fetch_max - taken : 0;
}

bool SetFetcher::HasPlace(const Want& want) const {
  // Prefetches were counted when they began.
  return !want.member || !want.active.empty() || PlacesLeft() > 0;
}

uint32_t SetFetcher::CountedActive(const Want& want) const {
  uint32_t counted = 0;
  for (RequestId id : want.active) counted += !requests_.at(id).overdue;
  return counted;
}

void SetFetcher::Pump(Time now, const SetKey& key, Want& want, ActionList& out) {
  if (!HasPlace(want)) return;
  const auto next_untried = [&] {
    return std::find_if(want.sources.begin(), want.sources.end(),
                        [](const Source& source) { return source.state == SourceState::kUntried; });
  };
  uint32_t counted = CountedActive(want);
  while (counted < want.parallel) {
    auto source = next_untried();
    if (source == want.sources.end() && want.member && counted == 0) {
      for (PeerId peer : peers_) {
        const bool known = std::any_of(want.sources.begin(), want.sources.end(),
                                       [&](const Source& s) { return s.peer == peer; });
        if (!known) AddSourceTo(want, peer, SourceKind::kOther);
      }
      source = next_untried();
    }
    if (source == want.sources.end()) break;
    if (want.active.size() >= kActivePerWantMax) {
      const auto oldest = std::find_if(want.active.begin(), want.active.end(),
                                       [&](RequestId id) { return requests_.at(id).overdue; });
      if (oldest == want.active.end()) break;
      const RequestId id = *oldest;
      MarkFailed(want, requests_.at(id).peer);
      want.active.erase(oldest);
      Abandon(id, out);
    }
    Ask(now, key, want, *source, out);
    ++counted;
  }
  if (counted == 0 && !want.sources.empty()) {
    if (want.deadline != kTimeNever) return;
    const Duration wait = std::min(limits_.set_retry_all_min * (1 << std::min(want.passes, 8u)),
                                   limits_.set_retry_all_max);
    SetWantDeadline(key, want, now + wait);
  } else {
    SetWantDeadline(key, want, kTimeNever);
  }
}

void SetFetcher::PumpWaiting(Time now, ActionList& out) {
  size_t places = PlacesLeft();
  for (auto it = wants_.begin(); it != wants_.end() && places > 0; ++it) {
    Want& want = it->second;
    if (!want.member || !want.active.empty()) continue;
    // One that waits for its next pass may have got a source while there was no place: one that
    // said so, or a peer that it does not know of yet (all its sources are connected).
    const bool has_untried =
        want.sources.size() < peers_.size() ||
        std::any_of(want.sources.begin(), want.sources.end(),
                    [](const Source& source) { return source.state == SourceState::kUntried; });
    if (want.deadline != kTimeNever && !has_untried) continue;
    Pump(now, it->first, want, out);
    places -= !want.active.empty();
  }
}

void SetFetcher::Ask(Time now, const SetKey& key, Want& want, Source& source, ActionList& out) {
  const RequestId id{next_request_++};
  source.state = SourceState::kAsked;
  if (want.started) ++stats_.fetch_next_source;
  if (!want.started) want.started = now;
  want.active.push_back(id);
  Request& request = requests_[id];
  request.key = key;
  request.peer = source.peer;
  SetRequestDeadline(id, request, now + limits_.set_first_byte_timeout_min);
  out.push_back(PeerCommand(RequestSet{source.peer, id, SetRequest{key, false, 0}}));
}

void SetFetcher::MarkFailed(Want& want, PeerId peer) {
  for (Source& source : want.sources) {
    if (source.peer == peer && source.state == SourceState::kAsked)
      source.state = SourceState::kFailed;
  }
}

// Forgets what a request holds and its place in its want; the source has failed.
void SetFetcher::Release(RequestId id, Request& request) {
  bytes_in_progress_ -= request.bytes.size();
  request.bytes = BytesBuilder();
  SetRequestDeadline(id, request, kTimeNever);
  if (request.failed) return;
  request.failed = true;
  auto it = wants_.find(request.key);
  if (it == wants_.end()) return;
  MarkFailed(it->second, request.peer);
  std::erase(it->second.active, id);
}

// Cancels a request that its want no longer counts; only its RequestEnded is awaited.
void SetFetcher::Abandon(RequestId id, ActionList& out) {
  Request& request = requests_.at(id);
  request.failed = true;
  Release(id, request);
  out.push_back(PeerCommand(CancelRequest{request.peer, id}));
}

void SetFetcher::Fail(Time now, RequestId id, Request& request, ActionList& out) {
  const SetKey key = request.key;
  Release(id, request);
  out.push_back(PeerCommand(CancelRequest{request.peer, id}));
  if (auto it = wants_.find(key); it != wants_.end()) Pump(now, key, it->second, out);
  PumpWaiting(now, out);
}

void SetFetcher::OnHeader(Time now, const SetHeaderReceived& header, ActionList& out) {
  auto it = requests_.find(header.request);
  if (it == requests_.end() || it->second.failed) return;
  Request& request = it->second;
  const SetHeader& h = header.header;
  if (h.found) {
    const bool sound = h.encoding == SetEncoding::kIdentity && h.encoded_bytes == h.total_bytes;
    if (!sound || h.total_bytes > BytesMax(request.key.kind)) {
      out.push_back(PeerOffence{request.peer, Offence::kWrongHash});
      Fail(now, header.request, request, out);
      return;
    }
  }
  request.header = h;
  SetRequestDeadline(header.request, request,
                     now + (request.overdue ? kOverdueTimeout : kSetProgressTimeout));
}

void SetFetcher::OnData(Time now, const SetDataReceived& data, ActionList& out) {
  auto it = requests_.find(data.request);
  if (it == requests_.end() || it->second.failed) return;
  Request& request = it->second;
  const size_t size = request.bytes.size() + data.data.size();
  if (!request.header || !request.header->found || size > request.header->encoded_bytes) {
    out.push_back(PeerOffence{request.peer, Offence::kWrongHash});
    Fail(now, data.request, request, out);
    return;
  }
  if (bytes_in_progress_ + data.data.size() > limits_.set_fetch_bytes_in_progress_max) {
    Fail(now, data.request, request, out);
    return;
  }
  request.bytes.Append(data.data.span());
  request.hash.Update(data.data.span());
  bytes_in_progress_ += data.data.size();
  stats_.received_bytes += data.data.size();
  SetRequestDeadline(data.request, request,
                     now + (request.overdue ? kOverdueTimeout : kSetProgressTimeout));
  TellProgress(request, out);
}

void SetFetcher::TellProgress(const Request& request, ActionList& out) {
  auto it = wants_.find(request.key);
  if (it == wants_.end() || !it->second.core_asked) return;
  const uint64_t received = request.bytes.size();
  if (received < it->second.progress_told + kProgressStepBytes) return;
  Want& want = it->second;
  want.progress_told = received;
  FetchProgress progress{request.key, received, request.header->total_bytes};
  for (const Source& source : want.sources) {
    progress.sources_asked += source.state != SourceState::kUntried;
    progress.sources_not_found += source.state == SourceState::kFailed;
  }
  out.push_back(CoreOutput(progress));
}

void SetFetcher::OnRequestEnded(Time now, const RequestEnded& ended,
                                std::vector<FetchedSet>& fetched, ActionList& out) {
  auto it = requests_.find(ended.request);
  if (it == requests_.end()) return;
  Request& request = it->second;
  const SetKey key = request.key;
  const bool whole = !request.failed && ended.complete && request.header && request.header->found &&
                     request.bytes.size() == request.header->encoded_bytes;
  auto want = wants_.find(key);
  if (whole && want != wants_.end() && SetHash{request.hash.Finish()} == key.hash) {
    bytes_in_progress_ -= request.bytes.size();
    FetchedSet set{.key = key,
                   .bytes = request.bytes.Finish(),
                   .from = request.peer,
                   .slot = want->second.slot,
                   .wanted_by_core = want->second.member,
                   .core_asked = want->second.core_asked,
                   .named_by = want->second.named_by,
                   .took = now - *want->second.started};
    Release(ended.request, request);
    requests_.erase(it);
    Remove(want, out);
    ++stats_.fetched;
    stats_.last_received = now;
    fetched.push_back(std::move(set));
    PumpWaiting(now, out);
    return;
  }
  if (whole) {
    ++stats_.wrong_hash;
    out.push_back(PeerOffence{request.peer, Offence::kWrongHash});
  }
  Release(ended.request, request);
  requests_.erase(it);
  if (want != wants_.end()) Pump(now, key, want->second, out);
  PumpWaiting(now, out);
}

// ---- time -------------------------------------------------------------------------------------

void SetFetcher::SetRequestDeadline(RequestId id, Request& request, Time deadline) {
  if (request.deadline != kTimeNever) request_deadlines_.erase({request.deadline, id});
  request.deadline = deadline;
  if (deadline != kTimeNever) request_deadlines_.insert({deadline, id});
}

void SetFetcher::SetWantDeadline(const SetKey& key, Want& want, Time deadline) {
  if (want.deadline != kTimeNever) want_deadlines_.erase({want.deadline, key});
  want.deadline = deadline;
  if (deadline != kTimeNever) want_deadlines_.insert({deadline, key});
}

std::optional<Time> SetFetcher::NextDeadline() const {
  Time next = kTimeNever;
  if (!request_deadlines_.empty()) next = std::min(next, request_deadlines_.begin()->first);
  if (!want_deadlines_.empty()) next = std::min(next, want_deadlines_.begin()->first);
  return next == kTimeNever ? std::nullopt : std::optional<Time>(next);
}

void SetFetcher::OnDeadline(Time now, ActionList& out) {
  while (!request_deadlines_.empty() && request_deadlines_.begin()->first <= now) {
    const RequestId id = request_deadlines_.begin()->second;
    Request& request = requests_.at(id);
    if (request.overdue) {
      Fail(now, id, request, out);
      continue;
    }
    request.overdue = true;
    SetRequestDeadline(id, request, now + kOverdueTimeout);
    auto want = wants_.find(request.key);
    Pump(now, want->first, want->second, out);
  }
  while (!want_deadlines_.empty() && want_deadlines_.begin()->first <= now) {
    const SetKey key = want_deadlines_.begin()->second;
    Want& want = wants_.at(key);
    SetWantDeadline(key, want, kTimeNever);
    ++want.passes;
    for (Source& source : want.sources) {
      if (source.state == SourceState::kFailed) source.state = SourceState::kUntried;
    }
    Pump(now, key, want, out);
  }
}

void SetFetcher::CheckInvariants() const {
  size_t bytes = 0;
  size_t core_wants = 0;
  size_t prefetches = 0;
  size_t deadlines = 0;
  absl::btree_map<PeerId, size_t> prefetches_of;
  for (const auto& [id, request] : requests_) {
    bytes += request.bytes.size();
    deadlines += request.deadline != kTimeNever;
    OVERLAY_CHECK(request.failed || wants_.contains(request.key));
    OVERLAY_CHECK(!request.failed || request.deadline == kTimeNever);
  }
  OVERLAY_CHECK(deadlines == request_deadlines_.size());
  OVERLAY_CHECK(bytes == bytes_in_progress_);
  OVERLAY_CHECK(bytes <= limits_.set_fetch_bytes_in_progress_max);
  for (const auto& [key, want] : wants_) {
    core_wants += want.member;
    prefetches += want.prefetch;
    if (want.prefetch) ++prefetches_of[want.named_by];
    OVERLAY_CHECK(want.sources.size() <= kSourceCountMax);
    OVERLAY_CHECK(std::is_sorted(want.sources.begin(), want.sources.end(),
                                 [](const Source& a, const Source& b) { return a.kind < b.kind; }));
    OVERLAY_CHECK(want.active.size() <= kActivePerWantMax);
    for (RequestId id : want.active) {
      const Request& request = requests_.at(id);
      OVERLAY_CHECK(!request.failed && request.key == key);
      const auto asked =
          std::count_if(want.sources.begin(), want.sources.end(), [&](const Source& s) {
            return s.peer == request.peer && s.state == SourceState::kAsked;
          });
      OVERLAY_CHECK(asked == 1);
    }
    OVERLAY_CHECK((want.deadline != kTimeNever) == want_deadlines_.contains({want.deadline, key}));
  }
  OVERLAY_CHECK(core_wants == core_wants_);
  OVERLAY_CHECK(prefetches == prefetches_);
  OVERLAY_CHECK(prefetches_of == prefetches_of_);
}

}  // namespace overlay::flood
