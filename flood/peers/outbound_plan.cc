#include "flood/peers/outbound_plan.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/btree_set.h"
#include "flood/base/check.h"
#include "flood/peers/backoff.h"

namespace overlay::flood {
namespace {

// What one holder of addresses is likely to hold whole.
using Network = std::array<uint8_t, 4>;
Network NetworkOf(const SocketAddress& address) {
  const auto& ip = address.ip;
  if (address.is_v4()) return {ip[12], ip[13], 0, 0};
  return {ip[0], ip[1], ip[2], ip[3]};
}

bool Counts(Time now, const OutboundPeer& peer) {
  return !peer.core_absent_since || now - *peer.core_absent_since < kCoreAbsentMax;
}

}  // namespace

// ---- events -----------------------------------------------------------------------------------

void OutboundPlan::OnDialEnded(Time now, const DialEnded& ended) {
  const auto it = dials_.find(ended.dial);
  if (it == dials_.end()) return;
  const NodeKey key = it->second.key;
  dials_.erase(it);
  --stats_.dialling;
  if (ended.reason != CloseReason::kNone) ++stats_.dials_failed;
  const bool reached =
      ended.reason == CloseReason::kNone || ended.reason == CloseReason::kDuplicate;
  if (!reached || !directory_.FindKey(key)) {
    Fail(now, key);
  } else if (ended.reason == CloseReason::kNone) {
    ours_.insert_or_assign(key, now);
  }
  Hurry();
}

void OutboundPlan::OnPeerDisconnected(Time now, const NodeKey& key) {
  Hurry();
  const auto it = ours_.find(key);
  if (it == ours_.end()) return;
  const bool stayed = now - it->second >= kStayed;
  ours_.erase(it);
  if (stayed) waits_.erase(key);
  Fail(now, key);
}

void OutboundPlan::Fail(Time now, const NodeKey& key) {
  Wait& wait = waits_[key];
  wait.until =
      now + BackoffWithFullJitter(kStrangerWaitMin, kStrangerWaitMax, wait.failures, random_);
  ++wait.failures;
}

// ---- time -------------------------------------------------------------------------------------

std::optional<Time> OutboundPlan::NextDeadline() const {
  if (stopped_ || next_ == kTimeNever) return std::nullopt;
  return next_;
}

void OutboundPlan::OnDeadline(Time now, ActionList& out) {
  if (stopped_ || now < next_) return;
  const std::vector<OutboundPeer> peers = directory_.Outbound(now);
  const auto counted = static_cast<size_t>(std::count_if(
      peers.begin(), peers.end(), [now](const OutboundPeer& peer) { return Counts(now, peer); }));
  stats_.outbound = counted;
  LetGo(now, peers, counted, out);

  const PeerTargets& targets = directory_.targets();
  const size_t wanted = targets.closed ? 0 : targets.outbound;
  const size_t missing = wanted - std::min(wanted, counted);
  const size_t room = 2 * wanted - std::min(2 * wanted, peers.size());
  const size_t dials = std::min({missing, room, kStrangerDialsMax});
  bool any = false;  // something may change by time alone
  if (dials > dials_.size()) {
    const std::vector<Candidate> candidates = Candidates(now, peers);
    for (size_t i = 0; i < candidates.size() && dials_.size() < dials; ++i)
      Begin(candidates[i], out);
    any = directory_.book().peers().size() > directory_.List().size();
  }
  any = any || !peers.empty();
  next_ = any && wanted != 0 ? now + kOutboundEvery : kTimeNever;
  absl::erase_if(
      waits_, [this](const auto& entry) { return directory_.book().Find(entry.first) == nullptr; });
}

void OutboundPlan::LetGo(Time now, const std::vector<OutboundPeer>& peers, size_t counted,
                         ActionList& out) {
  const size_t wanted = directory_.targets().outbound;
  if (counted < wanted) return;
  std::vector<std::pair<double, PeerId>> counting;
  for (const OutboundPeer& peer : peers) {
    if (!ours_.contains(peer.key)) continue;
    if (!Counts(now, peer)) {
      directory_.Drop(peer.peer, "without a core", out);
    } else {
      counting.emplace_back(peer.worth, peer.peer);
    }
  }
  std::sort(counting.begin(), counting.end());
  const size_t over = std::min(counted - wanted, counting.size());
  for (size_t i = 0; i < over; ++i) directory_.Drop(counting[i].second, "outbound target", out);
}

// Best first (R3).
std::vector<OutboundPlan::Candidate> OutboundPlan::Candidates(
    Time now, const std::vector<OutboundPeer>& peers) const {
  absl::btree_set<Network> networks;
  for (const OutboundPeer& peer : peers) networks.insert(NetworkOf(peer.address));
  for (const auto& [dial, candidate] : dials_) networks.insert(NetworkOf(candidate.address));
  std::vector<Candidate> candidates;
  for (const auto& [key, known] : directory_.book().peers()) {
    if (known.state != PeerState::kLost || known.addresses.empty()) continue;
    if (now - known.last_seen < kLeaveAlone || directory_.bans().Contains(now, key)) continue;
    const auto wait = waits_.find(key);
    if (wait != waits_.end() && now < wait->second.until) continue;
    std::vector<KnownAddress> addresses = known.addresses;
    std::stable_sort(addresses.begin(), addresses.end(), [](const auto& a, const auto& b) {
      return a.last_success > b.last_success;  // nullopt is less than any time
    });
    const size_t tries = wait == waits_.end() ? 0 : wait->second.failures;
    const SocketAddress& address = addresses[tries % addresses.size()].address;
    candidates.push_back({key, address, known.Worth(now)});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.worth != b.worth ? a.worth > b.worth : a.key < b.key;
  });
  std::vector<Candidate> first;
  std::vector<Candidate> others;
  for (const Candidate& candidate : candidates) {
    const bool elsewhere = networks.insert(NetworkOf(candidate.address)).second;
    (elsewhere ? first : others).push_back(candidate);
  }
  first.insert(first.end(), others.begin(), others.end());
  return first;
}

void OutboundPlan::Begin(const Candidate& candidate, ActionList& out) {
  const DialId dial{next_dial_++};
  dials_.emplace(dial, candidate);
  ++stats_.dials;
  ++stats_.dialling;
  out.push_back(PeerCommand(Dial{dial, candidate.address, candidate.key}));
}

void OutboundPlan::CheckInvariants() const {
  OVERLAY_CHECK(dials_.size() <= kStrangerDialsMax);
  for (const auto& [key, since] : ours_) OVERLAY_CHECK(directory_.FindKey(key).has_value());
}

}  // namespace overlay::flood
