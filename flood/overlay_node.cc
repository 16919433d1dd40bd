#include "flood/overlay_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "flood/base/check.h"
#include "flood/memory_budget.h"
#include "flood/peers/dial_plan.h"
#include "flood/peers/outbound_plan.h"
#include "flood/peers/peer_directory.h"
#include "flood/scp_flood.h"
#include "flood/set_exchange.h"
#include "flood/slot_window.h"
#include "flood/tx_flood.h"
#include "flood/tx_request_tracker.h"

namespace overlay::flood {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;  // Clang 14 does not deduce it

// How many that dialled us transport lets through beyond the limit, so that the directory can say
// who goes for whom; each is gone within a round trip. Configured ones have places of their own.
constexpr size_t kInboundUndecidedMax = 64;

}  // namespace

class OverlayNode::Impl {
 public:
  Impl(const Limits& limits, const NodeOptions& options, Random random)
      : limits_(limits),
        window_(limits_),
        directory_(limits_, stats_.peers),
        dial_plan_(limits_, options.self, options.default_port, random.Fork("dial"),
                   directory_.bans(), stats_),
        outbound_plan_(random.Fork("outbound"), directory_, stats_.peers),
        scp_(limits_, window_, random.Fork("scp"), stats_.scp),
        tx_(limits_, stats_.tx),
        sets_(limits_, window_, stats_.sets, stats_.compute),
        memory_(limits_) {
    targets_.inbound_max = limits_.inbound_peers_max;
  }

  void OnPeerEvent(Time now, const PeerEvent& event, ActionList& out);
  void OnCoreInput(Time now, const CoreInput& input, ActionList& out);
  void OnResolved(Time now, const ResolveHost& asked, const absl::StatusOr<ResolvedHost>& resolved,
                  ActionList& out) {
    const size_t begin = out.size();
    dial_plan_.OnResolved(now, {asked.host, asked.services}, resolved, out);
    ReconsiderConfigured(now, out);
    dial_plan_.OnDeadline(now, out);
    Settle(now, begin, out);
  }
  void OnComputed(Time now, const Computed& computed, ActionList& out) {
    const size_t begin = out.size();
    sets_.OnComputed(now, computed, out);
    Settle(now, begin, out);
  }
  void OnDrain() {
    dial_plan_.Stop();
    outbound_plan_.Stop();
  }
  void Restore(Time now, WallTime wall, const PeerFile& file) {
    directory_.Restore(now, wall, file);
    outbound_plan_.Hurry();
  }
  void OnDeadline(Time now, ActionList& out);
  std::optional<Time> NextDeadline() const;
  const NodeStats& stats() const { return stats_; }
  std::vector<PeerView> ListPeers(Time now) const;
  std::vector<NameView> ListNames() const { return dial_plan_.ListNames(); }
  const PeerDirectory& directory() const { return directory_; }
  TxTrace TraceTransaction(const TxHash& hash) const { return tx_.Trace(hash); }
  SetTrace TraceSet(const SetKey& key) const { return sets_.Trace(key); }
  std::optional<ServableSet> LookAtSet(const SetKey& key) const { return sets_.Look(key); }
  void KeepSetFrame(Time now, const SetKey& key, Bytes frame, ActionList& out) {
    const size_t begin = out.size();
    sets_.KeepFrame(key, std::move(frame));
    BoundMemory(now, out);
    Settle(now, begin, out);
  }
  void CheckInvariants() const;

 private:
  // ---- peers
  void Handle(Time now, const DialEnded& ended, ActionList& out);
  void Handle(Time now, const PeerConnected& connected, ActionList& out);
  void Handle(Time now, const PeerDisconnected& disconnected, ActionList& out);
  void Handle(Time now, const EnvelopeReceived& received, ActionList& out);
  void Handle(Time now, const StateReceived& part, ActionList& out);
  void Handle(Time now, const ControlReceived& control, ActionList& out);
  void Handle(Time now, const TxControlReceived& control, ActionList& out);
  void Handle(Time now, const RequestEnded& ended, ActionList& out);

