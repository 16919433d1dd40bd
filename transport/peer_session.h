// transport/peer_session.h
//
// The protocol on one connection, from the end of the handshake to the close: Hello, streams and
// their kinds, frames, requests and answers, credit. It turns QUIC's events into PeerEvents and
// PeerCommands into streams. Which connection of a peer is used is peer_transport.h's matter.
//
// Rules
//   R1  Hello is the first frame each way, sent once the handshake is confirmed (dialler) or
//       completed (acceptor); nothing else is sent before the other's has come. What a peer sent
//       after its Hello may arrive before it: up to 1 MiB of that is held, more closes.
//   R2  One control and one tx control stream each way, open to the end: a second one, an end or a
//       reset is an error. Why: they have state; losing one silently would split the two ends'
//       views.
//   R3  Stream kinds that are ignorable are stopped with unknown_kind, and so is gossip, which we
//       do not offer; other unknown kinds close as malformed.
//   R4  Connection credit of an envelope is returned when it is complete or refused, of everything
//       else on receipt, stream counts when streams close. A paused tx control stream returns none,
//       and what has come is not handed on.
//   R5  At most 64 requests of ours are open, 48 of them for bodies, and no more than the peer's
//       credit allows; others wait, 1,024 at most; over that they end at once. A peer's requests
//       have the same bounds, and over them are refused as an offence.
//   R6  Bodies that are not whole hold 4 MiB of a peer at most; the answer that would exceed it is
//       stopped. Why: 48 requests, each for a body of the largest kind, are 12 MiB.
//   R7  A state answer is read only if it was asked for, once.
//   R8  Class 0 or 1 kept back by the peer's credit for 10 s closes as stalled; so does a control
//       stream that overflows.
//   R9  Pings are answered twice a second at most. Ours go a second after the peer is up, then
//       after twice as long each time, up to the interval of the options. Why: a clock that is off
//       is known within seconds, and for that nobody is pinged often.
//   R10 The smoothed round trip is told when the peer is up, then when it is more than a quarter
//       and more than 1 ms away from what was told, once a second at most. Why: time-outs follow
//       it; each packet changes it a little.
//   R11 A peer that goes on from another address, validated by QUIC, stays connected; the move is
//       told and counted.
//
// States   handshaking -> greeting (Hello sent) -> greeted (theirs accepted) -> peer -> closed
//
// Bounds   what InboundEnvelopes, SessionWriter, FrameReader and the answer readers bound; 1 MiB of
//          early data; the credit that we grant.
// Memory   an idle session holds some 2 kB (its connection 50 kB): no buffer outlives its use.
// Time     argument only.
// Threads  none: owned by the loop thread.
// Not here logical peers, dialling, hashes, meaning of messages.
#ifndef OVERLAY_TRANSPORT_PEER_SESSION_H_
#define OVERLAY_TRANSPORT_PEER_SESSION_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "flood/base/peer_io.h"
#include "flood/base/time.h"
#include "flood/base/wire_codec.h"
#include "transport/answer_reader.h"
#include "transport/bulk_window.h"
#include "transport/clock_offset.h"
#include "transport/inbound_envelopes.h"
#include "transport/quic_endpoint.h"
#include "transport/session_writer.h"
#include "transport/transport_types.h"

