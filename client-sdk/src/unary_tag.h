// client-sdk/src/unary_tag.h
//
// One unary call on a completion queue; deletes itself when its answer has come.
#ifndef OVERLAY_CLIENT_SDK_SRC_UNARY_TAG_H_
#define OVERLAY_CLIENT_SDK_SRC_UNARY_TAG_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <utility>

#include "client-sdk/src/open_calls.h"
#include "client-sdk/src/stream_call.h"

namespace overlay::client {

template <class Response>
class UnaryTag : public Tag {
 public:
  UnaryTag(OpenCalls& open, std::unique_ptr<grpc::ClientContext> context,
           std::function<void(const grpc::Status&)> then)
      : context_(std::move(context)), open_(open, context_.get()), then_(std::move(then)) {}
  grpc::ClientContext* context() { return context_.get(); }
  void Begin(std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader) {
    reader_ = std::move(reader);
    reader_->StartCall();
    reader_->Finish(&response_, &status_, this);
  }
  void Run(bool) override {
    then_(status_);
    delete this;
  }

 private:
  std::unique_ptr<grpc::ClientContext> context_;
  OpenCall open_;
  std::function<void(const grpc::Status&)> then_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader_;
  Response response_;
  grpc::Status status_;
};

}  // namespace overlay::client

#endif  // OVERLAY_CLIENT_SDK_SRC_UNARY_TAG_H_
