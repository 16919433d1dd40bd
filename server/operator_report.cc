#include "server/operator_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "flood/base/crypto.h"
#include "server/session_call.h"

namespace overlay::server {
namespace {

// operator.proto says so.
constexpr int kTracePeersMax = 1000;

void Add(v1::MetricsResponse& response, const std::string& name, v1::MetricSample::Kind kind,
         const prometheus::ClientMetric& metric, double value, const std::string& bucket = "") {
  v1::MetricSample* sample = response.add_samples();
  sample->set_name(name);
  sample->set_kind(kind);
  sample->set_value(value);
  for (const auto& label : metric.label) {
    v1::MetricLabel* out = sample->add_labels();
    out->set_name(label.name);
    out->set_value(label.value);
  }
  if (bucket.empty()) return;
  v1::MetricLabel* out = sample->add_labels();
  out->set_name("le");
  out->set_value(bucket);
}

uint64_t Millis(Duration d) {
  return d.count() <= 0 ? 0 : static_cast<uint64_t>(ToMicros(d) / 1000);
}

v1::PeerDetail::State ToState(flood::PeerView::State state) {
  switch (state) {
    case flood::PeerView::State::kConnected:
      return v1::PeerDetail::STATE_CONNECTED;
    case flood::PeerView::State::kResolving:
      return v1::PeerDetail::STATE_RESOLVING;
    case flood::PeerView::State::kDialling:
      return v1::PeerDetail::STATE_DIALLING;
    case flood::PeerView::State::kWaiting:
      return v1::PeerDetail::STATE_WAITING;
    case flood::PeerView::State::kLost:
      return v1::PeerDetail::STATE_LOST;
  }
  return v1::PeerDetail::STATE_UNSPECIFIED;
}

void AddClasses(const transport::PeerStats& peer, v1::PeerDetail& out) {
  static constexpr v1::TrafficClass kClasses[] = {v1::TRAFFIC_CLASS_SCP, v1::TRAFFIC_CLASS_CONTROL,
                                                  v1::TRAFFIC_CLASS_SETS,
                                                  v1::TRAFFIC_CLASS_TRANSACTIONS};
  for (size_t i = 0; i < peer.sent.size() && i < std::size(kClasses); ++i) {
    v1::ClassTraffic* traffic = out.add_classes();
    traffic->set_traffic_class(kClasses[i]);
    traffic->set_queued_messages(peer.queued_count[i]);
    traffic->set_queued_bytes(peer.queued_bytes[i]);
    traffic->set_messages_sent(peer.sent[i].messages);
    traffic->set_bytes_sent(peer.sent[i].bytes);
    traffic->set_messages_received(peer.received[i].messages);
    traffic->set_bytes_received(peer.received[i].bytes);
  }
}

void AddStats(const transport::PeerStats& peer, v1::PeerDetail& detail) {
  detail.set_address(peer.info.address.ToString());
  detail.set_direction(peer.info.inbound ? v1::DIRECTION_INBOUND : v1::DIRECTION_OUTBOUND);
  detail.set_agent(peer.info.agent);
  detail.set_connected_ms(Millis(peer.age));
  detail.set_rtt_us(
      static_cast<uint64_t>(std::max<int64_t>(0, ToMicros(peer.connection.smoothed_rtt))));
  if (peer.clock_offset) detail.set_clock_offset_us(ToMicros(*peer.clock_offset));
  detail.set_bytes_sent(peer.connection.sent_bytes);
  detail.set_bytes_received(peer.connection.received_bytes);
  AddClasses(peer, detail);
}

v1::KnownAddress::Source ToSource(flood::AddressSource source) {
  switch (source) {
    case flood::AddressSource::kFile:
      return v1::KnownAddress::SOURCE_FILE;
    case flood::AddressSource::kCore:
      return v1::KnownAddress::SOURCE_CORE;
    case flood::AddressSource::kOperator:
      return v1::KnownAddress::SOURCE_OPERATOR;
    case flood::AddressSource::kListens:
      return v1::KnownAddress::SOURCE_LISTENS;
  }
  return v1::KnownAddress::SOURCE_UNSPECIFIED;
}

void AddRecord(Time now, const flood::KnownPeer& known, v1::PeerRecord& out) {
  for (const flood::KnownAddress& each : known.addresses) {
    v1::KnownAddress* address = out.add_addresses();
    address->set_address(each.address.ToString());
    address->set_source(ToSource(each.source));
    if (each.last_success) address->set_last_success_ms(Millis(now - *each.last_success));
  }
  if (known.state != flood::PeerState::kConnected)
    out.set_last_seen_ms(Millis(now - known.last_seen));
  out.set_connected_total(known.connected_total);
  if (known.lost_reason) out.set_lost_reason(std::string(CloseReasonName(*known.lost_reason)));
  if (const auto rtt = known.rtt.At(now)) out.set_rtt_us(static_cast<uint64_t>(*rtt * 1e6));
  out.set_bytes_sent(known.bytes_sent.At(now));
  out.set_bytes_received(known.bytes_received.At(now));
  out.set_first_envelopes(known.first_envelopes.At(now));
  out.set_first_transactions(known.first_transactions.At(now));
  out.set_fetches_ok(known.fetches_ok.At(now));
  out.set_fetches_failed(known.fetches_failed.At(now));
  out.set_worth(known.Worth(now));
}

v1::AskedPeer::Result ToResult(flood::AskState state) {
  switch (state) {
    case flood::AskState::kNotAsked:
      return v1::AskedPeer::RESULT_NOT_ASKED;
    case flood::AskState::kAsked:
      return v1::AskedPeer::RESULT_ASKED;
    case flood::AskState::kNotFound:
      return v1::AskedPeer::RESULT_NOT_FOUND;
    case flood::AskState::kSilent:
      return v1::AskedPeer::RESULT_SILENT;
    case flood::AskState::kBad:
      return v1::AskedPeer::RESULT_BAD;
    case flood::AskState::kBroken:
      return v1::AskedPeer::RESULT_BROKEN;
  }
  return v1::AskedPeer::RESULT_UNSPECIFIED;
}

v1::TransactionTrace::Place ToPlace(flood::TxTrace::Place place) {
  using Place = flood::TxTrace::Place;
  switch (place) {
    case Place::kUnknown:
      return v1::TransactionTrace::PLACE_UNKNOWN;
    case Place::kAnnounced:
      return v1::TransactionTrace::PLACE_ANNOUNCED;
    case Place::kAsked:
      return v1::TransactionTrace::PLACE_ASKED;
    case Place::kPending:
      return v1::TransactionTrace::PLACE_PENDING;
    case Place::kPooled:
      return v1::TransactionTrace::PLACE_POOLED;
    case Place::kRemembered:
      return v1::TransactionTrace::PLACE_REFUSED;
  }
  return v1::TransactionTrace::PLACE_UNSPECIFIED;
}

v1::SetTrace::Place ToPlace(flood::SetTrace::Place place) {
  using Place = flood::SetTrace::Place;
  switch (place) {
    case Place::kUnknown:
      return v1::SetTrace::PLACE_UNKNOWN;
    case Place::kWanted:
      return v1::SetTrace::PLACE_WANTED;
    case Place::kCached:
      return v1::SetTrace::PLACE_CACHED;
    case Place::kOffered:
      return v1::SetTrace::PLACE_OFFERED;
  }
  return v1::SetTrace::PLACE_UNSPECIFIED;
}

v1::TransactionTrace::Fate ToFate(flood::TxFate fate) {
  switch (fate) {
    case flood::TxFate::kExternalized:
      return v1::TransactionTrace::FATE_EXTERNALIZED;
    case flood::TxFate::kMalformed:
      return v1::TransactionTrace::FATE_MALFORMED;
    case flood::TxFate::kStale:
      return v1::TransactionTrace::FATE_STALE;
    case flood::TxFate::kAged:
      return v1::TransactionTrace::FATE_AGED;
    case flood::TxFate::kLater:
      return v1::TransactionTrace::FATE_LATER;
  }
  return v1::TransactionTrace::FATE_UNSPECIFIED;
}

v1::AskedPeer ToAsked(Time now, const NodeKey& peer, flood::AskState state,
                      const std::optional<Time>& asked_at) {
  v1::AskedPeer out;
  out.set_peer(ToStrkey(peer));
  out.set_result(ToResult(state));
  if (asked_at) out.set_asked_ms(Millis(now - *asked_at));
  return out;
}

}  // namespace

v1::TransactionTrace ToTrace(Time now, const flood::TxTrace& trace) {
  v1::TransactionTrace out;
  out.set_place(ToPlace(trace.place));
  if (trace.fate) out.set_fate(ToFate(*trace.fate));
  for (const flood::TxTrace::Announcer& each : trace.announcers) {
    *out.add_announcers() = ToAsked(now, each.peer, each.state, each.asked_at);
  }
  if (trace.size_bytes == 0) return out;  // it is not here
  out.set_size_bytes(trace.size_bytes);
  out.set_fee(trace.bid.fee);
  out.set_operations(trace.bid.operations);
  out.set_lane(trace.bid.lane == Lane::kSoroban ? v1::LANE_SOROBAN : v1::LANE_CLASSIC);
  out.set_account(ToBytes(trace.account.view()));
  out.set_sequence(trace.sequence);
  if (trace.from) out.set_from(ToStrkey(*trace.from));
  out.set_arrived_ms(Millis(now - trace.arrived));
  if (trace.pooled_at) out.set_pooled_ms(Millis(now - *trace.pooled_at));
  out.set_offers(trace.offers);
  for (const NodeKey& key : trace.known_by) {
    if (out.known_by_size() < kTracePeersMax) out.add_known_by(ToStrkey(key));
  }
  return out;
}

v1::SetTrace ToTrace(Time now, const flood::SetTrace& trace) {
  v1::SetTrace out;
  out.set_place(ToPlace(trace.place));
  out.set_wanted_by_core(trace.wanted_by_core);
  out.set_named_by_peers(trace.named_by_peers);
  if (trace.slot) out.set_slot(trace.slot->value);
  out.set_received_bytes(trace.received_bytes);
  out.set_total_bytes(trace.total_bytes);
  for (const flood::SetTrace::Source& source : trace.sources) {
    *out.add_sources() = ToAsked(now, source.key, source.state, source.asked_at);
  }
  out.set_passes(trace.passes);
  if (trace.next_pass) out.set_next_pass_ms(Millis(*trace.next_pass - now));
  out.set_size_bytes(trace.size_bytes);
  out.set_guest(trace.guest);
  out.set_externalized(trace.externalized);
  for (const NodeKey& key : trace.held_by) {
    if (out.held_by_size() < kTracePeersMax) out.add_held_by(ToStrkey(key));
  }
  return out;
}

v1::MetricsResponse ToResponse(const std::vector<prometheus::MetricFamily>& families) {
  v1::MetricsResponse response;
  for (const prometheus::MetricFamily& family : families) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      switch (family.type) {
        case prometheus::MetricType::Counter:
          Add(response, family.name, v1::MetricSample::KIND_COUNTER, metric, metric.counter.value);
          break;
        case prometheus::MetricType::Histogram: {
          constexpr auto kKind = v1::MetricSample::KIND_HISTOGRAM;
          for (const auto& bucket : metric.histogram.bucket) {
            Add(response, family.name + "_bucket", kKind, metric,
                static_cast<double>(bucket.cumulative_count),
                std::isinf(bucket.upper_bound) ? "+Inf" : fmt::format("{}", bucket.upper_bound));
          }
          Add(response, family.name + "_sum", kKind, metric, metric.histogram.sample_sum);
          Add(response, family.name + "_count", kKind, metric,
              static_cast<double>(metric.histogram.sample_count));
          break;
        }
        default:
          Add(response, family.name, v1::MetricSample::KIND_GAUGE, metric, metric.gauge.value);
          break;
      }
    }
  }
  return response;
}

