// server/loop_desk.h
//
// Where other threads ask the loop: a question is a function that the loop runs between two turns'
// work, and its answer goes back.
//
// Rules
//   R1  One question a turn, behind everything that the turn is for.
//   R2  32 questions wait at most; what comes then is refused at once.
//   R3  Who has lost patience is gone: his question is not run any more.
//
// Threads  Ask: any but the loop's. AnswerOne: the loop. Stop: any.
#ifndef OVERLAY_SERVER_LOOP_DESK_H_
#define OVERLAY_SERVER_LOOP_DESK_H_

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "flood/base/time.h"

namespace overlay::server {

class LoopDesk {
 public:
  static constexpr size_t kWaitingMax = 32;

  // `wake` makes the loop take a turn; any thread may call it.
  explicit LoopDesk(std::function<void()> wake) : wake_(std::move(wake)) {}

  // nullopt: no answer in time, too many others ask, or the daemon stops.
  template <class Answer>
  std::optional<Answer> Ask(std::function<Answer(Time)> question,
                            std::chrono::milliseconds patience) {
    // Shared, because the loop may be at it when patience ends.
    const auto answer = std::make_shared<std::optional<Answer>>();
    const bool answered = Put(
        [answer, question = std::move(question)](Time now) { *answer = question(now); }, patience);
    if (!answered) return std::nullopt;
    return std::move(*answer);
  }

  // True: more wait.
  bool AnswerOne(Time now);
  // Nothing is answered any more, nobody waits.
  void Stop();

 private:
  struct Question {
    std::function<void(Time)> run;
    bool answered = false;
  };
  bool Put(std::function<void(Time)> run, std::chrono::milliseconds patience);

  const std::function<void()> wake_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::deque<std::shared_ptr<Question>> waiting_;  // guarded by mutex_, as what follows
  bool stopped_ = false;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_LOOP_DESK_H_
