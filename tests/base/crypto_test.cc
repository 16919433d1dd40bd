#include "flood/base/crypto.h"

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace overlay {
namespace {

using testing::HasSubstr;

absl::Span<const uint8_t> AsSpan(std::string_view text) {
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

TEST(Crypto, Sha256OfKnownInput) {
  EXPECT_EQ(HexEncode(Sha256(AsSpan("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Crypto, StreamedHashEqualsWhole) {
  Sha256Stream stream;
  stream.Update(AsSpan("a"));
  stream.Update(AsSpan(""));
  stream.Update(AsSpan("bc"));
  EXPECT_EQ(stream.Finish(), Sha256(AsSpan("abc")));
}

TEST(Crypto, PublicNetworkId) {
  EXPECT_EQ(NetworkIdOf("Public Global Stellar Network ; September 2015").Hex(),
            "7ac33997544e3175d266bd022439b22cdb16508c01163f26e5cb2a3e1045a979");
}

// RFC 8032, section 7.1, test 2.
TEST(Crypto, SignsAsRfc8032Says) {
  SecretSeed seed;
  seed.bytes =
      NodeKey::FromHex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")->bytes;
  const NodeKey key = PublicKeyOf(seed);
  EXPECT_EQ(key.Hex(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  const uint8_t message[] = {0x72};
  const Signature signature = Sign(seed, key, message);
  EXPECT_EQ(HexEncode(absl::MakeConstSpan(signature).first(8)), "92a009a9f0d4cab8");
  EXPECT_TRUE(Verify(key, message, signature));
  const uint8_t other[] = {0x73};
  EXPECT_FALSE(Verify(key, other, signature));
}

TEST(Strkey, RoundTripAndErrors) {
  const auto key = NodeKeyFromStrkey("GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ");
  ASSERT_OK(key);
  EXPECT_EQ(key->Hex(), "3f0c34bf93ad0d9971d04ccc90f705511c838aad9734a4a2fb0d7a03fc7fe89a");
  EXPECT_EQ(ToStrkey(*key), "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ");
  EXPECT_THAT(NodeKeyFromStrkey("GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGA"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("checksum")));
  EXPECT_THAT(NodeKeyFromStrkey("GA7"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 characters")));
  const SecretSeed seed{key->bytes};
  EXPECT_EQ(ToStrkey(seed).front(), 'S');
  EXPECT_THAT(NodeKeyFromStrkey(ToStrkey(seed)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("another kind")));
  ASSERT_OK(SecretSeedFromStrkey(ToStrkey(seed)));
}

}  // namespace
}  // namespace overlay
