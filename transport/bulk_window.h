// transport/bulk_window.h
//
// How many bytes of bulk (classes 2 and 3: sets and bodies) a connection may have in flight beside
// SCP.
//
// A congestion controller fills the bottleneck's queue, and an envelope then waits behind it. This
// window follows queueing delay instead, below the controller: an envelope's p99 above the path's
// own delay should stay under max(5 ms, RTT/8) while at least 85 % of the link is used. It only
// limits; the controller, its pacing and flow control limit as well.
//
// Words: `bulk` is bytes in flight less unacknowledged class 0. `departed` counts all bytes that
// left the flight, `acked` its growth since the last sample. `used` is the largest bulk + acked
// since the last evaluation. q is queueing delay, T its target, D the path's jitter, W the window,
// P a packet.
//
// Rules
//   R1   A sample is a read that lowered bytes in flight. Why: acknowledgements are the only clock.
//   R2   Base = the smallest RTT of the last 10 s, in buckets of 1 s. Why: routes change; a minimum
//        that never expires would take a longer route for a queue and starve bulk for ever.
//   R3   Evaluate every max(srtt/4, 0.5 ms), with 4 samples or more: q = the smallest of them -
//        base. Why: the smallest filters jitter; the latest costs a fifth of the link and all
//        fairness.
//   R4   T = max(T0, min(6 Dm, max(6 ms, base/10))); T0 = max(1 ms, base/20, half a packet's time
//        at `rate`): what departed in the last round of max(srtt, 1 ms) that used 0.75 W, as the
//        one before, or that departed faster. Why: p99 lands near 1.2 T0, and below a packet's time
//        everything starves; a round that lacked bulk says nothing about the path.
//   R5   D averages |r1 - (r0 + r2)/2| of successive samples, clipped to 4 D + 50 us, outside start
//        and hold and while q <= T; Dm = the largest D, decaying over 30 s. Why: the second
//        difference does not see a queue that grows steadily, and the cap of R4 bounds the harm
//        when it is fooled.
//   R6   Start: W = 14,520, grows by `acked` while half of it is used. The first q > T ends it:
//        W = 0.5 min(W, used) (base - T0/2)/(base + q), then hold. Why: slow start overshoots; a
//        window that nobody uses must not grow on class 0's acknowledgements.
//   R7   Cut, when q > T and not holding: W = min(W, used) max(0.5, (base - T0/2)/(base + q)), then
//        hold until what was in flight has left; samples from before are discarded then. Why:
//        aiming below an empty queue drains it and renews base; a second cut before the first shows
//        would be for the same queue.
//   R8   Grow, when q <= T, not holding, used >= 0.75 W: W += d min(1, elapsed/srtt),
//        d = max(min(0.25 sqrt(W P), W/8), P/2). Why: the root makes senders' shares equal.
//   R9   After q < T/4 with 0.75 W used for more than 8 srtt, d doubles with each further srtt, to
//        W/8 at most. Why: finds a link that became faster; q of an unused link tells nothing.
//   R10  Refill: while W < 0.9 Wm, q < T/2, not holding, used >= 0.75 W: W += acked, to 0.9 Wm.
//        Wm = min(W, used) at the first cut of a row; any cut by half lowers it to rate (base +
//        T0). Why: a false cut, or an idle time, should not cost many round trips; a queue as long
//        as the path proves that the link is full, and its rate then is all that there is to refill
//        to.
//   R11  Floor: W >= max(2 P, Rm srtt/16), Rm = the largest departure rate, decaying over 60 s.
//        Why: a rate, so it shrinks with the queue; fixed floors of many senders add up to a queue.
//   R12  Ceiling: W <= 2 cwnd (then the floor gives way too, down to 2 P), and W <= max(256 KiB, 2
//        Rm base), 4 Rm base in start. Why: a window that the controller never lets fill says
//        nothing; on loopback the target of 1 ms is a megabyte. Start doubles W each round while Rm
//        lags by one: 2 would halve its pace.
//   R13  Gate: bulk < W, and bulk < 0.75 cwnd while the controller is in slow start. Why: there it
//        doubles whatever we do, and class 0 needs the rest.
//   R14  A token bucket for bulk: 1.25 W/srtt (2 in start), depth max(10 P, 2 ms of it). Why: the
//        controller paces by its own window, which stays large; a smaller W would leave in one
//        burst.
//   R15  A pass (one turn of the loop) is max(10 P, 0.2 ms of W/srtt), 64 KiB at most. Why: a
//        larger batch holds class 0 behind the controller's pacer.
//   R16  Idle: no bulk for 1 s: Wm = W, W = min(W, max(W/4, 14,520)), once. Base lives on from
//        class 0's samples. Why: what the path bore then is a hint, not a right.
//
// Bounds   A fixed number of fields, some 400 bytes; W in [2 P, 2 cwnd].
// Cost     O(1) a call, no allocation, one sqrt an evaluation.
// Time     argument only; a step backwards counts as no time passed.
// Threads  none: owned by the loop thread.
// Not here congestion control, loss, what is sent (send_lanes.h), class 0 and 1, which no window
// limits.
#ifndef OVERLAY_TRANSPORT_BULK_WINDOW_H_
#define OVERLAY_TRANSPORT_BULK_WINDOW_H_

