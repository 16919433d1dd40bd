// tests/bench/mission_load.h
//
// What the synthetic peers of a mission send, and how its core recognises it: transactions,
// envelopes and sets with valid XDR, each with its number and the time at which it was meant to
// leave inside.
//
// Rules
//   R1  Every transaction has a source account, every envelope a validator, and every set an end of
//       its own. Why: nothing supersedes, replaces or repeats another, so each must arrive once.
//   R2  Number and time lie in the key of that account or validator, in the clear. Why: the core
//       counts without a table of 600,000 hashes.
//   R3  Signatures are not made anew: the daemon checks none.
//   R4  Slots follow from the time since the start alone, so both processes agree on them.
#ifndef OVERLAY_TESTS_BENCH_MISSION_LOAD_H_
#define OVERLAY_TESTS_BENCH_MISSION_LOAD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"

namespace overlay::bench {

inline constexpr Duration kLedgerTime = std::chrono::milliseconds(600);
inline constexpr uint64_t kMissionFirstSlot = 1'000;

struct Mark {
  uint64_t number = 0;
  Time intended;
};
std::optional<Mark> MarkOfTransaction(std::string_view transaction);
std::optional<Mark> MarkOfEnvelope(std::string_view envelope);

class MissionLoad {
 public:
  MissionLoad(uint64_t seed, size_t set_bytes);

  // Payments of the network's sizes, some 500 bytes.
  Bytes Transaction(const Mark& mark);
  // Names the set of its slot.
  Bytes Envelope(const Mark& mark, uint64_t slot);
  Bytes SetOf(uint64_t slot) const;
  SetHash SetHashOf(uint64_t slot) const;

 private:
  std::vector<std::string> transactions_;  // templates
  std::string set_;                        // all but its last bytes
  Sha256Stream set_begun_;                 // over that
  uint64_t envelope_slot_ = 0;
  std::string envelope_;  // template of that slot
};

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_MISSION_LOAD_H_
