#include "tests/sim/fake_core.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "flood/base/limits.h"
#include "fmt/format.h"

namespace overlay::sim {
namespace {

// Messages that the core lets wait for it; each that it takes makes room for another.
constexpr uint32_t kRoom = 64;
constexpr uint32_t kProposalCountMax = 50;
// Validators in a core's quorum set: each core has another one.
constexpr size_t kQuorumMin = 3;

}  // namespace

FakeCore::FakeCore(size_t index, uint64_t slots_remembered, XdrBuilder& build, Checkers& checkers,
                   SetContents& contents, Trace& trace)
    : index_(index),
      slots_remembered_(slots_remembered),
      build_(build),
      checkers_(checkers),
      contents_(contents),
      trace_(trace) {
  const Bytes bytes = build_.QuorumSetOf(kQuorumMin + index);
  quorum_set_ = Offer(SetKind::kQuorumSet, bytes, std::nullopt);
}

void FakeCore::Say(flood::CoreInput input) {
  if (!attached_) return;
  trace_.Add(input.index());
  input_(std::move(input));
}

// ---- the session

void FakeCore::Attach() {
  if (input_ == nullptr || attached_) return;
  attached_ = true;
  checkers_.OnAttached(index_);
  Say(flood::CoreAttached{.judges_transactions = true,
                          .deliver_transactions = true,
                          .state_policy = flood::StatePolicy::kCache,
                          .newest_closed = newest_closed_});
  if (newest_closed_ > LedgerSeq{0})
    Say(flood::LedgerClosed{.seq = newest_closed_, .hash = std::nullopt, .keep_slots = {}});
  for (const auto& [key, offer] : offers_) SendOffer(key);
  for (const Remembered& remembered : broadcasts_) Broadcast(remembered.envelope);
  for (const auto& [hash, transaction] : submissions_) SendSubmission(transaction);
  if (behaviour_.reads) {
    Say(flood::CoreRoom{flood::CoreStream::kScp, kRoom});
    Say(flood::CoreRoom{flood::CoreStream::kTransactions, kRoom});
  }
  for (const auto& [key, slot] : wanted_) {
    fetching_.insert(key);
    Say(flood::FetchSet{.key = key, .slot = slot, .peers = {}});
  }
}

void FakeCore::Detach() {
  Say(flood::CoreDetached{});
  EndSession();
}

void FakeCore::OnDaemonGone() {
  EndSession();
  peers_.clear();
}

void FakeCore::EndSession() {
  attached_ = false;
  fetching_.clear();
  proposals_.clear();
  nominate_when_offered_.clear();
}

// ---- what a core does

void FakeCore::Broadcast(const Bytes& envelope) {
  const uint64_t id = next_id_++;
  checkers_.OnBroadcast(index_, HashOf<EnvelopeHash>(envelope.span()));
  checkers_.OnAsked(index_, 'b', id);
  Say(flood::BroadcastEnvelope{.id = id, .envelope = envelope});
}

EnvelopeHash FakeCore::Author(StatementKind kind, LedgerSeq slot, uint32_t counter) {
  const auto vote = votes_.find(slot);
  const SetHash set = vote == votes_.end() ? SetHash{} : vote->second;
  const Bytes envelope = build_.Envelope(kind, slot, index_, counter, set, quorum_set_.hash);
  const EnvelopeKey key{
      .author = index_, .slot = slot, .nomination = kind == StatementKind::kNominate};
  std::vector<SetKey> names = {quorum_set_};
  if (!set.IsZero()) names.push_back({SetKind::kTxSet, set});
  if (!attached_) return {};  // a core without its daemon says nothing to anybody
  checkers_.OnAuthored(key, envelope, names);
  broadcasts_.push_back({slot, envelope});
  Broadcast(envelope);
  return HashOf<EnvelopeHash>(envelope.span());
}

SetKey FakeCore::Offer(SetKind kind, Bytes bytes, std::optional<LedgerSeq> slot) {
  const SetKey key{kind, HashOf<SetHash>(bytes.span())};
  checkers_.OnOffered(index_, key, bytes);
  offers_[key] = {slot, std::move(bytes)};
  if (attached_) SendOffer(key);
  return key;
}

void FakeCore::SendOffer(const SetKey& key) {
  const auto& [slot, bytes] = offers_.at(key);
  for (size_t offset = 0; offset < bytes.size(); offset += kCoreChunkBytesMax) {
    Say(flood::OfferChunk{.key = key,
                          .slot = slot,
                          .total_bytes = bytes.size(),
                          .offset = offset,
                          .data = bytes.Slice(offset, kCoreChunkBytesMax)});
  }
}

void FakeCore::OfferFirstChunk(const Bytes& bytes, std::optional<LedgerSeq> slot) {
  Say(flood::OfferChunk{.key = {SetKind::kTxSet, HashOf<SetHash>(bytes.span())},
                        .slot = slot,
                        .total_bytes = bytes.size(),
                        .offset = 0,
                        .data = bytes.Slice(0, kCoreChunkBytesMax)});
}

void FakeCore::Fetch(const SetKey& key, std::optional<LedgerSeq> slot, std::vector<NodeKey> peers) {
  if (checkers_.HasSet(index_, key)) return;
  wanted_.emplace(key, slot);
  if (!attached_ || !fetching_.insert(key).second) return;
  Say(flood::FetchSet{.key = key, .slot = slot, .peers = std::move(peers)});
}

TxHash FakeCore::Submit(const Bytes& transaction) {
  const auto hash = HashOf<TxHash>(transaction.span());
  checkers_.OnSubmitted(index_, transaction);
  submissions_[hash] = transaction;
  if (attached_) SendSubmission(transaction);
  return hash;
}

void FakeCore::SendSubmission(const Bytes& transaction) {
  const uint64_t number = next_number_++;
  checkers_.OnAsked(index_, 's', number);
  Say(flood::SubmitTransactions{
      {{.number = number, .transaction = transaction, .bid = std::nullopt}}});
}

void FakeCore::Propose(LedgerSeq slot) {
  if (!attached_) return;
  const uint64_t id = next_id_++;
  proposals_[id] = slot;
  checkers_.OnAsked(index_, 't', id);
  Say(flood::TopQuery{.id = id, .count_max = kProposalCountMax, .after = next_number_ - 1});
}

void FakeCore::Close(LedgerSeq slot, bool tracking) {
  newest_closed_ = std::max(newest_closed_, slot);
  const auto vote = votes_.find(slot);
  if (vote != votes_.end() && attached_) {
    const std::vector<TxHash>& transactions = contents_[vote->second];
    for (const TxHash& hash : transactions) {
      submissions_.erase(hash);
      checkers_.OnExternalized(hash);
    }
    const uint64_t id = next_id_++;
    checkers_.OnAsked(index_, 'e', id);
    Say(flood::TxSetExternalized{.id = id, .set = vote->second, .transactions = transactions});
  }
  Say(flood::LedgerClosed{
      .seq = slot, .hash = std::nullopt, .tracking = tracking, .keep_slots = {}});
  ForgetSlots();
}

void FakeCore::Judge(const TxHash& transaction, flood::TxJudgement judgement) {
  Say(flood::TransactionVerdicts{.number = next_number_++,
                                 .verdicts = {{transaction, judgement, std::nullopt}}});
}

void FakeCore::ForgetSlots() {
  const LedgerSeq oldest = newest_closed_ - (slots_remembered_ - 1);
  std::erase_if(broadcasts_, [&](const Remembered& r) { return r.slot < oldest; });
  std::erase_if(offers_, [&](const auto& o) { return o.second.first && *o.second.first < oldest; });
  std::erase_if(wanted_, [&](const auto& w) { return w.second && *w.second < oldest; });
  std::erase_if(votes_, [&](const auto& v) { return v.first < oldest; });
}

// ---- what it is told

void FakeCore::OnCoreOutput(Time now, flood::CoreOutput output) {
  trace_.Add(now);
  trace_.Add(output.index());
  // The file's and the operator's peers are the edge's own business.
  if (const auto* peers = std::get_if<flood::PeersConfigured>(&output)) {
    if (peers->source != flood::PeerEntrySource::kCore) return;
  }
  if (std::holds_alternative<flood::OperatorAnswered>(output)) return;
  if (!attached_) {
    checkers_.Fail(
        fmt::format("node {}: output {} for a core that is not attached", index_, output.index()));
    return;
  }
  std::visit(
      [this](const auto& said) {
        using Said = std::decay_t<decltype(said)>;
        if constexpr (std::is_same_v<Said, flood::BroadcastResult>) {
          checkers_.OnAnswered(index_, 'b', said.id);
        } else if constexpr (std::is_same_v<Said, flood::SubmitResult>) {
          checkers_.OnAnswered(index_, 's', said.number);
        } else if constexpr (std::is_same_v<Said, flood::ExternalizedApplied>) {
          checkers_.OnAnswered(index_, 'e', said.id);
        } else if constexpr (requires { On(said); }) {
          On(said);
        }
      },
      output);
}

void FakeCore::OnPeerNews(Time now, const flood::PeerNews& news) {
  trace_.Add(now);
  trace_.Add(news.index());
  if (const auto* up = std::get_if<flood::PeerUp>(&news)) {
    ++connects_[up->info.key];
    if (!peers_.emplace(up->peer, up->info.key).second) {
      checkers_.Fail(fmt::format("node {}: a peer came up twice", index_));
    }
  } else if (const auto* down = std::get_if<flood::PeerDown>(&news)) {
    if (peers_.erase(down->peer) == 0) {
      checkers_.Fail(fmt::format("node {}: a peer went that was not there", index_));
    }
  }
}

void FakeCore::On(const flood::DeliverEnvelope& delivered) {
  checkers_.OnDelivered(index_, delivered);
  trace_.Add(delivered.hash.span());
  if (checkers_.IsForged(delivered.hash)) {
    // As an envelope of a node that is not of the quorum: nobody is to blame.
    Say(flood::EnvelopeVerdict{delivered.hash, flood::EnvelopeJudgement::kDiscarded});
    Say(flood::CoreRoom{flood::CoreStream::kScp, 1});
    return;
  }
  if (behaviour_.relays) {
    broadcasts_.push_back({delivered.refs.slot, delivered.envelope});
    Broadcast(delivered.envelope);
  }
  if (!delivered.refs.tx_sets.empty())
    votes_.emplace(delivered.refs.slot, delivered.refs.tx_sets.front());
  if (behaviour_.fetches) FetchMissing(delivered.refs);
  Say(flood::CoreRoom{flood::CoreStream::kScp, 1});
}

void FakeCore::FetchMissing(const flood::EnvelopeRefs& refs) {
  Fetch({SetKind::kQuorumSet, refs.quorum_set}, refs.slot);
  for (const SetHash& set : refs.tx_sets) Fetch({SetKind::kTxSet, set}, refs.slot);
}

void FakeCore::On(const flood::DeliverTransaction& delivered) {
  checkers_.OnDelivered(index_, delivered);
  trace_.Add(delivered.hash.span());
  Judge(delivered.hash, flood::TxJudgement::kValid);
  Say(flood::CoreRoom{flood::CoreStream::kTransactions, 1});
}

void FakeCore::On(const flood::SetAvailable& available) {
  checkers_.OnAvailable(index_, available);
  trace_.Add(available.key.hash.span());
  wanted_.erase(available.key);
  if (fetching_.erase(available.key) == 0) {
    checkers_.Fail(fmt::format("node {}: a set came that was not asked for", index_));
  }
}

void FakeCore::On(const flood::FetchFailed& failed) {
  wanted_.erase(failed.key);
  if (fetching_.erase(failed.key) == 0) {
    checkers_.Fail(fmt::format("node {}: a fetch failed that was not under way", index_));
  }
}

void FakeCore::On(const flood::TopSnapshot& snapshot) {
  checkers_.OnAnswered(index_, 't', snapshot.id);
  const auto proposal = proposals_.extract(snapshot.id);
  if (proposal.empty()) return;
  std::vector<Bytes> transactions;
  std::vector<TxHash> hashes;
  for (const flood::TopTransaction& top : snapshot.transactions) {
    transactions.push_back(top.transaction);
    hashes.push_back(top.hash);
  }
  Bytes set = build_.TxSetOf(std::move(transactions));
  const LedgerSeq slot = proposal.mapped();
  const auto hash = HashOf<SetHash>(set.span());
  contents_[hash] = std::move(hashes);
  votes_[slot] = hash;
  nominate_when_offered_[hash] = slot;
  Offer(SetKind::kTxSet, std::move(set), slot);
}

void FakeCore::On(const flood::Offered& offered) {
  const auto nominate = nominate_when_offered_.extract(offered.key.hash);
  if (!nominate.empty()) Author(StatementKind::kNominate, nominate.mapped());
}

void FakeCore::On(const flood::CoreRefused& refused) {
  checkers_.Fail(fmt::format("node {}: refused {} '{}', expected {}", index_, refused.field,
                             refused.value, refused.expected));
}

}  // namespace overlay::sim
