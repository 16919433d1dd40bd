#include "tests/bench/synthetic_peers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <deque>
#include <optional>
#include <sstream>
#include <utility>
#include <variant>

#include "absl/container/flat_hash_map.h"
#include "tests/bench/clock.h"
#include "tests/bench/daemons.h"
#include "tests/bench/mission_load.h"
#include "transport/event_loop.h"
#include "transport/peer_transport.h"
#include "transport/udp_socket.h"

namespace overlay::bench {
namespace {

constexpr Duration kConnectedWithin = std::chrono::seconds(20);
// From all being connected to the first tick.
constexpr Duration kBreath = std::chrono::milliseconds(300);
// What the last tick caused is served before the figures are told.
constexpr Duration kLastWords = std::chrono::seconds(1);
// Sets of that many slots are kept for serving.
constexpr uint64_t kSetsKept = 4;
constexpr int kReceivesPerTurn = 4;
// Frames of announcements that were held back; each has those of one tick.
constexpr size_t kHeldPerTurn = 20;

// Pieces that all peers share: what is there to serve, and the figures.
struct Larder {
  explicit Larder(const SyntheticOptions& options)
      : options(options),
        load(static_cast<uint64_t>(Now().time_since_epoch().count()), options.set_bytes) {}

  Bytes* FindTransaction(const TxHash& hash) {
    const auto found = transactions.find(hash);
    return found == transactions.end() ? nullptr : &found->second;
  }
  const Bytes* FindSet(const SetHash& hash) const {
    for (const auto& [known, set] : sets) {
      if (known == hash) return &set;
    }
    return nullptr;
  }

  const SyntheticOptions options;
  MissionLoad load;
  absl::flat_hash_map<TxHash, Bytes> transactions;
  std::deque<std::pair<Time, TxHash>> transactions_by_age;
  std::deque<std::pair<SetHash, Bytes>> sets;
  SentLoad sent;
};

// ---- one peer

class SyntheticPeer {
 public:
  static absl::StatusOr<std::unique_ptr<SyntheticPeer>> Create(size_t index, Larder* larder) {
    auto socket = transport::UdpSocket::Bind(SocketAddress::Loopback(0), {});
    if (!socket.ok()) return socket.status();
    Random random(static_cast<uint64_t>(Now().time_since_epoch().count()) + index);
    transport::TransportOptions options;
    options.network = NetworkIdOf(kPassphrase);
    random.Fork("key").Fill(absl::MakeSpan(options.node_seed.bytes));
    options.agent = "overlay-bench";
    options.instance_nonce = random.Next();
    auto transport = transport::PeerTransport::Create(std::move(options), random.Fork("transport"));
    if (!transport.ok()) return transport.status();
    return std::unique_ptr<SyntheticPeer>(
        new SyntheticPeer(larder, *std::move(socket), *std::move(transport)));
  }

  int fd() const { return socket_->fd(); }
  const NodeKey& key() const { return transport_->node_key(); }
  bool is_connected() const { return daemon_.has_value(); }
  bool is_dialling() const { return is_dialling_; }
  void Dial(Time now, const SocketAddress& daemon) {
    transport_->SetWallTime(now, transport::EventLoop::ReadWallClock());
    Send(now, overlay::Dial{DialId{++dials_}, daemon, std::nullopt});
    is_dialling_ = true;
  }
  void Send(Time now, PeerCommand command) {
    transport_->Execute(now, std::move(command));
    touched_ = true;
  }
  void Announce(Time now, Inv inv) {
    if (!daemon_) return;
    held_.push_back(std::move(inv));
    AnnounceHeld(now, 1);
  }
  void SendEnvelope(Time now, uint64_t number, uint64_t slot, const Bytes& envelope) {
    if (!daemon_) return;
    Send(now, overlay::SendEnvelope{*daemon_, EnvelopeToken{number}, LedgerSeq{slot}, envelope});
  }
  void Receive(Time now, bool writable) {
    if (writable) socket_->Flush();
    touched_ = true;
    bool more = true;
    for (int i = 0; i < kReceivesPerTurn && more; ++i) {
      datagrams_.clear();
      more = socket_->Receive(datagrams_);
      for (const auto& each : datagrams_) transport_->OnDatagram(now, each.path, each.payload);
    }
  }
  // When it wants to be called again.
  std::optional<Time> Turn(Time now, transport::EventLoop& loop) {
    if (!touched_ && next_ && *next_ > now) return next_;
    if (!touched_ && !next_) return next_;
    touched_ = false;
    AnnounceHeld(now, kHeldPerTurn);
    if (const auto due = transport_->NextDeadline(); due && *due <= now)
      transport_->OnDeadline(now);
    HandleEvents(now);
    const bool more = transport_->WriteTurn(now, *socket_);
    socket_->Flush();
    HandleEvents(now);
    if (socket_->blocked() != watches_writable_) {
      watches_writable_ = socket_->blocked();
      (void)loop.SetInterest(fd(), {.read = true, .write = watches_writable_});
    }
    next_ = transport_->NextDeadline();
    const bool announces = !held_.empty() && !inv_blocked_;
    if ((more && !socket_->blocked()) || announces) {
      touched_ = true;
      next_ = now;
    }
    return next_;
  }

