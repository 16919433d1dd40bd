// Links: overlay_transport
//
// Any bytes as a DNS response: nothing outside them is read, and what is given obeys its bounds, is
// in its order and is found again when the packet has more behind it.
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <vector>

#include "flood/base/check.h"
#include "transport/dns_srv.h"

namespace overlay::transport {
namespace {

bool IsBefore(const SrvRecord& a, const SrvRecord& b) {
  return a.priority < b.priority || (a.priority == b.priority && a.weight >= b.weight);
}

void Check(const std::vector<SrvRecord>& records) {
  OVERLAY_CHECK(records.size() <= kSrvRecordsMax);
  for (size_t i = 0; i < records.size(); ++i) {
    const SrvRecord& record = records[i];
    OVERLAY_CHECK(record.port != 0);
    OVERLAY_CHECK(!record.target.empty() && record.target.size() <= 255);
    OVERLAY_CHECK(record.target.find_first_of(std::string_view("\0 \"\\/@", 6)) ==
                  std::string::npos);
    OVERLAY_CHECK(record.ttl_seconds <= INT32_MAX);
    OVERLAY_CHECK(i == 0 || IsBefore(records[i - 1], record));
  }
}

}  // namespace
}  // namespace overlay::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace overlay::transport;
  // Of its own size, so that a byte too many is seen.
  std::vector<uint8_t> packet(data, data + size);
  const auto records = ParseSrv(packet);
  if (!records.ok()) return 0;
  Check(*records);
  packet.insert(packet.end(), 100, 0xff);
  const auto again = ParseSrv(packet);
  OVERLAY_CHECK(again.ok() && again->size() == records->size());
  return 0;
}
