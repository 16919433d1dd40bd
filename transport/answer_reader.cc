#include "transport/answer_reader.h"

#include <algorithm>
#include <utility>

namespace overlay::transport {
namespace {

ReadStep StepOf(const absl::Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted ? ReadStep::kTooLarge
                                                               : ReadStep::kMalformed;
}

// Reads from what was kept of earlier calls and the bytes that have come now, as if they were one.
class Joined {
 public:
  Joined(std::vector<uint8_t>& kept, absl::Span<const uint8_t> bytes) : kept_(kept) {
    if (kept_.empty()) {
      rest_ = bytes;
    } else {
      kept_.insert(kept_.end(), bytes.begin(), bytes.end());
      rest_ = kept_;
    }
  }
  absl::Span<const uint8_t> rest() const { return rest_; }
  void Skip(size_t bytes) { rest_.remove_prefix(bytes); }
  // Keeps what was not skipped for the next call.
  void Keep() {
    if (!kept_.empty() && rest_.size() == kept_.size()) return;
    std::vector<uint8_t> rest(rest_.begin(), rest_.end());
    kept_.swap(rest);
    rest_ = kept_;
  }

 private:
  std::vector<uint8_t>& kept_;
  absl::Span<const uint8_t> rest_;
};

}  // namespace

ReadStep BodiesReader::OnData(absl::Span<const uint8_t> bytes, bool fin,
                              std::vector<BodyAnswer>& answers) {
  Joined input(buffer_, bytes);
  while (!input.rest().empty()) {
    if (answered_count_ == hashes_.size()) return ReadStep::kMalformed;
    const auto outcome = DecodeBodyOutcome(input.rest()[0]);
    if (!outcome.ok()) return StepOf(outcome.status());
    BodyAnswer answer{hashes_[answered_count_], *outcome, {}};
    size_t taken_bytes = 1;
    if (*outcome == BodyOutcome::kBody) {
      if (input.rest().size() < 1 + kLengthBytes) break;
      const auto body_bytes = DecodeLength(input.rest().subspan(1, kLengthBytes), body_bytes_max_);
      if (!body_bytes.ok()) return StepOf(body_bytes.status());
      if (bodies_count_ > 0 && bodies_bytes_ + *body_bytes > kBodiesAnswerBytesMax) {
        return ReadStep::kTooLarge;
      }
      taken_bytes += kLengthBytes + *body_bytes;
      if (input.rest().size() < taken_bytes) break;
      answer.body = Bytes::Copy(input.rest().subspan(1 + kLengthBytes, *body_bytes));
      bodies_bytes_ += *body_bytes;
      ++bodies_count_;
    }
    input.Skip(taken_bytes);
    ++answered_count_;
    answers.push_back(std::move(answer));
  }
  input.Keep();
  if (!fin) return ReadStep::kMore;
  return buffer_.empty() && answered_count_ == hashes_.size() ? ReadStep::kDone : ReadStep::kBroken;
}

ReadStep SetReader::OnData(absl::Span<const uint8_t> bytes, bool fin,
                           std::optional<SetHeader>& header, Bytes& data) {
  while (!has_header_ && !bytes.empty()) {
    const auto frame = frames_.Next(bytes);
    if (!frame.ok()) return StepOf(frame.status());
    if (!frame->has_value()) break;
    auto decoded = DecodeSetHeader(**frame, request_, set_bytes_max_);
    if (!decoded.ok()) return StepOf(decoded.status());
    if (!decoded->has_value()) continue;
    header = **decoded;
    has_header_ = true;
    left_bytes_ = header->encoded_bytes;
  }
  if (has_header_ && !bytes.empty()) {
    if (bytes.size() > left_bytes_) return ReadStep::kMalformed;
    left_bytes_ -= bytes.size();
    data = Bytes::Copy(bytes);
  }
  if (!fin) return ReadStep::kMore;
  return has_header_ && left_bytes_ == 0 ? ReadStep::kDone : ReadStep::kBroken;
}

ReadStep StateReader::OnData(absl::Span<const uint8_t> bytes, bool fin,
                             std::optional<StateHeader>& header, std::vector<Bytes>& envelopes) {
  received_bytes_ += bytes.size();
  if (received_bytes_ > answer_bytes_max_) return ReadStep::kTooLarge;
  while (!header_ && !bytes.empty()) {
    const auto frame = frames_.Next(bytes);
    if (!frame.ok()) return StepOf(frame.status());
    if (!frame->has_value()) break;
    auto decoded = DecodeStateHeader(**frame);
    if (!decoded.ok()) return StepOf(decoded.status());
    if (!decoded->has_value()) continue;
    header_ = header = **decoded;
  }
  if (!header_) return fin ? ReadStep::kBroken : ReadStep::kMore;
  return TakeEnvelopes(bytes, fin, envelopes);
}

ReadStep StateReader::TakeEnvelopes(absl::Span<const uint8_t> bytes, bool fin,
                                    std::vector<Bytes>& envelopes) {
  if (header_->refused && !bytes.empty()) return ReadStep::kMalformed;
  Joined input(buffer_, bytes);
  while (input.rest().size() >= kLengthBytes) {
    const auto size = DecodeLength(input.rest().first(kLengthBytes), envelope_bytes_max_);
    if (!size.ok()) return StepOf(size.status());
    if (input.rest().size() < kLengthBytes + *size) break;
    envelopes.push_back(Bytes::Copy(input.rest().subspan(kLengthBytes, *size)));
    input.Skip(kLengthBytes + *size);
  }
  input.Keep();
  if (!fin) return ReadStep::kMore;
  return buffer_.empty() ? ReadStep::kDone : ReadStep::kBroken;
}

}  // namespace overlay::transport
