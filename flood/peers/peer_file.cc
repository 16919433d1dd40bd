#include "flood/peers/peer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <utility>

#include "flood/base/crypto.h"

namespace overlay::flood {
namespace {

constexpr std::string_view kTitle = "overlay peers ";
constexpr std::string_view kVersion = "2";
// Far beyond what happens, and no sum of two of them overflows: 2^53, exact as a double, too.
constexpr uint64_t kFigureMax = uint64_t{1} << 53;
constexpr uint64_t kSecondsMax = uint64_t{1} << 40;
constexpr uint64_t kRoundTripMaxUs = 1'000'000'000;
constexpr uint64_t kReasonMax = UINT16_MAX;
// What is older is as good as that old.
constexpr int64_t kAgeMaxSeconds = int64_t{10} * 365 * 86400;

using Peer = PeerFile::Peer;

// The figures of a line, in their order.
struct Figure {
  std::string_view name;
  uint64_t Peer::*member;
  uint64_t max;
};
constexpr Figure kFigures[] = {
    {"connections", &Peer::connected_total, UINT32_MAX},
    {"lost", &Peer::lost_reason, kReasonMax},
    {"rtt_us", &Peer::rtt_us, kRoundTripMaxUs},
    {"sent", &Peer::bytes_sent, kFigureMax},
    {"received", &Peer::bytes_received, kFigureMax},
    {"envelopes", &Peer::first_envelopes, kFigureMax},
    {"transactions", &Peer::first_transactions, kFigureMax},
    {"fetched", &Peer::fetches_ok, kFigureMax},
    {"failed", &Peer::fetches_failed, kFigureMax},
};

std::string_view SourceName(AddressSource source) {
  switch (source) {
    case AddressSource::kFile:
      return "file";
    case AddressSource::kCore:
      return "core";
    case AddressSource::kOperator:
      return "operator";
    case AddressSource::kListens:
      return "listens";
  }
  return "";
}

std::string_view ByName(BannedBy by) { return by == BannedBy::kOperator ? "operator" : "score"; }

std::string HashLine(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  return fmt::format("sha256 {}\n", HexEncode(Sha256({bytes, text.size()})));
}

// Takes the text up to `end` off the front; nullopt: there is no `end`.
std::optional<std::string_view> TakeUntil(std::string_view& text, char end) {
  const size_t at = text.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(at + 1);
  return taken;
}

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// As it is written: decimal, without a sign or zeros in front.
std::optional<uint64_t> Number(std::string_view text, uint64_t max) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  return value;
}

std::optional<PeerFile::Address> ParseAddress(std::string_view text) {
  const std::optional<std::string_view> where = TakeUntil(text, ',');
  const std::optional<std::string_view> source = where ? TakeUntil(text, ',') : std::nullopt;
  const std::optional<uint64_t> success = source ? Number(text, kSecondsMax) : std::nullopt;
  if (!success) return std::nullopt;
  const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(*where);
  if (!address.ok() || address->ToString() != *where || address->port == 0) return std::nullopt;
  for (const AddressSource known : kAddressSources) {
    if (*source == SourceName(known)) {
      return PeerFile::Address{*address, known, static_cast<int64_t>(*success)};
    }
  }
  return std::nullopt;
}

// What is wrong with the line, or "".
std::string ParsePeer(std::string_view line, Peer& peer) {
  std::vector<std::string_view> words;
  while (const std::optional<std::string_view> word = TakeUntil(line, ' ')) words.push_back(*word);
  words.push_back(line);
  constexpr size_t kFixedWords = 3 + std::size(kFigures);
  if (words.size() < kFixedWords || words[0] != "peer") return "expected a whole peer";
  if (words.size() > kFixedWords + kBookAddressesMax) return "too many addresses";
  const absl::StatusOr<NodeKey> key = NodeKeyFromStrkey(words[1]);
  if (!key.ok() || ToStrkey(*key) != words[1]) return "expected a key, G...";
  peer.key = *key;
  std::string_view seen = words[2];
  const std::optional<uint64_t> seen_s =
      TakePrefix(seen, "seen=") ? Number(seen, kSecondsMax) : std::nullopt;
  if (!seen_s) return "expected seen=SECONDS";
  peer.last_seen_s = static_cast<int64_t>(*seen_s);
  for (size_t i = 0; i < std::size(kFigures); ++i) {
    std::string_view word = words[3 + i];
    const bool named = TakePrefix(word, kFigures[i].name) && TakePrefix(word, "=");
    const std::optional<uint64_t> value = named ? Number(word, kFigures[i].max) : std::nullopt;
    if (!value) return fmt::format("expected {}=NUMBER", kFigures[i].name);
    peer.*kFigures[i].member = *value;
  }
  for (size_t i = kFixedWords; i < words.size(); ++i) {
    std::string_view word = words[i];
    const std::optional<PeerFile::Address> address =
        TakePrefix(word, "at=") ? ParseAddress(word) : std::nullopt;
    if (!address) return "expected at=ADDRESS:PORT,SOURCE,SECONDS";
    const bool twice =
        std::any_of(peer.addresses.begin(), peer.addresses.end(),
                    [&](const PeerFile::Address& a) { return a.address == address->address; });
    if (twice) return "an address twice";
    peer.addresses.push_back(*address);
  }
  return "";
}

// Takes "NAME=WORD " off the front, without the name; nullopt: it is not there.
std::optional<std::string_view> TakeNamed(std::string_view& line, std::string_view name) {
  if (!TakePrefix(line, name) || !TakePrefix(line, "=")) return std::nullopt;
  return TakeUntil(line, ' ');
}

std::string ParseBan(std::string_view line, PeerFile::Ban& ban) {
  if (!TakePrefix(line, "ban ")) return "expected a whole ban";
  const std::optional<std::string_view> strkey = TakeUntil(line, ' ');
  const absl::StatusOr<NodeKey> key = NodeKeyFromStrkey(strkey.value_or(""));
  if (!key.ok() || ToStrkey(*key) != *strkey) return "expected a key, G...";
  ban.key = *key;
  const std::optional<std::string_view> by = TakeNamed(line, "by");
  if (by != ByName(BannedBy::kOperator) && by != ByName(BannedBy::kScore)) {
    return "expected by=operator or by=score";
  }
  ban.by = by == ByName(BannedBy::kScore) ? BannedBy::kScore : BannedBy::kOperator;
  for (const auto& [name, member] :
       {std::pair("since", &PeerFile::Ban::since_s), std::pair("until", &PeerFile::Ban::until_s)}) {
    const std::optional<std::string_view> word = TakeNamed(line, name);
    const std::optional<uint64_t> seconds = word ? Number(*word, kSecondsMax) : std::nullopt;
    if (!seconds) return fmt::format("expected {}=SECONDS", name);
    ban.*member = static_cast<int64_t>(*seconds);
  }
  if (!TakePrefix(line, "reason=") || !IsBanReason(line)) {
    return fmt::format("expected reason=TEXT of {} characters of ASCII at most", kBanReasonMax);
  }
  ban.reason = line;
  return "";
}

// Appends what a line says; or what is wrong with it.
template <class Item, class Parse>
std::string AddItem(std::string_view line, size_t count_max, Parse parse,
                    std::vector<Item>& items) {
  if (items.size() == count_max) return "too many of its kind";
  Item item;
  if (std::string wrong = parse(line, item); !wrong.empty()) return wrong;
  if (!items.empty() && !(items.back().key < item.key)) return "a key twice, or out of order";
  items.push_back(std::move(item));
  return "";
}
std::string AddPeer(std::string_view line, std::vector<Peer>& peers) {
  return AddItem(line, kBookPeersMax, ParsePeer, peers);
}
std::string AddBan(std::string_view line, std::vector<PeerFile::Ban>& bans) {
  return AddItem(line, kBansMax, ParseBan, bans);
}

absl::Status Refuse(size_t line, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("line {}: {}", line, what));
}

