#include "transport/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include "flood/base/check.h"
#include "fmt/format.h"

namespace overlay::transport {
namespace {

// What epoll gives back: the descriptor, and half of the generation so that a descriptor number
// that was closed and given out again is not mistaken for the old one.
uint64_t Tag(int fd, uint64_t generation) { return (generation << 32) | static_cast<uint32_t>(fd); }

uint32_t EpollFlags(FdInterest interest) {
  return (interest.read ? EPOLLIN : 0u) | (interest.write ? EPOLLOUT : 0u);
}

absl::Status SystemError(const char* what, int error) {
  const std::string message = fmt::format("{}: {}", what, std::strerror(error));
  if (error == EMFILE || error == ENFILE || error == ENOSPC) {
    return absl::ResourceExhaustedError(message);
  }
  return absl::InternalError(message);
}

}  // namespace

void LoopWaker::Wake() {
  if (woken_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  // Cannot fail in a way that matters: the counter of an eventfd that nobody reads holds 2^64
  // wakes.
  const ssize_t n = write(fd_.load(std::memory_order_acquire), &one, sizeof(one));
  (void)n;
}

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  std::unique_ptr<EventLoop> loop(new EventLoop);
  loop->epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  if (loop->epoll_fd_ < 0) return SystemError("epoll_create1", errno);
  loop->timer_fd_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (loop->timer_fd_ < 0) return SystemError("timerfd_create", errno);
  loop->wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (loop->wake_fd_ < 0) return SystemError("eventfd", errno);
  for (const int fd : {loop->timer_fd_, loop->wake_fd_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = Tag(fd, 0);
    if (epoll_ctl(loop->epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
      return SystemError("epoll_ctl", errno);
    }
  }
  loop->waker_.fd_.store(loop->wake_fd_, std::memory_order_release);
  loop->now_ = ReadMonotonic();
  return loop;
}

EventLoop::~EventLoop() {
  for (const int fd : {wake_fd_, timer_fd_, epoll_fd_}) {
    if (fd >= 0) close(fd);
  }
}

Time EventLoop::ReadMonotonic() {
  timespec ts;
  OVERLAY_CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
  return Time(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

Time EventLoop::ReadClock() {
  now_ = std::max(now_, ReadMonotonic());
  return now_;
}

WallTime EventLoop::ReadWallClock() {
  timespec ts;
  OVERLAY_CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
  return {static_cast<int64_t>(ts.tv_sec) * 1'000'000 + ts.tv_nsec / 1'000};
}

absl::Status EventLoop::Watch(int fd, FdInterest interest, FdCallback callback) {
  const bool known = watched_.contains(fd);
  const uint64_t generation = next_generation_++;
  epoll_event event{};
  event.events = EpollFlags(interest);
  event.data.u64 = Tag(fd, generation);
  if (epoll_ctl(epoll_fd_, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0) {
    return SystemError("epoll_ctl", errno);
  }
  watched_[fd] = {generation, interest, std::make_shared<FdCallback>(std::move(callback))};
  return absl::OkStatus();
}

absl::Status EventLoop::SetInterest(int fd, FdInterest interest) {
  auto it = watched_.find(fd);
  if (it == watched_.end()) return absl::NotFoundError("this descriptor is not watched");
  Watched& watched = it->second;
  if (watched.interest.read == interest.read && watched.interest.write == interest.write) {
    return absl::OkStatus();
  }
  epoll_event event{};
  event.events = EpollFlags(interest);
  event.data.u64 = Tag(fd, watched.generation);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) return SystemError("epoll_ctl", errno);
  watched.interest = interest;
  return absl::OkStatus();
}

void EventLoop::Unwatch(int fd) {
  if (watched_.erase(fd) == 0) return;
  (void)epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::SetTurnHandler(TurnHandler handler) {
  turn_handler_ = std::move(handler);
  deadline_ = now_;  // it has not said yet when it wants to be called
}

void EventLoop::ArmTimer(std::optional<Time> deadline) {
  // A timer that is armed earlier than needed costs one empty turn, less than setting it each time.
  if (!deadline || (armed_ && *armed_ <= *deadline)) return;
  const auto since = std::max(deadline->time_since_epoch(), Duration(1));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  itimerspec spec{};
  spec.it_value.tv_sec = seconds.count();
  spec.it_value.tv_nsec = (since - seconds).count();
  OVERLAY_CHECK(timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
  armed_ = deadline;
}

void EventLoop::Turn(int timeout_ms) {
  if (deadline_ && *deadline_ <= now_) {
    timeout_ms = 0;
  } else {
    ArmTimer(deadline_);
  }
  std::array<epoll_event, kEpollEventsMax> events;
  const int count = epoll_wait(epoll_fd_, events.data(), events.size(), timeout_ms);
  OVERLAY_CHECK(count >= 0 || errno == EINTR);
  (void)ReadClock();
  ++turns_;

  // R3: in the order in which they were watched, which the generations keep.
  std::vector<std::pair<uint64_t, FdReady>> ready;
  for (int i = 0; i < std::max(count, 0); ++i) {
    const uint64_t tag = events[i].data.u64;
    const uint32_t flags = events[i].events;
    uint64_t ignored;
    if (tag == Tag(timer_fd_, 0)) {
      if (read(timer_fd_, &ignored, sizeof(ignored)) > 0) armed_.reset();
      continue;
    }
    if (tag == Tag(wake_fd_, 0)) {
      (void)!read(wake_fd_, &ignored, sizeof(ignored));
      // From here on a Wake() writes again. Whatever was posted before is seen by this turn's
      // handler. An exchange, so that this thread sees all that the last Wake() was called for.
      (void)waker_.woken_.exchange(false, std::memory_order_acq_rel);
      continue;
    }
    ready.emplace_back(tag, FdReady{(flags & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0,
                                    (flags & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0});
  }
  std::sort(ready.begin(), ready.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [tag, what] : ready) {
    auto it = watched_.find(static_cast<int>(tag & UINT32_MAX));
    if (it == watched_.end() || Tag(it->first, it->second.generation) != tag) continue;
    // Held, because the callback may unwatch itself.
    const std::shared_ptr<FdCallback> callback = it->second.callback;
    (*callback)(now_, what);
  }
  deadline_ = turn_handler_ ? turn_handler_(now_) : std::nullopt;
}

void EventLoop::Run() {
  while (!stop_.load(std::memory_order_acquire)) Turn(-1);
  stop_.store(false, std::memory_order_release);
}

void EventLoop::RunOnce(Duration patience) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(patience).count();
  Turn(static_cast<int>(std::clamp<int64_t>(ms, 0, INT_MAX)));
}

void EventLoop::Stop() {
  stop_.store(true, std::memory_order_release);
  waker_.Wake();
}

}  // namespace overlay::transport
