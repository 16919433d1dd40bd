// overlay-bench: the command line and the output. Exit codes: 0 a valid measurement, 1 not, 2 wrong
// usage.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
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
#include "tests/bench/modes.h"

namespace overlay::bench {
namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;
constexpr double kLateShareMax = 0.01;
constexpr size_t kBusyRoundTrips = 2'000;
constexpr size_t kScpNodes = 2;
constexpr size_t kTxNodes = 4;
constexpr std::array<size_t, 3> kTxSetBytes = {100'000, 1'000'000, 10'000'000};

constexpr char kHelp[] =
    R"(usage: overlay-bench MODE [OPTIONS]

  floor      what this machine and its libraries can do: round trips of 300 bytes over UDP, a unix
             socket, gRPC and QUIC, back to back and paced; bulk over gRPC and QUIC; SHA-256
  scp        envelopes from core to core through real daemons in a full mesh, the floors in between
  tx         transactions from one core to all others: pull latency when quiet, then as fast as
             they are taken
  txset      sets fetched one at a time by one core from those that have them, the floors in between
  isolation  envelopes each 5 ms beside sets of 10 MB the same way, through two daemons that run
             already; tests/bench/isolation.py starts them in namespaces with a link of 200 Mbit/s
  mission    one daemon with its core under the load of a large network, made by 30 synthetic peers:
             10,000 tx/s announced by all, 1,700 envelopes/s from half of them, sets of 3 MB
  scp-http3  envelopes as scp, with and without requests to the first daemon's HTTP/3 window, in turns
  drain      the same load, and SIGTERM in the middle of it: exit code, time, what each peer saw
  mempool    the best 1,000 of a full mempool: from the rules alone, and through a daemon
  stall      envelopes each ms between two daemons, before, while and after a peer is there that
             grants 8 streams and never reads
  deaf       envelopes each 2 ms between three daemons, before and while the third one's core reads
             nothing and the first submits transactions
  idle       what a daemon with nothing to do costs, alone and with four peers, beside a bare server

  --nodes N        scp, scp-http3, tx: daemons, 2 to 16 (2; 2; 4)
  --requests R     scp-http3: a second, 1 to 2000 (200)
  --count K        scp: envelopes (5000), scp-http3 (20000), floor: paced round trips of each kind (1000),
                   tx: transactions (10000), txset: sets of each size (20),
                   deaf: transactions (50000), mempool: transactions in it (100000); 1 to 1000000
  --gap-us G       floor, scp, scp-http3: between two sends, 10 to 1000000 (1000)
  --seconds S      isolation: measured (20); stall, deaf: each part (30; 10);
                   idle: each part (60); mission: of load (60);
                   drain: of load, half of it before the signal (10); 1 to 600
  --tps T          mission, drain: transactions a second, 0 to 100000 (10000)
  --envelopes E    mission, drain: envelopes a second, 1 to 20000 (1700)
  --peers P        mission, drain: synthetic peers, 1 to 60 (30)
  --bytes B        txset: of each set, 1000 to 16777216 (100000, then 1000000, then 10000000)
  --silent-first   txset: before the others a source is asked that never writes
  --sources S      txset: daemons that have the set, and are asked at once, 1 to 3 (1)
  --from A --to B  isolation: where the cores attach
  --daemon PATH    the overlayd to run (that of the same build)
  --json           the last line is one JSON object

Times count from when a send was meant to happen. When more than 1 % of the sends are late by a
whole gap, the machine could not keep the pace: the run is invalid and the exit code 1.
)";

struct Arguments {
  std::string mode;
  std::optional<size_t> nodes;
  std::optional<size_t> count;
  uint64_t gap_us = 1'000;
  std::optional<uint64_t> seconds;
  std::optional<size_t> bytes;
  uint64_t requests = 200;
  uint32_t sources = 1;
  bool silent_first = false;
  MissionOptions mission;
  std::string from;
  std::string to;
  std::string daemon;
  bool json = false;

