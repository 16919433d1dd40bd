#include <algorithm>

#include "tests/bench/modes.h"

namespace overlay::bench {
namespace {

constexpr size_t kRoundsMax = 10;
constexpr size_t kEnvelopesPerRoundMin = 20;
constexpr size_t kFloorPingsPerRoundMax = 100;

}  // namespace

absl::StatusOr<ScpResult> RunScp(const ScpOptions& options, const Daemons& daemons,
                                 Floors& floors) {
  ScpRun run(options, daemons.apis(), [&] { return daemons.CpuTime(); });
  if (absl::Status status = run.Connect(); !status.ok()) return status;
  ScpResult result;
  const size_t rounds = std::clamp(options.count / kEnvelopesPerRoundMin, size_t{1}, kRoundsMax);
  for (size_t round = 0; round < rounds; ++round) {
    const size_t begin = options.count * round / rounds;
    const size_t end = options.count * (round + 1) / rounds;
    if (absl::Status status = run.SendPart(begin, end, &result); !status.ok()) return status;
    absl::Status status =
        floors.RunPaced(options.gap, std::min(end - begin, kFloorPingsPerRoundMax));
    if (status.ok()) status = floors.RunBulk();
    if (!status.ok()) return status;
  }
  run.Finish(0, options.count, &result);
  return result;
}

}  // namespace overlay::bench