std::vector<v1::PeerDetail> ToDetails(Time now, const std::vector<flood::PeerView>& peers,
                                      const std::vector<transport::PeerStats>& connected) {
  std::map<PeerId, const transport::PeerStats*> stats_of;
  for (const transport::PeerStats& stats : connected) stats_of.emplace(stats.peer, &stats);
  std::vector<v1::PeerDetail> details;
  for (const flood::PeerView& peer : peers) {
    v1::PeerDetail detail;
    detail.set_state(ToState(peer.state));
    if (peer.key) {
      detail.set_peer(ToBytes(peer.key->view()));
      detail.set_peer_strkey(ToStrkey(*peer.key));
    }
    if (peer.address) detail.set_address(peer.address->ToString());
    detail.set_configured(peer.configured);
    detail.set_banned(peer.banned);
    detail.set_preferred(peer.preferred);
    if (peer.state == flood::PeerView::State::kConnected) {
      detail.set_core_present(peer.core_present);
      detail.set_score(peer.score);
      const auto stats = peer.peer ? stats_of.find(*peer.peer) : stats_of.end();
      if (stats != stats_of.end()) AddStats(*stats->second, detail);
    } else {
      if (peer.next_try) detail.set_next_dial_ms(Millis(*peer.next_try - now));
      detail.set_dials_failed(peer.failures);
    }
    if (peer.not_resolved) {
      detail.set_last_reason("not_resolved");
    } else if (peer.last_reason) {
      detail.set_last_reason(std::string(CloseReasonName(*peer.last_reason)));
    }
    if (peer.known) AddRecord(now, *peer.known, *detail.mutable_record());
    details.push_back(std::move(detail));
  }
  std::sort(details.begin(), details.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.peer().empty(), a.peer(), a.configured(), a.address()) <
           std::tuple(b.peer().empty(), b.peer(), b.configured(), b.address());
  });
  return details;
}

