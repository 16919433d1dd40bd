#include "tests/sim/checkers.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "flood/base/crypto.h"
#include "fmt/format.h"

namespace overlay::sim {
namespace {

// More would only repeat the first.
constexpr size_t kFailuresKept = 10;

uint64_t RunAt(absl::Span<const uint8_t> bytes, size_t offset) {
  uint64_t run;
  std::memcpy(&run, bytes.data() + offset, sizeof(run));
  return run;
}

size_t QuickHash(uint64_t run) { return (run * 0x9e3779b97f4a7c15u) >> 48; }

// Zeros and counters are in any payload and prove nothing.
bool IsDistinctive(uint64_t run) {
  std::array<uint8_t, sizeof(run)> bytes;
  std::memcpy(bytes.data(), &run, sizeof(run));
  std::sort(bytes.begin(), bytes.end());
  return std::unique(bytes.begin(), bytes.end()) - bytes.begin() >= 6;
}

}  // namespace

void PlainSearch::AddPayload(absl::Span<const uint8_t> payload) {
  for (size_t i = 0; i + kRunBytes <= payload.size(); i += kRunBytes) {
    const uint64_t run = RunAt(payload, i);
    if (!IsDistinctive(run)) continue;
    runs_.insert(run);
    quick_[QuickHash(run)] = true;
  }
}

bool PlainSearch::Finds(absl::Span<const uint8_t> datagram) const {
  for (size_t i = 0; i + 2 * kRunBytes <= datagram.size(); ++i) {
    const uint64_t run = RunAt(datagram, i);
    if (!quick_[QuickHash(run)] || !runs_.contains(run)) continue;
    if (runs_.contains(RunAt(datagram, i + kRunBytes))) return true;
  }
  return false;
}

void Checkers::Fail(std::string what) {
  if (failures_.size() < kFailuresKept) failures_.push_back(std::move(what));
}

// ---- what cores do

void Checkers::OnAttached(size_t node) {
  Node& state = nodes_[node];
  state.delivered.clear();
  state.broadcast.clear();
  state.transactions_delivered.clear();
  state.open_requests.clear();
}

void Checkers::OnDetached(size_t node) { nodes_[node].delivered.clear(); }

void Checkers::OnAuthored(const EnvelopeKey& key, const Bytes& envelope,
                          const std::vector<SetKey>& names) {
  ++counts_.envelopes_broadcast;
  const auto hash = HashOf<EnvelopeHash>(envelope.span());
  newest_[key] = {hash, names};
  known_envelopes_.emplace(hash, Known{key, counts_.envelopes_broadcast});
  plain_.AddPayload(envelope.span());
}

void Checkers::OnForged(const Bytes& envelope) {
  forged_.insert(HashOf<EnvelopeHash>(envelope.span()));
}

void Checkers::OnBroadcast(size_t node, const EnvelopeHash& hash) {
  nodes_[node].broadcast.insert(hash);
  nodes_[node].envelopes.insert(hash);
}

void Checkers::OnOffered(size_t node, const SetKey& key, const Bytes& bytes) {
  if (sets_.emplace(key, bytes).second) plain_.AddPayload(bytes.span());
  nodes_[node].sets.insert(key);
}

void Checkers::OnSubmitted(size_t node, const Bytes& transaction) {
  const auto hash = HashOf<TxHash>(transaction.span());
  if (transactions_.emplace(hash, transaction).second) plain_.AddPayload(transaction.span());
  nodes_[node].transactions.insert(hash);
}

void Checkers::OnExternalized(const TxHash& transaction) { externalized_.insert(transaction); }

void Checkers::OnAsked(size_t node, char kind, uint64_t id) {
  nodes_[node].open_requests.emplace(kind, id);
}

// ---- what nodes do

void Checkers::OnDelivered(size_t node, const flood::DeliverEnvelope& delivered) {
  ++counts_.envelopes_delivered;
  Node& state = nodes_[node];
  if (HashOf<EnvelopeHash>(delivered.envelope.span()) != delivered.hash) {
    Fail(fmt::format("node {}: an envelope was delivered under a wrong hash", node));
  }
  if (forged_.contains(delivered.hash)) {
    ++counts_.forged_delivered;
    return;
  }
  if (!known_envelopes_.contains(delivered.hash)) {
    Fail(fmt::format("node {}: delivered envelope {} was broadcast by nobody", node,
                     delivered.hash.ShortHex()));
  }
  if (!state.delivered.insert(delivered.hash).second && !delivered.redelivered) {
    Fail(fmt::format("node {}: envelope {} delivered twice", node, delivered.hash.ShortHex()));
  }
  if (state.broadcast.contains(delivered.hash) && !delivered.redelivered) {
    Fail(fmt::format("node {}: envelope {} came back to the core that broadcast it", node,
                     delivered.hash.ShortHex()));
  }
  state.envelopes.insert(delivered.hash);
}

void Checkers::OnDelivered(size_t node, const flood::DeliverTransaction& delivered) {
  ++counts_.transactions_delivered;
  Node& state = nodes_[node];
  const auto submitted = transactions_.find(delivered.hash);
  if (submitted == transactions_.end() || !(submitted->second == delivered.transaction)) {
    Fail(fmt::format("node {}: transaction {} is not what was submitted", node,
                     delivered.hash.ShortHex()));
  }
  if (!state.transactions_delivered.insert(delivered.hash).second && !delivered.redelivered &&
      !externalized_.contains(delivered.hash)) {
    Fail(fmt::format("node {}: transaction {} delivered twice", node, delivered.hash.ShortHex()));
  }
  state.transactions.insert(delivered.hash);
}

void Checkers::OnAvailable(size_t node, const flood::SetAvailable& available) {
  ++counts_.sets_delivered;
  const auto offered = sets_.find(available.key);
  if (HashOf<SetHash>(available.bytes.span()) != available.key.hash || offered == sets_.end() ||
      !(offered->second == available.bytes)) {
    Fail(fmt::format("node {}: set {} is not what was offered", node,
                     available.key.hash.ShortHex()));
  }
  nodes_[node].sets.insert(available.key);
}

void Checkers::OnAnswered(size_t node, char kind, uint64_t id) {
  ++counts_.answers;
  if (nodes_[node].open_requests.erase({kind, id}) == 0) {
    Fail(fmt::format("node {}: request {}{} was answered twice, or never made", node, kind, id));
  }
}

void Checkers::OnNodeStopped(size_t node) {
  nodes_[node].sent_by.clear();
  nodes_[node].requests.clear();
  nodes_[node].demanded.clear();
}

void Checkers::OnSentByPeer(size_t node, PeerId peer, const Bytes& envelope) {
  std::set<EnvelopeHash>& sent = nodes_[node].sent_by[peer];
  const auto hash = HashOf<EnvelopeHash>(envelope.span());
  const auto known = known_envelopes_.find(hash);
  if (known == known_envelopes_.end()) return;
  const std::set<EnvelopeHash>& delivered = nodes_[node].delivered;
  const auto is_of_key = [&](const EnvelopeHash& other) {
    return known_envelopes_.at(other).key == known->second.key;
  };
  const auto is_newer = [&](const EnvelopeHash& other) {
    return known_envelopes_.at(other).order > known->second.order;
  };
  std::erase_if(sent, [&](const EnvelopeHash& other) {
    return is_of_key(other) && other != hash && !is_newer(other) && !delivered.contains(other);
  });
  const bool is_superseded = std::any_of(sent.begin(), sent.end(), [&](const EnvelopeHash& other) {
    return is_of_key(other) && is_newer(other);
  });
  if (!is_superseded || delivered.contains(hash)) sent.insert(hash);
}

void Checkers::OnPeerEvent(size_t node, const PeerEvent& event) {
  auto& sent_by = nodes_[node].sent_by;
  if (const auto* received = std::get_if<EnvelopeReceived>(&event)) {
    OnSentByPeer(node, received->peer, received->envelope);
  } else if (const auto* part = std::get_if<StateReceived>(&event)) {
    if (part->part == StateReceived::Part::kEnvelope) {
      OnSentByPeer(node, part->peer, part->envelope);
    }
  } else if (const auto* down = std::get_if<PeerDisconnected>(&event)) {
    sent_by.erase(down->peer);
  }
}

void Checkers::OnAction(size_t node, const flood::Action& action) {
  const auto* command = std::get_if<PeerCommand>(&action);
  if (command == nullptr) return;
  const auto* bodies = std::get_if<RequestBodies>(command);
  const auto* set = std::get_if<RequestSet>(command);
  if (bodies != nullptr || set != nullptr) {
    const RequestId id = bodies != nullptr ? bodies->request : set->request;
    if (!nodes_[node].requests.insert(id).second) {
      Fail(fmt::format("node {}: two requests are numbered {:#x}", node, id.value));
    }
    if (bodies != nullptr)
      nodes_[node].demanded.insert(bodies->data.hashes.begin(), bodies->data.hashes.end());
    return;
  }
  const auto* send = std::get_if<SendEnvelope>(command);
  if (send == nullptr) return;
  ++counts_.envelope_copies;
  if (forged_.contains(HashOf<EnvelopeHash>(send->envelope.span()))) {
    Fail(fmt::format("node {}: a forged envelope is sent on", node));
  }
  const auto sent = nodes_[node].sent_by.find(send->peer);
  if (sent == nodes_[node].sent_by.end()) return;
  const auto hash = HashOf<EnvelopeHash>(send->envelope.span());
  if (sent->second.contains(hash)) {
    Fail(fmt::format("node {}: envelope {} is echoed to a peer that sent it", node,
                     hash.ShortHex()));
  }
}

void Checkers::OnDatagram(absl::Span<const uint8_t> payload) {
  ++counts_.datagrams_searched;
  if (plain_.Finds(payload)) Fail("a datagram carries a payload in the clear");
}

// ---- after healing

std::optional<std::string> Checkers::Missing(const std::vector<size_t>& present,
                                             LedgerSeq oldest_kept) {
  for (const size_t node : present) {
    const Node& state = nodes_[node];
    for (const auto& [key, authored] : newest_) {
      if (key.slot < oldest_kept) continue;
      ++counts_.envelopes_converged;
      if (!state.envelopes.contains(authored.hash)) {
        return fmt::format("core {} lacks envelope {} of node {}, slot {}{}", node,
                           authored.hash.ShortHex(), key.author, key.slot.value,
                           key.nomination ? " (nomination)" : "");
      }
      for (const SetKey& name : authored.names) {
        ++counts_.sets_converged;
        if (!state.sets.contains(name)) {
          return fmt::format("core {} lacks the set {} of slot {}", node, name.hash.ShortHex(),
                             key.slot.value);
        }
      }
    }
    for (const auto& [hash, transaction] : transactions_) {
      if (externalized_.contains(hash)) continue;
      ++counts_.transactions_converged;
      if (state.excused.contains(hash) && !state.transactions.contains(hash)) {
        ++counts_.transactions_excused;
        continue;
      }
      if (!state.transactions.contains(hash)) {
        return fmt::format("core {} lacks transaction {}", node, hash.ShortHex());
      }
    }
    if (!state.open_requests.empty()) {
      const auto& [kind, id] = *state.open_requests.begin();
      return fmt::format("request {}{} of core {} is not answered", kind, id, node);
    }
  }
  return std::nullopt;
}

}  // namespace overlay::sim
