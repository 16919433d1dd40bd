#include "server/transactions_call.h"

#include <fmt/format.h>

#include <utility>

#include "server/attach_call.h"
#include "server/unary_calls.h"

namespace overlay::server {
namespace {

constexpr size_t kObserverQueueMax = 2000;

v1::SubmitResult::Outcome ToOutcome(flood::SubmitOutcome outcome) {
  switch (outcome) {
    case flood::SubmitOutcome::kAdded:
      return v1::SubmitResult::OUTCOME_ADDED;
    case flood::SubmitOutcome::kDuplicate:
      return v1::SubmitResult::OUTCOME_DUPLICATE;
    case flood::SubmitOutcome::kFeeTooLow:
      return v1::SubmitResult::OUTCOME_FEE_TOO_LOW;
    case flood::SubmitOutcome::kFull:
      return v1::SubmitResult::OUTCOME_FULL;
    case flood::SubmitOutcome::kRejectedRecently:
      return v1::SubmitResult::OUTCOME_REJECTED_RECENTLY;
    case flood::SubmitOutcome::kMalformed:
      return v1::SubmitResult::OUTCOME_MALFORMED;
    case flood::SubmitOutcome::kTooLarge:
      return v1::SubmitResult::OUTCOME_TOO_LARGE;
  }
  return v1::SubmitResult::OUTCOME_UNSPECIFIED;
}

std::optional<flood::TxJudgement> ToJudgement(v1::TransactionVerdict::Verdict verdict) {
  switch (verdict) {
    case v1::TransactionVerdict::VERDICT_VALID:
      return flood::TxJudgement::kValid;
    case v1::TransactionVerdict::VERDICT_MALFORMED:
      return flood::TxJudgement::kMalformed;
    case v1::TransactionVerdict::VERDICT_STALE:
      return flood::TxJudgement::kStale;
    case v1::TransactionVerdict::VERDICT_LATER:
      return flood::TxJudgement::kLater;
    default:
      return std::nullopt;
  }
}

}  // namespace

bool ReadBid(const v1::Bid& bid, const std::string& field, std::optional<flood::Bid>* out,
             v1::Error* error) {
  if (bid.lane() != v1::LANE_CLASSIC && bid.lane() != v1::LANE_SOROBAN) {
    *error =
        MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".lane",
                  fmt::format("{}", static_cast<int>(bid.lane())), "LANE_CLASSIC or LANE_SOROBAN");
    return false;
  }
  if (bid.operations() == 0) {
    *error =
        MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".operations", "0", "at least 1");
    return false;
  }
  if (bid.fee() < 0) {
    *error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".fee",
                       fmt::format("{}", bid.fee()), "at least 0");
    return false;
  }
  *out = flood::Bid{bid.fee(), bid.operations(),
                    bid.lane() == v1::LANE_SOROBAN ? Lane::kSoroban : Lane::kClassic};
  return true;
}

void TransactionsCall::OnOpened(Time now) {
  if (session_->transactions != nullptr) {
    call_.Finish({grpc::StatusCode::ALREADY_EXISTS,
                  "Transactions: this session has its Transactions call already"});
    return;
  }
  session_->transactions = this;
  Pump(now);
  if (session_->observer || session_->tx_room_given >= kTransactionsWindow) return;
  const uint32_t room = kTransactionsWindow - static_cast<uint32_t>(session_->tx_room_given);
  session_->tx_room_given += room;
  sessions_.node().OnCoreInput(now, flood::CoreRoom{flood::CoreStream::kTransactions, room});
}

void TransactionsCall::OnClosed(Time /*now*/) {
  if (session_->transactions == this) session_->transactions = nullptr;
}

void TransactionsCall::OnHalfClosed(Time now) {
  half_closed_ = true;
  if (session_ == nullptr || session_->transactions != this) return;
  // The core wants no more of this call: what it was still to hear is void with it.
  session_->transactions = nullptr;
  call_.Finish(grpc::Status::OK);
  Pump(now);
}

bool TransactionsCall::MayRead() const {
  // What is not read has no answer, so that the core says it to the next daemon.
  return !sessions_.draining() && !half_closed_ && !out_.is_half_full() &&
         session_->submissions_open < kSubmissionsUnansweredMax &&
         results_.size() < kSubmissionsUnansweredMax;
}

