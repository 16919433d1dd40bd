// status, peers, dns, connect, disconnect, ban, unban, bans, drain, log-level: calls of the
// Operator service.
#include <fmt/format.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "client-sdk/overlayctl/commands.h"
#include "client-sdk/overlayctl/operator_client.h"
#include "flood/base/ids.h"
#include "proto/json/operator_json.h"

namespace overlay::ctl {
namespace {

void PrintStatus(const v1::StatusResponse& s) {
  fmt::print("{} {}{}, up {} s\n", s.version(), s.node_strkey(), s.draining() ? " (draining)" : "",
             s.uptime_ms() / 1000);
  fmt::print("  network      {}\n", HexText(s.network_id()));
  fmt::print("  listens      peers {}, core {}, operator {}, metrics {}, HTTP/3 {}\n",
             s.peer_address(), s.core_address(), s.operator_address(),
             s.metrics_address().empty() ? "nowhere" : s.metrics_address(),
             s.http3_address().empty() ? "nowhere" : s.http3_address());
  fmt::print("  ready        {}\n", s.ready() ? "yes" : "no: " + Printable(s.not_ready()));
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

// Of a clock that is off by more than a core's close times bear.
std::string ClockText(const v1::PeerDetail& p) {
  constexpr int64_t kWorryingUs = 1'000'000;
  const int64_t offset_us = p.clock_offset_us();
  if (offset_us <= kWorryingUs && offset_us >= -kWorryingUs) return "";
  return fmt::format(", clock {:.3f} s {} ours", std::abs(static_cast<double>(offset_us)) / 1e6,
                     offset_us > 0 ? "ahead of" : "behind");
}

void PrintPeer(const v1::PeerDetail& p) {
  const std::string who = p.peer_strkey().empty() ? std::string("(unknown key)") : p.peer_strkey();
  const std::string& where = p.address().empty() ? p.configured() : p.address();
  if (p.state() == v1::PeerDetail::STATE_CONNECTED) {
    fmt::print(
        "{:<10} {} {} {}, {}, for {}, rtt {} us, {}, sent {} B, received {} B, score {:.1f}{}{}\n",
        StateName(p.state()), who, where, DirectionName(p.direction()), Printable(p.agent()),
        Seconds(p.connected_ms()), p.rtt_us(), QueuesText(p), p.bytes_sent(), p.bytes_received(),
        p.score(), p.core_present() ? "" : ", no core", ClockText(p));
  } else {
    fmt::print(
        "{:<10} {} {}{}{}{}{}\n", StateName(p.state()), who, where, p.banned() ? ", banned" : "",
        p.last_reason().empty() ? "" : ", last: " + Printable(p.last_reason()),
        p.has_next_dial_ms() ? fmt::format(", next dial in {} ms", p.next_dial_ms()) : "",
        p.state() == v1::PeerDetail::STATE_LOST ? ", seen " + Age(true, p.record().last_seen_ms())
                                                : "");
  }
}

absl::Status Peers(const Arguments& arguments, OperatorClient& client) {
  const auto context = client.Context();
  const auto reader = client.stub().ListPeers(context.get(), v1::ListPeersRequest());
  std::vector<std::string> listed;
  size_t count = 0;
  absl::Status read = client.ReadParts<v1::ListPeersPart>(*reader, [&](const auto& part) {
    for (const v1::PeerDetail& peer : part.peers()) {
      ++count;
      if (arguments.json) {
        listed.push_back(ToJson(peer));
      } else {
        PrintPeer(peer);
      }
    }
  });
  if (!read.ok()) return read;
  if (arguments.json) {
    PrintLine(PeersJson(listed));
  } else if (count == 0) {
    PrintLine("no peers");
  }
  return absl::OkStatus();
}

// ---- dns

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
  absl::Status read = client.ReadParts<v1::ListNamesPart>(*reader, [&](const auto& part) {
    for (const v1::NameDetail& name : part.names()) {
      listed.push_back(arguments.json ? NameJson(name) : NameText(name));
    }
  });
  if (!read.ok()) return read;
  if (arguments.json) {
    PrintLine(JsonObject().List("names", listed).Done());
    return absl::OkStatus();
  }
  for (const std::string& line : listed) PrintLine(line);
  if (listed.empty()) PrintLine("no configured peer has a name");
  return absl::OkStatus();
}

// ---- ban, unban, bans

std::string BanJson(const v1::BanDetail& ban) {
  JsonObject out;
  out.Text("peer", ban.peer()).Text("by", Plain(v1::BanDetail::By_Name(ban.by())));
  out.Number("since_ms", ban.since_ms());
  if (ban.has_left_ms()) out.Number("left_ms", ban.left_ms());
  return out.Text("reason", ban.reason()).Done();
}

std::string BanText(const v1::BanDetail& ban) {
  return fmt::format("{} by {}, {}, {}{}", ban.peer(), Plain(v1::BanDetail::By_Name(ban.by())),
                     Age(true, ban.since_ms()),
                     ban.has_left_ms() ? Seconds(ban.left_ms()) + " left" : "without end",
                     ban.reason().empty() ? "" : ": " + Printable(ban.reason()));
}

absl::Status Bans(const Arguments& arguments, OperatorClient& client) {
  const auto context = client.Context();
  const auto reader = client.stub().ListBans(context.get(), v1::ListBansRequest());
  std::vector<std::string> listed;
  absl::Status read = client.ReadParts<v1::ListBansPart>(*reader, [&](const auto& part) {
    for (const v1::BanDetail& ban : part.bans()) {
      listed.push_back(arguments.json ? BanJson(ban) : BanText(ban));
    }
  });
  if (!read.ok()) return read;
  if (arguments.json) {
    PrintLine(JsonObject().List("bans", listed).Done());
    return absl::OkStatus();
  }
  for (const std::string& line : listed) PrintLine(line);
  if (listed.empty()) PrintLine("nobody is banned");
  return absl::OkStatus();
}

absl::Status BanPeer(const Arguments& arguments, OperatorClient& client) {
  v1::BanRequest request;
  request.set_peer(arguments.operand);
  if (arguments.ban_for) request.set_duration_s(static_cast<uint64_t>(arguments.ban_for->count()));
  request.set_reason(arguments.reason);
  v1::BanResponse response;
  const grpc::Status status = client.stub().Ban(client.Context().get(), request, &response);
  if (!status.ok()) return client.Explain(status);
  PrintLine(arguments.json ? JsonObject().Text("banned", arguments.operand).Done() : "banned");
  return absl::OkStatus();
}

absl::Status UnbanPeer(const Arguments& arguments, OperatorClient& client) {
  v1::UnbanRequest request;
  request.set_peer(arguments.operand);
  v1::UnbanResponse response;
  const grpc::Status status = client.stub().Unban(client.Context().get(), request, &response);
  if (!status.ok()) return client.Explain(status);
  PrintLine(arguments.json ? JsonObject().Text("unbanned", arguments.operand).Done()
                           : "no longer banned");
  return absl::OkStatus();
}

// ---- drain, log-level

absl::Status DrainDaemon(const Arguments& arguments, OperatorClient& client) {
  v1::DrainResponse response;
  const grpc::Status status =
      client.stub().Drain(client.Context().get(), v1::DrainRequest(), &response);
  if (!status.ok()) return client.Explain(status);
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
  if (!status.ok()) return client.Explain(status);
  PrintLine(arguments.json ? JsonObject().Text("level", response.level()).Done()
                           : response.level());
  return absl::OkStatus();
}

}  // namespace

std::string HexText(std::string_view bytes) {
  return HexEncode({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text) out += c >= 0x20 && c <= 0x7e ? c : '?';
  return out;
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
  if (arguments.command == Command::kDoctor) return RunDoctor(arguments);
  OperatorClient client(arguments);
  if (arguments.command == Command::kPeers) return Peers(arguments, client);
  if (arguments.command == Command::kNames) return Names(arguments, client);
  if (arguments.command == Command::kBan) return BanPeer(arguments, client);
  if (arguments.command == Command::kUnban) return UnbanPeer(arguments, client);
  if (arguments.command == Command::kBans) return Bans(arguments, client);
  if (arguments.command == Command::kTraceTransaction) return TraceTransaction(arguments, client);
  if (arguments.command == Command::kTraceSet) return TraceSet(arguments, client);
  if (arguments.command == Command::kDrain) return DrainDaemon(arguments, client);
  if (arguments.command == Command::kLogLevel) return LogLevelOf(arguments, client);
  if (arguments.command == Command::kStatus) {
    const absl::StatusOr<v1::StatusResponse> status = client.Status();
    if (!status.ok()) return status.status();
    if (arguments.json) {
      PrintLine(ToJson(*status));
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
  if (!done.ok()) return client.Explain(done);
  const bool connect = arguments.command == Command::kConnect;
  if (arguments.json) {
    PrintLine(JsonObject().Text(connect ? "dialling" : "disconnected", arguments.operand).Done());
  } else {
    PrintLine(connect ? "being dialled; `overlayctl peers` shows how it went" : "disconnected");
  }
  return absl::OkStatus();
}

}  // namespace overlay::ctl
