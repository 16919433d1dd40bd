#include "tests/support/xdr_builder.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay {
namespace {

// A contract transaction ends with signatures; what tells it apart from a payment is operation type
// 24. Builder transactions have plain sources and no conditions, so it stands at one of two
//     offsets.
bool IsContract(const Bytes& envelope) {
  constexpr size_t kOperationTypeAt =
      68;  // type, source, fee, sequence, cond, memo, count, source flag
  if (envelope.size() < kOperationTypeAt + 4) return false;
  const uint8_t* const data = envelope.data();
  return data[3] == 2 && data[6] == 0 && data[55] == 0 && data[59] == 0 && data[63] == 1 &&
         data[kOperationTypeAt + 3] == 24;
}

}  // namespace

XdrBuilder::XdrBuilder(uint64_t seed, const NetworkId& network)
    : network_(network), keys_(Random(seed).Fork("keys")), random_(Random(seed).Fork("contents")) {}

SecretSeed XdrBuilder::NodeSeed(size_t node) const {
  SecretSeed seed;
  keys_.Fork(node).Fill(absl::MakeSpan(seed.bytes));
  return seed;
}

SecretSeed XdrBuilder::AnySeed() {
  SecretSeed seed;
  random_.Fill(absl::MakeSpan(seed.bytes));
  return seed;
}

std::string XdrBuilder::Value(const SetHash& tx_set) {
  return xdr::SignedValue(tx_set, close_time_++, NodeSeed(0), network_);
}

Bytes XdrBuilder::Sign(const xdr::ScpStatement& statement, size_t node) const {
  return xdr::SignEnvelope(statement, NodeSeed(node), network_);
}

Bytes XdrBuilder::EnvelopeWithValue(StatementKind kind, LedgerSeq slot, size_t node,
                                    uint32_t counter, std::string value,
                                    const SetHash& quorum_set) {
  xdr::ScpStatement statement;
  statement.node = Node(node);
  statement.slot = slot;
  xdr::Ballot ballot{.counter = counter, .value = std::move(value)};
  switch (kind) {
    case StatementKind::kPrepare:
      statement.pledges = xdr::Prepare{.quorum_set = quorum_set,
                                       .ballot = std::move(ballot),
                                       .prepared = std::nullopt,
                                       .prepared_prime = std::nullopt};
      break;
    case StatementKind::kConfirm:
      statement.pledges = xdr::Confirm{.ballot = std::move(ballot),
                                       .prepared_counter = counter,
                                       .commit_counter = 1,
                                       .h_counter = counter,
                                       .quorum_set = quorum_set};
      break;
    case StatementKind::kExternalize:
      statement.pledges = xdr::Externalize{
          .commit = std::move(ballot), .h_counter = counter, .quorum_set = quorum_set};
      break;
    case StatementKind::kNominate:
      statement.pledges = xdr::Nominate{
          .quorum_set = quorum_set, .votes = {std::move(ballot.value)}, .accepted = {}};
      break;
  }
  return Sign(statement, node);
}

Bytes XdrBuilder::Envelope(StatementKind kind, LedgerSeq slot, size_t node) {
  return Envelope(kind, slot, node, 1, AnyHash<SetHash>(), AnyHash<SetHash>());
}

Bytes XdrBuilder::Envelope(StatementKind kind, LedgerSeq slot, size_t node, uint32_t counter,
                           const SetHash& tx_set, const SetHash& quorum_set) {
  return EnvelopeWithValue(kind, slot, node, counter, Value(tx_set), quorum_set);
}

Bytes XdrBuilder::EnvelopeWithoutTxSet(StatementKind kind, LedgerSeq slot, size_t node,
                                       const SetHash& proposed) {
  std::string value =
      xdr::EmptyTxSetValue(proposed, AnyHash<LedgerHash>(), close_time_++, NodeSeed(0), network_);
  return EnvelopeWithValue(kind, slot, node, 1, std::move(value), AnyHash<SetHash>());
}

