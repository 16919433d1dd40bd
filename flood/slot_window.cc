#include "flood/slot_window.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::flood {

bool SlotWindow::OnLedgerClosed(Time now, LedgerSeq seq, bool tracking,
                                const std::vector<LedgerSeq>& keep_slots) {
  tracking_ = tracking;
  const std::vector<LedgerSeq> kept_before = keep_slots_;
  // A core that replays must not evict what is kept, so from below slots are only added.
  if (seq >= newest_closed_) keep_slots_.clear();
  for (LedgerSeq slot : keep_slots) {
    if (keep_slots_.size() >= limits_.keep_slots_count_max) break;
    if (std::find(keep_slots_.begin(), keep_slots_.end(), slot) == keep_slots_.end()) {
      keep_slots_.push_back(slot);
    }
  }
  if (seq > newest_closed_) {
    newest_closed_ = seq;
    last_close_ = now;
    closed_.push_back({seq, now});
  }
  const bool moved = Recompute(now);
  return moved || std::any_of(kept_before.begin(), kept_before.end(),
                              [this](LedgerSeq slot) { return !IsKept(slot); });
}

bool SlotWindow::OnCoreAttached(Time now, LedgerSeq newest_closed) {
  // It has not said yet that it follows the network.
  tracking_ = false;
  if (newest_closed > newest_closed_) {
    newest_closed_ = newest_closed;
    last_close_ = now;
    closed_.push_back({newest_closed, now});
  }
  return Recompute(now);
}

bool SlotWindow::OnDeadline(Time now) { return Recompute(now); }

bool SlotWindow::Recompute(Time now) {
  next_deadline_.reset();
  if (closed_.empty()) return false;
  // The front is the last close before the minute, or the first of all: the slots after it, which
  // may have been jumped over, closed with the element behind it.
  const auto is_past = [&](const Closed& closed) {
    return closed.at + limits_.slots_kept_for <= now;
  };
  while (closed_.size() > 1 && is_past(closed_[1])) closed_.pop_front();
  while (closed_.size() > limits_.slots_kept_max) closed_.pop_front();
  const bool front_is_past = is_past(closed_.front());
  const LedgerSeq oldest_of_minute = front_is_past ? closed_.front().seq + 1 : closed_.front().seq;
  const LedgerSeq oldest_by_count = newest_closed_ + 1 - limits_.slots_kept_min;
  if (oldest_of_minute < oldest_by_count) {
    next_deadline_ = closed_[front_is_past ? 1 : 0].at + limits_.slots_kept_for;
  }
  const LedgerSeq oldest = std::max(std::min(oldest_of_minute, oldest_by_count),
                                    newest_closed_ + 1 - limits_.slots_kept_max);
  if (oldest <= oldest_kept_) return false;
  oldest_kept_ = oldest;
  return true;
}

std::optional<Time> SlotWindow::NextDeadline() const { return next_deadline_; }

bool SlotWindow::IsKept(LedgerSeq slot) const {
  return slot >= oldest_kept_ ||
         std::find(keep_slots_.begin(), keep_slots_.end(), slot) != keep_slots_.end();
}

std::optional<LedgerSeq> SlotWindow::UpperBound(Time now) const {
  if (closed_.empty() || !tracking_ || now >= last_close_ + limits_.tracking_expires) {
    return std::nullopt;
  }
  return newest_closed_ + kSlotsAheadMax;
}

bool SlotWindow::IsTakenFromPeers(Time now, LedgerSeq slot) const {
  if (!IsKept(slot)) return false;
  const std::optional<LedgerSeq> upper = UpperBound(now);
  return !upper || slot <= *upper;
}

void SlotWindow::CheckInvariants() const {
  OVERLAY_CHECK(closed_.size() <= limits_.slots_kept_max);
  OVERLAY_CHECK(keep_slots_.size() <= limits_.keep_slots_count_max);
  OVERLAY_CHECK(closed_.empty() == (newest_closed_ == LedgerSeq{}));
  if (closed_.empty()) return;
  OVERLAY_CHECK(closed_.back().seq == newest_closed_);
  OVERLAY_CHECK(oldest_kept_ + (limits_.slots_kept_min - 1) <= newest_closed_ ||
                newest_closed_ + 1 - limits_.slots_kept_min == oldest_kept_);
  OVERLAY_CHECK(newest_closed_ + 1 - limits_.slots_kept_max <= oldest_kept_);
  for (size_t i = 1; i < closed_.size(); ++i) {
    OVERLAY_CHECK(closed_[i - 1].seq < closed_[i].seq);
  }
}

}  // namespace overlay::flood
