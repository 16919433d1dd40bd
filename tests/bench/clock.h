// tests/bench/clock.h
//
// The one clock of a measurement (CLOCK_MONOTONIC, the event loop's too), the pace of its sends,
// and what is made of the times.
//
// Rules
//   R1  A latency counts from the time at which a send was *meant* to happen. Why: a sender that is
//       held up would else hide the very delay that it suffers.
//   R2  A send that is late by a whole gap is counted: with many of them the pace was not kept, and
//       the figures are of another load than the one named.
#ifndef OVERLAY_TESTS_BENCH_CLOCK_H_
#define OVERLAY_TESTS_BENCH_CLOCK_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "flood/base/time.h"

namespace overlay::bench {

Time Now();

// Waits for absolute times without drifting; one system call each.
class Alarm {
 public:
  Alarm();
  ~Alarm();
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;
  void WaitUntil(Time at);

 private:
  int fd_;
};

// The intended times of a series of sends.
class Pace {
 public:
  explicit Pace(Duration gap) : gap_(gap), next_(Now() + gap) {}
  Time next() const { return next_; }
  // Of the send that is about to happen; call when next() has come.
  Time Take() {
    const Time intended = next_;
    next_ += gap_;
    ++sends_;
    if (Now() - intended >= gap_) ++late_;
    return intended;
  }
  uint64_t sends() const { return sends_; }
  uint64_t late() const { return late_; }

 private:
  Duration gap_;
  Time next_;
  uint64_t sends_ = 0;
  uint64_t late_ = 0;
};

class Samples {
 public:
  void Add(Duration sample) {
    sorted_ = false;
    samples_.push_back(sample);
  }
  void Append(const Samples& other) {
    sorted_ = false;
    samples_.insert(samples_.end(), other.samples_.begin(), other.samples_.end());
  }
  size_t size() const { return samples_.size(); }
  // The smallest sample that `share` of all do not exceed; nullopt of none.
  std::optional<double> Micros(double share) const {
    if (samples_.empty()) return std::nullopt;
    if (!sorted_) std::sort(samples_.begin(), samples_.end());
    sorted_ = true;
    const double rank = share * static_cast<double>(samples_.size());
    const size_t above = static_cast<size_t>(rank);
    const size_t index = static_cast<double>(above) < rank ? above : (above > 0 ? above - 1 : 0);
    return static_cast<double>(samples_[std::min(index, samples_.size() - 1)].count()) / 1e3;
  }

 private:
  mutable std::vector<Duration> samples_;
  mutable bool sorted_ = true;
};

// Set by SIGINT and SIGTERM: whoever waits stops waiting, and everything is cleaned up on the way
// out.
void CatchInterrupts();
bool Interrupted();

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_CLOCK_H_
