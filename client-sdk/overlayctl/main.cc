// overlayctl: the operator's command line.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "client-sdk/overlayctl/arguments.h"
#include "client-sdk/overlayctl/commands.h"

namespace overlay::ctl {
namespace {

int Main(const std::vector<std::string>& words) {
  const absl::StatusOr<Arguments> arguments = ParseArguments(words);
  if (!arguments.ok()) {
    fmt::print(stderr, "overlayctl: {}\n", std::string(arguments.status().message()));
    return absl::IsInvalidArgument(arguments.status()) ? 2 : 1;
  }
  if (arguments->command == Command::kHelp) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  const absl::Status status = IsOfOperator(arguments->command) ? RunOperatorCommand(*arguments)
                                                               : RunCoreCommand(*arguments);
  if (status.ok()) return 0;
  fmt::print(stderr, "overlayctl: {}\n", std::string(status.message()));
  return 1;
}

}  // namespace
}  // namespace overlay::ctl

int main(int argc, char** argv) { return overlay::ctl::Main({argv + 1, argv + argc}); }
