// overlay-demo-core: plays a consensus core beside one overlayd. README.md says what it is and is
// not.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include "client-sdk/demo-core/core.h"

namespace overlay::demo {
namespace {

constexpr std::string_view kUsage =
    R"(usage: overlay-demo-core --daemon unix:PATH --network PASSPHRASE --seed S... --quorum-set SET

  --daemon TARGET        the daemon's core API: unix:PATH or IP:PORT
  --network PASSPHRASE   of the network
  --seed S...            the validator's key
  --seed-file FILE       or a file with it, as overlayd keygen makes
  --quorum-set SET       THRESHOLD,G...,(THRESHOLD,G...): members, and inner sets in brackets
  --peers HOST:PORT,...  peers that the daemon shall keep
  --ledger-ms MS         a ledger every so often (1000)
  --timeout-ms MS        patience with a leader or a ballot (500)
  --tps N                transactions to submit a second (0)
  --submit-seconds S     for so long (unlimited)
  --transactions FILE    records (.xdr.gz) to take them from; else they are generated
  --tx-first N           this core's first number of transactions (0)
  --tx-stride N          cores that share the numbers (1)
  --sequence-base N      sequence number of transaction 0 (1); "clock": not used by earlier lives
  --seconds S            end after so long (never)
  --report FILE|FD       JSON lines, see report.h
  --rejoin               an earlier life of this core may have voted
  --resume SLOT          the newest ledger that it closed, as a core with a disk would know
  --control              obey standard input ("stop-after SLOT"); its end ends the core
  --sabotage KIND        drop-scp, drop-tx, corrupt-set or no-vote, from ledger 3 on
)";

int g_wake_pipe[2] = {-1, -1};  // written by signals and by the core's end

void Wake(int) {
  const char byte = 0;
  [[maybe_unused]] const ssize_t wrote = write(g_wake_pipe[1], &byte, 1);
}

struct Arguments {
  CoreOptions core;
  std::string report;
  double seconds = 0;
  bool control = false;
};

// False: the file cannot be read, or its first word is no secret seed.
bool ReadSeedFile(const std::string& path, SecretSeed* out) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word)) return false;
  const absl::StatusOr<SecretSeed> seed = SecretSeedFromStrkey(word);
  if (seed.ok()) *out = *seed;
  return seed.ok();
}

// Room for 16 million transactions in each second since an earlier life began.
int64_t SequenceBaseNow() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count() << 24;
}

absl::Status Wrong(std::string_view flag, std::string_view value, std::string_view expected) {
  return absl::InvalidArgumentError(fmt::format("{}: \"{}\", expected {}", flag, value, expected));
}

template <class Number>
bool ParseNumber(std::string_view text, Number low, Number high, Number* out) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || number < low || number > high) return false;
  *out = number;
  return true;
}

std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

// Each flag sets one thing; false: its value is not what is expected.
struct Flag {
  std::string_view expected;
  std::function<bool(const std::string&)> set;
};