  Duration SecondsOr(int64_t otherwise) const {
    return std::chrono::seconds(seconds ? static_cast<int64_t>(*seconds) : otherwise);
  }
};

constexpr std::array<std::string_view, 12> kModes = {"floor",   "scp",       "scp-http3", "tx",
                                                     "txset",   "isolation", "mission",   "drain",
                                                     "mempool", "stall",     "deaf",      "idle"};

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

struct NumberOption {
  std::string_view name;
  uint64_t low;
  uint64_t high;
};
constexpr std::array<NumberOption, 10> kNumberOptions = {{{"--bytes", 1'000, 16 << 20},
                                                          {"--requests", 1, 2'000},
                                                          {"--sources", 1, 3},
                                                          {"--nodes", 2, 16},
                                                          {"--count", 1, 1'000'000},
                                                          {"--gap-us", 10, 1'000'000},
                                                          {"--seconds", 1, 600},
                                                          {"--tps", 0, 100'000},
                                                          {"--envelopes", 1, 20'000},
                                                          {"--peers", 1, 60}}};

bool IsOption(const std::string& name) {
  return name == "--daemon" || name == "--from" || name == "--to" ||
         std::any_of(kNumberOptions.begin(), kNumberOptions.end(),
                     [&](const NumberOption& option) { return option.name == name; });
}

// Empty, or what is wrong with the value.
std::string SetOption(const std::string& name, const std::string& value, Arguments* out) {
  if (name == "--daemon") return out->daemon = value, "";
  if (name == "--from") return out->from = value, "";
  if (name == "--to") return out->to = value, "";
  for (const NumberOption& option : kNumberOptions) {
    if (name != option.name) continue;
    const std::optional<uint64_t> number = NumberIn(value, option.low, option.high);
    if (!number) {
      return fmt::format("{}: \"{}\" is not legal, expected {} to {}", name, value, option.low,
                         option.high);
    }
    if (name == "--nodes") out->nodes = *number;
    if (name == "--count") out->count = *number;
    if (name == "--gap-us") out->gap_us = *number;
    if (name == "--seconds") out->seconds = *number;
    if (name == "--bytes") out->bytes = *number;
    if (name == "--requests") out->requests = *number;
    if (name == "--tps") out->mission.tps = *number;
    if (name == "--envelopes") out->mission.envelopes_per_second = *number;
    if (name == "--peers") out->mission.peers = *number;
    if (name == "--sources") out->sources = static_cast<uint32_t>(*number);
  }
  return "";
}

// Empty, or what is wrong.
std::string Parse(const std::vector<std::string>& words, Arguments* out) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--json") {
      out->json = true;
      continue;
    }
    if (word == "--silent-first") {
      out->silent_first = true;
      continue;
    }
    if (word.empty() || word[0] != '-') {
      if (!out->mode.empty() || std::find(kModes.begin(), kModes.end(), word) == kModes.end()) {
        return fmt::format("\"{}\" is not a mode, expected {}", word, fmt::join(kModes, ", "));
      }
      out->mode = word;
      continue;
    }
    if (!IsOption(word)) return fmt::format("no option {}: --help lists them", word);
    if (++i == words.size()) return fmt::format("{}: nothing after it", word);
    if (std::string wrong = SetOption(word, words[i], out); !wrong.empty()) return wrong;
  }
  if (out->mode.empty()) {
    return fmt::format("which mode? {}; --help says more", fmt::join(kModes, ", "));
  }
  if (out->mode == "isolation" && (out->from.empty() || out->to.empty())) {
    return "isolation: --from and --to say where the cores attach";
  }
  return "";
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
               arguments.nodes.value_or(kScpNodes), scp->sends, arguments.gap_us, scp->copies,
               scp->lost, scp->late);
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

bool KeptPace(const ScpResult& result) {
  return static_cast<double>(result.late) <= kLateShareMax * static_cast<double>(result.sends);
}

int Verdict(const ScpResult& result) {
  if (KeptPace(result)) return 0;
  return Fail(kFailure, fmt::format("invalid: {} of {} sends were late by a whole gap: the machine "
                                    "is too busy, or --gap-us too small",
                                    result.late, result.sends));
}

// The keys that all modes with envelopes share.
std::string LatencyJson(const std::string& mode, const ScpResult& result) {
  const auto latency = [&](double share) { return Figure(result.latency.Micros(share)); };
  return fmt::format(
      R"("mode":"{}","valid":{},"p50_us":{},"p90_us":{},"p99_us":{},"p999_us":{},"lost":{})", mode,
      KeptPace(result), latency(0.5), latency(0.9), latency(0.99), latency(0.999), result.lost);
}

// ---- the modes

std::string Json(const Arguments& arguments, const ScpResult& result, const Floors& floors) {
  const auto echo = [&](const char* name, double share) {
    return Figure(floors.Named(name).paced.Micros(share));
  };
  const auto bulk = [&](const char* name) { return Figure(floors.Named(name).BulkMedian()); };
  return fmt::format(
      R"({{{},"cpu_us_per_copy":{},"floor":{{"udp_echo_p50_us":{},"unix_echo_p50_us":{},)"
      R"("grpc_echo_p50_us":{},"grpc_echo_p99_us":{},"quic_echo_p50_us":{},)"
      R"("quic_echo_p99_us":{},"quic_bulk_mb_s":{},"grpc_bulk_mb_s":{},"sha256_mb_s":{}}}}})",
      LatencyJson(arguments.mode, result),
      arguments.mode == "scp" ? Figure(result.cpu_us_per_copy) : "null", echo("udp", 0.5),
      echo("unix", 0.5), echo("grpc", 0.5), echo("grpc", 0.99), echo("quic", 0.5),
      echo("quic", 0.99), bulk("quic"), bulk("grpc"), bulk("sha256"));
}

absl::StatusOr<int> MeasureWithFloors(const Arguments& arguments, const std::string& overlayd,
                                      const std::string& folder) {
  const bool scp = arguments.mode == "scp";
  const auto floors = Floors::Start(folder);
  if (!floors.ok()) return floors.status();
  absl::Status status = (*floors)->RunBusy(kBusyRoundTrips);
  ScpResult result;
  if (status.ok() && scp) {
    const auto daemons = Daemons::Start(overlayd, arguments.nodes.value_or(kScpNodes), folder);
    if (!daemons.ok()) return daemons.status();
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
  if (!status.ok()) return status;
  PrintTable(arguments, scp ? &result : nullptr, **floors);
  const int verdict = Verdict(result);
  if (arguments.json) fmt::print("{}\n", Json(arguments, result, **floors));
  return verdict;
}

absl::StatusOr<int> MeasureTx(const Arguments& arguments, const std::string& overlayd,
                              const std::string& folder) {
  const size_t nodes = arguments.nodes.value_or(kTxNodes);
  const auto daemons = Daemons::Start(overlayd, nodes, folder);
  if (!daemons.ok()) return daemons.status();
  const auto tx = RunTx(arguments.count.value_or(10'000), **daemons);
  if (!tx.ok()) return tx.status();
  ScpResult pull;
  pull.latency = tx->pull;
  pull.lost = tx->lost;
  fmt::print("tx: {} daemons, {} transactions, {} copies lost\n", nodes, tx->sent, tx->lost);
  fmt::print("one by one     p50 {} us   p99 {}, submitted to delivered\n",
             Cell(pull.latency.Micros(0.5)), Cell(pull.latency.Micros(0.99)));
  fmt::print(
      "all at once    {:.0f} tx/s, {:.1f} us of CPU a transaction and node, {:.0f} bytes a "
      "transaction and link, {:.2f} % of bodies twice\n",
      tx->per_second, tx->cpu_us_per_tx_per_node, tx->wire_bytes_per_tx_per_link,
      100 * tx->duplicate_share);
  if (arguments.json) {
    fmt::print(R"({{{},"pull_p50_us":{},"pull_p99_us":{},"tx_per_s":{:.0f},)",
               LatencyJson("tx", pull), Figure(pull.latency.Micros(0.5)),
               Figure(pull.latency.Micros(0.99)), tx->per_second);
    fmt::print(R"("cpu_us_per_tx_per_node":{:.1f},"bytes_per_tx_per_link":{:.0f},)",
               tx->cpu_us_per_tx_per_node, tx->wire_bytes_per_tx_per_link);
    fmt::print(R"("duplicate_share":{:.4f}}})", tx->duplicate_share);
    fmt::print("\n");
  }
  return tx->lost == 0 ? 0 : Fail(kFailure, "copies were lost");
}

// One size of set; what it took.
struct TxSetFigures {
  size_t bytes = 0;
  ScpResult fetch;
  double mb_per_s = 0;
  double floor_us = 0;
  TxSetResult result;
};

absl::StatusOr<TxSetFigures> MeasureOneSize(const TxSetOptions& options, const Daemons& daemons,
                                            Floors& floors, const std::string& folder) {
  auto sets = RunTxSet(options, daemons, &floors, folder);
  if (!sets.ok()) return sets.status();
  TxSetFigures figures;
  figures.bytes = options.bytes;
  figures.result = *std::move(sets);
  figures.fetch.latency = figures.result.fetch;
  figures.fetch.lost = figures.result.lost;
  const double megabytes = static_cast<double>(options.bytes) / 1e6;
  for (const char* name : {"quic", "sha256", "grpc"}) {
    figures.floor_us += 1e6 * megabytes / floors.Named(name).BulkMedian().value_or(1);
  }
  const double p50 = figures.fetch.latency.Micros(0.5).value_or(0);
  figures.mb_per_s = p50 > 0 ? 1e6 * megabytes / p50 : 0;
  fmt::print("txset: {} sets of {} bytes from {}{}, {} lost\n", options.count, options.bytes,
             options.sources, options.silent_first ? " behind a silent one" : "",
             figures.result.lost);
  fmt::print(
      "asked for to delivered   p50 {} us   p99 {}   {:.0f} MB/s   whole in the daemon after "
      "{:.1f} "
      "ms on average   {:.1f} ms of CPU a set\n",
      Cell(p50), Cell(figures.fetch.latency.Micros(0.99)), figures.mb_per_s,
      figures.result.daemon_ms_per_set, figures.result.cpu_ms_per_set);
  fmt::print("p50 is {:.2f} x (QUIC bulk + SHA-256 + gRPC bulk of the same size, {:.0f} us)\n",
             p50 / figures.floor_us, figures.floor_us);
  return figures;
}

std::string TxSetJson(const TxSetFigures& figures) {
  return fmt::format(
      R"({},"bytes":{},"mb_per_s":{:.1f},"daemon_ms_per_set":{:.2f},"cpu_ms_per_set":{:.1f},)"
      R"("wire_bytes_per_set":{:.0f},"floor_us":{:.1f})",
      LatencyJson("txset", figures.fetch), figures.bytes, figures.mb_per_s,
      figures.result.daemon_ms_per_set, figures.result.cpu_ms_per_set,
      figures.result.wire_bytes_per_set, figures.floor_us);
}

absl::StatusOr<int> MeasureTxSet(const Arguments& arguments, const std::string& overlayd,
                                 const std::string& folder) {
  const auto floors = Floors::Start(folder);
  if (!floors.ok()) return floors.status();
  const auto daemons = Daemons::Start(overlayd, arguments.sources + 1, folder);
  if (!daemons.ok()) return daemons.status();
  std::vector<size_t> sizes(kTxSetBytes.begin(), kTxSetBytes.end());
  if (arguments.bytes) sizes = {*arguments.bytes};
  std::vector<std::string> runs;
  uint64_t lost = 0;
  std::string last;
  for (const size_t bytes : sizes) {
    const TxSetOptions options{.bytes = bytes,
                               .count = arguments.count.value_or(20),
                               .sources = arguments.sources,
                               .silent_first = arguments.silent_first};
    const auto figures = MeasureOneSize(options, **daemons, **floors, folder);
    if (!figures.ok()) return figures.status();
    last = TxSetJson(*figures);
    runs.push_back("{" + last + "}");
    lost += figures->result.lost;
  }
  if (arguments.json) {
    fmt::print(R"({{{},"sources":{},"silent_first":{},"runs":[{}]}})", last, arguments.sources,
               arguments.silent_first, fmt::join(runs, ","));
    fmt::print("\n");
  }
  return lost == 0 ? 0 : Fail(kFailure, "sets were lost");
}

absl::StatusOr<int> MeasureIsolation(const Arguments& arguments) {
  // Whoever counts on the link itself wants to know when.
  const auto say = [](const char* what) {
    fmt::print("{}\n", what);
    std::fflush(stdout);
  };
  const Duration time = arguments.SecondsOr(20);
  const auto measured = RunIsolation(time, arguments.from, arguments.to, say);
  if (!measured.ok()) return measured.status();
  const ScpResult& scp = measured->scp;
  fmt::print("isolation: {} envelopes, {} lost, beside {} sets of 10 MB\n", scp.sends, scp.lost,
             measured->sets);
  fmt::print("core to core   p50 {} us   p90 {}   p99 {}   p99.9 {}\n",
             Cell(scp.latency.Micros(0.5)), Cell(scp.latency.Micros(0.9)),
             Cell(scp.latency.Micros(0.99)), Cell(scp.latency.Micros(0.999)));
  const int verdict = Verdict(scp);
  if (arguments.json) {
    fmt::print(R"({{{},"sets":{}}})", LatencyJson("isolation", scp), measured->sets);
    fmt::print("\n");
  }
  return verdict;
}

absl::StatusOr<int> MeasureMempool(const Arguments& arguments, const std::string& overlayd,
                                   const std::string& folder) {
  const size_t count = arguments.count.value_or(100'000);
  const auto daemons =
      Daemons::Start(overlayd, 1, folder,
                     {"--mempool.count_max", fmt::format("{}", std::max<size_t>(count, 100))});
  if (!daemons.ok()) return daemons.status();
  const auto measured = RunMempool(count, **daemons);
  if (!measured.ok()) return measured.status();
  const auto row = [](const std::string& name, const Samples& samples) {
    fmt::print("{:<28} p50 {} us   p99 {}\n", name, Cell(samples.Micros(0.5)),
               Cell(samples.Micros(0.99)));
  };
  fmt::print("mempool: the best 1,000 of {}\n", count);
  row("rules alone", measured->rules);
  row(fmt::format("rules alone, {} in it", count / 10), measured->rules_tenth);
  row("through the daemon", measured->daemon);
  if (arguments.json) {
    const auto pair = [](const char* name, const Samples& samples) {
      return fmt::format(R"("{0}_p50_us":{1},"{0}_p99_us":{2})", name, Figure(samples.Micros(0.5)),
                         Figure(samples.Micros(0.99)));
    };
    fmt::print(R"({{"mode":"mempool","valid":true,"count":{},{},{},{}}})", count,
               pair("rules", measured->rules), pair("rules_tenth", measured->rules_tenth),
               pair("daemon", measured->daemon));
    fmt::print("\n");
  }
  return 0;
}

absl::StatusOr<int> MeasureMission(const Arguments& arguments, const std::string& overlayd,
                                   const std::string& folder) {
  // Full before the first third is over, so that memory can be seen to stay flat behind it.
  const auto daemons = Daemons::Start(
      overlayd, 1, folder, {"--cache.bytes_max", "48MiB", "--cache.guest_bytes_max", "16MiB"});
  if (!daemons.ok()) return daemons.status();
  MissionOptions options = arguments.mission;
  options.seconds = arguments.seconds.value_or(options.seconds);
  const auto measured = RunMission(options, **daemons, folder);
  if (!measured.ok()) return measured.status();
  fmt::print("{}", MissionText(options, *measured));
  if (arguments.json) fmt::print("{}\n", MissionJson(options, *measured));
  if (!measured->invalid.empty()) return Fail(kFailure, "invalid: " + measured->invalid);
  const bool complete = measured->transactions_lost + measured->transactions_repeated +
                            measured->envelopes_lost + measured->envelopes_repeated ==
                        0;
  return complete ? 0 : Fail(kFailure, "not each came exactly once");
}

absl::StatusOr<int> MeasureDrain(const Arguments& arguments, const std::string& overlayd,
                                 const std::string& folder) {
  const auto daemons = Daemons::Start(overlayd, 1, folder);
  if (!daemons.ok()) return daemons.status();
  MissionOptions options = arguments.mission;
  options.seconds = arguments.seconds.value_or(10);
  const auto measured = RunDrain(options, **daemons, folder);
  if (!measured.ok()) return measured.status();
  const SentLoad& sent = measured->sent;
  const bool as_promised = measured->exit_code == 0 && sent.disconnects == options.peers &&
                           sent.goaways == options.peers;
  fmt::print(
      "drain: {} peers, {} tx/s, {} envelopes/s; {} transactions delivered until SIGTERM\n"
      "exit code {} after {:.0f} ms; {} of {} peers were disconnected, {} by a goaway\n",
      options.peers, options.tps, options.envelopes_per_second, measured->delivered,
      measured->exit_code, measured->exit_ms, sent.disconnects, options.peers, sent.goaways);
  if (arguments.json) {
    fmt::print(R"({{"mode":"drain","valid":{},"peers":{},"tps":{},"envelopes_per_s":{},)",
               as_promised, options.peers, options.tps, options.envelopes_per_second);
    fmt::print(R"("delivered":{},"exit_code":{},"exit_ms":{:.1f},"disconnects":{},"goaways":{}}})",
               measured->delivered, measured->exit_code, measured->exit_ms, sent.disconnects,
               sent.goaways);
    fmt::print("\n");
  }
  return as_promised ? 0 : Fail(kFailure, "not every peer saw one goaway, or the daemon failed");
}

absl::StatusOr<int> MeasureWindow(const Arguments& arguments, const std::string& overlayd,
                                  const std::string& folder) {
  const auto daemons =
      Daemons::Start(overlayd, arguments.nodes.value_or(kScpNodes), folder,
                     {"--http3.listen", "127.0.0.1:0", "--http3.requests_per_second_max", "10000"});
  if (!daemons.ok()) return daemons.status();
  ScpOptions options;
  options.count = arguments.count.value_or(20'000);
  options.gap = std::chrono::microseconds(arguments.gap_us);
  const auto measured = RunWindow(options, arguments.requests, **daemons);
  if (!measured.ok()) return measured.status();
  const auto row = [](const char* name, const ScpResult& part) {
    fmt::print("{:<20} p50 {} us   p99 {}   {} lost\n", name, Cell(part.latency.Micros(0.5)),
               Cell(part.latency.Micros(0.99)), part.lost);
  };
  row("without requests", measured->without);
  row(fmt::format("{} requests/s", arguments.requests).c_str(), measured->with);
  fmt::print("ratio of the medians {:.3f}; {} pages asked for, {} refused, p50 {} us, p99 {}\n",
             measured->ratio, measured->asked, measured->refused, Cell(measured->pages.Micros(0.5)),
             Cell(measured->pages.Micros(0.99)));
  const int verdict = std::max(Verdict(measured->with), Verdict(measured->without));
  if (arguments.json) {
    fmt::print(
        R"({{{},"p50_without_us":{},"p99_without_us":{},"lost_without":{},"ratio":{:.3f},)",
        LatencyJson("scp-http3", measured->with), Figure(measured->without.latency.Micros(0.5)),
        Figure(measured->without.latency.Micros(0.99)), measured->without.lost, measured->ratio);
    fmt::print(R"("pages":{},"pages_refused":{},"page_p50_us":{},"page_p99_us":{}}})",
               measured->pages.size(), measured->refused, Figure(measured->pages.Micros(0.5)),
               Figure(measured->pages.Micros(0.99)));
    fmt::print("\n");
  }
  return verdict;
}

absl::StatusOr<int> MeasureStall(const Arguments& arguments, const std::string& overlayd,
                                 const std::string& folder) {
  const auto daemons = Daemons::Start(overlayd, 2, folder);
  if (!daemons.ok()) return daemons.status();
  const auto measured = RunStall(arguments.SecondsOr(30), **daemons);
  if (!measured.ok()) return measured.status();
  const auto row = [](const char* name, const ScpResult& part) {
    fmt::print("{:<20} p50 {} us   p99 {}   {} lost\n", name, Cell(part.latency.Micros(0.5)),
               Cell(part.latency.Micros(0.99)), part.lost);
  };
  row("without it", measured->without);
  row("beside a staller", measured->with);
  fmt::print("memory grew by {:.1f} MB; {}\n", measured->rss_growth_mb,
             measured->closed_after_seconds
                 ? fmt::format("closed as stalled after {:.2f} s", *measured->closed_after_seconds)
                 : "not closed as stalled in this time");
  const int verdict = std::max(Verdict(measured->with), Verdict(measured->without));
  if (arguments.json) {
    fmt::print(R"({{{},"p50_without_us":{},"p99_without_us":{},"lost_without":{},)",
               LatencyJson("stall", measured->with), Figure(measured->without.latency.Micros(0.5)),
               Figure(measured->without.latency.Micros(0.99)), measured->without.lost);
    fmt::print(R"("rss_growth_mb":{:.1f},"closed_after_s":{}}})", measured->rss_growth_mb,
               measured->closed_after_seconds
                   ? fmt::format("{:.2f}", *measured->closed_after_seconds)
                   : "null");
    fmt::print("\n");
  }
  return verdict;
}

absl::StatusOr<int> MeasureDeaf(const Arguments& arguments, const std::string& overlayd,
                                const std::string& folder) {
  const auto daemons = Daemons::Start(overlayd, 3, folder);
  if (!daemons.ok()) return daemons.status();
  const auto measured =
      RunDeaf(arguments.count.value_or(50'000), arguments.SecondsOr(10), **daemons);
  if (!measured.ok()) return measured.status();
  const auto row = [](const char* name, const ScpResult& part) {
    fmt::print("{:<20} p50 {} us   p99 {}   {} lost\n", name, Cell(part.latency.Micros(0.5)),
               Cell(part.latency.Micros(0.99)), part.lost);
  };
  row("quiet", measured->quiet);
  row("beside a deaf core", measured->beside);
  fmt::print(
      "{} transactions, {} refused, {} lost, {} overflows; its daemon held {} for it at most, {} "
      "at the end, and grew by {:.1f} MB\n",
      measured->transactions, measured->refused, measured->lost, measured->overflows,
      measured->waiting_max, measured->waiting_end, measured->rss_growth_mb);
  const int verdict = std::max(Verdict(measured->quiet), Verdict(measured->beside));
  if (arguments.json) {
    fmt::print(R"({{{},"p50_quiet_us":{},"p99_quiet_us":{},"transactions":{},"refused":{},)",
               LatencyJson("deaf", measured->beside), Figure(measured->quiet.latency.Micros(0.5)),
               Figure(measured->quiet.latency.Micros(0.99)), measured->transactions,
               measured->refused);
    fmt::print(R"("tx_lost":{},"overflows":{},"waiting_max":{},"waiting_end":{},)", measured->lost,
               measured->overflows, measured->waiting_max, measured->waiting_end);
    fmt::print(R"("rss_growth_mb":{:.1f}}})", measured->rss_growth_mb);
    fmt::print("\n");
  }
  return verdict;
}

absl::StatusOr<int> MeasureIdle(const Arguments& arguments, const std::string& overlayd,
                                const std::string& folder) {
  const auto measured = RunIdle(arguments.SecondsOr(60), overlayd, folder);
  if (!measured.ok()) return measured.status();
  const auto row = [](const char* name, const IdleFigures& figures) {
    fmt::print("{:<22} {:>8.1f} MB anonymous {:>7.2f} voluntary switches/s {:>7.1f} ms CPU/min\n",
               name, figures.anonymous_mb, figures.voluntary_switches_per_second,
               figures.cpu_ms_per_minute);
  };
  row("bare servers", measured->bare);
  row("overlayd, no peers", measured->alone);
  row("overlayd, four peers", measured->with_four_peers);
  if (arguments.json) {
    const auto figures = [](const IdleFigures& each) {
      return fmt::format(
          R"({{"anonymous_mb":{:.1f},"voluntary_switches_s":{:.2f},"cpu_ms_min":{:.1f}}})",
          each.anonymous_mb, each.voluntary_switches_per_second, each.cpu_ms_per_minute);
    };
    fmt::print(R"({{"mode":"idle","valid":true,"bare":{},"alone":{},"four_peers":{}}})",
               figures(measured->bare), figures(measured->alone),
               figures(measured->with_four_peers));
    fmt::print("\n");
  }
  return 0;
}

absl::StatusOr<int> Measure(const Arguments& arguments) {
  if (arguments.mode == "isolation") return MeasureIsolation(arguments);
  const std::string overlayd = arguments.daemon.empty() ? FindOverlayd() : arguments.daemon;
  if (arguments.mode != "floor" && overlayd.empty()) {
    return absl::NotFoundError("this build has no overlayd; name one with --daemon");
  }
  const auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return folder.status();
  if (arguments.mode == "scp-http3") return MeasureWindow(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "tx") return MeasureTx(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "txset") return MeasureTxSet(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "mempool") return MeasureMempool(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "mission") return MeasureMission(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "drain") return MeasureDrain(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "stall") return MeasureStall(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "deaf") return MeasureDeaf(arguments, overlayd, (*folder)->path());
  if (arguments.mode == "idle") return MeasureIdle(arguments, overlayd, (*folder)->path());
  return MeasureWithFloors(arguments, overlayd, (*folder)->path());
}

int Run(const Arguments& arguments) {
  CatchInterrupts();
  const absl::StatusOr<int> code = Measure(arguments);
  if (Interrupted()) return Fail(kFailure, "interrupted");
  return code.ok() ? *code : Fail(kFailure, std::string(code.status().message()));
}

int ServeEcho(const std::string& kind, const std::string& folder) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  if (kind == "udp") return ServeUdpEcho();
  if (kind == "unix") return ServeUnixEcho(folder);
  if (kind == "grpc") return ServeGrpcEcho(folder);
  if (kind == "quic") return ServeQuicEcho();
  if (kind == "bare") return ServeBare(folder);
  return Fail(kUsage, "--echo: expected udp, unix, grpc, quic or bare");
}

int Main(const std::vector<std::string>& words) {
  if (words.size() == 3 && words[0] == "--echo") return ServeEcho(words[1], words[2]);
  if (!words.empty() && words[0] == "--synthetic-peers") {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return ServeSyntheticPeers({words.begin() + 1, words.end()});
  }
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
