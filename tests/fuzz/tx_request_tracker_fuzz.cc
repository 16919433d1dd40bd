// Whom to ask for a transaction, beside a model that keeps everything in plain vectors and finds
// each answer by looking through all of them. A few peers announce a few transactions under small
// limits; the answers, silences and disconnects are the input's.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flood/tx_request_tracker.h"
#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;
using Kind = TxRequestTracker::AnswerKind;

constexpr size_t kOperationCountMax = 150;
constexpr size_t kPeerCount = 4;
constexpr size_t kTxCount = 12;

TxHash HashOf(size_t number) {
  TxHash hash;
  hash.bytes[0] = static_cast<uint8_t>(number + 1);
  return hash;
}
size_t NumberOf(const TxHash& hash) { return hash.bytes[0] - size_t{1}; }

class Model {
 public:
  explicit Model(const Limits& limits) : limits_(limits) {}

  struct Request {
    uint64_t id = 0;
    PeerId peer;
    std::vector<std::pair<TxHash, uint32_t>> items;  // with their announced sizes
    size_t next = 0;
    bool body_seen = false;
    bool silent = false;
    Time last_byte{};
    uint64_t touched = 0;  // in which order, for equal times

    bool IsTimed() const { return !silent && next < items.size(); }
  };
  std::vector<Request> requests;
  TxRequestTracker::Counts counts;

  void AddPeer(PeerId id, bool preferred) { peers_.push_back({id, preferred, false, {}}); }

  void RemovePeer(PeerId id) {
    for (const Request& request : std::vector<Request>(requests)) {
      if (request.peer == id) EndRequest(id, request.id);
    }
    for (const size_t number : AnnouncedBy(id)) {
      Tx& tx = *Find(HashOf(number));
      std::erase_if(tx.announcers, [&](const Announcer& a) { return a.peer == id; });
      Settle(HashOf(number));
    }
    std::erase_if(peers_, [&](const Peer& peer) { return peer.id == id; });
    std::erase(woken_, id);
  }

  void Announce(PeerId id, const std::vector<InvEntry>& entries) {
    Peer& peer = PeerOf(id);
    for (const InvEntry& entry : entries) {
      if (!peer.waiting.empty() || AnnouncedBy(id).size() >= limits_.announcements_per_peer_max) {
        peer.waiting.push_back(entry);
      } else {
        AnnounceOne(id, entry);
      }
    }
    if (AnnouncedBy(id).size() >= limits_.announcements_per_peer_max) peer.paused = true;
  }

  size_t WaitingOf(PeerId id) { return PeerOf(id).waiting.size(); }
  bool IsPaused(PeerId id) const {
    return std::any_of(peers_.begin(), peers_.end(),
                       [&](const Peer& peer) { return peer.id == id && peer.paused; });
  }

  template <class Wanted>
  void TakeWaiting(PeerId id, Wanted is_wanted) {
    Peer& peer = PeerOf(id);
    const size_t max = limits_.announcements_per_peer_max;
    if (max - AnnouncedBy(id).size() < std::max<size_t>(max / 5, 1)) return;
    while (!peer.waiting.empty() && AnnouncedBy(id).size() < max) {
      const InvEntry entry = peer.waiting.front();
      peer.waiting.erase(peer.waiting.begin());
      if (is_wanted(entry)) AnnounceOne(id, entry);
    }
    if (peer.waiting.empty()) peer.paused = AnnouncedBy(id).size() >= max;
  }

  // Appends the requests that it makes, in the order in which they were opened.
  void NextDemands(Time now, TxRequestTracker::Allowance allowance) {
    const size_t before = requests.size();
    first_open_ = before;
    while (Tx* tx = NextInLine()) {
      Announcer* const asked = FirstWithRoom(*tx);
      if (asked == nullptr) {
        tx->parked = true;
        tx->place = next_place_++;
        continue;
      }
      if (allowance.count == 0 || allowance.bytes < asked->size_bytes) break;
      --allowance.count;
      allowance.bytes -= asked->size_bytes;
      Ask(now, *tx, *asked);
    }
    first_open_ = SIZE_MAX;
  }

