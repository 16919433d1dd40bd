#include "client-sdk/overlayctl/arguments.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>
#include <utility>

#include "flood/base/ids.h"

namespace overlay::ctl {

const char kHelp[] =
    "usage: overlayctl --daemon ADDRESS [OPTIONS] COMMAND\n"
    "\n"
    "Of the operator (through the operator's listener):\n"
    "  status              what the daemon is and how it does\n"
    "  doctor              checks key, core, peers, names, port, clock, traffic and kernel, and "
    "says what\n"
    "                      to do; exit 1 when something must be done\n"
    "  peers               every peer connected, being dialled, or configured\n"
    "  connect ADDR        dial host, host:port, [v6]:port or G...@host:port, and keep it\n"
    "  disconnect KEY|ADDR close the connection to the peer with that key, G..., or take back a "
    "connect\n"
    "  ban KEY             refuse the peer with that key, G..., for --for (24h), and close it\n"
    "  unban KEY           end that\n"
    "  bans                who is banned, by whom, for how long, and why\n"
    "  dns                 the names of configured peers: answers, errors, next try\n"
    "  drain               shut the daemon down, as SIGTERM does\n"
    "  log-level [LEVEL]   what is logged from now on: debug, info, warning, error; without one, "
    "what "
    "is\n"
    "                      logged now\n"
    "  tx HASH             where a transaction is, who announced it, and what came of asking them\n"
    "  set HASH            the same of a transaction set\n"
    "\n"
    "Of the network (through the core's listener):\n"
    "  top [N]             the N best transactions of the mempool (10)\n"
    "  watch               envelopes and peers as they come, until interrupted\n"
    "  submit FILE|-       submit a transaction: XDR, or the same in base64 or hex\n"
    "  fetch HASH          fetch a transaction set by its hash, in hex, and print or save it\n"
    "Submitting and fetching are for the core alone: with a core attached they fail, unless "
    "--takeover\n"
    "ends its session.\n"
    "\n"
    "  --daemon ADDRESS    the core's listener: unix:PATH or IP:PORT\n"
    "  --operator ADDRESS  the operator's listener; without it, --daemon is tried\n"
    "  --token-file FILE   the listener's token, where it wants one\n"
    "  --tls-ca FILE       authorities of the daemon's certificate, PEM; with it the next two\n"
    "  --tls-cert FILE     certificate to show to the daemon, PEM\n"
    "  --tls-key FILE      its private key, PEM\n"
    "  --tls-server-name N the name in the daemon's certificate, where the address is not in it\n"
    "  --passphrase TEXT   of the network; without it OVERLAY_NETWORK_PASSPHRASE, or what the "
    "operator's\n"
    "                      listener says\n"
    "  --config FILE       doctor: checks that settings file, too, as overlayd check-config does\n"
    "  --quorum-set        fetch, set: a quorum set\n"
    "  -o FILE             fetch: save it there\n"
    "  --takeover          submit, fetch: end the session of the core that is attached\n"
    "  --for TIME          ban: 90s, 30m, 24h, 7d, or ever\n"
    "  --reason TEXT       ban: why, for people\n"
    "  --events N          watch: stop after so many\n"
    "  --timeout SECONDS   for the daemon's answer, 1 to 3600 (10)\n"
    "  --json              one object on one line (watch: one a line)\n"
    "\n"
    "Exit code: 0 done, 1 it failed, 2 wrong usage.\n";

namespace {

struct CommandName {
  std::string_view name;
  Command command;
  std::string_view operand;  // empty: none
  bool operand_optional;
};
constexpr std::array<CommandName, 17> kCommands = {{
    {"status", Command::kStatus, "", false},
    {"doctor", Command::kDoctor, "", false},
    {"peers", Command::kPeers, "", false},
    {"dns", Command::kNames, "", false},
    {"connect", Command::kConnect, "an address", false},
    {"disconnect", Command::kDisconnect, "a peer's key, G..., or its address", false},
    {"ban", Command::kBan, "a peer's key, G...", false},
    {"unban", Command::kUnban, "a peer's key, G...", false},
    {"bans", Command::kBans, "", false},
    {"drain", Command::kDrain, "", false},
    {"log-level", Command::kLogLevel, "a level", true},
    {"tx", Command::kTraceTransaction, "a hash of 64 hex digits", false},
    {"set", Command::kTraceSet, "a hash of 64 hex digits", false},
    {"submit", Command::kSubmit, "a file, or - for standard input", false},
    {"top", Command::kTop, "a number", true},
    {"fetch", Command::kFetch, "a hash of 64 hex digits", false},
    {"watch", Command::kWatch, "", false},
}};

absl::Status Wrong(std::string_view what, std::string_view value, std::string_view expected) {
  return absl::InvalidArgumentError(fmt::format("{}: \"{}\", expected {}", what, value, expected));
}

std::optional<uint64_t> NumberIn(std::string_view text, uint64_t low, uint64_t high) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (number < low || number > high) return std::nullopt;
  return number;
}

// "90s", "30m", "24h", "7d".
std::optional<std::chrono::seconds> ParseTime(std::string_view text) {
  constexpr uint64_t kMax = uint64_t{3650} * 86400;  // what the daemon takes
  for (const auto& [unit, seconds] :
       {std::pair<char, uint64_t>{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}}) {
    if (text.empty() || text.back() != unit) continue;
    const auto number = NumberIn(text.substr(0, text.size() - 1), 1, kMax / seconds);
    if (number) return std::chrono::seconds(*number * seconds);
  }
  return std::nullopt;
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  if (!file || !std::getline(file, token) || token.empty()) {
    return absl::NotFoundError(fmt::format(
        "--token-file: cannot read a token from {}: expected a file with one line", path));
  }
  return token;
}

absl::StatusOr<std::string> ReadPem(const std::string& option, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || text.find("-----BEGIN") == std::string::npos) {
    return absl::NotFoundError(
        fmt::format("{}: cannot read {}: expected a PEM file", option, path));
  }
  return text;
}

