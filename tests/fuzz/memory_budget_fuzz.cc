// The memory budget beside a second model that adds everything up anew each time, over pools that
// grow, shrink and give what they are asked for.
#include "flood/memory_budget.h"

#include <array>
#include <cstdint>
#include <optional>

#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

constexpr size_t kOperationCountMax = 300;
constexpr uint64_t kUnit = 64 * kKiB;

struct Model {
  uint64_t max = 0;
  uint64_t reserve = 0;
  MemoryBytes bytes{};
  bool pressed = false;

  uint64_t Others() const {
    uint64_t sum = 0;
    for (size_t pool = 1; pool < kMemoryPoolCount; ++pool) sum += bytes[pool];
    return sum;
  }
  uint64_t Room() const {
    const uint64_t scp = bytes[0] > reserve ? bytes[0] : reserve;
    return scp > max ? 0 : max - scp;
  }
  uint64_t Low() const {
    const uint64_t sixteenth = Room() / 16;
    return Room() - (sixteenth > 16 * kMiB ? 16 * kMiB : sixteenth);
  }
  void Judge() {
    if (Others() > Room()) pressed = true;
    if (Others() <= Low()) pressed = false;
  }
};

void Run(FuzzInput& in) {
  Limits limits;
  limits.memory_bytes_max = kUnit * (1 + in.Byte());
  limits.memory_scp_reserve_bytes = kUnit * in.Below(64);
  MemoryBudget budget(limits);
  Model model{limits.memory_bytes_max, limits.memory_scp_reserve_bytes, {}, false};
  // What of the cached sets is old: the rest goes only when any may.
  uint64_t old_sets = 0;
  for (size_t op = 0; op < kOperationCountMax && !in.empty(); ++op) {
    const size_t pool = in.Below(kMemoryPoolCount);
    model.bytes[pool] = kUnit * in.Byte();
    if (pool == static_cast<size_t>(MemoryPool::kSets)) old_sets = model.bytes[pool] / 2;
    budget.Update(model.bytes);
    model.Judge();
    budget.CheckInvariants();
    OVERLAY_CHECK(budget.is_pressed() == model.pressed);
    OVERLAY_CHECK(budget.held_bytes() == model.Others() && budget.room_bytes() == model.Room());
    size_t last_step = 0;
    while (const std::optional<MemoryBudget::Relief> relief = budget.Next()) {
      OVERLAY_CHECK(model.pressed);
      OVERLAY_CHECK(relief->bytes == model.Others() - model.Low() && relief->bytes > 0);
      OVERLAY_CHECK(static_cast<size_t>(relief->step) >= last_step);
      last_step = static_cast<size_t>(relief->step);
      uint64_t& of_pool = model.bytes[static_cast<size_t>(PoolOf(relief->step))];
      uint64_t freed = std::min<uint64_t>(of_pool, kUnit * (1 + in.Below(32)));
      if (relief->step == MemoryStep::kOldSets) {
        freed = std::min(freed, old_sets);
        old_sets -= freed;
      }
      of_pool -= freed;
      model.Judge();
      budget.OnFreed(relief->step, freed);
    }
    OVERLAY_CHECK(budget.is_pressed() == model.pressed);
    // Pressed to the end only if all that can go has gone.
    if (!model.pressed) continue;
    for (const MemoryPool gone : {MemoryPool::kTxBodies, MemoryPool::kSets, MemoryPool::kMempool}) {
      OVERLAY_CHECK(model.bytes[static_cast<size_t>(gone)] == 0);
    }
  }
}

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::FuzzInput in(data, size);
  overlay::flood::Run(in);
  return 0;
}
