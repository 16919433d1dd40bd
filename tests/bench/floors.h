// tests/bench/floors.h
//
// All floors of a run: their other ends, and the figures gathered so far.
//
// Rules
//   R1  Paced rounds use the gap of the mode and stand between its parts. Why: on a shared machine
//       the same figure moves by half within minutes, and a paced round trip is slower than a busy
//       one.
//   R2  Back-to-back figures are compared with those of the reference machine and flagged above
//       kSlowFloor times them. Why: a slow floor makes a good ratio worthless.
#ifndef OVERLAY_TESTS_BENCH_FLOORS_H_
#define OVERLAY_TESTS_BENCH_FLOORS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "tests/bench/child_process.h"
#include "tests/bench/clock.h"
#include "tests/bench/echo.h"

namespace overlay::bench {

inline constexpr double kSlowFloor = 1.5;

struct FloorFigures {
  std::string name;         // as in the JSON: "udp_echo"
  double reference_us = 0;  // of a busy round trip
  Samples busy;
  Samples paced;
  double reference_mb_s = 0;  // 0: the reference machine has none
  std::vector<double> bulk_mb_s;

  std::optional<double> BulkMedian() const;
  // Empty, or what is slow.
  std::string Flag() const;
};

class Floors {
 public:
  // Starts the other ends, with their sockets and logs in `folder`, and connects to them.
  static absl::StatusOr<std::unique_ptr<Floors>> Start(const std::string& folder);

  absl::Status RunBusy(size_t round_trips);
  absl::Status RunPaced(Duration gap, size_t round_trips);
  // One transfer of each, and one SHA-256 run.
  absl::Status RunBulk();

  // Of all paced rounds: sends, and those that were late by a whole gap.
  uint64_t sends() const { return sends_; }
  uint64_t late() const { return late_; }
  const std::vector<FloorFigures>& figures() const { return figures_; }
  const FloorFigures& Named(const std::string& name) const;

 private:
  std::vector<std::unique_ptr<ChildProcess>> children_;
  std::vector<std::unique_ptr<Echo>> echoes_;  // one for each of figures_ but the last, SHA-256's
  std::vector<FloorFigures> figures_;
  uint64_t sends_ = 0;
  uint64_t late_ = 0;
};

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_FLOORS_H_
