// server/web/web_files.h
//
// The page for people, as the build put its files into the program (server/CMakeLists.txt).
#ifndef OVERLAY_SERVER_WEB_WEB_FILES_H_
#define OVERLAY_SERVER_WEB_WEB_FILES_H_

#include <string_view>
#include <vector>

namespace overlay::server {

struct WebFile {
  std::string_view path;  // of the request: "/page.js"
  std::string_view type;
  std::string_view text;
};
const std::vector<WebFile>& WebFiles();

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_WEB_WEB_FILES_H_