uint64_t Rounded(double value) {
  return static_cast<uint64_t>(std::llround(std::clamp(value, 0.0, double{kFigureMax})));
}

}  // namespace

std::string EncodePeerFile(const PeerFile& file) {
  std::string text = fmt::format("{}{}\nsaved {}\n", kTitle, kVersion, file.saved_s);
  for (const Peer& peer : file.peers) {
    text += fmt::format("peer {} seen={}", ToStrkey(peer.key), peer.last_seen_s);
    for (const Figure& figure : kFigures) {
      text += fmt::format(" {}={}", figure.name, peer.*figure.member);
    }
    for (const PeerFile::Address& each : peer.addresses) {
      text += fmt::format(" at={},{},{}", each.address.ToString(), SourceName(each.source),
                          each.last_success_s);
    }
    text += '\n';
  }
  for (const PeerFile::Ban& ban : file.bans) {
    text += fmt::format("ban {} by={} since={} until={} reason={}\n", ToStrkey(ban.key),
                        ByName(ban.by), ban.since_s, ban.until_s, ban.reason);
  }
  text += HashLine(text);
  return text;
}

absl::StatusOr<PeerFile> DecodePeerFile(std::string_view text) {
  if (text.size() > kPeerFileBytesMax) {
    return Refuse(1, fmt::format("{} bytes follow, at most {}", text.size(), kPeerFileBytesMax));
  }
  std::string_view left = text;
  std::optional<std::string_view> line = TakeUntil(left, '\n');
  if (!line || !TakePrefix(*line, kTitle)) return Refuse(1, "not a peer file");
  if (*line != kVersion) {
    return Refuse(1, fmt::format("version \"{}\", expected {}", line->substr(0, 20), kVersion));
  }
  line = TakeUntil(left, '\n');
  const std::optional<uint64_t> saved =
      line && TakePrefix(*line, "saved ") ? Number(*line, kSecondsMax) : std::nullopt;
  if (!saved) return Refuse(2, "expected saved SECONDS");
  PeerFile file;
  file.saved_s = static_cast<int64_t>(*saved);
  for (size_t number = 3;; ++number) {
    const std::string_view hashed = text.substr(0, text.size() - left.size());
    if (left.substr(0, 7) == "sha256 ") {
      if (left != HashLine(hashed))
        return Refuse(number, "the lines before are not what was saved");
      return file;
    }
    line = TakeUntil(left, '\n');
    if (!line) return Refuse(number, "the end is missing");
    const bool is_ban = !file.bans.empty() || line->substr(0, 4) == "ban ";
    const std::string wrong = is_ban ? AddBan(*line, file.bans) : AddPeer(*line, file.peers);
    if (!wrong.empty()) return Refuse(number, wrong);
  }
}

