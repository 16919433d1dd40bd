// The SCP flood as a whole, beside a model of vectors and maps that is written from the rules of
// scp_flood.h, scp_inbox.h and scp_outbox.h: four peers, a core that comes and goes, and 64
// envelopes of two nodes, four slots and eight kinds of statement.
//
// Compared after each operation: what the core got and in which order, which copies went to which
// peer and which were taken back, what was said of an arrival, offences, results of broadcasts. In
// the end a core with room attaches, and must get exactly what the model still keeps for it.
//
// Half of the inputs run under limits so small that most of the traffic is at one of them. What is
// lost there is the component's choice; then only safety is compared: at most once per attachment,
// nothing that nobody sent, no more than the room, no copy twice on its way; every loss is told.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "flood/base/crypto.h"
#include "flood/scp_flood.h"
#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr size_t kOperationCountMax = 200;
constexpr size_t kPeerCount = 4;
constexpr size_t kKindCount = 8;
constexpr std::array<uint64_t, 4> kSlots = {10, 11, 25, 140};
constexpr size_t kEnvelopeCount = kKindCount * 2 * kSlots.size();

// ---- the envelopes, known to the model by their numbers alone

uint64_t SlotOf(size_t number) { return kSlots[number / kKindCount / 2]; }
size_t KindOf(size_t number) { return number % kKindCount; }
// Node, slot and phase as one number. Kinds: PREPARE 1 to 3, two EXTERNALIZE, NOMINATE {a}, {b},
// {a, b}.
size_t KeyOf(size_t number) { return number / kKindCount * 2 + (KindOf(number) < 5 ? 1 : 0); }
bool IsNewer(size_t a, size_t b) {
  if (KeyOf(a) != KeyOf(b)) return false;
  const size_t kind_a = KindOf(a), kind_b = KindOf(b);
  if (kind_a < 3) return kind_b < kind_a;  // PREPARE by counter
  if (kind_a < 5) return kind_b < 3;       // EXTERNALIZE over PREPARE
  return kind_a == 7 && kind_b != 7;       // NOMINATE of both over that of either
}

Bytes MakeEnvelope(size_t number) {
  std::string out;
  const auto word = [&](uint64_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
  };
  const auto opaque = [&](const std::string& text) {
    word(text.size());
    out += text + std::string((4 - text.size() % 4) % 4, '\0');
  };
  const std::string quorum_set(32, 'q');
  const size_t kind = KindOf(number);
  word(0);
  out += std::string(32, static_cast<char>('a' + number / kKindCount % 2));
  word(0);
  word(SlotOf(number));
  if (kind < 3) {
    word(0);
    out += quorum_set;
    word(kind + 1);
    opaque("v");
    for (int i = 0; i < 4; ++i) word(0);  // no prepared ballots, nC, nH
  } else if (kind < 5) {
    word(2);
    word(1);
    opaque(kind == 3 ? "v" : "w");
    word(1);
    out += quorum_set;
  } else {
    word(3);
    out += quorum_set;
    word(kind == 7 ? 2 : 1);
    if (kind != 6) opaque("a");
    if (kind != 5) opaque("b");
    word(0);
  }
  opaque("");
  return Bytes::Take(std::move(out));
}

struct Pool {
  std::array<Bytes, kEnvelopeCount> bytes;
  std::array<EnvelopeHash, kEnvelopeCount> hash;
  std::map<EnvelopeHash, size_t> number;
};
const Pool& ThePool() {
  static const Pool* const kPool = [] {
    Pool* pool = new Pool;
    for (size_t i = 0; i < kEnvelopeCount; ++i) {
      pool->bytes[i] = MakeEnvelope(i);
      pool->hash[i] = HashOf<EnvelopeHash>(pool->bytes[i].span());
      pool->number[pool->hash[i]] = i;
    }
    return pool;
  }();
  return *kPool;
}

// ---- the model

using Numbers = std::vector<size_t>;
using Copies = std::multiset<std::pair<uint64_t, size_t>>;  // peer, envelope

struct Expected {
  std::optional<std::string> heard;  // "new" or "old", of an arrival that is not refused
  Numbers delivered;
  Copies sent, taken_back;
  std::vector<uint64_t> offenders;
};

class Model {
 public:
  explicit Model(const SlotWindow& window) : window_(window) {}

