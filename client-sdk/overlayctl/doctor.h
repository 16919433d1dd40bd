// client-sdk/overlayctl/doctor.h
//
// What may be wrong with a daemon and its machine, judged from figures: each finding says what to
// do. What has to be asked of the daemon or read from the machine is gathered in doctor_command.cc.
//
// Rules
//   R1  `fail`: the validator does not work, or will not for long. `warn`: it works worse than it
//       could. `ok` and `unknown` need nothing.
//   R2  A finding that is not ok carries its remedy.
#ifndef OVERLAY_CLIENT_SDK_OVERLAYCTL_DOCTOR_H_
#define OVERLAY_CLIENT_SDK_OVERLAYCTL_DOCTOR_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "overlay/v1/operator.pb.h"

namespace overlay::ctl {

enum class Verdict : uint8_t { kOk, kUnknown, kWarn, kFail };
const char* VerdictName(Verdict verdict);  // "ok"

struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string what;    // "kernel buffers"
  std::string found;   // "net.core.rmem_max is 212992"
  std::string remedy;  // empty when there is nothing to do
};

// Of the machine that doctor runs on; nullopt: cannot be read here.
struct HostFacts {
  bool is_daemons = false;  // the daemon's own: its operator listener is a unix socket or loopback
  std::optional<uint64_t> rmem_max;
  std::optional<uint64_t> wmem_max;
  // Datagrams that the kernel threw away because the daemon's socket was full, since its start.
  std::optional<uint64_t> udp_drops;
  // The kernel's clock is disciplined (adjtimex).
  std::optional<bool> clock_synchronized;
};

struct DaemonFacts {
  v1::StatusResponse status;
  std::vector<v1::PeerDetail> peers;
  std::vector<v1::NameDetail> names;
  // Samples by name, those with labels by name{value,...}.
  std::map<std::string, double> metrics;
};

std::vector<Finding> Diagnose(const DaemonFacts& daemon, const HostFacts& host);

}  // namespace overlay::ctl

#endif  // OVERLAY_CLIENT_SDK_OVERLAYCTL_DOCTOR_H_
