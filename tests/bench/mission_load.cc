#include "tests/bench/mission_load.h"

#include <cstring>
#include <utility>

#include "client-sdk/xdr/scp_message.h"
#include "flood/base/random.h"
#include "tests/bench/daemons.h"
#include "tests/support/xdr_builder.h"

namespace overlay::bench {
namespace {

constexpr size_t kTemplates = 256;
// Where the keys lie that carry the mark: behind the tags of envelope and key.
constexpr size_t kSourceAt = 8;
constexpr size_t kNodeAt = 4;
constexpr size_t kMarkBytes = 16;
constexpr size_t kTransactionBytesMax = 1'000;

std::optional<Mark> ReadMark(std::string_view text, size_t at) {
  if (text.size() < at + kMarkBytes) return std::nullopt;
  Mark mark;
  int64_t nanoseconds = 0;
  std::memcpy(&mark.number, text.data() + at, sizeof(mark.number));
  std::memcpy(&nanoseconds, text.data() + at + sizeof(mark.number), sizeof(nanoseconds));
  mark.intended = Time(Duration(nanoseconds));
  return mark;
}

Bytes WithMark(std::string text, size_t at, const Mark& mark) {
  const int64_t nanoseconds = mark.intended.time_since_epoch().count();
  std::memcpy(text.data() + at, &mark.number, sizeof(mark.number));
  std::memcpy(text.data() + at + sizeof(mark.number), &nanoseconds, sizeof(nanoseconds));
  return Bytes::Take(std::move(text));
}

absl::Span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Of today's envelope with a plain source: only there the key stands at kSourceAt.
bool FitsAsTemplate(const Bytes& transaction) {
  const uint8_t* const data = transaction.data();
  return transaction.size() <= kTransactionBytesMax && data[3] == 2 && data[6] == 0 && data[7] == 0;
}

}  // namespace

std::optional<Mark> MarkOfTransaction(std::string_view transaction) {
  return ReadMark(transaction, kSourceAt);
}

std::optional<Mark> MarkOfEnvelope(std::string_view envelope) {
  return ReadMark(envelope, kNodeAt);
}

MissionLoad::MissionLoad(uint64_t seed, size_t set_bytes)
    : set_(set_bytes - sizeof(uint64_t), '\0') {
  XdrBuilder build(seed, NetworkIdOf(kPassphrase));
  while (transactions_.size() < kTemplates) {
    const Bytes made = build.Transaction();
    if (FitsAsTemplate(made)) transactions_.emplace_back(made.view());
  }
  Random(seed).Fork("set").Fill(
      absl::MakeSpan(reinterpret_cast<uint8_t*>(set_.data()), set_.size()));
  set_begun_.Update(AsBytes(set_));
}

Bytes MissionLoad::Transaction(const Mark& mark) {
  return WithMark(transactions_[mark.number % kTemplates], kSourceAt, mark);
}

Bytes MissionLoad::Envelope(const Mark& mark, uint64_t slot) {
  if (slot != envelope_slot_) {
    envelope_slot_ = slot;
    SecretSeed signer;
    signer.bytes.fill(1);
    xdr::ScpStatement statement;
    statement.slot = LedgerSeq{slot};
    xdr::Nominate nominate;
    nominate.votes.push_back(
        xdr::SignedValue(SetHashOf(slot), 1'750'000'000 + slot, signer, NetworkIdOf(kPassphrase)));
    statement.pledges = std::move(nominate);
    envelope_ = std::string(xdr::SignEnvelope(statement, signer, NetworkIdOf(kPassphrase)).view());
  }
  return WithMark(envelope_, kNodeAt, mark);
}

Bytes MissionLoad::SetOf(uint64_t slot) const {
  std::string set;
  set.reserve(set_.size() + sizeof(slot));
  set.append(set_).append(reinterpret_cast<const char*>(&slot), sizeof(slot));
  return Bytes::Take(std::move(set));
}

SetHash MissionLoad::SetHashOf(uint64_t slot) const {
  Sha256Stream hash = set_begun_;
  hash.Update({reinterpret_cast<const uint8_t*>(&slot), sizeof(slot)});
  return SetHash{hash.Finish()};
}

}  // namespace overlay::bench
