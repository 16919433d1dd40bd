// tests/sim/fake_core.h
//
// What stands for the consensus core of one node: it relays each envelope before it would judge it,
// offers and fetches sets, submits transactions, gives verdicts and closes ledgers. It decides
// nothing: what it votes for is what the first envelope of the slot named.
//
//   core.Attach(); core.Author(StatementKind::kPrepare, slot, 1); core.Close(slot);
//
// Like the client library it remembers what the daemon must be told again after a restart: the
// slots' newest envelopes, its offers and its submissions.
// Every input and output passes the checkers.
#ifndef OVERLAY_TESTS_SIM_FAKE_CORE_H_
#define OVERLAY_TESTS_SIM_FAKE_CORE_H_

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "server/core_edge.h"
#include "tests/sim/checkers.h"
#include "tests/sim/trace.h"
#include "tests/support/xdr_builder.h"

namespace overlay::sim {

// What a set of transactions holds: every core would read it from the set itself.
using SetContents = std::map<SetHash, std::vector<TxHash>>;

struct CoreBehaviour {
  bool relays = true;
  bool fetches = true;
  // False: takes no message from the daemon at all.
  bool reads = true;
};

class FakeCore final : public server::CoreSink {
 public:
  using Input = std::function<void(flood::CoreInput)>;

  // `slots_remembered`: the newest closed ones whose envelopes and offers are handed to a restarted
  // daemon, as many as it keeps then.
  FakeCore(size_t index, uint64_t slots_remembered, XdrBuilder& build, Checkers& checkers,
           SetContents& contents, Trace& trace);

  // The daemon of this core: set while it runs.
  void set_daemon(Input input) { input_ = std::move(input); }
  bool has_daemon() const { return input_ != nullptr; }
  void set_behaviour(const CoreBehaviour& behaviour) { behaviour_ = behaviour; }

  // ---- the session
  void Attach();  // needs a daemon; tells it again what it must know
  void Detach();
  void OnDaemonGone();  // no word to anybody
  bool attached() const { return attached_; }

  // ---- what a core does; nothing while not attached, except that it is remembered where a core
  // would A statement of this core, naming its quorum set and what it votes for in the slot.
  EnvelopeHash Author(StatementKind kind, LedgerSeq slot, uint32_t counter = 1);
  SetKey Offer(SetKind kind, Bytes bytes, std::optional<LedgerSeq> slot);
  // Only the beginning of an offer: the set is promised to peers, and never comes.
  void OfferFirstChunk(const Bytes& bytes, std::optional<LedgerSeq> slot);
  // `peers`: to be asked first, in this order.
  void Fetch(const SetKey& key, std::optional<LedgerSeq> slot, std::vector<NodeKey> peers = {});
  TxHash Submit(const Bytes& transaction);
  // Proposes a set of the best transactions for a slot: asks, offers, then nominates it.
  void Propose(LedgerSeq slot);
  void VoteFor(LedgerSeq slot, const SetHash& set) { votes_.emplace(slot, set); }
  void Close(LedgerSeq slot, bool tracking = true);
  void Judge(const TxHash& transaction, flood::TxJudgement judgement);

  size_t peers_up() const { return peers_.size(); }
  const std::map<NodeKey, size_t>& connects() const { return connects_; }
  LedgerSeq newest_closed() const { return newest_closed_; }

  // server::CoreSink
  void OnCoreOutput(Time now, flood::CoreOutput output) override;
  void OnPeerNews(Time now, const flood::PeerNews& news) override;

 private:
  struct Remembered {
    LedgerSeq slot;
    Bytes envelope;
  };

  void Say(flood::CoreInput input);
  void EndSession();
  void Broadcast(const Bytes& envelope);
  void SendOffer(const SetKey& key);
  void SendSubmission(const Bytes& transaction);
  void FetchMissing(const flood::EnvelopeRefs& refs);
  void ForgetSlots();

  void On(const flood::DeliverEnvelope& delivered);
  void On(const flood::DeliverTransaction& delivered);
  void On(const flood::SetAvailable& available);
  void On(const flood::FetchFailed& failed);
  void On(const flood::TopSnapshot& snapshot);
  void On(const flood::Offered& offered);
  void On(const flood::CoreRefused& refused);

  const size_t index_;
  const uint64_t slots_remembered_;
  XdrBuilder& build_;
  Checkers& checkers_;
  SetContents& contents_;
  Trace& trace_;
  Input input_;
  CoreBehaviour behaviour_;
  bool attached_ = false;
  LedgerSeq newest_closed_;
  SetKey quorum_set_;
  uint64_t next_id_ = 1;
  uint64_t next_number_ = 1;
  std::map<PeerId, NodeKey> peers_;     // of the daemon, attached or not
  std::map<NodeKey, size_t> connects_;  // how often each peer was said to be up
  std::map<LedgerSeq, SetHash> votes_;
  std::map<uint64_t, LedgerSeq> proposals_;  // by the query's id
  std::map<SetHash, LedgerSeq> nominate_when_offered_;
  // Handed to a restarted daemon again.
  std::vector<Remembered> broadcasts_;
  std::map<SetKey, std::pair<std::optional<LedgerSeq>, Bytes>> offers_;
  std::map<TxHash, Bytes> submissions_;                // not externalized yet
  std::map<SetKey, std::optional<LedgerSeq>> wanted_;  // fetches not answered yet
  std::set<SetKey> fetching_;                          // of those, asked for in this session
};

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_FAKE_CORE_H_
