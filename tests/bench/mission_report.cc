#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

#include "tests/bench/modes.h"

namespace overlay::bench {
namespace {

std::string Text(const Samples& samples, double share) {
  const auto micros = samples.Micros(share);
  return micros ? fmt::format("{:.0f}", *micros) : "-";
}
std::string Json(const Samples& samples, double share) {
  const auto micros = samples.Micros(share);
  return micros ? fmt::format("{:.1f}", *micros) : "null";
}

std::string Row(const char* name, uint64_t sent, const Samples& samples, uint64_t lost,
                uint64_t repeated) {
  return fmt::format(
      "{:<13} {:>8} sent {:>8} delivered {:>6} lost {:>6} twice   p50 {} us   p99 {}\n", name, sent,
      samples.size(), lost, repeated, Text(samples, 0.5), Text(samples, 0.99));
}
std::string Object(uint64_t sent, const Samples& samples, uint64_t lost, uint64_t repeated) {
  return fmt::format(
      R"({{"sent":{},"delivered":{},"lost":{},"duplicated":{},"p50_us":{},"p99_us":{}}})", sent,
      samples.size(), lost, repeated, Json(samples, 0.5), Json(samples, 0.99));
}

// From the sample at a third of the time on.
double Growth(const MissionResult& result) {
  const size_t third = result.rss_mb.size() / 3;
  return third == 0 ? 0 : result.rss_mb.back() - result.rss_mb[third - 1];
}

}  // namespace

std::string MissionText(const MissionOptions& options, const MissionResult& result) {
  const SentLoad& sent = result.sent;
  std::string text = fmt::format(
      "mission: {} peers, {} tx/s, {} envelopes/s, a set of {:.1f} MB each 0.6 s, {} s\n",
      options.peers, options.tps, options.envelopes_per_second,
      static_cast<double>(options.set_bytes) / 1e6, options.seconds);
  text += Row("transactions", sent.transactions, result.transactions, result.transactions_lost,
              result.transactions_repeated);
  text += Row("envelopes", sent.envelopes, result.envelopes, result.envelopes_lost,
              result.envelopes_repeated);
  text += Row("sets", result.sets_named, result.sets, result.sets_named - result.sets.size(), 0);
  text += fmt::format("TxSetExternalized   p50 {} us   p99 {}\n", Text(result.externalized, 0.5),
                      Text(result.externalized, 0.99));
  text += fmt::format("CPU in cores: daemon {:.2f}, core {:.2f}, peers {:.2f}\n",
                      result.daemon_cores, result.core_cores, result.peers_cores);
  text += fmt::format(
      "loop: {:.0f} turns/s, p99 {:.0f} us, p99.9 {:.0f} us; outside class 0 p99 {:.0f} us, p99.9 "
      "{:.0f} us\n",
      result.turns_per_second, result.turn_p99_us, result.turn_p999_us, result.turn_other_p99_us,
      result.turn_other_p999_us);
  text += fmt::format("RSS at each sixth: {:.1f} MB; {:+.1f} MB since the second\n",
                      fmt::join(result.rss_mb, ", "), Growth(result));
  text += fmt::format("peers: {} of {} ticks late, worst {} us; {} bodies and {} sets served\n",
                      sent.ticks_late, sent.ticks, sent.worst_lag_us, sent.bodies_served,
                      sent.sets_served);
  return text;
}

std::string MissionJson(const MissionOptions& options, const MissionResult& result) {
  const SentLoad& sent = result.sent;
  std::string text = fmt::format(
      R"({{"mode":"mission","valid":{},"reason":"{}","peers":{},"tps":{},"envelopes_per_s":{},)",
      result.invalid.empty(), result.invalid, options.peers, options.tps,
      options.envelopes_per_second);
  text += fmt::format(R"("set_bytes":{},"seconds":{},"daemon_cores":{:.3f},"core_cores":{:.3f},)"
                      R"("peers_cores":{:.3f},)",
                      options.set_bytes, options.seconds, result.daemon_cores, result.core_cores,
                      result.peers_cores);
  text += fmt::format(R"("turns_per_s":{:.0f},"turn_p99_us":{:.1f},"turn_p999_us":{:.1f},)",
                      result.turns_per_second, result.turn_p99_us, result.turn_p999_us);
  text += fmt::format(R"("turn_other_p99_us":{:.1f},"turn_other_p999_us":{:.1f},)",
                      result.turn_other_p99_us, result.turn_other_p999_us);
  text += fmt::format(R"("rss_mb":[{:.1f}],"rss_growth_mb":{:.1f},)", fmt::join(result.rss_mb, ","),
                      Growth(result));
  text += fmt::format(
      R"("transactions":{},"envelopes":{},"sets":{},)",
      Object(sent.transactions, result.transactions, result.transactions_lost,
             result.transactions_repeated),
      Object(sent.envelopes, result.envelopes, result.envelopes_lost, result.envelopes_repeated),
      Object(result.sets_named, result.sets, result.sets_named - result.sets.size(), 0));
  text +=
      fmt::format(R"("externalized_p99_us":{},"ticks":{},"ticks_late":{},"worst_lag_us":{}}})",
                  Json(result.externalized, 0.99), sent.ticks, sent.ticks_late, sent.worst_lag_us);
  return text;
}

}  // namespace overlay::bench
