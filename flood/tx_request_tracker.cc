#include "flood/tx_request_tracker.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "flood/base/check.h"
#include "flood/slab.h"

namespace overlay::flood {
namespace {

enum class State : uint8_t { kWaiting, kAsked, kSpent };

// One peer's word that it holds one transaction.
struct Announcement {
  uint32_t tx = kNoIndex;
  uint32_t peer = kNoIndex;
  uint32_t size_bytes = 0;
  State state = State::kWaiting;
  AskState came = AskState::kNotAsked;  // of the last time that it was asked
  bool parked = false;
  Time asked_at{};
  IndexLink of_tx;
  IndexLink of_peer;
  IndexLink parked_link;
};

struct Tx {
  TxHash hash;
  IndexList<&Announcement::of_tx> announcements;  // in the order of R2
  uint64_t may_have_announced = 0;                // a bit for each peer's index, modulo 64
  uint32_t waiting = 0;                           // of them kWaiting
  uint32_t asked = kNoIndex;                      // the one kAsked
  RequestId request;                              // that asks it, while asked
  bool ready = false;
  std::optional<Time> first_asked;
  IndexLink ready_link;
  IndexLink age_link;
};

struct Request {
  RequestId id;
  uint32_t peer = kNoIndex;
  struct Item {
    TxHash hash;
    uint32_t size_bytes = 0;
  };
  std::vector<Item> items;
  size_t next = 0;         // item whose answer comes next
  size_t bytes = 0;        // announced, of all items
  bool body_seen = false;  // R5
  bool silent = false;     // given up; its items are no longer in flight
  bool timed = false;      // in the list of those that may fall silent
  Time last_byte{};
  IndexLink idle_link;
  IndexLink of_peer;
};

struct Peer {
  PeerId id;
  bool preferred = false;
  IndexList<&Announcement::of_peer> announcements;
  IndexList<&Announcement::parked_link> parked;
  IndexList<&Request::of_peer> requests;
  uint32_t open = kNoIndex;  // the request that is being filled by NextDemands
  size_t in_flight_count = 0;
  size_t in_flight_bytes = 0;
  bool woken = false;   // listed in woken_
  bool paused = false;  // R7
  std::vector<InvEntry> waiting;
  size_t waiting_next = 0;
};

}  // namespace

class TxRequestTracker::Impl {
 public:
  explicit Impl(const Limits& limits) : limits_(limits) {}

  void AddPeer(PeerId id, bool preferred) {
    const uint32_t index = peers_.Allocate();
    OVERLAY_CHECK(by_peer_.try_emplace(id, index).second);
    peers_[index].id = id;
    peers_[index].preferred = preferred;
  }

  void RemovePeer(PeerId id) {
    const auto found = by_peer_.find(id);
    if (found == by_peer_.end()) return;
    const uint32_t index = found->second;
    Peer& peer = peers_[index];
    while (!peer.requests.empty()) EndRequest(peer.requests.front());
    while (!peer.announcements.empty()) {
      const uint32_t at = peer.announcements.front();
      const uint32_t tx = announcements_[at].tx;
      RemoveAnnouncement(at);
      Settle(tx);
    }
    if (peer.woken) std::erase(woken_, index);
    by_peer_.erase(found);
    peers_.Free(index);
  }

  void OnAnnouncements(PeerId id, absl::Span<const InvEntry> entries) {
    const auto found = by_peer_.find(id);
    if (found == by_peer_.end()) return;
    Peer& peer = peers_[found->second];
    for (const InvEntry& entry : entries) {
      if (peer.announcements.size() < limits_.announcements_per_peer_max && peer.waiting.empty()) {
        Announce(found->second, entry);
      } else if (peer.waiting.size() < kInvWaitingMax) {
        peer.waiting.push_back(entry);
      } else {
        OVERLAY_BUG("INVs are delivered although their stream is paused");
        break;
      }
    }
    if (peer.announcements.size() >= limits_.announcements_per_peer_max) peer.paused = true;
  }

  bool IsPaused(PeerId id) const {
    const auto found = by_peer_.find(id);
    return found != by_peer_.end() && peers_[found->second].paused;
  }

