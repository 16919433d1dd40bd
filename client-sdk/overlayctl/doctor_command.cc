// doctor: asks the daemon, reads the machine, and says what to do.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "client-sdk/overlayctl/commands.h"
#include "client-sdk/overlayctl/doctor.h"
#include "client-sdk/overlayctl/operator_client.h"

namespace overlay::ctl {
namespace {

std::optional<uint64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

// The column "drops" of the sockets that are bound to the port.
std::optional<uint64_t> UdpDrops(uint32_t port) {
  std::optional<uint64_t> drops;
  const std::string suffix = fmt::format(":{:04X}", port);
  for (const char* path : {"/proc/net/udp", "/proc/net/udp6"}) {
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string number;
      std::string local;
      std::string last;
      words >> number >> local;
      for (std::string word; words >> word;) last = word;
      if (local.size() < suffix.size() || local.substr(local.size() - suffix.size()) != suffix) {
        continue;
      }
      uint64_t count = 0;
      std::from_chars(last.data(), last.data() + last.size(), count);
      drops = drops.value_or(0) + count;
    }
  }
  return drops;
}

bool IsLocal(const std::string& address) {
  return address.starts_with("unix:") || address.starts_with("127.") ||
         address.starts_with("[::1]") || address.starts_with("localhost:");
}

HostFacts ReadHost(const std::string& operator_address, const std::string& peer_address) {
  HostFacts host;
  timex clock{};
  const int state = adjtimex(&clock);
  if (state >= 0) host.clock_synchronized = state != TIME_ERROR && (clock.status & STA_UNSYNC) == 0;
  host.is_daemons = IsLocal(operator_address);
  if (!host.is_daemons) {
    host.clock_synchronized.reset();
    return host;
  }
  host.rmem_max = ReadNumber("/proc/sys/net/core/rmem_max");
  host.wmem_max = ReadNumber("/proc/sys/net/core/wmem_max");
  uint32_t port = 0;
  const char* const end = peer_address.data() + peer_address.size();
  std::from_chars(peer_address.data() + peer_address.rfind(':') + 1, end, port);
  host.udp_drops = UdpDrops(port);
  return host;
}

std::map<std::string, double> ByName(const v1::MetricsResponse& response) {
  std::map<std::string, double> figures;
  for (const v1::MetricSample& sample : response.samples()) {
    std::string labels;
    for (const v1::MetricLabel& label : sample.labels()) {
      labels += (labels.empty() ? "" : ",") + label.value();
    }
    figures[labels.empty() ? sample.name() : fmt::format("{}{{{}}}", sample.name(), labels)] =
        sample.value();
  }
  return figures;
}

// Why a unix socket takes nobody, and what to do.
Finding SocketFinding(const std::string& address, const std::string& said) {
  Finding finding{Verdict::kFail, "socket", said,
                  "start the daemon: systemctl status overlayd, "
                  "kubectl logs, or its log say why it ended"};
  if (!address.starts_with("unix:")) return finding;
  const std::string path = address.substr(5);
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    finding.found = fmt::format("{}: {}", path, std::strerror(errno));
    if (errno == EACCES) finding.remedy = "run this as the daemon's user or group, or as root";
    return finding;
  }
  if (!S_ISSOCK(status.st_mode)) {
    finding.found = fmt::format("{} is no socket", path);
    finding.remedy = "give the daemon's operator.listen with --operator";
  } else if (access(path.c_str(), R_OK | W_OK) != 0) {
    finding.found = fmt::format("{} is of user {}, group {}, mode {:04o}: not for us", path,
                                status.st_uid, status.st_gid, status.st_mode & 07777);
    finding.remedy = "run this as its user or group (operator.socket_group, operator.socket_mode)";
  } else {
    finding.found = fmt::format("{} is there, but nobody answers ({})", path, said);
  }
  return finding;
}

