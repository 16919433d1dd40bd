// sdk_core: a core on the SDK's client, driven line by line, for tests that play the other core
// themselves.
//
//   sdk_core ADDRESS PASSPHRASE [takeover]
//
// It judges every transaction valid. A command a line on standard input; its end ends the process.
//   broadcast ID HEX       an envelope
//   state ID FROM          request_state of the slots from FROM on
//   submit HEX             a transaction
//   offer SLOT PATH        the tx set in this file
//   fetch SLOT HASH PATH   a tx set, whose bytes go into this file
//   closed SLOT
// What comes is a line each on standard output, its fields apart by one blank:
//   attached SESSION NODE                    detached again|for_good CODE TEXT...
//   peer connected|disconnected COUNT        error CODE TEXT...
//   envelope DIGEST SLOT redelivered|new     result ID PEERS_SENT
//   overflow to_core|from_core COUNT         state_done ID ASKED ANSWERED DELIVERED
//   submitted NUMBER OUTCOME                 transaction DIGEST
//   offered HASH                             set DIGEST HASH BYTES
//   fetch_failed HASH REASON
// DIGEST is the SHA-256 that this program computes of the bytes that it was given; where the daemon
// says a hash that is another one, the line is `wrong ...`.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>

#include "flood/base/crypto.h"
#include "flood/base/ids.h"
#include "fmt/format.h"
#include "overlay/client.h"

