#include "tests/sim/bulk_net.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "flood/base/check.h"
#include "flood/base/crypto.h"
#include "flood/base/random.h"

namespace overlay::transport {
namespace {

using namespace std::chrono_literals;

constexpr size_t kSetBytes = 10'000'000;
constexpr Duration kEnvelopeGap = 5ms;
constexpr size_t kForeignEnvelopeBytes = 48 * kKiB;
// Together more than the path and its queue hold.
constexpr size_t kForeignOutstanding = 48;

// What an envelope begins with; the rest is zeros.
struct EnvelopeHead {
  uint64_t number;
  uint64_t flow;
};
constexpr size_t kEnvelopeBytes = 300;

}  // namespace

BulkNet::BulkNet(const Link& link)
    : link_(link),
      net_({.delay = link.round_trip / 2,
            .jitter = link.jitter,
            .keeps_order = true,
            .loss = link.loss,
            .bytes_per_second = link.megabits_per_second * 125'000,
            .queue_bytes = link.queue_bytes,
            .shared_by_receiver = true}),
      rate_megabits_(link.megabits_per_second),
      measured_from_(net_.now()) {
  std::vector<uint8_t> bytes(kSetBytes);
  Random(1).Fill(absl::MakeSpan(bytes));
  set_ = Bytes::Copy(bytes);
  key_ = {SetKind::kTxSet, HashOf<SetHash>(set_.span())};
  net_.set_records(false);
  net_.set_on_event([this](size_t node, const PeerEvent& event) { OnEvent(node, event); });
}

bool BulkNet::Join(size_t from, size_t to) {
  for (; node_count_ <= std::max(from, to); ++node_count_) net_.AddNode();
  return net_.PeerAt(from, to).has_value() || net_.Join(from, to);
}

bool BulkNet::AddFlow(size_t from, size_t to) { return AddFlow(from, to, Flow()); }

bool BulkNet::AddFlow(size_t from, size_t to, const Flow& flow) {
  if (!Join(from, to)) return false;
  FlowState& added = flows_.emplace_back();
  added.from = from;
  added.to = to;
  added.options = flow;
  added.envelope_at = net_.now();
  added.ask_at.push(net_.now());
  return true;
}

bool BulkNet::AddForeign(size_t from, size_t to) {
  if (!Join(from, to)) return false;
  foreign_.push_back({from, to});
  return true;
}

void BulkNet::SetRate(uint64_t megabits_per_second) {
  rate_megabits_ = megabits_per_second;
  net_.set_rate(megabits_per_second * 125'000);
}

// ---- running ----------------------------------------------------------------------------------

void BulkNet::Run(Duration time) {
  const Time until = net_.now() + time;
  while (net_.now() < until) {
    Time next = until;
    for (size_t flow = 0; flow < flows_.size(); ++flow) {
      FlowState& state = flows_[flow];
      if (net_.now() >= state.envelope_at) SendEnvelope(flow);
      while (!state.ask_at.empty() && state.ask_at.front() <= net_.now()) AskForSet(flow);
      next = std::min(next, state.envelope_at);
    }
    for (Foreign& foreign : foreign_) Fill(foreign);
    while (!asked_.empty()) Answer();
    net_.RunUntil([this] { return IsTimeToAct(); }, next - net_.now());
  }
}

bool BulkNet::IsTimeToAct() const {
  return !asked_.empty() || std::any_of(flows_.begin(), flows_.end(), [&](const FlowState& flow) {
    return !flow.ask_at.empty() && flow.ask_at.front() <= net_.now();
  }) || std::any_of(foreign_.begin(), foreign_.end(), [](const Foreign& foreign) {
    return foreign.outstanding < kForeignOutstanding;
  });
}

void BulkNet::SendEnvelope(size_t flow) {
  FlowState& state = flows_[flow];
  std::array<uint8_t, kEnvelopeBytes> envelope{};
  const EnvelopeHead head{sent_at_.size(), flow};
  std::memcpy(envelope.data(), &head, sizeof(head));
  sent_at_.push_back(net_.now());
  state.envelope_at += kEnvelopeGap;
  ++envelopes_sent_;
  net_.Do(
      state.from,
      overlay::SendEnvelope{
          *net_.PeerAt(state.from, state.to), {head.number}, LedgerSeq{1}, Bytes::Copy(envelope)});
}

void BulkNet::AskForSet(size_t flow) {
  FlowState& state = flows_[flow];
  state.ask_at.pop();
  const RequestId id{next_request_++};
  requests_[id] = {flow, net_.now()};
  net_.Do(state.to, RequestSet{*net_.PeerAt(state.to, state.from), id, {key_, false, 0}});
}

void BulkNet::Answer() {
  const Asked asked = asked_.front();
  asked_.pop();
  net_.Do(asked.node, AnswerSet{asked.request.peer,
                                asked.request.request,
                                {true, SetEncoding::kIdentity, kSetBytes, kSetBytes},
                                set_});
}

void BulkNet::Fill(Foreign& foreign) {
  const std::vector<uint8_t> envelope(kForeignEnvelopeBytes);
  while (foreign.outstanding < kForeignOutstanding) {
    ++foreign.outstanding;
    net_.Do(foreign.from, overlay::SendEnvelope{*net_.PeerAt(foreign.from, foreign.to),
                                                {next_foreign_++},
                                                LedgerSeq{1},
                                                Bytes::Copy(envelope)});
  }
}

void BulkNet::OnEvent(size_t node, const PeerEvent& event) {
  if (const auto* received = std::get_if<EnvelopeReceived>(&event)) {
    if (received->envelope.size() == kEnvelopeBytes) OnEnvelope(received->envelope);
  } else if (const auto* done = std::get_if<EnvelopeDone>(&event)) {
    if (done->token.value < uint64_t{1} << 32) return;
    for (Foreign& foreign : foreign_) {
      if (foreign.from == node) --foreign.outstanding;
    }
  } else if (const auto* asked = std::get_if<SetRequested>(&event)) {
    asked_.push({node, *asked});
  } else if (const auto* data = std::get_if<SetDataReceived>(&event)) {
    OnSetData(*data);
  } else if (const auto* ended = std::get_if<RequestEnded>(&event)) {
    OnSetEnded(*ended);
  }
}

void BulkNet::OnEnvelope(const Bytes& envelope) {
  EnvelopeHead head;
  std::memcpy(&head, envelope.data(), sizeof(head));
  ++envelopes_received_;
  flows_.at(head.flow).waits.push_back(net_.now() - sent_at_.at(head.number) -
                                       link_.round_trip / 2);
}

void BulkNet::OnSetData(const SetDataReceived& data) {
  Request& request = requests_.at(data.request);
  FlowState& flow = flows_[request.flow];
  flow.set_bytes += data.data.size();
  const bool was_half = request.received >= kSetBytes / 2;
  request.received += data.data.size();
  if (!flow.options.one_at_a_time && !was_half && request.received >= kSetBytes / 2) {
    flow.ask_at.push(net_.now());
  }
}

void BulkNet::OnSetEnded(const RequestEnded& ended) {
  OVERLAY_CHECK(ended.complete);
  const Request request = requests_.at(ended.request);
  requests_.erase(ended.request);
  FlowState& flow = flows_[request.flow];
  flow.set_times.push_back(net_.now() - request.asked_at);
  if (flow.options.one_at_a_time) flow.ask_at.push(net_.now() + flow.options.idle_between_sets);
}

// ---- figures ----------------------------------------------------------------------------------

void BulkNet::Measure() {
  for (FlowState& flow : flows_) {
    flow.waits.clear();
    flow.set_times.clear();
    flow.set_bytes = 0;
  }
  measured_from_ = net_.now();
}

size_t BulkNet::envelopes() const {
  size_t count = 0;
  for (const FlowState& flow : flows_) count += flow.waits.size();
  return count;
}

Duration BulkNet::WaitAt(double share) const {
  std::vector<Duration> waits;
  for (const FlowState& flow : flows_) {
    waits.insert(waits.end(), flow.waits.begin(), flow.waits.end());
  }
  if (waits.empty()) return Duration::max();
  std::sort(waits.begin(), waits.end());
  const auto rank = static_cast<size_t>(share * static_cast<double>(waits.size()));
  return waits[std::min(rank, waits.size() - 1)];
}

double BulkNet::Use(size_t flow) const {
  const double capacity =
      static_cast<double>(rate_megabits_) * 125'000 * ToSeconds(net_.now() - measured_from_);
  return static_cast<double>(flows_[flow].set_bytes) / capacity;
}

double BulkNet::Use() const {
  double use = 0;
  for (size_t flow = 0; flow < flows_.size(); ++flow) use += Use(flow);
  return use;
}

double BulkNet::JainIndex() const {
  double sum = 0;
  double squares = 0;
  for (const FlowState& flow : flows_) {
    const auto bytes = static_cast<double>(flow.set_bytes);
    sum += bytes;
    squares += bytes * bytes;
  }
  return sum * sum / (squares * static_cast<double>(flows_.size()));
}

}  // namespace overlay::transport
