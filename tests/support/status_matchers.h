// tests/support/status_matchers.h
//
// Matchers for absl::Status and StatusOr (the packaged Abseil has none). There is no "not OK": a
// test names the code that it expects.
#ifndef OVERLAY_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define OVERLAY_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay {

inline const absl::Status& StatusIn(const absl::Status& status) { return status; }
template <class T>
const absl::Status& StatusIn(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusIn(arg).ToString();
  return StatusIn(arg).ok();
}

MATCHER_P(HasCode, code, "has status code " + std::string(absl::StatusCodeToString(code))) {
  *result_listener << StatusIn(arg).ToString();
  return StatusIn(arg).code() == code;
}

// Code and message, the message matched by any string matcher: StatusIs(kNotFound,
// HasSubstr("key")).
MATCHER_P2(StatusIs, code, message_matcher, "has the status code and a matching message") {
  *result_listener << StatusIn(arg).ToString();
  return StatusIn(arg).code() == code &&
         testing::ExplainMatchResult(message_matcher, std::string(StatusIn(arg).message()),
                                     result_listener);
}

}  // namespace overlay

#define ASSERT_OK(expression) ASSERT_THAT((expression), ::overlay::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT((expression), ::overlay::IsOk())

#endif  // OVERLAY_TESTS_SUPPORT_STATUS_MATCHERS_H_
