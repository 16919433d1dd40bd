#include "flood/set_sources.h"

#include <algorithm>
#include <set>

#include "flood/base/check.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

// The clock of a turn is no finer than this.
constexpr Duration kAnswerTimeMin = 1ms;

}  // namespace

// ---- paces ------------------------------------------------------------------------------------

void PeerPaces::SetRtt(PeerId peer, Duration rtt) {
  const auto it = peers_.find(peer);
  if (it != peers_.end()) it->second.rtt = rtt;
}

void PeerPaces::AddAnswer(Time now, PeerId peer, uint64_t bytes, Duration took) {
  const auto it = peers_.find(peer);
  if (it == peers_.end() || bytes < limits_.set_rate_bytes_min) return;
  Pace& pace = it->second;
  const auto took_us = static_cast<uint64_t>(ToMicros(std::max(took, kAnswerTimeMin)));
  const uint64_t rate = std::max<uint64_t>(1, bytes * 1'000'000 / took_us);
  const std::optional<uint64_t> before = Rate(now, pace);
  pace.rate = before ? std::max<uint64_t>(1, (*before + rate) / 2) : rate;
  pace.measured_at = now;
}

std::optional<uint64_t> PeerPaces::Rate(Time now, const Pace& pace) {
  if (pace.rate == 0 || now >= pace.measured_at + kRateForgottenAfter) return std::nullopt;
  return pace.rate;
}

Duration PeerPaces::RttOf(PeerId peer) const {
  const auto it = peers_.find(peer);
  return it == peers_.end() ? Duration{} : it->second.rtt;
}

Duration PeerPaces::FirstByteTimeoutOf(PeerId peer) const {
  // Bounded before it is multiplied: the round trip is whatever the peer makes of it.
  const Duration rtt = std::min(RttOf(peer), kFirstByteTimeoutMax);
  return std::min(std::max(3 * rtt, limits_.set_first_byte_timeout_min), kFirstByteTimeoutMax);
}

std::optional<uint64_t> PeerPaces::RateOf(Time now, PeerId peer) const {
  const auto it = peers_.find(peer);
  return it == peers_.end() ? std::nullopt : Rate(now, it->second);
}

std::optional<uint64_t> PeerPaces::BestRate(Time now) const {
  std::optional<uint64_t> best;
  for (const auto& [peer, pace] : peers_) best = std::max(best, Rate(now, pace));
  return best;
}

std::vector<PeerId> PeerPaces::Connected() const {
  std::vector<PeerId> connected;
  for (const auto& [peer, pace] : peers_) connected.push_back(peer);
  return connected;
}

// ---- sources ----------------------------------------------------------------------------------

void SetSources::Add(PeerId peer, SourceKind kind) {
  Source added{peer, kind};
  const auto found = std::find_if(list_.begin(), list_.end(),
                                  [&](const Source& source) { return source.peer == peer; });
  if (found != list_.end()) {
    if (found->state == SourceState::kFailed) *found = {peer, found->kind};
    if (found->kind <= kind) return;
    added = *found;
    added.kind = kind;
    list_.erase(found);
  }
  if (list_.size() >= kSourceCountMax) return;
  const auto behind = std::find_if(list_.begin(), list_.end(),
                                   [&](const Source& source) { return source.kind > kind; });
  list_.insert(behind, added);
}

void SetSources::AddNamed(const std::vector<PeerId>& named) {
  size_t at = 0;
  for (const PeerId peer : named) {
    const auto found = std::find_if(list_.begin(), list_.end(),
                                    [&](const Source& source) { return source.peer == peer; });
    const auto place = list_.begin() + static_cast<ptrdiff_t>(at);
    if (found != list_.end()) {
      if (found->state == SourceState::kFailed) *found = {peer, found->kind};
      if (found < place) continue;  // named twice
      found->kind = SourceKind::kNamedByCore;
      std::rotate(place, found, found + 1);
    } else if (list_.size() < kSourceCountMax) {
      list_.insert(place, Source{peer, SourceKind::kNamedByCore});
    } else {
      continue;
    }
    ++at;
  }
}

void SetSources::Remove(PeerId peer) {
  std::erase_if(list_, [&](const Source& source) { return source.peer == peer; });
}

Source* SetSources::Next(Time now, const PeerPaces& paces) {
  const uint64_t best_rate = paces.BestRate(now).value_or(0);
  // R2: fast, unknown, slow; the higher rate first within the known ones.
  const auto rank = [&](const Source& source) {
    const std::optional<uint64_t> rate = paces.RateOf(now, source.peer);
    if (!rate) return std::pair<int, uint64_t>(1, 0);
    return std::pair<int, uint64_t>(2 * *rate >= best_rate ? 2 : 0, *rate);
  };
  Source* next = nullptr;
  for (Source& source : list_) {
    if (source.state != SourceState::kUntried) continue;
    if (next == nullptr) {
      next = &source;
      if (source.kind == SourceKind::kNamedByCore) return next;
    } else if (source.kind != next->kind) {
      break;
    } else if (rank(source) > rank(*next)) {
      next = &source;
    }
  }
  return next;
}

std::optional<uint64_t> SetSources::FastestUntried(Time now, const PeerPaces& paces) const {
  std::optional<uint64_t> fastest;
  for (const Source& source : list_) {
    if (source.state != SourceState::kUntried) continue;
    fastest = std::max(fastest, paces.RateOf(now, source.peer));
  }
  return fastest;
}

void SetSources::MarkAsked(Time now, Source& source) {
  source.state = SourceState::kAsked;
  source.came = AskState::kAsked;
  source.asked_at = now;
}

void SetSources::MarkFailed(PeerId peer, bool refused_range, AskState came) {
  for (Source& source : list_) {
    if (source.peer != peer || source.state != SourceState::kAsked) continue;
    source.state = SourceState::kFailed;
    source.refused_range = refused_range;
    source.came = came;
  }
}

void SetSources::RetryFailed() {
  for (Source& source : list_) {
    if (source.state == SourceState::kFailed) source = {source.peer, source.kind};
  }
}

void SetSources::RetryRefusedRanges() {
  for (Source& source : list_) {
    if (source.refused_range) source = {source.peer, source.kind};
  }
}

bool SetSources::Contains(PeerId peer) const {
  return std::any_of(list_.begin(), list_.end(),
                     [&](const Source& source) { return source.peer == peer; });
}

bool SetSources::HasUntried() const {
  return std::any_of(list_.begin(), list_.end(),
                     [](const Source& source) { return source.state == SourceState::kUntried; });
}

bool SetSources::HasRefusedRange() const {
  return std::any_of(list_.begin(), list_.end(),
                     [](const Source& source) { return source.refused_range; });
}

void SetSources::CheckInvariants() const {
  OVERLAY_CHECK(list_.size() <= kSourceCountMax);
  OVERLAY_CHECK(std::is_sorted(list_.begin(), list_.end(),
                               [](const Source& a, const Source& b) { return a.kind < b.kind; }));
  std::set<PeerId> peers;
  for (const Source& source : list_) {
    OVERLAY_CHECK(peers.insert(source.peer).second);
    OVERLAY_CHECK(!source.refused_range || source.state == SourceState::kFailed);
  }
}

}  // namespace overlay::flood