  // ---- core
  void Handle(Time now, const CoreAttached& attached, ActionList& out);
  void Handle(Time now, const CoreDetached& detached, ActionList& out);
  void Handle(Time now, const CoreRoom& room, ActionList& out);
  void Handle(Time now, const BroadcastEnvelope& broadcast, ActionList& out);
  void Handle(Time now, const LedgerClosed& closed, ActionList& out);
  void Handle(Time now, const TxSetExternalized& externalized, ActionList& out);
  void Handle(Time now, const ConfigurePeers& configure, ActionList& out);
  void Handle(Time now, const OperatorDisconnect& disconnect, ActionList& out);
  void Handle(Time now, const ConfigureTargets& configure, ActionList& out);
  void Handle(Time now, const OperatorBan& ban, ActionList& out);
  void Handle(Time now, const OperatorUnban& unban, ActionList& out);
  void BansEnded(Time now, ActionList& out);
  bool RefuseUnpinned(const ConfigurePeers& configure, ActionList& out);

  void Heard(Time now, PeerId peer, const std::optional<EnvelopeHeard>& heard, ActionList& out);
  void WindowMoved(Time now, ActionList& out);
  void TellCorePresence(ActionList& out);
  ConfiguredAs HowConfigured(const PeerInfo& info) const;
  void ReconsiderConfigured(Time now, ActionList& out);
  void TellInboundLimit(ActionList& out);
  void DropRemoved(const char* why, ActionList& out);
  // ---- memory (R4)
  MemoryBytes MemoryHeld() const;
  size_t FreeMemory(const MemoryBudget::Relief& relief, ActionList& out);
  void BoundMemory(Time now, ActionList& out);

  // Takes the offences from `begin` on out of the list, and scores them; notes who served a set,
  // and what is dialled.
  void Settle(Time now, size_t begin, ActionList& out);

  const Limits limits_;
  NodeStats stats_;
  SlotWindow window_;
  PeerDirectory directory_;
  DialPlan dial_plan_;
  OutboundPlan outbound_plan_;
  ScpFlood scp_;
  TxFlood tx_;
  SetExchange sets_;
  Offences offences_;  // of the input being handled; empty between inputs
  MemoryBudget memory_;
  uint64_t core_queue_bytes_ = 0;
  bool more_to_free_ = false;
  bool core_present_ = false;
  PeerTargets targets_;  // as configured; core_closed_ goes over its `closed`
  std::optional<bool> core_closed_;
  size_t inbound_limit_told_ = PeerTargets{}.inbound_max + kInboundUndecidedMax;  // as it begins
};

// ---- peers ------------------------------------------------------------------------------------

