// submit, top, fetch, watch: what goes through a session with the daemon. Reading (top, watch) is
// an observer's, which any number up to 4 may be beside the core; submitting and fetching change
// what the daemon does, and are the core's.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "client-sdk/overlayctl/commands.h"
#include "flood/base/crypto.h"
#include "flood/base/ids.h"
#include "overlay/client.h"
#include "proto/json/json_object.h"

namespace overlay::ctl {
namespace {

volatile sig_atomic_t interrupted = 0;
void OnInterrupt(int) { interrupted = 1; }

std::string Hex(const Hash& hash) { return HexEncode(hash); }

// Collects what the daemon says until the command has its answer. Its methods run on the client's
// threads.
class Session : public Handler {
 public:
  explicit Session(const Arguments& arguments) : arguments_(arguments) {}

  void OnAttached(const SessionInfo&) override {
    Note([this] { attached_ = true; });
  }
  void OnDetached(const absl::Status& why, bool) override {
    Note([&] { End(why); });
  }
  void OnError(const absl::Status& what) override {
    Note([&] { End(what); });
  }
  void OnSubmitResult(const SubmitAnswer& answer) override {
    Note([&] { answer_ = answer; });
  }
  void OnSet(ReceivedSet set) override {
    Note([&] { set_ = std::move(set); });
  }
  void OnFetchFailed(SetType, const Hash&, FetchFailure failure) override {
    Note([&] {
      switch (failure) {
        case FetchFailure::kExpired:
          return End(
              absl::NotFoundError("the fetch expired: no peer had it while its slot was kept"));
        case FetchFailure::kTooLarge:
          return End(absl::OutOfRangeError("whoever has it says that it is over the limit"));
        case FetchFailure::kNoRoom:
          return End(
              absl::ResourceExhaustedError("the daemon has too many fetches open: try again"));
        case FetchFailure::kCancelled:
          return End(absl::CancelledError("the fetch was cancelled"));
        case FetchFailure::kRefused:
          return End(absl::InvalidArgumentError("the daemon refused the fetch"));
      }
    });
  }
  void OnEnvelope(const ReceivedEnvelope& e) override {
    if (!Watching()) return;
    if (arguments_.json) {
      JsonObject out;
      out.Text("event", "envelope").Number("slot", e.slot).Text("hash", Hex(e.hash));
      out.Text("peer", ToStrkey(NodeKey{e.peer})).Number("bytes", e.envelope.size());
      std::vector<std::string> sets;
      for (const Hash& set : e.tx_sets) sets.push_back(JsonText(Hex(set)));
      Show(out.List("tx_sets", sets).Text("quorum_set", Hex(e.quorum_set)).Done());
    } else {
      Show(fmt::format("envelope slot {} {} ({} bytes) from {}", e.slot, Hex(e.hash),
                       e.envelope.size(), ToStrkey(NodeKey{e.peer})));
    }
  }
  void OnPeer(const PeerChange& p) override {
    if (!Watching()) return;
    if (arguments_.json) {
      JsonObject out;
      out.Text("event", p.connected ? "connected" : "disconnected").Text("peer", p.strkey);
      out.Text("address", p.address).Bool("inbound", p.inbound).Text("reason", p.reason);
      Show(out.Number("peers_connected", p.peers_connected).Done());
    } else {
      Show(fmt::format("{} {} {}{}, {} peers", p.connected ? "connected" : "disconnected", p.strkey,
                       p.address, p.reason.empty() ? "" : " (" + Printable(p.reason) + ")",
                       p.peers_connected));
    }
  }
  void OnOverflow(const OverflowNotice& lost) override {
    if (!Watching()) return;
    if (arguments_.json) {
      Show(JsonObject().Text("event", "lost").Number("count", lost.count).Done());
    } else {
      Show(fmt::format("lost {}: they came faster than they were read", lost.count));
    }
  }

  // Waits for one of the answers. False: neither it nor an end came in time.
  template <class Done>
  bool Wait(std::optional<std::chrono::seconds> timeout, Done done) {
    const auto until =
        std::chrono::steady_clock::now() + timeout.value_or(std::chrono::hours(24 * 365));
    std::unique_lock lock(mutex_);
    while (!done() && end_.ok() && interrupted == 0 && std::chrono::steady_clock::now() < until) {
      // Short, because an interrupt does not notify.
      changed_.wait_for(lock, std::chrono::milliseconds(100));
    }
    return done() || !end_.ok();
  }
  // Valid after Wait; the members are this thread's once the client has stopped.
  bool attached() const { return attached_; }
  const absl::Status& end() const { return end_; }
  const std::optional<SubmitAnswer>& answer() const { return answer_; }
  const std::optional<ReceivedSet>& set() const { return set_; }
  bool enough() const { return arguments_.events && shown_ >= *arguments_.events; }

