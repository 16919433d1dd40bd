#include "flood/set_fetcher.h"

#include <algorithm>

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

// A request that R2 no longer counts is cancelled after this long without a byte: its stream is
// wanted back.
constexpr Duration kOverdueTimeout = 10s;
// The core hears of progress this often at most.
constexpr uint64_t kProgressStepBytes = 1 * kMiB;
// Up to here inflating and hashing take less than the way to the worker and back.
constexpr uint64_t kInflateOnLoopBytesMax = 64 * kKiB;
// A path finds its speed in this many round trips (R8).
constexpr int kStartRoundTrips = 3;

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
  it->second.sources.Add(named_by, SourceKind::kSender);
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
  for (PeerId peer : holders) want.sources.Add(peer, SourceKind::kHolder);
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
  want.sources.AddNamed(fetch.named);
  for (PeerId peer : fetch.holders) want.sources.Add(peer, SourceKind::kHolder);
  Pump(now, fetch.key, want, out);
  return true;
}

bool SetFetcher::Cancel(Time now, const SetKey& key, ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end() || !it->second.core_asked) return false;
  it->second.core_asked = false;
  it->second.until_cancelled = false;
  // What an envelope names is wanted all the same; what only the core asked for is not.
  if (!it->second.prefetch && !it->second.named_by_core) Remove(now, it, out);
  PumpWaiting(now, out);
  return true;
}

bool SetFetcher::OnHeld(Time now, const SetKey& key, ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end()) return false;
  const bool core_asked = it->second.core_asked;
  Remove(now, it, out);
  PumpWaiting(now, out);
  return core_asked;
}

void SetFetcher::OnCoreDetached(Time now, ActionList& out) {
  for (auto it = wants_.begin(); it != wants_.end();) {
    Want& want = it->second;
    const bool only_asked = want.core_asked && !want.prefetch && !want.named_by_core;
    want.core_asked = false;
    want.until_cancelled = false;
    it = only_asked ? Remove(now, it, out) : std::next(it);
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
    it = Remove(now, it, out);
  }
  PumpWaiting(now, out);
}

void SetFetcher::MakeMember(Want& want) {
  want.member = true;
  ++core_wants_;
}

SetFetcher::Wants::iterator SetFetcher::Remove(Time now, Wants::iterator it, ActionList& out) {
  Want& want = it->second;
  for (RequestId id : std::exchange(want.active, {})) Abandon(now, id, /*keep=*/false, out);
  DropKept(want);
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

void SetFetcher::OnPeerConnected(Time now, PeerId peer, ActionList& out) {
  paces_.OnConnected(peer);
  for (auto& [key, want] : wants_) {
    // One that only waits for slow sources is glad of another.
    if (!want.member || CountedActive(want) > 0) continue;
    want.sources.Add(peer, SourceKind::kOther);
    Pump(now, key, want, out);
  }
}

void SetFetcher::OnPeerDisconnected(Time now, PeerId peer, ActionList& out) {
  paces_.OnDisconnected(peer);
  for (auto it = requests_.begin(); it != requests_.end();) {
    if (it->second.peer != peer) {
      ++it;
      continue;
    }
    Release(now, it->first, it->second, /*keep=*/true);
    it = requests_.erase(it);
  }
  for (auto it = wants_.begin(); it != wants_.end();) {
    Want& want = it->second;
    want.sources.Remove(peer);
    if (!want.member && want.sources.empty()) {
      it = Remove(now, it, out);
      continue;
    }
    Pump(now, it->first, want, out);
    ++it;
  }
}

void SetFetcher::OnPeerPath(PeerId peer, Duration rtt) {
  paces_.SetRtt(peer, rtt);
  for (auto& [id, request] : requests_) {
    if (request.peer != peer || request.failed || request.joined) continue;
    if (request.header || request.inflating) continue;
    SetRequestDeadlines(id, request, request.asked_at + paces_.FirstByteTimeoutOf(peer),
                        request.pace_at);
  }
}

void SetFetcher::AddSource(Time now, const SetKey& key, PeerId peer, ActionList& out) {
  auto it = wants_.find(key);
  if (it == wants_.end()) return;
  it->second.sources.Add(peer, SourceKind::kHolder);
  Pump(now, key, it->second, out);
}

// ---- asking -----------------------------------------------------------------------------------

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
  for (RequestId id : want.active) counted += !requests_.at(id).joined;
  return counted;
}

