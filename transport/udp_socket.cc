#include "transport/udp_socket.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "flood/base/check.h"
#include "fmt/format.h"

// Not in every C library's headers yet.
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SIOCOUTQ
#define SIOCOUTQ 0x5411
#endif

namespace overlay::transport {
namespace {

// Three full batches, or the packets of an envelope to a hundred peers.
constexpr size_t kArenaBytes = 256 << 10;
constexpr size_t kSendMessagesMax = 64;
// Each may be a GRO aggregate of up to 64 KiB, so one call brings half a megabyte at most: what a
// turn can take without holding class 0 for more than some 0.3 ms.
constexpr size_t kReceiveMessagesMax = 8;
constexpr size_t kReceiveBytes = 64 << 10;
constexpr size_t kControlBytes = 128;

static_assert(kArenaBytes >= 2 * kSinkBufferBytesMin);

socklen_t FillSockaddr(const SocketAddress& address, bool v4_only, sockaddr_storage& storage) {
  storage = {};
  if (v4_only) {
    auto& in = reinterpret_cast<sockaddr_in&>(storage);
    in.sin_family = AF_INET;
    in.sin_port = htons(address.port);
    std::memcpy(&in.sin_addr, address.ip.data() + 12, 4);
    return sizeof(in);
  }
  auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(address.port);
  std::memcpy(&in6.sin6_addr, address.ip.data(), 16);
  return sizeof(in6);
}

SocketAddress FromSockaddr(const sockaddr_storage& storage) {
  SocketAddress address;
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    return SocketAddress::V4(ntohl(in.sin_addr.s_addr), ntohs(in.sin_port));
  }
  const auto& in6 = reinterpret_cast<const sockaddr_in6&>(storage);
  std::memcpy(address.ip.data(), &in6.sin6_addr, 16);
  address.port = ntohs(in6.sin6_port);
  return address;
}

absl::Status BindError(const SocketAddress& address, int error) {
  const std::string message = fmt::format("udp {}: {}", address.ToString(), std::strerror(error));
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return absl::InvalidArgumentError(message);
    default:
      return absl::InternalError(message);
  }
}

bool SetInt(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

// Control messages of one sendmsg: where it leaves from, and how it is cut.
class ControlWriter {
 public:
  ControlWriter(std::array<uint8_t, kControlBytes>& space, msghdr& header)
      : space_(space), header_(header) {
    space_.fill(0);
    header_.msg_control = space_.data();
    header_.msg_controllen = 0;
  }

  template <class T>
  void Add(int level, int type, const T& value) {
    auto* message = reinterpret_cast<cmsghdr*>(space_.data() + header_.msg_controllen);
    message->cmsg_level = level;
    message->cmsg_type = type;
    message->cmsg_len = CMSG_LEN(sizeof(value));
    std::memcpy(CMSG_DATA(message), &value, sizeof(value));
    header_.msg_controllen += CMSG_SPACE(sizeof(value));
    OVERLAY_CHECK(header_.msg_controllen <= space_.size());
  }
  void Finish() {
    if (header_.msg_controllen == 0) header_.msg_control = nullptr;
  }

 private:
  std::array<uint8_t, kControlBytes>& space_;
  msghdr& header_;
};

}  // namespace

struct UdpSocket::Impl {
  // Committed, not yet taken by the kernel.
  struct Outgoing {
    sockaddr_storage to;
    socklen_t to_bytes;
    SocketAddress from;  // unspecified: the kernel's choice
    size_t offset;
    size_t bytes;
    size_t segment_bytes;
  };
  struct Incoming {
    sockaddr_storage from;
    std::array<uint8_t, kControlBytes> control;
  };

  ~Impl() {
    if (fd >= 0) close(fd);
  }

  absl::Status Open(const SocketAddress& address, const UdpSocketOptions& options);
  void FillHeader(const Outgoing& message, size_t index, mmsghdr& header);
  // Sends from `first` on; how many messages the kernel took, or -errno when it refused the first.
  int SendSome(size_t first);
  bool OnSendError(int error, size_t failed);
  void Split(size_t index);
  void SwitchGsoOff(size_t index);
  void TakeIn(const mmsghdr& header, size_t index, std::vector<Datagram>& out);

