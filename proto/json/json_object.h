// proto/json/json_object.h
//
// Builds one JSON object as text, fields in the order in which they are added. Text is escaped,
// since much of it comes from peers; bytes that are not ASCII are kept only as escapes of their
// values, so that the output is valid whatever a peer calls itself.
#ifndef OVERLAY_PROTO_JSON_JSON_OBJECT_H_
#define OVERLAY_PROTO_JSON_JSON_OBJECT_H_

#include <fmt/format.h>

#include <concepts>
#include <string>
#include <string_view>
#include <vector>

namespace overlay {

inline std::string JsonText(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte > 0x7e) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

class JsonObject {
 public:
  JsonObject& Raw(std::string_view name, std::string_view json) {
    text_ += fmt::format("{}{}:{}", text_.empty() ? "" : ",", JsonText(name), json);
    return *this;
  }
  JsonObject& Text(std::string_view name, std::string_view value) {
    return Raw(name, JsonText(value));
  }
  JsonObject& Bool(std::string_view name, bool value) {
    return Raw(name, value ? "true" : "false");
  }
  template <class Value>
  requires std::integral<Value> || std::floating_point<Value> JsonObject& Number(
      std::string_view name, Value value) {
    return Raw(name, fmt::format("{}", value));
  }
  JsonObject& List(std::string_view name, const std::vector<std::string>& items) {
    std::string list;
    for (const std::string& item : items) list += (list.empty() ? "" : ",") + item;
    return Raw(name, "[" + list + "]");
  }
  std::string Done() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

}  // namespace overlay

#endif  // OVERLAY_PROTO_JSON_JSON_OBJECT_H_
