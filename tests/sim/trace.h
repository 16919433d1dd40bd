// tests/sim/trace.h
//
// A hash of all that happened, in order (FNV-1a): equal for two runs if they did the same.
#ifndef OVERLAY_TESTS_SIM_TRACE_H_
#define OVERLAY_TESTS_SIM_TRACE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "flood/base/time.h"

namespace overlay::sim {

class Trace {
 public:
  void Add(uint64_t value) { hash_ = (hash_ ^ value) * 1099511628211u; }
  void Add(Time time) { Add(static_cast<uint64_t>(time.time_since_epoch().count())); }
  void Add(absl::Span<const uint8_t> bytes) {
    for (const uint8_t byte : bytes) Add(uint64_t{byte});
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 14695981039346656037u;
};

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_TRACE_H_
