#include "client-sdk/overlayctl/operator_client.h"

#include <fmt/format.h>

#include <cctype>
#include <chrono>

#include "client-sdk/overlayctl/commands.h"

namespace overlay::ctl {
namespace {

const std::string& OperatorAddress(const Arguments& arguments) {
  return arguments.operator_.empty() ? arguments.daemon : arguments.operator_;
}

}  // namespace

OperatorClient::OperatorClient(const Arguments& arguments)
    : arguments_(arguments),
      stub_(v1::Operator::NewStub(MakeChannel(arguments, OperatorAddress(arguments)))) {}

std::unique_ptr<grpc::ClientContext> OperatorClient::Context() const {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + arguments_.timeout);
  if (!arguments_.token.empty()) {
    context->AddMetadata("authorization", "Bearer " + arguments_.token);
  }
  return context;
}

absl::Status OperatorClient::Explain(const grpc::Status& status) const {
  const std::string& address = OperatorAddress(arguments_);
  const std::string& said = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::PERMISSION_DENIED:
      return absl::PermissionDeniedError(
          fmt::format("{} is not the operator's listener of the daemon ({}): give its "
                      "operator.listen with --operator",
                      address, said));
    case grpc::StatusCode::UNAUTHENTICATED:
      return absl::UnauthenticatedError(fmt::format(
          "{} wants a token ({}): give the file that operator.token_file names with --token-file",
          address, said));
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::UnavailableError(
          fmt::format("no answer from the daemon at {} ({}): does it run?", address, said));
    default:
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()), said);
  }
}

absl::StatusOr<v1::StatusResponse> OperatorClient::Status() {
  v1::StatusResponse response;
  const grpc::Status status = stub_->Status(Context().get(), v1::StatusRequest(), &response);
  if (!status.ok()) return Explain(status);
  return response;
}

std::shared_ptr<grpc::Channel> MakeChannel(const Arguments& arguments, const std::string& address) {
  if (arguments.tls_ca.empty()) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  }
  grpc::ChannelArguments args;
  if (!arguments.tls_server_name.empty()) args.SetSslTargetNameOverride(arguments.tls_server_name);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = arguments.tls_ca;
  tls.pem_cert_chain = arguments.tls_cert;
  tls.pem_private_key = arguments.tls_key;
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(tls), args);
}

std::string Seconds(uint64_t ms) { return fmt::format("{:.1f} s", static_cast<double>(ms) / 1e3); }

std::string Age(bool has, uint64_t ms) { return has ? Seconds(ms) + " ago" : "none yet"; }

}  // namespace overlay::ctl
