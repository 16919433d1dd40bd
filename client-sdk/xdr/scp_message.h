// client-sdk/xdr/scp_message.h
//
// SCP as it is on Stellar's network: statements, signed envelopes, the values that they vote on and
// the quorum sets that they name; encoding, strict decoding, signing and verifying.
//
//   R1  An envelope's signature covers network id, the tag 1 and the statement; a value's covers
//       network id, the tag 4, the (proposed) tx set hash and the close time. Both are plain
//       Ed25519.
//   R2  Decoding takes exactly what encoding makes: it is strict (xdr_reader.h) and takes the whole
//       input.
//   R3  A value whose tx set hash is zero says "no transactions" (the empty-tx-set arm), and only
//       such a one does; there is nothing to fetch for it.
//
// Bounds: a value 64 KiB, 1,000 values in a nomination, a quorum set of 4 levels and 1,000 nodes.
// Not here: what a statement means (client-sdk's demo core), and what the daemon reads of it (flood
// has a skimming parser of its own, which shares nothing with this one).
// Threads: pure functions.
#ifndef OVERLAY_CLIENT_SDK_XDR_SCP_MESSAGE_H_
#define OVERLAY_CLIENT_SDK_XDR_SCP_MESSAGE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "flood/base/bytes.h"
#include "flood/base/crypto.h"
#include "flood/base/ids.h"

namespace overlay::xdr {

// What SCP agrees on (StellarValue).
struct StellarValue {
  enum class Kind : uint8_t { kBasic = 0, kSigned = 1, kEmptyTxSet = 2 };

  Kind kind = Kind::kSigned;
  SetHash tx_set_hash;  // zero in kEmptyTxSet
  uint64_t close_time = 0;
  std::vector<std::string> upgrades;  // 6 at most, of 128 bytes at most
  // Of kSigned and kEmptyTxSet.
  NodeKey signer;
  Signature signature{};
  // Of kEmptyTxSet.
  SetHash proposed_tx_set_hash;
  LedgerHash previous_ledger;
  uint32_t previous_ledger_version = 0;
};

std::string EncodeValue(const StellarValue& value);
std::optional<StellarValue> DecodeValue(absl::Span<const uint8_t> data);
std::optional<StellarValue> DecodeValue(std::string_view data);
// 152 bytes: kSigned without upgrades.
std::string SignedValue(const SetHash& tx_set_hash, uint64_t close_time, const SecretSeed& seed,
                        const NetworkId& network);
// 220 bytes: kEmptyTxSet in place of the set that was proposed.
std::string EmptyTxSetValue(const SetHash& proposed, const LedgerHash& previous_ledger,
                            uint64_t close_time, const SecretSeed& seed, const NetworkId& network);
// False for kBasic, which has no signature.
bool VerifyValue(const StellarValue& value, const NetworkId& network);

struct Ballot {
  uint32_t counter = 0;
  std::string value;

  friend bool operator==(const Ballot&, const Ballot&) = default;
};

struct Prepare {
  SetHash quorum_set;
  Ballot ballot;
  std::optional<Ballot> prepared;
  std::optional<Ballot> prepared_prime;
  uint32_t c_counter = 0;
  uint32_t h_counter = 0;
};
struct Confirm {
  Ballot ballot;
  uint32_t prepared_counter = 0;
  uint32_t commit_counter = 0;
  uint32_t h_counter = 0;
  SetHash quorum_set;
};
struct Externalize {
  Ballot commit;
  uint32_t h_counter = 0;
  SetHash quorum_set;
};
struct Nominate {
  SetHash quorum_set;
  std::vector<std::string> votes;
  std::vector<std::string> accepted;
};
// In the order of their numbers on the wire.
using Pledges = std::variant<Prepare, Confirm, Externalize, Nominate>;

struct ScpStatement {
  NodeKey node;
  LedgerSeq slot;
  Pledges pledges;
};

struct ScpEnvelope {
  ScpStatement statement;
  Signature signature{};
};

Bytes EncodeStatement(const ScpStatement& statement);
// `seed` is the one whose public key the statement carries.
Bytes SignEnvelope(const ScpStatement& statement, const SecretSeed& seed, const NetworkId& network);
std::optional<ScpEnvelope> DecodeEnvelope(absl::Span<const uint8_t> data);
// Whether the last 64 bytes sign the rest; `envelope` may be anything.
bool VerifyEnvelope(absl::Span<const uint8_t> envelope, const NetworkId& network);

const SetHash& QuorumSetHashOf(const ScpStatement& statement);
// The values of a statement in its own order, repetitions included: a ballot's, the prepared ones,
// votes, accepted ones.
std::vector<std::string> ValuesOf(const ScpStatement& statement);

struct QuorumSet {
  uint32_t threshold = 0;
  std::vector<NodeKey> validators;
  std::vector<QuorumSet> inner_sets;
};

Bytes EncodeQuorumSet(const QuorumSet& set);
// Also refuses a set of more than 4 levels or 1,000 nodes, and a threshold that is zero or above
// the number of its members.
std::optional<QuorumSet> DecodeQuorumSet(absl::Span<const uint8_t> data);

}  // namespace overlay::xdr

#endif  // OVERLAY_CLIENT_SDK_XDR_SCP_MESSAGE_H_
