#include "flood/base/check.h"

#include <cstdio>
#include <cstdlib>

#include "flood/base/bug_sink.h"

namespace overlay {
namespace {

std::atomic<uint64_t> g_bug_count{0};
std::atomic<bool> g_bugs_are_fatal{false};

void PrintBug(const char* file, int line, const char* text) {
  std::fprintf(stderr, "%s:%d: bug: %s\n", file, line, text);
}

std::atomic<BugSink> g_bug_sink{&PrintBug};

}  // namespace

namespace internal {

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

void BugFound(const char* file, int line, const char* text, std::atomic<bool>& said) {
  g_bug_count.fetch_add(1, std::memory_order_relaxed);
  if (g_bugs_are_fatal.load(std::memory_order_relaxed)) {
    PrintBug(file, line, text);
    std::abort();
  }
  if (!said.exchange(true)) g_bug_sink.load()(file, line, text);
}

}  // namespace internal

uint64_t BugCount() { return g_bug_count.load(std::memory_order_relaxed); }
void SetBugSink(BugSink sink) { g_bug_sink.store(sink == nullptr ? &PrintBug : sink); }
void BugsAreFatal(bool fatal) { g_bugs_are_fatal.store(fatal, std::memory_order_relaxed); }

}  // namespace overlay
