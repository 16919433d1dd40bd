// The bulk window on a modelled link: one bottleneck with a rate, a queue and a round-trip time,
// senders with endless sets and an envelope of 300 bytes each 5 ms, a receiver that acknowledges
// every second packet. The controller is modelled as far as the rule meets it: slow start, a cut on
// loss, else a constant window. Its pacing is not, so a pass leaves as one burst: harder than the
// real connection.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <tuple>
#include <vector>

#include "flood/base/random.h"
#include "gtest/gtest.h"
#include "transport/bulk_window.h"

namespace overlay::transport {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kPayload = 1452;  // of a full packet, as the controller counts it
constexpr uint64_t kHeaders = 28;    // UDP and IPv4, which the link carries too
constexpr uint64_t kEnvelope = 340;
constexpr Duration kEnvelopeEvery = milliseconds(5);
constexpr Duration kAckDelayMax = milliseconds(25);
constexpr Duration kTurn = microseconds(50);  // between two passes of one sender

struct LinkOptions {
  double mbit_per_second = 200;
  Duration rtt = milliseconds(10);
  uint64_t queue_bytes_max = 1'000'000;
  Duration jitter{};  // each packet's delay varies by up to this, order kept
  uint64_t seed = 1;
};

class Network {
 public:
  explicit Network(const LinkOptions& options) : options_(options), random_(options.seed) {
    SetRate(options.mbit_per_second);
  }

  void SetRate(double mbit_per_second) { bytes_per_ns_ = mbit_per_second / 8e3; }

  // With bulk to send from `at` on.
  size_t AddSender(Duration at = {}) {
    const size_t index = senders_.size();
    senders_.push_back(std::make_unique<Sender>(Start() + at));
    Schedule(Start() + at, index, Kind::kEnvelope);
    return index;
  }
  // What bulk waits in the sender; endless unless told.
  void SetBacklog(size_t sender, uint64_t bytes) {
    senders_[sender]->backlog_bytes = bytes;
    Schedule(now_, sender, Kind::kPoll);
  }
  uint64_t backlog(size_t sender) const { return senders_[sender]->backlog_bytes; }

  void RunUntil(Duration at) {
    const Time end = Start() + at;
    while (!events_.empty() && std::get<0>(events_.top()) <= end) {
      const auto [time, order, sender, kind] = events_.top();
      events_.pop();
      now_ = time;
      Handle(*senders_[sender], sender, kind);
      senders_[sender]->window.CheckInvariants();
    }
    now_ = end;
  }
  // Runs until the sender's backlog is empty; how long that took.
  Duration RunUntilSent(size_t sender, Duration at_most) {
    const Time from = now_;
    while (senders_[sender]->backlog_bytes > 0 && now_ - from < at_most) {
      RunUntil(now_ - Start() + milliseconds(1));
    }
    return now_ - from;
  }

  // Figures since the last Measure().
  void Measure() {
    measured_from_ = now_;
    for (auto& sender : senders_) {
      sender->delivered_bytes = 0;
      sender->delays.clear();
      sender->queueing_delay_sum = 0;
      sender->queueing_delay_count = 0;
    }
  }
  double UsePercent() const {
    uint64_t bytes = 0;
    for (const auto& sender : senders_) bytes += sender->delivered_bytes;
    return 100 * static_cast<double>(bytes) /
           (bytes_per_ns_ * static_cast<double>((now_ - measured_from_).count()));
  }
  double MbitPerSecond(size_t sender) const {
    return 8e3 * static_cast<double>(senders_[sender]->delivered_bytes) /
           static_cast<double>((now_ - measured_from_).count());
  }
  double DelayP99Ms() const {
    std::vector<Duration> all;
    for (const auto& s : senders_) all.insert(all.end(), s->delays.begin(), s->delays.end());
    EXPECT_GE(all.size(), 50u);
    const size_t rank = all.size() * 99 / 100;
    std::nth_element(all.begin(), all.begin() + static_cast<ptrdiff_t>(rank), all.end());
    return ToSeconds(all[rank]) * 1e3;
  }
  double JainIndex() const {
    double sum = 0, squares = 0;
    for (const auto& sender : senders_) {
      const double x = static_cast<double>(sender->delivered_bytes);
      sum += x;
      squares += x * x;
    }
    return sum * sum / (squares * static_cast<double>(senders_.size()));
  }
  // Mean q over mean T, as the window itself saw them at each acknowledgement.
  double MeanDelayOverTarget(size_t sender) const {
    const Sender& s = *senders_[sender];
    return s.queueing_delay_sum / static_cast<double>(s.queueing_delay_count);
  }
  Duration queue_delay() const { return std::max(free_at_ - now_, Duration(0)); }
  const BulkWindow& window(size_t sender) const { return senders_[sender]->window; }
  uint64_t dropped_count() const { return dropped_count_; }