#include <array>
#include <cstdint>
#include <optional>

#include "flood/base/time.h"

namespace overlay::transport {

// P: a full packet with its UDP and IP headers, which the link carries as well.
inline constexpr uint64_t kBulkPacketBytes = 1480;
// Ten packets as the controller's own initial window counts them (RFC 9002, 7.2).
inline constexpr uint64_t kBulkWindowBytesInitial = 14'520;
// As large as one batch of segmented sends gets; more would keep the loop from the next envelope.
inline constexpr uint64_t kBulkPassBytesMax = 64 * 1024;
// Measured on loopback: p99 of 0.2 ms at 85 % of the speed of unlimited bulk.
inline constexpr uint64_t kBulkShortPathBytes = 256 * 1024;
static_assert(kBulkPassBytesMax >= 10 * kBulkPacketBytes);

class BulkWindow {
 public:
  // What a connection has in flight now.
  struct Flight {
    uint64_t in_flight_bytes = 0;  // all classes, as the congestion controller counts them
    uint64_t class0_unacked_bytes = 0;
  };

  // The controller's state after a read.
  struct Sample {
    Duration latest_rtt{};
    Duration smoothed_rtt{};
    uint64_t cwnd_bytes = 0;
    uint64_t ssthresh_bytes = 0;  // in slow start while cwnd_bytes is below it
    Flight flight;
  };

  enum class Phase : uint8_t { kStart, kSteady };

  explicit BulkWindow(Time now);

  // After each read, whether it acknowledged anything or not.
  void OnSample(Time now, const Sample& sample);
  // After each write of any class, and after a timer of the connection ran (it may declare losses).
  void OnFlight(Time now, const Flight& flight);
  // After bulk was written: the bytes that its packets put in flight. Call OnFlight() as well.
  void OnBulkWritten(Time now, uint64_t bytes);

  // Bytes that packets with bulk may put in flight in this turn, a multiple of kBulkPacketBytes:
  // write while at least one packet is left of it. Ask once a turn, a second question begins a
  // second pass. The last packet of a full window may exceed it, so that no packet is cut short.
  uint64_t BulkBudget(Time now);

  // When BulkBudget() opens by time alone, not later than which to ask again if bulk is waiting (a
  // time not after now: it is open). nullopt: only an acknowledgement opens it.
  std::optional<Time> NextDeadline() const;

