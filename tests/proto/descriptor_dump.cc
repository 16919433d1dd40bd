#include "tests/proto/descriptor_dump.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "fmt/format.h"

namespace overlay {
namespace {

namespace pb = ::google::protobuf;
using Lines = std::vector<std::string>;

std::string TypeOf(const pb::FieldDescriptor& field) {
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

std::string_view LabelOf(const pb::FieldDescriptor& field) {
  if (field.is_repeated()) return field.is_packed() ? "repeated packed" : "repeated";
  return field.has_optional_keyword() ? "optional" : "singular";
}

void DumpEnum(const pb::EnumDescriptor& type, Lines& out) {
  out.push_back(fmt::format("enum {}:", type.full_name()));
  for (int i = 0; i < type.value_count(); ++i) {
    out.push_back(fmt::format("value {}.{}: {}", type.full_name(), type.value(i)->name(),
                              type.value(i)->number()));
  }
}

void DumpMessage(const pb::Descriptor& message, Lines& out) {
  out.push_back(fmt::format("message {}:", message.full_name()));
  for (int i = 0; i < message.field_count(); ++i) {
    const pb::FieldDescriptor& field = *message.field(i);
    const pb::OneofDescriptor* oneof = field.real_containing_oneof();
    out.push_back(fmt::format("field {}: {} {} {}{}", field.full_name(), field.number(),
                              TypeOf(field), LabelOf(field),
                              oneof == nullptr ? "" : " in oneof " + oneof->name()));
  }
  for (int i = 0; i < message.enum_type_count(); ++i) DumpEnum(*message.enum_type(i), out);
  for (int i = 0; i < message.nested_type_count(); ++i) DumpMessage(*message.nested_type(i), out);
}

void DumpService(const pb::ServiceDescriptor& service, Lines& out) {
  out.push_back(fmt::format("service {}:", service.full_name()));
  for (int i = 0; i < service.method_count(); ++i) {
    const pb::MethodDescriptor& rpc = *service.method(i);
    out.push_back(
        fmt::format("rpc {}: {}{} returns {}{}", rpc.full_name(),
                    rpc.client_streaming() ? "stream " : "", rpc.input_type()->full_name(),
                    rpc.server_streaming() ? "stream " : "", rpc.output_type()->full_name()));
  }
}

// "field a.b" -> "1 uint64 singular".
std::map<std::string, std::string> ByName(const Lines& lines) {
  std::map<std::string, std::string> by_name;
  for (const std::string& line : lines) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t rest = std::min(colon + 2, line.size());
    by_name[line.substr(0, colon)] = line.substr(rest);
  }
  return by_name;
}

}  // namespace

Lines DumpFile(const pb::FileDescriptor& file) {
  Lines out;
  out.push_back(fmt::format("package {}:", file.package()));
  for (int i = 0; i < file.service_count(); ++i) DumpService(*file.service(i), out);
  for (int i = 0; i < file.enum_type_count(); ++i) DumpEnum(*file.enum_type(i), out);
  for (int i = 0; i < file.message_type_count(); ++i) DumpMessage(*file.message_type(i), out);
  return out;
}

Lines CompareWithFrozen(const Lines& frozen, const Lines& current) {
  const auto before = ByName(frozen);
  const auto now = ByName(current);
  Lines problems;
  for (const auto& [name, promise] : before) {
    const auto found = now.find(name);
    if (found == now.end()) {
      problems.push_back(fmt::format("{} ({}) is gone or renamed: v1 promised it", name, promise));
    } else if (found->second != promise) {
      problems.push_back(
          fmt::format("{} was \"{}\" in v1 and is now \"{}\"", name, promise, found->second));
    }
  }
  for (const auto& [name, promise] : now) {
    if (before.contains(name)) continue;
    problems.push_back(fmt::format(
        "{} ({}) is new: add it to the frozen copy by building the target freeze_protos", name,
        promise));
  }
  return problems;
}

}  // namespace overlay
