// overlay-bench: the command line and the output. Exit codes: 0 a valid measurement, 1 not, 2 wrong
// usage.
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/clock.h"
#include "tests/bench/daemons.h"
#include "tests/bench/echo.h"
#include "tests/bench/floors.h"
#include "tests/bench/scp_mode.h"

namespace overlay::bench {
namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;
constexpr double kLateShareMax = 0.01;
constexpr size_t kBusyRoundTrips = 2'000;

constexpr char kHelp[] =
    "usage: overlay-bench MODE [OPTIONS]\n"
    "\n"
    "  floor   what this machine and its libraries can do: round trips of 300 bytes over UDP, a "
    "unix socket,\n"
    "          gRPC and QUIC, back to back and paced; bulk over gRPC and QUIC; SHA-256\n"
    "  scp     envelopes from core to core through real daemons in a full mesh, the floors in "
    "between\n"
    "\n"
    "  --nodes N     scp: daemons, 2 to 16 (2)\n"
    "  --count K     scp: envelopes, floor: paced round trips of each kind, 1 to 1000000 (5000, "
    "1000)\n"
    "  --gap-us G    between two sends, 10 to 1000000 (1000)\n"
    "  --daemon PATH scp: the overlayd to run (that of the same build)\n"
    "  --json        the last line is one JSON object\n"
    "\n"
    "Times count from when a send was meant to happen. When more than 1 % of the sends are late by "
    "a whole gap,\n"
    "the machine could not keep the pace: the run is invalid and the exit code 1.\n";

struct Arguments {
  std::string mode;
  size_t nodes = 2;
  std::optional<size_t> count;
  uint64_t gap_us = 1'000;
  std::string daemon;
  bool json = false;
};

int Fail(int code, std::string_view message) {
  std::fprintf(stderr, "overlay-bench: %.*s\n", static_cast<int>(message.size()), message.data());
  return code;
}

std::optional<uint64_t> NumberIn(std::string_view text, uint64_t low, uint64_t high) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (number < low || number > high) return std::nullopt;
  return number;
}

// Empty, or what is wrong.
std::string Parse(const std::vector<std::string>& words, Arguments* out) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--json") {
      out->json = true;
      continue;
    }
    if (word.empty() || word[0] != '-') {
      if (!out->mode.empty() || (word != "floor" && word != "scp")) {
        return fmt::format("\"{}\" is not a mode, expected floor or scp", word);
      }
      out->mode = word;
      continue;
    }
    const bool known =
        word == "--nodes" || word == "--count" || word == "--gap-us" || word == "--daemon";
    if (!known) return fmt::format("no option {}: --help lists them", word);
    if (++i == words.size()) return fmt::format("{}: nothing after it", word);
    if (word == "--daemon") {
      out->daemon = words[i];
      continue;
    }
    const uint64_t low = word == "--nodes" ? 2 : word == "--gap-us" ? 10 : 1;
    const uint64_t high = word == "--nodes" ? 16 : 1'000'000;
    const std::optional<uint64_t> number = NumberIn(words[i], low, high);
    if (!number) {
      return fmt::format("{}: \"{}\" is not legal, expected {} to {}", word, words[i], low, high);
    }
    if (word == "--nodes") out->nodes = *number;
    if (word == "--count") out->count = *number;
    if (word == "--gap-us") out->gap_us = *number;
  }
  return out->mode.empty() ? "which mode? floor or scp; --help says more" : "";
}

std::string Figure(const std::optional<double>& value) {
  return value ? fmt::format("{:.1f}", *value) : "null";
}
std::string Cell(const std::optional<double>& value) {
  return value ? fmt::format("{:.1f}", *value) : "";
}

void PrintTable(const Arguments& arguments, const ScpResult* scp, const Floors& floors) {
  if (scp != nullptr) {
    fmt::print("scp: {} daemons, {} envelopes, one each {} us; {} copies, {} lost, {} late sends\n",
               arguments.nodes, scp->sends, arguments.gap_us, scp->copies, scp->lost, scp->late);
    fmt::print(
        "core to core   p50 {} us   p90 {}   p99 {}   p99.9 {}   CPU of the daemons {:.1f} us a "
        "copy\n\n",
        Cell(scp->latency.Micros(0.5)), Cell(scp->latency.Micros(0.9)),
        Cell(scp->latency.Micros(0.99)), Cell(scp->latency.Micros(0.999)), scp->cpu_us_per_copy);
  }
  fmt::print("{:<8} {:>22} {:>22} {:>10}\n", "floor", "paced p50/p99 us", "back to back p50/p99",
             "MB/s");
  for (const FloorFigures& floor : floors.figures()) {
    const auto pair = [](const Samples& samples) {
      return samples.size() == 0
                 ? std::string()
                 : fmt::format("{} / {}", Cell(samples.Micros(0.5)), Cell(samples.Micros(0.99)));
    };
    fmt::print("{:<8} {:>22} {:>22} {:>10} {}\n", floor.name, pair(floor.paced), pair(floor.busy),
               Cell(floor.BulkMedian()), floor.Flag());
  }
  if (scp == nullptr) return;
  const std::optional<double> p50 = scp->latency.Micros(0.5);
  const std::optional<double> grpc = floors.Named("grpc").paced.Micros(0.5);
  const std::optional<double> quic = floors.Named("quic").paced.Micros(0.5);
  if (p50 && grpc && quic) {
    fmt::print("\np50 is {:.2f} x (gRPC echo + half a QUIC echo)\n", *p50 / (*grpc + *quic / 2));
  }
}

