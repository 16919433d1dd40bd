#include "flood/tx_advertiser.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {

void TxAdvertiser::AddPeer(Time now, PeerSlot slot, PeerId id) {
  if (slot >= peers_.size()) peers_.resize(slot + 1);
  OVERLAY_CHECK(!peers_[slot].used);
  peers_[slot] = Peer{};
  peers_[slot].used = true;
  peers_[slot].id = id;
  peers_[slot].sweep_at = now;
  for (LaneSweep& lane : peers_[slot].sweep) lane.active = true;
  MarkDirty(slot);
}

void TxAdvertiser::RemovePeer(PeerSlot slot) {
  if (peers_[slot].dirty) std::erase(dirty_, slot);
  peers_[slot] = Peer{};
}

void TxAdvertiser::OnFeeFilter(Time now, PeerSlot slot, const FeeFilter& filter) {
  Peer& peer = peers_[slot];
  for (size_t i = 0; i < kLaneCount; ++i) {
    const uint64_t before = peer.filter.fee_per_op_min[i];
    if (filter.fee_per_op_min[i] >= before) continue;
    // From the old minimum downwards, unless a sweep that has not come so far is under way.
    std::optional<Mempool::Place> after;
    if (before <= INT64_MAX) {
      after = Mempool::Place{{static_cast<int64_t>(before), 1, static_cast<Lane>(i)}, 0, 0};
    }
    LaneSweep& lane = peer.sweep[i];
    const bool ahead =
        lane.active && (!lane.after || (after && Mempool::Better()(*lane.after, *after)));
    if (!ahead) lane.after = after;
    if (!IsSweeping(peer)) peer.sweep_at = std::max(peer.sweep_at, now);
    lane.active = true;
  }
  peer.filter = filter;
  MarkDirty(slot);
}

void TxAdvertiser::SetBlocked(Time now, PeerSlot slot, bool blocked) {
  Peer& peer = peers_[slot];
  peer.blocked = blocked;
  if (blocked) return;
  if (std::exchange(peer.missed, false)) {
    for (LaneSweep& lane : peer.sweep) lane = {true, std::nullopt};
  }
  peer.sweep_at = std::max(peer.sweep_at, now);
  MarkDirty(slot);
}

bool TxAdvertiser::IsSweeping(const Peer& peer) const {
  return std::any_of(peer.sweep.begin(), peer.sweep.end(),
                     [](const LaneSweep& lane) { return lane.active; });
}

bool TxAdvertiser::Passes(const Peer& peer, const Bid& bid) const {
  return FeePerOp(bid) >= peer.filter.fee_per_op_min[static_cast<size_t>(bid.lane)];
}

void TxAdvertiser::MarkDirty(PeerSlot slot) {
  if (peers_[slot].dirty) return;
  peers_[slot].dirty = true;
  dirty_.push_back(slot);
}

void TxAdvertiser::Announce(TxIndex index) {
  const Bid& bid = table_[index].bid;
  for (PeerSlot slot = 0; slot < peers_.size(); ++slot) {
    Peer& peer = peers_[slot];
    if (!peer.used || table_.Knows(index, slot) || !Passes(peer, bid)) continue;
    if (peer.blocked) {
      peer.missed = true;
      ++held_;
      continue;
    }
    Queue(slot, index);
  }
}

void TxAdvertiser::Queue(PeerSlot slot, TxIndex index) {
  table_.SetKnows(index, slot);
  peers_[slot].queue.push_back(table_.Ref(index));
  MarkDirty(slot);
}

void TxAdvertiser::Sweep(PeerSlot slot) {
  Peer& peer = peers_[slot];
  const size_t announce_max = static_cast<size_t>(std::max<int64_t>(
      1, int64_t{limits_.mempool_announce_per_second} * kSweepTick / std::chrono::seconds(1)));
  std::array<Mempool::Order::const_iterator, kLaneCount> at;
  for (size_t i = 0; i < kLaneCount; ++i) {
    const Mempool::Order& order = mempool_.order(static_cast<Lane>(i));
    at[i] = peer.sweep[i].after ? order.upper_bound(*peer.sweep[i].after) : order.begin();
  }
  size_t announced = 0;
  for (size_t looks = 0; looks < kSweepLooksMax && announced < announce_max; ++looks) {
    std::optional<size_t> best;
    for (size_t i = 0; i < kLaneCount; ++i) {
      LaneSweep& lane = peer.sweep[i];
      if (!lane.active) continue;
      if (at[i] == mempool_.order(static_cast<Lane>(i)).end() || !Passes(peer, at[i]->bid)) {
        lane.active = false;  // what follows bids no more
      } else if (!best || Mempool::Better()(*at[i], *at[*best])) {
        best = i;
      }
    }
    if (!best) return;
    const Mempool::Place& place = *at[*best]++;
    peer.sweep[*best].after = place;
    if (table_.Knows(place.index, slot)) continue;
    Queue(slot, place.index);
    ++announced;
  }
}

