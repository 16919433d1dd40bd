// tests/support/peer_net.h
//
// A few PeerTransports on one virtual network, in virtual time: links with delay, loss and rate,
// nodes that can be cut off, stopped and restarted. No socket, no thread, no clock.
//
//   PeerNet net({.delay = 10ms});
//   net.AddNode(); net.AddNode();
//   net.Connect(0, 1);
//   ASSERT_TRUE(net.RunUntil([&] { return net.PeerAt(0, 1).has_value(); }, 2s));
#ifndef OVERLAY_TESTS_SUPPORT_PEER_NET_H_
#define OVERLAY_TESTS_SUPPORT_PEER_NET_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "flood/base/peer_io.h"
#include "flood/base/random.h"
#include "tests/support/peer_raw.h"
#include "tests/support/virtual_link.h"
#include "transport/peer_transport.h"

namespace overlay::transport {

class PeerNet {
 public:
  struct LinkOptions {
    Duration delay = std::chrono::milliseconds(5);  // one way
    Duration jitter{};
    bool keeps_order = false;  // in spite of jitter
    double loss = 0;
    uint64_t bytes_per_second = 0;         // 0: no limit
    size_t queue_bytes = size_t{1} << 40;  // drop-tail, with a rate only
    bool shared_by_receiver = false;  // all that goes to one node shares its rate and its queue
    uint64_t seed = 1;
  };
  // A datagram on its way; false drops it.
  using Filter = std::function<bool(size_t from, size_t to, size_t bytes)>;

  explicit PeerNet(const LinkOptions& link) : link_(link), random_(link.seed) {}

  // The key of a node follows from its number, unless `change` says otherwise.
  size_t AddNode(const std::function<void(TransportOptions&)>& change = {});
  // Two nodes, 0 and 1, the first of which dials the second.
  bool AddPair() {
    AddNode();
    AddNode();
    return Join(0, 1);
  }
  // A node that a test plays by hand.
  size_t AddRaw(const RawPeer::Options& options);
  RawPeer& raw(size_t node) { return *nodes_[node].raw; }
  // Dials and waits until the transport has it as a peer.
  bool JoinRaw(size_t raw, size_t to);
  // Writes what the test queued.
  void WriteRaw(size_t node) { Turn(node); }
  // Forgets everything without a word; the same key with another nonce.
  void Restart(size_t node, const std::function<void(TransportOptions&)>& change = {});
  void Stop(size_t node) { nodes_[node].transport.reset(); }
  static SocketAddress AddressOf(size_t node);
  // It goes on from another address, and is no longer where it was.
  void Move(size_t node, const SocketAddress& address) { nodes_[node].moved_to = address; }
  NodeKey KeyOf(size_t node) const { return nodes_[node].key; }

  PeerTransport& at(size_t node) { return *nodes_[node].transport; }
  void Do(size_t node, PeerCommand command);
  DialId Connect(size_t from, size_t to, std::optional<NodeKey> pinned = std::nullopt);
  void Run(Duration time);
  bool RunUntil(const std::function<bool()>& done, Duration time);
  // Dials and waits until both ends have a peer.
  bool Join(size_t from, size_t to);
  void set_filter(Filter filter) { filter_ = std::move(filter); }
  void set_loss(double loss) { link_.loss = loss; }
  // From now on; what waits in a queue leaves as it would have.
  void set_rate(uint64_t bytes_per_second) { link_.bytes_per_second = bytes_per_second; }
  void set_delay(Duration delay) { link_.delay = delay; }
  // The most that ever waited in the queue of the link.
  size_t QueueBytesSeen(size_t from, size_t to) const {
    return links_.at(LinkKey(from, to)).queue_bytes_seen();
  }
  // Without records events() and what reads it stay empty: for runs of many megabytes.
  void set_records(bool records) { records_ = records; }
  // Called with each event as it happens; it must not act on the net.
  void set_on_event(std::function<void(size_t node, const PeerEvent&)> on_event) {
    on_event_ = std::move(on_event);
  }

  Time now() const { return now_; }
  uint64_t datagrams_delivered() const { return datagrams_delivered_; }
  const std::vector<std::pair<Time, PeerEvent>>& events(size_t node) const {
    return nodes_[node].events;
  }
  template <class Event>
  std::vector<Event> All(size_t node) const {
    std::vector<Event> found;
    for (const auto& [at, event] : nodes_[node].events) {
      if (const Event* e = std::get_if<Event>(&event)) found.push_back(*e);
    }
    return found;
  }
  template <class Event>
  size_t Count(size_t node) const {
    return All<Event>(node).size();
  }
  // The last peer with that node's key that has not been disconnected.
  std::optional<PeerId> PeerAt(size_t node, size_t other) const;
  size_t envelopes_received(size_t node) const { return nodes_[node].envelopes_received; }

 private:
  struct Node {
    std::unique_ptr<PeerTransport> transport;  // or
    std::unique_ptr<RawPeer> raw;
    TransportOptions options;
    NodeKey key;
    std::vector<std::pair<Time, PeerEvent>> events;
    std::map<NodeKey, PeerId> peers;
    std::optional<SocketAddress> moved_to;
    size_t envelopes_received = 0;
  };
  struct Packet {
    Time at;
    uint64_t order;
    size_t from;
    size_t to;
    std::string bytes;
    bool operator>(const Packet& other) const {
      return std::pair(at, order) > std::pair(other.at, other.order);
    }
  };
  class Sink;

  // Of a shared link: as if all came from its receiver.
  std::pair<size_t, size_t> LinkKey(size_t from, size_t to) const {
    return {link_.shared_by_receiver ? to : from, to};
  }
  void Make(size_t node);
  SocketAddress AddressNow(size_t node) const {
    return nodes_[node].moved_to.value_or(AddressOf(node));
  }
  std::optional<Time> DeadlineOf(size_t node);
  void Send(size_t from, const SocketAddress& to, std::string bytes);
  void Turn(size_t node);
  void TakeEvents(size_t node);
  bool Step(Time until);

  LinkOptions link_;
  Random random_;
  std::vector<Node> nodes_;
  std::map<std::pair<size_t, size_t>, VirtualLink> links_;
  std::priority_queue<Packet, std::vector<Packet>, std::greater<>> packets_;
  Filter filter_;
  bool records_ = true;
  std::function<void(size_t, const PeerEvent&)> on_event_;
  Time now_{std::chrono::seconds(1000)};
  uint64_t next_order_ = 0;
  uint64_t next_dial_ = 1;
  uint64_t next_nonce_ = 1000;
  uint64_t datagrams_delivered_ = 0;
};

}  // namespace overlay::transport

#endif  // OVERLAY_TESTS_SUPPORT_PEER_NET_H_