 private:
  bool Watching() const { return arguments_.command == Command::kWatch; }
  template <class Change>
  void Note(Change change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  void End(const absl::Status& why) {
    if (end_.ok()) end_ = why;
  }
  void Show(const std::string& line) {
    Note([&] {
      if (enough()) return;
      ++shown_;
      PrintLine(line);
    });
  }

  const Arguments& arguments_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool attached_ = false;
  absl::Status end_;
  std::optional<SubmitAnswer> answer_;
  std::optional<ReceivedSet> set_;
  uint64_t shown_ = 0;
};

std::string_view CommandText(Command command) {
  return command == Command::kSubmit ? "submit" : "fetch";
}

absl::Status ExplainAttach(const Arguments& arguments, const absl::Status& why) {
  const std::string said(why.message());
  switch (why.code()) {
    case absl::StatusCode::kFailedPrecondition:
      if (said.find("network") != std::string::npos) {
        return absl::FailedPreconditionError(fmt::format("wrong --passphrase: {}", said));
      }
      return absl::FailedPreconditionError(
          fmt::format("{}. To {} is the core's alone: do it through the core, or say --takeover to "
                      "end its session",
                      said, CommandText(arguments.command)));
    case absl::StatusCode::kPermissionDenied:
      return absl::PermissionDeniedError(
          fmt::format("{} is not the core's listener ({}): give its api.listen with --daemon",
                      arguments.daemon, said));
    case absl::StatusCode::kUnauthenticated:
      return absl::UnauthenticatedError(fmt::format(
          "{} wants a token ({}): give the file that api.token_file names with --token-file",
          arguments.daemon, said));
    case absl::StatusCode::kResourceExhausted:
      return absl::ResourceExhaustedError(fmt::format("{}: end another `overlayctl watch`", said));
    default:
      return why;
  }
}

// Base64 with or without padding; nullopt: it is not.
std::optional<std::string> FromBase64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return out;
}

absl::StatusOr<std::string> ReadTransaction(const std::string& path) {
  std::string content;
  if (path == "-") {
    content.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream file(path, std::ios::binary);
    if (!file) return absl::NotFoundError(fmt::format("submit: cannot read {}", path));
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  if (content.empty()) return absl::InvalidArgumentError(fmt::format("submit: {} is empty", path));
  // XDR always has zero bytes, text never.
  if (content.find('\0') != std::string::npos) return content;
  std::erase_if(content, [](unsigned char c) { return std::isspace(c) != 0; });
  if (auto bytes = HexDecode(content)) return *std::move(bytes);
  if (auto bytes = FromBase64(content)) return *std::move(bytes);
  return absl::InvalidArgumentError(
      fmt::format("submit: {} is neither XDR nor its base64 or hex", path));
}

absl::Status Submit(const Arguments& arguments, Client& client, Session& session,
                    const std::string& transaction) {
  const absl::StatusOr<uint64_t> number = client.Submit(transaction);
  if (!number.ok()) return number.status();
  if (!session.Wait(arguments.timeout, [&] { return session.answer().has_value(); })) {
    return absl::DeadlineExceededError("the daemon did not answer the submission in time");
  }
  if (!session.answer()) return session.end();
  const SubmitAnswer& answer = *session.answer();
  const std::string_view outcome = SubmitOutcomeName(answer.outcome);
  if (arguments.json) {
    JsonObject out;
    out.Text("hash", Hex(answer.hash)).Text("outcome", outcome).Text("detail", answer.detail);
    if (answer.fee_wanted) out.Number("fee_wanted", *answer.fee_wanted);
    PrintLine(out.Done());
  } else {
    PrintLine(fmt::format("{} {}", outcome, Hex(answer.hash)));
  }
  if (answer.outcome == SubmitOutcome::kAdded || answer.outcome == SubmitOutcome::kDuplicate) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(fmt::format(
      "not taken: {}{}{}", outcome, answer.detail.empty() ? "" : ", " + Printable(answer.detail),
      answer.fee_wanted ? fmt::format(" (stroops wanted: {})", *answer.fee_wanted) : ""));
}

absl::Status Fetch(const Arguments& arguments, Client& client, Session& session) {
  const SetType type = arguments.quorum_set ? SetType::kQuorumSet : SetType::kTxSet;
  FetchOptions options;
  options.sources = 2;
  options.until_cancelled = true;  // --timeout decides
  absl::Status asked = client.Fetch(type, SetHash::FromHex(arguments.operand)->bytes, options);
  if (!asked.ok()) return asked;
  if (!session.Wait(arguments.timeout, [&] { return session.set().has_value(); })) {
    return absl::DeadlineExceededError(fmt::format(
        "no peer had it within {} s: --timeout waits longer", arguments.timeout.count()));
  }
  if (!session.set()) return session.end();
  const ReceivedSet& set = *session.set();
  if (!arguments.out_path.empty()) {
    std::ofstream file(arguments.out_path, std::ios::binary | std::ios::trunc);
    file << set.bytes;
    file.close();
    if (!file) return absl::InternalError(fmt::format("-o: cannot write {}", arguments.out_path));
  }
  if (arguments.json) {
    JsonObject out;
    out.Text("hash", Hex(set.hash)).Number("bytes", set.bytes.size());
    std::vector<std::string> peers;
    for (const Hash& peer : set.peers) peers.push_back(JsonText(ToStrkey(NodeKey{peer})));
    out.List("peers", peers);
    if (arguments.out_path.empty()) {
      out.Text("data", HexText(set.bytes));
    } else {
      out.Text("file", arguments.out_path);
    }
    PrintLine(out.Done());
  } else if (arguments.out_path.empty()) {
    std::cout << set.bytes << std::flush;
  } else {
    PrintLine(fmt::format("{} bytes from {}", set.bytes.size(),
                          set.peers.empty() ? "the cache" : "peers"));
  }
  return absl::OkStatus();
}

absl::Status Top(const Arguments& arguments, Client& client) {
  TopOptions options;
  uint32_t count = 0;
  std::from_chars(arguments.operand.data(), arguments.operand.data() + arguments.operand.size(),
                  count);
  options.count_max = count;
  options.per_account = 100;
  options.after_everything_sent = false;
  options.timeout = arguments.timeout;
  const auto transactions = client.TopTransactions(options);
  if (!transactions.ok()) return transactions.status();
  std::vector<std::string> listed;
  for (const TopTransaction& tx : *transactions) {
    const char* lane = tx.bid.lane == TxLane::kSoroban ? "soroban" : "classic";
    if (arguments.json) {
      JsonObject out;
      out.Text("hash", Hex(tx.hash))
          .Number("fee", tx.bid.fee)
          .Number("operations", tx.bid.operations);
      listed.push_back(out.Text("lane", lane).Number("bytes", tx.transaction.size()).Done());
    } else {
      PrintLine(fmt::format("{} {:>10} stroops {:>4} operations {} {:>6} bytes", Hex(tx.hash),
                            tx.bid.fee, tx.bid.operations, lane, tx.transaction.size()));
    }
  }
  if (arguments.json) {
    PrintLine(JsonObject().List("transactions", listed).Done());
  } else if (transactions->empty()) {
    PrintLine("no transaction is ready");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckReachable(const Arguments& arguments) {
  const auto channel = MakeChannel(arguments, arguments.daemon);
  const auto until = std::chrono::system_clock::now() + arguments.timeout;
  for (grpc_connectivity_state state = channel->GetState(true); state != GRPC_CHANNEL_READY;
       state = channel->GetState(true)) {
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || !channel->WaitForStateChange(state, until)) {
      return absl::UnavailableError(fmt::format(
          "nothing answers at {}: does the daemon run, is that its api.listen{}?", arguments.daemon,
          arguments.tls_ca.empty() ? "" : ", and do the certificates fit"));
    }
  }
  return absl::OkStatus();
}

absl::Status RunCoreCommand(const Arguments& arguments) {
  std::string transaction;
  if (arguments.command == Command::kSubmit) {
    absl::StatusOr<std::string> read = ReadTransaction(arguments.operand);
    if (!read.ok()) return read.status();
    transaction = *std::move(read);
  }
  if (absl::Status there = CheckReachable(arguments); !there.ok()) return there;
  ClientOptions options;
  options.target = arguments.daemon;
  options.token = arguments.token;
  options.tls_ca = arguments.tls_ca;
  options.tls_cert = arguments.tls_cert;
  options.tls_key = arguments.tls_key;
  options.tls_server_name = arguments.tls_server_name;
  options.network_passphrase = arguments.passphrase;
  options.agent = "overlayctl";
  options.observer = arguments.command == Command::kTop || arguments.command == Command::kWatch;
  options.takeover = arguments.takeover;
  options.occupied_patience = std::chrono::milliseconds(0);  // who asks decides about --takeover
  if (arguments.passphrase.empty()) {
    absl::StatusOr<std::string> network_id = AskNetworkId(arguments);
    if (!network_id.ok()) return network_id.status();
    options.network_id = *std::move(network_id);
  }
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);

  Session session(arguments);
  auto client = Client::Create(options, &session);
  if (!client.ok()) return client.status();
  (*client)->Start();
  const bool heard = session.Wait(arguments.timeout, [&] { return session.attached(); });
  absl::Status status;
  if (!session.attached()) {
    status = heard ? ExplainAttach(arguments, session.end())
                   : absl::DeadlineExceededError("the daemon did not take the session in time");
  } else if (!(*client)->WaitAttached(arguments.timeout)) {
    status = session.end().ok() ? absl::UnavailableError("the session ended") : session.end();
  } else if (arguments.command == Command::kSubmit) {
    status = Submit(arguments, **client, session, transaction);
  } else if (arguments.command == Command::kFetch) {
    status = Fetch(arguments, **client, session);
  } else if (arguments.command == Command::kTop) {
    status = Top(arguments, **client);
  } else {
    session.Wait(std::nullopt, [&] { return session.enough(); });
    status = session.enough() ? absl::OkStatus() : session.end();
  }
  (*client)->Stop();
  if (interrupted != 0 && arguments.command == Command::kWatch) return absl::OkStatus();
  return status;
}

}  // namespace overlay::ctl
