// client-sdk/xdr/xdr_reader.h
//
// XdrReader: a strict cursor over XDR that came from somebody else.
//
//   XdrReader in(bytes);
//   const uint32_t count = in.Count(kMax);
//   ...
//   if (!in.AtEnd()) return std::nullopt;
//
//   R1  A failure is for good: after the first field that does not fit every read gives zero or
//       nothing and ok() is false, so a parser checks once, at its end.
//   R2  Strict: padding that is not zero, a flag other than 0 and 1, a count above the caller's
//       limit and bytes left over at AtEnd() are failures. One value has one encoding.
//   R3  A count is never believed beyond the bytes that are there: an element takes four bytes at
//       least, so what a parser reserves is bounded by the input's size.
//
// The spans that it gives point into the input. Cost: no allocation. Threads: one object, one
// thread.
#ifndef OVERLAY_CLIENT_SDK_XDR_XDR_READER_H_
#define OVERLAY_CLIENT_SDK_XDR_XDR_READER_H_

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/types/span.h"
#include "flood/base/ids.h"

namespace overlay::xdr {

class XdrReader {
 public:
  explicit XdrReader(absl::Span<const uint8_t> data) : data_(data) {}

  uint32_t U32() {
    if (!Need(4)) return 0;
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | data_[position_ + i];
    position_ += 4;
    return value;
  }
  uint64_t U64() {
    const uint64_t high = U32();
    return high << 32 | U32();
  }
  int64_t I64() { return static_cast<int64_t>(U64()); }
  bool Flag() {
    const uint32_t value = U32();
    if (value > 1) Fail();
    return value == 1 && ok_;
  }
  // The number of elements that follow, at most `limit`.
  uint32_t Count(uint32_t limit) {
    const uint32_t count = U32();
    if (count > limit || count > remaining() / 4) Fail();
    return ok_ ? count : 0;
  }

  // opaque[N] and its padding.
  absl::Span<const uint8_t> Fixed(size_t size) {
    const size_t padding = (4 - size % 4) % 4;
    if (!ok_ || size > remaining() || padding > remaining() - size) {
      Fail();
      return {};
    }
    const absl::Span<const uint8_t> field = data_.subspan(position_, size);
    for (size_t i = 0; i < padding; ++i) {
      if (data_[position_ + size + i] != 0) Fail();
    }
    position_ += size + padding;
    return ok_ ? field : absl::Span<const uint8_t>();
  }
  // opaque<limit> and string<limit>.
  absl::Span<const uint8_t> Opaque(size_t limit) {
    const uint32_t size = U32();
    if (size > limit) Fail();
    return Fixed(ok_ ? size : 0);
  }
  std::string OpaqueString(size_t limit) {
    const absl::Span<const uint8_t> field = Opaque(limit);
    return {reinterpret_cast<const char*>(field.data()), field.size()};
  }
  template <class Hash>
  Hash Hash32Of() {
    Hash hash;
    const absl::Span<const uint8_t> field = Fixed(hash.bytes.size());
    if (!field.empty()) std::memcpy(hash.bytes.data(), field.data(), field.size());
    return hash;
  }

  void Fail() { ok_ = false; }
  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && position_ == data_.size(); }
  size_t position() const { return position_; }
  size_t remaining() const { return data_.size() - position_; }
  // The bytes read since `from`, a position taken earlier.
  absl::Span<const uint8_t> Since(size_t from) const {
    return data_.subspan(from, position_ - from);
  }

 private:
  bool Need(size_t bytes) {
    if (remaining() < bytes) Fail();
    return ok_;
  }

  absl::Span<const uint8_t> data_;
  size_t position_ = 0;  // at most data_.size()
  bool ok_ = true;
};

}  // namespace overlay::xdr

#endif  // OVERLAY_CLIENT_SDK_XDR_XDR_READER_H_
