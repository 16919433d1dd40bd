// The peer file on a disk that is whole, full, or spoilt.
#include "server/state_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <semaphore>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace overlay::server {
namespace {

using absl::StatusCode;
using namespace std::chrono_literals;

constexpr Time kNow{1000s};
constexpr WallTime kWall{1'790'000'000'000'000};
constexpr auto kPatience = 20s;  // of a test, for a disk that works

class StateFileTest : public testing::Test {
 protected:
  static StateSnapshot Snapshot(uint8_t peers) {
    StateSnapshot snapshot{{}, {}, kNow, kWall};
    for (uint8_t i = 1; i <= peers; ++i) {
      NodeKey key;
      key.bytes[0] = i;
      snapshot.book.Add(kNow, key);
    }
    return snapshot;
  }
  StateWriter::Report Write(uint8_t peers) {
    StateWriter writer(path_);
    writer.Submit(Snapshot(peers));
    EXPECT_TRUE(writer.Finish(kPatience));
    return writer.report();
  }
  size_t PeersInFile() const {
    const auto file = LoadPeerFile(path_);
    EXPECT_OK(file.status());
    return file.ok() ? file->peers.size() : 0;
  }
  void Put(const std::string& text) const { std::ofstream(path_) << text; }
  std::string Text(const std::string& path) const {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  static bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

  TempFolder folder_;
  std::string path_ = folder_.Path("peers");
};

TEST_F(StateFileTest, WhatIsWrittenIsReadAgain) {
  EXPECT_THAT(LoadPeerFile(path_), HasCode(StatusCode::kNotFound));
  const StateWriter::Report report = Write(3);
  EXPECT_EQ(report.written, 1u);
  EXPECT_EQ(report.failed, 0u);
  EXPECT_OK(report.last);
  EXPECT_EQ(PeersInFile(), 3u);
  EXPECT_FALSE(Exists(path_ + ".tmp"));
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(StateFileTest, TheNewestWins) {
  StateWriter writer(path_);
  for (uint8_t peers = 1; peers <= 50; ++peers) writer.Submit(Snapshot(peers));
  EXPECT_TRUE(writer.Finish(kPatience));
  EXPECT_EQ(PeersInFile(), 50u);
  EXPECT_LE(writer.report().written, 50u);
  EXPECT_GE(writer.report().written, 1u);
}

// A link where the new file is made leads to a disk that is always full.
TEST_F(StateFileTest, AFullDiskLeavesTheOldFile) {
  EXPECT_EQ(Write(3).written, 1u);
  ASSERT_EQ(symlink("/dev/full", (path_ + ".tmp").c_str()), 0);
  const StateWriter::Report report = Write(4);
  EXPECT_EQ(report.written, 0u);
  EXPECT_EQ(report.failed, 1u);
  EXPECT_EQ(report.last.code(), StatusCode::kResourceExhausted) << report.last;
  EXPECT_EQ(PeersInFile(), 3u);
  EXPECT_FALSE(Exists(path_ + ".tmp"));
  EXPECT_EQ(Write(5).written, 1u);  // there is room again
  EXPECT_EQ(PeersInFile(), 5u);
}

// So that it can be told at once.
TEST_F(StateFileTest, TheEndOfEachWriteIsTold) {
  ASSERT_EQ(symlink("/dev/full", (path_ + ".tmp").c_str()), 0);
  std::counting_semaphore<> told(0);
  StateWriter writer(path_, [&] { told.release(); });
  EXPECT_EQ(writer.ended(), 0u);
  for (const uint64_t count : {1, 2}) {  // the first removes the link
    writer.Submit(Snapshot(1));
    ASSERT_TRUE(told.try_acquire_for(kPatience));
    EXPECT_EQ(writer.ended(), count);
  }
  EXPECT_TRUE(writer.Finish(kPatience));
  EXPECT_EQ(writer.report().failed, 1u);
  EXPECT_EQ(writer.report().written, 1u);
}

TEST_F(StateFileTest, AFolderThatIsNotThereIsAFailureEachTime) {
  StateWriter writer(folder_.Path("no/such/folder"));
  writer.Submit(Snapshot(1));
  EXPECT_TRUE(writer.Finish(kPatience));
  EXPECT_EQ(writer.report().failed, 1u);
  EXPECT_EQ(writer.report().last.code(), StatusCode::kNotFound);
}

// What a process left that was killed in the middle of a write.
TEST_F(StateFileTest, HalfATemporaryFileIsNobodysFile) {
  EXPECT_EQ(Write(3).written, 1u);
  std::ofstream(path_ + ".tmp") << Text(path_).substr(0, 100);
  EXPECT_EQ(PeersInFile(), 3u);
  EXPECT_EQ(Write(2).written, 1u);
  EXPECT_EQ(PeersInFile(), 2u);
  EXPECT_FALSE(Exists(path_ + ".tmp"));
}

TEST_F(StateFileTest, ADiskThatHangsIsGivenUp) {
  ASSERT_EQ(mkfifo((path_ + ".tmp").c_str(), 0600), 0);  // opening it waits for a reader
  StateWriter writer(path_);
  writer.Submit(Snapshot(1));
  EXPECT_FALSE(writer.Finish(20ms));
  EXPECT_EQ(writer.report().written + writer.report().failed, 0u);
  // Let it go on, and to its end: what closes the pipe comes last.
  EXPECT_NE(Text(path_ + ".tmp").find("overlay peers 2"), std::string::npos);
}

TEST_F(StateFileTest, WhatIsCorruptIsMovedAsideAndOneIsKept) {
  EXPECT_EQ(Write(3).written, 1u);
  const std::string whole = Text(path_);
  Put(whole.substr(0, whole.size() / 2));
  EXPECT_THAT(LoadPeerFile(path_), HasCode(StatusCode::kInvalidArgument));
  EXPECT_OK(MoveAside(path_));
  EXPECT_FALSE(Exists(path_));
  EXPECT_EQ(Text(path_ + ".corrupt"), whole.substr(0, whole.size() / 2));
  Put("overlay peers 2\n");
  EXPECT_THAT(LoadPeerFile(path_), HasCode(StatusCode::kInvalidArgument));
  EXPECT_OK(MoveAside(path_));
  EXPECT_EQ(Text(path_ + ".corrupt"), "overlay peers 2\n");
  EXPECT_THAT(MoveAside(path_), HasCode(StatusCode::kNotFound));
}

TEST_F(StateFileTest, WhatIsTooLargeIsNotReadToItsEnd) {
  Put(std::string(64 << 20, 'x'));
  const auto file = LoadPeerFile(path_);
  EXPECT_THAT(file, HasCode(StatusCode::kInvalidArgument));
  EXPECT_NE(file.status().message().find("at most"), std::string::npos) << file.status();
  Put("");
  EXPECT_THAT(LoadPeerFile(path_), HasCode(StatusCode::kInvalidArgument));
}

TEST_F(StateFileTest, WhatIsNoFileIsLeftWhereItIs) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  EXPECT_THAT(LoadPeerFile(path_), HasCode(StatusCode::kFailedPrecondition));
  ASSERT_EQ(rmdir(path_.c_str()), 0);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(LoadPeerFile(path_), HasCode(StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace overlay::server