  void TakeWaiting(PeerId id, const std::function<bool(const InvEntry&)>& is_wanted) {
    const auto found = by_peer_.find(id);
    if (found == by_peer_.end()) return;
    Peer& peer = peers_[found->second];
    const size_t max = limits_.announcements_per_peer_max;
    // Not for each place that becomes free: room for a whole frame, by default.
    if (peer.announcements.size() > max - std::max<size_t>(max / 5, 1)) return;
    while (peer.waiting_next < peer.waiting.size() && peer.announcements.size() < max) {
      const InvEntry& entry = peer.waiting[peer.waiting_next++];
      if (is_wanted(entry)) Announce(found->second, entry);
    }
    if (peer.waiting_next < peer.waiting.size()) return;
    peer.waiting = {};
    peer.waiting_next = 0;
    peer.paused = peer.announcements.size() >= max;
  }

  void NextDemands(Time now, Allowance allowance, std::vector<Demand>& demands) {
    bool allowed = AskParked(now, allowance);
    while (allowed && !ready_.empty()) {
      const uint32_t tx = ready_.front();
      const std::optional<uint32_t> at = FirstWithRoom(tx);
      if (!at) {
        Park(tx);
        continue;
      }
      allowed = Take(*at, allowance);
      if (allowed) Ask(now, *at);
    }
    for (uint32_t index : opened_) {
      Request& request = requests_[index];
      peers_[request.peer].open = kNoIndex;
      Demand& demand = demands.emplace_back(Demand{peers_[request.peer].id, request.id, {}});
      demand.hashes.reserve(request.items.size());
      for (const Request::Item& item : request.items) demand.hashes.push_back(item.hash);
    }
    opened_.clear();
  }

  Answer OnAnswer(Time now, PeerId id, RequestId request_id, const BodyAnswer& answer) {
    const auto found = by_request_.find(request_id);
    if (found == by_request_.end()) return {};
    Request& request = requests_[found->second];
    if (peers_[request.peer].id != id || request.next == request.items.size() ||
        request.items[request.next].hash != answer.hash) {
      return {};
    }
    const Request::Item item = request.items[request.next++];
    if (request.silent) return {AnswerKind::kLate, item.size_bytes};
    Release(request, item);
    Touch(now, found->second);
    switch (answer.outcome) {
      case BodyOutcome::kBody:
        request.body_seen = true;
        break;
      case BodyOutcome::kNotFound:
        ++counts_.not_found;
        FailItem(request_id, item.hash, AskState::kNotFound);
        break;
      case BodyOutcome::kLater:
        if (request.body_seen) {
          AskAgain(request_id, item.hash);
        } else {
          ++counts_.not_found;
          FailItem(request_id, item.hash, AskState::kNotFound);
        }
        break;
    }
    return {AnswerKind::kAwaited, item.size_bytes};
  }

  void Fail(PeerId id, const TxHash& hash) {
    const auto found = by_hash_.find(hash);
    if (found == by_hash_.end()) return;
    const Tx& tx = txs_[found->second];
    if (tx.asked == kNoIndex || peers_[announcements_[tx.asked].peer].id != id) return;
    FailItem(tx.request, hash, AskState::kBad);
  }

  void OnRequestEnded(PeerId id, RequestId request_id) {
    const auto found = by_request_.find(request_id);
    if (found == by_request_.end() || peers_[requests_[found->second].peer].id != id) return;
    EndRequest(found->second);
  }

  void Forget(const TxHash& hash, std::vector<PeerId>* announcers) {
    const auto found = by_hash_.find(hash);
    if (found == by_hash_.end()) return;
    if (announcers != nullptr) {
      for (uint32_t at = txs_[found->second].announcements.front(); at != kNoIndex;
           at = announcements_[at].of_tx.next) {
        announcers->push_back(peers_[announcements_[at].peer].id);
      }
    }
    DropTx(found->second);
  }

