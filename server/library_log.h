// server/library_log.h
//
// What protobuf and gRPC would print on standard error by themselves, on whatever thread, because
// of what somebody sent: kept here until the loop takes it into the log, with the log's form and
// limits. So is what OVERLAY_BUG has to say.
//
// Rules
//   R1  Nothing of it is printed, but for what precedes an abort; and gRPC's where GRPC_VERBOSITY
//       is set, because then a developer wants to see it. Why: a log that an outsider can fill is a
//       disk that an outsider can fill.
//
// Bounds   one message of 512 bytes and a count, of libraries and of mistakes.
// Threads  any.
#ifndef OVERLAY_SERVER_LIBRARY_LOG_H_
#define OVERLAY_SERVER_LIBRARY_LOG_H_

#include <cstdint>
#include <optional>
#include <string>

namespace overlay::server {

class LibraryLog {
 public:
  struct Said {
    std::string text;    // the first since the last Take
    uint64_t count = 0;  // messages since then, this one included
  };

  // For the whole process; again has no effect.
  static void Install();
  static std::optional<Said> Take();
  // Of mistakes of our own.
  static std::optional<Said> TakeBug();
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_LIBRARY_LOG_H_
