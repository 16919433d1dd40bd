#include <fmt/format.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "flood/base/peer_io.h"
#include "tests/bench/modes.h"
#include "tests/bench/process_figures.h"
#include "tests/support/peer_raw.h"
#include "transport/event_loop.h"
#include "transport/udp_socket.h"

namespace overlay::bench {
namespace {

constexpr Duration kGap = std::chrono::milliseconds(1);
constexpr Duration kSampleEvery = std::chrono::milliseconds(50);
constexpr uint64_t kStreamsGranted = 8;

// The peer that never reads, on a thread of its own; and what it costs the daemon.
class Staller {
 public:
  static absl::StatusOr<std::unique_ptr<Staller>> Create(const std::string& daemon, pid_t pid) {
    auto address = SocketAddress::Parse(daemon);
    if (!address.ok()) return address.status();
    auto socket = transport::UdpSocket::Bind(SocketAddress::Loopback(0), {});
    if (!socket.ok()) return socket.status();
    auto loop = transport::EventLoop::Create();
    if (!loop.ok()) return loop.status();
    return std::unique_ptr<Staller>(
        new Staller(*address, pid, *std::move(socket), *std::move(loop)));
  }
  ~Staller() {
    stop_ = true;
    thread_.join();
  }
  uint64_t resident_bytes_max() const { return resident_bytes_max_; }
  // From when it had no stream left to give, to its end as stalled.
  std::optional<double> closed_after_seconds() const {
    if (!closed_) return std::nullopt;
    return closed_after_seconds_.load();
  }

 private:
  Staller(SocketAddress daemon, pid_t pid, std::unique_ptr<transport::UdpSocket> socket,
          std::unique_ptr<transport::EventLoop> loop)
      : pid_(pid), socket_(std::move(socket)), loop_(std::move(loop)), raw_(OptionsOfRaw()) {
    loop_->SetTurnHandler([this](Time now) { return Turn(now); });
    const absl::Status watched =
        loop_->Watch(socket_->fd(), {.read = true, .write = false},
                     [this](Time now, transport::FdReady) { Receive(now); });
    (void)watched;
    raw_.Dial(loop_->ReadClock(), daemon);
    thread_ = std::thread([this] {
      while (!stop_) {
        loop_->RunOnce(kSampleEvery);
        resident_bytes_max_ = std::max<uint64_t>(resident_bytes_max_, ResidentBytes(pid_));
      }
    });
  }
  static transport::RawPeer::Options OptionsOfRaw() {
    transport::RawPeer::Options options;
    options.returns_credit = false;
    options.network = kPassphrase;
    options.endpoint.quic.uni_streams = kStreamsGranted;
    return options;
  }
  void Receive(Time now) {
    datagrams_.clear();
    socket_->Receive(datagrams_);
    for (const auto& datagram : datagrams_) raw_.OnDatagram(now, datagram.path, datagram.payload);
  }
  std::optional<Time> Turn(Time now) {
    raw_.OnDeadline(now);
    raw_.WriteTurn(now, *socket_);
    socket_->Flush();
    if (!full_at_ && raw_.streams().size() >= kStreamsGranted) full_at_ = now;
    if (!closed_ && full_at_ && raw_.ended() &&
        raw_.ended()->code == static_cast<uint64_t>(CloseReason::kStalled)) {
      closed_after_seconds_ = ToSeconds(now - *full_at_);
      closed_ = true;
    }
    return raw_.NextDeadline();
  }

  const pid_t pid_;
  std::unique_ptr<transport::UdpSocket> socket_;
  std::unique_ptr<transport::EventLoop> loop_;
  transport::RawPeer raw_;
  std::vector<transport::Datagram> datagrams_;
  std::optional<Time> full_at_;
  std::atomic<uint64_t> resident_bytes_max_{0};
  std::atomic<double> closed_after_seconds_{0};
  std::atomic<bool> closed_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace

absl::StatusOr<StallResult> RunStall(Duration part, const Daemons& daemons) {
  const auto count = static_cast<size_t>(part / kGap);
  ScpRun run({.count = 3 * count, .gap = kGap, .first_core_sends_all = true}, daemons.apis(),
             [&] { return daemons.CpuTime(); });
  if (absl::Status status = run.Connect(); !status.ok()) return status;
  StallResult result;
  absl::Status status = run.SendPart(0, count, &result.without);
  if (!status.ok()) return status;
  const uint64_t before = ResidentBytes(daemons.pid(0));
  {
    auto staller = Staller::Create(daemons.peer_address(0), daemons.pid(0));
    if (!staller.ok()) return staller.status();
    status = run.SendPart(count, 2 * count, &result.with);
    if (!status.ok()) return status;
    const uint64_t most = std::max((*staller)->resident_bytes_max(), before);
    result.rss_growth_mb = static_cast<double>(most - before) / (1 << 20);
    result.closed_after_seconds = (*staller)->closed_after_seconds();
  }
  status = run.SendPart(2 * count, 3 * count, &result.without);
  if (!status.ok()) return status;
  run.Finish(0, count, &result.without);
  run.Finish(2 * count, 3 * count, &result.without);
  run.Finish(count, 2 * count, &result.with);
  return result;
}

}  // namespace overlay::bench