  void OnDeadline(Time now, std::vector<Silent>& silent) {
    while (!idle_.empty() && requests_[idle_.front()].last_byte + limits_.demand_timeout <= now) {
      const uint32_t index = idle_.front();
      Request& request = requests_[index];
      silent.push_back({peers_[request.peer].id, request.id});
      StopTiming(index);
      request.silent = true;
      for (size_t i = request.next; i < request.items.size(); ++i) {
        Release(request, request.items[i]);
        if (FailItem(request.id, request.items[i].hash, AskState::kSilent)) ++counts_.timeouts;
      }
    }
    while (!aged_.empty() && *txs_[aged_.front()].first_asked + limits_.demand_give_up <= now) {
      ++counts_.given_up;
      DropTx(aged_.front());
    }
  }

  std::optional<Time> NextDeadline() const {
    std::optional<Time> next;
    if (!idle_.empty()) next = requests_[idle_.front()].last_byte + limits_.demand_timeout;
    if (!aged_.empty()) {
      const Time at = *txs_[aged_.front()].first_asked + limits_.demand_give_up;
      next = next ? std::min(*next, at) : at;
    }
    return next;
  }

  bool IsTracked(const TxHash& hash) const { return by_hash_.contains(hash); }
  std::vector<Announcer> Announcers(const TxHash& hash) const {
    std::vector<Announcer> found;
    const auto tx = by_hash_.find(hash);
    if (tx == by_hash_.end()) return found;
    for (uint32_t at = txs_[tx->second].announcements.front(); at != kNoIndex;
         at = announcements_[at].of_tx.next) {
      const Announcement& announcement = announcements_[at];
      Announcer& one =
          found.emplace_back(Announcer{peers_[announcement.peer].id, announcement.came, {}});
      if (announcement.came != AskState::kNotAsked) one.asked_at = announcement.asked_at;
    }
    return found;
  }
  size_t announcement_count() const { return announcements_.size(); }
  size_t in_flight_count() const { return in_flight_count_; }
  size_t in_flight_bytes() const { return in_flight_bytes_; }
  const Counts& counts() const { return counts_; }
  void CheckInvariants() const;

 private:
  void Announce(uint32_t peer_index, const InvEntry& entry) {
    Peer& peer = peers_[peer_index];
    const auto [found, is_new] = by_hash_.try_emplace(entry.hash, kNoIndex);
    if (is_new) {
      found->second = txs_.Allocate();
      txs_[found->second].hash = entry.hash;
    }
    const uint32_t tx_index = found->second;
    Tx& tx = txs_[tx_index];
    uint32_t before = kNoIndex;  // the first that is asked after the new one
    // Most come from an ordinary peer for the first time: no need to walk the others.
    const uint64_t bit = uint64_t{1} << (peer_index % 64);
    const bool is_first = !peer.preferred && (tx.may_have_announced & bit) == 0;
    tx.may_have_announced |= bit;
    for (uint32_t at = is_first ? kNoIndex : tx.announcements.front(); at != kNoIndex;
         at = announcements_[at].of_tx.next) {
      if (announcements_[at].peer == peer_index) return;
      const bool later = peer.preferred && !peers_[announcements_[at].peer].preferred;
      if (later && before == kNoIndex) before = at;
    }
    const uint32_t index = announcements_.Allocate();
    Announcement& announcement = announcements_[index];
    announcement.tx = tx_index;
    announcement.peer = peer_index;
    announcement.size_bytes = entry.size_bytes;
    tx.announcements.InsertBefore(announcements_, before, index);
    peer.announcements.PushBack(announcements_, index);
    ++tx.waiting;
    if (tx.asked == kNoIndex) MakeReady(tx_index);
  }

  // Neither asked nor parked any more; next in line behind those that are ready.
  void MakeReady(uint32_t tx_index) {
    Tx& tx = txs_[tx_index];
    if (tx.ready) return;
    Unpark(tx);
    tx.ready = true;
    ready_.PushBack(txs_, tx_index);
  }

  void Unpark(const Tx& tx) {
    for (uint32_t at = tx.announcements.front(); at != kNoIndex;
         at = announcements_[at].of_tx.next) {
      if (!announcements_[at].parked) continue;
      announcements_[at].parked = false;
      peers_[announcements_[at].peer].parked.Remove(announcements_, at);
    }
  }