std::vector<v1::NameDetail> ToDetails(Time now, const std::vector<flood::NameView>& names) {
  const auto state_of = [](flood::NameView::State state) {
    switch (state) {
      case flood::NameView::State::kAsking:
        return v1::NameDetail::STATE_ASKING;
      case flood::NameView::State::kOk:
        return v1::NameDetail::STATE_OK;
      case flood::NameView::State::kFailed:
        return v1::NameDetail::STATE_FAILED;
    }
    return v1::NameDetail::STATE_UNSPECIFIED;
  };
  std::vector<v1::NameDetail> details;
  for (const flood::NameView& name : names) {
    v1::NameDetail& detail = details.emplace_back();
    detail.set_host(name.host);
    detail.set_services(name.services);
    detail.set_state(state_of(name.state));
    for (const SocketAddress& address : name.addresses) {
      detail.add_addresses(address.port == 0 ? address.IpText() : address.ToString());
    }
    if (name.ttl) detail.set_ttl_ms(Millis(*name.ttl));
    detail.set_error(name.error);
    detail.set_failures(name.failures);
    if (name.next_try) detail.set_next_try_ms(Millis(*name.next_try - now));
  }
  return details;
}

std::vector<v1::BanDetail> ToDetails(Time now, const flood::BanList& bans) {
  std::vector<v1::BanDetail> details;
  for (const auto& [key, ban] : bans.bans()) {
    if (!bans.Contains(now, key)) continue;  // it is over
    v1::BanDetail& detail = details.emplace_back();
    detail.set_peer(ToStrkey(key));
    detail.set_by(ban.by == flood::BannedBy::kOperator ? v1::BanDetail::BY_OPERATOR
                                                       : v1::BanDetail::BY_SCORE);
    detail.set_since_ms(Millis(now - ban.since));
    if (ban.until != kTimeNever) detail.set_left_ms(Millis(ban.until - now));
    detail.set_reason(ban.reason);
  }
  return details;
}

