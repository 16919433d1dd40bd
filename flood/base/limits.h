// flood/base/limits.h
//
// Every bound of the protocol in one place, each with its reason. An operator may change those that
// the daemon's configuration names; the constants are on the wire or follow from it.
#ifndef OVERLAY_FLOOD_BASE_LIMITS_H_
#define OVERLAY_FLOOD_BASE_LIMITS_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "flood/base/ids.h"
#include "flood/base/time.h"

namespace overlay {

inline constexpr size_t kKiB = 1024;
inline constexpr size_t kMiB = 1024 * kKiB;

// An INV or GETDATA frame: 1,000 entries, as the network's flood adverts always had.
inline constexpr size_t kInvEntryCountMax = 1000;
inline constexpr size_t kGetDataHashCountMax = 1000;
inline constexpr size_t kHaveSetsEntryCountMax = 64;
// A frame on a long-lived stream. An INV of 1,000 entries encodes to under 56 KiB.
inline constexpr size_t kFrameBytesMax = 64 * kKiB;
static_assert(kInvEntryCountMax * (kHashBytes + 20) < kFrameBytesMax);
// One answer to a GETDATA carries bodies up to this, or one transaction if that is larger.
inline constexpr size_t kBodiesAnswerBytesMax = 64 * kKiB;
// Messages between core and daemon: chunks of sets are this large, because parsing one holds the
// queue thread.
inline constexpr size_t kCoreChunkBytesMax = 128 * kKiB;
// A core may not be further behind than this many slots of the network and still get every
// envelope.
inline constexpr uint64_t kSlotsAheadMax = 100;

struct Limits {
  // ---- memory: all pools of payloads together (flood/memory_budget.h). Twice what a busy node of
  // the network holds.
  size_t memory_bytes_max = 1536 * kMiB;
  // Of it, kept free for SCP: what 25 peers may fill to the brim, and 300 times what the network's
  // validators say in a window.
  size_t memory_scp_reserve_bytes = 128 * kMiB;

  // ---- payloads
  size_t envelope_bytes_max = 64 * kKiB;      // a nomination of 400 signed values
  size_t transaction_bytes_max = 256 * kKiB;  // twice the largest the network has allowed
  size_t tx_set_bytes_max = 16 * kMiB;
  size_t quorum_set_bytes_max = 64 * kKiB;  // 1,000 validators are 36 KB

  // ---- slots kept: this many, or those closed in the last minute if more, never over the maximum
  uint64_t slots_kept_min = 12;
  Duration slots_kept_for = std::chrono::seconds(60);
  uint64_t slots_kept_max = 128;
  size_t keep_slots_count_max = 4;  // that the core names
  // With no ledger closed for this long the upper bound of the slot window is lifted.
  Duration tracking_expires = std::chrono::seconds(30);

  // ---- SCP
  size_t scp_queue_bytes_max = 4 * kMiB;  // waiting for one peer
  size_t scp_kept_per_peer_count_max = 8000;
  size_t scp_kept_per_peer_bytes_max = 4 * kMiB;
  size_t seen_hash_count_max = 200'000;
  uint64_t own_newest_slots_per_peer = 12;  // kept per sender where the window has no upper bound
  uint32_t scp_state_requests_per_minute = 10;
  Duration scp_state_timeout = std::chrono::seconds(5);
  Duration scp_state_core_timeout = std::chrono::seconds(2);
  // Losses at limits are told to the core together, or a flood would flood it with reports.
  Duration overflow_report_interval = std::chrono::seconds(1);
  size_t incomplete_envelope_bytes_max = 1 * kMiB;  // per peer, streams not yet complete
  Duration incomplete_envelope_timeout = std::chrono::seconds(10);
  Duration stalled_timeout = std::chrono::seconds(10);

