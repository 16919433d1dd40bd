// main() of the fuzz targets where there is no libFuzzer: replays the files of the folders that it
// is given, then a fixed number of pseudo-random inputs, half of them mutations of those files.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "flood/base/random.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace overlay {
namespace {

using Input = std::vector<uint8_t>;

constexpr int kRandomInputs = 2000;
constexpr uint64_t kInputBytesMax = 2048;
constexpr uint64_t kMutationsMax = 8;

std::vector<Input> ReadFolder(const std::filesystem::path& folder) {
  std::vector<Input> inputs;
  if (!std::filesystem::is_directory(folder)) return inputs;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry);
  std::sort(paths.begin(), paths.end());  // the same run everywhere
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

Input AnyInput(Random& random, const std::vector<Input>& seeds) {
  if (seeds.empty() || random.Chance(0.5)) {
    Input input(random.Below(kInputBytesMax));
    random.Fill(absl::MakeSpan(input));
    return input;
  }
  Input input = seeds[random.Below(seeds.size())];
  for (uint64_t i = random.Below(kMutationsMax); i > 0 && !input.empty(); --i) {
    input[random.Below(input.size())] = static_cast<uint8_t>(random.Next());
  }
  if (random.Chance(0.2)) input.resize(random.Below(input.size() + 1));
  return input;
}

int Replay(int argc, char** argv) {
  std::vector<Input> seeds;
  for (int i = 1; i < argc; ++i) {
    for (Input& input : ReadFolder(argv[i])) seeds.push_back(std::move(input));
  }
  for (const Input& seed : seeds) LLVMFuzzerTestOneInput(seed.data(), seed.size());
  Random random(1);
  for (int i = 0; i < kRandomInputs; ++i) {
    const Input input = AnyInput(random, seeds);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu seeds and %d random inputs\n", seeds.size(), kRandomInputs);
  return 0;
}

}  // namespace
}  // namespace overlay

int main(int argc, char** argv) { return overlay::Replay(argc, argv); }
