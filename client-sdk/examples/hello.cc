// The shortest useful core: attaches to a daemon, prints what comes, relays each envelope, submits
// one transaction given as a file.
//
//   hello unix:/run/overlayd/core.sock "network passphrase" [transaction.xdr]
#include <overlay/client.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

namespace {

struct Core : overlay::Handler {
  overlay::Client* client = nullptr;

  void OnAttached(const overlay::SessionInfo& session) override {
    std::printf("attached to %s\n", session.node_strkey.c_str());
  }
  void OnPeer(const overlay::PeerChange& peer) override {
    std::printf("%s %s\n", peer.strkey.c_str(), peer.connected ? "came" : "went");
  }
  // On a thread of its own, so that nothing below delays it. A real core looks at the signature
  // first.
  void OnEnvelope(const overlay::ReceivedEnvelope& e) override {
    if (!client->Broadcast(e.envelope).ok()) std::puts("the queue is full");
  }
  void OnSubmitResult(const overlay::SubmitAnswer& answer) override {
    std::printf("submitted: %s\n", std::string(overlay::SubmitOutcomeName(answer.outcome)).c_str());
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::puts("usage: hello ADDRESS PASSPHRASE [TRANSACTION]"), 2;
  Core core;
  overlay::ClientOptions options;
  options.target = argv[1];
  options.network_passphrase = argv[2];
  auto client = overlay::Client::Create(options, &core);
  if (!client.ok()) return std::puts(std::string(client.status().message()).c_str()), 2;
  core.client = client->get();
  (*client)->Start();  // attaches, and again whenever the daemon has gone
  if (!(*client)->WaitAttached(std::chrono::seconds(10))) return std::puts("no daemon there"), 1;
  if (argc > 3) {
    std::ifstream file(argv[3], std::ios::binary);
    const std::string transaction{std::istreambuf_iterator<char>(file), {}};
    if (!(*client)->Submit(transaction).ok()) std::puts("not taken");
  }
  std::puts("press Enter to end");
  std::getchar();
  (*client)->Stop();
}