  std::pair<Kind, uint32_t> OnAnswer(Time now, PeerId id, uint64_t request_id,
                                     const BodyAnswer& answer) {
    Request* const request = FindRequest(request_id);
    if (request == nullptr || request->peer != id || request->next == request->items.size() ||
        request->items[request->next].first != answer.hash) {
      return {Kind::kUnsolicited, 0};
    }
    const uint32_t size_bytes = request->items[request->next++].second;
    if (request->silent) return {Kind::kLate, size_bytes};
    request->last_byte = now;
    request->touched = next_touch_++;
    Wake(id);
    if (answer.outcome == BodyOutcome::kBody) {
      request->body_seen = true;
    } else if (answer.outcome == BodyOutcome::kLater && request->body_seen) {
      AnswerFor(answer.hash, request_id, State::kWaiting);
    } else {
      ++counts.not_found;
      AnswerFor(answer.hash, request_id, State::kSpent);
    }
    return {Kind::kAwaited, size_bytes};
  }

  void Fail(PeerId id, const TxHash& hash) {
    const Tx* const tx = Find(hash);
    if (tx == nullptr || !tx->asked_by) return;
    if (FindRequest(*tx->asked_by)->peer == id) AnswerFor(hash, *tx->asked_by, State::kSpent);
  }

  void EndRequest(PeerId id, uint64_t request_id) {
    Request* const found = FindRequest(request_id);
    if (found == nullptr || found->peer != id) return;
    const Request request = *found;
    FailRest(*found);
    std::erase_if(requests, [&](const Request& r) { return r.id == request_id; });
    Wake(id);
  }

  std::vector<uint64_t> Forget(const TxHash& hash) {
    std::vector<uint64_t> announcers;
    if (const Tx* const tx = Find(hash)) {
      for (const Announcer& announcer : tx->announcers) announcers.push_back(announcer.peer.value);
    }
    std::erase_if(txs_, [&](const Tx& tx) { return tx.hash == hash; });
    return announcers;
  }

  std::vector<uint64_t> OnDeadline(Time now) {
    std::vector<uint64_t> silent;
    while (true) {
      Request* oldest = nullptr;
      for (Request& request : requests) {
        if (!request.IsTimed() || request.last_byte + limits_.demand_timeout > now) continue;
        if (oldest == nullptr || request.touched < oldest->touched) oldest = &request;
      }
      if (oldest == nullptr) break;
      silent.push_back(oldest->id);
      counts.timeouts += FailRest(*oldest);
    }
    counts.given_up += static_cast<uint64_t>(std::erase_if(txs_, [&](const Tx& tx) {
      return tx.first_asked && *tx.first_asked + limits_.demand_give_up <= now;
    }));
    return silent;
  }

  std::optional<Time> NextDeadline() const {
    std::optional<Time> next;
    const auto consider = [&](Time at) { next = next ? std::min(*next, at) : at; };
    for (const Request& request : requests) {
      if (request.IsTimed()) consider(request.last_byte + limits_.demand_timeout);
    }
    for (const Tx& tx : txs_) {
      if (tx.first_asked) consider(*tx.first_asked + limits_.demand_give_up);
    }
    return next;
  }

  bool IsTracked(const TxHash& hash) const {
    return std::any_of(txs_.begin(), txs_.end(), [&](const Tx& tx) { return tx.hash == hash; });
  }
  size_t AnnouncementCount() const {
    size_t count = 0;
    for (const Tx& tx : txs_) count += tx.announcers.size();
    return count;
  }
  struct InFlight {
    size_t count = 0;
    size_t bytes = 0;
    size_t requests = 0;
  };
  // Of one peer, or of all.
  InFlight InFlightOf(std::optional<PeerId> id) const {
    InFlight sum;
    for (const Request& request : requests) {
      if (id && request.peer != *id) continue;
      ++sum.requests;
      for (size_t i = request.next; i < request.items.size() && !request.silent; ++i) {
        ++sum.count;
        sum.bytes += request.items[i].second;
      }
    }
    return sum;
  }

 private:
  enum class State : uint8_t { kWaiting, kAsked, kSpent };
  struct Announcer {
    PeerId peer;
    uint32_t size_bytes = 0;
    State state = State::kWaiting;
    uint64_t order = 0;  // among what its peer announced
  };
  struct Tx {
    explicit Tx(const TxHash& name) : hash(name) {}
    TxHash hash;
    std::vector<Announcer> announcers;  // in the order in which they are asked
    std::optional<uint64_t> asked_by;   // a request
    std::optional<Time> first_asked;
    bool parked = false;  // all its announcers were at their limit
    uint64_t place = 0;   // in the line of those that are ready, or of those parked
  };
  struct Peer {
    PeerId id;
    bool preferred = false;
    bool paused = false;
    std::vector<InvEntry> waiting;
  };

