// What other validators say, and the sets that they name.
#include <algorithm>
#include <chrono>
#include <utility>

#include "client-sdk/demo-core/core.h"

namespace overlay::demo {
namespace {

absl::Span<const uint8_t> SpanOf(const std::string& bytes) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

void DemoCore::Trust(const xdr::QuorumSet& set) { trusted_.merge(NodesOf(set)); }

void DemoCore::Envelope(const std::string& bytes, const Hash& hash, Time at, bool redelivered) {
  std::optional<xdr::ScpEnvelope> envelope = xdr::DecodeEnvelope(SpanOf(bytes));
  if (!envelope || !xdr::VerifyEnvelope(SpanOf(bytes), network_)) {
    client_->JudgeEnvelope(hash, EnvelopeVerdict::kInvalid).IgnoreError();
    return;
  }
  const xdr::ScpStatement& statement = envelope->statement;
  const uint64_t slot = statement.slot.value;
  if (!trusted_.contains(statement.node)) {
    client_->JudgeEnvelope(hash, EnvelopeVerdict::kDiscarded).IgnoreError();
    return;
  }
  const uint64_t closed = ledger_.closed().value;
  if (slot + kSlotsKept < closed) return;
  if (statement.node != self_) client_->Broadcast(bytes).IgnoreError();  // R1
  report_.Say(ReportLine("seen")
                  .Number("s", static_cast<int64_t>(slot))
                  .Text("v", ToStrkey(statement.node))
                  .Name("h", EnvelopeHash{hash}.view())
                  .At(at)
                  .Flag("r", redelivered));
  heard_slot_ = std::max(heard_slot_, slot);
  if (slot <= closed) return;
  Wait(statement);
  const Time now = MonotonicNow();
  if (slot == closed + 1) {
    Judge(now);
    FollowVote();
  } else {
    IsReady(statement);  // begins to fetch what it names
  }
}

void DemoCore::Wait(const xdr::ScpStatement& statement) {
  const bool nomination = std::holds_alternative<xdr::Nominate>(statement.pledges);
  std::deque<Waiting>& list = waiting_[{statement.slot.value, statement.node, nomination}];
  list.push_back({statement, MonotonicNow()});
  if (list.size() > kWaitingMax) list.pop_front();
  std::set<uint64_t> slots;
  for (const auto& [key, waiting] : waiting_) {
    if (std::get<NodeKey>(key) == statement.node) slots.insert(std::get<uint64_t>(key));
  }
  if (slots.size() <= kSlotsAhead) return;
  for (const bool phase : {false, true}) waiting_.erase({*slots.begin(), statement.node, phase});
}

// R2: hands the vote what is ready; R6: our own first.
void DemoCore::Judge(Time now) {
  if (IsListening()) return;
  const uint64_t slot = ledger_.closed().value + 1;
  for (const bool own : {true, false}) {
    for (auto it = waiting_.lower_bound({slot, NodeKey{}, false});
         it != waiting_.end() && std::get<uint64_t>(it->first) == slot;) {
      std::deque<Waiting>& list = it->second;
      for (auto waiting = list.begin(); waiting != list.end();) {
        if ((waiting->statement.node == self_) != own || !IsReady(waiting->statement)) {
          ++waiting;
          continue;
        }
        vote_->OnStatement(now, waiting->statement);
        waiting = list.erase(waiting);
      }
      it = list.empty() ? waiting_.erase(it) : std::next(it);
    }
  }
}

bool DemoCore::IsReady(const xdr::ScpStatement& statement) {
  bool ready = !Lacks(SetType::kQuorumSet, xdr::QuorumSetHashOf(statement), statement.slot.value);
  for (const std::string& encoded : xdr::ValuesOf(statement)) {
    const std::optional<xdr::StellarValue> value = xdr::DecodeValue(encoded);
    if (!value || value->tx_set_hash.IsZero()) continue;  // the vote finds it invalid, or has it
    ready &= !Lacks(SetType::kTxSet, value->tx_set_hash, statement.slot.value);
  }
  return ready;
}

bool DemoCore::Lacks(SetType type, const SetHash& hash, uint64_t slot) {
  const bool known =
      type == SetType::kTxSet ? tx_sets_.contains(hash) : quorum_sets_.Find(hash) != nullptr;
  if (known) return false;
  if (fetching_.contains({type, hash})) return true;
  FetchOptions how;
  if (type == SetType::kTxSet) how.slot = slot;
  if (client_->Fetch(type, hash.bytes, how).ok()) {
    fetching_.emplace(std::pair(type, hash), Fetching{slot, MonotonicNow()});
  }
  return true;
}

void DemoCore::SetArrived(const ReceivedSet& set) {
  const SetHash hash{set.hash};
  const auto fetch = fetching_.find({set.type, hash});
  if (fetch == fetching_.end() || HashOf<SetHash>(SpanOf(set.bytes)) != hash) return;
  const Time now = MonotonicNow();
  const uint64_t slot = fetch->second.slot;
  ReportLine line("fetched");
  line.Number("s", static_cast<int64_t>(slot)).Name("set", hash.view());
  line.Number("us", ToMicros(now - fetch->second.since));
  line.Text("kind", set.type == SetType::kTxSet ? "tx" : "quorum").At(now);
  report_.Say(line);
  fetching_.erase(fetch);
  if (set.type == SetType::kTxSet) {
    KnownSet known{slot, ReadSet(SpanOf(set.bytes))};
    if (!known.contents) {
      report_.Say(ReportLine("refused_set")
                      .Number("s", static_cast<int64_t>(slot))
                      .Name("set", hash.view())
                      .Text("why", "it does not decode"));
    }
    tx_sets_.emplace(hash, std::move(known));
  } else if (const auto quorum_set = xdr::DecodeQuorumSet(SpanOf(set.bytes))) {
    if (quorum_sets_.Add(*quorum_set)) Trust(*quorum_set);
  }
  Judge(now);
  FollowVote();
}

bool DemoCore::IsValid(const std::string& encoded) {
  const auto known = validity_.find(encoded);
  if (known != validity_.end()) return known->second;
  const auto judge = [&] {
    const std::optional<xdr::StellarValue> value = xdr::DecodeValue(encoded);
    if (!value || !trusted_.contains(value->signer) || !xdr::VerifyValue(*value, network_)) {
      return false;
    }
    if (value->tx_set_hash.IsZero()) return ledger_.IsValid(*value, {}, WallSeconds());
    const auto set = tx_sets_.find(value->tx_set_hash);
    return set != tx_sets_.end() && set->second.contents &&
           ledger_.IsValid(*value, *set->second.contents, WallSeconds());
  };
  return validity_.emplace(encoded, judge()).first->second;
}

void DemoCore::ReportOverdue(Time now) {
  for (auto& [key, list] : waiting_) {
    for (Waiting& waiting : list) {
      const xdr::ScpStatement& statement = waiting.statement;
      const bool retry = std::get<0>(key) == ledger_.closed().value + 1;
      if (waiting.overdue || now - waiting.since < kSetOverdue) {
        if (retry) IsReady(statement);  // a fetch that failed is begun again
        continue;
      }
      waiting.overdue = true;
      for (const std::string& encoded : xdr::ValuesOf(statement)) {
        const std::optional<xdr::StellarValue> value = xdr::DecodeValue(encoded);
        if (!value || value->tx_set_hash.IsZero() || tx_sets_.contains(value->tx_set_hash)) {
          continue;
        }
        report_.Say(ReportLine("missing")
                        .Number("s", static_cast<int64_t>(statement.slot.value))
                        .Name("set", value->tx_set_hash.view())
                        .Text("v", ToStrkey(statement.node))
                        .At(now));
      }
    }
  }
}

void DemoCore::ForgetOld() {
  const uint64_t closed = ledger_.closed().value;
  std::erase_if(waiting_, [&](const auto& entry) { return std::get<0>(entry.first) <= closed; });
  std::erase_if(tx_sets_, [&](const auto& entry) { return entry.second.slot <= closed; });
  std::erase_if(fetching_, [&](const auto& entry) {
    return entry.first.first == SetType::kTxSet && entry.second.slot <= closed;
  });
}

}  // namespace overlay::demo
