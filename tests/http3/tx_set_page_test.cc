#include "server/http3/tx_set_page.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "flood/base/compress.h"
#include "flood/base/crypto.h"
#include "flood/base/random.h"

namespace overlay::server {
namespace {

class TxSetPageTest : public ::testing::Test {
 protected:
  SetHash Add(const std::string& text) {
    const Bytes bytes = Bytes::Copy(text);
    const SetHash hash = *SetHash::FromBytes(Sha256(bytes.span()));
    cache_[hash] = {bytes, Bytes(), true};
    return hash;
  }
  HttpPage Get(const std::string& name, const std::string& accept = "",
               const std::string& if_none_match = "") {
    return route_.page({"/txsets/" + name, "", if_none_match, accept});
  }
  static std::string Header(const HttpPage& page, const std::string& name) {
    for (const auto& [key, value] : page.headers) {
      if (key == name) return value;
    }
    return "";
  }

  std::map<SetHash, CachedSet> cache_;
  bool answers_ = true;
  int looks_ = 0;
  int kept_ = 0;
  HttpRoute route_ = TxSetRoute({.look = [this](const SetHash& hash) -> std::optional<CachedSet> {
                                   ++looks_;
                                   if (!answers_) return std::nullopt;
                                   const auto it = cache_.find(hash);
                                   return it == cache_.end() ? CachedSet{} : it->second;
                                 },
                                 .keep_frame =
                                     [this](const SetHash& hash, Bytes frame) {
                                       ++kept_;
                                       CachedSet& set = cache_.at(hash);
                                       set.frame = std::move(frame);
                                       set.may_compress = false;
                                     }});
};

TEST_F(TxSetPageTest, PlainIsTheCachesOwnBuffer) {
  const SetHash hash = Add(std::string(20'000, 'x'));
  const HttpPage page = Get(hash.Hex());
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.payload.data(), cache_.at(hash).bytes.data());
  EXPECT_EQ(page.content_type, "application/octet-stream");
  EXPECT_EQ(Header(page, "etag"), "\"" + hash.Hex() + "\"");
  EXPECT_EQ(Header(page, "cache-control"), "public, max-age=31536000, immutable");
  EXPECT_EQ(Header(page, "vary"), "accept-encoding");
  EXPECT_EQ(Header(page, "content-encoding"), "");
  EXPECT_EQ(kept_, 0);
}

TEST_F(TxSetPageTest, CompressedOnceForAll) {
  const std::string text(100'000, 'y');
  const SetHash hash = Add(text);
  const HttpPage first = Get(hash.Hex(), "gzip, zstd");
  EXPECT_EQ(Header(first, "content-encoding"), "zstd");
  EXPECT_EQ(Header(first, "etag"), "W/\"" + hash.Hex() + "\"");
  EXPECT_LT(first.payload.size(), 1'000u);
  const Inflated inflated = ZstdInflate(first.payload.span(), text.size());
  EXPECT_EQ(inflated.error, InflateError::kNone);
  EXPECT_EQ(inflated.bytes.view(), text);
  const HttpPage second = Get(hash.Hex(), "zstd");
  EXPECT_EQ(second.payload.data(), cache_.at(hash).frame.data());
  EXPECT_EQ(kept_, 1);
}

TEST_F(TxSetPageTest, WhatIsSmallOrGainsNothingGoesPlain) {
  const SetHash small = Add(std::string(100, 'z'));
  EXPECT_EQ(Header(Get(small.Hex(), "zstd"), "content-encoding"), "");
  EXPECT_EQ(kept_, 0);
  std::string noise(50'000, '\0');
  Random(3).Fill(absl::MakeSpan(reinterpret_cast<uint8_t*>(noise.data()), noise.size()));
  const SetHash hash = Add(noise);
  EXPECT_EQ(Get(hash.Hex(), "zstd").payload.view(), noise);
  EXPECT_EQ(Get(hash.Hex(), "zstd").payload.view(), noise);
  EXPECT_EQ(kept_, 1);  // and not tried again
}

TEST_F(TxSetPageTest, WhoHasItIsToldSoWithoutALook) {
  const SetHash hash = Add("abc");
  for (const std::string& tag :
       {"\"" + hash.Hex() + "\"", "W/\"" + hash.Hex() + "\"", "\"x\", \"" + hash.Hex() + "\""}) {
    const HttpPage page = Get(hash.Hex(), "", tag);
    EXPECT_EQ(page.status, 304) << tag;
    EXPECT_EQ(Header(page, "etag"), "\"" + hash.Hex() + "\"");
    EXPECT_TRUE(page.payload.empty() && page.body.empty());
  }
  EXPECT_EQ(looks_, 0);
  EXPECT_EQ(Get(hash.Hex(), "", "*").status, 200);
  EXPECT_EQ(Get(hash.Hex(), "", hash.Hex()).status, 200);
}

TEST_F(TxSetPageTest, NotCachedNotAHashAndNoAnswer) {
  EXPECT_EQ(Get(std::string(64, '0')).status, 404);
  for (const std::string& name : {std::string(63, '0'), std::string(65, '0'), std::string(64, 'g'),
                                  std::string(64, '0') + "/", std::string("x")}) {
    EXPECT_EQ(Get(name).status, 400) << name;
  }
  answers_ = false;
  const HttpPage page = Get(std::string(64, '0'));
  EXPECT_EQ(page.status, 503);
  EXPECT_EQ(Header(page, "retry-after"), "1");
}

TEST(AcceptEncoding, TakesZstdWhereItIsNamedAndWeighed) {
  for (const char* yes : {"zstd", "ZSTD", "gzip,zstd", " gzip , zstd ; q=0.1", "zstd;q=1.0"}) {
    EXPECT_TRUE(AcceptsZstd(yes)) << yes;
  }
  for (const char* no : {"", "*", "gzip", "zstd;q=0", "zstd; q=0.000", "zstdx", "xzstd", "z std"}) {
    EXPECT_FALSE(AcceptsZstd(no)) << no;
  }
}

}  // namespace
}  // namespace overlay::server
