// tests/fuzz/set_fetcher_books.h
//
// What the model of the set fetcher (set_fetcher_model.h) keeps: wants, sources, requests and what
// was measured of peers, in plain lists, and the questions that it asks of them by looking through
// all of them.
#ifndef OVERLAY_TESTS_FUZZ_SET_FETCHER_BOOKS_H_
#define OVERLAY_TESTS_FUZZ_SET_FETCHER_BOOKS_H_

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/compress.h"
#include "flood/base/crypto.h"
#include "flood/base/limits.h"
#include "flood/base/peer_io.h"
#include "flood/slot_window.h"

namespace overlay::flood {

using namespace std::chrono_literals;

inline constexpr size_t kSetCount = 5;

struct Content {
  SetKey key;
  std::string bytes;
  std::string frame;
};
// A tx set of each size, but for the last: a quorum set.
inline const std::array<Content, kSetCount>& Contents() {
  static const auto* const kContents = [] {
    auto* contents = new std::array<Content, kSetCount>;
    constexpr std::array<size_t, kSetCount> kSizes = {10, 0, 40, 100, 30};
    for (size_t i = 0; i < kSetCount; ++i) {
      std::string& bytes = (*contents)[i].bytes;
      bytes = std::string(kSizes[i], static_cast<char>('a' + i));
      (*contents)[i].frame = std::string(ZstdCompress(Bytes::Copy(bytes).span())->view());
      (*contents)[i].key = {i + 1 < kSetCount ? SetKind::kTxSet : SetKind::kQuorumSet,
                            HashOf<SetHash>(Bytes::Copy(bytes).span())};
    }
    return contents;
  }();
  return *kContents;
}
inline size_t NumberOf(const SetKey& key) {
  size_t number = 0;
  while (Contents()[number].key != key) ++number;
  return number;
}

using Asked = std::multiset<std::array<uint64_t, 3>>;  // set, peer, offset
using Peers = std::multiset<uint64_t>;

struct Expected {
  Asked asked, cancelled;  // what was cancelled: with the offset that was asked for
  Peers offenders;
  std::multiset<size_t> expired;
};

class SetFetcherBooks {
 public:
  SetFetcherBooks(const Limits& limits, const SlotWindow& window)
      : limits_(limits), window_(window) {}

  enum class State : uint8_t { kUntried, kAsked, kFailed };
  // In this order they are asked; those of a kind in the order in which they became it.
  enum Kind : uint8_t { kNamedByCore, kSender, kHolder, kOther };
  struct Source {
    PeerId peer;
    Kind kind = kOther;
    State state = State::kUntried;
    bool refused_range = false;
  };
  struct Want {
    std::optional<LedgerSeq> slot;
    bool prefetch = false, member = false, named_by_core = false, core_asked = false;
    bool until_cancelled = false;
    PeerId named_by;
    uint32_t parallel = 1;
    std::vector<Source> sources;
    std::string kept;  // of a source that died; empty: nothing
    uint64_t kept_total = 0;
    bool whole = false;  // no ranges any more
    uint32_t passes = 0;
    std::optional<Time> retry_at;
  };
  struct Request {
    std::optional<RequestId> id;  // none until the component has said it
    SetKey key;
    PeerId peer;
    std::optional<SetHeader> header;
    std::string bytes;  // with those of others before `offset`
    uint64_t offset = 0, total = 0;
    uint64_t ends_at = 0;  // bytes: those before `offset`, and what comes
    bool takes_zstd = false;
    bool cancelled = false, overdue = false, refused_range = false;
    Time asked_at, header_at, window_from;
    size_t window_bytes = 0;
    std::optional<Time> silent_at, window_ends;
    std::optional<Time> Deadline() const {
      return window_ends ? std::min(*silent_at, *window_ends) : silent_at;
    }
  };
  // What was measured of a connected peer.
  struct Pace {
    Duration rtt{};
    std::optional<uint64_t> rate;
    Time measured_at;
  };
  std::map<SetKey, Want> wants;  // in this order they get places
  std::vector<Request> requests;
  Expected expected;

  std::optional<Time> NextDeadline() const {
    std::optional<Time> next;
    const auto consider = [&](const std::optional<Time>& at) {
      if (at) next = next ? std::min(*next, *at) : *at;
    };
    for (const Request& request : requests) consider(request.Deadline());
    for (const auto& [key, want] : wants) consider(want.retry_at);
    return next;
  }
  size_t BytesInProgress() const {
    size_t bytes = 0;
    for (const Request& request : requests) bytes += request.bytes.size();
    for (const auto& [key, want] : wants) bytes += want.kept.size();
    return bytes;
  }

