// network_initials: the first datagrams of handshakes that nobody will go on with.
//
//   network_initials COUNT
//
// Writes COUNT datagrams, each of a dial with its own connection id, as a 16-bit big-endian length
// and its bytes. A test sends them from addresses of its choice.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "flood/base/crypto.h"
#include "transport/quic_endpoint.h"
#include "transport/tls_identity.h"

namespace overlay::transport {
namespace {

constexpr size_t kCountMax = 100'000;

class Writer : public DatagramSink {
 public:
  absl::Span<uint8_t> Buffer() override { return absl::MakeSpan(buffer_).subspan(used_); }
  void Commit(const Path&, size_t bytes, size_t segment_bytes) override {
    for (size_t at = 0; at < bytes; at += segment_bytes) {
      const size_t length = std::min(segment_bytes, bytes - at);
      const uint8_t head[] = {static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
      std::fwrite(head, 1, sizeof(head), stdout);
      std::fwrite(buffer_.data() + at, 1, length, stdout);
      ++written_;
    }
  }
  size_t written() const { return written_; }

 private:
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(2 * kSinkBufferBytesMin);
  size_t used_ = 0;
  size_t written_ = 0;
};

int Main(size_t count) {
  SecretSeed seed;
  seed.bytes.fill(7);
  const auto identity = TlsIdentity::Create(seed);
  if (!identity.ok()) return EXIT_FAILURE;
  EndpointSettings settings;
  settings.connections_max = 1;
  Writer writer;
  const Time now(std::chrono::hours(1));
  for (size_t i = 0; i < count; ++i) {
    QuicEndpoint endpoint(settings, **identity, Random(i));
    if (!endpoint.Dial(now, SocketAddress::Loopback(1), std::nullopt).ok()) return EXIT_FAILURE;
    QuicEvents events;
    endpoint.DrainDatagrams(now, writer, events);
  }
  return writer.written() == count ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace overlay::transport

int main(int argc, char** argv) {
  size_t count = 0;
  const std::string_view word = argc == 2 ? argv[1] : "";
  const auto read = std::from_chars(word.data(), word.data() + word.size(), count);
  if (read.ptr != word.data() + word.size() || count == 0 ||
      count > overlay::transport::kCountMax) {
    std::fprintf(stderr, "usage: network_initials COUNT, 1 to 100000\n");
    return 2;
  }
  return overlay::transport::Main(count);
}