 private:
  enum class Kind : uint8_t { kEnvelope, kPoll, kArrival, kAckTimer };
  struct Packet {
    uint64_t number = 0;
    Time sent_at;
    uint64_t bytes = 0;
    bool class0 = false;
  };
  struct Sender {
    explicit Sender(Time now) : window(now) {}
    BulkWindow window;
    uint64_t backlog_bytes = UINT64_MAX;
    std::map<uint64_t, Packet> flight;
    BulkWindow::Flight in_flight;
    uint64_t next_number = 0;
    uint64_t cwnd_bytes = 14'520;
    uint64_t ssthresh_bytes = UINT64_MAX;
    uint64_t recovery_until_number = 0;
    Duration smoothed_rtt{};
    std::deque<std::pair<Time, uint64_t>> arrivals;  // in order of the link
    std::vector<uint64_t> unacknowledged;            // at the receiver
    Time last_arrival_at;
    std::optional<Time> poll_at;

    uint64_t delivered_bytes = 0;
    std::vector<Duration> delays;
    double queueing_delay_sum = 0;
    int64_t queueing_delay_count = 0;
  };

  static Time Start() { return Time(seconds(100)); }

  void Schedule(Time at, size_t sender, Kind kind) { events_.emplace(at, ++order_, sender, kind); }

  void Handle(Sender& s, size_t index, Kind kind) {
    switch (kind) {
      case Kind::kEnvelope:
        Send(s, index, kEnvelope, true);
        Schedule(now_ + kEnvelopeEvery, index, Kind::kEnvelope);
        break;
      case Kind::kPoll:
        s.poll_at.reset();
        break;
      case Kind::kArrival:
        OnArrival(s, index);
        break;
      case Kind::kAckTimer:
        if (!s.unacknowledged.empty() && now_ - s.last_arrival_at >= kAckDelayMax) Acknowledge(s);
        break;
    }
    WriteBulk(s, index);
  }

  void WriteBulk(Sender& s, size_t index) {
    uint64_t budget = s.backlog_bytes > 0 ? s.window.BulkBudget(now_) : 0;
    uint64_t written = 0;
    while (budget >= kBulkPacketBytes && s.backlog_bytes > 0 &&
           s.in_flight.in_flight_bytes + kPayload <= s.cwnd_bytes) {
      Send(s, index, kPayload, false);
      s.backlog_bytes -= s.backlog_bytes == UINT64_MAX ? 0 : std::min(s.backlog_bytes, kPayload);
      written += kPayload;
      budget -= kPayload;
    }
    s.window.OnFlight(now_, s.in_flight);
    s.window.OnBulkWritten(now_, written);
    if (s.backlog_bytes == 0) return;
    const std::optional<Time> deadline = s.window.NextDeadline();
    if (!deadline || s.in_flight.in_flight_bytes + kPayload > s.cwnd_bytes) return;
    const Time at = std::max(*deadline, now_ + kTurn);
    if (s.poll_at && *s.poll_at <= at) return;
    s.poll_at = at;
    Schedule(at, index, Kind::kPoll);
  }

  void Send(Sender& s, size_t index, uint64_t bytes, bool class0) {
    const Packet packet{s.next_number++, now_, bytes, class0};
    s.flight.emplace(packet.number, packet);
    s.in_flight.in_flight_bytes += bytes;
    if (class0) s.in_flight.class0_unacked_bytes += bytes;
    const double queued = bytes_per_ns_ * static_cast<double>(queue_delay().count());
    if (queued + static_cast<double>(bytes) > static_cast<double>(options_.queue_bytes_max)) {
      ++dropped_count_;
      return;
    }
    const double wire = static_cast<double>(bytes + kHeaders);
    free_at_ = std::max(free_at_, now_) + Duration(static_cast<int64_t>(wire / bytes_per_ns_));
    Time arrives = free_at_ + options_.rtt + random_.UpTo(options_.jitter);
    if (!s.arrivals.empty()) arrives = std::max(arrives, s.arrivals.back().first);
    s.arrivals.emplace_back(arrives, packet.number);
    Schedule(arrives, index, Kind::kArrival);
  }

  void OnArrival(Sender& s, size_t index) {
    const uint64_t number = s.arrivals.front().second;
    s.arrivals.pop_front();
    const Packet& packet = s.flight.at(number);
    if (now_ > measured_from_) s.delivered_bytes += packet.bytes + kHeaders;
    if (packet.class0) s.delays.push_back(now_ - packet.sent_at - options_.rtt);
    s.last_arrival_at = now_;
    s.unacknowledged.push_back(number);
    if (s.unacknowledged.size() >= 2) {
      Acknowledge(s);
    } else {
      Schedule(now_ + kAckDelayMax, index, Kind::kAckTimer);
    }
  }

