// tests/support/xdr_builder.h
//
// XdrBuilder makes real messages (valid XDR, valid signatures) for tests, all of them determined by
// its seed: SCP envelopes with modern 152-byte signed values, transactions in the network's mix of
// sizes, sets.
//
//   XdrBuilder build(seed);
//   const Bytes envelope = build.Envelope(StatementKind::kConfirm, LedgerSeq{7}, /*node=*/0);
//
// Every call gives another message, unless it says what the message holds. What the messages look
// like is client-sdk/xdr's business; here is only the choice of contents.
// Cost: a signature (33 us) or two a message. TxSetOfBytes signs once for 64 KiB.
#ifndef OVERLAY_TESTS_SUPPORT_XDR_BUILDER_H_
#define OVERLAY_TESTS_SUPPORT_XDR_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "client-sdk/xdr/scp_message.h"
#include "client-sdk/xdr/transaction.h"
#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/ids.h"
#include "flood/base/random.h"

namespace overlay {

// Numbered as on the wire.
enum class StatementKind : uint8_t { kPrepare, kConfirm, kExternalize, kNominate };

class XdrBuilder {
 public:
  explicit XdrBuilder(uint64_t seed,
                      const NetworkId& network = NetworkIdOf("overlay test network"));

  const NetworkId& network() const { return network_; }
  // The key of the validator with this number: the same for every builder with the same seed.
  SecretSeed NodeSeed(size_t node) const;
  NodeKey Node(size_t node) const { return PublicKeyOf(NodeSeed(node)); }
  SecretSeed AnySeed();
  template <class Hash>
  Hash AnyHash() {
    Hash hash;
    random_.Fill(absl::MakeSpan(hash.bytes));
    return hash;
  }

  // One value of 152 bytes. Sizes: NOMINATE 312, PREPARE 324 (no prepared ballots), CONFIRM 320,
  // EXTERNALIZE 312 bytes.
  Bytes Envelope(StatementKind kind, LedgerSeq slot, size_t node);
  // The same with contents that the test chooses. A larger `counter` is a newer statement of its
  // kind.
  Bytes Envelope(StatementKind kind, LedgerSeq slot, size_t node, uint32_t counter,
                 const SetHash& tx_set, const SetHash& quorum_set);
  // Says "no transactions" in place of `proposed`.
  Bytes EnvelopeWithoutTxSet(StatementKind kind, LedgerSeq slot, size_t node,
                             const SetHash& proposed);
  Bytes Sign(const xdr::ScpStatement& statement, size_t node) const;
  std::string Value(const SetHash& tx_set);

  // A payment of `operations` operations that bids `fee` for the whole transaction.
  Bytes PaymentOf(const SecretSeed& source, int64_t sequence, uint32_t fee, int operations = 1);
  Bytes FeeBumpOf(const Bytes& inner, int64_t fee);
  // In the network's mix: mostly payments of 1 to 10 operations, one in nine a fee bump, one in ten
  // a contract call of some kilobytes, a few with multiplexed sources or in the old envelope.
  Bytes Transaction();
  std::vector<Bytes> Transactions(size_t count);

  // Contract transactions go to the Soroban phase, the others to the classic one.
  Bytes TxSetOf(std::vector<Bytes> transactions);
  // Exactly `bytes` long: a multiple of 4, at least 512.
  Bytes TxSetOfBytes(size_t bytes);

  // The first `nodes` validators, a majority of them.
  Bytes QuorumSetOf(size_t nodes) const;

 private:
  Bytes EnvelopeWithValue(StatementKind kind, LedgerSeq slot, size_t node, uint32_t counter,
                          std::string value, const SetHash& quorum_set);

  NetworkId network_;
  Random keys_;  // never drawn from, only forked: a key depends on the seed and its number alone
  Random random_;
  uint64_t close_time_ = 1'750'000'000;
  int64_t sequence_ = 0;
};

}  // namespace overlay

#endif  // OVERLAY_TESTS_SUPPORT_XDR_BUILDER_H_
