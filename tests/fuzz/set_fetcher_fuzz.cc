// Whom to ask for missing sets, beside a model that keeps wants, sources and requests in plain
// lists and looks through all of them: four peers that serve a few small sets well, badly or not at
// all.
//
// Compared after each operation: who was asked for what, what was cancelled, offences, what
// expired, which sets are wanted, the bytes in progress and the next deadline; and of each set that
// came, every field.
#include "flood/set_fetcher.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr size_t kOperationCountMax = 200;
constexpr size_t kPeerCount = 4;
constexpr size_t kSetCount = 5;

struct Content {
  SetKey key;
  std::string bytes;
};
// A tx set of each size, but for the last: a quorum set.
const std::array<Content, kSetCount>& Contents() {
  static const auto* const kContents = [] {
    auto* contents = new std::array<Content, kSetCount>;
    constexpr std::array<size_t, kSetCount> kSizes = {10, 0, 40, 100, 30};
    for (size_t i = 0; i < kSetCount; ++i) {
      std::string& bytes = (*contents)[i].bytes;
      bytes = std::string(kSizes[i], static_cast<char>('a' + i));
      (*contents)[i].key = {i + 1 < kSetCount ? SetKind::kTxSet : SetKind::kQuorumSet,
                            HashOf<SetHash>(Bytes::Copy(bytes).span())};
    }
    return contents;
  }();
  return *kContents;
}
size_t NumberOf(const SetKey& key) {
  size_t number = 0;
  while (Contents()[number].key != key) ++number;
  return number;
}

using Asked = std::multiset<std::pair<size_t, uint64_t>>;  // set, peer
using Peers = std::multiset<uint64_t>;

struct Expected {
  Asked asked, cancelled;
  Peers offenders;
  std::multiset<size_t> expired;
};

class Model {
 public:
  Model(const Limits& limits, const SlotWindow& window) : limits_(limits), window_(window) {}

  enum class State : uint8_t { kUntried, kAsked, kFailed };
  // In this order they are asked; those of a kind in the order in which they became it.
  enum Kind : uint8_t { kNamedByCore, kSender, kHolder, kOther };
  struct Source {
    PeerId peer;
    Kind kind = kOther;
    State state = State::kUntried;
  };
  struct Want {
    std::optional<LedgerSeq> slot;
    bool prefetch = false, member = false, named_by_core = false, core_asked = false;
    bool until_cancelled = false;
    PeerId named_by;
    uint32_t parallel = 1;
    std::vector<Source> sources;
    uint32_t passes = 0;
    std::optional<Time> retry_at;
  };
  struct Request {
    std::optional<RequestId> id;  // none until the component has said it
    SetKey key;
    PeerId peer;
    std::optional<SetHeader> header;
    std::string bytes;
    bool cancelled = false, overdue = false;
    std::optional<Time> deadline;
  };
  std::map<SetKey, Want> wants;  // in this order they get places
  std::vector<Request> requests;
  Expected expected;

