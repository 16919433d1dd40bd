#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "overlay/v1/core.grpc.pb.h"
#include "server/http_server.h"
#include "tests/bench/child_process.h"
#include "tests/bench/echo.h"
#include "tests/bench/modes.h"
#include "tests/bench/process_figures.h"

namespace overlay::bench {
namespace {

constexpr Duration kStartPatience = std::chrono::seconds(30);
// Until what starting up left behind is done: look-ups, handshakes, the allocator's last pages.
constexpr Duration kSettle = std::chrono::seconds(5);

void WaitFor(Duration time) {
  Alarm alarm;
  const Time until = Now() + time;
  while (Now() < until && !Interrupted())
    alarm.WaitUntil(std::min(until, Now() + std::chrono::milliseconds(200)));
}

IdleFigures Watch(pid_t pid, Duration time) {
  WaitFor(kSettle);
  const uint64_t switches = VoluntarySwitches(pid);
  const Duration cpu = CpuTimeOfThreads(pid);
  const Time begin = Now();
  WaitFor(time);
  const double seconds = ToSeconds(Now() - begin);
  IdleFigures figures;
  figures.anonymous_mb = static_cast<double>(AnonymousBytes(pid)) / (1 << 20);
  figures.voluntary_switches_per_second =
      static_cast<double>(VoluntarySwitches(pid) - switches) / seconds;
  figures.cpu_ms_per_minute = ToSeconds(CpuTimeOfThreads(pid) - cpu) * 1e3 * 60 / seconds;
  return figures;
}

// Each start makes keys of the same names.
absl::StatusOr<std::unique_ptr<Daemons>> StartIn(const std::string& overlayd, size_t count,
                                                 const std::string& folder) {
  std::error_code error;
  if (!std::filesystem::create_directory(folder, error)) {
    return absl::InternalError(fmt::format("cannot make a folder {}", folder));
  }
  return Daemons::Start(overlayd, count, folder);
}

}  // namespace

absl::StatusOr<IdleResult> RunIdle(Duration time, const std::string& overlayd,
                                   const std::string& folder) {
  IdleResult result;
  {
    const auto bare =
        ChildProcess::Start({"/proc/self/exe", "--echo", "bare", folder}, folder + "/bare.log");
    if (!bare.ok()) return bare.status();
    const auto ready = (*bare)->ReadLine(kStartPatience);
    if (!ready.ok()) return ready.status();
    result.bare = Watch((*bare)->pid(), time);
  }
  {
    const auto daemon = StartIn(overlayd, 1, folder + "/alone");
    if (!daemon.ok()) return daemon.status();
    result.alone = Watch((*daemon)->pid(0), time);
  }
  const auto daemons = StartIn(overlayd, 5, folder + "/five");
  if (!daemons.ok()) return daemons.status();
  result.with_four_peers = Watch((*daemons)->pid(0), time);
  if (Interrupted()) return absl::CancelledError("interrupted");
  return result;
}

int ServeBare(const std::string& folder) {
  const std::string address = "unix:" + folder + "/bare";
  v1::Core::AsyncService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  const auto http = server::HttpServer::Start(
      SocketAddress::Loopback(0),
      {{"/metrics", [](const server::HttpRequest&) { return server::HttpPage{}; }}});
  if (server == nullptr || !http.ok()) return 1;
  SayReady(address);
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) {
  }
  return 1;
}

}  // namespace overlay::bench
