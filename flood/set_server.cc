#include "flood/set_server.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::flood {

void SetServer::OnRequested(Time now, const SetRequested& requested, ActionList& out) {
  Peer& peer = peers_[requested.peer];
  const Place place{requested.request, requested.set};
  if (find_(place.set.key) != nullptr) {
    Admit(requested.peer, peer, place, out);
    return;
  }
  const bool promised =
      std::find(promises_.begin(), promises_.end(), place.set.key) != promises_.end();
  if (!promised || peer.waiting >= limits_.promised_waits_per_peer_max) {
    AnswerNotFound(requested.peer, place, out);
    return;
  }
  ++peer.waiting;
  waiting_.push_back({requested.peer, place, now + limits_.promised_wait});
}

void SetServer::Admit(PeerId id, Peer& peer, const Place& place, ActionList& out) {
  if (peer.serving.size() < limits_.sets_served_per_peer_max) {
    Answer(id, peer, place, out);
  } else if (peer.queue.size() < limits_.sets_served_queue_per_peer_max) {
    peer.queue.push_back(place);
  } else {
    AnswerNotFound(id, place, out);
  }
}

void SetServer::Answer(PeerId id, Peer& peer, const Place& place, ActionList& out) {
  const Bytes* bytes = find_(place.set.key);
  if (bytes == nullptr || place.set.offset > bytes->size()) {
    AnswerNotFound(id, place, out);
    return;
  }
  Bytes encoded = bytes->Slice(place.set.offset);
  const SetHeader header{.found = true,
                         .encoding = SetEncoding::kIdentity,
                         .total_bytes = bytes->size(),
                         .encoded_bytes = encoded.size()};
  peer.serving.push_back(place.request);
  ++stats_.served;
  out.push_back(PeerCommand(AnswerSet{id, place.request, header, std::move(encoded)}));
}

void SetServer::AnswerNotFound(PeerId id, const Place& place, ActionList& out) {
  ++stats_.served_not_found;
  out.push_back(PeerCommand(AnswerSet{id, place.request, SetHeader{}, Bytes()}));
}

void SetServer::OnAnswerDone(Time, const AnswerDone& done, ActionList& out) {
  auto it = peers_.find(done.peer);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  // The request may have died while it was queued or waiting.
  std::erase(peer.serving, done.request);
  std::erase_if(peer.queue, [&](const Place& place) { return place.request == done.request; });
  peer.waiting -= std::erase_if(waiting_, [&](const Waiting& waiting) {
    return waiting.peer == done.peer && waiting.place.request == done.request;
  });
  while (!peer.queue.empty() && peer.serving.size() < limits_.sets_served_per_peer_max) {
    const Place place = peer.queue.front();
    peer.queue.pop_front();
    Answer(done.peer, peer, place, out);
  }
}

void SetServer::OnPeerDisconnected(PeerId peer) {
  std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.peer == peer; });
  peers_.erase(peer);
}

void SetServer::Promise(const SetKey& key) {
  if (std::find(promises_.begin(), promises_.end(), key) != promises_.end()) return;
  if (promises_.size() >= kPromiseCountMax) promises_.pop_front();
  promises_.push_back(key);
}

void SetServer::OnHeld(Time, const SetKey& key, ActionList& out) {
  std::erase(promises_, key);
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (it->place.set.key != key) {
      ++it;
      continue;
    }
    Peer& peer = peers_.at(it->peer);
    --peer.waiting;
    Admit(it->peer, peer, it->place, out);
    it = waiting_.erase(it);
  }
}

std::optional<Time> SetServer::NextDeadline() const {
  return waiting_.empty() ? std::nullopt : std::optional<Time>(waiting_.front().until);
}

void SetServer::OnDeadline(Time now, ActionList& out) {
  while (!waiting_.empty() && waiting_.front().until <= now) {
    const Waiting waiting = waiting_.front();
    waiting_.pop_front();
    --peers_.at(waiting.peer).waiting;
    AnswerNotFound(waiting.peer, waiting.place, out);
  }
}

void SetServer::CheckInvariants() const {
  size_t waiting = 0;
  for (const auto& [id, peer] : peers_) {
    OVERLAY_CHECK(peer.serving.size() <= limits_.sets_served_per_peer_max);
    OVERLAY_CHECK(peer.queue.size() <= limits_.sets_served_queue_per_peer_max);
    OVERLAY_CHECK(peer.waiting <= limits_.promised_waits_per_peer_max);
    waiting += peer.waiting;
  }
  OVERLAY_CHECK(waiting == waiting_.size());
  OVERLAY_CHECK(promises_.size() <= kPromiseCountMax);
}

}  // namespace overlay::flood
