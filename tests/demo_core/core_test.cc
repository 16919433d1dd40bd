// The demo core beside a daemon that the test plays.
#include "client-sdk/demo-core/core.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/client/fake_daemon.h"
#include "tests/support/temp_folder.h"

namespace overlay::demo {
namespace {

// One of four nodes.
class CoreTest : public ::testing::Test {
 protected:
  CoreTest() : daemon_(folder_.Path("core")) {
    for (uint8_t i = 0; i < 4; ++i) seeds_[i].bytes.fill(i + 1);
    // Ours is the greatest key: what is of others comes first wherever keys are gone through.
    std::sort(seeds_.begin(), seeds_.end(), [](const SecretSeed& a, const SecretSeed& b) {
      return PublicKeyOf(b) < PublicKeyOf(a);
    });
    options_.daemon = daemon_.target();
    options_.passphrase = "test";
    options_.seed = seeds_[kSelf];
    options_.quorum_set.threshold = 3;
    for (const SecretSeed& seed : seeds_) {
      options_.quorum_set.validators.push_back(PublicKeyOf(seed));
    }
    options_.rejoin = true;
    hash_ = HashOfQuorumSet(options_.quorum_set);
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
  // Without transactions, so that no set has to be fetched.
  std::string Value(uint64_t close_time) const {
    return xdr::EmptyTxSetValue(SetHash{}, LedgerHash{network_.bytes}, close_time, seeds_[1],
                                network_);
  }
  // The daemon's line if the core says the same.
  std::string Hear(size_t node, const xdr::Pledges& pledges, uint64_t slot = 1) {
    const SecretSeed& seed = seeds_[node];
    const Bytes envelope =
        xdr::SignEnvelope({PublicKeyOf(seed), LedgerSeq{slot}, pledges}, seed, network_);
    const auto hash = HashOf<EnvelopeHash>(envelope.span());
    v1::ScpDown down;
    down.mutable_received()->set_envelope(std::string(envelope.view()));
    down.mutable_received()->set_hash(std::string(hash.view()));
    down.mutable_received()->set_slot(slot);
    daemon_.Send(down);
    return "broadcast " + std::string(envelope.view().substr(client::kEnvelopeHeadBytes));
  }

  static constexpr size_t kSelf = 0;
  std::array<SecretSeed, 4> seeds_;
  const NetworkId network_ = NetworkIdOf("test");
  TempFolder folder_;
  client::FakeDaemon daemon_;
  CoreOptions options_;
  SetHash hash_;
  std::unique_ptr<DemoCore> core_;
  std::thread thread_;
};

TEST_F(CoreTest, WhatCameWhileItListenedCounts) {
  Start();
  Hear(1, xdr::Nominate{hash_, {Value(1)}, {Value(1)}});
  Hear(2, xdr::Nominate{hash_, {Value(1)}, {Value(1)}});
  // Two that it relays; its own nomination, and a ballot.
  EXPECT_GE(Said("broadcast", 4), 4U);
}

// Else it would vote for what the others have nominated, and so take back what it said.
TEST_F(CoreTest, BeginsWithWhatItSaidItself) {
  Start();
  const auto [lesser, greater] = std::minmax({Value(1), Value(2)});
  Hear(1, xdr::Nominate{hash_, {greater}, {greater}});
  Hear(2, xdr::Nominate{hash_, {greater}, {greater}});
  const std::string own = Hear(kSelf, xdr::Prepare{hash_, {1, lesser}, {}, {}, 0, 0});
  EXPECT_TRUE(daemon_.WaitFor(own));
}

TEST_F(CoreTest, ItsOwnDecisionIsOne) {
  Start();
  Hear(kSelf, xdr::Externalize{{1, Value(1)}, 1, hash_});
  EXPECT_EQ(Said("ledger_closed 1", 1), 1U);
}

// Who claims slots without end pushes out its own statements. So slot 2 is what one node claims,
// the last one what two do: there the core goes on.
TEST_F(CoreTest, KeepsTheNewestSlotsOfANode) {
  Start();
  const xdr::Externalize decided{{1, Value(1)}, 1, hash_};
  constexpr uint64_t kLast = kSlotsAhead + 2;
  for (uint64_t slot = 2; slot <= kLast; ++slot) Hear(1, decided, slot);
  Hear(2, decided, 2);
  Hear(2, decided, kLast);
  const std::vector<std::string> lines = daemon_.WaitForCount("ledger_closed", 1);
  const auto first = std::find_if(lines.begin(), lines.end(), [](const std::string& line) {
    return line.starts_with("ledger_closed");
  });
  ASSERT_NE(first, lines.end());
  EXPECT_TRUE(first->starts_with(fmt::format("ledger_closed {} ", kLast))) << *first;
}

}  // namespace
}  // namespace overlay::demo
