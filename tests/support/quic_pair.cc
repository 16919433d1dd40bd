#include "tests/support/quic_pair.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::transport {
namespace {

// Far from zero, so that nothing mistakes an early time for "never".
constexpr Time kStart = Time(std::chrono::seconds(1'000));
// More than this at one moment is a livelock.
constexpr int kRoundsPerMomentMax = 10'000;

}  // namespace

std::optional<StreamChunk> MessageSource::Next() {
  if (queue_.empty() || blocked_) return std::nullopt;
  const Message& message = queue_.front();
  return StreamChunk{message.stream, message.data.Slice(message.offset), message.fin};
}

void MessageSource::OnPacked(StreamId stream, size_t bytes, bool fin) {
  Message& message = queue_.front();
  OVERLAY_CHECK(message.stream == stream);
  message.offset += bytes;
  if (message.offset == message.data.size() && fin == message.fin) queue_.pop_front();
}

void MessageSource::OnRefused(StreamId stream, WriteRefusal why) {
  OVERLAY_CHECK(queue_.front().stream == stream);
  if (why == WriteRefusal::kGone) {
    gone_.push_back(stream);
    queue_.pop_front();
  } else {
    blocked_ = true;
  }
}

QuicHost::QuicHost(QuicPair& pair, uint64_t seed, SocketAddress address, EndpointSettings settings,
                   std::unique_ptr<TlsIdentity> identity)
    : pair_(pair),
      address_(address),
      settings_(std::move(settings)),
      identity_(std::move(identity)),
      buffer_(2 * kSinkBufferBytesMin) {
  Restart(seed);
}

void QuicHost::Restart(uint64_t seed) {
  endpoint_ = std::make_unique<QuicEndpoint>(settings_, *identity_, Random(seed));
  logs_.clear();
  sources_.clear();
  newest_ = ConnectionId{};
}

ConnectionId QuicHost::DialTo(const SocketAddress& remote, const std::optional<NodeKey>& pinned) {
  absl::StatusOr<ConnectionId> id = endpoint_->Dial(pair_.now_, remote, pinned);
  OVERLAY_CHECK(id.ok());
  return *id;
}

ConnectionId QuicHost::Dial(const std::optional<NodeKey>& pinned) {
  const QuicHost& other = this == pair_.dialler_.get() ? *pair_.acceptor_ : *pair_.dialler_;
  return DialTo(other.address_, pinned);
}

const ConnectionLog& QuicHost::log(ConnectionId id) const {
  static const ConnectionLog kEmpty;
  auto it = logs_.find(id);
  return it == logs_.end() ? kEmpty : it->second;
}

bool QuicHost::IsUp(ConnectionId id) const {
  return log(id).confirmed && log(id).closed_count == 0;
}

std::optional<StreamId> QuicHost::SendUni(ConnectionId id, Bytes message) {
  QuicConnection* connection = endpoint_->Mutable(id);
  if (connection == nullptr) return std::nullopt;
  const std::optional<StreamId> stream = connection->OpenUni();
  if (stream) sources_[id].Add(*stream, std::move(message), true);
  return stream;
}

void QuicHost::Close(ConnectionId id, uint64_t code, std::string_view reason) {
  QuicEvents events;
  endpoint_->Mutable(id)->Close(pair_.now_, code, reason, events);
  HandleEvents(events);
}

absl::Span<uint8_t> QuicHost::Buffer() {
  if (blocked_) return {};
  committed_ = 0;
  return absl::MakeSpan(buffer_);
}

void QuicHost::Commit(const Path& path, size_t bytes, size_t segment_bytes) {
  OVERLAY_CHECK(bytes > 0 && segment_bytes > 0 && bytes <= kBatchBytesMax);
  OVERLAY_CHECK((bytes + segment_bytes - 1) / segment_bytes <= kBatchDatagramsMax);
  OVERLAY_CHECK(committed_ + bytes <= buffer_.size());
  batches_.push_back({pair_.now_, path, bytes, segment_bytes});
  absl::Span<const uint8_t> rest(buffer_.data() + committed_, bytes);
  committed_ += bytes;
  while (!rest.empty()) {
    const size_t size = std::min(rest.size(), segment_bytes);
    pair_.Transmit(address_, path.remote, rest.first(size));
    rest.remove_prefix(size);
  }
}

void QuicHost::HandleEvents(QuicEvents& events) {
  for (const QuicEvent& event : events.list()) {
    ConnectionLog& log = logs_[event.connection];
    if (const auto* completed = std::get_if<HandshakeCompleted>(&event.what)) {
      log.completed = completed->peer;
      newest_ = event.connection;
    } else if (std::holds_alternative<HandshakeConfirmed>(event.what)) {
      log.confirmed = true;
    } else if (const auto* closed = std::get_if<ConnectionClosed>(&event.what)) {
      ++log.closed_count;
      log.closed = closed->info;
    } else if (const auto* data = std::get_if<StreamData>(&event.what)) {
      if (!log.completed) ++log.events_before_completed;
      ReceivedStream& stream = log.streams[data->stream];
      OVERLAY_CHECK(stream.bytes.size() == data->offset);
      stream.bytes.append(reinterpret_cast<const char*>(data->bytes.data()), data->bytes.size());
      stream.fin = stream.fin || data->fin;
      QuicConnection* connection = endpoint_->Mutable(event.connection);
      if (return_credit_ && connection != nullptr) {
        connection->ExtendConnection(data->bytes.size());
        connection->ExtendStream(data->stream, data->bytes.size());
        if (data->fin && IsUni(data->stream)) connection->ReturnUniStream();
      }
    } else if (const auto* reset = std::get_if<StreamReset>(&event.what)) {
      log.streams[reset->stream].reset = reset->code;
    } else if (const auto* acked = std::get_if<StreamAcked>(&event.what)) {
      log.acked[acked->stream] = acked->bytes;
    } else if (const auto* done = std::get_if<StreamClosed>(&event.what)) {
      log.stream_closed[done->stream] = done->code;
    } else if (std::holds_alternative<StreamsCredit>(event.what)) {
      ++log.streams_credit;
    } else if (const auto* path = std::get_if<PathChanged>(&event.what)) {
      log.paths.push_back(path->path);
    }
  }
  events.Clear();
}

void QuicHost::Write() {
  QuicEvents events;
  for (auto& [id, source] : sources_) {
    const QuicConnection* connection = endpoint_->Find(id);
    if (connection == nullptr || !connection->is_open()) continue;
    source.Unblock();
    if (source.empty()) continue;
    endpoint_->Drain(pair_.now_, id, *this, &source, WritePass{}, events);
  }
  while (endpoint_->AcceptWaiting(pair_.now_, events)) {
  }
  endpoint_->DrainDatagrams(pair_.now_, *this, events);
  HandleEvents(events);
}

SecretSeed QuicPair::SeedOf(uint64_t number) {
  SecretSeed seed;
  Random(number).Fork("node key").Fill(absl::MakeSpan(seed.bytes));
  return seed;
}

QuicPair::QuicPair(QuicPairOptions options)
    : random_(Random(options.seed).Fork("link")), link_(options.link), now_(kStart) {
  const Random seeds(options.seed);
  const auto identity = [](std::unique_ptr<TlsIdentity>& given, uint64_t number) {
    if (given != nullptr) return std::move(given);
    absl::StatusOr<std::unique_ptr<TlsIdentity>> made = TlsIdentity::Create(SeedOf(number));
    OVERLAY_CHECK(made.ok());
    return *std::move(made);
  };
  dialler_ = std::make_unique<QuicHost>(*this, seeds.Fork("dialler").Next(),
                                        SocketAddress::V4(0x0a000001, 11625), options.dialler,
                                        identity(options.dialler_identity, options.seed * 2 + 1));
  acceptor_ = std::make_unique<QuicHost>(*this, seeds.Fork("acceptor").Next(),
                                         SocketAddress::V4(0x0a000002, 11625), options.acceptor,
                                         identity(options.acceptor_identity, options.seed * 2 + 2));
}

void QuicPair::Deliver(Time at, Packet packet) {
  in_flight_.emplace(std::make_pair(at, sequence_++), std::move(packet));
}

void QuicPair::Inject(const SocketAddress& from, const SocketAddress& to,
                      std::vector<uint8_t> payload) {
  Deliver(now_, {from, to, std::move(payload)});
}

void QuicPair::Transmit(const SocketAddress& from, const SocketAddress& to,
                        absl::Span<const uint8_t> payload) {
  ++datagrams_;
  for (const uint64_t value : {static_cast<uint64_t>(now_.time_since_epoch().count()),
                               static_cast<uint64_t>(payload.size()), uint64_t{to.port}}) {
    trace_ = (trace_ ^ value) * 1099511628211u;
  }
  if (filter_ && !filter_(to, payload)) return;
  Packet packet{from, to, {payload.begin(), payload.end()}};
  for (const Time at : links_[to].Pass(link_, now_, absl::MakeSpan(packet.payload), random_)) {
    Deliver(at, packet);
  }
}

bool QuicPair::Step(Time until) {
  std::optional<Time> next;
  const auto consider = [&next](std::optional<Time> at) {
    if (at) next = next ? std::min(*next, *at) : *at;
  };
  if (!in_flight_.empty()) consider(in_flight_.begin()->first.first);
  for (QuicHost* host : {dialler_.get(), acceptor_.get()}) {
    consider(host->endpoint_->NextDeadline());
    if (!host->blocked_ && !host->endpoint_->NeedFlush().empty()) consider(now_);
    for (const auto& [id, source] : host->sources_) {
      // A source that has something new; one that was stopped waits for an event.
      const QuicConnection* connection = host->endpoint_->Find(id);
      if (!host->blocked_ && !source.empty() && connection != nullptr &&
          connection->needs_flush()) {
        consider(now_);
      }
    }
  }
  if (!next || *next > until) return false;
  now_ = std::max(now_, *next);
  QuicEvents events;
  while (!in_flight_.empty() && in_flight_.begin()->first.first <= now_) {
    const Packet packet = std::move(in_flight_.begin()->second);
    in_flight_.erase(in_flight_.begin());
    for (QuicHost* host : {dialler_.get(), acceptor_.get()}) {
      if (packet.to != host->address_) continue;
      host->endpoint_->OnDatagram(now_, {host->address_, packet.from}, packet.payload, events);
      host->HandleEvents(events);
    }
  }
  for (QuicHost* host : {dialler_.get(), acceptor_.get()}) {
    host->endpoint_->OnDeadline(now_, events);
    host->HandleEvents(events);
    host->Write();
    host->endpoint_->CheckInvariants();
  }
  return true;
}

bool QuicPair::RunUntil(const std::function<bool()>& done, Duration limit) {
  const Time until = now_ + limit;
  Time moment = now_;
  int rounds = 0;
  // What the test did just now (dialled, queued, closed) is written first.
  dialler_->Write();
  acceptor_->Write();
  while (!done()) {
    if (!Step(until)) {
      now_ = until;
      return done();
    }
    rounds = moment == now_ ? rounds + 1 : 0;
    moment = now_;
    OVERLAY_CHECK(rounds < kRoundsPerMomentMax);
  }
  return true;
}

void QuicPair::RunFor(Duration time) {
  (void)RunUntil([] { return false; }, time);
}

ConnectionId QuicPair::Connect() {
  const ConnectionId id = dialler_->Dial();
  const bool up =
      RunUntil([&] { return dialler_->IsUp(id) && acceptor_->IsUp(acceptor_->newest()); },
               std::chrono::seconds(4));
  OVERLAY_CHECK(up);
  return id;
}

}  // namespace overlay::transport
