// Node and transport joined: a real one of each behind the driver, two hosts on a wire without
// loss, virtual time. What the rules themselves do is tested where they are.
#include "server/node_driver.h"

#include <fmt/format.h>

#include <deque>
#include <memory>

#include "flood/base/crypto.h"
#include "flood/compute.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/xdr_builder.h"

namespace overlay::server {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

SocketAddress AddressOf(uint8_t host) { return SocketAddress::V4(0x0a000000u + host, 11625); }

// One daemon without edges. Writes what passes down onto a tape, in order: "> " what the node is
// told, "! " what it wants done, then what was done of it.
class Host : public CoreSink, public NodeTap, public transport::DatagramSink {
 public:
  explicit Host(uint8_t number) : number_(number) {
    transport::TransportOptions options;
    options.network = NetworkIdOf("test");
    options.node_seed.bytes.fill(number);
    options.agent = "overlayd/test";
    options.listen_port = 11625;
    options.instance_nonce = number;
    const NodeKey self = PublicKeyOf(options.node_seed);
    transport = *transport::PeerTransport::Create(std::move(options), Random(number));
    node = std::make_unique<flood::OverlayNode>(Limits{}, flood::NodeOptions{.self = self},
                                                Random(100 + number));
    driver = std::make_unique<NodeDriver>(
        node.get(), transport.get(),
        [this](Time now, const flood::ResolveHost& asked) {
          tape.push_back("resolve " + asked.host);
          if (on_resolve) on_resolve(now, asked);
        },
        [this](Time, flood::Compute compute) {
          tape.push_back("compute");
          computes.push_back(std::move(compute));
        });
    driver->SetSink(this);
    driver->SetTap(this);
  }

  // CoreSink
  void OnCoreOutput(Time now, flood::CoreOutput output) override {
    if (const auto* result = std::get_if<flood::SubmitResult>(&output)) {
      tape.push_back(fmt::format("result {}", result->number));
    } else if (std::holds_alternative<flood::PeersConfigured>(output)) {
      tape.push_back("configured");
    } else if (const auto* delivered = std::get_if<flood::DeliverEnvelope>(&output)) {
      envelopes.push_back(delivered->envelope);
    } else if (const auto* delivered_tx = std::get_if<flood::DeliverTransaction>(&output)) {
      transactions.push_back(delivered_tx->transaction);
    }
    if (on_output) on_output(now, output);
  }
  void OnPeerNews(Time, const flood::PeerNews& news) override {
    tape.push_back(std::holds_alternative<flood::PeerUp>(news) ? "up" : "down");
  }

  // NodeTap
  void OnPeerEvent(Time, const PeerEvent& event) override {
    if (const auto* connected = std::get_if<PeerConnected>(&event)) {
      tape.push_back("> connected");
      peer = connected->peer;
    }
    if (const auto* answer = std::get_if<SetHeaderReceived>(&event)) {
      set_headers.push_back(answer->header);
    }
    if (const auto* ended = std::get_if<DialEnded>(&event)) {
      tape.push_back(fmt::format("> dial ended, {}", CloseReasonName(ended->reason)));
    }
  }
  void OnAction(Time, const flood::Action& action) override {
    const auto* command = std::get_if<PeerCommand>(&action);
    const auto* dial = command == nullptr ? nullptr : std::get_if<Dial>(command);
    if (dial != nullptr) {
      tape.push_back("! dial " + dial->address.ToString());
      dials_before = transport->stats().dials;
    }
    if (std::holds_alternative<flood::PeerNews>(action)) tape.push_back("! news");
  }

  // DatagramSink
  absl::Span<uint8_t> Buffer() override {
    used_ = 0;
    return absl::MakeSpan(buffer_);
  }
  void Commit(const transport::Path& path, size_t bytes, size_t segment_bytes) override {
    for (const size_t end = used_ + bytes; used_ < end;) {
      const size_t size = std::min(segment_bytes, end - used_);
      const auto begin = buffer_.begin() + static_cast<ptrdiff_t>(used_);
      sent.push_back({path.remote, {begin, begin + static_cast<ptrdiff_t>(size)}});
      used_ += size;
    }
  }

