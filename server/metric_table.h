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

template <class Member>
MetricDefinition Number(std::string_view name, MetricType type, std::string_view help,
                        std::string_view prior, Member read) {
  return {.name = std::string(name),
          .type = type,
          .help = std::string(help),
          .labels = "",
          .prior = std::string(prior),
          .read = [read](const MetricSources& s, MetricFamily& family) {
            Set(family, static_cast<double>(read(s)));
          }};
}

template <class Member>
MetricDefinition Counter(std::string_view name, std::string_view help, std::string_view prior,
                         Member read) {
  return Number(name, MetricType::Counter, help, prior, read);
}

template <class Member>
MetricDefinition Gauge(std::string_view name, std::string_view help, std::string_view prior,
                       Member read) {
  return Number(name, MetricType::Gauge, help, prior, read);
}

template <class Member>
MetricDefinition Histogram(std::string_view name, std::string_view help, std::string_view prior,
                           Member read) {
  return {.name = std::string(name),
          .type = MetricType::Histogram,
          .help = std::string(help),
          .labels = "",
          .prior = std::string(prior),
          .read = [read](const MetricSources& s, MetricFamily& family) {
            SetHistogram(family, read(s));
          }};
}

// One counter with one label whose values and figures `read` lists.
using Labelled = std::vector<std::pair<std::string, uint64_t>>;
template <class Read>
MetricDefinition ByLabel(std::string_view name, MetricType type, std::string_view help,
                         std::string_view label, std::string_view prior, Read read) {
  return {.name = std::string(name),
          .type = type,
          .help = std::string(help),
          .labels = std::string(label),
          .prior = std::string(prior),
          .read = [read, label = std::string(label)](const MetricSources& s, MetricFamily& family) {
            for (const auto& [value, count] : Labelled(read(s))) {
              Set(family, static_cast<double>(count), {{label, value}});
            }
          }};
}

using Count = uint64_t transport::ClassCount::*;
inline MetricDefinition ByClass(std::string_view name, std::string_view help,
                                std::string_view prior, Count member) {
  return {.name = std::string(name),
          .type = MetricType::Counter,
          .help = std::string(help),
          .labels = "class, direction",
          .prior = std::string(prior),
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
