// transport/datagram.h
//
// What travels between the QUIC objects and a UDP socket, and the door through which it leaves.
//
// DatagramSink: where packets are built. A connection asks for Buffer(), writes datagrams into it
// and hands them over with Commit(), so that a packet is never copied on its way to the kernel. The
// kernel socket (udp_socket.h), the simulator and the tests each have one.
//
// Rules
//   R1  Buffer() is empty while the sink is blocked; then nothing may be built.
//       Why: a packet that was built counts as sent for congestion control and loss detection.
//   R2  What was committed is kept and leaves first, whatever happens to the socket in between.
//   R3  A batch has one path, and datagrams of one size of which only the last may be shorter.
//       Why: that is what UDP_SEGMENT can send in one call.
//
// Threads  none: owned by the loop thread.
#ifndef OVERLAY_TRANSPORT_DATAGRAM_H_
#define OVERLAY_TRANSPORT_DATAGRAM_H_

#include <compare>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "flood/base/socket_address.h"

namespace overlay::transport {

// `local` is unspecified (all zero) for connections that we dialled: the kernel chooses it. For
// accepted ones it is the address that the peer wrote to, and answers leave from it.
struct Path {
  SocketAddress local;
  SocketAddress remote;

  friend auto operator<=>(const Path&, const Path&) = default;
};

// One datagram that came in. The payload is valid as long as its owner says.
struct Datagram {
  Path path;
  absl::Span<const uint8_t> payload;
};

// The kernel takes at most 64 segments in one call (UDP_MAX_SEGMENTS), and 65,507 bytes over IPv4.
inline constexpr size_t kBatchDatagramsMax = 64;
inline constexpr size_t kBatchBytesMax = 65'000;
// The largest datagram that we ever build: 1,500 bytes less the headers of IPv6 and UDP.
inline constexpr size_t kDatagramBytesMax = 1'452;
// What Buffer() gives at least: a full batch and the datagram that did not fit into it.
inline constexpr size_t kSinkBufferBytesMin = kBatchBytesMax + kDatagramBytesMax;

class DatagramSink {
 public:
  virtual ~DatagramSink() = default;

  // At least kSinkBufferBytesMin bytes to write to, or none while blocked. Valid until the next
  // Buffer().
  virtual absl::Span<uint8_t> Buffer() = 0;
  // The first `bytes` of what is left of the buffer are datagrams of `segment_bytes` each, the last
  // perhaps shorter. Consumes them: what follows in the buffer may be committed next, on another
  // path even.
  virtual void Commit(const Path& path, size_t bytes, size_t segment_bytes) = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_DATAGRAM_H_