void OverlayNode::Impl::OnPeerEvent(Time now, const PeerEvent& event, ActionList& out) {
  const size_t begin = out.size();
  std::visit(Overloaded{
                 [&](const EnvelopeDone& e) {
                   if (directory_.IsUp(e.peer)) scp_.OnEnvelopeDone(now, e, out);
                 },
                 [&](const PeerBlocked& e) {
                   if (directory_.IsUp(e.peer)) scp_.OnPeerBlocked(e.peer, e.blocked);
                 },
                 [&](const InvBlocked& e) { tx_.OnInvBlocked(now, e, out); },
                 [&](const PeerPath& e) {
                   if (!directory_.IsUp(e.peer)) return;
                   sets_.OnPeerPath(e.peer, e.rtt);
                   directory_.OnPath(now, e.peer, e.rtt);
                 },
                 [&](const PeerMoved& e) {
                   directory_.SetAddress(e.peer, e.address);
                   const PeerInfo* const info = directory_.Find(e.peer);
                   if (info != nullptr) dial_plan_.OnPeerMoved(info->key, e.address);
                 },
                 [&](const PeerSilent& e) {
                   const PeerInfo* const info = directory_.Find(e.peer);
                   if (info != nullptr) dial_plan_.OnPeerSilent(now, info->key, e.silent);
                 },
                 [&](const BodiesRequested& e) {
                   if (directory_.IsUp(e.peer)) tx_.OnBodiesRequested(now, e, out);
                 },
                 [&](const BodyReceived& e) {
                   if (!directory_.IsUp(e.peer)) return;
                   const uint64_t new_before = stats_.tx.received_new;
                   tx_.OnBodyReceived(now, e, out);
                   if (stats_.tx.received_new > new_before)
                     directory_.OnFirstTransaction(now, e.peer);
                 },
                 [&](const SetRequested& e) {
                   if (directory_.IsUp(e.peer)) sets_.OnSetRequested(now, e, out);
                 },
                 [&](const SetHeaderReceived& e) { sets_.OnHeader(now, e, out); },
                 [&](const SetDataReceived& e) { sets_.OnData(now, e, out); },
                 [&](const AnswerDone& e) {
                   if (!directory_.IsUp(e.peer)) return;
                   tx_.OnAnswerDone(now, e, out);
                   sets_.OnAnswerDone(now, e, out);
                 },
                 [&](const PeerOffence& e) { offences_.push_back(e); },
                 [&](const auto& e) { Handle(now, e, out); },
             },
             event);
  BoundMemory(now, out);
  Settle(now, begin, out);
}

void OverlayNode::Impl::Handle(Time now, const DialEnded& ended, ActionList& out) {
  PeerInfo answered;
  answered.key = ended.key.value_or(NodeKey{});
  answered.address = ended.address;
  directory_.OnDialEnded(now, ended, dial_plan_.IsConfigured(answered),
                         dial_plan_.SourceOf(ended.address));
  if (OutboundPlan::Owns(ended.dial)) {
    outbound_plan_.OnDialEnded(now, ended);
    return;
  }
  dial_plan_.OnDialEnded(now, ended);
  dial_plan_.OnDeadline(now, out);
}

void OverlayNode::Impl::Handle(Time now, const PeerConnected& connected, ActionList& out) {
  const PeerId peer = connected.peer;
  const PeerInfo& info = connected.info;
  if (!directory_.OnPeerConnected(now, connected, HowConfigured(info), out)) return;
  dial_plan_.OnPeerConnected(now, info);
  outbound_plan_.Hurry();
  scp_.OnPeerConnected(now, peer, info.key, out);  // asks for its state
  sets_.OnPeerConnected(now, peer, info.key, out);
  out.push_back(PeerCommand(SendControl{peer, CoreStatus{core_present_}}));
  tx_.OnPeerConnected(now, {peer, info.key, dial_plan_.IsPreferred(info)}, out);
}

void OverlayNode::Impl::Handle(Time now, const PeerDisconnected& disconnected, ActionList& out) {
  const std::optional<PeerInfo> info = directory_.OnPeerDisconnected(now, disconnected, out);
  if (!info) return;
  dial_plan_.OnPeerDisconnected(now, *info, disconnected);
  outbound_plan_.OnPeerDisconnected(now, info->key);
  scp_.OnPeerDisconnected(now, disconnected.peer, out);
  sets_.OnPeerDisconnected(now, disconnected.peer, out);
  tx_.OnPeerDisconnected(now, disconnected.peer, out);
}

void OverlayNode::Impl::Handle(Time now, const EnvelopeReceived& received, ActionList& out) {
  if (!directory_.IsUp(received.peer)) return;
  Heard(now, received.peer, scp_.OnEnvelope(now, received.peer, received.envelope, out, offences_),
        out);
}

void OverlayNode::Impl::Handle(Time now, const StateReceived& part, ActionList& out) {
  if (!directory_.IsUp(part.peer)) return;
  Heard(now, part.peer, scp_.OnStateReceived(now, part, out, offences_), out);
}

