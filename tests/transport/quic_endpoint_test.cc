// What an endpoint does for strangers: restarts, floods, Retry, resets, versions, noise.
#include "transport/quic_endpoint.h"

#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/quic_pair.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

// A message that differs at every offset and from every other.
Bytes Message(uint64_t number, size_t bytes) {
  std::vector<uint8_t> data(bytes);
  Random(number).Fill(absl::MakeSpan(data));
  return Bytes::Take(std::move(data));
}

// A restarted acceptor has the same key, so it can tell its old peers that it has forgotten them.
TEST(QuicEndpoint, ARestartedAcceptorResetsItsOldConnections) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.RunFor(1s);
  pair.acceptor().Restart(77);
  ASSERT_TRUE(pair.dialler().SendUni(id, Message(1, 300)));
  ASSERT_TRUE(pair.RunUntil([&] { return pair.dialler().log(id).closed_count == 1; }, 1s));
  EXPECT_EQ(pair.dialler().log(id).closed.cause, CloseCause::kStatelessReset);
  EXPECT_TRUE(pair.dialler().log(id).closed.was_up);
  EXPECT_EQ(pair.acceptor().endpoint().counters().resets_sent, 1u);
  EXPECT_EQ(pair.dialler().endpoint().counters().resets_received, 1u);
  pair.Connect();
}