Source* SetFetcher::NextSource(Time now, Want& want, bool is_last_hope) {
  Source* next = want.sources.Next(now, paces_);
  if (next != nullptr || !is_last_hope) return next;
  if (want.member) {
    for (PeerId peer : paces_.Connected()) {
      if (!want.sources.Contains(peer)) want.sources.Add(peer, SourceKind::kOther);
    }
    next = want.sources.Next(now, paces_);
  }
  if (next == nullptr && want.sources.HasRefusedRange()) {
    FetchWhole(want);
    next = want.sources.Next(now, paces_);
  }
  return next;
}

// Makes room by giving up the slowest, where that must be.
bool SetFetcher::HasRoomToAsk(Time now, Want& want, ActionList& out) {
  if (want.active.size() < kActivePerWantMax) return true;
  const auto oldest = std::find_if(want.active.begin(), want.active.end(), [&](RequestId id) {
    const Request& request = requests_.at(id);
    return request.joined && !request.inflating;
  });
  if (oldest == want.active.end()) return false;
  Abandon(now, *oldest, /*keep=*/true, out);
  return true;
}

void SetFetcher::Pump(Time now, const SetKey& key, Want& want, ActionList& out) {
  if (!HasPlace(want)) return;
  uint32_t counted = CountedActive(want);
  while (counted < (want.whole ? 1 : want.parallel)) {
    Source* const source = NextSource(now, want, /*is_last_hope=*/counted == 0);
    if (source == nullptr || !HasRoomToAsk(now, want, out)) break;
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
    // said so, one that only refused a range, or a peer that it does not know of yet (all its
    // sources are connected).
    const bool has_untried = want.sources.size() < paces_.connected_count() ||
                             want.sources.HasUntried() || want.sources.HasRefusedRange();
    if (want.deadline != kTimeNever && !has_untried) continue;
    Pump(now, it->first, want, out);
    places -= !want.active.empty();
  }
}

void SetFetcher::Ask(Time now, const SetKey& key, Want& want, Source& source, ActionList& out) {
  const RequestId id{next_request_++};
  want.sources.MarkAsked(now, source);
  if (want.started) ++stats_.fetch_next_source;
  if (!want.started) want.started = now;
  want.active.push_back(id);
  Request& request = requests_[id];
  request.key = key;
  request.peer = source.peer;
  request.asked_at = now;
  if (want.kept) {
    ++stats_.fetch_resumed;
    request.body = std::move(want.kept->body);
    request.offset = request.body.bytes.size();
    request.total_bytes = want.kept->total_bytes;
    want.kept.reset();
  }
  SetRequestDeadlines(id, request, now + paces_.FirstByteTimeoutOf(source.peer), kTimeNever);
  request.takes_zstd = GainsByZstd(now, request);
  out.push_back(PeerCommand(
      RequestSet{source.peer, id, SetRequest{key, request.takes_zstd, request.offset}}));
}

bool SetFetcher::GainsByZstd(Time now, const Request& request) const {
  if (request.key.kind != SetKind::kTxSet || request.offset > 0) return false;
  const std::optional<uint64_t> rate = paces_.RateOf(now, request.peer);
  if (rate) return *rate < limits_.set_zstd_below_bytes_per_second;
  return paces_.RttOf(request.peer) > limits_.set_zstd_beyond_rtt;
}

// ---- ends of requests -------------------------------------------------------------------------

AskState SetFetcher::OutcomeOf(const Request& request) {
  if (request.bad) return AskState::kBad;
  if (request.header && !request.header->found) return AskState::kNotFound;
  return request.joined ? AskState::kSilent : AskState::kBroken;
}

void SetFetcher::Release(Time now, RequestId id, Request& request, bool keep) {
  if (request.failed) return;
  request.failed = true;
  SetRequestDeadlines(id, request, kTimeNever, kTimeNever);
  if (request.header && request.header->found) {
    paces_.AddAnswer(now, request.peer, request.body.bytes.size() - request.offset,
                     now - request.header_at);
  }
  Want& want = wants_.at(request.key);
  want.sources.MarkFailed(request.peer, request.refused_range, OutcomeOf(request));
  std::erase(want.active, id);
  bytes_in_progress_ -= BytesOf(request);
  if (keep) Keep(want, request);
  request.body = Body();
  request.taken_bytes = 0;
  if (!request.inflating) return;
  compute_.Cancel(*request.inflating);
  inflating_.erase(*request.inflating);
}

void SetFetcher::Abandon(Time now, RequestId id, bool keep, ActionList& out) {
  Request& request = requests_.at(id);
  Release(now, id, request, keep);
  if (request.inflating) {
    requests_.erase(id);  // it has ended
    return;
  }
  out.push_back(PeerCommand(CancelRequest{request.peer, id}));
}