  bool Prefetch(Time now, const SetKey& key, LedgerSeq slot, PeerId by) {
    if (!wants.contains(key)) {
      size_t of_peer = 0, of_all = 0;
      for (const auto& [other, want] : wants) {
        of_all += want.prefetch;
        of_peer += want.prefetch && want.named_by == by;
      }
      if (of_all >= limits_.set_prefetch_total_max) return false;
      if (of_peer >= limits_.set_prefetch_per_peer_max) return false;
      Want& want = wants[key];
      want.prefetch = true;
      want.named_by = by;
      want.slot = slot;
    }
    Want& want = wants[key];
    if (!want.member && *want.slot < slot) want.slot = slot;
    AddSource(now, key, by, kSender);
    return true;
  }
  void WantForCore(Time now, const SetKey& key, LedgerSeq slot,
                   const std::vector<PeerId>& holders) {
    Want& want = wants[key];
    Bind(want, slot);
    want.named_by_core = true;
    for (const PeerId peer : holders) Add(want, peer, kHolder);
    Pump(now, key);
  }
  void Fetch(Time now, const SetFetcher::CoreFetch& fetch) {
    Want& want = wants[fetch.key];
    Bind(want, fetch.slot);
    want.core_asked = true;
    want.until_cancelled |= fetch.until_cancelled;
    want.parallel = std::min<uint32_t>(3, std::max({want.parallel, fetch.sources, 1u}));
    // Those that the core names come first, each once.
    std::vector<Source> sources;
    const auto has = [&](PeerId peer) {
      return std::any_of(sources.begin(), sources.end(),
                         [&](const Source& source) { return source.peer == peer; });
    };
    for (const PeerId peer : fetch.named) {
      if (has(peer)) continue;
      Source source{peer, kNamedByCore};
      for (const Source& old : want.sources) {
        if (old.peer == peer && old.state == State::kAsked) source.state = State::kAsked;
      }
      sources.push_back(source);
    }
    for (const Source& old : want.sources) {
      if (!has(old.peer)) sources.push_back(old);
    }
    want.sources = sources;
    for (const PeerId peer : fetch.holders) Add(want, peer, kHolder);
    Pump(now, fetch.key);
  }
  bool Cancel(const SetKey& key) {
    if (!wants.contains(key) || !wants[key].core_asked) return false;
    Want& want = wants[key];
    want.core_asked = want.until_cancelled = false;
    if (!want.prefetch && !want.named_by_core) Remove(key);
    return true;
  }
  bool Held(const SetKey& key) {
    if (!wants.contains(key)) return false;
    const bool core_asked = wants[key].core_asked;
    Remove(key);
    return core_asked;
  }
  void Detached() {
    for (const SetKey& key : Keys()) Cancel(key);
  }
  void WindowMoved() {
    for (const SetKey& key : Keys()) {
      const Want& want = wants[key];
      if (!want.slot || want.until_cancelled || window_.IsKept(*want.slot)) continue;
      if (want.core_asked) expected.expired.insert(NumberOf(key));
      Remove(key);
    }
  }

  void Connected(Time now, PeerId peer) {
    peers_.insert(peer);
    for (const SetKey& key : Keys()) {
      if (wants[key].member && Counted(key) == 0) AddSource(now, key, peer, kOther);
    }
  }
  void Disconnected(Time now, PeerId peer) {
    peers_.erase(peer);
    std::erase_if(requests, [&](const Request& request) { return request.peer == peer; });
    for (const SetKey& key : Keys()) {
      std::erase_if(wants[key].sources, [&](const Source& source) { return source.peer == peer; });
      if (!wants[key].member && wants[key].sources.empty()) {
        Remove(key);
      } else {
        Pump(now, key);
      }
    }
  }
  void AddSource(Time now, const SetKey& key, PeerId peer, Kind kind) {
    if (!wants.contains(key)) return;
    Add(wants[key], peer, kind);
    Pump(now, key);
  }

