// transport/file_io.h
//
// The few things that every small file of ours needs: a descriptor that is closed, a write that is
// whole, an error with its kind.
#ifndef OVERLAY_TRANSPORT_FILE_IO_H_
#define OVERLAY_TRANSPORT_FILE_IO_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace overlay::transport {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// "WHAT PATH: the system's text", as NOT_FOUND, PERMISSION_DENIED, ALREADY_EXISTS,
// RESOURCE_EXHAUSTED (no room) or INTERNAL.
absl::Status FileError(std::string_view what, const std::string& path, int error);

// False, with errno, when not all of it could be written.
bool WriteAll(int fd, std::string_view text);

// So that a new name survives a crash. A file system that cannot sync a folder is no reason to
// fail.
void SyncFolderOf(const std::string& path);

}  // namespace overlay::transport

#endif  // OVERLAY_TRANSPORT_FILE_IO_H_
