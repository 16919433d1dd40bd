// server/drain.h
//
// In which order, and how fast, a daemon goes: the steps of its drain and the time of each.
//
//   begun      health says not serving; nothing new is accepted, dialled or attached; goaway
//   kFlush     until class 0 and 1 are on their way and every envelope is acknowledged
//   kAnswer    until the set answers under way are finished
//   kTell      the core hears `draining`; its last results go
//   kClose     connections close and sessions end; their last words go
//   kEndCalls  the gRPC server shuts down, until every call is over
//   kOver      names, metrics and files go with the process
//
// Rules
//   R1  A step has time of its own, counted from its beginning: what an earlier one did not use is
//       gone, what it overran does not exist. So the whole takes 1.7 s at most, whatever a peer, a
//       core or gRPC does.
//   R2  Peers are read for kReadAtLeast before connections close. Why: what they had sent when they
//       heard the goaway is on its way, and so are their acknowledgements.
//   R3  kTell takes all of its time, and kClose kLastWordsFor at least: nothing says when a core
//       has read what it was told. kClose goes on until gRPC has taken the last words, because
//       kEndCalls cuts off what it has not: where the processor is short that takes longer.
//
// Time     argument only. Threads: the loop's.
#ifndef OVERLAY_SERVER_DRAIN_H_
#define OVERLAY_SERVER_DRAIN_H_

#include <optional>

#include "flood/base/time.h"

namespace overlay::server {

enum class DrainStep : uint8_t { kRunning, kFlush, kAnswer, kTell, kClose, kEndCalls, kOver };

// What `detached`, `draining` and operators are told; exit within 2 s is what is promised of the
// process.
inline constexpr Duration kDrainMax = std::chrono::milliseconds(1700);
inline constexpr Duration kFlushMax = std::chrono::milliseconds(300);
// 10 MB at 100 Mbit/s.
inline constexpr Duration kAnswerMax = std::chrono::milliseconds(800);
inline constexpr Duration kTellFor = std::chrono::milliseconds(30);
inline constexpr Duration kLastWordsFor = std::chrono::milliseconds(20);
inline constexpr Duration kLastWordsMax = std::chrono::milliseconds(200);
inline constexpr Duration kEndCallsMax = std::chrono::milliseconds(350);
static_assert(kFlushMax + kAnswerMax + kTellFor + kLastWordsMax + kEndCallsMax <= kDrainMax);
inline constexpr Duration kReadAtLeast = std::chrono::milliseconds(250);
static_assert(kReadAtLeast < kFlushMax, "R2 fits into the first step");
// How often it is looked whether a step is done.
inline constexpr Duration kDrainLookEvery = std::chrono::milliseconds(5);

// What the daemon knows now.
struct DrainFacts {
  bool envelopes_flushed = false;
  bool answers_finished = false;
  bool last_words_said = false;
  bool calls_over = false;
};

class Drain {
 public:
  // False: it had begun before.
  bool Begin(Time now);
  // The step that begins now, for the owner to act on; nullopt: none, or not yet. Call until
  // nullopt.
  std::optional<DrainStep> Advance(Time now, const DrainFacts& facts);
  // When to call Advance again.
  std::optional<Time> NextDeadline(Time now) const;

  DrainStep step() const { return step_; }
  bool has_begun() const { return step_ != DrainStep::kRunning; }
  // Until the process ends at the latest; kDrainMax while it has not begun.
  Duration left(Time now) const;

 private:
  // When the time of the step under way is over.
  Time StepEnds() const;

  DrainStep step_ = DrainStep::kRunning;
  Time began_{};
  Time step_began_{};
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_DRAIN_H_
