// client-sdk/xdr/xdr_writer.h
//
// XdrWriter appends XDR (RFC 4506) to a buffer: big-endian words, variable-length fields behind
// their length, zero padding to four bytes.
//
// The caller keeps to the bounds of the types that it writes; nothing here knows them.
// Cost: appends to one vector. Threads: none of its own, one object belongs to one thread.
#ifndef OVERLAY_CLIENT_SDK_XDR_XDR_WRITER_H_
#define OVERLAY_CLIENT_SDK_XDR_XDR_WRITER_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/bytes.h"

namespace overlay::xdr {

class XdrWriter {
 public:
  void U32(uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
      out_.push_back(static_cast<uint8_t>(value >> shift));
  }
  void U64(uint64_t value) {
    U32(static_cast<uint32_t>(value >> 32));
    U32(static_cast<uint32_t>(value));
  }
  void I64(int64_t value) { U64(static_cast<uint64_t>(value)); }
  void Bool(bool value) { U32(value ? 1 : 0); }

  // opaque[N]: the bytes and their padding, no length.
  void Fixed(absl::Span<const uint8_t> data) {
    out_.insert(out_.end(), data.begin(), data.end());
    out_.resize((out_.size() + 3) & ~size_t{3});
  }
  // opaque<> and string<>: length, bytes, padding.
  void Opaque(absl::Span<const uint8_t> data) {
    U32(static_cast<uint32_t>(data.size()));
    Fixed(data);
  }
  void Opaque(std::string_view data) {
    Opaque(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(data.data()), data.size()));
  }
  // XDR that is already encoded.
  void Raw(absl::Span<const uint8_t> encoded) {
    out_.insert(out_.end(), encoded.begin(), encoded.end());
  }

  absl::Span<const uint8_t> span() const { return out_; }
  size_t size() const { return out_.size(); }
  void Reserve(size_t bytes) { out_.reserve(bytes); }
  // Hands the buffer over without a copy; the writer is empty afterwards.
  Bytes Finish() { return Bytes::Take(std::exchange(out_, {})); }

 private:
  std::vector<uint8_t> out_;  // its size is a multiple of four between calls
};

}  // namespace overlay::xdr

#endif  // OVERLAY_CLIENT_SDK_XDR_XDR_WRITER_H_