void SetFetcher::Fail(Time now, RequestId id, bool keep, ActionList& out) {
  Abandon(now, id, keep, out);
  const auto want = wants_.find(requests_.at(id).key);
  Pump(now, want->first, want->second, out);
  PumpWaiting(now, out);
}

void SetFetcher::Join(Time now, RequestId id, Request& request, Joined why, ActionList& out) {
  request.joined = true;
  SetRequestDeadlines(id, request, now + kOverdueTimeout, kTimeNever);
  const uint64_t asked_before = next_request_;
  const auto want = wants_.find(request.key);
  Pump(now, want->first, want->second, out);
  if (next_request_ == asked_before) return;
  switch (why) {
    case Joined::kNoFirstByte:
      ++stats_.fetch_hedged_first_byte;
      return;
    case Joined::kStalled:
      ++stats_.fetch_hedged_stalled;
      return;
    case Joined::kSlow:
      ++stats_.fetch_hedged_slow;
      return;
  }
}

// ---- what is kept -----------------------------------------------------------------------------

// A compressed answer has no bytes of the set before it is whole.
void SetFetcher::Keep(Want& want, Request& request) {
  const size_t size = request.body.bytes.size();
  const bool plain = !request.header || request.header->encoding == SetEncoding::kIdentity;
  if (want.whole || !plain || size < limits_.set_resume_bytes_min || size >= request.total_bytes) {
    return;
  }
  if (want.kept && want.kept->body.bytes.size() >= size) return;
  DropKept(want);
  want.kept = Kept{std::move(request.body), request.total_bytes};
  bytes_in_progress_ += size;
}

void SetFetcher::DropKept(Want& want) {
  if (want.kept) bytes_in_progress_ -= want.kept->body.bytes.size();
  want.kept.reset();
}

void SetFetcher::FetchWhole(Want& want) {
  want.whole = true;
  DropKept(want);
  want.sources.RetryRefusedRanges();
}

size_t SetFetcher::BytesHeld(const Want& want) const {
  size_t bytes = want.kept ? want.kept->body.bytes.size() : 0;
  for (const RequestId id : want.active) bytes += BytesOf(requests_.at(id));
  return bytes;
}

bool SetFetcher::MakeRoom(Time now, size_t bytes, bool for_core, ActionList& out) {
  const auto most = [&](const auto& bytes_of) {
    auto most = wants_.end();
    size_t most_bytes = 0;
    for (auto it = wants_.begin(); it != wants_.end(); ++it) {
      if (bytes_of(it->second) <= most_bytes) continue;
      most = it;
      most_bytes = bytes_of(it->second);
    }
    return most;
  };
  while (bytes_in_progress_ + bytes > limits_.set_fetch_bytes_in_progress_max) {
    const auto kept =
        most([](const Want& want) { return want.kept ? want.kept->body.bytes.size() : 0; });
    if (kept != wants_.end()) {
      DropKept(kept->second);
      continue;
    }
    if (!for_core) return false;
    const auto guess = most([&](const Want& want) { return want.member ? 0 : BytesHeld(want); });
    if (guess == wants_.end()) return false;
    ++stats_.prefetch_displaced;
    Remove(now, guess, out);
  }
  return true;
}

// ---- answers ----------------------------------------------------------------------------------

bool SetFetcher::IsComplete(const Request& request) {
  return request.header && request.header->found &&
         request.body.bytes.size() == request.offset + request.header->encoded_bytes;
}

void SetFetcher::OnHeader(Time now, const SetHeaderReceived& header, ActionList& out) {
  auto it = requests_.find(header.request);
  if (it == requests_.end() || it->second.failed) return;
  Request& request = it->second;
  const SetHeader& h = header.header;
  Time pace_at = kTimeNever;
  if (h.found) {
    const bool sound =
        h.encoding == SetEncoding::kIdentity
            ? h.total_bytes >= request.offset && h.encoded_bytes == h.total_bytes - request.offset
            : request.takes_zstd && h.encoded_bytes <= h.total_bytes;
    if (!sound || h.total_bytes > BytesMax(request.key.kind)) {
      request.bad = true;
      out.push_back(PeerOffence{request.peer, Offence::kWrongHash});
      return Fail(now, header.request, /*keep=*/true, out);
    }
    if (request.offset > 0 && h.total_bytes != request.total_bytes) {
      ++stats_.wrong_mixed;
      request.refused_range = true;
      Abandon(now, header.request, /*keep=*/false, out);
      const auto want = wants_.find(request.key);
      FetchWhole(want->second);
      Pump(now, want->first, want->second, out);
      return PumpWaiting(now, out);
    }
    request.total_bytes = h.total_bytes;
    request.pace_from = now + kStartRoundTrips * paces_.RttOf(request.peer);
    request.pace_bytes = request.body.bytes.size();
    if (!request.joined) pace_at = request.pace_from + kSetPaceWindow;
  } else {
    request.refused_range = request.offset > 0;
  }
  request.header = h;
  request.header_at = now;
  SetRequestDeadlines(header.request, request,
                      now + (request.joined ? kOverdueTimeout : kSetProgressTimeout), pace_at);
}