void OverlayNode::Impl::Heard(Time now, PeerId peer, const std::optional<EnvelopeHeard>& heard,
                              ActionList& out) {
  if (!heard) return;
  if (heard->is_new) directory_.OnFirstEnvelope(now, peer);
  sets_.OnEnvelopeFromPeer(now, peer, heard->refs, out);
}

void OverlayNode::Impl::Handle(Time now, const ControlReceived& control, ActionList& out) {
  const PeerId peer = control.peer;
  if (!directory_.IsUp(peer)) return;
  if (const auto* have = std::get_if<HaveSets>(&control.message)) {
    sets_.OnHaveSets(now, peer, *have, out);
  } else if (const auto* state = std::get_if<GetScpState>(&control.message)) {
    scp_.OnGetScpState(now, peer, *state, out, offences_);
  } else if (const auto* core = std::get_if<CoreStatus>(&control.message)) {
    scp_.OnPeerCoreStatus(peer, core->present);
    directory_.SetCorePresent(now, peer, core->present);
    outbound_plan_.Hurry();
  }
}

void OverlayNode::Impl::Handle(Time now, const TxControlReceived& control, ActionList& out) {
  if (!directory_.IsUp(control.peer)) return;
  if (const auto* inv = std::get_if<Inv>(&control.message)) {
    tx_.OnInv(now, control.peer, *inv, out);
  } else if (const auto* filter = std::get_if<FeeFilter>(&control.message)) {
    tx_.OnFeeFilter(now, control.peer, *filter, out);
  }
}

void OverlayNode::Impl::Handle(Time now, const RequestEnded& ended, ActionList& out) {
  static_assert(kSetRequestIdFirst < kTxRequestIdFirst);
  if (!TxFlood::Owns(ended.request)) {
    if (!ended.complete && sets_.Owns(ended.request)) {
      directory_.OnFetch(now, ended.peer, /*ok=*/false);
    }
    sets_.OnRequestEnded(now, ended, out);
  } else if (directory_.IsUp(ended.peer)) {
    tx_.OnRequestEnded(now, ended, out);
  }
}

// ---- core -------------------------------------------------------------------------------------

void OverlayNode::Impl::OnCoreInput(Time now, const CoreInput& input, ActionList& out) {
  const size_t begin = out.size();
  std::visit(Overloaded{
                 [&](const RequestState& i) { scp_.OnRequestState(now, i, out); },
                 [&](const StateReply& i) { scp_.OnStateReply(now, i, out); },
                 [&](const EnvelopeVerdict& i) { scp_.OnVerdict(now, i, out, offences_); },
                 [&](const SubmitTransactions& i) { tx_.OnSubmit(now, i, out); },
                 [&](const TransactionVerdicts& i) { tx_.OnVerdicts(now, i, out); },
                 [&](const OfferChunk& i) { sets_.OnOfferChunk(now, i, out); },
                 [&](const FetchSet& i) { sets_.OnFetch(now, i, out); },
                 [&](const CancelFetch& i) { sets_.OnCancelFetch(now, i, out); },
                 [&](const TopQuery& i) { tx_.OnTopQuery(now, i, out); },
                 [&](const CancelTopQuery& i) { tx_.OnCancelTopQuery(now, i); },
                 [&](const OperatorConnect& i) {
                   dial_plan_.Connect(now, i, out);
                   ReconsiderConfigured(now, out);
                   dial_plan_.OnDeadline(now, out);
                 },
                 [&](const CoreQueues& i) { core_queue_bytes_ = i.bytes; },
                 [&](const auto& i) { Handle(now, i, out); },
             },
             input);
  BoundMemory(now, out);
  Settle(now, begin, out);
}

void OverlayNode::Impl::Handle(Time now, const CoreAttached& attached, ActionList& out) {
  core_present_ = true;
  window_.OnCoreAttached(now, attached.newest_closed);
  WindowMoved(now, out);
  scp_.OnCoreAttached(now, attached.state_policy, out);
  tx_.OnCoreAttached(now, attached, out);
  TellCorePresence(out);
}

