// server/metric_table.h
//
// Rows of the table of metrics (metrics.h), one call each, and the parts that the table has.
//
// Threads  the rows are made once; they are read on the loop thread.
#ifndef OVERLAY_SERVER_METRIC_TABLE_H_
#define OVERLAY_SERVER_METRIC_TABLE_H_

#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/metrics.h"

namespace overlay::server::metric_table {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Where the operator's eye is: from ten microseconds to ten seconds.
inline constexpr size_t kFirstBucket = 3;  // 8 us
inline constexpr size_t kLastBucket = 24;  // 16.8 s

inline void Set(MetricFamily& family, double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  if (family.type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
}

inline void SetHistogram(MetricFamily& family, const transport::LatencyCounts& counts) {
  ClientMetric metric;
  metric.histogram.sample_count = counts.count;
  metric.histogram.sample_sum = static_cast<double>(counts.sum_us) / 1e6;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < counts.buckets.size(); ++i) {
    cumulative += counts.buckets[i];
    if (i < kFirstBucket || i > kLastBucket) continue;
    metric.histogram.bucket.push_back({cumulative, std::ldexp(1e-6, static_cast<int>(i))});
  }
  metric.histogram.bucket.push_back({counts.count, INFINITY});
  family.metric.push_back(std::move(metric));
}

inline std::string_view ClassName(size_t index) {
  static constexpr std::string_view kNames[] = {"scp", "control", "sets", "transactions"};
  return index < std::size(kNames) ? kNames[index] : "other";
}

// The check does not see the moves out of parameters in templates.
// NOLINTBEGIN(performance-unnecessary-value-param)
template <class Member>
MetricDefinition Number(std::string name, MetricType type, std::string help, std::string prior,
                        Member read) {
  return {.name = std::move(name),
          .type = type,
          .help = std::move(help),
          .labels = "",
          .prior = std::move(prior),
          .read = [read](const MetricSources& s, MetricFamily& family) {
            Set(family, static_cast<double>(read(s)));
          }};
}

template <class Member>
MetricDefinition Counter(std::string name, std::string help, std::string prior, Member read) {
  return Number(std::move(name), MetricType::Counter, std::move(help), std::move(prior), read);
}

template <class Member>
MetricDefinition Gauge(std::string name, std::string help, std::string prior, Member read) {
  return Number(std::move(name), MetricType::Gauge, std::move(help), std::move(prior), read);
}

template <class Member>
MetricDefinition Histogram(std::string name, std::string help, std::string prior, Member read) {
  return {.name = std::move(name),
          .type = MetricType::Histogram,
          .help = std::move(help),
          .labels = "",
          .prior = std::move(prior),
          .read = [read](const MetricSources& s, MetricFamily& family) {
            SetHistogram(family, read(s));
          }};
}

// One counter with one label whose values and figures `read` lists.
using Labelled = std::vector<std::pair<std::string, uint64_t>>;
template <class Read>
MetricDefinition ByLabel(std::string name, MetricType type, std::string help, std::string label,
                         std::string prior, Read read) {
  return {.name = std::move(name),
          .type = type,
          .help = std::move(help),
          .labels = label,
          .prior = std::move(prior),
          .read = [read, label](const MetricSources& s, MetricFamily& family) {
            for (const auto& [value, count] : Labelled(read(s))) {
              Set(family, static_cast<double>(count), {{label, value}});
            }
          }};
}
// NOLINTEND(performance-unnecessary-value-param)

using Count = uint64_t transport::ClassCount::*;
inline MetricDefinition ByClass(std::string name, std::string help, std::string prior,
                                Count member) {
  return {.name = std::move(name),
          .type = MetricType::Counter,
          .help = std::move(help),
          .labels = "class, direction",
          .prior = std::move(prior),
          .read = [member](const MetricSources& s, MetricFamily& family) {
            for (size_t i = 0; i < s.transport->sent.size(); ++i) {
              const std::string name(ClassName(i));
              Set(family, static_cast<double>(s.transport->sent[i].*member),
                  {{"class", name}, {"direction", "out"}});
              Set(family, static_cast<double>(s.transport->received[i].*member),
                  {{"class", name}, {"direction", "in"}});
            }
          }};
}

inline double AgeSeconds(Time now, Time then) {
  return then == Time{} ? -1 : ToSeconds(now - then);
}

// All that there are, from the start: a counter that begins with its first event hides it from
// increase().
inline Labelled Reasons(const std::map<CloseReason, uint64_t>& counts) {
  constexpr int kCodesEnd = 0x200;
  const std::string_view unknown = CloseReasonName(CloseReason::kUnknownCode);
  Labelled out;
  for (int code = 0; code < kCodesEnd; ++code) {
    const auto reason = static_cast<CloseReason>(code);
    const std::string_view name = CloseReasonName(reason);
    if (name == unknown && reason != CloseReason::kUnknownCode) continue;  // no such code
    const auto found = counts.find(reason);
    out.emplace_back(std::string(name), found == counts.end() ? 0 : found->second);
  }
  return out;
}

// When to worry; empty: nobody has said. WorryCount: of how many metrics that is said.
// metric_notes.cc.
std::string_view WorryOf(std::string_view name);
size_t WorryCount();

// What the process, its peers and its socket have to tell: network_metrics.cc.
void AddNetwork(std::vector<MetricDefinition>& m);
// The HTTP/3 window: http3_metrics.cc.
void AddHttp3(std::vector<MetricDefinition>& m);

}  // namespace overlay::server::metric_table

#endif  // OVERLAY_SERVER_METRIC_TABLE_H_
