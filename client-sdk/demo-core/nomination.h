// client-sdk/demo-core/nomination.h
//
// Nomination of one slot: which values are candidates.
//
//   R1  A node votes for its own value when it leads a round, else for what the leaders vote for.
//       Leaders of earlier rounds stay leaders, so a leader that is only slow is still heard.
//   R2  A value that is not valid here is never voted for nor accepted.
//   R3  From the first candidate on nothing new is voted for; what others nominate can still become
//       a candidate.
//   R4  What is said only grows: votes and accepted values are never taken back, nor are those of
//       an earlier life of this node, once its statement comes back.
//
// Bounds: kValuesMax values; the rest of a nomination is not looked at. Not here: time (vote.h).
// Threads: one.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_NOMINATION_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_NOMINATION_H_

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "client-sdk/demo-core/quorum.h"

namespace overlay::demo {

// A round adds a leader, and a leader one value.
inline constexpr size_t kValuesMax = 256;

using ValueTest = std::function<bool(const std::string&)>;

// The order in which equally good values are preferred: of its SHA-256.
std::array<uint8_t, 32> RankOf(const std::string& value);

class Nomination {
 public:
  // The objects outlive this one.
  Nomination(const NodeKey& self, const SetHash& quorum_set, LedgerSeq slot,
             const Federation& federation, const ValueTest& is_valid);

  // Adds the leader of the next round, 1 first.
  void NextRound();
  // Whether this node leads and has no value to vote for yet.
  bool WantsValue() const;
  void Propose(const std::string& value);
  void OnStatement(const xdr::ScpStatement& statement);

  uint32_t round() const { return round_; }
  // Whether a blocking set of the own quorum set nominates.
  bool OthersNominate() const;
  bool IsLeader() const { return leaders_.contains(self_); }
  const std::set<std::string>& candidates() const { return candidates_; }
  // The own statement when it has changed since it was asked for, and says something.
  std::optional<xdr::ScpStatement> TakeStatement();

 private:
  void Advance();
  bool Adopt();
  bool Federate();
  void UpdateOwn();

  const NodeKey self_;
  const SetHash quorum_set_;
  const LedgerSeq slot_;
  const Federation& federation_;
  const ValueTest& is_valid_;
  uint32_t round_ = 0;
  std::set<NodeKey> leaders_;
  std::optional<std::string> own_value_;
  Statements latest_;  // ours included
  std::set<std::string> votes_;
  std::set<std::string> accepted_;  // a subset of votes_
  std::set<std::string> candidates_;
  bool changed_ = false;
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_NOMINATION_H_