void OverlayNode::Impl::Handle(Time now, const CoreDetached&, ActionList& out) {
  core_present_ = false;
  scp_.OnCoreDetached(now, out);
  sets_.OnCoreDetached(now, out);
  tx_.OnCoreDetached(now, out);
  // The core's part of the configured set outlives it: a core that restarts finds its peers.
  TellCorePresence(out);
}

void OverlayNode::Impl::Handle(Time now, const CoreRoom& room, ActionList& out) {
  if (room.stream == CoreStream::kScp) {
    scp_.OnCoreRoom(now, room.messages, out);
  } else {
    tx_.OnCoreRoom(now, room.messages, out);
  }
}

void OverlayNode::Impl::Handle(Time now, const BroadcastEnvelope& broadcast, ActionList& out) {
  const std::optional<EnvelopeBroadcast> sent = scp_.OnBroadcast(now, broadcast, out);
  if (sent) sets_.OnEnvelopeFromCore(now, sent->refs, sent->peers_sent_it, out);
}

void OverlayNode::Impl::Handle(Time now, const LedgerClosed& closed, ActionList& out) {
  // The upper bound may have moved, or returned, also where the lower one has not.
  window_.OnLedgerClosed(now, closed.seq, closed.tracking, closed.keep_slots);
  WindowMoved(now, out);
  tx_.OnLedgerClosed(now, closed.seq, out);
}

void OverlayNode::Impl::Handle(Time now, const TxSetExternalized& externalized, ActionList& out) {
  sets_.OnTxSetExternalized(externalized.set);
  tx_.OnTxSetExternalized(now, externalized, out);
}

void OverlayNode::Impl::Handle(Time now, const ConfigurePeers& configure, ActionList& out) {
  if (RefuseUnpinned(configure, out)) return;
  dial_plan_.Configure(now, configure, out);
  if (configure.source == PeerEntrySource::kCore) core_closed_ = configure.closed;
  ReconsiderConfigured(now, out);
  DropRemoved("no longer configured", out);
  dial_plan_.OnDeadline(now, out);
}

void OverlayNode::Impl::Handle(Time now, const OperatorDisconnect& disconnect, ActionList& out) {
  bool found = dial_plan_.Forget(now, disconnect, out);
  ReconsiderConfigured(now, out);
  DropRemoved("by the operator", out);
  const auto* key = std::get_if<NodeKey>(&disconnect.whom);
  if (const auto peer = key == nullptr ? std::nullopt : directory_.FindKey(*key)) {
    found = true;
    out.push_back(
        PeerCommand(DropPeer{*peer, CloseReason::kDisconnectRequested, "by the operator"}));
  }
  using Outcome = OperatorAnswered::Outcome;
  out.push_back(CoreOutput(OperatorAnswered{found ? Outcome::kDone : Outcome::kNotFound, ""}));
  dial_plan_.OnDeadline(now, out);
}

void OverlayNode::Impl::Handle(Time now, const ConfigureTargets& configure, ActionList& out) {
  targets_ = configure.targets;
  ReconsiderConfigured(now, out);
}

void OverlayNode::Impl::Handle(Time now, const OperatorBan& ban, ActionList& out) {
  const Time until = ban.duration ? now + *ban.duration : kTimeNever;
  OperatorAnswered answer;
  if (!directory_.Ban(now, ban.key, {BannedBy::kOperator, now, until, ban.reason}, out)) {
    answer.outcome = OperatorAnswered::Outcome::kFull;
    answer.detail = fmt::format("{} keys are banned by operators, at most {}",
                                directory_.bans().bans().size(), kBansMax);
  }
  out.push_back(CoreOutput(std::move(answer)));
}

