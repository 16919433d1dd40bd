// client-sdk/demo-core/ballots.h
//
// The ballots of one slot: prepare, confirm, externalize, as SCP has them.
//
//   R1  Before a node votes to commit a ballot it has confirmed that the ballot is prepared, so all
//       lower ballots of another value are aborted. That is what forbids two decisions.
//   R2  What was accepted is never taken back: `prepared`, and in the confirm phase the value, only
//       move on. A vote to commit is withdrawn only when its ballot is accepted as aborted.
//   R3  A node whose counter lags behind a blocking set jumps to the lowest counter at which it
//       does not, whatever its timer says.
//   R4  Statements that contradict themselves, or are not newer than the last one of their node,
//       are not looked at.
//   R5  A statement of this node itself, said in an earlier life, is where it goes on from.
//
// Bounds: one statement per node. Not here: time (vote.h); whether a value is valid, or its sets
// are there (the caller passes only such statements). Threads: one.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_BALLOTS_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_BALLOTS_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client-sdk/demo-core/quorum.h"

namespace overlay::demo {

class Ballots {
 public:
  // `federation` outlives this object.
  Ballots(const NodeKey& self, const SetHash& quorum_set, LedgerSeq slot,
          const Federation& federation);

  // A composite of the candidates: what the first ballot, or the next one after a time-out, is for.
  void SetCandidate(const std::string& value);
  // The ballot has taken too long: the next counter.
  void OnTimeout();
  void OnStatement(const xdr::ScpStatement& statement);

  bool IsStarted() const { return current_.has_value(); }
  uint32_t counter() const { return current_ ? current_->counter : 0; }
  // Whether a quorum is at this counter or above: only then does the ballot's time run.
  bool HeardFromQuorum() const;
  // The decision; its value never changes.
  const std::optional<std::string>& decided() const { return decided_; }
  // The own statement when it has changed since it was asked for.
  std::optional<xdr::ScpStatement> TakeStatement();

 private:
  enum class Phase { kPrepare, kConfirm, kExternalize };
  using Interval = std::pair<uint32_t, uint32_t>;

  void Advance();
  bool AcceptPrepared();
  bool ConfirmPrepared();
  bool AcceptCommit();
  bool ConfirmCommit();
  bool FollowCounters();

  void Restore(const xdr::ScpStatement& own);
  bool SetPrepared(const xdr::Ballot& ballot);
  bool BumpCounter(uint32_t counter);
  void MoveTo(const xdr::Ballot& ballot);
  void UpdateOwn();
  // The highest first.
  std::set<xdr::Ballot, bool (*)(const xdr::Ballot&, const xdr::Ballot&)> PreparableBallots() const;
  bool IsPreparedByQuorum(const xdr::Ballot& ballot) const;
  std::set<std::string> CommittableValues() const;
  // The widest interval of counters, from the top, for which `test` holds.
  template <class Test>
  std::optional<Interval> FindInterval(const std::string& value, const Test& test) const;
  xdr::Pledges OwnPledges() const;

  const NodeKey self_;
  const SetHash quorum_set_;
  const LedgerSeq slot_;
  const Federation& federation_;
  Phase phase_ = Phase::kPrepare;
  std::optional<std::string> candidate_;
  std::optional<std::string> value_locked_;  // by the highest confirmed ballot
  std::optional<xdr::Ballot> current_;
  std::optional<xdr::Ballot> prepared_;        // the highest accepted as prepared
  std::optional<xdr::Ballot> prepared_prime_;  // the highest of another value than prepared_
  std::optional<xdr::Ballot> high_;            // of current_'s value, confirmed prepared
  std::optional<xdr::Ballot> commit_;          // lowest that we vote to commit, at most high_
  Statements latest_;                          // ours included
  std::optional<std::string> decided_;
  bool changed_ = false;
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_BALLOTS_H_
