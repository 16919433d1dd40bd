// transport/mailbox.h
//
// What other threads hand to the loop thread: a bounded queue of several lanes, drained in lane
// order.
//
//   Mailbox<Item> mailbox(&loop.waker(), {{.capacity = 1024}, {.capacity = 4096, .never_refuses =
//   true}}); mailbox.Post(kScpLane, item);                  // any thread
//   mailbox.Drain(64, [&](size_t lane, Item& i) {...});  // loop thread, in its turn handler
//
// Rules
//   R1  Lane 0 is drained before lane 1, and so on; FIFO within a lane.
//       Why: the lanes are the classes of traffic, SCP first.
//   R2  A lane at its capacity refuses (Post() is false, counted) and never grows, except those
//       that never refuse. Why: a completion that is refused leaks its call. Their number is
//       bounded by what the loop itself has outstanding; room for `capacity` is reserved, and what
//       goes above is counted.
//   R3  A Post() into an empty mailbox wakes the loop; others do not. Why: one eventfd write per
//       turn.
//   R4  What is posted while draining is drained in the next turn. Why: a producer must not hold
//       the loop.
//
// Cost     one lock and 40 ns a post; one lock a drain.
// Threads  Post() and the counters: any thread. Drain(): the loop thread. No callback runs under
//          the lock.
#ifndef OVERLAY_TRANSPORT_MAILBOX_H_
#define OVERLAY_TRANSPORT_MAILBOX_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "flood/base/check.h"
#include "transport/event_loop.h"

namespace overlay::transport {

struct MailboxLane {
  size_t capacity = 1024;
  bool never_refuses = false;
};

template <class Item>
class Mailbox {
 public:
  // `waker` may be null (tests that drain by hand).
  Mailbox(LoopWaker* waker, const std::vector<MailboxLane>& lanes) : waker_(waker) {
    for (const MailboxLane& options : lanes) {
      Lane lane{.options = options, .items = {}, .refused = 0, .above_reserve = 0};
      lane.items.reserve(options.capacity);
      lanes_.push_back(std::move(lane));
    }
    taken_.resize(lanes_.size());
    cursors_.resize(lanes_.size(), 0);
  }

  [[nodiscard]] bool Post(size_t lane_index, Item item) {
    bool wake;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      OVERLAY_CHECK(lane_index < lanes_.size());
      Lane& lane = lanes_[lane_index];
      if (lane.items.size() >= lane.options.capacity) {
        if (!lane.options.never_refuses) {
          ++lane.refused;
          return false;
        }
        ++lane.above_reserve;
      }
      lane.items.push_back(std::move(item));
      wake = pending_++ == 0;
      has_items_.store(true, std::memory_order_release);
    }
    if (wake && waker_ != nullptr) waker_->Wake();
    return true;
  }

  // Gives up to `items_max` items to `handle(lane, item)`, in lane order. True: some are left; have
  // another turn (look at class 0 first). Items taken from the lock in an earlier drain go before
  // newer ones of the same lane, never before a lower lane.
  template <class Handler>
  bool Drain(size_t items_max, Handler&& handle) {
    TakeNew();
    size_t done = 0;
    for (size_t lane = 0; lane < taken_.size(); ++lane) {
      std::vector<Item>& items = taken_[lane];
      size_t& cursor = cursors_[lane];
      while (cursor < items.size() && done < items_max) {
        Item item = std::move(items[cursor++]);
        ++done;
        handle(lane, item);
      }
      if (cursor < items.size()) return true;
      items.clear();
      cursor = 0;
    }
    // Items may have stayed behind the lock, and their Post() did not wake.
    return has_items_.load(std::memory_order_acquire);
  }

  uint64_t refused(size_t lane) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return lanes_[lane].refused;
  }
  uint64_t above_reserve(size_t lane) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return lanes_[lane].above_reserve;
  }

 private:
  struct Lane {
    MailboxLane options;
    std::vector<Item> items;
    uint64_t refused;
    uint64_t above_reserve;
  };

  // A lane whose earlier items are not all handled keeps its new ones behind the lock, so that both
  // together never exceed twice its capacity.
  void TakeNew() {
    if (!has_items_.load(std::memory_order_acquire)) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      if (cursors_[lane] < taken_[lane].size()) continue;
      taken_[lane].clear();
      cursors_[lane] = 0;
      pending_ -= lanes_[lane].items.size();
      std::swap(taken_[lane], lanes_[lane].items);
    }
    has_items_.store(pending_ > 0, std::memory_order_release);
  }

  LoopWaker* const waker_;
  mutable std::mutex mutex_;
  std::vector<Lane> lanes_;
  size_t pending_ = 0;
  std::atomic<bool> has_items_{false};
  // Loop thread only: taken from behind the lock, handled up to the cursor.
  std::vector<std::vector<Item>> taken_;
  std::vector<size_t> cursors_;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_MAILBOX_H_
