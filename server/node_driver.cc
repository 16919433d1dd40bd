#include "server/node_driver.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::server {

NodeDriver::NodeDriver(flood::OverlayNode* node, transport::PeerTransport* transport,
                       Resolve resolve, Compute compute)
    : node_(node),
      transport_(transport),
      resolve_(std::move(resolve)),
      compute_(std::move(compute)) {}

void NodeDriver::OnCoreInput(Time now, flood::CoreInput input) {
  inputs_.push_back(std::move(input));
  Run(now);
}

void NodeDriver::OnResolved(Time now, const flood::ResolveHost& asked,
                            const absl::StatusOr<ResolvedHost>& resolved) {
  inputs_.push_back(Resolved{asked, resolved});
  Run(now);
}

void NodeDriver::OnComputed(Time now, flood::Computed computed) {
  inputs_.push_back(std::move(computed));
  Run(now);
}

void NodeDriver::KeepSetFrame(Time now, const SetKey& key, Bytes frame) {
  inputs_.push_back(MadeFrame{key, std::move(frame)});
  Run(now);
}

void NodeDriver::OnDrain(Time now) {
  inputs_.push_back(Drain{});
  Run(now);
}

void NodeDriver::OnDeadline(Time now) {
  const std::optional<Time> transport_at = transport_->NextDeadline();
  if (transport_at && *transport_at <= now) transport_->OnDeadline(now);
  const std::optional<Time> node_at = node_->NextDeadline();
  if (node_at && *node_at <= now) {
    flood::ActionList actions;
    node_->OnDeadline(now, actions);
    running_ = true;
    for (flood::Action& action : actions) Execute(now, action);
    running_ = false;
  }
  Run(now);
}

void NodeDriver::Settle(Time now) { Run(now); }

void NodeDriver::Run(Time now) {
  if (running_) return;
  running_ = true;
  flood::ActionList actions;
  int rounds = 0;
  while (true) {
    for (PeerEvent& event : transport_->DrainEvents()) inputs_.push_back(std::move(event));
    if (inputs_.empty()) break;
    // One by one, because actions may add inputs: those go behind.
    for (size_t left = inputs_.size(); left > 0; --left) {
      const Input input = std::move(inputs_.front());
      inputs_.pop_front();
      if (!clock_ || !IsOfEnvelopes(input)) {
        Handle(now, input, actions);
        continue;
      }
      const Time began = clock_();
      Handle(now, input, actions);
      envelope_time_ += clock_() - began;
    }
    if (++rounds > kRoundsMax) {
      OVERLAY_BUG("node and transport do not come to rest");
      break;
    }
  }
  running_ = false;
}

void NodeDriver::Handle(Time now, const Input& input, flood::ActionList& actions) {
  actions.clear();
  Feed(now, input, actions);
  for (flood::Action& action : actions) Execute(now, action);
}

bool NodeDriver::IsOfEnvelopes(const Input& input) {
  if (const auto* event = std::get_if<PeerEvent>(&input)) {
    return std::holds_alternative<EnvelopeReceived>(*event) ||
           std::holds_alternative<EnvelopeDone>(*event);
  }
  const auto* core = std::get_if<flood::CoreInput>(&input);
  return core != nullptr && (std::holds_alternative<flood::BroadcastEnvelope>(*core) ||
                             std::holds_alternative<flood::EnvelopeVerdict>(*core));
}

void NodeDriver::Feed(Time now, const Input& input, flood::ActionList& actions) {
  if (const auto* event = std::get_if<PeerEvent>(&input)) {
    Observe(now, *event);
    if (tap_ != nullptr) tap_->OnPeerEvent(now, *event);
    node_->OnPeerEvent(now, *event, actions);
  } else if (const auto* core = std::get_if<flood::CoreInput>(&input)) {
    node_->OnCoreInput(now, *core, actions);
  } else if (const auto* resolved = std::get_if<Resolved>(&input)) {
    node_->OnResolved(now, resolved->asked, resolved->resolved, actions);
  } else if (const auto* computed = std::get_if<flood::Computed>(&input)) {
    node_->OnComputed(now, *computed, actions);
  } else if (const auto* made = std::get_if<MadeFrame>(&input)) {
    node_->KeepSetFrame(now, made->set, made->frame, actions);
  } else {
    node_->OnDrain(now, actions);
  }
}

void NodeDriver::Execute(Time now, flood::Action& action) {
  if (tap_ != nullptr) tap_->OnAction(now, action);
  if (auto* command = std::get_if<PeerCommand>(&action)) {
    if (const auto* demand = std::get_if<RequestBodies>(command)) {
      demands_.emplace(demand->request, Demand{demand->peer, now});
    }
    transport_->Execute(now, std::move(*command));
  } else if (auto* output = std::get_if<flood::CoreOutput>(&action)) {
    if (sink_ != nullptr) sink_->OnCoreOutput(now, std::move(*output));
  } else if (const auto* news = std::get_if<flood::PeerNews>(&action)) {
    if (sink_ != nullptr) sink_->OnPeerNews(now, *news);
  } else if (auto* resolve = std::get_if<flood::ResolveHost>(&action)) {
    resolve_(now, *resolve);
  } else if (auto* compute = std::get_if<flood::Compute>(&action)) {
    compute_(now, std::move(*compute));
  }
  // A PeerOffence is the node's own: it has taken it out already.
}

void NodeDriver::Observe(Time now, const PeerEvent& event) {
  if (const auto* down = std::get_if<PeerDisconnected>(&event)) {
    std::erase_if(demands_, [down](const auto& entry) { return entry.second.peer == down->peer; });
  } else if (const auto* body = std::get_if<BodyReceived>(&event)) {
    const auto demand = demands_.find(body->request);
    if (demand == demands_.end()) return;
    tx_pull_.Add(now - demand->second.at);
    demands_.erase(demand);
  } else if (const auto* ended = std::get_if<RequestEnded>(&event)) {
    demands_.erase(ended->request);
  }
}

std::optional<Time> NodeDriver::NextDeadline() const {
  const std::optional<Time> a = node_->NextDeadline();
  const std::optional<Time> b = transport_->NextDeadline();
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

}  // namespace overlay::server
