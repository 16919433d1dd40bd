// flood/base/peer_io.h
//
// The whole border between the protocol rules (flood/) and the peers' connections (transport/):
// PeerEvent is what transport tells flood, PeerCommand what flood asks of transport. Both are plain
// values, so neither folder knows the other and the daemon and the simulator join them with the
// same few lines.
//
// Contract
//   P1  A logical peer (PeerId) begins with one PeerConnected and ends with one PeerDisconnected,
//       whatever happens to the connections below it; no event of a peer comes before the one or
//       after the other.
//   P2  An envelope handed over with SendEnvelope ends in exactly one EnvelopeDone, or in
//       PeerDisconnected. If the connection is replaced under a living peer, what was not
//       acknowledged is sent again on the new.
//   P3  A request (bodies or set) ends in exactly one RequestEnded, or in PeerDisconnected; so does
//       each request of a peer that was announced with BodiesRequested or SetRequested
//       (AnswerDone).
//   P4  Commands for a peer or request that has gone are ignored: they crossed with its end.
//   P5  Messages obey the bounds of message.h; hashes are not checked here (flood does).
// Threads: none; values belong to the loop thread.
#ifndef OVERLAY_FLOOD_BASE_PEER_IO_H_
#define OVERLAY_FLOOD_BASE_PEER_IO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/base/ids.h"
#include "flood/base/message.h"
#include "flood/base/socket_address.h"
#include "flood/base/time.h"

