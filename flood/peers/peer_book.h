// flood/peers/peer_book.h
//
// What is remembered of each peer that was ever connected, by key: where it was found, when it was
// last here, and what it was good for.
//
// Rules
//   R1  At most kBookPeersMax peers. A new one displaces the one of least worth; one that is
//       connected, being dialled, or configured is never forgotten.
//       Why: a stranger who comes under ever new keys must not push out those who have served us.
//   R2  At most kBookAddressesMax addresses of a peer: a new one takes the place of the one whose
//       last success is longest ago, those without any first. An address is a peer's alone: the
//       last one found there has it.
//   R3  Worth counts what a peer was first with and what it served, on a scale of doublings; less
//       what it failed to serve, its round trip and the days since it was here.
//       Why: the fastest of many peers hears of everything first and the second fastest of nothing;
//       a plain count would call the second worthless.
//
// Bounds   R1, R2: some 800 bytes a peer.
// Cost     O(log n); O(n) to add a peer at the bound (some 150 us, beside a handshake of 800), and
//          to find by address.
// Time     argument only; may lie before the clock's start, for what an earlier process has seen.
// Threads  none.
// Not here a peer's state, which PeerDirectory alone changes; the file (peer_file.h).
#ifndef OVERLAY_FLOOD_PEERS_PEER_BOOK_H_
#define OVERLAY_FLOOD_PEERS_PEER_BOOK_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "flood/base/ids.h"
#include "flood/base/peer_io.h"
#include "flood/base/socket_address.h"
#include "flood/base/time.h"
#include "flood/peers/decayed.h"

namespace overlay::flood {

inline constexpr size_t kBookPeersMax = 1000;
inline constexpr size_t kBookAddressesMax = 8;
// What a peer did in the last working day; a restart leaves a trace of it.
inline constexpr Duration kBookHalfLife = std::chrono::hours(6);

// Who led us there.
enum class AddressSource : uint8_t {
  kFile,  // an entry of this source of the configured set, by name or not
  kCore,
  kOperator,
  kListens,  // the peer: it dialled us from there, and says that it listens on this port
};
inline constexpr AddressSource kAddressSources[] = {
    AddressSource::kFile, AddressSource::kCore, AddressSource::kOperator, AddressSource::kListens};

enum class PeerState : uint8_t {
  kLost,      // known, not configured, not here; dialled when peers are missing (outbound_plan.h)
  kWaiting,   // configured: it will be dialled again
  kDialling,  // at one of its addresses
  kConnected,
};

struct KnownAddress {
  SocketAddress address;
  AddressSource source = AddressSource::kListens;
  std::optional<Time> last_success;  // of a dial there
};

struct KnownPeer {
  PeerState state = PeerState::kLost;
  bool configured = false;
  std::vector<KnownAddress> addresses;  // R2
  Time last_seen{};                     // while connected: when that began
  uint32_t connected_total = 0;
  std::optional<CloseReason> lost_reason;  // of its last connection or dial
  DecayedMean rtt{kBookHalfLife};          // seconds
  Decayed bytes_sent{kBookHalfLife};       // of connections that have ended
  Decayed bytes_received{kBookHalfLife};
  Decayed first_envelopes{kBookHalfLife};  // that no other peer had sent before
  Decayed first_transactions{kBookHalfLife};
  Decayed fetches_ok{kBookHalfLife};
  Decayed fetches_failed{kBookHalfLife};

  double Worth(Time now) const;  // R3
};

class PeerBook {
 public:
  using Peers = std::map<NodeKey, KnownPeer>;  // its nodes stay where they are

  // The entry of this peer, made when there is none (R1). Valid until it is forgotten.
  KnownPeer& Add(Time now, const NodeKey& key);
  KnownPeer* Find(const NodeKey& key);
  const KnownPeer* Find(const NodeKey& key) const;
  // Whom this address leads to.
  std::optional<NodeKey> OwnerOf(const SocketAddress& address) const;
  // R2. A success is one of a dial, at `now`.
  void Learn(const NodeKey& key, const KnownAddress& address);
  // It leads to nobody any more.
  void Unlearn(const SocketAddress& address);
  // Who led us there; nullopt: it leads to nobody.
  std::optional<AddressSource> SourceOf(const SocketAddress& address) const;

  // R1. Call when peers have lost what kept them.
  void Trim(Time now) { Trim(now, kBookPeersMax); }

  const Peers& peers() const { return peers_; }
  void CheckInvariants() const;

 private:
  void Trim(Time now, size_t count_max);

  Peers peers_;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_PEER_BOOK_H_
