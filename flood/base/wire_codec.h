// flood/base/wire_codec.h
//
// Peer messages as bytes, and back: the sole user of peer.proto, which with docs/protocol.md says
// what the bytes look like. frame.h has what is around the messages.
//
// Rules
//   R1  What decodes satisfies every bound of message.h; what does not is an error that names the
//       field.
//       Why: nobody behind the codec checks sizes again.
//   R2  The code says what the peer did: INVALID_ARGUMENT malformed (close code kMalformed),
//       RESOURCE_EXHAUSTED above a limit (kTooLarge), FAILED_PRECONDITION a known frame on the
//       wrong stream (kProtocol).
//       Why: the caller closes with the right code without looking into the bytes.
//   R3  Frame types 0x40-0x7f are ignorable: no message, no error. Unknown fields are ignored, and
//       so are INV entries and fee minimums of unknown lanes, and unknown encodings that an asker
//       would accept. Other unknown values are errors.
//       Why: a later minor version may add frames, fields, lanes and encodings; the rest is
//       corruption.
//   R4  Encoding then decoding gives the same struct back.
//       Why: two versions of one daemon must agree on what was said.
//
// Encode*: the struct must obey its bounds (OVERLAY_CHECK: it is ours); texts are cut and cleaned
// instead. The result is a whole frame, header included, shared by all peers that it goes to.
//
// Bounds   a frame's body: kFrameBytesMax, and those of message.h.
// Cost     one protobuf parse and one copy; an INV of 1,000 entries some 20 us.
// Threads  none; pure functions.
// Not here envelope streams (raw bytes), hashes and signatures.
#ifndef OVERLAY_FLOOD_BASE_WIRE_CODEC_H_
#define OVERLAY_FLOOD_BASE_WIRE_CODEC_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "flood/base/bytes.h"
#include "flood/base/frame.h"
#include "flood/base/message.h"

namespace overlay {

// The protocol version that this code speaks: Hello's version_min and version_max.
inline constexpr uint32_t kProtocolVersion = 1;

// ---- messages -----------------------------------------------------------------------------------

Bytes EncodeControl(const ControlMessage& message);
Bytes EncodeTxControl(const TxControlMessage& message);
Bytes EncodeGetData(const GetData& message);
Bytes EncodeSetRequest(const SetRequest& message);
Bytes EncodeSetHeader(const SetHeader& message);
Bytes EncodeStateHeader(const StateHeader& message);

// nullopt: a frame to be skipped (R3).
absl::StatusOr<std::optional<ControlMessage>> DecodeControl(const Frame& frame);
absl::StatusOr<std::optional<TxControlMessage>> DecodeTxControl(const Frame& frame);
absl::StatusOr<std::optional<GetData>> DecodeGetData(const Frame& frame);
absl::StatusOr<std::optional<SetRequest>> DecodeSetRequest(const Frame& frame);
// Also checks the answer against what was asked, and against the limit of the kind asked for.
absl::StatusOr<std::optional<SetHeader>> DecodeSetHeader(const Frame& frame,
                                                         const SetRequest& asked,
                                                         uint64_t total_bytes_max);
absl::StatusOr<std::optional<StateHeader>> DecodeStateHeader(const Frame& frame);

// ---- what is not protobuf -----------------------------------------------------------------------

// Precedes each entry of a bodies answer; after kBody come length and body.
absl::StatusOr<BodyOutcome> DecodeBodyOutcome(uint8_t raw);

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_WIRE_CODEC_H_
