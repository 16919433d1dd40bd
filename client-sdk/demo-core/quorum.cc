#include "client-sdk/demo-core/quorum.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "client-sdk/xdr/xdr_writer.h"
#include "flood/base/crypto.h"

namespace overlay::demo {
namespace {

void CollectNodes(const xdr::QuorumSet& set, std::set<NodeKey>& nodes) {
  nodes.insert(set.validators.begin(), set.validators.end());
  for (const xdr::QuorumSet& inner : set.inner_sets) CollectNodes(inner, nodes);
}

// Recursive descent over the text of a quorum set.
class QuorumSetParser {
 public:
  explicit QuorumSetParser(std::string_view text) : text_(text) {}

  std::optional<xdr::QuorumSet> Whole() {
    std::optional<xdr::QuorumSet> set = Set(/*level=*/0);
    return position_ == text_.size() ? set : std::nullopt;
  }

 private:
  static constexpr int kLevelsMax = 4;

  std::optional<xdr::QuorumSet> Set(int level) {
    if (level >= kLevelsMax) return std::nullopt;
    xdr::QuorumSet set;
    const std::string_view threshold = Word();
    const auto [end, error] =
        std::from_chars(threshold.data(), threshold.data() + threshold.size(), set.threshold);
    if (error != std::errc() || end != threshold.data() + threshold.size()) return std::nullopt;
    while (Take(',')) {
      if (Take('(')) {
        std::optional<xdr::QuorumSet> inner = Set(level + 1);
        if (!inner || !Take(')')) return std::nullopt;
        set.inner_sets.push_back(*std::move(inner));
      } else {
        const absl::StatusOr<NodeKey> key = NodeKeyFromStrkey(Word());
        if (!key.ok()) return std::nullopt;
        set.validators.push_back(*key);
      }
    }
    const size_t members = set.validators.size() + set.inner_sets.size();
    return set.threshold >= 1 && set.threshold <= members ? std::optional(set) : std::nullopt;
  }
  std::string_view Word() {
    const size_t begin = position_;
    while (position_ < text_.size() &&
           std::string_view(",()").find(text_[position_]) == std::string_view::npos) {
      ++position_;
    }
    return text_.substr(begin, position_ - begin);
  }
  bool Take(char wanted) {
    if (position_ >= text_.size() || text_[position_] != wanted) return false;
    ++position_;
    return true;
  }

  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace

bool IsSlice(const xdr::QuorumSet& set, const std::set<NodeKey>& nodes) {
  size_t satisfied = 0;
  for (const NodeKey& node : set.validators) satisfied += nodes.contains(node) ? 1 : 0;
  for (const xdr::QuorumSet& inner : set.inner_sets) satisfied += IsSlice(inner, nodes) ? 1 : 0;
  return satisfied >= set.threshold;
}

bool IsBlocking(const xdr::QuorumSet& set, const std::set<NodeKey>& nodes) {
  const size_t members = set.validators.size() + set.inner_sets.size();
  size_t blocked = 0;
  for (const NodeKey& node : set.validators) blocked += nodes.contains(node) ? 1 : 0;
  for (const xdr::QuorumSet& inner : set.inner_sets) blocked += IsBlocking(inner, nodes) ? 1 : 0;
  return set.threshold > 0 && blocked + set.threshold > members;
}

std::set<NodeKey> NodesOf(const xdr::QuorumSet& set) {
  std::set<NodeKey> nodes;
  CollectNodes(set, nodes);
  return nodes;
}

SetHash HashOfQuorumSet(const xdr::QuorumSet& set) {
  return HashOf<SetHash>(xdr::EncodeQuorumSet(set).span());
}

absl::StatusOr<xdr::QuorumSet> ParseQuorumSet(std::string_view text) {
  std::optional<xdr::QuorumSet> set = QuorumSetParser(text).Whole();
  if (set) return *std::move(set);
  return absl::InvalidArgumentError(
      fmt::format("quorum set: \"{}\", expected THRESHOLD,G...,(THRESHOLD,G...)", text));
}

bool QuorumSets::Add(const xdr::QuorumSet& set) {
  const SetHash hash = HashOfQuorumSet(set);
  if (!sets_.contains(hash) && sets_.size() >= kQuorumSetsMax) return false;
  sets_.emplace(hash, set);
  return true;
}

const xdr::QuorumSet* QuorumSets::Find(const SetHash& hash) const {
  const auto found = sets_.find(hash);
  return found == sets_.end() ? nullptr : &found->second;
}

bool Federation::HasQuorum(const Statements& statements, const StatementTest& test) const {
  std::set<NodeKey> nodes;
  for (const auto& [node, statement] : statements) {
    if (test(statement.pledges)) nodes.insert(node);
  }
  const auto has_slice = [&](const NodeKey& node) {
    const xdr::ScpStatement& statement = statements.at(node);
    if (std::holds_alternative<xdr::Externalize>(statement.pledges)) return true;  // R2
    const xdr::QuorumSet* set = sets_.Find(xdr::QuorumSetHashOf(statement));
    return set != nullptr && IsSlice(*set, nodes);
  };
  while (true) {
    std::vector<NodeKey> without;
    std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(without),
                 [&](const NodeKey& node) { return !has_slice(node); });
    if (without.empty()) break;
    for (const NodeKey& node : without) nodes.erase(node);
  }
  return IsSlice(own_, nodes);
}

bool Federation::HasBlocking(const Statements& statements, const StatementTest& test) const {
  std::set<NodeKey> nodes;
  for (const auto& [node, statement] : statements) {
    if (test(statement.pledges)) nodes.insert(node);
  }
  return IsBlocking(own_, nodes);
}

bool Federation::Accepts(const Statements& statements, const StatementTest& voted,
                         const StatementTest& accepted) const {
  return HasBlocking(statements, accepted) ||
         HasQuorum(statements, [&](const xdr::Pledges& pledges) {
           return voted(pledges) || accepted(pledges);
         });
}

NodeKey Federation::Leader(LedgerSeq slot, uint32_t round) const {
  const std::set<NodeKey> nodes = NodesOf(own_);
  std::vector<std::pair<std::array<uint8_t, 32>, NodeKey>> order;
  for (const NodeKey& node : nodes) {
    xdr::XdrWriter in;
    in.U64(slot.value / nodes.size());
    in.Fixed(node.bytes);
    order.emplace_back(Sha256(in.span()), node);
  }
  std::sort(order.begin(), order.end());
  return order[(slot.value + round - 1) % order.size()].second;
}

}  // namespace overlay::demo
