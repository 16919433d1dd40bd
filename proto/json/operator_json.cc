#include "proto/json/operator_json.h"

#include <fmt/format.h>

#include <cctype>
#include <vector>

#include "flood/base/ids.h"

namespace overlay {
namespace {

std::string RecordJson(const v1::PeerRecord& r) {
  std::vector<std::string> addresses;
  for (const v1::KnownAddress& known : r.addresses()) {
    JsonObject address;
    address.Text("address", known.address());
    address.Text("source", Plain(v1::KnownAddress::Source_Name(known.source())));
    if (known.has_last_success_ms()) address.Number("last_success_ms", known.last_success_ms());
    addresses.push_back(address.Done());
  }
  JsonObject out;
  out.List("addresses", addresses);
  if (r.has_last_seen_ms()) out.Number("last_seen_ms", r.last_seen_ms());
  out.Number("connected_total", r.connected_total()).Text("lost_reason", r.lost_reason());
  if (r.has_rtt_us()) out.Number("rtt_us", r.rtt_us());
  out.Number("bytes_sent", r.bytes_sent()).Number("bytes_received", r.bytes_received());
  out.Number("first_envelopes", r.first_envelopes());
  out.Number("first_transactions", r.first_transactions());
  out.Number("fetches_ok", r.fetches_ok()).Number("fetches_failed", r.fetches_failed());
  return out.Number("worth", r.worth()).Done();
}

}  // namespace

std::string Plain(const std::string& name) {
  std::string out = name.substr(name.find('_') + 1);
  for (char& c : out) c = c == '_' ? ' ' : static_cast<char>(std::tolower(c));
  return out;
}

std::string ToJson(const v1::StatusResponse& s) {
  JsonObject out;
  out.Text("node", s.node_strkey())
      .Text("network_id", HexEncode({reinterpret_cast<const uint8_t*>(s.network_id().data()),
                                     s.network_id().size()}));
  out.Text("version", s.version())
      .Number("uptime_ms", s.uptime_ms())
      .Bool("draining", s.draining())
      .Bool("ready", s.ready())
      .Text("not_ready", s.not_ready());
  out.Text("peer_address", s.peer_address()).Text("core_address", s.core_address());
  out.Text("operator_address", s.operator_address()).Text("metrics_address", s.metrics_address());
  out.Text("http3_address", s.http3_address());
  if (s.has_core()) {
    JsonObject core;
    core.Number("session", s.core().session()).Text("agent", s.core().agent());
    core.Number("attached_ms", s.core().attached_ms()).Bool("tracking", s.core().tracking());
    core.Bool("judges_transactions", s.core().judges_transactions());
    core.Number("scp_queue_messages", s.core().scp_queue_messages());
    out.Raw("core", core.Done());
  } else {
    out.Raw("core", "null");
  }
  const auto optional = [&out](const char* name, bool has, uint64_t value) {
    if (has) {
      out.Number(name, value);
    } else {
      out.Raw(name, "null");
    }
  };
  out.Number("observers", s.observers());
  optional("newest_closed_slot", s.has_newest_closed_slot(), s.newest_closed_slot());
  out.Number("peers_connected", s.peers_connected()).Number("peers_inbound", s.peers_inbound());
  out.Number("peers_dialling", s.peers_dialling());
  out.Number("envelopes_kept", s.envelopes_kept())
      .Number("envelopes_kept_bytes", s.envelopes_kept_bytes());
  out.Number("mempool_transactions", s.mempool_transactions());
  out.Number("mempool_pending", s.mempool_pending()).Number("mempool_bytes", s.mempool_bytes());
  out.Number("sets_cached", s.sets_cached()).Number("sets_cached_bytes", s.sets_cached_bytes());
  out.Number("sets_fetching", s.sets_fetching());
  optional("last_envelope_age_ms", s.has_last_envelope_age_ms(), s.last_envelope_age_ms());
  optional("last_transaction_age_ms", s.has_last_transaction_age_ms(), s.last_transaction_age_ms());
  optional("last_set_age_ms", s.has_last_set_age_ms(), s.last_set_age_ms());
  return out.Done();
}

const char* StateName(v1::PeerDetail::State state) {
  switch (state) {
    case v1::PeerDetail::STATE_CONNECTED:
      return "connected";
    case v1::PeerDetail::STATE_RESOLVING:
      return "resolving";
    case v1::PeerDetail::STATE_DIALLING:
      return "dialling";
    case v1::PeerDetail::STATE_WAITING:
      return "waiting";
    case v1::PeerDetail::STATE_LOST:
      return "lost";
    default:  // of a later version
      return "unknown";
  }
}

const char* DirectionName(v1::Direction direction) {
  if (direction == v1::DIRECTION_INBOUND) return "inbound";
  return direction == v1::DIRECTION_OUTBOUND ? "outbound" : "";
}

std::string ToJson(const v1::PeerDetail& p) {
  JsonObject out;
  out.Text("state", StateName(p.state()))
      .Text("peer", p.peer_strkey())
      .Text("address", p.address());
  out.Text("configured", p.configured()).Bool("preferred", p.preferred());
  out.Bool("banned", p.banned());
  out.Text("direction", DirectionName(p.direction())).Text("agent", p.agent());
  out.Number("connected_ms", p.connected_ms()).Number("rtt_us", p.rtt_us());
  if (p.has_clock_offset_us()) out.Number("clock_offset_us", p.clock_offset_us());
  out.Bool("core_present", p.core_present()).Number("score", p.score());
  out.Number("bytes_sent", p.bytes_sent()).Number("bytes_received", p.bytes_received());
  if (p.has_next_dial_ms()) out.Number("next_dial_ms", p.next_dial_ms());
  out.Number("dials_failed", p.dials_failed()).Text("last_reason", p.last_reason());
  std::vector<std::string> classes;
  for (const v1::ClassTraffic& c : p.classes()) {
    JsonObject traffic;
    traffic.Text("class", v1::TrafficClass_Name(c.traffic_class()));
    traffic.Number("queued_messages", c.queued_messages()).Number("queued_bytes", c.queued_bytes());
    traffic.Number("messages_sent", c.messages_sent()).Number("bytes_sent", c.bytes_sent());
    traffic.Number("messages_received", c.messages_received());
    traffic.Number("bytes_received", c.bytes_received());
    classes.push_back(traffic.Done());
  }
  if (p.has_record()) out.Raw("record", RecordJson(p.record()));
  return out.List("classes", classes).Done();
}

std::string PeersJson(const std::vector<std::string>& peers) {
  return JsonObject().List("peers", peers).Done();
}

}  // namespace overlay
