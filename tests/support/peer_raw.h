// tests/support/peer_raw.h
//
// A peer without manners: a QUIC endpoint of the protocol's ALPN whose streams a test writes byte
// by byte, and that reads, or grants credit, only if the test says so.
#ifndef OVERLAY_TESTS_SUPPORT_PEER_RAW_H_
#define OVERLAY_TESTS_SUPPORT_PEER_RAW_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flood/base/peer_io.h"
#include "flood/base/random.h"
#include "flood/base/wire_codec.h"
#include "tests/support/quic_pair.h"
#include "transport/quic_endpoint.h"

namespace overlay::transport {

class RawPeer {
 public:
  struct Options {
    EndpointSettings endpoint;
    uint8_t seed = 200;                    // of the key
    uint64_t random_seed = 1;              // another one for a second connection of the same key
    std::string network = "test network";  // its passphrase
    bool says_hello = true;
    bool returns_credit = true;
  };

  explicit RawPeer(const Options& options);

  void OnDatagram(Time now, const Path& path, absl::Span<const uint8_t> payload);
  void OnDeadline(Time now);
  void WriteTurn(Time now, DatagramSink& sink);
  std::optional<Time> NextDeadline() { return endpoint_.NextDeadline(); }

  void Dial(Time now, const SocketAddress& remote);
  bool greeted() const { return greeted_; }  // the other end's control stream has come
  NodeKey key() const { return identity_->node_key(); }
  // Opens a stream, if credit allows, and queues bytes for it.
  std::optional<StreamId> Uni(std::string_view bytes, bool fin);
  std::optional<StreamId> Bidi(std::string_view bytes, bool fin);
  void Append(StreamId stream, std::string_view bytes, bool fin);
  // Tells the other end that no more of this stream is wanted.
  void Stop(StreamId stream, StreamCode code);
  void Close(Time now, CloseReason reason);
  StreamId control() const { return control_; }

  // What has come on a stream, and how it ended.
  struct Stream {
    std::string bytes;
    bool fin = false;
  };
  const std::map<StreamId, Stream>& streams() const { return streams_; }
  // What was said on the other end's control stream.
  std::vector<ControlMessage> ControlReceived() const;
  const std::map<StreamId, std::optional<uint64_t>>& closed() const { return closed_; }
  const std::optional<CloseInfo>& ended() const { return ended_; }

 private:
  void Handle(Time now);
  void Greet();

  const Options options_;
  std::unique_ptr<TlsIdentity> identity_;
  QuicEndpoint endpoint_;
  QuicEvents events_;
  MessageSource source_;
  ConnectionId connection_;
  StreamId control_ = -1;
  bool greeted_ = false;
  std::map<StreamId, Stream> streams_;
  std::map<StreamId, std::optional<uint64_t>> closed_;
  std::optional<CloseInfo> ended_;
};

// The bytes of a control frame, and of Hello, as a string.
std::string ControlFrame(const ControlMessage& message);
std::string HelloFrame(const std::string& network = "test network");

}  // namespace overlay::transport

#endif  // OVERLAY_TESTS_SUPPORT_PEER_RAW_H_
