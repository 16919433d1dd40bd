#include "client-sdk/demo-core/core.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace overlay::demo {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTick = 20ms;
// No tick for so long: the process was stopped.
constexpr Duration kStoppedFor = 1s;
// Faults begin when the network is in motion.
constexpr uint64_t kSabotageFromSlot = 3;

}  // namespace

DemoCore::DemoCore(const CoreOptions& options, TxSource transactions, const Report& report)
    : options_(options),
      network_(NetworkIdOf(options.passphrase)),
      self_(PublicKeyOf(options.seed)),
      quorum_set_hash_(HashOfQuorumSet(options.quorum_set)),
      report_(report),
      federation_(options_.quorum_set, quorum_sets_),
      ledger_(network_),
      transactions_(std::move(transactions)) {
  if (options_.rejoin) vote_from_ = UINT64_MAX;
  if (options_.resume_slot != 0) ledger_.JumpTo(LedgerSeq{options_.resume_slot});
  quorum_sets_.Add(options_.quorum_set);
  Trust(options_.quorum_set);
}

DemoCore::~DemoCore() {
  tasks_.Close();
  calls_.Close();
  if (client_ != nullptr) client_->Stop();
  if (call_thread_.joinable()) call_thread_.join();
}

absl::Status DemoCore::Run() {
  ClientOptions client_options;
  client_options.target = options_.daemon;
  client_options.network_passphrase = options_.passphrase;
  client_options.agent = "overlay-demo-core";
  client_options.newest_closed_slot = options_.resume_slot;
  client_options.judges_transactions = true;
  client_options.deliver_transactions = true;
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(client_options, this);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  if (options_.sabotage != Sabotage::kNone) {
    client_ = std::make_unique<FaultyClient>(std::move(client_), options_.sabotage, self_,
                                             kSabotageFromSlot);
  }
  call_thread_ = std::thread([this] {
    while (calls_.RunOne(kTimeNever)) {
    }
  });
  closed_at_ = MonotonicNow();
  const Bytes quorum_set = xdr::EncodeQuorumSet(options_.quorum_set);
  if (absl::Status offered = client_->Offer(SetType::kQuorumSet, quorum_set_hash_.bytes,
                                            std::string(quorum_set.view()), std::nullopt);
      !offered.ok()) {
    return offered;
  }
  BeginSlot();
  client_->Start();
  while (tasks_.RunOne(NextDeadline())) Tick();
  return refused_;
}

void DemoCore::StopAfter(uint64_t slot) {
  tasks_.Post([this, slot] { stop_after_ = slot; });
}

// ---- Handler
// --------------------------------------------------------------------------------------

void DemoCore::OnEnvelope(const ReceivedEnvelope& envelope) {
  tasks_.Post([this, bytes = std::string(envelope.envelope), hash = envelope.hash,
               at = MonotonicNow(),
               redelivered = envelope.redelivered] { Envelope(bytes, hash, at, redelivered); });
}

void DemoCore::OnAttached(const SessionInfo& session) {
  tasks_.Post([this, node = session.node_strkey] {
    report_.Say(ReportLine("attached").Text("node", node).At(MonotonicNow()));
    Attached();
  });
}

void DemoCore::OnDetached(const absl::Status& why, bool final) {
  tasks_.Post([this, why, final, at = MonotonicNow()] {
    report_.Say(ReportLine("detached").Text("why", why.ToString()).Flag("final", final).At(at));
    attached_ = false;
    if (!final) return;
    refused_ = why;
    tasks_.Close();
  });
}

void DemoCore::OnPeer(const PeerChange& change) {
  tasks_.Post([this, change, at = MonotonicNow()] {
    peers_ = change.peers_connected;
    report_.Say(ReportLine("peers")
                    .Number("n", change.peers_connected)
                    .Text("peer", change.strkey)
                    .Flag("up", change.connected)
                    .Text("why", change.reason)
                    .At(at));
  });
}

void DemoCore::OnTransactions(const std::vector<ReceivedTransaction>& transactions) {
  std::vector<Received> received;
  received.reserve(transactions.size());
  for (const ReceivedTransaction& in : transactions) {
    received.push_back({std::string(in.transaction), in.hash});
  }
  tasks_.Post([this, received = std::move(received)] { JudgeTransactions(received); });
}

