#include "tests/support/http3_world.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::server {
namespace {

constexpr Duration kDelay = std::chrono::milliseconds(1);
// What this takes in one moment is a loop.
constexpr int kRoundsPerMomentMax = 20'000;
const SocketAddress kFrontAddress = SocketAddress::V4(0x0a00ff01, 443);

}  // namespace

class Http3World::Sink : public transport::DatagramSink {
 public:
  Sink(Http3World& world, SocketAddress from) : world_(world), from_(from) {}

  absl::Span<uint8_t> Buffer() override {
    used_ = 0;
    return absl::MakeSpan(buffer_);
  }
  void Commit(const transport::Path& path, size_t bytes, size_t segment_bytes) override {
    absl::Span<const uint8_t> rest(buffer_.data() + used_, bytes);
    used_ += bytes;
    while (!rest.empty()) {
      const size_t size = std::min(rest.size(), segment_bytes);
      world_.Transmit(from_, path.remote, rest.first(size));
      rest.remove_prefix(size);
    }
  }

 private:
  Http3World& world_;
  const SocketAddress from_;
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(2 * transport::kSinkBufferBytesMin);
  size_t used_ = 0;
};

Http3World::Http3World(const Http3Limits& limits) {
  const absl::StatusOr<PemPair> pem = MakeSelfSigned(WallTime{1'700'000'000'000'000});
  OVERLAY_CHECK(pem.ok());
  absl::StatusOr<std::unique_ptr<WebIdentity>> identity = WebIdentity::Create(*pem);
  OVERLAY_CHECK(identity.ok());
  identity_ = *std::move(identity);
  front_ = std::make_unique<Http3Front>(limits, *identity_, Random(1), counters_);
  front_sink_ = std::make_unique<Sink>(*this, kFrontAddress);
}

Http3World::~Http3World() = default;

Http3Client& Http3World::AddClient(std::optional<uint8_t> host) {
  const auto number = static_cast<uint32_t>(peers_.size() + 1);
  const SocketAddress address = SocketAddress::V4(host ? 0x0a000000 + *host : 0x0a010000 + number,
                                                  static_cast<uint16_t>(20'000 + number));
  peers_.push_back({address, std::make_unique<Http3Client>(number + 100),
                    std::make_unique<Sink>(*this, address)});
  peers_.back().client->Dial(now_, kFrontAddress);
  return *peers_.back().client;
}

void Http3World::Inject(absl::Span<const uint8_t> payload) {
  Transmit(SocketAddress::V4(0x0a020001, 4'444), kFrontAddress, payload);
}

void Http3World::Transmit(const SocketAddress& from, const SocketAddress& to,
                          absl::Span<const uint8_t> payload) {
  in_flight_.emplace(now_ + kDelay, Packet{from, to, {payload.begin(), payload.end()}});
}

void Http3World::Turn() {
  while (!in_flight_.empty() && in_flight_.begin()->first <= now_) {
    const Packet packet = std::move(in_flight_.begin()->second);
    in_flight_.erase(in_flight_.begin());
    if (packet.to == kFrontAddress) {
      front_->OnDatagram(now_, {packet.to, packet.from}, packet.payload);
    }
    for (Peer& peer : peers_) {
      if (peer.address != packet.to) continue;
      peer.client->OnDatagram(now_, {SocketAddress{}, packet.from}, packet.payload);
    }
  }
  front_->OnTurn(now_);
  for (Http3Asked& asked : front_->TakeAsked()) {
    if (page_) {
      front_->Respond(now_, asked.ticket, page_(asked.request));
    } else {
      asked_.push_back(std::move(asked));
    }
  }
  front_has_more_ = front_->Write(now_, *front_sink_);
  front_->CheckInvariants();
  for (Peer& peer : peers_) {
    peer.client->OnTurn(now_);
    peer.client->Write(now_, *peer.sink);
  }
}

bool Http3World::RunUntil(const std::function<bool()>& done, Duration limit) {
  const Time until = now_ + limit;
  Time moment = now_;
  int rounds = 0;
  for (;;) {
    Turn();
    if (done()) return true;
    std::optional<Time> next = front_->NextDeadline();
    const auto consider = [&next](std::optional<Time> at) {
      if (at) next = next ? std::min(*next, *at) : *at;
    };
    if (front_has_more_) consider(now_);
    if (!in_flight_.empty()) consider(in_flight_.begin()->first);
    for (Peer& peer : peers_) consider(peer.client->NextDeadline());
    if (!next || *next > until) {
      now_ = until;
      Turn();
      return done();
    }
    now_ = std::max(now_, *next);
    rounds = moment == now_ ? rounds + 1 : 0;
    moment = now_;
    OVERLAY_CHECK(rounds < kRoundsPerMomentMax);
  }
}

Http3Answer Http3World::Fetch(Http3Client& client, const Http3Question& question) {
  std::optional<transport::StreamId> stream;
  const bool asked = RunUntil(
      [&] {
        if (!stream) stream = client.Ask(question);
        return stream.has_value();
      },
      std::chrono::seconds(5));
  OVERLAY_CHECK(asked);
  (void)RunUntil(
      [&] {
        const Http3Answer& answer = client.answer(*stream);
        return answer.is_complete || answer.reset || client.closed();
      },
      std::chrono::seconds(60));
  return client.answer(*stream);
}

}  // namespace overlay::server
