#include "server/loop_desk.h"

#include <algorithm>

namespace overlay::server {

bool LoopDesk::Put(std::function<void(Time)> run, std::chrono::milliseconds patience) {
  const auto question = std::make_shared<Question>();
  question->run = std::move(run);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_ || waiting_.size() >= kWaitingMax) return false;
    waiting_.push_back(question);
  }
  wake_();
  std::unique_lock<std::mutex> lock(mutex_);
  answered_.wait_for(lock, patience, [&] { return question->answered || stopped_; });
  if (question->answered) return true;
  const auto mine = std::find(waiting_.begin(), waiting_.end(), question);
  if (mine != waiting_.end()) waiting_.erase(mine);
  return false;
}

bool LoopDesk::AnswerOne(Time now) {
  std::shared_ptr<Question> question;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.empty() || stopped_) return false;
    question = std::move(waiting_.front());
    waiting_.pop_front();
  }
  question->run(now);
  bool more;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    question->answered = true;
    more = !waiting_.empty();
  }
  answered_.notify_all();
  return more;
}

void LoopDesk::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    waiting_.clear();
  }
  answered_.notify_all();
}

}  // namespace overlay::server