void DemoCore::OnSubmitResult(const SubmitAnswer& answer) {
  if (answer.outcome == SubmitOutcome::kAdded) return;
  tasks_.Post([this, answer] {
    report_.Say(ReportLine("refused")
                    .Name("h", TxHash{answer.hash}.view())
                    .Text("why", SubmitOutcomeName(answer.outcome)));
  });
}

void DemoCore::OnSet(ReceivedSet set) {
  tasks_.Post([this, set = std::move(set)] { SetArrived(set); });
}

void DemoCore::OnFetchFailed(SetType type, const Hash& hash, FetchFailure) {
  // Whatever still waits for it asks again at the next tick.
  tasks_.Post([this, type, hash] { fetching_.erase({type, SetHash{hash}}); });
}

void DemoCore::OnError(const absl::Status& what) {
  tasks_.Post([this, what, at = MonotonicNow()] {
    report_.Say(ReportLine("error").Text("what", what.ToString()).At(at));
  });
}

// ---- the slot under way
// -----------------------------------------------------------------------------

void DemoCore::Attached() {
  const Time now = MonotonicNow();
  attached_ = true;
  if (attached_at_ == kTimeNever) {
    attached_at_ = now;
    submitted_at_ = now;
    submit_until_ = now + options_.submit_for;
    closed_at_ = now;
  }
  calls_.Post([this] {
    client_->WaitAttached(5s);
    const auto refusals = client_->SetPeers({.known = options_.peers});
    std::vector<std::string> problems;
    if (!refusals.ok()) {
      problems.push_back(refusals.status().ToString());
    } else {
      problems = *refusals;
    }
    for (const std::string& problem : problems) {
      OnError(absl::InvalidArgumentError("SetPeers: " + problem));
    }
  });
  if (options_.rejoin) client_->RequestState(++requests_, 0).IgnoreError();
}

void DemoCore::BeginSlot() {
  const LedgerSeq slot = ledger_.closed() + 1;
  validity_.clear();
  said_.clear();
  proposing_ = false;
  vote_ = std::make_unique<Vote>(
      Vote::Options{self_, quorum_set_hash_, slot, options_.vote_timeout}, federation_,
      [this](const std::string& value) { return IsValid(value); });
}

bool DemoCore::MayVote() const {
  return options_.sabotage != Sabotage::kNoVote && ledger_.closed().value + 1 >= vote_from_;
}

Time DemoCore::NextDeadline() const {
  Time next = MonotonicNow() + kTick;
  if (!vote_->IsStarted()) next = std::min(next, slot_due_);
  return std::min(next, vote_->NextDeadline());
}

void DemoCore::Tick() {
  const Time now = MonotonicNow();
  // This process itself did not run: that the others were silent meanwhile says nothing.
  if (now - ticked_at_ >= kStoppedFor) {
    closed_at_ = asked_at_ = now;
    for (auto& [key, list] : waiting_) {
      for (Waiting& waiting : list) waiting.since = now;
    }
  }
  ticked_at_ = now;
  const size_t enough = std::max(options_.peers.size(), size_t{options_.rejoin ? 1U : 0U});
  const bool connected = peers_ >= enough || now - attached_at_ >= kPeersWithin;
  if (slot_due_ == kTimeNever && attached_ && connected) {
    slot_due_ = now + (options_.rejoin ? kSettle : Duration::zero());
    closed_at_ = now;
  }
  Submit(now);
  if (IsListening() && now >= slot_due_) {
    vote_from_ = heard_slot_;
    Judge(now);
    FollowVote();
  }
  if (vote_->IsOverdue() && slot_due_ != kTimeNever) slot_due_ = now;
  if (!vote_->IsStarted() && now >= slot_due_ && ledger_.closed().value < stop_after_) {
    vote_->Start(now);
  }
  if (now >= vote_->NextDeadline()) vote_->OnTime(now);
  FollowVote();
  CatchUp(now);
  ReportOverdue(now);
}

// Says what the vote says; closes the ledger and judges what waits for the next one, as far as it
// goes.
void DemoCore::FollowVote() {
  while (true) {
    if (vote_->WantsValue() && MayVote()) Propose();
    for (const xdr::ScpStatement& statement : vote_->DrainStatements()) Say(statement);
    if (!vote_->decided()) return;
    Externalize(*vote_->decided());
    Judge(MonotonicNow());
  }
}

