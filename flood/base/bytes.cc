#include "flood/base/bytes.h"

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

}  // namespace overlay
