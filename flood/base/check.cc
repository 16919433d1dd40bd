#include "flood/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace overlay {
namespace {

std::atomic<uint64_t> g_bug_count{0};
std::atomic<bool> g_bugs_are_fatal{false};

}  // namespace

namespace internal {

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

void BugFound(const char* file, int line, const char* text, std::atomic<bool>& said) {
  g_bug_count.fetch_add(1, std::memory_order_relaxed);
  if (!said.exchange(true)) std::fprintf(stderr, "%s:%d: bug: %s\n", file, line, text);
  if (g_bugs_are_fatal.load(std::memory_order_relaxed)) std::abort();
}

}  // namespace internal

uint64_t BugCount() { return g_bug_count.load(std::memory_order_relaxed); }
void BugsAreFatal(bool fatal) { g_bugs_are_fatal.store(fatal, std::memory_order_relaxed); }

}  // namespace overlay