  Tx* Find(const TxHash& hash) {
    for (Tx& tx : txs_) {
      if (tx.hash == hash) return &tx;
    }
    return nullptr;
  }
  Request* FindRequest(uint64_t id) {
    for (Request& request : requests) {
      if (request.id == id) return &request;
    }
    return nullptr;
  }
  Peer& PeerOf(PeerId id) {
    for (Peer& peer : peers_) {
      if (peer.id == id) return peer;
    }
    std::abort();
  }
  static Announcer* AnnouncerOf(Tx& tx, PeerId id) {
    for (Announcer& announcer : tx.announcers) {
      if (announcer.peer == id) return &announcer;
    }
    return nullptr;
  }

  // In the order in which it announced them.
  std::vector<size_t> AnnouncedBy(PeerId id) {
    std::vector<std::pair<uint64_t, size_t>> found;
    for (Tx& tx : txs_) {
      if (AnnouncerOf(tx, id) != nullptr) {
        found.emplace_back(AnnouncerOf(tx, id)->order, NumberOf(tx.hash));
      }
    }
    std::sort(found.begin(), found.end());
    std::vector<size_t> numbers;
    for (const auto& [order, number] : found) numbers.push_back(number);
    return numbers;
  }

  void AnnounceOne(PeerId id, const InvEntry& entry) {
    if (!IsTracked(entry.hash)) {
      txs_.emplace_back(entry.hash);
      txs_.back().place = next_place_++;
    }
    Tx& tx = *Find(entry.hash);
    if (AnnouncerOf(tx, id) != nullptr) return;
    auto before = tx.announcers.end();
    if (PeerOf(id).preferred) {
      before = std::find_if(tx.announcers.begin(), tx.announcers.end(),
                            [&](const Announcer& a) { return !PeerOf(a.peer).preferred; });
    }
    tx.announcers.insert(before, {id, entry.size_bytes, State::kWaiting, next_order_++});
    if (!tx.asked_by && tx.parked) Line(tx);
  }

  // To the end of the line.
  void Line(Tx& tx) {
    tx.parked = false;
    tx.place = next_place_++;
  }

  // Has an answer, or none will come: its announcer waits again or is spent.
  bool AnswerFor(const TxHash& hash, uint64_t request_id, State state) {
    Tx* const tx = Find(hash);
    if (tx == nullptr || !tx->asked_by || *tx->asked_by != request_id) return false;
    for (Announcer& announcer : tx->announcers) {
      if (announcer.state == State::kAsked) announcer.state = state;
    }
    tx->asked_by.reset();
    Line(*tx);
    Settle(hash);
    return true;
  }
  // Without an announcer who may be asked it is forgotten.
  void Settle(const TxHash& hash) {
    Tx& tx = *Find(hash);
    const bool hope = std::any_of(tx.announcers.begin(), tx.announcers.end(),
                                  [](const Announcer& a) { return a.state != State::kSpent; });
    if (!hope) {
      Forget(hash);
    } else if (tx.parked) {
      Line(tx);
    }
  }
  size_t FailRest(Request& request) {
    if (request.silent) return 0;
    const std::vector<std::pair<TxHash, uint32_t>> rest(
        request.items.begin() + static_cast<ptrdiff_t>(request.next), request.items.end());
    request.silent = true;
    size_t failed = 0;
    for (const auto& [hash, size_bytes] : rest) {
      Wake(request.peer);
      failed += AnswerFor(hash, request.id, State::kSpent);
    }
    return failed;
  }

