// The lanes beside a slow, obvious second implementation, on random operations with small limits.
// The model knows what is queued and what may go next; which of several streams or bulk classes has
// its turn is left to the real one (send_lanes_test.cc tests the shares) and checked against what
// is allowed.
#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "flood/base/random.h"
#include "gtest/gtest.h"
#include "transport/bulk_window.h"
#include "transport/send_lanes.h"

namespace overlay::transport {
namespace {

using Outcome = SendLanes::Outcome;
using Write = SendLanes::Write;

constexpr SendClass kOthers[] = {SendClass::kControl, SendClass::kSets, SendClass::kBodies};

struct ModelEnvelope {
  uint64_t token = 0;
  uint64_t slot = 0;
  size_t size = 0;
  std::string left;
  bool begun = false;
};

struct ModelStream {
  SendClass send_class = SendClass::kControl;
  size_t bytes_max = 0;
  std::vector<std::string> chunks;  // the first one's written part is gone
  bool fin = false;
  bool blocked = false;

  size_t Bytes() const {
    size_t bytes = 0;
    for (const std::string& chunk : chunks) bytes += chunk.size();
    return bytes;
  }
  bool Waits() const { return fin || !chunks.empty(); }
  bool Sendable() const { return Waits() && !blocked; }
};

class Model {
 public:
  explicit Model(const LaneLimits& limits) : limits_(limits) {}

  Outcome QueueEnvelope(uint64_t token, uint64_t slot, const std::string& bytes,
                        std::vector<uint64_t>& dropped) {
    for (const ModelEnvelope& each : envelopes) {
      if (each.token == token) return Outcome::kDuplicate;
    }
    if (bytes.empty() || bytes.size() > limits_.scp_bytes_max) return Outcome::kOverLimit;
    envelopes.push_back({token, slot, bytes.size(), bytes, false});
    while (ScpBytes() > limits_.scp_bytes_max || envelopes.size() > limits_.scp_count_max) {
      size_t victim = SIZE_MAX;
      for (size_t i = 0; i < envelopes.size(); ++i) {
        if (envelopes[i].begun) continue;
        if (victim == SIZE_MAX || envelopes[i].slot < envelopes[victim].slot) victim = i;
      }
      dropped.push_back(envelopes[victim].token);
      envelopes.erase(envelopes.begin() + static_cast<ptrdiff_t>(victim));
    }
    Settle();
    return Outcome::kQueued;
  }
  bool RemoveEnvelope(uint64_t token, bool even_begun) {
    for (size_t i = 0; i < envelopes.size(); ++i) {
      if (envelopes[i].token != token || (envelopes[i].begun && !even_begun)) continue;
      envelopes.erase(envelopes.begin() + static_cast<ptrdiff_t>(i));
      Settle();
      return true;
    }
    return false;
  }
  Outcome OpenStream(uint64_t stream, SendClass send_class, size_t bytes_max) {
    if (streams.contains(stream)) return Outcome::kDuplicate;
    if (streams.size() >= limits_.stream_count_max) return Outcome::kOverLimit;
    streams[stream] = {send_class, bytes_max, {}, false, false};
    return Outcome::kQueued;
  }
  Outcome Append(uint64_t stream, const std::string& chunk, bool fin) {
    if (!streams.contains(stream)) return Outcome::kUnknown;
    ModelStream& state = streams[stream];
    if (state.fin) return Outcome::kAlreadyEnded;
    if (state.Bytes() + chunk.size() > state.bytes_max ||
        ClassBytes(state.send_class) + chunk.size() > ClassMax(state.send_class) ||
        (!chunk.empty() && state.chunks.size() == limits_.chunks_per_stream_max)) {
      return Outcome::kOverLimit;
    }
    if (!chunk.empty()) state.chunks.push_back(chunk);
    state.fin = fin;
    return Outcome::kQueued;
  }

