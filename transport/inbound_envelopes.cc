#include "transport/inbound_envelopes.h"

#include <algorithm>
#include <utility>

#include "flood/base/check.h"

namespace overlay::transport {

InboundEnvelopes::Outcome InboundEnvelopes::OnOpened(int64_t stream) {
  if (streams_.contains(stream) || refused_.contains(stream)) return Outcome::kIgnored;
  if (cost_bytes_ + kUnknownStreamCostBytes > options_.budget_bytes) return Outcome::kOverBudget;
  Stream state;
  state.progress_at = activity_;
  state.by_progress = by_progress_.insert(by_progress_.end(), stream);
  cost_bytes_ += state.cost();
  streams_.emplace(stream, std::move(state));
  return Outcome::kIncomplete;
}

InboundEnvelopes::Outcome InboundEnvelopes::OnData(int64_t stream, absl::Span<const uint8_t> data,
                                                   bool fin, Bytes& envelope) {
  auto it = streams_.find(stream);
  if (it == streams_.end()) return Outcome::kIgnored;
  Stream& state = it->second;
  const size_t size = state.bytes.size() + data.size();
  if (size > options_.envelope_bytes_max) return Outcome::kTooLarge;
  if (fin) {
    if (size == 0) {
      Forget(stream);
      return Outcome::kEmpty;
    }
    if (state.bytes.empty()) {
      envelope = Bytes::Copy(data);
    } else {
      state.bytes.insert(state.bytes.end(), data.begin(), data.end());
      cost_bytes_ += data.size();
      std::vector<uint8_t> bytes = state.bytes;  // exactly its size: it may be kept for minutes
      envelope = Bytes::Take(std::move(bytes));
    }
    Forget(stream);
    return Outcome::kComplete;
  }
  const size_t others_bytes = cost_bytes_ - state.cost();
  if (others_bytes + size + kIncompleteStreamCostBytes > options_.budget_bytes) {
    return Outcome::kOverBudget;
  }
  state.kind_known = true;
  state.bytes.insert(state.bytes.end(), data.begin(), data.end());
  cost_bytes_ = others_bytes + state.cost();
  state.progress_at = activity_;
  by_progress_.splice(by_progress_.end(), by_progress_, state.by_progress);
  return Outcome::kIncomplete;
}

void InboundEnvelopes::OnClosed(int64_t stream) {
  Forget(stream);
  refused_.erase(stream);
}

void InboundEnvelopes::OnRefused(int64_t stream) {
  Forget(stream);
  refused_.insert(stream);
}

void InboundEnvelopes::OnPeerData(Time now) {
  if (data_at_ != Time::min() && now > data_at_) {
    activity_ += std::min<Duration>(now - data_at_, kActivityGapMax);
  }
  data_at_ = std::max(data_at_, now);
}

std::vector<int64_t> InboundEnvelopes::Expire() const {
  std::vector<int64_t> expired;
  for (int64_t stream : by_progress_) {
    if (activity_ - streams_.at(stream).progress_at < options_.progress_timeout) break;
    expired.push_back(stream);
  }
  return expired;
}

void InboundEnvelopes::Forget(int64_t stream) {
  auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  cost_bytes_ -= it->second.cost();
  by_progress_.erase(it->second.by_progress);
  streams_.erase(it);
}

void InboundEnvelopes::CheckInvariants() const {
  size_t cost = 0;
  for (const auto& [id, state] : streams_) {
    cost += state.cost();
    OVERLAY_CHECK(*state.by_progress == id);
    OVERLAY_CHECK(!refused_.contains(id));
    OVERLAY_CHECK(state.bytes.size() <= options_.envelope_bytes_max);
  }
  OVERLAY_CHECK(cost == cost_bytes_);
  OVERLAY_CHECK(cost_bytes_ <= options_.budget_bytes);
  OVERLAY_CHECK(by_progress_.size() == streams_.size());
}

}  // namespace overlay::transport
