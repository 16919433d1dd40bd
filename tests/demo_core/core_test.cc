// The demo core beside a daemon that the test plays.
#include "client-sdk/demo-core/core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/client/fake_daemon.h"
#include "tests/support/temp_folder.h"

namespace overlay::demo {
namespace {

constexpr LedgerSeq kSlot{1};

SecretSeed SeedOf(uint8_t node) {
  SecretSeed seed;
  seed.bytes.fill(node);
  return seed;
}

// Node 1 of four.
class CoreTest : public ::testing::Test {
 protected:
  CoreTest() : daemon_(folder_.Path("core")) {
    options_.daemon = daemon_.target();
    options_.passphrase = "test";
    options_.seed = SeedOf(1);
    options_.quorum_set.threshold = 3;
    for (uint8_t node = 1; node <= 4; ++node) {
      options_.quorum_set.validators.push_back(PublicKeyOf(SeedOf(node)));
    }
    options_.rejoin = true;
    hash_ = HashOfQuorumSet(options_.quorum_set);
    value_ = xdr::EmptyTxSetValue(SetHash{}, LedgerHash{network_.bytes}, 1, SeedOf(2), network_);
  }
  ~CoreTest() override {
    if (core_ != nullptr) core_->Stop();
    if (thread_.joinable()) thread_.join();
    core_.reset();
  }

  // Attached, and its peers are connected: it listens.
  void Start() {
    core_ = std::make_unique<DemoCore>(options_, *TxSource::Open({}), *Report::Open(""));
    thread_ = std::thread([this] { EXPECT_EQ(core_->Run(), absl::OkStatus()); });
    ASSERT_TRUE(daemon_.WaitFor("state_request"));
    v1::AttachEvent event;
    event.mutable_connected()->set_peers_connected(3);
    daemon_.Send(event);
  }
  // How many lines from the core begin so: waits for `count`.
  size_t Said(const std::string& prefix, size_t count) {
    const std::vector<std::string> lines = daemon_.WaitForCount(prefix, count);
    return static_cast<size_t>(
        std::count_if(lines.begin(), lines.end(),
                      [&](const std::string& line) { return line.starts_with(prefix); }));
  }
  void Hear(uint8_t node, const xdr::Pledges& pledges) {
    const Bytes envelope =
        xdr::SignEnvelope({PublicKeyOf(SeedOf(node)), kSlot, pledges}, SeedOf(node), network_);
    const auto hash = HashOf<EnvelopeHash>(envelope.span());
    v1::ScpDown down;
    down.mutable_received()->set_envelope(std::string(envelope.view()));
    down.mutable_received()->set_hash(std::string(hash.view()));
    down.mutable_received()->set_slot(kSlot.value);
    daemon_.Send(down);
  }

  const NetworkId network_ = NetworkIdOf("test");
  TempFolder folder_;
  client::FakeDaemon daemon_;
  CoreOptions options_;
  SetHash hash_;
  std::string value_;
  std::unique_ptr<DemoCore> core_;
  std::thread thread_;
};

// Those of the others move its own vote meanwhile; that must not be lost.
TEST_F(CoreTest, SaysWhatItHeldBackWhileItListened) {
  Start();
  Hear(2, xdr::Nominate{hash_, {value_}, {value_}});
  Hear(3, xdr::Nominate{hash_, {value_}, {value_}});
  // Two that it relays; its own nomination, and a ballot.
  EXPECT_GE(Said("broadcast", 4), 4U);
}

TEST_F(CoreTest, GoesOnFromItsOwnStatements) {
  Start();
  Hear(1, xdr::Externalize{{1, value_}, 1, hash_});
  EXPECT_EQ(Said("ledger_closed 1", 1), 1U);
}

}  // namespace
}  // namespace overlay::demo
