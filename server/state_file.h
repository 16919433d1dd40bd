// server/state_file.h
//
// The file in which the daemon keeps the peers that it knows (setting `peers.file`; its text is
// flood/peers/peer_file.h's): read once at the start, written now and then by a thread of its own.
//
// Rules
//   R1  The file is always whole: what is written goes to PATH.tmp, is synced, and takes the name.
//       A write that fails leaves the old file as it is.
//   R2  Nothing waits for the disk but the writer's thread: Submit() only hands over, and what was
//       handed over and not begun is replaced by what is newer.
//   R3  What cannot be used as a peer file is moved to PATH.corrupt, where the last one is kept,
//       and the daemon starts without.
//
// Bounds   kPeerFileBytesMax read; one file waiting, one being written.
// Threads  StateWriter's methods are the loop's; the thread is its own.
#ifndef OVERLAY_SERVER_STATE_FILE_H_
#define OVERLAY_SERVER_STATE_FILE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "flood/peers/peer_book.h"
#include "flood/peers/peer_file.h"

namespace overlay::server {

// NOT_FOUND: there is none yet. FAILED_PRECONDITION: what is there is no regular file, and not ours
// to move. Anything else: MoveAside.
absl::StatusOr<flood::PeerFile> LoadPeerFile(const std::string& path);
// R3.
absl::Status MoveAside(const std::string& path);

// A copy of the book and the bans, and when it was taken: what costs more is done by the writer.
struct StateSnapshot {
  flood::PeerBook book;
  flood::BanList bans;
  Time now{};
  WallTime wall;
};

class StateWriter {
 public:
  // `on_ended` is called by the writer's thread when a write has ended, well or not, and not after
  // Finish().
  explicit StateWriter(const std::string& path, std::function<void()> on_ended = {});
  // Finish() with little patience, if it was not called.
  ~StateWriter();
  StateWriter(const StateWriter&) = delete;
  StateWriter& operator=(const StateWriter&) = delete;

  // R2.
  void Submit(StateSnapshot snapshot);
  // Waits until all that was submitted is written. False: it took longer, and the thread is left
  // to itself (a disk that hangs must not hold up the end of the process).
  bool Finish(std::chrono::milliseconds patience);

  struct Report {
    uint64_t written = 0;
    uint64_t failed = 0;
    absl::Status last;  // of the last write
  };
  Report report() const;
  // Writes that have ended: written + failed, without a lock.
  uint64_t ended() const;

 private:
  struct Shared;  // outlives us where the thread is left behind
  static void Run(const std::shared_ptr<Shared>& shared);

  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_STATE_FILE_H_
