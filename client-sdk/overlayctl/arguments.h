// client-sdk/overlayctl/arguments.h
//
// The command line of overlayctl. Options may stand before and after the command.
#ifndef OVERLAY_CLIENT_SDK_OVERLAYCTL_ARGUMENTS_H_
#define OVERLAY_CLIENT_SDK_OVERLAYCTL_ARGUMENTS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace overlay::ctl {

enum class Command {
  kHelp,
  kStatus,
  kDoctor,
  kPeers,
  kNames,
  kConnect,
  kDisconnect,
  kBan,
  kUnban,
  kBans,
  kDrain,
  kLogLevel,
  kTraceTransaction,
  kTraceSet,
  kSubmit,
  kTop,
  kFetch,
  kWatch
};
// Whether it speaks to the operator's listener.
constexpr bool IsOfOperator(Command command) {
  return command == Command::kStatus || command == Command::kDoctor || command == Command::kPeers ||
         command == Command::kNames || command == Command::kConnect ||
         command == Command::kDisconnect || command == Command::kBan ||
         command == Command::kUnban || command == Command::kBans || command == Command::kDrain ||
         command == Command::kLogLevel || command == Command::kTraceTransaction ||
         command == Command::kTraceSet;
}

struct Arguments {
  Command command = Command::kHelp;
  std::string operand;    // FILE, N, HASH, ADDR, KEY or LEVEL
  std::string daemon;     // where a core attaches
  std::string operator_;  // where operators connect; empty: `daemon` is tried
  std::string token;      // from the token file
  // Contents of the TLS files: all three, or none.
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_server_name;
  std::string passphrase;  // empty: the daemon is asked
  std::string out_path;
  std::string config;  // of doctor: the daemon's settings file
  std::chrono::seconds timeout{10};
  std::optional<std::chrono::seconds> ban_for = std::chrono::hours(24);  // none: without end
  std::string reason;                                                    // of a ban
  std::optional<uint64_t> events;  // of watch; absent: until interrupted
  bool quorum_set = false;
  bool takeover = false;
  bool json = false;
};

extern const char kHelp[];

// INVALID_ARGUMENT says what is wrong and what is expected (exit code 2). NOT_FOUND: the token
// file.
absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& words);

}  // namespace overlay::ctl

#endif  // OVERLAY_CLIENT_SDK_OVERLAYCTL_ARGUMENTS_H_
