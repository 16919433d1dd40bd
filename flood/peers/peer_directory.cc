#include "flood/peers/peer_directory.h"

#include <algorithm>
#include <utility>

#include "absl/container/btree_set.h"
#include "flood/base/check.h"

namespace overlay::flood {

// ---- state ------------------------------------------------------------------------------------

void PeerDirectory::Transition(const NodeKey& key, KnownPeer& known) {
  const bool dialled = std::any_of(dials_.begin(), dials_.end(),
                                   [&](const auto& entry) { return entry.second == key; });
  known.state = FindKey(key)       ? PeerState::kConnected
                : dialled          ? PeerState::kDialling
                : known.configured ? PeerState::kWaiting
                                   : PeerState::kLost;
}

bool PeerDirectory::OnPeerConnected(Time now, const PeerConnected& connected,
                                    const ConfiguredAs& configured, ActionList& out) {
  const PeerInfo& info = connected.info;
  if (bans_.Contains(now, info.key)) {
    out.push_back(PeerCommand(DropPeer{connected.peer, CloseReason::kBanned, "banned"}));
    return false;
  }
  const Admission admission =
      Admit(targets_, now, {configured.standing, info.inbound, configured.pinned}, Inbound(now));
  if (!admission.admitted) {
    out.push_back(PeerCommand(
        DropPeer{connected.peer, CloseReason::kNotAdmitted, std::string(admission.why_not)}));
    return false;
  }
  if (admission.displaced) Drop(*admission.displaced, "displaced by another peer", out);
  Peer& peer = peers_[connected.peer];
  peer.info = info;
  peer.configured = configured;
  peer.since = now;
  peer.core_absent_since = now;  // until it says otherwise
  peer.known = &book_.Add(now, info.key);
  peer.known->configured = configured.standing != Standing::kOrdinary;
  peer.known->last_seen = now;
  ++peer.known->connected_total;
  Transition(info.key, *peer.known);
  if (info.inbound && info.listen_port != 0) {
    SocketAddress address = info.address;
    address.port = info.listen_port;
    book_.Learn(info.key, {address, AddressSource::kListens, std::nullopt});
  }
  out.push_back(PeerNews(PeerUp{connected.peer, info}));
  UpdateGauges();
  return true;
}

std::optional<PeerInfo> PeerDirectory::OnPeerDisconnected(Time now,
                                                          const PeerDisconnected& disconnected,
                                                          ActionList& out) {
  auto it = peers_.find(disconnected.peer);
  if (it == peers_.end()) return std::nullopt;
  KnownPeer& known = *it->second.known;
  known.last_seen = now;
  known.lost_reason = disconnected.reason;
  known.bytes_sent.Add(now, static_cast<double>(disconnected.bytes_sent));
  known.bytes_received.Add(now, static_cast<double>(disconnected.bytes_received));
  OnPath(now, disconnected.peer, disconnected.rtt);
  PeerInfo info = it->second.info;
  peers_.erase(it);
  Transition(info.key, known);
  out.push_back(
      PeerNews(PeerDown{disconnected.peer, info, disconnected.reason, disconnected.by_peer}));
  book_.Trim(now);
  UpdateGauges();
  return info;
}

void PeerDirectory::OnDial(const Dial& dial) {
  const std::optional<NodeKey> key =
      dial.pinned_key ? dial.pinned_key : book_.OwnerOf(dial.address);
  KnownPeer* known = key ? book_.Find(*key) : nullptr;
  if (known == nullptr) return;
  dials_.emplace(dial.dial, *key);
  Transition(*key, *known);
}

void PeerDirectory::OnDialEnded(Time now, const DialEnded& ended, bool configured,
                                std::optional<AddressSource> source) {
  if (const auto it = dials_.find(ended.dial); it != dials_.end()) {
    const NodeKey key = it->second;
    dials_.erase(it);
    // It was being dialled or connected since, so it is not forgotten.
    KnownPeer& known = *book_.Find(key);
    if (known.state != PeerState::kConnected) {
      known.configured = configured;
      if (ended.reason != CloseReason::kNone) known.lost_reason = ended.reason;
    }
    Transition(key, known);
  }
  const bool reached =
      ended.reason == CloseReason::kNone || ended.reason == CloseReason::kDuplicate;
  if (!source) source = book_.SourceOf(ended.address);
  if (reached && ended.key && FindKey(*ended.key)) {
    if (source) book_.Learn(*ended.key, {ended.address, *source, now});
  } else if (ended.reason == CloseReason::kSelf ||
             (ended.key && book_.OwnerOf(ended.address) != ended.key)) {
    book_.Unlearn(ended.address);
  }
  book_.Trim(now);
  UpdateGauges();
}

void PeerDirectory::OnOffence(Time now, const PeerOffence& offence, ActionList& out) {
  ++stats_.offences[static_cast<size_t>(offence.offence)];
  auto it = peers_.find(offence.peer);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  out.push_back(PeerNews(PeerOffended{peer.info.key, offence.offence}));
  const bool may_go = peer.configured.standing == Standing::kOrdinary && !peer.dropped;
  if (!peer.score.Add(now, offence.offence) || !may_go) return;
  peer.dropped = true;
  const std::string why(OffenceName(offence.offence));
  out.push_back(PeerCommand(DropPeer{offence.peer, CloseReason::kBadScore, why}));
  Ban(now, peer.info.key, {BannedBy::kScore, now, now + kScoreBanFor, why}, out);
}

void PeerDirectory::SetCorePresent(Time now, PeerId peer, bool present) {
  const auto it = peers_.find(peer);
  if (it == peers_.end()) return;
  if (present) {
    it->second.core_absent_since.reset();
  } else if (!it->second.core_absent_since) {
    it->second.core_absent_since = now;
  }
}

void PeerDirectory::SetAddress(PeerId peer, const SocketAddress& address) {
  if (auto it = peers_.find(peer); it != peers_.end()) it->second.info.address = address;
}

std::vector<PeerView> PeerDirectory::Describe(Time now) const {
  std::vector<PeerView> views;
  for (const auto& [id, peer] : peers_) {
    PeerView& view = views.emplace_back();
    view.state = PeerView::State::kConnected;
    view.key = peer.info.key;
    view.address = peer.info.address;
    view.peer = id;
    view.score = peer.score.At(now);
    view.core_present = !peer.core_absent_since;
  }
  return views;
}

void PeerDirectory::DescribeKnown(Time now, std::vector<PeerView>& views) const {
  absl::btree_set<NodeKey> listed;
  for (PeerView& view : views) {
    if (!view.key) continue;
    listed.insert(*view.key);
    if (const KnownPeer* known = book_.Find(*view.key)) view.known = *known;
  }
  std::vector<std::pair<Time, const NodeKey*>> lost;
  for (const auto& [key, known] : book_.peers()) {
    if (!listed.contains(key)) lost.emplace_back(known.last_seen, &key);
  }
  const size_t count = std::min(lost.size(), kLostListedMax);
  std::partial_sort(lost.begin(), lost.begin() + static_cast<ptrdiff_t>(count), lost.end(),
                    [](const auto& a, const auto& b) {
                      return a.first != b.first ? a.first > b.first : *a.second < *b.second;
                    });
  for (size_t i = 0; i < count; ++i) {
    const KnownPeer& known = *book_.Find(*lost[i].second);
    PeerView& view = views.emplace_back();
    view.state =
        known.state == PeerState::kDialling ? PeerView::State::kDialling : PeerView::State::kLost;
    view.key = *lost[i].second;
    if (!known.addresses.empty()) view.address = known.addresses.front().address;
    view.last_reason = known.lost_reason;
    view.known = known;
  }
  for (PeerView& view : views) view.banned = view.key && bans_.Contains(now, *view.key);
}

// ---- what it was good for ---------------------------------------------------------------------

KnownPeer* PeerDirectory::Known(PeerId peer) {
  ++changes_;
  const auto it = peers_.find(peer);
  return it == peers_.end() ? nullptr : it->second.known;
}

void PeerDirectory::OnPath(Time now, PeerId peer, Duration rtt) {
  if (rtt <= Duration{}) return;
  if (KnownPeer* known = Known(peer)) known->rtt.Add(now, ToSeconds(rtt));
}

void PeerDirectory::OnFirstEnvelope(Time now, PeerId peer) {
  const auto it = peers_.find(peer);
  if (it == peers_.end()) return;
  it->second.has_delivered = true;
  it->second.known->first_envelopes.Add(now, 1);
  ++changes_;
}

void PeerDirectory::OnFirstTransaction(Time now, PeerId peer) {
  const auto it = peers_.find(peer);
  if (it == peers_.end()) return;
  it->second.has_delivered = true;
  it->second.known->first_transactions.Add(now, 1);
  ++changes_;
}

void PeerDirectory::OnFetch(Time now, PeerId peer, bool ok) {
  if (KnownPeer* known = Known(peer)) (ok ? known->fetches_ok : known->fetches_failed).Add(now, 1);
}

void PeerDirectory::Restore(Time now, WallTime wall, const PeerFile& file) {
  AddPeerFile(file, now, wall, book_, bans_);
  UpdateGauges();
}

// ---- getters ----------------------------------------------------------------------------------

const PeerInfo* PeerDirectory::Find(PeerId peer) const {
  auto it = peers_.find(peer);
  return it == peers_.end() ? nullptr : &it->second.info;
}

std::optional<PeerId> PeerDirectory::FindKey(const NodeKey& key) const {
  for (const auto& [id, peer] : peers_) {
    if (peer.info.key == key) return id;
  }
  return std::nullopt;
}

std::vector<PeerId> PeerDirectory::List() const {
  std::vector<PeerId> list;
  list.reserve(peers_.size());
  for (const auto& [id, peer] : peers_) list.push_back(id);
  return list;
}

double PeerDirectory::ScoreOf(Time now, PeerId peer) const {
  auto it = peers_.find(peer);
  return it == peers_.end() ? 0 : it->second.score.At(now);
}

// ---- bans -------------------------------------------------------------------------------------

bool PeerDirectory::Ban(Time now, const NodeKey& key, const flood::Ban& ban, ActionList& out) {
  if (!bans_.Add(now, key, ban)) return false;
  ++stats_.banned[static_cast<size_t>(ban.by)];
  out.push_back(PeerNews(PeerBanned{key, ban}));
  const std::optional<PeerId> peer = FindKey(key);
  if (peer && !std::exchange(peers_.at(*peer).dropped, true)) {
    // Not the reason: that is for our operators.
    out.push_back(PeerCommand(DropPeer{*peer, CloseReason::kBanned, "banned"}));
  }
  UpdateGauges();
  return true;
}

bool PeerDirectory::Unban(Time now, const NodeKey& key) {
  const bool was_banned = bans_.Remove(now, key);
  UpdateGauges();
  return was_banned;
}

bool PeerDirectory::OnDeadline(Time now) {
  if (!bans_.Expire(now)) return false;
  UpdateGauges();
  return true;
}

// ---- outbound ---------------------------------------------------------------------------------

std::vector<OutboundPeer> PeerDirectory::Outbound(Time now) const {
  std::vector<OutboundPeer> outbound;
  for (const auto& [id, peer] : peers_) {
    const bool ordinary = peer.configured.standing == Standing::kOrdinary;
    if (peer.info.inbound || peer.dropped || !ordinary) continue;
    outbound.push_back(
        {id, peer.info.key, peer.info.address, peer.core_absent_since, peer.known->Worth(now)});
  }
  return outbound;
}

// ---- admission --------------------------------------------------------------------------------

std::vector<InboundPeer> PeerDirectory::Inbound(Time now) const {
  std::vector<InboundPeer> inbound;
  for (const auto& [id, peer] : peers_) {
    if (!peer.info.inbound || peer.dropped) continue;
    inbound.push_back(
        {id, peer.configured.standing, peer.since, peer.has_delivered, peer.known->Worth(now)});
  }
  return inbound;
}

void PeerDirectory::Drop(PeerId peer, std::string_view why, ActionList& out) {
  peers_.at(peer).dropped = true;
  out.push_back(PeerCommand(DropPeer{peer, CloseReason::kNotAdmitted, std::string(why)}));
}

void PeerDirectory::Enforce(Time now, ActionList& out) {
  for (const auto& [id, peer] : peers_) {
    if (targets_.closed && !peer.configured.pinned && !peer.dropped) Drop(id, "closed list", out);
  }
  for (auto inbound = Inbound(now); inbound.size() > targets_.inbound_max; inbound = Inbound(now)) {
    const std::optional<PeerId> least = LeastOf(inbound, Standing::kOrdinary);
    if (!least) return;
    Drop(*least, "inbound limit", out);
  }
}

void PeerDirectory::UpdateGauges() {
  ++changes_;
  stats_.known = book_.peers().size();
  stats_.bans = bans_.bans().size();
  stats_.connected = peers_.size();
  stats_.inbound = static_cast<uint64_t>(std::count_if(
      peers_.begin(), peers_.end(), [](const auto& entry) { return entry.second.info.inbound; }));
}

void PeerDirectory::CheckInvariants() const {
  OVERLAY_CHECK(stats_.connected == peers_.size());
  const std::vector<InboundPeer> inbound = Inbound(Time{});  // worth aside
  if (inbound.size() > targets_.inbound_max) {
    OVERLAY_CHECK(!LeastOf(inbound, Standing::kOrdinary));  // R2
  }
  book_.CheckInvariants();
  bans_.CheckInvariants();
  for (const auto& [id, peer] : peers_) {
    OVERLAY_CHECK(book_.Find(peer.info.key) == peer.known);
    OVERLAY_CHECK(peer.known->state == PeerState::kConnected);  // R4, and what follows
  }
  for (const auto& [dial, key] : dials_) {
    const PeerState state = book_.Find(key)->state;
    OVERLAY_CHECK(state == PeerState::kConnected || state == PeerState::kDialling);
  }
  size_t connected = 0;
  for (const auto& [key, known] : book_.peers()) {
    connected += known.state == PeerState::kConnected;
    OVERLAY_CHECK(known.state != PeerState::kLost || !known.configured);
    OVERLAY_CHECK(known.state != PeerState::kWaiting || known.configured);
  }
  OVERLAY_CHECK(connected == peers_.size());
}

}  // namespace overlay::flood
