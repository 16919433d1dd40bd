#include "tests/bench/process_figures.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace overlay::bench {
namespace {

// The number behind `name` at the beginning of a line.
uint64_t FieldOf(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name, 0) == 0)
      return std::stoull("0" + line.substr(line.find_first_of("0123456789", name.size())));
  }
  return 0;
}

template <class Figure>
uint64_t SumOverThreads(pid_t pid, Figure figure) {
  uint64_t sum = 0;
  std::error_code error;
  for (const auto& thread :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    sum += figure(thread.path().string());
  }
  return sum;
}

}  // namespace

uint64_t ResidentBytes(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/statm", pid));
  uint64_t size = 0;
  uint64_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t AnonymousBytes(pid_t pid) {
  return FieldOf(fmt::format("/proc/{}/smaps_rollup", pid), "Anonymous:") * 1024;
}

uint64_t VoluntarySwitches(pid_t pid) {
  return SumOverThreads(pid, [](const std::string& thread) {
    return FieldOf(thread + "/status", "voluntary_ctxt_switches:");
  });
}

Duration CpuTimeOfThreads(pid_t pid) {
  const uint64_t nanoseconds = SumOverThreads(pid, [](const std::string& thread) {
    std::ifstream file(thread + "/schedstat");
    uint64_t on_cpu = 0;
    file >> on_cpu;
    return on_cpu;
  });
  return Duration(static_cast<int64_t>(nanoseconds));
}

}  // namespace overlay::bench