// Two endpoints that have both forgotten a connection must not answer each other for ever.
TEST(QuicEndpoint, ResetsAreSmallerThanWhatTheyAnswer) {
  QuicPair pair({});
  for (const size_t size : {1'200u, 60u, 43u, 42u, 25u, 22u, 21u, 17u, 1u}) {
    std::vector<uint8_t> stray(size, 0x41);  // a short header
    size_t answers = 0;
    pair.set_filter([&](const SocketAddress&, absl::Span<const uint8_t> payload) {
      EXPECT_LT(payload.size(), size);
      ++answers;
      return true;
    });
    pair.Inject(pair.dialler().address(), pair.acceptor().address(), stray);
    pair.RunFor(1s);
    EXPECT_LE(answers, 25u) << size;
    EXPECT_EQ(answers > 0, size >= 22) << size;
  }
}

TEST(QuicEndpoint, ResetsAreLimitedInRate) {
  QuicPair pair({});
  const SocketAddress stranger = SocketAddress::V4(0x0a000063, 5);
  for (int i = 0; i < 1'000; ++i) {
    pair.Inject(stranger, pair.acceptor().address(), std::vector<uint8_t>(60, 0x41));
    if (i % 10 == 9) pair.RunFor(100us);
  }
  const EndpointCounters& counters = pair.acceptor().endpoint().counters();
  EXPECT_GE(counters.resets_sent, kResetsPerSecondMax);
  EXPECT_LE(counters.resets_sent, kResetsPerSecondMax + 2);
  EXPECT_EQ(counters.resets_sent + counters.stateless_suppressed, 1'000u);
}

// What strangers are told must not pile up before the socket: they will ask again.
TEST(QuicEndpoint, ABlockedSocketDropsAnswersToStrangers) {
  QuicPair pair({});
  pair.acceptor().set_blocked(true);
  pair.Inject(pair.dialler().address(), pair.acceptor().address(), std::vector<uint8_t>(60, 0x41));
  pair.RunFor(100ms);
  EXPECT_EQ(pair.acceptor().endpoint().counters().resets_sent, 1u);
  pair.acceptor().set_blocked(false);
  pair.RunFor(100ms);
  EXPECT_TRUE(pair.acceptor().batches().empty());
}

// The dialler's NAT forgets it and gives it another port: the connection goes on.
TEST(QuicEndpoint, ANewNatBindingIsFollowed) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  const ConnectionId other = pair.acceptor().newest();
  pair.RunFor(1s);
  pair.dialler().set_port(40'000);
  const std::optional<StreamId> stream = pair.dialler().SendUni(id, Message(1, 100'000));
  ASSERT_TRUE(
      pair.RunUntil([&] { return pair.dialler().log(id).stream_closed.contains(*stream); }, 5s));
  EXPECT_EQ(pair.acceptor().endpoint().Find(other)->path().remote, pair.dialler().address());
  ASSERT_FALSE(pair.acceptor().log(other).paths.empty());
  EXPECT_EQ(pair.acceptor().log(other).paths.back().remote, pair.dialler().address());
}

TEST(QuicEndpoint, AnUnknownVersionIsNegotiated) {
  QuicPair pair({});
  std::vector<uint8_t> packet(1'200, 0);
  const uint8_t head[] = {0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9};
  std::copy(std::begin(head), std::end(head), packet.begin());
  std::vector<uint8_t> answer;
  pair.set_filter([&](const SocketAddress&, absl::Span<const uint8_t> payload) {
    answer.assign(payload.begin(), payload.end());
    return true;
  });
  pair.Inject(SocketAddress::V4(0x0a000063, 5), pair.acceptor().address(), packet);
  pair.RunFor(100ms);
  ASSERT_GE(answer.size(), 7u);
  EXPECT_EQ(answer[0] & 0x80, 0x80);
  EXPECT_THAT(std::vector<uint8_t>(answer.begin() + 1, answer.begin() + 5),
              testing::ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(pair.acceptor().endpoint().connection_count(), 0u);
}

TEST(QuicEndpoint, NoiseNeitherConnectsNorCrashes) {
  QuicPair pair({});
  Random random(3);
  for (int i = 0; i < 2'000; ++i) {
    std::vector<uint8_t> noise(1 + random.Below(1'500));
    random.Fill(absl::MakeSpan(noise));
    pair.Inject(SocketAddress::V4(0x0a000063, 5), pair.acceptor().address(), noise);
  }
  pair.Inject(SocketAddress::V4(0x0a000063, 5), pair.acceptor().address(), {});
  pair.RunFor(5s);
  EXPECT_EQ(pair.acceptor().endpoint().connection_count(), 0u);
  pair.Connect();
}

// Opens handshakes that are never carried on, each address with an endpoint of its own.
class Flood {
 public:
  explicit Flood(QuicPair& pair)
      : pair_(pair), identity_(*TlsIdentity::Create(QuicPair::SeedOf(500))) {
    pair.set_filter([this](const SocketAddress& to, absl::Span<const uint8_t> payload) {
      const bool retry = (payload[0] & 0xf0) == 0xf0;
      if (retry && sources_.contains(to.ip)) {
        retries_.push_back({to, {payload.begin(), payload.end()}});
      }
      return true;
    });
  }

  void From(uint32_t ip, int count) {
    const SocketAddress from = SocketAddress::V4(ip, 1'000);
    auto& endpoint = sources_[from.ip];
    if (endpoint == nullptr) {
      endpoint = std::make_unique<QuicEndpoint>(EndpointSettings{}, *identity_, Random(++seed_));
    }
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(endpoint->Dial(pair_.now(), pair_.acceptor().address(), std::nullopt).ok());
    }
    Write(from, *endpoint);
  }

  // The addresses are real: they hear that they must prove themselves, and do.
  void AnswerRetries() {
    QuicEvents events;
    for (const auto& [to, payload] : std::exchange(retries_, {})) {
      QuicEndpoint& endpoint = *sources_.at(to.ip);
      endpoint.OnDatagram(pair_.now(), {to, pair_.acceptor().address()}, payload, events);
      Write(to, endpoint);
    }
  }

 private:
  struct Collect : DatagramSink {
    absl::Span<uint8_t> Buffer() override {
      used = 0;
      return absl::MakeSpan(bytes);
    }
    void Commit(const Path&, size_t size, size_t segment) override {
      for (size_t at = used; at < used + size; at += segment) {
        const size_t n = std::min(segment, used + size - at);
        out.emplace_back(bytes.begin() + static_cast<ptrdiff_t>(at),
                         bytes.begin() + static_cast<ptrdiff_t>(at + n));
      }
      used += size;
    }
    std::vector<uint8_t> bytes = std::vector<uint8_t>(kSinkBufferBytesMin);
    size_t used = 0;
    std::vector<std::vector<uint8_t>> out;
  };

  void Write(const SocketAddress& from, QuicEndpoint& endpoint) {
    Collect sink;
    QuicEvents events;
    endpoint.DrainDatagrams(pair_.now(), sink, events);
    for (auto& datagram : sink.out) pair_.Inject(from, pair_.acceptor().address(), datagram);
  }

  QuicPair& pair_;
  std::unique_ptr<TlsIdentity> identity_;
  std::map<std::array<uint8_t, 16>, std::unique_ptr<QuicEndpoint>> sources_;
  std::vector<std::pair<SocketAddress, std::vector<uint8_t>>> retries_;
  uint64_t seed_ = 1'000;
};

TEST(QuicEndpoint, OneAddressHoldsFewHandshakes) {
  QuicPair pair({});
  Flood flood(pair);
  flood.From(0x0a010101, 10);
  pair.RunFor(500ms);
  EXPECT_EQ(pair.acceptor().endpoint().handshakes_in_flight(), 10u);
  flood.From(0x0a010101, 10);
  pair.RunFor(500ms);
  EXPECT_EQ(pair.acceptor().endpoint().handshakes_in_flight(), kHandshakesPerAddressMax);
  EXPECT_EQ(pair.acceptor().endpoint().counters().handshakes_evicted, 4u);
  // Another address is not hurt.
  pair.Connect();
}

TEST(QuicEndpoint, NewHandshakesAreLimitedInRate) {
  QuicPair pair({});
  Flood flood(pair);
  for (uint32_t i = 0; i < 30; ++i) flood.From(0x0a020001 + i, 2);
  pair.RunFor(Duration(1));
  EXPECT_EQ(pair.acceptor().endpoint().counters().handshakes_begun, kHandshakeBurst);
  pair.RunFor(100ms);
  EXPECT_EQ(pair.acceptor().endpoint().counters().handshakes_begun, kHandshakeBurst + 10);
  pair.RunFor(400ms);
  EXPECT_EQ(pair.acceptor().endpoint().counters().handshakes_begun, 60u);
}

// Under load an address must prove that it hears us; then it is let in.
TEST(QuicEndpoint, UnderLoadAnAddressMustProveItself) {
  QuicPair pair({});
  Flood flood(pair);
  for (uint32_t i = 0; i < kRetryThreshold; ++i) flood.From(0x0a030001 + i, 1);
  pair.RunFor(Duration(1));
  const auto& counters = pair.acceptor().endpoint().counters();
  EXPECT_EQ(counters.retries_sent, 0u);
  flood.From(0x0a040001, 8);
  pair.RunFor(Duration(1));
  EXPECT_EQ(counters.retries_sent, 8u);
  EXPECT_EQ(pair.acceptor().endpoint().handshakes_in_flight() +
                pair.acceptor().endpoint().handshakes_waiting(),
            kRetryThreshold);
  pair.Connect();
  EXPECT_EQ(counters.retries_sent, 9u);
}

// A token is good for the address that it was given to, and not for long.
TEST(QuicEndpoint, ARetryTokenCannotBeUsedElsewhereOrLater) {
  for (const bool late : {false, true}) {
    QuicPair pair({});
    Flood flood(pair);
    for (uint32_t i = 0; i < kRetryThreshold; ++i) flood.From(0x0a030001 + i, 1);
    std::vector<uint8_t> second_initial;
    const SocketAddress to = pair.acceptor().address();
    bool retried = false;
    pair.set_filter([&](const SocketAddress& where, absl::Span<const uint8_t> payload) {
      if (where != to) {
        retried = true;
        return true;
      }
      if (retried && second_initial.empty()) second_initial.assign(payload.begin(), payload.end());
      return !retried;
    });
    pair.dialler().Dial();
    ASSERT_TRUE(pair.RunUntil([&] { return !second_initial.empty(); }, 1s));
    const auto& counters = pair.acceptor().endpoint().counters();
    EXPECT_EQ(counters.tokens_refused, 0u);
    if (late) {
      pair.RunFor(kRetryTokenLifetime + 1s);
      pair.Inject(pair.dialler().address(), to, second_initial);
    } else {
      pair.Inject(SocketAddress::V4(0x0a050505, 9), to, second_initial);
    }
    pair.RunFor(100ms);
    EXPECT_EQ(counters.tokens_refused, 1u);
  }
}

constexpr size_t kOfStrangersMax = kHandshakesMax - kHandshakesReserved;
constexpr size_t kOfEachStranger = 14;

// Some more handshakes than strangers may hold, from as many real addresses as it returns.
size_t FillWithStrangers(QuicPair& pair, Flood& flood) {
  const size_t addresses = kOfStrangersMax / kOfEachStranger + 1;
  for (uint32_t i = 0; i < addresses; ++i) {
    flood.From(0x0a060001 + i, kOfEachStranger);
    pair.RunFor(100ms);
    flood.AnswerRetries();
    pair.RunFor(200ms);
  }
  return addresses;
}

// A flood whose addresses are real gets past Retry. At the total the address that holds most loses
// its oldest, and the newcomer is let in.
TEST(QuicEndpoint, AtTheTotalTheHeaviestAddressLosesItsOldest) {
  QuicPairOptions options;
  options.acceptor.quic.handshake_timeout = 60s;
  QuicPair pair(std::move(options));
  Flood flood(pair);
  const size_t addresses = FillWithStrangers(pair, flood);
  EXPECT_EQ(pair.acceptor().endpoint().handshakes_in_flight(), kOfStrangersMax);
  const uint64_t evicted = pair.acceptor().endpoint().counters().handshakes_evicted;
  EXPECT_EQ(evicted, kOfEachStranger * addresses - kOfStrangersMax);
  // One of each address in turn, and of each its first: the addresses came one after another.
  for (const auto& [id, log] : pair.acceptor().logs()) {
    EXPECT_EQ(log.closed.cause, CloseCause::kEvicted);
    EXPECT_EQ(id.value % kOfEachStranger, 1u);
  }
  pair.Connect();
  EXPECT_EQ(pair.acceptor().endpoint().counters().handshakes_evicted, evicted + 1);
  pair.RunFor(61s);
  EXPECT_EQ(pair.acceptor().endpoint().handshakes_in_flight(), 0u);
}

// Whatever strangers begin, and before or after: the handshakes of configured addresses stay. What
// these begin beyond their places competes with the strangers.
TEST(QuicEndpoint, StrangersNeverTakeThePlacesOfConfiguredAddresses) {
  QuicPairOptions options;
  options.acceptor.quic.handshake_timeout = 60s;
  QuicPair pair(std::move(options));
  Flood flood(pair);
  QuicEndpoint& acceptor = pair.acceptor().endpoint();
  // The port is where they listen, not where they dial from.
  acceptor.SetConfigured({SocketAddress::V4(0x0a070001, 9), SocketAddress::V4(0x0a070002, 9),
                          SocketAddress::V4(0x0a070003, 9)});
  for (const uint32_t configured : {0x0a070001u, 0x0a070002u}) {
    flood.From(configured, kHandshakesReserved / 2);
    pair.RunFor(300ms);
  }
  ASSERT_EQ(acceptor.handshakes_in_flight(), kHandshakesReserved);
  FillWithStrangers(pair, flood);
  EXPECT_EQ(acceptor.handshakes_in_flight(), kHandshakesMax);
  const uint64_t evicted = acceptor.counters().handshakes_evicted;
  EXPECT_GT(evicted, 0u);
  flood.From(0x0a070003, 1);
  pair.RunFor(100ms);
  flood.AnswerRetries();
  pair.RunFor(100ms);
  EXPECT_EQ(acceptor.handshakes_in_flight(), kHandshakesMax);
  EXPECT_EQ(acceptor.counters().handshakes_evicted, evicted + 1);
  for (const auto& [id, log] : pair.acceptor().logs()) {
    EXPECT_EQ(log.closed.cause, CloseCause::kEvicted);
    EXPECT_GT(id.value, kHandshakesReserved);
  }
  // No longer configured: what is in flight keeps its place, what is new finds none.
  acceptor.SetConfigured({});
  acceptor.CheckInvariants();
  flood.From(0x0a070003, 1);
  pair.RunFor(100ms);
  flood.AnswerRetries();
  pair.RunFor(100ms);
  EXPECT_EQ(acceptor.counters().handshakes_evicted, evicted + 2);
}

// The queue takes seconds to work off. Who is configured does not wait in it behind strangers.
TEST(QuicEndpoint, ConfiguredAddressesAreBegunBeforeTheStrangersThatWait) {
  for (const bool configured : {false, true}) {
    QuicPair pair({});
    Flood flood(pair);
    if (configured) pair.acceptor().endpoint().SetConfigured({pair.dialler().address()});
    for (uint32_t i = 0; i < 20; ++i) flood.From(0x0a060001 + i, kOfEachStranger);
    pair.RunFor(50ms);
    flood.AnswerRetries();
    pair.RunFor(50ms);
    ASSERT_GT(pair.acceptor().endpoint().handshakes_waiting(), 100u);
    const ConnectionId id = pair.dialler().Dial();
    EXPECT_EQ(pair.RunUntil([&] { return pair.dialler().IsUp(id); }, 200ms), configured);
  }
}

// Strangers that exhaust the answers, with addresses that may not be theirs, do not keep a
// configured address from the Retry that lets it in.
TEST(QuicEndpoint, ConfiguredAddressesHaveTheirOwnRateOfAnswers) {
  for (const bool configured : {false, true}) {
    QuicPair pair({});
    Flood flood(pair);
    if (configured) pair.acceptor().endpoint().SetConfigured({pair.dialler().address()});
    uint32_t next = 0x0a080001;
    for (uint64_t i = 0; i < kRetryThreshold + kStatelessAnswersPerSecondMax + 10; ++i) {
      flood.From(next++, 1);
      if (i % 50 == 49) pair.RunFor(Duration(1));
    }
    const ConnectionId id = pair.dialler().Dial();
    for (int step = 0; step < 100 && !pair.dialler().IsUp(id); ++step) {
      for (int i = 0; i < 3; ++i) flood.From(next++, 1);
      pair.RunFor(1ms);
    }
    EXPECT_EQ(pair.dialler().IsUp(id), configured);
    EXPECT_GT(pair.acceptor().endpoint().counters().stateless_suppressed, 0u);
  }
}

TEST(QuicEndpoint, AFullTableRefusesDialsAndHandshakes) {
  QuicPairOptions options;
  options.dialler.connections_max = 2;
  options.acceptor.connections_max = 1;
  QuicPair pair(std::move(options));
  pair.Connect();
  const ConnectionId second = pair.dialler().Dial();
  absl::StatusOr<ConnectionId> third =
      pair.dialler().endpoint().Dial(pair.now(), pair.acceptor().address(), std::nullopt);
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  pair.RunFor(5s);
  EXPECT_EQ(pair.dialler().log(second).closed.cause, CloseCause::kHandshakeTimeout);
  EXPECT_EQ(pair.acceptor().endpoint().connection_count(), 1u);
  EXPECT_GE(pair.acceptor().endpoint().counters().handshakes_refused_queue, 1u);
  absl::StatusOr<ConnectionId> nowhere =
      pair.dialler().endpoint().Dial(pair.now(), SocketAddress{}, std::nullopt);
  EXPECT_EQ(nowhere.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(QuicEndpoint, AfterStopAcceptingNobodyComesIn) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  pair.acceptor().endpoint().StopAccepting();
  const ConnectionId late = pair.dialler().Dial();
  pair.RunFor(5s);
  EXPECT_EQ(pair.dialler().log(late).closed.cause, CloseCause::kHandshakeTimeout);
  EXPECT_TRUE(pair.dialler().IsUp(id));
}

}  // namespace
}  // namespace overlay::transport