 private:
  SyntheticPeer(Larder* larder, std::unique_ptr<transport::UdpSocket> socket,
                std::unique_ptr<transport::PeerTransport> transport)
      : larder_(*larder), socket_(std::move(socket)), transport_(std::move(transport)) {}

  void HandleEvents(Time now) {
    for (PeerEvent& event : transport_->DrainEvents()) {
      if (const auto* up = std::get_if<PeerConnected>(&event)) {
        daemon_ = up->peer;
      } else if (std::holds_alternative<DialEnded>(event)) {
        is_dialling_ = false;
      } else if (const auto* down = std::get_if<PeerDisconnected>(&event)) {
        daemon_.reset();
        inv_blocked_ = false;
        held_.clear();
        ++larder_.sent.disconnects;
        if (down->reason == CloseReason::kGoaway && down->by_peer) ++larder_.sent.goaways;
      } else if (const auto* told = std::get_if<InvBlocked>(&event)) {
        inv_blocked_ = told->blocked;
      } else if (const auto* bodies = std::get_if<BodiesRequested>(&event)) {
        Answer(now, *bodies);
      } else if (const auto* set = std::get_if<SetRequested>(&event)) {
        Answer(now, *set);
      } else if (const auto* done = std::get_if<EnvelopeDone>(&event)) {
        if (done->outcome == EnvelopeDone::Outcome::kDropped) ++larder_.sent.envelopes_dropped;
      } else if (const auto* control = std::get_if<ControlReceived>(&event)) {
        if (const auto* state = std::get_if<GetScpState>(&control->message)) {
          Send(now, SendState{control->peer, {.id = state->id}, {}, true});
        }
      }
    }
  }
  // The oldest first. Whether that was too much is told after the turn.
  void AnnounceHeld(Time now, size_t count_max) {
    for (; count_max > 0 && !inv_blocked_ && !held_.empty(); --count_max) {
      Send(now, SendTxControl{*daemon_, std::move(held_.front())});
      held_.pop_front();
    }
  }
  // As docs/protocol.md wants it: in order, and what is over the size of an answer later.
  void Answer(Time now, const BodiesRequested& asked) {
    AnswerBodies answer{asked.peer, asked.request, {}};
    answer.answers.reserve(asked.data.hashes.size());
    size_t bytes = 0;
    for (const TxHash& hash : asked.data.hashes) {
      const Bytes* const body = larder_.FindTransaction(hash);
      if (body == nullptr) {
        ++larder_.sent.bodies_unknown;
        answer.answers.push_back({hash, BodyOutcome::kNotFound, {}});
      } else if (bytes + body->size() > kBodiesAnswerBytesMax) {
        answer.answers.push_back({hash, BodyOutcome::kLater, {}});
      } else {
        bytes += body->size();
        ++larder_.sent.bodies_served;
        answer.answers.push_back({hash, BodyOutcome::kBody, *body});
      }
    }
    Send(now, std::move(answer));
  }
  void Answer(Time now, const SetRequested& asked) {
    if (larder_.options.silent) return;
    AnswerSet answer{asked.peer, asked.request, {}, {}};
    if (const Bytes* const set = larder_.FindSet(asked.set.key.hash)) {
      answer.header.found = true;
      answer.header.total_bytes = set->size();
      answer.encoded = set->Slice(std::min<uint64_t>(asked.set.offset, set->size()));
      answer.header.encoded_bytes = answer.encoded.size();
      ++larder_.sent.sets_served;
    }
    Send(now, std::move(answer));
  }