  int fd = -1;
  bool v4_only = false;
  SocketAddress local;
  bool is_blocked = false;
  bool gso = false;
  bool gro = false;
  UdpSocketCounters counters;

  // A batch was refused with EINVAL and cut up: if its datagrams now pass one by one, GSO was to
  // blame; if they are too large themselves, the interface is.
  bool gso_suspected = false;
  SendMany send_many = ::sendmmsg;

  std::vector<uint8_t> arena;
  size_t arena_used = 0;
  std::vector<Outgoing> outgoing;
  std::array<mmsghdr, kSendMessagesMax> send_headers;
  std::array<iovec, kSendMessagesMax> send_vectors;
  std::array<std::array<uint8_t, kControlBytes>, kSendMessagesMax> send_control;

  std::vector<uint8_t> received;
  std::array<Incoming, kReceiveMessagesMax> incoming;
};

absl::Status UdpSocket::Impl::Open(const SocketAddress& address, const UdpSocketOptions& options) {
  errno = EAFNOSUPPORT;
  if (options.ipv6) fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 && errno == EAFNOSUPPORT && (address.is_v4() || address.is_unspecified())) {
    v4_only = true;
    ++counters.ipv6_refused;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  }
  if (fd < 0) return BindError(address, errno);
  if (!v4_only) {
    // Both families on one socket. An address of IPv4 is bound in its mapped form.
    if (!SetInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) return BindError(address, errno);
    (void)SetInt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    (void)SetInt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  } else {
    (void)SetInt(fd, IPPROTO_IP, IP_PKTINFO, 1);
  }
  // R4, for the mapped IPv4 of a dual-stack socket too.
  (void)SetInt(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  (void)SetInt(fd, SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  (void)SetInt(fd, SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  gro = options.gro && SetInt(fd, IPPROTO_UDP, UDP_GRO, 1);
  int probe = 0;
  socklen_t probe_bytes = sizeof(probe);
  gso = options.gso && getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &probe, &probe_bytes) == 0;
  if (!gso) ++counters.gso_refused;
  if (!gro) ++counters.gro_refused;
  sockaddr_storage storage;
  const socklen_t bytes = FillSockaddr(address, v4_only, storage);
  if (bind(fd, reinterpret_cast<sockaddr*>(&storage), bytes) != 0) return BindError(address, errno);
  socklen_t bound_bytes = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &bound_bytes) != 0) {
    return BindError(address, errno);
  }
  local = FromSockaddr(storage);
  arena.resize(kArenaBytes);
  outgoing.reserve(kSendMessagesMax);
  received.resize(kReceiveMessagesMax * kReceiveBytes);
  return absl::OkStatus();
}

UdpSocket::UdpSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UdpSocket::~UdpSocket() = default;

absl::StatusOr<std::unique_ptr<UdpSocket>> UdpSocket::Bind(const SocketAddress& address,
                                                           const UdpSocketOptions& options) {
  auto impl = std::make_unique<Impl>();
  if (absl::Status status = impl->Open(address, options); !status.ok()) return status;
  return std::unique_ptr<UdpSocket>(new UdpSocket(std::move(impl)));
}

int UdpSocket::fd() const { return impl_->fd; }
const SocketAddress& UdpSocket::local_address() const { return impl_->local; }
bool UdpSocket::blocked() const { return impl_->is_blocked; }
bool UdpSocket::gso_enabled() const { return impl_->gso; }
bool UdpSocket::gro_enabled() const { return impl_->gro; }
bool UdpSocket::ipv6_enabled() const { return !impl_->v4_only; }
const UdpSocketCounters& UdpSocket::counters() const { return impl_->counters; }

void UdpSocket::SetSendForTest(SendMany send) { impl_->send_many = send; }

size_t UdpSocket::QueuedBytes() const {
  int queued = 0;
  return ioctl(impl_->fd, SIOCOUTQ, &queued) == 0 && queued > 0 ? static_cast<size_t>(queued) : 0;
}

