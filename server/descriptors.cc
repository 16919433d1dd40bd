#include "server/descriptors.h"

#include <dirent.h>
#include <sys/resource.h>

#include <algorithm>

namespace overlay::server {
namespace {

// The page /metrics (2 workers, 20 waiting, one more), look-ups of names, the peer file.
constexpr uint64_t kReserved = 48;
constexpr uint64_t kPerConnection = 2;

}  // namespace

uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (limit.rlim_cur < limit.rlim_max) (void)setrlimit(RLIMIT_NOFILE, &raised);
  return DescriptorLimit();
}

uint64_t DescriptorLimit() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

uint64_t OpenDescriptors() {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  uint64_t count = 0;
  while (const dirent* const entry = readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(folder);
  return count - std::min<uint64_t>(count, 1);  // the folder's own
}

size_t ApiConnectionsFor(uint64_t limit, uint64_t open, size_t listeners) {
  const uint64_t used = open + kReserved;
  const uint64_t room = limit > used ? limit - used : 0;
  const uint64_t each = room / (kPerConnection * std::max<size_t>(listeners, 1));
  return static_cast<size_t>(std::clamp<uint64_t>(each, kApiConnectionsMin, kApiConnectionsMax));
}

}  // namespace overlay::server
