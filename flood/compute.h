// flood/compute.h
//
// What leaves the loop as a Compute action, and how much of it at a time.
//
//   ComputeQueue queue(limits, stats);
//   id = queue.Compress(bytes, out);      // nullopt: do without
//   id = queue.Inflate(frame, size, out);
//   if (queue.OnComputed(result, out)) ...   // result.id is one of those above
//
// Rules
//   R1  compute_at_worker_max actions are with the worker at a time; the others wait here, an
//       inflation before every compression.
//       Why: what waits here can be taken back, and a ledger waits for an inflation; a compression
//       only saves bytes. One more than the worker does keeps it from idling between two.
//   R2  A compression is refused where work of compute_bytes_max would be ahead of it, itself
//       included; an inflation never.
//       Why: whoever waits for a compression would lose patience. What there is to inflate is
//       bounded by whoever collects it (set_fetcher.h).
//   R3  What is cancelled is not begun, and its result, if it was with the worker, is dropped.
//
// Bounds   R2. Memory beyond the inputs: what the worker puts out for R1's number of actions.
// Cost     O(what waits) to cancel, else O(1).
// Threads  none: owned by the loop thread. RunCompute: any.
#ifndef OVERLAY_FLOOD_COMPUTE_H_
#define OVERLAY_FLOOD_COMPUTE_H_

#include <deque>
#include <optional>

#include "absl/container/btree_map.h"
#include "flood/action.h"
#include "flood/base/limits.h"
#include "flood/node_stats.h"

namespace overlay::flood {

// Does the work. Pure.
Computed RunCompute(const Compute& compute);

class ComputeQueue {
 public:
  ComputeQueue(const Limits& limits, ComputeStats& stats) : limits_(limits), stats_(stats) {}

  std::optional<uint64_t> Compress(Bytes data, ActionList& out);
  uint64_t Inflate(Bytes frame, uint64_t size, ActionList& out);
  void Cancel(uint64_t id);
  // False: it was cancelled, or never asked for.
  bool OnComputed(const Computed& computed, ActionList& out);

  void CheckInvariants() const;

 private:
  struct AtWorker {
    size_t bytes = 0;
    bool cancelled = false;
  };

  static size_t WorkOf(const Compute& compute);  // bytes read or written, whichever is more
  void Add(std::deque<Compute>& queue, Compute compute, ActionList& out);
  void Pump(ActionList& out);

  const Limits& limits_;
  ComputeStats& stats_;
  std::deque<Compute> inflations_;
  std::deque<Compute> compressions_;
  absl::btree_map<uint64_t, AtWorker> at_worker_;
  size_t bytes_ = 0;  // work of all three
  uint64_t next_id_ = 1;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_COMPUTE_H_
