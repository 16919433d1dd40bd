// status, peers, dns, connect, disconnect, drain, log-level, tx, set: calls of the Operator
// service.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <cctype>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "client-sdk/overlayctl/commands.h"
#include "client-sdk/overlayctl/json.h"
#include "flood/base/ids.h"
#include "overlay/v1/operator.grpc.pb.h"

namespace overlay::ctl {
namespace {

const std::string& OperatorAddress(const Arguments& arguments) {
  return arguments.operator_.empty() ? arguments.daemon : arguments.operator_;
}

// What the daemon said, and what to do about it.
absl::Status Explain(const Arguments& arguments, const grpc::Status& status) {
  const std::string& address = OperatorAddress(arguments);
  const std::string& said = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::PERMISSION_DENIED:
      return absl::PermissionDeniedError(
          fmt::format("{} is not the operator's listener of the daemon ({}): give its "
                      "operator.listen with --operator",
                      address, said));
    case grpc::StatusCode::UNAUTHENTICATED:
      return absl::UnauthenticatedError(fmt::format(
          "{} wants a token ({}): give the file that operator.token_file names with --token-file",
          address, said));
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::UnavailableError(
          fmt::format("no answer from the daemon at {} ({}): does it run?", address, said));
    default:
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()), said);
  }
}

class OperatorClient {
 public:
  explicit OperatorClient(const Arguments& arguments)
      : arguments_(arguments),
        stub_(v1::Operator::NewStub(MakeChannel(arguments, OperatorAddress(arguments)))) {}
  v1::Operator::Stub& stub() { return *stub_; }
  std::unique_ptr<grpc::ClientContext> Context() const {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + arguments_.timeout);
    if (!arguments_.token.empty()) {
      context->AddMetadata("authorization", "Bearer " + arguments_.token);
    }
    return context;
  }
  absl::StatusOr<v1::StatusResponse> Status() {
    v1::StatusResponse response;
    const grpc::Status status = stub_->Status(Context().get(), v1::StatusRequest(), &response);
    if (!status.ok()) return Explain(arguments_, status);
    return response;
  }

 private:
  const Arguments& arguments_;
  std::unique_ptr<v1::Operator::Stub> stub_;
};

std::string StatusJson(const v1::StatusResponse& s) {
  JsonObject out;
  out.Text("node", s.node_strkey()).Text("network_id", HexText(s.network_id()));
  out.Text("version", s.version())
      .Number("uptime_ms", s.uptime_ms())
      .Bool("draining", s.draining());
  out.Text("peer_address", s.peer_address()).Text("core_address", s.core_address());
  out.Text("operator_address", s.operator_address()).Text("metrics_address", s.metrics_address());
  if (s.has_core()) {
    JsonObject core;
    core.Number("session", s.core().session()).Text("agent", s.core().agent());
    core.Number("attached_ms", s.core().attached_ms()).Bool("tracking", s.core().tracking());
    core.Bool("judges_transactions", s.core().judges_transactions());
    core.Number("scp_queue_messages", s.core().scp_queue_messages());
    out.Raw("core", core.Done());
  } else {
    out.Raw("core", "null");
  }
  const auto optional = [&out](const char* name, bool has, uint64_t value) {
    if (has) {
      out.Number(name, value);
    } else {
      out.Raw(name, "null");
    }
  };
  out.Number("observers", s.observers());
  optional("newest_closed_slot", s.has_newest_closed_slot(), s.newest_closed_slot());
  out.Number("peers_connected", s.peers_connected()).Number("peers_inbound", s.peers_inbound());
  out.Number("peers_dialling", s.peers_dialling());
  out.Number("envelopes_kept", s.envelopes_kept())
      .Number("envelopes_kept_bytes", s.envelopes_kept_bytes());
  out.Number("mempool_transactions", s.mempool_transactions());
  out.Number("mempool_pending", s.mempool_pending()).Number("mempool_bytes", s.mempool_bytes());
  out.Number("sets_cached", s.sets_cached()).Number("sets_cached_bytes", s.sets_cached_bytes());
  out.Number("sets_fetching", s.sets_fetching());
  optional("last_envelope_age_ms", s.has_last_envelope_age_ms(), s.last_envelope_age_ms());
  optional("last_transaction_age_ms", s.has_last_transaction_age_ms(), s.last_transaction_age_ms());
  optional("last_set_age_ms", s.has_last_set_age_ms(), s.last_set_age_ms());
  return out.Done();
}