  void Unready(uint32_t tx_index) {
    if (!txs_[tx_index].ready) return;
    txs_[tx_index].ready = false;
    ready_.Remove(txs_, tx_index);
  }

  // All its announcers are at their limit: it waits at each of them.
  void Park(uint32_t tx_index) {
    Unready(tx_index);
    Tx& tx = txs_[tx_index];
    for (uint32_t at = tx.announcements.front(); at != kNoIndex;
         at = announcements_[at].of_tx.next) {
      if (announcements_[at].state != State::kWaiting) continue;
      announcements_[at].parked = true;
      peers_[announcements_[at].peer].parked.PushBack(announcements_, at);
    }
  }

  // What waits at peers that have room again, before anything newer. False when the allowance holds
  // it back.
  bool AskParked(Time now, Allowance& allowance) {
    std::vector<uint32_t> woken = std::exchange(woken_, {});
    for (size_t i = 0; i < woken.size(); ++i) {
      Peer& peer = peers_[woken[i]];
      while (!peer.parked.empty()) {
        const uint32_t at = peer.parked.front();
        if (!HasRoom(peer, announcements_[at].size_bytes)) break;
        const std::optional<uint32_t> first = FirstWithRoom(announcements_[at].tx);
        if (!Take(*first, allowance)) {
          woken_.insert(woken_.end(), woken.begin() + static_cast<ptrdiff_t>(i), woken.end());
          return false;
        }
        Ask(now, *first);
      }
      peer.woken = false;
    }
    return true;
  }

  std::optional<uint32_t> FirstWithRoom(uint32_t tx_index) const {
    for (uint32_t at = txs_[tx_index].announcements.front(); at != kNoIndex;
         at = announcements_[at].of_tx.next) {
      const Announcement& announcement = announcements_[at];
      if (announcement.state != State::kWaiting) continue;
      if (HasRoom(peers_[announcement.peer], announcement.size_bytes)) return at;
    }
    return std::nullopt;
  }

  bool HasRoom(const Peer& peer, uint32_t size_bytes) const {
    if (peer.in_flight_count >= limits_.demands_per_peer_count_max) return false;
    if (peer.in_flight_count > 0 &&
        peer.in_flight_bytes + size_bytes > limits_.demands_per_peer_bytes_max) {
      return false;
    }
    return FitsOpen(peer, size_bytes) ||
           peer.requests.size() < limits_.demand_requests_per_peer_max;
  }

  // R9: whether the demand that is being filled takes one more.
  bool FitsOpen(const Peer& peer, uint32_t size_bytes) const {
    if (peer.open == kNoIndex) return false;
    const Request& request = requests_[peer.open];
    return request.items.size() < kGetDataHashCountMax &&
           request.bytes + size_bytes <= kBodiesAnswerBytesMax;
  }

  bool Take(uint32_t at, Allowance& allowance) const {
    const uint32_t size_bytes = announcements_[at].size_bytes;
    if (allowance.count == 0 || allowance.bytes < size_bytes) return false;
    --allowance.count;
    allowance.bytes -= size_bytes;
    return true;
  }

  void Ask(Time now, uint32_t at) {
    Announcement& announcement = announcements_[at];
    Peer& peer = peers_[announcement.peer];
    Tx& tx = txs_[announcement.tx];
    Unready(announcement.tx);
    Unpark(tx);
    if (!FitsOpen(peer, announcement.size_bytes)) OpenRequest(now, announcement.peer);
    Request& request = requests_[peer.open];
    request.items.push_back({tx.hash, announcement.size_bytes});
    request.bytes += announcement.size_bytes;
    announcement.state = State::kAsked;
    announcement.came = AskState::kAsked;
    announcement.asked_at = now;
    --tx.waiting;
    tx.asked = at;
    tx.request = request.id;
    if (!tx.first_asked) {
      tx.first_asked = now;
      aged_.PushBack(txs_, announcement.tx);
    }
    ++peer.in_flight_count;
    peer.in_flight_bytes += announcement.size_bytes;
    ++in_flight_count_;
    in_flight_bytes_ += announcement.size_bytes;
    ++counts_.demanded;
  }

