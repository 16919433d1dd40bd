#include "server/http3/request_target.h"

#include "flood/base/ids.h"

namespace overlay::server {
namespace {

bool IsPrintable(char c) { return c > 0x20 && c < 0x7f; }

// R1.
bool HasOddSegment(std::string_view path) {
  path.remove_prefix(1);
  for (;;) {
    const size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    if (segment == "." || segment == "..") return true;
    if (slash == std::string_view::npos) return false;
    if (segment.empty()) return true;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

std::optional<RequestTarget> ParseRequestTarget(std::string_view text) {
  if (text.empty() || text.size() > kTargetBytesMax || text.front() != '/') return std::nullopt;
  for (const char c : text) {
    if (!IsPrintable(c) || c == '#') return std::nullopt;
  }
  RequestTarget target;
  const size_t question = text.find('?');
  if (question != std::string_view::npos) target.query = text.substr(question + 1);
  const std::string_view path = text.substr(0, question);
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      target.path += path[i];
      continue;
    }
    const std::optional<std::string> decoded = HexDecode(path.substr(i + 1, 2));
    if (!decoded || decoded->size() != 1) return std::nullopt;
    const char c = decoded->front();
    if (!IsPrintable(c) || c == '/' || c == '%') return std::nullopt;
    target.path += c;
    i += 2;
  }
  if (HasOddSegment(target.path)) return std::nullopt;
  return target;
}

}  // namespace overlay::server