void TransactionsCall::OnMessage(Time now, const grpc::ByteBuffer& message) {
  // The read that was outstanding when the drain began takes one more message, which counts as not
  // read: a mempool that ends within the second is no place for it.
  if (session_ == nullptr || sessions_.draining()) return;
  SessionCounters& counters = sessions_.mutable_counters();
  ++counters.tx_messages_up;
  counters.tx_bytes_up += message.Length();
  v1::TransactionsUp up;
  if (!Decode(message, &up)) {
    ++counters.refused_malformed;
    FinishNotProtobuf("TransactionsUp");
    return;
  }
  if (session_->observer && up.message_case() != v1::TransactionsUp::MESSAGE_NOT_SET) {
    Refuse(now, MakeError(grpc::StatusCode::PERMISSION_DENIED, "message", "of an observer",
                          "nothing: observers read"));
  } else {
    switch (up.message_case()) {
      case v1::TransactionsUp::kSubmit:
        OnSubmit(now, up.submit());
        break;
      case v1::TransactionsUp::kVerdict:
        OnVerdicts(now, up.verdict());
        break;
      case v1::TransactionsUp::MESSAGE_NOT_SET:
        Refuse(now, MakeError(grpc::StatusCode::INVALID_ARGUMENT, "message", "not set",
                              "submit or verdict"));
        break;
    }
  }
  if (session_ != nullptr) ReleaseFencedTops(now, sessions_, session_);
  sessions_.MarkDirty();
}

bool TransactionsCall::TakeNumber(Time now, uint64_t number, const std::string& field) {
  if (number > session_->last_number) {
    session_->last_number = number;
    return true;
  }
  Refuse(now,
         MakeError(grpc::StatusCode::OUT_OF_RANGE, field, fmt::format("{}", number),
                   fmt::format("a number above {}", session_->last_number)),
         number);
  return false;
}

void TransactionsCall::OnSubmit(Time now, const v1::SubmitBatch& batch) {
  if (batch.submissions_size() == 0 ||
      batch.submissions_size() > static_cast<int>(kBatchEntriesMax)) {
    Refuse(now, MakeError(grpc::StatusCode::INVALID_ARGUMENT, "submit.submissions",
                          fmt::format("{} entries", batch.submissions_size()),
                          fmt::format("1 to {} entries", kBatchEntriesMax)));
    return;
  }
  size_t total = 0;
  for (const v1::Submission& submission : batch.submissions())
    total += submission.transaction().size();
  if (total > kCoreChunkBytesMax && batch.submissions_size() > 1) {
    Refuse(now, MakeError(grpc::StatusCode::INVALID_ARGUMENT, "submit.submissions",
                          fmt::format("{} bytes in all", total),
                          fmt::format("at most {} bytes in all, or one transaction",
                                      kCoreChunkBytesMax)));
    return;
  }
  flood::SubmitTransactions input;
  input.submissions.reserve(static_cast<size_t>(batch.submissions_size()));
  for (int i = 0; i < batch.submissions_size(); ++i) {
    const v1::Submission& submission = batch.submissions(i);
    const std::string field = fmt::format("submit.submissions[{}]", i);
    if (!TakeNumber(now, submission.number(), field + ".number")) continue;
    flood::Submission entry;
    entry.number = submission.number();
    v1::Error error;
    if (submission.transaction().empty()) {
      error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".transaction", "0 bytes",
                        "a TransactionEnvelope");
      Refuse(now, std::move(error), submission.number());
      continue;
    }
    if (submission.has_bid() && !ReadBid(submission.bid(), field + ".bid", &entry.bid, &error)) {
      Refuse(now, std::move(error), submission.number());
      continue;
    }
    entry.transaction = Bytes::Copy(std::string_view(submission.transaction()));
    input.submissions.push_back(std::move(entry));
  }
  if (input.submissions.empty()) return;
  session_->submissions_open += input.submissions.size();
  sessions_.node().OnCoreInput(now, std::move(input));
}

void TransactionsCall::OnVerdicts(Time now, const v1::VerdictBatch& batch) {
  if (batch.verdicts_size() == 0 || batch.verdicts_size() > static_cast<int>(kBatchEntriesMax)) {
    Refuse(now,
           MakeError(grpc::StatusCode::INVALID_ARGUMENT, "verdict.verdicts",
                     fmt::format("{} entries", batch.verdicts_size()),
                     fmt::format("1 to {} entries", kBatchEntriesMax)),
           batch.number());
    return;
  }
  if (!TakeNumber(now, batch.number(), "verdict.number")) return;
  flood::TransactionVerdicts input;
  input.number = batch.number();
  input.verdicts.reserve(static_cast<size_t>(batch.verdicts_size()));
  for (int i = 0; i < batch.verdicts_size(); ++i) {
    const v1::TransactionVerdict& verdict = batch.verdicts(i);
    const std::string field = fmt::format("verdict.verdicts[{}]", i);
    const std::optional<TxHash> hash = TxHash::FromBytes(verdict.hash());
    const std::optional<flood::TxJudgement> judgement = ToJudgement(verdict.verdict());
    v1::Error error;
    flood::TxVerdict entry;
    if (!hash) {
      Refuse(now,
             MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".hash",
                       DescribeBytes(verdict.hash()), "32 bytes"),
             batch.number());
      continue;
    }
    if (!judgement) {
      error = MakeError(grpc::StatusCode::INVALID_ARGUMENT, field + ".verdict",
                        fmt::format("{}", static_cast<int>(verdict.verdict())),
                        "a verdict other than UNSPECIFIED");
      error.set_hash(verdict.hash());
      Refuse(now, std::move(error), batch.number());
      continue;
    }
    entry.hash = *hash;
    entry.judgement = *judgement;
    if (verdict.has_bid() && !ReadBid(verdict.bid(), field + ".bid", &entry.bid, &error)) {
      error.set_hash(verdict.hash());
      Refuse(now, std::move(error), batch.number());
      continue;
    }
    input.verdicts.push_back(entry);
  }
  sessions_.node().OnCoreInput(now, std::move(input));
}

