#include "transport/node_key_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace overlay::transport {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class NodeKeyFile : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.Path(name); }
  std::string Put(const std::string& name, const std::string& text, mode_t mode = 0600) {
    std::ofstream(Path(name)) << text;
    EXPECT_EQ(chmod(Path(name).c_str(), mode), 0);
    return Path(name);
  }

  TempFolder folder_;
};

TEST_F(NodeKeyFile, WhatIsWrittenIsReadAgain) {
  absl::StatusOr<SecretSeed> seed = GenerateNodeKey();
  ASSERT_OK(seed);
  ASSERT_OK(WriteNodeKeyFile(Path("key"), *seed));
  absl::StatusOr<SecretSeed> read = LoadNodeKeyFile(Path("key"));
  ASSERT_OK(read);
  EXPECT_EQ(read->bytes, seed->bytes);
  struct stat info;
  ASSERT_EQ(stat(Path("key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  absl::StatusOr<SecretSeed> other = GenerateNodeKey();
  ASSERT_OK(other);
  EXPECT_NE(other->bytes, seed->bytes);
}

TEST_F(NodeKeyFile, OneThatWeMayNotReadIsNamed) {
  const std::string path = Put("key", ToStrkey(SecretSeed{}), 0);
  constexpr uid_t kNobody = 65534;
  const uid_t own = geteuid();
  ASSERT_EQ(seteuid(own == 0 ? kNobody : own), 0);  // root may read everything
  const absl::StatusOr<SecretSeed> read = LoadNodeKeyFile(path);
  ASSERT_EQ(seteuid(own), 0);
  EXPECT_THAT(read, StatusIs(absl::StatusCode::kPermissionDenied,
                             AllOf(HasSubstr(path), HasSubstr("Permission denied"))));
}

TEST_F(NodeKeyFile, AnExistingKeyIsNeverOverwritten) {
  absl::StatusOr<SecretSeed> seed = GenerateNodeKey();
  ASSERT_OK(seed);
  Put("key", "precious");
  EXPECT_THAT(WriteNodeKeyFile(Path("key"), *seed), HasCode(absl::StatusCode::kAlreadyExists));
  std::string kept;
  std::getline(std::ifstream(Path("key")) >> std::ws, kept);
  EXPECT_EQ(kept, "precious");
  EXPECT_THAT(WriteNodeKeyFile(Path("no/such/folder"), *seed),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such/folder")));
}

TEST_F(NodeKeyFile, OthersMustNotReadIt) {
  const std::string text = ToStrkey(SecretSeed{});
  for (const mode_t mode : {0640, 0604, 0620, 0602, 0660, 0644}) {
    const std::string path = Put("key", text, mode);
    EXPECT_THAT(LoadNodeKeyFile(path),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         AllOf(HasSubstr("chmod 600 " + path), Not(HasSubstr(text)))))
        << mode;
  }
  for (const mode_t mode : {0600, 0400, 0700}) {
    EXPECT_OK(LoadNodeKeyFile(Put("key", text, mode))) << mode;
  }
}

// Kubernetes mounts secrets as root's, readable by the pod's group. Only root can play root here;
// for anybody else the file is his own, and refused.
TEST_F(NodeKeyFile, RootMayLendItToAGroupOfOurs) {
  constexpr uid_t kNobody = 65534;
  const bool is_root = geteuid() == 0;
  const gid_t own_group = getegid();
  const auto load = [&](mode_t mode) {
    const std::string path = Put("key", ToStrkey(SecretSeed{}), mode);
    if (!is_root) return LoadNodeKeyFile(path);
    EXPECT_EQ(chown(path.c_str(), 0, kNobody), 0);
    EXPECT_EQ(setegid(kNobody), 0);
    EXPECT_EQ(seteuid(kNobody), 0);
    absl::StatusOr<SecretSeed> read = LoadNodeKeyFile(path);
    EXPECT_EQ(seteuid(0), 0);
    EXPECT_EQ(setegid(own_group), 0);
    return read;
  };
  std::filesystem::permissions(Path(""), std::filesystem::perms::others_exec,
                               std::filesystem::perm_options::add);
  const auto lent = is_root ? absl::StatusCode::kOk : absl::StatusCode::kPermissionDenied;
  EXPECT_EQ(load(0440).status().code(), lent);
  for (const mode_t mode : {0444, 0460, 0442, 0450}) {
    EXPECT_THAT(load(mode), HasCode(absl::StatusCode::kPermissionDenied)) << mode;
  }
}

TEST_F(NodeKeyFile, OnlyOneSeedIsAccepted) {
  const std::string good = ToStrkey(SecretSeed{});
  EXPECT_OK(LoadNodeKeyFile(Put("key", "  " + good + "\r\n\n")));
  std::string damaged = good;
  damaged[10] = damaged[10] == 'A' ? 'B' : 'A';
  for (const std::string& text :
       {std::string(), std::string("\n"), good + good, good + "\n" + good, damaged,
        std::string(10'000, 'S'), ToStrkey(PublicKeyOf(SecretSeed{}))}) {
    EXPECT_THAT(LoadNodeKeyFile(Put("key", text)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(Path("key")), Not(HasSubstr(damaged)))));
  }
  EXPECT_THAT(LoadNodeKeyFile(folder_.path()), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(LoadNodeKeyFile(Path("none")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(Path("none"))));
}

// A pipe in its place must not hang the start.
TEST_F(NodeKeyFile, APipeIsNoKey) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_THAT(LoadNodeKeyFile(Path("pipe")), HasCode(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace overlay::transport
