// Two endpoints over a link: the handshake, streams, loss, closing, and what an endpoint does for
// strangers.
#include "tests/support/quic_pair.h"

#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

// A message that differs at every offset and from every other.
Bytes Message(uint64_t number, size_t bytes) {
  std::vector<uint8_t> data(bytes);
  Random(number).Fill(absl::MakeSpan(data));
  return Bytes::Take(std::move(data));
}

std::string TextOf(const Bytes& bytes) { return std::string(bytes.view()); }

TEST(QuicHandshake, BothEndsLearnTheOthersKey) {
  QuicPair pair({});
  const ConnectionId id = pair.Connect();
  EXPECT_EQ(pair.dialler().log(id).completed, pair.acceptor().identity().node_key());
  const ConnectionId other = pair.acceptor().newest();
  EXPECT_EQ(pair.acceptor().log(other).completed, pair.dialler().identity().node_key());
  EXPECT_EQ(pair.acceptor().endpoint().Find(other)->remote_limits().uni_streams,
            QuicSettings().uni_streams);
}

// Each message on a stream of its own, one packet in fifty lost: all arrive whole.
TEST(QuicStreams, AMessagePerStreamSurvivesLoss) {
  QuicPair pair({.link = {.delay = 10ms, .loss = 0.02}});
  const ConnectionId id = pair.Connect();
  std::map<StreamId, std::string> sent;
  for (uint64_t i = 0; i < 1'000; ++i) {
    const Bytes message = Message(i, 200 + i % 2'000);
    const std::optional<StreamId> stream = pair.dialler().SendUni(id, message);
    ASSERT_TRUE(stream);
    sent[*stream] = TextOf(message);
  }
  const auto& received = [&]() -> const auto& {
    return pair.acceptor().log(pair.acceptor().newest()).streams;
  };
  ASSERT_TRUE(pair.RunUntil(
      [&] {
        return received().size() == sent.size() &&
               std::all_of(received().begin(), received().end(),
                           [](const auto& entry) { return entry.second.fin; });
      },
      20s));
  for (const auto& [stream, bytes] : sent) EXPECT_EQ(received().at(stream).bytes, bytes);
  ASSERT_TRUE(pair.RunUntil(
      [&] { return pair.dialler().log(id).stream_closed.size() == sent.size(); }, 5s));
  for (const auto& [stream, code] : pair.dialler().log(id).stream_closed) EXPECT_FALSE(code);
  EXPECT_EQ(pair.dialler().endpoint().Find(id)->HeldStreamCountForTest(), 0u);
}

}  // namespace
}  // namespace overlay::transport
