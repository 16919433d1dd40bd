// server/peer_saver.h
//
// When the book of peers is written (state_file.h), and what is said of it.
//
// Rules
//   R1  Written when it has changed, at once and then each kSaveEvery: what a crash may cost. What
//       an operator has decided is written at once in any case.
//   R2  A failure is said when it is one, and not again before a write has succeeded; tried again
//       each kSaveAgainAfter. Why: a disk that is full stays so for hours, and what an operator
//       frees should not have to wait for the next peer.
//
// Threads  the loop's.
#ifndef OVERLAY_SERVER_PEER_SAVER_H_
#define OVERLAY_SERVER_PEER_SAVER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "flood/base/time.h"
#include "flood/overlay_node.h"
#include "server/log.h"
#include "server/state_file.h"

namespace overlay::server {

inline constexpr Duration kSaveEvery = std::chrono::seconds(60);  // a full book is 400 KB to write
inline constexpr Duration kSaveAgainAfter = std::chrono::seconds(5);

class PeerSaver {
 public:
  // `wake` is called by another thread: OnTurn is wanted. The book as it is counts as saved.
  PeerSaver(const std::string& path, const flood::OverlayNode* node, Log* log,
            std::function<void()> wake);

  // When to be called next.
  std::optional<Time> OnTurn(Time now, const std::function<WallTime()>& read_wall_clock);
  // What has changed is worth a write at the next turn.
  void Hurry() { next_save_ = Time::min(); }
  // The last write, which has `patience`.
  void Finish(Time now, WallTime wall, std::chrono::milliseconds patience);

  // As of the last turn.
  const StateWriter::Report& report() const { return report_; }

 private:
  void Submit(Time now, WallTime wall);
  void SayEnded(Time now);

  const flood::OverlayNode* const node_;
  Log* const log_;
  StateWriter writer_;
  StateWriter::Report report_;
  Time next_save_ = Time::min();
  uint64_t saved_changes_;
  bool save_again_ = false;  // the last one failed
  bool failed_ = false;      // and that was said
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_PEER_SAVER_H_
