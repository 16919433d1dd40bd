// server/http_page.h
//
// What is asked of the daemon's pages, and what they give: the same pages on the metrics port
// (HTTP/1.1, http_server.h) and in the HTTP/3 window (http3/).
#ifndef OVERLAY_SERVER_HTTP_PAGE_H_
#define OVERLAY_SERVER_HTTP_PAGE_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flood/base/bytes.h"

namespace overlay::server {

struct HttpRequest {
  std::string path;        // decoded, without the query: "/peers"
  std::string query = {};  // what follows '?', as it came
  std::string if_none_match = {};
  std::string accept_encoding = {};
};

struct HttpPage {
  int status = 200;
  std::string content_type;
  std::string body;
  // Instead of `body`, where the bytes are shared: they are sent as they are, without a copy.
  Bytes payload = {};
  // Beyond Content-Type and Content-Length, names in lower case.
  std::vector<std::pair<std::string, std::string>> headers = {};
};

struct HttpRoute {
  // "/metrics", itself only; "/txsets/", everything below it.
  std::string path;
  // Any thread, several at once. May wait up to a second for the loop (pages.h).
  std::function<HttpPage(const HttpRequest&)> page;
};

// The first route that fits; nullptr: none.
const HttpRoute* FindRoute(const std::vector<HttpRoute>& routes, std::string_view path);
// 404, and which pages there are.
HttpPage NoSuchPage(const std::vector<HttpRoute>& routes);
// The page of the first route that fits, or what is wrong: 400 (a path that is none), 404, 405. A
// HEAD gets what a GET would, whose body the server leaves out.
HttpPage ServePage(const std::vector<HttpRoute>& routes, std::string_view method,
                   const HttpRequest& request);
// "Not Found".
std::string_view StatusText(int status);

}  // namespace overlay::server

#endif  // OVERLAY_SERVER_HTTP_PAGE_H_