absl::StatusOr<DaemonFacts> AskDaemon(OperatorClient& client) {
  DaemonFacts facts;
  absl::StatusOr<v1::StatusResponse> status = client.Status();
  if (!status.ok()) return status.status();
  facts.status = *std::move(status);
  v1::MetricsResponse metrics;
  const grpc::Status asked =
      client.stub().Metrics(client.Context().get(), v1::MetricsRequest(), &metrics);
  if (!asked.ok()) return client.Explain(asked);
  facts.metrics = ByName(metrics);
  const auto peers_context = client.Context();
  const auto peers = client.stub().ListPeers(peers_context.get(), v1::ListPeersRequest());
  absl::Status read = client.ReadParts<v1::ListPeersPart>(*peers, [&](const auto& part) {
    facts.peers.insert(facts.peers.end(), part.peers().begin(), part.peers().end());
  });
  if (!read.ok()) return read;
  const auto names_context = client.Context();
  const auto names = client.stub().ListNames(names_context.get(), v1::ListNamesRequest());
  read = client.ReadParts<v1::ListNamesPart>(*names, [&](const auto& part) {
    facts.names.insert(facts.names.end(), part.names().begin(), part.names().end());
  });
  if (!read.ok()) return read;
  return facts;
}

// `overlayd check-config`, of the program beside this one or else of the path.
Finding CheckConfig(const std::string& config) {
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
  std::string beside(self, static_cast<size_t>(std::max<ssize_t>(length, 0)));
  beside.resize(beside.rfind('/') + 1);
  beside += "overlayd";
  const std::string program = access(beside.c_str(), X_OK) == 0 ? beside : "overlayd";
  int said[2];
  if (pipe(said) != 0) return {Verdict::kUnknown, "settings", std::strerror(errno), ""};
  const pid_t child = fork();
  if (child == 0) {
    dup2(said[1], STDOUT_FILENO);
    dup2(said[1], STDERR_FILENO);
    close(said[0]);
    close(said[1]);
    execlp(program.c_str(), program.c_str(), "check-config", "--config", config.c_str(),
           static_cast<char*>(nullptr));
    _exit(127);
  }
  close(said[1]);
  std::string text;
  char buffer[1024];
  for (ssize_t got; child > 0 && (got = read(said[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  close(said[0]);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) < 0 || WEXITSTATUS(status) == 127) {
    return {Verdict::kUnknown, "settings", "overlayd is not beside overlayctl, nor in PATH", ""};
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (WEXITSTATUS(status) == 0) return {Verdict::kOk, "settings", config + " is in order", ""};
  return {Verdict::kFail, "settings", text, fmt::format("correct {}", config)};
}

void Print(const Arguments& arguments, const std::vector<Finding>& findings) {
  std::vector<std::string> listed;
  for (const Finding& finding : findings) {
    if (arguments.json) {
      JsonObject out;
      out.Text("verdict", VerdictName(finding.verdict)).Text("what", finding.what);
      out.Text("found", finding.found).Text("remedy", finding.remedy);
      listed.push_back(out.Done());
      continue;
    }
    PrintLine(fmt::format("{:<8} {:<15} {}", VerdictName(finding.verdict), finding.what,
                          Printable(finding.found)));
    if (!finding.remedy.empty()) PrintLine(fmt::format("{:<24} -> {}", "", finding.remedy));
  }
  if (arguments.json) PrintLine(JsonObject().List("findings", listed).Done());
}

}  // namespace

absl::Status RunDoctor(const Arguments& arguments) {
  OperatorClient client(arguments);
  const std::string& address = arguments.operator_.empty() ? arguments.daemon : arguments.operator_;
  std::vector<Finding> findings;
  if (!arguments.config.empty()) findings.push_back(CheckConfig(arguments.config));
  const absl::StatusOr<DaemonFacts> facts = AskDaemon(client);
  if (facts.ok()) {
    findings.push_back({Verdict::kOk, "socket", address + " answers", ""});
    for (Finding& finding : Diagnose(*facts, ReadHost(address, facts->status.peer_address()))) {
      findings.push_back(std::move(finding));
    }
  } else if (absl::IsUnavailable(facts.status())) {
    findings.push_back(SocketFinding(address, std::string(facts.status().message())));
  } else {
    findings.push_back({Verdict::kFail, "socket", std::string(facts.status().message()),
                        "see overlayctl --help about --operator, --token-file and --tls-ca"});
  }
  Print(arguments, findings);
  const auto failed = std::count_if(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.verdict == Verdict::kFail;
  });
  if (failed == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{} of {} checks failed", failed, findings.size()));
}

}  // namespace overlay::ctl
