// flood/base/bytes.h
//
// Bytes: an immutable, reference-counted run of bytes. A payload is copied into one of these once
// and then shared: by the seen set, the caches and the queues of a hundred peers.
//
// Copying a Bytes and slicing it cost one atomic increment; a slice keeps the whole buffer alive.
// Any thread may read, copy and destroy; the contents never change.
#ifndef OVERLAY_FLOOD_BASE_BYTES_H_
#define OVERLAY_FLOOD_BASE_BYTES_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/check.h"

namespace overlay {

class Bytes {
 public:
  Bytes() = default;

  // One allocation, one copy.
  static Bytes Copy(absl::Span<const uint8_t> data);
  static Bytes Copy(std::string_view data) {
    return Copy(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(data.data()), data.size()));
  }
  // No copy of the contents: takes over the string or vector.
  static Bytes Take(std::string data);
  static Bytes Take(std::vector<uint8_t> data);

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  absl::Span<const uint8_t> span() const { return {data_, size_}; }
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // The part from `offset`, at most `length` bytes; `offset` must not be beyond the end.
  Bytes Slice(size_t offset, size_t length = SIZE_MAX) const {
    OVERLAY_CHECK(offset <= size_);
    Bytes part = *this;
    part.data_ += offset;
    part.size_ = std::min(length, size_ - offset);
    return part;
  }

  // How many holders share the buffer; for accounting in tests.
  long UseCountForTest() const { return owner_.use_count(); }

  // Compares contents.
  friend bool operator==(const Bytes& a, const Bytes& b) { return a.view() == b.view(); }

 private:
  friend class BytesBuilder;

  std::shared_ptr<const void> owner_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Collects bytes that arrive in pieces into one Bytes, without a copy of the whole at any moment:
// large buffers grow by realloc, which moves pages and not their contents. Memory held is at most
// twice what has arrived.
class BytesBuilder {
 public:
  BytesBuilder() = default;
  BytesBuilder(BytesBuilder&& other) noexcept { *this = std::move(other); }
  BytesBuilder& operator=(BytesBuilder&& other) noexcept;
  ~BytesBuilder();

  void Append(absl::Span<const uint8_t> data);
  size_t size() const { return size_; }
  // What has arrived, as one Bytes; leaves the builder empty.
  Bytes Finish();

 private:
  uint8_t* buffer_ = nullptr;  // from malloc
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_BYTES_H_