void TransactionsCall::OnResult(flood::SubmitResult result) {
  results_.push_back(std::move(result));
  sessions_.MarkDirty();
}

void TransactionsCall::Deliver(flood::DeliverTransaction delivered) {
  transaction_bytes_ += delivered.transaction.size();
  transactions_.push_back(std::move(delivered));
  sessions_.MarkDirty();
}

void TransactionsCall::DeliverToObserver(Time now, const flood::DeliverTransaction& delivered) {
  if (transactions_.size() >= kObserverQueueMax) {
    if (session_->attach != nullptr)
      session_->attach->CountLost(now, v1::TRAFFIC_CLASS_TRANSACTIONS);
    return;
  }
  Deliver(delivered);
}

std::optional<grpc::ByteBuffer> TransactionsCall::Produce() {
  std::optional<grpc::ByteBuffer> message = SessionCall::Produce();
  v1::TransactionsDown down;
  if (message) {
    // An error, encoded already.
  } else if (!results_.empty()) {
    v1::SubmitResults* results = down.mutable_results();
    while (!results_.empty() && results->results_size() < static_cast<int>(kBatchEntriesMax)) {
      flood::SubmitResult& from = results_.front();
      v1::SubmitResult* to = results->add_results();
      to->set_number(from.number);
      to->set_hash(ToBytes(from.hash.view()));
      to->set_outcome(ToOutcome(from.outcome));
      if (from.fee_wanted) to->set_fee_wanted(*from.fee_wanted);
      to->set_detail(std::move(from.detail));
      results_.pop_front();
    }
    message = Encode(down);
  } else if (!transactions_.empty()) {
    v1::ReceivedTransactions* received = down.mutable_received();
    size_t bytes = 0;
    while (!transactions_.empty() &&
           received->transactions_size() < static_cast<int>(kDeliveredEntriesMax)) {
      const flood::DeliverTransaction& from = transactions_.front();
      bytes += from.transaction.size();
      if (bytes > kCoreChunkBytesMax && received->transactions_size() > 0) break;
      v1::ReceivedTransaction* to = received->add_transactions();
      to->set_transaction(std::string(from.transaction.view()));
      to->set_hash(ToBytes(from.hash.view()));
      to->set_peer(ToBytes(from.from.view()));
      to->set_redelivered(from.redelivered);
      transaction_bytes_ -= from.transaction.size();
      transactions_.pop_front();
    }
    taken_with_write_ = static_cast<uint32_t>(received->transactions_size());
    message = Encode(down);
  }
  if (message) {
    ++sessions_.mutable_counters().tx_messages_down;
    sessions_.mutable_counters().tx_bytes_down += message->Length();
  }
  return message;
}

void TransactionsCall::OnTaken(Time now) {
  const uint32_t taken = std::exchange(taken_with_write_, 0);
  if (taken == 0 || session_->observer) return;
  session_->tx_room_given += taken;
  sessions_.node().OnCoreInput(now, flood::CoreRoom{flood::CoreStream::kTransactions, taken});
}

void TransactionsCall::OnRefused(Time now, const flood::CoreRefused& refused) {
  if (session_->submissions_open > 0 && refused.id) --session_->submissions_open;
  v1::TransactionsDown down;
  *down.mutable_error() = ToError(refused);
  Send(now, Encode(down));
}

void TransactionsCall::Refuse(Time now, v1::Error error, std::optional<uint64_t> id) {
  ++sessions_.mutable_counters().errors_answered;
  if (id) error.set_id(*id);
  v1::TransactionsDown down;
  *down.mutable_error() = std::move(error);
  // Half of the queue stops the reading; one message has 1,000 entries at most, so there is always
  // room.
  Send(now, Encode(down));
}

}  // namespace overlay::server