  void OpenRequest(Time now, uint32_t peer_index) {
    const uint32_t index = requests_.Allocate();
    Request& request = requests_[index];
    request.id = RequestId{next_request_++};
    request.peer = peer_index;
    request.last_byte = now;
    request.timed = true;
    idle_.PushBack(requests_, index);
    peers_[peer_index].requests.PushBack(requests_, index);
    peers_[peer_index].open = index;
    by_request_.emplace(request.id, index);
    opened_.push_back(index);
  }

  void Release(const Request& request, const Request::Item& item) {
    Peer& peer = peers_[request.peer];
    --peer.in_flight_count;
    peer.in_flight_bytes -= item.size_bytes;
    --in_flight_count_;
    in_flight_bytes_ -= item.size_bytes;
    Wake(request.peer);
  }

  void Wake(uint32_t peer_index) {
    Peer& peer = peers_[peer_index];
    if (peer.woken || peer.parked.empty()) return;
    peer.woken = true;
    woken_.push_back(peer_index);
  }

  // A byte has come on the stream.
  void Touch(Time now, uint32_t index) {
    StopTiming(index);
    Request& request = requests_[index];
    if (request.next == request.items.size()) return;
    request.last_byte = now;
    request.timed = true;
    idle_.PushBack(requests_, index);
  }

  void StopTiming(uint32_t index) {
    if (!requests_[index].timed) return;
    requests_[index].timed = false;
    idle_.Remove(requests_, index);
  }

  void EndRequest(uint32_t index) {
    Request& request = requests_[index];
    StopTiming(index);
    for (size_t i = request.next; i < request.items.size() && !request.silent; ++i) {
      Release(request, request.items[i]);
      FailItem(request.id, request.items[i].hash, AskState::kBroken);
    }
    const uint32_t peer = request.peer;
    by_request_.erase(request.id);
    peers_[peer].requests.Remove(requests_, index);
    requests_.Free(index);
    Wake(peer);
  }

  // What `request` asked of `hash` has failed. False if it is asked elsewhere by now, or nowhere.
  bool FailItem(RequestId request, const TxHash& hash, AskState came) {
    const auto found = by_hash_.find(hash);
    if (found == by_hash_.end()) return false;
    const uint32_t tx_index = found->second;
    Tx& tx = txs_[tx_index];
    if (tx.asked == kNoIndex || tx.request != request) return false;
    announcements_[tx.asked].state = State::kSpent;
    announcements_[tx.asked].came = came;
    tx.asked = kNoIndex;
    Settle(tx_index);
    return true;
  }

  void AskAgain(RequestId request, const TxHash& hash) {
    const auto found = by_hash_.find(hash);
    if (found == by_hash_.end()) return;
    Tx& tx = txs_[found->second];
    if (tx.asked == kNoIndex || tx.request != request) return;
    announcements_[tx.asked].state = State::kWaiting;
    announcements_[tx.asked].came = AskState::kNotAsked;
    ++tx.waiting;
    tx.asked = kNoIndex;
    MakeReady(found->second);
  }

  // After an announcement was spent or removed: the next is asked, or with none left all vanish.
  void Settle(uint32_t tx_index) {
    const Tx& tx = txs_[tx_index];
    if (tx.asked != kNoIndex) return;
    if (tx.waiting == 0) {
      DropTx(tx_index);
    } else {
      MakeReady(tx_index);
    }
  }

  void RemoveAnnouncement(uint32_t at) {
    Announcement& announcement = announcements_[at];
    Tx& tx = txs_[announcement.tx];
    Peer& peer = peers_[announcement.peer];
    if (announcement.state == State::kWaiting) --tx.waiting;
    if (tx.asked == at) tx.asked = kNoIndex;
    if (announcement.parked) peer.parked.Remove(announcements_, at);
    tx.announcements.Remove(announcements_, at);
    peer.announcements.Remove(announcements_, at);
    announcements_.Free(at);
  }

