#include "flood/base/frame.h"

#include <algorithm>

#include "flood/base/check.h"
#include "fmt/format.h"

namespace overlay {

bool IsKnownFrame(uint8_t type) {
  switch (static_cast<FrameType>(type)) {
    case FrameType::kHello:
    case FrameType::kHaveSets:
    case FrameType::kGetScpState:
    case FrameType::kCoreStatus:
    case FrameType::kPing:
    case FrameType::kPong:
    case FrameType::kGoaway:
    case FrameType::kInv:
    case FrameType::kFeeFilter:
    case FrameType::kGetData:
    case FrameType::kSetRequest:
    case FrameType::kSetAnswer:
    case FrameType::kStateAnswer:
      return true;
  }
  return false;
}

std::optional<StreamKind> StreamKindOf(uint8_t number) {
  if (number < static_cast<uint8_t>(StreamKind::kScp) ||
      number > static_cast<uint8_t>(StreamKind::kGossip)) {
    return std::nullopt;
  }
  return static_cast<StreamKind>(number);
}

absl::StatusOr<std::optional<Frame>> FrameReader::Next(absl::Span<const uint8_t>& data) {
  if (returned_) {
    partial_.clear();
    returned_ = false;
  }
  const auto take = [&](size_t up_to) {
    const size_t bytes = std::min(up_to - std::min(up_to, partial_.size()), data.size());
    partial_.insert(partial_.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(bytes));
    data.remove_prefix(bytes);
  };
  const auto body_bytes_of = [](absl::Span<const uint8_t> header) -> absl::StatusOr<size_t> {
    size_t bytes = 0;
    for (const uint8_t byte : header.subspan(1, kLengthBytes)) bytes = bytes << 8 | byte;
    if (bytes <= kFrameBytesMax) return bytes;
    return absl::ResourceExhaustedError(fmt::format("frame of type 0x{:02x}: {} bytes, at most {}",
                                                    header[0], bytes, kFrameBytesMax));
  };

  if (partial_.empty() && data.size() >= kFrameHeaderBytes) {  // the common case: no copy
    absl::StatusOr<size_t> body_bytes = body_bytes_of(data);
    if (!body_bytes.ok()) return body_bytes.status();
    if (data.size() >= kFrameHeaderBytes + *body_bytes) {
      Frame frame{data[0], data.subspan(kFrameHeaderBytes, *body_bytes)};
      data.remove_prefix(kFrameHeaderBytes + *body_bytes);
      return std::optional<Frame>(frame);
    }
  }
  take(kFrameHeaderBytes);
  if (partial_.size() < kFrameHeaderBytes) return std::optional<Frame>();
  absl::StatusOr<size_t> body_bytes = body_bytes_of(partial_);
  if (!body_bytes.ok()) return body_bytes.status();
  take(kFrameHeaderBytes + *body_bytes);
  if (partial_.size() < kFrameHeaderBytes + *body_bytes) return std::optional<Frame>();
  returned_ = true;
  return std::optional<Frame>(
      Frame{partial_[0], absl::MakeConstSpan(partial_).subspan(kFrameHeaderBytes)});
}

std::array<uint8_t, kLengthBytes> EncodeLength(uint32_t bytes) {
  return {static_cast<uint8_t>(bytes >> 24), static_cast<uint8_t>(bytes >> 16),
          static_cast<uint8_t>(bytes >> 8), static_cast<uint8_t>(bytes)};
}

absl::StatusOr<uint32_t> DecodeLength(absl::Span<const uint8_t> raw, size_t bytes_max) {
  OVERLAY_CHECK(raw.size() == kLengthBytes);
  const uint32_t bytes = static_cast<uint32_t>(raw[0]) << 24 | static_cast<uint32_t>(raw[1]) << 16 |
                         static_cast<uint32_t>(raw[2]) << 8 | raw[3];
  if (bytes == 0) return absl::InvalidArgumentError("length: 0");
  if (bytes > bytes_max)
    return absl::ResourceExhaustedError(fmt::format("length: {}, at most {}", bytes, bytes_max));
  return bytes;
}

}  // namespace overlay
