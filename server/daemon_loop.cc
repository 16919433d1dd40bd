// A turn of the daemon's loop, and its drain.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "server/daemon_impl.h"
#include "server/library_log.h"

namespace overlay::server {
namespace {

// Completions other than SCP's that one turn handles before it looks at the socket again.
constexpr size_t kCompletionsPerTurn = 64;
// One may be a batch of 64 verdicts, so their number alone bounds nothing.
constexpr size_t kCompletionsPerStep = 8;
constexpr Duration kCompletionTimePerTurn = std::chrono::microseconds(150);
// Calls of the socket's Receive a turn, and when no more are made. What was read is handled in the
// same turn, which takes about as long again: with a backlog of small packets all four calls were
// turns of some milliseconds, for which what was behind them had to wait.
constexpr int kReceivesPerTurn = 4;
constexpr Duration kReceiveTimePerTurn = std::chrono::microseconds(100);
// When peers shall dial again, as the goaway says: a restart in place takes less.
constexpr Duration kRedialAfter = std::chrono::seconds(1);

// What somebody has to correct, here or there; the rest passes by itself, or is as it should be.
bool IsForOperators(CloseReason reason) {
  switch (reason) {
    case CloseReason::kWrongNetwork:
    case CloseReason::kWrongVersion:
    case CloseReason::kWrongKey:
    case CloseReason::kSmallWindows:
    case CloseReason::kNotAdmitted:
    case CloseReason::kHandshakeFailed:
      return true;
    default:
      return false;
  }
}

std::optional<Time> Earlier(std::optional<Time> a, std::optional<Time> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

}  // namespace

// ------------------------------------------------------------------------------------------- turns

void Daemon::Impl::OnUdp(Time now, transport::FdReady ready) {
  if (ready.writable) socket_->Flush();
  if (!ready.readable) return;
  more_datagrams_ = true;
  for (int i = 0; i < kReceivesPerTurn && more_datagrams_; ++i) {
    datagrams_.clear();
    more_datagrams_ = socket_->Receive(datagrams_);
    for (const transport::Datagram& datagram : datagrams_)
      transport_->OnDatagram(now, datagram.path, datagram.payload);
    // The rest is still readable: the next turn begins with it.
    if (more_datagrams_ && loop_->ReadClock() - now >= kReceiveTimePerTurn) break;
  }
}

std::optional<Time> Daemon::Impl::Turn(Time now) {
  ++stats_.turns;
  pulse_.turned.store(now);
  // Again and again, because somebody may set the clock.
  if (now >= wall_due_) {
    wall_due_ = now + std::chrono::seconds(1);
    transport_->SetWallTime(now, transport::EventLoop::ReadWallClock());
    LogClocks(now);
    log_.TellLeftOut(now);
  }
  if (stop_wanted_.exchange(false)) StartDrain(now, "asked");
  if (options_.exit_with_parent && getppid() != parent_) StartDrain(now, "parent gone");
  driver_->Settle(now);
  std::optional<Time> next;
  if (DrainCompletions(now)) next = now;
  const auto computed = [&](flood::Computed& c) { driver_->OnComputed(now, std::move(c)); };
  if (worker_->Drain(computed)) next = now;
  dns_->OnDeadline(now);
  driver_->OnDeadline(now);
  sessions_->OnTurn(now);
  driver_->Settle(now);
  next = Earlier(next, Write(now));
  sessions_->OnTurn(now);
  UpdateHealth(now);
  if (desk_ != nullptr && desk_->AnswerOne(now)) next = now;
  if (const auto bug = LibraryLog::TakeBug()) {
    log_.EventLimited(now, LogLevel::kError, "bug",
                      {{"at", bug->text}, {"count", fmt::format("{}", bug->count)}});
  }
  if (const auto said = LibraryLog::Take()) {
    log_.EventLimited(now, LogLevel::kWarning, "library",
                      {{"said", said->text}, {"count", fmt::format("{}", said->count)}});
  }
  LogSharedKeys(now);
  LogRefused(now);
  if (saver_ != nullptr) {
    next = Earlier(next, saver_->OnTurn(now, &transport::EventLoop::ReadWallClock));
  }
  next = Earlier(next, AdvanceDrain(now));
  next = Earlier(next, driver_->NextDeadline());
  next = Earlier(next, sessions_->NextDeadline());
  next = Earlier(next, gate_->OnTurn(now));
  next = Earlier(next, dns_->NextDeadline(now));
  const Duration spent = loop_->ReadClock() - now;
  stats_.turn.Add(spent);
  stats_.turn_other.Add(spent - std::min(spent, driver_->TakeEnvelopeTime()));
  return next;
}

// True: there may be more.
bool Daemon::Impl::DrainCompletions(Time now) {
  const Time began = loop_->ReadClock();
  for (size_t done = 0; done < kCompletionsPerTurn; done += kCompletionsPerStep) {
    if (!mailbox_->Drain(now, kCompletionsPerStep)) return false;
    if (loop_->ReadClock() - began >= kCompletionTimePerTurn) break;
  }
  return true;
}

std::optional<Time> Daemon::Impl::Write(Time now) {
  const bool more = transport_->WriteTurn(now, *socket_);
  socket_->Flush();
  const bool blocked = socket_->blocked();
  if (blocked != watching_writable_) {
    watching_writable_ = blocked;
    (void)loop_->SetInterest(socket_->fd(), {.read = true, .write = blocked});
  }
  if (more && !blocked) return now;
  return std::nullopt;
}

HealthFacts Daemon::Impl::facts() {
  return {.started = started_turning_,
          .draining = drain_.has_begun(),
          .core_attached = sessions_->core() != nullptr,
          .peers_connected = driver_->node_stats().peers.connected};
}

void Daemon::Impl::UpdateHealth(Time now) {
  started_turning_ = true;
  const bool ready = IsReady(needs(), facts());
  if (ready == health_.is_ready()) return;
  health_.SetReady(now, ready);
  const std::string why = WhyNotReady(CheckHealth(needs(), facts()));
  log_.EventLimited(now, LogLevel::kInfo, "readiness",
                    {{"ready", ready ? "true" : "false"}, {"why", why}});
}

void Daemon::Impl::LogSharedKeys(Time now) {
  const transport::TransportStats& stats = transport_->stats();
  if (stats.keys_shared == keys_shared_) return;
  keys_shared_ = stats.keys_shared;
  const transport::SharedKey& shared = stats.shared_key;
  log_.EventLimited(
      now, LogLevel::kError, "key_shared",
      {{"key", ToStrkey(shared.key)},
       {"what", shared.is_ours ? "another daemon has our key, or a peer says so"
                               : "two daemons show the key of a peer"},
       {"at", shared.address.ToString()},
       {"and_at", (shared.is_ours ? socket_->local_address() : shared.connected).ToString()},
       {"count", fmt::format("{}", stats.keys_shared)}});
}

void Daemon::Impl::LogClocks(Time now) {
  const transport::PeerClocks clocks = transport_->Clocks();
  const ClockWatch::Say say = clock_watch_.OnClocks(now, clocks);
  if (say == ClockWatch::Say::kNothing) return;
  const bool off = say == ClockWatch::Say::kOff;
  log_.EventLimited(
      now, off ? LogLevel::kWarning : LogLevel::kInfo, off ? "clock_off" : "clock_right",
      {{"peers_minus_ours_seconds", fmt::format("{:.3f}", ToSeconds(clocks.median_offset))},
       {"peers_measured", fmt::format("{}", clocks.measured)}});
}

void Daemon::Impl::LogRefused(Time now) {
  const transport::TransportStats& stats = transport_->stats();
  if (stats.refused == refused_) return;
  refused_ = stats.refused;
  const transport::RefusedConnection& last = stats.last_refused;
  log_.EventLimited(now, IsForOperators(last.reason) ? LogLevel::kWarning : LogLevel::kDebug,
                    "peer_refused",
                    {{"reason", std::string(CloseReasonName(last.reason))},
                     {"by", last.by_peer ? "peer" : "us"},
                     {"address", last.address.ToString()},
                     {"peer", last.key.IsZero() ? "" : ToStrkey(last.key)},
                     {"detail", last.detail},
                     {"count", fmt::format("{}", stats.refused)}});
}

// ------------------------------------------------------------------------------------------- drain

void Daemon::Impl::StartDrain(Time now, std::string_view why) {
  if (!drain_.Begin(now)) return;
  log_.Event(LogLevel::kInfo, "draining", {{"why", std::string(why)}});
  health_.SetNotServing(now);
  UpdateHealth(now);
  sessions_->StartDrain();
  driver_->OnDrain(now);
  transport_->StartDrain(now, "shutting down", kRedialAfter);
  if (desk_ != nullptr) {
    desk_->Stop();
    if (http3_ != nullptr) http3_->BeginDrain();
    http_stopper_ = std::thread([this] { http_.reset(); });
  }
}

std::optional<Time> Daemon::Impl::AdvanceDrain(Time now) {
  if (!drain_.has_begun()) return std::nullopt;
  const auto facts = [this] {
    return DrainFacts{.envelopes_flushed = transport_->envelopes_flushed(),
                      .answers_finished = transport_->flushed(),
                      .last_words_said = sessions_->last_words_said(),
                      .calls_over = server_->is_drained()};
  };
  while (const std::optional<DrainStep> step = drain_.Advance(now, facts())) {
    EnterDrainStep(now, *step);
  }
  return drain_.NextDeadline(now);
}

void Daemon::Impl::EnterDrainStep(Time now, DrainStep step) {
  switch (step) {
    case DrainStep::kTell:
      sessions_->TellDraining(now, drain_.left(now));
      return;
    case DrainStep::kClose:
      sessions_->EndAll(now);
      transport_->CloseAll(now, CloseReason::kGoaway, "shutting down");
      driver_->Settle(now);
      Write(now);
      return;
    case DrainStep::kEndCalls:
      gate_->Stop();
      server_->BeginShutdown();
      return;
    case DrainStep::kOver:
      loop_->Stop();
      return;
    case DrainStep::kRunning:
    case DrainStep::kFlush:
    case DrainStep::kAnswer:
      return;
  }
}

}  // namespace overlay::server
