// The cache of transaction sets beside a plain list of what should be in it, under budgets of a few
// sets; one of the sets is empty.
#include "flood/tx_set_cache.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

constexpr size_t kOperationCountMax = 250;
constexpr std::array<size_t, 10> kSizes = {0, 10, 20, 30, 40, 50, 60, 70, 80, 101};

SetHash HashOf(size_t number) {
  SetHash hash;
  hash.bytes[0] = static_cast<uint8_t>(number + 1);
  return hash;
}

struct Entry {
  size_t number = 0;
  std::optional<uint64_t> slot;
  bool guest = false;
  bool externalized = false;
  uint64_t from = 0;  // of a guest
  size_t frame = 0;   // bytes of it
  bool is_tried = false;

  size_t Weight() const { return kSizes[number] + frame; }
};

class Model {
 public:
  Model(const Limits& limits, const SlotWindow& window) : limits_(limits), window_(window) {}

  std::vector<Entry> all;  // in order of insertion

  Entry* Find(size_t number) {
    for (Entry& entry : all) {
      if (entry.number == number) return &entry;
    }
    return nullptr;
  }
  // The core's own word (R2).
  void Vouch(size_t number, std::optional<uint64_t> slot) {
    Entry* const entry = Find(number);
    if (entry == nullptr) return;
    if (entry->guest) entry->slot.reset();
    entry->guest = false;
    if (!entry->slot) entry->slot = slot;
  }
  void InsertMember(size_t number, std::optional<uint64_t> slot) {
    if (Find(number) != nullptr) return Vouch(number, slot);
    all.push_back({.number = number, .slot = slot});
    ShrinkAll(number);
  }
  bool InsertGuest(size_t number, uint64_t slot, uint64_t from) {
    if (Find(number) != nullptr) {
      Named(number, slot);
      return true;
    }
    if (kSizes[number] > limits_.set_cache_guest_bytes_max) return false;
    all.push_back({.number = number, .slot = slot, .guest = true, .from = from});
    ShrinkGuests();
    ShrinkAll(number);
    return Find(number) != nullptr;
  }
  // R5
  void KeepFrame(size_t number, size_t frame) {
    Entry* const entry = Find(number);
    if (entry == nullptr || std::exchange(entry->is_tried, true)) return;
    entry->frame = frame;
    ShrinkGuests();
    ShrinkAll(number);
  }
  void ShrinkGuests() {
    while (GuestBytes() > limits_.set_cache_guest_bytes_max) {  // R3
      if (DropFrame(true)) continue;
      std::map<uint64_t, size_t> share;
      for (const Entry& entry : all) {
        if (entry.guest) share[entry.from] += entry.Weight();
      }
      uint64_t heaviest = share.begin()->first;
      for (const auto& [peer, bytes] : share) {
        if (bytes > share[heaviest]) heaviest = peer;
      }
      Erase(*std::find_if(all.begin(), all.end(), [&](const Entry& entry) {
        return entry.guest && entry.from == heaviest;
      }));
    }
  }
  void Named(size_t number, uint64_t slot) {
    Entry* const entry = Find(number);
    if (entry != nullptr && entry->guest) entry->slot = std::max(*entry->slot, slot);
  }
  void WindowMoved() {
    std::erase_if(all, [&](const Entry& entry) {
      return entry.slot && !window_.IsKept(LedgerSeq{*entry.slot});
    });
  }
  size_t Bytes() const {
    size_t bytes = 0;
    for (const Entry& entry : all) bytes += entry.Weight();
    return bytes;
  }
  size_t GuestBytes() const {
    size_t bytes = 0;
    for (const Entry& entry : all) bytes += entry.guest ? entry.Weight() : 0;
    return bytes;
  }

 private:
  void Erase(const Entry& victim) {
    const size_t number = victim.number;
    std::erase_if(all, [&](const Entry& entry) { return entry.number == number; });
  }
  // R4. Lower goes first; equal ones in the order of insertion.
  std::pair<int, uint64_t> Rank(const Entry& entry) const {
    const uint64_t slot = entry.slot.value_or(UINT64_MAX);
    if (entry.guest) return {0, slot};
    const bool is_over = slot <= window_.newest_closed().value && !entry.externalized;
    return {is_over ? 1 : 2, slot};
  }
  bool DropFrame(bool of_guests_only) {
    Entry* victim = nullptr;
    for (Entry& entry : all) {
      if (entry.frame == 0 || (of_guests_only && !entry.guest)) continue;
      if (victim == nullptr || Rank(entry) < Rank(*victim)) victim = &entry;
    }
    if (victim != nullptr) victim->frame = 0;
    return victim != nullptr;
  }
  void ShrinkAll(size_t inserted) {
    while (Bytes() > limits_.set_cache_bytes_max) {
      if (DropFrame(false)) continue;
      const Entry* victim = nullptr;
      for (const Entry& entry : all) {
        if (entry.number == inserted) continue;
        if (victim == nullptr || Rank(entry) < Rank(*victim)) victim = &entry;
      }
      if (victim == nullptr) return;
      Erase(*victim);
    }
  }

