#include "server/metrics.h"

#include <fmt/format.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metric_table.h"
#include "server/operator_report.h"

namespace overlay::server {
namespace {

using testing::HasSubstr;

class Metrics : public testing::Test {
 protected:
  Metrics() {
    sources_.now = Time(std::chrono::seconds(100));
    sources_.started = Time(std::chrono::seconds(40));
    sources_.node = &node_;
    sources_.transport = &transport_;
    sources_.endpoint = &endpoint_;
    sources_.socket = &socket_;
    sources_.sessions = &sessions_;
    sources_.daemon = &daemon_;
    sources_.gate = &gate_;
    sources_.version = "9.9";
  }
  std::string Text() { return prometheus::TextSerializer().Serialize(CollectMetrics(sources_)); }

  flood::NodeStats node_;
  transport::TransportStats transport_;
  transport::EndpointCounters endpoint_;
  transport::UdpSocketCounters socket_;
  SessionCounters sessions_;
  DaemonStats daemon_;
  ApiGateCounters gate_;
  MetricSources sources_;
};

TEST_F(Metrics, FiguresAreTheirSources) {
  node_.scp.received_new = 7;
  node_.scp.last_received = Time(std::chrono::seconds(98));
  transport_.sent[0].bytes = 11;
  transport_.closes[CloseReason::kStalled] = 3;
  transport_.ports_changed = 4;
  endpoint_.resets_received = 5;
  endpoint_.handshakes_evicted = 6;
  sources_.ipv6 = true;
  sessions_.ended_by_reason[v1::Detached::REASON_TAKEN_OVER] = 2;
  daemon_.turn.Add(std::chrono::microseconds(100));
  daemon_.turn.Add(std::chrono::seconds(100));
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("overlay_scp_received_total{outcome=\"new\"} 7"));
  EXPECT_THAT(text, HasSubstr("overlay_scp_last_received_age_seconds 2"));
  EXPECT_THAT(text, HasSubstr("overlay_tx_last_received_age_seconds -1"));
  EXPECT_THAT(text,
              HasSubstr("overlay_wire_class_bytes_total{class=\"scp\",direction=\"out\"} 11"));
  EXPECT_THAT(text, HasSubstr("overlay_peers_closes_total{reason=\"stalled\"} 3"));
  EXPECT_THAT(text, HasSubstr("overlay_wire_paths_changed_total{what=\"port\"} 4"));
  EXPECT_THAT(text, HasSubstr("overlay_wire_offloads_count{what=\"ipv6\"} 1"));
  EXPECT_THAT(text, HasSubstr("overlay_wire_offloads_count{what=\"gso\"} 0"));
  EXPECT_THAT(text, HasSubstr("overlay_quic_resets_total{direction=\"in\"} 5"));
  EXPECT_THAT(text, HasSubstr("overlay_quic_handshakes_total{outcome=\"evicted\"} 6"));
  EXPECT_THAT(text, HasSubstr("overlay_core_sessions_ended_total{reason=\"taken_over\"} 2"));
  EXPECT_THAT(text, HasSubstr("overlay_process_info{version=\"9.9\"} 1"));
  EXPECT_THAT(text, HasSubstr("overlay_process_uptime_seconds 60"));
  EXPECT_THAT(text, HasSubstr("overlay_loop_turn_seconds_count 2"));
  EXPECT_THAT(text, HasSubstr("overlay_loop_turn_seconds_bucket{le=\"+Inf\"} 2"));
  EXPECT_THAT(text, HasSubstr("overlay_loop_turn_seconds_bucket{le=\"0.000128\"} 1"));
}

// Without a window its figures are there, and nothing.
TEST_F(Metrics, TheWindowsFiguresAreItsOwn) {
  EXPECT_THAT(Text(), HasSubstr("overlay_http3_answers_total{status=\"2xx\"} 0"));
  Http3Counters counters;
  counters.answers[3].Add(7);
  counters.connections_stalled.Add();
  counters.Count(Http3Refusal::kRate);
  counters.body_bytes.Set(12);
  sources_.http3 = &counters;
  EXPECT_THAT(Text(), HasSubstr("overlay_http3_answers_total{status=\"5xx\"} 7"));
  EXPECT_THAT(Text(), HasSubstr("overlay_http3_connections_total{outcome=\"stalled\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("overlay_http3_refusals_total{reason=\"rate\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("overlay_http3_bodies_bytes 12"));
}

TEST_F(Metrics, NamesFollowTheRule) {
  std::set<std::string> names;
  for (const MetricDefinition& definition : MetricDefinitions()) {
    EXPECT_TRUE(names.insert(definition.name).second) << definition.name;
    EXPECT_EQ(definition.name.rfind("overlay_", 0), 0u) << definition.name;
    const bool total = definition.name.size() > 6 &&
                       definition.name.substr(definition.name.size() - 6) == "_total";
    EXPECT_EQ(total, definition.type == prometheus::MetricType::Counter) << definition.name;
    EXPECT_FALSE(definition.help.empty());
  }
}

TEST_F(Metrics, OperatorMetricsAreTheSameSamples) {
  const auto families = CollectMetrics(sources_);
  const v1::MetricsResponse response = ToResponse(families);
  // Every line of the text that is not a comment is one sample.
  std::istringstream lines(Text());
  int count = 0;
  for (std::string line; std::getline(lines, line);)
    count += line.empty() || line[0] == '#' ? 0 : 1;
  EXPECT_EQ(response.samples_size(), count);
  EXPECT_GT(count, 150);
}

// Every metric says when to worry, and no note is left of one that has gone.
TEST_F(Metrics, EachSaysWhenToWorry) {
  for (const MetricDefinition& definition : MetricDefinitions()) {
    EXPECT_FALSE(definition.worry.empty()) << definition.name << ": server/metric_notes.cc";
  }
  EXPECT_EQ(metric_table::WorryCount(), MetricDefinitions().size());
}

// What operators of stellar-core watch today, the names after "overlay.".
constexpr std::string_view kPriorNames[] = {"byte.read",
                                            "byte.write",
                                            "message.read",
                                            "message.write",
                                            "message.broadcast",
                                            "message.drop",
                                            "async.read",
                                            "async.write",
                                            "error.read",
                                            "error.write",
                                            "connection.authenticated",
                                            "connection.pending",
                                            "connection.latency",
                                            "connection.read-throttle",
                                            "connection.flood-throttle",
                                            "delay.async-write",
                                            "delay.write-queue",
                                            "inbound.attempt",
                                            "inbound.establish",
                                            "inbound.drop",
                                            "inbound.reject",
                                            "inbound.live",
                                            "outbound.attempt",
                                            "outbound.establish",
                                            "outbound.drop",
                                            "outbound.cancel",
                                            "outbound-queue.scp",
                                            "outbound-queue.tx",
                                            "outbound-queue.advert",
                                            "outbound-queue.demand",
                                            "outbound-queue.drop-scp",
                                            "outbound-queue.drop-tx",
                                            "outbound-queue.drop-advert",
                                            "outbound-queue.drop-demand",
                                            "recv.X",
                                            "recv.scp",
                                            "recv-transaction.sum",
                                            "recv-transaction.count",
                                            "recv-transaction.max",
                                            "send.X",
                                            "send.txset",
                                            "fetch.txset",
                                            "fetch.qset",
                                            "fetch.unique-recv",
                                            "fetch.duplicate-recv",
                                            "item-fetcher.next-peer",
                                            "flood.advertised",
                                            "flood.demanded",
                                            "flood.fulfilled",
                                            "flood.unfulfilled-banned",
                                            "flood.unfulfilled-unknown",
                                            "flood.tx-pull-latency",
                                            "flood.peer-tx-pull-latency",
                                            "flood.relevant-txs",
                                            "flood.irrelevant-txs",
                                            "flood.abandoned-demands",
                                            "demand.timeout",
                                            "flood.broadcast",
                                            "flood.unique_recv",
                                            "flood.duplicate_recv",
                                            "flood.tx-batch-size",
                                            "memory.flood-known",
                                            "timeout.idle",
                                            "timeout.straggler"};

TEST_F(Metrics, EveryMetricOfThePriorArtHasItsCounterpartOrAReason) {
  const std::string page = MetricsPage();
  const std::string table = page.substr(page.find("## What stellar-core's metrics"));
  size_t rows = 0;
  for (const std::string_view name : kPriorNames) {
    const std::string row = fmt::format("\n| {} | ", name);
    const size_t at = table.find(row);
    ASSERT_NE(at, std::string::npos) << name;
    const std::string here = table.substr(at + row.size(), 8);
    EXPECT_TRUE(here == "`overlay" || here.substr(0, 6) == "None: ") << name << ": " << here;
    ++rows;
  }
  // No row is of another name, a misspelt one say. Two lines are the table's head.
  EXPECT_EQ(static_cast<size_t>(std::count(table.begin(), table.end(), '|')), 3 * (rows + 2));
}

// OVERLAY_WRITE_DOCS=1 in the environment writes the page anew.
TEST_F(Metrics, ThePageIsTheTable) {
  if (std::getenv("OVERLAY_WRITE_DOCS") != nullptr) {
    std::ofstream("docs/metrics.md") << MetricsPage();
    return;
  }
  std::ifstream stream("docs/metrics.md");
  std::stringstream page;
  page << stream.rdbuf();
  EXPECT_EQ(page.str(), MetricsPage());
}

}  // namespace
}  // namespace overlay::server