// Takes one option at words[*at] and its value. Not an option: UNIMPLEMENTED.
absl::Status TakeOption(const std::vector<std::string>& words, size_t* at, Arguments* out) {
  const std::string& word = words[*at];
  if (word == "--json") return out->json = true, absl::OkStatus();
  if (word == "--quorum-set") return out->quorum_set = true, absl::OkStatus();
  if (word == "--takeover") return out->takeover = true, absl::OkStatus();
  const bool known = word == "--daemon" || word == "--operator" || word == "--token-file" ||
                     word == "--passphrase" || word == "-o" || word == "--events" ||
                     word == "--timeout" || word == "--tls-ca" || word == "--tls-cert" ||
                     word == "--tls-key" || word == "--tls-server-name" || word == "--for" ||
                     word == "--reason" || word == "--config";
  if (!known) return Wrong("option", word, "one that --help lists");
  if (*at + 1 == words.size()) return Wrong(word, "", "a value after it");
  const std::string& value = words[++*at];
  if (word == "--daemon") out->daemon = value;
  if (word == "--operator") out->operator_ = value;
  if (word == "--passphrase") out->passphrase = value;
  if (word == "-o") out->out_path = value;
  if (word == "--config") out->config = value;
  if (word == "--tls-server-name") out->tls_server_name = value;
  for (const auto& [option, text] :
       {std::pair<std::string_view, std::string*>{"--tls-ca", &out->tls_ca},
        {"--tls-cert", &out->tls_cert},
        {"--tls-key", &out->tls_key}}) {
    if (word != option) continue;
    absl::StatusOr<std::string> pem = ReadPem(word, value);
    if (!pem.ok()) return pem.status();
    *text = *std::move(pem);
  }
  if (word == "--token-file") {
    absl::StatusOr<std::string> token = ReadToken(value);
    if (!token.ok()) return token.status();
    out->token = *std::move(token);
  }
  if (word == "--reason") out->reason = value;
  if (word == "--for") {
    if (!(out->ban_for = ParseTime(value)) && value != "ever") {
      return Wrong(word, value, "a time of 1s to 3650d, as 90s, 30m, 24h, 7d, or ever");
    }
  }
  if (word == "--events") {
    out->events = NumberIn(value, 1, UINT64_MAX);
    if (!out->events) return Wrong(word, value, "a number, at least 1");
  }
  if (word == "--timeout") {
    const std::optional<uint64_t> seconds = NumberIn(value, 1, 3600);
    if (!seconds) return Wrong(word, value, "seconds, 1 to 3600");
    out->timeout = std::chrono::seconds(*seconds);
  }
  return absl::OkStatus();
}

absl::Status CheckOperand(const CommandName& command, bool given, Arguments* out) {
  if (command.operand.empty() && given)
    return Wrong(command.name, out->operand, "nothing after it");
  if (!command.operand.empty() && !given && !command.operand_optional) {
    return Wrong(command.name, "", fmt::format("{} after it", command.operand));
  }
  if (command.command == Command::kTop) {
    if (!given) out->operand = "10";
    if (!NumberIn(out->operand, 1, 1'000'000))
      return Wrong("top", out->operand, "a number, 1 to 1000000");
  }
  const bool is_hash = command.command == Command::kFetch ||
                       command.command == Command::kTraceTransaction ||
                       command.command == Command::kTraceSet;
  if (is_hash && !TxHash::FromHex(out->operand)) {
    return Wrong(command.name, out->operand, command.operand);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& words) {
  Arguments out;
  const CommandName* command = nullptr;
  bool operand_given = false;
  for (size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (word == "--help" || word == "-h") return Arguments{};
    if (word.size() > 1 && word[0] == '-') {
      if (absl::Status taken = TakeOption(words, &at, &out); !taken.ok()) return taken;
    } else if (command == nullptr) {
      for (const CommandName& known : kCommands) {
        if (known.name == word) command = &known;
      }
      if (command == nullptr) return Wrong("command", word, "one that --help lists");
    } else if (!operand_given) {
      out.operand = word;
      operand_given = true;
    } else {
      return Wrong(command->name, word, "nothing more");
    }
  }
  if (command == nullptr) return absl::InvalidArgumentError("which command? --help lists them");
  if (out.tls_ca.empty() != out.tls_cert.empty() || out.tls_ca.empty() != out.tls_key.empty()) {
    return Wrong("--tls-ca, --tls-cert, --tls-key", "some", "all three, or none");
  }
  out.command = command->command;
  if (absl::Status checked = CheckOperand(*command, operand_given, &out); !checked.ok())
    return checked;
  if (out.daemon.empty() && out.operator_.empty()) {
    return Wrong("--daemon", "", "the address of a daemon: unix:PATH or IP:PORT");
  }
  if (out.daemon.empty() && !IsOfOperator(out.command)) {
    return Wrong("--daemon", "", "the core's listener, unix:PATH or IP:PORT, for this command");
  }
  if (out.passphrase.empty()) {
    const char* from_environment = std::getenv("OVERLAY_NETWORK_PASSPHRASE");
    if (from_environment != nullptr) out.passphrase = from_environment;
  }
  return out;
}

}  // namespace overlay::ctl