  Larder& larder_;
  std::unique_ptr<transport::UdpSocket> socket_;
  std::unique_ptr<transport::PeerTransport> transport_;
  std::vector<transport::Datagram> datagrams_;
  std::optional<PeerId> daemon_;
  std::deque<Inv> held_;  // while inv_blocked_
  bool inv_blocked_ = false;
  std::optional<Time> next_;
  uint64_t dials_ = 0;
  bool is_dialling_ = false;
  bool touched_ = true;
  bool watches_writable_ = false;
};

// ---- all of them

class SyntheticCrowd {
 public:
  explicit SyntheticCrowd(const SyntheticOptions& options) : options_(options), larder_(options) {}

  absl::Status Run() {
    auto daemon = SocketAddress::Parse(options_.daemon);
    if (!daemon.ok()) return daemon.status();
    auto loop = transport::EventLoop::Create();
    if (!loop.ok()) return loop.status();
    loop_ = *std::move(loop);
    if (absl::Status status = Connect(*daemon); !status.ok()) return status;
    start_ = Now() + kBreath;
    if (options_.seconds > 0) next_tick_ = start_;
    fmt::print("started {}\n", start_.time_since_epoch().count());
    std::fflush(stdout);
    const bool ends = options_.seconds > 0;
    end_ = ends ? start_ + std::chrono::seconds(options_.seconds) : kTimeNever;
    while (!Interrupted() && (!ends || Now() < end_ + kLastWords))
      loop_->RunOnce(std::chrono::milliseconds(100));
    if (ends) Report();
    // Whoever started this process ends it.
    while (!Interrupted()) loop_->RunOnce(std::chrono::milliseconds(100));
    return absl::OkStatus();
  }

 private:
  absl::Status Connect(const SocketAddress& daemon) {
    std::vector<std::string> keys;
    for (size_t i = 0; i < options_.peers; ++i) {
      auto peer = SyntheticPeer::Create(i, &larder_);
      if (!peer.ok()) return peer.status();
      SyntheticPeer* const raw = peer->get();
      peers_.push_back(*std::move(peer));
      keys.push_back(raw->key().Hex());
      absl::Status watched = loop_->Watch(
          raw->fd(), {.read = true, .write = false},
          [raw](Time now, transport::FdReady ready) { raw->Receive(now, ready.writable); });
      if (!watched.ok()) return watched;
    }
    fmt::print("keys {}\n", fmt::join(keys, " "));
    std::fflush(stdout);
    loop_->SetTurnHandler([this](Time now) { return Turn(now); });
    const Time until = Now() + kConnectedWithin;
    // One after the other: a daemon takes few handshakes of one address at a time.
    for (const auto& peer : peers_) {
      while (!peer->is_connected()) {
        if (Now() >= until || Interrupted())
          return absl::UnavailableError("the daemon did not take all synthetic peers");
        if (!peer->is_dialling()) peer->Dial(loop_->ReadClock(), daemon);
        loop_->RunOnce(std::chrono::milliseconds(5));
      }
    }
    return absl::OkStatus();
  }

