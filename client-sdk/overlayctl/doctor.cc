#include "client-sdk/overlayctl/doctor.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <utility>

#include "proto/json/operator_json.h"

namespace overlay::ctl {
namespace {

using Findings = std::vector<Finding>;

// What the daemon asks of the kernel for its UDP socket (transport/udp_socket.h).
constexpr uint64_t kReceiveBuffer = uint64_t{4} << 20;
constexpr uint64_t kSendBuffer = uint64_t{2} << 20;
// Before that, that nobody has dialled us yet means nothing.
constexpr uint64_t kDialledWithinMs = 120'000;
// SCP's close times come from wall clocks; the daemon itself warns at a second.
constexpr double kOffsetFail = 1.0;
constexpr double kOffsetWarn = 0.25;
// No envelope of anybody for so long, with peers connected, is no slow ledger any more.
constexpr uint64_t kSilenceMs = 60'000;
constexpr double kDescriptorsShare = 0.8;

std::optional<double> Figure(const DaemonFacts& daemon, const std::string& name) {
  const auto it = daemon.metrics.find(name);
  if (it == daemon.metrics.end()) return std::nullopt;
  return it->second;
}

bool IsPositive(const DaemonFacts& daemon, const std::string& name) {
  return Figure(daemon, name).value_or(0) > 0;
}

void CheckKey(const DaemonFacts& daemon, Findings& out) {
  const std::string& key = daemon.status.node_strkey();
  if (IsPositive(daemon, "overlay_peers_keys_shared_total")) {
    out.push_back({Verdict::kFail, "key",
                   fmt::format("{} daemons with one key were seen since the start, ours is {}",
                               "two living", key),
                   "the log's key_shared says whose and where: stop one of the two, or give it a "
                   "key of its own (overlayd keygen)"});
    return;
  }
  out.push_back({Verdict::kOk, "key", key, ""});
}

void CheckCore(const DaemonFacts& daemon, Findings& out) {
  const v1::StatusResponse& status = daemon.status;
  if (!status.has_core()) {
    out.push_back({Verdict::kFail, "core", "none is attached",
                   fmt::format("start the core, and let it attach at {}; its user needs access to "
                               "that socket (api.socket_mode, api.socket_group)",
                               status.core_address())});
    return;
  }
  const std::string who = fmt::format("attached for {} s, {}", status.core().attached_ms() / 1000,
                                      status.core().tracking() ? "tracking" : "not tracking");
  if (!status.core().tracking()) {
    out.push_back({Verdict::kWarn, "core", who,
                   "it catches up with the network, or has not closed a ledger since it attached: "
                   "see its own log"});
    return;
  }
  out.push_back({Verdict::kOk, "core", who, ""});
}

// What to do about a peer that is not there, by why its last connection or dial ended.
std::string_view RemedyFor(std::string_view reason) {
  constexpr std::pair<std::string_view, std::string_view> kRemedies[] = {
      {"none yet", "it is being dialled for the first time: ask again in some seconds"},
      {"not_resolved", "its name does not resolve: see dns"},
      {"unreachable", "nothing answers there: is it up, and is UDP to it let through?"},
      {"handshake_timeout", "nothing answers there: is it up, and is UDP to it let through?"},
      {"handshake_failed", "what answers there is no overlayd, or of another version"},
      {"wrong_key", "another key answers there: correct G...@ of the entry, or the address"},
      {"wrong_network", "it is of another network: compare network.passphrase"},
      {"wrong_version", "no version in common: upgrade the older one"},
      {"not_admitted", "it has no place for us, or a closed list: ask its operator"},
      {"banned", "it has banned us, or we it (overlayctl bans): ask its operator"},
      {"self", "it is this daemon itself: the entry may stay, or go"},
      {"key_shared", "two daemons show one key"},
      {"stalled", "one of us did not read for 10 s: is a machine overloaded?"},
      {"idle_timeout", "it fell silent: is it up, and is the network between whole?"},
  };
  for (const auto& [name, remedy] : kRemedies) {
    if (name == reason) return remedy;
  }
  return "docs/protocol.md has the reasons";
}

void CheckPeers(const DaemonFacts& daemon, Findings& out) {
  size_t configured = 0;
  size_t missing = 0;
  for (const v1::PeerDetail& peer : daemon.peers) {
    if (peer.configured().empty()) continue;
    ++configured;
    const bool is_there = peer.state() == v1::PeerDetail::STATE_CONNECTED;
    if (is_there || peer.last_reason() == "self") continue;
    ++missing;
    if (missing > 10) continue;  // the first of them tell enough
    const std::string reason = peer.last_reason().empty() ? "none yet" : peer.last_reason();
    out.push_back({Verdict::kWarn, "peer",
                   fmt::format("{} is {}; last: {}; dials failed: {}", peer.configured(),
                               StateName(peer.state()), reason, peer.dials_failed()),
                   std::string(RemedyFor(reason))});
  }
  const uint32_t connected = daemon.status.peers_connected();
  const std::string found =
      fmt::format("{} connected, {} of {} configured are missing", connected, missing, configured);
  if (connected == 0) {
    out.push_back(
        {Verdict::kFail, "peers", found,
         configured == 0 ? "name some in peers.known, or wait to be dialled" : "see each above"});
    return;
  }
  out.push_back({Verdict::kOk, "peers", found, ""});
}

void CheckDns(const DaemonFacts& daemon, Findings& out) {
  size_t failed = 0;
  for (const v1::NameDetail& name : daemon.names) {
    if (name.state() != v1::NameDetail::STATE_FAILED) continue;
    ++failed;
    out.push_back(
        {name.addresses().empty() ? Verdict::kFail : Verdict::kWarn, "dns",
         fmt::format("{} failed {} times: {}", name.host(), name.failures(), name.error()),
         "correct the name, or the name servers (/etc/resolv.conf, or dns.servers)"});
  }
  if (failed == 0) {
    out.push_back({Verdict::kOk, "dns", fmt::format("{} names", daemon.names.size()), ""});
  }
}

void CheckPort(const DaemonFacts& daemon, Findings& out) {
  const v1::StatusResponse& status = daemon.status;
  const bool ours_to_reach = status.uptime_ms() >= kDialledWithinMs && status.peers_connected() > 0;
  if (status.peers_inbound() == 0 && ours_to_reach) {
    out.push_back({Verdict::kWarn, "port",
                   fmt::format("nobody who is connected has dialled {}", status.peer_address()),
                   "let UDP through to that port, in firewall, NAT and NetworkPolicy; if all peers "
                   "are dialled by us, this is as it should be"});
    return;
  }
  out.push_back(
      {Verdict::kOk, "port",
       fmt::format("{}, {} peers dialled it", status.peer_address(), status.peers_inbound()), ""});
}

void CheckClock(const DaemonFacts& daemon, const HostFacts& host, Findings& out) {
  const auto offset = Figure(daemon, "overlay_clock_median_offset_seconds");
  const std::string remedy =
      "synchronize the clock (chrony, systemd-timesyncd; in a pod: the node's)";
  if (offset && std::abs(*offset) >= kOffsetWarn) {
    out.push_back({std::abs(*offset) >= kOffsetFail ? Verdict::kFail : Verdict::kWarn, "clock",
                   fmt::format("{:.3f} s {} the peers'", std::abs(*offset),
                               *offset > 0 ? "behind" : "ahead of"),
                   remedy});
    return;
  }
  if (host.clock_synchronized == false) {
    out.push_back({Verdict::kWarn, "clock", "the kernel says that nothing keeps it right", remedy});
    return;
  }
  out.push_back({offset ? Verdict::kOk : Verdict::kUnknown, "clock",
                 offset ? fmt::format("{:.3f} s from the peers'", std::abs(*offset))
                        : "no peer to compare it with",
                 ""});
}

void CheckBuffer(const char* name, std::optional<uint64_t> value, uint64_t wanted, Findings& out) {
  if (!value) {
    out.push_back({Verdict::kUnknown, "kernel buffers",
                   fmt::format("{} cannot be read here; {} are wanted", name, wanted), ""});
  } else if (*value < wanted) {
    out.push_back({Verdict::kWarn, "kernel buffers", fmt::format("{} is {}", name, *value),
                   fmt::format("sysctl -w {}={} (in a pod: on the node), then restart the daemon: "
                               "bursts overflow a smaller one",
                               name, wanted)});
  } else {
    out.push_back({Verdict::kOk, "kernel buffers", fmt::format("{} is {}", name, *value), ""});
  }
}

void CheckKernel(const DaemonFacts& daemon, const HostFacts& host, Findings& out) {
  if (host.is_daemons) {
    CheckBuffer("net.core.rmem_max", host.rmem_max, kReceiveBuffer, out);
    CheckBuffer("net.core.wmem_max", host.wmem_max, kSendBuffer, out);
  }
  if (host.udp_drops.value_or(0) > 0) {
    out.push_back({Verdict::kWarn, "udp drops",
                   fmt::format("{} datagrams came while the socket was full", *host.udp_drops),
                   "raise net.core.rmem_max, or give the daemon more of a CPU"});
  }
  for (const auto& [what, remedy] :
       {std::pair<const char*, const char*>{
            "gso",
            "sending costs up to 3 times the CPU: kernel 4.18 or newer has it, and some "
            "network cards refuse it"},
        {"gro", "receiving costs more CPU: kernel 5.0 or newer has it"},
        {"ipv6", "peers with IPv6 addresses alone cannot be reached"}}) {
    const auto has = Figure(daemon, fmt::format("overlay_wire_offloads_count{{{}}}", what));
    if (!has) continue;
    out.push_back({*has > 0 ? Verdict::kOk : Verdict::kWarn, what,
                   *has > 0 ? "in use" : "not in use", *has > 0 ? "" : remedy});
  }
}

void CheckProcess(const DaemonFacts& daemon, Findings& out) {
  const double open = Figure(daemon, "overlay_process_descriptors_count{open}").value_or(0);
  const double limit = Figure(daemon, "overlay_process_descriptors_count{limit}").value_or(0);
  if (limit > 0 && open > kDescriptorsShare * limit) {
    out.push_back({Verdict::kWarn, "descriptors", fmt::format("{} of {} are open", open, limit),
                   "raise the hard limit: LimitNOFILE= of systemd, ulimit -Hn"});
  }
  if (IsPositive(daemon, "overlay_process_bugs_total")) {
    out.push_back({Verdict::kWarn, "bugs", "the daemon met a mistake of its own, and survived",
                   "report it, with the log's lines of level error"});
  }
  if (IsPositive(daemon, "overlay_log_lost_total")) {
    out.push_back({Verdict::kWarn, "log", "lines were lost: who reads it has stopped",
                   "restart what reads the daemon's standard error"});
  }
  if (IsPositive(daemon, "overlay_memory_pressed_count")) {
    out.push_back({Verdict::kWarn, "memory", "memory.max is reached: nothing is admitted",
                   "raise memory.max and the container's limit with it"});
  }
}

void CheckTraffic(const DaemonFacts& daemon, Findings& out) {
  const v1::StatusResponse& status = daemon.status;
  if (status.peers_connected() == 0 || !status.has_core()) return;  // said above
  const bool silent =
      !status.has_last_envelope_age_ms() || status.last_envelope_age_ms() > kSilenceMs;
  if (silent && status.uptime_ms() > kSilenceMs) {
    out.push_back(
        {Verdict::kFail, "traffic",
         status.has_last_envelope_age_ms()
             ? fmt::format("the last envelope of any peer came {} s ago",
                           status.last_envelope_age_ms() / 1000)
             : "no envelope came from any peer",
         "the network stands still, or our peers are not part of it: compare with others"});
    return;
  }
  out.push_back({Verdict::kOk, "traffic",
                 status.has_newest_closed_slot()
                     ? fmt::format("ledger {} closed", status.newest_closed_slot())
                     : "no ledger closed yet",
                 ""});
}

}  // namespace

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kUnknown:
      return "unknown";
    case Verdict::kWarn:
      return "warn";
    case Verdict::kFail:
      return "fail";
  }
  return "unknown";
}

std::vector<Finding> Diagnose(const DaemonFacts& daemon, const HostFacts& host) {
  Findings out;
  CheckKey(daemon, out);
  CheckCore(daemon, out);
  CheckPeers(daemon, out);
  CheckDns(daemon, out);
  CheckPort(daemon, out);
  CheckClock(daemon, host, out);
  CheckTraffic(daemon, out);
  CheckKernel(daemon, host, out);
  CheckProcess(daemon, out);
  if (daemon.status.draining()) {
    out.push_back({Verdict::kFail, "drain", "the daemon is shutting down", "start it again"});
  }
  return out;
}

}  // namespace overlay::ctl
