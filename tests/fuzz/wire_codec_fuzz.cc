// A peer's stream of frames, cut anywhere: the reader finds what a slow second reader finds that
// has the whole stream at once; nothing crashes a decoder; what decodes obeys its bounds, encodes,
// and decodes to the same again.
//
// Input: one byte that chooses how the stream is cut, then the stream.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "flood/base/check.h"
#include "flood/base/wire_codec.h"

namespace overlay {
namespace {

struct OwnedFrame {
  uint8_t type = 0;
  std::vector<uint8_t> body;
  friend bool operator==(const OwnedFrame&, const OwnedFrame&) = default;
};

struct Cut {
  std::vector<OwnedFrame> frames;
  bool refused = false;
  friend bool operator==(const Cut&, const Cut&) = default;
};

// The model: the header's arithmetic on the whole stream, no state.
Cut CutWhole(absl::Span<const uint8_t> stream) {
  Cut cut;
  while (stream.size() >= kFrameHeaderBytes) {
    const uint64_t body_bytes = uint64_t{stream[1]} << 24 | uint64_t{stream[2]} << 16 |
                                uint64_t{stream[3]} << 8 | uint64_t{stream[4]};
    if (body_bytes > kFrameBytesMax) {
      cut.refused = true;
      return cut;
    }
    if (stream.size() < kFrameHeaderBytes + body_bytes) return cut;
    const auto body = stream.subspan(kFrameHeaderBytes, body_bytes);
    cut.frames.push_back({stream[0], {body.begin(), body.end()}});
    stream.remove_prefix(kFrameHeaderBytes + body_bytes);
  }
  return cut;
}

Cut CutInPieces(absl::Span<const uint8_t> stream, size_t piece) {
  Cut cut;
  FrameReader reader;
  for (size_t at = 0; at < stream.size(); at += piece) {
    absl::Span<const uint8_t> data = stream.subspan(at, piece);
    while (true) {
      const auto frame = reader.Next(data);
      if (!frame.ok()) {
        cut.refused = true;
        return cut;
      }
      if (!*frame) break;
      cut.frames.push_back({(*frame)->type, {(*frame)->body.begin(), (*frame)->body.end()}});
    }
    OVERLAY_CHECK(data.empty());
    OVERLAY_CHECK(reader.partial_bytes() < kFrameHeaderBytes + kFrameBytesMax);
  }
  return cut;
}

Frame FrameIn(const Bytes& encoded) {
  FrameReader reader;
  absl::Span<const uint8_t> data = encoded.span();
  const auto frame = reader.Next(data);
  OVERLAY_CHECK(frame.ok() && frame->has_value() && data.empty());
  return **frame;
}

// Decodes, and if that gives a message: encodes it and demands it back.
template <class Decode, class Encode>
void CheckRoundTrip(const Frame& frame, Decode decode, Encode encode) {
  const auto decoded = decode(frame);
  if (!decoded.ok()) {
    const absl::StatusCode code = decoded.status().code();
    OVERLAY_CHECK(code == absl::StatusCode::kInvalidArgument ||
                  code == absl::StatusCode::kResourceExhausted ||
                  code == absl::StatusCode::kFailedPrecondition);
    return;
  }
  OVERLAY_CHECK(decoded->has_value() != IsIgnorable(frame.type));
  if (!*decoded) return;
  const Bytes encoded = encode(**decoded);
  const auto again = decode(FrameIn(encoded));
  OVERLAY_CHECK(again.ok() && *again == *decoded);
}

void CheckFrame(const Frame& frame) {
  CheckRoundTrip(frame, DecodeControl, EncodeControl);
  CheckRoundTrip(
      frame,
      [](const Frame& f) -> absl::StatusOr<std::optional<TxControlMessage>> {
        auto decoded = DecodeTxControl(f);
        // All its entries were of unknown lanes: legal to receive, never sent.
        if (decoded.ok() && *decoded && std::holds_alternative<Inv>(**decoded) &&
            std::get<Inv>(**decoded).entries.empty()) {
          return absl::InvalidArgumentError("no entries");
        }
        return decoded;
      },
      EncodeTxControl);
  CheckRoundTrip(frame, DecodeGetData, EncodeGetData);
  CheckRoundTrip(frame, DecodeSetRequest, EncodeSetRequest);
  CheckRoundTrip(frame, DecodeStateHeader, EncodeStateHeader);
  for (const uint64_t offset : {uint64_t{0}, uint64_t{100}}) {
    const SetRequest asked{.key = {}, .accept_zstd = offset == 0, .offset = offset};
    CheckRoundTrip(
        frame, [&](const Frame& f) { return DecodeSetHeader(f, asked, 1 << 24); }, EncodeSetHeader);
  }
}

}  // namespace
}  // namespace overlay

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace overlay;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const size_t piece = 1 + data[0] % 64;
  const absl::Span<const uint8_t> stream(data + 1, size - 1);
  const Cut whole = CutWhole(stream);
  OVERLAY_CHECK(CutInPieces(stream, piece) == whole);
  OVERLAY_CHECK(CutInPieces(stream, std::max<size_t>(stream.size(), 1)) == whole);
  for (const OwnedFrame& frame : whole.frames) CheckFrame({frame.type, frame.body});
  return 0;
}
