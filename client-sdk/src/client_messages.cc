// What the client sends and receives on its streams, and the calls that block.
#include <fmt/format.h>

#include <algorithm>

#include "client-sdk/src/client_impl.h"

namespace overlay::client {
namespace {

constexpr size_t kChunkBytesMax = 128 << 10;
constexpr int kHashesPerPart = 4096;
constexpr int kEntriesPerBatch = 1000;

Hash ToHash(const std::string& bytes) {
  Hash hash{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), hash.size()), hash.begin());
  return hash;
}
std::string ToBytes(const Hash& hash) { return std::string(hash.begin(), hash.end()); }

v1::SetKind ToProto(SetType type) {
  return type == SetType::kTxSet ? v1::SET_KIND_TX_SET : v1::SET_KIND_QUORUM_SET;
}
SetType ToType(v1::SetKind kind) {
  return kind == v1::SET_KIND_QUORUM_SET ? SetType::kQuorumSet : SetType::kTxSet;
}

void ToProto(const TxBid& bid, v1::Bid* out) {
  out->set_fee(bid.fee);
  out->set_operations(bid.operations);
  out->set_lane(bid.lane == TxLane::kSoroban ? v1::LANE_SOROBAN : v1::LANE_CLASSIC);
}
TxBid ToBid(const v1::Bid& bid) {
  return {bid.fee(), bid.operations(),
          bid.lane() == v1::LANE_SOROBAN ? TxLane::kSoroban : TxLane::kClassic};
}

absl::Status ToStatus(const v1::Error& error) {
  return absl::Status(
      static_cast<absl::StatusCode>(error.code()),
      fmt::format("{}: {}, expected {}", error.field(), error.value(), error.expected()));
}
absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace

// ---- SCP --------------------------------------------------------------------------------------

absl::Status ClientImpl::Broadcast(std::string_view envelope, std::optional<uint64_t> id,
                                   bool force) {
  v1::ScpUp up;
  up.mutable_broadcast()->set_envelope(envelope.data(), envelope.size());
  if (id) up.mutable_broadcast()->set_id(*id);
  up.mutable_broadcast()->set_force(force);
  absl::Status pushed = scp_.Push(std::move(up));
  if (pushed.ok()) memory_.OnBroadcast(envelope);
  return pushed;
}

absl::Status ClientImpl::RequestState(uint64_t id, uint64_t from_slot, uint32_t max_peers,
                                      bool redeliver) {
  v1::ScpUp up;
  v1::ScpRequestState* request = up.mutable_request_state();
  request->set_id(id);
  request->set_from_slot(from_slot);
  request->set_max_peers(max_peers);
  request->set_redeliver(redeliver);
  return scp_.Push(std::move(up));
}

absl::Status ClientImpl::ReplyState(uint64_t id, const std::vector<std::string>& envelopes) {
  std::vector<v1::ScpUp> parts(1);
  size_t bytes = 0;
  for (const std::string& envelope : envelopes) {
    if (bytes > 0 && bytes + envelope.size() > kChunkBytesMax) {
      parts.emplace_back();
      bytes = 0;
    }
    parts.back().mutable_state_reply()->add_envelopes(envelope);
    bytes += envelope.size();
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].mutable_state_reply()->set_request_id(id);
    parts[i].mutable_state_reply()->set_last(i + 1 == parts.size());
    if (absl::Status pushed = scp_.Push(std::move(parts[i])); !pushed.ok()) return pushed;
  }
  return absl::OkStatus();
}

absl::Status ClientImpl::JudgeEnvelope(const Hash& hash, EnvelopeVerdict verdict) {
  // A discarded envelope is forgotten by the daemon: another copy is new, and must pass here too.
  if (verdict == EnvelopeVerdict::kDiscarded) memory_.OnDiscarded(hash);
  v1::ScpUp up;
  up.mutable_verdict()->set_hash(ToBytes(hash));
  up.mutable_verdict()->set_verdict(verdict == EnvelopeVerdict::kInvalid
                                        ? v1::ScpVerdict::VERDICT_INVALID
                                        : v1::ScpVerdict::VERDICT_DISCARDED);
  return scp_.Push(std::move(up));
}