  void Header(Time now, RequestId id, const SetHeader& header) {
    Request& request = *Find(id);
    if (request.cancelled) return;
    const size_t bytes_max = request.key.kind == SetKind::kTxSet ? limits_.tx_set_bytes_max
                                                                 : limits_.quorum_set_bytes_max;
    // We accept no compression, so the two lengths are one.
    const bool is_sound = header.encoding == SetEncoding::kIdentity &&
                          header.encoded_bytes == header.total_bytes &&
                          header.total_bytes <= bytes_max;
    if (header.found && !is_sound) return Offend(now, request);
    request.header = header;
    Heard(now, request);
  }
  void Data(Time now, RequestId id, const std::string& bytes) {
    Request& request = *Find(id);
    if (request.cancelled) return;
    if (!request.header || !request.header->found ||
        request.bytes.size() + bytes.size() > request.header->encoded_bytes) {
      return Offend(now, request);
    }
    if (BytesInProgress() + bytes.size() > limits_.set_fetch_bytes_in_progress_max) {
      return Break(now, request);
    }
    request.bytes += bytes;
    Heard(now, request);
  }
  // The want that it fulfils, if it does.
  std::optional<std::pair<SetKey, Want>> Ended(Time now, RequestId id, bool complete) {
    const Request request = *Find(id);
    std::erase_if(requests, [&](const Request& other) { return other.id == id; });
    if (request.cancelled) return std::nullopt;
    const bool whole = complete && request.header && request.header->found &&
                       request.bytes.size() == request.header->encoded_bytes;
    if (whole && request.bytes == Contents()[NumberOf(request.key)].bytes) {
      const Want want = wants[request.key];
      Remove(request.key);
      return std::pair(request.key, want);
    }
    if (whole) expected.offenders.insert(request.peer.value);
    Fail(request.key, request.peer);
    Pump(now, request.key);
    return std::nullopt;
  }

  void Deadline(Time now) {
    while (Request* const request = FirstDue(now)) {
      if (request->overdue) {
        Break(now, *request);
        PumpWaiting(now);
      } else {
        request->overdue = true;
        request->deadline = now + 10s;
        Pump(now, SetKey(request->key));
      }
    }
    while (true) {
      std::optional<SetKey> first;
      for (auto& [key, want] : wants) {
        if (!want.retry_at || *want.retry_at > now) continue;
        if (!first || *want.retry_at < *wants[*first].retry_at) first = key;
      }
      if (!first) return;
      Want& want = wants[*first];
      want.retry_at.reset();
      ++want.passes;
      for (Source& source : want.sources) {
        if (source.state == State::kFailed) source.state = State::kUntried;
      }
      Pump(now, *first);
    }
  }
  std::optional<Time> NextDeadline() const {
    std::optional<Time> next;
    const auto consider = [&](const std::optional<Time>& at) {
      if (at) next = next ? std::min(*next, *at) : *at;
    };
    for (const Request& request : requests) consider(request.deadline);
    for (const auto& [key, want] : wants) consider(want.retry_at);
    return next;
  }

  // A want that waits for a place gets one as soon as there is one, whatever freed it.
  void PumpWaiting(Time now) {
    for (const SetKey& key : Keys()) {
      if (wants[key].member && Open(key).empty()) Pump(now, key);
    }
  }
  size_t BytesInProgress() const {
    size_t bytes = 0;
    for (const Request& request : requests) bytes += request.bytes.size();
    return bytes;
  }

 private:
  std::vector<SetKey> Keys() const {
    std::vector<SetKey> keys;
    for (const auto& [key, want] : wants) keys.push_back(key);
    return keys;
  }
  Request* Find(RequestId id) {
    for (Request& request : requests) {
      if (request.id == id) return &request;
    }
    return nullptr;
  }
  static Source* SourceOf(Want& want, PeerId peer) {
    for (Source& source : want.sources) {
      if (source.peer == peer) return &source;
    }
    return nullptr;
  }
  // The core's first word binds it to a slot; what peers said does not count then.
  static void Bind(Want& want, std::optional<LedgerSeq> slot) {
    if (!want.member || !want.slot) want.slot = slot;
    want.member = true;
  }
  std::vector<Request*> Open(const SetKey& key) {
    std::vector<Request*> open;
    for (Request& request : requests) {
      if (request.key == key && !request.cancelled) open.push_back(&request);
    }
    return open;
  }
  size_t Counted(const SetKey& key) {
    size_t counted = 0;
    for (const Request* request : Open(key)) counted += !request->overdue;
    return counted;
  }
  bool HasPlace(const SetKey& key) {
    if (!wants[key].member || !Open(key).empty()) return true;
    size_t taken = 0;
    for (const SetKey& other : Keys()) taken += wants[other].member && !Open(other).empty();
    return taken < limits_.set_core_fetch_max;
  }

