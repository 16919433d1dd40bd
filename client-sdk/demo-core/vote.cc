#include "client-sdk/demo-core/vote.h"

#include <algorithm>
#include <utility>

namespace overlay::demo {
Vote::Vote(const Options& options, const Federation& federation, ValueTest is_valid)
    : options_(options),
      is_valid_(std::move(is_valid)),
      nomination_(options.self, options.quorum_set, options.slot, federation, is_valid_),
      ballots_(options.self, options.quorum_set, options.slot, federation) {}

void Vote::Start(Time now) {
  if (IsStarted() || decided()) return;
  nomination_.NextRound();
  round_ends_ = now + Patience(1);
  Follow(now);
}

void Vote::Propose(Time now, const std::string& value) {
  if (decided()) return;
  nomination_.Propose(value);
  Follow(now);
}

void Vote::OnStatement(Time now, const xdr::ScpStatement& statement) {
  if (decided() || statement.slot != options_.slot) return;
  if (std::holds_alternative<xdr::Nominate>(statement.pledges)) {
    nomination_.OnStatement(statement);
  } else {
    const std::vector<std::string> values = xdr::ValuesOf(statement);
    const bool is_own = statement.node == options_.self;
    if (!is_own && !std::all_of(values.begin(), values.end(), is_valid_)) return;  // R2
    ballots_.OnStatement(statement);
  }
  Follow(now);
}

void Vote::OnTime(Time now) {
  if (now >= round_ends_) {
    nomination_.NextRound();
    round_ends_ = now + Patience(nomination_.round());
  }
  if (now >= ballot_ends_) {
    ballot_ends_ = kTimeNever;
    ballot_timed_ = 0;
    ballots_.OnTimeout();
  }
  Follow(now);
}

Time Vote::NextDeadline() const { return std::min(round_ends_, ballot_ends_); }

std::vector<xdr::ScpStatement> Vote::DrainStatements() { return std::exchange(out_, {}); }

// What one part has found out moves the other.
void Vote::Follow(Time now) {
  const std::set<std::string>& candidates = nomination_.candidates();
  if (candidates.size() != candidates_seen_) {
    candidates_seen_ = candidates.size();
    round_ends_ = kTimeNever;
    ballots_.SetCandidate(*std::max_element(
        candidates.begin(), candidates.end(),
        [](const std::string& a, const std::string& b) { return RankOf(a) < RankOf(b); }));
  }
  if (std::optional<xdr::ScpStatement> said = nomination_.TakeStatement()) {
    out_.push_back(*std::move(said));
  }
  if (std::optional<xdr::ScpStatement> said = ballots_.TakeStatement()) {
    out_.push_back(*std::move(said));
  }
  WatchBallot(now);
}

void Vote::WatchBallot(Time now) {
  if (decided()) {
    round_ends_ = ballot_ends_ = kTimeNever;
  } else if (!ballots_.HeardFromQuorum()) {
    ballot_ends_ = kTimeNever;
    ballot_timed_ = 0;
  } else if (ballot_timed_ != ballots_.counter()) {
    ballot_timed_ = ballots_.counter();
    ballot_ends_ = now + Patience(ballot_timed_);
  }
}

Duration Vote::Patience(uint32_t tries) const {
  return options_.timeout + options_.timeout / 2 * std::min(tries - 1, kTimeoutGrowthMax);
}

}  // namespace overlay::demo