void ClientImpl::OnScp(const v1::ScpDown& down) {
  switch (down.message_case()) {
    case v1::ScpDown::kReceived: {
      const v1::ScpReceived& in = down.received();
      ReceivedEnvelope envelope;
      envelope.envelope = in.envelope();
      envelope.hash = ToHash(in.hash());
      envelope.peer = ToHash(in.peer());
      envelope.slot = in.slot();
      for (size_t at = 0; at + 32 <= in.tx_set_hashes().size(); at += 32) {
        envelope.tx_sets.push_back(ToHash(in.tx_set_hashes().substr(at, 32)));
      }
      envelope.quorum_set = ToHash(in.quorum_set_hash());
      envelope.redelivered = in.redelivered();
      const bool is_new = memory_.OnDelivered(envelope.slot, envelope.hash);
      if (is_new || envelope.redelivered) handler_->OnEnvelope(envelope);
      return;
    }
    case v1::ScpDown::kBroadcastResult: {
      const v1::ScpBroadcastResult& in = down.broadcast_result();
      handler_->OnBroadcastResult(
          {in.id(), ToHash(in.hash()), in.peers_sent(), in.peers_queued(), in.superseded()});
      return;
    }
    case v1::ScpDown::kStateDone: {
      const v1::ScpStateDone& in = down.state_done();
      handler_->OnStateDone({in.id(), in.peers_asked(), in.peers_answered(), in.peers_refused(),
                             in.envelopes_delivered()});
      return;
    }
    case v1::ScpDown::kStateWanted:
      handler_->OnStateWanted(down.state_wanted().request_id(), down.state_wanted().from_slot());
      return;
    case v1::ScpDown::kOverflow: {
      const v1::Overflow& in = down.overflow();
      OverflowNotice notice;
      notice.to_core = in.direction() == v1::Overflow::DIRECTION_TO_CORE;
      notice.count = in.count();
      if (in.has_slot_first()) notice.slot_first = in.slot_first();
      if (in.has_slot_last()) notice.slot_last = in.slot_last();
      handler_->OnOverflow(notice);
      return;
    }
    case v1::ScpDown::kError:
      handler_->OnError(ToStatus(down.error()));
      return;
    case v1::ScpDown::MESSAGE_NOT_SET:  // of a later version
      return;
  }
}

// ---- transactions -----------------------------------------------------------------------------

bool ClientImpl::JoinSubmissions(v1::TransactionsUp* batch, v1::TransactionsUp* next) {
  if (!batch->has_submit() || !next->has_submit()) return false;
  const int together = batch->submit().submissions_size() + next->submit().submissions_size();
  if (together > kEntriesPerBatch) return false;
  for (v1::Submission& submission : *next->mutable_submit()->mutable_submissions()) {
    *batch->mutable_submit()->add_submissions() = std::move(submission);
  }
  return true;
}

absl::StatusOr<uint64_t> ClientImpl::Submit(std::string_view transaction,
                                            std::optional<TxBid> bid) {
  v1::TransactionsUp up;
  v1::Submission* submission = up.mutable_submit()->add_submissions();
  submission->set_transaction(transaction.data(), transaction.size());
  if (bid) ToProto(*bid, submission->mutable_bid());
  const std::lock_guard lock(number_mutex_);
  submission->set_number(last_number_ + 1);
  // Before it is sent: the answer may be here before Push returns.
  memory_.OnSubmitted(*submission);
  if (absl::Status pushed = transactions_.Push(std::move(up)); !pushed.ok()) {
    memory_.ForgetSubmission(last_number_ + 1);
    return pushed;
  }
  return ++last_number_;
}