void SetFetcher::OnData(Time now, const SetDataReceived& data, ActionList& out) {
  auto it = requests_.find(data.request);
  if (it == requests_.end() || it->second.failed) return;
  Request& request = it->second;
  const size_t size = request.body.bytes.size() + data.data.size();
  if (!request.header || !request.header->found ||
      size > request.offset + request.header->encoded_bytes) {
    request.bad = true;
    out.push_back(PeerOffence{request.peer, Offence::kWrongHash});
    return Fail(now, data.request, /*keep=*/true, out);
  }
  if (!MakeRoom(now, data.data.size(), wants_.at(request.key).member, out)) {
    return Fail(now, data.request, /*keep=*/false, out);
  }
  request.body.bytes.Append(data.data.span());
  if (request.header->encoding == SetEncoding::kIdentity) {
    request.body.hash.Update(data.data.span());
  }
  bytes_in_progress_ += data.data.size();
  stats_.received_bytes += data.data.size();
  SetRequestDeadlines(data.request, request,
                      now + (request.joined ? kOverdueTimeout : kSetProgressTimeout),
                      IsComplete(request) ? kTimeNever : request.pace_at);
  TellProgress(request, out);
}

// Of the set, whatever its encoding.
uint64_t SetFetcher::ReceivedOf(const Request& request) {
  const uint64_t received = request.body.bytes.size();
  if (!request.header || !request.header->found || received == 0) return received;
  return received * request.total_bytes / (request.offset + request.header->encoded_bytes);
}

