#include "server/port_holder.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>

namespace overlay::server {
namespace {

namespace fs = std::filesystem;

// The inodes of the sockets that are bound to the port.
std::set<std::string> InodesOf(uint16_t port) {
  std::set<std::string> inodes;
  for (const char* const table : {"/proc/net/udp", "/proc/net/udp6"}) {
    std::ifstream stream(table);
    std::string line;
    std::getline(stream, line);  // the heading
    while (std::getline(stream, line)) {
      std::istringstream fields(line);
      std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
          timeout >> inode;
      const size_t colon = local.rfind(':');
      if (colon == std::string::npos) continue;
      unsigned number = 0;
      std::from_chars(local.data() + colon + 1, local.data() + local.size(), number, 16);
      if (number == port) inodes.insert("socket:[" + inode + "]");
    }
  }
  return inodes;
}

}  // namespace

std::string UdpPortHolder(uint16_t port) {
  const std::set<std::string> inodes = InodesOf(port);
  std::error_code error;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", error)) {
    const std::string pid = process.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code denied;
    fs::directory_iterator end;
    for (fs::directory_iterator fd(process.path() / "fd", denied); !denied && fd != end;
         fd.increment(denied)) {
      std::error_code gone;
      const fs::path target = fs::read_symlink(fd->path(), gone);
      if (gone || !inodes.contains(target.string())) continue;
      std::string name;
      std::ifstream comm(process.path() / "comm");
      std::getline(comm, name);
      return fmt::format("process {} ({})", pid, name);
    }
  }
  return "a process that we may not see";
}

}  // namespace overlay::server
