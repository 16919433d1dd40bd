// transport/stream_source.h
//
// Who decides which stream's bytes go into the next packet. The session layer implements it; a
// connection asks it while it builds packets.
//
// Contract
//   - Next() names what should go next. It gives the same answer until OnPacked() or OnRefused()
//     was called: a packet may be finished without taking any of it, and then it is asked again.
//   - The chunk is a reference to the whole rest of what there is to send; the connection takes
//     what fits and keeps the reference until it is acknowledged or the stream is closed. Give
//     slices of one buffer: the second and later slices of a buffer that is still held cost
//     nothing.
//   - The source is never told of bulk beyond what is packetised at once, so that nothing waits
//     inside the connection in front of a later envelope.
//   - Inside these calls a source may use the connection's getters, OpenUni(), ResetSending() and
//     StopReading(), nothing else of it.
#ifndef OVERLAY_TRANSPORT_STREAM_SOURCE_H_
#define OVERLAY_TRANSPORT_STREAM_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "flood/base/bytes.h"
#include "transport/quic_types.h"

namespace overlay::transport {

struct StreamChunk {
  StreamId stream;
  Bytes data;        // may be empty only with `fin`
  bool fin = false;  // the stream ends after `data`
};

enum class WriteRefusal : uint8_t {
  // Stream or connection credit is used up: do not offer it again before StreamCredit or a read.
  kNoCredit,
  kGone,  // closed, reset by us, or the peer sent STOP_SENDING: never offer it again
};

class StreamSource {
 public:
  virtual ~StreamSource() = default;

  // nullopt: nothing (more) in this pass.
  virtual std::optional<StreamChunk> Next() = 0;
  // `bytes` of the chunk last given are in a packet; its FIN too if `fin`.
  virtual void OnPacked(StreamId stream, size_t bytes, bool fin) = 0;
  // The chunk last given cannot be sent. A source that offers it again at once ends the pass (and
  // is a bug).
  virtual void OnRefused(StreamId stream, WriteRefusal why) = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_STREAM_SOURCE_H_