v1::StatusResponse ToStatusResponse(Time now, const flood::NodeStats& node,
                                    const CoreSessions& sessions) {
  v1::StatusResponse status;
  if (const CoreSession* core = sessions.core()) {
    v1::CoreState* out = status.mutable_core();
    out->set_session(core->number);
    out->set_agent(core->agent);
    out->set_attached_ms(Millis(now - core->attached_at));
    out->set_tracking(core->tracking);
    out->set_judges_transactions(core->judges);
    out->set_scp_queue_messages(sessions.scp_queue_messages());
  }
  status.set_observers(static_cast<uint32_t>(sessions.observer_count()));
  if (node.slots.newest_closed.value != 0)
    status.set_newest_closed_slot(node.slots.newest_closed.value);
  status.set_peers_connected(static_cast<uint32_t>(node.peers.connected));
  status.set_peers_inbound(static_cast<uint32_t>(node.peers.inbound));
  status.set_peers_dialling(static_cast<uint32_t>(node.peers.dialling));
  status.set_envelopes_kept(node.scp.kept_envelopes);
  status.set_envelopes_kept_bytes(node.scp.kept_bytes);
  status.set_mempool_transactions(node.tx.mempool_count);
  status.set_mempool_pending(node.tx.pending_count);
  status.set_mempool_bytes(node.tx.mempool_bytes);
  status.set_sets_cached(node.sets.cached_count + node.sets.quorum_sets);
  status.set_sets_cached_bytes(node.sets.cached_bytes);
  status.set_sets_fetching(node.sets.fetching);
  if (node.scp.last_received != Time{})
    status.set_last_envelope_age_ms(Millis(now - node.scp.last_received));
  if (node.tx.last_received != Time{})
    status.set_last_transaction_age_ms(Millis(now - node.tx.last_received));
  if (node.sets.last_received != Time{})
    status.set_last_set_age_ms(Millis(now - node.sets.last_received));
  return status;
}

}  // namespace overlay::server
