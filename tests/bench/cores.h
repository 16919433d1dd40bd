// tests/bench/cores.h
//
// What the cores of every mode share: attaching to their daemons, and waiting for each other.
#ifndef OVERLAY_TESTS_BENCH_CORES_H_
#define OVERLAY_TESTS_BENCH_CORES_H_

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flood/base/time.h"
#include "overlay/client.h"
#include "tests/bench/clock.h"

namespace overlay::bench {

inline constexpr Duration kConnectPatience = std::chrono::seconds(30);

// Where the driving thread waits for what the clients' threads count.
class Progress {
 public:
  void Changed() {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  }
  template <class Done>
  bool Wait(Duration patience, Done done) {
    const Time until = Now() + patience;
    std::unique_lock lock(mutex_);
    while (!done() && Now() < until && !Interrupted()) {
      // Short, because an interrupt does not notify.
      changed_.wait_for(lock, std::chrono::milliseconds(50));
    }
    return done();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

// A core that remembers what went wrong, and how many peers its daemon has.
class BenchCore : public Handler {
 public:
  explicit BenchCore(Progress* progress) : progress_(progress) {}

  void OnPeer(const PeerChange& change) override {
    peers_ = change.peers_connected;
    progress_->Changed();
  }
  void OnError(const absl::Status& what) override { Fail(what); }
  void OnDetached(const absl::Status& why, bool) override { Fail(why); }

  uint32_t peers() const { return peers_; }
  absl::Status failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 protected:
  void Fail(const absl::Status& why) {
    {
      const std::lock_guard lock(mutex_);
      if (failure_.ok() && !absl::IsCancelled(why)) failure_ = why;
    }
    progress_->Changed();
  }
  Progress* progress() const { return progress_; }

 private:
  Progress* progress_;
  mutable std::mutex mutex_;
  absl::Status failure_;
  std::atomic<uint32_t> peers_{0};
};

// One client a core, all stopped with the object; they end before the cores do.
class Clients {
 public:
  ~Clients() { Stop(); }
  // Attaches core i to apis[i] with those options, and waits until the daemons have each other as
  // peers.
  absl::Status Connect(const std::vector<std::string>& apis, const ClientOptions& options,
                       const std::vector<BenchCore*>& cores, Progress& progress);
  void Stop();
  Client& operator[](size_t core) { return *clients_[core]; }
  size_t size() const { return clients_.size(); }
  // What a core was told, else `otherwise`, else OK.
  absl::Status Failure(const std::string& otherwise) const;

 private:
  std::vector<BenchCore*> cores_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_CORES_H_