  Expected expected;

  void Connect(uint64_t peer, int key) { peers_[peer] = key; }
  void Disconnect(uint64_t peer) {
    peers_.erase(peer);
    for (auto& [number, known] : known_) known.marks.erase(peer);
    std::erase_if(on_their_way, [&](const Copy& copy) { return copy.peer == peer; });
    Deliver();
  }

  void Receive(Time now, uint64_t peer, size_t number) {
    const int sender = peers_[peer];
    Take(now, peer, sender, number);
    Deliver();
  }

  struct Result {
    size_t sent = 0, superseded_peers = 0, known = 0;
    bool superseded = false;
  };
  Result Broadcast(size_t number, bool force) {
    Known& known = Remember(number);
    const bool is_of_earlier_life = known.broadcast_ever && !known.broadcast_now;
    Result result;
    const auto current = state_.find(KeyOf(number));
    if (current != state_.end()) {
      result.superseded = IsNewer(current->second, number) ||
                          (is_of_earlier_life && known_.at(current->second).broadcast_now &&
                           !IsNewer(number, current->second));
    }
    known.broadcast_now = known.broadcast_ever = true;
    known.refused = false;
    if (!result.superseded) {
      const std::optional<size_t> old =
          current == state_.end() ? std::nullopt : std::optional(current->second);
      if (old && *old != number) TakeBack(*old);
      state_[KeyOf(number)] = number;
    }
    for (const auto& [peer, key] : peers_) {
      const Mark& mark = known.marks[peer];
      if (mark.on_its_way || (!force && (mark.sent_it || mark.has_it))) {
        ++result.known;
      } else if (result.superseded) {
        ++result.superseded_peers;
      } else {
        Send(peer, number);
        ++result.sent;
      }
    }
    Deliver();
    return result;
  }

  struct Copy {
    uint64_t peer = 0;
    size_t number = 0;
    uint64_t life = 0;  // of the entry: one that was forgotten and came again is another
    bool taken_back = false;
  };
  std::vector<Copy> on_their_way;

  // True: the drop is to be told to the core.
  bool Done(size_t at, EnvelopeDone::Outcome outcome) {
    const Copy copy = on_their_way[at];
    on_their_way.erase(on_their_way.begin() + static_cast<ptrdiff_t>(at));
    const auto found = known_.find(copy.number);
    if (found == known_.end() || found->second.life != copy.life) return false;
    Mark& mark = found->second.marks[copy.peer];
    mark.on_its_way = false;
    if (outcome == EnvelopeDone::Outcome::kAcknowledged) mark.has_it = true;
    if (!IsState(copy.number)) return false;
    if (outcome == EnvelopeDone::Outcome::kCancelled && !mark.sent_it && !mark.has_it) {
      Send(copy.peer, copy.number);
    }
    return outcome == EnvelopeDone::Outcome::kDropped;
  }

  void Verdict(size_t number, EnvelopeJudgement judgement) {
    const auto found = known_.find(number);
    if (found != known_.end()) {
      Known& known = found->second;
      known.keepers.clear();
      for (auto& [place, held] : held_) std::erase(held, number);
      if (judgement == EnvelopeJudgement::kInvalid) {
        for (const auto& [peer, key] : peers_) {
          if (known.marks[peer].sent_it && !known.refused) expected.offenders.push_back(peer);
        }
        EndState(number);
        known.refused = true;
      } else {
        known.seen = false;
        if (!known.broadcast_ever) known_.erase(found);
      }
    }
    Deliver();
  }

  void Attach() {
    attached_ = true;
    room_ = 0;
    NewSession();
    Deliver();
  }
  void Detach() {
    attached_ = false;
    NewSession();
  }
  void Room(uint64_t messages) {
    room_ += messages;
    Deliver();
  }
  void WindowMoved(Time now) {
    const std::optional<LedgerSeq> upper = window_.UpperBound(now);
    for (size_t number = 0; number < kEnvelopeCount; ++number) {
      const LedgerSeq slot{SlotOf(number)};
      const bool below = slot < window_.oldest_kept() && !window_.IsKept(slot);
      const bool above = upper && slot > *upper && !window_.IsTakenFromPeers(now, slot);
      if ((!below && !above) || !known_.contains(number)) continue;
      EndState(number);
      known_.erase(number);
      for (auto& [place, held] : held_) std::erase(held, number);
    }
    Deliver();
  }
  // Ascending in nothing: the caller compares sets.
  std::set<size_t> State() const {
    std::set<size_t> numbers;
    for (const auto& [key, number] : state_) numbers.insert(number);
    return numbers;
  }
  bool IsAttached() const { return attached_; }
  uint64_t room() const { return room_; }