std::map<std::string_view, Flag> FlagsOf(Arguments& out) {
  CoreOptions& core = out.core;
  const auto text = [](std::string& field) {
    return Flag{"a text", [&field](const std::string& value) {
                  field = value;
                  return !value.empty();
                }};
  };
  const auto milliseconds = [](Duration& field) {
    return Flag{"10 to 600000", [&field](const std::string& value) {
                  int64_t ms = 0;
                  const bool good = ParseNumber<int64_t>(value, 10, 600'000, &ms);
                  field = std::chrono::milliseconds(ms);
                  return good;
                }};
  };
  const auto count = [](auto& field, auto high) {
    using Number = std::remove_reference_t<decltype(field)>;
    return Flag{"a number", [&field, high](const std::string& value) {
                  return ParseNumber<Number>(value, 0, static_cast<Number>(high), &field);
                }};
  };
  return {
      {"--daemon", text(core.daemon)},
      {"--network", text(core.passphrase)},
      {"--seed", Flag{"a secret seed, S...",
                      [&core](const std::string& value) {
                        const auto seed = SecretSeedFromStrkey(value);
                        if (seed.ok()) core.seed = *seed;
                        return seed.ok();
                      }}},
      {"--seed-file",
       Flag{"a file with a secret seed, S...",
            [&core](const std::string& value) { return ReadSeedFile(value, &core.seed); }}},
      {"--quorum-set", Flag{"THRESHOLD,G...,(THRESHOLD,G...)",
                            [&core](const std::string& value) {
                              const auto set = ParseQuorumSet(value);
                              if (set.ok()) core.quorum_set = *set;
                              return set.ok();
                            }}},
      {"--peers", Flag{"HOST:PORT,...",
                       [&core](const std::string& value) {
                         core.peers = SplitAtCommas(value);
                         return true;
                       }}},
      {"--ledger-ms", milliseconds(core.ledger_every)},
      {"--timeout-ms", milliseconds(core.vote_timeout)},
      {"--tps", count(core.transactions_per_s, 100'000)},
      {"--submit-seconds", Flag{"seconds",
                                [&core](const std::string& value) {
                                  double seconds = 0;
                                  const bool good = ParseNumber<double>(value, 0, 1e6, &seconds);
                                  core.submit_for = std::chrono::duration_cast<Duration>(
                                      std::chrono::duration<double>(seconds));
                                  return good;
                                }}},
      {"--transactions", text(core.transactions.file)},
      {"--tx-first", count(core.transactions.first, 1'000'000'000)},
      {"--tx-stride", count(core.transactions.stride, 1'000'000)},
      {"--sequence-base", Flag{"a number, or clock",
                               [&core](const std::string& value) {
                                 int64_t& base = core.transactions.sequence_base;
                                 if (value != "clock") {
                                   return ParseNumber<int64_t>(value, 0, INT64_MAX / 2, &base);
                                 }
                                 base = SequenceBaseNow();
                                 return true;
                               }}},
      {"--resume", count(core.resume_slot, UINT64_MAX / 2)},
      {"--seconds", count(out.seconds, 1e6)},
      {"--report", text(out.report)},
      {"--sabotage", Flag{"drop-scp, drop-tx, corrupt-set or no-vote",
                          [&core](const std::string& value) {
                            const auto kind = SabotageFromName(value);
                            if (kind) core.sabotage = *kind;
                            return kind.has_value();
                          }}},
  };
}

absl::StatusOr<Arguments> Parse(const std::vector<std::string>& words) {
  Arguments out;
  out.core.submit_for = std::chrono::hours(24);
  const std::map<std::string_view, Flag> flags = FlagsOf(out);
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--rejoin") {
      out.core.rejoin = true;
    } else if (words[i] == "--control") {
      out.control = true;
    } else {
      const auto flag = flags.find(words[i]);
      if (flag == flags.end()) return Wrong("argument", words[i], "one of those of --help");
      const bool has_value = i + 1 < words.size();
      const std::string value = has_value ? words[i + 1] : "";
      // A seed is never repeated.
      const std::string shown = words[i] == "--seed" ? "..." : value;
      if (!has_value || !flag->second.set(value)) {
        return Wrong(words[i], shown, flag->second.expected);
      }
      ++i;
    }
  }
  if (out.core.daemon.empty()) return Wrong("--daemon", "", "unix:PATH or IP:PORT");
  if (out.core.passphrase.empty()) return Wrong("--network", "", "a passphrase");
  if (out.core.quorum_set.threshold == 0) return Wrong("--quorum-set", "", "a quorum set");
  if (out.core.seed.bytes == SecretSeed{}.bytes) return Wrong("--seed", "", "a secret seed");
  out.core.transactions.network = NetworkIdOf(out.core.passphrase);
  if (out.core.transactions.stride == 0) return Wrong("--tx-stride", "0", "1 or more");
  return out;
}

// Obeys standard input and signals until the core has ended or is told to.
void Control(DemoCore& core, bool control, double seconds) {
  std::string line;
  const Time end = seconds > 0 ? MonotonicNow() + std::chrono::duration_cast<Duration>(
                                                      std::chrono::duration<double>(seconds))
                               : kTimeNever;
  while (true) {
    pollfd fds[2] = {{g_wake_pipe[0], POLLIN, 0}, {control ? STDIN_FILENO : -1, POLLIN, 0}};
    int timeout_ms = -1;
    if (end != kTimeNever) {
      timeout_ms = static_cast<int>(std::max<int64_t>(0, ToMicros(end - MonotonicNow()) / 1000));
    }
    const int ready = poll(fds, 2, timeout_ms);
    if (ready == 0 || fds[0].revents != 0) return;
    if (ready < 0 || fds[1].revents == 0) continue;
    std::array<char, 256> buffer;
    const ssize_t got = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got <= 0) return;
    line.append(buffer.data(), static_cast<size_t>(got));
    size_t newline = 0;
    while ((newline = line.find('\n')) != std::string::npos) {
      constexpr std::string_view kStopAfter = "stop-after ";
      uint64_t slot = 0;
      if (line.starts_with(kStopAfter) &&
          ParseNumber<uint64_t>(
              std::string_view(line).substr(kStopAfter.size(), newline - kStopAfter.size()), 1,
              UINT64_MAX, &slot)) {
        core.StopAfter(slot);
      }
      line.erase(0, newline + 1);
    }
    if (line.size() > buffer.size()) line.clear();
  }
}

int Main(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h") {
    fmt::print("{}", kUsage);
    return words.empty() ? 2 : 0;
  }
  const auto fail = [](const absl::Status& status, int code) {
    fmt::print(stderr, "overlay-demo-core: {}\n", std::string(status.message()));
    return code;
  };
  const absl::StatusOr<Arguments> arguments = Parse(words);
  if (!arguments.ok()) return fail(arguments.status(), 2);
  absl::StatusOr<TxSource> transactions = TxSource::Open(arguments->core.transactions);
  if (!transactions.ok()) return fail(transactions.status(), 2);
  const absl::StatusOr<Report> report = Report::Open(arguments->report);
  if (!report.ok()) return fail(report.status(), 2);
  if (pipe2(g_wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    return fail(absl::InternalError("no pipe"), 1);
  }
  std::signal(SIGTERM, Wake);
  std::signal(SIGINT, Wake);
  std::signal(SIGPIPE, SIG_IGN);

  DemoCore core(arguments->core, *std::move(transactions), *report);
  absl::Status ended = absl::OkStatus();
  std::thread thread([&] {
    ended = core.Run();
    Wake(0);
  });
  Control(core, arguments->control, arguments->seconds);
  core.Stop();
  thread.join();
  return ended.ok() ? 0 : fail(ended, 1);
}

}  // namespace
}  // namespace overlay::demo

int main(int argc, char** argv) {
  return overlay::demo::Main(std::vector<std::string>(argv + 1, argv + argc));
}