  void Pump(Time now, const SetKey& key) {
    if (!HasPlace(key)) return;
    Want& want = wants[key];
    while (Counted(key) < want.parallel) {
      Source* next = Untried(want);
      if (next == nullptr && want.member && Counted(key) == 0) {
        for (const PeerId peer : peers_) {
          if (SourceOf(want, peer) == nullptr) Add(want, peer, kOther);
        }
        next = Untried(want);
      }
      if (next == nullptr) break;
      if (Open(key).size() >= 6 && !CancelSlowest(key)) break;
      next->state = State::kAsked;
      Request& request = requests.emplace_back();
      request.key = key;
      request.peer = next->peer;
      request.deadline = now + limits_.set_first_byte_timeout_min;
      expected.asked.insert({NumberOf(key), request.peer.value});
    }
    if (Counted(key) > 0 || want.sources.empty()) {
      want.retry_at.reset();
    } else if (!want.retry_at) {
      Duration wait = limits_.set_retry_all_min;
      for (uint32_t i = 0; i < want.passes && wait < 15s; ++i) wait *= 2;
      want.retry_at = now + std::min<Duration>(wait, limits_.set_retry_all_max);
    }
  }
  static Source* Untried(Want& want) {
    Source* first = nullptr;
    for (Source& source : want.sources) {
      if (source.state != State::kUntried) continue;
      if (first == nullptr || source.kind < first->kind) first = &source;
    }
    return first;
  }
  static void Add(Want& want, PeerId peer, Kind kind) {
    Source added{peer, kind};
    if (const Source* old = SourceOf(want, peer)) {
      if (old->state == State::kAsked) added.state = State::kAsked;
      if (old->kind <= kind) {
        SourceOf(want, peer)->state = added.state;
        return;
      }
      std::erase_if(want.sources, [&](const Source& source) { return source.peer == peer; });
    }
    want.sources.push_back(added);
  }
  bool CancelSlowest(const SetKey& key) {
    for (Request* request : Open(key)) {
      if (!request->overdue) continue;
      Stop(*request);
      return true;
    }
    return false;
  }
  void Fail(const SetKey& key, PeerId peer) {
    Source* const source = SourceOf(wants[key], peer);
    if (source != nullptr && source->state == State::kAsked) source->state = State::kFailed;
  }
  // Cancelled: only its end is awaited.
  void Stop(Request& request) {
    request.cancelled = true;
    request.deadline.reset();
    request.bytes.clear();
    Fail(request.key, request.peer);
    expected.cancelled.insert({NumberOf(request.key), request.peer.value});
  }
  void Break(Time now, Request& request) {
    const SetKey key = request.key;
    Stop(request);
    Pump(now, key);
  }
  void Offend(Time now, Request& request) {
    expected.offenders.insert(request.peer.value);
    Break(now, request);
  }
  void Heard(Time now, Request& request) const {
    request.deadline = now + (request.overdue ? Duration(10s) : kSetProgressTimeout);
  }
  Request* FirstDue(Time now) {
    Request* first = nullptr;
    for (Request& request : requests) {
      if (!request.deadline || *request.deadline > now) continue;
      if (first == nullptr || *request.deadline < *first->deadline) first = &request;
    }
    return first;
  }
  void Remove(const SetKey& key) {
    for (Request* request : Open(key)) Stop(*request);
    wants.erase(key);
  }

  const Limits& limits_;
  const SlotWindow& window_;
  std::set<PeerId> peers_;
};

class Fuzz {
 public:
  explicit Fuzz(FuzzInput input) : in_(input), limits_(ChooseLimits()) {}

  void Run() {
    while (!in_.empty() && judge_.index() < kOperationCountMax) {
      Step();
      model_.PumpWaiting(now_);
      Compare();
    }
    real_.CheckInvariants();
  }

