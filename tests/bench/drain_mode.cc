#include <fmt/format.h>

#include <utility>

#include "tests/bench/cores.h"
#include "tests/bench/mission_core.h"
#include "tests/bench/modes.h"

namespace overlay::bench {
namespace {

// Until the last of the load is there, and what it caused.
constexpr Duration kEndPatience = std::chrono::seconds(30);

}  // namespace

absl::StatusOr<DrainResult> RunDrain(const MissionOptions& options, const Daemons& daemons,
                                     const std::string& folder) {
  Progress progress;
  MissionCore core(&progress, options);
  Clients clients;
  absl::Status status = clients.Connect(daemons.apis(), MissionClient(), {&core}, progress);
  if (!status.ok()) return status;
  core.set_client(&clients[0]);
  auto peers = SyntheticPeers::Start(MissionPeers(options, daemons.peer_address(0)), folder);
  if (!peers.ok()) return peers.status();

  Alarm alarm;
  const Time ends = (*peers)->started() + std::chrono::seconds(options.seconds) / 2;
  for (uint64_t slot = kMissionFirstSlot; !Interrupted(); ++slot) {
    const Time closes =
        (*peers)->started() + kLedgerTime * static_cast<int64_t>(slot - kMissionFirstSlot + 1);
    if (closes > ends) break;
    alarm.WaitUntil(closes);
    const auto [set, transactions] = core.TakeLedger(slot);
    if (status = clients[0].LedgerClosed(slot, std::nullopt, /*tracking=*/true); !status.ok()) {
      return status;
    }
    if (status = clients[0].TxSetExternalized(set, transactions); !status.ok()) return status;
  }
  alarm.WaitUntil(ends);
  DrainResult result;
  result.delivered = core.transactions().distinct();
  if (status = clients.Failure(""); !status.ok()) return status;
  const Time asked = Now();
  result.exit_code = daemons.Stop(0);
  result.exit_ms = 1e3 * ToSeconds(Now() - asked);
  auto sent = (*peers)->WaitForEnd(kEndPatience);
  if (!sent.ok()) return sent.status();
  result.sent = *sent;
  return result;
}

}  // namespace overlay::bench