void DemoCore::Say(const xdr::ScpStatement& statement) {
  const bool nomination = std::holds_alternative<xdr::Nominate>(statement.pledges);
  const bool externalize = std::holds_alternative<xdr::Externalize>(statement.pledges);
  // What others decided may be said in any slot: it is true whatever was voted for before.
  if (!MayVote() && !(externalize && options_.sabotage != Sabotage::kNoVote)) return;
  Bytes envelope = xdr::SignEnvelope(statement, options_.seed, network_);
  const Time now = MonotonicNow();
  if (absl::Status sent = client_->Broadcast(envelope.view()); !sent.ok()) OnError(sent);
  report_.Say(ReportLine("sent")
                  .Number("s", static_cast<int64_t>(statement.slot.value))
                  .Text("p", nomination ? "nomination" : "ballot")
                  .Name("h", HashOf<EnvelopeHash>(envelope.span()).view())
                  .At(now));
  said_.insert_or_assign(nomination, std::move(envelope));
}

void DemoCore::Externalize(const std::string& encoded) {
  const std::optional<xdr::StellarValue> value = xdr::DecodeValue(encoded);
  const auto set = tx_sets_.find(value->tx_set_hash);
  const SetContents contents =
      set != tx_sets_.end() && set->second.contents ? *set->second.contents : SetContents{};
  const LedgerHash hash = ledger_.Close(*value, contents);
  const uint64_t slot = ledger_.closed().value;
  const Time now = MonotonicNow();

  ForgetTransactions(contents);
  std::vector<std::string> names;
  std::vector<Hash> hashes;
  for (const auto& [tx_hash, key] : contents.transactions) {
    names.emplace_back(tx_hash.view());
    hashes.push_back(tx_hash.bytes);
  }
  report_.Say(ReportLine("closed")
                  .Number("s", static_cast<int64_t>(slot))
                  .Name("hash", hash.view())
                  .Name("set", value->tx_set_hash.view())
                  .Names("txs", names)
                  .At(now));
  const bool tracking = heard_slot_ <= slot + 1;
  calls_.Post([this, slot, hash, tracking, set_hash = value->tx_set_hash,
               hashes = std::move(hashes)] {  // R4
    if (absl::Status told = client_->TxSetExternalized(set_hash.bytes, hashes); !told.ok()) {
      OnError(absl::Status(told.code(), "TxSetExternalized: " + std::string(told.message())));
    }
    client_->LedgerClosed(slot, hash.bytes, tracking, {}).IgnoreError();
  });
  // The next slot begins a ledger's time after this one began, at once if that is over. Others that
  // are done before we began are ahead: we follow them.
  if (vote_->IsStarted()) slot_due_ = slot_due_ + options_.ledger_every;
  slot_due_ = slot_due_ == kTimeNever ? now : std::max(slot_due_, now);
  closed_at_ = now;
  BeginSlot();
  ForgetOld();
}

void DemoCore::CatchUp(Time now) {
  if (slot_due_ == kTimeNever || now - closed_at_ < kAskAfter ||
      ledger_.closed().value >= stop_after_)
    return;
  if (now - asked_at_ >= kAskAfter) {
    asked_at_ = now;
    client_->RequestState(++requests_, ledger_.closed().value + 1).IgnoreError();
    for (const auto& [nomination, envelope] : said_) {
      client_->Broadcast(envelope.view(), std::nullopt, /*force=*/true).IgnoreError();
    }
  }
  if (now - closed_at_ < kJumpAfter) return;
  // R5: the lowest later slot that enough others have externalized.
  std::map<uint64_t, std::set<NodeKey>> externalized;
  for (const auto& [key, list] : waiting_) {
    const auto& [slot, node, nomination] = key;
    for (const Waiting& waiting : list) {
      if (std::holds_alternative<xdr::Externalize>(waiting.statement.pledges)) {
        externalized[slot].insert(node);
      }
    }
  }
  for (auto& [slot, nodes] : externalized) {
    nodes.insert(self_);
    if (slot <= ledger_.closed().value + 1 || !IsSlice(options_.quorum_set, nodes)) continue;
    ledger_.JumpTo(LedgerSeq{slot - 1});
    report_.Say(ReportLine("jumped").Number("s", static_cast<int64_t>(slot - 1)));
    closed_at_ = now;
    BeginSlot();
    ForgetOld();
    Judge(now);
    FollowVote();
    return;
  }
}

}  // namespace overlay::demo