  // ---- transactions
  size_t mempool_count_max = 100'000;
  size_t mempool_bytes_max = 256 * kMiB;
  Duration mempool_age_max = std::chrono::seconds(300);
  size_t mempool_per_account_max = 100;  // 0: no limit
  bool mempool_replace_by_fee =
      true;  // same account and sequence number: 10 times the fee replaces
  // Part of the mempool's caps that each lane has for itself (classic, Soroban).
  std::array<double, 2> mempool_lane_share = {0.5, 0.5};
  double pending_share_of_mempool = 0.10;
  Duration pending_reoffer_after = std::chrono::seconds(10);
  uint64_t refusals_remembered_ledgers = 12;
  size_t announcements_per_peer_max = 5000;
  size_t demands_per_peer_count_max = 2000;
  size_t demands_per_peer_bytes_max = 1 * kMiB;
  size_t demands_total_max = 20'000;
  Duration demand_timeout = std::chrono::seconds(1);
  Duration demand_give_up = std::chrono::seconds(30);
  // Requests for bodies open at a time to one peer: below the 48 streams that it grants, so that
  // none waits for a stream while its silence is timed. What is announced meanwhile goes into the
  // next, larger one.
  size_t demand_requests_per_peer_max = 32;
  size_t inv_batch_count_max = kInvEntryCountMax;
  Duration inv_batch_delay = std::chrono::milliseconds(10);
  uint32_t mempool_announce_per_second = 5000;  // to a newly connected peer
  size_t bodies_queue_bytes_max = 4 * kMiB;     // answers waiting for one peer

  // ---- sets
  size_t set_cache_bytes_max = 512 * kMiB;
  size_t set_cache_guest_bytes_max = 64 * kMiB;
  size_t quorum_set_count_max = 1000;
  size_t set_fetch_bytes_in_progress_max = 64 * kMiB;
  size_t set_prefetch_per_peer_max = 4;
  size_t set_prefetch_total_max = 64;
  size_t set_core_fetch_max = 16;
  size_t sets_served_per_peer_max = 4;
  size_t sets_served_queue_per_peer_max = 16;
  size_t promised_waits_per_peer_max = 4;
  Duration promised_wait = std::chrono::seconds(2);
  size_t have_sets_per_peer_slot_max = 64;
  size_t have_sets_per_peer_max = 512;
  Duration set_first_byte_timeout_min = std::chrono::milliseconds(150);
  // Below it a set is fetched whole rather than continued: that costs little, and may come
  // compressed.
  size_t set_resume_bytes_min = 64 * kKiB;
  // An answer below it tells the round trip, not the rate.
  size_t set_rate_bytes_min = 64 * kKiB;
  Duration set_retry_all_min = std::chrono::milliseconds(1500);
  Duration set_retry_all_max = std::chrono::seconds(15);

  // Below this rate of its source a set is asked for compressed (flood/README.md has the figures);
  // where the rate is not known, beyond this round trip: what is nearer is fast.
  uint64_t set_zstd_below_bytes_per_second = 50'000'000;
  Duration set_zstd_beyond_rtt = std::chrono::milliseconds(2);
  // Smaller sets are served as they are: the saving is not worth a wait for the worker.
  size_t set_compress_bytes_min = 4 * kKiB;

  // ---- the worker thread
  size_t compute_at_worker_max = 2;  // one done, one ready
  // Work that may be ahead of a compression, itself included: 0.1 s, well below what an asker
  // waits for a first byte. Two of the largest sets.
  size_t compute_bytes_max = 32 * kMiB;

  // ---- core
  size_t core_stream_message_count_max = 10'000;
  size_t core_stream_bytes_max = 64 * kMiB;
  size_t core_offers_open_max = 4;

  // ---- peers
  size_t inbound_peers_max = 64;
  Duration redial_min = std::chrono::seconds(1);
  Duration redial_max = std::chrono::seconds(20);
  Duration dial_timeout = std::chrono::seconds(4);
  Duration hello_timeout = std::chrono::seconds(5);
};

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_LIMITS_H_
