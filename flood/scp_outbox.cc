#include "flood/scp_outbox.h"

#include "flood/base/check.h"
#include "flood/scp_order.h"

namespace overlay::flood {
namespace {

// R3, of two with the same key.
bool Stays(const ScpEntry& state, const ScpEntry& entry, const ScpStatement& statement,
           uint64_t session) {
  const auto skim = SkimEnvelope(state.body.span());
  OVERLAY_CHECK(skim.ok());  // it was skimmed before
  if (Newer(skim->statement, statement)) return true;
  const bool is_of_earlier_life =
      entry.broadcast_session != 0 && entry.broadcast_session != session;
  return is_of_earlier_life && state.broadcast_session == session &&
         !Newer(statement, skim->statement);
}

}  // namespace

const ScpEntry* ScpOutbox::Current(const ScpKey& key) const {
  const auto found = state_.find(key);
  return found == state_.end() ? nullptr : found->second;
}

void ScpOutbox::LoadMarks(const ScpEntry& entry) {
  for (uint32_t mark : entry.marks) {
    if (ScpPeer* peer = peers_.FindOrdinal(mark >> kMarkBits)) {
      peer->marked_entry = entry.id;
      peer->marks = mark & ((1u << kMarkBits) - 1);
    }
  }
}

bool ScpOutbox::Needs(const ScpEntry& entry, ScpPeer& peer, bool force) {
  const uint32_t marks = peer.marked_entry == entry.id ? peer.marks : 0;
  if (marks & kInFlight) return false;
  return force || !(marks & (kSentIt | kHasIt));
}

ScpOutbox::Sent ScpOutbox::Broadcast(ScpEntry& entry, const Bytes& envelope,
                                     const ScpStatement& statement, uint64_t session, bool force,
                                     ActionList& out) {
  Sent sent;
  const auto current = state_.find(entry.key);
  if (current != state_.end() && current->second != &entry) {
    ScpEntry& old = *current->second;
    sent.superseded = Stays(old, entry, statement, session);
    if (!sent.superseded) {
      EndState(old);
      TakeBackAll(old, out);
    }
  }
  entry.broadcast_session = session;
  if (!sent.superseded && !entry.is_state) {
    index_.SetBody(entry, envelope);
    entry.is_state = true;
    state_[entry.key] = &entry;
    state_bytes_ += entry.body.size();
  }
  LoadMarks(entry);
  for (auto& [id, peer] : peers_.all()) {
    const bool needs = Needs(entry, peer, force);
    peer.marked_entry = 0;
    if (!needs) {
      ++sent.known;
    } else if (sent.superseded) {
      ++sent.superseded_peers;
    } else {
      Send(entry, peer, out);
      ++sent.peers;
      if (peer.blocked) ++sent.queued;
    }
  }
  BoundState();
  return sent;
}

void ScpOutbox::Send(ScpEntry& entry, const ScpPeer& peer, ActionList& out) {
  index_.SetMark(entry, peer.ordinal, kInFlight);
  ++stats_.copies_sent;
  out.emplace_back(
      PeerCommand(SendEnvelope{peer.id, EnvelopeToken{entry.id}, entry.key.slot, entry.body}));
}

void ScpOutbox::OnSentByPeer(ScpEntry& entry, const ScpPeer& peer, ActionList& out) {
  index_.SetMark(entry, peer.ordinal, kSentIt);
  const uint32_t marks = ScpIndex::MarkOf(entry, peer.ordinal);
  if (!(marks & kInFlight) || (marks & kTakingBack)) return;
  index_.SetMark(entry, peer.ordinal, kTakingBack);
  out.emplace_back(PeerCommand(CancelEnvelope{peer.id, EnvelopeToken{entry.id}}));
}

std::optional<LedgerSeq> ScpOutbox::OnDone(const ScpPeer& peer, const EnvelopeDone& done,
                                           ActionList& out) {
  ScpEntry* entry = index_.FindById(done.token.value);
  uint32_t marks = 0;
  if (entry != nullptr) {  // else its slot has gone
    marks = ScpIndex::MarkOf(*entry, peer.ordinal);
    index_.ClearMark(*entry, peer.ordinal, kInFlight | kTakingBack);
  }
  switch (done.outcome) {
    case EnvelopeDone::Outcome::kAcknowledged:
      ++stats_.copies_acknowledged;
      if (entry != nullptr) index_.SetMark(*entry, peer.ordinal, kHasIt);
      break;
    case EnvelopeDone::Outcome::kCancelled:
      ++stats_.copies_superseded;
      if (entry != nullptr && entry->is_state && !(marks & (kSentIt | kHasIt))) {
        Send(*entry, peer, out);
      }
      break;
    case EnvelopeDone::Outcome::kDropped:
      ++stats_.copies_dropped;
      if (entry != nullptr && entry->is_state) return entry->key.slot;
      break;
  }
  return std::nullopt;
}

void ScpOutbox::TakeBackAll(ScpEntry& entry, ActionList& out) {
  for (uint32_t& mark : entry.marks) {
    if (!(mark & kInFlight) || (mark & kTakingBack)) continue;
    const ScpPeer* peer = peers_.FindOrdinal(mark >> kMarkBits);
    if (peer == nullptr) continue;
    mark |= kTakingBack;
    out.emplace_back(PeerCommand(CancelEnvelope{peer->id, EnvelopeToken{entry.id}}));
  }
}

void ScpOutbox::Drop(ScpEntry& entry, ActionList& out) {
  EndState(entry);
  TakeBackAll(entry, out);
}

void ScpOutbox::EndState(ScpEntry& entry) {
  if (!entry.is_state) return;
  entry.is_state = false;
  state_.erase(entry.key);
  state_bytes_ -= entry.body.size();
  if (entry.keepers == 0) index_.DropBody(entry);
}

void ScpOutbox::BoundState() {
  while (state_bytes_ > limits_.core_stream_bytes_max && state_.size() > 1) {
    EndState(*state_.begin()->second);
  }
}

std::vector<Bytes> ScpOutbox::StateFrom(LedgerSeq from) const {
  std::vector<Bytes> envelopes;
  for (auto entry = state_.rbegin(); entry != state_.rend() && entry->first.slot >= from; ++entry) {
    envelopes.push_back(entry->second->body);
  }
  return envelopes;
}

void ScpOutbox::CheckInvariants() const {
  size_t bytes = 0;
  for (const auto& [key, entry] : state_) {
    OVERLAY_CHECK(entry->is_state && entry->key == key);
    bytes += entry->body.size();
  }
  OVERLAY_CHECK(bytes == state_bytes_);
}

}  // namespace overlay::flood