Bytes XdrBuilder::PaymentOf(const SecretSeed& source, int64_t sequence, uint32_t fee,
                            int operations) {
  xdr::Payment payment;
  payment.source = source;
  payment.sequence = sequence;
  payment.fee = fee;
  payment.operations = operations;
  payment.destination = AnyHash<AccountKey>();
  return xdr::BuildPayment(payment, network_);
}

Bytes XdrBuilder::FeeBumpOf(const Bytes& inner, int64_t fee) {
  return xdr::BuildFeeBump(AnySeed(), fee, inner.span(), network_);
}

Bytes XdrBuilder::Transaction() {
  ++sequence_;
  const uint64_t shape = random_.Below(90);
  if (shape < 9) {
    xdr::ContractUpload upload;
    upload.source = AnySeed();
    upload.sequence = sequence_;
    upload.resource_fee = 10'000;
    upload.fee = static_cast<uint32_t>(10'100 + random_.Below(1000));
    upload.code_bytes = 500 + random_.Below(6000);
    return xdr::BuildContractUpload(upload, network_);
  }
  xdr::Payment payment;
  payment.source = AnySeed();
  payment.sequence = sequence_;
  payment.operations = static_cast<int>(1 + random_.Below(10));
  payment.fee = static_cast<uint32_t>(payment.operations * (100 + random_.Below(1000)));
  payment.destination = AnyHash<AccountKey>();
  if (shape < 11) return xdr::BuildPaymentV0(payment, network_);
  if (shape < 14) payment.muxed_id = random_.Next();
  if (shape % 4 == 0) payment.memo = "memo";
  if (shape % 3 == 0) payment.valid_until = close_time_ + 300;
  const Bytes inner = xdr::BuildPayment(payment, network_);
  if (shape < 80) return inner;
  return FeeBumpOf(inner, static_cast<int64_t>(payment.fee) * 2);
}

std::vector<Bytes> XdrBuilder::Transactions(size_t count) {
  std::vector<Bytes> transactions;
  transactions.reserve(count);
  for (size_t i = 0; i < count; ++i) transactions.push_back(Transaction());
  return transactions;
}

Bytes XdrBuilder::TxSetOf(std::vector<Bytes> transactions) {
  xdr::TxSet set;
  set.previous_ledger = AnyHash<LedgerHash>();
  set.base_fee = 100;
  for (Bytes& transaction : transactions) {
    auto& phase = IsContract(transaction) ? set.soroban : set.classic;
    phase.push_back(std::move(transaction));
  }
  return xdr::BuildTxSet(std::move(set));
}

Bytes XdrBuilder::TxSetOfBytes(size_t bytes) {
  OVERLAY_CHECK(bytes % 4 == 0 && bytes >= 512);
  constexpr size_t kCodeBytesMax = 64 * 1024;
  xdr::ContractUpload upload;
  upload.source = NodeSeed(0);
  upload.code_bytes = 0;
  const size_t overhead = xdr::BuildContractUpload(upload, network_).size();
  xdr::TxSet set;
  set.previous_ledger = AnyHash<LedgerHash>();
  set.soroban = {Bytes()};
  size_t left = bytes - xdr::BuildTxSet(set).size();
  set.soroban.clear();
  while (left > 0) {
    upload.sequence = ++sequence_;
    upload.code_bytes = std::min(left - overhead, kCodeBytesMax);
    // What would be left over must hold one more transaction.
    if (const size_t rest = left - overhead - upload.code_bytes; rest > 0 && rest < overhead) {
      upload.code_bytes -= overhead;
    }
    set.soroban.push_back(xdr::BuildContractUpload(upload, network_));
    left -= set.soroban.back().size();
  }
  return xdr::BuildTxSet(std::move(set));
}

Bytes XdrBuilder::QuorumSetOf(size_t nodes) const {
  xdr::QuorumSet set;
  set.threshold = static_cast<uint32_t>(nodes / 2 + 1);
  for (size_t node = 0; node < nodes; ++node) set.validators.push_back(Node(node));
  return xdr::EncodeQuorumSet(set);
}

}  // namespace overlay
