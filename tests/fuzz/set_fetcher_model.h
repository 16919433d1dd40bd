// tests/fuzz/set_fetcher_model.h
//
// The set fetcher a second time, slowly: what each input makes of the books (set_fetcher_books.h),
// and what it makes the fetcher do.
#ifndef OVERLAY_TESTS_FUZZ_SET_FETCHER_MODEL_H_
#define OVERLAY_TESTS_FUZZ_SET_FETCHER_MODEL_H_

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/set_fetcher_books.h"

namespace overlay::flood {

class SetFetcherModel : public SetFetcherBooks {
 public:
  using SetFetcherBooks::SetFetcherBooks;

  bool Prefetch(Time now, const SetKey& key, LedgerSeq slot, PeerId by) {
    if (!wants.contains(key)) {
      size_t of_peer = 0, of_all = 0;
      for (const auto& [other, want] : wants) {
        of_all += want.prefetch;
        of_peer += want.prefetch && want.named_by == by;
      }
      if (of_all >= limits_.set_prefetch_total_max) return false;
      if (of_peer >= limits_.set_prefetch_per_peer_max) return false;
      Want& want = wants[key];
      want.prefetch = true;
      want.named_by = by;
      want.slot = slot;
    }
    Want& want = wants[key];
    if (!want.member && *want.slot < slot) want.slot = slot;
    AddSource(now, key, by, kSender);
    return true;
  }
  void WantForCore(Time now, const SetKey& key, LedgerSeq slot,
                   const std::vector<PeerId>& holders) {
    Want& want = wants[key];
    Bind(want, slot);
    want.named_by_core = true;
    for (const PeerId peer : holders) Add(want, peer, kHolder);
    Pump(now, key);
  }
  template <class CoreFetch>
  void Fetch(Time now, const CoreFetch& fetch) {
    Want& want = wants[fetch.key];
    Bind(want, fetch.slot);
    want.core_asked = true;
    want.until_cancelled |= fetch.until_cancelled;
    want.parallel = std::min<uint32_t>(3, std::max({want.parallel, fetch.sources, 1u}));
    // Those that the core names come first, each once.
    std::vector<Source> sources;
    const auto has = [&](PeerId peer) {
      return std::any_of(sources.begin(), sources.end(),
                         [&](const Source& source) { return source.peer == peer; });
    };
    for (const PeerId peer : fetch.named) {
      if (has(peer)) continue;
      Source source{peer, kNamedByCore};
      for (const Source& old : want.sources) {
        if (old.peer == peer && old.state == State::kAsked) source.state = State::kAsked;
      }
      sources.push_back(source);
    }
    for (const Source& old : want.sources) {
      if (!has(old.peer)) sources.push_back(old);
    }
    want.sources = sources;
    for (const PeerId peer : fetch.holders) Add(want, peer, kHolder);
    Pump(now, fetch.key);
  }
  bool Cancel(Time now, const SetKey& key) {
    if (!wants.contains(key) || !wants[key].core_asked) return false;
    Want& want = wants[key];
    want.core_asked = want.until_cancelled = false;
    if (!want.prefetch && !want.named_by_core) Remove(now, key);
    return true;
  }
  bool Held(Time now, const SetKey& key) {
    if (!wants.contains(key)) return false;
    const bool core_asked = wants[key].core_asked;
    Remove(now, key);
    return core_asked;
  }
  void Detached(Time now) {
    for (const SetKey& key : Keys()) Cancel(now, key);
  }
  void WindowMoved(Time now) {
    for (const SetKey& key : Keys()) {
      const Want& want = wants[key];
      if (!want.slot || want.until_cancelled || window_.IsKept(*want.slot)) continue;
      if (want.core_asked) expected.expired.insert(NumberOf(key));
      Remove(now, key);
    }
  }

  void Connected(Time now, PeerId peer) {
    peers_[peer];
    for (const SetKey& key : Keys()) {
      if (wants[key].member && Counted(key) == 0) AddSource(now, key, peer, kOther);
    }
  }
  void Disconnected(Time now, PeerId peer) {
    peers_.erase(peer);
    for (Request& request : requests) {
      if (request.peer == peer && !request.cancelled) Keep(request);
    }
    std::erase_if(requests, [&](const Request& request) { return request.peer == peer; });
    for (const SetKey& key : Keys()) {
      std::erase_if(wants[key].sources, [&](const Source& source) { return source.peer == peer; });
      if (!wants[key].member && wants[key].sources.empty()) {
        Remove(now, key);
      } else {
        Pump(now, key);
      }
    }
  }
  void Path(PeerId peer, Duration rtt) {
    peers_[peer].rtt = rtt;
    for (Request& request : requests) {
      if (request.peer != peer || request.cancelled || request.overdue || request.header) continue;
      request.silent_at = request.asked_at + FirstByteTimeout(peer);
    }
  }
  void AddSource(Time now, const SetKey& key, PeerId peer, Kind kind) {
    if (!wants.contains(key)) return;
    Add(wants[key], peer, kind);
    Pump(now, key);
  }

