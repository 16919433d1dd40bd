#include "flood/xdr_skim.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "absl/status/status.h"

namespace overlay::flood {
namespace {

constexpr uint32_t kKeyTypeEd25519 = 0;
constexpr uint32_t kKeyTypeMuxedEd25519 = 0x100;
constexpr size_t kEd25519SignatureBytesMax = 64;
constexpr uint32_t kValueBasic = 0;
constexpr uint32_t kValueSigned = 1;
constexpr uint32_t kValueEmptyTxSet = 2;  // CAP-83
constexpr uint32_t kUpgradeCountMax = 6;
constexpr uint32_t kUpgradeBytesMax = 128;
constexpr uint32_t kEnvelopeTxV0 = 0;
constexpr uint32_t kEnvelopeTx = 2;
constexpr uint32_t kEnvelopeTxFeeBump = 5;
constexpr uint32_t kOperationCountMax = 100;
// Its optional source and its type.
constexpr size_t kOperationBytesMin = 8;
constexpr uint32_t kInvokeHostFunction = 24;
constexpr uint32_t kRestoreFootprint = 26;

// Reads forward; the first thing that is wrong stays as the error, and all later reads give zeros.
class Reader {
 public:
  explicit Reader(absl::Span<const uint8_t> data) : data_(data) {}

  bool ok() const { return error_ == nullptr; }
  size_t left() const { return data_.size() - at_; }
  void Fail(const char* what) {
    if (ok()) error_ = what;
  }
  absl::Status Error() const {
    return absl::InvalidArgumentError(
        fmt::format("{} at byte {} of {}", error_, at_, data_.size()));
  }

  uint32_t U32() {
    if (!Need(4)) return 0;
    const uint8_t* p = data_.data() + at_;
    at_ += 4;
    return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
  }
  uint64_t U64() {
    const uint64_t high = U32();
    return high << 32 | U32();
  }
  bool Flag() {
    const uint32_t word = U32();
    if (word > 1) Fail("a presence flag that is neither 0 nor 1");
    return word == 1;
  }
  template <class Hash>
  Hash Hash32() {
    Hash hash;
    if (!Need(kHashBytes)) return hash;
    std::copy_n(data_.data() + at_, kHashBytes, hash.bytes.begin());
    at_ += kHashBytes;
    return hash;
  }
  void Skip(size_t bytes) {
    if (Need(bytes)) at_ += bytes;
  }
  std::string_view Opaque(size_t bytes_max) {
    const size_t size = U32();
    if (size > bytes_max) Fail("a length above its limit");
    if (!ok() || !Need(size)) return {};
    const std::string_view bytes(reinterpret_cast<const char*>(data_.data() + at_), size);
    at_ += size;
    for (size_t pad = (4 - size % 4) % 4; pad > 0; --pad) {
      if (!Need(1)) return {};
      if (data_[at_++] != 0) Fail("padding that is not zero");
    }
    return bytes;
  }
  void ExpectEnd() {
    if (ok() && left() > 0) Fail("bytes after the end");
  }

 private:
  bool Need(size_t bytes) {
    if (ok() && left() < bytes) Fail("the end comes too early");
    return ok();
  }

  absl::Span<const uint8_t> data_;
  size_t at_ = 0;
  const char* error_ = nullptr;
};

// The tx set that a value names; nullopt if it is no StellarValue or names none.
std::optional<SetHash> NamedTxSet(std::string_view value) {
  Reader in(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(value.data()), value.size()));
  SetHash hash = in.Hash32<SetHash>();
  in.U64();  // close time
  const uint32_t upgrades = in.U32();
  if (upgrades > kUpgradeCountMax) return std::nullopt;
  for (uint32_t i = 0; i < upgrades; ++i) in.Opaque(kUpgradeBytesMax);
  const uint32_t kind = in.U32();
  if (kind == kValueEmptyTxSet) {
    hash = in.Hash32<SetHash>();  // the proposed one
    in.Skip(kHashBytes);          // previous ledger
    in.U32();                     // and its version
  }
  if (kind == kValueSigned || kind == kValueEmptyTxSet) {
    if (in.U32() != kKeyTypeEd25519) return std::nullopt;
    in.Skip(kHashBytes);
    in.Opaque(kEd25519SignatureBytesMax);
  } else if (kind != kValueBasic) {
    return std::nullopt;
  }
  in.ExpectEnd();
  if (!in.ok() || hash.IsZero()) return std::nullopt;
  return hash;
}

class EnvelopeReader {
 public:
  explicit EnvelopeReader(absl::Span<const uint8_t> envelope) : in_(envelope) {}

  absl::StatusOr<EnvelopeSkim> Read() {
    if (in_.U32() != kKeyTypeEd25519) in_.Fail("a node key that is not Ed25519");
    skim_.refs.node = in_.Hash32<NodeKey>();
    skim_.refs.slot = {in_.U64()};
    ReadPledges(in_.U32());
    in_.Opaque(kEd25519SignatureBytesMax);
    in_.ExpectEnd();
    if (!in_.ok()) return in_.Error();
    auto& sets = skim_.refs.tx_sets;
    std::sort(sets.begin(), sets.end());
    sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
    return std::move(skim_);
  }

