#include "client-sdk/demo-core/nomination.h"

#include <algorithm>
#include <vector>

#include "flood/base/crypto.h"

namespace overlay::demo {
namespace {

bool Has(const std::vector<std::string>& values, const std::string& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

bool Grew(const xdr::Nominate& before, const xdr::Nominate& now) {
  const auto covers = [](const std::vector<std::string>& more,
                         const std::vector<std::string>& less) {
    return std::all_of(less.begin(), less.end(),
                       [&](const std::string& value) { return Has(more, value); });
  };
  return covers(now.votes, before.votes) && covers(now.accepted, before.accepted) &&
         now.votes.size() + now.accepted.size() > before.votes.size() + before.accepted.size();
}

}  // namespace

std::array<uint8_t, 32> RankOf(const std::string& value) {
  return Sha256(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(value.data()), value.size()));
}

Nomination::Nomination(const NodeKey& self, const SetHash& quorum_set, LedgerSeq slot,
                       const Federation& federation, const ValueTest& is_valid)
    : self_(self),
      quorum_set_(quorum_set),
      slot_(slot),
      federation_(federation),
      is_valid_(is_valid) {}

void Nomination::NextRound() {
  leaders_.insert(federation_.Leader(slot_, ++round_));
  Advance();
}

bool Nomination::OthersNominate() const {
  return federation_.HasBlocking(latest_, [](const xdr::Pledges&) { return true; });
}

bool Nomination::WantsValue() const { return IsLeader() && !own_value_ && candidates_.empty(); }

void Nomination::Propose(const std::string& value) {
  own_value_ = value;
  Advance();
}

void Nomination::OnStatement(const xdr::ScpStatement& statement) {
  const auto* pledges = std::get_if<xdr::Nominate>(&statement.pledges);
  if (pledges == nullptr) return;
  if (statement.node == self_) {  // R4
    votes_.insert(pledges->votes.begin(), pledges->votes.end());
    accepted_.insert(pledges->accepted.begin(), pledges->accepted.end());
    UpdateOwn();
    Advance();
    return;
  }
  const auto before = latest_.find(statement.node);
  if (before != latest_.end() && !Grew(std::get<xdr::Nominate>(before->second.pledges), *pledges)) {
    return;
  }
  latest_.insert_or_assign(statement.node, statement);
  Advance();
}

std::optional<xdr::ScpStatement> Nomination::TakeStatement() {
  if (!changed_) return std::nullopt;
  changed_ = false;
  return latest_.at(self_);
}

void Nomination::Advance() {
  bool moved = true;
  while (moved) {
    moved = Adopt();
    if (moved) UpdateOwn();
    if (Federate()) {
      UpdateOwn();
      moved = true;
    }
  }
}

// R1: one value of each leader, the one of the greatest hash.
bool Nomination::Adopt() {
  if (!candidates_.empty()) return false;
  bool moved = false;
  const auto vote = [&](const std::string& value) {
    if (votes_.size() < kValuesMax) moved |= votes_.insert(value).second;
  };
  for (const NodeKey& leader : leaders_) {
    if (leader == self_) {
      if (own_value_ && is_valid_(*own_value_)) vote(*own_value_);
      continue;
    }
    const auto statement = latest_.find(leader);
    if (statement == latest_.end()) continue;
    const std::string* best = nullptr;
    const auto& pledges = std::get<xdr::Nominate>(statement->second.pledges);
    for (const auto* values : {&pledges.votes, &pledges.accepted}) {
      for (const std::string& value : *values) {
        if ((best == nullptr || RankOf(value) > RankOf(*best)) && is_valid_(value)) best = &value;
      }
    }
    if (best != nullptr) vote(*best);
  }
  return moved;
}

bool Nomination::Federate() {
  std::set<std::string> values;
  for (const auto& [node, statement] : latest_) {
    const auto& pledges = std::get<xdr::Nominate>(statement.pledges);
    for (const auto* list : {&pledges.votes, &pledges.accepted}) {
      for (const std::string& value : *list) {
        if (values.size() < kValuesMax) values.insert(value);
      }
    }
  }
  bool moved = false;
  for (const std::string& value : values) {
    const StatementTest voted = [&](const xdr::Pledges& pledges) {
      return Has(std::get<xdr::Nominate>(pledges).votes, value);
    };
    const StatementTest accepted = [&](const xdr::Pledges& pledges) {
      return Has(std::get<xdr::Nominate>(pledges).accepted, value);
    };
    if (!accepted_.contains(value) && federation_.Accepts(latest_, voted, accepted) &&
        is_valid_(value)) {
      accepted_.insert(value);
      votes_.insert(value);
      moved = true;
      UpdateOwn();
    }
    if (accepted_.contains(value) && !candidates_.contains(value) &&
        federation_.HasQuorum(latest_, accepted)) {
      candidates_.insert(value);
      moved = true;
    }
  }
  return moved;
}

void Nomination::UpdateOwn() {
  xdr::Nominate pledges;
  pledges.quorum_set = quorum_set_;
  pledges.votes.assign(votes_.begin(), votes_.end());  // sorted, as the protocol wants them
  pledges.accepted.assign(accepted_.begin(), accepted_.end());
  const auto before = latest_.find(self_);
  if (before != latest_.end() && !Grew(std::get<xdr::Nominate>(before->second.pledges), pledges)) {
    return;
  }
  if (pledges.votes.empty()) return;
  latest_.insert_or_assign(self_, xdr::ScpStatement{self_, slot_, std::move(pledges)});
  changed_ = true;
}

}  // namespace overlay::demo
