// tests/proto/descriptor_dump.h
//
// What a protocol file promises, one promise a line, so that two versions of it can be compared:
// each message, field (number, type, label, oneof), enum, value and rpc. Comments and order do not
// count.
#ifndef OVERLAY_TESTS_PROTO_DESCRIPTOR_DUMP_H_
#define OVERLAY_TESTS_PROTO_DESCRIPTOR_DUMP_H_

#include <string>
#include <vector>

#include <google/protobuf/descriptor.h>

namespace overlay {

// A line is "<what> <full name>: <the rest>", for example
// "field overlay.v1.Submission.number: 1 uint64 singular".
std::vector<std::string> DumpFile(const google::protobuf::FileDescriptor& file);

// What has become of the frozen lines: one sentence per line that is gone, differs, or is new.
// Empty: all as it was.
std::vector<std::string> CompareWithFrozen(const std::vector<std::string>& frozen,
                                           const std::vector<std::string>& current);

}  // namespace overlay

#endif  // OVERLAY_TESTS_PROTO_DESCRIPTOR_DUMP_H_
