#include "server/listeners.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace overlay::server {
namespace {

using absl::StatusCode;
using testing::AllOf;
using testing::HasSubstr;

class Listeners : public testing::Test {
 protected:
  void SetUp() override {
    config_.api_listen = "unix:" + folder_.Path("core");
    mask_ = umask(0022);
    umask(mask_);
  }
  void TearDown() override { umask(mask_); }

  // The core's socket as FinishListeners() leaves it.
  struct stat Finished() {
    const auto prepared = PrepareListeners(config_);
    EXPECT_OK(prepared);
    std::ofstream(folder_.Path("core")) << "";
    if (prepared.ok()) {
      EXPECT_OK(FinishListeners(config_, *prepared));
    }
    struct stat info {};
    EXPECT_EQ(stat(folder_.Path("core").c_str(), &info), 0);
    return info;
  }

  TempFolder folder_;
  Config config_;
  mode_t mask_ = 0;
};

// The second daemon is refused and told who holds the socket; after the first has gone it gets it.
TEST_F(Listeners, ASocketIsHeldByOne) {
  {
    const auto first = PrepareListeners(config_);
    ASSERT_OK(first);
    EXPECT_THAT(PrepareListeners(config_),
                StatusIs(StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr(folder_.Path("core")),
                               HasSubstr("process " + std::to_string(getpid())))));
  }
  EXPECT_OK(PrepareListeners(config_));
}

TEST_F(Listeners, AFolderThatIsNotThereIsNamed) {
  config_.api_listen = "unix:" + folder_.Path("none/core");
  EXPECT_THAT(PrepareListeners(config_),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("No such file")));
}

TEST_F(Listeners, TokensAreReadAndJudged) {
  config_.api_listen = "127.0.0.1:0";
  config_.api_token_file = folder_.Path("token");
  EXPECT_THAT(PrepareListeners(config_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("api.token_file")));
  std::ofstream(config_.api_token_file) << "123456789012345\n";
  EXPECT_THAT(PrepareListeners(config_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("16 to 1024")));
  std::ofstream(config_.api_token_file) << "1234567890123456\n";
  const auto prepared = PrepareListeners(config_);
  ASSERT_OK(prepared);
  EXPECT_EQ(prepared->listeners[0].token, "1234567890123456");
}

TEST_F(Listeners, ModeIsSetAndAnUnknownGroupNamed) {
  config_.api_socket_mode = 0620;
  const struct stat info = Finished();
  EXPECT_EQ(info.st_mode & 0777, 0620u);
  config_.api_socket_group = "no-such-group-anywhere";
  EXPECT_THAT(PrepareListeners(config_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("api.socket_group")));
}

// A container's image knows no names of groups. Giving a file to a group that is not ours needs
// root, and to the one that we have it does not.
TEST_F(Listeners, GroupMayBeANumber) {
  config_.api_socket_mode = 0660;
  const gid_t wanted = geteuid() == 0 ? 4711 : getegid();
  config_.api_socket_group = std::to_string(wanted);
  const struct stat info = Finished();
  EXPECT_EQ(info.st_gid, wanted);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  for (const char* const wrong : {"4711x", "-1", "4294967295", "4294967296", " 1"}) {
    config_.api_socket_group = wrong;
    EXPECT_THAT(CheckListenerFiles(config_),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("the number of one")))
        << wrong;
  }
}

TEST_F(Listeners, BoundAddressHasThePort) {
  EXPECT_EQ(BoundAddress("127.0.0.1:0", 4711), "127.0.0.1:4711");
  EXPECT_EQ(BoundAddress("[::1]:0", 4711), "[::1]:4711");
  EXPECT_EQ(BoundAddress("unix:/a", 0), "unix:/a");
  EXPECT_EQ(BoundAddress("", 0), "");
}

}  // namespace
}  // namespace overlay::server