namespace overlay {

// Names an envelope handed to a peer's queue; chosen by flood, unique per peer while not done.
struct EnvelopeToken {
  uint64_t value = 0;
  friend auto operator<=>(const EnvelopeToken&, const EnvelopeToken&) = default;
};

// Names one request for bodies or a set. Those that we make are numbered by flood (unique per
// process); those that peers make by transport (unique per process). The two ranges are separate
// name spaces.
struct RequestId {
  uint64_t value = 0;
  friend auto operator<=>(const RequestId&, const RequestId&) = default;
  template <class H>
  friend H AbslHashValue(H h, RequestId id) {
    return H::combine(std::move(h), id.value);
  }
};

struct DialId {
  uint64_t value = 0;
  friend auto operator<=>(const DialId&, const DialId&) = default;
};

// Why a connection ended. Below kLocalFirst: QUIC application close codes, on the wire, never
// renumbered (docs/protocol.md has the table). From kLocalFirst on: what this end saw, never sent.
enum class CloseReason : uint16_t {
  kNone = 0x00,          // closed in good order
  kGoaway = 0x01,        // shutting down; a Goaway frame said when to redial
  kWrongNetwork = 0x10,  // Hello: another network id
  kWrongVersion = 0x11,  // Hello: no protocol version in common
  kWrongKey = 0x12,      // the dialled peer did not show the pinned key
  kSmallWindows = 0x13,  // transport parameters below what SCP needs
  kSelf = 0x14,          // dialled ourselves: same instance nonce
  kDuplicate = 0x15,     // another connection to the same peer is kept
  kReplaced = 0x16,      // a newer instance of the peer has connected
  kKeyShared = 0x17,     // two living daemons show one key
  kNotAdmitted = 0x18,   // inbound limit, or a closed list
  kBanned = 0x19,
  kDisconnectRequested = 0x1a,  // by the operator or the core
  kHelloTimeout = 0x1b,
  kMalformed = 0x20,  // a frame that does not decode
  kTooLarge = 0x21,   // a frame or message above its limit
  kProtocol = 0x22,   // a frame or stream where none may be
  kFlood = 0x23,      // above a rate or a budget
  kBadScore = 0x24,
  kStalled = 0x30,  // did not read for 10 s
  kInternal = 0x3f,
  kLocalFirst = 0x100,
  kIdleTimeout = 0x100,
  kHandshakeTimeout = 0x101,
  kHandshakeFailed = 0x102,  // TLS alert or transport error before both Hellos
  kStatelessReset = 0x103,
  kTransportError = 0x104,
  kUnreachable = 0x105,  // no answer to the dial, or the kernel says so
  kUnknownCode = 0x106,  // the peer closed with a code that we do not know
};
std::string_view CloseReasonName(CloseReason reason);

// Stream error codes (RESET_STREAM, STOP_SENDING), on the wire.
enum class StreamCode : uint16_t {
  kNone = 0x00,
  kUnknownKind = 0x01,
  kCancelled = 0x02,
  kTooLarge = 0x03,
  kRefused = 0x04,
  kIncompleteTooLong = 0x05,
};

// Small breaches that cost score, not the connection. Counted by kind.
enum class Offence : uint8_t {
  kOversizeEnvelope = 0,
  kIncompleteEnvelopes,  // over the budget, or 10 s without progress
  kWrongHash,            // a body or a whole set that is not what was asked for
  kUnsolicited,
  kMalformedPayload,      // an envelope or transaction whose XDR cannot be skimmed
  kOverEager,             // more requests than the rules allow
  kInvalidEnvelope,       // the core's verdict
  kMalformedTransaction,  // the core's verdict
};
inline constexpr size_t kOffenceCount = 8;
std::string_view OffenceName(Offence offence);

struct PeerInfo {
  NodeKey key;
  SocketAddress address;  // remote, of the connection in use
  bool inbound = false;   // who dialled the connection in use
  uint16_t listen_port = 0;
  uint64_t features = 0;
  uint64_t instance_nonce = 0;
  std::string agent;
};

// ---- transport -> flood
// -----------------------------------------------------------------------------------

struct PeerConnected {
  PeerId peer;
  PeerInfo info;
};
struct PeerDisconnected {
  PeerId peer;
  CloseReason reason = CloseReason::kNone;
  bool by_peer = false;  // who ended it
  std::string detail;
  Duration redial_after{};  // from its Goaway, else 0
  // Of all its connections: UDP payload, everything included.
  uint64_t bytes_sent = 0;
  uint64_t bytes_received = 0;
  Duration rtt{};  // smoothed, of the connection in use; 0: no sample
};
// A dial ends in exactly one of these: it became a peer, joined one that was there, or failed.
struct DialEnded {
  DialId dial;
  SocketAddress address;
  CloseReason reason =
      CloseReason::kNone;      // kNone: it is a peer now (or joined it as a second connection)
  std::optional<NodeKey> key;  // of who answered, where known
  std::string detail;
};
struct EnvelopeReceived {
  PeerId peer;
  Bytes envelope;  // 1 byte to the envelope limit
};
struct EnvelopeDone {
  enum class Outcome : uint8_t {
    kAcknowledged,
    kCancelled,
    kDropped
  };  // kDropped: the peer's queue was full
  PeerId peer;
  EnvelopeToken token;
  Outcome outcome = Outcome::kAcknowledged;
};
// Edge-triggered: whether envelopes for this peer wait for credit or window.
struct PeerBlocked {
  PeerId peer;
  bool blocked = false;
};
// Edge-triggered: announcements (SendTxControl) wait because the peer is slow, or has paused them;
// or few wait again. More of them meanwhile would close the connection: the queue is bounded.
struct InvBlocked {
  PeerId peer;
  bool blocked = false;
};
// The smoothed round trip to the peer: once it is up, then when it has changed noticeably.
struct PeerPath {
  PeerId peer;
  Duration rtt{};
};
// It goes on from another address: a NAT that forgot, a machine that moved. The new one is
// validated.
struct PeerMoved {
  PeerId peer;
  SocketAddress address;
};
struct ControlReceived {
  PeerId peer;
  ControlMessage
      message;  // HaveSets, GetScpState or CoreStatus; transport keeps the rest to itself
};
struct TxControlReceived {
  PeerId peer;
  TxControlMessage message;
};
// A state answer in parts, in stream order: any number of kEnvelope, then one kEnd; or one
// kRefused; or kBroken when the stream died.
struct StateReceived {
  enum class Part : uint8_t { kEnvelope, kEnd, kRefused, kBroken };
  PeerId peer;
  uint64_t id = 0;
  Part part = Part::kEnvelope;
  Bytes envelope;
};
struct BodiesRequested {
  PeerId peer;
  RequestId request;
  GetData data;
};
struct BodyReceived {
  PeerId peer;
  RequestId request;
  BodyAnswer answer;
};
struct SetRequested {
  PeerId peer;
  RequestId request;
  SetRequest set;
};
struct SetHeaderReceived {
  PeerId peer;
  RequestId request;
  SetHeader header;
};
struct SetDataReceived {
  PeerId peer;
  RequestId request;
  Bytes data;  // the next bytes of the encoded set
};
// Our request is over: complete (the stream ended where it should), or not.
struct RequestEnded {
  PeerId peer;
  RequestId request;
  bool complete = false;
};
// The peer's request is over: its answer has been acknowledged, or the stream died.
struct AnswerDone {
  PeerId peer;
  RequestId request;
};
struct PeerOffence {
  PeerId peer;
  Offence offence = Offence::kUnsolicited;
};
// Edge-triggered: the connection in use has been silent for 5 s with data unacknowledged; or it is
// not any more.
struct PeerSilent {
  PeerId peer;
  bool silent = false;
};

using PeerEvent =
    std::variant<PeerConnected, PeerDisconnected, DialEnded, EnvelopeReceived, EnvelopeDone,
                 PeerBlocked, InvBlocked, ControlReceived, TxControlReceived, StateReceived,
                 BodiesRequested, BodyReceived, SetRequested, SetHeaderReceived, SetDataReceived,
                 RequestEnded, AnswerDone, PeerOffence, PeerPath, PeerMoved, PeerSilent>;

// ---- flood -> transport
// -----------------------------------------------------------------------------------

// Queues an envelope for one peer (class 0). At the bound (Limits::scp_queue_bytes_max) the lowest
// slot's goes, with kDropped.
struct SendEnvelope {
  PeerId peer;
  EnvelopeToken token;
  LedgerSeq slot;
  Bytes envelope;
};
// Takes it back if not a byte has been written (EnvelopeDone kCancelled); else has no effect.
struct CancelEnvelope {
  PeerId peer;
  EnvelopeToken token;
};
struct SendControl {
  PeerId peer;
  ControlMessage message;  // HaveSets, GetScpState, CoreStatus
};
struct SendTxControl {
  PeerId peer;
  TxControlMessage message;
};
// While paused, the peer's tx control stream gets no more credit and what came is not delivered.
struct PauseInv {
  PeerId peer;
  bool paused = false;
};
// Answers a GetScpState on one state stream. More parts with the same header.id may follow while
// `last` is false (the core's part, within Limits::scp_state_core_timeout); the last one ends the
// stream and may be empty.
struct SendState {
  PeerId peer;
  StateHeader header;
  std::vector<Bytes> envelopes;
  bool last = true;
};
struct RequestBodies {
  PeerId peer;
  RequestId request;
  GetData data;
};
// Answers a BodiesRequested, in its order.
struct AnswerBodies {
  PeerId peer;
  RequestId request;
  std::vector<BodyAnswer> answers;
};
struct RequestSet {
  PeerId peer;
  RequestId request;
  SetRequest set;
};
// Answers a SetRequested. `encoded` is shared, not copied; written as class 2.
struct AnswerSet {
  PeerId peer;
  RequestId request;
  SetHeader header;
  Bytes encoded;  // header.encoded_bytes of it; empty if not found
};
// Ends a request of ours, or refuses a peer's, with StreamCode kCancelled. RequestEnded /
// AnswerDone follow.
struct CancelRequest {
  PeerId peer;
  RequestId request;
};
struct DropPeer {
  PeerId peer;
  CloseReason reason = CloseReason::kNone;
  std::string detail;
};
struct Dial {
  DialId dial;
  SocketAddress address;
  std::optional<NodeKey> pinned_key;
};
// Where the configured peers are, all of them: replaces those told before. New connections from
// there find places that strangers never hold. Ports do not count.
struct ConfiguredAddresses {
  std::vector<SocketAddress> addresses;
};

// How many peers that dialled us there may be before another is refused unheard. More than flood
// wants, for it decides whom to keep.
struct InboundLimit {
  size_t count = 0;
};

using PeerCommand = std::variant<SendEnvelope, CancelEnvelope, SendControl, SendTxControl, PauseInv,
                                 SendState, RequestBodies, AnswerBodies, RequestSet, AnswerSet,
                                 CancelRequest, DropPeer, Dial, ConfiguredAddresses, InboundLimit>;

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_PEER_IO_H_