  void DropTx(uint32_t tx_index) {
    Tx& tx = txs_[tx_index];
    Unready(tx_index);
    while (!tx.announcements.empty()) RemoveAnnouncement(tx.announcements.front());
    if (tx.first_asked) aged_.Remove(txs_, tx_index);
    by_hash_.erase(tx.hash);
    txs_.Free(tx_index);
  }

  const Limits& limits_;
  Slab<Announcement> announcements_;
  Slab<Tx> txs_;
  Slab<Request> requests_;
  Slab<Peer> peers_;
  absl::flat_hash_map<TxHash, uint32_t> by_hash_;
  absl::flat_hash_map<RequestId, uint32_t> by_request_;
  absl::flat_hash_map<PeerId, uint32_t> by_peer_;
  IndexList<&Tx::ready_link> ready_;
  IndexList<&Tx::age_link> aged_;        // ascending in first_asked
  IndexList<&Request::idle_link> idle_;  // ascending in last_byte
  std::vector<uint32_t> woken_;          // peers with room and something parked
  std::vector<uint32_t> opened_;         // requests of the NextDemands under way
  size_t in_flight_count_ = 0;           // sums over peers
  size_t in_flight_bytes_ = 0;
  uint64_t next_request_ = kTxRequestIdFirst;
  Counts counts_;
};

void TxRequestTracker::Impl::CheckInvariants() const {
  OVERLAY_CHECK(by_hash_.size() == txs_.size() && by_request_.size() == requests_.size());
  OVERLAY_CHECK(by_peer_.size() == peers_.size() && opened_.empty());
  size_t in_flight_count = 0, in_flight_bytes = 0, announcements = 0, timed = 0;
  for (uint32_t i = 0; i < peers_.capacity(); ++i) {
    if (!peers_.IsUsed(i)) continue;
    const Peer& peer = peers_[i];
    OVERLAY_CHECK(peer.announcements.size() <= limits_.announcements_per_peer_max);
    OVERLAY_CHECK(peer.waiting.size() <= kInvWaitingMax);
    OVERLAY_CHECK(peer.waiting.empty() || peer.paused);
    OVERLAY_CHECK(peer.requests.size() <= limits_.demand_requests_per_peer_max);
    announcements += peer.announcements.size();
    size_t count = 0, bytes = 0;
    for (uint32_t r = peer.requests.front(); r != kNoIndex; r = requests_[r].of_peer.next) {
      const Request& request = requests_[r];
      OVERLAY_CHECK(request.peer == i && !request.items.empty());
      OVERLAY_CHECK(request.timed == (!request.silent && request.next < request.items.size()));
      timed += request.timed;
      for (size_t k = request.next; k < request.items.size() && !request.silent; ++k) {
        ++count;
        bytes += request.items[k].size_bytes;
      }
    }
    OVERLAY_CHECK(count == peer.in_flight_count && bytes == peer.in_flight_bytes);
    OVERLAY_CHECK(count <= limits_.demands_per_peer_count_max);
    OVERLAY_CHECK(count <= 1 || bytes <= limits_.demands_per_peer_bytes_max);
    in_flight_count += count;
    in_flight_bytes += bytes;
  }
  OVERLAY_CHECK(in_flight_count == in_flight_count_ && in_flight_bytes == in_flight_bytes_);
  OVERLAY_CHECK(announcements == announcements_.size() && timed == idle_.size());
  size_t ready = 0, aged = 0, of_txs = 0;
  for (uint32_t i = 0; i < txs_.capacity(); ++i) {
    if (!txs_.IsUsed(i)) continue;
    const Tx& tx = txs_[i];
    ready += tx.ready;
    aged += tx.first_asked.has_value();
    of_txs += tx.announcements.size();
    OVERLAY_CHECK(tx.asked != kNoIndex || tx.waiting > 0);
    OVERLAY_CHECK(!(tx.asked != kNoIndex && tx.ready));
    uint32_t waiting = 0;
    bool preferred = true;
    for (uint32_t at = tx.announcements.front(); at != kNoIndex;
         at = announcements_[at].of_tx.next) {
      const Announcement& announcement = announcements_[at];
      OVERLAY_CHECK(announcement.tx == i);
      waiting += announcement.state == State::kWaiting;
      OVERLAY_CHECK((announcement.state == State::kAsked) == (tx.asked == at));
      const bool parked =
          tx.asked == kNoIndex && !tx.ready && announcement.state == State::kWaiting;
      OVERLAY_CHECK(announcement.parked == parked);
      OVERLAY_CHECK(preferred || !peers_[announcement.peer].preferred);
      preferred = peers_[announcement.peer].preferred;
    }
    OVERLAY_CHECK(waiting == tx.waiting);
    if (tx.asked == kNoIndex) continue;
    const auto request = by_request_.find(tx.request);
    OVERLAY_CHECK(request != by_request_.end());
    const Request& asks = requests_[request->second];
    OVERLAY_CHECK(asks.peer == announcements_[tx.asked].peer && !asks.silent);
    OVERLAY_CHECK(std::any_of(asks.items.begin() + static_cast<ptrdiff_t>(asks.next),
                              asks.items.end(),
                              [&](const Request::Item& item) { return item.hash == tx.hash; }));
  }
  OVERLAY_CHECK(ready == ready_.size() && aged == aged_.size() && of_txs == announcements);
}

TxRequestTracker::TxRequestTracker(const Limits& limits) : impl_(std::make_unique<Impl>(limits)) {}
TxRequestTracker::~TxRequestTracker() = default;
void TxRequestTracker::AddPeer(PeerId peer, bool preferred) { impl_->AddPeer(peer, preferred); }
void TxRequestTracker::RemovePeer(PeerId peer) { impl_->RemovePeer(peer); }
void TxRequestTracker::OnAnnouncements(PeerId peer, absl::Span<const InvEntry> entries) {
  impl_->OnAnnouncements(peer, entries);
}
bool TxRequestTracker::IsPaused(PeerId peer) const { return impl_->IsPaused(peer); }
void TxRequestTracker::TakeWaiting(PeerId peer,
                                   const std::function<bool(const InvEntry&)>& is_wanted) {
  impl_->TakeWaiting(peer, is_wanted);
}
void TxRequestTracker::NextDemands(Time now, Allowance allowance, std::vector<Demand>& demands) {
  impl_->NextDemands(now, allowance, demands);
}
TxRequestTracker::Answer TxRequestTracker::OnAnswer(Time now, PeerId peer, RequestId request,
                                                    const BodyAnswer& answer) {
  return impl_->OnAnswer(now, peer, request, answer);
}
void TxRequestTracker::Fail(PeerId peer, const TxHash& hash) { impl_->Fail(peer, hash); }
void TxRequestTracker::OnRequestEnded(PeerId peer, RequestId request) {
  impl_->OnRequestEnded(peer, request);
}
void TxRequestTracker::Forget(const TxHash& hash, std::vector<PeerId>* announcers) {
  impl_->Forget(hash, announcers);
}
void TxRequestTracker::OnDeadline(Time now, std::vector<Silent>& silent) {
  impl_->OnDeadline(now, silent);
}
std::optional<Time> TxRequestTracker::NextDeadline() const { return impl_->NextDeadline(); }
bool TxRequestTracker::IsTracked(const TxHash& hash) const { return impl_->IsTracked(hash); }
std::vector<TxRequestTracker::Announcer> TxRequestTracker::Announcers(const TxHash& hash) const {
  return impl_->Announcers(hash);
}
size_t TxRequestTracker::announcement_count() const { return impl_->announcement_count(); }
size_t TxRequestTracker::in_flight_count() const { return impl_->in_flight_count(); }
size_t TxRequestTracker::in_flight_bytes() const { return impl_->in_flight_bytes(); }
const TxRequestTracker::Counts& TxRequestTracker::counts() const { return impl_->counts(); }
void TxRequestTracker::CheckInvariants() const { impl_->CheckInvariants(); }

}  // namespace overlay::flood