std::string Seconds(uint64_t ms) { return fmt::format("{:.1f} s", static_cast<double>(ms) / 1e3); }

std::string Age(bool has, uint64_t ms) { return has ? Seconds(ms) + " ago" : "none yet"; }

void PrintStatus(const v1::StatusResponse& s) {
  fmt::print("{} {}{}, up {} s\n", s.version(), s.node_strkey(), s.draining() ? " (draining)" : "",
             s.uptime_ms() / 1000);
  fmt::print("  network      {}\n", HexText(s.network_id()));
  fmt::print("  listens      peers {}, core {}, operator {}, metrics {}\n", s.peer_address(),
             s.core_address(), s.operator_address(),
             s.metrics_address().empty() ? "nowhere" : s.metrics_address());
  if (s.has_core()) {
    fmt::print("  core         {}, attached for {} s, {}; {} observers\n",
               Printable(s.core().agent()), s.core().attached_ms() / 1000,
               s.core().tracking() ? "tracking" : "not tracking", s.observers());
  } else {
    fmt::print("  core         none is attached; {} observers\n", s.observers());
  }
  fmt::print("  ledger       {}\n", s.has_newest_closed_slot()
                                        ? fmt::format("{} closed last", s.newest_closed_slot())
                                        : "none closed yet");
  fmt::print("  peers        {} connected ({} inbound), {} being dialled\n", s.peers_connected(),
             s.peers_inbound(), s.peers_dialling());
  fmt::print("  envelopes    {} kept, {} bytes; last {}\n", s.envelopes_kept(),
             s.envelopes_kept_bytes(), Age(s.has_last_envelope_age_ms(), s.last_envelope_age_ms()));
  fmt::print("  transactions {} in the mempool ({} pending), {} bytes; last {}\n",
             s.mempool_transactions(), s.mempool_pending(), s.mempool_bytes(),
             Age(s.has_last_transaction_age_ms(), s.last_transaction_age_ms()));
  fmt::print("  sets         {} cached, {} bytes, {} being fetched; last {}\n", s.sets_cached(),
             s.sets_cached_bytes(), s.sets_fetching(),
             Age(s.has_last_set_age_ms(), s.last_set_age_ms()));
}

// An enumerator's name without its prefix, in lower case: "PLACE_POOLED" is "pooled".
std::string Plain(const std::string& name) {
  std::string out = name.substr(name.find('_') + 1);
  for (char& c : out) c = c == '_' ? ' ' : static_cast<char>(std::tolower(c));
  return out;
}

const char* StateName(v1::PeerDetail::State state) {
  switch (state) {
    case v1::PeerDetail::STATE_CONNECTED:
      return "connected";
    case v1::PeerDetail::STATE_RESOLVING:
      return "resolving";
    case v1::PeerDetail::STATE_DIALLING:
      return "dialling";
    case v1::PeerDetail::STATE_WAITING:
      return "waiting";
    case v1::PeerDetail::STATE_LOST:
      return "lost";
    default:  // of a later version
      return "unknown";
  }
}

const char* DirectionName(v1::Direction direction) {
  if (direction == v1::DIRECTION_INBOUND) return "inbound";
  return direction == v1::DIRECTION_OUTBOUND ? "outbound" : "";
}

std::string RecordJson(const v1::PeerRecord& r) {
  std::vector<std::string> addresses;
  for (const v1::KnownAddress& known : r.addresses()) {
    JsonObject address;
    address.Text("address", known.address());
    address.Text("source", Plain(v1::KnownAddress::Source_Name(known.source())));
    if (known.has_last_success_ms()) address.Number("last_success_ms", known.last_success_ms());
    addresses.push_back(address.Done());
  }
  JsonObject out;
  out.List("addresses", addresses);
  if (r.has_last_seen_ms()) out.Number("last_seen_ms", r.last_seen_ms());
  out.Number("connected_total", r.connected_total()).Text("lost_reason", r.lost_reason());
  if (r.has_rtt_us()) out.Number("rtt_us", r.rtt_us());
  out.Number("bytes_sent", r.bytes_sent()).Number("bytes_received", r.bytes_received());
  out.Number("first_envelopes", r.first_envelopes());
  out.Number("first_transactions", r.first_transactions());
  out.Number("fetches_ok", r.fetches_ok()).Number("fetches_failed", r.fetches_failed());
  return out.Number("worth", r.worth()).Done();
}

