// What TxFlood does with what the core says.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/tx_flood_impl.h"
#include "flood/xdr_skim.h"

namespace overlay::flood {
namespace {

bool IsLegal(const Bid& bid) { return bid.fee >= 0 && bid.operations >= 1; }

}  // namespace

// ---- core

void TxFlood::Impl::OnCoreAttached(Time now, const CoreAttached& attached, ActionList& out) {
  judges_ = attached.judges_transactions;
  delivers_ = attached.judges_transactions || attached.deliver_transactions;
  applied_number_ = 0;
  waiting_queries_.clear();
  memory_.OnLedgerClosed(attached.newest_closed);
  offers_.Detach();
  if (delivers_) offers_.Attach();
  Finish(now, out);
}

void TxFlood::Impl::OnCoreDetached(Time now, ActionList& out) {
  offers_.Detach();
  waiting_queries_.clear();
  applied_number_ = 0;
  Finish(now, out);
}

void TxFlood::Impl::OnCoreRoom(Time now, uint32_t messages, ActionList& out) {
  offers_.AddRoom(messages);
  Finish(now, out);
}

bool TxFlood::Impl::TakeNumber(uint64_t number, const char* field, ActionList& out) {
  if (number > applied_number_) {
    applied_number_ = number;
    return true;
  }
  out.emplace_back(CoreOutput(CoreRefused{CoreRefused::Stream::kTransactions, number, std::nullopt,
                                          field, fmt::format("{}", number),
                                          fmt::format("more than {}", applied_number_)}));
  return false;
}

void TxFlood::Impl::OnSubmit(Time now, const SubmitTransactions& batch, ActionList& out) {
  for (const Submission& submission : batch.submissions) {
    ++stats_.submitted;
    if (!TakeNumber(submission.number, "submissions.number", out)) continue;
    out.emplace_back(CoreOutput(Submit(now, submission)));
  }
  AnswerTopQueries(out);
  Finish(now, out);
}

SubmitResult TxFlood::Impl::Submit(Time now, const Submission& submission) {
  SubmitResult result;
  result.number = submission.number;
  if (submission.transaction.size() > limits_.transaction_bytes_max) {
    result.outcome = SubmitOutcome::kTooLarge;
    result.detail = fmt::format("{} bytes, {} at most", submission.transaction.size(),
                                limits_.transaction_bytes_max);
    return result;
  }
  result.hash = HashOf<TxHash>(submission.transaction.span());
  if (submission.bid && !IsLegal(*submission.bid)) {
    result.outcome = SubmitOutcome::kMalformed;
    result.detail =
        fmt::format("bid of {} for {} operations: a fee of 0 or more, at least 1 operation",
                    submission.bid->fee, submission.bid->operations);
    return result;
  }
  const std::optional<TxFate> fate = memory_.Find(result.hash);
  if (fate == TxFate::kExternalized || fate == TxFate::kMalformed || fate == TxFate::kStale) {
    result.outcome = SubmitOutcome::kRejectedRecently;
    result.detail = fate == TxFate::kExternalized ? "externalized"
                    : fate == TxFate::kMalformed  ? "malformed"
                                                  : "stale";
    return result;
  }
  const absl::StatusOr<TransactionSkim> skim = SkimTransaction(submission.transaction.span());
  if (!skim.ok()) {
    result.outcome = SubmitOutcome::kMalformed;
    result.detail = std::string(skim.status().message());
    return result;
  }
  TxRecord record;
  record.hash = result.hash;
  record.body = submission.transaction;
  record.bid = submission.bid.value_or(Bid{skim->fee, skim->operations, skim->lane});
  record.account = skim->source;
  record.sequence = skim->sequence;
  record.arrived = now;
  return SubmitNew(now, std::move(record), std::move(result));
}

SubmitResult TxFlood::Impl::SubmitNew(Time now, TxRecord record, SubmitResult result) {
  std::optional<TxIndex> index = table_.Find(record.hash);
  const bool was_pending = index && table_[*index].pending;
  if (index && !was_pending) {
    result.outcome = SubmitOutcome::kDuplicate;
    return result;
  }
  if (memory_pressed_ && !was_pending) {
    ++stats_.submissions_without_memory;
    result.outcome = SubmitOutcome::kFull;
    result.detail = "memory is short";
    return result;
  }
  if (was_pending) {
    offers_.Remove(*index);
    table_[*index].bid = record.bid;
  } else {
    std::vector<PeerId> announcers;
    tracker_.Forget(record.hash, &announcers);
    memory_.Forget(record.hash);
    index = table_.Add(std::move(record));
    for (PeerId id : announcers) table_.SetKnows(*index, Find(id)->slot);
  }
  const Mempool::AddResult added = AdmitToPool(now, *index);
  switch (added.outcome) {
    case Mempool::Outcome::kAdded:
      result.outcome = was_pending ? SubmitOutcome::kDuplicate : SubmitOutcome::kAdded;
      return result;
    case Mempool::Outcome::kFeeTooLow:
      result.outcome = SubmitOutcome::kFeeTooLow;
      result.fee_wanted = added.fee_wanted;
      result.detail = fmt::format("a fee of {} would do now", added.fee_wanted);
      break;
    case Mempool::Outcome::kAccountFull:
      result.outcome = SubmitOutcome::kFull;
      result.detail = fmt::format("its account has {} already", limits_.mempool_per_account_max);
      break;
    case Mempool::Outcome::kNoRoom:
      result.outcome = SubmitOutcome::kFull;
      result.detail = "larger than its lane of the mempool";
      break;
  }
  Remove(*index);
  return result;
}

void TxFlood::Impl::OnVerdicts(Time now, const TransactionVerdicts& batch, ActionList& out) {
  if (TakeNumber(batch.number, "verdict.number", out)) {
    for (const TxVerdict& verdict : batch.verdicts) Judge(now, batch.number, verdict, out);
    AnswerTopQueries(out);
  }
  Finish(now, out);
}

void TxFlood::Impl::Judge(Time now, uint64_t number, const TxVerdict& verdict, ActionList& out) {
  if (verdict.bid && !IsLegal(*verdict.bid)) {
    out.emplace_back(CoreOutput(CoreRefused{
        CoreRefused::Stream::kTransactions, number, std::nullopt, "verdict.verdicts.bid",
        fmt::format("{} for {} operations", verdict.bid->fee, verdict.bid->operations),
        "a fee of 0 or more, at least 1 operation"}));
    return;
  }
  switch (verdict.judgement) {
    case TxJudgement::kValid:
      ++stats_.verdict_valid;
      break;
    case TxJudgement::kMalformed:
      ++stats_.verdict_malformed;
      break;
    case TxJudgement::kStale:
      ++stats_.verdict_stale;
      break;
    case TxJudgement::kLater:
      ++stats_.verdict_later;
      break;
  }
  if (const std::optional<TxIndex> index = table_.Find(verdict.hash)) {
    JudgeHeld(now, *index, verdict, out);
  } else {
    JudgeUnknown(verdict);
  }
}

void TxFlood::Impl::JudgeHeld(Time now, TxIndex index, const TxVerdict& verdict, ActionList& out) {
  TxRecord& record = table_[index];
  switch (verdict.judgement) {
    case TxJudgement::kValid:
      if (record.pending) {
        offers_.Remove(index);
        if (verdict.bid) record.bid = *verdict.bid;
        AdmitPending(now, index);
      } else if (verdict.bid) {
        const TxRef ref = table_.Ref(index);
        std::vector<TxIndex> displaced;
        mempool_.Rebid(index, *verdict.bid, displaced);
        DropDisplaced(displaced);
        if (table_.Resolve(ref)) advertiser_.Announce(index);
      }
      return;
    case TxJudgement::kMalformed:
      if (record.sender && peers_.contains(*record.sender)) {
        out.emplace_back(PeerOffence{*record.sender, Offence::kMalformedTransaction});
      }
      Refuse(index, TxFate::kMalformed);
      return;
    case TxJudgement::kStale:
      Refuse(index, TxFate::kStale);
      return;
    case TxJudgement::kLater:
      Refuse(index, TxFate::kLater);
      return;
  }
}

void TxFlood::Impl::JudgeUnknown(const TxVerdict& verdict) {
  switch (verdict.judgement) {
    case TxJudgement::kValid:
      memory_.Forget(verdict.hash);
      return;
    case TxJudgement::kMalformed:
    case TxJudgement::kStale: {
      const bool malformed = verdict.judgement == TxJudgement::kMalformed;
      memory_.Remember(verdict.hash, malformed ? TxFate::kMalformed : TxFate::kStale);
      tracker_.Forget(verdict.hash);
      return;
    }
    case TxJudgement::kLater:
      return;
  }
}

void TxFlood::Impl::OnLedgerClosed(Time now, LedgerSeq closed, ActionList& out) {
  memory_.OnLedgerClosed(closed);
  Finish(now, out);
}

void TxFlood::Impl::OnTxSetExternalized(Time now, const TxSetExternalized& externalized,
                                        ActionList& out) {
  Externalizing& begun = externalizing_.emplace_back();
  begun.input = externalized;
  begun.applied.id = externalized.id;
  ApplyExternalized(out);
  Finish(now, out);
}

void TxFlood::Impl::ApplyExternalized(ActionList& out) {
  size_t left = kExternalizedPerTurn;
  while (!externalizing_.empty()) {
    Externalizing& under_way = externalizing_.front();
    const std::vector<TxHash>& hashes = under_way.input.transactions;
    for (; under_way.next < hashes.size() && left > 0; ++under_way.next, --left) {
      const TxHash& hash = hashes[under_way.next];
      memory_.Remember(hash, TxFate::kExternalized);
      tracker_.Forget(hash);
      if (const std::optional<TxIndex> index = table_.Find(hash)) {
        ++under_way.applied.removed;
        ++stats_.externalized;
        Remove(*index);
      } else {
        ++under_way.applied.unknown;
      }
    }
    if (under_way.next < hashes.size()) return;
    out.emplace_back(CoreOutput(under_way.applied));
    externalizing_.pop_front();
  }
}

void TxFlood::Impl::OnTopQuery(const TopQuery& query, ActionList& out) {
  if (query.after <= applied_number_) {
    AnswerTop(query, out);
  } else if (waiting_queries_.size() < kTopQueriesWaitingMax) {
    waiting_queries_.push_back(query);
  } else {
    out.emplace_back(
        CoreOutput(CoreRefused{CoreRefused::Stream::kTransactions, query.id, std::nullopt, "after",
                               fmt::format("{}", query.after),
                               fmt::format("at most {} calls that wait", kTopQueriesWaitingMax)}));
  }
}

void TxFlood::Impl::OnCancelTopQuery(const CancelTopQuery& cancel) {
  std::erase_if(waiting_queries_, [&](const TopQuery& query) { return query.id == cancel.id; });
}

void TxFlood::Impl::AnswerTopQueries(ActionList& out) {
  std::erase_if(waiting_queries_, [&](const TopQuery& query) {
    if (query.after > applied_number_) return false;
    AnswerTop(query, out);
    return true;
  });
}

void TxFlood::Impl::AnswerTop(const TopQuery& query, ActionList& out) const {
  out.emplace_back(CoreOutput(TopSnapshot{query.id, applied_number_, mempool_.Top(query)}));
}

}  // namespace overlay::flood
