// tests/support/captured_stderr.h
//
// What this process writes to standard error, as lines, for as long as one of these lives: the log
// of a part of the daemon.
#ifndef OVERLAY_TESTS_SUPPORT_CAPTURED_STDERR_H_
#define OVERLAY_TESTS_SUPPORT_CAPTURED_STDERR_H_

#include <fcntl.h>
#include <unistd.h>

#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace overlay {

class CapturedStderr {
 public:
  CapturedStderr() : before_(dup(STDERR_FILENO)) {
    EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0);
    EXPECT_EQ(fcntl(ends_[0], F_SETFL, O_NONBLOCK), 0);
    EXPECT_EQ(dup2(ends_[1], STDERR_FILENO), STDERR_FILENO);
  }
  ~CapturedStderr() {
    EXPECT_EQ(dup2(before_, STDERR_FILENO), STDERR_FILENO);
    for (const int fd : {ends_[0], ends_[1], before_}) close(fd);
  }
  std::vector<std::string> Lines() {
    char buffer[4096];
    for (ssize_t n = 0; (n = read(ends_[0], buffer, sizeof buffer)) > 0;) {
      text_.append(buffer, static_cast<size_t>(n));
    }
    std::vector<std::string> lines;
    std::istringstream stream(text_);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

 private:
  const int before_;
  int ends_[2] = {-1, -1};
  std::string text_;
};

}  // namespace overlay

#endif  // OVERLAY_TESTS_SUPPORT_CAPTURED_STDERR_H_
