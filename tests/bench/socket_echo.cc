// UDP and unix-socket round trips under epoll.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "flood/base/socket_address.h"
#include "tests/bench/clock.h"
#include "tests/bench/echo.h"

namespace overlay::bench {
namespace {

using Buffer = std::array<char, kEchoBytes>;

sockaddr_in LoopbackAddress(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

sockaddr_un UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
  return address;
}

absl::Status SystemError(std::string_view what) {
  return absl::InternalError(fmt::format("{}: {}", what, std::strerror(errno)));
}

// One descriptor under epoll.
class Watched {
 public:
  explicit Watched(int fd) : fd_(fd), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd_, &event);
  }
  ~Watched() {
    close(epoll_);
    close(fd_);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  int fd() const { return fd_; }
  bool Wait(int timeout_ms) {
    epoll_event event{};
    return epoll_wait(epoll_, &event, 1, timeout_ms) > 0;
  }
  // True: the whole buffer has come.
  bool Receive(Buffer& buffer, int timeout_ms) {
    size_t have = 0;
    while (have < buffer.size()) {
      if (!Wait(timeout_ms)) return false;
      const ssize_t count = recv(fd_, buffer.data() + have, buffer.size() - have, 0);
      if (count <= 0) return false;
      have += static_cast<size_t>(count);
    }
    return true;
  }

 private:
  int fd_;
  int epoll_;
};

class SocketEcho : public Echo {
 public:
  explicit SocketEcho(int fd) : socket_(fd) {}
  void WaitUntil(Time at) override { alarm_.WaitUntil(at); }
  absl::Status RoundTrip() override {
    if (send(socket_.fd(), buffer_.data(), buffer_.size(), 0) !=
        static_cast<ssize_t>(buffer_.size())) {
      return SystemError("echo: send");
    }
    constexpr auto kPatience = std::chrono::duration_cast<std::chrono::milliseconds>(kEchoPatience);
    if (!socket_.Receive(buffer_, static_cast<int>(kPatience.count()))) {
      return absl::UnavailableError("echo: no answer from the other end");
    }
    return absl::OkStatus();
  }

 private:
  Watched socket_;
  Alarm alarm_;
  Buffer buffer_{};
};

}  // namespace

void SayReady(std::string_view address) {
  std::printf("ready %.*s\n", static_cast<int>(address.size()), address.data());
  std::fflush(stdout);
}

absl::StatusOr<std::unique_ptr<Echo>> ConnectUdpEcho(const std::string& address) {
  const absl::StatusOr<SocketAddress> parsed = SocketAddress::Parse(address);
  if (!parsed.ok()) return parsed.status();
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const sockaddr_in to = LoopbackAddress(parsed->port);
  auto echo = std::make_unique<SocketEcho>(fd);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return SystemError("UDP echo: connect");
  }
  return echo;
}

absl::StatusOr<std::unique_ptr<Echo>> ConnectUnixEcho(const std::string& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un to = UnixAddress(address);
  auto echo = std::make_unique<SocketEcho>(fd);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return SystemError("unix echo: connect");
  }
  return echo;
}

int ServeUdpEcho() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in self = LoopbackAddress(0);
  socklen_t size = sizeof(self);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&self), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&self), &size) != 0) {
    std::perror("UDP echo: bind");
    return 1;
  }
  Watched socket(fd);
  SayReady(SocketAddress::Loopback(ntohs(self.sin_port)).ToString());
  Buffer buffer;
  while (true) {
    if (!socket.Wait(-1)) continue;
    sockaddr_in from{};
    socklen_t from_size = sizeof(from);
    const ssize_t count = recvfrom(fd, buffer.data(), buffer.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from), &from_size);
    if (count <= 0) continue;
    (void)!sendto(fd, buffer.data(), static_cast<size_t>(count), 0,
                  reinterpret_cast<const sockaddr*>(&from), from_size);
  }
}

int ServeUnixEcho(const std::string& folder) {
  const std::string path = folder + "/unix_echo";
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un self = UnixAddress(path);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&self), sizeof(self)) != 0 ||
      listen(listener, 1) != 0) {
    std::perror("unix echo: bind");
    return 1;
  }
  SayReady(path);
  while (true) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    Watched socket(fd);
    Buffer buffer;
    while (socket.Receive(buffer, -1)) {
      if (send(fd, buffer.data(), buffer.size(), 0) < 0) break;
    }
  }
}

}  // namespace overlay::bench