std::string PeerJson(const v1::PeerDetail& p) {
  JsonObject out;
  out.Text("state", StateName(p.state()))
      .Text("peer", p.peer_strkey())
      .Text("address", p.address());
  out.Text("configured", p.configured()).Bool("preferred", p.preferred());
  out.Text("direction", DirectionName(p.direction())).Text("agent", p.agent());
  out.Number("connected_ms", p.connected_ms()).Number("rtt_us", p.rtt_us());
  if (p.has_clock_offset_us()) out.Number("clock_offset_us", p.clock_offset_us());
  out.Bool("core_present", p.core_present()).Number("score", p.score());
  out.Number("bytes_sent", p.bytes_sent()).Number("bytes_received", p.bytes_received());
  if (p.has_next_dial_ms()) out.Number("next_dial_ms", p.next_dial_ms());
  out.Number("dials_failed", p.dials_failed()).Text("last_reason", p.last_reason());
  std::vector<std::string> classes;
  for (const v1::ClassTraffic& c : p.classes()) {
    JsonObject traffic;
    traffic.Text("class", v1::TrafficClass_Name(c.traffic_class()));
    traffic.Number("queued_messages", c.queued_messages()).Number("queued_bytes", c.queued_bytes());
    traffic.Number("messages_sent", c.messages_sent()).Number("bytes_sent", c.bytes_sent());
    traffic.Number("messages_received", c.messages_received());
    traffic.Number("bytes_received", c.bytes_received());
    classes.push_back(traffic.Done());
  }
  if (p.has_record()) out.Raw("record", RecordJson(p.record()));
  return out.List("classes", classes).Done();
}

// What waits for the peer to take it, by class.
std::string QueuesText(const v1::PeerDetail& p) {
  std::string out;
  for (const v1::ClassTraffic& c : p.classes()) {
    if (c.queued_messages() == 0) continue;
    std::string name = v1::TrafficClass_Name(c.traffic_class());
    name = name.substr(name.rfind('_') + 1);
    for (char& letter : name) letter = static_cast<char>(std::tolower(letter));
    out += fmt::format("{}{} {} ({} B)", out.empty() ? "queued " : ", ", name, c.queued_messages(),
                       c.queued_bytes());
  }
  return out.empty() ? "nothing queued" : out;
}

void PrintPeer(const v1::PeerDetail& p) {
  const std::string who = p.peer_strkey().empty() ? std::string("(unknown key)") : p.peer_strkey();
  const std::string& where = p.address().empty() ? p.configured() : p.address();
  if (p.state() == v1::PeerDetail::STATE_CONNECTED) {
    fmt::print(
        "{:<10} {} {} {}, {}, for {}, rtt {} us, {}, sent {} B, received {} B, score {:.1f}{}\n",
        StateName(p.state()), who, where, DirectionName(p.direction()), Printable(p.agent()),
        Seconds(p.connected_ms()), p.rtt_us(), QueuesText(p), p.bytes_sent(), p.bytes_received(),
        p.score(), p.core_present() ? "" : ", no core");
  } else {
    fmt::print("{:<10} {} {}{}{}{}\n", StateName(p.state()), who, where,
               p.last_reason().empty() ? "" : ", last: " + Printable(p.last_reason()),
               p.has_next_dial_ms() ? fmt::format(", next dial in {} ms", p.next_dial_ms()) : "",
               p.state() == v1::PeerDetail::STATE_LOST
                   ? ", seen " + Age(true, p.record().last_seen_ms())
                   : "");
  }
}

absl::Status Peers(const Arguments& arguments, OperatorClient& client) {
  const auto context = client.Context();
  const auto reader = client.stub().ListPeers(context.get(), v1::ListPeersRequest());
  std::vector<std::string> listed;
  v1::ListPeersPart part;
  size_t count = 0;
  while (reader->Read(&part)) {
    for (const v1::PeerDetail& peer : part.peers()) {
      ++count;
      if (arguments.json) {
        listed.push_back(PeerJson(peer));
      } else {
        PrintPeer(peer);
      }
    }
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) return Explain(arguments, status);
  if (arguments.json) {
    PrintLine(JsonObject().List("peers", listed).Done());
  } else if (count == 0) {
    PrintLine("no peers");
  }
  return absl::OkStatus();
}

// ---- dns

template <class Texts>
std::vector<std::string> Quoted(const Texts& texts) {
  std::vector<std::string> out;
  for (const std::string& text : texts) out.push_back(JsonText(text));
  return out;
}

