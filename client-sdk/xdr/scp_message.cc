#include "client-sdk/xdr/scp_message.h"

#include <cstring>
#include <utility>

#include "client-sdk/xdr/xdr_reader.h"
#include "client-sdk/xdr/xdr_writer.h"

namespace overlay::xdr {
namespace {

constexpr uint32_t kTagScp = 1;       // ENVELOPE_TYPE_SCP
constexpr uint32_t kTagScpValue = 4;  // ENVELOPE_TYPE_SCPVALUE
constexpr uint32_t kKeyTypeEd25519 = 0;

constexpr uint32_t kUpgradesMax = 6;
constexpr size_t kUpgradeBytesMax = 128;
// XDR does not bound a value; ours are 220 bytes and six upgrades at most, this leaves room.
constexpr size_t kValueBytesMax = 64 * 1024;
constexpr uint32_t kNominateValuesMax = 1000;
// As the core's own sanity check has it.
constexpr int kQuorumSetLevelsMax = 4;
constexpr uint32_t kQuorumSetNodesMax = 1000;

constexpr size_t kSignatureFieldBytes = 4 + 64;

void WriteKey(XdrWriter& out, const NodeKey& key) {
  out.U32(kKeyTypeEd25519);
  out.Fixed(key.bytes);
}

NodeKey ReadKey(XdrReader& in) {
  if (in.U32() != kKeyTypeEd25519) in.Fail();
  return in.Hash32Of<NodeKey>();
}

Signature ReadSignature(XdrReader& in) {
  Signature signature{};
  const absl::Span<const uint8_t> field = in.Opaque(signature.size());
  if (field.size() != signature.size()) {
    in.Fail();
  } else {
    std::memcpy(signature.data(), field.data(), field.size());
  }
  return signature;
}

Bytes ValueSignaturePayload(const SetHash& tx_set_hash, uint64_t close_time,
                            const NetworkId& network) {
  XdrWriter out;
  out.Fixed(network.bytes);
  out.U32(kTagScpValue);
  out.Fixed(tx_set_hash.bytes);
  out.U64(close_time);
  return out.Finish();
}

Bytes StatementSignaturePayload(absl::Span<const uint8_t> statement, const NetworkId& network) {
  XdrWriter out;
  out.Fixed(network.bytes);
  out.U32(kTagScp);
  out.Raw(statement);
  return out.Finish();
}

void WriteBallot(XdrWriter& out, const Ballot& ballot) {
  out.U32(ballot.counter);
  out.Opaque(ballot.value);
}

Ballot ReadBallot(XdrReader& in) {
  Ballot ballot;
  ballot.counter = in.U32();
  ballot.value = in.OpaqueString(kValueBytesMax);
  return ballot;
}

void WriteOptionalBallot(XdrWriter& out, const std::optional<Ballot>& ballot) {
  out.Bool(ballot.has_value());
  if (ballot) WriteBallot(out, *ballot);
}

std::optional<Ballot> ReadOptionalBallot(XdrReader& in) {
  if (!in.Flag()) return std::nullopt;
  return ReadBallot(in);
}

void WriteValues(XdrWriter& out, const std::vector<std::string>& values) {
  out.U32(static_cast<uint32_t>(values.size()));
  for (const std::string& value : values) out.Opaque(value);
}

std::vector<std::string> ReadValues(XdrReader& in) {
  std::vector<std::string> values;
  const uint32_t count = in.Count(kNominateValuesMax);
  for (uint32_t i = 0; i < count && in.ok(); ++i) values.push_back(in.OpaqueString(kValueBytesMax));
  return values;
}

struct PledgesWriter {
  XdrWriter& out;