  // It has room again: what is parked there goes first, peers in this order.
  void Wake(PeerId id) {
    if (FirstParkedAt(id) != nullptr && std::count(woken_.begin(), woken_.end(), id) == 0) {
      woken_.push_back(id);
    }
  }
  Tx* FirstParkedAt(PeerId id) {
    Tx* first = nullptr;
    for (Tx& tx : txs_) {
      if (tx.asked_by || !tx.parked) continue;
      const Announcer* const announcer = AnnouncerOf(tx, id);
      if (announcer == nullptr || announcer->state != State::kWaiting) continue;
      if (first == nullptr || tx.place < first->place) first = &tx;
    }
    return first;
  }
  Tx* NextInLine() {
    while (!woken_.empty()) {
      Tx* const tx = FirstParkedAt(woken_.front());
      if (tx != nullptr && HasRoom(woken_.front(), AnnouncerOf(*tx, woken_.front())->size_bytes)) {
        return tx;
      }
      woken_.erase(woken_.begin());
    }
    Tx* first = nullptr;
    for (Tx& tx : txs_) {
      if (tx.asked_by || tx.parked) continue;
      if (first == nullptr || tx.place < first->place) first = &tx;
    }
    return first;
  }

  Announcer* FirstWithRoom(Tx& tx) {
    for (Announcer& announcer : tx.announcers) {
      if (announcer.state == State::kWaiting && HasRoom(announcer.peer, announcer.size_bytes)) {
        return &announcer;
      }
    }
    return nullptr;
  }
  bool HasRoom(PeerId id, uint32_t size_bytes) {
    const InFlight in_flight = InFlightOf(id);
    if (in_flight.count + 1 > limits_.demands_per_peer_count_max) return false;
    if (in_flight.count > 0 && in_flight.bytes + size_bytes > limits_.demands_per_peer_bytes_max) {
      return false;
    }
    return OpenFor(id, size_bytes) != nullptr ||
           in_flight.requests + 1 <= limits_.demand_requests_per_peer_max;
  }
  // The newest request of this peer that is being made now, if it takes one more (R9).
  Request* OpenFor(PeerId id, uint32_t size_bytes) {
    for (size_t i = requests.size(); i > first_open_; --i) {
      Request& request = requests[i - 1];
      if (request.peer != id) continue;
      size_t bytes = size_bytes;
      for (const auto& item : request.items) bytes += item.second;
      const bool fits =
          request.items.size() < kGetDataHashCountMax && bytes <= kBodiesAnswerBytesMax;
      return fits ? &request : nullptr;
    }
    return nullptr;
  }
  void Ask(Time now, Tx& tx, Announcer& announcer) {
    Request* request = OpenFor(announcer.peer, announcer.size_bytes);
    if (request == nullptr) {
      request = &requests.emplace_back();
      request->id = next_request_++;
      request->peer = announcer.peer;
      request->last_byte = now;
      request->touched = next_touch_++;
    }
    request->items.emplace_back(tx.hash, announcer.size_bytes);
    announcer.state = State::kAsked;
    tx.parked = false;
    tx.asked_by = request->id;
    if (!tx.first_asked) tx.first_asked = now;
    ++counts.demanded;
  }

  const Limits& limits_;
  std::vector<Tx> txs_;
  std::vector<Peer> peers_;
  std::vector<PeerId> woken_;
  uint64_t next_order_ = 0;
  uint64_t next_place_ = 0;
  uint64_t next_touch_ = 0;
  uint64_t next_request_ = kTxRequestIdFirst;
  size_t first_open_ = SIZE_MAX;  // requests from here on are being filled
};

class Fuzz {
 public:
  explicit Fuzz(FuzzInput input)
      : in_(input), limits_(ChooseLimits()), real_(limits_), model_(limits_) {}

  void Run() {
    while (!in_.empty() && judge_.index() < kOperationCountMax) {
      Step();
      CheckAll();
      if (judge_.index() % 16 == 0) real_.CheckInvariants();
    }
    real_.CheckInvariants();
  }

 private:
  Limits ChooseLimits() {
    Limits limits;
    limits.announcements_per_peer_max = in_.Pick(std::array<size_t, 4>{5000, 1, 3, 6});
    limits.demands_per_peer_count_max = in_.Pick(std::array<size_t, 4>{2000, 1, 2, 4});
    limits.demands_per_peer_bytes_max =
        in_.Pick(std::array<size_t, 4>{kMiB, 1000, 70'000, 400'000});
    limits.demand_requests_per_peer_max = in_.Pick(std::array<size_t, 4>{32, 1, 2, 3});
    limits.demand_give_up = in_.Pick(std::array<Duration, 2>{30s, 3s});
    return limits;
  }

