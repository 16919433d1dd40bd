#include "client-sdk/src/core_memory.h"

#include <algorithm>

namespace overlay::client {
namespace {

// Where an SCP envelope's XDR has its node key, slot and statement type: they come first and never
// move.
constexpr size_t kNodeAt = 4;
constexpr size_t kSlotAt = 36;
constexpr size_t kTypeAt = 44;
constexpr size_t kHeadBytes = 48;
constexpr uint32_t kNominate = 3;

uint64_t BigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

}  // namespace

void CoreMemory::OnBroadcast(std::string_view envelope) {
  if (envelope.size() < kHeadBytes) return;  // the daemon will say what is wrong with it
  const uint64_t slot = BigEndian(envelope.substr(kSlotAt, 8));
  const bool nomination = BigEndian(envelope.substr(kTypeAt, 4)) == kNominate;
  const std::lock_guard lock(mutex_);
  if (!kept_.IsKept(slot)) return;
  envelopes_[{slot, std::string(envelope.substr(kNodeAt, 32)), nomination}] = std::string(envelope);
  if (envelopes_.size() > kEnvelopesMax) envelopes_.erase(envelopes_.begin());
}

bool CoreMemory::OnDelivered(uint64_t slot, const Hash& hash) {
  const std::lock_guard lock(mutex_);
  if (!delivered_.insert({slot, hash}).second) return false;
  if (delivered_.size() > kDeliveredMax) delivered_.erase(delivered_.begin());
  return true;
}

void CoreMemory::OnDiscarded(const Hash& hash) {
  const std::lock_guard lock(mutex_);
  // Its slot is not known, but there are few slots: from the first of each to the next.
  for (auto it = delivered_.begin(); it != delivered_.end();) {
    const uint64_t slot = it->first;
    if (delivered_.erase({slot, hash}) > 0) return;
    it = slot == UINT64_MAX ? delivered_.end() : delivered_.lower_bound({slot + 1, Hash{}});
  }
}

bool CoreMemory::OnOffered(SetType type, const Hash& hash, std::shared_ptr<const std::string> bytes,
                           std::optional<uint64_t> slot) {
  const std::lock_guard lock(mutex_);
  const bool there = std::any_of(offers_.begin(), offers_.end(), [&](const Offer& offer) {
    return offer.type == type && offer.hash == hash;
  });
  if (there) return false;
  offer_bytes_ += bytes->size();
  offers_.push_back({type, hash, std::move(bytes), slot});
  ShrinkOffers();
  return true;
}

void CoreMemory::ForgetOffer(SetType type, const Hash& hash) {
  const std::lock_guard lock(mutex_);
  for (auto it = offers_.begin(); it != offers_.end(); ++it) {
    if (it->type != type || it->hash != hash) continue;
    offer_bytes_ -= it->bytes->size();
    offers_.erase(it);
    return;
  }
}

void CoreMemory::ShrinkOffers() {
  const auto erase = [this](std::deque<Offer>::iterator it) {
    offer_bytes_ -= it->bytes->size();
    return offers_.erase(it);
  };
  for (auto it = offers_.begin(); it != offers_.end();) {
    it = it->slot && !kept_.IsKept(*it->slot) ? erase(it) : std::next(it);
  }
  size_t unbound = static_cast<size_t>(std::count_if(
      offers_.begin(), offers_.end(), [](const Offer& offer) { return !offer.slot; }));
  for (auto it = offers_.begin(); it != offers_.end() && unbound > kUnboundSetsMax;) {
    if (it->slot) {
      ++it;
    } else {
      it = erase(it);
      --unbound;
    }
  }
  while (offer_bytes_ > kSetBytesMax && offers_.size() > 1) erase(offers_.begin());
}

bool CoreMemory::OnFetch(SetType type, const Hash& hash, const v1::SetFetch& fetch) {
  const std::lock_guard lock(mutex_);
  cancelled_.erase({type, hash});
  return fetches_.insert_or_assign({type, hash}, fetch).second;
}

void CoreMemory::OnCancel(SetType type, const Hash& hash) {
  const std::lock_guard lock(mutex_);
  if (fetches_.count({type, hash}) > 0) cancelled_.insert({type, hash});
}

std::vector<std::pair<SetType, Hash>> CoreMemory::TakeCancelled() {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<SetType, Hash>> taken(cancelled_.begin(), cancelled_.end());
  for (const auto& key : taken) fetches_.erase(key);
  cancelled_.clear();
  return taken;
}

bool CoreMemory::OnFetchEnded(SetType type, const Hash& hash) {
  const std::lock_guard lock(mutex_);
  cancelled_.erase({type, hash});
  return fetches_.erase({type, hash}) > 0;
}

void CoreMemory::OnSubmitted(const v1::Submission& submission) {
  const std::lock_guard lock(mutex_);
  submissions_.OnSubmitted(submission);
}

void CoreMemory::ForgetSubmission(uint64_t number) {
  const std::lock_guard lock(mutex_);
  submissions_.Forget(number);
}

bool CoreMemory::OnAnswered(SteadyTime now, uint64_t number, SubmitOutcome outcome,
                            const Hash& hash) {
  const std::lock_guard lock(mutex_);
  return submissions_.OnAnswered(now, number, outcome, hash);
}

void CoreMemory::OnExternalized(const std::vector<Hash>& transactions) {
  const std::lock_guard lock(mutex_);
  submissions_.OnExternalized(transactions);
}

void CoreMemory::OnAttached(SteadyTime now, const v1::Attached& attached) {
  const std::lock_guard lock(mutex_);
  KeptSlotsLimits limits;
  const v1::Limits& told = attached.limits();
  if (told.slots_kept_min() != 0) limits.slots_kept_min = told.slots_kept_min();
  if (told.slots_kept_max() != 0) limits.slots_kept_max = told.slots_kept_max();
  if (told.keep_slots_max() != 0) limits.keep_slots_max = told.keep_slots_max();
  kept_.SetLimits(limits);
  submissions_.OnAttached(now, attached.daemon_instance());
}

template <class Container, class SlotOf, class FirstOf>
void CoreMemory::EraseNotKept(Container& container, SlotOf slot_of, FirstOf first_of) {
  for (auto it = container.begin(); it != container.end();) {
    const uint64_t slot = slot_of(it);
    const auto next =
        slot == UINT64_MAX ? container.end() : container.lower_bound(first_of(slot + 1));
    if (!kept_.IsKept(slot)) container.erase(it, next);
    it = next;
  }
}

void CoreMemory::OnLedgerClosed(SteadyTime now, const v1::LedgerClosedRequest& closed) {
  const std::lock_guard lock(mutex_);
  const bool is_new = closed.slot() > kept_.newest_closed();
  kept_.OnClosed(now, closed.slot(), {closed.keep_slots().begin(), closed.keep_slots().end()});
  if (!closed_ || closed.slot() >= closed_->slot()) closed_ = closed;
  if (is_new) submissions_.OnLedgerClosed(now);
  EraseNotKept(
      envelopes_, [](auto it) { return std::get<0>(it->first); },
      [](uint64_t slot) {
        return EnvelopeKey{slot, "", false};
      });
  EraseNotKept(
      delivered_, [](auto it) { return it->first; },
      [](uint64_t slot) {
        return std::pair{slot, Hash{}};
      });
  ShrinkOffers();
}

void CoreMemory::OnSetPeers(const v1::SetPeersRequest& peers) {
  const std::lock_guard lock(mutex_);
  peers_ = peers;
}

std::vector<std::string> CoreMemory::Envelopes() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> list;
  list.reserve(envelopes_.size());
  for (const auto& [key, envelope] : envelopes_) list.push_back(envelope);
  return list;
}