std::string NameJson(const v1::NameDetail& n) {
  JsonObject out;
  out.Text("host", n.host()).Bool("services", n.services());
  out.Text("state", Plain(v1::NameDetail::State_Name(n.state())));
  out.List("addresses", Quoted(n.addresses())).Text("error", n.error());
  if (n.has_ttl_ms()) out.Number("ttl_ms", n.ttl_ms());
  if (n.has_next_try_ms()) out.Number("next_try_ms", n.next_try_ms());
  return out.Number("failures", n.failures()).Done();
}

std::string NameText(const v1::NameDetail& n) {
  std::string addresses;
  for (const std::string& address : n.addresses()) addresses += " " + Printable(address);
  return fmt::format(
      "{:<7} {}{}{}{}{}{}", Plain(v1::NameDetail::State_Name(n.state())), Printable(n.host()),
      n.services() ? " (and its services)" : "", addresses.empty() ? ", no address" : addresses,
      n.has_ttl_ms() ? fmt::format(", good for {} ms", n.ttl_ms()) : "",
      n.error().empty() ? ""
                        : fmt::format(", failed {} times: {}", n.failures(), Printable(n.error())),
      n.has_next_try_ms() ? fmt::format(", asked again in {} ms", n.next_try_ms()) : "");
}

absl::Status Names(const Arguments& arguments, OperatorClient& client) {
  const auto context = client.Context();
  const auto reader = client.stub().ListNames(context.get(), v1::ListNamesRequest());
  std::vector<std::string> listed;
  v1::ListNamesPart part;
  while (reader->Read(&part)) {
    for (const v1::NameDetail& name : part.names()) {
      listed.push_back(arguments.json ? NameJson(name) : NameText(name));
    }
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) return Explain(arguments, status);
  if (arguments.json) {
    PrintLine(JsonObject().List("names", listed).Done());
    return absl::OkStatus();
  }
  for (const std::string& line : listed) PrintLine(line);
  if (listed.empty()) PrintLine("no configured peer has a name");
  return absl::OkStatus();
}

// ---- tx, set

std::string AskedJson(const v1::AskedPeer& asked) {
  JsonObject out;
  out.Text("peer", asked.peer());
  out.Text("result", Plain(v1::AskedPeer::Result_Name(asked.result())));
  if (asked.has_asked_ms()) out.Number("asked_ms", asked.asked_ms());
  return out.Done();
}

void PrintAsked(const v1::AskedPeer& asked) {
  fmt::print("  {} {}{}\n", asked.peer(), Plain(v1::AskedPeer::Result_Name(asked.result())),
             asked.has_asked_ms() ? fmt::format(", asked {}", Age(true, asked.asked_ms())) : "");
}

std::string TransactionTraceJson(const v1::TransactionTrace& t) {
  JsonObject out;
  out.Text("place", Plain(v1::TransactionTrace::Place_Name(t.place())));
  if (t.fate() != 0) out.Text("fate", Plain(v1::TransactionTrace::Fate_Name(t.fate())));
  std::vector<std::string> announcers;
  for (const v1::AskedPeer& asked : t.announcers()) announcers.push_back(AskedJson(asked));
  out.List("announcers", announcers);
  if (t.size_bytes() == 0) return out.Done();
  out.Number("size_bytes", t.size_bytes()).Number("fee", t.fee());
  out.Number("operations", t.operations()).Text("lane", Plain(v1::Lane_Name(t.lane())));
  out.Text("account", HexText(t.account())).Number("sequence", t.sequence());
  out.Text("from", t.from()).Number("arrived_ms", t.arrived_ms());
  if (t.has_pooled_ms()) out.Number("pooled_ms", t.pooled_ms());
  out.Number("offers", t.offers());
  return out.List("known_by", Quoted(t.known_by())).Done();
}

