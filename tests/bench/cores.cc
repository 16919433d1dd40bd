#include "tests/bench/cores.h"

#include <algorithm>
#include <utility>

#include "tests/bench/daemons.h"

namespace overlay::bench {

absl::Status Clients::Connect(const std::vector<std::string>& apis, const ClientOptions& options,
                              const std::vector<BenchCore*>& cores, Progress& progress) {
  cores_ = cores;
  for (size_t i = 0; i < apis.size(); ++i) {
    ClientOptions own = options;
    own.target = apis[i];
    own.network_passphrase = kPassphrase;
    own.agent = "overlay-bench";
    auto created = Client::Create(own, cores[i]);
    if (!created.ok()) return created.status();
    clients_.push_back(*std::move(created));
    clients_.back()->Start();
  }
  for (auto& client : clients_) {
    if (!client->WaitAttached(std::chrono::seconds(30))) {
      return absl::UnavailableError("a core could not attach to its daemon");
    }
  }
  const bool meshed = progress.Wait(kConnectPatience, [this] {
    return std::all_of(cores_.begin(), cores_.end(),
                       [this](const auto& core) { return core->peers() + 1 == cores_.size(); });
  });
  return Failure(meshed ? "" : "the daemons did not all connect to each other");
}

void Clients::Stop() {
  for (auto& client : clients_) client->Stop();
}

absl::Status Clients::Failure(const std::string& otherwise) const {
  for (const BenchCore* core : cores_) {
    if (absl::Status failure = core->failure(); !failure.ok()) return failure;
  }
  if (Interrupted()) return absl::CancelledError("interrupted");
  return otherwise.empty() ? absl::OkStatus() : absl::UnavailableError(otherwise);
}

}  // namespace overlay::bench
