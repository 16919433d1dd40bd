// SCP beside sets that keep a link full: two real endpoints on a virtual link with a rate and a
// queue. An envelope of 300 bytes each 5 ms from one to the other, beside sets of 10 MB the same
// way: each is asked for when half of the one before has come, so that the link is never without;
// or when all of it has.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <queue>
#include <string>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/peer_net.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

constexpr size_t kSetBytes = 10'000'000;
constexpr size_t kEnvelopeBytes = 300;
constexpr Duration kEnvelopeGap = 5ms;

struct BulkLinkOptions {
  uint64_t megabits_per_second;
  Duration round_trip;
  size_t queue_bytes = 1'000'000;
  bool one_at_a_time = false;
  Duration idle_between_sets{};
};

class BulkLink {
 public:
  explicit BulkLink(const BulkLinkOptions& options)
      : options_(options),
        net_({.delay = options.round_trip / 2,
              .bytes_per_second = options.megabits_per_second * 125'000,
              .queue_bytes = options.queue_bytes}) {
    std::vector<uint8_t> bytes(kSetBytes);
    Random(1).Fill(absl::MakeSpan(bytes));
    set_ = Bytes::Copy(bytes);
    key_ = {SetKind::kTxSet, HashOf<SetHash>(set_.span())};
    net_.AddNode();
    net_.AddNode();
    net_.set_records(false);
    net_.set_on_event([this](size_t node, const PeerEvent& event) { OnEvent(node, event); });
  }

  bool Connect() {
    if (!net_.Join(0, 1)) return false;
    envelope_at_ = net_.now();
    ask_at_.push(net_.now());
    return true;
  }

  void Run(Duration time) {
    const Time until = net_.now() + time;
    while (net_.now() < until) {
      if (net_.now() >= envelope_at_) SendEnvelopeNow();
      while (IsTimeToAsk()) AskForSet();
      while (!asked_.empty()) Answer();
      net_.RunUntil([this] { return !asked_.empty() || IsTimeToAsk(); },
                    std::min(until, envelope_at_) - net_.now());
    }
  }

  // What was measured counts from here.
  void Measure() {
    waits_.clear();
    set_times_.clear();
    set_bytes_received_ = 0;
    measured_from_ = net_.now();
  }
  // Of an envelope above the path's own delay.
  Duration WaitP99() {
    std::sort(waits_.begin(), waits_.end());
    return waits_.empty() ? Duration::max() : waits_[waits_.size() * 99 / 100];
  }
  // Of the link, by bytes of sets.
  double Use() const {
    const double capacity = static_cast<double>(options_.megabits_per_second) * 125'000 *
                            ToSeconds(net_.now() - measured_from_);
    return static_cast<double>(set_bytes_received_) / capacity;
  }
  const std::vector<Duration>& set_times() const { return set_times_; }
  size_t envelopes() const { return waits_.size(); }
  size_t queue_bytes_seen() const { return net_.QueueBytesSeen(0, 1); }

 private:
  void SendEnvelopeNow() {
    std::array<uint8_t, kEnvelopeBytes> envelope{};
    const uint64_t number = sent_at_.size();
    std::memcpy(envelope.data(), &number, sizeof(number));
    sent_at_.push_back(net_.now());
    envelope_at_ += kEnvelopeGap;
    net_.Do(0, SendEnvelope{*net_.PeerAt(0, 1), {number}, LedgerSeq{1}, Bytes::Copy(envelope)});
  }
  bool IsTimeToAsk() const { return !ask_at_.empty() && ask_at_.front() <= net_.now(); }
  void AskForSet() {
    ask_at_.pop();
    asked_set_at_.push_back(net_.now());
    const RequestId request{asked_set_at_.size() - 1};
    net_.Do(1, RequestSet{*net_.PeerAt(1, 0), request, {key_, false, 0}});
  }
  void Answer() {
    const SetRequested asked = asked_.front();
    asked_.pop();
    net_.Do(
        0,
        AnswerSet{
            asked.peer, asked.request, {true, SetEncoding::kIdentity, kSetBytes, kSetBytes}, set_});
  }
  void OnEvent(size_t node, const PeerEvent& event) {
    if (const auto* received = std::get_if<EnvelopeReceived>(&event)) {
      uint64_t number = 0;
      std::memcpy(&number, received->envelope.data(), sizeof(number));
      waits_.push_back(net_.now() - sent_at_.at(number) - options_.round_trip / 2);
    } else if (const auto* asked = std::get_if<SetRequested>(&event)) {
      asked_.push(*asked);
    } else if (const auto* data = std::get_if<SetDataReceived>(&event)) {
      set_bytes_received_ += data->data.size();
      uint64_t& received = received_[data->request.value];
      const bool was_half = received >= kSetBytes / 2;
      received += data->data.size();
      if (!options_.one_at_a_time && !was_half && received >= kSetBytes / 2) {
        ask_at_.push(net_.now());
      }
    } else if (const auto* ended = std::get_if<RequestEnded>(&event);
               ended != nullptr && node == 1) {
      ASSERT_TRUE(ended->complete);
      set_times_.push_back(net_.now() - asked_set_at_.at(ended->request.value));
      if (options_.one_at_a_time) ask_at_.push(net_.now() + options_.idle_between_sets);
    }
  }