  uint64_t window_bytes() const { return static_cast<uint64_t>(window_bytes_); }
  uint64_t floor_bytes() const { return static_cast<uint64_t>(FloorBytes()); }
  // Wm of R10; 0 before the first cut or idle time.
  uint64_t window_before_cut_bytes() const { return static_cast<uint64_t>(refill_bytes_); }
  uint64_t bulk_in_flight_bytes() const;
  Duration base_rtt() const { return base_rtt_; }
  Duration queueing_delay() const { return queueing_delay_; }
  Duration target() const;
  // D and Dm of R5.
  Duration jitter() const { return Duration(static_cast<int64_t>(jitter_ns_)); }
  Duration jitter_largest() const { return Duration(static_cast<int64_t>(jitter_largest_ns_)); }
  // `rate` of R4, and its decaying maximum Rm.
  double rate_bytes_per_second() const { return rate_bytes_per_ns_ * 1e9; }
  double rate_largest_bytes_per_second() const { return rate_largest_bytes_per_ns_ * 1e9; }
  Phase phase() const { return phase_; }
  bool holding() const { return departed_bytes_ < hold_until_departed_bytes_; }

  void CheckInvariants() const;

 private:
  static constexpr int kBaseBucketCount = 10;
  struct BaseBucket {
    int64_t second = INT64_MIN;  // INT64_MIN: never used
    Duration rtt_min{};
  };

  // `now`, or the latest time told if that is later.
  Time Advance(Time now);
  // Takes over `flight`, returns how many bytes left it.
  uint64_t TakeFlight(const Flight& flight);
  void UpdateBase(Time now, Duration rtt);
  void UpdateRate(Time now);
  void UpdateJitter(Time now, Duration rtt);
  void GrowByAcked(uint64_t acked_bytes);
  void MaybeEvaluate(Time now, bool was_holding);
  void Evaluate(Time now, Duration elapsed);
  void RestartSamples(Time now);
  void Cut();
  void EndStart();
  void Hold();
  void Grow(Time now, Duration elapsed);
  void MaybeGoIdle(Time now);
  void Clamp();

  Duration BaseTarget() const;  // T0
  double FloorBytes() const;
  double CeilingBytes() const;
  double UsedWindowBytes() const;  // min(W, used)
  bool WellUsed() const;           // used >= 0.75 W
  // What the gates leave, in whole packets.
  uint64_t RoomBytes() const;
  double TokenRate() const;   // bytes per ns
  double TokenDepth() const;  // bytes
  double PassBytes() const;
  double TokensAt(Time now) const;
  void SettleTokens(Time now);

  Time now_;  // the latest time told; never steps back
  Phase phase_ = Phase::kStart;
  double window_bytes_ = static_cast<double>(kBulkWindowBytesInitial);
  double refill_bytes_ = 0;  // Wm
  bool in_cut_row_ = false;

  Flight flight_;
  uint64_t departed_bytes_ = 0;
  uint64_t departed_at_sample_bytes_ = 0;
  uint64_t hold_until_departed_bytes_ = 0;  // holding while departed_bytes_ is below
  uint64_t used_bytes_ = 0;
  uint64_t cwnd_bytes_ = 0;  // 0: not told yet, no limit
  uint64_t ssthresh_bytes_ = 0;

  Duration smoothed_rtt_;
  std::array<BaseBucket, kBaseBucketCount> base_buckets_{};
  Duration base_rtt_{};  // 0: no sample yet

  Time evaluated_at_;
  int sample_count_ = 0;       // since then
  Duration sample_rtt_min_{};  // of those
  Duration queueing_delay_{};
  std::optional<Time> quiet_since_;  // q < T/4 at every evaluation since

  std::array<Duration, 2> rtt_before_{};  // r(i-1), r(i-2)
  int rtt_before_count_ = 0;
  double jitter_ns_ = 0;
  double jitter_largest_ns_ = 0;
  Time jitter_decayed_at_;

  Time round_began_at_;
  uint64_t round_departed_bytes_ = 0;  // departed_bytes_ when it began
  bool round_well_used_ = false;
  bool last_round_well_used_ = false;
  double rate_bytes_per_ns_ = 0;
  double rate_largest_bytes_per_ns_ = 0;

  double tokens_bytes_;  // at tokens_at_; negative after an overdraft
  Time tokens_at_;

  Time bulk_written_at_;
  bool idle_ = true;  // R16 applied since the last bulk was written
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_BULK_WINDOW_H_