void TxAdvertiser::Flush(Time now, ActionList& out) {
  if (dirty_.empty() && now < next_) return;
  if (now < next_) {
    for (const PeerSlot slot : dirty_) Pump(now, slot, out);  // marks none but itself
  } else {
    next_ = kTimeNever;
    for (PeerSlot slot = 0; slot < peers_.size(); ++slot) {
      if (peers_[slot].used) Pump(now, slot, out);
    }
  }
  for (PeerSlot slot : dirty_) peers_[slot].dirty = false;
  dirty_.clear();
}

void TxAdvertiser::Pump(Time now, PeerSlot slot, ActionList& out) {
  if (peers_[slot].blocked) return;
  if (IsSweeping(peers_[slot]) && now >= peers_[slot].sweep_at) {
    Sweep(slot);
    peers_[slot].sweep_at = now + kSweepTick;
  }
  Peer& peer = peers_[slot];
  const bool quiet = !peer.last_sent || now >= *peer.last_sent + limits_.inv_batch_delay;
  if (!peer.queue.empty() && (quiet || peer.queue.size() >= limits_.inv_batch_count_max)) {
    Send(now, peer, out);
  }
  if (const std::optional<Time> at = DeadlineOf(peer)) next_ = std::min(next_, *at);
}

// Everything, in frames; the frame that is not full goes too, since there is one on its way anyway.
void TxAdvertiser::Send(Time now, Peer& peer, ActionList& out) {
  const size_t entry_count_max = std::min(limits_.inv_batch_count_max, kInvEntryCountMax);
  Inv inv;
  inv.entries.reserve(std::min(peer.queue.size(), entry_count_max));
  for (const TxRef& ref : peer.queue) {
    const std::optional<TxIndex> index = table_.Resolve(ref);
    if (!index || !table_[*index].pooled) continue;
    const TxRecord& record = table_[*index];
    inv.entries.push_back({record.hash, FeePerOp(record.bid), record.bid.lane,
                           static_cast<uint32_t>(record.body.size())});
    ++announced_;
    if (inv.entries.size() < entry_count_max) continue;
    out.emplace_back(PeerCommand(SendTxControl{peer.id, std::exchange(inv, {})}));
  }
  if (!inv.entries.empty()) out.emplace_back(PeerCommand(SendTxControl{peer.id, std::move(inv)}));
  peer.queue.clear();
  peer.last_sent = now;
}

std::optional<Time> TxAdvertiser::DeadlineOf(const Peer& peer) const {
  std::optional<Time> at;
  if (peer.blocked) return at;
  if (!peer.queue.empty()) at = peer.last_sent.value_or(Time{}) + limits_.inv_batch_delay;
  if (IsSweeping(peer)) at = at ? std::min(*at, peer.sweep_at) : peer.sweep_at;
  return at;
}

std::optional<Time> TxAdvertiser::NextDeadline() const {
  return next_ == kTimeNever ? std::nullopt : std::optional(next_);
}

void TxAdvertiser::CheckInvariants() const {
  for (PeerSlot slot = 0; slot < peers_.size(); ++slot) {
    const Peer& peer = peers_[slot];
    if (!peer.used) {
      OVERLAY_CHECK(peer.queue.empty() && !peer.dirty);
      continue;
    }
    OVERLAY_CHECK(peer.dirty || peer.blocked || peer.queue.size() < limits_.inv_batch_count_max);
    const std::optional<Time> at = DeadlineOf(peer);
    OVERLAY_CHECK(peer.dirty || !at || next_ <= *at);
    for (const TxRef& ref : peer.queue) {
      const std::optional<TxIndex> index = table_.Resolve(ref);
      OVERLAY_CHECK(!index || table_.Knows(*index, slot));
    }
  }
}

}  // namespace overlay::flood