void PrintTransactionTrace(const v1::TransactionTrace& t) {
  switch (t.place()) {
    case v1::TransactionTrace::PLACE_UNKNOWN:
      PrintLine("unknown: nobody announced it, or it is forgotten");
      break;
    case v1::TransactionTrace::PLACE_ANNOUNCED:
      PrintLine("announced, not here; nobody is asked for it at the moment");
      break;
    case v1::TransactionTrace::PLACE_ASKED:
      PrintLine("announced, not here; a peer is asked for it");
      break;
    case v1::TransactionTrace::PLACE_PENDING:
      fmt::print("pending: given to the core {} times, no verdict yet\n", t.offers());
      break;
    case v1::TransactionTrace::PLACE_POOLED:
      fmt::print("in the mempool since {}\n", Age(true, t.pooled_ms()));
      break;
    case v1::TransactionTrace::PLACE_REFUSED:
      fmt::print("gone, and not taken again for now: {}\n",
                 Plain(v1::TransactionTrace::Fate_Name(t.fate())));
      break;
    default:  // of a later version
      PrintLine(Plain(v1::TransactionTrace::Place_Name(t.place())));
  }
  for (const v1::AskedPeer& asked : t.announcers()) PrintAsked(asked);
  if (t.size_bytes() == 0) return;
  fmt::print("  from     {}, {}\n", t.from().empty() ? "the core" : t.from(),
             Age(true, t.arrived_ms()));
  fmt::print("  bid      {} stroops for {} operations, {}; {} bytes\n", t.fee(), t.operations(),
             Plain(v1::Lane_Name(t.lane())), t.size_bytes());
  fmt::print("  account  {}, sequence {}\n", HexText(t.account()), t.sequence());
  for (const std::string& peer : t.known_by()) fmt::print("  known by {}\n", peer);
}

absl::Status TraceTransaction(const Arguments& arguments, OperatorClient& client) {
  v1::TraceTransactionRequest request;
  request.set_hash(std::string(TxHash::FromHex(arguments.operand)->view()));
  v1::TransactionTrace trace;
  const auto context = client.Context();
  const grpc::Status status = client.stub().TraceTransaction(context.get(), request, &trace);
  if (!status.ok()) return Explain(arguments, status);
  if (arguments.json) {
    PrintLine(TransactionTraceJson(trace));
  } else {
    PrintTransactionTrace(trace);
  }
  return absl::OkStatus();
}

std::string SetTraceJson(const v1::SetTrace& t) {
  JsonObject out;
  out.Text("place", Plain(v1::SetTrace::Place_Name(t.place())));
  if (t.has_slot()) out.Number("slot", t.slot());
  out.Bool("wanted_by_core", t.wanted_by_core()).Bool("named_by_peers", t.named_by_peers());
  out.Number("received_bytes", t.received_bytes()).Number("total_bytes", t.total_bytes());
  std::vector<std::string> sources;
  for (const v1::AskedPeer& asked : t.sources()) sources.push_back(AskedJson(asked));
  out.List("sources", sources).Number("passes", t.passes());
  if (t.has_next_pass_ms()) out.Number("next_pass_ms", t.next_pass_ms());
  out.Number("size_bytes", t.size_bytes()).Bool("guest", t.guest());
  out.Bool("externalized", t.externalized());
  return out.List("held_by", Quoted(t.held_by())).Done();
}

void PrintSetTrace(const v1::SetTrace& t) {
  switch (t.place()) {
    case v1::SetTrace::PLACE_UNKNOWN:
      PrintLine("unknown: neither here nor wanted");
      break;
    case v1::SetTrace::PLACE_WANTED:
      fmt::print("wanted{}{}: {} of {} bytes are here\n", t.wanted_by_core() ? " by the core" : "",
                 t.named_by_peers() ? ", named by peers" : "", t.received_bytes(),
                 t.total_bytes() == 0 ? "unknown" : fmt::format("{}", t.total_bytes()));
      break;
    case v1::SetTrace::PLACE_CACHED:
      fmt::print("here, {} bytes{}{}\n", t.size_bytes(),
                 t.guest() ? ", a guest: no envelope that names it was judged" : "",
                 t.externalized() ? ", externalized" : "");
      break;
    case v1::SetTrace::PLACE_OFFERED:
      PrintLine("on its way from the core");
      break;
    default:  // of a later version
      PrintLine(Plain(v1::SetTrace::Place_Name(t.place())));
  }
  if (t.has_slot()) fmt::print("  slot {}\n", t.slot());
  for (const v1::AskedPeer& asked : t.sources()) PrintAsked(asked);
  if (t.passes() > 0) {
    fmt::print("  all were asked in vain {} times{}\n", t.passes(),
               t.has_next_pass_ms() ? fmt::format(", again in {} ms", t.next_pass_ms()) : "");
  }
  for (const std::string& peer : t.held_by()) fmt::print("  held by {}\n", peer);
}

