// client-sdk/overlayctl/commands.h
//
// What overlayctl does. Each prints its result to standard output; the status is what went wrong,
// said so that the operator knows what to do next.
#ifndef OVERLAY_CLIENT_SDK_OVERLAYCTL_COMMANDS_H_
#define OVERLAY_CLIENT_SDK_OVERLAYCTL_COMMANDS_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client-sdk/overlayctl/arguments.h"

namespace overlay::ctl {

absl::Status RunOperatorCommand(const Arguments& arguments);
// FAILED_PRECONDITION: something is wrong, and has been printed.
absl::Status RunDoctor(const Arguments& arguments);
absl::Status RunCoreCommand(const Arguments& arguments);

// The network that the daemon is of, from its operator's listener; 32 bytes.
absl::StatusOr<std::string> AskNetworkId(const Arguments& arguments);
// To a listener of the daemon, by TLS where the arguments have it.
std::shared_ptr<grpc::Channel> MakeChannel(const Arguments& arguments, const std::string& address);
// OK when something listens at the core's address, speaks gRPC, and each takes the other's
// certificate where there is TLS.
absl::Status CheckReachable(const Arguments& arguments);

std::string HexText(std::string_view bytes);
// For terminals: what a peer calls itself must not move the cursor.
std::string Printable(std::string_view text);
void PrintLine(std::string_view text);

}  // namespace overlay::ctl

#endif  // OVERLAY_CLIENT_SDK_OVERLAYCTL_COMMANDS_H_