 private:
  Limits ChooseLimits() {
    Limits limits;
    limits.set_prefetch_per_peer_max = in_.Pick(std::array<size_t, 3>{4, 1, 2});
    limits.set_prefetch_total_max = in_.Pick(std::array<size_t, 3>{64, 2, 3});
    limits.set_core_fetch_max = in_.Pick(std::array<size_t, 3>{16, 1, 2});
    limits.tx_set_bytes_max = in_.Pick(std::array<size_t, 2>{16 * kMiB, 40});
    limits.set_fetch_bytes_in_progress_max = in_.Pick(std::array<size_t, 3>{kMiB, 20, 120});
    return limits;
  }

  void Compare() {
    Expected got;
    for (const Action& action : std::exchange(out_, {})) {
      if (const auto* command = std::get_if<PeerCommand>(&action)) {
        if (const auto* ask = std::get_if<RequestSet>(command)) {
          got.asked.insert({NumberOf(ask->set.key), ask->peer.value});
          Name(*ask);
        } else if (const auto* cancel = std::get_if<CancelRequest>(command)) {
          cancelled_.push_back(cancel->request);
        }
      } else if (const auto* output = std::get_if<CoreOutput>(&action)) {
        if (const auto* failed = std::get_if<FetchFailed>(output)) {
          judge_.True("reason", failed->reason == FetchFailure::kExpired);
          got.expired.insert(NumberOf(failed->key));
        }
      } else if (const auto* offence = std::get_if<PeerOffence>(&action)) {
        got.offenders.insert(offence->peer.value);
      }
    }
    const Expected expected = std::exchange(model_.expected, {});
    judge_.Equal("asked", expected.asked, got.asked);
    for (const RequestId id : std::exchange(cancelled_, {})) {
      const auto request = requests_.find(id.value);
      judge_.True("a request of ours is cancelled", request != requests_.end());
      got.cancelled.insert(request->second);
    }
    judge_.Equal("cancelled", expected.cancelled, got.cancelled);
    judge_.Equal("offenders", expected.offenders, got.offenders);
    judge_.Equal("expired", expected.expired, got.expired);
    for (size_t i = 0; i < kSetCount; ++i) {
      const SetKey& key = Contents()[i].key;
      judge_.Equal("wanted", model_.wants.contains(key), real_.IsWanted(key));
    }
    judge_.Equal("bytes in progress", model_.BytesInProgress(), real_.bytes_in_progress());
    const auto ms = [](const std::optional<Time>& at) {
      return at ? at->time_since_epoch() / 1ms : -1;
    };
    judge_.Equal("deadline", ms(model_.NextDeadline()), ms(real_.NextDeadline()));
    if (judge_.index() % 8 == 0) real_.CheckInvariants();
  }
  // The model's request gets the number that the component gave it.
  void Name(const RequestSet& ask) {
    judge_.True(
        "a number of its own",
        requests_.emplace(ask.request.value, std::pair(NumberOf(ask.set.key), ask.peer.value))
            .second);
    for (Model::Request& request : model_.requests) {
      if (request.id || request.key != ask.set.key || request.peer != ask.peer) continue;
      request.id = ask.request;
      return;
    }
    judge_.Differ("asked", "nobody",
                  fmt::format("set {} of {}", NumberOf(ask.set.key), ask.peer.value));
  }

  bool IsHere(PeerId peer) const { return peer.value % 2 == 1; }
  PeerId AnyPeer() { return peers_[in_.Below(kPeerCount)]; }
  const SetKey& AnyKey() { return Contents()[in_.Below(kSetCount)].key; }
  LedgerSeq AnySlot() { return {in_.Pick(std::array<uint64_t, 4>{20, 5, 12, 30})}; }