void SetFetcher::TellProgress(const Request& request, ActionList& out) {
  Want& want = wants_.at(request.key);
  const uint64_t received = request.body.bytes.size();
  if (!want.core_asked || received < want.progress_told + kProgressStepBytes) return;
  want.progress_told = received;
  FetchProgress progress{request.key, ReceivedOf(request), request.total_bytes};
  for (const Source& source : want.sources.list()) {
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
  if (request.failed) {
    requests_.erase(it);
    return;
  }
  if (ended.complete && IsComplete(request)) {
    Judge(now, ended.request, fetched, out);
  } else {
    const auto want = wants_.find(request.key);
    Release(now, ended.request, request, /*keep=*/true);
    Pump(now, want->first, want->second, out);
    requests_.erase(it);
  }
  PumpWaiting(now, out);
}

void SetFetcher::Judge(Time now, RequestId id, std::vector<FetchedSet>& fetched, ActionList& out) {
  Request& request = requests_.at(id);
  const bool plain = request.header->encoding == SetEncoding::kIdentity;
  const size_t size = request.body.bytes.size();
  paces_.AddAnswer(now, request.peer, size - request.offset, now - request.header_at);
  request.header.reset();  // its rate is told
  if (!plain) return Inflate(now, id, fetched, out);
  const auto want = wants_.find(request.key);
  if (SetHash{request.body.hash.Finish()} == want->first.hash) {
    request.taken_bytes = size;
    fetched.push_back(Fulfil(now, want, id, request.body.bytes.Finish(), out));
  } else {
    const bool mixed = request.offset > 0;
    request.refused_range = mixed;
    request.bad = !mixed;
    ++(mixed ? stats_.wrong_mixed : stats_.wrong_hash);
    if (!mixed) out.push_back(PeerOffence{request.peer, Offence::kWrongHash});
    Release(now, id, request, /*keep=*/false);
    if (mixed) FetchWhole(want->second);
    Pump(now, want->first, want->second, out);
  }
  requests_.erase(id);
}

void SetFetcher::Inflate(Time now, RequestId id, std::vector<FetchedSet>& fetched,
                         ActionList& out) {
  Request& request = requests_.at(id);
  SetRequestDeadlines(id, request, kTimeNever, kTimeNever);
  request.taken_bytes = request.body.bytes.size();
  Bytes frame = request.body.bytes.Finish();
  if (request.total_bytes <= kInflateOnLoopBytesMax) {
    const Compute compute{0, Compute::Kind::kInflate, std::move(frame), request.total_bytes};
    return OnInflated(now, id, RunCompute(compute), fetched, out);
  }
  request.inflating = compute_.Inflate(std::move(frame), request.total_bytes, out);
  inflating_.emplace(*request.inflating, id);
}

void SetFetcher::OnComputed(Time now, const Computed& computed, std::vector<FetchedSet>& fetched,
                            ActionList& out) {
  const auto it = inflating_.find(computed.id);
  if (it == inflating_.end()) return;
  const RequestId id = it->second;
  inflating_.erase(it);
  requests_.at(id).inflating.reset();
  OnInflated(now, id, computed, fetched, out);
  PumpWaiting(now, out);
}

void SetFetcher::OnInflated(Time now, RequestId id, const Computed& computed,
                            std::vector<FetchedSet>& fetched, ActionList& out) {
  Request& request = requests_.at(id);
  const auto want = wants_.find(request.key);
  const bool is_done = computed.outcome == Computed::Outcome::kDone;
  if (is_done && SetHash{computed.sha256} == want->first.hash) {
    ++stats_.inflated;
    fetched.push_back(Fulfil(now, want, id, computed.output, out));
  } else {
    // What our own worker could not do is nobody's fault; the next source may send it plain.
    if (computed.outcome != Computed::Outcome::kNotDone) {
      ++(is_done ? stats_.wrong_hash : stats_.bad_frame);
      request.bad = true;
      out.push_back(PeerOffence{request.peer, Offence::kWrongHash});
    }
    Release(now, id, request, /*keep=*/false);
    Pump(now, want->first, want->second, out);
  }
  requests_.erase(id);
}

FetchedSet SetFetcher::Fulfil(Time now, Wants::iterator want, RequestId by, Bytes bytes,
                              ActionList& out) {
  Request& request = requests_.at(by);
  FetchedSet set{.key = want->first,
                 .bytes = std::move(bytes),
                 .from = request.peer,
                 .slot = want->second.slot,
                 .wanted_by_core = want->second.member,
                 .core_asked = want->second.core_asked,
                 .named_by = want->second.named_by};
  for (const RequestId id : want->second.active) {
    const Request& other = requests_.at(id);
    if (id != by) stats_.duplicate_bytes += BytesOf(other) - other.offset;
  }
  Release(now, by, request, /*keep=*/false);
  Remove(now, want, out);
  ++stats_.fetched;
  stats_.last_received = now;
  return set;
}

// ---- time -------------------------------------------------------------------------------------

void SetFetcher::SetRequestDeadlines(RequestId id, Request& request, Time silent_at, Time pace_at) {
  request.silent_at = silent_at;
  request.pace_at = pace_at;
  const Time deadline = std::min(silent_at, pace_at);
  if (deadline == request.deadline) return;
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

bool SetFetcher::IsSlow(Time now, const Request& request) const {
  const auto want = wants_.find(request.key);
  std::optional<uint64_t> expected = paces_.RateOf(now, request.peer);
  if (!expected) expected = want->second.sources.FastestUntried(now, paces_);
  if (!expected) return false;
  const uint64_t bytes = request.body.bytes.size() - request.pace_bytes;
  const auto us = static_cast<uint64_t>(ToMicros(now - request.pace_from));
  return 2 * bytes * 1'000'000 < *expected * us;
}

void SetFetcher::OnRequestDeadline(Time now, RequestId id, ActionList& out) {
  Request& request = requests_.at(id);
  if (now >= request.silent_at) {
    if (request.joined) return Fail(now, id, /*keep=*/true, out);
    return Join(now, id, request, request.header ? Joined::kStalled : Joined::kNoFirstByte, out);
  }
  if (IsSlow(now, request)) return Join(now, id, request, Joined::kSlow, out);
  request.pace_from = now;
  request.pace_bytes = request.body.bytes.size();
  SetRequestDeadlines(id, request, request.silent_at, now + kSetPaceWindow);
}

void SetFetcher::OnDeadline(Time now, ActionList& out) {
  while (!request_deadlines_.empty() && request_deadlines_.begin()->first <= now) {
    OnRequestDeadline(now, request_deadlines_.begin()->second, out);
  }
  while (!want_deadlines_.empty() && want_deadlines_.begin()->first <= now) {
    const auto it = wants_.find(want_deadlines_.begin()->second);
    Want& want = it->second;
    SetWantDeadline(it->first, want, kTimeNever);
    ++want.passes;
    want.sources.RetryFailed();
    Pump(now, it->first, want, out);
  }
}

}  // namespace overlay::flood