  // Whether `write` is what the rules allow next, whatever has its turn.
  void CheckNext(const std::optional<Write>& write, SendClass last, size_t budget) const {
    const bool scp = !scp_blocked && !envelopes.empty();
    const bool owed = scp && unpaid / 19 >= kBulkPacketBytes;
    const SendClass reach = owed ? SendClass::kBodies : last;
    bool control = false, bulk = false;
    for (const auto& [id, stream] : streams) {
      if (!stream.Sendable() || stream.send_class > reach) continue;
      (stream.send_class == SendClass::kControl ? control : bulk) = true;
    }
    bulk = bulk && budget > 0;
    const bool others = (!scp || owed) && (control || bulk);
    ASSERT_EQ(write.has_value(), scp || others);
    if (!write) return;
    if (!others) {
      const ModelEnvelope& first = envelopes.front();
      ASSERT_EQ(write->send_class, SendClass::kScp);
      ASSERT_EQ(write->token.value, first.token);
      ASSERT_EQ(write->data.view(), first.left);
      ASSERT_EQ(write->is_first, !first.begun);
      ASSERT_TRUE(write->fin);
      return;
    }
    ASSERT_TRUE(streams.contains(write->stream.value));
    const ModelStream& stream = streams.at(write->stream.value);
    ASSERT_TRUE(stream.Sendable());
    ASSERT_EQ(write->send_class, stream.send_class);
    ASSERT_EQ(stream.send_class == SendClass::kControl, control);
    ASSERT_LE(stream.send_class, reach);
    size_t most = owed ? unpaid / 19 : SIZE_MAX;
    if (!control) most = std::min({most, budget, size_t{kBulkPassBytesMax}});
    const std::string expected = stream.chunks.empty() ? "" : stream.chunks.front().substr(0, most);
    ASSERT_EQ(write->data.view(), expected);
    ASSERT_EQ(write->fin, stream.fin && expected.size() == stream.Bytes());
  }

  void OnWritten(const Write& write, size_t bytes, bool fin) {
    if (write.send_class == SendClass::kScp) {
      if (OthersSendable()) {
        unpaid = std::min(unpaid + bytes, size_t{4 * kBulkPacketBytes * 19});
      }
      ModelEnvelope& first = envelopes.front();
      first.begun = first.begun || bytes > 0;
      first.left.erase(0, bytes);
      if (fin) envelopes.erase(envelopes.begin());
    } else {
      ModelStream& stream = streams[write.stream.value];
      if (bytes > 0) {
        stream.chunks.front().erase(0, bytes);
        if (stream.chunks.front().empty()) stream.chunks.erase(stream.chunks.begin());
      }
      unpaid -= std::min(unpaid, bytes * 19);
      if (fin) streams.erase(write.stream.value);
    }
    Settle();
  }
  // Nothing is owed once class 0 or the others have run out.
  void Settle() {
    if (envelopes.empty() || !OthersSendable()) unpaid = 0;
  }

  bool OthersSendable() const {
    return std::any_of(streams.begin(), streams.end(),
                       [](const auto& each) { return each.second.Sendable(); });
  }
  size_t ScpBytes() const {
    size_t bytes = 0;
    for (const ModelEnvelope& each : envelopes) bytes += each.size;
    return bytes;
  }
  size_t ClassBytes(SendClass send_class) const {
    size_t bytes = 0;
    for (const auto& [id, stream] : streams) {
      if (stream.send_class == send_class) bytes += stream.Bytes();
    }
    return bytes;
  }
  size_t ClassWaiting(SendClass send_class) const {
    return static_cast<size_t>(std::count_if(streams.begin(), streams.end(), [&](const auto& each) {
      return each.second.send_class == send_class && each.second.Waits();
    }));
  }
  size_t ClassMax(SendClass send_class) const {
    if (send_class == SendClass::kControl) return limits_.control_bytes_max;
    return send_class == SendClass::kSets ? limits_.sets_bytes_max : limits_.bodies_bytes_max;
  }

