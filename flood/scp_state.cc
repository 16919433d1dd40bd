#include "flood/scp_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/xdr_skim.h"

namespace overlay::flood {
namespace {

constexpr Duration kMinute = std::chrono::seconds(60);
// Ours must look like a minute on the peer's clock, whatever the network did to two questions.
constexpr Duration kOwnMinute = std::chrono::seconds(61);
constexpr uint32_t kPeersAskedDefault = 2;
constexpr size_t kCoreRequestsOpenMax = 4;

size_t CountSince(const std::deque<Time>& times, Time now, Duration window) {
  return static_cast<size_t>(
      std::count_if(times.begin(), times.end(), [&](Time at) { return at + window > now; }));
}

void Remember(std::deque<Time>& times, Time now, size_t count_max) {
  times.push_back(now);
  if (times.size() > count_max) times.pop_front();
}

CoreOutput Refusal(uint64_t id, std::string field, std::string value, std::string expected) {
  CoreRefused refused;
  refused.stream = CoreRefused::Stream::kScp;
  refused.id = id;
  refused.field = std::move(field);
  refused.value = std::move(value);
  refused.expected = std::move(expected);
  return refused;
}

}  // namespace

// ---- what we ask

void ScpState::OnPeerConnected(Time now, ScpPeer& peer, ActionList& out) {
  Ask(now, peer, std::nullopt, out);
}

void ScpState::OnPeerDisconnected(ScpPeer& peer, ActionList& out) {
  EndAsk(peer, Ending::kFailed, out);
  for (uint64_t request : std::exchange(peer.asks_waiting, {})) {
    Resolve(request, Ending::kFailed, out);
  }
  if (peer.answer) wanted_.erase(peer.answer->wanted);
  peer.answer.reset();
}

void ScpState::Ask(Time now, ScpPeer& peer, std::optional<uint64_t> core_request, ActionList& out) {
  ScpAsk ask;
  ask.id = ++last_ask_;
  ask.core_request = core_request;
  ask.deadline =
      core_request ? requests_.at(*core_request).deadline : now + limits_.scp_state_timeout;
  peer.ask = ask;
  Remember(peer.asked_at, now, limits_.scp_state_requests_per_minute);
  GetScpState question;
  question.id = ask.id;
  if (core_request) question.from = requests_.at(*core_request).wanted.from;
  out.emplace_back(PeerCommand(SendControl{peer.id, question}));
}

void ScpState::AskNext(Time now, ScpPeer& peer, ActionList& out) {
  if (peer.ask || peer.asks_waiting.empty()) return;
  const uint64_t request = peer.asks_waiting.front();
  peer.asks_waiting.pop_front();
  Ask(now, peer, request, out);
}

void ScpState::EndAsk(ScpPeer& peer, Ending ending, ActionList& out) {
  if (!peer.ask) return;
  const std::optional<uint64_t> request = peer.ask->core_request;
  peer.ask.reset();
  if (request) Resolve(*request, ending, out);
}

void ScpState::Resolve(uint64_t core_request, Ending ending, ActionList& out) {
  const auto found = requests_.find(core_request);
  if (found == requests_.end()) return;  // of a core that has gone
  Request& request = found->second;
  if (ending == Ending::kAnswered) ++request.answered;
  if (ending == Ending::kRefused) ++request.refused;
  if (--request.open > 0) return;
  out.emplace_back(CoreOutput(StateDone{core_request, request.asked, request.answered,
                                        request.refused, request.delivered_count}));
  requests_.erase(found);
}

void ScpState::OnAnswerEnd(Time now, ScpPeer& peer, const StateReceived& part, ActionList& out) {
  if (!peer.ask || peer.ask->id != part.id) return;  // too late: it counts as unanswered
  switch (part.part) {
    case StateReceived::Part::kEnvelope:
      return;
    case StateReceived::Part::kEnd:
      EndAsk(peer, Ending::kAnswered, out);
      break;
    case StateReceived::Part::kRefused:
      EndAsk(peer, Ending::kRefused, out);
      break;
    case StateReceived::Part::kBroken:
      EndAsk(peer, Ending::kFailed, out);
      break;
  }
  AskNext(now, peer, out);
}

bool ScpState::IsFirstInRequest(const ScpPeer& peer, uint64_t id, const EnvelopeHash& hash,
                                bool is_new) {
  if (!peer.ask || peer.ask->id != id || !peer.ask->core_request) return false;
  Request& request = requests_.at(*peer.ask->core_request);
  if (is_new) ++request.delivered_count;
  if (!request.wanted.redeliver) return false;
  // As many as one sender may keep with us: a peer's answer must not grow this without end.
  if (request.delivered.size() >= limits_.scp_kept_per_peer_count_max * request.asked) return false;
  if (!request.delivered.insert(hash).second) return false;
  if (!is_new) ++request.delivered_count;
  return true;
}

bool ScpState::MayAsk(Time now, const ScpPeer& peer) const {
  return CountSince(peer.asked_at, now, kOwnMinute) + peer.asks_waiting.size() <
         limits_.scp_state_requests_per_minute;
}

void ScpState::OnCoreRequest(Time now, const RequestState& request, ActionList& out) {
  if (requests_.contains(request.id)) {
    out.emplace_back(Refusal(request.id, "request_state.id", fmt::format("{}", request.id),
                             "an id that no open request has"));
    return;
  }
  if (requests_.size() >= kCoreRequestsOpenMax) {
    out.emplace_back(Refusal(request.id, "request_state", fmt::format("{} open", requests_.size()),
                             fmt::format("at most {} open", kCoreRequestsOpenMax)));
    return;
  }
  std::vector<ScpPeer*> peers;
  for (auto& [id, peer] : peers_.all()) {
    if (MayAsk(now, peer)) peers.push_back(&peer);
  }
  random_.Shuffle(peers);
  std::stable_sort(peers.begin(), peers.end(), [](const ScpPeer* a, const ScpPeer* b) {
    return std::tuple(!a->core_present, a->last_round) <
           std::tuple(!b->core_present, b->last_round);
  });
  const uint32_t peers_max = request.max_peers == 0 ? kPeersAskedDefault : request.max_peers;
  if (peers.size() > peers_max) peers.resize(peers_max);
  if (peers.empty()) {
    out.emplace_back(CoreOutput(StateDone{request.id, 0, 0, 0, 0}));
    return;
  }
  Request& open = requests_[request.id];
  open.wanted = request;
  open.deadline = now + limits_.scp_state_timeout;
  open.asked = static_cast<uint32_t>(peers.size());
  open.open = open.asked;
  ++round_;
  for (ScpPeer* peer : peers) {
    peer->last_round = round_;
    peer->asks_waiting.push_back(request.id);
    AskNext(now, *peer, out);
  }
}

// ---- what we answer

bool ScpState::OnQuestion(Time now, ScpPeer& peer, const GetScpState& question, ActionList& out) {
  if (peer.answer ||
      CountSince(peer.requested_at, now, kMinute) >= limits_.scp_state_requests_per_minute) {
    ++stats_.state_requests_refused;
    out.emplace_back(
        PeerCommand(SendState{peer.id, StateHeader{question.id, /*refused=*/true}, {}, true}));
    return false;
  }
  Remember(peer.requested_at, now, limits_.scp_state_requests_per_minute);
  ++stats_.state_requests_answered;
  const bool is_below = question.from != LedgerSeq{} && question.from < window_.oldest_kept();
  const bool asks_core = attached_ && (is_below || policy_ == StatePolicy::kCore);
  SendState answer;
  answer.peer = peer.id;
  answer.header.id = question.id;
  answer.envelopes = outbox_.StateFrom(question.from);
  answer.last = !asks_core;
  out.emplace_back(PeerCommand(std::move(answer)));
  if (!asks_core) return true;
  peer.answer.emplace();
  peer.answer->id = question.id;
  peer.answer->wanted = ++last_wanted_;
  peer.answer->from = question.from;
  peer.answer->deadline = now + limits_.scp_state_core_timeout;
  wanted_.emplace(last_wanted_, peer.id);
  out.emplace_back(CoreOutput(StateWanted{last_wanted_, peer.key, question.from}));
  return true;
}

void ScpState::OnCoreReply(Time now, const StateReply& reply, ActionList& out) {
  const auto found = wanted_.find(reply.id);
  if (found == wanted_.end()) return;  // too late, or its peer has gone
  ScpPeer* peer = peers_.Find(found->second);
  OVERLAY_CHECK(peer != nullptr && peer->answer);
  if (now >= peer->answer->deadline) return EndAnswer(*peer, out);
  SendState part;
  part.peer = peer->id;
  part.header.id = peer->answer->id;
  part.last = reply.last;
  for (size_t i = 0; i < reply.envelopes.size(); ++i) {
    const Bytes& envelope = reply.envelopes[i];
    const auto skim = SkimEnvelope(envelope.span());
    if (envelope.size() > limits_.envelope_bytes_max || !skim.ok()) {
      out.emplace_back(
          Refusal(reply.id, fmt::format("state_reply.envelopes[{}]", i),
                  fmt::format("{} bytes", envelope.size()),
                  fmt::format("an SCPEnvelope of at most {} bytes", limits_.envelope_bytes_max)));
      continue;
    }
    const ScpKey key{skim->refs.slot, skim->refs.node, skim->phase};
    const ScpEntry* sent = key.slot >= peer->answer->from ? outbox_.Current(key) : nullptr;
    if (sent != nullptr && sent->body == envelope) continue;
    if (peer->answer->count + 1 > limits_.scp_kept_per_peer_count_max ||
        peer->answer->bytes + envelope.size() > limits_.scp_kept_per_peer_bytes_max) {
      break;
    }
    ++peer->answer->count;
    peer->answer->bytes += envelope.size();
    part.envelopes.push_back(envelope);
  }
  if (part.last) {
    wanted_.erase(found);
    peer->answer.reset();
  }
  if (part.last || !part.envelopes.empty()) out.emplace_back(PeerCommand(std::move(part)));
}

void ScpState::EndAnswer(ScpPeer& peer, ActionList& out) {
  wanted_.erase(peer.answer->wanted);
  out.emplace_back(PeerCommand(SendState{peer.id, StateHeader{peer.answer->id, false}, {}, true}));
  peer.answer.reset();
}

// ---- core, time

void ScpState::Attach(StatePolicy policy) {
  attached_ = true;
  policy_ = policy;
}

void ScpState::Detach(ActionList& out) {
  attached_ = false;
  requests_.clear();
  for (auto& [id, peer] : peers_.all()) {
    peer.asks_waiting.clear();
    if (peer.ask) peer.ask->core_request.reset();
    if (peer.answer) EndAnswer(peer, out);
  }
}

void ScpState::OnDeadline(Time now, ActionList& out) {
  for (auto& [id, peer] : peers_.all()) {
    if (peer.answer && now >= peer.answer->deadline) EndAnswer(peer, out);
    if (peer.ask && now >= peer.ask->deadline) EndAsk(peer, Ending::kFailed, out);
    for (size_t i = 0; i < peer.asks_waiting.size();) {
      const uint64_t request = peer.asks_waiting[i];
      if (now < requests_.at(request).deadline) {
        ++i;
        continue;
      }
      peer.asks_waiting.erase(peer.asks_waiting.begin() + static_cast<std::ptrdiff_t>(i));
      Resolve(request, Ending::kFailed, out);
    }
    AskNext(now, peer, out);
  }
}

std::optional<Time> ScpState::NextDeadline() const {
  std::optional<Time> next;
  const auto consider = [&next](Time at) { next = next ? std::min(*next, at) : at; };
  for (const auto& [id, peer] : peers_.all()) {
    if (peer.ask) consider(peer.ask->deadline);
    if (peer.answer) consider(peer.answer->deadline);
  }
  for (const auto& [id, request] : requests_) consider(request.deadline);
  return next;
}

void ScpState::CheckInvariants() const {
  absl::btree_map<uint64_t, uint32_t> open;
  size_t answers = 0;
  for (const auto& [id, peer] : peers_.all()) {
    if (peer.ask && peer.ask->core_request) ++open[*peer.ask->core_request];
    for (uint64_t request : peer.asks_waiting) ++open[request];
    OVERLAY_CHECK(peer.ask || peer.asks_waiting.empty());
    if (!peer.answer) continue;
    ++answers;
    OVERLAY_CHECK(wanted_.contains(peer.answer->wanted) && attached_);
  }
  OVERLAY_CHECK(answers == wanted_.size());
  OVERLAY_CHECK(open.size() == requests_.size() && requests_.size() <= kCoreRequestsOpenMax);
  for (const auto& [id, request] : requests_) OVERLAY_CHECK(open[id] == request.open);
}

}  // namespace overlay::flood
