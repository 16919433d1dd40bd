// server/completion_thread.h
//
// The way from gRPC's completion queue to the loop thread: one queue, one thread on it, which
// forwards (tag, ok) and does nothing else.
//
// Rules
//   R1  A tag is a Completion and carries its own place in the mailbox, so forwarding allocates
//       nothing and is never refused.
//       Why: a completion that is lost is a call object that never dies.
//   R2  Completions of SCP calls are handed over before all others, also those that came meanwhile.
//       Why: an envelope must not wait behind a batch of transactions.
//   R3  One wake-up of the loop for any number of completions that wait.
//
// Bounds   one entry per tag; a tag is outstanding once at a time.
// Cost     a mutex held for a few instructions on each side.
// Threads  Post: any. Drain: the loop. The mailbox outlives the thread.
// Not here parsing and serialising (rpc_call.h), who is told what (core_sessions.h).
#ifndef OVERLAY_SERVER_COMPLETION_THREAD_H_
#define OVERLAY_SERVER_COMPLETION_THREAD_H_

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "flood/base/time.h"

namespace overlay::server {

// A tag. Owned by the loop; between being given to gRPC and OnCompleted only its address is used.
class Completion {
 public:
  enum class Lane : uint8_t { kScp, kOther };

  explicit Completion(Lane lane) : lane_(lane) {}
  virtual ~Completion() = default;
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  // On the loop thread.
  virtual void OnCompleted(Time now, bool ok) = 0;

 protected:
  // Only while the tag is not outstanding.
  void set_lane(Lane lane) { lane_ = lane; }

 private:
  friend class CompletionMailbox;
  Lane lane_;
  bool ok_ = false;
  Completion* next_ = nullptr;
};

// What gRPC is given: the address of the base, whatever derives from it.
inline void* AsTag(Completion* completion) { return completion; }

class CompletionMailbox {
 public:
  // `wake` makes the loop thread call Drain soon; it may be called from any thread.
  explicit CompletionMailbox(std::function<void()> wake) : wake_(std::move(wake)) {}
  ~CompletionMailbox();

  void Post(Completion* completion, bool ok);
  // Hands over what waits, SCP first, at most `count_max` of the others. True if some were left.
  bool Drain(Time now, size_t count_max);

 private:
  struct List {
    Completion* first = nullptr;
    Completion* last = nullptr;
    void Push(Completion* completion);
    Completion* Pop();
  };
  Completion* Next(bool scp_only);

  const std::function<void()> wake_;
  std::mutex mutex_;
  List scp_;            // guarded by mutex_
  List other_;          // guarded by mutex_
  bool woken_ = false;  // guarded by mutex_: a wake-up is under way, Drain has not begun
};

// Runs the queue until it is shut down and empty. `mailbox` and `queue` outlive it.
class CompletionThread {
 public:
  CompletionThread(grpc::CompletionQueue* queue, CompletionMailbox* mailbox);
  // Joins: the queue must have been shut down.
  ~CompletionThread();

  // The queue has been shut down and every tag has been forwarded. Any thread.
  bool finished() const { return finished_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_COMPLETION_THREAD_H_
