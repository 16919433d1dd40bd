#include "flood/peers/ban_list.h"

#include <algorithm>

#include "flood/base/check.h"

namespace overlay::flood {

bool IsBanReason(std::string_view text) {
  return text.size() <= kBanReasonMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool BanList::Add(Time now, const NodeKey& key, const Ban& ban) {
  Expire(now);
  const auto there = bans_.find(key);
  if (there != bans_.end()) {
    if (ban.by == BannedBy::kScore && there->second.by == BannedBy::kOperator) return false;
    there->second = ban;
    Count();
    return true;
  }
  if (bans_.size() >= kBansMax) {
    if (ban.by == BannedBy::kScore) return false;
    const auto goes =
        std::min_element(bans_.begin(), bans_.end(), [](const auto& a, const auto& b) {
          const bool a_stays = a.second.by == BannedBy::kOperator;
          const bool b_stays = b.second.by == BannedBy::kOperator;
          return a_stays != b_stays ? b_stays : a.second.until < b.second.until;
        });
    if (goes->second.by == BannedBy::kOperator) return false;
    bans_.erase(goes);
  }
  bans_.emplace(key, ban);
  Count();
  return true;
}

bool BanList::Remove(Time now, const NodeKey& key) {
  Expire(now);
  const bool was_there = bans_.erase(key) != 0;
  Count();
  return was_there;
}

bool BanList::Contains(Time now, const NodeKey& key) const {
  const auto ban = bans_.find(key);
  return ban != bans_.end() && now < ban->second.until;
}

bool BanList::Expire(Time now) {
  if (now < next_end_) return false;
  absl::erase_if(bans_, [now](const auto& entry) { return entry.second.until <= now; });
  Count();
  return true;
}

void BanList::Count() {
  next_end_ = kTimeNever;
  for (const auto& [key, ban] : bans_) next_end_ = std::min(next_end_, ban.until);
}

void BanList::CheckInvariants() const {
  OVERLAY_CHECK(bans_.size() <= kBansMax);
  Time next_end = kTimeNever;
  for (const auto& [key, ban] : bans_) {
    OVERLAY_CHECK(IsBanReason(ban.reason));
    next_end = std::min(next_end, ban.until);
  }
  OVERLAY_CHECK(next_end == next_end_);
}

}  // namespace overlay::flood
