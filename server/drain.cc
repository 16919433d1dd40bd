#include "server/drain.h"

#include <algorithm>

namespace overlay::server {

bool Drain::Begin(Time now) {
  if (has_begun()) return false;
  step_ = DrainStep::kFlush;
  began_ = step_began_ = now;
  return true;
}

Time Drain::StepEnds() const {
  switch (step_) {
    case DrainStep::kFlush:
      return step_began_ + kFlushMax;
    case DrainStep::kAnswer:
      return step_began_ + kAnswerMax;
    case DrainStep::kTell:
      return step_began_ + kTellFor;
    case DrainStep::kClose:
      return step_began_ + kLastWordsMax;
    case DrainStep::kEndCalls:
      return step_began_ + kEndCallsMax;
    case DrainStep::kRunning:
    case DrainStep::kOver:
      break;
  }
  return kTimeNever;
}

std::optional<DrainStep> Drain::Advance(Time now, const DrainFacts& facts) {
  bool done = false;
  switch (step_) {
    case DrainStep::kFlush:
      done = facts.envelopes_flushed;
      break;
    case DrainStep::kAnswer:
      done = facts.answers_finished && now - began_ >= kReadAtLeast;
      break;
    case DrainStep::kTell:
      break;
    case DrainStep::kClose:
      done = facts.last_words_said && now - step_began_ >= kLastWordsFor;
      break;
    case DrainStep::kEndCalls:
      done = facts.calls_over;
      break;
    case DrainStep::kRunning:
    case DrainStep::kOver:
      return std::nullopt;
  }
  if (!done && now < StepEnds()) return std::nullopt;
  step_ = static_cast<DrainStep>(static_cast<uint8_t>(step_) + 1);
  step_began_ = now;
  return step_;
}

std::optional<Time> Drain::NextDeadline(Time now) const {
  if (step_ == DrainStep::kRunning || step_ == DrainStep::kOver) return std::nullopt;
  return std::min(now + kDrainLookEvery, StepEnds());
}

Duration Drain::left(Time now) const {
  if (!has_begun()) return kDrainMax;
  return std::clamp<Duration>(began_ + kDrainMax - now, Duration::zero(), kDrainMax);
}

}  // namespace overlay::server
