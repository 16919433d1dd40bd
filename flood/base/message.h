// flood/base/message.h
//
// The messages that peers exchange, decoded, as plain structs. wire_codec.h turns them into bytes
// and back; what the bytes look like is proto/overlay/v1/peer.proto and docs/protocol.md.
//
// A struct here satisfies the bounds named beside its members: the codec refuses to decode what
// does not.
#ifndef OVERLAY_FLOOD_BASE_MESSAGE_H_
#define OVERLAY_FLOOD_BASE_MESSAGE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/time.h"

namespace overlay {

// ---- control stream
// -------------------------------------------------------------------------------------

// The first frame each way on a connection; nothing else goes before both ends have the other's.
struct Hello {
  NetworkId network;
  uint32_t version_min = 0;  // protocol versions spoken, inclusive; min <= max
  uint32_t version_max = 0;
  uint64_t features = 0;  // bit set; unknown bits are ignored
  uint16_t listen_port = 0;
  uint64_t instance_nonce = 0;  // new at each start of a daemon
  std::string agent;            // "overlayd/0.1.0"; printable, 64 bytes at most; for people only
  friend bool operator==(const Hello&, const Hello&) = default;
};

struct SetAd {
  SetKey key;
  LedgerSeq slot;
  friend bool operator==(const SetAd&, const SetAd&) = default;
};

// "I can serve these": 1 to 64 entries. The protocol's HaveTxSet.
struct HaveSets {
  std::vector<SetAd> sets;
  friend bool operator==(const HaveSets&, const HaveSets&) = default;
};

// Asks for the envelopes of the slots from `from` on; 0 means all that is kept. Answered by one
// state stream with the same id.
struct GetScpState {
  uint64_t id = 0;
  LedgerSeq from;
  friend bool operator==(const GetScpState&, const GetScpState&) = default;
};

// Whether a core is attached on the sender's side.
struct CoreStatus {
  bool present = false;
  friend bool operator==(const CoreStatus&, const CoreStatus&) = default;
};

struct Ping {
  uint64_t id = 0;
  WallTime sent;
  friend bool operator==(const Ping&, const Ping&) = default;
};

struct Pong {
  uint64_t id = 0;
  WallTime ping_sent;  // as it stood in the Ping
  WallTime sent;       // the answerer's own wall clock
  friend bool operator==(const Pong&, const Pong&) = default;
};

// The sender is about to close: not an error.
struct Goaway {
  std::string reason;       // printable, 128 bytes at most
  Duration redial_after{};  // do not dial before; 0 to 10 minutes
  friend bool operator==(const Goaway&, const Goaway&) = default;
};

using ControlMessage = std::variant<Hello, HaveSets, GetScpState, CoreStatus, Ping, Pong, Goaway>;

// ---- tx control stream
// ------------------------------------------------------------------------------------

// Lanes of the mempool. More may come (4 at most); an unknown lane in an INV makes that entry
// ignorable.
enum class Lane : uint8_t { kClassic = 0, kSoroban = 1 };
inline constexpr size_t kLaneCount = 2;

struct InvEntry {
  TxHash hash;
  uint64_t fee_per_op = 0;  // inclusion fee bid / operations, rounded down; stroops
  Lane lane = Lane::kClassic;
  uint32_t size_bytes = 0;
  friend bool operator==(const InvEntry&, const InvEntry&) = default;
};

// Announces transactions: 1 to 1,000 entries. Decoded it may have none: all were of unknown lanes.
struct Inv {
  std::vector<InvEntry> entries;
  friend bool operator==(const Inv&, const Inv&) = default;
};

// "Do not announce to me what bids less": the whole filter each time, index = lane.
struct FeeFilter {
  std::array<uint64_t, kLaneCount> fee_per_op_min{};
  friend bool operator==(const FeeFilter&, const FeeFilter&) = default;
};

using TxControlMessage = std::variant<Inv, FeeFilter>;

// ---- tx bodies stream
// -------------------------------------------------------------------------------------

// Asks for bodies: 1 to 1,000 hashes, answered in this order.
struct GetData {
  std::vector<TxHash> hashes;
  friend bool operator==(const GetData&, const GetData&) = default;
};

// What an answer says of one hash. The numbers are on the wire.
enum class BodyOutcome : uint8_t {
  kBody = 1,
  kNotFound = 2,
  kLater = 3,  // held, but this answer is full: ask again
};

struct BodyAnswer {
  TxHash hash;
  BodyOutcome outcome = BodyOutcome::kNotFound;
  Bytes body;  // empty unless kBody
};

// ---- set stream
// -------------------------------------------------------------------------------------------

enum class SetEncoding : uint8_t { kIdentity = 0, kZstd = 1 };

struct SetRequest {
  SetKey key;
  bool accept_zstd = false;
  uint64_t offset =
      0;  // into the uncompressed bytes; with an offset the answer is never compressed
  friend bool operator==(const SetRequest&, const SetRequest&) = default;
};

struct SetHeader {
  bool found = false;
  SetEncoding encoding = SetEncoding::kIdentity;
  uint64_t total_bytes = 0;    // of the whole set, uncompressed
  uint64_t encoded_bytes = 0;  // that follow on this stream
  friend bool operator==(const SetHeader&, const SetHeader&) = default;
};

// ---- state stream
// -----------------------------------------------------------------------------------------

struct StateHeader {
  uint64_t id = 0;  // of the GetScpState
  bool refused = false;
  friend bool operator==(const StateHeader&, const StateHeader&) = default;
};

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_MESSAGE_H_