 private:
  struct Mark {
    bool sent_it = false, has_it = false, on_its_way = false;
  };
  struct Known {
    uint64_t life = 0;
    bool seen = false;
    bool refused = false;
    bool broadcast_ever = false;
    bool broadcast_now = false;  // by the core that is attached
    bool delivered_now = false;  // to it
    std::set<int> keepers;       // keys of senders
    uint64_t place = 0;          // in the order of delivery, while kept
    std::map<uint64_t, Mark> marks;
  };

  Known& Remember(size_t number) {
    const auto [found, is_new] = known_.try_emplace(number);
    if (is_new) found->second.life = ++last_life_;
    return found->second;
  }
  bool IsState(size_t number) const {
    const auto found = state_.find(KeyOf(number));
    return found != state_.end() && found->second == number;
  }
  void NewSession() {
    for (auto& [number, known] : known_) known.broadcast_now = known.delivered_now = false;
  }
  static bool Waits(const Known& known) {
    return !known.keepers.empty() && !known.refused && !known.delivered_now && !known.broadcast_now;
  }

  void Send(uint64_t peer, size_t number) {
    Known& known = known_.find(number)->second;
    known.marks[peer].on_its_way = true;
    on_their_way.push_back({peer, number, known.life, false});
    expected.sent.insert({peer, number});
  }
  // From one peer, or from all.
  void TakeBack(size_t number, std::optional<uint64_t> only = {}) {
    const Known& known = known_.find(number)->second;
    for (Copy& copy : on_their_way) {
      if (copy.number != number || copy.life != known.life || copy.taken_back) continue;
      if (only && copy.peer != *only) continue;
      copy.taken_back = true;
      expected.taken_back.insert({copy.peer, number});
    }
  }
  void EndState(size_t number) {
    if (IsState(number)) state_.erase(KeyOf(number));
    TakeBack(number);
  }

  void Take(Time now, uint64_t peer, int sender, size_t number) {
    if (const auto found = known_.find(number); found != known_.end()) {
      Mark& mark = found->second.marks[peer];
      const bool sent_before = mark.sent_it;
      mark.sent_it = true;
      TakeBack(number, peer);
      if (found->second.refused) {
        if (!sent_before) expected.offenders.push_back(peer);
        return;
      }
    }
    if (!window_.IsTakenFromPeers(now, LedgerSeq{SlotOf(number)})) return;
    const bool was_seen = known_.contains(number) && known_.find(number)->second.seen;
    Numbers& held = held_[{sender, KeyOf(number)}];
    if (std::count(held.begin(), held.end(), number) > 0) {
      expected.heard = "old";
      return;
    }
    Numbers older;
    for (const size_t other : held) {
      if (IsNewer(other, number)) {
        expected.heard = "old";
        return;
      }
      if (IsNewer(number, other)) older.push_back(other);
    }
    if (older.empty() && held.size() == 2) older.push_back(held.front());
    std::optional<uint64_t> place;
    for (const size_t other : older) {
      std::erase(held, other);
      const std::optional<uint64_t> freed = Supersede(sender, other);
      if (freed && (!place || *freed < *place)) place = freed;
    }
    held.push_back(number);
    Known& known = Remember(number);
    known.seen = true;
    known.marks[peer].sent_it = true;
    if (known.keepers.empty()) {
      known.place = place && !known.delivered_now ? *place : ++last_place_;
    }
    known.keepers.insert(sender);
    expected.heard = was_seen ? "old" : "new";
  }
  // Under one sender. Its place, if nobody keeps it any more and it never reached the core.
  std::optional<uint64_t> Supersede(int sender, size_t number) {
    Known& known = known_.find(number)->second;
    const bool waited = Waits(known);
    const uint64_t place = known.place;
    known.keepers.erase(sender);
    if (!known.keepers.empty() || !waited) return std::nullopt;
    known.seen = false;
    if (!known.broadcast_ever) known_.erase(number);
    return place;
  }