 protected:
  std::vector<SetKey> Keys() const {
    std::vector<SetKey> keys;
    for (const auto& [key, want] : wants) keys.push_back(key);
    return keys;
  }
  Request* Find(RequestId id) {
    for (Request& request : requests) {
      if (request.id == id) return &request;
    }
    return nullptr;
  }
  static Source* SourceOf(Want& want, PeerId peer) {
    for (Source& source : want.sources) {
      if (source.peer == peer) return &source;
    }
    return nullptr;
  }
  // The core's first word binds it to a slot; what peers said does not count then.
  static void Bind(Want& want, std::optional<LedgerSeq> slot) {
    if (!want.member || !want.slot) want.slot = slot;
    want.member = true;
  }
  std::vector<Request*> Open(const SetKey& key) {
    std::vector<Request*> open;
    for (Request& request : requests) {
      if (request.key == key && !request.cancelled) open.push_back(&request);
    }
    return open;
  }
  size_t Counted(const SetKey& key) {
    size_t counted = 0;
    for (const Request* request : Open(key)) counted += !request->overdue;
    return counted;
  }
  bool HasPlace(const SetKey& key) {
    if (!wants[key].member || !Open(key).empty()) return true;
    size_t taken = 0;
    for (const SetKey& other : Keys()) taken += wants[other].member && !Open(other).empty();
    return taken < limits_.set_core_fetch_max;
  }
  Duration FirstByteTimeout(PeerId peer) {
    return std::clamp<Duration>(3 * peers_[peer].rtt, limits_.set_first_byte_timeout_min, 1s);
  }
  std::optional<uint64_t> RateOf(Time now, PeerId peer) {
    const Pace& pace = peers_[peer];
    return now - pace.measured_at < 60s ? pace.rate : std::nullopt;
  }
  void Measure(Time now, const Request& request) {
    const size_t own_bytes = request.bytes.size() - request.offset;
    if (!request.header || !request.header->found || own_bytes < limits_.set_rate_bytes_min) return;
    const auto us = std::max<int64_t>(1000, (now - request.header_at) / 1us);
    uint64_t rate = std::max<uint64_t>(1, own_bytes * 1'000'000 / static_cast<uint64_t>(us));
    if (const auto before = RateOf(now, request.peer)) {
      rate = std::max<uint64_t>(1, (rate + *before) / 2);
    }
    peers_[request.peer].rate = rate;
    peers_[request.peer].measured_at = now;
  }
  bool IsSlow(Time now, const Request& request) {
    std::optional<uint64_t> rate = RateOf(now, request.peer);
    if (!rate) {
      for (const Source& source : wants[request.key].sources) {
        if (source.state == State::kUntried) rate = std::max(rate, RateOf(now, source.peer));
      }
    }
    const auto bytes = static_cast<int64_t>(request.bytes.size() - request.window_bytes);
    const int64_t us = (now - request.window_from) / 1us;
    return rate && bytes * 2'000'000 < static_cast<int64_t>(*rate) * us;
  }
  Source* Untried(Time now, Want& want) {
    uint64_t best = 0;
    for (const auto& [peer, pace] : peers_) best = std::max(best, RateOf(now, peer).value_or(0));
    // Of the first kind of which there is one: fast, unknown, slow.
    const auto is_better = [&](const Source& a, const Source& b) {
      if (a.kind != b.kind) return a.kind < b.kind;
      if (a.kind == kNamedByCore) return false;
      const auto place = [&](const Source& source) {
        const std::optional<uint64_t> rate = RateOf(now, source.peer);
        return !rate ? 2 : 2 * *rate >= best ? 1 : 3;
      };
      if (place(a) != place(b)) return place(a) < place(b);
      return RateOf(now, a.peer) > RateOf(now, b.peer);
    };
    Source* first = nullptr;
    for (Source& source : want.sources) {
      if (source.state != State::kUntried) continue;
      if (first == nullptr || is_better(source, *first)) first = &source;
    }
    return first;
  }
  static void Add(Want& want, PeerId peer, Kind kind) {
    Source added{peer, kind};
    if (const Source* old = SourceOf(want, peer)) {
      if (old->state == State::kAsked) added.state = State::kAsked;
      if (old->kind <= kind) {
        added.kind = old->kind;
        *SourceOf(want, peer) = added;
        return;
      }
      std::erase_if(want.sources, [&](const Source& source) { return source.peer == peer; });
    }
    want.sources.push_back(added);
  }
  void Fail(const SetKey& key, PeerId peer, bool refused_range) {
    Source* const source = SourceOf(wants[key], peer);
    if (source == nullptr || source->state != State::kAsked) return;
    source->state = State::kFailed;
    source->refused_range = refused_range;
  }
  // What a source that died had sent, if it is worth it.
  void Keep(Request& request) {
    Want& want = wants[request.key];
    const std::string bytes = std::exchange(request.bytes, {});
    const bool is_frame = request.header && request.header->encoding == SetEncoding::kZstd;
    if (want.whole || is_frame || bytes.size() < limits_.set_resume_bytes_min ||
        bytes.size() >= request.total || bytes.size() <= want.kept.size()) {
      return;
    }
    want.kept = bytes;
    want.kept_total = request.total;
  }
  static void FetchWhole(Want& want) {
    want.whole = true;
    want.kept.clear();
    for (Source& source : want.sources) {
      if (source.refused_range) source = {source.peer, source.kind};
    }
  }
  size_t BytesOf(const SetKey& key) {
    size_t bytes = wants[key].kept.size();
    for (const Request* request : Open(key)) bytes += request->bytes.size();
    return bytes;
  }
  void Heard(Time now, Request& request) const {
    request.silent_at = now + (request.overdue ? Duration(10s) : Duration(1s));
  }
  Request* FirstDue(Time now) {
    Request* first = nullptr;
    for (Request& request : requests) {
      if (!request.Deadline() || *request.Deadline() > now) continue;
      if (first == nullptr || *request.Deadline() < *first->Deadline()) first = &request;
    }
    return first;
  }

  const Limits& limits_;
  const SlotWindow& window_;
  std::map<PeerId, Pace> peers_;  // the connected ones
};

}  // namespace overlay::flood

#endif  // OVERLAY_TESTS_FUZZ_SET_FETCHER_BOOKS_H_
