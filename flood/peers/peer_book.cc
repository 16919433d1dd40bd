#include "flood/peers/peer_book.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {
namespace {

// What weighs how much beside an envelope: there are some ten transactions to one, and a set is
// worth a round of consensus.
constexpr double kTransactionWorth = 0.1;
constexpr double kFetchWorth = 10;
// A tenth of a second of round trip, or a day of absence, costs half of what a peer did.
constexpr double kRoundTripCost = 10;
constexpr double kRoundTripCostMax = 5;
constexpr double kDaysCostMax = 30;

constexpr double kSecondsPerDay = 86400;

}  // namespace

double KnownPeer::Worth(Time now) const {
  const double did = first_envelopes.At(now) + kTransactionWorth * first_transactions.At(now) +
                     kFetchWorth * fetches_ok.At(now);
  double worth = std::log2(1 + did) - std::log2(1 + kFetchWorth * fetches_failed.At(now));
  worth -= std::min(kRoundTripCostMax, kRoundTripCost * rtt.At(now).value_or(0));
  if (state == PeerState::kConnected || now <= last_seen) return worth;
  return worth - std::min(kDaysCostMax, ToSeconds(now - last_seen) / kSecondsPerDay);
}

KnownPeer& PeerBook::Add(Time now, const NodeKey& key) {
  if (const auto it = peers_.find(key); it != peers_.end()) return it->second;
  Trim(now, kBookPeersMax - 1);
  KnownPeer& peer = peers_[key];
  peer.last_seen = now;
  return peer;
}

void PeerBook::Trim(Time now, size_t count_max) {
  if (peers_.size() <= count_max) return;
  std::vector<std::pair<double, NodeKey>> worths;
  for (const auto& [key, peer] : peers_) {
    if (peer.configured || peer.state != PeerState::kLost) continue;
    worths.emplace_back(peer.Worth(now), key);
  }
  const size_t over = std::min(peers_.size() - count_max, worths.size());
  const auto end = worths.begin() + static_cast<ptrdiff_t>(over);
  std::partial_sort(worths.begin(), end, worths.end());
  for (auto it = worths.begin(); it != end; ++it) peers_.erase(it->second);
}

KnownPeer* PeerBook::Find(const NodeKey& key) {
  const auto it = peers_.find(key);
  return it == peers_.end() ? nullptr : &it->second;
}

const KnownPeer* PeerBook::Find(const NodeKey& key) const {
  const auto it = peers_.find(key);
  return it == peers_.end() ? nullptr : &it->second;
}

std::optional<NodeKey> PeerBook::OwnerOf(const SocketAddress& address) const {
  for (const auto& [key, peer] : peers_) {
    for (const KnownAddress& known : peer.addresses) {
      if (known.address == address) return key;
    }
  }
  return std::nullopt;
}

void PeerBook::Learn(const NodeKey& key, const KnownAddress& address) {
  const auto is_it = [&](const KnownAddress& known) { return known.address == address.address; };
  if (const std::optional<NodeKey> owner = OwnerOf(address.address); owner && *owner != key) {
    std::erase_if(peers_.at(*owner).addresses, is_it);
  }
  std::vector<KnownAddress>& addresses = peers_.at(key).addresses;
  const auto known = std::find_if(addresses.begin(), addresses.end(), is_it);
  if (known != addresses.end()) {
    if (!address.last_success) return;  // says nothing that is not known
    known->source = address.source;
    known->last_success = std::max(known->last_success, address.last_success);
    return;
  }
  if (addresses.size() < kBookAddressesMax) {
    addresses.push_back(address);
    return;
  }
  // nullopt is less than any time.
  *std::min_element(addresses.begin(), addresses.end(),
                    [](const KnownAddress& a, const KnownAddress& b) {
                      return a.last_success < b.last_success;
                    }) = address;
}

void PeerBook::Unlearn(const SocketAddress& address) {
  const std::optional<NodeKey> owner = OwnerOf(address);
  if (!owner) return;
  std::erase_if(peers_.at(*owner).addresses,
                [&](const KnownAddress& known) { return known.address == address; });
}

std::optional<AddressSource> PeerBook::SourceOf(const SocketAddress& address) const {
  const std::optional<NodeKey> owner = OwnerOf(address);
  if (!owner) return std::nullopt;
  for (const KnownAddress& known : peers_.at(*owner).addresses) {
    if (known.address == address) return known.source;
  }
  return std::nullopt;
}

void PeerBook::CheckInvariants() const {
  size_t kept = 0;
  for (const auto& [key, peer] : peers_) {
    OVERLAY_CHECK(peer.addresses.size() <= kBookAddressesMax);
    kept += peer.configured || peer.state != PeerState::kLost;
  }
  OVERLAY_CHECK(peers_.size() <= std::max(kBookPeersMax, kept));
}

}  // namespace overlay::flood
