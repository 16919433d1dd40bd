// tests/bench/daemons.h
//
// Real daemons in a temporary folder: keys made by them, unix sockets, ports of the kernel's
// choice, each told to keep a connection to all that were started before it. They end, and the
// folder goes, with the object.
#ifndef OVERLAY_TESTS_BENCH_DAEMONS_H_
#define OVERLAY_TESTS_BENCH_DAEMONS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "tests/bench/child_process.h"

namespace overlay::v1 {
class MetricSample;
}

namespace overlay::bench {

inline constexpr char kPassphrase[] = "overlay-bench network";

// A folder of its own under TMPDIR (else /tmp), removed with all that is in it.
class TemporaryFolder {
 public:
  static absl::StatusOr<std::unique_ptr<TemporaryFolder>> Create();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

class Daemons {
 public:
  // `overlayd`: the program's path. `settings`: further words of its command line.
  static absl::StatusOr<std::unique_ptr<Daemons>> Start(
      const std::string& overlayd, size_t count, const std::string& folder,
      const std::vector<std::string>& settings = {});
  size_t size() const { return daemons_.size(); }
  // Where the cores attach.
  const std::vector<std::string>& apis() const { return apis_; }
  // Where it listens for peers.
  const std::string& peer_address(size_t node) const { return peers_[node]; }
  // Empty: it has no HTTP/3 window.
  const std::string& http3_address(size_t node) const { return http3_[node]; }
  pid_t pid(size_t node) const { return daemons_[node]->pid(); }
  Duration CpuTime() const;  // of all
  // SIGTERM, and after ChildProcess's patience SIGKILL: the exit code, -1 if it was killed.
  int Stop(size_t node) const { return daemons_[node]->Stop(); }
  // The sum over all daemons, and over the samples of that name that have this label value, if one
  // is given.
  absl::StatusOr<double> Metric(const std::string& name, const std::string& label_value = "") const;
  // Of one daemon, over all samples of that name.
  absl::StatusOr<double> MetricOf(size_t node, const std::string& name) const;
  // Of all daemons: how many were at most that large, by upper bound.
  absl::StatusOr<std::map<double, double>> Histogram(const std::string& name) const;

 private:
  static absl::StatusOr<std::vector<v1::MetricSample>> Samples(
      const std::vector<std::string>& operators, const std::string& name);

  std::vector<std::unique_ptr<ChildProcess>> daemons_;
  std::vector<std::string> apis_;
  std::vector<std::string> peers_;
  std::vector<std::string> operators_;
  std::vector<std::string> http3_;
};

// The overlayd of the build that this program belongs to; empty: none is there.
std::string FindOverlayd();

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_DAEMONS_H_
