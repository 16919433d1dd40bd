// Asks an HTTP/3 window for one page and says what it got, or asks and does not read.
//
//   http3_get ADDRESS METHOD PATH [NAME:VALUE]...   the status and the header, a line each; the
//       body of a zstd answer inflated, then its SHA-256
//   http3_get --unread CONNECTIONS ADDRESS PATH     says "asked" when all have been asked, then
//       keeps the connections up without reading until its input ends
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "flood/base/compress.h"
#include "flood/base/crypto.h"
#include "flood/base/ids.h"
#include "tests/support/http3_socket_client.h"

namespace overlay::server {
namespace {

using namespace std::chrono_literals;

int Fail(const std::string& why) {
  fmt::print(stderr, "http3_get: {}\n", why);
  return 1;
}

bool InputHasEnded() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  char byte;
  return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int GetOne(const SocketAddress& address, const std::vector<std::string>& words) {
  Http3Question question{.method = words[0], .path = words[1]};
  for (size_t i = 2; i < words.size(); ++i) {
    const size_t colon = words[i].find(':');
    if (colon == std::string::npos) return Fail("a header is NAME:VALUE");
    question.headers.emplace_back(words[i].substr(0, colon), words[i].substr(colon + 1));
  }
  Http3SocketClient client(address, static_cast<uint64_t>(getpid()));
  Http3Answer answer = client.Fetch(question);
  client.Close();
  if (answer.status == 0) return Fail("no answer");
  fmt::print("status:{}\n", answer.status);
  for (const auto& [name, value] : answer.headers) fmt::print("{}:{}\n", name, value);
  fmt::print("bytes:{}\n", answer.body.size());
  Bytes body = Bytes::Take(std::move(answer.body));
  if (answer.headers.contains("content-encoding")) {
    // What a set has at most: too short a frame says so.
    for (size_t size : {size_t{10'000'000}, size_t{1'000'000}}) {
      Inflated inflated = ZstdInflate(body.span(), size);
      if (inflated.error != InflateError::kNone) continue;
      body = std::move(inflated.bytes);
      fmt::print("inflated:{}\n", size);
      break;
    }
  }
  fmt::print("sha256:{}\n", HexEncode(Sha256(body.span())));
  return 0;
}

int AskUnread(size_t count, const SocketAddress& address, const std::string& path) {
  std::vector<std::unique_ptr<Http3SocketClient>> clients;
  for (size_t i = 0; i < count; ++i) {
    clients.push_back(
        std::make_unique<Http3SocketClient>(address, static_cast<uint64_t>(getpid()) * 1'000 + i));
    Http3SocketClient& client = *clients.back();
    client.http().set_reading(false);
    if (!client.RunUntil([&] { return client.http().is_up() || client.http().closed(); }, 10s)) {
      return Fail("not connected");
    }
    for (int k = 0; k < 4; ++k) (void)client.http().Ask({.path = path});
    client.RunOnce(0ms);
  }
  fmt::print("asked\n");
  std::fflush(stdout);
  while (!InputHasEnded()) {
    for (auto& client : clients) client->RunOnce(1ms);
  }
  return 0;
}

int Main(const std::vector<std::string>& words) {
  const bool unread = words.size() == 4 && words[0] == "--unread";
  if (words.size() < 3) return Fail("see its source for how it is called");
  const auto address = SocketAddress::Parse(words[unread ? 2 : 0]);
  if (!address.ok()) return Fail("no address");
  if (unread) return AskUnread(std::strtoul(words[1].c_str(), nullptr, 10), *address, words[3]);
  return GetOne(*address, {words.begin() + 1, words.end()});
}

}  // namespace
}  // namespace overlay::server

int main(int count, char** arguments) {
  return overlay::server::Main(std::vector<std::string>(arguments + 1, arguments + count));
}
