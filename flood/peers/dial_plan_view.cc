// DialPlan: what it knows, for operators.
#include <map>

#include "flood/peers/dial_plan.h"

namespace overlay::flood {

void DialPlan::Describe(std::vector<PeerView>& views) const {
  absl::btree_map<NodeKey, size_t> connected;
  for (size_t i = 0; i < views.size(); ++i) {
    if (views[i].key) connected.emplace(*views[i].key, i);
  }
  std::map<NameId, NameView> names;
  for (NameView& name : names_.Describe()) {
    const NameId id{name.host, name.services};
    names.emplace(id, std::move(name));
  }
  absl::btree_map<SocketAddress, const Entry*> of_literal;
  absl::btree_map<Way, const Entry*> of_way;
  for (const auto& entries : entries_) {
    for (const Entry& entry : entries) {
      if (entry.literal) {
        of_literal.emplace(*entry.literal, &entry);
        continue;
      }
      of_way.emplace(WayOf(entry), &entry);
      const NameView& name = names.at(WayOf(entry).name);
      if (!name.addresses.empty()) continue;
      const auto pinned =
          entry.peer.pinned_key ? connected.find(*entry.peer.pinned_key) : connected.end();
      if (pinned != connected.end()) {
        views[pinned->second].configured = entry.peer.text;
        views[pinned->second].preferred |= entry.peer.preferred;
        continue;
      }
      PeerView& view = views.emplace_back();
      view.state = name.next_try && name.failures > 0 ? PeerView::State::kWaiting
                                                      : PeerView::State::kResolving;
      view.key = entry.peer.pinned_key;
      view.configured = entry.peer.text;
      view.preferred = entry.peer.preferred;
      if (view.state == PeerView::State::kWaiting) view.next_try = name.next_try;
      view.failures = name.failures;
      view.not_resolved = name.failures > 0;
    }
  }
  for (const auto& [address, target] : targets_) {
    if (target.left_at && !target.connected) continue;
    const auto peer = target.connected ? connected.find(*target.connected) : connected.end();
    const bool is_connected = peer != connected.end();
    PeerView& view = is_connected ? views[peer->second] : views.emplace_back();
    const auto literal = of_literal.find(address);
    const Entry* entry = literal != of_literal.end() ? literal->second : nullptr;
    if (entry == nullptr && !target.given.ways.empty()) {
      entry = of_way.at(*target.given.ways.begin());
    }
    if (entry != nullptr && view.configured.empty()) view.configured = entry->peer.text;
    view.preferred = view.preferred || target.given.preferred;
    if (target.last_reason) view.last_reason = target.last_reason;
    if (is_connected) continue;
    view.state = target.dialling ? PeerView::State::kDialling : PeerView::State::kWaiting;
    view.key = target.given.pinned_key ? target.given.pinned_key : target.last_key;
    view.address = address;
    if (target.next != kTimeNever) view.next_try = target.next;
    view.failures = target.failures;
  }
}

}  // namespace overlay::flood
