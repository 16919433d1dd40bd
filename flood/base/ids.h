// flood/base/ids.h
//
// The names that the protocol gives to things, as types that do not mix.
//
// Hash32<Tag>: 32 bytes that name something (a hash or a public key). Ordered bytewise, hashable
// with Abseil. LedgerSeq: a ledger sequence number, which is also SCP's slot index. PeerId: one
// logical peer from its `connected` to its `disconnected`; never used twice in a process.
#ifndef OVERLAY_FLOOD_BASE_IDS_H_
#define OVERLAY_FLOOD_BASE_IDS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/types/span.h"

namespace overlay {

inline constexpr size_t kHashBytes = 32;

std::string HexEncode(absl::Span<const uint8_t> bytes);
// Lower or upper case; nullopt on odd length or another character.
std::optional<std::string> HexDecode(std::string_view hex);

template <class Tag>
struct Hash32 {
  std::array<uint8_t, kHashBytes> bytes{};

  // `raw` must be 32 bytes long, else nullopt.
  static std::optional<Hash32> FromBytes(absl::Span<const uint8_t> raw) {
    if (raw.size() != kHashBytes) return std::nullopt;
    Hash32 hash;
    std::memcpy(hash.bytes.data(), raw.data(), kHashBytes);
    return hash;
  }
  static std::optional<Hash32> FromBytes(std::string_view raw) {
    return FromBytes(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(raw.data()), raw.size()));
  }
  static std::optional<Hash32> FromHex(std::string_view hex) {
    std::optional<std::string> raw = HexDecode(hex);
    return raw ? FromBytes(*raw) : std::nullopt;
  }

  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  absl::Span<const uint8_t> span() const { return bytes; }
  std::string Hex() const { return HexEncode(bytes); }
  // First 8 hex digits, for logs.
  std::string ShortHex() const { return HexEncode(absl::MakeConstSpan(bytes).first(4)); }
  bool IsZero() const { return *this == Hash32{}; }

  friend auto operator<=>(const Hash32&, const Hash32&) = default;
  friend bool operator==(const Hash32&, const Hash32&) = default;
  template <class H>
  friend H AbslHashValue(H h, const Hash32& hash) {
    return H::combine_contiguous(std::move(h), hash.bytes.data(), hash.bytes.size());
  }
};

// SHA-256 of a whole envelope or transaction, signatures included.
using EnvelopeHash = Hash32<struct EnvelopeHashTag>;
using TxHash = Hash32<struct TxHashTag>;
// SHA-256 of a tx set or of a quorum set.
using SetHash = Hash32<struct SetHashTag>;
// An Ed25519 public key: of an overlay node (who we talk to) or of a validator (who signed).
using NodeKey = Hash32<struct NodeKeyTag>;
using AccountKey = Hash32<struct AccountKeyTag>;
using LedgerHash = Hash32<struct LedgerHashTag>;
// SHA-256 of the network passphrase.
using NetworkId = Hash32<struct NetworkIdTag>;

// A ledger sequence number, SCP's slot index. Subtraction saturates at 0, addition at the maximum.
struct LedgerSeq {
  uint64_t value = 0;

  friend auto operator<=>(const LedgerSeq&, const LedgerSeq&) = default;
  friend LedgerSeq operator+(LedgerSeq seq, uint64_t n) {
    return {seq.value > UINT64_MAX - n ? UINT64_MAX : seq.value + n};
  }
  friend LedgerSeq operator-(LedgerSeq seq, uint64_t n) {
    return {seq.value < n ? 0 : seq.value - n};
  }
  template <class H>
  friend H AbslHashValue(H h, LedgerSeq seq) {
    return H::combine(std::move(h), seq.value);
  }
};

struct PeerId {
  uint64_t value = 0;

  friend auto operator<=>(const PeerId&, const PeerId&) = default;
  template <class H>
  friend H AbslHashValue(H h, PeerId id) {
    return H::combine(std::move(h), id.value);
  }
};

// The two kinds of things fetched by hash. The numbers are on the wire (peer.proto SetKind).
enum class SetKind : uint8_t { kTxSet = 1, kQuorumSet = 2 };

struct SetKey {
  SetKind kind = SetKind::kTxSet;
  SetHash hash;

  friend auto operator<=>(const SetKey&, const SetKey&) = default;
  template <class H>
  friend H AbslHashValue(H h, const SetKey& key) {
    return H::combine(std::move(h), static_cast<uint8_t>(key.kind), key.hash);
  }
};

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_IDS_H_
