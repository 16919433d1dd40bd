#include "transport/bulk_window.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "flood/base/check.h"

namespace overlay::transport {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr double kPacket = static_cast<double>(kBulkPacketBytes);
constexpr double kWindowMin = 2 * kPacket;

// Round trips outside of these are not believed; they keep every product below far from overflow.
constexpr Duration kRttMin = microseconds(1);
constexpr Duration kRttMax = seconds(60);
// Until the first sample: QUIC's own initial guess (RFC 9002, 6.2.2).
constexpr Duration kRttInitial = milliseconds(333);

constexpr Duration kEvaluateEveryMin = microseconds(500);
constexpr int kEvaluateSamplesMin = 4;
constexpr Duration kRoundMin = milliseconds(1);
constexpr Duration kTargetMin = milliseconds(1);
// Half a packet's time on a link of 6 kbit/s; beyond that the figure is noise.
constexpr double kPacketTimeNsMax = 1e9;
constexpr Duration kJitterAllowanceMax = milliseconds(6);
constexpr double kJitterMultiple = 6;
constexpr double kJitterClipNs = 50'000;
constexpr double kJitterDecayNs = 30e9;
constexpr double kRateDecayNs = 60e9;
// Nobody's window is a terabyte: keeps the conversion to integers exact whatever cwnd says.
constexpr double kWindowMax = 1e12;
constexpr int kQuietRounds = 8;
// Two to the 20th times half a packet is over any W/8 that matters.
constexpr int64_t kDoublingsMax = 20;
constexpr Duration kIdleAfter = seconds(1);

double Ns(Duration d) { return static_cast<double>(d.count()); }
Duration ClampRtt(Duration rtt) { return std::clamp(rtt, kRttMin, kRttMax); }

// exp(-elapsed/period) for short steps, without the last-digit differences between math libraries.
double Decay(double value, double elapsed_ns, double period_ns) {
  return value / (1 + elapsed_ns / period_ns);
}

}  // namespace

BulkWindow::BulkWindow(Time now)
    : now_(now),
      smoothed_rtt_(kRttInitial),
      evaluated_at_(now),
      jitter_decayed_at_(now),
      round_began_at_(now),
      tokens_bytes_(10 * kPacket),
      tokens_at_(now),
      bulk_written_at_(now) {}

// ---- inputs -----------------------------------------------------------------------------------

void BulkWindow::OnSample(Time now, const Sample& sample) {
  now = Advance(now);
  SettleTokens(now);
  MaybeGoIdle(now);
  cwnd_bytes_ = sample.cwnd_bytes;
  ssthresh_bytes_ = sample.ssthresh_bytes;
  const bool was_holding = holding();
  if (TakeFlight(sample.flight) > 0) {
    const Duration rtt = ClampRtt(sample.latest_rtt);
    smoothed_rtt_ = ClampRtt(sample.smoothed_rtt);
    const uint64_t acked_bytes = departed_bytes_ - departed_at_sample_bytes_;
    departed_at_sample_bytes_ = departed_bytes_;
    used_bytes_ = std::max(used_bytes_, bulk_in_flight_bytes() + acked_bytes);
    UpdateBase(now, rtt);
    UpdateRate(now);
    UpdateJitter(now, rtt);
    sample_rtt_min_ = sample_count_ == 0 ? rtt : std::min(sample_rtt_min_, rtt);
    ++sample_count_;
    GrowByAcked(acked_bytes);
    MaybeEvaluate(now, was_holding);
  }
  Clamp();
}

void BulkWindow::OnFlight(Time now, const Flight& flight) {
  Advance(now);
  TakeFlight(flight);
  used_bytes_ = std::max(used_bytes_, bulk_in_flight_bytes());
}

void BulkWindow::OnBulkWritten(Time now, uint64_t bytes) {
  now = Advance(now);
  if (bytes == 0) return;
  MaybeGoIdle(now);
  SettleTokens(now);
  if (idle_) {
    // The idle time is not part of a round.
    round_began_at_ = now;
    round_departed_bytes_ = departed_bytes_;
    last_round_well_used_ = round_well_used_ = false;
  }
  idle_ = false;
  bulk_written_at_ = now;
  // A writer that took more than it was given pays later, but not for longer than one bucket takes.
  tokens_bytes_ = std::max(tokens_bytes_ - static_cast<double>(bytes), -TokenDepth());
}

