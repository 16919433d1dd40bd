// tests/support/quic_pair.h
//
// Two QUIC endpoints over an in-memory link on a virtual clock.
//
//   QuicPair pair({.link = {.delay = 20ms, .loss = 0.02}});
//   const ConnectionId id = pair.dialler().Dial();
//   ASSERT_TRUE(pair.RunUntil([&] { return pair.dialler().IsUp(id); }, 5s));
//
// The clock jumps to the next packet or deadline. Each host behaves like the daemon: it feeds
// datagrams, runs deadlines, writes, begins waiting handshakes, and returns credit at once.
// Everything is drawn from the seed: the same options give the same trace().
#ifndef OVERLAY_TESTS_SUPPORT_QUIC_PAIR_H_
#define OVERLAY_TESTS_SUPPORT_QUIC_PAIR_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/random.h"
#include "tests/support/virtual_link.h"
#include "transport/quic_endpoint.h"

namespace overlay::transport {

// Sends messages in the order in which they were given, each on its stream.
class MessageSource : public StreamSource {
 public:
  void Add(StreamId stream, Bytes data, bool fin) {
    queue_.push_back({stream, std::move(data), 0, fin});
  }
  bool empty() const { return queue_.empty(); }
  size_t queued() const { return queue_.size(); }
  // What was refused as gone, in order.
  const std::vector<StreamId>& gone() const { return gone_; }

  std::optional<StreamChunk> Next() override;
  void OnPacked(StreamId stream, size_t bytes, bool fin) override;
  void OnRefused(StreamId stream, WriteRefusal why) override;
  void Unblock() { blocked_ = false; }

 private:
  struct Message {
    StreamId stream;
    Bytes data;
    size_t offset;
    bool fin;
  };
  std::deque<Message> queue_;
  std::vector<StreamId> gone_;
  bool blocked_ = false;
};

struct ReceivedStream {
  std::string bytes;
  bool fin = false;
  std::optional<uint64_t> reset;
};

// What a host saw of one connection.
struct ConnectionLog {
  std::optional<NodeKey> completed;
  bool confirmed = false;
  int closed_count = 0;
  CloseInfo closed;
  std::map<StreamId, ReceivedStream> streams;
  std::map<StreamId, uint64_t> acked;
  std::map<StreamId, std::optional<uint64_t>> stream_closed;
  std::vector<Path> paths;
  int streams_credit = 0;
  size_t events_before_completed = 0;  // stream events that came too early
};

// A batch as a sink got it.
struct SentBatch {
  Time at;
  Path path;
  size_t bytes;
  size_t segment_bytes;
};

class QuicPair;

class QuicHost : public DatagramSink {
 public:
  QuicHost(QuicPair& pair, uint64_t seed, SocketAddress address, EndpointSettings settings,
           std::unique_ptr<TlsIdentity> identity);

  // Dials the other host, or `remote`.
  ConnectionId Dial(const std::optional<NodeKey>& pinned = std::nullopt);
  ConnectionId DialTo(const SocketAddress& remote, const std::optional<NodeKey>& pinned);
  bool IsUp(ConnectionId id) const;
  // The newest connection whose handshake was completed.
  ConnectionId newest() const { return newest_; }
  const ConnectionLog& log(ConnectionId id) const;
  const std::map<ConnectionId, ConnectionLog>& logs() const { return logs_; }
  MessageSource& source(ConnectionId id) { return sources_[id]; }
  // Opens a unidirectional stream and queues a whole message on it.
  std::optional<StreamId> SendUni(ConnectionId id, Bytes message);
  void Close(ConnectionId id, uint64_t code, std::string_view reason);
  // Forgets all, as after a crash, and starts again with the same key.
  void Restart(uint64_t seed);

  QuicEndpoint& endpoint() { return *endpoint_; }
  const TlsIdentity& identity() const { return *identity_; }
  const SocketAddress& address() const { return address_; }
  const std::vector<SentBatch>& batches() const { return batches_; }
  void set_blocked(bool blocked) { blocked_ = blocked; }
  void set_return_credit(bool on) { return_credit_ = on; }
  // As if a NAT in front of this host had chosen another port.
  void set_port(uint16_t port) { address_.port = port; }

  // DatagramSink
  absl::Span<uint8_t> Buffer() override;
  void Commit(const Path& path, size_t bytes, size_t segment_bytes) override;

 private:
  friend class QuicPair;
  void HandleEvents(QuicEvents& events);
  void Write();

  QuicPair& pair_;
  SocketAddress address_;
  EndpointSettings settings_;
  std::unique_ptr<TlsIdentity> identity_;
  std::unique_ptr<QuicEndpoint> endpoint_;
  std::map<ConnectionId, ConnectionLog> logs_;
  std::map<ConnectionId, MessageSource> sources_;
  ConnectionId newest_;
  std::vector<SentBatch> batches_;
  std::vector<uint8_t> buffer_;
  size_t committed_ = 0;
  bool blocked_ = false;
  bool return_credit_ = true;
};

struct QuicPairOptions {
  uint64_t seed = 1;
  LinkOptions link = {};  // both ways
  EndpointSettings dialler = {};
  EndpointSettings acceptor = {};
  // Instead of a node's own.
  std::unique_ptr<TlsIdentity> dialler_identity = nullptr;
  std::unique_ptr<TlsIdentity> acceptor_identity = nullptr;
};

class QuicPair {
 public:
  explicit QuicPair(QuicPairOptions options);

  QuicHost& dialler() { return *dialler_; }
  QuicHost& acceptor() { return *acceptor_; }
  Time now() const { return now_; }
  LinkOptions& link() { return link_; }

  // Steps until `done` or until that much virtual time has passed. False: not done, or nothing can
  // happen.
  bool RunUntil(const std::function<bool()>& done, Duration limit);
  void RunFor(Duration time);
  // Dials, and runs until both are up. The dialler's connection.
  ConnectionId Connect();

  // Puts a datagram on the link as if some address had sent it to `to`.
  void Inject(const SocketAddress& from, const SocketAddress& to, std::vector<uint8_t> payload);
  // Sees each datagram before it goes onto the link; false swallows it.
  void set_filter(std::function<bool(const SocketAddress& to, absl::Span<const uint8_t>)> filter) {
    filter_ = std::move(filter);
  }
  // Size and time of each datagram sent so far, hashed.
  uint64_t trace() const { return trace_; }
  uint64_t datagrams() const { return datagrams_; }

  static SecretSeed SeedOf(uint64_t number);

 private:
  friend class QuicHost;
  struct Packet {
    SocketAddress from;
    SocketAddress to;
    std::vector<uint8_t> payload;
  };

  void Transmit(const SocketAddress& from, const SocketAddress& to,
                absl::Span<const uint8_t> payload);
  void Deliver(Time at, Packet packet);
  // One moment: what has arrived, what is due, and what that makes the hosts write. False: nothing
  // is to come.
  bool Step(Time until);

  Random random_;
  LinkOptions link_;
  Time now_;
  std::unique_ptr<QuicHost> dialler_;
  std::unique_ptr<QuicHost> acceptor_;
  std::map<std::pair<Time, uint64_t>, Packet> in_flight_;
  std::map<SocketAddress, VirtualLink> links_;  // by destination
  std::function<bool(const SocketAddress&, absl::Span<const uint8_t>)> filter_;
  uint64_t sequence_ = 0;
  uint64_t trace_ = 1469598103934665603u;
  uint64_t datagrams_ = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TESTS_SUPPORT_QUIC_PAIR_H_
