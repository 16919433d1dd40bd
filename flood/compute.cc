#include "flood/compute.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"
#include "flood/base/compress.h"
#include "flood/base/crypto.h"

namespace overlay::flood {

Computed RunCompute(const Compute& compute) {
  Computed computed{.id = compute.id, .outcome = Computed::Outcome::kNotDone, .output = {}};
  if (compute.kind == Compute::Kind::kCompress) {
    std::optional<Bytes> frame = ZstdCompress(compute.input.span());
    if (!frame) return computed;
    computed.output = *std::move(frame);
  } else {
    Inflated inflated = ZstdInflate(compute.input.span(), compute.inflated_bytes);
    if (inflated.error == InflateError::kOutOfMemory) return computed;
    if (inflated.error != InflateError::kNone) {
      computed.outcome = Computed::Outcome::kBadFrame;
      return computed;
    }
    computed.sha256 = Sha256(inflated.bytes.span());
    computed.output = std::move(inflated.bytes);
  }
  computed.outcome = Computed::Outcome::kDone;
  return computed;
}

size_t ComputeQueue::WorkOf(const Compute& compute) {
  return std::max<size_t>(compute.input.size(), compute.inflated_bytes);
}

std::optional<uint64_t> ComputeQueue::Compress(Bytes data, ActionList& out) {
  if (bytes_ + data.size() > limits_.compute_bytes_max) {
    ++stats_.refused;
    return std::nullopt;
  }
  const uint64_t id = next_id_++;
  Add(compressions_, {id, Compute::Kind::kCompress, std::move(data), 0}, out);
  return id;
}

uint64_t ComputeQueue::Inflate(Bytes frame, uint64_t size, ActionList& out) {
  const uint64_t id = next_id_++;
  Add(inflations_, {id, Compute::Kind::kInflate, std::move(frame), size}, out);
  return id;
}

void ComputeQueue::Add(std::deque<Compute>& queue, Compute compute, ActionList& out) {
  bytes_ += WorkOf(compute);
  queue.push_back(std::move(compute));
  Pump(out);
}

void ComputeQueue::Pump(ActionList& out) {
  while (at_worker_.size() < limits_.compute_at_worker_max) {
    std::deque<Compute>& queue = inflations_.empty() ? compressions_ : inflations_;
    if (queue.empty()) break;
    ++stats_.begun;
    at_worker_[queue.front().id] = {WorkOf(queue.front()), false};
    out.emplace_back(std::move(queue.front()));
    queue.pop_front();
  }
  stats_.waiting = inflations_.size() + compressions_.size();
  stats_.at_worker = at_worker_.size();
}

void ComputeQueue::Cancel(uint64_t id) {
  if (auto it = at_worker_.find(id); it != at_worker_.end()) {
    it->second.cancelled = true;
    return;
  }
  for (std::deque<Compute>* queue : {&inflations_, &compressions_}) {
    std::erase_if(*queue, [&](const Compute& compute) {
      if (compute.id != id) return false;
      bytes_ -= WorkOf(compute);
      return true;
    });
  }
  stats_.waiting = inflations_.size() + compressions_.size();
}

bool ComputeQueue::OnComputed(const Computed& computed, ActionList& out) {
  const auto it = at_worker_.find(computed.id);
  if (it == at_worker_.end()) {
    OVERLAY_BUG("the worker answered what it was not asked");
    return false;
  }
  const bool cancelled = it->second.cancelled;
  bytes_ -= it->second.bytes;
  at_worker_.erase(it);
  if (computed.outcome == Computed::Outcome::kNotDone) ++stats_.not_done;
  Pump(out);
  return !cancelled;
}

void ComputeQueue::CheckInvariants() const {
  size_t bytes = 0;
  for (const auto& [id, work] : at_worker_) bytes += work.bytes;
  for (const Compute& compute : inflations_) bytes += WorkOf(compute);
  for (const Compute& compute : compressions_) bytes += WorkOf(compute);
  OVERLAY_CHECK(bytes == bytes_);
  OVERLAY_CHECK(at_worker_.size() <= limits_.compute_at_worker_max);
  const bool waits = !inflations_.empty() || !compressions_.empty();
  OVERLAY_CHECK(!waits || at_worker_.size() == limits_.compute_at_worker_max);
  OVERLAY_CHECK(stats_.waiting == inflations_.size() + compressions_.size());
}

}  // namespace overlay::flood
