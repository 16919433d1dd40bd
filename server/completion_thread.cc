#include "server/completion_thread.h"

#include <pthread.h>

#include <utility>

#include "flood/base/check.h"

namespace overlay::server {

void CompletionMailbox::List::Push(Completion* completion) {
  completion->next_ = nullptr;
  if (last == nullptr) {
    first = completion;
  } else {
    last->next_ = completion;
  }
  last = completion;
}

Completion* CompletionMailbox::List::Pop() {
  Completion* completion = first;
  if (completion == nullptr) return nullptr;
  first = completion->next_;
  if (first == nullptr) last = nullptr;
  return completion;
}

CompletionMailbox::~CompletionMailbox() {
  OVERLAY_CHECK(scp_.first == nullptr && other_.first == nullptr);
}

void CompletionMailbox::Post(Completion* completion, bool ok) {
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    completion->ok_ = ok;
    (completion->lane_ == Completion::Lane::kScp ? scp_ : other_).Push(completion);
    wake = !std::exchange(woken_, true);
  }
  if (wake) wake_();
}

Completion* CompletionMailbox::Next(bool scp_only) {
  std::lock_guard<std::mutex> lock(mutex_);
  woken_ = false;
  Completion* completion = scp_.Pop();
  if (completion == nullptr && !scp_only) completion = other_.Pop();
  return completion;
}

bool CompletionMailbox::Drain(Time now, size_t count_max) {
  size_t others = 0;
  while (Completion* completion = Next(/*scp_only=*/others >= count_max)) {
    // Read before the call: OnCompleted may delete the tag or give it to gRPC again.
    const bool ok = completion->ok_;
    if (completion->lane_ == Completion::Lane::kOther) ++others;
    completion->OnCompleted(now, ok);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  return other_.first != nullptr;
}

CompletionThread::CompletionThread(grpc::CompletionQueue* queue, CompletionMailbox* mailbox)
    : thread_([this, queue, mailbox] {
        pthread_setname_np(pthread_self(), "grpc-queue");
        void* tag = nullptr;
        bool ok = false;
        while (queue->Next(&tag, &ok)) mailbox->Post(static_cast<Completion*>(tag), ok);
        finished_.store(true, std::memory_order_release);
      }) {}

CompletionThread::~CompletionThread() { thread_.join(); }

}  // namespace overlay::server
