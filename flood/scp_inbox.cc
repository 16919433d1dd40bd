#include "flood/scp_inbox.h"

#include <algorithm>

#include "flood/base/check.h"
#include "flood/scp_order.h"

namespace overlay::flood {
namespace {

// Of senders that have gone. Each costs a look when an envelope is dropped under all.
constexpr size_t kDepartedSendersMax = 64;
// Removed for one input at most: the rest waits for the next, so that no input is slow.
constexpr int kShedPerInputMax = 64;

}  // namespace

// ---- senders

void ScpInbox::OnPeerConnected(const NodeKey& key) {
  Sender& sender = senders_[key];
  index_.SetConnected(key, true);
  if (sender.connections++ == 0 && sender.departure != 0) {
    departed_.erase(sender.departure);
    CountDeparted(sender, /*add=*/false);
    sender.departure = 0;
  }
}

void ScpInbox::OnPeerDisconnected(const NodeKey& key) {
  const auto found = senders_.find(key);
  OVERLAY_CHECK(found != senders_.end() && found->second.connections > 0);
  Sender& sender = found->second;
  if (--sender.connections > 0) return;
  index_.SetConnected(key, false);
  if (sender.count == 0) {
    senders_.erase(found);
    return;
  }
  sender.departure = ++last_departure_;
  departed_.emplace(sender.departure, key);
  CountDeparted(sender, /*add=*/true);
  ShedDeparted();
}

void ScpInbox::CountDeparted(const Sender& sender, bool add) {
  departed_count_ += add ? sender.count : -sender.count;
  departed_bytes_ += add ? sender.bytes : -sender.bytes;
}

void ScpInbox::ShedDeparted() {
  for (int shed = 0; shed < kShedPerInputMax && !departed_.empty(); ++shed) {
    if (departed_count_ <= limits_.scp_kept_per_peer_count_max &&
        departed_bytes_ <= limits_.scp_kept_per_peer_bytes_max &&
        departed_.size() <= kDepartedSendersMax) {
      return;
    }
    const auto sender = senders_.find(departed_.begin()->second);
    DropFirstOf(sender->second, sender->second.slots.begin()->first);
    if (sender->second.count > 0) continue;
    departed_.erase(departed_.begin());
    senders_.erase(sender);
  }
}

// ---- arrival

std::pair<ScpInbox::Arrival, ScpEntry*> ScpInbox::Take(Time now, const NodeKey& key,
                                                       const EnvelopeHash& hash,
                                                       const Bytes& envelope,
                                                       const EnvelopeSkim& skim) {
  ShedDeparted();  // may forget this very hash
  ScpEntry* entry = index_.Find(hash);
  Sender& sender = senders_[key];
  const bool was_seen = entry != nullptr && entry->seen;
  const ScpKey scp_key{skim.refs.slot, skim.refs.node, skim.phase};
  const LedgerSeq slot = scp_key.slot;

  absl::InlinedVector<ScpEntry*, 2> older;
  size_t older_bytes = 0;
  if (const auto at = sender.slots.find(slot); at != sender.slots.end()) {
    if (const auto held = at->second.held.find({scp_key.node, scp_key.phase});
        held != at->second.held.end()) {
      for (ScpEntry* other : held->second) {
        if (other == entry) return {Arrival::kDuplicate, entry};
        const auto other_skim = SkimEnvelope(other->body.span());
        OVERLAY_CHECK(other_skim.ok());
        if (Newer(other_skim->statement, skim.statement)) {
          if (was_seen) return {Arrival::kDuplicate, entry};
          ++stats_.superseded_inbound;
          return {Arrival::kSuperseded, nullptr};
        }
        if (Newer(skim.statement, other_skim->statement)) older.push_back(other);
      }
      // Two that do not compare stay; the earliest makes room for a third.
      if (older.empty() && held->second.size() == 2) older.push_back(held->second.front());
    }
  }
  for (const ScpEntry* other : older) older_bytes += other->body.size();
  if (!IsOwnNewest(now, sender, slot) ||
      !MakeRoom(now, sender, slot, older.size(), older_bytes, envelope.size())) {
    if (was_seen) return {Arrival::kDuplicate, entry};
    ++stats_.refused_limit;
    NoteLost(slot);
    return {Arrival::kRefused, nullptr};
  }

  std::optional<uint64_t> place;
  for (ScpEntry* other : older) {
    const auto freed = Unkeep(sender, *other, Cause::kSuperseded);
    if (freed && (!place || *freed < *place)) place = freed;
  }
  if (entry == nullptr) entry = &index_.Add(hash, scp_key, skim.refs.quorum_set);
  entry->seen = true;
  if (entry->account == 0 && entry->broadcast_session == 0) index_.Charge(*entry, key);
  Slot& box = sender.slots[slot];
  box.held[{scp_key.node, scp_key.phase}].push_back(entry);
  ++box.count;
  box.bytes += envelope.size();
  ++sender.count;
  sender.bytes += envelope.size();
  if (entry->keepers++ == 0) {
    index_.SetBody(*entry, envelope);
    entry->first_sender = key;
    // What takes the place of one that waited waits no longer than that would have.
    entry->arrival = place && entry->delivered_session != session_ ? *place : ++last_arrival_;
    by_arrival_.emplace(entry->arrival, entry);
    ++stats_.kept_envelopes;
    stats_.kept_bytes += envelope.size();
    if (attached_ && IsWaiting(*entry)) Charge(*entry);
  }
  KeepOwnNewest(now, sender);
  if (ShedQueue(entry)) return {Arrival::kRefused, nullptr};  // it was the one to go
  return {was_seen ? Arrival::kDuplicate : Arrival::kNew, entry};
}

// Not a slot that the window keeps for what has closed, or because the core named it.
bool ScpInbox::IsAhead(LedgerSeq slot) const {
  const auto& keep = window_.keep_slots();
  return slot > window_.newest_closed() && std::find(keep.begin(), keep.end(), slot) == keep.end();
}

bool ScpInbox::IsOwnNewest(Time now, const Sender& sender, LedgerSeq slot) const {
  if (window_.UpperBound(now) || !IsAhead(slot)) return true;
  uint64_t newer = 0;
  for (auto at = sender.slots.rbegin(); at != sender.slots.rend() && at->first > slot; ++at) {
    if (IsAhead(at->first) && ++newer >= limits_.own_newest_slots_per_peer) return false;
  }
  return true;
}

void ScpInbox::KeepOwnNewest(Time now, Sender& sender) {
  if (window_.UpperBound(now) || sender.slots.size() <= limits_.own_newest_slots_per_peer) return;
  std::vector<LedgerSeq> surplus;
  uint64_t newest = 0;
  for (auto at = sender.slots.rbegin(); at != sender.slots.rend(); ++at) {
    if (!IsAhead(at->first)) continue;
    if (++newest > limits_.own_newest_slots_per_peer) surplus.push_back(at->first);
  }
  for (LedgerSeq slot : surplus) DropSlot(sender, slot);
}

bool ScpInbox::MakeRoom(Time now, Sender& sender, LedgerSeq slot, size_t count_freed,
                        size_t bytes_freed, size_t bytes_needed) {
  while (sender.count - count_freed + 1 > limits_.scp_kept_per_peer_count_max ||
         sender.bytes - bytes_freed + bytes_needed > limits_.scp_kept_per_peer_bytes_max) {
    const std::optional<LedgerSeq> victim = Victim(now, sender, slot);
    if (!victim) return false;
    DropFirstOf(sender, *victim);
  }
  return true;
}

std::optional<LedgerSeq> ScpInbox::Victim(Time now, const Sender& sender, LedgerSeq slot) const {
  if (sender.slots.empty()) return std::nullopt;
  const LedgerSeq lowest = sender.slots.begin()->first;
  const LedgerSeq highest = sender.slots.rbegin()->first;
  if (lowest <= window_.newest_closed() || slot <= window_.newest_closed()) {
    return lowest < slot ? std::optional(lowest) : std::nullopt;
  }
  if (window_.UpperBound(now)) return highest > slot ? std::optional(highest) : std::nullopt;
  return lowest < slot ? std::optional(lowest) : std::nullopt;
}

// ---- removal

void ScpInbox::DropFirstOf(Sender& sender, LedgerSeq slot) {
  ScpEntry& entry = *sender.slots.find(slot)->second.held.begin()->second.front();
  Unkeep(sender, entry, Cause::kLimit);
}

void ScpInbox::DropSlot(Sender& sender, LedgerSeq slot) {
  while (sender.slots.contains(slot)) DropFirstOf(sender, slot);
}

std::optional<uint64_t> ScpInbox::Unkeep(Sender& sender, ScpEntry& entry, Cause cause) {
  const auto box = sender.slots.find(entry.key.slot);
  if (box == sender.slots.end()) return std::nullopt;
  const auto held = box->second.held.find({entry.key.node, entry.key.phase});
  if (held == box->second.held.end()) return std::nullopt;
  const auto at = std::find(held->second.begin(), held->second.end(), &entry);
  if (at == held->second.end()) return std::nullopt;
  const size_t bytes = entry.body.size();
  held->second.erase(at);
  if (held->second.empty()) box->second.held.erase(held);
  --box->second.count;
  box->second.bytes -= bytes;
  if (box->second.count == 0) sender.slots.erase(box);
  --sender.count;
  sender.bytes -= bytes;
  if (sender.departure != 0) {
    --departed_count_;
    departed_bytes_ -= bytes;
  }
  OVERLAY_CHECK(entry.keepers > 0);
  return --entry.keepers == 0 ? Release(entry, cause) : std::nullopt;
}

std::optional<uint64_t> ScpInbox::Release(ScpEntry& entry, Cause cause) {
  const bool waited =
      entry.delivered_session != session_ && entry.broadcast_session != session_ && !entry.refused;
  const uint64_t place = entry.arrival;
  Uncharge(entry);
  by_arrival_.erase(place);
  --stats_.kept_envelopes;
  stats_.kept_bytes -= entry.body.size();
  if (!entry.is_state) index_.DropBody(entry);
  if (!waited) return std::nullopt;
  if (cause == Cause::kSuperseded) ++stats_.superseded_inbound;
  if (cause == Cause::kLimit) {
    ++stats_.refused_limit;
    NoteLost(entry.key.slot);
  }
  if (cause != Cause::kGone) {
    // It never reached the core: another copy of it is new.
    entry.seen = false;
    if (entry.broadcast_session == 0) index_.Remove(entry);
  }
  return place;
}

void ScpInbox::Drop(ScpEntry& entry) {
  if (entry.keepers == 0) return;
  for (auto sender = senders_.begin(); sender != senders_.end() && entry.keepers > 0;) {
    Unkeep(sender->second, entry, Cause::kGone);
    if (sender->second.connections == 0 && sender->second.count == 0) {
      departed_.erase(sender->second.departure);
      sender = senders_.erase(sender);
    } else {
      ++sender;
    }
  }
}

void ScpInbox::DropAtLimit(ScpEntry& entry) {
  if (IsWaiting(entry)) {
    ++stats_.refused_limit;
    NoteLost(entry.key.slot);
  }
  Drop(entry);
}

void ScpInbox::DropSlotUnderAll(LedgerSeq slot) {
  for (auto at = senders_.begin(); at != senders_.end();) {
    Sender& sender = at->second;
    if (const auto box = sender.slots.find(slot); box != sender.slots.end()) {
      sender.count -= box->second.count;
      sender.bytes -= box->second.bytes;
      if (sender.departure != 0) {
        departed_count_ -= box->second.count;
        departed_bytes_ -= box->second.bytes;
      }
      sender.slots.erase(box);
    }
    if (sender.connections == 0 && sender.count == 0) {
      departed_.erase(sender.departure);
      at = senders_.erase(at);
    } else {
      ++at;
    }
  }
}

void ScpInbox::DropGone(ScpEntry& entry) {
  if (entry.keepers == 0) return;
  entry.keepers = 0;
  Release(entry, Cause::kGone);
}

// ---- core

void ScpInbox::Attach(uint64_t session) {
  attached_ = true;
  session_ = session;
  cursor_ = 0;
  room_ = 0;
}

void ScpInbox::Detach(uint64_t session) {
  attached_ = false;
  session_ = session;
  for (auto& [sender, queue] : queues_) {
    for (auto& [place, entry] : queue.waiting) entry->is_waiting_charged = false;
  }
  queues_.clear();
  waiting_count_ = 0;
  waiting_bytes_ = 0;
  redeliveries_.clear();
  redelivery_bytes_ = 0;
}

bool ScpInbox::IsWaiting(const ScpEntry& entry) const {
  return entry.keepers > 0 && !entry.refused && entry.delivered_session != session_ &&
         entry.broadcast_session != session_;
}

void ScpInbox::Charge(ScpEntry& entry) {
  Queue& queue = queues_[entry.first_sender];
  queue.waiting.emplace(std::pair(entry.key.slot, entry.arrival), &entry);
  queue.bytes += entry.body.size();
  waiting_bytes_ += entry.body.size();
  ++waiting_count_;
  entry.is_waiting_charged = true;
}

void ScpInbox::Uncharge(ScpEntry& entry) {
  if (!entry.is_waiting_charged) return;
  entry.is_waiting_charged = false;
  const auto queue = queues_.find(entry.first_sender);
  OVERLAY_CHECK(queue != queues_.end());
  queue->second.waiting.erase({entry.key.slot, entry.arrival});
  queue->second.bytes -= entry.body.size();
  waiting_bytes_ -= entry.body.size();
  --waiting_count_;
  if (queue->second.waiting.empty()) queues_.erase(queue);
}

bool ScpInbox::ShedQueue(const ScpEntry* newcomer) {
  bool lost_newcomer = false;
  while (waiting_count_ > limits_.core_stream_message_count_max ||
         waiting_bytes_ > limits_.core_stream_bytes_max) {
    const auto heaviest = std::max_element(
        queues_.begin(), queues_.end(),
        [](const auto& a, const auto& b) { return a.second.bytes < b.second.bytes; });
    ScpEntry& entry = *heaviest->second.waiting.begin()->second;
    if (&entry == newcomer) lost_newcomer = true;
    DropAtLimit(entry);
    entry.seen = false;
    if (entry.broadcast_session == 0) index_.Remove(entry);
  }
  return lost_newcomer;
}

void ScpInbox::Deliver(Time now, ActionList& out) {
  ReportLost(now, out);
  if (!attached_) return;
  while (room_ > 0) {
    const auto next = by_arrival_.lower_bound(cursor_);
    if (next == by_arrival_.end()) break;
    ScpEntry& entry = *next->second;
    cursor_ = entry.arrival + 1;
    if (!IsWaiting(entry)) continue;
    Uncharge(entry);
    entry.delivered_session = session_;
    const auto skim = SkimEnvelope(entry.body.span());
    OVERLAY_CHECK(skim.ok());
    const ScpEntry* current = outbox_.Current(entry.key);
    if (current != nullptr && current->broadcast_session == session_) {
      const auto current_skim = SkimEnvelope(current->body.span());
      if (current_skim.ok() && Newer(current_skim->statement, skim->statement)) {
        ++stats_.superseded_inbound;
        continue;
      }
    }
    --room_;
    ++stats_.delivered;
    out.emplace_back(
        CoreOutput(DeliverEnvelope{entry.body, entry.hash, entry.first_sender, skim->refs,
                                   /*redelivered=*/false}));
  }
  while (room_ > 0 && !redeliveries_.empty()) {
    Redelivery& next = redeliveries_.front();
    const auto skim = SkimEnvelope(next.envelope.span());
    OVERLAY_CHECK(skim.ok());
    --room_;
    ++stats_.redelivered;
    redelivery_bytes_ -= next.envelope.size();
    out.emplace_back(CoreOutput(DeliverEnvelope{std::move(next.envelope), next.hash, next.from,
                                                skim->refs, /*redelivered=*/true}));
    redeliveries_.pop_front();
  }
}

bool ScpInbox::Redeliver(const EnvelopeHash& hash, const Bytes& envelope, LedgerSeq slot,
                         const NodeKey& from) {
  if (redeliveries_.size() >= limits_.core_stream_message_count_max ||
      redelivery_bytes_ + envelope.size() > limits_.core_stream_bytes_max) {
    ++stats_.refused_limit;
    NoteLost(slot);
    return false;
  }
  redelivery_bytes_ += envelope.size();
  redeliveries_.push_back({hash, envelope, from});
  return true;
}

// ---- losses

void ScpInbox::Note(std::optional<Overflow>& lost, LedgerSeq slot) {
  if (!lost) {
    lost.emplace();
    lost->slot_first = slot;
    lost->slot_last = slot;
  }
  ++lost->count;
  lost->slot_first = std::min(lost->slot_first, slot);
  lost->slot_last = std::max(lost->slot_last, slot);
}

void ScpInbox::ReportLost(Time now, ActionList& out) {
  if (!attached_ || !(lost_to_core_ || lost_from_core_) || now < report_at_) return;
  report_at_ = now + limits_.overflow_report_interval;
  if (lost_to_core_) {
    lost_to_core_->direction = Overflow::Direction::kToCore;
    out.emplace_back(CoreOutput(*lost_to_core_));
  }
  if (lost_from_core_) {
    lost_from_core_->direction = Overflow::Direction::kFromCore;
    out.emplace_back(CoreOutput(*lost_from_core_));
  }
  lost_to_core_.reset();
  lost_from_core_.reset();
}

std::optional<Time> ScpInbox::NextDeadline() const {
  if (!attached_ || !(lost_to_core_ || lost_from_core_)) return std::nullopt;
  return report_at_;
}

void ScpInbox::CheckInvariants() const {
  absl::btree_map<const ScpEntry*, uint32_t> keepers;
  size_t departed_count = 0;
  size_t departed_bytes = 0;
  for (const auto& [key, sender] : senders_) {
    size_t count = 0;
    size_t bytes = 0;
    for (const auto& [slot, box] : sender.slots) {
      size_t box_count = 0;
      size_t box_bytes = 0;
      for (const auto& [node_and_phase, held] : box.held) {
        OVERLAY_CHECK(!held.empty() && held.size() <= 2);
        for (const ScpEntry* entry : held) {
          ++keepers[entry];
          ++box_count;
          box_bytes += entry->body.size();
        }
      }
      OVERLAY_CHECK(box_count > 0 && box_count == box.count && box_bytes == box.bytes);
      count += box_count;
      bytes += box_bytes;
    }
    OVERLAY_CHECK(count == sender.count && bytes == sender.bytes);
    OVERLAY_CHECK(count <= limits_.scp_kept_per_peer_count_max);
    OVERLAY_CHECK(bytes <= limits_.scp_kept_per_peer_bytes_max);
    OVERLAY_CHECK((sender.connections == 0) == (sender.departure != 0));
    if (sender.connections > 0) continue;
    OVERLAY_CHECK(count > 0 && departed_.contains(sender.departure));
    departed_count += count;
    departed_bytes += bytes;
  }
  OVERLAY_CHECK(departed_count == departed_count_ && departed_bytes == departed_bytes_);
  OVERLAY_CHECK(keepers.size() == by_arrival_.size());
  size_t waiting_count = 0;
  size_t waiting_bytes = 0;
  for (const auto& [arrival, entry] : by_arrival_) {
    OVERLAY_CHECK(entry->arrival == arrival && keepers[entry] == entry->keepers);
    if (attached_ && IsWaiting(*entry)) OVERLAY_CHECK(arrival >= cursor_);
    if (!entry->is_waiting_charged) continue;
    OVERLAY_CHECK(attached_ && IsWaiting(*entry));
    ++waiting_count;
    waiting_bytes += entry->body.size();
  }
  OVERLAY_CHECK(waiting_count == waiting_count_ && waiting_bytes == waiting_bytes_);
  OVERLAY_CHECK(waiting_count <= limits_.core_stream_message_count_max);
  OVERLAY_CHECK(waiting_bytes <= limits_.core_stream_bytes_max);
}

}  // namespace overlay::flood
