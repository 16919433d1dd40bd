// The server of sets beside a plain list of every request that is open: who holds a place, who
// waits for one, for a promise or for a frame, and what each is answered. A worker of our own
// answers in any order, or not at all.
#include "flood/set_server.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

constexpr size_t kOperationCountMax = 300;
constexpr std::array<size_t, 6> kSizes = {0, 10, 99, 100, 300, 650};
constexpr size_t kCompressMin = 100;

SetKey KeyOf(size_t number) {
  SetKey key;
  key.hash.bytes[0] = static_cast<uint8_t>(number + 1);
  return key;
}

// What a peer is told: nothing found, so many plain bytes, or a frame of so many.
struct Told {
  uint64_t request = 0;
  char how = '?';
  size_t bytes = 0;
  friend bool operator==(const Told&, const Told&) = default;
};
std::string Text(const std::vector<Told>& all) {
  std::string text;
  for (const Told& told : all) text += fmt::format("{}{}:{} ", told.how, told.request, told.bytes);
  return text;
}

struct Held {
  size_t frame = 0;
  bool is_tried = false;
};

struct Open {
  enum class State : uint8_t { kServed, kAwaits, kQueued, kPromised };
  uint64_t peer = 0;
  uint64_t request = 0;
  size_t number = 0;
  bool zstd = false;
  uint64_t offset = 0;
  State state = State::kQueued;
  Time until{};         // of kPromised
  uint64_t joined = 0;  // of kAwaits
};

class Model {
 public:
  explicit Model(const Limits& limits) : limits_(limits) {}

  std::vector<Open> open;  // in the order of arrival
  std::map<size_t, Held> held;
  std::vector<std::pair<uint64_t, size_t>> computes;  // id, set; the first ones are at the worker
  std::vector<Told> told;                             // by the operation

  void Request(Time now, Open request) {
    const bool promised =
        std::find(promises_.begin(), promises_.end(), request.number) != promises_.end();
    if (held.contains(request.number)) return Admit(request);
    if (!promised ||
        Count(request.peer, Open::State::kPromised) >= limits_.promised_waits_per_peer_max) {
      return NotFound(request);
    }
    request.state = Open::State::kPromised;
    request.until = now + limits_.promised_wait;
    open.push_back(request);
  }
  void Done(uint64_t peer, uint64_t request) {
    std::erase_if(open, [&](const Open& o) { return o.peer == peer && o.request == request; });
    while (Places(peer) < limits_.sets_served_per_peer_max) {
      const auto next = std::find_if(open.begin(), open.end(), [&](const Open& o) {
        return o.peer == peer && o.state == Open::State::kQueued;
      });
      if (next == open.end()) return;
      const Open taken = *next;
      open.erase(next);
      Answer(taken);
    }
  }
  void Gone(uint64_t peer) {
    std::erase_if(open, [&](const Open& o) { return o.peer == peer; });
  }
  void Promise(size_t number) {
    if (std::find(promises_.begin(), promises_.end(), number) == promises_.end()) {
      promises_.push_back(number);
    }
  }
  void ForgetPromises() { promises_.clear(); }
  void OnHeld(size_t number) {
    std::erase(promises_, number);
    for (const Open& request : Take([&](const Open& o) {
           return o.state == Open::State::kPromised && o.number == number;
         })) {
      Admit(request);
    }
  }
  void Deadline(Time now) {
    for (const Open& request :
         Take([&](const Open& o) { return o.state == Open::State::kPromised && o.until <= now; })) {
      NotFound(request);
    }
  }
  // A frame of so many bytes; nullopt: it could not be made.
  void Computed(size_t which, std::optional<size_t> frame) {
    const size_t number = computes[which].second;
    computes.erase(computes.begin() + static_cast<ptrdiff_t>(which));
    const bool is_worth_it = frame && *frame * 10 <= kSizes[number] * 9;
    if (auto set = held.find(number); set != held.end() && frame) {
      if (!std::exchange(set->second.is_tried, true)) set->second.frame = is_worth_it ? *frame : 0;
    }
    std::vector<Open*> waiting;
    for (Open& o : open) {
      if (o.state == Open::State::kAwaits && o.number == number) waiting.push_back(&o);
    }
    std::sort(waiting.begin(), waiting.end(),
              [](const Open* a, const Open* b) { return a->joined < b->joined; });
    for (Open* o : waiting) {
      o->state = Open::State::kServed;
      told.push_back({o->request, is_worth_it ? 'z' : 'p', is_worth_it ? *frame : kSizes[number]});
    }
  }

