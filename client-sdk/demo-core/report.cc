#include "client-sdk/demo-core/report.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "flood/base/ids.h"

namespace overlay::demo {
namespace {

constexpr size_t kNameBytes = 8;

std::string Shorten(std::string_view hash) {
  const std::string_view head = hash.substr(0, kNameBytes);
  return HexEncode(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(head.data()), head.size()));
}

std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      quoted += fmt::format("\\u{:04x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace

void ReportLine::Key(std::string_view key) {
  line_ += line_.empty() ? '{' : ',';
  line_ += fmt::format("\"{}\":", key);
}

ReportLine& ReportLine::Text(std::string_view key, std::string_view value) {
  Key(key);
  line_ += Quote(value);
  return *this;
}

ReportLine& ReportLine::Number(std::string_view key, int64_t value) {
  Key(key);
  line_ += fmt::format("{}", value);
  return *this;
}

ReportLine& ReportLine::Flag(std::string_view key, bool value) {
  Key(key);
  line_ += value ? "true" : "false";
  return *this;
}

ReportLine& ReportLine::Name(std::string_view key, std::string_view hash) {
  return Text(key, Shorten(hash));
}

ReportLine& ReportLine::Names(std::string_view key, const std::vector<std::string>& hashes) {
  Key(key);
  line_ += '[';
  for (size_t i = 0; i < hashes.size(); ++i) {
    line_ += fmt::format("{}\"{}\"", i == 0 ? "" : ",", Shorten(hashes[i]));
  }
  line_ += ']';
  return *this;
}

absl::StatusOr<Report> Report::Open(const std::string& where) {
  if (where.empty()) return Report(-1);
  int fd = -1;
  const auto [end, error] = std::from_chars(where.data(), where.data() + where.size(), fd);
  if (error == std::errc() && end == where.data() + where.size()) return Report(fd);
  fd = open(where.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) {
    return absl::UnavailableError(fmt::format("report {}: {}", where, std::strerror(errno)));
  }
  return Report(fd);
}

void Report::Say(const ReportLine& line) const {
  if (fd_ < 0) return;
  const std::string text = line.Finish();
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote = write(fd_, text.data() + done, text.size() - done);
    if (wrote < 0 && errno != EINTR) return;  // who reads it has gone; the core goes on
    if (wrote > 0) done += static_cast<size_t>(wrote);
  }
}

}  // namespace overlay::demo
