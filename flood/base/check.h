// flood/base/check.h
//
// OVERLAY_CHECK(condition): our own mistake after which the state is unusable. Prints the place and
//   aborts, in release builds too. Never used on anything that a peer, a core or an operator can
//   cause.
// OVERLAY_BUG("text"): our own mistake that can be survived. Counted (BugCount()), one line on
//   stderr for each place in the code, and fatal where BugsAreFatal(true) was called (all tests
//   do).
#ifndef OVERLAY_FLOOD_BASE_CHECK_H_
#define OVERLAY_FLOOD_BASE_CHECK_H_

#include <atomic>
#include <cstdint>

namespace overlay {

namespace internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
void BugFound(const char* file, int line, const char* text, std::atomic<bool>& said);
}  // namespace internal

// Bugs survived since the process started. Any thread.
uint64_t BugCount();
void BugsAreFatal(bool fatal);

}  // namespace overlay

#define OVERLAY_CHECK(condition)                                        \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::overlay::internal::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

#define OVERLAY_BUG(text)                                                        \
  do {                                                                           \
    static std::atomic<bool> overlay_bug_said{false};                            \
    ::overlay::internal::BugFound(__FILE__, __LINE__, (text), overlay_bug_said); \
  } while (false)

#endif  // OVERLAY_FLOOD_BASE_CHECK_H_
