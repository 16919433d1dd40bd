#include "transport/dns_srv.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

namespace overlay::transport {
namespace {

constexpr size_t kHeaderBytes = 12;
constexpr size_t kNameBytesMax = 255;
constexpr uint16_t kTypeSrv = 33;
constexpr uint16_t kClassIn = 1;
constexpr uint8_t kPointer = 0xc0;

// Reads from the front; after an overrun everything is 0 and `ok` is false.
class Reader {
 public:
  Reader(absl::Span<const uint8_t> packet, size_t at) : packet_(packet), at_(at) {}

  bool ok() const { return ok_; }
  size_t at() const { return at_; }
  uint8_t Byte() {
    if (at_ >= packet_.size()) {
      ok_ = false;
      return 0;
    }
    return packet_[at_++];
  }
  uint16_t Short() {
    const uint8_t high = Byte();
    return static_cast<uint16_t>(high << 8 | Byte());
  }
  uint32_t Long() {
    const uint32_t high = Short();
    return high << 16 | Short();
  }
  void Skip(size_t bytes) {
    if (bytes > packet_.size() - std::min(at_, packet_.size())) {
      ok_ = false;
      at_ = packet_.size();
    } else {
      at_ += bytes;
    }
  }
  void JumpTo(size_t at) { at_ = at; }

 private:
  const absl::Span<const uint8_t> packet_;
  size_t at_;
  bool ok_ = true;
};

// The name at the reader's place, its labels with dots between; nullopt: it does not end. Pointers
// go backwards only, each before the one that led to it: that many end.
std::optional<std::string> ReadName(absl::Span<const uint8_t> packet, Reader& reader) {
  std::string name;
  Reader part(packet, reader.at());
  size_t lowest = reader.at();
  bool jumped = false;
  while (true) {
    const uint8_t length = part.Byte();
    if ((length & kPointer) == kPointer) {
      const size_t to = static_cast<size_t>(length & ~kPointer) << 8 | part.Byte();
      if (!std::exchange(jumped, true)) reader.JumpTo(part.at());
      if (!part.ok() || to >= lowest) return std::nullopt;
      lowest = to;
      part.JumpTo(to);
      continue;
    }
    if (!part.ok() || (length & kPointer) != 0) return std::nullopt;
    if (length == 0) break;
    if (!name.empty()) name += '.';
    for (uint8_t i = 0; i < length; ++i) name += static_cast<char>(part.Byte());
    if (!part.ok() || name.size() > kNameBytesMax) return std::nullopt;
  }
  if (!jumped) reader.JumpTo(part.at());
  return name;
}

bool IsHostName(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

// Reads one record, which may be of another type. False: the packet ends within it.
bool ReadRecord(absl::Span<const uint8_t> packet, Reader& reader, std::vector<SrvRecord>& out) {
  if (!ReadName(packet, reader)) return false;
  const uint16_t type = reader.Short();
  const uint16_t klass = reader.Short();
  const uint32_t ttl = reader.Long();
  const uint16_t length = reader.Short();
  Reader data(packet, reader.at());
  reader.Skip(length);
  if (!reader.ok()) return false;
  if (type != kTypeSrv || klass != kClassIn) return true;
  SrvRecord record;
  record.priority = data.Short();
  record.weight = data.Short();
  record.port = data.Short();
  std::optional<std::string> target = ReadName(packet, data);
  if (!data.ok() || !target || data.at() != reader.at()) return false;
  // The highest bit set is a TTL of 0 (RFC 2181).
  record.ttl_seconds = ttl > INT32_MAX ? 0 : ttl;
  record.target = *std::move(target);
  if (IsHostName(record.target) && record.port != 0) out.push_back(std::move(record));
  return true;
}

}  // namespace

absl::StatusOr<std::vector<SrvRecord>> ParseSrv(absl::Span<const uint8_t> packet) {
  Reader reader(packet, 0);
  reader.Short();  // id
  const uint16_t flags = reader.Short();
  const uint16_t questions = reader.Short();
  const uint16_t answers = reader.Short();
  reader.Skip(kHeaderBytes - 8);
  const absl::Status malformed = absl::InvalidArgumentError("not a DNS response");
  if (!reader.ok() || (flags & 0x8000) == 0) return malformed;
  for (uint16_t i = 0; i < questions; ++i) {
    if (!ReadName(packet, reader)) return malformed;
    reader.Skip(4);
    if (!reader.ok()) return malformed;
  }
  std::vector<SrvRecord> records;
  for (uint16_t i = 0; i < answers; ++i) {
    if (!ReadRecord(packet, reader, records)) return malformed;
  }
  std::stable_sort(records.begin(), records.end(), [](const SrvRecord& a, const SrvRecord& b) {
    return a.priority != b.priority ? a.priority < b.priority : a.weight > b.weight;
  });
  if (records.size() > kSrvRecordsMax) records.resize(kSrvRecordsMax);
  return records;
}

}  // namespace overlay::transport
