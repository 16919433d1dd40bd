// tests/support/temp_folder.h
//
// A folder of a test's own, empty at first, gone with all that is in it at the end.
#ifndef OVERLAY_TESTS_SUPPORT_TEMP_FOLDER_H_
#define OVERLAY_TESTS_SUPPORT_TEMP_FOLDER_H_

#include <filesystem>
#include <string>
#include <string_view>

#include "flood/base/check.h"
#include "gtest/gtest.h"

namespace overlay {

class TempFolder {
 public:
  TempFolder() {
    // mkdtemp makes another name of the last six.
    path_ = testing::TempDir() + "/overlay-" + std::string(6, 'X');
    OVERLAY_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  // Of a file in it.
  std::string Path(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace overlay

#endif  // OVERLAY_TESTS_SUPPORT_TEMP_FOLDER_H_
