// Links: overlay_http3
//
// Any bytes as the target of an HTTP request: what is accepted is what a slow, plain reading gives,
// and can be read in one way only. The same bytes as the lists of Accept-Encoding and
// If-None-Match.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flood/base/check.h"
#include "server/http3/request_target.h"
#include "server/http3/tx_set_page.h"

namespace overlay::server {
namespace {

int Digit(char c) {
  constexpr std::string_view kDigits = "0123456789abcdef0123456789ABCDEF";
  const size_t at = kDigits.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at % 16);
}

// Byte by byte, one rule after the other.
std::optional<RequestTarget> Plainly(std::string_view text) {
  if (text.size() > kTargetBytesMax) return std::nullopt;
  for (const char c : text) {
    if (c <= 0x20 || c >= 0x7f || c == '#') return std::nullopt;
  }
  RequestTarget target;
  bool in_query = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_query) {
      target.query += text[i];
    } else if (text[i] == '?') {
      in_query = true;
    } else if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = Digit(text[i + 1]);
      const int low = Digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      const int c = high * 16 + low;
      if (c <= 0x20 || c >= 0x7f || c == '/' || c == '%') return std::nullopt;
      target.path += static_cast<char>(c);
      i += 2;
    } else {
      target.path += text[i];
    }
  }
  if (target.path.empty() || target.path[0] != '/') return std::nullopt;
  if (target.path == "/.." || target.path == "/.") return std::nullopt;
  for (const char* odd : {"//", "/./", "/../"}) {
    if (target.path.find(odd) != std::string::npos) return std::nullopt;
  }
  const auto ends_with = [&](std::string_view end) {
    return target.path.size() >= end.size() &&
           target.path.compare(target.path.size() - end.size(), end.size(), end) == 0;
  };
  if (ends_with("/.") || ends_with("/..")) return std::nullopt;
  return target;
}

}  // namespace
}  // namespace overlay::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace overlay::server;
  // Of its own size, so that a byte too many is seen.
  const std::vector<char> own(data, data + size);
  const std::string_view text(own.data(), own.size());
  const auto parsed = ParseRequestTarget(text);
  const auto wanted = text.empty() || text[0] != '/' ? std::nullopt : Plainly(text);
  OVERLAY_CHECK(parsed.has_value() == wanted.has_value());
  if (parsed) {
    OVERLAY_CHECK(parsed->path == wanted->path && parsed->query == wanted->query);
  }
  const bool takes = AcceptsZstd(text);
  OVERLAY_CHECK(AcceptsZstd("gzip," + std::string(text)) == takes);
  const std::string tag(text.substr(0, text.find_first_of("\", ")));
  if (!tag.empty()) OVERLAY_CHECK(NamesTag("\"x\", W/\"" + tag + "\"", tag));
  (void)NamesTag(text, "abc");
  return 0;
}
