#include "server/unary_calls.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "server/peer_entry.h"

namespace overlay::server {
namespace {

grpc::Status Illegal(std::string field, std::string value, std::string expected) {
  return ToStatus(MakeError(grpc::StatusCode::INVALID_ARGUMENT, std::move(field), std::move(value),
                            std::move(expected)));
}

}  // namespace

// ----------------------------------------------------------------------------------------
// UnaryCall

void UnaryCall::OnOpened(Time /*now*/) { call_.Read(); }

void UnaryCall::OnMessage(Time now, const grpc::ByteBuffer& message) {
  if (session_ == nullptr || std::exchange(asked_, true)) return;
  OnRequest(now, message);
}

void UnaryCall::OnHalfClosed(Time /*now*/) {
  if (!asked_) call_.Finish({grpc::StatusCode::INVALID_ARGUMENT, "no request came"});
}

bool UnaryCall::RefuseObserver() {
  if (!session_->observer) return true;
  call_.Finish({grpc::StatusCode::PERMISSION_DENIED, "observer: an observer changes nothing"});
  return false;
}

// -------------------------------------------------------------------------------------
// LedgerClosed

void LedgerClosedCall::OnRequest(Time now, const grpc::ByteBuffer& message) {
  v1::LedgerClosedRequest request;
  if (!Decode(message, &request)) return FinishNotProtobuf("LedgerClosedRequest");
  if (!RefuseObserver()) return;
  const size_t keep_max = sessions_.options().limits.keep_slots_count_max;
  flood::LedgerClosed input;
  input.seq = LedgerSeq{request.slot()};
  input.tracking = request.tracking();
  if (request.slot() == 0) return call_.Finish(Illegal("slot", "0", "a slot, at least 1"));
  if (static_cast<size_t>(request.keep_slots_size()) > keep_max) {
    return call_.Finish(Illegal("keep_slots", fmt::format("{} entries", request.keep_slots_size()),
                                fmt::format("at most {}", keep_max)));
  }
  if (!request.hash().empty()) {
    const std::optional<LedgerHash> hash = LedgerHash::FromBytes(request.hash());
    if (!hash) return call_.Finish(Illegal("hash", DescribeBytes(request.hash()), "0 or 32 bytes"));
    input.hash = *hash;
  }
  for (const uint64_t slot : request.keep_slots()) input.keep_slots.push_back(LedgerSeq{slot});
  session_->tracking = request.tracking();
  sessions_.node().OnCoreInput(now, std::move(input));
  const v1::LedgerClosedResponse response;
  call_.WriteAndFinish(Encode(response), grpc::Status::OK);
}

// -----------------------------------------------------------------------------------------
// SetPeers

void SetPeersCall::OnRequest(Time now, const grpc::ByteBuffer& message) {
  v1::SetPeersRequest request;
  if (!Decode(message, &request)) return FinishNotProtobuf("SetPeersRequest");
  if (!RefuseObserver()) return;
  const int count = request.known_size() + request.preferred_size();
  if (count > static_cast<int>(kPeerEntriesMax)) {
    return call_.Finish(Illegal("known, preferred", fmt::format("{} entries", count),
                                fmt::format("at most {} entries", kPeerEntriesMax)));
  }
  if (message.Length() > kPeerEntriesBytesMax) {
    return call_.Finish(Illegal("known, preferred", fmt::format("{} bytes", message.Length()),
                                fmt::format("at most {} bytes", kPeerEntriesBytesMax)));
  }
  flood::ConfigurePeers input;
  input.source = flood::PeerEntrySource::kCore;
  input.disconnect_removed = request.disconnect_removed();
  if (request.has_closed()) input.closed = request.closed();
  std::set<std::string> seen;
  bool malformed = false;
  const auto judge = [&](const std::string& text, bool preferred, v1::PeerEntryResult* result,
                         int place) {
    absl::StatusOr<flood::PeerEntry> entry = ParsePeerEntry(text, preferred);
    if (!entry.ok()) {
      malformed = true;
      result->set_detail(std::string(entry.status().message()));
      return;
    }
    result->set_accepted(true);
    if (entry->pinned_key == sessions_.options().self) {
      result->set_detail("pins our own key; never dialled");
    } else if (!seen.insert(text).second) {
      result->set_detail("the same as an earlier entry");
    } else {
      input.entries.push_back(*std::move(entry));
      places_.push_back(place);
    }
  };
  for (int i = 0; i < request.preferred_size(); ++i) {
    judge(request.preferred(i), true, response_.add_preferred(), -1 - i);
  }
  for (int i = 0; i < request.known_size(); ++i)
    judge(request.known(i), false, response_.add_known(), i);
  if (malformed) return call_.WriteAndFinish(Encode(response_), grpc::Status::OK);
  session_->set_peers.push_back(this);
  sessions_.node().OnCoreInput(now, std::move(input));
}

void SetPeersCall::OnConfigured(const flood::PeersConfigured& configured) {
  bool refused = false;
  for (size_t i = 0; i < configured.refusals.size() && i < places_.size(); ++i) {
    if (configured.refusals[i].empty()) continue;
    refused = true;
    const int place = places_[i];
    v1::PeerEntryResult* result =
        place < 0 ? response_.mutable_preferred(-1 - place) : response_.mutable_known(place);
    result->set_accepted(false);
    result->set_detail(configured.refusals[i]);
  }
  response_.set_applied(!refused);
  call_.WriteAndFinish(Encode(response_), grpc::Status::OK);
}

void SetPeersCall::OnClosed(Time /*now*/) {
  for (SetPeersCall*& waiting : session_->set_peers) {
    if (waiting == this) waiting = nullptr;
  }
}

// --------------------------------------------------------------------------------
// TxSetExternalized

void TxSetExternalizedCall::OnOpened(Time /*now*/) {
  if (session_->observer) {
    call_.Finish({grpc::StatusCode::PERMISSION_DENIED, "observer: an observer changes nothing"});
    return;
  }
  call_.Read();
}

void TxSetExternalizedCall::OnMessage(Time /*now*/, const grpc::ByteBuffer& message) {
  if (session_ == nullptr) return;
  v1::TxSetExternalizedPart part;
  if (!Decode(message, &part)) return FinishNotProtobuf("TxSetExternalizedPart");
  if (std::exchange(first_, false)) {
    const std::optional<SetHash> set = SetHash::FromBytes(part.set_hash());
    if (!set) {
      return call_.Finish(
          Illegal("set_hash", DescribeBytes(part.set_hash()), "32 bytes in the first part"));
    }
    input_.set = *set;
  }
  const std::string& packed = part.tx_hashes();
  if (packed.size() % kHashBytes != 0 || packed.size() > kExternalizedPerPartMax * kHashBytes) {
    return call_.Finish(Illegal(
        "tx_hashes", fmt::format("{} bytes", packed.size()),
        fmt::format("a multiple of 32 bytes, at most {}", kExternalizedPerPartMax * kHashBytes)));
  }
  if (input_.transactions.size() + packed.size() / kHashBytes > kExternalizedHashesMax) {
    return call_.Finish(
        {grpc::StatusCode::RESOURCE_EXHAUSTED,
         fmt::format("tx_hashes: more than {} hashes in all", kExternalizedHashesMax)});
  }
  for (size_t at = 0; at < packed.size(); at += kHashBytes) {
    input_.transactions.push_back(
        *TxHash::FromBytes(std::string_view(packed).substr(at, kHashBytes)));
  }
  call_.Read();
}

// A cancelled call looks like this too. What it said until then is true all the same, so it is
// applied.
void TxSetExternalizedCall::OnHalfClosed(Time now) {
  if (session_ == nullptr || call_.is_over()) return;
  if (first_) {
    call_.Finish(Illegal("set_hash", "no part", "at least one part"));
    return;
  }
  input_.id = sessions_.NextId();
  session_->externalized[input_.id] = this;
  sessions_.node().OnCoreInput(now, std::move(input_));
}

void TxSetExternalizedCall::OnApplied(const flood::ExternalizedApplied& applied) {
  v1::TxSetExternalizedResponse response;
  response.set_removed(applied.removed);
  response.set_unknown(applied.unknown);
  call_.WriteAndFinish(Encode(response), grpc::Status::OK);
}

void TxSetExternalizedCall::OnClosed(Time /*now*/) {
  std::erase_if(session_->externalized, [this](const auto& entry) { return entry.second == this; });
}

// ----------------------------------------------------------------------------------
// TopTransactions

void TopTransactionsCall::OnRequest(Time now, const grpc::ByteBuffer& message) {
  v1::TopTransactionsRequest request;
  if (!Decode(message, &request)) return FinishNotProtobuf("TopTransactionsRequest");
  if (session_->observer && request.has_after()) {
    return call_.Finish(
        {grpc::StatusCode::PERMISSION_DENIED, "after: an observer has no numbers to wait for"});
  }
  if (session_->tops.size() + session_->fenced_tops.size() >= kTopQueriesOpenMax) {
    return call_.Finish(
        {grpc::StatusCode::RESOURCE_EXHAUSTED,
         fmt::format("TopTransactions: at most {} calls at once", kTopQueriesOpenMax)});
  }
  query_.count_max = request.has_count_max() ? request.count_max() : UINT32_MAX;
  query_.bytes_max = request.has_bytes_max() ? request.bytes_max() : UINT64_MAX;
  query_.per_account_max = request.per_account() == 0 ? 1 : request.per_account();
  for (int i = 0; i < request.lanes_size(); ++i) {
    const v1::LaneLimit& limit = request.lanes(i);
    if (limit.lane() != v1::LANE_CLASSIC && limit.lane() != v1::LANE_SOROBAN) {
      return call_.Finish(Illegal(fmt::format("lanes[{}].lane", i),
                                  fmt::format("{}", static_cast<int>(limit.lane())),
                                  "LANE_CLASSIC or LANE_SOROBAN"));
    }
    const size_t lane = limit.lane() == v1::LANE_CLASSIC ? 0 : 1;
    if (query_.lane_count_max[lane] || query_.lane_bytes_max[lane]) {
      return call_.Finish(
          Illegal(fmt::format("lanes[{}].lane", i), "a second entry", "one entry per lane"));
    }
    if (limit.has_count_max()) query_.lane_count_max[lane] = limit.count_max();
    if (limit.has_bytes_max()) query_.lane_bytes_max[lane] = limit.bytes_max();
  }
  fence_ = request.has_after() ? request.after() : 0;
  if (fence_ <= session_->last_number) return Ask(now);
  session_->fenced_tops.push_back(this);
}

void TopTransactionsCall::Ask(Time now) {
  query_.id = sessions_.NextId();
  session_->tops[query_.id] = this;
  applied_number_ = session_->last_number;
  sessions_.node().OnCoreInput(now, query_);
}

void TopTransactionsCall::OnClosed(Time now) {
  std::erase(session_->fenced_tops, this);
  if (session_->tops.erase(query_.id) > 0) {
    sessions_.node().OnCoreInput(now, flood::CancelTopQuery{query_.id});
  }
}

void TopTransactionsCall::OnSnapshot(Time now, flood::TopSnapshot snapshot) {
  have_snapshot_ = true;
  transactions_ = std::move(snapshot.transactions);
  snapshot_bytes_ = 0;
  for (const flood::TopTransaction& top : transactions_) snapshot_bytes_ += top.transaction.size();
  Pump(now);
}

std::optional<grpc::ByteBuffer> TopTransactionsCall::Produce() {
  if (!have_snapshot_ || (wrote_part_ && next_ == transactions_.size())) return std::nullopt;
  v1::TopTransactionsPart part;
  part.set_applied_number(applied_number_);
  size_t bytes = 0;
  while (next_ < transactions_.size()) {
    const flood::TopTransaction& from = transactions_[next_];
    bytes += from.transaction.size();
    if (bytes > kCoreChunkBytesMax && part.transactions_size() > 0) break;
    v1::TopTransaction* to = part.add_transactions();
    to->set_transaction(std::string(from.transaction.view()));
    to->set_hash(ToBytes(from.hash.view()));
    v1::Bid* bid = to->mutable_bid();
    bid->set_fee(from.bid.fee);
    bid->set_operations(from.bid.operations);
    bid->set_lane(from.bid.lane == Lane::kSoroban ? v1::LANE_SOROBAN : v1::LANE_CLASSIC);
    ++next_;
  }
  wrote_part_ = true;
  return Encode(part);
}

void TopTransactionsCall::OnTaken(Time /*now*/) {
  if (wrote_part_ && next_ == transactions_.size()) call_.Finish(grpc::Status::OK);
}

void ReleaseFencedTops(Time now, CoreSessions& /*sessions*/, CoreSession* session) {
  std::vector<TopTransactionsCall*> ready;
  std::erase_if(session->fenced_tops, [&](TopTransactionsCall* call) {
    if (call->fence() > session->last_number) return false;
    ready.push_back(call);
    return true;
  });
  for (TopTransactionsCall* call : ready) call->Ask(now);
}

}  // namespace overlay::server