  std::vector<ModelEnvelope> envelopes;
  std::map<uint64_t, ModelStream> streams;
  bool scp_blocked = false;
  size_t unpaid = 0;

 private:
  const LaneLimits limits_;
};

class Pair {
 public:
  explicit Pair(uint64_t seed)
      : random_(seed), lanes_(LimitsOf(seed)), model_(LimitsOf(seed)), busy_(seed % 3 == 2) {}

  void Steps(int count) {
    for (int i = 0; i < count && !testing::Test::HasFatalFailure(); ++i) {
      Step();
      Compare();
    }
  }
  // Everything unblocked and read to the end leaves nothing.
  void Finish() {
    lanes_.SetEnvelopesBlocked(false);
    model_.scp_blocked = false;
    for (auto& [id, stream] : model_.streams) {
      lanes_.SetBlocked({id}, false);
      stream.blocked = false;
    }
    for (int i = 0; i < 100'000; ++i) {
      if (!WriteOne(SendClass::kBodies, 3'000, 1.0)) break;
    }
    Compare();
    ASSERT_TRUE(model_.envelopes.empty());
    for (const SendClass each : kOthers) ASSERT_EQ(lanes_.queued_count(each), 0u);
  }

  uint64_t written = 0, dropped = 0, refused = 0, owed = 0;

 private:
  static LaneLimits LimitsOf(uint64_t seed) {
    LaneLimits limits;
    limits.scp_bytes_max = seed % 3 == 0 ? 3'000 : 200'000;
    limits.scp_count_max = seed % 3 == 1 ? 6 : 1'000;
    limits.control_bytes_max = 6'000;
    limits.sets_bytes_max = 40'000;
    limits.bodies_bytes_max = 20'000;
    limits.stream_count_max = 9;
    limits.chunks_per_stream_max = 4;
    return limits;
  }

  std::string Text(size_t size) {
    std::string text(size, ' ');
    for (char& c : text) c = static_cast<char>('a' + random_.Below(26));
    return text;
  }

  void Step() {
    const uint64_t stream = random_.Below(12);
    // Some runs have more envelopes than can leave, so that class 0 stays busy.
    const uint64_t dice = random_.Below(busy_ ? 20 : 12);
    switch (dice < 12 ? dice : 0) {
      case 0:
      case 1: {
        const uint64_t token = random_.Chance(0.02) ? next_token_ : ++next_token_;
        const uint64_t slot = 100 + random_.Below(5);
        const std::string text = Text(random_.Below(random_.Chance(0.05) ? 4'000 : 1'500));
        std::vector<EnvelopeToken> lost;
        std::vector<uint64_t> expected;
        ASSERT_EQ(lanes_.QueueEnvelope({token}, {slot}, Bytes::Copy(text), lost),
                  model_.QueueEnvelope(token, slot, text, expected));
        ASSERT_EQ(lost.size(), expected.size());
        for (size_t i = 0; i < lost.size(); ++i) ASSERT_EQ(lost[i].value, expected[i]);
        dropped += lost.size();
        break;
      }
      case 2: {
        const uint64_t token = next_token_ - random_.Below(8);
        if (random_.Chance(0.8)) {
          ASSERT_EQ(lanes_.CancelEnvelope({token}), model_.RemoveEnvelope(token, false));
        } else {
          ASSERT_EQ(lanes_.ForgetEnvelope({token}), model_.RemoveEnvelope(token, true));
        }
        break;
      }
      case 3: {
        const SendClass send_class = kOthers[random_.Below(3)];
        const size_t bytes_max = 1'000 + random_.Below(30'000);
        ASSERT_EQ(lanes_.OpenStream({stream}, send_class, bytes_max),
                  model_.OpenStream(stream, send_class, bytes_max));
        break;
      }
      case 4:
      case 5: {
        const std::string text = Text(random_.Below(random_.Chance(0.5) ? 200 : 12'000));
        const bool fin = random_.Chance(0.3);
        const Outcome outcome = lanes_.Append({stream}, Bytes::Copy(text), fin);
        ASSERT_EQ(outcome, model_.Append(stream, text, fin));
        refused += outcome == Outcome::kOverLimit ? 1 : 0;
        break;
      }
      case 6:
        Control(stream);
        break;
      default: {
        const SendClass last = static_cast<SendClass>(random_.Below(4));
        const size_t budget = random_.Chance(0.3) ? 0 : random_.Below(20'000);
        WriteOne(last, budget, 0.9);
        break;
      }
    }
  }

  void Control(uint64_t stream) {
    const bool blocked = random_.Chance(0.4);
    const double dice = random_.Unit();
    if (dice < 0.3) {
      lanes_.SetEnvelopesBlocked(blocked);
      model_.scp_blocked = blocked;
    } else if (dice < 0.8) {
      lanes_.SetBlocked({stream}, blocked);
      if (model_.streams.contains(stream)) model_.streams[stream].blocked = blocked;
    } else if (dice < 0.98) {
      lanes_.CloseStream({stream});
      model_.streams.erase(stream);
    } else {
      lanes_.Restart();
      model_.streams.clear();
      model_.scp_blocked = false;
      if (!model_.envelopes.empty() && model_.envelopes.front().begun) {
        ModelEnvelope& first = model_.envelopes.front();
        first.left = begun_text_;
        first.begun = false;
      }
    }
    model_.Settle();
  }

  // QUIC takes a random part of what is next, an end now and then not with the bytes.
  bool WriteOne(SendClass last, size_t budget, double take_fin) {
    const std::optional<Write> write = lanes_.Next(last, budget);
    model_.CheckNext(write, last, budget);
    if (!write || testing::Test::HasFatalFailure()) return false;
    if (write->send_class == SendClass::kScp) {
      if (write->is_first) begun_text_ = write->data.view();
    } else if (!model_.envelopes.empty() && !model_.scp_blocked) {
      ++owed;
    }
    const size_t size = write->data.size();
    const size_t bytes =
        random_.Chance(0.3) ? random_.Below(size + 1) : std::min<size_t>(size, 1'400);
    const bool fin = write->fin && bytes == size && random_.Chance(take_fin);
    lanes_.OnWritten(*write, bytes, fin);
    model_.OnWritten(*write, bytes, fin);
    written += bytes;
    return true;
  }

  void Compare() {
    lanes_.CheckInvariants();
    ASSERT_EQ(lanes_.queued_count(SendClass::kScp), model_.envelopes.size());
    ASSERT_EQ(lanes_.queued_bytes(SendClass::kScp), model_.ScpBytes());
    ASSERT_EQ(lanes_.stream_count(), model_.streams.size());
    for (const SendClass each : kOthers) {
      ASSERT_EQ(lanes_.queued_bytes(each), model_.ClassBytes(each));
      ASSERT_EQ(lanes_.queued_count(each), model_.ClassWaiting(each));
    }
  }

  Random random_;
  SendLanes lanes_;
  Model model_;
  const bool busy_;
  uint64_t next_token_ = 10;
  std::string begun_text_;
};

TEST(SendLanesModel, AgreesOnRandomOperations) {
  uint64_t written = 0, dropped = 0, refused = 0, owed = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Pair run(seed);
    run.Steps(2'000);
    run.Finish();
    if (HasFatalFailure()) return;
    written += run.written;
    dropped += run.dropped;
    refused += run.refused;
    owed += run.owed;
  }
  // It did meet the limits and the debt.
  EXPECT_GT(written, 3'000'000u);
  EXPECT_GT(dropped, 300u);
  EXPECT_GT(refused, 300u);
  EXPECT_GT(owed, 50u);
}

}  // namespace
}  // namespace overlay::transport