 private:
  void ReadPledges(uint32_t type) {
    ScpStatement& statement = skim_.statement;
    // Before it becomes an enumerator of 8 bits: 256 is no PREPARE.
    if (type > static_cast<uint32_t>(ScpStatementType::kNominate)) {
      return in_.Fail("an unknown type of statement");
    }
    statement.type = static_cast<ScpStatementType>(type);
    switch (statement.type) {
      case ScpStatementType::kPrepare:
        skim_.refs.quorum_set = in_.Hash32<SetHash>();
        statement.ballot = Ballot();
        if (in_.Flag()) statement.prepared = Ballot();
        if (in_.Flag()) statement.prepared_prime = Ballot();
        in_.U32();  // nC
        statement.high_counter = in_.U32();
        return;
      case ScpStatementType::kConfirm:
        statement.ballot = Ballot();
        statement.prepared_counter = in_.U32();
        in_.U32();  // nCommit
        statement.high_counter = in_.U32();
        skim_.refs.quorum_set = in_.Hash32<SetHash>();
        return;
      case ScpStatementType::kExternalize:
        statement.ballot = Ballot();
        statement.high_counter = in_.U32();
        skim_.refs.quorum_set = in_.Hash32<SetHash>();
        return;
      case ScpStatementType::kNominate:
        skim_.phase = ScpPhase::kNomination;
        skim_.refs.quorum_set = in_.Hash32<SetHash>();
        Values(statement.votes);
        Values(statement.accepted);
        return;
    }
  }

  std::string_view Value() {
    const std::string_view value = in_.Opaque(SIZE_MAX);
    if (const auto set = NamedTxSet(value)) skim_.refs.tx_sets.push_back(*set);
    return value;
  }
  ScpBallot Ballot() {
    ScpBallot ballot;
    ballot.counter = in_.U32();
    ballot.value = Value();
    return ballot;
  }
  void Values(std::vector<std::string_view>& values) {
    // The count is not trusted: it ends with the bytes.
    for (uint32_t count = in_.U32(); count > 0 && in_.ok(); --count) values.push_back(Value());
  }

  Reader in_;
  EnvelopeSkim skim_;
};

class TransactionReader {
 public:
  explicit TransactionReader(absl::Span<const uint8_t> transaction) : in_(transaction) {}

  absl::StatusOr<TransactionSkim> Read() {
    uint32_t type = in_.U32();
    int64_t outer_fee = 0;
    if (type == kEnvelopeTxFeeBump) {
      skim_.is_fee_bump = true;
      MuxedAccount();
      outer_fee = static_cast<int64_t>(in_.U64());
      type = in_.U32();
      if (type != kEnvelopeTx) in_.Fail("a fee bump around something that is no transaction");
    }
    if (type == kEnvelopeTxV0) {
      ReadV0Head();
    } else if (type == kEnvelopeTx) {
      ReadHead();
    } else {
      in_.Fail("an unknown type of transaction");
    }
    Memo();
    Operations();
    if (skim_.is_fee_bump) {
      skim_.fee = outer_fee;
      ++skim_.operations;
      if (outer_fee < 0) in_.Fail("a negative fee");
    }
    if (!in_.ok()) return in_.Error();
    return skim_;
  }

 private:
  void ReadV0Head() {
    skim_.source = in_.Hash32<AccountKey>();
    skim_.fee = in_.U32();
    skim_.sequence = static_cast<int64_t>(in_.U64());
    if (in_.Flag()) in_.Skip(16);  // time bounds
  }
  void ReadHead() {
    skim_.source = MuxedAccount();
    skim_.fee = in_.U32();
    skim_.sequence = static_cast<int64_t>(in_.U64());
    Preconditions();
  }

  AccountKey MuxedAccount() {
    const uint32_t type = in_.U32();
    if (type == kKeyTypeMuxedEd25519) {
      in_.U64();
    } else if (type != kKeyTypeEd25519) {
      in_.Fail("an unknown type of account");
    }
    return in_.Hash32<AccountKey>();
  }

  void Preconditions() {
    const uint32_t kind = in_.U32();
    if (kind == 0) return;
    if (kind == 1) return in_.Skip(16);  // time bounds
    if (kind != 2) return in_.Fail("an unknown kind of preconditions");
    if (in_.Flag()) in_.Skip(16);  // time bounds
    if (in_.Flag()) in_.Skip(8);   // ledger bounds
    if (in_.Flag()) in_.Skip(8);   // lowest sequence number
    in_.Skip(12);                  // its age and its gap
    const uint32_t signers = in_.U32();
    if (signers > 2) in_.Fail("more than two extra signers");
    for (uint32_t i = 0; i < signers && in_.ok(); ++i) {
      const uint32_t type = in_.U32();
      if (type > 3) in_.Fail("an unknown type of signer");
      in_.Skip(kHashBytes);
      if (type == 3) in_.Opaque(64);
    }
  }

  void Memo() {
    switch (in_.U32()) {
      case 0:
        return;
      case 1:
        in_.Opaque(28);
        return;
      case 2:
        return in_.Skip(8);
      case 3:
      case 4:
        return in_.Skip(kHashBytes);
    }
    in_.Fail("an unknown kind of memo");
  }

  void Operations() {
    const uint32_t count = in_.U32();
    if (count == 0) in_.Fail("no operations");
    if (count > kOperationCountMax) in_.Fail("more than 100 operations");
    if (in_.left() < count * kOperationBytesMin) in_.Fail("the end comes too early");
    skim_.operations = count;
    if (in_.Flag()) MuxedAccount();
    const uint32_t type = in_.U32();
    if (type >= kInvokeHostFunction && type <= kRestoreFootprint) skim_.lane = Lane::kSoroban;
  }

  Reader in_;
  TransactionSkim skim_;
};

}  // namespace

absl::StatusOr<EnvelopeSkim> SkimEnvelope(absl::Span<const uint8_t> envelope) {
  return EnvelopeReader(envelope).Read();
}

absl::StatusOr<TransactionSkim> SkimTransaction(absl::Span<const uint8_t> transaction) {
  return TransactionReader(transaction).Read();
}

}  // namespace overlay::flood
