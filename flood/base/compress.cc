#include "flood/base/compress.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <memory>
#include <vector>

namespace overlay {
namespace {

// The fastest of zstd's ordinary levels: flood/README.md has the figures.
constexpr int kLevel = 1;
// A frame's first four bytes. Skippable frames and formats of long ago begin otherwise.
constexpr std::array<uint8_t, 4> kMagic = {0x28, 0xb5, 0x2f, 0xfd};
// Inflated at a time.
constexpr size_t kStepBytes = 128 * kKiB;

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  void operator()(void* buffer) const { std::free(buffer); }
};

bool HasMagic(absl::Span<const uint8_t> frame) {
  return frame.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), frame.begin());
}

}  // namespace

std::optional<Bytes> ZstdCompress(absl::Span<const uint8_t> data) {
  const size_t bound = ZSTD_compressBound(data.size());
  const std::unique_ptr<void, FreeContext> buffer(std::malloc(bound));
  if (buffer == nullptr) return std::nullopt;
  const size_t size = ZSTD_compress(buffer.get(), bound, data.data(), data.size(), kLevel);
  if (ZSTD_isError(size)) return std::nullopt;
  // The result outlives this by minutes: it must not hold the room that it might have needed.
  return Bytes::Copy(absl::MakeConstSpan(static_cast<const uint8_t*>(buffer.get()), size));
}

Inflated ZstdInflate(absl::Span<const uint8_t> frame, size_t size) {
  if (!HasMagic(frame)) return {InflateError::kNotZstd, {}};
  const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (context == nullptr) return {InflateError::kOutOfMemory, {}};
  constexpr int kWindowLog = std::bit_width(kInflateWindowBytesMax) - 1;
  if (ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLog))) {
    return {InflateError::kOutOfMemory, {}};
  }
  BytesBuilder bytes;
  // One byte more than is left is room enough to see that a frame is too long.
  std::vector<uint8_t> step(std::min(size, kStepBytes - 1) + 1);
  ZSTD_inBuffer in{frame.data(), frame.size(), 0};
  size_t left = 1;  // zstd's guess of what it still wants; 0: the frame has ended
  while (left != 0) {
    ZSTD_outBuffer out{step.data(), std::min(size - bytes.size(), step.size() - 1) + 1, 0};
    const size_t read_before = in.pos;
    left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left)) {
      const bool ours = ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation;
      return {ours ? InflateError::kOutOfMemory : InflateError::kCorrupt, {}};
    }
    if (bytes.size() + out.pos > size) return {InflateError::kTooLong, {}};
    bytes.Append(absl::MakeConstSpan(step.data(), out.pos));
    // All has been read and flushed, and the frame wants more.
    if (left != 0 && out.pos == 0 && in.pos == read_before) break;
  }
  if (left != 0 || bytes.size() < size) return {InflateError::kTooShort, {}};
  if (in.pos < in.size) return {InflateError::kTrailing, {}};
  return {InflateError::kNone, bytes.Finish()};
}

}  // namespace overlay
