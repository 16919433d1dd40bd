#include "server/http_page.h"

#include <algorithm>

namespace overlay::server {
namespace {

HttpPage Refusal(int status, std::string why) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(why)};
}

bool Fits(const HttpRoute& route, std::string_view path) {
  if (route.path.size() > 1 && route.path.back() == '/') {
    return path.size() > route.path.size() && path.substr(0, route.path.size()) == route.path;
  }
  return path == route.path;
}

}  // namespace

const HttpRoute* FindRoute(const std::vector<HttpRoute>& routes, std::string_view path) {
  const auto found = std::find_if(routes.begin(), routes.end(),
                                  [path](const HttpRoute& route) { return Fits(route, path); });
  return found == routes.end() ? nullptr : &*found;
}

HttpPage NoSuchPage(const std::vector<HttpRoute>& routes) {
  std::string known = "no such page; there are:\n";
  for (const HttpRoute& route : routes) known += route.path + "\n";
  return Refusal(404, std::move(known));
}

HttpPage ServePage(const std::vector<HttpRoute>& routes, std::string_view method,
                   const HttpRequest& request) {
  if (request.path.empty() || request.path[0] != '/') {
    return Refusal(400, "the path is none: it begins with '/'\n");
  }
  const HttpRoute* const route = FindRoute(routes, request.path);
  if (route == nullptr) return NoSuchPage(routes);
  if (method == "GET" || method == "HEAD") return route->page(request);
  HttpPage page = Refusal(405, "this can be read, with GET and HEAD, and nothing else\n");
  page.headers.emplace_back("allow", "GET, HEAD");
  return page;
}

std::string_view StatusText(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    default:
      return status < 400 ? "OK" : "Error";
  }
}

}  // namespace overlay::server