absl::Status TraceSet(const Arguments& arguments, OperatorClient& client) {
  v1::TraceSetRequest request;
  request.set_kind(arguments.quorum_set ? v1::SET_KIND_QUORUM_SET : v1::SET_KIND_TX_SET);
  request.set_hash(std::string(SetHash::FromHex(arguments.operand)->view()));
  v1::SetTrace trace;
  const auto context = client.Context();
  const grpc::Status status = client.stub().TraceSet(context.get(), request, &trace);
  if (!status.ok()) return Explain(arguments, status);
  if (arguments.json) {
    PrintLine(SetTraceJson(trace));
  } else {
    PrintSetTrace(trace);
  }
  return absl::OkStatus();
}

// ---- drain, log-level

absl::Status DrainDaemon(const Arguments& arguments, OperatorClient& client) {
  v1::DrainResponse response;
  const grpc::Status status =
      client.stub().Drain(client.Context().get(), v1::DrainRequest(), &response);
  if (!status.ok()) return Explain(arguments, status);
  if (arguments.json) {
    PrintLine(JsonObject().Number("within_ms", response.within_ms()).Done());
  } else {
    fmt::print("draining; the daemon ends within {} ms\n", response.within_ms());
  }
  return absl::OkStatus();
}

absl::Status LogLevelOf(const Arguments& arguments, OperatorClient& client) {
  v1::SetLogLevelRequest request;
  if (!arguments.operand.empty()) request.set_level(arguments.operand);
  v1::SetLogLevelResponse response;
  const grpc::Status status = client.stub().SetLogLevel(client.Context().get(), request, &response);
  if (!status.ok()) return Explain(arguments, status);
  PrintLine(arguments.json ? JsonObject().Text("level", response.level()).Done()
                           : response.level());
  return absl::OkStatus();
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const Arguments& arguments, const std::string& address) {
  if (arguments.tls_ca.empty()) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  }
  grpc::ChannelArguments args;
  if (!arguments.tls_server_name.empty()) args.SetSslTargetNameOverride(arguments.tls_server_name);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = arguments.tls_ca;
  tls.pem_cert_chain = arguments.tls_cert;
  tls.pem_private_key = arguments.tls_key;
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(tls), args);
}

std::string HexText(std::string_view bytes) {
  return HexEncode({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

void PrintLine(std::string_view text) {
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

absl::StatusOr<std::string> AskNetworkId(const Arguments& arguments) {
  OperatorClient client(arguments);
  const absl::StatusOr<v1::StatusResponse> status = client.Status();
  if (!status.ok()) {
    return absl::FailedPreconditionError(fmt::format(
        "which network? Give --passphrase, or the operator's listener with --operator ({})",
        std::string(status.status().message())));
  }
  return status->network_id();
}

absl::Status RunOperatorCommand(const Arguments& arguments) {
  OperatorClient client(arguments);
  if (arguments.command == Command::kPeers) return Peers(arguments, client);
  if (arguments.command == Command::kNames) return Names(arguments, client);
  if (arguments.command == Command::kTraceTransaction) return TraceTransaction(arguments, client);
  if (arguments.command == Command::kTraceSet) return TraceSet(arguments, client);
  if (arguments.command == Command::kDrain) return DrainDaemon(arguments, client);
  if (arguments.command == Command::kLogLevel) return LogLevelOf(arguments, client);
  if (arguments.command == Command::kStatus) {
    const absl::StatusOr<v1::StatusResponse> status = client.Status();
    if (!status.ok()) return status.status();
    if (arguments.json) {
      PrintLine(StatusJson(*status));
    } else {
      PrintStatus(*status);
    }
    return absl::OkStatus();
  }
  grpc::Status done;
  if (arguments.command == Command::kConnect) {
    v1::ConnectRequest request;
    request.set_address(arguments.operand);
    v1::ConnectResponse response;
    done = client.stub().Connect(client.Context().get(), request, &response);
  } else {
    v1::DisconnectRequest request;
    request.set_peer(arguments.operand);
    v1::DisconnectResponse response;
    done = client.stub().Disconnect(client.Context().get(), request, &response);
  }
  if (!done.ok()) return Explain(arguments, done);
  const bool connect = arguments.command == Command::kConnect;
  if (arguments.json) {
    PrintLine(JsonObject().Text(connect ? "dialling" : "disconnected", arguments.operand).Done());
  } else {
    PrintLine(connect ? "being dialled; `overlayctl peers` shows how it went" : "disconnected");
  }
  return absl::OkStatus();
}

}  // namespace overlay::ctl
