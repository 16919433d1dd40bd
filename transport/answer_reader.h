// transport/answer_reader.h
//
// Read the answers to our own requests as they arrive: bodies, a set, a state answer. Each object
// reads one stream, checks what can be checked without a hash, and says when the stream is done.
//
// Rules
//   R1  What was announced (a length, a count) limits what is accepted and never allocates. Why: it
//       is the peer's word.
//   R2  An answer is complete when the stream ends exactly where it should: an outcome for each
//       hash, the announced bytes of a set, a whole envelope. Anything else is broken or malformed.
//   R3  One body is at most a transaction; several together at most kBodiesAnswerBytesMax.
//   R4  Bytes of a set are handed on as they come; bodies and envelopes when they are whole.
//
// Bounds   BodiesReader one transaction, StateReader one envelope (and its header), SetReader a
//     frame.
// Cost     bodies and envelopes are copied once, or twice where they came in pieces.
// Time, threads  none.
// Not here hashes (flood checks them), credit, the streams.
#ifndef OVERLAY_TRANSPORT_ANSWER_READER_H_
#define OVERLAY_TRANSPORT_ANSWER_READER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/bytes.h"
#include "flood/base/limits.h"
#include "flood/base/message.h"
#include "flood/base/wire_codec.h"

namespace overlay::transport {

enum class ReadStep : uint8_t {
  kMore,
  kDone,       // ended where it should (R2)
  kBroken,     // ended early
  kMalformed,  // what no honest peer sends
  kTooLarge,   // above a limit
};

class BodiesReader {
 public:
  BodiesReader(GetData request, size_t body_bytes_max)
      : hashes_(std::move(request.hashes)), body_bytes_max_(body_bytes_max) {}

  // Appends what is whole to `answers`.
  ReadStep OnData(absl::Span<const uint8_t> bytes, bool fin, std::vector<BodyAnswer>& answers);
  // Of a body that is not whole yet.
  size_t buffered_bytes() const { return buffer_.size(); }

 private:
  std::vector<TxHash> hashes_;
  const size_t body_bytes_max_;
  size_t answered_count_ = 0;
  size_t bodies_bytes_ = 0;
  size_t bodies_count_ = 0;
  std::vector<uint8_t> buffer_;  // the beginning of an answer
};

class SetReader {
 public:
  SetReader(const SetRequest& request, size_t set_bytes_max)
      : request_(request), set_bytes_max_(set_bytes_max) {}

  // `header` is set once, when it has come; `data` is the part of `bytes` that belongs to the set.
  ReadStep OnData(absl::Span<const uint8_t> bytes, bool fin, std::optional<SetHeader>& header,
                  Bytes& data);

 private:
  const SetRequest request_;
  const size_t set_bytes_max_;
  FrameReader frames_;
  bool has_header_ = false;
  uint64_t left_bytes_ = 0;
};

class StateReader {
 public:
  StateReader(size_t envelope_bytes_max, size_t answer_bytes_max)
      : envelope_bytes_max_(envelope_bytes_max), answer_bytes_max_(answer_bytes_max) {}

  // `header` is set once. Envelopes that are whole are appended.
  ReadStep OnData(absl::Span<const uint8_t> bytes, bool fin, std::optional<StateHeader>& header,
                  std::vector<Bytes>& envelopes);

 private:
  ReadStep TakeEnvelopes(absl::Span<const uint8_t> bytes, bool fin, std::vector<Bytes>& envelopes);

  const size_t envelope_bytes_max_;
  const size_t answer_bytes_max_;
  FrameReader frames_;
  std::optional<StateHeader> header_;
  std::vector<uint8_t> buffer_;  // the beginning of an envelope, its length included
  uint64_t received_bytes_ = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_ANSWER_READER_H_