uint64_t BulkWindow::BulkBudget(Time now) {
  now = Advance(now);
  MaybeGoIdle(now);
  const double tokens = TokensAt(now);
  if (tokens < kPacket) return 0;
  const double bytes = std::min(tokens, PassBytes());
  const uint64_t whole = static_cast<uint64_t>(bytes / kPacket) * kBulkPacketBytes;
  return std::min(RoomBytes(), whole);
}

std::optional<Time> BulkWindow::NextDeadline() const {
  const double room = static_cast<double>(RoomBytes());
  if (room == 0) return std::nullopt;
  if (TokensAt(now_) >= kPacket) return now_;
  // Not a packet at a time on a fast path: 0.2 ms between wake-ups, where a packet takes less.
  const double wanted = std::min(room, std::max(kPacket, TokenRate() * 200'000));
  const double wait_ns = (wanted - tokens_bytes_) / TokenRate();
  return tokens_at_ + Duration(static_cast<int64_t>(std::ceil(wait_ns)));
}

Time BulkWindow::Advance(Time now) {
  now_ = std::max(now_, now);
  return now_;
}

uint64_t BulkWindow::TakeFlight(const Flight& flight) {
  const uint64_t before = flight_.in_flight_bytes;
  flight_ = flight;
  if (static_cast<double>(bulk_in_flight_bytes()) >= 0.75 * window_bytes_) round_well_used_ = true;
  if (flight.in_flight_bytes >= before) return 0;
  departed_bytes_ += before - flight.in_flight_bytes;
  return before - flight.in_flight_bytes;
}

// ---- what samples say -------------------------------------------------------------------------

void BulkWindow::UpdateBase(Time now, Duration rtt) {
  const int64_t second = std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count();
  BaseBucket& bucket = base_buckets_[static_cast<size_t>(
      (second % kBaseBucketCount + kBaseBucketCount) % kBaseBucketCount)];
  if (bucket.second != second) bucket = {second, rtt};
  bucket.rtt_min = std::min(bucket.rtt_min, rtt);
  base_rtt_ = rtt;
  for (const BaseBucket& each : base_buckets_) {
    if (each.second > second - kBaseBucketCount) base_rtt_ = std::min(base_rtt_, each.rtt_min);
  }
}

void BulkWindow::UpdateRate(Time now) {
  const Duration elapsed = now - round_began_at_;
  if (elapsed < std::max(smoothed_rtt_, kRoundMin)) return;
  const double rate = static_cast<double>(departed_bytes_ - round_departed_bytes_) / Ns(elapsed);
  const bool full = last_round_well_used_ && round_well_used_;
  if (full || (!idle_ && rate > rate_bytes_per_ns_)) rate_bytes_per_ns_ = rate;
  rate_largest_bytes_per_ns_ =
      std::max(rate, Decay(rate_largest_bytes_per_ns_, Ns(elapsed), kRateDecayNs));
  round_began_at_ = now;
  round_departed_bytes_ = departed_bytes_;
  last_round_well_used_ = round_well_used_;
  round_well_used_ = false;
}

void BulkWindow::UpdateJitter(Time now, Duration rtt) {
  const bool counts = phase_ == Phase::kSteady && !holding() && queueing_delay_ <= target();
  if (counts && rtt_before_count_ == 2) {
    const double difference = std::abs(Ns(rtt_before_[0]) - (Ns(rtt) + Ns(rtt_before_[1])) / 2);
    const double clipped = std::min(difference, 4 * jitter_ns_ + kJitterClipNs);
    jitter_ns_ += (clipped - jitter_ns_) / 32;
  }
  rtt_before_[1] = rtt_before_[0];
  rtt_before_[0] = rtt;
  rtt_before_count_ = std::min(rtt_before_count_ + 1, 2);
  jitter_largest_ns_ =
      std::max(jitter_ns_, Decay(jitter_largest_ns_, Ns(now - jitter_decayed_at_), kJitterDecayNs));
  jitter_decayed_at_ = now;
}

void BulkWindow::GrowByAcked(uint64_t acked_bytes) {
  const double acked = static_cast<double>(acked_bytes);
  if (phase_ == Phase::kStart) {
    if (static_cast<double>(used_bytes_) >= window_bytes_ / 2) window_bytes_ += acked;
    return;
  }
  const double refill_to = 0.9 * refill_bytes_;
  if (window_bytes_ < refill_to && 2 * queueing_delay_ < target() && !holding() && WellUsed()) {
    window_bytes_ = std::min(window_bytes_ + acked, refill_to);
  }
}

// ---- decisions --------------------------------------------------------------------------------

void BulkWindow::MaybeEvaluate(Time now, bool was_holding) {
  if (was_holding && !holding()) {
    RestartSamples(now);
    return;
  }
  const Duration elapsed = now - evaluated_at_;
  if (elapsed < std::max(smoothed_rtt_ / 4, kEvaluateEveryMin)) return;
  if (sample_count_ < kEvaluateSamplesMin) return;
  Evaluate(now, elapsed);
  RestartSamples(now);
}

void BulkWindow::RestartSamples(Time now) {
  evaluated_at_ = now;
  sample_count_ = 0;
  used_bytes_ = bulk_in_flight_bytes();
}

void BulkWindow::Evaluate(Time now, Duration elapsed) {
  // A minimum from before a long silence may be below a base that has forgotten it.
  queueing_delay_ = std::max(sample_rtt_min_ - base_rtt_, Duration(0));
  const Duration limit = target();
  if (4 * queueing_delay_ >= limit || !WellUsed()) {
    quiet_since_.reset();
  } else if (!quiet_since_) {
    quiet_since_ = now;
  }
  if (holding()) return;
  if (queueing_delay_ > limit) {
    phase_ == Phase::kStart ? EndStart() : Cut();
    return;
  }
  in_cut_row_ = false;
  if (phase_ == Phase::kSteady && WellUsed()) Grow(now, elapsed);
}

void BulkWindow::EndStart() {
  const double empty_ns = Ns(base_rtt_) - Ns(BaseTarget()) / 2;
  window_bytes_ = 0.5 * UsedWindowBytes() * empty_ns / Ns(base_rtt_ + queueing_delay_);
  phase_ = Phase::kSteady;
  // What start overshot to is nothing to refill to, also not when a second cut has to follow.
  in_cut_row_ = true;
  Hold();
}

void BulkWindow::Cut() {
  const double used = UsedWindowBytes();
  if (!in_cut_row_) refill_bytes_ = used;
  in_cut_row_ = true;
  const double empty_ns = Ns(base_rtt_) - Ns(BaseTarget()) / 2;
  const double factor = empty_ns / Ns(base_rtt_ + queueing_delay_);
  if (factor < 0.5) {
    refill_bytes_ = std::min(refill_bytes_, rate_bytes_per_ns_ * Ns(base_rtt_ + BaseTarget()));
  }
  window_bytes_ = used * std::max(0.5, factor);
  Hold();
}

void BulkWindow::Hold() { hold_until_departed_bytes_ = departed_bytes_ + flight_.in_flight_bytes; }

void BulkWindow::Grow(Time now, Duration elapsed) {
  const double eighth = window_bytes_ / 8;
  double step = std::max(std::min(0.25 * std::sqrt(window_bytes_ * kPacket), eighth), kPacket / 2);
  if (quiet_since_) {
    const int64_t rounds = (now - *quiet_since_) / smoothed_rtt_ - kQuietRounds;
    if (rounds > 0) {
      const double factor = static_cast<double>(1LL << std::min(rounds, kDoublingsMax));
      step = std::max(step, std::min(step * factor, eighth));
    }
  }
  window_bytes_ += step * std::min(1.0, Ns(elapsed) / Ns(smoothed_rtt_));
}

void BulkWindow::MaybeGoIdle(Time now) {
  if (idle_ || now - bulk_written_at_ < kIdleAfter) return;
  // Bulk that waits for its acknowledgement is not idle, it is stuck. Control frames count little.
  if (bulk_in_flight_bytes() > 2 * kBulkPacketBytes) return;
  SettleTokens(now);
  idle_ = true;
  refill_bytes_ = window_bytes_;
  const double quarter = std::max(window_bytes_ / 4, static_cast<double>(kBulkWindowBytesInitial));
  window_bytes_ = std::min(window_bytes_, quarter);
  quiet_since_.reset();
  RestartSamples(now);
  Clamp();
}

void BulkWindow::Clamp() {
  window_bytes_ = std::clamp(window_bytes_, FloorBytes(), CeilingBytes());
}

// ---- figures ----------------------------------------------------------------------------------

uint64_t BulkWindow::bulk_in_flight_bytes() const {
  return flight_.in_flight_bytes - std::min(flight_.in_flight_bytes, flight_.class0_unacked_bytes);
}

Duration BulkWindow::BaseTarget() const {
  double packet_ns = 0;
  if (rate_bytes_per_ns_ > 0) packet_ns = std::min(kPacket / rate_bytes_per_ns_, kPacketTimeNsMax);
  const Duration half_packet(static_cast<int64_t>(packet_ns / 2));
  return std::max({kTargetMin, base_rtt_ / 20, half_packet});
}

Duration BulkWindow::target() const {
  const Duration allowance = std::max(kJitterAllowanceMax, base_rtt_ / 10);
  const Duration jitter(static_cast<int64_t>(kJitterMultiple * jitter_largest_ns_));
  return std::max(BaseTarget(), std::min(jitter, allowance));
}

double BulkWindow::CeilingBytes() const {
  const double rounds = phase_ == Phase::kStart ? 4 : 2;
  double ceiling = std::max(static_cast<double>(kBulkShortPathBytes),
                            rounds * rate_largest_bytes_per_ns_ * Ns(base_rtt_));
  if (cwnd_bytes_ > 0) ceiling = std::min(ceiling, 2 * static_cast<double>(cwnd_bytes_));
  return std::clamp(ceiling, kWindowMin, kWindowMax);
}

double BulkWindow::FloorBytes() const {
  const double floor = rate_largest_bytes_per_ns_ * Ns(smoothed_rtt_) / 16;
  return std::min(std::max(kWindowMin, floor), CeilingBytes());
}

double BulkWindow::UsedWindowBytes() const {
  return std::min(window_bytes_, static_cast<double>(used_bytes_));
}

bool BulkWindow::WellUsed() const {
  return static_cast<double>(used_bytes_) >= 0.75 * window_bytes_;
}

uint64_t BulkWindow::RoomBytes() const {
  double limit = window_bytes_;
  if (cwnd_bytes_ > 0 && cwnd_bytes_ < ssthresh_bytes_) {
    limit = std::min(limit, 0.75 * static_cast<double>(cwnd_bytes_));
  }
  const double room = limit - static_cast<double>(bulk_in_flight_bytes());
  if (room <= 0) return 0;
  return static_cast<uint64_t>(std::ceil(room / kPacket)) * kBulkPacketBytes;
}

double BulkWindow::TokenRate() const {
  const double rounds = phase_ == Phase::kStart ? 2 : 1.25;
  return rounds * window_bytes_ / Ns(smoothed_rtt_);
}

double BulkWindow::TokenDepth() const { return std::max(10 * kPacket, 2e6 * TokenRate()); }

double BulkWindow::PassBytes() const {
  const double pass = std::max(10 * kPacket, 200'000 * window_bytes_ / Ns(smoothed_rtt_));
  return std::min(pass, static_cast<double>(kBulkPassBytesMax));
}

double BulkWindow::TokensAt(Time now) const {
  return std::min(TokenDepth(), tokens_bytes_ + TokenRate() * Ns(now - tokens_at_));
}

void BulkWindow::SettleTokens(Time now) {
  tokens_bytes_ = TokensAt(now);
  tokens_at_ = now;
}

void BulkWindow::CheckInvariants() const {
  OVERLAY_CHECK(std::isfinite(window_bytes_) && std::isfinite(tokens_bytes_));
  OVERLAY_CHECK(window_bytes_ >= kWindowMin && window_bytes_ <= kWindowMax);
  OVERLAY_CHECK(window_bytes_ >= FloorBytes() && window_bytes_ <= CeilingBytes());
  OVERLAY_CHECK(cwnd_bytes_ == 0 ||
                window_bytes_ <= std::max(kWindowMin, 2.0 * static_cast<double>(cwnd_bytes_)));
  OVERLAY_CHECK(smoothed_rtt_ >= kRttMin && smoothed_rtt_ <= kRttMax);
  OVERLAY_CHECK(base_rtt_ <= kRttMax && queueing_delay_ >= Duration(0));
  OVERLAY_CHECK(jitter_ns_ >= 0 && jitter_largest_ns_ >= jitter_ns_);
  OVERLAY_CHECK(departed_at_sample_bytes_ <= departed_bytes_);
  OVERLAY_CHECK(round_departed_bytes_ <= departed_bytes_);
  OVERLAY_CHECK(tokens_at_ <= now_ && evaluated_at_ <= now_ && bulk_written_at_ <= now_);
}

}  // namespace overlay::transport
