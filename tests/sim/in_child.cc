#include "tests/sim/in_child.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "flood/base/check.h"

namespace overlay::sim {

std::optional<std::string> InChild(const std::function<std::string()>& run) {
  std::fflush(nullptr);
  std::array<int, 2> ends;
  OVERLAY_CHECK(pipe(ends.data()) == 0);
  const pid_t child = fork();
  OVERLAY_CHECK(child >= 0);
  if (child == 0) {
    const std::string said = run();
    size_t written = 0;
    while (written < said.size()) {
      const ssize_t count = write(ends[1], said.data() + written, said.size() - written);
      if (count <= 0) _exit(1);
      written += static_cast<size_t>(count);
    }
    _exit(0);
  }
  close(ends[1]);
  std::string said;
  std::array<char, 4096> buffer;
  for (ssize_t count; (count = read(ends[0], buffer.data(), buffer.size())) > 0;) {
    said.append(buffer.data(), static_cast<size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  OVERLAY_CHECK(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return said;
}

}  // namespace overlay::sim
