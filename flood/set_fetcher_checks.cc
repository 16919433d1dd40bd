// What SetFetcher tells operators, and what must hold of its state at all times.
#include <algorithm>

#include "flood/base/check.h"
#include "flood/set_fetcher.h"

namespace overlay::flood {

// ---- for operators ----------------------------------------------------------------------------

void SetFetcher::Trace(const SetKey& key, SetTrace& trace) const {
  const auto found = wants_.find(key);
  if (found == wants_.end()) return;
  const Want& want = found->second;
  trace.place = SetTrace::Place::kWanted;
  trace.wanted_by_core = want.member;
  trace.named_by_peers = want.prefetch;
  trace.slot = want.slot;
  trace.passes = want.passes;
  if (want.deadline != kTimeNever) trace.next_pass = want.deadline;
  const auto note = [&trace](uint64_t received, uint64_t total) {
    trace.received_bytes = std::max(trace.received_bytes, received);
    trace.total_bytes = std::max(trace.total_bytes, total);
  };
  if (want.kept) note(want.kept->body.bytes.size(), want.kept->total_bytes);
  for (const RequestId id : want.active) {
    const Request& request = requests_.at(id);
    note(ReceivedOf(request), request.total_bytes);
  }
  for (const Source& source : want.sources.list()) {
    SetTrace::Source& out = trace.sources.emplace_back();
    out.peer = source.peer;
    out.state = source.came;
    if (source.came != AskState::kNotAsked) out.asked_at = source.asked_at;
  }
}

// ---- invariants -------------------------------------------------------------------------------

void SetFetcher::CheckRequest(RequestId id, const Request& request) const {
  OVERLAY_CHECK(request.deadline == std::min(request.silent_at, request.pace_at));
  OVERLAY_CHECK((request.deadline != kTimeNever) ==
                request_deadlines_.contains({request.deadline, id}));
  if (request.failed) {
    OVERLAY_CHECK(request.deadline == kTimeNever && request.body.bytes.size() == 0);
    return;
  }
  const Want& want = wants_.at(request.key);
  OVERLAY_CHECK(std::count(want.active.begin(), want.active.end(), id) == 1);
  OVERLAY_CHECK((request.silent_at == kTimeNever) == request.inflating.has_value());
  OVERLAY_CHECK(!request.inflating || inflating_.at(*request.inflating) == id);
  OVERLAY_CHECK(!request.joined || request.pace_at == kTimeNever);
  OVERLAY_CHECK(request.body.bytes.size() >= request.offset);
  OVERLAY_CHECK(request.offset == 0 || request.offset < request.total_bytes);
}

void SetFetcher::CheckWant(const SetKey& key, const Want& want) const {
  want.sources.CheckInvariants();
  OVERLAY_CHECK(want.active.size() <= kActivePerWantMax);
  for (RequestId id : want.active) {
    const Request& request = requests_.at(id);
    OVERLAY_CHECK(!request.failed && request.key == key);
    const std::vector<Source>& sources = want.sources.list();
    OVERLAY_CHECK(std::count_if(sources.begin(), sources.end(), [&](const Source& s) {
                    return s.peer == request.peer && s.state == SourceState::kAsked;
                  }) == 1);
  }
  OVERLAY_CHECK((want.deadline != kTimeNever) == want_deadlines_.contains({want.deadline, key}));
  if (!want.kept) return;
  const size_t kept_bytes = want.kept->body.bytes.size();
  OVERLAY_CHECK(!want.whole);
  OVERLAY_CHECK(kept_bytes >= limits_.set_resume_bytes_min && kept_bytes < want.kept->total_bytes);
}

void SetFetcher::CheckInvariants() const {
  size_t bytes = 0;
  size_t core_wants = 0;
  size_t prefetches = 0;
  size_t deadlines = 0;
  size_t inflating = 0;
  absl::btree_map<PeerId, size_t> prefetches_of;
  for (const auto& [id, request] : requests_) {
    CheckRequest(id, request);
    bytes += BytesOf(request);
    inflating += request.inflating.has_value();
    deadlines += request.deadline != kTimeNever;
  }
  OVERLAY_CHECK(deadlines == request_deadlines_.size());
  OVERLAY_CHECK(inflating == inflating_.size());
  for (const auto& [key, want] : wants_) {
    CheckWant(key, want);
    if (want.kept) bytes += want.kept->body.bytes.size();
    core_wants += want.member;
    prefetches += want.prefetch;
    if (want.prefetch) ++prefetches_of[want.named_by];
  }
  OVERLAY_CHECK(bytes == bytes_in_progress_);
  OVERLAY_CHECK(bytes <= limits_.set_fetch_bytes_in_progress_max);
  OVERLAY_CHECK(core_wants == core_wants_);
  OVERLAY_CHECK(prefetches == prefetches_);
  OVERLAY_CHECK(prefetches_of == prefetches_of_);
}

}  // namespace overlay::flood
