#include "tests/bench/daemons.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <system_error>
#include <utility>

#include "overlay/v1/operator.grpc.pb.h"

namespace overlay::bench {
namespace {

constexpr Duration kStartPatience = std::chrono::seconds(30);

// The text of a key in a flat JSON object without escapes, as the ready line is.
std::string JsonField(const std::string& line, const std::string& key) {
  const std::string begin = fmt::format("\"{}\":\"", key);
  const size_t at = line.find(begin);
  if (at == std::string::npos) return "";
  const size_t from = at + begin.size();
  return line.substr(from, line.find('"', from) - from);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TemporaryFolder>> TemporaryFolder::Create() {
  const char* parent = getenv("TMPDIR");
  std::string path =
      std::string(parent != nullptr && *parent != '\0' ? parent : "/tmp") + "/overlay-bench-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    return absl::InternalError(fmt::format("cannot make a folder {}", path));
  }
  return std::unique_ptr<TemporaryFolder>(new TemporaryFolder(std::move(path)));
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

absl::StatusOr<std::unique_ptr<Daemons>> Daemons::Start(const std::string& overlayd, size_t count,
                                                        const std::string& folder,
                                                        const std::vector<std::string>& settings) {
  auto daemons = std::make_unique<Daemons>();
  std::string known;
  for (size_t i = 0; i < count; ++i) {
    const std::string key = fmt::format("{}/{}.key", folder, i);
    const std::string log = fmt::format("{}/{}.log", folder, i);
    auto keygen = ChildProcess::Start({overlayd, "keygen", "--out", key}, log);
    if (!keygen.ok()) return keygen.status();
    const absl::StatusOr<std::string> public_key = (*keygen)->ReadLine(kStartPatience);
    if (!public_key.ok()) return public_key.status();
    (*keygen)->Wait(kStartPatience);

    std::vector<std::string> command = {overlayd,
                                        "run",
                                        "--exit-with-parent",
                                        "--node.key_file",
                                        key,
                                        "--network.passphrase",
                                        kPassphrase,
                                        "--peer.listen",
                                        "127.0.0.1:0",
                                        "--api.listen",
                                        fmt::format("unix:{}/{}.core", folder, i),
                                        "--operator.listen",
                                        fmt::format("unix:{}/{}.operator", folder, i),
                                        "--log.level",
                                        "warning"};
    command.insert(command.end(), settings.begin(), settings.end());
    if (!known.empty()) command.insert(command.end(), {"--peers.known", known});
    auto daemon = ChildProcess::Start(command, log);
    if (!daemon.ok()) return daemon.status();
    const absl::StatusOr<std::string> ready = (*daemon)->ReadLine(kStartPatience);
    if (!ready.ok()) return ready.status();
    const std::string peer = JsonField(*ready, "peer");
    const std::string api = JsonField(*ready, "api");
    if (peer.empty() || api.empty()) {
      return absl::InternalError(fmt::format("not a ready line of overlayd: {}", *ready));
    }
    known += fmt::format("{}{}@{}", known.empty() ? "" : ",", *public_key, peer);
    daemons->operators_.push_back(JsonField(*ready, "operator"));
    daemons->apis_.push_back(api);
    daemons->peers_.push_back(peer);
    daemons->http3_.push_back(JsonField(*ready, "http3"));
    daemons->daemons_.push_back(*std::move(daemon));
  }
  return daemons;
}

absl::StatusOr<std::vector<v1::MetricSample>> Daemons::Samples(
    const std::vector<std::string>& operators, const std::string& name) {
  std::vector<v1::MetricSample> samples;
  for (const std::string& address : operators) {
    const auto stub =
        v1::Operator::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::MetricsResponse response;
    const grpc::Status status = stub->Metrics(&context, {}, &response);
    if (!status.ok()) return absl::UnavailableError("Metrics: " + status.error_message());
    for (const v1::MetricSample& sample : response.samples()) {
      if (sample.name() == name) samples.push_back(sample);
    }
  }
  if (samples.empty()) return absl::NotFoundError(fmt::format("no metric {}", name));
  return samples;
}

absl::StatusOr<double> Daemons::Metric(const std::string& name,
                                       const std::string& label_value) const {
  const auto samples = Samples(operators_, name);
  if (!samples.ok()) return samples.status();
  double sum = 0;
  bool found = false;
  for (const v1::MetricSample& sample : *samples) {
    const auto& labels = sample.labels();
    const bool wanted =
        label_value.empty() || std::any_of(labels.begin(), labels.end(), [&](const auto& label) {
          return label.value() == label_value;
        });
    if (!wanted) continue;
    found = true;
    sum += sample.value();
  }
  if (!found) return absl::NotFoundError(fmt::format("no metric {} {}", name, label_value));
  return sum;
}

absl::StatusOr<double> Daemons::MetricOf(size_t node, const std::string& name) const {
  const auto samples = Samples({operators_[node]}, name);
  if (!samples.ok()) return samples.status();
  return std::accumulate(
      samples->begin(), samples->end(), 0.0,
      [](double sum, const v1::MetricSample& sample) { return sum + sample.value(); });
}

absl::StatusOr<std::map<double, double>> Daemons::Histogram(const std::string& name) const {
  const auto samples = Samples(operators_, name + "_bucket");
  if (!samples.ok()) return samples.status();
  std::map<double, double> at_most;
  for (const v1::MetricSample& sample : *samples) {
    for (const v1::MetricLabel& label : sample.labels()) {
      if (label.name() == "le")
        at_most[std::strtod(label.value().c_str(), nullptr)] += sample.value();
    }
  }
  return at_most;
}

Duration Daemons::CpuTime() const {
  Duration sum{};
  for (const auto& daemon : daemons_) sum += daemon->CpuTime();
  return sum;
}

std::string FindOverlayd() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "";
  const std::filesystem::path build = self.parent_path().parent_path().parent_path();
  for (const std::filesystem::path& path :
       {build / "server" / "overlayd", self.parent_path() / "overlayd"}) {
    if (std::filesystem::exists(path, error)) return path.string();
  }
  return "";
}

}  // namespace overlay::bench