  std::optional<Time> Turn(Time now) {
    while (next_tick_ <= now && next_tick_ < end_) {
      Tick(now);
      next_tick_ += kTick;
    }
    std::optional<Time> next;
    if (next_tick_ < end_) next = next_tick_;
    for (const auto& peer : peers_) {
      const std::optional<Time> at = peer->Turn(now, *loop_);
      if (at && (!next || *at < *next)) next = at;
    }
    return next;
  }
  void Tick(Time now) {
    const Duration lag = now - next_tick_;
    SentLoad& sent = larder_.sent;
    sent.worst_lag_us = std::max(sent.worst_lag_us, static_cast<uint64_t>(ToMicros(lag)));
    if (lag >= kTickLate) ++sent.ticks_late;
    const uint64_t tick = sent.ticks++;
    const uint64_t slot =
        kMissionFirstSlot + static_cast<uint64_t>((next_tick_ - start_) / kLedgerTime);
    if (slot != slot_) NextSlot(slot);
    constexpr uint64_t kTicksPerSecond = std::chrono::seconds(1) / kTick;
    while (sent.transactions < (tick + 1) * options_.tps / kTicksPerSecond) MakeTransaction();
    const uint64_t wanted = (tick + 1) * options_.envelopes_per_second / kTicksPerSecond;
    while (sent.envelopes < wanted) SendEnvelope(now, slot);
    for (size_t i = 0; i < peers_.size(); ++i) {
      if ((tick + i) % kAnnounceTicks == 0) Announce(now, *peers_[i], i);
    }
    const bool is_last = next_tick_ + kTick >= end_;
    for (size_t i = 0; is_last && i < peers_.size(); ++i) Announce(now, *peers_[i], i);
    Forget(now);
  }
  void NextSlot(uint64_t slot) {
    slot_ = slot;
    if (options_.envelopes_per_second == 0) return;
    larder_.sets.emplace_back(larder_.load.SetHashOf(slot), larder_.load.SetOf(slot));
    if (larder_.sets.size() > kSetsKept) larder_.sets.pop_front();
  }
  void MakeTransaction() {
    const uint64_t number = larder_.sent.transactions++;
    Bytes transaction = larder_.load.Transaction({number, next_tick_});
    const TxHash hash = HashOf<TxHash>(transaction.span());
    InvEntry entry{.hash = hash, .fee_per_op = 100, .lane = Lane::kClassic};
    entry.size_bytes = static_cast<uint32_t>(transaction.size());
    announced_.push_back(entry);
    larder_.transactions.emplace(hash, std::move(transaction));
    larder_.transactions_by_age.emplace_back(next_tick_, hash);
  }
  // The half of the peers that has it moves round.
  void SendEnvelope(Time now, uint64_t slot) {
    const uint64_t number = larder_.sent.envelopes++;
    const Bytes envelope = larder_.load.Envelope({number, next_tick_}, slot);
    for (size_t i = 0; i < std::max<size_t>(1, peers_.size() / 2); ++i)
      peers_[(number + i) % peers_.size()]->SendEnvelope(now, number, slot, envelope);
  }
  void Announce(Time now, SyntheticPeer& peer, size_t index) {
    told_.resize(peers_.size());
    while (told_[index] < announced_first_ + announced_.size()) {
      Inv inv;
      const size_t from = told_[index] - announced_first_;
      const size_t count = std::min(announced_.size() - from, kInvEntryCountMax);
      inv.entries.assign(announced_.begin() + static_cast<ptrdiff_t>(from),
                         announced_.begin() + static_cast<ptrdiff_t>(from + count));
      told_[index] += count;
      peer.Announce(now, std::move(inv));
    }
    // What all have announced.
    const uint64_t least = *std::min_element(told_.begin(), told_.end());
    while (announced_first_ < least) {
      announced_.pop_front();
      ++announced_first_;
    }
  }
  void Forget(Time now) {
    auto& by_age = larder_.transactions_by_age;
    while (!by_age.empty() && by_age.front().first + kServedFor < now) {
      larder_.transactions.erase(by_age.front().second);
      by_age.pop_front();
    }
  }
  void Report() {
    const SentLoad& sent = larder_.sent;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const int64_t cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 +
                           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    fmt::print("sent {} {} {} {} {} {} {} {} {} {} {} {}\n", sent.transactions, sent.envelopes,
               sent.ticks, sent.ticks_late, sent.worst_lag_us, sent.bodies_served,
               sent.bodies_unknown, sent.sets_served, sent.envelopes_dropped, sent.disconnects,
               sent.goaways, cpu_us);
    std::fflush(stdout);
  }

