#include "server/metrics.h"

#include <prometheus/text_serializer.h>

#include <utility>

#include "flood/base/check.h"
#include "server/metric_table.h"

namespace overlay::server {
namespace metric_table {
namespace {

void AddScp(std::vector<MetricDefinition>& m) {
  m.push_back(Histogram(
      "overlay_scp_core_to_wire_seconds",
      "An envelope handed to a peer's queue, to its last byte in a packet.",
      "outbound-queue.scp, delay.write-queue",
      [](const MetricSources& s) -> const auto& { return s.transport->envelope_to_wire; }));
  m.push_back(Histogram(
      "overlay_scp_wire_to_core_seconds",
      "An envelope's last datagram read, to its write to the core.", "recv.scp",
      [](const MetricSources& s) -> const auto& { return s.daemon->wire_to_core; }));
  m.push_back(Histogram(
      "overlay_scp_hop_seconds",
      "An envelope handed to a peer's queue, to the peer's acknowledgement.", "connection.latency",
      [](const MetricSources& s) -> const auto& { return s.transport->envelope_to_ack; }));
  m.push_back(ByLabel("overlay_scp_received_total", MetricType::Counter,
                      "Envelopes from peers, by what became of them.", "outcome",
                      "flood.unique_recv, flood.duplicate_recv", [](const MetricSources& s) {
                        const auto& scp = s.node->scp;
                        return Labelled{{"new", scp.received_new},
                                        {"duplicate", scp.received_duplicate},
                                        {"outside_window", scp.refused_window},
                                        {"over_limit", scp.refused_limit},
                                        {"malformed", scp.refused_malformed},
                                        {"superseded", scp.superseded_inbound}};
                      }));
  m.push_back(Counter("overlay_scp_delivered_total", "Envelopes given to the core.", "",
                      [](const MetricSources& s) { return s.node->scp.delivered; }));
  m.push_back(Counter("overlay_scp_redelivered_total", "Of those, given before.", "",
                      [](const MetricSources& s) { return s.node->scp.redelivered; }));
  m.push_back(Counter("overlay_scp_broadcast_total", "Envelopes that the core broadcast.",
                      "message.broadcast",
                      [](const MetricSources& s) { return s.node->scp.broadcast; }));
  m.push_back(ByLabel("overlay_scp_copies_total", MetricType::Counter,
                      "Copies of envelopes for peers, by what became of them.", "outcome",
                      "flood.broadcast, outbound-queue.drop-scp", [](const MetricSources& s) {
                        const auto& scp = s.node->scp;
                        return Labelled{{"queued", scp.copies_sent},
                                        {"acknowledged", scp.copies_acknowledged},
                                        {"superseded", scp.copies_superseded},
                                        {"dropped", scp.copies_dropped}};
                      }));
  m.push_back(Counter("overlay_scp_resent_total", "Envelopes sent again on another connection.", "",
                      [](const MetricSources& s) { return s.transport->envelopes_resent; }));
  m.push_back(ByLabel("overlay_scp_state_requests_total", MetricType::Counter,
                      "Peers' requests for state.", "outcome", "", [](const MetricSources& s) {
                        return Labelled{{"answered", s.node->scp.state_requests_answered},
                                        {"refused", s.node->scp.state_requests_refused}};
                      }));
  m.push_back(Gauge("overlay_scp_seen_hashes_count", "Envelope hashes remembered.",
                    "memory.flood-known",
                    [](const MetricSources& s) { return s.node->scp.seen_hashes; }));
  m.push_back(Gauge("overlay_scp_kept_envelopes_count",
                    "Envelopes kept for a core that attaches and for peers.", "",
                    [](const MetricSources& s) { return s.node->scp.kept_envelopes; }));
  m.push_back(Gauge("overlay_scp_kept_bytes", "Bytes of them.", "",
                    [](const MetricSources& s) { return s.node->scp.kept_bytes; }));
  m.push_back(Gauge("overlay_scp_core_queue_count", "Envelopes that wait for the core to read.", "",
                    [](const MetricSources& s) { return s.node->scp.core_queue; }));
  m.push_back(
      Gauge("overlay_scp_last_received_age_seconds",
            "Age of the last envelope of any peer; -1: none yet.", "",
            [](const MetricSources& s) { return AgeSeconds(s.now, s.node->scp.last_received); }));
  m.push_back(Gauge("overlay_scp_newest_closed_slot", "The newest slot closed, as the core said.",
                    "", [](const MetricSources& s) { return s.node->slots.newest_closed.value; }));
}

void AddTx(std::vector<MetricDefinition>& m) {
  m.push_back(Counter("overlay_tx_submitted_total", "Transactions that the core submitted.", "",
                      [](const MetricSources& s) { return s.node->tx.submitted; }));
  m.push_back(ByLabel("overlay_tx_received_total", MetricType::Counter,
                      "Bodies of transactions from peers.", "outcome",
                      "flood.relevant-txs, flood.irrelevant-txs, recv-transaction.count",
                      [](const MetricSources& s) {
                        return Labelled{{"new", s.node->tx.received_new},
                                        {"duplicate", s.node->tx.received_duplicate}};
                      }));
  m.push_back(ByLabel("overlay_tx_received_bytes_total", MetricType::Counter, "Bytes of them.",
                      "outcome", "flood.unique_recv, flood.duplicate_recv",
                      [](const MetricSources& s) {
                        return Labelled{{"all", s.node->tx.received_bytes},
                                        {"duplicate", s.node->tx.received_duplicate_bytes}};
                      }));
  m.push_back(ByLabel(
      "overlay_tx_announcements_total", MetricType::Counter, "Hashes announced, times peers.",
      "direction", "flood.advertised", [](const MetricSources& s) {
        return Labelled{{"out", s.node->tx.announced}, {"in", s.node->tx.announcements_received}};
      }));
  m.push_back(Counter("overlay_tx_announcements_ill_sized_total",
                      "Of those in, the empty and the oversized ones: never demanded.", "",
                      [](const MetricSources& s) { return s.node->tx.announcements_ill_sized; }));
  m.push_back(Counter("overlay_tx_announcements_held_total",
                      "Not announced to a peer that took no more then; told later, if still here.",
                      "", [](const MetricSources& s) { return s.node->tx.announcements_held; }));
  m.push_back(Counter("overlay_tx_demanded_total", "Hashes demanded.", "flood.demanded",
                      [](const MetricSources& s) { return s.node->tx.demanded; }));
  m.push_back(ByLabel("overlay_tx_demands_failed_total", MetricType::Counter,
                      "Demands without a body, by reason.", "reason",
                      "demand.timeout, flood.abandoned-demands", [](const MetricSources& s) {
                        return Labelled{{"timeout", s.node->tx.demand_timeouts},
                                        {"not_found", s.node->tx.demand_not_found},
                                        {"given_up", s.node->tx.demand_given_up}};
                      }));
  m.push_back(ByLabel(
      "overlay_tx_served_total", MetricType::Counter, "Hashes that peers demanded of us.",
      "outcome", "flood.fulfilled, flood.unfulfilled-unknown, flood.unfulfilled-banned",
      [](const MetricSources& s) {
        return Labelled{{"body", s.node->tx.served}, {"not_found", s.node->tx.not_found_served}};
      }));
  m.push_back(Histogram(
      "overlay_tx_pull_seconds", "A demand to its body.",
      "flood.tx-pull-latency, flood.peer-tx-pull-latency",
      [](const MetricSources& s) -> const auto& { return s.daemon->tx_pull; }));
  m.push_back(ByLabel("overlay_tx_verdicts_total", MetricType::Counter, "The core's verdicts.",
                      "verdict", "", [](const MetricSources& s) {
                        return Labelled{{"valid", s.node->tx.verdict_valid},
                                        {"malformed", s.node->tx.verdict_malformed},
                                        {"stale", s.node->tx.verdict_stale},
                                        {"later", s.node->tx.verdict_later}};
                      }));
  m.push_back(ByLabel("overlay_mempool_removed_total", MetricType::Counter,
                      "Transactions that left the mempool, by reason.", "reason", "",
                      [](const MetricSources& s) {
                        return Labelled{{"externalized", s.node->tx.externalized},
                                        {"evicted", s.node->tx.evicted},
                                        {"expired", s.node->tx.expired}};
                      }));
  m.push_back(Gauge("overlay_mempool_transactions_count", "Transactions in the mempool.", "",
                    [](const MetricSources& s) { return s.node->tx.mempool_count; }));
  m.push_back(Gauge("overlay_mempool_pending_count", "Of those, without a verdict.", "",
                    [](const MetricSources& s) { return s.node->tx.pending_count; }));
  m.push_back(Gauge("overlay_mempool_bytes", "Bytes of them.", "",
                    [](const MetricSources& s) { return s.node->tx.mempool_bytes; }));
  m.push_back(Gauge("overlay_tx_tracked_announcements_count", "Announcements remembered.",
                    "memory.flood-known",
                    [](const MetricSources& s) { return s.node->tx.tracked_announcements; }));
  m.push_back(
      Gauge("overlay_tx_last_received_age_seconds",
            "Age of the last transaction of any peer; -1: none yet.", "",
            [](const MetricSources& s) { return AgeSeconds(s.now, s.node->tx.last_received); }));
}

// One figure a pool.
template <class Read>
MetricDefinition ByPool(std::string_view name, MetricType type, std::string_view help, Read read) {
  return ByLabel(name, type, help, "pool", "", [read](const MetricSources& s) {
    Labelled figures;
    for (size_t i = 0; i < flood::kMemoryPoolCount; ++i) {
      const auto pool = static_cast<flood::MemoryPool>(i);
      figures.emplace_back(flood::MemoryPoolName(pool), read(s.node->memory, i));
    }
    return figures;
  });
}

void AddMemory(std::vector<MetricDefinition>& m) {
  using flood::MemoryStats;
  m.push_back(ByPool("overlay_memory_bytes", MetricType::Gauge,
                     "Bytes of payloads held, by pool; `memory.max` bounds them together.",
                     [](const MemoryStats& memory, size_t pool) { return memory.bytes[pool]; }));
  m.push_back(Gauge("overlay_memory_room_bytes",
                    "What the pools other than SCP's may hold together now.", "",
                    [](const MetricSources& s) { return s.node->memory.room_bytes; }));
  m.push_back(Gauge("overlay_memory_pressed_count",
                    "1 while they hold more than that: nothing is admitted to them.", "",
                    [](const MetricSources& s) { return s.node->memory.pressed ? 1 : 0; }));
  m.push_back(Counter("overlay_memory_pressures_total", "Times that it began.", "",
                      [](const MetricSources& s) { return s.node->memory.pressures; }));
  m.push_back(ByPool("overlay_memory_freed_total", MetricType::Counter,
                     "Times that something of a pool had to go because of it: sets, and up to 500 "
                     "transactions at a time.",
                     [](const MemoryStats& memory, size_t pool) { return memory.freed[pool]; }));
  m.push_back(
      ByPool("overlay_memory_freed_bytes_total", MetricType::Counter, "Bytes of them.",
             [](const MemoryStats& memory, size_t pool) { return memory.freed_bytes[pool]; }));
  m.push_back(ByLabel("overlay_memory_refused_total", MetricType::Counter,
                      "What was refused or let go because of it.", "what", "",
                      [](const MetricSources& s) {
                        return Labelled{{"submissions", s.node->tx.submissions_without_memory},
                                        {"bodies", s.node->tx.bodies_dropped},
                                        {"answers", s.node->tx.answers_cancelled},
                                        {"sets", s.node->sets.without_memory}};
                      }));
}

void AddSets(std::vector<MetricDefinition>& m) {
  m.push_back(Counter("overlay_sets_offered_total", "Sets that the core offered.", "",
                      [](const MetricSources& s) { return s.node->sets.offered; }));
  m.push_back(ByLabel("overlay_sets_fetched_total", MetricType::Counter,
                      "Fetches of sets that ended.", "outcome", "fetch.txset, fetch.qset",
                      [](const MetricSources& s) {
                        return Labelled{{"complete", s.node->sets.fetched},
                                        {"failed", s.node->sets.fetch_failed},
                                        {"wrong_hash", s.node->sets.wrong_hash},
                                        {"bad_frame", s.node->sets.bad_frame},
                                        {"wrong_mixed", s.node->sets.wrong_mixed},
                                        {"displaced", s.node->sets.prefetch_displaced}};
                      }));
  m.push_back(Histogram(
      "overlay_sets_fetch_seconds", "A fetch of the core to the complete set.",
      "fetch.txset, fetch.qset",
      [](const MetricSources& s) -> const auto& { return s.daemon->set_fetch; }));
  m.push_back(Counter("overlay_sets_next_source_total", "A second or later source asked.",
                      "item-fetcher.next-peer",
                      [](const MetricSources& s) { return s.node->sets.fetch_next_source; }));
  m.push_back(ByLabel("overlay_sets_hedged_total", MetricType::Counter,
                      "Another source asked beside one that was too slow, by reason.", "reason", "",
                      [](const MetricSources& s) {
                        return Labelled{{"first_byte", s.node->sets.fetch_hedged_first_byte},
                                        {"stalled", s.node->sets.fetch_hedged_stalled},
                                        {"slow", s.node->sets.fetch_hedged_slow}};
                      }));
  m.push_back(Counter("overlay_sets_resumed_total",
                      "Sets continued behind what a source had sent that failed.", "",
                      [](const MetricSources& s) { return s.node->sets.fetch_resumed; }));
  m.push_back(ByLabel("overlay_sets_received_bytes_total", MetricType::Counter,
                      "Bytes of sets from peers.", "outcome",
                      "fetch.unique-recv, fetch.duplicate-recv", [](const MetricSources& s) {
                        return Labelled{{"all", s.node->sets.received_bytes},
                                        {"duplicate", s.node->sets.duplicate_bytes}};
                      }));
  m.push_back(ByLabel("overlay_sets_served_total", MetricType::Counter,
                      "Sets that peers asked of us.", "outcome", "send.txset",
                      [](const MetricSources& s) {
                        return Labelled{{"found", s.node->sets.served},
                                        {"not_found", s.node->sets.served_not_found}};
                      }));
  m.push_back(Counter("overlay_sets_inflated_total",
                      "Sets fetched that came compressed; part of the complete ones.", "",
                      [](const MetricSources& s) { return s.node->sets.inflated; }));
  m.push_back(Counter("overlay_sets_compressed_total",
                      "Sets whose compressed form was worth keeping.", "",
                      [](const MetricSources& s) { return s.node->sets.compressed; }));
  m.push_back(Counter("overlay_sets_served_compressed_total", "Answers in that form.", "",
                      [](const MetricSources& s) { return s.node->sets.served_compressed; }));
  m.push_back(Counter("overlay_sets_served_saved_bytes_total", "Bytes that they were shorter.", "",
                      [](const MetricSources& s) { return s.node->sets.served_saved_bytes; }));
  m.push_back(Gauge("overlay_sets_cached_count", "Transaction sets cached.", "",
                    [](const MetricSources& s) { return s.node->sets.cached_count; }));
  m.push_back(Gauge("overlay_sets_cached_bytes", "Bytes of them.", "",
                    [](const MetricSources& s) { return s.node->sets.cached_bytes; }));
  m.push_back(Gauge("overlay_sets_quorum_sets_count", "Quorum sets cached.", "",
                    [](const MetricSources& s) { return s.node->sets.quorum_sets; }));
  m.push_back(Gauge("overlay_sets_fetching_count", "Fetches under way.", "",
                    [](const MetricSources& s) { return s.node->sets.fetching; }));
  m.push_back(Gauge(
      "overlay_sets_last_received_age_seconds", "Age of the last set of any peer; -1: none yet.",
      "", [](const MetricSources& s) { return AgeSeconds(s.now, s.node->sets.last_received); }));
}

void AddCompute(std::vector<MetricDefinition>& m) {
  m.push_back(ByLabel("overlay_compute_total", MetricType::Counter,
                      "Work for the worker thread: begun there, refused because too much was ahead "
                      "of it, or given back undone.",
                      "outcome", "", [](const MetricSources& s) {
                        return Labelled{{"begun", s.node->compute.begun},
                                        {"refused", s.node->compute.refused},
                                        {"not_done", s.node->compute.not_done}};
                      }));
  m.push_back(ByLabel("overlay_compute_queue_count", MetricType::Gauge,
                      "Work that waits for the worker thread, or is with it.", "where", "",
                      [](const MetricSources& s) {
                        return Labelled{{"waiting", s.node->compute.waiting},
                                        {"at_worker", s.node->compute.at_worker}};
                      }));
}

void AddCore(std::vector<MetricDefinition>& m) {
  m.push_back(Gauge("overlay_core_ready_count", "1: ready, as `/readyz` says it.", "",
                    [](const MetricSources& s) { return s.ready ? 1 : 0; }));
  m.push_back(Gauge("overlay_core_attached_count", "Cores attached: 0 or 1.", "",
                    [](const MetricSources& s) { return s.core_attached ? 1 : 0; }));
  m.push_back(Gauge("overlay_core_observers_count", "Observers attached.", "",
                    [](const MetricSources& s) { return s.observers; }));
  m.push_back(Gauge("overlay_core_calls_count", "gRPC calls open.", "",
                    [](const MetricSources& s) { return s.calls; }));
  m.push_back(Gauge("overlay_core_connections_count",
                    "Connections of cores and operators to the gRPC server.", "",
                    [](const MetricSources& s) { return s.api_connections; }));
  m.push_back(ByLabel(
      "overlay_core_connections_total", MetricType::Counter,
      "Connections accepted; displaced, because somebody held too many; starved, tries without a "
      "free descriptor.",
      "outcome", "", [](const MetricSources& s) {
        return Labelled{{"accepted", s.gate->accepted},
                        {"displaced", s.gate->displaced},
                        {"starved", s.gate->starved}};
      }));
  m.push_back(Counter("overlay_core_sessions_total", "Sessions of cores begun.", "",
                      [](const MetricSources& s) { return s.sessions->attached; }));
  m.push_back(ByLabel("overlay_core_sessions_ended_total", MetricType::Counter,
                      "Sessions ended, by reason.", "reason", "", [](const MetricSources& s) {
                        const auto& by = s.sessions->ended_by_reason;
                        return Labelled{{"taken_over", by[1]},
                                        {"replaced", by[2]},
                                        {"scp_ended", by[3]},
                                        {"unresponsive", by[4]},
                                        {"drained", by[5]}};
                      }));
  m.push_back(ByLabel("overlay_core_refusals_total", MetricType::Counter,
                      "What a core was refused, by reason.", "reason", "",
                      [](const MetricSources& s) {
                        return Labelled{{"busy", s.sessions->refused_busy},
                                        {"wrong_network", s.sessions->refused_network},
                                        {"malformed", s.sessions->refused_malformed},
                                        {"observers", s.sessions->refused_observers},
                                        {"stale_session", s.sessions->stale_session},
                                        {"illegal_value", s.sessions->errors_answered}};
                      }));
  m.push_back(ByLabel("overlay_core_overflow_total", MetricType::Counter,
                      "Messages lost at a limit between peers and core, as the core was told.",
                      "queue", "", [](const MetricSources& s) {
                        return Labelled{{"scp_to_core", s.sessions->overflow_scp_to_core},
                                        {"scp_from_core", s.sessions->overflow_scp_from_core},
                                        {"tx_to_core", s.sessions->overflow_tx_to_core}};
                      }));
  m.push_back(Counter("overlay_core_observer_lost_total",
                      "Messages that observers did not read in time.", "",
                      [](const MetricSources& s) { return s.sessions->observer_lost; }));
  const auto by_stream = [](bool bytes) {
    return [bytes](const MetricSources& s, MetricFamily& f) {
      const SessionCounters& c = *s.sessions;
      const auto set = [&](const char* stream, uint64_t up, uint64_t down) {
        Set(f, static_cast<double>(up), {{"stream", stream}, {"direction", "up"}});
        Set(f, static_cast<double>(down), {{"stream", stream}, {"direction", "down"}});
      };
      set("scp", bytes ? c.scp_bytes_up : c.scp_messages_up,
          bytes ? c.scp_bytes_down : c.scp_messages_down);
      set("transactions", bytes ? c.tx_bytes_up : c.tx_messages_up,
          bytes ? c.tx_bytes_down : c.tx_messages_down);
      set("tx_sets", bytes ? c.set_bytes_up : c.set_messages_up,
          bytes ? c.set_bytes_down : c.set_messages_down);
    };
  };
  m.push_back({.name = "overlay_core_messages_total",
               .type = MetricType::Counter,
               .help = "Messages of the core's streams.",
               .labels = "stream, direction",
               .prior = "",
               .read = by_stream(false)});
  m.push_back({.name = "overlay_core_bytes_total",
               .type = MetricType::Counter,
               .help = "Bytes of them.",
               .labels = "stream, direction",
               .prior = "",
               .read = by_stream(true)});
}

std::vector<MetricDefinition> All() {
  std::vector<MetricDefinition> m;
  AddNetwork(m);
  AddScp(m);
  AddTx(m);
  AddSets(m);
  AddCompute(m);
  AddMemory(m);
  AddCore(m);
  AddHttp3(m);
  for (MetricDefinition& definition : m) definition.worry = WorryOf(definition.name);
  return m;
}

}  // namespace
}  // namespace metric_table

const std::vector<MetricDefinition>& MetricDefinitions() {
  static const std::vector<MetricDefinition> definitions = metric_table::All();
  return definitions;
}

std::vector<prometheus::MetricFamily> CollectMetrics(const MetricSources& sources) {
  std::vector<prometheus::MetricFamily> families;
  families.reserve(MetricDefinitions().size());
  for (const MetricDefinition& definition : MetricDefinitions()) {
    prometheus::MetricFamily family;
    family.name = definition.name;
    family.help = definition.help;
    family.type = definition.type;
    definition.read(sources, family);
    families.push_back(std::move(family));
  }
  return families;
}

}  // namespace overlay::server
