// flood/node_stats.h
//
// What a node counts. Plain numbers, written by the loop thread alone; the metrics edge copies them
// out on the loop thread (server/metrics.h), so nothing here is atomic. Each member names its
// metric in docs/metrics.md.
#ifndef OVERLAY_FLOOD_NODE_STATS_H_
#define OVERLAY_FLOOD_NODE_STATS_H_

#include <array>
#include <cstdint>

#include "flood/base/ids.h"
#include "flood/base/peer_io.h"
#include "flood/base/time.h"
#include "flood/memory_budget.h"
#include "flood/peers/ban_list.h"

namespace overlay::flood {

struct ScpStats {
  uint64_t received_new = 0;
  uint64_t received_duplicate = 0;
  uint64_t refused_window = 0;  // slot outside the window
  uint64_t refused_limit = 0;   // a bound per sender or of the seen set
  uint64_t refused_malformed = 0;
  uint64_t superseded_inbound = 0;  // before it reached the core
  uint64_t delivered = 0;
  uint64_t redelivered = 0;
  uint64_t broadcast = 0;    // envelopes that the core broadcast
  uint64_t copies_sent = 0;  // handed to peers' queues
  uint64_t copies_acknowledged = 0;
  uint64_t copies_superseded = 0;  // taken back from a queue
  uint64_t copies_dropped = 0;     // a peer's queue was full
  uint64_t state_requests_answered = 0;
  uint64_t state_requests_refused = 0;
  uint64_t seen_hashes = 0;     // gauge
  uint64_t kept_envelopes = 0;  // gauge
  uint64_t kept_bytes = 0;      // gauge
  uint64_t core_queue = 0;      // gauge: waiting for the core
  Time last_received{};
};

struct TxStats {
  uint64_t submitted = 0;
  uint64_t received_new = 0;
  uint64_t received_duplicate = 0;
  uint64_t received_duplicate_bytes = 0;
  uint64_t received_bytes = 0;
  uint64_t announced = 0;           // hashes x peers
  uint64_t announcements_held = 0;  // hashes x peers that took none then
  uint64_t announcements_received = 0;
  uint64_t announcements_ill_sized = 0;  // of those: empty, or above the limit; never demanded
  uint64_t demanded = 0;
  uint64_t demand_timeouts = 0;
  uint64_t demand_not_found = 0;
  uint64_t demand_given_up = 0;
  uint64_t served = 0;
  uint64_t not_found_served = 0;
  uint64_t evicted = 0;
  uint64_t expired = 0;
  uint64_t verdict_valid = 0;
  uint64_t verdict_malformed = 0;
  uint64_t verdict_stale = 0;
  uint64_t verdict_later = 0;
  uint64_t externalized = 0;
  uint64_t mempool_count = 0;      // gauge
  uint64_t mempool_bytes = 0;      // gauge
  uint64_t pending_count = 0;      // gauge
  uint64_t answers_cancelled = 0;  // this and the next two: memory was short
  uint64_t bodies_dropped = 0;
  uint64_t submissions_without_memory = 0;
  uint64_t tracked_announcements = 0;  // gauge
  Time last_received{};
};

struct SetStats {
  uint64_t offered = 0;
  uint64_t fetched = 0;
  uint64_t fetch_failed = 0;
  uint64_t fetch_next_source = 0;  // a second or later source asked
  uint64_t fetch_resumed = 0;      // continued behind what another source had sent
  // Another source asked beside one that was too slow.
  uint64_t fetch_hedged_first_byte = 0;
  uint64_t fetch_hedged_stalled = 0;
  uint64_t fetch_hedged_slow = 0;
  uint64_t prefetch_displaced = 0;  // by a set that the core wants
  uint64_t wrong_hash = 0;
  uint64_t inflated = 0;     // part of fetched: what came compressed
  uint64_t bad_frame = 0;    // came compressed, and does not inflate to what was announced
  uint64_t wrong_mixed = 0;  // of several sources: nobody is to blame
  uint64_t received_bytes = 0;
  uint64_t duplicate_bytes = 0;  // of a set that another source completed
  uint64_t served = 0;
  uint64_t served_not_found = 0;
  uint64_t served_compressed = 0;   // part of served
  uint64_t served_saved_bytes = 0;  // by that
  uint64_t compressed = 0;          // sets whose frame was worth it
  uint64_t cached_count = 0;        // gauge
  uint64_t cached_bytes = 0;        // gauge
  uint64_t quorum_sets = 0;         // gauge
  uint64_t fetching = 0;            // gauge
  uint64_t without_memory = 0;  // offers, fetches and prefetches refused because memory was short
  Time last_received{};
};

struct ComputeStats {
  uint64_t begun = 0;      // given to the worker
  uint64_t refused = 0;    // compressions: too much work ahead
  uint64_t not_done = 0;   // given to the worker, in vain
  uint64_t waiting = 0;    // gauge
  uint64_t at_worker = 0;  // gauge
};

struct PeerStats {
  uint64_t connected = 0;  // gauge
  uint64_t inbound = 0;    // gauge
  uint64_t dialling = 0;   // gauge
  uint64_t known = 0;      // gauge: in the book, the connected ones included
  uint64_t outbound = 0;   // gauge: of those that count towards the outbound target
  uint64_t bans = 0;       // gauge
  std::array<uint64_t, kBannedByCount> banned{};  // by BannedBy: bans ever made
  uint64_t dials = 0;
  uint64_t dials_failed = 0;
  std::array<uint64_t, kOffenceCount> offences{};
};

struct NameStats {
  // Look-ups, by outcome.
  uint64_t found = 0;
  uint64_t not_found = 0;  // no such name, or no address
  uint64_t failed = 0;
  std::array<uint64_t, 3> by_state{};  // gauges, by NameView::State
};

struct MemoryStats {
  MemoryBytes bytes{};      // gauges, by pool
  uint64_t room_bytes = 0;  // gauge: what the pools other than SCP's may hold
  bool pressed = false;     // gauge
  uint64_t pressures = 0;   // times that it began
  std::array<uint64_t, kMemoryPoolCount> freed_bytes{};
  std::array<uint64_t, kMemoryPoolCount> freed{};  // turns in which something had to go
};

struct SlotStats {
  LedgerSeq newest_closed;  // gauge; 0: none yet
  LedgerSeq oldest_kept;    // gauge, keep_slots aside
};

struct NodeStats {
  SlotStats slots;
  ScpStats scp;
  TxStats tx;
  SetStats sets;
  ComputeStats compute;
  PeerStats peers;
  NameStats names;
  MemoryStats memory;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_NODE_STATS_H_
