// Whom to ask for missing sets, beside a model that keeps wants, sources and requests in plain
// lists and looks through all of them: four peers that serve a few small sets well, badly or not at
// all.
//
// Compared after each operation: who was asked for what from which offset on, what was cancelled,
// offences, what expired, which sets are wanted, the bytes in progress and the next deadline; and
// of each set that came, every field.
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
#include "tests/fuzz/set_fetcher_model.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr size_t kOperationCountMax = 200;
constexpr size_t kPeerCount = 4;

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
    limits.set_resume_bytes_min = in_.Pick(std::array<size_t, 3>{1, 20, 64 * kKiB});
    limits.set_rate_bytes_min = in_.Pick(std::array<size_t, 3>{1, 20, 64 * kKiB});
    limits.set_zstd_below_bytes_per_second = in_.Pick(std::array<uint64_t, 3>{1000, 0, kMiB});
    limits.set_zstd_beyond_rtt = in_.Pick(std::array<Duration, 3>{100ms, 2ms, 1min});
    return limits;
  }

  void Compare() {
    Expected got;
    for (const Action& action : std::exchange(out_, {})) {
      if (const auto* command = std::get_if<PeerCommand>(&action)) {
        if (const auto* ask = std::get_if<RequestSet>(command)) {
          got.asked.insert({NumberOf(ask->set.key), ask->peer.value, ask->set.offset});
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
        requests_
            .emplace(ask.request.value,
                     std::array<uint64_t, 3>{NumberOf(ask.set.key), ask.peer.value, ask.set.offset})
            .second);
    for (SetFetcherModel::Request& request : model_.requests) {
      if (request.id || request.key != ask.set.key || request.peer != ask.peer) continue;
      request.id = ask.request;
      judge_.Equal("takes zstd", request.takes_zstd, ask.set.accept_zstd);
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
        return judge_.Equal("the core waits", model_.Held(now_, key), got);
      }
      case 1:
        judge_.Begin("detached");
        model_.Detached(now_);
        return real_.OnCoreDetached(now_, out_);
      default: {
        judge_.Begin("cancel {}", NumberOf(key));
        const bool got = real_.Cancel(now_, key, out_);
        return judge_.Equal("the core asked", model_.Cancel(now_, key), got);
      }
    }
  }
  void AddSource() {
    const SetKey& key = AnyKey();
    const PeerId peer = AnyPeer();
    judge_.Begin("{} has set {}", peer.value, NumberOf(key));
    if (!IsHere(peer)) return;
    model_.AddSource(now_, key, peer, SetFetcherModel::kHolder);
    real_.AddSource(now_, key, peer, out_);
  }

  void Path() {
    const PeerId peer = AnyPeer();
    const Duration rtt = in_.Pick(std::array<Duration, 4>{20ms, 60ms, 200ms, 10s});
    judge_.Begin("the path of {} takes {} ms", peer.value, rtt / 1ms);
    if (!IsHere(peer)) return;
    model_.Path(peer, rtt);
    real_.OnPeerPath(peer, rtt);
  }

  // What a peer answers to one of the requests: the right thing mostly.
  void Answer() {
    const size_t which = in_.Byte();
    const size_t how = in_.Byte();
    judge_.Begin("answer {}", how);
    if (model_.requests.empty()) return;
    const SetFetcherModel::Request request = model_.requests[which % model_.requests.size()];
    const RequestId id = *request.id;
    const std::string& content = Contents()[NumberOf(request.key)].bytes;
    if (!request.header) {
      const uint64_t rest = content.size() - std::min<uint64_t>(request.offset, content.size());
      SetHeader header{true, SetEncoding::kIdentity, content.size(), rest};
      if (how % 8 == 1) header = SetHeader{};
      if (how % 16 == 2) header.encoded_bytes = header.total_bytes += 1;
      if (how % 16 == 3) header.encoded_bytes += 1;
      if (how % 16 == 4 || (request.takes_zstd && how % 4 == 0)) {
        header.encoding = SetEncoding::kZstd;
        header.encoded_bytes = Contents()[NumberOf(request.key)].frame.size();
        if (how % 64 == 16) header.total_bytes += 1;
      }
      if (how % 32 == 6) header.encoded_bytes = (header.total_bytes = 200) - request.offset;
      if (how % 32 == 5) return SendData(id, request.peer, "early");
      model_.Header(now_, id, header);
      return real_.OnHeader(now_, {request.peer, id, header}, out_);
    }
    const bool is_frame = request.header->encoding == SetEncoding::kZstd;
    const std::string& encoded = is_frame ? Contents()[NumberOf(request.key)].frame : content;
    const size_t from = std::min(request.bytes.size(), encoded.size());
    switch (how % 8) {
      case 0:
        return SendData(id, request.peer, encoded.substr(from, 7));
      case 1:
        return SendData(id, request.peer, std::string(3, 'z'));
      default:
        return SendData(id, request.peer, encoded.substr(from));
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
    const SetFetcherModel::Request request = model_.requests[which % model_.requests.size()];
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
    model_.WindowMoved(now_);
    real_.OnWindowMoved(now_, out_);
  }
  void Wait() {
    now_ += in_.Pick(std::array<Duration, 7>{150ms, 10ms, 1s, 1500ms, 10s, 15s, 500ms});
    judge_.Begin("now {} ms", now_.time_since_epoch() / 1ms);
    model_.Deadline(now_);
    real_.OnDeadline(now_, out_);
  }

  void Step() {
    switch (in_.Below(17)) {
      case 16:
        return Path();
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
  ComputeStats compute_stats_;
  ComputeQueue compute_{limits_, compute_stats_};  // small sets are inflated without it
  SetFetcher real_{limits_, window_, stats_, compute_};
  SetFetcherModel model_{limits_, window_};
  Judge judge_;
  ActionList out_;
  Time now_{1000s};
  std::array<PeerId, kPeerCount> peers_{PeerId{1000}, PeerId{2000}, PeerId{3000}, PeerId{4000}};
  std::map<uint64_t, std::array<uint64_t, 3>> requests_;  // all that were ever made, as in Asked
  std::vector<RequestId> cancelled_;
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
