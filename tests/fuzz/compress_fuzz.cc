// Links: overlay_base PkgConfig::ZSTD
// Frames that nobody vouches for. Whatever comes: either exactly the announced bytes, or an error
// and none; and what is announced costs no memory: each frame is also inflated as if it were 2^50
// bytes, which nobody has. What we compress inflates to the same.
#include "flood/base/compress.h"

#include <zstd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/fuzz/second_model.h"

namespace overlay {
namespace {

constexpr size_t kSizeMax = 1 * kMiB;

absl::Span<const uint8_t> SpanOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class Fuzz {
 public:
  explicit Fuzz(FuzzInput input) : in_(input) {}

  void Run() {
    switch (in_.Below(3)) {
      case 0:
        return RoundTrip();
      case 1:
        return Hostile(std::string(1, '\x28') + "\xb5\x2f\xfd", in_.Take(kSizeMax));
      case 2:
        return Spoilt();
    }
  }

 private:
  // Pieces that repeat: a byte for the length, one for what is repeated.
  std::string Content() {
    std::string content;
    while (!in_.empty() && content.size() < kSizeMax) {
      const size_t times = 1 + in_.Byte() * size_t{in_.Byte()} / 16;
      const auto piece = in_.Take(1 + in_.Below(16));
      for (size_t i = 0; i < times && content.size() < kSizeMax; ++i) {
        content.append(piece.begin(), piece.end());
      }
    }
    return content;
  }

  void RoundTrip() {
    const std::string content = Content();
    judge_.Begin("round trip of {} bytes", content.size());
    const auto frame = ZstdCompress(SpanOf(content));
    judge_.True("compresses", frame.has_value());
    const Inflated inflated = ZstdInflate(frame->span(), content.size());
    judge_.Equal("error", 0, static_cast<int>(inflated.error));
    judge_.True("the same comes back", inflated.bytes.view() == content);
    judge_.True("not one byte less",
                content.empty() ||
                    ZstdInflate(frame->span(), content.size() - 1).error == InflateError::kTooLong);
    judge_.True("not one byte more",
                ZstdInflate(frame->span(), content.size() + 1).error == InflateError::kTooShort);
  }

  void Hostile(std::string frame, absl::Span<const uint8_t> rest) {
    frame.append(rest.begin(), rest.end());
    Check(frame, frame.size() * 7 % 5000);
    // Where the library's own one-shot function takes it as one frame, so do we, and nowhere else.
    std::vector<uint8_t> whole(64 * kKiB);
    const size_t size = ZSTD_findFrameCompressedSize(frame.data(), frame.size());
    if (ZSTD_isError(size) || size != frame.size()) return;
    const size_t got = ZSTD_decompress(whole.data(), whole.size(), frame.data(), frame.size());
    if (ZSTD_isError(got)) return;
    const Inflated inflated = ZstdInflate(SpanOf(frame), got);
    const bool is_window = inflated.error == InflateError::kCorrupt;  // more than we allow
    judge_.True(
        "taken as the library takes it",
        is_window || inflated.bytes.view() ==
                         std::string_view(reinterpret_cast<const char*>(whole.data()), got));
  }

  void Spoilt() {
    const size_t at = in_.Byte() * 256 + in_.Byte();
    const uint8_t with = in_.Byte();
    const size_t cut = in_.Byte();
    const std::string content = Content();
    const auto made = ZstdCompress(SpanOf(content));
    judge_.True("compresses", made.has_value());
    std::string frame(made->view());
    frame[at % frame.size()] = static_cast<char>(frame[at % frame.size()] ^ with);
    if (cut % 4 == 0) frame.resize(frame.size() - std::min(frame.size(), cut));
    if (cut % 4 == 1) frame.append(cut, 'x');
    Check(frame, content.size());
  }

  void Check(const std::string& frame, size_t size) {
    judge_.Begin("a frame of {} bytes, {} announced", frame.size(), size);
    const Inflated inflated = ZstdInflate(SpanOf(frame), size);
    if (inflated.error == InflateError::kNone) {
      judge_.Equal("bytes", size, inflated.bytes.size());
    } else {
      judge_.True("nothing comes with an error", inflated.bytes.empty());
    }
    judge_.True("enough memory", inflated.error != InflateError::kOutOfMemory);
    // What is announced costs nothing: the same frame, as if it were the largest thing.
    const Inflated large = ZstdInflate(SpanOf(frame), size_t{1} << 50);
    judge_.True("no frame is that long", large.error != InflateError::kNone);
  }

  FuzzInput in_;
  Judge judge_;
};

}  // namespace
}  // namespace overlay

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
