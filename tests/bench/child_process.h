// tests/bench/child_process.h
//
// A process that lives no longer than its object: started with a log file for its standard error,
// its standard output read line by line, ended by SIGTERM and, after kStopPatience, SIGKILL.
#ifndef OVERLAY_TESTS_BENCH_CHILD_PROCESS_H_
#define OVERLAY_TESTS_BENCH_CHILD_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"

namespace overlay::bench {

// A daemon drains for 1.7 s at most.
inline constexpr Duration kStopPatience = std::chrono::seconds(4);

class ChildProcess {
 public:
  // `command[0]` is a path. Variables OVERLAY_* are not handed on: a measurement must not depend on
  // them.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::vector<std::string>& command, const std::string& log_path);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // The next line of its output. UNAVAILABLE when it ended or said nothing in time; with the end of
  // its log.
  absl::StatusOr<std::string> ReadLine(Duration patience);
  // User and system time that it has used.
  Duration CpuTime() const;
  // Its exit code, -1 if it was killed.
  int Stop();
  // Waits for its own end.
  int Wait(Duration patience);

 private:
  ChildProcess(pid_t pid, int pid_fd, int output, std::string name, std::string log_path)
      : pid_(pid),
        pid_fd_(pid_fd),
        output_(output),
        name_(std::move(name)),
        log_path_(std::move(log_path)) {}
  bool EndsWithin(Duration patience) const;
  std::string LogEnd() const;

  pid_t pid_;
  int pid_fd_;
  int output_;
  std::string name_;
  std::string log_path_;
  std::string unread_;
  bool ended_ = false;
  int exit_code_ = -1;
};

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_CHILD_PROCESS_H_