size_t UdpSocket::SendBufferBytes() const {
  int bytes = 0;
  socklen_t size = sizeof(bytes);
  const int rv = getsockopt(impl_->fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size);
  return rv == 0 && bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

// --- Receiving ---

bool UdpSocket::Receive(std::vector<Datagram>& out) {
  Impl& impl = *impl_;
  std::array<mmsghdr, kReceiveMessagesMax> headers{};
  std::array<iovec, kReceiveMessagesMax> vectors;
  for (size_t i = 0; i < kReceiveMessagesMax; ++i) {
    vectors[i] = {impl.received.data() + i * kReceiveBytes, kReceiveBytes};
    msghdr& header = headers[i].msg_hdr;
    header.msg_name = &impl.incoming[i].from;
    header.msg_namelen = sizeof(impl.incoming[i].from);
    header.msg_iov = &vectors[i];
    header.msg_iovlen = 1;
    header.msg_control = impl.incoming[i].control.data();
    header.msg_controllen = kControlBytes;
  }
  int count;
  do {
    count = recvmmsg(impl.fd, headers.data(), headers.size(), 0, nullptr);
  } while (count < 0 && errno == EINTR);
  ++impl.counters.receive_calls;
  if (count < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) ++impl.counters.receive_errors;
    return false;
  }
  for (int i = 0; i < count; ++i) impl.TakeIn(headers[i], static_cast<size_t>(i), out);
  return static_cast<size_t>(count) == kReceiveMessagesMax;
}

void UdpSocket::Impl::TakeIn(const mmsghdr& header, size_t index, std::vector<Datagram>& out) {
  if ((header.msg_hdr.msg_flags & MSG_TRUNC) != 0) {
    ++counters.truncated;
    return;
  }
  Path path{SocketAddress{}, FromSockaddr(incoming[index].from)};
  size_t segment_bytes = header.msg_len;
  auto* raw = const_cast<msghdr*>(&header.msg_hdr);
  for (cmsghdr* c = CMSG_FIRSTHDR(raw); c != nullptr; c = CMSG_NXTHDR(raw, c)) {
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      std::memcpy(&info, CMSG_DATA(c), sizeof(info));
      std::memcpy(path.local.ip.data(), &info.ipi6_addr, 16);
      path.local.port = local.port;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      std::memcpy(&info, CMSG_DATA(c), sizeof(info));
      path.local = SocketAddress::V4(ntohl(info.ipi_addr.s_addr), local.port);
    } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int size = 0;
      std::memcpy(&size, CMSG_DATA(c), sizeof(size));
      if (size > 0) segment_bytes = static_cast<size_t>(size);
    }
  }
  absl::Span<const uint8_t> rest(received.data() + index * kReceiveBytes, header.msg_len);
  counters.received_bytes += rest.size();
  while (!rest.empty()) {
    const size_t bytes = std::min(rest.size(), segment_bytes);
    out.push_back({path, rest.first(bytes)});
    ++counters.received_datagrams;
    rest.remove_prefix(bytes);
  }
}

// --- Sending ---

absl::Span<uint8_t> UdpSocket::Buffer() {
  Impl& impl = *impl_;
  if (impl.is_blocked) return {};
  if (impl.arena.size() - impl.arena_used < kSinkBufferBytesMin && !Flush()) return {};
  return absl::MakeSpan(impl.arena).subspan(impl.arena_used);
}

void UdpSocket::Commit(const Path& path, size_t bytes, size_t segment_bytes) {
  Impl& impl = *impl_;
  OVERLAY_CHECK(bytes > 0 && segment_bytes > 0 && impl.arena_used + bytes <= impl.arena.size());
  if (impl.v4_only && !path.remote.is_v4()) {
    ++impl.counters.unreachable;
    return;
  }
  Impl::Outgoing message;
  message.to_bytes = FillSockaddr(path.remote, impl.v4_only, message.to);
  message.from = path.local;
  message.offset = impl.arena_used;
  message.bytes = bytes;
  message.segment_bytes = std::min(segment_bytes, bytes);
  impl.outgoing.push_back(message);
  if (!impl.gso) impl.Split(impl.outgoing.size() - 1);
  impl.arena_used += bytes;
}

