// flood/peers/peer_file.h
//
// The peer book and the bans as text, so that they survive a restart. Pure: who reads and writes
// the file is server/state_file.h.
//
//   overlay peers 2
//   saved 1790000000
//   peer G... seen=1789999990 connections=3 lost=48 rtt_us=20500 sent=9 received=9 envelopes=7
//       transactions=0 fetched=1 failed=0 at=10.0.0.1:11625,file,1789999000 at=[::1]:5,listens,0
//   ban G... by=operator since=1789999990 until=1790086390 reason=floods us
//   sha256 <64 hex digits: of all lines before>
//
// (a peer is one line; the bans stand after the peers). Times are seconds of the wall clock since
// 1970: the clock of a process does not outlive it. Figures are as of `saved`; lost, rtt_us and an
// address's success are 0 for none, as is the end of a ban without one.
//
// Rules
//   R1  Decoding takes what encoding gives and nothing else: another version, a line that is cut,
//       changed, repeated or added, a number beyond its bounds: INVALID_ARGUMENT naming the line,
//       never a part of the file.
//       Why: half a book looks like a book.
//   R2  A time that lies ahead of the clock is taken for now, the end of a ban aside. Why: the
//       clock may have been set back.
//
// Bounds   kPeerFileBytesMax; kBookPeersMax peers, kBookAddressesMax addresses of each;
//          kBansMax bans.
// Cost     O(bytes): some 2 ms for a full book. Threads: none.
#ifndef OVERLAY_FLOOD_PEERS_PEER_FILE_H_
#define OVERLAY_FLOOD_PEERS_PEER_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/ids.h"
#include "flood/base/peer_io.h"
#include "flood/base/socket_address.h"
#include "flood/base/time.h"
#include "flood/peers/ban_list.h"
#include "flood/peers/peer_book.h"

namespace overlay::flood {

inline constexpr size_t kPeerFileBytesMax = 4 * 1024 * 1024;

struct PeerFile {
  struct Address {
    SocketAddress address;
    AddressSource source = AddressSource::kListens;
    int64_t last_success_s = 0;
    friend bool operator==(const Address&, const Address&) = default;
  };
  struct Peer {
    NodeKey key;
    int64_t last_seen_s = 0;
    uint64_t connected_total = 0;
    uint64_t lost_reason = 0;  // a CloseReason, perhaps of a later version
    uint64_t rtt_us = 0;
    uint64_t bytes_sent = 0;
    uint64_t bytes_received = 0;
    uint64_t first_envelopes = 0;
    uint64_t first_transactions = 0;
    uint64_t fetches_ok = 0;
    uint64_t fetches_failed = 0;
    std::vector<Address> addresses;
    friend bool operator==(const Peer&, const Peer&) = default;
  };
  struct Ban {
    NodeKey key;
    BannedBy by = BannedBy::kOperator;
    int64_t since_s = 0;
    int64_t until_s = 0;
    std::string reason;
    friend bool operator==(const Ban&, const Ban&) = default;
  };
  int64_t saved_s = 0;
  std::vector<Peer> peers;  // by key
  std::vector<Ban> bans;    // by key
  friend bool operator==(const PeerFile&, const PeerFile&) = default;
};

std::string EncodePeerFile(const PeerFile& file);
absl::StatusOr<PeerFile> DecodePeerFile(std::string_view text);  // R1

// What the book holds, at most kBookPeersMax of it, and the bans that are in force.
PeerFile ToPeerFile(const PeerBook& book, const BanList& bans, Time now, WallTime wall);
// Adds all that the file has to a book, as lost, and to a list of bans, but for those that are over
// (R2). Peers that the book has already are left alone.
void AddPeerFile(const PeerFile& file, Time now, WallTime wall, PeerBook& book, BanList& bans);

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_PEERS_PEER_FILE_H_
