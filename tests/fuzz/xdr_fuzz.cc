// Strict decoding is the inverse of encoding: what decodes encodes to the same bytes, so nothing
// has two encodings and nothing is dropped on the way.
// Links: overlay_xdr
#include <cstddef>
#include <cstdint>

#include "client-sdk/xdr/scp_message.h"
#include "client-sdk/xdr/transaction_reader.h"
#include "flood/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace overlay;  // NOLINT(google-build-using-namespace)
  constexpr size_t kSignatureBytes = 68;
  const absl::Span<const uint8_t> input(data, size);
  const Bytes bytes = Bytes::Copy(input);
  if (const auto envelope = xdr::DecodeEnvelope(input)) {
    OVERLAY_CHECK(xdr::EncodeStatement(envelope->statement) ==
                  bytes.Slice(0, size - kSignatureBytes));
  }
  if (const auto value = xdr::DecodeValue(input)) {
    OVERLAY_CHECK(xdr::EncodeValue(*value) == bytes.view());
  }
  if (const auto set = xdr::DecodeQuorumSet(input)) {
    OVERLAY_CHECK(xdr::EncodeQuorumSet(*set) == bytes);
  }
  (void)xdr::ReadTransaction(input);
  if (const auto set = xdr::ReadTxSet(input)) {
    for (const absl::Span<const uint8_t> part : set->transactions) {
      OVERLAY_CHECK(xdr::ReadTransaction(part).has_value());
    }
  }
  return 0;
}
