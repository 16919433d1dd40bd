#include "tests/support/peer_net.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::transport {

class PeerNet::Sink final : public DatagramSink {
 public:
  Sink(PeerNet& net, size_t node) : net_(net), node_(node), buffer_(kSinkBufferBytesMin) {}

  absl::Span<uint8_t> Buffer() override {
    used_ = 0;
    return absl::MakeSpan(buffer_);
  }
  void Commit(const Path& path, size_t bytes, size_t segment_bytes) override {
    const size_t end = used_ + bytes;
    OVERLAY_CHECK(end <= buffer_.size() && segment_bytes > 0);
    while (used_ < end) {
      const size_t size = std::min(segment_bytes, end - used_);
      net_.Send(node_, path.remote,
                std::string(reinterpret_cast<const char*>(buffer_.data()) + used_, size));
      used_ += size;
    }
  }

 private:
  PeerNet& net_;
  const size_t node_;
  std::vector<uint8_t> buffer_;
  size_t used_ = 0;
};

SocketAddress PeerNet::AddressOf(size_t node) {
  return SocketAddress::V4(0x0a000001 + static_cast<uint32_t>(node), 11625);
}

size_t PeerNet::AddNode(const std::function<void(TransportOptions&)>& change) {
  const size_t node = nodes_.size();
  nodes_.emplace_back();
  TransportOptions& options = nodes_[node].options;
  options.network = NetworkIdOf("test network");
  options.node_seed.bytes.fill(static_cast<uint8_t>(node + 1));
  options.agent = "overlayd/test";
  options.listen_port = 11625;
  // What a test counts, or keeps silent, is its own.
  options.first_ping_after = options.ping_interval;
  if (change) change(options);
  Make(node);
  return node;
}

size_t PeerNet::AddRaw(const RawPeer::Options& options) {
  nodes_.emplace_back();
  nodes_.back().raw = std::make_unique<RawPeer>(options);
  nodes_.back().key = nodes_.back().raw->key();
  return nodes_.size() - 1;
}

bool PeerNet::JoinRaw(size_t raw_node, size_t to) {
  raw(raw_node).Dial(now_, AddressOf(to));
  Turn(raw_node);
  return RunUntil([&] { return raw(raw_node).greeted() && PeerAt(to, raw_node); },
                  std::chrono::seconds(3));
}

std::optional<Time> PeerNet::DeadlineOf(size_t node) {
  if (nodes_[node].raw) return nodes_[node].raw->NextDeadline();
  return nodes_[node].transport ? nodes_[node].transport->NextDeadline() : std::nullopt;
}

void PeerNet::Restart(size_t node, const std::function<void(TransportOptions&)>& change) {
  if (change) change(nodes_[node].options);
  nodes_[node].peers.clear();
  Make(node);
}