std::string Json(const Arguments& arguments, bool valid, const ScpResult& result,
                 const Floors& floors) {
  const bool scp = arguments.mode == "scp";
  const auto latency = [&](double share) { return Figure(result.latency.Micros(share)); };
  const auto echo = [&](const char* name, double share) {
    return Figure(floors.Named(name).paced.Micros(share));
  };
  const auto bulk = [&](const char* name) { return Figure(floors.Named(name).BulkMedian()); };
  return fmt::format(
      R"({{"mode":"{}","valid":{},"p50_us":{},"p90_us":{},"p99_us":{},"p999_us":{},"lost":{},)"
      R"("cpu_us_per_copy":{},"floor":{{"udp_echo_p50_us":{},"unix_echo_p50_us":{},)"
      R"("grpc_echo_p50_us":{},"grpc_echo_p99_us":{},"quic_echo_p50_us":{},)"
      R"("quic_echo_p99_us":{},"quic_bulk_mb_s":{},"grpc_bulk_mb_s":{},"sha256_mb_s":{}}}}})",
      arguments.mode, valid, latency(0.5), latency(0.9), latency(0.99), latency(0.999), result.lost,
      scp ? Figure(result.cpu_us_per_copy) : "null", echo("udp", 0.5), echo("unix", 0.5),
      echo("grpc", 0.5), echo("grpc", 0.99), echo("quic", 0.5), echo("quic", 0.99), bulk("quic"),
      bulk("grpc"), bulk("sha256"));
}

absl::Status RunFloor(const Arguments& arguments, Floors& floors) {
  constexpr size_t kRounds = 5;
  const size_t count = arguments.count.value_or(1'000);
  for (size_t round = 0; round < kRounds; ++round) {
    const size_t pings = count * (round + 1) / kRounds - count * round / kRounds;
    absl::Status status = floors.RunPaced(std::chrono::microseconds(arguments.gap_us), pings);
    if (status.ok()) status = floors.RunBulk();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

int Run(const Arguments& arguments) {
  CatchInterrupts();
  const bool scp = arguments.mode == "scp";
  const std::string overlayd = arguments.daemon.empty() ? FindOverlayd() : arguments.daemon;
  if (scp && overlayd.empty())
    return Fail(kFailure, "this build has no overlayd; name one with --daemon");
  const auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return Fail(kFailure, std::string(folder.status().message()));
  const auto floors = Floors::Start((*folder)->path());
  if (!floors.ok()) return Fail(kFailure, std::string(floors.status().message()));
  absl::Status status = (*floors)->RunBusy(kBusyRoundTrips);
  ScpResult result;
  if (status.ok() && scp) {
    const auto daemons = Daemons::Start(overlayd, arguments.nodes, (*folder)->path());
    if (!daemons.ok()) return Fail(kFailure, std::string(daemons.status().message()));
    ScpOptions options;
    options.count = arguments.count.value_or(options.count);
    options.gap = std::chrono::microseconds(arguments.gap_us);
    auto measured = RunScp(options, **daemons, **floors);
    status = measured.status();
    if (measured.ok()) result = *std::move(measured);
  } else if (status.ok()) {
    status = RunFloor(arguments, **floors);
    result.sends = (*floors)->sends();
    result.late = (*floors)->late();
  }
  if (!status.ok()) return Fail(kFailure, std::string(status.message()));
  if (Interrupted()) return Fail(kFailure, "interrupted");
  const bool valid =
      static_cast<double>(result.late) <= kLateShareMax * static_cast<double>(result.sends);
  PrintTable(arguments, scp ? &result : nullptr, **floors);
  if (!valid) {
    Fail(
        kFailure,
        fmt::format("invalid: {} of {} sends were late by a whole gap: the machine is too busy, or "
                    "--gap-us too small",
                    result.late, result.sends));
  }
  if (arguments.json) fmt::print("{}\n", Json(arguments, valid, result, **floors));
  return valid ? 0 : kFailure;
}

int ServeEcho(const std::string& kind, const std::string& folder) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  if (kind == "udp") return ServeUdpEcho();
  if (kind == "unix") return ServeUnixEcho(folder);
  if (kind == "grpc") return ServeGrpcEcho(folder);
  if (kind == "quic") return ServeQuicEcho();
  return Fail(kUsage, "--echo: expected udp, unix, grpc or quic");
}

int Main(const std::vector<std::string>& words) {
  if (words.size() == 3 && words[0] == "--echo") return ServeEcho(words[1], words[2]);
  for (const std::string& word : words) {
    if (word == "--help" || word == "-h") {
      std::fputs(kHelp, stdout);
      return 0;
    }
  }
  Arguments arguments;
  if (const std::string wrong = Parse(words, &arguments); !wrong.empty())
    return Fail(kUsage, wrong);
  return Run(arguments);
}

}  // namespace
}  // namespace overlay::bench

int main(int argc, char** argv) { return overlay::bench::Main({argv + 1, argv + argc}); }