  void Deliver() {
    while (attached_ && room_ > 0) {
      std::optional<size_t> next;
      for (const auto& [number, known] : known_) {
        if (!Waits(known)) continue;
        if (!next || known.place < known_.find(*next)->second.place) next = number;
      }
      if (!next) return;
      known_.find(*next)->second.delivered_now = true;
      // Not if this core has broadcast a newer one, which is state.
      const auto current = state_.find(KeyOf(*next));
      if (current != state_.end() && known_.find(current->second)->second.broadcast_now &&
          IsNewer(current->second, *next)) {
        continue;
      }
      --room_;
      expected.delivered.push_back(*next);
    }
  }

  const SlotWindow& window_;
  std::map<uint64_t, int> peers_;  // to the keys
  std::map<size_t, Known> known_;
  std::map<std::pair<int, size_t>, Numbers> held_;  // by sender's key and node, slot and phase
  std::map<size_t, size_t> state_;
  bool attached_ = false;
  uint64_t room_ = 0;
  uint64_t last_place_ = 0;
  uint64_t last_life_ = 0;
};

// ---- both, side by side

class Fuzz {
 public:
  explicit Fuzz(FuzzInput input) : in_(input), limits_(ChooseLimits()) {}

  void Run() {
    while (!in_.empty() && judge_.index() < kOperationCountMax) {
      Step();
      if (judge_.index() % 8 == 0) scp_.CheckInvariants();
    }
    Finish();
  }