namespace overlay::transport {

inline constexpr size_t kEarlyBytesMax = 1 * kMiB;          // R1
inline constexpr size_t kRequestsOpenMax = 64;              // R5
inline constexpr size_t kBodiesRequestsOpenMax = 48;        // R5
inline constexpr size_t kRequestsWaitingMax = 1024;         // R5
inline constexpr size_t kPartialBodiesBytesMax = 4 * kMiB;  // R6
// What a state answer may hold: all that a peer may make us keep, twice.
inline constexpr size_t kStateAnswerBytesMax = 8 * kMiB;
inline constexpr size_t kStateAsksRememberedMax = 16;
inline constexpr Duration kPingAnswerInterval = std::chrono::milliseconds(500);  // R9
inline constexpr Duration kPathToldInterval = std::chrono::seconds(1);           // R10
inline constexpr Duration kPathChangeMin = std::chrono::milliseconds(1);         // R10

// What all sessions of one transport share.
struct SessionEnv {
  QuicEndpoint& endpoint;
  QuicEvents& quic_events;
  std::vector<PeerEvent>& out;
  TransportStats& stats;
  const TransportOptions& options;
  NodeKey own_key;
  uint64_t next_request = 1;  // of those that peers make
  WallTime wall;              // as of wall_at
  Time wall_at;

  WallTime WallAt(Time now) const { return {wall.unix_us + ToMicros(now - wall_at)}; }
};

// What the sessions of one logical peer share.
struct PeerShared {
  PeerId id;
  std::vector<uint64_t> state_asked;  // ids of GetScpState without an answer yet
  std::optional<Goaway> goaway;       // the peer's
  bool inv_paused = false;
  ClockOffset clock;
  std::optional<Duration> rtt_told;  // R10
  Time rtt_told_at;
};

class PeerSession {
 public:
  enum class Phase : uint8_t { kHandshaking, kGreeting, kGreeted, kPeer, kClosed };
  struct Origin {
    bool dialled = false;
    std::optional<DialId> dial;  // of the owner; none for rival dials and accepted ones
    SocketAddress address;       // dialled
    std::optional<NodeKey> pinned;
    std::optional<PeerId> rival_of;
  };

  PeerSession(SessionEnv& env, ConnectionId connection, Origin origin, Time now);
  ~PeerSession();
  PeerSession(const PeerSession&) = delete;
  PeerSession& operator=(const PeerSession&) = delete;

  // ---- inputs
  // All but ConnectionClosed.
  void OnEvent(Time now, const QuicEvent::What& what);
  void OnDeadline(Time now);
  std::optional<Time> NextDeadline() const;
  // kGreeted -> kPeer: what was held is handled now.
  void Admit(Time now, PeerShared& shared);
  // The connection has ended: requests of both ends are ended, where the peer has another one.
  // Envelopes are left to take.
  void OnConnectionClosed(bool peer_lives);

  // ---- commands, as a peer
  void SendEnvelope(Time now, EnvelopeToken token, LedgerSeq slot, Bytes envelope);
  bool CancelEnvelope(EnvelopeToken token);
  void SendGoaway(Time now, const Goaway& goaway);
  void SendControl(Time now, const ControlMessage& message);
  void SendTxControl(Time now, const TxControlMessage& message);
  // As another connection of the peer had it; see SessionWriter R6.
  void Resend(Time now, SessionWriter::Unacknowledged unacknowledged);
  void SendState(const StateHeader& header, const std::vector<Bytes>& envelopes);
  void Request(RequestId request, std::variant<GetData, SetRequest> what);
  // False: no such request here.
  bool AnswerBodies(RequestId request, const std::vector<BodyAnswer>& answers);
  bool AnswerSet(RequestId request, const SetHeader& header, Bytes encoded);
  // Requests of ours and of the peer are different name spaces: the first that has it.
  bool CancelRequest(RequestId request);
  void OnInvPauseChanged(Time now);
  void Ping(Time now);
  void Close(Time now, CloseReason reason, std::string_view detail);

  // ---- writing
  // Takes the figures of what was read since the last turn.
  void BeginTurn(Time now);
  // One pass; returns the bytes of bulk in it.
  uint64_t Write(Time now, DatagramSink& sink, SendClass last, WriteGoal goal,
                 uint64_t bulk_bytes_max);
  bool wants_write(SendClass send_class) const { return writer_.HasWaiting(send_class); }
  bool wants_bulk() const {
    return (wants_write(SendClass::kSets) || wants_write(SendClass::kBodies)) &&
           !writer_.bulk_out_of_credit();
  }
  // Bulk waits that nothing but the bound of the turn kept back.
  bool more_bulk() const;