  void Header(Time now, RequestId id, const SetHeader& header) {
    Request& request = *Find(id);
    if (request.cancelled) return;
    const size_t bytes_max = request.key.kind == SetKind::kTxSet ? limits_.tx_set_bytes_max
                                                                 : limits_.quorum_set_bytes_max;
    // What comes is the set, or the rest of it, or a frame that is no longer.
    const bool fits = header.encoding == SetEncoding::kIdentity
                          ? header.encoded_bytes + request.offset == header.total_bytes
                          : request.takes_zstd && header.encoded_bytes <= header.total_bytes;
    const bool is_sound = fits && header.total_bytes <= bytes_max;
    if (header.found && !is_sound) return Offend(now, request);
    if (header.found && request.offset > 0 && header.total_bytes != request.total) {
      const SetKey key = request.key;
      request.refused_range = true;
      Stop(now, request, /*keep=*/false);
      FetchWhole(wants[key]);
      return Pump(now, key);
    }
    if (header.found) {
      request.total = header.total_bytes;
      request.ends_at = request.offset + header.encoded_bytes;
      request.window_from = now + 3 * peers_[request.peer].rtt;
      request.window_bytes = request.bytes.size();
      if (!request.overdue) request.window_ends = request.window_from + 500ms;
    } else if (request.offset > 0) {
      request.refused_range = true;
    }
    request.header = header;
    request.header_at = now;
    Heard(now, request);
  }
  void Data(Time now, RequestId id, const std::string& bytes) {
    Request& request = *Find(id);
    if (request.cancelled) return;
    if (!request.header || !request.header->found ||
        request.bytes.size() + bytes.size() > request.ends_at) {
      return Offend(now, request);
    }
    const SetKey key = request.key;
    if (!MakeRoom(now, bytes.size(), wants[key].member)) {
      return Break(now, *Find(id), /*keep=*/false);
    }
    Request& still = *Find(id);
    still.bytes += bytes;
    Heard(now, still);
    if (still.bytes.size() == still.ends_at) still.window_ends.reset();
  }
  // The want that it fulfils, if it does.
  std::optional<std::pair<SetKey, Want>> Ended(Time now, RequestId id, bool complete) {
    Request request = *Find(id);
    if (request.cancelled) {
      std::erase_if(requests, [&](const Request& other) { return other.id == id; });
      return std::nullopt;
    }
    Measure(now, request);
    Want& want = wants[request.key];
    const bool whole = complete && request.header && request.header->found &&
                       request.bytes.size() == request.ends_at;
    const Content& content = Contents()[NumberOf(request.key)];
    const bool is_frame = whole && request.header->encoding == SetEncoding::kZstd;
    const bool is_right =
        whole && (is_frame ? request.bytes == content.frame && request.total == content.bytes.size()
                           : request.bytes == content.bytes);
    const bool is_mixed = request.offset > 0;
    if (!is_right && !whole) Keep(request);
    std::erase_if(requests, [&](const Request& other) { return other.id == id; });
    if (is_right) {
      const Want fulfilled = want;
      Remove(now, request.key);
      return std::pair(request.key, fulfilled);
    }
    if (whole && !is_mixed) expected.offenders.insert(request.peer.value);
    Fail(request.key, request.peer, request.refused_range || (whole && is_mixed));
    if (whole && is_mixed) FetchWhole(want);
    Pump(now, request.key);
    return std::nullopt;
  }

  void Deadline(Time now) {
    while (Request* const request = FirstDue(now)) {
      if (*request->silent_at <= now && request->overdue) {
        Break(now, *request, /*keep=*/true);
        PumpWaiting(now);
      } else if (*request->silent_at <= now || IsSlow(now, *request)) {
        request->overdue = true;
        request->silent_at = now + 10s;
        request->window_ends.reset();
        Pump(now, SetKey(request->key));
      } else {
        request->window_from = now;
        request->window_bytes = request->bytes.size();
        request->window_ends = now + 500ms;
      }
    }
    while (true) {
      std::optional<SetKey> first;
      for (auto& [key, want] : wants) {
        if (!want.retry_at || *want.retry_at > now) continue;
        if (!first || *want.retry_at < *wants[*first].retry_at) first = key;
      }
      if (!first) return;
      Want& want = wants[*first];
      want.retry_at.reset();
      ++want.passes;
      for (Source& source : want.sources) {
        if (source.state == State::kFailed) source = {source.peer, source.kind};
      }
      Pump(now, *first);
    }
  }

