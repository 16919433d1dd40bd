#include "flood/scp_order.h"

#include <algorithm>
#include <compare>
#include <functional>
#include <tuple>

namespace overlay::flood {
namespace {

std::strong_ordering Compare(const ScpBallot& a, const ScpBallot& b) {
  if (const auto by_counter = a.counter <=> b.counter; by_counter != 0) return by_counter;
  return a.value <=> b.value;
}

std::strong_ordering Compare(const std::optional<ScpBallot>& a, const std::optional<ScpBallot>& b) {
  if (a && b) return Compare(*a, *b);
  return a.has_value() <=> b.has_value();
}

bool NewerPrepare(const ScpStatement& a, const ScpStatement& b) {
  if (const auto order = Compare(a.ballot, b.ballot); order != 0) return order > 0;
  if (const auto order = Compare(a.prepared, b.prepared); order != 0) return order > 0;
  if (const auto order = Compare(a.prepared_prime, b.prepared_prime); order != 0) return order > 0;
  return a.high_counter > b.high_counter;
}

bool NewerConfirm(const ScpStatement& a, const ScpStatement& b) {
  if (const auto order = Compare(a.ballot, b.ballot); order != 0) return order > 0;
  return std::tie(a.prepared_counter, a.high_counter) >
         std::tie(b.prepared_counter, b.high_counter);
}

using Values = std::vector<std::string_view>;

bool StrictlyAscends(const Values& values) {
  return std::adjacent_find(values.begin(), values.end(), std::greater_equal<>()) == values.end();
}

bool NewerNominate(const ScpStatement& a, const ScpStatement& b) {
  const size_t a_count = a.votes.size() + a.accepted.size();
  const size_t b_count = b.votes.size() + b.accepted.size();
  if (a_count <= b_count) return false;
  for (const Values* values : {&a.votes, &a.accepted, &b.votes, &b.accepted}) {
    if (!StrictlyAscends(*values)) return false;
  }
  return std::includes(a.votes.begin(), a.votes.end(), b.votes.begin(), b.votes.end()) &&
         std::includes(a.accepted.begin(), a.accepted.end(), b.accepted.begin(), b.accepted.end());
}

}  // namespace

bool Newer(const ScpStatement& a, const ScpStatement& b) {
  const bool a_nominates = a.type == ScpStatementType::kNominate;
  const bool b_nominates = b.type == ScpStatementType::kNominate;
  if (a_nominates || b_nominates) return a_nominates && b_nominates && NewerNominate(a, b);
  if (a.type != b.type) return a.type > b.type;
  switch (a.type) {
    case ScpStatementType::kPrepare:
      return NewerPrepare(a, b);
    case ScpStatementType::kConfirm:
      return NewerConfirm(a, b);
    case ScpStatementType::kExternalize:
    case ScpStatementType::kNominate:
      return false;
  }
  return false;
}

}  // namespace overlay::flood
