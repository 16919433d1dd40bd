// A peer that forges: envelopes in the names of validators, for far slots and with huge counters,
// naming sets of its own making, which it serves. It costs memory within bounds, and nobody else
// anything.
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "flood/base/crypto.h"
#include "gtest/gtest.h"
#include "tests/sim/network.h"
#include "tests/sim/raw_host.h"

namespace overlay::sim {
namespace {

using namespace std::chrono_literals;

constexpr size_t kNodes = 3;
constexpr size_t kSetBytes = 200'000;
constexpr uint64_t kOneInput = kMiB;

// Small bounds, so that the forger meets each of them.
Limits SmallLimits() {
  Limits limits;
  limits.memory_bytes_max = 8 * kMiB;
  limits.memory_scp_reserve_bytes = 4 * kMiB;
  limits.scp_kept_per_peer_count_max = 120;
  limits.scp_kept_per_peer_bytes_max = 512 * kKiB;
  limits.set_cache_bytes_max = 3 * kMiB;
  limits.set_cache_guest_bytes_max = kMiB;
  limits.set_fetch_bytes_in_progress_max = 2 * kMiB;
  return limits;
}

class Forger {
 public:
  Forger(Network& net, RawHost& host) : net_(net), host_(host) {}

  // A burst, every 10 ms, until Stop().
  void Go() {
    if (stopped_) return;
    for (int i = 0; i < 20; ++i) Forge();
    for (const RawHost::Fetch& fetch : host_.TakeFetches()) Serve(fetch);
    host_.Flush();
    net_.After(10ms, [this] { Go(); });
  }
  void Stop() { stopped_ = true; }
  uint64_t forged() const { return forged_; }
  uint64_t served() const { return served_; }

 private:
  void Forge() {
    XdrBuilder& build = net_.build();
    const uint64_t n = forged_++;
    if (n % 50 == 0) NewSet();
    // Each slot of the window in turn; every fourth the one that is being agreed on.
    const LedgerSeq slot = n % 4 == 0 ? net_.slot() - 1 : net_.slot() + n / kNodes % 90;
    const StatementKind kind =
        n / (90 * kNodes) % 2 == 0 ? StatementKind::kPrepare : StatementKind::kNominate;
    // In the name of a validator; newer than anything that it will ever say.
    const Bytes envelope =
        build.Envelope(kind, slot, n % kNodes, UINT32_MAX - static_cast<uint32_t>(n % 1000), set_,
                       build.AnyHash<SetHash>());
    net_.checkers().OnForged(envelope);
    host_.SendEnvelope(envelope);
  }
  void NewSet() {
    const Bytes bytes = net_.build().TxSetOfBytes(kSetBytes);
    set_ = HashOf<SetHash>(bytes.span());
    sets_[set_] = bytes;
  }
  void Serve(const RawHost::Fetch& fetch) {
    const auto set = sets_.find(fetch.request.key.hash);
    if (set == sets_.end()) {
      host_.AnswerSet(fetch.stream, SetHeader{}, "");
      return;
    }
    ++served_;
    host_.AnswerSet(fetch.stream,
                    {.found = true, .total_bytes = kSetBytes, .encoded_bytes = kSetBytes},
                    set->second.view());
  }

  Network& net_;
  RawHost& host_;
  std::map<SetHash, Bytes> sets_;
  SetHash set_;
  uint64_t forged_ = 0;
  uint64_t served_ = 0;
  bool stopped_ = false;
};

TEST(ForgerSim, CostsNoGenuineEnvelopeNoWantedSetAndBoundedMemory) {
  const Limits limits = SmallLimits();
  Network net({.seed = 11, .node_count = kNodes, .link = {.delay = 5ms}, .limits = limits});
  ASSERT_TRUE(net.RunUntil([&] { return net.AllConnected(); }, 5s)) << net.Replay();
  for (size_t node = 0; node < kNodes; ++node) net.core(node).Close(net.slot() - 1);
  RawHost host(net);
  ASSERT_TRUE(host.Join(0)) << net.Replay();
  net.StartLedgers(500ms);
  Forger forger(net, host);
  forger.Go();

  const auto pool = [&](flood::MemoryPool which) {
    return net.stats(0).memory.bytes[static_cast<size_t>(which)];
  };
  uint64_t scp_most = 0, sets_most = 0, kept_most = 0;
  size_t looks = 0;
  std::string broken;
  const auto look = [&] {
    ++looks;
    uint64_t held = 0;
    for (const uint64_t bytes : net.stats(0).memory.bytes) held += bytes;
    kept_most = std::max(kept_most, net.stats(0).scp.kept_envelopes);
    scp_most = std::max(scp_most, pool(flood::MemoryPool::kScp));
    sets_most = std::max(sets_most, pool(flood::MemoryPool::kSets));
    if (held > limits.memory_bytes_max + kOneInput) broken = "memory";
    if (pool(flood::MemoryPool::kSets) > limits.set_cache_bytes_max + kMiB) broken = "sets";
    return !broken.empty();
  };
  EXPECT_FALSE(net.RunUntil(look, 8s)) << broken << net.Replay();
  ASSERT_FALSE(net.failed()) << net.Replay();
  EXPECT_GT(looks, 5000u);

  // It was as bad as it could be: it met its bounds, its sets came, the core was given its
  // envelopes, and it was not sent away.
  EXPECT_GT(forger.forged(), 10'000u);
  EXPECT_GT(forger.served(), 10u);
  EXPECT_GT(net.checkers().counts().forged_delivered, 1000u);
  EXPECT_LE(kept_most, limits.scp_kept_per_peer_count_max * kNodes);
  EXPECT_GT(net.stats(0).scp.superseded_inbound, 0u);
  EXPECT_FALSE(host.raw().ended().has_value());
  EXPECT_GT(sets_most, 2 * kSetBytes);
  EXPECT_GT(scp_most, 10 * kKiB);
  EXPECT_EQ(net.stats(1).memory.pressures + net.stats(2).memory.pressures, 0u);

  // Ledgers went on under it, and nobody lacks anything of the slots kept, with the forger there.
  EXPECT_GE(net.core(0).newest_closed(), LedgerSeq{110});
  net.StopLedgers();
  EXPECT_TRUE(net.RunUntil([&] { return net.Converged(); }, 3s)) << net.Replay();
  EXPECT_GT(net.checkers().counts().envelopes_converged, 100u);
  forger.Stop();
}

}  // namespace
}  // namespace overlay::sim
