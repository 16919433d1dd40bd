// SCP's latency with requests on the HTTP/3 window, in alternation with none.
#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tests/bench/modes.h"
#include "tests/support/http3_socket_client.h"

namespace overlay::bench {
namespace {

// Pairs of parts, one without requests and one with them.
constexpr size_t kPairs = 10;
constexpr Duration kUpPatience = std::chrono::seconds(10);
constexpr Duration kLongestSleep = std::chrono::milliseconds(5);

// Asks for one page after the other at a pace, on one connection. `Ask(true)` begins, `Ask(false)`
// ends it; both may be called again and again.
class WindowLoad {
 public:
  WindowLoad(const SocketAddress& address, uint64_t per_second)
      : gap_(std::chrono::nanoseconds(1'000'000'000 / per_second)),
        thread_([this, address] { Run(address); }) {}
  ~WindowLoad() {
    stop_.store(true);
    thread_.join();
  }

  void Ask(bool on) { is_asking_.store(on); }
  bool is_up() const { return is_up_.load(); }
  // Call when the last is over.
  void Report(WindowResult* result) {
    const std::lock_guard lock(mutex_);
    result->pages = pages_;
    result->asked = asked_;
    result->refused = refused_;
  }

 private:
  void Run(const SocketAddress& address) {
    // Each crosses to the loop when it is not what the last 250 ms gave; the set is looked for each
    // time.
    const std::array<std::string, 6> paths = {
        "/livez", "/readyz", "/status", "/peers", "/metrics", "/txsets/" + std::string(64, '0')};
    server::Http3SocketClient client(address, 1);
    if (!client.RunUntil([&] { return client.http().is_up() || stop_.load(); }, kUpPatience))
      return;
    is_up_.store(true);
    std::map<transport::StreamId, Time> waiting;
    Time next{};
    for (size_t number = 0; !stop_.load();) {
      const Time now = client.now();
      const bool asking = is_asking_.load();
      if (!asking) next = now + gap_;
      if (asking && now >= next) {
        if (const auto stream = client.http().Ask({.path = paths[number++ % paths.size()]})) {
          waiting.emplace(*stream, next);
        }
        const std::lock_guard lock(mutex_);
        ++asked_;
        next += gap_;
      }
      client.RunOnce(std::clamp<Duration>(next - now, Duration::zero(), kLongestSleep));
      Collect(client, waiting);
    }
  }
  void Collect(server::Http3SocketClient& client, std::map<transport::StreamId, Time>& waiting) {
    for (auto it = waiting.begin(); it != waiting.end();) {
      const server::Http3Answer& answer = client.http().answer(it->first);
      if (!answer.is_complete && !answer.reset) {
        ++it;
        continue;
      }
      const std::lock_guard lock(mutex_);
      pages_.Add(client.now() - it->second);
      // 404 is what the set gets, 503 what a daemon that is not ready says of itself.
      if (answer.reset || answer.status == 429) ++refused_;
      client.http().Forget(it->first);
      it = waiting.erase(it);
    }
  }

  const Duration gap_;
  std::atomic<bool> is_up_{false};
  std::atomic<bool> is_asking_{false};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  Samples pages_;
  uint64_t asked_ = 0;
  uint64_t refused_ = 0;
  std::thread thread_;
};

void Add(const ScpResult& part, ScpResult* whole) {
  whole->latency.Append(part.latency);
  whole->copies += part.copies;
  whole->lost += part.lost;
  whole->sends += part.sends;
  whole->late += part.late;
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

absl::StatusOr<WindowResult> RunWindow(const ScpOptions& options, uint64_t per_second,
                                       const Daemons& daemons) {
  const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(daemons.http3_address(0));
  if (!address.ok()) return address.status();
  ScpRun run(options, daemons.apis(), [&] { return daemons.CpuTime(); });
  if (absl::Status status = run.Connect(); !status.ok()) return status;
  WindowLoad load(*address, per_second);
  const Time until = Now() + kUpPatience;
  Alarm alarm;
  while (!load.is_up()) {
    if (Now() >= until) return absl::UnavailableError("the HTTP/3 window does not answer");
    alarm.WaitUntil(Now() + kLongestSleep);
  }
  const size_t parts = 2 * kPairs;
  const auto begin_of = [&](size_t part) { return options.count * part / parts; };
  std::vector<ScpResult> results(parts);
  for (size_t part = 0; part < parts; ++part) {
    // In each second pair the other way round, so that a machine that gets slower favours none.
    const bool with = (part % 2 == 1) != (part / 2 % 2 == 1);
    load.Ask(with);
    const absl::Status status = run.SendPart(begin_of(part), begin_of(part + 1), &results[part]);
    if (!status.ok()) return status;
  }
  load.Ask(false);
  WindowResult result;
  std::vector<double> ratios;
  std::array<double, 2> medians{};  // of the pair: without, with
  for (size_t part = 0; part < parts; ++part) {
    run.Finish(begin_of(part), begin_of(part + 1), &results[part]);
    const bool with = (part % 2 == 1) != (part / 2 % 2 == 1);
    medians[with ? 1 : 0] = results[part].latency.Micros(0.5).value_or(0);
    Add(results[part], with ? &result.with : &result.without);
    if (part % 2 == 1 && medians[0] > 0) ratios.push_back(medians[1] / medians[0]);
  }
  result.ratio = Median(std::move(ratios));
  load.Report(&result);
  return result;
}

}  // namespace overlay::bench
