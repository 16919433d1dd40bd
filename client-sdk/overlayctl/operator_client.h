// client-sdk/overlayctl/operator_client.h
//
// How overlayctl reaches the Operator service, and words that its commands share.
#ifndef OVERLAY_CLIENT_SDK_OVERLAYCTL_OPERATOR_CLIENT_H_
#define OVERLAY_CLIENT_SDK_OVERLAYCTL_OPERATOR_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client-sdk/overlayctl/arguments.h"
#include "overlay/v1/operator.grpc.pb.h"
#include "proto/json/operator_json.h"

namespace overlay::ctl {

class OperatorClient {
 public:
  explicit OperatorClient(const Arguments& arguments);
  v1::Operator::Stub& stub() { return *stub_; }
  // For one call: its deadline and token.
  std::unique_ptr<grpc::ClientContext> Context() const;
  // What the daemon said, and what to do about it.
  absl::Status Explain(const grpc::Status& status) const;
  absl::StatusOr<v1::StatusResponse> Status();
  // A call that is answered in parts: each part in its turn.
  template <class Part>
  absl::Status ReadParts(grpc::ClientReader<Part>& reader,
                         const std::function<void(const Part&)>& take) const {
    Part part;
    while (reader.Read(&part)) take(part);
    const grpc::Status status = reader.Finish();
    return status.ok() ? absl::OkStatus() : Explain(status);
  }

 private:
  const Arguments& arguments_;
  std::unique_ptr<v1::Operator::Stub> stub_;
};

absl::Status TraceTransaction(const Arguments& arguments, OperatorClient& client);
absl::Status TraceSet(const Arguments& arguments, OperatorClient& client);

std::string Seconds(uint64_t ms);  // "1.5 s"
std::string Age(bool has, uint64_t ms);

template <class Texts>
std::vector<std::string> Quoted(const Texts& texts) {
  std::vector<std::string> out;
  for (const std::string& text : texts) out.push_back(JsonText(text));
  return out;
}

}  // namespace overlay::ctl

#endif  // OVERLAY_CLIENT_SDK_OVERLAYCTL_OPERATOR_CLIENT_H_