  // A want that waits for a place gets one as soon as there is one, whatever freed it.
  void PumpWaiting(Time now) {
    for (const SetKey& key : Keys()) {
      if (wants[key].member && Open(key).empty()) Pump(now, key);
    }
  }

 private:
  void Pump(Time now, const SetKey& key) {
    if (!HasPlace(key)) return;
    Want& want = wants[key];
    while (Counted(key) < (want.whole ? 1 : want.parallel)) {
      Source* next = Untried(now, want);
      if (next == nullptr && want.member && Counted(key) == 0) {
        for (const auto& [peer, pace] : peers_) {
          if (SourceOf(want, peer) == nullptr) Add(want, peer, kOther);
        }
        next = Untried(now, want);
      }
      const bool refused = std::any_of(want.sources.begin(), want.sources.end(),
                                       [](const Source& source) { return source.refused_range; });
      if (next == nullptr && Counted(key) == 0 && refused) {
        FetchWhole(want);
        next = Untried(now, want);
      }
      if (next == nullptr) break;
      if (Open(key).size() >= 6 && !CancelSlowest(now, key)) break;
      next->state = State::kAsked;
      Request& request = requests.emplace_back();
      request.key = key;
      request.peer = next->peer;
      request.asked_at = now;
      request.silent_at = now + FirstByteTimeout(next->peer);
      request.bytes = std::exchange(want.kept, {});
      request.offset = request.bytes.size();
      request.takes_zstd = GainsByZstd(now, request);
      request.total = request.offset > 0 ? want.kept_total : 0;
      expected.asked.insert({NumberOf(key), request.peer.value, request.offset});
    }
    if (Counted(key) > 0 || want.sources.empty()) {
      want.retry_at.reset();
    } else if (!want.retry_at) {
      Duration wait = limits_.set_retry_all_min;
      for (uint32_t i = 0; i < want.passes && wait < 15s; ++i) wait *= 2;
      want.retry_at = now + std::min<Duration>(wait, limits_.set_retry_all_max);
    }
  }
  bool GainsByZstd(Time now, const Request& request) {
    if (request.key.kind == SetKind::kQuorumSet || request.offset > 0) return false;
    if (const auto rate = RateOf(now, request.peer)) {
      return *rate < limits_.set_zstd_below_bytes_per_second;
    }
    return peers_[request.peer].rtt > limits_.set_zstd_beyond_rtt;
  }
  bool CancelSlowest(Time now, const SetKey& key) {
    for (Request* request : Open(key)) {
      if (!request->overdue) continue;
      Stop(now, *request, /*keep=*/true);
      return true;
    }
    return false;
  }
  // What is only kept goes; then for the core what was only guessed.
  bool MakeRoom(Time now, size_t bytes, bool for_core) {
    while (BytesInProgress() + bytes > limits_.set_fetch_bytes_in_progress_max) {
      Want* kept = nullptr;
      std::optional<SetKey> guess;
      for (auto& [key, want] : wants) {
        if (want.kept.size() > (kept == nullptr ? 0 : kept->kept.size())) kept = &want;
        if (!want.member && BytesOf(key) > (guess ? BytesOf(*guess) : 0)) guess = key;
      }
      if (kept != nullptr) {
        kept->kept.clear();
      } else if (for_core && guess) {
        Remove(now, *guess);
      } else {
        return false;
      }
    }
    return true;
  }
  // Cancelled: only its end is awaited.
  void Stop(Time now, Request& request, bool keep) {
    Measure(now, request);
    request.cancelled = true;
    request.silent_at.reset();
    request.window_ends.reset();
    if (keep) Keep(request);
    request.bytes.clear();
    Fail(request.key, request.peer, request.refused_range);
    expected.cancelled.insert({NumberOf(request.key), request.peer.value, request.offset});
  }
  void Break(Time now, Request& request, bool keep) {
    const SetKey key = request.key;
    Stop(now, request, keep);
    Pump(now, key);
  }
  void Offend(Time now, Request& request) {
    expected.offenders.insert(request.peer.value);
    Break(now, request, /*keep=*/true);
  }
  void Remove(Time now, const SetKey& key) {
    for (Request* request : Open(key)) Stop(now, *request, /*keep=*/false);
    wants.erase(key);
  }
};

}  // namespace overlay::flood

#endif  // OVERLAY_TESTS_FUZZ_SET_FETCHER_MODEL_H_
