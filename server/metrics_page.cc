// docs/metrics.md, made from the table of metrics.
#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>

#include "server/metrics.h"

namespace overlay::server {
namespace {

using prometheus::MetricType;

constexpr std::string_view kHead =
    R"(# Metrics

`/metrics` on `metrics.listen` serves these in Prometheus' text format; `Operator.Metrics` gives
the same over gRPC. Counters count since the start of the daemon; "rises" below means their rate.
Latencies are histograms with buckets of powers of two, 8 us to 16.8 s. Nothing is labelled by peer:
`ListPeers` (`overlayctl peers`) has the figures of each. Every series is there from the start, at
zero, but for the offsets of the clocks, which are absent while no peer's is measured.

Names in the column "worry when" that begin with Overlay are alerts: `k8s/monitoring/rules.yaml` has
their conditions, `operations.md` what to do. `k8s/monitoring/dashboard.json` shows all in Grafana.

| metric | type | unit | labels | meaning | worry when |
|---|---|---|---|---|---|
)";

constexpr std::string_view kPriorHead = R"(
## What stellar-core's metrics have become

Its names are those after `overlay.`.

| stellar-core | here |
|---|---|
)";

// Those without a metric of their own here.
constexpr std::pair<std::string_view, std::string_view> kReasons[] = {
    {"connection.read-throttle",
     "None: reading is never stopped for a whole connection, each stream has credit of its own."},
    {"flood.tx-batch-size",
     "None: over time it is `overlay_tx_announcements_total` / `overlay_wire_class_messages_total` "
     "of class control, in the same direction."},
    {"outbound-queue.tx",
     "None: bodies are pulled, and `overlay_tx_pull_seconds` of the peer that asked has their "
     "wait; "
     "`ListPeers` has the queues by class."},
    {"outbound-queue.advert",
     "None: announcements go at once or within 10 ms; `ListPeers` has the queue of class control."},
    {"outbound-queue.demand",
     "None: part of `overlay_tx_pull_seconds`; `ListPeers` has the queue of class control."},
    {"recv-transaction.max",
     "None: the highest bucket of `overlay_loop_turn_seconds` that has counts bounds it."},
    {"recv-transaction.sum",
     "None: `overlay_loop_turn_seconds_sum` has the time of all messages together."},
};

std::string_view TypeName(MetricType type) {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    default:
      return "histogram";
  }
}

// As the name says.
std::string_view UnitOf(std::string_view name) {
  constexpr std::string_view kTotal = "_total";
  if (name.ends_with(kTotal)) name.remove_suffix(kTotal.size());
  if (name.ends_with("_bytes")) return "bytes";
  if (name.ends_with("_seconds")) return "seconds";
  if (name.ends_with("_slot")) return "ledger";
  return "number";
}

}  // namespace

std::string MetricsPage() {
  std::string page(kHead);
  std::map<std::string, std::string, std::less<>> prior;
  for (const MetricDefinition& d : MetricDefinitions()) {
    page += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", d.name, TypeName(d.type),
                        UnitOf(d.name), d.labels, d.help, d.worry);
    std::string_view rest = d.prior;
    while (!rest.empty()) {
      const size_t end = rest.find(", ");
      std::string& here = prior[std::string(rest.substr(0, end))];
      here += fmt::format("{}`{}`", here.empty() ? "" : ", ", d.name);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 2);
    }
  }
  for (const auto& [name, reason] : kReasons) prior[std::string(name)] += reason;
  page += kPriorHead;
  for (const auto& [name, here] : prior) page += fmt::format("| {} | {} |\n", name, here);
  return page;
}

}  // namespace overlay::server