  // As the daemon does it.
  void Turn(Time now) {
    driver->Settle(now);
    driver->OnDeadline(now);
    driver->Settle(now);
    transport->WriteTurn(now, *this);
    driver->Settle(now);
  }
  void Configure(Time now, const std::vector<std::string>& hosts) {
    flood::ConfigurePeers configure;
    for (const std::string& host : hosts) {
      configure.entries.push_back(
          {.text = host, .host = host, .port = uint16_t{11625}, .pinned_key = std::nullopt});
    }
    driver->OnCoreInput(now, std::move(configure));
  }
  std::vector<std::string> TakeTape() { return std::exchange(tape, {}); }

  struct Sent {
    SocketAddress to;
    std::vector<uint8_t> bytes;
  };

  std::unique_ptr<flood::OverlayNode> node;
  std::unique_ptr<transport::PeerTransport> transport;
  std::unique_ptr<NodeDriver> driver;
  std::function<void(Time, const flood::ResolveHost&)> on_resolve;
  std::function<void(Time, const flood::CoreOutput&)> on_output;
  std::vector<std::string> tape;
  std::vector<Bytes> envelopes;
  std::vector<Bytes> transactions;
  std::vector<flood::Compute> computes;
  std::vector<SetHeader> set_headers;
  PeerId peer;
  std::deque<Sent> sent;
  uint64_t dials_before = 0;  // that transport had begun when the tap saw the last one
  const uint8_t number_;

 private:
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(transport::kSinkBufferBytesMin);
  size_t used_ = 0;
};

class NodeDriverTest : public testing::Test {
 protected:
  // Steps of a millisecond: what one host wrote, the other has in the next.
  bool RunUntil(const std::function<bool()>& done, Duration limit) {
    for (const Time end = now_ + limit; now_ < end; now_ += 1ms) {
      if (done()) return true;
      Deliver(a_, b_);
      Deliver(b_, a_);
      a_.Turn(now_);
      b_.Turn(now_);
    }
    return done();
  }
  void Deliver(Host& from, Host& to) {
    for (const Host::Sent& datagram : std::exchange(from.sent, {})) {
      if (datagram.to != AddressOf(to.number_)) continue;
      to.transport->OnDatagram(now_, {AddressOf(to.number_), AddressOf(from.number_)},
                               datagram.bytes);
    }
  }
  bool Join() {
    a_.Configure(now_, {"10.0.0.2"});
    return RunUntil([this] { return Connected(a_) && Connected(b_); }, 1s);
  }
  static bool Connected(const Host& host) { return host.driver->node_stats().peers.connected == 1; }
  void Attach(Host& host, bool judges) {
    host.driver->OnCoreInput(now_, flood::CoreAttached{.judges_transactions = judges,
                                                       .deliver_transactions = true,
                                                       .newest_closed = {}});
    for (const auto stream : {flood::CoreStream::kScp, flood::CoreStream::kTransactions}) {
      host.driver->OnCoreInput(now_, flood::CoreRoom{stream, 100});
    }
  }
  flood::CoreInput Submit(std::vector<uint64_t> numbers) {
    flood::SubmitTransactions batch;
    for (const uint64_t number : numbers) {
      batch.submissions.push_back({number, build_.Transaction(), std::nullopt});
    }
    return batch;
  }

