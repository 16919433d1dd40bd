// tests/client/client_fixture.h
//
// A client whose core writes down what it hears, and a daemon that the test plays. Waits are on
// conditions, for kPatience at most.
#ifndef OVERLAY_TESTS_CLIENT_CLIENT_FIXTURE_H_
#define OVERLAY_TESTS_CLIENT_CLIENT_FIXTURE_H_

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "overlay/client.h"
#include "tests/client/fake_daemon.h"
#include "tests/support/temp_folder.h"

namespace overlay::client {

inline constexpr std::chrono::seconds kPatience(20);
inline constexpr uint32_t kPrepare = 0;
inline constexpr uint32_t kNominate = 3;

// What the client reads of an envelope, and then a text.
inline std::string Envelope(uint64_t slot, char node, uint32_t type, const std::string& text) {
  std::string out(4, '\0');
  out += std::string(32, node);
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(slot >> shift);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(type >> shift);
  return out + text;
}

inline Hash HashOfByte(uint8_t byte) {
  Hash hash;
  hash.fill(byte);
  return hash;
}
inline std::string BytesOf(const Hash& hash) { return std::string(hash.begin(), hash.end()); }

inline v1::ScpDown Received(uint8_t hash, uint64_t slot, bool redelivered = false) {
  v1::ScpDown down;
  down.mutable_received()->set_envelope("envelope");
  down.mutable_received()->set_hash(BytesOf(HashOfByte(hash)));
  down.mutable_received()->set_slot(slot);
  down.mutable_received()->set_redelivered(redelivered);
  return down;
}

// Writes down what the client says, one line each.
class Recorder : public Handler {
 public:
  void OnEnvelope(const ReceivedEnvelope& e) override {
    Add(fmt::format("envelope {}{}", e.hash[0], e.redelivered ? " again" : ""));
  }
  void OnOverflow(const OverflowNotice& o) override { Add(fmt::format("overflow {}", o.count)); }
  void OnAttached(const SessionInfo&) override { Add("attached"); }
  void OnDetached(const absl::Status& why, bool final) override {
    Add(fmt::format("detached {} {}", final ? "for good" : "for now",
                    static_cast<int>(why.code())));
  }
  void OnPeer(const PeerChange& p) override { Add(fmt::format("peer {}", p.peers_connected)); }
  void OnTransactions(const std::vector<ReceivedTransaction>& batch) override {
    Add(fmt::format("transactions {}", batch.size()));
    if (on_transactions) on_transactions();
  }
  void OnSubmitResult(const SubmitAnswer& a) override {
    Add(fmt::format("result {} {}", a.number, SubmitOutcomeName(a.outcome)));
  }
  void OnOffered(SetType, const Hash& hash) override { Add(fmt::format("offered {}", hash[0])); }
  void OnSet(ReceivedSet set) override {
    Add(fmt::format("set {} of {} bytes from {}", set.hash[0], set.bytes.size(), set.peers.size()));
  }
  void OnFetchFailed(SetType, const Hash& hash, FetchFailure failure) override {
    Add(fmt::format("fetch {} failed {}", hash[0], static_cast<int>(failure)));
  }
  void OnError(const absl::Status& what) override { Add("error " + std::string(what.message())); }

  bool WaitFor(const std::string& line, size_t count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return Count(line) >= count; });
  }
  std::vector<std::string> Lines(const std::string& prefix = "") {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> matching;
    for (const std::string& line : lines_) {
      if (line.starts_with(prefix)) matching.push_back(line);
    }
    return matching;
  }

  std::function<void()> on_transactions;

 private:
  size_t Count(const std::string& line) const {
    return static_cast<size_t>(std::count(lines_.begin(), lines_.end(), line));
  }
  void Add(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
};

class ClientTest : public ::testing::Test {
 protected:
  ~ClientTest() override {
    if (client_ != nullptr) client_->Stop();
    client_.reset();
    daemon_.reset();
  }

  std::string path() const { return folder_.Path("core"); }
  ClientOptions Options() const {
    ClientOptions options;
    options.target = "unix:" + path();
    options.network_passphrase = "test";
    options.reconnect_max = std::chrono::milliseconds(50);
    return options;
  }
  void StartDaemon() { daemon_ = std::make_unique<FakeDaemon>(path()); }
  void MakeClient(const ClientOptions& options) {
    auto made = Client::Create(options, &core_);
    ASSERT_TRUE(made.ok()) << made.status();
    client_ = *std::move(made);
  }
  void Attach() {
    StartDaemon();
    MakeClient(Options());
    client_->Start();
    ASSERT_TRUE(client_->WaitAttached(kPatience));
  }
  // As a crash and a new start: the client has attached to the new one when this returns.
  void RestartDaemon() {
    const size_t before = core_.Lines("attached").size();
    daemon_->Restart();
    ASSERT_TRUE(core_.WaitFor("attached", before + 1));
    ASSERT_TRUE(client_->WaitAttached(kPatience));
  }
  static std::vector<std::string> Only(const std::vector<std::string>& lines,
                                       const std::string& prefix) {
    std::vector<std::string> matching;
    for (const std::string& line : lines) {
      if (line.starts_with(prefix)) matching.push_back(line);
    }
    return matching;
  }

  TempFolder folder_;
  Recorder core_;
  std::unique_ptr<FakeDaemon> daemon_;
  std::unique_ptr<Client> client_;
};

}  // namespace overlay::client

#endif  // OVERLAY_TESTS_CLIENT_CLIENT_FIXTURE_H_