  void Acknowledge(Sender& s) {
    const uint64_t largest = s.unacknowledged.back();
    const Duration latest = now_ - s.flight.at(largest).sent_at;
    uint64_t acked = 0;
    for (const uint64_t number : s.unacknowledged) acked += Remove(s, number);
    s.unacknowledged.clear();
    bool lost = false;
    while (!s.flight.empty() && s.flight.begin()->first + 3 < largest) {
      lost = lost || s.flight.begin()->first >= s.recovery_until_number;
      Remove(s, s.flight.begin()->first);
    }
    if (lost) {
      s.cwnd_bytes = std::max<uint64_t>(s.cwnd_bytes * 7 / 10, 2 * kPayload);
      s.ssthresh_bytes = s.cwnd_bytes;
      s.recovery_until_number = s.next_number;
    } else if (s.cwnd_bytes < s.ssthresh_bytes) {
      s.cwnd_bytes += acked;
    }
    if (s.smoothed_rtt.count() == 0) s.smoothed_rtt = latest;
    s.smoothed_rtt += (latest - s.smoothed_rtt) / 8;
    s.window.OnSample(now_, {latest, s.smoothed_rtt, s.cwnd_bytes, s.ssthresh_bytes, s.in_flight});
    s.queueing_delay_sum += ToSeconds(s.window.queueing_delay()) / ToSeconds(s.window.target());
    ++s.queueing_delay_count;
  }

  uint64_t Remove(Sender& s, uint64_t number) {
    const auto it = s.flight.find(number);
    const uint64_t bytes = it->second.bytes;
    s.in_flight.in_flight_bytes -= bytes;
    if (it->second.class0) s.in_flight.class0_unacked_bytes -= bytes;
    s.flight.erase(it);
    return bytes;
  }

