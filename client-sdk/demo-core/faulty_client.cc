#include "client-sdk/demo-core/faulty_client.h"

#include <utility>

namespace overlay::demo {

std::optional<Sabotage> SabotageFromName(std::string_view name) {
  if (name == "drop-scp") return Sabotage::kDropScp;
  if (name == "drop-tx") return Sabotage::kDropTx;
  if (name == "corrupt-set") return Sabotage::kCorruptSet;
  if (name == "no-vote") return Sabotage::kNoVote;
  return std::nullopt;
}

FaultyClient::FaultyClient(std::unique_ptr<Client> client, Sabotage sabotage, const NodeKey& self,
                           uint64_t from_slot)
    : client_(std::move(client)), sabotage_(sabotage), self_(self), from_slot_(from_slot) {}

absl::Status FaultyClient::Broadcast(std::string_view envelope, std::optional<uint64_t> id,
                                     bool force) {
  // Behind the four bytes of its type an envelope begins with the validator's key.
  const bool own = envelope.substr(4, kHashBytes) == self_.view();
  if (own && Breaks(Sabotage::kDropScp)) return absl::OkStatus();
  return client_->Broadcast(envelope, id, force);
}

absl::StatusOr<uint64_t> FaultyClient::Submit(std::string_view transaction,
                                              std::optional<TxBid> bid) {
  if (Breaks(Sabotage::kDropTx)) return 0;
  return client_->Submit(transaction, bid);
}

absl::Status FaultyClient::Offer(SetType type, const Hash& hash, std::string bytes,
                                 std::optional<uint64_t> slot) {
  if (type == SetType::kTxSet && Breaks(Sabotage::kCorruptSet)) bytes.back() ^= 1;
  return client_->Offer(type, hash, std::move(bytes), slot);
}

absl::Status FaultyClient::LedgerClosed(uint64_t slot, const std::optional<Hash>& hash,
                                        bool tracking, const std::vector<uint64_t>& keep_slots) {
  closed_ = slot;
  return client_->LedgerClosed(slot, hash, tracking, keep_slots);
}

}  // namespace overlay::demo
