// transport/udp_socket.h
//
// The kernel's UDP socket: one dual-stack socket that reads and writes many datagrams a call.
//
// Rules
//   R1  Committed datagrams leave in order; on EAGAIN the rest is kept, blocked() is true and
//       Buffer() empty until Flush() succeeds. Why: they count as sent already.
//   R2  UDP_SEGMENT is used until the kernel or the card refuses it (EIO; EINVAL for what passes
//       when sent one by one), then never again. Why: some virtual cards cannot, and say so only at
//       the first send.
//   R3  Other errors of a send drop that one message and are counted by kind. Why: to QUIC it is a
//       lost packet, and one unreachable peer must not stop the others.
//   R4  Fragmentation is off, on both families. Why: path MTU discovery would find fragments that
//       pass.
//   R5  A path with a local address is answered from it; one without lets the kernel choose.
//   R6  Where the kernel has no IPv6, what goes to an IPv6 address is dropped and counted as
//       unreachable.
//
// Bounds   one arena of kArenaBytes for what is going out; kReceiveMessagesMax x 64 KiB for what
//          came in.
// Cost     one system call for up to 64 batches; GSO and GRO make 1.6 GB/s of 0.35.
// Threads  none: owned by the loop thread.
#ifndef OVERLAY_TRANSPORT_UDP_SOCKET_H_
#define OVERLAY_TRANSPORT_UDP_SOCKET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "flood/base/socket_address.h"
#include "transport/datagram.h"

struct mmsghdr;

namespace overlay::transport {

struct UdpSocketOptions {
  // Asked of the kernel, which may grant less (net.core.rmem_max). 4 MiB hold 30 ms of a full
  // gigabit.
  int receive_buffer_bytes = 4 << 20;
  // Bulk of all peers stops at half of it, so it is also delay: 2 MiB are 16 ms of a gigabit.
  int send_buffer_bytes = 2 << 20;
  // False: as on a kernel without it.
  bool gso = true;
  bool gro = true;
  bool ipv6 = true;
};

// Only grow, except the two flags.
struct UdpSocketCounters {
  uint64_t sent_datagrams = 0;
  uint64_t sent_bytes = 0;
  uint64_t send_calls = 0;
  uint64_t received_datagrams = 0;
  uint64_t received_bytes = 0;
  uint64_t receive_calls = 0;
  uint64_t blocked = 0;      // EAGAIN
  uint64_t no_buffers = 0;   // ENOBUFS, ENOMEM
  uint64_t unreachable = 0;  // ENETUNREACH, EHOSTUNREACH, ENETDOWN, EADDRNOTAVAIL
  uint64_t forbidden = 0;    // EPERM, EACCES: a firewall
  uint64_t too_large = 0;    // EMSGSIZE: the interface's MTU
  uint64_t send_errors_other = 0;
  uint64_t receive_errors = 0;
  uint64_t truncated = 0;  // datagrams larger than we read, dropped
  // Each at most 1: the kernel has it not, or refused it later and it is not tried again.
  uint64_t gso_refused = 0;
  uint64_t gro_refused = 0;
  uint64_t ipv6_refused = 0;
};

class UdpSocket : public DatagramSink {
 public:
  // `address`: "[::]:port" listens on both families; where the kernel has no IPv6, on IPv4 alone.
  // Port 0 picks a free one. ALREADY_EXISTS when the port is taken, PERMISSION_DENIED,
  // INVALID_ARGUMENT (no such local address), INTERNAL; the message names the address.
  static absl::StatusOr<std::unique_ptr<UdpSocket>> Bind(const SocketAddress& address,
                                                         const UdpSocketOptions& options);
  ~UdpSocket() override;
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  // --- Getters ---
  int fd() const;
  const SocketAddress& local_address() const;  // with the port that was bound
  bool blocked() const;
  bool gso_enabled() const;
  bool gro_enabled() const;
  bool ipv6_enabled() const;
  const UdpSocketCounters& counters() const;
  // What the kernel has not sent yet (SIOCOUTQ), and what it would take in all (SO_SNDBUF).
  size_t QueuedBytes() const;
  size_t SendBufferBytes() const;

  // --- Receiving ---
  // One system call. Appends what came in to `out`, valid until the next call. True: there may be
  // more.
  bool Receive(std::vector<Datagram>& out);

  // --- Sending ---
  absl::Span<uint8_t> Buffer() override;
  void Commit(const Path& path, size_t bytes, size_t segment_bytes) override;
  // Sends all that was committed. Call at the end of each class's passes, and when the fd is
  // writable. False: blocked.
  bool Flush();

  // sendmmsg(2), or a test's own that fails.
  using SendMany = int (*)(int fd, mmsghdr* messages, unsigned count, int flags);
  void SetSendForTest(SendMany send);

 private:
  struct Impl;
  explicit UdpSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_UDP_SOCKET_H_