absl::Status ClientImpl::Judge(const std::vector<TxVerdict>& verdicts) {
  for (size_t begin = 0; begin < verdicts.size(); begin += size_t{kEntriesPerBatch}) {
    v1::TransactionsUp up;
    v1::VerdictBatch* batch = up.mutable_verdict();
    const size_t end = std::min(verdicts.size(), begin + size_t{kEntriesPerBatch});
    for (size_t i = begin; i < end; ++i) {
      v1::TransactionVerdict* out = batch->add_verdicts();
      out->set_hash(ToBytes(verdicts[i].hash));
      out->set_verdict(static_cast<v1::TransactionVerdict::Verdict>(verdicts[i].verdict));
      if (verdicts[i].bid) ToProto(*verdicts[i].bid, out->mutable_bid());
    }
    const std::lock_guard lock(number_mutex_);
    batch->set_number(last_number_ + 1);
    if (absl::Status pushed = transactions_.Push(std::move(up)); !pushed.ok()) return pushed;
    ++last_number_;
  }
  return absl::OkStatus();
}

void ClientImpl::OnTransactions(const v1::TransactionsDown& down) {
  switch (down.message_case()) {
    case v1::TransactionsDown::kResults:
      for (const v1::SubmitResult& in : down.results().results()) {
        SubmitAnswer answer;
        answer.number = in.number();
        answer.hash = ToHash(in.hash());
        answer.outcome = static_cast<SubmitOutcome>(in.outcome());
        if (!memory_.OnAnswered(std::chrono::steady_clock::now(), answer.number, answer.outcome,
                                answer.hash)) {
          continue;
        }
        if (in.has_fee_wanted()) answer.fee_wanted = in.fee_wanted();
        answer.detail = in.detail();
        handler_->OnSubmitResult(answer);
      }
      return;
    case v1::TransactionsDown::kReceived: {
      std::vector<ReceivedTransaction> batch;
      batch.reserve(static_cast<size_t>(down.received().transactions_size()));
      for (const v1::ReceivedTransaction& in : down.received().transactions()) {
        batch.push_back({in.transaction(), ToHash(in.hash()), ToHash(in.peer()), in.redelivered()});
      }
      handler_->OnTransactions(batch);
      return;
    }
    case v1::TransactionsDown::kError: {
      const v1::Error& error = down.error();
      if (error.has_id() && memory_.OnAnswered(std::chrono::steady_clock::now(), error.id(),
                                               SubmitOutcome::kMalformed, Hash{})) {
        // The refusal is the one answer of that submission.
        SubmitAnswer answer;
        answer.number = error.id();
        answer.outcome = SubmitOutcome::kMalformed;
        answer.detail = std::string(ToStatus(error).message());
        handler_->OnSubmitResult(answer);
        return;
      }
      handler_->OnError(ToStatus(error));
      return;
    }
    case v1::TransactionsDown::MESSAGE_NOT_SET:
      return;
  }
}

absl::StatusOr<std::vector<TopTransaction>> ClientImpl::TopTransactions(const TopOptions& options) {
  if (auto session = ReadySession(); !session.ok()) return session.status();
  v1::TopTransactionsRequest request;
  if (options.count_max) request.set_count_max(*options.count_max);
  if (options.bytes_max) request.set_bytes_max(*options.bytes_max);
  request.set_per_account(options.per_account);
  if (options.after_everything_sent) {
    const std::lock_guard lock(number_mutex_);
    if (last_number_ > 0) request.set_after(last_number_);
  }
  const std::unique_ptr<grpc::ClientContext> context = Context();
  context->set_deadline(std::chrono::system_clock::now() + options.timeout);
  const OpenCall open(unary_calls_, context.get());
  const auto reader = main_stub_->TopTransactions(context.get(), request);
  std::vector<TopTransaction> transactions;
  v1::TopTransactionsPart part;
  while (reader->Read(&part)) {
    for (v1::TopTransaction& in : *part.mutable_transactions()) {
      transactions.push_back(
          {std::move(*in.mutable_transaction()), ToHash(in.hash()), ToBid(in.bid())});
    }
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) return ToStatus(status);
  return transactions;
}