  const SyntheticOptions options_;
  Larder larder_;
  std::unique_ptr<transport::EventLoop> loop_;
  std::vector<std::unique_ptr<SyntheticPeer>> peers_;
  Time start_{};
  Time end_{};
  Time next_tick_ = kTimeNever;
  uint64_t slot_ = 0;
  std::deque<InvEntry> announced_;  // not yet by all; the first has the number announced_first_
  uint64_t announced_first_ = 0;
  std::vector<uint64_t> told_;  // by peer: how many
};

std::optional<uint64_t> ToNumber(const std::string& word) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return number;
}

// The words behind the first, which must be `name`.
absl::StatusOr<std::vector<std::string>> WordsOf(const absl::StatusOr<std::string>& line,
                                                 const std::string& name) {
  if (!line.ok()) return line.status();
  std::istringstream text(*line);
  std::string word;
  text >> word;
  if (word != name) return absl::InternalError("synthetic peers said " + *line);
  std::vector<std::string> words;
  while (text >> word) words.push_back(word);
  return words;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SyntheticPeers>> SyntheticPeers::Start(
    const SyntheticOptions& options, const std::string& folder) {
  auto peers = std::make_unique<SyntheticPeers>();
  auto process = ChildProcess::Start(
      {"/proc/self/exe", "--synthetic-peers", options.daemon, fmt::format("{}", options.peers),
       fmt::format("{}", options.tps), fmt::format("{}", options.envelopes_per_second),
       fmt::format("{}", options.set_bytes), fmt::format("{}", options.seconds),
       options.silent ? "1" : "0"},
      folder + "/synthetic_peers.log");
  if (!process.ok()) return process.status();
  peers->process_ = *std::move(process);
  const auto keys = WordsOf(peers->process_->ReadLine(kConnectedWithin), "keys");
  if (!keys.ok()) return keys.status();
  for (const std::string& hex : *keys) {
    const std::optional<NodeKey> key = NodeKey::FromHex(hex);
    if (!key) return absl::InternalError("synthetic peers have no key " + hex);
    peers->keys_.push_back(*key);
  }
  const auto started = WordsOf(peers->process_->ReadLine(2 * kConnectedWithin), "started");
  if (!started.ok()) return started.status();
  const auto at = started->size() == 1 ? ToNumber(started->front()) : std::nullopt;
  if (!at) return absl::InternalError("synthetic peers did not say when they started");
  peers->started_ = Time(Duration(static_cast<int64_t>(*at)));
  return peers;
}

absl::StatusOr<SentLoad> SyntheticPeers::WaitForEnd(Duration patience) {
  const auto words = WordsOf(process_->ReadLine(patience), "sent");
  if (!words.ok()) return words.status();
  SentLoad sent;
  uint64_t* const members[] = {&sent.transactions,   &sent.envelopes,    &sent.ticks,
                               &sent.ticks_late,     &sent.worst_lag_us, &sent.bodies_served,
                               &sent.bodies_unknown, &sent.sets_served,  &sent.envelopes_dropped,
                               &sent.disconnects,    &sent.goaways,      &sent.cpu_us};
  if (words->size() != std::size(members)) {
    return absl::InternalError("synthetic peers told other figures than expected");
  }
  for (size_t i = 0; i < words->size(); ++i) *members[i] = ToNumber((*words)[i]).value_or(0);
  return sent;
}

int ServeSyntheticPeers(const std::vector<std::string>& words) {
  constexpr size_t kNumbers = 6;
  if (words.size() != 1 + kNumbers) return 2;
  std::vector<uint64_t> numbers;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::optional<uint64_t> number = ToNumber(words[i]);
    if (!number) return 2;
    numbers.push_back(*number);
  }
  SyntheticOptions options;
  options.daemon = words[0];
  options.peers = numbers[0];
  options.tps = numbers[1];
  options.envelopes_per_second = numbers[2];
  options.set_bytes = std::max<uint64_t>(numbers[3], 512);
  options.seconds = numbers[4];
  options.silent = numbers[5] != 0;
  CatchInterrupts();
  const absl::Status status = SyntheticCrowd(options).Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "synthetic peers: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace overlay::bench
