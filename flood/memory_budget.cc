#include "flood/memory_budget.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::flood {
namespace {

constexpr uint64_t kReliefShare = 16;
constexpr uint64_t kReliefBytesMax = 16 * kMiB;
// Peers that we dial beside those that dial us.
constexpr uint64_t kOutboundPeers = 8;

// What the bounds of SCP add up to: per peer what it may keep here and send incompletely; those
// that have gone together as one; state and redeliveries.
uint64_t ScpBytesMax(const Limits& limits) {
  const uint64_t peers = limits.inbound_peers_max + kOutboundPeers + 1;
  return peers * (limits.scp_kept_per_peer_bytes_max + limits.incomplete_envelope_bytes_max) +
         2 * limits.core_stream_bytes_max;
}

}  // namespace

std::string_view MemoryPoolName(MemoryPool pool) {
  switch (pool) {
    case MemoryPool::kScp:
      return "scp";
    case MemoryPool::kTxBodies:
      return "tx_bodies";
    case MemoryPool::kSets:
      return "sets";
    case MemoryPool::kSetsInProgress:
      return "sets_in_progress";
    case MemoryPool::kMempool:
      return "mempool";
    case MemoryPool::kCoreStreams:
      return "core_streams";
  }
  return "unknown";
}

MemoryPool PoolOf(MemoryStep step) {
  switch (step) {
    case MemoryStep::kTxBodies:
      return MemoryPool::kTxBodies;
    case MemoryStep::kMempool:
      return MemoryPool::kMempool;
    case MemoryStep::kOldSets:
    case MemoryStep::kAnySet:
      break;
  }
  return MemoryPool::kSets;
}

MemoryBudget::MemoryBudget(const Limits& limits)
    : bytes_max_(limits.memory_bytes_max),
      scp_reserve_bytes_(std::min<uint64_t>(limits.memory_scp_reserve_bytes, ScpBytesMax(limits))) {
  Update(MemoryBytes{});
}

void MemoryBudget::Update(const MemoryBytes& bytes) {
  const uint64_t scp = bytes[static_cast<size_t>(MemoryPool::kScp)];
  held_ = 0;
  for (const uint64_t pool : bytes) held_ += pool;
  held_ -= scp;
  const uint64_t kept_for_scp = std::max(scp, scp_reserve_bytes_);
  room_ = kept_for_scp < bytes_max_ ? bytes_max_ - kept_for_scp : 0;
  step_ = 0;
  Judge();
}

uint64_t MemoryBudget::LowWater() const {
  return room_ - std::min(room_ / kReliefShare, kReliefBytesMax);
}

void MemoryBudget::Judge() { pressed_ = held_ > (pressed_ ? LowWater() : room_); }

std::optional<MemoryBudget::Relief> MemoryBudget::Next() const {
  if (!pressed_ || step_ == kMemoryStepCount) return std::nullopt;
  return Relief{static_cast<MemoryStep>(step_), held_ - LowWater()};
}

void MemoryBudget::OnFreed(MemoryStep step, uint64_t bytes) {
  OVERLAY_CHECK(static_cast<size_t>(step) == step_);
  if (bytes == 0) ++step_;
  held_ -= std::min(bytes, held_);
  Judge();
}

void MemoryBudget::CheckInvariants() const {
  OVERLAY_CHECK(pressed_ ? held_ > LowWater() : held_ <= room_);
  OVERLAY_CHECK(step_ <= kMemoryStepCount);
}

}  // namespace overlay::flood