void OverlayNode::Impl::Handle(Time now, const OperatorUnban& unban, ActionList& out) {
  using Outcome = OperatorAnswered::Outcome;
  const bool found = directory_.Unban(now, unban.key);
  out.push_back(CoreOutput(OperatorAnswered{found ? Outcome::kDone : Outcome::kNotFound, ""}));
  BansEnded(now, out);
}

// Whom they kept away may come again at once.
void OverlayNode::Impl::BansEnded(Time now, ActionList& out) {
  dial_plan_.DialAgain(now);
  dial_plan_.OnDeadline(now, out);
  outbound_plan_.Hurry();
}

// Closed, an entry without a key could never be admitted: its source hears so by name.
bool OverlayNode::Impl::RefuseUnpinned(const ConfigurePeers& configure, ActionList& out) {
  if (!configure.closed.value_or(targets_.closed)) return false;
  PeersConfigured answer{configure.source, {}};
  bool refused = false;
  for (const PeerEntry& entry : configure.entries) {
    std::string& refusal = answer.refusals.emplace_back();
    if (entry.pinned_key) continue;
    refusal = "\"" + entry.text + "\": the list is closed, expected G...@ and the address";
    refused = true;
  }
  if (refused) out.push_back(CoreOutput(std::move(answer)));
  return refused;
}

// ---- common -----------------------------------------------------------------------------------

void OverlayNode::Impl::WindowMoved(Time now, ActionList& out) {
  stats_.slots = {window_.newest_closed(), window_.oldest_kept()};
  scp_.OnWindowMoved(now, out);
  sets_.OnWindowMoved(now, out);
}

void OverlayNode::Impl::TellCorePresence(ActionList& out) {
  for (PeerId peer : directory_.List()) {
    out.push_back(PeerCommand(SendControl{peer, CoreStatus{core_present_}}));
  }
}

void OverlayNode::Impl::DropRemoved(const char* why, ActionList& out) {
  for (const NodeKey& key : dial_plan_.TakeRemoved()) {
    if (const auto peer = directory_.FindKey(key)) {
      out.push_back(PeerCommand(DropPeer{*peer, CloseReason::kDisconnectRequested, why}));
    }
  }
}

void OverlayNode::Impl::ReconsiderConfigured(Time now, ActionList& out) {
  PeerTargets targets = targets_;
  targets.closed = core_closed_.value_or(targets_.closed);
  directory_.SetTargets(targets);
  directory_.Reconsider(
      now, [this](const PeerInfo& info) { return HowConfigured(info); }, out);
  outbound_plan_.Hurry();
}

ConfiguredAs OverlayNode::Impl::HowConfigured(const PeerInfo& info) const {
  ConfiguredAs configured;
  configured.pinned = dial_plan_.IsPinned(info.key);
  if (dial_plan_.IsPreferred(info)) {
    configured.standing = Standing::kPreferred;
  } else if (configured.pinned || dial_plan_.IsConfigured(info)) {
    configured.standing = Standing::kConfigured;
  }
  return configured;
}

void OverlayNode::Impl::TellInboundLimit(ActionList& out) {
  const size_t count =
      directory_.targets().inbound_max + kInboundUndecidedMax + dial_plan_.target_count();
  if (count == inbound_limit_told_) return;
  inbound_limit_told_ = count;
  out.emplace_back(PeerCommand(InboundLimit{count}));
}

// ---- memory -----------------------------------------------------------------------------------

MemoryBytes OverlayNode::Impl::MemoryHeld() const {
  MemoryBytes held{};
  const auto set = [&held](MemoryPool pool, uint64_t bytes) {
    held[static_cast<size_t>(pool)] = bytes;
  };
  set(MemoryPool::kScp, scp_.bytes_held());
  set(MemoryPool::kTxBodies, tx_.body_bytes());
  set(MemoryPool::kSets, sets_.cached_bytes());
  set(MemoryPool::kSetsInProgress, sets_.bytes_in_progress());
  set(MemoryPool::kMempool, tx_.mempool_bytes());
  set(MemoryPool::kCoreStreams, core_queue_bytes_);
  return held;
}

