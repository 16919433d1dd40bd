#include "flood/set_server.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {

void SetServer::OnRequested(Time now, const SetRequested& requested, ActionList& out) {
  Peer& peer = peers_[requested.peer];
  const Place place{requested.request, requested.set};
  if (shelf_.Look(place.set.key)) {
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
  const std::optional<ServableSet> set = shelf_.Look(place.set.key);
  if (!set || place.set.offset >= set->bytes.size()) {
    AnswerNotFound(id, place, out);
    return;
  }
  const bool takes_frame = place.set.accept_zstd && place.set.offset == 0;
  peer.serving.push_back({place.request, std::nullopt});
  if (takes_frame && !set->frame.empty()) {
    Send(id, place.request, SetEncoding::kZstd, set->bytes.size(), set->frame, out);
  } else if (takes_frame && set->may_compress && AwaitFrame(id, place, *set, out)) {
    peer.serving.back().awaits = place.set.key;
  } else {
    Send(id, place.request, SetEncoding::kIdentity, set->bytes.size(),
         set->bytes.Slice(place.set.offset), out);
  }
}

bool SetServer::AwaitFrame(PeerId id, const Place& place, const ServableSet& set, ActionList& out) {
  if (set.bytes.size() < limits_.set_compress_bytes_min) return false;
  auto it = compressing_.find(place.set.key);
  if (it == compressing_.end()) {
    const std::optional<uint64_t> compute = compute_.Compress(set.bytes, out);
    if (!compute) return false;
    it = compressing_.emplace(place.set.key, Compressing{*compute, set.bytes, {}}).first;
    compressing_by_id_.emplace(*compute, place.set.key);
  }
  it->second.waiting.emplace_back(id, place.request);
  return true;
}

bool SetServer::OnComputed(const Computed& computed, ActionList& out) {
  const auto by_id = compressing_by_id_.find(computed.id);
  if (by_id == compressing_by_id_.end()) return false;
  const SetKey key = by_id->second;
  const Compressing done = std::move(compressing_.at(key));
  compressing_.erase(key);
  compressing_by_id_.erase(by_id);
  const size_t total = done.bytes.size();
  const bool is_done = computed.outcome == Computed::Outcome::kDone;
  const bool is_worth_it = is_done && computed.output.size() <= total - total / 10;
  if (is_done) shelf_.KeepFrame(key, is_worth_it ? computed.output : Bytes());
  if (is_worth_it) ++stats_.compressed;
  for (const auto& [id, request] : done.waiting) {
    for (Serving& serving : peers_.at(id).serving) {
      if (serving.request == request) serving.awaits.reset();
    }
    if (is_worth_it) {
      Send(id, request, SetEncoding::kZstd, total, computed.output, out);
    } else {
      Send(id, request, SetEncoding::kIdentity, total, done.bytes, out);
    }
  }
  return true;
}

void SetServer::Send(PeerId id, RequestId request, SetEncoding encoding, uint64_t total,
                     Bytes encoded, ActionList& out) {
  ++stats_.served;
  if (encoding == SetEncoding::kZstd) {
    ++stats_.served_compressed;
    stats_.served_saved_bytes += total - encoded.size();
  }
  const SetHeader header{
      .found = true, .encoding = encoding, .total_bytes = total, .encoded_bytes = encoded.size()};
  out.emplace_back(PeerCommand(AnswerSet{id, request, header, std::move(encoded)}));
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
  std::erase_if(peer.serving, [&](const Serving& serving) {
    if (serving.request != done.request) return false;
    StopAwaiting(done.peer, serving);
    return true;
  });
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

// The frame is made all the same: it is half done, and others will ask.
void SetServer::StopAwaiting(PeerId id, const Serving& serving) {
  if (!serving.awaits) return;
  std::erase(compressing_.at(*serving.awaits).waiting, std::pair(id, serving.request));
}

void SetServer::OnPeerDisconnected(PeerId id) {
  std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.peer == id; });
  const auto peer = peers_.find(id);
  if (peer == peers_.end()) return;
  for (const Serving& serving : peer->second.serving) StopAwaiting(id, serving);
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
  size_t awaiting = 0;
  for (const auto& [id, peer] : peers_) {
    OVERLAY_CHECK(peer.serving.size() <= limits_.sets_served_per_peer_max);
    OVERLAY_CHECK(peer.queue.size() <= limits_.sets_served_queue_per_peer_max);
    OVERLAY_CHECK(peer.waiting <= limits_.promised_waits_per_peer_max);
    waiting += peer.waiting;
    for (const Serving& serving : peer.serving) awaiting += serving.awaits.has_value();
  }
  OVERLAY_CHECK(compressing_.size() == compressing_by_id_.size());
  for (const auto& [key, compressing] : compressing_) {
    OVERLAY_CHECK(compressing_by_id_.at(compressing.id) == key);
    OVERLAY_CHECK(awaiting >= compressing.waiting.size());
    awaiting -= compressing.waiting.size();
  }
  OVERLAY_CHECK(awaiting == 0);
  OVERLAY_CHECK(waiting == waiting_.size());
  OVERLAY_CHECK(promises_.size() <= kPromiseCountMax);
}

}  // namespace overlay::flood
