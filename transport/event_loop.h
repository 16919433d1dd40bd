// transport/event_loop.h
//
// The loop thread: epoll, a timer below the millisecond, and the only reader of CLOCK_MONOTONIC.
//
// A turn
//   1. sleep until a descriptor is ready, Wake() was called, or the deadline has come
//   2. read the clock once: now() is the same for the whole turn
//   3. the callbacks of the ready descriptors, in the order in which they were watched
//   4. the turn handler, always; it drains mailboxes, runs what is due, writes, and gives the next
//      deadline
//
// Rules
//   R1  now() never goes backwards. Why: ngtcp2 aborts the process when it does.
//   R2  A deadline at or before now() means a turn at once, after the descriptors were looked at
//       again.
//   R3  A callback may watch and unwatch any descriptor, its own included; one that was unwatched
//       in this turn is not called any more. Why: its object may be gone.
//   R4  Wake() from any thread causes a turn that begins after it; many before one turn cost one
//       write.
//
// Bounds   kEpollEventsMax descriptors a turn; the rest comes in the next.
// Threads  all methods on the loop thread, except LoopWaker::Wake() and Stop(): any thread.
// Not here queues between threads (mailbox.h).
#ifndef OVERLAY_TRANSPORT_EVENT_LOOP_H_
#define OVERLAY_TRANSPORT_EVENT_LOOP_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"

namespace overlay::transport {

inline constexpr size_t kEpollEventsMax = 64;

// Wakes the loop from another thread. Coalesces: only the first call after a turn began writes.
class LoopWaker {
 public:
  // Any thread, also in a signal handler.
  void Wake();

 private:
  friend class EventLoop;
  std::atomic<bool> woken_{false};
  std::atomic<int> fd_{-1};
};

struct FdInterest {
  bool read = false;
  bool write = false;
};
struct FdReady {
  bool readable = false;  // also set on error and hang-up, so that a read reports it
  bool writable = false;
};

class EventLoop {
 public:
  using FdCallback = std::function<void(Time now, FdReady ready)>;
  // Gives the time of the next turn at the latest; nullopt: whenever something happens.
  using TurnHandler = std::function<std::optional<Time>(Time now)>;

  // RESOURCE_EXHAUSTED when descriptors are used up, INTERNAL otherwise.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The time of this turn.
  Time now() const { return now_; }
  // Reads the clock within a turn: for measuring, and after a step that took long. Also moves
  // now().
  Time ReadClock();
  // The same clock, for other threads.
  static Time ReadMonotonic();
  static WallTime ReadWallClock();

  // Watches a descriptor, or changes what it is watched for. The loop does not own it: unwatch
  // before close.
  absl::Status Watch(int fd, FdInterest interest, FdCallback callback);
  absl::Status SetInterest(int fd, FdInterest interest);
  void Unwatch(int fd);
  // The next turn comes at once.
  void SetTurnHandler(TurnHandler handler);

  LoopWaker& waker() { return waker_; }

  // Turns until Stop().
  void Run();
  // One turn that sleeps at most `patience`. For tests, and for loops of other owners.
  void RunOnce(Duration patience);
  // Any thread, also in a signal handler: Run() returns after the current turn.
  void Stop();

  uint64_t turns() const { return turns_; }

 private:
  struct Watched {
    uint64_t generation;
    FdInterest interest;
    std::shared_ptr<FdCallback> callback;
  };

  EventLoop() = default;
  void ArmTimer(std::optional<Time> deadline);
  void Turn(int timeout_ms);

  int epoll_fd_ = -1;
  int timer_fd_ = -1;
  int wake_fd_ = -1;
  Time now_{};
  std::optional<Time> deadline_;
  std::optional<Time> armed_;
  uint64_t turns_ = 0;
  uint64_t next_generation_ = 1;
  absl::flat_hash_map<int, Watched> watched_;
  TurnHandler turn_handler_;
  LoopWaker waker_;
  std::atomic<bool> stop_{false};
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_EVENT_LOOP_H_