std::vector<CoreMemory::Offer> CoreMemory::Offers() const {
  const std::lock_guard lock(mutex_);
  return {offers_.begin(), offers_.end()};
}

std::vector<v1::SetFetch> CoreMemory::Fetches() const {
  const std::lock_guard lock(mutex_);
  std::vector<v1::SetFetch> list;
  for (const auto& [key, fetch] : fetches_) {
    if (cancelled_.count(key) == 0) list.push_back(fetch);
  }
  return list;
}

std::vector<v1::Submission> CoreMemory::SubmissionsToSay() const {
  const std::lock_guard lock(mutex_);
  return submissions_.ToSay();
}

std::optional<v1::LedgerClosedRequest> CoreMemory::Closed() const {
  const std::lock_guard lock(mutex_);
  if (!closed_) return std::nullopt;
  v1::LedgerClosedRequest closed = *closed_;
  closed.clear_keep_slots();
  for (const uint64_t slot : kept_.keep_slots()) closed.add_keep_slots(slot);
  return closed;
}

std::optional<uint64_t> CoreMemory::SlotToAttachWith() const {
  const std::lock_guard lock(mutex_);
  if (!closed_) return std::nullopt;
  return kept_.oldest_closed();
}

std::optional<v1::SetPeersRequest> CoreMemory::Peers() const {
  const std::lock_guard lock(mutex_);
  return peers_;
}

}  // namespace overlay::client
