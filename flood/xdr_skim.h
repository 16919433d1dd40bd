// flood/xdr_skim.h
//
// What the overlay reads of an SCP envelope and of a transaction: enough to file, order and route
// them, never to judge them. Both are XDR (RFC 4506) as the Stellar network defines it.
//
// Rules
//   R1  Every length is checked against the bytes that are there before it is used; nothing is
//       allocated from an announced count. Why: the bytes come from strangers.
//   R2  An envelope is read to its last byte: wrong padding, unknown kinds and trailing bytes are
//       malformed. Why: no core can decode it, so nobody should carry it.
//   R3  An unsigned envelope, or a value that is no StellarValue, is fine: it just names no tx set.
//       Why: signatures and values are the core's to judge.
//   R4  The zero hash is never named. The value that stands for the empty set (CAP-83) names the
//       set that was proposed, which it carries inside. Why: no peer has bytes that hash to zero.
//   R5  A transaction is read up to its first operation, because lengths of operations are not
//       stored. Its lane is Soroban if that is one of the three Soroban operations. What follows
//       must at least have room for the operations counted. Why: a whole decoder would have to
//       follow each protocol version; the core judges.
//
// Cost     an envelope of 300 bytes about 0.1 us; linear in size. Views point into the caller's
//     bytes.
// Threads  none: pure functions.
// Not here signatures, order of statements (scp_order.h), tx sets.
#ifndef OVERLAY_FLOOD_XDR_SKIM_H_
#define OVERLAY_FLOOD_XDR_SKIM_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "flood/core_io.h"

namespace overlay::flood {

// As on the wire.
enum class ScpStatementType : uint8_t {
  kPrepare = 0,
  kConfirm = 1,
  kExternalize = 2,
  kNominate = 3
};

// What supersedes what: a nomination never a ballot statement, nor the reverse.
enum class ScpPhase : uint8_t { kNomination = 0, kBallot = 1 };

struct ScpBallot {
  uint32_t counter = 0;
  std::string_view value;
};

// A statement's pledges, as views into the envelope's bytes. Members of other types are empty.
struct ScpStatement {
  ScpStatementType type = ScpStatementType::kPrepare;
  ScpBallot ballot;                         // EXTERNALIZE: commit
  std::optional<ScpBallot> prepared;        // PREPARE
  std::optional<ScpBallot> prepared_prime;  // PREPARE
  uint32_t prepared_counter = 0;            // CONFIRM: nPrepared
  uint32_t high_counter = 0;                // nH
  std::vector<std::string_view> votes;      // NOMINATE
  std::vector<std::string_view> accepted;   // NOMINATE
};

struct EnvelopeSkim {
  EnvelopeRefs refs;  // tx_sets in ascending order
  ScpPhase phase = ScpPhase::kBallot;
  ScpStatement statement;
};

struct TransactionSkim {
  AccountKey source;        // of the inner transaction of a fee bump
  int64_t sequence = 0;     // likewise
  int64_t fee = 0;          // of the outer one; not negative
  uint32_t operations = 1;  // a fee bump counts as one more; at least 1
  Lane lane = Lane::kClassic;
  bool is_fee_bump = false;
};

// INVALID_ARGUMENT says what is wrong and at which byte. The views live as long as `envelope` does.
absl::StatusOr<EnvelopeSkim> SkimEnvelope(absl::Span<const uint8_t> envelope);

// INVALID_ARGUMENT as above.
absl::StatusOr<TransactionSkim> SkimTransaction(absl::Span<const uint8_t> transaction);

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_XDR_SKIM_H_