  void operator()(const Prepare& pledge) const {
    out.Fixed(pledge.quorum_set.bytes);
    WriteBallot(out, pledge.ballot);
    WriteOptionalBallot(out, pledge.prepared);
    WriteOptionalBallot(out, pledge.prepared_prime);
    out.U32(pledge.c_counter);
    out.U32(pledge.h_counter);
  }
  void operator()(const Confirm& pledge) const {
    WriteBallot(out, pledge.ballot);
    out.U32(pledge.prepared_counter);
    out.U32(pledge.commit_counter);
    out.U32(pledge.h_counter);
    out.Fixed(pledge.quorum_set.bytes);
  }
  void operator()(const Externalize& pledge) const {
    WriteBallot(out, pledge.commit);
    out.U32(pledge.h_counter);
    out.Fixed(pledge.quorum_set.bytes);
  }
  void operator()(const Nominate& pledge) const {
    out.Fixed(pledge.quorum_set.bytes);
    WriteValues(out, pledge.votes);
    WriteValues(out, pledge.accepted);
  }
};

Prepare ReadPrepare(XdrReader& in) {
  Prepare pledge;
  pledge.quorum_set = in.Hash32Of<SetHash>();
  pledge.ballot = ReadBallot(in);
  pledge.prepared = ReadOptionalBallot(in);
  pledge.prepared_prime = ReadOptionalBallot(in);
  pledge.c_counter = in.U32();
  pledge.h_counter = in.U32();
  return pledge;
}

Confirm ReadConfirm(XdrReader& in) {
  Confirm pledge;
  pledge.ballot = ReadBallot(in);
  pledge.prepared_counter = in.U32();
  pledge.commit_counter = in.U32();
  pledge.h_counter = in.U32();
  pledge.quorum_set = in.Hash32Of<SetHash>();
  return pledge;
}

Externalize ReadExternalize(XdrReader& in) {
  Externalize pledge;
  pledge.commit = ReadBallot(in);
  pledge.h_counter = in.U32();
  pledge.quorum_set = in.Hash32Of<SetHash>();
  return pledge;
}

Nominate ReadNominate(XdrReader& in) {
  Nominate pledge;
  pledge.quorum_set = in.Hash32Of<SetHash>();
  pledge.votes = ReadValues(in);
  pledge.accepted = ReadValues(in);
  return pledge;
}

Pledges ReadPledges(XdrReader& in) {
  switch (in.U32()) {
    case 0:
      return ReadPrepare(in);
    case 1:
      return ReadConfirm(in);
    case 2:
      return ReadExternalize(in);
    case 3:
      return ReadNominate(in);
  }
  in.Fail();
  return Prepare{};
}

void WriteStatement(XdrWriter& out, const ScpStatement& statement) {
  WriteKey(out, statement.node);
  out.U64(statement.slot.value);
  out.U32(static_cast<uint32_t>(statement.pledges.index()));
  std::visit(PledgesWriter{out}, statement.pledges);
}

void WriteQuorumSet(XdrWriter& out, const QuorumSet& set) {
  out.U32(set.threshold);
  out.U32(static_cast<uint32_t>(set.validators.size()));
  for (const NodeKey& validator : set.validators) WriteKey(out, validator);
  out.U32(static_cast<uint32_t>(set.inner_sets.size()));
  for (const QuorumSet& inner : set.inner_sets) WriteQuorumSet(out, inner);
}

// `nodes_left` is what the whole set may still name.
QuorumSet ReadQuorumSet(XdrReader& in, int levels_left, uint32_t& nodes_left) {
  QuorumSet set;
  set.threshold = in.U32();
  const uint32_t validators = in.Count(nodes_left);
  nodes_left -= validators;
  for (uint32_t i = 0; i < validators && in.ok(); ++i) set.validators.push_back(ReadKey(in));
  const uint32_t inner_sets = in.Count(levels_left > 1 ? kQuorumSetNodesMax : 0);
  for (uint32_t i = 0; i < inner_sets && in.ok(); ++i) {
    set.inner_sets.push_back(ReadQuorumSet(in, levels_left - 1, nodes_left));
  }
  const size_t members = set.validators.size() + set.inner_sets.size();
  if (set.threshold == 0 || set.threshold > members) in.Fail();
  return set;
}

}  // namespace

std::string EncodeValue(const StellarValue& value) {
  XdrWriter out;
  out.Fixed(value.tx_set_hash.bytes);
  out.U64(value.close_time);
  out.U32(static_cast<uint32_t>(value.upgrades.size()));
  for (const std::string& upgrade : value.upgrades) out.Opaque(upgrade);
  out.U32(static_cast<uint32_t>(value.kind));
  if (value.kind == StellarValue::Kind::kEmptyTxSet) {
    out.Fixed(value.proposed_tx_set_hash.bytes);
    out.Fixed(value.previous_ledger.bytes);
    out.U32(value.previous_ledger_version);
  }
  if (value.kind != StellarValue::Kind::kBasic) {
    WriteKey(out, value.signer);
    out.Opaque(value.signature);
  }
  return std::string(out.Finish().view());
}

std::optional<StellarValue> DecodeValue(absl::Span<const uint8_t> data) {
  XdrReader in(data);
  StellarValue value;
  value.tx_set_hash = in.Hash32Of<SetHash>();
  value.close_time = in.U64();
  const uint32_t upgrades = in.Count(kUpgradesMax);
  for (uint32_t i = 0; i < upgrades && in.ok(); ++i) {
    value.upgrades.push_back(in.OpaqueString(kUpgradeBytesMax));
  }
  const uint32_t kind = in.U32();
  if (kind > 2) return std::nullopt;
  value.kind = static_cast<StellarValue::Kind>(kind);
  const bool empty_set = value.kind == StellarValue::Kind::kEmptyTxSet;
  if (empty_set) {
    value.proposed_tx_set_hash = in.Hash32Of<SetHash>();
    value.previous_ledger = in.Hash32Of<LedgerHash>();
    value.previous_ledger_version = in.U32();
  }
  if (value.kind != StellarValue::Kind::kBasic) {
    value.signer = ReadKey(in);
    value.signature = ReadSignature(in);
  }
  if (!in.AtEnd() || value.tx_set_hash.IsZero() != empty_set) return std::nullopt;  // R3
  return value;
}

std::optional<StellarValue> DecodeValue(std::string_view data) {
  return DecodeValue(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(data.data()), data.size()));
}