  const LinkOptions options_;
  Random random_;
  double bytes_per_ns_ = 0;
  Time now_ = Start();
  Time free_at_ = Start();
  Time measured_from_ = Start();
  uint64_t order_ = 0;
  uint64_t dropped_count_ = 0;
  std::priority_queue<std::tuple<Time, uint64_t, size_t, Kind>,
                      std::vector<std::tuple<Time, uint64_t, size_t, Kind>>, std::greater<>>
      events_;
  std::vector<std::unique_ptr<Sender>> senders_;
};

struct PathCase {
  const char* name;
  double mbit_per_second;
  Duration rtt;
  uint64_t queue_bytes_max;
  double p99_ms_max;
  double use_percent_min;
};

class BulkWindowLink : public testing::TestWithParam<PathCase> {};

// The aim: an envelope's p99 above the path's delay at most max(5 ms, RTT/8), the link in use.
TEST_P(BulkWindowLink, KeepsDelayLowAndTheLinkFull) {
  const PathCase& path = GetParam();
  Network net({.mbit_per_second = path.mbit_per_second,
               .rtt = path.rtt,
               .queue_bytes_max = path.queue_bytes_max});
  net.AddSender();
  net.RunUntil(seconds(5));
  net.Measure();
  net.RunUntil(seconds(15));
  EXPECT_LE(net.DelayP99Ms(), path.p99_ms_max);
  EXPECT_GE(net.UsePercent(), path.use_percent_min);
  EXPECT_LE(net.UsePercent(), 100.5);
  // q stays around its target: neither an empty link nor a standing queue.
  EXPECT_GT(net.MeanDelayOverTarget(0), 0.1);
  EXPECT_LT(net.MeanDelayOverTarget(0), 1.0);
}

INSTANTIATE_TEST_SUITE_P(
    Paths, BulkWindowLink,
    testing::Values(PathCase{"R20At200us", 20, microseconds(200), 1'000'000, 6, 90},
                    PathCase{"R20At10ms", 20, milliseconds(10), 1'000'000, 6, 90},
                    PathCase{"R20At50ms", 20, milliseconds(50), 1'000'000, 6.25, 90},
                    PathCase{"R200At200us", 200, microseconds(200), 1'000'000, 3, 95},
                    PathCase{"R200At10ms", 200, milliseconds(10), 1'000'000, 3, 95},
                    PathCase{"R200At50ms", 200, milliseconds(50), 1'000'000, 5, 95},
                    PathCase{"R200At100ms", 200, milliseconds(100), 10'000'000, 9, 95},
                    PathCase{"R1000At10ms", 1000, milliseconds(10), 1'000'000, 3, 95}),
    [](const testing::TestParamInfo<PathCase>& info) { return info.param.name; });

// A cold connection is not much slower than the controller alone would be.
TEST(BulkWindowOnLink, FirstSetOnALongPath) {
  Network net({.rtt = milliseconds(100), .queue_bytes_max = 10'000'000});
  net.SetBacklog(net.AddSender(), 10'000'000);
  EXPECT_LE(net.RunUntilSent(0, seconds(5)), milliseconds(1700));
}

TEST(BulkWindowOnLink, SendersShareEqually) {
  for (const size_t count : {2, 8}) {
    SCOPED_TRACE(count);
    Network net({});
    for (size_t i = 0; i < count; ++i) net.AddSender(i * seconds(2));
    net.RunUntil(seconds(40));
    net.Measure();
    net.RunUntil(seconds(60));
    EXPECT_GE(net.JainIndex(), 0.9);
    EXPECT_LE(net.DelayP99Ms(), 7);
    EXPECT_GE(net.UsePercent(), 90);
  }
}

// Two minutes of one sender: neither the queue nor the base creeps.
TEST(BulkWindowOnLink, DoesNotCreep) {
  Network net({});
  net.AddSender();
  net.RunUntil(seconds(100));
  net.Measure();
  net.RunUntil(seconds(120));
  EXPECT_LE(net.DelayP99Ms(), 2);
  EXPECT_GE(net.UsePercent(), 95);
  EXPECT_LE(net.window(0).base_rtt(), milliseconds(10) + microseconds(500));
}

TEST(BulkWindowOnLink, FindsALinkThatBecameFaster) {
  Network net({.mbit_per_second = 50, .rtt = milliseconds(50)});
  net.AddSender();
  net.RunUntil(seconds(10));
  net.SetRate(200);
  net.RunUntil(seconds(11));
  net.Measure();
  net.RunUntil(seconds(12));
  EXPECT_GE(net.MbitPerSecond(0), 170);
  net.RunUntil(seconds(20));
  net.SetRate(50);
  net.RunUntil(seconds(22));
  net.Measure();
  net.RunUntil(seconds(30));
  EXPECT_LE(net.DelayP99Ms(), 6.25);
  EXPECT_GE(net.UsePercent(), 90);
}

TEST(BulkWindowOnLink, LeavesALinkThatBecameSlower) {
  Network net({.rtt = milliseconds(10)});
  net.AddSender();
  net.RunUntil(seconds(10));
  net.SetRate(20);
  net.RunUntil(seconds(11));
  net.Measure();
  for (int ms = 11'000; ms < 13'000; ++ms) {
    net.RunUntil(milliseconds(ms));
    ASSERT_LT(net.queue_delay(), milliseconds(12)) << ms;
  }
  EXPECT_LE(net.DelayP99Ms(), 12.5);
  EXPECT_GE(net.UsePercent(), 80);
}

TEST(BulkWindowOnLink, SetsAfterIdleTimesAreQuickAndQuiet) {
  Network net({.rtt = milliseconds(50)});
  net.SetBacklog(net.AddSender(), 10'000'000);
  net.RunUntilSent(0, seconds(5));
  net.RunUntil(seconds(7));
  net.Measure();
  for (int round = 1; round <= 4; ++round) {
    net.SetBacklog(0, 10'000'000);
    EXPECT_LE(net.RunUntilSent(0, seconds(5)), milliseconds(800)) << round;
    net.RunUntil(seconds(7 + 6 * round));
  }
  EXPECT_LE(net.DelayP99Ms(), 3);
}

// A millisecond of jitter, far over the target, costs some of the link but does not close it.
TEST(BulkWindowOnLink, JitterIsNotTakenForAQueue) {
  Network net({.rtt = milliseconds(10), .jitter = milliseconds(1)});
  net.AddSender();
  net.RunUntil(seconds(5));
  net.Measure();
  net.RunUntil(seconds(25));
  EXPECT_GE(net.UsePercent(), 65);
  EXPECT_LE(net.DelayP99Ms(), 4);
}

// Envelopes alone do not open the window: their acknowledgements say nothing about bulk.
TEST(BulkWindowOnLink, EnvelopesAloneDoNotOpenTheWindow) {
  Network net({.rtt = milliseconds(10)});
  net.SetBacklog(net.AddSender(), 0);
  net.RunUntil(seconds(30));
  EXPECT_EQ(net.window(0).window_bytes(), kBulkWindowBytesInitial);
}

// The same again, to the byte.
TEST(BulkWindowOnLink, IsDeterministic) {
  uint64_t windows[2];
  for (uint64_t& window : windows) {
    Network net({.rtt = milliseconds(10), .jitter = milliseconds(1), .seed = 7});
    net.AddSender();
    net.AddSender(seconds(1));
    net.RunUntil(seconds(5));
    window = net.window(0).window_bytes() * 1'000'003 + net.window(1).window_bytes();
  }
  EXPECT_EQ(windows[0], windows[1]);
}

}  // namespace
}  // namespace overlay::transport
