#include "flood/set_offers.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "flood/base/check.h"

namespace overlay::flood {
namespace {

void Refuse(const SetKey& key, std::string field, std::string value, std::string expected,
            ActionList& out) {
  out.push_back(CoreOutput(CoreRefused{.stream = CoreRefused::Stream::kTxSets,
                                       .id = std::nullopt,
                                       .key = key,
                                       .field = std::move(field),
                                       .value = std::move(value),
                                       .expected = std::move(expected)}));
}

}  // namespace

void SetOffers::Close(absl::btree_map<SetKey, Open>::iterator it) {
  bytes_ -= it->second.bytes.size();
  open_.erase(it);
}

std::optional<CompletedOffer> SetOffers::OnChunk(const OfferChunk& chunk, ActionList& out) {
  const SetKey& key = chunk.key;
  auto it = open_.find(key);
  if (chunk.offset == 0) {
    const size_t bytes_max =
        key.kind == SetKind::kTxSet ? limits_.tx_set_bytes_max : limits_.quorum_set_bytes_max;
    if (chunk.total_bytes == 0 || chunk.total_bytes > bytes_max) {
      if (it != open_.end()) Close(it);
      Refuse(key, "offer.total_bytes", fmt::format("{}", chunk.total_bytes),
             fmt::format("1 to {}", bytes_max), out);
      return std::nullopt;
    }
    if (it == open_.end() && open_.size() >= limits_.core_offers_open_max) {
      Refuse(key, "offer.hash", key.hash.Hex(),
             fmt::format("at most {} offers open at once: finish one first",
                         limits_.core_offers_open_max),
             out);
      return std::nullopt;
    }
    if (it != open_.end()) Close(it);
    it = open_.try_emplace(key).first;
    it->second.slot = chunk.slot;
    it->second.total_bytes = chunk.total_bytes;
  } else if (it == open_.end() || chunk.offset != it->second.bytes.size()) {
    const uint64_t expected = it == open_.end() ? 0 : it->second.bytes.size();
    if (it != open_.end()) Close(it);
    Refuse(key, "offer.offset", fmt::format("{}", chunk.offset),
           fmt::format("{}, where the chunk before ended", expected), out);
    return std::nullopt;
  }
  Open& offer = it->second;
  if (chunk.total_bytes != offer.total_bytes ||
      offer.bytes.size() + chunk.data.size() > offer.total_bytes || chunk.data.empty()) {
    const std::string value = fmt::format("{} bytes at offset {} of {}", chunk.data.size(),
                                          chunk.offset, chunk.total_bytes);
    const std::string expected =
        fmt::format("1 to {} bytes of the {} that the first chunk announced",
                    offer.total_bytes - offer.bytes.size(), offer.total_bytes);
    Close(it);
    Refuse(key, "offer.data", value, expected, out);
    return std::nullopt;
  }
  offer.bytes.Append(chunk.data.span());
  bytes_ += chunk.data.size();
  offer.hash.Update(chunk.data.span());
  if (offer.bytes.size() < offer.total_bytes) return std::nullopt;

  const SetHash hash{offer.hash.Finish()};
  const size_t size = offer.bytes.size();
  CompletedOffer completed{key, offer.slot, offer.bytes.Finish()};
  bytes_ -= size;
  open_.erase(it);
  if (hash != key.hash) {
    Refuse(key, "offer.hash", key.hash.Hex(),
           fmt::format("{}, the SHA-256 of the bytes offered", hash.Hex()), out);
    return std::nullopt;
  }
  return completed;
}

void SetOffers::CheckInvariants() const {
  OVERLAY_CHECK(open_.size() <= limits_.core_offers_open_max);
  size_t bytes = 0;
  for (const auto& [key, offer] : open_) bytes += offer.bytes.size();
  OVERLAY_CHECK(bytes == bytes_);
}

}  // namespace overlay::flood