size_t OverlayNode::Impl::FreeMemory(const MemoryBudget::Relief& relief, ActionList& out) {
  switch (relief.step) {
    case MemoryStep::kTxBodies:
      return tx_.FreeBodies(relief.bytes, out);
    case MemoryStep::kOldSets:
      return sets_.Free(TxSetCache::Evictable::kOld);
    case MemoryStep::kMempool:
      return tx_.FreeCheapest(relief.bytes, out);
    case MemoryStep::kAnySet:
      return sets_.Free(TxSetCache::Evictable::kAny);
  }
  return 0;
}

void OverlayNode::Impl::BoundMemory(Time now, ActionList& out) {
  const bool was_pressed = memory_.is_pressed();
  more_to_free_ = false;
  stats_.memory.bytes = MemoryHeld();
  memory_.Update(stats_.memory.bytes);
  stats_.memory.room_bytes = memory_.room_bytes();
  tx_.SetMemoryRoom(memory_.left_bytes());
  if (!was_pressed && !memory_.is_pressed()) return;
  if (!was_pressed) ++stats_.memory.pressures;
  int steps = 0;
  while (const std::optional<MemoryBudget::Relief> relief = memory_.Next()) {
    more_to_free_ = steps++ == kMemoryStepsPerTurn;
    if (more_to_free_) break;
    const size_t freed = FreeMemory(*relief, out);
    memory_.OnFreed(relief->step, freed);
    if (freed == 0) {
      --steps;
      continue;
    }
    const auto pool = static_cast<size_t>(PoolOf(relief->step));
    ++stats_.memory.freed[pool];
    stats_.memory.freed_bytes[pool] += freed;
  }
  stats_.memory.pressed = memory_.is_pressed();
  stats_.memory.bytes = MemoryHeld();
  if (memory_.is_pressed() == was_pressed) return;
  sets_.SetMemoryPressed(memory_.is_pressed());
  tx_.SetMemoryPressed(now, memory_.is_pressed(), out);
}

void OverlayNode::Impl::Settle(Time now, size_t begin, ActionList& out) {
  const auto is_offence = [](const Action& action) {
    return std::holds_alternative<PeerOffence>(action);
  };
  const auto first = out.begin() + static_cast<ptrdiff_t>(begin);
  for (auto it = first; it != out.end(); ++it) {
    if (is_offence(*it)) offences_.push_back(std::get<PeerOffence>(*it));
  }
  if (!offences_.empty()) {
    out.erase(std::remove_if(first, out.end(), is_offence), out.end());
    for (const PeerOffence& offence : offences_) {
      directory_.OnOffence(now, offence, out);
      // A set or a body that is not what was named.
      if (offence.offence == Offence::kWrongHash) directory_.OnFetch(now, offence.peer, false);
    }
    offences_.clear();
  }
  TellInboundLimit(out);
  for (const PeerId peer : sets_.TakeServedBy()) directory_.OnFetch(now, peer, /*ok=*/true);
  for (size_t i = begin; i < out.size(); ++i) {
    const auto* command = std::get_if<PeerCommand>(&out[i]);
    const auto* dial = command ? std::get_if<Dial>(command) : nullptr;
    if (dial != nullptr) directory_.OnDial(*dial);
  }
}

void OverlayNode::Impl::OnDeadline(Time now, ActionList& out) {
  const size_t begin = out.size();
  if (window_.OnDeadline(now)) WindowMoved(now, out);
  scp_.OnDeadline(now, out);
  sets_.OnDeadline(now, out);
  tx_.OnDeadline(now, out);
  if (directory_.OnDeadline(now)) BansEnded(now, out);
  dial_plan_.OnDeadline(now, out);
  outbound_plan_.OnDeadline(now, out);
  BoundMemory(now, out);
  Settle(now, begin, out);
}