// ---- to and from the book ---------------------------------------------------------------------

PeerFile ToPeerFile(const PeerBook& book, const BanList& bans, Time now, WallTime wall) {
  const int64_t wall_s = std::clamp<int64_t>(wall.unix_us / 1'000'000, 0, kSecondsMax);
  const auto seconds = [&](Time at) {
    const auto ago = std::chrono::duration_cast<std::chrono::seconds>(now - at).count();
    return std::clamp<int64_t>(wall_s - ago, 0, wall_s);
  };
  PeerFile file;
  file.saved_s = wall_s;
  for (const auto& [key, known] : book.peers()) {
    if (file.peers.size() == kBookPeersMax) break;
    Peer& peer = file.peers.emplace_back();
    peer.key = key;
    peer.last_seen_s = known.state == PeerState::kConnected ? wall_s : seconds(known.last_seen);
    peer.connected_total = known.connected_total;
    if (known.lost_reason) peer.lost_reason = static_cast<uint64_t>(*known.lost_reason);
    peer.rtt_us = std::min(kRoundTripMaxUs, Rounded(known.rtt.At(now).value_or(0) * 1e6));
    peer.bytes_sent = Rounded(known.bytes_sent.At(now));
    peer.bytes_received = Rounded(known.bytes_received.At(now));
    peer.first_envelopes = Rounded(known.first_envelopes.At(now));
    peer.first_transactions = Rounded(known.first_transactions.At(now));
    peer.fetches_ok = Rounded(known.fetches_ok.At(now));
    peer.fetches_failed = Rounded(known.fetches_failed.At(now));
    for (const KnownAddress& each : known.addresses) {
      peer.addresses.push_back({each.address, each.source,
                                each.last_success ? seconds(*each.last_success) : int64_t{0}});
    }
  }
  for (const auto& [key, ban] : bans.bans()) {
    if (ban.until <= now) continue;
    PeerFile::Ban& saved = file.bans.emplace_back();
    saved = {key, ban.by, seconds(ban.since), 0, ban.reason};
    if (ban.until != kTimeNever) {
      // Never 0 and never in the past: it holds.
      const auto left = std::chrono::ceil<std::chrono::seconds>(ban.until - now).count();
      saved.until_s = std::min<int64_t>(wall_s + left, kSecondsMax);
    }
  }
  return file;
}

void AddPeerFile(const PeerFile& file, Time now, WallTime wall, PeerBook& book, BanList& bans) {
  const int64_t wall_s = wall.unix_us / 1'000'000;
  const auto time = [&](int64_t seconds) {
    return now - std::chrono::seconds(std::clamp<int64_t>(wall_s - seconds, 0, kAgeMaxSeconds));
  };
  const Time saved = time(file.saved_s);
  for (const Peer& peer : file.peers) {
    if (book.Find(peer.key) != nullptr) continue;
    KnownPeer& known = book.Add(now, peer.key);
    known.last_seen = time(peer.last_seen_s);
    known.connected_total = static_cast<uint32_t>(peer.connected_total);
    if (peer.lost_reason != 0) known.lost_reason = static_cast<CloseReason>(peer.lost_reason);
    if (peer.rtt_us != 0) known.rtt.Add(saved, static_cast<double>(peer.rtt_us) / 1e6);
    known.bytes_sent.Add(saved, static_cast<double>(peer.bytes_sent));
    known.bytes_received.Add(saved, static_cast<double>(peer.bytes_received));
    known.first_envelopes.Add(saved, static_cast<double>(peer.first_envelopes));
    known.first_transactions.Add(saved, static_cast<double>(peer.first_transactions));
    known.fetches_ok.Add(saved, static_cast<double>(peer.fetches_ok));
    known.fetches_failed.Add(saved, static_cast<double>(peer.fetches_failed));
    for (const PeerFile::Address& each : peer.addresses) {
      KnownAddress address{each.address, each.source, std::nullopt};
      if (each.last_success_s != 0) address.last_success = time(each.last_success_s);
      book.Learn(peer.key, address);
    }
  }
  for (const PeerFile::Ban& saved : file.bans) {
    const int64_t left = std::min(saved.until_s - wall_s, kAgeMaxSeconds);
    if (saved.until_s != 0 && left <= 0) continue;
    const Time until = saved.until_s == 0 ? kTimeNever : now + std::chrono::seconds(left);
    bans.Add(now, saved.key, {saved.by, time(saved.since_s), until, saved.reason});
  }
}

}  // namespace overlay::flood