  // ---- getters
  Phase phase() const { return phase_; }
  ConnectionId connection() const { return connection_; }
  const Origin& origin() const { return origin_; }
  const Hello& hello() const { return hello_; }  // theirs; from kGreeted on
  const NodeKey& key() const { return key_; }
  const SocketAddress& remote() const { return remote_; }
  uint64_t order() const { return order_; }
  void set_order(uint64_t order) { order_ = order; }
  bool was_greeted() const { return greeted_; }
  // Answered a Ping that was sent at or after `since`.
  bool answered_since(Time since) const { return pong_for_sent_at_ && *pong_for_sent_at_ >= since; }
  // When the oldest unanswered Ping went; nullopt: none.
  std::optional<Time> unanswered_ping_at() const { return ping_sent_at_; }
  // Silent since, with data outstanding; nullopt: not so.
  std::optional<Time> silent_since() const;
  // No requests or envelopes on the way.
  bool quiet() const;
  const SessionWriter& writer() const { return writer_; }
  SessionWriter::Unacknowledged TakeUnacknowledged() { return writer_.TakeUnacknowledged(); }
  const ClassCounts& sent() const { return sent_; }
  const ClassCounts& received() const { return received_; }
  void CheckInvariants() const;

 private:
  enum class InKind : uint8_t {
    kScp,
    kControl,
    kTxControl,
    kState,
    kBodiesAsked,
    kSetAsked,
    kStopped
  };
  struct InStream {
    InKind kind = InKind::kScp;
    uint64_t held_credit_bytes = 0;                          // kScp
    std::unique_ptr<FrameReader> frames;                     // control, tx control, requests
    std::unique_ptr<StateReader> state;                      // kState
    uint64_t state_id = 0;                                   // kState, once the header has come
    std::optional<std::variant<GetData, SetRequest>> asked;  // a request's frame, until its end
  };
  struct Early {
    StreamId stream = -1;
    std::variant<std::pair<Bytes, bool>, StreamReset, StreamClosed> what;  // data and fin
  };
  struct PeerRequest {
    StreamId stream = -1;
    bool for_bodies = false;
    std::optional<LaneStream> lane;  // once answered
  };
  struct OwnRequest {
    RequestId id;
    StreamId stream = -1;
    std::variant<BodiesReader, SetReader> reader;
  };

  QuicConnection* conn() { return env_.endpoint.Mutable(connection_); }
  template <class Event>
  void Emit(Event event) {
    event.peer = shared_->id;
    env_.out.push_back(std::move(event));
  }
  void CloseFor(Time now, const absl::Status& status);
  // What the writer has to report.
  void AfterWriter();
  void NoteFlight(Time now, const ConnectionStats& stats);
  void TellPath(Time now, Duration rtt);
  void OnMoved(const SocketAddress& remote);
  void CountReceived(SendClass send_class, size_t bytes, uint64_t messages);

  // peer_session.cc
  void Greet(Time now);
  void OnHello(Time now, const Hello& hello);
  bool SendOwnFrame(Time now, const ControlMessage& message, bool resend);
  void OnPong(Time now, const Pong& pong);

