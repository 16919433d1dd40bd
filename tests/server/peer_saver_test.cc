#include "server/peer_saver.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <semaphore>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace overlay::server {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart{1000s};
constexpr WallTime kWall{1'790'000'000'000'000};
constexpr auto kPatience = 20s;  // of a test, for a disk that works

class PeerSaverTest : public testing::Test {
 protected:
  PeerSaverTest() {
    saver_ = std::make_unique<PeerSaver>(path_, &node_, &log_, [this] { ended_.release(); });
  }

  void MakeFolder() const { ASSERT_EQ(mkdir(folder_.Path("state").c_str(), 0700), 0); }
  void Connect(uint8_t peer) {
    PeerConnected connected;
    connected.peer = PeerId{peer};
    connected.info.key.bytes.fill(peer);
    connected.info.address = SocketAddress::V4(0xc0000200 + peer, 11625);
    flood::ActionList ignored;
    node_.OnPeerEvent(now_, connected, ignored);
  }
  std::optional<Time> Turn() {
    return saver_->OnTurn(now_, [] { return kWall; });
  }
  // A turn that begins a write, and the one after its end.
  std::optional<Time> TurnThatWrites() {
    EXPECT_EQ(Turn(), std::nullopt);
    EXPECT_TRUE(ended_.try_acquire_for(kPatience));
    return Turn();
  }
  size_t PeersInFile() const {
    const auto file = LoadPeerFile(path_);
    EXPECT_OK(file.status());
    return file.ok() ? file->peers.size() : 0;
  }

  Time now_ = kStart;
  Log log_{LogLevel::kError, LogFormat::kText};
  flood::OverlayNode node_{Limits{}, {}, Random(1)};
  TempFolder folder_;
  std::string path_ = folder_.Path("state/peers");
  std::counting_semaphore<> ended_{0};
  std::unique_ptr<PeerSaver> saver_;
};

// R1.
TEST_F(PeerSaverTest, WrittenWhenItHasChangedAndNotTooOften) {
  MakeFolder();
  EXPECT_EQ(Turn(), std::nullopt);
  Connect(1);
  EXPECT_EQ(TurnThatWrites(), std::nullopt);
  EXPECT_EQ(saver_->report().written, 1u);
  EXPECT_EQ(PeersInFile(), 1u);
  Connect(2);
  EXPECT_EQ(Turn(), kStart + kSaveEvery);
  now_ = kStart + kSaveEvery - 1us;
  EXPECT_EQ(Turn(), kStart + kSaveEvery);
  EXPECT_EQ(PeersInFile(), 1u);
  now_ = kStart + kSaveEvery;
  EXPECT_EQ(TurnThatWrites(), std::nullopt);
  EXPECT_EQ(PeersInFile(), 2u);
  saver_->Hurry();
  EXPECT_EQ(Turn(), std::nullopt);  // nothing has changed
  Connect(3);
  EXPECT_EQ(TurnThatWrites(), std::nullopt);  // of the hurry
  Connect(4);
  EXPECT_EQ(Turn(), now_ + kSaveEvery);
  saver_->Hurry();
  EXPECT_EQ(TurnThatWrites(), std::nullopt);
  EXPECT_EQ(PeersInFile(), 4u);
}

// R2: without any further change.
TEST_F(PeerSaverTest, WhatFailedIsTriedAgain) {
  Connect(1);
  EXPECT_EQ(TurnThatWrites(), now_ + kSaveAgainAfter);
  EXPECT_EQ(saver_->report().failed, 1u);
  now_ += kSaveAgainAfter - 1us;
  EXPECT_EQ(Turn(), now_ + 1us);
  now_ += 1us;
  EXPECT_EQ(TurnThatWrites(), now_ + kSaveAgainAfter);
  EXPECT_EQ(saver_->report().failed, 2u);
  MakeFolder();
  now_ += kSaveAgainAfter;
  EXPECT_EQ(TurnThatWrites(), std::nullopt);
  EXPECT_EQ(saver_->report().written, 1u);
  EXPECT_EQ(PeersInFile(), 1u);
}

TEST_F(PeerSaverTest, TheLastOneIsWrittenWhateverWasBefore) {
  MakeFolder();
  Connect(1);
  EXPECT_EQ(TurnThatWrites(), std::nullopt);
  Connect(2);
  saver_->Finish(now_, kWall, kPatience);
  EXPECT_EQ(saver_->report().written, 2u);
  EXPECT_EQ(PeersInFile(), 2u);
}

}  // namespace
}  // namespace overlay::server