  Time now_{1000s};
  XdrBuilder build_{1};
  Host a_{1};
  Host b_{2};
};

TEST_F(NodeDriverTest, EachActionGoesWhereItBelongs) {
  EXPECT_EQ(a_.driver->NextDeadline(), std::nullopt);
  a_.Configure(now_, {"10.0.0.9", "name"});
  // The tap saw the dial before it was done.
  EXPECT_THAT(a_.TakeTape(), ElementsAre("configured", "resolve name", "! dial 10.0.0.9:11625"));
  EXPECT_EQ(a_.dials_before, 0u);
  EXPECT_EQ(a_.transport->stats().dials, 1u);
  a_.driver->OnResolved(now_, {"name", false}, ResolvedHost{{AddressOf(8)}, 1min});
  EXPECT_THAT(a_.TakeTape(), ElementsAre("! dial 10.0.0.8:11625"));
  EXPECT_EQ(a_.transport->stats().dials, 2u);
}

TEST_F(NodeDriverTest, WithoutSinkAndTapTheRestGoesOn) {
  a_.driver->SetSink(nullptr);
  a_.driver->SetTap(nullptr);
  ASSERT_TRUE(Join());
  EXPECT_THAT(a_.TakeTape(), IsEmpty());
}

// R1, R2: what a sink says from within waits until all answers to what came before are out.
TEST_F(NodeDriverTest, AnInputFromWithinAnOutputWaits) {
  Attach(a_, false);
  bool said = false;
  a_.on_output = [&](Time now, const flood::CoreOutput& output) {
    if (!std::holds_alternative<flood::SubmitResult>(output) || std::exchange(said, true)) return;
    a_.driver->OnCoreInput(now, Submit({4, 5}));
    a_.driver->OnCoreInput(now, Submit({6}));
    a_.tape.push_back("said");
  };
  a_.driver->OnCoreInput(now_, Submit({1, 2, 3}));
  EXPECT_THAT(a_.TakeTape(), ElementsAre("result 1", "said", "result 2", "result 3", "result 4",
                                         "result 5", "result 6"));
}

// R2: the same for names that are answered at once, in an input and at a deadline.
TEST_F(NodeDriverTest, AnAnswerFromWithinAResolveWaits) {
  uint8_t first = 8;
  const auto answer = [&](Time now, const flood::ResolveHost& asked) {
    const auto node = static_cast<uint8_t>(asked.host == "x" ? first : first + 1);
    a_.driver->OnResolved(now, asked, ResolvedHost{{AddressOf(node)}, 1min});
  };
  a_.on_resolve = answer;
  a_.Configure(now_, {"x", "y"});
  EXPECT_THAT(a_.TakeTape(), ElementsAre("configured", "resolve x", "resolve y",
                                         "! dial 10.0.0.8:11625", "! dial 10.0.0.9:11625"));

  a_.Configure(now_, {});
  a_.on_resolve = nullptr;
  a_.Configure(now_, {"x", "y"});
  for (const char* name : {"x", "y"}) {
    a_.driver->OnResolved(now_, {name, false}, absl::NotFoundError("no such name"));
  }
  a_.TakeTape();
  a_.on_resolve = answer;
  first = 18;    // those of before are being dialled
  now_ += 1min;  // both are to be tried again
  a_.driver->OnDeadline(now_);
  const std::vector<std::string> tape = a_.TakeTape();
  const auto at = [&tape](std::string_view what) {
    return std::find(tape.begin(), tape.end(), what) - tape.begin();
  };
  ASSERT_LT(at("! dial 10.0.0.18:11625"), static_cast<ptrdiff_t>(tape.size()));
  EXPECT_LT(at("resolve x"), at("resolve y"));
  EXPECT_LT(at("resolve y"), at("! dial 10.0.0.18:11625"));
}

TEST_F(NodeDriverTest, TheEarlierDeadlineCountsAndNothingHappensBeforeIt) {
  a_.Configure(now_, {"10.0.0.9", "name"});
  a_.driver->OnResolved(now_, {"name", false}, absl::NotFoundError("no such name"));
  a_.Turn(now_);
  a_.TakeTape();
  ASSERT_TRUE(a_.node->NextDeadline() && a_.transport->NextDeadline());
  EXPECT_EQ(a_.driver->NextDeadline(),
            std::min(*a_.node->NextDeadline(), *a_.transport->NextDeadline()));
  const Time resolve_at = *a_.node->NextDeadline();
  ASSERT_LT(resolve_at, now_ + Limits{}.dial_timeout);
  a_.driver->OnDeadline(resolve_at - Duration(1));
  EXPECT_THAT(a_.TakeTape(), IsEmpty());
  a_.driver->OnDeadline(resolve_at);
  EXPECT_THAT(a_.TakeTape(), ElementsAre("resolve name"));
  // Nobody answers the dial: the transport's deadline, of which the node hears.
  for (Time at = resolve_at; a_.driver->node_stats().peers.dials_failed == 0; at += 100ms) {
    ASSERT_LT(at, now_ + 10s);
    a_.Turn(at);
  }
  EXPECT_THAT(a_.TakeTape(), testing::Contains("> dial ended, unreachable"));
}

// What comes over the wire reaches the node, and what the node makes of it the wire and the sink;
// the tap saw the event before the node, and the news before the sink.
TEST_F(NodeDriverTest, EventsComeFromTheWireAndEnvelopesGoOverIt) {
  ASSERT_TRUE(Join());
  EXPECT_THAT(b_.TakeTape(), ElementsAre("> connected", "! news", "up"));
  Attach(a_, false);
  Attach(b_, false);
  const Bytes envelope = build_.Envelope(StatementKind::kPrepare, LedgerSeq{5}, 0);
  a_.driver->OnCoreInput(now_, flood::BroadcastEnvelope{.id = 1, .envelope = envelope});
  ASSERT_TRUE(RunUntil([this] { return !b_.envelopes.empty(); }, 1s));
  EXPECT_EQ(b_.envelopes[0], envelope);
  a_.driver->OnDrain(now_);
  a_.transport->CloseAll(now_, CloseReason::kGoaway, "");
  ASSERT_TRUE(RunUntil([this] { return !Connected(b_); }, 1s));
  EXPECT_THAT(b_.TakeTape(), testing::IsSupersetOf({"! news", "down"}));
}

TEST_F(NodeDriverTest, ATransactionsPullIsTimedOnce) {
  ASSERT_TRUE(Join());
  Attach(a_, false);
  Attach(b_, true);
  a_.driver->OnCoreInput(now_, Submit({1, 2}));
  ASSERT_TRUE(RunUntil([this] { return b_.transactions.size() == 2; }, 1s));
  EXPECT_GE(b_.driver->tx_pull().count, 1u);
  EXPECT_LE(b_.driver->tx_pull().count, 2u);  // one a demand, not one a body
  EXPECT_GE(b_.driver->tx_pull().sum_us, 2'000u * b_.driver->tx_pull().count);  // there and back
  EXPECT_EQ(a_.driver->tx_pull().count, 0u);
}

TEST_F(NodeDriverTest, WorkGoesToTheWorkerAndItsResultOnToThePeer) {
  ASSERT_TRUE(Join());
  Attach(a_, false);
  const Bytes content = Bytes::Take(std::string(10'000, 'x'));
  const SetKey key{SetKind::kTxSet, HashOf<SetHash>(content.span())};
  a_.driver->OnCoreInput(now_, flood::OfferChunk{key, LedgerSeq{5}, content.size(), 0, content});
  b_.transport->Execute(now_, RequestSet{b_.peer, RequestId{7}, SetRequest{key, true, 0}});
  ASSERT_TRUE(RunUntil([this] { return !a_.computes.empty(); }, 1s));
  EXPECT_EQ(a_.computes[0].input, content);
  a_.driver->OnComputed(now_, flood::RunCompute(a_.computes[0]));
  ASSERT_TRUE(RunUntil([this] { return !b_.set_headers.empty(); }, 1s));
  EXPECT_EQ(b_.set_headers[0].encoding, SetEncoding::kZstd);
  EXPECT_EQ(b_.set_headers[0].total_bytes, content.size());
}

TEST_F(NodeDriverTest, AfterADrainNothingIsDialledOrResolved) {
  a_.driver->OnDrain(now_);
  a_.Configure(now_, {"10.0.0.2", "name"});
  for (int i = 0; i < 10; ++i) a_.Turn(now_ += 10s);
  EXPECT_THAT(a_.TakeTape(), ElementsAre("configured"));
  EXPECT_EQ(a_.transport->stats().dials, 0u);
}

}  // namespace
}  // namespace overlay::server