  void ConnectOrDisconnect() {
    PeerId& peer = peers_[in_.Below(kPeerCount)];
    judge_.Begin(IsHere(peer) ? "peer {} goes" : "the peer after {} comes", peer.value);
    if (IsHere(peer)) {
      model_.Disconnected(now_, peer);
      real_.OnPeerDisconnected(now_, peer, out_);
      ++peer.value;
    } else {
      ++peer.value;
      model_.Connected(now_, peer);
      real_.OnPeerConnected(now_, peer, out_);
    }
  }
  void Prefetch() {
    const SetKey& key = AnyKey();
    const PeerId peer = AnyPeer();
    const LedgerSeq slot = AnySlot();
    judge_.Begin("{} names set {} for slot {}", peer.value, NumberOf(key), slot.value);
    if (!IsHere(peer)) return;
    const bool got = real_.Prefetch(now_, key, slot, peer, out_);
    judge_.Equal("begun", model_.Prefetch(now_, key, slot, peer), got);
  }
  std::vector<PeerId> PeersHere() {
    std::vector<PeerId> peers;
    for (size_t count = in_.Below(3); count > 0; --count) {
      if (const PeerId peer = AnyPeer(); IsHere(peer)) peers.push_back(peer);
    }
    return peers;
  }
  void CoreWants() {
    const SetKey& key = AnyKey();
    if (in_.Flag()) {
      const LedgerSeq slot = AnySlot();
      judge_.Begin("the core names set {} for slot {}", NumberOf(key), slot.value);
      const std::vector<PeerId> holders = PeersHere();
      model_.WantForCore(now_, key, slot, holders);
      real_.WantForCore(now_, key, slot, holders, out_);
      return;
    }
    SetFetcher::CoreFetch fetch;
    fetch.key = key;
    if (in_.Flag()) fetch.slot = AnySlot();
    fetch.named = PeersHere();
    fetch.holders = PeersHere();
    fetch.sources = static_cast<uint32_t>(in_.Below(5));
    fetch.until_cancelled = in_.Below(4) == 3;
    judge_.Begin("the core fetches set {} from {} sources, {} named", NumberOf(key), fetch.sources,
                 fetch.named.size());
    model_.Fetch(now_, fetch);
    judge_.True("there is a place", real_.Fetch(now_, fetch, out_));
  }
  void CoreCeases() {
    const SetKey& key = AnyKey();
    switch (in_.Below(4)) {
      case 0: {
        judge_.Begin("held {}", NumberOf(key));
        const bool got = real_.OnHeld(now_, key, out_);
        return judge_.Equal("the core waits", model_.Held(key), got);
      }
      case 1:
        judge_.Begin("detached");
        model_.Detached();
        return real_.OnCoreDetached(now_, out_);
      default: {
        judge_.Begin("cancel {}", NumberOf(key));
        const bool got = real_.Cancel(now_, key, out_);
        return judge_.Equal("the core asked", model_.Cancel(key), got);
      }
    }
  }
  void AddSource() {
    const SetKey& key = AnyKey();
    const PeerId peer = AnyPeer();
    judge_.Begin("{} has set {}", peer.value, NumberOf(key));
    if (!IsHere(peer)) return;
    model_.AddSource(now_, key, peer, Model::kHolder);
    real_.AddSource(now_, key, peer, out_);
  }