// ---- sets -------------------------------------------------------------------------------------

std::vector<v1::TxSetsUp> ClientImpl::OfferChunks(SetType type, const Hash& hash,
                                                  std::string_view bytes,
                                                  std::optional<uint64_t> slot) {
  std::vector<v1::TxSetsUp> chunks;
  for (size_t offset = 0; offset < bytes.size(); offset += kChunkBytesMax) {
    v1::SetOffer* offer = chunks.emplace_back().mutable_offer();
    offer->set_kind(ToProto(type));
    offer->set_hash(ToBytes(hash));
    if (slot) offer->set_slot(*slot);
    offer->set_offset(offset);
    offer->set_total_bytes(bytes.size());
    const std::string_view data = bytes.substr(offset, kChunkBytesMax);
    offer->set_data(data.data(), data.size());
  }
  return chunks;
}

absl::Status ClientImpl::Offer(SetType type, const Hash& hash, std::string bytes,
                               std::optional<uint64_t> slot) {
  if (bytes.empty()) return absl::InvalidArgumentError("bytes: empty, expected a set");
  std::vector<v1::TxSetsUp> chunks = OfferChunks(type, hash, bytes, slot);
  // First: a session that begins meanwhile says what is remembered, not what is queued.
  const bool is_new =
      memory_.OnOffered(type, hash, std::make_shared<const std::string>(std::move(bytes)), slot);
  absl::Status pushed = tx_sets_.PushAll(std::move(chunks));
  if (!pushed.ok() && is_new) memory_.ForgetOffer(type, hash);
  return pushed;
}

absl::Status ClientImpl::Fetch(SetType type, const Hash& hash, const FetchOptions& options) {
  v1::TxSetsUp up;
  v1::SetFetch* fetch = up.mutable_fetch();
  fetch->set_kind(ToProto(type));
  fetch->set_hash(ToBytes(hash));
  if (options.slot) fetch->set_slot(*options.slot);
  for (const Hash& peer : options.peers) fetch->add_peers(ToBytes(peer));
  fetch->set_sources(options.sources);
  fetch->set_until_cancelled(options.until_cancelled);
  const bool is_new = memory_.OnFetch(type, hash, *fetch);
  absl::Status pushed = tx_sets_.Push(std::move(up));
  if (!pushed.ok() && is_new) memory_.OnFetchEnded(type, hash);
  return pushed;
}

absl::Status ClientImpl::CancelFetch(SetType type, const Hash& hash) {
  v1::TxSetsUp up;
  up.mutable_cancel()->set_kind(ToProto(type));
  up.mutable_cancel()->set_hash(ToBytes(hash));
  absl::Status pushed = tx_sets_.Push(std::move(up));
  if (pushed.ok()) memory_.OnCancel(type, hash);
  return pushed;
}

void ClientImpl::OnTxSets(const v1::TxSetsDown& down) {
  switch (down.message_case()) {
    case v1::TxSetsDown::kOffered:
      handler_->OnOffered(ToType(down.offered().kind()), ToHash(down.offered().hash()));
      return;
    case v1::TxSetsDown::kAvailable:
      OnAvailable(down.available());
      return;
    case v1::TxSetsDown::kFailed: {
      const SetType type = ToType(down.failed().kind());
      const Hash hash = ToHash(down.failed().hash());
      if (!memory_.OnFetchEnded(type, hash)) return;
      handler_->OnFetchFailed(type, hash, static_cast<FetchFailure>(down.failed().reason()));
      return;
    }
    case v1::TxSetsDown::kCancelled: {
      const SetType type = ToType(down.cancelled().kind());
      const Hash hash = ToHash(down.cancelled().hash());
      if (!memory_.OnFetchEnded(type, hash)) return;
      handler_->OnFetchFailed(type, hash, FetchFailure::kCancelled);
      return;
    }
    case v1::TxSetsDown::kError: {
      const v1::Error& error = down.error();
      handler_->OnError(ToStatus(error));
      // A refused fetch has ended too.
      const SetType type = ToType(error.set_kind());
      const Hash hash = ToHash(error.hash());
      if (error.field().starts_with("fetch") && memory_.OnFetchEnded(type, hash)) {
        handler_->OnFetchFailed(type, hash, FetchFailure::kRefused);
      }
      return;
    }
    case v1::TxSetsDown::kProgress:
    case v1::TxSetsDown::MESSAGE_NOT_SET:
      return;
  }
}

