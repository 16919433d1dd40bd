// Transactions: submitted, judged, proposed, forgotten.
#include <algorithm>
#include <chrono>
#include <utility>

#include "client-sdk/demo-core/core.h"
#include "client-sdk/xdr/transaction.h"
#include "client-sdk/xdr/transaction_reader.h"

namespace overlay::demo {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kSetTransactionsMax = 5000;
constexpr uint64_t kSetBytesMax = 8 << 20;
constexpr int64_t kBaseFee = 100;
// So much is made up for after a pause; the rest is not submitted.
constexpr double kBurstMax = 200;

absl::Span<const uint8_t> SpanOf(const std::string& bytes) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

TxBid BidOf(const xdr::TransactionFacts& facts) {
  return {facts.inclusion_fee, facts.operations,
          facts.is_soroban ? TxLane::kSoroban : TxLane::kClassic};
}

}  // namespace

void DemoCore::Submit(Time now) {
  if (!attached_ || now >= submit_until_) return;
  submit_due_ += ToSeconds(now - submitted_at_) * options_.transactions_per_s;
  submit_due_ = std::min(submit_due_, kBurstMax);
  submitted_at_ = now;
  std::vector<std::string> submitted;
  while (submit_due_ >= 1) {
    submit_due_ -= 1;
    const std::string transaction = transactions_.Next();
    const std::optional<xdr::TransactionFacts> facts = xdr::ReadTransaction(SpanOf(transaction));
    if (!facts || !client_->Submit(transaction, BidOf(*facts)).ok()) continue;
    const TxHash hash = HashOf<TxHash>(SpanOf(transaction));
    valid_.emplace(TxKey(facts->source, facts->sequence), hash);
    submitted.emplace_back(hash.view());
  }
  if (!submitted.empty()) report_.Say(ReportLine("submitted").Names("h", submitted).At(now));
}

void DemoCore::JudgeTransactions(const std::vector<Received>& transactions) {
  std::vector<TxVerdict> verdicts;
  verdicts.reserve(transactions.size());
  for (const Received& received : transactions) {
    TxVerdict& verdict = verdicts.emplace_back();
    verdict.hash = received.hash;
    const std::optional<xdr::TransactionFacts> facts = xdr::ReadTransaction(SpanOf(received.bytes));
    if (!facts) {
      verdict.verdict = Verdict::kMalformed;
      continue;
    }
    const TxKey key(facts->source, facts->sequence);
    const TxHash hash{received.hash};
    if (ledger_.WasUsed(key)) {
      verdict.verdict = Verdict::kStale;
    } else if (valid_.emplace(key, hash).first->second != hash) {
      verdict.verdict = Verdict::kLater;  // another one of this sequence number is there
    } else {
      verdict.verdict = Verdict::kValid;
      verdict.bid = BidOf(*facts);
    }
  }
  if (absl::Status judged = client_->Judge(verdicts); !judged.ok()) OnError(judged);
}

// Asks for transactions; behind the calls that told the daemon of the ledger before.
void DemoCore::Propose() {
  if (proposing_ || !ledger_.hash()) return;
  proposing_ = true;
  const uint64_t slot = ledger_.closed().value + 1;
  calls_.Post([this, slot] {
    TopOptions wanted;
    wanted.count_max = kSetTransactionsMax;
    wanted.bytes_max = kSetBytesMax;
    wanted.per_account = 100;
    wanted.timeout = std::chrono::milliseconds(500);
    absl::StatusOr<std::vector<TopTransaction>> top = client_->TopTransactions(wanted);
    if (!top.ok()) {
      if (absl::IsDeadlineExceeded(top.status())) {
        tasks_.Post([this] { report_.Say(ReportLine("slow").Text("what", "TopTransactions")); });
      } else {
        OnError(top.status());
      }
      top = std::vector<TopTransaction>();  // an empty ledger is better than none
    }
    tasks_.Post([this, slot, top = *std::move(top)] { Proposed(slot, top); });
  });
}

void DemoCore::Proposed(uint64_t slot, const std::vector<TopTransaction>& top) {
  if (slot != ledger_.closed().value + 1 || !ledger_.hash()) return;
  xdr::TxSet set;
  set.previous_ledger = *ledger_.hash();
  set.base_fee = kBaseFee;
  std::set<TxKey> keys;
  for (const TopTransaction& transaction : top) {
    const std::optional<xdr::TransactionFacts> facts =
        xdr::ReadTransaction(SpanOf(transaction.transaction));
    if (!facts) continue;
    const TxKey key(facts->source, facts->sequence);
    if (ledger_.WasUsed(key) || !keys.insert(key).second) continue;
    (facts->is_soroban ? set.soroban : set.classic).push_back(Bytes::Copy(transaction.transaction));
  }
  const Bytes bytes = xdr::BuildTxSet(std::move(set));
  const SetHash hash = HashOf<SetHash>(bytes.span());
  std::optional<SetContents> contents = ReadSet(bytes.span());
  const auto count = contents ? static_cast<int64_t>(contents->transactions.size()) : 0;
  tx_sets_.emplace(hash, KnownSet{slot, std::move(contents)});
  report_.Say(ReportLine("proposed")
                  .Number("s", static_cast<int64_t>(slot))
                  .Name("set", hash.view())
                  .Number("n", count));
  if (absl::Status offered =
          client_->Offer(SetType::kTxSet, hash.bytes, std::string(bytes.view()), slot);
      !offered.ok()) {
    OnError(offered);
    return;
  }
  const uint64_t close_time = std::max(ledger_.close_time() + 1, WallSeconds());
  vote_->Propose(MonotonicNow(), xdr::SignedValue(hash, close_time, options_.seed, network_));
  FollowVote();
}

// The transactions of a closed ledger.
void DemoCore::ForgetTransactions(const SetContents& contents) {
  std::vector<TxVerdict> stale;
  for (const auto& [hash, key] : contents.transactions) {
    const auto held = valid_.find(key);
    if (held == valid_.end()) continue;
    if (held->second != hash) stale.push_back({held->second.bytes, Verdict::kStale, std::nullopt});
    valid_.erase(held);
  }
  if (!stale.empty()) client_->Judge(stale).IgnoreError();
}

}  // namespace overlay::demo