  PeerId AnyPeer() { return peers_[in_.Below(kPeerCount)]; }
  bool IsHere(PeerId peer) const { return peer.value % 2 == 1; }

  // Odd ids are connected peers; the number grows with each change, so that none is used twice.
  void ConnectOrDisconnect() {
    PeerId& peer = peers_[in_.Below(kPeerCount)];
    const bool preferred = in_.Flag();
    judge_.Begin(IsHere(peer) ? "remove peer {}" : "add the peer after {}", peer.value);
    if (IsHere(peer)) {
      real_.RemovePeer(peer);
      model_.RemovePeer(peer);
      ++peer.value;
    } else {
      ++peer.value;
      real_.AddPeer(peer, preferred);
      model_.AddPeer(peer, preferred);
    }
  }

  void Announce() {
    const PeerId peer = AnyPeer();
    std::vector<InvEntry> entries(1 + in_.Below(4));
    for (InvEntry& entry : entries) {
      entry.hash = HashOf(in_.Below(kTxCount));
      entry.size_bytes = in_.Pick(std::array<uint32_t, 6>{100, 0, 900, 20'000, 66'000, 260'000});
    }
    judge_.Begin("{} announced by {}", entries.size(), peer.value);
    // The caller stops to read a paused stream, but may have read some before.
    if (!IsHere(peer) || model_.WaitingOf(peer) > 8) return;
    real_.OnAnnouncements(peer, entries);
    model_.Announce(peer, entries);
  }

  void TakeWaiting() {
    const PeerId peer = AnyPeer();
    const uint8_t unwanted = in_.Byte();
    judge_.Begin("take what waits of {}", peer.value);
    if (!IsHere(peer)) return;
    std::vector<size_t> asked_real, asked_model;
    const auto is_wanted = [&](const InvEntry& entry, std::vector<size_t>& asked) {
      asked.push_back(NumberOf(entry.hash));
      return NumberOf(entry.hash) % 8 != unwanted;
    };
    real_.TakeWaiting(peer, [&](const InvEntry& entry) { return is_wanted(entry, asked_real); });
    model_.TakeWaiting(peer, [&](const InvEntry& entry) { return is_wanted(entry, asked_model); });
    judge_.Equal("entries asked about", asked_model, asked_real);
  }

  void NextDemands() {
    TxRequestTracker::Allowance allowance;
    allowance.count = in_.Pick(std::array<size_t, 4>{20'000, 0, 1, 2});
    allowance.bytes = in_.Pick(std::array<size_t, 4>{100 * kMiB, 0, 1000, 70'000});
    judge_.Begin("next demands of {}, {} bytes", allowance.count, allowance.bytes);
    std::vector<TxRequestTracker::Demand> demands;
    const size_t before = model_.requests.size();
    real_.NextDemands(now_, allowance, demands);
    model_.NextDemands(now_, allowance);
    judge_.Equal("demands", model_.requests.size() - before, demands.size());
    for (size_t i = 0; i < demands.size(); ++i) {
      const Model::Request& expected = model_.requests[before + i];
      judge_.Equal("peer asked", expected.peer.value, demands[i].peer.value);
      judge_.Equal("request", expected.id, demands[i].request.value);
      std::vector<size_t> wanted, asked;
      for (const auto& item : expected.items) wanted.push_back(NumberOf(item.first));
      for (const TxHash& hash : demands[i].hashes) asked.push_back(NumberOf(hash));
      judge_.Equal("hashes asked", wanted, asked);
    }
  }

  // One of the requests that the model knows, mostly its next hash and from its peer.
  void Answer() {
    const size_t which = in_.Byte();
    const uint8_t how = in_.Byte();
    if (model_.requests.empty()) return;
    const Model::Request request = model_.requests[which % model_.requests.size()];
    BodyAnswer answer{HashOf(how % kTxCount), BodyOutcome::kBody, {}};
    answer.outcome =
        std::array{BodyOutcome::kBody, BodyOutcome::kNotFound, BodyOutcome::kLater}[how / 2 % 3];
    if (how % 16 != 15 && request.next < request.items.size()) {
      answer.hash = request.items[request.next].first;
    }
    const PeerId peer = how % 32 == 14 ? AnyPeer() : request.peer;
    judge_.Begin("answer {} for tx {} of request {} from {}", static_cast<int>(answer.outcome),
                 NumberOf(answer.hash), request.id, peer.value);
    const auto got = real_.OnAnswer(now_, peer, RequestId{request.id}, answer);
    const auto expected = model_.OnAnswer(now_, peer, request.id, answer);
    judge_.Equal("kind", static_cast<int>(expected.first), static_cast<int>(got.kind));
    judge_.Equal("size announced", expected.second, got.size_announced);
    if (got.kind == Kind::kUnsolicited || answer.outcome != BodyOutcome::kBody) return;
    if (how < 128) {
      Forget(answer.hash);
    } else {
      real_.Fail(peer, answer.hash);
      model_.Fail(peer, answer.hash);
    }
  }

  void EndRequest() {
    const size_t which = in_.Byte();
    const PeerId other = AnyPeer();
    if (model_.requests.empty()) return;
    const Model::Request& request = model_.requests[which % model_.requests.size()];
    const uint64_t id = which % 32 == 31 ? request.id + 1000 : request.id;
    const PeerId peer = which % 32 == 30 ? other : request.peer;
    judge_.Begin("end of request {} of {}", id, peer.value);
    real_.OnRequestEnded(peer, RequestId{id});
    model_.EndRequest(peer, id);
  }

  void Forget(const TxHash& hash) {
    std::vector<PeerId> announcers;
    real_.Forget(hash, &announcers);
    std::vector<uint64_t> got;
    for (const PeerId peer : announcers) got.push_back(peer.value);
    judge_.Equal("announcers", model_.Forget(hash), got);
  }

  void Wait() {
    now_ += in_.Pick(std::array<Duration, 6>{0ms, 1ms, 400ms, 999ms, 1s, 3s});
    judge_.Begin("deadline at {} ms", now_.time_since_epoch() / 1ms);
    std::vector<TxRequestTracker::Silent> silent;
    real_.OnDeadline(now_, silent);
    const std::vector<uint64_t> expected = model_.OnDeadline(now_);
    std::vector<uint64_t> got;
    for (const auto& request : silent) got.push_back(request.request.value);
    judge_.Equal("silent requests", expected, got);
  }

  void Step() {
    switch (in_.Below(12)) {
      case 0:
        return ConnectOrDisconnect();
      case 1:
      case 2:
      case 3:
        return Announce();
      case 4:
      case 5:
        return NextDemands();
      case 6:
      case 7:
      case 8:
        return Answer();
      case 9:
        return Wait();
      case 10:
        return in_.Flag() ? EndRequest() : TakeWaiting();
      case 11: {
        const TxHash hash = HashOf(in_.Below(kTxCount));
        judge_.Begin("forget tx {}", NumberOf(hash));
        return Forget(hash);
      }
    }
  }

  void CheckAll() {
    for (size_t i = 0; i < kTxCount; ++i) {
      judge_.Equal("tracked", model_.IsTracked(HashOf(i)), real_.IsTracked(HashOf(i)));
    }
    for (const PeerId peer : peers_) {
      judge_.Equal("paused", model_.IsPaused(peer), real_.IsPaused(peer));
    }
    const Model::InFlight in_flight = model_.InFlightOf({});
    judge_.Equal("hashes in flight", in_flight.count, real_.in_flight_count());
    judge_.Equal("bytes in flight", in_flight.bytes, real_.in_flight_bytes());
    judge_.Equal("announcements", model_.AnnouncementCount(), real_.announcement_count());
    const auto deadline = [](std::optional<Time> at) {
      return at ? at->time_since_epoch() / 1ms : -1;
    };
    judge_.Equal("deadline", deadline(model_.NextDeadline()), deadline(real_.NextDeadline()));
    const TxRequestTracker::Counts &expected = model_.counts, &got = real_.counts();
    judge_.Equal("demanded", expected.demanded, got.demanded);
    judge_.Equal("timeouts", expected.timeouts, got.timeouts);
    judge_.Equal("not found", expected.not_found, got.not_found);
    judge_.Equal("given up", expected.given_up, got.given_up);
  }

  FuzzInput in_;
  const Limits limits_;
  TxRequestTracker real_;
  Model model_;
  Judge judge_;
  Time now_{};
  std::array<PeerId, kPeerCount> peers_{PeerId{1000}, PeerId{2000}, PeerId{3000}, PeerId{4000}};
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