void ClientImpl::OnAvailable(const v1::SetAvailable& available) {
  const std::pair<SetType, Hash> key{ToType(available.kind()), ToHash(available.hash())};
  std::string& bytes = arriving_[key];
  if (available.offset() == 0) {
    bytes.clear();
    bytes.reserve(available.total_bytes());
    arriving_peers_[key].clear();
    for (const std::string& peer : available.peers()) arriving_peers_[key].push_back(ToHash(peer));
  }
  bytes += available.data();
  if (bytes.size() < available.total_bytes()) return;
  ReceivedSet set{key.first, key.second, std::move(bytes), std::move(arriving_peers_[key])};
  arriving_.erase(key);
  arriving_peers_.erase(key);
  if (memory_.OnFetchEnded(key.first, key.second)) handler_->OnSet(std::move(set));
}

// ---- calls that block -------------------------------------------------------------------------

absl::Status ClientImpl::TxSetExternalized(const Hash& set, const std::vector<Hash>& transactions) {
  // First, and attached or not: the next daemon must not be told of what is in a ledger.
  memory_.OnExternalized(transactions);
  if (auto session = ReadySession(); !session.ok()) return session.status();
  const std::unique_ptr<grpc::ClientContext> context = Context();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  const OpenCall open(unary_calls_, context.get());
  v1::TxSetExternalizedResponse response;
  const auto writer = main_stub_->TxSetExternalized(context.get(), &response);
  v1::TxSetExternalizedPart part;
  part.set_set_hash(ToBytes(set));
  int count = 0;
  for (const Hash& hash : transactions) {
    part.mutable_tx_hashes()->append(hash.begin(), hash.end());
    if (++count < kHashesPerPart) continue;
    if (!writer->Write(part)) break;
    part.Clear();
    count = 0;
  }
  if (count > 0 || transactions.empty()) writer->Write(part);
  writer->WritesDone();
  return ToStatus(writer->Finish());
}

absl::StatusOr<std::vector<std::string>> ClientImpl::SetPeers(const PeerList& peers) {
  v1::SetPeersRequest request;
  for (const std::string& entry : peers.known) request.add_known(entry);
  for (const std::string& entry : peers.preferred) request.add_preferred(entry);
  request.set_disconnect_removed(peers.disconnect_removed);
  if (peers.closed) request.set_closed(*peers.closed);
  if (auto session = ReadySession(); !session.ok()) return session.status();
  const std::unique_ptr<grpc::ClientContext> context = Context();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  const OpenCall open(unary_calls_, context.get());
  v1::SetPeersResponse response;
  if (const grpc::Status status = main_stub_->SetPeers(context.get(), request, &response);
      !status.ok()) {
    return ToStatus(status);
  }
  std::vector<std::string> refusals;
  for (const auto* results : {&response.known(), &response.preferred()}) {
    for (const v1::PeerEntryResult& result : *results) {
      if (!result.accepted()) refusals.push_back(result.detail());
    }
  }
  if (response.applied()) memory_.OnSetPeers(request);
  return refusals;
}

}  // namespace overlay::client
