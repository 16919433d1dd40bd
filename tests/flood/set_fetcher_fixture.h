// tests/flood/set_fetcher_fixture.h
//
// A SetFetcher with peer 99 connected, and short words for what happens to it. Asked() gives the
// peers asked since the last call, and takes notes of what was cancelled, offended and failed.
#ifndef OVERLAY_TESTS_FLOOD_SET_FETCHER_FIXTURE_H_
#define OVERLAY_TESTS_FLOOD_SET_FETCHER_FIXTURE_H_

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "flood/set_fetcher.h"
#include "gtest/gtest.h"
#include "tests/support/actions.h"

namespace overlay::flood {

inline Bytes Content(size_t size, uint8_t fill) {
  return Bytes::Take(std::vector<uint8_t>(size, fill));
}
inline SetKey KeyOf(const Bytes& content, SetKind kind = SetKind::kTxSet) {
  return {kind, HashOf<SetHash>(content.span())};
}

class SetFetcherTest : public testing::Test {
 protected:
  SetFetcherTest() { fetcher_.OnPeerConnected(now_, PeerId{99}, out_); }
  ~SetFetcherTest() override { fetcher_.CheckInvariants(); }

  // The requests sent since the last call, as peers.
  std::vector<uint64_t> Asked() {
    fetcher_.CheckInvariants();
    std::vector<uint64_t> peers;
    for (const RequestSet& request : Commands<RequestSet>(out_)) {
      peers.push_back(request.peer.value);
      request_of_[request.peer.value] = request.request;
      offset_of_[request.peer.value] = request.set.offset;
      takes_zstd_of_[request.peer.value] = request.set.accept_zstd;
    }
    for (const CancelRequest& cancel : Commands<CancelRequest>(out_)) {
      cancelled_.push_back(cancel.peer.value);
    }
    for (const PeerOffence& offence : Offences(out_)) offenders_.push_back(offence.peer.value);
    for (const FetchFailed& failed : Outputs<FetchFailed>(out_)) failures_.push_back(failed.reason);
    out_.clear();
    return peers;
  }
  void Connect(std::initializer_list<uint64_t> peers) {
    for (uint64_t peer : peers) fetcher_.OnPeerConnected(now_, PeerId{peer}, out_);
  }
  void NotFound(uint64_t peer) {
    fetcher_.OnHeader(now_, {PeerId{peer}, request_of_[peer], SetHeader{}}, out_);
    End(peer, true);
  }
  // Of what the peer was asked for: the whole, or from an offset on.
  void Header(uint64_t peer, uint64_t total_bytes) {
    const SetHeader header{true, SetEncoding::kIdentity, total_bytes,
                           total_bytes - offset_of_[peer]};
    fetcher_.OnHeader(now_, {PeerId{peer}, request_of_[peer], header}, out_);
  }
  void Data(uint64_t peer, const Bytes& data) {
    fetcher_.OnData(now_, {PeerId{peer}, request_of_[peer], data}, out_);
  }
  void End(uint64_t peer, bool complete) {
    fetcher_.OnRequestEnded(now_, {PeerId{peer}, request_of_[peer], complete}, fetched_, out_);
  }
  void Serve(uint64_t peer, const Bytes& content) {
    Header(peer, content.size());
    Data(peer, content.Slice(offset_of_[peer]));
    End(peer, true);
  }
  void At(Time when) {
    now_ = when;
    fetcher_.OnDeadline(now_, out_);
  }
  bool CoreFetch(const SetKey& key, std::optional<LedgerSeq> slot = std::nullopt,
                 std::vector<PeerId> named = {}, uint32_t sources = 1,
                 bool until_cancelled = false) {
    return fetcher_.Fetch(now_, {key, slot, std::move(named), sources, until_cancelled}, out_);
  }

  Limits limits_;
  SlotWindow window_{limits_};
  SetStats stats_;
  ComputeStats compute_stats_;
  ComputeQueue compute_{limits_, compute_stats_};
  SetFetcher fetcher_{limits_, window_, stats_, compute_};
  ActionList out_;
  std::vector<FetchedSet> fetched_;
  std::map<uint64_t, RequestId> request_of_;
  std::map<uint64_t, uint64_t> offset_of_;  // of the peer's last request
  std::map<uint64_t, bool> takes_zstd_of_;
  std::vector<uint64_t> cancelled_;
  std::vector<uint64_t> offenders_;
  std::vector<FetchFailure> failures_;
  Time now_{std::chrono::seconds(1000)};
  const Bytes content_ = Content(5000, 7);
  const SetKey key_ = KeyOf(content_);
};

}  // namespace overlay::flood

#endif  // OVERLAY_TESTS_FLOOD_SET_FETCHER_FIXTURE_H_
