#include <unistd.h>

#include <fstream>

#include "flood/base/check.h"
#include "server/descriptors.h"
#include "server/metric_table.h"

namespace overlay::server::metric_table {
namespace {

uint64_t ResidentBytes() {
  std::ifstream stream("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  stream >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void AddProcess(std::vector<MetricDefinition>& m) {
  m.push_back({.name = "overlay_process_info",
               .type = MetricType::Gauge,
               .help = "Always 1; the version is a label.",
               .labels = "version",
               .prior = "",
               .read = [](const MetricSources& s, MetricFamily& f) {
                 Set(f, 1, {{"version", s.version}});
               }});
  m.push_back(Gauge("overlay_process_uptime_seconds", "Since the daemon was ready.", "",
                    [](const MetricSources& s) { return ToSeconds(s.now - s.started); }));
  m.push_back(Gauge("overlay_process_resident_bytes", "Resident memory of the process.", "",
                    [](const MetricSources&) { return ResidentBytes(); }));
  m.push_back(ByLabel("overlay_process_descriptors_count", MetricType::Gauge,
                      "File descriptors: open, and how many the process may have.", "what", "",
                      [](const MetricSources&) {
                        return Labelled{{"open", OpenDescriptors()}, {"limit", DescriptorLimit()}};
                      }));
  m.push_back(Counter("overlay_process_bugs_total",
                      "Mistakes of our own that were survived; each is worth a report.", "",
                      [](const MetricSources&) { return BugCount(); }));
  m.push_back(Counter("overlay_log_lost_total",
                      "Lines of the log that nobody took: who reads it has stopped.", "",
                      [](const MetricSources& s) { return s.daemon->log_lost; }));
  m.push_back(Counter("overlay_loop_turns_total", "Turns of the loop.", "async.read, async.write",
                      [](const MetricSources& s) { return s.daemon->turns; }));
  m.push_back(Histogram(
      "overlay_loop_turn_seconds",
      "Work of one turn of the loop: what an envelope may have to wait.", "recv.X",
      [](const MetricSources& s) -> const auto& { return s.daemon->turn; }));
  m.push_back(Histogram(
      "overlay_loop_turn_other_seconds",
      "Of a turn's work, what SCP envelopes did not cause: what makes the next one wait in vain.",
      "", [](const MetricSources& s) -> const auto& { return s.daemon->turn_other; }));
}

void AddPeers(std::vector<MetricDefinition>& m) {
  m.push_back(Gauge("overlay_peers_connected_count", "Logical peers connected.",
                    "connection.authenticated",
                    [](const MetricSources& s) { return s.node->peers.connected; }));
  m.push_back(Gauge("overlay_peers_inbound_count", "Of those, peers that dialled us.",
                    "inbound.live", [](const MetricSources& s) { return s.node->peers.inbound; }));
  m.push_back(Gauge("overlay_peers_dialling_count", "Dials under way.", "connection.pending",
                    [](const MetricSources& s) { return s.node->peers.dialling; }));
  m.push_back(Gauge("overlay_peers_known_count",
                    "Peers that are remembered, the connected ones included.", "",
                    [](const MetricSources& s) { return s.node->peers.known; }));
  m.push_back(Gauge("overlay_peers_outbound_count",
                    "Peers that we dialled beyond the configured ones, without those whose core "
                    "has been absent for 30 s: what `peers.outbound` is about.",
                    "", [](const MetricSources& s) { return s.node->peers.outbound; }));
  m.push_back(Gauge("overlay_peers_banned_count", "Keys that are banned now.", "",
                    [](const MetricSources& s) { return s.node->peers.bans; }));
  m.push_back(ByLabel("overlay_peers_bans_total", MetricType::Counter,
                      "Bans made, by who made them.", "by", "", [](const MetricSources& s) {
                        const auto& banned = s.node->peers.banned;
                        return Labelled{{"operator", banned[0]}, {"score", banned[1]}};
                      }));
  // No sample where nobody is measured: zero would say that all is well.
  const auto clock = [](std::string name, std::string help,
                        Duration transport::PeerClocks::*figure) {
    return MetricDefinition{.name = std::move(name),
                            .type = MetricType::Gauge,
                            .help = std::move(help),
                            .labels = "",
                            .prior = "",
                            .read = [figure](const MetricSources& s, MetricFamily& f) {
                              if (s.clocks.measured > 0) Set(f, ToSeconds(s.clocks.*figure));
                            }};
  };
  m.push_back(Gauge("overlay_clock_peers_measured_count",
                    "Connected peers whose wall clock was compared with ours, by Ping.", "",
                    [](const MetricSources& s) { return s.clocks.measured; }));
  m.push_back(
      clock("overlay_clock_median_offset_seconds",
            "Peers' wall clocks minus ours, the median: how far our own clock is behind the "
            "network's (below zero: ahead). Absent while none is measured. It takes more "
            "than half of the peers to lie about it.",
            &transport::PeerClocks::median_offset));
  m.push_back(clock("overlay_clock_largest_offset_seconds",
                    "How far the wall clock of the one peer that differs most is from ours. Absent "
                    "while none is measured.",
                    &transport::PeerClocks::largest_offset));
  m.push_back(ByLabel(
      "overlay_state_writes_total", MetricType::Counter, "Writes of the peer file (`peers.file`).",
      "outcome", "", [](const MetricSources& s) {
        return Labelled{{"written", s.daemon->state_written}, {"failed", s.daemon->state_failed}};
      }));
  m.push_back(Counter("overlay_peers_established_total", "Logical peers that connected.",
                      "inbound.establish, outbound.establish",
                      [](const MetricSources& s) { return s.transport->peers_connected; }));
  m.push_back(Counter("overlay_peers_ended_total", "Logical peers that disconnected.",
                      "inbound.drop, outbound.drop",
                      [](const MetricSources& s) { return s.transport->peers_disconnected; }));
  m.push_back(Counter("overlay_peers_dials_total", "Dials begun.", "outbound.attempt",
                      [](const MetricSources& s) { return s.transport->dials; }));
  m.push_back(Counter("overlay_peers_dials_failed_total", "Dials that did not become a peer.",
                      "outbound.cancel",
                      [](const MetricSources& s) { return s.node->peers.dials_failed; }));
  m.push_back(Counter("overlay_peers_rival_dials_total",
                      "Dials of a silent peer's address, to replace its connection.", "",
                      [](const MetricSources& s) { return s.transport->rival_dials; }));
  m.push_back(ByLabel("overlay_dns_lookups_total", MetricType::Counter,
                      "Look-ups of configured peers' names, by outcome.", "outcome", "",
                      [](const MetricSources& s) {
                        const flood::NameStats& names = s.node->names;
                        return Labelled{{"found", names.found},
                                        {"not_found", names.not_found},
                                        {"failed", names.failed}};
                      }));
  m.push_back(ByLabel(
      "overlay_dns_names_count", MetricType::Gauge,
      "Names of configured peers, by state; a failed one keeps the addresses that it gave before.",
      "state", "", [](const MetricSources& s) {
        const auto& count = s.node->names.by_state;
        return Labelled{{"asking", count[0]}, {"ok", count[1]}, {"failed", count[2]}};
      }));
  m.push_back(Counter("overlay_peers_hellos_total", "Hellos accepted.", "",
                      [](const MetricSources& s) { return s.transport->hellos; }));
  m.push_back(Counter("overlay_peers_keys_shared_total", "Two living daemons showed one key.", "",
                      [](const MetricSources& s) { return s.transport->keys_shared; }));
  m.push_back(ByLabel("overlay_peers_closes_total", MetricType::Counter,
                      "Ends of peers' connections, by reason.", "reason",
                      "timeout.idle, timeout.straggler",
                      [](const MetricSources& s) { return Reasons(s.transport->closes); }));
  m.push_back(ByLabel("overlay_peers_refusals_total", MetricType::Counter,
                      "Connections that never became a peer's, by reason.", "reason",
                      "inbound.reject",
                      [](const MetricSources& s) { return Reasons(s.transport->refusals); }));
  m.push_back(ByLabel("overlay_peers_offences_total", MetricType::Counter,
                      "Small breaches of the protocol, by kind.", "kind", "error.read",
                      [](const MetricSources& s) {
                        Labelled out;
                        for (size_t i = 0; i < kOffenceCount; ++i) {
                          out.emplace_back(std::string(OffenceName(static_cast<Offence>(i))),
                                           s.node->peers.offences[i]);
                        }
                        return out;
                      }));
}

void AddWire(std::vector<MetricDefinition>& m) {
  m.push_back(ByClass("overlay_wire_class_bytes_total",
                      "Bytes of streams by class, without QUIC's own.", "byte.read, byte.write",
                      &transport::ClassCount::bytes));
  m.push_back(ByClass("overlay_wire_class_messages_total", "Messages by class.",
                      "message.read, message.write, send.X", &transport::ClassCount::messages));
  m.push_back(ByLabel(
      "overlay_wire_datagrams_total", MetricType::Counter, "UDP datagrams.", "direction", "",
      [](const MetricSources& s) {
        return Labelled{{"in", s.socket->received_datagrams}, {"out", s.socket->sent_datagrams}};
      }));
  m.push_back(
      ByLabel("overlay_wire_bytes_total", MetricType::Counter, "Bytes of UDP datagrams.",
              "direction", "", [](const MetricSources& s) {
                return Labelled{{"in", s.socket->received_bytes}, {"out", s.socket->sent_bytes}};
              }));
  m.push_back(ByLabel(
      "overlay_wire_send_errors_total", MetricType::Counter,
      "What the kernel did not send, by reason.", "reason",
      "error.write, connection.flood-throttle, delay.async-write", [](const MetricSources& s) {
        return Labelled{
            {"blocked", s.socket->blocked},         {"no_buffers", s.socket->no_buffers},
            {"unreachable", s.socket->unreachable}, {"forbidden", s.socket->forbidden},
            {"too_large", s.socket->too_large},     {"other", s.socket->send_errors_other}};
      }));
  m.push_back(Counter(
      "overlay_wire_receive_errors_total", "Failed reads of the UDP socket.", "error.read",
      [](const MetricSources& s) { return s.socket->receive_errors + s.socket->truncated; }));
  m.push_back(Counter("overlay_wire_lost_packets_total",
                      "Packets with stream data declared lost, of ended connections.", "",
                      [](const MetricSources& s) { return s.transport->lost_stream_packets; }));
  m.push_back(ByLabel("overlay_wire_requests_refused_total", MetricType::Counter,
                      "Requests and answers refused at a queue's bound.", "kind",
                      "message.drop, outbound-queue.drop-tx, outbound-queue.drop-advert, "
                      "outbound-queue.drop-demand",
                      [](const MetricSources& s) {
                        return Labelled{{"request", s.transport->requests_refused},
                                        {"answer", s.transport->answers_refused}};
                      }));
}

void AddQuic(std::vector<MetricDefinition>& m) {
  m.push_back(ByLabel("overlay_quic_handshakes_total", MetricType::Counter,
                      "Handshakes of those who dial us, by what became of them.", "outcome",
                      "inbound.attempt", [](const MetricSources& s) {
                        return Labelled{{"begun", s.endpoint->handshakes_begun},
                                        {"completed", s.endpoint->handshakes_completed},
                                        {"evicted", s.endpoint->handshakes_evicted},
                                        {"queue_full", s.endpoint->handshakes_refused_queue}};
                      }));
  m.push_back(Counter("overlay_quic_retries_total",
                      "Addresses that had to prove themselves, because many handshakes were open.",
                      "", [](const MetricSources& s) { return s.endpoint->retries_sent; }));
  m.push_back(Counter("overlay_quic_tokens_refused_total",
                      "Proofs of an address that were another's, or too old.", "",
                      [](const MetricSources& s) { return s.endpoint->tokens_refused; }));
  m.push_back(ByLabel(
      "overlay_quic_resets_total", MetricType::Counter,
      "Stateless resets: one end had forgotten the connection.", "direction", "",
      [](const MetricSources& s) {
        return Labelled{{"in", s.endpoint->resets_received}, {"out", s.endpoint->resets_sent}};
      }));
  m.push_back(ByLabel("overlay_quic_stray_datagrams_total", MetricType::Counter,
                      "Datagrams of no connection: answered, or not for their number.", "fate", "",
                      [](const MetricSources& s) {
                        return Labelled{{"unroutable", s.endpoint->datagrams_unroutable},
                                        {"version", s.endpoint->version_negotiations_sent},
                                        {"suppressed", s.endpoint->stateless_suppressed}};
                      }));
  m.push_back(ByLabel("overlay_wire_paths_changed_total", MetricType::Counter,
                      "Peers that went on from another port (a NAT that forgot) or address.",
                      "what", "", [](const MetricSources& s) {
                        return Labelled{{"port", s.transport->ports_changed},
                                        {"address", s.transport->addresses_changed}};
                      }));
  m.push_back(ByLabel("overlay_wire_offloads_count", MetricType::Gauge,
                      "1: the kernel cuts (gso) and joins (gro) datagrams, and has IPv6.", "what",
                      "", [](const MetricSources& s) {
                        return Labelled{{"gso", s.gso}, {"gro", s.gro}, {"ipv6", s.ipv6}};
                      }));
  m.push_back(ByLabel("overlay_wire_fallbacks_total", MetricType::Counter,
                      "What of it was missing at the start, or refused later and given up.", "what",
                      "", [](const MetricSources& s) {
                        return Labelled{{"gso", s.socket->gso_refused},
                                        {"gro", s.socket->gro_refused},
                                        {"ipv6", s.socket->ipv6_refused}};
                      }));
}

}  // namespace

void AddNetwork(std::vector<MetricDefinition>& m) {
  AddProcess(m);
  AddPeers(m);
  AddWire(m);
  AddQuic(m);
}

}  // namespace overlay::server::metric_table
