#include "tests/sim/entropy.h"

#include <gnutls/gnutls.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <ctime>

#include "flood/base/random.h"

namespace {

overlay::Random& Source() {
  static overlay::Random source(0);
  return source;
}
uint64_t g_calls = 0;

// Within the years in which any certificate of a test is valid; nobody looks.
constexpr time_t kWallClock = 1'750'000'000;

time_t FixedTime(time_t* out) {
  if (out != nullptr) *out = kWallClock;
  return kWallClock;
}

}  // namespace

// Found before the C library's by everything that this executable loads.
extern "C" ssize_t getrandom(void* buffer, size_t bytes, unsigned int) noexcept {
  ++g_calls;
  Source().Fill(absl::MakeSpan(static_cast<uint8_t*>(buffer), bytes));
  return static_cast<ssize_t>(bytes);
}

// GnuTLS seeds its generator with the wall clock too, when it is loaded. Other clocks are the
// kernel's.
extern "C" int clock_gettime(clockid_t clock, struct timespec* out) noexcept {
  if (clock != CLOCK_REALTIME) return static_cast<int>(syscall(SYS_clock_gettime, clock, out));
  *out = {.tv_sec = kWallClock, .tv_nsec = 0};
  return 0;
}

namespace overlay::sim {

void SeedEntropy(uint64_t seed) {
  Source() = Random(seed).Fork("entropy");
  gnutls_global_set_time_function(&FixedTime);
}

uint64_t EntropyCalls() { return g_calls; }

}  // namespace overlay::sim
