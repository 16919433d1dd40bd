// transport/quic_events.h
//
// What QUIC connections report, in the order in which it happened.
//
// The caller owns a QuicEvents, passes it to each input, handles the list and calls Clear(). Spans
// in it are valid until then; nothing of it refers to the connection, which may be gone already.
//
// Order per connection
//   HandshakeCompleted, HandshakeConfirmed, any number of stream events, ConnectionClosed (exactly
//   once, last; also for a connection whose handshake never completed, and then alone).
//   Per stream: StreamOpened (those of the peer), StreamData in order of offset and without gaps,
//   StreamClosed last. A stream with a gap may never close: hang nothing on StreamClosed alone.
//
// Cost  one copy of received stream bytes into an arena that is reused; no allocation in the steady
//       state.
#ifndef OVERLAY_TRANSPORT_QUIC_EVENTS_H_
#define OVERLAY_TRANSPORT_QUIC_EVENTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/ids.h"
#include "transport/quic_types.h"

namespace overlay::transport {

// TLS is done and the peer has proved this key. A dialler must still expect to be refused.
struct HandshakeCompleted {
  NodeKey peer;
};
// Both ends agree that the handshake is over: application data may go, closing carries its code.
struct HandshakeConfirmed {};
// The peer opened it. Not told for streams that its higher-numbered sisters opened implicitly,
// until data.
struct StreamOpened {
  StreamId stream;
};
struct StreamData {
  StreamId stream;
  uint64_t offset;
  absl::Span<const uint8_t> bytes;  // may be empty when `fin`
  bool fin;
};
// The peer gave up sending (RESET_STREAM); nothing more comes on it.
struct StreamReset {
  StreamId stream;
  uint64_t code;
};
// The first `bytes` of what we sent on it are acknowledged. Does not tell of the FIN: StreamClosed
// does.
struct StreamAcked {
  StreamId stream;
  uint64_t bytes;
};
// Both directions are over. Without code all went well: a unidirectional stream of ours has arrived
// whole.
struct StreamClosed {
  StreamId stream;
  std::optional<uint64_t> code;
};
// More streams of a kind may be opened.
struct StreamsCredit {
  bool uni;
};
// More may be sent on a stream that was refused with kNoCredit.
struct StreamCredit {
  StreamId stream;
};
// The peer is seen at another address (its NAT gave it a new one), and it has been validated.
struct PathChanged {
  Path path;
};
struct ConnectionClosed {
  CloseInfo info;
};

struct QuicEvent {
  using What = std::variant<HandshakeCompleted, HandshakeConfirmed, StreamOpened, StreamData,
                            StreamReset, StreamAcked, StreamClosed, StreamsCredit, StreamCredit,
                            PathChanged, ConnectionClosed>;
  ConnectionId connection;
  What what;
};

class QuicEvents {
 public:
  const std::vector<QuicEvent>& list() const { return list_; }
  bool empty() const { return list_.empty(); }
  // Ends the validity of every span. Keeps one block of memory for reuse.
  void Clear();

  // For transport/ itself and for test doubles.
  void Add(ConnectionId connection, QuicEvent::What what) {
    list_.push_back({connection, std::move(what)});
  }
  // Copies `bytes` to where they stay put until Clear().
  absl::Span<const uint8_t> Keep(absl::Span<const uint8_t> bytes);

 private:
  struct Block {
    std::unique_ptr<uint8_t[]> data;
    size_t capacity = 0;
    size_t used = 0;
  };
  std::vector<QuicEvent> list_;
  std::vector<Block> blocks_;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_QUIC_EVENTS_H_