std::optional<Time> OverlayNode::Impl::NextDeadline() const {
  if (more_to_free_) return Time{};
  Time next = directory_.next_deadline();
  for (const std::optional<Time>& deadline :
       {window_.NextDeadline(), scp_.NextDeadline(), sets_.NextDeadline(), tx_.NextDeadline(),
        dial_plan_.NextDeadline(), outbound_plan_.NextDeadline()}) {
    if (deadline) next = std::min(next, *deadline);
  }
  return next == kTimeNever ? std::nullopt : std::optional<Time>(next);
}

std::vector<PeerView> OverlayNode::Impl::ListPeers(Time now) const {
  std::vector<PeerView> views = directory_.Describe(now);
  dial_plan_.Describe(views);
  directory_.DescribeKnown(now, views);
  return views;
}

void OverlayNode::Impl::CheckInvariants() const {
  window_.CheckInvariants();
  directory_.CheckInvariants();
  dial_plan_.CheckInvariants();
  outbound_plan_.CheckInvariants();
  scp_.CheckInvariants();
  tx_.CheckInvariants();
  sets_.CheckInvariants();
  memory_.CheckInvariants();
  OVERLAY_CHECK(stats_.memory.pressed == memory_.is_pressed());
  OVERLAY_CHECK(offences_.empty());
}

// ---- the facade -------------------------------------------------------------------------------

OverlayNode::OverlayNode(const Limits& limits, const NodeOptions& options, Random random)
    : impl_(std::make_unique<Impl>(limits, options, random)) {}
OverlayNode::~OverlayNode() = default;

void OverlayNode::OnPeerEvent(Time now, const PeerEvent& event, ActionList& out) {
  impl_->OnPeerEvent(now, event, out);
}
void OverlayNode::OnCoreInput(Time now, const CoreInput& input, ActionList& out) {
  impl_->OnCoreInput(now, input, out);
}
void OverlayNode::OnResolved(Time now, const ResolveHost& asked,
                             const absl::StatusOr<ResolvedHost>& resolved, ActionList& out) {
  impl_->OnResolved(now, asked, resolved, out);
}
void OverlayNode::OnComputed(Time now, const Computed& computed, ActionList& out) {
  impl_->OnComputed(now, computed, out);
}
void OverlayNode::OnDrain(Time, ActionList&) { impl_->OnDrain(); }
void OverlayNode::OnDeadline(Time now, ActionList& out) { impl_->OnDeadline(now, out); }
std::optional<Time> OverlayNode::NextDeadline() const { return impl_->NextDeadline(); }
const NodeStats& OverlayNode::stats() const { return impl_->stats(); }
std::vector<PeerView> OverlayNode::ListPeers(Time now) const { return impl_->ListPeers(now); }
std::vector<NameView> OverlayNode::ListNames() const { return impl_->ListNames(); }
void OverlayNode::RestorePeers(Time now, WallTime wall, const PeerFile& file) {
  impl_->Restore(now, wall, file);
}
const PeerBook& OverlayNode::known_peers() const { return impl_->directory().book(); }
const BanList& OverlayNode::bans() const { return impl_->directory().bans(); }
uint64_t OverlayNode::known_peers_changes() const { return impl_->directory().changes(); }
TxTrace OverlayNode::TraceTransaction(const TxHash& hash) const {
  return impl_->TraceTransaction(hash);
}
SetTrace OverlayNode::TraceSet(const SetKey& key) const { return impl_->TraceSet(key); }
std::optional<ServableSet> OverlayNode::LookAtSet(const SetKey& key) const {
  return impl_->LookAtSet(key);
}
void OverlayNode::KeepSetFrame(Time now, const SetKey& key, Bytes frame, ActionList& out) {
  impl_->KeepSetFrame(now, key, std::move(frame), out);
}
void OverlayNode::CheckInvariants() const { impl_->CheckInvariants(); }

}  // namespace overlay::flood
