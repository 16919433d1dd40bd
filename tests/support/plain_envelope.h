// tests/support/plain_envelope.h
//
// SCP envelopes for tests of the flood rules, written word by word: small values, no signature.
// Where a test wants real ones (signed, with values of the network's shape) it takes XdrBuilder.
#ifndef OVERLAY_TESTS_SUPPORT_PLAIN_ENVELOPE_H_
#define OVERLAY_TESTS_SUPPORT_PLAIN_ENVELOPE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/base/ids.h"

namespace overlay {

class XdrWords {
 public:
  XdrWords& U32(uint32_t word) {
    for (int shift = 24; shift >= 0; shift -= 8) text_.push_back(static_cast<char>(word >> shift));
    return *this;
  }
  XdrWords& U64(uint64_t word) {
    return U32(static_cast<uint32_t>(word >> 32)).U32(static_cast<uint32_t>(word));
  }
  XdrWords& Raw(std::string_view bytes) {
    text_ += bytes;
    return *this;
  }
  XdrWords& Opaque(std::string_view bytes) {
    U32(static_cast<uint32_t>(bytes.size())).Raw(bytes);
    while (text_.size() % 4 != 0) text_.push_back('\0');
    return *this;
  }
  const std::string& text() const { return text_; }
  Bytes bytes() const { return Bytes::Copy(text_); }

 private:
  std::string text_;
};

template <class Hash>
Hash HashNumber(uint8_t number) {
  Hash hash;
  hash.bytes.fill(number);
  return hash;
}

struct PlainBallot {
  uint32_t counter = 1;
  std::string value = "v";
};

struct PlainEnvelope {
  uint64_t slot = 1;
  uint8_t node = 1;
  uint8_t quorum_set = 0xaa;
  std::string signature = {};  // makes another envelope of the same statement

  Bytes Prepare(const PlainBallot& ballot, const std::optional<PlainBallot>& prepared = {},
                const std::optional<PlainBallot>& prepared_prime = {}, uint32_t high = 0) const {
    XdrWords x = Head(0);
    x.Raw(QuorumSet()).U32(ballot.counter).Opaque(ballot.value);
    for (const auto* optional : {&prepared, &prepared_prime}) {
      x.U32(optional->has_value());
      if (*optional) x.U32((*optional)->counter).Opaque((*optional)->value);
    }
    return x.U32(0).U32(high).Opaque(signature).bytes();
  }
  Bytes Confirm(const PlainBallot& ballot, uint32_t prepared = 1, uint32_t high = 1) const {
    XdrWords x = Head(1);
    x.U32(ballot.counter).Opaque(ballot.value).U32(prepared).U32(1).U32(high).Raw(QuorumSet());
    return x.Opaque(signature).bytes();
  }
  Bytes Externalize(const PlainBallot& commit, uint32_t high = 1) const {
    XdrWords x = Head(2);
    x.U32(commit.counter).Opaque(commit.value).U32(high).Raw(QuorumSet());
    return x.Opaque(signature).bytes();
  }
  Bytes Nominate(const std::vector<std::string>& votes,
                 const std::vector<std::string>& accepted) const {
    XdrWords x = Head(3);
    x.Raw(QuorumSet());
    for (const auto* values : {&votes, &accepted}) {
      x.U32(static_cast<uint32_t>(values->size()));
      for (const std::string& value : *values) x.Opaque(value);
    }
    return x.Opaque(signature).bytes();
  }

 private:
  XdrWords Head(uint32_t type) const {
    XdrWords x;
    x.U32(0).Raw(HashNumber<NodeKey>(node).view()).U64(slot).U32(type);
    return x;
  }
  std::string QuorumSet() const { return std::string(kHashBytes, static_cast<char>(quorum_set)); }
};

}  // namespace overlay

#endif  // OVERLAY_TESTS_SUPPORT_PLAIN_ENVELOPE_H_
