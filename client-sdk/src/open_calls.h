// client-sdk/src/open_calls.h
//
// The unary calls that wait for their answer, so that Stop can end them at once: their own deadline
// is seconds away.
//
// Threads  any.
#ifndef OVERLAY_CLIENT_SDK_SRC_OPEN_CALLS_H_
#define OVERLAY_CLIENT_SDK_SRC_OPEN_CALLS_H_

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <set>

namespace overlay::client {

class OpenCalls {
 public:
  // From now on every call, those to come included, ends as cancelled.
  void CancelAll() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (grpc::ClientContext* context : contexts_) context->TryCancel();
  }

 private:
  friend class OpenCall;

  std::mutex mutex_;
  bool cancelled_ = false;
  std::set<grpc::ClientContext*> contexts_;
};

// One of them, from before it is begun until its answer has come.
class OpenCall {
 public:
  OpenCall(OpenCalls& all, grpc::ClientContext* context) : all_(all), context_(context) {
    const std::lock_guard lock(all_.mutex_);
    all_.contexts_.insert(context_);
    if (all_.cancelled_) context_->TryCancel();
  }
  ~OpenCall() {
    const std::lock_guard lock(all_.mutex_);
    all_.contexts_.erase(context_);
  }
  OpenCall(const OpenCall&) = delete;
  OpenCall& operator=(const OpenCall&) = delete;

 private:
  OpenCalls& all_;
  grpc::ClientContext* const context_;
};

}  // namespace overlay::client

#endif  // OVERLAY_CLIENT_SDK_SRC_OPEN_CALLS_H_
