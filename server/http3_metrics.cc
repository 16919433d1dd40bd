// What the HTTP/3 window has to tell. It counts on its own thread; the figures are read here.
#include "server/http3/http3_limits.h"
#include "server/metric_table.h"

namespace overlay::server::metric_table {
namespace {

// Where there is no window there is nothing to count.
const Http3Counters& Of(const MetricSources& s) {
  static const Http3Counters kNone;
  return s.http3 == nullptr ? kNone : *s.http3;
}

}  // namespace

void AddHttp3(std::vector<MetricDefinition>& m) {
  m.push_back(Gauge("overlay_http3_connections_count", "Connections to the HTTP/3 window now.", "",
                    [](const MetricSources& s) { return Of(s).connections.value(); }));
  m.push_back(ByLabel("overlay_http3_connections_total", MetricType::Counter,
                      "Connections to it: accepted; refused at a limit; displaced, idle ones that "
                      "gave their place to a newcomer; stalled, that did not read their answers; "
                      "failed, that broke the protocol.",
                      "outcome", "", [](const MetricSources& s) {
                        const Http3Counters& c = Of(s);
                        return Labelled{{"accepted", c.connections_accepted.value()},
                                        {"refused", c.connections_refused.value()},
                                        {"displaced", c.connections_displaced.value()},
                                        {"stalled", c.connections_stalled.value()},
                                        {"failed", c.connections_failed.value()}};
                      }));
  m.push_back(ByLabel("overlay_http3_handshakes_total", MetricType::Counter,
                      "Handshakes with it: begun; evicted, half-open ones that gave way, or had no "
                      "place; retried, whose address had to prove itself.",
                      "outcome", "", [](const MetricSources& s) {
                        const Http3Counters& c = Of(s);
                        return Labelled{{"begun", c.handshakes_begun.value()},
                                        {"evicted", c.handshakes_evicted.value()},
                                        {"retried", c.retries_sent.value()}};
                      }));
  m.push_back(ByLabel("overlay_http3_answers_total", MetricType::Counter,
                      "Requests that it answered, by class of the status.", "status", "",
                      [](const MetricSources& s) {
                        const auto& answers = Of(s).answers;
                        return Labelled{{"2xx", answers[0].value()},
                                        {"3xx", answers[1].value()},
                                        {"4xx", answers[2].value()},
                                        {"5xx", answers[3].value()}};
                      }));
  m.push_back(
      ByLabel("overlay_http3_refusals_total", MetricType::Counter,
              "Of those, what it refused by itself: malformed (400), not_found (404), "
              "method (405), body (413), header (431), rate (429 of one connection, 503 of "
              "all), busy (503: too many pages at once), memory (503: too much being sent).",
              "reason", "", [](const MetricSources& s) {
                Labelled refusals;
                for (size_t i = 0; i < kHttp3RefusalCount; ++i) {
                  refusals.emplace_back(Http3RefusalName(i), Of(s).refusals[i].value());
                }
                return refusals;
              }));
  m.push_back(Gauge("overlay_http3_bodies_bytes",
                    "Bytes of answers that are being sent, each shared one counted once.", "",
                    [](const MetricSources& s) { return Of(s).body_bytes.value(); }));
  m.push_back(ByLabel(
      "overlay_http3_wire_bytes_total", MetricType::Counter, "Bytes of its datagrams.", "direction",
      "", [](const MetricSources& s) {
        return Labelled{{"out", Of(s).sent_bytes.value()}, {"in", Of(s).received_bytes.value()}};
      }));
  m.push_back(
      ByLabel("overlay_http3_datagrams_total", MetricType::Counter,
              "Datagrams that came in; unroutable ones are of no connection and begin none.",
              "kind", "", [](const MetricSources& s) {
                return Labelled{{"all", Of(s).datagrams_received.value()},
                                {"unroutable", Of(s).datagrams_unroutable.value()}};
              }));
}

}  // namespace overlay::server::metric_table