  const Limits& limits_;
  const SlotWindow& window_;
};

class Fuzz {
 public:
  explicit Fuzz(FuzzInput input) : in_(input), limits_(ChooseLimits()) {}

  void Run() {
    while (!in_.empty() && judge_.index() < kOperationCountMax) {
      Step();
      Compare();
    }
  }

 private:
  Limits ChooseLimits() {
    Limits limits;
    limits.set_cache_bytes_max = in_.Pick(std::array<size_t, 3>{200, 100, kMiB});
    limits.set_cache_guest_bytes_max = in_.Pick(std::array<size_t, 3>{100, 60, kMiB});
    return limits;
  }
  static Bytes BytesOf(size_t number) { return Bytes::Take(std::string(kSizes[number], 'x')); }

  void Step() {
    const size_t what = in_.Below(10);
    const size_t number = in_.Below(kSizes.size());
    const uint64_t slot = in_.Pick(std::array<uint64_t, 5>{20, 10, 12, 25, 40});
    const uint64_t peer = 1 + in_.Below(3);
    judge_.Begin("operation {} on set {}, slot {}, peer {}", what, number, slot, peer);
    const SetHash hash = HashOf(number);
    switch (what) {
      case 0:
        model_.InsertMember(number, slot);
        return real_.InsertMember(hash, BytesOf(number), LedgerSeq{slot});
      case 1:
        model_.InsertMember(number, std::nullopt);
        return real_.InsertMember(hash, BytesOf(number), std::nullopt);
      case 2:
      case 3: {
        const bool got = real_.InsertGuest(hash, BytesOf(number), LedgerSeq{slot}, PeerId{peer});
        return judge_.Equal("kept", model_.InsertGuest(number, slot, peer), got);
      }
      case 4:
        model_.Vouch(number, slot);
        return real_.Bind(hash, LedgerSeq{slot});
      case 5:
        model_.Vouch(number, std::nullopt);
        return real_.MakeMember(hash);
      case 6:
        model_.Named(number, slot);
        return real_.OnNamed(hash, LedgerSeq{slot});
      case 7:
        if (Entry* const entry = model_.Find(number)) entry->externalized = true;
        return real_.MarkExternalized(hash);
      case 8:
        now_ += std::chrono::seconds(10);
        window_.OnLedgerClosed(now_, LedgerSeq{slot}, true, {});
        model_.WindowMoved();
        return real_.OnWindowMoved();
      case 9: {
        const size_t frame = slot % 3 == 0 ? 0 : kSizes[number] / peer;
        model_.KeepFrame(number, frame);
        return real_.KeepFrame(hash, Bytes::Take(std::string(frame, 'z')));
      }
    }
  }

  void Compare() {
    real_.CheckInvariants();
    judge_.Equal("count", model_.all.size(), real_.count());
    judge_.Equal("bytes", model_.Bytes(), real_.bytes());
    judge_.Equal("bytes of guests", model_.GuestBytes(), real_.guest_bytes());
    for (size_t number = 0; number < kSizes.size(); ++number) {
      const Entry* const entry = model_.Find(number);
      const Bytes* const bytes = real_.Find(HashOf(number));
      judge_.Equal("held", entry != nullptr, bytes != nullptr);
      if (bytes != nullptr) judge_.Equal("size", kSizes[number], bytes->size());
      const Bytes* const frame = real_.FindFrame(HashOf(number));
      judge_.Equal("frame", entry == nullptr ? 0 : entry->frame,
                   frame == nullptr ? 0 : frame->size());
      judge_.Equal("may compress", entry != nullptr && !entry->is_tried,
                   real_.MayCompress(HashOf(number)));
      judge_.Equal("guest", entry != nullptr && entry->guest, real_.IsGuest(HashOf(number)));
    }
    uint64_t before = UINT64_MAX;
    for (const TxSetCache::Listed& listed : real_.List()) {
      const Entry* const entry = model_.Find(listed.hash.bytes[0] - size_t{1});
      judge_.Equal("slot listed", entry->slot.value_or(0), listed.slot.value);
      judge_.True("newest slot first", listed.slot.value <= before);
      before = listed.slot.value;
    }
    judge_.Equal("listed", model_.all.size(), real_.List().size());
  }

  FuzzInput in_;
  const Limits limits_;
  SlotWindow window_{limits_};
  TxSetCache real_{limits_, window_};
  Model model_{limits_, window_};
  Judge judge_;
  Time now_{};
};

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Fuzz(overlay::FuzzInput(data, size)).Run();
  return 0;
}