  // session_inbound.cc
  void OnStreamOpened(Time now, StreamId stream);
  void OnStreamData(Time now, StreamId stream, absl::Span<const uint8_t> bytes, bool fin);
  void OnStreamReset(Time now, const StreamReset& reset);
  void OnStreamClosed(Time now, const StreamClosed& closed);
  bool HoldIfEarly(Time now, const StreamData& data);
  void BeginStream(Time now, StreamId stream, uint8_t kind, InStream& state);
  void OnEnvelopeData(Time now, StreamId stream, absl::Span<const uint8_t> bytes, bool fin);
  void OnControlData(Time now, StreamId stream, absl::Span<const uint8_t> bytes, bool fin);
  void HandleControl(Time now, absl::Span<const uint8_t> bytes);
  void HandleControlMessage(Time now, ControlMessage message);
  void OnTxControlData(Time now, StreamId stream, absl::Span<const uint8_t> bytes, bool fin);
  void HandleTxControl(Time now, absl::Span<const uint8_t> bytes);
  void OnStateData(Time now, StreamId stream, absl::Span<const uint8_t> bytes, bool fin);
  void EndState(StreamId stream, StateReceived::Part part);
  void StopUnknown(StreamId stream);
  // STOP_SENDING to an incomplete envelope, and the offence.
  void RefuseEnvelope(Time now, StreamId stream, StreamCode code, Offence offence);
  void ReturnCredit(StreamId stream, size_t bytes);

  // session_requests.cc
  void PumpRequests();
  bool OpenRequest(RequestId request, const std::variant<GetData, SetRequest>& what);
  size_t OpenBodiesCount() const;
  void OnAnswerData(StreamId stream, absl::Span<const uint8_t> bytes, bool fin);
  void EndOwnRequest(StreamId stream, bool complete, std::optional<StreamCode> stop);
  void OnAskedData(Time now, StreamId stream, absl::Span<const uint8_t> bytes, bool fin);
  void Announce(StreamId stream, std::variant<GetData, SetRequest> asked);
  void RefuseAsked(StreamId stream, StreamCode code);
  void EndAsked(RequestId request);
  bool SendAnswer(PeerRequest& request, SendClass send_class, std::vector<Bytes> chunks);

  SessionEnv& env_;
  const ConnectionId connection_;
  const Origin origin_;
  PeerShared* shared_ = nullptr;  // from kPeer on
  Phase phase_ = Phase::kHandshaking;
  bool greeted_ = false;
  uint64_t order_ = 0;
  NodeKey key_;
  Hello hello_;
  SocketAddress remote_;
  Time hello_deadline_;

  ClassCounts sent_;
  ClassCounts received_;
  SessionWriter writer_;
  BulkWindow bulk_window_;
  uint64_t bulk_left_ = 0;
  Time turn_at_;
  bool held_up_ = false;  // in this turn: by the congestion window, pacing or the sink
  Time sampled_at_;       // last_received() then
  std::optional<Time> outstanding_since_;  // something is in flight

  InboundEnvelopes inbound_;
  absl::flat_hash_map<StreamId, InStream> in_streams_;  // of the peer, whose kind is known
  StreamId control_in_ = -1;
  StreamId tx_control_in_ = -1;
  std::vector<Early> early_;
  size_t early_bytes_ = 0;
  std::vector<uint8_t> control_backlog_;     // behind Hello, until kPeer
  std::vector<uint8_t> tx_control_backlog_;  // while paused; its credit is kept too

  std::map<RequestId, PeerRequest> asked_;  // of the peer, handed to the owner
  absl::flat_hash_map<StreamId, RequestId> asked_by_stream_;
  size_t asked_bodies_count_ = 0;  // streams of either state, begun or handed over
  size_t asked_sets_count_ = 0;
  absl::flat_hash_map<StreamId, OwnRequest> own_;
  std::map<RequestId, StreamId> own_by_id_;
  std::deque<std::pair<RequestId, std::variant<GetData, SetRequest>>> waiting_;
  size_t partial_bodies_bytes_ = 0;

  uint64_t next_ping_ = 1;
  uint64_t pending_ping_ = 0;             // its id
  std::optional<Time> ping_sent_at_;      // unanswered
  std::optional<Time> pong_for_sent_at_;  // when the Ping went that was answered last
  Time next_ping_at_ = kTimeNever;
  Duration ping_pause_{};
  Time ping_answered_at_ = Time::min();
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_PEER_SESSION_H_