void PeerNet::Make(size_t node) {
  Node& state = nodes_[node];
  state.options.instance_nonce = next_nonce_++;
  auto made = PeerTransport::Create(state.options, random_.Fork(next_nonce_));
  OVERLAY_CHECK(made.ok());
  state.transport = std::move(*made);
  state.key = state.transport->node_key();
  state.transport->SetWallTime(now_, {1'700'000'000'000'000});
}

void PeerNet::Do(size_t node, PeerCommand command) {
  at(node).Execute(now_, std::move(command));
  Turn(node);
}

DialId PeerNet::Connect(size_t from, size_t to, std::optional<NodeKey> pinned) {
  const DialId dial{next_dial_++};
  Do(from, Dial{dial, AddressOf(to), pinned});
  return dial;
}

bool PeerNet::Join(size_t from, size_t to) {
  Connect(from, to);
  return RunUntil([&] { return PeerAt(from, to) && PeerAt(to, from); }, std::chrono::seconds(3));
}

std::optional<PeerId> PeerNet::PeerAt(size_t node, size_t other) const {
  auto it = nodes_[node].peers.find(nodes_[other].key);
  return it == nodes_[node].peers.end() ? std::nullopt : std::optional(it->second);
}

void PeerNet::Send(size_t from, const SocketAddress& to, std::string bytes) {
  for (size_t node = 0; node < nodes_.size(); ++node) {
    if (AddressNow(node) != to) continue;
    if (filter_ && !filter_(from, node, bytes.size())) return;
    const overlay::LinkOptions link{.delay = link_.delay,
                                    .jitter = link_.jitter,
                                    .keeps_order = link_.keeps_order,
                                    .bits_per_second = 8 * link_.bytes_per_second,
                                    .queue_bytes = link_.queue_bytes,
                                    .loss = link_.loss};
    const auto payload = absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size());
    for (const Time at : links_[LinkKey(from, node)].Pass(link, now_, payload, random_)) {
      packets_.push({at, next_order_++, from, node, bytes});
    }
    return;
  }
}

void PeerNet::TakeEvents(size_t node) {
  Node& state = nodes_[node];
  for (PeerEvent& event : state.transport->DrainEvents()) {
    if (const auto* up = std::get_if<PeerConnected>(&event)) {
      state.peers[up->info.key] = up->peer;
    } else if (const auto* down = std::get_if<PeerDisconnected>(&event)) {
      std::erase_if(state.peers, [&](const auto& entry) { return entry.second == down->peer; });
    } else if (std::holds_alternative<EnvelopeReceived>(event)) {
      ++state.envelopes_received;
    }
    if (on_event_) on_event_(node, event);
    if (records_) state.events.emplace_back(now_, std::move(event));
  }
}

void PeerNet::Turn(size_t node) {
  Sink sink(*this, node);
  if (nodes_[node].raw) return raw(node).WriteTurn(now_, sink);
  PeerTransport& transport = at(node);
  for (int turns = 0; transport.WriteTurn(now_, sink); ++turns) {
    OVERLAY_CHECK(turns < 100'000);
    TakeEvents(node);
  }
  TakeEvents(node);
  transport.CheckInvariants();
}

bool PeerNet::Step(Time until) {
  Time next = packets_.empty() ? kTimeNever : packets_.top().at;
  for (size_t node = 0; node < nodes_.size(); ++node) {
    next = std::min(next, DeadlineOf(node).value_or(kTimeNever));
  }
  if (next > until) {
    now_ = until;
    return false;
  }
  now_ = std::max(now_, next);
  std::vector<bool> touched(nodes_.size());
  while (!packets_.empty() && packets_.top().at <= now_) {
    const Packet packet = packets_.top();
    packets_.pop();
    Node& node = nodes_[packet.to];
    if (!node.transport && !node.raw) continue;
    ++datagrams_delivered_;
    const auto* data = reinterpret_cast<const uint8_t*>(packet.bytes.data());
    const Path path{AddressNow(packet.to), AddressNow(packet.from)};
    const auto bytes = absl::MakeConstSpan(data, packet.bytes.size());
    if (node.raw) {
      node.raw->OnDatagram(now_, path, bytes);
    } else {
      node.transport->OnDatagram(now_, path, bytes);
    }
    touched[packet.to] = true;
  }
  for (size_t node = 0; node < nodes_.size(); ++node) {
    const bool due = DeadlineOf(node).value_or(kTimeNever) <= now_;
    if (due && nodes_[node].raw) raw(node).OnDeadline(now_);
    if (due && nodes_[node].transport) at(node).OnDeadline(now_);
    if (due || touched[node]) Turn(node);
  }
  return true;
}

void PeerNet::Run(Duration time) {
  const Time until = now_ + time;
  while (Step(until)) {
  }
}

bool PeerNet::RunUntil(const std::function<bool()>& done, Duration time) {
  const Time until = now_ + time;
  while (!done()) {
    if (!Step(until)) return done();
  }
  return true;
}

}  // namespace overlay::transport