  const BulkLinkOptions options_;
  PeerNet net_;
  Bytes set_;
  SetKey key_;
  std::queue<Time> ask_at_;
  std::vector<Time> asked_set_at_;  // by request
  std::map<uint64_t, uint64_t> received_;
  std::queue<SetRequested> asked_;
  Time envelope_at_;
  std::vector<Time> sent_at_;
  Time measured_from_;
  std::vector<Duration> waits_;
  std::vector<Duration> set_times_;
  uint64_t set_bytes_received_ = 0;
};

struct Expected {
  BulkLinkOptions link;
  Duration wait_p99_max;
  double use_min;
};

class BulkSim : public testing::TestWithParam<Expected> {};

// The two ways to fail: envelopes that wait behind bulk, and bulk that gives up the link for them.
TEST_P(BulkSim, EnvelopesPassWhileTheLinkIsFull) {
  const Expected& expected = GetParam();
  BulkLink link(expected.link);
  ASSERT_TRUE(link.Connect());
  link.Run(5s);
  link.Measure();
  link.Run(20s);
  EXPECT_GE(link.envelopes(), 3'990);
  EXPECT_LE(link.WaitP99(), expected.wait_p99_max);
  EXPECT_GE(link.Use(), expected.use_min);
  RecordProperty("wait_p99_us", static_cast<int>(ToMicros(link.WaitP99())));
  RecordProperty("use_percent", static_cast<int>(100 * link.Use()));
  RecordProperty("queue_bytes_seen", static_cast<int>(link.queue_bytes_seen()));
}

std::string NameOf(const testing::TestParamInfo<Expected>& info) {
  const BulkLinkOptions& link = info.param.link;
  return std::to_string(link.megabits_per_second) + "MbitAt" +
         std::to_string(ToMicros(link.round_trip)) + "us";
}

INSTANTIATE_TEST_SUITE_P(Links, BulkSim,
                         testing::Values(Expected{{200, 200us}, 3ms, 0.90},
                                         Expected{{200, 10ms}, 3ms, 0.90},
                                         Expected{{20, 200us}, 6ms, 0.80},
                                         Expected{{20, 10ms}, 6ms, 0.80},
                                         // A queue of four times what the path holds.
                                         Expected{{200, 100ms, 10'000'000}, 9ms, 0.90}),
                         NameOf);

TEST(BulkSimTest, TheFirstSetOnALongPathIsFast) {
  BulkLink link({.megabits_per_second = 200,
                 .round_trip = 100ms,
                 .queue_bytes = 10'000'000,
                 .one_at_a_time = true});
  ASSERT_TRUE(link.Connect());
  link.Run(3s);
  ASSERT_FALSE(link.set_times().empty());
  EXPECT_LE(link.set_times().front(), 1700ms);
}

// What the window was is a hint, not a right: a set after a pause neither crawls nor floods.
TEST(BulkSimTest, SetsWithPausesBetweenThemAreFastAndHarmless) {
  BulkLink link({.megabits_per_second = 200,
                 .round_trip = 50ms,
                 .one_at_a_time = true,
                 .idle_between_sets = 5s});
  ASSERT_TRUE(link.Connect());
  link.Run(5s);
  link.Measure();
  link.Run(25s);
  ASSERT_GE(link.set_times().size(), 4);
  EXPECT_LE(*std::max_element(link.set_times().begin(), link.set_times().end()), 800ms);
  EXPECT_LE(link.WaitP99(), 3ms);
}

}  // namespace
}  // namespace overlay::transport
