#include "flood/base/bytes.h"

#include <cstdlib>
#include <cstring>

namespace overlay {

Bytes Bytes::Copy(absl::Span<const uint8_t> data) {
  Bytes bytes;
  if (data.empty()) return bytes;
  // Without the value initialisation that make_shared would do: the copy below fills it.
  std::shared_ptr<uint8_t[]> buffer = std::make_shared_for_overwrite<uint8_t[]>(data.size());
  std::memcpy(buffer.get(), data.data(), data.size());
  bytes.data_ = buffer.get();
  bytes.size_ = data.size();
  bytes.owner_ = std::move(buffer);
  return bytes;
}

Bytes Bytes::Take(std::string data) {
  auto holder = std::make_shared<const std::string>(std::move(data));
  Bytes bytes;
  bytes.data_ = reinterpret_cast<const uint8_t*>(holder->data());
  bytes.size_ = holder->size();
  bytes.owner_ = std::move(holder);
  return bytes;
}

Bytes Bytes::Take(std::vector<uint8_t> data) {
  auto holder = std::make_shared<const std::vector<uint8_t>>(std::move(data));
  Bytes bytes;
  bytes.data_ = holder->data();
  bytes.size_ = holder->size();
  bytes.owner_ = std::move(holder);
  return bytes;
}

BytesBuilder& BytesBuilder::operator=(BytesBuilder&& other) noexcept {
  if (this == &other) return *this;
  std::free(buffer_);
  buffer_ = std::exchange(other.buffer_, nullptr);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

BytesBuilder::~BytesBuilder() { std::free(buffer_); }

void BytesBuilder::Append(absl::Span<const uint8_t> data) {
  if (data.empty()) return;
  if (size_ + data.size() > capacity_) {
    const size_t capacity = std::max(size_ + data.size(), capacity_ * 2);
    void* grown = std::realloc(buffer_, capacity);
    OVERLAY_CHECK(grown != nullptr);
    buffer_ = static_cast<uint8_t*>(grown);
    capacity_ = capacity;
  }
  std::memcpy(buffer_ + size_, data.data(), data.size());
  size_ += data.size();
}

Bytes BytesBuilder::Finish() {
  Bytes bytes;
  if (size_ > 0) {
    bytes.data_ = buffer_;
    bytes.size_ = size_;
    bytes.owner_ = std::shared_ptr<const void>(
        buffer_, [](const void* p) { std::free(const_cast<void*>(p)); });
    buffer_ = nullptr;
  }
  size_ = 0;
  capacity_ = 0;
  return bytes;
}

}  // namespace overlay
