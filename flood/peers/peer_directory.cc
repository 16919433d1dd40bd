#include "flood/peers/peer_directory.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::flood {

bool PeerDirectory::OnPeerConnected(Time, const PeerConnected& connected, bool configured,
                                    ActionList& out) {
  if (connected.info.inbound && !configured && OrdinaryInbound() >= limits_.inbound_peers_max) {
    out.push_back(
        PeerCommand(DropPeer{connected.peer, CloseReason::kNotAdmitted, "inbound limit"}));
    return false;
  }
  Peer& peer = peers_[connected.peer];
  peer.info = connected.info;
  peer.configured = configured;
  out.push_back(PeerNews(PeerUp{connected.peer, connected.info}));
  UpdateGauges();
  return true;
}

std::optional<PeerInfo> PeerDirectory::OnPeerDisconnected(const PeerDisconnected& disconnected,
                                                          ActionList& out) {
  auto it = peers_.find(disconnected.peer);
  if (it == peers_.end()) return std::nullopt;
  PeerInfo info = it->second.info;
  peers_.erase(it);
  out.push_back(
      PeerNews(PeerDown{disconnected.peer, info, disconnected.reason, disconnected.by_peer}));
  UpdateGauges();
  return info;
}

void PeerDirectory::OnOffence(Time now, const PeerOffence& offence, ActionList& out) {
  ++stats_.offences[static_cast<size_t>(offence.offence)];
  auto it = peers_.find(offence.peer);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  if (!peer.score.Add(now, offence.offence) || peer.configured || peer.dropped) return;
  peer.dropped = true;
  out.push_back(PeerCommand(
      DropPeer{offence.peer, CloseReason::kBadScore, std::string(OffenceName(offence.offence))}));
}

void PeerDirectory::SetCorePresent(PeerId peer, bool present) {
  if (auto it = peers_.find(peer); it != peers_.end()) it->second.core_present = present;
}

std::vector<PeerView> PeerDirectory::Describe(Time now) const {
  std::vector<PeerView> views;
  for (const auto& [id, peer] : peers_) {
    PeerView& view = views.emplace_back();
    view.state = PeerView::State::kConnected;
    view.key = peer.info.key;
    view.address = peer.info.address;
    view.peer = id;
    view.score = peer.score.At(now);
    view.core_present = peer.core_present;
  }
  return views;
}

void PeerDirectory::SetConfigured(PeerId peer, bool configured) {
  if (auto it = peers_.find(peer); it != peers_.end()) it->second.configured = configured;
}

const PeerInfo* PeerDirectory::Find(PeerId peer) const {
  auto it = peers_.find(peer);
  return it == peers_.end() ? nullptr : &it->second.info;
}

std::optional<PeerId> PeerDirectory::FindKey(const NodeKey& key) const {
  for (const auto& [id, peer] : peers_) {
    if (peer.info.key == key) return id;
  }
  return std::nullopt;
}

std::vector<PeerId> PeerDirectory::List() const {
  std::vector<PeerId> list;
  list.reserve(peers_.size());
  for (const auto& [id, peer] : peers_) list.push_back(id);
  return list;
}

double PeerDirectory::ScoreOf(Time now, PeerId peer) const {
  auto it = peers_.find(peer);
  return it == peers_.end() ? 0 : it->second.score.At(now);
}

size_t PeerDirectory::OrdinaryInbound() const {
  return static_cast<size_t>(std::count_if(peers_.begin(), peers_.end(), [](const auto& entry) {
    return entry.second.info.inbound && !entry.second.configured;
  }));
}

void PeerDirectory::UpdateGauges() {
  stats_.connected = peers_.size();
  stats_.inbound = static_cast<uint64_t>(std::count_if(
      peers_.begin(), peers_.end(), [](const auto& entry) { return entry.second.info.inbound; }));
}

void PeerDirectory::CheckInvariants() const {
  OVERLAY_CHECK(stats_.connected == peers_.size());
  OVERLAY_CHECK(OrdinaryInbound() <= limits_.inbound_peers_max);
}

}  // namespace overlay::flood
