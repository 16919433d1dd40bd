#include "transport/connection_rule.h"

#include <algorithm>
#include <tuple>

#include "flood/base/check.h"

namespace overlay::transport {

size_t ChooseConnection(absl::Span<const ConnectionView> connections, const NodeKey& own,
                        const NodeKey& peer) {
  OVERLAY_CHECK(!connections.empty());
  const bool we_are_smaller = own < peer;
  auto rank = [&](const ConnectionView& c) {
    return std::tuple(!c.suspect, c.dialled_by_us == we_are_smaller, c.order);
  };
  size_t best = 0;
  for (size_t i = 1; i < connections.size(); ++i) {
    if (rank(connections[i]) > rank(connections[best])) best = i;
  }
  return best;
}

InstanceHistory::Verdict InstanceHistory::OnOtherInstance(Time now, const NodeKey& key,
                                                          uint64_t current, uint64_t newcomer) {
  if (!keys_.contains(key)) MakeRoom();
  History& history = keys_[key];
  history.touched_at = now;
  if (now < history.shared_until) return Verdict::kKeyShared;
  std::deque<Replacement>& past = history.replacements;
  while (!past.empty() && past.front().at + kWindow <= now) past.pop_front();
  const bool came_back =
      std::any_of(past.begin(), past.end(), [&](const auto& r) { return r.gone == newcomer; });
  if (came_back && past.size() >= kReplacementsPerMinuteMax) {
    history.shared_until = now + kWindow;
    past.clear();
    return Verdict::kKeyShared;
  }
  past.push_back({now, current});
  if (past.size() > kReplacementCountMax) past.pop_front();
  return Verdict::kReplace;
}

void InstanceHistory::MakeRoom() {
  if (keys_.size() < kKeyCountMax) return;
  auto oldest = std::min_element(keys_.begin(), keys_.end(), [](const auto& a, const auto& b) {
    return a.second.touched_at < b.second.touched_at;
  });
  keys_.erase(oldest);
}

}  // namespace overlay::transport
