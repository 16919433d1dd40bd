#include "client-sdk/demo-core/ballots.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <tuple>

namespace overlay::demo {
namespace {

using xdr::Ballot;
using xdr::Confirm;
using xdr::Externalize;
using xdr::Pledges;
using xdr::Prepare;

constexpr uint32_t kCounterMax = std::numeric_limits<uint32_t>::max();

bool Less(const Ballot& a, const Ballot& b) {
  return std::tie(a.counter, a.value) < std::tie(b.counter, b.value);
}
bool Greater(const Ballot& a, const Ballot& b) { return Less(b, a); }
bool AtMost(const Ballot& a, const Ballot& b) { return !Less(b, a); }
bool Compatible(const Ballot& a, const Ballot& b) { return a.value == b.value; }
bool AtMostCompatible(const Ballot& a, const Ballot& b) { return AtMost(a, b) && Compatible(a, b); }
bool AtMostIncompatible(const Ballot& a, const Ballot& b) {
  return AtMost(a, b) && !Compatible(a, b);
}

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

bool VotesPrepare(const Pledges& pledges, const Ballot& ballot) {
  return std::visit(Overloaded{
                        [&](const Prepare& p) { return AtMostCompatible(ballot, p.ballot); },
                        [&](const Confirm& c) { return Compatible(ballot, c.ballot); },
                        [&](const Externalize& e) { return Compatible(ballot, e.commit); },
                        [](const xdr::Nominate&) { return false; },
                    },
                    pledges);
}

bool AcceptsPrepared(const Pledges& pledges, const Ballot& ballot) {
  return std::visit(Overloaded{
                        [&](const Prepare& p) {
                          return (p.prepared && AtMostCompatible(ballot, *p.prepared)) ||
                                 (p.prepared_prime && AtMostCompatible(ballot, *p.prepared_prime));
                        },
                        [&](const Confirm& c) {
                          return AtMostCompatible(ballot, {c.prepared_counter, c.ballot.value});
                        },
                        [&](const Externalize& e) { return Compatible(ballot, e.commit); },
                        [](const xdr::Nominate&) { return false; },
                    },
                    pledges);
}

bool VotesCommit(const Pledges& pledges, const std::string& value, uint32_t low, uint32_t high) {
  return std::visit(
      Overloaded{
          [&](const Prepare& p) {
            return p.ballot.value == value && p.c_counter != 0 && p.c_counter <= low &&
                   high <= p.h_counter;
          },
          [&](const Confirm& c) { return c.ballot.value == value && c.commit_counter <= low; },
          [&](const Externalize& e) { return e.commit.value == value && e.commit.counter <= low; },
          [](const xdr::Nominate&) { return false; },
      },
      pledges);
}

bool AcceptsCommit(const Pledges& pledges, const std::string& value, uint32_t low, uint32_t high) {
  return std::visit(
      Overloaded{
          [](const Prepare&) { return false; },
          [&](const Confirm& c) {
            return c.ballot.value == value && c.commit_counter <= low && high <= c.h_counter;
          },
          [&](const Externalize& e) { return e.commit.value == value && e.commit.counter <= low; },
          [](const xdr::Nominate&) { return false; },
      },
      pledges);
}

uint32_t CounterOf(const Pledges& pledges) {
  return std::visit(Overloaded{
                        [](const Prepare& p) { return p.ballot.counter; },
                        [](const Confirm& c) { return c.ballot.counter; },
                        [](const Externalize&) { return kCounterMax; },
                        [](const xdr::Nominate&) { return uint32_t{0}; },
                    },
                    pledges);
}

bool IsSane(const Pledges& pledges) {
  return std::visit(
      Overloaded{
          [](const Prepare& p) {
            const bool primes = !p.prepared_prime ||
                                (p.prepared && AtMostIncompatible(*p.prepared_prime, *p.prepared));
            const bool high =
                p.h_counter == 0 || (p.prepared && p.h_counter <= p.prepared->counter);
            const bool low =
                p.c_counter == 0 || (p.c_counter <= p.h_counter && p.h_counter <= p.ballot.counter);
            return p.ballot.counter > 0 && primes && high && low;
          },
          [](const Confirm& c) {
            return c.ballot.counter > 0 && c.h_counter <= c.ballot.counter &&
                   c.commit_counter <= c.h_counter && c.commit_counter > 0;
          },
          [](const Externalize& e) {
            return e.commit.counter > 0 && e.h_counter >= e.commit.counter;
          },
          [](const xdr::Nominate&) { return false; },
      },
      pledges);
}

// Everything by which statements of one phase are ordered. Absent ballots come first.
auto PrepareOrder(const Prepare& p) {
  const auto order = [](const std::optional<Ballot>& ballot) {
    return ballot ? std::tuple(true, ballot->counter, ballot->value)
                  : std::tuple(false, uint32_t{0}, std::string());
  };
  return std::tuple(p.ballot.counter, p.ballot.value, order(p.prepared), order(p.prepared_prime),
                    p.h_counter, p.c_counter);
}

bool IsNewer(const Pledges& before, const Pledges& now) {
  if (before.index() != now.index()) return now.index() > before.index();
  if (const auto* p = std::get_if<Prepare>(&now)) {
    return PrepareOrder(*p) > PrepareOrder(std::get<Prepare>(before));
  }
  if (const auto* c = std::get_if<Confirm>(&now)) {
    const auto order = [](const Confirm& s) {
      return std::tuple(s.ballot.counter, s.ballot.value, s.prepared_counter, s.h_counter);
    };
    return order(*c) > order(std::get<Confirm>(before));
  }
  return false;  // the first EXTERNALIZE says all
}

}  // namespace

Ballots::Ballots(const NodeKey& self, const SetHash& quorum_set, LedgerSeq slot,
                 const Federation& federation)
    : self_(self), quorum_set_(quorum_set), slot_(slot), federation_(federation) {}

void Ballots::SetCandidate(const std::string& value) {
  candidate_ = value;
  if (!current_ && BumpCounter(1)) Advance();
}

void Ballots::OnTimeout() {
  if (current_ && current_->counter < kCounterMax - 1 && BumpCounter(current_->counter + 1)) {
    Advance();
  }
}

void Ballots::OnStatement(const xdr::ScpStatement& statement) {
  if (!IsSane(statement.pledges)) return;
  const auto before = latest_.find(statement.node);
  if (before != latest_.end() && !IsNewer(before->second.pledges, statement.pledges)) return;
  latest_.insert_or_assign(statement.node, statement);
  if (statement.node == self_) Restore(statement);
  Advance();
}

// R5: a statement tells all of the state that it was made of.
void Ballots::Restore(const xdr::ScpStatement& own) {
  changed_ = true;
  const auto at = [](uint32_t counter, const std::string& value) {
    return counter == 0 ? std::nullopt : std::optional<Ballot>({counter, value});
  };
  std::visit(Overloaded{
                 [&](const Prepare& p) {
                   current_ = p.ballot;
                   prepared_ = p.prepared;
                   prepared_prime_ = p.prepared_prime;
                   high_ = at(p.h_counter, p.ballot.value);
                   commit_ = at(p.c_counter, p.ballot.value);
                   if (high_) value_locked_ = high_->value;
                 },
                 [&](const Confirm& c) {
                   phase_ = Phase::kConfirm;
                   current_ = c.ballot;
                   prepared_ = at(c.prepared_counter, c.ballot.value);
                   prepared_prime_.reset();
                   high_ = at(c.h_counter, c.ballot.value);
                   commit_ = at(c.commit_counter, c.ballot.value);
                   value_locked_ = c.ballot.value;
                 },
                 [&](const Externalize& e) {
                   phase_ = Phase::kExternalize;
                   current_ = prepared_ = high_ = at(e.h_counter, e.commit.value);
                   commit_ = e.commit;
                   decided_ = e.commit.value;
                 },
                 [](const xdr::Nominate&) {},
             },
             own.pledges);
}

bool Ballots::HeardFromQuorum() const {
  return current_ && federation_.HasQuorum(latest_, [&](const Pledges& pledges) {
    return !std::holds_alternative<Prepare>(pledges) || CounterOf(pledges) >= current_->counter;
  });
}

std::optional<xdr::ScpStatement> Ballots::TakeStatement() {
  if (!changed_) return std::nullopt;
  changed_ = false;
  return latest_.at(self_);
}

// Each step may enable the others, so they are taken until none applies.
void Ballots::Advance() {
  bool moved = true;
  while (moved) {
    moved = AcceptPrepared();
    UpdateOwn();
    moved |= ConfirmPrepared();
    UpdateOwn();
    moved |= AcceptCommit();
    UpdateOwn();
    moved |= ConfirmCommit();
    UpdateOwn();
    moved |= FollowCounters();
    UpdateOwn();
  }
}

std::set<Ballot, bool (*)(const Ballot&, const Ballot&)> Ballots::PreparableBallots() const {
  std::set<Ballot, bool (*)(const Ballot&, const Ballot&)> ballots(&Greater);
  for (const auto& [node, statement] : latest_) {
    std::visit(Overloaded{
                   [&](const Prepare& p) {
                     ballots.insert(p.ballot);
                     if (p.prepared) ballots.insert(*p.prepared);
                     if (p.prepared_prime) ballots.insert(*p.prepared_prime);
                   },
                   [&](const Confirm& c) {
                     ballots.insert({c.prepared_counter, c.ballot.value});
                     ballots.insert({kCounterMax, c.ballot.value});
                   },
                   [&](const Externalize& e) {
                     ballots.insert({kCounterMax, e.commit.value});
                   },
                   [](const xdr::Nominate&) {},
               },
               statement.pledges);
  }
  return ballots;
}

bool Ballots::AcceptPrepared() {
  if (phase_ == Phase::kExternalize) return false;
  for (const Ballot& ballot : PreparableBallots()) {
    // In the confirm phase only `prepared_` of the same value moves on.
    if (phase_ == Phase::kConfirm && !(prepared_ && AtMostCompatible(*prepared_, ballot))) continue;
    if (prepared_prime_ && AtMost(ballot, *prepared_prime_)) continue;
    if (prepared_ && AtMostCompatible(ballot, *prepared_)) continue;
    const bool accepted = federation_.Accepts(
        latest_, [&](const Pledges& pledges) { return VotesPrepare(pledges, ballot); },
        [&](const Pledges& pledges) { return AcceptsPrepared(pledges, ballot); });
    if (accepted && SetPrepared(ballot)) return true;
  }
  return false;
}

bool Ballots::SetPrepared(const Ballot& ballot) {
  bool moved = false;
  if (!prepared_ || Less(*prepared_, ballot)) {
    if (prepared_ && !Compatible(*prepared_, ballot)) prepared_prime_ = prepared_;
    prepared_ = ballot;
    moved = true;
  } else if (Less(ballot, *prepared_) && !Compatible(ballot, *prepared_) &&
             (!prepared_prime_ || Less(*prepared_prime_, ballot))) {
    prepared_prime_ = ballot;
    moved = true;
  }
  // R2: what is accepted as aborted is no longer voted for.
  if (phase_ == Phase::kPrepare && commit_ && high_ &&
      ((prepared_ && AtMostIncompatible(*high_, *prepared_)) ||
       (prepared_prime_ && AtMostIncompatible(*high_, *prepared_prime_)))) {
    commit_.reset();
    moved = true;
  }
  return moved;
}

bool Ballots::IsPreparedByQuorum(const Ballot& ballot) const {
  return federation_.HasQuorum(
      latest_, [&](const Pledges& pledges) { return AcceptsPrepared(pledges, ballot); });
}

bool Ballots::ConfirmPrepared() {
  if (phase_ != Phase::kPrepare || !prepared_) return false;
  const auto ballots = PreparableBallots();
  std::optional<Ballot> high;
  for (const Ballot& ballot : ballots) {
    if (high || (high_ && AtMost(ballot, *high_))) break;
    if (IsPreparedByQuorum(ballot)) high = ballot;
  }
  if (!high) return false;

  // The lowest ballot to commit: contiguous below `high`, from the current one on, none aborted.
  std::optional<Ballot> low;
  const Ballot from = current_.value_or(Ballot{});
  const bool aborted = (prepared_ && AtMostIncompatible(*high, *prepared_)) ||
                       (prepared_prime_ && AtMostIncompatible(*high, *prepared_prime_));
  if (!commit_ && !aborted) {
    for (const Ballot& ballot : ballots) {
      if (Less(*high, ballot)) continue;
      if (Less(ballot, from)) break;
      if (!Compatible(ballot, *high)) continue;
      if (!IsPreparedByQuorum(ballot)) break;
      low = ballot;
    }
  }
  value_locked_ = high->value;
  bool moved = false;
  if (!current_ || Compatible(*current_, *high)) {
    high_ = high;
    if (low) commit_ = low;
    moved = true;
  }
  if (!current_ || Less(*current_, *high)) {
    MoveTo(*high);
    moved = true;
  }
  return moved;
}

std::set<std::string> Ballots::CommittableValues() const {
  std::set<std::string> values;
  for (const auto& [node, statement] : latest_) {
    std::visit(Overloaded{
                   [&](const Prepare& p) {
                     if (p.c_counter != 0) values.insert(p.ballot.value);
                   },
                   [&](const Confirm& c) { values.insert(c.ballot.value); },
                   [&](const Externalize& e) { values.insert(e.commit.value); },
                   [](const xdr::Nominate&) {},
               },
               statement.pledges);
  }
  return values;
}

template <class Test>
std::optional<Ballots::Interval> Ballots::FindInterval(const std::string& value,
                                                       const Test& test) const {
  std::set<uint32_t, std::greater<>> bounds;
  for (const auto& [node, statement] : latest_) {
    std::visit(Overloaded{
                   [&](const Prepare& p) {
                     if (p.c_counter != 0 && p.ballot.value == value) {
                       bounds.insert({p.c_counter, p.h_counter});
                     }
                   },
                   [&](const Confirm& c) {
                     if (c.ballot.value == value) bounds.insert({c.commit_counter, c.h_counter});
                   },
                   [&](const Externalize& e) {
                     if (e.commit.value == value) {
                       bounds.insert({e.commit.counter, e.h_counter, kCounterMax});
                     }
                   },
                   [](const xdr::Nominate&) {},
               },
               statement.pledges);
  }
  std::optional<Interval> found;
  for (const uint32_t bound : bounds) {
    const Interval tried{bound, found ? found->second : bound};
    if (test(tried)) {
      found = tried;
    } else if (found) {
      break;
    }
  }
  return found;
}

bool Ballots::AcceptCommit() {
  if (phase_ == Phase::kExternalize) return false;
  for (const std::string& value : CommittableValues()) {
    if (phase_ == Phase::kConfirm && commit_->value != value) continue;
    const std::optional<Interval> interval = FindInterval(value, [&](const Interval& tried) {
      return federation_.Accepts(
          latest_,
          [&](const Pledges& p) { return VotesCommit(p, value, tried.first, tried.second); },
          [&](const Pledges& p) { return AcceptsCommit(p, value, tried.first, tried.second); });
    });
    if (!interval || (phase_ == Phase::kConfirm && interval->second <= high_->counter)) continue;
    value_locked_ = value;
    commit_ = Ballot{interval->first, value};
    high_ = Ballot{interval->second, value};
    if (phase_ == Phase::kPrepare) {
      phase_ = Phase::kConfirm;
      prepared_prime_.reset();
      // Accepted as committed implies accepted as prepared.
      if (!prepared_ || !AtMostCompatible(*high_, *prepared_)) prepared_ = high_;
      if (!current_ || !AtMostCompatible(*high_, *current_)) current_ = high_;
    }
    if (Less(*current_, *high_)) MoveTo(*high_);
    return true;
  }
  return false;
}

bool Ballots::ConfirmCommit() {
  if (phase_ != Phase::kConfirm) return false;
  const std::string value = commit_->value;
  const std::optional<Interval> interval = FindInterval(value, [&](const Interval& tried) {
    return federation_.HasQuorum(latest_, [&](const Pledges& p) {
      return AcceptsCommit(p, value, tried.first, tried.second);
    });
  });
  if (!interval) return false;
  commit_ = Ballot{interval->first, value};
  high_ = Ballot{interval->second, value};
  if (Less(*current_, *high_)) MoveTo(*high_);
  phase_ = Phase::kExternalize;
  decided_ = value;
  return true;
}

// R3
bool Ballots::FollowCounters() {
  if (phase_ == Phase::kExternalize) return false;
  const auto ahead_of = [&](uint32_t counter) {
    return federation_.HasBlocking(
        latest_, [&](const Pledges& pledges) { return CounterOf(pledges) > counter; });
  };
  if (!ahead_of(counter())) return false;
  std::set<uint32_t> counters;
  for (const auto& [node, statement] : latest_) {
    if (CounterOf(statement.pledges) > counter()) counters.insert(CounterOf(statement.pledges));
  }
  for (const uint32_t counter : counters) {
    if (!ahead_of(counter)) return BumpCounter(counter);
  }
  return false;
}

bool Ballots::BumpCounter(uint32_t counter) {
  if (phase_ == Phase::kExternalize) return false;
  Ballot next{counter, {}};
  if (value_locked_) {
    next.value = *value_locked_;
  } else if (candidate_) {
    next.value = *candidate_;
  } else if (current_) {
    next.value = current_->value;
  } else {
    return false;  // nothing to vote for yet
  }
  if (current_ && !Less(*current_, next)) return false;
  if (current_ && commit_ && commit_->value != next.value) return false;
  MoveTo(next);
  UpdateOwn();
  return true;
}

void Ballots::MoveTo(const Ballot& ballot) {
  current_ = ballot;
  if (high_ && !Compatible(*high_, ballot)) {
    high_.reset();
    commit_.reset();
  }
}

Pledges Ballots::OwnPledges() const {
  switch (phase_) {
    case Phase::kPrepare: {
      Prepare p;
      p.quorum_set = quorum_set_;
      p.ballot = *current_;
      p.prepared = prepared_;
      p.prepared_prime = prepared_prime_;
      p.c_counter = commit_ ? commit_->counter : 0;
      p.h_counter = high_ ? high_->counter : 0;
      return p;
    }
    case Phase::kConfirm: {
      Confirm c;
      c.ballot = *current_;
      c.prepared_counter = prepared_->counter;
      c.commit_counter = commit_->counter;
      c.h_counter = high_->counter;
      c.quorum_set = quorum_set_;
      return c;
    }
    case Phase::kExternalize:
      break;
  }
  Externalize e;
  e.commit = *commit_;
  e.h_counter = high_->counter;
  e.quorum_set = quorum_set_;
  return e;
}

void Ballots::UpdateOwn() {
  if (!current_) return;
  Pledges pledges = OwnPledges();
  const auto before = latest_.find(self_);
  if (before != latest_.end() && !IsNewer(before->second.pledges, pledges)) return;
  latest_.insert_or_assign(self_, xdr::ScpStatement{self_, slot_, std::move(pledges)});
  changed_ = true;
}

}  // namespace overlay::demo
