// client-sdk/demo-core/quorum.h
//
// Quorum sets, and the two questions of federated voting over them.
//
//   R1  A node is judged by its own quorum set, the one that its statement names: a quorum contains
//       a slice of each of its members, found by taking away those that have none until nothing
//       changes.
//   R2  A node that externalized stands for itself: its slice is itself, for it depends on nobody.
//   R3  A statement is accepted when a blocking set accepts it or a quorum votes for or accepts it,
//       and confirmed when a quorum accepts it.
//
// Bounds: kQuorumSetsMax sets by hash; over it new ones are refused. Cost: one question visits each
// node of each quorum set at most once per member of the quorum. Threads: one.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_QUORUM_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_QUORUM_H_

#include <functional>
#include <map>
#include <set>
#include <string_view>

#include "absl/status/statusor.h"
#include "client-sdk/xdr/scp_message.h"
#include "flood/base/ids.h"

namespace overlay::demo {

inline constexpr size_t kQuorumSetsMax = 1000;

// Whether `nodes` hold a slice of `set`.
bool IsSlice(const xdr::QuorumSet& set, const std::set<NodeKey>& nodes);
// Whether every slice of `set` has one of `nodes`.
bool IsBlocking(const xdr::QuorumSet& set, const std::set<NodeKey>& nodes);
std::set<NodeKey> NodesOf(const xdr::QuorumSet& set);

SetHash HashOfQuorumSet(const xdr::QuorumSet& set);

// "3,G...,G...,(2,G...,G...)": a threshold, then members; in brackets an inner set.
absl::StatusOr<xdr::QuorumSet> ParseQuorumSet(std::string_view text);

// The quorum sets that are known, by hash.
class QuorumSets {
 public:
  // False: there is no room.
  bool Add(const xdr::QuorumSet& set);
  const xdr::QuorumSet* Find(const SetHash& hash) const;

 private:
  std::map<SetHash, xdr::QuorumSet> sets_;
};

// The newest statement of each node, of one slot and one phase.
using Statements = std::map<NodeKey, xdr::ScpStatement>;
using StatementTest = std::function<bool(const xdr::Pledges&)>;

// One node's view: its quorum set, and those of the others.
class Federation {
 public:
  // Both outlive this object.
  Federation(const xdr::QuorumSet& own, const QuorumSets& sets) : own_(own), sets_(sets) {}

  bool HasQuorum(const Statements& statements, const StatementTest& test) const;
  bool HasBlocking(const Statements& statements, const StatementTest& test) const;
  // R3; `voted` need not be true of what was accepted.
  bool Accepts(const Statements& statements, const StatementTest& voted,
               const StatementTest& accepted) const;

  const xdr::QuorumSet& own() const { return own_; }
  // Who leads the nomination of `slot` in `round`, 1 first: the nodes of the own quorum set take
  // turns, in an order that a hash draws anew for as many slots as there are nodes. So each leads
  // once in that time, a silent one is followed by another, and nodes with the same members agree.
  NodeKey Leader(LedgerSeq slot, uint32_t round) const;

 private:
  const xdr::QuorumSet& own_;
  const QuorumSets& sets_;
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_QUORUM_H_