 private:
  Limits ChooseLimits() {
    Limits limits;
    is_exact_ = !in_.Flag();
    if (is_exact_) return limits;
    limits.scp_kept_per_peer_count_max = in_.Pick(std::array<size_t, 3>{3, 1, 8000});
    limits.scp_kept_per_peer_bytes_max = in_.Pick(std::array<size_t, 3>{4 * kMiB, 500, 1000});
    limits.core_stream_message_count_max = in_.Pick(std::array<size_t, 3>{10'000, 1, 4});
    limits.own_newest_slots_per_peer = in_.Pick(std::array<uint64_t, 3>{1, 2, 12});
    limits.seen_hash_count_max = in_.Pick(std::array<size_t, 3>{200'000, 200'000, 6});
    limits.envelope_bytes_max = in_.Pick(std::array<size_t, 2>{64 * kKiB, 130});
    return limits;
  }

  struct OnItsWay {
    uint64_t peer = 0;
    size_t number = 0;
    EnvelopeToken token;
  };
  struct Got {
    Numbers delivered;
    Copies sent, taken_back;
    std::vector<uint64_t> offenders;
    std::optional<BroadcastResult> result;
    std::vector<SendState> answers;
    bool over_eager = false;
  };

  // Sorts what came out and compares it with what the model expects.
  Got Compare() {
    Got got;
    for (const Action& action : std::exchange(out_, {})) {
      if (const auto* command = std::get_if<PeerCommand>(&action)) OnCommand(*command, got);
      if (const auto* output = std::get_if<CoreOutput>(&action)) OnOutput(*output, got);
    }
    for (const PeerOffence& offence : std::exchange(offences_, {})) {
      if (offence.offence == Offence::kOverEager) {
        got.over_eager = true;
      } else {
        got.offenders.push_back(offence.peer.value);
      }
    }
    const Expected expected = std::exchange(model_.expected, {});
    if (!is_exact_) return got;
    judge_.Equal("delivered", expected.delivered, got.delivered);
    judge_.Equal("copies sent", expected.sent, got.sent);
    judge_.Equal("copies taken back", expected.taken_back, got.taken_back);
    judge_.Equal("offenders", expected.offenders, got.offenders);
    return got;
  }
  void OnCommand(const PeerCommand& command, Got& got) {
    if (const auto* send = std::get_if<SendEnvelope>(&command)) {
      const size_t number = NumberOf(send->envelope);
      judge_.True("only what the core broadcast is sent", broadcast_.contains(number));
      for (const OnItsWay& copy : on_their_way_) {
        judge_.True("one copy at a time",
                    copy.peer != send->peer.value || copy.token != send->token);
      }
      on_their_way_.push_back({send->peer.value, number, send->token});
      got.sent.insert({send->peer.value, number});
    } else if (const auto* cancel = std::get_if<CancelEnvelope>(&command)) {
      const auto copy =
          std::find_if(on_their_way_.begin(), on_their_way_.end(), [&](const OnItsWay& one) {
            return one.peer == cancel->peer.value && one.token == cancel->token;
          });
      judge_.True("what is taken back is on its way", copy != on_their_way_.end());
      got.taken_back.insert({copy->peer, copy->number});
    } else if (const auto* answer = std::get_if<SendState>(&command)) {
      got.answers.push_back(*answer);
    }
  }
  void OnOutput(const CoreOutput& output, Got& got) {
    if (const auto* deliver = std::get_if<DeliverEnvelope>(&output)) {
      const size_t number = NumberOf(deliver->envelope);
      judge_.True("a core is attached that has room", is_attached_ && room_-- > 0);
      judge_.True("a peer sent it", received_.contains({deliver->from, number}));
      judge_.True("it is not flagged", !deliver->redelivered);
      judge_.True("its hash", deliver->hash == ThePool().hash[number]);
      const bool is_first = delivered_.insert(number).second;
      if (limits_.seen_hash_count_max > kEnvelopeCount) {
        judge_.True("at most once per attachment", is_first);
      }
      got.delivered.push_back(number);
    } else if (const auto* result = std::get_if<BroadcastResult>(&output)) {
      got.result = *result;
    } else if (const auto* overflow = std::get_if<Overflow>(&output)) {
      judge_.True("losses are not told to nobody", is_attached_ && overflow->count > 0);
      uint64_t& told =
          overflow->direction == Overflow::Direction::kToCore ? told_to_core_ : told_from_core_;
      told += overflow->count;
      judge_.True(
          "losses are told at most once in a while",
          !told_at_ || *told_at_ == now_ || now_ >= *told_at_ + limits_.overflow_report_interval);
      told_at_ = now_;
    }
  }
  size_t NumberOf(const Bytes& envelope) const {
    const auto found = ThePool().number.find(HashOf<EnvelopeHash>(envelope.span()));
    judge_.True("bytes as they came", found != ThePool().number.end());
    return found->second;
  }

  static NodeKey KeyOfPeer(size_t which) {
    NodeKey key;
    key.bytes.fill(static_cast<uint8_t>(which + 1));
    return key;
  }
  bool IsHere(size_t which) const { return peers_[which] % 2 == 1; }

  // Odd ids are connected; no id is used twice, and a peer that returns has its key.
  void ConnectOrDisconnect() {
    const size_t which = in_.Below(kPeerCount);
    uint64_t& peer = peers_[which];
    judge_.Begin(IsHere(which) ? "peer {} goes" : "the peer after {} comes", peer);
    if (IsHere(which)) {
      model_.Disconnect(peer);
      std::erase_if(on_their_way_, [&](const OnItsWay& copy) { return copy.peer == peer; });
      scp_.OnPeerDisconnected(now_, PeerId{peer}, out_);
      ++peer;
    } else {
      ++peer;
      model_.Connect(peer, static_cast<int>(which));
      scp_.OnPeerConnected(now_, PeerId{peer}, KeyOfPeer(which), out_);
    }
    Compare();
  }

  void Receive() {
    const size_t which = in_.Below(kPeerCount);
    const size_t number = in_.Below(kEnvelopeCount);
    judge_.Begin("envelope {} (slot {}) of peer {}", number, SlotOf(number), peers_[which]);
    if (!IsHere(which)) return;
    received_.insert({KeyOfPeer(which), number});
    const auto heard =
        scp_.OnEnvelope(now_, PeerId{peers_[which]}, ThePool().bytes[number], out_, offences_);
    model_.Receive(now_, peers_[which], number);
    const std::string said = !heard ? "refused" : heard->is_new ? "new" : "old";
    if (is_exact_) judge_.Equal("heard", model_.expected.heard.value_or("refused"), said);
    Compare();
  }

  void Broadcast() {
    const size_t number = in_.Below(kEnvelopeCount);
    const bool force = in_.Below(8) == 7;
    judge_.Begin("broadcast of {} (slot {}), force {}", number, SlotOf(number), force);
    if (!is_attached_) return;
    broadcast_.insert(number);
    scp_.OnBroadcast(now_, {7, ThePool().bytes[number], force}, out_);
    const Model::Result expected = model_.Broadcast(number, force);
    const Got got = Compare();
    if (ThePool().bytes[number].size() > limits_.envelope_bytes_max) return;
    judge_.True("a broadcast has a result", got.result.has_value());
    if (!is_exact_) return;
    judge_.Equal<size_t>("peers sent", expected.sent, got.result->peers_sent);
    judge_.Equal<size_t>("peers that know", expected.known, got.result->peers_known);
    judge_.Equal<size_t>("peers not sent to", expected.superseded_peers,
                         got.result->peers_superseded);
    judge_.Equal("superseded", expected.superseded, got.result->superseded);
  }

  // The transport is done with a copy: written, or, where it was taken back, perhaps not.
  void Done() {
    const size_t at = in_.Byte();
    const size_t how = in_.Below(4);
    judge_.Begin("copy done {}", how);
    if (on_their_way_.empty()) return;
    const OnItsWay copy = on_their_way_[at % on_their_way_.size()];
    EnvelopeDone::Outcome outcome = EnvelopeDone::Outcome::kAcknowledged;
    if (how == 1) outcome = EnvelopeDone::Outcome::kDropped;
    if (is_exact_) {
      // The same copy in the model: those of one envelope to one peer are in the same order.
      size_t nth = 0;
      for (const OnItsWay& other : on_their_way_) {
        if (other.token == copy.token && other.peer == copy.peer) break;
        nth += other.peer == copy.peer && other.number == copy.number;
      }
      size_t of_model = 0;
      for (;; ++of_model) {
        judge_.True("the model has this copy", of_model < model_.on_their_way.size());
        const Model::Copy& other = model_.on_their_way[of_model];
        if (other.peer == copy.peer && other.number == copy.number && nth-- == 0) break;
      }
      if (how > 1 && model_.on_their_way[of_model].taken_back) {
        outcome = EnvelopeDone::Outcome::kCancelled;
      }
      dropped_ += model_.Done(of_model, outcome);
    }
    std::erase_if(on_their_way_, [&](const OnItsWay& other) {
      return other.token == copy.token && other.peer == copy.peer;
    });
    scp_.OnEnvelopeDone(now_, {PeerId{copy.peer}, copy.token, outcome}, out_);
    Compare();
  }

  void Verdict() {
    const size_t number = in_.Below(kEnvelopeCount);
    const EnvelopeJudgement judgement =
        in_.Flag() ? EnvelopeJudgement::kInvalid : EnvelopeJudgement::kDiscarded;
    judge_.Begin("verdict {} on {}", static_cast<int>(judgement), number);
    if (!is_attached_) return;
    if (judgement == EnvelopeJudgement::kDiscarded) delivered_.erase(number);
    model_.Verdict(number, judgement);
    scp_.OnVerdict(now_, {ThePool().hash[number], judgement}, out_, offences_);
    Compare();
  }

  void AttachOrDetach() {
    const uint64_t closed = in_.Pick(std::array<uint64_t, 3>{0, 12, 30});
    judge_.Begin(is_attached_ ? "detach" : "attach, closed {}", closed);
    is_attached_ = !is_attached_;
    delivered_.clear();
    room_ = 0;
    if (is_attached_) {
      window_.OnCoreAttached(now_, LedgerSeq{closed});
      model_.Attach();
      scp_.OnCoreAttached(now_, StatePolicy::kCache, out_);
      MoveWindow();
    } else {
      model_.Detach();
      scp_.OnCoreDetached(now_, out_);
    }
    Compare();
  }
  void MoveWindow() {
    model_.WindowMoved(now_);
    scp_.OnWindowMoved(now_, out_);
    // What has gone is new when it comes again.
    const auto upper = window_.UpperBound(now_);
    std::erase_if(delivered_, [&](size_t number) {
      const LedgerSeq slot{SlotOf(number)};
      return !window_.IsKept(slot) || (upper && slot > *upper);
    });
  }

  void Room() {
    const uint32_t messages = static_cast<uint32_t>(in_.Pick(std::array<int, 4>{1, 2, 5, 100}));
    judge_.Begin("room for {}", messages);
    if (!is_attached_) return;
    room_ += messages;
    model_.Room(messages);
    scp_.OnCoreRoom(now_, messages, out_);
    Compare();
  }

  void Close() {
    const uint64_t slot = in_.Pick(std::array<uint64_t, 6>{5, 12, 24, 30, 38, 100});
    const bool tracking = in_.Below(4) != 3;
    std::vector<LedgerSeq> keep;
    if (in_.Below(4) == 3) keep.push_back({in_.Pick(kSlots)});
    judge_.Begin("ledger {} closed, tracking {}", slot, tracking);
    if (!is_attached_) return;
    window_.OnLedgerClosed(now_, {slot}, tracking, keep);
    MoveWindow();
    Compare();
  }

  void Wait() {
    now_ += in_.Pick(std::array<Duration, 5>{1ms, 500ms, 2s, 29s, 61s});
    judge_.Begin("now {} ms", now_.time_since_epoch() / 1ms);
    if (window_.OnDeadline(now_)) MoveWindow();
    scp_.OnDeadline(now_, out_);
    Compare();
  }

  // What the core broadcast and is kept, newest slot first.
  void Question() {
    const size_t which = in_.Below(kPeerCount);
    const uint64_t from = in_.Pick(std::array<uint64_t, 4>{0, 11, 25, 141});
    judge_.Begin("state from {} for peer {}", from, peers_[which]);
    if (!IsHere(which)) return;
    scp_.OnGetScpState(now_, PeerId{peers_[which]}, {++last_question_, {from}}, out_, offences_);
    const Got got = Compare();
    if (got.over_eager) return;
    judge_.Equal<size_t>("answers", 1, got.answers.size());
    std::set<size_t> answered;
    uint64_t slot = UINT64_MAX;
    for (const Bytes& envelope : got.answers[0].envelopes) {
      const size_t number = NumberOf(envelope);
      judge_.True("newest slot first, down to what was asked",
                  SlotOf(number) <= slot && SlotOf(number) >= from);
      slot = SlotOf(number);
      judge_.True("each once", answered.insert(number).second);
    }
    std::set<size_t> expected = model_.State();
    std::erase_if(expected, [&](size_t number) { return SlotOf(number) < from; });
    if (is_exact_) judge_.Equal("state", expected, answered);
  }

  void Step() {
    switch (in_.Below(16)) {
      case 0:
        return ConnectOrDisconnect();
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
        return Receive();
      case 6:
      case 7:
        return Broadcast();
      case 8:
      case 9:
        return Done();
      case 10:
        return Verdict();
      case 11:
        return AttachOrDetach();
      case 12:
        return Room();
      case 13:
        return Close();
      case 14:
        return Wait();
      case 15:
        return Question();
    }
  }

  // A core with room gets all that is kept for it, and every loss has been told.
  void Finish() {
    if (!is_attached_) AttachOrDetach();
    judge_.Begin("room for all");
    room_ += 1000;
    model_.Room(1000);
    scp_.OnCoreRoom(now_, 1000, out_);
    Compare();
    judge_.Begin("the end");
    now_ += limits_.overflow_report_interval;
    scp_.OnDeadline(now_, out_);
    Compare();
    judge_.Equal("losses told to the core", stats_.refused_limit, told_to_core_);
    if (is_exact_) judge_.Equal("dropped copies told", dropped_, told_from_core_);
    scp_.CheckInvariants();
  }

  FuzzInput in_;
  bool is_exact_ = true;
  const Limits limits_;
  Time now_ = Time(1h);
  SlotWindow window_{limits_};
  ScpStats stats_;
  ScpFlood scp_{limits_, window_, Random(1), stats_};
  Model model_{window_};
  Judge judge_;
  ActionList out_;
  Offences offences_;

  std::array<uint64_t, kPeerCount> peers_{1000, 2000, 3000, 4000};
  bool is_attached_ = false;
  uint64_t room_ = 0;
  uint64_t last_question_ = 0;
  uint64_t dropped_ = 0;
  uint64_t told_to_core_ = 0;
  uint64_t told_from_core_ = 0;
  std::optional<Time> told_at_;
  std::set<std::pair<NodeKey, size_t>> received_;
  std::set<size_t> broadcast_;
  std::set<size_t> delivered_;  // in this attachment
  std::vector<OnItsWay> on_their_way_;
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
