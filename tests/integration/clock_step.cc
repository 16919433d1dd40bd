// Preloaded into a daemon: its wall clock is the machine's and as many seconds as a file says,
// which a test writes while the daemon runs. The other clocks are the machine's.
//
//   CLOCK_STEP_FILE   eight bytes, a signed number of seconds in the machine's order
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

const std::atomic<int64_t>* MapStep() {
  const char* const path = std::getenv("CLOCK_STEP_FILE");
  const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* const at = mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  return at == MAP_FAILED ? nullptr : static_cast<const std::atomic<int64_t>*>(at);
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, struct timespec* out) noexcept {
  static const std::atomic<int64_t>* const step = MapStep();
  const int result = static_cast<int>(syscall(SYS_clock_gettime, clock, out));
  const bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && is_wall && step != nullptr) {
    out->tv_sec += step->load(std::memory_order_relaxed);
  }
  return result;
}