  // What a peer answers to one of the requests: the right thing mostly.
  void Answer() {
    const size_t which = in_.Byte();
    const size_t how = in_.Byte();
    judge_.Begin("answer {}", how);
    if (model_.requests.empty()) return;
    const Model::Request request = model_.requests[which % model_.requests.size()];
    const RequestId id = *request.id;
    const std::string& content = Contents()[NumberOf(request.key)].bytes;
    if (!request.header) {
      SetHeader header{true, SetEncoding::kIdentity, content.size(), content.size()};
      if (how % 8 == 1) header = SetHeader{};
      if (how % 16 == 2) header.encoded_bytes = header.total_bytes += 1;
      if (how % 16 == 3) header.encoded_bytes += 1;
      if (how % 16 == 4) header.encoding = SetEncoding::kZstd;
      if (how % 32 == 5) return SendData(id, request.peer, "early");
      model_.Header(now_, id, header);
      return real_.OnHeader(now_, {request.peer, id, header}, out_);
    }
    const size_t from = std::min(request.bytes.size(), content.size());
    switch (how % 8) {
      case 0:
        return SendData(id, request.peer, content.substr(from, 7));
      case 1:
        return SendData(id, request.peer, std::string(3, 'z'));
      default:
        return SendData(id, request.peer, content.substr(from));
    }
  }
  void SendData(RequestId id, PeerId peer, const std::string& bytes) {
    model_.Data(now_, id, bytes);
    real_.OnData(now_, {peer, id, Bytes::Copy(bytes)}, out_);
  }
  void End() {
    const size_t which = in_.Byte();
    const bool complete = in_.Below(4) != 3;
    judge_.Begin("end, complete {}", complete);
    if (model_.requests.empty()) return;
    const Model::Request request = model_.requests[which % model_.requests.size()];
    std::vector<FetchedSet> fetched;
    real_.OnRequestEnded(now_, {request.peer, *request.id, complete}, fetched, out_);
    const auto expected = model_.Ended(now_, *request.id, complete);
    judge_.Equal<size_t>("sets fetched", expected ? 1 : 0, fetched.size());
    if (!expected) return;
    const auto& [key, want] = *expected;
    const FetchedSet& got = fetched[0];
    judge_.Equal("set fetched", NumberOf(key), NumberOf(got.key));
    judge_.True("its bytes", got.bytes.view() == Contents()[NumberOf(key)].bytes);
    judge_.Equal("from", request.peer.value, got.from.value);
    judge_.Equal<int64_t>("slot", want.slot ? static_cast<int64_t>(want.slot->value) : -1,
                          got.slot ? static_cast<int64_t>(got.slot->value) : -1);
    judge_.Equal("wanted by the core", want.member, got.wanted_by_core);
    judge_.Equal("the core asked", want.core_asked, got.core_asked);
    if (want.prefetch) judge_.Equal("named by", want.named_by.value, got.named_by.value);
  }

  void Close() {
    const LedgerSeq slot{in_.Pick(std::array<uint64_t, 4>{10, 18, 24, 35})};
    judge_.Begin("ledger {} closed", slot.value);
    window_.OnLedgerClosed(now_, slot, true, {});
    model_.WindowMoved();
    real_.OnWindowMoved(now_, out_);
  }
  void Wait() {
    now_ += in_.Pick(std::array<Duration, 6>{150ms, 10ms, 1s, 1500ms, 10s, 15s});
    judge_.Begin("now {} ms", now_.time_since_epoch() / 1ms);
    model_.Deadline(now_);
    real_.OnDeadline(now_, out_);
  }

  void Step() {
    switch (in_.Below(16)) {
      case 0:
        return ConnectOrDisconnect();
      case 1:
      case 2:
        return Prefetch();
      case 3:
      case 4:
        return CoreWants();
      case 5:
        return CoreCeases();
      case 6:
        return AddSource();
      case 7:
      case 8:
      case 9:
      case 10:
        return Answer();
      case 11:
      case 12:
        return End();
      case 13:
        return Close();
      case 14:
      case 15:
        return Wait();
    }
  }

  FuzzInput in_;
  const Limits limits_;
  SlotWindow window_{limits_};
  SetStats stats_;
  SetFetcher real_{limits_, window_, stats_};
  Model model_{limits_, window_};
  Judge judge_;
  ActionList out_;
  Time now_{1000s};
  std::array<PeerId, kPeerCount> peers_{PeerId{1000}, PeerId{2000}, PeerId{3000}, PeerId{4000}};
  std::map<uint64_t, std::pair<size_t, uint64_t>> requests_;  // all that were ever made
  std::vector<RequestId> cancelled_;
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
