#include "tests/bench/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "tests/bench/clock.h"

extern char** environ;

namespace overlay::bench {
namespace {

int Milliseconds(Duration duration) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::vector<std::string>& command, const std::string& log_path) {
  int output[2];
  if (pipe2(output, O_CLOEXEC) != 0) return absl::ResourceExhaustedError("no pipe is left");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output[1], 1);
  posix_spawn_file_actions_addopen(&actions, 2, log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0600);

  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "OVERLAY_", 8) != 0) variables.push_back(*entry);
  }
  variables.push_back(nullptr);

  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, command[0].c_str(), &actions, nullptr, arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  close(output[1]);
  if (error != 0) {
    close(output[0]);
    return absl::NotFoundError(fmt::format("{}: {}", command[0], std::strerror(error)));
  }
  const int pid_fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  return std::unique_ptr<ChildProcess>(
      new ChildProcess(pid, pid_fd, output[0], command[0], log_path));
}

ChildProcess::~ChildProcess() {
  Stop();
  close(output_);
  if (pid_fd_ >= 0) close(pid_fd_);
}

absl::StatusOr<std::string> ChildProcess::ReadLine(Duration patience) {
  const Time until = Now() + patience;
  while (true) {
    const size_t end = unread_.find('\n');
    if (end != std::string::npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    pollfd wait{output_, POLLIN, 0};
    const Time now = Now();
    if (now >= until || Interrupted()) break;
    if (poll(&wait, 1, Milliseconds(until - now)) <= 0) continue;
    char buffer[4096];
    const ssize_t count = read(output_, buffer, sizeof(buffer));
    if (count <= 0) break;
    unread_.append(buffer, static_cast<size_t>(count));
  }
  return absl::UnavailableError(fmt::format("{} did not become ready:\n{}", name_, LogEnd()));
}

Duration ChildProcess::CpuTime() const {
  std::ifstream file(fmt::format("/proc/{}/stat", pid_));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return Duration{};
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;  // state to cmajflt
  int64_t user = 0;
  int64_t system = 0;
  fields >> user >> system;
  return (user + system) * Duration(std::chrono::seconds(1)) / sysconf(_SC_CLK_TCK);
}

bool ChildProcess::EndsWithin(Duration patience) const {
  const Time until = Now() + patience;
  for (Time now = Now(); now < until; now = Now()) {
    pollfd wait{pid_fd_, POLLIN, 0};
    if (poll(&wait, 1, Milliseconds(until - now)) > 0) return true;
  }
  return false;
}

int ChildProcess::Wait(Duration patience) {
  if (ended_) return exit_code_;
  if (!EndsWithin(patience)) kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  ended_ = true;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return exit_code_;
}

int ChildProcess::Stop() {
  if (!ended_) kill(pid_, SIGTERM);
  return Wait(kStopPatience);
}

std::string ChildProcess::LogEnd() const {
  std::ifstream file(log_path_);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  constexpr size_t kShown = 2'000;
  return text.size() > kShown ? text.substr(text.size() - kShown) : text;
}

}  // namespace overlay::bench
