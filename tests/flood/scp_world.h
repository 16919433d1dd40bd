// tests/flood/scp_world.h
//
// A ScpFlood with its window, and short words for what peers and the core do to it. Each word
// checks the invariants and sorts what came out: what goes to which peer, what the core got.
#ifndef OVERLAY_TESTS_FLOOD_SCP_WORLD_H_
#define OVERLAY_TESTS_FLOOD_SCP_WORLD_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/scp_flood.h"
#include "tests/support/plain_envelope.h"

namespace overlay::flood {

// A larger counter is a newer PREPARE; two EXTERNALIZE never compare.
inline Bytes Prepare(uint64_t slot, uint8_t node, uint32_t counter) {
  return PlainEnvelope{.slot = slot, .node = node}.Prepare({counter, "v"});
}
inline Bytes Externalize(uint64_t slot, uint8_t node, uint32_t counter = 1) {
  return PlainEnvelope{.slot = slot, .node = node}.Externalize({counter, "v"});
}

class ScpWorld {
 public:
  explicit ScpWorld(const Limits& with = {}) : limits(with) {}

  static NodeKey Key(uint64_t peer) { return HashNumber<NodeKey>(static_cast<uint8_t>(peer)); }
  static EnvelopeHash HashOf(const Bytes& bytes) {
    return overlay::HashOf<EnvelopeHash>(bytes.span());
  }

  // ---- peers
  void Connect(uint64_t peer) {
    scp.OnPeerConnected(now, {peer}, Key(peer), out);
    Sort();
  }
  void Disconnect(uint64_t peer) {
    scp.OnPeerDisconnected(now, {peer}, out);
    Sort();
  }
  enum Heard { kRefused, kOld, kNew };
  Heard From(uint64_t peer, const Bytes& envelope) {
    const auto heard = scp.OnEnvelope(now, {peer}, envelope, out, offences);
    Sort();
    return !heard ? kRefused : heard->is_new ? kNew : kOld;
  }
  Heard Answer(uint64_t peer, uint64_t id, const Bytes& envelope) {
    const auto heard = scp.OnStateReceived(
        now, {{peer}, id, StateReceived::Part::kEnvelope, envelope}, out, offences);
    Sort();
    return !heard ? kRefused : heard->is_new ? kNew : kOld;
  }
  void AnswerEnds(uint64_t peer, uint64_t id, StateReceived::Part how = StateReceived::Part::kEnd) {
    scp.OnStateReceived(now, {{peer}, id, how, {}}, out, offences);
    Sort();
  }
  void Question(uint64_t peer, uint64_t id, uint64_t from = 0) {
    scp.OnGetScpState(now, {peer}, {id, {from}}, out, offences);
    Sort();
  }
  void Done(const SendEnvelope& copy, EnvelopeDone::Outcome outcome) {
    scp.OnEnvelopeDone(now, {copy.peer, copy.token, outcome}, out);
    Sort();
  }

  // ---- core
  void Attach(uint32_t room = 1'000'000, StatePolicy policy = StatePolicy::kCache) {
    scp.OnCoreAttached(now, policy, out);
    Room(room);
  }
  void Room(uint32_t messages) {
    scp.OnCoreRoom(now, messages, out);
    Sort();
  }
  void Detach() {
    scp.OnCoreDetached(now, out);
    Sort();
  }
  std::optional<EnvelopeBroadcast> Broadcast(const Bytes& envelope, bool force = false) {
    auto sent = scp.OnBroadcast(now, {7, envelope, force}, out);
    Sort();
    return sent;
  }
  void Verdict(const Bytes& envelope, EnvelopeJudgement judgement) {
    scp.OnVerdict(now, {HashOf(envelope), judgement}, out, offences);
    Sort();
  }
  void Request(const RequestState& request) {
    scp.OnRequestState(now, request, out);
    Sort();
  }
  void Reply(const StateReply& reply) {
    scp.OnStateReply(now, reply, out);
    Sort();
  }
  void Close(uint64_t slot, bool tracking = true, const std::vector<LedgerSeq>& keep = {}) {
    window.OnLedgerClosed(now, {slot}, tracking, keep);
    scp.OnWindowMoved(now, out);
    Sort();
  }

  // ---- time
  void Pass(Duration time) {
    now += time;
    scp.OnDeadline(now, out);
    Sort();
  }

  // What happened since the last call of each.
  template <class T>
  static std::vector<T> Taken(std::vector<T>& from) {
    return std::exchange(from, {});
  }
  std::vector<Bytes> Delivered() {
    std::vector<Bytes> envelopes;
    for (const DeliverEnvelope& one : Taken(deliveries)) envelopes.push_back(one.envelope);
    return envelopes;
  }
  std::vector<uint64_t> SentTo() {
    std::vector<uint64_t> peers;
    for (const SendEnvelope& copy : Taken(copies)) peers.push_back(copy.peer.value);
    return peers;
  }

  bool checks_every_step = true;
  Limits limits;
  Time now = Time(std::chrono::hours(1));
  SlotWindow window{limits};
  ScpStats stats;
  ScpFlood scp{limits, window, Random(1), stats};

  std::vector<SendEnvelope> copies;
  std::vector<CancelEnvelope> cancels;
  std::vector<std::pair<uint64_t, GetScpState>> questions;
  std::vector<SendState> answers;
  std::vector<DeliverEnvelope> deliveries;
  std::vector<BroadcastResult> results;
  std::vector<StateDone> dones;
  std::vector<StateWanted> wanted;
  std::vector<Overflow> overflows;
  std::vector<CoreRefused> refusals;
  Offences offences;

 private:
  void Sort() {
    if (checks_every_step) scp.CheckInvariants();
    for (Action& action : std::exchange(out, {})) {
      if (auto* to_peer = std::get_if<PeerCommand>(&action)) {
        Keep(*to_peer, copies);
        Keep(*to_peer, cancels);
        Keep(*to_peer, answers);
        if (auto* control = std::get_if<SendControl>(to_peer)) {
          questions.emplace_back(control->peer.value, std::get<GetScpState>(control->message));
        }
      } else if (auto* to_core = std::get_if<CoreOutput>(&action)) {
        Keep(*to_core, deliveries);
        Keep(*to_core, results);
        Keep(*to_core, dones);
        Keep(*to_core, wanted);
        Keep(*to_core, overflows);
        Keep(*to_core, refusals);
      }
    }
  }
  template <class Variant, class T>
  static void Keep(Variant& from, std::vector<T>& to) {
    if (T* found = std::get_if<T>(&from)) to.push_back(std::move(*found));
  }

  ActionList out;
};

}  // namespace overlay::flood

#endif  // OVERLAY_TESTS_FLOOD_SCP_WORLD_H_