bool UdpSocket::Flush() {
  Impl& impl = *impl_;
  size_t first = 0;
  impl.is_blocked = false;
  while (first < impl.outgoing.size() && !impl.is_blocked) {
    const int sent = impl.SendSome(first);
    if (sent > 0) {
      if (impl.gso_suspected) impl.SwitchGsoOff(first + static_cast<size_t>(sent));
      for (int i = 0; i < sent; ++i) {
        const Impl::Outgoing& message = impl.outgoing[first + static_cast<size_t>(i)];
        impl.counters.sent_bytes += message.bytes;
        impl.counters.sent_datagrams +=
            (message.bytes + message.segment_bytes - 1) / message.segment_bytes;
      }
      first += static_cast<size_t>(sent);
    } else if (impl.OnSendError(-sent, first)) {
      ++first;
    }
  }
  impl.outgoing.erase(impl.outgoing.begin(), impl.outgoing.begin() + static_cast<ptrdiff_t>(first));
  if (impl.outgoing.empty()) impl.arena_used = 0;
  return !impl.is_blocked;
}

void UdpSocket::Impl::FillHeader(const Outgoing& message, size_t index, mmsghdr& header) {
  header = {};
  send_vectors[index] = {arena.data() + message.offset, message.bytes};
  msghdr& m = header.msg_hdr;
  m.msg_name = const_cast<sockaddr_storage*>(&message.to);
  m.msg_namelen = message.to_bytes;
  m.msg_iov = &send_vectors[index];
  m.msg_iovlen = 1;
  ControlWriter control(send_control[index], m);
  if (!message.from.is_unspecified()) {
    if (v4_only) {
      in_pktinfo info{};
      std::memcpy(&info.ipi_spec_dst, message.from.ip.data() + 12, 4);
      control.Add(IPPROTO_IP, IP_PKTINFO, info);
    } else {
      in6_pktinfo info{};
      std::memcpy(&info.ipi6_addr, message.from.ip.data(), 16);
      control.Add(IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
  }
  if (message.bytes > message.segment_bytes) {
    control.Add(IPPROTO_UDP, UDP_SEGMENT, static_cast<uint16_t>(message.segment_bytes));
  }
  control.Finish();
}

int UdpSocket::Impl::SendSome(size_t first) {
  const size_t count = std::min(outgoing.size() - first, kSendMessagesMax);
  for (size_t i = 0; i < count; ++i) FillHeader(outgoing[first + i], i, send_headers[i]);
  int sent;
  do {
    sent = send_many(fd, send_headers.data(), static_cast<unsigned>(count), 0);
  } while (sent < 0 && errno == EINTR);
  ++counters.send_calls;
  return sent < 0 ? -errno : sent;
}

// True: the message is dropped, go on with the next.
bool UdpSocket::Impl::OnSendError(int error, size_t failed) {
  const bool segmented = outgoing[failed].bytes > outgoing[failed].segment_bytes;
  switch (error) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
      ++counters.blocked;
      is_blocked = true;
      return false;
    case EIO:
      if (!segmented) break;
      SwitchGsoOff(failed);
      return false;
    case EINVAL:
      if (!segmented) break;
      gso_suspected = true;
      Split(failed);
      return false;
    case ENOBUFS:
    case ENOMEM:
      ++counters.no_buffers;
      return true;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
      ++counters.unreachable;
      return true;
    case EPERM:
    case EACCES:
      ++counters.forbidden;
      return true;
    case EMSGSIZE:
      // A batch is refused whole; the datagrams in it that fit may still go.
      if (segmented) {
        Split(failed);
        return false;
      }
      gso_suspected = false;
      ++counters.too_large;
      return true;
    default:
      break;
  }
  ++counters.send_errors_other;
  return true;
}

// Makes single datagrams of the batch at `index`.
void UdpSocket::Impl::Split(size_t index) {
  const Outgoing batch = outgoing[index];
  std::vector<Outgoing> single;
  for (size_t done = 0; done < batch.bytes; done += batch.segment_bytes) {
    Outgoing part = batch;
    part.offset = batch.offset + done;
    part.bytes = std::min(batch.segment_bytes, batch.bytes - done);
    part.segment_bytes = part.bytes;
    single.push_back(part);
  }
  const auto at = outgoing.begin() + static_cast<ptrdiff_t>(index);
  outgoing.insert(outgoing.erase(at), single.begin(), single.end());
}

// R2. What waits from `index` on goes one by one too.
void UdpSocket::Impl::SwitchGsoOff(size_t index) {
  ++counters.gso_refused;
  gso = false;
  gso_suspected = false;
  for (size_t i = outgoing.size(); i > index; --i) Split(i - 1);
}

}  // namespace overlay::transport
