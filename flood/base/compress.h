// flood/base/compress.h
//
// zstd as pure functions: one payload, one frame.
//
// Rules
//   R1  A frame is inflated to exactly as many bytes as were announced, or not at all: one byte
//       more ends it, and so do a second frame, a skippable one, an older format, a dictionary and
//       bytes behind the frame.
//       Why: what has two forms, or hides something, is not what was asked for; a frame of a few
//       bytes can inflate to gigabytes.
//   R2  Memory follows what has been inflated, never what was announced or what the frame's header
//       says: at most twice the output so far, and kInflateWindowBytesMax.
//       Why: announcing costs a peer nothing.
//
// Bounds   input and output are the caller's limits; R2.
// Cost     docs of flood/README.md: compressing 0.2-0.6 GB/s, inflating 0.5-1 GB/s, so beyond some
//     KiB never on the loop thread: see Compute in flood/action.h.
// Threads  any; nothing is shared.
#ifndef OVERLAY_FLOOD_BASE_COMPRESS_H_
#define OVERLAY_FLOOD_BASE_COMPRESS_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "flood/base/bytes.h"
#include "flood/base/limits.h"

namespace overlay {

// The history that a frame may refer to: what every zstd decoder is advised to support. Our own
// frames need a quarter of it.
inline constexpr size_t kInflateWindowBytesMax = 8 * kMiB;

// As one frame; nullopt if it could not be done (out of memory).
std::optional<Bytes> ZstdCompress(absl::Span<const uint8_t> data);

enum class InflateError : uint8_t {
  kNone,
  kNotZstd,      // not the beginning of a frame of today's format
  kCorrupt,      // or more than kInflateWindowBytesMax of history, or a dictionary
  kTooLong,      // inflates to more than `size`
  kTooShort,     // inflates to less, or the frame does not end
  kTrailing,     // bytes behind the frame
  kOutOfMemory,  // ours; says nothing of the frame
};

struct Inflated {
  InflateError error = InflateError::kNone;
  Bytes bytes;  // `size` of them, if no error
};

// Inflates the one frame that `frame` is to the `size` bytes that it must have.
Inflated ZstdInflate(absl::Span<const uint8_t> frame, size_t size);

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_COMPRESS_H_
