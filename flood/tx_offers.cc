#include "flood/tx_offers.h"

#include <algorithm>
#include <limits>

#include "flood/base/check.h"

namespace overlay::flood {

using Offer = TxRecord::Offer;

void TxOffers::Attach() {
  Detach();
  attached_ = true;
  for (TxIndex i = pending_.front(); i != kNoIndex; i = decltype(pending_)::Next(table_, i)) {
    table_[i].offers = 0;
    Enqueue(i);
  }
}

void TxOffers::Detach() {
  attached_ = false;
  room_ = 0;
  lost_ = 0;
  for (auto* list : {&queued_, &behind_, &offered_}) {
    while (!list->empty()) Unlink(list->front());
  }
}

void TxOffers::AddRoom(uint32_t messages) {
  if (attached_) room_ = std::min<uint64_t>(room_ + messages, UINT32_MAX);
}

void TxOffers::AddPending(TxIndex index) {
  TxRecord& record = table_[index];
  OVERLAY_CHECK(!record.pending && !record.pooled);
  record.pending = true;
  pending_.PushBack(table_, index);
  pending_bytes_ += record.body.size();
  if (attached_) Enqueue(index);
}

void TxOffers::AddPooled(TxIndex index) {
  OVERLAY_CHECK(table_[index].pooled && table_[index].offer == Offer::kNone);
  if (attached_) Enqueue(index);
}

void TxOffers::Remove(TxIndex index) {
  TxRecord& record = table_[index];
  Unlink(index);
  if (!record.pending) return;
  record.pending = false;
  pending_.Remove(table_, index);
  pending_bytes_ -= record.body.size();
}

bool TxOffers::HasRoom(TxIndex index) const {
  return queued_.size() < limits_.core_stream_message_count_max &&
         (queued_.empty() ||
          queued_bytes_ + table_[index].body.size() <= limits_.core_stream_bytes_max);
}

void TxOffers::Enqueue(TxIndex index) {
  TxRecord& record = table_[index];
  if (HasRoom(index)) {
    record.offer = Offer::kQueued;
    queued_.PushBack(table_, index);
    queued_bytes_ += record.body.size();
  } else {
    record.offer = Offer::kBehind;
    behind_.PushBack(table_, index);
    ++lost_;
  }
}

void TxOffers::Unlink(TxIndex index) {
  TxRecord& record = table_[index];
  switch (record.offer) {
    case Offer::kNone:
      return;
    case Offer::kQueued:
      queued_.Remove(table_, index);
      queued_bytes_ -= record.body.size();
      break;
    case Offer::kBehind:
      behind_.Remove(table_, index);
      break;
    case Offer::kOffered:
      offered_.Remove(table_, index);
      break;
  }
  record.offer = Offer::kNone;
}

void TxOffers::Deliver(Time now, ActionList& out) {
  Refill();
  for (; room_ > 0 && !queued_.empty(); --room_) {
    const TxIndex index = queued_.front();
    TxRecord& record = table_[index];
    Unlink(index);
    out.emplace_back(CoreOutput(
        DeliverTransaction{record.hash, record.body, record.sender_key, record.offers > 0}));
    if (record.pending) {
      ++record.offers;
      record.offered_at = now;
      record.offer = Offer::kOffered;
      offered_.PushBack(table_, index);
    }
    Refill();
  }
}

void TxOffers::Refill() {
  if (queued_.size() > limits_.core_stream_message_count_max / 2 ||
      queued_bytes_ > limits_.core_stream_bytes_max / 2) {
    return;
  }
  while (!behind_.empty() && HasRoom(behind_.front())) {
    const TxIndex next = behind_.front();
    Unlink(next);
    Enqueue(next);
  }
}

std::optional<TxIndex> TxOffers::NextExpired(Time now) {
  if (!pending_.empty() && table_[pending_.front()].arrived + limits_.mempool_age_max <= now) {
    return pending_.front();
  }
  while (!offered_.empty()) {
    const TxIndex index = offered_.front();
    TxRecord& record = table_[index];
    if (record.offered_at + limits_.pending_reoffer_after > now) return std::nullopt;
    if (record.offers >= 2) return index;
    Unlink(index);
    Enqueue(index);
  }
  return std::nullopt;
}

std::optional<Time> TxOffers::NextDeadline() const {
  std::optional<Time> next;
  if (!pending_.empty()) next = table_[pending_.front()].arrived + limits_.mempool_age_max;
  if (!offered_.empty()) {
    const Time at = table_[offered_.front()].offered_at + limits_.pending_reoffer_after;
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

void TxOffers::CheckInvariants() const {
  size_t pending_bytes = 0, pending = 0, queued_bytes = 0;
  size_t in[4] = {};
  for (TxIndex i = 0; i < table_.capacity(); ++i) {
    if (!table_.IsUsed(i)) continue;
    const TxRecord& record = table_[i];
    OVERLAY_CHECK(record.pending != record.pooled);
    ++in[static_cast<size_t>(record.offer)];
    if (record.offer == Offer::kQueued) queued_bytes += record.body.size();
    OVERLAY_CHECK(record.offer != Offer::kOffered || record.pending);
    OVERLAY_CHECK(!attached_ || !record.pending || record.offer != Offer::kNone);
    pending += record.pending;
    if (record.pending) pending_bytes += record.body.size();
  }
  OVERLAY_CHECK(pending == pending_.size() && pending_bytes == pending_bytes_);
  OVERLAY_CHECK(in[1] == queued_.size() && in[2] == behind_.size() && in[3] == offered_.size());
  OVERLAY_CHECK(queued_bytes == queued_bytes_);
  OVERLAY_CHECK(queued_.size() <= limits_.core_stream_message_count_max);
  OVERLAY_CHECK(queued_.size() <= 1 || queued_bytes_ <= limits_.core_stream_bytes_max);
}

}  // namespace overlay::flood
