// client-sdk/src/stream_call.h
//
// One bidirectional gRPC stream of the client with its bounded write queue.
//
// Writes are issued by whoever pushes when none is under way, else by the completion thread when
// the one before has been taken: so a message on an idle stream costs no hand-over between threads.
// One write and one read are outstanding at most, which is what gRPC allows.
//
// Threads  Push from any; everything else on the completion thread of the queue given to Start.
// Bounds   messages and bytes of the queue.
// Cost     what waits while a write is under way may go with the next one as one message (Join): a
//          message costs both processes some wake-ups, whatever is in it.
#ifndef OVERLAY_CLIENT_SDK_SRC_STREAM_CALL_H_
#define OVERLAY_CLIENT_SDK_SRC_STREAM_CALL_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace overlay::client {

// The largest message of several entries that the core API takes (core.proto).
inline constexpr size_t kJoinedBytesMax = 128 << 10;

// What a completion queue gives back: exactly one Run for each operation begun with it.
class Tag {
 public:
  virtual ~Tag() = default;
  virtual void Run(bool ok) = 0;
};

template <class Owner, void (Owner::*kMethod)(bool)>
class MemberTag : public Tag {
 public:
  explicit MemberTag(Owner* owner) : owner_(owner) {}
  void Run(bool ok) override { (owner_->*kMethod)(ok); }

 private:
  Owner* owner_;
};

template <class Up, class Down>
class StreamCall {
 public:
  using Stream = grpc::ClientAsyncReaderWriter<Up, Down>;

  // Moves what the second message says behind what the first one says, or returns false.
  using Join = std::function<bool(Up*, Up*)>;

  // With `join` messages next to each other are joined while they have kJoinedBytesMax together.
  StreamCall(size_t messages_max, size_t bytes_max, Join join = nullptr)
      : messages_max_(messages_max), bytes_max_(bytes_max), join_(std::move(join)) {}

  // Opens the stream; `prepare` makes it with the context given. `on_message` for each message,
  // `on_end` once, after which the call may be started again.
  void Start(std::unique_ptr<grpc::ClientContext> context,
             const std::function<std::unique_ptr<Stream>(grpc::ClientContext*)>& prepare,
             std::function<void(const Down&)> on_message,
             std::function<void(const grpc::Status&)> on_end) {
    const std::lock_guard lock(mutex_);
    context_ = std::move(context);
    on_message_ = std::move(on_message);
    on_end_ = std::move(on_end);
    stream_ = prepare(context_.get());
    stream_->StartCall(&started_tag_);
  }
  // From any thread; no effect when nothing runs.
  void Cancel() {
    const std::lock_guard lock(mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }

  // RESOURCE_EXHAUSTED: the queue is full and nothing was taken.
  absl::Status Push(Up message) {
    std::vector<Up> one;
    one.push_back(std::move(message));
    return PushAll(std::move(one));
  }
  // All in this order, next to each other, or none.
  absl::Status PushAll(std::vector<Up> messages) {
    const std::lock_guard lock(mutex_);
    size_t bytes = 0;
    for (const Up& message : messages) bytes += message.ByteSizeLong();
    const bool fits =
        queue_.size() + messages.size() <= messages_max_ && bytes_ + bytes <= bytes_max_;
    if (!fits && !queue_.empty()) {
      return absl::ResourceExhaustedError("the queue towards the daemon is full");
    }
    for (Up& message : messages) {
      const size_t size = message.ByteSizeLong();
      queue_.push_back({std::move(message), size});
    }
    bytes_ += bytes;
    WriteNext();
    return absl::OkStatus();
  }
  // Replaces what is queued, in one step, before the stream is started anew; no bound is checked:
  // it is what the bounds let in before.
  void Refill(const std::function<void(std::deque<Up>&)>& edit) {
    const std::lock_guard lock(mutex_);
    std::deque<Up> messages;
    for (Item& item : queue_) messages.push_back(std::move(item.message));
    edit(messages);
    queue_.clear();
    bytes_ = 0;
    for (Up& message : messages) {
      const size_t bytes = message.ByteSizeLong();
      bytes_ += bytes;
      queue_.push_back({std::move(message), bytes});
    }
  }

 private:
  struct Item {
    Up message;
    size_t bytes;
  };

  Up TakeFirst() {  // with the mutex held
    Up message = std::move(queue_.front().message);
    bytes_ -= queue_.front().bytes;
    queue_.pop_front();
    return message;
  }
  void WriteNext() {  // with the mutex held
    if (!writable_ || writing_ || queue_.empty()) return;
    writing_ = true;
    size_t bytes = queue_.front().bytes;
    in_flight_ = TakeFirst();
    while (join_ && !queue_.empty() && bytes + queue_.front().bytes <= kJoinedBytesMax &&
           join_(&in_flight_, &queue_.front().message)) {
      bytes += queue_.front().bytes;
      TakeFirst();
    }
    stream_->Write(in_flight_, &written_tag_);
  }

  void OnStarted(bool ok) {
    if (!ok) {
      stream_->Finish(&status_, &finished_tag_);
      return;
    }
    stream_->Read(&incoming_, &read_tag_);
    const std::lock_guard lock(mutex_);
    writable_ = true;
    WriteNext();
  }
  void OnRead(bool ok) {
    if (ok) {
      on_message_(incoming_);
      stream_->Read(&incoming_, &read_tag_);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      writable_ = false;
    }
    stream_->Finish(&status_, &finished_tag_);
  }
  void OnWritten(bool ok) {
    bool ended = false;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (ok) {
        WriteNext();
      } else {
        writable_ = false;
      }
      ended = finished_;
    }
    if (ended) End();
  }
  void OnFinished(bool) {
    bool writing = false;
    {
      const std::lock_guard lock(mutex_);
      finished_ = true;
      writing = writing_;
    }
    if (!writing) End();  // else OnWritten does
  }
  void End() {
    {
      const std::lock_guard lock(mutex_);
      finished_ = false;
      writable_ = false;
      stream_.reset();
      context_.reset();
    }
    const auto on_end = std::exchange(on_end_, nullptr);
    on_end(status_);
  }

  const size_t messages_max_;
  const size_t bytes_max_;
  const Join join_;
  std::function<void(const Down&)> on_message_;
  std::function<void(const grpc::Status&)> on_end_;
  Down incoming_;
  grpc::Status status_;

  std::mutex mutex_;  // guards all below, and Write against End
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
  std::deque<Item> queue_;
  size_t bytes_ = 0;
  Up in_flight_;
  bool writable_ = false;
  bool writing_ = false;
  bool finished_ = false;

  MemberTag<StreamCall, &StreamCall::OnStarted> started_tag_{this};
  MemberTag<StreamCall, &StreamCall::OnRead> read_tag_{this};
  MemberTag<StreamCall, &StreamCall::OnWritten> written_tag_{this};
  MemberTag<StreamCall, &StreamCall::OnFinished> finished_tag_{this};
};

}  // namespace overlay::client

#endif  // OVERLAY_CLIENT_SDK_SRC_STREAM_CALL_H_
