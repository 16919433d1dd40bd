#include "server/mask_seeds.h"

#include <string>

#include "flood/base/crypto.h"
#include "gtest/gtest.h"

namespace overlay::server {
namespace {

TEST(MaskSeeds, SeedsGoAndEverythingElseStays) {
  SecretSeed seed;
  seed.bytes.fill(7);
  const std::string secret = ToStrkey(seed);
  const std::string key = ToStrkey(PublicKeyOf(seed));
  ASSERT_EQ(secret.size(), 56u);
  const std::string masked(kMaskedSeed);
  EXPECT_EQ(MaskSeeds(""), "");
  EXPECT_EQ(MaskSeeds("no such file: a/b"), "no such file: a/b");
  EXPECT_EQ(MaskSeeds(key), key);
  EXPECT_EQ(MaskSeeds(secret), masked);
  EXPECT_EQ(MaskSeeds("file " + secret + ": " + key + "," + secret + "."),
            "file " + masked + ": " + key + "," + masked + ".");
  EXPECT_EQ(MaskSeeds(secret + secret), masked);
  std::string mistyped = secret;
  mistyped.back() = mistyped.back() == 'A' ? 'B' : 'A';
  EXPECT_EQ(MaskSeeds(mistyped), masked);
  EXPECT_EQ(MaskSeeds(secret.substr(0, 55)), secret.substr(0, 55));
}

}  // namespace
}  // namespace overlay::server