std::string SignedValue(const SetHash& tx_set_hash, uint64_t close_time, const SecretSeed& seed,
                        const NetworkId& network) {
  StellarValue value;
  value.tx_set_hash = tx_set_hash;
  value.close_time = close_time;
  value.signer = PublicKeyOf(seed);
  value.signature =
      Sign(seed, value.signer, ValueSignaturePayload(tx_set_hash, close_time, network).span());
  return EncodeValue(value);
}

std::string EmptyTxSetValue(const SetHash& proposed, const LedgerHash& previous_ledger,
                            uint64_t close_time, const SecretSeed& seed, const NetworkId& network) {
  StellarValue value;
  value.kind = StellarValue::Kind::kEmptyTxSet;
  value.close_time = close_time;
  value.proposed_tx_set_hash = proposed;
  value.previous_ledger = previous_ledger;
  value.previous_ledger_version = 28;  // the first protocol that has this arm
  value.signer = PublicKeyOf(seed);
  value.signature =
      Sign(seed, value.signer, ValueSignaturePayload(proposed, close_time, network).span());
  return EncodeValue(value);
}

bool VerifyValue(const StellarValue& value, const NetworkId& network) {
  if (value.kind == StellarValue::Kind::kBasic) return false;
  const SetHash& signed_hash = value.kind == StellarValue::Kind::kEmptyTxSet
                                   ? value.proposed_tx_set_hash
                                   : value.tx_set_hash;
  return Verify(value.signer, ValueSignaturePayload(signed_hash, value.close_time, network).span(),
                value.signature);
}

Bytes EncodeStatement(const ScpStatement& statement) {
  XdrWriter out;
  WriteStatement(out, statement);
  return out.Finish();
}

Bytes SignEnvelope(const ScpStatement& statement, const SecretSeed& seed,
                   const NetworkId& network) {
  XdrWriter out;
  WriteStatement(out, statement);
  const Bytes payload = StatementSignaturePayload(out.span(), network);
  out.Opaque(Sign(seed, statement.node, payload.span()));
  return out.Finish();
}

std::optional<ScpEnvelope> DecodeEnvelope(absl::Span<const uint8_t> data) {
  XdrReader in(data);
  ScpEnvelope envelope;
  envelope.statement.node = ReadKey(in);
  envelope.statement.slot.value = in.U64();
  envelope.statement.pledges = ReadPledges(in);
  envelope.signature = ReadSignature(in);
  if (!in.AtEnd()) return std::nullopt;
  return envelope;
}

bool VerifyEnvelope(absl::Span<const uint8_t> envelope, const NetworkId& network) {
  const std::optional<ScpEnvelope> decoded = DecodeEnvelope(envelope);
  if (!decoded) return false;
  const absl::Span<const uint8_t> statement =
      envelope.first(envelope.size() - kSignatureFieldBytes);
  return Verify(decoded->statement.node, StatementSignaturePayload(statement, network).span(),
                decoded->signature);
}

const SetHash& QuorumSetHashOf(const ScpStatement& statement) {
  return std::visit([](const auto& pledge) -> const SetHash& { return pledge.quorum_set; },
                    statement.pledges);
}

std::vector<std::string> ValuesOf(const ScpStatement& statement) {
  std::vector<std::string> values;
  if (const auto* prepare = std::get_if<Prepare>(&statement.pledges)) {
    values.push_back(prepare->ballot.value);
    if (prepare->prepared) values.push_back(prepare->prepared->value);
    if (prepare->prepared_prime) values.push_back(prepare->prepared_prime->value);
  } else if (const auto* confirm = std::get_if<Confirm>(&statement.pledges)) {
    values.push_back(confirm->ballot.value);
  } else if (const auto* externalize = std::get_if<Externalize>(&statement.pledges)) {
    values.push_back(externalize->commit.value);
  } else {
    const auto& nominate = std::get<Nominate>(statement.pledges);
    values = nominate.votes;
    values.insert(values.end(), nominate.accepted.begin(), nominate.accepted.end());
  }
  return values;
}

Bytes EncodeQuorumSet(const QuorumSet& set) {
  XdrWriter out;
  WriteQuorumSet(out, set);
  return out.Finish();
}

std::optional<QuorumSet> DecodeQuorumSet(absl::Span<const uint8_t> data) {
  XdrReader in(data);
  uint32_t nodes_left = kQuorumSetNodesMax;
  QuorumSet set = ReadQuorumSet(in, kQuorumSetLevelsMax, nodes_left);
  if (!in.AtEnd()) return std::nullopt;
  return set;
}

}  // namespace overlay::xdr
