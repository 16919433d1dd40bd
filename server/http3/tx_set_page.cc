#include "server/http3/tx_set_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "flood/base/compress.h"
#include "flood/base/limits.h"

namespace overlay::server {
namespace {

constexpr std::string_view kPath = "/txsets/";

std::string_view Trim(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

// Takes the first of a list off it.
std::string_view TakeOne(std::string_view& list, char separator) {
  const size_t end = list.find(separator);
  const std::string_view one = Trim(list.substr(0, end));
  list = end == std::string_view::npos ? std::string_view() : list.substr(end + 1);
  return one;
}

// ";q=0", ";q=0.00": not wanted.
bool IsZeroWeight(std::string_view parameter) {
  const size_t equals = parameter.find('=');
  if (equals == std::string_view::npos || !EqualsIgnoringCase(parameter.substr(0, equals), "q")) {
    return false;
  }
  const std::string_view weight = parameter.substr(equals + 1);
  return !weight.empty() && weight.find_first_not_of("0.") == std::string_view::npos;
}

HttpPage Plain(int status, std::string text) {
  return {.status = status,
          .content_type = "text/plain; charset=utf-8",
          .body = std::move(text),
          .headers = {{"cache-control", "no-store"}}};
}

HttpPage NoAnswer() {
  HttpPage page = Plain(503, "the daemon did not answer in time\n");
  page.headers.emplace_back("retry-after", "1");
  return page;
}

// Weak where it is compressed: the bytes differ, what they say does not.
std::vector<std::pair<std::string, std::string>> Headers(const SetHash& hash, bool is_compressed) {
  std::vector<std::pair<std::string, std::string>> headers = {
      {"etag", fmt::format("{}\"{}\"", is_compressed ? "W/" : "", hash.Hex())},
      {"cache-control", "public, max-age=31536000, immutable"},
      {"vary", "accept-encoding"}};
  if (is_compressed) headers.emplace_back("content-encoding", "zstd");
  return headers;
}

class TxSetPage {
 public:
  explicit TxSetPage(SetDesk desk) : desk_(std::move(desk)) {}

  HttpPage Answer(const HttpRequest& request) {
    const std::optional<SetHash> hash =
        SetHash::FromHex(std::string_view(request.path).substr(kPath.size()));
    if (!hash) return Plain(400, "a set is named by 64 hex digits\n");
    if (NamesTag(request.if_none_match, hash->Hex())) {
      return {.status = 304, .content_type = "", .body = "", .headers = Headers(*hash, false)};
    }
    std::optional<CachedSet> set = desk_.look(*hash);
    const bool takes_zstd = AcceptsZstd(request.accept_encoding);
    if (set && takes_zstd && IsToCompress(*set)) set = Compress(*hash);
    if (!set) return NoAnswer();
    if (set->bytes.empty()) {
      return Plain(404, "this set is not cached: sets are kept for some slots only\n");
    }
    const bool is_compressed = takes_zstd && !set->frame.empty();
    return {.status = 200,
            .content_type = "application/octet-stream",
            .body = "",
            .payload = is_compressed ? std::move(set->frame) : std::move(set->bytes),
            .headers = Headers(*hash, is_compressed)};
  }

 private:
  static bool IsToCompress(const CachedSet& set) {
    return set.may_compress && set.bytes.size() >= Limits{}.set_compress_bytes_min;
  }

  // R2.
  std::optional<CachedSet> Compress(const SetHash& hash) {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Another may have done it while we waited.
    std::optional<CachedSet> set = desk_.look(hash);
    if (!set || !IsToCompress(*set)) return set;
    std::optional<Bytes> frame = ZstdCompress(set->bytes.span());
    if (!frame) return set;  // out of memory
    const size_t bytes = set->bytes.size();
    set->frame = frame->size() <= bytes - bytes / 10 ? *std::move(frame) : Bytes();
    desk_.keep_frame(hash, set->frame);
    return set;
  }

  const SetDesk desk_;
  std::mutex mutex_;  // of the one compression
};

}  // namespace

bool AcceptsZstd(std::string_view list) {
  while (!list.empty()) {
    std::string_view coding = TakeOne(list, ',');
    if (!EqualsIgnoringCase(TakeOne(coding, ';'), "zstd")) continue;
    while (!coding.empty()) {
      if (IsZeroWeight(TakeOne(coding, ';'))) return false;
    }
    return true;
  }
  return false;
}

bool NamesTag(std::string_view list, std::string_view tag) {
  while (!list.empty()) {
    std::string_view one = TakeOne(list, ',');
    if (one.substr(0, 2) == "W/") one.remove_prefix(2);
    if (one.size() == tag.size() + 2 && one.front() == '"' && one.back() == '"' &&
        one.substr(1, tag.size()) == tag) {
      return true;
    }
  }
  return false;
}

HttpRoute TxSetRoute(SetDesk desk) {
  const auto page = std::make_shared<TxSetPage>(std::move(desk));
  return {std::string(kPath), [page](const HttpRequest& request) { return page->Answer(request); }};
}

}  // namespace overlay::server
