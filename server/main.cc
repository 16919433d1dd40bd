// overlayd: the command line. Exit codes: 0 done, 1 the machine will not have it, 2 the command
// line, the file or the environment is wrong.
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "flood/base/crypto.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/descriptors.h"
#include "server/listeners.h"
#include "server/mask_seeds.h"
#include "transport/node_key_file.h"

extern char** environ;

namespace overlay::server {
namespace {

constexpr int kOk = 0;
constexpr int kMachine = 1;
constexpr int kUsage = 2;

constexpr char kHelp[] =
    "overlayd: the peer-to-peer half of a validator.\n"
    "\n"
    "  overlayd [run] [--config FILE] [--exit-with-parent] [settings]\n"
    "      Runs. When ready, prints one line of JSON with the addresses that are bound. SIGTERM "
    "and SIGINT drain;\n"
    "      SIGHUP reads file and environment again and takes up the settings that say so.\n"
    "  overlayd check-config [--config FILE] [settings]\n"
    "      Checks file, environment, flags and key file, and says what is wrong. Exit 0: all is "
    "well;\n"
    "      prints the node's public key, G...\n"
    "  overlayd keygen [--out FILE]\n"
    "      Makes a node key. With --out into a new file of mode 0600; prints the public key, G... "
    "Without it, prints\n"
    "      the secret seed, S..., too.\n"
    "  overlayd version\n"
    "\n"
    "Settings, from flags, the environment (OVERLAY_PEER_LISTEN for peer.listen), the file, in "
    "this order:\n";

void PrintError(const absl::Status& status) {
  const std::string message(status.message());
  std::fprintf(stderr, "overlayd: %s\n", MaskSeeds(message).c_str());
}

int ExitCode(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInvalidArgument ? kUsage : kMachine;
}

std::map<std::string, std::string> Environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return variables;
}

struct Arguments {
  std::string config_path;
  bool exit_with_parent = false;
  std::vector<std::string> settings;
};

// Takes out what is not a setting. False: said already.
bool ReadArguments(const std::vector<std::string>& words, Arguments* out) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--exit-with-parent") {
      out->exit_with_parent = true;
    } else if (words[i] == "--config" && i + 1 < words.size()) {
      out->config_path = words[++i];
    } else if (words[i].rfind("--config=", 0) == 0) {
      out->config_path = words[i].substr(9);
    } else if (words[i] == "--config") {
      PrintError(absl::InvalidArgumentError(
          "--config: nothing after it is not legal, expected the path of a file"));
      return false;
    } else {
      out->settings.push_back(words[i]);
    }
  }
  return true;
}

absl::StatusOr<Config> ReadConfig(const Arguments& arguments) {
  ConfigSources sources{arguments.settings, Environment()};
  std::string path = arguments.config_path;
  if (path.empty()) {
    const auto found = sources.environment.find("OVERLAY_CONFIG");
    if (found != sources.environment.end()) path = found->second;
  }
  return ParseConfig(sources, path);
}

int CheckConfig(const Arguments& arguments) {
  const absl::StatusOr<Config> config = ReadConfig(arguments);
  if (!config.ok()) {
    PrintError(config.status());
    return kUsage;
  }
  const absl::StatusOr<SecretSeed> key = LoadKey(*config);
  if (!key.ok()) {
    PrintError(key.status());
    return kUsage;
  }
  if (const absl::Status files = CheckListenerFiles(*config); !files.ok()) {
    PrintError(files);
    return kUsage;
  }
  std::printf("ok, this node is %s\n", ToStrkey(PublicKeyOf(*key)).c_str());
  return kOk;
}

int Keygen(const std::vector<std::string>& words) {
  std::string path;
  if (words.size() == 2 && words[0] == "--out") {
    path = words[1];
  } else if (!words.empty()) {
    PrintError(absl::InvalidArgumentError(
        fmt::format("keygen: \"{}\" is not legal, expected --out FILE or nothing", words[0])));
    return kUsage;
  }
  const absl::StatusOr<SecretSeed> seed = transport::GenerateNodeKey();
  if (!seed.ok()) {
    PrintError(seed.status());
    return kMachine;
  }
  if (!path.empty()) {
    if (const absl::Status status = transport::WriteNodeKeyFile(path, *seed); !status.ok()) {
      PrintError(status);
      return kMachine;
    }
  } else {
    std::puts(ToStrkey(*seed).c_str());
  }
  std::puts(ToStrkey(PublicKeyOf(*seed)).c_str());
  return kOk;
}

// So that no socket gets the number of a stream that was closed, and the log into it.
void HoldStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", O_RDWR);  // the lowest number free
  }
}

int RunDaemon(const Arguments& arguments) {
  const absl::StatusOr<Config> config = ReadConfig(arguments);
  if (!config.ok()) {
    PrintError(config.status());
    return kUsage;
  }
  RaiseDescriptorLimit();
  // A log that nobody reads any more, and a file at its size limit, are errors of a write.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  const absl::StatusOr<std::unique_ptr<Daemon>> daemon =
      Daemon::Create(*config, {.exit_with_parent = arguments.exit_with_parent,
                               .handle_signals = true,
                               .reload = [arguments] { return ReadConfig(arguments); }});
  if (!daemon.ok()) {
    PrintError(daemon.status());
    return ExitCode(daemon.status());
  }
  std::puts((*daemon)->ReadyLine().c_str());
  std::fflush(stdout);
  (*daemon)->Run();
  return kOk;
}

int Main(std::vector<std::string> words) {
  HoldStandardStreams();
  std::string command = "run";
  if (!words.empty() && !words[0].starts_with('-')) {
    command = words[0];
    words.erase(words.begin());
  }
  for (const std::string& word : words) {
    if (word == "--help" || word == "-h") command = "help";
  }
  if (command == "help") {
    std::fputs(kHelp, stdout);
    std::fputs(SettingsHelp().c_str(), stdout);
    return kOk;
  }
  if (command == "version") {
    std::puts("overlayd " OVERLAY_VERSION);
    return kOk;
  }
  if (command == "keygen") return Keygen(words);
  Arguments arguments;
  if (!ReadArguments(words, &arguments)) return kUsage;
  if (command == "check-config") return CheckConfig(arguments);
  if (command == "run") return RunDaemon(arguments);
  PrintError(absl::InvalidArgumentError(fmt::format(
      "\"{}\" is not a command, expected run, check-config, keygen, version or --help", command)));
  return kUsage;
}

}  // namespace
}  // namespace overlay::server

// Buffers of sets grow by moving their pages, not their bytes, and go back to the system when let
// go: without this glibc raises the size from which it does so to the largest buffer ever freed,
// and each doubling of a set of 3 MB then copies it (1.1 ms of the loop).
constexpr int kMmapFromBytes = 256 << 10;

int main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, kMmapFromBytes);
  return overlay::server::Main({argv + 1, argv + argc});
}
