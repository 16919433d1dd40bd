// Writes the frozen copies of v1: freeze_protos FOLDER. Only adds: it refuses where a promise of v1
// is gone or has changed, because then the protocol file is wrong and not the copy.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "overlay/v1/core.pb.h"
#include "overlay/v1/operator.pb.h"
#include "overlay/v1/peer.pb.h"
#include "tests/proto/descriptor_dump.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: freeze_protos FOLDER\n");
    return 2;
  }
  const std::pair<std::string, const google::protobuf::FileDescriptor*> files[] = {
      {"core", overlay::v1::ScpUp::descriptor()->file()},
      {"operator", overlay::v1::StatusRequest::descriptor()->file()},
      {"peer", overlay::v1::peer::Hello::descriptor()->file()},
  };
  bool refused = false;
  for (const auto& [name, file] : files) {
    const std::string path = fmt::format("{}/{}.txt", argv[1], name);
    std::vector<std::string> frozen;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) frozen.push_back(line);
    const std::vector<std::string> now = overlay::DumpFile(*file);
    bool whole = true;
    for (const std::string& line : frozen) {
      if (std::find(now.begin(), now.end(), line) != now.end()) continue;
      fmt::print(stderr, "{}: refused, v1 promised: {}\n", path, line);
      whole = false;
    }
    refused |= !whole;
    if (!whole) continue;
    std::ofstream out(path);
    for (const std::string& line : now) out << line << '\n';
  }
  return refused ? 1 : 0;
}
