#include "server/state_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <utility>

#include "transport/file_io.h"

namespace overlay::server {
namespace {

using transport::FileDescriptor;
using transport::FileError;

constexpr std::string_view kWhat = "peer file";
constexpr std::chrono::milliseconds kLittlePatience{100};

absl::Status WriteFile(const std::string& path, std::string_view text) {
  const std::string part = path + ".tmp";
  const FileDescriptor file(open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.get() < 0) return FileError(kWhat, part, errno);
  if (!transport::WriteAll(file.get(), text) || fdatasync(file.get()) != 0 ||
      std::rename(part.c_str(), path.c_str()) != 0) {
    absl::Status status = FileError(kWhat, part, errno);
    unlink(part.c_str());  // the room that it took is perhaps what others wait for
    return status;
  }
  transport::SyncFolderOf(path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<flood::PeerFile> LoadPeerFile(const std::string& path) {
  // O_NONBLOCK: a pipe in the file's place must not hang the start.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return FileError(kWhat, path, errno);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return FileError(kWhat, path, errno);
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(fmt::format("{} {}: not a regular file", kWhat, path));
  }
  std::string text;
  std::array<char, 65536> buffer;
  while (text.size() <= flood::kPeerFileBytesMax) {  // one byte more: DecodePeerFile refuses it
    const ssize_t n = read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(kWhat, path, errno);
    if (n == 0) break;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  return flood::DecodePeerFile(text);
}

absl::Status MoveAside(const std::string& path) {
  if (std::rename(path.c_str(), (path + ".corrupt").c_str()) == 0) return absl::OkStatus();
  return FileError(kWhat, path, errno);
}

struct StateWriter::Shared {
  Shared(std::string path_in, std::function<void()> on_ended_in)
      : path(std::move(path_in)), on_ended(std::move(on_ended_in)) {}

  const std::string path;
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<StateSnapshot> waiting;
  bool writing = false;
  bool stop = false;
  Report report;
  std::function<void()> on_ended;  // called with the lock held: its owner may go after Finish()
  std::atomic<uint64_t> ended{0};
};

StateWriter::StateWriter(const std::string& path, std::function<void()> on_ended)
    : shared_(std::make_shared<Shared>(path, std::move(on_ended))),
      thread_([shared = shared_] { Run(shared); }) {}

StateWriter::~StateWriter() {
  if (thread_.joinable()) Finish(kLittlePatience);
}

void StateWriter::Run(const std::shared_ptr<Shared>& shared) {
  std::unique_lock lock(shared->mutex);
  while (true) {
    shared->changed.wait(lock, [&] { return shared->waiting || shared->stop; });
    if (!shared->waiting) return;
    std::optional<StateSnapshot> taken = std::exchange(shared->waiting, std::nullopt);
    shared->writing = true;
    lock.unlock();
    const absl::Status status =
        WriteFile(shared->path,
                  EncodePeerFile(ToPeerFile(taken->book, taken->bans, taken->now, taken->wall)));
    taken.reset();
    lock.lock();
    shared->writing = false;
    ++(status.ok() ? shared->report.written : shared->report.failed);
    shared->report.last = status;
    shared->ended.fetch_add(1, std::memory_order_release);
    if (shared->on_ended) shared->on_ended();
    shared->changed.notify_all();
  }
}

void StateWriter::Submit(StateSnapshot snapshot) {
  std::optional<StateSnapshot> replaced(std::move(snapshot));
  {
    const std::lock_guard lock(shared_->mutex);
    std::swap(shared_->waiting, replaced);
  }
  shared_->changed.notify_all();
}

bool StateWriter::Finish(std::chrono::milliseconds patience) {
  bool done;
  {
    std::unique_lock lock(shared_->mutex);
    done = shared_->changed.wait_for(lock, patience,
                                     [&] { return !shared_->waiting && !shared_->writing; });
    shared_->stop = true;
    shared_->on_ended = nullptr;
  }
  shared_->changed.notify_all();
  if (done) {
    thread_.join();
  } else {
    thread_.detach();
  }
  return done;
}

StateWriter::Report StateWriter::report() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->report;
}

uint64_t StateWriter::ended() const { return shared_->ended.load(std::memory_order_acquire); }

}  // namespace overlay::server
