#include "server/library_log.h"

#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <utility>

#include "flood/base/bug_sink.h"

namespace overlay::server {
namespace {

constexpr size_t kTextBytesMax = 512;

std::mutex mutex;
LibraryLog::Said said;  // guarded by mutex, as the next
LibraryLog::Said bug;

void KeepIn(LibraryLog::Said& kept, std::string_view text) {
  const std::lock_guard lock(mutex);
  if (kept.count++ == 0) kept.text = std::string(text.substr(0, kTextBytesMax));
}

std::optional<LibraryLog::Said> TakeFrom(LibraryLog::Said& kept) {
  const std::lock_guard lock(mutex);
  if (kept.count == 0) return std::nullopt;
  return std::exchange(kept, {});
}

void Keep(std::string_view text) { KeepIn(said, text); }

void OnBug(const char* file, int line, const char* text) {
  KeepIn(bug, fmt::format("{}:{}: {}", file, line, text));
}

void Print(const char* file, int line, const char* text) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, text);
}

void OnProtobuf(google::protobuf::LogLevel level, const char* file, int line,
                const std::string& text) {
  if (level == google::protobuf::LOGLEVEL_FATAL) return Print(file, line, text.c_str());
  Keep(text);
}

void OnGrpc(gpr_log_func_args* args) {
  const std::string_view text = args->message;
  if (text.starts_with("assertion failed")) return Print(args->file, args->line, args->message);
  Keep(text);
}

}  // namespace

void LibraryLog::Install() {
  SetBugSink(&OnBug);
  google::protobuf::SetLogHandler(&OnProtobuf);
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function(&OnGrpc);
}

std::optional<LibraryLog::Said> LibraryLog::Take() { return TakeFrom(said); }
std::optional<LibraryLog::Said> LibraryLog::TakeBug() { return TakeFrom(bug); }

}  // namespace overlay::server
