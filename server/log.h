// server/log.h
//
// One line per event on standard error: what happened, then its facts as name=value, or one JSON
// object a line.
//
// Rules
//   R1  What a peer or a core can cause goes through EventLimited: kBurst lines of one event at
//       once, then one a second; how many were left out is said with the next, or by TellLeftOut.
//       Why: a log that an outsider can fill is a disk that an outsider can fill.
//   R2  Texts are escaped to printable ASCII and cut at kTextBytesMax; a secret seed is never one
//       of them (mask_seeds.h).
//   R3  A line that standard error does not take at once is lost, and counted.
//       Why: the loop writes it, and whoever reads a pipe may have stopped.
// Threads  the loop's, and main's before it.
#ifndef OVERLAY_SERVER_LOG_H_
#define OVERLAY_SERVER_LOG_H_

#include <fmt/format.h>

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "flood/base/time.h"
#include "server/config.h"

namespace spdlog {
class logger;
}

namespace overlay::server {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };
inline constexpr std::string_view kLogLevelsLegal = "debug, info, warning or error";
std::string_view LogLevelName(LogLevel level);
std::optional<LogLevel> LogLevelFromName(std::string_view name);

using LogFact = std::pair<std::string_view, std::string>;

class Log {
 public:
  static constexpr uint32_t kBurst = 20;
  static constexpr size_t kTextBytesMax = 640;  // six such facts fit in a line

  Log(LogLevel level, LogFormat format);
  ~Log();

  // Of lesser levels nothing is written.
  void SetLevel(LogLevel level);
  LogLevel level() const { return level_; }
  // R3.
  uint64_t lost() const { return lost_; }

  void Event(LogLevel level, std::string_view event, std::initializer_list<LogFact> facts = {});
  void EventLimited(Time now, LogLevel level, std::string_view event,
                    std::initializer_list<LogFact> facts = {});
  // R1: of events that come no more. Now and then.
  void TellLeftOut(Time now);

  // What Event would write, without time and level; for tests.
  static std::string Render(LogFormat format, std::string_view event,
                            std::initializer_list<LogFact> facts, uint64_t left_out);

 private:
  struct Budget {
    double tokens = kBurst;
    Time at{};
    uint64_t left_out = 0;
    LogLevel level = LogLevel::kInfo;  // of what was left out last
  };

  static void Refill(Time now, Budget& budget);

  void Write(LogLevel level, std::string_view event, std::initializer_list<LogFact> facts,
             uint64_t left_out);

  LogLevel level_;
  uint64_t lost_ = 0;
  const LogFormat format_;
  std::shared_ptr<spdlog::logger> logger_;
  std::map<std::string, Budget, std::less<>> budgets_;  // by event: as many as there are call sites
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_LOG_H_
