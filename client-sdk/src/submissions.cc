#include "client-sdk/src/submissions.h"

#include <utility>

namespace overlay::client {

void Submissions::OnSubmitted(const v1::Submission& submission) {
  unanswered_[submission.number()] = submission;
}

bool Submissions::OnAnswered(SteadyTime now, uint64_t number, SubmitOutcome outcome,
                             const Hash& hash) {
  const bool taken = outcome == SubmitOutcome::kAdded || outcome == SubmitOutcome::kDuplicate;
  if (const auto again = added_.find(number); again != added_.end()) {
    again->second.to_say = false;
    if (!taken) Erase(again);
    return false;
  }
  auto answered = unanswered_.extract(number);
  if (answered.empty()) return false;
  if (outcome != SubmitOutcome::kAdded || !added_by_hash_.emplace(hash, number).second) return true;
  added_bytes_ += answered.mapped().transaction().size();
  added_.emplace(number, Added{std::move(answered.mapped()), hash, now, ledgers_});
  while (added_.size() > kAddedMax || added_bytes_ > kAddedBytesMax) Erase(added_.begin());
  return true;
}

void Submissions::OnExternalized(const std::vector<Hash>& transactions) {
  for (const Hash& hash : transactions) {
    const auto found = added_by_hash_.find(hash);
    if (found != added_by_hash_.end()) Erase(added_.find(found->second));
  }
}

void Submissions::OnLedgerClosed(SteadyTime now) {
  ++ledgers_;
  DropOld(now);
}

void Submissions::OnAttached(SteadyTime now, const std::string& daemon_instance) {
  if (daemon_instance == daemon_instance_) return;
  daemon_instance_ = daemon_instance;
  DropOld(now);
  for (auto& [number, added] : added_) added.to_say = true;
}

std::vector<v1::Submission> Submissions::ToSay() const {
  std::vector<v1::Submission> list;
  auto added = added_.begin();
  // Both are in order; an answer may have come for a later one first.
  for (const auto& [number, submission] : unanswered_) {
    for (; added != added_.end() && added->first < number; ++added) {
      if (added->second.to_say) list.push_back(added->second.submission);
    }
    list.push_back(submission);
  }
  for (; added != added_.end(); ++added) {
    if (added->second.to_say) list.push_back(added->second.submission);
  }
  return list;
}

void Submissions::Erase(AddedMap::iterator it) {
  added_bytes_ -= it->second.submission.transaction().size();
  added_by_hash_.erase(it->second.hash);
  added_.erase(it);
}

void Submissions::DropOld(SteadyTime now) {
  while (!added_.empty()) {
    const Added& oldest = added_.begin()->second;
    if (ledgers_ - oldest.ledger < kAddedLedgers && now - oldest.at < kAddedFor) return;
    Erase(added_.begin());
  }
}

}  // namespace overlay::client