namespace overlay {
namespace {

Hash DigestOf(std::string_view bytes) {
  return Sha256({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

// Lines of two threads of the client and of our own.
class Printer {
 public:
  template <class... Values>
  void Line(fmt::format_string<Values...> form, Values&&... values) {
    std::string line = fmt::format(form, std::forward<Values>(values)...);
    line += '\n';
    const std::lock_guard lock(mutex_);
    std::fwrite(line.data(), 1, line.size(), stdout);
    std::fflush(stdout);
  }

 private:
  std::mutex mutex_;
};

class DrivenCore : public Handler {
 public:
  // False: no such command, or a malformed one.
  bool Obey(const std::string& command);
  void Use(Client* client) { client_ = client; }

  void OnAttached(const SessionInfo& info) override {
    out_.Line("attached {} {}", info.session, HexEncode(info.node));
  }
  void OnDetached(const absl::Status& why, bool final) override {
    out_.Line("detached {} {}", final ? "for_good" : "again", Describe(why));
  }
  void OnPeer(const PeerChange& change) override {
    out_.Line("peer {} {}", change.connected ? "connected" : "disconnected",
              change.peers_connected);
  }
  void OnEnvelope(const ReceivedEnvelope& in) override {
    const Hash digest = DigestOf(in.envelope);
    out_.Line("{} {} {} {}", digest == in.hash ? "envelope" : "wrong envelope", HexEncode(digest),
              in.slot, in.redelivered ? "redelivered" : "new");
  }
  void OnBroadcastResult(const BroadcastOutcome& outcome) override {
    out_.Line("result {} {}", outcome.id, outcome.peers_sent);
  }
  void OnStateDone(const StateOutcome& done) override {
    out_.Line("state_done {} {} {} {}", done.id, done.peers_asked, done.peers_answered,
              done.envelopes_delivered);
  }
  void OnOverflow(const OverflowNotice& notice) override {
    out_.Line("overflow {} {}", notice.to_core ? "to_core" : "from_core", notice.count);
  }
  void OnTransactions(const std::vector<ReceivedTransaction>& batch) override {
    std::vector<TxVerdict> verdicts;
    for (const ReceivedTransaction& in : batch) {
      const Hash digest = DigestOf(in.transaction);
      out_.Line("{} {}", digest == in.hash ? "transaction" : "wrong transaction",
                HexEncode(digest));
      verdicts.push_back({in.hash, Verdict::kValid, {}});
    }
    Told(client_->Judge(verdicts));
  }
  void OnSubmitResult(const SubmitAnswer& answer) override {
    out_.Line("submitted {} {}", answer.number, SubmitOutcomeName(answer.outcome));
  }
  void OnOffered(SetType, const Hash& hash) override { out_.Line("offered {}", HexEncode(hash)); }
  void OnSet(ReceivedSet set) override;
  void OnFetchFailed(SetType, const Hash& hash, FetchFailure reason) override {
    out_.Line("fetch_failed {} {}", HexEncode(hash), static_cast<int>(reason));
  }
  void OnError(const absl::Status& what) override { out_.Line("error {}", Describe(what)); }

 private:
  static std::string Describe(const absl::Status& status) {
    return fmt::format("{} {}", absl::StatusCodeToString(status.code()),
                       std::string(status.message()));
  }
  void Told(const absl::Status& status) {
    if (!status.ok()) OnError(status);
  }

  Client* client_ = nullptr;
  Printer out_;
  std::mutex mutex_;
  std::map<Hash, std::string> wanted_;  // where a set that is fetched goes
};

void DrivenCore::OnSet(ReceivedSet set) {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    path = wanted_[set.hash];
  }
  std::ofstream file(path, std::ios::binary);
  file.write(set.bytes.data(), static_cast<std::streamsize>(set.bytes.size()));
  file.close();
  const Hash digest = DigestOf(set.bytes);
  out_.Line("{} {} {} {}", digest == set.hash && file.good() ? "set" : "wrong set",
            HexEncode(digest), HexEncode(set.hash), set.bytes.size());
}

std::optional<Hash> ToHash(const std::string& hex) {
  const std::optional<std::string> bytes = HexDecode(hex);
  Hash hash{};
  if (!bytes || bytes->size() != hash.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), hash.begin());
  return hash;
}

bool DrivenCore::Obey(const std::string& command) {
  std::istringstream words(command);
  std::string verb, text, path;
  uint64_t number = 0;
  words >> verb;
  if (verb == "broadcast" && words >> number >> text) {
    const std::optional<std::string> envelope = HexDecode(text);
    if (!envelope) return false;
    Told(client_->Broadcast(*envelope, number));
  } else if (uint64_t from = 0; verb == "state" && words >> number >> from) {
    Told(client_->RequestState(number, from));
  } else if (verb == "submit" && words >> text) {
    const std::optional<std::string> transaction = HexDecode(text);
    if (!transaction) return false;
    Told(client_->Submit(*transaction).status());
  } else if (verb == "offer" && words >> number >> path) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const Hash hash = DigestOf(bytes);
    Told(client_->Offer(SetType::kTxSet, hash, std::move(bytes), number));
  } else if (verb == "fetch" && words >> number >> text >> path) {
    const std::optional<Hash> hash = ToHash(text);
    if (!hash) return false;
    {
      const std::lock_guard lock(mutex_);
      wanted_[*hash] = path;
    }
    FetchOptions how;
    how.slot = number;
    Told(client_->Fetch(SetType::kTxSet, *hash, how));
  } else if (verb == "closed" && words >> number) {
    Told(client_->LedgerClosed(number, std::nullopt, /*tracking=*/false));
  } else {
    return false;
  }
  return true;
}

int Main(int argc, char** argv) {
  const std::string_view third = argc > 3 ? argv[3] : "takeover";
  if (argc < 3 || argc > 4 || third != "takeover") {
    fmt::print(stderr, "usage: sdk_core ADDRESS PASSPHRASE [takeover]\n");
    return 2;
  }
  ClientOptions options;
  options.target = argv[1];
  options.network_passphrase = argv[2];
  options.takeover = argc == 4;
  options.judges_transactions = true;
  options.agent = "sdk_core";
  // What is refused is final at once: the test looks at the refusal, not at the patience.
  options.occupied_patience = std::chrono::milliseconds(0);
  DrivenCore core;
  const auto client = Client::Create(options, &core);
  if (!client.ok()) {
    fmt::print(stderr, "sdk_core: {}\n", client.status().ToString());
    return 2;
  }
  core.Use(client->get());
  (*client)->Start();
  for (std::string command; std::getline(std::cin, command);) {
    if (core.Obey(command)) continue;
    fmt::print(stderr, "sdk_core: no command: {}\n", command.substr(0, 80));
    return 2;
  }
  (*client)->Stop();
  return 0;
}

}  // namespace
}  // namespace overlay

int main(int argc, char** argv) { return overlay::Main(argc, argv); }
