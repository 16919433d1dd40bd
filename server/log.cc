#include "server/log.h"

#include <poll.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "server/mask_seeds.h"

namespace overlay::server {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// A longer one than that a pipe may take in parts, and make us wait: with time and level less than
// PIPE_BUF. Texts are cut, so that no line comes near it.
constexpr size_t kLineBytesMax = 4000;

// True where such a line can be written without waiting: a pipe with less than PIPE_BUF of room is
// not writable. What is closed, or broken, fails at once.
bool TakesALine() {
  pollfd standard_error{STDERR_FILENO, POLLOUT, 0};
  return poll(&standard_error, 1, 0) != 0;
}

// Quotes where needed, escapes what is not printable ASCII.
std::string Quote(std::string_view given, bool always) {
  std::string text = MaskSeeds(given);
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=';
  });
  if (plain && !always && text.size() <= Log::kTextBytesMax) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (out.size() > Log::kTextBytesMax) {
      out += "...";
      break;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c >= ' ' && c < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    }
  }
  return out + "\"";
}

}  // namespace

std::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "unknown";
}

std::optional<LogLevel> LogLevelFromName(std::string_view name) {
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (name == LogLevelName(level)) return level;
  }
  return std::nullopt;
}

Log::Log(LogLevel level, LogFormat format)
    : level_(level),
      format_(format),
      logger_(std::make_shared<spdlog::logger>("overlayd",
                                               std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
  logger_->set_level(ToSpdlog(level));
  logger_->set_pattern(format == LogFormat::kJson
                           ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})"
                           : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                       spdlog::pattern_time_type::utc);
  logger_->flush_on(spdlog::level::debug);
}

Log::~Log() = default;

void Log::SetLevel(LogLevel level) {
  level_ = level;
  logger_->set_level(ToSpdlog(level));
}

std::string Log::Render(LogFormat format, std::string_view event,
                        std::initializer_list<LogFact> facts, uint64_t left_out) {
  const bool json = format == LogFormat::kJson;
  std::string line = json ? fmt::format("\"event\":{}", Quote(event, true)) : std::string(event);
  const auto add = [&](std::string_view name, std::string_view value) {
    line += json ? fmt::format(",\"{}\":{}", name, Quote(value, true))
                 : fmt::format(" {}={}", name, Quote(value, false));
  };
  for (const LogFact& fact : facts) add(fact.first, fact.second);
  if (left_out > 0) add("left_out", fmt::format("{}", left_out));
  return line;
}

void Log::Write(LogLevel level, std::string_view event, std::initializer_list<LogFact> facts,
                uint64_t left_out) {
  const auto spdlog_level = ToSpdlog(level);
  if (!logger_->should_log(spdlog_level)) return;
  const std::string line = Render(format_, event, facts, left_out);
  if (line.size() > kLineBytesMax || !TakesALine()) {
    ++lost_;
    return;
  }
  logger_->log(spdlog_level, spdlog::string_view_t(line.data(), line.size()));
}

void Log::Event(LogLevel level, std::string_view event, std::initializer_list<LogFact> facts) {
  Write(level, event, facts, 0);
}

void Log::EventLimited(Time now, LogLevel level, std::string_view event,
                       std::initializer_list<LogFact> facts) {
  auto found = budgets_.find(event);
  if (found == budgets_.end()) {
    found = budgets_.emplace(std::string(event), Budget{.tokens = kBurst, .at = now, .left_out = 0})
                .first;
  }
  Budget& budget = found->second;
  Refill(now, budget);
  if (budget.tokens < 1) {
    ++budget.left_out;
    budget.level = level;
    return;
  }
  budget.tokens -= 1;
  Write(level, event, facts, std::exchange(budget.left_out, 0));
}

void Log::Refill(Time now, Budget& budget) {
  budget.tokens = std::min<double>(kBurst, budget.tokens + ToSeconds(now - budget.at));
  budget.at = now;
}

void Log::TellLeftOut(Time now) {
  for (auto& [event, budget] : budgets_) {
    if (budget.left_out == 0) continue;
    Refill(now, budget);
    // A storm that goes on tells of itself with its next line.
    if (budget.tokens < 2) continue;
    budget.tokens -= 1;
    Write(budget.level, event, {}, std::exchange(budget.left_out, 0));
  }
}

}  // namespace overlay::server