 private:
  size_t Count(uint64_t peer, Open::State state) const {
    return static_cast<size_t>(std::count_if(open.begin(), open.end(), [&](const Open& o) {
      return o.peer == peer && o.state == state;
    }));
  }
  size_t Places(uint64_t peer) const {
    return Count(peer, Open::State::kServed) + Count(peer, Open::State::kAwaits);
  }
  template <class Condition>
  std::vector<Open> Take(Condition condition) {
    std::vector<Open> taken;
    for (const Open& o : open) {
      if (condition(o)) taken.push_back(o);
    }
    std::erase_if(open, condition);
    return taken;
  }
  void NotFound(const Open& request) { told.push_back({request.request, 'n', 0}); }
  void Admit(Open request) {
    if (Places(request.peer) < limits_.sets_served_per_peer_max) return Answer(request);
    if (Count(request.peer, Open::State::kQueued) >= limits_.sets_served_queue_per_peer_max) {
      return NotFound(request);
    }
    request.state = Open::State::kQueued;
    open.push_back(request);
  }
  void Answer(Open request) {
    const auto set = held.find(request.number);
    const size_t size = kSizes[request.number];
    if (set == held.end() || request.offset >= size) return NotFound(request);
    const bool takes_frame = request.zstd && request.offset == 0;
    request.state = Open::State::kServed;
    if (takes_frame && set->second.frame > 0) {
      told.push_back({request.request, 'z', set->second.frame});
    } else if (takes_frame && !set->second.is_tried && IsCompressing(request.number)) {
      request.state = Open::State::kAwaits;
      request.joined = next_joined_++;
    } else {
      told.push_back({request.request, 'p', size - request.offset});
    }
    open.push_back(request);
  }
  // Begins it, if there is room.
  bool IsCompressing(size_t number) {
    size_t bytes = kSizes[number];
    if (bytes < kCompressMin) return false;
    for (const auto& [id, other] : computes) {
      if (other == number) return true;
      bytes += kSizes[other];
    }
    if (bytes > limits_.compute_bytes_max) return false;
    computes.emplace_back(next_compute_++, number);
    return true;
  }

  const Limits& limits_;
  std::vector<size_t> promises_;
  uint64_t next_compute_ = 1;
  uint64_t next_joined_ = 0;
};

class Fuzz : private SetShelf {
 public:
  explicit Fuzz(FuzzInput input) : in_(input), limits_(ChooseLimits()) {}

  void Run() {
    while (!in_.empty() && judge_.index() < kOperationCountMax) {
      Step();
      Compare();
    }
  }

 private:
  Limits ChooseLimits() {
    Limits limits;
    limits.sets_served_per_peer_max = 1 + in_.Below(3);
    limits.sets_served_queue_per_peer_max = in_.Below(3);
    limits.promised_waits_per_peer_max = 1 + in_.Below(2);
    limits.set_compress_bytes_min = kCompressMin;
    limits.compute_bytes_max = in_.Pick(std::array<size_t, 3>{1000, 400, kMiB});
    return limits;
  }

  // SetShelf: what the real one sees is the model's.
  std::optional<ServableSet> Look(const SetKey& key) const override {
    const size_t number = key.hash.bytes[0] - size_t{1};
    const auto set = model_.held.find(number);
    if (set == model_.held.end()) return std::nullopt;
    return ServableSet{Bytes::Take(std::string(kSizes[number], 'x')),
                       Bytes::Take(std::string(set->second.frame, 'z')), !set->second.is_tried};
  }
  void KeepFrame(const SetKey& key, Bytes frame) override {
    kept_ = {key.hash.bytes[0] - size_t{1}, frame.size()};
  }

