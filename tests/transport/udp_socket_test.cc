// The kernel socket on the real loopback, with ports that the kernel picks.
#include "transport/udp_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay::transport {
namespace {

constexpr int kPatienceMs = 10'000;

std::unique_ptr<UdpSocket> BindAny(const UdpSocketOptions& options = {}) {
  absl::StatusOr<std::unique_ptr<UdpSocket>> socket = UdpSocket::Bind(SocketAddress{}, options);
  EXPECT_OK(socket);
  return *std::move(socket);
}

// Reads until `count` datagrams are there; their contents.
std::vector<std::string> ReadSome(UdpSocket& socket, size_t count,
                                  std::vector<Path>* paths = nullptr) {
  std::vector<std::string> got;
  while (got.size() < count) {
    pollfd ready{socket.fd(), POLLIN, 0};
    if (poll(&ready, 1, kPatienceMs) != 1) break;
    std::vector<Datagram> datagrams;
    socket.Receive(datagrams);
    for (const Datagram& d : datagrams) {
      got.emplace_back(d.payload.begin(), d.payload.end());
      if (paths != nullptr) paths->push_back(d.path);
    }
  }
  return got;
}

void Put(UdpSocket& socket, const Path& path, std::string_view bytes, size_t segment_bytes) {
  const absl::Span<uint8_t> room = socket.Buffer();
  ASSERT_GE(room.size(), kSinkBufferBytesMin);
  std::copy(bytes.begin(), bytes.end(), room.begin());
  socket.Commit(path, bytes.size(), segment_bytes);
}

Path To(const UdpSocket& socket) {
  return {SocketAddress{}, SocketAddress::Loopback(socket.local_address().port)};
}

// A batch that fails in the way that a test asks for; everything else goes to the kernel.
int send_error = 0;
int errors_left = 0;
bool only_segmented = false;
size_t smallest_refused = 0;

int FailingSend(int fd, mmsghdr* messages, unsigned count, int flags) {
  const msghdr& first = messages[0].msg_hdr;
  bool segmented = false;
  for (const cmsghdr* c = CMSG_FIRSTHDR(&first); c != nullptr;
       c = CMSG_NXTHDR(const_cast<msghdr*>(&first), const_cast<cmsghdr*>(c))) {
    segmented = segmented || c->cmsg_level == IPPROTO_UDP;
  }
  const bool wanted = (!only_segmented || segmented) && first.msg_iov->iov_len >= smallest_refused;
  if (errors_left > 0 && wanted) {
    --errors_left;
    errno = send_error;
    return -1;
  }
  return sendmmsg(fd, messages, only_segmented || smallest_refused > 0 ? 1 : count, flags);
}

void FailNext(UdpSocket& socket, int error, int times, bool segmented, size_t smallest = 0) {
  send_error = error;
  errors_left = times;
  only_segmented = segmented;
  smallest_refused = smallest;
  socket.SetSendForTest(&FailingSend);
}

// Fails with each error in turn, then goes to the kernel.
std::vector<int> scripted_errors;

int ScriptedSend(int fd, mmsghdr* messages, unsigned count, int flags) {
  if (scripted_errors.empty()) return sendmmsg(fd, messages, count, flags);
  errno = scripted_errors.front();
  scripted_errors.erase(scripted_errors.begin());
  return -1;
}

TEST(UdpSocket, BatchArrivesAsItsDatagrams) {
  const auto sender = BindAny();
  const auto receiver = BindAny();
  std::string batch;
  for (char c = 'a'; c < 'a' + 10; ++c) batch += std::string(1'000, c);
  batch += std::string(77, 'z');
  Put(*sender, To(*receiver), batch, 1'000);
  EXPECT_TRUE(sender->Flush());
  std::vector<Path> paths;
  const std::vector<std::string> got = ReadSome(*receiver, 11, &paths);
  ASSERT_EQ(got.size(), 11u);
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(got[i], std::string(1'000, static_cast<char>('a' + i)));
  EXPECT_EQ(got[10], std::string(77, 'z'));
  EXPECT_EQ(paths[0].remote, SocketAddress::Loopback(sender->local_address().port));
  // PKTINFO tells where it arrived, so that the answer can leave from there.
  EXPECT_EQ(paths[0].local, SocketAddress::Loopback(receiver->local_address().port));
  EXPECT_EQ(sender->counters().sent_datagrams, 11u);
  EXPECT_EQ(sender->counters().sent_bytes, batch.size());
  EXPECT_EQ(receiver->counters().received_datagrams, 11u);
}

// 127.0.0.2 is ours too: the answer must come from it, or the peer would not know it.
TEST(UdpSocket, AnswersFromTheAddressThatWasWrittenTo) {
  const auto peer = BindAny();
  const auto server = BindAny();
  const SocketAddress second = SocketAddress::V4(0x7f000002, server->local_address().port);
  Put(*peer, {SocketAddress{}, second}, "hello", 5);
  ASSERT_TRUE(peer->Flush());
  std::vector<Path> paths;
  ASSERT_THAT(ReadSome(*server, 1, &paths), testing::ElementsAre("hello"));
  EXPECT_EQ(paths[0].local, second);
  Put(*server, paths[0], "answer", 6);
  ASSERT_TRUE(server->Flush());
  std::vector<Path> answered;
  ASSERT_THAT(ReadSome(*peer, 1, &answered), testing::ElementsAre("answer"));
  EXPECT_EQ(answered[0].remote, second);
}

TEST(UdpSocket, IPv6Loopback) {
  absl::StatusOr<SocketAddress> loopback = SocketAddress::ParseIp("::1", 0);
  ASSERT_OK(loopback);
  absl::StatusOr<std::unique_ptr<UdpSocket>> a = UdpSocket::Bind(*loopback, {});
  if (!a.ok()) {
    // A kernel without IPv6 says so, and the wildcard falls back to IPv4 (all other tests here).
    EXPECT_THAT(a, HasCode(absl::StatusCode::kInvalidArgument));
    return;
  }
  absl::StatusOr<std::unique_ptr<UdpSocket>> b = UdpSocket::Bind(*loopback, {});
  ASSERT_OK(b);
  Put(**a, {SocketAddress{}, (*b)->local_address()}, "six", 3);
  ASSERT_TRUE((*a)->Flush());
  std::vector<Path> paths;
  ASSERT_THAT(ReadSome(**b, 1, &paths), testing::ElementsAre("six"));
  EXPECT_EQ(paths[0], (Path{(*b)->local_address(), (*a)->local_address()}));
}

TEST(UdpSocket, WithoutIPv6WhatGoesThereIsDroppedAndCounted) {
  const auto sender = BindAny({.ipv6 = false});
  const auto receiver = BindAny();
  EXPECT_FALSE(sender->ipv6_enabled());
  EXPECT_EQ(sender->counters().ipv6_refused, 1u);
  EXPECT_EQ(receiver->counters().gso_refused + receiver->counters().gro_refused, 0u);
  EXPECT_TRUE(sender->local_address().is_v4());
  absl::StatusOr<SocketAddress> six =
      SocketAddress::ParseIp("2001:db8::7f00:1", receiver->local_address().port);
  ASSERT_OK(six);
  Put(*sender, {SocketAddress{}, *six}, "lost", 4);  // not to 127.0.0.1, the end of that address
  Put(*sender, To(*receiver), "there", 5);
  ASSERT_TRUE(sender->Flush());
  EXPECT_THAT(ReadSome(*receiver, 1), testing::ElementsAre("there"));
  EXPECT_EQ(sender->counters().unreachable, 1u);
  EXPECT_EQ(sender->counters().sent_datagrams, 1u);
}

TEST(UdpSocket, WorksWithoutSegmentationOffload) {
  const auto sender = BindAny({.gso = false, .gro = false});
  const auto receiver = BindAny({.gso = false, .gro = false});
  EXPECT_FALSE(sender->gso_enabled());
  EXPECT_FALSE(receiver->gro_enabled());
  EXPECT_EQ(sender->counters().gso_refused, 1u);
  EXPECT_EQ(receiver->counters().gro_refused, 1u);
  Put(*sender, To(*receiver), "aaaabbbbcc", 4);
  ASSERT_TRUE(sender->Flush());
  EXPECT_THAT(ReadSome(*receiver, 3), testing::ElementsAre("aaaa", "bbbb", "cc"));
}

TEST(UdpSocket, TakenPortIsNamed) {
  const auto first = BindAny();
  SocketAddress same;
  same.port = first->local_address().port;
  EXPECT_THAT(UdpSocket::Bind(same, {}), StatusIs(absl::StatusCode::kAlreadyExists,
                                                  testing::HasSubstr(std::to_string(same.port))));
  EXPECT_THAT(UdpSocket::Bind(SocketAddress::V4(0xc0000201, 0), {}),  // 192.0.2.1, nobody's
              HasCode(absl::StatusCode::kInvalidArgument));
}

TEST(UdpSocket, IsClosedOnExecAndDoesNotBlock) {
  const auto socket = BindAny();
  EXPECT_NE(fcntl(socket->fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(fcntl(socket->fd(), F_GETFL) & O_NONBLOCK, 0);
  std::vector<Datagram> none;
  EXPECT_FALSE(socket->Receive(none));
  EXPECT_THAT(none, testing::IsEmpty());
}

// Path MTU discovery needs datagrams that are dropped, not cut up, on both families.
TEST(UdpSocket, NeverFragments) {
  const auto socket = BindAny();
  int value = 0;
  socklen_t size = sizeof(value);
  ASSERT_EQ(getsockopt(socket->fd(), IPPROTO_IP, IP_MTU_DISCOVER, &value, &size), 0);
  EXPECT_EQ(value, IP_PMTUDISC_PROBE);
  int family = 0;
  size = sizeof(family);
  ASSERT_EQ(getsockopt(socket->fd(), SOL_SOCKET, SO_DOMAIN, &family, &size), 0);
  if (family == AF_INET6) {
    size = sizeof(value);
    ASSERT_EQ(getsockopt(socket->fd(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, &value, &size), 0);
    EXPECT_EQ(value, IPV6_PMTUDISC_PROBE);
  }
}

// What was committed counts as sent: it is kept, nothing may be built behind it, and it leaves
// first.
TEST(UdpSocket, BlockedKeepsWhatWasCommitted) {
  const auto sender = BindAny();
  const auto receiver = BindAny();
  FailNext(*sender, EAGAIN, 1, false);
  Put(*sender, To(*receiver), "first", 5);
  EXPECT_FALSE(sender->Flush());
  EXPECT_TRUE(sender->blocked());
  EXPECT_TRUE(sender->Buffer().empty());
  EXPECT_EQ(sender->counters().blocked, 1u);
  EXPECT_TRUE(sender->Flush());
  EXPECT_FALSE(sender->blocked());
  Put(*sender, To(*receiver), "second", 6);
  EXPECT_TRUE(sender->Flush());
  EXPECT_THAT(ReadSome(*receiver, 2), testing::ElementsAre("first", "second"));
}

TEST(UdpSocket, BlockedInTheMiddleKeepsTheRestInOrder) {
  const auto sender = BindAny();
  const auto receiver = BindAny();
  // The small one goes alone, then the kernel blocks at the large one.
  FailNext(*sender, EAGAIN, 1, false, /*smallest=*/6);
  Put(*sender, To(*receiver), "one", 3);
  Put(*sender, To(*receiver), "two-two", 7);
  Put(*sender, To(*receiver), "three", 5);
  EXPECT_FALSE(sender->Flush());
  EXPECT_TRUE(sender->Flush());
  EXPECT_THAT(ReadSome(*receiver, 3), testing::ElementsAre("one", "two-two", "three"));
  EXPECT_EQ(sender->counters().sent_datagrams, 3u);
}

// EIO is a card that cannot segment: never again, and nothing is lost.
TEST(UdpSocket, SegmentationRefusedOnceIsNotTriedAgain) {
  for (const int error : {EIO, EINVAL}) {
    const auto sender = BindAny();
    const auto receiver = BindAny();
    ASSERT_TRUE(sender->gso_enabled());
    FailNext(*sender, error, 1'000, true);
    Put(*sender, To(*receiver), "aaaabbbbcc", 4);
    Put(*sender, To(*receiver), "ddddeeee", 4);
    EXPECT_TRUE(sender->Flush());
    EXPECT_FALSE(sender->gso_enabled());
    EXPECT_EQ(sender->counters().gso_refused, 1u);
    Put(*sender, To(*receiver), "ffffgg", 4);
    EXPECT_TRUE(sender->Flush());
    EXPECT_THAT(ReadSome(*receiver, 7),
                testing::ElementsAre("aaaa", "bbbb", "cc", "dddd", "eeee", "ffff", "gg"));
    EXPECT_EQ(sender->counters().gso_refused, 1u);
  }
}

// EINVAL is also what a batch of datagrams above the interface's MTU gets: that is no reason to
// give up.
TEST(UdpSocket, TooLargeForTheInterfaceDoesNotSwitchSegmentationOff) {
  const auto sender = BindAny();
  const auto receiver = BindAny();
  Put(*sender, To(*receiver), "aaaabb", 4);
  // The whole batch, then its first datagram.
  scripted_errors = {EINVAL, EMSGSIZE};
  sender->SetSendForTest(&ScriptedSend);
  EXPECT_TRUE(sender->Flush());
  EXPECT_TRUE(sender->gso_enabled());
  EXPECT_EQ(sender->counters().too_large, 1u);
  EXPECT_THAT(ReadSome(*receiver, 1), testing::ElementsAre("bb"));
}

TEST(UdpSocket, ErrorsOfOneMessageDropItAlone) {
  const auto sender = BindAny();
  const auto receiver = BindAny();
  const auto& counters = sender->counters();
  const std::pair<int, const uint64_t*> cases[] = {
      {ENOBUFS, &counters.no_buffers},       {ENETUNREACH, &counters.unreachable},
      {EHOSTUNREACH, &counters.unreachable}, {EPERM, &counters.forbidden},
      {EMSGSIZE, &counters.too_large},       {EPIPE, &counters.send_errors_other},
  };
  for (const auto& [error, counter] : cases) {
    const uint64_t before = *counter;
    FailNext(*sender, error, 1, false);
    Put(*sender, To(*receiver), "lost", 4);
    Put(*sender, To(*receiver), "kept", 4);
    EXPECT_TRUE(sender->Flush());
    EXPECT_EQ(*counter, before + 1) << error;
    EXPECT_THAT(ReadSome(*receiver, 1), testing::ElementsAre("kept")) << error;
  }
}

// The arena flushes by itself when it is full, in the middle of a pass.
TEST(UdpSocket, MoreThanTheArenaGoesOutInOrder) {
  const auto sender = BindAny();
  const auto receiver = BindAny();
  size_t put = 0;
  size_t got = 0;
  for (int batch = 0; batch < 12; ++batch) {
    std::string bytes;
    for (int i = 0; i < 40; ++i) bytes += std::string(1'400, static_cast<char>('a' + put++ % 26));
    Put(*sender, To(*receiver), bytes, 1'400);
    ASSERT_TRUE(sender->Flush());
    for (const std::string& datagram : ReadSome(*receiver, 40)) {
      ASSERT_EQ(datagram, std::string(1'400, static_cast<char>('a' + got++ % 26)));
    }
  }
  EXPECT_EQ(got, 480u);
  // Without a flush in between: four batches of 60,000 bytes are more than the arena holds.
  for (int i = 0; i < 5; ++i) Put(*sender, To(*receiver), std::string(60'000, 'x'), 1'200);
  EXPECT_GT(sender->counters().sent_datagrams, 480u);
  EXPECT_TRUE(sender->Flush());
}

TEST(UdpSocket, TellsItsBuffers) {
  const auto socket = BindAny();
  EXPECT_GT(socket->SendBufferBytes(), 0u);
  EXPECT_EQ(socket->QueuedBytes(), 0u);
}

}  // namespace
}  // namespace overlay::transport
