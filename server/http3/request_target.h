// server/http3/request_target.h
//
// What stands behind the method of a request, taken apart: "/peers?limit=3".
//
// Rules
//   R1  One target has one path: what is escaped is decoded once, and a path that could be read in
//       two ways is refused (an escaped slash, a dot segment, an empty segment). Why: what is
//       looked up is what was asked for, whatever stands between.
//   R2  A path is printable ASCII, 1,024 bytes at most with its query. Why: nothing that is served
//       here needs more, and it may be written to a log.
//
// Threads  any; no state.
#ifndef OVERLAY_SERVER_HTTP3_REQUEST_TARGET_H_
#define OVERLAY_SERVER_HTTP3_REQUEST_TARGET_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace overlay::server {

inline constexpr size_t kTargetBytesMax = 1'024;

struct RequestTarget {
  std::string path;   // decoded
  std::string query;  // as it came, without '?'
};

// nullopt: not a legal one.
std::optional<RequestTarget> ParseRequestTarget(std::string_view text);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP3_REQUEST_TARGET_H_