  void Step() {
    const size_t what = in_.Below(10);
    const size_t number = in_.Below(kSizes.size());
    const uint64_t peer = 1 + in_.Below(3);
    judge_.Begin("operation {} on set {}, peer {}, next request {}", what, number, peer,
                 next_request_);
    switch (what) {
      case 0:
      case 1: {
        const bool zstd = what == 1;
        const uint64_t offset = in_.Pick(std::array<uint64_t, 4>{0, 0, 1, 100});
        const uint64_t request = next_request_++;
        model_.Request(
            now_,
            {.peer = peer, .request = request, .number = number, .zstd = zstd, .offset = offset});
        return real_.OnRequested(
            now_, {PeerId{peer}, RequestId{request}, SetRequest{KeyOf(number), zstd, offset}},
            out_);
      }
      case 2: {
        const uint64_t request = next_request_ - 1 - in_.Below(8);
        const auto found = std::find_if(model_.open.begin(), model_.open.end(),
                                        [&](const Open& o) { return o.request == request; });
        const uint64_t of = found == model_.open.end() ? peer : found->peer;
        real_.OnAnswerDone(now_, {PeerId{of}, RequestId{request}}, out_);
        return model_.Done(of, request);
      }
      case 3:
        model_.Gone(peer);
        return real_.OnPeerDisconnected(PeerId{peer});
      case 4:
        model_.Promise(number);
        return real_.Promise(KeyOf(number));
      case 5:
        if (!model_.held.try_emplace(number).second) return;
        real_.OnHeld(now_, KeyOf(number), out_);
        return model_.OnHeld(number);
      case 6:
        model_.held.erase(number);
        return;
      case 7:
        if (!in_.Flag()) return;
        model_.ForgetPromises();
        return real_.ForgetPromises();
      case 8:
        return Answer(peer, number);
      case 9:
        now_ += in_.Pick(std::array<Duration, 3>{std::chrono::milliseconds(1),
                                                 std::chrono::seconds(1), std::chrono::seconds(2)});
        model_.Deadline(now_);
        return real_.OnDeadline(now_, out_);
    }
  }

  // The worker answers one of those that it has.
  void Answer(size_t which, size_t how) {
    const size_t at_worker = std::min(model_.computes.size(), limits_.compute_at_worker_max);
    if (at_worker == 0) return;
    which %= at_worker;
    const auto [id, number] = model_.computes[which];
    const size_t size = kSizes[number];
    const std::array<size_t, 4> frames = {1, size * 9 / 10, size * 9 / 10 + 1, size + 10};
    const bool fails = how == kSizes.size() - 1;
    const size_t frame = frames[how % frames.size()];
    const Computed computed{
        .id = id,
        .outcome = fails ? Computed::Outcome::kNotDone : Computed::Outcome::kDone,
        .output = fails ? Bytes() : Bytes::Take(std::string(frame, 'z'))};
    judge_.True("taken by the queue", compute_.OnComputed(computed, out_));
    judge_.True("taken by the server", real_.OnComputed(computed, out_));
    model_.Computed(which, fails ? std::nullopt : std::optional<size_t>(frame));
    judge_.Equal("a frame or none is kept", !fails, kept_.has_value());
    if (kept_ && model_.held.contains(number)) {
      judge_.Equal("frame kept", model_.held[number].frame, kept_->second);
    }
    kept_.reset();
  }

  void Compare() {
    real_.CheckInvariants();
    compute_.CheckInvariants();
    std::vector<Told> told;
    for (const Action& action : out_) {
      if (const auto* compute = std::get_if<Compute>(&action)) {
        judge_.True("the set's own bytes", compute->input.size() >= kCompressMin);
        at_worker_.push_back(compute->id);
        continue;
      }
      const auto& answer = std::get<AnswerSet>(std::get<PeerCommand>(action));
      const char how = !answer.header.found                           ? 'n'
                       : answer.header.encoding == SetEncoding::kZstd ? 'z'
                                                                      : 'p';
      judge_.Equal("bytes announced", answer.header.encoded_bytes, answer.encoded.size());
      told.push_back({answer.request.value, how, answer.encoded.size()});
    }
    if (told != model_.told) judge_.Differ("answers", Text(model_.told), Text(told));
    out_.clear();
    model_.told.clear();
    std::erase_if(at_worker_, [&](uint64_t id) {
      return std::none_of(model_.computes.begin(), model_.computes.end(),
                          [&](const auto& compute) { return compute.first == id; });
    });
    const size_t expected = std::min(model_.computes.size(), limits_.compute_at_worker_max);
    judge_.Equal("at the worker", expected, at_worker_.size());
    std::optional<Time> deadline;
    for (const Open& o : model_.open) {
      if (o.state == Open::State::kPromised && (!deadline || o.until < *deadline)) {
        deadline = o.until;
      }
    }
    judge_.True("next deadline", deadline == real_.NextDeadline());
  }

  FuzzInput in_;
  const Limits limits_;
  SetStats stats_;
  ComputeStats compute_stats_;
  Model model_{limits_};
  ComputeQueue compute_{limits_, compute_stats_};
  SetServer real_{limits_, stats_, *this, compute_};
  ActionList out_;
  std::vector<uint64_t> at_worker_;
  std::optional<std::pair<size_t, size_t>> kept_;
  uint64_t next_request_ = 1;
  Judge judge_;
  Time now_{};
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
