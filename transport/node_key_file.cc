#include "transport/node_key_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "fmt/format.h"
#include "transport/file_io.h"

namespace overlay::transport {
namespace {

// A seed is 56 characters; a line end and some white space are forgiven.
constexpr size_t kKeyFileBytesMax = 256;

// Who may read the key beside its owner: nobody; but a secret that Kubernetes mounts for a group is
// root's, and its group reads it, which is how we do when we are not root.
mode_t ForbiddenBits(const struct stat& info) {
  const bool is_lent = info.st_uid == 0 && geteuid() != 0;
  return (S_IRWXG | S_IRWXO) & (is_lent ? ~static_cast<mode_t>(S_IRGRP) : ~mode_t{0});
}

// At most kKeyFileBytesMax + 1 bytes, so that a larger file is recognised; -1 with errno.
ssize_t ReadSome(int fd, std::array<char, kKeyFileBytesMax + 1>& buffer) {
  size_t got = 0;
  while (got < buffer.size()) {
    const ssize_t n = read(fd, buffer.data() + got, buffer.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(got);
}

}  // namespace

absl::StatusOr<SecretSeed> LoadNodeKeyFile(const std::string& path) {
  // O_NONBLOCK: a pipe put in the key's place must not hang the start.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return FileError("node key file", path, errno);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return FileError("node key file", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("node key file {}: not a regular file", path));
  }
  if ((info.st_mode & ForbiddenBits(info)) != 0) {
    return absl::PermissionDeniedError(
        fmt::format("node key file {}: mode {:04o} lets others at the secret key; chmod 600 {}",
                    path, info.st_mode & 07777, path));
  }
  std::array<char, kKeyFileBytesMax + 1> buffer;
  const ssize_t bytes = ReadSome(file.get(), buffer);
  if (bytes < 0) return FileError("node key file", path, errno);
  std::string_view text(buffer.data(), static_cast<size_t>(bytes));
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (text.size() > kKeyFileBytesMax || begin == std::string_view::npos) {
    return absl::InvalidArgumentError(
        fmt::format("node key file {}: expected one line with a secret seed (S...)", path));
  }
  text = text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
  absl::StatusOr<SecretSeed> seed = SecretSeedFromStrkey(text);
  if (!seed.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("node key file {}: expected one line with a secret seed (S...): {}", path,
                    std::string(seed.status().message())));
  }
  return seed;
}

absl::StatusOr<SecretSeed> GenerateNodeKey() {
  SecretSeed seed;
  // Up to 256 bytes come whole once the generator is initialised.
  ssize_t n;
  do {
    n = getrandom(seed.bytes.data(), seed.bytes.size(), 0);
  } while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(seed.bytes.size())) {
    return absl::InternalError(fmt::format("getrandom: {}", std::strerror(errno)));
  }
  return seed;
}

absl::Status WriteNodeKeyFile(const std::string& path, const SecretSeed& seed) {
  const FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.get() < 0) return FileError("node key file", path, errno);
  if (!WriteAll(file.get(), ToStrkey(seed) + "\n") || fsync(file.get()) != 0) {
    absl::Status status = FileError("node key file", path, errno);
    unlink(path.c_str());
    return status;
  }
  SyncFolderOf(path);
  return absl::OkStatus();
}

}  // namespace overlay::transport
