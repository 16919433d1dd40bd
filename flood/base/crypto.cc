#include "flood/base/crypto.h"

#include <fmt/format.h>
#include <nettle/eddsa.h>

#include <algorithm>

namespace overlay {
namespace {

constexpr uint8_t kVersionPublicKey = 6 << 3;    // 'G'
constexpr uint8_t kVersionSecretSeed = 18 << 3;  // 'S'
constexpr size_t kStrkeyChars = 56;              // (1 + 32 + 2) bytes in base32, no padding
constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

uint16_t Crc16Xmodem(absl::Span<const uint8_t> data) {
  uint16_t crc = 0;
  for (uint8_t byte : data) {
    crc ^= static_cast<uint16_t>(byte << 8);
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) ? (crc << 1) ^ 0x1021 : crc << 1);
    }
  }
  return crc;
}

std::string EncodeStrkey(uint8_t version, const std::array<uint8_t, 32>& payload) {
  std::array<uint8_t, 35> raw;
  raw[0] = version;
  std::copy(payload.begin(), payload.end(), raw.begin() + 1);
  const uint16_t crc = Crc16Xmodem(absl::MakeConstSpan(raw).first(33));
  raw[33] = static_cast<uint8_t>(crc & 0xff);  // little-endian, says SEP-23
  raw[34] = static_cast<uint8_t>(crc >> 8);
  std::string text;
  text.reserve(kStrkeyChars);
  uint32_t bits = 0;
  int bit_count = 0;
  for (uint8_t byte : raw) {
    bits = (bits << 8) | byte;
    bit_count += 8;
    while (bit_count >= 5) {
      bit_count -= 5;
      text.push_back(kBase32[(bits >> bit_count) & 31]);
    }
  }
  return text;
}

absl::StatusOr<std::array<uint8_t, 32>> DecodeStrkey(uint8_t version, std::string_view text,
                                                     std::string_view shape) {
  if (text.size() != kStrkeyChars) {
    return absl::InvalidArgumentError(
        fmt::format("has {} characters, expected {}", text.size(), shape));
  }
  std::array<uint8_t, 35> raw;
  uint32_t bits = 0;
  int bit_count = 0;
  size_t out = 0;
  for (char c : text) {
    const size_t digit = kBase32.find(c);
    if (digit == std::string_view::npos) {
      return absl::InvalidArgumentError(
          fmt::format("has a character outside base32, expected {}", shape));
    }
    bits = (bits << 5) | static_cast<uint32_t>(digit);
    bit_count += 5;
    if (bit_count >= 8) {
      bit_count -= 8;
      raw[out++] = static_cast<uint8_t>(bits >> bit_count);
    }
  }
  if (raw[0] != version) {
    return absl::InvalidArgumentError(fmt::format("is another kind of strkey, expected {}", shape));
  }
  const uint16_t crc = Crc16Xmodem(absl::MakeConstSpan(raw).first(33));
  if (raw[33] != (crc & 0xff) || raw[34] != (crc >> 8)) {
    return absl::InvalidArgumentError("has a wrong checksum: mistyped?");
  }
  std::array<uint8_t, 32> payload;
  std::copy(raw.begin() + 1, raw.begin() + 33, payload.begin());
  return payload;
}

}  // namespace

std::array<uint8_t, 32> Sha256(absl::Span<const uint8_t> data) {
  Sha256Stream stream;
  stream.Update(data);
  return stream.Finish();
}

NetworkId NetworkIdOf(std::string_view passphrase) {
  return HashOf<NetworkId>(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(passphrase.data()), passphrase.size()));
}

NodeKey PublicKeyOf(const SecretSeed& seed) {
  NodeKey key;
  ed25519_sha512_public_key(key.bytes.data(), seed.bytes.data());
  return key;
}

Signature Sign(const SecretSeed& seed, const NodeKey& public_key,
               absl::Span<const uint8_t> message) {
  Signature signature;
  ed25519_sha512_sign(public_key.bytes.data(), seed.bytes.data(), message.size(), message.data(),
                      signature.data());
  return signature;
}

bool Verify(const NodeKey& public_key, absl::Span<const uint8_t> message,
            const Signature& signature) {
  return ed25519_sha512_verify(public_key.bytes.data(), message.size(), message.data(),
                               signature.data()) == 1;
}

std::string ToStrkey(const NodeKey& key) { return EncodeStrkey(kVersionPublicKey, key.bytes); }
std::string ToStrkey(const SecretSeed& seed) {
  return EncodeStrkey(kVersionSecretSeed, seed.bytes);
}

absl::StatusOr<NodeKey> NodeKeyFromStrkey(std::string_view text) {
  auto payload = DecodeStrkey(kVersionPublicKey, text, "56 characters that begin with G");
  if (!payload.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("public key \"{}\" {}", text, std::string(payload.status().message())));
  }
  return NodeKey{*payload};
}

absl::StatusOr<SecretSeed> SecretSeedFromStrkey(std::string_view text) {
  auto payload = DecodeStrkey(kVersionSecretSeed, text, "56 characters that begin with S");
  if (!payload.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("secret seed {}", std::string(payload.status().message())));
  }
  return SecretSeed{*payload};
}

}  // namespace overlay
