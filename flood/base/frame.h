// flood/base/frame.h
//
// The bytes around peer messages: the kind byte of a stream, the header of a frame, the length
// before raw payloads. wire_codec.h is about what is inside; docs/protocol.md has both.
//
// Errors: INVALID_ARGUMENT malformed, RESOURCE_EXHAUSTED above a limit.
// Bounds: a frame's body is at most kFrameBytesMax; a FrameReader holds one frame at most.
// Cost: a frame that arrives whole is not copied.
// Threads: none.
#ifndef OVERLAY_FLOOD_BASE_FRAME_H_
#define OVERLAY_FLOOD_BASE_FRAME_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "flood/base/limits.h"

namespace overlay {

// First byte of a stream. On the wire.
enum class StreamKind : uint8_t {
  kScp = 0x01,
  kControl = 0x02,
  kTxControl = 0x03,
  kTxBodies = 0x04,
  kSet = 0x05,
  kState = 0x06,
  kGossip = 0x07,
};
// nullopt: not one of ours; see IsIgnorable.
std::optional<StreamKind> StreamKindOf(uint8_t number);

// First byte of a frame. On the wire.
enum class FrameType : uint8_t {
  kHello = 0x01,
  kHaveSets = 0x02,
  kGetScpState = 0x03,
  kCoreStatus = 0x04,
  kPing = 0x05,
  kPong = 0x06,
  kGoaway = 0x07,
  kInv = 0x10,
  kFeeFilter = 0x11,
  kGetData = 0x18,
  kSetRequest = 0x20,
  kSetAnswer = 0x21,
  kStateAnswer = 0x28,
};

bool IsKnownFrame(uint8_t type);

// Stream kinds and frame types that a later minor version may use: skipped, never an offence.
constexpr bool IsIgnorable(uint8_t number) { return number >= 0x40 && number <= 0x7f; }

inline constexpr size_t kFrameHeaderBytes = 5;  // type, length

struct Frame {
  uint8_t type = 0;
  absl::Span<const uint8_t> body;
};

// Cuts a stream into frames, wherever packets cut it.
class FrameReader {
 public:
  // Takes bytes from the front of `data`, up to the end of one frame at most, and returns that
  // frame once it is complete; nullopt means that `data` is used up. The body is valid until the
  // next call and no longer than the bytes of `data`. After an error (RESOURCE_EXHAUSTED: a body
  // above kFrameBytesMax) the reader is of no more use.
  absl::StatusOr<std::optional<Frame>> Next(absl::Span<const uint8_t>& data);

  // Bytes of a frame begun and not complete: at the end of a stream anything but 0 is malformed.
  size_t partial_bytes() const { return returned_ ? 0 : partial_.size(); }

 private:
  bool returned_ = false;  // partial_ holds a frame that was given out
  std::vector<uint8_t> partial_;
};

inline constexpr size_t kLengthBytes = 4;

// Precedes an envelope in a state answer, and a body in a bodies answer. Big-endian.
std::array<uint8_t, kLengthBytes> EncodeLength(uint32_t bytes);
// 1 to `bytes_max`, else INVALID_ARGUMENT (0) or RESOURCE_EXHAUSTED. `raw` is kLengthBytes long.
absl::StatusOr<uint32_t> DecodeLength(absl::Span<const uint8_t> raw, size_t bytes_max);

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_FRAME_H_
