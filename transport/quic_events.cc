#include "transport/quic_events.h"

#include <algorithm>
#include <cstring>

namespace overlay::transport {
namespace {

// Holds what a full batch of datagrams brings.
constexpr size_t kBlockBytes = 64 << 10;

}  // namespace

void QuicEvents::Clear() {
  list_.clear();
  if (blocks_.size() > 1) blocks_.resize(1);
  if (!blocks_.empty()) blocks_[0].used = 0;
}

absl::Span<const uint8_t> QuicEvents::Keep(absl::Span<const uint8_t> bytes) {
  if (bytes.empty()) return {};
  if (blocks_.empty() || blocks_.back().capacity - blocks_.back().used < bytes.size()) {
    const size_t capacity = std::max(kBlockBytes, bytes.size());
    // Not make_unique: it would write zeros over memory that is about to be filled.
    blocks_.push_back({std::unique_ptr<uint8_t[]>(new uint8_t[capacity]), capacity, 0});
  }
  Block& block = blocks_.back();
  uint8_t* const place = block.data.get() + block.used;
  std::memcpy(place, bytes.data(), bytes.size());
  block.used += bytes.size();
  return {place, bytes.size()};
}

}  // namespace overlay::transport
