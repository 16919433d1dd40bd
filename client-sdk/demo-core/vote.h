// client-sdk/demo-core/vote.h
//
// Vote: one node's part in the agreement on one slot, from statements and time to statements and a
// decision. Nomination finds candidates, their composite goes into ballots.
//
//   Vote vote({.self = key, .quorum_set = hash, .slot = slot, .timeout = 500ms}, federation,
//   valid); vote.Start(now);
//   if (vote.WantsValue()) vote.Propose(now, value);
//   vote.OnStatement(now, statement) ... vote.OnTime(now) at NextDeadline()
//   for (auto& statement : vote.DrainStatements()) sign and send
//   vote.decided()
//
//   R1  A leader that is silent for a time-out gets another one beside it, each round later than
//       the one before; so does a ballot, once a quorum is at its counter.
//   R2  A ballot statement with a value that is not valid here is not looked at, unless it is our
//       own: what this node said in an earlier life binds it.
//   R3  Two nodes with the same candidates begin with the same composite: the candidate of the
//       greatest SHA-256.
//
// The caller passes statements whose signatures are good and whose quorum and transaction sets are
// there. Bounds: those of nomination.h and ballots.h. Cost: nodes squared for each statement.
// Threads: one. Reads no clock.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_VOTE_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_VOTE_H_

#include <optional>
#include <string>
#include <vector>

#include "client-sdk/demo-core/ballots.h"
#include "client-sdk/demo-core/nomination.h"
#include "client-sdk/demo-core/quorum.h"
#include "flood/base/time.h"

namespace overlay::demo {

// Rounds and counters beyond this one wait no longer.
inline constexpr uint32_t kTimeoutGrowthMax = 20;

class Vote {
 public:
  struct Options {
    NodeKey self;
    SetHash quorum_set;
    LedgerSeq slot;
    Duration timeout{};
  };

  // `federation` outlives this object.
  Vote(const Options& options, const Federation& federation, ValueTest is_valid);
  Vote(const Vote&) = delete;
  Vote& operator=(const Vote&) = delete;

  // The first round of nomination begins; before that only others move this vote.
  void Start(Time now);
  bool IsStarted() const { return nomination_.round() > 0; }
  // Others have begun, so many that nothing is decided without them: a node whose clock lags starts
  // now, else their leader waits for it in vain.
  bool IsOverdue() const { return !IsStarted() && nomination_.OthersNominate(); }
  bool WantsValue() const { return IsStarted() && !decided() && nomination_.WantsValue(); }
  void Propose(Time now, const std::string& value);
  void OnStatement(Time now, const xdr::ScpStatement& statement);
  void OnTime(Time now);
  Time NextDeadline() const;

  const std::optional<std::string>& decided() const { return ballots_.decided(); }
  uint32_t round() const { return nomination_.round(); }
  std::vector<xdr::ScpStatement> DrainStatements();

 private:
  void Follow(Time now);
  void WatchBallot(Time now);
  Duration Patience(uint32_t tries) const;

  const Options options_;
  const ValueTest is_valid_;
  Nomination nomination_;
  Ballots ballots_;
  size_t candidates_seen_ = 0;
  Time round_ends_ = kTimeNever;
  Time ballot_ends_ = kTimeNever;
  uint32_t ballot_timed_ = 0;  // the counter that ballot_ends_ is for
  std::vector<xdr::ScpStatement> out_;
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_VOTE_H_
